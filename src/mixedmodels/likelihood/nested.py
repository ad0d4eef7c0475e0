"""Nested grouping factors (one factor is the simplest case): block diagonal all the way down.

Model      y = Xb + Z Lambda u + e, with every level of a factor inside one level of the next.
Storage    per factor, arrays of shape (rows, columns, n_levels): the small matrices of all levels
           side by side, so that a step of the elimination is one NumPy operation over all levels.
           Levels are ordered so that the children of a level are consecutive.
Cost       O(sum over factors of n_levels * q * (q + D)**2), with D the columns that come after.

The factors are eliminated from the finest to the coarsest. Columns at one stage are ordered
``[own Z | Z of the coarser factors | X y]``; what is left at the end is ``[X y]' V^-1 [X y]``.
Derivatives follow by walking the stages backwards (reverse accumulation).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array, contract, times

if TYPE_CHECKING:
    from scipy import sparse


# numbers from which BLAS wakes threads for the small matrices of all levels
WIDE = 100_000


@dataclass(frozen=True, slots=True)
class Stage:
    """Cross-products of one grouping factor, in working units.

    Attributes
    ----------
    g : ndarray of shape (q, q + D, n_levels)
        ``Z' W [Z | coarser Z | X y]`` of each level.
    parent : ndarray of int, shape (n_levels,)
        Level of the next factor that holds this level (empty for the last factor).
    starts : tuple of ndarray of int
        For each coarser factor, the first of its consecutive levels here.
    """

    g: Array
    parent: NDArray[np.intp]
    starts: tuple[NDArray[np.intp], ...]


@dataclass(frozen=True, slots=True)
class Reduced:
    """One elimination at one theta.

    Attributes
    ----------
    logdet : float
        ``log |Omega|``.
    cross : ndarray of shape (w, w)
        ``[X y]' V^-1 [X y]``, V in units of sigma**2.
    p, v : list of ndarray of shape (q, q + D, n_levels)
        ``Lambda' G`` and ``Omega^-1 Lambda' G`` of each stage.
    g : list of ndarray of shape (q, q + D, n_levels)
        The cross-products each stage met: its own less what finer factors explain.
    after : list of ndarray of shape (q, q + D, n_levels)
        What each stage leaves: ``Z' V_k^-1 [Z | later columns]``.
    total : float
        Sum of squares of which the residual one is a difference.
    root : ndarray of shape (w, w), optional
        Upper triangular, ``cross = root' root``, where it was found without squares.
    """

    logdet: float
    cross: Array
    p: list[Array]
    v: list[Array]
    g: list[Array]
    after: list[Array]
    total: float
    root: Array | None = None


@dataclass(frozen=True, slots=True)
class Derivatives:
    """Gradient of ``log|Omega| + <N, cross>`` for one grouping factor.

    Attributes
    ----------
    by_factor : ndarray of shape (q, q)
        Derivative with respect to each entry of ``Lambda``.
    by_covariance : ndarray of shape (q, q)
        Derivative with respect to ``Lambda @ Lambda.T`` (finite where Lambda is singular too).
    """

    by_factor: Array
    by_covariance: Array


class NestedBlocks:
    """Cross-products of a chain of nested grouping factors."""

    exact_hessian: bool
    cheap = True
    seconds = 0.0
    short_steps: bool

    def __init__(self, stages: Sequence[Stage], cross: Array) -> None:
        self.stages = list(stages)
        self.cross = cross
        self.exact_hessian = len(self.stages) == 1
        self.short_steps = sum(stage.g.size for stage in self.stages) > WIDE

    def per_factor(self) -> list[Array]:
        """``Z'W [Z | X y]`` of each factor alone, shape (q, q + w, n_levels)."""
        w = self.cross.shape[0]
        return [
            np.concatenate([stage.g[:, : stage.g.shape[0]], stage.g[:, -w:]], axis=1)
            for stage in self.stages
        ]

    def fixed_products(self) -> list[Array]:
        """``Z' W [X y]`` of each factor, shape (q, w, n_levels)."""
        w = self.cross.shape[0]
        return [stage.g[:, -w:] for stage in self.stages]

    def cross_times(self, effects: Sequence[Array]) -> list[Array]:
        """``Z'WZ`` times effects of shape (q, s, n_levels) per factor."""
        out = [
            np.einsum("abl,bsl->asl", stage.g[:, : stage.g.shape[0]], effect)
            for stage, effect in zip(self.stages, effects, strict=True)
        ]
        for k, stage in enumerate(self.stages):
            offset, above = stage.g.shape[0], np.arange(stage.g.shape[-1])
            for j in range(k + 1, len(self.stages)):
                above = self.stages[j - 1].parent[above]
                width = self.stages[j].g.shape[0]
                link = stage.g[:, offset : offset + width]
                out[k] = out[k] + np.einsum("abl,bsl->asl", link, effects[j][:, :, above])
                down = np.einsum("abl,asl->bsl", link, effects[k])
                out[j] = out[j] + self.within_coarser(down, k, j)
                offset += width
        return out

    def forward(self, reduced: Reduced, factors: Sequence[Array], right: Sequence[Array]) -> Array:
        """``R' Lambda Omega^-1 Lambda' R`` for R of shape (q, s, n_levels) per factor."""
        pending = list(right)
        total = np.zeros((right[0].shape[1],) * 2)
        for k, (stage, factor) in enumerate(zip(self.stages, factors, strict=True)):
            scaled = np.einsum("ba,bsl->asl", factor, pending[k])
            solved = np.einsum("abl,bsl->asl", inverse_omega(reduced.g[k], factor), scaled)
            total += np.einsum("asl,atl->st", scaled, solved)
            offset = stage.g.shape[0]
            for j in range(k + 1, len(self.stages)):
                width = self.stages[j].g.shape[0]
                link = reduced.p[k][:, offset : offset + width]
                explained = np.einsum("abl,asl->bsl", link, solved)
                pending[j] = pending[j] - self.within_coarser(explained, k, j)
                offset += width
        return total

    def reduce(self, factors: Sequence[Array]) -> Reduced:
        """Eliminate every factor at the given ``Lambda``s."""
        return self._eliminate(factors, self._begin())

    def _begin(self) -> Reduced:
        """Nothing eliminated yet."""
        total = float(self.cross[-1, -1])
        return Reduced(0.0, self.cross, [], [], [stage.g for stage in self.stages], [], total)

    def _eliminate(self, factors: Sequence[Array], state: Reduced) -> Reduced:
        """Eliminate the factors that are left, from the finest to the coarsest."""
        logdet, cross, g_list = state.logdet, state.cross, list(state.g)
        ps, vs, after = list(state.p), list(state.v), list(state.after)
        w = cross.shape[0]
        for k in range(len(ps), len(self.stages)):
            p, v, stage_logdet = solve_levels(g_list[k], factors[k])
            logdet += stage_logdet
            offset = p.shape[0]
            for j in range(k + 1, len(self.stages)):
                width = self.stages[j].g.shape[0]
                explained = np.einsum("qal,qbl->abl", p[:, offset : offset + width], v[:, offset:])
                g_list[j] = g_list[j] - self.within_coarser(explained, k, j)
                offset += width
            for left, right in zip(p[:, -w:], v[:, -w:], strict=True):
                cross = cross - contract(left, right)
            ps.append(p)
            vs.append(v)
            after.append(after_stage(g_list[k], p, v))
        return Reduced(logdet, cross, ps, vs, g_list, after, state.total, state.root)

    def within_coarser(self, values: Array, fine: int, coarse: int) -> Array:
        """Sum (..., n_levels) of a factor over its levels inside each level of a coarser one."""
        return np.asarray(
            np.add.reduceat(values, self.stages[fine].starts[coarse - fine - 1], axis=-1)
        )

    def derivatives(
        self, reduced: Reduced, factors: Sequence[Array], weight: Array
    ) -> list[Derivatives]:
        """Gradient of ``logdet + <weight, cross>``, one entry per factor."""
        results: list[Derivatives] = []
        inner = weight[:, :, None]
        for k in range(len(self.stages) - 1, -1, -1):
            v, after = reduced.v[k], reduced.after[k]
            q = v.shape[0]
            rest = after[:, q:]
            if inner.shape[-1] == 1:
                rest_inner = times(inner[:, :, 0], rest)
            else:
                rest_inner = np.einsum("abl,qbl->qal", inner, rest)
            own = v[:, :q].sum(-1).T
            flat = rest_inner.reshape(q, -1)
            explained = contract(flat, np.ascontiguousarray(v[:, q:]).reshape(q, -1))
            rest_flat = np.ascontiguousarray(rest).reshape(q, -1)
            by_covariance = after[:, :q].sum(-1) - contract(flat, rest_flat)
            results.append(Derivatives(2.0 * (own - explained), by_covariance))
            if k > 0:
                inner = self._joint(k, reduced, factors[k], inner)[:, :, self.stages[k - 1].parent]
        return results[::-1]

    def _joint(self, k: int, reduced: Reduced, factor: Array, inner: Array) -> Array:
        """Relative covariance of the stage's own and later columns, given that of the later."""
        v = reduced.v[k]
        q, n_levels = v.shape[0], v.shape[-1]
        later = inner.shape[0]
        scaled = (factor @ v[:, q : q + later].reshape(q, -1)).reshape(q, later, n_levels)
        cross = -np.einsum("qal,abl->qbl", scaled, np.broadcast_to(inner, (later, later, n_levels)))
        joint = np.empty((q + later, q + later, n_levels))
        joint[:q, :q] = self._own_covariance(k, reduced, factor)
        joint[:q, :q] -= np.einsum("qal,ral->qrl", cross, scaled)
        joint[:q, q:] = cross
        joint[q:, :q] = cross.transpose(1, 0, 2)
        joint[q:, q:] = inner
        return joint

    def _own_covariance(self, k: int, reduced: Reduced, factor: Array) -> Array:
        """``Lambda Omega^-1 Lambda'`` of each level of one stage."""
        return own_covariance(reduced.g[k], factor)

    def conditional_covariance(self, reduced: Reduced, factors: Sequence[Array]) -> list[Array]:
        """Covariance of the random effects given y and beta, units of sigma**2, per level.

        Returns
        -------
        list of ndarray of shape (q, q, n_levels)
        """
        last = len(self.stages) - 1
        joint = self._own_covariance(last, reduced, factors[last])
        blocks = [joint]
        for k in range(last - 1, -1, -1):
            inner = joint[:, :, self.stages[k].parent]
            joint = self._joint(k, reduced, factors[k], inner)
            q = self.stages[k].g.shape[0]
            blocks.append(joint[:q, :q])
        return blocks[::-1]

    def spherical(self, reduced: Reduced, factors: Sequence[Array]) -> list[Array]:
        """``Omega^-1 Lambda' Z' W [X y]`` of every level, shape (q, w, n_levels) per factor."""
        w = self.cross.shape[0]
        solutions: list[Array] = []
        for k in range(len(self.stages) - 1, -1, -1):
            v = reduced.v[k]
            q = v.shape[0]
            solution = v[:, -w:]
            parent = np.arange(v.shape[-1])
            offset = q
            for j in range(k + 1, len(self.stages)):
                parent = self.stages[j - 1].parent[parent] if j > k + 1 else self.stages[k].parent
                coarse = solutions[len(self.stages) - 1 - j]
                width = coarse.shape[0]
                effect = (factors[j] @ coarse.reshape(width, -1)).reshape(coarse.shape)
                solution = solution - np.einsum(
                    "qal,awl->qwl", v[:, offset : offset + width], effect[:, :, parent]
                )
                offset += width
            solutions.append(solution)
        return solutions[::-1]

    def half_solve(
        self,
        reduced: Reduced,
        factors: Sequence[Array],
        levels: Sequence[NDArray[np.intp]],
        rows: Sequence[Array],
    ) -> Array:
        """``z' Lambda Omega^-1 Lambda' z`` of rows that touch at most one level per factor.

        Parameters
        ----------
        levels : sequence of ndarray of int, shape (n_rows,)
            Level of each factor, -1 where the row has none.
        rows : sequence of ndarray of shape (q, n_rows)
            Working-unit columns of each factor.

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        pending = [(f.T @ r) * (lev >= 0) for f, r, lev in zip(factors, rows, levels, strict=True)]
        if len(factors) == 1:
            inverse = inverse_omega(reduced.g[0], factors[0])[:, :, np.maximum(levels[0], 0)]
            return np.asarray(np.einsum("qn,qrn,rn->n", pending[0], inverse, pending[0]))
        return self._sparse_half_solve(reduced, factors, levels, pending)

    def _sparse_half_solve(
        self,
        reduced: Reduced,
        factors: Sequence[Array],
        levels: Sequence[NDArray[np.intp]],
        pending: Sequence[Array],
    ) -> Array:
        """Forward elimination of sparse right sides; a row's levels need not lie in each other."""
        from scipy import sparse

        n_rows = pending[0].shape[-1]
        total = np.zeros(n_rows)
        right = [
            sparse.csr_array(
                (
                    values.T.ravel(),
                    (np.maximum(level, 0)[:, None] * len(values) + np.arange(len(values))).ravel(),
                    np.arange(n_rows + 1) * len(values),
                ),
                shape=(n_rows, len(values) * reduced.v[k].shape[-1]),
            )
            for k, (values, level) in enumerate(zip(pending, levels, strict=True))
        ]
        for k, factor in enumerate(factors):
            q, n_levels = factor.shape[0], reduced.v[k].shape[-1]
            inverse = level_blocks(inverse_omega(reduced.g[k], factor), np.arange(n_levels))
            solved = right[k] @ inverse
            total += np.asarray(solved.multiply(right[k]).sum(axis=1)).ravel()
            offset, above = q, np.arange(n_levels)
            for j in range(k + 1, len(factors)):
                above = self.stages[j - 1].parent[above]
                width = factors[j].shape[0]
                # Omega_kj = (Lambda_k' G_kj) Lambda_j, one block a level, in its parent's columns
                link = np.einsum(
                    "qal,ab->qbl", reduced.p[k][:, offset : offset + width], factors[j]
                )
                columns = reduced.v[j].shape[-1]
                right[j] = right[j] - solved @ level_blocks(link, above, columns)
                offset += width
        return total


