"""The functions of the formula language, and what formulaic makes of the rendered code."""

import itertools

import numpy as np
import pandas as pd
import pytest
from formulaic import Formula, model_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mixedmodels.errors import DataError
from mixedmodels.formula.functions import CONTEXT, evaluate
from mixedmodels.formula.parse import parse
from mixedmodels.formula.signatures import reserved

X = np.array([1, 2, 4, 7, 3, 9, 5.5, 8, 2.5, 6])


def frame():
    rows = itertools.product("uv", "rst", "pq")
    data = pd.DataFrame([row[::-1] for row in rows], columns=["a", "b", "c"])
    data["x"] = np.arange(1.0, 13)
    data["z"] = np.sin(data.x)
    data["f"] = data["b"]
    data["k"] = np.tile([1, 2, 3], 4)
    return data


def matrix(right, data=None):
    parsed = parse(f"y ~ {right}")
    return model_matrix(parsed.fixed, frame() if data is None else data, context=CONTEXT)


NAMES = st.text(min_size=1).filter(lambda name: "`" not in name and not reserved(name))


@given(NAMES)
@settings(max_examples=150, deadline=None)
def test_any_column_name_survives(name):
    data = pd.DataFrame({name: X})
    parsed = parse(f"`{name}` ~ I(`{name}`^2) + scale(`{name}`)")
    assert parsed.variables == (name,)
    assert_allclose(evaluate(parsed.response, {name: X}), X)
    if not any(0xD800 <= ord(char) < 0xE000 for char in name):
        found = model_matrix(parsed.fixed, data, context=CONTEXT)
        assert_allclose(found.iloc[:, 1], X**2)
        bare = model_matrix(parse(f"w ~ 0 + `{name}`").fixed, data, context=CONTEXT)
        assert_allclose(bare.iloc[:, 0], X)


# --- with formulaic -----------------------------------------------------------------------------

COUNTS = [
    ("x", 2),
    ("I(x^2)", 2),
    ("f", 3),
    ("x - 1", 1),
    ("0 + f", 3),
    ("0", 0),
    ("a*b", 6),
    ("a/b", 6),
    ("(a + b + c)^2", 10),
    ("a*b*c - a:b:c", 10),
    ("0 + f + x:f", 6),
    ("x %in% f", 4),
    ("(x + z + f)^2", 10),
    ("f*x - x", 6),
    ("x > 3", 2),
    ('f == "r"', 2),
    ("I(x > 2 | z > 0)", 2),
    ("factor(k)", 3),
    ("as.factor(k):x", 4),
    ("C(k, contr.sum)", 3),
    ("poly(x, 2)", 3),
    ("poly(x, 2, raw = TRUE)", 3),
    ("bs(x, df = 4)", 5),
    ("ns(x, 3)", 4),
    ("cr(x, df = 4)", 5),
    ("scale(log(x))", 2),
    ("center(x)", 2),
    ("log(x + 10) + exp(z)", 3),
    ("pmin(x, 3) + round(x/3, 1)", 3),
]


@pytest.mark.parametrize(("right", "count"), COUNTS)
def test_columns_and_labels(right, count):
    parsed = parse(f"y ~ {right}")
    assert matrix(right).shape[1] == count
    codes = {str(factor) for term in Formula(parsed.fixed) for factor in term.factors}
    assert set(parsed.labels) <= codes


VALUES = [
    ("I(x^2)", lambda d: d.x**2),
    ("I(-x^2)", lambda d: -(d.x**2)),
    ("I(2^-1*x)", lambda d: d.x / 2),
    ("I(x - (1 - z))", lambda d: d.x - (1 - d.z)),
    ("I(x/2/2)", lambda d: d.x / 4),
    ("I(2^3^0*x)", lambda d: 2 * d.x),
    ("I(k^2)", lambda d: d.k**2.0),
    ("I(x*pi)", lambda d: d.x * np.pi),
    ("log(x)", lambda d: np.log(d.x)),
    ("log(x, 10)", lambda d: np.log10(d.x)),
    ("log(x, base = 2)", lambda d: np.log2(d.x)),
    ("ceiling(z)", lambda d: np.ceil(d.z)),
    ("x > 3", lambda d: 1.0 * (d.x > 3)),
    ("!(x > 3)", lambda d: 1.0 * (d.x <= 3)),
    ("I((x > 3) + (z > 0))", lambda d: 1.0 * (d.x > 3) + (d.z > 0)),
    ("x > 3 & z > 0", lambda d: 1.0 * ((d.x > 3) & (d.z > 0))),
    ("f != 'r'", lambda d: 1.0 * (d.f != "r")),
    ("as.numeric(k)", lambda d: d.k),
    ("center(x)", lambda d: d.x - d.x.mean()),
]


