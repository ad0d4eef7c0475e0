"""Average information: curvature of the criterion for any number of grouping factors.

The mean of observed and expected information needs no traces (Gilmour, Thompson and Cullis 1995,
Biometrics 51, 1440-1450): with working variates c_i = V_i P y it is y'P V_i P V_j P y = c_i' P c_j,
one more solve per variance parameter. To it comes the exact curvature of the map from theta to the
covariance, 2 <S, dLambda_i dLambda_j'>, without which a variance near zero could not be reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.likelihood.blocks import Blocks, projected
from mixedmodels.likelihood.covariance import Template
from mixedmodels.likelihood.curvature import covariance_directions


def average_information(
    blocks: Blocks,
    templates: Sequence[Template],
    factors: Sequence[Array],
    reduced: Any,
    coefs: Array,
    vcov: Array,
    by_covariance: Sequence[Array],
    rho: float,
    nu: float,
) -> Array:
    """Average-information Hessian of the profiled criterion in theta.

    Parameters
    ----------
    blocks : Blocks
    templates : sequence of Template
    factors : sequence of ndarray of shape (q, q)
    reduced : object
        The elimination at `factors`.
    coefs : ndarray of shape (w,)
        ``(-beta, 1)``.
    vcov : ndarray of shape (p, p)
        ``(X'V^-1X)^-1``.
    by_covariance : sequence of ndarray of shape (q, q)
        Gradient with respect to each covariance.
    rho : float
        ``nu / r2``.
    nu : float
        n for ML, n - p for REML.

    Returns
    -------
    ndarray of shape (n_theta, n_theta)
    """
    spherical = blocks.spherical(reduced, factors)
    products = blocks.fixed_products()
    along = [np.einsum("qwl,w->ql", u, coefs)[:, None] for u in spherical]
    right = [np.einsum("qwl,w->ql", z, coefs)[:, None] for z in products]
    scores = [score[:, 0] for score in projected(blocks, factors, along, right)]
    n_theta = sum(t.n_theta for t in templates)
    variates, start = [], 0
    for template, factor, score in zip(templates, factors, scores, strict=True):
        stop = start + template.n_theta
        variate = np.zeros((template.q, n_theta, score.shape[-1]))
        directions = covariance_directions(template, factor)
        variate[:, start:stop] = np.einsum("iab,bl->ail", directions, score)
        variates.append(variate)
        start = stop
    right = blocks.cross_times(variates)
    gram = sum(np.einsum("ail,ajl->ij", v, r) for v, r in zip(variates, right, strict=True))
    gram = gram - blocks.forward(reduced, factors, right)
    p = len(vcov)
    along_x = sum(
        np.einsum("awl,ail->wi", z[:, :p], v) - np.einsum("awl,ail->wi", u[:, :p], scaled)
        for z, v, u, scaled in zip(
            products,
            variates,
            spherical,
            [np.einsum("ba,bil->ail", f, r) for f, r in zip(factors, right, strict=True)],
            strict=True,
        )
    )
    information = gram - along_x.T @ vcov @ along_x
    along_y = np.concatenate(
        [
            np.einsum("ail,al->i", v, s)[part]
            for v, s, part in zip(variates, scores, _parts(templates), strict=True)
        ]
    )
    hessian = rho * information - (rho * rho / nu) * np.multiply.outer(along_y, along_y)
    for template, slope, part in zip(templates, by_covariance, _parts(templates), strict=True):
        same_column = template.cols[:, None] == template.cols
        hessian[part, part] += np.where(
            same_column, 2.0 * slope[template.rows[:, None], template.rows], 0.0
        )
    return np.asarray(0.5 * (hessian + hessian.T))


def _parts(templates: Sequence[Template]) -> list[slice]:
    ends = np.cumsum([t.n_theta for t in templates])
    return [slice(int(e) - t.n_theta, int(e)) for e, t in zip(ends, templates, strict=True)]
