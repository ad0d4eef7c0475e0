"""Fits that several tests share, each made once, and plain views of their results."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import mixedmodels as mm
from mixedmodels.errors import MixedModelsWarning
from tests.reference import data, names


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted model and the classes of the warnings that the fit issued."""

    model: Any
    warned: frozenset[type[Warning]]


def recorded(make: Callable[[], Any]) -> Fit:
    """Run a fit; keep our own warnings for a look, let any other be an error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", MixedModelsWarning)
        model = make()
    return Fit(model, frozenset(w.category for w in caught))


@cache
def reference_fit(model_id: str) -> Fit:
    """The fit of one model of values/models.json."""
    spec = data.figures("models")[model_id]
    frame = data.load(spec["dataset"])
    options = {key: spec[key] for key in ("weights", "contrasts") if spec[key] is not None}
    return recorded(lambda: mm.lmer(spec["formula"], frame, reml=spec["reml"], **options))


def criterion(model: Any) -> float:
    """What was minimised: the REML criterion, or -2 log L."""
    return float(model.deviance if model.reml_criterion is None else model.reml_criterion)


def our_terms(spec: Mapping[str, Any], r_names: list[str]) -> list[str]:
    """Names of mixedmodels for R's names of one set of columns of a reference model."""
    polynomial = [column for column, kind in (spec["contrasts"] or {}).items() if kind == "poly"]
    return names.terms(r_names, data.levels(spec["dataset"]), polynomial)


def modes(model: Any) -> dict[tuple[str, str, str], tuple[float, float]]:
    """(group, level, term) -> (conditional mode, its standard deviation)."""
    frame = model.ranef()
    columns = (frame[name] for name in ("group", "level", "term", "estimate", "std_error"))
    return {
        (group, str(level), term): (estimate, std_error)
        for group, level, term, estimate, std_error in zip(*columns, strict=True)
    }


def standard_deviations(model: Any) -> dict[tuple[str, str], float]:
    """(group, term) -> standard deviation, without the residual."""
    frame = model.varcorr()
    rows = zip(frame["group"], frame["term"], frame["sd"], strict=True)
    return {
        (group, term): sd for group, term, sd in rows if group != "Residual" and np.isfinite(sd)
    }


def factors_of(theta: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Lower triangular relative factors, one a term, from theta (column-major)."""
    result, start = [], 0
    for size in sizes:
        factor = np.zeros((size, size))
        columns, rows = np.triu_indices(size)  # the lower triangle, column by column
        factor[rows, columns] = theta[start : start + rows.size]
        start += rows.size
        result.append(factor)
    if start != len(theta):
        raise ValueError(f"theta has {len(theta)} entries, the terms need {start}")
    return result
