"""Plots of how values are spread: boxes and violins over time, histograms with densities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.plot.columns import (
    MOST_DENSE,
    MOST_GROUPS,
    MOST_ROWS,
    Codes,
    cells,
    check_groups,
    coded,
    collect,
    sample_note,
    some_rows,
)
from mixedmodels.plot.data import By, codes_of, name_of, pairs_of, read_rows, timed
from mixedmodels.plot.theme import (
    BASE,
    INK,
    Labels,
    canvas,
    colour_scale,
    drawing,
    note,
    slanted,
    title,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot


@checked
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


@checked
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
    cell = pairs_of(codes_of(frame, "time"), codes_of(frame, "by"))
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


@checked
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
    chosen = some_rows(len(shown.frame), MOST_DENSE)
    frame = shown.frame.iloc[chosen]
    plot = canvas(
        frame,
        {"x": "response"},
        x=title(response, labels),
        y="density",
        caption=note(sample_note(len(chosen), len(shown.frame)), shown.note),
    )
    plot += density_layers(frame["response"].to_numpy(), frame, codes_of(frame, "by"))
    if by is not None:
        plot += wrapped("by", n_groups, name=name_of(by, labels))
    return plot


def density_layers(values: Array, frame: pd.DataFrame, panel: Codes) -> list[Any]:
    """Histogram on the scale of a density, and a density where a panel has three values."""
    p9 = drawing()
    layers = [
        p9.geom_histogram(
            p9.aes(y=p9.after_stat("density")),
            bins=_n_bins(values),
            position="identity",  # one histogram a panel, whose bars rounding may let touch
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


def _by_cell(data: Any, time: str, response: str, by: By, labels: Labels) -> tuple[ggplot, int]:
    """Rows by label of time, ready for boxes or violins."""
    shown, n_groups = read_rows(data, time, response, by)
    cell = cells(shown.frame["time"], most=MOST_GROUPS)
    chosen = some_rows(len(shown.frame), MOST_ROWS)
    frame = shown.frame.iloc[chosen].reset_index(drop=True)
    frame["time"] = coded(cell.codes[chosen], cell.labels, ordered=True)
    plot = canvas(
        frame,
        {"x": "time", "y": "response", **({} if by is None else {"fill": "by"})},
        x=timed(time, shown, labels),
        y=title(response, labels),
        fill=None if by is None else name_of(by, labels),
        caption=note(sample_note(len(chosen), len(shown.frame)), cell.note, shown.note),
    )
    plot += slanted(cell.labels)
    return plot, n_groups


def _n_bins(values: Array) -> int:
    """Bins by the rule of Freedman and Diaconis, within reason."""
    low, q1, q3, high = np.quantile(values, (0.0, 0.25, 0.75, 1.0))
    if q3 <= q1:
        return 20
    width = 2.0 * (q3 - q1) / np.cbrt(len(values))
    return int(np.clip((high - low) / width, 5, 60))


def _distinct_per(cell: Codes, values: Array) -> Codes:
    """Number of distinct values in each cell."""
    order = np.lexsort((values, cell))
    new = np.ones(len(cell), bool)
    new[1:] = (np.diff(cell[order]) != 0) | (np.diff(values[order]) != 0)
    return np.bincount(cell[order], weights=new).astype(np.int64)
