"""Nested factors whose first elimination works on rows' own directions: no digit is lost to groups.

Totals such as y'y hold the squared distances between groups, and the residual sum of squares is
what is left after their elimination: with groups 10**5 residual standard deviations apart, ten of
sixteen digits are gone. Here the rows of each level of the finest factor are split at row level
into what its own columns Z = Q R span, C = Q'[Z X y], and the rest, of products W. With A = R
Lambda = U s V' (singular values),

    [X y]' V^-1 [X y]     = W + C' (I + A A')^-1 C,   (I + A A')^-1 = U (1 + s**2)^-1 U'
    Omega^-1 Lambda' Z'.. = V s (1 + s**2)^-1 U' C
    log|Omega|            = sum of log(1 + s**2)

in which nothing large is subtracted and no product Z'Z is formed (Golub and Van Loan 2013, Matrix
Computations, section 6.1, for the same cure of ridge regression).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.likelihood.nested import NestedBlocks, Reduced, Stage


class CentredBlocks(NestedBlocks):
    """Cross-products of nested factors, the finest factor's columns kept apart at row level.

    Parameters
    ----------
    stages, cross
        As for `NestedBlocks`.
    parts : ndarray of shape (z, q + D, n_levels)
        ``Q' [Z | later columns]`` of each level of the finest factor.
    within : sequence of ndarray of shape (q, D, n_levels)
        Like the ``g`` of the coarser factors' stages, of what the finest factor's columns leave.
    within_root : ndarray of shape (k, w)
        Root of what is left of the products of [X y].
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        cross: Array,
        parts: Array,
        within: Sequence[Array],
        within_root: Array,
    ) -> None:
        super().__init__(stages, cross)
        self.parts, self.within = parts, list(within)
        self.within_root = np.asarray(np.linalg.qr(within_root, mode="r"))

    def reduce(self, factors: Sequence[Array]) -> Reduced:
        """Eliminate the finest factor by its own directions, the others as they come."""
        factor, w = factors[0], self.cross.shape[0]
        q = len(factor)
        own = self.parts[:, :q]
        left, values, right = _singular(np.einsum("zal,ab->lzb", own, factor))
        turned = np.einsum("lzk,zdl->kdl", left, self.parts)
        share = turned / (1.0 + np.square(values))[:, None]
        size = len(right)
        scale = values[:size, None]
        p = np.einsum("kal,kdl->adl", right, scale * turned[:size])
        v = np.einsum("kal,kdl->adl", right, scale * share[:size])
        after = np.einsum("zal,zdl->adl", own, np.einsum("lzk,kdl->zdl", left, share))

        g_list, offset = [self.stages[0].g], q
        for j in range(1, len(self.stages)):
            stop = offset + self.stages[j].g.shape[0]
            kept = np.einsum("kal,kbl->abl", turned[:, offset:stop], share[:, offset:])
            g_list.append(self.within[j - 1] + self.within_coarser(kept, 0, j))
            offset = stop
        half = turned[:, -w:] / np.hypot(1.0, values)[:, None]
        half = np.concatenate([half.transpose(0, 2, 1).reshape(-1, w), self.within_root])
        root = np.asarray(np.linalg.qr(half, mode="r"))
        cross = root.T @ root
        logdet = float(np.log1p(np.square(values)).sum())
        last = root if len(self.stages) == 1 else None  # coarser factors are taken out of squares
        first = Reduced(logdet, cross, [p], [v], g_list, [after], float(cross[-1, -1]), last)
        return self._eliminate(factors, first)


def _singular(matrices: Array) -> tuple[Array, Array, Array]:
    """Singular value decomposition of each level's matrix.

    Parameters
    ----------
    matrices : ndarray of shape (n_levels, z, q)

    Returns
    -------
    left : ndarray of shape (n_levels, z, z)
    values : ndarray of shape (z, n_levels)
        Zero beyond the q-th.
    right : ndarray of shape (min(z, q), q, n_levels)
    """
    n_levels, z, q = matrices.shape
    if z == q == 1:
        return np.ones((n_levels, 1, 1)), matrices[:, 0].T.copy(), np.ones((1, 1, n_levels))
    left, values, right = np.linalg.svd(matrices, full_matrices=True)
    size = min(z, q)
    padded = np.zeros((z, n_levels))
    padded[:size] = values.T
    return left, padded, right[:, :size].transpose(1, 2, 0)
