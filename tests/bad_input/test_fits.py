"""Odd inputs that have an answer: the right figures, the right warnings, once each.

Log-likelihoods are those of lme4 1.1-31, where lme4 has one; the letters are those of the public
list of hostile inputs (A missing, B degenerate, C types, D formula, F numerics, G weights).
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

from mixedmodels.errors import (
    DataWarning,
    MixedModelsWarning,
    RankDeficiencyWarning,
    SingularFitWarning,
)
from tests.bad_input.common import (
    LOGLIK,
    SIGMA,
    SIMPLE,
    SLOPE,
    THETA,
    base,
    changed,
    watched,
)

DYESTUFF2 = [
    7.298, 3.846, 2.434, 9.566, 7.990, 5.220, 6.556, 0.608, 11.788, -0.892, 0.110, 10.386, 13.434,
    5.510, 8.166, 2.212, 4.852, 7.092, 9.288, 4.980, 0.282, 9.014, 4.458, 9.446, 7.198, 1.722,
    4.782, 8.106, 0.758, 3.758,
]  # fmt: skip
BETWEEN = dict(
    zip([f"g{i:02d}" for i in range(12)], np.random.default_rng(3).normal(size=12), strict=True)
)


def centred() -> pd.DataFrame:
    """No variance between groups."""
    frame = base()
    frame["y"] = frame.y - frame.groupby("g").y.transform("mean") + 1
    return frame


def nested() -> pd.DataFrame:
    frame = base(G=36, m=4, seed=21)
    i = np.repeat(np.arange(36), 4)
    return frame.assign(
        a=np.array(list("ABCD"))[i // 9],
        b=np.array(list("pqr"))[(i // 3) % 3],
        c=np.array(list("uvw"))[i % 3],
    )


def nullable() -> pd.DataFrame:
    frame = base()
    frame["y"] = frame.y.astype("Float64")
    frame["x"] = (frame.x * 10).round().astype("Int64")
    frame["g"] = frame.g.astype("string")
    frame["b"] = (frame.z > 0).astype("boolean")
    for row, column in enumerate("yxb"):
        frame.loc[row, column] = pd.NA
    return frame


def small_ints() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    frame = base()
    frame["a"] = rng.integers(0, 50, 96).astype("uint8")
    frame["b"] = rng.integers(0, 250, 96).astype("uint8")
    frame["y"] = frame.y + 0.05 * (frame.a.astype(float) - frame.b.astype(float))
    return frame


def strided() -> pd.DataFrame:
    big, plain = np.zeros((192, 6)), base()
    big[::2, 1], big[::2, 3] = plain.y, plain.x
    view = big[::2]
    view.flags.writeable = False
    return pd.DataFrame({"y": view[:, 1], "x": view[:, 3], "g": plain.g.values}, copy=False)


def renamed() -> pd.DataFrame:
    frame = base().rename(columns={"x": "my x", "z": "z.1", "f": "class", "g": "Gruppe ä"})
    frame["2nd"] = frame["my x"] ** 2
    return frame


def shuffled() -> pd.DataFrame:
    frame = changed([10], x=np.nan).sample(frac=1, random_state=4)
    frame.index = pd.MultiIndex.from_arrays([frame.g.values, np.arange(96)])
    return frame


def saddle() -> pd.DataFrame:
    frame = pd.read_csv(Path(__file__).parent / "saddle.csv")
    frame["y"] = np.log(frame.AUCT)
    frame["sub"], frame["per"] = frame["sub"].astype(str), frame.per.astype(str)
    return frame.assign(tT=(frame.trt == "T") * 1.0, tR=(frame.trt == "R") * 1.0)


def one_weight(value: float) -> np.ndarray:
    weights = np.ones(96)
    weights[3] = value
    return weights


# name: data, formula, log-likelihood, rows, warnings, further arguments
CASES: dict[str, tuple[Any, str, float, int, list[type[Warning]], dict[str, Any]]] = {
    "A01 NaN in y": (changed([0, 5, 50], y=np.nan), SIMPLE, -151.039176, 93, [], {}),
    "A03 group None": (changed(slice(0, 7), g=None), SIMPLE, -144.607689, 88, [], {}),
    "A03 group NaN": (
        changed(g=lambda d: d.g.where(d.index > 7, np.nan)), SIMPLE, -144.607689, 88, [], {},
    ),
    "A09 NaN elsewhere": (changed(unused=np.nan), SIMPLE, LOGLIK, 96, [], {}),
    "A10 a whole group": (
        changed(g=lambda d: d.g.astype("category"), x=lambda d: d.x.where(d.g != "g03")),
        SIMPLE, -133.441331, 88, [], {},
    ),
    "B06 one-row group": (changed([95], g="solo"), SIMPLE, -153.587505, 96, [], {}),
    "B10 constant x": (changed(x=7.0), SIMPLE, -163.978295, 96, [RankDeficiencyWarning], {}),
    "B11 x2 = 2x": (
        changed(x2=lambda d: 2 * d.x), "y ~ x + x2 + (1|g)", LOGLIK, 96,
        [RankDeficiencyWarning], {},
    ),
    "B15 no fixed effects": (base(), "y ~ 0 + (1|g)", -169.318482, 96, [], {}),
    "B20 intercept twice": (
        base(), "y ~ x + (1|g) + (1 + x|g)", -149.629080, 96, [DataWarning], {},
    ),
    "B21 slope constant in g": (
        changed(w=lambda d: d.g.map(BETWEEN)), "y ~ w + (1 + w|g)", -161.144801, 96,
        [DataWarning, SingularFitWarning], {},
    ),
    "B22 zero variance": (centred(), SIMPLE, -133.214362, 96, [SingularFitWarning], {}),
    "B24 Dyestuff2": (
        pd.DataFrame({"y": DYESTUFF2, "g": np.repeat(list("ABCDEF"), 5)}), "y ~ 1 + (1|g)",
        -80.914139, 30, [SingularFitWarning], {},
    ),
    "C01 spare level": (
        changed(f=lambda d: pd.Categorical(d.f, categories=["a", "b", "c", "zzz"])),
        "y ~ f + (1|g)", -162.349479, 96, [], {},
    ),
    "C02 1000 spare groups": (
        changed(
            g=lambda d: pd.Categorical(
                d.g, categories=sorted(d.g.unique()) + [f"spare{i}" for i in range(1000)]
            )
        ),
        SIMPLE, LOGLIK, 96, [], {},
    ),
    "C04 ordered, as R codes it": (
        changed(f=lambda d: pd.Categorical(d.f, categories=["c", "a", "b"], ordered=True)),
        "y ~ f + (1|g)", -162.898785, 96, [], {"contrasts": {"f": "poly"}},
    ),
    "C06 bool - bool": (
        changed(b1=lambda d: d.z > 0, b2=lambda d: d.x > 0), "y ~ I(b1 - b2) + (1|g)",
        -163.941341, 96, [], {},
    ),
    "C07 groups 0..11": (changed(g=lambda d: d.g.str[1:].astype(int)), SIMPLE, LOGLIK, 96, [], {}),
    "C08 groups -0.0, 0.0": (
        changed(g=lambda d: d.g.str[1:].astype(float) * np.where(d.index < 4, -1.0, 1.0)),
        SIMPLE, LOGLIK, 96, [], {},
    ),
    "C10 nullable": (nullable(), "y ~ x + b + (1|g)", -152.716790, 93, [], {}),
    "C16 Decimal": (
        changed(
            y=lambda d: [Decimal(repr(v)) for v in d.y], x=lambda d: [Decimal(repr(v)) for v in d.x]
        ),
        SIMPLE, LOGLIK, 96, [], {},
    ),
    "C22 uint8 - uint8": (small_ints(), "y ~ I(a - b) + (1|g)", -169.402014, 96, [], {}),
    "C23 category of years": (
        changed(yr=pd.Categorical(np.tile([2018, 2019, 2020, 2021], 24))), "y ~ yr + (1|g)",
        -164.134816, 96, [], {},
    ),
    "C24 repeated name, unused": (
        pd.concat([base(), base()[["z"]]], axis=1), SIMPLE, LOGLIK, 96, [], {},
    ),
    "C25 odd names": (
        renamed(), "y ~ `my x` + z.1 + `class` + `2nd` + (1|`Gruppe ä`)", -155.338403, 96, [], {},
    ),
    "C26 one index label": (base().set_axis([0] * 96), SIMPLE, LOGLIK, 96, [], {}),
    "C27 MultiIndex": (shuffled(), SIMPLE, -152.927599, 95, [], {}),
    "C29 called Intercept": (
        changed(**{"Intercept": lambda d: d.z, "(Intercept)": lambda d: d.x * 3}),
        "y ~ x + Intercept + (1|g)", -155.200396, 96, [], {},
    ),
    "C30 read-only, strided": (strided(), SIMPLE, LOGLIK, 96, [], {}),
    "C31 sparse": (
        changed(s=lambda d: pd.arrays.SparseArray((d.z > 1).astype(float), fill_value=0.0)),
        "y ~ x + s + (1|g)", -154.578095, 96, [], {},
    ),
    "D11 a/b/c": (nested(), "y ~ x + (1|a/b/c)", -238.133097, 144, [SingularFitWarning], {}),
    "D13 f || g, as lme4": (
        base(), "y ~ f + (f || g)", -160.299601, 96, [SingularFitWarning], {},
    ),
    "D15 offset()": (base(), "y ~ x + offset(z) + (1|g)", -177.074509, 96, [], {}),
    "D16 - 1": (base(), "y ~ x - 1 + (1|g)", -160.218655, 96, [], {}),
    "D16 0 +": (base(), "y ~ 0 + x + (1|g)", -160.218655, 96, [], {}),
    "D16 + 0": (base(), "y ~ x + 0 + (1|g)", -160.218655, 96, [], {}),
    "D18 ^2": (base(), "y ~ (x + z + f)^2 + (1|g)", -143.610910, 96, [], {}),
    "D18 **2": (base(), "y ~ (x + z + f)**2 + (1|g)", -143.610910, 96, [], {}),
    "D19 %in%": (base(), "y ~ x %in% f + (1|g)", -152.653307, 96, [], {}),
    "D21 poly": (base(), "y ~ poly(x, 2) + (1|g)", -151.099768, 96, [], {}),
    "D22 bs": (base(), "y ~ bs(x, df=4) + (1|g)", -148.821491, 96, [], {}),
    "D23 log, exp": (base(), "y ~ log(x + 10) + exp(z) + (1|g)", -153.864394, 96, [], {}),
    "D24 6 x 6": (
        base(), "y ~ x*f + (0 + f + x:f | g)", -134.987935, 96, [SingularFitWarning], {},
    ),
    "D26 repeated terms": (base(), "y ~ x + x + x:x + (1|g)", LOGLIK, 96, [], {}),
    "D27 white space": (base(), "y ~ x +\n\t(1 |\xa0g)", LOGLIK, 96, [], {}),
    "D30 10 000 terms": (
        base(), f"y ~ {' + '.join(['x'] * 10_000)} + (1|g)", LOGLIK, 96, [], {},
    ),
    "D34 I(y + 1)/2": (base(), "I(y + 1)/2 ~ x + (1|g)", -89.364620, 96, [], {}),
    "D39 (x|g)": (base(), "y ~ x + (x|g)", -149.629080, 96, [], {}),
    "F02 y * 1e-9": (changed(y=lambda d: d.y * 1e-9), SIMPLE, 1793.466534, 96, [], {}),
    "F03 y * 1e12": (
        changed(y=lambda d: d.y * 1e12), "y ~ x + (1 + x|g)", -2746.945065, 96, [], {},
    ),
    "F04 x + 1e8": (changed(x=lambda d: d.x + 1e8), SIMPLE, LOGLIK, 96, [], {}),
    "F09 saddle": (
        saddle(), "y ~ trt + seq + per + (0 + tT + tR|sub)", 24.858233, 221, [], {},
    ),
    "F10 tiny variance": (
        base(seed=4, G=200, m=10, sd0=1e-4, sd1=0.0), SIMPLE, -2830.793567, 2000, [], {},
    ),
    "F14 long level names": (changed(g=lambda d: d.g * 33_334), SIMPLE, LOGLIK, 96, [], {}),
    "F16 27 rows, 24 effects": (
        pd.concat([base(m=2), base(seed=2, m=2).iloc[:3]], ignore_index=True), "y ~ x + (1 + x|g)",
        -45.444188, 27, [SingularFitWarning], {},
    ),
    "G03 NaN weight": (base(), SIMPLE, -153.317097, 95, [], {"weights": one_weight(np.nan)}),
    "G07 weights and NaN": (
        changed(slice(0, 9), x=np.nan), SIMPLE, -142.662068, 86, [],
        {"weights": np.linspace(1, 5, 96)},
    ),
    "G09 NaN offset": (
        base(), SIMPLE, -153.317097, 95, [], {"offset": one_weight(np.nan) - 1.0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_figures_and_warnings(name: str) -> None:
    data, formula, loglik, rows, expected, kw = CASES[name]
    model, seen = watched(formula, data, **kw)
    assert_allclose(model.loglik, loglik, atol=5e-6, rtol=1e-9)
    assert model.n_obs == rows
    assert seen == expected


# --- what the figures alone do not say ------------------------------------------------------------


def test_a01_index_and_dropped_rows() -> None:
    data = changed([0, 5, 50], y=np.nan).set_axis([f"r{i}" for i in range(96)])
    model, _ = watched(SIMPLE, data)
    assert model.glance()["n_dropped"].tolist() == [3]
    out = model.augment()
    assert out.index.equals(data.index)
    assert out.index[out.fitted.isna()].tolist() == ["r0", "r5", "r50"]
    assert "3" in str(model.summary())


@pytest.mark.parametrize(
    ("data", "gone"),
    [(CASES["A03 group None"][0], "g00"), (CASES["A10 a whole group"][0], "g03")],
)
def test_a03_a10_levels_left(data: pd.DataFrame, gone: str) -> None:
    model, _ = watched(SIMPLE, data)
    assert model.n_groups == {"g": 11}
    levels = model.ranef()["level"].tolist()
    assert sorted(levels) == [f"g{i:02d}" for i in range(12) if f"g{i:02d}" != gone]


def test_b09_exact_linear_fit() -> None:
    model, seen = watched(SIMPLE, changed(y=lambda d: 2 + 3 * d.x))
    assert_allclose(model.beta, [2, 3], rtol=1e-8)
    assert model.sigma < 1e-10
    assert seen == [DataWarning]


def test_b10_b11_name_the_relation() -> None:
    with pytest.warns(RankDeficiencyWarning, match=r"x = 7\*Intercept"):
        watched_again(changed(x=7.0), SIMPLE)
    with pytest.warns(RankDeficiencyWarning, match=r"x2 = 2\*x"):
        model = watched_again(changed(x2=lambda d: 2 * d.x), "y ~ x + x2 + (1|g)")
    assert model.term_names == ["Intercept", "x"]


def watched_again(data: pd.DataFrame, formula: str) -> Any:
    import mixedmodels as mm

    return mm.lmer(formula, data)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("B20 intercept twice", r"'Intercept' appears in two random terms on 'g'"),
        ("B21 slope constant in g", r"'w' does not vary within any level of 'g'"),
        ("B22 zero variance", r"variance is zero in \(1 \| g\)"),
        ("B24 Dyestuff2", r"variance is zero in \(1 \| g\)"),
    ],
)
def test_warnings_name_the_guilty(name: str, words: str) -> None:
    data, formula, *_ = CASES[name]
    with pytest.warns(MixedModelsWarning) as caught:
        watched_again(data, formula)
    assert sum(re.search(words, str(w.message)) is not None for w in caught) == 1
    assert {w.filename for w in caught} == {__file__}


def test_b15_reml_is_ml() -> None:
    model, _ = watched("y ~ 0 + (1|g)", base())
    assert_allclose(model.loglik, model.update(reml=False).loglik)


def test_b16_collinear_random_columns() -> None:
    model, seen = watched("y ~ x + (1 + c|g)", changed(c=1.0))
    assert_allclose(model.loglik, LOGLIK, atol=5e-6)
    assert set(seen) == {DataWarning}


def test_b22_b24_exact_zero() -> None:
    for name in ("B22 zero variance", "B24 Dyestuff2"):
        data, formula, *_ = CASES[name]
        model, _ = watched(formula, data)
        assert model.theta.tolist() == [0.0]
        assert model.is_singular
        assert "boundary" in str(model.summary())
    assert_allclose(model.reml_criterion, 161.8283, atol=5e-5)


def test_c01_c02_no_trace_of_spare_levels() -> None:
    data, formula, *_ = CASES["C01 spare level"]
    assert watched(formula, data)[0].term_names == ["Intercept", "f[T.b]", "f[T.c]"]
    data, formula, *_ = CASES["C02 1000 spare groups"]
    model, _ = watched(formula, data)
    assert model.n_groups == {"g": 12}
    assert len(model.ranef()) == 12


def test_c04_order_kept_and_coding_irrelevant() -> None:
    data, formula, *_ = CASES["C04 ordered, as R codes it"]
    plain, _ = watched(formula, data, reml=False)
    assert plain.term_names == ["Intercept", "f[T.a]", "f[T.b]"]
    coded, _ = watched(formula, data, reml=False, contrasts={"f": "poly"})
    assert_allclose(plain.loglik, coded.loglik, rtol=1e-10)
    assert_allclose(plain.fitted, coded.fitted, rtol=1e-7)


def test_c07_numeric_order() -> None:
    data, formula, *_ = CASES["C07 groups 0..11"]
    levels = watched(formula, data)[0].ranef()["level"].tolist()
    assert [str(level) for level in levels] == [str(i) for i in range(12)]


def test_c08_one_zero() -> None:
    data, formula, *_ = CASES["C08 groups -0.0, 0.0"]
    assert watched(formula, data)[0].n_groups == {"g": 12}


def test_c22_signed() -> None:
    assert_allclose(watched("y ~ I(a - b) + (1|g)", small_ints())[0].beta[1], 0.0487, atol=1e-3)


def test_c23_factor() -> None:
    data, formula, *_ = CASES["C23 category of years"]
    assert len(watched(formula, data)[0].beta) == 4


def test_c27_fitted_carry_the_index() -> None:
    data = shuffled()
    out = watched(SIMPLE, data)[0].augment()
    assert out.index.equals(data.index)
    assert out.fitted.isna().sum() == 1


def test_c29_unique_names() -> None:
    data, formula, *_ = CASES["C29 called Intercept"]
    names = watched(formula, data)[0].term_names
    assert len(set(names)) == 3


def test_d11_equals_the_expanded_model() -> None:
    short, _ = watched("y ~ x + (1|a/b/c)", nested())
    long, _ = watched("y ~ x + (1|a) + (1|a:b) + (1|a:b:c)", nested())
    assert_allclose(short.loglik, long.loglik)
    assert short.n_groups == {"a:b:c": 36, "a:b": 12, "a": 4}


def test_d15_offset_is_subtracted() -> None:
    with_offset, _ = watched("y ~ x + offset(z) + (1|g)", base())
    without, _ = watched("I(y - z) ~ x + (1|g)", base())
    assert_allclose(with_offset.beta, without.beta, rtol=1e-10)
    by_name, _ = watched(SIMPLE, base(), offset="z")
    assert_allclose(with_offset.beta, by_name.beta, rtol=1e-10)


def test_d25_dot_leaves_out_response_and_groups() -> None:
    dot, _ = watched("y ~ . + (1|g)", base())
    spelt, _ = watched("y ~ x + z + f + (1|g)", base())
    assert dot.term_names == spelt.term_names
    assert_allclose(dot.loglik, spelt.loglik)


def test_d26_d30_two_columns() -> None:
    for name in ("D26 repeated terms", "D30 10 000 terms"):
        data, formula, *_ = CASES[name]
        assert watched(formula, data)[0].term_names == ["Intercept", "x"]


# --- numerics -------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", [SIMPLE, "y ~ x + (1 + x|g)"])
@pytest.mark.parametrize(
    ("scale", "shift"), [(1e9, 0.0), (1e-9, 0.0), (1e140, 0.0), (1e-140, 0.0), (1.0, 1e8)]
)
def test_f01_f05_position_and_unit_of_x(formula: str, scale: float, shift: float) -> None:
    plain, _ = watched(formula, base())
    data = changed(x=lambda d: d.x * scale + shift)
    model, seen = watched(formula, data)
    assert seen == []
    # 1e8 + x keeps eight digits of x
    rtol = 1e-7 if shift else 1e-9
    assert_allclose(model.beta[1] * scale, plain.beta[1], rtol=100 * rtol)
    assert_allclose(model.sigma, plain.sigma, rtol=rtol)
    assert_allclose(model.fitted, plain.fitted, atol=100 * rtol)
    # REML sees the unit through log|X'X|
    assert_allclose(model.loglik + np.log(scale), plain.loglik, atol=1e-5)


@pytest.mark.parametrize("scale", [1e-140, 1e-9, 1e12, 1e140])
def test_f02_f03_unit_of_y(scale: float) -> None:
    model, seen = watched(SIMPLE, changed(y=lambda d: d.y * scale))
    assert seen == []
    assert_allclose(model.theta, THETA, rtol=1e-6)
    assert_allclose([model.sigma / scale, model.beta[1] / scale], [SIGMA, SLOPE], rtol=2e-6)


def test_f09_no_jump_under_jitter() -> None:
    data = saddle()
    formula = "y ~ trt + seq + per + (0 + tT + tR|sub)"
    first, _ = watched(formula, data)
    rng = np.random.default_rng(0)
    for _ in range(5):
        data["y"] = np.log(data.AUCT) * (1 + 1e-12 * rng.normal(size=len(data)))
        assert_allclose(watched(formula, data)[0].loglik, first.loglik, atol=1e-7)
    for start in ([0, 0, 0], [3, -3, 0.1], [0.1, 0, 5]):
        assert_allclose(watched(formula, saddle(), start=start)[0].loglik, first.loglik, atol=1e-7)


def dense_reml(model: Any, data: pd.DataFrame, weights: np.ndarray) -> float:
    """The REML log-likelihood at the model's theta, from the n by n covariance."""
    n = len(data)
    X = np.column_stack([np.ones(n), data.x])
    same = (data.g.to_numpy()[:, None] == data.g.to_numpy()).astype(float)
    V = np.diag(1 / weights) + model.theta[0] ** 2 * same
    scale = np.sqrt(np.diag(V))
    Xs, ys, Vs = X / scale[:, None], data.y.to_numpy() / scale, V / np.outer(scale, scale)
    inner = Xs.T @ np.linalg.solve(Vs, Xs)
    beta = np.linalg.solve(inner, Xs.T @ np.linalg.solve(Vs, ys))
    residual = ys - Xs @ beta
    r2 = residual @ np.linalg.solve(Vs, residual)
    logdets = np.linalg.slogdet(Vs)[1] + 2 * np.log(scale).sum() + np.linalg.slogdet(inner)[1]
    return -0.5 * (logdets + (n - 2) * (1 + np.log(2 * np.pi * r2 / (n - 2))))


