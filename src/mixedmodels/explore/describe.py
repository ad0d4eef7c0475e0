"""Summary statistics of a response by group and time: `describe`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.design.grouping import observed
from mixedmodels.errors import DataError, DataWarning, warn
from mixedmodels.explore.columns import (
    Codes,
    Labels,
    cells,
    counted,
    first_rows,
    labels,
    listed,
    names_of,
    numbers,
    open_frame,
    quote,
    repeats,
    take,
    times,
    warn_unobserved,
    warn_unplaced,
)

Totals: TypeAlias = Literal["overall", "margins", "none"]

STATISTICS = (
    "n",
    "missing",
    "mean",
    "sd",
    "se",
    "cv",
    "median",
    "q1",
    "q3",
    "min",
    "max",
    "skewness",
)


@checked
def describe(
    data: Any,
    response: str,
    by: str | Sequence[str] | None = None,
    *,
    id: str | None = None,  # noqa: A002 - the word of the field
    time: str | None = None,
    totals: Totals = "overall",
) -> Any:
    """Summary statistics of a response, in each cell of some groups and in total.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        Never changed.
    response : str
        A numeric column.
    by : str or sequence of str, optional
        Columns whose observed combinations are the cells, such as treatment and time.
    id : str, optional
        Column of subjects: adds ``subjects``, the number of those with a value in the cell.
    time : str, optional
        Column of times: one more column of `by`, in the order of time.
    totals : {"overall", "margins", "none"}
        Rows under the cells: over all rows; also of each column of `by` alone; none. A row over all
        levels of a column has no value there.

    Returns
    -------
    frame
        The columns of `by`, subjects (with `id`), n (values), missing, mean, sd, se (sd / sqrt(n)),
        cv (sd / mean, a fraction), median, q1, q3, min, max, skewness. Statistics that too few
        values give are missing: sd needs 2 of them, skewness 3 that are not all equal.

    Raises
    ------
    TypeError, DataError
        Not a data frame or no rows; unknown columns; a response that is not numbers or has no
        value at all.
    ModelError
        An unknown `totals`.

    Warns
    -----
    DataWarning
        Rows without a value in `by` (they count in the total alone), levels without rows, cells
        without values; with `id`, subjects without values and rows without subject; with `time`
        too, subjects with several rows at one time; times that are text.

    Notes
    -----
    Quantiles interpolate linearly between order statistics (type 7 of Hyndman and Fan 1996, Am.
    Stat. 50, 361-365; the default of R, NumPy and pandas). Skewness is adjusted for bias: ``G1`` of
    Joanes and Gill (1998), J. R. Stat. Soc. D 47, 183-189, as in pandas and SAS.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> table = mm.describe(piglets, "BW", by="time", id="animal")
    >>> table[["time", "subjects", "n", "mean", "sd", "cv", "median"]].round(3)
       time  subjects    n    mean     sd     cv  median
    0   0.0        75   75   7.584  1.242  0.164    7.50
    1   7.0        75   75   9.173  1.484  0.162    8.90
    2  14.0        75   75  10.839  1.628  0.150   10.90
    3  21.0        72   72  13.511  2.199  0.163   13.55
    4   NaN        75  297  10.244  2.744  0.268    9.90
    """
    frame, kind = open_frame(data)
    names = names_of(by, "by")
    y = numbers(frame, response, "response")
    if np.isnan(y).all():
        raise DataError(f"the response '{response}' has no values: all {len(y)} are missing")
    factors = [labels(frame, name, "by") for name in names if name != time]
    if time is not None:
        factors.append(times(frame, time))
    ids = None if id is None else labels(frame, id, "id")
    _check(factors, response, ids, has_time=time is not None)
    if ids is not None:
        warn_unplaced([ids], "rows that count for no subject")
        warn_unobserved(ids, ~np.isnan(y), f" of '{response}'")

    every = list(range(len(factors)))
    sets = [every]
    if totals == "margins" and len(every) > 1:
        sets += [[k] for k in every]
    if totals != "none" and every:
        sets.append([])
    parts = [_cells_of(y, factors, used, ids) for used in sets]
    columns: dict[str, Any] = {
        factor.name: take(factor.native, np.concatenate([part.first[k] for part in parts]))
        for k, factor in enumerate(factors)
    }
    for name in parts[0].statistics:
        columns[name] = np.concatenate([part.statistics[name] for part in parts])
    _warn_empty(factors, parts[0], response)
    return to_native(columns, kind)


def _check(factors: Sequence[Labels], response: str, ids: Labels | None, *, has_time: bool) -> None:
    """Refuse columns in two roles; warn of what will not be in the cells."""
    own = {*STATISTICS, "subjects"}
    for factor in factors:
        if factor.name == response:
            raise DataError(f"column '{response}' is both the response and one of by=")
        if factor.name in own:
            raise DataError(
                f"column '{factor.name}' (for by=) has the name of a statistic; rename it"
            )
        if factor.unused:
            warn(
                f"'{factor.name}' has levels without rows, which are left out: "
                f"{listed(factor.unused)}",
                DataWarning,
            )
    warn_unplaced(factors, "rows that are in no cell and count in the totals alone")
    if ids is not None and has_time:
        twice = repeats(ids, factors[-1])
        if len(twice):
            warn(
                f"{twice.describe(ids, factors[-1])}: every row counts as an observation",
                DataWarning,
            )


class _Part:
    """The cells of one set of columns.

    Attributes
    ----------
    first : list of ndarray of int
        For each column of `by`, the row that holds its value in each cell, or -1.
    statistics : dict of str to ndarray
    """

    __slots__ = ("first", "statistics")

    def __init__(self, first: list[NDArray[np.intp]], statistics: dict[str, Any]) -> None:
        self.first, self.statistics = first, statistics


def _cells_of(y: Array, factors: Sequence[Labels], used: list[int], ids: Labels | None) -> _Part:
    codes, count = cells([factors[k] for k in used], len(y))
    rows = first_rows(codes, count)
    nowhere = np.full(count, -1, np.intp)
    statistics: dict[str, Any] = {}
    if ids is not None:
        statistics["subjects"] = _subjects(codes, count, ids, ~np.isnan(y))
    statistics |= summarise(y, codes, count)
    return _Part([rows if k in used else nowhere for k in range(len(factors))], statistics)


def _subjects(codes: Codes, count: int, ids: Labels, seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    inside = seen & (codes >= 0) & (ids.codes >= 0)
    width = len(ids.levels)
    pairs, _ = observed(codes[inside] * width + ids.codes[inside], count * width)
    return np.bincount(pairs // width, minlength=count)


def summarise(y: Array, codes: Codes, count: int) -> dict[str, Any]:
    """Statistics of each cell; see `describe`.

    Parameters
    ----------
    y : ndarray of shape (n,)
        NaN where missing.
    codes : ndarray of int, shape (n,)
        Cell of each row, -1 for none.
    count : int
        Number of cells.
    """
    inside = codes >= 0
    missing = np.bincount(codes[inside & np.isnan(y)], minlength=count)
    inside &= ~np.isnan(y)
    order = np.lexsort((y[inside], codes[inside]))
    values, cell = y[inside][order], codes[inside][order]
    n = np.bincount(cell, minlength=count)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, sd, skewness = _moments(values, cell, n)
        out: dict[str, Any] = {"n": n, "missing": missing, "mean": mean, "sd": sd}
        out["se"] = sd / np.sqrt(n)
        out["cv"] = np.where(mean == 0.0, np.nan, sd / mean)
    quantile = {
        name: _quantile(values, n, share)
        for name, share in (("median", 0.5), ("q1", 0.25), ("q3", 0.75), ("min", 0.0), ("max", 1.0))
    }
    return {**out, **quantile, "skewness": skewness}


def _moments(values: Array, cell: Codes, n: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Mean, standard deviation and adjusted skewness of cells of sorted values."""
    mean = np.bincount(cell, weights=values, minlength=len(n)) / n
    away = values - mean[cell]
    # the rounding error of the mean, taken out
    shift = np.bincount(cell, weights=away, minlength=len(n)) / n
    mean, away = mean + shift, away - shift[cell]
    m2 = np.bincount(cell, weights=away**2, minlength=len(n))
    m3 = np.bincount(cell, weights=away**3, minlength=len(n))
    spread = _quantile(values, n, 1.0) > _quantile(values, n, 0.0)
    m2 = np.where(spread | (n == 0), m2, 0.0)
    sd = np.where(n > 1, np.sqrt(m2 / (n - 1)), np.nan)
    g1 = (m3 / n) / (m2 / n) ** 1.5
    skewness = np.where(spread & (n > 2), g1 * np.sqrt(n * (n - 1.0)) / (n - 2.0), np.nan)
    return mean, sd, skewness


def _quantile(values: Array, n: NDArray[np.int64], share: float) -> Array:
    """Quantile of each cell, of values sorted within cells."""
    if not len(values):
        return np.full(len(n), np.nan)
    start = np.cumsum(n) - n
    place = share * np.maximum(n - 1, 0)
    below = np.floor(place).astype(np.int64)
    at = np.minimum(start + below, len(values) - 1)
    above = np.minimum(at + (place > below), len(values) - 1)
    low, high = values[at], values[above]
    return np.where(n > 0, low + (place - below) * (high - low), np.nan)


def _warn_empty(factors: Sequence[Labels], part: _Part, response: str) -> None:
    empty = np.flatnonzero(part.statistics["n"] == 0)
    if not len(empty):
        return
    rows = [part.first[k][empty[0]] for k in range(len(factors))]
    where = ", ".join(
        f"{factor.name} {quote(factor.levels[factor.codes[row]])}"
        for factor, row in zip(factors, rows, strict=True)
    )
    more = f" (and {counted(len(empty) - 1, 'more cell')})" if len(empty) > 1 else ""
    warn(f"'{response}' has no values in the cell {where}{more}: all are missing", DataWarning)
