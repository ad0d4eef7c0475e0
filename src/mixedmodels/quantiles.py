"""Quantiles and tail probabilities; SciPy's special functions load on first use."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from mixedmodels.arrays import Array


def two_sided(level: float) -> float:
    """Half-width, in standard errors, of a two-sided interval from the normal distribution."""
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def normal_quantile(share: Any) -> Array:
    """Quantiles of the standard normal distribution."""
    from scipy.special import ndtri

    return np.asarray(ndtri(share), dtype=np.float64)


def normal_probability(z: Any) -> Array:
    """Lower tail of the standard normal distribution."""
    from scipy.special import ndtr

    return np.asarray(ndtr(z), dtype=np.float64)


def gamma_probability(statistic: Any, shape: float, scale: float) -> Array:
    """Upper tail of the gamma distribution."""
    from scipy.special import gammaincc

    return np.asarray(gammaincc(shape, np.asarray(statistic) / scale), dtype=np.float64)


def t_two_sided(level: float, df: Any) -> Array:
    """Half-widths, in standard errors, of two-sided intervals from Student's t."""
    from scipy.special import stdtrit  # SciPy's special functions cost 0.1 s to import

    return np.asarray(stdtrit(df, 0.5 + level / 2.0), dtype=np.float64)


def t_probability(statistic: Array, df: Any) -> Array:
    """Two-sided p-values of Student's t."""
    from scipy.special import stdtr

    return np.asarray(2.0 * stdtr(df, -np.abs(statistic)), dtype=np.float64)


def f_probability(statistic: Any, num_df: Any, den_df: Any) -> Array:
    """Upper tail of the F distribution."""
    from scipy.special import fdtrc

    return np.asarray(fdtrc(num_df, den_df, statistic), dtype=np.float64)


# degrees of freedom below which every statistic is expected
NO_DF = 1e-12
# degrees of freedom above which Student's t is taken from the normal distribution, to 1 / df**2
# (Abramowitz and Stegun 1964, Handbook of Mathematical Functions, 26.7.8)
NORMAL_DF = 1e8


def chi2_probability(statistic: Any, df: Any) -> Array:
    """Upper tail of the chi-squared distribution."""
    from scipy.special import chdtrc

    return np.asarray(chdtrc(df, statistic), dtype=np.float64)


def chi2_quantile(probability: Any, df: Any) -> Array:
    """Quantiles of the chi-squared distribution."""
    from scipy.special import chdtri

    return np.asarray(chdtri(df, 1.0 - np.asarray(probability)), dtype=np.float64)


def t_tails(statistic: float, df: float) -> float:
    """Two-sided p-value of Student's t, for a few printed numbers: nothing is imported.

    The regularised incomplete beta function by its continued fraction, with Lentz's algorithm
    (Press, Teukolsky, Vetterling and Flannery 2007, Numerical Recipes, sections 5.2 and 6.4).
    """
    if not (math.isfinite(statistic) and df > 0.0):
        return 0.0 if math.isinf(statistic) and df > 0.0 else math.nan
    if df < NO_DF:
        return 1.0
    if df > NORMAL_DF:
        normal = abs(statistic) * (1.0 - 0.25 / df) / math.sqrt(1.0 + 0.5 * statistic**2 / df)
        return math.erfc(normal / math.sqrt(2.0))
    total = df + statistic * statistic
    x, rest = df / total, statistic * statistic / total
    if x > (0.5 * df + 1.0) / (0.5 * df + 2.5):
        return 1.0 - _beta_fraction(0.5, 0.5 * df, rest, x)
    return _beta_fraction(0.5 * df, 0.5, x, rest)


def _log_gamma_step(a: float) -> float:
    """``log(gamma(a + 1/2) / gamma(a))``; by its series where the difference would lose digits."""
    if a < 100.0:
        return math.lgamma(a + 0.5) - math.lgamma(a)
    return 0.5 * math.log(a) - 1.0 / (8.0 * a) + 1.0 / (192.0 * a**3) - 1.0 / (640.0 * a**5)


def _beta_fraction(a: float, b: float, x: float, rest: float) -> float:
    """``I_x(a, b)`` for x below (a + 1) / (a + b + 2); `rest` is 1 - x without rounding."""
    if x <= 0.0:
        return 0.0
    # one of a and b is a half
    log_front = _log_gamma_step(a + b - 0.5) - math.lgamma(0.5)
    log_front += a * (math.log(x) if x < 0.5 else math.log1p(-rest))
    log_front += b * (math.log(rest) if rest < 0.5 else math.log1p(-x))
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / d
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        for term in (even, odd):
            d = 1.0 / (1.0 + term * d)
            c = 1.0 + term / c
            value *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return math.exp(log_front) * value / a
