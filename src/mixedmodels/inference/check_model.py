"""Assumptions of a fitted model, each with a verdict calibrated on responses simulated from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
from mixedmodels.inference import check_statistics as statistics
from mixedmodels.inference.check_result import Check, ModelCheck, Verdict, against, usual
from mixedmodels.inference.check_sample import sampled
from mixedmodels.inference.check_statistics import Statistic, View, Views
from mixedmodels.inference.check_words import (
    ADVICE_COLLINEAR,
    ADVICE_CONVERGENCE,
    ADVICE_SINGULAR,
    UNCHECKED_EFFECTS,
    UNCHECKED_MEMORY,
    WORDS,
)
from mixedmodels.inference.collinearity import Inflation, inflations
from mixedmodels.inference.influence import change_without_levels, change_without_rows
from mixedmodels.inference.model_columns import numeric_predictors, row_labels, sorted_levels
from mixedmodels.inference.replicates import Seed, check_count, generators
from mixedmodels.inference.simulated import (
    estimated,
    held,
    joint_scores,
    simulated_statistics,
    upper_ranks,
)
from mixedmodels.model.record import Fit
from mixedmodels.model.rows import RowsNotKept

# p-values from which down a verdict is "look" and "problem"; the same for variance inflation, up
LOOK, PROBLEM = 0.05, 0.01
INFLATED, TANGLED = 5.0, 10.0
# residual sum of squares over total, up to which there is nothing but rounding
EXACT = 1e-14
# seconds of one evaluation up to which every simulated response is fitted anew
QUICK = 0.003


@checked
def check_model(
    m: Fit,
    *,
    time: str | None = None,
    n_sim: int = 250,
    seed: Seed = 1,
    progress: bool | None = None,
) -> ModelCheck:
    """Check the assumptions of a model, one verdict each, with what to do where one fails.

    Parameters
    ----------
    m : FittedModel
        With or without random terms.
    time : str, optional
        Column that orders the rows of a group (numbers, dates, ordered labels); without it
        autocorrelation is not checked.
    n_sim : int, default 250
        Responses to simulate.
    seed : int, Generator or SeedSequence, default 1
        The same seed gives the same verdicts.
    progress : bool, optional
        Show a progress bar; by default where somebody watches and it takes long.

    Returns
    -------
    ModelCheck
        Prints as a table with advice; ``check["linearity"]`` is one verdict, `frame` has all,
        `statistics` the numbers behind them, `vif` variance inflation, and `plot` draws the page.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    DataError
        An unknown `time`, or one without a value in some rows.
    ModelError
        n_sim or seed that cannot be used; a model without its rows; a fit without residuals.

    Notes
    -----
    Responses are simulated from the model with new random effects, the model is fitted to each,
    and every statistic is ranked among those of the simulated fits (parametric bootstrap). So the
    verdicts know that estimated random effects are shrunken and make residuals dependent: of
    models that are right each check says "look" (p <= 0.05) in about 5 % of cases and "problem"
    (p <= 0.01) in 1 %. A check with several statistics counts their smallest p-value, ranked in
    turn. Statistics: Shapiro and Francia's W' of residuals and of standardised random effects;
    R2 of absolute residuals by fitted values, predictors and levels; score tests of curves in
    numeric predictors; largest Cook's distances; correlations of neighbours; and of quantile
    residuals, which R's DHARMa simulates, distance from uniform, largest value and trend.

    Variance inflation, convergence and singularity are facts of the data or of the fit, without a
    p-value: inflation above 5 says "look", above 10 "problem", terms that share a variable not
    counted. Of more than 20,000 rows a sample of levels is checked. Where an evaluation of the
    criterion takes long the relative variances are held in the simulated fits.

    References
    ----------
    Davison, A. C. and Hinkley, D. V. (1997). Bootstrap Methods and their Application, ch. 4.
    Dunn, P. K. and Smyth, G. K. (1996), J. Comput. Graph. Stat. 5, 236-244.
    Westfall, P. H. and Young, S. S. (1993). Resampling-Based Multiple Testing. Wiley.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> check = mm.check_model(m, time="time", n_sim=100)
    >>> check["linearity"].verdict, check["influence"].verdict
    ('problem', 'ok')
    """
    check_count(n_sim)
    if isinstance(m.rows, RowsNotKept):
        raise ModelError(f"check_model needs the rows of the fit; {m.rows.reason}")
    if m.optimum.at.profile.r2 <= EXACT * m.objective.blocks.cross[-1, -1] or m.df_resid < 2:
        raise ModelError("the model leaves no residuals to check")
    first, *rest = generators(seed, n_sim + 1)
    fit, rows, note = sampled(m, first)
    parts = _statistics(m, fit, rows, time)
    quick = not fit.has_random or fit.objective.blocks.seconds <= QUICK
    if not quick:
        also = "relative variances were held at their estimates in the simulated fits"
        note = f"{note}; {also}" if note else also
    views = Views(fit)

    def numbers(one: Fit) -> Array:
        view = views(one)
        return np.array([part.of(view) for part in parts])

    draws = simulated_statistics(
        fit, numbers, estimated if quick else held, rest, progress=progress
    )
    tested, p_value = _tested(parts, draws, _Describe(m, fit, rows, views(fit)))
    inflation = tuple(inflations(m))
    checks = _ordered(m, tested, _collinearity(inflation))
    return ModelCheck(
        m,
        checks,
        tuple(part.without_rows() for part in parts),
        draws,
        inflation,
        p_value,
        time,
        note,
    )


def _statistics(m: Fit, fit: Fit, rows: NDArray[np.intp], time: str | None) -> list[Statistic]:
    """All statistics of the model as it is checked."""
    predictors = {name: values[rows] for name, values in numeric_predictors(m).items()}
    found = [
        *statistics.linearity(fit, predictors),
        *statistics.equal_spread(fit),
        *statistics.normality(fit),
        *statistics.influence(fit),
        *statistics.distribution(fit),
    ]
    if time is not None:
        group = fit.rows.codes[0] if fit.has_random else np.zeros(fit.n_obs, np.int64)
        found += statistics.memory(group, sorted_levels(m, time)[0][rows])
    return found


# --- verdicts -------------------------------------------------------------------------------------


def _tested(
    parts: Sequence[Statistic], draws: Array, describe: _Describe
) -> tuple[dict[str, Check], float]:
    """A check per simulated assumption, and the p-value of all together."""
    turned = against(parts, draws)
    shares = upper_ranks(turned)
    low, high = usual(parts, draws)
    names = list(dict.fromkeys(part.assumption for part in parts))
    found, joint = {}, []
    for name in names:
        own = [j for j, part in enumerate(parts) if part.assumption == name]
        joint.append(joint_scores(turned[:, own]))
        p = _first_rank(joint[-1])
        worst = min(own, key=lambda j: (shares[0, j], -draws[0, j]))
        verdict: Verdict = "ok" if p > LOOK else "look" if p > PROBLEM else "problem"
        part, words = parts[worst], WORDS[name]
        details = {"value": draws[0, worst], "low": low[worst], "high": high[worst]}
        found[name] = Check(
            name,
            verdict,
            f"{part.name}, {part.about}" if part.about else part.name,
            float(draws[0, worst]),
            float(low[worst]),
            float(high[worst]),
            p,
            words.good if verdict == "ok" else describe.fill(words.bad, part, details),
            "" if verdict == "ok" else describe.fill(words.advice, part, details),
        )
    return found, _first_rank(joint_scores(np.stack(joint, axis=1)))


def _first_rank(scores: Array) -> float:
    """Share of the members that score at least as high as the first."""
    return float(upper_ranks(scores[:, None])[0, 0])


@dataclass(frozen=True, slots=True)
class _Describe:
    """What a failing statistic is about, in words."""

    m: Fit
    fit: Fit
    rows: NDArray[np.intp]
    view: View

    def fill(self, text: str, part: Statistic, details: dict[str, float]) -> str:
        """A sentence with its numbers and names."""
        e = self.view.residual - self.view.residual.mean()
        scale = float(np.sqrt((e * e).mean()))
        variable = part.about in self.m.design.formula.fixed_variables
        return text.format(
            about=self.about(part),
            statistic=part.name,
            against=f"m, {part.about!r}" if variable else "m",
            skewness=float((e**3).mean()) / scale**3,
            kurtosis=float((e**4).mean()) / scale**4 - 3.0,
            **details,
        )

    def about(self, part: Statistic) -> str:
        """Term, variable, row or level."""
        if part.assumption == "autocorrelation":
            return part.name
        if part.assumption != "influence":
            return part.about
        if part.about == "row":
            worst = int(np.nanargmax(change_without_rows(self.fit).distance))
            return f"row {row_labels(self.m)[self.rows[worst]]}"
        names = [group.name for group in self.fit.design.groups]
        group = self.fit.design.groups[names.index(part.about)]
        codes = self.fit.rows.codes[names.index(part.about)]
        distance = change_without_levels(self.fit, codes, len(group.levels)).distance
        return f"{part.about} {group.levels[int(np.nanargmax(distance))]}"


def _ordered(m: Fit, tested: dict[str, Check], collinearity: Check) -> tuple[Check, ...]:
    """All checks in the order in which they are read."""
    found = [_convergence(m)]
    if m.has_random:
        found.append(_singularity(m))
        tested.setdefault(
            "normal effects",
            Check("normal effects", "not checked", message=UNCHECKED_EFFECTS),
        )
    tested.setdefault(
        "autocorrelation", Check("autocorrelation", "not checked", message=UNCHECKED_MEMORY)
    )
    found += [tested[name] for name in WORDS if name in tested]
    return (*found, collinearity)


def _convergence(m: Fit) -> Check:
    good = m.optimum.verdict in ("optimum", "boundary optimum")
    message = "the optimum is certified" if m.has_random else m.convergence.message
    return Check(
        "convergence",
        "ok" if good else "problem",
        message=message if good else m.convergence.message,
        advice="" if good else ADVICE_CONVERGENCE,
    )


def _singularity(m: Fit) -> Check:
    if m.is_singular:
        return Check("singularity", "look", message=m.convergence.message, advice=ADVICE_SINGULAR)
    return Check("singularity", "ok", message="every random term has variance in all directions")


def _collinearity(inflation: Sequence[Inflation]) -> Check:
    if not inflation:
        return Check("collinearity", "ok", message="there are no two terms to be confused")
    worst = max(inflation, key=lambda term: term.foreign)
    value = worst.foreign
    verdict: Verdict = "ok" if value < INFLATED else "look" if value < TANGLED else "problem"
    return Check(
        "collinearity",
        verdict,
        f"largest variance inflation, {worst.term}",
        value,
        message=(
            "terms can be told apart"
            if verdict == "ok"
            else f"other terms inflate the variance of {worst.term} by {value:.1f}"
        ),
        advice="" if verdict == "ok" else ADVICE_COLLINEAR,
    )
