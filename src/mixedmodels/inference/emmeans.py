"""Estimated marginal means and slopes of a fit: what to average, over what, held where.

Means of the model over a reference grid (Searle, Speed and Milliken 1980, Am. Stat. 34, 216-221).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mixedmodels.arguments import check_choice, checked
from mixedmodels.errors import ModelError, RankDeficiencyWarning, warn
from mixedmodels.inference.emm_grid import EmmGrid
from mixedmodels.inference.emm_report import value_text
from mixedmodels.inference.estimates import check_ddf, estimates
from mixedmodels.inference.grid_variables import terms_of, unknown_name
from mixedmodels.inference.reference_grid import (
    WEIGHTS,
    Averages,
    ReferenceGrid,
    reference_grid,
)
from mixedmodels.inference.response_scale import Scale, response_scale, transformation
from mixedmodels.model.predict import check_level
from mixedmodels.model.record import Fit

METHODS = {
    "satterthwaite": "Satterthwaite",
    "kenward-roger": "Kenward-Roger",
    "none": "infinite (normal distribution)",
}


@checked
def emmeans(
    model: Fit,
    specs: str | Sequence[str],
    *,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    ddf: str = "satterthwaite",
    level: float = 0.95,
    weights: str = "equal",
    type: str = "link",  # noqa: A002 - the name of the field
) -> EmmGrid:
    """Estimated marginal means.

    Parameters
    ----------
    model : FittedModel
        From `lmer` or `lm`.
    specs : str or sequence of str
        The variables whose combinations get a mean: ``"treatm"``, ``["treatm", "sex"]``, or as in
        R ``"~ treatm | time"``, where those behind the bar are `by`; ``"~ 1"`` for one mean.
    by : str or sequence of str, optional
        Further variables, within whose levels means are shown and compared.
    at : mapping of str to value or values, optional
        Values of covariates, ``{"time": [0, 21]}``, or levels of factors. A covariate is held at
        its mean over the rows by default; one with two distinct values counts as a factor.
    ddf : {"satterthwaite", "kenward-roger", "none"}
        Degrees of freedom, as in `FittedModel.tidy`; with ``"none"`` infinite. Models without
        random terms have their residual degrees of freedom.
    level : float, default 0.95
        Coverage of the limits.
    weights : {"equal", "proportional", "outer", "cells", "flat"}
        How levels of the other factors are averaged: alike; by the rows (or prior weights) of each
        combination of them; by those of each factor alone; by those within each mean; alike over
        combinations with rows.
    type : {"link", "response"}
        The scale of the model, or of the response before log, log2, log10, log1p or sqrt: means
        and limits are transformed back, standard errors by the delta method, contrasts of
        logarithms become ratios.

    Returns
    -------
    EmmGrid
        Prints as a table and reads as a frame: the variables, emmean (response with
        ``type="response"``), std_error, df, conf_low, conf_high, statistic, p_value. Its methods
        are `EmmGrid.contrasts` and `EmmGrid.joint_tests`.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        Unknown variables, levels, methods or weights; Kenward and Roger's method for an ML fit.
    DataError
        The grid holds a value that a transform of the formula cannot take.

    Warns
    -----
    RankDeficiencyWarning
        Some means rest on combinations without data, or are weighted by rows that there are not:
        they are NaN.

    Notes
    -----
    Every row of the grid goes through the formula as new data would, so that ``poly(time, 2)`` or
    ``I(time^2)`` are taken at the mean of time, as they should. The mean of an ``offset`` argument
    is added; a formula's ``offset()`` is taken at the grid. A factor that lies within another (its
    levels occur with one level of that, or it has no term of its own) is averaged within it.

    References
    ----------
    Searle, S. R., Speed, F. M. and Milliken, G. A. (1980), Am. Stat. 34, 216-221.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time * treatm + (time | animal)", mm.datasets.load("piglets"))
    >>> mm.emmeans(m, "treatm", at={"time": 21})
    Estimated marginal means: BW ~ time * treatm + (time | animal)
    <BLANKLINE>
    treatm  emmean  std_error      df  conf_low  conf_high
    1       13.491    0.54618  69.993    12.402     14.581
    2       13.398    0.54419  69.085    12.312     14.484
    3       13.870    0.54419  69.085    12.784     14.956
    4       12.547    0.54419  69.085    11.461     13.632
    5       12.643    0.54825  70.958    11.550     13.736
    <BLANKLINE>
    Notes
    Held at time = 21
    Degrees of freedom: Satterthwaite; limits: 0.95
    """
    plan = _Plan(model, specs, by, at, ddf, level, weights)
    scale = _scale(plan.fit, type)
    averages = plan.grid.averages([*plan.specs, *plan.by], plan.weights)
    column = "emmean" if scale is None else "response"
    return plan.table(averages, column, "Estimated marginal means", scale)


@checked
def emtrends(
    model: Fit,
    specs: str | Sequence[str],
    var: str,
    *,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    ddf: str = "satterthwaite",
    level: float = 0.95,
    weights: str = "equal",
) -> EmmGrid:
    """Estimated marginal slopes of a covariate.

    Parameters
    ----------
    model, specs
        As in `emmeans`.
    var : str
        The covariate; its slope is taken at its mean, or at the values that `at` gives.
    by, at, ddf, level, weights
        As in `emmeans`.

    Returns
    -------
    EmmGrid
        As `emmeans`, with the slopes in the column ``<var>_trend``.

    Raises
    ------
    TypeError, ModelError, DataError
        As in `emmeans`; also when `var` is a factor.

    Notes
    -----
    The slope is the derivative of the model's mean, by a five-point difference that is exact for
    polynomials up to degree four.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time * treatm + (time | animal)", mm.datasets.load("piglets"))
    >>> mm.emtrends(m, "treatm", "time")[["treatm", "time_trend", "std_error"]].round(4)
      treatm  time_trend  std_error
    0      1      0.2902     0.0199
    1      2      0.2879     0.0197
    2      3      0.3114     0.0197
    3      4      0.2448     0.0197
    4      5      0.2535     0.0201
    """
    plan = _Plan(model, specs, by, at, ddf, level, weights)
    known = plan.grid.variables
    if var not in known:
        raise unknown_name(var, list(known), "var", plan.fit)
    if known[var].is_factor:
        raise ModelError(
            f"var={var!r} is a factor: it has no slope; use mm.emmeans() for its means"
        )
    averages = plan.grid.slopes([*plan.specs, *plan.by], plan.weights, var)
    return plan.table(averages, f"{var}_trend", f"Slopes in {var}", None, var)


class _Plan:
    """What was asked for, checked."""

    __slots__ = ("at", "by", "ddf", "fit", "grid", "level", "specs", "weights")

    def __init__(
        self,
        model: Fit,
        specs: str | Sequence[str],
        by: str | Sequence[str] | None,
        at: Mapping[str, Any] | None,
        ddf: str,
        level: float,
        weights: str,
    ) -> None:
        check_level(level)
        self.fit, self.ddf, self.level = model, check_ddf(ddf), level
        self.weights = check_choice("weights", weights, WEIGHTS)
        self.grid = reference_grid(model, at)
        self.at = frozenset(at or ())
        self.specs, self.by = _with_outer(self.grid, *_names(self.grid, specs, by))

    def table(
        self,
        averages: Averages,
        column: str,
        what: str,
        scale: Scale | None,
        slope: str | None = None,
    ) -> EmmGrid:
        """Estimates with everything that their table tells."""
        found = estimates(self.fit, averages.linear, averages.offset, self.ddf)
        variables = tuple(self.grid.variables[name] for name in (*self.specs, *self.by))
        grid = EmmGrid(
            fit=self.fit,
            variables=variables,
            by=self.by,
            averages=averages,
            estimates=found,
            column=column,
            title=f"{what}: {self.fit.formula}",
            notes=tuple(self._notes(scale, slope)),
            ddf=self.ddf,
            level=self.level,
            scale=scale,
        )
        _warn_unknown(grid, self.weights)
        return grid

    def _notes(self, scale: Scale | None, slope: str | None) -> list[str]:
        targets, known = (*self.specs, *self.by), self.grid.variables
        others = [v for name, v in known.items() if name not in targets]
        over = [v.name for v in others if len(v.values) > 1]
        held = [
            f"{v.name} = {value_text(v.values[0])}" for v in known.values() if len(v.values) == 1
        ]
        notes = []
        if over:
            notes.append(f"Averaged over {', '.join(over)} (weights: {self.weights})")
        if held:
            notes.append(f"Held at {', '.join(held)}")
        notes += [
            f"{name} lies within {', '.join(outer)}" for name, outer in self.grid.nested.items()
        ]
        notes += self._interactions(targets, slope)
        notes.append(self._scale_note(scale))
        method = METHODS[self.ddf] if self.fit.has_random else "residual"
        notes.append(f"Degrees of freedom: {method}; limits: {self.level:.6g}")
        return [note for note in notes if note]

    def _interactions(self, targets: Sequence[str], slope: str | None) -> list[str]:
        """What the means would change with, though it does not show."""
        free = {
            name
            for name, v in self.grid.variables.items()
            if name not in (*targets, slope) and (len(v.values) > 1 or name not in self.at)
        }
        outer = {name for names in self.grid.nested.values() for name in names}
        found: dict[str, None] = {}
        for term in terms_of(self.fit, list(self.grid.variables)):
            if term & set(targets) and not (slope and slope not in term):
                inner = {n for n in self.grid.nested if set(self.grid.nested[n]) & set(targets)}
                found.update(dict.fromkeys(sorted((term & free) - outer - inner)))
        if not found:
            return []
        return [f"Depends on {', '.join(found)} too, through interactions"]

    def _scale_note(self, scale: Scale | None) -> str:
        if scale is not None:
            return f"Transformed back from the {scale.name} scale; tests are on that scale"
        text = transformation(self.fit)
        return f"On the scale of {text}" if text else ""


def _scale(fit: Fit, kind: str) -> Scale | None:
    kind = check_choice("type", kind, ("link", "response"))
    return response_scale(fit) if kind == "response" else None


def _names(
    grid: ReferenceGrid, specs: str | Sequence[str], by: str | Sequence[str] | None
) -> tuple[list[str], list[str]]:
    """The variables of specs and of by, as the grid calls them."""
    known = list(grid.variables)
    inner, outer = _parsed(specs, known)
    if by is not None:
        outer += [by] if isinstance(by, str) else list(by)
    found: list[list[str]] = []
    for part, what in ((inner, "specs"), (outer, "by")):
        plain = [re.sub(r"^(?:as\.)?factor\((.*)\)$", r"\1", name).strip("` ") for name in part]
        for name in plain:
            if name not in known:
                raise unknown_name(name, known, what, grid.fit)
        found.append(list(dict.fromkeys(plain)))
    return [name for name in found[0] if name not in found[1]], found[1]


def _parsed(specs: str | Sequence[str], known: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names before and behind the bar."""
    if not isinstance(specs, str):
        if not isinstance(specs, Sequence) or not all(isinstance(s, str) for s in specs):
            raise ModelError(f"specs must be a name, names or '~ a | b', not {specs!r}")
        return list(specs), []
    if specs in known:
        return [specs], []
    left, tilde, right = specs.rpartition("~")
    if tilde and left.strip():
        raise ModelError(
            f"specs={specs!r}: the left side asks for contrasts; write mm.emmeans(m, "
            f"'~ {right.strip()}').contrasts('{left.strip()}')"
        )
    inner, _, outer = right.partition("|")
    return _split(inner), _split(outer)


