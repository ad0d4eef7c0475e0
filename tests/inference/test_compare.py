"""Comparisons of models: numbers of R 4.2.2 (lme4 1.1-31), what is refused, kinds of frames."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import mixedmodels as mm
from tests.reference import data

R_QUADRATIC = "BW ~ time + I(time^2) + (time | animal)"
R_TREATMENT = "BW ~ time + I(time^2) + treatm + (time | animal)"
TEST_COLUMNS = ["term", "sum_sq", "mean_sq", "num_df", "den_df", "statistic", "p_value"]


@cache
def piglets():
    frame = mm.datasets.load("piglets")
    rng = np.random.default_rng(11)
    frame["x"] = rng.normal(size=len(frame))
    frame["w"] = 1.0 + np.arange(1, len(frame) + 1) % 3
    frame["half"] = np.where(frame["time"] > 10, "late", "early")
    return frame


@cache
def fit(formula, reml=False, **options):
    with warnings.catch_warnings():  # a zero variance is no matter here
        warnings.simplefilter("ignore", mm.SingularFitWarning)
        return mm.lmer(formula, piglets(), reml=reml, **options)


LINEAR = "BW ~ time + (1 | animal)"
MEAN = "BW ~ 1 + (1 | animal)"


# --- information criteria -------------------------------------------------------------------------


def test_aictab_weights_ratio_and_order():
    table = mm.aictab({"I": fit(MEAN), "L": fit(LINEAR), "QR": fit(R_QUADRATIC)})
    assert table["model"].tolist() == ["QR", "L", "I"]
    assert table["k"].tolist() == [7, 4, 3]
    assert table["delta_aicc"].iloc[0] == 0.0
    assert table["aicc_weight"].sum() == pytest.approx(1.0, rel=1e-14)
    assert table["cum_weight"].iloc[-1] == pytest.approx(1.0, rel=1e-14)
    ratio = table["aicc_weight"].iloc[0] / table["aicc_weight"]
    np.testing.assert_allclose(table["evidence_ratio"], ratio, rtol=1e-12)


@pytest.mark.parametrize("ic", ["aic", "bic"])
def test_other_criteria_name_the_columns(ic):
    table = mm.aictab([fit(MEAN), fit(LINEAR)], ic=ic)
    assert list(table.columns) == [
        "model",
        "k",
        ic,
        f"delta_{ic}",
        f"{ic}_weight",
        "cum_weight",
        "evidence_ratio",
    ]
    assert table["model"].tolist() == [LINEAR, MEAN]
    assert table[ic].tolist() == [getattr(fit(LINEAR), ic), getattr(fit(MEAN), ic)]


def test_repeated_formulas_are_numbered():
    table = mm.aictab([fit(MEAN), fit(MEAN)])
    assert table["model"].tolist() == [f"{MEAN} #1", f"{MEAN} #2"]


def test_reml_fits_with_the_same_fixed_part_are_ranked():
    table = mm.aictab({"slope": fit("BW ~ time + (time | animal)", True), "L": fit(LINEAR, True)})
    assert table["model"].tolist() == ["slope", "L"]


def test_reml_fits_with_other_fixed_parts_are_fitted_again_by_ml():
    """As `anova` does; the column `criterion` says so, and is there only then."""
    table = mm.aictab({"I": fit(MEAN, True), "L": fit(LINEAR, True)})
    by_ml = mm.aictab({"I": fit(MEAN), "L": fit(LINEAR)})
    assert table.pop("criterion").tolist() == ["ML (refitted)"] * 2
    assert table["model"].tolist() == by_ml["model"].tolist()
    numbers = [name for name in by_ml.columns if name != "model"]
    np.testing.assert_allclose(table[numbers], by_ml[numbers], rtol=1e-8)


def test_reml_fits_in_other_units_are_fitted_again_by_ml():
    """The same fixed space, but REML criteria 2 log 7 apart: ML does not depend on the unit."""
    weeks = fit("BW ~ I(time/7) + (1 | animal)", True)
    gap = weeks.criterion - fit(LINEAR, True).criterion
    assert gap == pytest.approx(-2 * np.log(7), abs=1e-8)
    table = mm.aictab({"days": fit(LINEAR, True), "weeks": weeks})
    assert table["criterion"].tolist() == ["ML (refitted)"] * 2
    assert table["delta_aicc"].tolist() == pytest.approx([0.0, 0.0], abs=1e-8)


def test_reml_and_ml_together_are_refused():
    with pytest.raises(mm.ModelError, match=r"'a' was fitted by REML and 'b' by maximum"):
        mm.aictab({"a": fit(LINEAR, True), "b": fit(LINEAR)})


def other(**columns):
    return mm.lmer(LINEAR, piglets().assign(**columns), reml=False)


def test_other_rows_are_refused():
    gaps = piglets()["time"].astype(float)
    gaps.iloc[[3, 5]] = np.nan
    with pytest.raises(mm.ModelError, match=r"297 rows, 'b' to 295 rows \(missing values: time: 2"):
        mm.aictab({"a": fit(LINEAR), "b": other(time=gaps)})
    shifted = piglets()["BW"].copy()
    shifted.iloc[7] += 1.0
    with pytest.raises(mm.ModelError, match=r"1 of 297 values .* row 7 of"):
        mm.anova(fit(MEAN), other(BW=shifted))
    shuffled = piglets().sample(frac=1.0, random_state=1)
    with pytest.raises(mm.ModelError, match="another order"):
        mm.aictab([fit(MEAN), mm.lmer(LINEAR, shuffled, reml=False)])


def test_as_many_rows_but_others_are_refused():
    """Twins have the same weight, so that only the rows left out tell the fits apart."""
    frame = piglets().copy()
    frame.loc[1, "BW"] = frame.loc[0, "BW"]
    models = []
    for gap in (0, 1):
        with_gap = frame.assign(x=frame["x"].where(frame.index != gap))
        models.append(mm.lmer("BW ~ x + (1 | animal)", with_gap, reml=False))
    assert np.array_equal(models[0].response, models[1].response)
    with pytest.raises(mm.ModelError, match="missing values left out other rows"):
        mm.aictab(models)


def test_another_response_is_refused():
    log = fit("log(BW) ~ time + (1 | animal)")
    for compare in (mm.aictab, mm.anova):
        with pytest.raises(
            mm.ModelError, match=r"the response of 'a' is BW, that of 'b' log\(BW\)"
        ):
            compare({"a": fit(LINEAR), "b": log})


def test_a_response_with_a_large_mean_is_recognised():
    frame = piglets().assign(BW=piglets()["BW"] + 1e9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = [mm.lmer(LINEAR, frame, reml=False, weights=weights) for weights in (None, "w")]
    assert len(mm.aictab(models)) == 2


def test_models_loaded_without_rows(tmp_path):
    """The criteria can be compared; what needs the rows says so."""
    path = tmp_path / "linear"
    mm.save(fit(LINEAR), path)
    loaded = mm.load(path)
    assert mm.aictab({"L": loaded, "I": fit(MEAN)})["model"].tolist() == ["L", "I"]
    with pytest.raises(mm.ModelError, match=r"'L' was loaded from a file without its rows.*data=T"):
        mm.anova({"L": loaded, "I": fit(MEAN)})
    with pytest.raises(mm.ModelError, match="differ in mean or spread"):
        mm.aictab({"L": loaded, "b": other(BW=piglets()["BW"] + piglets()["x"])})


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (3, "a dict of names to fitted models or a list of fitted models, not 3"),
        ("ab", "not 'ab'"),
        ({"a": "text"}, "in which 'a' is 'text'"),
        ([None], "in which 0 is None"),
    ],
)
def test_what_is_not_a_model_is_named(models, message):
    for compare in (mm.aictab, mm.anova):
        with pytest.raises(TypeError, match=message):
            compare(models)


def test_no_models_and_unknown_criteria():
    with pytest.raises(mm.ModelError, match="at least one"):
        mm.aictab([])
    with pytest.raises(mm.ModelError, match="at least one"):
        mm.anova()
    with pytest.raises(mm.ModelError, match="'aicc', 'aic' or 'bic', not 'dic'"):
        mm.aictab([fit(MEAN)], ic="dic")


def test_aicc_without_spare_rows_is_refused():
    small = {"y": [1.0, 2.5, 2.0, 4.0], "g": list("aabb"), "x": [1.0, 2.0, 3.0, 5.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = mm.lmer("y ~ x + (1 | g)", small, reml=False)
    with pytest.raises(mm.ModelError, match="4 parameters on 4 rows"):
        mm.aictab({"m": model})
    assert len(mm.aictab({"m": model}, ic="aic")) == 1


# --- likelihood ratio -----------------------------------------------------------------------------


def test_likelihood_ratio_as_in_r():
    """anova(q, qt) of lme4, in either order, from REML and from ML fits."""
    for reml, criterion in ((True, "ML (refitted)"), (False, "ML")):
        table = mm.anova(fit(R_TREATMENT, reml), fit(R_QUADRATIC, reml))
        assert list(table.columns) == [
            "model",
            "n_params",
            "aic",
            "bic",
            "loglik",
            "deviance",
            "statistic",
            "df",
            "p_value",
            "p_boundary",
            "criterion",
            "note",
        ]
        assert np.isnan(table["p_boundary"]).all()
        assert table["note"].tolist() == ["", ""]
        assert table["model"].tolist() == [R_QUADRATIC, R_TREATMENT]
        assert table["n_params"].tolist() == [7, 11]
        assert table["criterion"].tolist() == [criterion] * 2
        small, large = table.itertuples(index=False)
        figures = (small.aic, small.bic, small.loglik, small.deviance)
        expected = (836.488154805699, 862.344279777318, -411.244077402849, 822.488154805699)
        assert figures == pytest.approx(expected, abs=1e-6)
        assert (large.aic, large.bic) == pytest.approx((844.346742066027, 884.977795592856))
        assert large.statistic == pytest.approx(0.141412739672091, abs=1e-6)
        assert large.df == 4
        assert large.p_value == pytest.approx(0.997615068034224, abs=1e-7)
        assert np.isnan([small.statistic, small.p_value]).all()


def test_a_mixture_of_criteria_says_which_were_refitted():
    table = mm.anova({"QT": fit(R_TREATMENT, True), "QR": fit(R_QUADRATIC)})
    assert table["model"].tolist() == ["QR", "QT"]
    assert table["criterion"].tolist() == ["ML", "ML (refitted)"]


def test_a_chain_of_three_tests_each_against_the_one_before():
    chain = [fit(f) for f in (MEAN, LINEAR, R_QUADRATIC)]
    table = mm.anova(*chain)
    assert table["df"].tolist() == [0, 1, 3]
    expected = [chain[0].deviance - chain[1].deviance, chain[1].deviance - chain[2].deviance]
    assert table["statistic"].tolist()[1:] == pytest.approx(expected)


def test_polars_in_polars_out():
    pl = pytest.importorskip("polars")
    frame = mm.datasets.load("piglets", backend="polars")
    models = [mm.lmer(f, frame) for f in (R_QUADRATIC, R_TREATMENT)]
    table = mm.anova(*models)
    assert isinstance(table, pl.DataFrame)
    assert table["p_value"][1] == pytest.approx(0.9976, abs=1e-4)
    assert isinstance(mm.aictab([m.update(reml=False) for m in models]), pl.DataFrame)


def test_arrow_in_arrow_out():
    pa = pytest.importorskip("pyarrow")
    frame = mm.datasets.load("piglets", backend="pyarrow")
    assert isinstance(mm.aictab([mm.lmer(MEAN, frame, reml=False)]), pa.Table)


# --- nesting --------------------------------------------------------------------------------------

NOT_NESTED = [
    ("BW ~ time + (1 | animal)", "BW ~ treatm + x + (1 | animal)", "the fixed effects time:"),
    ("BW ~ time + (1 | animal)", "BW ~ x + (1 | animal)", "the fixed effects time:"),
    ("BW ~ time + (1 | half)", "BW ~ time + x + (1 | animal)", r"random terms \(1 \| half\)"),
    (
        "BW ~ time + (time | animal)",
        "BW ~ time + treatm + (time || animal)",
        r"random terms \(time \| animal\)",
    ),
    (
        "BW ~ x + (1 | animal:half)",
        "BW ~ treatm + (1 | animal)",
        r"fixed effects x and the random terms \(1 \| animal:half\)",
    ),
    ("BW ~ time + offset(x) + (1 | animal)", "BW ~ time*treatm + (1 | animal)", "effects offset"),
]


@pytest.mark.parametrize(("small", "large", "message"), NOT_NESTED)
def test_models_that_are_not_nested_are_named(small, large, message):
    with pytest.warns(mm.DataWarning, match="is not nested in .* which lacks .*" + message):
        mm.anova(fit(small), fit(large))


NESTED = [
    ("BW ~ time + (1 | animal)", "BW ~ factor(time) + (1 | animal)"),
    ("BW ~ I(time + 2000) + (1 | animal)", "BW ~ poly(time, 2) + (1 | animal)"),
    ("BW ~ time + (1 | animal)", "BW ~ time + (time | animal)"),
    ("BW ~ time + (time || animal)", "BW ~ time + (time | animal)"),
    ("BW ~ time + (1 | animal)", "BW ~ time + (1 | animal/half)"),
    ("BW ~ time + (1 | animal/half)", "BW ~ time + (0 + half | animal)"),
    ("BW ~ time + (1 | animal)", "BW ~ time + (1 | animal) + (1 | half)"),
]


@pytest.mark.parametrize(("small", "large"), NESTED)
def test_models_that_are_nested_pass(small, large):
    table = mm.anova(fit(small), fit(large))  # a warning would be an error
    assert table["p_value"].iloc[1] >= 0
    assert table["df"].iloc[1] > 0


def test_other_prior_weights_are_not_nested():
    with pytest.warns(mm.DataWarning, match="other prior weights"):
        mm.anova(fit(MEAN), fit(LINEAR, weights="w"))
    mm.anova(fit(MEAN, weights="w"), fit(LINEAR, weights="w"))


def test_as_many_parameters_have_no_test():
    with pytest.warns(mm.DataWarning, match="nothing to test"):
        table = mm.anova(fit(LINEAR), fit("BW ~ I(time/7) + (1 | animal)"))
    assert np.isnan(table["statistic"]).all()
    assert np.isnan(table["p_value"]).all()


def test_a_wrong_sign_of_a_variance_is_noticed():
    """Contrasts within animals alone are a combination of two random intercepts, one negative."""
    frame = piglets().assign(sign=np.where(piglets()["half"] == "late", 1.0, -1.0))
    rng = np.random.default_rng(3)
    slopes = dict(zip(frame["animal"].unique(), rng.normal(0, 3, 75), strict=True))
    frame["y"] = [slopes[a] * s for a, s in zip(frame["animal"], frame["sign"], strict=True)]
    frame["y"] += rng.normal(size=len(frame))
    small = mm.lmer("y ~ 1 + (0 + sign | animal)", frame, reml=False)
    with pytest.warns(mm.SingularFitWarning):
        large = mm.lmer("y ~ 1 + (1 | animal/half)", frame, reml=False)
    with pytest.warns(mm.DataWarning, match="fits worse"):
        mm.anova(small, large)


# --- the boundary ---------------------------------------------------------------------------------

NOTE = "boundary: p-value conservative; see mm.pbmodcomp"


@pytest.mark.parametrize("entry", data.figures("lrt"), ids=lambda entry: entry["id"])
def test_chains_of_lme4_and_their_boundaries(entry):
    """R's figures, and which steps set a variance to zero: one each, with `lower` covariances."""
    lower = {"dbar": 0, "nested": 0, "both": 0}
    frame = data.load(entry["dataset"])
    models = {name: mm.lmer(f, frame, reml=False) for name, f in entry["models"].items()}
    table = mm.anova(models)
    assert table["model"].tolist() == [row["model"] for row in entry["table"]]
    ours = ["n_params", "aic", "bic", "loglik", "deviance", "statistic"]
    theirs = ["npar", "AIC", "BIC", "logLik", "deviance", "Chisq"]
    for row, figures in zip(table.to_dict("records"), entry["table"], strict=True):
        expected = [np.nan if figures[name] is None else figures[name] for name in theirs]
        assert [row[name] for name in ours] == pytest.approx(expected, abs=1e-6, nan_ok=True)
        if figures["p"] is not None:
            assert row["p_value"] == pytest.approx(figures["p"], rel=1e-6)
        zero = row["model"] in lower
        assert row["note"] == (NOTE if zero else "")
        half = row["p_value"] / 2 if zero else np.nan
        assert row["p_boundary"] == pytest.approx(half, rel=1e-9, nan_ok=True)


