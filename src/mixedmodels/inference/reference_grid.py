"""The reference grid: levels of factors crossed with values of covariates, and averages over it.

Every row of the grid goes through the design's own recipe for new data, so that transforms,
contrasts and interactions come out as in the fit. Linear functions are over all columns of X, the
dropped ones too: whether an average can be estimated is asked after averaging.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mixedmodels.arguments import check_choice
from mixedmodels.arrays import Array
from mixedmodels.design.build import covariate_table, evaluate_new, total_offset
from mixedmodels.design.frame import Columns
from mixedmodels.design.levels import Factor
from mixedmodels.engines.moments import Moments
from mixedmodels.errors import DataError, ModelError
from mixedmodels.inference.grid_variables import Variable, nesting, read_variables
from mixedmodels.model.record import Fit

# combinations in a grid; numbers of X evaluated at a time
LARGEST, BLOCK = 2_000_000, 4_000_000
# step of a numerical derivative, as a share of the covariate's range
STEP = 1e-3
WEIGHTS = ("equal", "proportional", "outer", "cells", "flat")


@dataclass(frozen=True, slots=True, eq=False)
class Averages:
    """Averages over the grid, one per combination of the variables that were asked for.

    Attributes
    ----------
    cells : ndarray of int, shape (m, number of targets)
        Position of each target's value.
    linear : ndarray of shape (m, columns of X)
        Coefficients over all fixed-effect columns.
    offset : ndarray of shape (m,)
    """

    cells: NDArray[np.intp]
    linear: Array
    offset: Array


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceGrid:
    """The variables of the fixed part and how they hang together.

    Attributes
    ----------
    fit : Fit
    variables : dict of str to Variable
    nested : dict of str to tuple of str
        Factors that mean something only within the levels of others.
    offset : float
        Mean of the offset that was given as an argument.
    """

    fit: Fit
    variables: dict[str, Variable]
    nested: dict[str, tuple[str, ...]]
    offset: float

    def averages(self, targets: Sequence[str], weights: str) -> Averages:
        """Average over all variables but the targets, whose first varies fastest.

        By the rows of a combination that has none the average is NaN.

        Raises
        ------
        ModelError
            Unknown weights, too large a grid.
        DataError
            The grid holds a value that a transform cannot take.
        """
        order = (*reversed(targets), *(name for name in self.variables if name not in targets))
        shape = tuple(len(self.variables[name].values) for name in order)
        self._check_size(shape)
        share = self._shares(order, len(targets), weights)
        kept = np.flatnonzero(share.any(axis=1))
        cells = np.flatnonzero(share)
        linear = np.zeros((len(share), len(self.fit.design.x_names)))
        offset = np.zeros(len(share))
        size = max(1, BLOCK // max(1, linear.shape[1]))
        for start in range(0, len(cells), size):
            block = cells[start : start + size]
            x, extra = self._rows(
                order, np.unravel_index(block, shape) if shape else (), len(block)
            )
            place = (block // share.shape[1], np.arange(len(block)))
            spread = csr_array((share.ravel()[block], place), shape=(len(share), len(block)))
            linear += spread @ x
            offset += spread @ extra
        places = np.unravel_index(kept, shape[: len(targets)])[::-1] if targets else ()
        table = np.array(places, np.intp).reshape(len(targets), len(kept)).T
        return Averages(table, linear[kept], offset[kept])

    def slopes(self, targets: Sequence[str], weights: str, name: str) -> Averages:
        """Averages of the derivative in one covariate.

        Notes
        -----
        A five-point difference: exact for polynomials up to degree four, but for rounding.
        """
        variable = self.variables[name]
        step = STEP * (variable.width if variable.width > 0 else _size(variable))

        def at_distance(steps: float) -> Averages:
            values = tuple(float(v) + steps * step for v in variable.values)
            moved = {**self.variables, name: replace(variable, values=values)}
            return replace(self, variables=moved).averages(targets, weights)

        # differences first: what does not change is zero to the last digit
        up, down, far_up, far_down = map(at_distance, (1.0, -1.0, 2.0, -2.0))
        linear = 8.0 * (up.linear - down.linear) - (far_up.linear - far_down.linear)
        offset = 8.0 * (up.offset - down.offset) - (far_up.offset - far_down.offset)
        return Averages(up.cells, linear / (12.0 * step), offset / (12.0 * step))

    def _check_size(self, shape: tuple[int, ...]) -> None:
        if math.prod(shape) > LARGEST:
            sizes = ", ".join(
                f"{v.name} {len(v.values)}" for v in self.variables.values() if len(v.values) > 1
            )
            raise ModelError(
                f"the reference grid has {math.prod(shape)} combinations ({sizes}), more than "
                f"{LARGEST}: choose some levels with at={{...}}"
            )

    def _shares(self, order: Sequence[str], n_targets: int, weights: str) -> Array:
        """Weight of each cell in the average of its target, shape (targets, others)."""
        check_choice("weights", weights, WEIGHTS)
        counts = self._counts(order, needed=weights != "equal" or bool(self.nested))
        axes = range(n_targets, counts.ndim)
        inside, levels = self._inside(order, counts)
        if weights in ("cells", "flat"):
            share: Any = counts if weights == "cells" else (counts > 0) * 1.0
        elif weights == "proportional":
            share = inside * counts.sum(axis=tuple(range(n_targets)), keepdims=True)
        else:
            share = inside * 1.0
            for axis in axes:
                rest = tuple(a for a in range(counts.ndim) if a != axis)
                alone = counts.sum(axis=rest, keepdims=True)
                share = share * (alone if weights == "outer" else 1.0 / np.maximum(levels[axis], 1))
        width = math.prod(counts.shape[n_targets:])
        share = share.reshape(-1, width)
        total = share.sum(axis=1)
        # no rows to be weighted by: there is such a combination, but nothing to average
        share[inside.reshape(-1, width).any(axis=1) & (total == 0.0)] = np.nan
        return np.asarray(share / np.where(total > 0.0, total, 1.0)[:, None])

    def _inside(self, order: Sequence[str], counts: Array) -> tuple[NDArray[np.bool_], list[Array]]:
        """Cells that exist, and how many levels each variable has, given those that it lies in."""
        inside = np.ones(counts.shape, np.bool_)
        levels: list[Array] = [np.array(float(size)) for size in counts.shape]
        for name, outer in self.nested.items():
            own = order.index(name)
            rest = tuple(a for a, other in enumerate(order) if other not in (name, *outer))
            present = counts.sum(axis=rest, keepdims=True) > 0
            inside &= present
            levels[own] = present.sum(axis=own, keepdims=True).astype(np.float64)
        return inside, levels

    def _counts(self, order: Sequence[str], *, needed: bool) -> Array:
        """Rows of the fit, or their prior weights, in each cell; ones if they are not needed."""
        variables = [self.variables[name] for name in order]
        shape = tuple(len(v.values) for v in variables)
        if not needed:
            return np.ones(shape)
        sums = self.fit.source.sums
        if self.fit.source.data is None and sums is None:
            raise ModelError(
                "these weights need the data, which the model does not hold (it was loaded from a "
                "file): use weights='equal', or write the file with mm.save(model, path, data=True)"
            )
        if sums is not None:
            _check_counted(sums, variables)
        counted = [v for v in variables if v.codes is not None]
        sizes = tuple(len(v.values) for v in counted)
        n = self.fit.n_obs if sums is None else sums.n_cells
        cell, known = np.zeros(n, np.intp), np.ones(n, np.bool_)
        for variable in counted:
            codes = variable.codes
            assert codes is not None
            known &= codes >= 0
            cell = cell * len(variable.values) + np.maximum(codes, 0)
        if sums is not None:
            prior = sums.sums.weight
        else:
            prior = np.ones(n) if self.fit.rows.weights is None else self.fit.rows.weights
        counts = np.bincount(cell, weights=prior * known, minlength=math.prod(sizes))
        kept = tuple(len(v.values) if v.codes is not None else 1 for v in variables)
        return np.array(np.broadcast_to(counts.reshape(kept), shape))

    def _rows(
        self, order: Sequence[str], places: Sequence[NDArray[np.intp]], n: int
    ) -> tuple[Array, Array]:
        """X and the offset for some cells."""
        design = self.fit.design
        numbers: dict[str, Array] = {}
        factors: dict[str, Factor] = {}
        known = {}
        for name, place in zip(order, places, strict=True):
            variable = self.variables[name]
            if name in design.factors:
                codes = np.asarray(place, np.int64)
                factors[name] = Factor(codes, variable.values, ordered=False, order_given=True)
            else:
                numbers[name] = np.array(variable.values, dtype=np.float64)[place]
            if variable.is_factor:  # a number that is one in random terms only may be anything
                key = name if name in design.factors else f"factor({name})"
                known[key] = design.factors[key]
        columns = Columns(
            numbers, factors, {}, {"offset": np.full(n, self.offset)}, n, n, None, {}, None
        )
        try:
            table = covariate_table(columns, known)
            x = evaluate_new(design, design.formula.fixed, columns, table)
            offset = total_offset(design.formula, columns)
        except DataError as error:
            what = str(error).partition(": drop")[0]
            raise DataError(f"in the reference grid, {what}: choose values with at=") from None
        return x, np.zeros(n) if offset is None else offset


def _check_counted(sums: Moments, variables: Sequence[Variable]) -> None:
    """Refuse weights by numbers of two values: the sums do not say how these meet other factors."""
    for v in variables:
        known = None if v.codes is not None else sums.spread(v.name)
        if known is not None and known[3] and set(v.values) == set(known[1:3]) != {known[1]}:
            raise ModelError(
                f"these weights count rows, and sums do not say how often '{v.name}' has each of "
                f"its values in each cell: write factor({v.name}) in the formula, or use "
                "weights='equal'"
            )


def _size(variable: Variable) -> float:
    return max(1e-3, *(abs(float(v)) for v in variable.values))


def reference_grid(fit: Fit, at: Mapping[str, Any] | None) -> ReferenceGrid:
    """The grid of a fit.

    Parameters
    ----------
    fit : Fit
    at : mapping of str to value or values, optional
        Values of covariates, and levels of factors, to use instead of the mean or all.

    Raises
    ------
    ModelError
        Unknown variables or levels; means that need the data of a model that does not hold them.
    """
    variables, offset = read_variables(fit, at)
    return ReferenceGrid(fit, variables, nesting(fit, variables), offset)
