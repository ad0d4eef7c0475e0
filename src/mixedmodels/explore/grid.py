"""Long rows to a grid of subjects by times, with every check; gaps filled by copy-mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.frame import FrameKind
from mixedmodels.design.levels import Level
from mixedmodels.errors import DataError, DataWarning, ModelError, warn
from mixedmodels.explore.columns import (
    Labels,
    counted,
    distinct_roles,
    labels,
    listed,
    numbers,
    open_frame,
    repeats,
    take,
    times,
    warn_unplaced,
)
from mixedmodels.memory import check_memory

# copies of the grid that clustering holds at its peak
COPIES = 8
# share of cells with a value below which times are probably not common to the subjects
SPARSE = 0.1
# distance from the mean trajectory, relative to the largest value, that is rounding
ROUNDING = 1e-13


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Trajectories side by side.

    Attributes
    ----------
    id, time, response : str
        Columns of `data`.
    data : frame
        The user's data, which later changes of theirs do not reach.
    kind : {"pandas", "polars", "pyarrow"}
    subjects : tuple
        Ids of the n subjects with enough values.
    times : series
        The T times as the user stored them.
    position : ndarray of shape (T,)
        Times as numbers, ascending: dates in days since the first, other categories by rank.
    values : ndarray of shape (n, T)
        In units of the response, NaN where there is no value.
    excluded : tuple
        Ids of subjects with too few values.
    """

    id: str
    time: str
    response: str
    data: Any
    kind: FrameKind
    subjects: tuple[Level, ...]
    times: Any
    position: Array
    values: Array
    excluded: tuple[Level, ...]


def read_grid(
    data: Any,
    *,
    id: str,  # noqa: A002
    time: str,
    response: str,
    max_missing: int | None,
) -> Grid:
    """Read and check long data: one row for each subject and time.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
    id, time, response : str
        Columns of `data`.
    max_missing : int or None
        Most values that a trajectory may lack; None asks for two values.

    Raises
    ------
    DataError
        Unknown columns, a response that is not numeric, one time, several values of a subject at
        one time, fewer than two subjects left, or trajectories that all coincide.
    ModelError
        An impossible `max_missing`.
    """
    distinct_roles(id=id, time=time, response=response)
    frame, kind = open_frame(data)
    subjects, at = labels(frame, id, "id"), times(frame, time)
    values = _spread(subjects, at, numbers(frame, response, "response"), response)
    keep = _enough(values, max_missing)
    _warn_left_out(subjects, at, values, keep, response)
    values = values[keep]
    used = ~np.isnan(values).all(axis=0)
    values = values[:, used]
    _check_values(values, id, time, response)
    return Grid(
        id,
        time,
        response,
        frame,
        kind,
        tuple(level for level, ok in zip(subjects.levels, keep, strict=True) if ok),
        take(at.native, at.first_rows[used]),
        _positions(at)[used],
        values,
        tuple(level for level, ok in zip(subjects.levels, keep, strict=True) if not ok),
    )


def copy_mean(values: Array, position: Array) -> Array:
    """Fill the gaps of trajectories by copy-mean (Genolini, Ecochard and Jacqmin-Gadda 2013).

    Parameters
    ----------
    values : ndarray of shape (n, T)
        NaN where there is no value; each time has a value of someone.
    position : ndarray of shape (T,)
        Times, ascending.

    Returns
    -------
    ndarray of shape (n, T)

    Notes
    -----
    A gap is bridged by a line, and the line then bent as the mean trajectory bends over the same
    gap. Both steps are linear, so this is the mean trajectory plus the interpolated distance from
    it. Before the first and after the last value the distance is kept.

    Examples
    --------
    >>> copy_mean(np.array([[0.0, np.nan, 2.0], [0.0, 5.0, 0.0]]), np.array([0.0, 1.0, 2.0]))
    array([[0. , 5.5, 2. ],
           [0. , 5. , 0. ]])
    """
    gap = np.isnan(values)
    if not gap.any():
        return values
    mean = np.nanmean(values, axis=0)
    apart = values - mean
    n, n_times = values.shape
    place = np.broadcast_to(np.arange(n_times), (n, n_times))
    before = np.maximum.accumulate(np.where(gap, -1, place), axis=1)
    after = np.minimum.accumulate(np.where(gap, n_times, place)[:, ::-1], axis=1)[:, ::-1]
    # outside the observed times both neighbours are the nearest value
    before, after = (
        np.where(before < 0, after, before),
        np.where(after == n_times, before, after),
    )
    row, column = np.nonzero(gap)
    low, high = before[row, column], after[row, column]
    width = position[high] - position[low]
    share = np.divide(
        position[column] - position[low], width, out=np.zeros(len(row)), where=width > 0.0
    )
    filled = values.copy()
    bridge = (1.0 - share) * apart[row, low] + share * apart[row, high]
    filled[row, column] = mean[column] + bridge
    return filled