BOUNDARY = [
    # one variance with its covariance, alone and with fixed effects
    ("BW ~ time + (1 | animal)", "BW ~ time + (time | animal)", 1, 2),
    ("BW ~ 1 + (1 | animal)", "BW ~ time + x + (time | animal)", 1, 4),
    ("BW ~ I(time + 2000) + (1 | animal)", "BW ~ time + (I(time + 2000) | animal)", 1, 2),
    # two variances: no equal mixture
    ("BW ~ time + (1 | animal)", "BW ~ time + (time + x | animal)", 2, 5),
    ("BW ~ time + x", "BW ~ time + x + (time || animal)", 2, 2),
]


@pytest.mark.parametrize(("small", "large", "zeros", "df"), BOUNDARY)
def test_variances_that_the_smaller_model_sets_to_zero(small, large, zeros, df):
    smaller = fit(small) if "|" in small else mm.lm(small, piglets())
    row = mm.anova(smaller, fit(large)).iloc[1]
    assert (row["df"], row["note"]) == (df, NOTE)
    mixture = stats.chi2.sf(row["statistic"], [df - 1, df]).mean() if zeros == 1 else np.nan
    assert row["p_boundary"] == pytest.approx(mixture, rel=1e-9, nan_ok=True)


INSIDE = [
    # a covariance, not a variance
    ("BW ~ time + (time || animal)", "BW ~ time + (time | animal)"),
    # equal variances, equal covariances: inside the larger model's space
    ("BW ~ time + (1 | animal/half)", "BW ~ time + (0 + half | animal)"),
    # fixed effects alone
    ("BW ~ time + (1 | animal)", "BW ~ time + x + (1 | animal)"),
]


