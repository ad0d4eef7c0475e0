"""The command line: fit a model to a file and print it; words and exit codes, no statistics.

Exit codes: 0 done, 1 the data, formula or model cannot be used, 2 the command cannot be understood.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixedmodels.errors import DataError, MixedModelsError, MixedModelsWarning, require

EXAMPLE = """\
example:
  mixedmodels fit piglets.csv "BW ~ time * treatm + (time | animal)"

Formulas are written as for R's lme4 (quote them: the shell has its own use for | and *); one
without a random term such as (1 | group) is fitted by least squares.
"""
DONE, UNUSABLE, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        The exit code.
    """
    _be_lenient(sys.stdout)
    _be_lenient(sys.stderr)
    try:
        arguments = _parser().parse_args(argv)
        with _plain_warnings():
            text = arguments.run(arguments)
        _deliver(text, arguments.output)
    except SystemExit as stop:  # argparse: --help, --version, misuse
        return stop.code if isinstance(stop.code, int) else USAGE
    except MixedModelsError as error:
        return _fail(str(error))
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        _discard_output()
    except OSError as error:
        return _fail(f"{error.strerror or error}: '{error.filename}'")
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mixedmodels",
        description="Linear mixed models from the command line.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    fit = commands.add_parser(
        "fit",
        help="fit a model and print its summary",
        description="Fit a linear mixed model to a table in a file and print its summary.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    fit.set_defaults(run=_fit)
    add = fit.add_argument
    add(
        "data",
        metavar="DATA",
        type=Path,
        help="CSV (.csv, .tsv, also compressed: .csv.gz), Parquet, Arrow or Feather, Excel (.xlsx: "
        "first sheet); empty cells and NA are missing",
    )
    add("formula", metavar="FORMULA", help="in quotes, such as 'y ~ x + (x | group)'")
    add("--ml", action="store_true", help="maximum likelihood instead of REML")
    add("--weights", metavar="COL", help="column of prior weights")
    add("--offset", metavar="COL", help="column of a known part of the mean")
    add(
        "--group-as-factor",
        metavar="COL",
        nargs="+",
        action="extend",
        default=[],
        help="columns of numbers to be treated as categories (those that only group always are)",
    )
    add(
        "--contrasts",
        metavar="COL=CODING",
        nargs="+",
        action="extend",
        default=[],
        type=_contrast,
        help="coding of a factor: treatment (the default), sum, helmert or poly",
    )
    add("--json", action="store_true", help="print all numbers as JSON; null: has no value")
    add("--output", metavar="FILE", type=Path, help="write to a file instead of the terminal")
    return parser


class _Version(argparse.Action):
    """Print the version, looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import mixedmodels

        print(f"mixedmodels {mixedmodels.__version__}")
        parser.exit()


def _contrast(text: str) -> tuple[str, str]:
    column, equals, coding = text.rpartition("=")
    if not (equals and column and coding):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form COL=CODING, as in sex=sum")
    return column, coding


# --- fit ----------------------------------------------------------------------------------------


def _fit(arguments: argparse.Namespace) -> str:
    """Fit the model and return what is to be printed."""
    data = read_table(arguments.data)
    from mixedmodels.design.frame import column_names
    from mixedmodels.formula.parse import parse
    from mixedmodels.model.fitted import lm, lmer

    data = _as_categories(data, arguments.group_as_factor)
    options = {
        "weights": arguments.weights,
        "offset": arguments.offset,
        "contrasts": dict(arguments.contrasts) or None,
    }
    if parse(arguments.formula, column_names(data)).random:
        model = lmer(arguments.formula, data, reml=not arguments.ml, **options)
    else:
        model = lm(arguments.formula, data, **options)
    return _as_json(model) if arguments.json else str(model.summary())


def _as_categories(data: Any, columns: Sequence[str]) -> Any:
    """The table with some columns made categories, their levels sorted."""
    if not columns:
        return data
    from mixedmodels.design.frame import column_values, frame_kind

    changed = {}
    for name in columns:
        column = column_values(data, name, "--group-as-factor")
        changed[name] = (column if frame_kind(data) == "pandas" else column.to_pandas()).astype(
            "category"
        )
    if frame_kind(data) == "pandas":
        return data.assign(**changed)
    import pyarrow as pa

    for name, column in changed.items():
        data = data.set_column(data.column_names.index(name), name, pa.array(column))
    return data


def _as_json(model: Any) -> str:
    """All numbers of a model; strict JSON, so that a number without a value is null."""
    ending = model.convergence
    fields = ("verdict", "message", "gradient_norm", "smallest_eigenvalue", "evaluations")
    result = {
        "formula": model.formula,
        "criterion": "REML" if model.reml else "ML" if model.has_random else "least squares",
        "n_groups": model.n_groups,
        "glance": _records(model.glance())[0],
        "tidy": _records(model.tidy()),
        "varcorr": _records(model.varcorr()),
        "convergence": {
            "converged": bool(model.converged),
            "is_singular": bool(model.is_singular),
            **{name: _strict(getattr(ending, name)) for name in fields},
        },
    }
    return json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False)


def _records(frame: Any) -> list[dict[str, Any]]:
    import narwhals.stable.v2 as nw

    rows = nw.from_native(frame, eager_only=True).rows(named=True)
    return [{name: _strict(value) for name, value in row.items()} for row in rows]


def _strict(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


# --- files --------------------------------------------------------------------------------------


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
    import zipfile
    import zlib

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
    # what pandas, pyarrow, zipfile and openpyxl raise for files that are not what they seem
    except (*(OSError, ValueError, KeyError, EOFError), zipfile.BadZipFile, zlib.error) as error:
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


# --- words --------------------------------------------------------------------------------------


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Each warning as one line on the error stream."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", MixedModelsWarning)
        warnings.showwarning = show
        yield


def _fail(message: str) -> int:
    print(f"mixedmodels: error: {message}", file=sys.stderr)
    return UNUSABLE


def _deliver(text: str, path: Path | None) -> None:
    if path is None:
        print(text, flush=True)
    else:
        path.write_text(text + "\n", encoding="utf-8")


def _be_lenient(stream: Any) -> None:
    """A terminal without some character shows another instead of failing."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")


def _discard_output() -> None:
    """Let the interpreter's own flush at exit have somewhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
