"""Fits again from dispersed starts: whether the optimum is the only one, and the lowest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixedmodels.arguments import check_whole, checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ModelError
from mixedmodels.inference.joint import join
from mixedmodels.inference.replicates import Seed, chunks, generators
from mixedmodels.likelihood.covariance import Template, theta_from_factors, triangular
from mixedmodels.model.record import Fit
from mixedmodels.model.search import theta_from_moments
from mixedmodels.optimize import minimise
from mixedmodels.optimize_batch import minimise_batch
from mixedmodels.output.layout import Block, Prose, Table, fixed, number
from mixedmodels.output.printed import Printed
from mixedmodels.progress import replicate_bar
from mixedmodels.threads import one_blas_thread

# difference of criteria from which on optima are two, for a criterion of size up to a million
APART = 1e-5
# the start near zero, and the range of the random ones: standard deviations over the residual's
NEAR_ZERO = 0.01
LEAST, MOST = 0.01, 10.0


@dataclass(frozen=True, slots=True)
class Restart:
    """One fit from a start of its own.

    Attributes
    ----------
    start : str
        ``"fit"`` (the optimum of the model), ``"moments"``, ``"identity"``, ``"near zero"`` or
        ``"random 1"`` and so on.
    criterion : float
        REML criterion or -2 log-likelihood reached; nan where the search broke down.
    verdict : str
        As in `FittedModel.convergence`, or ``"failed"``.
    gradient_norm : float
        Largest absolute derivative (working units).
    evaluations : int
    theta : ndarray of shape (m,)
        Relative covariance parameters reached, in the order of `FittedModel.theta`.
    """

    start: str
    criterion: float
    verdict: str
    gradient_norm: float
    evaluations: int
    theta: Array


@dataclass(frozen=True, eq=False, repr=False)
class ConvergenceCheck(Printed):
    """What fits from dispersed starts reached.

    Attributes
    ----------
    restarts : tuple of Restart
        The model's own optimum first.
    names : tuple of str
        Names of theta, as lme4 writes them: ``"animal.Intercept"``, ``"animal.time.Intercept"``.
    fitted : float
        Criterion of the model.
    kind : object
        Kind of frame that came in.
    """

    restarts: tuple[Restart, ...]
    names: tuple[str, ...]
    fitted: float
    kind: Any

    @property
    def best(self) -> Restart:
        """The lowest criterion reached; the model's own where others only equal it."""
        own, *others = self.restarts
        reached = [r for r in others if r.criterion < own.criterion - self._apart]
        return min(reached, key=lambda r: r.criterion, default=own)

    @property
    def agree(self) -> bool:
        """Whether all starts reach the criterion of the model."""
        return all(abs(r.criterion - self.fitted) <= self._apart for r in self.restarts)

    @property
    def _apart(self) -> float:
        return APART * max(1.0, 1e-6 * abs(self.fitted))

    @property
    def _delta(self) -> Array:
        reached = np.array([r.criterion for r in self.restarts])
        return np.asarray(reached - np.nanmin(reached))

    @property
    def message(self) -> str:
        """The verdict in words, and what to do."""
        best, n = self.best, len(self.restarts)
        if self.agree:
            flat = any(r.verdict == "not identified" for r in self.restarts)
            also = (
                ", some with other theta: the data do not identify the random part" if flat else ""
            )
            return f"all {n} starts reach the criterion {_four(self.fitted)}{also}"
        if best.criterion < self.fitted - self._apart:
            return (
                f"the fit is not at the lowest optimum: from '{best.start}' the criterion is lower "
                f"by {number(self.fitted - best.criterion)}. Fit again from there: "
                "m.update(start=check.best.theta)"
            )
        higher = Counter(self._ending(r) for r in self.restarts)
        del higher[""]
        return (
            f"the fit is at the lowest criterion found, {_four(self.fitted)}, but of {n} starts "
            + ", ".join(f"{count} {what}" for what, count in higher.items())
        )

    def _ending(self, restart: Restart) -> str:
        """Where a start ended that did not reach the best; empty if it did."""
        if np.isnan(restart.criterion):
            return "broke down"
        delta = restart.criterion - self.best.criterion
        if delta <= self._apart:
            return ""
        if restart.verdict == "not converged":
            return "did not converge"
        flat = restart.verdict == "not identified"
        place = "a flat optimum" if flat else f"another {restart.verdict}"
        return f"ended at {place}, higher by {number(delta)}"

    @checked
    def frame(self) -> Any:
        """One row per start: start, criterion, delta, verdict, gradient_norm, evaluations, theta.

        `delta` is the criterion less the lowest; theta fills a column per parameter.
        """
        columns: dict[str, Any] = {
            "start": [r.start for r in self.restarts],
            "criterion": np.array([r.criterion for r in self.restarts]),
            "delta": self._delta,
            "verdict": [r.verdict for r in self.restarts],
            "gradient_norm": np.array([r.gradient_norm for r in self.restarts]),
            "evaluations": np.array([r.evaluations for r in self.restarts], dtype=np.int64),
        }
        thetas = np.stack([r.theta for r in self.restarts])
        columns |= {name: thetas[:, j] for j, name in enumerate(self.names)}
        return to_native(columns, self.kind)

    def title(self) -> str:
        """What was done."""
        return f"Fits from {len(self.restarts)} starts"

    def blocks(self) -> Sequence[Block]:
        """A row per start, the range of theta, and the verdict."""
        header = ("start", "verdict", "criterion", "delta", "gradient", "evaluations")
        rows = tuple(
            (
                r.start,
                r.verdict,
                _four(r.criterion),
                f"{delta:.1e}",
                f"{r.gradient_norm:.1e}",
                str(r.evaluations),
            )
            for r, delta in zip(self.restarts, self._delta, strict=True)
        )
        reached = np.stack([r.theta for r in self.restarts if not np.isnan(r.criterion)])
        ranges = np.stack([self.restarts[0].theta, reached.min(axis=0), reached.max(axis=0)])
        thetas = tuple(
            (name, *(f"{value:.4f}" for value in column))
            for name, column in zip(self.names, ranges.T, strict=True)
        )
        return [
            Table("Criterion", header, rows, 2),
            Table("Theta", ("", "fit", "lowest", "highest"), thetas, 1),
            Prose("Verdict", (self.message,)),
        ]


