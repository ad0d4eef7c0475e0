"""Many responses at once against one at a time; moments drawn against rows simulated."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy import stats

import mixedmodels as mm
from mixedmodels.inference.joint import join
from mixedmodels.inference.replicates import _row_by_row, _Seeds, replicate
from mixedmodels.likelihood.batch import OneResponse, Responses
from mixedmodels.likelihood.draws import make_draws
from mixedmodels.likelihood.few_columns import FewColumns
from mixedmodels.optimize import minimise
from mixedmodels.optimize_batch import minimise_batch
from tests.reference.data import load

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


def copies(fit, count):
    """The fit's own response, several times."""
    y = fit.design.y_scale * fit.rows.y
    if fit.working.fixed.constant is None:
        y = y + fit.design.y_centre
    y = y / fit.design.y_scale
    weighted = y if fit.rows.weights is None else y * fit.rows.weights
    zy = []
    for terms, codes, group in zip(
        fit.working.terms, fit.rows.codes, fit.design.groups, strict=True
    ):
        rows = np.concatenate([term.recipe.T @ fit.rows.base for term in terms])
        sums = [np.bincount(codes, r * weighted, minlength=len(group.levels)) for r in rows]
        zy.append(np.array(sums))
    if len(zy) > 1:  # dense: level by level, one column below the other
        zy = [np.concatenate([block.T.ravel() for block in zy])[:, None]]
    elif not np.array_equal(fit.working.orders[0], np.arange(zy[0].shape[1])):
        raise AssertionError("levels in another order")
    xy = fit.working.fixed.recipe.T @ fit.rows.base @ weighted
    return Responses(
        np.repeat(zy[0][None], count, axis=0),
        np.repeat(xy[None], count, axis=0),
        np.repeat(weighted @ y, count),
    )


