"""Which linear functions of the fixed effects the data determine, when columns were dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.likelihood.working import metric_root
from mixedmodels.model.record import Fit

# share of a linear function that may lie outside what the data determine (rounding)
OUTSIDE = 1e-7
# share of the largest entry, in units of its column, below which an entry is rounding
ROUNDING = 1e-4


def estimable(fit: Fit, linear: Array) -> NDArray[np.bool_]:
    """Whether the data determine each linear function of all columns of X, shape (m,).

    Functions that hold NaN, averages over nothing, are among those that they do not.
    """
    kept, dropped, weights = relations(fit)
    known = np.asarray(~np.isnan(linear).any(axis=1))
    if not len(dropped):
        return known
    linear = np.where(known[:, None], linear, 0.0)
    # a function is determined if it treats a dropped column as the combination that it equals
    implied = linear[:, kept] @ weights
    size = np.abs(linear[:, kept]) @ np.abs(weights) + np.abs(linear[:, dropped])
    # what should be zero may be rounding: of a column's size in the data, or the function's largest
    length = column_lengths(fit)
    largest = (np.abs(linear) / np.where(length > 0.0, length, np.inf)).max(axis=1, keepdims=True)
    gap = np.abs(linear[:, dropped] - implied)
    size = np.maximum(size, ROUNDING * largest * length[dropped])
    return np.asarray(known & (gap <= OUTSIDE * np.maximum(size, 1e-300)).all(axis=1))


def column_lengths(fit: Fit) -> Array:
    """Root of the mean square of each column of X, dropped ones too."""
    return np.asarray(np.linalg.norm(metric_root(fit.moments) @ fit.design.x_recipe, axis=0))


def relations(fit: Fit) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Kept columns, dropped ones, and the latter as combinations of the former."""
    kept = fit.working.fixed.kept
    n_columns = fit.design.x_recipe.shape[1]
    dropped = np.setdiff1d(np.arange(n_columns), kept)
    if not len(dropped):
        return kept, dropped, np.empty((len(kept), 0))
    columns = metric_root(fit.moments) @ fit.design.x_recipe
    weights: Any = np.linalg.lstsq(columns[:, kept], columns[:, dropped], rcond=None)[0]
    # rounding in place of a zero would count as a part of the relation
    weights[np.abs(weights) < 1e-11 * np.abs(weights).max(initial=0.0)] = 0.0
    return kept, dropped, weights
