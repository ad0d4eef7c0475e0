"""What rows and whole groups do to the fixed effects: Cook's distance, DFBETAS, leverage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import DataWarning, ModelError, warn
from mixedmodels.inference import parameters
from mixedmodels.inference.leave_out import (
    Codes,
    Left,
    fit_without,
    rows_of_levels,
    without_levels,
)
from mixedmodels.inference.model_columns import grouping, row_labels
from mixedmodels.likelihood.working import inverse_root
from mixedmodels.model.predict import sigma_df, training_parts
from mixedmodels.model.record import Fit
from mixedmodels.model.rows import RowsNotKept
from mixedmodels.progress import replicate_bar
from mixedmodels.threads import one_blas_thread

Hold: TypeAlias = Literal["theta", "variances", "nothing"]
HELD = ("theta", "variances", "nothing")

# share of the information on a combination of coefficients below which it is gone
GONE = 1e-9


@checked
def influence(
    m: Fit, group: str | None = None, *, hold: Hold = "theta", progress: bool | None = None
) -> Any:
    """What each row, or each level of a grouping factor, does to the fixed effects.

    Parameters
    ----------
    m : FittedModel
    group : str, optional
        A grouping factor of the model or a column of its data, whose levels are left out one at a
        time. By default single rows are.
    hold : {"theta", "variances", "nothing"}
        What keeps the value that all rows gave it: the relative covariances (sigma is estimated
        again); sigma too, as HLMdiag does; or nothing, so that each is a fit of its own.
    progress : bool, optional
        Show a progress bar where models are fitted again; by default where somebody watches and it
        takes long.

    Returns
    -------
    frame
        row (label of the row) or level and n (its rows); cooks_distance, mdffits, covratio;
        leverage, leverage_fixed, leverage_random (of a level, the mean of its rows); sigma without
        it (with ``hold="nothing"`` all variance parameters, named as `FittedModel.bootstrap` does);
        ``dfbetas_<term>`` of each coefficient.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    DataError
        An unknown column, or one without a value in some rows of the fit.
    ModelError
        No fixed effects; one level; an unknown `hold`; a model without its rows.

    Warns
    -----
    DataWarning
        Without some of the levels (or rows) a coefficient is not determined: their figures are nan.

    Notes
    -----
    With b the fixed effects, V their covariance matrix and p their number, and a dash for what is
    estimated without the rows, Cook's distance is ``(b - b')' V^-1 (b - b') / p``, MDFFITS the same
    with V', the covariance ratio ``det V' / det V``, and DFBETAS ``(b_j - b_j') / se(b_j')``; in a
    model without random terms the standard error there has sigma' and X of all rows, as
    ``dfbetas()`` of R. With ``hold="variances"`` these are the figures of R's HLMdiag, with
    ``hold="nothing"`` DFBETAS are those of influence.ME, whose Cook's distance is MDFFITS here.
    Leverages are the diagonals of ``X (X'V^-1X)^-1 X'V^-1`` and of what random effects add to it
    (Demidenko and Stukel 2005). The Cook's distance of `FittedModel.augment` is lme4's, of fitted
    values and not of fixed effects.

    Nothing is fitted again unless asked for: levels are taken out of sums of products, whatever the
    number of rows.

    References
    ----------
    Belsley, D. A., Kuh, E. and Welsch, R. E. (1980). Regression Diagnostics. Wiley.
    Christensen, R., Pearson, L. M. and Johnson, W. (1992). Technometrics 34, 38-45.
    Demidenko, E. and Stukel, T. A. (2005). Statistics in Medicine 24, 893-909.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> by_animal = mm.influence(m, "animal").nlargest(2, "cooks_distance")
    >>> by_animal[["level", "cooks_distance", "dfbetas_time"]].round(3)
        level  cooks_distance  dfbetas_time
    51  59172           0.069         0.208
    8   58877           0.064        -0.359
    """
    if not len(m.beta):
        raise ModelError(f"'{m.formula}' has no fixed effects whose change could be measured")
    if isinstance(m.rows, RowsNotKept):
        raise ModelError(f"influence needs the rows of the fit; {m.rows.reason}")
    fixed, random = leverages(m)
    if group is None:
        codes, n_levels = np.arange(m.n_obs), m.n_obs
        head: dict[str, Any] = {"row": row_labels(m)}
    else:
        codes, labels = grouping(m, group)
        n_levels, counts = len(labels), np.bincount(codes)
        head = {"level": labels, "n": counts}
        fixed, random = (np.bincount(codes, weights=h) / counts for h in (fixed, random))
    if hold == "nothing":
        change = _refitted(m, codes, n_levels, progress=progress)
    elif group is None:
        change = change_without_rows(m)
    else:
        change = change_without_levels(m, codes, n_levels)
    lost = int(np.count_nonzero(np.isnan(change.distance)))
    if lost:
        what = "rows" if group is None else f"levels of {group}"
        warn(
            f"without {lost} of the {n_levels} {what}, left out one at a time, a coefficient is "
            "not determined: their figures are nan",
            DataWarning,
        )
    leverage = {
        "leverage": fixed + random,
        "leverage_fixed": fixed,
        "leverage_random": random,
    }
    return to_native(head | change.columns(m, hold, leverage), m.source.kind)


def leverages(fit: Fit) -> tuple[Array, Array]:
    """Leverage of each row by the fixed part, and what random effects add; shape (n,) each."""
    random, right = training_parts(fit)
    fixed = np.einsum("pn,pn->n", right, fit.optimum.at.profile.vcov @ right)
    # h = right' vcov right + random; the fixed part's own is x' vcov right
    x = fit.working.fixed.recipe.T @ fit.rows.base
    own = np.einsum("pn,pn->n", x, fit.optimum.at.profile.vcov @ right)
    total = fixed + random
    if fit.rows.weights is not None:
        own, total = own * fit.rows.weights, total * fit.rows.weights
    return own, total - own


# --- changes --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """What changes without each of k sets of rows; nan where nothing can be estimated.

    Attributes
    ----------
    distance : ndarray of shape (k,)
        ``(b - b')' X'V^-1X (b - b')``, working units.
    distance_left : ndarray of shape (k,)
        The same with V and X of what is left.
    log_ratio : ndarray of shape (k,)
        Logarithm of the ratio of determinants of ``X'V^-1X``, left over whole.
    shift : ndarray of shape (k, p)
        ``b' - b``, the user's units.
    unit_error : ndarray of shape (k, p)
        Standard errors of b' for a sigma of one (working units).
    sigma : ndarray of shape (k,)
        Working units.
    theta : ndarray of shape (k, n_theta), optional
    """

    distance: Array
    distance_left: Array
    log_ratio: Array
    shift: Array
    unit_error: Array
    sigma: Array
    theta: Array | None = None

    def columns(self, fit: Fit, hold: Hold, leverage: Mapping[str, Array]) -> dict[str, Any]:
        """Columns of the frame."""
        p, whole = len(fit.beta), fit.residual_scale
        sigma = np.full(len(self.sigma), whole) if hold == "variances" else self.sigma
        error = self.unit_error if fit.has_random else _unit_errors(fit)
        with np.errstate(divide="ignore", invalid="ignore"):
            dfbetas = -self.shift / (error * sigma[:, None])
            found: dict[str, Any] = {
                "cooks_distance": self.distance / (p * whole**2),
                "mdffits": self.distance_left / (p * sigma**2),
                "covratio": np.exp(2.0 * p * np.log(sigma / whole) - self.log_ratio),
                **leverage,
            }
        if self.theta is not None:
            values = parameters.from_theta(fit, self.theta, sigma)
            found |= dict(zip(parameters.names(fit), values.T, strict=True))
        elif hold == "theta":
            unit = fit.design.y_scale * np.sqrt(fit.rows.weight_scale)
            found["sigma"] = sigma * unit
        return found | {f"dfbetas_{name}": dfbetas[:, j] for j, name in enumerate(fit.term_names)}


def _metric(fit: Fit) -> tuple[Array, Array]:
    """``T`` with ``T X'V^-1X T' = I``, and what turns ``T`` coordinates into user coefficients."""
    p = len(fit.beta)
    root = np.linalg.cholesky(fit.optimum.at.reduced.cross[:p, :p])
    turn = np.linalg.inv(root)
    return turn, inverse_root(fit.working.fixed) @ turn.T * fit.design.y_scale


def _unit_errors(fit: Fit) -> Array:
    """Standard errors of the fixed effects for a sigma of one (working units), shape (p,)."""
    return np.asarray(np.sqrt(np.square(_metric(fit)[1]).sum(axis=1)))


def change_without_rows(fit: Fit) -> Change:
    """Every row left out in turn, theta held: rank-one updates."""
    random, right = training_parts(fit)
    turn, user = _metric(fit)
    weights = np.ones(fit.n_obs) if fit.rows.weights is None else fit.rows.weights
    e = (fit.response - fit.fitted) / fit.design.y_scale
    own = turn @ right
    squares = weights * np.square(own).sum(axis=0)
    alone = 1.0 - weights * random
    free = alone - squares
    free = np.where(free > GONE * alone, free, np.nan)
    step = weights * e / free
    distance = step * step * squares / weights
    along = user @ own
    variance = np.square(user).sum(axis=1)[:, None] + along**2 * (weights / free)
    r2 = fit.optimum.at.profile.r2 - weights * e * e / free
    return Change(
        distance,
        distance * free / alone,
        np.log(free / alone),
        -(along * step).T,
        np.sqrt(variance).T,
        _sigma(fit, r2, np.full(fit.n_obs, fit.n_obs - 1)),
    )


def change_without_levels(fit: Fit, codes: Codes, n_levels: int) -> Change:
    """Every level left out in turn, theta held."""
    with one_blas_thread(active=fit.objective.blocks.short_steps):
        parts = [
            (left.levels, _change(fit, codes, left))
            for left in without_levels(fit, codes, n_levels)
        ]
    return _in_order(parts)


def _refitted(fit: Fit, codes: Codes, n_levels: int, *, progress: bool | None) -> Change:
    """Every level left out in turn, everything estimated again."""
    parts = []
    with (
        one_blas_thread(active=fit.objective.blocks.short_steps),
        replicate_bar(n_levels, progress=progress, what="fits") as advance,
    ):
        for level, rows in rows_of_levels(codes, np.arange(n_levels)):
            left = fit_without(fit, level, rows)
            parts.append((left.levels, _change(fit, codes, left)))
            advance(1)
    return _in_order(parts)


def _in_order(parts: list[tuple[NDArray[np.intp], Change]]) -> Change:
    """Portions of levels as one, in the order of the levels."""
    order = np.argsort(np.concatenate([levels for levels, _ in parts]))

    def joined(name: str) -> Any:
        values = [getattr(change, name) for _, change in parts]
        return None if values[0] is None else np.concatenate(values)[order]

    return Change(*(joined(name) for name in Change.__slots__))


def _change(fit: Fit, codes: Codes, left: Left) -> Change:
    """Changes from cross-products of what is left."""
    p, turn, user = len(fit.beta), *_metric(fit)
    inner = turn @ left.cross[:, :p, :p] @ turn.T
    bad = ~np.isfinite(inner).all(axis=(1, 2))
    inner[bad] = np.eye(p)
    values, vectors = np.linalg.eigh(0.5 * (inner + inner.transpose(0, 2, 1)))
    bad |= values[:, 0] < GONE
    values[bad] = np.nan
    score = left.cross[:, :p, p] @ turn.T
    along = np.einsum("kij,ki->kj", vectors, score)
    step = np.einsum("kij,kj->ki", vectors, along / values)
    spread = user @ vectors
    r2 = left.cross[:, p, p] - np.square(along / np.sqrt(values)).sum(axis=1)
    rows = fit.n_obs - np.bincount(codes)[left.levels]
    return Change(
        np.square(step).sum(axis=1),
        np.einsum("ki,ki->k", step, score),
        np.log(values).sum(axis=1),
        step @ user.T,
        np.sqrt((np.square(spread) / values[:, None]).sum(axis=2)),
        _sigma(fit, r2, rows),
        left.theta,
    )


def _sigma(fit: Fit, r2: Array, rows: Any) -> Array:
    """Sigma without the rows, working units."""
    df = rows - (fit.n_obs - sigma_df(fit))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(df > 0, np.sqrt(np.maximum(r2, 0.0) / df), np.nan))
