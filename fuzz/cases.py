"""Random models: a frame of any library, a formula of the whole language, and what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from fuzz import columns as make
from fuzz.columns import Array, Column, Rng

Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Bar:
    """One random term after expansion: its left side's atoms, and the grouping columns."""

    left: tuple[str, ...]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class FuzzCase:
    """A call of `lmer` and its meaning.

    Attributes
    ----------
    fixed : tuple of str
        Atoms of the fixed part: products of variables and functions, "1" for the constant.
    bars : tuple of Bar
        In the order of the formula.
    """

    formula: str
    data: Any
    options: dict[str, Any]
    columns: dict[str, Column]
    fixed: tuple[str, ...]
    bars: tuple[Bar, ...]
    used: tuple[str, ...]
    hostile: str = ""
    plain: pd.DataFrame = field(default_factory=pd.DataFrame)


def make_case(seed: int) -> FuzzCase:
    """The case of a seed."""
    rng = np.random.default_rng(seed)
    n = _size(rng)
    columns = _columns(rng, n)
    fixed_text, fixed, fixed_used = _fixed(rng)
    bars_text, bars, bars_used = _bars(rng)
    options, extra = _options(rng, n)
    used = {*fixed_used, *bars_used, *extra}
    columns["y"] = _response(rng, n, columns, bars)
    columns = {name: columns[name] for name in rng.permutation(list(columns)).tolist()}
    hostile, columns, options = _hostile(rng, columns, options, sorted(used))
    plain = pd.DataFrame({name: column.stored for name, column in columns.items()})
    data = _library(rng, plain)
    if isinstance(data, pl.DataFrame | dict):  # categories that have no order of their own
        columns = {
            name: replace(column, order=tuple(sorted(column.order)))
            if isinstance(data, dict) or data[name].dtype == pl.Categorical
            else column
            for name, column in columns.items()
        }
    return FuzzCase(
        f"y ~ {fixed_text} + {bars_text}",
        data,
        options,
        columns,
        fixed,
        bars,
        (*sorted(used), "y"),
        hostile,
        plain,
    )


def _size(rng: Rng) -> int:
    kind = rng.random()
    if kind < 0.03:
        return int(rng.integers(0, 12))
    return int(rng.integers(12, 70)) if kind < 0.93 else int(rng.integers(70, 201))


def _holes(rng: Rng, n: int, codes: Codes | None = None) -> NDArray[np.bool_]:
    """Which cells are missing: mostly none, some, those of a level, rarely all."""
    kind = rng.random()
    if kind < 0.8:
        return np.zeros(n, bool)
    if kind < 0.92:
        return np.asarray(rng.random(n) < rng.choice([0.02, 0.1, 0.3]))
    if kind < 0.997 and codes is not None:
        return np.asarray(codes == rng.integers(codes.max(initial=0) + 1))
    return np.full(n, kind > 0.997)


def _codes(rng: Rng, n: int, count: int) -> Codes:
    """Levels in even or uneven shares, each used at least once when rows suffice."""
    share = rng.dirichlet(np.full(count, rng.choice([0.5, 2.0, 50.0])))
    codes = rng.choice(count, n, p=share)
    first = min(count, n)
    codes[:first] = np.arange(first)
    return np.asarray(rng.permutation(codes), np.int64)


