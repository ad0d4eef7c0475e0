"""Plots of the data before any model: trajectories, means, boxes, violins, distributions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.model.predict import check_level
from mixedmodels.plot.columns import (
    MOST_GROUPS,
    MOST_LINES,
    MOST_ROWS,
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
    some_rows,
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
    shown, n_groups = _read(data, time, response, by, id)
    frame = shown.frame
    panel = _codes(frame, "by")
    frame["line"] = _pairs(_codes(frame, "id"), panel)
    keep, drawn, n_lines = some_lines(frame["line"].to_numpy(), panel, MOST_LINES)
    middle, cell = _means_frame(frame, cells(frame["time"]), panel, n_groups)
    lines = frame[keep]
    counts = np.bincount(lines["line"])
    single = lines[counts[lines["line"]] == 1]
    many = lines[counts[lines["line"]] > 1]
    colour = {"color": "by"} if by is not None else {}
    style = {} if by is not None else {"color": BASE}
    alpha = float(np.clip(6.0 / np.sqrt(max(drawn / max(n_groups, 1), 1.0)), 0.12, 1.0)) * 0.7
    plot = canvas(
        frame,
        {"x": "time", "y": "response"},
        x=_timed(time, shown, labels),
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
        plot += wrapped("by", n_groups, name=_name(by, labels))
        plot += colour_scale(n_groups)
        plot += hide_legend()
    return plot


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
    0     0  75      7.65      7.35       7.94
    1     7  75      9.09      8.82       9.35
    2    14  75     10.77     10.38      11.17
    3    21  72     13.56     13.07      14.05
    """
    check_level(level)
    p9 = drawing()
    shown, n_groups = _read(data, time, response, by)
    middle, cell = _means_frame(
        shown.frame, cells(shown.frame["time"]), _codes(shown.frame, "by"), n_groups, level
    )
    plot = canvas(
        middle,
        {"x": "time", "y": "response", **({} if by is None else {"color": "by", "group": "by"})},
        x=_timed(time, shown, labels),
        y=title(response, labels),
        color=None if by is None else _name(by, labels),
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


def boxes(data: Any, *, time: str, response: str, by: By = None, labels: Labels = None) -> ggplot:
    """Box plots over time.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
    time, response : str
        As in `trajectories`; times stand side by side, whatever their distance.
    by : str or sequence of str, optional
        Boxes side by side for each level.
    labels : mapping of str to str, optional

    Returns
    -------
    plotnine.ggplot
        Its data have the columns time (labels), response, by.

    Raises
    ------
    DataError
        Unknown or unusable columns; more than 24 levels of `by`.

    Notes
    -----
    Median, quartiles, and the last points within 1.5 times the distance of the quartiles from them
    (Tukey 1977, Exploratory Data Analysis).

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> p = mm.plot.boxes(piglets, time="time", response="BW", by="treatm")
    >>> list(p.data["time"].cat.categories)
    ['0', '7', '14', '21']
    """
    p9 = drawing()
    plot, n_groups = _by_cell(data, time, response, by, labels)
    style = {} if by is not None else {"fill": BASE}
    plot += p9.geom_boxplot(
        alpha=0.55,
        width=0.75 if n_groups > 1 else 0.5,
        outlier_size=1.2,
        outlier_alpha=0.6,
        size=0.5,
        **style,
    )
    return plot if by is None else plot + colour_scale(n_groups, "fill")


def violins(data: Any, *, time: str, response: str, by: By = None, labels: Labels = None) -> ggplot:
    """Densities over time as violins, with a dot at the median.

    Parameters
    ----------
    data, time, response, by, labels
        As in `boxes`.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns time (labels), response, by.

    Raises
    ------
    DataError
        Unknown or unusable columns; more than 24 levels of `by`.

    Notes
    -----
    Cells with fewer than three distinct values are drawn as points.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> p = mm.plot.violins(mm.datasets.load("piglets"), time="time", response="BW")
    >>> len(p.layers)
    2
    """
    p9 = drawing()
    plot, n_groups = _by_cell(data, time, response, by, labels)
    frame: Any = plot.data
    cell = _pairs(_codes(frame, "time"), _codes(frame, "by"))
    values = frame["response"].to_numpy()
    dense = (_distinct_per(cell, values) > 2)[cell]
    apart = p9.position_dodge(width=0.8, preserve="total")
    style = {} if by is not None else {"fill": BASE}
    if dense.any():
        plot += p9.geom_violin(
            data=frame[dense], alpha=0.55, width=0.8, size=0.4, position=apart, **style
        )
    if not dense.all():
        plot += p9.geom_point(data=frame[~dense], position=apart, size=1.2)
    plot += p9.stat_summary(
        fun_y=np.median, geom="point", position=apart, size=1.8, color=INK, show_legend=False
    )
    return plot if by is None else plot + colour_scale(n_groups, "fill")


def distribution(data: Any, *, response: str, by: By = None, labels: Labels = None) -> ggplot:
    """Histogram and density of a column.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
    response : str
        Numeric column.
    by : str or sequence of str, optional
        One panel for each level.
    labels : mapping of str to str, optional

    Returns
    -------
    plotnine.ggplot
        Its data have the columns response and by.

    Raises
    ------
    DataError
        Unknown or unusable columns; more than 24 levels of `by`.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> p = mm.plot.distribution(mm.datasets.load("piglets"), response="BW", by="treatm")
    >>> len(p.data)
    297
    """
    shown = collect(data, numbers={"response": response}, factors={"by": by})
    n_groups = 0 if by is None else check_groups(shown.frame["by"], by)
    chosen = some_rows(len(shown.frame), MOST_ROWS)
    frame = shown.frame.iloc[chosen]
    plot = canvas(
        frame,
        {"x": "response"},
        x=title(response, labels),
        y="density",
        caption=note(sample_note(len(chosen), len(shown.frame)), shown.note),
    )
    plot += density_layers(frame["response"].to_numpy(), frame, _codes(frame, "by"))
    if by is not None:
        plot += wrapped("by", n_groups, name=_name(by, labels))
    return plot


def density_layers(values: Array, frame: pd.DataFrame, panel: Codes) -> list[Any]:
    """Histogram on the scale of a density, and a density where a panel has three values."""
    p9 = drawing()
    layers = [
        p9.geom_histogram(
            p9.aes(y=p9.after_stat("density")),
            bins=_n_bins(values),
            fill=BASE,
            color="white",
            alpha=0.55,
            size=0.2,
        )
    ]
    dense = (_distinct_per(panel, values) > 2)[panel]
    if dense.any():
        layers.append(p9.geom_density(data=frame[dense], color=INK, size=0.8))
    return layers


# --- shared steps ---------------------------------------------------------------------------------


def _read(
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


def _codes(frame: pd.DataFrame, role: str) -> Codes:
    """Codes of a factor, zeros where it was not given."""
    if role not in frame:
        return np.zeros(len(frame), dtype=np.int64)
    return np.asarray(frame[role].cat.codes, dtype=np.int64)


def _pairs(first: Codes, second: Codes) -> Codes:
    """Codes of the combinations that occur."""
    both = first.astype(np.int64) * (int(second.max()) + 1) + second
    return np.asarray(np.unique(both, return_inverse=True)[1], dtype=np.int64)


def _distinct_per(cell: Codes, values: Array) -> Codes:
    """Number of distinct values in each cell."""
    order = np.lexsort((values, cell))
    new = np.ones(len(cell), bool)
    new[1:] = (np.diff(cell[order]) != 0) | (np.diff(values[order]) != 0)
    return np.bincount(cell[order], weights=new).astype(np.int64)


def _means_frame(
    frame: pd.DataFrame, cell: Cells, panel: Codes, n_groups: int, level: float = 0.95
) -> tuple[pd.DataFrame, Cells]:
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
    return table[n > 0].reset_index(drop=True), cell


def _joined(middle: pd.DataFrame, **style: Any) -> list[Any]:
    """A line through means, where some level of by has two."""
    p9 = drawing()
    groups = middle["by"].value_counts() if "by" in middle else np.array([len(middle)])
    mapping = {"group": "by"} if "by" in middle else {"group": 1}
    return [p9.geom_line(p9.aes(**mapping), data=middle, **style)] if max(groups) > 1 else []


def _by_cell(data: Any, time: str, response: str, by: By, labels: Labels) -> tuple[ggplot, int]:
    """Rows by label of time, ready for boxes or violins."""
    shown, n_groups = _read(data, time, response, by)
    cell = cells(shown.frame["time"], most=MOST_GROUPS)
    chosen = some_rows(len(shown.frame), MOST_ROWS)
    frame = shown.frame.iloc[chosen].reset_index(drop=True)
    frame["time"] = coded(cell.codes[chosen], cell.labels, ordered=True)
    plot = canvas(
        frame,
        {"x": "time", "y": "response", **({} if by is None else {"fill": "by"})},
        x=_timed(time, shown, labels),
        y=title(response, labels),
        fill=None if by is None else _name(by, labels),
        caption=note(sample_note(len(chosen), len(shown.frame)), cell.note, shown.note),
    )
    plot += slanted(cell.labels)
    return plot, n_groups


def _name(by: By, labels: Labels) -> str:
    names = [by] if isinstance(by, str) else list(by or ())
    return ", ".join(title(name, labels) for name in names)


def _timed(time: str, shown: Shown, labels: Labels) -> str:
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
        from mizani.breaks import breaks_date

        most = 3 if narrow else 6
        breaks = at.tolist() if len(at) <= most else breaks_date(n=most)
        return [p9.scale_x_datetime(breaks=breaks), *slanted(always=True)]
    few = 1 < len(at) <= FEW_TIMES
    return [p9.scale_x_continuous(breaks=at.tolist())] if few else []


def _n_bins(values: Array) -> int:
    """Bins by the rule of Freedman and Diaconis, within reason."""
    low, q1, q3, high = np.quantile(values, (0.0, 0.25, 0.75, 1.0))
    if q3 <= q1:
        return 20
    width = 2.0 * (q3 - q1) / np.cbrt(len(values))
    return int(np.clip((high - low) / width, 5, 60))
