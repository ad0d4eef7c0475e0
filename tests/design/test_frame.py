"""Columns go in from every library and storage, the same numbers and levels come out."""

from __future__ import annotations

import datetime as dt
import pickle
import sys
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedmodels as mm
from mixedmodels.design.frame import attach, frame_kind, read, snapshot, to_native, to_series
from mixedmodels.errors import DataError, DataWarning

KINDS = ("pandas", "polars", "pyarrow", "dict")


def make(columns, kind):
    if kind == "dict":
        return columns
    if kind == "pandas":
        return pd.DataFrame(columns)
    return pl.DataFrame(columns) if kind == "polars" else pa.table(columns)


def text_columns(values):
    """The same text, stored in every way we know."""
    series = pd.Series(values, dtype=object)
    frames = {
        dtype: pd.DataFrame({"g": series.astype(dtype)})
        for dtype in ("object", "string[python]", "string[pyarrow]")
    }
    frames["default"] = pd.DataFrame({"g": values})  # from pandas 3 on, a text type of its own
    frames["arrow dtype"] = pd.DataFrame({"g": series.astype(pd.ArrowDtype(pa.string()))})
    frames["polars"] = pl.DataFrame({"g": pl.Series(values, dtype=pl.String)})
    frames["polars categorical"] = frames["polars"].with_columns(pl.col("g").cast(pl.Categorical))
    array = pa.array(values, type=pa.string())
    views = [pa.string_view()] if hasattr(pa, "string_view") else []  # since PyArrow 16
    for kind in (pa.string(), pa.large_string(), *views):
        frames[str(kind)] = pa.table({"g": array.cast(kind)})
    half = len(values) // 2
    frames["two chunks"] = pa.table({"g": pa.chunked_array([array[:half], array[half:]])})
    frames["dict"] = {"g": values}
    return frames


TEXT = ["b", "a", None, "b", "É", "a b", "", "B", "a"]


@pytest.mark.parametrize("stored", text_columns(TEXT))
def test_text_is_sorted_by_code_point_in_every_storage(stored):
    columns = read(text_columns(TEXT)[stored], [], grouping=["g"])
    factor = columns.groups["g"]
    assert factor.levels == ("", "B", "a", "a b", "b", "É")
    assert {type(level) for level in factor.levels} == {str}
    np.testing.assert_array_equal(factor.codes, [4, 2, 4, 5, 3, 0, 1, 2])
    assert factor.codes.dtype == np.int64
    assert (factor.ordered, factor.order_given) == (False, False)
    assert columns.missing == {"g": 1}
    assert (columns.n_rows, columns.n) == (9, 8)


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.text(max_size=3)), min_size=1, max_size=20))
def test_text_agrees_with_plain_python(values):
    present = [value for value in values if value is not None]
    for stored, data in text_columns(values).items():
        if not present:
            with pytest.raises(DataError, match="no complete rows"):
                read(data, [], grouping=["g"])
            continue
        factor = read(data, [], grouping=["g"]).groups["g"]
        assert factor.levels == tuple(sorted(set(present))), stored
        assert [factor.levels[code] for code in factor.codes] == present, stored


