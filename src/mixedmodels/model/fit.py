"""Run the steps from a formula and a frame to a fit, nothing more."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixedmodels.arrays import Array
from mixedmodels.design.basis import standardise
from mixedmodels.design.build import Design, Rows, build_design
from mixedmodels.design.checks import (
    same_groups,
    shared_columns,
    warn_same_groups,
    warn_shared_columns,
)
from mixedmodels.design.contrasts import forced_factors, with_contrasts
from mixedmodels.design.frame import (
    Columns,
    column_names,
    column_values,
    frame_kind,
    read,
    snapshot,
)
from mixedmodels.engines.cells import cell_design, log_weights
from mixedmodels.engines.door import is_table
from mixedmodels.engines.moments import Moments as CellMoments
from mixedmodels.errors import (
    ConvergenceWarning,
    DataError,
    DataWarning,
    FormulaError,
    MixedModelsWarning,
    ModelError,
    RankDeficiencyWarning,
    ScaleWarning,
    SingularFitWarning,
    warn,
)
from mixedmodels.formula.parse import parse
from mixedmodels.formula.terms import ParsedFormula
from mixedmodels.likelihood.objective import EPSILON, LEAST, Evaluation, Objective
from mixedmodels.likelihood.start import moment_start
from mixedmodels.likelihood.working import Working, assemble, make_working, respond, working_theta
from mixedmodels.model.record import Fit, Source, criterion_shift
from mixedmodels.model.rows import SUMMED, RowsNotKept
from mixedmodels.moments.checks import warn_constant_slopes
from mixedmodels.moments.cross_products import Moments
from mixedmodels.moments.memory import collect_moments, collect_within, with_response
from mixedmodels.optimize import Optimum, minimise
from mixedmodels.progress import progress_line, wants_line
from mixedmodels.threads import one_blas_thread

# residual sum of squares over total, below which the fit is exact up to rounding
EXACT = 1e-14
# the same with the random effects counted, where the search does not end: all digits are lost
VANISHING = 1e-12
# the same, above which the search has surely ended at a residual variance of its own
SUSPICIOUS = 1e-3
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


def fit_model(
    formula: str,
    data: Any,
    *,
    reml: bool,
    weights: str | ArrayLike | None,
    offset: str | ArrayLike | None,
    contrasts: Mapping[str, Any] | None,
    start: ArrayLike | None,
    random: bool,
    progress: bool | None = None,
) -> Fit:
    """Fit a model with (`random`) or without random terms; see `mixedmodels.lmer`."""
    if not isinstance(reml, bool | np.bool_):
        raise ModelError(f"reml must be True or False, not {reml!r}")
    if isinstance(data, CellMoments) or is_table(data):
        given = _summed(formula, data, weights, offset)
        return _fit_sums(
            formula,
            given,
            reml=reml,
            contrasts=contrasts,
            start=start,
            random=random,
            progress=progress,
        )
    data = snapshot(data)
    parsed = with_contrasts(parse(formula, column_names(data)), contrasts or {})
    _check_random(parsed, random=random)
    columns, arrays = _read(parsed, data, weights, offset)
    design, rows = build_design(parsed, columns)
    warn_shared_columns(design)
    warn_same_groups(design, rows)
    moments = collect_moments(design, rows)
    warn_constant_slopes(design, moments)
    working = make_working(design, moments)
    source = Source(
        data, frame_kind(data), columns.n_rows, columns.complete, columns.missing, arrays
    )
    options = {"contrasts": dict(contrasts or {}), "progress": progress}
    theta = (
        None
        if start is None
        else working_theta(working, design, _floats(start, "start"), rows.weight_scale)
    )
    warn_rank(design.x_names, working)
    return _optimise(
        design, rows, moments, working, source, reml=reml, start=theta, options=options
    )


def _summed(
    formula: str,
    data: Any,
    weights: str | ArrayLike | None,
    offset: str | ArrayLike | None,
) -> CellMoments:
    """The sums that a formula asks of a table outside memory, or those given."""
    if not isinstance(data, CellMoments):
        return CellMoments.from_frame(formula, data, weights=weights, offset=offset)  # type: ignore[arg-type]
    for role, value in (("weights", weights), ("offset", offset)):
        own = getattr(data, role)
        if value is not None and not (isinstance(value, str) and value == own):
            raise DataError(
                f"{role}= cannot be given for sums, which have taken it in already"
                + (f" ('{own}')" if own else "")
                + f": give it to mm.Moments.from_frame(formula, data, {role}=...)"
            )
    return data


def _fit_sums(
    formula: str,
    given: CellMoments,
    *,
    reml: bool,
    contrasts: Mapping[str, Any] | None,
    start: ArrayLike | None,
    random: bool,
    progress: bool | None,
) -> Fit:
    """Fit what was summed per cell; the fit holds no rows."""
    parsed = with_contrasts(parse(formula, given.names), contrasts or {})
    _check_random(parsed, random=random)
    design, points = cell_design(parsed, given)
    warn_shared_columns(design)
    warn_same_groups(design, points)
    moments = replace(collect_moments(design, points), n=given.n, log_weights=log_weights(given))
    warn_constant_slopes(design, moments)
    working = make_working(design, moments)
    arrays = {"weights": given.weights, "offset": given.offset}
    source = Source(
        None,
        given.kind,
        given.n_rows,
        None,
        given.missing,
        {role: name for role, name in arrays.items() if name is not None},
        given,
    )
    theta = None if start is None else _floats(start, "start")
    if theta is not None:
        theta = working_theta(working, design, theta, points.weight_scale)
    warn_rank(design.x_names, working)
    options = {"contrasts": dict(contrasts or {}), "progress": progress, "columns": given.names}
    fit = _optimise(
        design, points, moments, working, source, reml=reml, start=theta, options=options
    )
    rows = RowsNotKept(
        points.weight_scale,
        weighted=given.weights is not None,
        with_offset=given.offset is not None or bool(parsed.offsets),
        reason=SUMMED,
    )
    return replace(fit, rows=rows)


def refit(model: Fit, y: ArrayLike) -> Fit:
    """Fit the same model to another response on the same rows; see `FittedModel.refit`."""
    values = _floats(y, "the new response")
    source, rows = model.source, model.rows
    if values.ndim != 1 or len(values) not in (model.n_obs, source.n_rows):
        raise DataError(
            f"the new response has shape {values.shape}; the model has {model.n_obs} rows"
            + (f" (of {source.n_rows} given)" if source.n_rows != model.n_obs else "")
        )
    if len(values) != model.n_obs and source.complete is not None:
        values = values[source.complete]
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        raise DataError(f"the new response has {bad} values that are missing or infinite")
    if rows.offset is not None:
        values = values - rows.offset
    scaled = np.empty(len(values))
    centre, scale = standardise(values, "the new response", rows.weights, scaled)
    if scale == 0.0:
        raise DataError(f"the new response has no variance: all its values are {centre:g}")
    design = replace(model.design, y_centre=centre, y_scale=scale)
    new_rows = replace(rows, y=scaled)
    moments = with_response(design, new_rows, model.moments)
    working = respond(model.working, design, moments)
    return _optimise(
        design,
        new_rows,
        moments,
        working,
        source,
        reml=model.reml,
        start=None,
        options=model.options,
    )


def fit_submodel(model: Fit, design: Design, rows: Rows, moments: Moments, *, reml: bool) -> Fit:
    """Fit a model of fewer columns to the sums of a larger one; of how it ended it only records.

    Parameters
    ----------
    model : Fit
        The larger one.
    design : Design
        Recipes over the same base columns.
    rows, moments : Rows, Moments
        What the design asks for of the larger model's.
    reml : bool
    """
    # as for any fit, digits are looked after once a first search shows the need
    moments = replace(moments, within=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        return _optimise(
            design,
            rows,
            moments,
            make_working(design, moments),
            model.source,
            reml=reml,
            start=None,
            options=model.options,
        )


def update(
    model: Fit,
    formula: str | None = None,
    *,
    reml: bool | None = None,
    data: Any = None,
    start: ArrayLike | None = None,
) -> Fit:
    """Fit again with another formula, criterion, data or start; see `FittedModel.update`."""
    source = model.source
    if formula is None and data is None and model.has_random:
        wanted = model.reml if reml is None else reml
        theta = None if model.is_singular else model.optimum.at.theta
        if start is not None:
            theta = working_theta(
                model.working, model.design, _floats(start, "start"), model.rows.weight_scale
            )
        return _optimise(
            model.design,
            model.rows,
            model.moments,
            model.working,
            source,
            reml=wanted,
            start=theta,
            options=model.options,
        )
    arrays = {} if data is not None else source.arrays
    if data is not None and any(not isinstance(v, str) for v in source.arrays.values()):
        raise DataError(
            "the model was fitted with weights or offset given as values; they do not belong to "
            "the new data. Call lmer() with all arguments instead"
        )
    if data is not None:
        arrays = source.arrays
    if data is None and source.sums is not None:
        data, arrays = source.sums, {}
    if data is None and source.data is None:
        raise DataError("the model does not hold its data (it was loaded from a file): give data=")
    text = model.formula if formula is None else updated_formula(model.formula, formula)
    parsed = parse(text, _names(source.data if data is None else data))
    return fit_model(
        text,
        source.data if data is None else data,
        reml=bool(parsed.random)
        and ((model.reml or not model.has_random) if reml is None else reml),
        weights=arrays.get("weights"),
        offset=arrays.get("offset"),
        contrasts=model.options["contrasts"],
        start=start,
        random=bool(parsed.random),
        progress=model.options.get("progress"),
    )


def recoded(model: Fit, contrasts: Mapping[str, str]) -> tuple[Design, Rows]:
    """The design of a model with its factors coded in another way, on the same rows.

    Raises
    ------
    ModelError
        The model does not hold its data.
    """
    source = model.source
    if source.sums is not None:
        return cell_design(
            with_contrasts(parse(model.formula, source.sums.names), contrasts), source.sums
        )
    if source.data is None:
        raise ModelError(
            "this needs the data, which the model does not hold (it was loaded from a file): write "
            "the file with mm.save(model, path, data=True), or fit it again"
        )
    parsed = with_contrasts(parse(model.formula, column_names(source.data)), contrasts)
    columns, _ = _read(
        parsed, source.data, source.arrays.get("weights"), source.arrays.get("offset")
    )
    return build_design(parsed, columns)


def fit_quietly(model: Fit, sums: CellMoments) -> Fit:
    """The same model of other sums, without the warnings that it has given already."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        return _fit_sums(
            model.formula,
            sums,
            reml=model.reml,
            contrasts=model.options["contrasts"],
            start=None,
            random=model.has_random,
            progress=model.options.get("progress"),
        )


