"""The fixed part without some rows: cross-products of what is left, by updating, not by refits.

With e = y - X b and theta held, ``[X e]' V^-1 [X e]`` without the rows I is what it was less
Q' (V^-1)_II^-1 Q, with Q the rows I of V^-1 [X e]. Three ways there:

- levels between which V is block diagonal, or that lie in a chain of nested factors: sums of the
  level are taken out of those of the levels above and these are eliminated again, all at once;
- levels of crossed factors: (V^-1)_II of the rows of each;
- else, and with theta estimated again: the moments of the rows are subtracted, and V is eliminated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.build import Rows
from mixedmodels.design.grouping import observed
from mixedmodels.inference.replicates import warm_start
from mixedmodels.likelihood.crossed import CrossedBlocks
from mixedmodels.likelihood.objective import Evaluation, Objective
from mixedmodels.likelihood.working import assemble, group_recipe
from mixedmodels.model.predict import training_parts
from mixedmodels.model.record import Fit
from mixedmodels.moments.memory import collect_moments, level_sums
from mixedmodels.optimize import minimise

Codes = NDArray[np.int64]

# numbers in the sums of a portion of the levels
PORTION = 4_000_000
# rows of a level of a crossed design from which subtracting its moments is cheaper than V^-1
MANY = 600


@dataclass(frozen=True, slots=True)
class Left:
    """What is left without each of some levels, working units.

    Attributes
    ----------
    levels : ndarray of int, shape (k,)
    cross : ndarray of shape (k, p + 1, p + 1)
        ``[X e]' V^-1 [X e]`` of the rows left, e the residuals from the fixed part of all rows.
    theta : ndarray of shape (k, n_theta), optional
        Estimated again, working units.
    """

    levels: NDArray[np.intp]
    cross: Array
    theta: Array | None = None


def residual_columns(fit: Fit) -> tuple[list[Array], Array]:
    """Working columns of Z of each factor, and of ``[X e]``, over the rows."""
    z = [group_recipe(terms).T @ fit.rows.base for terms in fit.working.terms]
    x = fit.working.fixed.recipe.T @ fit.rows.base
    recipe = fit.working.y_recipe
    e = fit.rows.y + recipe[:-1] @ fit.rows.base + fit.optimum.at.profile.coefs[:-1] @ x
    return z, np.vstack([x, e])


def residual_cross(fit: Fit) -> Array:
    """``[X e]' V^-1 [X e]`` of all rows."""
    at, p = fit.optimum.at, len(fit.working.fixed.kept)
    cross = np.zeros((p + 1, p + 1))
    cross[:p, :p] = at.reduced.cross[:p, :p]
    cross[p, p] = at.profile.r2
    return cross


def without_levels(fit: Fit, codes: Codes, n_levels: int) -> Iterator[Left]:
    """What is left without each level, theta held, in portions that cover all levels once.

    Parameters
    ----------
    fit : Fit
    codes : ndarray of int, shape (n,)
        Level of each row.
    n_levels : int
    """
    below = _place_in_chain(fit, codes, n_levels)
    if below is not None:
        yield from _by_chain(fit, codes, n_levels, below)
        return
    counts = np.bincount(codes, minlength=n_levels)
    by_rows = isinstance(fit.objective.blocks, CrossedBlocks) & (counts <= MANY)
    if by_rows.any():
        yield from _by_rows(fit, codes, np.flatnonzero(by_rows))
    for level, rows in rows_of_levels(codes, np.flatnonzero(~by_rows)):
        yield _by_subtraction(fit, level, rows)


