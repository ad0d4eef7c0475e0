"""`mixedmodels explore`: what the data in a file say before any model."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mixedmodels.cli.files import read_table
from mixedmodels.cli.options import add_categories, as_categories, command, printed
from mixedmodels.errors import MixedModelsError, require

EXAMPLE = """\
explore piglets.csv --id animal --time time --response BW --by treatm --out pictures
"""


def add(commands: Any) -> None:
    """Make the command known."""
    what = "describe repeated measurements: summaries, design, correlations, clusters, pictures"
    parser = command(commands, "explore", run, what, EXAMPLE)
    add = parser.add_argument
    add("--id", metavar="COL", required=True, help="column of subjects")
    add("--time", metavar="COL", required=True, help="column of times")
    add("--response", metavar="COL", required=True, help="column of measurements")
    add("--by", metavar="COL", help="column of groups, such as treatments")
    add("--out", metavar="DIR", type=Path, help="folder for pictures (PNG), made if need be")
    add_categories(parser)


def run(arguments: argparse.Namespace) -> str:
    """Work out the tables, write the pictures if they are wanted."""
    if arguments.out is not None:
        require("plotnine", "plot")
    data = as_categories(read_table(arguments.data), arguments.group_as_factor)
    parts = [*_first(data, arguments), *_later(data, arguments)]
    if arguments.out is not None:
        parts.append("\n".join(["Pictures", *_pictures(data, arguments)]))
    return "\n\n".join(parts)


def _roles(arguments: argparse.Namespace) -> dict[str, Any]:
    return {role: getattr(arguments, role) for role in ("id", "time", "response")}


def _first(data: Any, arguments: argparse.Namespace) -> Iterator[str]:
    """What any data give, or what is wrong with them."""
    from mixedmodels.explore.describe import describe
    from mixedmodels.explore.design import check_design

    roles, by = _roles(arguments), arguments.by
    found = describe(data, arguments.response, by, id=arguments.id, time=arguments.time)
    yield printed(f"Summary of {arguments.response}", found)
    yield str(check_design(data, by=by, **roles))


def _later(data: Any, arguments: argparse.Namespace) -> Iterator[str]:
    """What asks for more: each part says by itself if it cannot be."""
    from mixedmodels.explore.correlations import time_correlations
    from mixedmodels.explore.trajectories import cluster_trajectories

    roles = _roles(arguments)
    yield _attempt("Correlations over time", lambda: str(time_correlations(data, **roles)))

    def clusters() -> str:
        found = cluster_trajectories(data, **roles)
        table = f"\n\n{found.cross_table(arguments.by)}" if arguments.by else ""
        return f"{found}{table}"

    yield _attempt("Clusters of trajectories", clusters)


def _attempt(what: str, make: Callable[[], str]) -> str:
    try:
        return make()
    except MixedModelsError as error:
        return f"{what}: none ({error})"


def _pictures(data: Any, arguments: argparse.Namespace) -> Iterator[str]:
    """Write each picture and give its file; those that cannot be drawn say why."""
    from mixedmodels import plot
    from mixedmodels.explore.correlations import time_correlations
    from mixedmodels.explore.trajectories import cluster_trajectories

    roles, by = _roles(arguments), arguments.by
    cells = {"time": arguments.time, "response": arguments.response, "by": by}
    makers: dict[str, Callable[[], Any]] = {
        "trajectories": lambda: plot.trajectories(data, by=by, **roles),
        "means": lambda: plot.means(data, **cells),
        "boxes": lambda: plot.boxes(data, **cells),
        "dropout": lambda: plot.dropout(data, **roles),
        "correlations": lambda: plot.correlations(time_correlations(data, **roles)),
        "clusters": lambda: plot.clusters(cluster_trajectories(data, **roles)),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, make in makers.items():
        path = arguments.out / f"{name}.png"
        yield _attempt(name, lambda make=make, path=path: _saved(make(), path))  # type: ignore[misc]


def _saved(picture: Any, path: Path) -> str:
    picture.save(path, dpi=150, verbose=False)
    return str(path)
