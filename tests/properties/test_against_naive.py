"""All that a fit says equals the textbook formulas, at the optimum and at any other theta."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.predict import leverage
from tests import naive
from tests.properties.designs import SHAPES, Case, at_theta, cases, make_case, random_theta

CLOSE = {"rtol": 1e-8, "atol": 1e-8}
quick = settings(deadline=None, derandomize=True, max_examples=60)


# (group, level) -> (mode, its standard deviation) of each column
Modes = dict[tuple[str, str], list[tuple[float, float]]]


def mode_table(model: FittedModel) -> Modes:
    table: Modes = {}
    frame = model.ranef()
    for group, level, mode, sd in zip(
        frame["group"], frame["level"], frame["estimate"], frame["std_error"], strict=True
    ):
        table.setdefault((group, level), []).append((mode, sd))
    return table


def naive_table(case: Case, solution: naive.Solution) -> Modes:
    table: Modes = {}
    modes = solution.modes
    sds = np.sqrt(np.maximum(np.diag(solution.mode_covariance), 0.0))
    start = 0
    for group, term in zip(case.groups, case.problem.terms, strict=True):
        labels = np.unique(case.data[group].to_numpy(str))
        for i, label in enumerate(labels):
            at = slice(start + i * term.q, start + (i + 1) * term.q)
            table.setdefault((group, str(label)), []).extend(
                zip(modes[at].tolist(), sds[at].tolist(), strict=True)
            )
        start += term.n_levels * term.q
    return table


def assert_same(case: Case, model: FittedModel, theta: np.ndarray) -> None:
    truth = naive.Solution(case.problem, theta, case.reml)
    assert_allclose(model.criterion, truth.criterion, **CLOSE)
    assert_allclose(model.criterion, naive.criterion(case.problem, theta, reml=case.reml), **CLOSE)
    assert_allclose(model.beta, truth.beta, **CLOSE)
    assert_allclose(model.vcov, truth.vcov, **CLOSE)
    assert_allclose(model.sigma, truth.sigma, **CLOSE)
    assert_allclose(model.fitted, truth.fitted, **CLOSE)
    assert_allclose(model.fixed_part, truth.fixed_part, **CLOSE)
    assert_allclose(leverage(model), np.diag(truth.hat), **CLOSE)
    ours, theirs = mode_table(model), naive_table(case, truth)
    assert ours.keys() == theirs.keys()
    for key, rows in theirs.items():
        # a standard deviation near zero is the root of a difference
        assert_allclose([r[0] for r in ours[key]], [r[0] for r in rows], **CLOSE)
        assert_allclose([r[1] ** 2 for r in ours[key]], [r[1] ** 2 for r in rows], **CLOSE)


@quick
@given(cases())
def test_at_the_optimum(case: Case) -> None:
    model = case.fit()
    assert_same(case, model, model.theta)


@quick
@given(cases(), st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0]))
def test_at_any_theta(case: Case, seed: int, zero_share: float) -> None:
    theta = random_theta(case.problem, np.random.default_rng(seed), zero_share)
    model = at_theta(case.prepare(), theta)
    assert_same(case, model, theta)
    assert_allclose(
        np.abs(naive.Solution(case.problem, model.theta, case.reml).V),
        np.abs(naive.Solution(case.problem, theta, case.reml).V),
        **CLOSE,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_the_oracle_agrees_with_hendersons_equations(shape: str) -> None:
    case = make_case(shape, ("x", "1", "0 + x"), "x + f", 3, weighted=True)
    theta = random_theta(case.problem, np.random.default_rng(1))
    truth = naive.Solution(case.problem, theta, True)
    rng = np.random.default_rng(2)
    X, Z = rng.normal(size=(5, 3)), rng.normal(size=(5, truth.Z.shape[1]))
    assert_allclose(truth.prediction_variance(X, Z), truth.henderson_variance(X, Z), rtol=1e-8)
