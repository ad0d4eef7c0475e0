"""The deviance with one parameter held at a value, as a smooth function of all the others.

    D(Lambda, log sigma) = log|Omega| + n log(2 pi sigma**2) + r2(Lambda) / sigma**2

Its free coordinates are chosen so that holding a parameter is holding a coordinate, and so that a
value of zero is as good as any other:

- sigma: its logarithm is a coordinate;
- a standard deviation: an orthogonal turn of the term's working columns makes it the first entry of
  the term's lower triangular factor;
- a correlation rho = sin(c): such a turn makes the two columns the first two; in the user's columns
  the second row of the factor is r (sin c, cos c), with r free;
- a fixed effect a'beta = c: least squares under a linear constraint adds (c - a'b)**2 / a'Ca to r2
  (b, C: the unconstrained solution and its covariance), and no cross-product changes.

Derivatives of D in all entries of Lambda are exact; those in the coordinates follow by the chain
rule. Nothing depends on how many rows there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from mixedmodels.arrays import Array
from mixedmodels.inference.parameters import Parameter
from mixedmodels.likelihood.blocks import Blocks
from mixedmodels.likelihood.covariance import (
    Template,
    factors_from_theta,
    theta_from_factors,
    triangular,
)
from mixedmodels.likelihood.objective import (
    EPSILON,
    Evaluation,
    Objective,
    Profile,
    second_derivatives,
)
from mixedmodels.likelihood.working import inverse_root
from mixedmodels.model.record import Fit

# how far from zero, in standard deviations, a column may lie for its correlations to have digits
BLURRED = 1e6


@dataclass(frozen=True, slots=True)
class Point:
    """All entries of the Lambdas and log(sigma) at some free coordinates, and how they move.

    Attributes
    ----------
    place : ndarray of shape (N + 1,)
    jacobian, bends : ndarray of shape (N + 1, k)
        First and second derivatives of `place` in each coordinate; mixed ones are zero.
    motion : ndarray of shape (N + 1,)
        Derivative of `place` in the held coordinate.
    """

    place: Array
    jacobian: Array
    bends: Array
    motion: Array

    @property
    def log_sigma(self) -> float:
        """Logarithm of sigma, working units."""
        return float(self.place[-1])


@dataclass(frozen=True, slots=True)
class Held(Objective):
    """The deviance with one parameter held; `theta` of its evaluations are the free coordinates.

    Attributes
    ----------
    c : float
        What the parameter's own coordinate is held at.
    basis : ndarray of shape (N, b)
        Entries of all Lambdas by the first b coordinates, which are linear. log(sigma) is the last
        coordinate, unless it is what is held.
    scale, shift : float
        The parameter in the user's units is a function of ``scale * c + shift``.
    """

    c: float
    basis: Array
    scale: float
    shift: float

    @property
    def value(self) -> float:
        """The parameter in the user's units."""
        return self.scale * self.c + self.shift

    @property
    def stretch(self) -> float:
        """Derivative of `value` in c."""
        return self.scale

    def point(self, x: Array) -> Point:
        """Where the free coordinates `x` lead."""
        linear = block_diag(self.basis, np.ones((1, 1)))
        return Point(linear @ x, linear, np.zeros_like(linear), np.zeros(len(linear)))

    def restrict(self, profile: Profile) -> Profile:
        """The fixed part under the constraint, where that concerns it."""
        return profile

    def evaluate(self, theta: Array) -> Evaluation:
        """Deviance and exact gradient."""
        point = self.point(theta)
        factors = factors_from_theta(self.templates, point.place[:-1])
        reduced = self.blocks.reduce(factors)
        profile = self.restrict(self.solve(reduced))
        rho = math.exp(-2.0 * point.log_sigma)
        weight = rho * np.multiply.outer(profile.coefs, profile.coefs)
        value = reduced.logdet + rho * profile.r2
        value += self.n * (math.log(2.0 * math.pi) + 2.0 * point.log_sigma)
        rounding = EPSILON * (abs(value) + rho * reduced.total)
        derivatives = self.blocks.derivatives(reduced, factors, weight)
        by_factor = theta_from_factors(self.templates, [d.by_factor for d in derivatives])
        slopes = np.append(by_factor, 2.0 * (self.n - rho * profile.r2))
        return Evaluation(
            theta,
            value,
            slopes @ point.jacobian,
            tuple(d.by_covariance for d in derivatives),
            replace(profile, value=value, rounding=rounding),
            tuple(factors),
            reduced,
            weight,
        )

    def hessian(self, at: Evaluation) -> Array:
        """Second derivatives in the free coordinates: exact for one grouping factor."""
        point = self.point(at.theta)
        rho = math.exp(-2.0 * point.log_sigma)
        size = len(self.basis)
        full = np.empty((size + 1, size + 1))
        full[:-1, :-1] = self._in_factors(at, rho)
        full[:-1, -1] = full[-1, :-1] = -2.0 * rho * self._residual_slopes(at)
        full[-1, -1] = 4.0 * rho * at.profile.r2
        out = point.jacobian.T @ full @ point.jacobian
        out.flat[:: len(out) + 1] += self._slopes(at) @ point.bends
        return np.asarray(out)

    def slope(self, at: Evaluation) -> float:
        """Derivative in c of the deviance at its optimum over the free coordinates."""
        return float(self._slopes(at) @ self.point(at.theta).motion)

    def _slopes(self, at: Evaluation) -> Array:
        """Gradient in all entries of the Lambdas and log(sigma), (N + 1,)."""
        by_factor = theta_from_factors(
            self.templates, [2.0 * s @ f for s, f in zip(at.by_covariance, at.factors, strict=True)]
        )
        rho = math.exp(-2.0 * self.point(at.theta).log_sigma)
        return np.append(by_factor, 2.0 * (self.n - rho * at.profile.r2))

    def _in_factors(self, at: Evaluation, rho: float) -> Array:
        """Second derivatives in the entries of the Lambdas, sigma held."""
        if not self.templates:
            return np.empty((0, 0))
        return second_derivatives(self.blocks, self.templates, at, rho, math.inf, reml=False)

    def _residual_slopes(self, at: Evaluation) -> Array:
        """Derivatives of r2 in the entries of the Lambdas."""
        coefs, blocks = at.profile.coefs, self.blocks
        spherical = [
            np.einsum("qwl,w->ql", u, coefs) for u in blocks.spherical(at.reduced, at.factors)
        ]
        effects = [(f @ u)[:, None] for f, u in zip(at.factors, spherical, strict=True)]
        scores = [
            np.einsum("qwl,w->ql", z, coefs) - back[:, 0]
            for z, back in zip(blocks.fixed_products(), blocks.cross_times(effects), strict=True)
        ]
        return theta_from_factors(
            self.templates, [-2.0 * s @ u.T for s, u in zip(scores, spherical, strict=True)]
        )


