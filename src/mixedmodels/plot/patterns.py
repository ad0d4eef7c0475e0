"""Plots of what is there: patterns of missing values, by column and over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.design.frame import column_names, column_values
from mixedmodels.errors import DataError
from mixedmodels.plot.columns import (
    MOST_GROUPS,
    cells,
    coded,
    collect,
    distinct,
)
from mixedmodels.plot.theme import (
    ACCENT,
    Labels,
    canvas,
    drawing,
    note,
    size,
    slanted,
    title,
)

if TYPE_CHECKING:
    from plotnine import ggplot

# patterns that are drawn
MOST_PATTERNS = 20
# fill of a value that is there
THERE = "#D6E4F0"


@checked
def missingness(
    data: Any, columns: Sequence[str] | None = None, *, labels: Labels = None
) -> ggplot:
    """Which columns lack values together, and in how many rows.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
    columns : sequence of str, optional
        All columns by default.
    labels : mapping of str to str, optional
        Titles by column name.

    Returns
    -------
    plotnine.ggplot
        One row of tiles per pattern, the most frequent on top. Its data have the columns pattern,
        column, state ("observed", "missing") and n.

    Raises
    ------
    DataError
        Unknown columns.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> p = mm.plot.missingness({"x": [1.0, None, 3.0], "y": [1.0, 2.0, 3.0]})
    >>> p.data[["column", "state", "n"]].values.tolist()
    [['x', 'observed', 2], ['y', 'observed', 2], ['x', 'missing', 1], ['y', 'observed', 1]]
    """
    names = list(columns) if columns is not None else list(column_names(data))
    if not names:
        raise DataError("there are no columns to show")
    there = np.column_stack([_there(data, name) for name in names])
    shown = [title(name, labels) for name in names]
    return _patterns(there, distinct(shown), x=None, rows="rows")


@checked
def dropout(
    data: Any,
    *,
    id: str,  # noqa: A002 - the name of the field
    time: str,
    response: str,
    labels: Labels = None,
) -> ggplot:
    """At which times subjects were measured, and how many subjects share a pattern.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
    id, time, response : str
        As in `trajectories`. A time counts where the subject has a row with a response.
    labels : mapping of str to str, optional

    Returns
    -------
    plotnine.ggplot
        One row of tiles per pattern, the most frequent on top. Its data have the columns pattern,
        column (time), state ("observed", "missing") and n.

    Raises
    ------
    DataError
        Unknown or unusable columns.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> p = mm.plot.dropout(piglets, id="animal", time="time", response="BW")
    >>> p.data.loc[p.data["state"] == "missing", ["column", "n"]].values.tolist()
    [['21', 3]]
    """
    shown = collect(
        data,
        numbers={"response": response},
        times={"time": time},
        factors={"id": id},
        keep_missing=("response",),
    )
    frame = shown.frame
    cell = cells(frame["time"], most=MOST_GROUPS)
    there = np.zeros((len(frame["id"].cat.categories), len(cell.labels)), bool)
    observed = frame["response"].notna().to_numpy()
    there[frame["id"].cat.codes.to_numpy()[observed], cell.codes[observed]] = True
    return _patterns(
        there,
        cell.labels,
        x=title(time, labels),
        rows="subjects",
        notes=(cell.note, shown.note),
    )


def _there(data: Any, name: str) -> NDArray[np.bool_]:
    """Where a column of any kind has a value."""
    column = nw.from_native(
        column_values(data, name, "columns"), series_only=True, allow_series=True
    )
    absent = column.is_null()
    if column.dtype.is_float():
        absent = absent | column.is_nan().fill_null(value=True)
    return ~np.asarray(absent.to_numpy(), dtype=bool)


def _patterns(
    there: NDArray[np.bool_],
    names: list[str],
    *,
    x: str | None,
    rows: str,
    notes: Sequence[str] = (),
) -> ggplot:
    """Tiles of the distinct rows of a table of what is there."""
    import pandas as pd

    p9 = drawing()
    packed = np.packbits(there, axis=1)
    _, first, counts = np.unique(packed, axis=0, return_index=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    top = order[:MOST_PATTERNS]
    table = there[first[top]]
    k, width = table.shape
    texts = [f"{counts[i]:,}" for i in top.tolist()]
    frame = pd.DataFrame(
        {
            "pattern": coded(np.repeat(k - 1 - np.arange(k), width), _numbered(texts[::-1])),
            "column": coded(np.tile(np.arange(width), k), names, ordered=True),
            "state": coded(1 - table.ravel().astype(np.int64), ["observed", "missing"]),
            "n": np.repeat(counts[top], width),
        }
    )
    rest = len(order) - k
    left_out = f"{rest:,} rarer patterns of {int(counts[order[k:]].sum()):,} {rows} not drawn"
    plot = canvas(
        frame,
        {"x": "column", "y": "pattern", "fill": "state"},
        x=x or " ",
        y=rows,
        fill=" ",
        caption=note(left_out if rest else "", *notes),
    )
    plot += p9.geom_tile(color="white", size=1.0)
    plot += p9.scale_fill_manual(values=[THERE, ACCENT], drop=False)
    plot += p9.scale_y_discrete(labels=texts[::-1])
    plot += p9.theme(panel_grid_major=p9.element_blank(), legend_position="top")
    plot += slanted(names)
    return plot + size(6.4, float(np.clip(1.8 + 0.28 * k, 2.6, 7.0)))


def _numbered(texts: list[str]) -> list[str]:
    """Names of the patterns: a count may occur twice."""
    return [f"{i}: {text}" for i, text in enumerate(texts)]
