"""Marginal means: identities, invariances, kinds of input, printing, refusals."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from mixedmodels.inference.contrasts import make_contrasts
from mixedmodels.inference.estimates import estimates
from mixedmodels.model.estimable import estimable
from tests.reference import data

COLUMNS = ["emmean", "std_error", "df", "conf_low", "conf_high", "statistic", "p_value"]


def sample(n: int = 240, seed: int = 3) -> pd.DataFrame:
    """Unbalanced factors, a covariate far from zero, a number with two values, groups."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.choice(["u", "v", "w"], n, p=[0.5, 0.3, 0.2]),
            "b": rng.choice(["k", "l"], n, p=[0.7, 0.3]),
            "dose": rng.choice([0.0, 2.5, 10.0], n),
            "half": rng.choice([3.0, 5.0], n),
            "x": rng.normal(4.0, 1.5, n),
            "g": rng.integers(0, 12, n).astype(str),
            "w": rng.uniform(0.5, 2.0, n),
            "o": rng.normal(1.0, 1.0, n),
        }
    )
    mean = (frame["a"] == "v") + 0.3 * frame["x"] * (frame["b"] == "l") + 0.1 * frame["dose"]
    groups = rng.normal(size=12)[frame["g"].astype(int)]
    return frame.assign(y=mean + 0.2 * frame["half"] + groups + rng.normal(size=n))


FRAME = sample()
MODEL = mm.lmer("y ~ a * b + x + factor(dose) + half + (1 | g)", FRAME)


# --- identities -----------------------------------------------------------------------------------


def test_balanced_means_are_the_means_of_the_data() -> None:
    machines = data.load("Machines")
    model = mm.lmer("score ~ Machine + (1 | Worker/Machine)", machines)
    raw = machines.groupby("Machine", observed=True)["score"].mean()
    means = mm.emmeans(model, "Machine")
    assert means["Machine"].tolist() == list(raw.index)
    assert_allclose(means["emmean"], raw, rtol=1e-12)


def test_means_of_a_saturated_linear_model_are_cell_means() -> None:
    model = mm.lm("y ~ a * b", FRAME)
    means = mm.emmeans(model, ["a", "b"]).to_pandas().set_index(["a", "b"])
    cells = FRAME.groupby(["a", "b"])["y"].agg(["mean", "count"])
    assert_allclose(means["emmean"].loc[cells.index], cells["mean"], rtol=1e-12)
    error = model.sigma / np.sqrt(cells["count"])
    assert_allclose(means["std_error"].loc[cells.index], error, rtol=1e-12)
    assert (means["df"] == model.df_resid).all()


def test_weights_of_cells_give_the_margins_of_a_saturated_model() -> None:
    model = mm.lm("y ~ a * b", FRAME)
    means = mm.emmeans(model, "a", weights="cells")
    assert_allclose(means["emmean"], FRAME.groupby("a")["y"].mean(), rtol=1e-12)


def test_proportional_weights_are_means_of_predictions() -> None:
    model = mm.lm("y ~ a * b", FRAME)
    means = mm.emmeans(model, "a", weights="proportional")
    for level, mean in zip(means["a"], means["emmean"], strict=True):
        assert_allclose(mean, model.predict(FRAME.assign(a=level)).mean(), rtol=1e-12)


def test_prior_weights_count_as_frequencies() -> None:
    model = mm.lm("y ~ a * b", FRAME, weights="w")
    means = mm.emmeans(model, "a", weights="proportional")
    for level, mean in zip(means["a"], means["emmean"], strict=True):
        predicted = model.predict(FRAME.assign(a=level))
        assert_allclose(mean, np.average(predicted, weights=FRAME["w"]), rtol=1e-12)


def test_means_are_population_predictions_on_the_grid() -> None:
    at = {"x": [1.0, 6.0], "dose": [10, 0], "half": 4.0}
    means = mm.emmeans(MODEL, ["a", "b", "x", "dose"], at=at)
    rows = means.to_pandas().assign(half=4.0)
    assert_allclose(means["emmean"], MODEL.predict(rows, random=False), rtol=1e-12)
    assert rows["dose"].tolist() == [10] * 12 + [0] * 12
    assert rows["a"].tolist() == ["u", "v", "w"] * 8


