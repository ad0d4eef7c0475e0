"""Random columns: how a library stores them beside what they mean.

A number means its float64 values, NaN where missing; a label what it reads, None where missing.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rng = np.random.Generator


@dataclass(frozen=True)
class Column:
    """One column of a frame, stored and meant."""

    stored: Any
    numbers: Array | None = None
    labels: tuple[str | None, ...] | None = None
    order: tuple[str, ...] = ()
    """Levels of a factor in their order, those without rows too."""

    @property
    def missing(self) -> NDArray[np.bool_]:
        if self.numbers is not None:
            return np.isnan(self.numbers)
        assert self.labels is not None
        return np.array([label is None for label in self.labels], bool)


def number(rng: Rng, values: Array, holes: NDArray[np.bool_]) -> Column:
    """Numbers in a random storage; what a narrow storage rounds, the meaning rounds too."""
    makers: list[Callable[[Rng, Array, NDArray[np.bool_]], Column]]
    makers = [_floats, _floats, _floats, _integers, _nullable, _objects, _flags, _sparse]
    return makers[int(rng.integers(len(makers)))](rng, values, holes)


def _with_holes(values: Any, holes: NDArray[np.bool_]) -> Array:
    return np.where(holes, np.nan, np.asarray(values, np.float64))


def _floats(rng: Rng, values: Array, holes: NDArray[np.bool_]) -> Column:
    dtype = rng.choice(["float64", "float64", "float64", "float32", "float16"])
    if dtype == "float16" and np.abs(values).max(initial=0.0) > 6e4:
        dtype = "float64"
    stored = _with_holes(values, holes).astype(dtype)
    return Column(pd.Series(stored), stored.astype(np.float64))


def _whole(rng: Rng, values: Array) -> tuple[str, Array]:
    """Whole numbers and a storage that holds them."""
    names = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    dtype = str(rng.choice(names))
    limits = np.iinfo(dtype)
    spread = float(np.abs(values).max(initial=1.0)) or 1.0
    scale = min(float(limits.max), 1e6) / spread / 3.0
    whole = np.round(values * min(scale, 50.0))
    if limits.min == 0:
        whole = whole - whole.min(initial=0.0)
    return dtype, np.clip(whole, float(limits.min), min(float(limits.max), 2.0**53))


def _integers(rng: Rng, values: Array, holes: NDArray[np.bool_]) -> Column:
    dtype, whole = _whole(rng, np.nan_to_num(values))
    stored = pd.Series(whole.astype(dtype))
    if not holes.any():
        return Column(stored, whole)
    nullable = stored.astype(dtype.replace("u", "U").replace("i", "I", 1))
    return Column(nullable.mask(holes), _with_holes(whole, holes))


def _nullable(rng: Rng, values: Array, holes: NDArray[np.bool_]) -> Column:
    stored = pd.Series(values).astype("Float64").mask(holes)
    return Column(stored, _with_holes(values, holes))


def _objects(rng: Rng, values: Array, holes: NDArray[np.bool_]) -> Column:
    nothing = rng.choice(np.array([None, float("nan"), pd.NA], object))
    as_decimal = rng.random() < 0.5
    cells = [
        nothing if hole else (Decimal(repr(v)) if as_decimal else v)
        for v, hole in zip(values.tolist(), holes, strict=True)
    ]
    return Column(pd.Series(cells, dtype=object), _with_holes(values, holes))


def _flags(rng: Rng, values: Array, holes: NDArray[np.bool_]) -> Column:
    flags = values > np.median(values) if len(values) else values > 0
    stored = pd.Series(flags)
    if holes.any():
        stored = stored.astype("boolean").mask(holes)
    return Column(stored, _with_holes(flags, holes))


def _sparse(rng: Rng, values: Array, holes: NDArray[np.bool_]) -> Column:
    thin = np.where(values > 0, values, 0.0)
    stored = _with_holes(thin, holes)
    return Column(pd.Series(pd.arrays.SparseArray(stored, fill_value=0.0)), stored)


def shape_numbers(rng: Rng, values: Array, others: list[Array]) -> Array:
    """Numbers as accidents make them: shifted, in other units, constant, combined of others."""
    n = len(values)
    kind = rng.choice(
        ["plain", "plain", "plain", "plain", "plain", "shift", "unit", "ties", "constant", "copy",
         "near", "skewed", "rare"]
    )  # fmt: skip
    if kind == "shift":
        return values + 10.0 ** rng.integers(2, 7)
    if kind == "unit":
        return values * 10.0 ** rng.integers(-9, 10)
    if kind == "ties":
        return np.round(values)
    if kind == "constant":
        return np.full(n, float(rng.choice([0.0, 1.0, 7.0, -3.5e5])))
    if kind in ("copy", "near") and others:
        other = others[int(rng.integers(len(others)))]
        part = 0.0 if kind == "copy" else 10.0 ** rng.integers(-7, -1)
        scale = float(np.nanstd(other)) if np.isfinite(other).any() else 0.0
        return 2.0 * np.nan_to_num(other) + 1.0 + part * scale * values
    if kind == "skewed":
        return np.exp(2.0 * values)
    if kind == "rare":
        return np.where(rng.random(n) < 0.1, values, 0.0)
    return values


STRANGE = ["a:b", "x|y", " ", "ä", "(1 | g)", "a b", "[T.x]", "'q'", "{0}", "%s", "<b>", "`"]


def _texts(rng: Rng, count: int) -> list[str]:
    names = [f"l{i:03d}" for i in range(count)]
    for _ in range(int(rng.integers(0, 3)) if count and rng.random() < 0.3 else 0):
        names[int(rng.integers(count))] = str(rng.choice(STRANGE))
    return list(dict.fromkeys(names)) + [f"m{i}" for i in range(count - len(set(names)))]


def text_factor(rng: Rng, codes: NDArray[np.int64], holes: NDArray[np.bool_]) -> Column:
    """Labels whose text is known: for factors among the covariates."""
    count = int(codes.max(initial=0)) + 1
    names = _texts(rng, count)
    cells = [None if hole else names[c] for c, hole in zip(codes.tolist(), holes, strict=True)]
    labels, by_text = tuple(cells), tuple(sorted(names))
    kind = rng.choice(["object", "string", "category", "ordered", "unused", "str-nan"])
    if kind == "object":
        return Column(pd.Series(cells, dtype=object), None, labels, by_text)
    if kind == "str-nan":
        nan = [float("nan") if c is None else c for c in cells]
        return Column(pd.Series(nan, dtype=object), None, labels, by_text)
    if kind == "string":
        return Column(pd.Series(cells, dtype="string"), None, labels, by_text)
    order = list(rng.permutation(names))
    if kind == "unused":
        order = ["never", *order, "not once"]
    dtype = pd.CategoricalDtype(order, ordered=kind == "ordered")
    return Column(pd.Series(cells, dtype=object).astype(dtype), None, labels, tuple(order))


def grouping(rng: Rng, codes: NDArray[np.int64], holes: NDArray[np.bool_]) -> Column:
    """Labels of any type: for grouping factors, of which only the partition matters."""
    labels = tuple(None if hole else f"k{c}" for c, hole in zip(codes.tolist(), holes, strict=True))
    makers = [_text_groups, _number_groups, _time_groups, _mixed]
    made = makers[int(rng.choice(4, p=[0.44, 0.4, 0.15, 0.01]))](rng, codes, holes)
    return Column(made, labels=labels)


def _text_groups(rng: Rng, codes: NDArray[np.int64], holes: NDArray[np.bool_]) -> Any:
    return text_factor(rng, codes, holes).stored


def _number_groups(rng: Rng, codes: NDArray[np.int64], holes: NDArray[np.bool_]) -> Any:
    step, shift = int(rng.choice([1, 3, -1])), int(rng.choice([0, 100, -7]))
    values = codes * step + shift
    kind = rng.choice(["int64", "int16", "Int64", "float64", "category", "bool", "decimal"])
    if kind == "bool" and codes.max(initial=0) <= 1:
        return pd.Series(codes.astype(bool)).astype("boolean").mask(holes)
    if kind == "category":
        return pd.Series(pd.Categorical(pd.Series(values).where(~holes)))
    if kind == "decimal":
        return pd.Series(
            [None if h else Decimal(int(v)) for v, h in zip(values, holes, strict=True)],
            dtype=object,
        )
    if kind == "Int64" or (kind.startswith("int") and holes.any()):
        return pd.Series(values).astype("Int64").mask(holes)
    if kind.startswith("int"):
        return pd.Series(values.astype(kind))
    return pd.Series(np.where(holes, np.nan, values / 4.0))


def _time_groups(rng: Rng, codes: NDArray[np.int64], holes: NDArray[np.bool_]) -> Any:
    kind = rng.choice(["datetime", "zoned", "timedelta", "date"])
    if kind == "timedelta":
        return pd.Series(pd.to_timedelta(codes, unit="h")).mask(holes)
    stamps = pd.Series(pd.Timestamp("2020-02-28") + pd.to_timedelta(codes, unit="D"))
    if kind == "date":
        days = [datetime.date(2020, 2, 28) + datetime.timedelta(days=int(c)) for c in codes]
        return pd.Series([None if h else d for d, h in zip(days, holes, strict=True)], dtype=object)
    stamps = stamps.mask(holes)
    return stamps.dt.tz_localize("Europe/Berlin") if kind == "zoned" else stamps


def _mixed(rng: Rng, codes: NDArray[np.int64], holes: NDArray[np.bool_]) -> Any:
    """Numbers and the same numbers as text, or text with Python's own strings."""
    as_text = rng.random(len(codes)) < 0.5
    return pd.Series(
        [
            None if hole else (str(c) if text else c)
            for c, text, hole in zip(codes.tolist(), as_text, holes, strict=True)
        ],
        dtype=object,
    )
