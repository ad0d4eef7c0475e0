"""Many segments of one table: columns evaluated once, then standardised within each segment.

A formula whose columns are worked out row by row has the same columns in every segment that shows
all levels of its factors. Then nothing but centre and scale differs between the designs of
segments, and these are arrays. What does not fit in (see `tabulate` and `SegmentRows.regular`) is
left to a fit of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array, cross_products
from mixedmodels.design.basis import CONSTANT, CONSTANT_NAME, DEPENDENT, MODEST, SMALLEST
from mixedmodels.design.build import source_columns
from mixedmodels.design.frame import Columns
from mixedmodels.design.grouping import group_levels, observed
from mixedmodels.errors import MixedModelsError
from mixedmodels.formula.functions import evaluate
from mixedmodels.formula.signatures import FUNCTIONS, code_name
from mixedmodels.formula.terms import Expression, ParsedFormula

Codes = NDArray[np.int64]

# share of a column's sum of squares outside the others, below which the rows are asked
ALIKE = 1e-9
# calls whose result in a row depends on other rows
WHOLE = re.compile(
    r"\b(?:" + "|".join(code_name(name) for name, f in FUNCTIONS.items() if f.stateful) + r")\("
)
# categories of what is not a column: their levels are not known here
CATEGORY_OF_VALUES = re.compile(
    r"\b(?:"
    + "|".join(code_name(name) for name, f in FUNCTIONS.items() if f.result == "category")
    + r")\((?!\w+[,)]|fn_column\()"
)


@dataclass(frozen=True, slots=True)
class SegmentTerm:
    """One random term.

    Attributes
    ----------
    names : tuple of str
    recipe : ndarray of shape (c, q)
        Its columns over the constant and the columns of the table.
    """

    names: tuple[str, ...]
    recipe: Array


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a formula on all rows.

    Attributes
    ----------
    columns : tuple of ndarray of shape (n,)
        Distinct columns of X and Z without the constant and what others determine.
    x_names : tuple of str
    x : ndarray of shape (c, p)
        Columns of X over the constant and these columns.
    terms : tuple of SegmentTerm
    group : str
        Name of the grouping factor; empty for a model without random terms.
    offset : ndarray of shape (n,), optional
        What is taken off a response.
    codes : ndarray of int, shape (n,)
        Levels of the grouping factor.
    weights : ndarray of shape (n,), optional
    factors : tuple of ndarray of int, shape (n,)
        Levels of the categorical covariates.
    """

    columns: tuple[Array, ...]
    x_names: tuple[str, ...]
    x: Array
    terms: tuple[SegmentTerm, ...]
    group: str
    offset: Array | None
    codes: Codes
    weights: Array | None
    factors: tuple[Codes, ...]

    def levels_of(self, rows: NDArray[np.intp]) -> tuple[Codes, list[Codes]]:
        """Levels of the grouping factor and of the covariates on some rows."""
        return self.codes[rows], [codes[rows] for codes in self.factors]


def tabulate(formula: ParsedFormula, columns: Columns) -> Table | None:
    """The table of a formula; None where segments cannot be told apart by centre and scale alone.

    Parameters
    ----------
    formula : ParsedFormula
        Its response is not looked at.
    columns : Columns

    Returns
    -------
    Table or None
        None for several grouping factors, transforms that depend on all rows (``scale``, ``poly``)
        and categories that are not columns.
    """
    if len({frozenset(term.group.variables) for term in formula.random}) > 1:
        return None
    sources = {formula.fixed: None} | {term.columns: None for term in formula.random}
    codes = [*sources, *(offset.code for offset in formula.offsets)]
    if not all(map(_row_by_row, codes)):
        return None
    try:
        matrices = source_columns(formula, columns)
        offset = _offset(formula, columns)
    except MixedModelsError:
        return None  # a fit of its own says what is wrong with which segment
    distinct: dict[str, Array] = {}
    for values, names in matrices.values():
        for name, column in zip(names, values, strict=True):
            if name != CONSTANT_NAME:
                distinct.setdefault(name, column)
    place = {name: j for j, name in enumerate((CONSTANT_NAME, *distinct))}
    kept, recipes = _independent(list(distinct.values()), columns.n)
    x_names = matrices[formula.fixed][1]
    terms = [(term, matrices[term.columns][1]) for term in formula.random]
    if not all(names for _, names in terms):
        return None
    groups = np.zeros(columns.n, np.int64)
    if terms:
        groups, _ = group_levels(formula.random[0].group.variables, columns.groups)
    numbers = [columns.numbers[v] for v in formula.categorical if v in columns.numbers]
    return Table(
        tuple(kept),
        x_names,
        recipes[:, [place[name] for name in x_names]],
        tuple(
            SegmentTerm(names, recipes[:, [place[name] for name in names]]) for _, names in terms
        ),
        formula.random[0].group.name if terms else "",
        offset,
        groups,
        columns.arrays.get("weights"),
        (
            *(factor.codes for factor in columns.factors.values()),
            *(np.unique(values, return_inverse=True)[1] for values in numbers),
        ),
    )


