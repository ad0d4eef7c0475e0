"""Designs that nobody chose: drawn at random, and everything that R says of them.

Unbalanced and balanced, with missing values and cells, weights, offsets, contrasts, splines, and
all structures of random terms (values/random_designs.json). R's mixed models are taken at the theta
stored there, so that what follows from it can be compared tightly; lme4's own optimum is there too.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from tests.reference import data

DESIGNS = data.figures("random_designs")
MIXED = [i for i, d in DESIGNS.items() if d["kind"] == "lmer"]
every = pytest.mark.parametrize("design", DESIGNS)
mixed = pytest.mark.parametrize("design", MIXED)
linear = pytest.mark.parametrize("design", [i for i in DESIGNS if i not in MIXED])

# theta is stored to ten digits and found again to about seven
CLOSE = 2e-5
# lmerTest differentiates numerically: three digits near a boundary, more elsewhere
NUMERICAL = {"rtol": 5e-3}


def frame(design: str) -> pd.DataFrame:
    """The rows, factors with R's order of levels."""
    spec = DESIGNS[design]
    return pd.DataFrame({name: _column(name, c, spec) for name, c in spec["data"].items()})


def _column(name: str, column: Any, spec: dict[str, Any]) -> Any:
    if isinstance(column, dict):
        ordered = name in spec["ordered"]
        return pd.Categorical.from_codes(column["codes"], column["levels"], ordered=ordered)
    return np.array([np.nan if v is None else v for v in column])


@cache
def model(design: str) -> mm.FittedModel:
    spec = DESIGNS[design]
    options = {k: spec[k] or None for k in ("weights", "offset", "contrasts")}
    with warnings.catch_warnings():  # singular fits and dropped columns are among them
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        if spec["kind"] == "lm":
            return mm.lm(spec["formula"], frame(design), **options)
        return mm.lmer(spec["formula"], frame(design), reml=spec["reml"], **options)


def numbers(values: Any) -> np.ndarray:
    return np.array([np.nan if v is None else v for v in np.atleast_1d(values)], float)


def kept(design: str) -> np.ndarray:
    """Columns that R did not drop."""
    return ~np.isnan(numbers(DESIGNS[design]["r"]["beta"]))


@every
def test_coefficients(design: str) -> None:
    m, r = model(design), DESIGNS[design]["r"]
    se = numbers(r["se"])
    assert len(m.beta) == len(se)
    assert_allclose(np.sqrt(np.diag(m.vcov)), se, rtol=CLOSE)
    assert_allclose(m.beta / se, numbers(r["beta"])[kept(design)] / se, rtol=0, atol=CLOSE)


@every
def test_likelihood_and_rows(design: str) -> None:
    m, r = model(design), DESIGNS[design]["r"]
    assert m.sigma == pytest.approx(r["sigma"], rel=CLOSE)
    for name in ("loglik", "aic", "bic"):
        assert getattr(m, name) == pytest.approx(r[name], abs=1e-5), name
    table = m.augment()
    used = table[table["fitted"].notna()].iloc[:8]
    assert_allclose(used["fitted"], r["fitted"], rtol=0, atol=CLOSE * m.sigma)
    assert_allclose(used["leverage"], r["hat"], rtol=0, atol=CLOSE)
    assert_allclose(used["cooks_distance"], r["cook"], rtol=1e-4, atol=1e-7)
    kind = "standardized" if m.has_random else "studentized"
    assert_allclose(m.residuals(kind)[:8], r["rstudent"], rtol=0, atol=1e-4)


@mixed
def test_variances(design: str) -> None:
    m, r = model(design), DESIGNS[design]["r"]
    criterion = m.reml_criterion if m.reml else m.deviance
    assert criterion == pytest.approx(r["criterion"], abs=1e-5)
    assert criterion <= r["lme4_criterion"] + 1e-5
    assert m.n_params == r["n_params"]
    spread = numbers(r["sd"])
    assert_allclose(sorted(m.varcorr()["sd"]), sorted(spread), rtol=0, atol=1e-4 * spread.max())


@mixed
def test_modes(design: str) -> None:
    m, r = model(design), DESIGNS[design]["r"]["ranef"]
    table = m.ranef()
    assert np.abs(table["estimate"]).sum() == pytest.approx(r["sum_abs"], rel=1e-4)
    parts = [set(zip(g.split(":"), lev.split(":"), strict=True)) for g, lev in zip(
        table["group"], table["level"], strict=True)]  # fmt: skip
    for group, level, mode, sd in zip(
        *(r[k] for k in ("group", "level", "mode", "sd")), strict=True
    ):
        key = set(zip(group.split(":"), level.split(":"), strict=True))
        own = table[[p == key for p in parts]]
        place = np.abs(own["estimate"] - mode).argmin()
        assert own["estimate"].iloc[place] == pytest.approx(mode, abs=1e-4 * m.sigma)
        assert own["std_error"].iloc[place] == pytest.approx(sd, abs=1e-4 * m.sigma)


