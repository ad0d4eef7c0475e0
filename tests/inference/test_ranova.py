"""Tests of random terms: lmerTest's values, models fitted by formula, the boundary, refusals."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import mixedmodels as mm
from mixedmodels.inference.boundary import mixture_probability
from tests.reference import data

VALUES = data.figures("ranova")


def r_name(term: str) -> str:
    """Our name of a term for R's, which turns ``a/b`` around."""
    return term.replace("Machine:Worker", "Worker:Machine")


@pytest.mark.parametrize("entry", VALUES, ids=lambda e: f"{e['formula']}-{e['reduce_terms']}")
def test_tables_of_lmertest(entry) -> None:
    model = mm.lmer(entry["formula"], data.load(entry["dataset"]), reml=entry["REML"])
    table = mm.ranova(model, reduce_terms=entry["reduce_terms"])
    expected = pd.DataFrame(entry["table"])
    assert list(table.columns) == [
        "term",
        "n_params",
        "loglik",
        "aic",
        "statistic",
        "df",
        "p_value",
        "p_boundary",
        "criterion",
    ]
    assert table["term"].tolist() == [r_name(term) for term in expected["term"]]
    assert table["n_params"].tolist() == expected["npar"].tolist()
    assert table["df"].tolist() == [0, *expected["Df"].dropna()]
    assert table["criterion"].unique().tolist() == ["REML" if entry["REML"] else "ML"]
    # R's optimisers stop within 1e-9 of the criterion
    assert_allclose(table["loglik"], expected["logLik"], atol=1e-6, rtol=0)
    assert_allclose(table["aic"], expected["AIC"], atol=1e-6, rtol=0)
    assert_allclose(table["statistic"], expected["LRT"].astype(float), atol=1e-6, rtol=0)
    assert_allclose(table["p_value"], expected["p"].astype(float), rtol=1e-6)


@cache
def simulated() -> pd.DataFrame:
    """Factors crossed (a with all others) and nested (c in b in e)."""
    rng = np.random.default_rng(1)
    n = 400
    b = rng.integers(0, 20, n)
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "z": rng.normal(size=n),
            "f": rng.choice(list("uvw"), n),
            "w": rng.uniform(0.5, 2.0, n),
            "a": [f"a{k:02d}" for k in rng.integers(0, 12, n)],
            "b": [f"b{k:02d}" for k in b],
            "c": [f"c{k:02d}{j}" for k, j in zip(b, rng.integers(0, 3, n), strict=True)],
            "e": [f"e{k % 5}" for k in b],
        }
    )

    def effects(column: str, sd: float) -> pd.Series:
        levels = sorted(frame[column].unique())
        return frame[column].map(dict(zip(levels, rng.normal(0, sd, len(levels)), strict=True)))

    frame["y"] = effects("a", 1) + effects("b", 0.7) + effects("c", 0.7) + effects("e", 1)
    frame["y"] += effects("b", 0.8) * frame["x"] + effects("b", 1.0) * (frame["f"] == "u")
    frame["y"] += effects("b", 1.0) * (frame["f"] == "v") + rng.normal(size=n)
    return frame


