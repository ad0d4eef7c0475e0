"""Between wide data (a column per time) and long data (a row per time): `to_long`, `to_wide`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.design.frame import FrameKind, column_values
from mixedmodels.design.levels import Numeric, rank_of
from mixedmodels.design.storage import read_column
from mixedmodels.errors import ArgumentError, DataError, DataWarning, warn
from mixedmodels.explore.columns import (
    Labels,
    cells,
    counted,
    first_rows,
    labels,
    listed,
    names_of,
    open_frame,
    repeats,
    take,
    times,
)
from mixedmodels.explore.time_names import (
    Time,
    TimeName,
    common_type,
    parse_name,
    parse_names,
    signed,
    text_of,
)
from mixedmodels.memory import check_memory


@dataclass(frozen=True, slots=True)
class _Measure:
    """One measure of wide data.

    Attributes
    ----------
    name : str
        Of its column in the long data.
    columns : dict of time to str
        Its wide columns.
    """

    name: str
    columns: dict[Time, str]


@checked
def to_long(
    data: Any,
    *,
    id: str | Sequence[str],  # noqa: A002 - the word of the field
    time: str = "time",
    value: str | Sequence[str] = "value",
    columns: Sequence[str] | Mapping[str, Any] | str | None = None,
) -> Any:
    """Wide data to long: one row per subject and time.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        A row per subject, a column per time (and measure). Never changed.
    id : str or sequence of str
        Columns that name the subjects.
    time : str, default "time"
        Name of the new column of times. Times are read out of the column names: numbers in
        ``BW0``, ``BW.7``, ``bw_day21``, ``weight 3 days``, ``T1_BW`` or ``2019``, dates in
        ``BW_2019-01-31``.
    value : str or sequence of str, default "value"
        Name of the new column of values; with several measures in the data, which of them (as their
        column names begin), each a column of its own.
    columns : sequence of str, mapping of str to time, or str, optional
        The columns that hold values: their names, or their names and times, or what their names
        begin with. By default all whose names differ only in a time, unless the data hold several
        such families.

    Returns
    -------
    frame
        In the kind of `data`: id, the other columns (repeated), time, value. Rows follow the
        subjects, times ascending; a missing value keeps its row. Times are integers where all are
        whole, else floats, or dates.

    Raises
    ------
    TypeError, DataError
        Not a data frame or no rows; unknown columns; no column with a time, or several families of
        them; two columns of one time; columns of numbers mixed with columns of text; new names that
        the data use already.

    Warns
    -----
    DataWarning
        An id that occurs in several rows.

    Examples
    --------
    >>> import pandas as pd
    >>> import mixedmodels as mm
    >>> wide = pd.DataFrame({"pig": ["a", "b"], "diet": [1, 2], "BW0": [6.1, 7.3], "BW7": [7, 8.5]})
    >>> mm.to_long(wide, id="pig", time="day", value="BW")
      pig  diet  day   BW
    0   a     1    0  6.1
    1   a     1    7  7.0
    2   b     2    0  7.3
    3   b     2    7  8.5
    """
    ids = names_of(id, "id")
    frame, kind = _with_text_names(data, ids)
    if not ids:
        raise DataError("id= names no column")
    for name in ids:
        column_values(frame, name, "id")
    every = nw.from_native(frame, eager_only=True).columns
    measures = _measures([name for name in every if name not in ids], value, columns, every)
    used = {name for measure in measures for name in measure.columns.values()}
    kept = [*ids, *(name for name in every if name not in used and name not in ids)]
    at = _ordered(list(dict.fromkeys(t for measure in measures for t in measure.columns)))
    _check_new([time, *(measure.name for measure in measures)], kept)
    _warn_repeated(frame, ids)

    n = len(frame)
    rows = np.repeat(np.arange(n), len(at))
    out: dict[str, Any] = {name: take(frame[name], rows) for name in kept}
    out[time] = nw.new_series(time, _cells_of(at, kind) * n, backend=kind).to_native()
    for measure in measures:
        out[measure.name] = _stacked(frame, measure, at)
    return nw.from_dict(out, backend=kind).to_native()


@checked
def to_wide(
    data: Any,
    *,
    id: str | Sequence[str],  # noqa: A002
    time: str = "time",
    value: str | Sequence[str] = "value",
    separator: str = "_",
) -> Any:
    """Long data to wide: one row per subject, one column per time.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        A row per subject and time. Never changed.
    id : str or sequence of str
        Columns that name the subjects.
    time : str, default "time"
        Column of times.
    value : str or sequence of str, default "value"
        Columns to spread over the times.
    separator : str, default "_"
        Between the name of the value and the time: ``BW_7``.

    Returns
    -------
    frame
        In the kind of `data`: id, the columns that do not vary within subjects, a column for each
        value and time, times ascending. Subjects keep the order of their first rows. Combinations
        that do not occur are missing.

    Raises
    ------
    TypeError, DataError
        Not a data frame or no rows; unknown columns; several rows of a subject at one time; rows
        without id or time; new names that the data use already.

    Warns
    -----
    DataWarning
        Columns that vary within subjects, which are left out; times that are text.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> mm.to_wide(piglets, id="animal", time="time", value="BW").head(2)
      animal treatm  BW_0  BW_7  BW_14  BW_21
    0  58833      5   6.6   8.4    9.7   13.6
    1  58838      5   7.3  10.0   12.7   16.4
    """
    ids, values = names_of(id, "id"), names_of(value, "value")
    frame, kind = _with_text_names(data, ids)
    if not ids or not values:
        raise DataError(f"{'id' if not ids else 'value'}= names no column")
    for name in values:
        column_values(frame, name, "value")
    both = sorted({*ids, time} & set(values)) or sorted({*ids} & {time})
    if both:
        raise DataError(f"column '{both[0]}' is given in two roles, of id=, time= and value=")
    at, subjects = times(frame, time), _subjects([labels(frame, name, "id") for name in ids])
    for found in (subjects, at):
        lost = int(np.count_nonzero(found.codes < 0))
        if lost:
            raise DataError(f"{counted(lost, 'row')} without a value in '{found.name}': drop them")
    place = _place(subjects, at)
    every = nw.from_native(frame, eager_only=True).columns
    constant = _constant(frame, [n for n in every if n not in {*ids, *values, time}], subjects)
    out: dict[str, Any] = {name: take(frame[name], subjects.first_rows) for name in ids}
    out |= {name: take(frame[name], rows) for name, rows in constant.items()}
    for name in values:
        for j, label in enumerate(at.values()):
            new = f"{name}{separator}{text_of(label)}"
            if new in out:
                raise DataError(f"the new column '{new}' is in the data already; rename it")
            out[new] = take(frame[name], place[:, j])
    return nw.from_dict(out, backend=kind).to_native()


# --- which columns hold values --------------------------------------------------------------------


def _measures(
    names: list[str],
    value: str | Sequence[str],
    columns: Sequence[str] | Mapping[str, Any] | str | None,
    every: list[str],
) -> list[_Measure]:
    """The measures and their columns by time; see `to_long`."""
    if isinstance(columns, Mapping):
        return [_measure(_one_name(value), [TimeName(n, "", "", t) for n, t in columns.items()])]
    if isinstance(columns, str):
        found = [_without(columns, name) for name in names if name.startswith(columns)]
        if not found:
            raise DataError(f"no column name begins with '{columns}'; {_columns_are(every)}")
        return [_measure(_one_name(value), found)]
    if columns is not None:
        found = [_parsed(name) for name in columns]
        if isinstance(value, str):
            return [_measure(value, found)]
        families = parse_names(columns)
    else:
        families = {stem: f for stem, f in parse_names(names).items() if len(f) > 1}
    if not families:
        raise DataError(
            f"no two columns whose names differ only in a time, as BW0 and BW7 do; "
            f"{_columns_are(every)}. Say which they are with columns=, as names, or as names and "
            "times: columns={'first': 0, 'second': 7}"
        )
    if not isinstance(value, str):
        return [_measure(name, _family(families, name)) for name in value]
    if len(families) == 1:
        return [_measure(value, next(iter(families.values())))]
    return [_measure(value, _family(families, value))]


def _family(families: dict[str, list[TimeName]], name: str) -> list[TimeName]:
    if name in families:
        return families[name]
    shown = "; ".join(
        f"'{stem}': {', '.join(f.name for f in family[:3])}{', ...' if len(family) > 3 else ''}"
        for stem, family in list(families.items())[:6]
    )
    raise DataError(
        f"no family of columns is called '{name}'. The data hold {len(families)} ({shown}): name "
        "one of them in value=, or several as a list, or give the columns in columns="
    )


def _without(prefix: str, name: str) -> TimeName:
    """The time in a column name behind a prefix."""
    found = _parsed(name[len(prefix) :], name)
    return TimeName(name, "", found.unit, found.time, found.dashed)


def _parsed(text: str, name: str | None = None) -> TimeName:
    if not isinstance(text, str):
        raise ArgumentError(f"columns= takes names of columns, not {text!r}")
    found = parse_name(text)
    if found is None:
        raise DataError(
            f"the column name '{name or text}' holds no time; give names and times: columns={{"
            f"'{name or text}': 7, ...}}"
        )
    return found


def _one_name(value: str | Sequence[str]) -> str:
    names = names_of(value, "value")
    if len(names) != 1:
        raise DataError(f"these columns= are one measure: value= takes one name, not {names}")
    return names[0]


def _measure(name: str, found: list[TimeName]) -> _Measure:
    """A measure from its columns.

    Raises
    ------
    DataError
        Times twice, times in different units, or numbers mixed with dates.
    """
    found = signed(found)
    units = sorted({f.unit for f in found})
    if len(units) > 1:
        few = [next(f.name for f in found if f.unit == unit) for unit in units]
        raise DataError(
            f"the columns of '{name}' give times in different units ({listed(few)}): give names "
            "and times in columns="
        )
    kinds = {isinstance(f.time, int | float) for f in found}
    if len(kinds) > 1:
        raise DataError(f"the columns of '{name}' mix times of different kinds: give columns=")
    columns: dict[Time, str] = {}
    for f, at in zip(found, common_type([f.time for f in found]), strict=True):
        if at in columns:
            raise DataError(
                f"columns '{columns[at]}' and '{f.name}' both hold '{name}' at time {text_of(at)}"
            )
        columns[at] = f.name
    return _Measure(name, columns)


def _columns_are(every: list[str]) -> str:
    return f"the columns are: {listed(every, 20)}"


def _ordered(at: list[Time]) -> list[Time]:
    """Times ascending; text in the order given."""
    at = common_type(at)
    return at if any(isinstance(t, str) for t in at) else sorted(at)


def _cells_of(at: list[Time], kind: FrameKind) -> list[Time]:
    """Times as the frame's library stores them: pandas has no dates, only times of day."""
    if kind != "pandas":
        return at
    return [datetime(t.year, t.month, t.day) if type(t) is date else t for t in at]


