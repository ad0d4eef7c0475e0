"""`Fit`: the record of one fit, and the estimates that follow from it in the user's units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.build import Design, Rows
from mixedmodels.engines.cells import cell_design
from mixedmodels.engines.moments import Moments as CellMoments
from mixedmodels.likelihood.covariance import covariance_root, triangular
from mixedmodels.likelihood.objective import Objective
from mixedmodels.likelihood.working import (
    Working,
    beta_from_working,
    effects_from_working,
    group_recipe,
    inverse_root,
    inverse_upper,
)
from mixedmodels.model.rows import RowsNotKept
from mixedmodels.moments.cross_products import Moments
from mixedmodels.optimize import Optimum


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows came from.

    Attributes
    ----------
    data : object
        The user's frame (safe from later changes), or None when it was not kept.
    kind : object
        Kind of frame, for the frames that come out.
    n_rows : int
        Rows given.
    complete : ndarray of bool, optional
        Rows used; None when all were.
    missing : dict of str to int
        Missing values per column.
    arrays : dict of str to ndarray
        ``weights`` and ``offset`` as given, for updates.
    sums : Moments, optional
        What a fit to sums was fitted to; it has no data.
    """

    data: Any
    kind: Any
    n_rows: int
    complete: NDArray[np.bool_] | None
    missing: dict[str, int]
    arrays: dict[str, Any]
    sums: CellMoments | None = None


