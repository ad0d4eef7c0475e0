"""Plots of one regression per group: intervals, comparisons, and its shrinkage in a mixed model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
from mixedmodels.explore.columns import counted
from mixedmodels.explore.lm_result import Criterion, LmList
from mixedmodels.model.frames import kept_names
from mixedmodels.model.predict import check_level
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import MOST_POINTS, coded, distinct, sample_note, some_rows
from mixedmodels.plot.modes import covariance, factor_of, fixed_values, own_effects
from mixedmodels.plot.random import interval_panels, level_axis, ring
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    INK,
    MUTED,
    Labels,
    canvas,
    drawing,
    note,
    size,
    title,
)
from mixedmodels.quantiles import t_two_sided

if TYPE_CHECKING:
    from plotnine import ggplot

# groups drawn
MOST_ARROWS = 200


@checked
def group_intervals(fits: LmList, *, level: float = 0.95, labels: Labels = None) -> ggplot:
    """Coefficients of one regression per group, with intervals.

    Parameters
    ----------
    fits : LmList
        From `mm.lm_list`.
    level : float, default 0.95
        Coverage of the intervals, which rest on the residual standard deviation of all groups
        together.
    labels : mapping of str to str, optional
        Titles by name of a term.

    Returns
    -------
    plotnine.ggplot
        A panel for each coefficient. Its data have the columns level, rank, term, estimate,
        conf_low and conf_high.

    Raises
    ------
    TypeError
        Not a result of `lm_list`.
    ModelError
        A level outside (0, 1); no group with enough rows.

    Notes
    -----
    Groups stand in the order of the first coefficient. Of more than 200 groups 200 are drawn,
    evenly spaced in that order. Groups whose rows do not determine all coefficients are left out.
    The line is the mean over groups.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> fits = mm.lm_list("BW ~ time | animal", mm.datasets.load("piglets"))
    >>> p = mm.plot.group_intervals(fits)
    >>> len(p.data), list(p.data["term"].cat.categories)
    (150, ['Intercept', 'time'])
    """
    check_level(level)
    known = np.flatnonzero(np.isfinite(fits.fits.unit_errors).all(axis=1))
    if not len(known) or not fits.df_resid:
        raise ModelError("no group has rows enough for a regression of its own with an error")
    estimate = fits.fits.estimates[known].T
    half = fits.fits.unit_errors[known].T * fits.pooled_sd
    half = half * float(t_two_sided(level, fits.df_resid))
    lost = fits.n_groups - len(known)
    few = f"\n{counted(lost, 'group')} with too few rows left out" if lost else ""
    return interval_panels(
        estimate,
        half,
        [fits.levels[i] for i in known.tolist()],
        [title(name, labels) for name in fits.term_names],
        middle=estimate.mean(axis=1),
        x="coefficient",
        y=title(fits.group, labels),
        text=f"{100 * level:g} % intervals; blue: the mean of all groups lies outside{few}",
    )


@checked
def compare_lists(
    first: LmList,
    second: LmList,
    criterion: Criterion = "r2",
    *,
    names: tuple[str, str] = ("1", "2"),
) -> ggplot:
    """A criterion of each group's regression under two formulas.

    Parameters
    ----------
    first, second : LmList
        From `mm.lm_list`, on the same groups and rows.
    criterion : {"r2", "adj_r2", "aicc", "aic", "bic", "sigma"}
        As in `LmList.compare`.
    names : tuple of str
        What the two are called, such as ``("linear", "quadratic")``.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns level, x, y (the criterion of the first and the second) and best.

    Raises
    ------
    TypeError, ModelError
        As in `LmList.compare`.

    Warns
    -----
    DataWarning
        Groups without a comparison.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets").astype({"animal": str})
    >>> piglets = piglets[~piglets["animal"].isin(["59003", "59022", "59248"])]
    >>> linear = mm.lm_list("BW ~ time | animal", piglets)
    >>> quadratic = mm.lm_list("BW ~ time + I(time^2) | animal", piglets)
    >>> p = mm.plot.compare_lists(linear, quadratic, names=("linear", "quadratic"))
    >>> p.data["best"].value_counts().to_dict()
    {'quadratic': 72, 'linear': 0}
    """
    import pandas as pd

    p9 = drawing()
    table = nw.from_native(first.compare(second, criterion, names), eager_only=True)
    columns = [f"{criterion}_{name}" for name in names]
    x, y = (table[column].to_numpy() for column in columns)
    best = np.where(table["best"].to_numpy() == columns[0], 0, 1)
    kept = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    shown = distinct(names)
    frame = pd.DataFrame(
        {
            "level": [first.levels[i] for i in kept.tolist()],
            "x": x[kept],
            "y": y[kept],
            "best": coded(best[kept], shown),
        }
    )
    drawn = some_rows(len(frame), MOST_POINTS)
    title_of = {"r2": "R²", "adj_r2": "adjusted R²", "aicc": "AICc", "aic": "AIC", "bic": "BIC"}
    text = title_of.get(criterion, criterion)
    plot = canvas(
        frame.iloc[drawn],
        {"x": "x", "y": "y", "color": "best"},
        x=f"{text}, {shown[0]}",
        y=f"{text}, {shown[1]}",
        color="better",
        caption=note(sample_note(len(drawn), len(frame), "groups")),
    )
    plot += p9.geom_abline(slope=1.0, intercept=0.0, color=MUTED, linetype="dashed")
    plot += p9.geom_point(size=1.8, alpha=0.75)
    plot += p9.scale_color_manual(values=[ACCENT, BASE], drop=False)
    return plot


# --- partial pooling ------------------------------------------------------------------------------


@checked
def shrinkage(m: Fit, group: str | None = None, *, labels: Labels = None) -> ggplot:
    """From each group's own regression to its estimate in the model, as arrows.

    Parameters
    ----------
    m : FittedModel
    group : str, optional
        Grouping factor; the one with the most levels by default.
    labels : mapping of str to str, optional
        Titles by name of a term.

    Returns
    -------
    plotnine.ggplot
        With two random terms or more their first two span the plane, with one the groups stand
        above each other. Its data have the columns level, x and y (own least squares), x_model and
        y_model (fixed plus random effects).

    Raises
    ------
    ModelError
        No random effects; an unknown factor; no group whose rows determine a regression of its own.

    Notes
    -----
    A group's own regression is least squares of what the fixed effects (and other factors) leave,
    on the columns of its random terms. Groups whose rows do not determine one are left out, and of
    more than 200 groups a random sample is drawn; the caption says so.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.shrinkage(m)
    >>> p.data.loc[p.data["level"] == "58833", ["x", "x_model", "y", "y_model"]].round(3)
          x  x_model      y  y_model
    0  6.23    6.619  0.319     0.29
    """
    k = factor_of(m, group)
    names = kept_names(m, k)
    centre = fixed_values(m, names)
    own = own_effects(m, k) + centre[:, None]
    model = m.effects[k] + centre[:, None]
    there = np.flatnonzero(np.isfinite(own).all(axis=0))
    if not len(there):
        raise ModelError(
            f"no level of '{m.design.groups[k].name}' has rows enough for a regression of its own"
        )
    drawn = there[some_rows(len(there), MOST_ARROWS)]
    lost = own.shape[1] - len(there)
    text = note(
        sample_note(len(drawn), len(there), "groups"),
        f"{counted(lost, 'group')} with too few rows for an own regression" if lost else "",
    )
    levels = [m.design.groups[k].levels[i] for i in drawn.tolist()]
    titles = [title(name, labels) for name in names]
    own, model = own[:, drawn], model[:, drawn]
    if len(names) == 1:
        return _ladder(
            levels, own[0], model[0], centre[0], titles[0], text, m.design.groups[k].name
        )
    return _plane(levels, own, model, centre, covariance(m, k)[:2, :2], titles, text)


def _plane(
    levels: list[str],
    own: Array,
    model: Array,
    centre: Array,
    sigma: Array,
    titles: list[str],
    text: str | None,
) -> ggplot:
    import pandas as pd

    p9 = drawing()
    frame = pd.DataFrame(
        {"level": levels, "x": own[0], "y": own[1], "x_model": model[0], "y_model": model[1]}
    )
    x, y = ring(sigma)
    circle = pd.DataFrame({"x": x + centre[0], "y": y + centre[1]})
    plot = canvas(frame, {"x": "x", "y": "y"}, x=titles[0], y=titles[1], caption=text, color=" ")
    plot += p9.geom_path(data=circle, color=MUTED, linetype="dashed", size=0.7)
    plot += _arrows()
    plot += p9.geom_point(
        p9.aes("x", "y"),
        data=pd.DataFrame({"x": [centre[0]], "y": [centre[1]]}),
        inherit_aes=False,
        color=INK,
        shape="X",
        size=4,
    )
    return plot


def _ladder(
    levels: list[str],
    own: Array,
    model: Array,
    centre: float,
    name: str,
    text: str | None,
    group: str,
) -> ggplot:
    import pandas as pd

    p9 = drawing()
    order = np.argsort(own, kind="stable")
    rank = np.arange(1.0, len(order) + 1.0)
    ordered = [levels[i] for i in order.tolist()]
    frame = pd.DataFrame(
        {"level": ordered, "x": own[order], "y": rank, "x_model": model[order], "y_model": rank}
    )
    plot = canvas(frame, {"x": "x", "y": "y"}, x=name, y=title(group), caption=text, color=" ")
    plot += p9.geom_vline(xintercept=centre, color=MUTED, linetype="dashed")
    plot += _arrows()
    plot += level_axis(ordered)
    return plot + size(6.4, float(np.clip(1.6 + 0.15 * len(order), 3.0, 8.0)))


def _arrows() -> list[Any]:
    """Arrows from own estimates to those of the model, with points at both ends."""
    p9 = drawing()
    own, model = "own regression", "in the model"
    return [
        p9.geom_point(p9.aes(color=f"'{own}'"), size=1.8, alpha=0.8),
        p9.geom_point(p9.aes("x_model", "y_model", color=f"'{model}'"), size=1.8, alpha=0.9),
        p9.geom_segment(
            p9.aes(xend="x_model", yend="y_model"),
            color="#555555",
            size=0.5,
            arrow=p9.arrow(length=0.08),
        ),
        p9.scale_color_manual(values={own: ACCENT, model: BASE}, breaks=[own, model]),
        p9.theme(legend_position="top"),
    ]
