"""A start from moments: minimum norm quadratic unbiased estimates (MINQUE).

Rao (1971, J. Multivariate Analysis 1, 257-275): equate quadratic forms of the data to their
expectations at an a-priori covariance, here Sigma = I in working units. One factor at a time, the
others left out; then what each left in the others' residual, or in the estimate of a finer factor,
is taken out. A start, not an estimate: with many rows it is within a few percent of the optimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mixedmodels.arrays import Array, eigh
from mixedmodels.likelihood.covariance import (
    SMALL_FACTOR,
    Template,
    from_covariance,
    theta_from_factors,
)
from mixedmodels.likelihood.curvature import level_products, trace_products
from mixedmodels.likelihood.nested import NestedBlocks, Stage
from mixedmodels.likelihood.objective import Objective

# directions with less than this share of the largest variance start there
FLOOR = 0.02
# and least and highest variances of a start
LEAST_FLOOR, HIGHEST = 1e-4, 1e12
# residual variance below this share of what is left: the moments do not tell it
NO_RESIDUAL = 1e-6

# levels up to which a boundary optimum is not taken as the only one: so many for each column of Z
# and once more. Of 18,000 random sets of 2 to 12 levels 0.5 % had a lower optimum elsewhere, nearly
# all from the boundary; of 2,800 with 13 to 49 levels none had
FEW_LEVELS = 4
# standard deviations of these starts over the residual's: with all columns, and with one direction
WIDE, LONG = 30.0, 10.0

# least share of one factor's residual that is left when the other factors are taken out of it
LEAST_RESIDUAL = 0.1


@dataclass(frozen=True, slots=True)
class Alone:
    """What one factor would explain without the others, working units.

    Attributes
    ----------
    covariance : ndarray of shape (q, q)
        Of its random effects; need not be positive definite.
    residual : float
        Variance left.
    """

    covariance: Array
    residual: float


def moment_start(
    templates: Sequence[Template],
    per_factor: Sequence[Array],
    cross: Array,
    n: int,
    lies_in: Callable[[int, int], bool],
) -> Array:
    """Theta from moments, for any number of factors.

    Parameters
    ----------
    templates : sequence of Template
    per_factor : sequence of ndarray of shape (q, q + w, n_levels)
        ``Z'W [Z | X y]`` of each level.
    cross : ndarray of shape (w, w)
    n : int
        Number of rows.
    lies_in : callable
        ``lies_in(fine, coarse)``: whether each level of one factor lies in one level of another.

    Returns
    -------
    ndarray of shape (n_theta,)
    """
    found = [moment_estimate(t, g, cross, n) for t, g in zip(templates, per_factor, strict=True)]
    known = [alone for alone in found if alone is not None]
    if not known or len(known) < len(found):
        return theta_from_factors(templates, [np.eye(t.q) for t in templates])
    index = range(len(known))
    own = [alone.covariance.copy() for alone in known]
    for fine in index:
        parents = (coarse for coarse in index if lies_in(fine, coarse))
        parent = next(parents, fine)
        # groups differ by all that their parents differ by
        if parent != fine and own[fine].shape == own[parent].shape:
            own[fine] -= known[parent].covariance
    best = min(index, key=lambda k: known[k].residual)
    others = sum(
        max(float(np.trace(own[k])), 0.0) for k in index if k != best and not lies_in(best, k)
    )
    residual = max(known[best].residual - others, LEAST_RESIDUAL * known[best].residual)
    factors = [away_from_zero(t, c / residual) for t, c in zip(templates, own, strict=True)]
    return theta_from_factors(templates, factors)


def moment_estimate(template: Template, g: Array, cross: Array, n: int) -> Alone | None:
    """Variances of one factor from moments; None where the moments do not tell them.

    Parameters
    ----------
    template : Template
    g : ndarray of shape (q, q + w, n_levels)
        ``Z'W [Z | X y]`` of each level.
    cross : ndarray of shape (w, w)
    n : int
        Number of rows.

    Returns
    -------
    Alone or None
    """
    p, q = len(cross) - 1, template.q
    blocks = NestedBlocks([Stage(g, np.empty(0, np.intp), ())], cross)
    reduced = blocks.reduce([np.eye(q)])
    profile = Objective(blocks, (template,), n, p, reml=True).solve(reduced)
    weight = np.zeros((p + 1, p + 1))
    weight[:p, :p] = profile.vcov
    level = level_products(reduced.after[0], weight)
    scores = np.einsum("iajb,a,b->ij", level.sums, profile.coefs, profile.coefs)

    m = template.n_theta
    directions = np.zeros((m + 1, q, q))
    index = np.arange(m)
    directions[index, template.rows, template.cols] = 1.0
    directions[index, template.cols, template.rows] = 1.0
    directions[m] = np.eye(q)
    traces, _ = trace_products(directions, level)
    # the residual part R of V = R + ZZ' follows from P V P = P
    slopes = np.einsum("kij,ij->k", directions, level.score)
    left = traces.copy()
    left[:m, m] = left[m, :m] = slopes[:m] - traces[:m, m]
    left[m, m] = (n - p) - 2.0 * slopes[m] + traces[m, m]
    right = np.einsum("kij,ij->k", directions, scores)
    right[m] = profile.r2 - float(np.trace(scores))
    try:
        solution = np.linalg.solve(left, right)
    except np.linalg.LinAlgError:
        return None
    residual = float(solution[m])
    if not residual > NO_RESIDUAL * profile.r2 / n:
        return None
    return Alone(np.einsum("k,kij->ij", solution[:m], directions[:m]), residual)


def away_from_zero(template: Template, covariance: Array) -> Array:
    """Raise small and negative eigenvalues: a singular start is stationary."""
    values, vectors = eigh(covariance)
    floor = max(FLOOR * float(values[-1]), LEAST_FLOOR)
    if values[0] >= floor and values[-1] <= HIGHEST:
        return from_covariance(template, covariance)
    return from_covariance(template, (vectors * np.clip(values, floor, HIGHEST)) @ vectors.T)


def has_few_levels(q: int, n_levels: int) -> bool:
    """Whether a factor has so few levels that the criterion may have several optima."""
    return q > 0 and n_levels <= FEW_LEVELS * (q + 1)


def which_starts(n_theta: int) -> slice:
    """Those of `other_starts` that are worth a search: one variance alone has no direction."""
    return slice(1, 2) if n_theta == 1 else slice(0, 3)


def other_starts(template: Template, slope: Array, factor: Array) -> Array:
    """Starts for a second look: optima of few levels differ in rank, direction and size.

    Parameters
    ----------
    template : Template
    slope : ndarray of shape (n, q, q)
        Derivative of each criterion with respect to ``Lambda Lambda'`` where Lambda is zero.
    factor : ndarray of shape (n, q, q)
        Lambda of the optima that were found.

    Returns
    -------
    ndarray of shape (3, n, q, q)
        Large in all directions, most in the one along which the criterion falls most from zero; of
        rank one along that direction; and in the directions that the optimum does not use.
    """
    starts = np.zeros((3, *factor.shape))
    for part in template.parts:
        size = part.stop - part.start
        _, vectors = np.linalg.eigh(slope[:, part, part])
        first = vectors[..., :1]
        outer = first @ first.transpose(0, 2, 1)
        wide = WIDE * np.linalg.cholesky(outer + FLOOR * (np.eye(size) - outer))
        starts[0][:, part, part] = wide
        starts[1][:, part, part.start] = LONG * first[..., 0]
        starts[2][:, part, part] = _complement(factor[:, part, part])
    return starts


def _complement(factor: Array) -> Array:
    """Roots of covariances in the directions that others do not use, as large as these."""
    vectors, values, _ = np.linalg.svd(factor)
    total = np.maximum(np.square(values).sum(axis=-1, keepdims=True), 1.0)
    share = np.where(values < SMALL_FACTOR, total, FLOOR * total)
    return np.asarray(np.linalg.cholesky((vectors * share[:, None]) @ vectors.transpose(0, 2, 1)))
