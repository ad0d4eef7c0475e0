"""`mixedmodels demo`: walk through a published example."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

FOLDER = Path("mixedmodels-demo")


def add(commands: Any) -> None:
    """Make the command known."""
    parser = commands.add_parser(
        "demo",
        help="walk through a published example",
        description="Walk through an article on mixed models, from its data to its last table: "
        "every stage is printed, figures and a report in HTML are written.",
        allow_abbrev=False,
    )
    parser.set_defaults(run=run, output=None)
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=FOLDER,
        help=f"folder for report and figures (default: {FOLDER})",
    )
    parser.add_argument("--no-plots", action="store_true", help="draw no figures")


def run(arguments: argparse.Namespace) -> str:
    """Walk, and say what was written."""
    from mixedmodels import demo

    return demo.run(arguments.out, plots=not arguments.no_plots)
