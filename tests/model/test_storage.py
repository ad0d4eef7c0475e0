"""Saved, pickled and copied models give the numbers of the model they come from, to the bit."""

from __future__ import annotations

import copy
import io
import json
import multiprocessing
import operator
import pickle
import struct
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mixedmodels as mm
from mixedmodels.errors import ModelError

FORMULAS = {
    "slopes": "y ~ x + (x | g)",
    "independent": "y ~ x + f + (1 + x + f || g)",
    "nested": "y ~ x + (1 | g) + (x | top)",
    "crossed": "y ~ x + (x | g) + (1 | h)",
    "transforms": "y ~ poly(x, 2) + ns(z, df = 3) + scale(w) + (1 | g)",
    "splines": "log(y + 50) ~ bs(z, df = 5) + cr(w, df = 3) + center(x):f + (scale(w) | g)",
    "coded": "y ~ x * C(f, contr.sum) + relevel(k, ref = 'k2') + ordered(f):x + (f | g)",
    "numbers as factors": "y ~ factor(n) * z + n + I(x > 2000) + I(f == 'a') + (1 | n:g)",
    "offset": "y ~ x + offset(2 * z) + (1 | g)",
    "odd names": "y ~ scale(`a b`) + `c:d` + (1 | g)",
    "dot": "y ~ . - w - `a b` - `c:d` - h - top + (1 | g)",
    "no intercept": "y ~ 0 + f + x + (0 + x | g)",
    "no fixed part": "y ~ 0 + (1 | g)",
    "deficient": "y ~ x + I(2 * x) + f + (1 | g)",
}


