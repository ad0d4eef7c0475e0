"""One model for each of many segments or responses; only estimates are kept."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import check_choice, checked
from mixedmodels.arrays import Array
from mixedmodels.design.contrasts import with_contrasts
from mixedmodels.design.frame import (
    column_names,
    frame_kind,
    read,
    snapshot,
    to_native,
)
from mixedmodels.design.levels import Numeric
from mixedmodels.design.segments import response_of, tabulate
from mixedmodels.design.storage import read_column
from mixedmodels.engines.sums import cell_codes
from mixedmodels.errors import (
    ConvergenceWarning,
    DataError,
    MixedModelsError,
    ModelError,
    SingularFitWarning,
    warn,
)
from mixedmodels.formula.parse import parse
from mixedmodels.formula.terms import ParsedFormula
from mixedmodels.inference.batch_fits import OneModel
from mixedmodels.inference.segment_fits import Part, fit_outcomes, fit_segments
from mixedmodels.inference.single_fits import (
    TASK,
    Options,
    Task,
    each_outcome,
    each_segment,
    first_fit,
    in_jobs,
)
from mixedmodels.model.fit import read_columns
from mixedmodels.model.frames import DDF
from mixedmodels.model.predict import check_level
from mixedmodels.output.layout import Block, Facts, Table, number
from mixedmodels.output.printed import Printed
from mixedmodels.progress import replicate_bar
from mixedmodels.quantiles import t_probability, t_two_sided, two_sided

# what `glance` shows of a model that could not be fitted
NO_FIGURES: dict[str, Any] = {
    "n_obs": None,
    "n_params": None,
    "sigma": math.nan,
    "loglik": math.nan,
    "aic": math.nan,
    "bic": math.nan,
    "converged": False,
    "is_singular": False,
}
# rows of outcomes of their own missing values that are laid side by side
MOST_STACKED = 5_000_000


@dataclass(frozen=True, eq=False, repr=False)
class ManyFits(Printed):
    """Estimates of many models of one formula.

    Attributes
    ----------
    formula : str
    labels : dict of str to list
        What each model is of: a column per `by`, or ``response``.
    kind : str
        Library of the frames that come out.
    """

    formula: str
    labels: dict[str, list[Any]]
    kind: Any
    results: tuple[OneModel, ...]

    def __len__(self) -> int:
        return len(self.results)

    def title(self) -> str:
        """How many models, and of what."""
        lost = len(self.failed)
        return f"{len(self)} models" + (f", {lost} of them failed" if lost else "")

    def blocks(self) -> Sequence[Block]:
        """The formula, and how each estimate spreads over the models."""
        values: dict[str, list[float]] = {}
        for one in self.results:
            for names, found in ((one.terms, one.beta), (one.parameters, one.variances)):
                for name, value in zip(names, found, strict=True):
                    values.setdefault(name, []).append(float(value))
        rows = []
        for name, of_all in values.items():
            quartiles = np.quantile(of_all, [0.0, 0.25, 0.5, 0.75, 1.0])
            rows.append((name, *map(number, quartiles), str(len(of_all))))
        facts = (("Formula", self.formula), ("By", ", ".join(self.labels)))
        header = ("estimate", "min", "1Q", "median", "3Q", "max", "models")
        return [Facts(facts), Table("Estimates of all models", header, tuple(rows), 1)]

    @property
    def failed(self) -> dict[Any, str]:
        """Why a model could not be fitted, by its label (a tuple for several columns)."""
        every = list(zip(*self.labels.values(), strict=True))
        return {
            label[0] if len(label) == 1 else label: one.failure
            for label, one in zip(every, self.results, strict=True)
            if one.failure is not None
        }

    @checked
    def tidy(self, level: float = 0.95) -> Any:
        """Coefficients of all models.

        Parameters
        ----------
        level : float, default 0.95

        Returns
        -------
        frame
            The labels, and term, estimate, std_error, statistic, df, p_value, conf_low, conf_high.
            Models that failed have no rows.

        Raises
        ------
        ModelError
            A level outside (0, 1).
        """
        check_level(level)
        estimate, se, df = (self._joined(name) for name in ("beta", "std_error", "df"))
        known = ~np.isnan(df)
        quantile = np.full(len(df), two_sided(level))
        p_value = np.full(len(df), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = estimate / se
        if known.any():
            quantile[known] = t_two_sided(level, df[known])
            p_value[known] = t_probability(statistic[known], df[known])
        columns = {
            "term": [term for one in self.results for term in one.terms],
            "estimate": estimate,
            "std_error": se,
            "statistic": statistic,
            "df": df,
            "p_value": p_value,
            "conf_low": estimate - quantile * se,
            "conf_high": estimate + quantile * se,
        }
        return self._frame([len(one.terms) for one in self.results], columns)

    @checked
    def variances(self) -> Any:
        """Standard deviations, correlations and sigma of all models.

        Returns
        -------
        frame
            The labels, and parameter (named as in `mixedmodels.confint`) and estimate.
        """
        columns = {
            "parameter": [name for one in self.results for name in one.parameters],
            "estimate": self._joined("variances"),
        }
        return self._frame([len(one.parameters) for one in self.results], columns)

    @checked
    def glance(self) -> Any:
        """One row per model.

        Returns
        -------
        frame
            The labels, and n_obs, n_params, sigma, loglik, aic, bic, converged, is_singular, error:
            why there is no model, else missing.
        """
        columns = {
            name: [one.figures.get(name, lost) for one in self.results]
            for name, lost in NO_FIGURES.items()
        }
        columns["error"] = [one.failure for one in self.results]
        return self._frame([1] * len(self), columns)

    def _joined(self, name: str) -> Array:
        return np.concatenate([np.empty(0), *(getattr(one, name) for one in self.results)])

    def _frame(self, counts: Sequence[int], columns: Mapping[str, Any]) -> Any:
        labels = {
            name: [v for v, count in zip(values, counts, strict=True) for _ in range(count)]
            for name, values in self.labels.items()
        }
        return to_native({**labels, **columns}, self.kind)


@checked
def fit_many(
    formula: str,
    data: Any,
    *,
    by: str | Sequence[str] | None = None,
    responses: Sequence[str] | None = None,
    reml: bool = True,
    weights: str | None = None,
    offset: str | None = None,
    contrasts: Mapping[str, Any] | None = None,
    ddf: str = "satterthwaite",
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> ManyFits:
    """Fit one model to each segment of the data, or to each of many responses.

    Models with one grouping factor are fitted side by side in batches; each ends at the optimum
    that `mixedmodels.lmer` finds. What a batch does not take is fitted by itself: several grouping
    factors, ``scale()`` or ``poly()`` (each segment has its own), segments without some level of a
    factor, columns that nearly determine each other, too few rows, a search that does not end at a
    certified optimum, Kenward and Roger's degrees of freedom.

    Parameters
    ----------
    formula : str
        As in `mixedmodels.lmer`; without random terms each model is one of least squares. For
        `responses` the left side is replaced by each in turn.
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
    by : str or sequence of str, optional
        Columns whose combinations are the segments; rows that miss one are left out.
    responses : sequence of str, optional
        Columns to be the response, of models that share all else.
    reml : bool, default True
    weights, offset : str, optional
        Columns, as in `mixedmodels.lmer`.
    contrasts : mapping of str to str, optional
    ddf : {"satterthwaite", "kenward-roger", "none"}
        Degrees of freedom of the coefficients.
    n_jobs : int, optional
        Processes for the models that are fitted by themselves, through joblib, whose
        ``parallel_config`` or ``parallel_backend`` chooses Dask, Ray or Spark instead. By default
        all processors for 500 such models or more, else this process.
    progress : bool, optional
        Show a progress bar; by default where somebody watches and it takes long.

    Returns
    -------
    ManyFits
        ``tidy()``, ``variances()`` and ``glance()`` of all models, and those that `failed`. The
        models themselves are not kept.

    Raises
    ------
    ModelError
        Neither or both of `by` and `responses`.
    DataError
        Unknown columns; no complete row.

    Warns
    -----
    ConvergenceWarning
        Models could not be fitted, or did not converge; they are counted.
    SingularFitWarning
        Models are singular.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> many = mm.fit_many("BW ~ time + (1 | animal)", piglets, by="treatm")
    >>> many.tidy()[["treatm", "term", "estimate"]].head(2).round(3)
      treatm       term  estimate
    0      1  Intercept     7.402
    1      1       time     0.289
    """
    if (by is None) == (responses is None):
        raise ModelError("give by= (columns of segments) or responses= (columns of outcomes)")
    if (by is not None and not len(by)) or (responses is not None and not len(responses)):
        raise ModelError("by= or responses= is empty: name a column")
    ddf = check_choice("ddf", ddf, DDF)
    data = _selectable(snapshot(data))
    options = Options(bool(reml), weights, offset, contrasts, ddf)
    if by is not None:
        work = _segments(formula, data, [by] if isinstance(by, str) else list(by), options)
    else:
        assert responses is not None
        work = _outcomes(formula, data, list(responses), options)
    done: list[OneModel | None] = [None] * len(work)
    with replicate_bar(len(work), progress=progress, what="models") as advance:
        for which, models in work.batches:
            for i, model in zip(which.tolist(), models, strict=True):
                done[i] = model
            advance(sum(model is not None for model in models))
        left = [i for i, model in enumerate(done) if model is None]
        blocks = [left[first : first + TASK] for first in range(0, len(left), TASK)]
        parts = in_jobs([work.alone(block) for block in blocks], n_jobs)
        for block, part in zip(blocks, parts, strict=True):
            for i, model in zip(block, part, strict=True):
                done[i] = model
            advance(len(block))
    results = tuple(model for model in done if model is not None)
    many = ManyFits(formula, work.labels, frame_kind(data), results)
    _warn(many)
    return many


def _warn(many: ManyFits) -> None:
    total, failed = len(many), many.failed
    if failed:
        first, why = next(iter(failed.items()))
        warn(
            f"{len(failed)} of {total} models could not be fitted, the first for {first!r}: {why}",
            ConvergenceWarning,
        )
    verdicts = Counter(
        "singular" if one.figures["is_singular"] else "lost"
        for one in many.results
        if one.failure is None and (one.figures["is_singular"] or not one.figures["converged"])
    )
    if verdicts["singular"]:
        warn(
            f"{verdicts['singular']} of {total} models are singular (glance() says which)",
            SingularFitWarning,
        )
    if verdicts["lost"]:
        warn(
            f"{verdicts['lost']} of {total} models did not converge (glance() says which)",
            ConvergenceWarning,
        )


# --- what is to be fitted -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Work:
    """Models that are asked for.

    Attributes
    ----------
    labels : dict of str to list
    batches : iterator of (ndarray of int, list of OneModel or None)
        What batches fit; a model that they leave out or leave None is fitted alone.
    alone : callable
        The task that fits some models one by one.
    """

    labels: dict[str, list[Any]]
    batches: Iterator[Part]
    alone: Callable[[list[int]], Task]

    def __len__(self) -> int:
        return len(next(iter(self.labels.values())))


def _selectable(data: Any) -> Any:
    """The data with numbers in this machine's byte order: pandas cannot select rows of others."""
    dtypes = dict(data.dtypes.items()) if hasattr(data, "dtypes") and hasattr(data, "iloc") else {}
    other = {k: v for k, v in dtypes.items() if isinstance(v, np.dtype) and not v.isnative}
    return data.astype({k: v.newbyteorder("=") for k, v in other.items()}) if other else data


