"""Many models at once are the models one by one."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedmodels as mm
from mixedmodels.errors import (
    ConvergenceWarning,
    DataError,
    FormulaError,
    MixedModelsError,
    MixedModelsWarning,
    ModelError,
    SingularFitWarning,
)
from mixedmodels.inference import fit_many as module
from mixedmodels.inference import parameters

FORMULA = "y ~ x + (x | g)"


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    n = 720
    d = pd.DataFrame(
        {
            "x": np.tile(np.arange(10.0), 72),
            "g": np.repeat(np.arange(72) % 18, 10),
            "part": np.repeat(["a", "b", "c", "d"], 180),
            "half": np.repeat([1, 2], 360),
        }
    )
    effect = rng.normal(size=(72, 2)) * [2.0, 0.5]
    group = np.repeat(np.arange(72), 10)
    d["y"] = effect[group, 0] + (1 + effect[group, 1]) * d["x"] + rng.normal(size=n)
    return d


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_segments(n_jobs: int) -> None:
    d = rows().sample(frac=1.0, random_state=0).reset_index(drop=True)
    many = mm.fit_many(FORMULA, d, by="part", n_jobs=n_jobs)
    assert many.labels == {"part": ["a", "b", "c", "d"]}
    for part in "abcd":
        m = mm.lmer(FORMULA, d[d["part"] == part])
        own = many.tidy().query("part == @part").drop(columns="part").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, m.tidy(), rtol=1e-6)
        sigma = many.variances().query("part == @part and parameter == 'sigma'")["estimate"]
        assert sigma.item() == pytest.approx(m.sigma, rel=1e-8)
        figures = many.glance().query("part == @part").iloc[0]
        assert figures["n_obs"] == 180
        assert figures["aic"] == pytest.approx(m.aic, abs=1e-8)


def test_segments_of_several_columns() -> None:
    many = mm.fit_many("y ~ x", rows(), by=["half", "part"], ddf="none")
    assert many.labels == {"half": [1, 1, 2, 2], "part": ["a", "b", "c", "d"]}
    o = mm.lm("y ~ x", rows()[:180])
    np.testing.assert_allclose(many.tidy()["p_value"][:2], o.tidy()["p_value"], rtol=1e-9)
    assert set(many.variances()["parameter"]) == {"sigma"}


# --- batches against single fits ------------------------------------------------------------------


def spoiled(d: pd.DataFrame, kind: int, rng: np.random.Generator) -> pd.DataFrame:
    """One segment with one thing wrong, for the kinds below nine."""
    row = int(rng.integers(len(d)))
    match kind:
        case 0:
            return d.assign(y=2.0)
        case 1:
            return d.assign(g=1)
        case 2:
            return d.assign(x=4.0)
        case 3:
            return d.assign(f="a")
        case 4:
            return d.assign(y=d["y"].mask(d.index == row))
        case 5:
            return d.assign(g=np.arange(len(d)))
        case 6:
            return d[:3]
        case 7:
            return d.assign(y=d["x"] * 2.0 - 1.0)
        case 8:
            return d.assign(w=d["w"].mask(d.index == row, 0.0))
    return d


def ragged(seed: int, n_segments: int) -> pd.DataFrame:
    """Segments of different sizes, units and variances; about half of them are spoiled."""
    rng = np.random.default_rng(seed)
    parts = []
    for segment in range(n_segments):
        n_groups = int(rng.integers(3, 20))
        g = np.repeat(np.arange(n_groups), rng.integers(1, 11, n_groups))
        n = len(g)
        x = rng.normal(size=n) * rng.choice([0.1, 1.0, 30.0]) + rng.choice([0.0, 2000.0])
        b = rng.normal(size=(n_groups, 2)) * rng.choice([0.0, 0.3, 1.0, 5.0], 2)
        f = rng.choice(["a", "b", "c"], n)
        z = (x - x.mean()) / x.std()
        y = 3 + b[g, 0] + z * (1 + b[g, 1]) + (f == "b") + rng.normal(size=n) * rng.choice([0.1, 9])
        d = pd.DataFrame(
            {
                "segment": segment,
                "g": g + 7 * segment,
                "x": x,
                "f": f,
                "w": rng.uniform(0.2, 4.0, n),
                "off": rng.normal(size=n),
                "y": y,
            }
        )
        parts.append(spoiled(d, int(rng.integers(18)), rng))
    return pd.concat(parts, ignore_index=True)


def check(
    many: mm.inference.fit_many.ManyFits,  # type: ignore[name-defined]
    label: object,
    fit: object,
    part: pd.DataFrame,
    formula: str,
    options: dict[str, object],
    *,
    same_words: bool = True,
) -> None:
    """One model of many against the model by itself."""
    name = next(iter(many.labels))
    m, words = None, None
    try:
        m = fit(formula, part, **options)  # type: ignore[operator]
    except MixedModelsError as error:
        words = str(error)
    assert (label in many.failed) == (m is None)
    if m is None:
        assert not same_words or many.failed[label] == words
        return
    tidy, alone = many.tidy().query(f"{name} == @label"), m.tidy()
    figures = many.glance().query(f"{name} == @label").iloc[0]
    assert tidy["term"].tolist() == alone["term"].tolist()
    assert figures["is_singular"] == m.is_singular
    assert (figures["n_obs"], figures["n_params"]) == (m.n_obs, m.n_params)
    # the criterion is what is reached; estimates are as exact as their step is small: sqrt(2e-8)
    assert figures["loglik"] == pytest.approx(m.loglik, abs=1e-8)
    assert figures["sigma"] == pytest.approx(m.sigma, rel=1e-5)
    se = alone["std_error"].to_numpy()
    np.testing.assert_allclose((tidy["estimate"].to_numpy() - m.beta) / se, 0.0, atol=1e-5)
    np.testing.assert_allclose(tidy["std_error"], se, rtol=1e-4)
    np.testing.assert_allclose(tidy["df"], alone["df"], rtol=1e-3)
    if m.has_random:
        own = many.variances().query(f"{name} == @label")
        assert own["parameter"].tolist() == parameters.names(m)
        sd = own["parameter"].str.startswith("sd_").to_numpy()
        ours, theirs = own["estimate"].to_numpy()[sd], parameters.values(m)[sd]
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * m.sigma)


CASES = [
    ("y ~ x + (x | g)", {}),
    ("y ~ x + (x | g)", {"reml": False}),
    ("y ~ 0 + x + (x || g)", {"weights": "w"}),
    ("y ~ 1 + (1 | g)", {"offset": "off"}),
    ("y ~ x * f + offset(off) + (1 | g)", {"weights": "w", "reml": False}),
    ("y ~ f + (0 + f | g)", {"contrasts": {"f": "sum"}}),
    ("y ~ scale(x) + (1 | g)", {}),
    ("log(y + 20) ~ x + (1 | g)", {}),
    ("y ~ x + (1 | g) + (1 | f)", {}),
    ("y ~ f + x", {"weights": "w", "offset": "off"}),
]


@pytest.mark.parametrize(("formula", "options"), CASES)
def test_every_segment_is_the_model_by_itself(formula: str, options: dict[str, object]) -> None:
    d = ragged(5, 40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        many = mm.fit_many(formula, d, by="segment", **options)
        fit = mm.lmer if "|" in formula else mm.lm
        for label in d["segment"].unique().tolist():
            check(many, label, fit, d[d["segment"] == label], formula, options)
    assert many.failed
    assert len(many) - len(many.failed) > 12


def outcomes(n_outcomes: int) -> pd.DataFrame:
    """Responses on one design; some miss values, some cannot be fitted."""
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(18), 10), np.tile(np.arange(10.0), 18)
    columns = {"g": g, "x": x, "w": rng.uniform(0.5, 2.0, 180), "off": rng.normal(size=180)}
    for k in range(n_outcomes):
        b = rng.normal(size=(18, 2)) * rng.choice([0.0, 0.5, 3.0], 2)
        y = 100 + b[g, 0] + (1 + b[g, 1]) * x + 2.0 * rng.normal(size=180)
        if k % 7 == 3:
            y[rng.integers(0, 180, 3)] = np.nan
        if k == 5:
            y[:] = 1.0
        if k == 6:
            y[0] = np.inf
        columns[f"y{k}"] = y
    return pd.DataFrame(columns)


@pytest.mark.parametrize(
    ("right", "options"),
    [
        ("x + (x | g)", {}),
        ("0 + x + (x || g)", {"weights": "w", "reml": False}),
        ("1 + (1 | g)", {"weights": "w", "offset": "off"}),
        ("x + offset(off)", {"weights": "w"}),
        ("x + (1 | g) + (1 | x)", {}),
    ],
)
def test_every_outcome_is_the_model_by_itself(right: str, options: dict[str, object]) -> None:
    d = outcomes(20)
    # a covariate that misses a value, for all of them
    d.loc[170, "x"] = np.nan
    names = [f"y{k}" for k in range(20)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        many = mm.fit_many(f"y ~ {right}", d, responses=names, **options)
        fit = mm.lmer if "|" in right else mm.lm
        for name in names:
            check(many, name, fit, d, f"{name} ~ {right}", options, same_words=False)
    # less an offset a constant varies
    assert set(many.failed) == ({"y6"} if "off" in f"{right}{options}" else {"y5", "y6"})


def test_batches_leave_little_to_single_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    alone: list[int] = []

    def count(tasks, n_jobs):  # type: ignore[no-untyped-def]
        alone.append(sum(len(arguments[-2]) for _, arguments in tasks))
        return real(tasks, 1)

    real = module.in_jobs
    monkeypatch.setattr(module, "in_jobs", count)
    rng = np.random.default_rng(1)
    n = 300
    d = pd.concat([rows()[:180]] * n, ignore_index=True)
    d["part"] = np.repeat(np.arange(n), 180)
    effect = rng.normal(size=(18 * n, 2)) * [1.0, 0.3]
    group = np.repeat(np.arange(18 * n), 10)
    d["y"] = effect[group, 0] + (1 + effect[group, 1]) * d["x"] + rng.normal(size=len(d))
    wide = outcomes(60).drop(columns=["y5", "y6"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        mm.fit_many(FORMULA, d, by="part")
        mm.fit_many("y ~ x + (x | g)", wide, responses=[c for c in wide if c.startswith("y")])
        # a value that no frame can be read with leaves its own segment only
        d.loc[d["part"] == 7, "y"] = np.inf
        with pytest.warns(ConvergenceWarning, match="1 of 300"):
            mm.fit_many(FORMULA, d, by="part")
    assert alone == [0, 0, 1]


# --- what goes through joblib ---------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["loky", "threading", "dask"])
def test_single_fits_run_on_the_backend_of_the_user(backend: str) -> None:
    """A polynomial of each segment is not batched: 101 models, two tasks."""
    rng = np.random.default_rng(2)
    n = 101
    d = pd.DataFrame(
        {
            "part": np.repeat(np.arange(n), 24),
            "g": np.tile(np.repeat(np.arange(4), 6), n),
            "x": np.tile(np.arange(6.0), 4 * n),
        }
    )
    d["y"] = rng.normal(size=4 * n)[d["part"] * 4 + d["g"]] + rng.normal(size=24 * n)
    formula = "y ~ poly(x, 2) + (1 | g)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        here = mm.fit_many(formula, d, by="part", n_jobs=1)
        if backend == "dask":
            distributed = pytest.importorskip(
                "distributed", reason="the Dask scheduler (package distributed) is not installed"
            )
            with (
                distributed.Client(
                    n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
                ),
                joblib.parallel_backend("dask"),
            ):
                there = mm.fit_many(formula, d, by="part")
        else:
            with joblib.parallel_backend(backend, n_jobs=2):
                there = mm.fit_many(formula, d, by="part")
    pd.testing.assert_frame_equal(here.tidy(), there.tidy(), rtol=1e-9)


def test_no_segment_has_independent_columns() -> None:
    t, u = np.random.default_rng(0).normal(size=(2, 720))
    d = rows().assign(t=t, u=u, x2=lambda f: 2 * f["x"] - 3 * f["t"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        many = mm.fit_many("y ~ x + t + x2 + (u | g)", d, by="part")
        for part in "abcd":
            m = mm.lmer("y ~ x + t + x2 + (u | g)", d[d["part"] == part])
            found = many.glance().query("part == @part").iloc[0]
            assert found["aic"] == pytest.approx(m.aic, abs=1e-7)
            own = many.tidy().query("part == @part")
            np.testing.assert_allclose(own["estimate"], m.tidy()["estimate"], rtol=1e-6)


def test_kenward_roger() -> None:
    d = rows()
    many = mm.fit_many(FORMULA, d, by="part", ddf="kenward-roger")
    m = mm.lmer(FORMULA, d[d["part"] == "b"])
    own = many.tidy().query("part == 'b'")
    np.testing.assert_allclose(own["df"], m.tidy(ddf="kenward-roger")["df"], rtol=1e-9)


def test_responses() -> None:
    d = rows()[:180].reset_index(drop=True)
    rng = np.random.default_rng(0)
    for k in range(4):
        d[f"out {k}"] = d["y"] + rng.normal(size=180)
    d.loc[7, "out 2"] = np.nan
    names = [f"out {k}" for k in range(4)]
    many = mm.fit_many("whatever ~ x + (x | g)", pl.from_pandas(d), responses=names)
    assert isinstance(many.tidy(), pl.DataFrame)
    for name in names:
        m = mm.lmer(f"`{name}` ~ x + (x | g)", d)
        own = many.tidy().filter(pl.col("response") == name)
        np.testing.assert_allclose(own["estimate"], m.beta, rtol=1e-8)
        np.testing.assert_allclose(own["std_error"], m.tidy()["std_error"], rtol=1e-6)
    assert many.glance()["n_obs"].to_list() == [180, 180, 179, 180]


def test_a_dot_is_neither_a_segment_nor_another_outcome() -> None:
    d = rows()[["x", "g", "part", "y"]]
    assert set(mm.fit_many("y ~ . + (1 | g)", d, by="part").tidy()["term"]) == {"Intercept", "x"}
    wide = d.drop(columns="part").assign(z=d["y"] + d["x"])
    terms = mm.fit_many("y ~ . + (1 | g)", wide, responses=["y", "z"]).tidy()["term"]
    assert set(terms) == {"Intercept", "x"}


def test_failures_are_counted() -> None:
    d = rows()
    d.loc[d["part"] == "c", "g"] = 1
    with pytest.warns(ConvergenceWarning, match="1 of 4 models could not.*'c': .*has 1 level"):
        many = mm.fit_many(FORMULA, d, by="part")
    assert list(many.failed) == ["c"]
    assert set(many.tidy()["part"]) == {"a", "b", "d"}
    assert str(many).startswith("4 models, 1 of them failed\n")
    infinite = rows()
    infinite.loc[200, "y"] = np.inf
    with pytest.warns(ConvergenceWarning, match="1 of 4 models could not.*'b': .*infinite"):
        mm.fit_many(FORMULA, infinite, by="part")
    empty = rows()
    empty.loc[empty["part"] == "a", "x"] = np.nan
    with pytest.warns(ConvergenceWarning, match="'a': no complete rows"):
        many = mm.fit_many(FORMULA, empty, by="part")
    assert set(many.tidy()["part"]) == {"b", "c", "d"}
    flat = rows().assign(y=np.random.default_rng(3).normal(size=720))
    with pytest.warns(SingularFitWarning, match="models are singular"):
        mm.fit_many(FORMULA, flat, by="part")


def test_glance_says_what_failed() -> None:
    d = rows()
    d.loc[d["part"] == "c", "y"] = 1.0
    with pytest.warns(ConvergenceWarning):
        many = mm.fit_many(FORMULA, d, by="part")
    shown = many.glance()
    assert shown["part"].tolist() == ["a", "b", "c", "d"]
    assert shown["error"].isna().tolist() == [True, True, False, True]
    assert "no variance" in shown["error"][2]
    assert np.isnan(shown["sigma"][2])
    assert not shown["converged"][2]


def test_what_is_asked() -> None:
    for options in ({}, {"by": "part", "responses": ["y"]}):
        with pytest.raises(ModelError, match="give by="):
            mm.fit_many(FORMULA, rows(), **options)
    with pytest.raises(DataError, match="no column 'prt'"):
        mm.fit_many(FORMULA, rows(), by="prt")
    with pytest.raises(DataError, match="no column 'z'"):
        mm.fit_many(FORMULA, rows(), responses=["y", "z"])
    with pytest.raises(FormulaError, match="the formula does not use it"):
        mm.fit_many(FORMULA, rows(), by="part", contrasts={"half": "sum"})
    with pytest.raises(ModelError, match="ddf"):
        mm.fit_many(FORMULA, rows(), by="part", ddf="satterthwate")
