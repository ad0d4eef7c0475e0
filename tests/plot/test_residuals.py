"""Plots of residuals and normality: values against the model, bands against simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.plot.columns import SEED
from mixedmodels.plot.envelope import envelope, held, independent_band, model_band, positions
from mixedmodels.plot.smooth import smooth
from tests.plot.common import draw, intercepts, kinds, layer, piglets, slopes, titles


def test_residuals_are_those_of_the_model() -> None:
    m = slopes()
    p = mm.plot.residuals(m)
    np.testing.assert_array_equal(p.data["x"], m.fitted)
    np.testing.assert_array_equal(p.data["residual"], m.residuals("scaled"))
    p = mm.plot.residuals(m, "time", kind="marginal", labels={"time": "Time (days)"})
    np.testing.assert_array_equal(p.data["residual"], m.residuals("marginal"))
    assert titles(p)["x"] == "Time (days)"
    line = layer(p, "line")
    expected = pd.Series(m.residuals("marginal")).groupby(piglets()["time"].to_numpy()).mean()
    np.testing.assert_allclose(line["residual"], expected, rtol=1e-12)
    assert kinds(mm.plot.residuals(m, "treatm")) == ["hline", "boxplot"]
    values = mm.plot.scale_location(m).data["residual"]
    np.testing.assert_allclose(values**2, np.abs(m.residuals("scaled")), rtol=1e-12)


def test_columns_outside_the_formula_and_rows_left_out() -> None:
    data = piglets().assign(other=np.arange(297.0), day=pd.Timestamp("2024-01-01"))
    data["day"] += pd.to_timedelta(data["time"], unit="D")
    data.loc[3, "BW"] = np.nan
    m = mm.lmer("BW ~ time + (1 | animal)", data)
    p = mm.plot.residuals(m, "other")
    assert 3.0 not in p.data["x"].to_numpy()
    assert len(p.data) == 296
    draw(mm.plot.residuals(m, "day"))
    data.loc[5, "other"] = np.nan
    with pytest.raises(mm.DataError, match="no value in 1 of the 296 rows"):
        mm.plot.residuals(mm.lmer("BW ~ time + (1 | animal)", data), "other")
    with pytest.raises(mm.DataError, match=r"against=.*'tim' \(did you mean 'time'"):
        mm.plot.residuals(m, "tim")
    with pytest.raises(mm.DataError, match="holds labels"):
        mm.plot.scale_location(m, "treatm")
    with pytest.raises(mm.ModelError, match="kind must be"):
        mm.plot.residuals(m, kind="other")


def test_models_without_their_rows_say_so(tmp_path: object) -> None:
    path = f"{tmp_path}/m.zip"
    mm.save(slopes(), path)
    m = mm.load(path)
    for name in ("residuals", "qq", "qq_random", "calibration", "shrinkage"):
        with pytest.raises(mm.ModelError, match="without its rows"):
            getattr(mm.plot, name)(m)
    draw(mm.plot.caterpillar(m))
    draw(mm.plot.variance_partition(m))


def test_the_smoother_follows_a_curve_through_any_number_of_points() -> None:
    rng = np.random.default_rng(6)
    for n in (60, 50_000):
        x = rng.uniform(0, 6, n)
        at, curve = smooth(x, x**2 / 6.0 + rng.normal(size=n) * 0.01)
        inside = (at > 1) & (at < 5)
        assert np.abs(curve - at**2 / 6.0)[inside].max() < 0.6
        assert np.all(np.diff(at) > 0)
    # equal values of x and outliers leave no gap
    at, curve = smooth(np.repeat(np.arange(20.0), 30), rng.normal(size=600))
    assert np.isfinite(curve).all()


def test_a_held_model_is_the_model_when_the_response_is_its_own() -> None:
    for m in (slopes(), mm.lm("BW ~ time", piglets())):
        same = held(m, m.response)
        np.testing.assert_allclose(same.fitted, m.fitted, rtol=1e-10)
        assert same.sigma == pytest.approx(m.sigma, rel=1e-10)
        for a, b in zip(same.effects, m.effects, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


def test_weights_and_offsets_are_held_too() -> None:
    rng = np.random.default_rng(7)
    m = mm.lmer(
        "BW ~ time + (time | animal)",
        piglets(),
        weights=rng.uniform(0.5, 2.0, 297),
        offset=rng.normal(size=297),
    )
    np.testing.assert_allclose(held(m, m.response).fitted, m.fitted, rtol=1e-10)
    # least squares at held variances is linear in the response
    y = m.response + 3.0
    np.testing.assert_allclose(held(m, y).fitted, m.fitted + 3.0, rtol=1e-9)


def test_bands_hold_the_share_of_curves_that_they_promise() -> None:
    curves = np.sort(np.random.default_rng(8).normal(size=(400, 30)), axis=1)
    low, high = envelope(curves[:200])
    share = ((curves[:200] >= low) & (curves[:200] <= high)).all(axis=1).mean()
    assert share == pytest.approx(0.95, abs=0.005)
    fresh = ((curves[200:] >= low) & (curves[200:] <= high)).all(axis=1).mean()
    # quantiles of 200 curves: binomial error 0.02, and a little lost to the choice of the band
    assert 0.87 < fresh < 0.99


def test_quantiles_stay_inside_the_band_when_the_model_is_right() -> None:
    rng = np.random.default_rng(9)
    group = np.repeat(np.arange(25), 6)
    inside = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=25)[group] + rng.normal(size=150)
        m = mm.lmer("y ~ 1 + (1 | g)", {"y": y, "g": group})
        inside += bool(mm.plot.qq(m).data["inside"].all())
        inside += bool(mm.plot.qq_random(m).data["inside"].all())
    # 60 curves at 95 %: binomial(60, 0.95) is below 51 once in 300
    assert inside >= 51


def test_quantiles_leave_the_band_when_errors_are_not_normal() -> None:
    rng = np.random.default_rng(10)
    group = np.repeat(np.arange(40), 8)
    y = rng.normal(size=40)[group] + rng.standard_t(2, size=320)
    assert not mm.plot.qq(mm.lmer("y ~ 1 + (1 | g)", {"y": y, "g": group})).data["inside"].all()
    y = rng.exponential(size=40)[group] * 5.0 + rng.normal(size=320)
    m = mm.lmer("y ~ 1 + (1 | g)", {"y": y, "g": group})
    assert not mm.plot.qq_random(m).data["inside"].all()


def test_the_band_of_large_data_lies_about_what_simulation_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    m = intercepts()
    ranks = positions(m.n_obs)

    def curve(fit: object) -> np.ndarray:
        return np.sort(fit.residuals("scaled") if hasattr(fit, "tidy") else _scaled(fit))[ranks]

    full = model_band(m, curve, independent_band(ranks, m.n_obs))
    assert "199 responses" in full.note
    monkeypatch.setattr("mixedmodels.plot.envelope.MOST_SIMULATED", 1000)
    few = model_band(m, curve, independent_band(ranks, m.n_obs))
    assert "5 simulations" in few.note
    middle = slice(20, -20)
    np.testing.assert_allclose(few.middle[middle], full.middle[middle], atol=0.12)
    width = (few.high - few.low)[middle].mean() / (full.high - full.low)[middle].mean()
    assert 0.4 < width < 1.1  # by rank and not as a whole: narrower
    monkeypatch.setattr("mixedmodels.plot.envelope.MOST_SECONDS", 0.0)
    monkeypatch.setattr(type(m.objective.blocks), "seconds", 1.0, raising=False)
    nothing = independent_band(ranks, m.n_obs)
    assert model_band(m, curve, nothing) is nothing


def _scaled(fit: object) -> np.ndarray:
    from mixedmodels.model.predict import residuals

    return residuals(fit, "scaled")


def test_independent_bands_are_quantiles_of_order_statistics() -> None:
    from scipy import stats

    ranks = np.array([0, 4, 9])
    band = independent_band(ranks, 10)
    draws = np.sort(np.random.default_rng(SEED).normal(size=(40_000, 10)), axis=1)[:, ranks]
    np.testing.assert_allclose(band.low, np.quantile(draws, 0.025, axis=0), atol=0.03)
    np.testing.assert_allclose(band.high, np.quantile(draws, 0.975, axis=0), atol=0.03)
    np.testing.assert_allclose(band.middle, draws.mean(axis=0), atol=0.03)
    assert stats.norm.ppf(0.5) == pytest.approx(band.middle[1] + band.middle[1] * -1.0)


def test_ranks_drawn_hold_both_ends() -> None:
    ranks = positions(1_000_000)
    assert len(ranks) <= 400
    assert ranks[:5].tolist() == [0, 1, 2, 3, 4]
    assert ranks[-1] == 999_999
    assert np.all(np.diff(ranks) > 0)


def test_autocorrelation_agrees_with_a_loop_over_groups() -> None:
    m = slopes()
    p = mm.plot.autocorrelation(m, "time", max_lag=3)
    r = pd.DataFrame({"g": piglets()["animal"], "t": piglets()["time"], "r": m.residuals("scaled")})
    r = r.sort_values(["g", "t"])
    scale = (r["r"] ** 2).mean()
    for lag in (1, 2, 3):
        pairs = [
            (own.iloc[i], own.iloc[i + lag])
            for _, own in r.groupby("g", observed=True)["r"]
            for i in range(len(own) - lag)
        ]
        expected = np.mean([a * b for a, b in pairs]) / scale
        row = p.data[p.data["lag"] == lag].iloc[0]
        assert row["n"] == len(pairs)
        assert row["correlation"] == pytest.approx(expected, rel=1e-10)


def test_autocorrelation_finds_what_a_model_lacks() -> None:
    assert mm.plot.autocorrelation(slopes(), "time").data["inside"].all()
    # slopes that vary but are not in the model
    assert not mm.plot.autocorrelation(intercepts(), "time").data["inside"].all()
    with pytest.raises(mm.ModelError, match="max_lag"):
        mm.plot.autocorrelation(slopes(), max_lag=0)
    single = {"y": np.arange(6.0) ** 1.5, "x": np.arange(6.0), "g": list("abcdef")}
    with pytest.raises(mm.ModelError, match="no group has two rows"):
        mm.plot.autocorrelation(mm.lm("y ~ x", single), group="g")
    assert len(mm.plot.autocorrelation(mm.lm("BW ~ time", piglets()), group="animal").data) == 3


def test_every_plot_of_residuals_is_drawn() -> None:
    m = slopes()
    for p in (
        mm.plot.residuals(m),
        mm.plot.residuals(m, "treatm"),
        mm.plot.scale_location(m, "time"),
        mm.plot.qq(m),
        mm.plot.qq_random(m),
        mm.plot.residual_distribution(m),
        mm.plot.autocorrelation(m, "time"),
        mm.plot.influence(m),
        mm.plot.residuals_leverage(m),
    ):
        draw(p)


def test_influence_is_that_of_the_tables() -> None:
    m = slopes()
    p, table = mm.plot.influence(m), mm.influence(m)
    for name in ("cooks_distance", "leverage"):
        np.testing.assert_array_equal(p.data[name], table[name])
    assert set(layer(p, "point")["place"]) == set(table["cooks_distance"].nlargest(5).index)
    by_animal = mm.influence(m, "animal")
    p = mm.plot.influence(m, "animal", labels={"animal": "Piglet"})
    np.testing.assert_array_equal(p.data["cooks_distance"], by_animal["cooks_distance"])
    assert p.data["name"].tolist() == by_animal["level"].tolist()
    assert titles(p)["x"] == "Piglet"
    draw(p)
    p = mm.plot.dfbetas(m, "animal")
    own = p.data[p.data["term"] == "time"]
    np.testing.assert_array_equal(own["dfbetas"], by_animal["dfbetas_time"])
    limit = 2.0 / np.sqrt(75)
    assert (layer(p, "point")["dfbetas"].abs() > limit).all()
    draw(p)
    draw(mm.plot.dfbetas(mm.lm("BW ~ time", piglets())))


def test_rows_without_a_value_of_influence_are_left_out() -> None:
    data = piglets().assign(only=(np.arange(297) == 40) * 1.0)
    m = mm.lmer("BW ~ time + only + (1 | animal)", data)
    with pytest.warns(mm.DataWarning, match="not determined"):
        p = mm.plot.influence(m)
    assert len(p.data) == 296
