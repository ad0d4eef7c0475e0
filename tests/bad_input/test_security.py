"""Formulas, labels and files from strangers: nothing runs, nothing grows, all is shown as text."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import random
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedmodels as mm
from tests.bad_input.common import SIMPLE, base, watched

# --- formulas -------------------------------------------------------------------------------------

TRICKS = [
    "x.__class__.__mro__", "().__class__.__bases__", "x.__globals__", "x.__init__.__globals__",
    "'{0.__class__}'.format(x)", "f'{__import__(\"os\")}'", "('%s' % x)", "b'x'", "r'x'",
    "(y := x)", "lambda: x", "(lambda q: q)(x)", "[q for q in x]", "{q: q for q in x}",
    "(q for q in x)", "x[0]", "x[::2]", "x['a']", "*x", "**x", "log(*x)", "log(**x)",
    "x if x else z",
    "x and z", "not x", "x is z", "x in z", "await x", "yield x", "x @ z", "x // z", "x << 2", "~x",
    "getattr(x, 'a')", "vars()", "globals()", "locals()", "dir(x)", "type(x)", "breakpoint()",
    "open('MARK', 'w')", "exec('1')", "eval('1')", "compile('1', 'a', 'exec')", "input()",
    "__import__('os').system('touch MARK')", "__builtins__", "np.log(x)", "pd.read_pickle('MARK')",
    "C(x, contr.treatment(2)).__class__", "log(x).real", "I(x).T", "poly(x, 2).shape",
    "\uff45\uff56\uff41\uff4c('1')", "\uff3f\uff3fimport\uff3f\uff3f('os')", "\u212fxec('1')",
    "__\uff49mport__('os')",
    "eval\u200b('1')", "ev\u0430l('1')", "x\u202e", "\ufeffx.y", "x;z", "x\\\nz", "x #z", "x`y`z",
    "`x``y`", "``", "`x", "'x", "\"x", "'''x'''", "x\x00", "x\x1b[31m", "log('x' 'y')",
    "log((((x))",
    "log(x, base=open('MARK', 'w'))", "bs(x, df=exec('1'))", "factor(f, levels=eval('1'))",
    "relevel(f, ref=__import__('os'))", "round(x, digits=exec('1'))", "x ** x.y",
    "fn_column('x')", "fn_text('x')", "stateful_transform(x)", "Q('x')", "I(Q('x'))", "bin(x)",
]  # fmt: skip


@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_are_refused(trick: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("y ~ {} + (1|g)", "y ~ I({}) + (1|g)", "y ~ x + ({}|g)", "y ~ x + (1|{})",
                  "{} ~ x + (1|g)", "y ~ offset({}) + (1|g)", "y ~ log({}) + (1|g)"):  # fmt: skip
        with pytest.raises(mm.MixedModelsError):
            watched(place.format(trick), base())
    assert list(tmp_path.iterdir()) == []


NAMES = [
    "__import__('os').system('touch MARK')", "x.__class__", "{0.__class__}", "%s%n",
    "y ~ x", "'); import os; os.system('touch MARK'); ('", "a\nb", "a\tb", "__builtins__", "lambda",
    "None", "True", "np", "f'{x}'", "=cmd|' /C calc'!A0", "<script>alert(1)</script>",
    "$(touch MARK)",
    "; DROP TABLE data; --", '"; DROP TABLE data; --', "\\", "{", "}", "a'b", 'a"b', "\u202ex", "",
]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NAMES if name])
def test_hostile_names_of_columns_are_names(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In back-quotes any name is a column: fitted, shown, predicted, stored, and nothing else."""
    monkeypatch.chdir(tmp_path)
    expected = mm.lmer("y ~ x + log(z^2) + (x|g)", base())
    formula = f"y ~ `{name}` + log(`z{name}`^2) + (`{name}`|`g{name}`)"
    data = base().rename(columns={"x": name, "z": f"z{name}", "g": f"g{name}"})
    for given in (data, pl.from_pandas(data)):
        m, _ = watched(formula, given)
        assert m.loglik == pytest.approx(expected.loglik, abs=1e-9)
        assert list(m.predict(given)) == pytest.approx(list(m.fitted))
    shown = m.summary()._repr_html_() + mm.tab_model(m).to_html()
    assert "<script" not in shown
    mm.save(m, "model.mm")
    assert mm.load("model.mm").loglik == m.loglik
    assert [path.name for path in tmp_path.iterdir()] == ["model.mm"]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_levels_are_labels(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = base().assign(g=lambda d: d.g + name, f=lambda d: d.f + name)
    m, _ = watched("y ~ x + f + (1|g)", data)
    assert m.loglik == pytest.approx(mm.lmer("y ~ x + f + (1|g)", base()).loglik, abs=1e-9)
    assert list(m.predict(data)) == pytest.approx(list(m.fitted))
    assert set(m.ranef()["level"]) == set(data["g"])
    assert mm.emmeans(m, "f").frame()["f"].tolist() == sorted(set(data["f"]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in NAMES if name and "\n" not in name])
def test_hostile_names_reach_no_engine_as_code(name: str) -> None:
    duckdb = pytest.importorskip("duckdb")
    data = base().rename(columns={"x": name, "g": f"g{name}"})
    data["f"] += name
    table = duckdb.from_arrow(pl.from_pandas(data).to_arrow())
    m = mm.lmer(f"y ~ `{name}` + f + (1|`g{name}`)", table)
    assert m.loglik == pytest.approx(mm.lmer("y ~ x + f + (1|g)", base()).loglik, abs=1e-6)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ " + "x + " * 200_000 + "x + (1|g)",
        "y ~ " + "(" * 200_000,
        "y ~ " + "log(" * 50_000 + "x",
        "y ~ " + "-" * 100_000 + "x + (1|g)",
        "y ~ " + ":".join(["x"] * 100_000) + " + (1|g)",
        "y ~ (" + " + ".join(f"v{i}" for i in range(300)) + ")^6 + (1|g)",
        "y ~ I(" + "9" * 1_000_000 + ") + (1|g)",
        "y ~ I(x ^ 9 ^ 9 ^ 9 ^ 9) + (1|g)",
        "y ~ `" + "a" * 1_000_000 + "` + (1|g)",
        "y ~ poly(x, 100000000) + (1|g)",
        "y ~ bs(x, df=100000000) + (1|g)",
        "y ~ factor(f, levels=c(" + ", ".join(["'a'"] * 100_000) + ")) + (1|g)",
        "\ud800 ~ x",
        "y ~ x + (1|" + "g/" * 50_000 + "g)",
    ],
    ids=range(14),
)
def test_long_and_deep_formulas_are_bounded(formula: str) -> None:
    """An error, or a fit, at once: a limit of pytest would tell otherwise."""
    with warnings.catch_warnings(), contextlib.suppress(mm.MixedModelsError):
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        mm.lmer(formula, base())


