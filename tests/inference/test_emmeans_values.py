"""Marginal means, slopes and contrasts against R's package emmeans."""

from __future__ import annotations

import re
import warnings
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from tests.reference import data

VALUES = data.figures("emmeans")
METHODS = {"satterthwaite": "satterthwaite", "kenward-roger": "kenward-roger", "residual": "none"}
NAMES = {
    "SE": "std_error",
    "lower.CL": "conf_low",
    "upper.CL": "conf_high",
    "t.ratio": "statistic",
    "p.value": "p_value",
}
# our fits are closer to the optimum than lme4's, and lmerTest's degrees of freedom come from
# numerical derivatives; both move what follows from them in the sixth digit
CLOSE = 1e-5
# R's multivariate t is a simulation, to 1e-3 in probability
SIMULATED = 1e-3


@cache
def fitted(name: str) -> Any:
    """A model of values/emmeans.json."""
    spec = VALUES["models"][name]
    return fit(spec["dataset"], spec["formula"])


@cache
def fit(dataset: str, formula: str) -> Any:
    frame = data.load(dataset)
    # R's factor(nitro) makes a factor of a number wherever it stands
    if "|" not in formula:
        make = mm.lm
        options = {}
    else:
        make = mm.lmer
        options = {"weights": "wt", "offset": "off"} if dataset == "sleepstudy_ext" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.RankDeficiencyWarning)
        return make(formula, frame, **options)


def call(model: Any, text: str, ddf: str) -> Any:
    """R's call on our model."""
    name, specs = re.match(r"(\w+)\(m, ([^,)]+)", text).groups()
    options: dict[str, Any] = {"ddf": METHODS[ddf]}
    if found := re.search(r"at=list\((\w+)=(?:c\()?([\d., ]+)", text):
        options["at"] = {found[1]: [float(x) for x in found[2].split(",")]}
    for key in ("weights", "type", "var"):
        if found := re.search(rf"{key}='([\w.]+)'", text):
            options[key] = found[1]
    return getattr(mm, name)(model, specs, **options)


def compare(ours: pd.DataFrame, theirs: dict[str, list[Any]], simulated: float = 0.0) -> None:
    """Every column of R's table, rows in R's order."""
    for name, values in theirs.items():
        column = NAMES.get(name, name.replace(".trend", "_trend"))
        if isinstance(values[0], str):
            assert name == "1" or ours[column].astype(str).tolist() == values
            continue
        wanted = np.array(values, dtype=np.float64)
        given = ours[column].to_numpy(dtype=np.float64)
        small = CLOSE * np.nanmax(np.abs(wanted))
        slack = {
            # R's ptukey stops at an error of 1e-10
            "p_value": simulated + 1e-10,
            # limits and differences may lie anywhere near zero
            "conf_low": (10.0 * simulated / CLOSE + 1.0) * small,
            "conf_high": (10.0 * simulated / CLOSE + 1.0) * small,
            "estimate": 0.1 * small,
            "statistic": 0.1 * small,
        }.get(column, 0.0)
        assert_allclose(given, wanted, rtol=CLOSE, atol=slack, err_msg=name)


CASES = [(i, c["model"], c["call"], c["ddf"]) for i, c in enumerate(VALUES["cases"])]


@pytest.mark.parametrize(("i", "model", "text", "ddf"), CASES)
def test_means_and_contrasts_of_emmeans(i: int, model: str, text: str, ddf: str) -> None:
    case = VALUES["cases"][i]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.RankDeficiencyWarning)
        table = call(fitted(model), text, ddf)
    compare(table.to_pandas(), case["means"])
    for spec in case["contrasts"]:
        method, adjust = spec["method"], spec["adjust"]
        ours = table.contrasts(method, adjust=adjust)
        compare(ours, spec["rows"], SIMULATED if adjust == "mvt" else 0.0)


PUBLIC = [
    (i, ddf) for i in range(len(VALUES["public"])) for ddf in ("kenward_roger", "satterthwaite")
]


@pytest.mark.parametrize(("i", "ddf"), PUBLIC)
def test_published_tables(i: int, ddf: str) -> None:
    case = VALUES["public"][i]
    model = fit(case["dataset"], case["formula"])
    options = {"ddf": ddf.replace("_", "-"), "level": case["level"]}
    if case["at"] is not None:
        options["at"] = case["at"]
    if case["trend"] is None:
        table = mm.emmeans(model, case["specs"], **options)
    else:
        table = mm.emtrends(model, case["specs"], case["trend"], **options)
    compare(table.to_pandas(), case[ddf]["means"])
    compare(table.contrasts(), case[ddf]["pairwise_tukey"])
    compare(table.contrasts(adjust="none"), case[ddf]["pairwise_unadjusted"])


