"""Plots of the fixed part: predicted means along a column, with their intervals, over the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.errors import ModelError
from mixedmodels.inference.emm_grid import EmmGrid
from mixedmodels.inference.emmeans import emmeans
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import (
    MOST_POINTS,
    check_groups,
    coded,
    distinct,
    sample_note,
    some_rows,
)
from mixedmodels.plot.data import codes_of, joinable, time_axis
from mixedmodels.plot.model import check_variable, response_title, spanned
from mixedmodels.plot.rows import is_labels, jitter
from mixedmodels.plot.theme import (
    BASE,
    MUTED,
    Labels,
    canvas,
    colour_scale,
    drawing,
    note,
    slanted,
    title,
)
from mixedmodels.quantiles import t_two_sided

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

# points of a curve; distinct numbers of `by` that each have a curve
CURVE, FEW = 60, 5


@checked
def marginal(
    m: Fit,
    x: str,
    *,
    by: str | None = None,
    level: float = 0.95,
    ddf: str = "satterthwaite",
    weights: str = "proportional",
    labels: Labels = None,
) -> ggplot:
    """Predicted means along a column with a confidence band, over the data.

    Parameters
    ----------
    m : FittedModel
    x : str
        A column of the fixed part, numbers or labels.
    by : str, optional
        Another one: a coloured curve for each of its levels; of numbers for each value if these
        are at most five, else at the mean and a standard deviation below and above it.
    level : float, default 0.95
        Coverage of the band, point by point.
    ddf : {"satterthwaite", "kenward-roger", "none"}
        As in `emmeans`.
    weights : {"proportional", "equal", "outer", "cells", "flat"}
        How the levels of other factors are averaged, as in `emmeans`; by default as often as they
        occur. Other numbers stand at their means.
    labels : mapping of str to str, optional
        Titles by column name.

    Returns
    -------
    plotnine.ggplot
        Its data are the predictions: x, prediction, conf_low, conf_high and by; the observed
        values are a layer.

    Raises
    ------
    DataError
        Unknown or unusable columns.
    ModelError
        x or by is no column of the fixed part; methods that do not exist; a model without its data.

    Warns
    -----
    RankDeficiencyWarning
        Some predictions rest on combinations of levels without data; they are left out.

    Notes
    -----
    Random effects are zero: the curve is that of a typical group, which in a linear model is the
    mean over groups too. Of more than 5,000 rows a random sample is drawn.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + treatm + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.marginal(m, "time")
    >>> p.data.iloc[[0, -1]].round(2)
           x  prediction  conf_low  conf_high
    0    0.0        7.36      7.07       7.65
    59  21.0       13.19     12.70      13.69
    """
    if m.source.sums is not None:
        raise ModelError(
            "mm.plot.marginal shows the rows, which a model of sums does not have: "
            "mm.plot.effects draws the same curves without them"
        )
    table, column, tone = _predictions(m, x, by, level, ddf, weights)
    drawn = some_rows(m.n_obs, MOST_POINTS)
    plot = _plot(m, table, x, by, labels, level, sample_note(len(drawn), m.n_obs))
    plot += _cloud(m, column, tone, table, drawn)
    plot += _layers(table, column, by)
    return plot


@checked
def effects(
    m: Fit,
    x: str,
    *,
    by: str | None = None,
    level: float = 0.95,
    ddf: str = "satterthwaite",
    weights: str = "equal",
    labels: Labels = None,
) -> ggplot:
    """Effect of a column, or the interaction of two, without the data behind.

    Parameters
    ----------
    m, x, by, level, ddf
        As in `mixedmodels.plot.marginal`.
    weights : {"equal", "proportional", "outer", "cells", "flat"}
        As in `emmeans`; by default all levels of other factors count alike.
    labels : mapping of str to str, optional
        Names for axes and legend.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns x, prediction, conf_low, conf_high and by.

    Raises
    ------
    DataError, ModelError
        As in `marginal`.

    Warns
    -----
    RankDeficiencyWarning
        Some predictions rest on combinations of levels without data; they are left out.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ factor(time) * treatm + (1 | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.effects(m, "time", by="treatm")
    >>> len(p.data)
    20
    """
    table, column, _ = _predictions(m, x, by, level, ddf, weights)
    return _plot(m, table, x, by, labels, level, "") + _layers(table, column, by)


def _predictions(
    m: Fit, x: str, by: str | None, level: float, ddf: str, weights: str
) -> tuple[pd.DataFrame, Any, Any]:
    """Predictions over the grid of x and by, and both columns on the rows used."""
    fixed = m.design.formula.fixed_variables
    for name in (x, by):
        if name is not None and name not in fixed:
            check_variable(m, name)
            raise ModelError(f"{name!r} stands in the random part only; use mm.plot.conditional")
    if x == by:
        raise ModelError(f"x and by are both {x!r}")
    column = spanned(m, x)
    at: dict[str, Any] = {}
    if not is_labels(column):
        at[x] = np.unique(np.linspace(column.min(), column.max(), CURVE))
    tone = None if by is None else spanned(m, by)
    if tone is not None and not is_labels(tone):
        at[str(by)] = _values_of(tone)
    targets = [x] if by is None else [x, by]
    found = emmeans(m, targets, at=at, ddf=ddf, level=level, weights=weights)
    return _table(found, x, by, level), column, tone


def _values_of(numbers: NDArray[np.float64]) -> list[float]:
    """Numbers that stand for a column: its own if few, else the mean and a deviation around it."""
    levels = np.unique(numbers)
    if len(levels) <= FEW:
        return [float(v) for v in levels]
    mean, sd = float(numbers.mean()), float(numbers.std(ddof=1))
    return [float(f"{v:.3g}") for v in (mean - sd, mean, mean + sd)]


def _table(found: EmmGrid, x: str, by: str | None, level: float) -> pd.DataFrame:
    """Predictions with limits; those that cannot be estimated are left out."""
    import pandas as pd

    names = [variable.name for variable in found.variables]
    estimates = found.estimates
    half = t_two_sided(level, estimates.df) * estimates.std_error
    columns: dict[str, Any] = {}
    for role, name in (("x", x), ("by", by)):
        if name is None:
            continue
        variable = found.variables[names.index(name)]
        places = found.averages.cells[:, names.index(name)]
        if role == "x" and name not in found.fit.design.factors:
            columns[role] = np.array(variable.values, dtype=np.float64)[places]
        else:
            columns[role] = coded(places.astype(np.int64), distinct(_texts(variable.values)))
    columns |= {
        "prediction": estimates.estimate,
        "conf_low": estimates.estimate - half,
        "conf_high": estimates.estimate + half,
    }
    table = pd.DataFrame(columns)
    if "by" in table:
        check_groups(table["by"], by)
    known = np.flatnonzero(np.isfinite(estimates.estimate))
    if not len(known):
        raise ModelError(
            "none of these predictions can be estimated, because they rest on combinations of "
            "levels without data: there is nothing to draw"
        )
    return table.iloc[known].reset_index(drop=True)


def _texts(values: tuple[Any, ...]) -> list[str]:
    return [f"{v:.12g}" if isinstance(v, float) else str(v) for v in values]


def _plot(
    m: Fit,
    table: pd.DataFrame,
    x: str,
    by: str | None,
    labels: Labels,
    level: float,
    sampled: str,
) -> ggplot:
    toned = {} if by is None else {"color": "by", "fill": "by"}
    shown = {} if by is None else {"color": title(by, labels), "fill": title(by, labels)}
    return canvas(
        table,
        {"x": "x", "y": "prediction", **toned},
        x=title(x, labels),
        y=response_title(m, labels),
        caption=note(f"predicted means with {100 * level:g} % confidence intervals", sampled),
        **shown,
    )


def _layers(table: pd.DataFrame, column: Any, by: str | None) -> list[Any]:
    """Curves with bands along numbers, points with intervals along labels."""
    p9 = drawing()
    style = {} if by is not None else {"color": BASE}
    group = p9.aes(group="by") if by is not None else p9.aes(group=1)
    lines = joinable(table, codes_of(table, "by"))
    scales = []
    if by is not None:
        n = table["by"].cat.categories.size
        scales = [colour_scale(n), colour_scale(n, "fill")]
    limits = p9.aes(ymin="conf_low", ymax="conf_high")
    if not is_labels(column) and not len(lines):  # a number that is one everywhere
        points = [p9.geom_linerange(limits, size=0.9, **style), p9.geom_point(size=2.6, **style)]
        return [*points, *time_axis(np.unique(column)), *scales]
    if not is_labels(column):
        filled = {} if by is not None else {"fill": BASE}
        band = p9.geom_ribbon(limits, data=lines, alpha=0.2, color="none", **filled)
        line = p9.geom_line(group, data=lines, size=1.1, **style)
        return [band, line, *time_axis(np.unique(column)), *scales]
    apart = p9.position_dodge(width=0.3 if by is not None else 0.0)
    layers = [
        p9.geom_linerange(limits, position=apart, size=0.9, **style),
        p9.geom_point(position=apart, size=2.6, **style),
    ]
    if by is not None and len(lines):
        layers.insert(0, p9.geom_line(group, data=lines, position=apart, size=0.6, alpha=0.7))
    if by is not None:
        layers.append(p9.guides(fill="none"))
    return [*layers, *slanted(list(column.cat.categories)), *scales]


def _cloud(m: Fit, column: Any, tone: Any, table: pd.DataFrame, drawn: NDArray[np.intp]) -> Any:
    """Observed values behind the curves, in the colour of their level where by has levels."""
    import pandas as pd

    p9 = drawing()
    x = column.iloc[drawn].reset_index(drop=True) if is_labels(column) else column[drawn]
    frame = pd.DataFrame({"x": x, "prediction": m.response[drawn]})
    alpha = float(np.clip(8.0 / np.sqrt(len(drawn)), 0.12, 0.5))
    style: dict[str, Any] = {"size": 1.3, "alpha": alpha, "stroke": 0.2, "show_legend": False}
    style |= jitter(column)
    if tone is None or not is_labels(tone):
        mapping = p9.aes("x", "prediction")
        return p9.geom_point(mapping, data=frame, inherit_aes=False, color=MUTED, **style)
    names = list(table["by"].cat.categories)
    own = distinct(list(tone.cat.categories))
    place = np.array([names.index(name) if name in names else -1 for name in own])
    frame["by"] = coded(place[tone.cat.codes.to_numpy()[drawn]], names)
    frame = frame.iloc[np.flatnonzero(frame["by"].notna())]
    return p9.geom_point(data=frame, **style)
