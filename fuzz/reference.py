"""The dense oracle: columns from the names of coefficients, V with all its n x n entries.

Columns are made stable in long doubles before anything is squared (a shift of a covariate costs the
oracle nothing), and V is factored in long doubles where groups differ much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import interpolate, linalg

from fuzz.columns import Array, Column

Long = NDArray[np.longdouble]


# --- columns from names ---------------------------------------------------------------------------


def _scale(x: Array) -> Array:
    return (x - x.mean()) / x.std(ddof=1)


def _poly(degree: int) -> Callable[[Array], Array]:
    def column(x: Array) -> Array:
        """R's: powers made orthogonal one after the other, of unit length."""
        z = (x - x.mean()).astype(np.longdouble)
        basis = [np.ones(len(z), np.longdouble)]
        for _ in range(degree):
            new = basis[-1] * z
            for _ in range(2):
                for old in basis:
                    new = new - old * (old @ new) / (old @ old)
            basis.append(new)
        return np.asarray(basis[degree] / np.sqrt(basis[degree] @ basis[degree]), np.float64)

    return column


class UnknownNameError(Exception):
    """The oracle has no column for this name (splines): only predictions are checked."""


def _cubic_spline(j: int) -> Callable[[Array], Array]:
    def column(x: Array) -> Array:
        """R's bs(df = 4): cubic, one knot inside, at the median; the first column is left out."""
        inner = np.quantile(x, 0.5)
        if not x.min() < inner < x.max():
            raise UnknownNameError("a spline with a knot at its boundary")
        knots = np.r_[[x.min()] * 4, inner, [x.max()] * 4]
        return np.asarray(interpolate.BSpline.design_matrix(x, knots, 3).toarray()[:, j])

    return column


# name of a part -> the columns that it reads, and the function of them
PARTS: dict[str, tuple[tuple[str, ...], Callable[..., Array]]] = {
    "poly(x, 2)[1]": (("x",), _poly(1)),
    "poly(x, 2)[2]": (("x",), _poly(2)),
    **{
        f"poly(z, 3, raw = TRUE)[{power}]": (
            ("z",),
            lambda z, power=power: (z[:, None] ** np.arange(1, 4))[:, power - 1],
        )
        for power in (1, 2, 3)
    },
    **{f"bs(x, df = 4)[{j}]": (("x",), _cubic_spline(j)) for j in (1, 2, 3, 4)},
    "scale(x)": (("x",), _scale),
    "center(z)": (("z",), lambda z: z - z.mean()),
    "I(x^2)": (("x",), lambda x: x**2),
    "I(z^2)": (("z",), lambda z: z**2),
    "I(z^3)": (("z",), lambda z: z**3),
    "I(x - 2 * z)": (("x", "z"), lambda x, z: x - 2 * z),
    "log1p(abs(z))": (("z",), lambda z: np.log1p(np.abs(z))),
    "log(z + 9)": (("z",), lambda z: np.log(z + 9)),
    "exp(z)": (("z",), np.exp),
    "sqrt(abs(x))": (("x",), lambda x: np.sqrt(np.abs(x))),
    "x > 0": (("x",), lambda x: (x > 0) * 1.0),
    "pmin(x, z)": (("x", "z"), np.minimum),
    "sin(x)": (("x",), np.sin),
}


