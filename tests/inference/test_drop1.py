"""Single-term deletions: R's values, models fitted by formula, marginality, codings, refusals."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from tests.reference import data

VALUES = data.figures("drop1")
LIKELIHOOD = ["term", "n_params", "loglik", "aic", "statistic", "df", "p_value", "criterion"]


@cache
def simulated() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n = 150
    frame = pd.DataFrame(
        {
            "a": rng.choice(["u", "v", "w"], n),
            "b": rng.choice(["k", "l"], n),
            "x": rng.normal(size=n),
            "z z": rng.normal(size=n),
            "w": rng.uniform(0.5, 2.0, n),
            "g": [f"g{i:02d}" for i in rng.integers(0, 12, n)],
        }
    )
    groups = dict(zip(sorted(frame["g"].unique()), rng.normal(size=12), strict=True))
    frame["y"] = frame["g"].map(groups) + frame["x"] + (frame["a"] == "w") + rng.normal(size=n)
    return frame


@pytest.mark.parametrize("entry", VALUES["likelihood_ratio"], ids=lambda entry: entry["id"])
@pytest.mark.parametrize("reml", [False, True])
def test_likelihood_ratios_of_lme4(entry, reml: bool) -> None:
    model = mm.lmer(entry["formula"], data.load(entry["dataset"]), reml=reml)
    table = mm.drop1(model, test="Chisq")
    expected = pd.DataFrame(entry["table"])
    assert list(table.columns) == LIKELIHOOD
    assert table["term"].tolist() == expected["term"].tolist()
    assert table["df"].tolist() == [0, *expected["npar"].dropna()]
    assert table["criterion"].unique().tolist() == ["ML (refitted)" if reml else "ML"]
    # R's optimisers stop within 1e-9 of the criterion
    assert_allclose(table["aic"], expected["AIC"], atol=1e-6, rtol=0)
    assert_allclose(table["statistic"], expected["LRT"].astype(float), atol=1e-6, rtol=0)
    assert_allclose(table["p_value"], expected["p"].astype(float), rtol=1e-6)


@pytest.mark.parametrize("ddf", ["satterthwaite", "kenward-roger"])
@pytest.mark.parametrize("entry", VALUES["F"], ids=lambda entry: entry["formula"])
def test_f_tests_of_lmertest(entry, ddf: str) -> None:
    model = mm.lmer(entry["formula"], data.load(entry["dataset"]))
    table = mm.drop1(model, ddf=ddf)
    expected = pd.DataFrame(entry["Satterthwaite" if ddf == "satterthwaite" else "Kenward-Roger"])
    assert table["term"].tolist() == expected["term"].tolist()
    assert table["num_df"].tolist() == expected["num_df"].tolist()
    # lmerTest's Hessian is numeric
    assert_allclose(table["den_df"], expected["den_df"], rtol=1e-4)
    for column in ("sum_sq", "mean_sq", "statistic"):
        assert_allclose(table[column], expected[column], rtol=1e-5)
    assert_allclose(table["p_value"], expected["p"], rtol=1e-3)


def test_the_kind_of_fit_chooses_the_test() -> None:
    formula = "y ~ x + a + (1 | g)"
    reml, ml = (mm.lmer(formula, simulated(), reml=reml) for reml in (True, False))
    assert "den_df" in mm.drop1(reml)
    assert list(mm.drop1(ml).columns) == LIKELIHOOD
    assert "den_df" in mm.drop1(ml, test="F")
    bare = mm.drop1(reml, test="none")
    assert list(bare.columns) == ["term", "n_params", "loglik", "aic", "criterion"]
    assert bare["aic"].tolist() == mm.drop1(reml, test="Chisq")["aic"].tolist()
    linear = mm.drop1(mm.lm("y ~ x + a", simulated()))
    assert linear["den_df"].tolist() == [146.0, 146.0]


SMALLER = [
    # with an intercept, columns are left out
    ("y ~ x + a * b + `z z` + (1 | g)", {"a:b": "y ~ x + a + b + `z z` + (1 | g)",
                                         "z z": "y ~ x + a * b + (1 | g)"}),
    ("y ~ poly(x, 2) + a:b + (1 | g)", {"poly(x, 2)": "y ~ a:b + (1 | g)"}),
    # without one, the coding of the other factor changes
    ("y ~ 0 + a + b + x + (1 | g)", {"a": "y ~ 0 + b + x + (1 | g)",
                                     "b": "y ~ 0 + a + x + (1 | g)",
                                     "x": "y ~ 0 + a + b + (1 | g)"}),
    ("y ~ 0 + x + a + (1 | g)", {"a": "y ~ 0 + x + (1 | g)"}),
    ("y ~ 0 + x + (1 | g)", {"x": "y ~ 0 + (1 | g)"}),
    # the offset stays
    ("y ~ x + a + offset(`z z`) + (1 | g)", {"a": "y ~ x + offset(`z z`) + (1 | g)"}),
]  # fmt: skip


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize(("formula", "smaller"), SMALLER)
def test_deletions_are_the_models_without_the_term(formula, smaller, weights) -> None:
    model = mm.lmer(formula, simulated(), weights=weights)
    table = mm.drop1(model, test="Chisq").set_index("term")
    tests = mm.drop1(model).set_index("term")
    for term, text in smaller.items():
        other = mm.lmer(text, simulated(), weights=weights, reml=False)
        assert table.loc[term, "loglik"] == pytest.approx(other.loglik, abs=1e-8)
        assert table.loc[term, "n_params"] == other.n_params
        # the same F test, from the columns of the rows
        wald = mm.satmodcomp(model, other).iloc[0]
        assert tests.loc[term, "num_df"] == wald["num_df"]
        assert tests.loc[term, "statistic"] == pytest.approx(wald["statistic"], rel=1e-8)


def test_marginal_terms_alone_and_a_scope() -> None:
    model = mm.lmer("y ~ x * a * b + (1 | g)", simulated())
    assert mm.drop1(model)["term"].tolist() == ["x:a:b"]
    with pytest.raises(mm.ModelError, match=r"'x:a' cannot be taken out while 'x:a:b' contains it"):
        mm.drop1(model, scope="x:a")
    model = mm.lmer("y ~ x * a + b + (1 | g)", simulated())
    assert mm.drop1(model)["term"].tolist() == ["b", "x:a"]
    # in any order of the factors
    assert mm.drop1(model, scope=["a:x"])["term"].tolist() == ["x:a"]
    with pytest.raises(mm.ModelError, match="'c' is not a fixed term of the model; its terms are"):
        mm.drop1(model, scope="c")
    assert len(mm.drop1(model, scope=[], test="Chisq")) == 1


def test_a_power_does_not_contain_the_variable() -> None:
    model = mm.lmer("y ~ x + I(x^2) + (1 | g)", simulated())
    assert mm.drop1(model)["term"].tolist() == ["x", "I(x^2)"]


def test_effects_that_others_would_code_otherwise() -> None:
    model = mm.lmer("y ~ a:b + a:x + b:x + (1 | g)", simulated())
    with pytest.raises(mm.ModelError, match="without a:x the formula codes b:x by other columns"):
        mm.drop1(model, scope="a:x")


def test_dependent_columns_have_nothing_to_test() -> None:
    frame = simulated().assign(copy=lambda d: 2 * d["x"])
    with pytest.warns(mm.RankDeficiencyWarning):
        models = [mm.lmer("y ~ x + copy + a + (1 | g)", frame), mm.lm("y ~ x + copy + a", frame)]
    for model in models:
        table = mm.drop1(model).set_index("term")
        # either does for the other
        assert table["num_df"].tolist() == [0, 0, 2]
        assert np.isnan(table.loc[["x", "copy"], "p_value"]).all()
        ratio = mm.drop1(model, test="Chisq").set_index("term")
        assert ratio["df"].tolist() == [0, 0, 0, 2]
        assert np.isnan(ratio.loc[["x", "copy"], "p_value"]).all()


def test_the_rows_stay_where_a_term_had_gaps() -> None:
    frame = simulated().assign(x=simulated()["x"].where(simulated().index > 20))
    model = mm.lmer("y ~ x + a + (1 | g)", frame, reml=False)
    table = mm.drop1(model).set_index("term")
    other = mm.lmer("y ~ a + (1 | g)", frame.dropna(), reml=False)
    assert table.loc["x", "loglik"] == pytest.approx(other.loglik, abs=1e-8)


def test_a_model_without_its_rows_will_do(tmp_path) -> None:
    model = mm.lmer("y ~ x + a + (1 | g)", simulated())
    mm.save(model, tmp_path / "m")
    loaded = mm.load(tmp_path / "m")
    for test in ("F", "Chisq"):
        pd.testing.assert_frame_equal(mm.drop1(loaded, test=test), mm.drop1(model, test=test))


def test_groups_that_differ_by_many_residual_deviations() -> None:
    """Digits are kept as in a fit of its own."""
    means = dict(zip(sorted(simulated()["g"].unique()), np.arange(12) * 1e5, strict=True))
    frame = simulated().assign(y=simulated()["y"] + simulated()["g"].map(means))
    model = mm.lmer("y ~ x + a + (1 | g)", frame, reml=False)
    assert model.moments.root is not None
    table = mm.drop1(model).set_index("term")
    other = mm.lmer("y ~ x + (1 | g)", frame, reml=False)
    assert table.loc["a", "loglik"] == pytest.approx(other.loglik, abs=1e-6)


def test_singular_models_warn_no_more() -> None:
    with pytest.warns(mm.SingularFitWarning):
        model = mm.lmer("Yield ~ x + (1 | Batch)", data.load("Dyestuff2").assign(
            x=np.arange(30) % 5), reml=False)  # fmt: skip
    assert len(mm.drop1(model)) == 2


def test_what_is_refused() -> None:
    model = mm.lmer("y ~ x + (1 | g)", simulated(), reml=False)
    with pytest.raises(TypeError, match="m must be a fitted model"):
        mm.drop1("model")
    with pytest.raises(mm.ModelError, match=r"test must be 'F', 'Chisq', 'none' or None, not 't'"):
        mm.drop1(model, test="t")
    with pytest.raises(mm.ModelError, match=r"ddf must be .*, not 'none'"):
        mm.drop1(model, ddf="none")
    with pytest.raises(mm.ModelError, match="REML"):
        mm.drop1(model, test="F", ddf="kenward-roger")


def test_polars_in_polars_out() -> None:
    pl = pytest.importorskip("polars")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = pl.from_pandas(simulated())
    assert isinstance(mm.drop1(mm.lmer("y ~ x + (1 | g)", frame)), pl.DataFrame)
