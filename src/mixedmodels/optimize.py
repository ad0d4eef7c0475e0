"""Minimise with the exact gradient: trust-region Newton, escape from false boundaries, verdict.

theta is unconstrained: the sign of a column of Lambda carries no meaning, so a zero variance is an
interior stationary point. Stationary in theta is therefore not enough; at a singular Lambda the
derivative with respect to the covariance itself decides (it must not be negative in any direction
that the covariance does not use). Steps come from the eigenvalues of the Hessian with their signs
dropped (Nocedal and Wright 2006, Numerical Optimization, ch. 4), so a saddle repels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mixedmodels.arrays import Array, eigh, singular_values
from mixedmodels.likelihood.covariance import (
    SMALL_FACTOR,
    covariance_root,
    theta_from_factors,
    triangular,
)
from mixedmodels.likelihood.objective import Evaluation, Objective
from mixedmodels.likelihood.start import other_starts, which_starts

# a predicted decrease d is a step of sqrt(d) standard errors: this one is 3e-7 of them
DECREASE_TOLERANCE = 1e-13
# the same where the Hessian is approximate and an evaluation dear: 4e-6 of a standard error
COSTLY_TOLERANCE = 1e-11
# predicted decrease below which a secant tells of the curvature, and not of its change
NEAR = 0.1
MAX_EVALUATIONS = 200
# variance parameters up to which the last Hessian is taken by differences of the gradient
MOST_DIFFERENCES = 12
# second derivative of the criterion per relative change of a variance parameter, below which it is
# not identified: its standard error would be 45 times itself
FLAT = 1e-3
# entries below which the covariance counts as singular
SINGULAR = 1e-2 * SMALL_FACTOR
# rise of the criterion that the Hessian expects of a term without variance, up to which it is tried
WEAK = 5.0
# evaluations of a second look from one start; how many times the predicted decrease must not reach
# the first optimum, and how near to it in predicted decrease and covariance the look ends
MOST_GLANCE = 40
HOPELESS = 10.0
BACK, BESIDE = 0.1, 0.1
# its longest step, over the size of Lambda: far out the criterion is concave, and a whole step goes
# back to zero, past what lies between
SHORT = 0.5
# rounding of the criterion from which on a point is no evidence
ROUGH = 1e-4
# residual sum of squares over total, above which the search has surely ended at a residual variance
# of its own; and below which all digits are lost where the search does not end
SUSPICIOUS = 1e-3
VANISHING = 1e-12


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
class _Search:
    """State of one minimisation: the best point, its Hessian, the trust radius."""

    objective: Objective
    on_evaluation: Callable[[Evaluation], None] | None
    at: Evaluation
    hessian: Array
    # what secant steps have shown the average information to miss
    correction: Array
    radius: float = 1.0
    evaluations: int = 1
    # whether the coordinates are theta, whose entries have sizes that are known
    relative: bool = True
    # predicted decrease that ends the search
    tolerance: float = COSTLY_TOLERANCE
    most: int = MAX_EVALUATIONS
    # an optimum that is known; a search that ends there or above it may stop early
    known: Evaluation | None = None

    def evaluate(self, theta: Array) -> Evaluation:
        self.evaluations += 1
        new = self.objective.evaluate(theta)
        if self.on_evaluation is not None:
            self.on_evaluation(new)
        return new

    def move(self, new: Evaluation) -> None:
        """Accept a point, keeping what is known of the curvature."""
        known = self.objective.hessian(new)
        if not self.objective.blocks.exact_hessian:
            _, gradient, values, vectors = _relative(self)
            if _newton_decrease(gradient, values, vectors) < NEAR:
                self.learn(new, known)
            known = known + self.correction
        self.at, self.hessian = new, known

    def learn(self, new: Evaluation, known: Array) -> None:
        """Symmetric rank-one update of the correction, so that the last secant is met exactly.

        Structured as in Dennis, Gay and Welsch (1981, ACM Trans. Math. Softw. 7, 348-368): the
        known part of the curvature is evaluated afresh, the secant holds the rest.
        """
        step = new.theta - self.at.theta
        residual = new.gradient - self.at.gradient - (known + self.correction) @ step
        scale = float(residual @ step)
        if abs(scale) > 1e-8 * float(np.linalg.norm(residual) * np.linalg.norm(step)):
            self.correction = self.correction + np.multiply.outer(residual, residual) / scale


def minimise(
    objective: Objective,
    start: Array,
    *,
    first: tuple[Evaluation, Array] | None = None,
    tolerance: float | None = None,
    on_evaluation: Callable[[Evaluation], None] | None = None,
) -> Optimum:
    """Minimise the criterion from `start`.

    Parameters
    ----------
    objective : Objective
    start : ndarray of shape (n_theta,)
        In working units.
    first : (Evaluation, ndarray of shape (n_theta, n_theta)), optional
        The criterion there and its Hessian, if they are known.
    tolerance : float, optional
        Predicted decrease of the criterion that ends the search.
    on_evaluation : callable, optional
        Called with each evaluation of criterion and gradient (progress display).

    Returns
    -------
    Optimum
    """
    at = objective.evaluate(start) if first is None else first[0]
    hessian = objective.hessian(at) if first is None else first[1]
    if on_evaluation is not None:
        on_evaluation(at)
    none = np.zeros((len(start), len(start)))
    search = _Search(objective, on_evaluation, at, hessian, none)
    search.tolerance = _tolerance(objective) if tolerance is None else tolerance
    _descend(search)
    for _ in range(10):
        _snap_to_zero(search)
        _certify(search)
        escape = _escape(search) or _leave_saddle(search) or _drop_weak(search)
        if escape is None:
            break
        search.move(escape)
        _descend(search)
    return _judge(search)


def descend(objective: Objective, start: Array) -> Evaluation:
    """Lowest point near `start` of a criterion that is smooth in all its coordinates.

    Nothing is known of what the coordinates mean: no snap to zero, no verdict. A variance left at
    zero by mistake shows as a saddle, which is left.
    """
    at = objective.evaluate(start)
    none = np.zeros((len(start), len(start)))
    search = _Search(objective, None, at, objective.hessian(at), none)
    search.relative = False
    search.tolerance = _tolerance(objective)
    _descend(search)
    for _ in range(3):
        lower = _leave_saddle(search)
        if lower is None:
            break
        search.move(lower)
        _descend(search)
    return search.at


def lower_elsewhere(objective: Objective, found: Optimum) -> Optimum:
    """The lowest of a boundary optimum and of those that other starts reach.

    A criterion of few levels may have several optima, of other rank, direction or size; the higher
    is hardly ever inside. A search that is about to end where the first did is given up, and an
    optimum without end does not count.

    Parameters
    ----------
    objective : Objective
    found : Optimum

    Returns
    -------
    Optimum
        `found` itself, its evaluations those of all searches, where none is lower.
    """
    if not _is_singular(objective, found.at):
        return found
    best, spent = found, found.evaluations + 1
    slopes = objective.evaluate(np.zeros_like(found.at.theta)).by_covariance
    starts = [
        other_starts(template, slope[None], factor[None])[which_starts(len(found.at.theta)), 0]
        for template, slope, factor in zip(
            objective.templates, slopes, found.at.factors, strict=True
        )
    ]
    for factors in zip(*starts, strict=True):
        try:
            search = _glance(objective, theta_from_factors(objective.templates, factors), best.at)
            spent += search.evaluations
            if not _is_lower(search.at, best.at):
                continue
            lower = minimise(objective, search.at.theta, first=(search.at, search.hessian))
        except np.linalg.LinAlgError:
            continue
        spent += lower.evaluations
        sound = lower.verdict != "not converged" and _is_lower(lower.at, best.at)
        if sound and not is_endless(objective, lower.at):
            best = lower
    return replace(best, evaluations=spent)


def _glance(objective: Objective, start: Array, known: Evaluation) -> _Search:
    """A search that does not go on to where another has been."""
    at = objective.evaluate(start)
    none = np.zeros((len(start), len(start)))
    search = _Search(objective, None, at, objective.hessian(at), none)
    search.tolerance = _tolerance(objective)
    search.relative, search.most, search.known = False, MOST_GLANCE, known
    _descend(search)
    return search


def _is_singular(objective: Objective, at: Evaluation) -> bool:
    return any(
        bool((singular_values(f[part, part]) < SINGULAR).any())
        for t, f in zip(objective.templates, at.factors, strict=True)
        for part in t.parts
    )


def _is_lower(at: Evaluation, known: Evaluation) -> bool:
    """Whether a point is lower than a known one, beyond rounding."""
    noise = at.profile.rounding
    margin = alike(known.value) + 10.0 * (noise + known.profile.rounding)
    return noise < ROUGH and at.value < known.value - margin


def _is_idle(at: Evaluation, known: Evaluation, predicted: float) -> bool:
    """Whether a search is about to end at a known optimum or above it."""
    if HOPELESS * predicted < at.value - known.value:
        return True
    if predicted > BACK:
        return False
    for factor, other in zip(at.factors, known.factors, strict=True):
        covariance = other @ other.T
        apart = float(np.abs(factor @ factor.T - covariance).sum())
        if apart > BESIDE * (1.0 + float(np.trace(covariance))):
            return False
    return True


def is_endless(objective: Objective, at: Evaluation) -> bool:
    """Whether a residual variance a hundred times smaller would fit as well."""
    share = at.profile.r2 / float(objective.blocks.cross[-1, -1])
    if share > SUSPICIOUS:
        return False
    try:
        with np.errstate(all="ignore"):
            farther = objective.evaluate(10.0 * at.theta).value
    except np.linalg.LinAlgError:
        farther = math.nan
    if math.isnan(farther):
        return share < VANISHING
    # one residual degree of freedom would make the criterion rise by about 90; so far out, its
    # rounding may be a hundredth
    return farther < at.value + 1.0


def _tolerance(objective: Objective) -> float:
    return DECREASE_TOLERANCE if objective.blocks.exact_hessian else COSTLY_TOLERANCE


def _descend(search: _Search) -> None:
    """Trust-region Newton until one more step promises nothing.

    Where groups differ by thousands of residual standard deviations, curvatures differ by the
    square of that: steps are relative to the size of each variance parameter.
    """
    largest = 0.0 if search.relative else float(np.abs(search.at.theta).max(initial=0.0))
    search.radius = max(1.0, 0.5 * largest)
    tolerance = search.tolerance
    while search.evaluations < search.most:
        relative = _relative(search)
        predicted = _newton_decrease(*relative[1:])
        if search.known is not None:
            if _is_idle(search.at, search.known, predicted):
                return
            longest = SHORT * max(1.0, float(_row_lengths(search).max()))
            search.radius = min(search.radius, longest)
        if predicted < tolerance * max(1.0, 1e-5 * abs(search.at.value)):
            return
        if not _try_step(search, *relative):
            return


def _try_step(search: _Search, unit: Array, gradient: Array, values: Array, vectors: Array) -> bool:
    """Take or refuse one step; False when rounding hides any further decrease."""
    at = search.at
    step = _trust_region_step(gradient, values, vectors, search.radius)
    length = float(np.sqrt(step @ step))
    step = step * unit
    model = -float(at.gradient @ step + 0.5 * step @ search.hessian @ step)
    new = search.evaluate(at.theta + step)
    actual = at.value - new.value
    noise = 1e-13 + at.profile.rounding
    ratio = actual / model if model > 0 else 0.0
    if not np.isfinite(new.value) or (actual < -noise and ratio < 1e-4):
        search.radius = 0.25 * length
        return model >= 10.0 * noise and length >= 1e-12
    if ratio > 0.75 and length > 0.9 * search.radius:
        search.radius *= 3.0
    elif ratio < 0.25:
        search.radius = 0.5 * length
    search.move(new)
    return model > noise or actual > noise


def _certify(search: _Search) -> None:
    """Replace an approximate Hessian by the real one, where that is affordable."""
    blocks = search.objective.blocks
    if not blocks.exact_hessian and blocks.cheap and len(search.at.theta) <= MOST_DIFFERENCES:
        search.hessian = search.objective.difference_hessian(search.at)
        _polish(search)


def _polish(search: _Search) -> None:
    """A last step with the real Hessian: it doubles the digits of theta for one evaluation."""
    unit, gradient, values, vectors = _relative(search)
    if not len(values) or not 0.0 < _newton_decrease(gradient, values, vectors) < search.tolerance:
        return
    useful = values > 1e-8 * values[-1]
    step = vectors[:, useful] @ (vectors[:, useful].T @ gradient / values[useful])
    new = search.evaluate(search.at.theta - step * unit)
    if float(np.abs(new.gradient * unit).max()) < float(np.abs(gradient).max()):
        search.at = new


def _leave_saddle(search: _Search) -> Evaluation | None:
    """A lower point along negative curvature, if the stationary point is a saddle."""
    values, vectors = eigh(search.hessian)
    if not len(values) or values[0] > -1e-6 * max(1.0, float(values[-1])):
        return None
    lowest = search.at.value - alike(search.at.value)
    for length in (1.0, -1.0, 0.1, -0.1, 0.01, -0.01):
        new = search.evaluate(search.at.theta + length * vectors[:, 0])
        if new.value < lowest:
            return new
    return None


def _drop_weak(search: _Search) -> Evaluation | None:
    """A lower point at which a term that matters little has no variance at all.

    A variance of few levels can have a minimum inside and a lower one at zero.
    """
    at = search.at
    best, lowest = None, at.value - alike(at.value)
    stop = 0
    for size in (q for template in search.objective.templates for q in template.sizes):
        part = slice(stop, stop + size * (size + 1) // 2)
        stop = part.stop
        own = at.theta[part]
        if not 0.0 < 0.5 * float(own @ search.hessian[part, part] @ own) < WEAK:
            continue
        theta = at.theta.copy()
        theta[part] = 0.0
        new = search.evaluate(theta)
        if new.value < lowest:
            best, lowest = new, new.value
    return best


def _floored(values: Array) -> Array:
    """Absolute eigenvalues, kept away from zero."""
    absolute = np.abs(values)
    return np.maximum(absolute, 1e-10 * max(float(absolute.max(initial=0.0)), 1e-10))


def _newton_decrease(gradient: Array, values: Array, vectors: Array) -> float:
    along = vectors.T @ gradient
    return 0.5 * float((along * along / _floored(values)).sum())


def _trust_region_step(gradient: Array, values: Array, vectors: Array, radius: float) -> Array:
    """Minimiser of the model with |eigenvalues| within the radius (bisection on the shift)."""
    along = vectors.T @ gradient
    curvature = _floored(values)
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


def _snap_to_zero(search: _Search) -> None:
    """Set tiny directions of Lambda to exactly zero where the criterion does not object."""
    templates = search.objective.templates
    snapped, changed = [], False
    for template, factor in zip(templates, search.at.factors, strict=True):
        clean = np.zeros_like(factor)
        for part in template.parts:
            clean[part, part], did = _truncate(factor[part, part])
            changed |= did
        snapped.append(clean)
    if not changed:
        return
    new = search.evaluate(theta_from_factors(templates, snapped))
    # a zero is preferred while it costs no more than a criterion can be told apart
    if new.value <= search.at.value + alike(search.at.value):
        search.move(new)


def alike(value: float) -> float:
    """Difference below which two values of the criterion are not told apart."""
    return 1e-10 * max(1.0, 1e-3 * abs(value))


def _truncate(block: Array) -> tuple[Array, bool]:
    """Drop the singular directions of one term's Lambda that are tiny."""
    small = singular_values(block) < SMALL_FACTOR
    if not small.any():
        return block, False
    left, values, _ = np.linalg.svd(block)
    if not values[small].any():
        return block, False
    values = np.where(small, 0.0, values)
    return triangular(left * values), True