def test_covariates_are_held_at_their_means_and_two_values_are_a_factor() -> None:
    means = mm.emmeans(MODEL, "a", at={"dose": 0, "b": "k"})
    by_hand = [
        np.mean([_prediction(a=a, b="k", dose=0.0, half=h, x=FRAME["x"].mean()) for h in (3, 5)])
        for a in ("u", "v", "w")
    ]
    assert_allclose(means["emmean"], by_hand, rtol=1e-12)
    assert mm.emmeans(MODEL, "half")["half"].tolist() == [3.0, 5.0]


def _prediction(**row: Any) -> float:
    return float(MODEL.predict(pd.DataFrame([row]), random=False)[0])


@pytest.mark.parametrize("term", ["poly(x, 2)", "x + I(x^2)", "log(x + 20)", "scale(x)"])
def test_transforms_are_taken_at_the_value_of_the_variable(term: str) -> None:
    model = mm.lmer(f"y ~ a * ({term}) + (1 | g)", FRAME)
    means = mm.emmeans(model, "a")
    rows = pd.DataFrame({"a": ["u", "v", "w"], "x": FRAME["x"].mean()})
    assert_allclose(means["emmean"], model.predict(rows, random=False), rtol=1e-10)


def test_offsets_are_added() -> None:
    given = mm.lmer("y ~ a + (1 | g)", FRAME, offset="o")
    plain = mm.lmer("y ~ a + (1 | g)", FRAME.assign(y=FRAME["y"] - FRAME["o"]))
    values = mm.lmer("y ~ a + (1 | g)", FRAME, offset=FRAME["o"].to_numpy())
    formula = mm.lmer("y ~ a + offset(o) + (1 | g)", FRAME)
    wanted = plain_means = mm.emmeans(plain, "a")["emmean"] + FRAME["o"].mean()
    for model in (given, values, formula):
        assert_allclose(mm.emmeans(model, "a")["emmean"], wanted, rtol=1e-9)
    at = mm.emmeans(formula, "a", at={"o": 0.0})["emmean"] + FRAME["o"].mean()
    assert_allclose(at, plain_means, rtol=1e-9)


def test_only_rows_of_the_fit_count() -> None:
    frame = FRAME.copy()
    frame.loc[::7, "y"] = np.nan
    frame.loc[3::11, "b"] = None
    model = mm.lmer("y ~ a + b + x + (1 | g)", frame)
    kept = frame.dropna(subset=["y", "b"])
    again = mm.lmer("y ~ a + b + x + (1 | g)", kept)
    for weights in ("equal", "proportional", "cells"):
        ours = mm.emmeans(model, "a", weights=weights)["emmean"]
        assert_allclose(ours, mm.emmeans(again, "a", weights=weights)["emmean"], rtol=1e-9)


def test_the_overall_mean() -> None:
    overall = mm.emmeans(MODEL, "~ 1")
    assert list(overall.columns) == COLUMNS
    assert_allclose(overall["emmean"], [mm.emmeans(MODEL, "a")["emmean"].mean()], rtol=1e-12)
    simple = mm.lm("y ~ 1", FRAME)
    assert_allclose(mm.emmeans(simple, "1")["emmean"], [FRAME["y"].mean()], rtol=1e-12)


def test_contrasts_are_those_of_the_coefficients() -> None:
    model = mm.lmer("y ~ a + x + (1 | g)", FRAME)
    for ddf in ("satterthwaite", "kenward-roger"):
        tidy = model.tidy(ddf=ddf).set_index("term")
        ours = mm.emmeans(model, "a", ddf=ddf).contrasts("trt.vs.ctrl", adjust="none")
        for column in ("estimate", "std_error", "df", "statistic", "p_value", "conf_low"):
            assert_allclose(ours[column], tidy.loc[["a[T.v]", "a[T.w]"], column], rtol=1e-7)
    normal = mm.emmeans(model, "a", ddf="none").contrasts("trt.vs.ctrl", adjust="none")
    assert_allclose(normal["conf_low"], model.tidy(ddf="none")["conf_low"][1:3], rtol=1e-9)
    assert np.isinf(normal["df"]).all()


def test_joint_tests_are_those_of_the_f_table() -> None:
    for ddf in ("satterthwaite", "kenward-roger"):
        joint = mm.emmeans(MODEL, ["a", "b"], at={"half": 4}, ddf=ddf).joint_tests()
        table = mm.anova(MODEL, type="III", ddf=ddf).set_index("term").loc[joint["term"]]
        assert joint["term"].tolist() == ["a", "b", "a:b"]
        # Satterthwaite's den_df depend a little on how the contrasts of a hypothesis are chosen
        rtol = 1e-6 if ddf == "kenward-roger" else 1e-3
        for column in ("num_df", "den_df", "statistic", "p_value"):
            assert_allclose(joint[column], table[column], rtol=rtol)


