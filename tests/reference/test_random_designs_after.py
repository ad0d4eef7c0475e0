"""What comes after the fit, on the random designs of `test_random_designs`, from matrices in R.

Predictions with their errors for new levels, with all random effects, none and those of one factor;
levels left out; leverage; parts of the variance; variance inflation. R has no function for the
errors and for what is left out with theta held, so that they are worked out there from X, Z and
Lambda of lme4 at the theta stored (values/random_designs_after.json).
"""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from mixedmodels.inference.collinearity import inflations
from tests.reference import data
from tests.reference.test_random_designs import CLOSE, DESIGNS, model

AFTER = data.figures("random_designs_after")
every = pytest.mark.parametrize("design", AFTER)
predicted = pytest.mark.parametrize("design", [i for i, r in AFTER.items() if "predict" in r])


def parts(name: str) -> list[str]:
    """Of a factor or level, whatever the order in which R crosses them."""
    return sorted(name.split(":"))


def same_columns(design: str) -> bool:
    """Whether R's knots and dropped columns are ours, so that coefficients mean the same."""
    return "ns(" not in DESIGNS[design]["formula"]


@predicted
def test_predictions_and_their_errors(design: str) -> None:
    m, new = model(design), pd.DataFrame(DESIGNS[design]["new"])
    for which, r in AFTER[design]["predict"].items():
        own = [g for g in m.n_groups if parts(g) == parts(which)]
        random: Any = {"population": False, "all": True}.get(which, own)
        for interval, noise in (("confidence", 0.0), ("prediction", m.sigma**2)):
            with warnings.catch_warnings():  # cells without rows
                warnings.simplefilter("ignore", mm.RankDeficiencyWarning)
                table = m.predict(new, random=random, new_levels="zero", interval=interval)
            error = np.sqrt(np.square(r["se"]) + noise)
            near = {"rtol": 0, "atol": CLOSE * m.sigma}
            assert_allclose(table["prediction"], r["mean"], **near)
            assert_allclose(table["std_error"], error, **near)
            assert_allclose(table["conf_low"], r["mean"] - 1.959963984540054 * error, **near)


@every
def test_marginal_residuals_and_leverage(design: str) -> None:
    m, r = model(design), AFTER[design]
    near = {"rtol": 0, "atol": CLOSE}
    assert_allclose(
        m.residuals("marginal")[:8] / m.sigma, np.array(r["marginal"]) / m.sigma, **near
    )
    assert_allclose(mm.influence(m)["leverage_fixed"][:8], r["leverage_fixed"], **near)


@every
def test_levels_left_out(design: str) -> None:
    m, r = model(design), AFTER[design]["left"]
    group = next(g for g in m.n_groups if parts(g) == parts(r["group"]))
    with warnings.catch_warnings():  # coefficients that go with a level
        warnings.simplefilter("ignore", mm.DataWarning)
        table = mm.influence(m, group)
    shifts = [name for name in table if name.startswith("dfbetas_")]
    levels = [parts(level) for level in table["level"]]
    for level, figures in zip(r["level"], r["v"], strict=True):
        row = table.iloc[levels.index(parts(level))]
        if not figures:
            assert math.isnan(row["cooks_distance"])
            continue
        found = row[["cooks_distance", "mdffits", "covratio", "sigma"]].to_numpy(float)
        assert_allclose(found, figures[:4], rtol=2e-4, atol=1e-7)
        if same_columns(design):
            assert_allclose(row[shifts].to_numpy(float), figures[4:], rtol=0, atol=2e-4)


@every
def test_parts_of_the_variance(design: str) -> None:
    m, r = model(design), AFTER[design]["shares"]
    found = mm.r2(m).parts
    assert found.fixed == pytest.approx(r["fixed"], rel=1e-4)
    assert found.residual == pytest.approx(r["residual"], rel=1e-4)
    groups = {":".join(parts(name)): variance for name, variance in r["groups"].items()}
    assert len(groups) == len(found.groups)
    for name, variance in found.groups.items():
        assert variance == pytest.approx(groups[":".join(parts(name))], rel=2e-4, abs=1e-6)


@pytest.mark.parametrize("design", [i for i, r in AFTER.items() if "vif" in r])
def test_variance_inflation_as_in_car(design: str) -> None:
    m, r = model(design), AFTER[design]["vif"]
    names = [re.sub(r"\s", "", term) for term in r["term"]]
    figures = dict(zip(names, zip(r["gvif"], r["df"], strict=True), strict=True))
    found = inflations(m)
    assert found
    for term in found:
        gvif, df = figures[re.sub(r"\s", "", term.term)]
        assert (term.df, term.vif) == (df, pytest.approx(gvif ** (1.0 / df), rel=1e-4))
