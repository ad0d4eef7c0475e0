"""The verbs that every block storage type answers, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.likelihood.nested import Derivatives


class Blocks(Protocol):
    """What a storage type must answer.

    Effects and products are one array of shape (q, columns, n_levels) per grouping factor;
    `reduced` is what the storage's own `reduce` gave.

    Attributes
    ----------
    cross : ndarray of shape (w, w)
        ``[X y]' W [X y]``.
    exact_hessian : bool
        Whether second derivatives are exact (one factor).
    cheap : bool
        Whether an evaluation per variance parameter, for differences, costs nothing to speak of.
    seconds : float
        What an evaluation is expected to take, where that may be long.
    short_steps : bool
        Whether threads of linear algebra would only be in the way.
    """

    cross: Array
    exact_hessian: bool
    cheap: bool
    seconds: float
    short_steps: bool

    def per_factor(self) -> list[Array]:
        """``Z'W [Z | X y]`` of each factor alone."""
        ...

    def reduce(self, factors: Sequence[Array]) -> Any:
        """Eliminate the random effects."""
        ...

    def derivatives(
        self, reduced: Any, factors: Sequence[Array], weight: Array
    ) -> list[Derivatives]:
        """Gradient of ``logdet + <weight, cross>``."""
        ...

    def fixed_products(self) -> list[Array]:
        """``Z'W [X y]`` of each factor."""
        ...

    def cross_times(self, effects: Sequence[Array]) -> list[Array]:
        """``Z'WZ`` times effects."""
        ...

    def forward(self, reduced: Any, factors: Sequence[Array], right: Sequence[Array]) -> Array:
        """``R' Lambda Omega^-1 Lambda' R``."""
        ...

    def conditional_covariance(self, reduced: Any, factors: Sequence[Array]) -> list[Array]:
        """Covariance of the random effects given y and beta."""
        ...

    def spherical(self, reduced: Any, factors: Sequence[Array]) -> list[Array]:
        """``Omega^-1 Lambda' Z' W [X y]`` of every level."""
        ...

    def half_solve(
        self,
        reduced: Any,
        factors: Sequence[Array],
        levels: Sequence[NDArray[np.intp]],
        rows: Sequence[Array],
    ) -> Array:
        """``z' Lambda Omega^-1 Lambda' z`` of rows."""
        ...


def projected(
    blocks: Blocks, factors: Sequence[Array], spherical: Sequence[Array], right: Sequence[Array]
) -> list[Array]:
    """``Z'V^-1 W`` of each factor, from ``Omega^-1 Lambda' Z'W`` and ``Z'W``, shape (q, s, L)."""
    effects = [np.einsum("ab,bsl->asl", f, u) for f, u in zip(factors, spherical, strict=True)]
    return [z - back for z, back in zip(right, blocks.cross_times(effects), strict=True)]
