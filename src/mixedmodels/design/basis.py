"""Base columns: every column of X and Z, once, centred and scaled, so that no digit is lost.

The columns of X, of all Z and the response are linear combinations (recipes) of a few base columns,
base 0 being the constant. All later arithmetic is done on cross-products of base columns; a shift
or a change of unit of a covariate changes the recipes only. Columns that others nearly determine
are orthogonalised at row level, where cross-products would have lost them already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy.linalg import lapack

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
# a column's own part up to this many times the rounding of the stored columns is that rounding
ROUNDING = 10.0
# own part of a standardised column below which it is worked out again, in pairs of doubles
FINE = 1e-2
# what multiplies a double in splitting it into two of half its digits (Dekker)
SPLIT = 2.0**27 + 1.0
EPSILON = float(np.finfo(float).eps)
# own part of a standardised column that doubles do not tell from none
NOTHING = 4.0 * EPSILON
# share of a row along those before it that may stay, and corrections until no more does
ALONG, MOST_ROUNDS = 1e-13, 5
# rows orthogonalised together against those before them
PANEL = 64
# squares of numbers beyond these are not representable
LARGEST, SMALLEST = 1e150, 1e-150

# row, shares of all rows, rows and places of those that are kept -> what is left of the row
OwnPart: TypeAlias = Callable[[int, Array, Array, list[int]], Array]


@dataclass(frozen=True, slots=True)
class Basis:
    """Base columns of one data set.

    Attributes
    ----------
    rows : ndarray of shape (c, n)
        Base columns as rows; the first is all ones.
    recipes : dict of str to ndarray of shape (c,)
        Each source column as a combination of the base columns.
    low : dict of str to ndarray of shape (c,)
        Where columns are nearly dependent: what rounding leaves out of each recipe.
    """

    rows: Array
    recipes: dict[str, Array]
    low: dict[str, Array]


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
        if math.isfinite(centre) and scale <= CONSTANT * abs(centre):
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


def make_basis(
    sources: Sequence[tuple[str, Array]], n: int, weights: Array | None, n_fixed: int
) -> Basis:
    """Standardise distinct source columns and make them well conditioned.

    Parameters
    ----------
    sources : sequence of (name, ndarray of shape (n,))
        Distinct columns, finite, without the constant.
    n : int
        Number of rows.
    weights : ndarray of shape (n,), optional
        Prior weights: means and orthogonality are in their metric.
    n_fixed : int
        How many of the first columns are dropped where what is their own is their rounding.
    """
    rows = np.empty((len(sources) + 1, n))
    rows[0] = 1.0
    size, origin = 1, {}
    stored, last = [rows[0]], 0
    for place, (name, values) in enumerate(sources):
        centre, scale = standardise(values, name, weights, rows[size])
        origin[name] = (size if scale else 0, centre, scale)
        if scale:
            stored.append(values)
            last = size if place < n_fixed else last
            size += 1
    if size < len(rows):
        rows = rows[:size].copy()
    combine, lost = np.eye(size), None
    # one centred column cannot depend on the constant
    if size > 2 and _smallest_residual(cross_products(rows, weights)) < REFINE:
        centres, scales = np.zeros(size), np.ones(size)
        for at, centre, scale in origin.values():
            if scale:
                centres[at], scales[at] = centre, scale
        rows, combine, lost = _orthogonalise(rows, weights, _Stored(stored, centres, scales, last))
    constant = np.eye(1, len(rows))[0]
    recipes, low = {CONSTANT_NAME: constant}, {}
    for name, (at, centre, scale) in origin.items():
        recipe = centre * constant
        if scale and lost is None:
            recipe = recipe + scale * combine[at]
        elif lost is not None and scale:
            unit = _unit(scale)
            recipe, low[name] = unit * combine[at], unit * lost[at]
            recipe[0], rest = _two_sum(recipe[0], centre)
            low[name][0] += rest
        recipes[name] = recipe
    return Basis(rows, recipes, low)


def _smallest_residual(gram: Array) -> float:
    """Smallest squared residual norm of a column on the earlier ones, as a share of its own."""
    try:
        pivots = np.diag(np.linalg.cholesky(gram)) ** 2
    except np.linalg.LinAlgError:
        return 0.0
    return float((pivots / np.diag(gram)).min())


def _unit(scale: float) -> float:
    """The power of two by which a column is divided: nothing is rounded."""
    return 2.0 ** math.frexp(scale)[1]


@dataclass(frozen=True, slots=True)
class _Stored:
    """Source columns as they came.

    Attributes
    ----------
    columns : sequence of ndarray of shape (n,)
        The first is the constant.
    centres, scales : ndarray of shape (c,)
        ``standardised = (column - centre) / scale``.
    last : int
        The last one that goes where what is its own is rounding.
    """

    columns: Sequence[Array]
    centres: Array
    scales: Array
    last: int

    @property
    def stretch(self) -> Array:
        """Standardised columns over those whose unit is a power of two."""
        return np.array([_unit(scale) for scale in self.scales.tolist()]) / self.scales

    def centred(self, i: int) -> tuple[Array, Array]:
        """``(column - centre) / unit`` as a sum of two doubles, exactly."""
        unit = _unit(float(self.scales[i]))
        return _two_sum(self.columns[i] / unit, -float(self.centres[i]) / unit)

    def remainder(self, i: int, kept: Sequence[int], shares: Sequence[Array]) -> Array:
        """A centred column less multiples of others, to full relative precision.

        In sums of two doubles: what cancels was exact (Dekker 1971, Numer. Math. 18, 224-242;
        Ogita, Rump and Oishi 2005, SIAM J. Sci. Comput. 26, 1955-1988).

        Parameters
        ----------
        i : int
        kept : sequence of int
            The others.
        shares : sequence of ndarray of shape (len(kept),)
            Their multiples are the sum of these.
        """
        high, low = self.centred(i)
        for place, k in enumerate(kept):
            own = self.centred(k)
            for share in shares:
                high, low = _less(high, low, float(share[place]), *own)
        return high + low


def _orthogonalise(
    rows: Array, weights: Array | None, stored: _Stored
) -> tuple[Array, Array, Array]:
    """Rows without those that earlier ones determine, nearly orthogonal.

    Returns
    -------
    rows : ndarray of shape (c_new, n)
    combine, lost : ndarray of shape (c_old, c_new)
        ``(column - centre) / unit = (combine + lost) @ rows``.
    """
    total = float(rows.shape[1] if weights is None else weights.sum())
    root = np.sqrt((1.0 if weights is None else weights) / total)
    stretch = stored.stretch
    magnitudes = np.hypot(stored.centres, stored.scales) / stored.scales
    rounding = ROUNDING * EPSILON * np.concatenate([[0.0], magnitudes[1:]])
    combined: dict[int, tuple[list[int], list[Array]]] = {}

    def own_part(i: int, combine: Array, out: Array, kept: list[int]) -> Array:
        """What is left of row i, exactly; nothing where that is the columns' own rounding."""
        triangle = combine[kept, : len(out)]

        def of_stored(along: Array) -> Array:
            """Multiples of the stored columns that make a combination of rows."""
            found = lapack.dtrtrs(triangle, along, lower=1, trans=1)[0]
            return np.asarray(found * stretch[kept] / stretch[i])

        shares = [of_stored(combine[i, : len(out)])]
        for _ in range(MOST_ROUNDS):
            row = np.asarray(root * stored.remainder(i, kept, shares) * stretch[i])
            missed = out @ row
            if np.abs(missed).max(initial=0.0) <= ALONG * math.sqrt(float(row @ row)):
                break
            shares.append(of_stored(missed))
            combine[i, : len(out)] += missed
        combined[i] = ([*kept], shares)
        if i > stored.last:
            return row
        lost = rounding[i] + float(np.abs(shares[0] * stretch[i] / stretch[kept]) @ rounding[kept])
        return row if float(row @ row) > lost * lost else np.zeros_like(row)

    scaled, combine, _ = independent(rows * root, np.full(len(rows), NOTHING), own_part)
    combine = combine / stretch[:, None]
    low = np.zeros_like(combine)
    for i, (kept, shares) in combined.items():
        high, rest = np.zeros(len(kept)), np.zeros(len(kept))
        for place, k in enumerate(kept):
            for share in shares:
                own = combine[k, : len(kept)], low[k, : len(kept)]
                high, rest = _less(high, rest, -float(share[place]), *own)
        combine[i, : len(kept)], low[i, : len(kept)] = _two_sum(high, rest)
    return scaled / root, combine, low


