"""Comparing models of the same rows: tables of information criteria, tests of nested models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ArgumentError, DataWarning, ModelError, warn
from mixedmodels.inference.anova import (
    describe_outside,
    fixed_outside,
    random_outside,
    same_fixed_part,
    sequential_table,
)
from mixedmodels.inference.boundary import at_boundary
from mixedmodels.inference.ftable import f_table, kind_of
from mixedmodels.inference.same_sums import on_same_sums
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.record import Fit, has_rows
from mixedmodels.quantiles import chi2_probability, f_probability

Models: TypeAlias = Mapping[str, FittedModel] | Sequence[FittedModel]
Criterion: TypeAlias = Literal["aicc", "aic", "bic"]
Test: TypeAlias = Literal["Chisq", "F"]

# responses that differ by less, in standard deviations, are the same (rounding on the way back)
SAME = 1e-9
# logarithms of volumes, deviances: differences that are rounding
ROUNDING = 1e-6
# what tables say of REML fits that were fitted again
REFITTED = "ML (refitted)"


@checked
def aictab(models: Models, *, ic: Criterion = "aicc") -> Any:
    """Rank models by an information criterion.

    Parameters
    ----------
    models : mapping of str to FittedModel, or sequence of FittedModel
        Models of the same response on the same rows. The names of a sequence are the formulas.
    ic : {"aicc", "aic", "bic"}, default "aicc"
        AIC with its small-sample term, AIC, or Schwarz's criterion; n is the number of rows.

    Returns
    -------
    frame
        Sorted from the best model: model, k (parameters), aicc, delta_aicc, aicc_weight,
        cum_weight, evidence_ratio (weight of the best over weight of this one). With another `ic`
        its name stands in the column names. Where REML fits had to be fitted again, a last column,
        criterion, says ``"ML (refitted)"``.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        No models; other rows or another response; ML mixed with REML; an unknown `ic`; AICc with
        as many parameters as rows.

    Notes
    -----
    ``weight_i = exp(-delta_i / 2) / sum_j exp(-delta_j / 2)``. REML criteria of models with
    different fixed parts are likelihoods of different data and are never ranked: such models are
    fitted again by maximum likelihood, as `anova` does. ML mixed with REML is refused, since one of
    the two is likely a slip.

    References
    ----------
    Burnham, K. P. and Anderson, D. R. (2002). Model Selection and Multimodel Inference, 2nd ed.,
    sections 2.6 and 2.9.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m1 = mm.lmer("BW ~ 1 + (1 | animal)", piglets, reml=False)
    >>> m2 = mm.lmer("BW ~ time + (1 | animal)", piglets, reml=False)
    >>> mm.aictab({"I": m1, "L": m2})[["model", "k", "aicc", "delta_aicc"]].round(2)
      model  k     aicc  delta_aicc
    0     L  4   960.93        0.00
    1     I  3  1445.82      484.89
    """
    ranking = rank(models, ic, "aictab")
    order = np.argsort(ranking.values, kind="stable")
    delta = ranking.values[order] - ranking.values.min()
    with np.errstate(over="ignore"):
        ratio = np.exp(delta / 2.0)
    names, fits = list(ranking.fitted), list(ranking.fitted.values())
    weight = ranking.weights[order]
    columns = {
        "model": [names[i] for i in order],
        "k": np.array([fits[i].n_params for i in order], dtype=np.int64),
        ic: ranking.values[order],
        f"delta_{ic}": delta,
        f"{ic}_weight": weight,
        "cum_weight": np.cumsum(weight),
        "evidence_ratio": ratio,
    }
    if ranking.refitted:
        columns["criterion"] = [REFITTED] * len(fits)
    return to_native(columns, fits[0].source.kind)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Models with an information criterion that can be compared.

    Attributes
    ----------
    given : dict of str to FittedModel
        As they came.
    fitted : dict of str to FittedModel
        The same, or their refits by maximum likelihood.
    values : ndarray of shape (m,)
        The criterion, in that order.
    weights : ndarray of shape (m,)
        Akaike weights; they sum to one.
    """

    given: dict[str, FittedModel]
    fitted: dict[str, FittedModel]
    values: Array
    weights: Array

    @property
    def refitted(self) -> bool:
        """Whether the criterion is not that of the models as they came."""
        return self.fitted is not self.given


