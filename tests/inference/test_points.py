"""Responses simulated at points have the law of responses simulated at the rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

import mixedmodels as mm
from mixedmodels.inference import replicates
from mixedmodels.inference.points import Points, make_points
from mixedmodels.inference.replicates import _at_points, _row_by_row, _Seeds, replicate
from mixedmodels.model.record import Fit


def crossed(n: int, n_a: int, n_b: int, seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(n_a, size=n), rng.integers(n_b, size=n)
    x = rng.normal(size=n)
    f = rng.integers(2, size=n)
    effects = 0.8 * rng.normal(size=n_a)[a] + 0.7 * rng.normal(size=n_b)[b]
    effects += (0.3 + 0.5 * rng.normal(size=n_b))[b] * x
    y = 2 + effects + rng.normal(size=n)
    w = rng.uniform(0.5, 2.0, n)
    return pd.DataFrame({"y": y, "x": x, "f": f, "a": a, "b": b, "w": w})


def products(points: Points, fit: Fit) -> tuple[Any, Any]:
    """Working ``[Z X]`` at the points, dense, and their weights."""
    at = points.position(fit)
    base, columns = points.base[at], []
    for terms, codes, group in zip(
        fit.working.terms, points.codes[at], fit.design.groups, strict=True
    ):
        level = codes == np.arange(len(group.levels))[:, None]
        for term in terms:
            columns += [z * own for z in term.recipe.T @ base for own in level]
    columns += list(fit.working.fixed.recipe.T @ base)
    weights = np.ones(points.size) if points.weights is None else points.weights
    return np.array(columns), weights


FORMULA = "y ~ x + (1 | a) + (x | b)"


@pytest.mark.parametrize("given", ["rows", "weighted rows", "sums"])
def test_points_have_the_products_of_the_rows(given: str) -> None:
    d = crossed(900, 6, 5)
    weights = "w" if given == "weighted rows" else None
    fit = mm.lmer(FORMULA, d, weights=weights)
    whole = Points((fit,), (fit.rows.base,), (fit.rows.codes,), fit.rows.weights, fit.n_obs)
    used = mm.lmer(FORMULA, mm.Moments.from_frame(FORMULA, d)) if given == "sums" else fit
    points = make_points([used])
    # at most two a cell: the mean and one direction
    assert points.size <= 2 * 30
    assert points.n == 900
    ours, w = products(points, used)
    theirs, every = products(whole, fit)
    np.testing.assert_allclose(w.sum(), every.sum(), rtol=1e-12)
    expected = (theirs * every) @ theirs.T
    np.testing.assert_allclose((ours * w) @ ours.T, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("weights", [None, "w"])
def test_drawn_products_have_their_mean_and_covariance(weights: str | None) -> None:
    """Against the closed form, within five Monte Carlo standard errors."""
    fit = mm.lmer(FORMULA, crossed(400, 5, 4), weights=weights)
    points = make_points([fit])
    assert points.size < 200
    columns, w = products(points, fit)
    n_sim, rng = 20_000, np.random.default_rng(3)
    drawn = [points.draw(fit, rng) for _ in range(n_sim)]
    y = np.array([values for values, _ in drawn])
    rest = np.array([value for _, value in drawn])
    found = (y * w) @ columns.T
    squares = np.einsum("sn,sn,n->s", y, y, w) + rest

    sizes = [len(group.levels) for group in fit.design.groups]
    spread = [
        np.kron(f @ f.T, np.eye(n)) for f, n in zip(fit.optimum.at.factors, sizes, strict=True)
    ]
    q = sum(map(len, spread))
    relative = np.zeros((q, q))
    at = 0
    for block in spread:
        relative[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    gram = (columns * w) @ columns.T
    variance = fit.residual_scale**2
    covariance = variance * (gram + gram[:, :q] @ relative @ gram[:q])
    sd = np.sqrt(np.diag(covariance))
    assert np.abs(found.mean(0) / sd).max() < 5 / np.sqrt(n_sim)
    # the standard error of a correlation is at most, that of a variance 1.5 times, 1 / sqrt(n)
    gap = (np.cov(found.T) - covariance) / np.outer(sd, sd)
    assert np.abs(gap).max() < 5 * 1.5 / np.sqrt(n_sim)
    inside = relative @ gram[:q, :q]
    mean = variance * (400 + np.trace(inside))
    spread_of_squares = variance**2 * 2 * (400 + 2 * np.trace(inside) + np.trace(inside @ inside))
    assert abs(squares.mean() - mean) < 5 * np.sqrt(spread_of_squares / n_sim)
    # kurtosis of the sum of squares: at most 15, so that its variance has error sqrt(14 / n)
    assert squares.var() == pytest.approx(spread_of_squares, rel=5 * np.sqrt(14 / n_sim))


def alike(ours: Any, theirs: Any) -> None:
    for j in range(ours.shape[1]):
        assert stats.ks_2samp(ours[:, j], theirs[:, j], nan_policy="omit").pvalue > 1e-3


@pytest.mark.parametrize(
    ("formula", "n"), [("y ~ x + (1 | a) + (1 | b)", 900), ("y ~ x + (1 | a) + (x | b)", 400)]
)
def test_replicates_at_points_are_those_of_rows(formula: str, n: int) -> None:
    d = crossed(n, 16, 12)
    fit = mm.lmer(formula, d)
    summed = mm.lmer(formula, mm.Moments.from_frame(formula, d))
    ours, sums = (_at_points(m, [m], 100, _Seeds(1), progress=False)[0] for m in (fit, summed))
    rows = _row_by_row(fit, [fit], 100, _Seeds(2), progress=False)[0]
    for found in (ours, sums):
        assert not found.failed.any()
        alike(found.beta, rows.beta)
        alike(found.variance, rows.variance)
        alike(found.criterion[:, None], rows.criterion[:, None])
        alike(found.scores, rows.scores)
        share = np.array([found.singular.mean(), rows.singular.mean()])
        assert abs(share[0] - share[1]) < 4 * np.sqrt(2 * max(share.max(), 0.01) / 100)


def test_the_same_response_gives_the_same_fit() -> None:
    """A refit at the points, from the estimates on, ends where a fit of the rows ends."""
    d = crossed(900, 60, 45)
    fit = mm.lmer("y ~ x + f + (1 | a) + (1 | b)", d)
    small = mm.lmer("y ~ x + (1 | a) + (1 | b)", d)
    points = make_points([fit, small])
    assert points.size == 900
    y, rest = points.draw(small, np.random.default_rng(1))
    assert rest == 0.0
    values = small.fixed_part + y * small.design.y_scale
    for target in (fit, small):
        start = replicates._Start(target)
        found = replicates._refitted(small, start, points, y, rest)
        again = replicates._one(small, target, replicates.refit_quietly(target, values))
        np.testing.assert_allclose(found.criterion, again.criterion, atol=1e-6)
        np.testing.assert_allclose(found.variance, again.variance, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.scores, again.scores, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.beta, again.beta, rtol=1e-3)


@pytest.mark.parametrize("formula", ["y ~ x + (1 | a) + (1 | b)", FORMULA])
def test_one_elimination_serves_every_response(formula: str) -> None:
    fit = mm.lmer(formula, crossed(900, 60, 45))
    start = replicates._Start(fit)
    again = replicates.refit_quietly(fit, fit.response[::-1])
    for objective in (fit.objective, again.objective):
        at, hessian = start.first(objective)
        expected = objective.evaluate(start.theta)
        assert at.value == pytest.approx(expected.value, abs=1e-8)
        np.testing.assert_allclose(at.gradient, expected.gradient, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(hessian, objective.hessian(expected), rtol=1e-7, atol=1e-7)


def test_bootstraps_of_sums_with_crossed_factors() -> None:
    d = crossed(900, 60, 45)
    formula = "y ~ x + (1 | a) + (1 | b)"
    m = mm.lmer(formula, pl.from_pandas(d).lazy())
    assert m.bootstrap(10, seed=1).n_failed == 0
    sums = mm.Moments.from_frame(formula, d)
    pairs = [
        [mm.lmer(f, data, reml=False) for f in (formula, "y ~ 1 + (1 | a) + (1 | b)")]
        for data in (d, sums)
    ]
    rows, summed = (mm.pbmodcomp(*pair, n_sim=30, seed=1) for pair in pairs)
    assert rows["statistic"][0] == pytest.approx(summed["statistic"][0], rel=1e-6)
    assert max(rows["p_value"][1], summed["p_value"][1]) < 0.05
    ones, twos = (mm.pb_refdist(*pair, n_sim=80, seed=3) for pair in pairs)
    for found in (ones, twos):
        # one fixed effect of many rows: chi-squared with one degree of freedom
        assert stats.kstest(found, stats.chi2(1).cdf).pvalue > 1e-3


def test_the_seed_decides_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    m = mm.lmer("y ~ x + (1 | a) + (1 | b)", crossed(900, 60, 45))
    many = m.bootstrap(8, seed=5).replicates
    monkeypatch.setattr("mixedmodels.threads.n_threads", lambda: 1)
    np.testing.assert_array_equal(m.bootstrap(8, seed=5).replicates, many)


def test_large_refits_run_as_many_at_a_time_as_memory_holds(monkeypatch) -> None:
    m = mm.lmer("y ~ x + (1 | a) + (1 | b)", crossed(900, 60, 45))
    needed = m.objective.blocks.workspace
    assert needed == 8 * 45**2
    monkeypatch.setattr(replicates, "n_threads", lambda: 7)
    assert replicates._side_by_side([m]) == 7
    monkeypatch.setattr(replicates, "LITTLE", 0.0)
    monkeypatch.setattr(replicates, "available_memory", lambda: 4.1 * needed)
    assert replicates._side_by_side([m]) == 2
    monkeypatch.setattr(replicates, "available_memory", lambda: 0.5 * needed)
    assert replicates._side_by_side([m]) == 1


def test_a_linear_model_beside_a_crossed_one() -> None:
    d = crossed(900, 60, 45)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m = mm.lmer("y ~ x + (1 | a) + (1 | b)", d, reml=False)
    found = replicate(m, [m, mm.lm("y ~ x", d)], 5, 1)
    assert not found[1].failed.any()
    assert (found[1].criterion > found[0].criterion).all()
