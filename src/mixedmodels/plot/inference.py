"""Plots of inference: likelihood profiles and bootstrap replicates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import narwhals.stable.v2 as nw
import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
from mixedmodels.inference.bootstrap import Bootstrap, Kind
from mixedmodels.inference.profile import LikelihoodProfile
from mixedmodels.plot.columns import coded, distinct
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    MUTED,
    Labels,
    canvas,
    drawing,
    title,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

# points of a curve
CURVE = 160
# longest name of a parameter, in characters
LONG = 40


@checked
def profile_zeta(pr: LikelihoodProfile, *, level: float = 0.95, labels: Labels = None) -> ggplot:
    """Signed roots of the deviance's rise: straight lines where Wald intervals are right.

    Parameters
    ----------
    pr : LikelihoodProfile
        From `mm.profile`.
    level : float, default 0.95
        Of the limits that are marked.
    labels : mapping of str to str, optional
        Titles by name of a parameter.

    Returns
    -------
    plotnine.ggplot
        A panel for each parameter. Its data have the columns parameter, value, zeta and density.

    Raises
    ------
    TypeError
        Not a profile.
    ModelError
        A level outside (0, 1); no parameter has a profile.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.profile_zeta(mm.profile(m, "sd_Intercept|animal"))
    """
    p9 = drawing()
    curves, limits, names = _profiles(pr, level, labels)
    plot = canvas(
        curves,
        {"x": "value", "y": "zeta"},
        x="value of the parameter",
        y="zeta",
        caption=f"dashed: estimate and {100 * level:g} % limits; grey: a quadratic likelihood",
    )
    plot += p9.geom_line(p9.aes(y="straight"), color=MUTED, size=0.6)
    plot += p9.geom_vline(
        p9.aes(xintercept="value"), data=limits, color=ACCENT, linetype="dashed", size=0.6
    )
    plot += p9.geom_line(color=BASE, size=1.0)
    return plot + wrapped("parameter", names, scales="free_x")


@checked
def profile_density(pr: LikelihoodProfile, *, level: float = 0.95, labels: Labels = None) -> ggplot:
    """Densities that the profiles imply: of what the likelihood says, with normal zeta.

    Parameters
    ----------
    pr : LikelihoodProfile
        From `mm.profile`.
    level : float, default 0.95
        Of the limits that are marked.
    labels : mapping of str to str, optional
        Titles by name of a parameter.

    Returns
    -------
    plotnine.ggplot
        A panel for each parameter. Its data have the columns parameter, value, zeta and density.

    Raises
    ------
    TypeError
        Not a profile.
    ModelError
        A level outside (0, 1); no parameter has a profile.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.profile_density(mm.profile(m, ["sigma", "time"]))
    """
    p9 = drawing()
    curves, limits, names = _profiles(pr, level, labels)
    plot = canvas(
        curves,
        {"x": "value", "y": "density"},
        x="value of the parameter",
        y="density",
        caption=f"dashed: estimate and {100 * level:g} % limits",
    )
    plot += p9.geom_area(fill=BASE, alpha=0.3)
    plot += p9.geom_line(color=BASE, size=0.9)
    plot += p9.geom_vline(
        p9.aes(xintercept="value"), data=limits, color=ACCENT, linetype="dashed", size=0.6
    )
    return plot + wrapped("parameter", names, scales="free")


def _profiles(
    pr: LikelihoodProfile, level: float, labels: Labels
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Smooth curves, limits, and the number of parameters that have a profile."""
    import pandas as pd

    table = nw.from_native(pr.frame(), eager_only=True)
    parameter = np.array(table["parameter"].to_list())
    value, zeta, density = (table[c].to_numpy() for c in ("value", "zeta", "density"))
    names = [name for name in pr.names if (parameter == name).sum() > 2]
    if not names:
        raise ModelError("no parameter of the profile has points on both sides of its estimate")
    shown = distinct([title(name, labels) for name in names], LONG)
    parts = []
    for i, name in enumerate(names):
        own = parameter == name
        curve = _curve(value[own], zeta[own], density[own])
        parts.append(curve.assign(parameter=coded(np.full(len(curve), i), shown)))
    found = nw.from_native(pr.confint(level), eager_only=True)
    rows = [found["term"].to_list().index(name) for name in names]
    columns = [found[c].to_numpy()[rows] for c in ("conf_low", "estimate", "conf_high")]
    limits = pd.DataFrame(
        {
            "parameter": coded(np.tile(np.arange(len(names)), 3), shown),
            "value": np.concatenate(columns),
        }
    )
    limits = limits.iloc[np.flatnonzero(np.isfinite(limits["value"]))]
    return pd.concat(parts, ignore_index=True), limits, len(names)


