"""Sums add, subtract, are saved, and serve every smaller formula."""

from __future__ import annotations

import json
import warnings
import zipfile
from functools import cache, reduce
from operator import add
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixedmodels as mm
from mixedmodels.errors import (
    DataError,
    FormulaError,
    MixedModelsWarning,
    ModelError,
    RankDeficiencyWarning,
)
from tests.engines.tables import as_table, held, quiet, two_engines

FORMULA = "BW ~ time + I(time^2) + treatm + (time | animal)"


def piglets() -> pd.DataFrame:
    return mm.datasets.load("piglets")


def same(m: mm.FittedModel, reference: mm.FittedModel, tolerance: float) -> None:
    assert m.term_names == reference.term_names
    assert m.n_groups == reference.n_groups
    np.testing.assert_allclose(m.criterion, reference.criterion, rtol=tolerance)
    np.testing.assert_allclose(m.beta, reference.beta, rtol=tolerance)
    np.testing.assert_allclose(m.vcov, reference.vcov, rtol=tolerance, atol=1e-14)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=297, max_size=297), st.randoms(use_true_random=False))
def test_any_split_in_any_order(batch: list[int], random: object) -> None:
    frame, place = piglets(), np.array(batch)
    parts = [mm.Moments.from_frame(FORMULA, frame[place == k]) for k in sorted(set(batch))]
    random.shuffle(parts)  # type: ignore[attr-defined]
    same(mm.lmer(FORMULA, reduce(add, parts)), mm.lmer(FORMULA, frame), 1e-10)


def test_engines_and_memory_add() -> None:
    frame = piglets()
    both = mm.Moments.from_frame(FORMULA, as_table(frame[:140], "duckdb"))
    both += mm.Moments.from_frame(FORMULA, as_table(frame[140:200], "polars"))
    both += mm.Moments.from_frame(FORMULA, frame[200:])
    same(mm.lmer(FORMULA, both), mm.lmer(FORMULA, frame), 1e-10)


def test_a_batch_is_taken_away() -> None:
    frame = piglets()
    whole = mm.Moments.from_frame(FORMULA, frame)
    rest = whole - mm.Moments.from_frame(FORMULA, frame[:100])
    assert rest.n == 197
    same(mm.lmer(FORMULA, rest), mm.lmer(FORMULA, frame[100:]), 1e-8)
    with pytest.raises(DataError, match="not all among these"):
        rest - whole
    with pytest.raises(DataError, match="no rows are left"):
        whole - whole


def test_weighted_batches() -> None:
    frame = piglets().assign(w=np.linspace(0.5, 3.0, 297), o=1.5)
    how = {"weights": "w", "offset": "o"}
    parts = [mm.Moments.from_frame(FORMULA, frame[a:b], **how) for a, b in ((0, 99), (99, 297))]
    m = mm.lmer(FORMULA, parts[0] + parts[1], weights="w", offset="o")
    same(m, mm.lmer(FORMULA, frame, **how), 1e-10)
    with pytest.raises(DataError, match=r"weights= cannot be given for sums.*\('w'\)"):
        mm.lmer(FORMULA, parts[0], weights="o")


def test_smaller_formulas_need_no_data() -> None:
    frame = piglets()
    moments = mm.Moments.from_frame(FORMULA, frame)
    for formula in (
        "BW ~ time + (1 | animal)",
        "BW ~ treatm + (0 + time | animal)",
        "BW ~ 0 + treatm:time + (I(time^2) || animal)",
        "BW ~ time + treatm + (1 | animal) + (0 + I(time^2) | animal)",
    ):
        same(mm.lmer(formula, moments), mm.lmer(formula, frame), 1e-9)
    same(mm.lm("BW ~ time", moments), mm.lm("BW ~ time", frame), 1e-10)
    with pytest.raises(FormulaError, match=r"lack 'log\(time\)', the categories of 'sex'"):
        mm.lmer("BW ~ log(time) + (1 | sex)", moments)
    with pytest.raises(FormulaError, match="lack this response"):
        mm.lmer("log(BW) ~ time + (1 | animal)", moments)


@cache
def crossed() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    n = 900
    d = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "z": rng.normal(size=n),
            "f": rng.choice(["a", "b", "c"], n),
            "k": rng.choice(["u", "v"], n),
            "g": rng.integers(0, 15, n),
            "h": rng.integers(0, 9, n),
        }
    )
    effects = rng.normal(size=(2, 15))
    d["y"] = 1.0 + d["x"] * (0.5 + effects[1, d["g"]]) + effects[0, d["g"]]
    d["y"] += rng.normal(size=9)[d["h"]] + rng.normal(size=n) + (d["f"] == "b") * d["x"]
    return d


LARGE = "y ~ x*f*k + x*z + (x | g) + (1 | h) + (1 | h:k)"


