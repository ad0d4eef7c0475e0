"""What a column holds, as records: numbers, or codes into an ordered tuple of levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixedmodels.errors import DataError

_LAST_EXACT = 2.0**53  # beyond it floats skip integers: an int would claim digits it has not

Level: TypeAlias = str | int | float | bool
Nature: TypeAlias = Literal["text", "category", "time", "duration"]


@dataclass(frozen=True, slots=True, eq=False)
class Numeric:
    """A column of numbers, in the number type it was stored in (floats always as float64).

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        Booleans, integers or float64; arbitrary where missing. May be a view of the user's data.
    missing : ndarray of bool, shape (n_rows,), or None
        True where there is no value; None when every row has one.
    infinite : ndarray of int
        Positions of infinite values, usually none.
    """

    values: NDArray[Any]
    missing: NDArray[np.bool_] | None
    infinite: NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """A column of labels as codes.

    Parameters
    ----------
    codes : ndarray of int, shape (n_rows,)
        Index into `levels`, -1 where missing.
    levels : tuple
        Every level in its final order; may hold levels that no row uses.
    nature : {"text", "category", "time", "duration"}
        What the labels were; only text and categories can be covariates.
    ordered : bool
        The levels were declared to be ordered.
    """

    codes: NDArray[np.integer[Any]]
    levels: tuple[Level, ...]
    nature: Nature
    ordered: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Factor:
    """A categorical variable on complete rows; each level occurs at least once.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Index into `levels`.
    levels : tuple of str, int, float or bool
        Distinct levels: in the user's order where one was given, else sorted.
    ordered : bool
        The user declared the levels ordered (pandas ``ordered=True``).
    order_given : bool
        The order is the user's (a categorical or enum), not the result of sorting.
    """

    codes: NDArray[np.int64]
    levels: tuple[Level, ...]
    ordered: bool
    order_given: bool


def numeric(values: NDArray[Any], missing: NDArray[np.bool_] | None = None) -> Numeric:
    """Numbers with NaN counted as missing and infinities found.

    Parameters
    ----------
    values : ndarray of bool, int or float, shape (n_rows,)
    missing : ndarray of bool, shape (n_rows,), optional
        For integers and booleans, which cannot hold NaN.

    Returns
    -------
    Numeric
    """
    none = np.empty(0, np.intp)
    if values.dtype.kind != "f":
        return Numeric(values, missing if missing is not None and missing.any() else None, none)
    values = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(values)
    if finite.all():
        return Numeric(values, None, none)
    absent = np.isnan(values)
    return Numeric(values, absent if absent.any() else None, np.flatnonzero(~finite & ~absent))


def make_factor(column: Numeric | Coded, keep: NDArray[np.bool_] | None) -> Factor:
    """Levels and codes of the rows to keep; levels that none of them uses are dropped.

    Parameters
    ----------
    column : Numeric or Coded
    keep : ndarray of bool, shape (n_rows,), or None
        Complete rows; None for all. No kept row may be missing in `column`.

    Returns
    -------
    Factor
    """
    if isinstance(column, Numeric):
        values = column.values if keep is None else column.values[keep]
        codes, levels = _encode_numbers(values)
        return Factor(codes, levels, ordered=False, order_given=False)
    if keep is None and column.nature == "text":  # its levels were read off the same rows
        codes, levels = column.codes.astype(np.int64, copy=False), tuple(column.levels)
    else:
        kept = column.codes if keep is None else column.codes[keep]
        codes, levels = _drop_unused(kept, column.levels)
    return Factor(codes, levels, column.ordered, order_given=column.nature == "category")


# --- numbers as levels ----------------------------------------------------------------------------


def _encode_numbers(values: NDArray[Any]) -> tuple[NDArray[np.int64], tuple[Level, ...]]:
    """Codes and sorted levels of numbers; whole floats are read as ints."""
    if values.dtype.kind == "f":
        if (np.abs(values) <= _LAST_EXACT).all() and (values == np.rint(values)).all():
            values = values.astype(np.int64)
        else:
            values = values + 0.0  # turns -0.0 into 0.0
    if values.dtype.kind == "b":
        codes, levels = _drop_unused(values.astype(np.int64), (0, 1))
        return codes, tuple(bool(level) for level in levels)
    if values.dtype.kind in "iu" and len(values) and not _beyond_int64(values):
        values = values.astype(np.int64, copy=False)
        low, high = int(values.min()), int(values.max())
        if high - low <= 2 * len(values) + 1000:  # a table is cheaper than hashing
            return _drop_unused(values - low, range(low, high + 1))
    import pandas as pd

    codes, uniques = pd.factorize(values, sort=True)
    levels = tuple(_plain(level) for level in uniques.tolist())
    return codes.astype(np.int64, copy=False), levels


def _plain(level: int | float) -> int | float:
    """Read a whole float as an int: 0.5, 1, 2, as R does, whatever the other levels are."""
    whole = isinstance(level, float) and level.is_integer() and abs(level) <= _LAST_EXACT
    return int(level) if whole else level


def _beyond_int64(values: NDArray[Any]) -> bool:
    return values.dtype == np.uint64 and bool(values.max() > np.iinfo(np.int64).max)


def _drop_unused(
    codes: NDArray[Any], levels: Sequence[Level]
) -> tuple[NDArray[np.int64], tuple[Level, ...]]:
    codes = codes.astype(np.int64, copy=False)
    used = np.bincount(codes, minlength=len(levels)) > 0
    if used.all():
        return codes, tuple(levels)
    new_code = np.cumsum(used) - 1
    return new_code[codes], tuple(levels[i] for i in np.flatnonzero(used).tolist())


def rank_of(order: Any) -> NDArray[np.int64]:
    """Place of each level in `order`; the extra last entry keeps the code -1 (missing) at -1."""
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1
    return rank


def labels_of(values: list[Any], name: str) -> tuple[Level, ...]:
    """Categories as levels: text, ints, bools and floats as they are, anything else as text."""
    kinds = {type(value) for value in values}
    if len(kinds) <= 1 and kinds <= {str, int, bool}:
        return tuple(values)
    if kinds <= {int, float}:
        return tuple(_plain(value) for value in values)
    labels = tuple(label_of(value) for value in values)
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DataError(
            f"column '{name}' has several categories that read '{twice}' "
            f"(such as 1 and '1'); rename or merge them"
        )
    return labels


def label_of(value: Any) -> str:
    """Text of a level that is not text; a day without a time of day reads 2020-01-31."""
    if (
        isinstance(value, datetime)
        and value.tzinfo is None
        and value == datetime.combine(value.date(), datetime.min.time())
    ):
        return value.date().isoformat()
    if type(value) is timedelta:  # as pandas has it, so that labels of all libraries are the same
        import pandas as pd

        return str(pd.Timedelta(value))
    return str(value)
