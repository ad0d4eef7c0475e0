"""The reference data and name tables themselves: what the other tests stand on."""

from __future__ import annotations

import numpy as np
import pytest

from tests.reference import data, names


@pytest.mark.parametrize("name", list(data.figures("datasets")))
def test_every_data_set_loads_with_the_levels_of_the_reference(name: str) -> None:
    schema, frame = data.figures("datasets")[name], data.load(name)
    assert len(frame) == schema["rows"]
    for column, kind in schema["columns"].items():
        if kind == "number":
            assert frame[column].dtype.kind in "if", column
        else:
            assert frame[column].cat.ordered is kind["ordered"]
            assert frame[column].notna().all()


def test_load_gives_a_fresh_copy() -> None:
    frame = data.load("sleepstudy")
    frame["Days"] = 0
    assert data.load("sleepstudy")["Days"].max() == 9


@pytest.mark.parametrize("model_id", list(data.figures("models")))
def test_fitted_and_residuals_add_up_to_the_response(model_id: str) -> None:
    """The loaded rows are those that R fitted, in the same order."""
    spec = data.figures("models")[model_id]
    frame = data.load(spec["dataset"])
    used = [c for c in frame.columns if c in spec["formula"]]
    complete = frame.dropna(subset=used)
    assert len(complete) == spec["n"]
    y = complete[spec["formula"].split(" ~")[0]].to_numpy(dtype=float)
    np.testing.assert_allclose(y[:6], np.add(spec["fitted"], spec["residuals"]), rtol=1e-10)


@pytest.mark.parametrize(
    ("r_name", "ours"),
    [
        ("(Intercept)", "Intercept"),
        ("Days", "Days"),
        ("I(Days^2)", "I(Days^2)"),
        ("MachineB", "Machine[T.B]"),
        ("factor(nitro)0.2", "factor(nitro)[T.0.2]"),
        ("VarietyVictory:factor(nitro)0.4", "Variety[T.Victory]:factor(nitro)[T.0.4]"),
        ("poly(Time, 2)1:Diet2", "poly(Time, 2)[1]:Diet[T.2]"),
        ("recipeB:temperature.L", "recipe[T.B]:temperature[.L]"),
        ("temperature^4", "temperature[^4]"),
    ],
)
def test_names_of_terms(r_name: str, ours: str) -> None:
    factors = {
        "Machine": ["A", "B"],
        "Variety": ["Golden Rain", "Victory"],
        "Diet": ["1", "2"],
        "recipe": ["A", "B"],
        "temperature": ["175", "185"],
    }
    assert names.terms([r_name], factors, polynomial=["temperature"]) == [ours]


def test_names_of_a_factor_coded_by_all_its_levels() -> None:
    r_names = ["MachineA", "MachineB"]
    assert names.terms(r_names, {"Machine": ["A", "B"]}) == ["Machine[A]", "Machine[B]"]


def test_names_of_groups_and_levels() -> None:
    nested, crossed = "y ~ 1 + (1 | batch/cask)", "y ~ 1 + (1 | batch:cask)"
    assert names.group("cask:batch", nested) == "batch:cask"
    assert names.level("a:A", nested) == "A:a"
    assert names.group("batch:cask", crossed) == "batch:cask"
    assert names.group("Subject.1", "y ~ 1 + (x || Subject)") == "Subject"
