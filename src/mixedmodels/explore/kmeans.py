"""k-means and k-medians of trajectories with gaps, from given centres; no frames, no choices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array

Labels = NDArray[np.uint8]

# trajectories of a block, whose distances stay in the second cache
BLOCK = 4096
MOST_STEPS = 500
# a move of one trajectory must gain more than rounding, relative to the sum of distances
EXCHANGE = 1e-12


class Points(Protocol):
    """What the algorithm asks of trajectories: distances to centres, and the centres of groups."""

    @property
    def filled(self) -> Array:
        """The trajectories without gaps, shape (n, T)."""
        ...

    @property
    def gower(self) -> Array:
        """Weight of all times over the weight of the observed ones, shape (n,)."""
        ...

    @property
    def constant(self) -> Array:
        """What `distances` leaves out, shape (n,)."""
        ...

    def distances(self, centres: Array, rows: slice) -> Array:
        """Sums over observed times, shape (k, rows), up to a constant of each trajectory."""
        ...

    def centres(self, labels: Labels, k: int) -> Array:
        """Centres of groups, NaN at times where nobody in the group was observed."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Squares:
    """Trajectories under squared Euclidean distance, whose centres are means.

    Attributes
    ----------
    filled : ndarray of shape (n, T)
    gower : ndarray of shape (n,)
    rows : ndarray of shape (T, n), or (2 T, n) where there are gaps
        The trajectories with 0 in gaps, then 1 where there is a value.
    constant : ndarray of shape (n,)
        Sums of squares.
    """

    filled: Array
    gower: Array
    rows: Array
    constant: Array

    @classmethod
    def of(cls, values: Array, filled: Array, weights: Array) -> Squares:
        """Trajectories (n, T), NaN in gaps, and the same filled; weights of the times."""
        root = np.sqrt(weights)
        observed = ~np.isnan(values)
        zeroed = np.where(observed, values, 0.0) * root
        rows = zeroed.T if observed.all() else np.vstack([zeroed.T, observed.T])
        constant = np.einsum("nt,nt->n", zeroed, zeroed)
        gower = weights.sum() / (observed @ weights)
        return cls(filled * root, gower, np.ascontiguousarray(rows), constant)

    def distances(self, centres: Array, rows: slice) -> Array:
        """Sums of squared differences without the trajectories' own squares."""
        if len(self.rows) == centres.shape[1]:
            squares = np.einsum("kt,kt->k", centres, centres)
            return np.asarray(-2.0 * centres @ self.rows[:, rows] + squares[:, None])
        return np.asarray(np.hstack([-2.0 * centres, centres**2]) @ self.rows[:, rows])

    def centres(self, labels: Labels, k: int) -> Array:
        """Means of the observed values."""
        clusters = np.arange(k, dtype=np.uint8)[:, None]
        sums = np.zeros((k, len(self.rows)))
        for rows in blocks(len(labels)):
            sums += (labels[rows] == clusters).astype(np.float64) @ self.rows[:, rows].T
        n_times = self.filled.shape[1]
        gapless = len(self.rows) == n_times
        counts = np.bincount(labels, minlength=k)[:, None] if gapless else sums[:, n_times:]
        with np.errstate(invalid="ignore"):
            return np.asarray(sums[:, :n_times] / counts)

    def changes(self, labels: Labels, k: int) -> Array:
        """What moving each trajectory to each group would add to the sum of squares, (k, n).

        A group of m values at a time adds m / (m + 1) of the squared distance to its mean when it
        takes a value, and loses m / (m - 1) of it when it gives one. A group of one is not left.
        """
        n_times, n = self.filled.shape[1], len(labels)
        values = self.rows[:n_times]
        there = self.rows[n_times:] if len(self.rows) > n_times else np.ones_like(values)
        member = (labels == np.arange(k, dtype=np.uint8)[:, None]).astype(np.float64)
        counts = member @ there.T
        centres = member @ values.T / np.maximum(counts, 1.0)

        def weighed(factor: Array) -> Array:
            squares = factor @ values**2 - 2.0 * (factor * centres) @ values
            return np.asarray(squares + (factor * centres**2) @ there)

        own = labels, np.arange(n)
        leaving = weighed(counts / np.maximum(counts - 1.0, 0.5))[own]
        change = weighed(counts / (counts + 1.0)) - leaving
        change[own] = 0.0
        change[:, (member.sum(axis=1) == 1.0)[labels]] = 0.0
        return change


