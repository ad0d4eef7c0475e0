"""What needs no rows works for models of sums, with the numbers of models in memory."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.errors import FormulaError, ModelError
from tests.engines.tables import as_table

FORMULA = "BW ~ time + I(time^2) + treatm + late + (time | animal)"
SMALL = "BW ~ time + I(time^2) + late + (time | animal)"


@cache
def piglets() -> pd.DataFrame:
    frame = mm.datasets.load("piglets")
    return frame.assign(late=(frame["time"] > 14) * 2.0)


@cache
def models(kind: str) -> tuple[mm.FittedModel, mm.FittedModel]:
    if kind == "loaded":
        return tuple(map(loaded, models("duckdb")))  # type: ignore[return-value]
    table = piglets() if kind == "memory" else as_table(piglets(), kind)
    return mm.lmer(FORMULA, table), mm.lmer(SMALL, table)


def loaded(m: mm.FittedModel) -> mm.FittedModel:
    """What comes back from a file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "m.mm"
        mm.save(m, path)
        return mm.load(path)


Ask = Callable[[Any, Any], Any]
ASKS: dict[str, Ask] = {
    "fixef": lambda m, s: m.fixef(),
    "ranef": lambda m, s: m.ranef(),
    "coef": lambda m, s: m.coef(),
    "varcorr": lambda m, s: m.varcorr(),
    "glance": lambda m, s: m.glance(),
    "satterthwaite": lambda m, s: m.tidy(),
    "kenward-roger": lambda m, s: m.tidy(ddf="kenward-roger"),
    "type I": lambda m, s: mm.anova(m, type="I"),
    "type II": lambda m, s: mm.anova(m, type="II"),
    "type III": lambda m, s: mm.anova(m, type="III"),
    "likelihood ratio": lambda m, s: mm.anova(m, s),
    "aictab": lambda m, s: mm.aictab({"m": m.update(reml=False), "s": s.update(reml=False)}),
    "drop1": lambda m, s: mm.drop1(m),
    "ranova": lambda m, s: mm.ranova(m),
    "confint": lambda m, s: mm.confint(m),
    "profile": lambda m, s: mm.confint(s, method="profile"),
    "krmodcomp": lambda m, s: mm.krmodcomp(m, s),
    "satmodcomp": lambda m, s: mm.satmodcomp(m, s),
    "emmeans": lambda m, s: mm.emmeans(m, "treatm").frame(),
    "emmeans by cells": lambda m, s: mm.emmeans(
        m, "treatm", at={"late": 0}, weights="proportional"
    ).frame(),
    # two values of a number are a factor of two levels, which sums can tell
    "two values": lambda m, s: mm.emmeans(m, "late").frame(),
    "emtrends": lambda m, s: mm.emtrends(m, "treatm", "time").frame(),
    "update": lambda m, s: m.update(". ~ . - treatm").tidy(),
    "icc": lambda m, s: pd.DataFrame({"icc": [mm.icc(m).icc_adjusted]}),
    "r2": lambda m, s: pd.DataFrame({"r2": [mm.r2(m).r2_marginal, mm.r2(m).r2_conditional]}),
}


@pytest.mark.parametrize("kind", ["duckdb", "loaded"])
@pytest.mark.parametrize("ask", ASKS)
def test_same_numbers(ask: str, kind: str) -> None:
    found, reference = ASKS[ask](*models(kind)), ASKS[ask](*models("memory"))
    for name in reference.columns:
        if pd.api.types.is_numeric_dtype(reference[name].dtype):
            np.testing.assert_allclose(
                found[name].to_numpy(float), reference[name].to_numpy(float), rtol=1e-6, atol=1e-9
            )
        else:
            assert found[name].tolist() == reference[name].tolist()


def test_bootstrap_in_moment_space() -> None:
    found, reference = (mm.pbmodcomp(*models(k), n_sim=200, seed=1) for k in ("duckdb", "memory"))
    # the same draws through another root of one covariance
    np.testing.assert_allclose(found["p_value"], reference["p_value"], rtol=0.01)


