"""Forty-three models against R's lme4 at its polished optimum (values/models.json).

Tolerances are relative to what matters: a coefficient to its standard error, a conditional mode to
the standard deviation of its term. At a singular optimum the criterion is flat in some direction
of theta, so there the estimates are compared more loosely and the criterion only from above.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from mixedmodels.errors import RankDeficiencyWarning, SingularFitWarning
from tests.reference import data, names
from tests.reference.fits import (
    criterion,
    factors_of,
    modes,
    our_terms,
    recorded,
    reference_fit,
    standard_deviations,
)

MODELS = data.figures("models")


def _params(ids: list[str]) -> list[Any]:
    return [pytest.param(i, marks=pytest.mark.slow) if "insteval" in i else i for i in ids]


every_model = pytest.mark.parametrize("model_id", _params(list(MODELS)))
regular_model = pytest.mark.parametrize(
    "model_id", _params([i for i, spec in MODELS.items() if not spec["singular"]])
)
reml_model = pytest.mark.parametrize("model_id", _params([i for i in MODELS if "ml" in MODELS[i]]))


def _tolerance(spec: dict[str, Any], regular: float = 1e-5) -> float:
    return 1e-3 if spec["singular"] else regular


@every_model
def test_criterion(model_id: str) -> None:
    spec, model = MODELS[model_id], reference_fit(model_id).model
    assert (model.reml_criterion is not None) is spec["reml"]
    assert (model.deviance is None) is spec["reml"]
    gap = criterion(model) - spec["objective"]
    assert gap <= 1e-6
    assert gap >= -1e-4 if spec["singular"] else gap >= -1e-6, "lower than the polished optimum"


@every_model
def test_information_criteria_and_counts(model_id: str) -> None:
    spec, model = MODELS[model_id], reference_fit(model_id).model
    tolerance = 1e-4 if spec["singular"] else 2e-6
    for name in ("loglik", "aic", "aicc", "bic"):
        assert getattr(model, name) == pytest.approx(spec[name], rel=0, abs=tolerance), name
    assert model.n_params == spec["n_params"]
    assert model.df_resid == spec["df_resid"]
    assert model.n_obs == spec["n"]
    expected = {names.group(g, spec["formula"]): n for g, n in spec["n_groups"].items()}
    assert dict(model.n_groups) == expected


@every_model
def test_verdict_and_warnings(model_id: str) -> None:
    spec, fit = MODELS[model_id], reference_fit(model_id)
    expected = set()
    if spec["singular"]:
        expected.add(SingularFitWarning)
    if spec["dropped"]:
        expected.add(RankDeficiencyWarning)
    assert fit.warned == expected
    assert fit.model.converged
    assert fit.model.is_singular is spec["singular"]


@every_model
def test_fixed_effects(model_id: str) -> None:
    spec, model = MODELS[model_id], reference_fit(model_id).model
    ours = list(model.term_names)
    expected = our_terms(spec, spec["terms"])
    assert sorted(ours) == sorted(expected)
    order = [ours.index(term) for term in expected]
    se, tolerance = np.array(spec["se"]), _tolerance(spec)
    beta, vcov = np.asarray(model.beta)[order], np.asarray(model.vcov)[np.ix_(order, order)]
    assert_allclose(beta / se, np.array(spec["beta"]) / se, rtol=0, atol=tolerance)
    assert_allclose(np.sqrt(np.diag(vcov)), se, rtol=tolerance)
    scale = np.outer(se, se)
    assert_allclose(vcov / scale, np.array(spec["vcov"]) / scale, rtol=0, atol=2 * tolerance)


@every_model
def test_variance_components(model_id: str) -> None:
    spec, model = MODELS[model_id], reference_fit(model_id).model
    close = {"rtol": 0, "atol": 1e-3} if spec["singular"] else {"rtol": 1e-5}
    assert_allclose(model.sigma, spec["sigma"], **close)
    ours = standard_deviations(model)
    expected = {
        (names.group(part["group"], spec["formula"]), term): sd
        for part in spec["varcorr"]
        for term, sd in zip(our_terms(spec, part["terms"]), part["sd"], strict=True)
    }
    assert ours.keys() == expected.keys()
    for key, sd in expected.items():
        assert_allclose(ours[key], sd, **close, err_msg=str(key))


@every_model
def test_residual_row_of_varcorr(model_id: str) -> None:
    model = reference_fit(model_id).model
    frame = model.varcorr()
    residual = frame[frame["group"] == "Residual"]
    assert len(residual) == 1
    assert residual["sd"].iloc[0] == pytest.approx(model.sigma, rel=1e-12)
    assert residual["variance"].iloc[0] == pytest.approx(model.sigma**2, rel=1e-12)


@regular_model
def test_theta(model_id: str) -> None:
    """Each row of a relative factor holds one relative SD and its correlations."""
    spec, model = MODELS[model_id], reference_fit(model_id).model
    sizes = [len(part["terms"]) for part in spec["varcorr"]]
    ours = factors_of(np.asarray(model.theta), sizes)
    for mine, theirs in zip(ours, factors_of(np.array(spec["theta"]), sizes), strict=True):
        row_scale = np.linalg.norm(theirs, axis=1, keepdims=True)
        assert_allclose(mine / row_scale, theirs / row_scale, rtol=0, atol=1e-5)


@every_model
def test_conditional_modes(model_id: str) -> None:
    spec, ours = MODELS[model_id], modes(reference_fit(model_id).model)
    n_modes = 0
    for r_group, part in spec["ranef"].items():
        group = names.group(r_group, spec["formula"])
        n_modes += part["n_levels"] * len(part["columns"])
        for j, term in enumerate(our_terms(spec, part["columns"])):
            found = {key[1]: value for key, value in ours.items() if key[::2] == (group, term)}
            atol = _mode_tolerance(spec, r_group, part["columns"][j])
            _check_modes(found, part, j, spec["formula"], atol)
    assert len(ours) == n_modes


def _mode_tolerance(spec: dict[str, Any], r_group: str, r_term: str) -> float:
    """1e-5 of the standard deviation of the term; singular: 1e-3 of the model's largest one."""
    sds = {
        (names.group(part["group"], ""), term): sd
        for part in spec["varcorr"]
        for term, sd in zip(part["terms"], part["sd"], strict=True)
    }
    if spec["singular"]:
        return 1e-3 * (max(sds.values()) or 1.0)
    return 1e-5 * sds[r_group, r_term]


