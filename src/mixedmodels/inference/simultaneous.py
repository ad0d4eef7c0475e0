"""Tails and quantiles of the largest of several t statistics that share an error variance.

Two exact ways. The studentised range: for the differences of k independent means of equal variance,
an integral over the largest mean and the estimated standard deviation (Tukey; Copenhaver and
Holland 1988, J. Stat. Comput. Simul. 30, 1-15). The multivariate t, for any correlations: with
``Z = r u``, u uniform on the sphere, the largest of ``|T_i|`` exceeds t where ``(r / s)**2``, which
is rank times an F variable, exceeds ``(t / c(u))**2``, c the largest of ``|a_i u|``. So the radius
is integrated in closed form and only the direction is sampled (Somerville 1997, J. Comput. Graph.
Stat. 6, 1-13), and far tails keep their relative precision.

Accuracy, measured, relative to the tail: the range 1e-8 (1e-6 below 1e-10); the multivariate t 1e-6
for contrasts of rank two (three means), 2e-4 up to rank five, 1e-3 up to rank eleven, 2e-3 at rank
twenty. Nothing is random: the directions are those of an unscrambled Sobol sequence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.quantiles import chi2_probability, f_probability, t_probability

Tail = Callable[[float, float], float]

# drop of the log density beyond which nothing is left to integrate
NOTHING = 36.0
# points over the logarithm of the standard deviation (more where df are few), and over the largest
SCALES, PLACES = 64, 90
# directions (fewer for ranks beyond 64, for memory), and bins that their reaches are counted in
DIRECTIONS, BINS = 2**17, 2**13
# degrees of freedom whose quantiles are worked out one by one
NODES = 12


def range_tail(k: float) -> Tail:
    """Upper tail of ``max |mean_i - mean_j| / sd(difference)`` of k means, at t with df.

    A fraction of a mean interpolates.
    """
    from scipy.special import ndtr

    z = np.linspace(-9.0, 9.0, PLACES)
    below = ndtr(z)
    weight = k * below ** (k - 1) * np.exp(-0.5 * z * z)
    weight *= (z[1] - z[0]) / np.sqrt(2.0 * np.pi)

    def tail(t: float, df: float) -> float:
        s, share = _scales(df)
        # given the largest: the chance that some other lies more than w below it
        out_of_reach = ndtr(z - np.sqrt(2.0) * t * s[:, None]) / below
        some = -np.expm1((k - 1) * np.log1p(-np.minimum(out_of_reach, 1.0 - 1e-16)))
        return float(share @ (some @ weight))

    return tail


def _scales(df: float) -> tuple[Array, Array]:
    """Points and probabilities of the estimated standard deviation of one, by its logarithm."""
    if np.isinf(df):
        return np.ones(1), np.ones(1)
    spread = NOTHING / df
    low = -(np.sqrt(spread) + spread)
    high = 0.5 * np.log1p(2.0 * spread + 2.0 * np.sqrt(2.0 * spread))
    x = np.linspace(low, high, SCALES + int(300.0 / max(df, 1.0)))
    share = np.exp(df * (x - 0.5 * np.expm1(2.0 * x)))
    return np.exp(x), share / share.sum()


def largest_tail(rows: Array) -> Tail:
    """Upper tail of the largest ``|T_i|`` with correlations ``rows @ rows.T``, at t with df.

    Parameters
    ----------
    rows : ndarray of shape (m, p)
        Any rows whose products are the covariances of the estimates.
    """
    directions = _unit_rows(rows)
    rank = directions.shape[1]
    reach, largest, single = _reaches(directions)

    def tail(t: float, df: float) -> float:
        ratio = np.square(t / reach)
        beyond = (
            chi2_probability(ratio, rank) if np.isinf(df) else f_probability(ratio / rank, rank, df)
        )
        # the tail of a single statistic is known: what is sampled is how far they overlap
        with np.errstate(under="ignore"):  # far out nothing is left
            together = float(beyond @ single)
            overlap = float(beyond @ largest) / together if together > 0.0 else 1.0
        return float(t_probability(np.array(t), df)) * overlap

    return tail


def rank_of(rows: Array) -> int:
    """Number of independent rows."""
    return int(_unit_rows(rows).shape[1])


def _unit_rows(rows: Array) -> Array:
    """Rows of length one with the same angles, in as many coordinates as they have rank."""
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    left, values, _ = np.linalg.svd(unit, full_matrices=False)
    kept = values > 1e-7 * values[0]
    return np.asarray(left[:, kept] * values[kept])


def _reaches(directions: Array) -> tuple[Array, Array, Array]:
    """Values of ``|a_i u|``, and how likely each is for the largest of them and for any."""
    points = _points(directions.shape[1])
    largest, single = np.zeros(len(points)), np.zeros(BINS)
    for row in directions:
        reach = np.abs(points @ row)
        single += _counts(reach)
        np.maximum(largest, reach, out=largest)
    used = np.flatnonzero(single)
    share = 1.0 / len(points)
    counts = _counts(largest)[used] * share
    return (used + 0.5) / BINS, counts, single[used] * share / len(directions)


def _counts(reach: Array) -> Array:
    cell = np.minimum((reach * BINS).astype(np.intp), BINS - 1)
    return np.bincount(cell, minlength=BINS).astype(np.float64)


def _points(rank: int) -> Array:
    """Directions spread evenly over the sphere, the same ones in every call."""
    if rank == 1:
        return np.ones((1, 1))
    if rank == 2:
        angle = (np.arange(DIRECTIONS) + 0.5) * (np.pi / DIRECTIONS)
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    from scipy.special import ndtri
    from scipy.stats.qmc import Sobol

    n = DIRECTIONS >> max(0, (rank - 1).bit_length() - 6)
    # multiples of 1 / n, moved into the middle of their cells
    normal = ndtri(Sobol(rank, scramble=False).random(n) + 0.5 / n)
    return np.asarray(normal / np.linalg.norm(normal, axis=1)[:, None])


def quantiles(tail: Tail, share: float, df: Array, low: Array) -> Array:
    """Where a tail is `share`, for each df; at least `low`.

    Notes
    -----
    Smooth in 1 / df: of many a polynomial through a few is within 1e-9.
    """
    distinct, place = np.unique(np.round(1.0 / df, 12), return_inverse=True)
    least = np.full(len(distinct), np.inf)
    np.minimum.at(least, place, low)
    if len(distinct) <= NODES:
        pairs = zip(distinct, least, strict=True)
        return np.array([_quantile(tail, share, r, first) for r, first in pairs])[place]
    curve = np.polynomial.Chebyshev.interpolate(
        np.vectorize(lambda r: _quantile(tail, share, r, float(least.min()))),
        NODES - 1,
        domain=[distinct[0], distinct[-1]],
    )
    return np.maximum(np.asarray(curve(1.0 / df)), low)


def _quantile(tail: Tail, share: float, inverse_df: float, low: float) -> float:
    """The quantile at df = 1 / inverse_df."""
    from scipy.optimize import brentq

    df = 1.0 / inverse_df if inverse_df > 0.0 else np.inf
    if tail(low, df) <= share:
        return low
    high = 2.0 * low
    while tail(high, df) > share:
        high *= 2.0
    goal = np.log(share)
    return float(brentq(lambda t: np.log(tail(t, df)) - goal, low, high, xtol=1e-10, rtol=1e-10))
