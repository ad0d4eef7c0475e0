"""R's term algebra: a syntax tree becomes a set of terms, each a set of factors.

A term is the sorted tuple of its factors' ranks, where ranks count first appearance; that gives
each interaction one spelling, the one R prints. The empty term is the intercept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mixedmodels.formula.render import Factor, column_factor, factor
from mixedmodels.formula.signatures import COMPARISONS
from mixedmodels.formula.syntax import unbracketed
from mixedmodels.formula.tree import (
    Binary,
    Call,
    Dot,
    Flag,
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

Term = tuple[int, ...]
Terms = dict[Term, None]  # an ordered set

CHAIN = frozenset({"+", "-"})
PRODUCTS = frozenset({"*", "/", ":", "%in%"})
# Stops (a + b + ...)^9 from filling the memory; no design has more columns than this.
MOST_TERMS = 20_000


@dataclass(slots=True)
class Part:
    """What a sum of terms holds.

    Attributes
    ----------
    terms : dict
        Ordered set, without the intercept.
    intercept : bool or None
        None when the sum does not mention it.
    bars, offsets : list
        Taken out of the algebra, as they were written.
    """

    terms: Terms = field(default_factory=dict)
    intercept: bool | None = None
    bars: list[Node] = field(default_factory=list)
    offsets: list[Node] = field(default_factory=list)

    def add(self, other: Part) -> None:
        """Include all that the other part holds."""
        self.terms.update(other.terms)
        if other.intercept is not None:
            self.intercept = other.intercept
        self.bars += other.bars
        self.offsets += other.offsets

    def subtract(self, other: Part) -> None:
        """Remove what the other part holds; a random term must be there to be removed."""
        for term in other.terms:
            self.terms.pop(term, None)
        if other.intercept is not None:
            self.intercept = not other.intercept
        _remove(self.bars, other.bars, "random term")
        _remove(self.offsets, other.offsets, "offset")


def _remove(present: list[Node], unwanted: list[Node], what: str) -> None:
    for node in unwanted:
        text = write(node)
        found = [old for old in present if write(old) == text]
        if not found:
            raise PlacedError(f"there is no earlier {what} {text} to remove", bare(node).at)
        present.remove(found[0])


@dataclass(slots=True)
class Algebra:
    """Expands one side of a formula or of a bar.

    Attributes
    ----------
    others : callable or None
        Gives the columns that '.' stands for; None where '.' has no meaning.
    factors : dict
        Each factor by its code, in order of first appearance.
    """

    others: Callable[[Dot], tuple[str, ...]] | None = None
    factors: dict[str, Factor] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)

    def sum(self, node: Node) -> Part:
        """Expand a chain of summands, from left to right."""
        head, links = spine(node, CHAIN)
        part = self.summand(head)
        for op, right, _ in links:
            if op == "+":
                part.add(self.summand(right))
            else:
                part.subtract(self.summand(right))
        return part

    def summand(self, node: Node) -> Part:
        """Expand what stands between two '+' signs."""
        inner = bare(node)
        if bar_in(node) is not None:
            return Part(bars=[node])
        match inner:
            case Number() | Flag() | Text():
                return Part(intercept=_intercept(inner))
            case Unary(op="+"):
                return self.summand(inner.operand)
            case Unary(op="-"):
                part = Part()
                part.subtract(self.summand(inner.operand))
                return part
            case Binary(op="|" | "||"):
                raise unbracketed(inner)
            case Call(function="offset"):
                if len(inner.arguments) != 1 or inner.arguments[0].keyword:
                    raise PlacedError("offset() takes one expression", inner.at)
                return Part(offsets=[inner])
            case Binary(op="+" | "-"):
                return self.sum(inner)
            case Binary(op=op) if op in COMPARISONS:
                _check_comparison(inner)
                return self.product(inner)
            case _:
                return self.product(inner)

    def product(self, node: Node) -> Part:
        """Expand a chain of ``* / :``, a power, or a single factor."""
        if isinstance(node, Binary) and node.op == "^":
            return self.power(node)
        if not (isinstance(node, Binary) and node.op in PRODUCTS):
            return Part(self.single(node))
        head, links = spine(node, PRODUCTS)
        if isinstance(bare(head), Number):
            raise _number_in_product(bare(head), node)
        part = self.operand(head)
        for op, right, at in links:
            if isinstance(bare(right), Number):
                raise _number_in_product(bare(right), node)
            other = self.operand(right)
            removed = part.intercept is False or other.intercept is False
            part = _split(_combine(op, _joined(part), _joined(other), at), removed=removed)
        return part

    def operand(self, node: Node) -> Part:
        """Expand one side of a product, where only terms may stand."""
        part = self.summand(node)
        if part.bars or part.offsets:
            taken = write((part.bars + part.offsets)[0])
            raise PlacedError(f"{taken} must stand alone between '+' signs", bare(node).at)
        return part

    def power(self, node: Binary) -> Part:
        """Cross the terms of a sum with one another, so many times."""
        times = _exponent(node)
        part = self.operand(node.left)
        base = result = _joined(part)
        for _ in range(times - 1):
            larger = result | _cross(result, base, node.at)
            if len(larger) == len(result):
                break
            result = larger
        return _split(result, removed=part.intercept is False)

    def single(self, node: Node) -> Terms:
        """Return the terms of one factor, or of all columns that '.' stands for."""
        if isinstance(node, Dot):
            if self.others is None:
                raise PlacedError("'.' cannot be used here; name the columns", node.at)
            return {(self.rank(column_factor(name)),): None for name in self.others(node)}
        # A column is what nearly every factor is, and needs no writer.
        found = column_factor(node.name) if isinstance(node, Name) else factor(node)
        return {(self.rank(found),): None}

    def rank(self, found: Factor) -> int:
        """Return the rank of a factor, a new one when it appears for the first time."""
        self.factors.setdefault(found.code, found)
        return self.ranks.setdefault(found.code, len(self.ranks))

    def listed(self, terms: Terms) -> list[list[Factor]]:
        """Return the factors of each term: main effects first, then by order, as in R."""
        factors = list(self.factors.values())
        return [[factors[rank] for rank in term] for term in sorted(terms, key=len)]


def _intercept(node: Number | Flag | Text) -> bool:
    if isinstance(node, Number) and node.value in (0, 1):
        return node.value == 1
    text = write(node)
    raise PlacedError(
        f"{text} is not a term; only 1 and 0 stand for the intercept "
        f"(for arithmetic write I(x + {text}))",
        node.at,
    )


def _exponent(node: Binary) -> int:
    exponent = bare(node.right)
    if isinstance(exponent, Number) and isinstance(exponent.value, int) and exponent.value > 0:
        return exponent.value
    raise PlacedError(
        f"outside a function '^' crosses terms, and its exponent is a whole number from 1; "
        f"for a power write I({write(node)})",
        node.at,
    )


def _check_comparison(node: Binary) -> None:
    """Refuse ``z + x > 3``, which R reads as (z + x) > 3 and hardly anyone means."""
    stack: list[Node] = [node.left, node.right]
    while stack:
        part = stack.pop()
        if bar_in(part) is not None:
            raise PlacedError(f"{write(part)} must stand alone between '+' signs", part.at)
        match bare(part):
            case Binary(left=left, right=right):
                stack += [left, right]
            case Unary(operand=operand):
                stack.append(operand)
    for side in (node.left, node.right):
        if isinstance(side, Binary) and side.op in CHAIN:
            raise PlacedError(
                f"a comparison between summands needs parentheses, as in z + (x {node.op} 3)",
                node.at,
            )


def _number_in_product(node: Node, whole: Node) -> PlacedError:
    return PlacedError(
        f"numbers cannot be crossed with terms; for arithmetic write I({write(whole)})",
        node.at,
    )


def _joined(part: Part) -> Terms:
    """Return the terms with the intercept as the empty term."""
    return {(): None, **part.terms} if part.intercept else part.terms


def _split(terms: Terms, *, removed: bool) -> Part:
    """Undo `_joined`; an intercept removed in an operand is removed from the whole."""
    present = True if () in terms else None
    return Part({t: None for t in terms if t}, False if removed else present)


def _combine(op: str, left: Terms, right: Terms, at: int) -> Terms:
    if op == "*":
        return left | right | _cross(left, right, at)
    if op == "/":
        parents = tuple(sorted({rank for term in left for rank in term}))
        return left | _cross({parents: None}, right, at)
    return _cross(left, right, at)


def _cross(left: Terms, right: Terms, at: int) -> Terms:
    if len(left) * len(right) > MOST_TERMS * 10:
        raise PlacedError(f"this expands to more than {MOST_TERMS} terms", at)
    crossed = {tuple(sorted({*a, *b})): None for a in left for b in right}
    if len(crossed) > MOST_TERMS:
        raise PlacedError(f"this expands to more than {MOST_TERMS} terms", at)
    return crossed
