"""Plots of the data: what they draw agrees with pandas, whatever the frame or the names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mixedmodels as mm
from mixedmodels.plot.columns import cells, collect, some_lines, some_rows
from tests.plot.common import HOSTILE, PIGS, draw, hostile, kinds, layer, piglets, titles

TIMED = {"time": "time", "response": "BW"}


def test_means_agree_with_pandas_and_scipy() -> None:
    from scipy import stats

    p = mm.plot.means(piglets(), by="treatm", level=0.9, **TIMED)
    cell = piglets().groupby(["treatm", "time"], observed=True)["BW"]
    expected = cell.agg(["mean", "sem", "count"]).reset_index()
    half = stats.t.ppf(0.95, expected["count"] - 1) * expected["sem"]
    np.testing.assert_allclose(p.data["response"], expected["mean"], rtol=1e-12)
    np.testing.assert_allclose(p.data["conf_high"], expected["mean"] + half, rtol=1e-12)
    assert p.data["n"].tolist() == expected["count"].tolist()
    assert list(p.data["by"].cat.categories) == ["1", "2", "3", "4", "5"]


def test_trajectories_have_a_line_per_subject_and_a_mean_per_panel() -> None:
    labels = {"BW": "Body weight (kg)"}
    p = mm.plot.trajectories(piglets(), by="treatm", labels=labels, **PIGS)
    assert kinds(p) == ["line", "line", "point"]
    assert layer(p, "line")["line"].nunique() == 75
    assert len(p.layers[1]._data) == 20
    assert titles(p)["y"] == "Body weight (kg)"
    assert titles(p)["x"] == "time"


@pytest.mark.parametrize("convert", [pl.from_pandas, pa.Table.from_pandas, dict])
def test_any_frame(convert: object) -> None:
    frame = piglets().astype({"animal": str, "treatm": str})
    other = convert(frame)  # type: ignore[operator]
    for name, kw in (("trajectories", PIGS), ("means", TIMED), ("boxes", TIMED)):
        one, two = (getattr(mm.plot, name)(data, by="treatm", **kw) for data in (frame, other))
        pd.testing.assert_frame_equal(one.data, two.data)


@pytest.mark.parametrize("kind", ["pandas", "date", "arrow", "zone", "polars", "period"])
def test_dates_of_every_kind(kind: str) -> None:
    days = pd.date_range("2024-01-01", periods=4)
    column = {
        "pandas": days,
        "date": [d.date() for d in days],
        "arrow": pd.array(days, dtype="timestamp[us][pyarrow]"),
        "zone": days.tz_localize("America/New_York"),
        "polars": pl.Series(days),
        "period": days.to_period("D"),
    }[kind]
    data = {"when": column, "y": [1.0, 2.0, 3.0, 4.0]}
    p = mm.plot.means(pl.DataFrame(data) if kind == "polars" else data, time="when", response="y")
    assert list(pd.to_datetime(p.data["time"])) == list(days)


def test_durations_are_days() -> None:
    data = pd.DataFrame({"t": pd.to_timedelta([0, 36, 48], unit="h"), "y": [1.0, 2.0, 3.0]})
    p = mm.plot.means(data, time="t", response="y")
    assert p.data["time"].tolist() == [0.0, 1.5, 2.0]
    assert titles(p)["x"] == "t (days)"
    assert (
        titles(mm.plot.means(data, time="t", response="y", labels={"t": "Age (d)"}))["x"]
        == "Age (d)"
    )


def test_text_times_keep_the_order_of_a_category() -> None:
    visits = pd.Categorical(["start", "end"] * 3, categories=["start", "end"], ordered=True)
    data = pd.DataFrame({"visit": visits, "y": np.arange(6.0), "id": np.repeat([1, 2, 3], 2)})
    p = mm.plot.trajectories(data, id="id", time="visit", response="y")
    assert list(p.data["time"].cat.categories) == ["start", "end"]
    draw(p)


def test_hostile_names_and_labels_are_drawn_as_they_stand() -> None:
    data = hostile()
    timed = {name: HOSTILE[name] for name in ("time", "response")}
    p = mm.plot.trajectories(data, by="PANEL", **HOSTILE)
    assert titles(p)["y"] == r"weight \$a\$ & \$b^{"
    draw(p)
    draw(mm.plot.means(data, by="PANEL", **timed))
    draw(mm.plot.boxes(data, by="PANEL", **timed))
    draw(mm.plot.violins(data, by="PANEL", **timed))
    draw(mm.plot.distribution(data, response=HOSTILE["response"], by="PANEL"))


def test_single_rows_constant_values_and_empty_cells() -> None:
    one = pd.DataFrame({"g": ["a", "b"], "id": [1, 2], "t": [0.0, 0.0], "y": [1.0, 2.0]})
    kw = {"time": "t", "response": "y"}
    draw(mm.plot.trajectories(one, id="id", by="g", **kw))
    p = mm.plot.means(one, by="g", **kw)
    assert p.data["conf_low"].isna().all()
    draw(p)
    same = pd.DataFrame({"t": np.tile([1.0, 2.0], 20), "y": np.ones(40)})
    for name in ("means", "boxes", "violins"):
        draw(getattr(mm.plot, name)(same, **kw))
    draw(mm.plot.distribution(same, response="y"))


def test_a_panel_with_one_time_beside_others() -> None:
    data = pd.DataFrame(
        {"g": list("aaab"), "id": [1, 1, 1, 2], "t": [0.0, 1.0, 2.0, 0.0], "y": np.arange(4.0)}
    )
    draw(mm.plot.trajectories(data, id="id", time="t", response="y", by="g"))
    draw(mm.plot.means(data, time="t", response="y", by="g"))


def test_missing_values_are_left_out_and_told() -> None:
    data = piglets().copy()
    data.loc[[0, 5], "BW"] = np.nan
    p = mm.plot.trajectories(data, **PIGS)
    assert len(p.data) == 295
    assert "2 rows with a missing value left out" in titles(p)["caption"]


def test_combinations_of_two_columns() -> None:
    data = piglets().assign(sex=np.where(np.arange(297) % 2, "f", "m"))
    p = mm.plot.boxes(data, by=["treatm", "sex"], **TIMED)
    assert list(p.data["by"].cat.categories)[:3] == ["1, f", "1, m", "2, f"]


def test_many_subjects_and_times_are_sampled_and_classed_the_same_each_time() -> None:
    rng = np.random.default_rng(2)
    n = 3000
    data = pd.DataFrame(
        {
            "id": np.repeat(np.arange(n), 4),
            "t": rng.uniform(0, 9, 4 * n),
            "y": rng.normal(size=4 * n),
        }
    )
    data["g"] = data["id"] % 3
    kw = {"id": "id", "time": "t", "response": "y", "by": "g"}
    p, q = mm.plot.trajectories(data, **kw), mm.plot.trajectories(data, **kw)
    lines = layer(p, "line")
    assert lines["line"].nunique() == 300
    assert lines.groupby("by", observed=True)["line"].nunique().tolist() == [100, 100, 100]
    pd.testing.assert_frame_equal(lines, layer(q, "line"))
    assert "300 of 3,000 lines drawn" in titles(p)["caption"]
    assert "12,000 distinct times in 20 classes" in titles(p)["caption"]


def test_classes_of_time_hold_the_means_of_their_rows() -> None:
    time = np.random.default_rng(3).uniform(0, 10, 500)
    cell = cells(pd.Series(time))
    for k in range(20):
        np.testing.assert_allclose(cell.at[k], time[cell.codes == k].mean(), rtol=1e-12)
    dates = pd.Series(pd.Timestamp("2020-01-01") + pd.to_timedelta(time, unit="D"))
    np.testing.assert_array_equal(cells(dates).codes, cell.codes)
    assert cells(dates).at.dtype.kind == "M"


def test_samples_hold_the_extremes() -> None:
    values = np.random.default_rng(4).normal(size=20_000)
    rows = some_rows(len(values), 1000, extremes=values)
    assert len(np.unique(rows)) == 1000
    assert set(np.argsort(-np.abs(values))[:20]) <= set(rows.tolist())
    assert len(some_rows(10, 1000)) == 10
    keep, drawn, n_lines = some_lines(np.arange(50), np.repeat([0, 1], 25), 10)
    assert (keep.sum(), drawn, n_lines) == (10, 10, 50)


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"time": "tiem"}, r"for time=.*'tiem' \(did you mean 'time'"),
        ({"response": "bw"}, r"for response=.*'bw' \(did you mean 'BW'\?\)"),
        ({"response": "treatm"}, "column 'treatm'.*for response=.*must hold numbers"),
        ({"by": "tretm"}, r"'tretm' \(did you mean 'treatm'\?\)"),
        ({"by": "animal"}, "by='animal' has 75 levels; one plot shows at most 24"),
    ],
)
def test_columns_that_cannot_be_used(kw: dict[str, str], message: str) -> None:
    with pytest.raises(mm.DataError, match=message):
        mm.plot.means(piglets(), **(TIMED | kw))


def test_nothing_to_draw() -> None:
    with pytest.raises(mm.DataError, match="no rows to draw"):
        collect({"x": [1.0, None], "y": [None, 2.0]}, numbers={"a": "x", "b": "y"})
    with pytest.raises(mm.ModelError, match="level"):
        mm.plot.means(piglets(), level=95, **TIMED)


def test_plots_can_be_extended() -> None:
    import plotnine as p9

    p = mm.plot.means(piglets(), **TIMED) + p9.ggtitle("Growth") + p9.ylim(0, 20)
    assert isinstance(p, p9.ggplot)
    assert p.labels.title == "Growth"
    draw(p)
