"""Starts of many responses from their moments; `start` has the method, for one response."""

from __future__ import annotations

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.likelihood.batch import BatchProfile, OneFactor, Responses, level_traces
from mixedmodels.likelihood.start import FLOOR, HIGHEST, LEAST_FLOOR, NO_RESIDUAL


def batch_moment_start(design: OneFactor, responses: Responses) -> Array:
    """Theta of every response by MINQUE at the identity.

    Parameters
    ----------
    design : OneFactor
    responses : Responses

    Returns
    -------
    ndarray of shape (n_responses, n_theta)
    """
    template, count = design.template, len(responses)
    q, m = template.q, template.n_theta
    identity = np.broadcast_to(np.eye(q), (count, q, q))
    if not q or not count:
        return np.zeros((count, m))
    # the estimates are those of REML, whatever the fit will be
    own, rest, profile = design.by_reml().eliminate(identity, responses)
    covariance, residual = _minque(design, own, rest, profile)
    known = residual > NO_RESIDUAL * profile.r2 / design.n
    scaled = covariance / np.where(known, residual, 1.0)[:, None, None]
    known &= np.isfinite(scaled).all(axis=(1, 2))
    factor = _roots(design, np.where(known[:, None, None], scaled, np.eye(q)))
    factor[~known] = np.eye(q)
    return np.asarray(factor[:, template.rows, template.cols])


def _minque(
    design: OneFactor, own: Array, rest: Array, profile: BatchProfile
) -> tuple[Array, Array]:
    """Covariances of the random effects and residual variances, as the moments have them."""
    template, count = design.template, len(rest)
    q, p, m = template.q, rest.shape[2] - 1, template.n_theta
    weighted = np.matmul(profile.vcov[:, None], rest[:, :, :p])
    explained = np.einsum("napl,nbpl->nabl", weighted, rest[:, :, :p])
    coefs = np.concatenate([-profile.beta, np.ones((count, 1))], axis=1)
    residuals = np.matmul(coefs[:, None, None], rest)[:, :, 0]
    scores = residuals @ residuals.transpose(0, 2, 1)

    directions = np.zeros((m + 1, q, q))
    index = np.arange(m)
    directions[index, template.rows, template.cols] = 1.0
    directions[index, template.cols, template.rows] = 1.0
    directions[m] = np.eye(q)
    every = np.broadcast_to(directions, (count, m + 1, q, q))
    score, traces, fixed = level_traces(every, own, explained, rest)
    at_x = fixed[:, :, :p, :p] @ profile.vcov[:, None]
    flat = at_x.reshape(count, m + 1, p * p)
    traces = traces + flat @ at_x.transpose(0, 1, 3, 2).reshape(count, m + 1, p * p).transpose(
        0, 2, 1
    )
    traces = 0.5 * (traces + traces.transpose(0, 2, 1))

    # the residual part R of V = R + ZZ' follows from P V P = P
    slopes = np.einsum("kij,nij->nk", directions, score)
    left = traces.copy()
    left[:, :m, m] = left[:, m, :m] = slopes[:, :m] - traces[:, :m, m]
    left[:, m, m] = design.n - p - 2.0 * slopes[:, m] + traces[:, m, m]
    right = np.einsum("kij,nij->nk", directions, scores)
    right[:, m] = profile.r2 - np.einsum("nii->n", scores)
    try:
        solution = np.linalg.solve(left, right[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        solution = np.full((count, m + 1), np.nan)
    return np.einsum("nk,kij->nij", solution[:, :m], directions[:m]), solution[:, m]


def _roots(design: OneFactor, covariance: Array) -> Array:
    """Lower triangular roots; small and negative eigenvalues are raised, as in `away_from_zero`."""
    values, vectors = np.linalg.eigh(covariance)
    floor = np.maximum(FLOOR * values[:, -1:], LEAST_FLOOR)
    raised = ((values < floor) | (values > HIGHEST)).any(axis=1)
    clipped = np.clip(values[raised], floor[raised], HIGHEST)
    covariance = covariance.copy()
    covariance[raised] = (vectors[raised] * clipped[:, None]) @ vectors[raised].transpose(0, 2, 1)
    factor = np.zeros_like(covariance)
    for part in design.template.parts:
        factor[:, part, part] = np.linalg.cholesky(covariance[:, part, part])
    return factor
