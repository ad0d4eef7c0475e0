"""Formula and columns to a design: recipes of X and Z, levels, state for new data.

Fixed part, contrasts and stateful transforms are formulaic's; grouping and the recipes are ours.
No sums are taken here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec  # type: ignore[import-untyped]
from formulaic.errors import FormulaicError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.basis import CONSTANT_NAME, SMALLEST, make_basis, standardise
from mixedmodels.design.frame import Columns
from mixedmodels.design.grouping import Structure, check_group, find_structure, group_levels
from mixedmodels.design.levels import Factor
from mixedmodels.errors import DataError, FormulaError, MixedModelsError
from mixedmodels.formula.functions import CONTEXT, evaluate
from mixedmodels.formula.terms import Expression, ParsedFormula
from mixedmodels.memory import check_memory

# terms that are not bare columns, and columns of a fixed part or of the left side of a bar
MOST_TERMS, MOST_COLUMNS = 3_000, 5_000
# columns up to which there may be more than rows: empty cells of factors are dropped one by one
MANY_COLUMNS = 1_500
# our rendering of a sum of bare columns
BARE = re.compile("[01](?: [+] `[^`]+`)*")


@dataclass(frozen=True, slots=True)
class TermDesign:
    """One random term: which columns vary between the levels of a factor.

    Attributes
    ----------
    text : str
        As in the formula, ``(Days | Subject)``.
    names : tuple of str
        Names of its columns.
    recipe : ndarray of shape (c, q)
        Its columns over the base columns.
    source : str
        The left side, for formulaic.
    """

    text: str
    names: tuple[str, ...]
    recipe: Array
    source: str


@dataclass(frozen=True)
class GroupDesign:
    """One grouping factor with all terms on it.

    Attributes
    ----------
    name : str
        ``'animal'`` or ``'a:b'``.
    variables : tuple of str
    levels : tuple of str
        Labels, in the order of the codes.
    terms : tuple of TermDesign
    """

    name: str
    variables: tuple[str, ...]
    levels: tuple[str, ...]
    terms: tuple[TermDesign, ...]

    @cached_property
    def uses(self) -> NDArray[np.intp]:
        """Base columns that the terms are made of."""
        return np.flatnonzero(np.any([(t.recipe != 0.0).any(axis=1) for t in self.terms], axis=0))


@dataclass(frozen=True, slots=True)
class Design:
    """What the model is, without its data.

    Attributes
    ----------
    formula : ParsedFormula
    x_names : tuple of str
        Names of all fixed-effect columns, dependent ones included.
    x_recipe : ndarray of shape (c, p_all)
        Those columns over the base columns.
    y_centre, y_scale : float
        ``y - offset = y_centre + y_scale * base y``.
    groups : tuple of GroupDesign
        From the most levels to the fewest: the order of elimination.
    structure : Structure
    specs : mapping of str to formulaic ModelSpec
        Per source text: what turns new data into columns.
    factors : mapping of str to (levels, ordered)
        Levels of the categorical variables of the fit; under ``factor(x)`` the distinct values of
        a number that is used as a factor too.
    term_order : tuple of (int, int)
        (group, term) in the order of the formula.
    low : mapping of str to ndarray of shape (c,)
        Of nearly dependent columns, by name: what rounding leaves out of their recipes.
    """

    formula: ParsedFormula
    x_names: tuple[str, ...]
    x_recipe: Array
    y_centre: float
    y_scale: float
    groups: tuple[GroupDesign, ...]
    structure: Structure
    specs: Mapping[str, ModelSpec]
    factors: Mapping[str, tuple[tuple[Any, ...], bool]]
    term_order: tuple[tuple[int, int], ...]
    low: Mapping[str, Array] = field(default_factory=dict)

    @property
    def theta_order(self) -> list[tuple[int, int]]:
        """(group, term) in lme4's order: most levels first, then as in the formula."""
        return sorted(self.term_order, key=lambda pair: -len(self.groups[pair[0]].levels))


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a data set in base columns.

    Attributes
    ----------
    base : ndarray of shape (c, n)
        Base columns; the first is all ones.
    y : ndarray of shape (n,)
        Centred and scaled response, offset removed.
    codes : tuple of ndarray of int, shape (n,)
        Level of each grouping factor.
    weights : ndarray of shape (n,), optional
        Prior weights divided by their mean.
    weight_scale : float
        That mean.
    offset : ndarray of shape (n,), optional
    """

    base: Array
    y: Array
    codes: tuple[NDArray[np.int64], ...]
    weights: Array | None
    weight_scale: float
    offset: Array | None


def build_design(formula: ParsedFormula, columns: Columns) -> tuple[Design, Rows]:
    """Assemble the design and the rows of a data set.

    Raises
    ------
    DataError
        Response or covariates that are not finite numbers; unusable weights or groups.
    FormulaError
        A part that formulaic cannot evaluate.
    """
    weights, weight_scale = _weights(columns)
    sources = {formula.fixed: None} | {term.columns: None for term in formula.random}
    matrices, specs = _matrices(tuple(sources), columns, formula)
    offset = total_offset(formula, columns)
    y = _response(formula, columns, offset)
    design, base, scaled, codes = assemble_design(
        formula, columns, matrices, specs, y, weights, columns.n
    )
    return design, Rows(base, scaled, codes, weights, weight_scale, offset)


def assemble_design(
    formula: ParsedFormula,
    columns: Columns,
    matrices: Matrices,
    specs: Mapping[str, ModelSpec],
    y: Array,
    weights: Array | None,
    n: int,
) -> tuple[Design, Array, Array, tuple[NDArray[np.int64], ...]]:
    """A design from the columns that its sources gave.

    Parameters
    ----------
    formula : ParsedFormula
    columns : Columns
    matrices : Matrices
        Per source its columns and their names.
    specs : mapping of str to formulaic ModelSpec
    y : ndarray of shape (m,)
        Response less offset.
    weights : ndarray of shape (m,), optional
        Of mean one.
    n : int
        Number of rows that the m weighted ones stand for.

    Returns
    -------
    design : Design
    base : ndarray of shape (c, m)
    y : ndarray of shape (m,)
        Centred and scaled.
    codes : tuple of ndarray of int, shape (m,)

    Raises
    ------
    DataError
        As `build_design`.
    """
    scaled, y_centre, y_scale = _scaled_response(formula, y, weights, n)
    distinct: dict[str, Array] = {}
    for values, names in matrices.values():
        for name, column in zip(names, values, strict=True):
            if name != CONSTANT_NAME:
                distinct.setdefault(name, column)
    plain = columns.numbers
    for name, column in distinct.items():
        if name not in plain:
            _check_finite(column, name, columns)
    x_names = matrices[formula.fixed][1]
    n_fixed = sum(name in distinct for name in dict.fromkeys(x_names))
    basis = make_basis(list(distinct.items()), columns.n, weights, n_fixed)
    x_recipe = _stack(basis.recipes, x_names, len(basis.rows))
    groups, codes, order = _groups(formula, columns, matrices, basis.recipes, len(basis.rows), n)
    structure = find_structure(codes, [len(g.levels) for g in groups])
    design = Design(
        formula=formula,
        x_names=x_names,
        x_recipe=x_recipe,
        y_centre=y_centre,
        y_scale=y_scale,
        groups=tuple(groups),
        structure=structure,
        specs=specs,
        factors=_known_levels(formula, columns),
        term_order=order,
        low=basis.low,
    )
    return design, basis.rows, scaled, tuple(codes)


def _known_levels(
    formula: ParsedFormula, columns: Columns
) -> dict[str, tuple[tuple[Any, ...], bool]]:
    known: dict[str, tuple[tuple[Any, ...], bool]] = {
        name: (f.levels, f.ordered) for name, f in columns.factors.items()
    }
    for name in formula.categorical:
        if name in columns.numbers:
            values = np.unique(columns.numbers[name]).tolist()
            known[f"factor({name})"] = (tuple(values), False)
    return known


def covariate_table(
    columns: Columns, levels: Mapping[str, tuple[tuple[Any, ...], bool]] | None = None
) -> pd.DataFrame:
    """The covariates as formulaic reads them.

    Parameters
    ----------
    columns : Columns
    levels : mapping, optional
        Levels of the fit, for new data.
    """
    data: dict[str, Any] = dict(columns.numbers)
    for name, factor in columns.factors.items():
        data[name] = pd.Categorical.from_codes(
            factor.codes, categories=pd.Index(list(factor.levels)), ordered=False
        )
    if levels is not None:
        for name, (known, _) in levels.items():
            if name in columns.factors:
                data[name] = recode(name, columns.factors[name], known)
            number = name.removeprefix("factor(").removesuffix(")")
            if number != name and number in columns.numbers:
                unseen = np.setdiff1d(columns.numbers[number], known)
                if len(unseen):
                    raise _unseen(number, [f"{v:g}" for v in unseen], [f"{v:g}" for v in known])
    if not data:
        return pd.DataFrame(index=pd.RangeIndex(columns.n))
    return pd.DataFrame(data, copy=False)


def recode(name: str, factor: Factor, known: Sequence[Any]) -> pd.Categorical:
    """New data's categories matched by value to those of the fit.

    Raises
    ------
    DataError
        A level that the fit has not seen.
    """
    position = {str(level): i for i, level in enumerate(known)}
    codes = np.array([position.get(str(level), -1) for level in factor.levels], np.int64)
    unseen = [str(level) for level, code in zip(factor.levels, codes, strict=True) if code < 0]
    if unseen:
        raise _unseen(name, unseen, [str(level) for level in known])
    return pd.Categorical.from_codes(
        codes[factor.codes], categories=pd.Index(list(known)), ordered=False
    )


def _unseen(name: str, unseen: Sequence[str], known: Sequence[str]) -> DataError:
    return DataError(
        f"{'level' if len(unseen) == 1 else 'levels'} {_quote(unseen)} of '{name}' "
        f"{'was' if len(unseen) == 1 else 'were'} not in the data of the fit; known levels: "
        f"{_quote(known)}"
    )


def _quote(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(f"'{_short(name)}'" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _short(name: str, width: int = 60) -> str:
    return name if len(name) <= width else f"{name[: width // 2]}...{name[-width // 2 :]}"


@lru_cache(maxsize=256)
def _formula(source: str) -> Formula:
    return Formula(source)


Matrices = dict[str, tuple[Sequence[Array] | Array, tuple[str, ...]]]


def _matrices(
    sources: Sequence[str], columns: Columns, formula: ParsedFormula
) -> tuple[Matrices, dict[str, ModelSpec]]:
    """Columns, their names and the spec of each source."""
    labels, categorical = formula.labels, formula.categorical
    matrices: Matrices = {}
    specs: dict[str, ModelSpec] = {}
    table: pd.DataFrame | None = None
    for source in sources:
        bare = _bare_numbers(source, columns)
        if bare is not None:
            names = ("Intercept",) * source.startswith("1") + bare
            constant = (np.empty(0),) * source.startswith("1")
            matrices[source] = (*constant, *(columns.numbers[name] for name in bare)), names
            specs[source] = _bare_spec(source, bare)
            continue
        if table is None:
            table = covariate_table(columns)
        check_width(source, columns, categorical)
        values, spec = evaluate_source(source, table, labels)
        matrices[source] = values.T, column_names(spec, labels)
        specs[source] = spec
    return matrices, specs


def check_width(source: str, columns: Columns, categorical: Sequence[str]) -> None:
    """Refuse, before any memory is taken, what makes too many dense columns.

    Raises
    ------
    FormulaError
        Too many terms, or too many columns of one.
    MemoryLimitError
    """
    if source.count(" + ") > MOST_TERMS:
        raise FormulaError(
            f"the formula has more than {MOST_TERMS:,} terms that are not plain columns of "
            "numbers; compute them as columns of the data, whose names may then be joined by +"
        )
    levels = {name: len(factor.levels) for name, factor in columns.factors.items()}
    for name in categorical:
        if name in columns.numbers:
            levels[name] = len(np.unique(columns.numbers[name]))
    if not levels:
        return
    total, worst, most = 0.0, "", 0.0
    for term in _formula(source):
        width, names = 1.0, []
        for factor in term.factors:
            name = _factor_name(str(factor), levels)
            width *= max(1, levels.get(name, 2) - 1)
            names += [name] if name in levels else []
        total += width
        if width > most:
            most, worst = width, ":".join(names)
    made = (
        f"the factors make {total:,.0f} dense columns of {columns.n:,} rows, {most:,.0f} of them "
        f"in '{worst}'. Make it a grouping factor, (1 | {worst}), or join levels"
    )
    if total > MOST_COLUMNS or total > max(MANY_COLUMNS, columns.n):
        raise FormulaError(made)
    check_memory(8.0 * 3.0 * total * columns.n, made)


def _factor_name(code: str, levels: Mapping[str, int]) -> str:
    """The column with levels that a factor of formulaic reads."""
    bare = code.strip("`")
    if bare in levels:
        return bare
    read = re.findall("`([^`]+)`", code) + re.findall(r"[(]([A-Za-z_.][\w.]*)", code)
    return next((name for name in read if name in levels), "")


def source_columns(formula: ParsedFormula, columns: Columns) -> Matrices:
    """Columns and their names of each source of a formula, whether or not they are finite.

    Raises
    ------
    FormulaError
        A part that formulaic cannot evaluate.
    """
    sources = {formula.fixed: None} | {term.columns: None for term in formula.random}
    return _matrices(tuple(sources), columns, formula)[0]


def _bare_numbers(source: str, columns: Columns) -> tuple[str, ...] | None:
    """Names of the columns, if a source is a sum of numeric columns; the most common one is."""
    if BARE.fullmatch(source) is None:
        return None
    names = tuple(re.findall("`([^`]+)`", source))
    numeric = all(name in columns.numbers and name != "Intercept" for name in names)
    return names if numeric else None


@lru_cache(maxsize=256)
def _bare_spec(source: str, names: tuple[str, ...]) -> ModelSpec:
    """Formulaic's spec of a sum of numeric columns, which needs no data."""
    table = pd.DataFrame({name: [0.0, 1.0] for name in names}, index=[0, 1])
    return evaluate_source(source, table, {})[1]