def _columns(rng: Rng, n: int) -> dict[str, Column]:
    many = max(2, int(n * rng.choice([0.1, 0.15, 0.2, 0.3, 0.45])))
    g = _codes(rng, n, min(many, 40))
    above = rng.integers(0, max(2, many // 3), int(g.max(initial=0)) + 1)
    nested = rng.random() < 0.4
    h = above[g] if nested and n else _codes(rng, n, int(rng.integers(2, 9)))
    k = _codes(rng, n, int(rng.integers(2, 6)))
    out: dict[str, Column] = {}
    seen: list[Array] = []
    for name in ("x", "z", "my col"):
        values = rng.normal(size=n)
        if rng.random() < 0.2 and n:
            values = values[g]  # constant within groups
        column = make.number(rng, make.shape_numbers(rng, values, seen), _holes(rng, n, g))
        out[name] = column
        assert column.numbers is not None
        seen.append(column.numbers)
    for name in ("f", "k2"):
        codes = _codes(rng, n, int(rng.integers(1 if rng.random() < 0.05 else 2, 5)))
        if rng.random() < 0.1 and n:
            codes = g % 3
        out[name] = make.text_factor(rng, codes, _holes(rng, n, codes))
    for name, codes in (("g", g), ("h", h), ("k", k)):
        out[name] = make.grouping(rng, np.asarray(codes, np.int64), _holes(rng, n, codes))
    exponent = rng.uniform(-1, 1, n) * float(rng.choice([0.3, 0.3, 2.0, 5.0]))
    weights = 10.0**exponent
    out["w"] = Column(pd.Series(weights), weights)
    offset = rng.normal(size=n)
    out["o"] = Column(pd.Series(offset), offset)
    return out


# text of a part of the fixed side, its atoms, the columns that it reads
FIXED_PARTS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("x", ("x",), ("x",)),
    ("x", ("x",), ("x",)),
    ("z", ("z",), ("z",)),
    ("`my col`", ("my col",), ("my col",)),
    ("f", ("f",), ("f",)),
    ("k2", ("k2",), ("k2",)),
    ("x*f", ("x", "f", "x:f"), ("x", "f")),
    ("f*k2", ("f", "k2", "f:k2"), ("f", "k2")),
    ("f/z", ("f", "f:z"), ("f", "z")),
    ("f:k2", ("f:k2",), ("f", "k2")),
    ("x:z", ("x:z",), ("x", "z")),
    ("z %in% f", ("f:z",), ("f", "z")),
    ("(x + z + f)^2", ("x", "z", "f", "x:z", "x:f", "z:f"), ("x", "z", "f")),
    ("(x + z)*f - x:f", ("x", "z", "f", "z:f"), ("x", "z", "f")),
    ("poly(x, 2)", ("poly(x, 2)[1]", "poly(x, 2)[2]"), ("x",)),
    ("poly(z, 3, raw = TRUE)", ("z", "I(z^2)", "I(z^3)"), ("z",)),
    ("scale(x)", ("scale(x)",), ("x",)),
    ("center(z)", ("center(z)",), ("z",)),
    ("I(x^2)", ("I(x^2)",), ("x",)),
    ("I(x - 2*z)", ("I(x - 2*z)",), ("x", "z")),
    ("log1p(abs(z))", ("log1p(abs(z))",), ("z",)),
    ("log(z + 9)", ("log(z + 9)",), ("z",)),
    ("exp(z)", ("exp(z)",), ("z",)),
    ("sqrt(abs(x))", ("sqrt(abs(x))",), ("x",)),
    ("(x > 0)", ("x > 0",), ("x",)),
    ("pmin(x, z)", ("pmin(x, z)",), ("x", "z")),
    ("sin(x):f", ("sin(x):f",), ("x", "f")),
    ("C(f, contr.sum)", ("f",), ("f",)),
    ("C(k2, contr.helmert)", ("k2",), ("k2",)),
    ("factor(k)", ("k",), ("k",)),
    ("offset(o)", (), ("o",)),
    ("bs(x, df = 4)", ("bs",), ("x",)),
    ("ns(z, df = 3)", ("ns",), ("z",)),
)


def _fixed(rng: Rng) -> tuple[str, tuple[str, ...], set[str]]:
    if rng.random() < 0.03:
        every = ("x", "z", "my col", "f", "k2", "w", "o", "g", "h", "k")
        return ".", ("dot",), set(every)
    count = int(rng.choice([0, 1, 1, 2, 2, 3, 4]))
    chosen = [FIXED_PARTS[i] for i in rng.choice(len(FIXED_PARTS), count, replace=False)]
    constant = rng.random() > 0.12
    first = "1" if constant else str(rng.choice(["0", "-1"]))
    if constant and chosen and rng.random() < 0.7:
        first = ""
    text = " + ".join([part for part in (first, *(c[0] for c in chosen)) if part])
    atoms: dict[str, None] = {}
    for part in chosen:
        atoms |= dict.fromkeys(part[1])
        if part[0].endswith("- x:f"):  # takes away what stands before it, as in R
            atoms.pop("x:f", None)
    return text, (*(("1",) if constant else ()), *atoms), {v for c in chosen for v in c[2]}


LEFTS: tuple[tuple[str, tuple[tuple[str, ...], ...], tuple[str, ...]], ...] = (
    *[("1 |", (("1",),), ())] * 9,
    *[("x |", (("1", "x"),), ("x",))] * 3,
    ("z |", (("1", "z"),), ("z",)),
    ("0 + x |", (("x",),), ("x",)),
    ("x ||", (("1",), ("x",)), ("x",)),
    ("x + z ||", (("1",), ("x",), ("z",)), ("x", "z")),
    ("x + z |", (("1", "x", "z"),), ("x", "z")),
    ("f |", (("1", "f"),), ("f",)),
    ("0 + f |", (("f",),), ("f",)),
    ("f ||", (("1",), ("f",)), ("f",)),
    ("scale(x) |", (("1", "scale(x)"),), ("x",)),
    ("I(x^2) + x |", (("1", "I(x^2)", "x"),), ("x",)),
    ("x:f |", (("1", "x:f"),), ("x", "f")),
)
RIGHTS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    *[("g", (("g",),))] * 6,
    *[("h", (("h",),))] * 2,
    ("k", (("k",),)),
    ("h/g", (("h",), ("h", "g"))),
    ("h:g", (("h", "g"),)),
    ("g:k", (("g", "k"),)),
    ("factor(g)", (("g",),)),
)


