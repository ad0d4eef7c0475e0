"""Checked syntax tree → Python source for formulaic; the only writer of code in the package.

The source is built as a Python syntax tree and printed by `ast.unparse`, which is how formulaic
prints it too. User text can enter it only as a column name (a plain identifier, or percent-encoded
inside a quoted text), a number, or an encoded text.
"""

from __future__ import annotations

import ast
import keyword
import operator
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mixedmodels.formula.signatures import (
    COMPARISONS,
    CONTRASTS,
    Function,
    Option,
    bind,
    code_name,
    encode,
    find,
)
from mixedmodels.formula.terms import Expression
from mixedmodels.formula.tree import (
    Binary,
    Call,
    Dot,
    Flag,
    Group,
    Name,
    Node,
    Number,
    PlacedError,
    Text,
    Unary,
    bare,
    write,
)

ARITHMETIC: dict[str, type[ast.operator]] = {
    "+": ast.Add,
    "-": ast.Sub,
    "*": ast.Mult,
    "/": ast.Div,
    "^": ast.Pow,
}
LOGIC = {"&": "and", "|": "or"}
# Python's printer recurses; an expression deeper than this is no model term.
DEEPEST = 60
# Names that formulaic looks up in backquotes without trouble.
PLAIN_FACTOR = re.compile(r"\.?[^\W\d][\w. ]*")


@dataclass(frozen=True, slots=True)
class Factor:
    """One indivisible variable of a term.

    Attributes
    ----------
    source : str
        How it is written in a formula for formulaic.
    code : str
        How formulaic prints it.
    text : str
        How the user wrote it.
    variables : tuple of str
    categorical : str or None
        The column that it wraps directly as a category.
    """

    source: str
    code: str
    text: str
    variables: tuple[str, ...]
    categorical: str | None = None


def column_factor(name: str) -> Factor:
    """Return the factor of a bare column."""
    if PLAIN_FACTOR.fullmatch(name):
        return Factor(f"`{name}`", name, name, (name,))
    code = ast.unparse(_apply("column", ast.Constant(encode(name))))
    return Factor(code, code, name, (name,))


def column_source(name: str) -> str:
    """Source of a column inside a call."""
    return ast.unparse(_Writer().column(name))


def factor(node: Node) -> Factor:
    """Return the factor of a column, a call or a comparison on the right side."""
    inner = bare(node)
    if isinstance(inner, Name):
        return column_factor(inner.name)
    writer = _Writer()
    tree = writer.call(inner, 0) if isinstance(inner, Call) else writer.number(inner, 0)
    if not isinstance(tree, ast.Call):
        raise PlacedError(f"write I({write(inner)}) for arithmetic", _at(inner))
    code = ast.unparse(tree)
    if not writer.variables:
        raise PlacedError(f"{write(inner)} names no column", _at(inner))
    return Factor(code, code, write(inner), tuple(writer.variables), writer.categorical)


def expression(node: Node, role: str, *, scaling: bool) -> Expression:
    """Return an expression with one number per row.

    Parameters
    ----------
    node : Node
    role : str
        For messages: ``'the response'``.
    scaling : bool
        Whether ``scale()`` and ``center()``, which depend on all rows, may be used.
    """
    writer = _Writer(scaling=scaling)
    code = ast.unparse(writer.number(node, 0))
    if not writer.variables:
        raise PlacedError(f"{role} names no column", _at(node))
    return Expression(write(node), code, tuple(writer.variables))