def test_text_without_arrow_is_the_same(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyarrow")
    for values in (TEXT, ["2", "10", "1"]):
        factor = read(pd.DataFrame({"g": pd.Series(values, dtype=object)}), ["g"]).factors["g"]
        present = [value for value in values if value is not None]
        assert [factor.levels[code] for code in factor.codes] == present
        assert list(factor.levels) == sorted(set(present))


@pytest.mark.parametrize("value", [None, np.nan, pd.NA, pd.NaT])
def test_missing_is_never_a_level(value):
    data = pd.DataFrame({"g": pd.Series(["x", value, "y"], dtype=object)})
    assert read(data, ["g"]).factors["g"].levels == ("x", "y")


# --- categories -----------------------------------------------------------------------------------


def ordered_categories():
    values, levels = ["a", "c", None, "a"], ["c", "zzz", "b", "a"]
    pandas = pd.Series(pd.Categorical(values, categories=levels, ordered=True))
    dictionary = pa.DictionaryArray.from_arrays(
        pa.array([3, 0, None, 3], pa.int8()), pa.array(levels), ordered=True
    )
    return {
        "pandas": pd.DataFrame({"f": pandas}),
        "polars": pl.DataFrame({"f": pl.Series(values, dtype=pl.Enum(levels))}),
        "pyarrow": pa.table({"f": dictionary}),
        "arrow dtype": pd.DataFrame({"f": pd.Series(pd.arrays.ArrowExtensionArray(dictionary))}),
    }


@pytest.mark.parametrize("stored", ordered_categories())
def test_categories_keep_their_order_and_lose_unused_levels(stored):
    factor = read(ordered_categories()[stored], ["f"]).factors["f"]
    assert factor.levels == ("c", "a")
    np.testing.assert_array_equal(factor.codes, [1, 0, 1])
    assert factor.order_given
    assert factor.ordered == (stored != "polars")


def test_levels_that_only_occur_in_incomplete_rows_are_dropped():
    data = pd.DataFrame({"x": [1.0, np.nan, 3.0], "g": pd.Categorical(["a", "b", "c"])})
    columns = read(data, ["x"], grouping=["g"])
    assert columns.groups["g"].levels == ("a", "c")
    np.testing.assert_array_equal(columns.groups["g"].codes, [0, 1])
    assert columns.row_labels([0, 1]) == [0, 2]


@pytest.mark.parametrize(
    ("categories", "levels"),
    [
        ([2020, 2018], (2020, 2018)),
        ([2.0, 1.0], (2, 1)),
        ([0.5, 1.0], (0.5, 1)),
        ([True, False], (True, False)),
        (["a", 1], ("a", "1")),
        (
            pd.DatetimeIndex([dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 1, 12)]),
            ("2020-01-02", "2020-01-01 12:00:00"),
        ),
        (pd.IntervalIndex.from_breaks([0, 1, 2]), ("(0, 1]", "(1, 2]")),
    ],
)
def test_categories_of_other_types(categories, levels):
    data = pd.DataFrame({"f": pd.Categorical.from_codes([0, 1, 0], categories=categories)})
    factor = read(data, ["f"]).factors["f"]
    assert factor.levels == levels
    assert [type(level) for level in factor.levels] == [type(level) for level in levels]


def test_categories_that_read_the_same_are_refused():
    data = pd.DataFrame({"f": pd.Categorical([1, "1"], categories=[1, "1"])})
    with pytest.raises(DataError, match="'f' has several categories that read '1'"):
        read(data, ["f"])


def test_arrow_dictionaries_with_repeats_nulls_and_differing_chunks():
    repeats = pa.DictionaryArray.from_arrays(
        pa.array([0, 1, 2, 3]), pa.array(["b", "a", "b", None])
    )
    factor = read(pa.table({"f": repeats}), ["f"]).factors["f"]
    assert factor.levels == ("a", "b")
    np.testing.assert_array_equal(factor.codes, [1, 0, 1])
    chunks = [pa.array(["x", "y"]).dictionary_encode(), pa.array(["z", "x"]).dictionary_encode()]
    factor = read(pa.table({"f": pa.chunked_array(chunks)}), ["f"]).factors["f"]
    assert factor.levels == ("x", "y", "z")
    np.testing.assert_array_equal(factor.codes, [0, 1, 2, 0])


# --- numbers --------------------------------------------------------------------------------------


NUMBER_DTYPES = (
    *("uint8", "int64", "float32", ">f8", "object", "Int16", "UInt8", "Float32"),
    *("int64[pyarrow]", "float[pyarrow]", "Sparse[float]", "Sparse[int]"),
)


# integers of 128 bits: since Polars 1.18
WIDE = [pl.Int128] if hasattr(pl, "Int128") else []


def number_columns():
    values = [3, 0, 200]
    frames = {
        dtype: pd.DataFrame({"x": pd.Series(values).astype(dtype)}) for dtype in NUMBER_DTYPES
    }
    decimals = [Decimal(value) for value in values]
    frames["decimal"] = pd.DataFrame({"x": decimals})
    frames["polars decimal"] = pl.DataFrame({"x": decimals})
    frames["arrow decimal"] = pa.table({"x": decimals})
    for dtype in (pl.UInt8, pl.Int64, *WIDE, pl.Float32):
        frames[str(dtype)] = pl.DataFrame({"x": pl.Series(values, dtype=dtype)})
    for kind in (pa.uint8(), pa.int64(), pa.float32(), pa.float16()):
        stored = np.asarray(values, dtype=kind.to_pandas_dtype())
        frames[f"arrow {kind}"] = pa.table({"x": pa.array(stored)})
    return frames


