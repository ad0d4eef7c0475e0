"""The page of `check_model`: for each assumption the plot that shows it, with its verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.errors import DataWarning, quiet
from mixedmodels.inference.check_model import check_model
from mixedmodels.inference.check_result import Check, ModelCheck
from mixedmodels.inference.check_statistics import Views
from mixedmodels.inference.collinearity import Inflation
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import sample_note, some_rows
from mixedmodels.plot.influence_plots import influence
from mixedmodels.plot.normality import qq, qq_random
from mixedmodels.plot.residual_plots import autocorrelation, residuals, scale_location
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    INK,
    MUTED,
    canvas,
    composed,
    drawing,
    note,
    plain,
)
from mixedmodels.quantiles import normal_probability

if TYPE_CHECKING:
    from plotnine import ggplot

# verdicts by colours that colour-blind readers can tell apart
COLOURS = {"ok": "#007A5A", "look": "#A66300", "problem": "#B03A00", "not checked": MUTED}
# inches of a panel, characters of a line over it, points drawn
WIDTH, HEIGHT, LINE, MOST = 5.0, 3.7, 58, 3_000
# slices of the prediction in which quantiles are drawn
SLICES = 10


@checked
def check(m: Fit | ModelCheck, *, time: str | None = None, n_sim: int = 250) -> Any:
    """One page: a plot for each assumption, with the verdict over it.

    Parameters
    ----------
    m : FittedModel or ModelCheck
        A model, which is checked first, or what `mixedmodels.check_model` gave.
    time : str, optional
        As in `check_model`, for a model.
    n_sim : int, default 250
        Likewise.

    Returns
    -------
    plotnine.composition.Compose
        Two columns of plots; `save` writes it, `draw` gives the matplotlib figure. A model without
        residual structure to draw has fewer panels.

    Raises
    ------
    DataError, ModelError
        As in `check_model`.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> page = mm.plot.check(m, time="time", n_sim=50)
    """
    drawing()
    found = m if isinstance(m, ModelCheck) else check_model(m, time=time, n_sim=n_sim)
    panels = [_headed(plot, found[name]) for name, plot in _panels(found)]
    return composed(panels, WIDTH, HEIGHT)


def _panels(found: ModelCheck) -> Iterator[tuple[str, ggplot]]:
    """Assumptions in the order of the page, each with its plot."""
    m, names = found.fit, {check.assumption for check in found.checks}
    short = drawing().labs(y="Cook's distance")
    yield "linearity", residuals(m, _variable(found))
    yield "equal variance", scale_location(m)
    yield "normal residuals", qq(m)
    if "normal effects" in names and found["normal effects"].verdict != "not checked":
        yield "normal effects", qq_random(m)
    if "influence" in names:
        yield "influence", _quietly(lambda: influence(m, _factor(found))) + short
    yield "simulated residuals", _quantile_residuals(m)
    if found.time is not None:
        yield "autocorrelation", autocorrelation(m, found.time)
    if len(found.inflation) > 1:
        yield "collinearity", _inflation_bars(found.inflation)


def _headed(plot: ggplot, check: Check) -> ggplot:
    """The plot with the assumption and its verdict over it, its own caption wrapped."""
    p9 = drawing()
    p = "" if np.isnan(check.p_value) else f" (p = {check.p_value:.3f})"
    name = check.assumption[:1].upper() + check.assumption[1:]
    text = "\n".join(textwrap.wrap(plain(check.message, longest=200), LINE))
    caption = getattr(plot.labels, "caption", None)
    if caption:
        lines = (textwrap.fill(line, LINE + 6) for line in caption.split("\n"))
        plot += p9.labs(caption="\n".join(lines))
    plot += p9.labs(title=f"{name}: {check.verdict}{p}", subtitle=text)
    plot += p9.theme(plot_title=p9.element_text(color=COLOURS[check.verdict]))
    return plot


def _quietly(make: Callable[[], ggplot]) -> ggplot:
    """Rows that cannot be left out are no news on this page."""
    with quiet(DataWarning):
        return make()


def _variable(found: ModelCheck) -> str | None:
    """The predictor along which the mean bends most, where one does."""
    if "linearity" not in {check.assumption for check in found.checks}:
        return None
    about = found["linearity"].statistic.rpartition(", ")[2]
    known = found.fit.design.formula.fixed_variables
    return about if about in known and found.fit.source.data is not None else None


def _factor(found: ModelCheck) -> str | None:
    """The grouping factor whose level is most unusual; None for a row."""
    about = found["influence"].statistic.rpartition(", ")[2]
    return None if about == "row" else about


# --- own plots ------------------------------------------------------------------------------------


def _quantile_residuals(m: Fit) -> ggplot:
    """Where each observation stands among responses simulated from the model, by its prediction."""
    import pandas as pd

    p9 = drawing()
    share = normal_probability(Views(m)(m).marginal)
    rank = _ranks(m.fixed_part)
    drawn = some_rows(m.n_obs, MOST)
    frame = pd.DataFrame({"prediction": rank[drawn], "share": share[drawn]})
    lines = _quartiles(rank, share)
    plot = canvas(
        frame,
        {"x": "prediction", "y": "share"},
        x="rank of the predicted mean",
        y="share of simulations below",
        caption=note(
            "lines: quartiles; level at 0.25, 0.5, 0.75 where the model is right",
            sample_note(len(drawn), m.n_obs),
        ),
    )
    plot += p9.geom_hline(yintercept=[0.25, 0.5, 0.75], color=MUTED, linetype="dashed", size=0.5)
    plot += p9.geom_point(color=BASE, alpha=float(np.clip(12.0 / np.sqrt(len(drawn)), 0.15, 0.7)))
    if len(lines):
        plot += p9.geom_line(
            p9.aes("prediction", "share", group="quartile"), data=lines, color=ACCENT, size=1.0
        )
    plot += p9.scale_y_continuous(limits=(0.0, 1.0))
    return plot


def _ranks(values: Array) -> Array:
    """Ranks between zero and one, equal values in the middle of theirs."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - 0.5 * counts
    return np.asarray(middle[codes] / len(values))


