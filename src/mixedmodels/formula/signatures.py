"""The allow-list: which functions a formula may call, and with which arguments.

`FUNCTIONS` is the whole list; `render` writes calls to these and nothing else, and
`functions.CONTEXT` holds one implementation for each.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

from mixedmodels.formula.tree import Argument, Call, PlacedError

OptionKind = Literal[
    "count", "flag", "flag or number", "numbers", "levels", "level", "contrast", "expression"
]
Result = Literal["number", "columns", "category"]


@dataclass(frozen=True, slots=True)
class Option:
    """An argument after the first: R's name, ours, and what it may hold."""

    name: str
    code: str
    kind: OptionKind


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the formula language.

    Attributes
    ----------
    result : str
        One number per row, several columns, or a category.
    options : tuple of Option
        Arguments after the first, in R's order.
    many : bool
        Takes any number of expressions (``pmin``).
    stateful : bool
        Remembers something of the data it was fitted to.
    """

    result: Result = "number"
    options: tuple[Option, ...] = ()
    many: bool = False
    stateful: bool = False


def _options(**kinds: OptionKind) -> tuple[Option, ...]:
    return tuple(Option(name, name, kind) for name, kind in kinds.items())


_KNOTS = (Option("Boundary.knots", "boundary", "numbers"),)
_CUBIC = Function("columns", _options(df="count", knots="numbers"), stateful=True)
_FACTOR = Function("category", _options(levels="levels"))

UNARY = (
    *("log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs", "sign", "floor", "ceiling"),
    *("sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
)

FUNCTIONS: dict[str, Function] = {
    **dict.fromkeys(UNARY, Function()),
    **dict.fromkeys(("I", "identity", "as.numeric"), Function()),
    "log": Function(options=_options(base="expression")),
    "round": Function(options=_options(digits="expression")),
    "pmin": Function(many=True),
    "pmax": Function(many=True),
    "center": Function(stateful=True),
    "scale": Function(
        options=_options(center="flag or number", scale="flag or number"), stateful=True
    ),
    "poly": Function("columns", _options(degree="count", raw="flag"), stateful=True),
    "bs": Function(
        "columns",
        (*_options(df="count", knots="numbers", degree="count", intercept="flag"), *_KNOTS),
        stateful=True,
    ),
    "ns": Function(
        "columns",
        (*_options(df="count", knots="numbers", intercept="flag"), *_KNOTS),
        stateful=True,
    ),
    "cr": _CUBIC,
    "cs": _CUBIC,
    "factor": _FACTOR,
    "as.factor": Function("category"),
    "ordered": _FACTOR,
    "as.ordered": Function("category"),
    "relevel": Function("category", _options(ref="level")),
    "C": Function("category", _options(contr="contrast")),
}
CONTRASTS = {
    "contr.treatment": "treatment",
    "contr.sum": "sum",
    "contr.helmert": "helmert",
    "contr.poly": "poly",
    "Treatment": "treatment",
    "Sum": "sum",
    "Helmert": "helmert",
    "Poly": "poly",
}


def code_name(function: str) -> str:
    """Return the name that stands for a function in code.

    The prefix keeps a column named ``center`` or ``log`` from hiding the function.
    """
    return f"fn_{function.replace('.', '_')}"


def reserved(column: str) -> bool:
    """Whether a column's name would hide one of the functions in the code."""
    return column in _CODE_NAMES or column.startswith("__FORMULAIC_")


def encode(text: str) -> str:
    """Return any text as letters, digits and ``%_.-~``, safe inside formulaic's own quoting."""
    return quote(text, safe="", errors="surrogatepass")


def decode(text: str) -> str:
    """Undo `encode`."""
    return unquote(text, errors="surrogatepass")


COMPARISONS = {
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
    "==": "equal",
    "!=": "not_equal",
}
INTERNAL = ("column", "text", "and", "or", "not", *COMPARISONS.values())
_CODE_NAMES = frozenset(map(code_name, (*FUNCTIONS, *INTERNAL)))


def find(call: Call) -> Function:
    """Return the signature of a called function, or say which functions there are."""
    if call.function in FUNCTIONS:
        return FUNCTIONS[call.function]
    if call.function == "offset":
        raise PlacedError("offset() must stand alone between '+' signs", call.at)
    if call.function in ("cbind", "c"):
        raise PlacedError(f"{call.function}() cannot be used here", call.at)
    close = difflib.get_close_matches(call.function, FUNCTIONS, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]}()?" if close else "."
    known = ", ".join([*FUNCTIONS, "offset"])
    raise PlacedError(
        f"unknown function {call.function}(){hint} Only these may be called: {known}. "
        "Anything else can be made a column first. "
        "(To multiply or interact, write an operator before '('.)",
        call.at,
    )


def bind(call: Call, function: Function) -> tuple[Argument, dict[Option, Argument]]:
    """Match the arguments of a call with the names of its parameters, as R does."""
    named = {option.name: option for option in function.options}
    free = list(function.options)
    first: Argument | None = None
    bound: dict[Option, Argument] = {}
    for argument in (a for a in call.arguments if a.keyword is not None):
        if argument.keyword == "x" and first is None:
            first = argument
            continue
        option = named.get(argument.keyword or "")
        if option is None:
            known = ", ".join(named) or "no named arguments"
            raise PlacedError(
                f"{call.function}() has no argument {argument.keyword}; it takes {known}",
                argument.at,
            )
        if option in bound:
            raise PlacedError(f"argument {argument.keyword} is given twice", argument.at)
        bound[option] = argument
        free.remove(option)
    for argument in (a for a in call.arguments if a.keyword is None):
        if first is None:
            first = argument
        elif free:
            bound[free.pop(0)] = argument
        else:
            raise PlacedError(f"too many arguments for {call.function}()", argument.at)
    if first is None:
        raise PlacedError(f"{call.function}() needs a column", call.at)
    # One order, so that two spellings of a call are one factor.
    return first, {option: bound[option] for option in function.options if option in bound}
