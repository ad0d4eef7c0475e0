"""Plots of the results: one panel for each case, one row for each package, ratios on a log axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from benchmarks.figures import Line, duration, lines, ours, rounded
from benchmarks.peers import IMPORTS, MIXEDMODELS, MIXEDMODELS_ML

OURS, PEER, FAINT, TEXT = "#c8371e", "#4a6fa5", "#d5d8dd", "#22262b"
COLUMNS = 3
TIMES = "\N{MULTIPLICATION SIGN}"
LEAST_GAP = 1e-12
"""Smaller distances from the best criterion are rounding, and a log axis has no zero."""

ROUNDING = 1e-14
"""Part of a criterion that its rounding error may reach."""

LEAST_ROWS = 10_000
"""Below this a fit adds less memory than can be measured."""

STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": FAINT,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "xtick.labelsize": 9,
    "ytick.left": False,
    "ytick.labelsize": 10.5,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
}


@dataclass(frozen=True, slots=True)
class Mark:
    """One package in a panel: where its point is and what is written beside it."""

    name: str
    value: float
    text: str
    open: bool = False
    beyond: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One case of a plot."""

    title: str
    formula: str
    marks: list[Mark]
    noise: float = 0.0


def draw(results: Sequence[dict[str, Any]], folder: Path) -> list[Path]:
    """Draw ``time.png``, ``memory.png`` and ``criterion.png``; return those that have panels."""
    kinds = (
        ("time.png", time_panel, "Time of a fit, as a multiple of ours", 1.0),
        ("memory.png", memory_panel, "Memory that a fit adds, as a multiple of ours", 1.0),
        (
            "criterion.png",
            criterion_panel,
            "Criterion above the best that any package reached (shaded: rounding error)",
            LEAST_GAP,
        ),
    )
    drawn = (figure(results, panel, title, folder / name, at) for name, panel, title, at in kinds)
    return [file for file in drawn if file]


def figure(
    results: Sequence[dict[str, Any]],
    panel_of: Callable[[dict[str, Any]], Panel | None],
    title: str,
    file: Path,
    origin: float,
) -> Path | None:
    """One plot: the panels of all cases that have one, on one axis scale."""
    panels = [panel for result in results if (panel := panel_of(result))]
    if not panels:
        return None
    columns = min(COLUMNS, len(panels))
    grid = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [max(len(panel.marks) for panel in line) + 2.6 for line in grid]
    with mpl.rc_context(STYLE):
        image = Figure(figsize=(5.4 * columns, 0.29 * sum(heights) + 0.9), layout="constrained")
        image.get_layout_engine().set(w_pad=0.15, h_pad=0.12)
        image.suptitle(title, x=0.01, ha="left", fontsize=16, fontweight="bold")
        axes = image.subplots(len(grid), columns, squeeze=False, height_ratios=heights)
        limits = common_limits(panels, origin)
        for ax, panel in zip(axes.flat, panels, strict=False):
            draw_panel(ax, panel, limits, origin)
        for line, panels_of in zip(axes, grid, strict=True):
            # rows of packages at one distance, however many a panel has
            lowest = max(len(panel.marks) for panel in panels_of) - 0.4
            for ax in line:
                ax.set_ylim(lowest, -0.6)
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()
        image.savefig(file)
    return file


def common_limits(panels: list[Panel], origin: float) -> tuple[float, float]:
    """Limits with room for the labels on the right."""
    values = [mark.value for panel in panels for mark in panel.marks] + [origin]
    low, high = math.log10(min(values)), math.log10(max(values))
    span, room = max(high - low, 1.0), 0.65 if origin == 1.0 else 0.35
    return 10 ** (low - 0.06 * span), 10 ** (high + room * span)


