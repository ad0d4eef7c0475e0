"""The best partition of trajectories into k clusters: many starts, one winner, its criteria."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.errors import ConvergenceWarning, DataError, warn
from mixedmodels.explore.criteria import geometry, information, mixture, silhouette
from mixedmodels.explore.grid import Grid, copy_mean
from mixedmodels.explore.kmeans import (
    Absolute,
    Labels,
    Points,
    Run,
    Squares,
    cluster,
    complete,
    exchange,
)
from mixedmodels.explore.starts import start_of
from mixedmodels.threads import in_threads, one_blas_thread, stop_if_asked

# relative decrease at which a start with many values stops; the winner goes on until nothing moves
TOLERANCE, MANY = 1e-5, 100_000
# relative distance from the winner within which a start has found the same
SAME = 1e-4
# trajectories among which silhouettes are computed
SILHOUETTES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How to search.

    Attributes
    ----------
    n_starts : int
    starts : str
    distance : {"euclidean", "manhattan"}
    impute : {None, "copy-mean"}
    weights : ndarray of shape (T,)
        Of the times, mean 1.
    seed : int
        Fixes every draw.
    """

    n_starts: int
    starts: str
    distance: str
    impute: str | None
    weights: Array
    seed: int

    def n_runs(self) -> int:
        """Starts that differ: one of those without chance is enough."""
        return 1 if self.starts == "maxDist" else self.n_starts

    def rng(self, *key: int) -> np.random.Generator:
        """Random numbers of one start, whatever else is searched for."""
        return np.random.default_rng([self.seed, *key])


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """The best partition into k clusters, the largest first.

    Attributes
    ----------
    labels : ndarray of int, shape (n,)
    means : ndarray of shape (k, T)
        Of observed values in units of the response, NaN where there is none.
    counts : ndarray of int, shape (k, T)
        Observed values behind each mean.
    probabilities : ndarray of shape (n, k)
    criteria : dict of str to float
    within : float
        Sum of the distances to the own centre: squared units, or plain ones for Manhattan.
    n_same : int
        Starts that ended there.
    """

    labels: Labels
    means: Array
    counts: NDArray[np.int64]
    probabilities: Array
    criteria: dict[str, float]
    within: float
    n_same: int

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Subjects of each cluster."""
        return np.bincount(self.labels, minlength=len(self.means))


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """Trajectories made ready for any number of clusters.

    Attributes
    ----------
    grid : Grid
    plan : Plan
    points : Points
        As the distance sees them.
    values, filled : ndarray of shape (n, T)
        With gaps and without, about the mean trajectory, in the Euclidean metric of the criteria.
    sample : ndarray of int
        Trajectories for silhouettes.
    """

    grid: Grid
    plan: Plan
    points: Points
    values: Array
    filled: Array
    sample: NDArray[np.intp]

    @classmethod
    def of(cls, grid: Grid, plan: Plan) -> Search:
        """Centre the trajectories, fill their gaps, and choose the sample."""
        values = grid.values - np.nanmean(grid.values, axis=0)
        filled = copy_mean(values, grid.position)
        seen = values if plan.impute is None else filled
        metric = Squares if plan.distance == "euclidean" else Absolute
        points = metric.of(seen, filled, plan.weights)
        n, root = len(values), np.sqrt(plan.weights)
        sample = np.arange(n)
        if n > SILHOUETTES:
            sample = np.sort(plan.rng().choice(n, SILHOUETTES, replace=False))
        return cls(grid, plan, points, values * root, filled * root, sample)

    def best(self, k: int) -> Partition:
        """The partition into k clusters with the smallest sum of distances to the centres.

        Raises
        ------
        DataError
            There are fewer different trajectories than clusters.
        """
        winner, n_same = self._winner(k)
        labels = self._by_size(winner.labels, k)
        means, counts = cluster_means(self.grid.values, labels, k)
        centred, _ = cluster_means(self.values, labels, k)
        model = mixture(self.values, labels, complete(centred))
        n, n_times = self.values.shape
        criteria = {
            **geometry(self.filled, labels, k),
            "silhouette": silhouette(self.filled, labels, self.sample),
            **information(model.loglik, k, n, n_times, int(counts.sum())),
        }
        return Partition(
            labels, means, counts, model.probabilities, criteria, winner.within, n_same
        )

    def _winner(self, k: int) -> tuple[Run, int]:
        plan, points = self.plan, self.points
        n_runs, n_values = plan.n_runs(), points.filled.size
        tolerance = TOLERANCE if n_values > MANY else 0.0

        def run(first: int, step: int) -> tuple[list[float], list[tuple[float, int, Run]]]:
            withins: list[float] = []
            best: list[tuple[float, int, Run]] = []
            for number in range(first, n_runs, step):
                stop_if_asked()
                begin = start_of(plan.starts, number)(points, k, plan.rng(k, number))
                end = cluster(points, begin, tolerance)
                if tolerance == 0.0:
                    end = exchange(points, end)
                withins.append(end.within)
                if not best or end.within < best[0][0]:
                    best = [(end.within, number, end)]
            return withins, best

        with one_blas_thread(active=True):
            parts = in_threads(run, 10.0 * n_runs * k * n_values)
            leader = min((best[0] for _, best in parts if best), key=lambda end: end[:2])[2]
            winner = exchange(points, cluster(points, leader.centres, 0.0))
        n_distinct = len(np.unique(winner.labels))
        if n_distinct < k:
            raise DataError(
                f"k={k}, but only {n_distinct} of the trajectories of '{self.grid.response}' "
                "differ: ask for fewer clusters"
            )
        if not winner.settled:
            warn(f"the partition into k={k} clusters was still changing", ConvergenceWarning)
        limit = leader.within * (1.0 + SAME)
        return winner, sum(within <= limit for withins, _ in parts for within in withins)

    def _by_size(self, labels: Labels, k: int) -> Labels:
        """Labels in the order of the clusters' sizes; the lower mean first where they are equal."""
        sizes = np.bincount(labels, minlength=k)
        level = np.bincount(labels, weights=self.filled.mean(axis=1), minlength=k) / sizes
        rank = np.empty(k, np.uint8)
        rank[np.lexsort((level, -sizes))] = np.arange(k)
        return rank[labels]


def cluster_means(values: Array, labels: Labels, k: int) -> tuple[Array, NDArray[np.int64]]:
    """Means of observed values by cluster and time, and how many there are."""
    present = ~np.isnan(values)
    member = (np.arange(k)[:, None] == labels).astype(np.float64)
    counts = member @ present
    sums = member @ np.where(present, values, 0.0)
    with np.errstate(invalid="ignore"):
        return sums / counts, counts.astype(np.int64)
