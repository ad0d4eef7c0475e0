"""Results travel: pickled, copied, sent to other processes; and none of them is the user's data."""

from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from joblib import Parallel, delayed
from numpy.testing import assert_array_equal

import mixedmodels as mm

pytestmark = pytest.mark.filterwarnings("ignore::mixedmodels.MixedModelsWarning")


def columns(n: int = 240) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    g, h, x = np.arange(n) % 20, rng.integers(0, 7, n), rng.normal(size=n)
    y = 1 + x + rng.normal(size=20)[g] * (1 + 0.5 * x) + rng.normal(size=7)[h]
    f = np.array(list("abc"))[np.arange(n) % 3]
    return {"y": y + rng.normal(size=n), "x": x, "g": g, "h": h, "f": f, "t": np.arange(n) // 20}


@cache
def models() -> dict[str, mm.FittedModel]:
    data = pd.DataFrame(columns())
    return {
        "lm": mm.lm("y ~ x + f", data),
        "slopes": mm.lmer("y ~ x + f + (x | g)", data),
        "crossed": mm.lmer("y ~ x + f + (1 | g) + (1 | h)", data),
        "growth": mm.lmer("y ~ t + (t | g)", data),
    }


RESULTS: dict[str, Callable[[], Any]] = {
    **{name: lambda name=name: models()[name] for name in ("lm", "slopes", "crossed")},
    "summary": lambda: models()["slopes"].summary(),
    "bootstrap": lambda: models()["slopes"].bootstrap(3, seed=1),
    "profile": lambda: mm.profile(models()["slopes"], "x"),
    "means": lambda: mm.emmeans(models()["slopes"], "f"),
    "trends": lambda: mm.emtrends(models()["slopes"], "f", var="x"),
    "check": lambda: mm.check_model(models()["slopes"], n_sim=3, seed=1),
    "convergence": lambda: mm.check_convergence(models()["slopes"], 1),
    "clusters": lambda: mm.cluster_trajectories(
        pd.DataFrame(columns()), id="g", time="t", response="y", k=[2, 3], n_starts=2
    ),
    "regressions": lambda: mm.lm_list("y ~ t | g", pd.DataFrame(columns())),
    "correlations": lambda: mm.time_correlations(
        pd.DataFrame(columns()), id="g", time="t", response="y"
    ),
    "implied": lambda: mm.implied_correlations(models()["growth"], time="t"),
    "many": lambda: mm.fit_many("y ~ x + (1 | g)", pd.DataFrame(columns()), by="f"),
    "moments": lambda: mm.Moments.from_frame("y ~ x + (1 | g)", pd.DataFrame(columns())),
    "design": lambda: mm.check_design(pd.DataFrame(columns()), id="g", time="t"),
    "icc": lambda: mm.icc(models()["slopes"]),
    "r2": lambda: mm.r2(models()["slopes"]),
    "pca": lambda: models()["slopes"].pca(),
    "table": lambda: mm.tab_model(models()["slopes"]),
}


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_pickled_and_copied(name: str) -> None:
    result = RESULTS[name]()
    text = pickle.dumps(result)
    assert len(text) < 100_000
    for other in (pickle.loads(text), copy.deepcopy(result), copy.copy(result)):
        assert str(other) == str(result)


def test_any_number_of_jobs_gives_the_same_numbers() -> None:
    m, data = models()["crossed"], pd.DataFrame(columns())
    responses = m.simulate(3, seed=2)
    sent = Parallel(n_jobs=2)(delayed(m.refit)(y) for y in responses)
    assert [other.criterion for other in sent] == [m.refit(y).criterion for y in responses]
    statistic = operator.attrgetter("beta")
    drawn = [m.bootstrap(6, statistic, seed=3, n_jobs=jobs).replicates for jobs in (1, 2)]
    assert_array_equal(*drawn)
    formula = "y ~ x + (1 | g) + (1 | h)"
    one, two = (mm.fit_many(formula, data, by="f", n_jobs=jobs).tidy() for jobs in (1, 2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


# --- the user goes on with the data ---------------------------------------------------------------


def spoil_arrays(data: dict[str, np.ndarray]) -> None:
    for name, values in data.items():
        values[:] = "a" if name == "f" else 0


def spoil_pandas(data: pd.DataFrame) -> None:
    data.loc[:, ["y", "x"]] = 0.0
    data["g"] = 1
    data.iloc[:, data.columns.get_loc("h")] = 2
    del data["f"]


def spoil_polars(data: pl.DataFrame) -> None:
    for row in range(len(data)):
        data[row, "y"] = 0.0
    data.drop_in_place("f")


USES: dict[str, Callable[[mm.FittedModel], Any]] = {
    "predict": lambda m: m.predict(interval="prediction"),
    "augment": lambda m: m.augment(),
    "refit": lambda m: m.refit(m.response * 2).summary(),
    "update": lambda m: m.update("~ . - x", reml=False).summary(),
    "simulate": lambda m: m.simulate(2, seed=1).tobytes(),
    "bootstrap": lambda m: m.bootstrap(3, seed=1).replicates.tobytes(),
    "means": lambda m: mm.emmeans(m, "f"),
    "tests": lambda m: mm.anova(m),
    "check": lambda m: mm.check_model(m, n_sim=2, seed=1),
    "influence": lambda m: mm.influence(m),
    "figure": lambda m: mm.plot.effects(m, "x").data,
}


@pytest.mark.parametrize(
    ("make", "spoil"),
    [(dict, spoil_arrays), (pd.DataFrame, spoil_pandas), (pl.DataFrame, spoil_polars)],
    ids=["arrays", "pandas", "polars"],
)
def test_a_model_keeps_the_data_that_it_was_fitted_to(
    make: Callable[[dict[str, np.ndarray]], Any], spoil: Callable[[Any], None]
) -> None:
    formula, data, weights = "y ~ x + f + (x | g)", make(columns()), np.linspace(1.0, 2.0, 240)
    same = mm.lmer(formula, make(columns()), weights=weights.copy())
    m = mm.lmer(formula, data, weights=weights)
    spoil(data)
    weights[:] = 7.0
    for name, use in USES.items():
        assert str(use(m)) == str(use(same)), name
