"""The only door to data frames: complete rows of named columns in, frames of the same kind out.

`read` takes a pandas, Polars or PyArrow frame (or a dict of columns) and gives float64 arrays and
factors on the rows that have a value in every column used. How a column is stored is the business
of `storage`. Frames come out through narwhals; we use its ``stable.v2`` interface because narwhals
promises not to break that one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias

import narwhals.stable.v2 as nw
import numpy as np
from narwhals import dependencies as libraries
from numpy.typing import ArrayLike, NDArray

from mixedmodels.design.levels import Coded, Factor, Numeric, make_factor
from mixedmodels.design.storage import read_column
from mixedmodels.errors import ArgumentError, DataError, DataWarning, warn

FrameKind: TypeAlias = Literal["pandas", "polars", "pyarrow"]

# More distinct values than this, all numbers: surely a covariate read as text by mistake.
_MOST_LEVELS_OF_NUMERIC_TEXT = 20
# beyond it not every whole number is a 64-bit float
WHOLE = 2.0**53


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The columns a model uses, on complete rows.

    Arrays may be views of the user's data: they are never written to.

    Parameters
    ----------
    numbers : dict of str to ndarray of float64, shape (n,)
        Numeric columns, in the user's units; True is 1.
    factors : dict of str to Factor
        Text, categorical and forced-categorical columns.
    groups : dict of str to Factor
        Grouping columns.
    arrays : dict of str to ndarray of float64, shape (n,)
        Extra row-wise arrays such as weights.
    n_rows, n : int
        Rows of the data, and complete ones among them.
    complete : ndarray of bool, shape (n_rows,), or None
        Which rows are complete; None when all are.
    missing : dict of str to int
        Missing values by column or array; only those that have some.
    index : pandas.Index or None
        Row labels of all rows; None when rows have only numbers.
    """

    numbers: dict[str, NDArray[np.float64]]
    factors: dict[str, Factor]
    groups: dict[str, Factor]
    arrays: dict[str, NDArray[np.float64]]
    n_rows: int
    n: int
    complete: NDArray[np.bool_] | None
    missing: dict[str, int]
    index: Any

    def row_labels(self, positions: ArrayLike) -> list[Any]:
        """Labels of complete rows as the user sees them, for messages.

        Parameters
        ----------
        positions : array-like of int
            Positions among the complete rows.

        Returns
        -------
        list
            pandas index labels, else row numbers of the data, from 0.
        """
        rows = np.atleast_1d(np.asarray(positions, dtype=np.intp))
        if self.complete is not None:
            rows = np.flatnonzero(self.complete)[rows]
        return rows.tolist() if self.index is None else list(self.index[rows].tolist())