def _curve(value: Array, zeta: Array, density: Array) -> pd.DataFrame:
    """The profile between its points, from zeta and its derivative."""
    import pandas as pd
    from scipy.interpolate import CubicHermiteSpline, PchipInterpolator

    slope = density * np.sqrt(2.0 * np.pi) * np.exp(0.5 * zeta**2)
    known = np.isfinite(slope) & np.isfinite(value) & np.isfinite(zeta)
    at, first = np.unique(value[known], return_index=True)
    zeta, slope = zeta[known][first], slope[known][first]
    fine = np.linspace(at[0], at[-1], CURVE)
    # the derivative of zeta where the profile is flat or steep would overshoot between points
    steep = slope * np.gradient(at) > 3.0 * np.gradient(zeta)
    curve = PchipInterpolator(at, zeta) if steep.any() else CubicHermiteSpline(at, zeta, slope)
    height = curve(fine)
    centre = int(np.argmin(np.abs(zeta)))
    return pd.DataFrame(
        {
            "value": fine,
            "zeta": height,
            "density": np.exp(-0.5 * height**2) / np.sqrt(2.0 * np.pi) * curve(fine, 1),
            "straight": slope[centre] * (fine - at[centre]) + zeta[centre],
        }
    )


@checked
def bootstrap_density(
    b: Bootstrap,
    names: Sequence[str] | None = None,
    *,
    kind: Kind = "percentile",
    level: float = 0.95,
    labels: Labels = None,
) -> ggplot:
    """Histograms of bootstrap replicates, with estimates and limits.

    Parameters
    ----------
    b : Bootstrap
        From `FittedModel.bootstrap`.
    names : sequence of str, optional
        Numbers to draw; all by default.
    kind : {"percentile", "basic", "bca"}
        Of the limits, as in `Bootstrap.confint`.
    level : float, default 0.95
    labels : mapping of str to str, optional
        Titles by name of a number.

    Returns
    -------
    plotnine.ggplot
        A panel for each number. Its data have the columns term and value.

    Raises
    ------
    TypeError
        Not a bootstrap.
    ModelError
        Unknown names, kind or level.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.bootstrap_density(m.bootstrap(50, seed=1), ["time"])
    >>> len(p.data)
    50
    """
    import pandas as pd

    p9 = drawing()
    wanted = list(b.names) if names is None else list(names)
    unknown = [name for name in wanted if name not in b.names]
    if unknown or not wanted:
        raise ModelError(f"the bootstrap has no {unknown}; it has {', '.join(b.names)}")
    limits = nw.from_native(b.confint(kind, level), eager_only=True)
    place = [b.names.index(name) for name in wanted]
    shown = distinct([title(name, labels) for name in wanted], LONG)
    values = b.replicates[:, place]
    row, column = np.nonzero(np.isfinite(values))
    frame = pd.DataFrame({"term": coded(column, shown), "value": values[row, column]})
    columns = [limits[c].to_numpy()[place] for c in ("conf_low", "estimate", "conf_high")]
    lines = pd.DataFrame(
        {
            "term": coded(np.tile(np.arange(len(place)), 3), shown),
            "value": np.concatenate(columns),
            "which": coded(np.repeat([1, 0, 1], len(place)), ["estimate", "limits"]),
        }
    )
    lines = lines.iloc[np.flatnonzero(np.isfinite(lines["value"]))]
    plot = canvas(
        frame,
        {"x": "value"},
        x="value",
        y="density",
        caption=f"{len(b):,} replicates; dashed: {100 * level:g} % limits ({kind})",
    )
    plot += p9.geom_histogram(
        p9.aes(y=p9.after_stat("density")), bins=30, fill=BASE, color="white", alpha=0.55, size=0.2
    )
    plot += p9.geom_vline(
        p9.aes(xintercept="value", linetype="which"), data=lines, color=ACCENT, size=0.8
    )
    plot += p9.scale_linetype_manual(values=["solid", "dashed"])
    plot += p9.theme(legend_position="none")
    return plot + wrapped("term", len(place), scales="free")
