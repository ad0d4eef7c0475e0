"""Many responses at once against one at a time; moments drawn against rows simulated."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

import mixedmodels as mm
from mixedmodels.inference.replicates import _in_moments, _joint, _row_by_row, _Seeds, replicate
from mixedmodels.likelihood.batch import OneFactor, Responses
from mixedmodels.likelihood.draws import make_draws
from mixedmodels.optimize import minimise
from mixedmodels.optimize_batch import minimise_batch

FORMULAS = [
    "BW ~ time + (1 | animal)",
    "BW ~ time + I(time^2) + treatm + (time | animal)",
    "BW ~ time + (1 | animal) + (0 + time | animal)",
    "BW ~ time + (time + I(time^2) | animal)",
    "BW ~ 0 + (time | animal)",
]


@pytest.fixture(scope="module")
def piglets():
    return mm.datasets.load("piglets")


def fitted(formula, data, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mm.lmer(formula, data, **options)


def one_factor(fit):
    joint = _joint([fit])
    return OneFactor(
        fit.working.templates[0], joint.zz, joint.zx, joint.xx, fit.n_obs, fit.objective.reml
    )


def copies(fit, count):
    """The fit's own response, several times."""
    blocks = fit.objective.blocks
    p = len(blocks.cross) - 1
    return Responses(
        np.repeat(blocks.stages[0].g[None, :, -1], count, axis=0),
        np.repeat(blocks.cross[None, :p, p], count, axis=0),
        np.repeat(blocks.cross[p, p], count),
    )


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("formula", FORMULAS)
def test_a_batch_evaluates_as_one_at_a_time(piglets, formula, reml):
    fit = fitted(formula, piglets, reml=reml)
    rng = np.random.default_rng(1)
    theta = fit.optimum.at.theta + 0.3 * rng.standard_normal((4, len(fit.optimum.at.theta)))
    found = one_factor(fit).evaluate(theta, copies(fit, 4))
    for i in range(4):
        one = fit.objective.evaluate(theta[i])
        # three columns: A = I - ZZ K loses digits as the ratio of variances grows
        assert found.value[i] == pytest.approx(one.value, abs=1e-8)
        np.testing.assert_allclose(found.gradient[i], one.gradient, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found.beta[i], -one.profile.coefs[:-1], rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(
            found.hessian[i], fit.objective.hessian(one), rtol=1e-7, atol=1e-7
        )
        np.testing.assert_allclose(
            found.by_covariance[i], one.by_covariance[0], rtol=1e-8, atol=1e-8
        )


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("formula", FORMULAS[:4])
def test_a_batch_ends_where_one_at_a_time_ends(piglets, formula, reml):
    fit = fitted(formula, piglets, reml=reml)
    design, joint = one_factor(fit), _joint([fit])
    draws = make_draws(
        joint.zz, joint.zx, joint.xx, fit.n_obs, fit.optimum.at.factors[0], fit.residual_scale
    )
    responses = draws.draw(np.random.default_rng(3), 40)
    start = np.repeat(fit.optimum.at.theta[None], 40, axis=0)
    found = minimise_batch(design, responses, design.evaluate(start, responses))
    assert found.certified.mean() > 0.9
    for i in np.flatnonzero(found.certified):
        objective = objective_of(design, responses, i)
        alone = minimise(objective, fit.optimum.at.theta)
        assert found.at.value[i] <= alone.at.value + 1e-8


def objective_of(design, responses, i):
    from mixedmodels.likelihood.nested import NestedBlocks, Stage
    from mixedmodels.likelihood.objective import Objective

    p = len(design.xx)
    g = np.concatenate([design.zz, design.zx, responses.zy[i][:, None]], axis=1)
    cross = np.zeros((p + 1, p + 1))
    cross[:p, :p], cross[:p, p], cross[p, :p] = design.xx, responses.xy[i], responses.xy[i]
    cross[p, p] = responses.yy[i]
    blocks = NestedBlocks([Stage(g, np.empty(0, np.intp), ())], cross)
    return Objective(blocks, (design.template,), design.n, p, design.reml)


def test_drawn_moments_have_the_moments_of_simulated_rows():
    """Mean and covariance of all cross-products, one level of every kind of rank."""
    rng = np.random.default_rng(5)
    codes = np.repeat([0, 1, 2, 3], [1, 2, 5, 9])
    x = rng.standard_normal(17)
    Z = np.stack([np.ones(17), x, x])  # a column twice: rank below the number of columns
    X = np.stack([np.ones(17), x, np.square(x)])
    weights = rng.uniform(0.5, 2.0, 17)
    effect = np.array([[1.0, 0.0], [0.4, 0.7], [0.0, 0.0]])
    sigma = 0.8
    levels = codes == np.arange(4)[:, None]
    zz = np.einsum("an,bn,ln->abl", Z * weights, Z, levels)
    zx = np.einsum("an,bn,ln->abl", Z * weights, X, levels)
    xx = (X * weights) @ X.T
    n_sim = 60_000
    drawn = make_draws(zz, zx, xx, 17, effect, sigma).draw(np.random.default_rng(7), n_sim)

    b = sigma * np.einsum("qr,nrl->nql", effect, rng.standard_normal((n_sim, 2, 4)))
    y = np.einsum("qn,sqn->sn", Z, b[:, :, codes])
    y += sigma * rng.standard_normal((n_sim, 17)) / np.sqrt(weights)
    zy = np.einsum("an,sn,ln->sal", Z * weights, y, levels)
    rows = np.column_stack([zy.reshape(n_sim, -1), y @ (X * weights).T, (y * y) @ weights])
    ours = np.column_stack([drawn.zy.reshape(n_sim, -1), drawn.xy, drawn.yy])
    spread = np.sqrt(np.diag(np.cov(rows.T)))
    # Monte Carlo errors of means and covariances of 60,000 draws, in standard deviations
    assert np.abs((ours.mean(0) - rows.mean(0)) / spread).max() < 0.03
    difference = (np.cov(ours.T) - np.cov(rows.T)) / np.outer(spread, spread)
    assert np.abs(difference).max() < 0.06
    # and the whole distribution of y'y and of one product
    for j in (-1, 4):
        assert stats.ks_2samp(ours[:, j], rows[:, j]).pvalue > 1e-3
    # y'Wy is never below what the columns explain
    assert (drawn.yy > 0).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_replicates_in_moment_space_are_those_of_rows(piglets, weighted):
    weights = np.random.default_rng(2).uniform(0.5, 3.0, len(piglets)) if weighted else None
    fit = fitted("BW ~ time + I(time^2) + (time | animal)", piglets, weights=weights)
    assert fit.source.n_rows == fit.n_obs
    moments = _in_moments(fit, [fit], 1500, _Seeds(1), progress=False)[0]
    rows = _row_by_row(fit, [fit], 1500, _Seeds(2), progress=False)[0]
    assert not moments.failed.any()
    assert not rows.failed.any()
    for ours, theirs in ((moments.beta, rows.beta), (moments.variance, rows.variance)):
        for j in range(ours.shape[1]):
            assert stats.ks_2samp(ours[:, j], theirs[:, j]).pvalue > 1e-3
    assert moments.scores.shape == rows.scores.shape
    np.testing.assert_allclose(
        moments.scores.std(0) / rows.scores.std(0), 1.0, atol=0.12, err_msg="scores"
    )


def test_a_seed_gives_the_same_replicates_whatever_the_threads(piglets, monkeypatch):
    fit = fitted("BW ~ time + (time | animal)", piglets)
    monkeypatch.setattr("mixedmodels.inference.replicates.MOST_IN_CHUNK", 50)
    first = replicate(fit, [fit], 300, 11)[0]
    monkeypatch.setattr("mixedmodels.inference.replicates.n_threads", lambda: 1)
    second = replicate(fit, [fit], 300, 11)[0]
    np.testing.assert_array_equal(first.variance, second.variance)
    np.testing.assert_array_equal(first.criterion, second.criterion)
    other = replicate(fit, [fit], 300, 12)[0]
    assert not np.array_equal(first.variance, other.variance)
