"""Where k-means begins: the starts of Genolini and Falissard (2010), and k-means++."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.explore.kmeans import Points, assign, complete


def random_all(points: Points, k: int, rng: np.random.Generator) -> Array:
    """Every trajectory in a random group, none of them empty."""
    n = len(points.gower)
    labels = rng.integers(k, size=n).astype(np.uint8)
    labels[rng.permutation(n)[:k]] = np.arange(k)
    return complete(points.centres(labels, k))


def random_k(points: Points, k: int, rng: np.random.Generator) -> Array:
    """Centres are k trajectories drawn at random."""
    return points.filled[rng.choice(len(points.gower), k, replace=False)]


def plus_plus(points: Points, k: int, rng: np.random.Generator) -> Array:
    """k-means++: each centre is drawn with the distance from those there already as its weight.

    The distance is squared for means, as published, and plain for medians; gaps are allowed for by
    Gower's factor.
    """
    chosen = [int(rng.integers(len(points.gower)))]
    nearest = _from(points, chosen[0])
    for _ in range(1, k):
        total = np.cumsum(nearest)
        if total[-1] > 0.0:
            row = int(np.searchsorted(total, rng.random() * total[-1], side="right"))
        else:
            row = int(rng.integers(len(total)))
        chosen.append(min(row, len(total) - 1))
        nearest = np.minimum(nearest, _from(points, chosen[-1]))
    return points.filled[chosen]


def max_dist(points: Points, k: int, rng: np.random.Generator) -> Array:  # noqa: ARG001
    """Two trajectories far apart, then always the one farthest from those chosen; no chance.

    The first two are found by going to the farthest trajectory from the mean, and on to the
    farthest from there while the distance grows. A search of all pairs would cost n^2.
    """
    _, apart = assign(points, np.zeros((1, points.filled.shape[1])))
    chosen, reach = [int(np.argmax(apart * points.gower))], 0.0
    while True:
        nearest = _from(points, chosen[0])
        far = int(np.argmax(nearest))
        if nearest[far] <= reach:
            break
        chosen, reach = [far], float(nearest[far])
    for _ in range(1, k):
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, _from(points, chosen[-1]))
    return points.filled[chosen]


def _from(points: Points, row: int) -> Array:
    """Distances of all trajectories from one of them."""
    _, distances = assign(points, points.filled[[row]])
    distances *= points.gower
    distances[row] = 0.0
    return distances


Start = Callable[[Points, int, np.random.Generator], Array]

STARTS: dict[str, Start] = {
    "kmeans++": plus_plus,
    "maxDist": max_dist,
    "randomK": random_k,
    "randomAll": random_all,
}
# what each restart of "all" begins with: the first, then the others in turn
FIRST, IN_TURN = "maxDist", ("kmeans++", "randomK")


def start_of(starts: str, number: int) -> Start:
    """Which start a restart uses.

    Parameters
    ----------
    starts : str
        A key of `STARTS`, or "all".
    number : int
        Of the restart, from 0.
    """
    if starts != "all":
        return STARTS[starts]
    return STARTS[FIRST if number == 0 else IN_TURN[(number - 1) % len(IN_TURN)]]
