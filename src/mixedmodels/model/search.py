"""Minimise the criterion and say how it ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.design.build import Design, Rows
from mixedmodels.design.checks import (
    fixed_groups,
    same_groups,
    shared_columns,
)
from mixedmodels.errors import (
    ConvergenceWarning,
    DataError,
    DataWarning,
    RankDeficiencyWarning,
    ScaleWarning,
    SingularFitWarning,
    warn,
)
from mixedmodels.likelihood.centred import CentredBlocks
from mixedmodels.likelihood.objective import EPSILON, LEAST, Evaluation, Objective
from mixedmodels.likelihood.rooted import RootedBlocks
from mixedmodels.likelihood.start import has_few_levels, moment_start
from mixedmodels.likelihood.working import Working, assemble
from mixedmodels.model.record import Fit, Source, criterion_shift
from mixedmodels.moments.cross_products import Moments
from mixedmodels.moments.memory import collect_root, collect_within, root_size
from mixedmodels.optimize import Optimum, is_endless, lower_elsewhere, minimise
from mixedmodels.progress import progress_line, wants_line
from mixedmodels.threads import one_blas_thread

# residual sum of squares over total, below which the fit is exact up to rounding
EXACT = 1e-14
ENDLESS = (
    "the residual variance cannot be told from zero. Either the random effects reproduce the "
    "response exactly, and the likelihood has no maximum: take columns out of the random terms, or "
    "group by a column with more rows per level. Or groups differ by a million residual standard "
    "deviations, beyond double precision: subtract what is known of them from the response"
)
Watch = AbstractContextManager[Callable[[Evaluation], None] | None]

# absolute rounding error of the criterion worth a second pass over the rows, and worth a warning
KEPT = 1e-8
LOST = 1e-4
# share of the residual sum of squares above which effects that cancel cost no digits to speak of
MODERATE = 1e-3
# entries of theta below which pivots lose nothing to speak of
LARGE = 100.0
# random effects up to which a dense root of all is affordable
MOST_COLUMNS = 400


def optimise(
    design: Design,
    rows: Rows,
    moments: Moments,
    working: Working,
    source: Source,
    *,
    reml: bool,
    start: Array | None,
    options: dict[str, Any],
) -> Fit:
    """Minimise the criterion and say how it ended."""
    p = len(working.fixed.kept)
    objective = Objective(working.blocks, working.templates, moments.n, p, reml)
    watch = partial(_watch, objective, design, moments, working, progress=options.get("progress"))
    second_look = start is None and may_have_several_optima(design)
    if start is None:
        start = theta_from_moments(design, working, moments)
    elif not _has_value(objective, start):
        raise DataError("start is out of reach: the criterion has no finite value there")
    exact = is_exact(objective)
    if exact:
        start = np.zeros_like(start)
    if exact or not len(start):
        optimum = _stay(objective, start, exact=exact)
    else:
        found = _minimise(objective, start, watch)
        if second_look and found is not None:
            found = _lowest(objective, found)
        if (
            _lacks_digits(objective, found)
            and len(rows.y)
            and (closer := _without_totals(design, rows))
        ):
            moments = replace(moments, **closer)
            working = assemble(design, moments, working.fixed, working.terms, working.templates)
            objective = replace(objective, blocks=working.blocks)
            again = start if found is None else found.at.theta
            found = _minimise(objective, again, watch)
        if (
            found is None
            or _is_rounding(design, found, objective.nu)
            or is_endless(objective, found.at)
        ):
            raise DataError(ENDLESS)
        optimum = found
    model = Fit(design, rows, moments, working, objective, optimum, source, reml, options)
    _warn_outcome(model, exact=exact)
    return model


def may_have_several_optima(design: Design) -> bool:
    """Whether a factor has so few levels that a search from one start is not enough."""
    return any(
        has_few_levels(sum(len(term.names) for term in group.terms), len(group.levels))
        for group in design.groups
    )


def _without_totals(design: Design, rows: Rows) -> dict[str, Any]:
    """Sums from a second pass over the rows that keep the digits totals have lost."""
    if root_size(design) <= MOST_COLUMNS:
        return {"root": collect_root(design, rows)}
    return {"within": collect_within(design, rows)} if design.structure.nested else {}


def theta_from_moments(design: Design, working: Working, moments: Moments) -> Array:
    """Working theta by the method of moments, from where a fit starts."""
    blocks = working.blocks
    nested = design.structure.nested
    sizes = [len(group.levels) for group in design.groups]
    cells = {(cell.first, cell.second): len(cell.rows) for cell in moments.cells}

    def lies_in(fine: int, coarse: int) -> bool:
        return fine < coarse and (nested or cells[fine, coarse] == sizes[fine])

    with one_blas_thread(active=blocks.short_steps):
        return moment_start(
            working.templates, blocks.per_factor(), blocks.cross, moments.n, lies_in
        )


def is_exact(objective: Objective) -> bool:
    """Whether the fixed part alone leaves nothing but rounding."""
    cross = objective.blocks.cross
    total = float(cross[-1, -1])
    # working X has orthogonal columns of squared length n
    explained = float(np.square(cross[:-1, -1]).sum()) / objective.n
    return total - explained <= EXACT * total


def _has_value(objective: Objective, theta: Array) -> bool:
    """Whether the criterion can be worked out at theta."""
    if not len(theta):
        return True
    try:
        with np.errstate(all="ignore"):
            return bool(np.isfinite(objective.evaluate(theta).value))
    except np.linalg.LinAlgError:
        return False


def _minimise(objective: Objective, start: Array, watch: Callable[[], Watch]) -> Optimum | None:
    """The optimum; None when Lambda grew until X was lost in Z Lambda."""
    # a step too far gives no number, and is taken back: no news to the user
    quiet = np.errstate(all="ignore")
    try:
        with quiet, one_blas_thread(active=objective.blocks.short_steps), watch() as on_evaluation:
            return minimise(objective, start, on_evaluation=on_evaluation)
    except np.linalg.LinAlgError:
        return None


def _lowest(objective: Objective, found: Optimum) -> Optimum:
    """The optimum, or a lower one elsewhere, where a second look costs little."""
    if not objective.blocks.cheap:
        return found
    with np.errstate(all="ignore"), one_blas_thread(active=objective.blocks.short_steps):
        return lower_elsewhere(objective, found)


@contextmanager
def _watch(
    objective: Objective,
    design: Design,
    moments: Moments,
    working: Working,
    *,
    progress: bool | None,
) -> Iterator[Callable[[Evaluation], None] | None]:
    """Yield what shows an evaluation on the progress line, None where there is no line."""
    if not wants_line(objective.blocks.seconds, progress=progress):
        yield None
        return
    shift = criterion_shift(design, moments, working, reml=objective.reml)
    with progress_line() as report:
        yield lambda at: report(at.value + shift, float(np.abs(at.gradient).max()))


def _lacks_digits(objective: Objective, found: Optimum | None) -> bool:
    """Whether totals cost the criterion digits that products within groups would keep."""
    if found is None:
        return True
    lost = rounding_of(objective, found.at) + _logdet_rounding(objective, found.at)
    return lost > max(KEPT, KEPT * 1e-5 * abs(found.at.value))


def _logdet_rounding(objective: Objective, at: Evaluation) -> float:
    """What pivots of several columns lose where Lambda is large, whatever the residuals."""
    simple = len(at.factors) == 1 and len(at.factors[0]) == 1
    if simple or isinstance(objective.blocks, RootedBlocks):
        return 0.0
    if float(np.abs(at.theta).max(initial=0.0)) < LARGE:
        return 0.0
    return EPSILON * sum(
        float((np.einsum("aal->a", z[:, : len(f)]) * np.square(f).sum(axis=1)).sum())
        for z, f in zip(objective.blocks.per_factor(), at.factors, strict=True)
    )


def rounding_of(objective: Objective, at: Evaluation) -> float:
    """Rounding error of the criterion, effects that cancel each other counted."""
    known, blocks = at.profile.rounding, objective.blocks
    if isinstance(blocks, RootedBlocks) or at.profile.r2 > MODERATE * float(blocks.cross[-1, -1]):
        return known
    # totals lose a last digit of the sum of squares of what each column of Z adds
    total, products = 0.0, blocks.per_factor()
    effects = blocks.spherical(at.reduced, at.factors)
    for k in range(isinstance(blocks, CentredBlocks), len(products)):
        own = np.einsum("aal->al", products[k][:, : len(at.factors[k])])
        modes = at.factors[k] @ np.einsum("awl,w->al", effects[k], at.profile.coefs)
        total += float((own * np.square(modes)).sum())
    return known + EPSILON * objective.nu * total / at.profile.r2


def _is_rounding(design: Design, optimum: Optimum, nu: int) -> bool:
    """Whether the residuals are no larger than the response's own last digit."""
    largest = abs(design.y_centre) / design.y_scale + 3.0
    return optimum.at.profile.r2 / nu < max((4.0 * EPSILON * largest) ** 2, 2.0 * LEAST)


