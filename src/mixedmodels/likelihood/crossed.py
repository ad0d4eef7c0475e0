"""Crossed grouping factors: the largest is block diagonal, the rest a dense Schur complement.

Storage    factor 1 as arrays (q, ., n_levels); its cross-products with the other random effects as
           one sparse matrix; the other factors' cross-products as one dense symmetric matrix.
           Random effects of a factor are ordered level by level (level * q + column).
Cost       forming the complement: sum over levels of factor 1 of (partners)**2; then one dense
           Cholesky factor and inverse of order sum over other factors of n_levels * q.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from mixedmodels.arrays import Array
from mixedmodels.likelihood.nested import (
    Derivatives,
    inverse_omega,
    level_blocks,
    own_covariance,
    solve_levels,
)


@dataclass(frozen=True, slots=True)
class CrossedReduced:
    """One elimination at one theta.

    Attributes
    ----------
    logdet : float
        ``log |Omega|``.
    cross : ndarray of shape (w, w)
        ``[X y]' V^-1 [X y]``.
    p, v : ndarray of shape (q, q + w, n_levels)
        Factor 1's ``Lambda' G`` and ``Omega^-1 Lambda' G`` for its own and the [X y] columns.
    p_rest, v_rest : sparse of shape (q * n_levels, m)
        The same for its cross-products with the other random effects.
    complement : ndarray of shape (m, m)
        ``Z2' V1^-1 Z2``: what factor 1 leaves of the others' cross-products.
    rest_w : ndarray of shape (m, w)
        ``Z2' V1^-1 [X y]``.
    cholesky : ndarray of shape (m, m)
        Lower Cholesky factor of the others' Omega.
    u_rest : ndarray of shape (m, w)
        ``Omega^-1 Lambda' Z' [X y]`` of the others.
    total : float
        Sum of squares of which the residual one is a difference.
    """

    logdet: float
    cross: Array
    p: Array
    v: Array
    p_rest: sparse.csr_array
    v_rest: sparse.csr_array
    complement: Array
    rest_w: Array
    cholesky: Array
    u_rest: Array
    total: float


class CrossedBlocks:
    """Cross-products of crossed grouping factors.

    Parameters
    ----------
    g : ndarray of shape (q, q + w, n_levels)
        ``Z1' W [Z1 | X y]`` of each level of the largest factor.
    links : sparse of shape (q * n_levels, m)
        ``Z1' W Z2`` with Z2 the columns of all other factors.
    rest : ndarray of shape (m, m)
        ``Z2' W Z2``.
    rest_w : ndarray of shape (m, w)
        ``Z2' W [X y]``.
    cross : ndarray of shape (w, w)
    sizes : sequence of (q, n_levels)
        Of the other factors.
    """

    exact_hessian = False

    def __init__(
        self,
        g: Array,
        links: sparse.csr_array,
        rest: Array,
        rest_w: Array,
        cross: Array,
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        self.g, self.links, self.rest, self.rest_w, self.cross = g, links, rest, rest_w, cross
        self.sizes = list(sizes)
        ends = np.cumsum([q * n for q, n in self.sizes])
        self.slices = [
            slice(int(end) - q * n, int(end)) for end, (q, n) in zip(ends, self.sizes, strict=True)
        ]
        self.cheap = int(ends[-1]) <= 200

    def per_factor(self) -> list[Array]:
        """``Z'W [Z | X y]`` of each factor alone, shape (q, q + w, n_levels)."""
        out = [self.g]
        for (q, n), part in zip(self.sizes, self.slices, strict=True):
            own = np.einsum("lalb->abl", self.rest[part, part].reshape(n, q, n, q))
            fixed = self.rest_w[part].reshape(n, q, -1).transpose(1, 2, 0)
            out.append(np.concatenate([own, fixed], axis=1))
        return out

    def fixed_products(self) -> list[Array]:
        """``Z' W [X y]`` of each factor, shape (q, w, n_levels)."""
        w = self.cross.shape[0]
        return [self.g[:, -w:], *self._by_factor(self.rest_w)]

    def _by_factor(self, stacked: Array) -> list[Array]:
        """Split (m, s) into (q, s, n_levels) for each of the other factors."""
        return [
            stacked[part].reshape(n, q, -1).transpose(1, 2, 0)
            for (q, n), part in zip(self.sizes, self.slices, strict=True)
        ]

    def cross_times(self, effects: Sequence[Array]) -> list[Array]:
        """``Z'WZ`` times effects of shape (q, s, n_levels) per factor."""
        q, s, n_levels = effects[0].shape
        first = _level_major(effects[0])
        others = np.concatenate([_level_major(e) for e in effects[1:]])
        own = np.einsum("abl,bsl->asl", self.g[:, :q], effects[0])
        linked = (self.links @ others).reshape(n_levels, q, s).transpose(1, 2, 0)
        return [own + linked, *self._by_factor(self.links.T @ first + self.rest @ others)]

    def forward(
        self, reduced: CrossedReduced, factors: Sequence[Array], right: Sequence[Array]
    ) -> Array:
        """``R' Lambda Omega^-1 Lambda' R`` for R of shape (q, s, n_levels) per factor."""
        scaled = np.einsum("ba,bsl->asl", factors[0], right[0])
        solved = np.einsum("abl,bsl->asl", inverse_omega(self.g, factors[0]), scaled)
        total = np.einsum("asl,atl->st", scaled, solved)
        others = np.concatenate([_level_major(r) for r in right[1:]])
        others = self._scale_rows(others - reduced.v_rest.T @ _level_major(scaled), factors)
        half = linalg.solve_triangular(reduced.cholesky, others, lower=True, check_finite=False)
        return np.asarray(total + half.T @ half)

    def reduce(self, factors: Sequence[Array]) -> CrossedReduced:
        """Eliminate every factor at the given ``Lambda``s."""
        w = self.cross.shape[0]
        n_levels = self.g.shape[-1]
        p, v, logdet = solve_levels(self.g, factors[0])
        omega_inverse = inverse_omega(self.g, factors[0])
        p_rest = _block_diagonal(factors[0].T, n_levels) @ self.links
        v_rest = _by_level(omega_inverse) @ p_rest
        complement = self.rest - (p_rest.T @ v_rest).toarray()
        p_w = _level_major(p[:, -w:])
        v_w = _level_major(v[:, -w:])
        rest_w = self.rest_w - v_rest.T @ p_w
        cross = self.cross - p_w.T @ v_w

        omega = self._scale_columns(self._scale_rows(complement, factors), factors)
        omega[np.diag_indices_from(omega)] += 1.0
        cholesky = linalg.cholesky(omega, lower=True, overwrite_a=True, check_finite=False)
        logdet += 2.0 * float(np.log(np.diag(cholesky)).sum())
        scaled_w = self._scale_rows(rest_w, factors)
        u_rest = linalg.cho_solve((cholesky, True), scaled_w, check_finite=False)
        cross = cross - scaled_w.T @ u_rest
        total = float(self.cross[-1, -1])
        return CrossedReduced(
            logdet, cross, p, v, p_rest, v_rest, complement, rest_w, cholesky, u_rest, total
        )

    def derivatives(
        self, reduced: CrossedReduced, factors: Sequence[Array], weight: Array
    ) -> list[Derivatives]:
        """Gradient of ``logdet + <weight, cross>``, one entry per factor."""
        inverse = self._inverse(reduced)
        half = self._scale_rows(reduced.complement, factors)
        effect = self._unscale(reduced.u_rest, factors)
        left = reduced.rest_w - reduced.complement @ effect
        results = [self._first_factor(reduced, factors, weight, inverse, effect)]
        solved: Array | None = None
        for k, (q, n) in enumerate(self.sizes):
            part = self.slices[k]
            own = np.einsum(
                "laj,jlb->ba", inverse[part].reshape(n, q, -1), half[:, part].reshape(-1, n, q)
            )
            t = left[part].reshape(n, q, -1)
            u = reduced.u_rest[part].reshape(n, q, -1)
            by_factor = 2.0 * (own - np.einsum("law,wx,lbx->ab", t, weight, u))
            factor = factors[k + 1]
            if np.all(np.abs(np.diag(factor)) > 1e-6):
                by_covariance = 0.5 * np.linalg.solve(factor.T, by_factor.T).T
            else:
                # only at a boundary: the diagonal blocks of Z'V^-1Z need one more solve
                if solved is None:
                    solved = linalg.solve_triangular(
                        reduced.cholesky, half, lower=True, check_finite=False
                    )
                blocks = solved[:, part].reshape(-1, n, q)
                own_products = reduced.complement[part, part].reshape(n, q, n, q)
                by_covariance = np.einsum("lalb->ab", own_products)
                by_covariance = by_covariance - np.einsum("jla,jlb->ab", blocks, blocks)
                by_covariance = by_covariance - np.einsum("law,wx,lbx->ab", t, weight, t)
            results.append(Derivatives(by_factor, 0.5 * (by_covariance + by_covariance.T)))
        return results

    def _first_factor(
        self,
        reduced: CrossedReduced,
        factors: Sequence[Array],
        weight: Array,
        inverse: Array,
        effect: Array,
    ) -> Derivatives:
        """Gradient for factor 1; the later columns' covariance is used on the sparse pattern."""
        q, _, n_levels = self.g.shape
        left = self._right_scale(inverse, factors)
        inner = left + effect @ weight @ effect.T
        corner = -effect @ weight
        own_p = reduced.p[:, :q]
        rest_t = self.links - _by_level(own_p.transpose(1, 0, 2)) @ reduced.v_rest
        t_w = _level_major(self.g[:, q:]) - _by_level(own_p.transpose(1, 0, 2)) @ _level_major(
            reduced.v[:, q:]
        )
        v_w = _level_major(reduced.v[:, q:])
        own = reduced.v[:, :q].sum(-1).T
        own_after = (self.g[:, :q] - np.einsum("jil,jal->ial", own_p, reduced.v[:, :q])).sum(-1)
        explained_v, explained_t = np.zeros((q, q)), np.zeros((q, q))
        step = max(1, int(4e6 // max(1, inner.shape[0])))
        for start in range(0, n_levels, step):
            rows = slice(start * q, min(start + step, n_levels) * q)
            t_sparse, v_sparse = rest_t[rows], reduced.v_rest[rows]
            t_rest = t_sparse @ inner + t_w[rows] @ corner.T
            t_fixed = t_sparse @ corner + t_w[rows] @ weight
            for i in range(q):
                dense, fixed = t_rest[i::q], t_fixed[i::q]
                for j in range(q):
                    explained_v[i, j] += v_sparse[j::q].multiply(dense).sum()
                    explained_v[i, j] += np.vdot(fixed, v_w[rows][j::q])
                    explained_t[i, j] += t_sparse[j::q].multiply(dense).sum()
                    explained_t[i, j] += np.vdot(fixed, t_w[rows][j::q])
        return Derivatives(2.0 * (own - explained_v), own_after - explained_t)

    def conditional_covariance(
        self, reduced: CrossedReduced, factors: Sequence[Array]
    ) -> list[Array]:
        """Covariance of the random effects given y and beta, units of sigma**2, per level."""
        joint = self._right_scale(self._inverse(reduced), factors)
        q, _, n_levels = self.g.shape
        scaled = (_block_diagonal(factors[0], n_levels) @ reduced.v_rest).tocsr()
        first = own_covariance(self.g, factors[0])
        step = max(1, int(4e6 // max(1, joint.shape[0])))
        for start in range(0, n_levels, step):
            stop = min(start + step, n_levels)
            part = scaled[start * q : stop * q]
            dense = part @ joint
            for i in range(q):
                for j in range(q):
                    first[i, j, start:stop] += part[j::q].multiply(dense[i::q]).sum(axis=1)
        blocks = [first]
        for (q_k, n), part_k in zip(self.sizes, self.slices, strict=True):
            square = joint[part_k, part_k].reshape(n, q_k, n, q_k)
            blocks.append(np.einsum("lalb->abl", square))
        return blocks

    def spherical(self, reduced: CrossedReduced, factors: Sequence[Array]) -> list[Array]:
        """``Omega^-1 Lambda' Z' W [X y]`` of every level, shape (q, w, n_levels) per factor."""
        w = self.cross.shape[0]
        q, _, n_levels = self.g.shape
        effect = self._unscale(reduced.u_rest, factors)
        first = _level_major(reduced.v[:, -w:]) - reduced.v_rest @ effect
        solutions = [first.reshape(n_levels, q, w).transpose(1, 2, 0)]
        for (q_k, n), part in zip(self.sizes, self.slices, strict=True):
            solutions.append(reduced.u_rest[part].reshape(n, q_k, w).transpose(1, 2, 0))
        return solutions

    def half_solve(
        self,
        reduced: CrossedReduced,
        factors: Sequence[Array],
        levels: Sequence[NDArray[np.intp]],
        rows: Sequence[Array],
    ) -> Array:
        """``z' Lambda Omega^-1 Lambda' z`` of rows that touch at most one level per factor.

        See `NestedBlocks.half_solve`.
        """
        n_rows = rows[0].shape[-1]
        q = factors[0].shape[0]
        total = np.zeros(n_rows)
        omega_inverse = inverse_omega(self.g, factors[0])
        m = self.links.shape[1]
        step = max(1, int(4e6 // max(1, m)))
        for start in range(0, n_rows, step):
            chunk = slice(start, min(start + step, n_rows))
            size = chunk.stop - chunk.start
            seen = levels[0][chunk] >= 0
            at = np.maximum(levels[0][chunk], 0)
            pending = (factors[0].T @ rows[0][:, chunk]) * seen
            solved = np.einsum("qrn,rn->qn", omega_inverse[:, :, at], pending)
            total[chunk] += np.einsum("qn,qn->n", solved, pending)
            right = np.zeros((m, size))
            for i in range(q):
                right -= reduced.p_rest[at * q + i].multiply(solved[i][:, None]).toarray().T
            right = self._scale_rows(right, factors)
            for k, (q_k, _) in enumerate(self.sizes):
                level = levels[k + 1][chunk]
                z = factors[k + 1].T @ rows[k + 1][:, chunk]
                where = np.flatnonzero(level >= 0)
                for i in range(q_k):
                    right[self.slices[k].start + level[where] * q_k + i, where] += z[i, where]
            half = linalg.solve_triangular(reduced.cholesky, right, lower=True, check_finite=False)
            total[chunk] += np.einsum("mn,mn->n", half, half)
        return total

    def _inverse(self, reduced: CrossedReduced) -> Array:
        """``Omega^-1`` of the other factors."""
        inverse, info = linalg.lapack.dpotri(reduced.cholesky, lower=1)
        if info != 0:
            raise np.linalg.LinAlgError("Omega is not positive definite")
        inverse = np.tril(inverse)
        return np.asarray(inverse + np.tril(inverse, -1).T)

    def _scale_rows(self, matrix: Array, factors: Sequence[Array]) -> Array:
        """``Lambda' matrix`` for the other factors."""
        out = np.empty_like(matrix)
        for (q, n), part, factor in zip(self.sizes, self.slices, factors[1:], strict=True):
            rows = matrix[part]
            if q == 1:
                np.multiply(rows, factor[0, 0], out=out[part])
            else:
                out[part] = np.einsum("ba,lbj->laj", factor, rows.reshape(n, q, -1)).reshape(
                    rows.shape
                )
        return out

    def _scale_columns(self, matrix: Array, factors: Sequence[Array]) -> Array:
        """``matrix Lambda`` for the other factors."""
        return self._scale_rows(matrix.T, factors).T

    def _unscale(self, matrix: Array, factors: Sequence[Array]) -> Array:
        """``Lambda matrix``: spherical effects to effects."""
        return self._scale_rows(matrix, [f.T for f in factors])

    def _right_scale(self, matrix: Array, factors: Sequence[Array]) -> Array:
        """``Lambda matrix Lambda'``."""
        return self._unscale(self._unscale(matrix, factors).T, factors).T


def _level_major(blocks: Array) -> Array:
    """(q, w, n_levels) -> (n_levels * q, w)."""
    q, w, n_levels = blocks.shape
    return np.ascontiguousarray(blocks.transpose(2, 0, 1)).reshape(n_levels * q, w)


def _block_diagonal(block: Array, n_levels: int) -> sparse.csr_array:
    """The same q x q block for every level."""
    return level_blocks(
        np.broadcast_to(block[:, :, None], (*block.shape, n_levels)), np.arange(n_levels)
    )


def _by_level(blocks: Array) -> sparse.csr_array:
    return level_blocks(blocks, np.arange(blocks.shape[-1]))
