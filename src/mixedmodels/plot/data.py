"""Plots of the data over time before any model: trajectories and means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.model.predict import check_level
from mixedmodels.plot.columns import (
    MOST_LINES,
    Cells,
    Codes,
    Shown,
    cell_means,
    cells,
    check_groups,
    coded,
    collect,
    sample_note,
    some_lines,
    spacing,
)
from mixedmodels.plot.theme import (
    BASE,
    INK,
    Labels,
    canvas,
    colour_scale,
    drawing,
    hide_legend,
    note,
    slanted,
    title,
    wrapped,
)
from mixedmodels.quantiles import t_two_sided

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

# distinct times up to which each has a tick
FEW_TIMES = 8

By = str | Sequence[str] | None


@checked
def trajectories(
    data: Any,
    *,
    id: str,  # noqa: A002 - the name of the field
    time: str,
    response: str,
    by: By = None,
    labels: Labels = None,
) -> ggplot:
    """One line for each subject, and the mean over subjects.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
    id : str
        Column that names the subjects.
    time : str
        Numbers, dates, durations (shown in days) or ordered labels.
    response : str
        Numeric column.
    by : str or sequence of str, optional
        One panel for each level, such as a treatment, or for each combination of levels.
    labels : mapping of str to str, optional
        Titles by column name: ``{"BW": "Body weight (kg)"}``.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns id, time, response, by (where given) and line.

    Raises
    ------
    DataError
        Unknown or unusable columns; more than 24 levels of `by`.

    Notes
    -----
    Of more than 300 lines a random sample is drawn, the same each time, evenly over the panels; the
    mean is always that of all rows. The caption says so. Means of more than 40 distinct times are
    taken in 20 classes of equal width.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> p = mm.plot.trajectories(piglets, id="animal", time="time", response="BW", by="treatm")
    >>> sorted(p.data.columns)
    ['by', 'id', 'line', 'response', 'time']
    """
    p9 = drawing()
    shown, n_groups = read_rows(data, time, response, by, id)
    frame = shown.frame
    panel = codes_of(frame, "by")
    frame["line"] = pairs_of(codes_of(frame, "id"), panel)
    keep, drawn, n_lines = some_lines(frame["line"].to_numpy(), panel, MOST_LINES)
    cell = cells(frame["time"])
    middle = means_frame(frame, cell, panel, n_groups)
    lines = frame[keep]
    many = joinable(lines, lines["line"].to_numpy())
    single = lines.drop(many.index)
    colour = {"color": "by"} if by is not None else {}
    style = {} if by is not None else {"color": BASE}
    alpha = float(np.clip(6.0 / np.sqrt(max(drawn / max(n_groups, 1), 1.0)), 0.12, 1.0)) * 0.7
    plot = canvas(
        frame,
        {"x": "time", "y": "response"},
        x=timed(time, shown, labels),
        y=title(response, labels),
        caption=note(
            "thick line: mean of all rows",
            sample_note(drawn, n_lines, "lines"),
            cell.note,
            shown.note,
        ),
    )
    if len(many):
        plot += p9.geom_line(
            p9.aes(group="line", **colour), data=many, alpha=alpha, size=0.5, **style
        )
    if len(single):
        plot += p9.geom_point(p9.aes(**colour), data=single, alpha=alpha, size=1.0, **style)
    plot += _joined(middle, size=1.2, color=INK)
    plot += p9.geom_point(data=middle, size=1.8, color=INK)
    plot += time_axis(cell.at, narrow=n_groups > 2)
    if by is not None:
        plot += wrapped("by", n_groups, name=name_of(by, labels))
        plot += colour_scale(n_groups)
        plot += hide_legend()
    return plot


@checked
def means(
    data: Any,
    *,
    time: str,
    response: str,
    by: By = None,
    level: float = 0.95,
    labels: Labels = None,
) -> ggplot:
    """Means over time with confidence intervals.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
    time, response : str
        As in `trajectories`.
    by : str or sequence of str, optional
        A coloured line for each level.
    level : float, default 0.95
        Coverage of the intervals, from Student's t in each cell by itself.
    labels : mapping of str to str, optional

    Returns
    -------
    plotnine.ggplot
        Its data have the columns time, response (the mean), n, conf_low, conf_high, by.

    Raises
    ------
    DataError
        Unknown or unusable columns; more than 24 levels of `by`.
    ModelError
        A level outside (0, 1).

    Notes
    -----
    The intervals take the rows of a cell as independent: right when each subject has one row in it.
    Cells of one row have no interval.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> p = mm.plot.means(piglets, time="time", response="BW")
    >>> p.data[["time", "n", "response", "conf_low", "conf_high"]].round(2)
       time   n  response  conf_low  conf_high
    0   0.0  75      7.58      7.30       7.87
    1   7.0  75      9.17      8.83       9.51
    2  14.0  75     10.84     10.46      11.21
    3  21.0  72     13.51     12.99      14.03
    """
    check_level(level)
    p9 = drawing()
    shown, n_groups = read_rows(data, time, response, by)
    cell = cells(shown.frame["time"])
    middle = means_frame(shown.frame, cell, codes_of(shown.frame, "by"), n_groups, level)
    plot = canvas(
        middle,
        {"x": "time", "y": "response", **({} if by is None else {"color": "by", "group": "by"})},
        x=timed(time, shown, labels),
        y=title(response, labels),
        color=None if by is None else name_of(by, labels),
        caption=note(f"mean and {100 * level:g} % confidence interval", cell.note, shown.note),
    )
    apart = p9.position_dodge(width=0.3 * spacing(cell.at) if n_groups > 1 else 0.0)
    style = {} if by is not None else {"color": BASE}
    plot += _joined(middle, position=apart, size=0.8, **style)
    bars = middle[np.isfinite(middle["conf_low"])]
    if len(bars):
        plot += p9.geom_linerange(
            p9.aes(ymin="conf_low", ymax="conf_high"),
            data=bars,
            position=apart,
            size=0.8,
            **style,
        )
    plot += p9.geom_point(position=apart, size=2.4, **style)
    plot += time_axis(cell.at)
    return plot if by is None else plot + colour_scale(n_groups)


# --- shared steps ---------------------------------------------------------------------------------


def read_rows(
    data: Any,
    time: str,
    response: str,
    by: By,
    subject: str | None = None,
) -> tuple[Shown, int]:
    """Rows by role and the number of levels of by (1 without)."""
    shown = collect(
        data,
        times={"time": time},
        numbers={"response": response},
        factors={"id": subject, "by": by},
    )
    return shown, 1 if by is None else check_groups(shown.frame["by"], by)


def codes_of(frame: pd.DataFrame, role: str) -> Codes:
    """Codes of a factor, zeros where it was not given."""
    if role not in frame:
        return np.zeros(len(frame), dtype=np.int64)
    return np.asarray(frame[role].cat.codes, dtype=np.int64)


def pairs_of(first: Codes, second: Codes) -> Codes:
    """Codes of the combinations that occur."""
    both = first.astype(np.int64) * (int(second.max()) + 1) + second
    return np.asarray(np.unique(both, return_inverse=True)[1], dtype=np.int64)


def means_frame(
    frame: pd.DataFrame, cell: Cells, panel: Codes, n_groups: int, level: float = 0.95
) -> pd.DataFrame:
    """Mean, count and limits per time and level of by."""
    import pandas as pd

    n_cells = len(cell.labels)
    n, mean, sd = cell_means(
        frame["response"].to_numpy(), panel * n_cells + cell.codes, n_groups * n_cells
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        half = np.where(n > 1, t_two_sided(level, np.maximum(n - 1, 1)) * sd / np.sqrt(n), np.nan)
    at = np.tile(np.arange(n_cells), n_groups)
    table = pd.DataFrame(
        {
            "time": cell.at[at],
            "response": mean,
            "n": n,
            "conf_low": mean - half,
            "conf_high": mean + half,
        }
    )
    if "by" in frame:
        names = list(frame["by"].cat.categories)
        table["by"] = coded(np.repeat(np.arange(n_groups), n_cells), names)
    return table.iloc[np.flatnonzero(n)].reset_index(drop=True)


def _joined(middle: pd.DataFrame, **style: Any) -> list[Any]:
    """A line through means, for each level of by that has two."""
    p9 = drawing()
    lines = joinable(middle, codes_of(middle, "by"))
    mapping = {"group": "by"} if "by" in middle else {"group": 1}
    return [p9.geom_line(p9.aes(**mapping), data=lines, **style)] if len(lines) else []


def joinable(frame: pd.DataFrame, line: Codes) -> pd.DataFrame:
    """Rows of lines with two points or more; plotnine warns of others."""
    return frame.iloc[np.flatnonzero(np.bincount(line)[line] > 1)]


def name_of(by: By, labels: Labels) -> str:
    """Title of one or several columns."""
    names = [by] if isinstance(by, str) else list(by or ())
    return ", ".join(title(name, labels) for name in names)


def timed(time: str, shown: Shown, labels: Labels) -> str:
    """Title of the time axis, with the unit of a duration unless the user gave a title."""
    unit = shown.units.get("time")
    own = title(time, labels)
    return own if unit is None or time in (labels or {}) else f"{own} ({unit})"


def time_axis(at: Any, *, narrow: bool = False) -> list[Any]:
    """Ticks at the times themselves where these are a few numbers; slanted dates and labels."""
    p9 = drawing()
    if not isinstance(at, np.ndarray):
        return slanted(list(at.categories) * (3 if narrow else 1))
    if at.dtype.kind == "M":
        import pandas as pd
        from mizani.breaks import breaks_date

        most = 3 if narrow else 6
        breaks = list(pd.DatetimeIndex(at)) if len(at) <= most else breaks_date(n=most)
        return [p9.scale_x_datetime(breaks=breaks), *slanted(always=True)]
    few = 1 < len(at) <= FEW_TIMES
    return [p9.scale_x_continuous(breaks=at.tolist())] if few else []