def evaluate_source(
    source: str, table: pd.DataFrame, labels: Mapping[str, str]
) -> tuple[Array, ModelSpec]:
    """The matrix of one source and the spec that evaluates it on other data."""
    try:
        # log(-1) is NaN here and an error with row and column below, never numpy's warning
        with np.errstate(all="ignore"):
            matrix = _formula(source).get_model_matrix(
                table, context=CONTEXT, na_action="ignore", output="numpy"
            )
    except (FormulaicError, TypeError, ValueError) as error:
        raise _explain(source, error, labels) from None
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(table):
        values = values.reshape(len(table), -1)
    return values, matrix.model_spec


def _explain(source: str, error: Exception, labels: Mapping[str, str]) -> MixedModelsError:
    """Our words for formulaic's error: the factor as the user wrote it, and what is wrong."""
    found = re.search(r"factor `(.*?)`\. \[(?:\w+: )?(.*)\]$", str(error), re.DOTALL)
    part, reason = found.groups() if found else (source, str(error).strip())
    for code in sorted(labels, key=len, reverse=True):
        part = part.replace(code, labels[code])
    part = part.replace("`", "")
    cause: BaseException | None = error
    while cause is not None:  # our own words, wrapped by formulaic
        if isinstance(cause, MixedModelsError):
            return type(cause)(f"{part}: {cause}" if found else str(cause))
        cause = cause.__cause__
    reason = (reason.splitlines() or [type(error).__name__])[0]
    return FormulaError(f"the part '{part}' cannot be evaluated: {reason}")