@dataclass(frozen=True, slots=True)
class HeldCoefficient(Held):
    """``row @ beta = c`` in working units."""

    row: Array

    def restrict(self, profile: Profile) -> Profile:
        """Least squares under the constraint."""
        across = profile.vcov @ self.row
        variance = float(self.row @ across)
        miss = self.c + float(self.row @ profile.coefs[:-1])
        coefs = profile.coefs.copy()
        coefs[:-1] -= across * (miss / variance)
        return replace(
            profile,
            coefs=coefs,
            r2=profile.r2 + miss * miss / variance,
            vcov=profile.vcov - np.multiply.outer(across, across) / variance,
        )

    def slope(self, at: Evaluation) -> float:
        """From the multiplier of the constraint."""
        score = (at.reduced.cross @ at.profile.coefs)[:-1]
        multiplier = -float(self.row @ score) / float(self.row @ self.row)
        return 2.0 * multiplier * math.exp(-2.0 * self.point(at.theta).log_sigma)


@dataclass(frozen=True, slots=True)
class HeldResidual(Held):
    """``log(sigma) = c``."""

    @property
    def value(self) -> float:
        """Sigma."""
        return self.scale * math.exp(self.c)

    @property
    def stretch(self) -> float:
        """Derivative of `value` in c."""
        return self.value

    def point(self, x: Array) -> Point:
        """log(sigma) is not among the free coordinates."""
        linear = np.concatenate([self.basis, np.zeros((1, len(x)))])
        motion = np.append(np.zeros(len(self.basis)), 1.0)
        return Point(linear @ x + self.c * motion, linear, np.zeros_like(linear), motion)