def _quartiles(rank: Array, share: Array) -> Any:
    """Quartiles of the shares in slices of the rank, or at its values where these are few."""
    import pandas as pd

    values = np.unique(rank)
    slices = rank if len(values) <= SLICES else (rank * SLICES).astype(np.int64)
    rows = [
        (float(rank[own].mean()), q, float(np.quantile(share[own], q)))
        for own in (slices == value for value in np.unique(slices))
        for q in (0.25, 0.5, 0.75)
    ]
    if len(rows) == len((0.25, 0.5, 0.75)):
        return pd.DataFrame()
    return pd.DataFrame(rows, columns=["prediction", "quartile", "share"])


def _inflation_bars(inflation: tuple[Inflation, ...]) -> ggplot:
    """Variance inflation of each term; grey what terms that share a variable add."""
    import pandas as pd

    p9 = drawing()
    worst = sorted(inflation, key=lambda term: -term.foreign)[:20]
    names = [plain(term.term, 34) for term in worst]
    frame = pd.DataFrame(
        {
            "term": pd.Categorical(names, categories=list(dict.fromkeys(names))[::-1]),
            "vif": [term.foreign for term in worst],
            "all": [max(term.vif, term.foreign) for term in worst],
        }
    )
    plot = canvas(
        frame,
        {"x": "term", "y": "vif"},
        x=" ",
        y="variance inflation",
        caption=note("lines at 5 and 10; grey: with terms of the same variables"),
    )
    plot += p9.geom_segment(p9.aes(xend="term", y=1.0, yend="all"), color=MUTED, size=1.0)
    plot += p9.geom_point(p9.aes(y="all"), color=MUTED, size=2.0)
    plot += p9.geom_hline(yintercept=[5.0, 10.0], color=INK, linetype="dashed", size=0.5)
    plot += p9.geom_segment(p9.aes(xend="term", y=1.0, yend="vif"), color=BASE, size=2.0)
    plot += p9.geom_point(color=BASE, size=3.0)
    plot += p9.scale_y_log10(breaks=[1, 2, 5, 10, 20, 50, 100])
    plot += p9.coord_flip()
    return plot
