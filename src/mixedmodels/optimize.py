"""Minimise a criterion with exact gradient: trust-region Newton, escape from false boundaries, verdict.

theta is unconstrained: the sign of a column of Lambda carries no meaning, so a zero variance is an
interior stationary point. Stationary in theta is therefore not enough; at a singular Lambda the
derivative with respect to the covariance itself decides (it must not be negative in any direction
that the covariance does not use). Steps come from the eigenvalues of the Hessian with their signs
dropped (Nocedal and Wright 2006, Numerical Optimization, ch. 4), so a saddle repels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixedmodels.likelihood.covariance import (
    Array,
    covariance_root,
    factors_from_theta,
    theta_from_factors,
)
from mixedmodels.likelihood.objective import Evaluation, Objective

# a predicted decrease d is a step of sqrt(d) standard errors: this one is 3e-7 of them
DECREASE_TOLERANCE = 1e-13
MAX_EVALUATIONS = 200
# entries of Lambda in working units (columns of unit mean square) below which a zero is tried
SMALL_FACTOR = 1e-3


@dataclass(frozen=True, slots=True)
class Optimum:
    """Where the optimiser stopped and why it believes it.

    Attributes
    ----------
    at : Evaluation
    hessian : ndarray of shape (n_theta, n_theta)
        In working theta.
    evaluations : int
    gradient_norm : float
        Largest absolute entry, working units.
    predicted_decrease : float
        Decrease that one more Newton step promises.
    verdict : str
        ``"optimum"``, ``"boundary optimum"``, ``"not identified"`` or ``"not converged"``.
    """

    at: Evaluation
    hessian: Array
    evaluations: int
    gradient_norm: float
    predicted_decrease: float
    verdict: str


@dataclass(slots=True)
class _Counter:
    evaluations: int = 0


def minimise(
    objective: Objective, start: Array, *, on_step: Callable[[Evaluation], None] | None = None
) -> Optimum:
    """Minimise the criterion from `start`.

    Parameters
    ----------
    objective : Objective
    start : ndarray of shape (n_theta,)
        In working units.
    on_step : callable, optional
        Called with each accepted evaluation (progress display).

    Returns
    -------
    Optimum
    """
    counter = _Counter()
    at, hessian = _descend(objective, start, counter, on_step)
    for _ in range(10):
        at, hessian = _snap_to_zero(objective, at, hessian, counter)
        escape = _escape(objective, at, counter)
        if escape is None:
            break
        at, hessian = _descend(objective, escape, counter, on_step)
    return _judge(objective, at, hessian, counter)


def _descend(
    objective: Objective, start: Array, counter: _Counter,
    on_step: Callable[[Evaluation], None] | None,
) -> tuple[Evaluation, Array]:
    """Trust-region Newton from one start."""
    at = objective.evaluate(start)
    counter.evaluations += 1
    hessian = objective.hessian(at)
    fresh, radius = True, max(1.0, 0.5 * float(np.abs(start).max(initial=0.0)))
    while counter.evaluations < MAX_EVALUATIONS:
        values, vectors = np.linalg.eigh(hessian)
        predicted = _newton_decrease(at.gradient, values, vectors)
        if predicted < DECREASE_TOLERANCE * max(1.0, 1e-5 * abs(at.value)):
            if fresh:
                break
            hessian, fresh = objective.hessian(at), True
            continue
        step = _trust_region_step(at.gradient, values, vectors, radius)
        length = float(np.sqrt(step @ step))
        model = -float(at.gradient @ step + 0.5 * step @ hessian @ step)
        new = objective.evaluate(at.theta + step)
        counter.evaluations += 1
        actual = at.value - new.value
        noise = 1e-13 * max(1.0, abs(at.value))
        ratio = actual / model if model > 0 else 0.0
        if not np.isfinite(new.value) or (actual < -noise and ratio < 1e-4):
            if model < 10.0 * noise or length < 1e-12:
                break
            radius = 0.25 * length
            if not fresh:
                hessian, fresh = objective.hessian(at), True
            continue
        if model < noise and actual <= noise:
            # nothing left but rounding
            at = new if new.value <= at.value else at
            break
        if ratio > 0.75 and length > 0.9 * radius:
            radius *= 3.0
        elif ratio < 0.25:
            radius = 0.5 * length
        hessian, fresh = _next_hessian(objective, at, new, hessian)
        at = new
        if on_step is not None:
            on_step(at)
    if not fresh:
        hessian = objective.hessian(at)
    return at, hessian


def _next_hessian(
    objective: Objective, old: Evaluation, new: Evaluation, hessian: Array
) -> tuple[Array, bool]:
    """Fresh Hessian where it is cheap, else the symmetric rank-one secant update."""
    if objective.blocks.exact_hessian or objective.blocks.cheap:
        return objective.hessian(new), True
    step = new.theta - old.theta
    residual = new.gradient - old.gradient - hessian @ step
    scale = float(residual @ step)
    if abs(scale) > 1e-8 * float(np.linalg.norm(residual) * np.linalg.norm(step)):
        hessian = hessian + np.multiply.outer(residual, residual) / scale
    return hessian, False


def _floor(values: Array) -> Array:
    """Absolute eigenvalues, kept away from zero."""
    absolute = np.abs(values)
    return np.maximum(absolute, 1e-10 * max(float(absolute.max(initial=0.0)), 1e-10))


def _newton_decrease(gradient: Array, values: Array, vectors: Array) -> float:
    along = vectors.T @ gradient
    return 0.5 * float((along * along / _floor(values)).sum())


def _trust_region_step(gradient: Array, values: Array, vectors: Array, radius: float) -> Array:
    """Minimiser of the model with |eigenvalues| within the radius (bisection on the shift)."""
    along = vectors.T @ gradient
    curvature = _floor(values)
    step = -along / curvature
    if float(step @ step) <= radius * radius:
        return vectors @ step
    low, high = 0.0, float(np.sqrt(along @ along)) / radius
    for _ in range(60):
        shift = 0.5 * (low + high)
        step = -along / (curvature + shift)
        if float(step @ step) > radius * radius:
            low = shift
        else:
            high = shift
        if high - low <= 1e-3 * high:
            break
    return vectors @ (-along / (curvature + high))


def _snap_to_zero(
    objective: Objective, at: Evaluation, hessian: Array, counter: _Counter
) -> tuple[Evaluation, Array]:
    """Set tiny directions of Lambda to exactly zero where the criterion does not object."""
    factors = factors_from_theta(objective.templates, at.theta)
    snapped, changed = [], False
    for template, factor in zip(objective.templates, factors, strict=True):
        clean = np.zeros_like(factor)
        for part in template.parts:
            block, did = _truncate(factor[part, part])
            clean[part, part] = block
            changed |= did
        snapped.append(clean)
    if not changed:
        return at, hessian
    new = objective.evaluate(theta_from_factors(objective.templates, snapped))
    counter.evaluations += 1
    # a zero is preferred while it costs no more than a criterion can be told apart
    if new.value <= at.value + 1e-10 * max(1.0, 1e-3 * abs(at.value)):
        return new, objective.hessian(new)
    return at, hessian


def _truncate(block: Array) -> tuple[Array, bool]:
    """Drop the singular directions of one term's Lambda that are tiny."""
    left, values, _ = np.linalg.svd(block)
    small = values < SMALL_FACTOR
    if not small.any() or not values[small].any():
        return block, False
    values = np.where(small, 0.0, values)
    return covariance_root((left * values**2) @ left.T), True


