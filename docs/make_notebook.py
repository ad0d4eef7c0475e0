"""The tutorial as a notebook: its text and its code, without what the code printed.

The page is the source; `python docs/make_notebook.py` writes the notebook anew, and a test checks
that it did, and that the notebook runs.
"""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

DOCS = Path(__file__).parent
SOURCE, TARGET = DOCS / "tutorial.md", DOCS / "tutorial-notebook.ipynb"
# a block of code, the pictures that it makes, the comment that announces its warnings
PART = re.compile(
    r"^```python\n(?P<code>.*?)^```$|^!\[(?P<picture>[^\]]*)\]\([^)]+\)$|^<!--.*?-->$",
    re.DOTALL | re.MULTILINE,
)
NOTE = "This is the [tutorial](tutorial.md) as a notebook: run it, change it."


def notebook(page: str) -> nbformat.NotebookNode:
    """Cells of a page, in order; a picture becomes the last line of the code that draws it."""
    cells: list[nbformat.NotebookNode] = []
    at = 0
    for part in PART.finditer(page):
        add_text(cells, page[at : part.start()])
        at = part.end()
        if part["code"]:
            cells += map(new_code_cell, sources(part["code"]))
        elif part["picture"]:
            cells[-1].source += "\np"
            cells.append(new_markdown_cell(f"*{part['picture']}*"))
    add_text(cells, page[at:])
    title, _, rest = cells[0].source.partition("\n\n")
    cells[0].source = f"{title} (notebook)\n\n{NOTE}\n\n{rest}"
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"  # the same each time, so that a difference is one of content
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    language: dict[str, Any] = {"name": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": language})


def add_text(cells: list[nbformat.NotebookNode], text: str) -> None:
    """Append text, to the text before it if there is some."""
    if not (text := text.strip()):
        return
    if cells and cells[-1].cell_type == "markdown":
        cells[-1].source += "\n\n" + text
    else:
        cells.append(new_markdown_cell(text))


def sources(code: str) -> list[str]:
    """What was typed, without prompts and outputs; a cell ends where something was shown."""
    if ">>>" not in code:
        return [code.rstrip("\n")]
    cells = [""]
    for example in doctest.DocTestParser().get_examples(code):
        cells[-1] += example.source
        if example.want:
            cells.append("")
    return [cell.rstrip("\n") for cell in cells if cell]


if __name__ == "__main__":
    nbformat.write(notebook(SOURCE.read_text(encoding="utf-8")), TARGET)
