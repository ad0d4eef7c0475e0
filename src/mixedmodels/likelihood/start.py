"""A start from moments: minimum norm quadratic unbiased estimates (MINQUE).

Rao (1971, J. Multivariate Analysis 1, 257-275): equate quadratic forms of the data to their
expectations at an a-priori covariance, here Sigma = I in working units. One factor at a time, the
others left out: a start, not an estimate. With many rows it is within a few percent of the optimum.
"""

from __future__ import annotations

import numpy as np

from mixedmodels.arrays import Array, eigh
from mixedmodels.likelihood.covariance import Template, from_covariance
from mixedmodels.likelihood.curvature import level_products, trace_products
from mixedmodels.likelihood.nested import NestedBlocks, Stage
from mixedmodels.likelihood.objective import Objective

# directions with less than this share of the largest variance start there
FLOOR = 0.02


def moment_factor(template: Template, g: Array, cross: Array, n: int) -> Array:
    """``Lambda`` of one factor from moments.

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
    ndarray of shape (q, q)
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
        return np.eye(q)
    residual = float(solution[m])
    if not residual > 1e-6 * profile.r2 / n:
        return np.eye(q)
    covariance = np.einsum("k,kij->ij", solution[:m] / residual, directions[:m])
    return _away_from_zero(template, covariance)


def _away_from_zero(template: Template, covariance: Array) -> Array:
    """Raise small and negative eigenvalues: a singular start is stationary."""
    values, vectors = eigh(covariance)
    floor = max(FLOOR * float(values[-1]), 1e-4)
    if values[0] >= floor and values[-1] <= 1e12:
        return from_covariance(template, covariance)
    return from_covariance(template, (vectors * np.clip(values, floor, 1e12)) @ vectors.T)
