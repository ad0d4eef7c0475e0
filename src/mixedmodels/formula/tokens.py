"""Text → tokens, each with its place; characters without a meaning are named."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from mixedmodels.formula.tree import PlacedError

Kind = Literal["name", "quoted", "number", "text", "operator", "end"]

NUMBER = re.compile(r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?L?")
OPERATOR = re.compile(r"%in%|\*\*|\|\||<=|>=|==|!=|[-+*/:^~|&!<>(),=]")
STRING = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'", re.DOTALL)
QUOTED = re.compile(r"`([^`]*)`")
PERCENT = re.compile(r"%[^%\s]*%")
ESCAPES = {"n": "\n", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the formula.

    Attributes
    ----------
    kind : str
    text : str
        The operator, the number, or the contents of a name or a quoted text.
    at : int
        Place of its first character.
    """

    kind: Kind
    text: str
    at: int


def tokenize(text: str) -> list[Token]:
    """Split a formula into tokens; the last one is of kind ``end``."""
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        token, at = _next(text, at)
        tokens.append(token)
    tokens.append(Token("end", "", len(text.rstrip())))
    return tokens


def _next(text: str, at: int) -> tuple[Token, int]:
    """Return the token that starts at a place, and the place behind it."""
    char = text[at]
    if number := NUMBER.match(text, at):
        return Token("number", number.group(), at), number.end()
    if char.isalpha() or char in "._":
        return _name(text, at)
    if char in "\"'":
        return _string(text, at)
    if char == "`":
        return _backquoted(text, at)
    if text.startswith("::", at):
        raise PlacedError("'::' is not part of the formula language; write ns(x, 3) alone", at)
    if text.startswith("<-", at):
        raise PlacedError("'<-' assigns in R; for a comparison write x < (-3)", at)
    if operator := OPERATOR.match(text, at):
        return Token("operator", operator.group(), at), operator.end()
    if percent := PERCENT.match(text, at):
        raise PlacedError(
            f"unknown operator {percent.group()}; the only one of this kind is %in%", at
        )
    raise PlacedError(_odd(char), at)


def _name(text: str, at: int) -> tuple[Token, int]:
    end = at
    while end < len(text) and _in_name(text[end]):
        end += 1
    name = text[at:end]
    if name.startswith("__") or ".__" in name:
        raise PlacedError(
            f"names and parts of names with two leading underscores are not read; "
            f"if {name} is a column, "
            f"write it in back-quotes: `{name}`",
            at,
        )
    return Token("name", name, at), end


def _in_name(char: str) -> bool:
    # Marks (category M) join letters in many scripts, and in decomposed accents.
    return char.isalnum() or char in "._" or unicodedata.category(char).startswith("M")


def _string(text: str, at: int) -> tuple[Token, int]:
    found = STRING.match(text, at)
    if found is None:
        raise PlacedError("this quote is never closed", at)
    contents = found.group(1) if found.group(1) is not None else found.group(2)
    value = re.sub(r"\\(.)", lambda m: ESCAPES.get(m.group(1), m.group(1)), contents, flags=re.S)
    return Token("text", value, at), found.end()


def _backquoted(text: str, at: int) -> tuple[Token, int]:
    found = QUOTED.match(text, at)
    if found is None:
        raise PlacedError("this back-quote is never closed", at)
    if not found.group(1):
        raise PlacedError("there is no column name between the back-quotes", at)
    return Token("quoted", found.group(1), at), found.end()


# what word processors write for signs of a formula
LOOKALIKES = str.maketrans("−–—‘’“”´×∼˜¦", "---''\"\"`*~~|")  # noqa: RUF001


def _odd(char: str) -> str:
    name = unicodedata.name(char, "unnamed")
    shown = f" {char!r}" if char.isprintable() else ""
    plain = unicodedata.normalize("NFKC", char.translate(LOOKALIKES))
    hint = f"; did you mean {plain!r}?" if plain.isascii() and plain.strip() else ""
    hint = "" if plain == char else hint
    return f"the character{shown} (U+{ord(char):04X}, {name}) has no meaning in a formula{hint}"
