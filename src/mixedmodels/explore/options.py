"""Checks of the arguments of `cluster_trajectories`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mixedmodels.arguments import check_choice, check_whole
from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError


def numbers_of_clusters(k: int | Iterable[int], most: int) -> list[int]:
    """Distinct numbers of clusters, ascending.

    Raises
    ------
    ModelError
        Not whole numbers from 1 to `most`, or none at all.
    """
    given = list(k) if isinstance(k, Iterable) else [k]
    for size in given:
        check_whole("k", size, least=1)
        if size > most:
            raise ModelError(f"k={size}: at most {most} clusters, one for each letter")
    if not given:
        raise ModelError("k is empty: give at least one number of clusters")
    return sorted({int(size) for size in given})


def weights_of_times(given: str | Sequence[float] | None, position: Array, name: str) -> Array:
    """Weights of the times with mean 1.

    Parameters
    ----------
    given : None, "spacing" or sequence of float
    position : ndarray of shape (T,)
        The times, ascending.
    name : str
        Column of the times.

    Raises
    ------
    ModelError
        Not T positive numbers.
    """
    n_times = len(position)
    if given is None:
        return np.ones(n_times)
    if isinstance(given, str):
        check_choice("time_weights", given, ("spacing",))
        padded = np.concatenate([position[:1], position, position[-1:]])
        weights = padded[2:] - padded[:-2]
    else:
        weights = np.asarray(given, dtype=np.float64)
        if weights.shape != (n_times,) or not (np.isfinite(weights) & (weights > 0.0)).all():
            raise ModelError(
                f"time_weights must be {n_times} positive numbers, one for each value of '{name}'"
            )
    return np.asarray(weights / weights.mean())
