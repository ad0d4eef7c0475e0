"""Array types that all floors share, and eigenvalues of small matrices without overhead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Array: TypeAlias = NDArray[np.float64]

# columns of a block of rows; multiplications below which BLAS stays in its thread; columns of a
# block below which threads are worth their start
BLOCK = 8192
UNTHREADED = 200_000
SHORTEST = 512
# the same for products with one row, which BLAS treats as vectors
VECTOR = 8_000


def cross_products(rows: Sequence[Array] | Array, weights: Array | None = None) -> Array:
    """``rows @ diag(weights) @ rows.T`` of long thin rows.

    In blocks that stay in the cache, and below the size at which BLAS wakes its threads: for a few
    rows their start costs more than the work.
    """
    size, n = len(rows), len(rows[0])
    out = np.zeros((size, size))
    block = np.empty((size, min(n, BLOCK)))
    for start in range(0, n, BLOCK):
        part = block[:, : min(BLOCK, n - start)]
        for i, row in enumerate(rows):
            part[i] = row[start : start + BLOCK]
        # a copy: of a matrix with itself NumPy makes another call, which has threads
        left = part * (1.0 if weights is None else weights[start : start + BLOCK])
        out += left @ part.T
    return out


def times(small: Array, wide: Array) -> Array:
    """``small @ wide`` for wide of shape (..., b, n), in blocks that do not wake BLAS's threads."""
    n = wide.shape[-1]
    if len(small) == 1 and wide.size > VECTOR:
        return np.asarray(np.einsum("ab,...bn->...an", small, wide))
    step = UNTHREADED // small.size if small.size else n
    if n <= step or step < SHORTEST:
        return np.asarray(np.matmul(small, wide))
    out = np.empty((*wide.shape[:-2], len(small), n))
    for start in range(0, n, step):
        part = slice(start, start + step)
        np.matmul(small, wide[..., part], out=out[..., part])
    return out


def contract(left: Array, right: Array) -> Array:
    """``left @ right.T`` for left (a, n) and right (b, n), likewise."""
    n, size = left.shape[1], len(left) * len(right)
    if min(len(left), len(right)) == 1 and n * size > VECTOR:
        return np.asarray(np.einsum("an,bn->ab", left, right))
    step = UNTHREADED // size if size else n
    if n <= step or step < SHORTEST:
        return np.asarray(left @ right.T)
    out = np.zeros((len(left), len(right)))
    for start in range(0, n, step):
        out += left[:, start : start + step] @ right[:, start : start + step].copy().T
    return out


def solve_upper(upper: Array, right: Array) -> Array:
    """``upper^-1 right`` by back substitution.

    NumPy's general solver finds nothing to eliminate; LAPACK's own for triangles wakes threads that
    spin for 50 ms, whatever the size.
    """
    return np.asarray(np.linalg.solve(upper, right))


def eigh(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues (ascending) and vectors of a small symmetric matrix, by LAPACK itself.

    NumPy's checks cost more than the work on matrices of a few rows.
    """
    if not len(matrix):
        return np.empty(0), np.empty((0, 0))
    values, vectors, info = lapack.dsyev(matrix)
    if info != 0:
        raise np.linalg.LinAlgError("eigenvalues did not converge")
    return values, vectors


def singular_values(matrix: Array) -> Array:
    """Singular values of a small matrix, descending."""
    if len(matrix) == 1:
        return np.asarray(np.abs(matrix[0]))
    _, values, _, info = lapack.dgesdd(matrix, compute_uv=0)
    if info != 0:
        raise np.linalg.LinAlgError("singular values did not converge")
    return np.asarray(values)