def _stacked(frame: Any, measure: _Measure, at: list[Time]) -> Any:
    """The values of one measure, all times of the first row first."""
    n = len(frame)
    names = list(measure.columns.values())
    for name in names:
        column_values(frame, name, "columns")
    _check_alike(frame, names)
    stacked = nw.from_native(frame, eager_only=True).unpivot(on=names, value_name="value")
    order = {time: i for i, time in enumerate(measure.columns)}
    start = np.array([order.get(time, -1) for time in at])
    rows = np.where(start >= 0, start * n + np.arange(n)[:, None], -1)
    return take(stacked["value"].to_native(), rows.ravel())


def _check_alike(frame: Any, names: list[str]) -> None:
    """Numbers and text in one measure: some column was read wrongly."""
    text = [n for n in names if not isinstance(read_column(frame[n], n), Numeric)]
    if text and len(text) < len(names):
        raise DataError(
            f"column{'s' if len(text) > 1 else ''} {listed(text)} do{'es' * (len(text) == 1)} not "
            f"hold numbers, as {listed([n for n in names if n not in text], 3)} do: convert, for "
            "example with pd.to_numeric (Polars: .cast(pl.Float64))"
        )


def _check_new(new: list[str], kept: list[str]) -> None:
    for i, name in enumerate(new):
        if name in kept or name in new[:i]:
            raise DataError(
                f"the new column '{name}' would be there twice: choose another name with time= or "
                "value=, or rename the column of the data"
            )


