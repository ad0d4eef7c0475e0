"""Groups that differ far more than rows within them, against the criterion in 60 digits.

Totals lose (sd of groups / sigma)**2 * 2**-52 of the residual sum of squares; products about the
level means, or a triangular root of all products, which a fit takes up when it sees the need, lose
what the response itself has lost to rounding: about ratio * 2**-52.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from fuzz.exact import Exact as ExactDense
from fuzz.exact import ExactTerm, fixed, orthogonal
from mixedmodels.arrays import Array
from mixedmodels.errors import DataError, MixedModelsWarning, ScaleWarning, SingularFitWarning
from mixedmodels.likelihood.objective import Evaluation
from mixedmodels.likelihood.working import Working, assemble
from mixedmodels.moments.memory import collect_root, collect_within
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


FORMULAS = (
    "y ~ x + (1 | g) + (1 | h)",
    "y ~ x + (x | g) + (1 | h)",
    "y ~ x + (1 | s/g)",
    "y ~ x + (1 | g) + (0 + x | g) + (x || h)",
)


def several_factors(ratio: float) -> pd.DataFrame:
    data, _ = problem(ratio, seed=0)
    rng = np.random.default_rng(5)
    data["h"], data["s"] = rng.integers(0, 8, 300), data["g"] // 6
    effects = rng.normal(size=8)[data["h"]] + rng.normal(size=5)[data["s"]]
    data["y"] += ratio * (effects + rng.normal(size=30)[data["g"]] * data["x"])
    return data.iloc[:90]


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("ratio", [1e3, 1e5, 1e7])
def test_several_factors_keep_their_digits(formula: str, ratio: float) -> None:
    """Against the dense likelihood in exact numbers, at the theta of the fit."""
    data = several_factors(ratio)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        model = mm.lmer(formula, data)
    exact, factors = exact_problem(model, data)
    truth = exact.solve(factors)
    assert model.criterion == pytest.approx(truth.criterion, abs=1e-8 + 3e-13 * ratio)
    error = np.sqrt(np.diag(truth.vcov))
    assert (np.abs(model.beta - truth.beta) < 1e-7 * error + 1e-13 * np.abs(truth.beta)).all()
    np.testing.assert_allclose(np.sqrt(np.diag(model.vcov)), error, rtol=1e-7)
    assert model.convergence.verdict in ("optimum", "boundary optimum")


def exact_problem(model: mm.FittedModel, data: pd.DataFrame) -> tuple[ExactDense, list[Array]]:
    """The stored columns as exact numbers, in working units as theta is searched."""
    columns = {"Intercept": np.ones(len(data)), "x": data["x"].to_numpy()}
    ones = fixed(np.ones(len(data)))
    terms, factors = [], []
    for g, t in model.design.term_order:
        group, used = model.design.groups[g], model.working.terms[g][t]
        codes = data.groupby(list(group.variables)).ngroup().to_numpy(np.int64)
        z = fixed(np.column_stack([columns[name] for name in group.terms[t].names]))
        terms.append(ExactTerm(codes, orthogonal(z, ones)))
        part = model.working.templates[g].parts[t]
        signs = np.sign(np.diag(used.root))[:, None]
        factors.append(model.optimum.at.factors[g][part, part] * signs)
    X = fixed(np.column_stack([columns["Intercept"], columns["x"]]))
    return ExactDense(X, fixed(data["y"].to_numpy()), tuple(terms), ones, reml=True), factors


def test_many_levels_of_crossed_factors_say_that_digits_are_lost() -> None:
    """Where a root of all products is too large, totals are all there is."""
    rng = np.random.default_rng(0)
    g, h = np.repeat(np.arange(400), 4), np.tile(np.arange(40), 40)
    y = 1e6 * (rng.normal(size=400)[g] + rng.normal(size=40)[h]) + rng.normal(size=1600)
    data = pd.DataFrame({"g": g, "h": h, "y": y})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            mm.lmer("y ~ 1 + (1 | g) + (1 | h)", data)
        except DataError:
            return
    assert any(issubclass(w.category, ScaleWarning) for w in caught)


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
        "y ~ x + (1 | c) + (1 | h)",
        "y ~ x + (x | c) + (x || h)",
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kept", ["within", "root"])
def test_a_second_pass_gives_the_same(formula: str, weighted: bool, kept: str) -> None:
    """Where nothing is lost, products about the means, a root, and totals agree."""
    rng = np.random.default_rng(0)
    c, x, h = rng.integers(0, 60, 300), rng.normal(size=300), rng.integers(0, 7, 300)
    y = x + rng.normal(size=60)[c] + rng.normal(size=10)[c // 6] + rng.normal(size=300)
    data = pd.DataFrame({"c": c, "s": c // 6, "x": x, "h": h, "y": y})
    data["w"] = rng.uniform(0.2, 3.0, 300)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        model = mm.lmer(formula, data, weights="w" if weighted else None)
    if kept == "within" and not model.design.structure.nested:
        return
    collect = collect_root if kept == "root" else collect_within
    moments = replace(model.moments, **{kept: collect(model.design, model.rows)})
    working = model.working
    working = assemble(model.design, moments, working.fixed, working.terms, working.templates)
    other = replace(model.objective, blocks=working.blocks)
    theta = rng.normal(size=len(model.optimum.at.theta))
    here, there = model.objective.evaluate(theta), other.evaluate(theta)
    assert there.value == pytest.approx(here.value, abs=1e-10)
    np.testing.assert_allclose(there.gradient, here.gradient, atol=1e-10)
    for a, b in zip(here.by_covariance, there.by_covariance, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    if kept == "root":
        central = other.central_hessian(there)
        hessian, size = other.hessian(there), np.abs(central).max()
        np.testing.assert_allclose(hessian, central, atol=1e-5 * size)
        verbs_agree(model, working, here, there)


def verbs_agree(
    model: mm.FittedModel, working: Working, here: Evaluation, there: Evaluation
) -> None:
    """Everything else that blocks answer; their levels stand in another order."""
    rng = np.random.default_rng(1)
    new, old, orders = working.blocks, model.objective.blocks, model.working.orders

    def same(ours: list[Array], theirs: list[Array]) -> None:
        for a, b, order in zip(ours, theirs, orders, strict=True):
            np.testing.assert_allclose(a, b[..., order], atol=1e-10)

    effects = [rng.normal(size=(q, 2, n)) for q, n in new.sizes]
    moved = [e[..., np.argsort(o)] for e, o in zip(effects, orders, strict=True)]
    same(new.per_factor(), old.per_factor())
    same(new.fixed_products(), old.fixed_products())
    same(new.cross_times(effects), old.cross_times(moved))
    at = (there.reduced, there.factors), (here.reduced, here.factors)
    same(new.spherical(*at[0]), old.spherical(*at[1]))
    same(new.conditional_covariance(*at[0]), old.conditional_covariance(*at[1]))
    np.testing.assert_allclose(new.forward(*at[0], effects), old.forward(*at[1], moved), atol=1e-10)
    levels = [rng.integers(-1, n, 20) for _, n in new.sizes]
    rows = [rng.normal(size=(q, 20)) for q, _ in new.sizes]
    theirs = [np.where(lev < 0, -1, o[lev]) for lev, o in zip(levels, orders, strict=True)]
    np.testing.assert_allclose(
        new.half_solve(*at[0], levels, rows), old.half_solve(*at[1], theirs, rows), atol=1e-10
    )
