"""Plots of influence: what single rows do to the fixed effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixedmodels.model.predict import cooks_distance, leverage
from mixedmodels.model.predict import residuals as residuals_of
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import WITH_LARGEST, sample_note, some_rows
from mixedmodels.plot.rows import used_rows
from mixedmodels.plot.theme import ACCENT, BASE, INK, MUTED, canvas, drawing, note

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

# rows drawn, and named
MOST_DRAWN, MOST_NAMED = 3_000, 5


def influence(m: Fit) -> ggplot:
    """Cook's distance of every row, the largest by name.

    Parameters
    ----------
    m : FittedModel

    Returns
    -------
    plotnine.ggplot
        Its data have the columns row (position in the data, from 0), cooks_distance, leverage and
        residual (over sigma).

    Raises
    ------
    ModelError
        A model without its rows.

    Notes
    -----
    The variance parameters are held. Of more than 3,000 rows a random sample is drawn, and with it
    the rows of the largest distances.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.influence(m)
    >>> p.data.nlargest(2, "cooks_distance")["row"].tolist()
    [229, 284]
    """
    p9 = drawing()
    frame, drawn = _influence_frame(m)
    worst = frame.nlargest(MOST_NAMED, "cooks_distance")
    plot = canvas(
        frame,
        {"x": "row", "y": "cooks_distance"},
        x="row of the data",
        y="Cook's distance",
        caption=note("numbers: rows, from 0", sample_note(drawn, m.n_obs, how=WITH_LARGEST)),
    )
    plot += p9.geom_segment(p9.aes(xend="row", yend=0.0), color=BASE, size=0.5, alpha=0.7)
    plot += p9.geom_point(data=worst, color=ACCENT, size=2.0)
    plot += p9.geom_text(
        p9.aes(label="row"), data=worst, va="bottom", size=8, color=INK, nudge_y=_lift(frame)
    )
    plot += p9.scale_y_continuous(expand=(0.02, 0, 0.08, 0))
    return plot


def residuals_leverage(m: Fit) -> ggplot:
    """Residuals against leverage; the larger a point, the larger its Cook's distance.

    Parameters
    ----------
    m : FittedModel

    Returns
    -------
    plotnine.ggplot
        Its data have the columns row (position in the data, from 0), cooks_distance, leverage and
        residual (over sigma).

    Raises
    ------
    ModelError
        A model without its rows.

    Notes
    -----
    As in `influence`.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.residuals_leverage(m)
    """
    p9 = drawing()
    frame, drawn = _influence_frame(m)
    worst = frame.nlargest(MOST_NAMED, "cooks_distance")
    plot = canvas(
        frame,
        {"x": "leverage", "y": "residual"},
        x="leverage",
        y="residual / sigma",
        size="Cook's distance",
        caption=note("numbers: rows, from 0", sample_note(drawn, m.n_obs, how=WITH_LARGEST)),
    )
    plot += p9.geom_hline(yintercept=0.0, color=MUTED, size=0.6)
    plot += p9.geom_point(p9.aes(size="cooks_distance"), color=BASE, alpha=0.6, stroke=0)
    plot += p9.geom_text(
        p9.aes(label="row"), data=worst, ha="left", size=8, color=INK, nudge_x=_gap(frame)
    )
    plot += p9.scale_size_area(max_size=6)
    return plot


def _influence_frame(m: Fit) -> tuple[pd.DataFrame, int]:
    import pandas as pd

    hat = leverage(m)
    distance = cooks_distance(m, hat)
    drawn = some_rows(m.n_obs, MOST_DRAWN, extremes=np.nan_to_num(distance))
    place = np.arange(m.source.n_rows)[used_rows(m)][drawn]
    frame = pd.DataFrame(
        {
            "row": place,
            "cooks_distance": distance[drawn],
            "leverage": hat[drawn],
            "residual": residuals_of(m, "scaled")[drawn],
        }
    )
    return frame.iloc[np.flatnonzero(np.isfinite(frame["cooks_distance"]))], len(drawn)


def _lift(frame: pd.DataFrame) -> float:
    return 0.015 * float(frame["cooks_distance"].max())


def _gap(frame: pd.DataFrame) -> float:
    return 0.02 * float(np.ptp(frame["leverage"]))