@pytest.mark.parametrize(("right", "expected"), VALUES)
def test_values(right, expected):
    assert_allclose(matrix(right).iloc[:, -1], expected(frame()), atol=1e-14)


def test_small_integers_do_not_wrap_and_rows_keep_their_labels():
    data = pd.DataFrame({"u": [1, 2, 200], "v": [2, 1, 100]}, dtype="uint8", index=["p", "q", "r"])
    found = matrix("I(u - v) + I(u*v) + factor(u > 1)", data)
    assert list(found.index) == ["p", "q", "r"]
    assert_allclose(found, [[1, -1, 2, 0], [1, 1, 2, 1], [1, 100, 20_000, 1]])


def test_arithmetic_on_text_is_an_error():
    with pytest.raises(Exception, match="holds no numbers"):
        matrix("I(f/2)")


def test_columns_named_like_functions():
    data = frame().rename(columns={"x": "log", "z": "center"})
    found = matrix("log(log) + scale(center) + log", data)
    assert_allclose(found.iloc[:, 1], np.log(data["log"]))


def test_the_same_call_twice_in_one_expression():
    data = pd.DataFrame({"x y": X, "x": X})
    found = matrix("I(`x y`^2 + `x y`) + I(scale(x)^2 + scale(x))", data)
    assert_allclose(found.iloc[:, 1], X**2 + X)
    new = found.model_spec.get_model_matrix(data.iloc[:2], context=CONTEXT)
    assert_allclose(new, found.iloc[:2])


def test_names_that_differ_only_in_odd_characters():
    data = pd.DataFrame({"x y": X, "x yz": X**2, "x.y": X**3, "class": X**4})
    assert_allclose(matrix("I(`x yz` - `x y` + x.y)", data).iloc[:, 1], X**2 - X + X**3)
    assert_allclose(matrix("scale(`class`) + I(`class`/2)", data).iloc[:, 2], X**4 / 2)


def test_contrasts_are_those_of_r():
    data = frame()
    helmert = matrix("C(f, contr.helmert)").iloc[[0, 2, 4], 1:]
    assert_allclose(helmert, [[-1, -1], [1, -1], [0, 2]])
    total = matrix("C(f, Sum)").iloc[[0, 2, 4], 1:]
    assert_allclose(total, [[1, 0], [0, 1], [-1, -1]])
    linear = matrix("ordered(k)").iloc[:3, 1:]
    assert_allclose(linear, np.array([[-1, 0, 1], [1, -2, 1]]).T / np.sqrt([2, 6]), atol=1e-12)
    for right in (
        'relevel(f, ref = "s")',
        'C(f, Treatment("s"))',
        'factor(f, levels = c("s", "r", "t"))',
    ):
        assert_allclose(matrix(right).iloc[:, 1], 1.0 * (data.f == "r"))


# R 4: library(splines); x <- c(1,2,4,7,3,9,5.5,8,2.5,6)
POLY_2 = [0.528287542702, 0.129261154193, -0.325135019823, -0.14758777334, -0.155213033315]
SCALE_ROOT = [0.174224371242, 0.348448742483, 0.696897484967, 1.219570598692]
# Diagonal of the projection on the columns of cbind(1, ns(x, df = 3)), and without the 1.
NS_HAT_1 = [0.833343791019, 0.248922830216, 0.313496185895, 0.291977647606, 0.342695203082]
NS_HAT_0 = [0, 0.146251449109, 0.275807337787, 0.28617090316, 0.334587013854]
NS_HAT_KNOTS = [0.791583877739, 0.246693959187, 0.34846611201, 0.28068530666, 0.362568046946]
NS_3 = [  # rows 2 and 4
    [-0.09164298032925, 0.3124289409878, -0.2082859606585],
    [0.45265465668816, 0.3272212151207, 0.1645685726356],
]
BS_1 = [0, 0.518685185185, 0.4445, 0.029411764706, 0.602814814815, 0, 0.157628676471]
BS_NEW = [
    [-1.145351851852, 0.117222222222, -0.004166666667, 0],
    [-0.003676470588, 0.102508650519, -0.983831162223, 1.884998982292],
]
NS_NEW = [2.564758304404, 1.880648906785, 1.31727424384, 2.160312259806]


def x_matrix(right):
    return matrix(right, pd.DataFrame({"x": X}))


def hat(columns):
    return np.sum(np.linalg.qr(np.asarray(columns))[0] ** 2, axis=1)


