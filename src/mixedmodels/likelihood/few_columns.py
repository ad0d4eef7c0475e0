"""Many responses on a design of several grouping factors whose Z has few columns in all.

Model      as in `batch`; crossed, nested, or both.
Storage    dense matrices of shape (responses, columns, columns).
Cost       O(responses * columns**3) per evaluation.

(I + Z'Z D)^-1 [Z'Z Z'X Z'y] = Z'V^-1 [Z X y] is one solve, with D block diagonal over factors and
levels; nothing is subtracted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.likelihood.batch import (
    BatchEvaluation,
    BatchProfile,
    Responses,
    assemble,
    directions_of,
    lower_factors,
    slopes_of,
    solve_fixed,
)
from mixedmodels.likelihood.covariance import Template
from mixedmodels.likelihood.start import has_few_levels


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the columns of Z of several grouping factors stand.

    Attributes
    ----------
    sizes : tuple of (int, int)
        Columns and levels of each factor; a factor's columns stand level by level.
    """

    sizes: tuple[tuple[int, int], ...]

    @property
    def total(self) -> int:
        """Number of columns."""
        return sum(q * n_levels for q, n_levels in self.sizes)

    def parts(self) -> list[tuple[int, int, slice, slice]]:
        """Per factor: q, n_levels, its columns of Z, its columns of the joint Lambda."""
        out, at, small = [], 0, 0
        for q, n_levels in self.sizes:
            stop = at + q * n_levels
            out.append((q, n_levels, slice(at, stop), slice(small, small + q)))
            at, small = stop, small + q
        return out

    def spread(self, matrices: Array) -> Array:
        """Block-diagonal (n, total, total) from one small matrix per factor and response."""
        out = np.zeros((len(matrices), self.total, self.total))
        for q, n_levels, columns, own in self.parts():
            view = out[:, columns, columns].reshape(-1, n_levels, q, n_levels, q)
            index = np.arange(n_levels)
            view[:, index, :, index] = matrices[:, own, own]
            out[:, columns, columns] = view.reshape(-1, n_levels * q, n_levels * q)
        return out


@dataclass(frozen=True, slots=True)
class FewColumns:
    """What all responses share on a design of any structure whose Z has few columns.

    Attributes
    ----------
    template : Template
        Of the terms of all factors side by side.
    layout : Layout
    zz : ndarray of shape (total, total)
        ``Z' W Z``.
    zx : ndarray of shape (total, p)
    xx : ndarray of shape (p, p)
    n : int
    reml : bool
    """

    template: Template
    layout: Layout
    zz: Array
    zx: Array
    xx: Array
    n: int
    reml: bool

    @property
    def nu(self) -> int:
        """Degrees of freedom of the residual variance."""
        return self.n - len(self.xx) if self.reml else self.n

    @property
    def few_levels(self) -> NDArray[np.bool_]:
        """Whether a factor has so few levels that criteria may have several optima, shape (1,)."""
        return np.array([any(has_few_levels(q, levels) for q, levels in self.layout.sizes)])

    def take(self, which: NDArray[np.intp]) -> FewColumns:  # noqa: ARG002
        """Itself: all responses share it."""
        return self

    def evaluate(self, theta: Array, responses: Responses) -> BatchEvaluation:
        """Criterion, gradient and Hessian of every response; its `zy` has one level."""
        count, total, p = len(theta), self.layout.total, len(self.xx)
        factor = lower_factors(self.template, theta)
        relative = self.layout.spread(factor @ factor.transpose(0, 2, 1))
        system = np.matmul(self.zz, relative)
        system[:, np.arange(total), np.arange(total)] += 1.0
        right = np.empty((count, total, total + p + 1))
        right[:, :, :total], right[:, :, total : total + p] = self.zz, self.zx
        right[:, :, -1] = responses.zy[:, :, 0]
        finite = np.isfinite(system).all(axis=(1, 2))
        system[~finite] = np.eye(total)
        solved: Array = np.linalg.solve(system, right).astype(np.float64, copy=False)
        logdet = np.linalg.slogdet(system)[1]
        logdet[~finite] = np.nan
        own, rest = solved[:, :, :total], solved[:, :, total:]
        cross = self._cross(relative, right[:, :, total:], rest, responses)
        profile = solve_fixed(cross, logdet, self.nu, responses.yy, reml=self.reml)
        return self._derivatives(theta, factor, own, rest, profile)

    def _cross(self, relative: Array, right: Array, rest: Array, responses: Responses) -> Array:
        """``[X y]' V^-1 [X y]`` of every response."""
        p = len(self.xx)
        cross = -np.matmul(right.transpose(0, 2, 1), np.matmul(relative, rest))
        cross[:, :p, :p] += self.xx
        cross[:, :p, p] += responses.xy
        cross[:, p, :p] = cross[:, :p, p]
        cross[:, p, p] += responses.yy
        return np.asarray(cross)

    def _derivatives(
        self, theta: Array, factor: Array, own: Array, rest: Array, profile: BatchProfile
    ) -> BatchEvaluation:
        template, parts = self.template, self.layout.parts()
        count, _, w = rest.shape
        slopes = slopes_of(profile, self.nu, reml=self.reml)
        explained = rest @ slopes.weight @ rest.transpose(0, 2, 1)
        score = np.zeros_like(factor)
        for q, n_levels, columns, small in parts:
            left = (own - explained)[:, columns, columns].reshape(count, n_levels, q, n_levels, q)
            score[:, small, small] = np.einsum("nlalb->nab", left)

        directions = directions_of(template, factor)
        m = template.n_theta
        traces = np.zeros((count, m, m))
        fixed = np.zeros((count, m, w, w))
        for q, n_levels, columns, small in parts:
            mine = directions[:, :, small, small].reshape(count, m, q * q)
            rows = rest[:, columns].reshape(count, n_levels, q * w).transpose(0, 2, 1)
            sums = (rows @ rows.transpose(0, 2, 1)).reshape(count, q, w, q, w)
            flat = sums.transpose(0, 1, 3, 2, 4).reshape(count, q * q, w * w)
            fixed += (mine @ flat).reshape(count, m, w, w)
            for r, others, place, tiny in parts:
                theirs = directions[:, :, tiny, tiny].reshape(count, m, r * r)
                shape = (count, n_levels, q, others, r)
                pairs = own[:, columns, place].reshape(shape)
                less = (own - 2.0 * explained)[:, columns, place].reshape(shape)
                flat_pairs = pairs.transpose(0, 2, 4, 1, 3).reshape(count, q * r, -1)
                flat_less = less.transpose(0, 2, 4, 1, 3).reshape(count, q * r, -1)
                # tr(E D_i E D_j), indexed [b, c] and [a, d] of D_i[a, b] E[b, c] D_j[c, d] E[d, a]
                quartic = (flat_pairs @ flat_less.transpose(0, 2, 1)).reshape(count, q, r, q, r)
                inner = quartic.transpose(0, 3, 1, 2, 4).reshape(count, q * q, r * r)
                traces += mine @ inner @ theirs.transpose(0, 2, 1)
        return assemble(template, theta, factor, traces, fixed, score, profile, slopes)
