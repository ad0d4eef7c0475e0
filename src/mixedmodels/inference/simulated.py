"""Simulated responses: a model answering to another one, and ranks of statistics among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.design.basis import standardise
from mixedmodels.inference.replicates import warm_start
from mixedmodels.likelihood.working import respond
from mixedmodels.model.predict import simulate
from mixedmodels.model.record import Fit
from mixedmodels.moments.memory import with_response
from mixedmodels.optimize import minimise
from mixedmodels.progress import replicate_bar
from mixedmodels.threads import one_blas_thread


def held(fit: Fit, y: Array) -> Fit:
    """The model with another response, its relative variances held: beta, sigma and b follow.

    Parameters
    ----------
    fit : Fit
    y : ndarray of shape (n,)
        With any offset.
    """
    found = _responding(fit, y)
    at = found.objective.evaluate(fit.optimum.at.theta)
    return replace(found, optimum=replace(fit.optimum, at=at))


def estimated(fit: Fit, y: Array) -> Fit | None:
    """The model fitted to another response, from its own estimates; None where that fails."""
    if not len(fit.optimum.at.theta):
        return held(fit, y)
    found = _responding(fit, y)
    try:
        optimum = minimise(found.objective, warm_start(fit))
    except np.linalg.LinAlgError:
        return None
    return None if optimum.verdict == "not converged" else replace(found, optimum=optimum)


def _responding(fit: Fit, y: Array) -> Fit:
    """The model with another response, at no particular theta."""
    values = y if fit.rows.offset is None else y - fit.rows.offset
    scaled = np.empty(len(values))
    centre, scale = standardise(values, "the simulated response", fit.rows.weights, scaled)
    design = replace(fit.design, y_centre=centre, y_scale=scale)
    rows = replace(fit.rows, y=scaled)
    moments = with_response(design, rows, fit.moments)
    working = respond(fit.working, design, moments)
    objective = replace(fit.objective, blocks=working.blocks)
    return Fit(
        design, rows, moments, working, objective, fit.optimum, fit.source, fit.reml, fit.options
    )


def simulated_statistics(
    fit: Fit,
    statistics: Callable[[Fit], Array],
    answer: Callable[[Fit, Array], Fit | None],
    generators: list[np.random.Generator],
    *,
    progress: bool | None,
) -> Array:
    """Statistics of the fit (first row) and of simulated responses, shape (1 + n_sim, k).

    Parameters
    ----------
    fit : Fit
    statistics : callable
        Of a fit, shape (k,).
    answer : callable
        `held` or `estimated`; a response without an answer gives a row of nan.
    generators : list of Generator
        One per response.
    progress : bool, optional
    """
    rows = [statistics(fit)]
    with (
        one_blas_thread(active=fit.objective.blocks.short_steps),
        replicate_bar(len(generators), progress=progress, what="simulations") as advance,
    ):
        for rng in generators:
            found = answer(fit, simulate(fit, 1, rng)[0])
            rows.append(np.full(len(rows[0]), np.nan) if found is None else statistics(found))
            advance(1)
    return np.stack(rows)


# --- ranks ----------------------------------------------------------------------------------------


def upper_ranks(values: Array) -> Array:
    """Share of all members that are at least as large as each, shape of `values` (members, k).

    The first member's share is its Monte Carlo p-value (Davison and Hinkley 1997, section 4.2).
    Nan is larger than none and counts for none.
    """
    out = np.ones_like(values)
    for column, own in zip(values.T, out.T, strict=True):
        there = np.isfinite(column)
        ordered = np.sort(column[there])
        below = np.searchsorted(ordered, column[there], side="left")
        own[there] = (len(ordered) - below) / len(ordered)
    return out


def joint_scores(values: Array) -> Array:
    """One number per member that is large where any of its statistics is, whatever their scales.

    The smallest p-value counts (Westfall and Young 1993, section 2.3); among members of equal
    ones, how far out the statistic lies, so that one far beyond all others is not level with them.

    Parameters
    ----------
    values : ndarray of shape (members, k)
        Large ones count.

    Returns
    -------
    ndarray of shape (members,)
    """
    shares = upper_ranks(values)
    middle, high = np.nanmedian(values, axis=0), np.nanquantile(values, 0.95, axis=0)
    spread = np.where(high > middle, high - middle, 1.0)
    distance = np.maximum(np.nan_to_num((values - middle) / spread), 0.0)
    # half a step between two ranks, at most
    nudge = 0.5 / len(values) * distance / (1.0 + distance)
    return np.asarray((nudge - np.log(shares)).max(axis=1))
