"""One frame as a table of every engine; engines that are not installed are skipped, visibly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from shutil import which
from typing import Any

import narwhals as nw
import pandas as pd
import pytest

ALWAYS = ("duckdb", "polars")
SOMETIMES = ("dask", "ibis", "spark")
LIBRARIES = {"spark": "pyspark"}


def marked(engine: str) -> Any:
    """The engine, skipped where its library (or Java) is missing."""
    missing = find_spec(LIBRARIES.get(engine, engine)) is None
    missing |= engine == "spark" and which("java") is None
    marks = [pytest.mark.skipif(missing, reason=f"{engine} is not installed")]
    if engine == "spark":
        marks.append(pytest.mark.slow)
    return pytest.param(engine, marks=[] if engine in ALWAYS else marks, id=engine)


every_engine = pytest.mark.parametrize("engine", [marked(e) for e in (*ALWAYS, *SOMETIMES)])
two_engines = pytest.mark.parametrize("engine", ALWAYS)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what other libraries say about their own future."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*narwhals-dask.*", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*infer_string.*")
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


def _dask(frame: pd.DataFrame) -> Any:
    import dask
    import dask.dataframe as dd

    dask.config.set(scheduler="synchronous")
    return dd.from_pandas(frame, npartitions=3)


def _ibis(frame: pd.DataFrame) -> Any:
    import ibis

    return ibis.memtable(frame)


def _spark(frame: pd.DataFrame) -> Any:
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    plain = frame.copy()
    for name in plain.columns:  # Spark knows neither categories nor NaN in text
        if not pd.api.types.is_numeric_dtype(plain[name].dtype):
            text = plain[name].astype(object)
            plain[name] = text.where(text.notna(), None)
    return session.createDataFrame(plain)


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


def collected(table: Any) -> pd.DataFrame:
    """A lazy table as a pandas frame."""
    with quiet():
        return nw.from_native(table).lazy().collect().to_pandas()
