"""Check of a longitudinal design before it is modelled: `check_design`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import checked
from mixedmodels.design.frame import to_native
from mixedmodels.design.grouping import observed
from mixedmodels.design.levels import Level
from mixedmodels.errors import DataWarning, warn
from mixedmodels.explore.columns import (
    Codes,
    Labels,
    Repeats,
    cells,
    counted,
    distinct_roles,
    first_rows,
    labels,
    listed,
    names_of,
    numbers,
    open_frame,
    quote,
    repeats,
    take,
    times,
)
from mixedmodels.memory import check_memory
from mixedmodels.output.layout import Block, Facts, Prose, Table, fixed, shorten
from mixedmodels.output.printed import Printed

# times beyond which patterns over time are not formed: each subject has times of its own
MOST_TIMES = 100
# rows of a table that are printed; the frames have the rest
MOST_ROWS = 12


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DesignCheck(Printed):
    """Who was observed when; prints as a short report.

    Attributes
    ----------
    n_rows, n_subjects, n_times : int
    times : tuple
        Distinct times, in order.
    groups : frame
        Columns of `by`, subjects, rows, min_rows, max_rows (observations per subject). One row for
        all subjects without `by`.
    observations : frame
        observations (per subject), subjects.
    over_time : frame
        Columns of `by`, time, observed (subjects), last (subjects seen here for the last time). A
        subject counts in the group of its first row.
    patterns : frame
        pattern (one sign per time, X where observed), kind ("complete", "dropout", "late entry",
        "gaps" or "never observed"), subjects, share; the most frequent first. Empty when there are
        more than 100 times.
    duplicates : frame
        Subjects with several rows at one time: id, time, rows.
    changes : frame
        Subjects with several values in a column of `by`: id, column, values.
    unobserved : tuple
        Subjects without any observation.
    is_balanced : bool
        Every subject is observed once at every time, and groups are equally large.
    problems : tuple of str
        What a model would stumble over, in sentences.
    names : dict
        The columns that played the roles ``"id"``, ``"time"`` and ``"by"``.
    tables : tuple of Table
        What is printed.
    """

    names: dict[str, Any]
    n_rows: int
    n_subjects: int
    n_times: int
    times: tuple[Level, ...]
    groups: Any
    observations: Any
    over_time: Any
    patterns: Any
    duplicates: Any
    changes: Any
    unobserved: tuple[Level, ...]
    is_balanced: bool
    problems: tuple[str, ...]
    tables: tuple[Table, ...]

    def title(self) -> str:
        """What was checked."""
        return f"Design: {self.names['id']} observed over {self.names['time']}"

    def blocks(self) -> Sequence[Block]:
        """Facts, tables, problems."""
        facts = Facts(
            (
                ("Rows", f"{self.n_rows}"),
                ("Subjects", f"{self.n_subjects}"),
                ("Times", f"{self.n_times} ({listed(self.times, 8)})"),
                ("Balanced", "yes" if self.is_balanced else "no"),
            )
        )
        return [facts, *self.tables, Prose("Problems", self.problems or ("none",))]


@checked
def check_design(
    data: Any,
    *,
    id: str,  # noqa: A002 - the word of the field
    time: str,
    by: str | Sequence[str] | None = None,
    response: str | None = None,
) -> DesignCheck:
    """Check a longitudinal design: who was observed when, and in which group.

    Parameters
    ----------
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        In long format, a row per subject and time. Never changed.
    id, time : str
        Columns of subjects and times.
    by : str or sequence of str, optional
        Columns of groups, such as treatment.
    response : str, optional
        A numeric column: rows where it is missing are no observations.

    Returns
    -------
    DesignCheck
        Subjects per group, observations per subject, balance, patterns of dropout, duplicates,
        subjects that change group. It prints; each part is a frame.

    Raises
    ------
    TypeError, DataError
        Not a data frame or no rows; unknown columns; one column in two roles; a response that is
        not numbers.

    Warns
    -----
    DataWarning
        Duplicates, subjects without an observation, a single time, rows without subject or time;
        times that are text.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> check = mm.check_design(mm.datasets.load("piglets"), id="animal", time="time", by="treatm")
    >>> check.n_subjects, check.is_balanced
    (75, False)
    >>> check.patterns
      pattern      kind  subjects  share
    0    XXXX  complete        72   0.96
    1    XXX-   dropout         3   0.04
    """
    frame, kind = open_frame(data)
    distinct_roles(id=id, time=time, response=response)
    ids, at = labels(frame, id, "id"), times(frame, time)
    factors = [labels(frame, name, "by") for name in names_of(by, "by")]
    for factor in factors:
        distinct_roles(id=id, time=time, by=factor.name)
    seen = (ids.codes >= 0) & (at.codes >= 0)
    lost = int(np.count_nonzero(~seen))
    if response is not None:
        seen &= ~np.isnan(numbers(frame, response, "response"))
    study = _Study(ids, at, factors, seen)
    twice = repeats(ids, at, seen)
    counts = np.bincount(ids.codes[seen], minlength=len(ids.levels))
    unobserved = tuple(ids.levels[i] for i in np.flatnonzero(counts == 0))
    parts = {
        "groups": _groups(study, counts),
        "observations": _observations(counts),
        "over_time": _over_time(study),
        "patterns": _patterns(study),
        "duplicates": _duplicates(study, twice),
        "changes": _changes(study),
    }
    serious = _problems(study, twice, unobserved, lost)
    if serious:
        warn(f"the design has problems: {'; '.join(serious)}", DataWarning)
    return DesignCheck(
        names={"id": id, "time": time, "by": [factor.name for factor in factors]},
        n_rows=len(seen),
        n_subjects=len(ids.levels),
        n_times=len(at.levels),
        times=at.levels,
        **{name: to_native(columns, kind) for name, columns in parts.items()},
        unobserved=unobserved,
        is_balanced=_is_balanced(study, counts, twice),
        problems=(*serious, *_milder(study, parts)),
        tables=tuple(_tables(study, parts)),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Study:
    """Columns of the design, and which rows are observations."""

    ids: Labels
    at: Labels
    factors: list[Labels]
    seen: NDArray[np.bool_]

    def group_of_subject(self) -> tuple[Codes, int, Codes]:
        """Group of each subject by its first row, number of groups, group of each row."""
        rows, count = cells(self.factors, len(self.seen))
        first = first_rows(np.where(rows >= 0, self.ids.codes, -1), len(self.ids.levels))
        return np.where(first >= 0, rows[first], -1), count, rows

    def group_columns(self, rows: Codes, count: int) -> dict[str, Any]:
        """Values of the columns of `by` in each group."""
        first = first_rows(rows, count)
        return {factor.name: take(factor.native, first) for factor in self.factors}


# --- the parts, as columns ------------------------------------------------------------------------


def _groups(study: _Study, counts: NDArray[np.int64]) -> dict[str, Any]:
    group, count, rows = study.group_of_subject()
    inside = group >= 0
    least = np.full(count, np.iinfo(np.int64).max)
    most = np.zeros(count, np.int64)
    np.minimum.at(least, group[inside], counts[inside])
    np.maximum.at(most, group[inside], counts[inside])
    return {
        **study.group_columns(rows, count),
        "subjects": np.bincount(group[inside], minlength=count),
        "rows": np.bincount(rows[study.seen & (rows >= 0)], minlength=count),
        "min_rows": least,
        "max_rows": most,
    }


def _observations(counts: NDArray[np.int64]) -> dict[str, Any]:
    values, subjects = np.unique(counts, return_counts=True)
    return {"observations": values, "subjects": subjects}


def _over_time(study: _Study) -> dict[str, Any]:
    group, count, rows = study.group_of_subject()
    width, seen = len(study.at.levels), study.seen
    pairs, _ = observed(
        study.ids.codes[seen] * width + study.at.codes[seen], len(study.ids.levels) * width
    )
    subject, time = pairs // width, pairs % width
    last = np.append(subject[1:] != subject[:-1], True) if len(pairs) else np.empty(0, bool)
    inside = group[subject] >= 0
    cell = (group[subject] * width + time)[inside]
    first = np.repeat(first_rows(rows, count), width)
    columns = {factor.name: take(factor.native, first) for factor in study.factors}
    columns[study.at.name] = take(study.at.native, np.tile(study.at.first_rows, count))
    columns["observed"] = np.bincount(cell, minlength=count * width)
    columns["last"] = np.bincount(cell[last[inside]], minlength=count * width)
    return columns


def _patterns(study: _Study) -> dict[str, Any]:
    width, n = len(study.at.levels), len(study.ids.levels)
    names = ("pattern", "kind", "subjects", "share")
    if width > MOST_TIMES:
        none = np.empty(0, np.str_), np.empty(0, np.str_), np.empty(0, np.int64), np.empty(0)
        return dict(zip(names, none, strict=True))
    check_memory(2.0 * n * width, f"{n:,} subjects at {width} times")
    table = np.zeros((n, width), np.uint8)
    table[study.ids.codes[study.seen], study.at.codes[study.seen]] = 1
    packed = np.packbits(table, axis=1)
    as_bytes = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    _, first, subjects = np.unique(as_bytes, return_index=True, return_counts=True)
    order = np.lexsort((-table[first].sum(axis=1, dtype=np.int64), -subjects))
    rows, subjects = table[first][order], subjects[order]
    return {
        "pattern": np.array(["".join("-X"[x] for x in row) for row in rows], np.str_),
        "kind": np.array([_kind(row) for row in rows], np.str_),
        "subjects": subjects,
        "share": subjects / n,
    }


def _kind(row: NDArray[np.uint8]) -> str:
    """What a pattern of ones and zeros over time means."""
    where = np.flatnonzero(row)
    if not len(where):
        return "never observed"
    if len(where) == len(row):
        return "complete"
    if where[-1] - where[0] + 1 > len(where):
        return "gaps"
    return "dropout" if where[0] == 0 else "late entry"


def _duplicates(study: _Study, twice: Repeats) -> dict[str, Any]:
    return {
        study.ids.name: take(study.ids.native, study.ids.first_rows[twice.subjects]),
        study.at.name: take(study.at.native, study.at.first_rows[twice.times]),
        "rows": twice.rows,
    }


def _changes(study: _Study) -> dict[str, Any]:
    first = study.ids.first_rows
    rows: list[NDArray[np.intp]] = [np.empty(0, np.intp)]
    columns: list[str] = []
    values: list[str] = []
    for factor in study.factors:
        both = (study.ids.codes >= 0) & (factor.codes >= 0)
        width = len(factor.levels)
        pairs, _ = observed(study.ids.codes[both] * width + factor.codes[both], len(first) * width)
        subject = pairs // width
        many = np.flatnonzero(np.bincount(subject, minlength=len(first)) > 1)
        for i in many:
            codes = pairs[slice(*np.searchsorted(subject, [i, i + 1]))] % width
            values.append(", ".join(str(factor.levels[c]) for c in codes))
        columns += [factor.name] * len(many)
        rows.append(first[many])
    return {
        study.ids.name: take(study.ids.native, np.concatenate(rows)),
        "column": np.array(columns, np.str_),
        "values": np.array(values, np.str_),
    }


def _is_balanced(study: _Study, counts: NDArray[np.int64], twice: Repeats) -> bool:
    group, count, _ = study.group_of_subject()
    sizes = np.bincount(group[group >= 0], minlength=count)
    complete = not len(twice) and bool((counts == len(study.at.levels)).all())
    return complete and bool((sizes == sizes[0]).all())


# --- in words -------------------------------------------------------------------------------------


def _problems(study: _Study, twice: Repeats, unobserved: tuple[Level, ...], lost: int) -> list[str]:
    """What stops or misleads an analysis over time."""
    found = []
    if lost:
        found.append(f"{counted(lost, 'row')} without {study.ids.name} or {study.at.name}")
    if len(twice):
        found.append(f"duplicates: {twice.describe(study.ids, study.at)}")
    if unobserved:
        found.append(
            f"{counted(len(unobserved), 'subject')} without any observation: {listed(unobserved)}"
        )
    if len(study.at.levels) == 1:
        found.append(
            f"there is one time only ({study.at.name} {quote(study.at.levels[0])}): nothing can be "
            "said about change"
        )
    return found


def _milder(study: _Study, parts: dict[str, dict[str, Any]]) -> list[str]:
    """What is worth knowing and may be meant so."""
    found = []
    width = len(study.at.levels)
    if width > MOST_TIMES:
        found.append(
            f"{width} different times: patterns over time need common ones. Round {study.at.name} "
            "to visits for tables by time"
        )
    for factor in study.factors:
        n = int(np.count_nonzero(parts["changes"]["column"] == factor.name))
        if n:
            found.append(f"{counted(n, 'subject')} with several values of {factor.name}")
        if factor.unused:
            found.append(f"levels of {factor.name} without rows: {listed(factor.unused)}")
        missing = int(np.count_nonzero(factor.codes < 0))
        if missing:
            found.append(f"{counted(missing, 'row')} without {factor.name}")
    return found


def _tables(study: _Study, parts: dict[str, dict[str, Any]]) -> list[Table]:
    names = [factor.name for factor in study.factors]
    tables = []
    if names:
        tables.append(_table("Subjects per group", parts["groups"], names, study))
    tables.append(_table("Observations per subject", parts["observations"], [], study))
    if len(study.at.levels) <= MOST_TIMES:
        over = _over_time(_Study(study.ids, study.at, [], study.seen))
        tables.append(_table("Subjects over time", over, [study.at.name], study))
        shares = [fixed(100.0 * x, 1) for x in parts["patterns"]["share"].tolist()]
        columns = {**parts["patterns"], "share": shares}
        renamed = {("percent" if k == "share" else k): v for k, v in columns.items()}
        tables.append(_table("Patterns", renamed, ["pattern", "kind"], study))
    return tables


def _table(heading: str, columns: dict[str, Any], names: list[str], study: _Study) -> Table:
    """The first rows of some columns, as text."""
    natives = {factor.name: factor for factor in (*study.factors, study.at)}
    n = len(next(reversed(columns.values())))
    shown = range(min(n, MOST_ROWS))
    texts = []
    for name, values in columns.items():
        if name in natives and not isinstance(values, list | np.ndarray):
            values = list(values.to_pylist() if hasattr(values, "to_pylist") else values.to_list())
        texts.append([shorten(str(values[i]), 40) for i in shown])
    note = f"{n - MOST_ROWS} more" if n > MOST_ROWS else ""
    return Table(heading, tuple(columns), tuple(zip(*texts, strict=True)), len(names), note)
