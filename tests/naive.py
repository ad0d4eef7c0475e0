"""The oracle: a linear mixed model by its textbook formulas, with V formed and factored whole.

Nothing here knows formulas, moments, working units or the package's storage. A problem is columns
and codes; theta is in the user's units, its terms in the order in which the problem lists them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Term:
    """One random term: its columns ``z`` (n, q) and the level of each row."""

    codes: NDArray[np.int64]
    n_levels: int
    z: Array

    @property
    def q(self) -> int:
        return self.z.shape[1]

    @property
    def n_theta(self) -> int:
        return self.q * (self.q + 1) // 2

    def matrix(self, codes: NDArray[np.int64] | None = None, z: Array | None = None) -> Array:
        """``Z`` (n, n_levels * q), level by level; rows with code -1 are zero."""
        codes = self.codes if codes is None else codes
        z = self.z if z is None else z
        out = np.zeros((len(codes), self.n_levels, self.q))
        seen = np.flatnonzero(codes >= 0)
        out[seen, codes[seen]] = z[seen]
        return out.reshape(len(codes), -1)


@dataclass(frozen=True, slots=True)
class Problem:
    """``y = X b + sum of Z_t b_t + offset + e`` with ``Var(e_i) = sigma**2 / w_i``."""

    X: Array
    y: Array
    terms: tuple[Term, ...]
    weights: Array | None = None
    offset: Array | None = None


def factors(problem: Problem, theta: Array) -> list[Array]:
    """Lower-triangular factor of each term's relative covariance."""
    out, at = [], 0
    for term in problem.terms:
        lower = np.zeros((term.q, term.q))
        for column in range(term.q):
            for row in range(column, term.q):
                lower[row, column] = theta[at]
                at += 1
        out.append(lower)
    assert at == len(theta)
    return out