@dataclass(frozen=True, slots=True)
class HeldDeviation(Held):
    """``sd = c``: one entry of a factor is ``c / sigma``, along `first` (N,)."""

    first: Array

    def point(self, x: Array) -> Point:
        """The entry depends on sigma."""
        linear = block_diag(self.basis, np.ones((1, 1)))
        motion = np.append(self.first * math.exp(-x[-1]), 0.0)
        jacobian, bends = linear.copy(), np.zeros_like(linear)
        jacobian[:, -1] -= self.c * motion
        bends[:, -1] = self.c * motion
        return Point(linear @ x + self.c * motion, jacobian, bends, motion)


@dataclass(frozen=True, slots=True)
class HeldCorrelation(Held):
    """``rho = sin(c)``: entries ``m one + r (sin(c) two + cos(c) three)``, log m and log r free."""

    one: Array
    two: Array
    three: Array

    @property
    def value(self) -> float:
        """The correlation."""
        return math.sin(self.c)

    @property
    def stretch(self) -> float:
        """Derivative of `value` in c."""
        return math.cos(self.c)

    def point(self, x: Array) -> Point:
        """The second row turns."""
        m, r = np.exp(x[-3:-1])
        sine, cosine = math.sin(self.c), math.cos(self.c)
        pair = np.stack([m * self.one, r * (sine * self.two + cosine * self.three)], axis=1)
        left = np.concatenate([self.basis, pair], axis=1)
        bends = np.zeros((len(left) + 1, len(x)))
        bends[:-1, -3:-1] = pair
        entries = self.basis @ x[:-3] + pair.sum(axis=1)
        return Point(
            np.append(entries, x[-1]),
            block_diag(left, np.ones((1, 1))),
            bends,
            np.append(r * (cosine * self.two - sine * self.three), 0.0),
        )


# --- paths ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Path:
    """One parameter's way through its values.

    Attributes
    ----------
    held : Held
        At the optimum.
    start : ndarray of shape (k,)
        The free coordinates there.
    low, high : float
        Limits of the parameter's coordinate.
    step : float
        What is neither small nor large in it.
    blurred : bool
        Whether rounding hides the parameter: a correlation of columns far from zero is -1 or 1 to
        all digits.
    """

    held: Held
    start: Array
    low: float = -math.inf
    high: float = math.inf
    step: float = 0.1
    blurred: bool = False

    @property
    def defined(self) -> bool:
        """Whether the parameter has a value at the optimum: a correlation needs two variances."""
        return bool(np.isfinite(self.start).all())


def coefficient_path(fit: Fit, j: int) -> Path:
    """Path of one fixed effect of a maximum-likelihood fit."""
    fixed, coefs = fit.working.fixed, fit.optimum.at.profile.coefs
    row = inverse_root(fixed)[j]
    shift = 0.0 if fixed.constant is None else fit.design.y_centre * float(fixed.constant[j])
    basis, entries, _ = _entries(fit)
    estimate = -float(row @ coefs[:-1])
    held = HeldCoefficient(*_model(fit), estimate, basis, fit.design.y_scale, shift, row)
    return Path(held, np.append(entries, _log_sigma(fit)))


def variance_path(fit: Fit, parameter: Parameter) -> Path:
    """Path of a standard deviation, a correlation or sigma, likewise."""
    if parameter.kind == "sd":
        return _deviation_path(fit, parameter)
    if parameter.kind == "cor":
        return _correlation_path(fit, parameter)
    basis, entries, _ = _entries(fit)
    unit = fit.design.y_scale * math.sqrt(fit.rows.weight_scale)
    held = HeldResidual(*_model(fit), _log_sigma(fit), basis, unit, 0.0)
    return Path(held, entries)


def _deviation_path(fit: Fit, parameter: Parameter) -> Path:
    turn, upper = _turned(fit, parameter, [parameter.row])
    basis, entries, at = _entries(fit, parameter, turn)
    # sd / sigma is the length of this column times the first entry
    unit = 1.0 / (float(upper[0, 0]) * fit.design.y_scale)
    log_sigma = _log_sigma(fit)
    estimate = float(entries[at]) * math.exp(log_sigma) / unit
    held = HeldDeviation(
        *_model(fit), estimate, np.delete(basis, at, axis=1), 1.0, 0.0, basis[:, at] * unit
    )
    start = np.append(np.delete(entries, at), log_sigma)
    return Path(held, start, low=0.0, step=0.1 * math.exp(log_sigma) / unit)


