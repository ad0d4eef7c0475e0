"""Digits kept at the ends of the number line, against 60-digit arithmetic (docs/numbers.md)."""

from __future__ import annotations

import re
import warnings
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mixedmodels as mm
from mixedmodels.errors import MixedModelsWarning
from tests.optimize.precise import exact_criterion, exact_fit, exact_groups
from tests.reference import data, extremes

FIGURES = data.figures("extremes")["cases"]
FORMULA = "y ~ x + (1 | g)"
PAGE = Path(__file__).parents[2] / "docs" / "numbers.md"
ROWS = re.findall(r"^\| `(.+?)` \| (\d+) \| (\d+) \| (\S+) \| (\S+) \|$", PAGE.read_text(), re.M)

every_case = pytest.mark.parametrize("case", list(FIGURES))


@cache
def _groups(case: str) -> Any:
    d = extremes.frame(case)
    return exact_groups(d["x"].tolist(), d["y"].tolist(), d["g"].tolist(), d["w"].tolist())


@cache
def _fit(case: str) -> mm.FittedModel:
    d = extremes.frame(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        return mm.lmer(FORMULA, d, weights=None if (d["w"] == 1).all() else "w")


def _digits(value: float, true: str) -> float:
    error = abs(Decimal(float(value)) - Decimal(true)) / abs(Decimal(true))
    return 16.0 if error == 0 else min(16.0, -float(error.log10()))


def _kept(case: str) -> tuple[float, float]:
    """Right digits of the slope and of its standard error."""
    model, exact = _fit(case), FIGURES[case]["exact"]
    std_error = float(np.sqrt(np.asarray(model.vcov)[1, 1]))
    return _digits(model.beta[1], exact["slope"]), _digits(std_error, exact["std_error"])


@every_case
def test_the_figures_are_the_optimum(case: str) -> None:
    exact = FIGURES[case]["exact"]
    theta = Decimal(exact["theta"])
    found = exact_fit(_groups(case), theta, reml=True)
    # a figure of 23 digits holds for the same doubles; libraries may round data in the last place
    for name in ("criterion", "slope", "std_error", "sigma"):
        assert float(getattr(found, name)) == pytest.approx(float(exact[name]), rel=1e-6)
    for factor in (Decimal("0.9"), Decimal("1.1")):
        assert exact_criterion(_groups(case), theta * factor, reml=True) > found.criterion


@every_case
def test_criterion(case: str) -> None:
    true = Decimal(FIGURES[case]["exact"]["criterion"])
    assert abs(Decimal(float(_fit(case).criterion)) - true) < Decimal("1e-9")


@every_case
def test_slope_and_standard_error(case: str) -> None:
    assert min(_kept(case)) >= 7


def test_the_page_tells_the_digits() -> None:
    """One digit may be lost to other libraries of linear algebra."""
    assert [row[0] for row in ROWS] == list(FIGURES)
    for case, slope, std_error, theirs_slope, theirs_error in ROWS:
        kept = _kept(case)
        assert kept[0] > int(slope) - 1, case
        assert kept[1] > int(std_error) - 1, case
        lme4, exact = FIGURES[case]["lme4"], FIGURES[case]["exact"]
        for name, said in (("slope", theirs_slope), ("std_error", theirs_error)):
            assert said == (str(int(_digits(lme4[name], exact[name]))) if name in lme4 else "none")


def test_a_variance_ratio_below_the_digits_of_the_criterion() -> None:
    """Theta of 1e-5 and of 0 have the same criterion in doubles: either is an answer, and said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = mm.lmer(FORMULA, extremes.frame("ratio 1e-10"))
    assert model.theta[0] < 1e-4
    if model.theta[0] == 0:
        assert [w.category for w in caught] == [mm.SingularFitWarning]


@pytest.mark.parametrize("slope", [2.0, -2.0, 1e-3, -1e3])
def test_a_correlation_of_plus_or_minus_one(slope: float) -> None:
    """Effects of groups are a multiple of 1 + slope * x: the optimum has rank one, exactly."""
    d = extremes.plain()
    noise = np.random.default_rng(4).normal(size=300)
    for rows in d.groupby("g").indices.values():  # no line of its own is left in any group
        line = np.column_stack([np.ones(len(rows)), d["x"].to_numpy()[rows]])
        noise[rows] -= line @ np.linalg.lstsq(line, noise[rows], rcond=None)[0]
    effects = np.random.default_rng(3).normal(size=30)[d["g"]]
    d["y"] = 2 + 0.7 * d["x"] + effects * (1 + slope * d["x"]) + noise
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        model = mm.lmer("y ~ x + (x | g)", d)
    assert model.is_singular
    a, b, c = model.theta
    assert c == 0
    column = (1 + b / a * d["x"]).tolist()
    groups = exact_groups(d["x"].tolist(), d["y"].tolist(), d["g"].tolist(), None, column)
    exact = exact_fit(groups, float(a), reml=True)
    # totals lose (sd of groups / sigma)**2 * 2**-52 of the residual sum of squares
    error = 1e-9 + 4 * 300 * slope**2 * 2.0**-52
    assert model.criterion == pytest.approx(float(exact.criterion), abs=error)
    assert model.beta[1] == pytest.approx(float(exact.slope), abs=1e-8 * float(exact.std_error))
    for factor in (0.99, 1.01):
        assert exact_criterion(groups, float(a) * factor, reml=True) > exact.criterion
