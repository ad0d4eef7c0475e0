"""Plots of what a model predicts: calibration, and each group's own curve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked, suggestion
from mixedmodels.arrays import Array
from mixedmodels.design.frame import column_values
from mixedmodels.errors import ModelError
from mixedmodels.explore.columns import take
from mixedmodels.inference.compare import quoted
from mixedmodels.model.predict import predict
from mixedmodels.model.record import Fit
from mixedmodels.plot.columns import (
    MOST_POINTS,
    WITH_LARGEST,
    coded,
    distinct,
    sample_note,
    some_rows,
)
from mixedmodels.plot.data import codes_of, joinable, time_axis
from mixedmodels.plot.modes import factor_of
from mixedmodels.plot.rows import column_of, data_of, is_labels, used_rows
from mixedmodels.plot.smooth import smooth
from mixedmodels.plot.theme import (
    ACCENT,
    BASE,
    INK,
    MUTED,
    Labels,
    canvas,
    colour_scale,
    drawing,
    note,
    title,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from plotnine import ggplot

# groups drawn over each other, and in panels; points of a curve
MOST_CURVES, MOST_PANELS, CURVE = 150, 20, 40
PARTS = ("fixed effects only", "with random effects")


@checked
def calibration(m: Fit, *, labels: Labels = None) -> ggplot:
    """Observed against fitted values, without and with the random effects.

    Parameters
    ----------
    m : FittedModel
    labels : mapping of str to str, optional
        Titles by column name.

    Returns
    -------
    plotnine.ggplot
        A panel for the marginal and one for the conditional fitted values. Its data have the
        columns fitted, observed and part.

    Raises
    ------
    ModelError
        A model without its rows.

    Notes
    -----
    Points on the dashed line are fitted exactly. Of more than 5,000 rows a random sample is drawn;
    the smoother follows all rows.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.calibration(m)
    >>> len(p.data)
    594
    """
    import pandas as pd

    p9 = drawing()
    y = m.response
    parts = [m.fixed_part, m.fitted] if m.has_random else [m.fixed_part]
    names = list(PARTS) if m.has_random else ["fitted values"]
    drawn = some_rows(m.n_obs, MOST_POINTS, extremes=y - m.fitted)
    points = [_part(fitted[drawn], y[drawn], k, names) for k, fitted in enumerate(parts)]
    curves = [_part(*smooth(fitted, y), k, names) for k, fitted in enumerate(parts)]
    name = response_title(m, labels)
    plot = canvas(
        pd.concat(points, ignore_index=True),
        {"x": "fitted", "y": "observed"},
        x=f"fitted: {name}",
        y=f"observed: {name}",
        caption=note(sample_note(len(drawn), m.n_obs, how=WITH_LARGEST)),
    )
    alpha = float(np.clip(12.0 / np.sqrt(len(drawn)), 0.2, 0.75))
    plot += p9.geom_point(color=BASE, alpha=alpha, size=1.6, stroke=0.2)
    plot += p9.geom_abline(slope=1.0, intercept=0.0, color=INK, linetype="dashed", size=0.7)
    for curve in curves:
        if len(curve) > 1:
            plot += p9.geom_line(data=curve, color=ACCENT, size=1.0)
    return plot + wrapped("part", len(parts)) if m.has_random else plot


def _part(fitted: Array, observed: Array, k: int, names: list[str]) -> pd.DataFrame:
    import pandas as pd

    part = coded(np.full(len(fitted), k), names)
    return pd.DataFrame({"fitted": fitted, "observed": observed, "part": part})


def response_title(m: Fit, labels: Labels) -> str:
    """Title of the response, which may be a transformed column."""
    response = m.design.formula.response
    return title("response" if response is None else response.text, labels)


# --- each group's own curve -----------------------------------------------------------------------


@checked
def conditional(
    m: Fit,
    x: str,
    *,
    group: str | None = None,
    by: str | None = None,
    facets: bool = False,
    labels: Labels = None,
) -> ggplot:
    """Predictions of each group along a column, over the data.

    Parameters
    ----------
    m : FittedModel
    x : str
        A column of the formula, numbers or labels.
    group : str, optional
        Grouping factor whose levels have a curve; the one with the most levels by default.
    by : str, optional
        A column that colours the curves, such as a treatment.
    facets : bool, default False
        A panel for each group instead of all curves in one.
    labels : mapping of str to str, optional
        Titles by column name.

    Returns
    -------
    plotnine.ggplot
        Its data are the curves: x, prediction, level and by; the observed values are a layer.

    Raises
    ------
    DataError
        Unknown or unusable columns.
    ModelError
        No random effects; an unknown factor; x is no column of the formula; a model without its
        data.

    Notes
    -----
    A curve spans the group's own values of x. Other columns stand at the group's mean, labels at
    that of its first row. The random effects of `group` count, those of other factors do not. Of
    more than 150 groups (20 in panels) a random sample is drawn, the same each time.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> p = mm.plot.conditional(m, "time")
    >>> p.data["level"].nunique()
    75
    """
    p9 = drawing()
    check_variable(m, x)
    k = factor_of(m, group)
    n_levels = len(m.design.groups[k].levels)
    drawn = some_rows(n_levels, MOST_PANELS if facets else MOST_CURVES)
    column = focal(m, x)
    tone = None if by is None else column_of(m, by, "by")
    curves = _curves(m, k, drawn, x, column, tone)
    points = _observed(m, k, drawn, column, tone)
    colour = {} if by is None else {"color": "by"}
    style = {} if by is not None else {"color": BASE}
    plot = canvas(
        curves,
        {"x": "x", "y": "prediction"},
        x=title(x, labels),
        y=response_title(m, labels),
        color=None if by is None else title(by, labels),
        caption=note(
            f"lines: predictions for each level of {title(m.design.groups[k].name, labels)}",
            sample_note(len(drawn), n_levels, "groups"),
        ),
    )
    plot += p9.geom_point(
        p9.aes(**colour),
        data=points,
        size=1.6 if facets else 1.0,
        alpha=0.8 if facets else 0.35,
        **({"color": MUTED} if by is None else {}),
    )
    lines = joinable(curves, codes_of(curves, "level"))
    if len(lines):
        plot += p9.geom_line(
            p9.aes(group="level", **colour),
            data=lines,
            size=0.9 if facets else 0.5,
            alpha=1.0 if facets else float(np.clip(10.0 / np.sqrt(len(drawn)), 0.4, 0.9)),
            **style,
        )
    if is_labels(column):
        plot += p9.geom_point(p9.aes(**colour), size=1.6, **style)
    else:
        plot += time_axis(np.unique(column), narrow=facets)
    if by is not None:
        plot += colour_scale(curves["by"].nunique())
    return plot + wrapped("level", len(drawn)) if facets else plot


def check_variable(m: Fit, x: str) -> None:
    """Refuse a column that predictions do not depend on.

    Raises
    ------
    ModelError
    """
    formula = m.design.formula
    own = dict.fromkeys(
        [*formula.fixed_variables, *(v for t in formula.random for v in t.variables)]
    )
    if x not in own:
        hint = suggestion(x, own)
        known = ", ".join(own) or "it has none"
        raise ModelError(
            f"predictions of {quoted(m.formula)} do not depend on {x!r}{hint}; its columns: {known}"
        )


def focal(m: Fit, x: str) -> Any:
    """A column of the formula on the rows used; numbers that the model takes as labels as such."""
    import pandas as pd

    column = column_of(m, x, "x")
    if is_labels(column) or x not in m.design.factors:
        return column
    return pd.Series(as_labels(column, np.arange(len(column))))


def spanned(m: Fit, x: str) -> Any:
    """As `focal`; of a model of sums, which has no rows, values with the column's range or levels.

    Raises
    ------
    ModelError
        The sums do not tell the range.
    """
    import pandas as pd

    sums = m.source.sums
    if sums is None:
        return focal(m, x)
    check_variable(m, x)
    if x in m.design.factors:
        return pd.Series(pd.Categorical(m.design.factors[x][0], m.design.factors[x][0]))
    if x in sums.keys:
        return np.array(sorted(sums.keys[x].levels), dtype=np.float64)
    if x not in sums.bare:
        raise ModelError(
            f"the sums of {quoted(m.formula)} do not tell the range of {x!r}, which stands in no "
            "term as it is: add it to the formula, or call mm.emmeans with at="
        )
    at = sums.bare[x]
    low, high = sums.ranges[at].tolist()
    told = sums.spread(x)
    if told is not None and told[3]:  # it has no others
        return np.array([low, high])
    return np.array([low, sums.sums.means[at] @ sums.sums.weight / sums.sums.weight.sum(), high])


def _curves(
    m: Fit, k: int, drawn: NDArray[np.intp], x: str, column: Any, tone: Any
) -> pd.DataFrame:
    """Predictions along x for some levels of a factor."""
    import pandas as pd

    codes = m.rows.codes[k]
    home, place = _grid(codes, drawn, column)
    first = _first_rows(codes, len(m.design.groups[k].levels))
    template = first[drawn][home]
    new = _new_rows(m, codes, template, x, place)
    values = predict(m, new, random=[m.design.groups[k].name], **_offset(m, codes, template))
    names = distinct([m.design.groups[k].levels[i] for i in drawn.tolist()])
    frame = pd.DataFrame(
        {"x": place, "prediction": np.asarray(values), "level": coded(home, names)}
    )
    if tone is not None:
        frame["by"] = as_labels(tone, template)
    return frame


def _grid(
    codes: NDArray[np.int64], drawn: NDArray[np.intp], column: Any
) -> tuple[NDArray[np.intp], Any]:
    """For every point of every curve, which of the drawn levels it is of, and its x."""
    import pandas as pd

    n_levels = int(codes.max()) + 1
    if is_labels(column):
        own = column.cat.codes.to_numpy().astype(np.int64)
        width = len(column.cat.categories)
        there = np.zeros((n_levels, width), bool)
        there[codes, own] = True
        home, at = np.nonzero(there[drawn])
        return home, pd.Series(coded(at, list(column.cat.categories)))
    low, high = np.full(n_levels, np.inf), np.full(n_levels, -np.inf)
    np.minimum.at(low, codes, column)
    np.maximum.at(high, codes, column)
    share = np.linspace(0.0, 1.0, CURVE)
    at = low[drawn][:, None] + (high - low)[drawn][:, None] * share
    return np.repeat(np.arange(len(drawn)), CURVE), at.ravel()


def _first_rows(codes: NDArray[np.int64], n_levels: int) -> NDArray[np.intp]:
    first = np.zeros(n_levels, np.intp)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    return first


def _new_rows(
    m: Fit, codes: NDArray[np.int64], template: NDArray[np.intp], x: str, place: Any
) -> dict[str, Any]:
    """Rows to predict: x on its grid, numbers at the group's mean, labels as in its first row."""
    formula = m.design.formula
    rows = used_rows(m)
    kept = np.arange(m.source.n_rows)[rows]
    grouping = [v for term in formula.random for v in term.group.variables]
    needed = dict.fromkeys([*formula.variables, *grouping])
    counts = np.bincount(codes)
    new: dict[str, Any] = {}
    for name in needed:
        if name == x:
            new[name] = _values_at(m, name, place)
        elif name in grouping or name in m.design.factors:
            new[name] = take(column_values(data_of(m), name, "data"), kept[template])
        else:
            numbers = np.asarray(column_of(m, name, "data"), dtype=np.float64)
            mean = np.bincount(codes, weights=numbers) / counts
            new[name] = mean[codes[template]]
    return new


