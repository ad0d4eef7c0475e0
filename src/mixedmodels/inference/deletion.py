"""Models with a term less, as recipes over the sums of the larger one: no rows, no new sums.

A term may be taken out when no other contains it. What is left is coded as R would code it: the
columns of the other terms stay, and where the term also stood for the constant, that stays too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.build import Design, GroupDesign, Rows, TermDesign
from mixedmodels.design.grouping import Structure
from mixedmodels.errors import ConvergenceWarning, ModelError, warn
from mixedmodels.likelihood.working import metric_root
from mixedmodels.model.record import Fit, has_rows
from mixedmodels.moments.cross_products import Cells, Moments
from mixedmodels.quantiles import chi2_probability

# share of a direction that rounding may leave outside a space it belongs to
ROUNDING = 1e-9
CONSTANT: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a sum of terms, and what its columns stand for.

    Attributes
    ----------
    name : str
        As the user wrote it; ``"Intercept"``.
    factors : frozenset of str
        The variables and expressions that it multiplies; none for the intercept.
    columns : slice
        Its columns.
    spans : frozenset of frozenset of str
        The effects that its columns add to those of the terms before it: ``0 + a`` stands for
        the constant and for a.
    numeric : frozenset of str
        Those of its factors that are numbers.
    """

    name: str
    factors: frozenset[str]
    columns: slice
    spans: frozenset[frozenset[str]]
    numeric: frozenset[str]


def terms_of(design: Design, source: str) -> list[Term]:
    """The terms of the fixed part or of the left side of a bar."""
    labels, spec = design.formula.labels, design.specs[source]
    kinds = {code: state[0].value for code, state in spec.encoder_state.items()}
    found, start = [], 0
    for part in spec.structure:
        codes = [f.expr for f in part.term.factors if f.expr != "1"]
        numeric = frozenset(c for c in codes if kinds.get(c) != "categorical")
        stop = start + len(part.columns)
        found.append(
            Term(
                ":".join(labels.get(c, c) for c in codes) or "Intercept",
                frozenset(codes),
                slice(start, stop),
                frozenset(chain.from_iterable(_effects(s, numeric) for s in part.scoped_terms)),
                numeric,
            )
        )
        start = stop
    return found


def _effects(scoped: Any, numeric: frozenset[str]) -> list[frozenset[str]]:
    """Effects that one product of codings stands for: full codings hold the lower ones too."""
    always, full = set(numeric), []
    for factor in scoped.factors:
        code = factor.factor.expr
        if factor.reduced:
            always.add(code)
        elif code not in numeric:
            full.append(code)
    subsets = chain.from_iterable(combinations(full, size) for size in range(len(full) + 1))
    return [frozenset(always.union(subset)) for subset in subsets]


def containing(terms: Sequence[Term], term: Term) -> list[str]:
    """Names of the terms that contain a term."""
    return [other.name for other in terms if other.factors > term.factors]


def removable(terms: Sequence[Term]) -> list[Term]:
    """Terms that no other contains, without the intercept."""
    return [
        t
        for t in terms
        if t.factors and t.columns.stop > t.columns.start and not containing(terms, t)
    ]


def without(
    terms: Sequence[Term], term: Term, names: Sequence[str], recipe: Array
) -> tuple[tuple[str, ...], Array]:
    """Names and recipe of the columns that are left when a term is taken out.

    Raises
    ------
    ModelError
        Other terms would be coded by columns that are not there.
    """
    kept = np.ones(len(names), bool)
    kept[term.columns] = False
    left = tuple(name for name, keep in zip(names, kept, strict=True) if keep)
    others = [other for other in terms if other != term]
    missing = [e for e in term.spans if any(_needs(other, e) for other in others)]
    if not missing:
        return left, recipe[:, kept]
    if missing == [CONSTANT]:
        return ("Intercept", *left), np.column_stack([_constant(len(recipe)), recipe[:, kept]])
    effect = next(e for e in missing if e)
    affected = next(other.name for other in others if _needs(other, effect))
    raise ModelError(
        f"without {term.name} the formula codes {affected} by other columns. Add the terms that "
        f"{term.name} and {affected} have in common to the formula, which describes the same model"
    )


def _needs(term: Term, effect: frozenset[str]) -> bool:
    """Whether a term's own columns would stand for an effect if no other did."""
    return effect <= term.factors and term.numeric <= effect


def _constant(size: int) -> Array:
    """The first base column is all ones."""
    return np.eye(size, 1)


def holds_constant(recipe: Array) -> bool:
    """Whether columns can make the constant."""
    target = _constant(len(recipe))
    weights = np.linalg.lstsq(recipe, target, rcond=None)[0]
    return bool(np.linalg.norm(target - recipe @ weights) < ROUNDING)


def constant_term(term: TermDesign) -> TermDesign:
    """The term reduced to an intercept."""
    return replace(term, names=("Intercept",), recipe=_constant(len(term.recipe)), source="1")


