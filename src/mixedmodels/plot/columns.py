"""The user's columns as the frame a plot draws: roles, time axes, cells of time, what is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.frame import column_values
from mixedmodels.design.grouping import observed
from mixedmodels.design.levels import Numeric
from mixedmodels.design.storage import read_column
from mixedmodels.errors import DataError
from mixedmodels.explore.columns import labels, names_of
from mixedmodels.explore.columns import numbers as numbers_of
from mixedmodels.explore.columns import times as times_of
from mixedmodels.plot.theme import LONGEST, plain

if TYPE_CHECKING:
    import pandas as pd

Codes = NDArray[np.int64]

# levels that can be told apart in one plot
MOST_GROUPS = 24
# distinct times that are shown one by one, and classes made of more
MOST_TIMES, CLASSES = 40, 20
# rows and lines drawn
MOST_POINTS, MOST_ROWS, MOST_LINES = 5_000, 50_000, 300
# rows of which a density is drawn, whose cost is this times the points of the curve
MOST_DENSE = 10_000
WITH_LARGEST = "taken at random, and the largest"
# what is drawn at random is the same each time
SEED = 20211006


@dataclass(frozen=True, slots=True)
class Shown:
    """Complete rows of the columns asked for.

    Attributes
    ----------
    frame : pandas.DataFrame
        One column per role: factors as categoricals, times as numbers, dates or categoricals.
    note : str
        What was left out, empty if nothing.
    units : dict of str to str
        Unit to add to a title, by role; only durations have one.
    """

    frame: pd.DataFrame
    note: str
    units: dict[str, str]


def collect(
    data: Any,
    *,
    numbers: Mapping[str, str | None] | None = None,
    times: Mapping[str, str | None] | None = None,
    factors: Mapping[str, str | Sequence[str] | None] | None = None,
    keep_missing: Sequence[str] = (),
) -> Shown:
    """Read columns by role; roles whose column is None are left out.

    Parameters
    ----------
    data : data frame of any kind that `lmer` takes
    numbers, times, factors : mapping of role to column
        A factor may be several columns: their combinations.
    keep_missing : sequence of str
        Roles whose missing values are kept.

    Raises
    ------
    DataError
        Unknown columns, text where numbers are needed, infinite values, no complete rows.
    """
    import pandas as pd

    columns: dict[str, Any] = {}
    units: dict[str, str] = {}
    for role, name in (numbers or {}).items():
        if name is not None:
            columns[role] = numbers_of(data, name, role)
    for role, name in (times or {}).items():
        if name is not None:
            columns[role], units[role] = time_column(data, name, role)
    for role, names in (factors or {}).items():
        if names is not None:
            columns[role] = factor_column(data, names, role)
    frame = pd.DataFrame(columns, copy=False)
    needed = [role for role in columns if role not in keep_missing]
    complete = frame[needed].notna().to_numpy().all(axis=1)
    lost = len(frame) - int(complete.sum())
    if lost == len(frame):
        raise DataError(f"no rows to draw: none of the {len(frame)} has a value in every column")
    text = f"{lost:,} row{'s' if lost > 1 else ''} with a missing value left out" if lost else ""
    if lost:
        frame = frame.iloc[np.flatnonzero(complete)].reset_index(drop=True)
    return Shown(frame, text, {role: unit for role, unit in units.items() if unit})


def time_column(data: Any, name: str, role: str) -> tuple[Any, str]:
    """A time as numbers, dates or an ordered categorical, and the unit of a duration (days)."""
    import pandas as pd

    if isinstance(read_column(column_values(data, name, role), name), Numeric):
        return numbers_of(data, name, role), ""
    found = labels(data, name, role)
    if found.nature == "time":
        return _dates(found.native, name), ""
    if found.nature == "duration":
        spans = nw.from_native(found.native, series_only=True, allow_series=True).to_numpy()
        spans = pd.to_timedelta(pd.Series(spans)).to_numpy()
        return np.where(np.isnat(spans), np.nan, spans / np.timedelta64(1, "D")), "days"
    ordered = times_of(data, name, role)
    return coded(ordered.codes, distinct(ordered.levels), ordered=True), ""


def axis_column(data: Any, name: str, role: str) -> Any:
    """A column of any kind as it stands on an axis: numbers, dates or a categorical."""
    if not isinstance(read_column(column_values(data, name, role), name), Numeric):
        found = labels(data, name, role)
        if found.nature not in ("time", "duration"):
            return coded(found.codes, distinct(found.levels))
    return time_column(data, name, role)[0]


def _dates(native: Any, name: str) -> Any:
    """Dates and times of any library, by the clock on the wall where they have a zone."""
    import pandas as pd

    dtype = getattr(native, "dtype", None)
    if isinstance(dtype, pd.PeriodDtype):
        return native.dt.to_timestamp().to_numpy()
    if isinstance(dtype, pd.DatetimeTZDtype):  # narwhals does not know every zone of pandas
        return native.dt.tz_localize(None).to_numpy()
    series = nw.from_native(native, series_only=True, allow_series=True)
    if isinstance(series.dtype, nw.Datetime) and series.dtype.time_zone is not None:
        series = series.dt.replace_time_zone(None)
    try:
        return pd.to_datetime(pd.Series(series.to_numpy())).to_numpy()
    except (TypeError, ValueError):
        raise DataError(
            f"column '{name}' holds times that are not dates; convert it to numbers or dates"
        ) from None


def factor_column(data: Any, names: str | Sequence[str], role: str) -> Any:
    """Levels of a column, or combinations of the levels of several, as a categorical."""
    parts = [labels(data, name, role) for name in names_of(names, role)]
    if not parts:
        raise DataError(f"{role}= names no column")
    codes = parts[0].codes
    texts = [str(level) for level in parts[0].levels]
    for part in parts[1:]:
        width = len(part.levels)
        inside = (codes >= 0) & (part.codes >= 0)
        present, rank = observed((codes * width + part.codes)[inside], len(texts) * width)
        codes = np.full(len(codes), -1, dtype=np.int64)
        codes[inside] = rank
        texts = [f"{texts[i // width]}, {part.levels[i % width]}" for i in present.tolist()]
    return coded(codes, distinct(texts))


def coded(codes: Codes, names: Sequence[str], *, ordered: bool = False) -> Any:
    """A pandas categorical whose categories are ready to be drawn; -1 is missing."""
    import pandas as pd

    return pd.Categorical.from_codes(codes, categories=pd.Index(names), ordered=ordered)


def distinct(levels: Sequence[object], longest: int = LONGEST) -> list[str]:
    """Labels as they are drawn; those that read alike once shortened are numbered."""
    seen: dict[str, int] = {}
    out = []
    for level in levels:
        text = plain(level, longest)
        seen[text] = seen.get(text, 0) + 1
        out.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return out


def check_groups(column: Any, name: object, most: int = MOST_GROUPS) -> int:
    """Number of levels, refused when they are more than a plot can tell apart.

    Raises
    ------
    DataError
    """
    n = len(column.cat.categories)
    if n > most:
        raise DataError(
            f"by={name!r} has {n:,} levels; one plot shows at most {most}. Cut numbers into "
            "classes, or take some of the levels"
        )
    return n


# --- cells of time --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows by time, or by class of time where there are many.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
    at : ndarray or Categorical of length k
        Where each cell stands on the axis; the mean time of a class.
    labels : list of str
        What each cell is called on a discrete axis.
    note : str
        Says when times were put into classes.
    """

    codes: Codes
    at: Any
    labels: list[str]
    note: str


