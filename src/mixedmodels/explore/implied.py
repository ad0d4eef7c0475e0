"""Covariance over time that a fitted model implies, beside what the data show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.build import covariate_table, evaluate_new
from mixedmodels.design.frame import FrameKind, read, to_native
from mixedmodels.design.grouping import find_structure
from mixedmodels.errors import DataWarning, ModelError, warn
from mixedmodels.explore.columns import Labels, labels, repeats, restrict
from mixedmodels.explore.columns import times as times_of
from mixedmodels.explore.correlations import (
    TimeCorrelations,
    correlate,
    lower_table,
    pairs_of,
)
from mixedmodels.explore.time_names import text_of
from mixedmodels.model.predict import residuals
from mixedmodels.model.record import Fit
from mixedmodels.output.layout import Block, Facts, Table, fixed, number, shorten_words
from mixedmodels.output.printed import Printed

# times beyond which the caller must choose some
MOST_TIMES = 100
# times whose matrices are printed
MOST_PRINTED = 12


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ImpliedCorrelations(Printed):
    """Covariance and correlation of one subject's observations under a model.

    Attributes
    ----------
    formula : str
    group : str
        The grouping factor whose levels are the subjects.
    time : str
    times : tuple
        The T times.
    covariance : ndarray of shape (T, T)
        ``Z S Z' + sigma^2 I``, in squared units of the response.
    correlation : ndarray of shape (T, T)
    observed : TimeCorrelations or None
        Of the response less its estimated fixed part, at the same times; None when some subject has
        several observations at one time or the model does not hold its data.
    rmsd : float
        Root mean squared difference between observed and implied correlations, pairs of times
        weighted by their number of subjects; NaN without observed ones.
    kind : str
        Kind of the frames.
    """

    formula: str
    group: str
    time: str
    times: tuple[Any, ...]
    covariance: Array
    correlation: Array
    observed: TimeCorrelations | None
    rmsd: float
    kind: FrameKind

    @checked
    def frame(self) -> Any:
        """All ordered pairs of times, observed beside implied.

        Returns
        -------
        frame
            time_1, time_2, n, covariance_observed, covariance, correlation_observed, correlation.
        """
        seen = self.observed
        none = np.full(self.covariance.size, math.nan)
        return to_native(
            {
                **pairs_of(self.times),
                "n": np.zeros(none.size, np.int64) if seen is None else seen.n.ravel(),
                "covariance_observed": none if seen is None else seen.covariance.ravel(),
                "covariance": self.covariance.ravel(),
                "correlation_observed": none if seen is None else seen.correlation.ravel(),
                "correlation": self.correlation.ravel(),
            },
            self.kind,
        )

    def title(self) -> str:
        """Which model, over what."""
        return f"Implied by {shorten_words(self.formula)}: one {self.group} over {self.time}"

    def blocks(self) -> Sequence[Block]:
        """Implied beside observed correlations and standard deviations."""
        out: list[Block] = [lower_table("Correlation, implied", self.times, self.correlation, 3)]
        if self.observed is not None:
            observed = self.observed.correlation
            heading = "Correlation, observed (fixed effects taken out)"
            out.append(lower_table(heading, self.times, observed, 3))
        out.append(self._deviations())
        if self.observed is not None:
            out.append(Facts((("RMS difference of the correlations", fixed(self.rmsd, 3)),)))
        return out

    def _deviations(self) -> Table:
        shown = self.times[:MOST_PRINTED]
        rows = [("implied", *map(number, np.sqrt(np.diag(self.covariance))[:MOST_PRINTED]))]
        if self.observed is not None:
            sd = np.sqrt(np.diag(self.observed.covariance))[:MOST_PRINTED]
            rows.append(("observed", *("n/a" if np.isnan(x) else number(float(x)) for x in sd)))
        return Table("Standard deviation", ("", *map(text_of, shown)), tuple(rows), 1)


@checked
def implied_correlations(
    m: Fit,
    times: Sequence[Any] | None = None,
    *,
    time: str | None = None,
    group: str | None = None,
) -> ImpliedCorrelations:
    """Covariance and correlation over time that a mixed model implies, beside the observed ones.

    A random intercept implies one correlation for all pairs of times; a random slope lets
    correlations fall and variances change over time. Where implied and observed ones differ much,
    the random part does not describe the data.

    Parameters
    ----------
    m : FittedModel
        With random terms.
    times : sequence, optional
        Times at which to look; those of the data by default.
    time : str, optional
        Column of times. By default the one that the random terms read, else the only number in the
        fixed part.
    group : str, optional
        Grouping factor whose levels are the subjects. By default the one with most levels, if the
        others contain it.

    Returns
    -------
    ImpliedCorrelations
        With ``correlation`` and ``covariance`` as arrays, ``observed``, ``rmsd`` and ``frame()``.
        It prints.

    Raises
    ------
    TypeError
        Not a fitted model.
    ModelError
        No random terms; the time or the subject is not clear; random terms that read other columns
        too.
    DataError
        Unknown columns, or times that the model cannot use.

    Warns
    -----
    DataWarning
        Several observations of a subject at one time: there is nothing to compare with.

    Notes
    -----
    For two observations of one subject at times s and t the covariance is ``z(s)' S z(t)``, plus
    ``sigma^2`` when they are one and the same. Factors in which the subjects are nested add their
    own part. Observed covariances are those of ``y - X beta``.

    References
    ----------
    Fitzmaurice, G. M., Laird, N. M. and Ware, J. H. (2011). Applied Longitudinal Analysis, 2nd ed.,
    section 8.2.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m = mm.lmer("BW ~ time + (time | animal)", piglets)
    >>> implied = mm.implied_correlations(m)
    >>> implied.correlation.round(2)
    array([[1.  , 0.72, 0.68, 0.63],
           [0.72, 1.  , 0.81, 0.8 ],
           [0.68, 0.81, 1.  , 0.87],
           [0.63, 0.8 , 0.87, 1.  ]])
    >>> intercepts = mm.lmer("BW ~ time + (1 | animal)", piglets)
    >>> round(implied.rmsd, 3), round(mm.implied_correlations(intercepts).rmsd, 3)
    (0.059, 0.113)
    """
    if not m.has_random:
        raise ModelError(
            f"'{m.formula}' has no random terms: it implies that observations are uncorrelated"
        )
    k = _subject(m, group)
    parts = [j for j in range(len(m.design.groups)) if j == k or _contains(m, j, k)]
    column = _time_column(m, parts, k) if time is None else time
    _check_terms(m, parts, column)
    at = None if m.source.data is None else _times_of_rows(m, column)
    chosen = _default_times(at, column) if times is None else [_scalar(t) for t in times]
    if not chosen:
        raise ModelError("times must name at least one time")
    covariance = _covariance(m, parts, column, chosen)
    sd = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sd, sd)
    observed = None if at is None else _observed(m, k, at, chosen)
    return ImpliedCorrelations(
        formula=m.formula,
        group=m.design.groups[k].name,
        time=column,
        times=tuple(chosen),
        covariance=covariance,
        correlation=correlation,
        observed=observed,
        rmsd=_rmsd(correlation, observed),
        kind=m.source.kind,
    )


# --- which subject, which time --------------------------------------------------------------------


def _subject(m: Fit, group: str | None) -> int:
    """Position of the grouping factor whose levels are the subjects."""
    names = [g.name for g in m.design.groups]
    if group is not None:
        if group not in names:
            raise ModelError(
                f"group={group!r} is no grouping factor of the model; it has {', '.join(names)}"
            )
        return names.index(group)
    if not m.design.structure.nested:
        raise ModelError(
            f"the grouping factors {', '.join(names)} are crossed: say with group= which one holds "
            "the subjects that are followed over time"
        )
    return 0


def _contains(m: Fit, j: int, k: int) -> bool:
    """Whether each level of factor k lies in one level of factor j."""
    if j < k:
        return False
    if m.design.structure.nested:
        return True
    size = len(m.design.groups[k].levels)
    return find_structure([m.rows.codes[k], m.rows.codes[j]], [size]).nested


def _readers(m: Fit, parts: list[int]) -> dict[str, tuple[str, ...]]:
    """Columns that each random term of some factors reads, by its text."""
    own = {term.text for k in parts for term in m.design.groups[k].terms}
    return {t.text: t.variables for t in m.design.formula.random if t.text in own}


def _time_column(m: Fit, parts: list[int], k: int) -> str:
    found = list(dict.fromkeys(v for read in _readers(m, parts).values() for v in read))
    if not found:
        formula, known = m.design.formula, m.design.factors
        found = [v for v in formula.fixed_variables if v not in known and _varies(m, v, k)]
    if len(found) == 1:
        return found[0]
    seen = f"it could be {', '.join(found)}" if found else "the formula names none"
    raise ModelError(f"which column is the time? {seen}: say so with time=")


def _varies(m: Fit, name: str, k: int) -> bool:
    """Whether a column changes within subjects, as far as can be known."""
    if m.source.data is None:
        return True
    found = labels(m.source.data, name, "time")
    codes = found.codes if m.source.complete is None else found.codes[m.source.complete]
    pairs = np.unique(m.rows.codes[k] * len(found.levels) + codes)
    return len(pairs) > len(m.design.groups[k].levels)


def _check_terms(m: Fit, parts: list[int], column: str) -> None:
    for text, read_columns in _readers(m, parts).items():
        others = [v for v in read_columns if v != column]
        if others:
            raise ModelError(
                f"the random term {text} reads {', '.join(others)} besides '{column}': its "
                "covariance over time depends on them"
            )


def _times_of_rows(m: Fit, column: str) -> Labels:
    """Times of the rows used, -1 elsewhere."""
    found = times_of(m.source.data, column)
    if m.source.complete is None:
        return found
    return restrict(found, m.source.complete)


def _default_times(at: Labels | None, column: str) -> list[Any]:
    if at is None:
        raise ModelError(
            "the model does not hold its data (it was fitted to sums, or loaded from a file): give "
            "times="
        )
    if len(at.levels) > MOST_TIMES:
        raise ModelError(
            f"'{column}' has {len(at.levels)} different values: choose some with times=[...]"
        )
    return at.values()


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


# --- covariances ----------------------------------------------------------------------------------


def _covariance(m: Fit, parts: list[int], column: str, times: list[Any]) -> Array:
    """``Z S Z' + sigma^2 I`` of one subject at some times."""
    forced = [column] if column in m.design.factors else []
    columns = read({column: times}, [column], categorical=forced, what="times")
    if columns.n < len(times):
        raise ModelError("times must not hold missing values")
    table = covariate_table(columns, m.design.factors)
    total = m.sigma**2 * np.eye(len(times))
    for k in parts:
        for t, term in enumerate(m.design.groups[k].terms):
            half = evaluate_new(m.design, term.source, columns, table) @ m.term_factor(k, t)
            total += half @ half.T * m.sigma**2
    return total


