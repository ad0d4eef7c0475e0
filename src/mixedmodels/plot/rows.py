"""The rows of a fitted model as clouds of points: columns of its data, samples, smoothers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.errors import DataError, ModelError
from mixedmodels.model.record import Fit
from mixedmodels.model.rows import SUMMED
from mixedmodels.plot.columns import MOST_POINTS, MOST_ROWS, SEED, axis_column, some_rows
from mixedmodels.plot.smooth import FEW, smooth
from mixedmodels.plot.theme import ACCENT, BASE, drawing

if TYPE_CHECKING:
    import pandas as pd


def column_of(m: Fit, name: str, role: str = "against") -> Any:
    """A column of the model's data on the rows used: numbers, dates or a categorical.

    Raises
    ------
    DataError, ModelError
    """
    import pandas as pd

    column = pd.Series(axis_column(data_of(m), name, role)).iloc[used_rows(m)]
    lost = int(column.isna().sum())
    if lost:
        raise DataError(
            f"column {name!r} has no value in {lost} of the {m.n_obs} rows that the model used; "
            "fill them, or fit the model without them"
        )
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.remove_unused_categories().reset_index(drop=True)
    return column.to_numpy()


def data_of(m: Fit) -> Any:
    """The data of a model.

    Raises
    ------
    ModelError
        It does not hold them.
    """
    if m.source.sums is not None:
        raise ModelError(f"this figure shows the rows; {SUMMED}")
    if m.source.data is None:
        raise ModelError(
            "the model does not hold its data (it was loaded from a file): write the file with "
            "mm.save(model, path, data=True), or fit it again"
        )
    return m.source.data


def used_rows(m: Fit) -> Any:
    """Positions in the data of the rows that the model used."""
    complete = m.source.complete
    return slice(None) if complete is None else np.flatnonzero(complete)


def ranked(column: Any) -> Any:
    """What a column sorts by."""
    return column.cat.codes.to_numpy() if is_labels(column) else column


def is_labels(x: Any) -> bool:
    """Whether a column of `column_of` is a categorical."""
    return hasattr(x, "cat")


def cloud(x: Any, values: Array) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """Points to draw: a sample of many, with the largest values."""
    import pandas as pd

    most = MOST_ROWS if is_labels(x) else MOST_POINTS
    drawn = some_rows(len(values), most, extremes=values)
    column = x.iloc[drawn].reset_index(drop=True) if is_labels(x) else x[drawn]
    return pd.DataFrame({"x": column, "residual": values[drawn]}), drawn


def points(x: Any, n: int) -> Any:
    """Points, moved aside at random where x has few distinct values."""
    alpha = float(np.clip(12.0 / np.sqrt(n), 0.2, 0.75))
    return drawing().geom_point(color=BASE, alpha=alpha, size=1.6, stroke=0.2, **jitter(x))


def jitter(x: Any) -> dict[str, Any]:
    """A little random width (the same each time) for columns with few distinct values."""
    if is_labels(x):
        width = 0.08
    else:
        levels = np.unique(x)
        if not 1 < len(levels) <= FEW or levels.dtype.kind == "M":
            return {}
        width = 0.08 * float(np.diff(levels).min())
    return {"position": drawing().position_jitter(width=width, height=0.0, random_state=SEED)}


def curve(x: Any, y: Array) -> list[Any]:
    """The smoother as a layer, where there are two points to join."""
    import pandas as pd

    dates = x.dtype.kind == "M"
    at, height = smooth(x.astype("datetime64[ns]").astype(np.int64) * 1.0 if dates else x, y)
    if len(at) < 2:
        return []
    line = pd.DataFrame(
        {"x": at.astype(np.int64).astype("datetime64[ns]") if dates else at, "residual": height}
    )
    return [drawing().geom_line(data=line, color=ACCENT, size=1.1)]