@dataclass(slots=True)
class _Writer:
    """Turns one expression into a Python tree and notes what it reads."""

    scaling: bool = True
    variables: dict[str, None] = field(default_factory=dict)
    categorical: str | None = None
    stateful: Counter[str] = field(default_factory=Counter)

    def number(self, node: Node, depth: int) -> ast.expr:
        """Write an expression that has one number per row."""
        if depth > DEEPEST:
            raise PlacedError(f"more than {DEEPEST} operations inside one another", _at(node))
        match node:
            case Group():
                return self.number(node.inner, depth)
            case Name():
                return self.column(node.name)
            case Number() | Flag():
                return ast.Constant(float(node.value))
            case Unary():
                return self.sign(node, depth)
            case Binary():
                return self.operation(node, depth)
            case Call():
                self.check_number(node)
                return self.call(node, depth)
            case Dot():
                raise PlacedError("'.' stands for columns only between '+' signs", node.at)
            case Text():
                raise PlacedError('a quoted text can only be compared, as in f == "a"', node.at)

    def column(self, name: str) -> ast.expr:
        self.variables[name] = None
        safe = name.isascii() and name.isidentifier() and not name.startswith(("fn_", "__"))
        if safe and not keyword.iskeyword(name):
            return ast.Name(name)
        return self.once(_apply("column", ast.Constant(encode(name))))

    def once(self, call: ast.Call) -> ast.Call:
        """Make each call that formulaic keeps state for differ from the earlier ones.

        Of two calls with the same text formulaic gives state and data only to the last.
        """
        text = ast.unparse(call)
        earlier = self.stateful[text]
        self.stateful[text] += 1
        if earlier:
            call.keywords.append(ast.keyword("again", ast.Constant(earlier)))
        return call

    def sign(self, node: Unary, depth: int) -> ast.expr:
        if node.op == "!":
            return _apply("not", self.number(node.operand, depth + 1))
        operand = self.operand(node.operand, depth + 1)
        if node.op == "+":
            return operand
        return ast.UnaryOp(ast.USub(), operand)

    def operation(self, node: Binary, depth: int) -> ast.expr:
        if node.op in COMPARISONS:
            sides = [self.side(side, depth + 1) for side in (node.left, node.right)]
            return _apply(COMPARISONS[node.op], *sides)
        if node.op in ARITHMETIC:
            left, right = self.operand(node.left, depth + 1), self.operand(node.right, depth + 1)
            return _fold(ast.BinOp(left, ARITHMETIC[node.op](), right), node)
        if node.op in LOGIC:
            left, right = self.number(node.left, depth + 1), self.number(node.right, depth + 1)
            return _apply(LOGIC[node.op], left, right)
        raise PlacedError(f"'{node.op}' is not arithmetic and cannot be used here", node.at)

    def operand(self, node: Node, depth: int) -> ast.expr:
        """Write an operand of arithmetic; a column becomes float, so no integer wraps."""
        written = self.number(node, depth)
        return _apply("as.numeric", written) if isinstance(bare(node), Name) else written

    def side(self, node: Node, depth: int) -> ast.expr:
        inner = bare(node)
        if isinstance(inner, Text):
            return _apply("text", ast.Constant(encode(inner.value)))
        return self.number(inner, depth)

    def check_number(self, node: Call) -> None:
        function = find(node)
        if function.result == "columns":
            raise PlacedError(
                f"{node.function}() gives several columns and must stand alone", node.at
            )
        if function.result == "category":
            raise PlacedError(f"{node.function}() gives a category, not a number", node.at)
        if function.stateful and not self.scaling:
            raise PlacedError(f"{node.function}() cannot be used in an offset", node.at)

    def call(self, node: Call, depth: int) -> ast.expr:
        """Write a call of an allow-listed function."""
        function = find(node)
        if function.many:
            if any(argument.keyword for argument in node.arguments) or not node.arguments:
                raise PlacedError(f"{node.function}() takes columns or numbers", node.at)
            values = [self.number(argument.value, depth + 1) for argument in node.arguments]
            return _apply(node.function, *values)
        first, bound = bind(node, function)
        outside, self.variables = self.variables, {}
        data = self.data(first.value, function, depth)
        if function.stateful and not self.variables:
            raise PlacedError(f"{node.function}() needs a column", node.at)
        self.variables = outside | self.variables
        options = [self.option(option, a.value, depth) for option, a in bound.items()]
        words = [keyword for option in options for keyword in option]
        written = _apply(node.function, data, keywords=words)
        return self.once(written) if function.stateful else written

    def data(self, node: Node, function: Function, depth: int) -> ast.expr:
        inner = bare(node)
        if function.result == "category":
            # relevel(factor(x), ref = "b"): the inner factor() adds nothing.
            if isinstance(inner, Call) and inner.function in ("factor", "as.factor"):
                argument, bound = bind(inner, find(inner))
                inner = bare(argument.value) if not bound else inner
            if isinstance(inner, Name):
                self.categorical = inner.name
        return self.number(inner, depth + 1)

    def option(self, option: Option, node: Node, depth: int) -> list[ast.keyword]:
        """Write one argument after the first, checked for its kind."""
        if option.kind == "expression":
            return [ast.keyword(option.code, self.number(node, depth + 1))]
        if option.kind == "contrast":
            return _contrast(node)
        return [ast.keyword(option.code, _literal(option, node))]