@pytest.mark.parametrize("stored", number_columns())
def test_numbers_become_float64(stored):
    columns = read(number_columns()[stored], ["x"], grouping=["x"])
    assert columns.numbers["x"].dtype == np.dtype(np.float64)
    np.testing.assert_array_equal(columns.numbers["x"], [3.0, 0.0, 200.0])
    assert columns.groups["x"].levels == (0, 3, 200)
    assert {type(level) for level in columns.groups["x"].levels} == {int}
    assert columns.complete is None
    assert columns.missing == {}


def missing_number_columns():
    return {
        "pandas": pd.DataFrame({"x": [1.0, np.nan, 0.0]}),
        "object": pd.DataFrame({"x": pd.Series([1, None, 0], dtype=object)}),
        "object float": pd.DataFrame({"x": pd.Series([1.0, pd.NA, 0], dtype=object)}),
        "object bool": pd.DataFrame({"x": pd.Series([True, None, False], dtype=object)}),
        "Int64": pd.DataFrame({"x": pd.Series([1, pd.NA, 0], dtype="Int64")}),
        "Float64": pd.DataFrame({"x": pd.Series([1, pd.NA, 0], dtype="Float64")}),
        "boolean": pd.DataFrame({"x": pd.Series([True, pd.NA, False], dtype="boolean")}),
        "decimal": pd.DataFrame({"x": [Decimal(1), None, Decimal(0)]}),
        "arrow dtype": pd.DataFrame({"x": pd.Series([1, None, 0], dtype="int8[pyarrow]")}),
        "polars": pl.DataFrame({"x": [1, None, 0]}),
        "polars float": pl.DataFrame({"x": [1.0, None, 0.0]}),
        "polars nan": pl.DataFrame({"x": [1.0, np.nan, 0.0]}),
        "polars bool": pl.DataFrame({"x": [True, None, False]}),
        "pyarrow": pa.table({"x": [1, None, 0]}),
        "pyarrow float": pa.table({"x": [1.0, None, 0.0]}),
        "pyarrow bool": pa.table({"x": [True, None, False]}),
        "pyarrow decimal": pa.table({"x": [Decimal(1), None, Decimal(0)]}),
    }


@pytest.mark.parametrize("stored", missing_number_columns())
def test_missing_numbers_drop_the_row(stored):
    columns = read(missing_number_columns()[stored], ["x"], grouping=["x"])
    np.testing.assert_array_equal(columns.numbers["x"], [1.0, 0.0])
    np.testing.assert_array_equal(columns.complete, [True, False, True])
    assert columns.missing == {"x": 1}
    assert [int(level) for level in columns.groups["x"].levels] == [0, 1]


def test_bool_is_a_number_and_as_group_keeps_false_and_true():
    data = {"b": np.array([True, False, True])}
    columns = read(data, ["b"], grouping=["b"])
    np.testing.assert_array_equal(columns.numbers["b"], [1.0, 0.0, 1.0])
    assert columns.groups["b"].levels == (False, True)
    assert read({"b": [True, True]}, [], grouping=["b"]).groups["b"].levels == (True,)


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([10, 2, 10], (2, 10)),
        ([2.0, 10.0, 1.0], (1, 2, 10)),
        ([0.5, 10.0, 2.0], (0.5, 2, 10)),
        ([-0.0, 0.0, 1.0], (0, 1)),
        ([-0.0, 0.0, 0.5], (0, 0.5)),
        ([10**15, 5, 10**15], (5, 10**15)),
        ([2**60 + 1, 2**60, 2**60 + 1], (2**60, 2**60 + 1)),
        (np.array([2**64 - 1, 0], dtype=np.uint64), (0, 2**64 - 1)),
        ([1e300, 1.0, 1e300], (1, 1e300)),
        (np.array([127, -128, 0], dtype=np.int8), (-128, 0, 127)),
    ],
)
def test_number_levels_are_in_numeric_order(values, levels):
    data = {"g": np.asarray(values)}
    factor = read(data, [], grouping=["g"]).groups["g"]
    assert factor.levels == levels
    assert [type(level) for level in factor.levels] == [type(level) for level in levels]
    assert str(factor.levels[0])[0] != "-" or levels[0] < 0
    np.testing.assert_array_equal([factor.levels[code] for code in factor.codes], values)


