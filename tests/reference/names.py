"""R's names of terms, groups and levels in the words of mixedmodels."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_FACTOR_CALL = re.compile(r"(?P<call>factor\(.+\))(?P<level>[^()]+)")
_POLY = re.compile(r"(?P<call>poly\(.+\))(?P<degree>\d+)")
_CONTRAST = re.compile(r"(?P<column>.+?)(?P<contrast>\.[LQC]|\^\d+)")


def terms(
    names: Sequence[str], factors: Mapping[str, Sequence[str]], polynomial: Sequence[str] = ()
) -> list[str]:
    """Coefficient names: ``MachineB`` to ``Machine[T.B]``, ``(Intercept)`` to ``Intercept``.

    Parameters
    ----------
    names : sequence of str
        All names of one design, so that a factor coded by all its levels is recognised.
    factors : mapping
        Levels of each factor.
    polynomial : sequence of str
        Factors coded by orthogonal polynomials.
    """
    full = {column for column, labels in factors.items() if f"{column}{labels[0]}" in names}
    return [
        ":".join(_part(part, factors, full, polynomial) for part in split_interaction(name))
        for name in names
    ]


def split_interaction(name: str) -> list[str]:
    """Split at the colons that stand outside parentheses."""
    return re.split(r":(?![^()]*\))", name)


def _part(
    part: str, factors: Mapping[str, Sequence[str]], full: set[str], polynomial: Sequence[str]
) -> str:
    if part == "(Intercept)":
        return "Intercept"
    if match := _POLY.fullmatch(part):
        return f"{match['call']}[{match['degree']}]"
    if match := _FACTOR_CALL.fullmatch(part):
        return f"{match['call']}[T.{match['level']}]"
    if (match := _CONTRAST.fullmatch(part)) and match["column"] in polynomial:
        return f"{match['column']}[{match['contrast']}]"
    for column, labels in factors.items():
        if part.startswith(column) and part[len(column) :] in labels:
            return f"{column}[{'' if column in full else 'T.'}{part[len(column) :]}]"
    return part


def group(name: str, formula: str) -> str:
    """Grouping factor: lme4 writes the inner factor of ``a/b`` first, mixedmodels the outer one.

    lme4 also numbers several terms of one factor (``Subject.1``); mixedmodels does not.
    """
    return level(re.sub(r"\.\d+$", "", name), formula)


def level(label: str, formula: str) -> str:
    """Level of a grouping factor: ``a:A`` of ``(1 | batch/cask)`` is ``A:a`` here."""
    return ":".join(reversed(label.split(":"))) if "/" in formula else label
