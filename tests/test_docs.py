"""The pages are true: every example runs and prints what is shown, every link leads somewhere.

The ```` ```python ```` blocks of a page share one namespace. Blocks with ``>>>`` prompts are
checked as doctests, others only run. A block whose code warns is announced by the comment
``<!-- warns: SingularFitWarning -->`` on the line above it; any other warning fails.
"""

from __future__ import annotations

import doctest
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md")) + [page for page in [ROOT / "README.md"] if page.exists()]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
BLOCK = re.compile(
    r"^(?:<!-- warns: (?P<warns>[\w, ]+) -->\n)?```python\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
LINK = re.compile(r"\]\((?!https?:)(?P<target>[^)#\s]+)")
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass(frozen=True, slots=True)
class Block:
    """One example of a page: its code, its first line (from 0), the warnings it announces."""

    code: str
    line: int
    warns: frozenset[str]


def blocks(text: str) -> Iterator[Block]:
    """All Python blocks of a page, in order."""
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code"))
        yield Block(found["code"], line, frozenset(re.findall(r"\w+", found["warns"] or "")))


def run(block: Block, page: str, namespace: dict[str, Any]) -> str:
    """Run a block; what went wrong in words, empty if nothing did."""
    if ">>>" not in block.code:
        exec(compile("\n" * block.line + block.code, page, "exec"), namespace)
        return ""
    test = doctest.DocTestParser().get_doctest(block.code, namespace, page, page, block.line)
    test.globs = namespace  # the parser took a copy; the blocks of a page share one
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append, clear_globs=False)
    return "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # examples may write files
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = run(block, page.name, namespace)
        assert not report, report
        given = {warning.category.__name__: str(warning.message) for warning in caught}
        assert given.keys() == block.warns, f"{page.name}, line {block.line + 1}: {given}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links(page: Path) -> None:
    for found in LINK.finditer(page.read_text(encoding="utf-8")):
        assert (page.parent / found["target"]).exists(), f"{page.name} links to {found['target']}"


def test_index_names_every_page() -> None:
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    linked = {found["target"] for found in LINK.finditer(text)} | {"index.md"}
    assert linked >= {page.name for page in DOCS.glob("*.md")}


def test_formula_page_names_every_function() -> None:
    from mixedmodels.formula.signatures import FUNCTIONS

    text = (DOCS / "formulas.md").read_text(encoding="utf-8")
    missing = [name for name in FUNCTIONS if not re.search(rf"`{re.escape(name)}[`(]", text)]
    assert not missing, f"docs/formulas.md does not mention {', '.join(missing)}"


def test_every_public_name_is_on_some_page() -> None:
    import mixedmodels as mm

    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    methods = [f".{name}" for name in vars(mm.FittedModel) if not name.startswith("_")]
    functions = [f"mm.{name}" for name in ("lmer", "lm", "anova", "aictab", "save", "load")]
    missing = [name for name in [*methods, *functions] if name not in text and name != ".of"]
    assert not missing, f"no page mentions {', '.join(missing)}"
