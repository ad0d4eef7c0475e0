"""What stands where the rows of a fit were, when it does not hold them."""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn

import numpy as np

from mixedmodels.design.build import Rows
from mixedmodels.errors import ModelError

LOADED = (
    "this model was loaded from a file without its rows: predict(newdata), ranef(), tidy() and "
    "update(data=...) work, but fitted values, residuals and refits of its own rows do not; write "
    "the file with mm.save(model, path, data=True) for these"
)
SUMMED = (
    "this model was fitted to sums, and its rows stay where they are: predict(table) gives the "
    "predictions as a column of a table, mm.binned_residuals(m, table) the residuals in bins; "
    "fitted values, residuals and refits of single rows need the rows in memory"
)


class RowsNotKept(Rows):
    """Stands where the rows were: a model without them answers what needs none.

    There are zero responses, and weights and offsets where the fit had some; asking for the
    columns or levels of the rows is an error.

    Parameters
    ----------
    weight_scale : float
        Mean prior weight of the fit.
    weighted, with_offset : bool
        Whether the fit had prior weights, and an offset.
    reason : str
        Why the rows are not there, and what works without them.
    """

    __slots__ = ("reason",)
    reason: str

    def __init__(
        self, weight_scale: float, *, weighted: bool, with_offset: bool, reason: str = LOADED
    ) -> None:
        known = {
            "y": np.empty(0),
            "weights": np.empty(0) if weighted else None,
            "weight_scale": weight_scale,
            "offset": np.empty(0) if with_offset else None,
            "reason": reason,
        }
        for name, value in known.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        described: dict[str, Any] = {
            "weighted": self.weights is not None,
            "with_offset": self.offset is not None,
            "reason": self.reason,
        }
        return partial(RowsNotKept, self.weight_scale, **described), ()

    def __repr__(self) -> str:
        return "RowsNotKept()"

    def _absent(self) -> NoReturn:
        raise ModelError(self.reason)

    base = property(_absent)
    codes = property(_absent)
