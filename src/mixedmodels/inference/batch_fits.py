"""Fits of many models side by side, and what is kept of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.inference.parameters import Parameter, from_rows
from mixedmodels.inference.satterthwaite import UNINFORMED
from mixedmodels.likelihood.batch import (
    BatchDesign,
    BatchEvaluation,
    OneFactor,
    Responses,
    lower_factors,
)
from mixedmodels.likelihood.batch_start import batch_moment_start
from mixedmodels.likelihood.covariance import Template
from mixedmodels.likelihood.objective import EPSILON, LEAST
from mixedmodels.model.search import EXACT, KEPT
from mixedmodels.optimize import SUSPICIOUS
from mixedmodels.optimize_batch import (
    is_flat,
    is_singular,
    lower_elsewhere_batch,
    minimise_batch,
)


@dataclass(frozen=True, slots=True)
class OneModel:
    """Estimates of one model, or why there are none."""

    terms: Sequence[str]
    beta: Array
    std_error: Array
    df: Array
    parameters: Sequence[str]
    variances: Array
    figures: dict[str, Any]
    failure: str | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Models of the same columns, each of its own rows or its own response.

    What all models share has a first axis of one.

    Attributes
    ----------
    design : BatchDesign
    responses : Responses
    n : ndarray of int, shape (k,)
        Rows.
    terms : sequence of str
        Names of the fixed effects.
    parameters : sequence of Parameter
        Variance parameters.
    groups : tuple of slice
        Of each grouping factor its columns in Lambda, all factors side by side.
    x_root : ndarray of shape (k, p, p)
    constant : ndarray of shape (k, p)
        Coefficients with which X makes the constant; zeros where it does not.
    z_roots : tuple of ndarray of shape (k, q, q)
        Per random term.
    y_centre, y_scale : ndarray of shape (n_models,)
    weight_scale, log_weights : ndarray of shape (k,)
    """

    design: BatchDesign
    responses: Responses
    n: NDArray[np.int64]
    terms: Sequence[str]
    parameters: Sequence[Parameter]
    groups: tuple[slice, ...]
    x_root: Array
    constant: Array
    z_roots: tuple[Array, ...]
    y_centre: Array
    y_scale: Array
    weight_scale: Array
    log_weights: Array


def fit_batch(batch: Batch, start: Array | None, ddf: str, *, reml: bool) -> list[OneModel | None]:
    """Fit all models at once.

    Parameters
    ----------
    batch : Batch
    start : ndarray of shape (n_models, n_theta), optional
        By default from moments, for designs of one factor.
    ddf : {"satterthwaite", "none"}
    reml : bool

    Returns
    -------
    list of OneModel or None
        None for a model that does not end at a certified optimum, or close to where digits run
        out: it should be fitted alone.
    """
    design, responses = batch.design, batch.responses
    if not len(responses):
        return []
    if start is None:
        assert isinstance(design, OneFactor)
        start = batch_moment_start(design, responses)
    with np.errstate(all="ignore"):
        found = minimise_batch(design, responses, design.evaluate(start, responses))
        found = lower_elsewhere_batch(design, responses, found)
        at = found.at
        singular = is_singular(design.template, at.theta)
        safe = found.certified & (singular | ~is_flat(design.template, at))
        safe &= _has_digits(batch, at)
        every = _estimates(batch, at, singular, ddf, reml=reml)
    return [one if good else None for one, good in zip(every, safe.tolist(), strict=True)]


def _has_digits(batch: Batch, at: BatchEvaluation) -> NDArray[np.bool_]:
    """Where the residual variance is far above rounding; see `model.search.optimise`."""
    total = batch.responses.yy
    # working X has orthogonal columns of squared length n
    explained = np.square(batch.responses.xy).sum(axis=1) / batch.n
    largest = np.abs(batch.y_centre) / batch.y_scale + 3.0
    least = np.maximum(np.square(4.0 * EPSILON * largest), 2.0 * LEAST)
    good = (total - explained > EXACT * total) & (at.r2 / batch.design.nu > least)
    if batch.design.template.n_theta:
        good &= at.rounding <= np.maximum(KEPT, KEPT * 1e-5 * np.abs(at.value))
        # whether a residual variance a hundred times smaller would fit as well
        which = np.flatnonzero(good & (at.r2 <= SUSPICIOUS * total))
        if len(which):
            part = batch.responses.take(which)
            farther = batch.design.take(which).evaluate(10.0 * at.theta[which], part).value
            good[which] = farther >= at.value[which] + 1.0
    return np.asarray(good)


