"""Kenward and Roger's adjusted covariance and degrees of freedom, from moments alone.

With V = sum of gamma_r G_r linear in the variance parameters, Phi = (X'V^-1X)^-1 and

    P_r   = -X'V^-1 G_r V^-1 X,      Q_rs = X'V^-1 G_r V^-1 G_s V^-1 X
    I_rs  = tr(V^-1 G_r V^-1 G_s) - 2 tr(Phi Q_rs) + tr(Phi P_r Phi P_s),      W = 2 I^-1
    Phi_A = Phi + 2 Phi (sum of W_rs (Q_rs - P_r Phi P_s)) Phi

(Kenward and Roger 1997, Biometrics 53, 983-997; the scaled F test as in Halekoh and Hojsgaard 2014,
J. Stat. Softw. 59(9)). Nothing has the size of the data: Q is made of products of ``Z'V^-1X`` with
``Z'V^-1Z``, which one elimination gives; the traces are derivatives of the exact gradient of
log|V|, by differences; and the residual's G_0 = W^-1 enters through V - Z Sigma Z'.

Cost: two to four evaluations of log|V| and its gradient for each variance parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from mixedmodels.arrays import Array, eigh
from mixedmodels.errors import ModelError
from mixedmodels.inference.satterthwaite import independent_rows, informed_inverse
from mixedmodels.likelihood.blocks import projected
from mixedmodels.likelihood.covariance import Template, from_covariance
from mixedmodels.memory import check_memory
from mixedmodels.model.record import Fit
from mixedmodels.threads import one_blas_thread

# step in a covariance, relative to its own size and to one residual variance per row
STEP = 1e-3
# eigenvalues of the information below this share of the largest hold none
UNINFORMED = 1e-10


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What Kenward and Roger's tests of any contrast need, in working units and units of sigma**2.

    Attributes
    ----------
    vcov, adjusted : ndarray of shape (p, p)
        ``Phi`` and ``Phi_A``.
    slopes : ndarray of shape (m, p, p)
        ``Phi P_r Phi``.
    weights : ndarray of shape (m, m)
        ``W``.
    """

    vcov: Array
    adjusted: Array
    slopes: Array
    weights: Array


_KNOWN: WeakKeyDictionary[Fit, Adjustment] = WeakKeyDictionary()


def adjustment(fit: Fit) -> Adjustment:
    """The adjustment of a fit; worked out once.

    Raises
    ------
    ModelError
        The model was not fitted by REML.
    """
    if not fit.reml:
        raise ModelError(
            "Kenward and Roger's method is for REML fits, and this one is by maximum likelihood: "
            "use m.update(reml=True), or ddf='satterthwaite'"
        )
    known = _KNOWN.get(fit)
    if known is None:
        with one_blas_thread(active=fit.objective.blocks.short_steps):
            known = _KNOWN[fit] = _adjustment(fit)
    return known


