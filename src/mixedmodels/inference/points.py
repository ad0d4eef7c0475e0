"""Weighted points with the cross-products of the rows: simulated responses without the rows.

Of a cell, a combination of levels of all grouping factors, a likelihood reads n, means and products
only; `engines.cells` finds a few weighted points with the same. A response simulated at the points
has products with X and Z of the same law as one simulated at the rows, for these have mean and
covariance given by Z'WZ, Z'WX and X'WX alone; and its own sum of squares lacks the residual one of
n - m rows, which is sigma**2 chi-squared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.build import Rows
from mixedmodels.design.grouping import observed
from mixedmodels.engines.cells import expand
from mixedmodels.engines.sums import Sums
from mixedmodels.likelihood.working import group_recipe
from mixedmodels.model.record import Fit, has_rows
from mixedmodels.moments.memory import level_sums

# points a row, above which the rows are as good
WORTH = 0.5
# spread of a base column within a cell, over its size, that is rounding
ROUNDING = 1e-12

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Points:
    """Points that stand for the rows of some models.

    Attributes
    ----------
    fits : tuple of Fit
    base : tuple of ndarray of shape (c, m)
        Base columns of each model at the points.
    codes : tuple of tuple of ndarray of int, shape (m,)
        Levels of the grouping factors of each model.
    weights : ndarray of shape (m,), optional
        Adding up to n.
    n : int
        Rows that they stand for.
    """

    fits: tuple[Fit, ...]
    base: tuple[Array, ...]
    codes: tuple[tuple[Codes, ...], ...]
    weights: Array | None
    n: int

    @property
    def size(self) -> int:
        """Number of points."""
        return int(self.base[0].shape[1])

    def draw(self, source: Fit, rng: np.random.Generator) -> tuple[Array, float]:
        """A response simulated from one of the models, less its fixed part; working units.

        Returns
        -------
        y : ndarray of shape (m,)
            At the points.
        rest : float
            What its weighted sum of squares lacks.
        """
        at = self.position(source)
        sigma = source.residual_scale
        y = rng.standard_normal(self.size)
        if self.weights is not None:
            y /= np.sqrt(self.weights)
        for terms, codes, group, factor in zip(
            source.working.terms,
            self.codes[at],
            source.design.groups,
            source.optimum.at.factors,
            strict=True,
        ):
            effects = factor @ rng.standard_normal((len(factor), len(group.levels)))
            by_level = group_recipe(terms) @ effects
            for a in np.flatnonzero(by_level.any(axis=1)):
                y += by_level[a][codes] * self.base[at][a]
        missing = self.n - self.size
        rest = float(rng.chisquare(missing)) if missing > 0 else 0.0
        return y * sigma, rest * sigma**2

    def rows(self, fit: Fit, y: Array) -> Rows:
        """Rows of one of the models with a response."""
        at = self.position(fit)
        return Rows(self.base[at], y, self.codes[at], self.weights, 1.0, None)

    def position(self, fit: Fit) -> int:
        """Place of a model."""
        return next(i for i, own in enumerate(self.fits) if own is fit)


def make_points(given: Sequence[Fit]) -> Points:
    """Points that serve several models of the same rows (or sums).

    Parameters
    ----------
    given : sequence of Fit
        With their rows or sums.
    """
    fits = tuple({id(fit): fit for fit in given}.values())
    first = fits[0].points
    points = Points(
        fits,
        tuple(fit.points.base for fit in fits),
        tuple(fit.points.codes for fit in fits),
        first.weights,
        fits[0].n_obs,
    )
    if has_rows(fits[0]):
        return _compressed(points, WORTH * points.size, counted=True)
    # those of the sums have the products of the response too
    counted = fits[0].source.sums is None or fits[0].source.sums.weights is None
    return _compressed(points, np.inf, counted=counted)


def _compressed(points: Points, most: float, *, counted: bool) -> Points:
    """Points of cells, unless they are more than `most`.

    With `counted`, the weights (or the points) of a cell are its number of rows.
    """
    every = [codes for own in points.codes for codes in own]
    cell = np.zeros(points.size, np.int64)
    n_cells = 1
    for codes in every:
        width = int(codes.max()) + 1
        present, cell = observed(cell * width + codes, n_cells * width)
        n_cells = len(present)
        if n_cells > most:
            return points
    # the first base column of every model is the constant
    columns = np.concatenate([base[1:] for base in points.base])
    sums = _sums(columns, points.weights, cell, n_cells)
    n = np.rint(sums.weight).astype(np.int64) if points.weights is not None else sums.n
    at, weights, values = expand(sums, most=n - 1 if counted else None)
    if len(at) > most:
        return points
    first = np.zeros(n_cells, np.intp)
    first[cell[::-1]] = np.arange(points.size - 1, -1, -1)
    rows = first[at]
    stops = np.cumsum([0, *(len(base) - 1 for base in points.base)]).tolist()
    ones = np.ones((1, len(at)))
    return Points(
        points.fits,
        tuple(np.concatenate([ones, values[a:b]]) for a, b in pairwise(stops)),
        tuple(tuple(codes[rows] for codes in own) for own in points.codes),
        weights,
        points.n,
    )


def _sums(columns: Array, weights: Array | None, cell: Codes, n_cells: int) -> Sums:
    """Means and products of the columns of each cell."""
    n = np.bincount(cell, minlength=n_cells)
    weight = np.bincount(cell, weights, n_cells).astype(np.float64)
    size = len(columns)
    means, spread = np.empty((size, n_cells)), np.empty_like(columns)
    for j, column in enumerate(columns):
        weighted = column if weights is None else column * weights
        means[j] = np.bincount(cell, weighted, n_cells) / weight
        spread[j] = column - means[j][cell]
        # a column that is constant in a cell is so to the last digit
        spread[j][np.abs(spread[j]) <= ROUNDING * (1.0 + np.abs(column))] = 0.0
    products = level_sums(spread, weights, cell, n_cells, np.arange(size), counted=False)
    return Sums(n, weight, means, products)
