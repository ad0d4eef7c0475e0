"""Parametric bootstrap of likelihood-ratio tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixedmodels.arguments import checked, described
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ArgumentError, ConvergenceWarning, ModelError, warn
from mixedmodels.inference.anova import (
    comparable,
    describe_outside,
    fixed_outside,
    random_outside,
)
from mixedmodels.inference.compare import check_same_rows, named_models, quoted
from mixedmodels.inference.replicates import Seed, replicate
from mixedmodels.inference.same_sums import on_same_sums
from mixedmodels.model.fit import update
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.record import Fit
from mixedmodels.quantiles import chi2_probability, f_probability, gamma_probability

# a drop of the criterion by less is rounding
ROUNDING = 1e-6


@checked
def pbmodcomp(
    large: FittedModel,
    small: FittedModel,
    n_sim: int = 1000,
    seed: Seed = None,
    *,
    ref: ArrayLike | None = None,
    progress: bool | None = None,
) -> Any:
    """Likelihood-ratio test whose p-value comes from simulation under the smaller model.

    Parameters
    ----------
    large, small : FittedModel
        Nested models of the same response on the same rows; they may differ in fixed effects, in
        random terms, or both. Fits by REML are fitted again by ML.
    n_sim : int, default 1000
        Number of responses simulated from `small`; both models are fitted to each.
    seed : int, Generator or SeedSequence, optional
        The same seed gives the same table.
    ref : array-like of shape (n,), optional
        Statistics that `pb_refdist` gave, to be used instead of new simulations.
    progress : bool, optional
        Show a progress bar; by default where somebody watches and it takes long.

    Returns
    -------
    frame
        test, statistic, df, p_value, n_sim (replicates used), n_failed. Rows: ``"LRT"``
        (chi-squared), ``"PBtest"`` (share of simulated statistics that are no smaller),
        ``"Bartlett"`` (statistic scaled to the simulated mean), ``"Gamma"`` and ``"F"``
        (distributions with the simulated mean, and variance).

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        Other rows or another response; models that are not nested, or have as many parameters.

    Warns
    -----
    ConvergenceWarning
        Some replicates failed to fit; they are left out of the p-value, and counted in `n_failed`.

    Notes
    -----
    The p-value is ``(1 + r) / (1 + n)`` with r of n simulated statistics no smaller than the
    observed one (Davison and Hinkley 1997, eq. 4.11): never zero, and uniform under the null but
    for the estimation of its parameters. It holds where the chi-squared approximation does not: in
    small samples, and where the smaller model sets a variance to zero.

    The cross-products of the simulated responses are drawn without the rows. With one grouping
    factor, or few columns of several, all replicates are fitted together.

    References
    ----------
    Halekoh, U. and Hojsgaard, S. (2014), J. Stat. Softw. 59(9), section 3.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> large = mm.lmer("BW ~ time + treatm + (time | animal)", piglets, reml=False)
    >>> mm.pbmodcomp(large, large.update(". ~ . - treatm"), n_sim=200, seed=1)[
    ...     ["test", "statistic", "df"]].round(4)
           test  statistic   df
    0       LRT     0.1345  4.0
    1    PBtest     0.1345  NaN
    2  Bartlett     0.1159  4.0
    3     Gamma     0.1345  NaN
    4         F     0.0336  4.0
    """
    big, little, kind = _nested_pair(large, small, "pbmodcomp")
    observed = max(little.criterion - big.criterion, 0.0)
    df = big.n_params - little.n_params
    if ref is None:
        simulated = _statistics(big, little, n_sim, seed, progress=progress)
    else:
        simulated = _numbers_of(ref)
    used = simulated[~np.isnan(simulated)]
    n_failed = len(simulated) - len(used)
    if not len(used):
        raise ModelError("no bootstrap replicate could be fitted: simplify the random part")
    if n_failed:
        warn(
            f"{n_failed} of {len(simulated)} bootstrap replicates failed to fit; the p-values rest "
            "on the others. If they are many, simplify the random part",
            ConvergenceWarning,
        )
    return to_native(_table(observed, df, used, n_failed), kind)


def _numbers_of(ref: ArrayLike) -> Array:
    try:
        values = np.asarray(ref, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.empty(())
    if values.ndim != 1 or np.isinf(values).any():
        raise ArgumentError(f"ref must be what mm.pb_refdist() gave, not {described(ref)}")
    return values


@checked
def pb_refdist(
    large: FittedModel,
    small: FittedModel,
    n_sim: int = 1000,
    seed: Seed = None,
    *,
    progress: bool | None = None,
) -> Array:
    """Likelihood-ratio statistics simulated under the smaller model.

    Parameters
    ----------
    large, small, n_sim, seed, progress
        As for `pbmodcomp`.

    Returns
    -------
    ndarray of shape (n_sim,)
        nan where a fit failed.

    Raises
    ------
    TypeError, ModelError
        As for `pbmodcomp`.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> large = mm.lmer("BW ~ time + (time | animal)", piglets, reml=False)
    >>> small = mm.lmer("BW ~ time + (1 | animal)", piglets, reml=False)
    >>> float(mm.pb_refdist(large, small, 500, seed=1).mean().round(1))
    1.4
    """
    big, little, _ = _nested_pair(large, small, "pb_refdist")
    return _statistics(big, little, n_sim, seed, progress=progress)


def _nested_pair(large: Any, small: Any, caller: str) -> tuple[Fit, Fit, Any]:
    """Both models by ML, the small one nested in the large.

    Raises
    ------
    TypeError, ModelError
    """
    named = list(named_models([large, small], caller).items())
    check_same_rows(dict(named))
    large, small = on_same_sums(dict(named)).values()
    names = (quoted(named[1][0]), quoted(named[0][0]))
    if small.n_params >= large.n_params:
        raise ModelError(
            f"{caller}(large, small): {names[1]} has {large.n_params} parameters and {names[0]} "
            f"{small.n_params}; the larger model comes first"
        )
    if comparable(large, small):
        lacks = fixed_outside(small, large, names), random_outside(small, large, names)
        if any(lacks):
            raise ModelError(
                f"{names[0]} is not nested in {names[1]}, which lacks "
                f"{describe_outside(*lacks)}: there is no likelihood-ratio test between them"
            )
    big, little = (update(m, reml=False) if m.reml else m for m in (large, small))
    return big, little, large.source.kind


def _statistics(large: Fit, small: Fit, n_sim: int, seed: Seed, *, progress: bool | None) -> Array:
    of_large, of_small = replicate(small, [large, small], n_sim, seed, progress=progress)
    statistic = of_small.criterion - of_large.criterion
    # a larger model that fits worse has stopped short of its optimum
    statistic[statistic < -ROUNDING] = np.nan
    return np.asarray(np.maximum(statistic, 0.0))


def _table(observed: float, df: int, simulated: Array, n_failed: int) -> dict[str, Any]:
    count = len(simulated)
    mean = float(simulated.mean())
    variance = float(simulated.var(ddof=1)) if count > 1 else math.nan
    scaled = observed * df / mean if mean > 0.0 else math.nan
    shape, scale = (mean**2 / variance, variance / mean) if variance > 0.0 else (math.nan,) * 2
    # an F statistic with den_df degrees of freedom has mean den_df / (den_df - 2)
    excess = mean / df - 1.0
    den_df = 2.0 * (1.0 + excess) / excess if excess > 0.0 else 1e12
    extreme = int(np.count_nonzero(simulated >= observed))
    return {
        "test": ["LRT", "PBtest", "Bartlett", "Gamma", "F"],
        "statistic": np.array([observed, observed, scaled, observed, observed / df]),
        "df": np.array([df, math.nan, df, math.nan, df]),
        "p_value": np.array(
            [
                float(chi2_probability(observed, df)),
                (1.0 + extreme) / (1.0 + count),
                float(chi2_probability(scaled, df)),
                float(gamma_probability(observed, shape, scale)),
                float(f_probability(observed / df, df, den_df)),
            ]
        ),
        "n_sim": np.full(5, count, np.int64),
        "n_failed": np.full(5, n_failed, np.int64),
    }