# --- slopes ---------------------------------------------------------------------------------------


def test_slopes_of_polynomials_are_exact() -> None:
    model = mm.lmer("y ~ a * (x + I(x^2) + I(x^3)) + (1 | g)", FRAME)
    beta = dict(zip(model.term_names, model.beta, strict=True))
    at = [1.0, 5.5]
    trends = mm.emtrends(model, "~ a | x", "x", at={"x": at}).to_pandas()
    for a, x, slope in trends[["a", "x", "x_trend"]].itertuples(index=False):
        own = [
            beta[t] + (beta[f"a[T.{a}]:{t}"] if a != "u" else 0.0)
            for t in ("x", "I(x^2)", "I(x^3)")
        ]
        assert_allclose(slope, own[0] + 2 * own[1] * x + 3 * own[2] * x * x, rtol=1e-9)


def test_slopes_of_a_logarithm() -> None:
    model = mm.lmer("y ~ log(x + 20) + (1 | g)", FRAME)
    trend = mm.emtrends(model, "1", "x", at={"x": 7.0})
    factor = 1.0 / 27.0
    assert_allclose(trend["x_trend"], model.beta[1] * factor, rtol=1e-9)
    assert_allclose(trend["std_error"], np.sqrt(model.vcov[1, 1]) * factor, rtol=1e-9)
    tidy = model.tidy()
    assert_allclose(trend["df"], tidy["df"][1], rtol=1e-6)
    assert_allclose(trend["p_value"], tidy["p_value"][1], rtol=1e-6)


def test_a_slope_without_interaction_is_the_coefficient() -> None:
    trends = mm.emtrends(MODEL, "a", "x")
    beta = dict(zip(MODEL.term_names, MODEL.beta, strict=True))
    assert_allclose(trends["emmean"], np.full(3, beta["x"]), rtol=1e-10)
    assert "x_trend" in trends.columns
    assert_allclose(trends.contrasts()["estimate"], 0.0, atol=0)


def test_the_slope_of_an_offset_is_one_exactly() -> None:
    model = mm.lmer("y ~ a + offset(o) + (1 | g)", FRAME)
    trend = mm.emtrends(model, "a", "o")
    assert_allclose(trend["o_trend"], 1.0, rtol=1e-12)
    assert_allclose(trend["std_error"], 0.0, atol=0)


# --- invariances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["sum", "helmert", "poly"])
def test_coding_of_factors_changes_nothing(coding: str) -> None:
    plain = mm.emmeans(MODEL, ["a", "b"])
    formula = "y ~ a * b + x + factor(dose) + half + (1 | g)"
    coded = mm.lmer(formula, FRAME, contrasts=dict.fromkeys(("a", "b", "dose"), coding))
    again = mm.emmeans(coded, ["a", "b"])
    assert_allclose(again.to_pandas()[COLUMNS], plain.to_pandas()[COLUMNS], rtol=1e-5)
    table = again.contrasts().drop(columns="contrast")
    assert_allclose(table, plain.contrasts().drop(columns="contrast"), rtol=1e-5, atol=1e-9)


def test_order_of_levels_only_turns_contrasts_round() -> None:
    turned = pd.Categorical(FRAME["a"], categories=["w", "u", "v"])
    model = mm.lmer(MODEL.formula, FRAME.assign(a=turned))
    ours = mm.emmeans(model, "a").contrasts().set_index("contrast")
    plain = mm.emmeans(MODEL, "a").contrasts().set_index("contrast")
    assert_allclose(ours.loc["w - u", "estimate"], -plain.loc["u - w", "estimate"], rtol=1e-7)
    assert_allclose(ours.loc["u - v"], plain.loc["u - v"], rtol=1e-5)


@pytest.mark.parametrize(
    ("shift", "formula", "rtol"),
    [
        (1e6, "y ~ a * x + (1 | g)", 1e-7),
        # x + 1000, squared, is a number of three digits fewer
        (1e3, "y ~ a * (x + I(x^2)) + (1 | g)", 1e-6),
    ],
)
def test_position_of_covariates_costs_no_digits(shift: float, formula: str, rtol: float) -> None:
    near = mm.lmer(formula, FRAME)
    far = mm.lmer(formula, FRAME.assign(x=FRAME["x"] + shift))
    here, there = mm.emmeans(near, "a").to_pandas(), mm.emmeans(far, "a").to_pandas()
    assert_allclose(there[COLUMNS], here[COLUMNS], rtol=rtol)