@dataclass(frozen=True, slots=True, eq=False)
class Absolute:
    """Trajectories under Manhattan distance, whose centres are medians.

    Attributes
    ----------
    filled : ndarray of shape (n, T)
    gower : ndarray of shape (n,)
    rows : ndarray of shape (T, n)
        The trajectories with 0 in gaps.
    observed : ndarray of shape (T, n)
        1 where there is a value, else 0.
    ascending : list of ndarray of int
        For each time the observed trajectories in the order of their values.
    constant : ndarray of shape (n,)
        Zeros.
    """

    filled: Array
    gower: Array
    rows: Array
    observed: Array
    ascending: list[NDArray[np.intp]]
    constant: Array

    @classmethod
    def of(cls, values: Array, filled: Array, weights: Array) -> Absolute:
        """Trajectories (n, T), NaN in gaps, and the same filled; weights of the times."""
        observed = ~np.isnan(values)
        rows = np.ascontiguousarray((values * weights).T)
        # NaN sorts last
        ascending = [
            np.argsort(row, kind="stable")[:count]
            for row, count in zip(rows, observed.sum(axis=0), strict=True)
        ]
        gower = weights.sum() / (observed @ weights)
        there = np.ascontiguousarray(observed.T, dtype=np.float64)
        zeros = np.zeros(len(values))
        return cls(filled * weights, gower, np.nan_to_num(rows), there, ascending, zeros)

    def distances(self, centres: Array, rows: slice) -> Array:
        """Sums of absolute differences."""
        values, there = self.rows[:, rows], self.observed[:, rows]
        return np.stack(
            [np.einsum("tn,tn->n", np.abs(values - c[:, None]), there) for c in centres]
        )

    def centres(self, labels: Labels, k: int) -> Array:
        """Medians of the observed values."""
        out = np.empty((k, len(self.rows)))
        for t, (row, ascending) in enumerate(zip(self.rows, self.ascending, strict=True)):
            owner = labels[ascending]
            # a stable sort of bytes is a count: no comparison
            values = row[ascending[np.argsort(owner, kind="stable")]]
            counts = np.bincount(owner, minlength=k)
            first = np.cumsum(counts) - counts
            last = len(values) - 1
            low = values[np.minimum(first + np.maximum(counts - 1, 0) // 2, last)]
            high = values[np.minimum(first + counts // 2, last)]
            out[:, t] = np.where(counts > 0, 0.5 * (low + high), np.nan)
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Where one start led.

    Attributes
    ----------
    labels : ndarray of uint8, shape (n,)
    centres : ndarray of shape (k, T)
        Those the labels are nearest to.
    within : float
        Sum of the distances to the own centre, over observed values.
    settled : bool
        The decrease was below the tolerance before the last step allowed.
    """

    labels: Labels
    centres: Array
    within: float
    settled: bool


def blocks(n: int) -> Iterator[slice]:
    """Slices that together cover n rows."""
    return (slice(start, min(start + BLOCK, n)) for start in range(0, n, BLOCK))


def assign(points: Points, centres: Array) -> tuple[Labels, Array]:
    """The nearest centre of each trajectory, and the distance to it over observed times."""
    n = len(points.gower)
    labels, least = np.empty(n, np.uint8), np.empty(n)
    for rows in blocks(n):
        distances = points.distances(centres, rows)
        labels[rows] = distances.argmin(axis=0)
        least[rows] = distances.min(axis=0)
    return labels, np.maximum(least + points.constant, 0.0)


def cluster(points: Points, centres: Array, tolerance: float) -> Run:
    """Alternate between nearest centres and centres of groups (Lloyd's algorithm).

    Parameters
    ----------
    points : Squares or Absolute
    centres : ndarray of shape (k, T)
        Where to start, without gaps.
    tolerance : float
        Relative decrease of the sum of distances at which to stop; 0 goes on until it is settled.
    """
    k, previous = len(centres), np.inf
    for _ in range(MOST_STEPS):
        labels, least = assign(points, centres)
        within = float(least.sum())
        refilled = _refill(labels, least * points.gower, k)
        if not refilled and previous - within <= tolerance * within:
            return Run(labels, centres, within, settled=True)
        previous = np.inf if refilled else within
        centres = complete(points.centres(labels, k))
    return Run(labels, centres, within, settled=False)


def exchange(points: Points, run: Run) -> Run:
    """Move single trajectories while that helps (Hartigan and Wong 1979, Applied Statistics 28).

    Of two centres the nearer one is not always the better one: a trajectory pulls its own centre
    along. What Lloyd's algorithm leaves can therefore be better by one more step, and what this
    leaves cannot. The centres are those of the final groups.

    Parameters
    ----------
    points : Points
        Medians have no such rule: under Manhattan distance the run comes back as it is.
    run : Run
        Where `cluster` ended.
    """
    if not isinstance(points, Squares) or not run.settled or len(np.unique(run.labels)) < 2:
        return run
    labels, k = run.labels.copy(), len(run.centres)
    everyone = np.arange(len(labels))
    while True:
        change = points.changes(labels, k)
        target = change.argmin(axis=0)
        gain = -change[target, everyone]
        row = int(gain.argmax())
        if gain[row] <= EXCHANGE * run.within:
            break
        labels[row] = target[row]
    moved = complete(points.centres(labels, k))
    end = cluster(points, moved, 0.0)
    return end if end.within < run.within else run


def complete(centres: Array) -> Array:
    """Centres without gaps, for trajectories whose mean over all subjects is 0 at every time.

    Where nobody in a group was observed, the centre keeps its mean distance from the overall mean.
    """
    gap = np.isnan(centres)
    if not gap.any():
        return centres
    present = np.where(gap, 0.0, centres).sum(axis=1) / np.maximum((~gap).sum(axis=1), 1)
    return np.where(gap, present[:, None], centres)


def _refill(labels: Labels, distances: Array, k: int) -> bool:
    """Give each empty group the trajectory that is farthest from its centre; labels change."""
    counts = np.bincount(labels, minlength=k)
    empty = np.flatnonzero(counts == 0)
    if not len(empty):
        return False
    refilled = False
    far = iter(np.argsort(-distances, kind="stable").tolist())
    for group in empty.tolist():
        row = next((i for i in far if counts[labels[i]] > 1 and distances[i] > 0.0), None)
        if row is None:
            break
        counts[labels[row]] -= 1
        labels[row], refilled = group, True
    return refilled