def _independent(columns: Sequence[Array], n: int) -> tuple[list[Array], Array]:
    """Columns that earlier ones do not determine, and all of them over these.

    What holds in all rows holds in each segment: codes of a factor that sum to the constant.

    Returns
    -------
    kept : list of ndarray of shape (n,)
    recipes : ndarray of shape (len(kept) + 1, len(columns) + 1)
        The constant first.
    """
    rows = [np.ones(n), *columns]
    lengths = [float(np.abs(row).max(initial=0.0)) or 1.0 for row in rows]
    if not np.isfinite(lengths).all():
        return list(columns), np.eye(len(rows))
    scaled = [row / length for row, length in zip(rows, lengths, strict=True)]
    gram = cross_products(scaled)
    share: Array
    chosen: list[int] = []
    shares: dict[int, Array] = {}
    for j, row in enumerate(scaled):
        try:
            share = np.linalg.solve(gram[np.ix_(chosen, chosen)], gram[chosen, j]).astype(float)
        except np.linalg.LinAlgError:  # their products cannot tell them apart: nor can we
            return list(columns), np.eye(len(rows))
        left = gram[j, j] - float(gram[chosen, j] @ share)
        if j and left <= ALIKE * gram[j, j]:
            rest = row - sum(s * scaled[i] for s, i in zip(share, chosen, strict=True))
            if np.abs(rest).max(initial=0.0) <= DEPENDENT:
                shares[j] = share
                continue
        chosen.append(j)
    recipes = np.zeros((len(chosen), len(rows)))
    recipes[np.arange(len(chosen)), chosen] = 1.0
    for j, share in shares.items():
        recipes[: len(share), j] = share * (lengths[j] / np.array(lengths)[chosen[: len(share)]])
    return [rows[j] for j in chosen[1:]], recipes


def _row_by_row(source: str) -> bool:
    """Whether a source gives each row its values whatever the other rows are."""
    return not WHOLE.search(source) and not CATEGORY_OF_VALUES.search(source)


def _offset(formula: ParsedFormula, columns: Columns) -> Array | None:
    """Sum of all offsets; where one has no value it is nan, and its segment is not regular."""
    total = columns.arrays.get("offset")
    for expression in formula.offsets:
        value = _values(expression, columns)
        total = value if total is None else total + value
    return total


def response_of(formula: ParsedFormula, columns: Columns) -> Array | None:
    """The response of all rows, nan where it has no value; None if it depends on other rows."""
    assert formula.response is not None
    if not _row_by_row(formula.response.code):
        return None
    try:
        return _values(formula.response, columns)
    except MixedModelsError:
        return None


def _values(expression: Expression, columns: Columns) -> Array:
    with np.errstate(all="ignore"):
        values = np.asarray(evaluate(expression, columns.numbers), dtype=np.float64)
    return np.broadcast_to(values, (columns.n,))


@dataclass(frozen=True, slots=True)
class Sizes:
    """How the rows of a table fall into segments.

    Attributes
    ----------
    n : ndarray of int, shape (n_segments,)
        Rows of each.
    levels : ndarray of int, shape (n_segments,)
        Levels of the grouping factor that each has.
    place : ndarray of int, shape (n,)
        Of each row, the place of its level among those of its segment.
    regular : ndarray of bool, shape (n_segments,)
        Which have enough rows and levels, and all levels of all factors.
    """

    n: Codes
    levels: Codes
    place: Codes
    regular: NDArray[np.bool_]


def measure(table: Table, rows: NDArray[np.intp], segment: Codes, n_segments: int) -> Sizes:
    """Rows and levels of segments.

    Parameters
    ----------
    table : Table
    rows : ndarray of int, shape (n_rows,)
        Rows of the table.
    segment : ndarray of int, shape (n_rows,)
        Segment of each.
    n_segments : int
    """
    n = np.bincount(segment, minlength=n_segments)
    p = table.x.shape[1]
    groups, factors = table.levels_of(rows)
    levels, place = _levels_in(segment, groups, n_segments)
    regular = n > p
    if table.terms:
        most = max(len(term.names) for term in table.terms)
        # what `grouping.check_group` refuses
        regular &= (levels >= 2) & (levels * most < n)
    for every, codes in zip(table.factors, factors, strict=True):
        n_levels = int(every.max(initial=-1)) + 1
        regular &= _levels_in(segment, codes, n_segments)[0] == n_levels
    return Sizes(n, levels, place, regular)


