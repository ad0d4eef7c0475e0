"""A line that tells what an engine is asked for; silent unless asked for or watched."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl
import pytest

import mixedmodels as mm
from mixedmodels import progress
from mixedmodels.errors import DataError

FORMULA = "BW ~ time + (1 | animal)"


def slow(frame: pl.DataFrame) -> pl.DataFrame:
    time.sleep(0.1)
    return frame


def piglets() -> pl.DataFrame:
    return pl.from_pandas(mm.datasets.load("piglets"))


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PAUSE", 0.01)


def test_elapsed_time(often: None, capsys: pytest.CaptureFixture[str]) -> None:
    mm.lmer(FORMULA, piglets().lazy().map_batches(slow), progress=True)
    said = capsys.readouterr().err
    for what in ("missing values", "means and ranges", "sums"):
        assert f"Polars: {what}, 00:0" in said
    assert "%" not in said


def test_share_of_the_rows(often: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pl.DataFrame({"y": range(4_000_000)}).select(
        y=pl.col("y").hash() % 1000 / 7.0, x=pl.col("y") % 101, g=pl.col("y").hash(1) % 50
    )
    rows.write_parquet(tmp_path / "rows.parquet", row_group_size=100_000)
    mm.Moments.from_frame("y ~ x + (1 | g)", tmp_path / "rows.parquet", progress=True)
    said = capsys.readouterr().err
    assert "DuckDB: sums, 00:0" in said
    assert "% of the rows" in said


def test_silence(often: None, capsys: pytest.CaptureFixture[str]) -> None:
    table = piglets().lazy().map_batches(slow)
    mm.lmer(FORMULA, table)  # standard error is no terminal here
    mm.lmer(FORMULA, table, progress=False)
    assert capsys.readouterr().err == ""


def test_a_short_question_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "interactive", lambda: True)
    mm.lmer(FORMULA, piglets().lazy())
    assert capsys.readouterr().err == ""


def test_the_line_ends_with_an_error(often: None, capsys: pytest.CaptureFixture[str]) -> None:
    from threading import active_count

    before = active_count()
    with pytest.raises(DataError, match="0 rows"):
        mm.lmer(FORMULA, piglets().head(0).lazy().map_batches(slow), progress=True)
    assert active_count() == before
