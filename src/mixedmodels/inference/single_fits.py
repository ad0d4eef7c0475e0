"""Models that a batch does not take, fitted one by one: here, or by joblib in processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.errors import MixedModelsError, quiet
from mixedmodels.inference import parameters
from mixedmodels.inference.batch_fits import OneModel
from mixedmodels.model.fit import fit_model, refit
from mixedmodels.model.frames import standard_errors
from mixedmodels.model.record import Fit

# models of one task, and from how many tasks processes pay for their start
TASK = 100
MANY = 5

Task = tuple[Callable[..., list[OneModel]], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Options:
    """Arguments that all models share."""

    reml: bool
    weights: str | None
    offset: str | None
    contrasts: Mapping[str, Any] | None
    ddf: str


def each_segment(
    formula: str, part: Any, places: Sequence[tuple[int, int]], options: Options
) -> list[OneModel]:
    """Models of segments, whose rows lie together."""
    frame = nw.from_native(part, eager_only=True)
    return [
        _tried(partial(_fitted, formula, frame[a:b].to_native(), options), options.ddf)
        for a, b in places
    ]


def each_outcome(
    right: str, part: Any, covariates: Sequence[str], responses: Sequence[str], options: Options
) -> list[OneModel]:
    """Models of responses; those without missing values share a design."""
    frame = nw.from_native(part, eager_only=True)
    done: list[OneModel] = []
    shared: Fit | None = None
    for name in responses:
        values = _whole(frame[name])
        if values is not None and shared is not None:
            done.append(_tried(partial(refit, shared, values), options.ddf))
            continue
        own = frame.select(*covariates, name).to_native()
        fit, model = _kept(partial(_fitted, _formula(name, right), own, options), options.ddf)
        done.append(model)
        if shared is None and values is not None:
            shared = fit
    return done


def first_fit(right: str, part: Any, name: str, options: Options) -> tuple[Fit | None, OneModel]:
    """The model of one response, with the fit itself."""
    return _kept(partial(_fitted, _formula(name, right), part, options), options.ddf)


def _formula(name: str, right: str) -> str:
    return f"`{name}` ~ {right}"


def _whole(column: Any) -> Array | None:
    """A column of numbers that misses none."""
    values = np.asarray(column.to_numpy())
    whole = values.dtype.kind in "biuf" and bool(np.isfinite(values).all())
    return values if whole else None


def _fitted(formula: str, data: Any, options: Options) -> Fit:
    random = "|" in formula
    return fit_model(
        formula,
        data,
        reml=options.reml and random,
        weights=options.weights,
        offset=options.offset,
        contrasts=options.contrasts,
        start=None,
        random=random,
        progress=False,
    )


def _tried(make: Callable[[], Fit], ddf: str) -> OneModel:
    return _kept(make, ddf)[1]


def _kept(make: Callable[[], Fit], ddf: str) -> tuple[Fit | None, OneModel]:
    """A fit and its estimates; its warnings are counted by the caller."""
    none = np.empty(0)
    with quiet():
        try:
            fit = make()
            se, df = standard_errors(fit, ddf)
        except MixedModelsError as error:
            return None, OneModel([], none, none, none, [], none, {}, str(error))
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
    return fit, OneModel(fit.term_names, fit.beta, se, df, names, values, figures, None)


def in_jobs(tasks: Sequence[Task], n_jobs: int | None) -> Iterator[list[OneModel]]:
    """Results of the tasks in order; by joblib, if asked, if they are many, or in its context."""
    if not tasks:
        return
    if n_jobs is None and not _in_context():
        n_jobs = (os.cpu_count() or 1) if len(tasks) >= MANY else 1
    if n_jobs == 1:
        for run, arguments in tasks:
            yield run(*arguments)
        return
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(run)(*arguments) for run, arguments in tasks
    )


def _in_context() -> bool:
    """Whether ``joblib.parallel_config`` or ``parallel_backend`` has chosen the number of jobs."""
    from joblib.parallel import get_active_backend

    return get_active_backend()[1] is not None
