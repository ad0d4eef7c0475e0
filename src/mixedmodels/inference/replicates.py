"""Parametric bootstrap samples of a fitted model, and what models fitted to them estimate.

Models of one grouping factor, and others whose Z has few columns, are drawn in moment space and
fitted together. The rest are simulated at weighted points that have the cross-products of the rows
(the rows themselves, or few per cell), and fitted in threads from the estimates on.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import check_whole
from mixedmodels.arrays import Array
from mixedmodels.errors import MixedModelsError, ModelError, quiet
from mixedmodels.inference import parameters
from mixedmodels.inference.joint import Joint, join
from mixedmodels.inference.points import Points, make_points
from mixedmodels.likelihood.batch import BatchDesign, BatchEvaluation, OneResponse, Responses
from mixedmodels.likelihood.covariance import factors_from_theta, theta_from_factors
from mixedmodels.likelihood.objective import Evaluation, Objective
from mixedmodels.likelihood.start import away_from_zero
from mixedmodels.likelihood.working import beta_from_working, respond
from mixedmodels.memory import available_memory
from mixedmodels.model.fit import refit
from mixedmodels.model.predict import simulate
from mixedmodels.model.record import Fit, criterion_shift, has_points, has_rows, same_weights
from mixedmodels.moments.memory import with_response
from mixedmodels.optimize import minimise
from mixedmodels.optimize_batch import is_singular, lower_elsewhere_batch, minimise_batch
from mixedmodels.progress import replicate_bar
from mixedmodels.threads import each_in_a_thread, n_threads, stop_if_asked

Seed: TypeAlias = "int | np.random.Generator | np.random.SeedSequence | None"

# numbers in the largest array of a chunk of replicates: it stays near the processor
CHUNK = 800_000
MOST_IN_CHUNK = 500
# predicted decrease at which a costly refit stops: a step of 1e-4 standard errors
ENOUGH = 1e-8
# bytes of a refit of which nobody asks whether they are there
LITTLE = 50e6


@dataclass(frozen=True, slots=True)
class Replicates:
    """What one model estimates from every simulated response; nan where a fit failed.

    Attributes
    ----------
    criterion : ndarray of shape (n_sim,)
        What was minimised, up to a constant that ML fits of one response share.
    beta : ndarray of shape (n_sim, p)
        Fixed effects, the user's units; none for a model other than the one simulated from.
    variance : ndarray of shape (n_sim, k)
        Variance parameters, as `parameters.names` orders them.
    scores : ndarray of shape (n_sim, s)
        Estimates after no step: the gradient, the residual variance and the fixed effects at the
        parameters that were simulated from. They are what an estimate is linear in, to first order.
    singular : ndarray of bool, shape (n_sim,)
        Whether a variance is estimated as zero or a correlation as one.
    """

    criterion: Array
    beta: Array
    variance: Array
    scores: Array
    singular: NDArray[np.bool_]

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which replicates have no certified fit."""
        return np.isnan(self.criterion)


def replicate(
    source: Fit, targets: Sequence[Fit], n_sim: int, seed: Seed, *, progress: bool | None = None
) -> list[Replicates]:
    """Simulate responses from one model and fit others (or itself) to each.

    Parameters
    ----------
    source : Fit
        The model that is simulated from.
    targets : sequence of Fit
        Models of the same rows; every one is fitted to every response, by its own criterion.
    n_sim : int
    seed : int, Generator, SeedSequence or None
    progress : bool, optional

    Returns
    -------
    list of Replicates
        One per target.

    Raises
    ------
    ModelError
        n_sim or seed that cannot be used; a model without its rows where they are needed.
    """
    seeds = _Seeds(seed)
    check_count(n_sim)
    joint = join([source, *targets])
    if joint is not None:
        return _in_moments(joint, source, targets, n_sim, seeds, progress=progress)
    if _on_points([source, *targets]):
        return _at_points(source, targets, n_sim, seeds, progress=progress)
    return _row_by_row(source, targets, n_sim, seeds, progress=progress)


def check_count(n_sim: Any) -> None:
    """Refuse numbers of replicates that are none."""
    check_whole("n_sim", n_sim, least=1)


