"""Every kind of term through every engine: fits and predictions are those in memory."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.errors import DataError, MixedModelsWarning
from tests.engines.tables import as_table, collected, quiet, two_engines

FORMULAS = [
    "y ~ x*f + `z x` + (x | g)",
    "log(y + 20) ~ scale(x) + I(`z x`^2) + f + (1 | g) + (1 | h)",
    "y ~ x:f:h + center(x^2) + factor(`z x`) + (x || g)",
    'y ~ I(x > 0):f + I(f == "a") + pmin(x, 0.3) + b + (0 + f | g)',
    "y ~ 0 + f:x + round(x, 1) + exp(x/2) + (1 | g/h)",
    "y ~ x + factor(`z x`) + `z x`:x + offset(o*0.5) + (1 | h:f)",
    'y ~ C(f, contr.sum)*x + relevel(h, ref = "s") + log1p(abs(x)) + sqrt(x + 9) + (1 | g)',
]
OPTIONS: list[dict[str, Any]] = [{}, {"weights": "w", "offset": "o"}]


@cache
def rows(n: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    d = pd.DataFrame(
        {
            "y": rng.normal(5.0, 1.0, n),
            "x": rng.normal(size=n),
            "z x": rng.integers(0, 5, n),
            "f": rng.choice(list("abc"), n),
            "g": rng.integers(0, 20, n),
            "h": rng.choice(["p", "q:r", "s"], n),
            "w": rng.uniform(0.5, 2.0, n),
            "o": rng.normal(size=n),
            "b": rng.random(n) < 0.4,
            "row": np.arange(n),
        }
    )
    d["y"] += 0.5 * d["x"] + rng.normal(size=20)[d["g"]] * (1 + d["x"]) + d["o"]
    d.loc[3, "x"], d.loc[5, "f"] = np.nan, None
    return d


def fitted(formula: str, data: Any, **options: Any) -> mm.FittedModel:
    with quiet():
        warnings.simplefilter("ignore", MixedModelsWarning)
        return mm.lmer(formula, data, **options)


def same(m: Any, reference: Any, tolerance: float = 1e-8) -> None:
    assert m.term_names == reference.term_names
    assert (m.n_obs, m.source.n_rows) == (reference.n_obs, reference.source.n_rows)
    assert m.source.missing == reference.source.missing
    assert [g.levels for g in m.design.groups] == [g.levels for g in reference.design.groups]
    np.testing.assert_allclose(m.criterion, reference.criterion, rtol=tolerance)
    np.testing.assert_allclose(m.beta, reference.beta, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(m.vcov, reference.vcov, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(m.theta, reference.theta, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(m.sigma, reference.sigma, rtol=tolerance)


@two_engines
@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "weighted"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_formulas(formula: str, options: dict[str, Any], engine: str) -> None:
    reference = fitted(formula, rows(), **options)
    same(fitted(formula, as_table(rows(), engine), **options), reference)


@pytest.mark.parametrize("formula", FORMULAS)
def test_sums_of_memory(formula: str) -> None:
    moments = mm.Moments.from_frame(formula, rows(), weights="w", offset="o")
    same(fitted(formula, moments), fitted(formula, rows(), weights="w", offset="o"))


@two_engines
@pytest.mark.parametrize("formula", FORMULAS)
def test_predictions(formula: str, engine: str) -> None:
    m = fitted(formula, rows(), offset="o")
    new = rows().assign(g=rows()["g"] + 3)
    table = as_table(new, engine)
    out = collected(m.predict(table, new_levels="zero")).sort_values("row")
    assert list(out.columns) == [*rows().columns, "prediction"]
    expected = m.predict(new, new_levels="zero").to_numpy()
    np.testing.assert_allclose(out["prediction"].to_numpy(float), expected, atol=1e-10)
    fixed = collected(m.predict(table, random=False)).sort_values("row")["prediction"]
    expected = m.predict(new, random=False).to_numpy()
    np.testing.assert_allclose(fixed.to_numpy(float), expected, atol=1e-10)
    if "g" in m.n_groups:
        with pytest.raises(DataError, match=r"a level of grouping factor 'g.*the fit has not"):
            m.predict(table)


@two_engines
def test_new_level_of_a_fixed_factor(engine: str) -> None:
    m = fitted(FORMULAS[0], rows())
    new = rows().assign(f="z")
    with pytest.raises(DataError, match="a level of 'f' that the fit has not seen"):
        m.predict(as_table(new, engine))


def test_linear_models() -> None:
    m = mm.lm("y ~ x*f", as_table(rows(), "duckdb"))
    same(m, mm.lm("y ~ x*f", rows()))
    without_keys = mm.lm("y ~ x + `z x`", as_table(rows(), "polars"))
    same(without_keys, mm.lm("y ~ x + `z x`", rows()))


def test_a_dot_stands_for_all_other_columns() -> None:
    few = rows()[["y", "x", "f", "g"]]
    same(fitted("y ~ . + (1 | g)", as_table(few, "duckdb")), fitted("y ~ . + (1 | g)", few))


def test_digits_survive_groups_far_apart() -> None:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(30), 10)
    x = rng.normal(size=300)
    y = 1e7 * rng.normal(size=30)[g] + x + rng.normal(size=300)
    d = pd.DataFrame({"y": y, "x": x + 2e6, "g": g})
    reference = mm.lmer("y ~ x + (1 | g)", d)
    for engine in ("duckdb", "polars"):
        m = mm.lmer("y ~ x + (1 | g)", as_table(d, engine))
        # y itself has nine digits after its group's mean is taken out
        np.testing.assert_allclose(m.beta[1], reference.beta[1], rtol=1e-7)
        np.testing.assert_allclose(m.criterion, reference.criterion, rtol=1e-9)


def test_integers_do_not_overflow() -> None:
    rng = np.random.default_rng(2)
    d = pd.DataFrame(
        {
            "y": rng.integers(2**30, 2**31 - 1, 200).astype("int32"),
            "x": rng.integers(2**61, 2**62, 200),
            "g": rng.integers(0, 9, 200).astype("int8"),
        }
    )
    d["y"] += (d["g"].astype("int32") * 1_000_000).astype("int32") * -50
    reference = fitted("y ~ x + I(x^2) + (1 | g)", d)
    for engine in ("duckdb", "polars"):
        m = fitted("y ~ x + I(x^2) + (1 | g)", as_table(d, engine))
        np.testing.assert_allclose(m.criterion, reference.criterion, rtol=1e-9)


@two_engines
def test_binned_residuals(engine: str) -> None:
    d = rows()
    m = fitted("log(y + 20) ~ x + f + (1 | g)", as_table(d, engine))
    found = mm.binned_residuals(m, as_table(d, engine), bins=7)
    reference = fitted("log(y + 20) ~ x + f + (1 | g)", d)
    at = pd.cut(reference.fitted, 7, labels=False)
    residual = pd.Series(reference.residuals()).groupby(at)
    np.testing.assert_array_equal(np.asarray(found["n"]), residual.size())
    np.testing.assert_allclose(np.asarray(found["residual"]), residual.mean(), atol=1e-10)
    np.testing.assert_allclose(np.asarray(found["residual_sd"]), residual.std(), atol=1e-10)
    with pytest.raises(TypeError, match="for tables outside memory"):
        mm.binned_residuals(m, d)
