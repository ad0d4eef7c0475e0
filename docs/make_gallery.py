"""Draw the pictures of gallery.md from the code that stands above each of them."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from PIL import Image

DOCS = Path(__file__).parent
PAGE = DOCS / "gallery.md"
# a block of code, or a picture of the plot `p` that the code before it made
PART = re.compile(
    r"^```python\n(?P<code>.*?)^```$|^!\[[^\]]*\]\((?P<picture>[^)]+)\)$", re.DOTALL | re.MULTILINE
)
DPI, COLOURS = 80, 96


def main() -> None:
    """Run the page from top to bottom."""
    namespace: dict[str, Any] = {}
    (DOCS / "images").mkdir(exist_ok=True)
    for part in PART.finditer(PAGE.read_text(encoding="utf-8")):
        if part["code"]:
            exec(compile(part["code"], str(PAGE), "exec"), namespace)  # noqa: S102 - our own page
        else:
            save(namespace["p"], DOCS / part["picture"])


def save(plot: Any, path: Path) -> None:
    """A small picture: few colours, which is all that a plot has."""
    raw = io.BytesIO()
    plot.save(raw, format="png", dpi=DPI, verbose=False)
    with Image.open(raw) as picture:
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(path, optimize=True)


if __name__ == "__main__":
    main()
