"""Least squares in every group at once, from the moments of each group.

Model: y = X b + e within each group, e ~ N(0, s2 / w), nothing shared between groups. Per group
the normal equations of centred, scaled columns are solved by Gauss-Jordan elimination, arrays of
shape (k, k, n_groups) side by side; one step of refinement with the residuals of the rows gives
back the digits that cross-products cost. Cost: a few passes over the rows for each column.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.basis import CONSTANT
from mixedmodels.design.build import Design, Rows
from mixedmodels.likelihood.working import FixedMap, inverse_root
from mixedmodels.moments.memory import level_sums

# share of a column's sum of squares outside the earlier ones, below which it depends on them
DEPENDENT = 1e-11
# share of a coefficient that may lie in directions without information (rounding)
OUTSIDE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class GroupFits:
    """Least-squares fits of all groups, in the user's units.

    Attributes
    ----------
    estimates : ndarray of shape (n_groups, p)
        NaN where the group's rows do not determine the coefficient.
    unit_errors : ndarray of shape (n_groups, p)
        Standard errors over sigma.
    n, rank : ndarray of int, shape (n_groups,)
        Rows; coefficients that they determine.
    rss, tss : ndarray of shape (n_groups,)
        Weighted sums of squares of the residuals and of the response (about its mean where the
        model has a constant).
    log_weights : ndarray of shape (n_groups,)
        Sums of the logarithms of the prior weights.
    fitted, residuals : ndarray of shape (n_rows,)
    has_constant : bool
        Whether the model can make a constant.
    """

    estimates: Array
    unit_errors: Array
    n: NDArray[np.int64]
    rank: NDArray[np.int64]
    rss: Array
    tss: Array
    log_weights: Array
    fitted: Array
    residuals: Array
    has_constant: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Coordinates:
    """Columns to regress on, and the way from their coefficients to the user's.

    Attributes
    ----------
    columns : ndarray of shape (k, n)
        Without the constant.
    magnitudes : ndarray of shape (k,)
        What rounding of each column is relative to.
    constant : ndarray of shape (p,), optional
        User's coefficients that make the constant; None where the model has none.
    back : ndarray of shape (p, k + 1)
        User's coefficients from those of the constant and the columns.
    """

    columns: Array
    magnitudes: Array
    constant: Array | None
    back: Array


def fit_groups(
    design: Design, rows: Rows, fixed: FixedMap, codes: NDArray[np.int64], n_groups: int
) -> GroupFits:
    """Fit the fixed part of a design in each group.

    Parameters
    ----------
    design : Design
        Without random terms.
    rows : Rows
    fixed : FixedMap
        Columns of X that are independent over all rows.
    codes : ndarray of int, shape (n,)
        Group of each row; each group has one.
    n_groups : int
    """
    at = _coordinates(design, rows, fixed)
    weights, has_constant = rows.weights, at.constant is not None
    count = np.bincount(codes, minlength=n_groups)
    mass = _sums(None, weights, codes, n_groups)
    y = rows.y if has_constant else rows.y + design.y_centre / design.y_scale
    means, centred = _centred(np.vstack([at.columns, y]), codes, mass, weights, apply=has_constant)
    x, away = centred[:-1], centred[-1]
    k = len(x)
    sums = level_sums(centred, weights, codes, n_groups, np.arange(k), counted=False)
    gram, right = sums[:, :k], sums[:, k]
    scale = np.sqrt(np.einsum("iig->ig", gram))
    flat = scale <= CONSTANT * at.magnitudes[:, None] * np.sqrt(mass)
    scale[flat] = 1.0
    gram = np.where(flat[:, None] | flat[None], 0.0, gram / (scale[:, None] * scale))
    inverse, nullspace, rank = _inverses(gram)

    b = np.einsum("ijg,jg->ig", inverse, right / scale) / scale
    left = away - np.einsum("in,in->n", b[:, codes], x)
    # what the residuals still hold of the columns
    again = level_sums(np.vstack([x, left]), weights, codes, n_groups, np.arange(k), counted=False)
    step = np.einsum("ijg,jg->ig", inverse, again[:, k] / scale) / scale
    b, left = b + step, left - np.einsum("in,in->n", step[:, codes], x)

    estimates, variances = _user_coefficients(at, b, inverse, means, scale, mass)
    estimates *= design.y_scale
    if at.constant is not None:
        estimates += design.y_centre * at.constant[:, None]
    unknown = _undetermined(at, nullspace, means, scale)
    unit = design.y_scale**2 * rows.weight_scale
    rss, tss = (_sums(v**2, weights, codes, n_groups) for v in (left, away))
    height = 1.0 + abs(design.y_centre) / design.y_scale + np.abs(means[-1])
    noise = mass * (CONSTANT * height) ** 2
    total = rank + has_constant
    return GroupFits(
        estimates=np.where(unknown, np.nan, estimates).T,
        unit_errors=np.where(unknown, np.nan, np.sqrt(variances / rows.weight_scale)).T,
        n=count,
        rank=total,
        rss=np.where((count <= total) | (rss <= noise), 0.0, rss * unit),
        tss=np.where(tss <= noise, 0.0, tss * unit),
        log_weights=_log_weights(rows, codes, n_groups),
        fitted=_fitted(design, rows, left),
        residuals=left * design.y_scale,
        has_constant=has_constant,
    )


def _fitted(design: Design, rows: Rows, residuals: Array) -> Array:
    fitted = design.y_centre + design.y_scale * (rows.y - residuals)
    return fitted if rows.offset is None else fitted + rows.offset


def _coordinates(design: Design, rows: Rows, fixed: FixedMap) -> _Coordinates:
    recipe = design.x_recipe[:, fixed.kept]
    # base columns of which only dropped columns are made
    used = np.flatnonzero(recipe.any(axis=1))
    if fixed.constant is None or len(used) != recipe.shape[1]:
        back = np.pad(inverse_root(fixed), ((0, 0), (1, 0)))
        return _Coordinates(fixed.recipe.T @ rows.base, np.zeros(len(back)), None, back)
    # span(X) holds the constant, so it is the span of these base columns and the recipe is square
    recipe, base = recipe[used], rows.base[used[1:]]
    with np.errstate(divide="ignore"):
        reach = np.linalg.norm(recipe, axis=0) / np.abs(recipe[1:])
    magnitudes = np.asarray(reach.min(axis=1, initial=np.inf), np.float64)
    back = np.asarray(np.linalg.inv(recipe), np.float64)
    return _Coordinates(base, magnitudes, fixed.constant, back)


def _centred(
    columns: Array,
    codes: NDArray[np.int64],
    mass: Array,
    weights: Array | None,
    *,
    apply: bool,
) -> tuple[Array, Array]:
    """Means of each group, and the columns less them; zeros and the columns without a constant."""
    means = np.zeros((len(columns), len(mass)))
    if not apply:
        return means, columns
    for mean, column in zip(means, columns, strict=True):
        mean[:] = _sums(column, weights, codes, len(mass)) / mass
        column -= mean[codes]
    return means, columns


def _inverses(gram: Array) -> tuple[Array, Array, NDArray[np.int64]]:
    """Inverse of each group's matrix, projector on what it leaves open, rank.

    Parameters
    ----------
    gram : ndarray of shape (k, k, n_groups)
        Unit diagonals, or zero rows and columns.
    """
    k, _, n_groups = gram.shape
    inverse, least = gram.copy(), np.ones(n_groups)
    for j in range(k):
        pivot = inverse[j, j].copy()
        least = np.minimum(least, pivot)
        pivot = np.where(pivot > DEPENDENT, pivot, 1.0)
        row, column = inverse[j] / pivot, inverse[:, j].copy()
        inverse -= column[:, None] * row
        inverse[j], inverse[:, j] = row, -column / pivot
        inverse[j, j] = 1.0 / pivot
    rank = np.full(n_groups, k)
    nullspace = np.zeros_like(gram)
    poor = np.flatnonzero(least <= DEPENDENT)
    if len(poor):
        values, vectors = np.linalg.eigh(np.moveaxis(gram[..., poor], -1, 0))
        known = values > DEPENDENT * k
        inside = np.where(known, 1.0 / np.where(known, values, 1.0), 0.0)
        inverse[..., poor] = np.einsum("gia,ga,gja->ijg", vectors, inside, vectors)
        nullspace[..., poor] = np.einsum("gia,ga,gja->ijg", vectors, 1.0 - known, vectors)
        rank[poor] = known.sum(axis=1)
    return inverse, nullspace, rank


def _directions(at: _Coordinates, means: Array) -> Array:
    """Each user's coefficient over the centred columns, shape (p, k, n_groups)."""
    return np.asarray(at.back[:, 1:, None] - at.back[:, :1, None] * means[:-1])