# --- reading --------------------------------------------------------------------------------------


def _spread(subjects: Labels, at: Labels, response: Array, name: str) -> Array:
    """The response of every subject at every time, NaN where there is none."""
    n, n_times = len(subjects.levels), len(at.levels)
    if n_times < 2:
        raise DataError(
            f"column '{at.name}' has one time only ({listed(at.levels)}): a trajectory needs at "
            "least two"
        )
    present = ~np.isnan(response)
    if not present.any():
        raise DataError(f"column '{name}' (for response=) has no values: all rows are missing")
    check_memory(
        8.0 * COPIES * n * n_times,
        f"{n} subjects by {n_times} different values of '{at.name}'; round the times to those "
        "that subjects share",
    )
    several = repeats(subjects, at, present)
    if len(several):
        raise DataError(
            f"{several.describe(subjects, at)}: a trajectory has one value at each time; average "
            "or drop the repeats"
        )
    inside = present & (subjects.codes >= 0) & (at.codes >= 0)
    values = np.full((n, n_times), np.nan)
    values[subjects.codes[inside], at.codes[inside]] = response[inside]
    return values


def _enough(values: Array, max_missing: int | None) -> NDArray[np.bool_]:
    n_times = values.shape[1]
    if max_missing is None:
        max_missing = n_times - 2
    elif isinstance(max_missing, bool) or max_missing not in range(n_times):
        raise ModelError(
            f"max_missing={max_missing!r} must be a whole number from 0 to {n_times - 1}: there "
            f"are {n_times} times"
        )
    return np.asarray(np.isnan(values).sum(axis=1) <= max_missing)


def _warn_left_out(
    subjects: Labels, at: Labels, values: Array, keep: NDArray[np.bool_], response: str
) -> None:
    warn_unplaced([subjects, at], "left out of the trajectories")
    empty = np.isnan(values).all(axis=1)
    parts = []
    for lost, reason in (
        (empty & ~keep, f"without any value of '{response}'"),
        (~keep & ~empty, "with too few values (max_missing= sets how few)"),
    ):
        ids = [subjects.levels[i] for i in np.flatnonzero(lost).tolist()]
        if ids:
            parts.append(f"{counted(len(ids), 'subject')} {reason}: {listed(ids)}")
    if parts:
        warn(f"not clustered: {'; '.join(parts)}", DataWarning)


def _check_values(values: Array, id_name: str, time_name: str, response: str) -> None:
    n, n_times = values.shape
    if n < 2:
        raise DataError(
            f"column '{id_name}' has {counted(n, 'subject')} with enough values: clusters need at "
            "least two"
        )
    present = ~np.isnan(values)
    if present.sum(axis=0).max() < 2:
        raise DataError(
            f"no two subjects have a value at the same '{time_name}': round its values to times "
            "that subjects share"
        )
    share = np.count_nonzero(present) / values.size
    if share < SPARSE:
        warn(
            f"only {100 * share:.1f} % of {n} subjects x {n_times} times hold a value; if the "
            f"values of '{time_name}' are irregular, round them to times that subjects share",
            DataWarning,
        )
    apart = np.nanmax(np.abs(values - np.nanmean(values, axis=0)))
    if apart <= ROUNDING * np.nanmax(np.abs(values)):
        raise DataError(
            f"the trajectories of '{response}' all coincide: there is nothing to cluster"
        )


def _positions(at: Labels) -> Array:
    """Times as ascending numbers."""
    if at.nature in {"time", "duration"}:
        return _elapsed(at.values())
    try:
        numeric = np.array([float(level) for level in at.levels])
    except ValueError:
        numeric = np.zeros(len(at.levels))
    # an order that the user declared wins over numbers that contradict it
    return numeric if (np.diff(numeric) > 0.0).all() else _ranks(at.levels)


def _elapsed(times: Sequence[Any]) -> Array:
    """Days since the first of some dates; ranks where a library's times cannot be subtracted."""
    try:
        return np.array([(time - times[0]).total_seconds() / 86400.0 for time in times])
    except (AttributeError, TypeError):
        return _ranks(times)


def _ranks(levels: Sequence[Any]) -> Array:
    return np.arange(len(levels), dtype=np.float64)
