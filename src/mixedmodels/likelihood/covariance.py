"""Map theta to the small relative covariance factor of each grouping factor, and back.

``Lambda`` is the lower-triangular q x q matrix of one grouping factor, the same for all its levels;
``sigma**2 * Lambda @ Lambda.T`` is the covariance of that factor's random effects. Several terms on
one factor share one ``Lambda`` that is block diagonal over the terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from mixedmodels.arrays import Array, eigh

# entries of Lambda in working units (columns of unit mean square) below which a zero is tried
SMALL_FACTOR = 1e-3


@dataclass(frozen=True, slots=True)
class Template:
    """Which entries of one factor's ``Lambda`` are free.

    Attributes
    ----------
    sizes : tuple of int
        Number of columns of each term on this factor; the terms are mutually uncorrelated.
    q : int
        Total number of columns.
    rows, cols : ndarray of int, shape (n_theta,)
        Position of each free entry: per term, the lower triangle column by column.
    parts : tuple of slice
        Columns of each term within the factor.
    """

    sizes: tuple[int, ...]
    q: int
    rows: NDArray[np.intp]
    cols: NDArray[np.intp]
    parts: tuple[slice, ...]

    @property
    def n_theta(self) -> int:
        """Number of free entries."""
        return len(self.rows)


def make_template(sizes: Sequence[int]) -> Template:
    """Template of a factor whose terms have the given numbers of columns."""
    rows: list[int] = []
    cols: list[int] = []
    parts: list[slice] = []
    offset = 0
    for size in sizes:
        parts.append(slice(offset, offset + size))
        for column in range(size):
            rows.extend(range(offset + column, offset + size))
            cols.extend([offset + column] * (size - column))
        offset += size
    positions = np.array(rows, np.intp), np.array(cols, np.intp)
    return Template(tuple(sizes), offset, *positions, tuple(parts))


def factors_from_theta(templates: Sequence[Template], theta: Array) -> list[Array]:
    """One ``Lambda`` per grouping factor, from the concatenated theta."""
    factors, start = [], 0
    for template in templates:
        stop = start + template.n_theta
        factor = np.zeros((template.q, template.q))
        factor[template.rows, template.cols] = theta[start:stop]
        factors.append(factor)
        start = stop
    return factors


def theta_from_factors(templates: Sequence[Template], factors: Sequence[Array]) -> Array:
    """Inverse of `factors_from_theta`."""
    parts = [f[t.rows, t.cols] for t, f in zip(templates, factors, strict=True)]
    return np.concatenate(parts) if parts else np.empty(0)


def triangular(square_root: Array) -> Array:
    """Lower-triangular ``L`` with diagonal >= 0 and ``L @ L.T == S @ S.T``, without forming it."""
    upper: Array = np.linalg.qr(square_root.T, mode="r")  # type: ignore[assignment]
    lower = upper.T
    signs = np.where(np.diag(lower) < 0, -1.0, 1.0)
    return np.asarray(np.tril(lower) * signs)


def from_covariance(template: Template, covariance: Array) -> Array:
    """``Lambda`` of the nearest positive semidefinite covariance that the template allows."""
    factor = np.zeros((template.q, template.q))
    for part in template.parts:
        factor[part, part] = covariance_root(covariance[part, part])
    return factor


def covariance_root(covariance: Array) -> Array:
    """Lower-triangular root of a covariance, its negative eigenvalues taken as zero."""
    cholesky, info = lapack.dpotrf(covariance, lower=1)
    if info == 0:
        return np.asarray(cholesky)
    values, vectors = eigh(covariance)
    return triangular(vectors * np.sqrt(np.maximum(values, 0.0)))
