"""Names and values of the variance parameters: those that the fitted model shows."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from mixedmodels.errors import MixedModelsWarning, ModelError
from mixedmodels.inference import parameters
from tests.reference import data, fits

MODELS = [name for name in data.figures("models") if not name.startswith("insteval")]


def shown(model: mm.FittedModel) -> dict[str, float]:
    """The same values from theta, one term at a time."""
    out: dict[str, float] = {}
    for group, term in model.design.theta_order:
        label = model.design.groups[group].name
        columns = model.design.groups[group].terms[term].names
        factor = model.term_factor(group, term) * model.sigma
        covariance = factor @ factor.T
        sd = np.sqrt(np.diag(covariance))
        for i, name in enumerate(columns):
            if i not in model.working.terms[group][term].kept:
                continue
            out[f"sd_{name}|{label}"] = sd[i]
            for j in range(i):
                with np.errstate(invalid="ignore"):
                    out[f"cor_{name}.{columns[j]}|{label}"] = covariance[i, j] / (sd[i] * sd[j])
    return out | {"sigma": model.sigma}


@pytest.mark.parametrize("name", MODELS)
def test_every_reference_model(name: str) -> None:
    model = fits.reference_fit(name).model
    expected = shown(model)
    found = parameters.names(model)
    assert sorted(found) == sorted(expected)
    assert len(found) == model.n_params - len(model.beta)
    ours = parameters.values(model)
    assert_allclose(ours, [expected[n] for n in found], rtol=1e-9, atol=1e-7)

    at = model.optimum.at
    sigma = model.sigma / (model.design.y_scale * np.sqrt(model.rows.weight_scale))
    many = parameters.from_theta(
        model, np.tile(at.theta, (3, 1)), sigma * np.array([1.0, 2.0, 3.0])
    )
    is_cor = np.array([n.startswith("cor_") for n in found])
    for row, factor in zip(many, (1.0, 2.0, 3.0), strict=True):
        assert_allclose(row, ours * np.where(is_cor, 1.0, factor), rtol=1e-12)


def test_names_and_order() -> None:
    model = fits.reference_fit("sleep_rs_ml").model
    assert parameters.names(model) == [
        "sd_Intercept|Subject",
        "cor_Days.Intercept|Subject",
        "sd_Days|Subject",
        "sigma",
    ]


def test_linear_model_has_sigma_only() -> None:
    model = mm.lm("BW ~ time", mm.datasets.load("piglets"))
    assert parameters.names(model) == ["sigma"]
    assert_allclose(parameters.values(model), [model.sigma])


def test_zero_variance_has_no_correlation() -> None:
    model = fits.reference_fit("sleep_rs_ml").model
    theta = np.array([[0.0, 0.0, 0.5]])
    sd, cor, slope, _ = parameters.from_theta(model, theta, np.array([1.0]))[0]
    # working columns are orthogonal: the slope's variance alone moves the intercept at Days = 0
    assert sd > 0
    assert abs(cor) == pytest.approx(1.0)
    assert slope > 0
    nothing = parameters.from_theta(model, np.zeros((1, 3)), np.array([1.0]))[0]
    assert nothing[0] == nothing[2] == 0.0
    assert np.isnan(nothing[1])


def test_unidentified_columns_are_left_out_and_repeated_ones_numbered() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 5)
    x = rng.normal(size=100)
    y = rng.normal(size=20)[group] + x + rng.normal(size=100)
    frame = pd.DataFrame({"y": y, "x": x, "twice": 2.0 * x, "g": group.astype(str)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        model = mm.lmer("y ~ x + (0 + x + twice | g)", frame)
        repeated = mm.lmer("y ~ x + (1 | g) + (x | g)", frame)
    assert parameters.names(model) == ["sd_x|g", "sigma"]
    assert parameters.names(repeated).count("sd_Intercept|g") == 1
    assert "sd_Intercept|g.1" in parameters.names(repeated)


def test_slopes_are_those_by_differences() -> None:
    for name in ("sleep_rs_ml", "machines_vec_ml", "psyling_vec2_reml", "sleep_wt_reml"):
        model = fits.reference_fit(name).model
        ours, theta = parameters.slopes(model), model.optimum.at.theta
        cors = np.array([n.startswith("cor_") for n in parameters.names(model)])

        def scaled(theta: np.ndarray, log_variance: float) -> np.ndarray:
            values = parameters.from_theta(model, theta[None], np.exp([0.5 * log_variance]))[0]  # noqa: B023
            return np.where(cors, np.arctanh(np.where(cors, values, 0.0)), np.log(np.abs(values)))  # noqa: B023

        h = 1e-6
        for j, step in enumerate(h * np.eye(len(theta))):
            slope = (scaled(theta + step, 0.1) - scaled(theta - step, 0.1)) / (2.0 * h)
            assert_allclose(ours[:, j], slope, rtol=1e-5, atol=1e-6)
        slope = (scaled(theta, 0.1 + h) - scaled(theta, 0.1 - h)) / (2.0 * h)
        assert_allclose(ours[:, -1], slope, atol=1e-8)


def test_choice_of_parameters() -> None:
    model = fits.reference_fit("sleep_rs_ml").model
    assert parameters.chosen(model, None) == [0, 1, 2, 3, 4, 5]
    assert parameters.chosen(model, "theta_") == [0, 1, 2, 3]
    assert parameters.chosen(model, ["beta_", "sigma"]) == [3, 4, 5]
    with pytest.raises(ModelError, match="names no parameter of the model; it has sd_Intercept"):
        parameters.chosen(model, "sd_(Intercept)|Subject")
