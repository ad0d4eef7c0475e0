"""Plots of residuals: against fitted values and columns, their spread, their memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.errors import DataError, ModelError
from mixedmodels.model.predict import residuals as residuals_of
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import WITH_LARGEST, axis_column, check_groups, sample_note
from mixedmodels.plot.data import time_axis
from mixedmodels.plot.envelope import COVERAGE, Band, model_band
from mixedmodels.plot.rows import (
    cloud,
    column_of,
    curve,
    data_of,
    is_labels,
    points,
    ranked,
    used_rows,
)
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    INK,
    MUTED,
    Labels,
    canvas,
    drawing,
    hide_legend,
    note,
    slanted,
    title,
)
from mixedmodels.quantiles import two_sided

if TYPE_CHECKING:
    from plotnine import ggplot

KINDS = {
    "response": "residual",
    "pearson": "Pearson residual",
    "scaled": "residual / sigma",
    "marginal": "marginal residual",
}
# what stands for the plots whose x axis has no column
FITTED = "fitted value"


@checked
def residuals(
    m: Fit, against: str | None = None, *, kind: str = "scaled", labels: Labels = None
) -> ggplot:
    """Residuals against fitted values or a column of the data, with a smoother.

    Parameters
    ----------
    m : FittedModel
    against : str, optional
        A column of the data of the model, in its formula or not: numbers, dates or labels. The
        fitted values by default.
    kind : {"scaled", "pearson", "response", "marginal"}
        As in `FittedModel.residuals`.
    labels : mapping of str to str, optional
        Titles by column name.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns x and residual.

    Raises
    ------
    DataError
        Unknown or unusable columns.
    ModelError
        An unknown kind; a model without its rows.

    Notes
    -----
    Of more than 5,000 rows a random sample is drawn, and with it the largest residuals; the
    smoother follows all rows. Labels get boxes instead of a smoother.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.residuals(m, "time")
    >>> p.data.groupby("x")["residual"].mean().round(2).to_dict()
    {0.0: 0.34, 7.0: -0.2, 14.0: -0.61, 21.0: 0.49}
    """
    p9 = drawing()
    values = residuals_of(m, kind)
    x = m.fitted if against is None else column_of(m, against)
    frame, drawn = cloud(x, values)
    plot = canvas(
        frame,
        {"x": "x", "y": "residual"},
        x=FITTED if against is None else title(against, labels),
        y=KINDS[kind],
        caption=note(sample_note(len(drawn), len(values), how=WITH_LARGEST)),
    )
    plot += p9.geom_hline(yintercept=0.0, color=MUTED, size=0.6)
    if is_labels(x):
        check_groups(frame["x"], against)
        plot += p9.geom_boxplot(fill=BASE, alpha=0.45, width=0.5, outlier_size=1.2)
        return plot + slanted(list(frame["x"].cat.categories))
    plot += points(x, len(drawn))
    plot += curve(x, values)
    if against is not None:
        plot += time_axis(np.unique(frame["x"].to_numpy()))
    return plot


@checked
def scale_location(m: Fit, against: str | None = None, *, labels: Labels = None) -> ggplot:
    """Square roots of the absolute residuals, whose curve shows a change of spread.

    Parameters
    ----------
    m : FittedModel
    against : str, optional
        A numeric or date column of the data of the model. The fitted values by default.
    labels : mapping of str to str, optional

    Returns
    -------
    plotnine.ggplot
        Its data have the columns x and residual (the root of the absolute residual over sigma).

    Raises
    ------
    DataError
        Unknown or unusable columns.
    ModelError
        A model without its rows.

    References
    ----------
    Cleveland, W. S. (1993). Visualizing Data. Hobart Press, pp. 50-54.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.scale_location(m)
    """
    values = np.sqrt(np.abs(residuals_of(m, "scaled")))
    x = m.fitted if against is None else column_of(m, against)
    if is_labels(x):
        raise DataError(
            f"column {against!r} holds labels; use mm.plot.residuals(m, {against!r}), whose boxes "
            "show the spread"
        )
    frame, drawn = cloud(x, values)
    plot = canvas(
        frame,
        {"x": "x", "y": "residual"},
        x=FITTED if against is None else title(against, labels),
        y="√ |residual / sigma|",
        caption=note(sample_note(len(drawn), len(values), how=WITH_LARGEST)),
    )
    plot += points(x, len(drawn))
    plot += curve(x, values)
    return plot if against is None else plot + time_axis(np.unique(frame["x"].to_numpy()))


# --- memory ---------------------------------------------------------------------------------------


@checked
def autocorrelation(
    m: Fit, time: str | None = None, *, group: str | None = None, max_lag: int | None = None
) -> ggplot:
    """Correlation of residuals within groups, by their distance in rank.

    Parameters
    ----------
    m : FittedModel
    time : str, optional
        Column that orders the rows of a group; the order of the rows by default.
    group : str, optional
        Grouping factor of the model, or a column; by default the factor with the most levels, or
        all rows as one group in a model without random terms.
    max_lag : int, optional
        Largest distance; by default ten times the logarithm (base 10) of the largest group's size.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns lag, correlation, low, high, inside and n (pairs).

    Raises
    ------
    DataError
        Unknown or unusable columns.
    ModelError
        No group has two rows; a lag below one; a model without its rows.

    Notes
    -----
    ``sum r_i r_(i+lag) / n_lag`` over ``sum r_i^2 / n``, with r the residuals over sigma, as in
    Pinheiro and Bates (2000), Mixed-Effects Models in S and S-PLUS, section 5.3. Residuals of a
    correct model are correlated too, as random effects take part of them: the band, from simulated
    responses as in `qq`, is where a correct model's correlations lie, and need not hold zero.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> mm.plot.autocorrelation(m, "time").data[["lag", "n", "correlation"]].round(2)
       lag    n  correlation
    0    1  222        -0.35
    1    2  147        -0.46
    2    3   72         0.20
    """
    import pandas as pd

    p9 = drawing()
    order, pairs = _pairs_by_lag(m, time, group, max_lag)
    counts = np.array([len(first) for first, _ in pairs])
    correlations = partial(_correlations, order=order, pairs=pairs)
    values = correlations(m)
    half = two_sided(COVERAGE) / np.sqrt(counts)
    nothing = Band(np.zeros(len(counts)), -half, half, "band: 95 % of independent residuals")
    band = model_band(m, correlations, nothing)
    frame = pd.DataFrame(
        {
            "lag": np.arange(1, len(counts) + 1),
            "correlation": values,
            "low": band.low,
            "high": band.high,
            "inside": (values >= band.low) & (values <= band.high),
            "n": counts,
        }
    )
    plot = canvas(
        frame,
        {"x": "lag", "y": "correlation"},
        x="distance within a group (rows)",
        y="autocorrelation of residuals",
        caption=note(band.note),
    )
    plot += p9.geom_rect(
        p9.aes(xmin="lag - 0.4", xmax="lag + 0.4", ymin="low", ymax="high"), fill=BASE, alpha=0.18
    )
    plot += p9.geom_hline(yintercept=0.0, color=MUTED, size=0.6)
    plot += p9.geom_segment(p9.aes(xend="lag", yend=0.0), color=INK, size=0.8)
    plot += p9.geom_point(p9.aes(color="inside"), size=2.6)
    plot += p9.scale_color_manual(values={True: BASE, False: ACCENT})
    plot += p9.scale_x_continuous(breaks=_lag_ticks(len(counts)))
    return plot + hide_legend()


def _pairs_by_lag(
    m: Fit, time: str | None, group: str | None, max_lag: int | None
) -> tuple[NDArray[np.intp], list[tuple[NDArray[np.intp], NDArray[np.intp]]]]:
    """Order of the rows, and for each lag the places in it of both ends of every pair."""
    if max_lag is not None and max_lag < 1:
        raise ModelError(f"max_lag must be at least 1, not {max_lag}")
    codes = _group_codes(m, group)
    keys = np.arange(m.n_obs) if time is None else ranked(column_of(m, time))
    order = np.lexsort((keys, codes))
    ordered = codes[order]
    largest = int(np.bincount(ordered).max())
    if largest < 2:
        raise ModelError("no group has two rows: there is nothing to correlate")
    wanted = max_lag or max(1, int(10.0 * np.log10(largest)))
    pairs = []
    for lag in range(1, min(wanted, largest - 1) + 1):
        first = np.flatnonzero(ordered[lag:] == ordered[:-lag])
        pairs.append((first, first + lag))
    return order, pairs


def _correlations(
    fit: Fit,
    order: NDArray[np.intp],
    pairs: list[tuple[NDArray[np.intp], NDArray[np.intp]]],
) -> Array:
    r = residuals_of(fit, "scaled")[order]
    products = [float(r[first] @ r[second]) / len(first) for first, second in pairs]
    return np.array(products) / float(r @ r) * len(r)


def _group_codes(m: Fit, group: str | None) -> NDArray[np.int64]:
    names = [g.name for g in m.design.groups]
    if group is None:
        return m.rows.codes[0] if names else np.zeros(m.n_obs, dtype=np.int64)
    if group in names:
        return m.rows.codes[names.index(group)]
    column = axis_column(data_of(m), group, "group")
    codes = np.unique(np.asarray(column), return_inverse=True)[1]
    return np.asarray(codes[used_rows(m)], dtype=np.int64)


def _lag_ticks(n: int) -> list[int]:
    return list(range(1, n + 1, max(1, -(-n // 10))))
