"""The variables of a reference grid: their values, where the rows lie, which lie within others."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import suggestion
from mixedmodels.arrays import Array
from mixedmodels.design.frame import column_values, read
from mixedmodels.design.levels import Factor, Level
from mixedmodels.engines.moments import Moments
from mixedmodels.errors import ModelError
from mixedmodels.formula.render import column_source
from mixedmodels.model.record import Fit


@dataclass(frozen=True, slots=True, eq=False)
class Variable:
    """One variable of the grid.

    Attributes
    ----------
    name : str
    values : tuple
        Levels of a factor, or numbers.
    codes : ndarray of int, shape (n,), optional
        Position in `values` for each row of the fit, -1 for other levels; None for values that are
        not those of the data (means, and values that were asked for), or without data.
    width : float
        Range of a covariate in the data; nan if not known.
    is_factor : bool
    """

    name: str
    values: tuple[Level, ...]
    codes: NDArray[np.intp] | None
    width: float = math.nan
    is_factor: bool = False

    def texts(self) -> tuple[str, ...]:
        """The values as text."""
        return tuple(f"{v:.15g}" if isinstance(v, float) else str(v) for v in self.values)

    def labels(self) -> tuple[str, ...]:
        """Names of the values, with the variable's where they are numbers."""
        texts = self.texts()
        numeric = all(map(_is_number, texts))
        return tuple(f"{self.name}{text}" if numeric else text for text in texts)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


# --- reading --------------------------------------------------------------------------------------


def read_variables(fit: Fit, at: Mapping[str, Any] | None) -> tuple[dict[str, Variable], float]:
    """The variables of the fixed part, and the mean of the offset that was given as an argument.

    Raises
    ------
    ModelError
        Unknown variables or levels; means that need the data of a model that does not hold them.
    """
    formula = fit.design.formula
    in_offsets = (name for part in formula.offsets for name in part.variables)
    names = list(dict.fromkeys([*formula.fixed_variables, *in_offsets]))
    given = _checked_at(fit, at, names)
    sample, offset = _sample(fit, names)
    return {name: _variable(fit, name, given.get(name), sample) for name in names}, offset


def unknown_name(name: Any, known: Sequence[str], what: str, fit: Fit) -> ModelError:
    """The error for a name that the grid does not have."""
    groups = {v for group in fit.design.groups for v in group.variables}
    hint = suggestion(name, known)
    if name in groups:
        hint = ", but a grouping factor of random terms: for its levels see coef() and predict()"
    has = f"they are {', '.join(known)}" if known else "there are none"
    return ModelError(f"{what}: {name!r} is no variable of the fixed part{hint}; {has}")


def _checked_at(
    fit: Fit, at: Mapping[str, Any] | None, names: Sequence[str]
) -> dict[str, tuple[Any, ...]]:
    """Values as tuples, under the names of the grid."""
    if at is None:
        return {}
    if not isinstance(at, Mapping):
        raise ModelError(f"at must be a dict such as {{'time': [0, 21]}}, not {at!r}")
    given: dict[str, tuple[Any, ...]] = {}
    for name, value in at.items():
        if name not in names:
            raise unknown_name(name, names, "at", fit)
        single = isinstance(value, str | bytes) or np.ndim(value) == 0
        values = (value,) if single else tuple(np.asarray(value, dtype=object).tolist())
        if not values:
            raise ModelError(f"at: no values are given for '{name}'")
        given[name] = values
    return given


@dataclass(frozen=True, slots=True, eq=False)
class _Sample:
    """The grid's variables on the rows of the fit."""

    numbers: dict[str, Array]
    factors: dict[str, Factor]


