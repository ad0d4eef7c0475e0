"""`mixedmodels compare`: information criteria and likelihood-ratio tests of models of a file."""

from __future__ import annotations

import argparse
from typing import Any

from mixedmodels.cli.files import read_table
from mixedmodels.cli.options import (
    FORMULAS,
    add_fit_options,
    add_formulas,
    as_categories,
    command,
    models_of,
    printed,
)

EXAMPLE = f"""\
compare piglets.csv "BW ~ time + (1 | animal)" "BW ~ time + (time | animal)"

{FORMULAS}"""


def add(commands: Any) -> None:
    """Make the command known."""
    what = "compare models by AICc and likelihood-ratio tests"
    parser = command(commands, "compare", run, what, EXAMPLE)
    add_formulas(parser)
    parser.add_argument("--reml", action="store_true", help="REML instead of maximum likelihood")
    add_fit_options(parser)


def run(arguments: argparse.Namespace) -> str:
    """Fit the models and return the two tables."""
    from mixedmodels.errors import ModelError
    from mixedmodels.inference.compare import aictab, anova

    if len(arguments.formulas) < 2:
        raise ModelError("compare needs two formulas or more")
    data = as_categories(read_table(arguments.data), arguments.group_as_factor)
    models = models_of(arguments, data, reml=arguments.reml)
    names = [f"{name}: {model.formula}" for name, model in models.items()]
    parts = [
        "\n".join(["Models", *names]),
        printed("Information criteria, the best model first", aictab(models)),
        printed("Likelihood-ratio tests, each model against the one above it", anova(models)),
    ]
    return "\n\n".join(parts)