@dataclass(frozen=True, slots=True)
class Convergence:
    """How the fit ended.

    Attributes
    ----------
    gradient_norm : float
        Largest absolute derivative of the criterion (working units).
    smallest_eigenvalue : float
        Of the Hessian of the criterion in working theta; nan without random terms.
    evaluations : int
        Evaluations of criterion and gradient.
    predicted_decrease : float
        What one more Newton step would gain in the criterion.
    verdict : str
        ``"optimum"``, ``"boundary optimum"``, ``"not identified"`` or ``"not converged"``.
    message : str
        The verdict in one sentence.
    """

    gradient_norm: float
    smallest_eigenvalue: float
    evaluations: int
    predicted_decrease: float
    verdict: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit: design, data in base columns, moments, optimum.

    Attributes
    ----------
    design : Design
    rows : Rows
    moments : Moments
    working : Working
    objective : Objective
    optimum : Optimum
    source : Source
    reml : bool
        True for a REML fit; False for ML and for models without random terms.
    options : dict
        Arguments of the fit that `update` repeats.
    """

    design: Design
    rows: Rows
    moments: Moments
    working: Working
    objective: Objective
    optimum: Optimum
    source: Source
    reml: bool
    options: dict[str, Any]

    @cached_property
    def points(self) -> Rows:
        """The rows; of a fit to sums, weighted rows that have the sums of its cells.

        Raises
        ------
        ModelError
            Asking for their columns or levels, when there are neither rows nor sums.
        """
        if self.source.sums is None:
            return self.rows
        return cell_design(self.design.formula, self.source.sums)[1]

    @property
    def formula(self) -> str:
        """The formula as given."""
        return self.design.formula.text

    @property
    def n_obs(self) -> int:
        """Number of rows used."""
        return self.moments.n

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of levels of each grouping factor."""
        return {group.name: len(group.levels) for group in self.design.groups}

    @cached_property
    def term_names(self) -> list[str]:
        """Names of the fixed effects, in the order of `beta`."""
        return [self.design.x_names[j] for j in self.working.fixed.kept]

    @property
    def has_random(self) -> bool:
        """Whether the model has random terms."""
        return bool(self.design.groups)

    @cached_property
    def residual_scale(self) -> float:
        """Sigma in working units."""
        n, p = self.n_obs, len(self.working.fixed.kept)
        df = n - p if self.reml or not self.has_random else n
        return math.sqrt(self.optimum.at.profile.r2 / df)

    @cached_property
    def beta(self) -> Array:
        """Fixed effects, shape (p,), in units of y per unit of x."""
        coefs = self.optimum.at.profile.coefs
        return beta_from_working(
            self.working.fixed, -coefs[:-1], self.design.y_centre, self.design.y_scale
        )

    @cached_property
    def vcov(self) -> Array:
        """Covariance of the fixed effects, shape (p, p)."""
        half = self._vcov_root() * (self.residual_scale * self.design.y_scale)
        return np.asarray(half @ half.T)

    def _vcov_root(self) -> Array:
        """Root of ``(X'V^-1X)^-1``, without squares where the fit has been without them."""
        fixed, p = self.working.fixed, len(self.working.fixed.kept)
        root = getattr(self.optimum.at.reduced, "root", None)
        if root is None or not p:
            return inverse_root(fixed) @ covariance_root(self.optimum.at.profile.vcov)
        return inverse_upper(root[:p, :p] @ fixed.root)

    @cached_property
    def sigma(self) -> float:
        """Residual standard deviation, in units of y (of a row with weight one)."""
        return self.residual_scale * self.design.y_scale * math.sqrt(self.rows.weight_scale)

    @cached_property
    def criterion(self) -> float:
        """What was minimised: REML criterion or -2 log-likelihood."""
        shift = criterion_shift(self.design, self.moments, self.working, reml=self.reml)
        return self.optimum.at.profile.value + shift

    @property
    def loglik(self) -> float:
        """Log-likelihood (restricted, for a REML fit)."""
        return -0.5 * self.criterion

    @property
    def deviance(self) -> float | None:
        """-2 log-likelihood; None for a REML fit."""
        return None if self.reml else self.criterion

    @property
    def reml_criterion(self) -> float | None:
        """-2 log restricted likelihood; None for an ML fit."""
        return self.criterion if self.reml else None

    @property
    def n_params(self) -> int:
        """Fixed effects + variance parameters + sigma."""
        n_theta = sum(t.n_theta for t in self.working.templates)
        return len(self.working.fixed.kept) + n_theta + 1

    @property
    def df_resid(self) -> int:
        """Rows minus parameters; minus fixed effects for a model without random terms."""
        if not self.has_random:
            return self.n_obs - len(self.working.fixed.kept)
        return self.n_obs - self.n_params

    @property
    def aic(self) -> float:
        """Akaike's criterion, from the criterion that was fitted."""
        return self.criterion + 2.0 * self.n_params

    @property
    def aicc(self) -> float:
        """AIC with the small-sample term, n = number of rows."""
        k, n = self.n_params, self.n_obs
        if n - k - 1 <= 0:
            return math.inf
        return self.aic + 2.0 * k * (k + 1) / (n - k - 1)

    @property
    def bic(self) -> float:
        """Schwarz's criterion, n = number of rows."""
        return self.criterion + math.log(self.n_obs) * self.n_params

    @cached_property
    def factors(self) -> tuple[Array, ...]:
        """Per grouping factor, ``S`` with relative covariance ``S @ S.T``, user units."""
        scale = 1.0 / math.sqrt(self.rows.weight_scale)
        return tuple(
            effects_from_working(terms, factor) * scale
            for terms, factor in zip(self.working.terms, self.optimum.at.factors, strict=True)
        )

    def term_factor(self, group: int, term: int) -> Array:
        """Relative factor of one term, lower triangular, zero rows for unidentified columns."""
        part = self.working.templates[group].parts[term]
        kept = self.working.terms[group][term].kept
        names = self.design.groups[group].terms[term].names
        full = np.zeros((len(names), len(kept)))
        full[kept] = self.factors[group][part, part]
        if len(names) > len(kept):
            full = np.pad(full, ((0, 0), (0, len(names) - len(kept))))
        return triangular(full)

    @cached_property
    def theta(self) -> Array:
        """Relative covariance parameters, lme4's order: column-major lower triangles, no unit."""
        parts = []
        for group, term in self.design.theta_order:
            lower = self.term_factor(group, term)
            rows, cols = np.tril_indices(len(lower))
            order = np.lexsort((rows, cols))
            parts.append(lower[rows[order], cols[order]])
        return np.concatenate(parts) if parts else np.empty(0)

    @property
    def is_singular(self) -> bool:
        """Whether a variance is zero or a correlation one at the optimum."""
        return self.optimum.verdict == "boundary optimum"

    @property
    def converged(self) -> bool:
        """Whether the optimiser certifies an optimum (interior or boundary)."""
        return self.optimum.verdict != "not converged"

    @cached_property
    def working_effects(self) -> list[Array]:
        """Conditional modes in working units, (q, n_levels) per factor, user level order."""
        at = self.optimum.at
        spherical = self.objective.blocks.spherical(at.reduced, at.factors)
        out = []
        for u, factor, order in zip(spherical, at.factors, self.working.orders, strict=True):
            out.append((factor @ np.einsum("qwl,w->ql", u, at.profile.coefs))[:, order])
        return out

    @cached_property
    def effects(self) -> list[Array]:
        """Conditional modes b, shape (q, n_levels) per factor, in the user's units."""
        return [
            effects_from_working(terms, b) * self.design.y_scale
            for terms, b in zip(self.working.terms, self.working_effects, strict=True)
        ]

    @cached_property
    def effect_covariances(self) -> list[Array]:
        """Covariance of b given y and beta, shape (q, q, n_levels) per factor."""
        at = self.optimum.at
        scale = (self.residual_scale * self.design.y_scale) ** 2
        blocks = self.objective.blocks.conditional_covariance(at.reduced, at.factors)
        out = []
        for block, terms, order in zip(
            blocks, self.working.terms, self.working.orders, strict=True
        ):
            q, _, n_levels = block.shape
            half = effects_from_working(terms, block.reshape(q, -1)).reshape(block.shape)
            full = effects_from_working(
                terms, np.ascontiguousarray(half.transpose(1, 0, 2)).reshape(q, -1)
            )
            out.append(full.reshape(q, q, n_levels)[:, :, order] * scale)
        return out

    @cached_property
    def fixed_part(self) -> Array:
        """``X beta + offset`` of the rows used, shape (n,)."""
        coefs = self.working.fixed.recipe @ -self.optimum.at.profile.coefs[:-1]
        scale, centre = self.design.y_scale, self.design.y_centre
        if self.working.fixed.constant is not None:
            out = coefs @ self.rows.base * scale + centre
        else:
            out = coefs @ self.rows.base * scale
        return out if self.rows.offset is None else out + self.rows.offset

    @cached_property
    def fitted(self) -> Array:
        """Conditional fitted values of the rows used, shape (n,)."""
        return self.fixed_part + self.random_part()

    def random_part(self, groups: tuple[int, ...] | None = None) -> Array:
        """``Z b`` of the rows used, over all or some grouping factors."""
        total = np.zeros(self.n_obs)
        for k, effects in enumerate(self.working_effects):
            if groups is None or k in groups:
                total += self.spread(k, effects)
        return total

    def spread(self, group: int, effects: Array) -> Array:
        """``Z b`` of the rows for working effects (q, n_levels) of one grouping factor."""
        recipe = group_recipe(self.working.terms[group])
        codes, total = self.rows.codes[group], np.zeros(self.n_obs)
        # base coefficients of every level, then one gather per base column
        by_level = recipe @ effects
        for a in np.flatnonzero((recipe != 0.0).any(axis=1)):
            total += by_level[a][codes] * self.rows.base[a] if a else by_level[a][codes]
        return total * self.design.y_scale

    @cached_property
    def response(self) -> Array:
        """The response of the rows used, shape (n,)."""
        y = self.design.y_centre + self.design.y_scale * self.rows.y
        return y if self.rows.offset is None else y + self.rows.offset

    @property
    def pearson_residuals(self) -> Array:
        """Conditional residuals times the square root of the prior weights, shape (n,)."""
        raw = self.response - self.fitted
        if self.rows.weights is None:
            return raw
        return raw * np.sqrt(self.rows.weights * self.rows.weight_scale)

    @cached_property
    def residual_quantiles(self) -> Array:
        """Least, quartiles and greatest of the residuals over sigma, shape (5,)."""
        scaled = self.pearson_residuals / self.sigma
        return np.quantile(scaled, (0.0, 0.25, 0.5, 0.75, 1.0))

    @cached_property
    def convergence(self) -> Convergence:
        """How the fit ended: numbers, verdict and sentence."""
        optimum = self.optimum
        values = np.linalg.eigvalsh(optimum.hessian)
        return Convergence(
            gradient_norm=optimum.gradient_norm,
            smallest_eigenvalue=float(values[0]) if len(values) else math.nan,
            evaluations=optimum.evaluations,
            predicted_decrease=optimum.predicted_decrease,
            verdict=optimum.verdict,
            message=self._verdict_sentence(),
        )

    def _verdict_sentence(self) -> str:
        optimum = self.optimum
        if not self.has_random:
            return "least squares: solved exactly"
        if optimum.verdict == "optimum":
            return "optimum: zero gradient, positive curvature in every direction"
        if optimum.verdict == "boundary optimum":
            return "boundary optimum: " + "; ".join(self.dead_directions)
        if optimum.verdict == "not identified":
            return (
                "not identified: the criterion is flat in some direction of the variance "
                "parameters, several values fit equally well; simplify the random part"
            )
        return (
            f"not converged: one more step would still lower the criterion by about "
            f"{optimum.predicted_decrease:.1e} after {optimum.evaluations} evaluations"
        )

    @cached_property
    def dead_directions(self) -> list[str]:
        """What has no variance at a boundary optimum, one phrase per term."""
        phrases = []
        for group, term in self.design.theta_order:
            part = self.working.templates[group].parts[term]
            mapping = self.working.terms[group][term]
            names = self.design.groups[group].terms[term].names
            phrases.append(
                _dead_phrase(
                    # rows in units of the response: free of the unit of the columns
                    self.factors[group][part, part] * np.linalg.norm(mapping.root, axis=0)[:, None],
                    [names[j] for j in mapping.kept],
                    self.design.groups[group].name,
                    self.optimum.at.factors[group][part, part],
                )
            )
        return [phrase for phrase in phrases if phrase]


