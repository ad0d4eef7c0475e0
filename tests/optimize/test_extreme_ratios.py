"""Groups that differ far more than rows within them, against the criterion in 60 digits.

Totals lose (sd of groups / sigma)**2 * 2**-52 of the residual sum of squares; products about the
level means, which a fit takes up when it sees the need, lose what the response itself has lost to
rounding: about ratio * 2**-52.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.errors import DataError, MixedModelsWarning
from mixedmodels.likelihood.working import assemble
from mixedmodels.moments.memory import collect_within
from tests.optimize.precise import Exact, exact_criterion, exact_groups, exact_optimum


def problem(ratio: float, seed: int) -> tuple[pd.DataFrame, tuple[Exact, ...]]:
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(30), 10), rng.normal(size=300)
    y = 2.0 + x + ratio * rng.normal(size=30)[g] + rng.normal(size=300)
    data = pd.DataFrame({"y": y, "x": x, "g": g})
    return data, exact_groups(x.tolist(), y.tolist(), g.tolist())


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("ratio", [0.3, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8])
def test_criterion_and_optimum(ratio: float, reml: bool) -> None:
    data, groups = problem(ratio, seed=0)
    model = mm.lmer("y ~ x + (1 | g)", data, reml=reml)
    theta, best = exact_optimum(groups, ratio, reml=reml)
    # 300 rows of 2**-52 * ratio each, with room for the path that totals take below 10**3
    error = 2e-9 + 3e-14 * ratio
    assert abs(model.criterion - float(best)) < error
    assert 0 <= exact_criterion(groups, model.theta[0], reml=reml) - best < error
    assert model.theta[0] == pytest.approx(float(theta), rel=1e-6)
    assert model.convergence.verdict == "optimum"


@pytest.mark.parametrize("random", ["(1 | g)", "(x | g)", "(1 | g) + (1 | h)"])
def test_a_large_ratio_is_no_lack_of_identification(random: str) -> None:
    data, _ = problem(1e4, seed=0)
    rng = np.random.default_rng(5)
    data["h"] = rng.integers(0, 8, 300)
    data["y"] += rng.normal(size=8)[data["h"]] + rng.normal(size=30)[data["g"]] * data["x"]
    assert mm.lmer(f"y ~ x + {random}", data, reml=False).convergence.verdict == "optimum"


@pytest.mark.parametrize("ratio", [1e5, 1e6, 1e8])
def test_crossed_factors_say_that_digits_are_lost(ratio: float) -> None:
    """Only nested factors have products about means; elsewhere a warning or an error comes."""
    data, _ = problem(ratio, seed=0)
    data["h"] = np.tile(np.arange(10), 30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model = mm.lmer("y ~ x + (1 | g) + (1 | h)", data)
        except DataError:
            return
    assert any(issubclass(w.category, MixedModelsWarning) for w in caught)
    assert model.beta[1] == pytest.approx(1.0, abs=0.2)


def test_beyond_all_digits_nothing_comes_in_silence() -> None:
    """At a ratio of 10**17 the response holds nothing of its residuals."""
    data, _ = problem(1e17, seed=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            mm.lmer("y ~ x + (1 | g)", data)
        except DataError:
            return
    assert any(issubclass(w.category, MixedModelsWarning) for w in caught)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (1 | c)",
        "y ~ x + (x | c)",
        "y ~ x + (1 | s/c)",
        "y ~ x + (x | s) + (x | c)",
        "y ~ x + (0 + x | c)",
        "y ~ 0 + x + (x || s) + (1 | c)",
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_centred_products_give_the_same_criterion(formula: str, weighted: bool) -> None:
    """Where nothing is lost, products about the means and totals agree to the last digits."""
    rng = np.random.default_rng(0)
    c, x = rng.integers(0, 60, 300), rng.normal(size=300)
    y = x + rng.normal(size=60)[c] + rng.normal(size=10)[c // 6] + rng.normal(size=300)
    data = pd.DataFrame({"c": c, "s": c // 6, "x": x, "y": y, "w": rng.uniform(0.2, 3.0, 300)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        model = mm.lmer(formula, data, weights="w" if weighted else None)
    moments = replace(model.moments, within=collect_within(model.design, model.rows))
    working = model.working
    working = assemble(model.design, moments, working.fixed, working.terms, working.templates)
    centred = replace(model.objective, blocks=working.blocks)
    theta = rng.normal(size=len(model.optimum.at.theta))
    here, there = model.objective.evaluate(theta), centred.evaluate(theta)
    assert there.value == pytest.approx(here.value, abs=1e-10)
    np.testing.assert_allclose(there.gradient, here.gradient, atol=1e-10)
    for a, b in zip(here.by_covariance, there.by_covariance, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