def draw_panel(ax: Axes, panel: Panel, limits: tuple[float, float], origin: float) -> None:
    """One case: lines from the origin to each package's point, with figures beside it."""
    names = [mark.name for mark in panel.marks]
    for y, mark in enumerate(panel.marks):
        color = OURS if mark.name == MIXEDMODELS.name else PEER
        ax.plot([origin, mark.value], [y, y], color=color, lw=2, alpha=0.35, zorder=1)
        shape, face = (">" if mark.beyond else "o"), ("white" if mark.open else color)
        ax.plot(mark.value, y, shape, ms=7, mfc=face, mec=color, mew=1.6, zorder=2)
        place = {"xytext": (9, 0), "textcoords": "offset points", "va": "center", "fontsize": 9.5}
        # a label right of the line at 1 where the point is left of it
        at = max(mark.value, origin)
        ax.annotate(mark.text, (at, y), color=color if color == OURS else TEXT, **place)
    ax.set_xscale("log")
    ax.set_xlim(*limits)
    ax.set_yticks(range(len(names)), names)
    for tick, name in zip(ax.get_yticklabels(), names, strict=True):
        if name == MIXEDMODELS.name:
            tick.set(color=OURS, fontweight="bold")
    ax.axvline(origin, color=FAINT, lw=1.2, zorder=0)
    if panel.noise > origin:
        ax.axvspan(origin, panel.noise, color=FAINT, alpha=0.45, lw=0, zorder=0)
    ax.set_title(panel.title, pad=24)
    under = {"xytext": (0, 9), "textcoords": "offset points", "xycoords": "axes fraction"}
    ax.annotate(panel.formula, (0, 1), color="#5c636b", fontsize=9.5, **under)
    log_ticks(ax, *limits, ratio=origin == 1.0)
    ax.set_axisbelow(True)


def log_ticks(ax: Axes, low: float, high: float, *, ratio: bool) -> None:
    """Powers of ten, every one or every third; ratios are written out."""
    exponents = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    step = 1 if len(exponents) <= 6 else 3
    ticks = [10.0**i for i in exponents if i % step == 0]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    form = (lambda x, _: f"{x:,g}{TIMES}") if ratio else (lambda x, _: f"{x:.0e}")
    ax.xaxis.set_major_formatter(FuncFormatter(form))
    ax.grid(axis="x", color=FAINT, lw=0.6, alpha=0.6, zorder=0)


def time_panel(result: dict[str, Any]) -> Panel | None:
    """Median times; a stopped package at the limit it exceeded."""
    found = [line for line in lines(result) if line.name not in (MIXEDMODELS_ML.name, IMPORTS.name)]
    base = ours(found)
    if base is None or not base.seconds or len(found) < 2:
        return None
    marks = []
    for line in found:
        seconds = line.seconds or line.stopped_after
        if not seconds:
            continue
        ratio = seconds / base.seconds
        text = f"{rounded(ratio)}{TIMES}   {duration(seconds)}{stored(line)}"
        if line.seconds is None:
            text = f"> {ratio:,.0f}{TIMES}   > {seconds:,.0f} s{stored(line)}"
        if line is base:
            text = duration(seconds)
        marks.append(Mark(line.label, ratio, text, bool(line.stored), line.seconds is None))
    return Panel(*heading(result), sorted(marks, key=lambda mark: mark.value))


def memory_panel(result: dict[str, Any]) -> Panel | None:
    """Memory added by a fit, where there is enough of it to be measured."""
    found = [line for line in lines(result) if line.name != MIXEDMODELS_ML.name and line.added_mb]
    base = ours(found)
    if base is None or result["n_rows"] < LEAST_ROWS or base.added_mb < 1 or len(found) < 2:
        return None
    marks = []
    for line in found:
        ratio = max(line.added_mb, 0.1) / base.added_mb
        text = f"{line.added_mb:,.0f} MB" + stored(line)
        if line is not base:
            text = f"{rounded(ratio)}{TIMES}   {text}"
        marks.append(Mark(line.label, ratio, text, bool(line.stored)))
    return Panel(*heading(result), sorted(marks, key=lambda mark: mark.value))


def criterion_panel(result: dict[str, Any]) -> Panel | None:
    """Distance from the lowest criterion of the same kind."""
    found = [line for line in lines(result) if line.gap is not None]
    if len(found) < 2:
        return None
    marks = [
        Mark(
            line.label,
            max(line.gap, LEAST_GAP),
            ("best" if line.gap <= LEAST_GAP else f"{line.gap:.1e}") + stored(line),
            bool(line.stored),
        )
        for line in found
    ]
    noise = ROUNDING * max(abs(line.criterion) for line in found)
    return Panel(*heading(result), sorted(marks, key=lambda mark: mark.value), noise)


def heading(result: dict[str, Any]) -> tuple[str, str]:
    """Return the title of a panel and the line under it."""
    return result["case"], f"{result['formula']},  {result['n_rows']:,} rows"


def stored(line: Line) -> str:
    """Mark a figure that is not from this run."""
    return f"  ({line.stored[:10]})" if line.stored else ""
