"""Likelihood-ratio tests of variances: where the null hypothesis lies, and the p-value there.

Where one variance is set to zero, together with its covariances with k - 1 others, the statistic
is a half and half mixture of chi-squares with k - 1 and k degrees of freedom, and the chi-square
with k gives a p-value that is too large (Self and Liang 1987, J. Am. Stat. Assoc. 82, 605-610;
Stram and Lee 1994, Biometrics 50, 1171-1177). Of several variances set to zero the mixture depends
on the data, and the bootstrap must do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.inference.anova import embedding
from mixedmodels.model.record import Fit
from mixedmodels.quantiles import chi2_probability

NOTE = "boundary: p-value conservative; see mm.pbmodcomp"
# statistics below are rounding: the larger model finds no variance
NOTHING = 1e-6
# eigenvalues of a covariance of unit size that count as zero
ZERO = 1e-6


def mixture_probability(statistic: Any, df: Any) -> Array:
    """Upper tail of the equal mixture of chi-squares with df - 1 and df degrees of freedom."""
    statistic, df = np.asarray(statistic, float), np.asarray(df)
    # chi-square without degrees of freedom is zero
    lower = np.where(df > 1, chi2_probability(statistic, np.maximum(df - 1, 1)), 0.0)
    found = 0.5 * (lower + chi2_probability(statistic, np.maximum(df, 1)))
    return np.where(statistic <= NOTHING, 1.0, found)


def at_boundary(small: Fit, large: Fit, statistic: float, df: int) -> tuple[float, str]:
    """p-value at the boundary (nan where there is none), and a note where chi-square is wrong.

    Parameters
    ----------
    small, large : Fit
        On the same rows.
    statistic : float
    df : int

    Returns
    -------
    p_boundary : float
    note : str
    """
    if len(large.optimum.at.theta) <= len(small.optimum.at.theta) or df < 1:
        return np.nan, ""
    zeros = zero_variances(small, large)
    if zeros is None or not (zeros or small.is_singular):
        return np.nan, ""
    regular = zeros == 1 and not small.is_singular
    return float(mixture_probability(statistic, df)) if regular else np.nan, NOTE


def zero_variances(small: Fit, large: Fit) -> int | None:
    """How many directions of the large model's covariances the small model sets to zero.

    Parameters
    ----------
    small, large : Fit
        On the same rows.

    Returns
    -------
    int or None
        None when the small model is not a special case of the large one.

    Notes
    -----
    The small model, with some covariance inside its own parameter space, is written in the terms of
    the large one. ``(1 | g/f)`` is a compound-symmetric ``(f | g)``, and nothing is zero there.
    """
    covariances = embedding(small, large)
    if covariances is None:
        return None
    zeros = 0
    for covariance in covariances:
        values = np.linalg.eigvalsh(covariance)
        least = ZERO * max(1.0, float(values[-1]))
        if values[0] < -least:
            return None
        zeros += int((values <= least).sum())
    return zeros