def _segments(formula: str, data: Any, by: list[str], options: Options) -> _Work:
    """Segments: the rows of each lie together, in the order of their labels."""
    columns = read(data, [], grouping=by)
    parsed = parse(formula, tuple(name for name in column_names(data) if name not in by))
    parsed = with_contrasts(parsed, options.contrasts or {})
    factors = [columns.groups[name] for name in by]
    cell, first = cell_codes(factors, columns.n)
    labels = {
        name: [factor.levels[code] for code in factor.codes[first].tolist()]
        for name, factor in zip(by, factors, strict=True)
    }
    rows = np.arange(columns.n) if columns.complete is None else np.flatnonzero(columns.complete)
    order = np.argsort(cell, kind="stable")
    ends = np.searchsorted(cell[order], np.arange(len(first) + 1))
    known = column_names(data)
    named = [name for name in (options.weights, options.offset) if name is not None]
    wanted = [name for name in dict.fromkeys([*parsed.variables, *named]) if name in known]
    frame = nw.from_native(data, eager_only=True).select(*wanted)[rows[order]]

    def alone(which: list[int]) -> Task:
        sizes = [int(ends[i + 1] - ends[i]) for i in which]
        own = np.concatenate([np.arange(ends[i], ends[i + 1]) for i in which])
        stops = np.cumsum([0, *sizes]).tolist()
        part = frame[own].to_native()
        return each_segment, (formula, part, list(pairwise(stops)), options)

    return _Work(labels, _segment_batches(parsed, frame.to_native(), ends, options), alone)


