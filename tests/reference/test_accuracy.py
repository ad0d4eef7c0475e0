"""The criterion to 1e-8 and theta to 1e-6 of the best known optimum, also far from zero.

The figures (values/accuracy.json) are Newton-polished optima from several starts, evaluated by
QR, which is more exact than any package's own stop. A zero component of theta is compared
absolutely: its relative error means nothing.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from mixedmodels.errors import ConvergenceWarning, SingularFitWarning
from tests.reference import data
from tests.reference.fits import Fit, recorded, standard_deviations

TABLE = data.figures("accuracy")["table"]
SHIFTED = data.figures("accuracy")["shifted"]
SINGULAR = {"ChickWeight", "Dyestuff2"}
SLEEP_FORMULA = "Reaction ~ Days + (Days | Subject)"
# Days are whole numbers, so Days + C is exact in float64 for every one of these.
SHIFTS = [20, 50, 100, 500, 2_000, 20_000, 1_000_000, 100_000_000]

every_row = pytest.mark.parametrize(
    "row", [pytest.param(r, marks=pytest.mark.slow) if r == "InstEval" else r for r in TABLE]
)


def _criterion_tolerance(best: float) -> float:
    """1e-8; for |d| over 25,000 the rounding error of sums over all rows: 4e-13 |d|."""
    return max(1e-8, 4e-13 * abs(best))


@cache
def _table_fit(row: str) -> Fit:
    case = TABLE[row]
    return recorded(lambda: mm.lmer(case["formula"], data.load(case["dataset"])))


@every_row
def test_criterion_of_the_table(row: str) -> None:
    best = TABLE[row]["criterion"]
    assert _table_fit(row).model.reml_criterion == pytest.approx(
        best, rel=0, abs=_criterion_tolerance(best)
    )


@every_row
def test_theta_of_the_table(row: str) -> None:
    best = np.array(TABLE[row]["theta"])
    zero = np.abs(best) < 1e-9
    theta = np.asarray(_table_fit(row).model.theta)
    assert_allclose(theta[~zero], best[~zero], rtol=1e-6)
    assert_allclose(theta[zero], 0, rtol=0, atol=1e-5)


@every_row
def test_verdict_of_the_table(row: str) -> None:
    fit = _table_fit(row)
    assert fit.warned == ({SingularFitWarning} if row in SINGULAR else set())
    assert fit.model.converged
    assert fit.model.is_singular is (row in SINGULAR)


def test_saddle_is_not_sensitive_to_the_last_digits() -> None:
    """The same optimum for every jitter of 1e-12 (a known trap of this data set)."""
    case, frame = TABLE["saddle705"], data.load("saddle")
    rng = np.random.default_rng(705)
    for _ in range(5):
        jittered = frame.assign(AUCT=frame["AUCT"] * (1 + 1e-12 * rng.normal(size=len(frame))))
        model = mm.lmer(case["formula"], jittered)
        assert model.reml_criterion == pytest.approx(case["criterion"], rel=0, abs=1e-7)


# --- x moved far from zero: the restricted likelihood does not change -----------------------------


def test_offset_data_are_the_ones_of_the_table() -> None:
    """If this fails, the random generator changed, not the fitter."""
    frame = data.offset_data(0.0)
    assert frame["y"].sum() == pytest.approx(649.014032560612, rel=1e-13)
    assert frame["x"].sum() == pytest.approx(-30.8311061280606, rel=1e-13)


@cache
def _shifted_fit(row: str) -> Fit:
    case = SHIFTED[row]
    return recorded(lambda: mm.lmer(case["formula"], data.offset_data(case["shift"])))


def shifted_theta(theta: np.ndarray, shift: float) -> np.ndarray:
    """Theta of (x + shift | g) from theta of (x | g): the intercept is now that at x = -shift.

    The factor [[1, -shift], [0, 1]] Lambda is made lower triangular again by one rotation, written
    out so that nothing cancels.
    """
    if theta.size == 1:
        return theta
    a, b, c = theta
    left, right = a - shift * b, -shift * c
    radius = np.hypot(left, right)
    return np.array([radius, (b * left + c * right) / radius, a * c / radius])


def test_shifted_theta_keeps_the_covariance() -> None:
    theta, shift = np.array([0.97, 0.015, 0.23]), 3.0
    moved = np.array([[1, -shift], [0, 1]]) @ np.array([[0.97, 0], [0.015, 0.23]])
    expected = np.linalg.cholesky(moved @ moved.T)
    assert_allclose(shifted_theta(theta, shift), expected[[0, 1, 1], [0, 0, 1]], rtol=1e-12)


@pytest.mark.parametrize("row", list(SHIFTED))
def test_criterion_of_shifted_rows(row: str) -> None:
    """At 1e8, float64 keeps 8 digits of x: the optimum of the stored x is the reference there."""
    case = SHIFTED[row]
    best = case.get("criterion_as_stored", case["criterion"])
    fit = _shifted_fit(row)
    assert fit.model.reml_criterion == pytest.approx(best, rel=0, abs=1e-8)
    assert fit.model.reml_criterion == pytest.approx(case["criterion"], rel=0, abs=1e-6)
    assert fit.model.converged
    assert not fit.warned & {ConvergenceWarning, SingularFitWarning}


@pytest.mark.parametrize("row", list(SHIFTED))
def test_theta_of_shifted_rows(row: str) -> None:
    case = SHIFTED[row]
    expected = shifted_theta(np.array(case["theta"]), case["shift"])
    assert_allclose(_shifted_fit(row).model.theta, expected, rtol=1e-6)


@pytest.mark.parametrize("row", [r for r in SHIFTED if SHIFTED[r]["shift"]])
def test_slope_of_shifted_rows(row: str) -> None:
    kind = row.rsplit("_", 1)[0]
    plain, shifted = _slope(_shifted_fit(f"{kind}_0").model), _slope(_shifted_fit(row).model)
    assert_allclose(shifted, plain, rtol=1e-7 if SHIFTED[row]["shift"] < 1e8 else 1e-6)


def _slope(model: Any) -> list[float]:
    """What a shift of x must not change: slope, its standard error, sigma, sd of the slope."""
    sds = [sd for (_, term), sd in standard_deviations(model).items() if term != "Intercept"]
    return [model.beta[1], np.sqrt(np.asarray(model.vcov)[1, 1]), model.sigma, *sds]


@cache
def _sleep_fit(shift: int) -> Any:
    frame = data.load("sleepstudy")
    return recorded(lambda: mm.lmer(SLEEP_FORMULA, frame.assign(Days=frame["Days"] + shift))).model


@pytest.mark.parametrize("shift", SHIFTS)
def test_sleepstudy_shifted(shift: int) -> None:
    plain, model = _sleep_fit(0), _sleep_fit(shift)
    rtol = 1e-7 if shift < 1e8 else 1e-6
    assert model.reml_criterion == pytest.approx(plain.reml_criterion, rel=0, abs=1e-7)
    assert_allclose(_slope(model), _slope(plain), rtol=rtol)
    assert_allclose(model.fitted, plain.fitted, rtol=rtol)
    assert_allclose(
        model.theta, shifted_theta(np.asarray(plain.theta), shift), rtol=1e-6, err_msg="theta"
    )
    at_zero = model.beta[0] + shift * model.beta[1]  # loses as many digits as shift has
    assert_allclose(at_zero, plain.beta[0], rtol=1e-12 * shift + 1e-9)


def test_sleepstudy_shifted_agrees_with_r_at_zero() -> None:
    spec = data.figures("models")["sleep_rs_reml"]
    expected = [spec["beta"][1], spec["se"][1], spec["sigma"], spec["varcorr"][0]["sd"][1]]
    for shift in SHIFTS:
        assert_allclose(_slope(_sleep_fit(shift)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("scale", "shift"),
    [(2.0**-10, 0.0), (2.0**10, 0.0), (2.0**-30, 0.0), (2.0**-10, 2.0**20), (2.0**10, 2.0**20)],
)
def test_sleepstudy_scaled_and_shifted(scale: float, shift: float) -> None:
    """Powers of two keep x exact. REML measures X in its own units: 2 log(scale) is added."""
    plain, frame = _sleep_fit(0), data.load("sleepstudy")
    moved = frame.assign(Days=frame["Days"] * scale + shift)
    model = recorded(lambda: mm.lmer(SLEEP_FORMULA, moved)).model
    expected = plain.reml_criterion + 2 * np.log(scale)
    assert model.reml_criterion == pytest.approx(expected, rel=0, abs=1e-7)
    slope, se, sigma, sd = _slope(model)
    assert_allclose([slope * scale, se * scale, sigma, sd * scale], _slope(plain), rtol=1e-7)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 1e6), (1e-6, 0.0), (1e6, 0.0)])
def test_response_scaled_and_shifted(scale: float, shift: float) -> None:
    plain, frame = _sleep_fit(0), data.load("sleepstudy")
    moved = frame.assign(Reaction=frame["Reaction"] * scale + shift)
    model = recorded(lambda: mm.lmer(SLEEP_FORMULA, moved)).model
    df = plain.n_obs - len(plain.beta)
    expected = plain.reml_criterion + 2 * df * np.log(scale)
    assert model.reml_criterion == pytest.approx(expected, rel=0, abs=1e-7)
    assert_allclose(_slope(model), np.array(_slope(plain)) * scale, rtol=1e-7)


def test_row_and_level_order_do_not_matter() -> None:
    plain, frame = _sleep_fit(0), data.load("sleepstudy")
    shuffled = frame.sample(frac=1, random_state=1)
    renamed = shuffled.assign(Subject=pd.Series(shuffled["Subject"].astype(str)).str[::-1])
    model = recorded(lambda: mm.lmer(SLEEP_FORMULA, renamed)).model
    assert model.reml_criterion == pytest.approx(plain.reml_criterion, rel=0, abs=1e-8)
    assert_allclose(model.theta, plain.theta, rtol=1e-6)
