"""The report: a sound page, nothing loaded from elsewhere, no text from data becomes markup."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.reporting.report import Report
from tests.reporting.strange import EMOJI, EVIL, FORMULA_CELL, QUOTES, RIGHT_TO_LEFT, hostile

VOID = {"meta", "br", "input", "img", "hr", "link"}


class Page(HTMLParser):
    """All elements in order; fails where they are not closed in turn."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({key for key, _ in attrs}) == len(attrs), (tag, attrs)
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.texts)


@pytest.fixture(params=["chicks", "hostile_report"])
def made(request: pytest.FixtureRequest) -> Report:
    report: Report = request.getfixturevalue(request.param)
    return report


def test_the_page_is_well_formed(made: Report) -> None:
    page = Page(made.html)
    assert made.html.startswith('<!DOCTYPE html>\n<html lang="en">')
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    targets = {a["href"][1:] for _, a in page.elements if (a.get("href") or "").startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]+)\)", made.html))
    targets |= {a["aria-labelledby"] for _, a in page.elements if a.get("aria-labelledby")}
    assert targets <= ids.keys()


def test_nothing_is_loaded_from_elsewhere(made: Report) -> None:
    page = Page(made.html)
    for tag, attributes in page.elements:
        assert tag not in {"link", "iframe", "object", "embed", "img"}
        for key in ("src", "href", "action", "srcset", "xlink:href", "data"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png;base64,"))
        assert not any(key.startswith("on") for key in attributes)
    scripts = page.named("script")
    assert sum(script.get("type") != "application/json" for script in scripts) == 1
    style = re.findall(r"<style>(.*?)</style>", made.html, re.DOTALL)
    assert len(style) == 1
    assert "url(" not in style[0]
    assert "@import" not in style[0]
    assert made.html.count("default-src 'none'") == 1
    assert len(made.html.encode()) < 3_000_000


def test_everyone_can_read_it(made: Report) -> None:
    page = Page(made.html)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    pictures = page.named("svg")
    assert len(pictures) > 10
    assert all(p["role"] == "img" and len(p["aria-label"] or "") > 15 for p in pictures)
    assert len(page.named("table")) == len(page.named("caption")) > 5
    assert all("scope" in head for head in page.named("th"))
    for region in (a for _, a in page.elements if a.get("role") == "region"):
        assert region["tabindex"] == "0"
        assert region["aria-label"]


def test_text_from_data_stays_text(hostile_report: Report) -> None:
    html = hostile_report.html
    assert EVIL not in html
    assert "<b>id" not in html
    assert "<img" not in html
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", html)
    text = Page(html).text
    for shown in (
        EVIL,
        FORMULA_CELL,
        EMOJI,
        RIGHT_TO_LEFT,
        QUOTES,
        "$x_1^2$",
        "&amp;",
        r"a\u202eb",
    ):
        assert shown in text, shown
    assert "not shown" not in text


def test_what_is_in_it(chicks: Report) -> None:
    text = Page(chicks.html).text
    data = mm.datasets.load("piglets")
    best = mm.lmer("BW ~ time + I(time^2) + treatm + (time | animal)", data, reml=False)
    assert f"{best.aicc:.2f}" in text
    assert f"{mm.r2(best)['r2_conditional']:.3f}" in text
    assert "Of 3 models, M3 is shown in full" in re.sub(r"\s+", " ", text)
    assert "Satterthwaite" in text
    assert f"with mixedmodels {mm.__version__}" in text
    assert "Body weight (kg)" in text
    assert "not shown" not in text
    assert "nan" not in re.findall(r"\w+", text)


def test_verdicts_come_first(chicks: Report) -> None:
    text = re.sub(r"\s+", " ", Page(chicks.html).text)
    data = mm.datasets.load("piglets")
    best = mm.lmer("BW ~ time + I(time^2) + treatm + (time | animal)", data, reml=False)
    check = mm.check_model(best, time="time")
    failed = ", ".join(c.assumption for c in check.complaints)
    said = f"Checks that complain: {failed}." if failed else "No check of its assumptions complains"
    assert text.index(said) < text.index("Summary of Body weight")
    assert all(c.message in text and c.advice in text for c in check.checks)


def test_the_code_gives_the_same(chicks: Report) -> None:
    blocks = re.findall(r"<pre tabindex=\"0\"><code>(.*?)</code>", chicks.html, re.DOTALL)
    sources = [unescape(block) for block in blocks]
    fits = next(source for source in sources if "models = {" in source)
    space: dict[str, object] = {}
    exec(fits.replace("data = ...", "data = mm.datasets.load('piglets')"), space)
    for source in sources:
        if "plot" not in source and source != fits and "print" not in source:
            assert eval(source, space) is not None, source


# --- what is asked ------------------------------------------------------------------------------


def test_a_linear_model_without_subjects(tmp_path: Path) -> None:
    path = tmp_path / "lm.html"
    made = mm.report(mm.lm("BW ~ time", mm.datasets.load("piglets")), path=path)
    assert path.read_text("utf-8") == made.html
    text = Page(made.html).text
    assert "least squares" in text
    assert "not shown" not in text
    assert repr(made).startswith("<Report 'Analysis of BW', ")
    assert made._repr_html_().startswith("<iframe ")


def test_what_cannot_be_shown_says_why() -> None:
    data, _ = hostile()
    data = pd.concat([data, data.iloc[:1]], ignore_index=True)  # one subject twice at a time
    made = mm.report(mm.lmer("y ~ day + (day | `<b>id</b>`)", data))
    assert "Correlations over time: not shown." in Page(made.html).text


def test_mistakes_are_told(tmp_path: Path) -> None:
    m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets"))
    with pytest.raises(mm.DataError, match="by='tretm' is no column of the data; there are"):
        mm.report(m, by="tretm")
    with pytest.raises(mm.ModelError, match="choose='M2' is none of the models: M1"):
        mm.report(m, choose="M2")
    with pytest.raises(mm.ModelError, match=r"end its name in \.html"):
        mm.report(m, path=tmp_path / "report.docx")
    with pytest.raises(FileNotFoundError):
        mm.report(m, path=tmp_path / "no" / "report.html")
    with pytest.raises(TypeError, match="fitted models"):
        mm.report({"a": 1})


def test_of_many_levels_some_are_drawn() -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(260), 3)
    data = pd.DataFrame({"y": rng.normal(size=260)[g] + rng.normal(size=780), "g": g})
    text = Page(mm.report(mm.lmer("y ~ 1 + (1 | g)", data)).html).text
    assert "200 of 260 are drawn; m.ranef() lists them all." in " ".join(text.split())
