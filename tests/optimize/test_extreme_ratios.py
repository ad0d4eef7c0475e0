"""Groups that differ far more than rows within them, against the criterion in 60 digits.

Cross-products cancel: an error of the size (sd of groups / sigma)**2 * 2**-52 in the residual sum
of squares, times n in the criterion, cannot be avoided without returning to the rows.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.errors import DataError, MixedModelsWarning
from tests.optimize.precise import Exact, exact_criterion, exact_groups, exact_optimum


def problem(ratio: float, seed: int) -> tuple[pd.DataFrame, tuple[Exact, ...]]:
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(30), 10), rng.normal(size=300)
    y = 2.0 + x + ratio * rng.normal(size=30)[g] + rng.normal(size=300)
    data = pd.DataFrame({"y": y, "x": x, "g": g})
    return data, exact_groups(x.tolist(), y.tolist(), g.tolist())


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 1e1, 1e2, 1e3])
def test_criterion_and_optimum(ratio: float, reml: bool) -> None:
    data, groups = problem(ratio, seed=0)
    model = mm.lmer("y ~ x + (1 | g)", data, reml=reml)
    theta, best = exact_optimum(groups, ratio, reml=reml)
    error = 1e-11 + 1e-12 * ratio**2
    assert abs(model.criterion - float(best)) < error
    assert 0 <= exact_criterion(groups, model.theta[0], reml=reml) - best < error
    assert model.theta[0] == pytest.approx(float(theta), rel=1e-4)
    assert model.convergence.verdict == "optimum"


@pytest.mark.parametrize("random", ["(1 | g)", "(x | g)", "(1 | g) + (1 | h)"])
def test_a_large_ratio_is_no_lack_of_identification(random: str) -> None:
    data, _ = problem(1e4, seed=0)
    rng = np.random.default_rng(5)
    data["h"] = rng.integers(0, 8, 300)
    data["y"] += rng.normal(size=8)[data["h"]] + rng.normal(size=30)[data["g"]] * data["x"]
    assert mm.lmer(f"y ~ x + {random}", data, reml=False).convergence.verdict == "optimum"


def test_a_large_ratio_is_no_vanishing_residual() -> None:
    data, groups = problem(1e4, seed=0)
    model = mm.lmer("y ~ x + (1 | g)", data, reml=False)
    _, best = exact_optimum(groups, 1e4, reml=False)
    assert abs(model.criterion - float(best)) < 1e-4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ratio", [1e5, 1e6, 1e7])
def test_lost_digits_are_said(ratio: float, seed: int) -> None:
    """A result comes with a warning and is as near as its digits allow; or none comes."""
    data, groups = problem(ratio, seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = mm.lmer("y ~ x + (1 | g)", data)
        except DataError:
            return
    _, best = exact_optimum(groups, ratio, reml=True)
    error = abs(model.criterion - float(best))
    assert error < 1e-11 * ratio**2 / 5
    assert error < 1e-6 or any(issubclass(w.category, MixedModelsWarning) for w in caught)
    # fixed effects and sigma last longer than theta
    assert model.sigma == pytest.approx(1.0, abs=0.15)
    assert model.beta[1] == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("ratio", [1e8, 1e9, 1e12])
def test_beyond_all_digits_nothing_comes_in_silence(ratio: float) -> None:
    data, _ = problem(ratio, seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            mm.lmer("y ~ x + (1 | g)", data)
        except DataError:
            return
    assert any(issubclass(w.category, MixedModelsWarning) for w in caught)
