"""Columns of the data of a fit on the rows it used: levels, order in time, numeric predictors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.frame import Columns, read
from mixedmodels.design.grouping import group_levels, observed
from mixedmodels.errors import DataError, ModelError
from mixedmodels.model.record import Fit

Codes = NDArray[np.int64]


def row_labels(fit: Fit) -> Any:
    """Labels of the rows used: those of a pandas index, else positions from 0."""
    complete = fit.source.complete
    place = np.arange(fit.source.n_rows) if complete is None else np.flatnonzero(complete)
    index = getattr(fit.source.data, "index", None) if fit.source.kind == "pandas" else None
    return place if index is None else np.asarray(index[place])


def grouping(fit: Fit, name: str) -> tuple[Codes, list[str]]:
    """Level of each row used and the labels, of a factor of the model or a column of its data.

    Raises
    ------
    DataError, ModelError
    """
    for codes, group in zip(fit.rows.codes, fit.design.groups, strict=True):
        if group.name == name:
            return codes, list(group.levels)
    codes, labels = sorted_levels(fit, name)
    if len(labels) < 2:
        raise ModelError(f"column '{name}' has one level: nothing is left without it")
    return codes, labels


def sorted_levels(fit: Fit, name: str) -> tuple[Codes, list[str]]:
    """Rank of each row used among the sorted values of a column, and the values as text.

    Raises
    ------
    DataError
        An unknown column, or one without a value in some rows.
    ModelError
        The model does not hold its data.
    """
    if fit.source.data is None:
        raise ModelError(
            f"column '{name}' is needed, but the model does not hold its data (it was loaded from "
            "a file): write the file with mm.save(model, path, data=True)"
        )
    columns = read(fit.source.data, [], grouping=[name])
    found, labels = group_levels([name], columns.groups)
    codes = _on_rows(fit, columns, np.asarray(found, dtype=np.float64))
    lost = int(np.count_nonzero(np.isnan(codes)))
    if lost:
        raise DataError(
            f"column '{name}' has no value in {lost} of the {fit.n_obs} rows that the model used; "
            "fill them, or fit the model without them"
        )
    present, ranks = observed(codes.astype(np.int64), len(labels))
    return ranks, [labels[i] for i in present.tolist()]


def numeric_predictors(fit: Fit) -> dict[str, Array]:
    """Numeric columns that the fixed part reads, shape (n,) each; none without the data."""
    names = fit.design.formula.fixed_variables
    if fit.source.data is None or not names:
        return {}
    columns = read(fit.source.data, names)
    return {name: _on_rows(fit, columns, values) for name, values in columns.numbers.items()}


def _on_rows(fit: Fit, columns: Columns, values: Array) -> Array:
    """Values of the rows of the fit; nan where the column has none."""
    whole = np.full(columns.n_rows, np.nan)
    whole[slice(None) if columns.complete is None else columns.complete] = values
    return whole if fit.source.complete is None else whole[fit.source.complete]
