"""Transformed responses: from the scale of the model back to the response's own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
from mixedmodels.model.record import Fit


@dataclass(frozen=True, slots=True)
class Scale:
    """A transformation of the response and its inverse.

    Attributes
    ----------
    name : str
        The function, ``'log'``.
    inverse, slope : callable
        From the model's scale to the response's, and the derivative of that.
    shift : float
        Added to the response before the transformation.
    is_log : bool
        Differences are logarithms of ratios.
    """

    name: str
    inverse: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    shift: float
    is_log: bool

    def back(self, values: Array) -> Array:
        """Values on the response's scale."""
        return self.inverse(values) - self.shift


LN2, LN10 = float(np.log(2.0)), float(np.log(10.0))
_KNOWN: Mapping[str, tuple[Callable[[Array], Array], Callable[[Array], Array], bool]] = {
    "log": (np.exp, np.exp, True),
    "log2": (np.exp2, lambda x: np.exp2(x) * LN2, True),
    "log10": (lambda x: np.exp(x * LN10), lambda x: np.exp(x * LN10) * LN10, True),
    "log1p": (np.expm1, np.exp, False),
    # below zero the square would rise again
    "sqrt": (lambda x: np.square(np.maximum(x, 0.0)), lambda x: 2.0 * np.maximum(x, 0.0), False),
}
_FORM = re.compile(rf"({'|'.join(_KNOWN)})\((`[^`]+`|[\w.]+)(?: \+ ([\d.eE+-]+))?\)")


def transformation(fit: Fit) -> str | None:
    """The response as the formula has it, if it is more than a column."""
    response = fit.design.formula.response
    if response is None or re.fullmatch(r"`[^`]+`|[\w.]+", response.text):
        return None
    return response.text


def response_scale(fit: Fit) -> Scale:
    """How to get back from a transformed response.

    Raises
    ------
    ModelError
        The response is not transformed, or in a way whose inverse is not known.
    """
    text = transformation(fit)
    if text is None:
        raise ModelError("type='response': the response of the model is not transformed")
    found = _FORM.fullmatch(text)
    if found is None:
        raise ModelError(
            f"type='response': the inverse of {text} is not known; there are {', '.join(_KNOWN)} "
            "of a column, or of a column plus a number"
        )
    inverse, slope, is_log = _KNOWN[found[1]]
    return Scale(found[1], inverse, slope, float(found[3] or 0.0), is_log)
