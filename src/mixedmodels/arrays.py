"""Array types that all floors share, and eigenvalues of small matrices without overhead."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Array: TypeAlias = NDArray[np.float64]


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