def _stay(objective: Objective, theta: Array, *, exact: bool) -> Optimum:
    """No search: no variance parameters, or no residual to explain."""
    at = evaluate_known(objective, theta, exact=exact)
    size = len(theta)
    verdict = "boundary optimum" if size else "optimum"
    return Optimum(at, np.zeros((size, size)), 1, 0.0, 0.0, verdict)


def evaluate_known(objective: Objective, theta: Array, *, exact: bool) -> Evaluation:
    """The criterion at a theta that is known; with no residual where the fit is exact."""
    at = objective.evaluate(theta)
    return _without_residual(objective, at) if exact else at


def _without_residual(objective: Objective, at: Evaluation) -> Evaluation:
    """The least residual that the criterion can take, for what is rounding and nothing else."""
    least = LEAST * max(float(objective.blocks.cross[-1, -1]), 1e-280)
    value = at.value + objective.nu * math.log(least / at.profile.r2)
    return replace(at, value=value, profile=replace(at.profile, r2=least, value=value))


def warn_rank(names: tuple[str, ...], working: Working) -> None:
    """Warn of columns of the fixed part that others determine."""
    relations = working.fixed.relations
    if not relations:
        return
    many = len(relations) > 1
    shown = "; ".join(f"{names[j]} = {relation}" for j, relation in relations[:8])
    more = f"; and {len(relations) - 8} more" if len(relations) > 8 else ""
    warn(
        f"fixed-effect column{'s' if many else ''} dropped because the others determine "
        f"{'them' if many else 'it'}: {shown}{more}",
        RankDeficiencyWarning,
    )


def _warn_outcome(model: Fit, *, exact: bool) -> None:
    if exact:
        warn(
            "the fixed effects reproduce the response exactly: the residual variance is 0, and "
            "standard errors and likelihood mean nothing",
            DataWarning,
        )
        return
    if model.optimum.verdict == "boundary optimum":
        warn(model.convergence.message, SingularFitWarning)
    elif model.optimum.verdict == "not converged" or (
        # of columns in two terms and groups of two names the design has warned already
        model.optimum.verdict == "not identified"
        and not any(map(shared_columns, model.design.groups))
        and not same_groups(model.design, model.rows)
        and not fixed_groups(model.design)
    ):
        warn(model.convergence.message, ConvergenceWarning)
    lost = rounding_of(model.objective, model.optimum.at)
    if lost > LOST:
        warn(
            f"the residual standard deviation is only {model.sigma / model.design.y_scale:.1e} of "
            f"the response's: in double precision the criterion is exact to about {lost:.0e} only",
            ScaleWarning,
        )