def rank(models: Models, ic: Criterion, caller: str) -> Ranking:
    """Criterion and weight of each model; see `aictab` for what is refused.

    Parameters
    ----------
    models : mapping of str to FittedModel, or sequence of FittedModel
    ic : {"aicc", "aic", "bic"}
    caller : str
        Who asks, for messages.
    """
    given = named_models(models, caller)
    check_same_rows(given)
    fitted = _comparable(given)
    values = np.array([getattr(fit, ic) for fit in fitted.values()])
    _check_finite(fitted, values)
    weights = np.exp((values.min() - values) / 2.0)
    return Ranking(given, fitted, values, weights / weights.sum())


@checked
def anova(
    *models: FittedModel | Models,
    type: str | int | None = None,  # noqa: A002 - the name of the field
    ddf: str = "satterthwaite",
    test: Test | None = None,
) -> Any:
    """F table of one model, or tests of several.

    Parameters
    ----------
    *models : FittedModel
        Nested models of the same response on the same rows, in any order; or one mapping of names
        to models (names are the formulas otherwise). Or one model.
    type : {"I", "II", "III"} or {1, 2, 3}, optional
        Of the F tests of one model: terms in their order, each adjusted for the others that do not
        contain it, or averages over all other factors. The default is III for mixed models, as in
        lmerTest, and I for those without random terms, as in R's ``anova(lm)``.
    ddf : {"satterthwaite", "kenward-roger"}
        Denominator degrees of freedom of the F tests of a mixed model.
    test : {"Chisq", "F"}, optional
        Of several models: the likelihood ratio (the default), or the exact F test of models without
        random terms, as R's ``anova(lm1, lm2)``.

    Returns
    -------
    frame
        Several models: model, n_params, aic, bic, loglik, deviance, statistic, df, p_value,
        p_boundary, criterion, note; from the fewest parameters to the most, each tested against the
        row above. Fits by REML are fitted again by ML, and `criterion` then says
        ``"ML (refitted)"``. Where the smaller model sets a variance to zero, `note` says that
        `p_value` is too large, and `p_boundary` is the right one where theory has it. With
        ``test="F"``: model, df_resid, rss, df, sum_sq, statistic, p_value; the mean square that the
        F ratios are taken over is that of the largest model.

        One model: term, sum_sq, mean_sq, num_df, den_df, statistic, p_value. The table of type I
        of a model without random terms ends with a row for the residuals.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        Other rows or another response; no models; an unknown type, method or test; F tests of
        mixed models against each other; Kenward and Roger's
        method for an ML fit; tests of type III where combinations of levels have no rows; a REML
        fit or a test of models that were loaded from a file without
        their rows.

    Warns
    -----
    DataWarning
        A model is not nested in the next larger one, so that the test means nothing.

    Notes
    -----
    The p-value is that of chi-square with as many degrees of freedom as the models differ in
    parameters. Where the smaller model sets variances to zero the null hypothesis lies on the
    boundary of the parameter space and this p-value is too large: for one variance without
    covariances, twice too large. `p_boundary` then is the upper tail of the equal mixture of
    chi-squares with df - 1 and df degrees of freedom, if one variance is set to zero (with its
    covariances, and fixed effects or not) and no variance of the smaller model is estimated as
    zero; otherwise it is nan, and `pbmodcomp` has the p-value. Where models differ in fixed effects
    the p-value is too small when groups are few: `krmodcomp`, `satmodcomp` and `pbmodcomp` are
    better then, and ``test="F"`` where there are no random terms.

    References
    ----------
    Self, S. G. and Liang, K.-Y. (1987), J. Am. Stat. Assoc. 82, 605-610. Stram, D. O. and Lee,
    J. W. (1994), Biometrics 50, 1171-1177.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> small = mm.lmer("BW ~ time + I(time^2) + (time | animal)", piglets)
    >>> table = mm.anova(small, small.update(". ~ . + treatm"))
    >>> table[["n_params", "deviance", "statistic", "df", "p_value"]].round(4)
       n_params  deviance  statistic  df  p_value
    0         7  822.4882        NaN   0      NaN
    1        11  822.3467     0.1414   4   0.9976
    >>> mm.anova(small)[["term", "num_df", "den_df", "statistic"]].round(2)
            term  num_df  den_df  statistic
    0       time       1  219.57      96.98
    1  I(time^2)       1  147.19      75.58
    """
    first = models[0] if len(models) == 1 else models
    if isinstance(first, Fit):
        if test is not None:
            raise ModelError("test= chooses between tests of several models; one was given")
        kind = kind_of(type, first)
        if kind == "I" and not first.has_random:
            return sequential_table(first)
        return f_table(first, kind, ddf)
    named = named_models(cast(Models, first), "anova")
    if len(named) == 1:
        return anova(next(iter(named.values())), type=type, ddf=ddf, test=test)
    return _f_tests(named) if test == "F" else _likelihood_ratio(named)


