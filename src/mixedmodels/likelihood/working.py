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

from mixedmodels.arrays import Array, solve_upper, times
from mixedmodels.design.basis import DEPENDENT
from mixedmodels.design.build import Design
from mixedmodels.errors import DataError, DataWarning, warn
from mixedmodels.likelihood.centred import CentredBlocks
from mixedmodels.likelihood.covariance import (
    Template,
    make_template,
    theta_from_factors,
    triangular,
)
from mixedmodels.likelihood.nested import NestedBlocks, Stage
from mixedmodels.moments.cross_products import Moments


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
    blocks : NestedBlocks or CrossedBlocks
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
    root: Array = np.asarray(np.linalg.cholesky(moments.cross[:-1, :-1] / moments.n).T)
    fixed = _fixed_map(design, root, moments.n)
    terms = tuple(
        tuple(_term_map(term.recipe, root, term.names, term.text) for term in group.terms)
        for group in design.groups
    )
    templates = tuple(make_template([len(t.kept) for t in group]) for group in terms)
    return assemble(design, moments, fixed, terms, templates)


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
    right = np.zeros((size + 1, len(fixed.kept) + 1))
    right[:size, :-1] = fixed.recipe
    right[:, -1] = y_recipe
    lefts = [group_recipe(group) for group in terms]
    used = [group.uses for group in design.groups]
    cross = right.T @ moments.cross @ right
    store = _nested if design.structure.nested else _crossed
    blocks, orders = store(design, moments, used, lefts, right, cross)
    return Working(fixed, terms, templates, blocks, orders, y_recipe)


def _response_recipe(design: Design, fixed: FixedMap, size: int) -> Array:
    """Working response over base columns and base response."""
    recipe = np.zeros(size + 1)
    recipe[-1] = 1.0
    if fixed.constant is None:
        recipe[0] = design.y_centre / design.y_scale
    return recipe


def group_recipe(terms: Sequence[TermMap]) -> Array:
    """Working columns of all terms on one grouping factor over the base columns, (c, q)."""
    return np.concatenate([term.recipe for term in terms], axis=1)


def _fixed_map(design: Design, root: Array, n: int) -> FixedMap:
    """Orthogonal columns spanning X; later columns that earlier ones determine are dropped."""
    in_metric = root @ design.x_recipe
    lengths = np.linalg.norm(in_metric, axis=0)
    kept = [j for j in range(in_metric.shape[1]) if lengths[j] > 0]
    relations = [(j, "0") for j in range(in_metric.shape[1]) if lengths[j] == 0]
    while True:
        orthogonal, upper = np.linalg.qr(in_metric[:, kept])
        size = upper.shape[0]
        small = np.flatnonzero(np.abs(np.diag(upper)) <= DEPENDENT * lengths[kept[:size]])
        if len(small):
            at = int(small[0])
        elif size < len(kept):
            at = size
        else:
            break
        weights = solve_upper(upper[:at, :at], upper[:at, at]) if at else np.empty(0)
        names = [design.x_names[kept[i]] for i in range(at)]
        relations.append((kept[at], _relation(weights, names)))
        kept.pop(at)
    p = len(kept)
    if p >= n:
        raise DataError(
            f"no residual degrees of freedom: {design.x_recipe.shape[1]} fixed-effect columns of "
            f"rank {p}, {n} rows. Take terms out of the formula"
        )
    recipe = solve_upper(root, orthogonal) if p else np.empty((len(root), 0))
    constant = None
    if p:
        target = root[:, 0]
        along = orthogonal.T @ target
        if np.linalg.norm(target - orthogonal @ along) < 1e-9:
            constant = solve_upper(upper, along)
    return FixedMap(np.array(kept, np.intp), tuple(sorted(relations)), recipe, upper, constant)


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


def _term_map(recipe: Array, root: Array, names: Sequence[str], text: str) -> TermMap:
    """Working columns of one random term: orthogonal, unit mean square."""
    in_metric = root @ recipe
    lengths = np.linalg.norm(in_metric, axis=0)
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
    # a base column that the term does not read cannot enter it: what stands there is rounding
    solved[~(recipe != 0.0).any(axis=1)] = 0.0
    return TermMap(np.array(kept, np.intp), solved, upper)


def _nested(
    design: Design,
    moments: Moments,
    used: Sequence[NDArray[np.intp]],
    lefts: Sequence[Array],
    right: Array,
    cross: Array,
) -> tuple[NestedBlocks, tuple[NDArray[np.intp], ...]]:
    orders, parents = _consecutive(design)
    inverses = [np.argsort(order) for order in orders]
    stages = []
    size = right.shape[0]
    padded = [_left_padded(left, size) for left in lefts]
    stage_columns = [np.concatenate([*padded[k:], right], axis=1) for k in range(len(lefts))]
    for k, (sums, z, left) in enumerate(zip(moments.levels, used, lefts, strict=True)):
        g = _sandwich(left[z], sums, stage_columns[k])
        if len(orders) > 1:
            g = np.ascontiguousarray(g[:, :, inverses[k]])
        parent = parents[k] if k < len(parents) else np.empty(0, np.intp)
        starts, above = [], np.arange(g.shape[-1])
        for j in range(k, len(parents)):
            above = parents[j][above]
            starts.append(np.flatnonzero(np.diff(above, prepend=-1)))
        stages.append(Stage(g, parent, tuple(starts)))
    if moments.within is None:
        return NestedBlocks(stages, cross), orders
    within = [
        _sandwich(left[z], sums, columns)[:, :, inverse]
        for left, z, sums, columns, inverse in zip(
            lefts, used, moments.within.levels, stage_columns, inverses, strict=True
        )
    ]
    centred = CentredBlocks(
        stages,
        cross,
        within,
        right.T @ moments.within.cross @ right,
        (stage_columns[0].T @ moments.within.means)[:, inverses[0]],
        moments.within.counts[inverses[0]],
    )
    return centred, orders