class _Seeds:
    """Independent generators from one seed; a given Generator is not advanced, only spawned."""

    def __init__(self, seed: Seed) -> None:
        try:
            self.sequence: Any = np.random.default_rng(seed).bit_generator.seed_seq
        except (TypeError, ValueError) as error:
            raise ModelError(f"seed={seed!r} cannot seed a generator: {error}") from None

    def spawn(self, count: int) -> list[np.random.Generator]:
        return [np.random.default_rng(child) for child in self.sequence.spawn(count)]


def generators(seed: Seed, count: int) -> list[np.random.Generator]:
    """Independent generators from one seed.

    Raises
    ------
    ModelError
        A seed that cannot be used.
    """
    return _Seeds(seed).spawn(count)


# --- in moment space, all responses at once ------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Target:
    """One model, ready for batches."""

    fit: Fit
    design: BatchDesign
    z: slice
    x: slice
    start: Array
    unit: float

    def own(self, responses: Responses) -> Responses:
        """Its part of the joint cross-products."""
        return Responses(
            np.ascontiguousarray(responses.zy[:, self.z]), responses.xy[:, self.x], responses.yy
        )


def _in_moments(
    joint: Joint,
    source: Fit,
    targets: Sequence[Fit],
    n_sim: int,
    seeds: _Seeds,
    *,
    progress: bool | None,
) -> list[Replicates]:
    draws = joint.draws(source)
    ready = [_target(fit, source, joint) for fit in targets]
    counts = chunks(joint, n_sim)
    tasks = list(zip(seeds.spawn(len(counts)), counts, strict=True))

    def run(task: tuple[np.random.Generator, int]) -> list[Replicates]:
        responses = draws.draw(*task)
        return [_fit_batch(target, source, target.own(responses)) for target in ready]

    parts: list[list[Replicates]] = []
    with replicate_bar(n_sim, progress=progress) as advance:
        for count, part in zip(counts, each_in_a_thread(run, tasks), strict=True):
            parts.append(part)
            advance(count)
    return [_joined([part[i] for part in parts]) for i in range(len(targets))]


