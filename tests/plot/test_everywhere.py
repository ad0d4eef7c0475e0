"""Every plot of a model, for models that are awkward in every way at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedmodels as mm
from tests.plot.common import HOSTILE, draw, hostile

X, ARM, ID = "dose $x$ {1}", "<b>arm</b> $y^{", "ward & <i>bed</i>"
LONG = "a name that goes on and on, $\\frac{1}{2}$ and on " * 4
ARMS = ["<script>alert(1)</script>", LONG, "עברית"]
TEXT = f"y ~ `{X}` * `{ARM}`"

# a call for each plot of a model; what a linear model cannot have is at the end
SINGLE: dict[str, Callable[[Any], Any]] = {
    "all_effects": lambda m: mm.plot.all_effects(m),
    "all_residuals": lambda m: mm.plot.all_residuals(m),
    "calibration": lambda m: mm.plot.calibration(m),
    "check": lambda m: mm.plot.check(m, n_sim=20),
    "coefficients": lambda m: mm.plot.coefficients({LONG: m, ARMS[0]: m}),
    "dfbetas": lambda m: mm.plot.dfbetas(m),
    "effects": lambda m: mm.plot.effects(m, ARM, by=X),
    "emmeans": lambda m: mm.plot.emmeans(mm.emmeans(m, ARM)),
    "influence": lambda m: mm.plot.influence(m),
    "marginal": lambda m: mm.plot.marginal(m, X, by=ARM),
    "qq": lambda m: mm.plot.qq(m),
    "residual_distribution": lambda m: mm.plot.residual_distribution(m),
    "residuals": lambda m: mm.plot.residuals(m, ARM),
    "residuals_leverage": lambda m: mm.plot.residuals_leverage(m),
    "scale_location": lambda m: mm.plot.scale_location(m),
    "autocorrelation": lambda m: mm.plot.autocorrelation(m, X),
    "influence of groups": lambda m: mm.plot.influence(m, ID),
    "variance_partition": lambda m: mm.plot.variance_partition({LONG: m, "b": m}),
    "caterpillar": lambda m: mm.plot.caterpillar(m),
    "conditional": lambda m: mm.plot.conditional(m, X, facets=True),
    "qq_random": lambda m: mm.plot.qq_random(m),
    "random_pairs": lambda m: mm.plot.random_pairs(m),
    "shrinkage": lambda m: mm.plot.shrinkage(m),
}
MIXED_ONLY = list(SINGLE)[list(SINGLE).index("caterpillar") :]


def rows(n_groups: int, each: int) -> dict[str, Any]:
    """Groups of different sizes, the first five of one row; slopes that do not vary."""
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(n_groups), np.where(np.arange(n_groups) < 5, 1, each))
    x = rng.uniform(0.0, 4.0, len(g)).round(1)
    arm = g % 3
    y = 1.0 + 0.5 * x + 0.3 * arm + rng.normal(size=n_groups)[g] + rng.normal(size=len(g))
    names = [f"{LONG} {k}" if k % 4 else f"{ARMS[k % 3]} {k}" for k in range(n_groups)]
    return {"y": y, X: x, ARM: [ARMS[a] for a in arm], ID: [names[k] for k in g]}


@cache
def model(kind: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.SingularFitWarning)
        if kind == "hostile and singular, Polars":
            m = mm.lmer(f"{TEXT} + (`{X}` || `{ID}`)", pl.DataFrame(rows(40, 6)))
            assert m.is_singular
            return m
        if kind == "5,000 levels":
            return mm.lmer(f"{TEXT} + (1 | `{ID}`)", pd.DataFrame(rows(5000, 3)))
        return mm.lm(TEXT, pl.DataFrame(rows(40, 3)))


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("kind", ["hostile and singular, Polars", "linear"])
def test_awkward_models_are_drawn(kind: str, name: str) -> None:
    m = model(kind)
    if kind == "linear" and name in MIXED_ONLY:
        with pytest.raises(mm.ModelError, match="no random effects"):
            SINGLE[name](m)
        return
    with warnings.catch_warnings():
        # a level without rows of other levels cannot be left out: said, and not drawn
        warnings.simplefilter("ignore", mm.DataWarning)
        plot = SINGLE[name](m)
    assert draw(plot).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name",
    ["autocorrelation", "caterpillar", "conditional", "influence of groups", "qq_random",
     "shrinkage"],
)  # fmt: skip
def test_five_thousand_levels_are_thinned(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.DataWarning)
        plot = SINGLE[name](model("5,000 levels"))
    if name in ("caterpillar", "influence of groups", "conditional", "shrinkage"):
        assert " of 5,000 " in plot.labels.caption
        draw(plot)


@cache
def small() -> Any:
    return mm.lmer(f"y ~ `{X}` + (1 | `{ID}`)", pl.DataFrame(rows(40, 6)), reml=False)


@cache
def lists(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        return mm.lm_list(f"{text} | `{ID}`", pl.DataFrame(rows(12, 6)))


@cache
def clustered() -> Any:
    data = rows(45, 4)
    frame = pl.DataFrame(data).with_columns(pl.int_range(pl.len()).over(ID).alias(X))
    frame = frame.filter(pl.len().over(ID) > 1)
    return mm.cluster_trajectories(frame, id=ID, time=X, response="y", k=[2, 3], n_starts=2)


OTHERS: dict[str, Callable[[], Any]] = {
    "bootstrap_density": lambda: mm.plot.bootstrap_density(small().bootstrap(20, seed=1)),
    "clusters": lambda: mm.plot.clusters(clustered(), 2),
    "criteria": lambda: mm.plot.criteria(clustered()),
    "compare_lists": lambda: mm.plot.compare_lists(
        lists("y ~ 1"), lists(f"y ~ `{X}`"), "sigma", names=(LONG, ARMS[0])
    ),
    "correlations": lambda: mm.plot.correlations(
        mm.time_correlations(hostile(), **HOSTILE), labels={HOSTILE["response"]: LONG}
    ),
    "dropout": lambda: mm.plot.dropout(hostile(), **HOSTILE),
    "group_intervals": lambda: mm.plot.group_intervals(lists(f"y ~ `{X}`")),
    "model_weights": lambda: mm.plot.model_weights({LONG: small(), ARMS[0]: small(), "c": small()}),
    "profile_density": lambda: mm.plot.profile_density(mm.profile(small())),
    "profile_zeta": lambda: mm.plot.profile_zeta(mm.profile(small())),
    "scatter_matrix": lambda: mm.plot.scatter_matrix(hostile(), **HOSTILE),
}


@pytest.mark.parametrize("name", OTHERS)
def test_awkward_names_in_other_plots(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        plot = OTHERS[name]()
    assert draw(plot).startswith(b"\x89PNG")


def test_every_plot_is_drawn_somewhere() -> None:
    tests = "\n".join(path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    names = {name for name in vars(mm.plot) if callable(getattr(mm.plot, name))}
    missing = {name for name in names if f"mm.plot.{name}(" not in tests}
    assert missing == {"theme_mixedmodels"}
