"""The door for tables outside memory: what is one, its columns, and what its engine raises.

No engine is imported here: narwhals knows their tables by the modules that are loaded already.
DuckDB alone is loaded, for a path to Parquet files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import narwhals.stable.v2 as nw
from narwhals import dependencies as libraries

from mixedmodels.errors import DataError, MixedModelsError, require

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


def own_connection(data: Any) -> Any:
    """A connection of DuckDB that tells its progress, for a path; None for the user's tables.

    It is a second one to the default database, whose settings hold but are not changed.
    """
    if not is_path(data):
        return None
    duckdb = require("duckdb", "duckdb")
    with asking("DuckDB"):
        connection = duckdb.cursor()
        connection.execute("set enable_progress_bar = true")
        connection.execute("set enable_progress_bar_print = false")
    return connection


def open_table(data: Any, connection: Any = None) -> nw.LazyFrame[Any]:
    """The table behind narwhals' lazy interface.

    Parameters
    ----------
    data : lazy table or path
    connection : duckdb.DuckDBPyConnection, optional
        What reads a path; DuckDB's default one if it is None.

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
            data = (connection or duckdb).read_parquet(os.fspath(data))
    table: nw.LazyFrame[Any] = nw.from_native(data)
    return table


def without_accidental_order(data: Any) -> Any:
    """The data, with values in place of categories whose order nobody declared.

    Dask takes the categories of files in the order in which each part has met them.
    """
    native: Any = nw.to_native(data, pass_through=True)
    if not libraries.is_dask_dataframe(native):
        return data
    unknown = [
        name
        for name, kind in native.dtypes.items()
        if str(kind) == "category" and not _declares_categories(native[name])
    ]
    return native.astype(dict.fromkeys(unknown, object)) if unknown else data


def _declares_categories(column: Any) -> bool:
    return bool(column.cat.known) and len(column.cat.categories) > 0


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


def asked_as(table: nw.LazyFrame[Any]) -> tuple[nw.LazyFrame[Any], dict[str, str]]:
    """The table, and the name by which each of its columns is asked for.

    Spark knows no capitals and reads ``a.b`` as the part b of a, so that its columns are numbered.
    """
    with asking(engine_of(table)):
        names = list(table.collect_schema())
    if not _is_spark(table):
        return table, {name: name for name in names}
    own = [f"c{i}" for i in range(len(names))]
    renamed: nw.LazyFrame[Any] = nw.from_native(nw.to_native(table).toDF(*own))
    return renamed, dict(zip(names, own, strict=True))


def named(table: nw.LazyFrame[Any], names: Sequence[str]) -> nw.LazyFrame[Any]:
    """The table with other names for all of its columns, in their order."""
    if _is_spark(table):
        renamed: nw.LazyFrame[Any] = nw.from_native(nw.to_native(table).toDF(*names))
        return renamed
    given = table.collect_schema()
    return table.rename({old: new for old, new in zip(given, names, strict=True) if old != new})


def _is_spark(table: nw.LazyFrame[Any]) -> bool:
    return bool(table.implementation.is_pyspark() or table.implementation.is_pyspark_connect())


def frame_kind_of(data: Any) -> Any:
    """Which library's frames results come in: Polars for Polars, else pandas."""
    table = nw.from_native(data, pass_through=True)
    implementation = getattr(table, "implementation", None)
    return "polars" if getattr(implementation, "value", "") == "polars" else "pandas"


def answered(table: nw.LazyFrame[Any]) -> nw.DataFrame[Any]:
    """What an engine answers, in memory; Polars reads the rows in batches for it."""
    streaming = {"engine": "streaming"} if table.implementation.is_polars() else {}
    answer: nw.DataFrame[Any] = table.collect(**streaming)  # type: ignore[arg-type]
    return answer


@contextmanager
def asking(engine: str) -> Iterator[None]:
    """Turn what an engine raises, or a function of the user's in its query, into our error.

    Raises
    ------
    DataError
        With the engine's own words.
    """
    try:
        yield
    except (MixedModelsError, MemoryError, AssertionError):
        raise
    except Exception as error:
        raise DataError(
            f"{engine} could not answer, and nothing was fitted: {type(error).__name__}: "
            f"{_said(error)}. Mend the table, its query or its files, and ask again"
        ) from error


def _said(error: Exception) -> str:
    """The line of an engine's words that tells what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [line for line in lines if line.startswith("Caused by:")]  # of Java, deepest last
    if not causes and lines and lines[0].endswith(":"):  # a traceback of Python
        causes = lines[-1:]
    return " ".join((causes or lines[:1] or [""])[-1].split())[:400].rstrip(". ")


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
        # DuckDB looks for tables of this name first, then for variables
        __mixedmodels_beside = pa.Table.from_pandas(small, preserve_index=False)
        # on the connection of the other table, whichever it is
        made = nw.from_native(
            native.query("__mixedmodels_given", "select * from __mixedmodels_beside")
        )
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
