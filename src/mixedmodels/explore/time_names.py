"""Times in the names of columns: ``BW0``, ``bw_day21``, ``T1_anxiety``, ``2019``, and back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, TypeAlias

Time: TypeAlias = Any  # an int, a float, a date, or what the user gave

_UNITS = (
    "years?|yrs?|y|months?|mon|mo|m|weeks?|wks?|w|days?|d|hours?|hrs?|h|minutes?|mins?|seconds?"
    "|secs?|s|time|t|visits?|v|waves?|periods?|p|sessions?|trials?|occasions?|age|dag|tag|jour"
)
_SEPARATOR = r"(?:[\s_.:(\[]+|\s*-\s*)"
_NUMBER = r"(?P<number>-?\d+(?:\.\d+)?)"
_DATE = r"(?P<date>\d{4}-\d{2}-\d{2})(?:[ T]00:00:00)?"
_END = r"[\s)\]]*"
# the first that matches counts; a unit stands apart from the stem, or after the number
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?P<stem>.*?){_SEPARATOR}?{_DATE}{_END}",
        rf"(?P<stem>.*?)(?:(?:^|{_SEPARATOR})(?P<unit>{_UNITS}))?{_SEPARATOR}?{_NUMBER}{_END}",
        rf"(?P<stem>.*?){_SEPARATOR}?{_NUMBER}\s*(?P<unit>{_UNITS}){_END}",
        rf"(?P<unit>{_UNITS})?{_SEPARATOR}?{_NUMBER}{_SEPARATOR}(?P<stem>[^\W\d].*)",
        rf"{_NUMBER}\s*(?P<unit>{_UNITS}){_SEPARATOR}(?P<stem>[^\W\d].*)",
    )
)


@dataclass(frozen=True, slots=True)
class TimeName:
    """A column name that holds a time.

    Attributes
    ----------
    name : str
    stem : str
        What is left of the name without the time: the measure; the unit where that is all there is.
    unit : str
        Unit or word before the number, such as ``"day"``; may be empty.
    time : int, float or date
    dashed : bool
        A dash stands before the number, which may be a minus sign.
    """

    name: str
    stem: str
    unit: str
    time: Time
    dashed: bool = False


def parse_name(name: str) -> TimeName | None:
    """Read the time out of a column name; None where there is none.

    Examples
    --------
    >>> [parse_name(name).time for name in ("BW0", "bw_day21", "weight.3", "2019", "T1_anx")]
    [0, 21, 3, 2019, 1]
    >>> parse_name("IL6_3.5h").stem, parse_name("treatment")
    ('IL6', None)
    """
    for pattern in _PATTERNS:
        found = pattern.fullmatch(name.strip())
        if found is None:
            continue
        parts = found.groupdict()
        time = _time(parts)
        if time is not None:
            unit = parts.get("unit") or ""
            dashed = _follows_dash(found)
            plain = unit.casefold() if len(unit) == 1 else unit.casefold().rstrip("s")
            return TimeName(name, parts["stem"] or unit, plain, time, dashed)
    return None


def _follows_dash(found: re.Match[str]) -> bool:
    if "number" not in found.re.groupindex:
        return False
    start = found.start("number")
    return start > 0 and found.string[start - 1] == "-"


def _time(parts: dict[str, str | None]) -> Time | None:
    number, day = parts.get("number"), parts.get("date")
    if number is not None:
        return float(number) if "." in number else int(number)
    try:
        return date.fromisoformat(day or "")
    except ValueError:
        return None


def signed(family: Sequence[TimeName]) -> list[TimeName]:
    """Read a dash as a minus sign where other names of the family have none: ``d-7, d0, d7``."""
    dashes = {found.dashed for found in family}
    if len(dashes) < 2:
        return list(family)
    return [replace(f, time=-f.time, dashed=False) if f.dashed else f for f in family]


def parse_names(names: Iterable[str]) -> dict[str, list[TimeName]]:
    """Column names that hold times, by stem, in the order of the names."""
    families: dict[str, list[TimeName]] = {}
    for name in names:
        found = parse_name(name)
        if found is not None:
            families.setdefault(found.stem, []).append(found)
    return families


def common_type(times: Sequence[Time]) -> list[Time]:
    """Numbers as integers if all are whole, else as floats; anything else as it is."""
    if not all(isinstance(t, int | float) for t in times):
        return list(times)
    if all(float(t).is_integer() for t in times):
        return [int(t) for t in times]
    return [float(t) for t in times]


def text_of(time: Time) -> str:
    """A time as a column name shows it: 7, 0.5, 2019-01-31."""
    if isinstance(time, float):
        return f"{time:.15g}"
    if isinstance(time, datetime) and time.time() == datetime.min.time():
        return time.date().isoformat()
    return str(time)
