"""Single-term deletions: a test of each fixed term that no other contains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

import numpy as np

from mixedmodels.arguments import check_choice, checked
from mixedmodels.arrays import Array
from mixedmodels.design.build import Design
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ModelError
from mixedmodels.inference.deletion import (
    Term,
    containing,
    contrasts,
    likelihood_table,
    removable,
    terms_of,
    without,
)
from mixedmodels.inference.ftable import hypotheses, table_of
from mixedmodels.model.fit import fit_submodel
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.frames import DDF
from mixedmodels.model.record import Fit

Test: TypeAlias = Literal["F", "Chisq", "none"]
TESTS = ("F", "Chisq", "none")


@checked
def drop1(
    m: FittedModel,
    *,
    scope: str | Sequence[str] | None = None,
    test: Test | None = None,
    ddf: str = "satterthwaite",
) -> Any:
    """Test each fixed term by taking it out of the model.

    Parameters
    ----------
    m : FittedModel
    scope : str or sequence of str, optional
        Terms to take out, as the formula writes them. The default are all that no other term
        contains: of ``a * b`` the interaction alone.
    test : {"F", "Chisq", "none"}, optional
        F tests within the fitted model, as R's lmerTest; likelihood-ratio tests, for which the
        model without the term is fitted by maximum likelihood, as R's lme4; or AIC alone. The
        default is ``"Chisq"`` for a mixed model fitted by ML and ``"F"`` otherwise.
    ddf : {"satterthwaite", "kenward-roger"}
        Denominator degrees of freedom of the F tests of a mixed model.

    Returns
    -------
    frame
        ``"F"``: term, sum_sq, mean_sq, num_df, den_df, statistic, p_value.

        ``"Chisq"``: term, n_params (of the model without it), loglik, aic, statistic, df, p_value,
        criterion. The first row, ``"<none>"``, is the model itself. A REML fit is fitted again by
        ML, and `criterion` then says ``"ML (refitted)"``. With ``"none"`` the columns of the test
        are not there.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        An unknown test or method; terms that are not in the model or that others contain;
        Kenward and Roger's method for an ML fit.

    Warns
    -----
    ConvergenceWarning
        A model without a term did not converge.

    Notes
    -----
    The smaller models are fitted to the sums of the larger one: to the same rows, also where a
    term left out had missing values, and without a pass over them. A likelihood-ratio test of a
    fixed effect gives too small a p-value when groups are few; the F tests do not.

    Without an intercept, taking out a factor changes how the next one is coded: of
    ``0 + a + b`` the model without ``a`` is ``0 + b``, which has a mean for each level of b.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m = mm.lmer("BW ~ time + I(time^2) + treatm + (time | animal)", piglets)
    >>> mm.drop1(m)[["term", "num_df", "den_df", "statistic"]].round(2)
            term  num_df  den_df  statistic
    0       time       1  219.56      96.98
    1  I(time^2)       1  147.15      75.57
    2     treatm       4   69.94       0.03
    >>> mm.drop1(m, test="Chisq")[["term", "n_params", "aic", "statistic", "df"]].round(2)
            term  n_params     aic  statistic  df
    0     <none>        11  844.35        NaN   0
    1       time        10  923.29      80.95   1
    2  I(time^2)        10  903.76      61.41   1
    3     treatm         7  836.49       0.14   4
    """
    kind = test or ("Chisq" if m.has_random and not m.reml else "F")
    ddf = check_choice("ddf", ddf, DDF[:2])
    recipes = _recipes(m, scope)
    if kind == "F":
        return table_of(m, [(term, _contrasts(m, *left)) for term, left in recipes.items()], ddf)
    return _likelihoods(m, recipes, tested=kind == "Chisq")


def _recipes(
    fit: Fit, scope: str | Sequence[str] | None
) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Names and recipe of the fixed columns that each deletion leaves."""
    design = fit.design
    terms = terms_of(design, design.formula.fixed)
    chosen = removable(terms) if scope is None else _chosen(terms, scope)
    return {t.name: without(terms, t, design.x_names, design.x_recipe) for t in chosen}


def _contrasts(fit: Fit, left: tuple[str, ...], recipe: Array) -> Array:
    """What is zero without a term: its own coefficients, one by one, where these are all."""
    if set(left) <= {"Intercept"} and fit.source.sums is None:
        found = hypotheses(
            fit, "I"
        )  # the only term: as in all tables; none if all of it was dropped
        return found[0][1] if found else np.empty((0, len(fit.term_names)))
    L = contrasts(fit, recipe)
    own = [j for j, name in enumerate(fit.term_names) if name not in left]
    return np.asarray(np.linalg.solve(L[:, own], L)) if len(own) == len(L) else L


def _chosen(terms: Sequence[Term], scope: str | Sequence[str]) -> list[Term]:
    found = []
    known = {t.name: t for t in terms if t.factors}
    # interactions in any order of their parts
    parts = {frozenset(name.split(":")): t for name, t in known.items()}
    for name in [scope] if isinstance(scope, str) else scope:
        term = known.get(name) or parts.get(frozenset(str(name).split(":")))
        if term is None:
            raise ModelError(
                f"{name!r} is not a fixed term of the model; its terms are "
                f"{', '.join(map(repr, known)) or 'none'}"
            )
        above = containing(terms, term)
        if above:
            raise ModelError(
                f"'{term.name}' cannot be taken out while {', '.join(map(repr, above))} contains "
                "it: fit a model without these first, or see mm.anova(m, type='II')"
            )
        found.append(term)
    return found


def _likelihoods(
    fit: Fit, recipes: dict[str, tuple[tuple[str, ...], Array]], *, tested: bool
) -> Any:
    """Maximum likelihood of the model and of those with a term less."""
    fits = {"<none>": _by_ml(fit, fit.design) if fit.reml else fit}
    for term, (names, recipe) in recipes.items():
        fits[term] = _by_ml(fit, replace(fit.design, x_names=names, x_recipe=recipe))
    columns = likelihood_table(fits)
    if not tested:
        columns = {name: columns[name] for name in ("term", "n_params", "loglik", "aic")}
    columns["criterion"] = ["ML (refitted)" if fit.reml else "ML"] * len(fits)
    return to_native(columns, fit.source.kind)


def _by_ml(fit: Fit, design: Design) -> Fit:
    return fit_submodel(fit, design, fit.rows, fit.moments, reml=False)
