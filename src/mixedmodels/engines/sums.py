"""Sums per cell: n, means and products about the means of the parts and the response; they add.

Merging follows Chan, Golub and LeVeque (1983), The American Statistician 37, 242-247: products stay
about the cell's own means, so that neither order nor partition of the rows costs digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.levels import Coded, Factor, Level
from mixedmodels.design.storage import read_column
from mixedmodels.errors import DataError

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over the rows of each of some cells.

    Attributes
    ----------
    n : ndarray of int64, shape (n_cells,)
        Number of rows.
    weight : ndarray of shape (n_cells,)
        Sum of the prior weights.
    means : ndarray of shape (k, n_cells)
        Weighted means of the columns.
    products : ndarray of shape (k, k, n_cells)
        Weighted sums of products of the columns less their means.
    """

    n: NDArray[np.int64]
    weight: Array
    means: Array
    products: Array

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> Sums:
        """Some of the cells."""
        return Sums(
            self.n[which], self.weight[which], self.means[:, which], self.products[..., which]
        )

    def columns(self, which: Sequence[int]) -> Sums:
        """Some of the columns."""
        at = np.asarray(which, np.intp)
        return Sums(self.n, self.weight, self.means[at], self.products[np.ix_(at, at)])

    def joined(self, other: Sums) -> Sums:
        """The cells of both, side by side."""
        return Sums(
            np.concatenate([self.n, other.n]),
            np.concatenate([self.weight, other.weight]),
            np.concatenate([self.means, other.means], axis=1),
            np.concatenate([self.products, other.products], axis=2),
        )

    def merged(self, cell: Codes, n_cells: int) -> Sums:
        """Cells put together: entry i goes to ``cell[i]``."""
        if len(cell) == n_cells == len(self.n) and np.array_equal(cell, np.arange(n_cells)):
            return self
        weight = np.bincount(cell, self.weight, n_cells).astype(np.float64)
        n = np.bincount(cell, self.n, n_cells).astype(np.int64)
        size = len(self.means)
        # about one entry of each cell, so that a large common mean costs no digits
        first = np.zeros(n_cells, np.intp)
        first[cell[::-1]] = np.arange(len(cell) - 1, -1, -1)
        origin = self.means[:, first]
        means = np.empty((size, n_cells))
        for i in range(size):
            shift = self.means[i] - origin[i][cell]
            means[i] = origin[i] + np.bincount(cell, self.weight * shift, n_cells) / weight
        shifts = self.means - means[:, cell]
        products = np.empty((size, size, n_cells))
        for i in range(size):
            for j in range(i + 1):
                between = self.weight * shifts[i] * shifts[j]
                total = np.bincount(cell, self.products[i, j] + between, n_cells)
                products[i, j] = products[j, i] = total
        return Sums(n, weight, means, products)

    def less(self, other: Sums) -> Sums:
        """These rows without others that are among them, cell by cell."""
        n, weight = self.n - other.n, self.weight - other.weight
        left = np.where(n > 0, weight, 1.0)
        means = self.means + (self.means - other.means) * (other.weight / left)
        gap = means - other.means
        factor = left * other.weight / self.weight
        products = self.products - other.products - factor * gap[:, None] * gap[None]
        for i in range(len(means)):
            products[i, i] = np.maximum(products[i, i], 0.0)
        return Sums(n, weight, means, products)


def row_sums(cell: Codes, n_cells: int, columns: Array, weights: Array | None) -> Sums:
    """Sums of rows in memory.

    Parameters
    ----------
    cell : ndarray of int64, shape (n,)
    n_cells : int
    columns : ndarray of shape (k, n)
    weights : ndarray of shape (n,), optional
    """
    size, n = columns.shape
    rows = Sums(
        np.ones(n, np.int64),
        np.ones(n) if weights is None else weights,
        columns,
        np.broadcast_to(np.zeros((size, size, 1)), (size, size, n)),
    )
    return rows.merged(cell, n_cells)


# --- cells ----------------------------------------------------------------------------------------


