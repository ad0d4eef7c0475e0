"""How clusters relate to a treatment: counts, shares, and tests of independence."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.frame import FrameKind, to_native
from mixedmodels.explore.columns import counted
from mixedmodels.output import html
from mixedmodels.output.layout import Block, Table, block_text, fixed, p_value
from mixedmodels.quantiles import chi2_probability

# tables drawn where Fisher's test has no closed form
DRAWN = 9999
# expected count below which the chi-squared approximation is in doubt
FEW = 5.0


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class CrossTable:
    """Counts of subjects by cluster and level, with two tests of independence.

    Attributes
    ----------
    by : str
        The column the levels are of.
    clusters : tuple of str
    levels : tuple of str
    counts : ndarray of int, shape (clusters, levels)
    n_missing : int
        Subjects in a cluster that have no value of `by`.
    seed : int
        Of the tables that Fisher's test draws.
    kind : {"pandas", "polars", "pyarrow"}
    """

    by: str
    clusters: tuple[str, ...]
    levels: tuple[str, ...]
    counts: NDArray[np.int64]
    n_missing: int
    seed: int
    kind: FrameKind

    @property
    def expected(self) -> Array:
        """Counts that independence would give, shape (clusters, levels)."""
        rows, columns = self.counts.sum(axis=1), self.counts.sum(axis=0)
        return np.asarray(np.outer(rows, columns) / self.counts.sum())

    @property
    def table(self) -> Any:
        """The counts as a frame.

        Returns
        -------
        frame
            cluster, level, n, expected, of_cluster (share of the cluster), of_level (share of
            the level).
        """
        n_clusters, n_levels = self.counts.shape
        return to_native(
            {
                "cluster": [c for c in self.clusters for _ in range(n_levels)],
                "level": list(self.levels) * n_clusters,
                "n": self.counts.ravel(),
                "expected": self.expected.ravel(),
                "of_cluster": (self.counts / self.counts.sum(axis=1, keepdims=True)).ravel(),
                "of_level": (self.counts / self.counts.sum(axis=0)).ravel(),
            },
            self.kind,
        )

    @property
    def tests(self) -> Any:
        """Tests of independence of cluster and level.

        Returns
        -------
        frame
            test, statistic, df, p_value. Pearson's chi-squared test without continuity correction,
            and Fisher's: exact for two by two, else from 9,999 tables with the same margins.
        """
        statistic, df, p = self._chi_squared()
        return to_native(
            {
                "test": ["chi-squared", "Fisher"],
                "statistic": np.array([statistic, math.nan]),
                "df": np.array([float(df), math.nan]),
                "p_value": np.array([p, self._fisher()]),
            },
            self.kind,
        )

    def _chi_squared(self) -> tuple[float, int, float]:
        df = (self.counts.shape[0] - 1) * (self.counts.shape[1] - 1)
        if df == 0:
            return math.nan, 0, math.nan
        statistic = float((np.square(self.counts - self.expected) / self.expected).sum())
        return statistic, df, float(chi2_probability(statistic, df))

    def _fisher(self) -> float:
        from scipy import stats
        from scipy.special import gammaln

        if min(self.counts.shape) < 2:
            return math.nan
        if self.counts.shape == (2, 2):
            return float(stats.fisher_exact(self.counts)[1])
        margins = stats.random_table(self.counts.sum(axis=1), self.counts.sum(axis=0))
        drawn = margins.rvs(DRAWN, random_state=np.random.default_rng(self.seed))
        # the less probable a table, the larger the sum
        own, others = gammaln(self.counts + 1.0).sum(), gammaln(drawn + 1.0).sum(axis=(1, 2))
        as_rare = np.count_nonzero(others >= own * (1.0 - 1e-12))
        return (1.0 + as_rare) / (1.0 + DRAWN)

    def _blocks(self) -> list[Block]:
        share = 100.0 * self.counts / self.counts.sum(axis=1, keepdims=True)
        rows = tuple(
            (name, *(f"{n} ({s:.0f}%)" for n, s in zip(counts, shares, strict=True)), str(total))
            for name, counts, shares, total in zip(
                self.clusters, self.counts.tolist(), share, self.counts.sum(axis=1), strict=True
            )
        )
        totals = ("all", *map(str, self.counts.sum(axis=0)), str(self.counts.sum()))
        statistic, df, p = self._chi_squared()
        few = int(np.count_nonzero(self.expected < FEW))
        notes = [f"{counted(few, 'expected count')} below 5: prefer Fisher's test."] if few else []
        if self.n_missing:
            notes.append(f"{counted(self.n_missing, 'subject')} without {self.by} left out.")
        title = f"Subjects (share of the cluster) by {self.by}"
        header = ("cluster", *self.levels, "all")
        blocks: list[Block] = [Table(title, header, (*rows, totals), 1, " ".join(notes))]
        if df:
            tests = (
                ("chi-squared", fixed(statistic, 3), str(df), p_value(p)),
                ("Fisher", "", "", p_value(self._fisher())),
            )
            blocks.append(Table("Independence", ("test", "statistic", "df", "p"), tests, 1))
        return blocks

    def __str__(self) -> str:
        return "\n\n".join(map(block_text, self._blocks()))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html.page(f"Clusters by {self.by}", self._blocks())