def _user_coefficients(
    at: _Coordinates, b: Array, inverse: Array, means: Array, scale: Array, mass: Array
) -> tuple[Array, Array]:
    """Coefficients and their variances (in units of sigma squared), shape (p, n_groups)."""
    along = _directions(at, means)
    own = at.back[:, :1]
    estimates = own * means[-1] + np.einsum("pig,ig->pg", along, b)
    along = along / scale
    variances = np.einsum("pig,ijg,pjg->pg", along, inverse, along, optimize=True)
    return estimates, np.maximum(variances, 0.0) + own**2 / mass


def _undetermined(
    at: _Coordinates, nullspace: Array, means: Array, scale: Array
) -> NDArray[np.bool_]:
    """Which coefficients change along directions that the rows of the group leave open."""
    out = np.zeros((len(at.back), nullspace.shape[-1]), bool)
    poor = np.flatnonzero(nullspace.any(axis=(0, 1)))
    if len(poor):
        along = _directions(at, means[:, poor]) / scale[:, poor]
        length = np.linalg.norm(along, axis=1)
        lost = np.linalg.norm(np.einsum("ijg,pjg->pig", nullspace[..., poor], along), axis=1)
        out[:, poor] = lost > OUTSIDE * length
    return out


def _sums(
    values: Array | None, weights: Array | None, codes: NDArray[np.int64], n_groups: int
) -> Array:
    """Weighted sums of values, or of ones, by group."""
    product = values if weights is None else weights if values is None else values * weights
    return np.bincount(codes, weights=product, minlength=n_groups).astype(np.float64, copy=False)


def _log_weights(rows: Rows, codes: NDArray[np.int64], n_groups: int) -> Array:
    if rows.weights is None:
        return np.zeros(n_groups)
    return _sums(np.log(rows.weights * rows.weight_scale), None, codes, n_groups)
