"""Omega of all factors but the first, once the first is eliminated: dense, or a sparse head.

Storage    Columns stand in an order of elimination. The dense part is one buffer, row j holding
           the columns k >= j, used again by every evaluation: first Omega, then its Cholesky
           factor, then its inverse. `SparseComplement` keeps the columns that meet few others as a
           sparse Cholesky factor and leaves the rest, the tail, to LAPACK.
Cost       dense: (tail)**3; head: sum over its columns of (entries)**2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.linalg import blas, lapack

from mixedmodels.arrays import Array
from mixedmodels.threads import in_threads

# seconds per multiplication, measured: sparse loops, dense LAPACK factor and inverse
SPARSE_COST, DENSE_COST = 2e-9, 1.3e-11


class NotPositiveDefinite(np.linalg.LinAlgError):
    """Omega lost its definiteness to rounding."""


class DenseComplement:
    """Omega as one dense matrix, factored and inverted in place.

    Parameters
    ----------
    size : int
    """

    head = 0

    def __init__(self, size: int) -> None:
        self.size = size
        self._buffer: Array | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_buffer": None}

    @property
    def seconds(self) -> float:
        """What factor and inverse are expected to take."""
        return DENSE_COST * float(self.size - self.head) ** 3

    def fresh(self) -> DenseComplement:
        """The same structure without numbers."""
        return DenseComplement(self.size)

    @property
    def dense(self) -> Array:
        """The buffer, shape (size, size); its triangle k >= j is valid."""
        if self._buffer is None:
            self._buffer = np.zeros((self.size - self.head,) * 2)
        return self._buffer

    def fill(self, pattern: sparse.csr_array) -> None:
        """Start from a sparse symmetric matrix (upper triangle)."""
        dense = self.dense
        dense.fill(0.0)
        rows = np.repeat(np.arange(self.size), np.diff(pattern.indptr))
        dense[rows, pattern.indices] = pattern.data

    def factor(self) -> float:
        """Cholesky factor in place of Omega.

        Returns
        -------
        float
            ``log |Omega|``.

        Raises
        ------
        NotPositiveDefinite
        """
        # the transpose is what LAPACK calls the lower triangle of a column-major matrix
        _, info = lapack.dpotrf(self.dense.T, lower=1, overwrite_a=1, clean=0)
        if info != 0:
            raise NotPositiveDefinite("Omega is not positive definite")
        return 2.0 * float(np.log(np.diagonal(self.dense)).sum())

    def solve_factored(self, right: Array) -> Array:
        """``Omega^-1 right`` between `factor` and `invert`."""
        return np.asarray(linalg.cho_solve((self.dense.T, True), right, check_finite=False))

    def invert(self) -> None:
        """Inverse in place of the Cholesky factor."""
        lapack.dpotri(self.dense.T, lower=1, overwrite_c=1)

    def solve(self, right: Array) -> Array:
        """``Omega^-1 right`` after `invert`."""
        return np.asarray(blas.dsymm(1.0, self.dense.T, right, lower=1))

    def diagonal_blocks(self, at: NDArray[np.intp], q: int) -> Array:
        """Blocks of ``Omega^-1`` at columns ``at .. at + q``, shape (q, q, len(at))."""
        out = np.empty((q, q, len(at)))
        for i in range(q):
            for j in range(i, q):
                out[i, j] = out[j, i] = self.entries(at + i, at + j)
        return out

    def entries(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> Array:
        """Single entries of ``Omega^-1``."""
        low, high = np.minimum(first, second), np.maximum(first, second)
        return np.asarray(self.dense[low, high])


@dataclass(frozen=True, slots=True)
class Head:
    """Pattern of the sparse columns of the Cholesky factor.

    Attributes
    ----------
    pointers : ndarray of int64, shape (n_head + 1,)
    rows : ndarray of int32
        Of each column in ascending order, the diagonal first.
    ends : ndarray of int32
        Where the column of each entry ends.
    tail_starts : ndarray of int64, shape (size + 1,)
    tail_entries : ndarray of int32
        Entries in tail rows, row by row: what `kernels.cross_products` calls the entries of a
        column.
    """

    pointers: NDArray[np.int64]
    rows: NDArray[np.int32]
    tail_starts: NDArray[np.int64]
    tail_entries: NDArray[np.int32]
    ends: NDArray[np.int32]


class SparseComplement(DenseComplement):
    """Omega whose first columns have a sparse Cholesky factor.

    Parameters
    ----------
    size : int
    head : Head
    """

    def __init__(self, size: int, head: Head) -> None:
        super().__init__(size)
        self.head = len(head.pointers) - 1
        self.pattern = head
        self.values = np.empty(0)
        self.inverse = np.empty(0)

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "values": np.empty(0), "inverse": np.empty(0)}

    @property
    def seconds(self) -> float:
        """What factor and inverse are expected to take."""
        counts = np.diff(self.pattern.pointers)
        return super().seconds + SPARSE_COST * float(np.square(counts, dtype=np.float64).sum())

    def fresh(self) -> SparseComplement:
        """The same structure without numbers."""
        return SparseComplement(self.size, self.pattern)

    def fill(self, pattern: sparse.csr_array) -> None:
        """Start from a sparse symmetric matrix (upper triangle)."""
        head, own = self.head, self.pattern
        self.values = np.zeros(len(own.rows))
        rows = np.repeat(np.arange(self.size), np.diff(pattern.indptr))
        early = rows < head
        keys = np.repeat(np.arange(head), np.diff(own.pointers)) * self.size + own.rows
        wanted = rows[early] * self.size + pattern.indices[early]
        self.values[np.searchsorted(keys, wanted)] = pattern.data[early]
        dense = self.dense
        dense.fill(0.0)
        dense[rows[~early] - head, pattern.indices[~early] - head] = pattern.data[~early]

    def factor(self) -> float:
        """Factor the head, take it out of the tail, factor the tail."""
        from mixedmodels.kernels import cholesky, cross_products

        own, head = self.pattern, self.head
        failed = cholesky.factor_into(
            self.values,
            own.pointers,
            own.rows,
            np.zeros(self.size),
            np.empty(head, np.int32),
            np.empty(head, np.int32),
            np.empty(head, np.int64),
        )
        if failed >= 0:
            raise NotPositiveDefinite("Omega is not positive definite")
        if self.size > head:
            dense, values = self.dense, self.values[None]
            in_threads(
                lambda first, step: cross_products.subtract_into(
                    dense,
                    head,
                    own.tail_starts,
                    own.tail_entries,
                    own.ends,
                    own.rows,
                    values,
                    first,
                    step,
                ),
                float(np.square(np.diff(own.pointers), dtype=np.float64).sum()),
            )
        logdet = 2.0 * float(np.log(self.values[own.pointers[:-1]]).sum())
        return logdet + (super().factor() if self.size > head else 0.0)

    def solve_factored(self, right: Array) -> Array:
        """``Omega^-1 right`` between `factor` and `invert`."""
        return self._solve(right, super().solve_factored)

    def solve(self, right: Array) -> Array:
        """``Omega^-1 right`` after `invert`."""
        return self._solve(right, super().solve)

    def _solve(self, right: Array, solve_tail: object) -> Array:
        from mixedmodels.kernels import cholesky

        own = self.pattern
        out = np.array(right, order="C").reshape(self.size, -1)
        cholesky.forward_into(out, self.values, own.pointers, own.rows)
        if self.size > self.head:
            out[self.head :] = solve_tail(out[self.head :])  # type: ignore[operator]
        cholesky.backward_into(out, self.values, own.pointers, own.rows)
        return out.reshape(right.shape)

    def invert(self) -> None:
        """Inverse of the tail, and of the head on the pattern of its factor."""
        from mixedmodels.kernels import cholesky

        if self.size > self.head:
            super().invert()
        self.inverse = np.empty(len(self.values))
        cholesky.invert_into(
            self.inverse,
            self.values,
            self.pattern.pointers,
            self.pattern.rows,
            self.dense,
            np.zeros(self.size),
            np.zeros(self.size),
        )

    def entries(self, first: NDArray[np.intp], second: NDArray[np.intp]) -> Array:
        """Single entries of ``Omega^-1``; those off the pattern by solving for their columns."""
        from mixedmodels.kernels import cholesky

        low, high = np.minimum(first, second), np.maximum(first, second)
        out = np.empty(len(low))
        early = low < self.head
        found = np.empty(int(early.sum()))
        cholesky.look_up_into(
            found,
            low[early].astype(np.int64),
            high[early].astype(np.int64),
            self.inverse,
            self.pattern.pointers,
            self.pattern.rows,
        )
        out[early] = found
        out[~early] = self.dense[low[~early] - self.head, high[~early] - self.head]
        missing = np.flatnonzero(np.isnan(out))
        wanted, at = np.unique(low[missing], return_inverse=True)
        step = max(1, int(4e6 // self.size))
        for start in range(0, len(wanted), step):
            part = wanted[start : start + step]
            unit = np.zeros((self.size, len(part)))
            unit[part, np.arange(len(part))] = 1.0
            solved = self.solve(unit)
            here = (at >= start) & (at < start + step)
            out[missing[here]] = solved[high[missing[here]], at[here] - start]
        return out