def test_large_ids_with_nulls_keep_every_digit():
    ids = [2**60 + 1, None, 2**60]
    for data in (
        pd.DataFrame({"g": pd.Series(ids, dtype="Int64")}),
        pl.DataFrame({"g": ids}),
        pa.table({"g": ids}),
    ):
        assert read(data, [], grouping=["g"]).groups["g"].levels == (2**60, 2**60 + 1)


def test_integers_beyond_64_bits_are_refused():
    for data in (
        pd.DataFrame({"g": pd.Series([2**70, 2**70 + 1], dtype=object)}),
        *(pl.DataFrame({"g": pl.Series([2**70, 2**70 + 1], dtype=kind)}) for kind in WIDE),
    ):
        with pytest.raises(DataError, match="'g' holds integers beyond 64 bits"):
            read(data, [], grouping=["g"])


def test_forced_categorical_and_both_forms():
    data = pd.DataFrame({"x": [1.0, 2.0, 1.0]})
    columns = read(data, ["x"], categorical=["x"])
    assert columns.numbers == {}
    assert columns.factors["x"].levels == (1, 2)
    columns = read(data, ["x"], grouping=["x"])
    assert (list(columns.numbers), list(columns.factors), list(columns.groups)) == (
        ["x"],
        [],
        ["x"],
    )
    columns = read({"f": ["b", "a"]}, ["f"], grouping=["f"])
    assert columns.factors["f"] is columns.groups["f"]


def test_no_copy_of_a_complete_float_column():
    values = np.arange(5.0)
    for data in (
        {"x": values},
        pd.DataFrame({"x": values}, copy=False),
        pl.DataFrame({"x": pl.Series(values)}),
        pa.table({"x": values}),
    ):
        out = read(data, ["x"]).numbers["x"]
        assert out.base is not None
        if not isinstance(data, pl.DataFrame):
            assert np.shares_memory(out, values)


def test_strided_read_only_buffers():
    big = np.arange(24.0).reshape(6, 4, order="F")
    view = big[::2]
    view.flags.writeable = False
    data = pd.DataFrame({"x": view[:, 1]}, copy=False)
    np.testing.assert_array_equal(read(data, ["x"]).numbers["x"], view[:, 1])


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_infinite_values_name_column_count_and_row(kind):
    data = make({"x": [1.0, np.inf, -np.inf], "y": [1.0, np.nan, 2.0]}, kind)
    with pytest.raises(DataError, match=r"column 'x' has 2 infinite values \(first at row 1\)"):
        read(data, ["y", "x"])


def test_infinite_value_names_the_index_label():
    data = pd.DataFrame({"x": [1.0, np.inf]}, index=["r1", "r2"])
    with pytest.raises(DataError, match=r"has 1 infinite value \(first at row 'r2'\)"):
        read(data, ["x"])


@pytest.mark.parametrize("kind", KINDS)
def test_unknown_columns_are_all_named(kind):
    data = make({"Reaction": [1.0], "Days": [2.0]}, kind)
    with pytest.raises(DataError, match="no columns") as error:
        read(data, ["Reaction", "Dayz"], grouping=["Subject"])
    assert str(error.value) == (
        "data has no columns 'Dayz' (did you mean 'Days'?), 'Subject'; "
        "its columns are: Reaction, Days"
    )


def test_long_column_lists_are_shortened_and_frames_named():
    data = pd.DataFrame(np.ones((2, 2000)), columns=[f"column{i}" for i in range(2000)])
    with pytest.raises(DataError, match=r"^newdata has no column 'x'; .*, \.\.\.$") as error:
        read(data, ["x"], what="newdata")
    assert len(str(error.value)) < 400


def test_columns_that_are_not_text_are_listed():
    with pytest.raises(DataError, match="its columns are: 0, 1"):
        read(pd.DataFrame(np.ones((2, 2))), ["x"])


