"""The oracle of the accuracy table: a linear mixed model in 120 decimal digits, for small cases.

The doubles of a data set are taken as exact numbers, all products are summed once, and the
criterion of Bates, Maechler, Bolker and Walker (2015, J. Stat. Softw. 67(1), eqs 34-42) is
minimised by Newton steps whose derivatives are differences in the same precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from mpmath import mp, mpf
from numpy.typing import NDArray

# a shift of 1e12 is squared, and its square again in the cross-products of slopes
DIGITS = 120
# differences of this relative size leave enough digits to the derivatives
STEP = mpf(10) ** -25
MOST_STEPS = 40

Matrix = list[list[Any]]


@dataclass(frozen=True)
class ExactTerm:
    """A random term: the level of each row, and its columns (n, q)."""

    codes: NDArray[np.int64]
    z: NDArray[np.float64]


@dataclass(frozen=True)
class ExactFit:
    """What a package reports, to all digits, at one theta."""

    theta: list[Any]
    criterion: Any
    beta: list[Any]
    std_error: list[Any]
    sigma: Any


@dataclass(frozen=True)
class ExactModel:
    """``y = X b + sum of Z_t b_t + e`` with precision weights, by REML.

    Attributes
    ----------
    X : ndarray of shape (n, p)
    y : ndarray of shape (n,)
    terms : sequence of ExactTerm
    weights : ndarray of shape (n,)
    """

    X: NDArray[np.float64]
    y: NDArray[np.float64]
    terms: Sequence[ExactTerm]
    weights: NDArray[np.float64]

    @cached_property
    def places(self) -> list[tuple[int, int, int]]:
        """(term, first column, width) of each level among the columns of Z."""
        out, start = [], 0
        for t, term in enumerate(self.terms):
            for _ in range(int(term.codes.max()) + 1):
                out.append((t, start, term.z.shape[1]))
                start += term.z.shape[1]
        return out

    @cached_property
    def cross(self) -> Matrix:
        """``[Z X y]' W [Z X y]``."""
        blocks = []
        for term in self.terms:
            q, levels = term.z.shape[1], int(term.codes.max()) + 1
            block = np.zeros((len(self.y), levels, q))
            block[np.arange(len(self.y)), term.codes] = term.z
            blocks.append(block.reshape(len(self.y), -1))
        whole = np.column_stack([*blocks, self.X, self.y])
        with mp.workdps(DIGITS):
            sparse = [{int(j): mpf(float(row[j])) for j in np.flatnonzero(row)} for row in whole]
            size = whole.shape[1]
            out = [[mpf(0)] * size for _ in range(size)]
            for row, w in zip(sparse, self.weights.tolist(), strict=True):
                for i, a in row.items():
                    left = a * mpf(w)
                    for j, b in row.items():
                        if j <= i:
                            out[i][j] += left * b
            for i in range(size):
                for j in range(i):
                    out[j][i] = out[i][j]
            return out

    @cached_property
    def log_weights(self) -> Any:
        """Sum of the logarithms of the weights."""
        with mp.workdps(DIGITS):
            return sum((mp.log(mpf(w)) for w in self.weights.tolist()), mpf(0))

    def factors(self, theta: Sequence[Any]) -> list[Matrix]:
        """Lower triangles, column by column."""
        out, at = [], 0
        for term in self.terms:
            q = term.z.shape[1]
            lower = [[mpf(0)] * q for _ in range(q)]
            for column in range(q):
                for row in range(column, q):
                    lower[row][column] = mpf(theta[at])
                    at += 1
            out.append(lower)
        return out

    def fit_at(self, theta: Sequence[Any]) -> ExactFit:
        """Everything at one theta."""
        with mp.workdps(DIGITS):
            logdet, rest = self._eliminate(self.factors(theta))
            p = self.X.shape[1]
            root = _cholesky([row[:p] for row in rest[:p]])
            half = _forward(root, [row[p:] for row in rest[:p]])
            r2 = rest[p][p] - sum((v[0] ** 2 for v in half), mpf(0))
            nu = len(self.y) - p
            value = logdet - self.log_weights + nu * (1 + mp.log(2 * mp.pi * r2 / nu))
            value += 2 * sum((mp.log(root[j][j]) for j in range(p)), mpf(0))
            beta = _backward(root, [v[0] for v in half])
            inverse = _forward(root, [[mpf(i == j) for j in range(p)] for i in range(p)])
            sigma = mp.sqrt(r2 / nu)
            error = [
                sigma * mp.sqrt(sum((inverse[i][j] ** 2 for i in range(p)), mpf(0)))
                for j in range(p)
            ]
            return ExactFit([mpf(t) for t in theta], value, beta, error, sigma)

    def optimum(self, near: Sequence[Any], *, held: Sequence[int] = ()) -> ExactFit:
        """The optimum by Newton steps from a theta near it; `held` ones stay."""
        with mp.workdps(DIGITS):
            theta = [mpf(t) for t in near]
            free = [i for i in range(len(theta)) if i not in held]
            for _ in range(MOST_STEPS):
                gradient, hessian = self._derivatives(theta, free)
                step = _backward(
                    root := _cholesky(hessian),
                    [v[0] for v in _forward(root, [[g] for g in gradient])],
                )
                for i, s in zip(free, step, strict=True):
                    theta[i] -= s
                if all(
                    abs(s) < mpf(10) ** -22 * abs(theta[i]) for i, s in zip(free, step, strict=True)
                ):
                    return self.fit_at(theta)
        raise ArithmeticError("Newton's steps did not end")

    def _derivatives(self, theta: list[Any], free: list[int]) -> tuple[list[Any], Matrix]:
        def value(moves: Sequence[tuple[int, Any]]) -> Any:
            moved = list(theta)
            for i, step in moves:
                moved[i] += step
            return self.fit_at(moved).criterion

        size = [STEP * abs(theta[i]) for i in free]
        here = value([])
        above = [value([(i, s)]) for i, s in zip(free, size, strict=True)]
        below = [value([(i, -s)]) for i, s in zip(free, size, strict=True)]
        gradient = [(a - b) / (2 * s) for a, b, s in zip(above, below, size, strict=True)]
        hessian = [[mpf(0)] * len(free) for _ in free]
        for j, (i, s) in enumerate(zip(free, size, strict=True)):
            hessian[j][j] = (above[j] - 2 * here + below[j]) / s**2
            for k in range(j):
                both = value([(i, s), (free[k], size[k])])
                hessian[j][k] = (both - above[j] - above[k] + here) / (s * size[k])
                hessian[k][j] = hessian[j][k]
        return gradient, hessian

    def _eliminate(self, factors: list[Matrix]) -> tuple[Any, Matrix]:
        """log|Omega|, and ``[X y]' V^-1 [X y]``."""
        size = sum(width for _, _, width in self.places)
        scaled = [list(row) for row in self.cross]
        for t, start, width in self.places:
            lower = factors[t]
            rows = [scaled[start + i] for i in range(width)]
            for j in range(width):
                scaled[start + j] = [
                    sum((lower[i][j] * rows[i][c] for i in range(j, width)), mpf(0))
                    for c in range(len(scaled))
                ]
        for t, start, width in self.places:
            lower = factors[t]
            for row in scaled:
                values = row[start : start + width]
                for j in range(width):
                    row[start + j] = sum((lower[i][j] * values[i] for i in range(j, width)), mpf(0))
        omega = [row[:size] for row in scaled[:size]]
        for i in range(size):
            omega[i][i] += 1
        root = _cholesky(omega)
        half = _forward(root, [row[size:] for row in scaled[:size]])
        logdet = 2 * sum((mp.log(root[j][j]) for j in range(size)), mpf(0))
        count = len(scaled) - size
        rest = [
            [
                scaled[size + i][size + j] - sum((row[i] * row[j] for row in half), mpf(0))
                for j in range(count)
            ]
            for i in range(count)
        ]
        return logdet, rest


def _cholesky(matrix: Matrix) -> Matrix:
    n = len(matrix)
    root = [[mpf(0)] * n for _ in range(n)]
    for i in range(n):
        for j in range(i + 1):
            left = matrix[i][j]
            for a, b in zip(root[i][:j], root[j][:j], strict=True):
                if a and b:
                    left -= a * b
            if i == j:
                if left <= 0:
                    raise ArithmeticError("a matrix is not positive definite")
                root[i][i] = mp.sqrt(left)
            else:
                root[i][j] = left / root[j][j]
    return root


def _forward(root: Matrix, right: Matrix) -> Matrix:
    out: Matrix = []
    for i, row in enumerate(right):
        done = list(row)
        for j in range(i):
            if root[i][j]:
                done = [d - root[i][j] * o for d, o in zip(done, out[j], strict=True)]
        out.append([d / root[i][i] for d in done])
    return out


def _backward(root: Matrix, right: Sequence[Any]) -> list[Any]:
    n = len(right)
    out = [mpf(0)] * n
    for i in reversed(range(n)):
        rest = sum((root[j][i] * out[j] for j in range(i + 1, n)), mpf(0))
        out[i] = (right[i] - rest) / root[i][i]
    return out
