"""Few levels: criteria with several optima, where one start is not enough.

The sets of `several_optima.csv` come from 22,000 random ones; from the moments alone the search
ends at a higher optimum of each, lme4 1.1-31 at that of three. The oracle is another optimiser from
random starts over the dense likelihood.
"""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

import mixedmodels as mm
from mixedmodels.inference.joint import join
from mixedmodels.likelihood.covariance import make_template
from mixedmodels.likelihood.start import FLOOR, LONG, WIDE, has_few_levels, other_starts
from mixedmodels.optimize_batch import lower_elsewhere_batch, minimise_batch
from tests import naive

pytestmark = pytest.mark.filterwarnings("ignore::mixedmodels.MixedModelsWarning")

FILE = Path(__file__).with_name("several_optima.csv")
KEPT = [
    ("y ~ 1 + (x | g)", True),
    ("y ~ 1 + (x | g)", True),
    ("y ~ 1 + (x | g)", True),
    ("y ~ x * f + (x || g)", True),
    ("y ~ x + (0 + f | g)", True),
    ("y ~ x + z + (x + z | g)", False),
    ("y ~ x * f + (1 | g)", False),
    ("y ~ x + (f | g) + (1 | c)", True),
    ("y ~ x + z + (x | g) + (1 | c)", False),
]
# -2 log likelihood where lme4 1.1-31 ends
LME4 = [114.26431, 39.050524, 83.480314, 48.502576,
        33.661543, 57.534124, 31.549703, 40.248692, 47.745403]  # fmt: skip


@cache
def frame(case: int) -> pd.DataFrame:
    every = pd.read_csv(FILE)
    return every[every["case"] == case].dropna(axis=1).reset_index(drop=True)


def fit(formula: str, data: pd.DataFrame, *, reml: bool, **options: object):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        return mm.lmer(formula, data, reml=reml, **options)


