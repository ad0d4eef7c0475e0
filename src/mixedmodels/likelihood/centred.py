"""Nested factors whose first elimination works about level means: no digit lost to large groups.

Totals such as y'y hold the squared distances between groups, and the residual sum of squares is
what is left after their elimination: with groups 10**5 residual standard deviations apart, ten of
sixteen digits are gone. Here a level's rows are split into their mean and the rest. With W the
products about the mean, m the means, n the count and K = Lambda (I + Lambda' W_zz Lambda)^-1
Lambda', minimising over the level's effects gives

    h = K m_z,   s = 1 / n + m_z' h,   r = m - W_.z h
    [X y]' V^-1 [X y] = W - W_.z K W_z. + r r' / s
    Z' V^-1 [X y]     = W_z. - W_zz K W_z. + r_z r' / s

in which nothing large is subtracted (Sherman and Morrison's formula, the between part added last).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.likelihood.nested import (
    NestedBlocks,
    Reduced,
    Stage,
    after_stage,
    solve_levels,
)


class CentredBlocks(NestedBlocks):
    """Cross-products of nested factors, with those about the finest factor's level means.

    Parameters
    ----------
    stages, cross
        As for `NestedBlocks`.
    within : sequence of ndarray of shape (q, q + D, n_levels)
        Like the stages' ``g``, about the means.
    within_cross : ndarray of shape (w, w)
    means : ndarray of shape (q + D, n_levels)
        Of the finest factor's own and later columns.
    counts : ndarray of shape (n_levels,)
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        cross: Array,
        within: Sequence[Array],
        within_cross: Array,
        means: Array,
        counts: Array,
    ) -> None:
        super().__init__(stages, cross)
        self.within, self.within_cross = list(within), within_cross
        self.means, self.counts = means, counts

    def reduce(self, factors: Sequence[Array]) -> Reduced:
        """Eliminate the finest factor about its means, the others as they come."""
        factor, w = factors[0], self.cross.shape[0]
        p, v, logdet = solve_levels(self.stages[0].g, factor)
        q = p.shape[0]
        extended = np.concatenate([self.within[0], self.means[:q, None]], axis=1)
        p_in, v_in, _ = solve_levels(extended, factor)
        after_in = after_stage(extended, p_in, v_in)
        effect = factor @ v_in[:, -1]
        spread = 1.0 / self.counts + np.einsum("al,al->l", self.means[:q], effect)
        distance = self.means - np.einsum("adl,al->dl", self.within[0], effect)
        share = distance / spread
        after = after_in[:, :-1] + after_in[:, -1:] * share

        g_list, offset = [self.stages[0].g], q
        for j in range(1, len(self.stages)):
            stop = offset + self.stages[j].g.shape[0]
            kept = distance[offset:stop, None] * share[offset:]
            kept -= np.einsum("qal,qbl->abl", p_in[:, offset:stop], v_in[:, offset:-1])
            g_list.append(self.within[j] + self.within_coarser(kept, 0, j))
            offset = stop
        between = distance[-w:] @ share[-w:].T
        explained = np.matmul(p_in[:, -w - 1 : -1], v_in[:, -w - 1 : -1].transpose(0, 2, 1)).sum(0)
        cross = self.within_cross + between - explained
        total = float(self.within_cross[-1, -1] + between[-1, -1])
        first = Reduced(logdet, cross, [p], [v], g_list, [after], total)
        return self._eliminate(factors, first)
