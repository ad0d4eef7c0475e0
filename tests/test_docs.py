"""The pages are true: every example runs and prints what is shown, every link leads somewhere.

Sphinx checks the links of the site (`make docs`); what is checked here holds on GitHub too.

The ```` ```python ```` blocks of a page share one namespace. Blocks with ``>>>`` prompts are
checked as doctests, others only run. A block whose code warns is announced by the comment
``<!-- warns: SingularFitWarning -->`` on the line above it; any other warning fails.
"""

from __future__ import annotations

import argparse
import ast
import doctest
import inspect
import re
import runpy
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
LINKED = [*PAGES, *sorted(DOCS.glob("api/*.md"))]
LINK = re.compile(r"\]\((?!https?:)(?P<target>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
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


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links(page: Path) -> None:
    for found in LINK.finditer(page.read_text(encoding="utf-8")):
        target = page if not found["target"] else page.parent / found["target"]
        assert target.exists(), f"{page.name} links to {found['target']}"
        if found["anchor"] and target.suffix == ".md":
            assert found["anchor"] in anchors(target), f"{page.name}: {found[0]}"


def anchors(page: Path) -> set[str]:
    """What GitHub (and the site) call the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_external_links_are_listed() -> None:
    """They are not followed, for want of a network: look at them when the list changes."""
    found = set()
    for page in [*LINKED, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]:
        found |= set(re.findall(r"\]\((https?:[^)]+)\)", page.read_text(encoding="utf-8")))
    assert found == {
        "https://keepachangelog.com/en/1.1.0/",
        "https://plotnine.org",
        "https://semver.org/",
        "https://stat.ethz.ch/R-manual/R-devel/library/datasets/html/ChickWeight.html",
    }


def test_every_page_is_reached_from_the_index() -> None:
    reached, ahead = set(), [DOCS / "index.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix not in {".md", ".ipynb"}:
            continue
        reached.add(page)
        for found in LINK.finditer(page.read_text(encoding="utf-8")):
            ahead.append((page.parent / found["target"]).resolve())
    assert reached >= {*DOCS.glob("*.md"), *DOCS.glob("api/*.md"), *DOCS.glob("*.ipynb")}


def test_notebook_is_made_from_the_tutorial() -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra 'docs' is not installed")
    make = runpy.run_path(str(DOCS / "make_notebook.py"))
    made = make["notebook"](make["SOURCE"].read_text(encoding="utf-8"))
    stored = nbformat.read(make["TARGET"], as_version=4)
    nbformat.validate(stored)
    assert made == stored, "the tutorial has changed: run python docs/make_notebook.py"
    assert not any(cell.get("outputs") for cell in stored.cells)


def test_notebook_runs(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat", reason="the extra 'docs' is not installed")
    from nbclient import NotebookClient

    cells = nbformat.read(DOCS / "tutorial-notebook.ipynb", as_version=4)
    NotebookClient(
        cells, timeout=300, startup_timeout=300, resources={"metadata": {"path": tmp_path}}
    ).execute()
    kinds = [
        kind
        for cell in cells.cells
        for out in cell.get("outputs", [])
        for kind in out.get("data", {})
    ]
    pictures = (DOCS / "tutorial.md").read_text(encoding="utf-8").count("\n![")
    assert kinds.count("image/png") == pictures


def test_ratios_of_the_benchmark_page() -> None:
    """Its table is that of the results behind its links."""
    sections = {}
    results = ROOT / "benchmarks" / "results" / "latest.md"
    for part in results.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        rows = [line.strip("|").split("|") for line in body.splitlines() if line.startswith("|")]
        rows = [[cell.strip() for cell in row] for row in rows]
        sections[re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")] = {
            row[0]: row[1:] for row in rows[2:]
        }
    page = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| \[.*\(\S+#(\S+)\) \| (.*?) \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    assert len(shown) >= 9
    for anchor, ours, lme4, best in shown:
        times = {name: row for name, row in sections[anchor].items() if "import only" not in name}
        assert ours == times.pop("mixedmodels")[0]
        times.pop("mixedmodels, by ML", None)
        r = times.pop("lme4", None)
        assert lme4 == (r[1] if r and r[1] else "stopped")
        others = {name: float(row[1].replace(",", "")) for name, row in times.items() if row[1]}
        name = min(others, key=others.__getitem__)
        assert best == f"{times[name][1]} ({name})"


def test_formula_page_names_every_function() -> None:
    from mixedmodels.formula.signatures import FUNCTIONS

    text = (DOCS / "formulas.md").read_text(encoding="utf-8")
    missing = [name for name in FUNCTIONS if not re.search(rf"`{re.escape(name)}[`(]", text)]
    assert not missing, f"docs/formulas.md does not mention {', '.join(missing)}"


def test_command_line_page_has_every_option() -> None:
    from mixedmodels.cli import run

    page = (DOCS / "command-line.md").read_text(encoding="utf-8")
    parser = run._parser()
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in [("", parser), *commands.choices.items()]:
        assert f"mixedmodels {name}" in page
        for option in (o for action in command._actions for o in action.option_strings):
            if option not in {"-h", "--help"}:
                row = re.search(rf"^\|.*`{option}[ `].*\| (.*) \|.*\|$", page, re.MULTILINE)
                assert row, f"no row for {option}"
                assert name in row[1] or row[1] == "all but demo", f"{option} is of {name}"
    codes = re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    assert list(map(int, codes)) == [run.DONE, run.UNUSABLE, run.USAGE, run.INTERRUPTED]


CALL = re.compile(r"`((?:mm|m)\.[\w.]+\([^`]*\)(?:\.\w+\([^`]*\))*)`")


def test_calls_in_sentences_fit_the_functions() -> None:
    """Names of functions, methods and arguments in running text are those of the code."""
    import mixedmodels as mm

    seen = 0
    for page in PAGES:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
        for code in CALL.findall(text.replace("\\|", "|")):
            try:
                tree = ast.parse(code, mode="eval")
            except SyntaxError:  # elided: `mm.anova(m, type=)`
                continue
            for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
                owner, _, path = ast.unparse(call.func).partition(".")
                if owner not in {"mm", "m"} or "(" in path:
                    continue
                called: Any = mm if owner == "mm" else mm.FittedModel
                if owner == "m" and not hasattr(called, path):
                    continue  # m is a model, but on a page or two something else
                for part in path.split("."):
                    called = getattr(called, part)
                own = [None] * (owner == "m")
                given = {k.arg: None for k in call.keywords if k.arg}
                ellipsis = any(ast.unparse(a) in {"...", "Ellipsis"} for a in call.args)
                bind = inspect.signature(called).bind_partial
                try:
                    bind(*own, *([] if ellipsis else call.args), **given)
                except TypeError as error:
                    pytest.fail(f"{page.name}: {code}: {error}")
                seen += 1
    assert seen > 100


def test_every_public_name_is_on_some_page() -> None:
    import mixedmodels as mm

    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    methods = [f".{name}" for name in vars(mm.FittedModel) if not name.startswith("_")]
    functions = [f"mm.{name}" for name in ("lmer", "lm", "anova", "aictab", "save", "load")]
    missing = [name for name in [*methods, *functions] if name not in text and name != ".of"]
    assert not missing, f"no page mentions {', '.join(missing)}"
