"""Columns of a data set with their missing values kept, as every table of exploration reads them.

Unlike `design.frame.read`, which keeps the rows that are complete in all columns, each column here
keeps its own gaps: they are part of what is explored.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.frame import FrameKind, column_values, frame_kind, snapshot
from mixedmodels.design.grouping import observed
from mixedmodels.design.levels import Level, Numeric, make_factor, rank_of
from mixedmodels.design.storage import read_column
from mixedmodels.errors import ArgumentError, DataError, DataWarning, warn

Codes = NDArray[np.int64]

# numbers whose third powers, summed, are representable
LARGEST, SMALLEST = 1e100, 1e-100


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """A column of labels: subjects, times or groups.

    Attributes
    ----------
    name : str
    codes : ndarray of int, shape (n_rows,)
        Index into `levels`, -1 where there is no value.
    levels : tuple
        Those that some row has: in the user's order where one was given, else sorted.
    unused : tuple
        Declared levels that no row has.
    native : series or None
        The column as the frame holds it.
    nature : str
        ``"number"``, ``"text"``, ``"category"``, ``"time"`` or ``"duration"``.
    ordered : bool
        The levels were declared to be ordered.
    """

    name: str
    codes: Codes
    levels: tuple[Level, ...]
    unused: tuple[Level, ...]
    native: Any
    nature: str
    ordered: bool

    @property
    def first_rows(self) -> NDArray[np.intp]:
        """The first row of each level."""
        return first_rows(self.codes, len(self.levels))

    def values(self) -> list[Any]:
        """The levels as Python values of the column's own type, such as dates."""
        if self.native is None:
            return list(self.levels)
        rows = take(self.native, self.first_rows)
        return list(nw.from_native(rows, series_only=True).to_list())


def open_frame(data: Any) -> tuple[Any, FrameKind]:
    """The native frame and its kind.

    Raises
    ------
    TypeError, DataError
        Not a data frame, or one without rows.
    """
    frame = snapshot(data)
    if len(frame) == 0:
        raise DataError("data has 0 rows")
    return frame, frame_kind(frame)


def names_of(given: str | Sequence[str] | None, role: str) -> list[str]:
    """Column names of an argument that takes one or several.

    Raises
    ------
    ArgumentError
    """
    if given is None:
        return []
    names = [given] if isinstance(given, str) else list(given)
    for name in names:
        if not isinstance(name, str):
            raise ArgumentError(f"{role} takes names of columns, not {name!r}")
    return list(dict.fromkeys(names))


def distinct_roles(**roles: str | None) -> None:
    """Refuse one column in two roles.

    Raises
    ------
    DataError
    """
    seen: dict[str, str] = {}
    for role, name in roles.items():
        if name is None:
            continue
        if not isinstance(name, str):
            raise ArgumentError(f"{role} takes the name of a column, not {name!r}")
        if name in seen:
            raise DataError(f"column '{name}' is given twice, as {seen[name]}= and as {role}=")
        seen[name] = role


def numbers(frame: Any, name: str, role: str) -> Array:
    """A column as float64, NaN where there is no value.

    Raises
    ------
    DataError
        No such column, not numbers, infinite values, or of an order whose powers cannot be
        represented.
    """
    raw = read_column(column_values(frame, name, role), name)
    if not isinstance(raw, Numeric):
        shown = ", ".join(repr(level) for level in raw.levels[:3])
        raise DataError(
            f"column '{name}' (for {role}=) must hold numbers, but it holds {raw.nature} values "
            f"such as {shown}: convert it, for example with pd.to_numeric "
            "(Polars: .cast(pl.Float64))"
        )
    if raw.infinite.size:
        raise DataError(
            f"column '{name}' has {counted(raw.infinite.size, 'infinite value')} (first at row "
            f"{int(raw.infinite[0])}): drop or mend"
        )
    values = np.array(raw.values, dtype=np.float64)
    if raw.missing is not None:
        values[raw.missing] = np.nan
    largest = float(np.nanmax(np.abs(values), initial=0.0))
    if largest > LARGEST or 0.0 < largest < SMALLEST:
        raise DataError(
            f"column '{name}' is of the order {largest:.0e}: its powers cannot be represented. "
            "Change its unit, for example divide it by its standard deviation"
        )
    return values


