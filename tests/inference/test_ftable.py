"""F tables of types I, II and III: lmerTest's values, sums of squares, refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from mixedmodels.inference.ftable import hypotheses
from tests.reference import data, fits

VALUES = data.figures("type3")
METHODS = [(name, ddf) for name, tables in VALUES.items() for ddf in tables]


@pytest.mark.parametrize(("name", "ddf"), METHODS)
def test_type_three_of_lmertest(name: str, ddf: str) -> None:
    table = mm.anova(fits.reference_fit(name).model, ddf=ddf)
    num_df, den_df, statistic, p_value = np.array(VALUES[name][ddf]).T
    assert table["num_df"].tolist() == num_df.tolist()
    assert_allclose(table["den_df"], den_df, rtol=1e-3)
    assert_allclose(table["statistic"], statistic, rtol=1e-4)
    assert_allclose(table["p_value"], p_value, rtol=5e-3, atol=1e-10)


def unbalanced() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    n = 90
    a, b = (
        rng.choice(["u", "v", "w"], n, p=[0.5, 0.3, 0.2]),
        rng.choice(["k", "l"], n, p=[0.7, 0.3]),
    )
    x = rng.normal(size=n) + (a == "v")
    g = rng.integers(0, 12, n)
    y = x + (a == "w") * (b == "l") + rng.normal(size=12)[g] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "a": a, "b": b, "x": x, "g": [f"g{i:02d}" for i in g]})


def rss(frame: pd.DataFrame, formula: str) -> float:
    model = mm.lm(formula, frame)
    return model.sigma**2 * model.df_resid


FULL = "y ~ x + a + b + a:b"


@pytest.mark.parametrize(
    ("term", "with_term", "without"),
    [
        ("x", "y ~ x + a + b + a:b", "y ~ a + b + a:b"),
        ("a", "y ~ x + a + b", "y ~ x + b"),
        ("b", "y ~ x + a + b", "y ~ x + a"),
        ("a:b", "y ~ x + a + b + a:b", "y ~ x + a + b"),
    ],
)
def test_type_two_compares_models_without_what_contains_the_term(
    term: str, with_term: str, without: str
) -> None:
    frame = unbalanced()
    table = mm.anova(mm.lm(FULL, frame), type="II").set_index("term")
    expected = rss(frame, without) - rss(frame, with_term)
    assert table.loc[term, "sum_sq"] == pytest.approx(expected, rel=1e-8)


def test_type_one_of_least_squares_is_sequential() -> None:
    frame = unbalanced()
    model = mm.lm(FULL, frame)
    sequential = mm.anova(model)
    # the contrasts that mixed models use give the same sums
    names, L = zip(*hypotheses(model, "I"), strict=True)
    assert list(names) == sequential["term"].tolist()[:-1]
    for i, rows in enumerate(L):
        estimate = rows @ model.beta
        variance = rows @ (model.vcov / model.sigma**2) @ rows.T
        square = estimate @ np.linalg.solve(variance, estimate)
        assert square == pytest.approx(sequential["sum_sq"][i], rel=1e-8)


def test_type_three_does_not_depend_on_the_coding() -> None:
    frame = unbalanced()
    tables = [
        mm.anova(mm.lmer(f"{FULL} + (1 | g)", frame, contrasts=contrasts), type="III")
        for contrasts in (None, {"a": "sum", "b": "helmert"}, {"a": "poly"})
    ]
    for other in tables[1:]:
        assert_allclose(other["statistic"], tables[0]["statistic"], rtol=1e-6)
        assert_allclose(other["den_df"], tables[0]["den_df"], rtol=1e-4)
    # in sum-to-zero coding they are plain tests of the coefficients
    coded = mm.lm(FULL, frame, contrasts={"a": "sum", "b": "sum"})
    t = coded.tidy().set_index("term")["statistic"]
    table = mm.anova(mm.lm(FULL, frame), type="III").set_index("term")
    assert table.loc["x", "statistic"] == pytest.approx(t["x"] ** 2)
    assert table.loc["b", "statistic"] == pytest.approx(t[t.index.str.startswith("b[")].item() ** 2)


@pytest.mark.parametrize(("number", "kind"), [(1, "I"), (2, "II"), (3, "III"), ("3", "III")])
def test_types_may_be_numbers_as_in_r(number: object, kind: str) -> None:
    model = mm.lmer(f"{FULL} + (1 | g)", unbalanced())
    assert mm.anova(model, type=number).equals(mm.anova(model, type=kind))
    with pytest.raises(mm.ModelError, match=r"type=4 is not known; use 'I', 'II' or 'III'"):
        mm.anova(model, type=4)


def test_the_last_term_is_alike_in_all_types() -> None:
    model = mm.lmer(f"{FULL} + (1 | g)", unbalanced())
    last = [mm.anova(model, type=kind).iloc[-1] for kind in ("I", "II", "III")]
    for other in last[1:]:
        assert other["statistic"] == pytest.approx(last[0]["statistic"], rel=1e-8)
        # combined from the principal axes of the contrasts, which depend on how they are written
        assert other["den_df"] == pytest.approx(last[0]["den_df"], rel=1e-2)


def test_missing_cells_have_no_type_three() -> None:
    model = fits.reference_fit("oats_rankdef_reml").model
    with pytest.raises(mm.ModelError, match=r"Victory.*type='II'"):
        mm.anova(model)
    assert mm.anova(model, type="II")["num_df"].tolist() == [2, 3, 5]


def test_what_is_refused() -> None:
    model = mm.lmer("y ~ x + (1 | g)", unbalanced())
    with pytest.raises(mm.ModelError, match="type='IV'"):
        mm.anova(model, type="IV")
    with pytest.raises(mm.ModelError, match=r"ddf must be .* not 'wald'"):
        mm.anova(model, ddf="wald")
    with pytest.raises(mm.ModelError, match="REML"):
        mm.anova(model.update(reml=False), ddf="kenward-roger")
    assert len(mm.anova(mm.lmer("y ~ 1 + (1 | g)", unbalanced()))) == 0


# lmerTest 3.1-3 on unbalanced(): Satterthwaite's denominators depend on which contrasts stand for
# a hypothesis of several degrees of freedom, and on the coding for those that no other contains
MIXED = "y ~ x + a * b + (1 | g)"
DEN_DF = {
    ("I", None): [74.28351302, 74.86536486, 73.54706163, 74.29894269],
    ("II", None): [74.62603028, 74.92882358, 73.54706163, 74.31042119],
    ("III", None): [74.62603028, 75.02994383, 73.79263054, 74.31042119],
    ("II", "sum"): [74.62603018, 74.93094515, 73.54706153, 74.29758042],
    ("III", "sum"): [74.62603018, 75.02994374, 73.79263043, 74.31042108],
}


@pytest.mark.parametrize(("kind", "coding"), DEN_DF)
def test_denominators_are_those_of_lmertest(kind: str, coding: str | None) -> None:
    model = mm.lmer(MIXED, unbalanced(), contrasts={"a": coding} if coding else None)
    table = mm.anova(model, type=kind)
    assert_allclose(table["den_df"], DEN_DF[kind, coding], rtol=1e-6)
    if kind == "III":
        F = [77.867261151, 2.549745094, 4.149987493, 6.361657147]
        assert_allclose(table["statistic"], F, rtol=1e-6)


def test_a_single_term_is_tested_as_lmertest_does() -> None:
    model = mm.lmer("y ~ a + (1 | g)", unbalanced())
    for kind in ("I", "II", "III"):
        assert mm.anova(model, type=kind)["den_df"][0] == pytest.approx(82.44465375, rel=1e-6)
    assert mm.drop1(model)["den_df"][0] == pytest.approx(82.44465375, rel=1e-6)


@pytest.mark.parametrize(("coding", "expected"), [("treatment", 74.31042119), ("sum", 74.29758042)])
def test_denominators_of_deletions_are_those_of_lmertest(coding: str, expected: float) -> None:
    model = mm.lmer(MIXED, unbalanced(), contrasts={"a": coding})
    assert mm.drop1(model).set_index("term").loc["a:b", "den_df"] == pytest.approx(
        expected, rel=1e-6
    )


def test_satmodcomp_has_the_restrictions_of_pbkrtest() -> None:
    model = mm.lmer(MIXED, unbalanced())
    row = mm.satmodcomp(model, model.update(". ~ . - a:b")).iloc[0]
    assert row["statistic"] == pytest.approx(6.361657147, rel=1e-6)
    assert row["den_df"] == pytest.approx(74.31042119, rel=1e-6)


def test_type_two_of_weighted_least_squares_compares_residual_sums_of_squares() -> None:
    frame = unbalanced()
    frame["w"] = np.random.default_rng(1).uniform(0.3, 3.0, len(frame))
    table = mm.anova(mm.lm(FULL, frame, weights="w"), type="II").set_index("term")
    for term, without in (("a", "y ~ x + b"), ("x", "y ~ a * b")):
        large = mm.lm("y ~ x + a + b" if term == "a" else FULL, frame, weights="w")
        small = mm.lm(without, frame, weights="w")
        expected = small.sigma**2 * small.df_resid - large.sigma**2 * large.df_resid
        assert table.loc[term, "sum_sq"] == pytest.approx(expected, rel=1e-8)
