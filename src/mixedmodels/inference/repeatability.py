"""Repeatability: the share of each grouping factor in the variance, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ConvergenceWarning, ModelError, warn
from mixedmodels.inference.bootstrap import Bootstrap, Kind
from mixedmodels.inference.parameters import parameters
from mixedmodels.inference.ranova import ranova
from mixedmodels.inference.replicates import Seed, replicate
from mixedmodels.inference.variance_explained import icc, mean_products
from mixedmodels.likelihood.working import TermMap
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.predict import check_level
from mixedmodels.model.record import Fit

# shares below are zero variances that a descent came close to
ROUNDING = 1e-12


@checked
def repeatability(
    m: FittedModel,
    *,
    group: str | Sequence[str] | None = None,
    n_sim: int = 1000,
    level: float = 0.95,
    seed: Seed = None,
    kind: Kind = "percentile",
    weight: float = 1.0,
    progress: bool | None = None,
) -> Any:
    """How much of the variance each grouping factor accounts for, given the fixed effects.

    Parameters
    ----------
    m : FittedModel
        With random terms.
    group : str or sequence of str, optional
        Grouping factors; all by default.
    n_sim : int, default 1000
        Bootstrap replicates.
    level : float, default 0.95
    seed : int, Generator or SeedSequence, optional
        The same seed gives the same intervals.
    kind : {"percentile", "basic", "bca"}
        Kind of interval, as in `Bootstrap.confint`.
    weight : float, default 1.0
        As in `icc`.
    progress : bool, optional
        Show a progress bar; by default where somebody watches and it takes long.

    Returns
    -------
    frame
        group, repeatability, std_error (of the replicates), conf_low, conf_high, p_value (of the
        hypothesis that the factor has no variance).

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        A model without random terms; a factor that it does not have; options that are not known.

    Warns
    -----
    ConvergenceWarning
        Some replicates failed to fit; the intervals rest on the others.

    Notes
    -----
    Repeatability is the adjusted intraclass correlation of the factor: its variance, over that of
    all random terms and the residual. Random slopes count by the mean of ``z' Sigma z`` over the
    rows. The p-value is that of the likelihood ratio on the boundary, half of the chi-squared one;
    a factor with several variances has none (nan), nor has one whose absence leaves a singular fit:
    `pbmodcomp` simulates these.

    References
    ----------
    Nakagawa, S. and Schielzeth, H. (2010), Biol. Rev. 85, 935-956. Stoffel, M. A., Nakagawa, S. and
    Schielzeth, H. (2017), Methods Ecol. Evol. 8, 1639-1644 (the R package rptR).

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets"))
    >>> table = mm.repeatability(m, n_sim=200, seed=1)
    >>> table[["group", "repeatability", "std_error"]].round(2)
        group  repeatability  std_error
    0  animal           0.73       0.04
    >>> bool(0.5 < table["conf_low"][0] < 0.7 < table["conf_high"][0] < 0.85)
    True
    """
    check_level(level)
    shares = icc(m, weight=weight).by_group
    wanted = _chosen(list(shares), group)
    made = replicate(m, [m], n_sim, seed, progress=progress)[0]
    values = shares_of(m, made.variance, weight)
    found = Bootstrap(
        names=tuple(wanted),
        estimate=np.array([shares[name] for name in wanted]),
        replicates=values[:, [list(shares).index(name) for name in wanted]],
        scores=made.scores,
        singular=made.singular,
        kind=m.source.kind,
    )
    if found.n_failed:
        warn(
            f"{found.n_failed} of {n_sim} bootstrap replicates failed to fit; the intervals rest "
            "on the others. If they are many, simplify the random part",
            ConvergenceWarning,
        )
    limits = found.confint(kind, level)
    p_values = _p_values(m)
    return to_native(
        {
            "group": wanted,
            "repeatability": found.estimate,
            "std_error": np.asarray(found.tidy()["std_error"], float),
            "conf_low": np.asarray(limits["conf_low"], float),
            "conf_high": np.asarray(limits["conf_high"], float),
            "p_value": np.array([p_values[name] for name in wanted]),
        },
        m.source.kind,
    )


def shares_of(m: Fit, variance: Array, weight: float = 1.0) -> Array:
    """Share of each grouping factor in random plus residual variance, for many sets of variances.

    Parameters
    ----------
    m : Fit
    variance : ndarray of shape (B, k)
        Standard deviations, correlations and sigma, ordered as `parameters.names` orders them.
    weight : float

    Returns
    -------
    ndarray of shape (B, n_factors)
    """
    squares = _mean_squares(m)
    groups = np.zeros((len(variance), len(squares)))
    every = parameters(m)[:-1]
    sd = {(p.group, p.row): variance[:, i] for i, p in enumerate(every) if p.kind == "sd"}
    for i, p in enumerate(every):
        covariance = sd[p.group, p.row] * sd[p.group, p.col]
        if p.kind == "cor":
            # a column without variance has no correlation
            covariance = 2.0 * np.where(covariance > 0.0, variance[:, i], 0.0) * covariance
        groups[:, p.group] += covariance * squares[p.group][p.row, p.col]
    residual = np.square(variance[:, -1]) / weight
    shares = groups / (groups.sum(axis=1) + residual)[:, None]
    return np.where(shares < ROUNDING, 0.0, shares)


def _mean_squares(m: Fit) -> list[Array]:
    """Means over the rows of products of the columns of Z, the user's units, per factor."""
    products = mean_products(m)
    found = []
    for terms in m.working.terms:
        recipe = np.concatenate([_user_recipe(term) for term in terms], axis=1)
        found.append(recipe.T @ products @ recipe)
    return found


def _user_recipe(term: TermMap) -> Array:
    return np.asarray(term.recipe @ term.root)


def _chosen(names: list[str], group: Any) -> list[str]:
    if group is None:
        return names
    wanted = [group] if isinstance(group, str) else list(group)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ModelError(
            f"group={unknown} names no grouping factor of the model; it has {', '.join(names)}"
        )
    return wanted


def _p_values(m: FittedModel) -> dict[str, float]:
    """At the boundary, of factors with one variance; nan for others."""
    values = np.asarray(ranova(m, reduce_terms=False)["p_boundary"], float)[1:]
    found = dict.fromkeys((g.name for g in m.design.groups), np.nan)
    for (group, _), value in zip(m.design.theta_order, values, strict=True):
        if m.working.templates[group].q == 1:
            found[m.design.groups[group].name] = float(value)
    return found
