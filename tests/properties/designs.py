"""Random small problems, each as a formula with a frame and as columns for the oracle."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from numpy.typing import NDArray

import mixedmodels as mm
from mixedmodels.errors import MixedModelsWarning
from mixedmodels.likelihood.objective import Evaluation, Objective
from mixedmodels.likelihood.working import working_theta
from mixedmodels.model.fitted import FittedModel
from mixedmodels.optimize import Optimum
from tests import naive

Array = NDArray[np.float64]

# left side of a bar -> the columns of each uncorrelated term
LEFTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "1": (("1",),),
    "0 + x": (("x",),),
    "x": (("1", "x"),),
    "x ||": (("1",), ("x",)),
    "x + z": (("1", "x", "z"),),
    "x + z ||": (("1",), ("x",), ("z",)),
    "0 + f": (("f=u", "f=v"),),
    "x, 0 + z": (("1", "x"), ("z",)),
}
# fixed part -> columns
FIXED: dict[str, tuple[str, ...]] = {
    "0": (),
    "1": ("1",),
    "0 + x": ("x",),
    "x": ("1", "x"),
    "x + f": ("1", "x", "f=v"),
    "x * z": ("1", "x", "z", "xz"),
}
SHAPES = ("one", "nested", "crossed", "three nested", "three crossed", "mixed")


@dataclass(frozen=True)
class Case:
    """One problem, said twice."""

    formula: str
    data: pd.DataFrame
    problem: naive.Problem
    groups: tuple[str, ...]
    reml: bool
    options: dict[str, Any]

    def fit(self, **changes: Any) -> FittedModel:
        return quietly(
            lambda: mm.lmer(
                **{
                    "formula": self.formula,
                    "data": self.data,
                    "reml": self.reml,
                    **self.options,
                    **changes,
                }
            )
        )

    def prepare(self, **changes: Any) -> FittedModel:
        """The model at its start, without a search: for what holds at any theta."""
        with mock.patch("mixedmodels.model.search.minimise", _stay):
            return self.fit(**changes)


def _stay(objective: Objective, start: Array, *, on_evaluation: object = None) -> Optimum:
    size = len(start)
    return Optimum(objective.evaluate(start), np.zeros((size, size)), 1, 0.0, 0.0, "optimum")


def quietly(make: Callable[[], FittedModel]) -> FittedModel:
    """Run a fit whose warnings about the boundary are no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        return make()


def at_theta(model: FittedModel, theta: Array) -> FittedModel:
    """The same model with all estimates taken at another theta (user's units)."""
    working = working_theta(model.working, model.design, theta, model.rows.weight_scale)
    return at_evaluation(model, model.objective.evaluate(working))


def at_evaluation(model: FittedModel, evaluation: Evaluation) -> FittedModel:
    return replace(model, optimum=replace(model.optimum, at=evaluation))


def column(data: pd.DataFrame, name: str) -> Array:
    """One column of X or Z by its short name."""
    if name == "1":
        return np.ones(len(data))
    if name.startswith("f="):
        return (data["f"] == name[2:]).to_numpy(np.float64)
    if name == "xz":
        return np.asarray(data["x"] * data["z"], dtype=np.float64)
    return data[name].to_numpy(np.float64)


def columns(data: pd.DataFrame, names: tuple[str, ...]) -> Array:
    if not names:
        return np.empty((len(data), 0))
    return np.stack([column(data, name) for name in names], axis=1)


