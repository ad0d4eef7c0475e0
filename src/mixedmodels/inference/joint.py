"""Cross-products of several models' working columns side by side, for batches of responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mixedmodels.arrays import Array, cross_products
from mixedmodels.likelihood.batch import BatchDesign, OneFactor, Responses
from mixedmodels.likelihood.covariance import make_template
from mixedmodels.likelihood.draws import Draws, make_draws
from mixedmodels.likelihood.few_columns import FewColumns, Layout
from mixedmodels.likelihood.nested import NestedBlocks
from mixedmodels.model.record import Fit, has_points, same_weights
from mixedmodels.moments.memory import level_sums

# columns of Z of all factors and levels up to which dense matrices are faster than structure
FEW = 100


@dataclass(frozen=True, slots=True)
class Joint:
    """All models of a comparison on the same rows.

    Attributes
    ----------
    fits : tuple of Fit
    zz : ndarray of shape (q, q, n_levels)
        ``Z' W Z`` of all models' columns; one level, where Z is dense.
    zx : ndarray of shape (q, p, n_levels)
    xx : ndarray of shape (p, p)
    z, x : tuple of slice
        Columns of each model.
    dense : bool
        Whether the columns of Z are those of every level (several factors).
    """

    fits: tuple[Fit, ...]
    zz: Array
    zx: Array
    xx: Array
    z: tuple[slice, ...]
    x: tuple[slice, ...]
    dense: bool

    def position(self, fit: Fit) -> int:
        """Place of a model."""
        return next(i for i, own in enumerate(self.fits) if own is fit)

    def design(self, fit: Fit) -> BatchDesign:
        """What batches of one model need."""
        at = self.position(fit)
        z, x = self.z[at], self.x[at]
        zz, zx = np.ascontiguousarray(self.zz[z, z]), np.ascontiguousarray(self.zx[z, x])
        template = make_template([size for t in fit.working.templates for size in t.sizes])
        xx, reml = self.xx[x, x], fit.objective.reml
        if self.dense:
            layout = _layout(fit)
            return FewColumns(template, layout, zz[..., 0], zx[..., 0], xx, fit.n_obs, reml)
        return OneFactor(template, zz[None], zx[None], xx[None], np.array([fit.n_obs]), reml)

    def response(self, fit: Fit) -> Responses:
        """Cross-products of one of the models with its own response."""
        blocks = fit.objective.blocks
        zy = [
            products[:, -1][:, order]
            for products, order in zip(blocks.fixed_products(), fit.working.orders, strict=True)
        ]
        # dense: level by level, one column below the other
        stacked = np.concatenate([z.T.ravel() for z in zy])[:, None] if self.dense else zy[0]
        cross = blocks.cross
        return Responses(stacked[None], cross[None, :-1, -1], cross[None, -1, -1])

    def draws(self, source: Fit) -> Draws:
        """The distribution of cross-products with responses of one of the models."""
        own = self.z[self.position(source)]
        q = sum(t.q for t in source.working.templates)
        factor, at = np.zeros((q, q)), 0
        for part in source.optimum.at.factors:
            factor[at : at + len(part), at : at + len(part)] = part
            at += len(part)
        if self.dense:
            factor = _layout(source).spread(factor[None])[0]
        effect = np.zeros((len(self.zz), len(factor)))
        effect[own] = factor
        scale = source.residual_scale
        return make_draws(self.zz, self.zx, self.xx, source.n_obs, effect, scale)


def join(given: Sequence[Fit]) -> Joint | None:
    """Models side by side; None where their structure asks for one fit at a time."""
    fits = tuple({id(fit): fit for fit in given}.values())
    if any(
        fit.has_random and getattr(fit.objective.blocks, "within", None) is not None for fit in fits
    ):
        return None  # groups so far apart that totals lack digits
    if len({id(fit.source.sums) for fit in fits}) > 1:
        return None  # rows of one do not stand beside rows of the other
    if len(fits) > 1 and not (
        all(map(has_points, fits)) and all(same_weights(fits[0], fit) for fit in fits[1:])
    ):
        return None
    if _one_factor(fits):
        return _by_level(fits)
    if max(_layout(fit).total for fit in fits) <= FEW and all(map(has_points, fits)):
        return _by_column(fits)
    return None


def _one_factor(fits: Sequence[Fit]) -> bool:
    """Whether all fits have at most one grouping factor, the same."""
    grouped = [fit for fit in fits if fit.has_random]
    if not all(
        len(fit.design.groups) == 1 and isinstance(fit.objective.blocks, NestedBlocks)
        for fit in grouped
    ):
        return False
    return all(
        np.array_equal(fit.points.codes[0], grouped[0].points.codes[0]) for fit in grouped[1:]
    )


def _layout(fit: Fit) -> Layout:
    return Layout(
        tuple(
            (template.q, len(group.levels))
            for template, group in zip(fit.working.templates, fit.design.groups, strict=True)
        )
    )


def _columns(fit: Fit) -> list[list[Array]]:
    """Working columns of Z over the rows, one list per grouping factor."""
    return [
        [row for term in group for row in term.recipe.T @ fit.points.base]
        for group in fit.working.terms
    ]


def _slices(sizes: Sequence[int]) -> tuple[slice, ...]:
    stops = np.cumsum([0, *sizes]).tolist()
    return tuple(slice(a, b) for a, b in pairwise(stops))


def _by_level(fits: tuple[Fit, ...]) -> Joint:
    """One grouping factor: products of each level."""
    if len(fits) == 1 and fits[0].has_random:
        blocks: Any = fits[0].objective.blocks
        g, p = blocks.stages[0].g, len(blocks.cross) - 1
        q = len(g)
        zz, zx = np.ascontiguousarray(g[:, :q]), np.ascontiguousarray(g[:, q : q + p])
        return Joint(
            fits, zz, zx, blocks.cross[:p, :p], (slice(0, q),), (slice(0, p),), dense=False
        )
    z_rows = [[row for group in _columns(fit) for row in group] for fit in fits]
    x_rows = [list(fit.working.fixed.recipe.T @ fit.points.base) for fit in fits]
    z, x = _slices([len(rows) for rows in z_rows]), _slices([len(rows) for rows in x_rows])
    every_z = [row for rows in z_rows for row in rows]
    every_x = [row for rows in x_rows for row in rows]
    weights = fits[0].points.weights
    xx = cross_products(every_x, weights) if every_x else np.empty((0, 0))
    grouped = next((fit for fit in fits if fit.has_random), None)
    if grouped is None:
        empty = np.empty((0, 0, 1)), np.empty((0, len(every_x), 1))
        return Joint(fits, *empty, xx, z, x, dense=False)
    sums = level_sums(
        [*every_z, *every_x],
        weights,
        grouped.points.codes[0],
        len(grouped.design.groups[0].levels),
        np.arange(len(every_z)),
        counted=False,
    )
    q = len(every_z)
    zz, zx = np.ascontiguousarray(sums[:, :q]), np.ascontiguousarray(sums[:, q:])
    return Joint(fits, zz, zx, xx, z, x, dense=False)


def _by_column(fits: tuple[Fit, ...]) -> Joint:
    """Several factors with few columns in all: dense products of all of them."""
    from scipy import sparse

    parts: list[Any] = []
    for fit in fits:
        for columns, codes, group in zip(
            _columns(fit), fit.points.codes, fit.design.groups, strict=True
        ):
            q, n = len(columns), len(codes)
            place = codes[:, None] * q + np.arange(q)
            parts.append(
                sparse.csr_array(
                    (np.stack(columns, axis=1).ravel(), place.ravel(), np.arange(n + 1) * q),
                    shape=(n, q * len(group.levels)),
                )
            )
    Z: Any = sparse.hstack(parts, format="csc")
    x_rows = [fit.working.fixed.recipe.T @ fit.points.base for fit in fits]
    X = np.concatenate(x_rows).T
    weights = fits[0].points.weights
    right = X if weights is None else X * weights[:, None]
    weighted = Z if weights is None else sparse.diags_array(weights) @ Z
    return Joint(
        fits,
        np.ascontiguousarray((Z.T @ weighted).toarray()[..., None]),
        np.ascontiguousarray((Z.T @ right)[..., None]),
        X.T @ right,
        _slices([_layout(fit).total for fit in fits]),
        _slices([len(rows) for rows in x_rows]),
        dense=True,
    )
