"""`mixedmodels report`: fit models to a file and write a page of HTML about them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mixedmodels.cli.files import read_table
from mixedmodels.cli.options import (
    FORMULAS,
    add_fit_options,
    add_formulas,
    as_categories,
    command,
    models_of,
)

EXAMPLE = f"""\
report piglets.csv "BW ~ time + (time | animal)" "BW ~ time * treatm + (time | animal)" \\
    --out piglets.html

{FORMULAS}"""


def add(commands: Any) -> None:
    """Make the command known."""
    what = "write a report of one or several models as a page of HTML"
    parser = command(commands, "report", run, what, EXAMPLE)
    add_formulas(parser)
    add = parser.add_argument
    add("--out", metavar="FILE", type=Path, required=True, help="page to write (.html)")
    add("--title", metavar="TEXT", help="title of the page")
    add("--id", metavar="COL", help="column of subjects")
    add("--time", metavar="COL", help="column of times")
    add("--response", metavar="COL", help="column of measurements")
    add("--by", metavar="COL", help="column of groups, such as treatments")
    add("--reml", action="store_true", help="REML (the default for one model; ML for several)")
    add_fit_options(parser)


def run(arguments: argparse.Namespace) -> str:
    """Fit, write the page, and say where it is."""
    from mixedmodels.reporting.report import check_path, report

    check_path(arguments.out)
    data = as_categories(read_table(arguments.data), arguments.group_as_factor)
    reml = arguments.reml or len(arguments.formulas) == 1
    roles = {role: getattr(arguments, role) for role in ("id", "time", "response", "by")}
    made = report(
        models_of(arguments, data, reml=reml), title=arguments.title, path=arguments.out, **roles
    )
    return f"{arguments.out}: {made.title}"
