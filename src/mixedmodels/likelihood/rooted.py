"""A few grouping factors of any structure, from a triangular root of their cross-products.

Cross-products square what they hold: with groups 10**5 residual standard deviations apart, an
elimination of several factors subtracts numbers of 10**10 to find one. Here nothing is squared. The
rows are reduced once to R with R'R = [Z X y]'[Z X y] by orthogonal transformations; its first rows
hold G = R_Z and C, the others what Z leaves of [X y], of products W. With G Lambda = U s V'
(singular values),

    [Z X y]' V^-1 [Z X y] = W + [G C]' U (1 + s**2)^-1 U' [G C]
    Omega^-1              = V (1 + s**2)^-1 V'
    log|Omega|            = sum of log(1 + s**2)

as in `centred`, for all factors at once (Golub and Van Loan 2013, Matrix Computations, section
6.1).

Storage    dense matrices of the size of all random effects.
Cost       O(columns**3) per evaluation: for small designs, where the first fit lacks digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from mixedmodels.arrays import Array
from mixedmodels.likelihood.covariance import Template
from mixedmodels.likelihood.nested import Derivatives

# random effects of rows worked out together
CHUNK = 2_000_000


@dataclass(frozen=True, slots=True)
class RootedReduced:
    """One elimination at one theta.

    Attributes
    ----------
    logdet : float
        ``log |Omega|``.
    cross : ndarray of shape (w, w)
        ``[X y]' V^-1 [X y]``.
    root : ndarray of shape (w, w)
        Upper triangular, ``cross = root' root``.
    half : ndarray of shape (k, m + w)
        ``(1 + s**2)^-1/2 U' [G C]``.
    scaled : ndarray of shape (k, m)
        ``(1 + s**2)^-1/2 U' G Lambda``, which is ``(1 + s**2)^-1/2 s V'``.
    effects : ndarray of shape (m, w)
        ``Omega^-1 Lambda' Z' [X y]``.
    turned : ndarray of shape (m, m)
        ``(1 + s**2)^-1/2 V' Lambda'``.
    total : float
        Sum of squares of which the residual one is a difference.
    """

    logdet: float
    cross: Array
    root: Array
    half: Array
    scaled: Array
    effects: Array
    turned: Array
    total: float


class RootedBlocks:
    """Root of the cross-products of all random effects.

    Parameters
    ----------
    sizes : sequence of (int, int)
        Columns and levels of each factor; a factor's columns stand level by level.
    root : ndarray of shape (k, m)
        ``G``, of all factors side by side.
    right : ndarray of shape (k, w)
        ``C``.
    within : ndarray of shape (w, w)
        Root of what Z leaves of [X y].
    cross : ndarray of shape (w, w)
        ``[X y]' W [X y]``.
    """

    exact_hessian = True
    cheap = True
    seconds = 0.0

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        root: Array,
        right: Array,
        within: Array,
        cross: Array,
    ) -> None:
        self.sizes, self.root, self.right, self.within = tuple(sizes), root, right, within
        self.cross = cross
        self.short_steps = root.shape[1] <= 200
        ends = np.cumsum([0, *(q * n for q, n in sizes)]).tolist()
        self.parts = [slice(a, b) for a, b in pairwise(ends)]

    def per_factor(self) -> list[Array]:
        """``Z'W [Z | X y]`` of each factor alone, shape (q, q + w, n_levels)."""
        out = []
        for (q, n), part, z in zip(self.sizes, self.parts, self.fixed_products(), strict=True):
            own = self.root[:, part].reshape(-1, n, q)
            out.append(np.concatenate([np.einsum("kla,klb->abl", own, own), z], axis=1))
        return out

    def fixed_products(self) -> list[Array]:
        """``Z' W [X y]`` of each factor, shape (q, w, n_levels)."""
        return self._split(self.root.T @ self.right)

    def cross_times(self, effects: Sequence[Array]) -> list[Array]:
        """``Z'WZ`` times effects of shape (q, s, n_levels) per factor."""
        return self._split(self.root.T @ (self.root @ self._stack(effects)))

    def reduce(self, factors: Sequence[Array]) -> RootedReduced:
        """Eliminate every factor at the given ``Lambda``s."""
        m = self.root.shape[1]
        left, values, right = np.linalg.svd(self._times(self.root, factors), full_matrices=True)
        short = np.zeros(len(left))
        short[: len(values)] = values
        wide = np.zeros(m)
        wide[: len(values)] = values
        both = left.T @ np.concatenate([self.root, self.right], axis=1)
        half = both / np.hypot(1.0, short)[:, None]
        scaled = np.zeros((len(left), m))
        scaled[: len(values)] = (values / np.hypot(1.0, values))[:, None] * right[: len(values)]
        share = values / (1.0 + np.square(values))
        effects = right[: len(values)].T @ (share[:, None] * both[: len(values), m:])
        turned = (right / np.hypot(1.0, wide)[:, None]) @ self._spread([f.T for f in factors])
        root = np.asarray(np.linalg.qr(np.concatenate([half[:, m:], self.within]), mode="r"))
        cross = root.T @ root
        logdet = float(np.log1p(np.square(values)).sum())
        total = float(cross[-1, -1])
        return RootedReduced(logdet, cross, root, half, scaled, effects, turned, total)

    def derivatives(
        self,
        reduced: RootedReduced,
        factors: Sequence[Array],  # noqa: ARG002
        weight: Array,
    ) -> list[Derivatives]:
        """Gradient of ``logdet + <weight, cross>``, one entry per factor."""
        m = self.root.shape[1]
        own, scaled, rest = reduced.half[:, :m], reduced.scaled, reduced.half[:, m:]
        scores, turned = self._split(own.T @ rest), self._split(scaled.T @ rest)
        out = []
        for k, ((q, _), part) in enumerate(zip(self.sizes, self.parts, strict=True)):
            z, scale = own[:, part].reshape(-1, q), scaled[:, part].reshape(-1, q)
            t, u = scores[k], turned[k]
            slope = z.T @ z - np.einsum("awl,wx,bxl->ab", t, weight, t, optimize=True)
            along = z.T @ scale - np.einsum("awl,wx,bxl->ab", t, weight, u, optimize=True)
            out.append(Derivatives(2.0 * along, slope))
        return out

    def hessian(
        self,
        templates: Sequence[Template],
        reduced: RootedReduced,
        slopes: Sequence[Array],
        fixed: tuple[Array, Array, float, float],
        *,
        reml: bool,
    ) -> Array:
        """Exact Hessian of the profiled criterion in theta; formulas in `curvature`.

        With e the column of Z of an entry of Lambda and l that of ``Z Lambda``, the covariance
        changes by ``e l' + l e'``, summed over levels. Products with l are taken from what stands
        there, not from sums of products with e, in which the size of Lambda squared would cancel.

        Parameters
        ----------
        templates : sequence of Template
        reduced : RootedReduced
        slopes : sequence of ndarray of shape (q, q)
            Gradient with respect to each covariance.
        fixed : (ndarray of shape (p + 1,), ndarray of shape (p, p), float, float)
            ``(-beta, 1)``, ``(X'V^-1X)^-1``, nu / r2, nu.
        reml : bool
        """
        coefs, vcov, rho, nu = fixed
        m, p = self.root.shape[1], len(vcov)
        own, scaled, rest = reduced.half[:, :m], reduced.scaled, reduced.half[:, m:]
        x, y = rest[:, :p], rest @ coefs

        def products(left: Array, right: Array, *, projected: bool) -> Array:
            out = left.T @ right
            return out - (left.T @ x) @ vcov @ (x.T @ right) if projected else out

        both = [products(a, b, projected=reml) for a, b in ((own, own), (own, scaled))]
        both.append(products(scaled, scaled, projected=reml))
        score, turned = own.T @ y, scaled.T @ y
        places = self._places(templates)
        moved = np.empty((len(own), len(places)))
        along = np.empty(len(places))
        for i, (e, c) in enumerate(places):
            moved[:, i] = own[:, e] @ turned[c] + scaled[:, c] @ score[e]
            along[i] = 2.0 * float(score[e] @ turned[c])
        hessian = 2.0 * rho * products(moved, moved, projected=True)
        hessian -= (rho * rho / nu) * np.multiply.outer(along, along)
        for i, (e, c) in enumerate(places):
            for j, (f, k) in enumerate(places[: i + 1]):
                trace = np.vdot(both[2][np.ix_(c, k)], both[0][np.ix_(e, f)])
                trace += np.vdot(both[1][np.ix_(e, k)], both[1][np.ix_(f, c)].T)
                hessian[i, j] -= 2.0 * trace
                hessian[j, i] = hessian[i, j]
        start = 0
        for template, slope in zip(templates, slopes, strict=True):
            same = template.cols[:, None] == template.cols
            part = slice(start, start := start + template.n_theta)
            hessian[part, part] += np.where(
                same, 2.0 * slope[template.rows[:, None], template.rows], 0.0
            )
        return np.asarray(hessian)

    def _places(self, templates: Sequence[Template]) -> list[tuple[NDArray[np.intp], ...]]:
        """Columns of Z and of Z Lambda that each entry of theta joins, one for each level."""
        out: list[tuple[NDArray[np.intp], ...]] = []
        for template, (q, n), part in zip(templates, self.sizes, self.parts, strict=True):
            first = part.start + q * np.arange(n)
            out += [
                (first + r, first + c) for r, c in zip(template.rows, template.cols, strict=True)
            ]
        return out

    def spherical(self, reduced: RootedReduced, factors: Sequence[Array]) -> list[Array]:  # noqa: ARG002
        """``Omega^-1 Lambda' Z' W [X y]`` of every level, shape (q, w, n_levels) per factor."""
        return self._split(reduced.effects)

    def forward(
        self,
        reduced: RootedReduced,
        factors: Sequence[Array],  # noqa: ARG002
        right: Sequence[Array],
    ) -> Array:
        """``R' Lambda Omega^-1 Lambda' R`` for R of shape (q, s, n_levels) per factor."""
        half = reduced.turned @ self._stack(right)
        return np.asarray(half.T @ half)

    def conditional_covariance(
        self,
        reduced: RootedReduced,
        factors: Sequence[Array],  # noqa: ARG002
    ) -> list[Array]:
        """Covariance of the random effects given y and beta, units of sigma**2, per level."""
        out = []
        for (q, n), part in zip(self.sizes, self.parts, strict=True):
            own = reduced.turned[:, part].reshape(-1, n, q)
            out.append(np.einsum("kla,klb->abl", own, own))
        return out

    def half_solve(
        self,
        reduced: RootedReduced,
        factors: Sequence[Array],  # noqa: ARG002
        levels: Sequence[NDArray[np.intp]],
        rows: Sequence[Array],
    ) -> Array:
        """``z' Lambda Omega^-1 Lambda' z`` of rows that touch at most one level per factor.

        See `NestedBlocks.half_solve`.
        """
        n_rows = rows[0].shape[-1]
        out = np.empty(n_rows)
        step = max(1, CHUNK // len(reduced.turned))
        for start in range(0, n_rows, step):
            chunk = slice(start, start + step)
            half = np.zeros((len(reduced.turned), len(out[chunk])))
            for (q, n), part, level, z in zip(self.sizes, self.parts, levels, rows, strict=True):
                own = reduced.turned[:, part].reshape(-1, n, q)
                at = np.maximum(level[chunk], 0)
                for i in range(q):
                    half += own[:, at, i] * (z[i, chunk] * (level[chunk] >= 0))
            out[chunk] = np.square(half).sum(axis=0)
        return out

    def _stack(self, blocks: Sequence[Array]) -> Array:
        """(q, s, n_levels) per factor to (m, s)."""
        width = blocks[0].shape[1]
        return np.concatenate([b.transpose(2, 0, 1).reshape(-1, width) for b in blocks])

    def _split(self, stacked: Array) -> list[Array]:
        """Inverse of `_stack`."""
        return [
            np.ascontiguousarray(stacked[part].reshape(n, q, -1).transpose(1, 2, 0))
            for (q, n), part in zip(self.sizes, self.parts, strict=True)
        ]

    def _times(self, columns: Array, factors: Sequence[Array]) -> Array:
        """``columns Lambda``."""
        return np.concatenate(
            [
                (columns[:, part].reshape(-1, q) @ factor).reshape(len(columns), n * q)
                for (q, n), part, factor in zip(self.sizes, self.parts, factors, strict=True)
            ],
            axis=1,
        )

    def _spread(self, factors: Sequence[Array]) -> Array:
        """A matrix of each factor for every level, block diagonal."""
        blocks = [f for (_, n), f in zip(self.sizes, factors, strict=True) for _ in range(n)]
        return np.asarray(block_diag(*blocks))