def _adjustment(fit: Fit) -> Adjustment:
    at, p = fit.optimum.at, fit.objective.p
    phi, information = at.profile.vcov, at.reduced.cross[:p, :p]
    entries = _entries(fit.objective.templates)
    sizes = np.array([at.factors[e.factor][e.row] @ at.factors[e.factor][e.col] for e in entries])
    slopes, second = _fixed_products(fit, entries)
    first, traces = _traces(fit, entries)

    m = len(entries)
    P, Q, T = np.empty((m + 1, p, p)), np.empty((m + 1, m + 1, p, p)), np.empty((m + 1, m + 1))
    P[:m], Q[:m, :m], T[:m, :m] = -slopes, second, traces
    # the residual's part of V is what the random effects leave
    P[m] = -information - np.einsum("r,rab->ab", sizes, P[:m])
    Q[:m, m] = -P[:m] - np.einsum("s,rsab->rab", sizes, Q[:m, :m])
    Q[m, :m] = Q[:m, m].transpose(0, 2, 1)
    Q[m, m] = information + np.einsum(
        "r,rab->ab", sizes, 2.0 * P[:m] + np.einsum("s,rsab->rab", sizes, Q[:m, :m])
    )
    T[:m, m] = T[m, :m] = first - traces @ sizes
    T[m, m] = fit.n_obs - 2.0 * first @ sizes + sizes @ traces @ sizes

    scaled = phi @ P
    expected = T - 2.0 * np.einsum("ab,rsba->rs", phi, Q)
    expected += np.einsum("rab,sba->rs", scaled, scaled)
    weights = 2.0 * informed_inverse(0.5 * (expected + expected.T), UNINFORMED)
    middle = np.einsum("rs,rsab->ab", weights, Q - np.einsum("rab,sbc->rsac", P, scaled))
    adjusted = phi + phi @ (middle + middle.T) @ phi
    return Adjustment(phi, adjusted, scaled @ phi, weights)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One variance or covariance: an entry of the relative covariance of one factor."""

    factor: int
    row: int
    col: int


def _entries(templates: tuple[Template, ...]) -> list[_Entry]:
    return [
        _Entry(k, int(i), int(j))
        for k, template in enumerate(templates)
        for i, j in zip(template.rows, template.cols, strict=True)
    ]


def _basis(entry: _Entry, q: int) -> Array:
    """Derivative of a covariance matrix in one of its entries."""
    out = np.zeros((q, q))
    out[entry.row, entry.col] = out[entry.col, entry.row] = 1.0
    return out


def _fixed_products(fit: Fit, entries: list[_Entry]) -> tuple[Array, Array]:
    """``X'V^-1 G_r V^-1 X`` and ``X'V^-1 G_r V^-1 G_s V^-1 X`` of the random effects' parts."""
    blocks, at, p = fit.objective.blocks, fit.optimum.at, fit.objective.p
    m = len(entries)
    spherical = blocks.spherical(at.reduced, at.factors)
    right = blocks.fixed_products()
    scores = [t[:, :p] for t in projected(blocks, at.factors, spherical, right)]
    check_memory(
        24.0 * m * p * sum(t.shape[0] * t.shape[2] for t in scores),
        f"Kenward and Roger's method keeps a product for each of {m} variance parameters, {p} "
        "coefficients and every random effect; use ddf='satterthwaite'",
    )
    variates = [np.zeros((t.shape[0], m, p, t.shape[2])) for t in scores]
    slopes = np.empty((m, p, p))
    for r, entry in enumerate(entries):
        t = scores[entry.factor]
        moved = np.einsum("ab,bpl->apl", _basis(entry, len(t)), t)
        variates[entry.factor][:, r] = moved
        slopes[r] = np.einsum("apl,abl->pb", t, moved, optimize=True)
    flat = [v.reshape(len(v), m * p, -1) for v in variates]
    right = blocks.cross_times(flat)
    gram: Array = -blocks.forward(at.reduced, at.factors, right)
    for variate, product in zip(flat, right, strict=True):
        gram += np.einsum("ail,ajl->ij", variate, product, optimize=True)
    return slopes, gram.reshape(m, p, m, p).transpose(0, 2, 1, 3)


def _traces(fit: Fit, entries: list[_Entry]) -> tuple[Array, Array]:
    """``tr(V^-1 G_r)`` and ``tr(V^-1 G_r V^-1 G_s)`` of the random effects' parts.

    The latter are minus the derivatives of the former, taken along positive semidefinite
    directions: so they are there at a boundary too, from one side.
    """
    at = fit.optimum.at
    covariances = [f @ f.T for f in at.factors]
    start = _gradient(fit, entries, covariances)
    along = np.empty((len(entries), len(entries)))
    for s, entry in enumerate(entries):
        own = covariances[entry.factor]
        unit = np.zeros(len(own))
        unit[[entry.row, entry.col]] = 1.0
        step = STEP * max(float(unit @ own @ unit), 1.0 / _rows(fit, entry))

        def at_distance(h: float, k: int = entry.factor, unit: Array = unit) -> Array:
            moved = list(covariances)
            moved[k] = moved[k] + h * np.multiply.outer(unit, unit)
            return _gradient(fit, entries, moved)

        if _is_inside(own, unit, 2.0 * step):
            near = at_distance(step) - at_distance(-step)
            far = at_distance(2.0 * step) - at_distance(-2.0 * step)
            along[:, s] = (8.0 * near - far) / (12.0 * step)
        else:
            points = [start, *(at_distance(i * step) for i in (1.0, 2.0, 3.0, 4.0))]
            weights = np.array([-25.0, 48.0, -36.0, 16.0, -3.0]) / (12.0 * step)
            along[:, s] = np.einsum("i,ir->r", weights, np.array(points))
    place = {(e.factor, e.row, e.col): s for s, e in enumerate(entries)}
    traces = -along
    for s, entry in enumerate(entries):
        if entry.row != entry.col:
            for i in (entry.row, entry.col):
                traces[:, s] += along[:, place[entry.factor, i, i]]
    return start, 0.5 * (traces + traces.T)


