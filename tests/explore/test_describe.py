"""Summaries of cells against pandas and SciPy; totals, gaps and hostile input."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import mixedmodels as mm
from mixedmodels.explore.describe import STATISTICS


def pandas_statistics(values: pd.Series) -> dict[str, float]:
    """The same statistics, one cell at a time, by pandas and SciPy."""
    y = values.dropna()
    return {
        "n": len(y),
        "missing": len(values) - len(y),
        "mean": y.mean(),
        "sd": y.std(),
        "se": stats.sem(y) if len(y) > 1 else np.nan,
        "cv": stats.variation(y, ddof=1) if len(y) > 1 and y.mean() else np.nan,
        "median": y.median(),
        "q1": y.quantile(0.25),
        "q3": y.quantile(0.75),
        "min": y.min(),
        "max": y.max(),
        "skewness": y.skew() if y.nunique() > 1 else np.nan,
    }


@pytest.fixture(scope="module")
def piglets() -> pd.DataFrame:
    return mm.datasets.load("piglets")


def with_gaps(piglets: pd.DataFrame) -> pd.DataFrame:
    frame = piglets.copy()
    frame.loc[np.random.default_rng(3).random(len(frame)) < 0.2, "BW"] = np.nan
    return frame


def test_cells_agree_with_pandas_and_scipy(piglets: pd.DataFrame) -> None:
    frame = with_gaps(piglets)
    table = mm.describe(frame, response="BW", by=["treatm", "time"])
    cells = table.dropna(subset="time")
    groups = frame.groupby(["treatm", "time"], observed=True)["BW"]
    assert len(cells) == groups.ngroups == 20
    for (treatm, time), values in groups:
        row = cells[(cells["treatm"] == treatm) & (cells["time"] == time)].iloc[0]
        for name, expected in pandas_statistics(values).items():
            assert row[name] == pytest.approx(expected, rel=1e-12, abs=1e-14), (name, treatm, time)
    total = table.iloc[-1]
    assert pd.isna(total["treatm"])
    assert pd.isna(total["time"])
    for name, expected in pandas_statistics(frame["BW"]).items():
        assert total[name] == pytest.approx(expected, rel=1e-12), name


def test_se_is_that_of_the_mean(piglets: pd.DataFrame) -> None:
    row = mm.describe(piglets, "BW", totals="none").iloc[0]
    model = mm.lm("BW ~ 1", piglets).tidy().iloc[0]
    assert row["mean"] == pytest.approx(model["estimate"], rel=1e-13)
    assert row["se"] == pytest.approx(model["std_error"], rel=1e-12)


@pytest.mark.parametrize("totals", ["overall", "margins", "none"])
def test_totals(piglets: pd.DataFrame, totals: str) -> None:
    table = mm.describe(piglets, "BW", ["treatm", "time"], totals=totals)
    assert len(table) == {"overall": 21, "margins": 30, "none": 20}[totals]
    of_treatm = table[table["treatm"].notna() & table["time"].isna()]
    of_time = table[table["treatm"].isna() & table["time"].notna()]
    if totals == "margins":
        alone = mm.describe(piglets, "BW", "treatm", totals="none")
        assert np.array_equal(of_treatm[list(STATISTICS)], alone[list(STATISTICS)])
        assert of_time["n"].tolist() == [75, 75, 75, 72]
    else:
        assert of_treatm.empty
        assert of_time.empty


def test_without_groups_there_is_one_row(piglets: pd.DataFrame) -> None:
    assert len(mm.describe(piglets, "BW")) == 1


def test_subjects_and_time(piglets: pd.DataFrame) -> None:
    table = mm.describe(with_gaps(piglets), "BW", "treatm", id="animal", time="time")
    assert table.columns[:3].tolist() == ["treatm", "time", "subjects"]
    cells = table[table["time"].notna()]
    assert (cells["subjects"] == cells["n"]).all()
    assert table["subjects"].iloc[-1] == 75
    assert cells["time"].tolist() == [0, 7, 14, 21] * 5


@pytest.mark.parametrize("backend", ["polars", "pyarrow"])
def test_every_kind_of_frame(piglets: pd.DataFrame, backend: str) -> None:
    frame = mm.datasets.load("piglets", backend=backend)
    table = mm.describe(frame, "BW", ["treatm", "time"], id="animal")
    assert isinstance(table, pl.DataFrame if backend == "polars" else pa.Table)
    types = [t["time"].type if backend == "pyarrow" else t["time"].dtype for t in (frame, table)]
    assert types[0] == types[1]
    again = table.to_pandas()
    expected = mm.describe(piglets, "BW", ["treatm", "time"], id="animal")
    assert np.array_equal(again["skewness"], expected["skewness"])
    assert again["treatm"].astype(object).tolist()[:-1] == expected["treatm"].tolist()[:-1]


def test_cells_of_dates_keep_their_type() -> None:
    days = [dt.date(2024, 1, 2), dt.date(2024, 1, 1), dt.date(2024, 1, 2)]
    table = mm.describe(pl.DataFrame({"day": days, "y": [1.0, 2.0, 3.0]}), "y", "day")
    assert table["day"].to_list() == [dt.date(2024, 1, 1), dt.date(2024, 1, 2), None]
    assert table["mean"].to_list() == [2.0, 2.0, 2.0]


def test_few_or_equal_values() -> None:
    data = {"g": list("aabbbc"), "y": [1.0, 3.0, 2.0, 2.0, 2.0, 5.0]}
    table = mm.describe(data, "y", "g").set_index("g")
    assert np.isnan(table.loc["a", "skewness"])
    assert table.loc["b", "sd"] == table.loc["b", "cv"] == 0.0
    assert np.isnan(table.loc["b", "skewness"])
    assert table.loc["c", ["sd", "se", "cv", "skewness"]].isna().all()
    assert table.loc["c", ["mean", "median", "q1", "min", "max"]].eq(5.0).all()


def test_values_far_from_zero_lose_no_digits() -> None:
    y = np.random.default_rng(1).normal(size=500)
    near, far = (mm.describe({"y": y + shift}, "y").iloc[0] for shift in (0.0, 2.0**30))
    # adding 2^30 itself leaves y about 1e-7
    assert far["sd"] == pytest.approx(near["sd"], rel=1e-7)
    assert far["skewness"] == pytest.approx(near["skewness"], abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(-1000, 1000))), min_size=1
    )
)
def test_any_cells(rows: list[tuple[int, int | None]]) -> None:
    frame = pd.DataFrame(rows, columns=["g", "y"]).astype({"y": float})
    counts = frame.groupby("g")["y"].count()
    if not counts.any():
        return
    if (counts == 0).any():
        with pytest.warns(mm.DataWarning, match="has no values in the cell"):
            table = mm.describe(frame, "y", "g", totals="none")
    else:
        table = mm.describe(frame, "y", "g", totals="none")
    for (_, values), (_, row) in zip(frame.groupby("g")["y"], table.iterrows(), strict=True):
        expected = pandas_statistics(values)
        if len(values.dropna()) < 3:
            expected["skewness"] = np.nan
        for name, number in expected.items():
            assert row[name] == pytest.approx(number, rel=1e-10, abs=1e-11, nan_ok=True), name


# --- hostile input --------------------------------------------------------------------------------

DATA = {"id": [1, 1, 2], "t": [0, 7, 0], "g": ["a", "a", "b"], "y": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("change", "kw", "message"),
    [
        ({}, {"response": "yy"}, r"no column 'yy' \(did you mean 'y'"),
        ({}, {"by": "G"}, "did you mean 'g'"),
        ({}, {"id": "idd"}, "did you mean 'id'"),
        ({}, {"response": "g"}, "column 'g' .* must hold numbers, but it holds text"),
        ({}, {"by": "y"}, "both the response and one of by="),
        ({"y": [np.nan] * 3}, {}, "has no values: all 3 are missing"),
        ({"y": [1.0, np.inf, 2.0]}, {}, r"1 infinite value \(first at row 1\)"),
        ({"g": [None] * 3}, {"by": "g"}, "'g' .* has no values"),
        ({"mean": [1, 1, 2]}, {"by": "mean"}, "has the name of a statistic"),
        ({"y": [dt.date(2024, 1, 1)] * 3}, {}, "must hold numbers"),
        ({"y": [1e200, 2e200, 3e200]}, {}, r"order 3e\+200: its powers cannot be represented"),
        ({"y": [1e-200, 0.0, 3e-200]}, {}, "order 3e-200"),
    ],
)
def test_refused(change: dict, kw: dict, message: str) -> None:
    with pytest.raises(mm.DataError, match=message):
        mm.describe(DATA | change, **({"response": "y"} | kw))


def test_refused_arguments() -> None:
    with pytest.raises(mm.ModelError, match="totals must be"):
        mm.describe(DATA, "y", totals="all")
    with pytest.raises(TypeError, match="by must be a string, a list of strings or None"):
        mm.describe(DATA, "y", by=[1])
    with pytest.raises(TypeError, match="must be a pandas or Polars"):
        mm.describe("y", "y")
    with pytest.raises(mm.DataError, match="0 rows"):
        mm.describe({"y": []}, "y")


@pytest.mark.parametrize(
    ("change", "kw", "message"),
    [
        ({"g": ["a", None, "b"]}, {"by": "g"}, "in no cell .*: 1 row without g"),
        ({"g": pd.Categorical(list("aab"), list("abc"))}, {"by": "g"}, "levels without rows.*'c'"),
        ({"y": [1.0, 2.0, None]}, {"by": "g"}, "no values in the cell g 'b'"),
        ({"t": [0, 0, 0]}, {"id": "id", "time": "t"}, "id 1 has 2 rows at t 0"),
        ({"id": [1, None, 2]}, {"id": "id"}, "for no subject: 1 row without id"),
        ({"y": [1.0, 2.0, None]}, {"id": "id"}, "1 subject without any value of 'y': 2"),
        ({"t": ["x", "y", "x"]}, {"time": "t"}, "alphabetical order"),
        ({"t": ["0", "14", "7"]}, {"time": "t"}, "numbers as text"),
    ],
)
def test_warned(change: dict, kw: dict, message: str) -> None:
    with pytest.warns(mm.DataWarning, match=message) as caught:
        mm.describe(DATA | change, "y", **kw)
    assert caught[0].filename == __file__


def test_rows_without_a_group_count_in_the_total() -> None:
    with pytest.warns(mm.DataWarning, match="1 row without g"):
        table = mm.describe(DATA | {"g": ["a", None, "b"]}, "y", "g")
    assert table["n"].tolist() == [1, 1, 3]


def test_numbers_as_text_are_ordered_as_numbers() -> None:
    with pytest.warns(mm.DataWarning, match="numbers as text"):
        table = mm.describe(DATA | {"t": ["0", "14", "7"]}, "y", time="t", totals="none")
    assert table["t"].tolist() == ["0", "7", "14"]
    category = pd.Series(["0", "14", "7"]).astype("category")  # pandas sorts these as text
    table = mm.describe(DATA | {"t": category}, "y", time="t", totals="none")
    assert table["t"].tolist() == ["0", "7", "14"]
