"""The functions of the formula language on arrays, for formulaic and for `evaluate`.

They follow R: `scale` divides by n - 1, `poly` is orthonormal, `bs` and `ns` put their inner knots
at R's quantiles, have the columns of package splines and continue beyond the boundary.
Values without a result, such as ``log(-1)``, become NaN quietly; the caller looks for them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, cast

import numpy as np
from formulaic.materializers.types import FactorValues  # type: ignore[import-untyped]
from formulaic.transforms import (  # type: ignore[import-untyped]
    C,
    basis_spline,
    center,
    natural_cubic_spline,
    poly,
    scale,
    stateful_transform,
)
from formulaic.transforms.contrasts import (  # type: ignore[import-untyped]
    HelmertContrasts,
    PolyContrasts,
    SumContrasts,
    TreatmentContrasts,
)
from formulaic.utils.variables import Variable  # type: ignore[import-untyped]

from mixedmodels.errors import DataError, FormulaError
from mixedmodels.formula.signatures import FUNCTIONS, UNARY, code_name, decode
from mixedmodels.formula.terms import Expression

Array = np.ndarray[Any, np.dtype[Any]]
Transform = Callable[..., Any]
CODINGS = {
    "sum": SumContrasts,
    "helmert": HelmertContrasts,
    "poly": PolyContrasts,
}


def evaluate(expression: Expression, values: Mapping[str, Array]) -> Array:
    """Work out an expression row by row.

    The code is walked, not executed: only arithmetic and the functions of the formula language
    have a meaning here, whatever the expression says.

    Parameters
    ----------
    expression : Expression
    values : mapping of str to ndarray of shape (n,)
        The columns, each of type float64.

    Returns
    -------
    ndarray of shape (n,)
        Of type float64.

    Raises
    ------
    DataError
        When a column is missing.
    FormulaError
        When the code holds anything else than the formula language.
    """
    with np.errstate(all="ignore"):
        result = _walk(_tree(expression.code), values)
    return np.asarray(result, dtype=np.float64)


@lru_cache(maxsize=256)
def _tree(code: str) -> ast.expr:
    return ast.parse(code, mode="eval").body


def _walk(node: ast.AST, values: Mapping[str, Array]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _column_of(name, values)
        case ast.List(elts=items):
            return [_walk(item, values) for item in items]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_walk(operand, values)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATIONS:
            return OPERATIONS[type(op)](_walk(left, values), _walk(right, values))
        case ast.Call(func=ast.Name(id="fn_column"), args=[ast.Constant(value=str(name))]):
            return _column_of(decode(name), values)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords) if name in NUMERIC:
            named = {word.arg: _walk(word.value, values) for word in keywords if word.arg}
            return CONTEXT[name](*(_walk(arg, values) for arg in args), **named)
        case _:
            raise FormulaError(f"{ast.unparse(node)} is not part of the formula language")


def _column_of(name: str, values: Mapping[str, Array]) -> Array:
    if name not in values:
        raise DataError(f"column {name!r} is missing")
    return values[name]


OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}


# `again` only tells apart calls of one text; see `render`.

# --- columns and texts with any characters ------------------------------------------------------


def _stateful(function: Transform) -> Transform:
    """Let formulaic keep what a function learns from the data, for use on new data."""
    return cast(Transform, stateful_transform(function))


def _column(name: str, *, again: int = 0, _context: Any = None) -> Any:  # noqa: ARG001
    # Formulaic also calls this without data, only to learn which columns an argument reads.
    return np.full(1, np.nan) if _context is None else _context[decode(name)]


def _column_variables(name: str, **_: Any) -> tuple[Any, ...]:
    return (Variable(decode(str(name)), roles={Variable.Role.VALUE}),)


_any_column = stateful_transform(_column, get_required_variables=_column_variables)


# --- one number per row -------------------------------------------------------------------------


def _numbers(values: Any) -> Array:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(
            "a function of numbers was given a column that holds no numbers; "
            "convert the column first"
        ) from None


def _elementwise(function: Callable[..., Any], *values: Any) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(function(*map(_numbers, values)), dtype=np.float64)


def _log(x: Any, base: Any = None) -> Array:
    logarithm = _elementwise(np.log, x)
    return logarithm if base is None else logarithm / _elementwise(np.log, base)


def _round(x: Any, digits: float = 0) -> Array:
    return np.round(_numbers(x), int(digits))


def _extreme(function: np.ufunc, *values: Any) -> Array:
    result = _numbers(values[0])
    for value in values[1:]:
        result = np.asarray(function(result, _numbers(value)))
    return result


def _compare(function: np.ufunc, left: Any, right: Any) -> Array:
    """Return 1 where the comparison holds, else 0; texts compare with texts."""
    sides = [side if isinstance(side, str) else np.asarray(side) for side in (left, right)]
    if any(isinstance(side, str) for side in sides):
        sides = [np.asarray(side, dtype=object) for side in sides]
    return np.asarray(function(*sides), dtype=np.float64)


def _truth(values: Any) -> Array:
    return np.asarray(_numbers(values) != 0)


def _both(left: Any, right: Any) -> Array:
    return (_truth(left) & _truth(right)).astype(np.float64)


def _either(left: Any, right: Any) -> Array:
    return (_truth(left) | _truth(right)).astype(np.float64)


def _negated(values: Any) -> Array:
    return (~_truth(values)).astype(np.float64)


def _same(values: Any) -> Any:
    return values


# --- several columns, and what remembers the data -----------------------------------------------


@_stateful
def _poly(x: Any, *, degree: int = 1, raw: bool = False, _state: Any = None) -> Any:
    x = _numbers(x)
    distinct = len(np.unique(x[~np.isnan(x)]))
    if not raw and "alpha" not in _state and degree >= distinct:
        raise DataError(
            f"poly() of degree {degree} needs more than {degree} distinct values; "
            f"there are {distinct}"
        )
    if raw:
        powers = x[:, None] ** np.arange(1, degree + 1)
        return FactorValues(powers, column_names=tuple(map(str, range(1, degree + 1))))
    return poly(x, degree=degree, _state=_state)


@_stateful
def _scale(
    x: Any,
    *,
    center: Any = True,
    scale: Any = True,
    again: int = 0,  # noqa: ARG001
    _state: Any = None,
) -> Any:
    return _scaled(_numbers(x), center=center, scale=scale, _state=_state)


@_stateful
def _center(x: Any, *, again: int = 0, _state: Any = None) -> Any:  # noqa: ARG001
    return center(_numbers(x), _state=_state)


_scaled = scale


@_stateful
def _bs(
    x: Any,
    *,
    df: int | None = None,
    knots: list[float] | None = None,
    degree: int = 3,
    intercept: bool = False,
    boundary: list[float] | None = None,
    _state: Any = None,
) -> Any:
    lower, upper = boundary or (None, None)
    if knots is not None:
        df = None
    if df is not None and df < degree + intercept:
        raise DataError(f"bs() of degree {degree} needs df = {degree + intercept} or more")
    return basis_spline(
        _numbers(x),
        df=df,
        knots=knots,
        degree=degree,
        include_intercept=intercept,
        lower_bound=lower,
        upper_bound=upper,
        extrapolation="extend",
        _state=_state,
    )


@_stateful
def _ns(
    x: Any,
    *,
    df: int | None = None,
    knots: list[float] | None = None,
    intercept: bool = False,
    boundary: list[float] | None = None,
    _state: Any = None,
) -> Any:
    """Return a natural cubic spline in the columns of R's ``ns``.

    Cubic B-splines, turned by the orthogonal matrix of a QR decomposition so that the first two
    carry what second derivatives there are at the boundary; these two are left out. Beyond the
    boundary the curves are straight.
    """
    x = _numbers(x)
    if "knots" not in _state:
        if not np.isfinite(x).all():
            raise DataError("ns() needs finite values; remove the rows where it has none")
        _state["knots"] = _natural_knots(
            x, df=df, knots=knots, intercept=intercept, boundary=boundary
        )
    at = np.array(_state["knots"])
    from scipy.interpolate import BSpline  # 0.1 s to import, for splines only

    ends, first = at[[0, -1]], 0 if intercept else 1
    padded = np.concatenate([np.repeat(ends[0], 3), at, np.repeat(ends[1], 3)])
    splines = BSpline(padded, np.eye(len(padded) - 4), 3)
    turn = np.linalg.qr(splines(ends, 2)[:, first:].T, mode="complete")[0][:, 2:]
    inside = np.clip(x, *ends)
    columns = splines(inside) + splines(inside, 1) * (x - inside)[:, None]
    columns = columns[:, first:] @ turn
    names = tuple(str(i + 1) for i in range(columns.shape[1]))
    return FactorValues(columns, column_names=names)


def _natural_knots(
    x: Array,
    *,
    df: int | None,
    knots: list[float] | None,
    intercept: bool,
    boundary: list[float] | None,
) -> list[float]:
    """Return all knots, with the inner ones at quantiles unless given."""
    lower, upper = boundary or (float(np.nanmin(x)), float(np.nanmax(x)))
    if knots is None:
        inside = x[(x >= lower) & (x <= upper)]
        inner = (df or 1 + intercept) - 1 - intercept
        if inner < 0:
            raise DataError("ns() with an intercept needs df = 2 or more")
        knots = np.quantile(inside, np.linspace(0, 1, inner + 2)[1:-1]).tolist()
    everything = [lower, *sorted(knots), upper]
    if np.any(np.diff(everything) <= 0):
        raise DataError(
            f"the knots of ns() must be distinct and inside the boundary, not {everything}; "
            "choose a smaller df, or knots"
        )
    return everything


@_stateful
def _cr(x: Any, df: int | None = None, knots: list[float] | None = None, _state: Any = None) -> Any:
    return natural_cubic_spline(_numbers(x), df=df, knots=knots, _state=_state)


# --- categories ---------------------------------------------------------------------------------


def _whole_levels(values: Any) -> Any:
    """Whole numbers label their levels without decimals: ``factor(x)[T.2]``, as R does."""
    if getattr(values, "dtype", None) == np.float64:
        array = np.asarray(values)
        if np.isfinite(array).all() and (array == np.floor(array)).all():
            return values.astype(np.int64)
    return values


def _factor(values: Any, levels: list[Any] | None = None) -> Any:
    values = _whole_levels(values)
    return C(values, levels=_all_levels(values, levels))


def _ordered(values: Any, levels: list[Any] | None = None) -> Any:
    values = _whole_levels(values)
    return C(values, contrasts=PolyContrasts(), levels=_all_levels(values, levels))


def _relevel(values: Any, ref: Any) -> Any:
    values = _whole_levels(values)
    known = _known(values)
    if _label(ref) not in known:
        raise DataError(f"{ref!r} is not one of the levels {', '.join(map(repr, known))}")
    return C(values, contrasts=TreatmentContrasts(base=known[_label(ref)]))


def _all_levels(values: Any, levels: list[Any] | None) -> list[Any] | None:
    """The levels asked for, as the column holds them; formulaic loses rows of any other."""
    if levels is None:
        return None
    wanted, known = [_label(level) for level in levels], _known(values)
    outside = [label for label in known if label not in wanted]
    if outside:
        raise DataError(
            f"levels= leaves out {', '.join(map(repr, outside))}; name every level of the data, "
            "or drop these rows"
        )
    return [known.get(label, label) for label in wanted]


def _known(values: Any) -> dict[str, Any]:
    """Levels of a column by their text."""
    levels = values.cat.categories if hasattr(values, "cat") else np.unique(np.asarray(values))
    return {_label(level): level for level in levels.tolist()}


def _label(level: Any) -> str:
    return f"{level:g}" if isinstance(level, int | float) else str(level)


def _coded(values: Any, contrasts: str = "treatment", base: Any = None) -> Any:
    if contrasts == "treatment":
        return C(_whole_levels(values)) if base is None else _relevel(values, base)
    return C(_whole_levels(values), contrasts=CODINGS[contrasts]())


# R's names where NumPy has others (NumPy 2 knows three of them too)
NUMPY = {"ceiling": "ceil", "asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_SINGLE: dict[str, Transform] = {
    **{name: partial(_elementwise, getattr(np, NUMPY.get(name, name))) for name in UNARY},
    "I": _same,
    "identity": _same,
    "as.numeric": _numbers,
    "log": _log,
    "round": _round,
    "pmin": partial(_extreme, np.minimum),
    "pmax": partial(_extreme, np.maximum),
    "scale": _scale,
    "center": _center,
    **{
        name: partial(_compare, getattr(np, name))
        for name in ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
    },
    "and": _both,
    "or": _either,
    "not": _negated,
    "text": decode,
}
_OTHER: dict[str, Transform] = {
    "column": _any_column,
    "poly": _poly,
    "bs": _bs,
    "ns": _ns,
    "cr": _cr,
    "cs": _cr,
    "factor": _factor,
    "as.factor": _factor,
    "ordered": _ordered,
    "as.ordered": _ordered,
    "relevel": _relevel,
    "C": _coded,
}
NUMERIC = frozenset(map(code_name, _SINGLE))
CONTEXT: dict[str, Transform] = {
    code_name(name): function for name, function in {**_SINGLE, **_OTHER}.items()
}
assert all(code_name(name) in CONTEXT for name in FUNCTIONS)
