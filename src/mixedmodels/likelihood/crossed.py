"""Crossed grouping factors: the one with most columns is block diagonal, the rest a complement.

Storage    The first factor as arrays (q, ., n_levels); its cross-products with all other random
           effects as `links`; those of the other factors with each other as one sparse matrix. Once
           the first factor is eliminated, Omega of the others stands in a `complement`, dense or
           with a sparse head. Nothing else has the size of the others' columns squared.
Cost       one pass over the pairs of columns that share a level of the first factor to form the
           complement, one for the gradient; one Cholesky factor and inverse of the complement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedmodels.arrays import Array, singular_values
from mixedmodels.likelihood.complement import DenseComplement
from mixedmodels.likelihood.covariance import triangular
from mixedmodels.likelihood.links import Layout, Links
from mixedmodels.likelihood.nested import (
    Derivatives,
    inverse_omega,
    own_covariance,
    solve_levels,
)

# singular value of Lambda below which the gradient is not taken from I - Omega^-1
REGULAR = 1e-5
# columns of a factor up to which its gradient at a boundary is worked out column by column
EXPLICIT = 200
# theta**2 times rows per level by which larger factors are moved off the boundary
OFF_BOUNDARY = 1e-5
# columns of the complement from which its factorisation gains by a second thread
THREADED = 1500
# numbers in a dense block of right sides
CHUNK = 4_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CrossedReduced:
    """One elimination at one theta.

    Attributes
    ----------
    logdet : float
        ``log |Omega|``.
    cross : ndarray of shape (w, w)
        ``[X y]' V^-1 [X y]``.
    v : ndarray of shape (q, q + w, n_levels)
        ``Omega1^-1 Lambda1' [Z1 | X y]`` of the first factor alone.
    linked : Links
        ``Z1' W Z2 Lambda2``.
    u_rest : ndarray of shape (m, w)
        ``Omega^-1 Lambda' Z' [X y]`` of the others.
    serial : int
        Which evaluation the complement held.
    total : float
        Sum of squares of which the residual one is a difference.
    """

    logdet: float
    cross: Array
    v: Array
    linked: Links
    u_rest: Array
    serial: int
    total: float


class CrossedBlocks:
    """Cross-products of crossed grouping factors.

    Factors come and go in the order of the design; `first` is the position of the one that is
    eliminated level by level.

    Parameters
    ----------
    first : int
    g : ndarray of shape (q, q + w, n_levels)
        ``Z1' W [Z1 | X y]`` of each level of the first factor.
    links : Links
        ``Z1' W Z2`` with Z2 the columns of all other factors.
    layout : Layout
        Where those columns stand.
    rest : sparse of shape (m, m)
        ``Z2' W Z2``.
    others : sequence of ndarray of shape (q, q + w, n_levels)
        ``Z' W [Z | X y]`` of each level of each other factor.
    cross : ndarray of shape (w, w)
    complement : DenseComplement
    """

    exact_hessian = False

    def __init__(
        self,
        first: int,
        g: Array,
        links: Links,
        layout: Layout,
        rest: sparse.csr_array,
        others: Sequence[Array],
        cross: Array,
        complement: DenseComplement,
    ) -> None:
        self.first, self.g, self.links, self.layout = first, g, links, layout
        self.rest, self.others, self.cross = rest, list(others), cross
        w = cross.shape[0]
        self.rest_w = layout.stack([other[:, -w:] for other in others])
        self.complement = complement
        self.cheap = layout.size <= 200
        self.short_steps = layout.size < THREADED
        self.seconds = complement.seconds + links.seconds
        # evaluations so far, and the one that the complement holds
        self._latest = self._held = 0

    @property
    def workspace(self) -> float:
        """Bytes that an evaluation works in."""
        return 8.0 * float(self.complement.size - self.complement.head) ** 2

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_held": 0}

    def per_factor(self) -> list[Array]:
        """``Z'W [Z | X y]`` of each factor alone, shape (q, q + w, n_levels)."""
        return self._join(self.g, self.others)

    def fixed_products(self) -> list[Array]:
        """``Z' W [X y]`` of each factor, shape (q, w, n_levels)."""
        w = self.cross.shape[0]
        return self._join(self.g[:, -w:], [other[:, -w:] for other in self.others])

    def cross_times(self, effects: Sequence[Array]) -> list[Array]:
        """``Z'WZ`` times effects of shape (q, s, n_levels) per factor."""
        first, others = self._apart(effects)
        stacked = self.layout.stack(others)
        own = np.einsum("abl,bsl->asl", self.g[:, : len(first)], first)
        own = own + self.links.times(stacked)
        rest = self.links.transpose_times(first) + self.rest @ stacked
        return self._join(own, self.layout.split(rest))

    def forward(
        self, reduced: CrossedReduced, factors: Sequence[Array], right: Sequence[Array]
    ) -> Array:
        """``R' Lambda Omega^-1 Lambda' R`` for R of shape (q, s, n_levels) per factor."""
        self._recall(reduced, factors)
        lambda1, rest_factors = self._apart(factors)
        first, others = self._apart(right)
        scaled = np.einsum("ba,bsl->asl", lambda1, first)
        solved = np.einsum("abl,bsl->asl", inverse_omega(self.g, lambda1), scaled)
        total = np.einsum("asl,atl->st", scaled, solved)
        pending = self.layout.scaled(self.layout.stack(others), rest_factors, transpose=True)
        pending = pending - reduced.linked.transpose_times(_each(lambda1, solved))
        return np.asarray(total + pending.T @ self.complement.solve(pending))

    def reduce(self, factors: Sequence[Array]) -> CrossedReduced:
        """Eliminate every factor at the given ``Lambda``s."""
        self._held, self._latest = 0, self._latest + 1
        lambda1, others = self._apart(factors)
        linked = self.links.scaled(self.layout, others)
        complement = self.complement
        complement.fill(self._scaled_rest(others))
        linked.transformed(_half_inverse(self.g, lambda1)).subtract_from(complement)
        logdet = complement.factor()
        first = solve_levels(self.g, lambda1)
        v, cross, u_rest = self._solved(factors, first, linked, complement.solve_factored)
        complement.invert()
        self._held = self._latest
        total = float(self.cross[-1, -1])
        return CrossedReduced(logdet + first[2], cross, v, linked, u_rest, self._held, total)

    def _solved(
        self,
        factors: Sequence[Array],
        first: tuple[Array, Array, float],
        linked: Links,
        solve: Callable[[Array], Array],
    ) -> tuple[Array, Array, Array]:
        """What an elimination makes of X and y: `v`, `cross` and `u_rest`."""
        lambda1, others = self._apart(factors)
        w = self.cross.shape[0]
        p, v, _ = first
        scaled_w = self.layout.scaled(self.rest_w, others, transpose=True)
        scaled_w = scaled_w - linked.transpose_times(_each(lambda1, v[:, -w:]))
        u_rest = solve(scaled_w)
        cross = self.cross - np.einsum("awl,axl->wx", p[:, -w:], v[:, -w:])
        return v, cross - scaled_w.T @ u_rest, u_rest

    def beside(
        self, other: CrossedBlocks, known: CrossedReduced, factors: Sequence[Array]
    ) -> tuple[CrossedBlocks, CrossedReduced]:
        """The elimination of the same design with another response, used for this one.

        Parameters
        ----------
        other : CrossedBlocks
            Its complement holds `known`, and goes on holding it.
        known : CrossedReduced
        factors : sequence of ndarray
            Of that elimination.
        """
        twin = copy(self)
        twin.complement, twin._held = other.complement, known.serial
        first = solve_levels(self.g, self._apart(factors)[0])
        v, cross, u_rest = self._solved(factors, first, known.linked, twin.complement.solve)
        total = float(self.cross[-1, -1])
        return twin, CrossedReduced(
            known.logdet, cross, v, known.linked, u_rest, known.serial, total
        )

    def derivatives(
        self, reduced: CrossedReduced, factors: Sequence[Array], weight: Array
    ) -> list[Derivatives]:
        """Gradient of ``logdet + <weight, cross>``, one entry per factor."""
        self._recall(reduced, factors)
        effects = [
            _each(factor, u)
            for factor, u in zip(factors, self.spherical(reduced, factors), strict=True)
        ]
        back = self.cross_times(effects)
        scores = [z - b for z, b in zip(self.fixed_products(), back, strict=True)]
        lambda1, others = self._apart(factors)
        score1, other_scores = self._apart(scores)
        by_covariance = self._first_covariance(reduced, lambda1) - _quadratic(score1, weight)
        results: list[Derivatives] = []
        for k, (factor, score) in enumerate(zip(others, other_scores, strict=True)):
            fixed = _quadratic(score, weight)
            if singular_values(factor)[-1] >= REGULAR:
                by_factor, own = self._regular(k, factor)
                results.append(Derivatives(2.0 * (by_factor - fixed @ factor), own - fixed))
            else:
                own = self._at_boundary(k, reduced, factors) - fixed
                results.append(Derivatives(2.0 * own @ factor, own))
        return self._join(Derivatives(2.0 * by_covariance @ lambda1, by_covariance), results)

    def _regular(self, k: int, factor: Array) -> tuple[Array, Array]:
        """Diagonal blocks of ``Z'V^-1Z`` times Lambda, and alone, summed over levels.

        From ``Lambda' Z'V^-1Z Lambda = I - Omega^-1``.
        """
        q, n = self.layout.sizes[k]
        kept = n * np.eye(q) - self.complement.diagonal_blocks(self.layout.at[k], q).sum(-1)
        by_factor = np.linalg.solve(factor.T, kept)
        by_covariance = np.linalg.solve(factor.T, by_factor.T)
        return by_factor, 0.5 * (by_covariance + by_covariance.T)

    def _at_boundary(self, k: int, reduced: CrossedReduced, factors: Sequence[Array]) -> Array:
        """Diagonal blocks of ``Z'V^-1Z`` summed over levels, at a singular Lambda."""
        lambda1, others = self._apart(factors)
        if np.prod(self.layout.sizes[k]) <= EXPLICIT:
            return self._by_column(k, reduced, lambda1, others)
        limit = self._limit(k, lambda1, others)
        self._recall(reduced, factors)
        return limit

    def _limit(self, k: int, lambda1: Array, others: Sequence[Array]) -> Array:
        """The same from two points just inside: of two distances the linear error cancels."""
        q, n = self.layout.sizes[k]
        rows = float(np.trace(self.others[k][:, :q].sum(-1))) / (q * n)
        left, values, _ = np.linalg.svd(others[k])
        inside = []
        for distance in (OFF_BOUNDARY / rows, 2.0 * OFF_BOUNDARY / rows):
            moved = list(others)
            moved[k] = triangular(left * np.sqrt(np.square(values) + distance))
            self.reduce(self._join(lambda1, moved))
            inside.append(self._regular(k, moved[k])[1])
        # what the complement holds now is no evaluation that anybody has
        self._held = 0
        return np.asarray(2.0 * inside[0] - inside[1])

    def _by_column(
        self, k: int, reduced: CrossedReduced, lambda1: Array, others: Sequence[Array]
    ) -> Array:
        """The same at a singular Lambda: some columns of the others at a time."""
        q, n = self.layout.sizes[k]
        inverse = own_covariance(self.g, lambda1)
        total = np.zeros((q, q))
        step = max(1, CHUNK // (q * max(self.layout.size, self.g.shape[-1] * len(lambda1))))
        for start in range(0, n, step):
            at = self.layout.at[k][start : start + step]
            places = (at[:, None] + np.arange(q)).ravel()
            unit = np.zeros((self.layout.size, len(places)))
            unit[places, np.arange(len(places))] = 1.0
            own = self.rest @ unit
            column = self.links.times(unit)
            solved = np.einsum("abl,bcl->acl", inverse, column)
            right = self.layout.scaled(own, others, transpose=True)
            right = right - reduced.linked.transpose_times(solved)
            after = self.complement.solve(right)
            shape, block = (-1, len(at), q), q * np.arange(len(at))
            for i in range(q):
                for j in range(q):
                    total[i, j] += own[at + i, block + j].sum()
                    total[i, j] -= np.vdot(column[:, i::q], solved[:, j::q])
            total -= np.einsum("mla,mlb->ab", right.reshape(shape), after.reshape(shape))
        return 0.5 * (total + total.T)

    def _first_covariance(self, reduced: CrossedReduced, lambda1: Array) -> Array:
        """Sum of the blocks of ``Z1' V^-1 Z1``."""
        q, v = len(lambda1), reduced.v
        own = self.g[:, :q]
        # V1^-1 Z1 = (I - G Lambda Omega1^-1 Lambda') Z1
        left = np.eye(q)[:, :, None] - np.einsum(
            "abl,bcl->acl", own, own_covariance(self.g, lambda1)
        )
        after = own - np.einsum("abl,bcl->acl", own, _each(lambda1, v[:, :q]))
        explained = reduced.linked.transformed(left).quadratic(self.complement)
        return np.asarray((after - explained).sum(-1))

    def conditional_covariance(
        self, reduced: CrossedReduced, factors: Sequence[Array]
    ) -> list[Array]:
        """Covariance of the random effects given y and beta, units of sigma**2, per level."""
        self._recall(reduced, factors)
        lambda1, others = self._apart(factors)
        own = own_covariance(self.g, lambda1)
        explained = reduced.linked.transformed(own).quadratic(self.complement)
        blocks = [
            _both_sides(factor, self.complement.diagonal_blocks(at, q))
            for factor, (q, _), at in zip(others, self.layout.sizes, self.layout.at, strict=True)
        ]
        return self._join(own + explained, blocks)

    def spherical(self, reduced: CrossedReduced, factors: Sequence[Array]) -> list[Array]:
        """``Omega^-1 Lambda' Z' W [X y]`` of every level, shape (q, w, n_levels) per factor."""
        w = self.cross.shape[0]
        lambda1, _ = self._apart(factors)
        linked = reduced.linked.times(reduced.u_rest)
        first = reduced.v[:, -w:] - np.einsum(
            "abl,bwl->awl", inverse_lambda(self.g, lambda1), linked
        )
        return self._join(first, self.layout.split(reduced.u_rest))

    def half_solve(
        self,
        reduced: CrossedReduced,
        factors: Sequence[Array],
        levels: Sequence[NDArray[np.intp]],
        rows: Sequence[Array],
    ) -> Array:
        """``z' Lambda Omega^-1 Lambda' z`` of rows that touch at most one level per factor.

        See `NestedBlocks.half_solve`. Rows of one level of the first factor share its solution.
        """
        self._recall(reduced, factors)
        lambda1, _ = self._apart(factors)
        scaled = [(f.T @ r) * (lev >= 0) for f, r, lev in zip(factors, rows, levels, strict=True)]
        first, others = self._apart(scaled)
        level1, other_levels = self._apart(levels)
        at1 = np.maximum(level1, 0)
        solved = np.einsum("qrn,rn->qn", inverse_omega(self.g, lambda1)[:, :, at1], first)
        total = np.einsum("qn,qn->n", first, solved)
        effect = lambda1 @ solved
        explained = reduced.linked.quadratic(self.complement)[:, :, at1]
        total += np.einsum("qn,qrn,rn->n", effect, explained, effect)

        # one pair (column, coefficient) for each column of the other factors that a row touches
        touched = [
            (at[np.maximum(level, 0)] + i, z[i])
            for at, level, z in zip(self.layout.at, other_levels, others, strict=True)
            for i in range(len(z))
        ]
        for i, (column, z) in enumerate(touched):
            total += z * z * self.complement.entries(column, column)
            for other, z_other in touched[:i]:
                total += 2.0 * z * z_other * self.complement.entries(column, other)
        return np.asarray(total - 2.0 * self._across(reduced, level1, effect, touched))

    def _across(
        self,
        reduced: CrossedReduced,
        level1: NDArray[np.intp],
        effect: Array,
        touched: list[tuple[NDArray[np.intp], Array]],
    ) -> Array:
        """Products of the first factor's part of each row with the others' part."""
        q, n_rows = effect.shape
        total = np.zeros(n_rows)
        seen, place = np.unique(level1, return_inverse=True)
        by_level = np.argsort(place, kind="stable")
        ends = np.cumsum(np.bincount(place, minlength=len(seen)))
        step = max(1, CHUNK // (q * self.layout.size))
        for start in range(0, len(seen), step):
            stop = min(start + step, len(seen))
            rows = by_level[(ends[start - 1] if start else 0) : ends[stop - 1]]
            solved = self.complement.solve(
                reduced.linked.dense_rows(np.maximum(seen[start:stop], 0))
            )
            at = (place[rows] - start) * q
            for i in range(q):
                for column, z in touched:
                    total[rows] += effect[i, rows] * z[rows] * solved[column[rows], at + i]
        return total

    def row_products(
        self,
        reduced: CrossedReduced,
        factors: Sequence[Array],
        levels: Sequence[NDArray[np.intp]],
        rows: Sequence[Array],
    ) -> Array:
        """``z_i' Lambda Omega^-1 Lambda' z_j`` of all pairs of a few rows.

        Arguments as in `half_solve`, every row with a level of every factor.

        Returns
        -------
        ndarray of shape (n_rows, n_rows)
        """
        self._recall(reduced, factors)
        lambda1, _ = self._apart(factors)
        scaled = [factor.T @ row for factor, row in zip(factors, rows, strict=True)]
        first, others = self._apart(scaled)
        level1, other_levels = self._apart(levels)
        q, n_rows = first.shape
        seen, place = np.unique(level1, return_inverse=True)
        inverse = inverse_omega(self.g[:, :, seen], lambda1)
        solved = np.einsum("qrn,rn->qn", inverse[:, :, place], first)
        total = (first.T @ solved) * (place[:, None] == place)
        # what the first factor leaves for the others
        linked = reduced.linked.dense_rows(seen).reshape(-1, len(seen), q)
        effect = lambda1 @ solved
        pending = -sum(linked[:, place, i] * effect[i] for i in range(q))
        for at, level, z in zip(self.layout.at, other_levels, others, strict=True):
            for i, values in enumerate(z):
                pending[at[level] + i, np.arange(n_rows)] += values
        touched = np.flatnonzero(pending.any(axis=1))
        if 4 * len(touched) > self.layout.size:
            return np.asarray(total + pending.T @ self.complement.solve(pending))
        some, size = pending[touched], len(touched)
        between = self.complement.entries(np.repeat(touched, size), np.tile(touched, size))
        return np.asarray(total + some.T @ between.reshape(size, size) @ some)

    def with_response(self, g: Array, others: Sequence[Array], cross: Array) -> CrossedBlocks:
        """The same structure with another response."""
        return CrossedBlocks(
            self.first,
            g,
            self.links,
            self.layout,
            self.rest,
            others,
            cross,
            self.complement.fresh(),
        )

    def _recall(self, reduced: CrossedReduced, factors: Sequence[Array]) -> None:
        """Compute the complement again if another theta has taken its place."""
        if reduced.serial != self._held:
            self.reduce(factors)
            self._held = reduced.serial

    def _scaled_rest(self, factors: Sequence[Array]) -> sparse.csr_array:
        """Upper triangle of ``Lambda2' Z2'WZ2 Lambda2 + I``."""
        scale = self.layout.matrix(factors)
        unit = sparse.eye_array(self.layout.size, format="csr")
        return sparse.csr_array(sparse.triu(scale.T @ self.rest @ scale + unit, format="csr"))

    def _apart(self, values: Sequence[T]) -> tuple[T, list[T]]:
        """The first factor's value and the others'."""
        others = list(values)
        return others.pop(self.first), others

    def _join(self, first: T, others: Sequence[T]) -> list[T]:
        """Inverse of `_apart`."""
        out = list(others)
        out.insert(self.first, first)
        return out


def _each(matrix: Array, blocks: Array) -> Array:
    """The same matrix times the block of every level."""
    return (matrix @ blocks.reshape(len(blocks), -1)).reshape(len(matrix), *blocks.shape[1:])


def _both_sides(matrix: Array, blocks: Array) -> Array:
    half = _each(matrix, blocks)
    return _each(matrix, half.transpose(1, 0, 2).copy())


def _quadratic(score: Array, weight: Array) -> Array:
    """Sum over levels of ``t weight t'``."""
    return np.asarray(np.einsum("awl,wx,bxl->ab", score, weight, score, optimize=True))


def inverse_lambda(g: Array, factor: Array) -> Array:
    """``Omega^-1 Lambda'`` of each level."""
    return np.asarray(np.einsum("abl,cb->acl", inverse_omega(g, factor), factor))


def _half_inverse(g: Array, factor: Array) -> Array:
    """``K^-1 Lambda'`` of each level, with ``Omega = K K'``."""
    q = len(factor)
    if q == 1:
        return np.asarray(factor[0, 0] / np.sqrt(1.0 + factor[0, 0] ** 2 * g[:1, :1]))
    own = g[:, :q].transpose(2, 0, 1)
    omega = factor.T @ own @ factor + np.eye(q)
    root = np.linalg.inv(np.linalg.cholesky(omega))
    return np.ascontiguousarray((root @ factor.T).transpose(1, 2, 0))
