"""Rows in memory to `Moments`, in one pass over chunks that stay in the processor's cache."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.build import Design, Rows
from mixedmodels.design.grouping import observed
from mixedmodels.moments.cross_products import Cells, Moments, Within

CHUNK = 65_536


def collect_moments(design: Design, rows: Rows) -> Moments:
    """Cross-products of all rows.

    Parameters
    ----------
    design : Design
    rows : Rows

    Returns
    -------
    Moments
    """
    columns = np.empty((len(rows.base) + 1, rows.base.shape[1]))
    columns[:-1] = rows.base
    columns[-1] = rows.y
    weighted = columns if rows.weights is None else columns * rows.weights
    used = [group.uses for group in design.groups]
    levels = tuple(
        level_sums(columns, weighted, codes, len(group.levels), z)
        for codes, group, z in zip(rows.codes, design.groups, used, strict=True)
    )
    cells: list[Cells] = []
    if not design.structure.nested:
        for i in range(len(used)):
            cells.extend(
                _cells(columns, weighted, rows, design, used, i, j) for j in range(i + 1, len(used))
            )
    log_weights = 0.0 if rows.weights is None else float(np.log(rows.weights).sum())
    return Moments(columns.shape[1], log_weights, weighted @ columns.T, levels, tuple(cells))


def collect_within(design: Design, rows: Rows) -> Within:
    """Cross-products about the level means of the first grouping factor: a second pass."""
    columns = np.vstack([rows.base, rows.y])
    weights = rows.weights
    codes, n_levels = rows.codes[0], len(design.groups[0].levels)
    counts = np.bincount(codes, weights=weights, minlength=n_levels).astype(np.float64)
    means = np.empty((len(columns), n_levels))
    for i, column in enumerate(columns):
        product = column if weights is None else column * weights
        means[i] = np.bincount(codes, weights=product, minlength=n_levels) / counts
        columns[i] -= means[i][codes]
    # the constant is its own mean, to the last digit
    means[0], columns[0] = 1.0, 0.0
    weighted = columns if weights is None else columns * weights
    levels = tuple(
        level_sums(columns, weighted, c, len(group.levels), group.uses, counted=False)
        for c, group in zip(rows.codes, design.groups, strict=True)
    )
    return Within(counts, means, weighted @ columns.T, levels)


def level_sums(
    columns: Array,
    weighted: Array,
    codes: NDArray[np.int64],
    n_levels: int,
    z: NDArray[np.intp],
    *,
    counted: bool = True,
) -> Array:
    """Per level, sums of products of the columns `z` with all columns.

    With `counted`, column 0 is all ones and products with it are not formed.

    Returns
    -------
    ndarray of shape (len(z), len(columns), n_levels)
    """
    plain = weighted is columns
    out = np.zeros((len(z), len(columns), n_levels))
    n = len(codes)
    step = max(CHUNK, 4 * n_levels)
    place = {int(column): i for i, column in enumerate(z)}
    for start in range(0, n, step):
        part = codes[start : start + step]
        for i, a in enumerate(z):
            left = weighted[a, start : start + step]
            for b in range(len(columns)):
                if place.get(b, i) < i:
                    continue
                if a == 0 and b == 0 and plain and counted:
                    out[i, b] += np.bincount(part, minlength=n_levels)
                elif a == 0 and plain and counted:
                    right = columns[b, start : start + step]
                    out[i, b] += np.bincount(part, weights=right, minlength=n_levels)
                else:
                    product = (
                        left if b == 0 and counted else left * columns[b, start : start + step]
                    )
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
    cross[:-1, -1] = cross[-1, :-1] = rows.base @ weighted
    cross[-1, -1] = y @ weighted
    levels = []
    for old, codes, group in zip(moments.levels, rows.codes, design.groups, strict=True):
        sums = old.copy()
        for i, a in enumerate(group.uses):
            product = weighted if a == 0 else weighted * rows.base[a]
            sums[i, -1] = np.bincount(codes, weights=product, minlength=sums.shape[-1])
        levels.append(sums)
    return replace(moments, cross=cross, levels=tuple(levels), within=None)


def _cells(
    columns: Array,
    weighted: Array,
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
            product = weighted[a] * columns[b] if b else weighted[a]
            sums[i, j] = np.bincount(cell, weights=product, minlength=len(present))
    return Cells(first, second, present // width, present % width, sums)
