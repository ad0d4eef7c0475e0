"""Satterthwaite's degrees of freedom: lmerTest's values, and the definition worked out on V."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

import mixedmodels as mm
from mixedmodels.inference.satterthwaite import combined, degrees_of_freedom, f_test
from mixedmodels.quantiles import t_tails
from tests import naive
from tests.properties.designs import Case, cases
from tests.reference import data, fits

VALUES = data.figures("satterthwaite")
# lmerTest differentiates numerically; its singular fit of `cake` stops short of the boundary
CLOSE = dict.fromkeys(VALUES, 1e-5) | {"cake_sing_reml": 1e-4}
SMALL = [name for name in VALUES if not name.startswith("insteval")]


@pytest.mark.parametrize("name", SMALL)
def test_lmertest_values(name: str) -> None:
    model = fits.reference_fit(name).model
    theirs = VALUES[name]
    terms = fits.our_terms(data.figures("models")[name], list(theirs))
    df, t, p = (np.array(column) for column in zip(*theirs.values(), strict=True))
    table = model.tidy()
    ours = {term: i for i, term in enumerate(table["term"])}
    order = [ours[term] for term in terms]
    assert_allclose(table["df"].to_numpy()[order], df, rtol=CLOSE[name])
    assert_allclose(table["statistic"].to_numpy()[order], t, rtol=1e-4)
    assert_allclose(table["p_value"].to_numpy()[order], p, rtol=1e-3, atol=1e-12)
    half = (table["conf_high"] - table["conf_low"]) / 2.0
    assert_allclose(half, stats.t.ppf(0.975, table["df"]) * table["std_error"], rtol=1e-9)


def textbook(case: Case, theta: np.ndarray, L: np.ndarray) -> np.ndarray:
    """2 v**2 / Var(v) with every derivative taken by differences on the textbook formulas."""
    n, p = case.problem.X.shape
    nu = n - p if case.reml else n

    def criterion(psi: np.ndarray) -> float:
        """-2 log likelihood as a function of theta and log(sigma**2), neither profiled out."""
        at = naive.Solution(case.problem, psi[:-1], case.reml)
        value = np.linalg.slogdet(at.V)[1] + nu * psi[-1] + at.r2 / np.exp(psi[-1])
        return float(value - (np.linalg.slogdet(at.unscaled_vcov)[1] if case.reml else 0.0))

    def variance(psi: np.ndarray) -> np.ndarray:
        at = naive.Solution(case.problem, psi[:-1], case.reml)
        return np.exp(psi[-1]) * np.einsum("ma,ab,mb->m", L, at.unscaled_vcov, L)

    psi = np.append(theta, 2.0 * np.log(naive.Solution(case.problem, theta, case.reml).sigma))
    k, h = len(psi), 1e-3
    unit = np.eye(k) * h
    slope = np.array(
        [
            (
                8 * (variance(psi + u) - variance(psi - u))
                - variance(psi + 2 * u)
                + variance(psi - 2 * u)
            )
            / (12 * h)
            for u in unit
        ]
    )
    hessian = np.array(
        [
            [
                criterion(psi + a + b)
                - criterion(psi + a - b)
                - criterion(psi - a + b)
                + criterion(psi - a - b)
                for b in unit
            ]
            for a in unit
        ]
    ) / (4 * h * h)
    covariance = 2.0 * np.linalg.inv(hessian)
    v = variance(psi)
    return 2.0 * v * v / np.einsum("jm,jk,km->m", slope, covariance, slope)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(cases(), st.integers(0, 10**6))
def test_the_definition(case: Case, seed: int) -> None:
    model = case.fit()
    p = len(model.beta)
    if p == 0 or model.is_singular or not model.converged:
        return
    if model.convergence.smallest_eigenvalue < 1.0:
        return  # nearly flat: differences of the textbook formulas have no digits there
    L = np.vstack([np.eye(p), np.random.default_rng(seed).normal(size=(2, p))])
    ours, theirs = degrees_of_freedom(model, L), textbook(case, model.theta, L)
    assert_allclose(ours, theirs, rtol=5e-3)


def balanced() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    plot = np.repeat(np.arange(12), 4)
    treatment = np.array(["a", "b", "c"])[plot % 3]
    y = rng.normal(size=12)[plot] * 2.0 + (treatment == "b") + rng.normal(size=48)
    time = np.tile(np.arange(4.0), 12)
    return pd.DataFrame({"y": y, "plot": plot.astype(str), "treatment": treatment, "time": time})


def test_balanced_split_plots_have_their_textbook_degrees_of_freedom() -> None:
    """12 plots, 3 treatments between plots, time within: 9 and 35 degrees of freedom."""
    model = mm.lmer("y ~ treatment + time + (1 | plot)", balanced())
    names = model.term_names
    between = np.eye(4)[[names.index("treatment[T.b]"), names.index("treatment[T.c]")]]
    statistic, num_df, den_df = f_test(model, between)
    assert num_df == 2
    assert den_df == pytest.approx(9.0, rel=1e-6)
    within = np.eye(4)[[names.index("time")]]
    assert f_test(model, within)[2] == pytest.approx(35.0, rel=1e-6)
    # the classical F: plot means against the variance between plots
    means = balanced().groupby(["plot", "treatment"])["y"].mean().reset_index()
    classical = stats.f_oneway(*(g["y"] for _, g in means.groupby("treatment")))
    assert statistic == pytest.approx(classical.statistic, rel=1e-6)


def test_dependent_rows_and_units_change_nothing() -> None:
    data = balanced()
    model = mm.lmer("y ~ treatment + time + (1 | plot)", data)
    other = mm.lmer(
        "y ~ treatment + time + (1 | plot)", data.assign(y=1e3 * data["y"], time=data["time"] + 1e5)
    )
    assert_allclose(other.tidy()["df"][1:], model.tidy()["df"][1:], rtol=1e-6)
    L = np.eye(4)[1:3]
    again = np.vstack([L, L[0] - 2.0 * L[1]])
    assert_allclose(f_test(model, again), f_test(model, L), rtol=1e-9)
    statistic, num_df, _ = f_test(model, np.zeros((2, 4)))
    assert np.isnan(statistic)
    assert num_df == 0


def test_one_row_is_the_squared_t() -> None:
    model = mm.lmer("y ~ treatment + time + (1 | plot)", balanced())
    table = model.tidy()
    for i, row in enumerate(np.eye(4)):
        statistic, _, df = f_test(model, row)
        assert statistic == pytest.approx(table["statistic"][i] ** 2)
        assert df == pytest.approx(table["df"][i])


def test_degrees_of_freedom_combine_as_fai_and_cornelius() -> None:
    assert combined(np.array([7.0, 7.0])) == 7.0
    assert combined(np.array([2.0, 9.0])) == 2.0
    expected = 10 / 8 + 20 / 18
    assert combined(np.array([10.0, 20.0])) == pytest.approx(2 * expected / (expected - 2))


def test_none_leaves_the_normal_distribution() -> None:
    table = mm.lmer("y ~ time + (1 | plot)", balanced()).tidy(ddf="none")
    assert table["df"].isna().all()
    assert table["p_value"].isna().all()
    half = (table["conf_high"] - table["conf_low"]) / 2.0
    assert_allclose(half, stats.norm.ppf(0.975) * table["std_error"], rtol=1e-12)


@pytest.mark.parametrize("df", [2e8, 1e11, 1e200])
@pytest.mark.parametrize("t", [0.1, 1.96, 30.0])
def test_tails_of_t_with_many_degrees_of_freedom_are_normal(t: float, df: float) -> None:
    # the difference is of the order (1 + t**4) / df
    assert t_tails(t, df) == pytest.approx(
        2.0 * stats.norm.sf(t), rel=2.0 * (1.0 + t**4) / df + 1e-12
    )
    assert t_tails(t, 2e8) == pytest.approx(2.0 * stats.t.sf(t, 2e8), rel=1e-7)


@given(st.floats(-300, 300), st.floats(0.1, 1e7))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_tails_of_t_are_scipys(t: float, df: float) -> None:
    assert t_tails(t, df) == pytest.approx(2.0 * stats.t.sf(abs(t), df), rel=2e-8, abs=1e-250)


def test_tails_of_t_at_the_ends() -> None:
    assert t_tails(0.0, 5.0) == 1.0
    assert t_tails(np.inf, 5.0) == 0.0
    assert np.isnan(t_tails(np.nan, 5.0))
    assert np.isnan(t_tails(1.0, np.nan))