def _four(criterion: float) -> str:
    return fixed(criterion, 4)


@checked
def check_convergence(
    m: Fit, n_starts: int = 8, *, seed: Seed = 1, progress: bool | None = None
) -> ConvergenceCheck:
    """Fit a model again from dispersed starts, to see whether its optimum is the only one.

    Parameters
    ----------
    m : FittedModel
        With random terms.
    n_starts : int, default 8
        Number of random starts, beside four others: the optimum of the model, the method of
        moments, Lambda = identity, and nearly zero (working units, free of the units of columns).
    seed : int, Generator or SeedSequence, default 1
        Of the random starts.
    progress : bool, optional
        Show a progress bar; by default where somebody watches and it takes long.

    Returns
    -------
    ConvergenceCheck
        Prints as a table with a verdict; `frame` has the table, `message` the verdict, `agree`
        whether all starts reach the criterion of the model, and `best` the lowest optimum found.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        A model without random terms; n_starts or seed that cannot be used.

    Notes
    -----
    The counterpart of ``allFit`` of R's lme4, which varies the optimiser instead of the start. The
    fits use the sums of the model: their cost does not depend on the number of rows. A random start
    has relative standard deviations between 0.01 and 10, uniform in the logarithm, and directions
    of its columns uniform on the sphere. Criteria count as different from 1e-5 on.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> check = mm.check_convergence(m)
    >>> check.message
    'all 12 starts reach the criterion 893.5502'
    >>> check.frame()[["start", "criterion", "verdict"]].head(3).round(3)
          start  criterion  verdict
    0       fit     893.55  optimum
    1   moments     893.55  optimum
    2  identity     893.55  optimum
    """
    if not m.has_random:
        raise ModelError(f"'{m.formula}' has no random terms: least squares has one solution")
    check_whole("n_starts", n_starts, least=0)
    starts = dict(_starts(m, n_starts, generators(seed, 1)[0]))
    restarts = []
    with replicate_bar(len(starts), progress=progress, what="starts") as advance:
        ends = descents(m, list(starts.values()))
        for (name, theta), end in zip(starts.items(), ends, strict=True):
            restarts.append(_restart(m, name, theta, end))
            advance(1)
    return ConvergenceCheck(tuple(restarts), _names(m), m.criterion, m.source.kind)


