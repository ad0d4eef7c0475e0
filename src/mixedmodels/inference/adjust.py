"""P-values and critical values of a family of t tests, adjusted for their number."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedmodels.arguments import check_choice
from mixedmodels.arrays import Array
from mixedmodels.inference.simultaneous import Tail, largest_tail, quantiles, range_tail, rank_of
from mixedmodels.quantiles import f_probability, t_probability, t_two_sided

ADJUSTMENTS = (
    "none",
    "tukey",
    "dunnettx",
    "mvt",
    "sidak",
    "bonferroni",
    "scheffe",
    "holm",
    "hochberg",
    "hommel",
    "fdr",
    "BH",
    "BY",
)
# stepwise methods, which have no intervals of their own
STEPWISE = ("holm", "hochberg", "hommel", "fdr", "BH", "BY")


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """Tests that are adjusted together.

    Attributes
    ----------
    statistic, df : ndarray of shape (m,)
        NaN where a contrast cannot be estimated; these still count.
    rows : ndarray of shape (m, p)
        Whose products are the covariances of the estimates.
    n_means : int
        Means that are compared.
    """

    statistic: Array
    df: Array
    rows: Array
    n_means: int


def check_adjustment(adjust: str) -> str:
    """Return the method in our spelling; refuse an unknown one.

    Raises
    ------
    ModelError
    """
    return check_choice("adjust", adjust, ADJUSTMENTS)


def p_values(family: Family, adjust: str) -> Array:
    """Adjusted two-sided p-values, shape (m,)."""
    raw = t_probability(family.statistic, family.df)
    if adjust == "none":
        return raw
    if adjust in STEPWISE:
        return _stepwise(raw, adjust)
    tail = _tail(family, adjust)
    out = raw.copy()
    for i in np.flatnonzero(np.isfinite(raw)):
        out[i] = tail(abs(float(family.statistic[i])), float(family.df[i]))
    # never below that of the single test, whatever the rounding in far tails
    return np.maximum(out, raw)


def critical_values(family: Family, adjust: str, level: float) -> Array:
    """Half-widths of simultaneous intervals in standard errors, shape (m,).

    Stepwise methods have none: theirs are Bonferroni's.
    """
    m = len(family.statistic)
    single = t_two_sided(level, family.df)
    if adjust == "none" or m == 0:
        return single
    if adjust == "sidak":
        return t_two_sided(level ** (1.0 / m), family.df)
    if adjust == "bonferroni" or adjust in STEPWISE:
        return t_two_sided(1.0 - (1.0 - level) / m, family.df)
    out = single.copy()
    known = np.isfinite(single)
    if known.any():
        tail = _tail(family, adjust)
        out[known] = quantiles(tail, 1.0 - level, family.df[known], single[known])
    return out


def _tail(family: Family, adjust: str) -> Tail:
    """Chance that any test of the family is as extreme as one at t with df."""
    m = len(family.statistic)
    if adjust == "tukey":
        return range_tail(family.n_means)
    if adjust == "dunnettx":
        return _between_tukey_and_sidak(m)
    estimable = family.rows[np.isfinite(family.statistic)]
    if adjust == "mvt":
        return largest_tail(estimable) if len(estimable) else _single
    if adjust == "scheffe":
        rank = rank_of(estimable) if len(estimable) else 1
        return lambda t, df: float(_f_tail(t * t / rank, rank, df))
    return _sidak(m) if adjust == "sidak" else _bonferroni(m)


def _single(t: float, df: float) -> float:
    return float(t_probability(np.array(t), df))


def _sidak(m: int) -> Tail:
    return lambda t, df: -float(np.expm1(m * np.log1p(-min(_single(t, df), 1.0 - 1e-16))))


def _bonferroni(m: int) -> Tail:
    return lambda t, df: min(1.0, m * _single(t, df))


def _f_tail(ratio: float, rank: int, df: float) -> Array:
    return f_probability(ratio, rank, min(df, 1e12))


def _between_tukey_and_sidak(m: int) -> Tail:
    """Approximate tail of m comparisons with one control, after R's package emmeans.

    Weights (m - 1) / m for the studentised range of as many means as have m differences, and 1 / m
    for Sidak's; made for correlations of one half, as with groups of equal size.
    """
    n_means = 0.5 * (1.0 + np.sqrt(1.0 + 8.0 * m))
    by_range, by_product = range_tail(n_means), _sidak(m)
    share = (m - 1.0) / m
    return lambda t, df: share * by_range(t, df) + (1.0 - share) * by_product(t, df)


def _stepwise(raw: Array, adjust: str) -> Array:
    """Holm, Hochberg, Hommel, Benjamini and Hochberg, Benjamini and Yekutieli."""
    m = len(raw)
    order = np.argsort(raw, kind="stable")  # NaN last
    ranks = np.arange(1.0, m + 1.0)
    in_order = raw[order]
    known = np.isfinite(in_order)
    if adjust == "hommel":
        out = np.empty(m)
        out[order] = np.where(known, _hommel(np.where(known, in_order, 1.0)), np.nan)
        return out
    factors = m + 1.0 - ranks if adjust in ("holm", "hochberg") else m / ranks
    if adjust == "BY":
        factors = factors * (1.0 / ranks).sum()
    scaled = in_order * factors
    if adjust == "holm":
        scaled[known] = np.maximum.accumulate(scaled[known])
    else:
        scaled[known] = np.minimum.accumulate(scaled[known][::-1])[::-1]
    out = np.empty(m)
    out[order] = np.minimum(scaled, 1.0)
    return out


def _hommel(ascending: Array) -> Array:
    """Closed tests by Simes: of each hypothesis, the largest p-value of a set that holds it.

    Of all sets of k hypotheses with a certain one, that of the k - 1 largest others has the
    largest p-value (Hommel 1988, Biometrika 75, 383-386).
    """
    m, out = len(ascending), ascending.copy()
    for k in range(2, m + 1):
        scaled = k * ascending[m - k :] / np.arange(1.0, k + 1.0)
        # the k largest with one another; a smaller one takes the place of the first of them
        np.maximum(out[m - k :], scaled.min(), out=out[m - k :])
        smaller = np.minimum(k * ascending[: m - k], scaled[1:].min())
        np.maximum(out[: m - k], smaller, out=out[: m - k])
    return np.minimum(out, 1.0)
