"""What makes the pages, plain Markdown that GitHub shows too, into a site.

- The first link of each item of a list on an *index page* is a page below it.
- A link to a file outside docs/ leads to a copy of that file.
- A link to a page of examples/ opens it, as any page.
- `mm.lmer` in a text leads to the reference, and must exist there.
- In docstrings, `lmer` leads there too; other words in single quotes are names of parameters.
- The types of parameters and results lead to their classes.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
INDEXES = ("index", "tutorials", "how-to", "explanation", "reference", "benchmarks", "about")
# folder of copies, in docs/, and what is copied there
COPIES = "_project"
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "ARCHITECTURE.md",
    "benchmarks/results/*.md",
    "benchmarks/results/*.png",
)

ITEM = re.compile(r"^- (?:\*\*)?\[[^\]]*\]\((?P<page>[\w./-]+)\.(?:md|ipynb)\)", re.MULTILINE)
# `mm.emmeans`, `mm.plot.qq(m)`, and methods of a fitted model m: `m.tidy()`
NAME = re.compile(r"(?P<owner>mm|m)\.(?P<name>[A-Za-z][\w.]*)(?:\(.*\))?", re.DOTALL)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_role("public", public_role)
    app.connect("builder-inited", copy_outside)
    app.connect("source-read", lead_inside)
    app.connect("doctree-read", link_names)
    app.connect("doctree-read", open_examples)
    app.connect("doctree-resolved", link_types)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def copy_outside(_app: Sphinx) -> None:
    """Copy the files outside docs/ that pages link to."""
    for pattern in OUTSIDE:
        for source in ROOT.glob(pattern):
            target = DOCS / COPIES / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists() or target.read_bytes() != source.read_bytes():
                shutil.copyfile(source, target)


def lead_inside(_app: Sphinx, name: str, text: list[str]) -> None:
    """Turn links out of docs/ to the copies, and give index pages their navigation."""
    if "/" not in name:
        text[0] = text[0].replace("](../", f"]({COPIES}/")
    if name in INDEXES:
        text[0] += navigation(text[0])


def navigation(page: str) -> str:
    """Hidden tables of contents: one for what stands under each heading, which is its caption."""
    tables = []
    for number, part in enumerate(re.split(r"^## ", page, flags=re.MULTILINE)):
        caption = [f":caption: {part.partition(chr(10))[0]}"] if number else []
        below = dict.fromkeys(found["page"] for found in ITEM.finditer(part))
        if below:
            tables += ["", "```{toctree}", ":hidden:", *caption, "", *below, "```", ""]
    return "\n".join(tables)


def link_names(_app: Sphinx, doctree: nodes.document) -> None:
    """Make inline code that names a thing of the package a link to it."""
    from mixedmodels import FittedModel

    for literal in list(doctree.findall(nodes.literal)):
        found = NAME.fullmatch(literal.astext())
        if found is None or within_link(literal):
            continue
        if found["owner"] == "mm":
            literal.replace_self(link(found["name"], literal))
        elif hasattr(FittedModel, found["name"]):
            literal.replace_self(link(f"FittedModel.{found['name']}", literal))


def open_examples(_app: Sphinx, doctree: nodes.document) -> None:
    """Make what would be downloads of whole pages links to them; `html_extra_path` copies them."""
    for found in list(doctree.findall(addnodes.download_reference)):
        if found["reftarget"].startswith("examples/"):
            link = nodes.reference("", "", refuri=found["reftarget"].removeprefix("examples/"))
            link += found.children
            found.replace_self(link)


def within_link(node: nodes.Node) -> bool:
    """Whether a page makes it a link already."""
    while node.parent is not None:
        node = node.parent
        if isinstance(node, nodes.reference | addnodes.pending_xref):
            return True
    return False


def public_role(
    _role: str, _raw: str, text: str, *_rest: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The default role of docstrings."""
    import mixedmodels

    name = text.removeprefix("mixedmodels.").removeprefix("mm.")
    literal = nodes.literal("", text)
    public = name.partition(".")[0] in mixedmodels.__all__
    return [link(name, literal) if public else literal], []


def link(name: str, literal: nodes.literal) -> addnodes.pending_xref:
    """A link to a public name, by its path below the package."""
    found = addnodes.pending_xref(
        "", refdomain="py", reftype="obj", reftarget=f"mixedmodels.{name}", refexplicit=True
    )
    found += literal.deepcopy()
    return found


def link_types(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Make the names of classes links where a docstring says what a thing is."""
    found = app.env.domains.python_domain.objects.items()
    classes = {
        name.rpartition(".")[2]: entry
        for name, entry in found
        if entry.objtype in {"class", "exception"} and entry.docname != page
    }
    for text in list(doctree.findall(nodes.Text)):
        if not isinstance(text.parent, nodes.term | nodes.classifier):
            continue
        words: list[nodes.Node] = []
        for word in re.split(r"(\w+)", text.astext()):
            entry = classes.get(word)
            words.append(
                make_refnode(app.builder, page, entry.docname, entry.node_id, nodes.Text(word))
                if entry
                else nodes.Text(word)
            )
        text.parent.replace(text, words)