JOINT = [(i, c["model"], c["call"]) for i, c in enumerate(VALUES["joint"])]


@pytest.mark.parametrize(("i", "model", "text"), JOINT)
def test_joint_tests_of_emmeans(i: int, model: str, text: str) -> None:
    """R prints F with three decimals, and leaves the confounded part to a row of its own."""
    rows = VALUES["joint"][i]["rows"]
    terms = [t for t in rows["model term"] if t != "(confounded)"]
    names = list(dict.fromkeys(name for term in terms for name in term.split(":")))
    by = re.findall(r"by='(\w+)'", text)
    at = {"Time": [0.0, 21.0]} if "Time=" in text else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.RankDeficiencyWarning)
        table = mm.emmeans(
            fitted(model), names, by=by or None, at=at, ddf="kenward-roger"
        ).joint_tests()
    # of several degrees of freedom emmeans averages those of single contrasts; ours are pbkrtest's
    balanced = model != "chick"
    for k, term in enumerate(terms):
        found = table["term"] == term
        for name in by:
            found &= table[name] == rows[name][k]
        (row,) = table[found].to_dict("records")
        assert row["num_df"] == rows["df1"][k]
        assert_allclose(row["den_df"], rows["df2"][k], rtol=1e-3 if balanced else 5e-3)
        assert_allclose(row["statistic"], rows["F.ratio"][k], atol=6e-4 if balanced else 1e-2)
        assert_allclose(row["p_value"], rows["p.value"][k], rtol=1e-4 if balanced else 1e-2)


# emmeans 1.8.4 on lmerTest 3.1-3: joint_tests(emmeans(m, ~ a * b)) of y ~ x + a / b + (1 | g)
def test_a_factor_within_another_is_tested_with_it() -> None:
    model = mm.lmer("y ~ x + a / b + (1 | g)", nested_frame())
    table = mm.emmeans(model, "~ a * b").joint_tests()
    assert table["term"].tolist() == ["a", "a:b"]
    assert table["num_df"].tolist() == [2, 3]
    assert_allclose(table["statistic"], [2.550, 5.154], atol=6e-4)  # as printed


def test_of_two_factors_that_say_the_same_one_lies_within_the_other() -> None:
    frame = nested_frame()
    frame = frame[frame["a"] != "w"].assign(a2=lambda d: np.where(d["a"] == "u", "p", "q"))
    with pytest.warns(mm.RankDeficiencyWarning):
        model = mm.lmer("y ~ x + a + a2 + (1 | g)", frame)
    for specs in ("a", "a2"):
        table = mm.emmeans(model, specs).to_pandas()
        assert_allclose(table["emmean"], [-0.099172, 0.19299], rtol=1e-4)


def test_a_difference_that_is_exactly_zero_has_limits_at_zero() -> None:
    model = mm.lmer("y ~ x + a + (1 | g)", nested_frame())
    table = mm.emtrends(model, "a", "x").contrasts()
    assert table["std_error"].tolist() == [0.0] * 3
    assert table["conf_low"].tolist() == table["conf_high"].tolist() == [0.0] * 3


def test_contrasts_of_zero_do_not_hide_means() -> None:
    frame = nested_frame().assign(x=lambda d: d["x"] + 2000.0)
    with pytest.warns(mm.RankDeficiencyWarning):
        model = mm.lmer("y ~ a + x:a + ordered(a):x + (1 | g)", frame)
    plain = mm.lmer("y ~ a + x:a + (1 | g)", frame)
    # the middle level of a polynomial coding is zero but for rounding, here times 2000
    means = [mm.emmeans(m, "a").to_pandas()["emmean"] for m in (model, plain)]
    assert_allclose(*means, rtol=1e-8)
    model.predict(frame)  # warnings are errors


def nested_frame() -> pd.DataFrame:
    """The data of `test_ftable.unbalanced`."""
    rng = np.random.default_rng(8)
    n = 90
    a = rng.choice(["u", "v", "w"], n, p=[0.5, 0.3, 0.2])
    b = rng.choice(["k", "l"], n, p=[0.7, 0.3])
    x = rng.normal(size=n) + (a == "v")
    g = rng.integers(0, 12, n)
    y = x + (a == "w") * (b == "l") + rng.normal(size=12)[g] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "a": a, "b": b, "x": x, "g": [f"g{i:02d}" for i in g]})