def _values_at(m: Fit, name: str, place: Any) -> Any:
    """Values of x, labels as the levels that the fit knows."""
    if not is_labels(place):
        return place
    column = focal(m, name)
    first = np.zeros(len(column.cat.categories), np.intp)
    own = column.cat.codes.to_numpy()
    first[own[::-1]] = np.arange(len(own))[::-1]
    kept = np.arange(m.source.n_rows)[used_rows(m)]
    where = kept[first[place.cat.codes.to_numpy()]]
    return take(column_values(data_of(m), name, "x"), where)


def _offset(m: Fit, codes: NDArray[np.int64], template: NDArray[np.intp]) -> dict[str, Any]:
    """An offset that was given as values: its mean in the group."""
    given = m.source.arrays.get("offset")
    if given is None or isinstance(given, str):
        return {}
    values = np.asarray(given, dtype=np.float64)[used_rows(m)]
    mean = np.bincount(codes, weights=values) / np.bincount(codes)
    return {"offset": mean[codes[template]]}


def _observed(m: Fit, k: int, drawn: NDArray[np.intp], column: Any, tone: Any) -> pd.DataFrame:
    """Observed values of the levels drawn."""
    import pandas as pd

    codes = m.rows.codes[k]
    place = np.full(int(codes.max()) + 1, -1)
    place[drawn] = np.arange(len(drawn))
    rows = np.flatnonzero(place[codes] >= 0)
    rows = rows[some_rows(len(rows), MOST_POINTS)]
    names = distinct([m.design.groups[k].levels[i] for i in drawn.tolist()])
    at = column.iloc[rows].reset_index(drop=True) if is_labels(column) else column[rows]
    frame = pd.DataFrame(
        {"x": at, "prediction": m.response[rows], "level": coded(place[codes[rows]], names)}
    )
    if tone is not None:
        frame["by"] = as_labels(tone, rows)
    return frame


def as_labels(column: Any, rows: NDArray[np.intp]) -> Any:
    """Values of a column at some rows, numbers turned into labels."""
    if is_labels(column):
        return column.iloc[rows].reset_index(drop=True)
    levels, codes = np.unique(column, return_inverse=True)
    return coded(codes[rows], distinct([f"{v:g}" for v in levels.tolist()]))
