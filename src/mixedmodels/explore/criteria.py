"""How good a partition of trajectories is: the quality criteria of kml, each better when larger."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.explore.kmeans import Labels

CRITERIA = (
    "calinski_harabasz",
    "calinski_kryszczuk",
    "calinski_genolini",
    "ray_turi",
    "davies_bouldin",
    "silhouette",
    "bic",
    "bic2",
    "aic",
    "aicc",
    "aicc2",
)


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """A partition read as a mixture of normal distributions with one variance for all.

    Attributes
    ----------
    loglik : float
        Log likelihood of the observed values.
    probabilities : ndarray of shape (n, k)
        Of each trajectory to belong to each cluster.
    """

    loglik: float
    probabilities: Array


def mixture(values: Array, labels: Labels, means: Array) -> Mixture:
    """Likelihood and membership probabilities, as kml has them.

    Parameters
    ----------
    values : ndarray of shape (n, T)
        NaN where there is no value.
    labels : ndarray of int, shape (n,)
    means : ndarray of shape (k, T)
        Of the clusters, without gaps.

    Notes
    -----
    Each cluster has its mean trajectory and its share of the subjects as weight; all values
    scatter about the means independently, with one variance, which is estimated by the mean
    squared distance to the own mean. Values that are missing do not count.
    """
    k, n_values = len(means), int(np.count_nonzero(~np.isnan(values)))
    distances = np.column_stack([np.nansum(np.square(values - mean), axis=1) for mean in means])
    own = distances[np.arange(len(labels)), labels]
    variance = max(float(own.sum()) / n_values, np.finfo(np.float64).tiny)
    weights = np.bincount(labels, minlength=k) / len(labels)
    with np.errstate(divide="ignore", over="ignore"):
        logs = np.log(weights) - 0.5 * distances / variance
    top = logs.max(axis=1, keepdims=True)
    parts = np.exp(logs - top)
    total = parts.sum(axis=1, keepdims=True)
    loglik = float((top + np.log(total)).sum())
    loglik -= 0.5 * n_values * math.log(2.0 * math.pi * variance)
    return Mixture(loglik, parts / total)


def information(loglik: float, k: int, n: int, n_times: int, n_values: int) -> dict[str, float]:
    """BIC, AIC and their variants, negated: the larger the better.

    Parameters
    ----------
    loglik : float
    k, n, n_times, n_values : int
        Clusters, subjects, times and observed values. The parameters are the k means at each time
        and the variance.
    """
    h = k * n_times + 1
    aic = 2.0 * loglik - 2.0 * h
    return {
        "bic": 2.0 * loglik - h * math.log(n),
        "bic2": 2.0 * loglik - h * math.log(n_values),
        "aic": aic,
        "aicc": aic - _small_sample(h, n),
        "aicc2": aic - _small_sample(h, n_values),
    }


def _small_sample(h: int, n: int) -> float:
    return 2.0 * h * (h + 1) / (n - h - 1) if n > h + 1 else math.nan


def geometry(filled: Array, labels: Labels, k: int) -> dict[str, float]:
    """Criteria made of distances between trajectories without gaps and the means of clusters.

    Parameters
    ----------
    filled : ndarray of shape (n, T)
    labels : ndarray of uint8, shape (n,)
    k : int
    """
    n = len(filled)
    sizes = np.bincount(labels, minlength=k)
    member = np.arange(k, dtype=np.uint8)[:, None] == labels
    means = member @ filled / sizes[:, None]
    squares = np.square(filled - means[labels]).sum(axis=1)
    within = float(squares.sum())
    between = float(sizes @ np.square(means - filled.mean(axis=0)).sum(axis=1))
    if k < 2:
        names = [name for name in CRITERIA if name.startswith("calinski")]
        return dict.fromkeys([*names, "ray_turi", "davies_bouldin"], math.nan)
    apart = np.sqrt(np.square(means[:, None] - means).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    spread = np.bincount(labels, weights=np.sqrt(squares), minlength=k) / sizes
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.float64(between) / within
        likeness = ((spread[:, None] + spread) / apart).max(axis=1)
        nearest = np.float64(apart.min()) ** 2
        return {
            "calinski_harabasz": float(ratio * (n - k) / (k - 1)),
            "calinski_kryszczuk": float(ratio * (n - 1) / np.float64(n - k)),
            "calinski_genolini": float(ratio * (n - k) / math.sqrt(k - 1)),
            "ray_turi": float(-(within / n) / nearest),
            "davies_bouldin": float(-likeness.mean()),
        }


def silhouette(filled: Array, labels: Labels, sample: NDArray[np.intp]) -> float:
    """Mean silhouette width of some trajectories among themselves; 0 for one alone in its cluster.

    Parameters
    ----------
    filled : ndarray of shape (n, T)
    labels : ndarray of uint8, shape (n,)
    sample : ndarray of int
        Which trajectories.
    """
    points, (present, own) = filled[sample], np.unique(labels[sample], return_inverse=True)
    if len(present) < 2:
        return math.nan
    counts = np.bincount(own)
    member = (own[:, None] == np.arange(len(present))).astype(np.float64)
    squares = np.einsum("nt,nt->n", points, points)
    products = squares[:, None] - 2.0 * points @ points.T + squares
    np.fill_diagonal(products, 0.0)
    sums = np.sqrt(np.maximum(products, 0.0)) @ member
    row = np.arange(len(own))
    inside = sums[row, own] / np.maximum(counts[own] - 1, 1)
    others = sums / counts
    others[row, own] = np.inf
    nearest = others.min(axis=1)
    larger = np.maximum(inside, nearest)
    width = np.divide(nearest - inside, larger, out=np.zeros(len(row)), where=larger > 0.0)
    return float(np.where(counts[own] > 1, width, 0.0).mean())
