"""`Moments`: cross-products of base columns, in total, per level and per cell; they add.

For one `Design`, moments of some rows plus moments of other rows are the moments of all of them.
That one law is what chunks, databases and clusters rest on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array


@dataclass(frozen=True, slots=True)
class Cells:
    """Cross-products within the observed combinations of two crossed factors.

    Attributes
    ----------
    first, second : int
        The two factors' positions in the design.
    rows, cols : ndarray of int, shape (n_cells,)
        Level of each; cells are ordered by ``rows``, then ``cols``.
    sums : ndarray of shape (z_first, z_second, n_cells)
        Sums of products of the base columns that the two factors use.
    """

    first: int
    second: int
    rows: NDArray[np.intp]
    cols: NDArray[np.intp]
    sums: Array

    def __add__(self, other: Cells) -> Cells:
        if (self.first, self.second) != (other.first, other.second):
            raise ValueError("cells of different factors do not add")
        width = int(max(self.cols.max(initial=0), other.cols.max(initial=0))) + 1
        keys = np.concatenate([self.rows * width + self.cols, other.rows * width + other.cols])
        distinct, inverse = np.unique(keys, return_inverse=True)
        sums = np.zeros((*self.sums.shape[:2], len(distinct)))
        sums[..., inverse[: len(self.rows)]] += self.sums
        sums[..., inverse[len(self.rows) :]] += other.sums
        return Cells(self.first, self.second, distinct // width, distinct % width, sums)

    def __sub__(self, other: Cells) -> Cells:
        width = int(self.cols.max(initial=0)) + 1
        at = np.searchsorted(self.rows * width + self.cols, other.rows * width + other.cols)
        sums = self.sums.copy()
        sums[..., at] -= other.sums
        return Cells(self.first, self.second, self.rows, self.cols, sums)


@dataclass(frozen=True, slots=True)
class Within:
    """The same sums, the columns of the first grouping factor kept apart in each of its levels.

    They keep the digits that totals lose where groups differ by thousands of residual standard
    deviations. They are taken in a second pass, only when the first fit shows the need.

    Attributes
    ----------
    parts : ndarray of shape (z, c + 1, n_levels)
        With Q the orthonormal columns that span, in a level, the base columns that the first
        factor uses: products of Q with the base columns and, last, the response.
    root : ndarray of shape (k, c + 1)
        Upper triangular root of the products of what Q leaves of the columns.
    levels : tuple of ndarray of shape (z, c + 1, n_levels)
        The same per level of each later factor.
    """

    parts: Array
    root: Array
    levels: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over rows, all that a likelihood asks of the data.

    Attributes
    ----------
    n : int
        Number of rows.
    log_weights : float
        Sum of the logarithms of the (scaled) prior weights.
    cross : ndarray of shape (c + 1, c + 1)
        Weighted cross-products of the base columns and, last, the response.
    levels : tuple of ndarray of shape (z, c + 1, n_levels)
        Per grouping factor and level, products of the base columns it uses with all columns.
    cells : tuple of Cells
        For crossed factors, one per pair.
    within : Within, optional
        Not kept by a sum of moments.
    root : ndarray of shape (k, m + c + 1), optional
        Of few columns: upper triangular root of the cross-products of all that the grouping
        factors use, a column for each level, with the base columns and the response. Not kept
        either.
    """

    n: int
    log_weights: float
    cross: Array
    levels: tuple[Array, ...]
    cells: tuple[Cells, ...] = ()
    within: Within | None = None
    root: Array | None = None

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.n + other.n,
            self.log_weights + other.log_weights,
            self.cross + other.cross,
            tuple(a + b for a, b in zip(self.levels, other.levels, strict=True)),
            tuple(a + b for a, b in zip(self.cells, other.cells, strict=True)),
        )

    def __sub__(self, other: Moments) -> Moments:
        """Without some of the rows; levels and cells that they empty stay, with sums of zero."""
        return Moments(
            self.n - other.n,
            self.log_weights - other.log_weights,
            self.cross - other.cross,
            tuple(a - b for a, b in zip(self.levels, other.levels, strict=True)),
            tuple(a - b for a, b in zip(self.cells, other.cells, strict=True)),
        )
