"""Input builder for hostile inputs, and a fit that watches its surroundings."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

import mixedmodels as mm
from mixedmodels.errors import MixedModelsWarning

# y ~ x + (1|g) on base(), as lme4 1.1-31 gives it (REML)
LOGLIK, THETA, SIGMA, SLOPE = -154.520455, 1.519471, 1.004621, 0.601874
SIMPLE = "y ~ x + (1|g)"

Builder = Callable[[], tuple[Any, dict[str, Any]]]


def base(
    seed: int = 1, G: int = 12, m: int = 8, sd0: float = 1.0, sd1: float = 0.5, sigma: float = 1.0
) -> pd.DataFrame:
    """y ~ 1 + x + (1 + x | g): balanced, G*m rows, groups 'g00'.., z ~ N(0,1), f in {a,b,c}."""
    rng = np.random.default_rng(seed)
    gi = np.repeat(np.arange(G), m)
    n = G * m
    x = rng.normal(size=n)
    z = rng.normal(size=n)
    f = np.tile(list("abc"), n // 3 + 1)[:n]
    b0 = rng.normal(size=G) * sd0
    b1 = rng.normal(size=G) * sd1
    y = 2 + 0.7 * x + b0[gi] + b1[gi] * x + rng.normal(size=n) * sigma
    return pd.DataFrame({"y": y, "x": x, "z": z, "f": list(f), "g": [f"g{i:02d}" for i in gi]})


def changed(rows: Any = None, /, **columns: Any) -> pd.DataFrame:
    """`base()` with columns replaced; a callable gets the frame; with `rows`, only there."""
    frame = base()
    for name, value in columns.items():
        made = value(frame) if callable(value) else value
        if rows is None:
            frame[name] = made
        else:
            frame.loc[rows, name] = made
    return frame


def watched(formula: Any, data: Any, **kw: Any) -> tuple[mm.FittedModel, list[type[Warning]]]:
    """Fit; nothing may be printed, the data must stay, warnings must be ours and point here."""
    with unchanged(data), silence(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = mm.lmer(formula, data, **kw)
    for warning in caught:
        assert issubclass(warning.category, MixedModelsWarning), warning
        assert warning.filename == __file__, warning
    assert np.isfinite([model.loglik, model.sigma, *model.beta, *model.theta]).all()
    return model, [warning.category for warning in caught]


@contextlib.contextmanager
def silence() -> Any:
    """Nothing may be printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        yield
    assert out.getvalue() == ""


@contextlib.contextmanager
def unchanged(data: Any) -> Any:
    """A pandas frame must stay what it is, to the last attribute."""
    if not isinstance(data, pd.DataFrame):
        yield
        return
    before = data.copy(deep=True)
    try:
        yield
    finally:
        pd.testing.assert_frame_equal(data, before, check_flags=True)
        assert data.index.names == before.index.names
        assert data.attrs == before.attrs