def cells(time: Any, most: int = MOST_TIMES) -> Cells:
    """Group the rows by time; more than `most` distinct ones are put into equal classes."""
    import pandas as pd

    if isinstance(time.dtype, pd.CategoricalDtype):
        names = time.cat.categories
        at: Any = coded(np.arange(len(names)), list(names), ordered=True)
        return Cells(time.cat.codes.to_numpy().astype(np.int64), at, list(names), "")
    values = time.to_numpy()
    levels, codes = np.unique(values, return_inverse=True)
    if len(levels) <= most:
        return Cells(codes, levels, [_time_label(v) for v in levels], "")
    dates = values.dtype.kind == "M"
    numbers = values.astype("datetime64[ns]").astype(np.int64) if dates else values
    low, high = float(numbers.min()), float(numbers.max())
    codes = np.minimum((numbers - low) * (CLASSES / (high - low)), CLASSES - 1).astype(np.int64)
    used, codes = observed(codes, CLASSES)
    centres = low + np.bincount(codes, weights=numbers - low) / np.bincount(codes)
    at = centres.astype(np.int64).astype("datetime64[ns]") if dates else centres
    names = distinct([_time_label(v, digits=3) for v in at])
    return Cells(codes, at, names, f"{len(levels):,} distinct times in {len(used)} classes")


