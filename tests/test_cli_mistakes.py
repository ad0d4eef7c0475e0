"""The command line and whatever a user may hand it: a message and an exit code, no traceback."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.cli import main

FORMULA = "y ~ x + (1 | g)"
STEERING = "\x1b[31m%s {0} \x07\u202e\u2066"  # colour, format marks, bell, changes of direction


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(12), 8)
    y, x = rng.normal(size=(2, 96))
    return pd.DataFrame({"y": y + g, "x": x, "g": g, "t": np.tile(np.arange(8), 12)})


def zipped(path: Path, **members: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name.replace("__", "."), text)


def cut(path: Path, write: Callable[[Path], None]) -> None:
    """The first half of a file."""
    write(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


TEXT = b"y,x,g\n1,2,3\n"
FILES: dict[str, Callable[[Path], object]] = {
    "binary.csv": lambda path: path.write_bytes(bytes(range(256)) * 50),
    "nul.csv": lambda path: path.write_bytes(TEXT.replace(b",", b"\0,")),
    "utf16.csv": lambda path: path.write_bytes(TEXT.decode().encode("utf-16")),
    "quote.csv": lambda path: path.write_bytes(b'y,x,g\n1,"2,3\n'),
    "header.csv": lambda path: path.write_bytes(b"y,x,g\n"),
    "semicolons.csv": lambda path: path.write_bytes(TEXT.replace(b",", b";")),
    "huge line.csv": lambda path: path.write_bytes(b"y,x,g\n1,2," + b"a" * 5_000_000),
    "wide.csv": lambda path: path.write_text(",".join(f"c{i}" for i in range(20_000)) + "\n"),
    "cut.csv.gz": lambda path: path.write_bytes(gzip.compress(TEXT * 99)[:30]),
    "no.csv.xz": lambda path: path.write_bytes(b"zzzz"),
    "no.csv.bz2": lambda path: path.write_bytes(b"zzzz"),
    "no.csv.zst": lambda path: path.write_bytes(b"zzzz"),
    "two.csv.zip": lambda path: zipped(path, a__csv="y", b__csv="y"),
    "other.xlsx": lambda path: zipped(path, a__txt="hi"),
    "broken.xlsx": lambda path: zipped(path, **{"[Content_Types]__xml": "<x"}),
    "cut.parquet": lambda path: cut(path, frame().to_parquet),
    "cut.feather": lambda path: cut(path, frame().to_feather),
    "cut.xlsx": lambda path: cut(path, lambda file: frame().to_excel(file, index=False)),
}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the error stream says; it must be our message and harmless."""
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mixedmodels: error: ")
    assert len(captured.err) < 6_000
    assert harmless(captured.err)
    return captured.err


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text) and "Traceback" not in text


@pytest.mark.parametrize("name", FILES)
def test_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FILES[name](tmp_path / name)
    refused(capsys, "fit", str(tmp_path / name), FORMULA)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.csv", FORMULA], "no such file"),
        (["", FORMULA], "is a directory"),
        (["a\0b.csv", FORMULA], r"no such file: 'a\x00b.csv'"),
        (["\udcff.csv", FORMULA], r"\udcff"),
        (["x" * 5_000 + ".csv", FORMULA], "x" * 30),
        (["data.csv", ""], "the formula is empty"),
        (["data.csv", "y"], "no '~'"),
        (["data.csv", "y ~ x + (1 | gg)"], "did you mean 'g'?"),
        (["data.csv", "y ~ \x1b[31mx"], "U+001B"),
        (["data.csv", FORMULA + "\0"], "U+0000"),
        (["data.csv", "y ~ " + "(" * 100_000], "60 levels of nesting"),
        (["data.csv", "%s %d {0}"], "PERCENT SIGN"),
        (["data.csv", FORMULA, "--weights", "x"], "negative weights"),
        (["data.csv", FORMULA, "--weights", "ww"], "no column 'ww'"),
        (["data.csv", FORMULA, "--contrasts", "g=sum"], "the formula does not use it"),
        (["data.csv", FORMULA, "--output", "no/such/file"], "No such file"),
        (["data.csv", FORMULA, "--output", "."], "Is a directory"),
    ],
)
def test_arguments(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    frame().to_csv("data.csv", index=False)
    assert words in refused(capsys, "fit", *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["report", "data.csv", FORMULA, "--out", "no/page.html"],
        ["report", "data.csv", FORMULA, "--out", "page.txt"],
        ["explore", "data.csv", "--id", "g", "--time", "t", "--response", "y", "--out", "data.csv"],
        ["compare", "data.csv", FORMULA, "y ~ q"],
        ["demo", "--no-plots", "--out", "data.csv"],
    ],
)
def test_other_commands(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    frame().to_csv("data.csv", index=False)
    refused(capsys, *arguments)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_an_unreadable_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.csv"
    frame().to_csv(path, index=False)
    path.chmod(0)
    assert "ermission" in refused(capsys, "fit", str(path), FORMULA)


# --- labels that would steer a terminal ---------------------------------------------------------


def test_labels_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "data.csv")
    data = frame().astype({"g": str}).rename(columns={"x": f"x{STEERING}"})
    data["g"] += STEERING
    data.to_csv(path, index=False)
    roles = ("--id", "g", "--time", "t", "--response", "y")
    for arguments in (
        ("fit", path, "y ~ g + (1 | t)"),
        ("fit", path, "y ~ g + (1 | t)", "--json"),
        ("compare", path, "y ~ g + (1 | t)", "y ~ 1 + (1 | t)"),
        ("explore", path, *roles),
    ):
        assert main(arguments) == 0
        captured = capsys.readouterr()
        assert harmless(captured.out + captured.err)
        if arguments[0] == "fit":
            assert (r"\u001b" if "--json" in arguments else r"\x1b") in captured.out
    assert r"\x1b" in refused(capsys, "fit", path, FORMULA)  # the columns that there are


def test_json_keeps_the_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "data.csv"
    data = frame().astype({"g": str})
    data["g"] += STEERING
    data.to_csv(path, index=False)
    assert main(["fit", str(path), "y ~ g + (1 | t)", "--json"]) == 0
    terms = [row["term"] for row in json.loads(capsys.readouterr().out)["tidy"]]
    assert f"g[T.1{STEERING}]" in terms


# --- processes ----------------------------------------------------------------------------------


def started(*arguments: str, **options: object) -> subprocess.Popen[str]:
    source = str(Path(mm.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, "-m", "mixedmodels", *arguments], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": source}, **options,  # type: ignore[call-overload]
    )  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="pipes of another kind")
def test_a_reader_that_wants_one_line(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    frame().to_csv(path, index=False)
    process = started("fit", str(path), FORMULA, stdout=subprocess.PIPE)
    head = subprocess.run(["head", "-1"], stdin=process.stdout, capture_output=True, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert "REML" in head.stdout


@pytest.mark.skipif(os.name != "posix", reason="signals are sent otherwise there")
def test_control_c_ends_it_quietly(tmp_path: Path) -> None:
    pipe = tmp_path / "data.csv"
    os.mkfifo(pipe)  # reading waits until somebody writes
    # where the tests run unwatched, a shell may have told its children to ignore interrupts
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = started("fit", str(pipe), FORMULA, stdout=subprocess.PIPE, preexec_fn=heed)
    try:
        with pipe.open("w") as writing:  # opens once the other side reads
            writing.write("y,x,g\n")
            writing.flush()
            out, err = _interrupted(process)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out, err) == (130, "", "")


def _interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Ctrl-C, and again: a library that is reading may swallow one."""
    for _ in range(10):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=10)
    raise AssertionError("ten interrupts have not ended it")