def contrasts(fit: Fit, recipe: Array) -> Array:
    """What is zero when the fixed part has only the columns of a recipe.

    Parameters
    ----------
    fit : Fit
    recipe : ndarray of shape (c, k)
        Columns within the space of the fit's.

    Returns
    -------
    ndarray of shape (m, p)
        Over `Fit.term_names`; the rows are orthogonal in the rows of the data.
    """
    root = metric_root(fit.moments)
    columns = root @ recipe
    length = np.linalg.norm(columns, axis=0)
    basis, values, _ = np.linalg.svd(columns[:, length > 0] / length[length > 0])
    rank = int((values > ROUNDING).sum())
    # working columns are orthonormal in the same metric
    left, _, _ = np.linalg.svd((root @ fit.working.fixed.recipe).T @ basis[:, :rank])
    return np.asarray(left[:, rank:].T @ fit.working.fixed.root)


def likelihood_table(fits: Mapping[str, Fit]) -> dict[str, Any]:
    """Columns of a table of deletions: the model itself first, then each without a term."""
    full = next(iter(fits.values()))
    for name, fit in fits.items():
        if not fit.converged:
            warn(
                f"the model without {name} is {fit.convergence.message}, so that its test may be "
                "wrong: simplify the random part",
                ConvergenceWarning,
            )
    n_params = np.array([fit.n_params for fit in fits.values()], dtype=np.int64)
    loglik = np.array([fit.loglik for fit in fits.values()])
    df = full.n_params - n_params
    # rounding may put a smaller model above the larger by nothing; without df there is no test
    statistic = np.where(df > 0, np.maximum(2.0 * (full.loglik - loglik), 0.0), np.nan)
    return {
        "term": list(fits),
        "n_params": n_params,
        "loglik": loglik,
        "aic": np.array([fit.aic for fit in fits.values()]),
        "statistic": statistic,
        "df": df,
        "p_value": chi2_probability(statistic, np.maximum(df, 1)),
    }


# --- random terms ---------------------------------------------------------------------------------


def with_random(
    fit: Fit, place: tuple[int, int], term: TermDesign | None
) -> tuple[Design, Rows, Moments]:
    """The model with another random term of fewer columns in one place, or with none there.

    Parameters
    ----------
    fit : Fit
    place : tuple of int
        Grouping factor and term.
    term : TermDesign or None

    Returns
    -------
    design : Design
    rows : Rows
    moments : Moments
    """
    groups: dict[int, GroupDesign] = {}
    order: dict[tuple[int, int], tuple[int, int]] = {}
    for k, group in enumerate(fit.design.groups):
        new = [(t, old if (k, t) != place else term) for t, old in enumerate(group.terms)]
        left = [(t, design) for t, design in new if design is not None]
        if left:
            order |= {(k, t): (len(groups), i) for i, (t, _) in enumerate(left)}
            groups[k] = replace(group, terms=tuple(design for _, design in left))
    structure, moments = _narrowed(fit.design, fit.moments, groups)
    design = replace(
        fit.design,
        groups=tuple(groups.values()),
        structure=structure,
        term_order=tuple(order[pair] for pair in fit.design.term_order if pair in order),
    )
    rows = fit.rows
    if has_rows(fit):
        rows = replace(rows, codes=tuple(rows.codes[k] for k in groups))
    return design, rows, moments


def _narrowed(
    design: Design, moments: Moments, groups: dict[int, GroupDesign]
) -> tuple[Structure, Moments]:
    """Nesting and sums of some grouping factors, which use fewer base columns."""
    used = {k: np.searchsorted(design.groups[k].uses, g.uses) for k, g in groups.items()}
    at = {k: i for i, k in enumerate(groups)}
    cells = tuple(
        Cells(
            at[c.first], at[c.second], c.rows, c.cols, c.sums[np.ix_(used[c.first], used[c.second])]
        )
        for c in moments.cells
        if c.first in at and c.second in at
    )
    levels = tuple(moments.levels[k][used[k]] for k in groups)
    structure = _structure(design, list(groups), cells)
    if structure.nested:
        cells = ()
    root = moments.root
    if root is not None:
        root = _narrowed_root(design, root, used) if groups else None
    return structure, replace(moments, levels=levels, cells=cells, root=root)


def _narrowed_root(design: Design, root: Array, used: dict[int, Any]) -> Array:
    """A root of the products of fewer columns: those of some grouping factors are taken out."""
    kept, at = [], 0
    for k, group in enumerate(design.groups):
        width, n = len(group.uses), len(group.levels)
        if k in used:
            kept.append((at + width * np.arange(n)[:, None] + used[k]).ravel())
        at += width * n
    kept.append(np.arange(at, root.shape[1]))
    return np.asarray(np.linalg.qr(root[:, np.concatenate(kept)], mode="r"))


def _structure(design: Design, kept: list[int], cells: tuple[Cells, ...]) -> Structure:
    """How the grouping factors that are left lie in each other."""
    if len(kept) == len(design.groups):
        return design.structure
    parents: list[NDArray[np.intp]] = []
    for i, (fine, coarse) in enumerate(pairwise(kept)):
        if design.structure.nested:
            parent = design.structure.parents[fine]
            for k in range(fine + 1, coarse):
                parent = design.structure.parents[k][parent]
        else:
            pair = next(c for c in cells if (c.first, c.second) == (i, i + 1))
            if len(pair.rows) > len(design.groups[fine].levels):
                return Structure(nested=False, parents=())
            parent = pair.cols
        parents.append(parent)
    return Structure(nested=True, parents=tuple(parents))
