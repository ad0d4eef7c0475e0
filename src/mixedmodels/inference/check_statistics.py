"""Statistics of a fit that grow when an assumption fails; their distribution is simulated.

Each takes residuals or random effects of one fit and gives one number. What depends on the design
alone is worked out once. None is compared with a textbook distribution: estimated random effects
shrink and correlate residuals, and simulated fits share that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.inference.leave_out import residual_columns, without_levels
from mixedmodels.likelihood.nested import NestedBlocks
from mixedmodels.likelihood.working import group_recipe
from mixedmodels.model.frames import kept_names
from mixedmodels.model.predict import training_parts
from mixedmodels.model.record import Fit
from mixedmodels.quantiles import normal_probability, normal_quantile

Codes = NDArray[np.int64]

# distinct values of a predictor up to which each gets a mean of its own; powers beyond
FEW, POWERS = 6, (2, 3)
# eigenvalues of a covariance below this share of the largest are rounding
RANK = 1e-8
# length of a power of the prediction, of one, that X must leave for it to be a bend
HELD = 1e-6
# rows per level from which the spread inside levels can be compared
ROWS = 2.5
# levels from which a distribution of random effects can be judged
LEVELS = 6
# largest distance in time of which autocorrelation is looked at
LAGS = 3
# numbers in what Cook's distances of all levels keep
KEPT = 4_000_000
# shares whose quantiles may move with the prediction
SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True, slots=True)
class View:
    """What statistics look at in one fit.

    Attributes
    ----------
    fit : Fit
    residual : ndarray of shape (n,)
        Conditional residuals times the root of the weight, over sigma.
    marginal : ndarray of shape (n,)
        Distance from the fixed part over its standard deviation in the model.
    """

    fit: Fit
    residual: Array
    marginal: Array


def _worked_out(view: View) -> float:  # noqa: ARG001
    return np.nan


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number of a fit.

    Attributes
    ----------
    assumption : str
        What it speaks of.
    name : str
    of : callable
        Takes a `View`.
    two_sided : bool
        Whether small values speak against the assumption too.
    about : str
        Term, variable or level that it is about; empty for the whole model.
    """

    assumption: str
    name: str
    of: Callable[[View], float]
    two_sided: bool = False
    about: str = ""

    def without_rows(self) -> Statistic:
        """The same for a result to keep and to pickle: `of` holds arrays as long as the data."""
        return replace(self, of=_worked_out)


class Views:
    """Makes a `View` of fits that share a design."""

    def __init__(self, fit: Fit) -> None:
        self.z = [group_recipe(terms).T @ fit.rows.base for terms in fit.working.terms]
        weights = fit.rows.weights
        self.noise = np.ones(fit.n_obs) if weights is None else 1.0 / weights

    def __call__(self, fit: Fit) -> View:
        """The view of one fit."""
        variance = self.noise.copy()
        for factor, z in zip(fit.optimum.at.factors, self.z, strict=True):
            variance += np.square(factor.T @ z).sum(axis=0)
        sd = np.sqrt(variance) * (fit.residual_scale * fit.design.y_scale)
        return View(fit, fit.pearson_residuals / fit.sigma, (fit.response - fit.fixed_part) / sd)


# --- normality ------------------------------------------------------------------------------------


def normality(fit: Fit) -> list[Statistic]:
    """Shapiro and Francia's W' of the residuals and of each random effect, from one."""
    scores = _normal_scores(fit.n_obs)
    found = [
        Statistic("normal residuals", "1 - W'", lambda view: _departure(view.residual, scores))
    ]
    for k, group in enumerate(fit.design.groups):
        if len(group.levels) < LEVELS:
            continue
        for j, name in enumerate(kept_names(fit, k)):
            if standardised_modes(fit, k, j) is not None:
                found.append(_effect_normality(k, j, f"{group.name}: {name}", len(group.levels)))
    return found


def _effect_normality(k: int, j: int, about: str, n_levels: int) -> Statistic:
    scores = _normal_scores(n_levels)

    def of(view: View) -> float:
        modes = standardised_modes(view.fit, k, j)
        return np.nan if modes is None else _departure(modes, scores)

    return Statistic("normal effects", "1 - W'", of, about=about)