def labels(frame: Any, name: str, role: str) -> Labels:
    """A column as labels.

    Raises
    ------
    DataError
        No such column, infinite values, or no value at all.
    """
    native = column_values(frame, name, role)
    raw = read_column(native, name)
    if isinstance(raw, Numeric):
        if raw.infinite.size:
            raise DataError(
                f"column '{name}' has {counted(raw.infinite.size, 'infinite value')} (first at row "
                f"{int(raw.infinite[0])}): drop or mend"
            )
        missing = raw.missing
        declared: tuple[Level, ...] = ()
    else:
        missing = raw.codes < 0 if (raw.codes < 0).any() else None
        declared = raw.levels
    if missing is not None and missing.all():
        raise DataError(f"column '{name}' (for {role}=) has no values: all its rows are missing")
    factor = make_factor(raw, None if missing is None else ~missing)
    codes = factor.codes
    if missing is not None:
        codes = np.full(len(missing), -1, np.int64)
        codes[~missing] = factor.codes
    used = set(factor.levels)
    unused = tuple(level for level in declared if level not in used)
    nature = "number" if isinstance(raw, Numeric) else raw.nature
    return Labels(name, codes, factor.levels, unused, native, nature, factor.ordered)


def times(frame: Any, name: str, role: str = "time") -> Labels:
    """A column of times in their order.

    Numbers, dates and categories have an order. Text that reads as numbers is ordered as numbers,
    other text alphabetically; both are said by a `DataWarning`.
    """
    found = labels(frame, name, role)
    if found.nature not in {"text", "category"} or found.ordered:
        return found
    values = _as_numbers(found.levels)
    if values is None:
        if found.nature == "text":
            shown = ", ".join(repr(level) for level in found.levels[:5])
            more = ", ..." if len(found.levels) > 5 else ""
            warn(
                f"column '{name}' (for {role}=) holds text, not numbers or dates: its times are "
                f"taken in alphabetical order ({shown}{more}). Convert it to numbers, or to a "
                "category with the order wanted",
                DataWarning,
            )
        return found
    if found.nature == "text":
        warn(
            f"column '{name}' (for {role}=) holds numbers as text; its times are ordered as "
            "numbers. Convert it, for example with pd.to_numeric (Polars: .cast(pl.Float64))",
            DataWarning,
        )
    order = np.argsort(values, kind="stable")
    codes = rank_of(order)[found.codes]
    return replace(found, codes=codes, levels=tuple(found.levels[i] for i in order))


def restrict(found: Labels, keep: NDArray[np.bool_]) -> Labels:
    """The same labels on some rows only; levels that none of them has are dropped."""
    codes = np.where(keep, found.codes, -1)
    used = np.unique(codes[codes >= 0])
    # one entry more, which keeps the code -1 at -1
    rank = np.full(len(found.levels) + 1, -1)
    rank[used] = np.arange(len(used))
    return replace(found, codes=rank[codes], levels=tuple(found.levels[i] for i in used))


def take(native: Any, rows: NDArray[np.integer[Any]]) -> Any:
    """Values of a native column at some rows, no value where the row is -1."""
    library = type(native).__module__.partition(".")[0]
    if library == "polars":
        import polars as pl

        places = pl.Series(rows, dtype=pl.Int64)
        return native.gather(places.set(places < 0, None))
    if library == "pyarrow":
        import pyarrow as pa

        return native.take(pa.array(rows, mask=rows < 0))
    native = native.reset_index(drop=True)
    if getattr(native.dtype, "byteorder", "=") == ">":  # pandas cannot select from these
        native = native.astype(native.dtype.newbyteorder("="))
    if (rows < 0).any():
        return native.reindex(rows).reset_index(drop=True)
    return native.take(rows).reset_index(drop=True)


