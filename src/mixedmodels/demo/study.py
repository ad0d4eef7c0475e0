"""What all stages of the walk share: the piglets and the models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mixedmodels as mm
from mixedmodels.demo.article import FORMULAS

WHO: Mapping[str, Any] = {"id": "animal", "time": "time", "response": "BW"}
LABELS: Mapping[str, str] = {"BW": "Body weight (kg)", "time": "Day", "treatm": "Treatment"}


@dataclass(frozen=True, eq=False)
class Study:
    """The data, the models by name, and the milliseconds that all fits took.

    Attributes
    ----------
    data : pandas.DataFrame
    models : mapping of str to FittedModel
    milliseconds : float
    """

    data: Any
    models: Mapping[str, mm.FittedModel]
    milliseconds: float

    @classmethod
    def fitted(cls) -> Study:
        """Read the data and fit all models by maximum likelihood."""
        data = mm.datasets.load("piglets")
        start = time.perf_counter()
        models = {name: mm.lmer(text, data, reml=False) for name, text in FORMULAS.items()}
        return cls(data, models, 1000.0 * (time.perf_counter() - start))
