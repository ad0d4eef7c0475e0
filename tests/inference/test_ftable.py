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
