"""Tests of random terms: each reduced or taken out, by the likelihood ratio on the fit's criterion.

A reduced model is fitted to the sums of the larger one; without its last random term it is the
linear model, whose (restricted) likelihood is that of zero variances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.design.build import Design, TermDesign
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ModelError
from mixedmodels.inference.boundary import mixture_probability
from mixedmodels.inference.deletion import (
    constant_term,
    holds_constant,
    likelihood_table,
    removable,
    terms_of,
    with_random,
    without,
)
from mixedmodels.model.fit import fit_submodel
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.record import Fit


@checked
def ranova(m: FittedModel, *, reduce_terms: bool = True) -> Any:
    """Test each random term by reducing it or taking it out.

    Parameters
    ----------
    m : FittedModel
    reduce_terms : bool, default True
        Take one variable at a time out of a term, ``(x | g)`` to ``(1 | g)``, and take ``(1 | g)``
        out whole. With False every term is taken out whole.

    Returns
    -------
    frame
        term, n_params (of the smaller model), loglik, aic, statistic, df, p_value, p_boundary,
        criterion (``"REML"`` or ``"ML"``, as the model was fitted). The first row, ``"<none>"``,
        is the model itself; the terms follow in the order of `FittedModel.varcorr`, those that
        are reduced as ``"x in (x | g)"``.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        A model without random terms.

    Warns
    -----
    ConvergenceWarning
        A smaller model did not converge.

    Notes
    -----
    All fixed parts are the same, so that REML likelihoods compare. The null hypothesis is a
    variance of zero, on the boundary of the parameter space, where `p_value` (chi-square with `df`
    degrees of freedom) is too large. `p_boundary` is the upper tail of the equal mixture of
    chi-squares with df - 1 and df degrees of freedom. It holds for one variance, with its
    covariances with others, in models whose other variances are not zero; where more variances
    go, or the smaller model is itself singular, it is nan, and the bootstrap of `pbmodcomp` has
    the p-value.

    ``(f | g)`` and ``(0 + f | g)`` with a factor f are reduced to ``(1 | g)``, since a term that is
    constant within g is among theirs; ``(0 + x | g)`` with a number x is taken out. Of interactions
    only those that no other contains are taken out of a term.

    References
    ----------
    Self, S. G. and Liang, K.-Y. (1987), J. Am. Stat. Assoc. 82, 605-610. Stram, D. O. and Lee,
    J. W. (1994), Biometrics 50, 1171-1177. The table is that of R's lmerTest: Kuznetsova, A.,
    Brockhoff, P. B. and Christensen, R. H. B. (2017), J. Stat. Softw. 82(13).

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m = mm.lmer("BW ~ time + (time | animal)", piglets)
    >>> mm.ranova(m)[["term", "n_params", "loglik", "statistic", "df"]].round(2)
                          term  n_params  loglik  statistic  df
    0                   <none>         6 -446.78        NaN   0
    1  time in (time | animal)         4 -481.32       69.1   2
    """
    if not m.has_random:
        raise ModelError(f"'{m.formula}' has no random terms to test")
    fits: dict[str, Fit] = {"<none>": m}
    for deletion in _deletions(m.design, reduce_terms=reduce_terms):
        smaller = with_random(m, deletion.place, deletion.term)
        fits[deletion.name] = fit_submodel(m, *smaller, reml=m.reml)
    columns = likelihood_table(fits)
    lost = [_n_variances(m) - _n_variances(fit) for fit in fits.values()]
    singular = [fit.is_singular for fit in fits.values()]
    regular = (np.array(lost) == 1) & ~np.array(singular) & (columns["df"] > 0)
    mixture = mixture_probability(columns["statistic"], columns["df"])
    columns["p_boundary"] = np.where(regular, mixture, np.nan)
    columns["criterion"] = ["REML" if m.reml else "ML"] * len(fits)
    return to_native(columns, m.source.kind)


@dataclass(frozen=True, slots=True)
class _Deletion:
    """What is taken out, and what stands in its place.

    Attributes
    ----------
    name : str
    place : tuple of int
        Grouping factor and term.
    term : TermDesign or None
    """

    name: str
    place: tuple[int, int]
    term: TermDesign | None


def _deletions(design: Design, *, reduce_terms: bool) -> Iterator[_Deletion]:
    for place in design.theta_order:
        term = design.groups[place[0]].terms[place[1]]
        label = _label(design, term)
        terms = terms_of(design, term.source)
        parts = removable(terms) if reduce_terms else []
        if not parts:
            yield _Deletion(label, place, None)
        for part in parts:
            names, recipe = without(terms, part, term.names, term.recipe)
            left = TermDesign(term.text, names, recipe, term.source) if names else None
            if left is None and _constant_is_new(design, place):
                left = constant_term(term)
            yield _Deletion(f"{part.name} in {label}", place, left)


def _constant_is_new(design: Design, place: tuple[int, int]) -> bool:
    """Whether a term holds the constant and no other term on its factor does."""
    terms = design.groups[place[0]].terms
    return holds_constant(terms[place[1]].recipe) and not any(
        holds_constant(other.recipe) for t, other in enumerate(terms) if t != place[1]
    )


def _label(design: Design, term: TermDesign) -> str:
    """The term as a formula of its own: a part of a double bar stands alone."""
    together = any(
        r.correlated
        for r in design.formula.random
        if (r.text, r.columns) == (term.text, term.source)
    )
    if together:
        return term.text
    left, group = " + ".join(t.name for t in terms_of(design, term.source)), term.text
    left = "1" if left == "Intercept" else f"0 + {left}"
    return f"({left} |{group[group.rindex('||') + 2 :]}"


def _n_variances(fit: Fit) -> int:
    return sum(template.q for template in fit.working.templates)
