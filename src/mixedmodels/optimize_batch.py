"""Minimise the criterion of many responses side by side: trust-region Newton on arrays.

Every response has its own theta, radius and verdict; a response that is done leaves the arrays. One
that does not end at a certified minimum (a saddle, a false boundary, no progress) is flagged, for
`optimize.minimise` to take up alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.likelihood.batch import BatchDesign, BatchEvaluation, Responses, lower_factors
from mixedmodels.likelihood.covariance import SMALL_FACTOR, Template
from mixedmodels.likelihood.start import other_starts, which_starts
from mixedmodels.optimize import (
    BACK,
    BESIDE,
    DECREASE_TOLERANCE,
    FLAT,
    HOPELESS,
    ROUGH,
    SHORT,
    SINGULAR,
    SUSPICIOUS,
    VANISHING,
    WEAK,
    falling_direction,
)
from mixedmodels.threads import stop_if_asked

# evaluations after which a response is left to the general minimiser
MOST = 40
# least pivot of a Hessian, over its largest diagonal entry, that counts as positive
SOUND = 1e-8
# radians by which a step may turn a row of Lambda; longer steps are straight
MOST_TURN = 0.5


@dataclass(frozen=True, slots=True)
class BatchOptimum:
    """Where every response ended.

    Attributes
    ----------
    at : BatchEvaluation
    certified : ndarray of bool, shape (n_responses,)
        Whether the gradient vanishes, the Hessian has no negative direction, and no unused
        direction of a singular covariance would lower the criterion.
    evaluations : ndarray of int, shape (n_responses,)
        Evaluations that each response took.
    """

    at: BatchEvaluation
    certified: NDArray[np.bool_]
    evaluations: NDArray[np.int64]


@dataclass(slots=True)
class _Search:
    """State of the minimisation of all responses."""

    design: BatchDesign
    responses: Responses
    at: BatchEvaluation
    radius: Array
    stopped: NDArray[np.bool_]
    evaluations: NDArray[np.int64]
    # optima that are known; a search that ends there or above them may stop early
    known: BatchEvaluation | None = None

    def evaluate(self, which: NDArray[np.intp], theta: Array) -> BatchEvaluation:
        stop_if_asked()
        self.evaluations[which] += 1
        design, part = self.design, self.responses
        if len(which) < len(part):
            design, part = design.take(which), part.take(which)
        with np.errstate(all="ignore"):
            return design.evaluate(theta, part)


def minimise_batch(
    design: BatchDesign, responses: Responses, first: BatchEvaluation
) -> BatchOptimum:
    """Minimise the criterion of every response.

    Parameters
    ----------
    design : BatchDesign
    responses : Responses
    first : BatchEvaluation
        At the starts; it is written over.

    Returns
    -------
    BatchOptimum
    """
    search = _begin(design, responses, first)
    _descend(search)
    if _drop_weak(search):
        _descend(search)
    _snap_to_zero(search)
    return BatchOptimum(search.at, _certified(search), search.evaluations)


def _begin(design: BatchDesign, responses: Responses, first: BatchEvaluation) -> _Search:
    count = len(responses)
    radius = np.maximum(1.0, 0.5 * np.abs(first.theta).max(axis=1, initial=0.0))
    return _Search(
        design, responses, first, radius, np.zeros(count, np.bool_), np.ones(count, np.int64)
    )


def lower_elsewhere_batch(
    design: BatchDesign, responses: Responses, found: BatchOptimum
) -> BatchOptimum:
    """The lowest optima that a second look from other starts finds; `optimize` has the method.

    Parameters
    ----------
    design : BatchDesign
    responses : Responses
    found : BatchOptimum
        It is written over where another optimum is lower.

    Returns
    -------
    BatchOptimum
    """
    at, template = found.at, design.template
    few = np.broadcast_to(design.few_levels, at.value.shape)
    which = np.flatnonzero(few & np.isfinite(at.value))
    if not len(which) or not template.n_theta:
        return found
    which = which[is_singular(template, at.theta[which])]
    if not len(which):
        return found
    zero = _part(design, responses, which, np.zeros_like(at.theta[which])).by_covariance
    sound = np.flatnonzero(np.isfinite(zero).all(axis=(1, 2)))
    which, zero = which[sound], zero[sound]
    starts = other_starts(template, zero, lower_factors(template, at.theta[which]))
    for factor in starts[which_starts(template.n_theta)]:
        known = at.take(which)
        theta = factor[:, template.rows, template.cols]
        search = _begin(
            design.take(which),
            responses.take(which),
            _part(design, responses, which, theta),
        )
        search.known = known
        _descend(search)
        found.evaluations[which] += search.evaluations
        lower = np.flatnonzero(_lower(search.at, known))
        _adopt(design, responses, found, which[lower], search.at.take(lower))
    return found


def _part(
    design: BatchDesign, responses: Responses, which: NDArray[np.intp], theta: Array
) -> BatchEvaluation:
    """Some of the responses at other thetas."""
    with np.errstate(all="ignore"):
        return design.take(which).evaluate(theta, responses.take(which))


def _adopt(
    design: BatchDesign,
    responses: Responses,
    found: BatchOptimum,
    which: NDArray[np.intp],
    lower: BatchEvaluation,
) -> None:
    """Go on from lower points, and keep where that ends if it does."""
    if not len(which):
        return
    ended = minimise_batch(design.take(which), responses.take(which), lower)
    at = ended.at
    share = at.r2 / responses.yy[which]
    # whether a residual variance a hundred times smaller would fit as well
    farther = _part(design, responses, which, 10.0 * at.theta).value
    rises = np.where(np.isnan(farther), share >= VANISHING, farther >= at.value + 1.0)
    good = np.flatnonzero(_lower(at, found.at.take(which)) & (rises | (share > SUSPICIOUS)))
    found.at.put(which[good], at.take(good))
    found.certified[which[good]] = ended.certified[good]
    found.evaluations[which] += ended.evaluations


def _lower(at: BatchEvaluation, known: BatchEvaluation) -> NDArray[np.bool_]:
    """Whether points are lower than known ones, beyond rounding."""
    margin = _alike(known.value) + 10.0 * (at.rounding + known.rounding)
    return np.asarray((at.rounding < ROUGH) & (at.value < known.value - margin))


def _idle(
    template: Template, at: BatchEvaluation, known: BatchEvaluation, decrease: Array
) -> NDArray[np.bool_]:
    """Whether searches are about to end at known optima or above them; see `optimize`."""
    factor, other = lower_factors(template, at.theta), lower_factors(template, known.theta)
    covariance = other @ other.transpose(0, 2, 1)
    apart = np.abs(factor @ factor.transpose(0, 2, 1) - covariance).sum(axis=(1, 2))
    back = apart <= BESIDE * (1.0 + np.einsum("nqq->n", covariance))
    return np.asarray((HOPELESS * decrease < at.value - known.value) | ((decrease <= BACK) & back))


def _descend(search: _Search) -> None:
    """Newton steps until no response gains from another."""
    for _ in range(MOST):
        open_ = np.flatnonzero(~search.stopped)
        if not len(open_):
            return
        at = search.at.take(open_)
        radius = search.radius[open_]
        if search.known is not None:
            lengths = np.sqrt(
                np.square(lower_factors(search.design.template, at.theta)).sum(axis=2)
            )
            radius = np.minimum(radius, SHORT * np.maximum(1.0, lengths.max(axis=1)))
            search.radius[open_] = radius
        step, decrease = _steps(at.gradient, at.hessian, radius)
        tolerance = DECREASE_TOLERANCE * np.maximum(1.0, 1e-5 * np.abs(at.value))
        done = ~(decrease >= tolerance)
        if search.known is not None:
            done |= _idle(search.design.template, at, search.known.take(open_), decrease)
        search.stopped[open_[done]] = True
        if done.any():
            open_, at, step = open_[~done], at.take(~done), step[~done]
        if len(open_):
            _step(search, open_, at, step)


def _step(search: _Search, which: NDArray[np.intp], at: BatchEvaluation, step: Array) -> None:
    """Take or refuse one step of each response; see `optimize._try_step` for one."""
    radius = search.radius[which]
    length = np.linalg.norm(step, axis=1)
    model = -np.einsum("nm,nm->n", at.gradient, step)
    model -= 0.5 * np.einsum("nm,nmk,nk->n", step, at.hessian, step)
    new = search.evaluate(which, _moved(search.design.template, at.theta, step))
    actual = at.value - new.value
    noise = 1e-13 + at.rounding
    ratio = np.divide(actual, model, out=np.zeros_like(model), where=model > 0.0)
    refused = ~np.isfinite(new.value) | ((actual < -noise) & (ratio < 1e-4))
    hopeless = (model < 10.0 * noise) | (length < 1e-12)
    search.stopped[which] = np.where(refused, hopeless, ~((model > noise) | (actual > noise)))
    wider = np.where((ratio > 0.75) & (length > 0.9 * radius), 3.0 * radius, radius)
    radius = np.where(refused, 0.25 * length, np.where(ratio < 0.25, 0.5 * length, wider))
    search.radius[which] = radius
    taken = np.flatnonzero(~refused)
    search.at.put(which[taken], new.take(taken))


def _moved(template: Template, theta: Array, step: Array) -> Array:
    """Thetas after their steps: what goes across a row of Lambda turns it.

    The length of a row is a standard deviation, its direction is made of correlations. Where these
    hardly matter, beside a variance near zero, the criterion has a bent valley along the turn.
    """
    moved = theta + step
    for row in range(template.q):
        own = np.flatnonzero(template.rows == row)
        if len(own) < 2:
            continue
        length = np.linalg.norm(theta[:, own], axis=1)
        along = theta[:, own] / np.maximum(length, 1e-300)[:, None]
        longer = np.einsum("nk,nk->n", along, step[:, own])
        across = step[:, own] - longer[:, None] * along
        reach = np.linalg.norm(across, axis=1)
        turns = np.flatnonzero((reach < MOST_TURN * length) & (reach > 0.0))
        angle = (reach / np.maximum(length, 1e-300))[turns, None]
        aside = across[turns] / reach[turns, None]
        turned = np.cos(angle) * along[turns] + np.sin(angle) * aside
        moved[np.ix_(turns, own)] = (length + longer)[turns, None] * turned
    return moved


def _drop_weak(search: _Search) -> bool:
    """Move to a lower point at which a term that matters little has no variance."""
    moved = False
    stop = 0
    for size in search.design.template.sizes:
        part = slice(stop, stop + size * (size + 1) // 2)
        stop = part.stop
        own = search.at.theta[:, part]
        rise = 0.5 * np.einsum("nm,nmk,nk->n", own, search.at.hessian[:, part, part], own)
        which = np.flatnonzero((rise > 0.0) & (rise < WEAK))
        if not len(which):
            continue
        theta = search.at.theta[which]
        theta[:, part] = 0.0
        new = search.evaluate(which, theta)
        old = search.at.value[which]
        lower = np.flatnonzero(new.value < old - _alike(old))
        search.at.put(which[lower], new.take(lower))
        search.stopped[which[lower]] = False
        moved |= bool(len(lower))
    return moved


def _snap_to_zero(search: _Search) -> None:
    """Set tiny directions of Lambda to exactly zero where the criterion does not object."""
    template = search.design.template
    factor = lower_factors(template, search.at.theta)
    changed = np.zeros(len(factor), np.bool_)
    for part in template.parts:
        which = np.flatnonzero(_may_be_singular(factor[:, part, part]))
        left, values, _ = np.linalg.svd(factor[which, part, part])
        small = values < SMALL_FACTOR
        tiny = (small & (values != 0.0)).any(axis=1)
        which, left = which[tiny], left[tiny]
        values = np.where(small, 0.0, values)[tiny]
        upper = np.linalg.qr((left * values[:, None]).transpose(0, 2, 1), mode="r")
        factor[which, part, part] = np.tril(np.asarray(upper).transpose(0, 2, 1))
        changed[which] = True
    which = np.flatnonzero(changed)
    if not len(which):
        return
    new = search.evaluate(which, factor[which][:, template.rows, template.cols])
    old = search.at.value[which]
    taken = np.flatnonzero(new.value <= old + _alike(old))
    search.at.put(which[taken], new.take(taken))


def _may_be_singular(factors: Array) -> NDArray[np.bool_]:
    """Where the least singular value of lower triangles may be small: by their determinants."""
    q = factors.shape[-1]
    determinant = np.abs(np.einsum("nqq->nq", factors)).prod(axis=1)
    size = np.sqrt(np.square(factors).sum(axis=(1, 2)))
    # the others are no larger than the root of the sum of squares; not a number is left alone
    return np.asarray(determinant <= SMALL_FACTOR * size ** (q - 1))


def is_singular(template: Template, theta: Array) -> NDArray[np.bool_]:
    """Whether a variance is zero or a correlation one; as `optimize` judges it.

    Parameters
    ----------
    template : Template
    theta : ndarray of shape (n, n_theta)

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    factor = lower_factors(template, theta)
    out = np.zeros(len(theta), np.bool_)
    for part in template.parts:
        own = factor[:, part, part]
        which = np.flatnonzero(_may_be_singular(own))
        values = np.linalg.svd(own[which], compute_uv=False)
        out[which] |= (values < SINGULAR).any(axis=1)
    return out