# --- subjects -------------------------------------------------------------------------------------


def _with_text_names(data: Any, ids: list[str]) -> tuple[Any, FrameKind]:
    """The frame with names that are text; ids that a pandas index holds become columns."""
    frame, kind = open_frame(data)
    if kind == "pandas":
        if any(name in frame.index.names for name in ids if name not in frame.columns):
            frame = frame.reset_index()
        frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
        twice = frame.columns[frame.columns.duplicated()]
        if len(twice):
            raise DataError(f"column '{twice[0]}' occurs several times; rename or drop the others")
    return frame, kind


def _subjects(keys: list[Labels]) -> Labels:
    """Subjects in the order of their first rows, -1 where a part of the id is missing."""
    codes, count = cells(keys, len(keys[0].codes))
    first = first_rows(codes, count)
    order = np.argsort(first)
    parts = [tuple(key.levels[key.codes[row]] for key in keys) for row in first[order]]
    levels = tuple(p[0] if len(p) == 1 else ", ".join(map(str, p)) for p in parts)
    name = ", ".join(key.name for key in keys)
    return replace(keys[0], name=name, codes=rank_of(order)[codes], levels=levels)


def _warn_repeated(frame: Any, ids: list[str]) -> None:
    subjects = _subjects([labels(frame, name, "id") for name in ids])
    rows = np.bincount(subjects.codes[subjects.codes >= 0], minlength=len(subjects.levels))
    many = np.flatnonzero(rows > 1)
    if len(many):
        shown = listed([subjects.levels[i] for i in many])
        warn(
            f"{counted(len(many), 'subject')} with several rows ({subjects.name} {shown}): the "
            "long data will have several rows of a subject at one time",
            DataWarning,
        )


