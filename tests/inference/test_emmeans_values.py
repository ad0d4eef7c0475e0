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
            # of 1e-7, an error of 1e-6 in t is one of 1e-5
            "p_value": simulated + 1e-11,
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
