"""The oracle where doubles run out: the dense likelihood in integers of hundreds of bits.

Numbers are integers in units of 2**-BITS. Those of a case are doubles, taken as exact; nothing is
lost after that: V is formed with all its n x n entries and eliminated, whatever its condition.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# arrays of Python's integers
Fixed = NDArray[np.object_]

BITS = 400
ONE = 1 << BITS


def _fix(value: float) -> int:
    top, bottom = float(value).as_integer_ratio()
    return (top << BITS) // bottom


def fixed(values: Any) -> Fixed:
    """Doubles as they are."""
    return np.asarray(np.frompyfunc(_fix, 1, 1)(np.asarray(values, float)), object)


def _real(value: int) -> float:
    return int(value) / ONE  # integers divide with correct rounding


def real(values: Any) -> Array:
    """The nearest doubles."""
    return np.asarray(np.frompyfunc(_real, 1, 1)(values), np.float64)


def times(left: Fixed, right: Fixed) -> Fixed:
    """Matrix product."""
    return np.asarray((left @ right) >> BITS)


def _over(left: Fixed, right: int) -> Fixed:
    return np.asarray((left << BITS) // right)


def root(value: int) -> int:
    """Square root."""
    return math.isqrt(int(value) << BITS)


def logarithm(value: int) -> float:
    """Natural logarithm, of numbers that no double holds too."""
    return math.log(int(value)) - BITS * math.log(2.0)


def orthogonal(columns: Fixed, weights: Fixed) -> Fixed:
    """Columns made orthogonal one after the other, of unit mean square."""
    n, done = len(columns), []
    for column in columns.T:
        for other in done:
            along = int(np.sum((column * weights >> BITS) * other >> BITS)) // n
            column = column - (along * other >> BITS)
        square = int(np.sum((column * weights >> BITS) * column >> BITS)) // n
        done.append(_over(column, root(square)))
    return np.array(done, object).reshape(len(done), n).T


@dataclass(frozen=True)
class ExactTerm:
    """One random term: levels of the rows, and columns."""

    codes: NDArray[np.int64]
    z: Fixed


@dataclass(frozen=True)
class ExactFit:
    """Everything at one theta, rounded to doubles at the end.

    Attributes
    ----------
    slopes, gradients : list of ndarray of shape (q, q)
        Derivatives of the criterion in the covariance of each term, and in its Lambda.
    """

    criterion: float
    beta: Array
    vcov: Array
    sigma: float
    fitted: Array
    slopes: list[Array]
    gradients: list[Array]


@dataclass(frozen=True)
class Exact:
    """A problem: X and y, random terms, weights."""

    X: Fixed
    y: Fixed
    terms: tuple[ExactTerm, ...]
    weights: Fixed
    reml: bool

    def solve(self, factors: Sequence[Array]) -> ExactFit:
        """Criterion, estimates and slopes at the given Lambda of each term."""
        n, p = self.X.shape
        lowers = [fixed(factor) for factor in factors]
        V = np.diag(np.array([ONE * ONE // int(w) for w in self.weights], object))
        for term, lower in zip(self.terms, lowers, strict=True):
            scaled = times(term.z, lower)
            V = V + times(scaled, scaled.T) * (term.codes[:, None] == term.codes)
        spread = [_spread(term) for term in self.terms]
        pivots, half = _eliminate(V, np.column_stack([self.X, self.y[:, None], *spread]))
        over = _divided(half, pivots)
        cross = times(half.T, over)  # [X y Z]' V^-1 [X y Z]
        inner, rest = _eliminate(cross[:p, :p], cross[:p, p:])
        after = _divided(rest, inner)
        left = cross[p:, p:] - times(rest.T, after)  # [y Z]' P [y Z]
        r2, score = int(left[0, 0]), left[0, 1:]
        df = n - p if self.reml else n
        value = sum(map(logarithm, pivots))
        value += df * (1.0 + math.log(2.0 * math.pi / df) + logarithm(r2))
        if self.reml:
            value += sum(map(logarithm, inner))
        unit = fixed(np.eye(p))
        inverse = _inverse(cross[:p, :p], unit)
        beta = times(inverse, cross[:p, p])
        traces = left[1:, 1:] if self.reml else cross[p + 1 :, p + 1 :]
        slopes, gradients, at = [], [], 0
        marginal = times(self.X, beta)
        for term, lower, block in zip(self.terms, lowers, spread, strict=True):
            q, levels = term.z.shape[1], block.shape[1] // term.z.shape[1]
            part = slice(at, at + q * levels)
            own = traces[part, part] - np.multiply.outer(score[part], score[part]) * df // r2
            total = sum(own[i * q : (i + 1) * q, i * q : (i + 1) * q] for i in range(levels))
            slopes.append(real(np.asarray(total)))
            gradients.append(2.0 * real(times(np.asarray(total), lower)))
            effects = times(score[part].reshape(levels, q), times(lower, lower.T))
            marginal = marginal + times(block, effects.ravel())
            at = part.stop
        sigma2 = _real(r2) / df
        return ExactFit(
            value,
            real(beta),
            real(inverse) * sigma2,
            math.sqrt(sigma2),
            real(marginal),
            slopes,
            gradients,
        )


def _spread(term: ExactTerm) -> Fixed:
    """Columns of Z, level by level."""
    n, q = term.z.shape
    out = np.zeros((n, int(term.codes.max()) + 1, q), object)
    out[np.arange(n), term.codes] = term.z
    return out.reshape(n, -1)


def _eliminate(matrix: Fixed, right: Fixed) -> tuple[list[int], Fixed]:
    """Pivots D of ``L D L'``, and ``L^-1 right``."""
    rest, out, pivots = matrix.copy(), right.copy(), []
    for j in range(len(rest)):
        pivot = int(rest[j, j])
        if pivot <= 0:
            raise np.linalg.LinAlgError("a matrix is not positive definite")
        pivots.append(pivot)
        below = np.flatnonzero(rest[j + 1 :, j]) + j + 1
        if not len(below):
            continue
        column = rest[below, j]
        share = _over(column, pivot)
        rest[np.ix_(below, below)] -= np.multiply.outer(share, column) >> BITS
        out[below] -= np.multiply.outer(share, out[j]) >> BITS
    return pivots, out


def _inverse(matrix: Fixed, unit: Fixed) -> Fixed:
    pivots, half = _eliminate(matrix, unit)
    return times(half.T, _divided(half, pivots))


def _divided(rows: Fixed, pivots: list[int]) -> Fixed:
    """Each row over its pivot."""
    out = [(row << BITS) // pivot for row, pivot in zip(rows, pivots, strict=True)]
    return np.array(out, object).reshape(rows.shape)
