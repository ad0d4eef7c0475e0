"""The variance parameters that people read: standard deviations, correlations, sigma.

They stand in the order of theta: for each random term the lower triangle column by column, with a
standard deviation for a diagonal entry and a correlation for one below it; sigma is the last.
Columns whose variance is not identified have none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
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
    terms = []
    for group, term in fit.design.theta_order:
        label = fit.design.groups[group].name
        columns = fit.design.groups[group].terms[term].names
        kept = [columns[j] for j in fit.working.terms[group][term].kept]
        terms.append((label, kept, group, fit.working.templates[group].parts[term].start))
    return of_terms(terms)


def of_terms(terms: Sequence[tuple[str, Sequence[str], int, int]]) -> list[Parameter]:
    """All variance parameters of some terms, sigma last.

    Parameters
    ----------
    terms : sequence of (str, sequence of str, int, int)
        Of each random term the name of its grouping factor, its columns, the place of the factor,
        and of the term's first column in the factor's ``Lambda``.
    """
    found: list[Parameter] = []
    seen: Counter[str] = Counter()
    for label, kept, group, first in terms:
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
    return from_factors(fit, _lower(fit, np.asarray(theta, float)), np.asarray(sigma, float))


def from_factors(fit: Fit, factors: Sequence[Array], sigma: Array) -> Array:
    """The same from square roots of the relative covariances, (B, q, q) per grouping factor."""
    # the scale of prior weights is in sigma and, inverted, in Lambda
    unit = fit.design.y_scale
    total = sigma * (unit * np.sqrt(fit.rows.weight_scale))
    return from_rows(parameters(fit), _user_rows(fit, factors), sigma * unit, total)


def from_rows(
    every: Sequence[Parameter], roots: Sequence[Array], unit: Array, sigma: Array
) -> Array:
    """The same from roots in the user's columns.

    Parameters
    ----------
    every : sequence of Parameter
    roots : sequence of ndarray of shape (B, q, q)
        Per grouping factor; the square of a row is a relative variance.
    unit : ndarray of shape (B,)
        Standard deviation of an effect of relative variance one.
    sigma : ndarray of shape (B,)
    """
    out = np.empty((len(sigma), len(every)))
    for at, parameter in enumerate(every[:-1]):
        a, b = roots[parameter.group][:, parameter.row], roots[parameter.group][:, parameter.col]
        if parameter.kind == "sd":
            out[:, at] = np.sqrt(np.square(a).sum(axis=1)) * unit
            continue
        lengths = np.sqrt(np.square(a).sum(axis=1) * np.square(b).sum(axis=1))
        product = np.einsum("bq,bq->b", a, b)
        with np.errstate(divide="ignore", invalid="ignore"):
            out[:, at] = np.clip(product / lengths, -1.0, 1.0)
    out[:, -1] = sigma
    return out


def chosen(fit: Fit, parm: str | Sequence[str] | None) -> list[int]:
    """Positions of the parameters asked for, among `names` followed by the fixed effects.

    Parameters
    ----------
    fit : Fit
    parm : str, sequence of str or None
        Names; ``"theta_"`` stands for all variance parameters, ``"beta_"`` for all fixed effects.

    Raises
    ------
    ModelError
        A name that the model does not have.
    """
    variances, every = names(fit), [*names(fit), *fit.term_names]
    if parm is None:
        return list(range(len(every)))
    wanted = [parm] if isinstance(parm, str) else list(parm)
    whole = {"theta_": variances, "beta_": fit.term_names}
    unknown = [name for name in wanted if name not in every and name not in whole]
    if unknown:
        raise ModelError(
            f"parm={unknown} names no parameter of the model; it has {', '.join(every)}"
        )
    named = {name for part in wanted for name in whole.get(part, [part])}
    return [i for i, name in enumerate(every) if name in named]


def slopes(fit: Fit) -> Array:
    """Derivatives of log(sd), Fisher's z of correlations and log(sigma), at the estimates.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    ndarray of shape (k, m + 1)
        In the order of `names`, by working theta and log(sigma**2). Not finite where a standard
        deviation is zero or a correlation one.
    """
    every, theta = (
        parameters(fit),
        theta_from_factors(fit.working.templates, fit.optimum.at.factors),
    )
    roots = _user_rows(fit, _lower(fit, theta[None]))
    # a small step in each theta moves the rows along these
    moves = _user_rows(fit, _lower(fit, np.eye(len(theta))))
    out = np.zeros((len(every), len(theta) + 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        for at, parameter in enumerate(every[:-1]):
            a, b = (roots[parameter.group][0, i] for i in (parameter.row, parameter.col))
            da, db = (moves[parameter.group][:, i] for i in (parameter.row, parameter.col))
            by_a, by_b = da @ a / (a @ a), db @ b / (b @ b)
            if parameter.kind == "sd":
                out[at, :-1], out[at, -1] = by_a, 0.5
                continue
            length = np.sqrt((a @ a) * (b @ b))
            cor = a @ b / length
            slope = (da @ b + db @ a) / length - cor * (by_a + by_b)
            out[at, :-1] = slope / (1.0 - cor * cor)
    out[-1, -1] = 0.5
    return out


def _lower(fit: Fit, theta: Array) -> list[NDArray[np.float64]]:
    """``Lambda`` of every grouping factor, (B, q, q), from theta (B, m)."""
    out, start = [], 0
    for template in fit.working.templates:
        stop = start + template.n_theta
        factor = np.zeros((len(theta), template.q, template.q))
        factor[:, template.rows, template.cols] = theta[:, start:stop]
        out.append(factor)
        start = stop
    return out


def _user_rows(fit: Fit, factors: Sequence[Array]) -> list[NDArray[np.float64]]:
    """Square roots of the relative covariances in the user's columns, (B, q, q)."""
    out = []
    for factor, template, terms in zip(
        factors, fit.working.templates, fit.working.terms, strict=True
    ):
        rows = np.zeros_like(factor)
        for part, term in zip(template.parts, terms, strict=True):
            if len(term.kept):
                rows[:, part, part] = np.linalg.solve(term.root, factor[:, part, part])
        out.append(rows)
    return out