def is_flat(template: Template, at: BatchEvaluation) -> NDArray[np.bool_]:
    """Whether the criterion does not tell the variance parameters; as `optimize` judges it."""
    if not template.n_theta:
        return np.zeros(len(at.value), np.bool_)
    lengths = np.sqrt(np.square(lower_factors(template, at.theta)).sum(axis=2))
    unit = np.maximum(1.0, lengths[:, template.rows])
    values, _ = _eigen(at.hessian * unit[:, :, None] * unit[:, None])
    return np.asarray(~(values[:, 0] >= np.maximum(1e-7 * np.maximum(1.0, values[:, -1]), FLAT)))


def _certified(search: _Search) -> NDArray[np.bool_]:
    at = search.at
    finite = np.isfinite(at.value) & np.isfinite(at.gradient).all(axis=1)
    values, vectors = _eigen(at.hessian)
    left = _decrease(at.gradient, values, vectors)
    allowed = np.maximum(np.maximum(1e-8, 1e-11 * np.abs(at.value)), 10.0 * at.rounding)
    certified = finite & (left <= allowed)
    if values.shape[1]:
        certified &= values[:, 0] >= -1e-6 * np.maximum(1.0, values[:, -1])
    for part in search.design.template.parts:
        certified &= ~_false_boundary(search.design.template, at, part)
    return certified