@dataclass(frozen=True)
class Named:
    """Columns by name, on the complete rows of a case."""

    columns: dict[str, Column]
    rows: NDArray[np.bool_]

    def numbers(self, name: str) -> Array:
        values = self.columns[name].numbers
        assert values is not None
        return values[self.rows]

    def labels(self, name: str) -> NDArray[Any]:
        labels = self.columns[name].labels
        assert labels is not None
        return np.array(labels, object)[self.rows]

    def column(self, name: str) -> Array:
        """Values of a coefficient's column, ``x:f[T.b]``."""
        out = np.ones(int(self.rows.sum()))
        if name == "Intercept":
            return out
        for part in split(name):
            out = out * self._part(part)
        return out

    def _part(self, part: str) -> Array:
        if part in PARTS:
            reads, function = PARTS[part]
            return np.asarray(function(*(self.numbers(name) for name in reads)), np.float64)
        name = part.strip("`")
        known = self.columns.get(name)
        if known is not None and known.numbers is not None:
            return self.numbers(name)
        head, _, level = part.partition("[")
        if head in ("f", "k2") and level.endswith("]"):
            return (self.labels(head) == level[:-1].removeprefix("T.")).astype(np.float64)
        if head == "C(f, contr.sum)" and level.startswith("S."):
            labels = self.labels("f")
            last = [name for name in self.columns["f"].order if name in set(labels)][-1]
            return (labels == level[2:-1]).astype(np.float64) - (labels == last)
        if head == "C(k2, contr.helmert)" and level.startswith("H."):
            return self._helmert("k2", level[2:-1])
        if head == "factor(k)" and level[:-1].removeprefix("T.") in set(self.labels("k")):
            return (self.labels("k") == level[:-1].removeprefix("T.")).astype(np.float64)
        raise UnknownNameError(part)

    def _helmert(self, name: str, level: str) -> Array:
        """The level against the mean of those before it: -1 for each of these, their number."""
        labels = self.labels(name)
        used = [known for known in self.columns[name].order if known in set(labels)]
        at = used.index(level)
        return at * (labels == level) - np.isin(labels, used[:at]).astype(np.float64)

    def span(self, atoms: Sequence[str]) -> Array:
        """More columns than needed that span what the atoms say: all indicators of factors."""
        out = [np.empty((int(self.rows.sum()), 0))]
        for atom in atoms:
            block = np.ones((int(self.rows.sum()), 1))
            for part in [] if atom == "1" else split(atom):
                block = _products(block, self._whole(part))
            out.append(block)
        return np.concatenate(out, axis=1)

    def _whole(self, part: str) -> Array:
        known = self.columns.get(part)
        if known is not None and known.labels is not None:
            labels = self.labels(part)
            return np.array([labels == level for level in dict.fromkeys(labels)], float).T
        if part == "bs":
            return np.column_stack([self._part(f"bs(x, df = 4)[{j}]") for j in (1, 2, 3, 4)])
        if part == "ns":
            raise UnknownNameError(part)
        return self._part(part.replace("x - 2*z", "x - 2 * z"))[:, None]


def _products(a: Array, b: Array) -> Array:
    return np.einsum("ni,nj->nij", a, b).reshape(len(a), -1)


def split(name: str) -> list[str]:
    """Parts of an interaction: colons outside brackets."""
    parts, depth = [""], 0
    for i, letter in enumerate(name):
        depth += (letter in "[(") - (letter in "])")
        if letter == ":" and depth == 0:
            parts.append("")
        else:
            parts[-1] = name[i] if not parts[-1] else parts[-1] + letter
    return parts


# --- dense algebra --------------------------------------------------------------------------------


def orthogonal(columns: Array | Long) -> tuple[Long, Long]:
    """Q of unit mean square and R of ``columns = Q R``, by Gram-Schmidt twice in long doubles.

    A dependent column gives a zero on R's diagonal.
    """
    source = np.asarray(columns, np.longdouble)
    n, p = source.shape
    Q, R = np.zeros((n, p), np.longdouble), np.zeros((p, p), np.longdouble)
    for j in range(p):
        column = source[:, j].copy()
        whole = np.sqrt(column @ column)
        for _ in range(2):
            along = Q[:, :j].T @ column / max(n, 1)
            column -= Q[:, :j] @ along
            R[:j, j] += along
        length = np.sqrt(column @ column)
        if length > 1e-13 * whole:
            R[j, j] = length / math.sqrt(n)
            Q[:, j] = column / R[j, j]
    return Q, R


def rank(columns: Array) -> tuple[int, bool]:
    """Rank, and whether it is beyond doubt."""
    lengths = np.sqrt(np.square(columns).sum(axis=0))
    _, R = orthogonal(columns[:, lengths > 0])
    share = np.abs(np.diag(R)) / (lengths[lengths > 0] / math.sqrt(max(1, len(columns))))
    share = share.astype(np.float64)
    return int((share > 1e-12).sum()), not ((share > 0) & (share < 1e-10)).any()


@dataclass(frozen=True)
class DenseTerm:
    """One random term in stable columns: ``z = stable @ root``."""

    codes: NDArray[np.int64]
    stable: Array
    root: Long

    @cached_property
    def same(self) -> NDArray[np.bool_]:
        return self.codes[:, None] == self.codes

    @property
    def q(self) -> int:
        return self.stable.shape[1]


