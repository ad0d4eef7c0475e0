"""Families of contrasts of k means: their names and coefficients; no statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mixedmodels.arguments import spelled, suggestion
from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError

POLYNOMIALS = ("linear", "quadratic", "cubic", "quartic")
# polynomials of higher degree are noise in any data
MOST_DEGREES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Contrasts:
    """Contrasts of k means.

    Attributes
    ----------
    names : tuple of str
    coefficients : ndarray of shape (m, k)
    """

    names: tuple[str, ...]
    coefficients: Array


@dataclass(frozen=True, slots=True)
class _Means:
    """What a family is built from: the names of the means, how differences read, the control."""

    names: tuple[str, ...]
    sign: str
    ref: int

    def differences(self, pairs: Sequence[tuple[int, int]]) -> Contrasts:
        """First minus second of each pair."""
        out = np.zeros((len(pairs), len(self.names)))
        for row, (i, j) in zip(out, pairs, strict=True):
            row[i], row[j] = 1.0, -1.0
        return Contrasts(
            tuple(f"{self.names[i]} {self.sign} {self.names[j]}" for i, j in pairs), out
        )


def _pairwise(means: _Means) -> Contrasts:
    return means.differences(list(combinations(range(len(means.names)), 2)))


def _reverse_pairwise(means: _Means) -> Contrasts:
    k = len(means.names)
    return means.differences([(j, i) for j in range(k) for i in range(j)])


def _against_control(means: _Means) -> Contrasts:
    return means.differences([(i, means.ref) for i in range(len(means.names)) if i != means.ref])


def _consecutive(means: _Means) -> Contrasts:
    return means.differences([(i + 1, i) for i in range(len(means.names) - 1)])


def _effects(means: _Means) -> Contrasts:
    k = len(means.names)
    return Contrasts(tuple(f"{name} effect" for name in means.names), np.eye(k) - 1.0 / k)


def _deleted_effects(means: _Means) -> Contrasts:
    k = len(means.names)
    effects = _effects(means)
    return Contrasts(effects.names, effects.coefficients * (k / (k - 1)))


def _mean_changes(means: _Means) -> Contrasts:
    k = len(means.names)
    rows = [np.where(np.arange(k) < i, -1.0 / i, 1.0 / (k - i)) for i in range(1, k)]
    names = [f"{a}|{b}" for a, b in zip(means.names, means.names[1:], strict=False)]
    return Contrasts(tuple(names), np.array(rows))


def _helmert(means: _Means) -> Contrasts:
    """Each mean less the average of those before it."""
    k = len(means.names)
    rows = np.eye(k)[1:]
    for i, row in enumerate(rows, start=1):
        row[:i] = -1.0 / i
    names = [f"{means.names[i]} {means.sign} {_average_of(means.names[:i])}" for i in range(1, k)]
    return Contrasts(tuple(names), rows)


def _average_of(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"mean({', '.join(names)})" if len(names) < 3 else f"mean({names[0]}, ..., {names[-1]})"


def _polynomials(means: _Means) -> Contrasts:
    """Orthogonal polynomials of the positions, as the smallest whole numbers."""
    k = len(means.names)
    places = [Fraction(i) for i in range(k)]
    found: list[list[Fraction]] = [[Fraction(1)] * k]
    while len(found) <= min(k - 1, MOST_DEGREES):
        # next power from the last one: the residual after all lower ones
        new = [x * f for x, f in zip(places, found[-1], strict=True)]
        for old in found:
            share = _product(new, old) / _product(old, old)
            new = [n - share * o for n, o in zip(new, old, strict=True)]
        found.append(_whole(new))
    names = [
        POLYNOMIALS[d] if d < len(POLYNOMIALS) else f"degree {d + 1}" for d in range(len(found) - 1)
    ]
    return Contrasts(tuple(names), np.array(found[1:], dtype=np.float64))


def _product(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


def _whole(values: Sequence[Fraction]) -> list[Fraction]:
    scale = math.lcm(*(v.denominator for v in values))
    divisor = math.gcd(*(int(v * scale) for v in values))
    return [v * scale / divisor for v in values]


# family, and the adjustment that fits it
FAMILIES: Mapping[str, tuple[Callable[[_Means], Contrasts], str]] = {
    "pairwise": (_pairwise, "tukey"),
    "revpairwise": (_reverse_pairwise, "tukey"),
    "trt.vs.ctrl": (_against_control, "dunnettx"),
    "trt.vs.ctrlk": (_against_control, "dunnettx"),
    "dunnett": (_against_control, "dunnettx"),
    "poly": (_polynomials, "none"),
    "eff": (_effects, "fdr"),
    "del.eff": (_deleted_effects, "fdr"),
    "consec": (_consecutive, "mvt"),
    "mean_chg": (_mean_changes, "mvt"),
    "helmert": (_helmert, "none"),
}
ALL_PAIRS = ("pairwise", "revpairwise")


def default_adjustment(method: Any) -> str:
    """The adjustment that goes with a family."""
    return FAMILIES[method][1] if isinstance(method, str) and method in FAMILIES else "none"


def family_name(method: Any) -> Any:
    """A family in our spelling; ``"tukey"`` is all pairs, as in R. Coefficients stay."""
    found = spelled(method, tuple(FAMILIES))
    return "pairwise" if isinstance(found, str) and found.casefold() == "tukey" else found


def make_contrasts(method: Any, names: Sequence[str], sign: str, ref: int | str) -> Contrasts:
    """The contrasts of one family.

    Parameters
    ----------
    method : str, mapping of str to sequence of float, or array of shape (m, k)
    names : sequence of str
        Of the k means.
    sign : str
        Between the names of a difference.
    ref : int or str
        The control, by position or by name.

    Raises
    ------
    ModelError
        An unknown family or control, coefficients of another length, fewer than two means.
    """
    if not isinstance(method, str):
        return _custom(method, names)
    if method not in FAMILIES:
        raise ModelError(
            f"method={method!r} is not known{suggestion(method, FAMILIES)}; use one of "
            f"{', '.join(map(repr, FAMILIES))}, or coefficients"
        )
    if len(names) < 2:
        raise ModelError(
            f"there is one mean ({', '.join(names) or 'overall'}) in each group: nothing to compare"
        )
    control = len(names) - 1 if method == "trt.vs.ctrlk" else _position(ref, names)
    return FAMILIES[method][0](_Means(tuple(map(_bracketed, names)), sign, control))


def _bracketed(name: str) -> str:
    """A name that would read as a sum stands in brackets."""
    return f"({name})" if re.search(r"[-+*/]", name) else name


def _position(ref: int | str, names: Sequence[str]) -> int:
    if isinstance(ref, int | np.integer) and not isinstance(ref, bool):
        if -len(names) <= ref < len(names):
            return int(ref) % len(names)
        raise ModelError(f"ref={ref} is out of range: there are {len(names)} means, from 0")
    if ref in names:
        return list(names).index(str(ref))
    raise ModelError(f"ref={ref!r} is none of the means {', '.join(map(repr, names))}")


def _custom(method: Any, names: Sequence[str]) -> Contrasts:
    if isinstance(method, Mapping):
        labels, rows = [str(name) for name in method], list(method.values())
    else:
        rows = list(np.atleast_2d(_numbers(method)))
        labels = [f"c{i}" for i in range(1, len(rows) + 1)]
    if not rows:
        raise ModelError("no contrasts were given")
    out = np.zeros((len(rows), len(names)))
    for label, row, given in zip(labels, out, rows, strict=True):
        values = _numbers(given)
        if values.shape != row.shape:
            raise ModelError(
                f"contrast '{label}' has {values.size} coefficients, there are {len(names)} means: "
                f"{', '.join(names)}"
            )
        row[:] = values
    return Contrasts(tuple(labels), out)


def _numbers(values: ArrayLike) -> Array:
    try:
        out = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        out = np.array([np.nan])
    if not np.isfinite(out).all():
        raise ModelError(
            f"{values!r} are no contrast coefficients: give numbers, as a dict of name to "
            "coefficients or an array with a row for each contrast"
        )
    return out