# --- rows and cells -------------------------------------------------------------------------------


def first_rows(codes: Codes, n_levels: int) -> NDArray[np.intp]:
    """The first row of each level; codes below zero count for none."""
    rows = np.flatnonzero(codes >= 0)[::-1]
    first = np.full(n_levels, -1, np.intp)
    first[codes[rows]] = rows
    return first


def cells(factors: Sequence[Labels], n_rows: int) -> tuple[Codes, int]:
    """Codes of the observed combinations, the last column fastest; -1 where one has no value."""
    inside = np.ones(n_rows, bool)
    for factor in factors:
        inside &= factor.codes >= 0
    combined, count = np.zeros(int(np.count_nonzero(inside)), np.int64), 1
    for factor in factors:
        width = len(factor.levels)
        present, combined = observed(combined * width + factor.codes[inside], count * width)
        count = len(present)
    codes = np.full(n_rows, -1, np.int64)
    codes[inside] = combined
    return codes, count if inside.any() else 0


@dataclass(frozen=True, slots=True, eq=False)
class Repeats:
    """Subjects with several rows at one time.

    Attributes
    ----------
    subjects, times : ndarray of int
        Codes of the pairs.
    rows : ndarray of int
        Number of rows of each.
    """

    subjects: Codes
    times: Codes
    rows: Codes

    def __len__(self) -> int:
        return len(self.rows)

    def describe(self, ids: Labels, at: Labels) -> str:
        """The first of them, in words."""
        subject, time = ids.levels[self.subjects[0]], at.levels[self.times[0]]
        more = f" (and {counted(len(self) - 1, 'more such pair')})" if len(self) > 1 else ""
        return (
            f"{ids.name} {quote(subject)} has {self.rows[0]} rows at {at.name} {quote(time)}{more}"
        )


def repeats(ids: Labels, at: Labels, keep: NDArray[np.bool_] | None = None) -> Repeats:
    """Find subjects with several rows at one time, among the rows to keep."""
    inside = (ids.codes >= 0) & (at.codes >= 0)
    if keep is not None:
        inside &= keep
    width = len(at.levels)
    combined = ids.codes[inside] * width + at.codes[inside]
    present, rank = observed(combined, len(ids.levels) * width)
    counts = np.bincount(rank, minlength=len(present))
    many = counts > 1
    return Repeats(present[many] // width, present[many] % width, counts[many])


def warn_unplaced(factors: Sequence[Labels], what: str) -> None:
    """Warn of rows without a value in the columns that say where they belong."""
    lost = [
        f"{counted(int(count), 'row')} without {factor.name}"
        for factor in factors
        if (count := np.count_nonzero(factor.codes < 0))
    ]
    if lost:
        warn(f"{what}: {', '.join(lost)}", DataWarning)


def warn_unobserved(ids: Labels, seen: NDArray[np.bool_], what: str) -> None:
    """Warn of subjects without a row among those seen."""
    inside = seen & (ids.codes >= 0)
    counts = np.bincount(ids.codes[inside], minlength=len(ids.levels))
    lost = [ids.levels[i] for i in np.flatnonzero(counts == 0)]
    if lost:
        warn(
            f"{counted(len(lost), 'subject')} without any value{what}: {listed(lost)}", DataWarning
        )


def quote(level: object) -> str:
    """A level as messages show it."""
    text = f"{level:g}" if isinstance(level, float) else str(level)
    return f"'{text}'" if isinstance(level, str) else text


def listed(levels: Collection[Any], most: int = 5) -> str:
    """The first of some levels, and how many more there are."""
    shown = ", ".join(quote(level) for level in list(levels)[:most])
    return shown + (f" and {len(levels) - most} more" if len(levels) > most else "")


def counted(n: int, noun: str) -> str:
    """A number and its noun, which takes an s unless there is one."""
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _as_numbers(levels: Sequence[Level]) -> Array | None:
    try:
        return np.array([float(level) for level in levels])
    except ValueError:
        return None
