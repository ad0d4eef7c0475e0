"""Base columns: every column of X and Z, once, centred and scaled, so that no digit is lost.

The columns of X, of all Z and the response are linear combinations (recipes) of a few base columns,
base 0 being the constant. All later arithmetic is done on cross-products of base columns; a shift
or a change of unit of a covariate changes the recipes only. Columns that others nearly determine
are orthogonalised at row level, where cross-products would have lost them already.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixedmodels.arrays import Array, cross_products
from mixedmodels.errors import DataError

# a column whose part outside the others is smaller than this share of it is a combination of them
DEPENDENT = 1e-12
# spread smaller than this share of the mean: a constant
CONSTANT = 1e-13
# a squared residual norm below this share is taken again, at row level
REFINE = 1e-3
# the name under which formulaic gives the constant
CONSTANT_NAME = "Intercept"
# mean squares between these were summed without underflow or overflow
MODEST = (1e-200, 1e200)
# what rounding leaves of a row that others determine, in units of its estimate
ROUNDING = 10.0
EPSILON = float(np.finfo(float).eps)
# rows orthogonalised together against those before them
PANEL = 64
# squares of numbers beyond these are not representable
LARGEST, SMALLEST = 1e150, 1e-150


@dataclass(frozen=True, slots=True)
class Basis:
    """Base columns of one data set.

    Attributes
    ----------
    rows : ndarray of shape (c, n)
        Base columns as rows; the first is all ones.
    recipes : dict of str to ndarray of shape (c,)
        Each source column as a combination of the base columns.
    """

    rows: Array
    recipes: dict[str, Array]


def standardise(values: Array, name: str, weights: Array | None, out: Array) -> tuple[float, float]:
    """Centre and scale one column: ``values = centre + scale * out``.

    Parameters
    ----------
    values : ndarray of shape (n,)
    name : str
    weights : ndarray of shape (n,), optional
    out : ndarray of shape (n,)
        Receives the result.

    Returns
    -------
    centre, scale : float
        The scale is zero for a constant.

    Raises
    ------
    DataError
        Numbers so large or so small that their squares are not representable.
    """
    n = len(values)
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused below
        if weights is None:
            centre = float(values.mean())
        else:
            centre = float(np.einsum("i,i->", values, weights)) / n
        np.subtract(values, centre, out=out)
        scale, total = 1.0, _sum_of_squares(out, weights)
    if not MODEST[0] * n < total < MODEST[1] * n:
        scale = float(np.abs(out).max(initial=0.0))
        if scale <= CONSTANT * abs(centre):
            return centre, 0.0
        if not SMALLEST < scale < LARGEST or abs(centre) > LARGEST:
            largest = float(np.abs(values).max())
            raise DataError(
                f"'{name}' is of the order {largest:.0e}: its squares cannot be "
                "represented. Change its unit, for example divide it by its standard deviation"
            )
        out /= scale
        total = _sum_of_squares(out, weights)
    root = math.sqrt(total / n)
    if scale * root <= CONSTANT * abs(centre):
        return centre, 0.0
    out *= 1.0 / root
    return centre, scale * root


def _sum_of_squares(values: Array, weights: Array | None) -> float:
    # einsum and not a dot product, for which BLAS would wake its threads
    if weights is None:
        return float(np.einsum("i,i->", values, values))
    return float(np.einsum("i,i,i->", values, weights, values))


def make_basis(sources: Sequence[tuple[str, Array]], n: int, weights: Array | None) -> Basis:
    """Standardise distinct source columns and make them well conditioned.

    Parameters
    ----------
    sources : sequence of (name, ndarray of shape (n,))
        Distinct columns, finite, without the constant.
    n : int
        Number of rows.
    weights : ndarray of shape (n,), optional
        Prior weights: means and orthogonality are in their metric.
    """
    rows = np.empty((len(sources) + 1, n))
    rows[0] = 1.0
    size, origin = 1, {}
    for name, values in sources:
        centre, scale = standardise(values, name, weights, rows[size])
        origin[name] = (size if scale else 0, centre, scale)
        size += bool(scale)
    if size < len(rows):
        rows = rows[:size].copy()
    combine = np.eye(size)
    # one centred column cannot depend on the constant
    if size > 2 and _smallest_residual(cross_products(rows, weights)) < REFINE:
        magnitudes = np.ones(size)
        for at, centre, scale in origin.values():
            if scale:
                magnitudes[at] = np.hypot(centre, scale) / scale
        rows, combine = _orthogonalise(rows, weights, magnitudes)
    recipes = {CONSTANT_NAME: combine[0]}
    for name, (at, centre, scale) in origin.items():
        recipe = centre * combine[0]
        if scale:
            recipe = recipe + scale * combine[at]
        recipes[name] = recipe
    return Basis(rows, recipes)


def _smallest_residual(gram: Array) -> float:
    """Smallest squared residual norm of a column on the earlier ones, as a share of its own."""
    try:
        pivots = np.diag(np.linalg.cholesky(gram)) ** 2
    except np.linalg.LinAlgError:
        return 0.0
    return float((pivots / np.diag(gram)).min())


def _orthogonalise(rows: Array, weights: Array | None, magnitudes: Array) -> tuple[Array, Array]:
    """Rows without those that earlier ones determine, orthogonal.

    Returns
    -------
    rows : ndarray of shape (c_new, n)
    combine : ndarray of shape (c_old, c_new)
        Old rows as combinations of the new: ``old = combine @ new``.
    """
    total = float(rows.shape[1] if weights is None else weights.sum())
    root = np.sqrt((1.0 if weights is None else weights) / total)
    scaled, combine, _ = independent(rows * root, DEPENDENT * magnitudes)
    return scaled / root, combine


def independent(rows: Array, least: Array) -> tuple[Array, Array, list[int]]:
    """Gram and Schmidt's method, each row twice, in order and in panels; dependent rows go.

    Parameters
    ----------
    rows : ndarray of shape (size, n)
    least : ndarray of shape (size,)
        Length of what earlier rows leave of a row, up to which they determine it.

    Returns
    -------
    orthonormal : ndarray of shape (k, n)
    combine : ndarray of shape (size, k)
        ``rows = combine @ orthonormal``.
    kept : list of int
        The rows that earlier ones do not determine.
    """
    size = len(rows)
    out, combine, noise = np.empty(rows.shape), np.zeros((size, size)), np.zeros(size)
    kept: list[int] = []

    for start in range(0, size, PANEL):
        panel, before = rows[start : start + PANEL].copy(), len(kept)
        for _ in range(2):  # against all panels before, at the speed of a matrix product
            shares = panel @ out[:before].T
            panel -= shares @ out[:before]
            combine[start : start + PANEL, :before] += shares
        for i, row in enumerate(panel):
            for _ in range(2):  # against what this panel has added
                share = out[before : len(kept)] @ row
                row -= share @ out[before : len(kept)]
                combine[start + i, before : len(kept)] += share
            norm = math.sqrt(float(row @ row))
            # directions that are small parts of their rows hold those rows' rounding, enlarged
            passed = float(np.abs(combine[start + i, : len(kept)]) @ noise[: len(kept)])
            if norm <= max(float(least[start + i]), ROUNDING * passed):
                continue
            noise[len(kept)] = (least[start + i] * EPSILON / DEPENDENT + passed) / norm
            combine[start + i, len(kept)] = norm
            np.divide(row, norm, out=out[len(kept)])
            kept.append(start + i)
    return out[: len(kept)].copy(), combine[:, : len(kept)], kept
