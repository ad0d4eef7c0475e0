"""Plots of random effects and of one regression per group."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.plot.modes import covariance, own_effects, standardised
from tests.plot.common import draw, intercepts, layer, piglets, slopes, titles


def test_caterpillar_shows_ranef_in_the_order_of_the_first_term() -> None:
    m = slopes()
    p = mm.plot.caterpillar(m, level=0.9, labels={"time": "Slope (kg/day)"})
    table = m.ranef()
    for term, name in (("Intercept", "Intercept"), ("time", "Slope (kg/day)")):
        own = p.data[p.data["term"] == name].set_index("level")
        expected = table[table["term"] == term].set_index("level").loc[own.index]
        np.testing.assert_allclose(own["estimate"], expected["estimate"], rtol=1e-12)
        half = 1.6448536269514722 * expected["std_error"]
        np.testing.assert_allclose(own["conf_high"], expected["estimate"] + half, rtol=1e-10)
        np.testing.assert_array_equal(own["apart"], np.abs(expected["estimate"]) > half)
    first = p.data[p.data["term"] == "Intercept"]
    assert (np.diff(first["estimate"]) >= 0).all()
    draw(p)


def test_many_levels_are_thinned_evenly() -> None:
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(1000), 4)
    m = mm.lmer("y ~ 1 + (1 | g)", {"y": rng.normal(size=1000)[g] + rng.normal(size=4000), "g": g})
    p = mm.plot.caterpillar(m)
    assert len(p.data) == 200
    b = m.ranef()["estimate"]
    assert p.data["estimate"].iloc[[0, -1]].tolist() == [b.min(), b.max()]
    assert "200 of 1,000 levels drawn" in titles(p)["caption"]
    draw(p)


def test_names_of_factors_are_checked() -> None:
    for name in ("caterpillar", "random_pairs", "shrinkage", "qq_random"):
        with pytest.raises(mm.ModelError, match="no grouping factor 'pig'; it has animal"):
            getattr(mm.plot, name)(slopes(), "pig")
        with pytest.raises(mm.ModelError, match="no random effects"):
            getattr(mm.plot, name)(mm.lm("BW ~ time", piglets()))
    with pytest.raises(mm.ModelError, match="one random effect per level"):
        mm.plot.random_pairs(intercepts())


def test_pairs_and_their_ellipse() -> None:
    m = slopes()
    p = mm.plot.random_pairs(m)
    np.testing.assert_array_equal(p.data["x"], m.effects[0][0])
    ring = layer(p, "path")[["x", "y"]].to_numpy()
    distance = np.einsum("ij,jk,ik->i", ring, np.linalg.inv(covariance(m, 0)), ring)
    np.testing.assert_allclose(distance, -2.0 * np.log(0.05), rtol=1e-8)
    three = mm.lmer("BW ~ time + I(time^2) + (time + I(time^2) || animal)", piglets())
    assert mm.plot.random_pairs(three).data["pair"].nunique() == 3
    draw(mm.plot.random_pairs(three))


def test_standardised_effects_have_unit_variance_over_data() -> None:
    # by simulation: modes of data drawn from the model, at its own variances
    from mixedmodels.plot.envelope import held

    m = mm.lmer("BW ~ time + (time | animal)", piglets().iloc[:260])
    draws = m.simulate(300, seed=12)
    z = np.stack([standardised(held(m, y), 0, 1) for y in draws])
    # 300 draws of 65 levels or so, which share fixed effects and sigma
    assert np.std(z) == pytest.approx(1.0, abs=0.03)


def test_terms_without_variance_have_no_panel() -> None:
    rng = np.random.default_rng(13)
    g = np.repeat(np.arange(20), 5)
    y = np.tile([0.0, 1.0, 2.0, 1.0, 0.0], 20) + rng.normal(size=100) * 0.1
    y -= pd.Series(y).groupby(g).transform("mean")
    with pytest.warns(mm.SingularFitWarning):
        m = mm.lmer("y ~ 1 + (1 | g)", {"y": y, "g": g})
    with pytest.raises(mm.ModelError, match="variance zero"):
        mm.plot.qq_random(m)
    draw(mm.plot.caterpillar(m))


@pytest.mark.parametrize("weighted", [False, True])
def test_own_regressions_are_least_squares_of_each_group(weighted: bool) -> None:
    w = np.random.default_rng(14).uniform(0.5, 2.0, 297) if weighted else None
    m = mm.lmer("BW ~ time + (time | animal)", piglets(), weights=w)
    own = own_effects(m, 0)
    for level, name in enumerate(m.design.groups[0].levels[:6]):
        rows = np.flatnonzero(piglets()["animal"].astype(str) == name)
        root = np.ones(len(rows)) if w is None else np.sqrt(w[rows])
        x = np.column_stack([np.ones(len(rows)), piglets()["time"].to_numpy()[rows]])
        y = piglets()["BW"].to_numpy()[rows]
        expected = np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
        np.testing.assert_allclose(own[:, level] + m.beta, expected, rtol=1e-8)


def test_shrinkage_points_from_own_to_model() -> None:
    m = mm.lmer("BW ~ time + (time | animal)", piglets())
    p = mm.plot.shrinkage(m)
    table = m.coef().pivot(index="level", columns="term", values="estimate").loc[p.data["level"]]
    np.testing.assert_allclose(p.data["x_model"], table["Intercept"], rtol=1e-10)
    np.testing.assert_allclose(p.data["y_model"], table["time"], rtol=1e-10)
    lists = mm.lm_list("BW ~ time | animal", piglets())
    np.testing.assert_allclose(p.data[["x", "y"]], lists.fits.estimates, rtol=1e-8)
    # in the metric of the model every group moves towards the middle
    root = np.linalg.cholesky(np.linalg.inv(covariance(m, 0)))
    before = np.linalg.norm((p.data[["x", "y"]].to_numpy() - m.beta) @ root, axis=1)
    after = np.linalg.norm((p.data[["x_model", "y_model"]].to_numpy() - m.beta) @ root, axis=1)
    assert (after < before).all()
    draw(p)
    draw(mm.plot.shrinkage(intercepts()))


def test_groups_without_a_regression_of_their_own_are_left_out() -> None:
    data = piglets()
    data = data[(data["animal"] != "58833") | (data["time"] == 0)]
    m = mm.lmer("BW ~ time + (time | animal)", data)
    p = mm.plot.shrinkage(m)
    assert len(p.data) == 74
    assert "1 group with too few rows" in titles(p)["caption"]


def test_intervals_of_a_list_are_those_of_coef() -> None:
    lists = mm.lm_list("BW ~ time | animal", piglets())
    p = mm.plot.group_intervals(lists, level=0.9)
    table = lists.coef(0.9, sd="pooled")
    own = p.data[p.data["term"] == "time"].set_index("level")
    expected = table[table["term"] == "time"].set_index("level").loc[own.index]
    np.testing.assert_allclose(own["conf_low"], expected["conf_low"], rtol=1e-10)
    np.testing.assert_allclose(own["middle"], expected["estimate"].mean(), rtol=1e-10)
    draw(p)
    with pytest.raises(TypeError, match="fits must be a list of regressions"):
        mm.plot.group_intervals(piglets())


def test_comparison_of_lists_counts_the_better() -> None:
    data = piglets().astype({"animal": str})
    data = data[data.groupby("animal")["BW"].transform("count") == 4]
    linear = mm.lm_list("BW ~ time | animal", data)
    quadratic = mm.lm_list("BW ~ time + I(time^2) | animal", data)
    p = mm.plot.compare_lists(linear, quadratic, "adj_r2", names=("lin", "quad"))
    table = linear.compare(quadratic, "adj_r2", names=("lin", "quad"))
    np.testing.assert_array_equal(p.data["x"], table["adj_r2_lin"])
    assert (p.data["best"] == "quad").sum() == (table["best"] == "adj_r2_quad").sum()
    draw(p)
