"""Model averages: figures of R by MuMIn's par.avg, identities, what is refused or warned of."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest

import mixedmodels as mm
from tests.reference import data, names

FIGURES = data.figures("averaging")
LIMITS = ["estimate", "std_error", "conf_low", "conf_high"]
MEAN, LINEAR = "BW ~ 1 + (1 | animal)", "BW ~ time + (1 | animal)"


@cache
def reference_models():
    frame = data.load(FIGURES["dataset"])
    frame["z"] = frame["age"] ** 2 / 10
    return {n: mm.lmer(f, frame, reml=False) for n, f in FIGURES["models"].items()}


def averaged(**options):
    with pytest.warns(mm.DataWarning, match="of 'age', 'Sex' mean .* beside 'Sex:age'"):
        return mm.model_avg(reference_models(), **options)


@pytest.mark.parametrize("uncond_se", ["revised", "old"])
@pytest.mark.parametrize("full", [False, True])
def test_coefficients_as_in_r(full, uncond_se):
    """Both spellings of the interaction, age:Sex and Sex:age, are one term."""
    table = averaged(full=full, uncond_se=uncond_se).set_index("term")
    expected = FIGURES[f"{'full' if full else 'subset'}_{uncond_se}"]
    terms = names.terms(list(expected), data.levels("Orthodont"))
    assert set(table.index) == set(terms)
    for term, (theirs, row) in zip(terms, expected.items(), strict=True):
        np.testing.assert_allclose(table.loc[term, LIMITS].astype(float), row, rtol=1e-6, atol=1e-6)
        importance = FIGURES["importance"][theirs]
        assert table.loc[term, "weight"] == pytest.approx(importance, abs=1e-7)
    assert table["n_models"].to_dict() == {
        "Intercept": 4,
        "age": 4,
        "Sex[T.Female]": 3,
        "Sex[T.Female]:age": 2,
        "z": 1,
    }


@pytest.mark.parametrize("uncond_se", ["revised", "old"])
def test_predictions_as_in_r(uncond_se):
    new = {"age": np.array(FIGURES["newdata"]["age"], float), "Sex": FIGURES["newdata"]["Sex"]}
    new["z"] = new["age"] ** 2 / 10
    table = mm.model_avg_predict(reference_models(), new, uncond_se=uncond_se)
    assert list(table.columns) == ["prediction", "std_error", "conf_low", "conf_high"]
    np.testing.assert_allclose(table, FIGURES[f"predict_{uncond_se}"], rtol=1e-6)


# --- identities -----------------------------------------------------------------------------------


@cache
def piglets():
    frame = mm.datasets.load("piglets")
    rng = np.random.default_rng(3)
    return frame.assign(x=rng.normal(size=len(frame)), u=rng.normal(size=len(frame)))


@cache
def fit(formula, reml=False):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.SingularFitWarning)
        return mm.lmer(formula, piglets(), reml=reml)


def pair():
    return {"x": fit("BW ~ time + x + (1 | animal)"), "u": fit("BW ~ time + u + (1 | animal)")}


@pytest.mark.parametrize("ic", ["aicc", "aic", "bic"])
def test_weights_are_those_of_the_table(ic):
    weights = mm.aictab(pair(), ic=ic).set_index("model")[f"{ic}_weight"]
    table = mm.model_avg(pair(), ic=ic).set_index("term")
    assert table["weight"].to_dict() == pytest.approx(
        {"Intercept": 1.0, "time": 1.0, "x": weights["x"], "u": weights["u"]}, rel=1e-12
    )
    slopes = {name: m.beta[1] for name, m in pair().items()}
    expected = sum(weights[name] * slope for name, slope in slopes.items())
    assert table.loc["time", "estimate"] == pytest.approx(expected, rel=1e-12)


def test_full_average_shrinks_and_conditional_does_not():
    """The zero method multiplies the estimate by the weight of the term."""
    subset = mm.model_avg(pair()).set_index("term")
    full = mm.model_avg(pair(), full=True).set_index("term")
    for term, model in (("x", pair()["x"]), ("u", pair()["u"])):
        own = model.beta[2]
        assert subset.loc[term, "estimate"] == own
        share = full.loc[term, "weight"]
        assert full.loc[term, "estimate"] == pytest.approx(share * own, rel=1e-12)
        variance = share * (model.vcov[2, 2] + (own - share * own) ** 2)
        variance += (1 - share) * (share * own) ** 2
        assert full.loc[term, "std_error"] == pytest.approx(np.sqrt(variance), rel=1e-12)


def test_one_model_and_models_alike_average_to_themselves():
    m = fit(LINEAR)
    for models in ({"a": m}, {"a": m, "b": m}):
        for uncond_se in ("revised", "old"):
            table = mm.model_avg(models, uncond_se=uncond_se, level=0.9)
            tidy = m.tidy(ddf="none", level=0.9)
            np.testing.assert_allclose(table[LIMITS], tidy[LIMITS], rtol=1e-12)
            mine = mm.model_avg_predict(models, random=True, uncond_se=uncond_se)
            np.testing.assert_allclose(mine, m.predict(interval="confidence"), rtol=1e-12)


def test_old_standard_error_is_no_larger():
    """Jensen's inequality."""
    revised, old = averaged(), averaged(uncond_se="old")
    assert (old["std_error"] <= revised["std_error"] * (1 + 1e-12)).all()