def read(
    data: object,
    variables: Sequence[str],
    *,
    categorical: Collection[str] = (),
    grouping: Collection[str] = (),
    arrays: Mapping[str, ArrayLike] | None = None,
    what: str = "data",
) -> Columns:
    """Read the columns a model uses and keep the rows complete in all of them.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        Never changed.
    variables : sequence of str
        Response and covariates. A numeric one becomes numbers, any other a factor.
    categorical : collection of str
        Covariates to be factors although they are numeric.
    grouping : collection of str
        Columns whose levels are groups. One that is also in `variables` is read in both ways.
    arrays : mapping of str to array-like of shape (n_rows,), optional
        Further row-wise numbers, such as weights; NaN counts as missing.
    what : str
        Name of `data` in messages.

    Returns
    -------
    Columns

    Raises
    ------
    ArgumentError
        When `data` is not a data frame.
    DataError
        When a column is unknown, ambiguous, infinite or of unusable type, when an array has the
        wrong length, or when no complete row is left.

    Examples
    --------
    >>> columns = read({"y": [1.0, None, 3.0], "g": ["b", "a", "b"]}, ["y"], grouping=["g"])
    >>> columns.numbers["y"], columns.groups["g"].levels, columns.missing
    (array([1., 3.]), ('b',), {'y': 1})
    """
    frame, kind = _open(data, what)
    names = list(dict.fromkeys([*variables, *categorical, *grouping]))
    check_names(names, _column_names(frame, kind), what)
    n_rows = len(frame)
    if n_rows == 0:
        raise DataError(f"{what} has 0 rows")
    index = frame.index if kind == "pandas" else None

    raw = {name: read_column(frame[name], name) for name in names}
    extra = {name: _read_array(value, name, frame, what) for name, value in (arrays or {}).items()}
    _check_finite(raw, index, "column ")
    _check_finite(extra, index, "")
    complete, missing = _complete_rows([*raw.items(), *extra.items()], n_rows, what)

    covariates = [name for name in names if name in variables or name in categorical]
    number_names = [n for n in covariates if isinstance(raw[n], Numeric) and n not in categorical]
    factor_names = [
        n
        for n in covariates
        if n in categorical
        or (
            isinstance(raw[n], Coded) and _is_covariate(raw[n], n, frame[n], is_group=n in grouping)
        )
    ]
    made = {name: make_factor(raw[name], complete) for name in {*factor_names, *grouping}}
    return Columns(
        numbers={name: _floats(raw[name], complete, name) for name in number_names},
        factors={name: made[name] for name in factor_names},
        groups={name: made[name] for name in grouping},
        arrays={name: _floats(column, complete, name) for name, column in extra.items()},
        n_rows=n_rows,
        n=n_rows if complete is None else int(np.count_nonzero(complete)),
        complete=complete,
        missing=missing,
        index=index,
    )


# --- the frame and its names ----------------------------------------------------------------------


def frame_kind(data: object) -> FrameKind:
    """Which library's frames go with `data`; a dict of columns counts as pandas.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns

    Returns
    -------
    {"pandas", "polars", "pyarrow"}

    Raises
    ------
    ArgumentError
        When `data` is not a data frame.
    """
    return _open(data, "data", build=False)[1]


def _open(data: object, what: str, *, build: bool = True) -> tuple[Any, FrameKind]:
    """Give the native frame and its kind; a dict becomes a pandas frame when `build` is true."""
    if isinstance(data, nw.DataFrame):
        data = data.to_native()
    if libraries.is_pandas_dataframe(data):
        return data, "pandas"
    if libraries.is_polars_dataframe(data):
        return data, "polars"
    if libraries.is_pyarrow_table(data):
        return data, "pyarrow"
    if isinstance(data, Mapping):
        return (_from_dict(data, what) if build else data), "pandas"
    found = f"{type(data).__module__.partition('.')[0]}.{type(data).__name__}"
    hint = "; call .collect() first" if hasattr(data, "collect") else ""
    raise ArgumentError(
        f"{what} must be a pandas or Polars DataFrame, a PyArrow Table or a dict of columns, "
        f"not {found.removeprefix('builtins.')}{hint}"
    )