SMALLER = [
    # crossed factors; what is left may be nested
    ("y ~ x + (1 | a) + (x | b) + (1 | c)", {"(1 | a)": "y ~ x + (x | b) + (1 | c)",
                                             "x in (x | b)": "y ~ x + (1 | a) + (1 | b) + (1 | c)",
                                             "(1 | c)": "y ~ x + (1 | a) + (x | b)"}),
    ("y ~ x + (1 | a) + (1 | b)", {"(1 | a)": "y ~ x + (1 | b)", "(1 | b)": "y ~ x + (1 | a)"}),
    # nested factors: from below, between and above
    ("y ~ x + (1 | e) + (x | b) + (1 | c)", {"(1 | e)": "y ~ x + (x | b) + (1 | c)",
                                             "x in (x | b)": "y ~ x + (1 | e) + (1 | b) + (1 | c)",
                                             "(1 | c)": "y ~ x + (1 | e) + (x | b)"}),
    ("y ~ x + (1 | e) + (1 | b) + (1 | c)", {"(1 | b)": "y ~ x + (1 | e) + (1 | c)"}),
    # several terms on a factor
    ("y ~ x + (1 | a) + (x || b)", {"(1 | b)": "y ~ x + (1 | a) + (0 + x | b)",
                                    "x in (0 + x | b)": "y ~ x + (1 | a) + (1 | b)"}),
    # columns of one term
    ("y ~ x + (x + f | b)", {"f in (x + f | b)": "y ~ x + (x | b)",
                             "x in (x + f | b)": "y ~ x + (f | b)"}),
    ("y ~ x + (0 + f + x | b)", {"x in (0 + f + x | b)": "y ~ x + (0 + f | b)"}),
    # a factor has a part that is constant, a number has none
    ("y ~ x + (0 + f | b)", {"f in (0 + f | b)": "y ~ x + (1 | b)"}),
    ("y ~ x + (1 | a) + (0 + x | b)", {"x in (0 + x | b)": "y ~ x + (1 | a)"}),
    ("y ~ x + offset(z) + (x | b)", {"x in (x | b)": "y ~ x + offset(z) + (1 | b)"}),
]  # fmt: skip


@pytest.mark.parametrize(("reml", "weights"), [(True, None), (False, "w")])
@pytest.mark.parametrize(("formula", "smaller"), SMALLER)
def test_deletions_are_the_smaller_models(formula, smaller, reml, weights) -> None:
    table = mm.ranova(mm.lmer(formula, simulated(), reml=reml, weights=weights)).set_index("term")
    for term, text in smaller.items():
        other = mm.lmer(text, simulated(), reml=reml, weights=weights)
        assert table.loc[term, "loglik"] == pytest.approx(other.loglik, abs=1e-7)
        assert table.loc[term, "n_params"] == other.n_params


def test_interactions_alone_are_taken_out_of_a_term() -> None:
    with pytest.warns(mm.SingularFitWarning):
        model = mm.lmer("y ~ x + (x * z | b)", simulated())
    assert mm.ranova(model)["term"].tolist() == ["<none>", "x:z in (x * z | b)"]


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("reml", [True, False])
def test_without_the_last_term_it_is_the_linear_model(reml: bool, weights) -> None:
    """Patterson and Thompson's restricted likelihood, worked out from the rows."""
    frame = simulated()
    row = mm.ranova(mm.lmer("y ~ x + f + (1 | b)", frame, reml=reml, weights=weights)).iloc[1]
    linear = mm.lm("y ~ x + f", frame, weights=weights)
    assert row["n_params"] == linear.n_params == 5
    if not reml:
        assert row["loglik"] == pytest.approx(linear.loglik, abs=1e-9)
        return
    X = np.column_stack([np.ones(len(frame)), frame["x"], frame["f"] == "v", frame["f"] == "w"])
    w = np.ones(len(frame)) if weights is None else frame["w"].to_numpy()
    n, p = X.shape
    rss = linear.sigma**2 * (n - p)
    logdet = np.linalg.slogdet((X.T * w) @ X)[1]
    criterion = (n - p) * (1 + np.log(2 * np.pi * rss / (n - p))) + logdet - np.log(w).sum()
    assert row["loglik"] == pytest.approx(-0.5 * criterion, abs=1e-9)


def test_shifting_a_covariate_changes_nothing() -> None:
    tables = []
    for shift in (0.0, 2000.0):
        frame = simulated().assign(x=simulated()["x"] + shift)
        tables.append(mm.ranova(mm.lmer("y ~ x + (x | b)", frame)))
    # the model without the slope, too; the intercepts of (x | b) are at another place
    assert_allclose(tables[1]["loglik"], tables[0]["loglik"], atol=1e-6, rtol=0)


# --- the boundary ---------------------------------------------------------------------------------