def _segment_batches(
    parsed: ParsedFormula, frame: Any, ends: NDArray[np.intp], options: Options
) -> Iterator[Part]:
    if options.ddf == "kenward-roger":
        return
    # alone a segment says what is wrong with it
    frame, ends = _without_infinite(frame, ends)
    try:
        columns, _ = read_columns(parsed, frame, options.weights, options.offset)
    except MixedModelsError:
        return
    table, response = tabulate(parsed, columns), response_of(parsed, columns)
    if table is None or response is None:
        return
    if columns.complete is not None:
        ends = np.concatenate([[0], np.cumsum(columns.complete)])[ends]
    if table.offset is not None:
        response = response - table.offset
    reml = options.reml and bool(parsed.random)
    yield from fit_segments(table, np.arange(columns.n), ends, response, options.ddf, reml=reml)


def _without_infinite(frame: Any, ends: NDArray[np.intp]) -> tuple[Any, NDArray[np.intp]]:
    """The rows of segments without infinite values; the others have no rows here."""
    wrapped = nw.from_native(frame, eager_only=True)
    floats = [name for name in wrapped.columns if wrapped[name].dtype.is_float()]
    places = [np.flatnonzero(np.isinf(wrapped[name].to_numpy())) for name in floats]
    infinite = np.concatenate([np.empty(0, np.intp), *places])
    if not len(infinite):
        return frame, ends
    spoiled = np.zeros(len(ends) - 1, np.bool_)
    spoiled[np.searchsorted(ends, infinite, side="right") - 1] = True
    kept = np.repeat(~spoiled, np.diff(ends))
    before = np.concatenate([[0], np.cumsum(kept)])
    return wrapped[np.flatnonzero(kept)].to_native(), before[ends]


