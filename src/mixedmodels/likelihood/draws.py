"""Cross-products of simulated responses, drawn without their rows.

Model      y = Z b + e with b ~ N(0, sigma**2 F F') in every level, e ~ N(0, sigma**2 W^-1).
Method     Z'We of all levels, X'We and e'We are drawn from their joint distribution: normal with
           covariance sigma**2 [Z X]'W[Z X], of which the rank and a root are taken level by level;
           what e'We holds beyond the columns of [Z X] is sigma**2 chi-squared.
Cost       O(n_levels * q * (q + p)) per response, whatever the number of rows.

The fixed part is left out: every criterion is the same for y and y + Xb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.likelihood.batch import Responses

# eigenvalues of cross-products below this share of the largest are rounding
RANK = 1e-10


@dataclass(frozen=True, slots=True)
class Draws:
    """The distribution of ``Z'Wy``, ``X'Wy`` and ``y'Wy`` for one grouping factor.

    Attributes
    ----------
    zz : ndarray of shape (q, q, n_levels)
        ``Z' W Z``.
    zx : ndarray of shape (q, p, n_levels)
        ``Z' W X``.
    effect : ndarray of shape (q, r)
        Root of the relative covariance of a level's random effects.
    sigma : float
        Residual standard deviation, working units.
    root : ndarray of shape (q, q, n_levels)
        ``Z'We`` of a level is ``root`` times independent normal values.
    kept : ndarray of bool, shape (q, n_levels)
        Which of these values exist: the rank of the level's columns.
    carried : ndarray of shape (q, p, n_levels)
        What each of them adds to ``X'We``.
    rest : ndarray of shape (p, r)
        Root of the covariance of ``X'We`` given all ``Z'We``.
    df : int
        Rows less the rank of ``[Z X]``.
    """

    zz: Array
    zx: Array
    effect: Array
    sigma: float
    root: Array
    kept: Array
    carried: Array
    rest: Array
    df: int

    def draw(self, rng: np.random.Generator, count: int) -> Responses:
        """Cross-products of `count` independent responses."""
        q, _, n_levels = self.zx.shape
        noise = rng.standard_normal((count, q, n_levels)) * self.kept
        outside = rng.standard_normal((count, self.rest.shape[1]))
        squares = np.square(noise).sum(axis=(1, 2)) + np.square(outside).sum(axis=1)
        if self.df:
            squares += rng.chisquare(self.df, count)
        spherical = rng.standard_normal((count, self.effect.shape[1], n_levels))
        effects = np.matmul(self.effect, spherical)

        error = _level_products(self.root, noise)
        signal = _level_products(self.zz, effects)
        xy = noise.reshape(count, -1) @ self._flat(self.carried)
        xy += effects.reshape(count, -1) @ self._flat(self.zx) + outside @ self.rest.T
        both = np.einsum("nql,nql->n", effects, signal + 2.0 * error)
        signal += error
        signal *= self.sigma
        return Responses(signal, xy * self.sigma, (squares + both) * self.sigma**2)

    @staticmethod
    def _flat(products: Array) -> Array:
        q, p, n_levels = products.shape
        return products.transpose(0, 2, 1).reshape(q * n_levels, p)


def make_draws(zz: Array, zx: Array, xx: Array, n: int, effect: Array, sigma: float) -> Draws:
    """Prepare draws from cross-products; columns may depend on each other.

    Parameters
    ----------
    zz : ndarray of shape (q, q, n_levels)
    zx : ndarray of shape (q, p, n_levels)
    xx : ndarray of shape (p, p)
    n : int
        Number of rows.
    effect : ndarray of shape (q, r)
    sigma : float
    """
    values, vectors = np.linalg.eigh(np.ascontiguousarray(zz.transpose(2, 0, 1)))
    kept = values > RANK * np.maximum(values.max(axis=1, initial=0.0), 1e-300)[:, None]
    length = np.sqrt(np.where(kept, values, 1.0))
    root = np.where(kept[:, None], vectors * length[:, None], 0.0).transpose(1, 2, 0)
    back = np.where(kept[:, None], vectors / length[:, None], 0.0).transpose(2, 1, 0)
    carried = _level_matrices(back, zx)
    inside = np.tensordot(carried, carried, axes=((0, 2), (0, 2)))
    left, sides = np.linalg.eigh(xx - inside)
    # what is left of a column that Z makes too is rounding of its whole length
    real = left > RANK * max(float(np.diag(xx).max(initial=0.0)), 1e-300)
    rest = sides[:, real] * np.sqrt(left[real])
    df = max(n - int(kept.sum()) - int(real.sum()), 0)
    return Draws(
        zz,
        zx,
        effect,
        sigma,
        np.ascontiguousarray(root),
        np.ascontiguousarray(kept.T.astype(np.float64)),
        np.ascontiguousarray(carried),
        rest,
        df,
    )


def _level_products(matrices: Array, vectors: Array) -> Array:
    """Matrices (q, r, l) times vectors (n, r, l) of every level."""
    out = np.zeros((len(vectors), len(matrices), vectors.shape[-1]))
    for a in range(out.shape[1]):
        for b in range(vectors.shape[1]):
            out[:, a] += matrices[a, b] * vectors[:, b]
    return out


def _level_matrices(left: Array, right: Array) -> Array:
    """``left`` (i, k, l) times ``right`` (k, j, l) of every level."""
    return np.asarray(np.einsum("ikl,kjl->ijl", left, right))
