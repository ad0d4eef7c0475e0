"""Numeric parts of a formula as expressions that an engine evaluates; nothing else has a meaning.

The twin of `formula.functions.evaluate`: the same code is walked, over narwhals expressions instead
of arrays. Values without a result, such as ``log(-1)``, are null; the caller looks for them.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Any, TypeAlias

import narwhals.stable.v2 as nw

from mixedmodels.errors import DataError, FormulaError
from mixedmodels.formula.functions import CONTEXT
from mixedmodels.formula.signatures import FUNCTIONS, code_name, decode

Value: TypeAlias = Any  # nw.Expr, or a number that no column enters
STATEFUL = ("fn_center", "fn_scale")
WHOLE_TABLE = tuple(code_name(name) for name, f in FUNCTIONS.items() if f.result == "columns")
CATEGORY = tuple(code_name(name) for name, f in FUNCTIONS.items() if f.result == "category")
# below it log(1 + x) and exp(x) - 1 are four terms of their series, exact to the last bit
SMALL = 1e-4


@dataclass(frozen=True, slots=True)
class Scaling:
    """What ``center()`` or ``scale()`` remembers: ``(x - centre) / scale``."""

    centre: float | None
    scale: float | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the parts read it: as a number, or as text in comparisons."""

    name: str
    number: nw.Expr | None
    text: nw.Expr


@lru_cache(maxsize=512)
def tree(code: str) -> ast.expr:
    """The syntax tree of the source of one factor or expression."""
    return ast.parse(code, mode="eval").body