SEVERAL = [
    ("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
    ("Oats", "yield ~ nitro * Variety + (nitro | Block) + (1 | Block:Variety)"),
    ("Machines", "score ~ Machine + (Machine | Worker) + (1 | Worker:Machine)"),
]


def models(piglets):
    for formula in FORMULAS:
        for reml in (True, False):
            yield fitted(formula, piglets, reml=reml)
    for name, formula in SEVERAL:
        for reml in (True, False):
            yield fitted(formula, load(name), reml=reml)


def test_a_batch_evaluates_as_one_at_a_time(piglets):
    for fit in models(piglets):
        check_evaluation(fit)


def check_evaluation(fit):
    rng = np.random.default_rng(1)
    theta = fit.optimum.at.theta + 0.3 * rng.standard_normal((4, len(fit.optimum.at.theta)))
    design = join([fit]).design(fit)
    found = design.evaluate(theta, copies(fit, 4))
    for i in range(4):
        one = fit.objective.evaluate(theta[i])
        assert found.value[i] == pytest.approx(one.value, abs=1e-8)
        np.testing.assert_allclose(found.gradient[i], one.gradient, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(found.beta[i], -one.profile.coefs[:-1], rtol=1e-8, atol=1e-11)
        exact = fit.objective.hessian(one)
        tolerance = 1e-7
        if len(fit.design.groups) > 1:
            assert isinstance(design, FewColumns)
            # by central differences of the gradient, good to 1e-7 of the largest entry
            exact, tolerance = fit.objective.central_hessian(one), 1e-6 * np.abs(exact).max()
        np.testing.assert_allclose(found.hessian[i], exact, rtol=1e-7, atol=tolerance)
        at = 0
        for block in one.by_covariance:
            own = found.by_covariance[i][at : at + len(block), at : at + len(block)]
            np.testing.assert_allclose(own, block, rtol=1e-8, atol=1e-7)
            at += len(block)


def test_a_batch_keeps_its_digits_where_variances_are_large():
    """Large slopes and curvatures, levels with fewer rows than columns."""
    rng = np.random.default_rng(6)
    g = np.repeat(np.arange(11), [6, 2, 5, 5, 6, 7, 3, 2, 6, 7, 3])
    t = np.concatenate([np.arange(np.sum(g == k)) for k in range(11)])
    b = rng.standard_normal((11, 3))
    y = 20.0 * (b[g, 0] + b[g, 1] * t + b[g, 2] * t**2) + rng.standard_normal(len(g))
    fit = fitted("y ~ 1 + (t + I(t^2) | g)", {"y": y, "t": t, "g": g})
    joint = join([fit])
    design, own = joint.design(fit), joint.response(fit)
    for turn in (1.0, -1.0):
        theta = fit.optimum.at.theta * np.array([1.0, turn, 1.0, 1.0, turn, 0.0])
        one = fit.objective.evaluate(theta)
        found = design.evaluate(theta[None], own)
        assert np.abs(theta).max() > 30.0
        # with an explicit inverse of I + Z'Z D the first was wrong by 6.5
        assert found.value[0] == pytest.approx(one.value, abs=100.0 * one.profile.rounding)


def test_a_batch_ends_where_one_at_a_time_ends(piglets):
    for fit in models(piglets):
        check_optimum(fit)


def check_optimum(fit):
    joint = join([fit])
    design = joint.design(fit)
    responses = joint.draws(fit).draw(np.random.default_rng(3), 40)
    start = np.repeat(fit.optimum.at.theta[None], 40, axis=0)
    found = minimise_batch(design, responses, design.evaluate(start, responses))
    assert found.certified.mean() > 0.6
    for i in np.flatnonzero(found.certified):
        one = OneResponse(design, responses.take(np.array([i])))
        alone = minimise(one, fit.optimum.at.theta)
        assert found.at.value[i] <= alone.at.value + 1e-8


def test_a_bent_valley_is_followed():
    # slopes vary, intercepts do not: the correlation hardly matters to the criterion
    rng = np.random.default_rng(8)
    g, x = np.repeat(np.arange(10), 4), np.tile(np.arange(4) - 1.5, 10)
    y = 0.5 * rng.standard_normal(10)[g] * x + rng.standard_normal(40)
    fit = fitted("y ~ x + (x | g)", {"y": y, "x": x, "g": g}, reml=False)
    joint = join([fit])
    design, start = joint.design(fit), np.tile([0.3, 0.2, 0.3], (500, 1))
    responses = joint.draws(fit).draw(np.random.default_rng(1), 500)
    found = minimise_batch(design, responses, design.evaluate(start, responses))
    # straight steps leave the valley, and some responses are not done after 40
    assert found.evaluations.max() < 25
    assert found.certified.all()


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


def test_replicates_in_moment_space_are_those_of_rows(piglets):
    weights = np.random.default_rng(2).uniform(0.5, 3.0, len(piglets))
    for given in (None, weights):
        fit = fitted("BW ~ time + I(time^2) + (time | animal)", piglets, weights=given)
        check_replicates(fit, 1500)
    check_replicates(fitted("score ~ Machine + (1 | Worker / Machine)", load("Machines")), 400)
    check_replicates(fitted(SEVERAL[0][1], load("Penicillin")), 150)


def check_replicates(fit, n_rows):
    moments = replicate(fit, [fit], 1500, 1)[0]
    rows = _row_by_row(fit, [fit], n_rows, _Seeds(2), progress=False)[0]
    assert not moments.failed.any()
    assert not rows.failed.any()
    for ours, theirs in ((moments.beta, rows.beta), (moments.variance, rows.variance)):
        for j in range(ours.shape[1]):
            found = stats.ks_2samp(ours[:, j], theirs[:, j], nan_policy="omit")
            assert found.pvalue > 1e-3
    assert moments.scores.shape[1] == rows.scores.shape[1]
    np.testing.assert_allclose(
        moments.scores.std(0) / rows.scores.std(0), 1.0, atol=5 / np.sqrt(n_rows), err_msg="scores"
    )


def test_a_seed_gives_the_same_replicates_whatever_the_threads(piglets, monkeypatch):
    fit = fitted("BW ~ time + (time | animal)", piglets)
    monkeypatch.setattr("mixedmodels.inference.replicates.MOST_IN_CHUNK", 50)
    first = replicate(fit, [fit], 300, 11)[0]
    monkeypatch.setattr("mixedmodels.threads.n_threads", lambda: 1)
    second = replicate(fit, [fit], 300, 11)[0]
    np.testing.assert_array_equal(first.variance, second.variance)
    np.testing.assert_array_equal(first.criterion, second.criterion)
    other = replicate(fit, [fit], 300, 12)[0]
    assert not np.array_equal(first.variance, other.variance)
