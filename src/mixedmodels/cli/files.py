"""Tables from files, by the ending of their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mixedmodels.errors import DataError, MixedModelsError, require


def read_table(path: Path) -> Any:
    """Read a table from a file, by its name's ending.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    pandas.DataFrame or pyarrow.Table

    Raises
    ------
    DataError
        No such file, an unknown ending, or contents that are not what the ending says.
    MissingDependencyError
        The library for this kind of file is not installed.
    """
    import lzma
    import zipfile
    import zlib

    # what pandas, pyarrow and openpyxl raise for files that are not what they seem; a SyntaxError
    # is one of XML, an ImportError the library for a kind of compression
    unreadable = (
        *(OSError, ValueError, TypeError, LookupError, EOFError, SyntaxError, ImportError),
        *(RuntimeError, ArithmeticError, AttributeError),
        *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    )
    if not path.exists():
        raise DataError(f"no such file: '{path}'")
    if path.is_dir():
        raise DataError(f"'{path}' is a directory, not a file of data")
    ending, read = _reader(path)
    try:
        return read(path)
    except MixedModelsError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not UTF-8 text ({error}); save it as UTF-8") from error
    except unreadable as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"'{path}' cannot be read as {ending}: {reason}") from error


def _reader(path: Path) -> tuple[str, Callable[[Path], Any]]:
    """Kind of a file and how to read it."""
    endings = [ending.lower() for ending in path.suffixes]
    compressed = bool(endings) and endings[-1] in (".gz", ".bz2", ".xz", ".zst", ".zip")
    last = (endings[-2:-1] or [""])[0] if compressed else (endings or [""])[-1]
    if last == ".csv":
        return "CSV", lambda file: _read_text(file, ",")
    if last in (".tsv", ".tab"):
        return "tab-separated text", lambda file: _read_text(file, "\t")
    if not compressed and last in (".parquet", ".pq"):
        return "Parquet", _read_parquet
    if not compressed and last in (".arrow", ".feather", ".ipc", ".arrows"):
        return "Arrow", _read_arrow
    if not compressed and last in (".xlsx", ".xlsm"):
        return "Excel", _read_excel
    raise DataError(
        f"'{path}': the name's ending does not say what is in it; known are .csv and .tsv (also "
        "followed by .gz), .parquet, .arrow, .feather and .xlsx"
    )


def _read_text(path: Path, separator: str) -> Any:
    import pandas as pd

    # before 3.1 the last digit of a number was exact on request only, since then it always is
    version = tuple(int(part) for part in pd.__version__.split(".")[:2])
    exact: dict[str, Any] = {} if version >= (3, 1) else {"float_precision": "round_trip"}
    return pd.read_csv(path, sep=separator, encoding="utf-8-sig", low_memory=False, **exact)


def _read_parquet(path: Path) -> Any:
    require("pyarrow", "arrow")
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read()


def _read_arrow(path: Path) -> Any:
    pa = require("pyarrow", "arrow")
    from pyarrow import feather, ipc

    try:
        return feather.read_table(path)
    except pa.ArrowInvalid:  # the other Arrow format, without a footer
        with pa.OSFile(str(path)) as file, ipc.open_stream(file) as stream:
            return stream.read_all()


def _read_excel(path: Path) -> Any:
    require("openpyxl", "excel")
    import pandas as pd

    return pd.read_excel(path, engine="openpyxl")
