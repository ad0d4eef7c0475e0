"""What belongs to the user stays as it was, whichever public function is called."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

import mixedmodels as mm
from tests.bad_input.test_every_function import good, things
from tests.surroundings import changed, settings


@pytest.mark.filterwarnings("ignore::mixedmodels.MixedModelsWarning")
def test_no_public_function_changes_a_global_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is called, what it gives is printed, and drawn if it is a figure."""
    monkeypatch.chdir(tmp_path)
    mm.save(things()["m"], "model.mm")
    calls = good()
    # libraries that load now set filters and variables of their own
    for library in ("joblib", "scipy.special", "statsmodels.api"):
        importlib.import_module(library)
    mm.plot.residuals(things()["m"]).save("first.png", verbose=False, dpi=40)
    touched = {}
    for name, (function, arguments) in calls.items():
        parameters = inspect.signature(function).parameters
        given = dict(arguments)
        spread = [
            item
            for each, p in parameters.items()
            if p.kind is p.VAR_POSITIONAL
            for item in given.pop(each)
        ]
        before = settings()
        found = function(*spread, **given)
        if hasattr(found, "save") and name.startswith("plot."):
            found.save("figure.png", verbose=False, dpi=40)
        else:
            str(found)
        touched[name] = changed(before, settings())
    assert {name: what for name, what in touched.items() if what} == {}