def standardised_modes(fit: Fit, k: int, j: int) -> Array | None:
    """Modes of one random column over the standard deviation that modes of such levels have.

    None where it has no variance (Lange and Ryan 1989, Ann. Stat. 17, 624-642).
    """
    # both in units of sigma
    variance = float(np.square(fit.factors[k][j]).sum()) * fit.rows.weight_scale
    unit = fit.residual_scale * fit.design.y_scale
    left = variance - fit.effect_covariances[k][j, j] / unit**2
    if not variance or float(left.max()) < RANK * variance:
        return None
    return np.asarray(fit.effects[k][j] / (unit * np.sqrt(np.maximum(left, RANK * variance))))


def _normal_scores(n: int) -> Array:
    """Expected normal order statistics by Blom's positions, length one."""
    scores = normal_quantile((np.arange(n) + 0.625) / (n + 0.25))
    return np.asarray(scores / np.linalg.norm(scores))


def _departure(values: Array, scores: Array) -> float:
    """One less the squared correlation of ordered values with normal scores."""
    centred = np.sort(values) - values.mean()
    total = float(centred @ centred)
    return 1.0 - float(scores @ centred) ** 2 / total if total > 0.0 else np.nan


# --- equal spread ---------------------------------------------------------------------------------


def equal_spread(fit: Fit) -> list[Statistic]:
    """Share of the variation of absolute residuals that fitted values, X and levels explain."""
    found = [
        Statistic(
            "equal variance",
            "R2 of |residual|",
            lambda view: _explained(np.abs(view.residual), _powers(view.fit.fitted, (1, 2))),
            about="the fitted values",
        )
    ]
    basis = _basis(fit.working.fixed.recipe.T @ fit.rows.base)
    if len(basis):
        found.append(
            Statistic(
                "equal variance",
                "R2 of |residual|",
                lambda view: _explained(np.abs(view.residual), basis),
                about="the predictors",
            )
        )
    for codes, group in zip(fit.rows.codes, fit.design.groups, strict=True):
        if fit.n_obs >= ROWS * len(group.levels):
            found.append(_between(codes, group.name))
    return found


def _between(codes: Codes, name: str) -> Statistic:
    counts = np.maximum(np.bincount(codes), 1)

    def of(view: View) -> float:
        size = np.abs(view.residual)
        size = size - size.mean()
        sums = np.bincount(codes, weights=size, minlength=len(counts))
        total = float(size @ size)
        return float((sums * sums / counts).sum()) / total if total > 0.0 else np.nan

    return Statistic("equal variance", "R2 of |residual|", of, about=f"the levels of {name}")


def _explained(values: Array, basis: Array) -> float:
    """R2 of values by orthonormal columns without mean, shape (s, n)."""
    centred = values - values.mean()
    along, total = basis @ centred, float(centred @ centred)
    return float(along @ along) / total if total > 0.0 else np.nan


def _powers(values: Array, powers: Sequence[int]) -> Array:
    """Orthonormal powers of a variable, its mean taken out."""
    sd = float(values.std())
    if not sd:
        return np.empty((0, len(values)))
    scaled = (values - values.mean()) / sd
    return _basis(np.stack([scaled**power for power in powers]))


def _basis(columns: Array) -> Array:
    """Orthonormal rows that span the columns less their means, shape (r, n)."""
    if not len(columns):
        return columns
    centred = columns - columns.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    kept = length > 1e-9 * np.linalg.norm(columns, axis=1)
    if not kept.any():
        return np.empty((0, columns.shape[1]))
    scaled = centred[kept] / length[kept, None]
    values, vectors = np.linalg.eigh(scaled @ scaled.T)
    good = values > RANK * values[-1]
    return np.asarray((vectors[:, good] / np.sqrt(values[good])).T @ scaled)


# --- linearity ------------------------------------------------------------------------------------


def linearity(fit: Fit, variables: dict[str, Array]) -> list[Statistic]:
    """Score tests of means (few values) or powers of each numeric predictor beside its terms.

    Parameters
    ----------
    fit : Fit
    variables : dict of str to ndarray of shape (n,)
    """
    found = []
    for name, values in variables.items():
        root = _score_root(fit, _shapes(values))
        if len(root):
            found.append(_score(root, name))
    fixed = _basis(fit.working.fixed.recipe.T @ fit.rows.base)
    # of one predictor the mean is a line, whose bends are its own
    alone = len(fixed) == 1 and bool(found)
    if len(_bends(fit, fixed)) and not alone:
        found.append(
            Statistic(
                "linearity",
                "R2 of residual",
                lambda view: _explained(view.residual, _bends(view.fit, fixed)),
                about="the predicted mean",
            )
        )
    return found


