"""What would take hours or all memory is refused at once, by name; million tiny groups are not."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.errors import FormulaError, MemoryLimitError, MixedModelsWarning
from tests import naive


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 20_000
    data = pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n), "g": np.arange(n) % 50})
    data["id"] = [f"p{i}" for i in rng.permutation(n) // 2]
    return data.assign(**{f"f{i}": rng.choice(list("abcd"), n) for i in range(10)})


@pytest.mark.parametrize(
    ("formula", "named"),
    [
        ("y ~ id + (1 | g)", "'id'"),
        ("y ~ x*id + (1 | g)", "'id'"),
        ("y ~ factor(x) + (1 | g)", "'x'"),
        ("y ~ x + (id | g)", "'id'"),
        ("y ~ " + "*".join(f"f{i}" for i in range(10)) + " + (1 | g)", "f0:f1"),
        ("y ~ " + " + ".join(f"I(x*{i})" for i in range(4000)) + " + (1 | g)", "3,000 terms"),
    ],
)
def test_too_many_columns(table: pd.DataFrame, formula: str, named: str) -> None:
    with pytest.raises(FormulaError, match=named):
        mm.lmer(formula, table)


def test_columns_beyond_memory(table: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixedmodels.memory.available_memory", lambda: 1e8)
    formula = "y ~ " + "*".join(f"f{i}" for i in range(5)) + " + (1 | g)"
    with pytest.raises(MemoryLimitError, match="f0:f1:f2:f3:f4"):
        mm.lmer(formula, table)


def test_many_empty_cells_are_dropped_and_named() -> None:
    """1,024 cells of which 2,000 rows fill 850: the kept ones span what the cells span."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame({f"f{i}": rng.choice(list("abcd"), 600) for i in range(5)})
    data = data.assign(y=rng.normal(size=600), g=rng.integers(0, 20, 600))
    data = data[data[[f"f{i}" for i in range(5)]].sum(axis=1).str.count("a") >= 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        model = mm.lmer("y ~ f0*f1*f2*f3 + (1 | g)", data)
    cells = data.groupby(["f0", "f1", "f2", "f3"]).ngroup()
    assert len(model.beta) == cells.nunique()
    X = (cells.to_numpy()[:, None] == np.arange(cells.nunique())).astype(float)
    term = naive.Term(data["g"].to_numpy(), 20, np.ones((len(data), 1)))
    problem = naive.Problem(X, data["y"].to_numpy(), (term,))
    # another basis of the same space: fitted values are the same
    truth = naive.Solution(problem, np.asarray(model.theta), True)
    np.testing.assert_allclose(model.fitted, truth.fitted, atol=1e-8)


@pytest.mark.slow
def test_a_million_groups_of_one_to_three_rows() -> None:
    rng = np.random.default_rng(0)
    size = rng.integers(1, 4, 1_000_000)
    g = np.repeat(np.arange(1_000_000), size)
    x = rng.normal(size=len(g))
    y = 2 + 0.7 * x + rng.normal(size=1_000_000)[g] + rng.normal(size=len(g))
    model = mm.lmer("y ~ x + (1 | g)", pd.DataFrame({"y": y, "x": x, "g": g}))
    assert model.convergence.verdict == "optimum"
    # standard errors of the estimates at this size are about 0.001
    assert model.theta[0] == pytest.approx(1.0, abs=0.01)
    assert model.sigma == pytest.approx(1.0, abs=0.01)
    assert model.beta == pytest.approx([2.0, 0.7], abs=0.01)
    # the closed form of the criterion, group by group, at the reported theta
    assert model.criterion == pytest.approx(_closed_form(x, y, g, size, model.theta[0]), rel=1e-10)


def _closed_form(
    x: np.ndarray, y: np.ndarray, g: np.ndarray, size: np.ndarray, theta: float
) -> float:
    columns = [np.ones(len(x)), x, y]
    sums = [np.bincount(g, column) for column in columns]
    share = theta**2 / (1 + size * theta**2)
    M = np.array(
        [
            [a @ b - (share * s) @ t for b, t in zip(columns, sums, strict=True)]
            for a, s in zip(columns, sums, strict=True)
        ]
    )
    XX, Xy = M[:2, :2], M[:2, 2]
    r2, nu = M[2, 2] - Xy @ np.linalg.solve(XX, Xy), len(x) - 2
    logdet = np.log1p(size * theta**2).sum() + np.linalg.slogdet(XX)[1]
    return float(logdet + nu * (1 + np.log(2 * np.pi * r2 / nu)))