def _levels_in(segment: Codes, codes: Codes, n_segments: int) -> tuple[Codes, Codes]:
    """Number of levels that each segment has, and each row's place among those of its own."""
    width = int(codes.max(initial=0)) + 1
    present, cell = observed(segment * width + codes, n_segments * width)
    count = np.bincount(present // width, minlength=n_segments)
    first = np.cumsum(count) - count
    return count, cell - first[segment]


@dataclass(frozen=True, slots=True)
class SegmentRows:
    """Rows of some segments in base columns.

    Attributes
    ----------
    base : ndarray of shape (c, n)
        Centred and scaled within each segment; the first is all ones.
    y : ndarray of shape (n,)
    segment, cell : ndarray of int, shape (n,)
        Segment of each row; and its level, ``segment * width + place``.
    weights : ndarray of shape (n,), optional
        Of mean one within each segment.
    centre, scale : ndarray of shape (c, n_segments)
        A column is ``centre + scale * base``.
    y_centre, y_scale, weight_scale : ndarray of shape (n_segments,)
    n : ndarray of int, shape (n_segments,)
    width : int
        Most levels in a segment.
    regular : ndarray of bool, shape (n_segments,)
        Where all columns are finite, vary, and can be squared.
    """

    base: Array
    y: Array
    segment: Codes
    cell: Codes
    weights: Array | None
    centre: Array
    scale: Array
    y_centre: Array
    y_scale: Array
    weight_scale: Array
    n: Codes
    width: int
    regular: NDArray[np.bool_]


def standardise_segments(
    table: Table, y: Array, rows: NDArray[np.intp], segment: Codes, place: Codes, n: Codes
) -> SegmentRows:
    """Base columns of some segments.

    Parameters
    ----------
    table : Table
    y : ndarray of shape (n_rows,)
        Response of the rows.
    rows : ndarray of int, shape (n_rows,)
        Rows of the table.
    segment, place : ndarray of int, shape (n_rows,)
        Segment of each row, from 0, and the place of its level among those of the segment.
    n : ndarray of int, shape (n_segments,)
        Rows of each segment.
    """
    count = len(n)
    regular = np.ones(count, np.bool_)
    weights, weight_scale = None, np.ones(count)
    if table.weights is not None:
        weights, weight_scale = _weights(table.weights[rows], segment, n, regular)
    base = np.ones((len(table.columns) + 1, len(rows)))
    centre, scale = np.zeros((len(base), count)), np.ones((len(base), count))
    for j, column in enumerate(table.columns, start=1):
        centre[j], scale[j], base[j] = _standardised(column[rows], segment, n, weights, regular)
    y_centre, y_scale, y = _standardised(y, segment, n, weights, regular)
    width = int(place.max(initial=0)) + 1
    return SegmentRows(
        base,
        y,
        segment,
        segment * width + place,
        weights,
        centre,
        scale,
        y_centre,
        y_scale,
        weight_scale,
        n,
        width,
        regular,
    )


def _weights(
    weights: Array, segment: Codes, n: Codes, regular: NDArray[np.bool_]
) -> tuple[Array, Array]:
    largest, least = np.zeros(len(n)), np.full(len(n), np.inf)
    np.maximum.at(largest, segment, weights)
    np.minimum.at(least, segment, weights)
    regular &= (least > 0.0) & (least >= SMALLEST * largest)
    safe = np.where(regular, largest, 1.0)
    scaled = weights / safe[segment]
    mean = np.bincount(segment, scaled, len(n)) / n
    mean = np.where(regular, mean, 1.0)
    return scaled / mean[segment], safe * mean


def _standardised(
    values: Array, segment: Codes, n: Codes, weights: Array | None, regular: NDArray[np.bool_]
) -> tuple[Array, Array, Array]:
    """Centre, scale and standardised values; see `basis.standardise` for one segment."""
    with np.errstate(all="ignore"):
        weighted = values if weights is None else values * weights
        centre = np.bincount(segment, weighted, len(n)) / n
        out = values - centre[segment]
        squares = out * out if weights is None else out * out * weights
        scale = np.sqrt(np.bincount(segment, squares, len(n)) / n)
        good = varies(centre, scale)
        regular &= good
        scale = np.where(good, scale, 1.0)
        out /= scale[segment]
    return centre, scale, out


def varies(centre: Array, scale: Array) -> NDArray[np.bool_]:
    """Whether columns of these means and standard deviations can be standardised as they are."""
    square = scale * scale
    modest = (square > MODEST[0]) & (square < MODEST[1])
    return np.asarray(modest & (scale > CONSTANT * np.abs(centre)))
