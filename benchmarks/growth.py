"""How our time grows: with rows, levels and random columns; each point in a process of its own."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from benchmarks import generators, machine
from benchmarks.figures import duration
from benchmarks.run import RESULTS, ROOT, SCRATCH

HALF_DECADES = (1_000, 3_162, 10_000, 31_623, 100_000, 316_228, 1_000_000, 3_162_278, 10_000_000)
NOTES = """\
Whole fits by mixedmodels from a data frame with text levels; each point in a process of its own,
after a first fit; medians. *Exponent*: slope of log time on log size over the upper half of the
range (1: time proportional to size)."""

QUICK_SIZE = 10_000
"""Largest number of rows of a quick run."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve.

    Attributes
    ----------
    name, title, axis : str
        For the command line, for the report, and what grows: rows, levels or columns.
    formula : str
        Of the curve, for the report.
    sizes : tuple of int
        Along the axis.
    build : callable
        The data of a size.
    rows : callable
        The number of rows of a size.
    """

    name: str
    title: str
    axis: str
    formula: str
    sizes: tuple[int, ...]
    build: Callable[[int], pd.DataFrame]
    rows: Callable[[int], int] = lambda size: size

    def formula_of(self, size: int) -> str:
        """The formula of one point."""
        return columns_formula(size) if self.axis == "columns" else self.formula


def columns_formula(q: int) -> str:
    """A random intercept and q - 1 slopes."""
    return f"y ~ 1 + ({' + '.join(['1', *(f'x{i}' for i in range(1, q))])} | g)"


SERIES = {
    series.name: series
    for series in (
        Series(
            "slopes", "one factor, 10 rows a level", "rows", "y ~ x + (x | g)", HALF_DECADES,
            lambda n: generators.slopes(n, n // 10)(1),
        ),
        Series(
            "nested", "nested, 10 rows a level of b, 20 of b in each a", "rows",
            "y ~ x + (1 | a/b)", HALF_DECADES, lambda n: generators.nested(n, n // 200, 20)(1),
        ),
        Series(
            "crossed", "crossed, 1,000 x 500 levels at every size", "rows",
            "y ~ x + (1 | a) + (1 | b)", HALF_DECADES,
            lambda n: generators.crossed(n, 1_000, 500)(1),
        ),
        Series(
            "levels", "one factor, 1,000,000 rows", "levels", "y ~ x + (x | g)",
            (100, 316, 1_000, 3_162, 10_000, 31_623, 100_000),
            lambda levels: generators.slopes(1_000_000, levels)(1), lambda _: 1_000_000,
        ),
        Series(
            "columns", "one factor, 100,000 rows, 2,000 levels", "columns",
            "y ~ 1 + (1 + x1 + ... | g)", (1, 2, 4, 8),
            lambda q: generators.many_columns(100_000, 2_000, q)(1), lambda _: 100_000,
        ),
    )
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the growth of our time with rows, levels and columns."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--series", nargs="+", choices=SERIES, default=list(SERIES))
    parser.add_argument("--largest", type=int, help="leave out points with more rows")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(argv)
    largest = options.largest or (QUICK_SIZE if options.quick else 10**9)
    measured = [measure(SERIES[name], largest) for name in options.series]
    record = {
        "environment": machine.environment(),
        "series": [item for item in measured if len(item["points"]) > 1],
    }
    full = largest >= max(HALF_DECADES) and options.series == list(SERIES)
    for file in write(record, options.output or (RESULTS if full else SCRATCH)):
        print(file)
    return 0


def measure(series: Series, largest: int) -> dict[str, Any]:
    """All points of a curve and its exponent."""
    sizes = [size for size in series.sizes if series.rows(size) <= largest]
    points = [point for size in sizes if (point := run_point(series.name, size))]
    return {
        "name": series.name,
        "title": series.title,
        "axis": series.axis,
        "formula": series.formula,
        "points": points,
        "exponent": exponent([p["size"] for p in points], [p["seconds"] for p in points]),
    }


def run_point(name: str, size: int) -> dict[str, Any] | None:
    """Measure one point in a process of its own; None, with a message, when it fails."""
    print(f"growth: {name} {size:,}", file=sys.stderr, flush=True)
    code = f"from benchmarks.growth import fit_point; fit_point({name!r}, {size})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def fit_point(name: str, size: int) -> None:
    """Fit one point in this process: once to warm up, then a few times."""
    import mixedmodels as mm

    warnings.simplefilter("ignore")
    series = SERIES[name]
    frame, formula = series.build(size), series.formula_of(size)
    warm_up, _ = timed(lambda: mm.lmer(formula, frame))
    # at least three calls, and about a second of them when they are short
    calls = int(min(max(3, 1 / warm_up), 20))
    fits = [timed(lambda: mm.lmer(formula, frame)) for _ in range(calls)]
    seconds = [elapsed for elapsed, _ in fits]
    spread = median(seconds), min(seconds), max(seconds)
    figures = Point(size, len(frame), *spread, fits[-1][1], warm_up)
    print(json.dumps(asdict(figures)))


@dataclass(frozen=True, slots=True)
class Point:
    """One size: median, extremes, evaluations of the criterion, the first fit."""

    size: int
    rows: int
    seconds: float
    fastest: float
    slowest: float
    evaluations: int
    warm_up_seconds: float


def timed(fit: Callable[[], Any]) -> tuple[float, int]:
    """Seconds of a fit and the evaluations it took."""
    started = time.perf_counter()
    model = fit()
    return time.perf_counter() - started, model.convergence.evaluations


def exponent(sizes: ArrayLike, seconds: ArrayLike) -> float:
    """Slope of log time on log size over the upper half of the range of log size.

    Parameters
    ----------
    sizes, seconds : array-like
        Positive; sizes in rising order.

    Returns
    -------
    float
        NaN with fewer than two points.
    """
    x, y = np.log(sizes), np.log(seconds)
    if len(x) < 2:
        return float("nan")
    upper = x >= min((x[0] + x[-1]) / 2, x[-2]) - 1e-9
    return float(np.polyfit(x[upper], y[upper], 1)[0])


def write(record: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``growth.md``, ``growth.json`` and, with matplotlib, ``growth.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    text, data, image = (folder / f"growth.{kind}" for kind in ("md", "json", "png"))
    data.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    drawn = record["series"] and importlib.util.find_spec("matplotlib")
    if drawn:
        from benchmarks import growth_plot

        growth_plot.draw(record["series"], image)
    text.write_text(markdown(record, [image.name] if drawn else []), encoding="utf-8")
    return [text, data, *([image] if drawn else [])]


def markdown(record: dict[str, Any], images: Sequence[str] = ()) -> str:
    """The tables of all curves."""
    facts = "\n".join(f"- {key}: {value}" for key, value in record["environment"].items())
    exponents = [
        f"| `{in_table(curve['formula'])}` | {curve['title']} | {curve['axis']} "
        f"| {curve['exponent']:.2f} |"
        for curve in record["series"]
    ]
    head = ["| model | data | grows with | exponent |", "|---|---|---|--:|"]
    summary = "\n".join([*head, *exponents])
    tables = [curve_table(item) for item in record["series"]]
    pictures = [f"![Time against size]({name})" for name in images]
    return "\n\n".join(["# Growth", facts, NOTES, summary, *pictures, *tables]) + "\n"


def in_table(formula: str) -> str:
    """A formula whose bars do not end a cell of a Markdown table."""
    return formula.replace("|", "\\|")


def curve_table(item: dict[str, Any]) -> str:
    """One curve as a table."""
    rows = [
        f"| {p['size']:,} | {duration(p['seconds'])} | {duration(p['fastest'])} - "
        f"{duration(p['slowest'])} | {p['evaluations']} | {duration(p['warm_up_seconds'])} |"
        for p in item["points"]
    ]
    head = f"| {item['axis']} | median | fastest - slowest | evaluations | first fit |"
    title = f"## {item['title'].capitalize()}\n\n`{item['formula']}`"
    return "\n".join([title, "", head, "|--:|--:|--:|--:|--:|", *rows])
