"""Results as data frames of the kind that came in."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mixedmodels.arguments import check_choice
from mixedmodels.arrays import Array
from mixedmodels.design.frame import attach, to_native
from mixedmodels.errors import ModelError
from mixedmodels.inference.kenward_roger import coefficient_tests
from mixedmodels.inference.satterthwaite import degrees_of_freedom
from mixedmodels.model.predict import (
    check_level,
    cooks_distance,
    leverage,
    residuals,
    studentised,
)
from mixedmodels.model.record import Fit
from mixedmodels.model.rows import SUMMED
from mixedmodels.quantiles import t_probability, t_two_sided, two_sided

# how tests of coefficients may choose their degrees of freedom
DDF = ("satterthwaite", "kenward-roger", "none")


def fixef(fit: Fit) -> Any:
    """Fixed effects: term, estimate."""
    return to_native({"term": fit.term_names, "estimate": fit.beta}, fit.source.kind)


def tidy(fit: Fit, ddf: str, level: float) -> Any:
    """Coefficient table; see `FittedModel.tidy`."""
    check_level(level)
    ddf = check_choice("ddf", ddf, DDF)
    se, df = standard_errors(fit, ddf)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = fit.beta / se
    p_value = np.full(len(se), math.nan)
    quantile: Any = two_sided(level)
    if ddf != "none" or not fit.has_random:
        p_value = t_probability(statistic, df)
        quantile = t_two_sided(level, df)
    return to_native(
        {
            "term": fit.term_names,
            "estimate": fit.beta,
            "std_error": se,
            "statistic": statistic,
            "df": df,
            "p_value": p_value,
            "conf_low": fit.beta - quantile * se,
            "conf_high": fit.beta + quantile * se,
        },
        fit.source.kind,
    )


def standard_errors(fit: Fit, ddf: str) -> tuple[Array, Array]:
    """Standard errors and degrees of freedom of the coefficients; nan where there are none.

    Raises
    ------
    ModelError
        An unknown `ddf`.
    """
    ddf = check_choice("ddf", ddf, DDF)
    p, se = len(fit.beta), np.sqrt(np.diag(fit.vcov))
    if not fit.has_random:
        return se, np.full(p, float(fit.df_resid))
    if ddf == "none" or not p:
        return se, np.full(p, math.nan)
    if ddf == "satterthwaite":
        return se, degrees_of_freedom(fit, np.eye(p))
    return coefficient_tests(fit)


def ranef(fit: Fit) -> Any:
    """Conditional modes: group, level, term, estimate, std_error."""
    groups: list[str] = []
    levels: list[str] = []
    terms: list[str] = []
    estimates, errors = [np.empty(0)], [np.empty(0)]
    for k, group in enumerate(fit.design.groups):
        names = kept_names(fit, k)
        n_levels, q = len(group.levels), len(names)
        groups += [group.name] * (n_levels * q)
        levels += [level for level in group.levels for _ in range(q)]
        terms += names * n_levels
        estimates.append(fit.effects[k].T.ravel())
        variances = np.einsum("aal->la", fit.effect_covariances[k])
        errors.append(np.sqrt(np.maximum(variances, 0.0)).ravel())
    return to_native(
        {
            "group": groups,
            "level": levels,
            "term": terms,
            "estimate": np.concatenate(estimates),
            "std_error": np.concatenate(errors),
        },
        fit.source.kind,
    )


def coef(fit: Fit) -> Any:
    """Fixed plus random effects of every level: group, level, term, estimate."""
    groups: list[str] = []
    levels: list[str] = []
    terms: list[str] = []
    estimates = [np.empty(0)]
    fixed = dict(zip(fit.term_names, fit.beta.tolist(), strict=True))
    for k, group in enumerate(fit.design.groups):
        names = kept_names(fit, k)
        every = list(dict.fromkeys([*fit.term_names, *names]))
        n_levels = len(group.levels)
        total = np.zeros((n_levels, len(every)))
        total += [fixed.get(name, 0.0) for name in every]
        for name, effect in zip(names, fit.effects[k], strict=True):
            total[:, every.index(name)] += effect
        groups += [group.name] * (n_levels * len(every))
        levels += [level for level in group.levels for _ in every]
        terms += every * n_levels
        estimates.append(total.ravel())
    return to_native(
        {"group": groups, "level": levels, "term": terms, "estimate": np.concatenate(estimates)},
        fit.source.kind,
    )


def kept_names(fit: Fit, k: int) -> list[str]:
    """Names of the identified columns of one grouping factor, all terms in turn."""
    return [
        term.names[j]
        for term, kept in zip(fit.design.groups[k].terms, fit.working.terms[k], strict=True)
        for j in kept.kept
    ]


def varcorr(fit: Fit) -> Any:
    """Variances, standard deviations and correlations, one row per column, residual last."""
    groups: list[str] = []
    terms: list[str] = []
    variances: list[float] = []
    correlations: dict[str, dict[int, float]] = {}
    for k, t in fit.design.theta_order:
        names = fit.design.groups[k].terms[t].names
        factor = fit.term_factor(k, t) * fit.sigma
        covariance = factor @ factor.T
        sd = np.sqrt(np.diag(covariance))
        for i, name in enumerate(names):
            row = len(groups)
            groups.append(fit.design.groups[k].name)
            terms.append(name)
            variances.append(float(covariance[i, i]))
            for j in range(i):
                product = float(sd[i] * sd[j])
                value = float(covariance[i, j]) / product if product > 0 else math.nan
                correlations.setdefault(f"corr_{names[j]}", {})[row] = float(
                    np.clip(value, -1.0, 1.0)
                )
    groups.append("Residual")
    terms.append("")
    variances.append(fit.sigma**2)
    columns: dict[str, Any] = {
        "group": groups,
        "term": terms,
        "variance": np.array(variances),
        "sd": np.sqrt(np.array(variances)),
    }
    for name, values in correlations.items():
        column = np.full(len(groups), math.nan)
        for row, value in values.items():
            column[row] = value
        columns[name] = column
    return to_native(columns, fit.source.kind)


def glance(fit: Fit) -> Any:
    """One row of model-level figures."""
    missing = math.nan
    return to_native(
        {
            "n_obs": [fit.n_obs],
            "n_dropped": [fit.source.n_rows - fit.n_obs],
            "n_params": [fit.n_params],
            "df_resid": [fit.df_resid],
            "sigma": [fit.sigma],
            "loglik": [fit.loglik],
            "aic": [fit.aic],
            "aicc": [fit.aicc],
            "bic": [fit.bic],
            "deviance": [missing if fit.deviance is None else fit.deviance],
            "reml_criterion": [missing if fit.reml_criterion is None else fit.reml_criterion],
            "converged": [fit.converged],
            "is_singular": [fit.is_singular],
        },
        fit.source.kind,
    )


def augment(fit: Fit) -> Any:
    """The data with row-wise results; see `FittedModel.augment`."""
    if fit.source.sums is not None:
        raise ModelError(SUMMED)
    if fit.source.data is None:
        raise ModelError(
            "the model does not hold its data (it was loaded from a file); "
            "use predict(newdata) instead"
        )
    hat = leverage(fit)
    columns = {
        "fitted": fit.fitted,
        "fitted_fixed": fit.fixed_part,
        "residual": residuals(fit),
        "leverage": hat,
        "cooks_distance": cooks_distance(fit, hat),
    }
    if not fit.has_random:
        columns["std_residual"], columns["student_residual"] = studentised(fit, hat)
    return attach(fit.source.data, fit.source.complete, columns)
