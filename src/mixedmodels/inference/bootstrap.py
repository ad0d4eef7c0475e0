"""Parametric bootstrap of one model: replicates of its estimates or of any statistic, intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ConvergenceWarning, MixedModelsError, ModelError, warn
from mixedmodels.inference import parameters
from mixedmodels.inference.replicates import (
    Seed,
    check_count,
    estimation_scores,
    generators,
    refit_quietly,
    replicate,
)
from mixedmodels.model.predict import check_level, simulate
from mixedmodels.model.record import Fit
from mixedmodels.output.layout import Block, Table, number
from mixedmodels.output.printed import Printed
from mixedmodels.progress import replicate_bar
from mixedmodels.quantiles import normal_probability, normal_quantile

Statistic: TypeAlias = Callable[[Any], Any]
Kind: TypeAlias = Literal["percentile", "basic", "bca"]
KINDS = ("percentile", "basic", "bca")

# replicates of a user's statistic that one task of a parallel run makes
TASK = 10


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(Printed):
    """Bootstrap replicates of named numbers.

    Attributes
    ----------
    names : tuple of str
    estimate : ndarray of shape (k,)
        The fitted model's own values.
    replicates : ndarray of shape (n_sim, k)
        One row per simulated response; a row of nan where the fit failed.
    scores : ndarray of shape (n_sim, s)
        Of each response, at the parameters that were simulated from; BCa intervals need them.
    singular : ndarray of bool, shape (n_sim,)
        Whether the fit to a simulated response is singular: a variance of zero, or a correlation of
        one.
    kind : object
        Kind of frame that came in.
    """

    names: tuple[str, ...]
    estimate: Array
    replicates: Array
    scores: Array
    singular: NDArray[np.bool_]
    kind: Any

    def __len__(self) -> int:
        return len(self.replicates)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:  # noqa: FBT001
        return np.array(self.replicates, dtype=dtype, copy=True if copy is None else copy)

    @property
    def n_failed(self) -> int:
        """Replicates without a fit (or without a value of the statistic)."""
        return int(self._failed.sum())

    @property
    def n_singular(self) -> int:
        """Replicates whose fit is singular; they count like all others."""
        return int(self.singular.sum())

    @property
    def _failed(self) -> Any:
        return np.isnan(self.scores).any(axis=1) | np.isnan(self.replicates).all(axis=1)

    @checked
    def frame(self) -> Any:
        """Replicates as a frame: replicate, then one column per number."""
        columns: dict[str, Any] = {"replicate": np.arange(1, len(self) + 1)}
        columns |= {name: self.replicates[:, j] for j, name in enumerate(self.names)}
        return to_native(columns, self.kind)

    @checked
    def tidy(self) -> Any:
        """One row per number: term, estimate, bias, std_error, n (replicates with a value)."""
        mean, sd, count = self._moments()
        return to_native(
            {
                "term": list(self.names),
                "estimate": self.estimate,
                "bias": mean - self.estimate,
                "std_error": sd,
                "n": count,
            },
            self.kind,
        )

    @checked
    def confint(self, kind: Kind = "percentile", level: float = 0.95) -> Any:
        """Bootstrap intervals.

        Parameters
        ----------
        kind : {"percentile", "basic", "bca"}
            Quantiles of the replicates; their reflection about the estimate; quantiles corrected
            for bias and for the change of the standard error with the parameter.
        level : float

        Returns
        -------
        frame
            term, estimate, conf_low, conf_high.

        Raises
        ------
        ModelError
            An unknown kind or level.

        References
        ----------
        Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application, ch. 5.
        Efron, B. (1987), J. Am. Stat. Assoc. 82, 171-185: the acceleration is a sixth of the
        skewness of the score along the least favourable direction.
        """
        check_level(level)
        low, high = self.limits(kind, level)
        return to_native(
            {
                "term": list(self.names),
                "estimate": self.estimate,
                "conf_low": low,
                "conf_high": high,
            },
            self.kind,
        )

    def limits(self, kind: Kind, level: float) -> tuple[Array, Array]:
        """Lower and upper limits, shape (k,) each."""
        tail = 0.5 * (1.0 - level)
        shares = np.tile([[tail], [1.0 - tail]], len(self.names))
        if kind == "bca":
            shares = np.column_stack([self._corrected(j, tail) for j in range(len(self.names))])
        limits = np.full((2, len(self.names)), np.nan)
        for j in range(len(self.names)):
            values = self.replicates[:, j]
            values = values[~np.isnan(values)]
            if len(values):
                # plotting positions i / (n + 1), the usual choice for bootstrap quantiles
                limits[:, j] = np.quantile(values, shares[:, j], method="weibull")
        if kind == "basic":
            limits = 2.0 * self.estimate - limits[::-1]
        return limits[0], limits[1]

    def _corrected(self, j: int, tail: float) -> Array:
        """Shares at which BCa limits are read off."""
        used = ~self._failed & ~np.isnan(self.replicates[:, j])
        values, scores = self.replicates[used, j], self.scores[used]
        if len(values) < 2 or np.ptp(values) == 0.0:
            return np.array([tail, 1.0 - tail])
        ties = np.count_nonzero(values == self.estimate[j])
        below = np.count_nonzero(values < self.estimate[j]) + 0.5 * ties
        share = np.clip(below / len(values), 0.5 / len(values), 1.0 - 0.5 / len(values))
        bias = normal_quantile(share)
        # the part of the statistic that is linear in the scores
        design = np.column_stack([np.ones(len(scores)), scores])
        linear = design @ np.linalg.lstsq(design, values, rcond=None)[0]
        linear = linear - linear.mean()
        spread = np.sqrt(np.square(linear).mean())
        acceleration = float((linear**3).mean() / spread**3 / 6.0) if spread > 0.0 else 0.0
        z = bias + normal_quantile(np.array([tail, 1.0 - tail]))
        return np.asarray(normal_probability(bias + z / (1.0 - acceleration * z)))

    def _moments(self) -> tuple[Array, Array, Any]:
        present = ~np.isnan(self.replicates)
        count = present.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(present, self.replicates, 0.0).sum(axis=0) / count
            squares = np.square(np.where(present, self.replicates - mean, 0.0)).sum(axis=0)
            return mean, np.sqrt(squares / (count - 1)), count

    def title(self) -> str:
        """How many replicates there are, how many failed and how many are singular."""
        counts = ((self.n_failed, "failed"), (self.n_singular, "singular"))
        text = "".join(f", {count} of them {what}" for count, what in counts if count)
        return f"Parametric bootstrap, {len(self)} replicates{text}"

    def blocks(self) -> Sequence[Block]:
        """The table of `tidy`, with percentile intervals."""
        mean, sd, _ = self._moments()
        low, high = self.limits("percentile", 0.95)
        columns = (self.estimate, mean - self.estimate, sd, low, high)
        rows = tuple(
            (name, *(number(float(column[j])) for column in columns))
            for j, name in enumerate(self.names)
        )
        header = ("term", "estimate", "bias", "std. error", "2.5 %", "97.5 %")
        return [Table("", header, rows, 1)]


def bootstrap(
    fit: Fit,
    n_sim: int = 1000,
    statistic: Statistic | None = None,
    *,
    seed: Seed = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
    wrap: Callable[[Fit], Any] = lambda fit: fit,
) -> Bootstrap:
    """Simulate from a model, fit it again, and keep what it estimates; see `FittedModel.bootstrap`.

    Parameters
    ----------
    fit : Fit
    n_sim : int
    statistic : callable, optional
        Of a fitted model; the default are its fixed effects and variance parameters.
    seed : int, Generator or SeedSequence, optional
    n_jobs : int, optional
    progress : bool, optional
    wrap : callable
        What makes of a `Fit` the object that `statistic` takes.

    Returns
    -------
    Bootstrap
    """
    check_count(n_sim)
    if statistic is None:
        made = replicate(fit, [fit], n_sim, seed, progress=progress)[0]
        names = (*fit.term_names, *parameters.names(fit))
        estimate = np.concatenate([fit.beta, parameters.values(fit)])
        found = Bootstrap(
            names,
            estimate,
            np.hstack([made.beta, made.variance]),
            made.scores,
            made.singular,
            fit.source.kind,
        )
    else:
        found = _of_statistic(
            fit, n_sim, statistic, seed, n_jobs=n_jobs, progress=progress, wrap=wrap
        )
    if found.n_failed:
        warn(
            f"{found.n_failed} of {n_sim} bootstrap replicates failed to fit and are nan; "
            "intervals rest on the others. If they are many, simplify the random part",
            ConvergenceWarning,
        )
    return found


def _of_statistic(
    fit: Fit,
    n_sim: int,
    statistic: Statistic,
    seed: Seed,
    *,
    n_jobs: int | None,
    progress: bool | None,
    wrap: Callable[[Fit], Any],
) -> Bootstrap:
    names, estimate = _named(statistic(wrap(fit)))
    rngs = generators(seed, n_sim)
    tasks = [rngs[first : first + TASK] for first in range(0, n_sim, TASK)]

    def run(part: list[np.random.Generator]) -> list[tuple[Array, Array, bool]]:
        return [_one(fit, rng, statistic, wrap, len(names)) for rng in part]

    rows: list[tuple[Array, Array, bool]] = []
    with replicate_bar(n_sim, progress=progress) as advance:
        for part in _in_jobs(run, tasks, n_jobs):
            rows += part
            advance(len(part))
    values, scores, singular = (np.array(column) for column in zip(*rows, strict=True))
    return Bootstrap(names, estimate, values, scores, singular, fit.source.kind)


def _in_jobs(run: Callable[[Any], Any], tasks: Sequence[Any], n_jobs: int | None) -> Any:
    """Results of the tasks in order; with `n_jobs` by joblib, whose backend the user may choose."""
    if n_jobs is None or n_jobs == 1:
        return map(run, tasks)
    from joblib import Parallel, delayed

    return Parallel(n_jobs=n_jobs, return_as="generator")(delayed(run)(task) for task in tasks)


def _one(
    fit: Fit,
    rng: np.random.Generator,
    statistic: Statistic,
    wrap: Callable[[Fit], Any],
    size: int,
) -> tuple[Array, Array, bool]:
    """Statistic and scores of one simulated response, and whether its fit is singular."""
    found = refit_quietly(fit, simulate(fit, 1, rng)[0])
    n_scores = len(fit.optimum.at.theta) + 1 + len(fit.beta)
    if found is None:
        return np.full(size, np.nan), np.full(n_scores, np.nan), False
    try:
        _, values = _named(statistic(wrap(found)))
    except MixedModelsError:
        return np.full(size, np.nan), np.full(n_scores, np.nan), found.is_singular
    if len(values) != size:
        raise ModelError(
            f"statistic gave {size} numbers for the fitted model and {len(values)} for a "
            "replicate: it must always give the same ones"
        )
    return values, estimation_scores(fit, found), found.is_singular


def _named(value: Any) -> tuple[tuple[str, ...], Array]:
    """Names and values of what a statistic returned: a number, an array, a mapping, a series."""
    names: Sequence[Any] | None = None
    if isinstance(value, Mapping):
        names, value = list(value.keys()), list(value.values())
    elif hasattr(value, "index") and hasattr(value, "to_numpy"):
        names, value = list(value.index), value.to_numpy()
    try:
        array = np.atleast_1d(np.asarray(value, dtype=np.float64)).ravel()
    except (TypeError, ValueError):
        raise ModelError(
            "statistic must return a number, an array of numbers or a mapping of names to "
            f"numbers, not {type(value).__name__}"
        ) from None
    if names is None:
        names = ["statistic"] if len(array) == 1 else range(1, len(array) + 1)
    if len(names) != len(array):
        names = range(1, len(array) + 1)
    return tuple(map(str, names)), array
