"""Tables and plots of the benchmarks from stored figures; exponents from synthetic ones."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks import engines, figures, growth, report, run, slow
from benchmarks.data import CASES
from benchmarks.peers import PEERS


def a_run(seconds: float, criterion: float, **more: Any) -> dict[str, Any]:
    return {
        "seconds": [seconds], "cpu_seconds": [seconds], "before_mb": 100.0, "peak_mb": 150.0,
        "criterion": criterion, "warm_up_seconds": 0.5, "process_seconds": 1.0, **more,
    }  # fmt: skip


def peer(*runs: dict[str, Any], skipped: str | None = None, **more: Any) -> dict[str, Any]:
    return {"skipped": skipped, "runs": list(runs), **more}


@pytest.fixture
def record() -> dict[str, Any]:
    """One crossed case: two rounds of ours, a package by ML, one stopped, one slow."""
    peers = {
        "mixedmodels": peer(a_run(0.1, 1000.0, evaluations=6), a_run(0.3, 1000.0, evaluations=6)),
        "mixedmodels-ml": peer(a_run(0.1, 990.0, likelihood="ML")),
        "lme4": peer(skipped=slow.ON_REQUEST),
        "lme-python": peer(skipped="stopped after 120 s", stopped_after=120),
        "mixedlm": peer(a_run(2.0, 1000.25)),
        "statsmodels": peer(skipped="cannot fit crossed factors of this size"),
        "gpboost": peer(a_run(0.4, 990.5, likelihood="ML")),
    }
    case = {
        "case": "ratings-1m", "title": "A million ratings", "formula": "y ~ 1 + (1 | user)",
        "kind": "fit", "n_rows": 1_000_000, "peers": peers,
    }  # fmt: skip
    return {"environment": {"date": "today"}, "quick": False, "cases": [case]}


@pytest.fixture
def stored(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The same with the slow package's stored figure, written and read again."""
    monkeypatch.setattr(slow, "version", lambda _peer: "1.1")  # R takes half a second to say it
    measured = {**record["cases"][0], "peers": {"lme4": peer(a_run(700.0, 1000.0))}}
    slow.store([measured], {"ratings-1m": ("lme4",)}, tmp_path)
    slow.quote(record["cases"], tmp_path)
    return record


def found(record: dict[str, Any]) -> dict[str, figures.Line]:
    return {line.name: line for line in figures.lines(record["cases"][0])}


def test_medians_memory_and_evaluations(record: dict[str, Any]) -> None:
    ours = found(record)["mixedmodels"]
    assert (ours.seconds, ours.added_mb, ours.evaluations) == (pytest.approx(0.2), 50.0, 6)


def test_criteria_are_compared_within_their_kind(record: dict[str, Any]) -> None:
    lines = found(record)
    assert lines["mixedlm"].gap == 0.25
    assert lines["gpboost"].gap == 0.5
    assert lines["mixedmodels-ml"].gap == lines["mixedmodels"].gap == 0.0


def test_a_criterion_that_is_not_a_number_is_left_out(record: dict[str, Any]) -> None:
    record["cases"][0]["peers"]["mixedlm"]["runs"][0]["criterion"] = float("nan")
    lines = found(record)
    assert lines["mixedlm"].gap is None
    assert lines["mixedmodels"].gap == 0.0


def test_a_stopped_package_shows_its_limit(record: dict[str, Any]) -> None:
    text = report.markdown(record)
    assert "| lme-python | > 120 s |" in text
    assert "statsmodels (cannot fit crossed factors of this size)" in text


def test_tables_have_equal_rows(stored: dict[str, Any]) -> None:
    rows = [row for row in report.markdown(stored).splitlines() if row.startswith("|")]
    assert len(rows) == 8
    assert len({row.count("|") for row in rows}) == 1


def test_slow_figures_are_quoted_with_their_date(stored: dict[str, Any]) -> None:
    line, text = found(stored)["lme4"], report.markdown(stored)
    assert line.seconds == 700.0
    assert "| lme4 (stored) | 700 s | 3,500 |" in text
    assert line.stored in text
    assert slow.ON_REQUEST not in text


def test_without_a_stored_figure_a_slow_package_is_named(record: dict[str, Any]) -> None:
    assert f"lme4 ({slow.ON_REQUEST})" in report.markdown(record)


def test_a_slow_figure_replaces_its_own_only(stored: dict[str, Any], tmp_path: Path) -> None:
    new = {"case": "slopes-10m", "peers": {"mixedlm": peer(a_run(20.0, 1.0))}}
    slow.store([new], {"slopes-10m": ("mixedlm", "lme4")}, tmp_path)
    assert {case: list(peers) for case, peers in slow.load(tmp_path).items()} == {
        "ratings-1m": ["lme4"],
        "slopes-10m": ["mixedlm"],
    }