def _bars(rng: Rng) -> tuple[str, tuple[Bar, ...], set[str]]:
    texts, bars, used = [], [], set()
    for _ in range(int(rng.choice([1, 1, 1, 2, 2, 3]))):
        left, parts, read = LEFTS[int(rng.integers(len(LEFTS)))]
        right, groups = RIGHTS[int(rng.integers(len(RIGHTS)))]
        pairs = {(part, group) for part in parts for group in groups}
        if pairs & {(bar.left, bar.groups) for bar in bars} and rng.random() < 0.9:
            continue
        texts.append(f"({left} {right})")
        bars += [Bar(part, group) for group in groups for part in parts]
        used |= {*read, *(name for group in groups for name in group)}
    return " + ".join(texts), tuple(bars), used


def _options(rng: Rng, n: int) -> tuple[dict[str, Any], set[str]]:
    options: dict[str, Any] = {"reml": bool(rng.random() < 0.6)}
    used = set()
    if rng.random() < 0.2:
        options["weights"], _ = "w", used.add("w")
    if rng.random() < 0.1:
        options["offset"], _ = "o", used.add("o")
    return options, used


def _response(rng: Rng, n: int, columns: dict[str, Column], bars: Iterable[Bar]) -> Column:
    """A response with effects of groups and slopes of sizes from nothing to far too much."""
    y = rng.normal(size=n)
    size = float(rng.choice([0.0, 0.3, 1.0, 1.0, 3.0, 30.0, 1e3, 1e5]))
    for bar in bars:
        keys = [columns[name].labels or () for name in bar.groups]
        _, codes = np.unique(
            np.array(["/".join(map(str, row)) for row in zip(*keys, strict=True)] or [], str),
            return_inverse=True,
        )
        effects = rng.normal(size=int(codes.max(initial=0)) + 1) * size
        y = y + effects[codes] * (rng.normal() if rng.random() < 0.5 else 1.0)
    for name in ("x", "z"):
        values = np.nan_to_num(np.asarray(columns[name].numbers))
        spread = float(values.std()) if n else 0.0
        if spread > 0 and rng.random() < 0.6:
            y = y + rng.normal() * (values - values.mean()) / spread
    kind = rng.random()
    if kind < 0.05:
        y = np.round(y)
    elif kind < 0.08:
        y = y + 10.0 ** rng.integers(2, 8)
    elif kind < 0.11:
        y = y * 10.0 ** rng.integers(-9, 10)
    elif kind < 0.12:
        y = np.zeros(n)
    elif kind < 0.13:
        y = np.nan_to_num(np.asarray(columns["x"].numbers)) * 2.0 + 1.0
    holes = _holes(rng, n) if rng.random() < 0.5 else np.zeros(n, bool)
    if rng.random() < 0.25:
        return make.number(rng, y, holes)
    stored = np.where(holes, np.nan, y)
    return Column(pd.Series(stored), stored)


# --- accidents ------------------------------------------------------------------------------------

Accident = Callable[[Rng, dict[str, Column], dict[str, Any], list[str]], None]


def _infinite(
    rng: Rng, columns: dict[str, Column], options: dict[str, Any], used: list[str]
) -> None:
    numbers = [v for v in (*used, "y") if columns[v].numbers is not None]
    name = str(rng.choice(numbers))
    values = np.array(columns[name].numbers)
    if len(values):
        values[int(rng.integers(len(values)))] = rng.choice([np.inf, -np.inf])
    columns[name] = Column(pd.Series(values), values)


def _stamps(rng: Rng, columns: dict[str, Column], options: dict[str, Any], used: list[str]) -> None:
    n = len(columns["y"].stored)
    kind = rng.choice(["datetime", "timedelta", "period"])
    stored: Any = pd.Series(pd.date_range("2020-01-01", periods=n, freq="D"))
    if kind == "timedelta":
        stored = stored - stored.min() if n else pd.Series([], dtype="timedelta64[ns]")
    if kind == "period":
        stored = stored.dt.to_period("D")
    columns["x"] = Column(stored, np.arange(float(n)))