@pytest.mark.parametrize("kind", ["pandas", "pyarrow"])
def test_repeated_columns_matter_only_when_used(kind):
    if kind == "pandas":
        data = pd.DataFrame(np.ones((3, 3)), columns=["x", "y", "x"])
    else:
        data = pa.Table.from_arrays([pa.array([1.0])] * 3, names=["x", "y", "x"])
    assert read(data, ["y"]).numbers["y"][0] == 1.0
    with pytest.raises(DataError, match="column 'x' occurs 2 times in data"):
        read(data, ["y", "x"])


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows(kind):
    with pytest.raises(DataError, match="data has 0 rows"):
        read(make({"x": np.empty(0)}, kind), ["x"])


@pytest.mark.parametrize("kind", KINDS)
def test_no_complete_rows_counts_by_column(kind):
    data = make({"y": [None, None], "x": [1.0, None], "z": [1.0, 2.0]}, kind)
    with pytest.raises(DataError, match=r"no complete rows: .* 2 rows .*\(.*y: 2, x: 1\)"):
        read(data, ["y", "x", "z"])


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ([1, 2], "not list"),
        (np.ones((2, 2)), "not numpy.ndarray"),
        (None, "not NoneType"),
        (pl.LazyFrame({"x": [1]}), r"not polars.LazyFrame; call .collect\(\) first"),
        (pd.Series([1]), "not pandas.Series"),
    ],
)
def test_other_objects_are_refused(data, found):
    for call in (lambda: read(data, ["x"]), lambda: frame_kind(data)):
        with pytest.raises(TypeError, match=f"data must be a pandas or Polars .*{found}"):
            call()


STAMPS = [dt.datetime(2020, 1, 2), dt.datetime(2020, 1, 1, 12), None, dt.datetime(2020, 1, 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_times_are_groups_but_no_covariates(kind):
    data = make({"t": STAMPS}, kind)
    with pytest.raises(DataError, match=r"column 't' is .*; a covariate must be a number.*days"):
        read(data, ["t"])
    for columns in (read(data, [], grouping=["t"]), read(data, ["t"], grouping=["t"])):
        assert columns.groups["t"].levels == ("2020-01-01 12:00:00", "2020-01-02")
        np.testing.assert_array_equal(columns.groups["t"].codes, [1, 0, 1])
        assert columns.factors == {}
    assert len(read(data, ["t"], categorical=["t"]).factors["t"].levels) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_durations_and_dates(kind):
    with pytest.raises(DataError, match=r"'t' is .*total_seconds"):
        read(make({"t": [dt.timedelta(1), dt.timedelta(2)]}, kind), ["t"])
    days = make({"t": [dt.date(2020, 1, 2), None, dt.date(2020, 1, 1)]}, kind)
    with pytest.raises(DataError, match=r"'t' is .*covariate must be a number"):
        read(days, ["t"])
    assert read(days, [], grouping=["t"]).groups["t"].levels == ("2020-01-01", "2020-01-02")


def test_zoned_times_and_periods_are_groups():
    stamps = pd.to_datetime(["2020-01-02", "2020-01-01"]).tz_localize("UTC")
    levels = read(pd.DataFrame({"t": stamps}), [], grouping=["t"]).groups["t"].levels
    assert levels == ("2020-01-01 00:00:00+00:00", "2020-01-02 00:00:00+00:00")
    periods = pd.DataFrame({"t": pd.period_range("2020-01", periods=2, freq="M")})
    assert read(periods, [], grouping=["t"]).groups["t"].levels == ("2020-01", "2020-02")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1 + 1j, 2], "'v' holds complex numbers"),
        (pd.Series([1 + 1j, 2.0], dtype=object), "'v' holds complex numbers|mixes"),
        ([[1, 2], [3, 4]], "'v': its cells hold list values"),
        ([(1, 2), (3, 4)], "'v': its cells hold tuple values"),
        ([{"a": 1}, {"a": 2}], "'v': its cells hold dict values"),
        (["a", 1], "'v' mixes values of types int, str"),
        (["a", b"a"], "'v' mixes values of types bytes, str"),
        ([b"a", b"b"], "'v' has type bytes"),
        ([object(), object()], "'v' has type object"),
    ],
)
@pytest.mark.parametrize("grouping", [[], ["v"]])
def test_unusable_cells(values, message, grouping):
    data = pd.DataFrame({"v": values})
    with pytest.raises(DataError, match=message):
        read(data, [] if grouping else ["v"], grouping=grouping)