def _starts(fit: Fit, n_random: int, rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Names and working thetas."""
    templates = fit.working.templates
    units = [np.eye(template.q) for template in templates]
    identity = theta_from_factors(templates, units)
    yield "fit", fit.optimum.at.theta
    yield "moments", theta_from_moments(fit.design, fit.working, fit.moments)
    yield "identity", identity
    yield "near zero", NEAR_ZERO * identity
    for k in range(n_random):
        yield f"random {k + 1}", theta_from_factors(templates, [_random(t, rng) for t in templates])


def _random(template: Template, rng: np.random.Generator) -> Array:
    """A factor with random standard deviations and correlations."""
    factor = np.zeros((template.q, template.q))
    for part, size in zip(template.parts, template.sizes, strict=True):
        directions = rng.normal(size=(size, size))
        directions /= np.linalg.norm(directions, axis=1)[:, None]
        sd = np.exp(rng.uniform(np.log(LEAST), np.log(MOST), size))
        factor[part, part] = triangular(sd[:, None] * directions)
    return factor


def descents(fit: Fit, starts: Sequence[Array]) -> list[tuple[Array, int] | None]:
    """Where searches from the starts end, side by side, and the evaluations that each took.

    None for a search that does not end at a certified minimum, and where the structure asks for one
    at a time: such a start is taken up from the beginning.
    """
    joint = join([fit])
    if joint is None:
        return [None] * len(starts)
    design, own = joint.design(fit), joint.response(fit)
    found: list[tuple[Array, int] | None] = []
    with one_blas_thread(active=True), np.errstate(all="ignore"):
        for count in chunks(joint, len(starts)):
            theta = np.stack(starts[len(found) : len(found) + count])
            responses = own.take(np.zeros(count, np.intp))
            ended = minimise_batch(design, responses, design.evaluate(theta, responses))
            found += [
                (end, int(evaluations)) if certified else None
                for end, evaluations, certified in zip(
                    ended.at.theta, ended.evaluations, ended.certified, strict=True
                )
            ]
    return found


def _restart(fit: Fit, name: str, theta: Array, end: tuple[Array, int] | None) -> Restart:
    """The verdict of the general minimiser on where a search ended, or its own search."""
    objective = fit.objective
    begin, taken = (theta, 0) if end is None else end
    try:
        with one_blas_thread(active=objective.blocks.short_steps):
            optimum = minimise(objective, begin)
    except np.linalg.LinAlgError:
        nothing = np.full(len(fit.theta), np.nan)
        return Restart(name, np.nan, "failed", np.nan, 0, nothing)
    found = replace(fit, optimum=optimum)
    return Restart(
        name,
        found.criterion,
        optimum.verdict,
        optimum.gradient_norm,
        taken + optimum.evaluations,
        found.theta + 0.0,  # no negative zeros
    )


def _names(fit: Fit) -> tuple[str, ...]:
    """Names of theta: of each term the lower triangle, column by column."""
    found: list[str] = []
    for group, term in fit.design.theta_order:
        label = fit.design.groups[group].name
        columns = fit.design.groups[group].terms[term].names
        for j, column in enumerate(columns):
            found.append(f"{label}.{column}")
            found += [f"{label}.{row}.{column}" for row in columns[j + 1 :]]
    seen: Counter[str] = Counter()
    for k, name in enumerate(found):
        seen[name] += 1
        # the same column in two terms of one factor
        found[k] = f"{name}.{seen[name] - 1}" if seen[name] > 1 else name
    return tuple(found)