def column_names(spec: ModelSpec, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Column names in the user's own spelling, made unique."""
    names: list[str] = []
    for part in spec.structure:
        replace = [(f.expr, labels[f.expr]) for f in part.term.factors if f.expr in labels]
        for column in part.columns:
            for code, text in replace:
                column = column.replace(code, text)
            # a user's column called Intercept is not the constant
            if column == "Intercept" and str(part.term) != "1":
                column = "`Intercept`"
            names.append(column)
    return tuple(names)


def evaluate_new(design: Design, source: str, columns: Columns, table: pd.DataFrame) -> Array:
    """The matrix of one source for new data, with the state of the fit.

    Raises
    ------
    DataError
        A value without a result, such as ``log(-1)``, or levels the fit has not seen.
    """
    spec, labels = design.specs[source], design.formula.labels
    try:
        with np.errstate(all="ignore"):
            matrix = spec.get_model_matrix(
                table, context=CONTEXT, na_action="ignore", output="numpy"
            )
    except (FormulaicError, TypeError, ValueError) as error:
        raise _explain(source, error, labels) from None
    values = np.asarray(matrix, dtype=np.float64).reshape(len(table), -1)
    for name, column in zip(column_names(spec, labels), values.T, strict=True):
        _check_finite(column, name, columns)
    return values


def total_offset(formula: ParsedFormula, columns: Columns) -> Array | None:
    """Sum of the formula's offsets and the ``offset`` argument."""
    total: Array | None = None
    for expression in formula.offsets:
        value = _evaluate(expression, columns, "offset")
        total = value if total is None else total + value
    extra = columns.arrays.get("offset")
    if extra is not None:
        total = extra if total is None else total + extra
    return total


def _evaluate(expression: Expression, columns: Columns, role: str) -> Array:
    for name in expression.variables:
        if name in columns.factors and name not in columns.numbers:
            raise DataError(
                f"{role} '{expression.text}' must be numeric, but column '{name}' holds text or "
                "categories; convert it to numbers first"
            )
    with np.errstate(all="ignore"):
        value = np.asarray(evaluate(expression, columns.numbers), dtype=np.float64)
    value = np.broadcast_to(value, (columns.n,))
    _check_finite(value, expression.text, columns)
    return value


def _check_finite(values: Array, name: str, columns: Columns) -> None:
    with np.errstate(all="ignore"):
        if np.isfinite(values.sum()):
            return
    bad = np.flatnonzero(~np.isfinite(values))
    if not len(bad):
        return
    label = columns.row_labels(bad[:1])[0]
    inputs = ", ".join(
        f"{variable} = {float(data[bad[0]]):g}"
        for variable, data in columns.numbers.items()
        if re.search(rf"(?<![\w.]){re.escape(variable)}(?![\w.])", name)
    )
    raise DataError(
        f"{name} is {float(values[bad[0]])} in {len(bad)} row{'s' if len(bad) > 1 else ''} (first "
        f"at row {label}{', where ' + inputs if inputs else ''}): drop or mend these rows"
        + (", or use log1p()" if name.startswith("log(") and values[bad[0]] == -np.inf else "")
    )


def _weights(columns: Columns) -> tuple[Array | None, float]:
    weights = columns.arrays.get("weights")
    if weights is None:
        return None, 1.0
    bad = np.flatnonzero(weights <= 0)
    if len(bad):
        kind = "negative" if (weights < 0).any() else "zero"
        raise DataError(
            f"weights must be positive: {len(bad)} {kind} weight{'s' if len(bad) > 1 else ''}, "
            f"first at row {columns.row_labels(bad[:1])[0]}; drop these rows instead"
        )
    largest = float(weights.max())
    scaled = weights / largest
    if float(scaled.min()) < SMALLEST:
        raise DataError(
            f"weights reach from {float(weights.min()):g} to {largest:g}: the smallest rows cannot "
            "be represented beside the largest; drop them, or mend the weights"
        )
    mean = float(scaled.mean())
    return scaled / mean, largest * mean


def _response(formula: ParsedFormula, columns: Columns, offset: Array | None) -> Array:
    assert formula.response is not None
    y = _evaluate(formula.response, columns, "response")
    return y if offset is None else y - offset


def _scaled_response(
    formula: ParsedFormula, y: Array, weights: Array | None, n: int
) -> tuple[Array, float, float]:
    assert formula.response is not None
    text = formula.response.text
    out = np.empty(len(y))
    centre, scale = standardise(y, text, weights, out)
    if n == 1:
        raise DataError("there is 1 complete row: too few to fit a model")
    if scale == 0.0:
        raise DataError(
            f"the response '{text}' has no variance: all its {n} values are {centre:g}; there is "
            "nothing to model"
        )
    return out, centre, scale


def _stack(recipes: Mapping[str, Array], names: Sequence[str], size: int) -> Array:
    if not names:
        return np.empty((size, 0))
    return np.stack([recipes[name] for name in names], axis=1)


def _groups(
    formula: ParsedFormula,
    columns: Columns,
    matrices: Matrices,
    recipes: Mapping[str, Array],
    size: int,
    n: int,
) -> tuple[list[GroupDesign], list[NDArray[np.int64]], tuple[tuple[int, int], ...]]:
    """Grouping factors from the most levels to the fewest, their codes, the formula's order."""
    found: dict[frozenset[str], tuple[tuple[str, ...], NDArray[np.int64], list[str]]] = {}
    terms: dict[frozenset[str], list[tuple[int, TermDesign]]] = {}
    for position, term in enumerate(formula.random):
        key = frozenset(term.group.variables)
        if key not in found:
            codes, labels = group_levels(term.group.variables, columns.groups)
            found[key] = (term.group.variables, codes, labels)
        names = matrices[term.columns][1]
        if not names:
            raise FormulaError(
                f"random term {term.text} has no columns; write (1 | {term.group.name})"
            )
        check_group(
            term.group.name,
            term.text,
            len(found[key][2]),
            len(found[key][2]) * len(names),
            n,
        )
        recipe = _stack(recipes, names, size)
        if not recipe.any():
            raise DataError(f"all columns of {term.text} are zero in every row; take it out")
        design = TermDesign(term.text, names, recipe, term.columns)
        terms.setdefault(key, []).append((position, design))
    keys = sorted(found, key=lambda k: -len(found[k][2]))
    groups, codes_list = [], []
    order: list[tuple[int, tuple[int, int]]] = []
    for k, key in enumerate(keys):
        variables, codes, labels = found[key]
        groups.append(
            GroupDesign(
                ":".join(variables), variables, tuple(labels), tuple(t for _, t in terms[key])
            )
        )
        codes_list.append(codes)
        order.extend((p, (k, i)) for i, (p, _) in enumerate(terms[key]))
    return groups, codes_list, tuple(pair for _, pair in sorted(order))