def test_transforms_are_those_of_r():
    poly = x_matrix("0 + poly(x, 2)").to_numpy()
    assert_allclose(poly.T @ poly, np.eye(2), atol=1e-12)
    assert_allclose(poly[:5, 1], POLY_2, atol=1e-11)
    assert_allclose(x_matrix("0 + scale(x)").iloc[0, 0], -1.40218114079)
    assert_allclose(x_matrix("0 + scale(x, center = F)").iloc[:4, 0], SCALE_ROOT, atol=1e-11)
    assert_allclose(x_matrix("0 + bs(x, df = 4)").iloc[:7, 0], BS_1, atol=1e-11)
    assert_allclose(hat(x_matrix("ns(x, df = 3)"))[:5], NS_HAT_1, atol=1e-11)
    assert_allclose(hat(x_matrix("0 + ns(x, 3)"))[:5], NS_HAT_0, atol=1e-11)
    knots = x_matrix("ns(x, knots = c(3, 6), Boundary.knots = c(2, 8))")
    assert_allclose(hat(knots)[:5], NS_HAT_KNOTS, atol=1e-11)
    assert_allclose(x_matrix("0 + ns(x, df = 3)").to_numpy()[[1, 3]], NS_3, atol=1e-11)
    assert_allclose(x_matrix("ns(x, 1)").to_numpy()[5, 1], 0.801783725737273, atol=1e-12)


def test_transforms_remember_the_data_as_r_does():
    spline = x_matrix("0 + bs(x, df = 4)").model_spec
    new = spline.get_model_matrix(pd.DataFrame({"x": [0.0, 10]}), context=CONTEXT)
    assert_allclose(new, BS_NEW, atol=1e-11)
    natural = x_matrix("ns(x, df = 3)")
    beta = np.linalg.lstsq(natural.to_numpy(), np.sin(X), rcond=None)[0]
    new = natural.model_spec.get_model_matrix(
        pd.DataFrame({"x": [-1.0, 0, 10, 12]}), context=CONTEXT
    )
    assert_allclose(new.to_numpy() @ beta, NS_NEW, atol=1e-11)
    scaled = x_matrix("0 + scale(x)").model_spec
    new = scaled.get_model_matrix(pd.DataFrame({"x": [X.mean()]}), context=CONTEXT)
    assert_allclose(new, [[0]], atol=1e-15)


@pytest.mark.parametrize(
    ("right", "words"),
    [
        ("poly(x, 10)", "needs more than 10 distinct values; there are 10"),
        ("bs(x, df = 2)", "needs df = 3 or more"),
        ("ns(x, knots = 100)", "must be distinct and inside the boundary"),
        ("ns(x, 1, intercept = TRUE)", "df = 2 or more"),
    ],
)
def test_transforms_that_the_data_cannot_carry(right, words):
    with pytest.raises(Exception, match=words) as caught:
        x_matrix(right)
    assert isinstance(caught.value, DataError) or isinstance(caught.value.__cause__, DataError)


# --- evaluate -----------------------------------------------------------------------------------

RESPONSES = [
    ("y", lambda y, z: y),
    ("-y", lambda y, z: -y),
    ("y/2", lambda y, z: y / 2),
    ("I(y + 1)/2", lambda y, z: (y + 1) / 2),
    ("log(y, 2)", lambda y, z: np.log2(y)),
    ("y/z", lambda y, z: y / z),
    ("I(y + z)", lambda y, z: y + z),
    ("sqrt(y^2)", lambda y, z: y),
    ("scale(y)", lambda y, z: (y - y.mean()) / y.std(ddof=1)),
    ("pmax(y, z, 0)", lambda y, z: np.maximum(y, z)),
    ("as.numeric(y > 3)", lambda y, z: 1.0 * (y > 3)),
    ("round(y, 1)", lambda y, z: np.round(y, 1)),
]


@pytest.mark.parametrize(("left", "expected"), RESPONSES)
def test_response(left, expected):
    values = {"y": X, "z": X[::-1].copy()}
    found = evaluate(parse(f"{left} ~ 1 + (1 | g)").response, values)
    assert found.dtype == np.float64
    assert_allclose(found, expected(**values))


def test_offset_values_and_missing_columns():
    (offset,) = parse("y ~ x + offset(log(`my n`) + 1)").offsets
    assert offset.variables == ("my n",)
    assert_allclose(evaluate(offset, {"my n": X}), np.log(X) + 1)
    with pytest.raises(DataError, match="'my n' is missing"):
        evaluate(offset, {})


def test_values_without_a_result_are_nan_without_a_warning():
    response = parse("log(y) ~ 1").response
    assert np.isnan(evaluate(response, {"y": np.array([-1.0])})).all()
