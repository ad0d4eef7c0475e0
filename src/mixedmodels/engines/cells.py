"""Sums per cell to the design and a few weighted rows with exactly these sums.

Of a cell with n rows only the sums enter the likelihood, so any rows with the same sums do. At most
one more row than there are columns reproduces them: the cell's mean plus and minus the columns of a
root of the cell's covariance. All that fits rows in memory then serves for cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.build import (
    Design,
    Matrices,
    Rows,
    assemble_design,
    column_names,
    covariate_table,
    evaluate_source,
)
from mixedmodels.design.frame import Columns
from mixedmodels.design.levels import Factor
from mixedmodels.engines.expressions import Scaling
from mixedmodels.engines.moments import Moments
from mixedmodels.engines.plan import PREFIX, Plan
from mixedmodels.engines.sums import Sums, taken, used
from mixedmodels.formula.functions import CONTEXT
from mixedmodels.formula.terms import ParsedFormula

Codes = NDArray[np.intp]

# share of a column's products that is rounding
ROUNDING = 1e-14
# a value below this share of the largest of its column is what rounding made of zero
ZERO = 1e-15


def cell_design(formula: ParsedFormula, given: Moments) -> tuple[Design, Rows]:
    """The design of a formula, and weighted rows that have the sums of the cells.

    Returns
    -------
    design : Design
        The same as of the rows in memory, up to rounding.
    points : Rows
        Their weights add up to the number of rows.

    Raises
    ------
    FormulaError
        Terms that the sums do not have.
    DataError
        As for rows in memory.
    """
    plan = given.plan(formula)
    cell, weights, values = expand(given.sums)
    known = {name: used(given.keys[name]) for name in plan.keys}
    keys = {name: taken(key, cell) for name, key in known.items()}
    columns = _columns(plan, keys, given, len(cell))
    specs = _specs(plan, given, known)
    matrices: Matrices = {}
    table = _part_table(plan, given, columns, values)
    for source, rewritten in plan.sources.items():
        names = column_names(specs[source], formula.labels)
        matrix = source_matrix(rewritten, table)
        assert matrix.shape[1] == len(names)
        matrices[source] = matrix.T, names
    n, m = given.n, len(cell)
    mean = float(given.sums.weight.sum() / n)
    normal = weights * (m / weights.sum())
    design, base, y, codes = assemble_design(
        formula, columns, matrices, specs, values[-1], normal, n
    )
    scale = 1.0 if given.weights is None else mean
    return design, Rows(base, y, codes, normal * (n / m), scale, None)


def log_weights(given: Moments) -> float:
    """Sum of the logarithms of the weights divided by their mean."""
    if given.weights is None:
        return 0.0
    return given.log_weights - given.n * float(np.log(given.sums.weight.sum() / given.n))


def _columns(plan: Plan, keys: Mapping[str, Factor], given: Moments, n: int) -> Columns:
    """Keys of the points as covariates and groups."""
    numeric = [v for v in plan.categorical if v in given.numbers and v not in plan.forced]
    numbers = {v: np.array(keys[v].levels, np.float64)[keys[v].codes] for v in numeric}
    factors = {v: keys[v] for v in plan.categorical if v not in numeric}
    groups = {v: keys[v] for v in plan.grouping if v in keys}
    return Columns(numbers, factors, groups, {}, n, n, None, {}, None)


def _specs(plan: Plan, given: Moments, known: Mapping[str, Factor]) -> dict[str, ModelSpec]:
    """Formulaic's specs of the sources, from a small frame that has every level."""
    formula = plan.formula
    size = max([2, *(len(known[v].levels) for v in plan.categorical)])
    codes = {v: np.arange(size) % len(known[v].levels) for v in plan.categorical}
    small = {v: replace(known[v], codes=codes[v]) for v in plan.categorical}
    columns = _columns(plan, small, given, size)
    columns.numbers.update(
        {
            name: np.linspace(1.0, 2.0, size)
            for name in formula.covariates
            if name in given.numbers and name not in columns.numbers and name not in plan.forced
        }
    )
    texts = [v for v in formula.covariates if v not in columns.numbers and v not in columns.factors]
    table = covariate_table(columns)
    for name in texts:  # read in comparisons only
        table[name] = "text"
    specs = {}
    for source in plan.sources:
        spec = evaluate_source(source, table, formula.labels)[1]
        for text, state in spec.transform_state.items():
            if text in given.scalings:
                state.update(_state(given.scalings[text]))
        specs[source] = spec
    return specs