@pytest.mark.parametrize(
    "data",
    [
        pl.DataFrame({"v": [[1, 2], [3, 4]]}),
        pl.DataFrame({"v": [{"a": 1}, {"a": 2}]}),
        pl.DataFrame({"v": [b"a", b"b"]}),
        pa.table({"v": [[1, 2], [3, 4]]}),
        pa.table({"v": [{"a": 1}, {"a": 2}]}),
        pd.DataFrame({"v": pd.Series([[1]], dtype=pd.ArrowDtype(pa.list_(pa.int64())))}),
    ],
)
def test_unusable_types(data):
    with pytest.raises(DataError, match=r"column 'v' has type .*; a model can use numbers"):
        read(data, ["v"])


def test_polars_objects():
    data = pl.DataFrame({"v": pl.Series([1 + 1j, 2j], dtype=pl.Object)})
    with pytest.raises(DataError, match="'v' holds complex numbers"):
        read(data, ["v"])


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_stored_as_text(kind):
    data = make({"x": [f"{i / 8}" for i in range(50)]}, kind)
    with pytest.raises(DataError, match=r"'x' is text, but all its 50 .*to_numeric.*factor\(x\)"):
        read(data, ["x"])
    assert len(read(data, ["x"], categorical=["x"]).factors["x"].levels) == 50
    assert len(read(data, [], grouping=["x"]).groups["x"].levels) == 50
    assert len(read(data, ["x"], grouping=["x"]).factors["x"].levels) == 50
    few = make({"x": [str(i % 20) for i in range(50)]}, kind)
    assert len(read(few, ["x"]).factors["x"].levels) == 20
    words = make({"x": [f"{i}" for i in range(50)] + ["cup"]}, kind)
    assert len(read(words, ["x"]).factors["x"].levels) == 51


def test_chosen_categories_may_read_as_numbers():
    data = pd.DataFrame({"x": pd.Categorical([str(i) for i in range(50)])})
    assert len(read(data, ["x"]).factors["x"].levels) == 50


# --- row-wise arrays ------------------------------------------------------------------------------


def test_arrays_are_matched_by_position_and_dropped_with_the_rows():
    data = pd.DataFrame({"x": [1.0, np.nan, 3.0, 4.0]})
    weights = pd.Series([1, 2, 3, 4], index=[4, 3, 2, 1])
    columns = read(data, ["x"], arrays={"weights": weights, "offset": [0, 0, None, 1]})
    np.testing.assert_array_equal(columns.arrays["weights"], [1.0, 4.0])
    np.testing.assert_array_equal(columns.arrays["offset"], [0.0, 1.0])
    assert columns.missing == {"x": 1, "offset": 1}
    for value in (pl.Series([1, 2, 3, 4]), pa.array([1, 2, 3, 4]), (1, 2, 3, 4)):
        np.testing.assert_array_equal(read(data, ["x"], arrays={"w": value}).arrays["w"], [1, 3, 4])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ones(95), "weights has 95 values, data 96 rows"),
        (np.ones(1), "weights has 1 values, data 96 rows"),
        (2.0, r"weights must have one dimension, it has shape \(\)"),
        (np.ones((96, 1)), r"weights must have one dimension, it has shape \(96, 1\)"),
        (np.r_[np.ones(95), np.inf], r"'weights' has 1 infinite value \(first at row 95\)"),
        (["1"] * 96, "weights must be numbers, not <U1"),
        (pd.Series(["1"] * 96), "weights must be numbers, not (str|object)"),
    ],
)
def test_bad_arrays(value, message):
    with pytest.raises(DataError, match=message):
        read({"x": np.ones(96)}, ["x"], arrays={"weights": value})


# --- dicts and indexes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"x": [1.0, 2.0], "y": [1.0]}, "differ in length: 'x' 2, 'y' 1"),
        ({"x": 1.0}, "'x' of data is a single value"),
        ({"x": "ab"}, "'x' of data is a single value"),
        ({"x": np.float64(1.0)}, "'x' of data is a single value"),
        ({"x": np.array(1.0)}, "'x' of data is a single value"),
        ({"x": np.ones((2, 2))}, "'x' of data has 2 dimensions"),
        ({}, "data has no column 'x'"),
    ],
)
def test_bad_dicts(data, message):
    with pytest.raises(DataError, match=message):
        read(data, ["x"])


