"""The variance parameters that people read: standard deviations, correlations, sigma.

They stand in the order of theta: for each random term the lower triangle column by column, with a
standard deviation for a diagonal entry and a correlation for one below it; sigma is the last.
Columns whose variance is not identified have none.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.likelihood.covariance import theta_from_factors
from mixedmodels.model.record import Fit


@dataclass(frozen=True, slots=True)
class Parameter:
    """One variance parameter.

    Attributes
    ----------
    name : str
        ``sd_time|animal``, ``cor_time.Intercept|animal`` or ``sigma``.
    kind : {"sd", "cor", "sigma"}
    group : int
        Grouping factor; -1 for sigma.
    row, col : int
        Columns of the factor's ``Lambda`` (working units) that it belongs to; -1 for sigma.
    """

    name: str
    kind: Literal["sd", "cor", "sigma"]
    group: int
    row: int
    col: int


def parameters(fit: Fit) -> list[Parameter]:
    """All variance parameters of a fit, sigma last."""
    found: list[Parameter] = []
    seen: Counter[str] = Counter()
    for group, term in fit.design.theta_order:
        label = fit.design.groups[group].name
        columns = fit.design.groups[group].terms[term].names
        kept = [columns[j] for j in fit.working.terms[group][term].kept]
        first = fit.working.templates[group].parts[term].start
        for j in range(len(kept)):
            for i in range(j, len(kept)):
                name = f"sd_{kept[j]}|{label}" if i == j else f"cor_{kept[i]}.{kept[j]}|{label}"
                # the same column in two terms of one factor
                number = f".{seen[name]}" if seen[name] else ""
                seen[name] += 1
                kind: Literal["sd", "cor"] = "sd" if i == j else "cor"
                found.append(Parameter(name + number, kind, group, first + i, first + j))
    return [*found, Parameter("sigma", "sigma", -1, -1, -1)]


def names(fit: Fit) -> list[str]:
    """Names of the variance parameters, as lme4 writes them with our names of terms.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    list of str
        ``["sd_Intercept|animal", "cor_time.Intercept|animal", "sd_time|animal", "sigma"]``.
    """
    return [parameter.name for parameter in parameters(fit)]


def values(fit: Fit) -> Array:
    """Estimates in the order of `names`, in the user's units; shape (k,)."""
    theta = theta_from_factors(fit.working.templates, fit.optimum.at.factors)
    unit = fit.design.y_scale * np.sqrt(fit.rows.weight_scale)
    return np.asarray(from_theta(fit, theta[None], np.array([fit.sigma / unit]))[0])


def from_theta(fit: Fit, theta: Array, sigma: Array) -> Array:
    """Variance parameters of many sets of working values.

    Parameters
    ----------
    fit : Fit
    theta : ndarray of shape (B, m)
        Working theta, as the objective takes it.
    sigma : ndarray of shape (B,)
        Residual standard deviation in working units.

    Returns
    -------
    ndarray of shape (B, k)
        In the order of `names` and the user's units; the correlation with a column of no variance
        is nan.
    """
    theta, sigma = np.asarray(theta, float), np.asarray(sigma, float)
    every = parameters(fit)
    out = np.empty((len(sigma), len(every)))
    roots = _user_factors(fit, theta)
    for at, parameter in enumerate(every[:-1]):
        a, b = roots[parameter.group][:, parameter.row], roots[parameter.group][:, parameter.col]
        if parameter.kind == "sd":
            # the scale of prior weights is in sigma and, inverted, in Lambda
            out[:, at] = np.sqrt(np.square(a).sum(axis=1)) * sigma * fit.design.y_scale
            continue
        lengths = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
        product = np.einsum("bq,bq->b", a, b)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[:, at] = np.clip(product / lengths, -1.0, 1.0)
    out[:, -1] = sigma * (fit.design.y_scale * np.sqrt(fit.rows.weight_scale))
    return out


def _user_factors(fit: Fit, theta: Array) -> list[NDArray[np.float64]]:
    """Relative factor of every grouping factor in the user's columns, (B, q, q)."""
    out, start = [], 0
    for template, terms in zip(fit.working.templates, fit.working.terms, strict=True):
        stop = start + template.n_theta
        factor = np.zeros((len(theta), template.q, template.q))
        factor[:, template.rows, template.cols] = theta[:, start:stop]
        for part, term in zip(template.parts, terms, strict=True):
            if len(term.kept):
                factor[:, part, part] = np.linalg.solve(term.root, factor[:, part, part])
        out.append(factor)
        start = stop
    return out
