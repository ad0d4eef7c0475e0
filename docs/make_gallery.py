"""Draw the pictures of pages from the code that stands above each of them."""

from __future__ import annotations

import doctest
import io
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

DOCS = Path(__file__).parent
PAGES = ("gallery.md", "checking.md", "tutorial.md", "tutorial-crossed.md", "shrinkage.md")
# a block of code, or a picture of the plot `p` that the code before it made
PART = re.compile(
    r"^```python\n(?P<code>.*?)^```$|^!\[[^\]]*\]\((?P<picture>[^)]+)\)$", re.DOTALL | re.MULTILINE
)
DPI, COLOURS = 80, 96


def main(names: Sequence[str]) -> None:
    """Run the pages, each from top to bottom."""
    warnings.simplefilter("ignore")  # the pages announce theirs
    for name in names or PAGES:
        page, namespace = DOCS / name, dict[str, Any]()
        for part in PART.finditer(page.read_text(encoding="utf-8")):
            if part["code"]:
                run(part["code"], page, namespace)
            elif not part["picture"].startswith("https:"):
                save(namespace["p"], DOCS / part["picture"])


def run(code: str, page: Path, namespace: dict[str, Any]) -> None:
    """Run a block, with or without prompts."""
    if ">>>" in code:
        code = "".join(example.source for example in doctest.DocTestParser().get_examples(code))
    exec(compile(code, str(page), "exec"), namespace)  # noqa: S102 - our own pages


def save(plot: Any, path: Path) -> None:
    """A small picture: few colours, which is all that a plot has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = io.BytesIO()
    plot.save(raw, format="png", dpi=DPI, verbose=False)
    with Image.open(raw) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