def test_report_has_tables_figures_and_plots(stored: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = report.write(stored, tmp_path)
    assert [file.name for file in files] == ["latest.md", "latest.json", *report.PLOTS]
    assert all(file.stat().st_size > 100 for file in files)
    text = (tmp_path / "latest.md").read_text()
    assert all(f"]({name})" in text for name in report.PLOTS)


def test_report_is_written_again_from_its_json(
    stored: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw", lambda _record, _folder: [])
    report.write(stored, tmp_path)
    text = (tmp_path / "latest.md").read_text()
    (tmp_path / "latest.md").unlink()
    report.main([str(tmp_path)])
    assert (tmp_path / "latest.md").read_text() == text


def test_figures_of_older_reports_still_render() -> None:
    folder = Path(report.__file__).parent / "results"
    record = json.loads((folder / "latest.json").read_text(encoding="utf-8"))
    assert report.markdown(record).count("\n## ") == len(record["cases"])


@pytest.mark.parametrize(
    ("changed", "full"),
    [
        ({}, True),
        ({"quick": True}, False),
        ({"cases": ["maximal"]}, False),
        ({"peers": ["mixedmodels"]}, False),
    ],
)
def test_only_a_full_run_replaces_what_is_published(changed: dict[str, Any], full: bool) -> None:
    everything = {"quick": False, "cases": list(CASES), "peers": list(PEERS)}
    assert run.is_full(argparse.Namespace(**{**everything, **changed})) is full


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponent_of_a_power_law(power: float) -> None:
    sizes = np.logspace(3, 7, 9)
    assert growth.exponent(sizes, 3e-6 * sizes**power) == pytest.approx(power)


def test_exponent_looks_at_the_upper_half_only() -> None:
    """A constant cost below, proportional above: the closed form is 1."""
    sizes = np.logspace(3, 7, 9)
    assert growth.exponent(sizes, np.maximum(sizes, 1e5)) == pytest.approx(1)


def test_exponent_of_one_point_is_unknown() -> None:
    assert np.isnan(growth.exponent([10], [1.0]))


def test_growth_renders_from_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    points = [
        {"size": size, "rows": size, "seconds": size * 1e-6, "fastest": size * 1e-6,
         "slowest": size * 1e-6, "evaluations": 5, "warm_up_seconds": 0.4}
        for size in (1_000, 10_000)
    ]  # fmt: skip
    curve = {
        "name": "slopes", "title": "one factor", "axis": "rows", "formula": "y ~ x + (x | g)",
        "points": points, "exponent": 1.0,
    }  # fmt: skip
    files = growth.write({"environment": {"date": "today"}, "series": [curve]}, tmp_path)
    assert [file.name for file in files] == ["growth.md", "growth.json", "growth.png"]
    text = files[0].read_text()
    assert r"| `y ~ x + (x \| g)` | one factor | rows | 1.00 |" in text
    assert "| 10,000 | 10.0 ms | 10.0 ms - 10.0 ms | 5 | 400 ms |" in text


def test_growth_formula_has_q_columns() -> None:
    assert growth.columns_formula(1) == "y ~ 1 + (1 | g)"
    assert growth.columns_formula(4) == "y ~ 1 + (1 + x1 + x2 + x3 | g)"
    frame = growth.SERIES["columns"].build(4)
    assert list(frame) == ["y", "x1", "x2", "x3", "g"]


def test_engines_keep_what_was_not_measured_again(tmp_path: Path) -> None:
    def point(rows: int, seconds: float, date: str) -> dict[str, Any]:
        return {
            "engine": "duckdb", "rows": rows, "seconds": seconds, "cpu_seconds": seconds,
            "fit_seconds": 1.0, "peak_mb": 1024.0, "limit": "3 GB", "file_mb": 512.0, "date": date,
        }  # fmt: skip

    def record(*points: dict[str, Any]) -> dict[str, Any]:
        return {"environment": {"date": "today"}, "points": [*points]}

    engines.write(record(point(1_000_000, 2.0, "old"), point(100_000_000, 200.0, "old")), tmp_path)
    text, _ = engines.write(record(point(1_000_000, 1.0, "new")), tmp_path)
    lines = text.read_text().splitlines()
    assert (
        "| DuckDB | 1,000,000 | 0.50 GB | 1.00 s | 1.00 s | 1.00 s | 1.00 GB | 3 GB | new |"
        in lines
    )
    assert (
        "| DuckDB | 100,000,000 | 0.50 GB | 200 s | 200 s | 1.00 s | 1.00 GB | 3 GB | old |"
        in lines
    )
    assert "| DuckDB | 1.15 |" in lines  # log 200 over log 100


def test_engines_data_are_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    frames = []
    for name in ("a", "b"):
        engines.write_file(str(tmp_path / name), 5_000)
        frames.append(pd.read_parquet(tmp_path / name))
    key = ["x", "y"]
    first, second = (f.sort_values(key).reset_index(drop=True) for f in frames)
    pd.testing.assert_frame_equal(first, second)
    assert first["f"].nunique() == 4
    assert abs(first["x"].std() - 1.0) < 0.05