def _f_tests(given: Mapping[str, FittedModel]) -> Any:
    """Chain of F tests of models without random terms, from the fewest parameters to the most."""
    mixed = next((name for name, fit in given.items() if fit.has_random), None)
    if mixed is not None:
        raise ModelError(
            f"test='F' compares models without random terms, and {quoted(mixed)} has some; see "
            "mm.krmodcomp() and mm.satmodcomp()"
        )
    check_same_rows(given)
    named = on_same_sums(given)
    names = sorted(named, key=lambda name: named[name].n_params)
    fits = [named[name] for name in names]
    for small, large in pairwise(names):
        _warn_not_nested(named, small, large)
    df_resid = np.array([fit.df_resid for fit in fits], dtype=np.int64)
    rss = np.array([fit.sigma**2 for fit in fits]) * df_resid
    df = -np.diff(df_resid, prepend=df_resid[0])
    sum_sq = np.where(df > 0, np.maximum(-np.diff(rss, prepend=rss[0]), 0.0), np.nan)
    statistic = sum_sq / np.maximum(df, 1) / fits[-1].sigma ** 2
    return to_native(
        {
            "model": names,
            "df_resid": df_resid,
            "rss": rss,
            "df": df,
            "sum_sq": sum_sq,
            "statistic": statistic,
            "p_value": f_probability(statistic, np.maximum(df, 1), float(df_resid[-1])),
        },
        fits[0].source.kind,
    )


def _likelihood_ratio(given: Mapping[str, FittedModel]) -> Any:
    """Chain of likelihood-ratio tests, from the fewest parameters to the most."""
    check_same_rows(given)
    given = on_same_sums(given)
    named = {n: m.update(reml=False) if m.reml else m for n, m in given.items()}
    names = sorted(named, key=lambda name: named[name].n_params)
    fits = [named[name] for name in names]
    for small, large in pairwise(names):
        _warn_not_nested(named, small, large)
    n_params = np.array([fit.n_params for fit in fits], dtype=np.int64)
    deviance = np.array([fit.criterion for fit in fits])
    df = np.diff(n_params, prepend=n_params[0])
    # rounding may put the larger model above the smaller by nothing; without df there is no test
    statistic = np.where(df > 0, np.maximum(-np.diff(deviance, prepend=deviance[0]), 0.0), np.nan)
    boundary = [(np.nan, "")] + [
        at_boundary(*pair, statistic[k], df[k]) for k, pair in enumerate(pairwise(fits), 1)
    ]
    return to_native(
        {
            "model": names,
            "n_params": n_params,
            "aic": [fit.aic for fit in fits],
            "bic": [fit.bic for fit in fits],
            "loglik": [fit.loglik for fit in fits],
            "deviance": deviance,
            "statistic": statistic,
            "df": df,
            "p_value": chi2_probability(statistic, np.maximum(df, 1)),
            "p_boundary": np.array([p for p, _ in boundary]),
            "criterion": [REFITTED if given[name].reml else "ML" for name in names],
            "note": [note for _, note in boundary],
        },
        fits[0].source.kind,
    )


