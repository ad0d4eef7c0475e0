"""Plots of clusters of trajectories: members and means, criteria by the number of clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.errors import ModelError
from mixedmodels.explore.criteria import CRITERIA
from mixedmodels.explore.trajectories import LETTERS, TrajectoryClusters
from mixedmodels.plot.columns import coded, distinct, sample_note, some_rows, time_column
from mixedmodels.plot.data import codes_of, joinable, time_axis
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    Labels,
    canvas,
    colour_scale,
    drawing,
    hide_legend,
    note,
    title,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

MOST_LINES = 300


@checked
def clusters(
    found: TrajectoryClusters, k: int | None = None, *, facets: bool = False, labels: Labels = None
) -> ggplot:
    """Trajectories coloured by their cluster, with the clusters' means and shares.

    Parameters
    ----------
    found : TrajectoryClusters
        From `mm.cluster_trajectories`.
    k : int, optional
        Number of clusters; by default the one in use.
    facets : bool, default False
        A panel for each cluster.
    labels : mapping of str to str, optional
        Titles by column name.

    Returns
    -------
    plotnine.ggplot
        Its data are the means: time, response, cluster and n (observed values); the trajectories
        are a layer.

    Raises
    ------
    TypeError
        Not a result of `cluster_trajectories`.
    ModelError
        A number of clusters that was not tried.

    Notes
    -----
    Of more than 300 trajectories a random sample is drawn, the same each time.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> found = mm.cluster_trajectories(piglets, id="animal", time="time", response="BW", k=3)
    >>> p = mm.plot.clusters(found)
    >>> list(p.data["cluster"].cat.categories)
    ['A (40 %)', 'B (35 %)', 'C (25 %)']
    """
    p9 = drawing()
    found = found if k is None else found.choose(k)
    partition, grid = found.partitions[found.k], found.grid
    share = partition.sizes / partition.sizes.sum()
    names = [f"{letter} ({100 * part:.0f} %)" for letter, part in zip(LETTERS, share, strict=False)]
    at, unit = time_column({grid.time: grid.times}, grid.time, "time")
    middle = _curves(at, partition.means, np.arange(found.k), names)
    middle["n"] = partition.counts.ravel()[np.isfinite(partition.means).ravel()]
    n_lines = len(grid.values)
    drawn = some_rows(n_lines, MOST_LINES)
    lines = _curves(at, grid.values[drawn], partition.labels[drawn].astype(np.int64), names)
    name = title(grid.time, labels)
    plot = canvas(
        middle,
        {"x": "time", "y": "response", "color": "cluster"},
        x=f"{name} ({unit})" if unit and grid.time not in (labels or {}) else name,
        y=title(grid.response, labels),
        color="cluster",
        caption=note("thick lines: means", sample_note(len(drawn), n_lines, "trajectories")),
    )
    alpha = float(np.clip(4.0 / np.sqrt(len(drawn)), 0.12, 0.6))
    plot += p9.geom_line(p9.aes(group="line"), data=lines, size=0.4, alpha=alpha)
    plot += p9.geom_line(p9.aes(group="cluster"), size=1.6)
    plot += p9.geom_point(size=2.4)
    plot += colour_scale(found.k)
    plot += time_axis(at, narrow=facets)
    return plot + wrapped("cluster", found.k) + hide_legend() if facets else plot


def _curves(at: Any, values: Any, cluster: Any, names: list[str]) -> pd.DataFrame:
    """Rows of a table of trajectories, gaps left out."""
    import pandas as pd

    line, time = np.nonzero(np.isfinite(values))
    return pd.DataFrame(
        {
            "time": at[time],
            "response": values[line, time],
            "cluster": coded(cluster[line], names),
            "line": line,
        }
    )


@checked
def criteria(found: TrajectoryClusters, names: Sequence[str] | None = None) -> ggplot:
    """Quality criteria by the number of clusters; for all of them larger is better.

    Parameters
    ----------
    found : TrajectoryClusters
        From `mm.cluster_trajectories`, with more than one number of clusters.
    names : sequence of str, optional
        Criteria to draw, as `cluster_trajectories` lists them; all by default.

    Returns
    -------
    plotnine.ggplot
        A panel for each criterion. Its data have the columns k, criterion, value and best.

    Raises
    ------
    TypeError
        Not a result of `cluster_trajectories`.
    ModelError
        One number of clusters only; unknown criteria.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> found = mm.cluster_trajectories(piglets, id="animal", time="time", response="BW", k=[2, 3])
    >>> p = mm.plot.criteria(found, ["calinski_harabasz", "bic"])
    >>> p.data.loc[p.data["best"], ["k", "criterion"]].values.tolist()
    [[2, 'Calinski Harabasz'], [3, 'BIC']]
    """
    import pandas as pd

    p9 = drawing()
    if len(found.ks) < 2:
        raise ModelError("one number of clusters was tried; give cluster_trajectories several")
    wanted = list(CRITERIA) if names is None else list(names)
    unknown = [name for name in wanted if name not in CRITERIA]
    if unknown or not wanted:
        raise ModelError(f"unknown criteria {unknown}; there are {', '.join(CRITERIA)}")
    values = np.array([[p.criteria[name] for p in found.partitions.values()] for name in wanted])
    known = np.isfinite(values)
    best = known & (values == np.where(known, values, -np.inf).max(axis=1)[:, None])
    q, n = values.shape
    frame = pd.DataFrame(
        {
            "k": np.tile(np.array(found.ks), q),
            "criterion": coded(np.repeat(np.arange(q), n), distinct([_spoken(w) for w in wanted])),
            "value": values.ravel(),
            "best": best.ravel(),
        }
    )
    frame = frame.iloc[np.flatnonzero(known)].reset_index(drop=True)
    plot = canvas(
        frame,
        {"x": "k", "y": "value"},
        x="number of clusters",
        y="criterion (larger is better)",
        caption="orange: the best number",
    )
    plot += p9.geom_line(data=joinable(frame, codes_of(frame, "criterion")), color=BASE, size=0.8)
    plot += p9.geom_point(p9.aes(color="best"), size=2.4)
    plot += p9.scale_color_manual(values={True: ACCENT, False: BASE})
    plot += p9.scale_x_continuous(breaks=list(found.ks))
    return plot + wrapped("criterion", q, scales="free_y") + hide_legend()


def _spoken(name: str) -> str:
    """A criterion as it is written in text."""
    if name.startswith(("bic", "aic")):
        return name.upper().replace("AICC", "AICc")
    return name.replace("_", " ").title()