def _left_padded(left: Array, size: int) -> Array:
    """A recipe over the base columns, with a zero for the response."""
    return np.pad(left, ((0, size - len(left)), (0, 0)))


def _sandwich(left: Array, sums: Array, right: Array) -> Array:
    """``left' sums right`` for every level: (z, q), (z, c, L), (c, d) -> (q, d, L)."""
    z, c, n_levels = sums.shape
    half = times(left.T, sums.reshape(z, -1)).reshape(-1, c, n_levels)
    return np.ascontiguousarray(times(right.T, half))


def _consecutive(
    design: Design,
) -> tuple[tuple[NDArray[np.intp], ...], list[NDArray[np.intp]]]:
    """Order levels so that the children of a level are consecutive, from the coarsest down."""
    sizes = [len(g.levels) for g in design.groups]
    if not sizes:
        return (), []
    orders = [np.arange(sizes[-1])]
    parents: list[NDArray[np.intp]] = []
    for parent in reversed(design.structure.parents):
        above = orders[0][parent]
        sequence = np.argsort(above, kind="stable")
        order = np.empty_like(sequence)
        order[sequence] = np.arange(len(sequence))
        orders.insert(0, order)
        parents.insert(0, above[sequence])
    return tuple(orders), parents


def _crossed(
    design: Design,
    moments: Moments,
    used: Sequence[NDArray[np.intp]],
    lefts: Sequence[Array],
    right: Array,
    cross: Array,
) -> tuple[Any, tuple[NDArray[np.intp], ...]]:
    # SciPy's sparse matrices load only for crossed designs
    from scipy import sparse

    from mixedmodels.likelihood.crossed import CrossedBlocks

    size = right.shape[0]
    sizes = [(left.shape[1], len(g.levels)) for left, g in zip(lefts, design.groups, strict=True)]
    first = np.concatenate([_left_padded(lefts[0], size), right], axis=1)
    g = _sandwich(lefts[0][used[0]], moments.levels[0], first)
    ends = np.cumsum([0, *(q * n for q, n in sizes[1:])])
    m = int(ends[-1])
    rest, rest_w = np.zeros((m, m)), np.zeros((m, right.shape[1]))
    for k in range(1, len(sizes)):
        q, n = sizes[k]
        own = _sandwich(
            lefts[k][used[k]],
            moments.levels[k],
            np.concatenate([_left_padded(lefts[k], size), right], axis=1),
        )
        at = ends[k - 1] + np.arange(n) * q
        for i in range(q):
            for j in range(q):
                rest[at + i, at + j] = own[i, j]
            rest_w[at + i] = own[i, q:].T
    links = []
    for cell in moments.cells:
        left = lefts[cell.first][used[cell.first]]
        partner = lefts[cell.second][used[cell.second]]
        values = np.einsum("ai,abl,bj->ijl", left, cell.sums, partner)
        row, col = cell.rows * left.shape[1], cell.cols * partner.shape[1]
        row_index = row + np.arange(left.shape[1])[:, None, None]
        col_index = col + np.arange(partner.shape[1])[None, :, None]
        row_index, col_index = np.broadcast_arrays(row_index, col_index)
        if cell.first == 0:
            links.append(
                sparse.coo_array(
                    (
                        values.ravel(),
                        (row_index.ravel(), col_index.ravel() + ends[cell.second - 1]),
                    ),
                    shape=(sizes[0][0] * sizes[0][1], m),
                )
            )
        else:
            above, left_of = ends[cell.first - 1], ends[cell.second - 1]
            rest[row_index + above, col_index + left_of] = values
            rest[col_index + left_of, row_index + above] = values
    total = links[0]
    for link in links[1:]:
        total = total + link
    blocks = CrossedBlocks(g, sparse.csr_array(total), rest, rest_w, cross, sizes[1:])
    return blocks, tuple(np.arange(n) for _, n in sizes)


def respond(working: Working, design: Design, moments: Moments) -> Working:
    """The same working columns with another response."""
    if not design.structure.nested:
        return assemble(design, moments, working.fixed, working.terms, working.templates)
    size = len(moments.cross) - 1
    y_recipe = _response_recipe(design, working.fixed, size)
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
    inverse, _ = lapack.dtrtri(fixed.root)
    return np.asarray(np.triu(inverse))


def effects_from_working(terms: Sequence[TermMap], square_root: Array) -> Array:
    """Rows of working random effects (or a factor of their covariance) in the user's units."""
    out, start = np.empty_like(square_root), 0
    for term in terms:
        stop = start + len(term.kept)
        out[start:stop] = solve_upper(term.root, square_root[start:stop])
        start = stop
    return out
