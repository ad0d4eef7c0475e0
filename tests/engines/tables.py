"""One frame as a table of every engine; engines that are not installed are skipped, visibly."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import narwhals as nw
import pandas as pd
import pytest

ALWAYS = ("duckdb", "polars")
SOMETIMES = ("dask", "ibis", "spark")
CLUSTERS = ("dask", "spark")
LIBRARIES = {"spark": "pyspark", "dask": "distributed"}
# what is still to be closed at the end of the run
STARTED: list[Callable[[], Any]] = []


def marked(engine: str) -> Any:
    """The engine, skipped where its library (or Java) is missing."""
    missing = find_spec(LIBRARIES.get(engine, engine)) is None
    missing |= engine == "spark" and which("java") is None
    marks = [pytest.mark.skipif(missing, reason=f"{engine} is not installed")]
    if engine in CLUSTERS:  # one cluster of each for a run in several processes
        marks += [pytest.mark.slow, pytest.mark.xdist_group(engine)]
    return pytest.param(engine, marks=[] if engine in ALWAYS else marks, id=engine)


every_engine = pytest.mark.parametrize("engine", [marked(e) for e in (*ALWAYS, *SOMETIMES)])
two_engines = pytest.mark.parametrize("engine", ALWAYS)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what other libraries say about their own future."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*narwhals-dask.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*infer_string.*")
        # Ibis with DuckDB 2
        warnings.filterwarnings("ignore", message="fetch_arrow_table", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message="PySpark does not yet", category=FutureWarning)
        warnings.filterwarnings("ignore", category=ResourceWarning)
        yield


def _duckdb(frame: pd.DataFrame) -> Any:
    import duckdb

    return duckdb.from_df(frame)


def _polars(frame: pd.DataFrame) -> Any:
    import polars as pl

    made = pl.from_pandas(frame)
    for name in frame.columns:  # Polars' Categorical has no order of its own
        if isinstance(frame[name].dtype, pd.CategoricalDtype):
            levels = pl.Enum(frame[name].cat.categories.tolist())
            made = made.with_columns(pl.col(name).cast(pl.String).cast(levels))
    return made.lazy()


@cache
def dask_client() -> Any:
    """A local cluster of two processes, from now on the one that answers."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs="ERROR"
    )
    client = Client(cluster)
    STARTED.extend([client.close, cluster.close])
    return client


def _dask(frame: pd.DataFrame) -> Any:
    import dask.dataframe as dd

    dask_client()
    return dd.from_pandas(frame, npartitions=3)


def _ibis(frame: pd.DataFrame) -> Any:
    import ibis

    return ibis.memtable(frame)


@cache
def spark_session() -> Any:
    """A local session of two threads, made for short queries: little is compiled."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    options = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in options.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    STARTED.append(session.stop)
    return session


def plain(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame without categories, and without NaN in text."""
    out = frame.copy()
    for name in out.columns:
        if not pd.api.types.is_numeric_dtype(out[name].dtype):
            text = out[name].astype(object)
            out[name] = text.where(text.notna(), None)
    return out


def _spark(frame: pd.DataFrame) -> Any:
    return spark_session().createDataFrame(plain(frame)).repartition(2)


MAKERS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "duckdb": _duckdb,
    "polars": _polars,
    "dask": _dask,
    "ibis": _ibis,
    "spark": _spark,
}


def as_table(frame: pd.DataFrame, engine: str) -> Any:
    """The frame as a lazy table of the engine."""
    with quiet():
        return MAKERS[engine](frame)


def scanned(folder: Path, engine: str) -> Any:
    """The Parquet files of a folder as a lazy table of the engine, which reads them when asked."""
    pattern = str(folder / "*.parquet")
    with quiet():
        if engine == "duckdb":
            import duckdb

            return duckdb.connect().read_parquet(pattern)
        if engine == "polars":
            import polars as pl

            return pl.scan_parquet(pattern)
        if engine == "ibis":
            import ibis

            return ibis.duckdb.connect().read_parquet(pattern)
        if engine == "dask":
            import dask.dataframe as dd

            dask_client()
            return dd.read_parquet(pattern)
        return spark_session().read.parquet(*map(str, sorted(folder.glob("*.parquet"))))


def held(frame: pd.DataFrame, engine: str) -> pd.DataFrame:
    """The frame in memory with what the engine's types keep of it."""
    return plain(frame) if engine in ("ibis", "spark") else frame


def collected(table: Any) -> pd.DataFrame:
    """A lazy table as a pandas frame."""
    with quiet():
        return nw.from_native(table).lazy().collect().to_pandas()
