"""What a report is about: models, data, the columns' roles; steps that show their own code."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mixedmodels.design.frame import column_names, column_values
from mixedmodels.errors import DataError, MixedModelsError, MixedModelsWarning, ModelError, quiet
from mixedmodels.inference.check_model import check_model
from mixedmodels.inference.compare import aictab, named_models
from mixedmodels.model.fitted import FittedModel
from mixedmodels.reporting.html import paragraph, text

# levels of a factor that are told apart by colour
MOST_LEVELS = 8
# times that have a row of their own in tables
MOST_TIMES = 24
# longest line of code
WIDTH = 88


@dataclass(frozen=True, slots=True)
class Step:
    """A result, and the code that gives it."""

    value: Any
    code: str


@dataclass(frozen=True, eq=False)
class Study:
    """An analysis.

    Attributes
    ----------
    models : dict of str to FittedModel
    chosen : str
        Name of the model that is shown in full.
    data : object
        The data frame, None if there is none.
    id, time, response, by : str or None
        Columns: subjects, times, measurements, groups.
    labels : dict of str to str
        What plots call the columns.
    level : float
        Of confidence intervals.
    """

    models: dict[str, FittedModel]
    chosen: str
    data: Any
    id: str | None
    time: str | None
    response: str | None
    by: str | None
    labels: dict[str, str]
    level: float

    @property
    def m(self) -> FittedModel:
        """The chosen model."""
        return self.models[self.chosen]

    @cached_property
    def check(self) -> Step:
        """Verdicts on the assumptions of the chosen model."""
        return self.call(check_model, "m", time=self.time)

    def title(self, column: str) -> str:
        """What the reader calls a column."""
        return self.labels.get(column, column)

    def call(self, function: Callable[..., Any], subject: str, *first: Any, **options: Any) -> Step:
        """Apply a public function to ``data``, ``m`` or ``models``."""
        home = "mm.plot" if function.__module__.startswith("mixedmodels.plot.") else "mm"
        given = {k: v for k, v in options.items() if v is not None}
        source = written(f"{home}.{function.__name__}", [subject, *map(repr, first)], given)
        return Step(function(getattr(self, subject), *first, **given), source)

    def plot(self, function: Callable[..., Any], subject: str, *first: Any, **options: Any) -> Step:
        """A plot with the labels of the study."""
        return self.call(function, subject, *first, **options, labels=self.labels or None)

    def distinct(self, column: str) -> int:
        """Number of different values of a column."""
        import narwhals.stable.v2 as nw

        values = column_values(self.data, column, "report")
        return int(nw.from_native(values, series_only=True, allow_series=True).n_unique())


def written(function: str, first: Sequence[str], options: Mapping[str, Any]) -> str:
    """Source of a call, over several lines where one is too long."""
    arguments = [*first, *(f"{key}={value!r}" for key, value in options.items())]
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= WIDTH:
        return line
    return f"{function}(\n" + "".join(f"    {a},\n" for a in arguments) + ")"


def study_of(
    models: Any,
    data: Any,
    roles: Mapping[str, str | None],
    choose: str | None,
    labels: Mapping[str, str] | None,
    level: float,
) -> Study:
    """Check what the user gave and work out the rest.

    Raises
    ------
    TypeError, DataError, ModelError
    """
    named = _named(models)
    chosen = _chosen(named, choose)
    m = named[chosen]
    data = m.source.data if data is None else data
    guessed = {} if data is None else _guessed(m, data)
    for role, column in roles.items():
        if column is not None:
            _check_column(data, role, column)
    found = {role: guessed.get(role) if name is None else name for role, name in roles.items()}
    return Study(named, chosen, data, **found, labels=dict(labels or {}), level=level)


def _named(models: Any) -> dict[str, FittedModel]:
    if isinstance(models, FittedModel):
        return {"M1": models}
    named = named_models(models, "report")
    if isinstance(models, Mapping):
        return named
    return {f"M{i}": model for i, model in enumerate(named.values(), 1)}


def _chosen(named: Mapping[str, FittedModel], choose: str | None) -> str:
    if choose is None:
        if len(named) == 1:
            return next(iter(named))
        import narwhals.stable.v2 as nw

        with quiet():  # the section on the models says it
            return str(nw.from_native(aictab(named), eager_only=True)["model"][0])
    if choose not in named:
        raise ModelError(f"choose={choose!r} is none of the models: {', '.join(named)}")
    return choose


def _check_column(data: Any, role: str, column: str) -> None:
    if data is None:
        raise ModelError(
            f"{role}={column!r} needs data, and the model does not hold its own: give data="
        )
    if column not in column_names(data):
        known = ", ".join(map(str, column_names(data)[:20]))
        raise DataError(f"{role}={column!r} is no column of the data; there are {known}")


def _guessed(m: FittedModel, data: Any) -> dict[str, str | None]:
    """Roles that the formula shows."""
    formula, there = m.design.formula, set(column_names(data))
    sizes = {
        term.group.variables[0]: m.n_groups.get(term.group.variables[0], 0)
        for term in formula.random
        if len(term.group.variables) == 1
    }
    subject = max(sizes, key=lambda name: sizes[name]) if sizes else None
    slopes = dict.fromkeys(
        v for term in formula.random for v in term.variables if v not in m.design.factors
    )
    factors = [
        v
        for v in formula.fixed_variables
        if v in m.design.factors and len(m.design.factors[v][0]) <= MOST_LEVELS and v != subject
    ]
    response = formula.response
    found = {
        "id": subject,
        "time": next(iter(slopes)) if len(slopes) == 1 else None,
        "response": response.variables[0] if response and len(response.variables) == 1 else None,
        "by": factors[0] if factors else None,
    }
    return {role: name if name in there else None for role, name in found.items()}


@contextmanager
def _collected(notes: list[str]) -> Iterator[None]:
    """Our own warnings become notes of the page; those of others stay warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MixedModelsWarning)
        yield
    for w in caught:
        if issubclass(w.category, MixedModelsWarning):
            notes.append(str(w.message))
        else:
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)


def attempt(what: str, make: Callable[[], str]) -> str:
    """A part of the page; what could not be worked out is said in its place."""
    notes: list[str] = []
    try:
        with _collected(notes):
            body = make()
    except MixedModelsError as error:
        body = ""
        notes.append(f"{what}: not shown. {error}")
    said = "".join(paragraph(text(note), "note warning") for note in dict.fromkeys(notes))
    return body + said
