"""Rows in memory to `Moments`, in one pass over chunks that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array, cross_products
from mixedmodels.design.basis import DEPENDENT
from mixedmodels.design.build import Design, Rows
from mixedmodels.design.grouping import observed
from mixedmodels.memory import check_memory
from mixedmodels.moments.cross_products import Cells, Moments, Within

CHUNK = 65_536
# sums, blocks and what one evaluation makes of them: as many arrays of that size live at once
COPIES = 5


def collect_moments(design: Design, rows: Rows) -> Moments:
    """Cross-products of all rows.

    Parameters
    ----------
    design : Design
    rows : Rows

    Returns
    -------
    Moments

    Raises
    ------
    MemoryLimitError
        The levels' products need more memory than there is.
    """
    columns = [*rows.base, rows.y]
    _check_size(design, len(columns))
    used = [group.uses for group in design.groups]
    levels = tuple(
        level_sums(columns, rows.weights, codes, len(group.levels), z)
        for codes, group, z in zip(rows.codes, design.groups, used, strict=True)
    )
    cells: list[Cells] = []
    if not design.structure.nested:
        for i in range(len(used)):
            cells.extend(_cells(columns, rows, design, used, i, j) for j in range(i + 1, len(used)))
    log_weights = 0.0 if rows.weights is None else float(np.log(rows.weights).sum())
    cross = cross_products(columns, rows.weights)
    return Moments(len(rows.y), log_weights, cross, levels, tuple(cells))


def _check_size(design: Design, width: int) -> None:
    """Refuse factors whose products, level by level, cannot be held."""
    sizes = [len(group.uses) * width * len(group.levels) for group in design.groups]
    if not sizes:
        return
    worst = design.groups[int(np.argmax(sizes))]
    n_columns = sum(len(term.names) for term in worst.terms)
    # the exact Hessian of a single factor sums products of four columns
    quartic = 3.0 * float(n_columns) ** 4 if len(design.groups) == 1 else 0.0
    check_memory(
        8.0 * (COPIES * sum(sizes) + quartic),
        f"'{worst.name}' has {len(worst.levels):,} levels, each with products of {n_columns} "
        f"random and {width} columns in all. Use fewer columns in its terms, such as "
        f"(1 | {worst.name}), fewer levels, or a machine with more memory",
    )


def collect_within(design: Design, rows: Rows) -> Within:
    """Cross-products apart from the first grouping factor's own columns: a second pass.

    Gram and Schmidt's method in every level at once, twice for each column.
    """
    columns = np.vstack([rows.base, rows.y])
    if rows.weights is not None:
        columns *= np.sqrt(rows.weights)
    codes, n_levels = rows.codes[0], len(design.groups[0].levels)
    uses = design.groups[0].uses
    parts = np.zeros((len(uses), len(columns), n_levels))
    directions: list[Array] = []

    def take_out(b: int) -> None:
        """Remove from a column what the directions so far explain of it."""
        for _ in range(2):
            for k, direction in enumerate(directions):
                along = np.bincount(codes, direction * columns[b], n_levels)
                columns[b] -= along[codes] * direction
                parts[k, b] += along

    for i, a in enumerate(uses):
        whole = _lengths(columns[a], codes, n_levels)
        take_out(int(a))
        left = _lengths(columns[a], codes, n_levels)
        left[left <= DEPENDENT * whole] = 0.0
        parts[i, a] = left
        inverse = np.divide(1.0, left, out=np.zeros(n_levels), where=left > 0)
        directions.append(columns[a] * inverse[codes])
        columns[a] = 0.0
    for b in np.setdiff1d(np.arange(len(columns)), uses):
        take_out(int(b))
    levels = tuple(
        level_sums(columns, None, c, len(group.levels), group.uses, counted=False)
        for c, group in zip(rows.codes[1:], design.groups[1:], strict=True)
    )
    root = np.empty((0, len(columns)))
    for start in range(0, columns.shape[1], CHUNK):
        root = _with_rows(root, columns[:, start : start + CHUNK].T)
    return Within(parts, root, levels)


def root_size(design: Design) -> int:
    """Columns that the grouping factors use, one for each level."""
    return sum(len(group.uses) * len(group.levels) for group in design.groups)


def collect_root(design: Design, rows: Rows) -> Array:
    """Triangular root of the cross-products of [Z, base columns, response]: a second pass.

    Householder's method over portions of the rows, each below what the earlier ones have left.
    """
    columns = np.vstack([rows.base, rows.y])
    if rows.weights is not None:
        columns *= np.sqrt(rows.weights)
    used = [(group.uses, len(group.levels)) for group in design.groups]
    width = sum(len(uses) * n for uses, n in used) + len(columns)
    root = np.empty((0, width))
    step = max(4 * width, CHUNK // width)
    for start in range(0, columns.shape[1], step):
        part = slice(start, start + step)
        size = columns[:, part].shape[1]
        spread, at = np.zeros((size, width)), 0
        for (uses, n), codes in zip(used, rows.codes, strict=True):
            place = at + codes[part] * len(uses)
            for i, a in enumerate(uses):
                spread[np.arange(size), place + i] = columns[a, part]
            at += len(uses) * n
        spread[:, at:] = columns[:, part].T
        root = _with_rows(root, spread)
    return root


def _with_rows(root: Array, rows: Array) -> Array:
    """Triangular root of the cross-products of more rows (Householder's method)."""
    return np.asarray(np.linalg.qr(np.concatenate([root, rows]), mode="r"))


def _lengths(column: Array, codes: NDArray[np.int64], n_levels: int) -> Array:
    """Length of a column in each level."""
    return np.sqrt(np.bincount(codes, column * column, n_levels))


def level_sums(
    columns: Sequence[Array] | Array,
    weights: Array | None,
    codes: NDArray[np.int64],
    n_levels: int,
    z: NDArray[np.intp],
    *,
    counted: bool = True,
) -> Array:
    """Per level, weighted sums of products of the columns `z` with all columns.

    With `counted`, column 0 is all ones and products with it are not formed.

    Returns
    -------
    ndarray of shape (len(z), len(columns), n_levels)
    """
    out = np.zeros((len(z), len(columns), n_levels))
    step = max(CHUNK, 4 * n_levels)
    place = {int(column): i for i, column in enumerate(z)}
    for start in range(0, len(codes), step):
        chunk = slice(start, start + step)
        part = codes[chunk]
        for i, a in enumerate(z):
            ones = counted and a == 0
            left = None if ones else columns[a][chunk]
            if weights is not None:
                left = weights[chunk] if left is None else left * weights[chunk]
            for b, column in enumerate(columns):
                if place.get(b, i) < i:
                    continue
                product = left
                if not (counted and b == 0):
                    product = column[chunk] if left is None else left * column[chunk]
                out[i, b] += np.bincount(part, weights=product, minlength=n_levels)
    for b, i in place.items():
        for j, a in enumerate(z[:i]):
            out[i, a] = out[j, b]
    return out


def with_response(design: Design, rows: Rows, moments: Moments) -> Moments:
    """The moments of the same rows with another response.

    Parameters
    ----------
    design : Design
    rows : Rows
        With the new ``y``.
    moments : Moments
        Of the old response.

    Returns
    -------
    Moments
    """
    y = rows.y
    weighted = y if rows.weights is None else y * rows.weights
    cross = moments.cross.copy()
    cross[:-1, -1] = cross[-1, :-1] = np.einsum("cn,n->c", rows.base, weighted)
    cross[-1, -1] = np.einsum("n,n->", y, weighted)
    levels = []
    for old, codes, group in zip(moments.levels, rows.codes, design.groups, strict=True):
        sums = old.copy()
        for i, a in enumerate(group.uses):
            product = weighted if a == 0 else weighted * rows.base[a]
            sums[i, -1] = np.bincount(codes, weights=product, minlength=sums.shape[-1])
        levels.append(sums)
    return replace(moments, cross=cross, levels=tuple(levels), within=None, root=None)


def _cells(
    columns: Sequence[Array],
    rows: Rows,
    design: Design,
    used: list[NDArray[np.intp]],
    first: int,
    second: int,
) -> Cells:
    width = len(design.groups[second].levels)
    combined = rows.codes[first] * width + rows.codes[second]
    present, cell = observed(combined, len(design.groups[first].levels) * width)
    sums = np.empty((len(used[first]), len(used[second]), len(present)))
    for i, a in enumerate(used[first]):
        for j, b in enumerate(used[second]):
            product = columns[a] * columns[b] if b else columns[a]
            if rows.weights is not None:
                product = product * rows.weights
            sums[i, j] = np.bincount(cell, weights=product, minlength=len(present))
    return Cells(first, second, present // width, present % width, sums)
