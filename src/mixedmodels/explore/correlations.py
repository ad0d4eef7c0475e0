"""Covariance and correlation over time: of the data, and as a fitted model implies them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import FrameKind, to_native
from mixedmodels.errors import DataError, DataWarning, warn
from mixedmodels.explore.columns import (
    Codes,
    Labels,
    cells,
    counted,
    distinct_roles,
    labels,
    listed,
    names_of,
    numbers,
    open_frame,
    quote,
    repeats,
    times,
    warn_unobserved,
    warn_unplaced,
)
from mixedmodels.explore.time_names import text_of
from mixedmodels.memory import check_memory
from mixedmodels.output.layout import Block, Table, fixed, number
from mixedmodels.output.printed import Printed

Method: TypeAlias = Literal["pearson", "spearman"]

# times whose matrices are printed
MOST_PRINTED = 12
# variance below this share of the sum of squares it is taken from: rounding
NO_VARIANCE = 1e-14


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TimeCorrelations(Printed):
    """Covariances and correlations between times, each from the subjects observed at both.

    Attributes
    ----------
    response, id, time : str
        Names of the columns.
    times : tuple
        The T times, in order.
    n : ndarray of int, shape (T, T)
        Subjects observed at both times.
    covariance : ndarray of shape (T, T)
        In squared units of the response.
    correlation : ndarray of shape (T, T)
    subjects : tuple
        The subjects with a value.
    values : ndarray of shape (n_subjects, T)
        The response of each subject at each time, NaN where it was not observed.
    kind : str
        Kind of the frames.
    method : {"pearson", "spearman"}
        What `correlation` holds.
    """

    response: str
    id: str
    time: str
    times: tuple[Any, ...]
    n: NDArray[np.int64]
    covariance: Array
    correlation: Array
    subjects: tuple[Any, ...]
    values: Array
    kind: FrameKind
    method: Method = "pearson"

    @checked
    def frame(self) -> Any:
        """All ordered pairs of times.

        Returns
        -------
        frame
            time_1, time_2, n, covariance, correlation; T squared rows.
        """
        return to_native(
            {
                **pairs_of(self.times),
                "n": self.n.ravel(),
                "covariance": self.covariance.ravel(),
                "correlation": self.correlation.ravel(),
            },
            self.kind,
        )

    @checked
    def wide(self) -> Any:
        """The values that the correlations are of, a row per subject, a column per time."""
        columns = {
            f"{self.time}_{text_of(at)}": column
            for at, column in zip(self.times, self.values.T, strict=True)
        }
        return to_native({self.id: list(self.subjects), **columns}, self.kind)

    def title(self) -> str:
        """What is correlated."""
        return f"{self.response} over {self.time}, {counted(len(self.subjects), 'subject')}"

    def blocks(self) -> Sequence[Block]:
        """Correlations, standard deviations and numbers of subjects, covariances."""
        return [
            lower_table(self._heading(), self.times, self.correlation, 3),
            lower_table("Covariance", self.times, self.covariance, None),
            lower_table("Subjects observed at both times", self.times, self.n, 0),
        ]

    def _heading(self) -> str:
        return "Correlation" if self.method == "pearson" else "Correlation of ranks (Spearman)"


@checked
def time_correlations(
    data: Any,
    *,
    id: str,  # noqa: A002 - the word of the field
    time: str,
    response: str,
    by: str | Sequence[str] | None = None,
    method: Method = "pearson",
) -> TimeCorrelations:
    """Covariance and correlation matrices of a response over time.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        In long format, a row per subject and time. Never changed.
    id, time, response : str
        Columns of subjects, times and the response.
    by : str or sequence of str, optional
        Columns of groups, such as treatment: correlations within groups, the mean of each group at
        each pair of times taken out. Differences between groups count as correlation otherwise.
    method : {"pearson", "spearman"}
        Correlation of the values, or of their ranks (ties get their mean rank): among the subjects
        of each pair of times, and within groups with `by`. The covariance is that of the values.

    Returns
    -------
    TimeCorrelations
        With ``correlation``, ``covariance`` and ``n`` as arrays, and ``frame()`` with all pairs. It
        prints.

    Raises
    ------
    TypeError, DataError
        Not a data frame or no rows; unknown columns; a response that is not numbers; several values
        of a subject at one time; a single subject or time; no pair of times with two common
        subjects.

    Warns
    -----
    DataWarning
        Subjects without any value; times at which the values do not vary or are too few; rows
        without subject or time; times that are text.

    Notes
    -----
    Each pair of times uses the subjects observed at both (n_ij of them), with divisor
    ``n_ij - 1`` (less the number of groups, with `by`), as pandas' ``corr`` and R's
    ``use = "pairwise.complete.obs"``. With missing values such a matrix need not be positive
    definite.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> over_time = mm.time_correlations(piglets, id="animal", time="time", response="BW")
    >>> over_time.correlation.round(2)
    array([[1.  , 0.83, 0.72, 0.66],
           [0.83, 1.  , 0.87, 0.83],
           [0.72, 0.87, 1.  , 0.9 ],
           [0.66, 0.83, 0.9 , 1.  ]])
    """
    frame, kind = open_frame(data)
    distinct_roles(id=id, time=time, response=response)
    ids, at = labels(frame, id, "id"), times(frame, time)
    y = numbers(frame, response, "response")
    factors = [labels(frame, name, "by") for name in names_of(by, "by")]
    if np.isnan(y).all():
        raise DataError(f"the response '{response}' has no values: all {len(y)} are missing")
    warn_unplaced([ids, at], "rows left out")
    group, count = cells(factors, len(y))
    if factors and (group < 0).any():
        warn_unplaced(factors, "rows left out")
        y = np.where(group >= 0, y, np.nan)
    seen = ~np.isnan(y) & (ids.codes >= 0)
    _check_times(ids, at, seen & (at.codes >= 0))
    groups = (group, count) if factors else None
    found = correlate(ids, at, y, response, kind, groups)
    if method == "spearman":
        parts = [found.values] if groups is None else list(_tables(ids, at, y, seen, groups))
        found = replace(found, correlation=of_ranks(parts), method=method)
    warn_unobserved(ids, seen & (at.codes >= 0), " left out")
    _check_pairs(at, found)
    return found


def correlate(
    ids: Labels,
    at: Labels,
    y: Array,
    response: str,
    kind: FrameKind,
    groups: tuple[Codes, int] | None = None,
) -> TimeCorrelations:
    """Correlations of values given by row; see `time_correlations`.

    Parameters
    ----------
    ids, at : Labels
        No subject has several values at one time.
    y : ndarray of shape (n_rows,)
        NaN where missing.
    response : str
    kind : str
    groups : (ndarray of int, int), optional
        Group of each row, number of groups.
    """
    seen = ~np.isnan(y) & (ids.codes >= 0) & (at.codes >= 0)
    check_memory(
        8.0 * 4 * len(ids.levels) * len(at.levels),
        f"{len(ids.levels):,} subjects at {len(at.levels):,} times; round '{at.name}' to visits",
    )
    values = np.full((len(ids.levels), len(at.levels)), np.nan)
    values[ids.codes[seen], at.codes[seen]] = y[seen]
    parts = [values] if groups is None else list(_tables(ids, at, y, seen, groups))
    n, covariance, correlation = within(parts)
    has_value = ~np.isnan(values).all(axis=1)
    subjects = ids.values()
    return TimeCorrelations(
        response=response,
        id=ids.name,
        time=at.name,
        times=tuple(at.values()),
        n=n,
        covariance=covariance,
        correlation=correlation,
        subjects=tuple(subjects[i] for i in np.flatnonzero(has_value)),
        values=values[has_value],
        kind=kind,
    )


def _tables(
    ids: Labels, at: Labels, y: Array, seen: NDArray[np.bool_], groups: tuple[Codes, int]
) -> Iterator[Array]:
    """The values of each group, a row per subject."""
    codes, count = groups
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(count + 1))
    for start, stop in pairwise(bounds):
        rows = order[start:stop]
        rows = rows[seen[rows]]
        present, subject = np.unique(ids.codes[rows], return_inverse=True)
        table = np.full((len(present), len(at.levels)), np.nan)
        table[subject, at.codes[rows]] = y[rows]
        yield table


def _check_times(ids: Labels, at: Labels, seen: NDArray[np.bool_]) -> None:
    """Refuse a single subject or time, and several values of a subject at one."""
    if len(ids.levels) == 1:
        raise DataError(
            f"there is one subject only ({ids.name} {quote(ids.levels[0])}): correlations over "
            "time are between subjects"
        )
    if len(at.levels) == 1:
        raise DataError(
            f"there is one time only ({at.name} {quote(at.levels[0])}): correlations over time "
            "need at least two"
        )
    twice = repeats(ids, at, seen)
    if len(twice):
        raise DataError(
            f"{twice.describe(ids, at)}: correlations over time need one. Average or drop the "
            "repeats, or give an id that tells them apart"
        )


def _check_pairs(at: Labels, found: TimeCorrelations) -> None:
    """Refuse times that no subjects share; warn of times without a correlation."""
    off = ~np.eye(len(found.n), dtype=bool)
    if not (found.n[off] > 1).any():
        raise DataError(
            f"no two of the {len(found.n)} values of '{at.name}' have two subjects in common: "
            "round it to visits or weeks first"
        )
    flat = [
        level
        for level, own in zip(at.levels, np.diag(found.correlation), strict=True)
        if np.isnan(own)
    ]
    if flat:
        warn(
            f"no correlation with {at.name} {listed(flat)}: fewer than two values there, or all "
            "are equal",
            DataWarning,
        )


def within(parts: Sequence[Array]) -> tuple[NDArray[np.int64], Array, Array]:
    """Counts, covariances and correlations of columns, by pairs, within groups of rows.

    Parameters
    ----------
    parts : sequence of ndarray of shape (n_g, T)
        One table per group, NaN where there is no value.

    Returns
    -------
    n : ndarray of int, shape (T, T)
    covariance, correlation : ndarray of shape (T, T)
        NaN where a pair has too few rows or no variance.
    """
    width = parts[0].shape[1]
    n, df = np.zeros((width, width)), np.zeros((width, width))
    products, squares = np.zeros((width, width)), np.zeros((width, width))
    rounding = np.zeros((width, width))
    for table in parts:
        seen = (~np.isnan(table)).astype(np.float64)
        filled = np.where(seen == 1.0, table, 0.0)
        centre = filled.sum(axis=0) / np.maximum(seen.sum(axis=0), 1.0)
        away = (filled - centre) * seen
        count = seen.T @ seen
        # sums over the rows that have the other column too
        total, square = away.T @ seen, (away**2).T @ seen
        share = np.maximum(count, 1.0)
        n += count
        df += np.maximum(count - 1.0, 0.0)
        products += away.T @ away - total * total.T / share
        squares += square - total**2 / share
        rounding += NO_VARIANCE * (square + NO_VARIANCE * centre[:, None] ** 2 * count)
    squares[squares <= rounding] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        covariance = np.where(df > 0.0, products / df, np.nan)
        correlation = products / np.sqrt(squares * squares.T)
    correlation = np.where(squares * squares.T > 0.0, np.clip(correlation, -1.0, 1.0), np.nan)
    return n.astype(np.int64), covariance, correlation


def of_ranks(parts: Sequence[Array]) -> Array:
    """Spearman's correlations of columns, by pairs, ranked within groups of rows, shape (T, T).

    Parameters
    ----------
    parts : sequence of ndarray of shape (n_g, T)
        As in `within`.
    """
    from scipy.stats import rankdata

    width = parts[0].shape[1]
    out = np.full((width, width), np.nan)
    for i, j in [*combinations(range(width), 2), *((i, i) for i in range(width))]:
        sums = np.zeros((2, 2))
        for table in parts:
            pair = table[:, [i, j]]
            pair = pair[~np.isnan(pair).any(axis=1)]
            ranks = rankdata(pair, axis=0) - 0.5 * (len(pair) + 1.0)
            sums += ranks.T @ ranks
        if sums[0, 0] > 0.0 and sums[1, 1] > 0.0:
            out[i, j] = out[j, i] = sums[0, 1] / np.sqrt(sums[0, 0] * sums[1, 1])
    return np.asarray(np.clip(out, -1.0, 1.0))


# --- frames and text ------------------------------------------------------------------------------


def pairs_of(at: Sequence[Any]) -> dict[str, list[Any]]:
    """The columns time_1 and time_2 of all ordered pairs."""
    return {"time_1": [a for a in at for _ in at], "time_2": list(at) * len(at)}


def lower_table(heading: str, at: Sequence[Any], matrix: Any, decimals: int | None) -> Table:
    """The lower triangle of a matrix over times."""
    shown = list(map(text_of, at))[:MOST_PRINTED]
    rows = tuple(
        (name, *(_cell(float(matrix[i, j]), decimals) for j in range(i + 1)))
        for i, name in enumerate(shown)
    )
    more = len(at) - len(shown)
    return Table(heading, ("", *shown), rows, 1, f"{counted(more, 'more time')}" if more else "")


def _cell(value: float, decimals: int | None) -> str:
    if np.isnan(value):
        return "n/a"
    return number(value) if decimals is None else fixed(value, decimals)
