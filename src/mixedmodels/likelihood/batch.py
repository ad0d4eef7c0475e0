"""Many responses on one design, or on a design each: the criterion of all of them at once.

Model      as in `nested`; each response has its own theta, beta and sigma.
Storage    of one grouping factor, arrays of shape (responses, rows, columns, n_levels); what the
           responses share, Z'Z, Z'X and X'X, is held once, or once per response where each has a
           design of its own. Levels that a design lacks are zeros, which change nothing.
           `few_columns` holds several factors.
Cost       O(responses * n_levels * q * (q + p)**2) per evaluation, the sums over levels in BLAS.

With D = Lambda Lambda' and A = (I + Z'Z D)^-1, every product with V^-1 is one with A:
Z'V^-1Z = A Z'Z and Z'V^-1[X y] = A Z'[X y] (Woodbury). The derivatives are those of `curvature`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.likelihood.covariance import Template
from mixedmodels.likelihood.objective import EPSILON, LEAST, Evaluation, Profile
from mixedmodels.likelihood.start import has_few_levels


@dataclass(frozen=True, slots=True)
class Responses:
    """Cross-products of many responses with one design, working units.

    Attributes
    ----------
    zy : ndarray of shape (n_responses, q, n_levels)
    xy : ndarray of shape (n_responses, p)
    yy : ndarray of shape (n_responses,)
    """

    zy: Array
    xy: Array
    yy: Array

    def __len__(self) -> int:
        return len(self.yy)

    def take(self, which: NDArray[np.intp]) -> Responses:
        """Some of the responses."""
        return Responses(self.zy[which], self.xy[which], self.yy[which])


@dataclass(frozen=True, slots=True)
class BatchEvaluation:
    """Criterion, gradient and Hessian of every response, each at its own theta.

    Attributes
    ----------
    theta : ndarray of shape (n_responses, n_theta)
    value : ndarray of shape (n_responses,)
    gradient : ndarray of shape (n_responses, n_theta)
    hessian : ndarray of shape (n_responses, n_theta, n_theta)
    by_covariance : ndarray of shape (n_responses, q, q)
        Derivative with respect to ``Lambda @ Lambda.T``.
    beta : ndarray of shape (n_responses, p)
        Working fixed effects.
    r2 : ndarray of shape (n_responses,)
        Penalised residual sum of squares.
    rounding : ndarray of shape (n_responses,)
        Rounding error of the criterion.
    vcov : ndarray of shape (n_responses, p, p)
        ``(X'V^-1X)^-1``.
    fixed : ndarray of shape (n_responses, n_theta, w, w)
        ``[X y]' V^-1 V_i V^-1 [X y]``: how ``[X y]' V^-1 [X y]`` falls along each theta.
    """

    theta: Array
    value: Array
    gradient: Array
    hessian: Array
    by_covariance: Array
    beta: Array
    r2: Array
    rounding: Array
    vcov: Array
    fixed: Array

    def take(self, which: NDArray[np.intp] | NDArray[np.bool_]) -> BatchEvaluation:
        """Some of the responses."""
        return BatchEvaluation(*(getattr(self, name)[which] for name in self.__slots__))

    def put(self, where: NDArray[np.intp], new: BatchEvaluation) -> None:
        """Replace some of the responses' results, in place."""
        for name in self.__slots__:
            getattr(self, name)[where] = getattr(new, name)


class BatchDesign(Protocol):
    """What responses share: the design, and how their criteria are evaluated.

    Attributes
    ----------
    template : Template
        Of all random terms side by side.
    """

    @property
    def template(self) -> Template:
        """Entries of Lambda."""
        ...

    @property
    def nu(self) -> Any:
        """Degrees of freedom of the residual variance; per response, if designs differ."""
        ...

    @property
    def few_levels(self) -> NDArray[np.bool_]:
        """Whether criteria may have several optima, shape (1,); per response, if designs differ."""
        ...

    def take(self, which: NDArray[np.intp]) -> BatchDesign:
        """What some of the responses need."""
        ...

    def evaluate(self, theta: Array, responses: Responses) -> BatchEvaluation:
        """Criterion, gradient and Hessian of every response."""
        ...


class OneResponse:
    """One response of a batch, in the form in which `optimize.minimise` takes a criterion."""

    exact_hessian = True
    cheap = True

    def __init__(self, design: BatchDesign, response: Responses) -> None:
        self.design, self.response = design, response
        self.templates = (design.template,)
        self.blocks = self

    def evaluate(self, theta: Array) -> Evaluation:
        """Criterion and its derivatives; the Hessian is kept in `reduced`."""
        found = self.design.evaluate(theta[None], self.response)
        if not np.isfinite(found.value[0]):
            raise np.linalg.LinAlgError("X'V^-1X is not positive definite")
        coefs = np.append(-found.beta[0], 1.0)
        profile = Profile(
            float(found.value[0]),
            coefs,
            float(found.r2[0]),
            np.empty((0, 0)),
            float(found.rounding[0]),
        )
        return Evaluation(
            theta,
            profile.value,
            found.gradient[0],
            (found.by_covariance[0],),
            profile,
            (lower_factors(self.design.template, theta[None])[0],),
            found.hessian[0],
            np.empty((0, 0)),
        )

    def hessian(self, at: Evaluation) -> Array:
        """Hessian in theta."""
        return np.asarray(at.reduced)


def lower_factors(template: Template, theta: Array) -> Array:
    """Lambda of many thetas, shape (n, q, q)."""
    factor = np.zeros((len(theta), template.q, template.q))
    factor[:, template.rows, template.cols] = theta
    return factor


@dataclass(frozen=True, slots=True)
class OneFactor:
    """Designs of one grouping factor: one that all responses share (k = 1), or one for each.

    Attributes
    ----------
    template : Template
    zz : ndarray of shape (k, q, q, n_levels)
        ``Z' W Z`` of each level; zeros where a design has fewer levels.
    zx : ndarray of shape (k, q, p, n_levels)
        ``Z' W X``.
    xx : ndarray of shape (k, p, p)
        ``X' W X``.
    n : ndarray of int, shape (k,)
        Number of rows.
    reml : bool
    """

    template: Template
    zz: Array
    zx: Array
    xx: Array
    n: NDArray[np.int64]
    reml: bool

    @property
    def nu(self) -> NDArray[np.int64]:
        """Degrees of freedom of the residual variance, shape (k,)."""
        return self.n - self.xx.shape[-1] if self.reml else self.n

    @property
    def few_levels(self) -> NDArray[np.bool_]:
        """Whether there are so few levels that criteria may have several optima, shape (k,)."""
        used = np.einsum("kaal->kal", self.zz).any(axis=1).sum(axis=1)
        q = self.template.q
        return np.array([has_few_levels(q, n_levels) for n_levels in used.tolist()], np.bool_)

    def take(self, which: NDArray[np.intp]) -> OneFactor:
        """Itself, if the responses share it, else the designs of some of them."""
        if len(self.xx) == 1:
            return self
        return OneFactor(
            self.template,
            self.zz[which],
            self.zx[which],
            self.xx[which],
            self.n[which],
            self.reml,
        )

    def by_reml(self) -> OneFactor:
        """The same for REML."""
        return replace(self, reml=True)

    def evaluate(self, theta: Array, responses: Responses) -> BatchEvaluation:
        """Criterion, gradient and Hessian of every response at its theta (n_responses, n_theta)."""
        factor = lower_factors(self.template, theta)
        own, rest, profile = self.eliminate(factor, responses)
        return self._derivatives(theta, factor, own, rest, profile)

    def eliminate(self, factor: Array, responses: Responses) -> tuple[Array, Array, BatchProfile]:
        """Take the random effects out.

        Parameters
        ----------
        factor : ndarray of shape (n_responses, q, q)
        responses : Responses

        Returns
        -------
        own : ndarray of shape (n_responses, q, q, n_levels)
            ``Z'V^-1Z`` of each level.
        rest : ndarray of shape (n_responses, q, w, n_levels)
            ``Z'V^-1[X y]``.
        profile : BatchProfile
        """
        count, q, p = len(factor), self.template.q, self.xx.shape[-1]
        if q > 2:
            own, rest, cross, logdet = self._by_root(factor, responses)
            return own, rest, solve_fixed(cross, logdet, self.nu, responses.yy, reml=self.reml)
        relative = factor @ factor.transpose(0, 2, 1)
        inverse, logdet = inverses(self.zz, relative)
        own = _products(inverse, self.zz)
        rest = np.empty((count, q, p + 1, self.zz.shape[-1]))
        for a in range(q):
            rest[:, a, :p] = sum(inverse[:, a, b, None] * self.zx[:, b] for b in range(q))
            rest[:, a, p] = sum(inverse[:, a, b] * responses.zy[:, b] for b in range(q))
        cross = self._cross(relative, rest, responses)
        return own, rest, solve_fixed(cross, logdet, self.nu, responses.yy, reml=self.reml)

    def _by_root(self, factor: Array, responses: Responses) -> tuple[Array, Array, Array, Array]:
        """The same for many columns, from ``L^-1 Lambda' Z'[Z X y]`` with ``L L' = Omega``.

        An explicit inverse would lose a second factor of the ratio of variances. Also
        ``[X y]' V^-1 [X y]`` and ``log|Omega|``.
        """
        count, q, p = len(factor), self.template.q, self.xx.shape[-1]
        n_levels, w = self.zz.shape[-1], p + 1
        right = np.empty((count, q, q + w, n_levels))
        right[:, :, :q], right[:, :, q : q + p] = self.zz, self.zx
        right[:, :, q + p] = responses.zy
        turned = factor.transpose(0, 2, 1)
        half = np.matmul(turned, right.reshape(count, q, -1)).reshape(right.shape)
        omega = _products(half[:, :, :q], factor[..., None])
        for a in range(q):
            omega[:, a, a] += 1.0
        logdet = _solve_lower(omega, half)
        for k in range(q):
            for a in range(q):
                right[:, a] -= half[:, k, a, None] * half[:, k]
        flat = half[:, :, q:].transpose(0, 2, 1, 3).reshape(count, w, q * n_levels)
        cross = -np.matmul(flat, flat.transpose(0, 2, 1))
        cross[:, :p, :p] += self.xx
        cross[:, :p, p] += responses.xy
        cross[:, p, :p] = cross[:, :p, p]
        cross[:, p, p] += responses.yy
        return right[:, :, :q], right[:, :, q:], cross, logdet

    def _cross(self, relative: Array, rest: Array, responses: Responses) -> Array:
        """``[X y]' V^-1 [X y]`` of every response."""
        count, q, w, n_levels = rest.shape
        p = w - 1
        flat = rest.reshape(count, q * w, n_levels).transpose(0, 2, 1)
        cross = np.empty((count, w, w))
        explained = np.matmul(self.zx.reshape(len(self.zx), q * p, n_levels), flat)
        explained = explained.reshape(count, q, p, q, w)
        cross[:, :p] = -np.einsum("nab,naxby->nxy", relative, explained)
        cross[:, :p, :p] += self.xx
        cross[:, :p, p] += responses.xy
        cross[:, p, :p] = cross[:, :p, p]
        with_y = np.matmul(responses.zy, rest[:, :, p].transpose(0, 2, 1))
        cross[:, p, p] = responses.yy - np.einsum("nab,nab->n", relative, with_y)
        return cross

    def _derivatives(
        self, theta: Array, factor: Array, own: Array, rest: Array, profile: BatchProfile
    ) -> BatchEvaluation:
        template = self.template
        q, p = rest.shape[1], rest.shape[2] - 1
        slopes = slopes_of(profile, self.nu, reml=self.reml)
        coefs, rho = slopes.coefs, slopes.rho
        scores = np.matmul(coefs[:, None, None, :], rest)[:, :, 0]
        explained = (rho[:, None, None] * scores)[:, :, None] * scores[:, None]
        if self.reml and p:
            root = np.linalg.cholesky(profile.vcov).transpose(0, 2, 1)
            half = np.matmul(root[:, None], rest[:, :, :p])
            for a in range(q):
                for b in range(a + 1):
                    part = np.einsum("nxl,nxl->nl", half[:, a], half[:, b])
                    explained[:, a, b] += part
                    if a != b:
                        explained[:, b, a] += part
        directions = directions_of(template, factor)
        score, traces, fixed = level_traces(directions, own, explained, rest)
        return assemble(template, theta, factor, traces, fixed, score, profile, slopes)


def level_traces(
    directions: Array, own: Array, explained: Array, rest: Array
) -> tuple[Array, Array, Array]:
    """Traces along directions ``V_i = Z D_i Z'`` from sums over levels; as in `curvature`.

    Parameters
    ----------
    directions : ndarray of shape (n, m, q, q)
        The ``D_i`` of each response, symmetric.
    own : ndarray of shape (n, q, q, n_levels)
        ``W = Z'V^-1Z``.
    explained : ndarray of shape (n, q, q, n_levels)
        ``E = T N T'``.
    rest : ndarray of shape (n, q, w, n_levels)
        ``T = Z'V^-1[X y]``.

    Returns
    -------
    score : ndarray of shape (n, q, q)
        Sum of ``W - E``.
    traces : ndarray of shape (n, m, m)
        Sum of ``tr(D_i W D_j (W - 2 E))``.
    fixed : ndarray of shape (n, m, w, w)
        Sum of ``T' D_i T``.
    """
    count, m, q, _ = directions.shape
    w, n_levels = rest.shape[2:]
    pairs = own.reshape(count, q * q, n_levels)
    score = (own - explained).sum(-1)
    others = (own - 2.0 * explained).reshape(count, q * q, n_levels)
    quartic = np.matmul(pairs, others.transpose(0, 2, 1)).reshape(count, q, q, q, q)
    flat_rest = rest.reshape(count, q * w, n_levels)
    sums = np.matmul(flat_rest, flat_rest.transpose(0, 2, 1)).reshape(count, q, w, q, w)

    along = directions.reshape(count, m, q * q)
    inner = quartic.transpose(0, 4, 1, 2, 3).reshape(count, q * q, q * q)
    traces = along @ inner @ along.transpose(0, 2, 1)
    fixed = along @ sums.transpose(0, 1, 3, 2, 4).reshape(count, q * q, w * w)
    return score, traces, fixed.reshape(count, m, w, w)


@dataclass(frozen=True, slots=True)
class Slopes:
    """How every criterion changes with ``[X y]' V^-1 [X y]``.

    Attributes
    ----------
    coefs : ndarray of shape (n, w)
        ``(-beta, 1)``.
    rho : ndarray of shape (n,)
        ``nu / r2``.
    weight : ndarray of shape (n, w, w)
        ``N``, the derivative itself.
    nu : int or ndarray of int, shape (n,)
    reml : bool
    """

    coefs: Array
    rho: Array
    weight: Array
    nu: Any
    reml: bool


def slopes_of(profile: BatchProfile, nu: Any, *, reml: bool) -> Slopes:
    """The derivative of the criterion in the products that hold beta and sigma."""
    count, p = profile.beta.shape
    coefs = np.ones((count, p + 1))
    coefs[:, :p] = -profile.beta
    rho = nu / profile.r2
    weight = rho[:, None, None] * coefs[:, :, None] * coefs[:, None, :]
    if reml:
        weight[:, :p, :p] += profile.vcov
    return Slopes(coefs, rho, weight, nu, reml)


def assemble(
    template: Template,
    theta: Array,
    factor: Array,
    traces: Array,
    fixed: Array,
    score: Array,
    profile: BatchProfile,
    slopes: Slopes,
) -> BatchEvaluation:
    """Gradients and Hessians in theta from sums over levels; `curvature` has the formulas.

    Parameters
    ----------
    template : Template
    theta : ndarray of shape (n, m)
    factor : ndarray of shape (n, q, q)
    traces : ndarray of shape (n, m, m)
        ``tr(V^-1 V_i (V^-1 - 2 V^-1 [X y] N [X y]' V^-1) V_j)``.
    fixed : ndarray of shape (n, m, w, w)
        ``[X y]' V^-1 V_i V^-1 [X y]``.
    score : ndarray of shape (n, q, q)
    profile : BatchProfile
    slopes : Slopes
    """
    count, m, w, _ = fixed.shape
    rho, coefs = slopes.rho, slopes.coefs
    gradient = 2.0 * np.matmul(score, factor)[:, template.rows, template.cols]
    twice = fixed @ slopes.weight[:, None]
    other = twice.transpose(0, 1, 3, 2).reshape(count, m, w * w).transpose(0, 2, 1)
    traces = traces + twice.reshape(count, m, w * w) @ other
    hessian = -0.5 * (traces + traces.transpose(0, 2, 1))
    at = np.matmul(fixed, coefs[:, None, :, None])[..., 0]
    if not slopes.reml:
        at_x = at[..., :-1]
        hessian -= 2.0 * rho[:, None, None] * (at_x @ profile.vcov @ at_x.transpose(0, 2, 1))
    along_y = np.matmul(at, coefs[:, :, None])[..., 0]
    share = rho * rho * (1.0 - 1.0 / slopes.nu)
    hessian += share[:, None, None] * along_y[:, :, None] * along_y[:, None]
    same = template.cols[:, None] == template.cols
    hessian += np.where(same, 2.0 * score[:, template.rows[:, None], template.rows], 0.0)
    return BatchEvaluation(
        theta,
        profile.value,
        gradient,
        hessian,
        score,
        profile.beta,
        profile.r2,
        profile.rounding,
        profile.vcov,
        fixed,
    )


@dataclass(frozen=True, slots=True)
class BatchProfile:
    """The fixed part of every response, solved."""

    value: Array
    beta: Array
    r2: Array
    vcov: Array
    rounding: Array


def solve_fixed(cross: Array, logdet: Array, nu: Any, total: Array, *, reml: bool) -> BatchProfile:
    """Fixed effects and criterion from ``[X y]' V^-1 [X y]``; nan where X is lost in Z Lambda."""
    p = cross.shape[1] - 1
    count = len(cross)
    value = logdet.copy()
    beta, vcov = np.zeros((count, p)), np.zeros((count, p, p))
    r2 = cross[:, p, p].copy()
    if p:
        root = choleskys(cross[:, :p, :p])
        inverse = np.linalg.solve(root, np.broadcast_to(np.eye(p), (count, p, p)))
        vcov = inverse.transpose(0, 2, 1) @ inverse
        beta = np.matmul(vcov, cross[:, :p, p:])[..., 0]
        r2 = r2 - np.einsum("np,np->n", cross[:, :p, p], beta)
        if reml:
            value += 2.0 * np.log(np.einsum("npp->np", root)).sum(-1)
    r2 = np.maximum(r2, LEAST * np.maximum(total, 1e-280))
    value += nu * (1.0 + np.log(2.0 * math.pi * r2 / nu))
    rounding = EPSILON * (np.abs(value) + nu * total / r2)
    return BatchProfile(value, beta, r2, vcov, rounding)


def choleskys(matrices: Array) -> Array:
    """Cholesky factors; nan for a matrix that has none."""
    try:
        return np.asarray(np.linalg.cholesky(matrices))
    except np.linalg.LinAlgError:
        finite = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
        safe = np.where(finite[:, None, None], matrices, np.eye(matrices.shape[-1]))
        values = np.linalg.eigvalsh(safe)
        bad = ~(finite & (values[:, 0] > EPSILON * values[:, -1]))
        safe[bad] = np.eye(matrices.shape[-1])
        out = np.asarray(np.linalg.cholesky(safe))
        out[bad] = np.nan
        return out


def inverses(zz: Array, relative: Array) -> tuple[Array, Array]:
    """``(I + Z'Z D)^-1`` of every response and level, and the sums of the log determinants.

    Parameters
    ----------
    zz : ndarray of shape (1 or n_responses, q, q, n_levels)
        Of at most two columns.
    relative : ndarray of shape (n_responses, q, q)
        ``D``.

    Returns
    -------
    inverse : ndarray of shape (n_responses, q, q, n_levels)
    logdet : ndarray of shape (n_responses,)
    """
    q = zz.shape[1]
    if q == 0:
        return np.empty((len(relative), 0, 0, zz.shape[-1])), np.zeros(len(relative))
    if q == 1:
        pivot = 1.0 + relative[:, 0] * zz[:, 0, 0]
        return (1.0 / pivot)[:, None, None], np.log(pivot).sum(-1)
    return _inverses_of_two(zz, relative)


def _inverses_of_two(zz: Array, relative: Array) -> tuple[Array, Array]:
    """The same for two columns, by the adjugate: nothing cancels in the determinant."""
    product = _products(zz, relative[..., None])
    determinant = (zz[:, 0, 0] * zz[:, 1, 1] - zz[:, 0, 1] ** 2) * (
        relative[:, 0, 0] * relative[:, 1, 1] - relative[:, 0, 1] ** 2
    )[:, None]
    determinant += 1.0 + product[:, 0, 0] + product[:, 1, 1]
    share = 1.0 / determinant
    inverse = np.empty_like(product)
    inverse[:, 0, 0] = (1.0 + product[:, 1, 1]) * share
    inverse[:, 1, 1] = (1.0 + product[:, 0, 0]) * share
    inverse[:, 0, 1] = -product[:, 0, 1] * share
    inverse[:, 1, 0] = -product[:, 1, 0] * share
    return inverse, np.log(determinant).sum(-1)


def _solve_lower(omega: Array, right: Array) -> Array:
    """Log determinants of positive definite (n, q, q, n_levels), summed over levels.

    `right` becomes ``L^-1 right``, with ``L L' = omega``; `omega` is written over.
    """
    q = omega.shape[1]
    logdet = np.zeros(len(omega))
    for k in range(q):
        logdet += np.log(omega[:, k, k]).sum(-1)
        scale = 1.0 / np.sqrt(omega[:, k, k])
        right[:, k] *= scale[:, None]
        for i in range(k + 1, q):
            share = omega[:, i, k] * scale
            right[:, i] -= share[:, None] * right[:, k]
            for j in range(k + 1, i + 1):
                omega[:, i, j] -= share * omega[:, j, k] * scale
    return logdet


def _products(left: Array, right: Array) -> Array:
    """Products of small matrices, shapes (n, i, k, l) and (n, k, j, l), broadcast over n and l."""
    inner = left.shape[2]
    if not inner:
        return np.empty((len(left), 0, 0, right.shape[-1]))
    rows = []
    for i in range(left.shape[1]):
        row = left[:, i, 0, None] * right[:, 0]
        for k in range(1, inner):
            row += left[:, i, k, None] * right[:, k]
        rows.append(row)
    return np.stack(rows, axis=1)


def directions_of(template: Template, factor: Array) -> Array:
    """Derivative of ``Lambda Lambda'`` along each theta, (n, n_theta, q, q)."""
    index = np.arange(template.n_theta)
    directions = np.zeros((len(factor), template.n_theta, template.q, template.q))
    directions[:, index, template.rows] = factor.transpose(0, 2, 1)[:, template.cols]
    return directions + directions.transpose(0, 1, 3, 2)
