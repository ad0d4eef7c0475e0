"""What the tests of plots share: models fitted once, and drawing without a screen."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

import mixedmodels as mm

PIGS = {"id": "animal", "time": "time", "response": "BW"}


@cache
def piglets() -> pd.DataFrame:
    return mm.datasets.load("piglets")


@cache
def slopes() -> Any:
    return mm.lmer("BW ~ time + I(time^2) + treatm + (time | animal)", piglets())


@cache
def intercepts() -> Any:
    return mm.lmer("BW ~ time + (1 | animal)", piglets())


def hostile(n: int = 24) -> pd.DataFrame:
    """Names and labels that formulas, mathematics and markup would stumble over."""
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "pig $id$ {x}": np.repeat(np.arange(n), 6),
            "when ~ + (t)": np.tile(pd.date_range("2024-01-01", periods=6, freq="MS"), n),
            "weight $a$ & $b^{": rng.normal(size=6 * n).cumsum() / 10.0,
            "PANEL": np.repeat(["$x^{", "<script>&" * 30, "c"], 2 * n),
        }
    )


HOSTILE = {"id": "pig $id$ {x}", "time": "when ~ + (t)", "response": "weight $a$ & $b^{"}


def draw(plot: Any) -> bytes:
    """The picture; any warning is an error in these tests."""
    out = io.BytesIO()
    plot.save(out, format="png", dpi=30, verbose=False)
    return out.getvalue()


def layer(plot: Any, kind: str) -> pd.DataFrame:
    """The rows of the first layer of a kind, its own or those of the plot."""
    found = next(x for x in plot.layers if type(x.geom).__name__ == f"geom_{kind}")
    own = found._data
    return plot.data if own is None else own


def kinds(plot: Any) -> list[str]:
    return [type(x.geom).__name__.removeprefix("geom_") for x in plot.layers]


def titles(plot: Any) -> dict[str, str]:
    return {name: getattr(plot.labels, name) for name in ("x", "y", "caption", "color", "fill")}
