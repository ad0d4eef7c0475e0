"""Cross-products of the largest factor with all others: dense, or by the entries observed.

Both types hold ``C = Z1' W Z2`` as q values for each pair of a level and a column, and answer the
same verbs. `DenseLinks` are matrix products; `SparseLinks` need compiled loops over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import blas

from mixedmodels.arrays import Array
from mixedmodels.likelihood.complement import (
    DENSE_COST,
    SPARSE_COST,
    DenseComplement,
    SparseComplement,
)
from mixedmodels.threads import in_threads


class Links(Protocol):
    """What a storage type of links must answer."""

    @property
    def seconds(self) -> float:
        """What the two passes of an evaluation are expected to take."""
        ...

    def scaled(self, layout: Layout, factors: Sequence[Array]) -> Links:
        """``C Lambda2``."""
        ...

    def transformed(self, blocks: Array) -> Links:
        """A q x q matrix per level, shape (q, q, n_levels), times C."""
        ...

    def times(self, right: Array) -> Array:
        """``C right``: (m, s) to (q, s, n_levels)."""
        ...

    def transpose_times(self, left: Array) -> Array:
        """``C' left``: (q, s, n_levels) to (m, s)."""
        ...

    def subtract_from(self, complement: DenseComplement) -> None:
        """Take ``C' C`` out of Omega."""
        ...

    def quadratic(self, complement: DenseComplement) -> Array:
        """``C_l Omega^-1 C_l'`` of every level, shape (q, q, n_levels)."""
        ...

    def dense_rows(self, levels: NDArray[np.intp]) -> Array:
        """``C_l'`` of some levels, shape (m, len(levels) * q)."""
        ...


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the columns of the other factors stand in the order of elimination.

    Attributes
    ----------
    sizes : tuple of (q, n_levels)
    at : tuple of ndarray of int, shape (n_levels,)
        Column at which each level's q columns begin.
    """

    sizes: tuple[tuple[int, int], ...]
    at: tuple[NDArray[np.intp], ...]

    @property
    def size(self) -> int:
        """Number of columns."""
        return sum(q * n for q, n in self.sizes)

    def split(self, stacked: Array) -> list[Array]:
        """(m, s) to (q, s, n_levels) for each factor."""
        return [
            np.ascontiguousarray(stacked[at[:, None] + np.arange(q)].transpose(1, 2, 0))
            for (q, _), at in zip(self.sizes, self.at, strict=True)
        ]

    def stack(self, blocks: Sequence[Array]) -> Array:
        """Inverse of `split`."""
        out = np.empty((self.size, blocks[0].shape[1]))
        for (q, _), at, block in zip(self.sizes, self.at, blocks, strict=True):
            out[at[:, None] + np.arange(q)] = block.transpose(2, 0, 1)
        return out

    def scaled(self, stacked: Array, factors: Sequence[Array], *, transpose: bool) -> Array:
        """``Lambda2 stacked``, or ``Lambda2' stacked``."""
        out = np.empty_like(stacked)
        for (q, _), at, factor in zip(self.sizes, self.at, factors, strict=True):
            if q == 1:
                out[at] = stacked[at] * factor[0, 0]
                continue
            places = at[:, None] + np.arange(q)
            out[places] = np.matmul(factor.T if transpose else factor, stacked[places])
        return out

    def matrix(self, factors: Sequence[Array]) -> sparse.csr_array:
        """``Lambda2``, block diagonal."""
        values, rows, columns = [], [], []
        for (q, n), at, factor in zip(self.sizes, self.at, factors, strict=True):
            shape = (n, q, q)
            values.append(np.broadcast_to(factor, shape).ravel())
            rows.append(np.broadcast_to((at[:, None] + np.arange(q))[:, :, None], shape).ravel())
            columns.append(np.broadcast_to((at[:, None] + np.arange(q))[:, None], shape).ravel())
        parts = (np.concatenate(part) for part in (rows, columns))
        return sparse.csr_array((np.concatenate(values), tuple(parts)), shape=(self.size,) * 2)


