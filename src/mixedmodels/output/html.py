"""Blocks of a summary as HTML for notebooks; every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from mixedmodels.errors import clean
from mixedmodels.output.layout import Block, Facts, Prose, Table, columns

# colours are the page's own, so that light and dark notebooks both work
STYLE = """<style>
.mm-summary {line-height: 1.4; overflow-wrap: anywhere}
.mm-summary table {border-collapse: collapse; border: none; margin: .9em 0 0; font-size: .95em}
.mm-summary caption {caption-side: top; text-align: left; font-weight: 600; padding: 0 0 .2em;
  color: inherit; white-space: nowrap}
.mm-summary tr, .mm-summary tbody tr:hover {background: none !important}
.mm-summary table th, .mm-summary table td {border: none; padding: .15em .9em .15em 0;
  text-align: left; vertical-align: baseline; font-weight: normal}
.mm-summary table td.n {font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace;
  white-space: pre; text-align: right}
.mm-summary table th.n {text-align: right; white-space: nowrap}
.mm-summary thead th {border-bottom: 1px solid rgba(128, 128, 128, .6) !important}
.mm-summary tbody th, .mm-summary table.facts th {white-space: nowrap}
.mm-summary table.facts th {opacity: .75}
.mm-summary p {margin: .1em 0}
.mm-summary p.title {font-weight: 600; margin: .9em 0 .2em}
</style>"""


def page(title: str, blocks: Sequence[Block]) -> str:
    """The whole summary; mathematics in column names (``$``) is left alone."""
    body = "\n".join(_block(block) for block in blocks)
    return (
        f'<div class="mm-summary tex2jax_ignore mathjax_ignore">\n{STYLE}\n'
        f'<p class="title">{escape(clean(title))}</p>\n{body}\n</div>'
    )


def _block(block: Block) -> str:
    if isinstance(block, Facts):
        rows = (
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
            for name, value in block.pairs
        )
        return f'<table class="facts"><tbody>\n{_lines(rows)}\n</tbody></table>'
    if isinstance(block, Prose):
        texts = (f"<p>{escape(text)}</p>" for text in block.paragraphs)
        return f'<p class="title">{escape(block.title)}</p>\n{_lines(texts)}'
    return _table(block)


def _table(table: Table) -> str:
    heads = [
        f'<th scope="col"{_numeric(table, j)}>{escape(clean(head))}</th>'
        for j, head in enumerate(table.header)
    ]
    rows = (
        f"<tr>{''.join(_cell(table, j, cell) for j, cell in enumerate(cells))}</tr>"
        for cells in zip(*columns(table), strict=True)
    )
    note = f"\n<p>{escape(table.note)}</p>" if table.note else ""
    return (
        f"<table><caption>{escape(table.title)}</caption>\n"
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{_lines(rows)}\n</tbody></table>{note}"
    )


def _cell(table: Table, j: int, cell: str) -> str:
    if j < table.n_text:
        return f'<th scope="row">{escape(cell)}</th>'
    return f"<td{_numeric(table, j)}>{escape(cell)}</td>"


def _numeric(table: Table, j: int) -> str:
    return ' class="n"' if j >= table.n_text else ""


def _lines(parts: Iterable[str]) -> str:
    return "\n".join(parts)
