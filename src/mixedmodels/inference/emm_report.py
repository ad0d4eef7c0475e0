"""Marginal means as text and HTML: a table for each group, notes below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mixedmodels.output import html
from mixedmodels.output.layout import Block, Prose, Table, block_text, number, shorten

# rows shown; the frame has the rest
MOST_ROWS = 120
# what the frame has and the table leaves out: that a mean is zero is rarely a question
HIDDEN = ("statistic", "p_value")


def text_page(
    title: str, columns: Mapping[str, Any], by: Sequence[str], notes: Sequence[str]
) -> str:
    """The whole page as text."""
    blocks = (block_text(block).lstrip("\n") for block in _blocks(columns, by, notes))
    return "\n\n".join([title, *blocks])


def html_page(
    title: str, columns: Mapping[str, Any], by: Sequence[str], notes: Sequence[str]
) -> str:
    """The whole page as HTML."""
    return html.page(title, list(_blocks(columns, by, notes)))


def _blocks(columns: Mapping[str, Any], by: Sequence[str], notes: Sequence[str]) -> Iterator[Block]:
    names = list(columns)
    numeric = names[names.index("std_error") - 1 :]
    shown = [name for name in numeric if name not in HIDDEN]
    factors = [name for name in names if name not in numeric and name not in by]
    n_rows = len(columns["df"])
    groups: dict[str, list[tuple[str, ...]]] = {}
    for i in range(min(n_rows, MOST_ROWS)):
        heading = ", ".join(f"{name} = {value_text(columns[name][i])}" for name in by)
        row = [value_text(columns[name][i]) for name in factors]
        row += [number(float(columns[name][i])) for name in shown]
        groups.setdefault(heading, []).append(tuple(row))
    for heading, rows in groups.items():
        yield Table(shorten(heading, 90), (*factors, *shown), tuple(rows), len(factors))
    more = [f"{n_rows - MOST_ROWS} more rows: .frame()"] if n_rows > MOST_ROWS else []
    yield Prose("Notes", (*more, *notes))


def value_text(value: Any) -> str:
    """A level as text, numbers without digits that nobody needs."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
