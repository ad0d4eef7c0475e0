"""Every public function with wrong values for each of its arguments: one of our errors, no warning.

Nothing of Python's or a library's own may come through: no AttributeError, KeyError, IndexError,
no RuntimeWarning of NumPy. TypeError and ValueError count only when we raise them.
"""

from __future__ import annotations

import inspect
import traceback
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import mixedmodels as mm
from tests.bad_input.common import base

PACKAGE = str(Path(mm.__file__).parent)
ROLES = {"id": "g", "time": "time", "response": "y"}


@cache
def things() -> dict[str, Any]:
    """Data, models and results that functions take."""
    data = base().assign(time=np.tile(np.arange(8), 12))
    m = mm.lmer("y ~ x + (1|g)", data)
    return {
        "data": data,
        "m": m,
        "large": mm.lmer("y ~ x + f + (1|g)", data),
        "slope": mm.lmer("y ~ time + (time|g)", data),
        "lists": mm.lm_list("y ~ time | g", data),
        "correlations": mm.time_correlations(data, **ROLES),
        "clusters": mm.cluster_trajectories(data, k=[2, 3], n_starts=2, **ROLES),
        "boot": m.bootstrap(20, seed=1),
        "profile": mm.profile(m, "x"),
    }


@cache
def wrong() -> dict[str, Any]:
    """Values that hardly any argument can be."""
    data, m = things()["data"], things()["m"]
    return {
        "None": None, "5": 5, "-1": -1, "2.5": 2.5, "nan": np.nan, "inf": np.inf, "text": "nope",
        "empty text": "", "bytes": b"x", "complex": 1j, "object": object(), "function": len,
        "array": np.ones(96), "matrix": np.ones((3, 2)), "empty list": [], "list": ["x", "nope"],
        "list of None": [None], "set": {"x"}, "dict": {"x": 1}, "dict of numbers": {1: 2},
        "frame": data, "empty frame": data.iloc[:0], "series": data["y"],
        "polars": pl.from_pandas(data), "lazy": pl.from_pandas(data).lazy(),
        "arrow": pa.Table.from_pandas(data), "model": m, "models": [m, m],
        "another result": things()["boot"],
    }  # fmt: skip