def _sample(fit: Fit, names: Sequence[str]) -> tuple[_Sample | None, float]:
    """Read the variables again; None if the model does not hold its data."""
    source = fit.source
    if source.sums is not None and "offset" not in source.arrays:
        return _sample_of_cells(source.sums, names), 0.0
    if source.data is None:
        if source.sums is not None:
            raise ModelError(
                "the mean of the offset is not among the sums that the model was fitted to: fit "
                "the rows in memory, or take the offset off the response in the table"
            )
        if "offset" in source.arrays:
            raise ModelError(
                "the mean of the offset needs the data, which the model does not hold (it was "
                "loaded from a file): write the file with mm.save(model, path, data=True)"
            )
        return None, 0.0
    arrays = {}
    if "offset" in source.arrays:
        value = source.arrays["offset"]
        text = isinstance(value, str)
        arrays["offset"] = column_values(source.data, value, "offset") if text else value
    if not names and not arrays:
        return _Sample({}, {}), 0.0
    categorical = [name for name in names if name in fit.design.factors]
    columns = read(source.data, names, categorical=categorical, arrays=arrays)
    keep: Any = slice(None)
    if source.complete is not None:
        keep = source.complete if columns.complete is None else source.complete[columns.complete]
    numbers = {name: values[keep] for name, values in columns.numbers.items()}
    factors = {n: replace(f, codes=f.codes[keep]) for n, f in columns.factors.items()}
    offset = float(columns.arrays["offset"][keep].mean()) if arrays else 0.0
    return _Sample(numbers, factors), offset


def _sample_of_cells(sums: Moments, names: Sequence[str]) -> _Sample:
    """The categories of the cells, which stand for their rows."""
    keys = {name: sums.keys[name] for name in names if name in sums.keys}
    numbers = {
        name: np.array(key.levels, np.float64)[key.codes]
        for name, key in keys.items()
        if name in sums.numbers
    }
    return _Sample(numbers, keys)


def _variable(
    fit: Fit, name: str, given: tuple[Any, ...] | None, sample: _Sample | None
) -> Variable:
    known = fit.design.factors
    if name in known:
        values = _levels(name, known[name][0], given)
        codes = None
        if sample is not None:
            place = {str(level): i for i, level in enumerate(values)}
            factor = sample.factors[name]
            found = np.array([place.get(str(level), -1) for level in factor.levels], np.intp)
            codes = found[factor.codes]
        return Variable(name, values, codes, is_factor=True)
    numbers = None if sample is None else sample.numbers.get(name)
    width = math.nan if numbers is None else float(np.ptp(numbers))
    if f"factor({name})" in known and _is_factor_in(fit.design.formula.fixed, name):
        levels = known[f"factor({name})"][0]
        values = _levels(name, levels, given)
        codes = None if numbers is None else _positions(numbers, values)
        return Variable(name, values, codes, width, is_factor=True)
    if given is not None:
        return Variable(name, _finite(name, given), None, width)
    summary = None if fit.source.sums is None else fit.source.sums.spread(name)
    if summary is not None:
        mean, low, high, two = summary
        values = tuple(dict.fromkeys((low, high))) if two else (mean,)
        return Variable(name, values, None, high - low)
    if numbers is None:
        raise ModelError(
            f"the mean of '{name}' needs the data, which the model does not hold (it was loaded "
            f"from a file): give at={{'{name}': ...}}"
        )
    low, high = float(numbers.min()), float(numbers.max())
    if ((numbers == low) | (numbers == high)).all():  # as good as a factor of one or two levels
        both = (low, high) if high > low else (low,)
        return Variable(name, both, _positions(numbers, both), width)
    return Variable(name, (float(numbers.mean()),), None, width)


def _is_factor_in(source: str, name: str) -> bool:
    """Whether a number stands as a factor in the fixed part, not only in random terms."""
    call = r"fn_(?:factor|C|ordered|relevel)\(" + re.escape(column_source(name)) + r"[,)]"
    return re.search(call, source) is not None


