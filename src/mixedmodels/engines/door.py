"""The door for tables outside memory: what is one, its columns, and what its engine raises.

No engine is imported here: narwhals knows their tables by the modules that are loaded already.
DuckDB alone is loaded, for a path to Parquet files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import narwhals.stable.v2 as nw
from narwhals import dependencies as libraries

from mixedmodels.errors import DataError, require

# what engines raise: module and the base class of its errors
ERRORS = (
    ("duckdb", "Error"),
    ("polars.exceptions", "PolarsError"),
    ("pyarrow", "ArrowException"),
    ("pyspark.errors", "PySparkException"),
    ("py4j.protocol", "Py4JError"),
    ("ibis.common.exceptions", "IbisError"),
    ("narwhals.exceptions", "NarwhalsError"),
)
SUFFIXES = (".parquet", ".pq")


def is_table(data: object) -> bool:
    """Whether data are a table outside memory: a lazy one, or a path to Parquet files."""
    if isinstance(data, nw.LazyFrame) or is_path(data):
        return True
    return any(
        check(data)
        for check in (
            libraries.is_polars_lazyframe,
            libraries.is_duckdb_relation,
            libraries.is_pyspark_dataframe,
            libraries.is_pyspark_connect_dataframe,
            libraries.is_sqlframe_dataframe,
            libraries.is_dask_dataframe,
            libraries.is_ibis_table,
        )
    )


def is_path(data: object) -> bool:
    """Whether data are a path, or a pattern of paths, to Parquet files."""
    return isinstance(data, str | os.PathLike) and os.fspath(data).lower().endswith(SUFFIXES)


def open_table(data: Any) -> nw.LazyFrame[Any]:
    """The table behind narwhals' lazy interface.

    Raises
    ------
    DataError
        No such files, or files that are not Parquet.
    MissingDependencyError
        A path, and DuckDB is not installed.
    """
    if isinstance(data, nw.LazyFrame):
        return data
    if is_path(data):
        duckdb = require("duckdb", "duckdb")
        with asking("DuckDB"):
            data = duckdb.read_parquet(os.fspath(data))
    table: nw.LazyFrame[Any] = nw.from_native(data)
    return table


def check_files(data: Any, names: Sequence[str]) -> None:
    """Refuse files that hold a column in several types: DuckDB would round one to the other.

    Raises
    ------
    DataError
        Which column, its types, and a file of each.
    """
    if not is_path(data):
        return
    duckdb = require("duckdb", "duckdb")
    with asking("DuckDB"):
        found = duckdb.execute(
            "select name, coalesce(logical_type, converted_type, type), min(file_name) "
            "from parquet_schema(?) where type is not null group by all order by all",
            [os.fspath(data)],
        ).fetchall()
    for name in names:
        kinds = [(kind, file) for column, kind, file in found if column == name]
        if len(kinds) > 1:
            shown = ", ".join(f"{kind} in '{file}'" for kind, file in kinds)
            raise DataError(
                f"column '{name}' has several types: {shown}. Write the files with one type, or "
                "convert them in a DuckDB query and give its relation"
            )


def engine_of(table: nw.LazyFrame[Any]) -> str:
    """Name of the engine, for messages."""
    return {"duckdb": "DuckDB", "polars": "Polars", "pyspark": "Spark"}.get(
        str(table.implementation.value), str(table.implementation.value).capitalize()
    )


def frame_kind_of(data: Any) -> Any:
    """Which library's frames results come in: Polars for Polars, else pandas."""
    table = nw.from_native(data, pass_through=True)
    implementation = getattr(table, "implementation", None)
    return "polars" if getattr(implementation, "value", "") == "polars" else "pandas"


@contextmanager
def asking(engine: str) -> Iterator[None]:
    """Turn an engine's errors into ours.

    Raises
    ------
    DataError
        With the engine's own words.
    """
    classes: list[type[BaseException]] = [OSError]
    for module, name in ERRORS:
        if module in sys.modules:
            classes.append(getattr(sys.modules[module], name))
    try:
        yield
    except tuple(classes) as error:
        said = next((line for line in str(error).splitlines() if line.strip()), "")
        raise DataError(
            f"{engine} could not answer, and nothing was fitted: {type(error).__name__}: "
            f"{said[:400]}"
        ) from error


def beside(table: nw.LazyFrame[Any], columns: Mapping[str, Any]) -> nw.LazyFrame[Any]:
    """A small table with its own columns in the engine of another, to be joined to it."""
    import pandas as pd

    small = pd.DataFrame(dict(columns))
    made: Any
    engine, native = str(table.implementation.value), nw.to_native(table)
    if engine == "polars":
        made = nw.from_dict(dict(columns), backend="polars").lazy()
    elif engine == "duckdb":
        pa = require("pyarrow", "duckdb")
        arrow = pa.Table.from_pandas(small, preserve_index=False)  # noqa: F841 - DuckDB sees it
        # on the connection of the other table, whichever it is
        made = nw.from_native(native.query("other", "select * from arrow"))
    elif engine == "ibis":
        ibis = require("ibis", "ibis")
        made = nw.from_native(ibis.memtable(small))
    elif engine == "dask":
        dask = require("dask.dataframe", "dask")
        made = nw.from_native(dask.from_pandas(small, npartitions=1))
    else:  # Spark and what speaks its language
        made = nw.from_native(native.sparkSession.createDataFrame(small))
    table_beside: nw.LazyFrame[Any] = made
    return table_beside