def _escape(search: _Search) -> Evaluation | None:
    """A better point off the boundary, where the one-sided derivative promises one."""
    at, templates = search.at, search.objective.templates
    tolerance = 1e-7 * max(1.0, 1e-3 * abs(at.value))
    best = None
    lowest = at.value - alike(at.value)
    for k, template in enumerate(templates):
        for part in template.parts:
            own = at.factors[k][part, part]
            direction = falling_direction(own, at.by_covariance[k][part, part], tolerance)
            if direction is None:
                continue
            for variance in 10.0 ** np.arange(0, -7, -1):
                trial = [factor.copy() for factor in at.factors]
                trial[k][part, part] = covariance_root(
                    own @ own.T + variance * np.multiply.outer(direction, direction)
                )
                new = search.evaluate(theta_from_factors(templates, trial))
                if new.value < lowest:
                    best, lowest = new, new.value
    return best


def falling_direction(own: Array, slope: Array, tolerance: float) -> Array | None:
    """Unused direction of a covariance along which the criterion falls most, if it does."""
    if singular_values(own)[-1] >= SMALL_FACTOR:
        return None
    left, values, _ = np.linalg.svd(own)
    unused = left[:, values < SMALL_FACTOR]
    slopes, directions = eigh(unused.T @ slope @ unused)
    return None if slopes[0] >= -tolerance else np.asarray(unused @ directions[:, 0])


