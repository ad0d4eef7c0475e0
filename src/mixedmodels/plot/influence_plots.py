"""Plots of influence: what single rows and whole groups do to the fixed effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
from mixedmodels.inference.influence import Hold
from mixedmodels.inference.influence import influence as influence_of
from mixedmodels.model.predict import residuals as residuals_of
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import WITH_LARGEST, coded, distinct, sample_note, some_rows
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    INK,
    MUTED,
    Labels,
    canvas,
    drawing,
    note,
    plain,
    title,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

# rows or groups drawn; those named, in all and in each of several panels; coefficients drawn
MOST_DRAWN, MOST_NAMED, NAMED_EACH, MOST_TERMS = 3_000, 5, 2, 16


@checked
def influence(
    m: Fit, group: str | None = None, *, hold: Hold = "theta", labels: Labels = None
) -> ggplot:
    """Cook's distance of every row, or of every group as a whole, the largest by name.

    Parameters
    ----------
    m : FittedModel
    group : str, optional
        A grouping factor or column whose levels are left out one at a time; rows by default.
    hold : {"theta", "variances", "nothing"}
        What keeps its value, as in `mm.influence`.
    labels : mapping of str to str, optional
        Titles by column name.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns place (0 for the first), name, cooks_distance and leverage.

    Raises
    ------
    DataError, ModelError
        As in `mm.influence`.

    Warns
    -----
    DataWarning
        As in `mm.influence`; rows or levels without a value are left out.

    Notes
    -----
    The distance is that of the fixed effects. Of more than 3,000 rows or groups a random sample is
    drawn, and with it those of the largest distances.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.influence(m, "animal")
    >>> p.data.nlargest(2, "cooks_distance")["name"].tolist()
    ['59172', '58877']
    """
    p9 = drawing()
    table = nw.from_native(influence_of(m, group, hold=hold), eager_only=True)
    frame, n = _frame(table, table["cooks_distance"].to_numpy())
    worst = frame.nlargest(MOST_NAMED, "cooks_distance")
    what = "rows" if group is None else "groups"
    plot = canvas(
        frame,
        {"x": "place", "y": "cooks_distance"},
        x="row" if group is None else title(group, labels),
        y="Cook's distance of the fixed effects",
        caption=note(sample_note(len(frame), n, what, WITH_LARGEST)),
    )
    plot += p9.geom_segment(p9.aes(xend="place", yend=0.0), color=BASE, size=0.5, alpha=0.7)
    plot += p9.geom_point(data=worst, color=ACCENT, size=2.0)
    lift = 0.015 * float(frame["cooks_distance"].max())
    ends = np.quantile(frame["place"], [0.15, 0.85])
    sides = np.searchsorted(ends, worst["place"])
    for k, side in enumerate(("left", "center", "right")):  # names stay inside the plot
        style: dict[str, Any] = {"va": "bottom", "ha": side, "size": 8, "color": INK}
        own = worst[sides == k]
        if len(own):
            plot += p9.geom_text(p9.aes(label="name"), data=own, nudge_y=lift, **style)
    plot += p9.scale_y_continuous(expand=(0.02, 0, 0.08, 0))
    return plot if group is None else plot + _without_ticks()


@checked
def dfbetas(
    m: Fit, group: str | None = None, *, hold: Hold = "theta", labels: Labels = None
) -> ggplot:
    """How far each coefficient moves without a row or a group, in standard errors.

    Parameters
    ----------
    m : FittedModel
    group : str, optional
        A grouping factor or column whose levels are left out one at a time; rows by default.
    hold : {"theta", "variances", "nothing"}
        What keeps its value, as in `mm.influence`.
    labels : mapping of str to str, optional
        Titles by name of a column or term.

    Returns
    -------
    plotnine.ggplot
        A panel for each coefficient. Its data have the columns place, name, term and dfbetas.

    Raises
    ------
    DataError, ModelError
        As in `mm.influence`; more than 16 coefficients.

    Warns
    -----
    DataWarning
        As in `mm.influence`; rows or levels without a value are left out.

    Notes
    -----
    Dashed lines at ``2 / sqrt(number of rows or groups)`` (Belsley, Kuh and Welsch 1980, Regression
    Diagnostics, p. 28).

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.dfbetas(m, "animal")
    >>> list(p.data["term"].cat.categories)
    ['Intercept', 'time']
    """
    p9 = drawing()
    names = m.term_names
    if len(names) > MOST_TERMS:
        raise ModelError(
            f"the model has {len(names)} coefficients; one plot shows at most {MOST_TERMS}. "
            "mm.influence(m) has all of them"
        )
    table = nw.from_native(influence_of(m, group, hold=hold), eager_only=True)
    values = np.stack([table[f"dfbetas_{name}"].to_numpy() for name in names])
    frame, n = _long_frame(table, values, [title(name, labels) for name in names])
    limit = 2.0 / np.sqrt(n)
    outside = frame.iloc[np.flatnonzero(frame["dfbetas"].abs() > limit)]
    worst = outside.loc[
        outside["dfbetas"]
        .abs()
        .groupby(outside["term"], observed=True)
        .nlargest(NAMED_EACH)
        .index.get_level_values(-1)
    ]
    what = "rows" if group is None else "groups"
    plot = canvas(
        frame,
        {"x": "place", "y": "dfbetas"},
        x="row" if group is None else title(group, labels),
        y="change in standard errors (DFBETAS)",
        caption=note(
            f"dashed: ±2 / √{n:,}",
            sample_note(frame["place"].nunique(), n, what, WITH_LARGEST),
        ),
    )
    plot += p9.geom_hline(yintercept=[-limit, limit], color=MUTED, linetype="dashed", size=0.6)
    plot += p9.geom_segment(p9.aes(xend="place", yend=0.0), color=BASE, size=0.5, alpha=0.7)
    if len(worst):
        plot += p9.geom_point(data=worst, color=ACCENT, size=1.6)
        gap = 0.02 * float(frame["place"].max())
        plot += p9.geom_text(
            p9.aes(label="name"), data=worst, ha="left", size=7, color=INK, nudge_x=gap
        )
    # room for the names of the last
    plot += p9.scale_x_continuous(expand=(0.03, 0, 0.18, 0))
    plot += wrapped("term", len(names))
    return plot if group is None else plot + _without_ticks()


@checked
def residuals_leverage(m: Fit) -> ggplot:
    """Residuals against leverage; the larger a point, the larger its Cook's distance.

    Parameters
    ----------
    m : FittedModel

    Returns
    -------
    plotnine.ggplot
        Its data have the columns place, name, cooks_distance, leverage and residual (over sigma).

    Raises
    ------
    DataError, ModelError
        As in `mm.influence`.

    Warns
    -----
    DataWarning
        As in `mm.influence`; rows without a value are left out.

    Notes
    -----
    The leverage counts fixed and random effects. As in `influence` otherwise.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.residuals_leverage(m)
    """
    p9 = drawing()
    table = nw.from_native(influence_of(m), eager_only=True)
    frame, n = _frame(table, table["cooks_distance"].to_numpy())
    frame["residual"] = residuals_of(m, "scaled")[frame["place"].to_numpy()]
    worst = frame.nlargest(MOST_NAMED, "cooks_distance")
    plot = canvas(
        frame,
        {"x": "leverage", "y": "residual"},
        x="leverage",
        y="residual / sigma",
        size="Cook's distance",
        caption=note("named: rows of the largest distances", sample_note(len(frame), n, "rows")),
    )
    plot += p9.geom_hline(yintercept=0.0, color=MUTED, size=0.6)
    plot += p9.geom_point(p9.aes(size="cooks_distance"), color=BASE, alpha=0.6, stroke=0)
    gap = 0.02 * float(np.ptp(frame["leverage"]))
    plot += p9.geom_text(
        p9.aes(label="name"), data=worst, ha="left", size=8, color=INK, nudge_x=gap
    )
    plot += p9.scale_size_area(max_size=6)
    return plot


def _frame(table: Any, distance: Array) -> tuple[pd.DataFrame, int]:
    """Rows or levels to draw, and how many there are."""
    import pandas as pd

    drawn = _drawn(distance)
    frame = pd.DataFrame(
        {
            "place": drawn,
            "name": _names(table, drawn),
            "cooks_distance": distance[drawn],
            "leverage": table["leverage"].to_numpy()[drawn],
        }
    )
    return frame, len(distance)


def _long_frame(table: Any, values: Array, terms: list[str]) -> tuple[pd.DataFrame, int]:
    """The same with a row for each coefficient."""
    import pandas as pd

    drawn = _drawn(np.abs(values).max(axis=0))
    q = len(values)
    frame = pd.DataFrame(
        {
            "place": np.tile(drawn, q),
            "name": _names(table, drawn) * q,
            "term": coded(np.repeat(np.arange(q), len(drawn)), distinct(terms)),
            "dfbetas": values[:, drawn].ravel(),
        }
    )
    return frame, values.shape[1]


def _drawn(size: Array) -> Any:
    """Positions to draw: those with a value, a sample of many with the largest."""
    drawn = some_rows(len(size), MOST_DRAWN, extremes=np.nan_to_num(size))
    return drawn[np.isfinite(size[drawn])]


def _names(table: Any, drawn: Any) -> list[str]:
    column = table["row" if "row" in table.columns else "level"].to_list()
    return [plain(column[i]) for i in drawn.tolist()]


def _without_ticks() -> Any:
    """Places of groups mean nothing."""
    p9 = drawing()
    return p9.theme(axis_text_x=p9.element_blank(), axis_ticks_major_x=p9.element_blank())