# --- combinations without data, and factors within factors ----------------------------------------


def test_means_without_data_are_nan_and_named() -> None:
    frame = FRAME[(FRAME["a"] != "w") | (FRAME["b"] != "l")]
    with pytest.warns(mm.RankDeficiencyWarning):
        model = mm.lmer("y ~ a * b + x + (1 | g)", frame)
    with pytest.warns(mm.RankDeficiencyWarning, match=r"1 of 6 .* \(a = w, b = l\)"):
        means = mm.emmeans(model, ["a", "b"])
    unknown = means["emmean"].isna()
    assert unknown.tolist() == [False, False, False, False, False, True]
    assert means.to_pandas().loc[unknown, COLUMNS].isna().all(axis=None)
    known = mm.emmeans(model, ["a", "b"], at={"a": ["u", "v"]})
    assert_allclose(known["emmean"], means["emmean"].drop([2, 5]), rtol=1e-12)
    table = means.contrasts("pairwise", by="b")
    assert table["p_value"].isna().tolist() == [False, False, False, False, True, True]


def test_averages_may_be_known_where_cells_are_not() -> None:
    frame = pd.DataFrame({"a": list("uuvvww"), "b": list("klklkk"), "y": [1.0, 2, 4, 3, 7, 5]})
    with pytest.warns(mm.RankDeficiencyWarning):
        model = mm.lm("y ~ a * b", frame)
    grid_column = {name: i for i, name in enumerate(model.design.x_names)}
    linear = np.zeros((2, len(grid_column)))
    linear[0, [grid_column["Intercept"], grid_column["a[T.v]"]]] = 1.0
    linear[1, grid_column["a[T.w]:b[T.l]"]] = 1.0
    assert estimable(model, linear).tolist() == [True, False]
    found = estimates(model, linear, np.zeros(2), "none")
    assert_allclose(found.estimate, [4.0, np.nan])


def test_levels_that_occur_within_one_level_only_are_averaged_within_it() -> None:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"state": np.repeat(["P", "Q", "R"], [20, 30, 10])})
    frame["city"] = frame["state"] + [
        str(i) for i in [*range(2)] * 10 + [*range(3)] * 10 + [0] * 10
    ]
    frame["drug"] = rng.choice(["k", "l"], 60)
    frame["y"] = rng.normal(size=60)
    with pytest.warns(mm.RankDeficiencyWarning):
        model = mm.lm("y ~ state / city + drug", frame)
    cities = mm.emmeans(model, "city")
    assert list(cities.columns)[:2] == ["city", "state"]
    assert len(cities) == 6
    mean = cities.to_pandas().groupby("state")["emmean"].mean()
    assert_allclose(mm.emmeans(model, "state")["emmean"], mean, rtol=1e-12)
    drugs = mm.emmeans(model, "drug")["emmean"].mean()
    assert_allclose(drugs, mean.mean(), rtol=1e-12)
    within = cities.contrasts(by="state")
    assert within["state"].tolist() == ["P", "Q", "Q", "Q"]
    with pytest.raises(mm.ModelError, match="nested"):
        cities.joint_tests()


# --- scales ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "inverse", "slope"),
    [
        ("log(y + 9)", lambda m: np.exp(m) - 9, np.exp),
        ("log1p(y + 9)", None, None),
        ("log(size)", np.exp, np.exp),
        ("log2(size)", np.exp2, lambda m: np.exp2(m) * np.log(2)),
        ("log10(size)", lambda m: 10.0**m, lambda m: 10.0**m * np.log(10)),
        ("log1p(size)", np.expm1, np.exp),
        ("sqrt(size)", np.square, lambda m: 2 * m),
    ],
)
def test_means_on_the_scale_of_the_response(response: str, inverse: Any, slope: Any) -> None:
    frame = FRAME.assign(size=FRAME["y"] + 10.0)
    model = mm.lmer(f"{response} ~ a + (1 | g)", frame)
    if inverse is None:
        inverse, slope = lambda m: np.expm1(m) - 9, np.exp
    plain, back = mm.emmeans(model, "a"), mm.emmeans(model, "a", type="response")
    for ours, theirs in (("response", "emmean"), ("conf_low",) * 2, ("conf_high",) * 2):
        assert_allclose(back[ours], inverse(plain[theirs].to_numpy()), rtol=1e-12)
    wanted = plain["std_error"] * slope(plain["emmean"].to_numpy())
    assert_allclose(back["std_error"], wanted, rtol=1e-12)
    assert_allclose(back["emmean"], back["response"], rtol=0)
    assert_allclose(back["p_value"], plain["p_value"], rtol=0)