def test_series_in_a_dict_count_by_position():
    data = {"x": pd.Series([1.0, 2.0], index=[5, 6]), "y": pd.Series([3.0, 4.0], index=[6, 5])}
    np.testing.assert_array_equal(read(data, ["y", "x"]).numbers["y"], [3.0, 4.0])
    mixed = {"x": pl.Series([1, 2]), "y": pa.array([3, 4])}
    np.testing.assert_array_equal(read(mixed, ["x", "y"]).numbers["y"], [3.0, 4.0])


def test_index_is_never_used_to_align():
    data = pd.DataFrame({"x": [1.0, np.nan, 3.0], "g": ["b", "a", "b"]}, index=[0, 0, 0])
    columns = read(data, ["x"], grouping=["g"])
    np.testing.assert_array_equal(columns.numbers["x"], [1.0, 3.0])
    data.index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("c", 3)])
    assert read(data, ["x"]).row_labels(1) == [("c", 3)]


def test_row_labels_without_an_index_are_row_numbers():
    assert read(pl.DataFrame({"x": [None, 1.0, 2.0]}), ["x"]).row_labels([0, 1]) == [1, 2]


# --- frames out -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "module"),
    [("pandas", "pandas"), ("polars", "polars"), ("pyarrow", "pyarrow"), ("dict", "pandas")],
)
def test_frames_come_out_as_they_went_in(kind, module):
    like = frame_kind(make({"x": [1.0]}, kind))
    assert pickle.loads(pickle.dumps(like)) == like == module
    out = to_native({"term": ["a", "b"], "df": np.array([1.0, np.nan]), "n": np.arange(2)}, like)
    assert type(out).__module__.startswith(module)
    back = read(out, ["term"], categorical=["n"])
    assert back.factors["term"].levels == ("a", "b")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("complete", [None, np.array([False, True, False, True])])
def test_attach(kind, complete):
    rows = 4 if complete is None else 2
    data = make({"x": [1.0, 2.0, 3.0, 4.0]}, kind)
    new = {"fit": np.arange(1.0, rows + 1), "name": ["a", "b", "c", "d"][:rows]}
    out = attach(data, complete, new)
    assert list(out.column_names if kind == "pyarrow" else out.columns) == ["x", "fit", "name"]
    columns = read(out, ["fit", "name"])
    np.testing.assert_array_equal(columns.numbers["fit"], new["fit"])
    assert columns.factors["name"].levels == tuple(new["name"])
    assert columns.missing == ({} if complete is None else {"fit": 2, "name": 2})
    if kind == "polars":
        assert out["fit"].null_count() == 4 - rows


def test_attach_keeps_index_repeated_names_and_the_users_frame():
    data = pd.DataFrame(np.ones((3, 2)), columns=["x", "x"], index=[7, 7, 9])
    before = data.copy()
    out = attach(data, np.array([True, False, True]), {"fit": [1.0, 2.0]})
    pd.testing.assert_frame_equal(data, before)
    assert list(out.index) == [7, 7, 9]
    np.testing.assert_array_equal(out["fit"], [1.0, np.nan, 2.0])


def test_to_series():
    complete = np.array([True, False, True])
    data = pd.DataFrame({"x": [1.0, 2.0, 3.0]}, index=["a", "b", "c"])
    out = to_series(np.array([1.0, 2.0]), data, complete=complete, name="fit")
    assert (list(out.index), out.name) == (["a", "c"], "fit")
    assert list(to_series(np.ones(3), data).index) == ["a", "b", "c"]
    assert isinstance(to_series([1.0], pl.DataFrame({"x": [1]})), pl.Series)
    assert isinstance(to_series([1.0], pa.table({"x": [1]})), pa.ChunkedArray)
    assert isinstance(to_series([1.0], {"x": [1]}), pd.Series)


def test_snapshot_is_safe_from_later_changes():
    frame = pd.DataFrame({"x": [1.0, 2.0], "s": ["a", "b"]})
    kept = snapshot(frame)
    view = read(kept, ["x"]).numbers["x"]
    frame.loc[0, "x"] = 99.0
    frame["s"] = "z"
    assert kept.loc[0, "x"] == 1.0
    assert kept["s"].tolist() == ["a", "b"]
    assert view[0] == 1.0

    values = np.array([1.0, 2.0])
    kept = snapshot({"x": values})
    values[0] = 99.0
    assert kept.loc[0, "x"] == 1.0

    polars = pl.DataFrame({"x": [1.0, 2.0]})
    kept = snapshot(polars)
    polars[0, "x"] = 99.0
    assert kept[0, "x"] == 1.0

    table = pa.table({"x": [1.0]})
    assert snapshot(table) is table