def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the second look."""
    monkeypatch.setattr("mixedmodels.model.search.lower_elsewhere", lambda objective, found: found)


# --- another optimiser ----------------------------------------------------------------------------


def columns(data: pd.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    out = []
    for name in names:
        column = np.ones(len(data))
        for part in name.split(":"):
            if "=" in part:
                factor, level = part.split("=")
                column = column * (data[factor] == level)
            elif part != "1":
                column = column * data[part]
        out.append(column)
    return np.stack(out, axis=1).astype(np.float64)


# columns of X, and of each random term
SAID: dict[str, tuple[tuple[str, ...], tuple[tuple[str, tuple[str, ...]], ...]]] = {
    "y ~ 1 + (x | g)": (("1",), (("g", ("1", "x")),)),
    "y ~ x + z + (x || g)": (("1", "x", "z"), (("g", ("1",)), ("g", ("x",)))),
    "y ~ x * f + (x || g)": (("1", "x", "f", "x:f"), (("g", ("1",)), ("g", ("x",)))),
    "y ~ x + (0 + f | g)": (("1", "x"), (("g", ("0", "f")),)),
    "y ~ x + z + (x + z | g)": (("1", "x", "z"), (("g", ("1", "x", "z")),)),
    "y ~ x * f + (1 | g)": (("1", "x", "f", "x:f"), (("g", ("1",)),)),
    "y ~ x + (f | g) + (1 | c)": (("1", "x"), (("g", ("1", "f")), ("c", ("1",)))),
    "y ~ x + z + (x | g) + (1 | c)": (("1", "x", "z"), (("g", ("1", "x")), ("c", ("1",)))),
}


ONE_FACTOR = sorted(formula for formula in SAID if "| c" not in formula)


def spelled(data: pd.DataFrame, names: tuple[str, ...]) -> tuple[str, ...]:
    """Columns of a factor written out, the first level left out beside a constant."""
    out: list[str] = []
    for name in names:
        if "f" not in name:
            out += [] if name == "0" else [name]
            continue
        levels = sorted(data["f"].unique())[0 if "0" in names else 1 :]
        out += [name.replace("f", f"f={level}") for level in levels]
    return tuple(out)


def problem(formula: str, data: pd.DataFrame) -> naive.Problem:
    x, terms = SAID[formula]
    made = []
    for group, names in terms:
        levels, codes = np.unique(data[group].to_numpy(str), return_inverse=True)
        made.append(naive.Term(codes, len(levels), columns(data, spelled(data, names))))
    return naive.Problem(
        columns(data, spelled(data, x)), data["y"].to_numpy(np.float64), tuple(made)
    )


def lowest(given: naive.Problem, *, reml: bool, n_starts: int = 16) -> float:
    """Lowest criterion that L-BFGS-B and then Nelder-Mead reach from random starts."""

    def value(theta: np.ndarray) -> float:
        # bounded: an optimum without end does not count
        return naive.criterion(given, theta, reml=reml) if np.abs(theta).max() < 1e3 else 1e6

    rng = np.random.default_rng(1)
    size = sum(term.n_theta for term in given.terms)
    ends = []
    for _ in range(n_starts):
        start = rng.normal(size=size) * np.exp(rng.uniform(-1.0, 3.0, size))
        ends.append(optimize.minimize(value, start, method="L-BFGS-B", options={"maxiter": 60}))
    best = min(ends, key=lambda end: end.fun)
    polish = optimize.minimize(
        value,
        best.x,
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-9, "maxfev": 150 * size},
    )
    return float(min(best.fun, polish.fun))


# --- kept cases -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", range(len(KEPT)))
def test_the_lower_optimum_is_found(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    formula, reml = KEPT[case]
    data = frame(case)
    model = fit(formula, data, reml=reml)
    assert model.converged
    assert model.criterion == pytest.approx(lowest(problem(formula, data), reml=reml), abs=1e-5)
    assert model.criterion < LME4[case] + 1e-5
    again = model.refit(data["y"].to_numpy())
    assert again.criterion == pytest.approx(model.criterion, abs=1e-8)
    other = model.update(reml=not reml).update(reml=reml)
    assert other.criterion == pytest.approx(model.criterion, abs=1e-8)
    once(monkeypatch)
    alone = fit(formula, data, reml=reml)
    assert alone.converged
    assert alone.criterion > model.criterion + 0.02
    # a start that is given is where the search begins, and nowhere else
    held = fit(formula, data, reml=reml, start=alone.theta)
    monkeypatch.undo()
    assert held.criterion == pytest.approx(alone.criterion, abs=1e-7)
    given_start = fit(formula, data, reml=reml, start=alone.theta)
    assert given_start.criterion == pytest.approx(alone.criterion, abs=1e-7)


def test_lme4_ends_higher_in_three_of_nine() -> None:
    ours = [fit(f, frame(case), reml=reml).criterion for case, (f, reml) in enumerate(KEPT)]
    gaps = np.array(LME4) - ours
    assert (gaps > 0.02).sum() == 3
    assert (gaps > -1e-5).all()


def test_a_batch_finds_them_too() -> None:
    """Segments of one formula and their single fits, the kept ones among them."""
    formula = KEPT[0][0]
    parts = [frame(case)[["y", "x", "g"]].assign(part=f"kept {case}") for case in range(3)]
    parts += [random_set(seed)[["y", "x", "g"]].assign(part=f"new {seed}") for seed in range(30)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        many = mm.fit_many(formula, pd.concat(parts), by="part").glance().set_index("part")
    for data in parts:
        one = fit(formula, data, reml=True)
        found = many.loc[data["part"].iloc[0]]
        assert found["loglik"] == pytest.approx(one.loglik, abs=1e-6)
        assert found["is_singular"] == one.is_singular


@pytest.mark.parametrize("case", [0, 3, 5, 6, 7, 8])
def test_a_batch_leaves_the_higher_optimum(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As replicates of a bootstrap do: one factor, and several."""
    formula, reml = KEPT[case]
    model = fit(formula, frame(case), reml=reml)
    once(monkeypatch)
    alone = fit(formula, frame(case), reml=reml)
    joint = join([model])
    assert joint is not None
    design, own = joint.design(model), joint.response(model).take(np.zeros(3, np.intp))
    first = design.evaluate(np.tile(alone.optimum.at.theta, (3, 1)), own)
    found = minimise_batch(design, own, first)
    np.testing.assert_allclose(found.at.value, alone.optimum.at.value, atol=1e-7)
    before = found.evaluations.copy()
    lower = lower_elsewhere_batch(design, own, found)
    np.testing.assert_allclose(lower.at.value, model.optimum.at.value, atol=1e-7)
    assert lower.certified.all()
    assert (lower.evaluations > before).all()