def _bends(fit: Fit, fixed: Array) -> Array:
    """Powers of the predicted mean that X does not hold."""
    powers = _powers(fit.fixed_part, POWERS)
    left = powers - powers @ fixed.T @ fixed
    return _basis(left[np.linalg.norm(left, axis=1) > HELD])


def _score(root: Array, name: str) -> Statistic:
    return Statistic(
        "linearity",
        "score statistic",
        lambda view: float(np.square(root @ view.residual).sum()),
        about=name,
    )


def _shapes(values: Array) -> Array:
    """Columns of which a curve in a variable can be made."""
    levels, codes = np.unique(values, return_inverse=True)
    if len(levels) <= FEW:
        return np.asarray(codes == np.arange(1, len(levels))[:, None], dtype=np.float64)
    return _powers(values, POWERS)


def _score_root(fit: Fit, columns: Array) -> Array:
    """What turns scaled residuals into independent scores of columns left out of X, (r, n).

    The score of a column d is ``d' V^-1 (y - X b)``, which is ``d'We`` with conditional residuals
    e; its variance is ``d'Pd``.
    """
    weights = np.ones(fit.n_obs) if fit.rows.weights is None else fit.rows.weights
    _, right = training_parts(fit)
    weighted = columns * weights
    covariance = weighted @ columns.T
    largest = float(np.diag(covariance).max(initial=0.0))
    if fit.has_random:
        at, products = fit.optimum.at, []
        for k, terms in enumerate(fit.working.terms):
            z = group_recipe(terms).T @ fit.rows.base
            codes, n_levels = fit.rows.codes[k], len(fit.design.groups[k].levels)
            sums = np.empty((len(z), len(columns), n_levels))
            for i, row in enumerate(z):
                for j, column in enumerate(weighted):
                    sums[i, j, fit.working.orders[k]] = np.bincount(
                        codes, weights=row * column, minlength=n_levels
                    )
            products.append(sums)
        covariance = covariance - fit.objective.blocks.forward(at.reduced, at.factors, products)
    if len(right):
        across = right @ weighted.T
        covariance = covariance - across.T @ fit.optimum.at.profile.vcov @ across
    values, vectors = np.linalg.eigh(covariance)
    good = values > RANK * max(largest, 1e-300)
    root = (vectors[:, good] / np.sqrt(values[good])).T
    return np.asarray(root @ columns * np.sqrt(weights))


# --- influence ------------------------------------------------------------------------------------


def influence(fit: Fit) -> list[Statistic]:
    """Largest Cook's distance of a row, and of a level of each grouping factor."""
    if not len(fit.beta):
        return []
    found = [Statistic("influence", "largest Cook's distance", _of_rows(fit), about="row")]
    for codes, group in zip(fit.rows.codes, fit.design.groups, strict=True):
        of = _of_levels(fit, codes, len(group.levels))
        found.append(Statistic("influence", "largest Cook's distance", of, about=group.name))
    return found


def _of_rows(fit: Fit) -> Callable[[View], float]:
    # where an elimination is cheap each fit has its own leverages
    held = None if isinstance(fit.objective.blocks, NestedBlocks) else _row_shares(fit)

    def of(view: View) -> float:
        shares = _row_shares(view.fit) if held is None else held
        return float((np.square(view.residual) * shares).max())

    return of


def _row_shares(fit: Fit) -> Array:
    """What turns squared scaled residuals into Cook's distances."""
    random, right = training_parts(fit)
    weights = np.ones(fit.n_obs) if fit.rows.weights is None else fit.rows.weights
    squares = weights * np.einsum("pn,pn->n", right, fit.optimum.at.profile.vcov @ right)
    free = 1.0 - weights * random - squares
    share = np.where(free > RANK, squares / np.square(np.maximum(free, RANK)), 0.0)
    return np.asarray(share / len(fit.beta))


