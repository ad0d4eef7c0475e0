"""The command line: comparing models, exploring data, writing a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.cli import main

FORMULAS = ("BW ~ time + (1 | animal)", "BW ~ time + (time | animal)")
ROLES = ("--id", "animal", "--time", "time", "--response", "BW")


@pytest.fixture(scope="module")
def piglets(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("cli") / "piglets.csv"
    mm.datasets.load("piglets").to_csv(path, index=False)
    return str(path)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


# --- compare ------------------------------------------------------------------------------------


def test_compare_prints_both_tables(piglets: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", piglets, *FORMULAS]) == 0
    printed = capsys.readouterr().out
    data = mm.datasets.load("piglets")
    models = {f"M{i}": mm.lmer(f, data, reml=False) for i, f in enumerate(FORMULAS, 1)}
    table, tests = mm.aictab(models), mm.anova(models)
    best = next(line for line in printed.splitlines() if line.startswith("M2  "))
    assert best.split()[:3] == ["M2", "6", f"{table['aicc'][0]:.5g}"]
    assert f"{tests['statistic'][1]:.5g}" in printed
    assert "M1: BW ~ time + (1 | animal)" in printed
    assert "nan" not in printed


def test_one_formula_is_nothing_to_compare(
    piglets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "two formulas" in failed(capsys, "compare", piglets, FORMULAS[0])
    assert "'tme'" in failed(capsys, "compare", piglets, FORMULAS[0], "BW ~ tme + (1 | animal)")


# --- explore ------------------------------------------------------------------------------------


def test_explore_prints_what_the_functions_give(
    piglets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explore", piglets, *ROLES, "--by", "treatm", "--group-as-factor", "treatm"]) == 0
    printed = capsys.readouterr().out
    data = mm.datasets.load("piglets")
    roles = {"id": "animal", "time": "time", "response": "BW"}
    assert str(mm.time_correlations(data, **roles)) in printed
    assert str(mm.check_design(data, by="treatm", **roles)).split("\n\n")[1] in printed
    total = mm.describe(data, "BW", "treatm", id="animal", time="time")["mean"].iloc[-1]
    assert f"{total:.5g}" in printed
    assert "Clusters of BW over time" in printed


def test_explore_writes_pictures(
    piglets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "pictures"
    assert main(["explore", piglets, *ROLES, "--out", str(folder)]) == 0
    names = {path.stem for path in folder.glob("*.png")}
    assert names == {"trajectories", "means", "boxes", "dropout", "correlations", "clusters"}
    assert str(folder / "means.png") in capsys.readouterr().out


def test_what_cannot_be_explored_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(3)
    twice = pd.DataFrame({"who": np.repeat([1, 2, 3], 4), "day": [0, 1, 1, 2] * 3})
    twice["value"] = rng.normal(size=12)
    path = tmp_path / "twice.csv"
    twice.to_csv(path, index=False)
    assert main(["explore", str(path), "--id", "who", "--time", "day", "--response", "value"]) == 0
    assert "Correlations over time: none (" in capsys.readouterr().out
    error = failed(
        capsys, "explore", str(path), "--id", "who", "--time", "dy", "--response", "value"
    )
    assert "'dy'" in error


# --- report -------------------------------------------------------------------------------------


def test_report_writes_a_page(
    piglets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "page.html"
    assert main(["report", piglets, FORMULAS[0], "--out", str(target), "--title", "Growth"]) == 0
    assert capsys.readouterr().out == f"{target}: Growth\n"
    assert '<h1 dir="auto">Growth</h1>' in target.read_text("utf-8")


def test_mistakes_are_told_before_work_starts(
    piglets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("report", piglets, FORMULAS[0], "--out")
    assert "end its name in .html" in failed(capsys, *arguments, str(tmp_path / "page.pdf"))
    page = str(tmp_path / "page.html")
    assert "id='pig' is no column" in failed(capsys, *arguments, page, "--id", "pig")
    assert "No such file or directory" in failed(
        capsys, *arguments, str(tmp_path / "no" / "a.html")
    )
    assert main(["report", piglets, FORMULAS[0]]) == 2
    assert "--out" in capsys.readouterr().err
