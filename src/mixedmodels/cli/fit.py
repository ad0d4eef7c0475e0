"""`mixedmodels fit`: fit a model to a file and print it."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from mixedmodels.cli.files import read_table
from mixedmodels.cli.options import FORMULAS, add_fit_options, as_categories, command, fitted

EXAMPLE = f"""\
fit piglets.csv "BW ~ time * treatm + (time | animal)"

{FORMULAS}"""


def add(commands: Any) -> None:
    """Make the command known."""
    parser = command(commands, "fit", run, "fit a model and print its summary", EXAMPLE)
    parser.add_argument(
        "formula", metavar="FORMULA", help="in quotes, such as 'y ~ x + (x | group)'"
    )
    parser.add_argument("--ml", action="store_true", help="maximum likelihood instead of REML")
    add_fit_options(parser)
    parser.add_argument(
        "--json", action="store_true", help="print all numbers as JSON; null: has no value"
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="write to a file instead of the terminal"
    )


def run(arguments: argparse.Namespace) -> str:
    """Fit the model and return what is to be printed."""
    data = as_categories(read_table(arguments.data), arguments.group_as_factor)
    model = fitted(arguments.formula, data, arguments, reml=not arguments.ml)
    return _as_json(model) if arguments.json else str(model.summary())


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
    text = json.dumps(result, indent=2, allow_nan=False, ensure_ascii=False)
    # what JSON lets through and a terminal obeys, such as a change of direction
    odd = {c for c in set(text) if not c.isprintable() and c != "\n"}
    return text.translate({ord(c): json.dumps(c)[1:-1] for c in odd})


def _records(frame: Any) -> list[dict[str, Any]]:
    import narwhals.stable.v2 as nw

    rows = nw.from_native(frame, eager_only=True).rows(named=True)
    return [{name: _strict(value) for name, value in row.items()} for row in rows]


def _strict(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
