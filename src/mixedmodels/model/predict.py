"""Values for given rows: predictions with intervals, residuals, leverage, simulated responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from mixedmodels.arguments import check_choice
from mixedmodels.arrays import Array
from mixedmodels.design.build import covariate_table, evaluate_new, total_offset
from mixedmodels.design.frame import (
    Columns,
    column_names,
    column_values,
    frame_kind,
    read,
    to_native,
    to_series,
)
from mixedmodels.design.grouping import part_labels
from mixedmodels.engines.door import is_table
from mixedmodels.errors import DataError, ModelError, RankDeficiencyWarning, warn
from mixedmodels.likelihood.working import group_recipe
from mixedmodels.model.estimable import estimable
from mixedmodels.model.predict_table import predict_table
from mixedmodels.model.record import Fit
from mixedmodels.quantiles import t_two_sided, two_sided

Interval = Literal["confidence", "prediction"]
NewLevels = Literal["error", "zero"]

# leverage of a row that the model must fit exactly, whatever it holds
EXACT = 1.0 - 1e-10


def predict(
    fit: Fit,
    newdata: Any = None,
    *,
    random: bool | Sequence[str] = True,
    new_levels: NewLevels = "error",
    interval: Interval | None = None,
    level: float = 0.95,
    offset: ArrayLike | None = None,
) -> Any:
    """Predict the response; see `FittedModel.predict`."""
    groups = chosen_groups(fit, random=random)
    check_choice("new_levels", new_levels, ("error", "zero"))
    if interval not in (None, "confidence", "prediction"):
        raise ModelError(f"interval must be None, 'confidence' or 'prediction', not {interval!r}")
    check_level(level)
    if newdata is not None and is_table(newdata):
        if interval is not None or offset is not None:
            raise ModelError(
                "a table outside memory gets predictions alone: no interval=, and an offset that "
                "is a column named in the fit"
            )
        return predict_table(fit, newdata, groups, strict=new_levels == "error")
    if newdata is None:
        if offset is not None:
            raise ModelError("offset= is for new rows: the rows of the fit have theirs")
        mean = fit.fixed_part + (fit.random_part(groups) if groups else 0.0)
        if interval is None:
            return mean.copy()
        rows = _training_rows(fit, groups)
        return _interval_frame(fit, mean, rows, interval, level, None, None)
    columns, keep = _read_new(fit, newdata, groups, offset)
    if columns is None:
        mean, out = np.empty(0), np.empty(0)
        if interval is None:
            return _series(out, newdata, keep)
        return _empty_interval(newdata, keep)
    rows = _new_rows(fit, columns, groups, new_levels)
    mean = rows.mean
    if interval is None:
        return _series(mean, newdata, keep)
    return _interval_frame(fit, mean, rows, interval, level, newdata, keep)


def check_level(level: Any) -> None:
    """Refuse what is not a coverage.

    Raises
    ------
    ModelError
    """
    if not isinstance(level, Real) or not 0.0 < float(level) < 1.0:
        raise ModelError(f"level must lie between 0 and 1, not {level!r}")


def chosen_groups(fit: Fit, *, random: bool | Sequence[str]) -> tuple[int, ...]:
    """Positions of the grouping factors whose effects are counted."""
    if isinstance(random, bool | np.bool_):
        return tuple(range(len(fit.design.groups))) if random else ()
    names = [g.name for g in fit.design.groups]
    if not isinstance(random, Sequence):
        raise ModelError(f"random must be True, False or names of grouping factors, not {random!r}")
    wanted = [random] if isinstance(random, str) else list(random)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ModelError(
            f"random={unknown} names no grouping factor of the model; it has {', '.join(names)}"
        )
    return tuple(k for k, name in enumerate(names) if name in wanted)


class _RowsAt:
    """Rows to predict: mean, working columns and levels (-1: none) of every factor."""

    __slots__ = ("levels", "mean", "prior", "x", "z")

    def __init__(
        self, mean: Array, x: Array, levels: list[NDArray[np.intp]], z: list[Array], prior: Array
    ) -> None:
        self.mean, self.x, self.levels, self.z, self.prior = mean, x, levels, z, prior


def _training_rows(fit: Fit, groups: tuple[int, ...]) -> _RowsAt:
    x = fit.working.fixed.recipe.T @ fit.rows.base
    levels, z = [], []
    for k, terms in enumerate(fit.working.terms):
        z.append(group_recipe(terms).T @ fit.rows.base)
        codes = fit.working.orders[k][fit.rows.codes[k]]
        levels.append(codes if k in groups else np.full(fit.n_obs, -1))
    return _RowsAt(np.empty(0), x, levels, z, np.zeros(fit.n_obs))


def _read_new(
    fit: Fit, newdata: Any, groups: tuple[int, ...], offset: ArrayLike | None
) -> tuple[Columns | None, NDArray[np.bool_] | None]:
    """Complete rows of new data, and which rows those are."""
    formula = fit.design.formula
    assert formula.response is not None
    needed = [v for source in _sources(fit, groups) for v in source]
    needed += [v for e in formula.offsets for v in e.variables]
    covariates = list(dict.fromkeys(needed))
    grouping = list(dict.fromkeys(v for k in groups for v in fit.design.groups[k].variables))
    known = set(column_names(newdata))
    lost = [v for v in grouping if v not in known and v not in covariates]
    if lost:
        raise DataError(
            f"newdata lacks the grouping column{'s' if len(lost) > 1 else ''} "
            f"{', '.join(repr(v) for v in lost)}; for predictions without random effects use "
            "random=False"
        )
    n_rows = _length(newdata)
    if n_rows == 0:
        return None, np.zeros(0, bool)
    arrays: dict[str, Any] = {}
    if offset is not None:
        arrays["offset"] = offset
    elif "offset" in fit.source.arrays:
        given = fit.source.arrays["offset"]
        if not isinstance(given, str):
            raise DataError(
                "the model was fitted with an offset given as values: give offset= for the new rows"
            )
        arrays["offset"] = column_values(newdata, given, "offset", "newdata")
    forced = [v for v in covariates if v in fit.design.factors]
    try:
        columns = read(
            newdata,
            covariates,
            categorical=forced,
            grouping=grouping,
            arrays=arrays,
            what="newdata",
        )
    except DataError as error:
        if "no complete row" in str(error).lower():
            return None, np.zeros(n_rows, bool)
        raise
    for name in covariates:
        if name in columns.factors and name not in fit.design.factors:
            raise DataError(f"column '{name}' of newdata is text; in the fit it was numeric")
    return columns, columns.complete


def _length(data: Any) -> int:
    if isinstance(data, Mapping):
        first = next(iter(data.values()), ())
        return len(first) if hasattr(first, "__len__") else 1  # `read` refuses a single value
    return len(data)


def _sources(fit: Fit, groups: tuple[int, ...]) -> list[tuple[str, ...]]:
    """Columns read by the fixed part and by the chosen random terms."""
    formula = fit.design.formula
    return [formula.fixed_variables] + [
        term.variables
        for term in formula.random
        if any(set(fit.design.groups[k].variables) == set(term.group.variables) for k in groups)
    ]


def _warn_unknown(fit: Fit, x: Array) -> None:
    """Say which new rows have a mean that rests on the choice of the columns dropped."""
    if not fit.working.fixed.relations:
        return
    unknown = np.flatnonzero(~estimable(fit, x)).tolist()
    if unknown:
        dropped = [fit.design.x_names[j] for j, _ in fit.working.fixed.relations]
        warn(
            f"predictions of {len(unknown)} of {len(x)} rows (the first is row {unknown[0]}) rest "
            f"on combinations without data: the fit dropped {', '.join(dropped[:5])}"
            f"{', ...' if len(dropped) > 5 else ''}, and other columns dropped would give others",
            RankDeficiencyWarning,
        )


def _new_rows(
    fit: Fit, columns: Columns, groups: tuple[int, ...], new_levels: NewLevels
) -> _RowsAt:
    """Evaluate the design on new data."""
    design, working = fit.design, fit.working
    table = covariate_table(columns, design.factors)
    matrices: dict[str, Array] = {}

    def matrix(source: str) -> Array:
        if source not in matrices:
            matrices[source] = evaluate_new(design, source, columns, table)
        return matrices[source]

    every = matrix(design.formula.fixed)
    _warn_unknown(fit, every)
    x_user = every[:, working.fixed.kept]
    mean = x_user @ fit.beta
    offset = total_offset(design.formula, columns)
    if offset is not None:
        mean = mean + offset
    x: Array = np.asarray(solve_triangular(working.fixed.root, x_user.T, trans=1))
    levels, zs, prior = [], [], np.zeros(columns.n)
    for k, group in enumerate(design.groups):
        q = working.templates[k].q
        if k not in groups:
            levels.append(np.full(columns.n, -1))
            zs.append(np.zeros((q, columns.n)))
            continue
        code = match_levels(fit, k, columns, new_levels)
        z_user = np.concatenate(
            [
                matrix(term.source)[:, kept.kept]
                for term, kept in zip(group.terms, working.terms[k], strict=True)
            ],
            axis=1,
        ).T
        z = np.empty_like(z_user)
        start = 0
        for term in working.terms[k]:
            stop = start + len(term.kept)
            z[start:stop] = solve_triangular(term.root, z_user[start:stop], trans=1)
            start = stop
        seen = code >= 0
        at = np.maximum(code, 0)
        effect = np.einsum("qn,qn->n", z_user, fit.effects[k][:, at])
        mean = mean + np.where(seen, effect, 0.0)
        spread = fit.optimum.at.factors[k].T @ z
        prior += np.where(seen, 0.0, np.einsum("qn,qn->n", spread, spread))
        levels.append(np.where(seen, working.orders[k][at], -1))
        zs.append(z)
    return _RowsAt(mean, x, levels, zs, prior)


def match_levels(fit: Fit, k: int, columns: Columns, new_levels: NewLevels) -> NDArray[np.intp]:
    """Level of one grouping factor for each new row, matched by value; -1 where it is new.

    Raises
    ------
    DataError
        New levels, unless they are allowed.
    """
    group = fit.design.groups[k]
    position = {label: i for i, label in enumerate(group.levels)}
    parts = [columns.groups[v] for v in group.variables]
    if len(parts) == 1:
        labels = [str(level) for level in parts[0].levels]
        codes = parts[0].codes
    else:
        width = np.array([len(p.levels) for p in parts])
        combined = np.ravel_multi_index([p.codes for p in parts], tuple(width))
        distinct, codes = np.unique(combined, return_inverse=True)
        at = np.unravel_index(distinct, tuple(width))
        names = [part_labels(p) for p in parts]
        labels = [
            ":".join(name[i] for name, i in zip(names, index, strict=True))
            for index in zip(*(a.tolist() for a in at), strict=True)
        ]
    found = np.array([position.get(label, -1) for label in labels], np.intp)
    unseen = [label for label, i in zip(labels, found, strict=True) if i < 0]
    if unseen and new_levels == "error":
        shown = ", ".join(f"'{label[:60]}'" for label in unseen[:8])
        more = f" and {len(unseen) - 8} more" if len(unseen) > 8 else ""
        raise DataError(
            f"new level{'s' if len(unseen) > 1 else ''} {shown}{more} of grouping factor "
            f"'{group.name}'; new_levels='zero' predicts for an average group"
        )
    return found[codes]


def relative_variance(fit: Fit, rows: _RowsAt) -> Array:
    """Variance of ``x beta + z b`` about its prediction, divided by sigma**2 (weight one)."""
    random, right = variance_parts(fit, rows)
    vcov = fit.optimum.at.profile.vcov
    return np.asarray(random + np.einsum("pn,pn->n", right, vcov @ right))


def variance_parts(fit: Fit, rows: _RowsAt) -> tuple[Array, Array]:
    """What the variance of a row's prediction is made of.

    Returns
    -------
    random : ndarray of shape (n,)
        ``Var(z b | y)`` at known fixed effects, divided by sigma**2.
    right : ndarray of shape (p, n)
        The row's ``x - X' W Z Cov(b | y) z``; of a row of the fit, times its weight, its column of
        ``X' V^-1``.
    """
    at = fit.optimum.at
    blocks = fit.objective.blocks
    random = rows.prior.copy()
    right = rows.x
    if fit.has_random:
        scaled = [
            np.where(level >= 0, factor.T @ z, 0.0)
            for level, factor, z in zip(rows.levels, at.factors, rows.z, strict=True)
        ]
        random += blocks.half_solve(at.reduced, at.factors, rows.levels, rows.z)
        p = right.shape[0]
        for u, level, s in zip(
            blocks.spherical(at.reduced, at.factors), rows.levels, scaled, strict=True
        ):
            place = np.maximum(level, 0)
            for i in range(len(s)):
                right = right - u[i, :p][:, place] * s[i]
    return random, right


def _interval_frame(
    fit: Fit,
    mean: Array,
    rows: _RowsAt,
    interval: Interval,
    level: float,
    newdata: Any,
    keep: NDArray[np.bool_] | None,
) -> Any:
    """Prediction, standard error and limits, one row per row given."""
    variance = relative_variance(fit, rows) * (fit.residual_scale * fit.design.y_scale) ** 2
    if interval == "prediction":
        variance = variance + fit.sigma**2
    se = np.sqrt(variance)
    normal = fit.has_random
    quantile = two_sided(level) if normal else float(t_two_sided(level, fit.df_resid))
    columns = {
        "prediction": mean,
        "std_error": se,
        "conf_low": mean - quantile * se,
        "conf_high": mean + quantile * se,
    }
    return _frame(fit, columns, newdata, keep)


def _frame(
    fit: Fit, columns: dict[str, Array], newdata: Any, keep: NDArray[np.bool_] | None
) -> Any:
    """Columns as a frame of the kind (and index) of the new data, NaN in incomplete rows."""
    if newdata is None:
        return to_native(columns, fit.source.kind)
    full = {name: _stretch(values, keep) for name, values in columns.items()}
    kind = frame_kind(newdata)
    frame = to_native(full, kind)
    if kind == "pandas" and not isinstance(newdata, dict):
        frame.index = newdata.index
    return frame


def _stretch(values: Array, keep: NDArray[np.bool_] | None) -> Array:
    if keep is None:
        return values
    out = np.full(len(keep), np.nan)
    out[keep] = values
    return out


def _series(values: Array, newdata: Any, keep: NDArray[np.bool_] | None) -> Any:
    return to_series(_stretch(values, keep), newdata, name="prediction")


def _empty_interval(newdata: Any, keep: NDArray[np.bool_] | None) -> Any:
    names = ("prediction", "std_error", "conf_low", "conf_high")
    full = {name: _stretch(np.empty(0), keep) for name in names}
    return to_native(full, frame_kind(newdata))


def training_parts(fit: Fit) -> tuple[Array, Array]:
    """`variance_parts` of the rows of the fit."""
    every = tuple(range(len(fit.design.groups)))
    return variance_parts(fit, _training_rows(fit, every))


def leverage(fit: Fit) -> Array:
    """Diagonal of the matrix that maps y to the fitted values, shape (n,)."""
    random, right = training_parts(fit)
    vcov = fit.optimum.at.profile.vcov
    variance = np.asarray(random + np.einsum("pn,pn->n", right, vcov @ right))
    return variance if fit.rows.weights is None else variance * fit.rows.weights


KINDS = ("response", "marginal", "pearson", "scaled", "standardized", "studentized")


def residuals(fit: Fit, kind: str = "response") -> Array:
    """Residuals of the rows used; see `FittedModel.residuals`."""
    kind = check_choice("kind", kind, KINDS)
    if kind == "response":
        return fit.response - fit.fitted
    if kind == "marginal":
        return fit.response - fit.fixed_part
    if kind in ("standardized", "studentized"):
        return studentised(fit, leverage(fit))[kind == "studentized"]
    return fit.pearson_residuals if kind == "pearson" else fit.pearson_residuals / fit.sigma


def cooks_distance(fit: Fit, hat: Array) -> Array:
    """Cook's distance of each row with the variance parameters held, shape (n,).

    NaN in rows that the model must fit exactly.
    """
    left = np.where(hat < EXACT, 1.0 - hat, np.nan)
    p = max(1, len(fit.working.fixed.kept))
    return np.asarray(np.square(residuals(fit, "scaled") / left) * hat / p)


def studentised(fit: Fit, hat: Array) -> tuple[Array, Array]:
    """Residuals over their own standard errors, relative variances held.

    Returns
    -------
    standardised, studentised : ndarray of shape (n,)
        With sigma of the fit, and with that of the fit without the row. NaN in rows that the model
        must fit exactly.
    """
    left = np.where(hat < EXACT, 1.0 - hat, np.nan)
    inner = residuals(fit, "scaled") / np.sqrt(left)
    df = sigma_df(fit)
    with np.errstate(divide="ignore", invalid="ignore"):
        return inner, inner * np.sqrt((df - 1.0) / (df - inner**2))


def sigma_df(fit: Fit) -> int:
    """What the residual sum of squares is divided by for sigma**2."""
    divisor = fit.reml or not fit.has_random
    return fit.n_obs - len(fit.working.fixed.kept) if divisor else fit.n_obs


def simulate(
    fit: Fit,
    n: int,
    seed: int | np.random.Generator | np.random.SeedSequence | None,
    *,
    conditional: bool = False,
) -> Array:
    """Draw responses from the fitted model; see `FittedModel.simulate`."""
    if n < 1:
        raise ModelError(f"n must be at least 1, not {n}")
    try:
        rng = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise ModelError(f"seed={seed!r} cannot seed a generator: {error}") from None
    out = np.empty((n, fit.n_obs))
    noise_sd: Any = fit.sigma
    if fit.rows.weights is not None:
        noise_sd = fit.sigma / np.sqrt(fit.rows.weights * fit.rows.weight_scale)
    centre = fit.fitted if conditional else fit.fixed_part
    working_sd = fit.residual_scale
    for i in range(n):
        y = centre + noise_sd * rng.standard_normal(fit.n_obs)
        if not conditional:
            for k, factor in enumerate(fit.optimum.at.factors):
                n_levels = len(fit.design.groups[k].levels)
                b = factor @ rng.standard_normal((len(factor), n_levels)) * working_sd
                y = y + fit.spread(k, b)
        out[i] = y
    return out
