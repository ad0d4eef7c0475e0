"""Linear functions of the fixed effects: estimates, standard errors, degrees of freedom, tests.

Worked out in working units, so that covariates far from zero cost no digits. The functions are over
all columns of X; those that the data do not determine give NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from mixedmodels.arguments import check_choice
from mixedmodels.arrays import Array, eigh
from mixedmodels.inference import kenward_roger, satterthwaite
from mixedmodels.model.estimable import OUTSIDE, estimable, relations
from mixedmodels.model.frames import DDF
from mixedmodels.model.record import Fit
from mixedmodels.quantiles import chi2_probability, f_probability


@dataclass(frozen=True, slots=True, eq=False)
class Estimates:
    """Estimates of m linear functions.

    Attributes
    ----------
    estimate, std_error, df : ndarray of shape (m,)
        NaN where a function cannot be estimated; infinite df for the normal distribution.
    rows : ndarray of shape (m, p)
        Whose products are the covariances, in units of the response squared.
    """

    estimate: Array
    std_error: Array
    df: Array
    rows: Array


def check_ddf(ddf: str) -> str:
    """Return the method in our spelling; refuse an unknown one.

    Raises
    ------
    ModelError
    """
    return check_choice("ddf", ddf, DDF)


def estimates(fit: Fit, linear: Array, offset: Array, ddf: str) -> Estimates:
    """Estimate linear functions of the fixed effects.

    Parameters
    ----------
    fit : Fit
    linear : ndarray of shape (m, columns of X)
    offset : ndarray of shape (m,)
        Known parts, added to the estimates.
    ddf : {"satterthwaite", "kenward-roger", "none"}

    Raises
    ------
    ModelError
        Kenward and Roger's method for an ML fit.
    """
    fixed, design, at = fit.working.fixed, fit.design, fit.optimum.at
    unknown = ~estimable(fit, linear)
    user = np.where(unknown[:, None], 0.0, linear[:, fixed.kept])
    working = np.asarray(solve_triangular(fixed.root, user.T, trans="T").T)
    value = offset - working @ at.profile.coefs[:-1] * design.y_scale
    if fixed.constant is not None:
        value = value + user @ fixed.constant * design.y_centre
    if fit.has_random and ddf == "kenward-roger":
        vcov = kenward_roger.adjustment(fit).adjusted
    else:
        vcov = at.profile.vcov
    values, vectors = eigh(vcov)
    half = vectors * np.sqrt(np.maximum(values, 0.0))
    rows = working @ half * (fit.residual_scale * design.y_scale)
    error = np.linalg.norm(rows, axis=1)
    df = _degrees_of_freedom(fit, user, working, ddf, ~unknown & (error > 0.0))
    return Estimates(
        np.where(unknown, np.nan, value),
        np.where(unknown, np.nan, error),
        np.where(unknown, np.nan, df),
        rows,
    )


def _degrees_of_freedom(
    fit: Fit, user: Array, working: Array, ddf: str, wanted: NDArray[np.bool_]
) -> Array:
    out = np.full(len(user), np.nan)
    if not fit.has_random:
        out[wanted] = fit.df_resid
    elif ddf == "none":
        out[wanted] = np.inf
    elif wanted.any() and ddf == "satterthwaite":
        out[wanted] = satterthwaite.degrees_of_freedom(fit, user[wanted])
    elif wanted.any():
        known = kenward_roger.adjustment(fit)
        out[wanted] = [kenward_roger.f_parts(known, row[None])[1] for row in working[wanted]]
    return out


def combined(coefficients: Array, functions: Array) -> Array:
    """Combinations of linear functions, or of numbers: NaN where one of those in it is NaN."""
    missing = np.isnan(functions) if functions.ndim == 1 else np.isnan(functions).any(axis=1)
    out = np.asarray(coefficients @ np.where(np.isnan(functions), 0.0, functions))
    out[(coefficients[:, missing] != 0.0).any(axis=1)] = np.nan
    return out


def combinations_without(coefficients: Array, missing: NDArray[np.bool_]) -> Array:
    """All combinations of the rows of coefficients in which what is missing has no part."""
    if not missing.any():
        return coefficients
    left, values, _ = np.linalg.svd(coefficients[:, missing], full_matrices=True)
    rank = int((values > OUTSIDE * values.max(initial=0.0)).sum())
    rows = np.asarray(left[:, rank:].T @ coefficients)
    rows[:, missing] = 0.0
    return rows


def joint_test(fit: Fit, linear: Array, ddf: str) -> tuple[float, int, float, float]:
    """F test that linear functions are zero, as far as they can be estimated.

    Returns
    -------
    statistic : float
    num_df : int
        Independent functions that the data determine.
    den_df, p_value : float
    """
    L = _estimable_part(fit, linear)[:, fit.working.fixed.kept]
    if ddf == "kenward-roger" and fit.has_random:
        statistic, _, num_df, den_df = kenward_roger.f_test(fit, L)
    elif ddf == "satterthwaite" and fit.has_random:
        statistic, num_df, den_df = satterthwaite.f_test(fit, L)
    else:
        turn = satterthwaite.independent_rows(L, np.eye(len(fit.beta)), fit.vcov)
        num_df = len(turn)
        statistic = float(np.square(turn @ fit.beta).sum()) / num_df if num_df else np.nan
        den_df = np.inf if fit.has_random else float(fit.df_resid)
    if num_df == 0:
        return np.nan, 0, np.nan, np.nan
    if np.isinf(den_df):
        return statistic, num_df, den_df, float(chi2_probability(statistic * num_df, num_df))
    return statistic, num_df, den_df, float(f_probability(statistic, num_df, den_df))


def _estimable_part(fit: Fit, linear: Array) -> Array:
    """Combinations of linear functions that the data determine; all of them if each one is."""
    if estimable(fit, linear).all():
        return linear
    kept, dropped, weights = relations(fit)
    gap = linear[:, dropped] - linear[:, kept] @ weights
    left, values, _ = np.linalg.svd(gap, full_matrices=True)
    rank = int((values > OUTSIDE * values[0]).sum())
    return np.asarray(left[:, rank:].T @ linear)
