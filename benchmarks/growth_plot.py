"""Plot of the growth curves: time against rows, levels and columns, log-log."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.plots import FAINT, OURS, PEER, STYLE

COLORS = (OURS, PEER, "#5b8c5a")
Curves = Sequence[dict[str, Any]]


def draw(series: Curves, file: Path) -> Path:
    """Draw a panel for each axis along which something grows; seconds have one scale."""
    axes_of: dict[str, list[dict[str, Any]]] = {}
    for item in series:
        axes_of.setdefault(item["axis"], []).append(item)
    with mpl.rc_context(STYLE):
        image = Figure(figsize=(5.4 * len(axes_of) + 0.4, 4.8), layout="constrained")
        title = {"x": 0.01, "ha": "left", "fontsize": 16, "fontweight": "bold"}
        image.suptitle("How the time of a fit grows (mixedmodels)", **title)
        axes = image.subplots(1, len(axes_of), squeeze=False, sharey=True)[0]
        for ax, (axis, curves) in zip(axes, axes_of.items(), strict=True):
            draw_panel(ax, axis, curves)
        low, high = axes[0].get_ylim()
        axes[0].set_ylim(low, 2.5 * high)  # room for the labels; the other panels follow
        for ax, (axis, curves) in zip(axes, axes_of.items(), strict=True):
            label_ends(ax, axis, curves)
        image.savefig(file)
    return file


def draw_panel(ax: Axes, axis: str, curves: Curves) -> None:
    """All curves along one axis."""
    for curve, color in zip(curves, COLORS, strict=False):
        points = curve["points"]
        sizes, seconds = [p["size"] for p in points], [p["seconds"] for p in points]
        ax.plot(sizes, seconds, "o-", color=color, lw=2, ms=5)
    ax.set(xscale="log", yscale="log", xlabel=axis)
    ax.set_title(f"against {axis}", pad=10)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_minor_locator(NullLocator())
    sizes = [point["size"] for point in curves[0]["points"]]
    shown = sizes if axis == "columns" else [s for s in sizes if math.log10(s).is_integer()]
    ax.set_xticks(shown, [size_text(size) for size in shown])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: seconds_text(y)))
    ax.tick_params(axis="y", labelleft=True)
    ax.grid(color=FAINT, lw=0.6, alpha=0.6)
    low, high = ax.get_xlim()
    ax.set_xlim(low, high * (high / low) ** 0.5)


def label_ends(ax: Axes, axis: str, curves: Curves) -> None:
    """Write formula and exponent beside the end of each curve, apart from each other."""
    to_fraction = ax.transScale + ax.transLimits
    ends = [(curve["points"][-1]["size"], curve["points"][-1]["seconds"]) for curve in curves]
    places = [to_fraction.transform(end) for end in ends]
    heights = apart([float(y) for _, y in places], 0.13)
    for curve, color, (x, _), y in zip(curves, COLORS, places, heights, strict=False):
        power = rf"$^{{\mathregular{{{curve['exponent']:.2f}}}}}$"
        text = f"{curve['formula']}\ntime ~ {axis}{power}"
        place = {"xycoords": "axes fraction", "va": "center", "fontsize": 9.5}
        ax.annotate(text, (x + 0.03, y), color=color, **place)


def apart(heights: Sequence[float], least: float) -> list[float]:
    """Move heights, in their order, until neighbours are a least distance from each other."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    moved = list(heights)
    for _ in range(50):
        for low, high in pairwise(order):
            overlap = max(least - (moved[high] - moved[low]), 0.0)
            moved[low] -= overlap / 2
            moved[high] += overlap / 2
    return moved


def seconds_text(seconds: float) -> str:
    """A tick's label: 10 ms, 1 s."""
    return f"{seconds * 1e3:g} ms" if seconds < 1 else f"{seconds:g} s"


def size_text(size: int) -> str:
    """A tick's label: 100, 10k, 1M."""
    for unit, text in ((1_000_000, "M"), (1_000, "k")):
        if size >= unit:
            return f"{size // unit}{text}"
    return str(size)
