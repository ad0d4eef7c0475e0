"""Plots that compare models: coefficients, weights of evidence, where the variance lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.errors import ModelError
from mixedmodels.inference.compare import Criterion, Models, aictab, named_models
from mixedmodels.inference.variance_explained import variance_parts
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.frames import tidy
from mixedmodels.plot.columns import coded, distinct
from mixedmodels.plot.theme import (
    BASE,
    INK,
    MUTED,
    ON_COLOUR,
    REST,
    ROOM,
    Labels,
    canvas,
    colours,
    drawing,
    size,
    title,
)

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot


# models that can be told apart
MOST_MODELS = 12
# height of one row of bars, in inches
ROW = 0.38
# longest names of models in a legend and beside a bar, in characters
LONG, LABEL = 70, 34
# least share that has room for its number
READABLE = 0.05


@checked
def coefficients(
    *models: FittedModel | Models,
    level: float = 0.95,
    ddf: str = "satterthwaite",
    intercept: bool = False,
    labels: Labels = None,
) -> ggplot:
    """Fixed effects with intervals, of one model or of several side by side.

    Parameters
    ----------
    *models : FittedModel
        Or one mapping of names to models; names are the formulas otherwise.
    level : float, default 0.95
    ddf : {"satterthwaite", "kenward-roger", "none"}
        As in `FittedModel.tidy`.
    intercept : bool, default False
        Draw the intercept too.
    labels : mapping of str to str, optional
        Titles by name of a term.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns model, term, estimate, conf_low and conf_high.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        No models or more than 12; no coefficients to draw; a level or method that cannot be used.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m1 = mm.lmer("BW ~ time + treatm + (1 | animal)", piglets)
    >>> m2 = mm.lmer("BW ~ time + treatm + (time | animal)", piglets)
    >>> p = mm.plot.coefficients({"intercepts": m1, "slopes too": m2})
    >>> len(p.data)
    10
    """
    import pandas as pd

    p9 = drawing()
    named = _named(models, "coefficients")
    names = distinct(list(named), LONG)
    tables = [_coefficient_table(m, k, ddf, level) for k, m in enumerate(named.values())]
    table = pd.concat(tables, ignore_index=True)
    if not intercept:
        table = table.iloc[np.flatnonzero(table["term"] != "Intercept")]
    if not len(table):
        raise ModelError("there is no coefficient to draw (intercept=True draws the intercept too)")
    terms = list(dict.fromkeys(table["term"]))
    frame = pd.DataFrame(
        {
            # a flipped axis counts from below
            "model": _from_top(table["model"].to_numpy(), names),
            "term": _from_top(
                np.array([terms.index(term) for term in table["term"]]),
                distinct([title(term, labels) for term in terms]),
            ),
            **{name: table[name].to_numpy() for name in ("estimate", "conf_low", "conf_high")},
        }
    )
    several = len(names) > 1
    plot = canvas(
        frame,
        {"x": "term", "y": "estimate", **({"color": "model"} if several else {})},
        x=" ",
        y="estimate",
        caption=f"{100 * level:g} % intervals",
    )
    apart = p9.position_dodge(width=0.6 if several else 0.0)
    style = {} if several else {"color": BASE}
    plot += p9.geom_hline(yintercept=0.0, color=MUTED, size=0.6)
    plot += p9.geom_linerange(
        p9.aes(ymin="conf_low", ymax="conf_high"), position=apart, size=0.8, **style
    )
    plot += p9.geom_point(position=apart, size=2.4, **style)
    plot += p9.coord_flip()
    height = float(np.clip(1.2 + (0.2 + 0.16 * len(names)) * len(terms), 2.2, 11.0))
    if several:
        plot += p9.scale_color_manual(values=colours(len(names))[::-1])
        plot += p9.guides(color=p9.guide_legend(reverse=True, ncol=1))
        plot += p9.theme(legend_position="top", legend_title=p9.element_blank())
        height += 0.25 * len(names)
    return plot + size(6.4, height)


def _from_top(codes: Any, names: list[str]) -> Any:
    """A categorical whose first level comes last."""
    return coded(len(names) - 1 - codes, names[::-1])


def _named(models: tuple[Any, ...], caller: str) -> dict[str, FittedModel]:
    """Models by name, from separate arguments, a sequence or a mapping."""
    alone = len(models) == 1 and not hasattr(models[0], "beta")
    named = named_models(models[0] if alone else models, caller)
    if len(named) > MOST_MODELS:
        raise ModelError(f"{len(named)} models; one plot tells at most {MOST_MODELS} apart")
    return named


def _coefficient_table(m: FittedModel, k: int, ddf: str, level: float) -> pd.DataFrame:
    import pandas as pd

    frame = nw.from_native(tidy(m, ddf, level), eager_only=True)
    kept = ("term", "estimate", "conf_low", "conf_high")
    columns: dict[str, Any] = {name: frame[name].to_list() for name in kept}
    return pd.DataFrame({"model": np.full(len(frame), k), **columns})


@checked
def model_weights(
    *models: FittedModel | Models, ic: Criterion = "aicc", labels: Labels = None
) -> ggplot:
    """Weights of evidence of models, from an information criterion.

    Parameters
    ----------
    *models : FittedModel
        Or one mapping of names to models; names are the formulas otherwise.
    ic : {"aicc", "aic", "bic"}, default "aicc"
        As in `aictab`.
    labels : mapping of str to str, optional
        Titles by name of a model.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns model, weight and delta (difference from the best).

    Raises
    ------
    TypeError, ModelError
        As in `aictab`; more than 12 models.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> linear = mm.lmer("BW ~ time + (1 | animal)", piglets, reml=False)
    >>> quadratic = mm.lmer("BW ~ time + I(time^2) + (1 | animal)", piglets, reml=False)
    >>> p = mm.plot.model_weights({"L": linear, "Q": quadratic})
    >>> p.data["delta"].round(2).tolist()
    [0.0, 28.39]
    """
    import pandas as pd

    p9 = drawing()
    named = _named(models, "model_weights")
    table = nw.from_native(aictab(named, ic=ic), eager_only=True)
    names = distinct([title(name, labels) for name in table["model"].to_list()], LABEL)
    k = len(names)
    weight = table[f"{ic}_weight"].to_numpy()
    delta = table[f"delta_{ic}"].to_numpy()
    frame = pd.DataFrame(
        {
            "model": _from_top(np.arange(k), names),
            "weight": weight,
            "delta": delta,
            "text": [f" {w:.2f}  (Δ {d:.1f})" for w, d in zip(weight, delta, strict=True)],
        }
    )
    word = {"aicc": "AICc", "aic": "AIC", "bic": "BIC"}[ic]
    plot = canvas(frame, {"x": "model", "y": "weight"}, x=" ", y=f"{word} weight")
    plot += p9.geom_col(fill=BASE, alpha=0.8, width=0.65)
    plot += p9.geom_text(p9.aes(label="text"), ha="left", size=9, color=INK)
    plot += p9.scale_y_continuous(limits=(0.0, 1.3), breaks=[0, 0.25, 0.5, 0.75, 1], expand=(0, 0))
    plot += p9.coord_flip()
    plot += p9.theme(panel_grid_major_y=p9.element_blank())
    return plot + size(6.4, float(np.clip(1.1 + ROW * k, 1.9, 6.0)))


@checked
def variance_partition(*models: FittedModel | Models, labels: Labels = None) -> ggplot:
    """Shares of the variance: fixed effects, each grouping factor, residual.

    Parameters
    ----------
    *models : FittedModel
        Or one mapping of names to models; names are the formulas otherwise.
    labels : mapping of str to str, optional
        Titles by name of a grouping factor.

    Returns
    -------
    plotnine.ggplot
        One bar per model. Its data have the columns model, source, variance and share.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        No models or more than 12.

    Notes
    -----
    The parts are those of `r2` and `icc`: the variance of the fixed part over the rows, and the
    mean over the rows of the variance that random terms give them.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.variance_partition(m)
    >>> p.data[["source", "share"]].round(3).values.tolist()
    [['fixed effects', 0.619], ['animal', 0.322], ['residual', 0.059]]
    """
    import pandas as pd

    p9 = drawing()
    named = _named(models, "variance_partition")
    rows: list[tuple[int, str, float, float]] = []
    for k, m in enumerate(named.values()):
        parts = variance_parts(m, 1.0)
        every = [("fixed effects", parts.fixed), *parts.groups.items()]
        every.append(("residual", parts.residual))
        rows += [(k, source, value, value / parts.total) for source, value in every]
    groups = dict.fromkeys(name for m in named.values() for name in m.n_groups)
    sources = ["fixed effects", *groups, "residual"]
    frame = pd.DataFrame(
        {
            "model": _from_top(np.array([r[0] for r in rows]), distinct(list(named), LABEL)),
            "source": coded(
                np.array([sources.index(r[1]) for r in rows]),
                distinct([title(source, labels) for source in sources]),
            ),
            "variance": [r[2] for r in rows],
            "share": [r[3] for r in rows],
            "text": [f"{100 * r[3]:.0f} %" if r[3] > READABLE else "" for r in rows],
        }
    )
    plot = canvas(
        frame,
        {"x": "model", "y": "share", "fill": "source"},
        x=" ",
        y="share of the variance",
        fill=" ",
    )
    plot += p9.geom_col(position=p9.position_stack(reverse=True), width=0.6, alpha=0.85)
    middle = p9.position_stack(vjust=0.5, reverse=True)
    plot += p9.geom_text(p9.aes(label="text"), position=middle, size=9, color=ON_COLOUR)
    plot += p9.scale_fill_manual(values=[*colours(len(sources) - 1), REST])
    # shares add up to one but for rounding
    ends = (0.0, 1.0 + 1e-9)
    plot += p9.scale_y_continuous(limits=ends, expand=(0, 0), breaks=[0, 0.25, 0.5, 0.75, 1])
    plot += p9.coord_flip()
    plot += p9.theme(
        panel_grid_major=p9.element_blank(), legend_position="top", axis_line_y=p9.element_blank()
    )
    beside = 0
    if len(named) == 1:
        plot += p9.theme(axis_text_y=p9.element_blank(), axis_ticks_major_y=p9.element_blank())
    else:
        beside = max(map(len, frame["model"].cat.categories))
    names = list(frame["source"].cat.categories)
    one_line = beside + sum(len(name) + 4 for name in names) < ROOM
    if not one_line:
        plot += p9.guides(fill=p9.guide_legend(ncol=1))
    head = 1.5 if one_line else 1.3 + 0.25 * len(names)
    return plot + size(6.4, float(np.clip(head + ROW * len(named), 2.1, 7.0)))
