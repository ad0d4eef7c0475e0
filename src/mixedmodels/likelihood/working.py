"""Moments to blocks in working units, and estimates back to the user's units.

Working units: X orthogonal, each random term's columns orthogonal over all rows (a term of one
column only scaled), the response centred where X holds a constant. Nothing in them depends on the
position or the unit of a covariate, so neither do the optimum and its precision; the way back is
exact (triangular solves).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from mixedmodels.arrays import Array, solve_upper
from mixedmodels.design.basis import DEPENDENT, independent, pair_product
from mixedmodels.design.build import Design
from mixedmodels.errors import DataError, DataWarning, warn
from mixedmodels.likelihood.assembly import make_blocks, renew_crossed
from mixedmodels.likelihood.covariance import (
    Template,
    make_template,
    theta_from_factors,
    triangular,
)
from mixedmodels.likelihood.nested import NestedBlocks
from mixedmodels.likelihood.rooted import RootedBlocks
from mixedmodels.moments.cross_products import Moments

# corrections of orthogonal columns, and the least that is worth another
MOST_ROUNDS, NEARLY = 5, 1e-4


@dataclass(frozen=True, slots=True)
class FixedMap:
    """Between the user's fixed-effect columns and the working ones.

    Attributes
    ----------
    kept : ndarray of int, shape (p,)
        Columns that are not combinations of earlier ones.
    relations : tuple of (int, str)
        Dropped columns and what they equal.
    recipe : ndarray of shape (c, p)
        Working columns over the base columns.
    root : ndarray of shape (p, p)
        Upper triangular; ``X = X_working @ root``.
    constant : ndarray of shape (p,), optional
        Coefficients with which X makes the constant, if it does.
    """

    kept: NDArray[np.intp]
    relations: tuple[tuple[int, str], ...]
    recipe: Array
    root: Array
    constant: Array | None


@dataclass(frozen=True, slots=True)
class TermMap:
    """Between one random term's columns and its working columns.

    Attributes
    ----------
    kept : ndarray of int, shape (q,)
        Columns that are not combinations of earlier ones in the term.
    recipe : ndarray of shape (c, q)
    root : ndarray of shape (q, q)
        ``Z = Z_working @ root``, so that ``b = root^-1 b_working``.
    """

    kept: NDArray[np.intp]
    recipe: Array
    root: Array


@dataclass(frozen=True, slots=True)
class Working:
    """A design and its moments, ready for the objective.

    Attributes
    ----------
    fixed : FixedMap
    terms : tuple of tuple of TermMap
        Per grouping factor, per term.
    templates : tuple of Template
    blocks : NestedBlocks, CrossedBlocks or RootedBlocks
    orders : tuple of ndarray of int
        For each factor, the position of each level inside the blocks.
    y_recipe : ndarray of shape (c + 1,)
        Working response over base columns and base response.
    """

    fixed: FixedMap
    terms: tuple[tuple[TermMap, ...], ...]
    templates: tuple[Template, ...]
    blocks: Any
    orders: tuple[NDArray[np.intp], ...]
    y_recipe: Array


def make_working(design: Design, moments: Moments) -> Working:
    """Choose working columns from the moments and assemble the blocks.

    Raises
    ------
    DataError
        No residual degrees of freedom.
    """
    root = metric_root(moments)
    fixed = _fixed_map(design, root, moments.n)
    terms = tuple(
        tuple(
            _term_map(term.recipe, _low(design, term.names), root, term.names, term.text)
            for term in group.terms
        )
        for group in design.groups
    )
    templates = tuple(make_template([len(t.kept) for t in group]) for group in terms)
    return assemble(design, moments, fixed, terms, templates)


def metric_root(moments: Moments) -> Array:
    """Upper triangular R: lengths of ``R @ recipe`` are root mean squares over the rows."""
    return np.asarray(np.linalg.cholesky(moments.cross[:-1, :-1] / moments.n).T)


def assemble(
    design: Design,
    moments: Moments,
    fixed: FixedMap,
    terms: tuple[tuple[TermMap, ...], ...],
    templates: tuple[Template, ...],
) -> Working:
    """Cross-products of the working columns, in the storage that the structure asks for."""
    size = len(moments.cross) - 1
    y_recipe = _response_recipe(design, fixed, size)
    right = _right_recipe(fixed, y_recipe)
    lefts = [group_recipe(group) for group in terms]
    blocks, orders = make_blocks(design, moments, lefts, right)
    return Working(fixed, terms, templates, blocks, orders, y_recipe)


def _response_recipe(design: Design, fixed: FixedMap, size: int) -> Array:
    """Working response over base columns and base response."""
    recipe = np.zeros(size + 1)
    recipe[-1] = 1.0
    if fixed.constant is None:
        recipe[0] = design.y_centre / design.y_scale
    return recipe


def _right_recipe(fixed: FixedMap, y_recipe: Array) -> Array:
    """Working ``[X y]`` over base columns and base response."""
    right = np.zeros((len(y_recipe), len(fixed.kept) + 1))
    right[:-1, :-1] = fixed.recipe
    right[:, -1] = y_recipe
    return right


def group_recipe(terms: Sequence[TermMap]) -> Array:
    """Working columns of all terms on one grouping factor over the base columns, (c, q)."""
    return np.concatenate([term.recipe for term in terms], axis=1)


def _lengths(columns: Array) -> Array:
    """Euclidean lengths, also of columns whose squares overflow."""
    largest = np.abs(columns).max(axis=0, initial=1e-300)
    return np.asarray(largest * np.linalg.norm(columns / largest, axis=0))


def _fixed_map(design: Design, root: Array, n: int) -> FixedMap:
    """Orthogonal columns spanning X; later columns that earlier ones determine are dropped."""
    in_metric = root @ design.x_recipe
    lengths = _lengths(in_metric)
    kept = np.flatnonzero(lengths > 0).tolist()
    relations = [(j, "0") for j in np.flatnonzero(lengths == 0).tolist()]
    orthogonal, upper = np.linalg.qr(in_metric[:, kept])
    small = np.abs(np.diag(upper)) <= DEPENDENT * lengths[kept[: len(upper)]]
    if small.any() or len(upper) < len(kept):
        rows, combine, places = independent(in_metric[:, kept].T, DEPENDENT * lengths[kept])
        dropped = sorted(set(range(len(kept))) - set(places))
        orthogonal, upper = rows.T, combine[places].T
        names = [design.x_names[kept[i]] for i in places]
        for i in dropped:
            at = int(np.searchsorted(places, i))
            weights = solve_upper(upper[:at, :at], combine[i, :at]) if at else np.empty(0)
            relations.append((kept[i], _relation(weights, names[:at])))
        kept = [kept[i] for i in places]
    p = len(kept)
    if p >= n:
        raise DataError(
            f"no residual degrees of freedom: {design.x_recipe.shape[1]} fixed-effect columns of "
            f"rank {p}, {n} rows. Take terms out of the formula"
        )
    recipe = solve_upper(root, orthogonal) if p else np.empty((len(root), 0))
    low = _low(design, [design.x_names[j] for j in kept])
    if p and low is not None:
        recipe, orthogonal, upper = _exactly(design.x_recipe[:, kept], low, root, upper)
    constant = None
    if p:
        target = root[:, 0]
        along = orthogonal.T @ target
        if np.linalg.norm(target - orthogonal @ along) < 1e-9:
            constant = solve_upper(upper, along)
    return FixedMap(np.array(kept, np.intp), tuple(sorted(relations)), recipe, upper, constant)


def _low(design: Design, names: Sequence[str]) -> Array | None:
    """What rounding leaves out of the recipes of some columns, where they are nearly dependent."""
    if not design.low or len(names) < 2:
        return None
    none = np.zeros(len(design.x_recipe))
    return np.stack([design.low.get(name, none) for name in names], axis=1)


def _exactly(recipe: Array, low: Array, root: Array, upper: Array) -> tuple[Array, Array, Array]:
    """Orthogonal combinations of nearly dependent columns, what cancels taken in pairs of doubles.

    Parameters
    ----------
    recipe, low : ndarray of shape (c, p)
        Columns over the base columns, as a sum.
    root : ndarray of shape (c, c)
        Of the metric.
    upper : ndarray of shape (p, p)
        As `numpy.linalg.qr` found it.

    Returns
    -------
    recipe : ndarray of shape (c, p)
    orthogonal : ndarray of shape (c, p)
        The same in the metric.
    upper : ndarray of shape (p, p)
        ``columns = combinations @ upper``.
    """
    for _ in range(MOST_ROUNDS):
        inverse = inverse_upper(upper)
        apart = pair_product(recipe, low, inverse)
        # the inverse of the inverse that was used, to the last digit
        missed = np.eye(len(upper)) - pair_product(inverse, np.zeros_like(inverse), upper)
        upper = upper + upper @ missed
        orthogonal, again = np.linalg.qr(root @ apart)
        again *= (signs := np.sign(np.diag(again)))[:, None]
        orthogonal, upper = orthogonal * signs, again @ upper
        if np.abs(again - np.eye(len(again))).max() < NEARLY:
            break
    return solve_upper(again.T, apart.T).T, orthogonal, upper


def _relation(weights: Array, names: Sequence[str]) -> str:
    """A readable combination: ``2*x - z``."""
    largest = float(np.abs(weights).max(initial=0.0))
    used = [
        (w, name)
        for w, name in zip(weights.tolist(), names, strict=True)
        if abs(w) > 1e-9 * largest
    ]
    text = ""
    for w, name in used[:4]:
        size = "" if np.isclose(abs(w), 1.0, rtol=1e-9) else f"{abs(w):.4g}*"
        sign = ("-" if w < 0 else "") if not text else (" - " if w < 0 else " + ")
        text += f"{sign}{size}{name}"
    return (text or "0") + (" + ..." if len(used) > 4 else "")


def _term_map(
    recipe: Array, low: Array | None, root: Array, names: Sequence[str], text: str
) -> TermMap:
    """Working columns of one random term: orthogonal, unit mean square."""
    in_metric = root @ recipe
    lengths = _lengths(in_metric)
    kept = [j for j in range(len(names)) if lengths[j] > 0]
    while True:
        orthogonal, upper = np.linalg.qr(in_metric[:, kept])
        diagonal = np.abs(np.diag(upper))
        small = np.flatnonzero(diagonal <= DEPENDENT * lengths[kept[: len(diagonal)]])
        if len(small):
            kept.pop(int(small[0]))
        elif len(diagonal) < len(kept):
            kept.pop(len(diagonal))
        else:
            break
    if len(kept) < len(names):
        gone = ", ".join(f"'{names[j]}'" for j in range(len(names)) if j not in kept)
        warn(
            f"in {text}, {gone} is a combination of the term's other columns: its variance is not "
            "identified and is left at zero. Take it out of the term",
            DataWarning,
        )
    solved = solve_upper(root, orthogonal)
    if kept and low is not None:
        solved, _, upper = _exactly(recipe[:, kept], low[:, kept], root, upper)
    # a base column that the term does not read cannot enter it: what stands there is rounding
    solved[~(recipe != 0.0).any(axis=1)] = 0.0
    return TermMap(np.array(kept, np.intp), solved, upper)


def respond(working: Working, design: Design, moments: Moments) -> Working:
    """The same working columns with another response."""
    size = len(moments.cross) - 1
    y_recipe = _response_recipe(design, working.fixed, size)
    if isinstance(working.blocks, RootedBlocks):
        # from totals again: whether these have digits enough depends on the response
        return assemble(design, moments, working.fixed, working.terms, working.templates)
    if not design.structure.nested:
        right = _right_recipe(working.fixed, y_recipe)
        lefts = [group_recipe(group) for group in working.terms]
        blocks = renew_crossed(working.blocks, design, moments, lefts, right)
        return replace(working, blocks=blocks, y_recipe=y_recipe)
    with_y = moments.cross @ y_recipe
    cross = working.blocks.cross.copy()
    cross[:-1, -1] = cross[-1, :-1] = working.fixed.recipe.T @ with_y[:size]
    cross[-1, -1] = y_recipe @ with_y
    stages = []
    for stage, sums, group, terms, order in zip(
        working.blocks.stages,
        moments.levels,
        design.groups,
        working.terms,
        working.orders,
        strict=True,
    ):
        g = stage.g.copy()
        left = group_recipe(terms)[group.uses]
        right = left.T @ np.einsum("zcl,c->zl", sums, y_recipe)
        g[:, -1] = right if len(working.orders) == 1 else right[:, np.argsort(order)]
        stages.append(replace(stage, g=g))
    return replace(working, blocks=NestedBlocks(stages, cross), y_recipe=y_recipe)


def working_theta(working: Working, design: Design, theta: Array, weight_scale: float) -> Array:
    """Theta in the user's order and units to working theta.

    Raises
    ------
    DataError
        A wrong number of values.
    """
    order = design.theta_order
    sizes = [len(design.groups[g].terms[t].names) for g, t in order]
    expected = sum(q * (q + 1) // 2 for q in sizes)
    if theta.shape != (expected,) or not np.isfinite(theta).all():
        raise DataError(f"start must hold {expected} finite values for theta, got {theta.tolist()}")
    factors = [np.zeros((t.q, t.q)) for t in working.templates]
    at = 0
    for (group, term), q in zip(order, sizes, strict=True):
        count = q * (q + 1) // 2
        template = make_template([q])
        lower = np.zeros((q, q))
        lower[template.rows, template.cols] = theta[at : at + count]
        at += count
        part = working.templates[group].parts[term]
        mapping = working.terms[group][term]
        block = mapping.root @ lower[mapping.kept] * np.sqrt(weight_scale)
        factors[group][part, part] = triangular(block)
    return theta_from_factors(working.templates, factors)


def beta_from_working(fixed: FixedMap, beta: Array, y_centre: float, y_scale: float) -> Array:
    """Fixed effects in the user's units."""
    if not len(fixed.kept):
        return np.empty(0)
    out = np.asarray(solve_upper(fixed.root, beta)) * y_scale
    if fixed.constant is not None:
        out = out + y_centre * fixed.constant
    return out


def inverse_root(fixed: FixedMap) -> Array:
    """``root^-1``: covariance in user units is ``root^-1 C root^-T``."""
    return inverse_upper(fixed.root) if len(fixed.kept) else np.empty((0, 0))


def inverse_upper(upper: Array) -> Array:
    """Inverse of an upper triangular matrix."""
    return np.asarray(np.triu(lapack.dtrtri(upper)[0]))


def effects_from_working(terms: Sequence[TermMap], square_root: Array) -> Array:
    """Rows of working random effects (or a factor of their covariance) in the user's units."""
    out, start = np.empty_like(square_root), 0
    for term in terms:
        stop = start + len(term.kept)
        out[start:stop] = solve_upper(term.root, square_root[start:stop])
        start = stop
    return out
