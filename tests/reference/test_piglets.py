"""The piglet article's printed numbers, from the data set that the package carries.

All 68 of them: an ICC, seven AICc, ten of the likelihood-ratio test, six fixed and 32 random
effects, twelve R squared; and the p-value of a bootstrap, which depends on random numbers. The
article's lme4 stopped about 1.4e-5 (relative) short of the optimum in theta. So the criteria agree
to every printed digit, the fixed effects within 3e-6, the random effects to four digits. The data
are a reconstruction from these numbers (see `mixedmodels.datasets`).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

import mixedmodels as mm
from mixedmodels.datasets import load
from mixedmodels.demo import article
from tests.reference import data, names
from tests.reference.fits import modes

PRINTED = data.figures("piglets")
# how far lme4's stop moved what was printed: fixed effects; random intercepts; random slopes
FIXED, INTERCEPT, SLOPE = 3e-6, 3e-5, 3e-6


@cache
def _fit(name: str) -> Any:
    return mm.lmer(PRINTED["formulas"][name], load("piglets"), reml=False)


def _printed(value: float, like: str) -> str:
    """The value with as many decimals as the printed text."""
    return f"{value:.{len(like.partition('.')[2])}f}"


@pytest.mark.parametrize("which", ["three", "seven"])
def test_aicc_tables(which: str) -> None:
    expected = PRINTED[which]
    table = mm.aictab({row[0]: _fit(row[0]) for row in reversed(expected["rows"])})
    assert list(table.columns) == expected["columns"]
    for ours, row in zip(table.itertuples(index=False), expected["rows"], strict=True):
        assert (ours.model, ours.k) == (row[0], row[1])
        values = (ours.aicc, ours.aicc_weight, ours.cum_weight)
        printed = [row[2], *row[4:6]]
        assert [_printed(v, p) for v, p in zip(values, printed, strict=True)] == printed
        # One of the article's two best fits stopped 3e-5 short: their difference is 7.94597 at
        # the optimum, printed as 7.9459, and the ratio differs in its fifth digit.
        assert ours.delta_aicc == pytest.approx(float(row[3]), rel=0, abs=1e-4)
        assert ours.evidence_ratio == pytest.approx(float(row[6]), rel=3e-5)


def test_there_are_68_of_them() -> None:
    criteria = 4 * len(PRINTED["criteria"]) + 2  # and the statistic and p of the test
    curves = 2 * len(PRINTED["r_squared"])
    effects = len(PRINTED["fixef_QT"]) + 2 * len(PRINTED["ranef_QT"])
    assert 1 + len(PRINTED["seven"]["rows"]) + criteria + curves + effects == 68


def test_likelihood_ratio() -> None:
    """Adding the treatment to the quadratic model changes next to nothing."""
    table = mm.anova({"QR": _fit("QR"), "QT": _fit("QT")}).set_index("model")
    for name, printed in PRINTED["criteria"].items():
        ours = table.loc[name]
        assert ours["n_params"] == printed["n_params"]
        for key in ("aic", "bic", "loglik", "deviance"):
            assert _printed(ours[key], printed[key]) == printed[key], key
    test, printed = table.loc["QT"], PRINTED["lrt"]
    assert test["df"] == printed["df"]
    assert _printed(test["statistic"], printed["statistic"]) == printed["statistic"]
    assert _printed(test["p_value"], printed["p_value"]) == printed["p_value"]


def test_bootstrap_of_the_likelihood_ratio() -> None:
    """Printed: 0.9940, of 500 replicates; another 1000 of lme4 gave 0.9980."""
    table = mm.pbmodcomp(_fit("QT"), _fit("QR"), n_sim=500, seed=1).set_index("test")
    assert _printed(table.loc["LRT", "statistic"], "0.1414") == "0.1414"
    assert table.loc["PBtest", "n_sim"] == 500
    # the chi-squared distribution says 0.9976: below 0.98 would be a deviation of 8 errors
    assert 0.98 <= table.loc["PBtest", "p_value"] <= 1.0


def test_icc_of_the_intercept_model() -> None:
    assert _printed(mm.icc(_fit("I"))["icc_adjusted"], PRINTED["icc_I"]) == PRINTED["icc_I"]


def test_fixed_effects() -> None:
    model, printed = _fit("QT"), PRINTED["fixef_QT"]
    ours = dict(zip(model.term_names, model.beta, strict=True))
    factors = {"treatm": ["1", "2", "3", "4", "5"]}
    for term, value in zip(names.terms(list(printed), factors), printed.values(), strict=True):
        assert ours[term] == pytest.approx(value, rel=0, abs=FIXED), term


@pytest.mark.parametrize("animal", list(PRINTED["ranef_QT"]))
def test_random_effects(animal: str) -> None:
    ours = modes(_fit("QT"))
    intercept, slope = PRINTED["ranef_QT"][animal]
    assert ours["animal", animal, "Intercept"][0] == pytest.approx(intercept, rel=0, abs=INTERCEPT)
    assert ours["animal", animal, "time"][0] == pytest.approx(slope, rel=0, abs=SLOPE)


@pytest.mark.parametrize(("degree", "formula"), [(0, "time"), (1, "time + I(time^2)")])
def test_growth_curves_of_single_animals(degree: int, formula: str) -> None:
    printed = PRINTED["r_squared"]
    frame = load("piglets").query("animal in @printed.keys()").astype({"animal": str})
    fits = mm.lm_list(f"BW ~ {formula} | animal", frame).glance().set_index("level")
    for animal, texts in printed.items():
        assert _printed(fits.loc[animal, "r2"], texts[degree]) == texts[degree]


def test_the_demonstration_shows_what_was_printed() -> None:
    """Its own copy of the printed numbers is this one."""
    columns = PRINTED["seven"]["columns"]
    at = [columns.index(name) for name in ("aicc", "delta_aicc", "aicc_weight", "evidence_ratio")]
    rows = {row[0]: tuple(row[i] for i in at) for row in PRINTED["seven"]["rows"]}
    assert rows == article.SEVEN
    assert list(PRINTED["fixef_QT"].values()) == [float(x) for x in article.FIXED.values()]
    shown = {name: [float(x) for x in pair] for name, pair in article.RANDOM.items()}
    assert shown == PRINTED["ranef_QT"]
    assert {name: list(pair) for name, pair in article.R_SQUARED.items()} == PRINTED["r_squared"]
    for name, printed in PRINTED["criteria"].items():
        assert article.LRT[name] == tuple(str(value) for value in printed.values())
    assert tuple(str(value) for value in PRINTED["lrt"].values())[:3] == article.TEST
    assert PRINTED["icc_I"] == article.ICC
