"""What a correct model would show: curves from simulated responses, and the band they fill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.inference.simulated import held
from mixedmodels.model.predict import simulate
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import SEED

# simulated responses; rows of all of them together; seconds that solving them may take
N_SIM, MOST_SIMULATED, MOST_SECONDS = 199, 4_000_000, 5.0
# the fewest that make a band, and those that make its middle
FEWEST, FEW = 39, 5
COVERAGE = 0.95


@dataclass(frozen=True, slots=True)
class Band:
    """Where a curve of a correct model lies.

    Attributes
    ----------
    middle, low, high : ndarray of shape (m,)
        Mean of the simulated curves and limits.
    note : str
        How the limits came about.
    """

    middle: Array
    low: Array
    high: Array
    note: str


def model_band(fit: Fit, curve: Callable[[Fit], Array], independent: Band) -> Band:
    """Where a curve lies if the model is right, as exactly as a user can wait for.

    Parameters
    ----------
    fit : Fit
    curve : callable
        Gives the curve, shape (m,), of a fit.
    independent : Band
        Of independent residuals or effects: its width serves where only the middle of the band can
        be simulated (large data), and all of it where not even that can (models slow to solve).
    """
    seconds = fit.objective.blocks.seconds if fit.has_random else 0.0
    most = int(MOST_SECONDS / seconds) if seconds > 0.0 else N_SIM
    n_sim = min(N_SIM, MOST_SIMULATED // fit.n_obs, most)
    if n_sim >= FEWEST:
        return simulated_band(fit, curve, n_sim)
    if most < FEW:
        return independent
    middle = _curves(fit, curve, FEW).mean(axis=0)
    square = float(independent.middle @ independent.middle)
    # residuals spread less than sigma
    scale = float(independent.middle @ middle) / square if square > 0.0 else 1.0
    scale *= np.sqrt(1.0 + 1.0 / FEW)
    low = middle + scale * (independent.low - independent.middle)
    high = middle + scale * (independent.high - independent.middle)
    return Band(middle, low, high, f"band: 95 %, each point by itself, about {FEW} simulations")


def simulated_band(fit: Fit, curve: Callable[[Fit], Array], n_sim: int) -> Band:
    """Band of a curve over responses simulated from the model.

    Parameters
    ----------
    fit : Fit
    curve : callable
        Gives the curve, shape (m,), of a fit.
    n_sim : int

    Notes
    -----
    The relative variances are held at their estimates: each simulated response costs one solution
    and no search.
    """
    curves = _curves(fit, curve, n_sim)
    low, high = envelope(curves)
    text = (
        f"band: {100 * COVERAGE:g} % of {n_sim} responses simulated from the model stay inside it "
        "everywhere"
    )
    return Band(curves.mean(axis=0), low, high, text)


def _curves(fit: Fit, curve: Callable[[Fit], Array], n_sim: int) -> Array:
    """The curves of simulated responses, shape (n_sim, m)."""
    rng = np.random.default_rng(SEED)
    return np.stack([curve(held(fit, simulate(fit, 1, rng)[0])) for _ in range(n_sim)])


def envelope(curves: Array) -> tuple[Array, Array]:
    """Limits that hold a share of the curves as wholes.

    Parameters
    ----------
    curves : ndarray of shape (n_sim, m)

    Notes
    -----
    Directional quantile envelope: deviations from the mean in units of the distance of the
    quantiles on that side, and the limit that `COVERAGE` of the curves never exceed (Myllymaeki,
    Mrkvicka, Grabarnik, Seijo and Hahn 2017, J. R. Stat. Soc. B 79, 381-404).
    """
    middle = curves.mean(axis=0)
    below, above = np.quantile(curves, (0.025, 0.975), axis=0)
    tiny = 1e-12 * max(float(np.abs(curves).max()), 1e-300)
    down, up = np.maximum(middle - below, tiny), np.maximum(above - middle, tiny)
    scaled = np.where(curves > middle, (curves - middle) / up, (middle - curves) / down)
    reach = float(np.quantile(scaled.max(axis=1), COVERAGE))
    return middle - reach * down, middle + reach * up


# --- quantiles ------------------------------------------------------------------------------------


def positions(n: int, most: int = 400) -> NDArray[np.intp]:
    """Ranks that are drawn of n ordered values: all, or the ends and some between."""
    if n <= most:
        return np.arange(n)
    ends = most // 6
    between = np.linspace(ends, n - 1 - ends, most - 2 * ends).round().astype(np.intp)
    return np.unique(np.concatenate([np.arange(ends), between, np.arange(n - ends, n)]))


def normal_quantiles(ranks: NDArray[np.intp], n: int) -> Array:
    """Expected normal order statistics, by Blom's plotting positions."""
    from scipy.special import ndtri

    return np.asarray(ndtri((ranks + 0.625) / (n + 0.25)), dtype=np.float64)


def independent_band(ranks: NDArray[np.intp], n: int) -> Band:
    """Pointwise band of the order statistics of n independent standard normal values."""
    from scipy.special import betaincinv, ndtri

    tail = 0.5 * (1.0 - COVERAGE)
    low, high = (
        np.asarray(ndtri(betaincinv(ranks + 1.0, n - ranks, q)), dtype=np.float64)
        for q in (tail, 1.0 - tail)
    )
    text = f"band: {100 * COVERAGE:g} % of independent normal values, each rank by itself"
    return Band(normal_quantiles(ranks, n), low, high, text)