def _time_label(value: Any, digits: int = 12) -> str:
    if isinstance(value, np.datetime64):
        text = np.datetime_as_string(value, unit="m")
        return str(text.removesuffix("T00:00").replace("T", " "))
    return f"{float(value):.{digits}g}"


def spacing(at: Any) -> float:
    """Least distance between cells in the units of the drawn axis: days for dates, else one."""
    import pandas as pd

    if isinstance(at, pd.Categorical) or len(at) < 2:
        return 1.0
    if at.dtype.kind == "M":
        return float(np.diff(np.sort(at)).min() / np.timedelta64(1, "D"))
    return float(np.diff(np.sort(at)).min())


# --- how much is drawn ----------------------------------------------------------------------------


def some_rows(n: int, most: int, extremes: Array | None = None) -> NDArray[np.intp]:
    """At most `most` of n rows: a random sample, and with it the rows that are farthest out.

    Parameters
    ----------
    extremes : ndarray of shape (n,), optional
        A fiftieth of those drawn are the rows where its size is greatest.
    """
    if n <= most:
        return np.arange(n)
    chosen = np.random.default_rng(SEED).choice(n, most, replace=False)
    if extremes is None:
        return np.sort(chosen)
    k = max(1, most // 50)
    largest = np.argpartition(np.abs(extremes), n - k)[n - k :]
    others = chosen[~np.isin(chosen, largest)]
    return np.sort(np.concatenate([largest, others[: most - k]]))


def sample_note(drawn: int, n: int, what: str = "rows", how: str = "taken at random") -> str:
    """Says how many of how many are drawn, empty if all are."""
    return "" if drawn >= n else f"{drawn:,} of {n:,} {what} drawn, {how}"


def some_lines(line: Codes, panel: Codes, most: int) -> tuple[NDArray[np.bool_], int, int]:
    """Rows of at most `most` lines, shared evenly among the panels.

    Returns
    -------
    ndarray of bool, int, int
        Rows to draw; lines drawn; lines there are.
    """
    n_lines = int(line.max()) + 1
    if n_lines <= most:
        return np.ones(len(line), bool), n_lines, n_lines
    home = np.zeros(n_lines, dtype=np.int64)
    home[line] = panel
    order = np.random.default_rng(SEED).permutation(n_lines)
    order = order[np.argsort(home[order], kind="stable")]
    counts = np.bincount(home)
    rank = np.arange(n_lines) - np.repeat(np.cumsum(counts) - counts, counts)
    share = -(-most // len(counts))
    chosen = np.zeros(n_lines, bool)
    chosen[order[rank < share]] = True
    return chosen[line], int(chosen.sum()), n_lines


def cell_means(values: Array, codes: Codes, n_cells: int) -> tuple[Codes, Array, Array]:
    """Count, mean and standard deviation per cell; nan where there are too few values."""
    n = np.bincount(codes, minlength=n_cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.bincount(codes, weights=values, minlength=n_cells) / n
        square = np.bincount(codes, weights=(values - mean[codes]) ** 2, minlength=n_cells)
        sd = np.sqrt(np.where(n > 1, square / (n - 1), np.nan))
    return n, mean, sd