@dataclass(frozen=True)
class Solution:
    """Everything that follows from one theta."""

    problem: Problem
    theta: Array
    reml: bool

    @cached_property
    def Z(self) -> Array:
        n = len(self.problem.y)
        return np.concatenate([np.empty((n, 0)), *(t.matrix() for t in self.problem.terms)], axis=1)

    @cached_property
    def D(self) -> Array:
        """Relative covariance of all random effects."""
        parts = [
            np.kron(np.eye(term.n_levels), lower @ lower.T)
            for term, lower in zip(
                self.problem.terms, factors(self.problem, self.theta), strict=True
            )
        ]
        return linalg.block_diag(*parts) if parts else np.empty((0, 0))

    @cached_property
    def V(self) -> Array:
        """Covariance of y, in units of sigma**2."""
        w = self.problem.weights
        noise = np.ones(len(self.problem.y)) if w is None else 1.0 / w
        return np.asarray(self.Z @ self.D @ self.Z.T + np.diag(noise))

    @cached_property
    def Vi(self) -> Array:
        return np.asarray(linalg.inv(self.V))

    @cached_property
    def target(self) -> Array:
        offset = self.problem.offset
        return self.problem.y if offset is None else self.problem.y - offset

    @cached_property
    def unscaled_vcov(self) -> Array:
        X = self.problem.X
        return np.asarray(linalg.inv(X.T @ self.Vi @ X)) if X.shape[1] else np.empty((0, 0))

    @cached_property
    def P(self) -> Array:
        VX = self.Vi @ self.problem.X
        return np.asarray(self.Vi - VX @ self.unscaled_vcov @ VX.T)

    @cached_property
    def beta(self) -> Array:
        return np.asarray(self.unscaled_vcov @ (self.problem.X.T @ (self.Vi @ self.target)))

    @property
    def df(self) -> int:
        n, p = self.problem.X.shape
        return n - p if self.reml else n

    @cached_property
    def r2(self) -> float:
        residual = self.target - self.problem.X @ self.beta
        return float(residual @ self.Vi @ residual)

    @cached_property
    def criterion(self) -> float:
        """-2 log of the (restricted) likelihood, sigma profiled out."""
        value = np.linalg.slogdet(self.V)[1] + self.df * (
            1.0 + math.log(2.0 * math.pi * self.r2 / self.df)
        )
        if self.reml and self.problem.X.shape[1]:
            value -= np.linalg.slogdet(self.unscaled_vcov)[1]
        return float(value)

    @property
    def sigma(self) -> float:
        return math.sqrt(self.r2 / self.df)

    @property
    def vcov(self) -> Array:
        return self.sigma**2 * self.unscaled_vcov

    @cached_property
    def modes(self) -> Array:
        """Conditional modes of all random effects, in the order of the columns of Z."""
        residual = self.target - self.problem.X @ self.beta
        return np.asarray(self.D @ (self.Z.T @ (self.Vi @ residual)))

    @cached_property
    def mode_covariance(self) -> Array:
        """Covariance of the random effects given y and beta."""
        DZ = self.D @ self.Z.T
        return np.asarray(self.sigma**2 * (self.D - DZ @ self.Vi @ DZ.T))

    @property
    def fixed_part(self) -> Array:
        offset = self.problem.offset
        return self.problem.X @ self.beta + (0.0 if offset is None else offset)

    @property
    def fitted(self) -> Array:
        return np.asarray(self.fixed_part + self.Z @ self.modes)

    @property
    def hat(self) -> Array:
        """What maps y to the fitted values."""
        X, D, Z = self.problem.X, self.D, self.Z
        return np.asarray(X @ self.unscaled_vcov @ X.T @ self.Vi + Z @ D @ Z.T @ self.P)

    def prediction_variance(self, X: Array, Z: Array, new: Array | float = 0.0) -> Array:
        """Variance of ``x'beta + z'b`` about its prediction; `new`: relative variance added.

        From ``Var(b_hat - b) = D - D Z'PZ D`` and ``Cov(beta_hat, b_hat - b) =
        -(X'V^-1X)^-1 X'V^-1 Z D``, which hold for singular D too.
        """
        DZ = self.D @ self.Z.T
        effects = self.D - DZ @ self.P @ DZ.T
        across = -self.unscaled_vcov @ self.problem.X.T @ self.Vi @ DZ.T
        total = np.einsum("ni,ij,nj->n", X, self.unscaled_vcov, X)
        total = total + np.einsum("ni,ij,nj->n", Z, effects, Z)
        total = total + 2.0 * np.einsum("ni,ij,nj->n", X, across, Z)
        return np.asarray(self.sigma**2 * (total + new))

    def henderson_variance(self, X: Array, Z: Array) -> Array:
        """The same from the inverse of Henderson's mixed-model equations (D must be regular)."""
        w = self.problem.weights
        whole = np.concatenate([self.problem.X, self.Z], axis=1)
        left = whole.T @ (whole if w is None else whole * w[:, None])
        p = self.problem.X.shape[1]
        left[p:, p:] += linalg.inv(self.D)
        rows = np.concatenate([X, Z], axis=1)
        return np.asarray(self.sigma**2 * np.einsum("ni,ij,nj->n", rows, linalg.inv(left), rows))


def criterion(problem: Problem, theta: Sequence[float] | Array, *, reml: bool) -> float:
    """The criterion alone, by Cholesky factors; for searches."""
    lowers = factors(problem, np.asarray(theta, dtype=np.float64))
    n, p = problem.X.shape
    w = problem.weights
    V = np.diag(np.ones(n) if w is None else 1.0 / w)
    for term, lower in zip(problem.terms, lowers, strict=True):
        scaled = term.z @ lower
        V += (scaled @ scaled.T) * (term.codes[:, None] == term.codes)
    root = np.linalg.cholesky(V)
    y = problem.y if problem.offset is None else problem.y - problem.offset
    both = linalg.solve_triangular(root, np.column_stack([problem.X, y]), lower=True)
    upper = np.linalg.qr(both, mode="r")
    r2 = float(upper[p, p] ** 2)
    df = n - p if reml else n
    value = 2.0 * np.log(np.diag(root)).sum() + df * (1.0 + math.log(2.0 * math.pi * r2 / df))
    if reml:
        value += 2.0 * np.log(np.abs(np.diag(upper)[:p])).sum()
    return float(value)
