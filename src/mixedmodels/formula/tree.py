"""The syntax tree of a formula, and its text as R prints it."""

from __future__ import annotations

import re
from dataclasses import dataclass

RESERVED = frozenset({"TRUE", "FALSE"})
TIGHT = frozenset({":", "/", "^"})
SYNTACTIC = re.compile(r"(?:[^\W\d_]|\.(?!\d)|_(?!_))[\w.]*")


class PlacedError(Exception):
    """A mistake in the formula and its place; `parse` turns it into a `FormulaError`."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


@dataclass(frozen=True, slots=True)
class Name:
    """A column."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Dot:
    """All other columns."""

    at: int


@dataclass(frozen=True, slots=True)
class Number:
    """A number, with the text it was written as."""

    text: str
    value: int | float
    at: int


@dataclass(frozen=True, slots=True)
class Flag:
    """TRUE or FALSE."""

    value: bool
    at: int


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted text."""

    value: str
    at: int


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a call."""

    keyword: str | None
    value: Node
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function call."""

    function: str
    arguments: tuple[Argument, ...]
    at: int


@dataclass(frozen=True, slots=True)
class Unary:
    """A sign or a negation before its operand."""

    op: str
    operand: Node
    at: int


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two operands."""

    op: str
    left: Node
    right: Node
    at: int


@dataclass(frozen=True, slots=True)
class Group:
    """A pair of parentheses."""

    inner: Node
    at: int


Node = Name | Dot | Number | Flag | Text | Call | Unary | Binary | Group
Link = tuple[str, Node, int]


def bare(node: Node) -> Node:
    """Return the node inside any parentheses."""
    while isinstance(node, Group):
        node = node.inner
    return node


def spine(node: Node, operators: frozenset[str] | None = None) -> tuple[Node, list[Link]]:
    """Unroll a chain ``a + b - c`` into its head and ``[('+', b, at), ('-', c, at)]``.

    A loop, because a chain of ten thousand summands is deeper than the interpreter's stack.
    """
    links: list[Link] = []
    while isinstance(node, Binary) and (operators is None or node.op in operators):
        links.append((node.op, node.right, node.at))
        node = node.left
    links.reverse()
    return node, links


def bar_in(node: Node) -> Binary | None:
    """Return the bar of ``(x | g)``, or None when the node is no random term."""
    inner = bare(node)
    if isinstance(node, Group) and isinstance(inner, Binary) and inner.op in ("|", "||"):
        return inner
    return None


def quoted(name: str) -> str:
    """Return a column name as it is written in a formula."""
    return name if SYNTACTIC.fullmatch(name) and name not in RESERVED else f"`{name}`"


def write(node: Node) -> str:
    """Return the text of a node, spaced as R prints it."""
    match node:
        case Binary():
            head, links = spine(node)
            return write(head) + "".join(_link(op, right) for op, right, _ in links)
        case Unary():
            return f"{node.op}{write(node.operand)}"
        case Group():
            return f"({write(node.inner)})"
        case Call():
            return f"{node.function}({', '.join(_argument(a) for a in node.arguments)})"
        case Name():
            return quoted(node.name)
        case Number():
            return node.text
        case Text():
            escaped = node.value.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{escaped}"'
        case Flag():
            return "TRUE" if node.value else "FALSE"
        case Dot():
            return "."


def _link(op: str, right: Node) -> str:
    return f"{op}{write(right)}" if op in TIGHT else f" {op} {write(right)}"


def _argument(argument: Argument) -> str:
    value = write(argument.value)
    return value if argument.keyword is None else f"{argument.keyword} = {value}"
