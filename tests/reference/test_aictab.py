"""AICc tables against AICcmodavg's definitions, from R's ML fits (values/aictab.json)."""

from __future__ import annotations

import pytest

import mixedmodels as mm
from tests.reference import data
from tests.reference.fits import recorded

TABLES = data.figures("aictab")


@pytest.mark.parametrize("table_id", list(TABLES))
def test_aictab(table_id: str) -> None:
    expected = TABLES[table_id]
    frame = data.load(expected["dataset"])
    models = {
        name: recorded(lambda formula=formula: mm.lmer(formula, frame, reml=False)).model
        for name, formula in expected["models"].items()
    }
    table = mm.aictab(models)
    assert list(table.columns) == expected["columns"]
    for ours, theirs in zip(table.itertuples(index=False), expected["rows"], strict=True):
        name, k, aicc, delta, weight, cumulative, ratio = theirs
        assert (ours.model, ours.k) == (name, k)
        assert ours.aicc == pytest.approx(aicc, rel=0, abs=1e-6)
        assert ours.delta_aicc == pytest.approx(delta, rel=0, abs=2e-6)
        assert ours.aicc_weight == pytest.approx(weight, rel=1e-5)
        assert ours.cum_weight == pytest.approx(cumulative, rel=1e-5)
        assert ours.evidence_ratio == pytest.approx(ratio, rel=1e-5)
