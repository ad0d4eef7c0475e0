"""Parts of a page: every text that comes from data goes through `text`."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from mixedmodels.errors import clean
from mixedmodels.output.layout import Table as TextTable
from mixedmodels.output.layout import fixed, number, p_value
from mixedmodels.reporting.svg import dark_colours

# rows of a table; from how many it has a filter
MOST_ROWS, FILTERED = 500, 13
# characters of a sentence in a cell, which needs width
LONG = 32
# columns of our frames in words
HEADS = {
    "std_error": "std. error",
    "p_value": "p",
    "conf_low": "CI low",
    "conf_high": "CI high",
    "num_df": "num. df",
    "den_df": "den. df",
    "sum_sq": "sum of squares",
    "mean_sq": "mean square",
    "sd": "std. dev.",
    "se": "std. error",
    "cv": "CV",
    "delta_aicc": "Δ AICc",
    "aicc_weight": "weight",
    "cum_weight": "cum. weight",
    "evidence_ratio": "evidence ratio",
    "n_params": "parameters",
    "aicc": "AICc",
    "aic": "AIC",
    "bic": "BIC",
    "loglik": "log-likelihood",
    "k": "parameters",
}
PROBABILITIES = ("p_value", "p_boundary")
# columns whose digits have a custom
DECIMALS = {
    **dict.fromkeys(("aicc", "aic", "bic", "loglik", "deviance", "delta_aicc", "statistic"), 2),
    **dict.fromkeys(("aicc_weight", "cum_weight"), 3),
    **dict.fromkeys(("df", "num_df", "den_df"), 1),
}


def text(value: object) -> str:
    """Text from outside, safe in a page: nothing in it is markup, nor turns the text around it."""
    return escape(clean(str(value)))


def name(value: object) -> str:
    """A name from the data, in its own direction of writing."""
    return f"<bdi>{text(value)}</bdi>"


def paragraph(markup: str, kind: str = "") -> str:
    """A paragraph of markup that is safe already."""
    return f"<p{_class(kind)}>{markup}</p>"


def heading(title: str, anchor: str = "", level: int = 3) -> str:
    """A heading under that of its section."""
    own = f' id="{anchor}"' if anchor else ""
    return f"<h{level}{own}>{text(title)}</h{level}>"


def code(source: str) -> str:
    """How to do it again, folded away."""
    return (
        '<details class="code"><summary>Code</summary>'
        f'<pre tabindex="0"><code>{escape(_visible(source))}</code></pre></details>'
    )


def figure(svg: str, caption: str, source: str = "", live: str = "") -> str:
    """A picture with its caption and code; `live` holds the numbers of one that answers."""
    return (
        f'<div class="figure"><figure><div class="picture">{svg}</div>{live}'
        f"<figcaption>{caption}</figcaption></figure>{code(source) if source else ''}</div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Named values as tiles; the values are markup."""
    tiles = "".join(f"<div><dt>{text(k)}</dt><dd>{v}</dd></div>" for k, v in pairs)
    return f'<dl class="facts">{tiles}</dl>'


def items(lines: Iterable[str]) -> str:
    """A list of markup."""
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def _visible(source: str) -> str:
    """Code with its line breaks, and everything else that cannot be seen as an escape."""
    return "\n".join(clean(line) for line in source.split("\n"))


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


# --- tables ---------------------------------------------------------------------------------------


def frame_table(
    caption: str, frame: Any, source: str = "", heads: Mapping[str, str] | None = None
) -> str:
    """A data frame as a table; columns without any value are left out."""
    import narwhals.stable.v2 as nw

    native = nw.from_native(frame, eager_only=True)
    columns = {c: native[c].to_list() for c in native.columns}
    columns = {c: v for c, v in columns.items() if not all(_missing(x) or x == "" for x in v)}
    names = {**HEADS, **(heads or {})}
    texts = [_texts(c, values) for c, values in columns.items()]
    numeric = [not any(isinstance(x, str) for x in values) for values in columns.values()]
    rows = list(zip(*texts, strict=True))
    header = [names.get(c, c.replace("_", " ") if c.isascii() else c) for c in columns]
    return table(caption, header, rows, numeric, source)


