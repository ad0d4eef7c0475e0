"""Public reference models fitted by engines are those fitted in memory."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import mixedmodels as mm
from mixedmodels.errors import MixedModelsWarning
from tests.engines.tables import as_table, two_engines
from tests.reference import data
from tests.reference.fits import reference_fit

# poly() needs all rows at once; test_faults has its message
MODELS = sorted(set(data.figures("models")) - {"chick_poly_ml"})


def close(ours: Any, theirs: Any, tolerance: float) -> bool:
    """Relative to the largest."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return False
    return not theirs.size or bool(
        np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max() + 1e-300
    )


@two_engines
@pytest.mark.parametrize("model_id", MODELS)
def test_same_model(model_id: str, engine: str) -> None:
    spec = data.figures("models")[model_id]
    options = {key: spec[key] for key in ("weights", "contrasts") if spec[key] is not None}
    table = as_table(data.load(spec["dataset"]), engine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        m = mm.lmer(spec["formula"], table, reml=spec["reml"], **options)
    reference = reference_fit(model_id).model
    assert m.term_names == reference.term_names
    assert m.n_obs == reference.n_obs
    assert m.n_groups == reference.n_groups
    assert m.optimum.verdict == reference.optimum.verdict
    assert abs(m.criterion - reference.criterion) < 1e-8 * abs(reference.criterion)
    assert close(m.beta, reference.beta, 1e-8)
    assert close(np.sqrt(np.diag(m.vcov)), np.sqrt(np.diag(reference.vcov)), 1e-8)
    assert close(m.theta, reference.theta, 1e-8)