def _outcomes(formula: str, data: Any, responses: list[str], options: Options) -> _Work:
    """Responses on one design; those of their own missing values are segments of a stack."""
    known = column_names(data)
    unknown = [name for name in responses if name not in known]
    if unknown:
        raise DataError(f"data has no column '{unknown[0]}' (for responses=)")
    right = formula.partition("~")[2]
    others = [name for name in known if name not in responses]
    parsed = parse(f"`{responses[0]}` ~ {right}", (responses[0], *others))
    parsed = _without_response(with_contrasts(parsed, options.contrasts or {}))
    covariates = list(dict.fromkeys([*others, *(v for v in parsed.covariates if v in responses)]))
    frame = nw.from_native(data, eager_only=True)

    def alone(which: list[int]) -> Task:
        names = [responses[i] for i in which]
        part = frame.select(*dict.fromkeys([*covariates, *names])).to_native()
        return each_outcome, (right, part, covariates, names, options)

    batches = _outcome_batches(parsed, right, frame, covariates, responses, options)
    return _Work({"response": list(responses)}, batches, alone)


def _without_response(parsed: ParsedFormula) -> ParsedFormula:
    """The formula with no covariate but those of its right side."""
    right = {*parsed.fixed_variables, *(v for term in parsed.random for v in term.variables)}
    right |= {v for offset in parsed.offsets for v in offset.variables}
    return replace(parsed, covariates=tuple(v for v in parsed.covariates if v in right))


def _outcome_batches(
    parsed: ParsedFormula,
    right: str,
    frame: Any,
    covariates: list[str],
    responses: list[str],
    options: Options,
) -> Iterator[Part]:
    if options.ddf == "kenward-roger":
        return
    try:
        columns, _ = read_columns(parsed, frame.to_native(), options.weights, options.offset)
    except MixedModelsError:
        return
    complete = slice(None) if columns.complete is None else columns.complete
    values = [_numbers(frame[name], name) for name in responses]
    finite = [None if v is None else np.isfinite(v[complete]) for v in values]
    whole = [i for i, f in enumerate(finite) if f is not None and f.all()]
    gaps = [i for i, f in enumerate(finite) if f is not None and f.any() and not f.all()]
    lead = None
    while lead is None and whole:
        first = whole.pop(0)
        own = frame.select(*dict.fromkeys([*covariates, responses[first]])).to_native()
        lead, model = first_fit(right, own, responses[first], options)
        yield np.array([first]), [model]
    if lead is not None and whole:
        made = fit_outcomes(lead, [_at(values, i)[complete] for i in whole], options.ddf)
        for which, models in made or ():
            yield np.array(whole)[which], models
    table = tabulate(parsed, columns) if gaps else None
    if table is None:
        return
    # as many as fit into memory side by side
    size = max(1, MOST_STACKED // columns.n)
    for first in range(0, len(gaps), size):
        block = gaps[first : first + size]
        stacked = [_at(values, i)[complete] for i in block]
        rows = [np.flatnonzero(np.isfinite(v)) for v in stacked]
        response = np.concatenate([v[at] for v, at in zip(stacked, rows, strict=True)])
        every = np.concatenate(rows)
        if table.offset is not None:
            response = response - table.offset[every]
        ends = np.cumsum([0, *map(len, rows)])
        reml = options.reml and bool(parsed.random)
        for which, models in fit_segments(table, every, ends, response, options.ddf, reml=reml):
            yield np.array(block)[which], models


def _numbers(column: Any, name: str) -> Array | None:
    """A column as numbers, nan where there is none; None if it holds others, or infinities."""
    try:
        found = read_column(column.to_native(), name)
    except MixedModelsError:
        return None
    if not isinstance(found, Numeric) or len(found.infinite):
        return None
    values = found.values.astype(np.float64)
    if found.missing is not None:
        values[found.missing] = np.nan
    return values


def _at(values: Sequence[Array | None], i: int) -> Array:
    found = values[i]
    assert found is not None
    return found
