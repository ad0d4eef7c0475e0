"""F tables: which contrasts a term means in tests of type I, II and III, and their tests.

Type I takes the terms in their order, each adjusted for those before it. Type II adjusts each term
for all others that do not contain it. Type III averages over the levels of all other factors with
equal weights: the term's coefficients in the coding whose columns sum to zero (Speed, Hocking and
Hackney 1978, J. Am. Stat. Assoc. 73, 105-112).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixedmodels.arguments import check_choice
from mixedmodels.arrays import Array
from mixedmodels.design.build import Design
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ModelError
from mixedmodels.inference import kenward_roger, satterthwaite
from mixedmodels.inference.anova import rows_of, term_of_column
from mixedmodels.model.fit import recoded
from mixedmodels.model.frames import DDF
from mixedmodels.model.record import Fit
from mixedmodels.quantiles import f_probability

KINDS = ("I", "II", "III")


def kind_of(given: object, fit: Fit) -> str:
    """Type of tests that was asked for: ``"III"``, ``"3"`` and ``3`` are the same."""
    if given is None:
        return "III" if fit.has_random else "I"
    for number, kind in enumerate(KINDS, start=1):
        if not isinstance(given, bool) and str(given) in (kind, str(number)):
            return kind
    raise ModelError(f"type={given!r} is not known; use 'I', 'II' or 'III'")


def f_table(fit: Fit, kind: str, ddf: str) -> Any:
    """F table of a fit; see `compare.anova`."""
    check_choice("ddf", ddf, DDF[:2] if fit.has_random else DDF)
    return table_of(fit, hypotheses(fit, kind), ddf)


def table_of(fit: Fit, tested: list[tuple[str, Array]], ddf: str) -> Any:
    """F tests of named hypotheses as a frame."""
    tests = [(term, *_test(fit, L, ddf)) for term, L in tested]
    statistic = np.array([t[1] for t in tests])
    num_df = np.array([t[2] for t in tests], np.int64)
    den_df = np.array([t[3] for t in tests])
    mean_sq = statistic * fit.sigma**2
    return to_native(
        {
            "term": [t[0] for t in tests],
            "sum_sq": mean_sq * num_df,
            "mean_sq": mean_sq,
            "num_df": num_df,
            "den_df": den_df,
            "statistic": statistic,
            "p_value": f_probability(statistic, num_df, den_df),
        },
        fit.source.kind,
    )


def _test(fit: Fit, L: Array, ddf: str) -> tuple[float, int, float]:
    """Statistic and degrees of freedom of one hypothesis."""
    if not len(L):
        return np.nan, 0, np.nan
    if not fit.has_random:
        turn = satterthwaite.independent_rows(L, np.eye(len(fit.beta)), fit.vcov)
        return float(np.square(turn @ fit.beta).sum()) / len(turn), len(turn), float(fit.df_resid)
    if ddf == "kenward-roger":
        statistic, _, num_df, den_df = kenward_roger.f_test(fit, L)
        return statistic, num_df, den_df
    return satterthwaite.f_test(fit, L)


def hypotheses(fit: Fit, kind: str) -> list[tuple[str, Array]]:
    """Each term of the fixed part but the constant, and the contrasts that it stands for.

    Parameters
    ----------
    fit : Fit
    kind : {"I", "II", "III"}

    Returns
    -------
    list of (str, ndarray of shape (m, p))
        Over `Fit.term_names`.
    """
    names, owner = term_of_column(fit.design)
    owner = owner[fit.working.fixed.kept]
    terms = [t for t in range(len(names)) if names[t] != "Intercept" and (owner == t).any()]
    columns = rows_of(fit, fit.formula).T @ fit.design.x_recipe[:, fit.working.fixed.kept]
    if kind == "III":
        return _averaged(fit, columns)
    if fit.source.sums is not None:
        if fit.rows.weights is not None:
            raise ModelError(
                f"tests of type {kind} count each row once, and the sums of this model are "
                "weighted: use type='III'"
            )
        counts = fit.points.weights
        assert counts is not None
        columns = columns * np.sqrt(counts)[:, None]
    parts = [_parts(fit.design, t) for t in range(len(names))]
    found = []
    for term in terms:
        order = np.argsort(
            [_place(parts, o, term) if kind == "II" else int(o) for o in owner], kind="stable"
        )
        # rows of R: the effects that are left once the columns before them are taken out
        upper = np.linalg.qr(columns[:, order], mode="r")
        L = np.zeros_like(upper)
        L[:, order] = upper
        found.append((names[term], L[owner[order] == term]))
    return found


def _parts(design: Design, term: int) -> frozenset[str]:
    """The variables and expressions that one term multiplies."""
    factors = design.specs[design.formula.fixed].structure[term].term.factors
    return frozenset(f.expr for f in factors)


def _place(parts: list[frozenset[str]], owner: int, term: int) -> int:
    """Before the term, the term itself, or behind it: those that contain it."""
    if owner == term:
        return 1
    return 2 if parts[owner] > parts[term] else 0


def _averaged(fit: Fit, columns: Array) -> list[tuple[str, Array]]:
    """Coefficients in sum-to-zero coding, as contrasts of the user's."""
    coded = {name.removeprefix("factor(").removesuffix(")"): "sum" for name in fit.design.factors}
    used = {name: how for name, how in coded.items() if name in fit.design.formula.covariates}
    design, rows = recoded(fit, used)
    names, owner = term_of_column(design)
    other = rows.base.T @ design.x_recipe
    # the same space in other coordinates: columns = other @ L
    L, _, rank, _ = np.linalg.lstsq(other, columns, rcond=1e-9)
    if rank < other.shape[1]:
        raise ModelError(
            "tests of type III average over combinations of factor levels of which some have no "
            f"rows (columns dropped: {_dropped(fit)}), and those averages cannot be estimated: use "
            "type='II'"
        )
    return [
        (names[t], L[owner == t])
        for t in range(len(names))
        if names[t] != "Intercept" and (owner == t).any()
    ]


def _dropped(fit: Fit) -> str:
    names = [fit.design.x_names[j] for j, _ in fit.working.fixed.relations]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