def _dead_phrase(lower: Array, names: list[str], group: str, working: Array) -> str:
    """Name the direction in which a term's covariance is zero; empty if there is none."""
    rank = int((np.linalg.svd(working, compute_uv=False) > 1e-5).sum())
    if rank == len(names):
        return ""
    label = f"({' + '.join('1' if n == 'Intercept' else n for n in names)} | {group})"
    if rank == 0:
        what = "the variance is" if len(names) == 1 else "all variances are"
        return f"{what} zero in {label}"
    sd = np.sqrt(np.square(lower).sum(axis=1))
    zero = [n for n, s in zip(names, sd, strict=True) if s <= 1e-5 * sd.max()]
    if zero and len(zero) == len(names) - rank:
        return f"the variance of {', '.join(zero)} is zero in {label}"
    if len(names) == 2:
        sign = "+" if float(lower[0] @ lower[1]) > 0 else "-"
        return f"the correlation of {names[0]} and {names[1]} is {sign}1 in {label}"
    left, _, _ = np.linalg.svd(lower / np.where(sd > 0, sd, 1.0)[:, None])
    weights = left[:, -1]
    combination = " ".join(
        f"{'+' if w > 0 else '-'} {abs(w):.2f} {n}"
        for w, n in zip(weights, names, strict=True)
        if abs(w) > 0.05
    )
    return (
        f"the covariance has rank {rank} of {len(names)} in {label}: no variance along "
        f"{combination} (in standard deviations)"
    )


def criterion_shift(design: Design, moments: Moments, working: Working, *, reml: bool) -> float:
    """What the criterion in the user's units has over the one in working units."""
    n, p = moments.n, len(working.fixed.kept)
    log_scale = 2.0 * math.log(design.y_scale)
    if not reml:
        return n * log_scale - moments.log_weights
    diagonal = np.abs(np.diag(working.fixed.root))
    log_root = 2.0 * float(np.log(diagonal).sum())
    return (n - p) * log_scale + log_root - moments.log_weights


def has_rows(fit: Fit) -> bool:
    """Whether the fit holds its rows (a loaded one may not)."""
    return not isinstance(fit.rows, RowsNotKept)


def has_points(fit: Fit) -> bool:
    """Whether the fit holds its rows, or the sums that it was fitted to."""
    return has_rows(fit) or fit.source.sums is not None


def same_weights(a: Fit, b: Fit) -> bool:
    """Whether two fits on the same rows have the same prior weights."""
    if a.points.weights is None or b.points.weights is None:
        return a.points.weights is b.points.weights
    return np.array_equal(a.points.weights, b.points.weights)
