"""Are residuals and random effects normal: quantiles with an envelope, histograms."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.model.predict import residuals as residuals_of
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import MOST_DENSE, coded, distinct, sample_note, some_rows
from mixedmodels.plot.envelope import (
    Band,
    independent_band,
    model_band,
    normal_quantiles,
    positions,
)
from mixedmodels.plot.modes import alive_terms, standardised
from mixedmodels.plot.residual_plots import KINDS
from mixedmodels.plot.shapes import density_layers
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    MUTED,
    Labels,
    canvas,
    drawing,
    hide_legend,
    note,
    title,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot


@checked
def qq(m: Fit) -> ggplot:
    """Quantiles of the residuals against the normal distribution, with an envelope.

    Parameters
    ----------
    m : FittedModel

    Returns
    -------
    plotnine.ggplot
        Its data have the columns normal, residual (over sigma), low, high and inside.

    Raises
    ------
    ModelError
        A model without its rows.

    Notes
    -----
    The band holds 95 % of the curves of 199 responses simulated from the model, each as a whole:
    a correct model leaves it anywhere once in twenty. The relative variances are held at their
    estimates. Of more than 400 ranks the ends and some between are drawn. With more than 100,000
    rows only the middle of the band is simulated and its width is that of independent values, each
    rank by itself; all of it is for models that are slow to solve.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.qq(m)
    >>> bool(p.data["inside"].all())
    True
    """
    values = residuals_of(m, "scaled")
    ranks = positions(len(values))
    band = model_band(m, partial(_ordered, ranks=ranks), independent_band(ranks, len(values)))
    frame = quantile_frame(np.sort(values)[ranks], ranks, len(values), band)
    plot = canvas(
        frame.rename(columns={"value": "residual"}),
        {"x": "normal", "y": "residual"},
        x="quantile of the normal distribution",
        y=KINDS["scaled"],
        caption=note(band.note),
    )
    return plot + quantile_layers()


def _ordered(fit: Fit, ranks: NDArray[np.intp]) -> Array:
    return np.asarray(np.sort(residuals_of(fit, "scaled"))[ranks])


def quantile_frame(values: Array, ranks: NDArray[np.intp], n: int, band: Band) -> pd.DataFrame:
    """Ordered values beside normal quantiles and a band."""
    import pandas as pd

    return pd.DataFrame(
        {
            "normal": normal_quantiles(ranks, n),
            "value": values,
            "expected": band.middle,
            "low": band.low,
            "high": band.high,
            "inside": (values >= band.low) & (values <= band.high),
        }
    )


def quantile_layers() -> list[Any]:
    """Band, expected line and points; those outside the band stand out."""
    p9 = drawing()
    return [
        p9.geom_ribbon(p9.aes(ymin="low", ymax="high"), fill=BASE, alpha=0.18),
        p9.geom_line(p9.aes(y="expected"), color=MUTED, size=0.6),
        p9.geom_point(p9.aes(color="inside"), size=1.6, alpha=0.8),
        p9.scale_color_manual(values={True: BASE, False: ACCENT}),
        hide_legend(),
    ]


@checked
def residual_distribution(m: Fit) -> ggplot:
    """Histogram and density of the residuals, beside the normal distribution.

    Parameters
    ----------
    m : FittedModel

    Returns
    -------
    plotnine.ggplot
        Its data have the column residual (over sigma).

    Raises
    ------
    ModelError
        A model without its rows.

    Notes
    -----
    The dashed curve is the normal distribution with the standard deviation of the residuals,
    which random effects make smaller than sigma.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.residual_distribution(m)
    """
    import pandas as pd

    p9 = drawing()
    values = residuals_of(m, "scaled")
    drawn = some_rows(len(values), MOST_DENSE)
    frame = pd.DataFrame({"residual": values[drawn]})
    sd = float(np.std(values))
    at = np.linspace(values.min() - 0.5 * sd, values.max() + 0.5 * sd, 200)
    normal = np.exp(-0.5 * (at / sd) ** 2) / (sd * np.sqrt(2.0 * np.pi)) if sd > 0 else 0.0 * at
    plot = canvas(
        frame,
        {"x": "residual"},
        x=KINDS["scaled"],
        y="density",
        caption=note(
            "dashed: normal distribution of the same spread", sample_note(len(drawn), len(values))
        ),
    )
    plot += density_layers(frame["residual"].to_numpy(), frame, np.zeros(len(frame), np.int64))
    plot += p9.geom_line(
        p9.aes("x", "y"),
        data=pd.DataFrame({"x": at, "y": normal}),
        inherit_aes=False,
        color=ACCENT,
        linetype="dashed",
        size=0.9,
    )
    return plot


# --- random effects -------------------------------------------------------------------------------


@checked
def qq_random(m: Fit, group: str | None = None, *, labels: Labels = None) -> ggplot:
    """Quantiles of the random effects against the normal distribution, with an envelope.

    Parameters
    ----------
    m : FittedModel
    group : str, optional
        One grouping factor; all by default.
    labels : mapping of str to str, optional
        Titles by name of a term.

    Returns
    -------
    plotnine.ggplot
        A panel for each factor and term. Its data have the columns panel, normal, effect, expected,
        low, high and inside.

    Raises
    ------
    ModelError
        No random effects with variance; an unknown factor.

    Notes
    -----
    Each conditional mode is divided by the standard deviation that modes of its level have over
    data of the model, ``sqrt(Var(b) - Var(b | y))``, so that levels with few rows count as
    they should (Lange and Ryan 1989, Ann. Stat. 17, 624-642). Terms without variance have no
    panel. The band as in `qq`.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.qq_random(m)
    >>> list(p.data["panel"].cat.categories)
    ['animal: Intercept', 'animal: time']
    """
    import pandas as pd

    terms = alive_terms(m, group)
    ranks = [positions(len(m.design.groups[k].levels)) for k, _, _ in terms]
    curve = partial(_ordered_effects, terms=terms, ranks=ranks)
    cuts = np.cumsum([len(r) for r in ranks])[:-1]
    sizes = [len(m.design.groups[k].levels) for k, _, _ in terms]
    own = [independent_band(r, n) for r, n in zip(ranks, sizes, strict=True)]
    whole = model_band(
        m,
        curve,
        Band(
            np.concatenate([b.middle for b in own]),
            np.concatenate([b.low for b in own]),
            np.concatenate([b.high for b in own]),
            own[0].note,
        ),
    )
    parts = [np.split(part, cuts) for part in (whole.middle, whole.low, whole.high)]
    bands = [Band(a, b, c, whole.note) for a, b, c in zip(*parts, strict=True)]
    values = np.split(curve(m), cuts)
    frames = [
        quantile_frame(v, r, n, b) for v, r, n, b in zip(values, ranks, sizes, bands, strict=True)
    ]
    names = distinct([f"{m.design.groups[k].name}: {title(name, labels)}" for k, _, name in terms])
    frame = pd.concat(frames, ignore_index=True).rename(columns={"value": "effect"})
    counts = [len(r) for r in ranks]
    frame["panel"] = coded(np.repeat(np.arange(len(names)), counts), names)
    plot = canvas(
        frame,
        {"x": "normal", "y": "effect"},
        x="quantile of the normal distribution",
        y="standardised random effect",
        caption=note(bands[0].note),
    )
    plot += quantile_layers()
    return plot + wrapped("panel", len(names))


def _ordered_effects(
    fit: Fit, terms: list[tuple[int, int, str]], ranks: list[NDArray[np.intp]]
) -> Array:
    return np.concatenate(
        [np.sort(standardised(fit, k, j))[r] for (k, j, _), r in zip(terms, ranks, strict=True)]
    )