def _estimates(
    batch: Batch, at: BatchEvaluation, singular: NDArray[np.bool_], ddf: str, *, reml: bool
) -> list[OneModel]:
    count, p = at.beta.shape
    m = batch.design.template.n_theta
    df_resid = batch.n - p
    scale = np.sqrt(at.r2 / (batch.design.nu if m else df_resid))
    beta = np.linalg.solve(_stack(batch.x_root, count), at.beta[:, :, None])[:, :, 0]
    beta = beta * batch.y_scale[:, None] + batch.y_centre[:, None] * batch.constant
    unit = np.eye(p)[None]  # a matrix for NumPy 1 too
    inverse: Array = np.asarray(np.linalg.solve(_stack(batch.x_root, count), unit), float)
    vcov = inverse @ at.vcov @ inverse.transpose(0, 2, 1)
    se = np.sqrt(np.einsum("npp->np", vcov)) * (scale * batch.y_scale)[:, None]
    df: Array = np.full((count, p), math.nan)
    if not m:
        df = np.broadcast_to(df_resid[:, None].astype(np.float64), (count, p))
    elif ddf == "satterthwaite" and p:
        df = _satterthwaite(batch.design.nu, at, inverse)

    sigma = scale * batch.y_scale * np.sqrt(batch.weight_scale)
    rows = _user_rows(batch.design.template, at.theta, batch.z_roots)
    roots = [rows[:, part, part] for part in batch.groups]
    variances = from_rows(batch.parameters, roots, scale * batch.y_scale, sigma)
    criterion = at.value + _shift(batch, reml=reml)
    n_params = p + m + 1
    n = np.broadcast_to(batch.n, (count,))
    figures = {
        "n_obs": n,
        "n_params": np.full(count, n_params),
        "sigma": sigma,
        "loglik": -0.5 * criterion,
        "aic": criterion + 2.0 * n_params,
        "bic": criterion + np.log(n) * n_params,
        "converged": np.ones(count, np.bool_),
        "is_singular": singular,
    }
    lines = zip(*(values.tolist() for values in figures.values()), strict=True)
    names = [parameter.name for parameter in batch.parameters]
    return [
        OneModel(
            batch.terms,
            beta[i],
            se[i],
            df[i],
            names,
            variances[i],
            dict(zip(figures, line, strict=True)),
            None,
        )
        for i, line in enumerate(lines)
    ]


def _stack(matrices: Array, count: int) -> Array:
    return np.broadcast_to(matrices, (count, *matrices.shape[1:]))


def _shift(batch: Batch, *, reml: bool) -> Array:
    """What the criterion in the user's units has over the one in working units."""
    log_scale = 2.0 * np.log(batch.y_scale)
    if not reml:
        return np.asarray(batch.n * log_scale - batch.log_weights)
    log_root = 2.0 * np.log(np.abs(np.einsum("npp->np", batch.x_root))).sum(axis=1)
    p = batch.x_root.shape[1]
    return np.asarray((batch.n - p) * log_scale + log_root - batch.log_weights)


def _user_rows(template: Template, theta: Array, z_roots: Sequence[Array]) -> Array:
    """Square roots of the relative covariances in the user's columns, (n, q, q)."""
    factor = lower_factors(template, theta)
    rows = np.zeros_like(factor)
    for part, root in zip(template.parts, z_roots, strict=True):
        rows[:, part, part] = np.linalg.solve(_stack(root, len(factor)), factor[:, part, part])
    return rows


def _satterthwaite(nu: Any, at: BatchEvaluation, inverse: Array) -> Array:
    """Degrees of freedom of the coefficients; `satterthwaite` has the method."""
    count, m, w, _ = at.fixed.shape
    coefs = np.concatenate([-at.beta, np.ones((count, 1))], axis=1)
    along = np.einsum("nmab,na,nb->nm", at.fixed, coefs, coefs) * (nu / at.r2)[:, None]
    full = np.empty((count, m + 1, m + 1))
    nus = np.broadcast_to(nu, (count,))
    full[:, :m, :m] = at.hessian + along[:, :, None] * along[:, None] / nus[:, None, None]
    full[:, m, :m] = full[:, :m, m] = along
    full[:, m, m] = nus
    covariance = 2.0 * _informed_inverses(full)
    scale = (at.r2 / nus)[:, None, None]
    vcov = at.vcov * scale
    p = w - 1
    in_theta = at.vcov[:, None] @ at.fixed[:, :, :p, :p] @ at.vcov[:, None] * scale[:, None]
    slopes = np.concatenate([in_theta, vcov[:, None]], axis=1)
    variance = np.einsum("npa,nab,npb->np", inverse, vcov, inverse)
    slope = np.einsum("npa,njab,npb->npj", inverse, slopes, inverse)
    spread = np.einsum("npj,njk,npk->np", slope, covariance, slope)
    return np.asarray(2.0 * np.square(variance) / spread)


def _informed_inverses(information: Array) -> Array:
    """`satterthwaite.informed_inverse` of each matrix."""
    size = 1.0 / np.sqrt(np.maximum(np.abs(np.einsum("nkk->nk", information)), 1e-300))
    both = size[:, :, None] * size[:, None]
    scaled = information * both
    finite = np.isfinite(scaled).all(axis=(1, 2))
    values, vectors = np.linalg.eigh(np.where(finite[:, None, None], scaled, 0.0))
    kept = values > UNINFORMED * values[:, -1:]
    half = vectors * np.where(kept, 1.0 / np.sqrt(np.where(kept, values, 1.0)), 0.0)[:, None]
    return np.asarray(half @ half.transpose(0, 2, 1) * both)
