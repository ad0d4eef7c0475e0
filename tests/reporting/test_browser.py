"""The report in a browser, for a validator and for an accessibility checker."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mixedmodels as mm
from mixedmodels.output.html import STYLE
from tests.output.test_results import fitted, results
from tests.reporting.strange import EMOJI, EVIL, FORMULA_CELL, QUOTES, RIGHT_TO_LEFT

HERE = Path(__file__).parent / "browser"
ASSETS = Path(__file__).parents[2] / "src/mixedmodels/reporting/assets"
KINDS = ("chicks", "hostile_report")


def program(*names: str) -> str:
    """The first of these that is installed; the test is skipped where none is."""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip(f"{names[0]} is not installed")


def once(shared: Path, name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives, made by the first worker that comes; the others wait for it."""
    result, taken = shared / f"{name}.json", shared / f"{name}.taken"
    while not result.exists():
        try:
            taken.mkdir()
        except FileExistsError:
            time.sleep(0.2)
            continue
        try:
            if not result.exists():
                written = shared / f"{name}.part"
                written.write_text(json.dumps(make()), encoding="utf-8")
                written.replace(result)
        finally:
            taken.rmdir()
    return json.loads(result.read_text("utf-8"))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run know."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def modules(shared: Path) -> Path:
    """The packages of the lock file, installed beside it and kept."""
    npm = program("npm")
    once(shared, "npm", lambda: install(npm))
    return HERE / "node_modules"


