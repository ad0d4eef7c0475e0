"""Text → `ParsedFormula`; errors show the formula with a caret under the place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache, partial

from mixedmodels.errors import ArgumentError, FormulaError
from mixedmodels.formula.algebra import Algebra
from mixedmodels.formula.render import Factor, expression
from mixedmodels.formula.signatures import reserved
from mixedmodels.formula.syntax import read, unbracketed
from mixedmodels.formula.terms import Expression, Grouping, ParsedFormula, RandomTerm
from mixedmodels.formula.tree import (
    Binary,
    Call,
    Dot,
    Name,
    Node,
    Number,
    PlacedError,
    Text,
    Unary,
    bar_in,
    bare,
    spine,
    write,
)

NESTING = frozenset({"/", ":", "*", "%in%"})
WINDOW = 100


def parse(text: str, columns: Sequence[str] | None = None) -> ParsedFormula:
    """Read a formula in R's notation.

    Parameters
    ----------
    text : str
        Such as ``'y ~ x + (x | g)'``.
    columns : sequence of str, optional
        Names of the data's columns; needed only when the formula contains ``.``.

    Returns
    -------
    ParsedFormula

    Raises
    ------
    ArgumentError
        When the formula is not a string.
    FormulaError
        When it cannot be understood; the message points at the place.

    Examples
    --------
    >>> parsed = parse("log(y) ~ time + I(time^2) + (time | animal)")
    >>> parsed.response.text, parsed.random[0].columns, parsed.random[0].group.name
    ('log(y)', '1 + `time`', 'animal')
    """
    if not isinstance(text, str):
        raise ArgumentError(f"formula must be a string, not {type(text).__name__}")
    # Without a '.' the columns change nothing, and one cached answer serves all data.
    return _parse(text, tuple(columns) if columns is not None and "." in text else None)


@lru_cache(maxsize=256)
def _parse(text: str, columns: tuple[str, ...] | None) -> ParsedFormula:
    try:
        left, right = read(text)
        return _assemble(text, left, right, columns)
    except PlacedError as fault:
        raise FormulaError(*_pointing(fault, text)) from None


def _pointing(fault: PlacedError, text: str) -> tuple[str, str, str]:
    """Return the message, the formula on one line, and a caret."""
    line = "".join(char if char.isprintable() else " " for char in text)
    start = max(0, fault.at - WINDOW // 2) if len(line) > WINDOW else 0
    before = "..." if start else ""
    after = "..." if start + WINDOW < len(line) else ""
    shown = f"{before}{line[start : start + WINDOW].rstrip()}{after}"
    return fault.message, shown, f"{' ' * (len(before) + fault.at - start)}^"


def _assemble(text: str, left: Node, right: Node, columns: tuple[str, ...] | None) -> ParsedFormula:
    response = _response(left)
    fixed = Algebra(partial(_others, columns, {*response.variables, *_group_columns(right)}))
    part = fixed.sum(right)
    terms = fixed.listed(part.terms)
    factors = [factor for term in terms for factor in term]
    fixed_variables = _unique(name for factor in factors for name in factor.variables)
    random = [_random(node) for node in part.bars]
    _check_duplicates(
        [(term, node) for (terms, _), node in zip(random, part.bars, strict=True) for term in terms]
    )
    bars = [term for terms, _ in random for term in terms]
    factors += [factor for _, used in random for factor in used]
    _check_response(left, right, factors)
    offsets = [_offset(node) for node in part.offsets]
    needed = (
        response.variables,
        *(factor.variables for factor in factors),
        *(bar.group.variables for bar in bars),
        *(offset.variables for offset in offsets),
    )
    return ParsedFormula(
        text=text,
        response=response,
        fixed=_source(terms, intercept=part.intercept is not False),
        fixed_text=_fixed_text(right),
        random=tuple(bars),
        offsets=tuple(offsets),
        variables=_unique(name for names in needed for name in names),
        labels={f.code: f.text for f in factors if f.code != f.text},
        categorical=_unique(f.categorical for f in factors if f.categorical is not None),
        fixed_variables=fixed_variables,
        covariates=_unique(
            name
            for names in (
                response.variables,
                *(factor.variables for factor in factors),
                *(offset.variables for offset in offsets),
            )
            for name in names
        ),
    )


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _source(terms: list[list[Factor]], *, intercept: bool) -> str:
    """Return terms as a formula for formulaic."""
    summands = [":".join(factor.source for factor in term) for term in terms]
    return " + ".join(["1" if intercept else "0", *summands])


def _offset(node: Node) -> Expression:
    call = bare(node)
    assert isinstance(call, Call)
    return expression(call.arguments[0].value, "the offset", scaling=False)


def _fixed_text(right: Node) -> str:
    """Return the summands that are neither random terms nor offsets."""
    head, links = spine(right, frozenset("+-"))
    kept = [
        (op, node)
        for op, node in [("+", head), *((o, n) for o, n, _ in links)]
        if not _taken_out(node)
    ]
    text = " ".join(f"{op} {write(node)}" for op, node in kept)
    return text.removeprefix("+ ") or "1"


def _taken_out(node: Node) -> bool:
    inner = bare(node)
    return bar_in(node) is not None or (isinstance(inner, Call) and inner.function == "offset")


# --- the response -------------------------------------------------------------------------------


def _response(left: Node) -> Expression:
    inner = bare(left)
    match inner:
        case Call(function="cbind"):
            raise PlacedError("only one response can be modelled; cbind() holds several", inner.at)
        case Binary(op="|" | "||"):
            raise PlacedError("a random term belongs on the right of '~'", inner.at)
        case Binary(op="+") if _reads(inner.left) and _reads(inner.right):
            raise PlacedError(
                "two columns joined by '+' on the left of '~'; there is one response: "
                f"write I({write(inner)}) if you mean arithmetic",
                inner.at,
            )
        case Dot():
            raise PlacedError("'.' cannot be the response; name a column", inner.at)
    return expression(left, "the response", scaling=True)


def _reads(node: Node) -> bool:
    try:
        return bool(expression(node, "the response", scaling=True).variables)
    except PlacedError:
        return False


def _check_response(left: Node, right: Node, factors: list[Factor]) -> None:
    """Refuse the response as a predictor of itself."""
    name = bare(left)
    if isinstance(name, Name) and any(factor.text == name.name for factor in factors):
        place = _find(right, name.name)
        raise PlacedError(
            f"the response {write(name)} is also a term on the right of '~'; remove it",
            left.at if place is None else place,
        )


def _find(node: Node, name: str) -> int | None:
    """Return the last place where a column is named outside a function."""
    stack = [node]
    while stack:
        match bare(stack.pop()):
            case Binary(left=left, right=right):
                stack += [left, right]
            case Unary(operand=operand):
                stack.append(operand)
            case Name(name=found, at=at) if found == name:
                return at
    return None


# --- random terms -------------------------------------------------------------------------------


def _random(node: Node) -> tuple[list[RandomTerm], list[Factor]]:
    """Expand one bar into its random terms; also return the factors of its left side."""
    bar = bar_in(node)
    assert bar is not None
    if not _single(bar):
        raise _two_bars(bar)
    algebra = Algebra()
    part = algebra.sum(bar.left)
    if part.bars or part.offsets:
        taken = write((part.bars + part.offsets)[0])
        raise PlacedError(f"{taken} cannot stand inside a random term", bare(node).at)
    intercept = part.intercept is not False
    if not intercept and not part.terms:
        raise PlacedError(f"the random term {write(node)} has no columns", node.at)
    terms = algebra.listed(part.terms)
    factors = [factor for term in terms for factor in term]
    if bar.op == "|":
        sources = [_source(terms, intercept=intercept)]
    else:  # as in lme4, each term of a double bar stands alone: a factor by all its levels
        sources = ["1"] * intercept + [_source([term], intercept=False) for term in terms]
    variables = _unique(name for factor in factors for name in factor.variables)
    left = f"({write(bar.left)} {bar.op} "
    return [
        RandomTerm(f"{left}{_group_text(group)})", source, bar.op == "|", group, variables)
        for group in _groupings(bar.right, bar)
        for source in sources
    ], factors


def _two_bars(bar: Binary) -> PlacedError:
    inner = bar.left if isinstance(bar.left, Binary) else bar.right
    assert isinstance(inner, Binary)
    left, first, second = (
        (inner.left, inner.right, bar.right)
        if inner is bar.left
        else (bar.left, inner.left, inner.right)
    )
    x, a, b = write(left), write(first), write(second)
    return PlacedError(
        f"two bars in one random term; did you mean ({x} | {a}/{b}), ({x} | {a}:{b}) or "
        f"({x} | {a}) + ({x} | {b})?",
        bar.at,
    )


def _group_text(group: Grouping) -> str:
    return ":".join(write(Name(name, 0)) for name in group.variables)


def _groupings(node: Node, bar: Binary) -> list[Grouping]:
    """Expand the right side of a bar: ``a/b`` into a and a:b."""
    algebra = Algebra()
    terms = algebra.sum(_only_columns(node, bar)).terms
    columns = [factor.variables[0] for factor in algebra.factors.values()]
    return [Grouping(tuple(columns[rank] for rank in term)) for term in terms]


def _only_columns(node: Node, bar: Binary) -> Node:
    """Return a grouping with factor(k) replaced by k, or say why it is no grouping."""
    inner = bare(node)
    match inner:
        case Name():
            return inner
        case Call(function="factor" | "as.factor", arguments=(argument,)) if (
            isinstance(bare(argument.value), Name) and argument.keyword is None
        ):
            return bare(argument.value)
        case Binary(op=op) if op in NESTING:
            head, links = spine(inner, NESTING)
            result = _only_columns(head, bar)
            for link, right, at in links:
                result = Binary(link, result, _only_columns(right, bar), at)
            return result
        case Binary(op="+", left=left, right=right):
            x = write(bar.left)
            raise PlacedError(
                f"'+' in a grouping; write ({x} {bar.op} {write(left)}) + "
                f"({x} {bar.op} {write(right)})",
                inner.at,
            )
        case Number() | Text():
            raise PlacedError(f"the grouping must name a column, not {write(inner)}", inner.at)
        case _:
            raise PlacedError(
                f"the grouping must name columns joined by ':' or '/', not {write(inner)}; "
                f"'|' as \"or\" belongs inside I()",
                inner.at,
            )


def _group_columns(right: Node) -> set[str]:
    """Return the grouping columns of all random terms, which '.' leaves out."""
    names: set[str] = set()
    stack = [right]
    while stack:
        node = stack.pop()
        bar = bar_in(node)
        inner = bare(node)
        if bar is not None:
            groups = _groupings(bar.right, bar) if _single(bar) else []
            names.update(name for group in groups for name in group.variables)
        elif isinstance(inner, Binary):
            if inner.op in ("|", "||"):
                raise unbracketed(inner)
            stack += [inner.left, inner.right]
        elif isinstance(inner, Unary):
            stack.append(inner.operand)
    return names


def _single(bar: Binary) -> bool:
    return not any(isinstance(s, Binary) and s.op in ("|", "||") for s in (bar.left, bar.right))


def _others(columns: tuple[str, ...] | None, used: set[str], dot: Dot) -> tuple[str, ...]:
    """Return the columns that '.' stands for."""
    if columns is None:
        raise PlacedError(
            "'.' stands for all other columns, but the columns are not known here", dot.at
        )
    others = tuple(name for name in columns if name not in used)
    if bad := [name for name in others if "`" in name or not name or reserved(name)]:
        raise PlacedError(
            f"'.' includes the column {bad[0]!r}, whose name cannot be used; rename it", dot.at
        )
    return others


def _check_duplicates(placed: list[tuple[RandomTerm, Node]]) -> None:
    seen: set[tuple[str, bool, frozenset[str]]] = set()
    for term, node in placed:
        key = (term.columns, term.correlated, frozenset(term.group.variables))
        if key in seen:
            raise PlacedError(f"the random term {term.text} is there twice; remove one", node.at)
        seen.add(key)