def _state(scaling: Scaling) -> dict[str, Any]:
    return {
        "center": None if scaling.centre is None else np.float64(scaling.centre),
        "scale": None if scaling.scale is None else np.float64(scaling.scale),
    }


def _part_table(plan: Plan, given: Moments, columns: Columns, values: Array) -> pd.DataFrame:
    table = covariate_table(columns)
    parts = {f"{PREFIX}{i}": values[given.parts.index(part)] for i, part in enumerate(plan.parts)}
    return pd.concat([table, pd.DataFrame(parts, index=table.index)], axis=1)


def source_matrix(source: str, table: pd.DataFrame) -> Array:
    """The columns of a source whose parts are columns of the table."""
    # terms stay in the order of the formula's own, whose degrees count each number of a part
    formula = Formula(source, _ordering="none")
    with np.errstate(all="ignore"):
        matrix = formula.get_model_matrix(
            table, context=CONTEXT, na_action="ignore", output="numpy"
        )
    return np.asarray(matrix, dtype=np.float64).reshape(len(table), -1)


# --- rows from sums -------------------------------------------------------------------------------


def expand(sums: Sums, *, most: NDArray[np.int64] | None = None) -> tuple[Codes, Array, Array]:
    """Weighted rows that have the sums of each cell.

    Parameters
    ----------
    sums : Sums
    most : ndarray of int, shape (n_cells,), optional
        Rank that the products of a cell can have; later columns are then rounding.

    Returns
    -------
    cell : ndarray of int, shape (m,)
    weights : ndarray of shape (m,)
    values : ndarray of shape (k, m)
    """
    size = len(sums.means)
    roots, rank = _roots(sums.products, most)
    cells, weights, values = [], [], []
    for r in range(size + 1):
        which = np.flatnonzero(rank == r)
        if not len(which):
            continue
        weight = sums.weight[which] / (r + 1)
        # (r + 1, r), columns orthonormal and orthogonal to ones
        corners = _corners(r)
        spread = np.einsum("kjc,ij->kic", roots[:, :r, which], corners) / np.sqrt(weight)
        points = sums.means[:, None, which] + spread
        cells.append(np.tile(which, r + 1))
        weights.append(np.tile(weight, r + 1))
        values.append(points.reshape(size, -1))
    found = np.concatenate(values, axis=1)
    sizes = np.abs(found)
    # else a column that is zero wherever it counts, such as a product with a level, has values
    found[sizes < ZERO * sizes.max(axis=1, keepdims=True, initial=0.0)] = 0.0
    return np.concatenate(cells), np.concatenate(weights), found


def _roots(products: Array, most: NDArray[np.int64] | None) -> tuple[Array, Codes]:
    """Lower Cholesky factors of all cells side by side, columns of zeros last, and their rank."""
    size, _, n = products.shape
    root, found = np.zeros((size, size, n)), np.zeros(n, np.int64)
    diagonal = np.einsum("iic->ic", products)
    for j in range(size):
        rest = products[j:, j] - np.einsum("imc,mc->ic", root[j:, :j], root[j, :j])
        pivot = rest[0]
        fine = pivot > ROUNDING * diagonal[j]
        if most is not None:
            fine &= found < most
        found += fine
        root[j:, j] = np.where(fine, rest / np.sqrt(np.where(fine, pivot, 1.0)), 0.0)
    empty = ~np.einsum("jjc->jc", root).astype(bool)
    order = np.argsort(empty, axis=0, kind="stable")
    packed = np.take_along_axis(root, order[None], axis=1)
    return packed, size - empty.sum(axis=0)


def _corners(r: int) -> Array:
    """Helmert's contrasts, scaled to length one: a simplex of r + 1 points about zero."""
    out = np.zeros((r + 1, r))
    for j in range(r):
        out[: j + 1, j] = 1.0
        out[j + 1, j] = -(j + 1.0)
        out[:, j] /= np.sqrt((j + 1.0) * (j + 2.0))
    return out
