"""theta -> profiled ML or REML criterion with its exact gradient (and Hessian).

    Omega = Lambda' Z'WZ Lambda + I,   M = [X y]' V^-1 [X y],   r2 = penalised residual SS
    ML    d = log|Omega| + n (1 + log(2 pi r2 / n))
    REML  d = log|Omega| + log|M_XX| + (n - p) (1 + log(2 pi r2 / (n - p)))

(Bates, Maechler, Bolker and Walker 2015, J. Stat. Softw. 67(1), eqs 34-42.) Value and gradient come
from one elimination.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import lapack

from mixedmodels.arrays import Array
from mixedmodels.likelihood.blocks import Blocks, projected
from mixedmodels.likelihood.covariance import Template, factors_from_theta, theta_from_factors
from mixedmodels.likelihood.curvature import exact_hessian
from mixedmodels.likelihood.information import average_information
from mixedmodels.likelihood.rooted import RootedBlocks

EPSILON = float(np.finfo(float).eps)
# least residual sum of squares, as a share of the total one
LEAST = 1e-28


@dataclass(frozen=True, slots=True)
class Profile:
    """The fixed part solved at one theta, in working units.

    Attributes
    ----------
    value : float
        The criterion.
    coefs : ndarray of shape (p + 1,)
        ``(-beta, 1)``.
    r2 : float
        Penalised residual sum of squares.
    vcov : ndarray of shape (p, p)
        ``(X'V^-1X)^-1``, to be multiplied by sigma**2.
    rounding : float
        Rounding error of the criterion: r2 is a small difference of large sums of squares.
    """

    value: float
    coefs: Array
    r2: float
    vcov: Array
    rounding: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The criterion and its derivatives at one theta."""

    theta: Array
    value: float
    gradient: Array
    by_covariance: tuple[Array, ...]
    profile: Profile
    factors: tuple[Array, ...]
    reduced: Any
    weight: Array


@dataclass(frozen=True, slots=True)
class Objective:
    """The criterion of one model on one set of cross-products.

    Attributes
    ----------
    blocks : Blocks
    templates : tuple of Template
    n : int
        Number of observations.
    p : int
        Number of fixed-effect columns.
    reml : bool
    """

    blocks: Blocks
    templates: tuple[Template, ...]
    n: int
    p: int
    reml: bool

    @property
    def nu(self) -> int:
        """Degrees of freedom of the residual variance."""
        return self.n - self.p if self.reml else self.n

    def evaluate(self, theta: Array) -> Evaluation:
        """Criterion and exact gradient."""
        factors = factors_from_theta(self.templates, theta)
        return self.eliminated(theta, factors, self.blocks.reduce(factors))

    def eliminated(self, theta: Array, factors: Sequence[Array], reduced: Any) -> Evaluation:
        """The same once the random effects are eliminated."""
        profile = self.solve(reduced)
        rho = self.nu / profile.r2
        weight = rho * np.multiply.outer(profile.coefs, profile.coefs)
        if self.reml:
            weight[: self.p, : self.p] += profile.vcov
        derivatives = self.blocks.derivatives(reduced, factors, weight)
        gradient = theta_from_factors(self.templates, [d.by_factor for d in derivatives])
        return Evaluation(
            theta,
            profile.value,
            gradient,
            tuple(d.by_covariance for d in derivatives),
            profile,
            tuple(factors),
            reduced,
            weight,
        )

    def solve(self, reduced: Any) -> Profile:
        """Fixed effects and criterion from one elimination."""
        if getattr(reduced, "root", None) is not None:
            return self._solve_root(reduced)
        p, cross = self.p, reduced.cross
        coefs = np.ones(p + 1)
        logdet_x = 0.0
        r2 = float(cross[p, p])
        vcov = np.empty((p, p))
        if p:
            cholesky, info = lapack.dpotrf(cross[:p, :p], lower=1)
            if info != 0:
                raise np.linalg.LinAlgError("X'V^-1X is not positive definite")
            beta, _ = lapack.dpotrs(cholesky, cross[:p, p], lower=1)
            inverse, _ = lapack.dpotri(cholesky, lower=1)
            # LAPACK leaves the other triangle as dpotrf cleared it
            vcov = inverse + inverse.T
            vcov.flat[:: p + 1] *= 0.5
            coefs[:p] = -beta
            r2 -= float(cross[:p, p] @ beta)
            logdet_x = 2.0 * float(np.log(np.diag(cholesky)).sum())
        return self._profile(reduced, coefs, r2, vcov, logdet_x)

    def _solve_root(self, reduced: Any) -> Profile:
        """The same from a triangular root of `cross`: nothing is squared."""
        p, root = self.p, reduced.root
        diagonal = np.abs(np.diag(root))
        if not diagonal[:p].all():
            raise np.linalg.LinAlgError("X'V^-1X is not positive definite")
        inverse = lapack.dtrtri(root[:p, :p])[0] if p else np.empty((0, 0))
        inverse = np.triu(inverse)
        coefs = np.append(-inverse @ root[:p, p], 1.0)
        logdet_x = 2.0 * float(np.log(diagonal[:p]).sum())
        return self._profile(reduced, coefs, float(diagonal[p]) ** 2, inverse @ inverse.T, logdet_x)

    def _profile(
        self, reduced: Any, coefs: Array, r2: float, vcov: Array, logdet_x: float
    ) -> Profile:
        p, cross, nu = self.p, reduced.cross, self.nu
        # a response that the model fits exactly: keep the logarithm finite, the fit says so
        r2 = max(r2, LEAST * max(float(self.blocks.cross[p, p]), 1e-280))
        value = reduced.logdet + nu * (1.0 + math.log(2.0 * math.pi * r2 / nu))
        if self.reml:
            value += logdet_x
        # the last: condition of X'V^-1X, columns scaled, as in covariates that vary between groups
        # only and are seen beside others (van der Sluis 1969, Numer. Math. 14, 14-23)
        condition = float(np.diag(cross)[:p] @ np.diag(vcov))
        lost = reduced.total / r2 + condition
        if getattr(reduced, "root", None) is not None:  # nothing was squared
            lost = math.sqrt(float(self.blocks.cross[p, p]) / r2) + math.sqrt(condition)
        rounding = EPSILON * (abs(value) + nu * lost)
        return Profile(value, coefs, r2, vcov, rounding)

    def hessian(self, at: Evaluation) -> Array:
        """Hessian in theta: exact for one grouping factor, else average information."""
        rho = self.nu / at.profile.r2
        return second_derivatives(self.blocks, self.templates, at, rho, self.nu, reml=self.reml)

    def difference_hessian(self, at: Evaluation) -> Array:
        """Hessian in theta by differences of the exact gradient."""
        n_theta = len(at.theta)
        hessian = np.empty((n_theta, n_theta))
        for j in range(n_theta):
            step = 1e-5 * max(1.0, abs(float(at.theta[j])))
            shifted = at.theta.copy()
            shifted[j] += step
            hessian[j] = (self.evaluate(shifted).gradient - at.gradient) / step
        return 0.5 * (hessian + hessian.T)

    def central_hessian(self, at: Evaluation) -> Array:
        """Hessian in theta by central differences of the exact gradient: errors of 1e-8."""
        n_theta = len(at.theta)
        hessian = np.empty((n_theta, n_theta))
        for j in range(n_theta):
            step = np.zeros(n_theta)
            step[j] = 1e-4 * max(1.0, abs(float(at.theta[j])))
            above, below = self.evaluate(at.theta + step), self.evaluate(at.theta - step)
            hessian[j] = (above.gradient - below.gradient) / (2.0 * step[j])
        return 0.5 * (hessian + hessian.T)

    def cross_slopes(self, at: Evaluation) -> Array:
        """Derivatives of ``[X y]' V^-1 [X y]`` in theta, shape (n_theta, w, w).

        Along an entry of Lambda it is ``-(t u' + u t')``, with t and u the rows of
        ``Z'V^-1[X y]`` and ``Omega^-1 Lambda'Z'[X y]``, summed over levels.
        """
        spherical = self.blocks.spherical(at.reduced, at.factors)
        scores = projected(self.blocks, at.factors, spherical, self.blocks.fixed_products())
        slopes = [np.empty((0, *at.reduced.cross.shape))]
        for template, t, u in zip(self.templates, scores, spherical, strict=True):
            half = np.stack(
                [t[i] @ u[j].T for i, j in zip(template.rows, template.cols, strict=True)]
            )
            slopes.append(-(half + half.transpose(0, 2, 1)))
        return np.concatenate(slopes)


def second_derivatives(
    blocks: Blocks,
    templates: Sequence[Template],
    at: Evaluation,
    rho: float,
    nu: float,
    *,
    reml: bool,
) -> Array:
    """Hessian in theta: exact for one grouping factor or few columns, else average information.

    Parameters
    ----------
    blocks : Blocks
    templates : sequence of Template
    at : Evaluation
    rho : float
        ``1 / sigma**2``.
    nu : float
        Degrees of freedom of sigma where that is profiled out, else infinite.
    reml : bool
    """
    coefs, vcov = at.profile.coefs, at.profile.vcov
    if isinstance(blocks, RootedBlocks):
        fixed = (coefs, vcov, rho, nu)
        return blocks.hessian(templates, at.reduced, at.by_covariance, fixed, reml=reml)
    if blocks.exact_hessian:
        return exact_hessian(
            templates[0],
            at.factors[0],
            at.reduced,
            at.weight,
            coefs,
            rho,
            nu,
            None if reml else vcov,
        )
    return average_information(
        blocks, templates, at.factors, at.reduced, coefs, vcov, at.by_covariance, rho, nu
    )