def cell_codes(factors: Sequence[Factor], n: int) -> tuple[Codes, NDArray[np.intp]]:
    """Number of each entry's combination of levels, and where each combination occurs first.

    Returns
    -------
    cell : ndarray of int64, shape (n,)
    first : ndarray of int, shape (n_cells,)
        Combinations are ordered as their levels are, the last factor fastest.
    """
    cell = np.zeros(n, np.int64)
    for factor in factors:
        combined = cell * len(factor.levels) + factor.codes
        _, cell = np.unique(combined, return_inverse=True)
    _, first = np.unique(cell, return_index=True)
    return cell, first


def used(factor: Factor) -> Factor:
    """The factor without levels that no entry has."""
    seen = np.bincount(factor.codes, minlength=len(factor.levels)) > 0
    if seen.all():
        return factor
    place = np.cumsum(seen) - 1
    levels = tuple(factor.levels[i] for i in np.flatnonzero(seen).tolist())
    return Factor(place[factor.codes], levels, factor.ordered, factor.order_given)


def declared(factor: Factor, column: Any, name: str) -> Factor:
    """The factor with all categories that its column declares, whose order others are put into."""
    raw = read_column(column, name)
    if not (isinstance(raw, Coded) and raw.nature == "category"):
        return factor
    place = {level: i for i, level in enumerate(raw.levels)}
    codes = np.array([place[level] for level in factor.levels], np.int64)[factor.codes]
    return Factor(codes, raw.levels, factor.ordered, factor.order_given)


def taken(factor: Factor, which: NDArray[np.intp] | NDArray[np.bool_]) -> Factor:
    """Some entries of a factor, with all its levels."""
    return Factor(factor.codes[which], factor.levels, factor.ordered, factor.order_given)


def union(name: str, first: Factor, second: Factor) -> Factor:
    """Entries of both, one after the other, over the levels of both.

    Raises
    ------
    DataError
        Levels that are numbers in one and text in the other; two orders of one set of levels.
    """
    levels = _all_levels(name, first, second)
    place = {level: i for i, level in enumerate(levels)}
    codes = [
        np.array([place[level] for level in f.levels], np.int64)[f.codes] for f in (first, second)
    ]
    return Factor(
        np.concatenate(codes),
        levels,
        first.ordered or second.ordered,
        first.order_given or second.order_given,
    )


def _all_levels(name: str, first: Factor, second: Factor) -> tuple[Level, ...]:
    kinds = [{isinstance(level, str) for level in f.levels} for f in (first, second)]
    if len(kinds[0] | kinds[1]) > 1:
        raise DataError(
            f"'{name}' holds text in one batch and numbers in the other: levels would not match. "
            "Convert one of them"
        )
    if not (first.order_given or second.order_given):
        # text and numbers are each of one kind here
        return tuple(sorted({*first.levels, *second.levels}))
    given, other = (first, second) if first.order_given else (second, first)
    position = {level: i for i, level in enumerate(given.levels)}
    shared = [position[level] for level in other.levels if level in position]
    if other.order_given and shared != sorted(shared):
        raise DataError(
            f"the categories of '{name}' come in another order in one of the batches: give both "
            "the same categories"
        )
    return (*given.levels, *(level for level in other.levels if level not in position))


def kept(factor: Factor, which: NDArray[np.intp] | NDArray[np.bool_]) -> Factor:
    """Some entries, with the levels that they have, or all that were declared."""
    part = taken(factor, which)
    return part if factor.order_given else used(part)


def match(keys: Mapping[str, Factor], wanted: Mapping[str, Factor]) -> Codes:
    """For each cell of `wanted` its place among the cells of `keys`; -1 where there is none."""
    n, m = (len(next(iter(k.values())).codes) if k else 1 for k in (keys, wanted))
    both = [union(name, keys[name], wanted[name]) for name in keys]
    cell, _ = cell_codes(both, n + m)
    place = np.full(int(cell.max()) + 1, -1, np.int64)
    place[cell[:n]] = np.arange(n)
    return place[cell[n:]]