def _literal(option: Option, node: Node) -> ast.expr:
    value = _value(node)
    kind = option.kind
    flag = isinstance(value, bool)
    number = isinstance(value, int | float) and not flag
    if kind == "count" and number and isinstance(value, int) and 0 < value < 1000:
        return ast.Constant(value)
    if (kind in ("flag", "flag or number") and flag) or (kind == "flag or number" and number):
        return _constant(value)
    if kind == "numbers" and number:
        return ast.List([_constant(value)])
    if kind == "level" and (number or isinstance(value, str)):
        return _constant(value)
    numbers = isinstance(value, list) and all(isinstance(v, int | float) for v in value)
    if isinstance(value, list) and value and (kind == "levels" or (kind == "numbers" and numbers)):
        return ast.List([_constant(v) for v in value])
    wanted = {
        "count": "a positive whole number",
        "flag": "TRUE or FALSE",
        "flag or number": "TRUE, FALSE or a number",
        "numbers": "numbers such as c(1, 2)",
        "levels": 'levels such as c("a", "b")',
        "level": 'one level such as "a"',
    }
    raise PlacedError(f"{option.name} must be {wanted[kind]}, not {write(node)}", _at(node))


Literal = bool | int | float | str


def _value(node: Node) -> Literal | list[Literal] | None:
    """Return what a literal holds, or None when it is no literal."""
    match bare(node):
        case Flag(value=flag):
            return flag
        case Name(name="T" | "F" as name):
            return name == "T"
        case Number(value=number):
            return number
        case Text(value=text):
            return text
        case Unary(op="-", operand=Number(value=number)):
            return -number
        case Call(function="c", arguments=arguments) if not any(a.keyword for a in arguments):
            values = [_value(argument.value) for argument in arguments]
            flat = [value for value in values if isinstance(value, bool | int | float | str)]
            return flat if len(flat) == len(values) else None
        case _:
            return None


def _constant(value: object) -> ast.expr:
    if isinstance(value, str):
        return _apply("text", ast.Constant(encode(value)))
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-value))
    assert isinstance(value, bool | int | float)
    return ast.Constant(value)


def _contrast(node: Node) -> list[ast.keyword]:
    """Write the second argument of C(): contr.sum, Treatment("b"), contr.treatment(base = "b")."""
    inner = bare(node)
    name, base = "", None
    match inner:
        case Name(name=name) | Text(value=name):
            pass
        case Call(function=name, arguments=()):
            pass
        case Call(function=name, arguments=(argument,)) if (
            CONTRASTS.get(name) == "treatment"
            and argument.keyword in (None, "base", "reference")
            and isinstance(bare(argument.value), Text)
        ):
            base = _value(argument.value)
    if name not in CONTRASTS:
        known = ", ".join(CONTRASTS)
        raise PlacedError(f"unknown contrasts {write(node)}; known are {known}", _at(node))
    if isinstance(inner, Call) and inner.arguments and base is None:
        raise PlacedError('only the base level can be given, as in Treatment("b")', _at(node))
    words = [ast.keyword("contrasts", ast.Constant(CONTRASTS[name]))]
    return words if base is None else [*words, ast.keyword("base", _constant(base))]


def _fold(tree: ast.BinOp, node: Binary) -> ast.expr:
    """Replace arithmetic between two constants by its value.

    Otherwise 9^9^9^9 would be worked out with Python's unbounded or overflowing numbers.
    """
    left, right = _known(tree.left), _known(tree.right)
    if left is None or right is None:
        return tree
    try:
        value = _OPERATE[node.op](left, right)
    except (OverflowError, ZeroDivisionError):
        value = float("nan")
    if isinstance(value, complex) or not abs(value) < float("inf"):
        raise PlacedError(f"{write(node)} is not a finite number", node.at)
    return _constant(value)


def _known(tree: ast.expr) -> float | None:
    match tree:
        case ast.Constant(value=float(value)):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=float(value))):
            return -value
        case _:
            return None


_OPERATE: dict[str, Callable[[float, float], float | complex]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": operator.pow,
}


def _apply(name: str, *values: ast.expr, keywords: list[ast.keyword] | None = None) -> ast.Call:
    return ast.Call(ast.Name(code_name(name)), list(values), keywords or [])


def _at(node: Node) -> int:
    """Return the place where the text of a node begins."""
    while isinstance(node, Binary):
        node = node.left
    return node.at
