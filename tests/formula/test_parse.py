"""The formula language: what is read, and what is refused."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedmodels.errors import FormulaError
from mixedmodels.formula.functions import CONTEXT, evaluate
from mixedmodels.formula.parse import parse
from mixedmodels.formula.signatures import FUNCTIONS, code_name
from mixedmodels.formula.terms import Expression

X = np.array([1, 2, 4, 7, 3, 9, 5.5, 8, 2.5, 6])

# --- what is read -------------------------------------------------------------------------------


def test_piglets():
    parsed = parse("BW ~ time + I(time^2) + treatm + (time | animal_number)")
    assert parsed.response == Expression("BW", "BW", ("BW",))
    assert parsed.fixed == "1 + `time` + fn_I(fn_as_numeric(time) ** 2.0) + `treatm`"
    assert parsed.fixed_text == "time + I(time^2) + treatm"
    assert parsed.labels == {"fn_I(fn_as_numeric(time) ** 2.0)": "I(time^2)"}
    assert parsed.variables == ("BW", "time", "treatm", "animal_number")
    (term,) = parsed.random
    assert (term.text, term.columns, term.correlated) == (
        "(time | animal_number)",
        "1 + `time`",
        True,
    )
    assert term.group.name == "animal_number"
    assert term.variables == ("time",)


FIXED = [
    ("x", "1 + `x`"),
    ("1", "1"),
    ("0", "0"),
    ("x - 1", "0 + `x`"),
    ("-1 + x", "0 + `x`"),
    ("0 + x", "0 + `x`"),
    ("x + 0", "0 + `x`"),
    ("x + -1", "0 + `x`"),
    ("x - 0 - 1", "0 + `x`"),
    ("x - 1 + 1", "1 + `x`"),
    ("x - 0", "1 + `x`"),
    ("-(1 + x) + f", "0 + `f`"),
    ("x + -f", "1 + `x`"),
    ("a*b", "1 + `a` + `b` + `a`:`b`"),
    ("a/b", "1 + `a` + `a`:`b`"),
    ("(a + b)/c", "1 + `a` + `b` + `a`:`b`:`c`"),
    ("a/(b + c)", "1 + `a` + `a`:`b` + `a`:`c`"),
    ("a/b/c", "1 + `a` + `a`:`b` + `a`:`b`:`c`"),
    ("b %in% a", "1 + `b`:`a`"),
    ("a*b*c - a:b:c", "1 + `a` + `b` + `c` + `a`:`b` + `a`:`c` + `b`:`c`"),
    ("(a + b + c)^2 - a:b", "1 + `a` + `b` + `c` + `a`:`c` + `b`:`c`"),
    ("(a + b + c)**2 - b:a", "1 + `a` + `b` + `c` + `a`:`c` + `b`:`c`"),
    ("(a + b)^99", "1 + `a` + `b` + `a`:`b`"),
    ("0 + f + x:f", "0 + `f` + `f`:`x`"),
    ("a + b + b:a", "1 + `a` + `b` + `a`:`b`"),
    ("b:a + a", "1 + `a` + `b`:`a`"),
    ("(1 + x):f", "1 + `f` + `x`:`f`"),
    ("(x - 1)*f", "0 + `x` + `f` + `x`:`f`"),
    ("a*b - a", "1 + `b` + `a`:`b`"),
    ("x + x + x:x", "1 + `x`"),
    ("x^2", "1 + `x`"),
    ("x - x", "1"),
    ("x - z", "1 + `x`"),
    ("z.1 + .x + été", "1 + `z.1` + `.x` + `été`"),
    ("`a b` + `class`", "1 + `a b` + `class`"),
    ("x > 3", "1 + fn_greater(x, 3.0)"),
    ("z + (x > 3)", "1 + `z` + fn_greater(x, 3.0)"),
    ("x +\n\t z +\xa0f", "1 + `x` + `z` + `f`"),
    ("log(x + 1) + log(x+1)", "1 + fn_log(fn_as_numeric(x) + 1.0)"),
    ("bs(x, 4, degree = 2) + bs(degree=2L, df=4, x)", "1 + fn_bs(x, df=4, degree=2)"),
    ("offset(z) + x", "1 + `x`"),
]


@pytest.mark.parametrize(("right", "fixed"), FIXED)
def test_fixed_part(right, fixed):
    assert parse(f"y ~ {right}").fixed == fixed
    if ">" not in right:  # R: x > (3 + (1 | g))
        assert parse(f"y ~ {right} + (1 | g)").fixed == fixed


RANDOM = [
    ("(x | g)", [("1 + `x`", True, "g")]),
    ("(1 + x || g)", [("1", False, "g"), ("0 + `x`", False, "g")]),
    (
        "(0 + x*z || g)",
        [("0 + `x`", False, "g"), ("0 + `z`", False, "g"), ("0 + `x`:`z`", False, "g")],
    ),
    ("(0 + x | g)", [("0 + `x`", True, "g")]),
    ("(x - 1 | g)", [("0 + `x`", True, "g")]),
    ("(1 | a/b/c)", [("1", True, "a"), ("1", True, "a:b"), ("1", True, "a:b:c")]),
    ("(1 | (a/b))", [("1", True, "a"), ("1", True, "a:b")]),
    ("(1 | b:a)", [("1", True, "b:a")]),
    ("(1 | a*b)", [("1", True, "a"), ("1", True, "b"), ("1", True, "a:b")]),
    ("(1 | factor(k))", [("1", True, "k")]),
    ("(1 | as.factor(k):f)", [("1", True, "k:f")]),
    ("((x | g))", [("1 + `x`", True, "g")]),
    ("(x + (1 | g))", [("1", True, "g")]),
    ("(1 | `my g`)", [("1", True, "my g")]),
    ("(1 | g) + (0 + x | g)", [("1", True, "g"), ("0 + `x`", True, "g")]),
    ("(1 | g) - (1|g) + (x | g)", [("1 + `x`", True, "g")]),
    ("(0 + f + x:f | g)", [("0 + `f` + `f`:`x`", True, "g")]),
    ("(poly(x, 2) | g)", [("1 + fn_poly(x, degree=2)", True, "g")]),
]


@pytest.mark.parametrize(("right", "terms"), RANDOM)
def test_random_part(right, terms):
    found = [(t.columns, t.correlated, t.group.name) for t in parse(f"y ~ {right}").random]
    assert found == terms


def test_texts_of_expanded_terms():
    parsed = parse("y~x+(1+x||a/`b c`)")
    assert [t.text for t in parsed.random] == ["(1 + x || a)"] * 2 + ["(1 + x || a:`b c`)"] * 2
    assert parsed.fixed_text == "x"
    assert parse("y ~ (1 | g)").fixed_text == "1"
    assert parse("y ~ x*z - x:z + (1|g) - 1").fixed_text == "x * z - x:z - 1"


def test_dot():
    columns = ["y", "x", "my z", "g", "n"]
    parsed = parse("log(y) ~ . - n + (1 | g)", columns)
    assert parsed.fixed == "1 + `x` + `my z`"
    assert parsed.variables == ("y", "x", "my z", "g")
    assert parse("y ~ .^2 + (1|g)", ["y", "a", "b", "g"]).fixed == "1 + `a` + `b` + `a`:`b`"


def test_dot_with_a_name_that_cannot_be_used():
    with pytest.raises(FormulaError, match="'a`b', whose name cannot be used"):
        parse("y ~ .", ["y", "a`b"])


def test_cache_ignores_columns_without_a_dot():
    assert parse("y ~ x + (1 | g)", ["a"]) is parse("y ~ x + (1 | g)", ["b"])
    assert parse("y ~ .", ["y", "a"]) is not parse("y ~ .", ["y", "b"])


def test_offsets_variables_and_categories():
    parsed = parse(
        "log(w) ~ offset(log(n) - 1) + factor(k)*x + relevel(factor(f), 'b') + (z | g:h)"
    )
    assert [o.text for o in parsed.offsets] == ["log(n) - 1"]
    assert parsed.variables == ("w", "k", "x", "f", "z", "g", "h", "n")
    assert parsed.categorical == ("k", "f")


def test_parsed_formula_can_be_saved():
    parsed = parse("log(y) ~ I(x^2) + (x | a/b)")
    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_ten_thousand_terms():
    parsed = parse("y ~ " + "x + " * 10_000 + "(1 | g)")
    distinct = parse("y ~ " + " + ".join(f"x{i}" for i in range(10_000)))
    assert parsed.fixed == "1 + `x`"
    assert len(distinct.variables) == 10_001


def test_every_function_has_an_implementation():
    assert {code_name(name) for name in FUNCTIONS} <= set(CONTEXT)


# --- what is refused ----------------------------------------------------------------------------

REFUSED = [
    ("", "the formula is empty", 0),
    ("y", "no '~'", 1),
    ("~ x + (1|g)", "no response on the left", 0),
    ("y ~ ", "nothing after '~'", 2),
    ("y ~ x ~ z", "two '~'", 6),
    ("y ~ x + 1|g", "put parentheses round the random term: (1 | g)", 9),
    ("y ~ x + (1|g", "this '(' is never closed", 8),
    ("y ~ x + (", "this '(' is never closed", 8),
    ("y ~ x)", "has no '('", 5),
    ("y ~ x + (1|)", "grouping factor is missing after '|'", 11),
    ("y ~ x + (|g)", "nothing before '|'; write (1 | g)", 9),
    ("y ~ x + (1|g|f)", "did you mean (1 | g/f), (1 | g:f) or (1 | g) + (1 | f)", 12),
    ("y ~ x + (1 | 1)", "must name a column", 13),
    ("y ~ x + (0|g)", "(0 | g) has no columns", 8),
    ("y ~ x + (-1|g)", "(-1 | g) has no columns", 8),
    ("y ~ x + (1|k + f)", "write (1 | k) + (1 | f)", 13),
    ("y ~ x - (1|g)", "no earlier random term (1 | g)", 10),
    ("y ~ (1|g) + x + (1 | g)", "(1 | g) is there twice", 16),
    ("y ~ (1|a:b) + (1|b:a)", "is there twice", 14),
    ("y ~ x:(1|g)", "must stand alone", 8),
    ("y ~ x:offset(z)", "must stand alone", 6),
    ("y ~ ((1|g) | h)", "cannot stand inside a random term", 11),
    ("y ~ (x > 1 | z > 2)", 'as "or" belongs inside I()', 15),
    ("y ~ y + x + (1|g)", "the response y is also a term", 4),
    ("y ~ x + (y | g)", "the response y is also a term", 9),
    ("y ~ x*y", "the response y is also a term", 6),
    ("y + z ~ x", "write I(y + z)", 2),
    ("cbind(y, z) ~ x", "only one response", 0),
    ("poly(y, 2) ~ x", "several columns", 0),
    ("5 ~ x", "the response names no column", 0),
    ("(1 | g) ~ x", "belongs on the right", 3),
    ("y ~ . + (1|g)", "not known here", 4),
    ("y ~ x + (. | g)", "'.' cannot be used here", 9),
    ("y ~ log(.)", "'.' stands for columns only", 8),
    ("y ~ 2*x", "write I(2 * x)", 4),
    ("y ~ x + 3", "3 is not a term", 8),
    ("y ~ 'x'", "is not a term", 4),
    ("y ~ (x + z)^f", "whole number", 11),
    ("y ~ x^0", "whole number", 5),
    ("y ~ x z", "an operator such as '+' is missing before 'z'", 6),
    ("y ~ x + * z", "between '+' and '*'", 8),
    ("y ~ x +", "nothing after '+'", 6),
    ("y = x", "'=' only names", 2),
    ("y ~ z + x > 3", "needs parentheses", 10),
    ("y ~ 1 < x < 3", "cannot be chained", 10),
    ("y ~ lgo(x)", "did you mean log()?", 4),
    ("y ~ x (1|g)", "write an operator before '('", 4),
    ("y ~ x + fn_log", "the column name fn_log is reserved", 8),
    ("y ~ log()", "needs a column", 4),
    ("y ~ (1 | g) * f == 'p'", "(1 | g) must stand alone", 4),
    ("y ~ x*scale(2)", "scale() needs a column", 6),
    ("y ~ log(2)", "names no column", 4),
    ("y ~ log(x, 2, 3)", "too many arguments", 14),
    ("y ~ log(x,)", "argument is missing", 10),
    ("y ~ poly(x, degre = 2)", "it takes degree, raw", 12),
    ("y ~ poly(x, 2, degree = 2)", "raw must be TRUE or FALSE, not 2", 12),
    ("y ~ poly(x, z)", "degree must be a positive whole number, not z", 12),
    ("y ~ poly(x, 2.5)", "degree must be a positive whole number", 12),
    ("y ~ scale(x, center = 'a')", "center must be TRUE", 22),
    ("y ~ C(f, contr.foo)", "unknown contrasts contr.foo", 9),
    ("y ~ C(f, contr.treatment(base = 2))", "base level", 9),
    ("y ~ I(poly(x, 2))", "must stand alone", 6),
    ("y ~ log(factor(x))", "not a number", 8),
    ("y ~ offset(scale(x))", "cannot be used in an offset", 11),
    ("y ~ offset(2)", "names no column", 11),
    ("y ~ I(a:b)", "':' is not arithmetic", 7),
    ("y ~ I('a')", "can only be compared", 6),
    ("y ~ I(9^9^9^9 * x)", "not a finite number", 9),
    ("y ~ I(x + 1/0)", "not a finite number", 11),
    ("y ~ I(x + 1e999)", "too large", 10),
    ("y ~ `x", "back-quote is never closed", 4),
    ("y ~ ``", "no column name between", 4),
    ("y ~ f == 'a", "quote is never closed", 9),
    ("y ~ x\u200b", "U+200B, ZERO WIDTH SPACE", 5),
    ("y ~ x \u2212 1", "U+2212, MINUS SIGN", 6),
    ("y ~ x %o% z", "unknown operator %o%", 6),
    ("y ~ " + "(" * 100 + "x" + ")" * 100, "levels of nesting", None),
    ("y ~ I(" + "x+" * 1000 + "x)", "inside one another", None),
    (f"y ~ ({'+'.join(f'x{i}' for i in range(200))})^9", "more than 20000 terms", None),
]


@pytest.mark.parametrize(("text", "words", "place"), REFUSED)
def test_refused(text, words, place):
    with pytest.raises(FormulaError) as caught:
        parse(text)
    message, line, caret = str(caught.value).split("\n")
    assert words in message
    assert caret.strip() == "^"
    if place is not None:
        assert line == text.rstrip().replace("\u200b", " ").rstrip()
        assert caret.index("^") == place


@pytest.mark.parametrize("formula", [None, 5, b"y ~ x", ["y ~ x"]])
def test_not_a_string(formula):
    with pytest.raises(TypeError, match="formula must be a string"):
        parse(formula)


def test_long_formula_is_shown_in_part():
    with pytest.raises(FormulaError) as caught:
        parse("y ~ " + "x + " * 1000 + "lgo(z)")
    _, line, caret = str(caught.value).split("\n")
    assert len(line) < 110
    assert line[caret.index("^") :].startswith("lgo(z)")


# --- safety -------------------------------------------------------------------------------------

HOSTILE = [
    "__import__('os').system('touch MARK')",
    "I(__import__('os').system('touch MARK'))",
    "I(eval('1'))",
    "eval(x)",
    "exec(x)",
    "open(x)",
    "system('ls')",
    "I(x.__class__.__mro__)",
    "I(x).__class__",
    "x[0]",
    "I(x[0])",
    "{x}",
    "{__import__('os')}",
    "I(lambda: 1)",
    "I((lambda: 1)())",
    "[x for x in y]",
    "base::system('ls')",
    "x$y",
    "x@y",
    "np.linalg.inv(x)",
    "I(np.exp(x))",
    "Q('x')",
    "hashed(x)",
    "fn_log(x)",
    "`log`(x)",
    "x; z",
    "x <- 3",
    "I(x := 3)",
    'f"{x}"',
    "log(x, base = open('a'))",
    "factor(x, levels = eval('1'))",
    "C(f, __import__('os'))",
    "contr.treatment(x)",
    "I(x\\n)",
    "# x",
]


@pytest.mark.parametrize("right", HOSTILE)
def test_nothing_is_run(right, monkeypatch):
    monkeypatch.setattr(os, "system", lambda _: pytest.fail("code was run"))
    for text in (f"y ~ {right}", f"y ~ ({right} | g)", f"y ~ offset({right})", f"{right} ~ x"):
        with pytest.raises(FormulaError):
            parse(text)


@pytest.mark.parametrize(
    "code",
    [
        "__import__('os')",
        "x.real",
        "x[0]",
        "(lambda: 1)()",
        "open('a')",
        "fn_poly(x)",
        "[i for i in x]",
    ],
)
def test_evaluate_knows_only_the_language(code):
    with pytest.raises(FormulaError):
        evaluate(Expression("?", code, ("x",)), {"x": X})


PIECES = (
    "y x ~ ~ + - * / : ^ ( ) | || 1 0 2 g f , = == > ! & %in% log I poly offset C . `a b` ' \" ` "
    "_ __ [ { $ \\ \u00e9 \u0301 \ud800 1e9 c TRUE pi"
)
PIECE = st.sampled_from(PIECES.split(" "))


@given(st.one_of(st.text(), st.lists(PIECE).map(" ".join), st.lists(PIECE).map("".join)))
@settings(max_examples=600, deadline=None)
def test_random_text_raises_only_formula_errors(text):
    for whole in (text, f"y ~ {text}", f"y ~ x + ({text} | g)", f"y ~ I({text})"):
        message = complaint(whole)
        assert message is None or message.count("\n") == 2


def complaint(text):
    try:
        parse(text, ["y", "x", "a b"])
    except FormulaError as error:
        return str(error)
    return None