def _row_lengths(search: _Search) -> Array:
    """For each theta, the relative standard deviation of the column of Z that it belongs to."""
    lengths = [
        np.sqrt(np.square(factor).sum(axis=1))[template.rows]
        for template, factor in zip(search.objective.templates, search.at.factors, strict=True)
    ]
    return np.concatenate([np.empty(0), *lengths])


def _relative(search: _Search) -> tuple[Array, Array, Array, Array]:
    """Units of the variance parameters; gradient, eigenvalues and eigenvectors in these units."""
    unit = np.ones(len(search.at.theta))
    if search.relative:
        unit = np.maximum(unit, _row_lengths(search))
    if (unit == 1.0).all():
        return unit, search.at.gradient, *eigh(search.hessian)
    hessian = search.hessian * np.multiply.outer(unit, unit)
    return unit, search.at.gradient * unit, *eigh(hessian)


def _judge(search: _Search) -> Optimum:
    at = search.at
    # curvature per relative change, so that variances of different size count alike
    _, gradient, curvature, vectors = _relative(search)
    predicted = _newton_decrease(gradient, curvature, vectors)
    gradient_norm = float(np.abs(at.gradient).max(initial=0.0))
    singular = _is_singular(search.objective, at)
    scale = max(1.0, float(curvature.max(initial=0.0)))
    noise = at.profile.rounding
    if predicted > max(1e-6, 1e-11 * abs(at.value), noise):
        verdict = "not converged"
    elif singular:
        verdict = "boundary optimum"
    elif len(curvature) and curvature[0] < max(1e-7 * scale, FLAT):
        verdict = "not identified"
    else:
        verdict = "optimum"
    return Optimum(at, search.hessian, search.evaluations, gradient_norm, predicted, verdict)
