"""Parts that commands share: how a command is described, the arguments for data."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FORMULAS = """\
Formulas are written as for R's lme4 (quote them: the shell has its own use for | and *); one
without a random term such as (1 | group) is fitted by least squares.
"""


def command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], str], help_: str, example: str
) -> argparse.ArgumentParser:
    """A command that reads a table from a file.

    Parameters
    ----------
    commands : action of subparsers
    name : str
    run : callable
        From the arguments to what is printed.
    help_ : str
        What the command does, in a phrase.
    example : str
        One call and words on it.

    Returns
    -------
    argparse.ArgumentParser
        To which the command adds its arguments.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=f"{help_[0].upper()}{help_[1:]}.",
        epilog=f"example:\n  mixedmodels {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, output=None)
    parser.add_argument(
        "data",
        metavar="DATA",
        type=Path,
        help="CSV (.csv, .tsv, also compressed: .csv.gz), Parquet, Arrow or Feather, Excel (.xlsx: "
        "first sheet); empty cells and NA are missing",
    )
    return parser


def add_categories(parser: argparse.ArgumentParser) -> None:
    """The option for numbers that are labels."""
    parser.add_argument(
        "--group-as-factor",
        metavar="COL",
        nargs="+",
        action="extend",
        default=[],
        help="columns of numbers to be treated as categories (those that only group always are)",
    )


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """The options of a fit, the same for every command that fits."""
    add = parser.add_argument
    add("--weights", metavar="COL", help="column of prior weights")
    add("--offset", metavar="COL", help="column of a known part of the mean")
    add_categories(parser)
    add(
        "--contrasts",
        metavar="COL=CODING",
        nargs="+",
        action="extend",
        default=[],
        type=_contrast,
        help="coding of a factor: treatment (the default), sum, helmert or poly",
    )


def _contrast(text: str) -> tuple[str, str]:
    column, equals, coding = text.rpartition("=")
    if not (equals and column and coding):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form COL=CODING, as in sex=sum")
    return column, coding


def as_categories(data: Any, columns: Sequence[str]) -> Any:
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


def fitted(formula: str, data: Any, arguments: argparse.Namespace, *, reml: bool) -> Any:
    """A model of the options: mixed where the formula has a random term, else least squares."""
    from mixedmodels.design.frame import column_names
    from mixedmodels.formula.parse import parse
    from mixedmodels.model.fitted import lm, lmer

    options = {
        "weights": arguments.weights,
        "offset": arguments.offset,
        "contrasts": dict(arguments.contrasts) or None,
    }
    if parse(formula, column_names(data)).random:
        return lmer(formula, data, reml=reml, **options)
    return lm(formula, data, **options)


def add_formulas(parser: argparse.ArgumentParser) -> None:
    """One formula or more, each a model."""
    parser.add_argument(
        "formulas",
        metavar="FORMULA",
        nargs="+",
        help="in quotes, such as 'y ~ x + (x | group)'; the models are called M1, M2, ...",
    )


def models_of(arguments: argparse.Namespace, data: Any, *, reml: bool) -> dict[str, Any]:
    """A model for each formula."""
    return {
        f"M{i}": fitted(formula, data, arguments, reml=reml)
        for i, formula in enumerate(arguments.formulas, 1)
    }


def printed(title: str, frame: Any) -> str:
    """A data frame as aligned lines under a title."""
    import narwhals.stable.v2 as nw

    from mixedmodels.errors import clean
    from mixedmodels.output.layout import width

    columns = nw.from_native(frame, eager_only=True).to_dict(as_series=False)
    blocks = []
    for name, values in columns.items():
        cells = [clean(text) for text in (name, *map(_text, values))]
        if any(cells[1:]):
            space = max(map(width, cells))
            left = any(isinstance(value, str) for value in values)
            gaps = [" " * (space - width(cell)) for cell in cells]
            pairs = zip(cells, gaps, strict=True)
            blocks.append([cell + gap if left else gap + cell for cell, gap in pairs])
    lines = ("  ".join(row).rstrip() for row in zip(*blocks, strict=True))
    return "\n".join([title, *lines])


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e6 else f"{value:.5g}"
    return str(value)