def test_a_likelihood_without_bound_does_not_count() -> None:
    """Six rows, four fixed effects: far out the likelihood has no bound, nearer a maximum."""
    data = pd.DataFrame(
        {
            "y": [0.35, -0.74, -0.22, 1.91, 0.56, 0.32],
            "x": [1.34, 1.32, 0.89, 2.14, 2.69, -0.62],
            "f": list("vuuvvu"),
            "g": list("AAAABB"),
        }
    )
    model = fit("y ~ x * f + (x || g)", data, reml=False)
    assert model.converged
    assert model.sigma > 0.01
    way = np.array([1.0, 0.3])
    far = [model.objective.evaluate(size * way).value for size in (10.0, 1e2, 1e3)]
    assert np.diff(far).max() < -5.0
    assert far[-1] < model.optimum.at.value - 10.0


# --- any tiny set ---------------------------------------------------------------------------------


def random_set(seed: int) -> pd.DataFrame:
    """Two to eight groups of two to seven rows."""
    rng = np.random.default_rng([seed, 3])
    n_groups = int(rng.integers(2, 9))
    g = np.repeat(np.arange(n_groups), rng.integers(2, 8, n_groups))
    n = len(g)
    x, z = rng.normal(0.5, 1.0, n), rng.uniform(-1.0, 1.0, n)
    b = rng.normal(size=(n_groups, 2)) * rng.choice([0.0, 0.4, 1.5, 5.0], 2)
    return pd.DataFrame(
        {
            "y": b[g, 0] + b[g, 1] * x + rng.normal(size=n),
            "x": x,
            "z": z,
            "f": rng.permutation(np.resize(["u", "v"], n)),
            "g": [f"g{k}" for k in g],
            "c": [f"c{k}" for k in rng.integers(0, 4, n)],
        }
    )


@settings(max_examples=16, derandomize=True, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(ONE_FACTOR), st.booleans())
def test_no_random_start_is_better(seed: int, formula: str, reml: bool) -> None:
    data = random_set(seed)
    try:
        model = fit(formula, data, reml=reml)
    except mm.DataError:
        return  # too few rows for the formula
    found = lowest(problem(formula, data), reml=reml, n_starts=4)
    assert model.criterion <= found + 1e-5


# --- starts ---------------------------------------------------------------------------------------


def test_starts_differ_in_rank_and_direction() -> None:
    template = make_template([2, 1])
    slope = np.zeros((1, 3, 3))
    slope[0, :2, :2] = [[-3.0, 1.0], [1.0, 2.0]]
    slope[0, 2, 2] = 1.0
    factor = np.zeros((1, 3, 3))
    factor[0, :2, 0] = [2.0, 2.0]
    wide, long, unused = other_starts(template, slope, factor)[:, 0]
    assert all((np.triu(start, 1) == 0.0).all() for start in (wide, long, unused))
    direction = np.linalg.eigh(slope[0, :2, :2])[1][:, 0]
    np.testing.assert_allclose(
        np.linalg.eigvalsh(wide[:2, :2] @ wide[:2, :2].T), WIDE**2 * np.array([FLOOR, 1.0])
    )
    np.testing.assert_allclose(
        long[:2, :2] @ long[:2, :2].T, LONG**2 * np.multiply.outer(direction, direction)
    )
    # the optimum has rank one along (1, 1) and variance 8: the start has it along (1, -1)
    across = unused[:2, :2] @ unused[:2, :2].T
    assert np.array([1.0, -1.0]) @ across @ np.array([1.0, -1.0]) / 2.0 == pytest.approx(8.0)
    assert np.array([1.0, 1.0]) @ across @ np.array([1.0, 1.0]) / 2.0 == pytest.approx(8.0 * FLOOR)
    assert unused[2, 2] == pytest.approx(1.0)
    for start in (wide, long):
        assert start[2, :2].tolist() == [0.0, 0.0]


def test_large_designs_pay_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [q for q in range(5) if has_few_levels(q, 12)] == [2, 3, 4]

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("mixedmodels.model.search.lower_elsewhere", never)
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(13), 6)
    data = pd.DataFrame({"y": rng.normal(size=78), "x": rng.normal(size=78), "g": g})
    assert fit("y ~ x + (x | g)", data, reml=True).is_singular
