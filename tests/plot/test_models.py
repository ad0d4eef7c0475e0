"""Plots of predictions, comparisons, clusters, profiles, bootstrap and marginal means."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.plot.emm import arrow_lengths
from mixedmodels.plot.pages import axis_and_colour, together
from tests.plot.common import PIGS, draw, intercepts, kinds, layer, piglets, slopes, titles


def test_calibration_holds_both_kinds_of_fitted_values() -> None:
    m = slopes()
    p = mm.plot.calibration(m, labels={"BW": "Body weight (kg)"})
    marginal, conditional = (
        p.data[p.data["part"] == name] for name in p.data["part"].cat.categories
    )
    np.testing.assert_array_equal(marginal["fitted"], m.fixed_part)
    np.testing.assert_array_equal(conditional["fitted"], m.fitted)
    np.testing.assert_allclose(conditional["observed"], piglets()["BW"], rtol=1e-12)
    assert titles(p)["y"] == "observed: Body weight (kg)"
    draw(p)
    draw(mm.plot.calibration(mm.lmer("BW ~ 1 + (1 | animal)", piglets())))
    draw(mm.plot.calibration(mm.lm("BW ~ time", piglets())))


def test_conditional_curves_are_predictions_for_each_group() -> None:
    m = slopes()
    p = mm.plot.conditional(m, "time", by="treatm")
    new = p.data.rename(columns={"x": "time", "level": "animal", "by": "treatm"})
    expected = m.predict(new[["time", "animal", "treatm"]].astype({"animal": str, "treatm": str}))
    np.testing.assert_allclose(p.data["prediction"], expected, rtol=1e-12)
    ends = p.data.groupby("level", observed=True)["x"].agg(["min", "max"])
    assert ends.loc["59003"].tolist() == [0.0, 14.0]  # not weighed at day 21
    draw(p)
    q = mm.plot.conditional(m, "time", facets=True)
    assert q.data["level"].nunique() == 20
    assert "20 of 75 groups drawn" in titles(q)["caption"]
    draw(q)


def test_conditional_of_labels_offsets_weights_and_missing_rows() -> None:
    data = piglets().assign(w=1.5, o=np.linspace(0, 1, 297), day=piglets()["time"].astype(str))
    data.loc[7, "BW"] = np.nan
    m = mm.lmer("BW ~ factor(time) + treatm + (1 | animal)", data, weights="w", offset=data["o"])
    p = mm.plot.conditional(m, "time")
    assert list(p.data["x"].cat.categories) == ["0", "7", "14", "21"]
    draw(p)
    draw(mm.plot.conditional(m, "treatm"))  # constant within animals: points without lines
    with pytest.raises(mm.ModelError, match="do not depend on 'tim'"):
        mm.plot.conditional(m, "tim")


def test_marginal_curve_is_the_population_prediction() -> None:
    m = mm.lmer("BW ~ time + I(time^2) + (time | animal)", piglets())
    p = mm.plot.marginal(m, "time", ddf="none")
    table = m.predict(pd.DataFrame({"time": p.data["x"]}), random=False, interval="confidence")
    np.testing.assert_allclose(p.data["prediction"], table["prediction"], rtol=1e-10)
    np.testing.assert_allclose(p.data["conf_low"], table["conf_low"], rtol=1e-10)
    assert kinds(p) == ["point", "ribbon", "line"]
    np.testing.assert_allclose(layer(p, "point")["prediction"], piglets()["BW"], rtol=1e-12)
    draw(p)


def test_marginal_averages_over_the_other_columns() -> None:
    m = slopes()
    table = mm.plot.marginal(m, "time", ddf="none").data
    share = piglets()["treatm"].value_counts(normalize=True)
    grid = pd.concat(
        [pd.DataFrame({"time": table["x"], "treatm": k, "share": s}) for k, s in share.items()]
    )
    grid["p"] = m.predict(grid[["time", "treatm"]], random=False).to_numpy()
    expected = (grid["p"] * grid["share"]).groupby(grid["time"]).sum()
    np.testing.assert_allclose(table["prediction"], expected, rtol=1e-10)


def test_effects_by_factor_and_by_number() -> None:
    m = mm.lmer("BW ~ time * treatm + (time | animal)", piglets())
    p = mm.plot.effects(m, "treatm", by="time")
    assert list(p.data["by"].cat.categories) == ["0", "7", "14", "21"]
    table = m.predict(
        pd.DataFrame({"time": p.data["by"].astype(float), "treatm": p.data["x"].astype(str)}),
        random=False,
    )
    np.testing.assert_allclose(p.data["prediction"], table, rtol=1e-10)
    draw(p)
    draw(mm.plot.effects(m, "time", by="treatm"))
    draw(mm.plot.marginal(m, "treatm"))
    rng = np.random.default_rng(15)
    data = piglets().assign(z=rng.normal(size=297))
    p = mm.plot.effects(mm.lmer("BW ~ time * z + (1 | animal)", data), "time", by="z")
    assert p.data["by"].nunique() == 3
    with pytest.raises(mm.ModelError, match="do not depend on 'animal'"):
        mm.plot.marginal(m, "animal")
    with pytest.raises(mm.ModelError, match="both"):
        mm.plot.marginal(m, "time", by="time")
    only = mm.lmer("BW ~ 1 + (0 + time | animal)", piglets())
    with pytest.raises(mm.ModelError, match="random part only"):
        mm.plot.marginal(only, "time")


def test_all_effects_are_those_of_each_and_share_a_scale() -> None:
    rng = np.random.default_rng(18)
    data = piglets().assign(z=rng.normal(size=297), sex=np.resize(["f", "m"], 297))
    m = mm.lmer("BW ~ time * treatm + I(time^2) + z:sex + sex + (1 | animal)", data)
    assert together(m) == [("time", "treatm"), ("sex", "z")]
    page = mm.plot.all_effects(m, labels={"time": "Day"})
    first, second = list(page)
    assert [plot.labels.title for plot in (first, second)] == ["Day x treatm", "sex x z"]
    for plot, x, by in ((first, "time", "treatm"), (second, "z", "sex")):
        pd.testing.assert_frame_equal(plot.data, mm.plot.effects(m, x, by=by).data)
    assert first.coordinates.limits.y == second.coordinates.limits.y
    low, high = first.coordinates.limits.y
    assert low < min(p.data["conf_low"].min() for p in (first, second))
    assert high > max(p.data["conf_high"].max() for p in (first, second))
    draw(page)
    assert axis_and_colour(m, ["sex", "z"]) == ("z", "sex")
    assert axis_and_colour(m, ["sex", "treatm"]) == ("treatm", "sex")
    with pytest.raises(mm.ModelError, match="no column in its fixed part"):
        mm.plot.all_effects(mm.lmer("BW ~ 1 + (1 | animal)", piglets()))


def test_all_residuals_are_those_against_each_column() -> None:
    m = mm.lmer("BW ~ time + treatm + (1 | animal)", piglets())
    above, below = list(mm.plot.all_residuals(m))
    plots = [*above, next(iter(below))]
    for plot, column in zip(plots, (None, "time", "treatm"), strict=True):
        pd.testing.assert_frame_equal(plot.data, mm.plot.residuals(m, column).data)
    wide = pd.DataFrame({f"x{k}": np.random.default_rng(k).normal(size=40) for k in range(24)})
    wide["y"] = np.random.default_rng(99).normal(size=40)
    with pytest.raises(mm.ModelError, match="has 24 columns, a page holds 23"):
        mm.plot.all_residuals(mm.lm("y ~ " + " + ".join(wide.columns[:24]), wide))
    everything = mm.lm(
        "y ~ " + " + ".join(wide.columns[:24]) + " + z", wide.assign(z=wide["y"] ** 2)
    )
    with pytest.raises(mm.ModelError, match="has 25 effects, a page holds 24"):
        mm.plot.all_effects(everything)


def test_coefficients_are_those_of_tidy() -> None:
    models = {"one": intercepts(), "two": slopes()}
    p = mm.plot.coefficients(models, level=0.9, intercept=True)
    for name, m in models.items():
        own = p.data[p.data["model"] == name].set_index("term")
        table = m.tidy(level=0.9).set_index("term")
        np.testing.assert_allclose(own["conf_low"], table["conf_low"].loc[own.index], rtol=1e-12)
    assert list(p.data["model"].cat.categories) == ["two", "one"]  # counted from below
    draw(p)
    draw(mm.plot.coefficients(slopes()))
    with pytest.raises(mm.ModelError, match="no coefficient to draw"):
        mm.plot.coefficients(mm.lmer("BW ~ 1 + (1 | animal)", piglets()))
    with pytest.raises(TypeError, match="fitted models"):
        mm.plot.coefficients(slopes(), "BW ~ time")
    with pytest.raises(mm.ModelError, match="at most 12"):
        mm.plot.coefficients([slopes()] * 13)


def test_weights_and_variances_are_those_of_the_tables() -> None:
    models = {
        name: mm.lmer(f"BW ~ {fixed} + (1 | animal)", piglets(), reml=False)
        for name, fixed in (("I", "1"), ("L", "time"), ("Q", "time + I(time^2)"))
    }
    p = mm.plot.model_weights(models)
    table = mm.aictab(models)
    assert p.data["model"].tolist() == table["model"].tolist()
    np.testing.assert_array_equal(p.data["weight"], table["aicc_weight"])
    draw(p)
    p = mm.plot.variance_partition(models)
    shares = p.data.pivot(index="model", columns="source", values="share")
    for name, m in models.items():
        assert shares.loc[name, "fixed effects"] == pytest.approx(
            mm.r2(m)["r2_marginal"], abs=1e-12
        )
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    draw(p)
    draw(mm.plot.variance_partition(slopes()))


def test_clusters_and_their_criteria() -> None:
    found = mm.cluster_trajectories(piglets(), k=range(2, 5), n_starts=5, **PIGS)
    p = mm.plot.clusters(found, 3)
    assert [c[0] for c in p.data["cluster"].cat.categories] == ["A", "B", "C"]
    np.testing.assert_allclose(p.data["response"], found.choose(3).means["mean"], rtol=1e-12)
    assert layer(p, "line")["line"].nunique() == 75
    draw(p)
    draw(mm.plot.clusters(found, facets=True))
    p = mm.plot.criteria(found, ["bic", "silhouette"])
    expected = found.criteria.set_index("k")
    for name, text in (("bic", "BIC"), ("silhouette", "Silhouette")):
        own = p.data[p.data["criterion"] == text]
        np.testing.assert_allclose(own["value"], expected[name], rtol=1e-12)
        assert own.loc[own["best"], "k"].tolist() == [expected[name].idxmax()]
    draw(p)
    with pytest.raises(mm.ModelError, match="unknown criteria"):
        mm.plot.criteria(found, ["gap"])
    with pytest.raises(TypeError, match="cluster_trajectories"):
        mm.plot.clusters(piglets())


def test_profiles_and_their_densities() -> None:
    from scipy.integrate import trapezoid
    from scipy.stats import norm

    pr = mm.profile(intercepts())
    p = mm.plot.profile_density(pr)
    for _, own in p.data.groupby("parameter", observed=True):
        inside = norm.cdf(own["zeta"].iloc[-1]) - norm.cdf(own["zeta"].iloc[0])
        assert trapezoid(own["density"], own["value"]) == pytest.approx(inside, abs=1e-3)
        assert (np.diff(own["zeta"]) > 0).all()
    limits = layer(p, "vline")
    table = pr.confint()
    own = limits[limits["parameter"] == "time"]["value"].sort_values()
    row = table[table["term"] == "time"].iloc[0]
    np.testing.assert_allclose(own, [row["conf_low"], row["estimate"], row["conf_high"]])
    draw(p)
    draw(mm.plot.profile_zeta(pr))
    with pytest.raises(TypeError, match="pr must be a profile"):
        mm.plot.profile_zeta(intercepts())


def test_profiles_that_end_at_a_boundary_are_drawn() -> None:
    rng = np.random.default_rng(16)
    g = np.repeat(np.arange(12), 4)
    y = 0.3 * rng.normal(size=12)[g] + rng.normal(size=48)
    with pytest.warns(mm.SingularFitWarning):
        m = mm.lmer("y ~ 1 + (1 | g)", {"y": y, "g": g}, reml=False)
    pr = mm.profile(m)
    draw(mm.plot.profile_zeta(pr))
    draw(mm.plot.profile_density(pr))


def test_bootstrap_histograms_hold_the_replicates() -> None:
    b = intercepts().bootstrap(60, seed=1)
    p = mm.plot.bootstrap_density(b, ["time", "sigma"])
    own = p.data[p.data["term"] == "sigma"]["value"]
    np.testing.assert_array_equal(own, b.replicates[:, b.names.index("sigma")])
    draw(p)
    with pytest.raises(mm.ModelError, match=r"no \['tim'\]"):
        mm.plot.bootstrap_density(b, ["tim"])


def test_arrows_overlap_just_where_means_do_not_differ() -> None:
    rng = np.random.default_rng(17)
    for k in (2, 3, 5, 8):
        for _ in range(10):
            mean, se = rng.normal(size=k) * 3.0, rng.uniform(0.5, 1.0, k)
            pairs = np.array(list(combinations(range(k), 2)))
            margin = 2.5 * np.sqrt((se[pairs] ** 2).sum(axis=1))
            left, right, wrong = arrow_lengths(mean, pairs, margin)
            told = 0
            for (i, j), c in zip(pairs, margin, strict=True):
                low, high = (i, j) if mean[i] < mean[j] else (j, i)
                overlap = mean[low] + right[low] >= mean[high] - left[high]
                told += bool(overlap) == bool(mean[high] - mean[low] <= c)
            assert told == len(pairs) - wrong
            assert wrong <= len(pairs) // 20
            assert right[np.argmax(mean)] == left[np.argmin(mean)] == 0.0


def test_marginal_means_are_those_of_the_grid() -> None:
    m = mm.lmer("BW ~ time * treatm + (time | animal)", piglets())
    grid = mm.emmeans(m, "treatm", at={"time": [0, 21]}, by="time")
    p = mm.plot.emmeans(grid)
    table = grid.to_pandas()
    np.testing.assert_allclose(p.data["mean"], table["emmean"], rtol=1e-12)
    np.testing.assert_allclose(p.data["conf_high"], table["conf_high"], rtol=1e-12)
    assert p.data["panel"].nunique() == 2
    # no treatments differ at day 0: all arrows overlap
    first = p.data[p.data["panel"] == "0"]
    assert first["arrow_low"].max() <= first["arrow_high"].min()
    draw(p)
    slopes_of = mm.plot.emmeans(mm.emtrends(m, "treatm", "time"))
    assert titles(slopes_of)["y"] == "slope in time"
    draw(slopes_of)
    assert mm.plot.emmeans(grid, arrows=False).data["arrow_low"].isna().all()
    with pytest.raises(TypeError, match="grid must be marginal means"):
        mm.plot.emmeans(m)


def test_nothing_is_loaded_before_the_first_plot() -> None:
    code = (
        "import sys, mixedmodels as mm\n"
        "mm.plot.qq\n"
        "heavy = {'matplotlib', 'plotnine', 'mizani', 'statsmodels', 'sklearn', 'scipy.stats'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_function_is_documented_and_in_the_gallery() -> None:
    import mixedmodels.plot as plot

    gallery = (Path(__file__).parents[2] / "docs" / "gallery.md").read_text(encoding="utf-8")
    names = [name for name in dir(plot) if callable(getattr(plot, name))]
    for name in names:
        text = getattr(plot, name).__doc__
        for part in ("Parameters", "Returns", "Examples"):
            assert part in text, f"{name} lacks {part}"
        assert f"mm.plot.{name}(" in gallery, f"docs/gallery.md does not show {name}"


def test_pictures_of_the_gallery_are_small_and_all_used() -> None:
    docs = Path(__file__).parents[2] / "docs"
    used = set(re.findall(r"\(images/(.*?)\)", (docs / "gallery.md").read_text(encoding="utf-8")))
    found = {path.name: path.stat().st_size for path in (docs / "images").glob("*.png")}
    assert used <= set(found)
    assert max(found[name] for name in used) < 70_000
