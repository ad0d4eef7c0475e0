"""F tables: which contrasts a term means in tests of type I, II and III, and their tests.

Type I takes the terms in their order, each adjusted for those before it. Type II adjusts each term
for all others that do not contain it. Type III averages over the levels of all other factors with
equal weights: the term's coefficients in the coding whose columns sum to zero (Speed, Hocking and
Hackney 1978, J. Am. Stat. Assoc. 73, 105-112).

Satterthwaite's denominator of several degrees of freedom depends on which contrasts stand for the
hypothesis, F does not. They are lmerTest's: a term that no other contains by its own coefficients,
in type III by those of treatment coding; otherwise rows of the triangular factor of X'X with ones
on the diagonal (Doolittle's).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        if not isinstance(given, bool) and str(given).upper() in (kind, str(number)):
            return kind
    raise ModelError(f"type={given!r} is not known; use 'I', 'II' or 'III'")


def f_table(fit: Fit, kind: str, ddf: str) -> Any:
    """F table of a fit; see `compare.anova`."""
    ddf = check_choice("ddf", ddf, DDF[:2] if fit.has_random else DDF)
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
    weights = _row_weights(fit)
    if len(terms) == 1 and weights is not None:
        kind = "I"  # all types are one
    if kind == "III":
        return _averaged(fit, columns)
    if weights is None:
        raise ModelError(
            f"tests of type {kind} count each row once, and the sums of this model are weighted: "
            "use type='III'"
        )
    columns = columns * np.sqrt(weights)[:, None]
    parts = [_parts(fit.design, t) for t in range(len(names))]
    found = []
    for term in terms:
        if kind == "II" and not any(part > parts[term] for part in parts):
            found.append((names[term], np.eye(len(owner))[owner == term]))
            continue
        order = np.argsort(
            [_place(parts, o, term) if kind == "II" else int(o) for o in owner], kind="stable"
        )
        # rows of R: the effects that are left once the columns before them are taken out
        upper = np.linalg.qr(columns[:, order], mode="r")
        L = np.zeros_like(upper)
        L[:, order] = upper / np.diag(upper)[:, None]
        found.append((names[term], L[owner[order] == term]))
    return found


def _row_weights(fit: Fit) -> Array | None:
    """What a row counts in X'X; None where weighted sums have lost it.

    In a mixed model every row counts once, whatever its prior weight, as in lmerTest. In a linear
    model prior weights count, since tests there compare residual sums of squares.
    """
    if fit.has_random and fit.source.sums is None:
        return np.ones(1)
    if fit.has_random and fit.rows.weights is not None:
        return None
    return np.ones(1) if fit.points.weights is None else fit.points.weights


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
    L, names, owner = _recoded(fit, "sum", columns)
    if len(L) > columns.shape[1]:
        raise ModelError(
            "tests of type III average over combinations of factor levels of which some have no "
            f"rows (columns dropped: {_dropped(fit)}), and those averages cannot be estimated: use "
            "type='II'"
        )
    # in treatment coding a contrast reads best: as differences from the first level
    plain = np.eye(len(L)) if _is_treatment(fit) else _recoded(fit, "treatment", columns)[0]
    try:
        own = np.linalg.solve(plain.T, L.T).T
        return [
            (names[t], np.linalg.solve(own[np.ix_(owner == t, owner == t)], L[owner == t]))
            for t in range(len(names))
            if names[t] != "Intercept" and (owner == t).any()
        ]
    except np.linalg.LinAlgError:
        raise ModelError(
            "tests of type III cannot be worked out, since other codings of the factors keep other "
            "columns (some nearly determine each other): use type='II'"
        ) from None


def _recoded(fit: Fit, how: str, columns: Array) -> tuple[Array, list[str], NDArray[np.intp]]:
    """The user's columns as combinations of those with all factors coded in another way.

    Returns
    -------
    L : ndarray of shape (columns in that coding, p)
        The coefficients in that coding, as contrasts of the user's.
    names, owner
        As `term_of_column`, of that coding.
    """
    coded = {name.removeprefix("factor(").removesuffix(")"): how for name in fit.design.factors}
    used = {name: how for name, how in coded.items() if name in fit.design.formula.covariates}
    design, rows = recoded(fit, used)
    # the same space in other coordinates: columns = other @ L
    L = np.linalg.lstsq(rows.base.T @ design.x_recipe, columns, rcond=1e-9)[0]
    return np.asarray(L), *term_of_column(design)


def _is_treatment(fit: Fit) -> bool:
    """Whether every factor of the fixed part has treatment contrasts."""
    states = fit.design.specs[fit.design.formula.fixed].encoder_state.values()
    codings = [state["contrasts"].contrasts for _, state in states if "contrasts" in state]
    return all(type(coding).__name__ == "TreatmentContrasts" for coding in codings)


def _dropped(fit: Fit) -> str:
    names = [fit.design.x_names[j] for j, _ in fit.working.fixed.relations]
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
