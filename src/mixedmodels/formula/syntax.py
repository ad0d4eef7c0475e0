"""Tokens → syntax tree, by precedence climbing with R's precedences."""

from __future__ import annotations

import math

from mixedmodels.formula.signatures import reserved
from mixedmodels.formula.tokens import Token, tokenize
from mixedmodels.formula.tree import (
    Argument,
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
    spine,
    write,
)

BAR, AND, NOT, COMPARE, SUM, PRODUCT, IN, COLON, SIGN, POWER = range(1, 11)
BINDING = {
    **dict.fromkeys(("|", "||"), BAR),
    "&": AND,
    **dict.fromkeys(("<", ">", "<=", ">=", "==", "!="), COMPARE),
    **dict.fromkeys(("+", "-"), SUM),
    **dict.fromkeys(("*", "/"), PRODUCT),
    "%in%": IN,
    ":": COLON,
    **dict.fromkeys(("^", "**"), POWER),
}
# Far above any real formula, far below the interpreter's recursion limit.
DEEPEST = 60
# arguments of one call
WIDEST = 2000


def read(text: str) -> tuple[Node, Node]:
    """Return the two sides of a formula as syntax trees."""
    return _Reader(tokenize(text)).formula()


class _Reader:
    """A place in the list of tokens."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.place = 0
        self.depth = 0
        self.calls = 0
        self.open: list[Token] = []

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def ended(self) -> bool:
        return self.token.kind == "end"

    def take(self) -> Token:
        token = self.token
        self.place += 1
        return token

    def sees(self, *operators: str) -> bool:
        return self.token.kind == "operator" and self.token.text in operators

    def formula(self) -> tuple[Node, Node]:
        if self.sees("~"):
            raise PlacedError("no response on the left of '~'", self.token.at)
        if self.ended():
            raise PlacedError("the formula is empty; write one such as y ~ x + (1 | g)", 0)
        left = self.expression(0)
        if self.ended():
            raise PlacedError(
                "no '~' in the formula; write one such as y ~ x + (1 | g)", self.token.at
            )
        if not self.sees("~"):
            raise self.stray()
        self.take()
        right = self.expression(0)
        if self.sees("~"):
            raise PlacedError("two '~' in one formula; there must be exactly one", self.token.at)
        if not self.ended():
            raise self.stray()
        return left, right

    def expression(self, floor: int) -> Node:
        """Read operands joined by operators that bind at least as tightly as `floor`."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise PlacedError(f"more than {DEEPEST} levels of nesting", self.token.at)
        node = self.prefix(floor)
        while self.token.kind == "operator":
            power = BINDING.get(self.token.text, -1)
            if power < max(floor, 1):
                break
            token = self.take()
            # The right operand of '^' may hold another '^'; every other operator groups leftwards.
            right = self.expression(power if power == POWER else power + 1)
            node = Binary("^" if token.text == "**" else token.text, node, right, token.at)
            if power == COMPARE and BINDING.get(self.token.text) == COMPARE:
                raise PlacedError("comparisons cannot be chained; join two with '&'", self.token.at)
        self.depth -= 1
        return node

    def prefix(self, floor: int) -> Node:
        """Read one operand with the signs before it."""
        token = self.take()
        if token.kind == "operator":
            if token.text in ("+", "-"):
                return Unary(token.text, self.expression(max(floor, SUM + 1)), token.at)
            if token.text == "!":
                return Unary("!", self.expression(max(floor, NOT)), token.at)
            if token.text == "(":
                return self.group(token)
        if token.kind in ("operator", "end"):
            raise self.missing(token)
        return self.operand(token)

    def operand(self, token: Token) -> Node:
        if token.kind == "number":
            return _number(token)
        if token.kind == "text":
            return Text(token.text, token.at)
        if self.sees("("):
            return self.call(token)
        if reserved(token.text):
            raise PlacedError(
                f"the column name {token.text} is reserved; rename the column", token.at
            )
        if token.kind == "quoted":
            return Name(token.text, token.at)
        if token.text in ("TRUE", "FALSE"):
            return Flag(token.text == "TRUE", token.at)
        if token.text == "pi" and self.calls:
            return Number("pi", math.pi, token.at)
        return Dot(token.at) if token.text == "." else Name(token.text, token.at)

    def group(self, opener: Token) -> Node:
        self.open.append(opener)
        inner = self.expression(0)
        self.close()
        return Group(inner, opener.at)

    def call(self, name: Token) -> Node:
        if name.kind == "quoted":
            raise PlacedError("a back-quoted name is a column and cannot be called", name.at)
        self.open.append(self.take())
        self.calls += 1
        arguments: list[Argument] = []
        while not self.sees(")"):
            if len(arguments) == WIDEST:
                raise PlacedError(f"more than {WIDEST} arguments", self.token.at)
            arguments.append(self.argument())
            if not self.sees(","):
                break
            self.take()
            if self.sees(")"):
                raise PlacedError("an argument is missing after ','", self.token.at)
        self.close()
        self.calls -= 1
        return Call(name.text, tuple(arguments), name.at)

    def argument(self) -> Argument:
        first, second = self.tokens[self.place], self.tokens[self.place + 1 : self.place + 2]
        named = first.kind == "name" and second and second[0].kind == "operator"
        if named and second[0].text == "=":
            self.place += 2
            return Argument(first.text, self.expression(0), first.at)
        return Argument(None, self.expression(0), first.at)

    def close(self) -> None:
        opener = self.open.pop()
        if self.sees(")"):
            self.take()
        elif self.ended():
            raise PlacedError("this '(' is never closed", opener.at)
        else:
            raise self.stray()

    def missing(self, token: Token) -> PlacedError:
        """Say what is missing where `token` stands instead of an operand."""
        before = self.tokens[self.place - 2] if self.place > 1 else None
        if token.kind == "operator" and token.text in ("|", "||"):
            return PlacedError(f"nothing before '{token.text}'; write (1 {token.text} g)", token.at)
        if before is None:
            return PlacedError(f"the formula cannot begin with '{token.text}'", token.at)
        if before.text in ("|", "||") and before.kind == "operator":
            return PlacedError(f"the grouping factor is missing after '{before.text}'", token.at)
        if self.open and token.kind == "end":
            return PlacedError("this '(' is never closed", self.open[-1].at)
        if before.text == "~" or token.kind == "end":
            return PlacedError(f"nothing after '{before.text}'", before.at)
        return PlacedError(
            f"a term is missing between '{before.text}' and '{token.text}'", token.at
        )

    def stray(self) -> PlacedError:
        """Say why the token here cannot follow a complete operand."""
        token = self.token
        if token.text == ")" and token.kind == "operator":
            return PlacedError("this ')' has no '('", token.at)
        if token.text == "=" and token.kind == "operator":
            return PlacedError(
                "'=' only names an argument of a function; compare with '=='", token.at
            )
        if token.kind == "operator":
            return PlacedError(f"'{token.text}' is not expected here", token.at)
        return PlacedError(f"an operator such as '+' is missing before '{token.text}'", token.at)


def _number(token: Token) -> Number:
    text = token.text.removesuffix("L")
    value = int(text) if text.isdigit() and len(text) < 16 else float(text)
    if value == float("inf"):
        raise PlacedError("this number is too large", token.at)
    return Number(token.text, value, token.at)


def unbracketed(bar: Binary) -> PlacedError:
    """Say where parentheses belong in ``x + 1 | g``."""
    head, links = spine(bar.left, frozenset("+-"))
    left = links[-1][1] if links else head
    group, _ = spine(bar.right, frozenset("+-"))
    term = f"({write(left)} {bar.op} {write(group)})"
    return PlacedError(f"put parentheses round the random term: {term}", bar.at)
