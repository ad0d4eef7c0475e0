"""Plots of the random effects: caterpillars and pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
from mixedmodels.inference.compare import quoted
from mixedmodels.model.frames import kept_names
from mixedmodels.model.predict import check_level
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import MOST_POINTS, coded, distinct, sample_note, some_rows
from mixedmodels.plot.modes import covariance, factor_of
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    MUTED,
    Labels,
    canvas,
    drawing,
    hide_legend,
    note,
    size,
    title,
    wrapped,
)
from mixedmodels.quantiles import two_sided

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

# levels of a caterpillar that are drawn, and that are named
MOST_LEVELS, MOST_NAMED = 200, 60
# squared radius that holds 95 % of a normal distribution in the plane
RADIUS = -2.0 * np.log(0.05)


@checked
def caterpillar(
    m: Fit, group: str | None = None, *, level: float = 0.95, labels: Labels = None
) -> ggplot:
    """Random effects in their order, with intervals.

    Parameters
    ----------
    m : FittedModel
    group : str, optional
        Grouping factor; the one with the most levels by default.
    level : float, default 0.95
        Coverage of the intervals, from the conditional standard deviations and the normal
        distribution.
    labels : mapping of str to str, optional
        Titles by name of a term.

    Returns
    -------
    plotnine.ggplot
        A panel for each term. Its data have the columns level, rank, term, estimate, conf_low,
        conf_high, middle (zero) and apart (the interval lacks it).

    Raises
    ------
    ModelError
        No random effects; an unknown factor; a level outside (0, 1).

    Notes
    -----
    Levels stand in the order of the first term in all panels. Of more than 200 levels 200 are
    drawn, evenly spaced in that order; of more than 60 the names are left out.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.caterpillar(m)
    >>> len(p.data), list(p.data["term"].cat.categories)
    (150, ['Intercept', 'time'])
    """
    check_level(level)
    k = factor_of(m, group)
    factor = m.design.groups[k]
    variances = np.einsum("aal->al", m.effect_covariances[k])
    return interval_panels(
        m.effects[k],
        two_sided(level) * np.sqrt(np.maximum(variances, 0.0)),
        factor.levels,
        [title(name, labels) for name in kept_names(m, k)],
        x="random effect",
        y=title(factor.name, labels),
        text=f"{100 * level:g} % intervals; blue: zero lies outside",
    )


def interval_panels(
    estimate: Array,
    half: Array,
    levels: Sequence[str],
    terms: list[str],
    *,
    middle: Array | None = None,
    x: str,
    y: str,
    text: str,
) -> ggplot:
    """Intervals of many groups, a panel for each term, in the order of the first term.

    Parameters
    ----------
    estimate, half : ndarray of shape (q, n)
        Estimates and half-widths.
    levels : sequence of str
        Names of the groups.
    terms : list of str
        Titles of the panels.
    middle : ndarray of shape (q,), optional
        What the intervals are held against, zero by default.
    x, y, text : str
        Titles and note.
    """
    p9 = drawing()
    n_levels, names = estimate.shape[1], distinct(terms)
    order = np.argsort(estimate[0], kind="stable")
    chosen = np.unique(np.linspace(0, n_levels - 1, min(n_levels, MOST_LEVELS)).round())
    order = order[chosen.astype(np.intp)]
    shown = [levels[i] for i in order.tolist()]
    centre = np.zeros(len(names)) if middle is None else middle
    frame = _interval_frame(estimate[:, order], half[:, order], centre, shown, names)
    lines = frame.drop_duplicates("term")
    left_out = f"{len(order):,} of {n_levels:,} levels drawn, evenly spaced in their order"
    thin = len(order) > MOST_NAMED
    plot = canvas(
        frame,
        {"x": "estimate", "y": "rank", "color": "apart"},
        x=x,
        y=y,
        caption=note(text, left_out if len(order) < n_levels else ""),
    )
    plot += p9.geom_vline(p9.aes(xintercept="middle"), data=lines, color=MUTED, size=0.6)
    plot += p9.geom_segment(
        p9.aes(x="conf_low", xend="conf_high", yend="rank"), size=0.4 if thin else 0.7
    )
    plot += p9.geom_point(size=0.9 if thin else 1.8)
    plot += p9.scale_color_manual(values={True: BASE, False: MUTED})
    plot += wrapped("term", len(names), scales="free_x", columns=min(len(names), 4))
    plot += level_axis(shown)
    height = 4.4 if thin else float(np.clip(1.4 + 0.17 * len(order), 3.0, 11.0))
    return plot + size(float(np.clip(2.0 + 2.2 * len(names), 5.0, 10.0)), height) + hide_legend()


def _interval_frame(
    estimate: Array, half: Array, middle: Array, levels: list[str], names: list[str]
) -> pd.DataFrame:
    import pandas as pd

    q, n = estimate.shape
    return pd.DataFrame(
        {
            "level": levels * q,
            "rank": np.tile(np.arange(1.0, n + 1.0), q),
            "term": coded(np.repeat(np.arange(q), n), names),
            "estimate": estimate.ravel(),
            "conf_low": (estimate - half).ravel(),
            "conf_high": (estimate + half).ravel(),
            "middle": np.repeat(middle, n),
            "apart": (np.abs(estimate - middle[:, None]) > half).ravel(),
        }
    )


def level_axis(levels: list[str]) -> list[Any]:
    """Names of the levels at their ranks, or none where they would not be legible."""
    p9 = drawing()
    ends = (0.0, len(levels) + 1.0)
    if len(levels) > MOST_NAMED:
        return [
            p9.scale_y_continuous(limits=ends, breaks=[], expand=(0, 0)),
            p9.theme(axis_ticks_major_y=p9.element_blank()),
        ]
    ranks = list(range(1, len(levels) + 1))
    return [
        p9.scale_y_continuous(limits=ends, breaks=ranks, labels=distinct(levels), expand=(0, 0)),
        p9.theme(axis_text_y=p9.element_text(size=8 if len(levels) < 30 else 6)),
    ]


@checked
def random_pairs(m: Fit, group: str | None = None, *, labels: Labels = None) -> ggplot:
    """Random effects of each level against one another, for every pair of terms.

    Parameters
    ----------
    m : FittedModel
    group : str, optional
        Grouping factor; by default the first that has two terms.
    labels : mapping of str to str, optional
        Titles by name of a term.

    Returns
    -------
    plotnine.ggplot
        A panel for each pair of terms. Its data have the columns level, pair, x and y.

    Raises
    ------
    ModelError
        No factor with two terms; an unknown factor.

    Notes
    -----
    The ellipse holds 95 % of the estimated normal distribution of the effects. Conditional modes
    lie nearer to the middle, as they are shrunken. Of more than 5,000 levels a random sample is
    drawn.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.random_pairs(m)
    >>> len(p.data)
    75
    """
    p9 = drawing()
    k = factor_of(m, group)
    if group is None:
        k = next((i for i in range(len(m.effects)) if len(m.effects[i]) > 1), k)
    names = distinct([title(name, labels) for name in kept_names(m, k)])
    if len(names) < 2:
        raise ModelError(
            f"'{m.design.groups[k].name}' of {quoted(m.formula)} has one random effect per level: "
            "there are no pairs"
        )
    second, first = np.tril_indices(len(names), -1)
    titles = [f"{names[j]} on {names[i]}" for i, j in zip(first, second, strict=True)]
    n_levels = len(m.design.groups[k].levels)
    drawn = some_rows(n_levels, MOST_POINTS)
    frame = _pairs_frame(m, k, drawn, first, second, titles)
    rings = _rings(covariance(m, k), first, second, titles)
    alone = len(titles) == 1
    plot = canvas(
        frame,
        {"x": "x", "y": "y"},
        x=names[0] if alone else "random effect",
        y=names[1] if alone else "random effect",
        caption=note(
            "ellipse: 95 % of the estimated distribution",
            sample_note(len(drawn), n_levels, "levels"),
        ),
    )
    plot += p9.geom_hline(yintercept=0.0, color=MUTED, size=0.5)
    plot += p9.geom_vline(xintercept=0.0, color=MUTED, size=0.5)
    plot += p9.geom_path(data=rings, color=ACCENT, size=0.8)
    plot += p9.geom_point(color=BASE, alpha=float(np.clip(8.0 / np.sqrt(len(drawn)), 0.2, 0.8)))
    return plot if alone else plot + wrapped("pair", len(titles), scales="free")


def _pairs_frame(
    m: Fit,
    k: int,
    drawn: NDArray[np.intp],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    titles: list[str],
) -> pd.DataFrame:
    import pandas as pd

    effects = m.effects[k][:, drawn]
    return pd.DataFrame(
        {
            "level": [m.design.groups[k].levels[i] for i in drawn.tolist()] * len(titles),
            "pair": coded(np.repeat(np.arange(len(titles)), len(drawn)), titles),
            "x": effects[first].ravel(),
            "y": effects[second].ravel(),
        }
    )


def _rings(
    sigma: Array, first: NDArray[np.intp], second: NDArray[np.intp], titles: list[str]
) -> pd.DataFrame:
    """Ellipses of the estimated distribution, one per pair."""
    import pandas as pd

    parts = []
    for i, j, name in zip(first.tolist(), second.tolist(), range(len(titles)), strict=True):
        x, y = ring(sigma[np.ix_([i, j], [i, j])])
        pair = coded(np.full(len(x), name), titles)
        parts.append(pd.DataFrame({"pair": pair, "x": x, "y": y}))
    return pd.concat(parts, ignore_index=True)


def ring(sigma: Array) -> tuple[Array, Array]:
    """Points on the ellipse about zero that holds 95 % of a normal distribution in the plane."""
    values, vectors = np.linalg.eigh(sigma)
    angle = np.linspace(0.0, 2.0 * np.pi, 121)
    circle = np.stack([np.cos(angle), np.sin(angle)])
    x, y = vectors @ (np.sqrt(RADIUS * np.maximum(values, 0.0))[:, None] * circle)
    return x, y