def install(npm: str) -> str:
    """Install what is not there yet, into a folder aside: no half is left where it fails."""
    lock, place = (HERE / "package-lock.json").read_text("utf-8"), HERE / "node_modules"
    stamp = place / ".installed"
    if stamp.exists() and stamp.read_text("utf-8") == lock:
        return "kept"
    with tempfile.TemporaryDirectory(prefix="node_modules.", dir=HERE) as folder:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if done.returncode:
            last = f"npm ci failed: {' '.join(done.stderr.split())[-600:]}"
            if os.environ.get("CI"):
                pytest.fail(last)
            pytest.skip(last)
        made = Path(folder) / "node_modules"
        (made / ".installed").write_text(lock, encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        made.rename(place)
    return "new"


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def seen(kind: str, request: pytest.FixtureRequest, modules: Path, shared: Path) -> dict[str, Any]:
    """What readers met: see look.mjs."""
    node, browser = program("node"), program("chromium", "chromium-browser", "google-chrome")

    def look() -> Any:
        page = saved(request, kind, shared)
        command = [node, str(HERE / "look.mjs"), browser, str(page)]
        done = subprocess.run(command, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stderr.decode()[-3000:]
        return json.loads(done.stdout)

    found: dict[str, Any] = once(shared, f"seen-{kind}", look)
    return found


def saved(request: pytest.FixtureRequest, kind: str, shared: Path) -> Path:
    """The file of a report."""
    path, report = shared / f"{kind}.html", request.getfixturevalue(kind)
    report.save(path)
    return path


def number(cell: str) -> float:
    return float(cell.replace("<", "").replace(",", ""))


def in_sight(picture: dict[str, Any]) -> bool:
    return bool(picture["width"] > 30 and picture["height"] > 30 and picture["complete"])


def test_the_lock_file_names_no_place() -> None:
    lock = (HERE / "package-lock.json").read_text("utf-8")
    assert "://" not in lock
    assert all("integrity" in p for name, p in json.loads(lock)["packages"].items() if name)


def test_the_library_in_the_page_is_that_of_its_authors(modules: Path) -> None:
    source = modules / "uplot"
    for name in ("uPlot.iife.min.js", "uPlot.min.css"):
        assert (ASSETS / name).read_bytes() == (source / "dist" / name).read_bytes()
    assert (ASSETS / "uPlot-LICENSE.txt").read_bytes() == (source / "LICENSE").read_bytes()
    assert "</script" not in (ASSETS / "uPlot.iife.min.js").read_text("utf-8").lower()


def test_the_validator_has_no_complaint(
    request: pytest.FixtureRequest, modules: Path, shared: Path, tmp_path: Path
) -> None:
    """Reports, results in a notebook, a table: all at once, as the checker starts slowly."""
    pages = [saved(request, kind, shared) for kind in KINDS]
    shown = [make()._repr_html_() for name, make in results().items() if name != "Report"]
    # notebooks let a part of a page bring its own style
    body = "".join(shown).replace(STYLE, "")
    head = '<!DOCTYPE html><html lang="en"><head><title>All</title></head>'
    notebook, table = tmp_path / "notebook.html", tmp_path / "table.html"
    notebook.write_text(f"{head}<body>{body}</body></html>", encoding="utf-8")
    mm.tab_model(fitted()).save(table, EVIL)
    jar = modules / "vnu-jar/build/dist/vnu.jar"
    command = [program("java"), "-jar", str(jar), "--format", "json", "--exit-zero-always"]
    done = subprocess.run(
        [*command, *map(str, (*pages, notebook, table))],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    # it does not work out the hash by which the policy of the report names its script
    said = [(m["url"], m["message"]) for m in json.loads(done.stderr)["messages"]]
    assert [m for m in said if "Content Security Policy" not in m[1]] == []


def test_quiet_and_alone(seen: dict[str, Any]) -> None:
    assert seen["console"] == []
    assert seen["requests"] == []
    assert seen["dialogs"] == []
    assert seen["strange"] == seen["title"]


def test_pictures_are_seen_on_screen_on_paper_and_without_scripts(seen: dict[str, Any]) -> None:
    on_screen = [p for p in seen["pictures"] if not p["still"]]
    assert all(in_sight(p) for p in on_screen)
    assert sum(p["live"] for p in on_screen) > 2
    for shown in (seen["print"]["pictures"], seen["still"]["pictures"]):
        pictures = [p for p in shown if not p["live"]]
        assert len(pictures) > 15
        assert all(in_sight(p) for p in pictures)


def test_every_column_sorts_both_ways(seen: dict[str, Any]) -> None:
    assert len(seen["sorting"]) > 50
    for column in seen["sorting"]:
        for way, reverse in (("up", False), ("down", True)):
            shown = column[way]
            assert shown["sort"] == ("descending" if reverse else "ascending")
            filled = [cell for cell in shown["cells"] if cell.strip()]
            assert all(cell.strip() == "" for cell in shown["cells"][len(filled) :])
            if shown["numeric"]:
                values = [number(cell) for cell in filled]
                assert values == sorted(values, reverse=reverse), shown["head"]


def test_rows_are_filtered_by_a_word(seen: dict[str, Any]) -> None:
    found = seen["filtering"]
    assert 0 < len(found["some"]) < found["all"] == found["again"]
    assert all(found["word"].lower() in row.lower() for row in found["some"])


def test_code_unfolds_by_keyboard(seen: dict[str, Any]) -> None:
    assert len(seen["folding"]) == 6
    assert all(states == [False, True] for states in seen["folding"])


def test_plots_answer(seen: dict[str, Any]) -> None:
    assert len(seen["answering"]) == 2
    for found in seen["answering"]:
        first, *names = found["names"]
        assert first == "all"
        pointed_at, *values = found["tip"].split("\n")
        assert found["kept"].startswith(pointed_at)
        assert found["kept"] in names
        assert re.search(r"\d", values[-1])
        assert found["chosen"] == names[0]
        assert len(re.findall(r"\d", found["said"])) > 5
        everything, one = found["ink"]
        assert one < 0.95 * everything  # the others stand back
        assert set(found["markup"]) <= {"STRONG", "BDI", "DIV"}


def test_nothing_breaks_accessibility(seen: dict[str, Any]) -> None:
    for scheme in ("light", "dark"):
        assert seen["axe"][scheme]["violations"] == []
        assert seen["axe"][scheme]["rules"] > 30


def test_light_dark_narrow_paper(seen: dict[str, Any]) -> None:
    paper, ink = (
        sum(map(int, re.findall(r"\d+", seen["dark"][part]))) for part in ("paper", "ink")
    )
    assert paper < 100 < 600 < ink
    assert seen["print"]["background"] == "rgb(255, 255, 255)"
    assert seen["print"]["hidden"]
    assert seen["print"]["width"] <= 794
    assert seen["narrow"] <= 390


def test_it_can_be_read_without_scripts(seen: dict[str, Any]) -> None:
    assert seen["still"]["controls"] == 0
    assert len(seen["still"]["text"]) > 10_000


@pytest.mark.parametrize("kind", ["hostile_report"], indirect=True)
def test_hostile_names_are_text(seen: dict[str, Any]) -> None:
    for text in (seen["text"], seen["still"]["text"]):
        for name in (EVIL, FORMULA_CELL, EMOJI, RIGHT_TO_LEFT, QUOTES, "$x_1^2$", "&amp;"):
            assert name in text
    assert "img" not in seen["elements"]
    assert seen["title"] == f"{EVIL} {RIGHT_TO_LEFT}"
    lines, intervals = seen["answering"]
    # names in a list are as they are in the data, but for characters that turn text around
    assert {EVIL, FORMULA_CELL, EMOJI, RIGHT_TO_LEFT, QUOTES, r"a\u202eb"} <= set(
        intervals["names"]
    )
    assert any(name.startswith(EVIL) for name in lines["names"])