def test_terms_of_hopeless_models_are_still_averaged():
    """Their weights vanish in float64; among themselves they do not."""
    hopeless = {"B": fit(MEAN.replace("1 +", "x +")), "C": fit(MEAN.replace("1 +", "x + u +"))}
    best = mm.lm("BW ~ factor(animal) * poly(time, 2)", piglets())
    table = mm.model_avg({"A": best, **hopeless}, ic="aic").set_index("term")
    alone = mm.model_avg(hopeless, ic="aic").set_index("term")
    assert table.loc["x", "weight"] < 1e-100
    assert table.loc["x", "estimate"] == pytest.approx(alone.loc["x", "estimate"], rel=1e-10)


def test_reml_estimates_with_ml_weights():
    """The models as given are averaged; what weighs them is comparable."""
    reml = {name: m.update(reml=True) for name, m in pair().items()}
    table, by_ml = mm.model_avg(reml).set_index("term"), mm.model_avg(pair()).set_index("term")
    np.testing.assert_allclose(table["weight"], by_ml["weight"], rtol=1e-7)
    assert table.loc["x", "estimate"] == reml["x"].beta[2]


# --- warnings, messages, frames -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formulas", "message"),
    [
        ((LINEAR, "BW ~ time + I(time^2) + (1 | animal)"), r"'time' mean .* beside 'I\(time\^2\)'"),
        (
            ("BW ~ time + x + (1 | animal)", "BW ~ x * time + (1 | animal)"),
            "'time', 'x' mean .* beside 'time:x'",
        ),
    ],
)
def test_coefficients_that_mean_other_things_are_named(formulas, message):
    with pytest.warns(mm.DataWarning, match=message):
        mm.model_avg([fit(f) for f in formulas])
    mm.model_avg_predict([fit(f) for f in formulas])  # predictions mean the same


def test_what_aictab_refuses_is_refused():
    for average in (mm.model_avg, mm.model_avg_predict):
        with pytest.raises(mm.ModelError, match="by REML and 'b' by maximum"):
            average({"a": fit(LINEAR, True), "b": fit(MEAN)})
        with pytest.raises(mm.ModelError, match="different rows"):
            average([fit(LINEAR), mm.lmer(LINEAR, piglets().iloc[::-1], reml=False)])
        with pytest.raises(TypeError, match="must be a dict of names to fitted models"):
            average(fit(LINEAR))
        with pytest.raises(mm.ModelError, match="uncond_se must be 'revised' or 'old', not 'new'"):
            average([fit(LINEAR)], uncond_se="new")
        with pytest.raises(mm.ModelError, match="level must lie between"):
            average([fit(LINEAR)], level=95)
        with pytest.raises(mm.ModelError, match="'aicc', 'aic' or 'bic', not 'dic'"):
            average([fit(LINEAR)], ic="dic")


def test_messages_of_predictions_name_the_model():
    with pytest.raises(mm.DataError, match=r"'u': .*u"):
        mm.model_avg_predict(pair(), {"time": [1.0], "x": [0.0]})
    with pytest.raises(mm.ModelError, match=r"'x': .*'litter'.*names no grouping factor"):
        mm.model_avg_predict(pair(), random=["litter"])
    new = {"time": [1.0], "x": [0.0], "u": [0.0], "animal": ["nobody"]}
    with pytest.raises(mm.DataError, match="'x': new level 'nobody'"):
        mm.model_avg_predict(pair(), new, random=True)
    average = mm.model_avg_predict(pair(), new, random=True, new_levels="zero")
    population = mm.model_avg_predict(pair(), new)
    assert average["prediction"].tolist() == pytest.approx(population["prediction"].tolist())
    assert average["std_error"][0] > population["std_error"][0]


def test_incomplete_rows_and_index_of_new_data():
    new = piglets().iloc[[4, 2, 9]].assign(u=[0.0, np.nan, 1.0])
    table = mm.model_avg_predict(pair(), new)
    assert table.index.tolist() == [4, 2, 9]
    assert table["prediction"].isna().tolist() == [False, True, False]
    whole = mm.model_avg_predict(pair(), piglets())
    np.testing.assert_allclose(table.loc[[4, 9], "conf_low"].isna(), False)
    assert table.loc[9, "prediction"] != whole.loc[9, "prediction"]


def test_kinds_of_frames():
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    for kind, backend in ((pl.DataFrame, "polars"), (pa.Table, "pyarrow")):
        frame = mm.datasets.load("piglets", backend=backend)
        models = [mm.lmer(f, frame, reml=False) for f in (MEAN, LINEAR)]
        assert isinstance(mm.model_avg(models), kind)
        for new in (None, frame):
            table = mm.model_avg_predict(models, new)
            assert isinstance(table, kind)
            assert len(table["prediction"]) == 297
