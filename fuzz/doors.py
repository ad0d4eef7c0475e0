"""What every door must keep on a random model: a documented error, or answers that agree.

A door is a function of a `Visit`; it raises `AssertionError` with words where a promise is broken.
A long run by hand: ``python -m fuzz.doors --first 0 --cases 10000``.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import pickle
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from numpy.testing import assert_allclose, assert_array_equal

import mixedmodels as mm
from fuzz.cases import FuzzCase, make_case
from mixedmodels.cli.run import main as command_line
from mixedmodels.errors import MixedModelsError, MixedModelsWarning
from mixedmodels.formula.parse import parse

Rng = np.random.Generator
# processor seconds after which a door counts as hung
LONGEST = 5.0
# doors that a case goes through
VISITS = 4


@dataclass
class Visit:
    """A random model at a door.

    Attributes
    ----------
    table : pandas.DataFrame
        The data of the case in pandas, rows numbered.
    rows : ndarray of bool
        Which rows the model used.
    """

    case: FuzzCase
    model: Any
    rng: Rng
    table: pd.DataFrame
    rows: Any

    def pick(self, *values: Any) -> Any:
        return values[int(self.rng.integers(len(values)))]

    @property
    def arrays(self) -> bool:
        """Whether rows of new data would need weights or offsets of their own."""
        return any(not isinstance(v, str | bool) for v in self.case.options.values())

    @property
    def settled(self) -> bool:
        """Whether a second search must end at the same place."""
        return self.model.convergence.verdict in ("optimum", "boundary optimum")

    def names(self, kind: str) -> list[str]:
        """Columns of the fixed part that hold numbers, or labels."""
        known = self.case.columns
        used = {name for atom in self.case.fixed for name in known if name in atom}
        return sorted(n for n in used if (known[n].numbers is not None) == (kind == "number"))


@dataclass
class Outcome:
    """How a case went through its doors: the door, and what it broke there."""

    seed: int
    formula: str = ""
    fitted: bool = False
    doors: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


Door = Callable[[Visit], None]
DOORS: dict[str, Door] = {}
# what libraries raise when a column has no place in their frames
CANNOT_HOLD = (
    TypeError,
    ValueError,
    KeyError,
    NotImplementedError,
    pa.ArrowException,
    pl.exceptions.PolarsError,
)


def door(function: Door) -> Door:
    DOORS[function.__name__] = function
    return function


def close(found: Any, expected: Any, rtol: float = 1e-6, atol: float = 0.0) -> None:
    """The same numbers, gaps at the same places; small against the largest counts as rounding."""
    expected = np.asarray(expected, np.float64)
    size = np.nanmax(np.abs(expected), initial=0.0)
    assert_allclose(np.asarray(found, np.float64), expected, rtol=rtol, atol=atol + rtol * size)


def column(frame: Any, name: str) -> Any:
    return nw.from_native(frame, eager_only=True)[name].to_numpy()


# --- rows -----------------------------------------------------------------------------------------


@door
def predict_the_data(v: Visit) -> None:
    if not v.arrays:
        found = np.asarray(v.model.predict(v.table), np.float64)
        # rows that miss nothing but the response have predictions too
        assert np.isfinite(found[v.rows]).all()
        close(found[v.rows], v.model.fitted, 1e-7)


@door
def predict_hostile_rows(v: Visit) -> None:
    if v.arrays:
        return
    n = len(v.table)
    take = v.rng.integers(0, n, int(v.rng.integers(0, 9))) if n else np.empty(0, int)
    new = v.table.iloc[take].copy()
    new.index = v.pick(new.index, range(len(new)), ["row"] * len(new))
    kept = np.ones(len(new), bool)
    used = list(v.case.used)
    for _ in range(int(v.rng.integers(0, 3))):
        name = str(v.rng.choice(used))
        change = v.pick(_gap, _level, _text, _huge, _gone, _twice, _other_type)
        with contextlib.suppress(*CANNOT_HOLD):
            new, same = change(v.rng, new, name)
            kept &= same
    library = v.pick(_pandas, _pandas, _polars, _arrow, _dict)
    try:
        data = library(new)
    except CANNOT_HOLD:
        data = new
    interval = v.pick(None, None, "confidence", "prediction")
    levels = v.pick("error", "zero")
    found = v.model.predict(data, new_levels=levels, interval=interval)
    if interval is not None:
        low, high = column(found, "conf_low"), column(found, "conf_high")
        found = column(found, "prediction")
        known = ~np.isnan(found)
        assert (low[known] <= found[known]).all()
        assert (high[known] >= found[known]).all()
    assert len(found) == len(new)
    same = kept & v.rows[take]
    fitted = np.full(n, np.nan)
    fitted[v.rows] = v.model.fitted
    close(np.asarray(found, np.float64)[same], fitted[take][same], 1e-7)


def _gap(rng: Rng, new: pd.DataFrame, name: str) -> tuple[pd.DataFrame, Any]:
    holes = rng.random(len(new)) < 0.5
    new[name] = new[name].astype(object).where(~holes, None)
    return new, ~holes


def _level(rng: Rng, new: pd.DataFrame, name: str) -> tuple[pd.DataFrame, Any]:
    where = rng.random(len(new)) < 0.3
    label = str(rng.choice(["new", "a\n\x1b[31m", "", "nan", "1e9"]))
    new[name] = new[name].astype(object).where(~where, label)
    return new, ~where


def _text(rng: Rng, new: pd.DataFrame, name: str) -> tuple[pd.DataFrame, Any]:
    new[name] = new[name].astype(str)
    return new, np.zeros(len(new), bool)


def _huge(rng: Rng, new: pd.DataFrame, name: str) -> tuple[pd.DataFrame, Any]:
    new[name] = float(rng.choice([np.inf, -np.inf, 1e308, 1e-308, 0.0, -1.0]))
    return new, np.zeros(len(new), bool)


def _gone(rng: Rng, new: pd.DataFrame, name: str) -> tuple[pd.DataFrame, Any]:
    return new.drop(columns=name), np.ones(len(new), bool)


def _twice(rng: Rng, new: pd.DataFrame, name: str) -> tuple[pd.DataFrame, Any]:
    return pd.concat([new, new[[name]]], axis=1), np.ones(len(new), bool)


def _other_type(rng: Rng, new: pd.DataFrame, name: str) -> tuple[pd.DataFrame, Any]:
    kind = str(rng.choice(["object", "category", "float32", "complex", "datetime64[ns]", "bool"]))
    new[name] = new[name].astype(kind)
    return new, np.full(len(new), kind in ("object", "category"))


def _pandas(new: pd.DataFrame) -> Any:
    return new


def _polars(new: pd.DataFrame) -> Any:
    return pl.from_pandas(new)


def _arrow(new: pd.DataFrame) -> Any:
    return pa.Table.from_pandas(new, preserve_index=False)


def _dict(new: pd.DataFrame) -> Any:
    return {name: new[name].to_numpy() for name in new}


@door
def augment_keeps_the_rows(v: Visit) -> None:
    out = nw.from_native(v.model.augment(), eager_only=True)
    assert len(out) == len(v.table)
    fitted = out["fitted"].to_numpy()
    assert_array_equal(~np.isnan(fitted.astype(float)), v.rows)
    close(fitted[v.rows], v.model.fitted, 1e-9)


@door
def permuted_rows(v: Visit) -> None:
    if v.arrays or not len(v.table):
        return
    order = v.rng.permutation(len(v.table))
    again = mm.lmer(v.case.formula, v.table.iloc[order], **v.case.options)
    if v.settled and again.convergence.verdict == v.model.convergence.verdict:
        close(again.loglik, v.model.loglik, 1e-6, 1e-5)


# --- the same model again -------------------------------------------------------------------------


@door
def refit_the_same(v: Visit) -> None:
    y = np.asarray(v.model.response, np.float64)
    again = v.model.refit(y)
    if v.settled and again.convergence.verdict == v.model.convergence.verdict:
        close(again.loglik, v.model.loglik, 1e-6, 1e-5)


@door
def refit_hostile(v: Visit) -> None:
    y = np.array(v.model.response, np.float64)
    kind = v.pick("short", "nan", "inf", "text", "constant", "masked", "2d", "none")
    bad: Any = {
        "short": y[:-1],
        "nan": np.where(np.arange(len(y)) == 0, np.nan, y),
        "inf": np.where(np.arange(len(y)) == 0, np.inf, y),
        "text": ["a"] * len(y),
        "constant": np.ones(len(y)),
        "masked": np.ma.masked_array(y, np.arange(len(y)) == 0),
        "2d": y[:, None],
        "none": None,
    }[kind]
    if kind == "constant" and ("offset" in v.case.options or "offset" in v.case.formula):
        return  # less the offset it varies
    try:
        v.model.refit(bad)
    except MixedModelsError:
        return
    raise AssertionError(f"a response that is {kind} was taken")


@door
def update_and_back(v: Visit) -> None:
    other = v.model.update(reml=not v.model.reml)
    back = other.update(reml=v.model.reml)
    verdicts = {m.convergence.verdict for m in (v.model, back)}
    if v.settled and len(verdicts) == 1:
        close(back.loglik, v.model.loglik, 1e-6, 1e-5)


@door
def stored_and_loaded(v: Visit) -> None:
    pickled = pickle.loads(pickle.dumps(v.model))  # noqa: S301  our own
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.mm"
        mm.save(v.model, path, data=bool(v.rng.random() < 0.5))
        loaded = mm.load(path)
    assert_array_equal(pickled.beta, v.model.beta)
    # a file holds theta, and the rest is worked out again
    for other, digits in ((pickled, 1e-15), (loaded, 1e-8)):
        close(other.loglik, v.model.loglik, digits)
        close(other.beta, v.model.beta, digits)
        assert other.formula == v.model.formula
        if not v.arrays:
            close(other.predict(v.table), v.model.predict(v.table), digits, 1e-9 * v.model.sigma)


@door
def simulated(v: Visit) -> None:
    n = int(v.rng.integers(1, 4))
    first, again = (v.model.simulate(n, seed=7) for _ in range(2))
    assert np.shape(first) == (n, v.model.n_obs)
    assert_array_equal(first, again)
    assert np.isfinite(first).all()


@door
def bootstrapped(v: Visit) -> None:
    first, again = (v.model.bootstrap(6, seed=3) for _ in range(2))
    assert_array_equal(first.replicates, again.replicates)
    assert len(first) == 6
    kind = v.pick("percentile", "basic", "bca", "normal")
    table = nw.from_native(first.confint(kind), eager_only=True)
    ordered(table, "conf_low", "conf_high")


# --- inference ------------------------------------------------------------------------------------


def probabilities(values: Any) -> None:
    values = np.asarray(values, np.float64)
    known = values[~np.isnan(values)]
    assert ((known >= 0) & (known <= 1)).all(), values


def ordered(table: Any, *names: str) -> None:
    """Columns that rise from left to right, where they are known."""
    for low, high in pairwise(names):
        a, b = (np.asarray(column(table, name), np.float64) for name in (low, high))
        slack = 1e-8 * np.maximum(np.abs(a), np.abs(b))
        assert ((b - a >= -slack) | np.isnan(a - b)).all(), f"{low} above {high}"


@door
def tidied(v: Visit) -> None:
    level = v.pick(0.5, 0.95, 0.999, 0.0, 1.5, math.nan)
    table = v.model.tidy(ddf=v.pick("satterthwaite", "kenward-roger", "none"), level=level)
    ordered(table, "conf_low", "estimate", "conf_high")
    probabilities(column(table, "p_value"))
    close(column(table, "estimate"), v.model.fixef()["estimate"], 1e-12)


@door
def intervals(v: Visit) -> None:
    method = v.pick("wald", "profile", "boot")
    if method == "profile" and (v.model.n_obs > 80 or len(v.model.theta) > 3):
        method = "wald"
    options = {"n_sim": 9, "seed": 1} if method == "boot" else {}
    table = mm.confint(v.model, method=method, level=v.pick(0.5, 0.95), **options)
    if method == "boot":
        ordered(table, "conf_low", "conf_high")
    else:
        ordered(table, "conf_low", "estimate", "conf_high")


@door
def tests_of_terms(v: Visit) -> None:
    test = v.pick(
        lambda: mm.anova(v.model, type=v.pick("I", "II", "III")),
        lambda: mm.drop1(v.model, test=v.pick("F", "Chisq")),
        lambda: mm.ranova(v.model),
    )
    table = nw.from_native(test(), eager_only=True)
    probabilities(table["p_value"].to_numpy())
    statistic = np.asarray(table["statistic"].to_numpy(), np.float64)
    assert (np.isnan(statistic) | (statistic > -1e-5)).all(), statistic


@door
def compared(v: Visit) -> None:
    bars = v.case.formula[v.case.formula.index("~") :]
    kept = bars[bars.index("(") :] if bars.startswith("~ 1 + (") else None
    other = v.model.update(v.pick(". ~ . - x", ". ~ . + z", ". ~ 1 + (1 | g)", kept or ". ~ ."))
    probabilities(column(mm.anova(v.model, other), "p_value"))
    weights = column(mm.aictab([v.model, other]), "aicc_weight")
    assert np.isnan(weights).any() or abs(weights.sum() - 1.0) < 1e-9


@door
def variance_explained(v: Visit) -> None:
    found = mm.r2(v.model)
    probabilities([found.r2_marginal, found.r2_conditional])
    assert np.isnan(found.r2_marginal) or found.r2_marginal <= found.r2_conditional + 1e-9
    probabilities([mm.icc(v.model).icc_adjusted])


@door
def influential(v: Visit) -> None:
    group = v.pick(None, *v.model.n_groups)
    table = mm.influence(v.model, group) if group else mm.influence(v.model)
    distance = np.asarray(column(table, "cooks_distance"), np.float64)
    assert (np.isnan(distance) | (distance >= -1e-9)).all()


@door
def checked_for_convergence(v: Visit) -> None:
    if len(v.model.theta) <= 6:
        str(mm.check_convergence(v.model, n_starts=1))
    str(v.model.pca())


# --- marginal means -------------------------------------------------------------------------------


def _plain_numbers(v: Visit) -> dict[str, float]:
    """A value inside the data for each number of the fixed part."""
    picked = {}
    for name in v.names("number"):
        values = np.asarray(v.case.columns[name].numbers)[v.rows]
        picked[name] = float(v.rng.choice(values))
    return picked


@door
def means_are_predictions(v: Visit) -> None:
    """Over all factors, at chosen numbers, a mean is the prediction of that row."""
    factors, numbers = v.names("label"), _plain_numbers(v)
    if not factors or v.arrays or "offset" in v.case.formula or "offset" in v.case.options:
        return
    table = nw.from_native(
        mm.emmeans(v.model, factors, at=numbers, ddf="none").frame(), eager_only=True
    ).to_pandas()
    safe = [n if n in table else f"{n}_" for n in factors]
    grid = table[safe].set_axis(factors, axis=1).assign(**numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        expected = np.asarray(v.model.predict(grid, random=False), np.float64)
    known = ~np.isnan(table["emmean"].to_numpy(float))
    close(table["emmean"].to_numpy(float)[known], expected[known], 1e-6)


@door
def means(v: Visit) -> None:
    names = v.names("label") + v.names("number")
    if not names:
        return
    specs = [str(n) for n in v.rng.choice(names, min(len(names), 2), replace=False)]
    options = {
        "weights": v.pick("equal", "proportional", "outer", "cells", "flat"),
        "ddf": v.pick("satterthwaite", "kenward-roger", "none"),
        "level": v.pick(0.9, 0.95),
        "at": v.pick(None, None, {names[0]: [1]}, {names[-1]: ["nobody"]}, {"zzz": 1}, {}),
    }
    numbers = v.names("number")
    if numbers and v.rng.random() < 0.3:
        grid = mm.emtrends(v.model, specs, str(v.rng.choice(numbers)), **options)
    else:
        grid = mm.emmeans(v.model, specs, **options)
    table = grid.frame()
    estimate = nw.from_native(table, eager_only=True).columns[len(grid.variables)]
    ordered(table, "conf_low", estimate, "conf_high")
    method = v.pick("pairwise", "trt.vs.ctrl", "consec", "eff", "poly")
    rough, strict = (
        nw.from_native(grid.contrasts(method, adjust=adjust), eager_only=True)
        for adjust in ("none", v.pick("bonferroni", "holm", "fdr", "sidak", "tukey"))
    )
    close(strict["estimate"].to_numpy(), rough["estimate"].to_numpy(), 1e-12)
    probabilities(strict["p_value"].to_numpy())
    gain = strict["p_value"].to_numpy().astype(float) - rough["p_value"].to_numpy().astype(float)
    assert (np.isnan(gain) | (gain > -1e-3)).all(), "an adjusted p-value is smaller"
    probabilities(column(grid.joint_tests(), "p_value"))
    str(grid)


# --- other fits to the same data ------------------------------------------------------------------


@door
def regression(v: Visit) -> None:
    fixed = parse(v.case.formula, tuple(v.table.columns)).fixed_text or "1"
    model = mm.lm(f"y ~ {fixed}", v.case.data)
    residual = np.asarray(model.residuals(), np.float64)
    if len(model.beta):
        close(model.fitted + residual, model.response, 1e-9)
    mm.lm_list(f"y ~ {fixed} | {v.pick('g', 'h', 'k')}", v.case.data)


@door
def many(v: Visit) -> None:
    by = v.pick("k", "k2", "h")
    if v.arrays:
        return
    table = v.table if v.rng.random() < 0.5 else v.case.data
    found = mm.fit_many(v.case.formula, table, by=by, ddf="none", **v.case.options)
    str(found)
    figures = pd.DataFrame(found.glance().to_dict("list")) if table is v.table else None
    if figures is None or not len(figures):
        return
    row = figures.iloc[int(v.rng.integers(len(figures)))]
    own = table[table[by].astype(object) == row[by]]
    if pd.isna(row["loglik"]) or not len(own):
        return
    alone = mm.lmer(v.case.formula, own, **v.case.options)
    if row["converged"] and alone.converged and alone.n_obs == row["n_obs"]:
        close(row["loglik"], alone.loglik, 1e-5, 1e-3)


@door
def outside_memory(v: Visit) -> None:
    if any(not isinstance(o, str | bool) for o in v.case.options.values()):
        return
    try:
        frame = pl.from_pandas(v.table)
        lazy: Any = frame.lazy()
        if v.rng.random() < 0.3:
            lazy = duckdb.from_arrow(frame.to_arrow())
    except (*CANNOT_HOLD, duckdb.Error):
        return
    found = mm.lmer(v.case.formula, lazy, **v.case.options)
    inside = mm.lmer(v.case.formula, frame, **v.case.options)
    assert found.n_obs == inside.n_obs
    if v.settled and found.convergence.verdict == inside.convergence.verdict:
        close(found.loglik, inside.loglik, 1e-6, 1e-5)


@door
def tables(v: Visit) -> None:
    for text in (str(v.model), str(v.model.summary()), str(mm.tab_model(v.model))):
        assert all(line.isprintable() for line in text.split("\n"))
        assert len(text) < 100_000
    mm.tab_model(v.model, ddf=v.pick("satterthwaite", "none")).to_html()
    v.model.summary()._repr_html_()


@door
def drawn(v: Visit) -> None:
    plot = mm.plot
    numbers = v.names("number")
    figures: list[Callable[[], Any]] = [
        lambda: plot.residuals(v.model),
        lambda: plot.qq_random(v.model),
        lambda: plot.caterpillar(v.model),
        lambda: plot.coefficients(v.model),
        lambda: plot.variance_partition(v.model),
        lambda: plot.missingness(v.case.data),
        lambda: plot.distribution(v.case.data, response="y"),
        lambda: plot.influence(v.model),
        *[lambda name=name: plot.effects(v.model, name) for name in numbers],
        *[lambda name=name: plot.marginal(v.model, name) for name in numbers],
    ]
    figure = v.pick(*figures)()
    figure.draw()


@door
def shell(v: Visit) -> None:
    """The command line ends with a code of its own, and says why."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        v.table.to_csv(path, index=False, errors="replace")
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            how = v.pick([], ["--ml"], ["--json"])
            code = command_line(["fit", str(path), v.case.formula, *how])
        assert code in (0, 1), code
        assert out.getvalue().strip()
        assert "Traceback" not in out.getvalue()
        assert all(line.isprintable() for line in out.getvalue().split("\n"))


