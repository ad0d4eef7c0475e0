"""Satterthwaite's degrees of freedom for contrasts of the fixed effects, from moments alone.

The estimate v(psi) of a variance gets the degrees of freedom of the chi-square with its mean and
variance, 2 v**2 / Var(v), with Var(v) by the delta method (Satterthwaite 1946, Biometrics Bulletin
2, 110-114; Giesbrecht and Burns 1985, Biometrics 41, 477-486). psi are theta and log(sigma**2);
their covariance is twice the inverse Hessian of the criterion. F tests combine the degrees of
freedom of orthogonal contrasts (Fai and Cornelius 1996, J. Stat. Comput. Simul. 54, 363-378). All
is smooth in psi, so that its coordinates do not matter.

Cost: two evaluations of the criterion for each variance parameter; none for a single factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from mixedmodels.arrays import Array, eigh
from mixedmodels.model.record import Fit
from mixedmodels.threads import one_blas_thread

# share of the largest eigenvalue of the Hessian below which a direction holds no information
UNINFORMED = 1e-9
# degrees of freedom that differ by less are the same
EQUAL = 1e-8


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """Covariance of the fixed effects and how it depends on the variance parameters.

    Attributes
    ----------
    vcov : ndarray of shape (p, p)
        In working units.
    slopes : ndarray of shape (n_theta + 1, p, p)
        Its derivatives in theta and log(sigma**2).
    covariance : ndarray of shape (n_theta + 1, n_theta + 1)
        Of the estimates of these.
    root : ndarray of shape (p, p)
        ``X = X_working @ root``.
    """

    vcov: Array
    slopes: Array
    covariance: Array
    root: Array

    def contrasts(self, L: Array) -> Array:
        """Rows of user coefficients as rows of working ones."""
        return np.asarray(np.linalg.solve(self.root.T, L.T).T)


_KNOWN: WeakKeyDictionary[Fit, Uncertainty] = WeakKeyDictionary()


def uncertainty(fit: Fit) -> Uncertainty:
    """What all degrees of freedom of a fit rest on; worked out once."""
    known = _KNOWN.get(fit)
    if known is None:
        with one_blas_thread(active=fit.objective.blocks.short_steps):
            known = _KNOWN[fit] = _uncertainty(fit)
    return known


def _uncertainty(fit: Fit) -> Uncertainty:
    objective, at = fit.objective, fit.optimum.at
    blocks, nu, p = objective.blocks, objective.nu, objective.p
    hessian = fit.optimum.hessian
    if not blocks.exact_hessian:
        hessian = objective.central_hessian(at)
    slopes = objective.cross_slopes(at)
    coefs, r2 = at.profile.coefs, at.profile.r2
    along = -nu * np.einsum("jab,a,b->j", slopes, coefs, coefs) / r2

    # the profiled Hessian has lost what theta and log(sigma**2) share
    n_theta = len(at.theta)
    full = np.empty((n_theta + 1, n_theta + 1))
    full[:n_theta, :n_theta] = hessian + np.multiply.outer(along, along) / nu
    full[n_theta, :n_theta] = full[:n_theta, n_theta] = along
    full[n_theta, n_theta] = nu

    vcov = at.profile.vcov * (r2 / nu)
    in_theta = -(at.profile.vcov @ slopes[:, :p, :p] @ at.profile.vcov) * (r2 / nu)
    return Uncertainty(
        vcov,
        np.concatenate([in_theta, vcov[None]]),
        2.0 * informed_inverse(full, UNINFORMED),
        fit.working.fixed.root,
    )


def informed_inverse(information: Array, least: float) -> Array:
    """Inverse over the directions with more than the share `least` of the largest information."""
    scale = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(information)), 1e-300))
    values, vectors = eigh(information * np.multiply.outer(scale, scale))
    kept = values > least * values[-1]
    half = vectors[:, kept] / np.sqrt(values[kept])
    return np.asarray((half @ half.T) * np.multiply.outer(scale, scale))


def degrees_of_freedom(fit: Fit, L: Array) -> Array:
    """Satterthwaite's degrees of freedom of single contrasts.

    Parameters
    ----------
    fit : Fit
    L : ndarray of shape (m, p)
        A contrast per row, over `Fit.term_names`.

    Returns
    -------
    ndarray of shape (m,)
    """
    known = uncertainty(fit)
    return _of_working(known, known.contrasts(np.atleast_2d(L)))


def _of_working(known: Uncertainty, rows: Array) -> Array:
    variance = np.einsum("ma,ab,mb->m", rows, known.vcov, rows)
    slope = np.einsum("ma,jab,mb->mj", rows, known.slopes, rows)
    spread = np.einsum("mj,jk,mk->m", slope, known.covariance, slope)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2.0 * np.square(variance) / spread)


def f_test(fit: Fit, L: Array) -> tuple[float, int, float]:
    """F statistic, numerator and denominator degrees of freedom of ``L beta = 0``.

    Parameters
    ----------
    fit : Fit
    L : ndarray of shape (m, p)
        Rows may depend on each other.

    Returns
    -------
    statistic : float
    num_df : int
    den_df : float
    """
    known = uncertainty(fit)
    turn = independent_rows(np.atleast_2d(L), known.root, known.vcov)
    num_df = len(turn)
    if num_df == 0:
        return np.nan, 0, np.nan
    # each row has variance one
    squares = np.square(turn @ fit.beta / fit.design.y_scale)
    df = _of_working(known, known.contrasts(turn))
    return float(squares.sum()) / num_df, num_df, combined(df)


def independent_rows(L: Array, root: Array, vcov: Array) -> Array:
    """Contrasts with the same null hypothesis as `L`, uncorrelated and of variance one.

    Parameters
    ----------
    L : ndarray of shape (m, p)
        Over the user's coefficients.
    root : ndarray of shape (p, p)
        ``X = X_working @ root``.
    vcov : ndarray of shape (p, p)
        Of the working coefficients.

    Returns
    -------
    ndarray of shape (rank of L, p)
    """
    rows = np.linalg.solve(root.T, L.T).T
    values, vectors = eigh(rows @ vcov @ rows.T)
    if not len(values):
        return np.empty((0, L.shape[1]))
    kept = values > 1e-9 * values[-1]
    return np.asarray((vectors[:, kept] / np.sqrt(values[kept])).T @ L)


def combined(df: Array) -> float:
    """Denominator degrees of freedom of an F test from those of its orthogonal contrasts."""
    if len(df) == 1 or np.ptp(df) < EQUAL * df[0]:
        return float(df[0])
    if (df <= 2.0).any():
        return 2.0
    expected = float((df / (df - 2.0)).sum())
    return 2.0 * expected / (expected - len(df))
