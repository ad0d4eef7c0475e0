"""Picture of the simulation study: a row for each method, a mark for each design."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from benchmarks.plots import FAINT, STYLE, TEXT

MARKS = {
    "6 groups": ("#D55E00", "o"),
    "12 groups": ("#0072B2", "s"),
    "unbalanced": ("#009E73", "D"),
    "slopes": ("#CC79A7", "^"),
    "no intercepts": ("#56B4E9", "v"),
    "no slopes": ("#000000", "P"),
}
"""Colours of Okabe and Ito, which colour-blind people tell apart; shapes say the same again."""

LEVEL = 0.05
BAND = 2.0
"""Monte Carlo standard errors to each side of what should be."""

CAPTION = (
    "Line: what it should be. Grey: where 95 of 100 simulations would put a method that is exact. "
    "A mark for each design."
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One question: title, rows of figures, the column shown, what it should be."""

    title: str
    rows: pd.DataFrame
    value: str
    target: float


def draw(tests: pd.DataFrame, intervals: pd.DataFrame, file: Path) -> Path:
    """Draw sizes at 5 % and coverages of 95 % intervals; return the file."""
    panels = [panel for panel in panels_of(tests, intervals) if len(panel.rows)]
    lines = [panels[i : i + 2] for i in range(0, len(panels), 2)]
    heights = [max(panel.rows["method"].nunique() for panel in line) + 2.0 for line in lines]
    with mpl.rc_context(STYLE):
        image = Figure(figsize=(12.4, 0.5 * sum(heights) + 0.9), layout="constrained")
        image.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
        title = {"x": 0.01, "ha": "left", "fontsize": 16, "fontweight": "bold"}
        image.suptitle("Tests and intervals in small samples", **title)
        image.supxlabel(CAPTION, x=0.01, ha="left", fontsize=9.5)
        axes = image.subplots(len(lines), 2, squeeze=False, height_ratios=heights)
        for ax, panel in zip(axes.flat, panels, strict=False):
            draw_panel(ax, panel)
        for ax in axes.flat[len(panels) :]:
            ax.set_axis_off()
        image.savefig(file)
    return file


def panels_of(tests: pd.DataFrame, intervals: pd.DataFrame) -> list[Panel]:
    """All questions."""
    at_level = tests[tests["level"] == LEVEL]
    of_variance = at_level["design"].isin(["no intercepts", "no slopes"])
    if not len(intervals):
        intervals = pd.DataFrame(columns=["design", "parameter", "method", "coverage", "std_error"])
    covers = {key: intervals[intervals["parameter"] == key] for key in ("effect", "sd")}
    return [
        Panel("Test of a fixed effect: false alarms", at_level[~of_variance], "size", LEVEL),
        Panel("Test of a variance: false alarms", at_level[of_variance], "size", LEVEL),
        Panel("95 % interval of a fixed effect: coverage", covers["effect"], "coverage", 0.95),
        Panel("95 % interval of an SD: coverage", covers["sd"], "coverage", 0.95),
    ]


def draw_panel(ax: Axes, panel: Panel) -> None:
    """Marks of all methods and designs about the line of what should be."""
    methods = list(dict.fromkeys(panel.rows["method"]))
    designs = list(dict.fromkeys(panel.rows["design"]))
    error = float(panel.rows["std_error"].max())
    low, high = panel.target - BAND * error, panel.target + BAND * error
    ax.axvspan(100 * low, 100 * high, color=FAINT, alpha=0.55, lw=0, zorder=0)
    ax.axvline(100 * panel.target, color=TEXT, lw=1.0, zorder=1)
    for k, design in enumerate(designs):
        own = panel.rows[panel.rows["design"] == design]
        shift = 0.16 * (k - 0.5 * (len(designs) - 1))
        heights = [methods.index(method) + shift for method in own["method"]]
        color, shape = MARKS[design]
        style = {"ms": 7, "mfc": color, "mec": "white", "mew": 0.5, "label": design}
        ax.plot(100 * own[panel.value], heights, shape, zorder=3, **style)
    for y in range(1, len(methods)):
        ax.axhline(y - 0.5, color=FAINT, lw=0.6, zorder=0)
    ax.set_ylim(len(methods) - 0.5, -0.5)
    ax.set_yticks(range(len(methods)), methods)
    ax.set_title(panel.title, pad=28)
    place = {"loc": "lower left", "bbox_to_anchor": (-0.01, 0.99), "ncols": len(designs)}
    ax.legend(frameon=False, handletextpad=0.1, columnspacing=1.0, fontsize=9.5, **place)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} %"))
    span = ax.get_xlim()[1] - ax.get_xlim()[0]
    ax.xaxis.set_major_locator(MultipleLocator(5 if span > 12 else 2.5 if span > 6 else 1))