def _of_levels(fit: Fit, codes: Codes, n_levels: int) -> Callable[[View], float]:
    """Cook's distances from the scores of levels; of levels that share groups, to first order."""
    p = len(fit.beta)
    weights = np.ones(fit.n_obs) if fit.rows.weights is None else fit.rows.weights
    columns = residual_columns(fit)[1][:-1] * np.sqrt(weights)
    turns = None
    if fit.design.structure.nested and n_levels * p * p <= KEPT and _holds_all(fit, codes):
        turns = np.empty((n_levels, p, p))
        inverse = _inverse_root(fit)
        for left in without_levels(fit, codes, n_levels):
            inner = inverse @ left.cross[:, :p, :p] @ inverse.T
            values, vectors = np.linalg.eigh(inner)
            # a level that holds all there is about a coefficient has no distance
            values[values < RANK] = np.inf
            turns[left.levels] = (vectors / values[:, None]) @ vectors.transpose(0, 2, 1)

    def of(view: View) -> float:
        sums = [np.bincount(codes, weights=x * view.residual, minlength=n_levels) for x in columns]
        scores = np.stack(sums).T @ _inverse_root(view.fit).T
        steps = scores if turns is None else np.einsum("kij,kj->ki", turns, scores)
        return float(np.square(steps).sum(axis=1).max()) / p

    return of


def _inverse_root(fit: Fit) -> Array:
    """``T`` with ``T X'V^-1X T' = I``, working units."""
    p = len(fit.beta)
    return np.asarray(np.linalg.inv(np.linalg.cholesky(fit.optimum.at.reduced.cross[:p, :p])))


def _holds_all(fit: Fit, codes: Codes) -> bool:
    """Whether no random effect is shared by two levels: the coarsest factor of a chain."""
    return codes is fit.rows.codes[-1]


# --- memory ---------------------------------------------------------------------------------------


def memory(group: Codes, time: Codes) -> list[Statistic]:
    """Correlation of residuals of neighbours within groups.

    Parameters
    ----------
    group : ndarray of int, shape (n,)
    time : ndarray of int, shape (n,)
        Rank in time.
    """
    order = np.lexsort((time, group))
    ordered = group[order]
    found = []
    for lag in range(1, LAGS + 1):
        first = order[:-lag][ordered[lag:] == ordered[:-lag]]
        second = order[lag:][ordered[lag:] == ordered[:-lag]]
        if len(first) < 3:
            break
        found.append(_correlation(first, second, lag))
    return found


def _correlation(first: NDArray[np.intp], second: NDArray[np.intp], lag: int) -> Statistic:
    def of(view: View) -> float:
        e = view.residual
        total = float(e @ e) / len(e)
        return float(e[first] @ e[second]) / len(first) / total if total > 0.0 else np.nan

    name = f"correlation at distance {lag}"
    return Statistic("autocorrelation", name, of, two_sided=True)


# --- simulated residuals --------------------------------------------------------------------------


def distribution(fit: Fit) -> list[Statistic]:
    """Of quantile residuals: uniform, none far out, no trend.

    The share of responses simulated from the model that lie below an observation tends, in a
    normal model, to the normal probability of its marginal residual, which is what is used. Their
    dispersion would say nothing: sigma is estimated to fit it.
    """
    n = fit.n_obs
    steps = (np.arange(n) + 0.5) / n

    def uniformity(view: View) -> float:
        ordered = normal_probability(np.sort(view.marginal))
        return float(np.abs(ordered - steps).max()) + 0.5 / n

    what = "simulated residuals"
    found = [
        Statistic(what, "distance from uniform", uniformity),
        Statistic(what, "largest |residual|", lambda v: float(np.abs(v.marginal).max())),
    ]
    if float(np.ptp(fit.fixed_part)) > 0.0:
        found.append(Statistic(what, "trend of quantiles", _quantile_trend))
    return found


def _quantile_trend(view: View) -> float:
    """R2 of the shares below three quantiles by the rank of the prediction, summed."""
    rank = np.unique(view.fit.fixed_part, return_inverse=True)[1].astype(np.float64)
    basis = _powers(rank, (1, 2))
    limits = normal_quantile(np.array(SHARES))
    return sum(_explained((view.marginal < limit) * 1.0, basis) for limit in limits)