def chunks(joint: Joint, n_sim: int) -> list[int]:
    """Numbers of responses that are fitted together; the same on every machine."""
    q, p, n_levels = joint.zx.shape
    width = q + p + 1 if joint.dense else p + 1
    size = min(max(CHUNK // max(n_levels * q * width, 1), 1), MOST_IN_CHUNK)
    return [min(size, n_sim - first) for first in range(0, n_sim, size)]


def _target(fit: Fit, source: Fit, joint: Joint) -> _Target:
    at = joint.position(fit)
    unit = source.design.y_scale / fit.design.y_scale
    return _Target(fit, joint.design(fit), joint.z[at], joint.x[at], warm_start(fit), unit)


def warm_start(fit: Fit) -> Array:
    """The fit's own theta, variances of zero raised: there every gradient is zero."""
    templates = fit.working.templates
    raised = [
        away_from_zero(template, factor @ factor.T)
        for template, factor in zip(templates, fit.optimum.at.factors, strict=True)
    ]
    return theta_from_factors(templates, raised)


def _fit_batch(target: _Target, source: Fit, responses: Responses) -> Replicates:
    """Estimates of one model from a chunk of responses."""
    design, fit = target.design, target.fit
    begin = design.evaluate(np.repeat(target.start[None], len(responses), axis=0), responses)
    untouched = _user_beta(source, fit, begin.beta * target.unit)
    scores = np.column_stack([begin.gradient, begin.r2, untouched])
    found = minimise_batch(design, responses, begin)
    found = lower_elsewhere_batch(design, responses, found)
    at, certified = found.at, found.certified.copy()
    for i in np.flatnonzero(~certified):
        certified[i] = _settle(design, responses, at, int(i), target.start)
    df = design.nu if fit.has_random else fit.df_resid
    sigma = np.sqrt(at.r2 / df) * target.unit
    beta = _user_beta(source, fit, at.beta * target.unit)
    variance = parameters.from_theta(fit, at.theta, sigma)
    criterion = at.value.copy()
    for out in (criterion, beta, variance):
        out[~certified] = np.nan
    singular = certified & is_singular(design.template, at.theta)
    return Replicates(criterion, beta, variance, scores, singular)


def _settle(
    design: BatchDesign, responses: Responses, at: BatchEvaluation, i: int, start: Array
) -> bool:
    """Fit one response with the general minimiser; whether it found a certified optimum."""
    one = np.array([i])
    criterion: Any = OneResponse(design.take(one), responses.take(one))
    begin = at.theta[i] if np.isfinite(at.value[i]) else start
    try:
        found = minimise(criterion, begin)
    except np.linalg.LinAlgError:
        return False
    at.theta[i], at.value[i] = found.at.theta, found.at.value
    at.beta[i], at.r2[i] = -found.at.profile.coefs[:-1], found.at.profile.r2
    return found.verdict != "not converged"


def _user_beta(source: Fit, fit: Fit, beta: Array) -> Array:
    """Fixed effects of simulated responses, from those of the responses less the fixed part."""
    fixed = fit.working.fixed
    if fit is not source or not len(fixed.kept):
        return np.empty((len(beta), 0))
    return np.linalg.solve(fixed.root, beta.T).T * fit.design.y_scale + fit.beta


# --- many columns of several factors: from sums, one at a time ------------------------------------


def _on_points(fits: Sequence[Fit]) -> bool:
    """Whether responses can be simulated at points that all models share."""
    return (
        all(map(has_points, fits))
        and len({id(fit.source.sums) for fit in fits}) == 1
        and all(same_weights(fits[0], fit) for fit in fits[1:])
        # groups so far apart that totals lack digits ask for the rows
        and not any(getattr(fit.objective.blocks, "within", None) is not None for fit in fits)
    )


def _at_points(
    source: Fit, targets: Sequence[Fit], n_sim: int, seeds: _Seeds, *, progress: bool | None
) -> list[Replicates]:
    points = make_points([source, *targets])
    starts = [_Start(fit) for fit in targets]

    def run(rng: np.random.Generator) -> list[Replicates]:
        y, rest = points.draw(source, rng)
        return [_refitted(source, start, points, y, rest) for start in starts]

    parts: list[list[Replicates]] = []
    with replicate_bar(n_sim, progress=progress) as advance:
        for part in each_in_a_thread(run, seeds.spawn(n_sim), most=_side_by_side(targets)):
            parts.append(part)
            advance(1)
    return [_joined([part[i] for part in parts]) for i in range(len(targets))]


def _side_by_side(fits: Sequence[Fit]) -> int:
    """Refits at a time: each has a dense complement of its own, and half of the memory is left."""
    needed = max(getattr(fit.objective.blocks, "workspace", 0.0) for fit in fits)
    if needed < LITTLE:
        return n_threads()
    return max(int(0.5 * available_memory() // needed), 1)


class _Start:
    """Where all refits of one model begin: the elimination there serves every response."""

    def __init__(self, fit: Fit) -> None:
        self.fit, self.theta = fit, warm_start(fit)
        self.factors = factors_from_theta(fit.working.templates, self.theta)
        self.blocks, self.reduced = None, None
        blocks: Any = fit.objective.blocks
        if hasattr(blocks, "beside"):
            # blocks of its own: those of the fit hold another theta
            self.blocks = copy(blocks)
            self.blocks.complement = blocks.complement.fresh()
            self.reduced = self.blocks.reduce(self.factors)

    def first(self, objective: Objective) -> tuple[Evaluation, Array]:
        """Criterion and Hessian of another response."""
        blocks: Any = objective.blocks
        if self.blocks is None:
            at = objective.evaluate(self.theta)
            return at, objective.hessian(at) if len(self.theta) else np.empty((0, 0))
        twin, reduced = blocks.beside(self.blocks, self.reduced, self.factors)
        own = replace(objective, blocks=twin)
        at = own.eliminated(self.theta, self.factors, reduced)
        return at, own.hessian(at)


def _refitted(source: Fit, start: _Start, points: Points, y: Array, rest: float) -> Replicates:
    """Estimates of one model from one response at the points."""
    fit = start.fit
    design = replace(fit.design, y_centre=0.0)
    moments = with_response(design, points.rows(fit, y), fit.moments)
    moments.cross[-1, -1] += rest
    working = respond(fit.working, design, moments)
    objective = replace(fit.objective, blocks=working.blocks)
    try:
        found = None
        begin, hessian = start.first(objective)
        if len(start.theta):
            found = minimise(
                objective,
                start.theta,
                first=(begin, hessian),
                tolerance=ENOUGH,
                on_evaluation=lambda _: stop_if_asked(),
            )
    except np.linalg.LinAlgError:
        return _nothing(source, fit)
    if found is not None and found.verdict == "not converged":
        return _nothing(source, fit)
    at = begin if found is None else found.at
    unit = source.design.y_scale / fit.design.y_scale
    df = objective.nu if fit.has_random else fit.df_resid
    theta = theta_from_factors(working.templates, at.factors)[None]
    untouched = _user_beta(source, fit, -begin.profile.coefs[None, :-1] * unit)
    return Replicates(
        np.array([at.value + criterion_shift(fit.design, moments, working, reml=fit.reml)]),
        _user_beta(source, fit, -at.profile.coefs[None, :-1] * unit),
        parameters.from_theta(fit, theta, np.array([np.sqrt(at.profile.r2 / df) * unit])),
        np.concatenate([begin.gradient, [begin.profile.r2], untouched[0]])[None],
        np.array([found is not None and found.verdict == "boundary optimum"]),
    )


# --- any structure: rows --------------------------------------------------------------------------


def _row_by_row(
    source: Fit, targets: Sequence[Fit], n_sim: int, seeds: _Seeds, *, progress: bool | None
) -> list[Replicates]:
    for fit in [source, *targets]:
        if not has_rows(fit):
            raise ModelError(
                "a bootstrap of this structure needs the rows, which a model loaded from a file "
                "does not hold: write the file with mm.save(model, path, data=True)"
            )
    parts: list[list[Replicates]] = []
    with replicate_bar(n_sim, progress=progress) as advance:
        for rng in seeds.spawn(n_sim):
            y = simulate(source, 1, rng)[0]
            parts.append([_one(source, fit, refit_quietly(fit, y)) for fit in targets])
            advance(1)
    return [_joined([part[i] for part in parts]) for i in range(len(targets))]


def refit_quietly(fit: Fit, y: Array) -> Fit | None:
    """The model fitted to a simulated response; None where that fails."""
    with quiet(), np.errstate(all="ignore"):
        try:
            found = refit(fit, y)
        except (MixedModelsError, np.linalg.LinAlgError):
            return None
    return found if found.converged else None


def _one(source: Fit, fit: Fit, found: Fit | None) -> Replicates:
    if found is None:
        return _nothing(source, fit)
    own = len(fit.beta) if fit is source else 0
    unit = found.design.y_scale / fit.design.y_scale
    theta = theta_from_factors(found.working.templates, found.optimum.at.factors)
    sigma = np.array([found.residual_scale * unit])
    return Replicates(
        np.array([found.criterion]),
        found.beta[None, :own],
        parameters.from_theta(fit, theta[None], sigma),
        estimation_scores(fit, found)[None, : theta.size + 1 + own],
        np.array([found.is_singular]),
    )


def _nothing(source: Fit, fit: Fit) -> Replicates:
    """What is kept of a replicate without a fit."""
    k, p = len(parameters.names(fit)), len(fit.beta) if fit is source else 0
    nothing = np.full((1, 1), np.nan)
    return Replicates(
        nothing[0],
        nothing.repeat(p, 1),
        nothing.repeat(k, 1),
        nothing.repeat(len(fit.optimum.at.theta) + 1 + p, 1),
        np.zeros(1, np.bool_),
    )


def estimation_scores(fit: Fit, found: Fit) -> Array:
    """Scores of a simulated response at the parameters of `fit`; see `Replicates.scores`."""
    unit = found.design.y_scale / fit.design.y_scale
    begin = found.objective.evaluate(warm_start(fit))
    beta = beta_from_working(
        found.working.fixed,
        -begin.profile.coefs[:-1],
        found.design.y_centre,
        found.design.y_scale,
    )
    return np.concatenate([begin.gradient, [begin.profile.r2 * unit**2], beta])


def _joined(parts: Sequence[Replicates]) -> Replicates:
    return Replicates(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Replicates.__slots__)
    )