@dataclass(frozen=True)
class DenseFit:
    """Everything at one theta."""

    criterion: float
    beta: Array
    vcov: Array
    sigma: float
    fitted: Array
    slopes: list[Array]


@dataclass(frozen=True)
class Dense:
    """A problem in stable columns.

    Attributes
    ----------
    X : ndarray of shape (n, p)
        Orthogonal; ``user's X = X @ root``.
    y : ndarray of shape (n,)
        What least squares leave of the response, in units of its spread.
    """

    X: Array
    root: Long
    y: Array
    unit: float
    least_squares: Long
    terms: tuple[DenseTerm, ...]
    weights: Array
    offset: Array
    reml: bool

    @property
    def df(self) -> int:
        n, p = self.X.shape
        return n - p if self.reml else n

    def factors(self, theta: Array) -> list[Array]:
        """Stable factors of a theta in the user's units."""
        out, at = [], 0
        for term in self.terms:
            lower = np.zeros((term.q, term.q), np.longdouble)
            for column in range(term.q):
                for row in range(column, term.q):
                    lower[row, column] = theta[at]
                    at += 1
            out.append(np.asarray(term.root @ lower, np.float64))
        assert at == len(theta), "theta has another length"
        return out

    def covariance(self, factors: Sequence[Array]) -> Array:
        V = np.diag(1.0 / self.weights)
        for term, factor in zip(self.terms, factors, strict=True):
            scaled = term.stable @ factor
            V += (scaled @ scaled.T) * term.same
        return V

    def search(self, factors: Sequence[Array]) -> tuple[float, list[Array]]:
        """Criterion and its slopes in doubles alone."""
        p = self.X.shape[1]
        root = np.linalg.cholesky(self.covariance(factors))
        half = linalg.solve_triangular(root, np.column_stack([self.X, self.y]), lower=True)
        Q, R = np.linalg.qr(half[:, :p])
        e = half[:, p] - Q @ (Q.T @ half[:, p])
        r2 = float(e @ e)
        value = 2.0 * float(np.log(np.diag(root)).sum()) + 2.0 * self.df * math.log(self.unit)
        value += self.df * (1.0 + math.log(2.0 * math.pi * r2 / self.df))
        if self.reml and p:
            value += 2.0 * float(np.log(np.abs(np.diag(R)) * np.abs(np.diag(self.root))).sum())
        white = linalg.solve_triangular(root, np.column_stack([e, Q]), lower=True, trans="T")
        return value, self._slopes(root, white, r2)

    def solve(self, factors: Sequence[Array]) -> DenseFit:
        """Criterion, estimates and slopes ``d criterion / d covariance`` of each term."""
        V = self.covariance(factors)
        n, p = self.X.shape
        right = np.column_stack([self.X, self.y])
        largest = max((float(np.abs(f).max(initial=0.0)) for f in factors), default=0.0)
        if largest > 30.0 or self.weights.max() > 1e4 * self.weights.min():
            V = self._long_covariance(factors)
        root, half = _whiten(V, right)
        Q, R = orthogonal(half[:, :p])
        Q, R = Q / math.sqrt(max(n, 1)), R * math.sqrt(n)
        y = half[:, p]
        along = Q.T @ y
        e = y - Q @ along
        e -= Q @ (Q.T @ e)
        r2 = float(e @ e)
        logdet = 2.0 * float(np.log(np.diag(root).astype(np.longdouble)).sum())
        value = logdet + self.df * (1.0 + math.log(2.0 * math.pi * r2 / self.df))
        value += 2.0 * self.df * math.log(self.unit)
        if self.reml and p:
            whole = np.abs(np.diag(R)) * np.abs(np.diag(self.root))
            value += 2.0 * float(np.log(whole).sum())
        upper = (R @ self.root).astype(np.longdouble)
        coefs = _back_substitute(R, along)
        beta = _back_substitute(self.root, self.least_squares + self.unit * coefs)
        inverse = np.array([_back_substitute(upper, column) for column in np.eye(p)])
        inverse = inverse.reshape(p, p).T
        sigma2 = r2 / self.df
        white = linalg.solve_triangular(
            root.T.astype(np.float64), np.column_stack([e, Q]).astype(np.float64)
        )
        slopes = self._slopes(root.astype(np.float64), white, r2)
        marginal = np.zeros(n)
        for term, factor in zip(self.terms, factors, strict=True):
            scaled = term.stable @ factor
            marginal += ((scaled @ scaled.T) * term.same) @ white[:, 0]
        fixed = self.X @ np.asarray(self.least_squares + self.unit * coefs, np.float64)
        return DenseFit(
            value,
            np.asarray(beta, np.float64),
            np.asarray(inverse @ inverse.T, np.float64) * sigma2 * self.unit**2,
            math.sqrt(sigma2) * self.unit,
            fixed + self.unit * marginal + self.offset,
            slopes,
        )

    def _long_covariance(self, factors: Sequence[Array]) -> Long:
        V: Long = np.diag(1.0 / self.weights.astype(np.longdouble))
        for term, factor in zip(self.terms, factors, strict=True):
            scaled = term.stable.astype(np.longdouble) @ factor.astype(np.longdouble)
            V += (scaled @ scaled.T) * term.same
        return V

    def _slopes(self, root: Array, white: Array, r2: float) -> list[Array]:
        inverse = linalg.cho_solve((root, True), np.eye(len(root)))
        u, VQ = white[:, 0], white[:, 1:]
        G = inverse - (self.df / r2) * np.multiply.outer(u, u)
        if self.reml:
            G = G - VQ @ VQ.T
        return [term.stable.T @ (G * term.same) @ term.stable for term in self.terms]

    def value_and_gradient(self, flat: Array) -> tuple[float, Array]:
        """For searches: stable lower triangles, columns first."""
        factors, at = [], 0
        for term in self.terms:
            lower = np.zeros((term.q, term.q))
            count = term.q * (term.q + 1) // 2
            lower[np.tril_indices(term.q)] = flat[at : at + count]
            factors.append(lower)
            at += count
        value, slopes = self.search(factors)
        gradient = [
            (2.0 * slope @ lower)[np.tril_indices(len(lower))]
            for slope, lower in zip(slopes, factors, strict=True)
        ]
        return value, np.concatenate(gradient)

    def n_theta(self) -> int:
        """Variance parameters of all terms."""
        return sum(term.q * (term.q + 1) // 2 for term in self.terms)


def _whiten(V: Any, right: Array) -> tuple[Any, Any]:
    """Lower factor of V and its solution for the columns of `right`."""
    if V.dtype == np.float64:
        try:
            root = np.linalg.cholesky(V)
        except np.linalg.LinAlgError:
            V = V.astype(np.longdouble)
        else:
            return root, linalg.solve_triangular(root, right, lower=True)
    n = len(V)
    rest, out = V.copy(), right.astype(np.longdouble)
    root = np.zeros_like(rest)
    for j in range(n):
        if rest[j, j] <= 0:
            raise np.linalg.LinAlgError("V is not positive definite")
        column = rest[j:, j] / np.sqrt(rest[j, j])
        root[j:, j] = column
        rest[j + 1 :, j + 1 :] -= np.multiply.outer(column[1:], column[1:])
        out[j] /= column[0]
        out[j + 1 :] -= np.multiply.outer(column[1:], out[j])
    return root, out


def _back_substitute(upper: Any, right: Any) -> Long:
    p = len(right)
    out = np.array(right, np.longdouble)
    for j in reversed(range(p)):
        out[j] = (out[j] - upper[j, j + 1 :] @ out[j + 1 :]) / upper[j, j]
    return out


def dense(
    X: Array,
    y: Array,
    terms: Sequence[tuple[NDArray[np.int64], Array]],
    weights: Array | None,
    offset: Array | None,
    *,
    reml: bool,
) -> Dense:
    """A problem from the user's columns."""
    n = len(y)
    offset = np.zeros(n) if offset is None else offset
    target = y.astype(np.longdouble) - offset
    Q, root = orthogonal(X)
    coefs = np.zeros(Q.shape[1], np.longdouble)
    for _ in range(2):
        along = Q.T @ target / max(n, 1)
        target = target - Q @ along
        coefs = coefs + along
    unit = float(np.sqrt(target @ target / max(n, 1))) or 1.0
    stable = []
    for codes, z in terms:
        z_stable, z_root = orthogonal(z)
        stable.append(DenseTerm(codes, np.asarray(z_stable, np.float64), z_root))
    return Dense(
        np.asarray(Q, np.float64),
        root,
        np.asarray(target / unit, np.float64),
        unit,
        coefs,
        tuple(stable),
        np.ones(n) if weights is None else weights,
        offset,
        reml,
    )