def test_differences_of_logarithms_are_ratios() -> None:
    model = mm.lmer("log2(size) ~ a + (1 | g)", FRAME.assign(size=FRAME["y"] + 10.0))
    back = mm.emmeans(model, "a", type="response").contrasts()
    plain = mm.emmeans(model, "a").contrasts()
    assert back["contrast"].tolist() == ["u / v", "u / w", "v / w"]
    for ours, theirs in (("ratio", "estimate"), ("conf_low",) * 2, ("conf_high",) * 2):
        assert_allclose(back[ours], 2.0 ** plain[theirs], rtol=1e-12)
    assert_allclose(back["p_value"], plain["p_value"], rtol=0)
    root = mm.lmer("sqrt(size) ~ a + (1 | g)", FRAME.assign(size=FRAME["y"] + 10.0))
    same = mm.emmeans(root, "a", type="response").contrasts()
    assert same["estimate"].equals(mm.emmeans(root, "a").contrasts()["estimate"])


# --- contrasts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", range(2, 13))
def test_polynomial_contrasts_are_orthogonal_whole_numbers(k: int) -> None:
    found = make_contrasts("poly", [f"l{i}" for i in range(k)], "-", 0)
    rows = found.coefficients
    assert len(rows) == min(k - 1, 6)
    assert (rows == np.rint(rows)).all()
    assert (rows[:, -1] > 0).all()
    products = rows @ rows.T
    assert np.count_nonzero(products - np.diag(np.diag(products))) == 0
    assert (np.gcd.reduce(rows.astype(np.int64), axis=1) == 1).all()
    for degree, row in enumerate(rows, 1):
        fit = np.polynomial.Polynomial.fit(np.arange(k), row, degree)
        assert_allclose(fit(np.arange(k)), row, atol=1e-8 * np.abs(row).max())


FOUR = ["a", "b", "c", "d-e"]


@pytest.mark.parametrize(
    ("method", "names", "first"),
    [
        ("pairwise", "a - b|a - c|a - (d-e)|b - c|b - (d-e)|c - (d-e)", [1, -1, 0, 0]),
        ("revpairwise", "b - a|c - a|c - b|(d-e) - a|(d-e) - b|(d-e) - c", [-1, 1, 0, 0]),
        ("trt.vs.ctrl", "b - a|c - a|(d-e) - a", [-1, 1, 0, 0]),
        ("dunnett", "b - a|c - a|(d-e) - a", [-1, 1, 0, 0]),
        ("trt.vs.ctrlk", "a - (d-e)|b - (d-e)|c - (d-e)", [1, 0, 0, -1]),
        ("consec", "b - a|c - b|(d-e) - c", [-1, 1, 0, 0]),
        ("eff", "a effect|b effect|c effect|(d-e) effect", [0.75, -0.25, -0.25, -0.25]),
        ("del.eff", "a effect|b effect|c effect|(d-e) effect", [1, -1 / 3, -1 / 3, -1 / 3]),
        ("poly", "linear|quadratic|cubic", [-3, -1, 1, 3]),
        ("helmert", "b - a|c - mean(a, b)|(d-e) - mean(a, ..., c)", [-1, 1, 0, 0]),
    ],
)
def test_families_of_contrasts(method: str, names: str, first: list[float]) -> None:
    found = make_contrasts(method, FOUR, "-", 0)
    assert "|".join(found.names) == names
    assert_allclose(found.coefficients[0], first)
    assert_allclose(found.coefficients.sum(axis=1), 0.0, atol=1e-15)


def test_mean_changes_compare_what_lies_on_either_side() -> None:
    found = make_contrasts("mean_chg", FOUR, "-", 0)
    assert found.names == ("a|b", "b|c", "c|(d-e)")
    assert_allclose(found.coefficients[1], [-0.5, -0.5, 0.5, 0.5])