def _place(subjects: Labels, at: Labels) -> NDArray[np.int64]:
    """Row of each subject at each time, -1 where there is none."""
    twice = repeats(subjects, at)
    if len(twice):
        raise DataError(
            f"{twice.describe(subjects, at)}: a cell of wide data holds one value. Average or drop "
            "the repeats, or name what tells them apart in id="
        )
    shape = len(subjects.levels), len(at.levels)
    check_memory(16.0 * shape[0] * shape[1], f"{shape[0]:,} subjects at {shape[1]:,} times")
    place = np.full(shape, -1, np.int64)
    place[subjects.codes, at.codes] = np.arange(len(at.codes))
    return place


def _constant(frame: Any, names: list[str], subjects: Labels) -> dict[str, NDArray[np.intp]]:
    """Columns with at most one value per subject, and the rows that hold it."""
    constant, varying = {}, []
    for name in names:
        codes = _codes(frame[name], name)
        known = np.where(codes >= 0, subjects.codes, -1)
        first = first_rows(known, len(subjects.levels))
        if (codes[first][known] == codes)[known >= 0].all():
            constant[name] = np.where(first >= 0, first, subjects.first_rows)
        else:
            varying.append(name)
    if varying:
        warn(
            f"columns that vary within {subjects.name} are left out: {listed(varying)}; name them "
            "in value= to keep them",
            DataWarning,
        )
    return constant


def _codes(native: Any, name: str) -> NDArray[np.int64]:
    """Equal values have equal codes; -1 where there is none."""
    raw = read_column(native, name)
    if not isinstance(raw, Numeric):
        return raw.codes.astype(np.int64)
    codes = np.unique(raw.values, return_inverse=True)[1].astype(np.int64)
    if raw.missing is not None:
        codes[raw.missing] = -1
    return codes
