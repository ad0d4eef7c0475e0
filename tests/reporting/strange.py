"""Data whose names and labels would like to be something else than text."""

from __future__ import annotations

import numpy as np
import pandas as pd

EVIL, FORMULA_CELL, EMOJI = "<script>alert(1)</script>", '=cmd("|calc")', "🐥 👩‍🌾"
RIGHT_TO_LEFT, OVERRIDE = "עברית", "a\u202eb"
QUOTES = '"><img src=http://evil.example onerror=alert(1)>'


def hostile() -> tuple[pd.DataFrame, dict[str, str]]:
    """Rows whose columns and levels would like to be something else than text."""
    rng = np.random.default_rng(8)
    subjects, times = 14, np.arange(7.0)
    names = [EVIL, FORMULA_CELL, EMOJI, RIGHT_TO_LEFT, OVERRIDE, QUOTES, "$x_1^2$", "&amp;"]
    labels = [*names, *(f"s{i}" for i in range(subjects - len(names)))]
    frame = pd.DataFrame(
        {
            "<b>id</b>": np.repeat(labels, len(times)),
            "day": np.tile(times, subjects),
            "arm <i>": np.repeat(np.resize([EVIL, OVERRIDE], subjects), len(times)),
        }
    )
    slopes = np.repeat(rng.normal(1.0, 0.4, subjects), len(times))
    frame["y"] = 3.0 + slopes * frame["day"] + rng.normal(0.0, 0.5, len(frame))
    frame["y"] += np.repeat(rng.normal(0.0, 1.0, subjects), len(times))
    return frame, {"day": f"day {QUOTES}"}