def _no_numbers(
    rng: Rng, columns: dict[str, Column], options: dict[str, Any], used: list[str]
) -> None:
    n = len(columns["y"].stored)
    cells: list[Any] = [[1], {"a": 1}, 2 + 3j, b"x", float, "1e3", None, 1.5]
    stored = [cells[int(rng.integers(len(cells)))] for _ in range(n)]
    columns[str(rng.choice(["x", "y", "g", "f"]))] = Column(
        pd.Series(stored, dtype=object), np.arange(float(n))
    )


def _number_text(
    rng: Rng, columns: dict[str, Column], options: dict[str, Any], used: list[str]
) -> None:
    values = np.round(np.nan_to_num(np.asarray(columns["x"].numbers)), 3)
    columns["x"] = Column(pd.Series([repr(v) for v in values.tolist()], dtype=object), values)


def _gone(rng: Rng, columns: dict[str, Column], options: dict[str, Any], used: list[str]) -> None:
    del columns[str(rng.choice([*used, "y"]))]


def _bad_weights(
    rng: Rng, columns: dict[str, Column], options: dict[str, Any], used: list[str]
) -> None:
    n = len(columns["y"].stored)
    values = np.ones(n + int(rng.integers(0, 2)))
    if n:
        values[0] = rng.choice([0.0, -1.0, np.inf, np.nan])
    options[str(rng.choice(["weights", "offset"]))] = values if rng.random() < 0.7 else "nobody"


def _huge(rng: Rng, columns: dict[str, Column], options: dict[str, Any], used: list[str]) -> None:
    name = str(rng.choice(["x", "z", "y"]))
    values = np.asarray(columns[name].numbers) * 10.0 ** float(rng.choice([-300, -160, 160, 290]))
    columns[name] = Column(pd.Series(values), values)


ACCIDENTS: dict[str, Accident] = {
    "infinite": _infinite,
    "stamps": _stamps,
    "no numbers": _no_numbers,
    "numbers as text": _number_text,
    "column gone": _gone,
    "weights": _bad_weights,
    "huge": _huge,
}


def _hostile(
    rng: Rng, columns: dict[str, Column], options: dict[str, Any], used: list[str]
) -> tuple[str, dict[str, Column], dict[str, Any]]:
    if rng.random() > 0.08:
        return "", columns, options
    name = str(rng.choice(list(ACCIDENTS)))
    columns, options = dict(columns), dict(options)
    ACCIDENTS[name](rng, columns, options, used)
    return name, columns, options


# --- libraries ------------------------------------------------------------------------------------


def _library(rng: Rng, plain: pd.DataFrame) -> Any:
    """The frame in some library; in pandas where the other cannot hold the column."""
    kind = rng.choice(
        ["pandas", "pandas", "pandas", "index", "arrow-backed", "polars", "pyarrow", "dict"]
    )
    try:
        if kind == "index":
            return plain.set_axis(rng.integers(0, 5, len(plain)))
        if kind == "arrow-backed":
            return pd.DataFrame({name: _arrow_backed(plain[name]) for name in plain})
        if kind == "polars":
            return pl.from_pandas(_dense(plain))
        if kind == "pyarrow":
            return pa.Table.from_pandas(_dense(plain), preserve_index=False)
    except (
        pa.ArrowException,
        TypeError,
        ValueError,
        NotImplementedError,
        OverflowError,
        pl.exceptions.PolarsError,
    ):
        return plain
    if kind == "dict":
        return {name: plain[name].to_numpy() for name in plain}
    return plain


def _dense(plain: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: plain[name].sparse.to_dense()
            if isinstance(plain[name].dtype, pd.SparseDtype)
            else plain[name]
            for name in plain
        }
    )


def _arrow_backed(column: pd.Series) -> pd.Series:
    """Numbers and text in Arrow's storage, anything else as it is."""
    if pd.api.types.is_numeric_dtype(column.dtype) and not isinstance(column.dtype, pd.SparseDtype):
        with np.errstate(invalid="ignore"):  # pandas 2 casts huge numbers to see whether they fit
            return column.convert_dtypes(dtype_backend="pyarrow")
    if column.dtype == object and all(isinstance(v, str | None) for v in column):
        return column.astype("string[pyarrow]")
    return column