def level_blocks(
    blocks: Array, columns: NDArray[np.intp], n_columns: int | None = None
) -> sparse.csr_array:
    """One small matrix per level, from an array of shape (q, r, n_levels), as a sparse matrix.

    Parameters
    ----------
    blocks : ndarray of shape (q, r, n_levels)
    columns : ndarray of int, shape (n_levels,)
        Block column of each level.
    n_columns : int, optional
        Number of block columns, ``n_levels`` by default.
    """
    from scipy import sparse

    q, r, n_levels = blocks.shape
    shape = (q * n_levels, r * (n_levels if n_columns is None else n_columns))
    data = np.ascontiguousarray(blocks.transpose(2, 0, 1))
    indptr = np.arange(n_levels + 1)
    return sparse.csr_array(sparse.bsr_array((data, columns, indptr), shape=shape))


def solve_levels(g: Array, factor: Array) -> tuple[Array, Array, float]:
    """``Lambda' G``, ``Omega^-1 Lambda' G`` and ``log|Omega|``, all levels at once.

    Gauss-Jordan elimination without pivoting: Omega = I + positive semidefinite needs none.
    """
    q = g.shape[0]
    p = times(factor.T, g.reshape(q, -1)).reshape(g.shape)
    if q == 1:
        pivot = p[0, 0] * factor[0, 0] + 1.0
        return p, p / pivot, float(np.log(pivot).sum())
    omega = times(factor.T, p[:, :q])
    for i in range(q):
        omega[i, i] += 1.0
    v, logdet = gauss_jordan(omega, p)
    return p, v, logdet