@pytest.mark.parametrize("kind", ["duckdb", "loaded"])
def test_what_needs_rows_says_so(kind: str) -> None:
    m = models(kind)[0]
    for ask in (
        m.augment,
        m.residuals,
        m.predict,
        lambda: m.simulate(1, seed=1),
        lambda: m.refit(np.arange(297.0)),
        lambda: mm.check_model(m),
        lambda: mm.influence(m),
        lambda: mm.plot.calibration(m),
        lambda: mm.plot.conditional(m, "time"),
        lambda: mm.save(m, "m.mm", data=True),
    ):
        with pytest.raises(ModelError, match="fitted to sums, and its rows stay where they are"):
            ask()
    with pytest.raises(FormulaError, match=r"lack 'log\(time\)'"):
        m.update(". ~ . + log(time)")


@pytest.mark.parametrize("kind", ["duckdb", "loaded"])
def test_pages(kind: str, tmp_path: Path) -> None:
    m, small = models(kind)
    text = mm.tab_model(m, small).to_markdown()
    assert f"{m.beta[1]:.2f}" in text
    mm.report(m, path=tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Traceback" not in page
    assert "its rows stay where they are" in page


@pytest.mark.parametrize("kind", ["duckdb", "loaded"])
def test_plots_of_effects(kind: str) -> None:
    pytest.importorskip("plotnine")
    m, reference = models(kind)[0], models("memory")[0]
    # `late` of two values too
    for x, by in (("time", "treatm"), ("time", "late"), ("treatm", None)):
        found, expected = (mm.plot.effects(one, x, by=by).data for one in (m, reference))
        for name in ("prediction", "conf_low", "conf_high"):
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
        assert found["x"].tolist() == expected["x"].tolist()
    mm.plot.all_effects(m)
    with pytest.raises(
        ModelError, match=r"shows the rows.*mm\.plot\.effects draws the same curves"
    ):
        mm.plot.marginal(m, "time")


def test_a_file_of_a_model_of_sums(tmp_path: Path) -> None:
    # sums of other rows than the model's are found out
    m = models("duckdb")[0]
    path = tmp_path / "m.mm"
    mm.save(m, path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["model.json"])
    assert {"sums_n.npy", "sums_means.npy", "sums_codes_0.npy"} <= set(files)
    fewer = files | {"sums_n.npy": npy(np.load(io.BytesIO(files["sums_n.npy"])) + 1)}
    other = json.dumps(manifest | {"sums": manifest["sums"] | {"formula": "BW ~ __import__('os')"}})
    for changed in (fewer, files | {"model.json": other.encode()}):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in changed.items():
                archive.writestr(name, content)
        with pytest.raises(ModelError, match="does not hold a model as"):
            mm.load(path)


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def test_cells_of_a_number_are_not_known() -> None:
    with pytest.raises(ModelError, match="how often 'late' has each of its values"):
        mm.emmeans(models("duckdb")[0], "treatm", weights="proportional")


def test_prints() -> None:
    m = models("duckdb")[0]
    assert "the model does not hold its rows" in str(m.summary())
    assert "time" in str(m.bootstrap(20, seed=1))
    assert "animal" in str(m.pca())


def test_kind_of_frames() -> None:
    import polars as pl

    assert isinstance(models("polars")[0].tidy(), pl.DataFrame)
    assert isinstance(models("duckdb")[0].tidy(), pd.DataFrame)


def test_other_rows_are_seen() -> None:
    swapped = piglets().copy()
    # same mean and spread of the response, other rows
    swapped["BW"] = swapped["BW"].to_numpy()[::-1]
    other = mm.lmer(SMALL, as_table(swapped, "duckdb"))
    with pytest.raises(ModelError, match="was fitted to other rows"):
        mm.anova(models("duckdb")[0], other)
    few = mm.lmer(SMALL, as_table(piglets()[:200], "duckdb"))
    with pytest.raises(ModelError, match="likelihoods of different rows"):
        mm.anova(models("duckdb")[0], few)
