"""Exact second derivatives of the profiled criterion for one grouping factor.

With P = V^-1 - V^-1 X (X'V^-1X)^-1 X'V^-1, V_i = Z D_i Z' and D_i = dSigma/dtheta_i, the criterion
f = log|V| + log|X'V^-1X| + nu log r2 has

    f_i  = <S, D_i>,   S = sum over levels of Z'PZ - rho Z'Pyy'PZ,   rho = nu / r2
    f_ij = -tr(P V_i P V_j) + 2 rho y'P V_i P V_j P y - (rho**2 / nu) (y'P V_i P y)(y'P V_j P y)
           + 2 <S, dLambda_i dLambda_j'>

(Gilmour, Thompson and Cullis 1995, Biometrics 51, 1440-1450, gives the derivatives of the
unprofiled form; sigma is profiled here). Everything is a sum over levels of small matrices, so one
Hessian costs about as much as one gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedmodels.arrays import Array, contract, times
from mixedmodels.likelihood.covariance import Template
from mixedmodels.likelihood.nested import Reduced


def exact_hessian(
    template: Template,
    factor: Array,
    reduced: Reduced,
    weight: Array,
    coefs: Array,
    rho: float,
    nu: float,
    vcov: Array | None = None,
) -> Array:
    """Hessian of the profiled criterion in theta.

    Parameters
    ----------
    template : Template
    factor : ndarray of shape (q, q)
        ``Lambda``.
    reduced : Reduced
        The elimination at ``factor``, of a single stage.
    weight : ndarray of shape (w, w)
        ``N``: derivative of the criterion with respect to ``[X y]' V^-1 [X y]``.
    coefs : ndarray of shape (w,)
        ``(-beta, 1)``.
    rho : float
        ``nu / r2``.
    nu : float
        n for ML, n - p for REML.
    vcov : ndarray of shape (p, p), optional
        ``(X'V^-1X)^-1`` for ML, whose ``weight`` does not hold it.

    Returns
    -------
    ndarray of shape (n_theta, n_theta)
    """
    directions = covariance_directions(template, factor)
    level = level_products(reduced.after[0], weight)
    traces, fixed = trace_products(directions, level)
    hessian = -traces
    along = fixed @ coefs
    if vcov is not None:
        at_x = along[:, :-1]
        hessian -= 2.0 * rho * (at_x @ vcov @ at_x.T)
    along_y = along @ coefs
    hessian += (rho * rho * (1.0 - 1.0 / nu)) * np.multiply.outer(along_y, along_y)
    same_column = template.cols[:, None] == template.cols
    hessian += np.where(same_column, 2.0 * level.score[template.rows[:, None], template.rows], 0.0)
    return hessian


@dataclass(frozen=True, slots=True)
class LevelProducts:
    """Sums over levels from which traces of products follow, for one weight N.

    Attributes
    ----------
    quartic : ndarray of shape (q, q, q, q)
        Sum of ``W[b, c] (W - 2 T N T')[d, a]``, indexed [b, c, d, a].
    score : ndarray of shape (q, q)
        Sum of ``W - T N T'``.
    sums : ndarray of shape (q, w, q, w)
        Sum of ``T[i, a] T[j, b]``.
    weight : ndarray of shape (w, w)
    """

    quartic: Array
    score: Array
    sums: Array
    weight: Array


def level_products(after: Array, weight: Array) -> LevelProducts:
    """Sums over levels of products of ``[W | T] = Z'V^-1 [Z | X y]``."""
    q, n_levels, w = after.shape[0], after.shape[-1], len(weight)
    own, rest = after[:, :q], np.ascontiguousarray(after[:, q:])
    explained = np.einsum("ial,jal->ijl", times(weight, rest), rest)
    pairs = np.ascontiguousarray(own).reshape(q * q, n_levels)
    others = (own - 2.0 * explained).reshape(q * q, n_levels)
    quartic = contract(pairs, others).reshape(q, q, q, q)
    flat = rest.reshape(q * w, n_levels)
    sums = contract(flat, flat).reshape(q, w, q, w)
    return LevelProducts(quartic, (own - explained).sum(-1), sums, weight)


def trace_products(directions: Array, level: LevelProducts) -> tuple[Array, Array]:
    """``tr(Q V_i Q V_j)`` for ``V_i = Z D_i Z'`` and ``Q = V^-1 - V^-1 [X y] N [X y]' V^-1``.

    Parameters
    ----------
    directions : ndarray of shape (m, q, q)
        The ``D_i``, symmetric.
    level : LevelProducts

    Returns
    -------
    traces : ndarray of shape (m, m)
    fixed : ndarray of shape (m, w, w)
        ``[X y]' V^-1 V_i V^-1 [X y]``.
    """
    m, q = directions.shape[:2]
    w = len(level.weight)
    flat = directions.reshape(m, q * q)
    # tr(D1 W D2 X) = sum of D1[a,b] W[b,c] D2[c,d] X[d,a]
    inner = level.quartic.transpose(3, 0, 1, 2).reshape(q * q, q * q)
    traces = flat @ inner @ flat.T
    fixed = (flat @ level.sums.transpose(0, 2, 1, 3).reshape(q * q, w * w)).reshape(-1, w, w)
    twice = fixed @ level.weight
    traces = traces + twice.reshape(m, -1) @ twice.transpose(0, 2, 1).reshape(m, -1).T
    return 0.5 * (traces + traces.T), fixed


def covariance_directions(template: Template, factor: Array) -> Array:
    """Derivative of ``Lambda Lambda'`` along each theta, shape (n_theta, q, q)."""
    index = np.arange(template.n_theta)
    directions = np.zeros((template.n_theta, template.q, template.q))
    directions[index, template.rows] = factor.T[template.cols]
    return directions + directions.transpose(0, 2, 1)
