"""`confint`: lme4's Wald limits, the delta method by differences, exact limits of linear models."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import mixedmodels as mm
from mixedmodels.errors import ModelError
from mixedmodels.inference import parameters
from tests import naive
from tests.reference import data, fits

WALD = data.figures("wald")
Z = 1.959963984540054


@pytest.mark.parametrize("name", WALD)
def test_wald_limits_of_lme4(name: str) -> None:
    model = fits.reference_fit(name).model
    terms = fits.our_terms(data.figures("models")[name], list(WALD[name]))
    table = mm.confint(model, parm="beta_").set_index("term").loc[terms]
    theirs = np.array(list(WALD[name].values()))
    width = theirs[:, 1] - theirs[:, 0]
    # their standard errors come from an optimiser that stops a little earlier
    assert (np.abs(table[["conf_low", "conf_high"]] - theirs).max(axis=1) < 2e-5 * width).all()
    assert_allclose(table["estimate"], model.fixef().set_index("term").loc[terms, "estimate"])


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
def test_students_t_on_request(ddf: str) -> None:
    model = fits.reference_fit("sleep_rs_reml").model
    table, tidy = mm.confint(model, ddf=ddf, level=0.9, parm="beta_"), model.tidy(ddf, 0.9)
    assert_allclose(table["conf_low"], tidy["conf_low"])
    assert_allclose(table["conf_high"], tidy["conf_high"])


def dense_criterion(model: Any, values: np.ndarray, *, reml: bool) -> float:
    """The sleepstudy deviance or REML criterion by log SDs, Fisher's z and log(sigma)."""
    frame = model.source.data
    days = frame["Days"].to_numpy(float)
    X = np.column_stack([np.ones(len(days)), days])
    codes = frame["Subject"].cat.codes.to_numpy()
    sd, cor, sigma = np.exp(values[[0, 2]]), np.tanh(values[1]), np.exp(values[3])
    lower = np.array([[sd[0], 0.0], [cor * sd[1], sd[1] * np.sqrt(1.0 - cor**2)]]) / sigma
    term = naive.Term(codes, 18, X)
    problem = naive.Problem(X, frame["Reaction"].to_numpy(float), (term,))
    at = naive.Solution(problem, np.array([lower[0, 0], lower[1, 0], lower[1, 1]]), reml)
    value = np.linalg.slogdet(at.V)[1] + at.df * np.log(sigma**2) + at.r2 / sigma**2
    return float(value - (np.linalg.slogdet(at.unscaled_vcov)[1] if reml else 0.0))


@pytest.mark.parametrize("name", ["sleep_rs_ml", "sleep_rs_reml"])
def test_variance_parameters_by_the_delta_method(name: str) -> None:
    model = fits.reference_fit(name).model
    table = mm.confint(model, parm="theta_")
    estimate = table["estimate"].to_numpy()
    assert_allclose(estimate, parameters.values(model))
    at = np.array(
        [np.log(estimate[0]), np.arctanh(estimate[1]), np.log(estimate[2]), np.log(estimate[3])]
    )
    h = 1e-3
    steps = h * np.eye(4)
    hessian = np.array(
        [
            [
                sum(
                    s * t * dense_criterion(model, at + s * a + t * b, reml=model.reml)
                    for s in (1, -1)
                    for t in (1, -1)
                )
                for b in steps
            ]
            for a in steps
        ]
    ) / (4.0 * h * h)
    error = np.sqrt(np.diag(np.linalg.inv(hessian)) * 2.0)
    for side, column in ((-1, "conf_low"), (1, "conf_high")):
        expected = at + side * Z * error
        ours = table[column].to_numpy()
        ours = [np.log(ours[0]), np.arctanh(ours[1]), np.log(ours[2]), np.log(ours[3])]
        # differences of second order: good to h**2
        assert_allclose(ours, expected, atol=1e-4 * error.max())


def test_variances_at_a_boundary_have_no_wald_limits() -> None:
    table = mm.confint(fits.reference_fit("cake_sing_reml").model).set_index("term")
    assert table.loc["cor_temp.Intercept|replicate", ["conf_low", "conf_high"]].isna().all()
    zero = mm.confint(fits.reference_fit("dyestuff2_ml").model).set_index("term")
    assert zero.loc["sd_Intercept|Batch", ["conf_low", "conf_high"]].isna().all()
    assert zero.loc["sigma"].notna().all()


def test_linear_models_have_exact_limits() -> None:
    model = mm.lm("BW ~ time * treatm", mm.datasets.load("piglets"))
    table = mm.confint(model, level=0.9).set_index("term")
    df = model.df_resid
    se = np.sqrt(np.diag(model.vcov))
    assert_allclose(table["conf_low"][1:], model.beta - stats.t.ppf(0.95, df) * se, rtol=1e-9)
    low, high = model.sigma * np.sqrt(df / stats.chi2.ppf([0.95, 0.05], df))
    assert table.loc["sigma", "conf_low"] == pytest.approx(low)
    assert table.loc["sigma", "conf_high"] == pytest.approx(high)


def test_bootstrap() -> None:
    model = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    drawn = model.bootstrap(99, seed=5)
    terms = [*parameters.names(model), "Intercept", "time"]
    for kind in ("percentile", "basic", "bca"):
        table = mm.confint(model, "boot", n_sim=99, seed=5, boot_type=kind, level=0.9)
        assert table["term"].tolist() == terms
        assert table.index.tolist() == list(range(6))
        own = drawn.confint(kind, 0.9).set_index("term").loc[terms]
        assert_allclose(table[["conf_low", "conf_high"]], own[["conf_low", "conf_high"]])
    some = mm.confint(model, "boot", n_sim=19, seed=5, parm=["time", "sigma"])
    assert some["term"].tolist() == ["sigma", "time"]


@pytest.mark.parametrize("method", ["wald", "profile", "boot"])
def test_frames_come_in_the_users_kind(method: Any) -> None:
    frame = pl.from_pandas(data.load("sleepstudy"))
    model = mm.lmer("Reaction ~ Days + (1 | Subject)", frame)
    table = mm.confint(model, method, n_sim=19, seed=1)
    assert isinstance(table, pl.DataFrame)
    assert table.columns == ["term", "estimate", "conf_low", "conf_high"]
    assert table["term"].to_list() == ["sd_Intercept|Subject", "sigma", "Intercept", "Days"]
    assert (
        (table["conf_low"] < table["estimate"]) & (table["estimate"] < table["conf_high"])
    ).all()


def test_errors() -> None:
    model = fits.reference_fit("sleep_rs_ml").model
    with pytest.raises(ModelError, match="method must be 'wald', 'profile' or 'boot', not 'exact'"):
        mm.confint(model, "exact")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="level must lie between 0 and 1, not 95"):
        mm.confint(model, level=95)
    with pytest.raises(ModelError, match=r"ddf must be .* not 'kr'"):
        mm.confint(model, ddf="kr")
    with pytest.raises(ModelError, match="REML"):
        mm.confint(model, ddf="kenward-roger")
    with pytest.raises(ModelError, match=r"parm=\['day'\] names no parameter of the model; it has"):
        mm.confint(model, parm=["Days", "day"])
    with pytest.raises(ModelError, match="'percentile', 'basic' or 'bca'"):
        mm.confint(model, "boot", n_sim=3, boot_type="t")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"model must be a fitted model .*, not a dict"):
        mm.confint({})  # type: ignore[arg-type]
