"""One stored column of pandas, Polars, Arrow or NumPy → `Numeric` or `Coded`.

The libraries store a column in many ways; here each becomes one of two records. Text is encoded by
the library that holds it (Arrow dictionaries, Polars enums, pandas hashing), so the cost of a row
is one hash and one gather, and only the levels, not the rows, are sorted.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.design.levels import Coded, Nature, Numeric, label_of, labels_of, numeric, rank_of
from mixedmodels.errors import DataError

_NUMERIC_OBJECTS = {"integer", "boolean", "floating", "mixed-integer-float", "decimal"}
_TIME_OBJECTS = {"datetime64", "datetime", "date", "time", "period"}
_DURATION_OBJECTS = {"timedelta64", "timedelta"}
# rows from which short labels are counted as numbers, and their most bytes
MANY_LABELS = 50_000
SHORT_LABEL = 12


def read_column(column: Any, name: str) -> Numeric | Coded:
    """Read a pandas Series, Polars Series, Arrow array or NumPy array.

    Parameters
    ----------
    column : Series, ChunkedArray or ndarray of shape (n_rows,)
    name : str
        Used in error messages.

    Returns
    -------
    Numeric or Coded

    Raises
    ------
    DataError
        When the cells are neither numbers, labels nor times, or mix these.
    """
    if isinstance(column, np.ndarray):
        return _from_numpy(column, name)
    library = type(column).__module__.partition(".")[0]
    if library == "polars":
        return _from_polars(column, name)
    if library == "pyarrow":
        return _from_arrow(column, name)
    return _from_pandas(column, name)


# --- NumPy and pandas -----------------------------------------------------------------------------


def _from_numpy(values: NDArray[Any], name: str) -> Numeric | Coded:
    kind = values.dtype.kind
    if kind in "biuf":
        return numeric(values)
    if kind in "mM":
        return _times(values, "time" if kind == "M" else "duration")
    if kind == "O":
        return _from_objects(values, name)
    if kind in "UT":
        return _from_objects(values.astype(object), name)
    if kind == "c":
        raise DataError(_complex(name))
    raise DataError(_unusable(name, str(values.dtype)))


def _from_pandas(series: Any, name: str) -> Numeric | Coded:
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return _from_numpy(series.to_numpy(), name)
    import pandas as pd

    array = series.array
    if isinstance(dtype, pd.CategoricalDtype):
        levels = labels_of(array.categories.tolist(), name)
        return Coded(array.codes, levels, "category", bool(array.ordered))
    if isinstance(dtype, pd.StringDtype) and dtype.storage == "python":
        return _from_objects(np.asarray(array, dtype=object), name, text=True)
    if isinstance(dtype, pd.StringDtype | pd.ArrowDtype):
        import pyarrow as pa

        return _from_arrow(pa.array(array), name, text=isinstance(dtype, pd.StringDtype))
    if isinstance(dtype, pd.SparseDtype):
        return _from_numpy(np.asarray(array), name)
    if isinstance(dtype, pd.DatetimeTZDtype | pd.PeriodDtype):
        return _times(series, "time")
    if isinstance(dtype, pd.IntervalDtype):
        codes, uniques = pd.factorize(series, sort=True)
        return Coded(codes, labels_of(uniques.tolist(), name), "category")
    if getattr(dtype, "numpy_dtype", None) is None or dtype.kind not in "biuf":
        raise DataError(_unusable(name, str(dtype)))
    if dtype.kind == "f":
        return numeric(array.to_numpy(dtype=np.float64, na_value=np.nan))
    return numeric(array.to_numpy(dtype=dtype.numpy_dtype, na_value=0), np.asarray(array.isna()))


def _times(values: Any, nature: Nature) -> Coded:
    import pandas as pd

    codes, uniques = pd.factorize(values, sort=True)
    return Coded(codes, tuple(label_of(value) for value in pd.Index(uniques).tolist()), nature)


def _from_objects(values: NDArray[Any], name: str, *, text: bool = False) -> Numeric | Coded:
    import pandas as pd

    strings = _arrow_strings(values)
    if strings is not None:
        return _from_arrow(strings, name)
    kind = "string" if text else pd.api.types.infer_dtype(values, skipna=True)
    if kind == "string":
        codes, uniques = pd.factorize(values)
        return _sort_levels(codes, [str(value) for value in uniques])
    missing = np.asarray(pd.isna(values))
    if kind == "empty":
        return numeric(np.full(len(values), np.nan))
    if kind in _NUMERIC_OBJECTS:
        return _numbers_from_objects(values, missing, kind, name)
    if kind in _TIME_OBJECTS or kind in _DURATION_OBJECTS:
        present = values.copy()
        present[missing] = None
        return _times(present, "time" if kind in _TIME_OBJECTS else "duration")
    if kind == "complex":
        raise DataError(_complex(name))
    raise DataError(_mixed(name, values[~missing].tolist()))


def _arrow_strings(values: NDArray[Any]) -> Any:
    """Give the objects to Arrow when all are text, as it hashes text faster than pandas."""
    pa = sys.modules.get("pyarrow")
    if pa is None:
        return None
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError):
        return None  # mixed or exotic objects: the slower way says what they are
    return array if pa.types.is_string(array.type) else None


def _numbers_from_objects(
    values: NDArray[Any], missing: NDArray[np.bool_], kind: str, name: str
) -> Numeric:
    dtype = {"integer": np.int64, "boolean": np.bool_}.get(kind, np.float64)
    out: NDArray[Any] = np.zeros(len(values), dtype=dtype)
    if dtype is np.float64:
        out[missing] = np.nan
    try:
        out[~missing] = values[~missing].astype(dtype)
    except OverflowError:
        raise DataError(
            f"column '{name}' holds integers beyond 64 bits; convert it to float if they are "
            f"numbers, to text if they are labels"
        ) from None
    return numeric(out, missing)


def _sort_levels(codes: NDArray[Any], levels: list[str]) -> Coded:
    order = sorted(range(len(levels)), key=levels.__getitem__)
    return Coded(rank_of(order)[codes], tuple(levels[i] for i in order), "text")


# --- Arrow ----------------------------------------------------------------------------------------


def _from_arrow(column: Any, name: str, *, text: bool = False) -> Numeric | Coded:
    import pyarrow as pa
    import pyarrow.types as kinds

    if not isinstance(column, pa.ChunkedArray):
        column = pa.chunked_array([column])
    dtype = column.type
    if text or kinds.is_string(dtype) or kinds.is_large_string(dtype):
        return _arrow_labels(column, "text")
    if kinds.is_floating(dtype):
        return numeric(column.to_numpy())
    if kinds.is_integer(dtype) or kinds.is_boolean(dtype):
        if column.null_count == 0:
            return numeric(column.to_numpy())
        zero = pa.scalar(0).cast(dtype)
        return numeric(column.fill_null(zero).to_numpy(), column.is_null().to_numpy())
    if kinds.is_decimal(dtype):
        return numeric(column.cast(pa.float64()).to_numpy())
    if kinds.is_null(dtype):
        return numeric(np.full(len(column), np.nan))
    return _from_arrow_labels(column, name)


def _from_arrow_labels(column: Any, name: str) -> Numeric | Coded:
    import pyarrow as pa
    import pyarrow.types as kinds

    dtype = column.type
    if kinds.is_dictionary(dtype):
        return _arrow_dictionary(column, name)
    if kinds.is_duration(dtype):
        return _arrow_labels(column, "duration")
    if kinds.is_date(dtype) or kinds.is_time(dtype) or kinds.is_timestamp(dtype):
        return _arrow_labels(column, "time")
    if str(dtype) == "string_view":  # sorting does not know this type
        return _arrow_labels(column.cast(pa.large_string()), "text")
    raise DataError(_unusable(name, str(dtype)))


def _arrow_labels(column: Any, nature: Nature) -> Coded:
    import pyarrow as pa
    import pyarrow.compute as pc

    if nature == "text" and column.null_count == 0:
        packed = _short_labels(column)
        if packed is not None:
            return packed
    # Arrow's own pool takes memory from the system in pieces so large that their first touch costs
    # more than the work
    pool = pa.system_memory_pool()
    encoded = pc.dictionary_encode(column, memory_pool=pool).combine_chunks(memory_pool=pool)
    order = pc.sort_indices(encoded.dictionary, memory_pool=pool)
    levels = encoded.dictionary.take(order).to_pylist()
    indices = encoded.indices if column.null_count == 0 else encoded.indices.fill_null(-1)
    codes = rank_of(order.to_numpy())[indices.to_numpy()]
    if nature != "text":
        levels = [label_of(level) for level in levels]
    return Coded(codes, tuple(levels), nature)


def _short_labels(column: Any) -> Coded | None:
    """Codes of many short labels without a hash table; None where it does not pay.

    With a million levels each look-up in a hash table misses every cache. Labels such as ``u0123``
    have few symbols in each place: they are counted as numbers with that many digits.
    """
    n = len(column)
    if n < MANY_LABELS:
        return None
    places = _label_bytes(column)
    if places is None:
        return None
    key: NDArray[Any] = np.zeros(n, np.int32)
    size = 1
    for symbols in places:
        if symbols[0] == symbols[-1] and (symbols == symbols[0]).all():
            continue  # the same in all labels, as the first letter often is
        present = np.flatnonzero(np.bincount(symbols, minlength=256))
        size *= len(present)
        if size > min(2 * n, 2**31 - 1):
            return None
        rank = np.zeros(256, np.int32)
        rank[present] = np.arange(len(present))
        key *= len(present)
        key += rank[symbols]
    seen = np.zeros(size, bool)
    seen[key] = True
    codes = (np.cumsum(seen, dtype=np.int32) - 1)[key]
    example = np.empty(int(np.count_nonzero(seen)), np.int64)
    example[codes] = np.arange(n)
    return Coded(codes, tuple(column.take(example).to_pylist()), "text")


def _label_bytes(column: Any) -> list[NDArray[np.uint8]] | None:
    """Byte j of every label for each j, 0 behind its end; None if some are long or hold a NUL."""
    import pyarrow as pa

    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    large = pa.types.is_large_string(array.type)
    if not (large or pa.types.is_string(array.type)):
        return None
    offset_type = np.int64 if large else np.int32
    _, offsets, values = array.buffers()
    ends = np.frombuffer(offsets, offset_type)[array.offset : array.offset + len(array) + 1]
    lengths = np.diff(ends)
    longest = int(lengths.max())
    if not 0 < longest <= SHORT_LABEL:
        return None
    data = np.frombuffer(values, np.uint8)[int(ends[0]) : int(ends[-1])]
    if not data.all():
        return None
    if int(lengths.min()) == longest:
        return list(np.ascontiguousarray(data.reshape(-1, longest).T))
    starts, padded = ends[:-1] - ends[0], np.append(data, np.zeros(longest, np.uint8))
    return [np.where(lengths > j, padded[starts + j], 0).astype(np.uint8) for j in range(longest)]


def _arrow_dictionary(column: Any, name: str) -> Numeric | Coded:
    import pyarrow as pa

    combined = column.combine_chunks()
    levels = combined.dictionary.to_pylist()
    if None in levels or len(set(levels)) < len(levels):  # legal in Arrow, no use to anyone
        return _from_arrow(column.cast(column.type.value_type), name)
    # unsigned in what DuckDB gives
    codes = combined.indices.cast(pa.int64()).fill_null(-1).to_numpy()
    return Coded(codes, labels_of(levels, name), "category", bool(column.type.ordered))


# --- Polars ---------------------------------------------------------------------------------------


def _from_polars(series: Any, name: str) -> Numeric | Coded:
    import polars as pl

    dtype = series.dtype
    if dtype.is_float():
        return numeric(series.to_numpy())
    if dtype == pl.String:
        levels = series.unique(maintain_order=True).drop_nulls().sort()  # faster than unordered
        return Coded(_polars_codes(series.cast(pl.Enum(levels))), tuple(levels.to_list()), "text")
    if dtype.is_integer() or dtype == pl.Boolean:
        return _polars_integers(series, name)
    if dtype.is_decimal():
        return numeric(series.cast(pl.Float64).to_numpy())
    if dtype == pl.Enum:
        return Coded(_polars_codes(series), tuple(dtype.categories.to_list()), "category")
    if dtype == pl.Categorical:
        return _polars_categorical(series)
    if dtype.is_temporal():
        labels = tuple(label_of(value) for value in series.unique().drop_nulls().sort().to_list())
        places = series.rank("dense").cast(pl.Int64).fill_null(0).to_numpy()
        return Coded(places - 1, labels, "duration" if dtype == pl.Duration else "time")
    if dtype == pl.Null:
        return numeric(np.full(len(series), np.nan))
    if dtype == pl.Object:
        return _from_objects(np.array([*series.to_list(), None], dtype=object)[:-1], name)
    raise DataError(_unusable(name, str(dtype)))


def _polars_integers(series: Any, name: str) -> Numeric:
    import polars as pl

    if str(series.dtype) in {"Int128", "UInt128"}:  # NumPy has no such integers
        try:
            series = series.cast(pl.Int64)
        except pl.exceptions.InvalidOperationError:
            raise DataError(
                f"column '{name}' holds integers beyond 64 bits; convert it to float if they are "
                f"numbers, to text if they are labels"
            ) from None
    if series.null_count() == 0:
        return numeric(series.to_numpy())
    missing = series.is_null().to_numpy()
    return numeric(series.fill_null(strategy="zero").to_numpy(), missing)


def _polars_codes(series: Any) -> NDArray[Any]:
    import polars as pl

    codes = series.to_physical()
    if codes.null_count():
        codes = codes.cast(pl.Int64).fill_null(-1)
    return np.asarray(codes.to_numpy())


def _polars_categorical(series: Any) -> Coded:
    """Sorted like text: the physical order depends on what the process did before."""
    import polars as pl

    used = series.unique(maintain_order=True).drop_nulls()
    text = used.cast(pl.String)
    order = text.arg_sort().to_numpy()
    physical = used.to_physical().to_numpy()
    place = np.full(int(physical.max()) + 2 if len(order) else 1, -1, dtype=np.int64)
    place[physical[order]] = np.arange(len(order))
    return Coded(place[_polars_codes(series)], tuple(text.gather(order).to_list()), "text")


# --- messages --------------------------------------------------------------------------


def _complex(name: str) -> str:
    return (
        f"column '{name}' holds complex numbers; a model needs real ones: "
        f"take .real, .imag or the absolute value"
    )


def _unusable(name: str, dtype: str) -> str:
    return (
        f"column '{name}' has type {dtype}; a model can use numbers, booleans, text and "
        f"categories: convert it, or spread it over several columns"
    )


def _mixed(name: str, present: list[Any]) -> str:
    types = sorted({type(value).__name__ for value in present})
    nested = [kind for kind in types if kind in {"list", "tuple", "dict", "set", "ndarray"}]
    if nested:
        return (
            f"column '{name}': its cells hold {nested[0]} values; a cell must hold one number or "
            f"one label: spread them over several columns"
        )
    if len(types) == 1:
        return _unusable(name, types[0])
    return (
        f"column '{name}' mixes values of types {', '.join(types)}; make it one type: "
        f"all numbers with pd.to_numeric, or all labels with .astype(str)"
    )
