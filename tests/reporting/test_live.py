"""Numbers of the interactive pictures: those of the data and of the model, and never markup."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.reporting.live import intervals_data, lines_data

START, END = '<div class="live" hidden><script type="application/json">', "</script></div>"


def unpacked(markup: str) -> dict[str, Any]:
    assert markup.startswith(START)
    assert markup.endswith(END)
    inside = markup.removeprefix(START).removesuffix(END)
    assert not set("<>&") & set(inside)
    assert inside.isascii()
    found: dict[str, Any] = json.loads(inside)
    return found


def of_lines(data: pd.DataFrame, names: list[object], **columns: str) -> dict[str, Any]:
    return unpacked(lines_data(mm.plot.trajectories(data, **columns), names, "pig", "diet"))


def test_lines_are_the_rows_of_each_subject() -> None:
    data = mm.datasets.load("piglets")
    names = sorted(data["animal"].unique())
    columns = {"id": "animal", "time": "time", "response": "BW", "by": "treatm"}
    found = of_lines(data, names, **columns)
    assert found["at"] == [0, 7, 14, 21]
    assert [panel["name"] for panel in found["panels"]] == [f"diet: {k}" for k in range(1, 6)]
    rows = {str(pig): own for pig, own in data.groupby("animal", observed=True)}
    by_diet = data.groupby("treatm", observed=True)
    for panel, (_, of_panel) in zip(found["panels"], by_diet, strict=True):
        mean = of_panel.groupby("time")["BW"].mean()
        np.testing.assert_allclose(panel["mean"][1], mean, rtol=1e-4)
        for name, at, values in panel["lines"]:
            own = rows.pop(name)
            assert [found["at"][i] for i in at] == own["time"].tolist()
            np.testing.assert_allclose(values, own["BW"], rtol=1e-4)
    assert rows == {}


def test_values_at_one_time_are_averaged_and_texts_escaped() -> None:
    name, response = "</script><b>&\u202e", "$y$ <i>"
    data = pd.DataFrame({"g": [name, name, name, "b"], "t": [1.0, 1.0, 2.0, 2.0]})
    data[response] = [1.0, 3.0, 5.0, 7.0]
    found = of_lines(data, [name, "b"], id="g", time="t", response=response)
    assert found["y"] == response
    lines = {line[0]: line[1:] for line in found["panels"][0]["lines"]}
    assert lines == {r"</script><b>&\u202e": [[0, 1], [2.0, 5.0]], "b": [[1], [7.0]]}


@pytest.mark.parametrize("kind", ["dates", "labels"])
def test_times_need_not_be_numbers(kind: str) -> None:
    days = pd.date_range("2024-02-28", periods=3, freq="D")
    times = days if kind == "dates" else pd.Categorical(["low", "mid", "top"], ordered=True)
    data = pd.DataFrame({"g": ["a"] * 3, "t": times, "y": [1.0, 2.0, 4.0]})
    found = of_lines(data, ["a"], id="g", time="t", response="y")
    assert found["scale"] == kind
    assert found["ticks"] == (None if kind == "dates" else ["low", "mid", "top"])
    seconds = [day.timestamp() for day in days]
    assert found["at"] == (seconds if kind == "dates" else [0, 1, 2])
    assert found["panels"][0]["lines"] == [["a", [0, 1, 2], [1.0, 2.0, 4.0]]]


def test_a_page_does_not_grow_without_end() -> None:
    n, each = 310, 110
    data = pd.DataFrame({"g": np.repeat(np.arange(n), each), "t": np.tile(np.arange(each), n)})
    data["y"] = np.random.default_rng(1).normal(size=len(data))
    plot = mm.plot.trajectories(data, id="g", time="t", response="y")
    assert lines_data(plot, list(range(n)), "g") == ""
    half = mm.plot.trajectories(data[data["t"] < 50], id="g", time="t", response="y")
    assert len(unpacked(lines_data(half, list(range(n)), "g"))["panels"][0]["lines"]) == 300


def test_intervals_are_those_of_the_caterpillar() -> None:
    m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    found = unpacked(intervals_data(mm.plot.caterpillar(m, level=0.9), "pig"))
    table = m.ranef().set_index(["term", "level"])
    assert [panel["name"] for panel in found["panels"]] == ["Intercept", "time"]
    for panel in found["panels"]:
        own = table.loc[panel["name"]].loc[found["names"]]
        half = 1.6448536269514722 * own["std_error"].to_numpy()
        np.testing.assert_allclose(panel["estimate"], own["estimate"], rtol=1e-4)
        np.testing.assert_allclose(panel["conf_low"], own["estimate"] - half, rtol=1e-3, atol=1e-4)
        apart = np.abs(own["estimate"]) > half
        assert [tint == "#0072B2" for tint in panel["colors"]] == apart.tolist()