@pytest.mark.parametrize(("small", "large"), INSIDE)
def test_no_variance_is_set_to_zero(small, large):
    if "half" in small:
        frame = piglets().assign(BW=piglets()["BW"] + halves())
        models = [mm.lmer(f, frame, reml=False) for f in (small, large)]
    else:
        models = [fit(small), fit(large)]
    row = mm.anova(*models).iloc[1]
    assert row["note"] == ""
    assert np.isnan(row["p_boundary"])


def halves():
    """An effect of each half of each animal, so that its variance is not zero."""
    frame, rng = piglets(), np.random.default_rng(4)
    cells = frame["animal"].astype(str) + frame["half"]
    return cells.map(dict(zip(cells.unique(), rng.normal(0, 2, cells.nunique()), strict=True)))


def test_a_smaller_model_on_its_own_boundary_has_no_mixture():
    """Its variance of x is zero, and so may the other variances' theory be."""
    small = fit("BW ~ time + x + (x || animal)")
    assert small.is_singular
    row = mm.anova(small, fit("BW ~ time + x + (time + x || animal)")).iloc[1]
    assert row["note"] == NOTE
    assert np.isnan(row["p_boundary"])


# --- models without random terms ------------------------------------------------------------------

# R: anova(lm(...)) on the piglets; term -> sum of squares, df, F, p
R_TABLES = {
    "BW ~ time * treatm": {
        "time": (1386.75923683751, 1, 490.895053847428, 4.27169273801558e-64),
        "treatm": (19.286898081857949, 4, 1.706828882213689, 0.148507713477797),
        "time:treatm": (11.742331625415346, 4, 1.039158846473223, 0.387238939865696),
        "Residuals": (810.76372200740411, 287),
    },
    # R's order: by degree, then as written
    "BW ~ treatm:time + I(time^2) + time": {
        "I(time^2)": (1369.27522649440, 1, 502.861677353741, 2.70688832104032e-65),
        "time": (39.1761470889722, 1, 14.3873069900298, 1.81096926840624e-04),
        "treatm:time": (30.4406886036067519, 4, 2.7948098809547872, 0.0264878392487579),
        "Residuals": (789.66012636520816, 290),
    },
    # without an intercept the mean counts
    "BW ~ 0 + treatm + time": {
        "treatm": (31190.0321304305, 5, 2206.98663793838, 5.47083700897750e-229),
        "time": (1383.71181593663, 1, 489.552796188068, 2.64206047573336e-64),
        "Residuals": (822.50605363281977, 291),
    },
    # poly(time, 2) is determined by factor(time): R leaves it out
    "log(BW) ~ factor(time) * treatm + poly(time, 2)": {
        "factor(time)": (13.3072413295006, 3, 163.741207347356, 4.69387419155790e-61),
        "treatm": (0.1609744096086717, 4, 1.4855526886845591, 0.2067016142379047),
        "factor(time):treatm": (0.10976038952310527, 12, 0.33764133103205524, 0.98166881676472095),
        "Residuals": (7.5039262829994184, 277),
    },
}


