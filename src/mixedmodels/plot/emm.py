"""Plot of marginal means with arrows that tell which of them differ."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
from mixedmodels.inference.emm_grid import EmmGrid
from mixedmodels.plot.columns import coded, distinct
from mixedmodels.plot.model import response_title
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    INK,
    Labels,
    canvas,
    drawing,
    note,
    size,
    title,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

# means in one panel
MOST_MEANS = 40
# longest name of a mean
LONG = 30
# rounds in which pairs told wrongly get more weight; weight of even arrows against right ones
ROUNDS, EVEN = 40, 0.05


@checked
def emmeans(
    grid: EmmGrid, *, arrows: bool = True, adjust: str = "tukey", labels: Labels = None
) -> ggplot:
    """Marginal means with intervals, and arrows that overlap where means do not differ.

    Parameters
    ----------
    grid : EmmGrid
        From `mm.emmeans` or `mm.emtrends`.
    arrows : bool, default True
        Draw the comparison arrows.
    adjust : str, default "tukey"
        For the number of comparisons, as in `EmmGrid.contrasts`.
    labels : mapping of str to str, optional
        Titles by column name.

    Returns
    -------
    plotnine.ggplot
        A panel for each combination of the grid's `by`. Its data have the columns name, panel,
        mean, conf_low, conf_high, arrow_low and arrow_high (nan where there is no arrow).

    Raises
    ------
    TypeError
        Not a grid of marginal means.
    ModelError
        More than 40 means in a panel; no mean that can be estimated; an unknown adjustment.

    Notes
    -----
    Intervals (bars) are about each mean by itself and say nothing of differences. Two means differ
    at the level of the grid where their arrows do not overlap. The lengths of the arrows follow
    from the half-widths of the intervals of all differences, by least squares with the comparisons
    near significance counting most; where no lengths can tell every pair apart the caption names
    how many pairs are shown wrongly. Arrows are on the scale of the model and left out on another.

    References
    ----------
    Lenth, R. V., R package emmeans, which brought these arrows up.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time * treatm + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.emmeans(mm.emmeans(m, "treatm", at={"time": 21}))
    >>> p.data["name"].tolist()
    ['1', '2', '3', '4', '5']
    """
    p9 = drawing()
    frame, groups = _means(grid)
    wrong = _add_arrows(frame, grid, groups, adjust) if arrows and grid.scale is None else 0
    known = frame["mean"].notna()
    frame = frame[known]
    names = [v.name for v in grid.variables if v.name not in grid.by]
    drawn = np.isfinite(frame["arrow_low"].to_numpy())
    plot = canvas(
        frame,
        {"x": "name", "y": "mean"},
        x=", ".join(title(name, labels) for name in names) or " ",
        y=_axis(grid, labels),
        caption=note(
            f"bars: {100 * grid.level:g} % intervals",
            f"arrows: means differ where they do not overlap ({adjust})" if drawn.any() else "",
            f"pairs that their arrows tell wrongly: {wrong}" if wrong else "",
            f"means that cannot be estimated: {(~known).sum()}" if not known.all() else "",
        ),
    )
    plot += p9.geom_linerange(
        p9.aes(ymin="conf_low", ymax="conf_high"), color=BASE, alpha=0.3, size=3.2
    )
    for end, head in (("arrow_low", "<"), ("arrow_high", ">")):
        some = frame.iloc[np.flatnonzero(frame[end].notna() & (frame[end] != frame["mean"]))]
        if len(some):
            plot += p9.geom_segment(
                p9.aes(xend="name", yend=end), data=some, color=ACCENT, size=0.8
            )
            plot += p9.geom_point(
                p9.aes(y=end), data=some, color=ACCENT, fill=ACCENT, shape=head, size=2.0
            )
    plot += p9.geom_point(color=INK, size=2.0)
    plot += p9.coord_flip()
    rows = max(len(rows) for rows in groups)
    if not grid.by:
        return plot + size(6.4, float(np.clip(1.4 + 0.34 * rows, 2.2, 9.0)))
    alone = title(grid.by[0], labels) if len(grid.by) == 1 else ""
    return plot + wrapped("panel", len(groups), name=alone)


def _axis(grid: EmmGrid, labels: Labels) -> str:
    if grid.column.endswith("_trend"):
        return f"slope in {title(grid.column.removesuffix('_trend'), labels)}"
    if grid.scale is not None:
        return "mean, on the scale of the response"
    return f"marginal mean: {response_title(grid.fit, labels)}"


def _means(grid: EmmGrid) -> tuple[pd.DataFrame, list[NDArray[np.intp]]]:
    """The table of means, and the rows of each panel in their order.

    Raises
    ------
    ModelError
    """
    import pandas as pd

    table = nw.from_native(grid.to_pandas(), eager_only=True)
    columns = [table[name].to_numpy() for name in (grid.column, "conf_low", "conf_high")]
    if not np.isfinite(columns[0]).any():
        raise ModelError("none of the means can be estimated: there is nothing to draw")
    inner = [i for i, v in enumerate(grid.variables) if v.name not in grid.by]
    outer = [i for i, v in enumerate(grid.variables) if v.name in grid.by]
    names, first = _combined(grid, inner, long=LONG)
    panels, second = _combined(grid, outer, long=LONG)
    frame = pd.DataFrame(
        {
            # a flipped axis counts from below
            "name": coded(len(names) - 1 - first, names[::-1]),
            "panel": coded(second, panels),
            "mean": columns[0],
            "conf_low": columns[1],
            "conf_high": columns[2],
            "arrow_low": np.nan,
            "arrow_high": np.nan,
        }
    )
    groups = [np.flatnonzero(second == panel) for panel in range(len(panels))]
    if max(map(len, groups)) > MOST_MEANS:
        raise ModelError(
            f"{max(map(len, groups))} means in one panel; at most {MOST_MEANS} can be told apart. "
            "Give some of the variables as by= of mm.emmeans, or choose levels with at="
        )
    return frame, groups


def _combined(grid: EmmGrid, which: list[int], long: int) -> tuple[list[str], Any]:
    """Names of the combinations of some variables, and that of each row."""
    cells = grid.averages.cells[:, which]
    if not which:
        return ["all"], np.zeros(len(cells), dtype=np.int64)
    # the first variable varies fastest
    distinct_cells, codes = np.unique(cells[:, ::-1], axis=0, return_inverse=True)
    variables = [grid.variables[i] for i in which]
    names = []
    for cell in distinct_cells[:, ::-1].tolist():
        values = [v.values[at] for v, at in zip(variables, cell, strict=True)]
        names.append(", ".join(f"{x:.6g}" if isinstance(x, float) else str(x) for x in values))
    return distinct(names, long), codes.ravel().astype(np.int64)


# --- arrows ---------------------------------------------------------------------------------------


def _add_arrows(
    frame: pd.DataFrame, grid: EmmGrid, groups: list[NDArray[np.intp]], adjust: str
) -> int:
    """Fill in the ends of the arrows; the number of pairs that they tell wrongly."""
    table = nw.from_native(grid.contrasts(adjust=adjust), eager_only=True)
    half = 0.5 * (table["conf_high"].to_numpy() - table["conf_low"].to_numpy())
    mean = frame["mean"].to_numpy()
    low, high = np.full(len(frame), np.nan), np.full(len(frame), np.nan)
    wrong = start = 0
    for rows in groups:
        pairs = np.array(list(combinations(range(len(rows)), 2)), dtype=np.intp).reshape(-1, 2)
        margin = half[start : start + len(pairs)]
        start += len(pairs)
        if len(rows) < 2 or not np.isfinite(margin).all():
            continue
        left, right, missed = arrow_lengths(mean[rows], pairs, margin)
        low[rows], high[rows] = mean[rows] - left, mean[rows] + right
        wrong += missed
    frame["arrow_low"], frame["arrow_high"] = low, high
    return wrong


def arrow_lengths(mean: Array, pairs: NDArray[np.intp], margin: Array) -> tuple[Array, Array, int]:
    """Lengths of the arrows of each mean, and how many pairs they tell wrongly.

    Parameters
    ----------
    mean : ndarray of shape (k,)
    pairs : ndarray of int, shape (k (k - 1) / 2, 2)
    margin : ndarray of shape (k (k - 1) / 2,)
        Difference from which the two means of a pair differ.

    Returns
    -------
    ndarray, ndarray of shape (k,)
        To the left and to the right; none where no other mean lies there.
    """
    k = len(mean)
    swap = mean[pairs[:, 0]] > mean[pairs[:, 1]]
    lower = np.where(swap, pairs[:, 1], pairs[:, 0])
    upper = np.where(swap, pairs[:, 0], pairs[:, 1])
    gap = mean[upper] - mean[lower]
    # the arrow to the right of the lower mean and that to the left of the upper fill the margin
    at = np.arange(len(pairs))
    design = np.zeros((len(pairs), 2 * k))
    design[at, lower], design[at, k + upper] = 1.0, 1.0
    used = design.any(axis=0)
    weight = 1.0 / (np.abs(gap - margin) / margin + 0.05)
    best, fewest = np.zeros(2 * k), len(pairs) + 1
    for _ in range(ROUNDS):
        lengths = np.zeros(2 * k)
        lengths[used] = _even(design[:, used], margin, weight)
        wrong = (gap > lengths[lower] + lengths[k + upper]) != (gap > margin)
        if wrong.sum() < fewest:
            best, fewest = lengths, int(wrong.sum())
        if not wrong.any():
            break
        weight = np.where(wrong, 2.0 * weight, weight)
    return best[k:], best[:k], fewest


def _even(design: Array, margin: Array, weight: Array) -> Array:
    """Weighted least squares without negative lengths, as near as can be to halves of the margins.

    The lengths are not determined otherwise: one arrow may be longer if all that it meets are
    shorter.
    """
    from scipy.optimize import nnls

    half = 0.5 * (design.T @ margin) / design.sum(axis=0)
    rows = np.concatenate([design * weight[:, None], EVEN * np.eye(design.shape[1])])
    lengths, _ = nnls(rows, np.concatenate([margin * weight, EVEN * half]))
    return np.asarray(lengths)