# --- names ----------------------------------------------------------------------------------------


def named_models(models: Models, caller: str) -> dict[str, FittedModel]:
    """Models by name; those of a sequence are called by their formulas, repeated ones numbered.

    Raises
    ------
    ArgumentError, ModelError
        Lists among models; no models.
    """
    if isinstance(models, Mapping):
        named = {str(name): model for name, model in models.items()}
    else:
        if not all(isinstance(model, Fit) for model in models):
            raise ArgumentError(f"{caller}() takes models, or one list or dict of them, not both")
        counts = Counter(model.formula for model in models)
        seen: Counter[str] = Counter()
        named = {}
        for model in models:
            seen[model.formula] += 1
            number = f" #{seen[model.formula]}" if counts[model.formula] > 1 else ""
            named[model.formula + number] = model
    if not named:
        raise ModelError(f"{caller} needs at least one fitted model, none was given")
    return named


# --- what may be compared -------------------------------------------------------------------------


def check_same_rows(named: Mapping[str, FittedModel]) -> None:
    """Likelihoods compare only on the same rows and the same response.

    Raises
    ------
    ModelError
        Which two models differ, and in what.
    """
    (first, reference), *others = named.items()
    for name, fit in others:
        if fit.n_obs != reference.n_obs:
            raise ModelError(
                f"{quoted(first)} was fitted to {_rows(reference)}, {quoted(name)} to "
                f"{_rows(fit)}: likelihoods of different rows cannot be compared. Drop the rows "
                "with missing values in any variable first and fit all models to the rest"
            )
        ours, theirs = _response_text(reference), _response_text(fit)
        difference = _response_difference(reference, fit)
        if difference and ours != theirs:
            raise ModelError(
                f"the response of {quoted(first)} is {ours}, that of {quoted(name)} {theirs}: "
                "likelihoods of different responses cannot be compared"
            )
        if difference:
            raise ModelError(
                f"{quoted(first)} and {quoted(name)} were fitted to different rows, or the same "
                f"ones in another order: {difference}. Fit all models to one data frame"
            )


def _rows(fit: Fit) -> str:
    missing = ", ".join(f"{column}: {count}" for column, count in fit.source.missing.items())
    return f"{fit.n_obs} rows" + (f" (missing values: {missing})" if missing else "")


def _response_text(fit: Fit) -> str:
    response = fit.design.formula.response
    return "" if response is None else response.text


def _response_difference(a: Fit, b: Fit) -> str:
    """Where two responses with as many values differ, in words; empty if they do not."""
    scale = max(a.design.y_scale, b.design.y_scale)
    if not (has_rows(a) and has_rows(b)):
        gap = abs(a.design.y_centre - b.design.y_centre) + abs(a.design.y_scale - b.design.y_scale)
        return (
            "their responses, less any offset, differ in mean or spread"
            if gap > SAME * scale
            else ""
        )
    ours, theirs = a.response, b.response
    # rounding of the way back from centred values grows with the distance from zero
    near = SAME * scale + 1e-13 * float(np.abs(ours).max())
    differs = np.flatnonzero(np.abs(ours - theirs) > near)
    if len(differs):
        at = int(differs[0])
        return (
            f"{len(differs)} of {len(ours)} values of the response differ, first in row {at} of "
            f"those used ({ours[at]:g} and {theirs[at]:g})"
        )
    return "" if _same_selection(a, b) else "missing values left out other rows"