def _names(data: Any) -> tuple[str, ...] | None:
    """Columns that a dot in a formula may stand for; None where only their engine knows them."""
    if isinstance(data, CellMoments):
        return data.names
    return None if is_table(data) else column_names(data)


def updated_formula(old: str, new: str) -> str:
    """R's ``update`` shorthand: a dot stands for the old side of the formula.

    Examples
    --------
    >>> updated_formula("y ~ x + (1 | g)", ". ~ . - x")
    'y ~ x + (1 | g) - x'
    >>> updated_formula("y ~ x + (1 | g)", "log(y) ~ .")
    'log(y) ~ x + (1 | g)'
    """
    if new.count("~") != 1 or old.count("~") != 1:
        return new
    (left, right), (old_left, old_right) = new.split("~"), old.split("~")
    left = old_left.strip() if left.strip() in ("", ".") else left.strip()
    right = re.sub(r"(?<![\w.`])\.(?![\w.`])", lambda _: old_right.strip(), right.strip())
    return f"{left} ~ {right}"


def _floats(values: ArrayLike, what: str) -> Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{what} must hold numbers") from None


def _check_random(parsed: ParsedFormula, *, random: bool) -> None:
    if random and not parsed.random:
        raise FormulaError(
            f"no random-effects term such as (1 | group) in '{parsed.text}'; for a model without "
            "one use mm.lm()"
        )
    if not random and parsed.random:
        raise FormulaError(
            f"mm.lm() takes no random terms, found {parsed.random[0].text}; use mm.lmer()"
        )


