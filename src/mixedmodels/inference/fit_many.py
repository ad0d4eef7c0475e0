"""One model for each of many segments or responses, in processes; only estimates are kept."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.design.frame import column_names, frame_kind, read, snapshot, to_native
from mixedmodels.engines.sums import cell_codes
from mixedmodels.errors import (
    ConvergenceWarning,
    DataError,
    MixedModelsError,
    MixedModelsWarning,
    ModelError,
    SingularFitWarning,
    warn,
)
from mixedmodels.formula.parse import parse
from mixedmodels.inference import parameters
from mixedmodels.model.fit import fit_model, refit
from mixedmodels.model.frames import standard_errors
from mixedmodels.model.predict import check_level
from mixedmodels.model.record import Fit
from mixedmodels.progress import replicate_bar
from mixedmodels.quantiles import t_probability, t_two_sided, two_sided

# models of one task, and from how many tasks processes pay for their start
TASK = 100
MANY = 5


@dataclass(frozen=True, slots=True)
class _One:
    """Estimates of one model, or why there are none."""

    terms: list[str]
    beta: Array
    std_error: Array
    df: Array
    parameters: list[str]
    variances: Array
    figures: dict[str, Any]
    failure: str | None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ManyFits:
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
    results: tuple[_One, ...]

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        lost = len(self.failed)
        return f"<{len(self)} models {self.formula}" + (f", {lost} failed>" if lost else ">")

    @property
    def failed(self) -> dict[Any, str]:
        """Why a model could not be fitted, by its label (a tuple for several columns)."""
        every = list(zip(*self.labels.values(), strict=True))
        return {
            label[0] if len(label) == 1 else label: one.failure
            for label, one in zip(every, self.results, strict=True)
            if one.failure is not None
        }

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

    def glance(self) -> Any:
        """One row per model that was fitted.

        Returns
        -------
        frame
            The labels, and n_obs, n_params, sigma, loglik, aic, bic, converged, is_singular.
        """
        done = [one.figures for one in self.results if one.failure is None]
        names = list(done[0]) if done else []
        columns = {name: [figures[name] for figures in done] for name in names}
        return self._frame([int(one.failure is None) for one in self.results], columns)

    def _joined(self, name: str) -> Array:
        return np.concatenate([np.empty(0), *(getattr(one, name) for one in self.results)])

    def _frame(self, counts: Sequence[int], columns: Mapping[str, Any]) -> Any:
        labels = {
            name: [v for v, count in zip(values, counts, strict=True) for _ in range(count)]
            for name, values in self.labels.items()
        }
        return to_native({**labels, **columns}, self.kind)


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
        Processes, through joblib, whose ``parallel_config`` chooses Dask, Ray or Spark instead. By
        default all processors for 500 models or more, else this process.
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
    >>> many
    <5 models BW ~ time + (1 | animal)>
    >>> many.tidy()[["treatm", "term", "estimate"]].head(2).round(3)
      treatm       term  estimate
    0      1  Intercept     7.402
    1      1       time     0.289
    """
    if (by is None) == (responses is None):
        raise ModelError("give by= (columns of segments) or responses= (columns of outcomes)")
    data = snapshot(data)
    options = {"reml": reml, "weights": weights, "offset": offset, "contrasts": contrasts}
    if by is not None:
        names = [by] if isinstance(by, str) else list(by)
        labels, tasks = _segments(formula, data, names, options, ddf)
    else:
        assert responses is not None
        labels = {"response": list(responses)}
        tasks = _outcomes(formula, data, list(responses), options, ddf)
    results: list[_One] = []
    with replicate_bar(
        len(next(iter(labels.values()))), progress=progress, what="models"
    ) as advance:
        for part in _in_jobs(tasks, n_jobs):
            results += part
            advance(len(part))
    many = ManyFits(formula, labels, frame_kind(data), tuple(results))
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


# --- tasks ----------------------------------------------------------------------------------------

Task = tuple[Callable[..., list[_One]], tuple[Any, ...]]


