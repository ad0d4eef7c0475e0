"""Inputs that cannot be used: one of our errors, naming the place and the mend."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedmodels as mm
from mixedmodels.errors import DataError, FormulaError, ModelError
from tests.bad_input.common import SIMPLE, base, changed, watched


def log_of_zero() -> pd.DataFrame:
    frame = changed(y=lambda d: np.abs(d.y) + 0.1)
    frame.loc[7, "y"] = 0.0
    return frame


def too_wide() -> pd.DataFrame:
    frame = base().iloc[::8].assign(g=["a", "b", "c", "d"] * 3)
    for j in range(15):
        frame[f"v{j}"] = np.random.default_rng(j).normal(size=12)
    return frame


def hours(frame: pd.DataFrame) -> pd.Series:
    return pd.to_timedelta((frame.x * 1000).round(), unit="h")


def ones(**at: float) -> np.ndarray:
    out = np.ones(96)
    out[3] = at["value"]
    return out


WIDE = "y ~ " + " + ".join(f"v{j}" for j in range(15)) + " + (1|g)"

# name: data, formula, words that the message must hold, further arguments
DATA_ERRORS: dict[str, tuple[Any, str, list[str], dict[str, Any]]] = {
    "A04 inf in y": (changed([4], y=np.inf), SIMPLE, ["'y'", "1 infinite", "row 4", "drop"], {}),
    "A05 -inf in x": (changed([4], x=-np.inf), SIMPLE, ["'x'", "1 infinite", "row 4"], {}),
    "A06 log(0)": (
        log_of_zero(), "log(y) ~ x + (1|g)", ["log(y)", "-inf", "row 7", "y = 0", "log1p"], {},
    ),
    "A08 all NaN": (changed(y=np.nan), SIMPLE, ["no complete rows", "y: 96"], {}),
    "B01 no rows": (base().iloc[:0], SIMPLE, ["0 rows"], {}),
    "B02 one row": (base().iloc[:1], SIMPLE, ["1 complete row", "too few"], {}),
    "B03 one group": (changed(g="only"), SIMPLE, ["'g'", "1 level", "mm.lm()"], {}),
    "B05 own groups": (
        changed(g=[f"r{i}" for i in range(96)]), SIMPLE, ["'g'", "96", "cannot be told apart"], {},
    ),
    "B07 constant y": (changed(y=3.0), SIMPLE, ["'y'", "no variance", "3"], {}),
    "B14 p > n": (too_wide(), WIDE, ["16", "rank 12", "12 rows"], {}),
    "B17 q >= n": (
        base(m=2), "y ~ x + (1 + x|g)", ["24 observations <= 24 random effects", "(1 + x | g)"], {},
    ),
    "C12 datetime": (
        changed(t=lambda d: pd.Timestamp("2020-01-01") + hours(d)), "y ~ t + (1|g)",
        ["'t'", "datetime64", "days"], {},
    ),
    "C13 timedelta": (
        changed(t=hours), "y ~ t + (1|g)", ["'t'", "timedelta64", ".dt.total_seconds()"], {},
    ),
    "C14 numeric text": (
        changed(x=lambda d: d.x.round(2).astype(str).astype(object)), SIMPLE,
        ["'x'", "86", "pd.to_numeric"], {},
    ),
    "C17 complex": (changed(y=lambda d: d.y + 1j), SIMPLE, ["'y'", "complex", ".real"], {}),
    "C18 text y": (
        changed(y=lambda d: "v" + d.y.round(1).astype(str)), SIMPLE, ["'y'", "numeric", "text"], {},
    ),
    "C19 categorical y": (
        changed(y=lambda d: pd.Categorical(np.where(d.y > 2, "hi", "lo"))), SIMPLE,
        ["'y'", "numeric", "categories"], {},
    ),
    "C24 repeated name": (
        pd.concat([base(), base()[["x"]]], axis=1), SIMPLE, ["'x'", "occurs 2 times"], {},
    ),
    "C32 lists": (
        changed(v=lambda d: [[a, b] for a, b in zip(d.x, d.z, strict=True)]), "y ~ v + (1|g)",
        ["'v'", "list"], {},
    ),
    "D04 near misses": (
        base(), "y ~ X + (1|gg)", ["'X' (did you mean 'x'", "'gg' (did you mean 'g'", "y, x, z"],
        {},
    ),
    "F07 x * 1e-200": (changed(x=lambda d: d.x * 1e-200), SIMPLE, ["'x'", "e-200", "unit"], {}),
    "F08 y * 1e200": (changed(y=lambda d: d.y * 1e200), SIMPLE, ["'y'", "e+200", "unit"], {}),
    "G01 zero weight": (
        base(), SIMPLE, ["1 zero weight", "row 3", "drop"], {"weights": ones(value=0.0)},
    ),
    "G02 negative weight": (
        base(), SIMPLE, ["1 negative weight", "row 3"], {"weights": ones(value=-1.0)},
    ),
    "G04 short weights": (
        base(), SIMPLE, ["weights has 95 values", "96 rows"], {"weights": np.ones(95)},
    ),
    "G05 short offset": (
        base(), SIMPLE, ["offset has 5 values", "96 rows"], {"offset": np.ones(5)},
    ),
    "G05 offset of one": (
        base(), SIMPLE, ["offset has 1 values", "96 rows"], {"offset": np.ones(1)},
    ),
    "G08 inf weight": (
        base(), SIMPLE, ["weights", "infinite", "row 3"], {"weights": ones(value=np.inf)},
    ),
    "G09 inf offset": (
        base(), SIMPLE, ["offset", "infinite", "row 3"], {"offset": ones(value=np.inf)},
    ),
    # --- our own
    "a category without values": (
        changed(g=pd.Categorical([None] * 96, categories=["a"])), SIMPLE, ["g: 96"], {},
    ),
    "one pair and 94 single rows": (
        changed(g=["a", "a"] + [f"r{i}" for i in range(94)]), SIMPLE, ["residual variance"], {},
    ),
    "weights column typo": (
        base(), SIMPLE, ["weights", "'zz'", "did you mean 'z'"], {"weights": "zz"},
    ),
    "weights of text": (base(), SIMPLE, ["weights must be numbers"], {"weights": "f"}),
    "weights a number": (base(), SIMPLE, ["weights", "one dimension"], {"weights": 2.0}),
    "weights 2-D": (base(), SIMPLE, ["weights", "(96, 1)"], {"weights": np.ones((96, 1))}),
    "weights all NaN": (base(), SIMPLE, ["weights: 96"], {"weights": np.full(96, np.nan)}),
    "weights 1e-300 and 1e300": (
        base(), SIMPLE, ["weights", "1e-300"],
        {"weights": np.where(np.arange(96) % 2, 1e300, 1e-300)},
    ),
    "offset column typo": (base(), SIMPLE, ["offset", "'zz'"], {"offset": "zz"}),
    "MultiIndex columns": (pd.concat({"top": base()}, axis=1), SIMPLE, ["'y'", "('top', 'y')"], {}),
    "y as group": (base(), "y ~ x + (1|y)", ["'y'", "as many levels"], {}),
    "zero slope column": (
        changed(c=0.0), "y ~ x + (0 + c|g)", ["(0 + c | g)", "zero in every row"], {},
    ),
    "groups explain everything": (
        changed(y=lambda d: d.g.str[1:].astype(float)), SIMPLE, ["residual variance", "no maximum"],
        {},
    ),
    "groups and x explain everything": (
        changed(y=lambda d: d.g.str[1:].astype(float) + d.x), SIMPLE,
        ["residual variance", "no maximum"], {},
    ),
    "slopes explain everything": (
        changed(y=lambda d: d.g.str[1:].astype(float) * (1 + d.x)), "y ~ x + (x|g)",
        ["residual variance", "no maximum"], {},
    ),
    "start too long": (base(), SIMPLE, ["start", "1 finite value"], {"start": [1.0, 2.0]}),
    "start of text": (base(), SIMPLE, ["start must hold numbers"], {"start": "abc"}),
    "start 1e8": (base(), SIMPLE, ["start is out of reach"], {"start": [1e8]}),
    "start 1e200": (base(), SIMPLE, ["start is out of reach"], {"start": [1e200]}),
    "log of text": (base(), "y ~ log(f) + (1|g)", ["log(f)", "no numbers"], {}),
    "log of text, random": (base(), "y ~ x + (log(f)|g)", ["log(f)", "no numbers"], {}),
    "root of negative": (base(), "y ~ sqrt(x) + (1|g)", ["sqrt(x)", "nan", "46 rows", "row 3"], {}),
    "x / 0": (base(), "y ~ I(x/0) + (1|g)", ["I(x/0)", "inf"], {}),
    "scale of a constant": (changed(c=1.0), "y ~ scale(c) + (1|g)", ["scale(c)", "nan"], {}),
    "poly of a constant": (
        changed(c=1.0), "y ~ poly(c, 2) + (1|g)", ["poly(c, 2)", "distinct"], {},
    ),
    "unknown reference": (base(), "y ~ relevel(f, ref='q') + (1|g)", ["'q'", "'a', 'b', 'c'"], {}),
    "levels left out": (
        base(), "y ~ factor(f, levels=c('a')) + (1|g)", ["factor(f", "'b', 'c'"], {},
    ),
    "lists as groups": (changed(g=[[1]] * 96), SIMPLE, ["'g'", "list"], {}),
    "mixed groups": (
        changed(g=[i // 8 if i % 2 else str(i // 8) for i in range(96)]), SIMPLE, ["'g'", "mixes"],
        {},
    ),
    "Polars structs": (
        pl.from_pandas(base()).with_columns(v=pl.struct("x", "z")), "y ~ v + (1|g)",
        ["'v'", "Struct"], {},
    ),
    # --- more of the same kinds
    "A 'NA' among numbers": (
        changed(x=lambda d: d.x.astype(object).where(d.index != 3, "NA")), SIMPLE,
        ["'x'", "float, str", "pd.to_numeric"], {},
    ),
    "A 3 infinite values": (changed([4, 5, 90], x=np.inf), SIMPLE, ["3 infinite", "row 4"], {}),
    "A inf in a slope": (changed([4], z=np.inf), "y ~ 1 + (z|g)", ["'z'", "row 4"], {}),
    "A inf as group": (
        changed(g=lambda d: d.g.str[1:].astype(float).where(d.index > 7, np.inf)), SIMPLE,
        ["'g'", "8 infinite"], {},
    ),
    "A exp overflows": (base(), "y ~ exp(x*1000) + (1|g)", ["exp(x * 1000) is inf", "18 rows"], {}),
    "A 1/0": (changed([7], x=0.0), "y ~ I(1/x) + (1|g)", ["I(1/x) is inf", "row 7"], {}),
    "A never complete together": (
        changed(y=lambda d: d.y.where(d.index < 48), x=lambda d: d.x.where(d.index >= 48)), SIMPLE,
        ["no complete rows", "y: 48, x: 48"], {},
    ),
    "A one group left": (
        changed(x=lambda d: d.x.where(d.g == "g00")), SIMPLE, ["'g' has 1 level", "mm.lm()"], {},
    ),
    "B zero y": (changed(y=0.0), SIMPLE, ["'y'", "no variance"], {}),
    "B saturated": (changed(r=[f"r{i}" for i in range(96)]), "y ~ r + (1|g)", ["rank 96"], {}),
    "B own level inside": (
        changed(h=[f"h{i}" for i in range(96)]), "y ~ x + (1|g/h)", ["'g:h'", "96"], {},
    ),
    "B second factor constant": (changed(h="k"), "y ~ x + (1|g) + (1|h)", ["'h' has 1 level"], {}),
    "B q = n": (base(m=3), "y ~ x + (1 + x + z|g)", ["36 observations <= 36 random"], {}),
    "B no columns": (pd.DataFrame(), SIMPLE, ["no columns 'y', 'x', 'g'; it has none"], {}),
    "C name 0": (base().rename(columns={"x": 0}), "y ~ `0` + (1|g)", ["0 is not", "str(name)"], {}),
    "C periods": (
        changed(x=pd.period_range("2020-01", periods=96, freq="M")), SIMPLE, ["'x' is period"], {},
    ),
    "C dates as objects": (
        changed(x=pd.date_range("2020-01-01", periods=96).date), SIMPLE, ["'x'", "days"], {},
    ),
    "C bytes": (changed(g=lambda d: [v.encode() for v in d.g]), SIMPLE, ["'g'", "bytes"], {}),
    "C tuples": (changed(g=lambda d: [(v, 1) for v in d.g]), SIMPLE, ["'g'", "tuple"], {}),
    "C dicts": (changed(x=[{"a": 1}] * 96), SIMPLE, ["'x'", "dict"], {}),
    "C True among numbers": (
        changed(g=pd.Series([True if i < 8 else i // 8 + 1 for i in range(96)], dtype=object)),
        SIMPLE, ["'g'", "bool, int"], {},
    ),
    "C y of numeric text": (
        changed(y=lambda d: d.y.round(3).astype(str)), SIMPLE, ["'y' is text", "pd.to_numeric"], {},
    ),
    "C two dimensions": (
        {"y": base().y, "x": base()[["x", "z"]].to_numpy(), "g": base().g}, SIMPLE,
        ["'x'", "2 dimensions"], {},
    ),
    "C Polars lists": (
        pl.from_pandas(base()).with_columns(x=pl.concat_list("x", "z")), SIMPLE, ["'x'", "List"],
        {},
    ),
    "D poly of too few": (base(), "y ~ poly(x, 100) + (1|g)", ["more than 100 distinct"], {}),
    "D f + 1": (base(), "y ~ I(f + 1) + (1|g)", ["I(f + 1)", "no numbers"], {}),
    "D offset of text": (base(), "y ~ x + offset(f) + (1|g)", ["offset 'f'", "numeric"], {}),
    "D x.real": (base(), "y ~ x.real + (1|g)", ["no column 'x.real'"], {}),
    "F denormal": (changed(x=lambda d: d.x * 1e-310), SIMPLE, ["'x'", "e-310"], {}),
    "F one weight of 1e300": (
        base(), SIMPLE, ["from 1 to 1e+300"], {"weights": np.r_[1e300, np.ones(95)]},
    ),
    "F start of NaN": (base(), SIMPLE, ["start", "[nan]"], {"start": [np.nan]}),
    "G zero weights": (base(), SIMPLE, ["96 zero weights"], {"weights": np.zeros(96)}),
    "G two negative": (
        base(), SIMPLE, ["2 negative weights", "row 0"], {"weights": np.r_[-1, -2, np.ones(94)]},
    ),
    "G booleans": (base(), SIMPLE, ["48 zero weights"], {"weights": np.arange(96) % 2 == 0}),
    "G complex": (base(), SIMPLE, ["weights", "complex"], {"weights": np.ones(96) + 1j}),
    "G an expression": (base(), SIMPLE, ["weights", "'x*2'"], {"weights": "x*2"}),
    "G a number as offset": (base(), SIMPLE, ["offset", "one dimension"], {"offset": 3}),
    "G categories": (
        base(), SIMPLE, ["weights", "category"], {"weights": pd.Categorical([1.0] * 96)},
    ),
    "ragged dict": (
        {"y": [1.0, 2.0], "x": [1.0], "g": ["a", "b"]}, SIMPLE, ["differ in length", "'x' 1"], {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DATA_ERRORS)
def test_data_errors(name: str) -> None:
    data, formula, words, kw = DATA_ERRORS[name]
    with pytest.raises(DataError) as caught:
        watched(formula, data, **kw)
    for word in words:
        assert word in str(caught.value)
    assert "fn_" not in str(caught.value)


# formula, words of the message; where there is a caret, the text under it
FORMULA_ERRORS: dict[str, tuple[str, list[str], str | None]] = {
    "B19": ("y ~ x + (1|g) + (1|g)", ["(1 | g)", "twice"], "(1|g)"),
    "D01": ("y ~ x", ["random", "(1 | group)", "mm.lm()"], None),
    "D02": ("y ~ x + 1|g", ["parentheses", "(1 | g)"], "|g"),
    "D03": ("y ~ x + (1|g", ["never closed"], "(1|g"),
    "D05": ("y ~ ", ["nothing after '~'"], None),
    "D06": ("~ x + (1|g)", ["no response"], "~"),
    "D07": ("y ~ y + x + (1|g)", ["response y"], "y + x"),
    "D08": ("y ~ x + (1|)", ["missing after '|'"], ")"),
    "D09": ("y ~ x + (|g)", ["nothing before '|'", "(1 | g)"], "|g)"),
    "D10": ("y ~ x + (1|g|f)", ["two bars", "(1 | g/f)", "(1 | g:f)"], "|f)"),
    "D31": ("y ~ x + I(__import__('os').system('touch MARK')) + (1|g)", ["__import__"], "__im"),
    "D33": ("y ~ x + (1|k + f)", ["'+' in a grouping", "(1 | k) + (1 | f)"], "+ f)"),
    "D35": ("y + z ~ x + (1|g)", ["one response", "I(y + z)"], "+ z"),
    "D36": ("y ~ x*z - x:z - (1|g) + (1|g)", ["no earlier random term", "(1 | g)"], "|g) +"),
    "D37": ("y ~ x + (0|g)", ["(0 | g)", "no columns"], "(0|g)"),
    "D37 -1": ("y ~ x + (-1|g)", ["no columns"], "(-1|g)"),
    "D38": ("y ~ x + (1 | 1)", ["must name a column"], "1)"),
    "bar times x": ("y ~ (1|g)*x", ["must stand alone"], "|g)*x"),
    "2*x": ("y ~ 2*x + (1|g)", ["I(2 * x)"], "2*x"),
    "2": ("y ~ 2 + x + (1|g)", ["only 1 and 0"], "2 + x"),
    "trailing plus": ("y ~ x + (1|g) +", ["nothing after '+'"], "+"),
    "equals": ("y = x + (1|g)", ["'='"], "= x"),
    "comma": ("y ~ x, (1|g)", ["',' is not expected"], ", (1"),
    "comment": ("y ~ x + (1|g) # end", ["U+0023"], "# end"),
    "text as a term": ("y ~ 'x' + (1|g)", ["is not a term"], "'x'"),
    "near function": ("y ~ logg(x) + (1|g)", ["logg()", "did you mean log()"], "logg"),
    "np.log": ("y ~ np.log(x + 10) + (1|g)", ["np.log()", "did you mean log()"], "np.log"),
    "degree 0": ("y ~ poly(x, 0) + (1|g)", ["positive whole number"], "0)"),
    "df of 1e9": ("y ~ bs(x, df=1000000000) + (1|g)", ["df must be"], "1000000000"),
    "offset in a bar": ("y ~ x + (offset(z)|g)", ["inside a random term"], "|g)"),
    "offset without column": ("y ~ x + offset(2) + (1|g)", ["names no column"], "2)"),
    "response in a slope": ("y ~ x + (y|g)", ["response y"], "y|g)"),
    "cbind": ("cbind(y, z) ~ x + (1|g)", ["only one response"], "cbind"),
    "no response column": ("1 ~ x + (1|g)", ["names no column"], "1 ~"),
    "dot in a bar": ("y ~ x + (.|g)", ["name the columns"], ".|g)"),
    "dot as group": ("y ~ x + (1|.)", ["must name columns"], ".)"),
    "negative power": ("y ~ (x + z)^-1 + (1|g)", ["I((x + z)^-1)"], "^-1"),
    "empty parentheses": ("y ~ x + ()", ["a term is missing"], ")"),
    "triple bar": ("y ~ x + (1|||g)", ["nothing before '|'"], "|g)"),
    "%%": ("y ~ I(x %% 2) + (1|g)", ["%in%"], "%%"),
    "assignment": ("y ~ x <- 3 + (1|g)", ["assigns in R"], "<- 3"),
    "minus of a printer": ("y ~ x \u2212 1 + (1|g)", ["MINUS SIGN", "mean '-'?"], "\u2212"),
    "quotes of a printer": ("y ~ C(f, \u2018sum\u2019) + (1|g)", ["QUOTATION MARK"], "\u2018"),
    "wide plus": ("y ~ x \uff0b z + (1|g)", ["FULLWIDTH", "mean '+'?"], "\uff0b"),
    "times": ("y ~ x \u00d7 z + (1|g)", ["mean '*'?"], "\u00d7"),
    "no width": ("y ~ x\u200b + (1|g)", ["ZERO WIDTH SPACE"], None),
    "empty": ("", ["empty"], None),
    "two tildes": ("y ~ x ~ z", ["two '~'"], "~ z"),
    "deep": ("y ~ " + "(" * 10_000 + "x" + ")" * 10_000 + " + (1|g)", ["nesting"], None),
    "wide": ("y ~ " + "*".join(f"a{i}" for i in range(40)) + " + (1|g)", ["20000 terms"], None),
    "huge power": ("y ~ I(x * 9^9^9^9) + (1|g)", ["not a finite number"], "^9^9"),
    "emoji": ("y ~ x + 😀 + (1|g)", ["U+1F600"], "😀"),
    "null": ("y ~ x\0 + (1|g)", ["U+0000"], None),
}


@pytest.mark.parametrize("name", FORMULA_ERRORS)
def test_formula_errors(name: str) -> None:
    formula, words, place = FORMULA_ERRORS[name]
    with pytest.raises(FormulaError) as caught:
        watched(formula, base().assign(k=1))
    message = str(caught.value)
    for word in words:
        assert word in message
    if place is not None:
        _, shown, caret = message.rsplit("\n", 2)
        assert shown[caret.index("^") :].startswith(place)


CODE = [
    "__import__('os').system('touch MARK')", "x.__class__", "(lambda: 1)()", "[c for c in x]",
    "x[0]", "exec('1')", "eval('1')", "np.log(x)", "open('MARK', 'w')", "x if x else z", "f'{x}'",
    "x := 3", "getattr(x, 'a')", "fn_column('x')", "`x`.y", "'x' * 99999999999", "{x}", "x; z",
]  # fmt: skip


@pytest.mark.parametrize("code", CODE)
@pytest.mark.parametrize(
    "place",
    ["y ~ I({}) + (1|g)", "y ~ {} + (1|g)", "y ~ x + ({}|g)", "y ~ x + (1|{})", "{} ~ x + (1|g)",
     "y ~ offset({}) + (1|g)"],
)  # fmt: skip
def test_d31_no_code_runs(
    code: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormulaError):
        watched(place.format(code), base())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("formula", [None, 5, b"y ~ x", ["y ~ x"], base()])
def test_d28_not_text(formula: object) -> None:
    with pytest.raises(TypeError, match="formula must be a string"):
        watched(formula, base())


@pytest.mark.parametrize(
    "data",
    [None, np.ones((3, 3)), "data.csv", base().y, base().to_dict("records"), base().groupby("g")],
    ids=["None", "array", "path", "series", "records", "groupby"],
)
def test_not_a_frame(data: object) -> None:
    with pytest.raises(TypeError, match="must be a pandas or Polars DataFrame"):
        watched(SIMPLE, data)


def test_caller_variables_are_not_seen() -> None:
    secret = np.ones(96)  # noqa: F841
    with pytest.raises(DataError, match="no column 'secret'"):
        watched("y ~ secret + (1|g)", base())


@pytest.mark.parametrize(
    ("contrasts", "words"),
    [
        ({"f": "foo"}, "'foo' is not known; use one of treatment"),
        ({"q": "sum"}, "'q': the formula does not use it"),
        ("sum", "must be a dict of names to values or None, not 'sum'"),
    ],
)
def test_contrasts(contrasts: Any, words: str) -> None:
    with pytest.raises(mm.MixedModelsError, match=re.escape(words)):
        watched("y ~ f + (1|g)", base(), contrasts=contrasts)


@pytest.mark.parametrize("reml", ["ML", "yes", None, 1])
def test_reml_is_true_or_false(reml: Any) -> None:
    with pytest.raises(ModelError, match="reml must be True or False"):
        watched(SIMPLE, base(), reml=reml)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.ones(3), "96 rows"),
        (np.ones((96, 1)), "shape"),
        (np.full(96, np.nan), "96 values that are missing"),
        (np.r_[np.inf, -np.inf, np.arange(94)], "2 values that are missing or infinite"),
        (["a"] * 96, "numbers"),
        (np.ones(96), "no variance"),
        (np.arange(96) * 1e200, "e+202"),
    ],
)
def test_refit(y: Any, words: str) -> None:
    model, _ = watched(SIMPLE, base())
    with pytest.raises(DataError, match=re.escape(words)):
        model.refit(y)


def test_error_has_no_cycle_of_causes() -> None:
    with pytest.raises(DataError) as caught:
        watched("y ~ log(f) + (1|g)", base())
    seen: set[int] = set()
    error: BaseException | None = caught.value
    while error is not None:
        assert id(error) not in seen
        seen.add(id(error))
        error = error.__cause__ or error.__context__


def test_update() -> None:
    model, _ = watched(SIMPLE, base())
    with pytest.raises(DataError, match="no column 'q'"):
        model.update(". ~ . + q")
    with pytest.raises(FormulaError, match="no '~'"):
        model.update("zzz")
    ols = model.update("y ~ x")
    assert ols.loglik == pytest.approx(mm.lm("y ~ x", base()).loglik)


def test_options_of_methods() -> None:
    model, _ = watched(SIMPLE, base())
    with pytest.raises(ModelError, match="kind"):
        model.residuals("zzz")
    with pytest.raises(ModelError, match="level"):
        model.tidy(level=2)
    with pytest.raises(ModelError, match="ddf"):
        model.tidy(ddf="zzz")
    with pytest.raises(ModelError, match="at least 1"):
        model.simulate(0)
    with pytest.raises(ModelError, match="seed=-1"):
        model.simulate(1, seed=-1)


def test_same_partition_under_two_names() -> None:
    with pytest.warns(mm.DataWarning, match="'g' and 'g2' put the rows into the same groups"):
        model = mm.lmer("y ~ x + (1|g) + (1|g2)", changed(g2=lambda d: d.g + "x"))
    assert model.loglik == pytest.approx(-154.520455, abs=5e-6)


def test_levels_that_read_alike_stay_apart() -> None:
    data = changed(a=np.repeat(["1", "1:2", "q"], 32), b=np.repeat(["2:3", "3", "r"], 32))
    model, _ = watched("y ~ x + (1|a:b)", data)
    assert len(set(model.ranef()["level"])) == 3
    np.testing.assert_allclose(model.predict(data), model.fitted)


@pytest.mark.parametrize("column", ["y", "x"])
def test_numbers_at_the_end_of_their_range(column: str) -> None:
    """Refused by name, without a warning of NumPy about the overflow on the way."""
    frame = base()
    frame[column] = [1e308, -1e308] * 48
    for fit in (lambda: watched(SIMPLE, frame), lambda: mm.lm("y ~ x", frame)):
        with pytest.raises(DataError, match=f"'{column}' is of the order 1e\\+308"):
            fit()


def test_refit_takes_no_complex_numbers() -> None:
    model = mm.lmer(SIMPLE, base())
    with pytest.raises(DataError, match="must hold numbers"):
        model.refit(base().y.to_numpy() + 1j)


def test_big_endian_columns_are_counted_and_reshaped() -> None:
    frame = base().assign(t=np.tile(np.arange(8), 12))[["g", "t", "y"]]
    swapped = frame.assign(t=frame.t.to_numpy().astype(">f8"), y=frame.y.to_numpy().astype(">f8"))
    for table in (frame, swapped):
        assert mm.describe(table, "y", by="t")["n"].iloc[0] == 12
        assert mm.to_wide(table, id="g", time="t", value="y").shape[0] == 12