# --- tables of the data ---------------------------------------------------------------------------


def _any_column(v: Visit) -> str:
    return str(v.pick(*v.table.columns, "nobody"))


@door
def described(v: Visit) -> None:
    by = v.pick(None, _any_column(v), [_any_column(v), _any_column(v)])
    table = nw.from_native(
        mm.describe(v.case.data, v.pick("y", "x", _any_column(v)), by=by), eager_only=True
    )
    ordered(table, "min", "mean", "max")


@door
def reshaped(v: Visit) -> None:
    """To one row a group, and back: the same values at the same places."""
    if v.case.hostile:
        return
    frame = v.table[["g", "y"]].dropna().astype({"y": float})
    frame = frame.assign(t=frame.groupby("g", observed=True).cumcount())
    wide = mm.to_wide(frame, id="g", time="t", value="y")
    columns = {name: int(name.rpartition("_")[2]) for name in wide.columns if name != "g"}
    long = mm.to_long(wide, id="g", columns=columns, time="t", value="y").dropna()
    key = ["g", "t"]
    a, b = (
        one.assign(g=one["g"].astype(str)).sort_values(key)["y"].to_numpy(float)
        for one in (frame, long)
    )
    assert_array_equal(a, b)


@door
def over_time(v: Visit) -> None:
    turn = pd.Series(np.arange(len(v.table)))
    frame = v.table.assign(t=turn // max(1, len(turn) // 4))
    roles = {"id": v.pick("g", _any_column(v)), "time": v.pick("t", _any_column(v))}
    response = v.pick("y", _any_column(v))
    call = v.pick(
        lambda: mm.check_design(frame, **roles),
        lambda: mm.time_correlations(frame, response=response, **roles),
        lambda: mm.cluster_trajectories(
            frame, response=response, k=[2, 3], n_starts=2, seed=1, **roles
        ),
    )
    str(call())


# --- runs -----------------------------------------------------------------------------------------


def fit(case: FuzzCase) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        try:
            return mm.lmer(case.formula, case.data, **case.options)
        except MixedModelsError:
            return None


# doors that need no model
WITHOUT = ("described", "reshaped", "over_time", "shell", "regression", "many")


def run(seed: int, only: str | None = None) -> Outcome:
    """Send the case of a seed through a few doors."""
    case = make_case(seed)
    rng = np.random.default_rng([seed, 1])
    outcome = Outcome(seed, case.formula)
    table = case.plain.reset_index(drop=True)
    model = fit(case)
    outcome.fitted = model is not None
    rows = np.ones(len(table), bool)
    if model is not None and model.source.complete is not None:
        rows = np.asarray(model.source.complete)
    names = [name for name in DOORS if outcome.fitted or name in WITHOUT]
    names = [only] if only in names else [] if only else names
    for name in rng.permutation(names)[:VISITS].tolist():
        outcome.doors.append(name)
        visit = Visit(case, model, np.random.default_rng([seed, 2]), table.copy(), rows)
        for problem in _through(DOORS[name], visit, outcome):
            outcome.broken.append(f"{name}: {problem}")
        if not visit.table.equals(table):
            outcome.broken.append(f"{name}: the data were changed")
    return outcome


def _through(enter: Door, visit: Visit, outcome: Outcome) -> Iterator[str]:
    started = time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            enter(visit)
        except MixedModelsError as error:
            outcome.refused.append(f"{enter.__name__}: {error}")
            if not str(error).strip():
                yield "an error without words"
        except AssertionError as error:
            yield str(error).strip() or traceback.format_exc(limit=-1)
        except Exception as error:  # noqa: BLE001  any other error is what is looked for
            yield "".join(traceback.format_exception(error)[-6:])
    for warning in caught:
        if not issubclass(warning.category, MixedModelsWarning):
            yield f"{warning.category.__name__}: {warning.message}"
    if time.process_time() - started > 2 * LONGEST:
        yield f"took {time.process_time() - started:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--door", choices=DOORS)
    asked = parser.parse_args()
    doors: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    broken = 0
    for seed in range(asked.first, asked.first + asked.cases):
        outcome = run(seed, asked.door)
        doors.update(outcome.doors)
        refused.update(text.partition(":")[0] for text in outcome.refused)
        broken += len(outcome.broken)
        for problem in outcome.broken:
            print(seed, outcome.formula, problem[-600:], sep="\n  ", flush=True)
    print(f"{asked.cases} cases, {sum(doors.values())} doors, {broken} broken")
    for name, count in sorted(doors.items()):
        print(f"  {name}: {count}, refused {refused[name]}")


if __name__ == "__main__":
    main()
