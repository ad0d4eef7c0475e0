"""The reference of the site is complete: every public name is on a page, and says what it takes."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mixedmodels as mm

DOCS = Path(__file__).parents[1] / "docs"
PLOTS = [name for name, item in vars(mm.plot).items() if inspect.isfunction(item)]
NAMES = [
    *(name for name in mm.__all__ if name not in {"__version__", "plot", "datasets"}),
    *(f"plot.{name}" for name in PLOTS),
    *(f"datasets.{name}" for name in mm.datasets.__all__),
]
CONF = runpy.run_path(str(DOCS / "conf.py"))
# what a class has for the package's own use: how it prints, what FittedModel is made of
OURS = set(CONF["autodoc_default_options"]["exclude-members"].split(", "))
# sections that must be there, and parameters that must be those of the signature
CHECKS = {"GL03", "GL06", "GL07", "GL08", "SS01", "SS03", "PR01", "PR02", "PR03", "RT01", "EX01"}


def public(name: str) -> Any:
    item: Any = mm
    for part in name.split("."):
        item = getattr(item, part)
    return item


FUNCTIONS = [f"mixedmodels.{name}" for name in NAMES if inspect.isfunction(public(name))] + [
    f"mixedmodels.FittedModel.{name}"
    for name, item in vars(mm.FittedModel).items()
    if inspect.isfunction(item) and not name.startswith("_")
]


def listed() -> dict[str, str]:
    """Paths that the pages of the reference list, and the page of each."""
    found = {}
    for page in sorted(DOCS.glob("api/*.md")):
        module = "mixedmodels"
        for line in page.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. currentmodule:: "):
                module = line.rpartition(" ")[2]
            elif name := re.fullmatch(r"   ~?([\w.]+)", line):
                path = f"{module}.{name[1]}"
                assert path not in found, f"{path} is on two pages: {found[path]}, {page.name}"
                found[path] = page.name
    return found


def results(item: Any) -> Iterator[type]:
    """Classes of ours that a function, or a method of a class, says that it returns."""
    callables = [item]
    if inspect.isclass(item):
        members = inspect.getmembers(item, callable)
        callables = [f for n, f in members if n not in OURS and not n.startswith("_")]
    for one in callables:
        returned = str(getattr(one, "__annotations__", {}).get("return", ""))
        scope = vars(importlib.import_module(one.__module__)) if returned else {}
        for word in re.findall(r"\w+", returned):
            found = scope.get(word)
            if inspect.isclass(found) and found.__module__.startswith("mixedmodels."):
                yield found


def test_every_name_is_on_one_page() -> None:
    assert {f"mixedmodels.{name}" for name in NAMES} <= listed().keys()


@pytest.mark.parametrize("name", [name for name in PLOTS if name != "theme_mixedmodels"])
def test_every_plot_is_in_the_gallery(name: str) -> None:
    assert f"mm.plot.{name}(" in (DOCS / "gallery.md").read_text(encoding="utf-8")
    assert (DOCS / "images" / f"{name}.png").exists()


def test_every_listed_name_exists() -> None:
    for path in listed():
        assert public(path.removeprefix("mixedmodels.")).__doc__, path


def test_every_result_is_on_a_page() -> None:
    known = {public(path.removeprefix("mixedmodels.")) for path in listed()}
    ahead, seen = [public(name) for name in NAMES], set()
    while ahead:
        for result in results(ahead.pop()):
            if result not in seen:
                seen.add(result)
                ahead.append(result)
    missing = [c.__qualname__ for c in seen - known if not c.__name__.startswith("_")]
    assert not missing, f"functions return {missing}, which no page of docs/api describes"
    assert mm.FittedModel in seen


def test_the_page_of_the_fitted_model_is_complete() -> None:
    context = CONF["autosummary_context"]
    methods = {n for n, f in vars(mm.FittedModel).items() if inspect.isfunction(f)} - OURS
    assert {n for n in methods if not n.startswith("_")} == set(context["fitted_methods"])
    values = (DOCS / "results.md").read_text(encoding="utf-8")
    assert not [n for n in context["fitted_values"] if f"`{n}`" not in values]
    assert all(hasattr(mm.FittedModel, n) for n in context["fitted_values"])


@pytest.mark.parametrize("path", FUNCTIONS)
def test_docstring(path: str) -> None:
    validate = pytest.importorskip("numpydoc.validate", reason="the extra 'docs' is not installed")
    found = validate.validate(path)["errors"]
    assert not [message for code, message in found if code in CHECKS]
    function = public(path.removeprefix("mixedmodels."))
    # arguments are checked everywhere, so a function that takes some can refuse them
    if set(inspect.signature(function).parameters) - {"self"}:
        assert re.search(r"^\s*Raises\n\s*-", function.__doc__, re.MULTILINE)