def test_f12_weights_of_sixteen_decades() -> None:
    weights = 10.0 ** np.linspace(-8, 8, 96)
    model, seen = watched(SIMPLE, base(), weights=weights)
    assert seen == []
    assert_allclose(model.loglik, dense_reml(model, base(), weights), atol=1e-5)
    assert model.loglik > -779.253747  # where lme4 stopped, with a warning


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_f13_unit_of_the_weights(scale: float) -> None:
    model, seen = watched(SIMPLE, base(), weights=np.full(96, scale))
    assert seen == []
    assert_allclose(model.beta[1], SLOPE, atol=5e-7)
    assert_allclose(model.sigma / np.sqrt(scale), SIGMA, rtol=1e-6)
    assert_allclose(model.loglik, LOGLIK, atol=5e-6)


def test_g03_g09_dropped_rows_are_counted() -> None:
    for kw in ({"weights": one_weight(np.nan)}, {"offset": one_weight(np.nan)}):
        model, _ = watched(SIMPLE, base(), **kw)
        assert model.glance()["n_dropped"].tolist() == [1]


def test_g07_weights_follow_their_rows() -> None:
    weights = np.linspace(1, 5, 96)
    with_missing, _ = watched(SIMPLE, changed(slice(0, 9), x=np.nan), weights=weights)
    without, _ = watched(SIMPLE, base().iloc[10:], weights=weights[10:])
    assert_allclose(with_missing.loglik, without.loglik, rtol=1e-12)


