"""What must not change a fit, and what must change it in a known way.

The criterion is compared tightly and theta loosely: near an optimum an error e in theta costs e**2.
Comparisons of theta go through V, in which signs and rotations of Lambda cancel.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from mixedmodels.model.fitted import FittedModel
from tests import naive
from tests.properties.designs import FIXED, SHAPES, Case, at_theta, make_case, quietly, random_theta

Array = NDArray[np.float64]
few = settings(deadline=None, derandomize=True, max_examples=15)
TIGHT = {"rtol": 1e-9, "atol": 1e-7}
LOOSE = {"rtol": 1e-4, "atol": 1e-4}


@st.composite
def simple_cases(draw: st.DrawFn, lefts: tuple[str, ...] = ("1", "x", "x ||", "0 + f")) -> Case:
    """Cases whose fits are cheap."""
    return make_case(
        draw(st.sampled_from(["one", "one", *SHAPES])),
        (draw(st.sampled_from(lefts)), "1"),
        draw(st.sampled_from(sorted(FIXED))),
        draw(st.integers(0, 10**6)),
        n=draw(st.integers(40, 60)),
        reml=draw(st.booleans()),
        weighted=draw(st.booleans()),
        with_offset=draw(st.booleans()),
        zero_share=draw(st.sampled_from([0.0, 0.5])),
    )


def relative_v(case: Case, model: FittedModel) -> Array:
    return naive.Solution(case.problem, model.theta, case.reml).V


def assert_same_fit(case: Case, a: FittedModel, b: FittedModel, shift: float = 0.0) -> None:
    assert_allclose(a.criterion + shift, b.criterion, **TIGHT)
    assert_allclose(a.sigma, b.sigma, **LOOSE)
    assert_allclose(a.fitted, b.fitted, **LOOSE)
    assert_allclose(relative_v(case, a), relative_v(case, b), **LOOSE)


@few
@given(simple_cases(), st.integers(0, 10**6))
def test_order_of_rows(case: Case, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(case.data))
    a, b = case.fit(), case.fit(data=case.data.iloc[order])
    assert_allclose(a.criterion, b.criterion, **TIGHT)
    assert_allclose(a.beta, b.beta, **LOOSE)
    assert_allclose(a.fitted[order], b.fitted, **LOOSE)
    assert_allclose(relative_v(case, a), relative_v(case, b), **LOOSE)


@few
@given(simple_cases(), st.integers(0, 10**6))
def test_names_and_order_of_levels(case: Case, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = case.data.copy()
    for group in set(case.groups):
        distinct = data[group].unique()
        fresh = dict(zip(distinct, rng.permutation(len(distinct)) + 100, strict=True))
        data[group] = pd.Categorical(data[group].map(fresh), rng.permutation(list(fresh.values())))
    a, b = case.fit(), case.fit(data=data)
    assert_same_fit(case, a, b)
    assert_allclose(a.beta, b.beta, **LOOSE)
    assert_allclose(a.theta, b.theta, **LOOSE)


@few
@given(simple_cases(), st.floats(-100, 100), st.sampled_from([1e-6, 0.3, -7.0, 1e6]))
def test_shift_and_scale_of_the_response(case: Case, shift: float, scale: float) -> None:
    if "1" not in FIXED[case.formula.split("~")[1].split(" + (")[0].strip()]:
        shift = 0.0
    data = case.data.assign(y=(shift + case.data["y"]) * scale, o=case.data["o"] * scale)
    a, b = case.fit(), case.fit(data=data)
    n, p = case.problem.X.shape
    moved = (n - p if case.reml else n) * 2.0 * math.log(abs(scale))
    assert_allclose(a.criterion + moved, b.criterion, rtol=1e-9, atol=1e-7)
    assert_allclose(a.sigma * abs(scale), b.sigma, rtol=1e-4)
    assert_allclose((a.fitted + shift) * scale, b.fitted, rtol=1e-4, atol=1e-3 * abs(scale))
    assert_allclose(relative_v(case, a), relative_v(case, b), **LOOSE)
    first = np.array([name == "Intercept" for name in a.term_names], dtype=np.float64)
    assert_allclose((a.beta + shift * first) * scale, b.beta, rtol=1e-4, atol=1e-3 * abs(scale))


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("shape", ["one", "nested", "crossed"])
@pytest.mark.parametrize(("shift", "scale"), [(2000.0, 1.0), (-3.0, 1e5), (1e6, 1e-3)])
def test_shift_and_scale_of_a_covariate(shape: str, reml: bool, shift: float, scale: float) -> None:
    case = make_case(shape, ("x", "1"), "x", 21, n=60, reml=reml)
    a, b = case.fit(), case.fit(data=case.data.assign(x=shift + scale * case.data["x"]))
    moved = 2.0 * math.log(scale) if reml else 0.0
    # the rounding of the shifted column itself moves the problem
    assert_allclose(a.criterion + moved, b.criterion, rtol=1e-8)
    assert_allclose(a.fitted, b.fitted, rtol=1e-5, atol=1e-5)
    se_a, se_b = np.sqrt(np.diag(a.vcov)), np.sqrt(np.diag(b.vcov))
    assert_allclose([a.beta[1], se_a[1]], [b.beta[1] * scale, se_b[1] * scale], rtol=1e-5)
    assert_allclose(a.beta[0], b.beta[0] + b.beta[1] * shift, rtol=1e-5, atol=1e-5)
    slopes = [
        frame.loc[frame["term"] == "x", "sd"].to_numpy() for frame in (a.varcorr(), b.varcorr())
    ]
    assert_allclose(slopes[0], slopes[1] * scale, rtol=1e-4, atol=1e-5)


@few
@given(simple_cases(), st.sampled_from([1e-9, 0.25, 3.0, 1e9]))
def test_a_common_factor_of_the_weights_goes_into_sigma(case: Case, factor: float) -> None:
    w = case.data["w"].to_numpy()
    a, b = case.fit(weights=w), case.fit(weights=w * factor)
    assert_allclose(a.criterion, b.criterion, **TIGHT)
    assert_allclose(a.sigma**2 * factor, b.sigma**2, rtol=1e-6)
    assert_allclose(a.theta, b.theta * math.sqrt(factor), **LOOSE)
    assert_allclose(a.beta, b.beta, **LOOSE)
    assert_allclose(a.vcov, b.vcov, **LOOSE)


@few
@given(simple_cases())
def test_weights_of_one_are_no_weights(case: Case) -> None:
    options = {k: v for k, v in case.options.items() if k != "weights"}
    plain = Case(case.formula, case.data, case.problem, case.groups, case.reml, options)
    a, b = plain.fit(), plain.fit(weights=np.ones(len(case.data)))
    assert_allclose(a.criterion, b.criterion, **TIGHT)
    assert_allclose(a.fitted, b.fitted, **LOOSE)


@pytest.mark.parametrize("shape", ["one", "nested", "crossed"])
def test_means_of_equal_rows_with_their_number_as_weight(shape: str) -> None:
    """At one theta, rows m times and rows of weight m differ in the divisor of sigma only."""
    case = make_case(shape, ("x", "1"), "x", 4, n=50)
    rng = np.random.default_rng(9)
    m = rng.integers(1, 4, 50)
    theta = random_theta(case.problem, rng)
    once = naive.Problem(case.problem.X, case.problem.y, case.problem.terms, m.astype(np.float64))
    repeat = np.repeat(np.arange(50), m)
    many = naive.Problem(
        case.problem.X[repeat],
        case.problem.y[repeat],
        tuple(naive.Term(t.codes[repeat], t.n_levels, t.z[repeat]) for t in case.problem.terms),
    )
    a = at_theta(case.prepare(weights=m.astype(np.float64)), theta)
    b = at_theta(case.prepare(data=case.data.iloc[repeat]), theta)
    for model, problem in ((a, once), (b, many)):
        truth = naive.Solution(problem, theta, reml=True)
        assert_allclose(model.criterion, truth.criterion, rtol=1e-10)
    assert_allclose(a.beta, b.beta, rtol=1e-9, atol=1e-10)
    assert_allclose(a.vcov / a.sigma**2, b.vcov / b.sigma**2, rtol=1e-9, atol=1e-10)
    assert_allclose(a.sigma**2 * (50 - 2), b.sigma**2 * (m.sum() - 2), rtol=1e-9)
    assert_allclose(a.ranef()["estimate"], b.ranef()["estimate"], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("coding", ["sum", "helmert"])
def test_contrasts(shape: str, reml: bool, coding: str) -> None:
    case = make_case(shape, ("1",), "x + f", 31, n=60, reml=reml)
    a, b = case.fit(), case.fit(contrasts={"f": coding})
    X = case.problem.X
    basis = np.linalg.lstsq(X, _columns_of(b), rcond=None)[0]
    log_det = np.linalg.slogdet(basis)[1]
    assert abs(log_det) > 0.1  # else this test would prove little
    assert_same_fit(case, a, b, 2.0 * log_det if reml else 0.0)
    assert_allclose(basis @ b.beta, a.beta, **LOOSE)
    assert_allclose(basis @ b.vcov @ basis.T, a.vcov, **LOOSE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reml", [True, False])
def test_another_basis_of_the_covariates(shape: str, reml: bool) -> None:
    case = make_case(shape, ("x", "1"), "x + f", 32, n=60, reml=reml)
    data = case.data
    data = data.assign(a=2 * data["x"] + 3 * data["z"], b=data["x"] - 0.5 * data["z"])
    bars = case.formula[case.formula.index("(") :]
    first = case.fit(formula=f"y ~ x + z + {bars}")
    second = case.fit(formula=f"y ~ a + b + {bars}", data=data)
    T = np.array([[2.0, 1.0], [3.0, -0.5]])
    assert_same_fit(case, first, second, 2.0 * np.linalg.slogdet(T)[1] if reml else 0.0)
    assert_allclose(T @ second.beta[1:], first.beta[1:], **LOOSE)


@pytest.mark.parametrize("reml", [True, False])
def test_another_basis_of_the_random_columns(reml: bool) -> None:
    """(x + z | g) in columns that span the same: another Lambda, the same model."""
    case = make_case("one", ("x + z",), "x", 33, n=60, reml=reml)
    data = case.data.assign(
        a=5 + 2 * case.data["x"] + 3 * case.data["z"], b=case.data["x"] - case.data["z"]
    )
    first = case.fit()
    second = case.fit(formula="y ~ x + (a + b | g)", data=data)
    assert_allclose(first.criterion, second.criterion, **TIGHT)
    assert_allclose(first.fitted, second.fitted, **LOOSE)
    assert_allclose(first.sigma, second.sigma, **LOOSE)


@few
@given(simple_cases(), st.integers(0, 10**6))
def test_refit(case: Case, seed: int) -> None:
    y = case.data["y"].to_numpy() + np.random.default_rng(seed).normal(size=len(case.data))
    a, b = case.fit(), case.fit(data=case.data.assign(y=y))
    again = quietly(lambda: a.refit(y))
    assert_same_fit(case, again, b)
    assert_allclose(again.beta, b.beta, **LOOSE)
    assert_allclose(again.response, y, rtol=1e-12, atol=1e-12)


@few
@given(simple_cases())
def test_update_of_the_criterion(case: Case) -> None:
    other = case.fit(reml=not case.reml)
    updated = quietly(lambda: case.fit().update(reml=not case.reml))
    assert updated.reml is (not case.reml)
    assert_same_fit(case, updated, other)
    back = quietly(lambda: updated.update(reml=case.reml))
    assert_same_fit(case, back, case.fit())


@few
@given(simple_cases(), st.integers(0, 10**6))
def test_start(case: Case, seed: int) -> None:
    """Small problems may have several optima: ours is never the worse one."""
    rng = np.random.default_rng(seed)
    a = case.fit()
    b = case.fit(start=random_theta(case.problem, rng))
    c = case.fit(start=a.theta)
    assert a.criterion <= b.criterion + 1e-7
    assert_allclose(a.criterion, c.criterion, **TIGHT)


def _columns_of(model: FittedModel) -> Array:
    """X of a fit, from its recipes."""
    recipe = model.design.x_recipe[:, model.working.fixed.kept]
    return np.asarray((recipe.T @ model.rows.base).T)
