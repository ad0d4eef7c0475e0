"""Influence of rows and groups: R's figures, the textbook formulas on any design, refits."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import mixedmodels as mm
from mixedmodels.errors import DataError, DataWarning, ModelError
from mixedmodels.inference import leave_out
from mixedmodels.inference.influence import influence
from mixedmodels.inference.parameters import names, values
from tests import naive
from tests.properties.designs import Case, at_theta, cases, make_case, random_theta
from tests.reference import data
from tests.reference.fits import reference_fit

R = data.figures("influence")
MODELS = [name for name in R if name not in ("lme4_influence", "lm")]
# R's figures are at lme4's optimum in double precision, ours at our own: they differ by 1e-7
LIKE_R = {"rtol": 1e-6, "atol": 1e-9}
CLOSE = {"rtol": 1e-7, "atol": 1e-8}
quick = settings(deadline=None, derandomize=True, max_examples=50)


def terms(frame: Any) -> np.ndarray:
    return frame[[c for c in frame.columns if c.startswith("dfbetas_")]].to_numpy()


# --- R --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_rows_as_in_lme4(name: str) -> None:
    m, expected = reference_fit(name).model, R[name]
    table = m.augment()
    assert_allclose(table["leverage"][:60], expected["hat"][:60], **LIKE_R)
    assert_allclose(table["cooks_distance"][:60], expected["cooks"][:60], **LIKE_R)
    assert_allclose(m.residuals("standardized")[:60], expected["rstudent"][:60], **LIKE_R)
    assert_allclose(m.residuals("pearson")[:60], expected["pearson"][:60], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in MODELS if "row_cooks" in R[name]])
def test_rows_as_in_hlmdiag(name: str) -> None:
    expected = R[name]
    frame = influence(reference_fit(name).model, hold="variances")
    assert_allclose(frame["cooks_distance"][:60], expected["row_cooks"], **LIKE_R)
    assert_allclose(frame["mdffits"][:60], expected["row_mdffits"], **LIKE_R)
    assert_allclose(frame["covratio"][:60], expected["row_covratio"], **LIKE_R)
    assert_allclose(frame["leverage_fixed"][:60], expected["leverage_fixed"], **LIKE_R)
    assert_allclose(frame["leverage"][:60], expected["hat"], **LIKE_R)


@pytest.mark.parametrize("name", MODELS)
def test_levels_as_in_hlmdiag(name: str) -> None:
    expected = R[name]
    m = reference_fit(name).model
    frame = influence(m, expected["group"], hold="variances")
    frame = frame.set_index("level").loc[expected["levels"]]
    assert_allclose(frame["cooks_distance"], expected["level_cooks"], **LIKE_R)
    assert_allclose(frame["mdffits"], expected["level_mdffits"], **LIKE_R)
    assert_allclose(frame["covratio"], expected["level_covratio"], **LIKE_R)


@pytest.mark.parametrize("name", [name for name in MODELS if "dfbetas" in R[name]])
def test_dfbetas_of_refits_in_lme4(name: str) -> None:
    """As influence.ME defines them, each level left out and the model fitted to 1e-10 in theta."""
    expected = R[name]
    frame = influence(reference_fit(name).model, expected["group"], hold="nothing")
    found = terms(frame.set_index("level").loc[expected["levels"]])
    theirs = np.array(expected["dfbetas"]).reshape(found.shape)
    assert_allclose(found, theirs, rtol=2e-5, atol=2e-6)


def test_dfbetas_of_lme4s_own_influence() -> None:
    """The other sign, and only as close as lme4's default search ends."""
    expected = R["lme4_influence"]
    frame = influence(reference_fit(expected["model"]).model, "Subject", hold="nothing")
    found = terms(frame.set_index("level").loc[expected["levels"]])
    assert_allclose(found, -np.array(expected["dfbetas"]), atol=2e-4)


def test_linear_models_as_in_r() -> None:
    expected = R["lm"]
    m = mm.lm(expected["formula"], data.load("sleepstudy"))
    frame = influence(m)
    assert_allclose(terms(frame)[:60], expected["dfbetas"], **LIKE_R)
    assert_allclose(frame["covratio"][:60], expected["covratio"], **LIKE_R)
    assert_allclose(frame["cooks_distance"][:60], expected["cooks"][:60], **LIKE_R)
    assert_allclose(frame["leverage"][:60], expected["hat"], **LIKE_R)
    assert_allclose(m.residuals("standardized")[:60], expected["rstandard"], **LIKE_R)
    assert_allclose(m.residuals("studentized")[:60], expected["rstudent"][:60], **LIKE_R)


# --- the textbook ---------------------------------------------------------------------------------


def without(problem: naive.Problem, keep: np.ndarray) -> naive.Problem:
    return naive.Problem(
        problem.X[keep],
        problem.y[keep],
        tuple(naive.Term(t.codes[keep], t.n_levels, t.z[keep]) for t in problem.terms),
        None if problem.weights is None else problem.weights[keep],
        None if problem.offset is None else problem.offset[keep],
    )


