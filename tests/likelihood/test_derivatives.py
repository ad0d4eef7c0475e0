"""Exact gradients, Hessians and one-sided derivatives against differences, anywhere in theta."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from mixedmodels.likelihood.covariance import (
    covariance_root,
    factors_from_theta,
    theta_from_factors,
)
from mixedmodels.likelihood.objective import Objective
from tests.properties.designs import Case, cases

Array = NDArray[np.float64]
few = settings(deadline=None, derandomize=True, max_examples=50)
zeros = st.sampled_from([0.0, 0.0, 0.5, 1.0])


def differences(f: Callable[[Array], Array | float], at: Array, step: float = 1e-3) -> Array:
    """Five-point central differences: the error is of the order step**4."""
    rows = []
    for j in range(len(at)):
        unit = np.zeros(len(at))
        unit[j] = step
        near = np.asarray(f(at + unit)) - np.asarray(f(at - unit))
        far = np.asarray(f(at + 2 * unit)) - np.asarray(f(at - 2 * unit))
        rows.append((8.0 * near - far) / (12.0 * step))
    return np.array(rows)


def somewhere(objective: Objective, seed: int, zero_share: float) -> Array:
    """Random working theta; a column of Lambda may be zero, or nearly."""
    rng = np.random.default_rng(seed)
    parts = []
    for template in objective.templates:
        kill = rng.choice([0.0, 1e-6], template.q)
        alive = rng.random(template.q) >= zero_share
        scale = np.where(alive, 0.7, kill)[template.cols]
        parts.append(rng.normal(size=template.n_theta) * scale)
    return np.concatenate(parts)


@few
@given(cases(), st.integers(0, 10**6), zeros)
def test_gradient(case: Case, seed: int, zero_share: float) -> None:
    objective = case.prepare().objective
    theta = somewhere(objective, seed, zero_share)
    wanted = differences(lambda t: objective.evaluate(t).value, theta)
    found = objective.evaluate(theta).gradient
    assert_allclose(found, wanted, rtol=1e-6, atol=1e-6 * (1 + np.abs(wanted).max()))


@few
@given(cases(), st.integers(0, 10**6), zeros)
def test_hessian(case: Case, seed: int, zero_share: float) -> None:
    objective = case.prepare().objective
    theta = somewhere(objective, seed, zero_share)
    wanted = differences(lambda t: objective.evaluate(t).gradient, theta)
    at = objective.evaluate(theta)
    exact = objective.blocks.exact_hessian
    found = objective.hessian(at) if exact else objective.difference_hessian(at)
    # one-sided differences of step 1e-5 where there is no formula
    error = 1e-6 if exact else 2e-3
    assert_allclose(found, wanted, rtol=error, atol=error * (1 + np.abs(wanted).max()))
    assert_allclose(found, found.T, rtol=1e-12, atol=1e-10)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(cases(("one",)), st.integers(0, 10**6), zeros)
def test_exact_hessian_of_one_factor(case: Case, seed: int, zero_share: float) -> None:
    test_hessian.hypothesis.inner_test(case, seed, zero_share)


@few
@given(cases(), st.integers(0, 10**6), zeros, st.data())
def test_one_sided_derivative_in_the_covariance(
    case: Case, seed: int, zero_share: float, data: st.DataObject
) -> None:
    """``by_covariance`` is what a little more variance in a direction costs."""
    objective = case.prepare().objective
    theta = somewhere(objective, seed, zero_share)
    theta[np.abs(theta) < 1e-5] = 0.0
    at = objective.evaluate(theta)
    k = data.draw(st.integers(0, len(objective.templates) - 1))
    template = objective.templates[k]
    part = template.parts[data.draw(st.integers(0, len(template.parts) - 1))]
    direction = np.random.default_rng(seed).normal(size=part.stop - part.start)
    direction /= np.linalg.norm(direction)

    def value(variance: float) -> float:
        trial = factors_from_theta(objective.templates, theta)
        own = trial[k][part, part]
        trial[k][part, part] = covariance_root(
            own @ own.T + variance * np.multiply.outer(direction, direction)
        )
        return objective.evaluate(theta_from_factors(objective.templates, trial)).value

    # four points on one side: a covariance has no other
    h = 1e-4
    wanted = (-11 * at.value + 18 * value(h) - 9 * value(2 * h) + 2 * value(3 * h)) / (6 * h)
    found = direction @ at.by_covariance[k][part, part] @ direction
    assert_allclose(found, wanted, rtol=1e-4, atol=1e-4 * (1 + np.abs(at.by_covariance[k]).max()))