def good() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Each public function and arguments with which it works."""
    t = things()
    data, m, large, slope, lists = (t[k] for k in ("data", "m", "large", "slope", "lists"))
    wide = data[["x", "z"]].assign(g=range(96))
    pair = {"large": large, "small": m}
    calls: dict[Callable[..., Any], dict[str, Any]] = {
        mm.lmer: {"formula": "y ~ x + (1|g)", "data": data},
        mm.lm: {"formula": "y ~ x", "data": data},
        mm.aictab: {"models": [m, large]},
        mm.anova: {"models": (m,)},
        mm.binned_residuals: {"m": m, "table": pl.from_pandas(data).lazy()},
        mm.check_convergence: {"m": m, "n_starts": 0},
        mm.check_design: {"data": data, "id": "g", "time": "time"},
        mm.check_model: {"m": m, "n_sim": 3},
        mm.cluster_trajectories: {"data": data, "k": 2, "n_starts": 1, **ROLES},
        mm.confint: {"model": m},
        mm.describe: {"data": data, "response": "y"},
        mm.drop1: {"m": large},
        mm.emmeans: {"model": large, "specs": "f"},
        mm.emtrends: {"model": large, "specs": "f", "var": "x"},
        mm.fit_many: {"formula": "y ~ x + (1|g)", "data": data, "by": "f"},
        mm.icc: {"m": m},
        mm.implied_correlations: {"m": slope, "time": "time"},
        mm.influence: {"m": m},
        mm.krmodcomp: pair,
        mm.lm_list: {"formula": "y ~ time | g", "data": data},
        mm.load: {"path": "model.mm"},
        mm.model_avg: {"models": [m, large]},
        mm.model_avg_predict: {"models": [m, large]},
        mm.pb_refdist: {**pair, "n_sim": 5},
        mm.pbmodcomp: {**pair, "n_sim": 5},
        mm.profile: {"model": m, "parm": "x"},
        mm.r2: {"m": m},
        mm.ranova: {"m": m},
        mm.repeatability: {"m": m, "n_sim": 5},
        mm.satmodcomp: pair,
        mm.save: {"model": m, "path": "model.mm"},
        mm.tab_model: {"models": (m,)},
        mm.time_correlations: {"data": data, **ROLES},
        mm.to_long: {"data": wide, "id": "g", "columns": {"x": 1, "z": 2}},
        mm.to_wide: {"data": data, "id": "g", "time": "time", "value": "y"},
        mm.datasets.load: {"name": "piglets"},
        mm.Moments.from_frame: {"formula": "y ~ x + (1|g)", "data": pl.from_pandas(data).lazy()},
        m.tidy: {},
        m.residuals: {},
        m.predict: {},
        m.simulate: {},
        m.bootstrap: {"n_sim": 5},
        m.refit: {"y": m.response},
        m.update: {},
        t["boot"].confint: {},
        t["profile"].confint: {},
        lists.coef: {},
        lists.compare: {"other": lists},
        mm.emmeans(large, "f").contrasts: {},
        mm.emmeans(large, "f").joint_tests: {},
        **plots(),
    }
    return {name_of(function): (function, arguments) for function, arguments in calls.items()}


def plots() -> dict[Callable[..., Any], dict[str, Any]]:
    """The same of figures."""
    t, plot = things(), mm.plot
    data, m, slope, lists = (t[k] for k in ("data", "m", "slope", "lists"))
    of_model = (
        *("all_effects", "all_residuals", "calibration", "caterpillar", "dfbetas", "influence"),
        *("qq", "qq_random", "residuals", "residual_distribution", "residuals_leverage"),
        "scale_location",
    )
    return {
        plot.autocorrelation: {"m": slope, "time": "time"},
        plot.bootstrap_density: {"b": t["boot"]},
        plot.boxes: {"data": data, "time": "time", "response": "y"},
        plot.check: {"m": m, "n_sim": 3},
        plot.clusters: {"found": t["clusters"]},
        plot.coefficients: {"models": (m,)},
        plot.compare_lists: {"first": lists, "second": lists},
        plot.conditional: {"m": slope, "x": "time"},
        plot.correlations: {"found": t["correlations"]},
        plot.criteria: {"found": t["clusters"]},
        plot.distribution: {"data": data, "response": "y"},
        plot.dropout: {"data": data, **ROLES},
        plot.effects: {"m": m, "x": "x"},
        plot.emmeans: {"grid": mm.emmeans(t["large"], "f")},
        plot.group_intervals: {"fits": lists},
        plot.marginal: {"m": m, "x": "x"},
        plot.means: {"data": data, "time": "time", "response": "y"},
        plot.missingness: {"data": data},
        plot.model_weights: {"models": ([m, t["large"]],)},
        plot.profile_density: {"pr": t["profile"]},
        plot.profile_zeta: {"pr": t["profile"]},
        plot.random_pairs: {"m": slope},
        plot.scatter_matrix: {"data": data, **ROLES},
        plot.shrinkage: {"m": slope},
        plot.theme_mixedmodels: {},
        plot.trajectories: {"data": data, **ROLES},
        plot.variance_partition: {"models": (m,)},
        plot.violins: {"data": data, "time": "time", "response": "y"},
        **{getattr(plot, name): {"m": m} for name in of_model},
    }


def name_of(function: Callable[..., Any]) -> str:
    folder = "plot." if function.__module__.startswith("mixedmodels.plot") else ""
    return folder + function.__qualname__


# a report takes seconds: its arguments are checked in tests/reporting
LEFT_OUT = {"report"}


def public() -> list[str]:
    """Names of all public functions."""
    functions = [getattr(mm, name) for name in mm.__all__]
    functions += [getattr(mm.plot, name) for name in dir(mm.plot) if not name.startswith("_")]
    return [name_of(f) for f in functions if inspect.isfunction(f) and name_of(f) not in LEFT_OUT]


@pytest.mark.parametrize("name", public())
def test_public_functions(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a wrong value may be a good path
    mm.save(things()["m"], "model.mm")
    refuses_what_is_wrong(*good()[name])


METHODS = [
    "load", "Moments.from_frame", "FittedModel.tidy", "FittedModel.residuals",
    "FittedModel.predict", "FittedModel.simulate", "FittedModel.bootstrap", "FittedModel.refit",
    "FittedModel.update", "Bootstrap.confint", "LikelihoodProfile.confint", "LmList.coef",
    "LmList.compare", "EmmGrid.contrasts", "EmmGrid.joint_tests",
]  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str) -> None:
    refuses_what_is_wrong(*good()[name])


def refuses_what_is_wrong(function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    """Each argument in turn gets each wrong value."""
    parameters = inspect.signature(function).parameters
    many = [name for name, p in parameters.items() if p.kind is p.VAR_POSITIONAL]
    refused = 0
    for name in parameters:
        for what, value in wrong().items():
            given = {**arguments, name: (value,) if name in many else value}
            spread = [item for which in many for item in given.pop(which)]
            refused += outcome(function, spread, given, f"{name}={what}")
    assert refused > 10  # most are


def is_ours(error: Exception) -> bool:
    """Whether we raised it, with some words."""
    if isinstance(error, mm.MixedModelsError | OSError):
        return len(str(error)) > 10
    last = traceback.extract_tb(error.__traceback__)[-1]
    return isinstance(error, TypeError | ValueError) and last.filename.startswith(PACKAGE)


def outcome(function: Callable[..., Any], spread: list[Any], given: Any, where: str) -> bool:
    """Whether a call was refused; an assertion fails when it was not refused by us."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            function(*spread, **given)
            refused = False
        except Exception as error:
            if not is_ours(error):
                raise AssertionError(f"{where}: {error!r}") from error
            refused = True
    for warning in caught:
        assert issubclass(warning.category, mm.MixedModelsWarning), f"{where}: {warning.message}"
    return refused