def check_table(table, expected):
    assert list(table.columns) == TEST_COLUMNS
    assert table["term"].tolist() == list(expected)
    for row, figures in zip(table.itertuples(index=False), expected.values(), strict=True):
        assert (row.sum_sq, row.num_df) == pytest.approx(figures[:2], rel=1e-9)
        assert row.mean_sq == pytest.approx(figures[0] / figures[1], rel=1e-9)
        if row.term == "Residuals":
            assert np.isnan([row.den_df, row.statistic, row.p_value]).all()
        else:
            assert row.den_df == expected["Residuals"][1]
            assert row.statistic == pytest.approx(figures[2], rel=1e-9)
            assert row.p_value == pytest.approx(figures[3], rel=1e-7)


@pytest.mark.parametrize("formula", list(R_TABLES))
def test_sequential_table_as_in_r(formula):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.RankDeficiencyWarning)
        model = mm.lm(formula, piglets())
    check_table(mm.anova(model), R_TABLES[formula])


def test_sequential_table_with_weights_and_offset_as_in_r():
    model = mm.lm("BW ~ time + treatm + offset(time/10)", piglets(), weights="w")
    check_table(
        mm.anova(model),
        {
            "time": (1287.95670128445, 1, 234.516410647747, 3.11984101784813e-39),
            "treatm": (42.846910575205726, 4, 1.950435070026283, 0.102173424377439),
            "Residuals": (1598.16278544674219, 291),
        },
    )


