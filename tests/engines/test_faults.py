"""What goes wrong in engines and files: a clear error, and no partial fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedmodels as mm
from mixedmodels.errors import DataError, FormulaError, ModelError
from tests.engines.tables import as_table, two_engines

FORMULA = "BW ~ time + treatm + (time | animal)"


def piglets() -> pd.DataFrame:
    frame = mm.datasets.load("piglets")
    return frame.assign(treatm=frame["treatm"].astype(str), animal=frame["animal"].astype(str))


def in_files(folder: Path, frames: list[pd.DataFrame]) -> str:
    for i, frame in enumerate(frames):
        pl.from_pandas(frame).write_parquet(folder / f"part-{i}.parquet")
    return str(folder / "*.parquet")


def test_files_in_any_split(tmp_path: Path) -> None:
    whole = mm.lmer(FORMULA, piglets())
    # some animals are in the last file only
    parts = [piglets()[:100], piglets()[100:110], piglets()[110:]]
    pattern = in_files(tmp_path, parts)
    m = mm.lmer(FORMULA, pattern)
    shuffled = piglets().sample(frac=1.0, random_state=1)
    other = tmp_path / "other"
    other.mkdir()
    again = mm.lmer(FORMULA, in_files(other, [shuffled[:50], shuffled[50:]]))
    one = mm.lmer(FORMULA, Path(in_files(other, [shuffled]).replace("*", "part-0")))
    for found in (m, again):
        np.testing.assert_allclose(found.beta, whole.beta, rtol=1e-10)
        np.testing.assert_allclose(found.criterion, whole.criterion, rtol=1e-10)
        np.testing.assert_allclose(found.theta, whole.theta, rtol=1e-8)
    assert m.n_groups == {"animal": 75}
    assert one.n_obs == 297


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"DuckDB could not answer.*No files found"):
        mm.lmer(FORMULA, tmp_path / "none.parquet")


def test_a_file_that_disappears(tmp_path: Path) -> None:
    table = pl.scan_parquet(in_files(tmp_path, [piglets()[:150], piglets()[150:]]))
    relation = duckdb.read_parquet(str(tmp_path / "*.parquet"))
    for path in tmp_path.glob("*"):
        path.unlink()
    for lost in (table, relation):
        with pytest.raises(DataError, match="could not answer, and nothing was fitted"):
            mm.lmer(FORMULA, lost)


def test_not_a_parquet_file(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("BW,time\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="DuckDB could not answer"):
        mm.lmer(FORMULA, tmp_path / "a.parquet")


def test_types_that_differ_between_files(tmp_path: Path) -> None:
    # DuckDB would take the first file's type and round the rest
    parts = [piglets()[:150].assign(BW=1), piglets()[150:]]
    with pytest.raises(DataError, match=r"column 'BW' has several types: .*INT.*part-0"):
        mm.lmer(FORMULA, in_files(tmp_path, parts))


def test_a_column_missing_in_one_file(tmp_path: Path) -> None:
    parts = [piglets()[:150], piglets()[150:].drop(columns="time")]
    with pytest.raises(DataError, match="could not answer"):
        mm.lmer(FORMULA, in_files(tmp_path, parts))


@two_engines
@pytest.mark.parametrize(
    ("change", "formula", "words"),
    [
        ({}, "BW ~ tme + (1 | animal)", r"no column 'tme' \(did you mean 'time'\?\)"),
        ({"time": np.inf}, FORMULA, "column 'time' has 297 infinite values"),
        ({"time": np.nan}, FORMULA, "no complete rows.*time: 297"),
        ({"BW": -1.0}, "log(BW) ~ time + (1 | animal)", r"log\(BW\) has no finite value in 297"),
        ({"BW": "heavy"}, FORMULA, "column 'BW' holds text or categories"),
        ({"BW": 3.0}, FORMULA, "no variance"),
        ({"animal": "one"}, FORMULA, "has 1 level"),
        ({"time": pd.Timestamp("2024-01-01")}, FORMULA, "a covariate must be a number"),
    ],
)
def test_data(change: dict[str, Any], formula: str, words: str, engine: str) -> None:
    with pytest.raises(DataError, match=words):
        mm.lmer(formula, as_table(piglets().assign(**change), engine))


@two_engines
def test_weights(engine: str) -> None:
    frame = piglets().assign(w=np.where(np.arange(297) < 2, 0.0, 1.0))
    with pytest.raises(DataError, match=r"weights must be positive: 2 of them are not \('w'"):
        mm.lmer(FORMULA, as_table(frame, engine), weights="w")
    with pytest.raises(DataError, match="weights of sums must be the name of a column"):
        mm.lmer(FORMULA, as_table(frame, engine), weights=np.ones(297))


@two_engines
def test_null_and_nan_are_both_missing(engine: str) -> None:
    frame = piglets()
    frame.loc[[3, 50], "BW"] = np.nan
    frame.loc[8, "treatm"] = None
    table = as_table(frame, engine)
    if engine == "polars":  # one of each kind
        row = pl.int_range(pl.len())
        value = pl.when(row == 3).then(None).when(row == 50).then(float("nan"))
        table = table.with_columns(value.otherwise(pl.col("BW")).alias("BW"))
    m = mm.lmer(FORMULA, table)
    reference = mm.lmer(FORMULA, frame)
    assert m.source.missing == reference.source.missing == {"BW": 2, "treatm": 1}
    np.testing.assert_allclose(m.beta, reference.beta, rtol=1e-8)


def test_transforms_that_need_all_rows() -> None:
    for term in ("poly(time, 2)", "bs(time)", "ns(time, df = 2)"):
        with pytest.raises(FormulaError, match=r"needs all rows at once.*I\(x\^2\)"):
            mm.lmer(f"BW ~ {term} + (1 | animal)", as_table(piglets(), "duckdb"))
    with pytest.raises(FormulaError, match="a category must be a column"):
        mm.lmer("BW ~ factor(time > 3) + (1 | animal)", as_table(piglets(), "duckdb"))
    with pytest.raises(FormulaError, match=r"asin\(\) is not available"):
        mm.lmer("BW ~ asin(time) + (1 | animal)", as_table(piglets(), "duckdb"))


def test_an_interrupt_passes() -> None:
    def stop(_: pl.DataFrame) -> pl.DataFrame:
        raise KeyboardInterrupt

    table = pl.from_pandas(piglets()).lazy().map_batches(stop)
    with pytest.raises(KeyboardInterrupt):
        mm.lmer(FORMULA, table)


def test_other_paths_are_no_tables() -> None:
    with pytest.raises(TypeError, match="must be a pandas or Polars DataFrame"):
        mm.lmer(FORMULA, "piglets.csv")


def test_rows_are_not_there() -> None:
    m = mm.lmer(FORMULA, as_table(piglets(), "duckdb"))
    for ask in (lambda: m.fitted, m.residuals, lambda: m.refit(np.ones(297))):
        with pytest.raises((ModelError, DataError)):
            ask()
    with pytest.raises(ModelError, match="its rows stay where they are"):
        m.residuals()
    with pytest.raises(ModelError, match="gets predictions alone"):
        m.predict(as_table(piglets(), "duckdb"), interval="confidence")