def pair_product(high: Array, low: Array, right: Array) -> Array:
    """``(high + low) @ right`` to full relative precision, whatever cancels."""
    out = np.empty((len(high), right.shape[1]))
    for j, column in enumerate(right.T.tolist()):
        total, rest = np.zeros(len(high)), np.zeros(len(high))
        for k, share in enumerate(column):
            if share:
                total, rest = _less(total, rest, -share, high[:, k], low[:, k])
        out[:, j] = total + rest
    return out


def _less(high: Array, low: Array, share: float, own: Array, rest: Array) -> tuple[Array, Array]:
    """A sum of two doubles less a multiple of another."""
    product, error = _two_product(share, own)
    high, lost = _two_sum(high, -product)
    return high, low + (lost - error - share * rest)


def _two_sum(a: Array, b: Array | float) -> tuple[Array, Array]:
    """Sum and what its rounding leaves out."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _two_product(a: float, b: Array) -> tuple[Array, Array]:
    """Product and what its rounding leaves out."""
    product = a * b
    big = SPLIT * a
    a_high = big - (big - a)
    wide = SPLIT * b
    b_high = wide - (wide - b)
    a_low, b_low = a - a_high, b - b_high
    return product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low


def independent(
    rows: Array, least: Array, own_part: OwnPart | None = None
) -> tuple[Array, Array, list[int]]:
    """Gram and Schmidt's method, each row twice, in order and in panels; dependent rows go.

    Parameters
    ----------
    rows : ndarray of shape (size, n)
    least : ndarray of shape (size,)
        Length of what earlier rows leave of a row, up to which they determine it.
    own_part : callable, optional
        Works out again what is left of a row where that is little, and corrects its shares.

    Returns
    -------
    orthonormal : ndarray of shape (k, n)
    combine : ndarray of shape (size, k)
        ``rows = combine @ orthonormal``.
    kept : list of int
        The rows that earlier ones do not determine.
    """
    size = len(rows)
    out, combine = np.empty(rows.shape), np.zeros((size, size))
    kept: list[int] = []

    for start in range(0, size, PANEL):
        panel, before = rows[start : start + PANEL].copy(), len(kept)
        for _ in range(2):  # against all panels before, at the speed of a matrix product
            shares = panel @ out[:before].T
            panel -= shares @ out[:before]
            combine[start : start + PANEL, :before] += shares
        for i, row in enumerate(panel, start):
            for _ in range(2):  # against what this panel has added
                share = out[before : len(kept)] @ row
                row -= share @ out[before : len(kept)]
                combine[i, before : len(kept)] += share
            norm = math.sqrt(float(row @ row))
            if own_part is not None and least[i] < norm < FINE:
                row[:] = own_part(i, combine, out[: len(kept)], kept)
                norm = math.sqrt(float(row @ row))
            if norm <= least[i]:
                continue
            combine[i, len(kept)] = norm
            np.divide(row, norm, out=out[len(kept)])
            kept.append(i)
    return out[: len(kept)].copy(), combine[:, : len(kept)], kept
