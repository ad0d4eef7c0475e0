"""Quantiles and tail probabilities; SciPy's special functions load on first use."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from mixedmodels.arrays import Array


def two_sided(level: float, df: float = math.inf) -> float:
    """Half-width, in standard errors, of a two-sided interval (Student's t; normal at infinity)."""
    tail = 0.5 + level / 2.0
    if math.isinf(df):
        return NormalDist().inv_cdf(tail)
    from scipy.special import stdtrit  # SciPy's special functions cost 0.1 s to import

    return float(stdtrit(df, tail))


def t_probability(statistic: Array, df: float) -> Array:
    """Two-sided p-values of Student's t."""
    from scipy.special import stdtr

    return np.asarray(2.0 * stdtr(df, -np.abs(statistic)), dtype=np.float64)


def f_probability(statistic: Any, num_df: Any, den_df: Any) -> Array:
    """Upper tail of the F distribution."""
    from scipy.special import fdtrc

    return np.asarray(fdtrc(num_df, den_df, statistic), dtype=np.float64)


def chi2_probability(statistic: Any, df: Any) -> Array:
    """Upper tail of the chi-squared distribution."""
    from scipy.special import chdtrc

    return np.asarray(chdtrc(df, statistic), dtype=np.float64)
