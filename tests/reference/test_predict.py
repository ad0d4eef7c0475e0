"""Predictions for new rows against lme4's predict (values/predictions.json)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from mixedmodels.errors import MixedModelsError
from tests.reference import data
from tests.reference.fits import reference_fit

PREDICTIONS = data.figures("predictions")

# What the error of a strict prediction must name: one of the unknown levels.
UNKNOWN_LEVEL = {
    "sleep_rs_reml": "new1",
    "pastes_nested_reml": "z|Z",
    "machines_nested_reml": "99",
    "chick_poly_ml": "999",
    "sleep_off_ml": "zzz",
}

every_prediction = pytest.mark.parametrize("model_id", list(PREDICTIONS))


@every_prediction
def test_population(model_id: str) -> None:
    case, model = PREDICTIONS[model_id], reference_fit(model_id).model
    ours = model.predict(pd.DataFrame(case["newdata"]), random=False)
    assert_allclose(np.asarray(ours, dtype=float), case["population"], rtol=1e-6)


@every_prediction
def test_conditional_with_new_levels_at_zero(model_id: str) -> None:
    case, model = PREDICTIONS[model_id], reference_fit(model_id).model
    ours = model.predict(pd.DataFrame(case["newdata"]), random=True, new_levels="zero")
    assert_allclose(np.asarray(ours, dtype=float), case["conditional"], rtol=1e-6)


@every_prediction
def test_known_levels_need_no_permission(model_id: str) -> None:
    case, model = PREDICTIONS[model_id], reference_fit(model_id).model
    known = np.array(case["known"])
    ours = model.predict(pd.DataFrame(case["newdata"])[known])
    assert_allclose(np.asarray(ours, dtype=float), np.array(case["conditional"])[known], rtol=1e-6)


@every_prediction
def test_new_level_is_an_error_that_names_it(model_id: str) -> None:
    case, model = PREDICTIONS[model_id], reference_fit(model_id).model
    with pytest.raises(MixedModelsError, match=UNKNOWN_LEVEL[model_id]):
        model.predict(pd.DataFrame(case["newdata"]))


@pytest.mark.parametrize("model_id", ["sleep_rs_reml", "sleep_wt_reml", "chick_poly_ml"])
def test_predicting_the_training_rows_gives_the_fitted_values(model_id: str) -> None:
    model = reference_fit(model_id).model
    frame = data.load(data.figures("models")[model_id]["dataset"])
    assert_allclose(np.asarray(model.predict(frame), dtype=float), model.fitted, rtol=1e-12)
