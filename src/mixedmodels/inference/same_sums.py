"""Models fitted to sums of their own, put on the sums of one of them, to stand side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixedmodels.engines.moments import Moments
from mixedmodels.errors import FormulaError, ModelError
from mixedmodels.formula.parse import parse
from mixedmodels.model.fit import fit_quietly
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.record import Fit

# relative difference of a criterion that is rounding of the sums
ROUNDING = 1e-7


def on_same_sums(named: Mapping[str, Any]) -> dict[str, Any]:
    """The models on one set of sums, if one serves all formulas; else as they are.

    Raises
    ------
    ModelError
        On the sums of another, a model has another criterion: the rows differ.
    """
    fits = list(named.values())
    every = {id(fit.source.sums): fit.source.sums for fit in fits}
    if len(every) < 2 or None in every.values():
        return dict(named)
    shared = next((s for s in every.values() if _serves(s, fits)), None)
    if shared is None:
        return dict(named)
    return {name: _moved(name, fit, shared) for name, fit in named.items()}


def _serves(sums: Moments, fits: Sequence[Fit]) -> bool:
    try:
        for fit in fits:
            sums.plan(parse(fit.formula, sums.names))
    except FormulaError:
        return False
    return all(
        fit.source.arrays.get(role) == getattr(sums, role)
        for fit in fits
        for role in ("weights", "offset")
    )


def _moved(name: str, fit: Fit, sums: Moments) -> Fit:
    if fit.source.sums is sums:
        return fit
    moved = FittedModel.of(fit_quietly(fit, sums))
    if abs(moved.criterion - fit.criterion) > ROUNDING * max(1.0, abs(fit.criterion)):
        raise ModelError(
            f"{name!r} was fitted to other rows than the models beside it: its criterion is "
            f"{fit.criterion:.6f}, and {moved.criterion:.6f} on their rows. Fit all models to one "
            "mm.Moments"
        )
    return moved
