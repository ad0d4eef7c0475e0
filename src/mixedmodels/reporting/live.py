"""Numbers of interactive pictures, as data that the page's script reads: never markup."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedmodels.errors import clean
from mixedmodels.plot.columns import MOST_LINES, cells, some_lines
from mixedmodels.plot.data import codes_of, means_frame
from mixedmodels.plot.theme import BASE, MUTED, colours

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

# points beyond which a page would grow and a reader see nothing: the still picture stays alone
MOST_POINTS = 30_000
# digits that a reader of a plot can use
DIGITS = 5


def lines_data(plot: ggplot, names: Sequence[object], what: str, by: str = "") -> str:
    """The lines of `mm.plot.trajectories`, the same ones, and their means.

    Parameters
    ----------
    plot : plotnine.ggplot
    names : sequence
        Of the subjects, in the order of the categories of the plot.
    what : str
        What a line is.
    by : str, optional
        What a panel is.

    Returns
    -------
    str
        Markup; empty where there are too many points.
    """
    frame: Any = plot.data
    panel = codes_of(frame, "by")
    titles = list(frame["by"].cat.categories) if "by" in frame else [""]
    keep, _, _ = some_lines(frame["line"].to_numpy(), panel, MOST_LINES)
    means = means_frame(frame, cells(frame["time"]), panel, len(titles))
    lines = frame[keep].groupby(["line", "time"], observed=True, as_index=False)
    lines = lines.agg({"response": "mean", **dict.fromkeys(_codes(frame), "first")})
    if len(lines) > MOST_POINTS:
        return ""
    at, ticks = _axis(frame["time"])
    places = np.unique(np.concatenate([_numbers(lines["time"]), _numbers(means["time"])]))
    tints = colours(len(titles)) if "by" in frame else [BASE]
    panels = []
    for k, (head, tint) in enumerate(zip(titles, tints, strict=True)):
        own = lines[codes_of(lines, "by") == k]
        drawn = [
            [_text(names[part["id"].cat.codes.iloc[0]]), *_points(part, places)]
            for _, part in own.groupby("line", observed=True)
        ]
        middle = _points(means[codes_of(means, "by") == k], places)
        head = f"{by}: {_plain(head)}" if head else ""
        panels.append({"name": _text(head), "color": tint, "lines": drawn, "mean": middle})
    axes = {"x": _plain(plot.labels.x), "y": _plain(plot.labels.y), "scale": at, "ticks": ticks}
    return _data(
        {"kind": "lines", "what": _text(what), **axes, "at": places.tolist(), "panels": panels}
    )


def intervals_data(plot: ggplot, what: str) -> str:
    """The intervals of `mm.plot.caterpillar`.

    Parameters
    ----------
    plot : plotnine.ggplot
    what : str
        What a level is.
    """
    frame: Any = plot.data
    terms = list(frame["term"].cat.categories)
    names = [_text(level) for level in frame.loc[frame["term"] == terms[0], "level"]]
    panels = []
    for term in terms:
        own = frame[frame["term"] == term]
        numbers = {key: _short(own[key]) for key in ("estimate", "conf_low", "conf_high")}
        tints = [BASE if apart else MUTED for apart in own["apart"]]
        panels.append({"name": _plain(term), "colors": tints, **numbers})
    x = _plain(plot.labels.x)
    return _data(
        {"kind": "intervals", "what": _text(what), "y": x, "names": names, "panels": panels}
    )


def _codes(frame: pd.DataFrame) -> list[str]:
    return [role for role in ("id", "by") if role in frame]


def _axis(time: Any) -> tuple[str, list[str] | None]:
    """The kind of scale, and the labels of one that has no numbers."""
    if hasattr(time, "cat"):
        return "labels", [_plain(name) for name in time.cat.categories]
    return ("dates" if time.dtype.kind == "M" else "numbers"), None


def _numbers(time: Any) -> Any:
    """Times as numbers: labels by their place, dates in seconds."""
    if hasattr(time, "cat"):
        return time.cat.codes.to_numpy().astype(float)
    if time.dtype.kind == "M":
        return time.to_numpy().astype("datetime64[ms]").astype(np.int64) / 1000.0
    return time.to_numpy().astype(float)


def _points(part: pd.DataFrame, places: Any) -> list[list[Any]]:
    """Positions among the places, and values."""
    return [np.searchsorted(places, _numbers(part["time"])).tolist(), _short(part["response"])]


def _short(values: Iterable[float]) -> list[float | None]:
    return [float(f"{v:.{DIGITS}g}") if math.isfinite(v) else None for v in values]


def _plain(drawn: str | None) -> str:
    r"""A text of a plot as it was before it was made fit for drawing: dollars are ``\$`` there."""
    return _text((drawn or "").replace(r"\$", "$"))


def _text(value: object) -> str:
    return clean(str(value))


def _data(values: dict[str, Any]) -> str:
    """A block that no browser runs; without ``<`` and ``&`` nothing can end it or be markup."""
    packed = json.dumps(values, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        packed = packed.replace(sign, f"\\u{ord(sign):04x}")
    return f'<div class="live" hidden><script type="application/json">{packed}</script></div>'
