"""Model averaging: coefficients and predictions of several models, weighted by a criterion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import frame_kind, to_native
from mixedmodels.errors import DataWarning, MixedModelsError, ModelError, warn
from mixedmodels.inference.compare import Criterion, Models, quoted, rank
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.predict import NewLevels, check_level
from mixedmodels.model.record import Fit
from mixedmodels.quantiles import two_sided

UncondSE: TypeAlias = Literal["revised", "old"]

# a colon outside brackets and parentheses separates the factors of an interaction
_PIECES = re.compile(r"(?:\[[^\]]*\]|\([^)]*\)|[^:\[(])+")


@checked
def model_avg(
    models: Models,
    *,
    ic: Criterion = "aicc",
    full: bool = False,
    uncond_se: UncondSE = "revised",
    level: float = 0.95,
) -> Any:
    """Average the fixed effects of several models.

    Parameters
    ----------
    models : mapping of str to FittedModel, or sequence of FittedModel
        Models of the same response on the same rows.
    ic : {"aicc", "aic", "bic"}, default "aicc"
        Criterion that weighs the models, as in `aictab`.
    full : bool, default False
        Average each coefficient over the models that have it (conditional, or subset, average), or
        over all models, counting it as zero where it is absent (full average, or zero method).
    uncond_se : {"revised", "old"}, default "revised"
        Unconditional standard error, see Notes.
    level : float, default 0.95
        Coverage of the limits, which use the normal distribution.

    Returns
    -------
    frame
        term, estimate, std_error (unconditional), conf_low, conf_high, n_models (that have the
        term), weight (their summed weights: the relative importance of the term). ``a:b`` and
        ``b:a`` are one term.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        What `aictab` refuses; an unknown `ic` or `uncond_se`; a level outside (0, 1).

    Warns
    -----
    DataWarning
        A coefficient means different things in different models, because only some of them have an
        interaction or a power with its variable. To average over some of the models, give those.

    Notes
    -----
    With estimates b_i, standard errors s_i, weights w_i (of sum one over the models averaged) and
    ``b = sum(w_i b_i)``, the standard error is ``sqrt(sum(w_i (s_i^2 + (b_i - b)^2)))``, revised,
    or ``sum(w_i sqrt(s_i^2 + (b_i - b)^2))``, old (Burnham and Anderson 2002, eqs. 6.12 and 4.9).

    Estimates are those of the models as given. Where these are REML fits with different fixed
    parts, the weights are those of their refits by maximum likelihood.

    References
    ----------
    Burnham, K. P. and Anderson, D. R. (2002). Model Selection and Multimodel Inference, 2nd ed.
    Lukacs, P. M., Burnham, K. P. and Anderson, D. R. (2010), Ann. Inst. Stat. Math. 62, 117-125.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m = mm.lmer("BW ~ time + (time | animal)", piglets, reml=False)
    >>> mm.model_avg({"L": m, "LT": m.update(". ~ . + treatm")}).round(3).head(3)
              term  estimate  std_error  conf_low  conf_high  n_models  weight
    0    Intercept     7.361      0.145     7.077      7.644         2   1.000
    1         time     0.278      0.009     0.260      0.295         2   1.000
    2  treatm[T.2]    -0.043      0.442    -0.910      0.824         1   0.015
    """
    check_level(level)
    _check_uncond_se(uncond_se)
    ranking = rank(models, ic, "model_avg")
    fits = list(ranking.given.values())
    _warn_other_meaning(fits)
    names, estimates, errors = _coefficients(fits)
    present = ~np.isnan(estimates)
    counted = np.ones_like(present) if full else present
    weights = _weights(ranking.values, counted)
    mean, se = _average(
        np.where(present, estimates, 0.0), np.where(present, errors, 0.0), weights, uncond_se
    )
    reach = two_sided(level) * se
    return to_native(
        {
            "term": names,
            "estimate": mean,
            "std_error": se,
            "conf_low": mean - reach,
            "conf_high": mean + reach,
            "n_models": present.sum(axis=0, dtype=np.int64),
            "weight": ranking.weights @ present,
        },
        fits[0].source.kind,
    )


@checked
def model_avg_predict(
    models: Models,
    newdata: Any = None,
    *,
    ic: Criterion = "aicc",
    random: bool | Sequence[str] = False,
    new_levels: NewLevels = "error",
    uncond_se: UncondSE = "revised",
    level: float = 0.95,
    offset: ArrayLike | None = None,
) -> Any:
    """Average the predictions of several models.

    Parameters
    ----------
    models : mapping of str to FittedModel, or sequence of FittedModel
        Models of the same response on the same rows.
    newdata : data frame, optional
        With the columns of all models. The rows of the fit by default.
    ic : {"aicc", "aic", "bic"}, default "aicc"
    random : bool or sequence of str, default False
        Random effects counted: none (population predictions), all, or those of the named grouping
        factors.
    new_levels : {"error", "zero"}
        As in `FittedModel.predict`.
    uncond_se : {"revised", "old"}, default "revised"
        As in `model_avg`.
    level : float, default 0.95
    offset : array-like, optional
        As in `FittedModel.predict`.

    Returns
    -------
    frame
        prediction, std_error (unconditional: the spread of the models counts), conf_low, conf_high;
        with the index of a pandas frame. Rows with a missing value in a column of any model give
        NaN.

    Raises
    ------
    TypeError, ModelError
        As `model_avg`.
    DataError
        As `FittedModel.predict`; the message names the model.

    Notes
    -----
    Predictions mean the same in all models, where coefficients often do not, so that they are the
    safer thing to average. Every model counts, with the weights of `aictab`.

    References
    ----------
    Burnham, K. P. and Anderson, D. R. (2002). Model Selection and Multimodel Inference, 2nd ed.,
    section 4.2.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m = mm.lmer("BW ~ time + (time | animal)", piglets, reml=False)
    >>> both = {"L": m, "Q": m.update(". ~ . + I(time^2)")}
    >>> mm.model_avg_predict(both, {"time": [3, 17]}).round(3)
       prediction  std_error  conf_low  conf_high
    0       8.163      0.145     7.880      8.447
    1      11.987      0.215    11.565     12.409
    """
    check_level(level)
    _check_uncond_se(uncond_se)
    ranking = rank(models, ic, "model_avg_predict")
    frames = []
    for name, fit in ranking.given.items():
        try:
            frames.append(
                fit.predict(
                    newdata,
                    random=random,
                    new_levels=new_levels,
                    interval="confidence",
                    offset=offset,
                )
            )
        except MixedModelsError as error:
            raise type(error)(f"{quoted(name)}: {error}") from error
    values = np.array([np.asarray(frame["prediction"], float) for frame in frames])
    errors = np.array([np.asarray(frame["std_error"], float) for frame in frames])
    mean, se = _average(values, errors, ranking.weights[:, None], uncond_se)
    reach = two_sided(level) * se
    first = next(iter(ranking.given.values()))
    kind = first.source.kind if newdata is None else frame_kind(newdata)
    out = to_native(
        {
            "prediction": mean,
            "std_error": se,
            "conf_low": mean - reach,
            "conf_high": mean + reach,
        },
        kind,
    )
    if kind == "pandas":
        out.index = frames[0].index
    return out


def _check_uncond_se(uncond_se: Any) -> None:
    if uncond_se not in ("revised", "old"):
        raise ModelError(f"uncond_se must be 'revised' or 'old', not {uncond_se!r}")


def _weights(values: Array, counted: Any) -> Array:
    """Akaike weights among the models counted for each column; shape (m, k), columns sum to one."""
    column = np.where(counted, values[:, None], np.inf)
    weights = np.exp((column.min(axis=0) - column) / 2.0)
    return np.asarray(weights / weights.sum(axis=0))


def _average(
    estimates: Array, errors: Array, weights: Array, uncond_se: UncondSE
) -> tuple[Array, Array]:
    """Weighted mean over models (rows) and its unconditional standard error."""
    mean = (weights * estimates).sum(axis=0)
    squares = np.square(errors) + np.square(estimates - mean)
    if uncond_se == "old":
        return mean, (weights * np.sqrt(squares)).sum(axis=0)
    return mean, np.sqrt((weights * squares).sum(axis=0))


# --- terms of different models --------------------------------------------------------------------


def _coefficients(fits: Sequence[FittedModel]) -> tuple[list[str], Array, Array]:
    """Names, and estimates and standard errors of shape (m, k), nan where a model has no such."""
    names: dict[frozenset[str] | str, str] = {}
    for fit in fits:
        for name in fit.term_names:
            names.setdefault(_key(name), name)
    position = {key: i for i, key in enumerate(names)}
    estimates = np.full((len(fits), len(names)), np.nan)
    errors = estimates.copy()
    for i, fit in enumerate(fits):
        at = [position[_key(name)] for name in fit.term_names]
        estimates[i, at], errors[i, at] = fit.beta, np.sqrt(np.diag(fit.vcov))
    return list(names.values()), estimates, errors


def _key(name: str) -> frozenset[str] | str:
    """The same for ``a:b`` and ``b:a``.

    Examples
    --------
    >>> _key("time:treatm[T.a:b]") == _key("treatm[T.a:b]:time") != _key("time")
    True
    """
    pieces = _PIECES.findall(name)
    return frozenset(pieces) if len(pieces) > 1 and ":".join(pieces) == name else name


def _warn_other_meaning(fits: Sequence[Fit]) -> None:
    """Say which coefficients stand beside their interactions or powers in some models only."""
    seen: dict[str, list[frozenset[str]]] = {}
    for fit in fits:
        variables = _term_variables(fit)
        for name, own in variables.items():
            beside = frozenset(n for n, v in variables.items() if n != name and v >= own)
            seen.setdefault(name, []).append(beside)
    changing = {
        name: frozenset.union(*sets) - frozenset.intersection(*sets) for name, sets in seen.items()
    }
    affected = [name for name in seen if changing[name]]
    if affected:
        others = sorted(frozenset().union(*changing.values()))
        warn(
            f"the coefficients of {_some(affected)} mean something else beside {_some(others)}, "
            "which only some of the models have, and their average mixes both. Average models "
            "that are alike in this, or predictions (mm.model_avg_predict)",
            DataWarning,
        )


def _some(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(map(quoted, names[:most])) + (", ..." if len(names) > most else "")


def _term_variables(fit: Fit) -> Mapping[str, frozenset[str]]:
    """Fixed terms but the constant, in one spelling, and the variables that they read."""
    formula, spec = fit.design.formula, fit.design.specs[fit.design.formula.fixed]
    found = {}
    for part in spec.structure:
        names = sorted(formula.labels.get(f.expr, f.expr) for f in part.term.factors)
        read = {str(v) for v in spec.term_variables[part.term]} & set(formula.covariates)
        if read:
            found[":".join(names)] = frozenset(read)
    return found