def _false_boundary(template: Template, at: BatchEvaluation, part: slice) -> NDArray[np.bool_]:
    """Whether a direction that a singular covariance does not use would lower the criterion."""
    factor = lower_factors(template, at.theta)
    own, slope = factor[:, part, part], at.by_covariance[:, part, part]
    out = np.zeros(len(own), np.bool_)
    tolerance = 1e-7 * np.maximum(1.0, 1e-3 * np.abs(at.value))
    finite = np.isfinite(own).all(axis=(1, 2)) & np.isfinite(slope).all(axis=(1, 2))
    # no direction falls more than the lowest eigenvalue of the slope
    falls = np.zeros(len(own), np.bool_)
    falls[finite] = np.linalg.eigvalsh(slope[finite])[:, 0] < -tolerance[finite]
    for i in np.flatnonzero(falls):
        out[i] = falling_direction(own[i], slope[i], float(tolerance[i])) is not None
    return out


def _eigen(matrices: Array) -> tuple[Array, Array]:
    """Eigenvalues and vectors; nan for a matrix that is not finite."""
    if matrices.shape[-1] == 0:
        return np.empty(matrices.shape[:2]), np.empty(matrices.shape)
    finite = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
    if finite.all():
        return np.linalg.eigh(matrices)
    safe = np.where(finite[:, None, None], matrices, 0.0)
    values, vectors = np.linalg.eigh(safe)
    values[~finite] = np.nan
    return values, vectors


