"""Plots of what is there and how it hangs together over time: missing values, scatter matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.frame import column_names, column_values
from mixedmodels.errors import DataError
from mixedmodels.plot.columns import (
    MOST_GROUPS,
    cells,
    coded,
    collect,
    distinct,
    sample_note,
    some_rows,
)
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    INK,
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

# patterns, times against each other, and subjects that are drawn at most
MOST_PATTERNS, MOST_PAIRED, MOST_SUBJECTS = 20, 8, 600
# fill of a value that is there
THERE = "#D6E4F0"


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
    there = np.column_stack([_there(data, name) for name in names])
    shown = [title(name, labels) for name in names]
    return _patterns(there, distinct(shown), x=None, rows="rows")


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


# --- times against each other ---------------------------------------------------------------------


def scatter_matrix(
    data: Any,
    *,
    id: str,  # noqa: A002 - the name of the field
    time: str,
    response: str,
    labels: Labels = None,
) -> ggplot:
    """The response at each time against that at each other time.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
    id, time, response : str
        As in `trajectories`. The last row counts where a subject has several at one time.
    labels : mapping of str to str, optional

    Returns
    -------
    plotnine.ggplot
        Scatter plots below the diagonal, histograms on it, correlations above it. Its data have
        the columns row, column (times), x and y, one row per subject and pair of times.

    Raises
    ------
    DataError
        Unknown or unusable columns; fewer than two times.

    Notes
    -----
    Of more than 8 times 8 are shown, evenly spaced in their order; of more than 600 subjects a
    random sample is drawn, the same each time. Correlations are those of all subjects that have
    both times.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> p = mm.plot.scatter_matrix(piglets, id="animal", time="time", response="BW")
    >>> len(p.data)
    441
    """
    p9 = drawing()
    from mizani.breaks import breaks_extended

    shown = collect(data, numbers={"response": response}, times={"time": time}, factors={"id": id})
    frame = shown.frame
    cell = cells(frame["time"])
    wide = np.full((len(frame["id"].cat.categories), len(cell.labels)), np.nan)
    wide[frame["id"].cat.codes.to_numpy(), cell.codes] = frame["response"].to_numpy()
    if wide.shape[1] < 2:
        raise DataError(f"column '{time}' has one time only: there is nothing to set against it")
    n_times = wide.shape[1]
    chosen = np.unique(np.linspace(0, n_times - 1, min(n_times, MOST_PAIRED)).round().astype(int))
    wide, names = wide[:, chosen], [cell.labels[i] for i in chosen.tolist()]
    drawn = some_rows(len(wide), MOST_SUBJECTS)
    points, bars, texts = _points(wide[drawn], names), _bars(wide, names), _texts(wide, names)
    plot = canvas(
        points,
        {"x": "x", "y": "y"},
        x=title(response, labels),
        y=title(response, labels),
        subtitle=f"panels: {title(time, labels)}",
        caption=note(
            sample_note(len(chosen), n_times, "times").replace("taken at random", "evenly spaced"),
            sample_note(len(drawn), len(wide), "subjects"),
            cell.note,
            shown.note,
        ),
    )
    few = len(drawn) * len(names) < 600
    plot += p9.geom_point(color=BASE, alpha=0.6, size=1.6 if few else 1.0, stroke=0)
    plot += p9.geom_rect(
        p9.aes(xmin="xmin", xmax="xmax", ymin="ymin", ymax="ymax"),
        data=bars,
        inherit_aes=False,
        fill=BASE,
        alpha=0.45,
    )
    plot += p9.geom_text(p9.aes(label="text"), data=texts, color=INK, size=12)
    plot += p9.facet_grid(rows="row", cols="column", scales="free")
    plot += p9.scale_x_continuous(breaks=breaks_extended(n=3))
    plot += p9.scale_y_continuous(breaks=breaks_extended(n=3))
    inches = float(np.clip(1.4 + 1.25 * len(names), 4.2, 9.0))
    return plot + size(inches, inches)


def _place(k: Any, names: list[str]) -> Any:
    return coded(np.asarray(k, dtype=np.int64), names, ordered=True)


def _points(wide: Array, names: list[str]) -> Any:
    """Pairs of values below the diagonal."""
    import pandas as pd

    row, column = np.tril_indices(len(names), -1)
    x, y = wide[:, column], wide[:, row]
    both = np.isfinite(x) & np.isfinite(y)
    pair = np.nonzero(both)[1]
    return pd.DataFrame(
        {
            "row": _place(row[pair], names),
            "column": _place(column[pair], names),
            "x": x[both],
            "y": y[both],
        }
    )


def _bars(wide: Array, names: list[str]) -> Any:
    """Histograms on the diagonal, as high as the panel, on the scale of the response."""
    import pandas as pd

    parts = []
    for k in range(len(names)):
        values = wide[np.isfinite(wide[:, k]), k]
        counts, edges = np.histogram(values, bins=12)
        low, high = float(values.min()), float(values.max())
        parts.append(
            pd.DataFrame(
                {
                    "row": _place([k] * len(counts), names),
                    "column": _place([k] * len(counts), names),
                    "xmin": edges[:-1],
                    "xmax": edges[1:],
                    "ymin": low,
                    "ymax": low + counts / counts.max() * (high - low),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _texts(wide: Array, names: list[str]) -> Any:
    """Correlations above the diagonal, in the middle of their panels."""
    import pandas as pd

    column, row = np.tril_indices(len(names), -1)
    middle = (np.nanmin(wide, axis=0) + np.nanmax(wide, axis=0)) / 2.0
    values = [_correlation(wide[:, i], wide[:, j]) for i, j in zip(row, column, strict=True)]
    return pd.DataFrame(
        {
            "row": _place(row, names),
            "column": _place(column, names),
            "x": middle[column],
            "y": middle[row],
            "text": ["" if np.isnan(r) else f"{r:.2f}" for r in values],
        }
    )


def _correlation(x: Array, y: Array) -> float:
    """Over the rows that have both; nan where there is no spread."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3 or np.ptp(x[both]) == 0.0 or np.ptp(y[both]) == 0.0:
        return float("nan")
    return float(np.corrcoef(x[both], y[both])[0, 1])