@cache
def data() -> pd.DataFrame:
    rng = np.random.default_rng(20)
    n = 240
    frame = pd.DataFrame(
        {
            "x": rng.normal(2000.0, 2.0, n),
            "z": rng.normal(size=n),
            "w": rng.gamma(2.0, size=n),
            "f": rng.choice(["a", "b", "c"], n),
            "k": rng.choice(["k1", "k2"], n),
            "n": rng.integers(1, 4, n),
            "a b": rng.normal(size=n),
            "c:d": rng.normal(size=n),
            "g": rng.integers(0, 24, n),
            "h": rng.integers(0, 11, n).astype(str),
        }
    )
    frame["top"] = "t" + (frame["g"] // 4).astype(str)
    effects = rng.normal(size=(2, 24)) * [[2.0], [0.7]]
    slope = effects[1][frame["g"]] * (frame["x"] - 2000)
    others = rng.normal(size=11)[frame["h"].astype(int)] + rng.normal(size=6)[frame["g"] // 4]
    frame["y"] = frame["x"] - 2000 + effects[0][frame["g"]] + slope + others
    frame["y"] += rng.normal(size=n)
    return frame


def fitted(formula: str, frame: object = None, **options: object) -> mm.FittedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        return mm.lmer(formula, data() if frame is None else frame, **options)


@cache
def model_of(name: str) -> mm.FittedModel:
    return fitted(FORMULAS[name])


def reloaded(model: mm.FittedModel, folder: Path, **options: bool) -> mm.FittedModel:
    mm.save(model, folder / "model.mm", **options)
    return mm.load(folder / "model.mm")


def pandas(frame: object) -> pd.DataFrame:
    return frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()


def assert_same(new: mm.FittedModel, old: mm.FittedModel, rows: pd.DataFrame) -> None:
    """Equal to the bit, in everything that needs no row of the fit."""
    for name in ("beta", "vcov", "theta"):
        np.testing.assert_array_equal(getattr(new, name), getattr(old, name), err_msg=name)
    for name in ("sigma", "criterion", "formula", "term_names", "n_groups", "n_obs", "convergence"):
        assert str(getattr(new, name)) == str(getattr(old, name))
    for name in ("ranef", "coef", "varcorr", "tidy", "glance"):
        assert type(getattr(new, name)()) is type(getattr(old, name)())
        ours, theirs = (pandas(getattr(m, name)()) for m in (new, old))
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    ours, theirs = new.predict(rows), old.predict(rows)
    np.testing.assert_array_equal(ours, theirs)
    ours, theirs = (m.predict(rows, interval="prediction") for m in (new, old))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


@pytest.fixture
def new_rows() -> pd.DataFrame:
    frame = data().sample(40, random_state=1).drop(columns="y")
    return frame.assign(x=frame["x"] + 0.3, z=frame["z"] * 0.9)


# --- save and load ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMULAS)
def test_a_loaded_model_equals_the_saved_one(
    name: str, tmp_path: Path, new_rows: pd.DataFrame
) -> None:
    model = model_of(name)
    assert_same(reloaded(model, tmp_path), model, new_rows)


@pytest.mark.parametrize("name", ["slopes", "crossed", "splines", "dot"])
def test_with_its_data_it_equals_it_in_the_rows_too(
    name: str, tmp_path: Path, new_rows: pd.DataFrame
) -> None:
    model = model_of(name)
    again = reloaded(model, tmp_path, data=True)
    assert_same(again, model, new_rows)
    np.testing.assert_array_equal(again.fitted, model.fitted)
    np.testing.assert_array_equal(again.residuals("scaled"), model.residuals("scaled"))
    np.testing.assert_array_equal(again.simulate(2, 1), model.simulate(2, 1))
    pd.testing.assert_frame_equal(again.augment(), model.augment())
    y = model.response + data()["z"].to_numpy()
    np.testing.assert_array_equal(again.refit(y).vcov, model.refit(y).vcov)
    assert str(again.summary()) == str(model.summary())
    smaller = again.update("y ~ x + (1 | g)")
    np.testing.assert_array_equal(smaller.beta, fitted("y ~ x + (1 | g)").beta)


@pytest.mark.parametrize("name", ["slopes", "nested", "crossed"])
def test_a_refitted_model_equals_itself_too(
    name: str, tmp_path: Path, new_rows: pd.DataFrame
) -> None:
    rng = np.random.default_rng(3)
    refitted = model_of(name).refit(data()["y"] + rng.normal(size=len(data())))
    assert_same(reloaded(refitted, tmp_path), refitted, new_rows)


def test_a_loaded_model_can_be_saved_again(tmp_path: Path, new_rows: pd.DataFrame) -> None:
    for name in ("dot", "splines"):
        once = reloaded(model_of(name), tmp_path)
        assert_same(reloaded(once, tmp_path), model_of(name), new_rows)


def test_equal_models_give_equal_files(tmp_path: Path) -> None:
    mm.save(model_of("slopes"), tmp_path / "a.mm")
    mm.save(pickle.loads(pickle.dumps(model_of("slopes"))), str(tmp_path / "b.mm"))
    assert (tmp_path / "a.mm").read_bytes() == (tmp_path / "b.mm").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mm", "b.mm"]


def test_the_file_without_data_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    for times in (1, 20):
        model = fitted(FORMULAS["slopes"], pd.concat([data()] * times, ignore_index=True))
        mm.save(model, tmp_path / f"{times}.mm")
    sizes = [(tmp_path / f"{times}.mm").stat().st_size for times in (1, 20)]
    assert abs(sizes[0] - sizes[1]) < 100


def test_least_squares_and_ml(tmp_path: Path, new_rows: pd.DataFrame) -> None:
    line = mm.lm("y ~ x * f", data())
    assert_same(reloaded(line, tmp_path), line, new_rows)
    again = reloaded(line, tmp_path, data=True)
    assert str(again.summary()) == str(line.summary())
    ml = fitted(FORMULAS["slopes"], reml=False)
    assert_same(reloaded(ml, tmp_path), ml, new_rows)


def test_contrasts_weights_offset_and_missing_rows(tmp_path: Path, new_rows: pd.DataFrame) -> None:
    frame = data().assign(z=data()["z"].where(data()["z"] < 1.5), v=data()["w"] + 0.1)
    model = fitted(
        "y ~ x * f + z + (1 | g)", frame, contrasts={"f": "helmert"}, weights="v", offset="w"
    )
    for keep in (False, True):
        again = reloaded(model, tmp_path, data=keep)
        assert_same(again, model, new_rows)
        assert again.source.missing == model.source.missing
        moved = again.update(data=frame)
        np.testing.assert_array_equal(moved.beta, model.beta)
    pd.testing.assert_frame_equal(again.augment(), model.augment())
    np.testing.assert_array_equal(again.update(". ~ . - z").beta, model.update(". ~ . - z").beta)


def test_weights_and_offset_given_as_values(tmp_path: Path, new_rows: pd.DataFrame) -> None:
    options = {"weights": data()["w"].to_numpy() + 1, "offset": data()["z"].to_numpy()}
    model = fitted("y ~ x + (1 | g)", **options)
    again = reloaded(model, tmp_path)
    offset = new_rows["z"].to_numpy()
    np.testing.assert_array_equal(
        again.predict(new_rows, offset=offset), model.predict(new_rows, offset=offset)
    )
    with pytest.raises(mm.DataError, match="give offset= for the new rows"):
        again.predict(new_rows)
    with pytest.raises(mm.DataError, match="do not belong to the new data"):
        again.update(data=data())
    full = reloaded(model, tmp_path, data=True)
    np.testing.assert_array_equal(full.residuals("pearson"), model.residuals("pearson"))
    np.testing.assert_array_equal(
        full.update("y ~ z + (1 | g)").beta, model.update("y ~ z + (1 | g)").beta
    )


@pytest.mark.parametrize("library", [pl.DataFrame, pa.Table.from_pandas])
def test_frames_of_the_same_library_come_back(
    library: object, tmp_path: Path, new_rows: pd.DataFrame
) -> None:
    frame = data().assign(
        e=pd.Categorical(data()["f"]), whole=data()["n"].where(data()["n"] > 1).astype("Int64")
    )
    native = library(frame)
    model = fitted("y ~ x * e + (1 | g)", native)
    new = library(new_rows.assign(e=pd.Categorical(new_rows["f"])))
    again = reloaded(model, tmp_path, data=True)
    assert_same(again, model, new)
    assert type(again.source.data) is type(native)
    ours, theirs = again.augment(), model.augment()
    assert type(ours) is type(theirs)
    for name in ("y", "f", "whole", "fitted", "cooks_distance"):
        left, right = (
            t[name].to_pylist() if library is not pl.DataFrame else t[name].to_list()
            for t in (ours, theirs)
        )
        assert left == right, name


@pytest.mark.filterwarnings("ignore:Mismatched null-like:FutureWarning")  # of pandas 2.2
def test_columns_of_every_kind_come_back_with_the_data(tmp_path: Path) -> None:
    frame = data().assign(
        flag=data()["z"] > 0,
        part=pd.array([None, *data()["n"][1:]], dtype="Int64"),
        text=data()["f"].where(data()["z"] > 0),
        rank=pd.Categorical(data()["f"], categories=["c", "a", "b"], ordered=True),
        nested=[[1]] * len(data()),
    )
    again = reloaded(fitted("y ~ x + (1 | g)", frame), tmp_path, data=True)
    pd.testing.assert_frame_equal(again.source.data, frame.drop(columns="nested"))


def test_levels_of_every_kind_come_back(tmp_path: Path) -> None:
    for values in (["ä", "b\n", "''"], [True, False], [0.5, 1.0, 2.5], [10**12, 3, 7]):
        v = pd.Categorical(np.random.default_rng(0).choice(np.array(values, object), len(data())))
        frame = data().assign(v=v)
        model = fitted("y ~ v + (1 | g)", frame)
        again = reloaded(model, tmp_path)
        assert again.design.factors == model.design.factors
        assert_same(again, model, frame)


def test_a_warning_of_the_fit_is_not_repeated(tmp_path: Path) -> None:
    model = fitted("y ~ 1 + (1 + x + I(x + 0) | g)")
    np.testing.assert_array_equal(reloaded(model, tmp_path).theta, model.theta)


# --- without rows -------------------------------------------------------------------------------


def test_without_rows_what_needs_them_says_so(tmp_path: Path) -> None:
    model = reloaded(model_of("slopes"), tmp_path)
    calls = [
        lambda: model.fitted, model.predict, model.residuals, model.augment,
        lambda: model.simulate(1), lambda: model.refit(data()["y"]),
        lambda: mm.save(model, tmp_path / "b.mm", data=True),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ModelError, match="loaded from a file"):
            call()
    with pytest.raises(mm.DataError, match="loaded from a file"):
        model.update("y ~ 1 + (1 | g)")
    assert model.update(reml=False).deviance == model_of("slopes").update(reml=False).deviance
    assert model.update("y ~ 1 + (1 | g)", data=data()).n_obs == len(data())


def test_without_rows_it_pickles_too(tmp_path: Path, new_rows: pd.DataFrame) -> None:
    model = reloaded(model_of("crossed"), tmp_path)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert_same(other, model, new_rows)
        with pytest.raises(ModelError, match="loaded from a file"):
            _ = other.fitted


def test_save_takes_fitted_models_only(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a fitted model .*, not a DataFrame"):
        mm.save(data(), tmp_path / "a.mm")
    assert not list(tmp_path.iterdir())


# --- hostile files ------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "good.mm"
    mm.save(model_of("crossed"), path, data=True)
    return path


def rewritten(path: Path, changes: dict[str, object]) -> Path:
    """The file with some manifest entries ('key') or members ('name.npy': bytes) replaced."""
    bad = path.with_name("bad.mm")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "model.json":
                manifest = json.loads(content)
                manifest |= {key: v for key, v in changes.items() if not key.endswith(".npy")}
                content = json.dumps(manifest)
            content = changes.get(name, content)
            if content is not None:
                new.writestr(name, content)
    return bad


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def forged(shape: str, body: bytes = b"\0" * 8) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def test_another_version_is_named(file: Path) -> None:
    with pytest.raises(ModelError, match=r"format version 99 by mixedmodels 9\.9.*update"):
        mm.load(rewritten(file, {"version": 99, "written_by": "9.9"}))
    with pytest.raises(ModelError, match=r"reads format version 1: fit the model again"):
        mm.load(rewritten(file, {"version": 0}))


def test_no_file_and_no_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mm.load(tmp_path / "none.mm")
    (tmp_path / "text.mm").write_text("y ~ x")
    with pytest.raises(ModelError, match="not a model file"):
        mm.load(tmp_path / "text.mm")
    with zipfile.ZipFile(tmp_path / "other.mm", "w") as other:
        other.writestr("../../model.json", "{}")
    with pytest.raises(ModelError, match="does not hold a model"):
        mm.load(tmp_path / "other.mm")


def test_truncated_at_any_place(file: Path) -> None:
    whole = file.read_bytes()
    cut = file.with_name("cut.mm")
    for length in [0, 1, 21, *range(100, len(whole), max(1, len(whole) // 23)), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            mm.load(cut)


def test_damaged_anywhere_it_is_refused_or_harmless(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    bad = file.with_name("bits.mm")
    rng = np.random.default_rng(5)
    for at in rng.integers(0, len(whole), 60).tolist():
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        bad.write_bytes(damaged)
        try:
            mm.load(bad)
        except ModelError:
            continue


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return operator.methodcaller("write_text", "ran"), (Path("bomb"),)


@pytest.mark.parametrize(
    "changes",
    [
        {"n": float("nan")},
        {"n": 1e300},
        {"n": -3},
        {"n": True},
        {"y_scale": 0.0},
        {"formula": "y ~ x + z + (x | g) + (1 | h)"},
        {"formula": "y ~ __import__('os').system('true') + (1 | g)"},
        {"formula": "y ~ " + "(" * 5000},
        {"specs": {}},
        {"specs": {"__import__('os').system('true')": {"transforms": {}, "encoders": {}}}},
        {"term_order": [[0, 0], [7, 1]]},
        {"nested": True},
        {"cells": [[0, 9]]},
        {"x_names": ["a", "b"]},
        {"contrasts": {"f": "__import__"}},
        {"verdict": "fine"},
        {"factors": {"f": {"levels": [[1]], "ordered": False}}},
        {"source": {}},
        {"theta.npy": npy(np.full(4, np.nan))},
        {"theta.npy": npy(np.zeros(3))},
        {"theta.npy": npy(np.array([_Bomb()] * 4, dtype=object))},
        {"theta.npy": npy(np.zeros(4, np.longdouble))},
        {"theta.npy": forged("(4611686018427387904,)")},
        {"theta.npy": forged("(4,)")},
        {"theta.npy": forged("(4,)", b"\0" * 80)},
        {"theta.npy": forged("(__import__('os').getpid(),)")},
        {"theta.npy": b"\x93NUMPY"},
        {"cross.npy": forged("(1 << 20, 1 << 20)")},
        {"codes_0.npy": npy(np.full(240, 10**9))},
        {"levels_0.npy": None},
        {"cells_0_rows.npy": npy(np.full(7, -1))},
        {"model.json": "[" * 100_000},
        {"model.json": "{}"},
        {"model.json": '{"format": "mixedmodels", "version": NaN}'},
    ],
    ids=lambda changes: ", ".join(f"{k}={str(v)[:30]!r}" for k, v in changes.items()),
)
def test_hostile_contents_are_refused(
    file: Path, changes: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    with pytest.raises(ModelError, match=r"bad\.mm"):
        mm.load(rewritten(file, changes))
    assert not Path("bomb").exists()


def test_missing_transform_state_is_not_learnt_anew(tmp_path: Path) -> None:
    path = tmp_path / "good.mm"
    mm.save(model_of("transforms"), path)
    with zipfile.ZipFile(path) as archive:
        specs = json.loads(archive.read("model.json"))["specs"]
    for spec in specs.values():
        spec["transforms"] = {}
    with pytest.raises(ModelError):
        mm.load(rewritten(path, {"specs": specs}))


def test_compressed_members_are_refused(file: Path) -> None:
    bomb = file.with_name("bomb.mm")
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.json", " " * 10_000_000 + "{}")
    with pytest.raises(ModelError, match="compressed"):
        mm.load(bomb)


# --- pickles, copies, processes and threads -----------------------------------------------------


@pytest.mark.parametrize("name", ["slopes", "crossed", "splines"])
@pytest.mark.parametrize("library", [None, pl.DataFrame, pa.Table.from_pandas])
def test_pickles_and_copies(name: str, library: object, new_rows: pd.DataFrame) -> None:
    frame = data() if library is None else library(data())
    rows = new_rows if library is None else library(new_rows)
    model = fitted(FORMULAS[name], frame)
    others = [pickle.loads(pickle.dumps(model, protocol)) for protocol in (2, 4, 5)]
    buffers: list[pickle.PickleBuffer] = []
    apart = pickle.dumps(model, 5, buffer_callback=buffers.append)
    others.append(pickle.loads(apart, buffers=buffers))
    for other in (*others, copy.copy(model), copy.deepcopy(model)):
        assert_same(other, model, rows)
        np.testing.assert_array_equal(other.fitted, model.fitted)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes(method: str, new_rows: pd.DataFrame) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    models = [model_of("slopes"), model_of("crossed")]
    predict = operator.methodcaller("predict", new_rows)
    refit = operator.methodcaller("refit", data()["y"] * 2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python and Polars advise against forks in general
        with multiprocessing.get_context(method).Pool(2) as pool:
            predictions = pool.map(predict, models)
            refits = pool.map(refit, models)
    for model, prediction, again in zip(models, predictions, refits, strict=True):
        np.testing.assert_array_equal(prediction, predict(model))
        assert_same(again, refit(model), new_rows)


def test_four_threads_at_once(tmp_path: Path, new_rows: pd.DataFrame) -> None:
    names = ["slopes", "crossed", "splines", "coded"] * 3

    def work(item: tuple[int, str]) -> mm.FittedModel:
        i, name = item
        path = tmp_path / f"{i}.mm"
        mm.save(mm.lmer(FORMULAS[name], data()), path)
        return mm.load(path)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        with ThreadPoolExecutor(4) as pool:
            models = list(pool.map(work, enumerate(names)))
    for name, model in zip(names, models, strict=True):
        assert_same(model, model_of(name), new_rows)


@pytest.mark.parametrize("formula", ["BW ~ time + (time | animal)", "BW ~ time * treatm"])
def test_summary_without_rows(formula: str, tmp_path: Path) -> None:
    data = mm.datasets.load("piglets")
    model = mm.lmer(formula, data) if "|" in formula else mm.lm(formula, data)
    mm.save(model, tmp_path / "model.mm")
    loaded = mm.load(tmp_path / "model.mm")
    assert str(loaded.summary()) == str(model.summary())
    if "|" in formula:
        assert "not known" in str(loaded.update(reml=False).summary())
    with pytest.raises(mm.ModelError, match="rows"):
        loaded.refit(model.response)


@pytest.mark.parametrize(("levels", "kept"), [(20, "root"), (420, "within")])
def test_groups_far_apart_keep_their_digits(tmp_path: Path, levels: int, kept: str) -> None:
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(levels), 8)
    y = 1e6 * rng.normal(size=levels)[g] + rng.normal(size=len(g))
    model = mm.lmer("y ~ 1 + (1 | g)", pd.DataFrame({"g": g, "y": y}))
    assert getattr(model.moments, kept) is not None
    mm.save(model, tmp_path / "model.mm")
    loaded = mm.load(tmp_path / "model.mm")
    assert (loaded.criterion, loaded.sigma) == (model.criterion, model.sigma)
    np.testing.assert_array_equal(loaded.beta, model.beta)