def _observed(m: Fit, k: int, at: Labels, times: list[Any]) -> TimeCorrelations | None:
    """Correlations at these times of what the fixed part leaves."""
    place = {value: i for i, value in enumerate(at.values())}
    found = [place.get(value, -1) for value in times]
    wanted = np.isin(at.codes, [i for i in found if i >= 0]) & (at.codes >= 0)
    at = restrict(at, wanted)
    if len(at.levels) < 2:
        return None
    complete = m.source.complete
    rows = slice(None) if complete is None else complete
    y = np.full(m.source.n_rows, np.nan)
    y[rows] = residuals(m, "marginal")
    codes = np.full(m.source.n_rows, -1, np.int64)
    codes[rows] = m.rows.codes[k]
    group = m.design.groups[k]
    ids = Labels(group.name, codes, group.levels, (), None, "text", ordered=False)
    twice = repeats(ids, at, wanted)
    if len(twice):
        warn(
            f"{twice.describe(ids, at)}: there are no observed correlations to compare with",
            DataWarning,
        )
        return None
    response = m.design.formula.response
    assert response is not None
    seen = correlate(ids, at, np.where(wanted, y, np.nan), response.text, m.source.kind)
    return _aligned(seen, times)


def _aligned(seen: TimeCorrelations, times: list[Any]) -> TimeCorrelations:
    """The same at the times asked for, without values where nothing was observed."""
    place = {value: i for i, value in enumerate(seen.times)}
    at = np.array([place.get(value, -1) for value in times])
    known = (at[:, None] >= 0) & (at >= 0)
    return replace(
        seen,
        times=tuple(times),
        n=np.where(known, seen.n[np.ix_(at, at)], 0),
        covariance=np.where(known, seen.covariance[np.ix_(at, at)], np.nan),
        correlation=np.where(known, seen.correlation[np.ix_(at, at)], np.nan),
        values=np.where(at >= 0, seen.values[:, at], np.nan),
    )


def _rmsd(correlation: Array, observed: TimeCorrelations | None) -> float:
    if observed is None:
        return math.nan
    pairs = np.tril_indices(len(correlation), -1)
    gap = observed.correlation[pairs] - correlation[pairs]
    weight = np.where(np.isnan(gap), 0.0, observed.n[pairs])
    if not weight.sum():
        return math.nan
    return math.sqrt(float(np.nansum(weight * gap**2) / weight.sum()))
