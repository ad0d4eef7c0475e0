"""Rows of many segments to the sums of each, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.segments import SegmentRows
from mixedmodels.moments.memory import level_sums


@dataclass(frozen=True, slots=True)
class SegmentSums:
    """Cross-products of the base columns of many segments.

    Attributes
    ----------
    log_weights : ndarray of shape (n_segments,)
    cross : ndarray of shape (n_segments, c + 1, c + 1)
        Of the base columns and, last, the response.
    levels : ndarray of shape (n_segments, z, c + 1, n_levels)
        Per level, products of the base columns `uses` with all columns; zeros where a segment has
        fewer levels.
    uses : ndarray of int, shape (z,)
    """

    log_weights: Array
    cross: Array
    levels: Array
    uses: NDArray[np.intp]


def sum_segments(rows: SegmentRows, uses: NDArray[np.intp]) -> SegmentSums:
    """Sums of the rows of each segment, and of each level of its grouping factor.

    Parameters
    ----------
    rows : SegmentRows
    uses : ndarray of int, shape (z,)
        Base columns that the random terms are made of.
    """
    count = len(rows.n)
    columns = [*rows.base, rows.y]
    every = np.arange(len(columns))
    cross = level_sums(columns, rows.weights, rows.segment, count, every)
    levels = level_sums(columns, rows.weights, rows.cell, count * rows.width, uses)
    levels = levels.reshape(len(uses), len(columns), count, rows.width).transpose(2, 0, 1, 3)
    log_weights: Array = np.zeros(count)
    if rows.weights is not None:
        with np.errstate(all="ignore"):
            logs = np.bincount(rows.segment, np.log(rows.weights), count)
        log_weights = logs.astype(np.float64, copy=False)
    return SegmentSums(
        log_weights,
        np.ascontiguousarray(cross.transpose(2, 0, 1)),
        np.ascontiguousarray(levels),
        uses,
    )
