"""Many models at once are the models one by one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedmodels as mm
from mixedmodels.errors import ConvergenceWarning, DataError, ModelError, SingularFitWarning

FORMULA = "y ~ x + (x | g)"


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    n = 720
    d = pd.DataFrame(
        {
            "x": np.tile(np.arange(10.0), 72),
            "g": np.repeat(np.arange(72) % 18, 10),
            "part": np.repeat(["a", "b", "c", "d"], 180),
            "half": np.repeat([1, 2], 360),
        }
    )
    effect = rng.normal(size=(72, 2)) * [2.0, 0.5]
    group = np.repeat(np.arange(72), 10)
    d["y"] = effect[group, 0] + (1 + effect[group, 1]) * d["x"] + rng.normal(size=n)
    return d


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_segments(n_jobs: int) -> None:
    d = rows().sample(frac=1.0, random_state=0).reset_index(drop=True)
    many = mm.fit_many(FORMULA, d, by="part", n_jobs=n_jobs)
    assert many.labels == {"part": ["a", "b", "c", "d"]}
    for part in "abcd":
        m = mm.lmer(FORMULA, d[d["part"] == part])
        own = many.tidy().query("part == @part").drop(columns="part").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, m.tidy(), rtol=1e-9)
        sigma = many.variances().query("part == @part and parameter == 'sigma'")["estimate"]
        assert sigma.item() == pytest.approx(m.sigma, rel=1e-9)
        figures = many.glance().query("part == @part").iloc[0]
        assert figures["n_obs"] == 180
        assert figures["aic"] == pytest.approx(m.aic)


def test_segments_of_several_columns() -> None:
    many = mm.fit_many("y ~ x", rows(), by=["half", "part"], ddf="none")
    assert many.labels == {"half": [1, 1, 2, 2], "part": ["a", "b", "c", "d"]}
    o = mm.lm("y ~ x", rows()[:180])
    np.testing.assert_allclose(many.tidy()["p_value"][:2], o.tidy()["p_value"], rtol=1e-9)
    assert set(many.variances()["parameter"]) == {"sigma"}


def test_responses() -> None:
    d = rows()[:180].reset_index(drop=True)
    rng = np.random.default_rng(0)
    for k in range(4):
        d[f"out {k}"] = d["y"] + rng.normal(size=180)
    d.loc[7, "out 2"] = np.nan
    names = [f"out {k}" for k in range(4)]
    many = mm.fit_many("whatever ~ x + (x | g)", pl.from_pandas(d), responses=names)
    assert isinstance(many.tidy(), pl.DataFrame)
    for name in names:
        m = mm.lmer(f"`{name}` ~ x + (x | g)", d)
        own = many.tidy().filter(pl.col("response") == name)
        np.testing.assert_allclose(own["estimate"], m.beta, rtol=1e-8)
        np.testing.assert_allclose(own["std_error"], m.tidy()["std_error"], rtol=1e-6)
    assert many.glance()["n_obs"].to_list() == [180, 180, 179, 180]


def test_failures_are_counted() -> None:
    d = rows()
    d.loc[d["part"] == "c", "g"] = 1
    with pytest.warns(ConvergenceWarning, match="1 of 4 models could not.*'c': .*has 1 level"):
        many = mm.fit_many(FORMULA, d, by="part")
    assert list(many.failed) == ["c"]
    assert set(many.tidy()["part"]) == {"a", "b", "d"}
    assert repr(many) == "<4 models y ~ x + (x | g), 1 failed>"
    flat = rows().assign(y=np.random.default_rng(3).normal(size=720))
    with pytest.warns(SingularFitWarning, match="models are singular"):
        mm.fit_many(FORMULA, flat, by="part")


def test_what_is_asked() -> None:
    for options in ({}, {"by": "part", "responses": ["y"]}):
        with pytest.raises(ModelError, match="give by="):
            mm.fit_many(FORMULA, rows(), **options)
    with pytest.raises(DataError, match="no column 'prt'"):
        mm.fit_many(FORMULA, rows(), by="prt")
    with pytest.raises(DataError, match="no column 'z'"):
        mm.fit_many(FORMULA, rows(), responses=["y", "z"])
