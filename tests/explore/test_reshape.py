"""Wide to long and back: times read from names, every kind of frame, hostile input."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedmodels as mm
from mixedmodels.explore.time_names import parse_name, text_of

KINDS = ("pandas", "polars", "pyarrow")
WIDE = {
    "pig": ["b", "a", "c"],
    "diet": [1, 2, 1],
    "BW0": [6.1, 7.3, None],
    "BW7": [7.0, 8.5, 9.0],
    "BW14": [8.0, None, 9.5],
}


def make(columns, kind):
    if kind == "dict":
        return columns
    if kind == "pandas":
        return pd.DataFrame(columns)
    return pl.DataFrame(columns) if kind == "polars" else pa.table(columns)


def columns_of(frame):
    """A frame of any kind as lists, None where there is no value."""
    if isinstance(frame, pd.DataFrame):
        return {
            name: [None if pd.isna(value) else value for value in frame[name].tolist()]
            for name in frame.columns
        }
    return frame.to_dict(as_series=False) if isinstance(frame, pl.DataFrame) else frame.to_pydict()


@pytest.mark.parametrize("kind", [*KINDS, "dict"])
def test_to_long(kind):
    data = make(WIDE, kind)
    long = mm.to_long(data, id="pig", time="day", value="BW")
    library = type(long).__module__.split(".")[0]
    assert library == ("pandas" if kind == "dict" else kind)
    assert columns_of(long) == {
        "pig": list("bbbaaaccc"),
        "diet": [1, 1, 1, 2, 2, 2, 1, 1, 1],
        "day": [0, 7, 14] * 3,
        "BW": [6.1, 7.0, 8.0, 7.3, 8.5, None, None, 9.0, 9.5],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(kind):
    data = make(WIDE, kind)
    long = mm.to_long(data, id="pig", time="day", value="BW")
    wide = mm.to_wide(long, id="pig", time="day", value="BW", separator="")
    assert columns_of(wide) == columns_of(data)


@pytest.mark.parametrize("kind", KINDS)
def test_types_are_kept(kind):
    frame = mm.datasets.load("piglets", backend=kind)
    wide = mm.to_wide(frame, id="animal", time="time", value="BW")
    long = mm.to_long(wide, id="animal", time="time", value="BW")
    for name in ("animal", "treatm", "time"):
        before, after = frame[name], long[name]
        types = [x.type if kind == "pyarrow" else x.dtype for x in (before, after)]
        assert types[0] == types[1], name
    observed = [row for row in zip(*columns_of(long).values(), strict=True) if None not in row]
    order = ["animal", "treatm", "time", "BW"]
    assert list(columns_of(long)) == order
    original = list(zip(*(columns_of(frame)[name] for name in order), strict=True))
    assert observed == original


NAMES = {
    "BW0": ("BW", 0),
    "BW07": ("BW", 7),
    "bw_day21": ("bw", 21),
    "weight.3": ("weight", 3),
    "2019": ("", 2019),
    "BW_2019-01-31": ("BW", dt.date(2019, 1, 31)),
    "BW 2019-01-31 00:00:00": ("BW", dt.date(2019, 1, 31)),
    "T1_anxiety": ("anxiety", 1),
    "day7.weight": ("weight", 7),
    "7d_BW": ("BW", 7),
    "2019_income": ("income", 2019),
    "BW (day 7)": ("BW", 7),
    "BW[7]": ("BW", 7),
    "BW-7": ("BW", 7),
    "BW_-7": ("BW", -7),
    "BW_1.5": ("BW", 1.5),
    "weight 3 days": ("weight", 3),
    "week 12": ("week", 12),
    "w12": ("w", 12),
    "IL6_3.5h": ("IL6", 3.5),
    "PM10_2019": ("PM10", 2019),
    "score_T10": ("score", 10),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_with_times(name):
    found = parse_name(name)
    assert found is not None
    assert (found.stem, found.time) == NAMES[name]
    assert type(found.time) is type(NAMES[name][1])


@pytest.mark.parametrize("name", ["treatment", "HbA1c", "", "pre", "x_"])
def test_names_without_times(name):
    assert parse_name(name) is None


def test_a_dash_is_a_minus_sign_only_where_other_names_have_none():
    wide = {"id": [1], "d-7": [1.0], "d0": [2.0], "d7": [3.0]}
    assert mm.to_long(wide, id="id")["time"].tolist() == [-7, 0, 7]
    wide = {"id": [1], "d-0": [1.0], "d-7": [2.0]}
    assert mm.to_long(wide, id="id")["time"].tolist() == [0, 7]


def test_times_are_sorted_as_numbers_and_decimals_make_floats():
    wide = {"id": [1], "c14": [1.0], "c0": [2.0], "c0.5": [3.0], "c7": [4.0]}
    long = mm.to_long(wide, id="id")
    assert long["time"].tolist() == [0.0, 0.5, 7.0, 14.0]
    assert long["value"].tolist() == [2.0, 3.0, 4.0, 1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_dates(kind):
    wide = make({"id": [1, 2], "2024-03-01": [1.0, 2.0], "2024-02-01": [3.0, 4.0]}, kind)
    long = mm.to_long(wide, id="id")
    times = columns_of(long)["time"]
    assert [pd.Timestamp(t) for t in times[:2]] == [
        pd.Timestamp("2024-02-01"),
        pd.Timestamp("2024-03-01"),
    ]
    again = mm.to_wide(long, id="id", separator="")
    assert list(columns_of(again)) == ["id", "value2024-02-01", "value2024-03-01"]


def test_pivot_tables_come_back():
    piglets = mm.datasets.load("piglets")
    wide = piglets.pivot(index="animal", columns="time", values="BW")
    long = mm.to_long(wide, id="animal", value="BW")  # the id is the index, names are numbers
    pd.testing.assert_frame_equal(
        long.dropna().reset_index(drop=True),
        piglets[["animal", "time", "BW"]].sort_values(["animal", "time"]).reset_index(drop=True),
    )


MEASURES = {"id": ["a", "b"], "BW0": [1.0, 2.0], "BW7": [3.0, 4.0], "FI7": [5, 6], "FI14": [7, 8]}


@pytest.mark.parametrize("kind", KINDS)
def test_several_measures(kind):
    long = mm.to_long(make(MEASURES, kind), id="id", value=["BW", "FI"])
    assert columns_of(long) == {
        "id": list("aaabbb"),
        "time": [0, 7, 14] * 2,
        "BW": [1.0, 3.0, None, 2.0, 4.0, None],
        "FI": [None, 5, 7, None, 6, 8],
    }
    wide = mm.to_wide(long, id="id", value=["BW", "FI"], separator="")
    assert columns_of(wide)["FI14"] == [7, 8]
    assert columns_of(wide)["FI0"] == [None, None]


def test_one_of_several_measures_by_its_name():
    long = mm.to_long(MEASURES, id="id", value="FI")
    assert long.columns.tolist() == ["id", "BW0", "BW7", "time", "FI"]


def test_columns_by_hand():
    wide = {"id": [1, 2], "start": [1.0, 2.0], "end": [3.0, 4.0]}
    long = mm.to_long(wide, id="id", columns={"start": 0, "end": 7})
    assert long["time"].tolist() == [0, 7, 0, 7]
    named = mm.to_long(wide, id="id", columns={"start": "pre", "end": "post"})
    assert named["time"].tolist() == ["pre", "post"] * 2
    listed = mm.to_long(MEASURES, id="id", value="feed", columns=["FI7", "FI14"])
    assert listed["feed"].tolist() == [5, 7, 6, 8]
    prefixed = mm.to_long(MEASURES, id="id", value="weight", columns="BW")
    assert prefixed["weight"].tolist() == [1.0, 3.0, 2.0, 4.0]


def test_several_id_columns():
    data = pd.DataFrame(
        {"farm": [1, 1, 2, 2], "pig": [1, 1, 1, 1], "time": [7, 0, 0, 7], "value": [2.0, 1, 3, 4]}
    )
    wide = mm.to_wide(data, id=["farm", "pig"])
    assert wide.to_dict("list") == {
        "farm": [1, 2],
        "pig": [1, 1],
        "value_0": [1.0, 3.0],
        "value_7": [2.0, 4.0],
    }


def test_subject_level_columns_take_the_value_that_is_there():
    data = {"id": [1, 1, 2], "time": [0, 1, 0], "sex": [None, "f", "m"], "value": [1, 2, 3]}
    assert mm.to_wide(data, id="id")["sex"].tolist() == ["f", "m"]


def test_the_data_stay_as_they_are():
    frame = pd.DataFrame(WIDE, index=[5, 6, 7])
    before = frame.copy()
    mm.to_wide(mm.to_long(frame, id="pig"), id="pig")
    pd.testing.assert_frame_equal(frame, before)


# --- properties -----------------------------------------------------------------------------------

VALUES = st.one_of(st.none(), st.floats(-1e6, 1e6))
TIMES = st.one_of(
    st.lists(st.integers(-50, 5000), min_size=2, max_size=6, unique=True),
    st.lists(st.integers(0, 400).map(lambda i: i / 8), min_size=2, max_size=6, unique=True),
    st.lists(st.dates(dt.date(1900, 1, 1)), min_size=2, max_size=5, unique=True),
)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=st.sampled_from(KINDS), times=TIMES, n=st.integers(1, 5))
def test_round_trip_of_wide_data(data, kind, times, n):
    times = sorted(times)
    columns = {"subject": [f"s{i}" for i in range(n)], "dose": list(range(n))}
    for at in times:
        values = data.draw(st.lists(VALUES, min_size=n, max_size=n))
        columns[f"y_{text_of(at)}"] = [None if v is None else float(v) for v in values]
    schema = {name: pl.Float64 for name in columns if name.startswith("y_")}
    frame = pl.DataFrame(columns, schema_overrides=schema)
    frame = {"pandas": frame.to_pandas, "pyarrow": frame.to_arrow, "polars": frame.clone}[kind]()
    long = mm.to_long(frame, id="subject", value="y")
    assert len(long) == n * len(times)
    assert columns_of(mm.to_wide(long, id="subject", value="y")) == columns_of(frame)


@settings(max_examples=40, deadline=None)
@given(
    rows=st.dictionaries(
        st.tuples(st.integers(0, 4), st.integers(0, 30)), st.floats(-1e6, 1e6), min_size=1
    ),
    order=st.randoms(use_true_random=False),
    kind=st.sampled_from(KINDS),
)
def test_round_trip_of_long_data(rows, order, kind):
    keys = list(rows)
    order.shuffle(keys)
    columns = {
        "id": [i for i, _ in keys],
        "time": [t for _, t in keys],
        "value": [rows[key] for key in keys],
    }
    wide = mm.to_wide(make(columns, kind), id="id")
    if len({t for _, t in keys}) < 2:
        return
    long = columns_of(mm.to_long(wide, id="id"))
    back = {
        (i, t): v
        for i, t, v in zip(long["id"], long["time"], long["value"], strict=True)
        if v is not None
    }
    assert back == rows


# --- what is refused or warned of -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kw", "message"),
    [
        ({}, {"id": "pgi"}, r"no column 'pgi' \(did you mean 'pig'\?\)"),
        ({}, {"id": []}, "id= names no column"),
        ({"BW7": None, "BW14": None}, {"id": "pig"}, "no two columns whose names differ only"),
        ({"FI1": [1, 2, 3], "FI2": [1, 2, 3]}, {"id": "pig"}, "The data hold 2 .*'BW': BW0"),
        ({}, {"id": "pig", "value": ["BW", "FI"]}, "no family of columns is called 'FI'"),
        ({"BW14": ["8", "9", "n.a."]}, {"id": "pig"}, r"column 'BW14' does not hold numbers"),
        ({"BW_7": [1.0, 2.0, 3.0]}, {"id": "pig"}, "'BW7' and 'BW_7' both hold .* at time 7"),
        ({"BW_week2": [1.0, 2.0, 3.0]}, {"id": "pig"}, "different units"),
        ({"BW_2020-01-01": [1.0, 2.0, 3.0]}, {"id": "pig"}, "mix times of different kinds"),
        ({"time": [1, 2, 3]}, {"id": "pig"}, "new column 'time' would be there twice"),
        ({}, {"id": "pig", "value": "diet"}, "new column 'diet' would be there twice"),
        ({}, {"id": "pig", "columns": ["BW0", "diet"]}, "the column name 'diet' holds no time"),
        ({}, {"id": "pig", "columns": ["BW0", "BW9"]}, "no column 'BW9'"),
        ({}, {"id": "pig", "columns": "FI"}, "no column name begins with 'FI'"),
        ({}, {"id": "pig", "columns": {"BW0": 0}, "value": ["a", "b"]}, "one measure"),
    ],
)
def test_to_long_refuses(change, kw, message):
    columns = {k: v for k, v in (WIDE | change).items() if v is not None}
    with pytest.raises(mm.DataError, match=message):
        mm.to_long(columns, **kw)


def test_to_long_warns_of_repeated_subjects():
    with pytest.warns(mm.DataWarning, match=r"1 subject with several rows \(pig 'b'\)"):
        mm.to_long(WIDE | {"pig": ["b", "a", "b"]}, id="pig")


@pytest.mark.parametrize("function", [mm.to_long, mm.to_wide])
def test_what_is_no_data(function):
    with pytest.raises(TypeError, match="must be a pandas or Polars DataFrame"):
        function([1, 2], id="pig")
    with pytest.raises(mm.DataError, match="0 rows"):
        function({"pig": [], "BW0": [], "BW7": []}, id="pig")


LONG = {"id": [1, 1, 2], "time": [0, 7, 0], "value": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("change", "kw", "message"),
    [
        ({"time": [0, 0, 0]}, {}, "id 1 has 2 rows at time 0: a cell of wide data"),
        ({"id": [1, None, 2]}, {}, "1 row without a value in 'id'"),
        ({"time": [0, None, 2]}, {}, "1 row without a value in 'time'"),
        ({}, {"value": "valeu"}, "did you mean 'value'"),
        ({}, {"value": "time"}, "'time' is given in two roles"),
        ({}, {"id": "time"}, "'time' is given in two roles"),
        ({"value_7": [1, 1, 1]}, {}, "'value_7' is in the data already"),
    ],
)
def test_to_wide_refuses(change, kw, message):
    with pytest.raises(mm.DataError, match=message):
        mm.to_wide(LONG | change, **({"id": "id"} | kw))


def test_to_wide_warns_of_columns_that_vary():
    with pytest.warns(mm.DataWarning, match="vary within id are left out: 'x'"):
        wide = mm.to_wide(LONG | {"x": [1, 2, 1], "s": ["f", "f", "m"]}, id="id")
    assert wide.columns.tolist() == ["id", "s", "value_0", "value_7"]


def test_text_times():
    with pytest.warns(mm.DataWarning, match="alphabetical order"):
        wide = mm.to_wide(LONG | {"time": ["pre", "post", "pre"]}, id="id")
    assert wide.columns.tolist() == ["id", "value_post", "value_pre"]


def test_size():
    n = 20_000
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(n, 12)), columns=[f"y{t}" for t in range(12)])
    wide["id"] = np.arange(n)
    long = mm.to_long(wide, id="id", value="y")
    again = mm.to_wide(long, id="id", value="y", separator="")
    pd.testing.assert_frame_equal(again[wide.columns], wide)