def test_helmert_takes_off_the_mean_of_those_before() -> None:
    found = make_contrasts("helmert", FOUR, "-", 0)
    assert_allclose(found.coefficients[2], [-1 / 3, -1 / 3, -1 / 3, 1])


def test_the_control_by_position_level_or_name() -> None:
    means = mm.emmeans(MODEL, "dose")
    by_place = means.contrasts("trt.vs.ctrl", ref=1)
    assert by_place["contrast"].tolist() == ["dose0 - dose2.5", "dose10 - dose2.5"]
    for ref in ("2.5", "dose2.5", -2):
        assert means.contrasts("trt.vs.ctrl", ref=ref).equals(by_place)


def test_custom_contrasts() -> None:
    means = mm.emmeans(MODEL, "a")
    rows = {"u against the rest": [1, -0.5, -0.5], "v - w": [0, 1, -1]}
    named = means.contrasts(rows)
    assert named["contrast"].tolist() == list(rows)
    value = means["emmean"].to_numpy()
    assert_allclose(named["estimate"], np.array(list(rows.values())) @ value, rtol=1e-10)
    plain = means.contrasts(np.array(list(rows.values())))
    assert plain["contrast"].tolist() == ["c1", "c2"]
    assert plain["p_value"].equals(named["p_value"])


def test_families_are_those_of_each_group() -> None:
    grouped = mm.emmeans(MODEL, "~ a | b").contrasts()
    assert grouped["b"].tolist() == ["k"] * 3 + ["l"] * 3
    for level in ("k", "l"):
        alone = mm.emmeans(MODEL, "a", at={"b": level}).contrasts()
        part = grouped[grouped["b"] == level].drop(columns="b").reset_index(drop=True)
        assert_allclose(part.drop(columns="contrast"), alone.drop(columns="contrast"), rtol=1e-7)
    together = mm.emmeans(MODEL, "~ a | b").contrasts(by=[])
    assert len(together) == 15
    assert together["contrast"][0] == "u k - v k"
    turned = mm.emmeans(MODEL, "~ a | b").contrasts(by="a")
    assert turned["contrast"].tolist() == ["k - l"] * 3


def test_tukey_gives_way_where_it_does_not_hold() -> None:
    means = mm.emmeans(MODEL, "a")
    with pytest.warns(mm.DataWarning, match="'sidak' was used"):
        table = means.contrasts("eff", adjust="tukey")
    assert table.equals(means.contrasts("eff", adjust="sidak"))


# --- the result -----------------------------------------------------------------------------------


def test_the_result_reads_as_a_frame() -> None:
    means = mm.emmeans(MODEL, "a", level=0.9)
    frame = means.frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(means.columns) == list(means) == ["a", *COLUMNS]
    assert len(means) == 3
    assert means.shape == (3, 8)
    assert means[["a", "df"]].equals(frame[["a", "df"]])
    assert means["estimate"].equals(frame["emmean"])
    assert means.loc[0, "emmean"] == frame["emmean"][0]
    assert pickle.loads(pickle.dumps(means)).frame().equals(frame)
    assert copy.deepcopy(means).frame().equals(frame)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = means.nonsense


@pytest.mark.parametrize("make", [pl.from_pandas, pa.Table.from_pandas, dict])
def test_kinds_of_frames(make: Any) -> None:
    given = make(FRAME)
    model = mm.lmer("y ~ a + (1 | g)", given)
    means = mm.emmeans(model, "a")
    kind = pd.DataFrame if isinstance(given, dict) else type(given)
    assert type(means.frame()) is kind
    assert type(means.contrasts()) is kind
    assert type(means.joint_tests()) is kind
    assert isinstance(means.to_pandas(), pd.DataFrame)
    wanted = mm.emmeans(mm.lmer("y ~ a + (1 | g)", FRAME), "a").to_pandas()
    assert_allclose(means.to_pandas()[COLUMNS], wanted[COLUMNS], rtol=1e-12)