def text_table(found: TextTable, source: str = "") -> str:
    """A table of a printed result."""
    width = len(found.header)
    rows = [(*row, *[""] * (width - len(row))) for row in found.rows]
    header = [
        head.replace("_", " ") if j >= found.n_text else head for j, head in enumerate(found.header)
    ]
    numeric = [j >= found.n_text for j in range(width)]
    return table(found.title, header, rows, numeric, source, note=found.note)


def table(
    caption: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    source: str = "",
    *,
    note: str = "",
) -> str:
    """Cells of text as a table that sorts, and filters when it is long."""
    shown = rows[:MOST_ROWS]
    heads = "".join(
        f'<th scope="col"{_class("n" if number_ else "")}>{name(head) if head else _blank()}</th>'
        for head, number_ in zip(header, numeric, strict=True)
    )
    first = 0 if numeric and not numeric[0] else -1
    body = "".join(
        f"<tr>{''.join(_cell(c, numeric[j], j == first) for j, c in enumerate(row))}</tr>"
        for row in shown
    )
    if len(rows) > len(shown):
        note = f"The first {len(shown)} of {len(rows)} rows. {note}".strip()
    kind = "sortable filtered" if len(shown) >= FILTERED else "sortable"
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}">'
        f'<table class="{kind}"><caption>{name(caption)}</caption>'
        f"<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
        f"{paragraph(text(note), 'note') if note else ''}{code(source) if source else ''}"
    )


def _blank() -> str:
    return '<span class="hidden">name</span>'


def _cell(cell: str, is_number: bool, is_head: bool) -> str:  # noqa: FBT001 - two facts of a cell
    if is_head and cell:
        return f'<th scope="row">{name(cell)}</th>'
    kind = "n" if is_number else ("long" if len(cell) > LONG else "")
    return f"<td{_class(kind)}>{text(cell) if is_number else name(cell)}</td>"


def _texts(column: str, values: Sequence[Any]) -> list[str]:
    if column in PROBABILITIES:
        return ["" if _missing(x) else p_value(float(x)) for x in values]
    decimals = _decimals([x for x in values if isinstance(x, float) and math.isfinite(x)])
    if column in DECIMALS and decimals:
        return ["" if _missing(x) else fixed(float(x), DECIMALS[column]) for x in values]
    return [_text(x, decimals) for x in values]


def _decimals(values: Sequence[float]) -> int:
    """Decimals of a column: four digits of a value of middling size, none of whole numbers."""
    sizes = sorted(abs(x) for x in values if x != 0.0)
    if not sizes or all(x.is_integer() for x in values):
        return 0
    return min(max(3 - math.floor(math.log10(sizes[len(sizes) // 2])), 0), 6)


def _text(value: Any, decimals: int) -> str:
    if _missing(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if (
        value == 0.0
        or 10.0 ** (1 - decimals) <= abs(value) < 1e8
        or (value.is_integer() and abs(value) < 1e8)
    ):
        return f"{value:.{decimals}f}"
    return number(value)


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or str(value) == "NaT"


# --- the page -------------------------------------------------------------------------------------


def page(title: str, sections: Sequence[tuple[str, str, str]], foot: str) -> str:
    """The whole file.

    Parameters
    ----------
    title : str
    sections : sequence of (str, str, str)
        Anchor, title and markup of each.
    foot : str
        Markup under all.
    """
    body = "".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h2 id="{anchor}-title">{text(head)}</h2>{markup}</section>'
        for anchor, head, markup in sections
    )
    style, script = _packaged("page.css"), _packaged("page.js")
    if 'class="live"' in body:
        style += _packaged("uPlot.min.css")
        licence = _packaged("uPlot-LICENSE.txt")
        script += f"/* {licence} */\n{_packaged('uPlot.iife.min.js')}\n{_packaged('live.js')}"
    links = "".join(f'<li><a href="#{a}">{text(head)}</a></li>' for a, head, _ in sections)
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{dark_colours(body)}}}}}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{text(title)}</title>\n<style>{style}{dark}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the report</a>\n'
        f'<header><h1 dir="auto">{text(title)}</h1></header>\n'
        f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n'
        f'<main id="main">\n{body}\n</main>\n<footer>{foot}</footer>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _packaged(file: str) -> str:
    return (
        resources.files("mixedmodels.reporting")
        .joinpath("assets", file)
        .read_text(encoding="utf-8")
    )