# what overflows or is not a number belongs to steps that are not taken
@np.errstate(over="ignore", invalid="ignore")
def _steps(gradient: Array, hessian: Array, radius: Array) -> tuple[Array, Array]:
    """Trust-region steps, and the decrease that full Newton steps promise.

    Most Hessians are positive definite and most Newton steps short: these need no eigenvalues.
    """
    step, sound = _newton_steps(gradient, hessian)
    decrease = -0.5 * np.einsum("nm,nm->n", gradient, step)
    other = np.flatnonzero(~(sound & (np.square(step).sum(axis=1) <= radius * radius)))
    if len(other):
        values, vectors = _eigen(hessian[other])
        decrease[other] = _decrease(gradient[other], values, vectors)
        step[other] = _trust_region_steps(gradient[other], values, vectors, radius[other])
    return step, decrease


def _newton_steps(gradient: Array, hessian: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Newton steps by elimination, all at once, and where the Hessian is safely positive."""
    left, step = hessian.copy(), -gradient
    m = gradient.shape[1]
    least = SOUND * np.abs(np.einsum("nmm->nm", hessian)).max(axis=1, initial=0.0)
    sound = np.ones(len(gradient), np.bool_)
    pivots = np.ones_like(gradient)
    for k in range(m):
        sound &= left[:, k, k] > least
        pivots[:, k] = np.where(sound, left[:, k, k], 1.0)
        for i in range(k + 1, m):
            share = left[:, i, k] / pivots[:, k]
            left[:, i, k + 1 :] -= share[:, None] * left[:, k, k + 1 :]
            step[:, i] -= share * step[:, k]
    for k in range(m - 1, -1, -1):
        step[:, k] -= np.einsum("nj,nj->n", left[:, k, k + 1 :], step[:, k + 1 :])
        step[:, k] /= pivots[:, k]
    return step, sound


def _decrease(gradient: Array, values: Array, vectors: Array) -> Array:
    """Decrease that a full Newton step promises, per response."""
    along = np.einsum("nmk,nm->nk", vectors, gradient)
    return np.asarray(0.5 * (along * along / _floored(values)).sum(axis=1))


def _floored(values: Array) -> Array:
    """`optimize._floored` of each row."""
    absolute = np.abs(values)
    return np.asarray(np.maximum(absolute, 1e-10 * absolute.max(-1, keepdims=True, initial=1e-10)))


def _alike(values: Array) -> Array:
    """`optimize.alike` of each value."""
    return np.asarray(1e-10 * np.maximum(1.0, 1e-3 * np.abs(values)))


def _trust_region_steps(gradient: Array, values: Array, vectors: Array, radius: Array) -> Array:
    """Minimisers of the models with |eigenvalues| within the radii (bisection on the shifts)."""
    along = np.einsum("nmk,nm->nk", vectors, gradient)
    curvature = _floored(values)
    step = -along / curvature
    far = np.flatnonzero(np.square(step).sum(axis=1) > radius * radius)
    if len(far):
        low = np.zeros(len(far))
        high = np.linalg.norm(along[far], axis=1) / radius[far]
        for _ in range(20):
            shift = 0.5 * (low + high)
            trial = along[far] / (curvature[far] + shift[:, None])
            outside = np.square(trial).sum(axis=1) > np.square(radius[far])
            low, high = np.where(outside, shift, low), np.where(outside, high, shift)
        step[far] = -along[far] / (curvature[far] + high[:, None])
    return np.asarray(np.einsum("nmk,nk->nm", vectors, step))