def gauss_jordan(omega: Array, right: Array) -> tuple[Array, float]:
    """``omega^-1 right`` and ``log|omega|`` of every level, shapes (q, q, L) and (q, c, L)."""
    q, _, n_levels = omega.shape
    work = np.empty((q, q + right.shape[1], n_levels))
    work[:, :q], work[:, q:] = omega, right
    logdet = 0.0
    for k in range(q):
        pivot = work[k, k]
        logdet += float(np.log(pivot).sum())
        row = work[k, k + 1 :] / pivot
        column = work[:, k].copy()
        column[k] = 0.0
        work[:, k + 1 :] -= column[:, None] * row
        work[k, k + 1 :] = row
    return work[:, q:], logdet


def after_stage(g: Array, p: Array, v: Array) -> Array:
    """``Z' V_k^-1 [Z | later columns]`` of each level: what this factor leaves unexplained."""
    q = g.shape[0]
    if q == 1:
        return np.asarray(g - p[:, :1] * v)
    return np.asarray(g - np.einsum("jil,jal->ial", p[:, :q], v))


def inverse_omega(g: Array, factor: Array) -> Array:
    """``Omega^-1`` of each level, shape (q, q, n_levels)."""
    q, n_levels = g.shape[0], g.shape[-1]
    if q == 1:
        return np.asarray(1.0 / (1.0 + factor[0, 0] ** 2 * g[:, :1]))
    p = times(factor.T, np.ascontiguousarray(g[:, :q]).reshape(q, -1)).reshape(q, q, n_levels)
    omega = times(factor.T, p)
    unit = np.eye(q)[:, :, None]
    return gauss_jordan(omega + unit, np.broadcast_to(unit, (q, q, n_levels)))[0]


def own_covariance(g: Array, factor: Array) -> Array:
    """``Lambda Omega^-1 Lambda'`` of each level, shape (q, q, n_levels)."""
    q = g.shape[0]
    half = (factor @ inverse_omega(g, factor).reshape(q, -1)).reshape(q, q, -1)
    return np.asarray(np.matmul(factor, half))