def _check_modes(
    ours: dict[str, tuple[float, float]], part: dict[str, Any], j: int, formula: str, atol: float
) -> None:
    """Compare column j of one grouping factor: a few levels one by one, then sums over all."""
    assert len(ours) == part["n_levels"]
    levels = [names.level(label, formula) for label in part["levels"]]
    expected = [row[j] for row in part["modes"]]
    assert_allclose([ours[name][0] for name in levels], expected, rtol=0, atol=atol)
    if part["sds"] is not None:
        expected = [row[j] for row in part["sds"]]
        assert_allclose([ours[name][1] for name in levels], expected, rtol=0, atol=atol)
    values = np.array([value[0] for value in ours.values()])
    total, n = part["sum_abs"][j], len(ours)
    assert_allclose(np.abs(values).sum(), total, rtol=0, atol=atol * n)
    bound = 2 * atol * total + n * atol**2
    assert_allclose((values**2).sum(), part["sum_sq"][j], rtol=1e-12, atol=bound)


@every_model
def test_fitted_and_residuals(model_id: str) -> None:
    spec, model = MODELS[model_id], reference_fit(model_id).model
    rtol = 1e-4 if spec["singular"] else 1e-6
    fitted = np.asarray(model.fitted, dtype=float)
    residuals = np.asarray(model.residuals("response"), dtype=float)
    size = np.abs(spec["fitted"]).max()
    assert fitted.shape == residuals.shape == (spec["n"],)
    assert_allclose(fitted[:6], spec["fitted"], rtol=rtol)
    assert_allclose(residuals[:6], spec["residuals"], rtol=0, atol=rtol * size)
    if spec["pearson"] is not None:
        pearson = np.asarray(model.residuals("pearson"), dtype=float)
        assert_allclose(pearson[:6], spec["pearson"], rtol=0, atol=rtol * size)
    sums = spec["sums"]
    assert_allclose(fitted.sum(), sums["sum_fitted"], rtol=rtol)
    assert_allclose((fitted**2).sum(), sums["sum_sq_fitted"], rtol=rtol)
    assert_allclose((residuals**2).sum(), sums["sum_sq_residuals"], rtol=max(rtol, 1e-5))


@reml_model
def test_update_to_maximum_likelihood(model_id: str) -> None:
    spec = MODELS[model_id]
    model = recorded(lambda: reference_fit(model_id).model.update(reml=False)).model
    ml = spec["ml"]
    assert model.reml_criterion is None
    for name in ("deviance", "aic", "aicc", "bic"):
        tolerance = 1e-4 if spec["singular"] else 2e-6
        assert getattr(model, name) == pytest.approx(ml[name], rel=0, abs=tolerance), name
    assert model.sigma == pytest.approx(ml["sigma"], rel=_tolerance(spec))
    ours = list(model.term_names)
    order = [ours.index(term) for term in our_terms(spec, spec["terms"])]
    se = np.array(spec["se"])
    assert_allclose(
        np.asarray(model.beta)[order] / se, ml["beta"] / se, rtol=0, atol=_tolerance(spec)
    )


@pytest.mark.parametrize("model_id", ["sleep_rs_reml", "penicillin_ml", "machines_vec0_reml"])
def test_refit_of_a_transformed_response(model_id: str) -> None:
    """y -> 3 y + 100 moves the intercept and scales the rest; theta stays."""
    spec, model = MODELS[model_id], reference_fit(model_id).model
    y = data.load(spec["dataset"])[spec["formula"].split(" ~")[0]].to_numpy(dtype=float)
    again = model.refit(3 * y + 100)
    assert_allclose(again.theta, model.theta, rtol=1e-6, atol=1e-7)
    assert_allclose(again.sigma, 3 * model.sigma, rtol=1e-7)
    assert_allclose(again.beta[0], 3 * model.beta[0] + 100, rtol=1e-7)
    assert_allclose(again.beta[1:], 3 * np.asarray(model.beta)[1:], rtol=1e-6)
