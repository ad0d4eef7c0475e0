"""Public reference models fitted by engines are those fitted in memory."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import mixedmodels as mm
from mixedmodels.errors import MixedModelsWarning
from tests.engines.tables import SOMETIMES, as_table, held, marked, quiet, two_engines
from tests.reference import data
from tests.reference.fits import reference_fit

# poly() needs all rows at once; test_faults has its message
MODELS = sorted(set(data.figures("models")) - {"chick_poly_ml"})
# models that ask the rows for the same sums differ only after the engine has answered
ASKED = {
    (spec["dataset"], spec["formula"], spec["weights"]): model_id
    for model_id, spec in ((m, data.figures("models")[m]) for m in MODELS)
}
# Spark takes a second for each question, a cluster of Dask several, and both a minute for InstEval
ONE_EACH = {key[0]: model_id for key, model_id in ASKED.items() if key[0] != "InstEval"}
BY_ENGINE = {
    "ibis": ASKED.values(),
    "spark": ONE_EACH.values(),
    "dask": ["machines_vec_ml", "oats_rankdef_reml", "penicillin_ml", "sleep_wt_reml"],
}
ELSEWHERE = [
    pytest.param(model_id, engine.values[0], marks=engine.marks, id=f"{model_id}-{engine.id}")
    for engine in map(marked, SOMETIMES)
    for model_id in BY_ENGINE[engine.id]
]


def close(ours: Any, theirs: Any, tolerance: float) -> bool:
    """Relative to the largest."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return False
    return not theirs.size or bool(
        np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max() + 1e-300
    )


def fitted(spec: dict[str, Any], table: Any) -> Any:
    options = {key: spec[key] for key in ("weights", "contrasts") if spec[key] is not None}
    with quiet():
        warnings.simplefilter("ignore", MixedModelsWarning)
        return mm.lmer(spec["formula"], table, reml=spec["reml"], **options)


def same(m: Any, reference: Any) -> None:
    assert m.term_names == reference.term_names
    assert m.n_obs == reference.n_obs
    assert m.n_groups == reference.n_groups
    assert m.optimum.verdict == reference.optimum.verdict
    assert abs(m.criterion - reference.criterion) < 1e-8 * abs(reference.criterion)
    assert close(m.beta, reference.beta, 1e-8)
    assert close(np.sqrt(np.diag(m.vcov)), np.sqrt(np.diag(reference.vcov)), 1e-8)
    assert close(m.theta, reference.theta, 1e-8)


@two_engines
@pytest.mark.parametrize("model_id", MODELS)
def test_same_model(model_id: str, engine: str) -> None:
    spec = data.figures("models")[model_id]
    same(fitted(spec, as_table(data.load(spec["dataset"]), engine)), reference_fit(model_id).model)


@pytest.mark.parametrize(("model_id", "engine"), ELSEWHERE)
def test_same_model_elsewhere(model_id: str, engine: str) -> None:
    spec = data.figures("models")[model_id]
    frame = data.load(spec["dataset"])
    same(fitted(spec, as_table(frame, engine)), fitted(spec, held(frame, engine)))