def _same_selection(a: Fit, b: Fit) -> bool:
    """Whether two fits used the same rows of frames of one length, as far as can be known."""
    if a.source.n_rows != b.source.n_rows:
        return True
    if a.source.complete is None or b.source.complete is None:
        return a.source.complete is b.source.complete
    return np.array_equal(a.source.complete, b.source.complete)


def _comparable(named: dict[str, FittedModel]) -> dict[str, FittedModel]:
    """Models whose criteria compare: as given, or REML fits of different fixed parts by ML.

    Raises
    ------
    ModelError
        ML fits mixed with REML fits.
    """
    restricted = [name for name, fit in named.items() if fit.reml]
    if not restricted:
        return named
    if len(restricted) < len(named):
        other = next(name for name, fit in named.items() if not fit.reml)
        raise ModelError(
            f"{quoted(restricted[0])} was fitted by REML and {quoted(other)} by maximum "
            "likelihood: their criteria cannot be compared. Fit them by maximum likelihood: "
            "m.update(reml=False)"
        )
    if len(named) == 1 or _same_fixed_part(named):
        return named
    return {name: fit.update(reml=False) for name, fit in named.items()}


def _same_fixed_part(named: Mapping[str, FittedModel]) -> bool:
    """Whether REML criteria compare: the columns of X span one space, with one volume."""
    (first, reference), *others = named.items()
    return all(
        same_fixed_part(reference, fit, (quoted(first), quoted(name))) for name, fit in others
    )


def _check_finite(named: Mapping[str, FittedModel], values: Array) -> None:
    for (name, fit), value in zip(named.items(), values, strict=True):
        if not np.isfinite(value):
            raise ModelError(
                f"AICc of {quoted(name)} does not exist: {fit.n_params} parameters on {fit.n_obs} "
                "rows. Use ic='aic', or a smaller model"
            )


def _warn_not_nested(named: Mapping[str, FittedModel], small: str, large: str) -> None:
    """Say which parts of the smaller model the larger one lacks."""
    fit, larger = named[small], named[large]
    names = (quoted(small), quoted(large))
    if fit.source.sums is not larger.source.sums:
        return  # no sums serve both, and nesting cannot be seen
    fixed = fixed_outside(fit, larger, names)
    if not _same_offset(fit, larger):
        fixed = [*fixed, "offset"]
    lacks = describe_outside(fixed, random_outside(fit, larger, names))
    if lacks:
        warn(
            f"{names[0]} is not nested in {names[1]}, which lacks {lacks}: the likelihood-ratio "
            "test does not hold. Compare the models with mm.aictab()",
            DataWarning,
        )
    elif larger.n_params == fit.n_params:
        warn(
            f"{names[0]} and {names[1]} have as many parameters as each other and describe the "
            "same models: there is nothing to test",
            DataWarning,
        )
    elif larger.criterion > fit.criterion + ROUNDING * max(1.0, abs(fit.criterion)):
        warn(
            f"{names[1]} fits worse than {names[0]}, which is nested in it: the larger model is "
            "not at its optimum, or differs in the sign of a variance. The test does not hold",
            DataWarning,
        )


def _same_offset(a: Fit, b: Fit) -> bool:
    if a.rows.offset is None or b.rows.offset is None:
        return a.rows.offset is b.rows.offset
    return np.allclose(a.rows.offset, b.rows.offset, rtol=1e-12, atol=0.0)


def quoted(name: str, width: int = 80) -> str:
    """A model's name in quotes, long ones shortened."""
    short = name if len(name) <= width else f"{name[: width // 2]}...{name[-width // 2 :]}"
    return f"'{short}'"
