"""Plots of how the response at one time goes with that at another: heatmap, scatter matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.errors import DataError
from mixedmodels.explore.correlations import TimeCorrelations
from mixedmodels.explore.implied import ImpliedCorrelations
from mixedmodels.explore.time_names import text_of
from mixedmodels.plot.columns import cells, coded, collect, distinct, sample_note, some_rows
from mixedmodels.plot.theme import (
    BASE,
    INK,
    NEGATIVE,
    NEUTRAL,
    POSITIVE,
    Labels,
    canvas,
    drawing,
    note,
    size,
    slanted,
    title,
    wrapped,
)

if TYPE_CHECKING:
    from plotnine import ggplot

# times against each other and subjects that are drawn at most; times up to which correlations are
# written into their cells
MOST_PAIRED, MOST_SUBJECTS, MOST_WRITTEN = 8, 600, 12
# size of a correlation from which its cell is dark
DARK = 0.7


@checked
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
            sample_note(len(chosen), n_times, "times", "evenly spaced"),
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


@checked
def correlations(found: TimeCorrelations | ImpliedCorrelations, *, labels: Labels = None) -> ggplot:
    """Heatmap of correlations over time, or of implied beside observed ones.

    Parameters
    ----------
    found : TimeCorrelations or ImpliedCorrelations
        From `mm.time_correlations` or `mm.implied_correlations`.
    labels : mapping of str to str, optional
        Titles by column name.

    Returns
    -------
    plotnine.ggplot
        Its data have the columns time_1, time_2, correlation, text and panel.

    Raises
    ------
    TypeError
        Something else.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> found = mm.time_correlations(piglets, id="animal", time="time", response="BW")
    >>> mm.plot.correlations(found).data["text"].tolist()[:4]
    ['1.00', '0.83', '0.72', '0.66']
    """
    import pandas as pd

    p9 = drawing()
    parts = _matrices(found)
    names = distinct([text_of(at) for at in found.times])
    k = len(names)
    values = np.concatenate([matrix.ravel() for matrix in parts.values()])
    first, second = np.divmod(np.arange(k * k), k)
    frame = pd.DataFrame(
        {
            "time_1": coded(np.tile(first, len(parts)), names, ordered=True),
            # the first time stands on top
            "time_2": coded(np.tile(k - 1 - second, len(parts)), names[::-1], ordered=True),
            "correlation": values,
            "text": ["" if np.isnan(r) or k > MOST_WRITTEN else f"{r:.2f}" for r in values],
            "tone": np.where(np.abs(np.nan_to_num(values)) > DARK, "white", INK),
            "panel": coded(np.repeat(np.arange(len(parts)), k * k), list(parts)),
        }
    )
    name = title(found.time, labels)
    plot = canvas(
        frame,
        {"x": "time_1", "y": "time_2", "fill": "correlation"},
        x=name,
        y=name,
        fill="r",
        caption="observed: of what the fixed effects leave" if len(parts) > 1 else None,
    )
    plot += p9.geom_tile(color="white", size=0.5)
    plot += p9.geom_text(p9.aes(label="text", color="tone"), size=10 if k < 7 else 8)
    plot += p9.scale_color_identity()
    plot += p9.scale_fill_gradient2(
        low=NEGATIVE, mid=NEUTRAL, high=POSITIVE, limits=(-1.0, 1.0), na_value="#DDDDDD"
    )
    plot += p9.theme(panel_grid_major=p9.element_blank())
    plot += slanted(names * 2 * len(parts))  # half the width is not theirs
    if len(parts) == 1:
        return plot + size(5.4, 4.4)
    return plot + wrapped("panel", len(parts)) + size(8.4, 4.4)


def _matrices(found: TimeCorrelations | ImpliedCorrelations) -> dict[str, Array]:
    if isinstance(found, TimeCorrelations):
        return {"observed": found.correlation}
    implied = {"implied by the model": found.correlation}
    if found.observed is None:
        return implied
    return {"observed": found.observed.correlation, **implied}