def _rows(fit: Fit, entry: _Entry) -> float:
    """Rows per level of a factor."""
    return fit.n_obs / len(fit.design.groups[entry.factor].levels)


def _is_inside(covariance: Array, unit: Array, distance: float) -> bool:
    """Whether a covariance stays well positive definite that far down a direction."""
    moved = covariance - distance * np.multiply.outer(unit, unit)
    values, _ = eigh(moved)
    return bool(values[0] > 0.3 * eigh(covariance)[0][0] > 0.0)


def _gradient(fit: Fit, entries: list[_Entry], covariances: list[Array]) -> Array:
    """``tr(V^-1 G_r)``: derivatives of log|V| in the entries of the covariances."""
    blocks = fit.objective.blocks
    factors = [
        from_covariance(t, c) for t, c in zip(fit.objective.templates, covariances, strict=True)
    ]
    reduced = blocks.reduce(factors)
    none = np.zeros_like(blocks.cross)
    by = [d.by_covariance for d in blocks.derivatives(reduced, factors, none)]
    return np.array(
        [by[e.factor][e.row, e.col] * (1.0 if e.row == e.col else 2.0) for e in entries]
    )


def coefficient_tests(fit: Fit) -> tuple[Array, Array]:
    """Adjusted standard errors of the coefficients and their degrees of freedom, shape (p,)."""
    known = adjustment(fit)
    root = fit.working.fixed.root
    rows = np.linalg.solve(root.T, np.eye(len(root))).T
    scale = fit.optimum.at.profile.r2 / fit.objective.nu * fit.design.y_scale**2
    variances = np.einsum("ma,ab,mb->m", rows, known.adjusted, rows) * scale
    # an adjustment of few groups may be larger than what it adjusts
    errors = np.sqrt(np.where(variances >= 0.0, variances, np.nan))
    return errors, np.array([f_parts(known, row[None])[1] for row in rows])


def f_test(fit: Fit, L: Array) -> tuple[float, float, int, float]:
    """F test of ``L beta = 0``.

    Parameters
    ----------
    fit : Fit
    L : ndarray of shape (m, p)
        Rows over `Fit.term_names`, which may depend on each other.

    Returns
    -------
    statistic : float
        Scaled.
    scale : float
        What the Wald F statistic with the adjusted covariance was multiplied by.
    num_df : int
    den_df : float

    Raises
    ------
    ModelError
        The model was not fitted by REML.
    """
    known = adjustment(fit)
    turn = independent_rows(np.atleast_2d(L), fit.working.fixed.root, known.vcov)
    num_df = len(turn)
    if num_df == 0:
        return np.nan, np.nan, 0, np.nan
    rows: Array = np.asarray(np.linalg.solve(fit.working.fixed.root.T, turn.T).T)
    estimate = turn @ fit.beta / fit.design.y_scale
    variance = fit.optimum.at.profile.r2 / fit.objective.nu * (rows @ known.adjusted @ rows.T)
    wald = float(estimate @ np.linalg.solve(variance, estimate)) / num_df
    scale, den_df = f_parts(known, rows)
    return scale * wald, scale, num_df, den_df


def f_parts(known: Adjustment, rows: Array) -> tuple[float, float]:
    """Scale of the F statistic and its denominator degrees of freedom.

    Parameters
    ----------
    known : Adjustment
    rows : ndarray of shape (q, p)
        Independent contrasts in working units.

    Returns
    -------
    scale : float
        The Wald F statistic with the adjusted covariance is multiplied by it.
    den_df : float
    """
    q = len(rows)
    inner = np.linalg.inv(rows @ known.vcov @ rows.T)
    moved = np.einsum("qa,rab,tb->rqt", rows, known.slopes, rows) @ inner
    a1 = float(np.einsum("rs,r,s->", known.weights, *(2 * [np.einsum("rqq->r", moved)])))
    a2 = float(np.einsum("rs,rqt,stq->", known.weights, moved, moved))
    b = (a1 + 6.0 * a2) / (2.0 * q)
    g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2) if a2 else 0.0
    bottom = 3.0 * q + 2.0 * (1.0 - g)
    c1, c2, c3 = g / bottom, (q - g) / bottom, (q + 2 - g) / bottom
    v0, v1, v2 = 1.0 + c1 * b, 1.0 - c2 * b, 1.0 - c3 * b
    left = (1.0 - a2 / q) / v1 if abs(v1) > 1e-12 else 1.0
    rho = left * left * v0 / (v2 * q)
    df = 4.0 + (q + 2) / (q * rho - 1.0)
    return df * (1.0 - a2 / q) / (df - 2.0), df