def test_the_page() -> None:
    page = str(mm.emmeans(MODEL, "~ a | b", at={"half": 4}))
    lines = page.splitlines()
    assert lines[0] == f"Estimated marginal means: {MODEL.formula}"
    assert "b = k" in lines
    assert [line.split()[0] for line in lines[3:7]] == ["a", "u", "v", "w"]
    assert lines[-4:] == [
        "Notes",
        "Averaged over dose (weights: equal)",
        f"Held at x = {FRAME['x'].mean():.6g}, half = 4",
        "Degrees of freedom: Satterthwaite; limits: 0.95",
    ]
    assert max(map(len, lines)) <= 80
    assert "Depends on b too" in str(mm.emmeans(MODEL, "a"))
    html = mm.emmeans(MODEL, "~ a | b")._repr_html_()
    assert html.count("<table>") == 2
    assert "<caption>b = k</caption>" in html


def test_long_tables_are_cut_in_print_only() -> None:
    means = mm.emmeans(MODEL, "x", at={"x": np.linspace(0, 9, 150)})
    assert len(means) == 150
    assert "30 more rows" in str(means)


def test_a_variable_that_has_the_name_of_a_column() -> None:
    frame = FRAME.rename(columns={"a": "contrast", "b": "df"})
    model = mm.lmer("y ~ contrast * df + (1 | g)", frame)
    table = mm.emmeans(model, "~ contrast | df")
    assert list(table.columns)[:3] == ["contrast_", "df_", "emmean"]
    assert "df_ = k" in str(table)
    assert list(table.contrasts().columns)[:3] == ["contrast", "df_", "estimate"]


def test_names_that_are_not_plain() -> None:
    frame = FRAME.rename(columns={"a": "the a", "b": "b:c"})
    model = mm.lmer("y ~ `the a` + `b:c` + (1 | g)", frame)
    assert list(mm.emmeans(model, "~ `the a` | `b:c`").columns)[:2] == ["the a", "b:c"]
    assert list(mm.emmeans(model, "b:c").columns)[:1] == ["b:c"]


@pytest.mark.parametrize(
    "specs", ["~ a | b", "a | b", "~ a|b", ("~ a", "b"), (["a"], ["b"]), ("a", "b")]
)
def test_ways_to_say_it(specs: Any) -> None:
    wanted = mm.emmeans(MODEL, "~ a | b").frame()
    one, by = specs if isinstance(specs, tuple) else (specs, None)
    assert mm.emmeans(MODEL, one, by=by).frame().equals(wanted)
    crossed = [mm.emmeans(MODEL, s).frame() for s in ("a * b", "~ a + b", "a:b", ["a", "b"])]
    assert all(frame.equals(wanted) for frame in crossed)
    dose = mm.emmeans(MODEL, "factor(dose)").frame()
    assert dose.equals(mm.emmeans(MODEL, "dose").frame())


@pytest.mark.filterwarnings("ignore::mixedmodels.errors.SingularFitWarning")
def test_a_number_that_is_a_factor_in_random_terms_only_stays_a_number() -> None:
    model = mm.lmer("y ~ dose + (0 + factor(dose) | g)", FRAME)
    assert_allclose(mm.emmeans(model, "dose")["dose"], [FRAME["dose"].mean()])