# --- files ----------------------------------------------------------------------------------------

Loader = Callable[[Path], object]
KINDS: dict[str, tuple[Callable[[Path], None], Loader]] = {
    "model": (lambda path: mm.save(mm.lmer(SIMPLE, base()), path, data=True), mm.load),
    "moments": (
        lambda path: mm.Moments.from_frame(SIMPLE, pl.from_pandas(base()).lazy()).save(path),
        mm.Moments.load,
    ),
}


@pytest.fixture(params=KINDS)
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Loader]:
    save, load = KINDS[request.param]
    path = tmp_path / "file.mm"
    save(path)
    load(path)
    return path, load


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], **options: int) -> None:
    """The same archive with other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def array(members: dict[str, bytes]) -> str:
    return max((name for name in members if name.endswith(".npy")), key=lambda n: len(members[n]))


def npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("open('MARK', 'w')",)


def huge_header(members: dict[str, bytes]) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    header += b" " * (117 - len(header)) + b"\n"
    members[array(members)] = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def manifest(members: dict[str, bytes], **changes: object) -> None:
    content = json.loads(members["model.json"])
    content.update(changes)
    members["model.json"] = json.dumps(content).encode()


CRAFTED: dict[str, Callable[[dict[str, bytes]], None]] = {
    "objects": lambda m: m.update({array(m): npy(np.array([Trap()], dtype=object))}),
    "pickle": lambda m: m.update({array(m): pickle.dumps(Trap())}),
    "declared huge": huge_header,
    "text for numbers": lambda m: m.update({array(m): npy(np.array(["a"] * 96))}),
    "complex": lambda m: m.update({array(m): npy(np.ones(96, complex))}),
    "long doubles": lambda m: m.update({array(m): npy(np.ones(96, np.longdouble))}),
    "records": lambda m: m.update({array(m): npy(np.ones(96, [("a", "f8")]))}),
    "empty array": lambda m: m.update({array(m): npy(np.empty(0))}),
    "no array": lambda m: m.pop(array(m)) and None,
    "no manifest": lambda m: m.pop("model.json") and None,
    "no JSON": lambda m: m.update({"model.json": b"{"}),
    "deep JSON": lambda m: m.update({"model.json": b"[" * 100_000}),
    "list": lambda m: m.update({"model.json": b"[]"}),
    "UTF-16": lambda m: m.update({"model.json": "{}".encode("utf-16")}),
    "huge number": lambda m: m.update({"model.json": b'{"version": ' + b"9" * 5000 + b"}"}),
    "other format": lambda m: manifest(m, format="else"),
    "NaN": lambda m: m.update({"model.json": m["model.json"].replace(b": 1", b": NaN", 1)}),
    "code as formula": lambda m: manifest(m, formula="y ~ I(exec('open(1)')) + (1|g)"),
}  # fmt: skip


@pytest.mark.parametrize("how", CRAFTED)
def test_crafted_files_execute_nothing(
    how: str, stored: tuple[Path, Loader], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, load = stored
    monkeypatch.chdir(path.parent)
    rewritten(path, CRAFTED[how])
    tracemalloc.start()
    try:
        with pytest.raises(mm.MixedModelsError) as caught:
            load(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50e6
    assert 10 < len(str(caught.value)) < 2_000
    assert [p.name for p in path.parent.iterdir()] == ["file.mm"]


def test_a_bomb_is_not_unpacked(stored: tuple[Path, Loader]) -> None:
    path, load = stored
    zeros = npy(np.zeros(20_000_000))
    rewritten(path, lambda m: m.update({array(m): zeros}), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(mm.MixedModelsError):
            load(path)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 50e6


def test_members_with_paths_are_not_written(
    stored: tuple[Path, Loader], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, load = stored
    monkeypatch.chdir(path.parent)
    extra = {"../MARK": b"x", "/tmp/MARK.mm": b"x", "a/../../MARK": b"x"}
    rewritten(path, lambda m: m.update(extra))
    with contextlib.suppress(mm.MixedModelsError):  # more than is needed does no harm
        load(path)
    assert [p.name for p in path.parent.iterdir()] == ["file.mm"]
    assert not (path.parent.parent / "MARK").exists()
    assert not Path("/tmp/MARK.mm").exists()


def test_a_member_twice(stored: tuple[Path, Loader]) -> None:
    path, load = stored
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of zipfile, for the second
        archive.writestr("model.json", "{}")
    with pytest.raises(mm.MixedModelsError):
        load(path)


def test_damage_is_refused_or_harmless(stored: tuple[Path, Loader]) -> None:
    path, load = stored
    whole, draw = path.read_bytes(), random.Random(3)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            broken[draw.randrange(len(broken))] = draw.randrange(256)
        path.write_bytes(broken[: draw.choice([len(broken), draw.randrange(len(broken))])])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mm.MixedModelsWarning)
            with contextlib.suppress(mm.MixedModelsError):
                load(path)


# --- what is written ------------------------------------------------------------------------------

SHEET = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]


def test_tables_hold_labels_as_text(tmp_path: Path) -> None:
    """HTML, LaTeX and Markdown, the only tables that we write: no spreadsheet among them."""
    data = base().assign(f=lambda d: d.f.map(dict(zip("abc", SHEET[::2], strict=True))))
    table = mm.tab_model({"=cmd()": mm.lmer("y ~ x + f + (1|g)", data)}, labels={"x": "<b>&_%$#"})
    for ending in (".html", ".tex", ".md"):
        table.save(tmp_path / f"table{ending}")
        assert "<b>&" not in (tmp_path / f"table{ending}").read_text("utf-8")
    for ending in (".csv", ".xlsx"):
        with pytest.raises(mm.ModelError):
            table.save(tmp_path / f"table{ending}")


def test_frames_keep_labels_as_they_are() -> None:
    """What the user writes of our frames is the user's: labels are not changed behind the back."""
    data = base().assign(g=lambda d: "=" + d.g)
    assert mm.lmer(SIMPLE, data).ranef()["level"].tolist() == sorted(set(data["g"]))
    assert isinstance(mm.lmer(SIMPLE, data).ranef(), pd.DataFrame)