def _correlation_path(fit: Fit, parameter: Parameter) -> Path:
    turn, upper = _turned(fit, parameter, [parameter.col, parameter.row])
    basis, entries, at = _entries(fit, parameter, turn)
    # first column of the term's triangle, its second row, and the second diagonal entry
    used = [at, at + 1, at + len(turn)]
    lean = float(upper[0, 1] / upper[1, 1])
    one, two, three = basis[:, used].T
    m = float(entries[at])
    row = entries[used[1]] + lean * m, entries[used[2]]
    with np.errstate(divide="ignore"):
        logs = np.log([m, math.hypot(*row)])
    held = HeldCorrelation(
        *_model(fit),
        math.atan2(*row),
        np.delete(basis, used, axis=1),
        1.0,
        0.0,
        one - lean * two,
        two,
        three,
    )
    start = np.concatenate([np.delete(entries, used), logs, [_log_sigma(fit)]])
    return Path(held, start, -0.5 * math.pi, 0.5 * math.pi, blurred=abs(lean) > BLURRED)


def _model(fit: Fit) -> tuple[Blocks, tuple[Template, ...], int, int, bool]:
    """What every `Held` takes over from the fit: ML, with all entries of each Lambda free."""
    objective = fit.objective
    templates = tuple(_all_entries(template) for template in objective.templates)
    return objective.blocks, templates, objective.n, objective.p, False


def _all_entries(template: Template) -> Template:
    """Every entry of every term's square, row by row."""
    rows = [np.repeat(np.arange(p.start, p.stop), p.stop - p.start) for p in template.parts]
    cols = [np.tile(np.arange(p.start, p.stop), p.stop - p.start) for p in template.parts]
    none = np.empty(0, np.intp)
    return replace(template, rows=np.concatenate([none, *rows]), cols=np.concatenate([none, *cols]))


def _log_sigma(fit: Fit) -> float:
    return 0.5 * math.log(fit.optimum.at.profile.r2 / fit.n_obs)


def _part(fit: Fit, parameter: Parameter) -> slice:
    """Columns of the parameter's term within its grouping factor."""
    parts = fit.working.templates[parameter.group].parts
    return next(part for part in parts if part.start <= parameter.row < part.stop)


def _turned(fit: Fit, parameter: Parameter, rows: list[int]) -> tuple[Array, Array]:
    """Orthogonal turn of a term's working columns that brings the user's `rows` to the front.

    Returns
    -------
    turn : ndarray of shape (q, q)
    upper : ndarray of shape (len(rows), len(rows))
        The user's columns in the turned ones, transposed; its diagonal is positive.
    """
    part = _part(fit, parameter)
    terms = fit.working.terms[parameter.group]
    root = terms[fit.working.templates[parameter.group].parts.index(part)].root
    unit = np.eye(len(root))[:, [row - part.start for row in rows]]
    turn, upper = np.linalg.qr(np.linalg.solve(root.T, unit), mode="complete")
    count = len(rows)
    signs = np.where(np.diag(upper) < 0.0, -1.0, 1.0)
    turn[:, :count] *= signs
    return turn, upper[:count] * signs[:, None]


def _entries(
    fit: Fit, parameter: Parameter | None = None, turn: Array | None = None
) -> tuple[Array, Array, int]:
    """Coordinates of all Lambdas: the lower triangle of each term, the parameter's term turned.

    Returns
    -------
    basis : ndarray of shape (N, m)
        All entries of the Lambdas by coordinate.
    entries : ndarray of shape (m,)
        The coordinates at the optimum.
    at : int
        Where the coordinates of the parameter's term begin.
    """
    blocks: list[Any] = []
    entries = [np.empty(0)]
    own = None if parameter is None else (parameter.group, _part(fit, parameter))
    at = 0
    for group, template in enumerate(fit.working.templates):
        for part in template.parts:
            lower = fit.optimum.at.factors[group][part, part]
            unit = np.eye(len(lower))
            turned = unit
            if turn is not None and own == (group, part):
                at = sum(map(len, entries))
                turned = turn
                lower = triangular(turn.T @ lower)
            cols, rows = np.triu_indices(len(lower))
            columns = np.einsum("ai,bi->iab", turned[:, rows], unit[:, cols])
            blocks.append(columns.reshape(len(rows), -1).T)
            entries.append(lower[rows, cols])
    basis = np.asarray(block_diag(*blocks)) if blocks else np.empty((0, 0))
    return basis, np.concatenate(entries), at