def test_terms_keep_the_users_spelling():
    frame = piglets().rename(columns={"x": "a b"})
    table = mm.anova(mm.lm("BW ~ `a b` + log(time + 1)", frame))
    assert table["term"].tolist() == ["a b", "log(time + 1)", "Residuals"]


def test_a_mean_alone_has_only_residuals():
    table = mm.anova(mm.lm("BW ~ 1", piglets()))
    assert table["term"].tolist() == ["Residuals"]
    assert table["num_df"].tolist() == [296]


def test_polars_sequential_table():
    pl = pytest.importorskip("polars")
    frame = mm.datasets.load("piglets", backend="polars")
    assert isinstance(mm.anova(mm.lm("BW ~ time", frame)), pl.DataFrame)


def test_a_random_intercept_against_none_as_in_r():
    table = mm.anova(fit(LINEAR), mm.lm("BW ~ time", piglets()))
    small, large = table.itertuples(index=False)
    assert (small.n_params, small.bic) == pytest.approx((3, 1169.345862693528))
    assert large.statistic == pytest.approx(199.475625584816, abs=1e-6)
    assert large.p_value == pytest.approx(2.71808394106577e-45, rel=1e-6)


def test_f_tests_of_linear_models_as_in_r():
    """R: anova(lm(BW ~ time), lm(BW ~ time + treatm), lm(BW ~ time * treatm))."""
    frame = piglets()
    small, middle, large = (
        mm.lm(f"BW ~ {f}", frame) for f in ("time", "time + treatm", "time * treatm")
    )
    table = mm.anova(large, small, middle, test="F")
    assert table["model"].tolist() == [m.formula for m in (small, middle, large)]
    assert table["df_resid"].tolist() == [295, 291, 287]
    assert table["df"].tolist() == [0, 4, 4]
    assert_allclose(table["rss"], [841.792951715, 822.506053633, 810.763722007], rtol=1e-11)
    assert_allclose(table["sum_sq"][1:], [19.2868980819, 11.7423316254], rtol=1e-10)
    assert_allclose(table["statistic"][1:], [1.70682888221, 1.03915884647], rtol=1e-10)
    assert_allclose(table["p_value"][1:], [0.148507713478, 0.387238939866], rtol=1e-10)


def test_f_tests_of_weighted_linear_models_as_in_r():
    """R: the same with weights of 1 + row %% 3."""
    models = [mm.lm(f"BW ~ {f}", piglets(), weights="w") for f in ("time", "time * treatm")]
    row = mm.anova(*models, test="F").iloc[1]
    assert (row.rss, row.statistic) == pytest.approx((1575.57975789, 1.48980019499), rel=1e-10)
    assert row.p_value == pytest.approx(0.160405654107, rel=1e-9)


def test_f_tests_are_of_several_linear_models():
    model = mm.lm("BW ~ time", piglets())
    with pytest.raises(mm.ModelError, match="several models; one was given"):
        mm.anova(model, test="F")
    with pytest.raises(
        mm.ModelError, match=r"without random terms, and .* has some; see mm.krmodcomp"
    ):
        mm.anova(model, fit(LINEAR), test="F")