@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_the_users_frame_is_unchanged(kind):
    columns = {"x": [3.0, 1.0, None], "f": ["b", None, "a"], "k": [1, 2, 3]}
    data, before = make(columns, kind), make(columns, kind)
    if kind == "pandas":
        data.attrs["note"] = "kept"
    read(data, ["x", "f"], categorical=["k"], grouping=["f"], arrays={"w": np.ones(3)})
    attach(data, None, {"new": np.ones(3)})
    assert data.equals(before)
    assert kind != "pandas" or data.attrs == {"note": "kept"}


def small() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    g = np.repeat(np.arange(6), 5)
    return pd.DataFrame(
        {"y": rng.normal(size=30) + rng.normal(size=6)[g], "x": rng.normal(size=30), "g": g}
    )


def test_row_labels_in_another_order_are_refused() -> None:
    data = small()
    weights = pd.Series(np.linspace(1.0, 2.0, 30), index=data.index)
    right = mm.lmer("y ~ x + (1 | g)", data, weights=weights)
    for option in ("weights", "offset"):
        with pytest.raises(DataError, match=f"{option} is a Series .* position 0: 29, data: 0"):
            mm.lmer("y ~ x + (1 | g)", data, **{option: weights[::-1]})
    with pytest.raises(DataError, match="the new response is a Series"):
        right.refit(data["y"][::-1])
    with pytest.raises(DataError, match=r"position 0: 'r29', data: 'r0'"):
        mm.lmer(
            "y ~ x + (1 | g)",
            data.set_axis([f"r{i}" for i in range(30)]),
            weights=weights.set_axis([f"r{29 - i}" for i in range(30)]),
        )
    # labels of their own, or none: positions count
    other = weights.set_axis(range(100, 130))
    assert mm.lmer("y ~ x + (1 | g)", data, weights=other).criterion == right.criterion
    assert right.refit(data["y"]).criterion == pytest.approx(right.criterion, abs=1e-9)


def test_a_refit_of_complete_rows_compares_their_labels() -> None:
    data = small()
    data.loc[3, "x"] = np.nan
    model = mm.lmer("y ~ x + (1 | g)", data)
    kept = data["y"].drop(3)
    assert model.refit(kept).criterion == pytest.approx(model.criterion, abs=1e-9)
    with pytest.raises(DataError, match="in another order"):
        model.refit(kept[::-1])


@pytest.mark.parametrize(
    ("columns", "mend"),
    [
        (["y", 0, "g"], r"0 is not: set data.columns = \[str\(name\)"),
        (pd.MultiIndex.from_product([["y", "x", "g"], ["a"]]), r"\['_'.join\(map\(str, name\)\)"),
    ],
)
def test_names_that_are_not_text(columns: Any, mend: str) -> None:
    with pytest.raises(DataError, match=mend) as caught:
        mm.lmer("y ~ `0` + (1 | g)", small().set_axis(columns, axis=1))
    assert "did you mean '0'" not in str(caught.value)


def test_whole_numbers_beyond_floats_are_told_of() -> None:
    data = small()
    data["x"] = 10**9 * np.arange(30, dtype=np.int64) + 2**53 + 1  # odd: no floats
    with pytest.warns(DataWarning, match="30 whole numbers in 'x' .* rounded"):
        mm.lmer("y ~ x + (1 | g)", data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mm.lmer("y ~ x + (1 | g)", data.assign(x=(data["x"] - 2**53 - 1) * 2**20))


def test_numbers_whose_sum_overflows_are_not_called_constant() -> None:
    for name in ("y", "x"):
        data = small()
        data[name] *= 1e308 / np.abs(data[name]).max()
        with pytest.raises(DataError, match=rf"'{name}' is of the order 1e\+308"):
            mm.lmer("y ~ x + (1 | g)", data)


def test_what_is_no_frame_and_no_formula() -> None:
    with pytest.raises(mm.ArgumentError, match="data must be a pandas or Polars"):
        mm.lmer("y ~ x + (1 | g)", [1, 2])