def test_i13_polars_kinds() -> None:
    frame = pl.from_pandas(base()).with_columns(
        y=pl.when(pl.int_range(96) < 3).then(None).otherwise(pl.col("y"))
    )
    kinds = [pl.String, pl.Categorical, pl.Enum([f"g{i:02d}" for i in range(20)])]
    fits = [watched(SIMPLE, frame.with_columns(pl.col("g").cast(kind)))[0] for kind in kinds]
    assert [m.n_obs for m in fits] == [93, 93, 93]
    assert_allclose([m.loglik for m in fits], fits[0].loglik, rtol=1e-13)


# --- more of the same kinds -----------------------------------------------------------------------
# the right answer is that of a clean frame, fitted by the same formula: what the accident means


def numbered(**kinds: str) -> pd.DataFrame:
    frame = changed(g=lambda d: d.g.str[1:].astype(int))
    return frame.astype(kinds)


def stamps(frame: pd.DataFrame) -> pd.Series:
    return pd.Timestamp("2020-02-28") + pd.to_timedelta(frame.g.str[1:].astype(int), unit="D")


SAME: dict[str, tuple[Any, str, Any, dict[str, Any]]] = {
    "A missing in y, x and g": (
        base().assign(
            y=lambda d: d.y.where(d.index != 3), x=lambda d: d.x.where(d.index != 5),
            g=lambda d: d.g.where(d.index != 9),
        ), SIMPLE, base().drop([3, 5, 9]), {},
    ),
    "A pd.NA among objects": (
        changed(x=lambda d: d.x.astype(object).where(d.index != 3, pd.NA)), SIMPLE,
        base().drop(3), {},
    ),
    "A NaN below a mask": (
        changed(x=lambda d: pd.array(np.where(d.index == 3, np.nan, d.x), dtype="Float64")),
        SIMPLE, base().drop(3), {},
    ),
    "A NaT as group": (
        changed(g=lambda d: stamps(d).where(d.index > 7)), SIMPLE, base().iloc[8:], {},
    ),
    "A masked columns": (
        {
            "y": np.ma.masked_array(base().y, base().index < 2), "x": base().x.to_numpy(),
            "g": base().g.to_numpy(),
        }, SIMPLE, base().iloc[2:], {},
    ),
    "A every other row": (
        changed(x=lambda d: d.x.where(d.index % 2 == 0)), SIMPLE, base().iloc[::2], {},
    ),
    "A in an offset": (
        changed([2], z=np.nan), "y ~ x + offset(z) + (1|g)", base().drop(2), {},
    ),
    "C days as groups": (changed(g=stamps), SIMPLE, base(), {}),
    "C huge whole numbers as groups": (
        changed(g=lambda d: 2**60 + d.g.str[1:].astype("int64")), SIMPLE, base(), {},
    ),
    "C groups of 8 bits": (numbered(g="uint8"), SIMPLE, base(), {}),
    "C arrow strings and numbers": (
        base().astype({"g": "string[pyarrow]", "x": "double[pyarrow]"}), SIMPLE, base(), {},
    ),
    "C long doubles": (base().astype({"x": "longdouble"}), SIMPLE, base(), {}),
    "C objects that are numbers": (base().astype({"x": object}), SIMPLE, base(), {}),
    "C numbers of other names": (base().rename(columns={"z": 0}), SIMPLE, base(), {}),
    "C a name that is None": (base().rename(columns={"z": None}), SIMPLE, base(), {}),
    "C int8 times int8": (
        changed(a=(base().x * 40).clip(-99, 99).astype("int8")), "y ~ I(a * a) + (1|g)",
        changed(a=(base().x * 40).clip(-99, 99).astype("int8").astype(float)), {},
    ),
    "C dictionaries of Arrow, in chunks": (
        pa.table(
            {
                "y": base().y, "x": base().x,
                "g": pa.chunked_array(
                    [pa.array(part).dictionary_encode() for part in (base().g[:50], base().g[50:])]
                ),
            }
        ), SIMPLE, base(), {},
    ),
    "C frame of lists": (base().to_dict("list"), SIMPLE, base(), {}),
    "D parentheses": (base(), "y ~ ((x)) + ((1|g))", base(), {}),
    "D signs": (base(), "y ~ 1 + + x + (1|g)", base(), {}),
    "D lines of Windows": (base(), "y ~ x\r\n + (1|g)\r\n", base(), {}),
    "D 1 || g": (base(), "y ~ x + (1||g)", base(), {}),
    "F a year as covariate": (
        changed(x=lambda d: 2000 + d.x), "y ~ x + (x|g)", base(), {"formula": "y ~ x + (x|g)"},
    ),
    "F start on the boundary": (base(), SIMPLE, base(), {"start": [0.0]}),
    "F start on the other side": (base(), SIMPLE, base(), {"start": [-1.5]}),
    "G equal weights": (base(), SIMPLE, base(), {"weights": np.full(96, 3)}),
    "G weights of Polars": (base(), SIMPLE, base(), {"weights": pl.Series(np.ones(96))}),
    "G an array of pandas' own": (
        base(), SIMPLE, base().iloc[:95],
        {"weights": pd.array([1.0] * 95 + [pd.NA], dtype="Float64")},
    ),
    "G a masked array": (
        base(), SIMPLE, base().iloc[2:],
        {"weights": np.ma.masked_array(np.ones(96), np.arange(96) < 2)},
    ),
    "G None among weights": (
        base(), SIMPLE, base().iloc[1:], {"weights": [None] + [1.0] * 95},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_same_as_a_clean_frame(name: str) -> None:
    data, formula, clean, kw = SAME[name]
    plain, _ = watched(kw.pop("formula", formula), clean)
    model, seen = watched(formula, data, **kw)
    assert seen == []
    assert model.n_obs == plain.n_obs
    assert_allclose(model.loglik, plain.loglik, rtol=1e-9)
    assert_allclose(model.beta[1:], plain.beta[1:], rtol=1e-7)


def level(rows: slice, text: str, column: str = "g") -> pd.DataFrame:
    return changed(rows, **{column: text})


# name: data, formula, the one warning and its words
WARNED: dict[str, tuple[pd.DataFrame, str, type[Warning], str]] = {
    **{
        f"A level {text!r}": (level(slice(3, 4), text), SIMPLE, DataWarning, repr(text))
        for text in ("NA", "", "nan", "None", "<NA>", "NULL")
    },
    "A level NA of a factor": (
        level(slice(3, 9), "NA", "f"), "y ~ f + (1|g)", DataWarning, r"'f' has the level 'NA'",
    ),
    "A blanks": (
        level(slice(3, 4), "g00 "), SIMPLE, DataWarning, "'g' differ in blanks only.*'g00 '",
    ),
    "B a factor with one level": (
        changed(f="a"), "y ~ x + f + (1|g)", DataWarning, "'f' has one level, 'a'",
    ),
    "B one level left": (
        changed(y=lambda d: d.y.where(d.f == "a")), "y ~ f + (1|g)", DataWarning, "one level, 'a'",
    ),
    "B the group is fixed too": (
        base(), "y ~ g + (1|g)", DataWarning, "'g' is a fixed effect too",
    ),
    "B slope of zeros": (changed(c=0.0), "y ~ x + (1 + c|g)", DataWarning, "'c' is a combination"),
    "B slope of ones": (changed(c=1.0), "y ~ x + (1 + c|g)", DataWarning, "'c' is a combination"),
    "B slope twice": (
        changed(x2=lambda d: 3 * d.x), "y ~ x + (x + x2|g)", DataWarning, "'x2' is a combination",
    ),
    "B dummies and the constant": (
        base().assign(**{f"f{v}": lambda d, v=v: (d.f == v) * 1.0 for v in "abc"}),
        "y ~ fa + fb + fc + (1|g)", RankDeficiencyWarning, "fc = Intercept - fa - fb",
    ),
    "B empty cell": (
        changed(h=lambda d: np.where(d.f == "a", "u", np.where(d.z > 0, "u", "v"))),
        "y ~ f*h + (1|g)", RankDeficiencyWarning, r"f\[T.c\]:h\[T.v\]",
    ),
    "B two names of one factor": (
        changed(h=lambda d: d.g + "!"), "y ~ x + (1|g/h)", DataWarning, "the same groups",
    ),
    "B correlation of one": (
        changed(y=lambda d: 2 + d.x + (1 + 2 * d.x) * d.g.map(BETWEEN) + 0.2 * d.z),
        "y ~ x + (x|g)", SingularFitWarning, r"is \+1 in \(1 \+ x \| g\)",
    ),
    "B correlation of minus one": (
        changed(y=lambda d: 2 + d.x + (1 - 2 * d.x) * d.g.map(BETWEEN) + 0.2 * d.z),
        "y ~ x + (x|g)", SingularFitWarning, r"is -1 in \(1 \+ x \| g\)",
    ),
    "C decimal commas": (
        changed(x=lambda d: d.x.round(2).astype(str).str.replace(".", ",")), SIMPLE,
        DataWarning, "'x' has 86 distinct values in 96 rows",
    ),
    "C per cent": (
        changed(x=lambda d: d.x.round(2).astype(str) + "%"), SIMPLE, DataWarning, "'x' has 86",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNED)
def test_one_warning_that_names_the_cause(name: str) -> None:
    data, formula, category, words = WARNED[name]
    with pytest.warns(MixedModelsWarning) as caught:
        watched_again(data, formula)
    assert [warning.category for warning in caught] == [category]
    assert re.search(words, str(caught[0].message))
    assert caught[0].filename == __file__