def column_of(node: ast.AST) -> str | None:
    """The column that a node is, None if it is something else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Call(func=ast.Name(id="fn_column"), args=[ast.Constant(value=str(name))]):
            return decode(name)
        case _:
            return None


def stateful_calls(code: str) -> dict[str, ast.Call]:
    """Calls of ``center()`` and ``scale()`` by their text, inner ones first."""
    found = [
        node
        for node in ast.walk(tree(code))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in STATEFUL
    ]
    return {ast.unparse(node): node for node in reversed(found)}


def translate(
    node: ast.AST, columns: Mapping[str, Column], scalings: Mapping[str, Scaling]
) -> Value:
    """An expression of an engine for one node of the code.

    Raises
    ------
    DataError
        A column of text where a number is needed.
    FormulaError
        A function that engines do not have.
    """
    return _Translator(columns, scalings).value(node)


@dataclass(frozen=True, slots=True)
class _Translator:
    columns: Mapping[str, Column]
    scalings: Mapping[str, Scaling]

    def value(self, node: ast.AST) -> Value:
        name = column_of(node)
        if name is not None:
            return self.number(name)
        match node:
            case ast.Constant(value=int() | float() as value):
                return float(value)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self.value(operand)
            case ast.BinOp(left=left, op=op, right=right):
                return _arithmetic(op, self.value(left), self.value(right))
            case ast.Call(func=ast.Name(id=function)):
                return self.call(node, function)
            case _:
                raise FormulaError(f"{ast.unparse(node)} is not part of the formula language")

    def number(self, name: str) -> nw.Expr:
        number = self.columns[name].number
        if number is None:
            raise DataError(
                f"column '{name}' holds text or categories, and the formula uses it as a number: "
                "convert it in the table first"
            )
        return number

    def call(self, node: ast.Call, function: str) -> Value:
        if function in STATEFUL:
            return self.scaled(node)
        if function in COMPARE:
            return self.compared(function, *node.args)
        values = [self.value(arg) for arg in node.args]
        named = {word.arg: self.value(word.value) for word in node.keywords if word.arg}
        if function not in TRANSLATED:
            raise FormulaError(
                f"{function.removeprefix('fn_')}() is not available for tables outside memory: "
                "add its values to the table as a column"
            )
        if not any(isinstance(v, nw.Expr) for v in [*values, *named.values()]):
            return float(CONTEXT[function](*values, **named))
        return TRANSLATED[function](*values, **named)

    def scaled(self, node: ast.Call) -> Value:
        scaling = self.scalings[ast.unparse(node)]
        value = self.value(node.args[0])
        value = value if scaling.centre is None else value - scaling.centre
        return value if scaling.scale is None else value / scaling.scale

    def compared(self, function: str, left: ast.expr, right: ast.expr) -> nw.Expr:
        texts = [_text_of(side) for side in (left, right)]
        sides: list[Value] = []
        for side, text in zip((left, right), texts, strict=True):
            name = column_of(side)
            if text is not None:
                sides.append(text)
            elif any(t is not None for t in texts) and name is not None:
                sides.append(self.columns[name].text)
            else:
                sides.append(self.value(side))
        return _truth(COMPARE[function](*sides))


def _text_of(node: ast.AST) -> str | None:
    match node:
        case ast.Call(func=ast.Name(id="fn_text"), args=[ast.Constant(value=str(text))]):
            return decode(text)
        case _:
            return None


def _arithmetic(op: ast.operator, left: Value, right: Value) -> Value:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.Pow():
            return _power(left, right)
        case _:
            raise FormulaError(f"{type(op).__name__} is not part of the formula language")


def _power(left: Value, right: Value) -> Value:
    if right in (2.0, 3.0, 4.0) and not isinstance(right, nw.Expr):
        return reduce(lambda a, b: a * b, [left] * int(right))
    return left**right


def _when(condition: nw.Expr, value: Value) -> nw.Expr:
    """The value where the condition holds, else null: engines raise errors outside a domain."""
    return nw.when(condition).then(value)


def _truth(condition: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(nw.lit(1.0)).otherwise(nw.lit(0.0))


def _log(x: nw.Expr, base: Value = math.e) -> nw.Expr:
    # an inner condition too, as an engine may work out a branch that it does not take
    safe = nw.when(x > 0.0).then(x).otherwise(nw.lit(1.0))
    if isinstance(base, nw.Expr):
        return _when(x > 0.0, safe.log() / base.log())
    return _when(x > 0.0, safe.log(base))


def _log1p(x: nw.Expr) -> nw.Expr:
    series = x * (1.0 - x * (0.5 - x * (1.0 / 3.0 - x * 0.25)))
    return nw.when(x.abs() < SMALL).then(series).otherwise(_log(x + 1.0))


def _expm1(x: nw.Expr) -> nw.Expr:
    series = x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0))))
    return nw.when(x.abs() < SMALL).then(series).otherwise(x.exp() - 1.0)


def _sqrt(x: nw.Expr) -> nw.Expr:
    return _when(x >= 0.0, nw.when(x >= 0.0).then(x).otherwise(nw.lit(0.0)).sqrt())


def _round(x: nw.Expr, digits: float = 0.0) -> nw.Expr:
    """Halves to even, as NumPy and R do; engines differ."""
    unit = 10.0 ** int(digits)
    scaled = x * unit
    up = (scaled + 0.5).floor()
    odd = up - 2.0 * (up / 2.0).floor()
    half = (up - scaled) == 0.5
    return nw.when(half & (odd == 1.0)).then(up - 1.0).otherwise(up) / unit


def _sign(x: nw.Expr) -> nw.Expr:
    return _truth(x > 0.0) - _truth(x < 0.0)


def _least(*values: Value) -> Value:
    return reduce(lambda a, b: nw.when(_expr(a) <= b).then(a).otherwise(b), map(_expr, values))


def _greatest(*values: Value) -> Value:
    return reduce(lambda a, b: nw.when(_expr(a) >= b).then(a).otherwise(b), map(_expr, values))


def _expr(value: Value) -> nw.Expr:
    return value if isinstance(value, nw.Expr) else nw.lit(float(value))


def _is_true(value: Value) -> nw.Expr:
    return _expr(value) != 0.0


COMPARE: dict[str, Callable[[Value, Value], nw.Expr]] = {
    "fn_less": lambda a, b: _expr(a) < b,
    "fn_less_equal": lambda a, b: _expr(a) <= b,
    "fn_greater": lambda a, b: _expr(a) > b,
    "fn_greater_equal": lambda a, b: _expr(a) >= b,
    "fn_equal": lambda a, b: b == a if isinstance(a, str) else _expr(a) == b,
    "fn_not_equal": lambda a, b: b != a if isinstance(a, str) else _expr(a) != b,
}
TRANSLATED: dict[str, Callable[..., Value]] = {
    **dict.fromkeys(("fn_I", "fn_identity", "fn_as_numeric"), lambda x: x),
    "fn_log": _log,
    "fn_log2": lambda x: _log(x, 2.0),
    "fn_log10": lambda x: _log(x, 10.0),
    "fn_log1p": _log1p,
    "fn_exp": lambda x: x.exp(),
    "fn_expm1": _expm1,
    "fn_sqrt": _sqrt,
    "fn_abs": lambda x: x.abs(),
    "fn_sign": _sign,
    "fn_floor": lambda x: x.floor(),
    "fn_ceiling": lambda x: x.ceil(),
    "fn_round": _round,
    "fn_sin": lambda x: x.sin(),
    "fn_cos": lambda x: x.cos(),
    "fn_tan": lambda x: x.sin() / x.cos(),
    "fn_pmin": _least,
    "fn_pmax": _greatest,
    "fn_and": lambda a, b: _truth(_is_true(a) & _is_true(b)),
    "fn_or": lambda a, b: _truth(_is_true(a) | _is_true(b)),
    "fn_not": lambda a: _truth(~_is_true(a)),
}


def scaling_of(node: ast.Call, mean: float, variance: float, n: int) -> Scaling:
    """What ``center()`` or ``scale()`` learns from mean and sample variance of `n` values."""
    assert isinstance(node.func, ast.Name)
    options: dict[str, Any] = {
        word.arg: ast.literal_eval(word.value) for word in node.keywords if word.arg
    }
    centre = options.get("center", True)
    spread = options.get("scale", True) if node.func.id == "fn_scale" else False
    at = (mean if centre else None) if isinstance(centre, bool) else float(centre)
    if not isinstance(spread, bool):
        return Scaling(at, float(spread))
    if not spread:
        return Scaling(at, None)
    # about the centre that is taken out, which need not be the mean
    square = variance + (mean - (at or 0.0)) ** 2 * n / max(n - 1, 1)
    return Scaling(at, math.sqrt(square))


def variables(code: str) -> Iterator[str]:
    """Columns that the code reads."""
    inside = {id(node.func) for node in ast.walk(tree(code)) if isinstance(node, ast.Call)}
    for node in ast.walk(tree(code)):
        name = column_of(node)
        if name is not None and id(node) not in inside:
            yield name