def make_case(
    shape: str,
    lefts: tuple[str, ...],
    fixed: str,
    seed: int,
    *,
    n: int = 48,
    reml: bool = True,
    weighted: bool = False,
    with_offset: bool = False,
    zero_share: float = 0.0,
) -> Case:
    """A problem with the given structure and random numbers."""
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "x": rng.normal(0.5, 1.0, n),
            "z": rng.uniform(-1, 1, n),
            "f": rng.permutation(np.resize(["u", "v"], n)),
            "w": rng.uniform(0.3, 3.0, n),
            "o": rng.normal(size=n),
        }
    )
    groups = _groups(shape, rng, n, data)
    lefts = (lefts * 3)[: len(groups)]
    bars, pairs = [], []
    for group, left in zip(groups, lefts, strict=True):
        most = max(len(part) for part in LEFTS[left])
        if data[group].nunique() * most >= n:
            left = "1"
        bars += _bars(left, group)
        pairs += [(group, part) for part in LEFTS[left]]
    terms = tuple(_term(data, group, part) for group, part in pairs)
    order = sorted(range(len(terms)), key=lambda i: -terms[i].n_levels)
    terms = tuple(terms[i] for i in order)
    X = columns(data, FIXED[fixed])
    problem = naive.Problem(
        X,
        np.zeros(n),
        terms,
        data["w"].to_numpy() if weighted else None,
        data["o"].to_numpy() if with_offset else None,
    )
    theta = random_theta(problem, rng, zero_share)
    solution = naive.Solution(problem, theta, reml)
    data["y"] = (
        X @ rng.normal(size=X.shape[1])
        + data["o"] * with_offset
        + np.linalg.cholesky(solution.V) @ rng.normal(size=n)
    )
    problem = replace(problem, y=data["y"].to_numpy())
    options = {
        name: short
        for name, short, used in (("weights", "w", weighted), ("offset", "o", with_offset))
        if used
    }
    formula = f"y ~ {fixed} + " + " + ".join(bars)
    return Case(formula, data, problem, tuple(pairs[i][0] for i in order), reml, options)


def random_theta(
    problem: naive.Problem, rng: np.random.Generator, zero_share: float = 0.0
) -> Array:
    """Random factors; some columns of Lambda are zero with the given probability."""
    parts = []
    for term in problem.terms:
        lower = np.tril(rng.normal(0.0, 0.7, (term.q, term.q)))
        lower[np.diag_indices(term.q)] = np.abs(np.diag(lower)) + 0.1
        lower *= rng.random(term.q) >= zero_share
        parts += [lower[j:, j] for j in range(term.q)]
    return np.concatenate(parts)


def _term(data: pd.DataFrame, group: str, part: tuple[str, ...]) -> naive.Term:
    levels, codes = np.unique(data[group].to_numpy(str), return_inverse=True)
    return naive.Term(codes, len(levels), columns(data, part))


def _bars(left: str, group: str) -> list[str]:
    if left.endswith("||"):
        return [f"({left} {group})"]
    return [f"({side.strip()} | {group})" for side in left.split(",")]


def _uneven(rng: np.random.Generator, n: int, n_levels: int) -> NDArray[np.int64]:
    """Codes that use every level at least once, most of them on a few levels."""
    share = rng.dirichlet(np.full(n_levels, 1.5))
    codes = np.concatenate([np.arange(n_levels), rng.choice(n_levels, n - n_levels, p=share)])
    return np.asarray(rng.permutation(codes))


def _labels(letter: str, codes: NDArray[np.int64]) -> list[str]:
    return [f"{letter}{code:02d}" for code in codes]


def _groups(shape: str, rng: np.random.Generator, n: int, data: pd.DataFrame) -> list[str]:
    """Grouping columns added to the frame; their names."""
    fine = _uneven(rng, n, int(rng.integers(6, 10)))
    data["g"] = _labels("g", fine)
    if shape == "one":
        return ["g"]
    if shape in ("nested", "three nested", "mixed"):
        above = rng.permutation(np.resize(np.arange(4), fine.max() + 1))
        data["h"] = _labels("h", above[fine])
        if shape == "nested":
            return ["h", "g"]
        if shape == "three nested":
            data["k"] = _labels("k", (above // 2)[fine])
            return ["g", "k", "h"]
        data["k"] = _labels("k", _uneven(rng, n, 3))
        return ["h", "k", "g"]
    data["h"] = _labels("h", _uneven(rng, n, 5))
    if shape == "crossed":
        return ["h", "g"]
    data["k"] = _labels("k", _uneven(rng, n, 3))
    return ["k", "g", "h"]


@st.composite
def cases(draw: st.DrawFn, shapes: tuple[str, ...] = SHAPES) -> Case:
    """Any structure that the package fits, small."""
    shape = draw(st.sampled_from(shapes))
    lefts = draw(st.lists(st.sampled_from(sorted(LEFTS)), min_size=3, max_size=3))
    return make_case(
        shape,
        tuple(lefts),
        draw(st.sampled_from(sorted(FIXED))),
        draw(st.integers(0, 10**6)),
        n=draw(st.integers(30, 60)),
        reml=draw(st.booleans()),
        weighted=draw(st.booleans()),
        with_offset=draw(st.booleans()),
        zero_share=draw(st.sampled_from([0.0, 0.0, 0.5])),
    )
