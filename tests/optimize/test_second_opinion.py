"""Hundreds of random problems: no other search finds a lower criterion, and the verdict is true.

About three in four problems end at a boundary: their true covariances are often singular.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.errors import SingularFitWarning
from mixedmodels.model.fitted import FittedModel
from tests.optimize.second_opinion import KINDS, best_found, boundary, problem
from tests.properties.designs import Case

PER_KIND = 25


def fit_strictly(case: Case, **changes: Any) -> FittedModel:
    """A fit in which only the boundary may be remarked upon: any other warning is an error."""

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", SingularFitWarning)
        options = {"reml": case.reml, **case.options, **changes}
        return mm.lmer(case.formula, case.data, **options)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=lambda k: "-".join(map(str, KINDS[k])))
def test_no_search_finds_a_lower_criterion(
    kind: int, record_property: Callable[[str, object], None]
) -> None:
    better = singular = 0
    for number in range(kind, PER_KIND * len(KINDS), len(KINDS)):
        case = problem(number)
        model = fit_strictly(case)
        theirs = best_found(case, model.theta)
        where = f"problem {number}: {case.formula}, ours {model.criterion!r}, found {theirs!r}"
        assert model.criterion <= theirs + 1e-7, where
        better += model.criterion < theirs - 1e-7
        assert model.converged, where
        edge = boundary(model)
        assert model.is_singular == (edge.smallest < 1e-5), (where, edge)
        assert not 1e-5 <= edge.smallest < 1e-4, (where, edge)
        assert edge.slope > -1e-6, (where, edge)
        assert model.convergence.verdict in ("optimum", "boundary optimum")
        assert model.convergence.gradient_norm < 1e-3, where
        singular += model.is_singular
    record_property("ours_better", better)
    record_property("singular", singular)


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_a_start_without_variance_is_left(number: int) -> None:
    """theta = 0 has gradient zero whatever the data, yet is a minimum only by the slope."""
    case = problem(number + 2 * len(KINDS))
    best = fit_strictly(case)
    model = fit_strictly(case, start=np.zeros(len(best.theta)))
    assert abs(model.criterion - best.criterion) < 1e-7
    assert boundary(model).slope > -1e-6


def test_zero_is_stationary_but_no_minimum() -> None:
    """Large variances: the criterion falls from theta = 0 though its gradient there is zero."""

    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(12), 8), np.tile(np.arange(8.0), 12)
    b = rng.normal(size=(12, 2)) * [3.0, 1.0]
    y = b[g, 0] + b[g, 1] * x + rng.normal(size=96)
    data = pd.DataFrame({"y": y, "x": x, "g": g})
    best = mm.lmer("y ~ x + (x | g)", data)
    objective = best.objective
    zero = objective.evaluate(np.zeros(3))
    assert np.abs(zero.gradient).max() == 0.0
    assert np.linalg.eigvalsh(zero.by_covariance[0])[0] < -1.0
    # a singular start of rank one is a saddle too
    for start in (np.zeros(3), np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])):
        model = mm.lmer("y ~ x + (x | g)", data, start=start)
        assert model.converged
        assert not model.is_singular
        assert abs(model.criterion - best.criterion) < 1e-8
