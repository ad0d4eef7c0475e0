"""The walk through the article runs from end to end, prints what it should, writes a report."""

from __future__ import annotations

import re
from pathlib import Path

import plotnine
import pytest

from mixedmodels.cli import main
from mixedmodels.demo.book import Book, beside, text
from mixedmodels.demo.walk import STAGES

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)
SAID = (
    "These are a reconstruction",
    "845.2731  845.2731",  # AICc of the best of the seven
    "0.064  0.064",  # ICC
    "0.9401456  0.9401456",  # R squared of the first animal
    "58833          -0.84215052  -0.84214435",
    "model.predict gives 13.0552 (treatment 5); the animal weighed 13.6.",
    "0.1414   4  0.9976",
    "99.84   2  2.1e-22",
)


def _walk(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
    assert main(["demo", "--out", str(folder), *options]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out, (folder / "report.html").read_text("utf-8")


def test_every_stage_is_printed_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All plots are made, but not drawn."""
    monkeypatch.setattr(plotnine.ggplot, "save", lambda _, path, **__: path.write_bytes(PIXEL))
    printed, report = _walk(tmp_path / "new" / "folder", capsys)
    flat = re.sub(r"\s+", " ", printed)
    assert not [line for line in SAID if re.sub(r"\s+", " ", line) not in flat]
    # the line that names the report is as long as the folder's name
    assert max(len(line) for line in printed.splitlines() if str(tmp_path) not in line) <= 100
    assert len(re.findall(r"^\d+\. ", printed, re.MULTILINE)) == len(STAGES)
    assert report.count("<h2 ") == len(STAGES)
    pngs = sorted((tmp_path / "new" / "folder").glob("*.png"))
    assert len(pngs) == report.count("data:image/png;base64,") == printed.count(".png] ") > 30
    assert f"with {len(pngs)} figures" in printed


def test_without_plots_nothing_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed, report = _walk(tmp_path, capsys, "--no-plots")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert "<img" not in report
    assert "Report: " in printed


def test_the_report_loads_nothing(tmp_path: Path) -> None:
    book = Book(tmp_path, plots=False)
    book.stage("A <stage>", "less < more")
    book.table("Table", ["name", "value"], [["a & b", "1.0"]])
    page = book.save().read_text("utf-8")
    assert "A &lt;stage&gt;" in page
    assert "less &lt; more" in page
    assert "a &amp; b" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_a_file_in_the_way_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("")
    assert main(["demo", "--out", str(tmp_path / "taken"), "--no-plots"]) == 1
    assert "File exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "printed", "ours"),
    [(845.27305, "845.2731", "845.2731"), (5.3143e1, "5.314210e+01", "5.314300e+01")],
)
def test_beside_has_the_decimals_of_what_was_printed(value: float, printed: str, ours: str) -> None:
    assert beside(value, printed) == ours


def test_a_cell_without_value_is_empty() -> None:
    assert [text(x, ".1f") for x in (None, float("nan"), 2.04)] == ["", "", "2.0"]


@pytest.mark.slow
def test_the_figures_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _walk(tmp_path, capsys)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.png")]
    assert len(sizes) > 30
    assert min(sizes) > 5_000
