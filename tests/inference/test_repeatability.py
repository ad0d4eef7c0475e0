"""Repeatability: parts by another route, the exact bootstrap of a balanced layout, messages."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.inference import parameters
from mixedmodels.inference.repeatability import shares_of
from tests.reference import data

COLUMNS = ["group", "repeatability", "std_error", "conf_low", "conf_high", "p_value"]


@cache
def frame():
    rng = np.random.default_rng(8)
    n = 200
    g, h = rng.integers(0, 20, n), rng.integers(0, 6, n)
    x, z = rng.normal(3.0, 1.0, n), rng.uniform(-1, 1, n)
    y = x + rng.normal(size=20)[g] + 0.5 * rng.normal(size=20)[g] * x
    y += 0.7 * rng.normal(size=6)[h] + rng.normal(size=n)
    return pd.DataFrame(
        {
            "y": y,
            "x": x,
            "z": z,
            "w": rng.uniform(0.5, 2.0, n),
            "g": [f"g{i:02d}" for i in g],
            "h": [f"h{i}" for i in h],
        }
    )


def fitted(formula, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        return mm.lmer(formula, frame(), **options)


FORMULAS = [
    "y ~ x + (x | g) + (1 | h)",
    "y ~ x + (x + z || g) + (0 + x | h)",
    "y ~ x + (x | g) + (0 + z | g)",
    "y ~ x + (x + z | h)",  # singular
]


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("formula", FORMULAS)
def test_shares_from_standard_deviations_and_correlations(formula, weights):
    """The bootstrap's route, in the user's columns, gives what `icc` takes from working ones."""
    m = fitted(formula, weights=weights)
    values = np.repeat(parameters.values(m)[None], 3, axis=0)
    expected = list(mm.icc(m, weight=2.0).by_group.values())
    for row in shares_of(m, values, 2.0):
        assert row.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_the_exact_distribution_of_a_balanced_layout():
    """Dyestuff, 6 batches of 5: mean squares are chi-squares, REML estimates their functions."""
    m = mm.lmer("Yield ~ 1 + (1 | Batch)", data.load("Dyestuff"))
    n_sim, rng = 4000, np.random.default_rng(2)
    within = m.sigma**2
    between = within + 5 * m.varcorr()["variance"].iloc[0]
    msb = between * rng.chisquare(5, 100_000) / 5
    mse = within * rng.chisquare(24, 100_000) / 24
    # a batch variance of zero pools both: the share is zero all the same
    exact = np.maximum(msb - mse, 0.0) / (np.maximum(msb - mse, 0.0) + 5 * mse)
    row = mm.repeatability(m, n_sim=n_sim, level=0.8, seed=5).iloc[0]
    shares = [np.mean(exact < row["conf_low"]), np.mean(exact < row["conf_high"])]
    # four standard errors of a simulated share
    assert shares == pytest.approx([0.1, 0.9], abs=4 * np.sqrt(0.09 / n_sim))
    assert row["std_error"] == pytest.approx(exact.std(), rel=0.05)
    assert row["repeatability"] == mm.icc(m).icc_adjusted
    half = mm.ranova(m)["p_value"].iloc[1] / 2
    assert row["p_value"] == pytest.approx(half, rel=1e-12)


def test_intervals_cover_the_shares_of_refits():
    """Crossed factors, fitted one by one to simulated responses: four of five lie inside."""
    m = fitted("y ~ x + (1 | g) + (1 | h)")
    table = mm.repeatability(m, n_sim=1000, seed=1, level=0.8)
    assert table["group"].tolist() == ["g", "h"]
    assert np.isfinite(table["p_value"]).all()
    shares = np.asarray(m.bootstrap(60, lambda f: mm.icc(f).by_group, seed=3))
    low, high = table["conf_low"].to_numpy(), table["conf_high"].to_numpy()
    inside = ((shares >= low) & (shares <= high)).mean(axis=0)
    assert inside.tolist() == pytest.approx([0.8, 0.8], abs=4 * np.sqrt(0.16 / 60))


def test_seed_groups_and_kinds_of_intervals():
    m = fitted("y ~ x + (x | g)")
    table = mm.repeatability(m, n_sim=100, seed=1)
    assert list(table.columns) == COLUMNS
    assert np.isnan(table["p_value"].iloc[0])  # two variances: not simple
    pd.testing.assert_frame_equal(table, mm.repeatability(m, n_sim=100, seed=1, group="g"))
    basic = mm.repeatability(m, n_sim=100, seed=1, kind="basic").iloc[0]
    percentile = table.iloc[0]
    reflected = 2 * percentile["repeatability"] - percentile["conf_high"]
    assert basic["conf_low"] == pytest.approx(reflected, rel=1e-12)
    bca = mm.repeatability(m, n_sim=100, seed=1, kind="bca").iloc[0]
    assert bca["conf_low"] < bca["repeatability"] < bca["conf_high"]


def test_messages():
    m = fitted("y ~ x + (1 | g)")
    with pytest.raises(mm.ModelError, match=r"group=\['k'\] names no grouping factor .* has g"):
        mm.repeatability(m, group=["g", "k"])
    with pytest.raises(mm.ModelError, match="kind must be 'percentile', 'basic' or 'bca'"):
        mm.repeatability(m, kind="exact", n_sim=10)
    with pytest.raises(mm.ModelError, match="n_sim must be a whole number"):
        mm.repeatability(m, n_sim=0)
    with pytest.raises(mm.ModelError, match="level must lie between"):
        mm.repeatability(m, level=2)
    with pytest.raises(mm.ModelError, match="no random terms"):
        mm.repeatability(mm.lm("y ~ x", frame()))
    with pytest.raises(TypeError, match="must be a fitted model"):
        mm.repeatability("m")


def test_polars():
    pl = pytest.importorskip("polars")
    m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets", backend="polars"))
    assert isinstance(mm.repeatability(m, n_sim=20, seed=1), pl.DataFrame)
