"""What goes wrong in engines and files: a clear error, and no partial fit."""

from __future__ import annotations

from itertools import count, pairwise
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedmodels as mm
from mixedmodels.errors import DataError, FormulaError, ModelError
from tests.engines.tables import (
    ALWAYS,
    as_table,
    every_engine,
    held,
    marked,
    quiet,
    scanned,
    two_engines,
)

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


def refused(table: Any, words: str, formula: str = FORMULA) -> None:
    with quiet(), pytest.raises(DataError, match=words):
        mm.lmer(formula, table)


LOST = "could not answer, and nothing was fitted: .*Mend the table, its query or its files"


@every_engine
def test_files_that_disappear(tmp_path: Path, engine: str) -> None:
    in_files(tmp_path, [piglets()[:150], piglets()[150:]])
    table = scanned(tmp_path, engine)
    for path in tmp_path.glob("*"):
        path.unlink()
    refused(table, LOST)


@every_engine
@pytest.mark.parametrize("what", ["cut", "overwritten"])
def test_a_corrupt_file(tmp_path: Path, engine: str, what: str) -> None:
    in_files(tmp_path, [piglets()[:150], piglets()[150:]])
    path = tmp_path / "part-1.parquet"
    given = path.read_bytes()
    size = len(given)
    middle = given[: size // 4] + b"\x07" * 300 + given[size // 4 + 300 :]
    path.write_bytes(given[: size // 2] if what == "cut" else middle)
    with quiet(), pytest.raises(DataError, match=LOST):
        mm.lmer(FORMULA, scanned(tmp_path, engine))


@every_engine
def test_a_column_of_text_in_one_file(tmp_path: Path, engine: str) -> None:
    in_files(tmp_path, [piglets()[:150], piglets()[150:].assign(BW="heavy")])
    refused(scanned(tmp_path, engine), LOST)


@every_engine
def test_numbers_of_two_types(tmp_path: Path, engine: str) -> None:
    # the right result or an error; a DuckDB relation rounds, which is why a path is looked at first
    parts = [piglets()[:150].assign(BW=1), piglets()[150:]]
    pattern = in_files(tmp_path, parts)
    if engine in ("duckdb", "ibis"):
        refused(pattern, r"column 'BW' has several types: .*INT.*part-0")
    elif engine == "dask":
        reference = mm.lmer(FORMULA, pd.concat([parts[0].assign(BW=1.0), parts[1]]))
        with quiet():
            found = mm.lmer(FORMULA, scanned(tmp_path, engine))
        np.testing.assert_allclose(found.criterion, reference.criterion, rtol=1e-8)
    else:
        refused(scanned(tmp_path, engine), LOST)


@every_engine
def test_a_column_missing_in_one_file(tmp_path: Path, engine: str) -> None:
    in_files(tmp_path, [piglets()[:150], piglets()[150:].drop(columns="time")])
    table = scanned(tmp_path, engine)
    if engine != "spark":
        refused(table, LOST)
        return
    with quiet():
        m = mm.lmer(FORMULA, table)  # where it is NULL, and counted as missing
    assert (m.n_obs, m.source.missing) == (150, {"time": 147})


@every_engine
def test_no_rows(engine: str) -> None:
    given = as_table(piglets(), engine)
    with quiet():
        table = nw.from_native(given).lazy().filter(nw.col("BW") < 0).to_native()
    refused(table, "the table has 0 rows")


def failing(engine: str) -> Any:
    """A table whose query fails when it is read."""

    def boom(*_: Any) -> Any:  # here, so that it travels to other processes by value
        raise ZeroDivisionError("an accident of the user's")

    if engine == "duckdb":
        return duckdb.from_df(piglets()).project("* replace (error('an accident') as BW)")
    table = as_table(piglets(), engine)
    if engine == "polars":
        return table.map_batches(boom)
    if engine == "ibis":
        return table.mutate(BW=(table.treatm + " accident").cast("float"))
    if engine == "dask":
        return table.map_partitions(boom, meta=table._meta)
    from pyspark.sql import functions as sf

    return table.withColumn("BW", sf.udf(boom, "double")("BW"))


@every_engine
def test_a_query_that_fails(engine: str) -> None:
    with quiet():
        table = failing(engine)
    refused(table, "could not answer, and nothing was fitted: .*accident")


def test_a_query_that_is_cancelled() -> None:
    connection = duckdb.connect()
    table = connection.sql(
        "select hash(i) % 1000 / 7.0 as y, hash(i + 1) % 100 / 9.0 as x, i % 1000 as g "
        "from range(30_000_000) t(i)"
    )
    ended = Event()

    def cancel() -> None:
        while not ended.wait(0.01):
            connection.interrupt()

    other = Thread(target=cancel)
    other.start()
    try:
        refused(table, "nothing was fitted: InterruptException: .*Interrupted", "y ~ x + (1 | g)")
    finally:
        ended.set()
        other.join()


def test_a_table_that_changes_while_it_is_read() -> None:
    asked = count()
    frame = pl.from_pandas(piglets())
    # a file is lost after the first question
    table = frame.lazy().map_batches(
        lambda rows: rows if next(asked) == 0 else rows.head(200), predicate_pushdown=False
    )
    refused(table, "changes while it is read: 297 complete rows at first, then 200; nothing was")


@every_engine
def test_parts_and_integers_and_missing_values(engine: str) -> None:
    frame = piglets()
    # NaN and NULL, a level in the last part only, products far beyond 64-bit integers
    frame["time"] = frame["time"].astype("int64") * 2**55
    frame.loc[[3, 50], "BW"] = np.nan
    frame.loc[8, "treatm"] = None
    frame.loc[296, "animal"] = "only here"
    formula = "BW ~ time*treatm + I(time^2) + (1 | animal)"
    table = as_table(frame, engine)
    with quiet():
        m = mm.lmer(formula, table)
    reference = mm.lmer(formula, held(frame, engine))
    assert m.source.missing == reference.source.missing == {"BW": 2, "treatm": 1}
    assert m.n_groups == reference.n_groups == {"animal": 76}
    np.testing.assert_allclose(m.criterion, reference.criterion, rtol=1e-8)
    np.testing.assert_allclose(m.beta, reference.beta, rtol=1e-8)


@pytest.mark.parametrize("engine", [*ALWAYS, marked("dask")])
def test_categories_of_files_have_no_order_of_their_own(tmp_path: Path, engine: str) -> None:
    # each file, and each part of it, has met its labels in another order
    frame = mm.datasets.load("piglets")
    reference = mm.lmer(FORMULA, frame.assign(treatm=frame["treatm"].astype(str)))
    in_files(tmp_path, [frame[150:], frame[:150]])
    with quiet():
        m = mm.lmer(FORMULA, scanned(tmp_path, engine))
    assert m.term_names == reference.term_names
    np.testing.assert_allclose(m.beta, reference.beta, rtol=1e-10)


@every_engine
def test_parts_in_any_number_and_order(tmp_path: Path, engine: str) -> None:
    results = []
    for sizes, seed in (((297,), None), ((50,) * 5 + (47,), 1)):
        frame = piglets() if seed is None else piglets().sample(frac=1.0, random_state=seed)
        ends = np.cumsum((0, *sizes))
        folder = tmp_path / str(len(sizes))
        folder.mkdir()
        in_files(folder, [frame[a:b] for a, b in pairwise(ends.tolist())])
        with quiet():
            results.append(mm.lmer(FORMULA, scanned(folder, engine)))
    for m in results[1:]:
        for what in ("criterion", "beta", "theta", "vcov"):
            found, first = getattr(m, what), getattr(results[0], what)
            np.testing.assert_allclose(found, first, rtol=1e-10, atol=1e-14)


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
    with pytest.raises(DataError, match="weights of a table outside memory must be the name"):
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
