"""One look for every plot: theme, colours that colour-blind readers can tell apart, text, notes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.errors import ModelError, require

if TYPE_CHECKING:
    from plotnine import ggplot
    from plotnine import theme as theme_type

Labels: TypeAlias = Mapping[str, str] | None

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color, without the yellow, which white swallows
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# one series: points and lines; what is laid over them; what stands behind
BASE, ACCENT, INK, MUTED, FAINT = "#0072B2", "#D55E00", "#222222", "#8A8A8A", "#E3E3E3"
# text and rests on coloured bars: no pure greys, which dark pages turn over
ON_COLOUR, REST = "#222223", "#C4C4C3"
# ends and middle of a scale with a neutral zero
NEGATIVE, NEUTRAL, POSITIVE = "#D55E00", "#F7F7F7", "#0072B2"
# a dollar that would begin mathematics
DOLLAR = re.compile(r"(?<!\\)\$")
# longest text of a label, in characters
LONGEST = 24
# the same over a panel, by the number of panels side by side; and over more of them
STRIP, NARROW = {1: 60, 2: 34, 3: 22}, 20
# characters that fit side by side below a plot
ROOM = 64
# inches
SIZE = (6.4, 4.4)


def drawing() -> Any:
    """The plotting library, loaded when the first plot is made.

    Raises
    ------
    MissingDependencyError
    """
    return require("plotnine", "plot")


@checked
def theme_mixedmodels(base_size: float = 11.0) -> theme_type:
    """The theme of all plots of the package, for plots of your own.

    Parameters
    ----------
    base_size : float, default 11
        Size of the text, in points.

    Returns
    -------
    plotnine.theme

    Raises
    ------
    ModelError
        A size that is no size.

    Examples
    --------
    >>> import plotnine as p9
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> p = p9.ggplot(piglets, p9.aes("time", "BW")) + p9.geom_point() + mm.plot.theme_mixedmodels()
    """
    if not 0.0 < base_size < 1000.0:
        raise ModelError(f"base_size must be a size in points, not {base_size}")
    p9 = drawing()
    small = 0.85 * base_size
    look: theme_type = p9.theme_bw(base_size=base_size) + p9.theme(
        figure_size=SIZE,
        panel_border=p9.element_blank(),
        panel_grid_major=p9.element_line(color="#EBEBEB", size=0.6),
        panel_grid_minor=p9.element_blank(),
        axis_line=p9.element_line(color=MUTED, size=0.7),
        axis_ticks=p9.element_line(color=MUTED, size=0.7),
        axis_ticks_minor=p9.element_blank(),
        axis_text=p9.element_text(color="#444444", size=small),
        strip_background=p9.element_rect(fill="#F1F1F1", color="none"),
        strip_text=p9.element_text(size=small, weight="bold", color=INK),
        legend_key=p9.element_blank(),
        legend_title=p9.element_text(size=small, weight="bold"),
        legend_text=p9.element_text(size=small),
        plot_title=p9.element_text(size=1.1 * base_size, weight="bold", ha="left"),
        plot_subtitle=p9.element_text(size=small, color="#555555", ha="left"),
        plot_caption=p9.element_text(size=0.75 * base_size, color="#666666", ha="left"),
    )
    return look


def canvas(frame: Any, mapping: Mapping[str, str], **texts: str | None) -> ggplot:
    """An empty plot with the theme; `texts` are titles by aesthetic, ready to be drawn."""
    p9 = drawing()
    given = {name: text for name, text in texts.items() if text}
    plot: ggplot = p9.ggplot(frame, p9.aes(**mapping)) + theme_mixedmodels() + p9.labs(**given)
    return plot


def title(name: str, labels: Labels = None) -> str:
    """Title of a column: what the user calls it, else its name."""
    return plain((labels or {}).get(name, name), longest=80)


def plain(text: object, longest: int = LONGEST) -> str:
    """Text that is drawn as it stands: no mathematics between dollars, one line, not too long."""
    flat = " ".join(str(text).split())
    short = flat if len(flat) <= longest else f"{flat[: longest - 1]}…"
    return DOLLAR.sub(r"\\$", short)  # what is fit for drawing stays as it is


def note(*sentences: str) -> str | None:
    """The text under a plot that says what was left out or worked out; None if nothing."""
    return "\n".join(sentence for sentence in sentences if sentence) or None


def colours(n: int) -> list[str]:
    """That many colours, as far apart as can be."""
    if n <= len(PALETTE):
        return list(PALETTE[:n])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0.0, 0.94, n)]


def colour_scale(n: int, aesthetic: str = "color") -> Any:
    """Colours of n levels, for lines and points (``"color"``) or areas (``"fill"``)."""
    p9 = drawing()
    scale = {"color": p9.scale_color_manual, "fill": p9.scale_fill_manual}[aesthetic]
    return scale(values=colours(n))


def hide_legend() -> theme_type:
    """No legend: the colours repeat what the panels or the axis say."""
    hidden: theme_type = drawing().theme(legend_position="none")
    return hidden


def size(width: float, height: float) -> theme_type:
    """Size of the figure in inches."""
    sized: theme_type = drawing().theme(figure_size=(width, height))
    return sized


def slanted(labels: Sequence[str] = (), *, always: bool = False) -> list[Any]:
    """Slanted labels below the plot, where they would not fit side by side."""
    if not always and len(labels) * max(map(len, labels), default=0) < ROOM:
        return []
    p9 = drawing()
    slant = [p9.theme(axis_text_x=p9.element_text(rotation=35, ha="right", va="top"))]
    # the first label reaches out to the left of the plot
    out = 0.008 * (len(labels[0]) - 12) if labels else 0.0
    return [*slant, p9.theme(plot_margin_left=0.02 + out)] if out > 0.0 else slant


def panels(n: int, columns: int | None = None) -> tuple[int, int]:
    """Rows and columns of n small panels on a page that is wider than high."""
    width = columns or {1: 1, 2: 2, 3: 3, 4: 2}.get(n, min(5, int(np.ceil(np.sqrt(1.5 * n)))))
    return -(-n // width), width


def composed(plots: Sequence[Any], width: float, height: float) -> Any:
    """Plots on one page, two side by side, each of this many inches."""
    drawing()
    from plotnine.composition import plot_spacer

    if len(plots) == 1:
        return plots[0] + size(width, height)
    filled = [*plots, plot_spacer()] if len(plots) % 2 else list(plots)
    rows = [first | second for first, second in list(pairwise(filled))[::2]]
    page = rows[0]
    for row in rows[1:]:
        page = page / row
    return page & size(2.0 * width, height * len(rows))


def wrapped(
    variable: str,
    n: int,
    *,
    name: str = "",
    scales: str = "fixed",
    columns: int | None = None,
) -> list[Any]:
    """Panels by a column of the frame, and a figure in which they have room.

    With `name`, strips read ``name: level``.
    """
    p9 = drawing()
    rows, width = panels(n, columns)

    def strip(level: str) -> str:  # plotnine asks the labeller for its name: no partial
        full, most = f"{name}: {level}" if name else level, STRIP.get(width, NARROW)
        return full if len(full) <= most else plain(level.replace(r"\$", "$"), most)

    facet = p9.facet_wrap([variable], nrow=rows, ncol=width, scales=scales, labeller=strip)
    inches = (max(SIZE[0], min(10.0, 1.0 + 1.9 * width)), max(SIZE[1], min(11.0, 0.9 + 1.8 * rows)))
    return [facet, size(*inches)]
