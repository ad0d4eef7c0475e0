"""Sums of many segments to designs and responses in working units, and the way back.

What `working` does for one design, for a stack of them whose columns are all independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.basis import DEPENDENT, REFINE
from mixedmodels.design.segments import SegmentRows
from mixedmodels.likelihood.batch import OneFactor, Responses, choleskys
from mixedmodels.likelihood.covariance import make_template
from mixedmodels.moments.segments import SegmentSums

# share of the constant that X may leave over where it makes the constant
CONSTANT_LEFT = 1e-9


@dataclass(frozen=True, slots=True)
class Segments:
    """Designs and responses of some segments, working units.

    Attributes
    ----------
    design : OneFactor
    responses : Responses
    x_root : ndarray of shape (n, p, p)
        Upper triangular; ``X = X_working @ x_root``.
    constant : ndarray of shape (n, p)
        Coefficients with which X makes the constant; zeros where it does not.
    z_roots : tuple of ndarray of shape (n, q, q)
        Per random term; ``Z = Z_working @ z_root``.
    """

    design: OneFactor
    responses: Responses
    x_root: Array
    constant: Array
    z_roots: tuple[Array, ...]


def make_segments(
    rows: SegmentRows,
    sums: SegmentSums,
    x: Array,
    terms: Sequence[Array],
    *,
    reml: bool,
) -> tuple[NDArray[np.intp], Segments]:
    """Working designs of the segments whose columns are independent.

    Parameters
    ----------
    rows : SegmentRows
    sums : SegmentSums
        Of these rows.
    x : ndarray of shape (c, p)
        Columns of X over the columns before they were standardised, the constant first.
    terms : sequence of ndarray of shape (c, q)
        Columns of each random term.
    reml : bool

    Returns
    -------
    which : ndarray of int
        Segments that are here.
    segments : Segments
    """
    cross, n = sums.cross, rows.n[:, None, None]
    half = choleskys(np.where(rows.regular[:, None, None], cross[:, :-1, :-1] / n, np.nan))
    # as `basis.make_basis`: what others nearly determine is taken apart at the rows
    pivots = np.square(np.einsum("nii->ni", half))
    good = rows.regular & (pivots.min(axis=1) >= REFINE)
    if pivots.shape[1] < 3:
        good = rows.regular & np.isfinite(pivots).all(axis=1)
    good &= max(columns.shape[1] for columns in (x, *terms)) <= half.shape[1]
    which = np.flatnonzero(good)
    if not len(which):
        return which, _nothing(rows, x, terms, reml=reml)
    metric = half[which].transpose(0, 2, 1)
    centre, scale = rows.centre[:, which].T, rows.scale[:, which].T
    x_recipe, x_root, independent = _orthogonal(metric, _recipes(centre, scale, x))
    lefts, z_roots = [], []
    for term in terms:
        recipe = _recipes(centre, scale, term)
        left, root, sound = _orthogonal(metric, recipe)
        # a base column that the term does not read cannot enter it
        lefts.append(np.where((recipe != 0.0).any(axis=2)[:, :, None], left, 0.0))
        z_roots.append(root)
        independent &= sound
    kept = np.flatnonzero(independent)
    if len(kept) < len(which):
        which, metric = which[kept], metric[kept]
        x_recipe, x_root = x_recipe[kept], x_root[kept]
        lefts, z_roots = [a[kept] for a in lefts], [a[kept] for a in z_roots]
    constant, has = _constant(metric, x_recipe, x_root)
    right = np.zeros((len(which), cross.shape[1], x.shape[1] + 1))
    right[:, :-1, :-1], right[:, -1, -1] = x_recipe, 1.0
    right[:, 0, -1] = np.where(has, 0.0, rows.y_centre[which] / rows.y_scale[which])
    design, responses = _products(sums, which, rows.n[which], lefts, right, reml=reml)
    return which, Segments(design, responses, x_root, constant, tuple(z_roots))


def _nothing(rows: SegmentRows, x: Array, terms: Sequence[Array], *, reml: bool) -> Segments:
    p, sizes = x.shape[1], [term.shape[1] for term in terms]
    q = sum(sizes)
    design = OneFactor(
        make_template(sizes),
        np.empty((0, q, q, rows.width)),
        np.empty((0, q, p, rows.width)),
        np.empty((0, p, p)),
        np.empty(0, np.int64),
        reml,
    )
    responses = Responses(np.empty((0, q, rows.width)), np.empty((0, p)), np.empty(0))
    roots = tuple(np.empty((0, size, size)) for size in sizes)
    return Segments(design, responses, np.empty((0, p, p)), np.empty((0, p)), roots)


def _recipes(centre: Array, scale: Array, source: Array) -> Array:
    """Columns over the base columns of each segment, (n, c, q)."""
    out = scale[:, :, None] * source
    out[:, 0] += centre @ source
    return np.asarray(out)


def _orthogonal(metric: Array, recipe: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Orthogonal columns that span the given ones, the root, and whether all are independent."""
    columns = metric @ recipe
    orthogonal, root = np.linalg.qr(columns)
    lengths = np.sqrt(np.square(columns).sum(axis=1))
    pivots = np.abs(np.einsum("nii->ni", root))
    independent = ((lengths > 0.0) & (pivots > DEPENDENT * lengths)).all(axis=1)
    return np.linalg.solve(metric, orthogonal), root, independent


def _constant(metric: Array, x_recipe: Array, x_root: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Coefficients with which X makes the constant, and where it does."""
    orthogonal = metric @ x_recipe
    target = metric[:, :, 0]
    along = np.einsum("ncp,nc->np", orthogonal, target)
    left = target - np.einsum("ncp,np->nc", orthogonal, along)
    has = np.sqrt(np.square(left).sum(axis=1)) < CONSTANT_LEFT
    if not x_root.shape[1]:
        return along, has
    constant = np.linalg.solve(x_root, along[:, :, None])[:, :, 0]
    return np.where(has[:, None], constant, 0.0), has


def _products(
    sums: SegmentSums,
    which: NDArray[np.intp],
    n: NDArray[np.int64],
    lefts: Sequence[Array],
    right: Array,
    *,
    reml: bool,
) -> tuple[OneFactor, Responses]:
    """Cross-products of the working columns."""
    cross = right.transpose(0, 2, 1) @ sums.cross[which] @ right
    template = make_template([left.shape[2] for left in lefts])
    count, q, p = len(which), template.q, right.shape[2] - 1
    levels = sums.levels[which]
    _, z, width, n_levels = levels.shape
    left = np.concatenate([np.empty((count, right.shape[1] - 1, 0)), *lefts], axis=2)
    half = left[:, sums.uses].transpose(0, 2, 1) @ levels.reshape(count, z, width * n_levels)
    half = half.reshape(count, q, width, n_levels)
    padded = np.pad(left, ((0, 0), (0, 1), (0, 0)))
    columns = np.concatenate([padded, right], axis=2).transpose(0, 2, 1)
    g = np.matmul(columns[:, None], half)
    design = OneFactor(
        template,
        np.ascontiguousarray(g[:, :, :q]),
        np.ascontiguousarray(g[:, :, q : q + p]),
        np.ascontiguousarray(cross[:, :p, :p]),
        n,
        reml,
    )
    zy = np.ascontiguousarray(g[:, :, -1])
    return design, Responses(zy, np.ascontiguousarray(cross[:, :p, p]), cross[:, p, p].copy())