def _levels(name: str, known: Sequence[Level], given: tuple[Any, ...] | None) -> tuple[Level, ...]:
    """The levels asked for, matched by their text."""
    if given is None:
        return tuple(known)
    by_text = {_text(level): level for level in known}
    chosen = []
    for value in given:
        if _text(value) not in by_text:
            shown = ", ".join(repr(level) for level in known[:12])
            more = ", ..." if len(known) > 12 else ""
            hint = suggestion(_text(value), list(by_text))
            raise ModelError(
                f"at: {value!r} is no level of '{name}'{hint}; its levels are {shown}{more}"
            )
        chosen.append(by_text[_text(value)])
    return tuple(dict.fromkeys(chosen))


def _text(value: Any) -> str:
    """Text of a level; 1.0 is the level 1."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _finite(name: str, given: tuple[Any, ...]) -> tuple[float, ...]:
    try:
        values = tuple(float(value) for value in given)
    except (TypeError, ValueError):
        values = (math.nan,)
    if not all(map(math.isfinite, values)):
        raise ModelError(
            f"at: '{name}' is a number in the fit, so give finite numbers, not {given!r}"
        )
    return tuple(dict.fromkeys(values))


def _positions(numbers: Array, values: Sequence[Any]) -> NDArray[np.intp]:
    """Position of each number in some distinct values, -1 where it is none of them."""
    exact = np.array(values, dtype=np.float64)
    order = np.argsort(exact)
    at = np.minimum(np.searchsorted(exact, numbers, sorter=order), len(exact) - 1)
    found = order[at]
    return np.where(exact[found] == numbers, found, -1)


# --- nesting --------------------------------------------------------------------------------------


def terms_of(fit: Fit, names: Sequence[str]) -> list[frozenset[str]]:
    """Variables of the grid that each term of the fixed part reads."""
    spec = fit.design.specs[fit.design.formula.fixed]
    known = set(names)
    return [
        frozenset(str(v) for v in variables) & known for variables in spec.term_variables.values()
    ]


def nesting(fit: Fit, variables: Mapping[str, Variable]) -> dict[str, tuple[str, ...]]:
    """Factors whose levels mean something only within levels of other factors.

    Either each level occurs with a single level of the other factor; or the factor has no term of
    its own and stands only in products with the other, which has.
    """
    factors = [v for v in variables.values() if v.is_factor and len(v.values) > 1]
    if len(factors) < 2 or fit.source.data is None:
        return {}
    found = {v.name: set(_by_data(v, factors)) for v in factors}
    for name, outer in _by_terms(fit, [v.name for v in factors]).items():
        found[name] |= outer
    return {
        name: tuple(v.name for v in factors if v.name in outer)
        for name, outer in found.items()
        if outer
    }


def _by_data(inner: Variable, factors: Sequence[Variable]) -> Iterator[str]:
    """Factors of which every level of `inner` sees one level only; of two alike, the later one."""
    assert inner.codes is not None
    size = len(inner.values)
    for place, outer in enumerate(factors):
        least = size if place > factors.index(inner) else size - 1
        if outer is inner or len(outer.values) > least:
            continue
        assert outer.codes is not None
        both = (inner.codes >= 0) & (outer.codes >= 0)
        cell = (inner.codes * len(outer.values) + outer.codes)[both]
        seen = np.bincount(cell, minlength=size * len(outer.values)).reshape(size, -1) > 0
        if (seen.sum(axis=1) <= 1).all():
            yield outer.name


def _by_terms(fit: Fit, names: Sequence[str]) -> dict[str, set[str]]:
    """Factors without a term of their own, and those that all their terms multiply them with."""
    terms = terms_of(fit, names)
    alone = {name for name in names if frozenset((name,)) in terms}
    found = {
        name: set.intersection(*(set(term) for term in terms if name in term)) - {name}
        for name in names
        if name not in alone
    }
    # of two that stand only in one product neither lies in the other
    return {
        name: {other for other in outer if name not in found.get(other, set())}
        for name, outer in found.items()
    }