def _split(text: str) -> list[str]:
    """Names joined by ``*``, ``:``, ``+`` or commas; backquoted ones may hold anything."""
    parts = re.findall(r"`[^`]+`|[^*:+,`]+", text)
    return [p.strip() for p in parts if p.strip() not in ("", "1")]


def _with_outer(
    grid: ReferenceGrid, specs: list[str], by: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A factor that lies within others is shown with them."""
    wanted = [*specs, *by]
    added = [o for name in wanted for o in grid.nested.get(name, ()) if o not in wanted]
    return tuple(dict.fromkeys([*specs, *added])), tuple(by)


def _warn_unknown(grid: EmmGrid, weights: str) -> None:
    """Name the means that the data do not determine."""
    unknown = np.flatnonzero(np.isnan(grid.estimates.estimate))
    if not len(unknown):
        return
    cells = grid.averages.cells[unknown[:5]]
    shown = "; ".join(
        ", ".join(
            f"{v.name} = {value_text(v.values[i])}"
            for v, i in zip(grid.variables, cell, strict=True)
        )
        or "the overall mean"
        for cell in cells.tolist()
    )
    other = "equal" if weights in ("cells", "flat") else "cells"
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    warn(
        f"{len(unknown)} of {len(grid)} estimates are NaN, because they rest on combinations of "
        f"levels without data ({shown}{more}): choose levels with at=, leave out an interaction, "
        f"or use weights='{other}'",
        RankDeficiencyWarning,
    )