@cache
def stored() -> mm.Moments:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sums"
        mm.Moments.from_frame(LARGE, crossed()).save(path)
        return mm.Moments.load(path)


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x*f*k + z + (x | g) + (1 | h)",  # an interaction and a random term
        "y ~ x*f + x:k + k + (x | g) + (1 | h)",
        "y ~ f*k + x + (x || g) + (1 | h)",  # a correlation
        "y ~ x*f + (x | g)",  # a grouping factor, and columns
        "y ~ x + f:x + (1 | h/k)",
        "y ~ z + (0 + x | g) + (0 + f | h)",
        "y ~ 0 + f:k + (1 | g) + (1 | h)",
        "y ~ 1 + (1 | h)",
    ],
)
def test_a_stored_file_serves_every_smaller_formula(formula: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        found, reference = mm.lmer(formula, stored()), mm.lmer(formula, crossed())
    same(found, reference, 1e-8)
    np.testing.assert_allclose(found.theta, reference.theta, rtol=1e-6, atol=1e-6)


def test_contrasts() -> None:
    coding = {"treatm": "sum"}
    m = mm.lmer(FORMULA, mm.Moments.from_frame(FORMULA, piglets()), contrasts=coding)
    same(m, mm.lmer(FORMULA, piglets(), contrasts=coding), 1e-10)


def test_batches_that_do_not_add() -> None:
    frame = piglets()
    moments = mm.Moments.from_frame(FORMULA, frame)
    with pytest.raises(DataError, match="differ in their numeric terms"):
        moments + mm.Moments.from_frame("BW ~ time + treatm + (time | animal)", frame)
    text = frame.assign(animal=np.where(np.arange(297) % 2 == 0, "a", "b"))
    number = frame.assign(animal=np.arange(297) % 3)
    with pytest.raises(DataError, match="'animal' holds text in one batch and numbers"):
        mm.Moments.from_frame(FORMULA, text) + mm.Moments.from_frame(FORMULA, number)
    centred = "BW ~ center(time) + (1 | animal)"
    with pytest.raises(DataError, match="leave them out"):
        mm.Moments.from_frame(centred, frame[:98]) + mm.Moments.from_frame(centred, frame[98:])
    with pytest.raises(TypeError):
        moments + 1  # type: ignore[operator]


def test_a_file(tmp_path: Path) -> None:
    frame = piglets()
    path = tmp_path / "sums.zip"
    moments = mm.Moments.from_frame(FORMULA, frame)
    moments.save(path)
    again = mm.Moments.load(path)
    assert repr(again) == repr(moments)
    assert mm.lmer(FORMULA, again).criterion == mm.lmer(FORMULA, moments).criterion
    m = mm.lmer("BW ~ scale(time) + (1 | animal)", frame)
    scaled = mm.Moments.from_frame("BW ~ scale(time) + (1 | animal)", frame)
    scaled.save(path)
    same(mm.lmer("BW ~ scale(time) + (1 | animal)", mm.Moments.load(path)), m, 1e-10)
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("model.json"))["format"] == "mixedmodels moments"


def test_files_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "m.mm"
    mm.save(mm.lmer(FORMULA, piglets()), path)
    with pytest.raises(ModelError, match="does not say that it holds moments"):
        mm.Moments.load(path)
    mm.Moments.from_frame(FORMULA, piglets()).save(path)
    with pytest.raises(ModelError, match="does not say that it is a model"):
        mm.load(path)


def test_a_saved_model_of_sums(tmp_path: Path) -> None:
    path = tmp_path / "m.mm"
    m = mm.lmer(FORMULA, as_table(piglets(), "polars"))
    mm.save(m, path)
    loaded = mm.load(path)
    assert (loaded.beta == m.beta).all()
    new = {"time": [3.0], "treatm": ["2"], "animal": ["58833"]}
    reference = mm.lmer(FORMULA, piglets()).predict(new, interval="prediction")
    found = loaded.predict(new, interval="prediction")
    np.testing.assert_allclose(found.to_numpy(), reference.to_numpy(), rtol=1e-8)


LEVELS = {"g": "abcdefgh", "f": "aabc", "k": "uv"}


@two_engines
def test_what_rounding_leaves_of_zeros_is_no_column(engine: str) -> None:
    # z is zero in level b, and in most cells; its sums are about a mean that is not
    rng = np.random.default_rng(0)
    d = pd.DataFrame({name: rng.choice([*levels], 150) for name, levels in LEVELS.items()})
    rare = (rng.random(150) < 0.15) & (d["f"] != "b")
    d["z"] = np.where(rare, rng.normal(size=150), 0.0)
    d["y"] = rng.normal(size=150) + 3.0 * d["g"].map({g: i for i, g in enumerate("hcfabdge")})
    formula = "y ~ 0 + k + center(z) + z*f + (1 | g)"
    with pytest.warns(RankDeficiencyWarning, match="dropped"):
        inside = mm.lmer(formula, held(d, engine))
    with pytest.warns(RankDeficiencyWarning, match="dropped"), quiet():
        outside = mm.lmer(formula, as_table(d, engine))
    assert outside.term_names == inside.term_names
    assert outside.criterion == pytest.approx(inside.criterion, abs=1e-8)