@every
def test_predictions(design: str) -> None:
    m, r = model(design), DESIGNS[design]["r"]
    new = pd.DataFrame(DESIGNS[design]["new"])
    near = {"rtol": 0, "atol": CLOSE * m.sigma}
    if not m.has_random:
        table = m.predict(new, interval="prediction")
        for name, column in (
            ("prediction", "prediction"),
            ("low", "conf_low"),
            ("high", "conf_high"),
        ):
            assert_allclose(table[column], r[name], **near)
    elif "predict" in r:  # lme4 forgets an offset given as an argument
        assert_allclose(m.predict(new, new_levels="zero"), r["predict"], **near)
        assert_allclose(m.predict(new, random=False), r["population"], **near)


@mixed
def test_degrees_of_freedom(design: str) -> None:
    m, r = model(design), DESIGNS[design]["r"]
    table = m.tidy()
    assert_allclose(table["df"], numbers(r["df"]), **NUMERICAL)
    assert_allclose(table["p_value"], numbers(r["p"]), rtol=0.02, atol=1e-12)
    if "kr_df" in r:
        table = m.tidy("kenward-roger")
        assert_allclose(table["std_error"], numbers(r["kr_se"]), rtol=CLOSE)
        assert_allclose(table["df"], numbers(r["kr_df"]), rtol=1e-4)


@every
def test_f_tables(design: str) -> None:
    m, r = model(design), DESIGNS[design]["r"]
    for kind, expected in r["anova"].items():
        _same_table(mm.anova(m, type=kind), expected, **NUMERICAL)
    if "drop1" in r:
        _same_table(mm.drop1(m, test="F"), r["drop1"], **NUMERICAL)
    if "kr_anova" in r:
        _same_table(mm.anova(m, ddf="kenward-roger"), r["kr_anova"], rtol=1e-4)


def _same_table(table: pd.DataFrame, expected: dict[str, Any], rtol: float) -> None:
    wanted = [k for k, t in enumerate(expected["term"]) if t not in ("Residuals", "<none>")]
    table = table[table["term"] != "Residuals"]
    terms = [expected["term"][k].replace(" ", "") for k in wanted]
    assert [t.replace(" ", "") for t in table["term"]] == terms
    assert table["num_df"].tolist() == [expected["num_df"][k] for k in wanted]
    assert_allclose(table["statistic"], numbers(expected["F"])[wanted], rtol=1e-4)
    if expected["den_df"] is not None:
        assert_allclose(table["den_df"], numbers(expected["den_df"])[wanted], rtol=rtol)


@every
def test_marginal_means(design: str) -> None:
    for call in DESIGNS[design]["r"]["emmeans"]:
        grid = _grid(model(design), call)
        table = grid.to_pandas()
        assert_allclose(table[grid.column], numbers(call["estimate"]), rtol=1e-4, atol=1e-6)
        assert_allclose(table["std_error"], numbers(call["se"]), rtol=1e-4)
        assert_allclose(table["df"], numbers(call["df"]), **NUMERICAL)
        for wanted in call["contrasts"]:
            _same_contrasts(grid, wanted)


def _grid(m: mm.FittedModel, call: dict[str, Any]) -> mm.EmmGrid:
    options = {"at": call["at"] or None, "weights": call["weights"]}
    specs = f"~ {call['specs']}"
    with warnings.catch_warnings():  # means without data
        warnings.simplefilter("ignore", mm.RankDeficiencyWarning)
        if call["fun"] == "emtrends":
            return mm.emtrends(m, specs, call["var"], **options)
        return mm.emmeans(m, specs, type=call["type"], **options)


def _same_contrasts(grid: mm.EmmGrid, wanted: dict[str, Any]) -> None:
    with warnings.catch_warnings():  # Tukey's for other contrasts than pairs
        warnings.simplefilter("ignore", mm.DataWarning)
        table = grid.contrasts(wanted["method"], adjust=wanted["adjust"])
    estimate = "ratio" if "ratio" in table else "estimate"
    assert_allclose(table[estimate], numbers(wanted["estimate"]), rtol=1e-4, atol=1e-6)
    error = numbers(wanted["se"])
    assert_allclose(table["std_error"], error, rtol=1e-4, atol=1e-9)
    real = error > 1e-9  # slopes without interaction do not differ
    assert_allclose(table["df"][real], numbers(wanted["df"])[real], **NUMERICAL)
    if wanted["p"] is not None:
        assert_allclose(table["p_value"][real], numbers(wanted["p"])[real], rtol=0.02, atol=1e-6)