@dataclass(frozen=True, slots=True)
class DenseLinks:
    """Links of few levels, or observed in most combinations.

    Attributes
    ----------
    values : ndarray of shape (n_levels, q, m)
    """

    values: Array

    @property
    def seconds(self) -> float:
        """See `Links`."""
        return DENSE_COST * 2.0 * float(self.values.size * self.values.shape[2])

    def scaled(self, layout: Layout, factors: Sequence[Array]) -> DenseLinks:
        """See `Links`."""
        n_levels, q, _ = self.values.shape
        out = np.empty_like(self.values)
        for (width, n), at, factor in zip(layout.sizes, layout.at, factors, strict=True):
            if width == 1:
                out[:, :, at] = self.values[:, :, at] * factor[0, 0]
                continue
            places = (at[:, None] + np.arange(width)).ravel()
            part = self.values[:, :, places].reshape(-1, width) @ factor
            out[:, :, places] = part.reshape(n_levels, q, n * width)
        return DenseLinks(out)

    def transformed(self, blocks: Array) -> DenseLinks:
        """See `Links`."""
        if len(blocks) == 1:
            return DenseLinks(self.values * blocks[0, 0][:, None, None])
        return DenseLinks(np.matmul(blocks.transpose(2, 0, 1), self.values))

    def times(self, right: Array) -> Array:
        """See `Links`."""
        n_levels, q, m = self.values.shape
        out = self.values.reshape(-1, m) @ right
        return out.reshape(n_levels, q, -1).transpose(1, 2, 0)

    def transpose_times(self, left: Array) -> Array:
        """See `Links`."""
        n_levels, q, m = self.values.shape
        flat = left.transpose(2, 0, 1).reshape(n_levels * q, -1)
        return np.asarray(self.values.reshape(-1, m).T @ flat)

    def subtract_from(self, complement: DenseComplement) -> None:
        """See `Links`."""
        flat = self.values.reshape(-1, self.values.shape[2])
        blas.dsyrk(-1.0, flat.T, beta=1.0, c=complement.dense.T, lower=1, overwrite_c=1)

    def quadratic(self, complement: DenseComplement) -> Array:
        """See `Links`."""
        n_levels, q, m = self.values.shape
        flat = self.values.reshape(-1, m)
        solved = complement.solve(flat.T).T.reshape(n_levels, q, m)
        products = np.matmul(solved, self.values.transpose(0, 2, 1))
        return np.asarray(products.transpose(1, 2, 0))

    def dense_rows(self, levels: NDArray[np.intp]) -> Array:
        """See `Links`."""
        part = self.values[levels]
        return part.reshape(-1, part.shape[2]).T


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which columns each level meets, and the same by columns.

    Attributes
    ----------
    pointers : ndarray of int64, shape (n_levels + 1,)
        Entries of each level.
    columns, levels, ends : ndarray of int32, shape (n_entries,)
        Column and level of each entry, and where its level ends.
    starts : ndarray of int64, shape (m + 1,)
    entries : ndarray of int32, shape (n_entries,)
        Entries of each column.
    blocks : tuple of ndarray of int
        Per other factor, the first of the consecutive entries of each of its cells.
    """

    pointers: NDArray[np.int64]
    columns: NDArray[np.int32]
    levels: NDArray[np.int32]
    ends: NDArray[np.int32]
    starts: NDArray[np.int64]
    entries: NDArray[np.int32]
    blocks: tuple[NDArray[np.intp], ...]

    @property
    def pairs(self) -> float:
        """Pairs of entries of one level: the cost of a pass."""
        return 0.5 * float(np.square(np.diff(self.pointers), dtype=np.float64).sum())

    def sparse(self, values: Array) -> sparse.csr_array:
        """A matrix of shape (n_levels, m)."""
        shape = (len(self.pointers) - 1, len(self.starts) - 1)
        return sparse.csr_array((values, self.columns, self.pointers), shape=shape)


@dataclass(frozen=True, slots=True)
class SparseLinks:
    """Links by the entries observed.

    Attributes
    ----------
    pattern : Pattern
    values : ndarray of shape (q, n_entries)
    """

    pattern: Pattern
    values: Array

    @property
    def seconds(self) -> float:
        """See `Links`."""
        return SPARSE_COST * 2.0 * self.pattern.pairs * len(self.values)

    def scaled(self, layout: Layout, factors: Sequence[Array]) -> SparseLinks:
        """See `Links`."""
        if all(q == 1 for q, _ in layout.sizes):
            by_column = np.empty(layout.size)
            for at, factor in zip(layout.at, factors, strict=True):
                by_column[at] = factor[0, 0]
            return replace(self, values=self.values * by_column[self.pattern.columns])
        out = np.empty_like(self.values)
        for (q, _), block, factor in zip(layout.sizes, self.pattern.blocks, factors, strict=True):
            places = block[:, None] + np.arange(q)
            out[:, places] = self.values[:, places] @ factor
        return replace(self, values=out)

    def transformed(self, blocks: Array) -> SparseLinks:
        """See `Links`."""
        q, levels = len(blocks), self.pattern.levels
        out = np.empty_like(self.values)
        for i in range(q):
            np.multiply(blocks[i, 0][levels], self.values[0], out=out[i])
            for j in range(1, q):
                out[i] += blocks[i, j][levels] * self.values[j]
        return replace(self, values=out)

    def times(self, right: Array) -> Array:
        """See `Links`."""
        return np.stack([(self.pattern.sparse(v) @ right).T for v in self.values])

    def transpose_times(self, left: Array) -> Array:
        """See `Links`."""
        parts = zip(self.values, left, strict=True)
        return np.asarray(sum(self.pattern.sparse(v).T @ part.T for v, part in parts))

    def subtract_from(self, complement: DenseComplement) -> None:
        """See `Links`."""
        from mixedmodels.kernels import cross_products as kernels

        own, head = self.pattern, complement.head
        dense, values = complement.dense, self.values
        shared = (own.starts, own.entries, own.ends, own.columns, values)

        def run(first: int, step: int) -> None:
            kernels.subtract_into(dense, head, *shared, first, step)
            if isinstance(complement, SparseComplement):
                target = (complement.values, complement.pattern.pointers, complement.pattern.rows)
                work = np.zeros(complement.size)
                kernels.subtract_sparse_into(*target, work, *shared, first, step)

        in_threads(run, own.pairs)

    def quadratic(self, complement: DenseComplement) -> Array:
        """See `Links`."""
        from mixedmodels.kernels import cross_products as kernels

        own, head, q = self.pattern, complement.head, len(self.values)
        dense, values = complement.dense, self.values
        shared = (own.starts, own.entries, own.ends, own.columns, values, own.levels)

        def run(first: int, step: int) -> Array:
            out = np.zeros((len(own.pointers) - 1, q, q))
            kernels.quadratic_into(out, dense, head, *shared, first, step)
            if isinstance(complement, SparseComplement):
                target = (complement.inverse, complement.pattern.pointers, complement.pattern.rows)
                work = np.zeros(complement.size)
                kernels.quadratic_sparse_into(out, *target, work, *shared, first, step)
            return out

        half: Array = np.sum(in_threads(run, own.pairs), axis=0)
        return np.ascontiguousarray((half + half.transpose(0, 2, 1)).transpose(1, 2, 0))

    def dense_rows(self, levels: NDArray[np.intp]) -> Array:
        """See `Links`."""
        parts = [self.pattern.sparse(v)[levels].toarray() for v in self.values]
        return np.stack(parts, axis=1).reshape(-1, len(self.pattern.starts) - 1).T