def _from_dict(data: Mapping[Any, Any], what: str) -> Any:
    import pandas as pd

    # Only the values of a Series count: rows are matched by position, never by index.
    columns = {name: getattr(value, "array", value) for name, value in data.items()}
    for name, value in columns.items():
        dimensions = getattr(value, "ndim", 1 if hasattr(value, "__len__") else 0)
        if dimensions == 0 or isinstance(value, str | bytes):
            raise DataError(f"column '{name}' of {what} is a single value, not a column of values")
        if dimensions > 1:
            raise DataError(f"column '{name}' of {what} has {dimensions} dimensions; give it one")
    lengths = {name: len(value) for name, value in columns.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
        raise DataError(f"the columns of {what} differ in length: {_shorten(shown)}")
    return pd.DataFrame(columns, copy=False)


def column_names(data: object) -> tuple[str, ...]:
    """Names of the columns of a frame, those that are text."""
    frame, kind = _open(data, "data", build=False)
    if isinstance(frame, Mapping):
        return tuple(str(name) for name in frame)
    return tuple(name for name in _column_names(frame, kind) if isinstance(name, str))


def column_values(data: object, name: str, role: str, what: str = "data") -> Any:
    """One column as the frame holds it.

    Raises
    ------
    DataError
        When there is none of that name, or more than one; the message says what it was for.
    """
    frame, kind = _open(data, "data")
    check_names([name], _column_names(frame, kind), f"{what} (for {role}=)")
    return frame[name]


def _column_names(frame: Any, kind: FrameKind) -> list[Any]:
    if kind == "pyarrow":
        return list(frame.column_names)
    return frame.columns.tolist() if kind == "pandas" else list(frame.columns)


def check_names(wanted: Sequence[str], available: list[Any], what: str) -> None:
    """Every wanted column is there exactly once; all unknown ones are named in one error."""
    counts = Counter(available)
    unknown = [name for name in wanted if name not in counts]
    if unknown:
        texts = [str(name) for name in available]
        parts = []
        for name in unknown:
            other_case = [text for text in texts if text.casefold() == str(name).casefold()]
            near = other_case or get_close_matches(name[:300], texts, n=2, cutoff=0.6)
            near = [other for other in near if other != name]  # a number reads like its text
            meant = " or ".join(f"'{other}'" for other in near)
            parts.append(f"'{_shorten(name)}'" + (f" (did you mean {meant}?)" if near else ""))
        odd = next((name for name in available if not isinstance(name, str)), None)
        there = f"its columns are: {_shorten(', '.join(texts))}" if texts else "it has none"
        raise DataError(
            f"{what} has no column{'s' if len(parts) > 1 else ''} {', '.join(parts)}; "
            f"{there}{_as_text(odd, what)}"
        )
    for name in wanted:
        if counts[name] > 1:
            raise DataError(
                f"column '{name}' occurs {counts[name]} times in {what}; rename or drop the others"
            )


def _as_text(odd: Any, what: str) -> str:
    """How to make text of a column name that is none."""
    if odd is None:
        return ""
    text = "'_'.join(map(str, name))" if isinstance(odd, tuple) else "str(name)"
    mend = f"{what}.columns = [{text} for name in {what}.columns]"
    return f". Names in formulas are text, {odd!r} is not: set {mend}"


def _shorten(text: str, width: int = 300) -> str:
    if len(text) <= width:
        return text
    whole, comma, _ = text[:width].rpartition(",")
    return f"{whole}, ..." if comma else f"{text[:width]}..."


# --- checks and complete rows ---------------------------------------------------------------------


def _read_array(value: Any, name: str, frame: Any, what: str) -> Numeric:
    """Read a row-wise argument; a Series counts by position, its index may not be the data's."""
    n_rows = len(frame)
    if isinstance(value, nw.Series):
        value = value.to_native()
    series = type(value).__module__.partition(".")[0] in {"pandas", "polars", "pyarrow"}
    if isinstance(value, np.ma.MaskedArray) or hasattr(value, "_from_sequence"):
        import pandas as pd

        value = pd.Series(value)  # an array of pandas' own, or one of NumPy's with gaps
    elif not series:
        value = np.asarray(value)
    shape = getattr(value, "shape", (0,))
    if len(shape) != 1:
        raise DataError(f"{name} must have one dimension, it has shape {shape}")
    if len(value) != n_rows:
        raise DataError(f"{name} has {len(value)} values, {what} {n_rows} rows")
    check_order(value, getattr(frame, "index", None), name, what)
    column = read_column(value, name)
    if not isinstance(column, Numeric):
        raise DataError(f"{name} must be numbers, not {_type_name(value)}")
    return column


def check_order(value: Any, index: Any, name: str, what: str = "data") -> None:
    """Refuse a pandas Series that holds the row labels of the frame in another order.

    Raises
    ------
    DataError
        By position its values would go to other rows than their labels say.
    """
    if index is None or not libraries.is_pandas_series(value) or value.index.equals(index):
        return
    labels = value.index
    if labels.is_unique and index.is_unique and labels.isin(index).all():
        pairs = enumerate(zip(labels.tolist(), index.tolist(), strict=True))
        first, (ours, theirs) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
        raise DataError(
            f"{name} is a Series that has the row labels of {what} in another order (at position "
            f"{first}: {ours!r}, {what}: {theirs!r}): put it into the order of {what} with "
            ".reindex(), or pass .to_numpy() if the values are meant by position"
        )


def _check_finite(columns: Mapping[str, Numeric | Coded], index: Any, prefix: str) -> None:
    """Infinities are never dropped in silence, not even in rows that are incomplete anyway."""
    for name, column in columns.items():
        if isinstance(column, Numeric) and column.infinite.size:
            count, first = column.infinite.size, int(column.infinite[0])
            label = first if index is None else index[[first]].tolist()[0]
            raise DataError(
                f"{prefix}'{name}' has {count} infinite value{'s' if count > 1 else ''} "
                f"(first at row {label!r}); drop the row{'s' if count > 1 else ''} "
                f"or mend the value{'s' if count > 1 else ''}"
            )


def _complete_rows(
    columns: Iterable[tuple[str, Numeric | Coded]], n_rows: int, what: str
) -> tuple[NDArray[np.bool_] | None, dict[str, int]]:
    """Mask of complete rows (None when all are) and missing values by column."""
    complete: NDArray[np.bool_] | None = None
    missing: dict[str, int] = {}
    for name, column in columns:
        absent = _absent(column)
        if absent is None:
            continue
        missing[name] = missing.get(name, 0) + int(np.count_nonzero(absent))
        complete = np.logical_and(~absent, True if complete is None else complete)
    if complete is not None and not complete.any():
        counts = ", ".join(f"{name}: {count}" for name, count in missing.items())
        raise DataError(
            f"no complete rows: each of the {n_rows} rows of {what} misses a value "
            f"(missing values by column: {counts})"
        )
    return complete, missing


def _absent(column: Numeric | Coded) -> NDArray[np.bool_] | None:
    if isinstance(column, Numeric):
        return column.missing
    absent: NDArray[np.bool_] = column.codes < 0
    return absent if absent.any() else None


def _floats(
    column: Numeric | Coded, complete: NDArray[np.bool_] | None, name: str
) -> NDArray[np.float64]:
    assert isinstance(column, Numeric)
    values = column.values if complete is None else column.values[complete]
    floats = np.asarray(values, dtype=np.float64)
    if values.dtype.kind in "iu" and values.dtype.itemsize == 8:
        _warn_rounded(values, floats, name)
    return floats


def _warn_rounded(values: NDArray[Any], floats: NDArray[np.float64], name: str) -> None:
    """Whole numbers that 64-bit floats cannot hold are used, but not in silence."""
    largest = float(np.abs(floats).max(initial=0.0))
    if largest <= WHOLE:
        return
    with np.errstate(invalid="ignore"):  # 2^63 itself does not fit in
        rounded = int(np.count_nonzero(floats.astype(values.dtype) != values))
    if rounded:
        warn(
            f"{rounded} whole numbers in '{name}' (up to {largest:.0e}) are rounded, as 64-bit "
            f"floats cannot hold them: subtract a constant first, or write factor({name}) if they "
            "are labels",
            DataWarning,
        )


def _is_covariate(column: Numeric | Coded, name: str, native: Any, *, is_group: bool) -> bool:
    """Whether labels can be a covariate; if only a group, a column need not be."""
    assert isinstance(column, Coded)
    if column.nature in {"time", "duration"}:
        if is_group:
            return False
        raise DataError(_time_message(name, native, column.nature))
    if column.nature == "text" and not is_group and _is_numeric_text(column.levels):
        raise DataError(
            f"column '{name}' is text, but all its {len(column.levels)} distinct values are "
            f"numbers; convert it with pd.to_numeric (Polars: .cast(pl.Float64)), or write "
            f"factor({name}) if they are labels"
        )
    return True


def _is_numeric_text(levels: Sequence[object]) -> bool:
    if len(levels) <= _MOST_LEVELS_OF_NUMERIC_TEXT:
        return False
    try:
        for level in levels:
            float(str(level))
    except ValueError:
        return False
    return True


def _time_message(name: str, native: Any, nature: str) -> str:
    mend = "days since the first: (t - t.min()).dt.days"
    if nature == "duration":
        mend = ".dt.total_seconds()"
    return (
        f"column '{name}' is {_type_name(native)}; a covariate must be a number: convert it, "
        f"for example with {mend}, or write factor({name}) if its values are labels"
    )


def _type_name(native: Any) -> str:
    """Storage type of a column, in its library's words."""
    return str(native.type if hasattr(native, "type") else native.dtype)


# --- frames out -----------------------------------------------------------------------------------


def to_native(columns: Mapping[str, Any], like: FrameKind) -> Any:
    """Build a frame of the given kind.

    Parameters
    ----------
    columns : mapping of str to ndarray or list
        Equally long columns.
    like : {"pandas", "polars", "pyarrow"}

    Returns
    -------
    pandas.DataFrame, polars.DataFrame or pyarrow.Table
    """
    return nw.from_dict(dict(columns), backend=like).to_native()


def attach(data: object, complete: NDArray[np.bool_] | None, new_columns: Mapping[str, Any]) -> Any:
    """Add columns to the user's frame, leaving rows that were not used without a value.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        Never changed; a pandas index is kept.
    complete : ndarray of bool, shape (n_rows,), or None
        Rows the new values belong to; None for all.
    new_columns : mapping of str to array-like of shape (n,)
        Replace columns of the same name.

    Returns
    -------
    pandas.DataFrame, polars.DataFrame or pyarrow.Table
    """
    frame, kind = _open(data, "data")
    columns = {name: _stretch(values, complete, kind) for name, values in new_columns.items()}
    if kind == "pandas":  # narwhals refuses frames with repeated names, which the user may have
        out = frame.copy()
        for name, column in columns.items():
            out[name] = column.to_native().array
        return out
    named = [column.alias(name) for name, column in columns.items()]
    return nw.from_native(frame, eager_only=True).with_columns(*named).to_native()


def _stretch(values: Any, complete: NDArray[np.bool_] | None, kind: FrameKind) -> nw.Series[Any]:
    """Spread values of the complete rows over all rows; null (pandas: NaN) elsewhere."""
    if complete is None:
        return nw.new_series("value", values, backend=kind)
    place = np.maximum(np.cumsum(complete) - 1, 0)
    both = nw.from_dict({"value": np.asarray(values)[place], "kept": complete}, backend=kind)
    return both.select(nw.when(nw.col("kept")).then(nw.col("value")))["value"]


def to_series(
    values: ArrayLike,
    data: object,
    *,
    complete: NDArray[np.bool_] | None = None,
    name: str = "",
) -> Any:
    """Turn values by row into a series of the library that `data` comes from.

    Parameters
    ----------
    values : array-like of shape (n,)
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        A pandas frame gives its index.
    complete : ndarray of bool, shape (n_rows,), or None
        Rows of `data` the values belong to; None for all.
    name : str
        Name of the series.

    Returns
    -------
    pandas.Series, polars.Series or pyarrow.ChunkedArray
    """
    kind = frame_kind(data)
    series = nw.new_series(name, np.asarray(values), backend=kind).to_native()
    if kind == "pandas" and not isinstance(data, Mapping):
        index = nw.to_native(data, pass_through=True).index
        series.index = index if complete is None else index[complete]
    return series


def snapshot(data: object) -> Any:
    """Take a reference to the data that later changes of the user's frame cannot reach.

    `read` the snapshot, and keep it, and the views in `Columns` are as safe.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns

    Returns
    -------
    pandas.DataFrame, polars.DataFrame or pyarrow.Table
        A shallow copy where the library allows (pandas 3, Polars, PyArrow), else a real one.
    """
    frame, kind = _open(data, "data")
    if kind == "pyarrow":
        return frame
    if kind == "polars":
        return frame.clone()
    import pandas as pd

    shallow = int(pd.__version__.partition(".")[0]) >= 3 and not isinstance(data, Mapping)
    return frame.copy(deep=not shallow)