def _escape(objective: Objective, at: Evaluation, counter: _Counter) -> Array | None:
    """A better theta off the boundary, where the one-sided derivative promises one."""
    tolerance = 1e-7 * max(1.0, 1e-3 * abs(at.value))
    best: Evaluation | None = None
    for k, (template, factor) in enumerate(zip(objective.templates, at.factors, strict=True)):
        for part in template.parts:
            own = factor[part, part]
            slope = at.by_covariance[k][part, part]
            left, values, _ = np.linalg.svd(own)
            unused = left[:, values < SMALL_FACTOR]
            if unused.shape[1] == 0:
                continue
            slopes, directions = np.linalg.eigh(unused.T @ slope @ unused)
            if slopes[0] >= -tolerance:
                continue
            direction = unused @ directions[:, 0]
            for variance in (1.0, 0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6):
                covariance = own @ own.T + variance * np.multiply.outer(direction, direction)
                trial = [f.copy() for f in at.factors]
                trial[k][part, part] = covariance_root(covariance)
                new = objective.evaluate(theta_from_factors(objective.templates, trial))
                counter.evaluations += 1
                if new.value < (best or at).value - 1e-10 * max(1.0, 1e-3 * abs(at.value)):
                    best = new
    return None if best is None else best.theta


def _judge(
    objective: Objective, at: Evaluation, hessian: Array, counter: _Counter
) -> Optimum:
    values, vectors = np.linalg.eigh(hessian)
    predicted = _newton_decrease(at.gradient, values, vectors)
    gradient_norm = float(np.abs(at.gradient).max(initial=0.0))
    singular = any(
        (np.linalg.svd(f[part, part], compute_uv=False) < SMALL_FACTOR * 1e-2).any()
        for t, f in zip(objective.templates, at.factors, strict=True)
        for part in t.parts
    )
    scale = max(1.0, float(values.max(initial=0.0)))
    if predicted > 1e-6 * max(1.0, 1e-5 * abs(at.value)):
        verdict = "not converged"
    elif singular:
        verdict = "boundary optimum"
    elif len(values) and values[0] < 1e-7 * scale:
        verdict = "not identified"
    else:
        verdict = "optimum"
    return Optimum(at, hessian, counter.evaluations, gradient_norm, predicted, verdict)


