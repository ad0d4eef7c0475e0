"""Run the steps from a formula and a frame to a fit, nothing more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixedmodels.arrays import Array
from mixedmodels.design.basis import standardise
from mixedmodels.design.build import Design, Rows, build_design
from mixedmodels.design.checks import (
    warn_fixed_groups,
    warn_levels,
    warn_same_groups,
    warn_shared_columns,
)
from mixedmodels.design.contrasts import forced_factors, with_contrasts
from mixedmodels.design.frame import (
    Columns,
    check_order,
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
    DataError,
    FormulaError,
    ModelError,
    quiet,
)
from mixedmodels.formula.parse import parse
from mixedmodels.formula.terms import ParsedFormula
from mixedmodels.likelihood.working import make_working, respond, working_theta
from mixedmodels.model.record import Fit, Source
from mixedmodels.model.rows import SUMMED, RowsNotKept
from mixedmodels.model.search import may_have_several_optima, optimise, warn_rank
from mixedmodels.moments.checks import warn_constant_slopes
from mixedmodels.moments.cross_products import Moments
from mixedmodels.moments.memory import collect_moments, with_response


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
        given = _summed(formula, data, weights, offset, progress=progress)
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
    columns, arrays = read_columns(parsed, data, weights, offset)
    design, rows = build_design(parsed, columns)
    warn_shared_columns(design)
    warn_same_groups(design, rows)
    warn_fixed_groups(design)
    warn_levels(design, columns.n)
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
    return optimise(design, rows, moments, working, source, reml=reml, start=theta, options=options)


def _summed(
    formula: str,
    data: Any,
    weights: str | ArrayLike | None,
    offset: str | ArrayLike | None,
    *,
    progress: bool | None,
) -> CellMoments:
    """The sums that a formula asks of a table outside memory, or those given."""
    roles = {"weights": weights, "offset": offset}
    if not isinstance(data, CellMoments):
        for role, value in roles.items():
            if value is not None and not isinstance(value, str):
                raise DataError(
                    f"{role} of a table outside memory must be the name of a column, not values: "
                    "add them to the table"
                )
        return CellMoments.from_frame(formula, data, progress=progress, **roles)  # type: ignore[arg-type]
    for role, value in roles.items():
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
    warn_fixed_groups(design)
    warn_levels(design, given.n)
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
    fit = optimise(
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
    index = getattr(source.data, "index", None)
    if source.complete is not None and len(values) == model.n_obs:
        index = None if index is None else index[source.complete]
    check_order(y, index, "the new response", "the data")
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
    return optimise(
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
    with quiet():
        return optimise(
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
        again = model.is_singular or may_have_several_optima(model.design)
        theta = None if again else model.optimum.at.theta
        if start is not None:
            theta = working_theta(
                model.working, model.design, _floats(start, "start"), model.rows.weight_scale
            )
        return optimise(
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
    contrasts = model.options["contrasts"]
    return fit_model(
        text,
        source.data if data is None else data,
        reml=bool(parsed.random)
        and ((model.reml or not model.has_random) if reml is None else reml),
        weights=arrays.get("weights"),
        offset=arrays.get("offset"),
        contrasts={f: how for f, how in contrasts.items() if f in parsed.covariates},
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
    columns, _ = read_columns(
        parsed, source.data, source.arrays.get("weights"), source.arrays.get("offset")
    )
    return build_design(parsed, columns)


def fit_quietly(model: Fit, sums: CellMoments) -> Fit:
    """The same model of other sums, without the warnings that it has given already."""
    with quiet():
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
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        given = np.asarray(values)
        if given.dtype.kind == "c":
            raise TypeError  # else the imaginary part goes with a warning only
        return given.astype(np.float64, copy=False)
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


def read_columns(
    parsed: ParsedFormula,
    data: Any,
    weights: str | ArrayLike | None,
    offset: str | ArrayLike | None,
) -> tuple[Columns, dict[str, Any]]:
    """What a formula asks of a frame, on complete rows; and the weights and offset as given."""
    both = {"weights": weights, "offset": offset}
    # copies: an update reads them again, whatever the user has done to theirs
    given: dict[str, Any] = {name: copy(value) for name, value in both.items() if value is not None}
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
