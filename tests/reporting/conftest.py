"""Two reports that many tests read: one of ordinary data, one of hostile names."""

from __future__ import annotations

import warnings

import pytest

import mixedmodels as mm
from mixedmodels.reporting.report import Report
from tests.reporting.strange import EVIL, QUOTES, RIGHT_TO_LEFT, hostile


@pytest.fixture(scope="session")
def hostile_report() -> Report:
    data, labels = hostile()
    models = {
        EVIL: mm.lmer("y ~ day + (day | `<b>id</b>`)", data, reml=False),
        QUOTES: mm.lmer("y ~ day * `arm <i>` + (day | `<b>id</b>`)", data, reml=False),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return mm.report(models, title=f"{EVIL} {RIGHT_TO_LEFT}", labels=labels, choose=QUOTES)


@pytest.fixture(scope="session")
def chicks() -> Report:
    data = mm.datasets.load("piglets")
    models = [
        mm.lmer("BW ~ time + (time | animal)", data, reml=False),
        mm.lmer("BW ~ time + treatm + (time | animal)", data, reml=False),
        mm.lmer("BW ~ time + I(time^2) + treatm + (time | animal)", data, reml=False),
    ]
    return mm.report(models, labels={"BW": "Body weight (kg)"})
