"""F tests of a smaller fixed part: Kenward and Roger's, and Satterthwaite's."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ModelError
from mixedmodels.inference import kenward_roger, satterthwaite
from mixedmodels.inference.anova import fixed_outside, random_outside, rows_of
from mixedmodels.inference.compare import check_same_rows, named_models, quoted
from mixedmodels.inference.same_sums import on_same_sums
from mixedmodels.model.fitted import FittedModel
from mixedmodels.quantiles import f_probability

# share of a direction of the large model's columns that counts as the small model's own
OWN = 1e-6


@checked
def krmodcomp(large: FittedModel, small: FittedModel) -> Any:
    """Kenward and Roger's F test of the fixed effects that a smaller model lacks.

    Parameters
    ----------
    large : FittedModel
        Fitted by REML.
    small : FittedModel
        The same random part on the same rows, with fewer fixed effects.

    Returns
    -------
    frame
        Rows ``"Ftest"`` (scaled, as it should be) and ``"FtestU"`` (unscaled): test, statistic,
        num_df, den_df, f_scaling, p_value.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        Other rows, another response or other random terms; fixed effects that are not nested, or
        the same; a model without random terms, or fitted by ML.

    References
    ----------
    Kenward, M. G. and Roger, J. H. (1997), Biometrics 53, 983-997. Halekoh, U. and Hojsgaard, S.
    (2014), J. Stat. Softw. 59(9).

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> large = mm.lmer("BW ~ time + treatm + (time | animal)", piglets)
    >>> mm.krmodcomp(large, large.update(". ~ . - treatm")).round(4)
         test  statistic  num_df   den_df  f_scaling  p_value
    0   Ftest     0.0322       4  69.9945        1.0    0.998
    1  FtestU     0.0322       4  69.9945        1.0    0.998
    """
    L = _restriction(large, small, "krmodcomp")
    statistic, scale, num_df, den_df = kenward_roger.f_test(large, L)
    statistics = np.array([statistic, statistic / scale])
    return to_native(
        {
            "test": ["Ftest", "FtestU"],
            "statistic": statistics,
            "num_df": np.full(2, num_df, np.int64),
            "den_df": np.full(2, den_df),
            "f_scaling": np.array([scale, 1.0]),
            "p_value": f_probability(statistics, num_df, den_df),
        },
        large.source.kind,
    )


@checked
def satmodcomp(large: FittedModel, small: FittedModel) -> Any:
    """F test, with Satterthwaite's degrees of freedom, of fixed effects that a smaller model lacks.

    Parameters
    ----------
    large, small : FittedModel
        The same random part on the same rows, `small` with fewer fixed effects.

    Returns
    -------
    frame
        One row: test, statistic, num_df, den_df, p_value.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        Other rows, another response or other random terms; fixed effects that are not nested, or
        the same; a model without random terms.

    References
    ----------
    Fai, A. H.-T. and Cornelius, P. L. (1996), J. Stat. Comput. Simul. 54, 363-378.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> large = mm.lmer("BW ~ time + treatm + (time | animal)", piglets)
    >>> mm.satmodcomp(large, large.update(". ~ . - treatm")).round(4)
        test  statistic  num_df   den_df  p_value
    0  Ftest     0.0332       4  69.8985   0.9978
    """
    L = _restriction(large, small, "satmodcomp")
    statistic, num_df, den_df = satterthwaite.f_test(large, L)
    return to_native(
        {
            "test": ["Ftest"],
            "statistic": np.array([statistic]),
            "num_df": np.array([num_df], np.int64),
            "den_df": np.array([den_df]),
            "p_value": np.atleast_1d(f_probability(statistic, num_df, den_df)),
        },
        large.source.kind,
    )


def _restriction(large: Any, small: Any, caller: str) -> Array:
    """Contrasts that are zero when the small model holds, over the large model's coefficients."""
    named = list(named_models([large, small], caller).items())
    check_same_rows(dict(named))
    names = (quoted(named[1][0]), quoted(named[0][0]))
    large, small = on_same_sums(dict(named)).values()
    if not large.has_random or not small.has_random:
        raise ModelError(
            f"{caller} compares models with random terms; for others use mm.anova(..., test='F')"
        )
    lacks = fixed_outside(small, large, names)
    if lacks:
        raise ModelError(
            f"the fixed effects of {names[0]} are not among those of {names[1]}, which lacks "
            f"{', '.join(lacks)}: there is no F test between them"
        )
    other = random_outside(small, large, names) or random_outside(large, small, names[::-1])
    if other:
        raise ModelError(
            f"{caller} tests fixed effects between models with the same random terms, and "
            f"{', '.join(other)} is only in one of them; use mm.anova() for a likelihood ratio"
        )
    # working columns are orthonormal but for the number of rows: what the small model spans
    base, n = rows_of(large, names[1]), large.n_obs
    weights = 1.0 if large.points.weights is None else large.points.weights
    own = large.working.fixed.recipe.T @ base
    shared = (own * weights) @ (rows_of(small, names[0]).T @ small.working.fixed.recipe) / n
    left, values, _ = np.linalg.svd(shared)
    rank = int((values > OWN).sum())
    if rank == len(left):
        raise ModelError(f"{names[0]} and {names[1]} have the same fixed effects: nothing to test")
    # from working coefficients to the user's, where they are orthonormal as pbkrtest has them
    return np.asarray(np.linalg.qr(large.working.fixed.root.T @ left[:, rank:])[0].T)
