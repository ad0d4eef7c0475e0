"""Blocks of a summary, and how names and numbers become lines of bounded length; no statistics."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from mixedmodels.errors import JOINERS, clean

LINE = 80
"""Longest line, in character cells."""

NAME = 36
"""Longest name in a table, in character cells."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Labelled values, one a line.

    Attributes
    ----------
    pairs : tuple of (str, str)
    """

    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Prose:
    """A heading and paragraphs.

    Attributes
    ----------
    title : str
    paragraphs : tuple of str
    """

    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A heading and a table: columns of names, then columns of numbers as text.

    Attributes
    ----------
    title : str
    header : tuple of str
    rows : tuple of tuple of str
        Short rows end in empty cells. Names are given in full; renderers shorten them.
    n_text : int
        Number of leading columns that hold names.
    note : str
        Line under the table, or empty.
    gap : int
        Spaces between columns.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_text: int
    note: str = ""
    gap: int = 2


Block = Facts | Prose | Table


def number(value: float) -> str:
    """A number with five significant digits, scientific only where it is very large or small.

    Examples
    --------
    >>> [number(x) for x in (0, 0.27771, 52.1, 123456.7, 1.5e12, -2e-9)]
    ['0', '0.27771', '52.100', '123457', '1.5000e+12', '-2.0000e-09']
    """
    if value == 0.0:
        return "0"
    if 9999.95 <= abs(value) < 1e7:
        return f"{value:.0f}"
    return f"{value:#.5g}"


def fixed(value: float, decimals: int) -> str:
    """A number with fixed decimals, or as `number` writes it where those would run long."""
    if abs(value) >= 1e9:
        return number(value)
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0.0 else text


def p_value(value: float) -> str:
    """A probability with four decimals."""
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def shorten(text: str, limit: int) -> str:
    """A clean name of at most `limit` cells, with an ellipsis in the middle where it is longer.

    Examples
    --------
    >>> shorten("a_very_long_column_name", 11)
    'a_ver…_name'
    """
    text = clean(text if len(text) <= 2 * limit else f"{text[:limit]}{text[-limit:]}")
    if _cost(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return f"{_within(text, limit - 1 - tail)}…{_within(text[::-1], tail)[::-1]}"


def shorten_words(text: str, word: int = 60, total: int = 600) -> str:
    """Running text on one line, each word and the whole shortened."""
    words = (shorten(part, word) for part in text[:1_000_000].split())
    return shorten(" ".join(words), total)


def listing(items: Sequence[str], most: int) -> str:
    """The first items, comma separated, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more


def width(text: str) -> int:
    """Character cells that the text takes in a terminal."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char) or char in JOINERS:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cost(text: str) -> int:
    # a mark without width still counts, so that no name is longer than its limit
    return sum(max(1, _cells(char)) for char in text)


def _within(text: str, limit: int) -> str:
    used = 0
    for i, char in enumerate(text):
        used += max(1, _cells(char))
        if used > limit:
            return text[:i]
    return text


def _pad(text: str, cells: int, *, right: bool) -> str:
    space = " " * (cells - width(text))
    return space + text if right else text + space


def align(cells: Sequence[str]) -> list[str]:
    """Numbers padded to equal length, decimal points under each other."""
    heads = [_head(cell) for cell in cells]
    tails = [cell[len(head) :] for cell, head in zip(cells, heads, strict=True)]
    left, right = max(map(len, heads), default=0), max(map(len, tails), default=0)
    return [h.rjust(left) + t.ljust(right) for h, t in zip(heads, tails, strict=True)]


def _head(cell: str) -> str:
    found = re.match(r"[<-]?\d+|.*", cell)
    return found.group() if found else ""


def columns(table: Table, name: int = NAME) -> list[list[str]]:
    """Columns of the table without header: names shortened, numbers aligned."""
    out = []
    for j, cells in enumerate(zip_longest(table.header, *table.rows, fillvalue="")):
        body = cells[1:]
        out.append([shorten(c, name) for c in body] if j < table.n_text else align(body))
    return out


def _table_lines(table: Table) -> list[str]:
    """The table as lines; names give way where it would be too wide, then it goes on below."""
    header = [clean(head) for head in table.header]
    for name in (NAME, *range(28, 9, -1)):
        body = columns(table, name)
        widths = [
            max(map(width, (head, *column))) for head, column in zip(header, body, strict=True)
        ]
        if sum(widths) + table.gap * (len(widths) - 1) <= LINE:
            break
    padded = [
        [_pad(cell, cells, right=j >= table.n_text) for cell in (head, *column)]
        for j, (head, column, cells) in enumerate(zip(header, body, widths, strict=True))
    ]
    names, gap = padded[: table.n_text], " " * table.gap
    parts = _side_by_side(widths, table)
    shown = [[*names, *padded[start:stop]] for start, stop in parts]
    return [gap.join(line).rstrip() for part in shown for line in zip(*part, strict=True)]


def _side_by_side(widths: Sequence[int], table: Table) -> list[tuple[int, int]]:
    """Columns of numbers that fit beside the names: first and last of each part of the table."""
    room = LINE - sum(w + table.gap for w in widths[: table.n_text])
    parts, start, used = [], table.n_text, 0
    for j in range(table.n_text, len(widths)):
        if j > start and used + widths[j] > room:
            parts.append((start, j))
            start, used = j, 0
        used += widths[j] + table.gap
    return [*parts, (start, len(widths))]


def block_text(block: Block) -> str:
    """One block as text."""
    if isinstance(block, Facts):
        label = max(len(name) for name, _ in block.pairs) + 2
        return "\n".join(
            line
            for name, value in block.pairs
            for line in textwrap.wrap(
                value,
                LINE,
                initial_indent=f"{name}:".ljust(label),
                subsequent_indent=" " * label,
            )
        )
    if isinstance(block, Prose):
        body = [line for text in block.paragraphs for line in textwrap.wrap(text, LINE)]
    else:
        body = _table_lines(block) + textwrap.wrap(block.note, LINE)
    return "\n".join([block.title, *body] if block.title else body)