def test_mixtures_of_chi_squares() -> None:
    statistic = np.array([2.7055434540954142, 5.138, 0.0, 3.0])
    found = mixture_probability(statistic, np.array([1, 2, 1, 3]))
    two, three = (
        0.5 * (stats.chi2.sf(s, k - 1) + stats.chi2.sf(s, k)) for s, k in ((5.138, 2), (3.0, 3))
    )
    expected = [0.05, two, 1.0, three]
    # Stram and Lee (1994): 5.14 is the five per cent point for the second random effect
    assert_allclose(found, expected, rtol=1e-12)
    assert found[1] == pytest.approx(0.05, abs=1e-4)


def test_one_variance_has_a_mixture_and_more_have_none() -> None:
    table = mm.ranova(mm.lmer("y ~ x + (x + f | b)", simulated())).set_index("term")
    x, f = table.loc["x in (x + f | b)"], table.loc["f in (x + f | b)"]
    mixture = 0.5 * (stats.chi2.sf(x["statistic"], 3) + stats.chi2.sf(x["statistic"], 4))
    assert x["df"] == 4
    assert x["p_boundary"] == pytest.approx(mixture, rel=1e-9)
    assert x["p_boundary"] < x["p_value"]
    assert f["df"] == 7
    assert np.isnan(f["p_boundary"])
    # the whole term holds four variances
    whole = mm.ranova(mm.lmer("y ~ x + (x + f | b)", simulated()), reduce_terms=False)
    assert np.isnan(whole["p_boundary"]).all()


def test_a_variance_of_zero_has_probability_one() -> None:
    with pytest.warns(mm.SingularFitWarning):
        model = mm.lmer("Yield ~ 1 + (1 | Batch)", data.load("Dyestuff2"))
    row = mm.ranova(model).iloc[1]
    assert (row["statistic"], row["p_value"], row["p_boundary"]) == (0.0, 1.0, 1.0)


def test_a_smaller_model_that_is_singular_has_no_mixture() -> None:
    frame = data.load("Dyestuff2").assign(half=np.arange(30) % 2, x=np.arange(30) % 5)
    with pytest.warns(mm.SingularFitWarning):
        model = mm.lmer("Yield ~ x + (x || Batch)", frame)
    table = mm.ranova(model).set_index("term")
    assert np.isnan(table.loc["x in (0 + x | Batch)", "p_boundary"])


def test_the_mixture_holds_its_level_where_the_chi_square_does_not() -> None:
    """Groups that do not differ, 500 times; three standard errors of a share of 0.2 are 0.054."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"g": np.repeat(np.arange(60), 8).astype(str)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        model = mm.lmer("y ~ 1 + (1 | g)", frame.assign(y=rng.normal(size=480)))
        rows = [mm.ranova(model.refit(rng.normal(size=480))).iloc[1] for _ in range(500)]
    share = pd.DataFrame(rows)[["p_value", "p_boundary"]].astype(float).le(0.2).mean()
    assert share["p_boundary"] == pytest.approx(0.2, abs=0.054)
    assert share["p_value"] == pytest.approx(0.1, abs=0.04)


# --- refusals and frames --------------------------------------------------------------------------


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match=r"m must be a fitted model .*, not a list"):
        mm.ranova([])
    with pytest.raises(mm.ModelError, match="'y ~ x' has no random terms to test"):
        mm.ranova(mm.lm("y ~ x", simulated()))


def test_a_model_without_its_rows_will_do(tmp_path) -> None:
    model = mm.lmer("y ~ x + (1 | a) + (x | b)", simulated())
    mm.save(model, tmp_path / "m")
    pd.testing.assert_frame_equal(mm.ranova(mm.load(tmp_path / "m")), mm.ranova(model))


def test_polars_in_polars_out() -> None:
    pl = pytest.importorskip("polars")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = pl.from_pandas(simulated())
    assert isinstance(mm.ranova(mm.lmer("y ~ x + (1 | b)", frame)), pl.DataFrame)
