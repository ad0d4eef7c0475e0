"""The walk's book: text, tables and figures, printed as they come and saved as one HTML page."""

from __future__ import annotations

import base64
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from mixedmodels.output import html
from mixedmodels.output.layout import Block, Table
from mixedmodels.output.printed import Printed

WIDTH = 88
DPI = 110
REPORT = "report.html"
TITLE = "Piglets: an introduction to mixed models"
STYLE = """<style>
body {font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 60rem;
  margin: 2rem auto; padding: 0 1.2rem}
h1 {font-size: 1.7rem; margin-bottom: .3rem}
h2 {font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .8rem; border-top: 1px solid #ddd}
nav ol {columns: 2; padding-left: 1.6rem; margin: 1rem 0}
a {color: #0072B2; text-decoration: none}
p {max-width: 44rem}
.shown {overflow-x: auto; margin: 1rem 0}
.figures {display: flex; flex-wrap: wrap; gap: 1rem; margin: 1rem 0}
figure {margin: 0; flex: 1 1 26rem; max-width: 29rem}
figure:only-child {max-width: 36rem}
img {width: 100%; height: auto}
figcaption {font-size: .9rem; color: #555}
</style>"""


@dataclass(frozen=True, eq=False, repr=False)
class Sheet(Printed):
    """A table under a heading.

    Attributes
    ----------
    heading : str
    table : Table
    """

    heading: str
    table: Table

    def title(self) -> str:
        """The heading."""
        return self.heading

    def blocks(self) -> Sequence[Block]:
        """The table."""
        return (self.table,)


@dataclass(eq=False)
class Book:
    """Collects what the walk shows.

    Parameters
    ----------
    folder : pathlib.Path
        Of the figures and the report; exists.
    plots : bool
        Draw the figures.
    """

    folder: Path
    plots: bool
    drawing_seconds: float = 0.0
    stages: list[tuple[str, list[str]]] = field(default_factory=list)
    n_figures: int = 0

    def stage(self, heading: str, *paragraphs: str) -> None:
        """Begin a stage."""
        self.stages.append((heading, []))
        number = f"{len(self.stages)}. {heading}"
        print(f"\n{number}\n{'=' * len(number)}\n")
        for text in paragraphs:
            self.say(text)

    def say(self, text: str) -> None:
        """A paragraph."""
        print(f"{textwrap.fill(text, WIDTH)}\n")
        self._add(f"<p>{escape(text)}</p>")

    def show(self, result: Any) -> None:
        """A result as it prints itself."""
        print(f"{result}\n", flush=True)
        shown = result._repr_html_().replace(html.STYLE, "")
        self._add(f'<div class="shown">{shown}</div>')

    def table(
        self,
        heading: str,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        n_text: int = 1,
        note: str = "",
    ) -> None:
        """Rows of text under a header."""
        body = tuple(tuple(row) for row in rows)
        self.show(Sheet(heading, Table("", tuple(header), body, n_text, note)))

    def frame(
        self, heading: str, frame: Any, formats: Mapping[str, str], *, n_text: int = 1
    ) -> None:
        """Columns of a pandas frame, by name with the format of their numbers."""
        columns = [[text(value, how) for value in frame[name]] for name, how in formats.items()]
        self.table(heading, list(formats), list(zip(*columns, strict=True)), n_text=n_text)

    def figures(self, drawings: Mapping[str, tuple[str, Callable[[], Any]]]) -> None:
        """Figures side by side: file name -> caption and a function that gives the plot."""
        if not self.plots:
            return
        start = time.perf_counter()
        parts = [self._figure(name, *drawn) for name, drawn in drawings.items()]
        self._add(f'<div class="figures">{"".join(parts)}</div>')
        print(flush=True)
        self.drawing_seconds += time.perf_counter() - start

    def _figure(self, name: str, caption: str, draw: Callable[[], Any]) -> str:
        self.n_figures += 1
        path = self.folder / f"{self.n_figures:02d}-{name}.png"
        draw().save(path, dpi=DPI, verbose=False)
        print(f"[{path.name}] {caption}")
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        return (
            f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )

    def _add(self, part: str) -> None:
        self.stages[-1][1].append(part)

    def save(self) -> Path:
        """Write the report; one file, nothing loaded from elsewhere."""
        links, sections = [], []
        for i, (heading, parts) in enumerate(self.stages, start=1):
            links.append(f'<li><a href="#s{i}">{escape(heading)}</a></li>')
            sections.append(f'<h2 id="s{i}">{i}. {escape(heading)}</h2>\n' + "\n".join(parts))
        path = self.folder / REPORT
        page = (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{TITLE}</title>\n{STYLE}\n{html.STYLE}</head><body>\n<h1>{TITLE}</h1>\n"
            f"<nav><ol>{''.join(links)}</ol></nav>\n" + "\n".join(sections) + "\n</body></html>\n"
        )
        path.write_text(page, encoding="utf-8")
        return path


def text(value: Any, how: str) -> str:
    """A cell: empty where there is no value, the number in the format `how`."""
    return "" if value is None or value != value else format(value, how)


def beside(value: float, printed: str) -> str:
    """The value with as many decimals, or digits, as the printed text has."""
    digits = printed.partition("e")[0].partition(".")[2]
    return f"{value:.{len(digits)}{'e' if 'e' in printed else 'f'}}"