def assert_held(case: Case, model: Any, theta: np.ndarray, group: str | None) -> None:
    """Every figure from one generalised least-squares fit per level, theta held."""
    whole = naive.Solution(case.problem, theta, case.reml)
    p = case.problem.X.shape[1]
    codes = (
        np.arange(len(case.data))
        if group is None
        else np.unique(case.data[group].to_numpy(str), return_inverse=True)[1]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        frame, fixed_sigma = influence(model, group), influence(model, group, hold="variances")
    hat = np.diag(whole.hat)
    mean = np.bincount(codes, weights=hat) / np.bincount(codes)
    assert_allclose(frame["leverage"], mean, **CLOSE)
    X, Vi = case.problem.X, whole.Vi
    own = np.diag(X @ whole.unscaled_vcov @ X.T @ Vi)
    assert_allclose(
        frame["leverage_fixed"], np.bincount(codes, weights=own) / np.bincount(codes), **CLOSE
    )
    for level in range(codes.max() + 1):
        keep = codes != level
        row, fixed = frame.iloc[level], fixed_sigma.iloc[level]
        left = without(case.problem, keep)
        information = left.X.T @ np.linalg.inv(naive.Solution(left, theta, case.reml).V) @ left.X
        whitened = np.linalg.eigvalsh(
            np.linalg.cholesky(whole.unscaled_vcov).T
            @ information
            @ np.linalg.cholesky(whole.unscaled_vcov)
        )
        if whitened[0] < 1e-8:
            assert np.isnan(row["cooks_distance"])
            continue
        if whitened[0] < 1e-4 or keep.sum() <= p:
            continue  # the oracle's own inverse has few digits there
        part = naive.Solution(left, theta, case.reml)
        d = whole.beta - part.beta
        cook = d @ np.linalg.solve(whole.vcov, d) / p
        assert_allclose(row["cooks_distance"], cook, **CLOSE)
        assert_allclose(fixed["cooks_distance"], cook, **CLOSE)
        assert_allclose(row["mdffits"], d @ np.linalg.solve(part.vcov, d) / p, **CLOSE)
        ratio = np.linalg.slogdet(part.vcov)[1] - np.linalg.slogdet(whole.vcov)[1]
        assert_allclose(np.log(row["covratio"]), ratio, **CLOSE)
        again = np.linalg.slogdet(part.unscaled_vcov)[1] - np.linalg.slogdet(whole.unscaled_vcov)[1]
        assert_allclose(np.log(fixed["covratio"]), again, **CLOSE)
        assert_allclose(row["sigma"], part.sigma, **CLOSE)
        found = row[[c for c in frame.columns if c.startswith("dfbetas_")]].to_numpy(float)
        assert_allclose(found, d / np.sqrt(np.diag(part.vcov)), **CLOSE)


@quick
@given(cases(), st.integers(0, 10**6), st.sampled_from([0.0, 0.5]), st.data())
def test_any_design_at_any_theta(case: Case, seed: int, zero: float, draw: st.DataObject) -> None:
    assume(case.problem.X.shape[1] > 0)
    theta = random_theta(case.problem, np.random.default_rng(seed), zero)
    model = at_theta(case.prepare(), theta)
    columns = [c for c in ("g", "h", "k", "f") if c in case.data]
    assert_held(case, model, theta, draw.draw(st.sampled_from([None, *columns])))


@pytest.mark.parametrize("shape", ["crossed", "three crossed", "mixed"])
def test_crossed_levels_by_subtraction(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What levels of many rows get."""
    monkeypatch.setattr(leave_out, "MANY", 0)
    case = make_case(shape, ("x", "1", "0 + x"), "x + f", 11, weighted=True)
    theta = random_theta(case.problem, np.random.default_rng(2))
    for group in ("g", "h"):
        assert_held(case, at_theta(case.prepare(), theta), theta, group)


def test_portions_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case("three nested", ("x", "1", "0 + x"), "x + f", 5, weighted=True)
    theta = random_theta(case.problem, np.random.default_rng(3))
    model = at_theta(case.prepare(), theta)
    whole = [influence(model, g) for g in ("g", "h", "k")]
    monkeypatch.setattr(leave_out, "PORTION", 150)
    for g, expected in zip(("g", "h", "k"), whole, strict=True):
        pd.testing.assert_frame_equal(influence(model, g), expected, rtol=1e-10)


# --- refits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("sleep_rs_reml", "Subject"),
        ("machines_nested_reml", "Worker:Machine"),
        ("penicillin_ml", "plate"),
        ("sleep_wt_reml", "Days"),
    ],
)
def test_nothing_held_is_a_fit_of_the_rest(name: str, group: str) -> None:
    m = reference_fit(name).model
    spec = data.figures("models")[name]
    frame = data.load(spec["dataset"])
    key = frame[group.split(":")].astype(str).agg(":".join, axis=1)
    found = influence(m, group, hold="nothing").set_index("level")
    for level in [found.index[0], found.index[-1]]:
        part = mm.lmer(
            spec["formula"],
            frame[key != str(level)],
            reml=spec["reml"],
            weights=spec["weights"],
        )
        row, d = found.loc[level], m.beta - part.beta
        assert_allclose(row["cooks_distance"], d @ np.linalg.solve(m.vcov, d) / len(d), rtol=1e-5)
        assert_allclose(row[names(m)].to_numpy(float), values(part), rtol=1e-5, atol=1e-6)
        assert_allclose(
            row["covratio"], np.linalg.det(part.vcov) / np.linalg.det(m.vcov), rtol=1e-5
        )


def test_rows_can_be_refitted_too() -> None:
    frame = data.load("Dyestuff")
    m = mm.lmer("Yield ~ 1 + (1 | Batch)", frame)
    found = influence(m, hold="nothing")
    part = mm.lmer("Yield ~ 1 + (1 | Batch)", frame.drop(index=7))
    assert_allclose(found["sigma"].iloc[7], part.sigma, rtol=1e-6)
    assert_allclose(
        found["dfbetas_Intercept"].iloc[7],
        (m.beta[0] - part.beta[0]) / np.sqrt(part.vcov[0, 0]),
        rtol=1e-5,
    )


# --- what a user meets ----------------------------------------------------------------------------


def test_kind_labels_and_incomplete_rows() -> None:
    import polars as pl

    frame = data.load("sleepstudy_na")
    frame.index = [f"row {i}" for i in range(len(frame))]
    m = mm.lmer("Reaction ~ Days + (1 | Subject)", frame)
    used = frame.index[frame[["Reaction", "Days"]].notna().all(axis=1)]
    assert list(influence(m)["row"]) == list(used)
    other = mm.lmer("Reaction ~ Days + (1 | Subject)", pl.from_pandas(frame))
    found = influence(other, "Subject")
    assert isinstance(found, pl.DataFrame)
    assert found["n"].sum() == other.n_obs


def test_a_coefficient_that_hangs_on_one_level() -> None:
    frame = data.load("sleepstudy")
    frame["special"] = (frame["Subject"] == "308").astype(float)
    m = mm.lmer("Reaction ~ Days + special + (1 | Subject)", frame)
    with pytest.warns(DataWarning, match="without 1 of the 18 levels of Subject"):
        found = influence(m, "Subject").set_index("level")
    assert np.isnan(found.loc["308", "cooks_distance"])
    assert found.drop("308")["cooks_distance"].notna().all()
    with pytest.warns(DataWarning, match="not determined"):
        again = influence(m, "Subject", hold="nothing").set_index("level")
    assert np.isnan(again.loc["308", "cooks_distance"])


def test_errors_say_what_is_wrong(tmp_path: Any) -> None:
    frame = data.load("sleepstudy")
    frame["gaps"] = np.where(frame["Days"] == 3, None, "a")
    frame["one"] = "same"
    m = mm.lmer("Reaction ~ Days + (1 | Subject)", frame)
    with pytest.raises(TypeError, match=r"fitted model .*, not a DataFrame"):
        influence(frame)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="hold must be 'theta', "):
        influence(m, hold="sigma")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="Subjekt"):
        influence(m, "Subjekt")
    with pytest.raises(DataError, match="'gaps' has no value in 18 of the 180 rows"):
        influence(m, "gaps")
    with pytest.raises(ModelError, match="'one' has one level"):
        influence(m, "one")
    with pytest.raises(ModelError, match="no fixed effects"):
        influence(mm.lmer("Reaction ~ 0 + (1 | Subject)", frame))
    mm.save(m, tmp_path / "m.mm")
    with pytest.raises(ModelError, match="data=True"):
        influence(mm.load(tmp_path / "m.mm"))


def test_all_groups_of_a_large_fit() -> None:
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(5_000), 20)
    x = rng.normal(size=len(g))
    y = x + rng.normal(size=5_000)[g] + rng.normal(size=5_000)[g] * x + rng.normal(size=len(g))
    m = mm.lmer("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": g}))
    found = influence(m, "g")
    assert len(found) == 5_000
    # scores of independent groups: their squares add up to p sigma**2, on average
    assert 0.5 < found["cooks_distance"].sum() < 2.0


def test_studentized_residuals_leave_the_row_out() -> None:
    m = reference_fit("sleep_wt_reml").model
    without_row = influence(m)["sigma"].to_numpy()
    expected = m.residuals("standardized") * m.sigma / without_row
    assert_allclose(m.residuals("studentized"), expected, rtol=1e-9)
    with pytest.raises(ModelError, match="kind must be 'response', "):
        m.residuals("deleted")