def test_models_from_files(tmp_path: Path) -> None:
    model = mm.lmer("y ~ a + x + (1 | g)", FRAME)
    path = tmp_path / "model.mm"
    mm.save(model, path)
    loaded = mm.load(path)
    at = {"x": 4.0}
    for call in (
        lambda m: mm.emmeans(m, "a", at=at).to_pandas(),
        lambda m: mm.emmeans(m, "a", at=at).contrasts(),
        lambda m: mm.emtrends(m, "a", "x", at=at).to_pandas(),
    ):
        ours, theirs = (call(m).select_dtypes("number") for m in (loaded, model))
        assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)
    with pytest.raises(mm.ModelError, match="the mean of 'x' needs the data"):
        mm.emmeans(loaded, "a")
    with pytest.raises(mm.ModelError, match="weights need the data"):
        mm.emmeans(loaded, "a", at=at, weights="cells")
    mm.save(model, path, data=True)
    whole = mm.emmeans(mm.load(path), "a").to_pandas()[COLUMNS]
    assert_allclose(whole, mm.emmeans(model, "a").to_pandas()[COLUMNS], rtol=1e-6)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("specs", "options", "message"),
    [
        ("A", {}, "specs: 'A' is no variable of the fixed part (did you mean 'a'?); they are a, b"),
        ("g", {}, "'g' is no variable of the fixed part, but a grouping factor of random terms"),
        ("a", {"by": "dos"}, "by: 'dos' is no variable of the fixed part (did you mean 'dose'?)"),
        ("a", {"at": {"z": 1}}, "at: 'z' is no variable of the fixed part"),
        ("a", {"at": {"a": ["u", "V"]}}, "'V' is no level of 'a' (did you mean 'v'?); its levels"),
        ("a", {"at": {"dose": 3}}, "at: 3 is no level of 'dose'; its levels are 0, 2.5, 10"),
        ("a", {"at": {"x": "big"}}, "at: 'x' is a number in the fit, so give finite numbers"),
        ("a", {"at": {"x": np.inf}}, "at: 'x' is a number in the fit, so give finite numbers"),
        ("a", {"at": {"x": []}}, "at: no values are given for 'x'"),
        ("a", {"at": 3}, "at must be a dict of names to values or None, not 3"),
        ("a", {"ddf": "kr"}, "ddf must be 'satterthwaite', 'kenward-roger' or 'none', not 'kr'"),
        (
            "a",
            {"weights": "prop"},
            "weights must be 'equal', 'proportional', 'outer', 'cells' or 'flat', not 'prop'",
        ),
        ("a", {"level": 95}, "level must lie between 0 and 1, not 95"),
        ("a", {"type": "odds"}, "type must be 'link' or 'response', not 'odds'"),
        ("a", {"type": "response"}, "the response of the model is not transformed"),
        ("pairwise ~ a", {}, "write mm.emmeans(m, '~ a').contrasts('pairwise')"),
        (3, {}, "specs must be a string or a list of strings, not 3"),
    ],
)
def test_requests_that_cannot_be_met(specs: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(mm.ModelError, match=re.escape(message)):
        mm.emmeans(MODEL, specs, **options)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("pairwize", {}, "method='pairwize' is not known (did you mean 'pairwise'?)"),
        ("pairwise", {"adjust": "turkey"}, "not 'turkey' (did you mean 'tukey'?)"),
        ("pairwise", {"by": "b"}, "by: 'b' is no variable of this table; they are a"),
        ("pairwise", {"by": "a"}, "there is one mean (overall) in each group"),
        ("pairwise", {"level": 0}, "level must lie between 0 and 1"),
        ("trt.vs.ctrl", {"ref": 3}, "ref=3 is out of range: there are 3 means"),
        ("trt.vs.ctrl", {"ref": "z"}, "ref='z' is none of the means 'u', 'v', 'w'"),
        ([1, -1], {}, "contrast 'c1' has 2 coefficients, there are 3 means: u, v, w"),
        ({"d": [1, -1]}, {}, "contrast 'd' has 2 coefficients"),
        ({"d": "up"}, {}, "'up' are no contrast coefficients"),
        ({"d": [1, np.nan, -1]}, {}, "are no contrast coefficients"),
        ({}, {}, "no contrasts were given"),
    ],
)
def test_contrasts_that_cannot_be_made(method: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(mm.ModelError, match=re.escape(message)):
        mm.emmeans(MODEL, "a").contrasts(method, **options)


def test_other_refusals() -> None:
    with pytest.raises(
        TypeError, match=re.escape("a fitted model (of mm.lmer or mm.lm), not a DataFrame")
    ):
        mm.emmeans(FRAME, "a")
    with pytest.raises(mm.ModelError, match="var='a' is a factor: it has no slope"):
        mm.emtrends(MODEL, "b", "a")
    with pytest.raises(mm.ModelError, match="var: 'y' is no variable"):
        mm.emtrends(MODEL, "b", "y")
    with pytest.raises(mm.ModelError, match="Kenward and Roger's method is for REML fits"):
        mm.emmeans(MODEL.update(reml=False), "a", ddf="kenward-roger")
    with pytest.raises(mm.ModelError, match="joint tests need a factor with two levels"):
        mm.emmeans(MODEL, "x").joint_tests()
    logs = mm.lm("y ~ log(x + 20)", FRAME)
    message = "in the reference grid, log(x + 20) is nan in 1 row (first at row 0, where x = -30)"
    with pytest.raises(mm.DataError, match=re.escape(message)):
        mm.emmeans(logs, "x", at={"x": [-30, 1]})
    odd = mm.lm("I(y / 2) ~ a", FRAME)
    with pytest.raises(mm.ModelError, match=r"the inverse of .* is not known"):
        mm.emmeans(odd, "a", type="response")
    with pytest.raises(mm.ModelError, match=r"combinations .* more than .* choose some"):
        mm.emmeans(MODEL, "a", at={"x": np.arange(200_000)})
