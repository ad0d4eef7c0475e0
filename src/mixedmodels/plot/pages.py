"""Pages with a panel for each column of the fixed part: effects, residuals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.errors import ModelError
from mixedmodels.inference.collinearity import variables_of
from mixedmodels.inference.deletion import terms_of
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import MOST_GROUPS
from mixedmodels.plot.model import spanned
from mixedmodels.plot.predictions import effects
from mixedmodels.plot.residual_plots import residuals
from mixedmodels.plot.rows import is_labels
from mixedmodels.plot.theme import Labels, composed, drawing, title

if TYPE_CHECKING:
    from plotnine import ggplot

# inches of a panel; panels of a page
WIDTH, HEIGHT, MOST = 4.8, 3.5, 24


@checked
def all_effects(
    m: Fit,
    *,
    level: float = 0.95,
    ddf: str = "satterthwaite",
    weights: str = "equal",
    labels: Labels = None,
) -> Any:
    """One page: the effect of every column or interaction of the fixed part, on one scale.

    Parameters
    ----------
    m, level, ddf, weights, labels
        As in `effects`.

    Returns
    -------
    plotnine.composition.Compose
        A panel for each set of columns that stand together in a term and in no larger one; each is
        a plot of `effects`. Two columns of plots; `save` writes it.

    Raises
    ------
    DataError
        As in `effects`.
    ModelError
        No column in the fixed part, or more than 24 panels; as in `effects`.

    Warns
    -----
    RankDeficiencyWarning
        As in `effects`.

    Notes
    -----
    Other columns are averaged over, as in `effects`. Of an interaction of two columns the number is
    on the axis, or else the factor with more levels; of more than two columns the others are
    averaged too.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m = mm.lmer("BW ~ factor(time) + treatm + (1 | animal)", piglets)
    >>> page = mm.plot.all_effects(m)
    """
    p9 = drawing()
    shown = together(m)
    if not shown:
        raise ModelError(f"'{m.formula}' has no column in its fixed part: no effect to draw")
    if len(shown) > MOST:
        raise ModelError(
            f"'{m.formula}' has {len(shown)} effects, a page holds {MOST}: draw those that matter "
            "by mm.plot.effects"
        )
    panels: list[ggplot] = []
    for columns in shown:
        x, by = axis_and_colour(m, columns)
        plot = effects(m, x, by=by, level=level, ddf=ddf, weights=weights, labels=labels)
        names = " x ".join(title(name, labels) for name in columns)
        panels.append(plot + p9.labs(title=names, caption=""))
    tables: list[Any] = [plot.data for plot in panels]
    low = min(float(table["conf_low"].min()) for table in tables)
    high = max(float(table["conf_high"].max()) for table in tables)
    room = 0.04 * (high - low or 1.0)
    same = p9.coord_cartesian(ylim=(low - room, high + room))
    return composed([plot + same for plot in panels], WIDTH, HEIGHT)


@checked
def all_residuals(m: Fit, *, kind: str = "scaled", labels: Labels = None) -> Any:
    """One page: residuals against the fitted values and against every column of the fixed part.

    Parameters
    ----------
    m, kind, labels
        As in `residuals`.

    Returns
    -------
    plotnine.composition.Compose
        Two columns of plots of `residuals`, on one scale; `save` writes it.

    Raises
    ------
    DataError
        As in `residuals`.
    ModelError
        More than 24 panels; as in `residuals`.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m = mm.lmer("BW ~ time + treatm + (1 | animal)", piglets)
    >>> page = mm.plot.all_residuals(m)
    """
    columns = [None, *m.design.formula.fixed_variables]
    if len(columns) > MOST:
        raise ModelError(
            f"'{m.formula}' has {len(columns) - 1} columns, a page holds {MOST - 1}: draw those "
            "that matter by mm.plot.residuals"
        )
    plots = [residuals(m, against, kind=kind, labels=labels) for against in columns]
    return composed(plots, WIDTH, HEIGHT)


def together(m: Fit) -> list[tuple[str, ...]]:
    """Sets of columns that terms read, each in the order of the formula; no set within another."""
    known = m.design.formula.fixed_variables
    read = [variables_of(t.factors, known) for t in terms_of(m.design, m.design.formula.fixed)]
    largest = [own for own in read if own and not any(own < other for other in read)]
    return list(dict.fromkeys(tuple(v for v in known if v in own) for own in largest))


def axis_and_colour(m: Fit, columns: Sequence[str]) -> tuple[str, str | None]:
    """What of these goes along the axis, and what is told by colour."""
    if len(columns) == 1:
        return columns[0], None
    levels = {
        name: len(np.unique(column.cat.codes)) if is_labels(column) else 0
        for name, column in ((name, spanned(m, name)) for name in columns)
    }
    x = next((name for name, n in levels.items() if not n), max(levels, key=lambda v: levels[v]))
    others = [name for name in columns if name != x]
    by = min(others, key=lambda v: (levels[v] == 0, levels[v]))
    return x, by if levels[by] <= MOST_GROUPS else None
