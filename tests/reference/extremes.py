"""Data sets at the ends of the number line, for the table of docs/numbers.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import numpy as np
import pandas as pd


def plain() -> pd.DataFrame:
    """300 rows in 30 groups; x is a multiple of 2**-20, so that shifts by up to 2**32 are exact."""
    rng = np.random.default_rng(9)
    g = np.repeat(np.arange(30), 10)
    x = np.round(rng.normal(size=300) * 2**20) / 2**20
    y = 2 + 0.7 * x + rng.normal(size=30)[g] + rng.normal(size=300)
    return pd.DataFrame({"y": y, "x": x, "g": g, "w": 1.0})


def ratio(variance: float) -> pd.DataFrame:
    """The optimum is near theta**2 = variance, however small: the means of groups are made so."""
    data = plain()
    g, x = data["g"].to_numpy(), data["x"].to_numpy()
    x = x - data.groupby("g")["x"].transform("mean").to_numpy()
    rng = np.random.default_rng(10)
    within = rng.normal(size=300)
    within -= np.bincount(g, within)[g] / 10
    within -= x * (x @ within) / (x @ x)
    means = rng.normal(size=30)
    means -= means.mean()
    target = within @ within / (300 - 30 - 1) * (1 + 10 * variance)
    means *= np.sqrt(target * 29 / (10 * (means @ means)))
    return data.assign(x=x, y=2 + 0.7 * x + means[g] + within)


def tiny_groups() -> pd.DataFrame:
    """200 groups of one row, 50 of two."""
    rng = np.random.default_rng(11)
    g = np.concatenate([np.arange(200), np.repeat(np.arange(200, 250), 2)])
    x = rng.normal(size=300)
    y = 2 + 0.7 * x + rng.normal(size=250)[g] + rng.normal(size=300)
    return pd.DataFrame({"y": y, "x": x, "g": g, "w": 1.0})


def weighted(decades: float) -> pd.DataFrame:
    """Weights from 10**-decades to 10**decades."""
    return plain().assign(w=10.0 ** np.random.default_rng(12).uniform(-decades, decades, 300))


def near_singular(part: float) -> pd.DataFrame:
    """x is constant but for `part` of it."""
    data = plain()
    return data.assign(x=1.0 + part * data["x"])


CASES: Mapping[str, Callable[[], pd.DataFrame]] = {
    "plain": plain,
    "x + 1e4": lambda: plain().assign(x=lambda d: d["x"] + 1e4),
    "x + 1e6": lambda: plain().assign(x=lambda d: d["x"] + 1e6),
    "x + 1e8": lambda: plain().assign(x=lambda d: d["x"] + 1e8),
    "x * 1e-9": lambda: plain().assign(x=lambda d: d["x"] * 1e-9),
    "x * 1e9": lambda: plain().assign(x=lambda d: d["x"] * 1e9),
    "x = 1 + 1e-6 x": lambda: near_singular(1e-6),
    "y + 1e8": lambda: plain().assign(y=lambda d: d["y"] + 1e8),
    "y * 1e-9": lambda: plain().assign(y=lambda d: d["y"] * 1e-9),
    "y * 1e9": lambda: plain().assign(y=lambda d: d["y"] * 1e9),
    "ratio 1e-10": lambda: ratio(1e-10),
    "ratio 1e-6": lambda: ratio(1e-6),
    "ratio 1e-2": lambda: ratio(1e-2),
    "ratio 1e2": lambda: ratio(1e2),
    "ratio 1e6": lambda: ratio(1e6),
    "ratio 1e10": lambda: ratio(1e10),
    "groups of 1 and 2": tiny_groups,
    "weights 1e-4 to 1e4": lambda: weighted(4),
    "weights 1e-8 to 1e8": lambda: weighted(8),
}


@cache
def frame(case: str) -> pd.DataFrame:
    """The data of one row of the table."""
    return CASES[case]()