def _segments(
    formula: str, data: Any, by: list[str], options: dict[str, Any], ddf: str
) -> tuple[dict[str, list[Any]], list[Task]]:
    """Labels of the segments, and tasks of some segments each, whose rows lie together."""
    parsed = parse(formula, column_names(data))
    columns = read(data, [], grouping=by)
    factors = [columns.groups[name] for name in by]
    cell, first = cell_codes(factors, columns.n)
    labels = {
        name: [factor.levels[code] for code in factor.codes[first].tolist()]
        for name, factor in zip(by, factors, strict=True)
    }
    rows = np.arange(columns.n) if columns.complete is None else np.flatnonzero(columns.complete)
    order = np.argsort(cell, kind="stable")
    ends = np.searchsorted(cell[order], np.arange(len(first) + 1)).tolist()
    known = column_names(data)
    named = [options[role] for role in ("weights", "offset") if options[role] is not None]
    wanted = [name for name in dict.fromkeys([*parsed.variables, *named]) if name in known]
    frame = nw.from_native(data, eager_only=True).select(*wanted)[rows[order]]
    tasks: list[Task] = []
    for start in range(0, len(first), TASK):
        own = ends[start : start + TASK + 1]
        part = frame[own[0] : own[-1]].to_native()
        places = [(a - own[0], b - own[0]) for a, b in pairwise(own)]
        tasks.append((_fit_segments, (formula, part, places, options, ddf)))
    return labels, tasks


def _fit_segments(
    formula: str, part: Any, places: list[tuple[int, int]], options: dict[str, Any], ddf: str
) -> list[_One]:
    frame = nw.from_native(part, eager_only=True)
    return [
        _tried(partial(_fitted, formula, frame[a:b].to_native(), options), ddf) for a, b in places
    ]


def _outcomes(
    formula: str, data: Any, responses: list[str], options: dict[str, Any], ddf: str
) -> list[Task]:
    known = column_names(data)
    unknown = [name for name in responses if name not in known]
    if unknown:
        raise DataError(f"data has no column '{unknown[0]}' (for responses=)")
    right = formula.partition("~")[2]
    frame = nw.from_native(data, eager_only=True)
    covariates = [name for name in known if name not in responses]
    tasks: list[Task] = []
    for start in range(0, len(responses), TASK):
        own = responses[start : start + TASK]
        part = frame.select(*covariates, *own).to_native()
        tasks.append((_fit_outcomes, (right, part, own, options, ddf)))
    return tasks


def _fit_outcomes(
    right: str, part: Any, responses: list[str], options: dict[str, Any], ddf: str
) -> list[_One]:
    """Models of one design; a response with other missing values has a design of its own."""
    done: list[_One] = []
    shared: Fit | None = None
    for name in responses:
        values = np.asarray(nw.from_native(part, eager_only=True)[name].to_numpy())
        whole = values.dtype.kind in "biuf" and bool(np.isfinite(values).all())
        if whole and shared is not None and shared.n_obs == len(values):
            done.append(_tried(partial(refit, shared, values), ddf))
            continue
        made: list[Fit] = []
        done.append(_tried(partial(_fitted, f"`{name}` ~ {right}", part, options), ddf, made))
        if shared is None and whole and made:
            shared = made[0]
    return done


def _fitted(formula: str, data: Any, options: dict[str, Any]) -> Fit:
    random = "|" in formula
    return fit_model(
        formula,
        data,
        reml=bool(options["reml"]) and random,
        weights=options["weights"],
        offset=options["offset"],
        contrasts=options["contrasts"],
        start=None,
        random=random,
        progress=False,
    )


def _tried(make: Callable[[], Fit], ddf: str, kept: list[Fit] | None = None) -> _One:
    """The estimates of one model; its warnings are counted by the caller."""
    none = np.empty(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        try:
            fit = make()
            se, df = standard_errors(fit, ddf)
        except MixedModelsError as error:
            return _One([], none, none, none, [], none, {}, str(error))
    if kept is not None:
        kept.append(fit)
    names = parameters.names(fit) if fit.has_random else ["sigma"]
    values = parameters.values(fit) if fit.has_random else np.array([fit.sigma])
    figures = {
        "n_obs": fit.n_obs,
        "n_params": fit.n_params,
        "sigma": fit.sigma,
        "loglik": fit.loglik,
        "aic": fit.aic,
        "bic": fit.bic,
        "converged": fit.converged,
        "is_singular": fit.is_singular,
    }
    return _One(fit.term_names, fit.beta, se, df, names, values, figures, None)


def _in_jobs(tasks: Sequence[Task], n_jobs: int | None) -> Iterator[list[_One]]:
    """Results of the tasks in order."""
    if n_jobs is None:
        n_jobs = (os.cpu_count() or 1) if len(tasks) >= MANY else 1
    if n_jobs == 1:
        for run, arguments in tasks:
            yield run(*arguments)
        return
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(run)(*arguments) for run, arguments in tasks
    )
