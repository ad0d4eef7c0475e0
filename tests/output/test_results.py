"""Every public result: within a terminal's width, shown as HTML in a notebook, names as text."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import warnings
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest

import mixedmodels as mm
from mixedmodels.output.layout import LINE, width
from tests.reporting.strange import EVIL, OVERRIDE, QUOTES, hostile

ID, ARM = "`<b>id</b>`", "`arm <i>`"


@cache
def fitted() -> dict[str, Any]:
    data, _ = hostile()
    return {
        EVIL: mm.lmer(f"y ~ day * {ARM} + (day | {ID})", data, reml=False),
        QUOTES: mm.lmer(f"y ~ day + (1 | {ID})", data, reml=False),
        "linear": mm.lm(f"y ~ day * {ARM}", data),
    }


def results() -> dict[str, Any]:
    """A call for each class of results, on data whose names are hostile."""
    data, _ = hostile()
    big, small, linear = (lambda k=k: fitted()[k] for k in fitted())  # type: ignore[misc]
    series = {"id": "<b>id</b>", "time": "day", "response": "y"}

    def clusters() -> Any:
        return mm.cluster_trajectories(data, k=range(2, 4), n_starts=2, **series)

    return {
        "FittedModel": big,
        "Summary": lambda: big().summary(),
        "Summary of a linear model": lambda: linear().summary(),
        "ICC": lambda: mm.icc(big()),
        "R2": lambda: mm.r2(big()),
        "LinearR2": lambda: mm.r2(linear()),
        "ModelTable": lambda: mm.tab_model(fitted()),
        "ModelCheck": lambda: mm.check_model(big(), time="day", n_sim=20),
        "ConvergenceCheck": lambda: mm.check_convergence(small()),
        "Bootstrap": lambda: big().bootstrap(20, seed=1),
        "LikelihoodProfile": lambda: mm.profile(small()),
        "ManyFits": lambda: mm.fit_many(f"y ~ day + (1 | {ID})", data, by="arm <i>"),
        "RandomEffectsPCA": lambda: big().pca(),
        "EmmGrid": lambda: mm.emmeans(big(), "arm <i>"),
        "DesignCheck": lambda: mm.check_design(data, by="arm <i>", **series),
        "TimeCorrelations": lambda: mm.time_correlations(data, **series),
        "ImpliedCorrelations": lambda: mm.implied_correlations(big()),
        "LmList": lambda: mm.lm_list(f"y ~ day | {ID}", data),
        "TrajectoryClusters": clusters,
        "CrossTable": lambda: clusters().cross_table("arm <i>"),
        "Report": lambda: mm.report(linear()),
    }


def modules() -> Iterator[Any]:
    for found in pkgutil.walk_packages(mm.__path__, "mixedmodels."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


class Reader(HTMLParser):
    """Names of the elements, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_no_class_is_forgotten() -> None:
    shown = {
        c.__name__
        for module in modules()
        for c in vars(module).values()
        if inspect.isclass(c) and c.__module__.startswith("mixedmodels.")
        and hasattr(c, "_repr_html_") and not c.__subclasses__()
    }  # fmt: skip
    assert shown - {"Sheet"} == {name.partition(" ")[0] for name in results()}


@pytest.mark.parametrize("name", results())
def test_results_fit_and_names_are_text(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        found = results()[name]()
    printed = str(found)
    assert OVERRIDE not in printed
    assert "\t" not in printed
    if name not in ("FittedModel", "Report"):  # one line that says what it is
        assert max(map(width, printed.splitlines())) <= LINE
    shown = Reader(found._repr_html_())
    assert OVERRIDE not in shown.text
    evil = {"script", "b", "img", "i"}
    assert not shown.elements & (evil if name != "Report" else {"script", "b", "img"})
    assert shown.elements & {"table", "p", "iframe", "dl", "pre", "div"}


def test_numbers_of_a_column_end_at_one_place() -> None:
    lines = str(fitted()[EVIL].summary()).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Fixed effects")) + 2
    rows = lines[start : start + 4]
    points = [[i for i, c in enumerate(row) if c == "." and row[i - 1].isdigit()] for row in rows]
    assert len({tuple(p[-5:-1]) for p in points}) == 1  # estimate, std. error, t, df