def rows_of_levels(
    codes: Codes, levels: NDArray[np.intp]
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each level with its rows."""
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))
    for level in levels.tolist():
        yield level, order[(ends[level - 1] if level else 0) : ends[level]]


# --- a chain of nested factors --------------------------------------------------------------------


def _place_in_chain(fit: Fit, codes: Codes, n_levels: int) -> int | None:
    """How many grouping factors lie in the levels, if the levels lie in all others; else None."""
    if not fit.design.structure.nested:
        return None
    sizes = [len(group.levels) for group in fit.design.groups]
    below = 0
    while below < len(sizes) and _lies_in(fit.rows.codes[below], codes, sizes[below]):
        below += 1
    if below < len(sizes) and not _lies_in(codes, fit.rows.codes[below], n_levels):
        return None
    return below


def _lies_in(fine: Codes, coarse: Codes, size: int) -> bool:
    return np.array_equal(_parents(fine, coarse, size)[fine], coarse)


def _parents(fine: Codes, coarse: Codes, size: int) -> NDArray[np.intp]:
    """The coarse level of each fine one."""
    parent = np.zeros(size, np.intp)
    parent[fine] = coarse
    return parent


def _by_chain(fit: Fit, codes: Codes, n_levels: int, below: int) -> Iterator[Left]:
    z, right = residual_columns(fit)
    columns = np.concatenate([*z, right])
    stages = [*fit.rows.codes[:below], codes, *fit.rows.codes[below:]]
    sizes = [len(group.levels) for group in fit.design.groups]
    sizes.insert(below, n_levels)
    whole = residual_cross(fit)
    for rows in _portions(stages[-1], sizes[-1], sizes[0] * len(columns) ** 2):
        own = [observed(stage[rows], size) for stage, size in zip(stages, sizes, strict=True)]
        weights = None if fit.rows.weights is None else fit.rows.weights[rows]
        removed = _removed(
            columns[:, rows], weights, [c for _, c in own], list(fit.optimum.at.factors), below
        )
        yield Left(own[below][0], whole - removed)


def _portions(codes: Codes, n_levels: int, numbers: int) -> Iterator[NDArray[np.intp]]:
    """Rows of some levels at a time, so many that their sums fit in `PORTION` numbers."""
    count = min(-(-numbers // PORTION), n_levels)
    if count <= 1:
        yield np.arange(len(codes))
        return
    counts = np.bincount(codes, minlength=n_levels)
    portion = (np.cumsum(counts) - 1) * count // len(codes)
    for _, rows in rows_of_levels(portion[codes], np.unique(portion)):
        yield rows


def _removed(
    columns: Array, weights: Array | None, stages: list[Codes], factors: list[Array], below: int
) -> Array:
    """What each level of stage `below` adds to ``[X e]' V^-1 [X e]``, shape (k, w, w).

    Parameters
    ----------
    columns : ndarray of shape (c, n)
        ``[Z | X e]``, the finest factor first.
    weights : ndarray of shape (n,), optional
    stages : list of ndarray of int
        Levels of the factors and, at place `below`, those to be left out; each lies in the next.
    factors : list of ndarray
        Lambda of each factor.
    below : int
    """
    sizes = [int(stage.max()) + 1 for stage in stages]
    parents = [
        _parents(fine, coarse, size)
        for fine, coarse, size in zip(stages, stages[1:], sizes, strict=False)
    ]
    every = np.arange(len(columns))
    sums = level_sums(columns, weights, stages[0], sizes[0], every, counted=False)
    own = np.ascontiguousarray(sums.transpose(2, 0, 1))
    for factor, parent in zip(factors[:below], parents, strict=False):
        own = _sum_within(_eliminated(own, factor), parent)
    if below == len(factors):
        return own
    at = parents[below]
    whole = _sum_within(own, at)
    left = whole[at] - own
    for k, factor in enumerate(factors[below:], below):
        whole, left = _eliminated(whole, factor), _eliminated(left, factor)
        if k + 1 < len(factors):
            up = parents[k + 1]
            above = _sum_within(whole, up)
            left = above[up[at]] - whole[at] + left
            whole, at = above, up[at]
    return whole[at] - left


def _eliminated(sums: Array, factor: Array) -> Array:
    """Cross-products once the first columns, random effects, are eliminated: (k, c, c)."""
    q = len(factor)
    half = factor.T @ sums[:, :q, q:]
    omega = factor.T @ sums[:, :q, :q] @ factor + np.eye(q)
    explained = half.transpose(0, 2, 1) @ np.linalg.solve(omega, half)
    return np.asarray(sums[:, q:, q:] - explained)


def _sum_within(values: Array, parent: NDArray[np.intp]) -> Array:
    """Sums over the levels inside each coarser one, along the first axis."""
    order = np.argsort(parent, kind="stable")
    starts = np.flatnonzero(np.diff(parent[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[order], starts, axis=0))


# --- crossed factors ------------------------------------------------------------------------------


def _by_rows(fit: Fit, codes: Codes, levels: NDArray[np.intp]) -> Iterator[Left]:
    at = fit.optimum.at
    blocks: Any = fit.objective.blocks
    _, right = training_parts(fit)
    weights = np.ones(fit.n_obs) if fit.rows.weights is None else fit.rows.weights
    e = (fit.response - fit.fitted) / fit.design.y_scale
    # rows of V^-1 [X e]
    solved = (np.vstack([right, e]) * weights).T
    z = [group_recipe(terms).T @ fit.rows.base for terms in fit.working.terms]
    places = [order[c] for order, c in zip(fit.working.orders, fit.rows.codes, strict=True)]
    whole, cross = residual_cross(fit), np.empty((len(levels), len(right) + 1, len(right) + 1))
    for k, (_, rows) in enumerate(rows_of_levels(codes, levels)):
        inner = blocks.row_products(
            at.reduced, at.factors, [p[rows] for p in places], [part[:, rows] for part in z]
        )
        w = weights[rows]
        block = np.diag(w) - w[:, None] * inner * w
        cross[k] = whole - solved[rows].T @ np.linalg.solve(block, solved[rows])
    yield Left(levels, cross)


# --- any structure --------------------------------------------------------------------------------


def _by_subtraction(fit: Fit, level: int, rows: NDArray[np.intp]) -> Left:
    blocks = objective_without(fit, rows).blocks
    try:
        cross = _about(fit, blocks.reduce(fit.optimum.at.factors).cross)
    except np.linalg.LinAlgError:
        cross = np.full((blocks.cross.shape), np.nan)
    return Left(np.array([level]), cross[None])


def fit_without(fit: Fit, level: int, rows: NDArray[np.intp]) -> Left:
    """What is left without some rows, theta estimated again; nan where that fails."""
    objective = objective_without(fit, rows)
    at = _minimum(objective, warm_start(fit))
    if at is None:
        nothing = np.full(objective.blocks.cross.shape, np.nan)
        return Left(np.array([level]), nothing[None], np.full((1, len(fit.theta)), np.nan))
    return Left(np.array([level]), _about(fit, at.reduced.cross)[None], at.theta[None])


def objective_without(fit: Fit, rows: NDArray[np.intp]) -> Objective:
    """The criterion of the model without some rows, in the working units of all rows."""
    moments = fit.moments - collect_moments(fit.design, _taken(fit.rows, rows))
    working = fit.working
    blocks = assemble(fit.design, moments, working.fixed, working.terms, working.templates).blocks
    return replace(fit.objective, blocks=blocks, n=moments.n)


def _taken(rows: Rows, which: NDArray[np.intp]) -> Rows:
    """Some of the rows."""
    return Rows(
        rows.base[:, which],
        rows.y[which],
        tuple(codes[which] for codes in rows.codes),
        None if rows.weights is None else rows.weights[which],
        rows.weight_scale,
        None if rows.offset is None else rows.offset[which],
    )


def _minimum(objective: Objective, start: Array) -> Evaluation | None:
    try:
        if not len(start):
            return objective.evaluate(start)
        found = minimise(objective, start)
    except np.linalg.LinAlgError:
        return None
    return None if found.verdict == "not converged" else found.at


def _about(fit: Fit, cross: Array) -> Array:
    """``[X y]' V^-1 [X y]`` to ``[X e]' V^-1 [X e]``, e the residuals of all rows."""
    turn = np.eye(len(cross))
    turn[:, -1] = fit.optimum.at.profile.coefs
    return np.asarray(turn.T @ cross @ turn)
