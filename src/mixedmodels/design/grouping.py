"""Grouping factors: levels of interactions, their order, and which factors are nested.

Detection is from the data, not from the formula: ``(1 | batch) + (1 | sample)`` is nested when each
sample lies in one batch, whatever its labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedmodels.design.levels import Factor
from mixedmodels.errors import DataError

Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Structure:
    """How the grouping factors lie in each other.

    Attributes
    ----------
    nested : bool
        True when every factor is nested in the next.
    parents : tuple of ndarray of int
        If nested, for each factor but the last the level of the next factor that holds a level.
    """

    nested: bool
    parents: tuple[NDArray[np.intp], ...]


def group_levels(variables: Sequence[str], groups: Mapping[str, Factor]) -> tuple[Codes, list[str]]:
    """Codes per row and labels of the observed combinations of some columns.

    Levels are ordered as the columns' own levels are, the last column fastest.
    """
    first = groups[variables[0]]
    if len(variables) == 1:
        return first.codes, [v if isinstance(v, str) else str(v) for v in first.levels]
    codes, labels = first.codes, part_labels(first)
    for name in variables[1:]:
        factor = groups[name]
        parts, width = part_labels(factor), len(factor.levels)
        combined = codes * width + factor.codes
        present, codes = observed(combined, len(labels) * width)
        labels = [f"{labels[at // width]}:{parts[at % width]}" for at in present.tolist()]
    return codes, labels


def part_labels(factor: Factor) -> list[str]:
    """Labels that can be joined by colons: one that holds a colon itself is quoted."""
    return [repr(s) if ":" in s else s for s in map(str, factor.levels)]


def observed(combined: Codes, size: int) -> tuple[Codes, Codes]:
    """Sorted distinct values of codes below `size`, and each row's rank among them."""
    if size <= max(4 * len(combined), 1_000_000):
        seen = np.bincount(combined, minlength=size) > 0
        present = np.flatnonzero(seen)
        rank = np.cumsum(seen) - 1
        return present, rank[combined]
    present, codes = np.unique(combined, return_inverse=True)
    return present, codes


def find_structure(codes: Sequence[Codes], sizes: Sequence[int]) -> Structure:
    """Nesting of factors given from the most levels to the fewest."""
    parents = []
    for fine, coarse, size in zip(codes, codes[1:], sizes, strict=False):
        parent = np.zeros(size, np.intp)
        parent[fine] = coarse
        if not np.array_equal(parent[fine], coarse):
            return Structure(nested=False, parents=())
        parents.append(parent)
    return Structure(nested=True, parents=tuple(parents))


def check_group(name: str, text: str, n_levels: int, n_effects: int, n: int) -> None:
    """Refuse groupings whose variance cannot be told from the residual.

    Raises
    ------
    DataError
        One level; as many levels as rows; as many random effects as rows.
    """
    if n_levels < 2:
        raise DataError(
            f"grouping factor '{name}' has 1 level: a variance between groups cannot be estimated. "
            f"Drop the term {text}, or fit a model without random effects with mm.lm()"
        )
    if n_levels >= n:
        raise DataError(
            f"grouping factor '{name}' has as many levels ({n_levels}) as rows ({n}): its variance "
            f"and the residual variance cannot be told apart. Drop {text}, or group by a column "
            "that has several rows per level"
        )
    if n_effects >= n:
        raise DataError(
            f"{n} observations <= {n_effects} random effects for {text}: its variances and the "
            "residual variance cannot be told apart. Take columns out of the term"
        )