def _read(
    parsed: ParsedFormula,
    data: Any,
    weights: str | ArrayLike | None,
    offset: str | ArrayLike | None,
) -> tuple[Columns, dict[str, Any]]:
    both: dict[str, Any] = {"weights": weights, "offset": offset}
    given = {name: value for name, value in both.items() if value is not None}
    arrays = {
        name: column_values(data, value, name) if isinstance(value, str) else value
        for name, value in given.items()
    }
    grouping = dict.fromkeys(v for term in parsed.random for v in term.group.variables)
    columns = read(
        data,
        parsed.covariates,
        categorical=forced_factors(parsed),
        grouping=list(grouping),
        arrays=arrays,
    )
    return columns, given


def _optimise(
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
    if start is None:
        start = theta_from_moments(design, working, moments)
    elif not _has_value(objective, start):
        raise DataError("start is out of reach: the criterion has no finite value there")
    exact = _is_exact(objective)
    if exact:
        start = np.zeros_like(start)
    if exact or not len(start):
        optimum = _stay(objective, start, exact=exact)
    else:
        found = _minimise(objective, start, watch)
        if _lacks_digits(found) and design.structure.nested and len(rows.y):
            moments = replace(moments, within=collect_within(design, rows))
            working = assemble(design, moments, working.fixed, working.terms, working.templates)
            objective = replace(objective, blocks=working.blocks)
            again = start if found is None else found.at.theta
            found = _minimise(objective, again, watch)
        if (
            found is None
            or _is_rounding(design, found, objective.nu)
            or _is_endless(objective, found)
        ):
            raise DataError(ENDLESS)
        optimum = found
    model = Fit(design, rows, moments, working, objective, optimum, source, reml, options)
    _warn_outcome(model, exact=exact)
    return model


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


def _is_exact(objective: Objective) -> bool:
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
    try:
        with one_blas_thread(active=objective.blocks.short_steps), watch() as on_evaluation:
            return minimise(objective, start, on_evaluation=on_evaluation)
    except np.linalg.LinAlgError:
        return None


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


def _lacks_digits(found: Optimum | None) -> bool:
    """Whether totals cost the criterion digits that products within groups would keep."""
    if found is None:
        return True
    value = abs(found.at.value)
    return found.at.profile.rounding > max(KEPT, KEPT * 1e-5 * value)


def _is_rounding(design: Design, optimum: Optimum, nu: int) -> bool:
    """Whether the residuals are no larger than the response's own last digit."""
    largest = abs(design.y_centre) / design.y_scale + 3.0
    return optimum.at.profile.r2 / nu < max((4.0 * EPSILON * largest) ** 2, 2.0 * LEAST)


def _is_endless(objective: Objective, optimum: Optimum) -> bool:
    """Whether a residual variance a hundred times smaller would fit as well."""
    share = optimum.at.profile.r2 / float(objective.blocks.cross[-1, -1])
    if share > SUSPICIOUS:
        return False
    try:
        farther = objective.evaluate(10.0 * optimum.at.theta).value
    except np.linalg.LinAlgError:
        return share < VANISHING
    # one residual degree of freedom would make the criterion rise by about 90; so far out, its
    # rounding may be a hundredth
    return farther < optimum.at.value + 1.0


def _stay(objective: Objective, theta: Array, *, exact: bool) -> Optimum:
    """No search: no variance parameters, or no residual to explain."""
    at = objective.evaluate(theta)
    if exact:
        at = _without_residual(objective, at)
    size = len(theta)
    verdict = "boundary optimum" if size else "optimum"
    return Optimum(at, np.zeros((size, size)), 1, 0.0, 0.0, verdict)


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
    ):
        warn(model.convergence.message, ConvergenceWarning)
    lost = model.optimum.at.profile.rounding
    if lost > LOST:
        warn(
            f"the residual standard deviation is only {model.sigma / model.design.y_scale:.1e} of "
            f"the response's: in double precision the criterion is exact to about {lost:.0e} only",
            ScaleWarning,
        )
