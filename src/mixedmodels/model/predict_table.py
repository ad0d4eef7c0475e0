"""Predictions as a column of a table outside memory, worked out by its engine when it is read.

The fixed part is an expression; conditional modes are joined from a small table of the levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd

from mixedmodels.arrays import Array
from mixedmodels.design.frame import check_names
from mixedmodels.engines.cells import source_matrix
from mixedmodels.engines.door import (
    answered,
    asked_as,
    asking,
    beside,
    engine_of,
    named,
    open_table,
)
from mixedmodels.engines.expressions import Column, Scaling, translate, tree, variables
from mixedmodels.engines.plan import PREFIX, Part, Plan, make_plan
from mixedmodels.engines.query import as_read, is_numeric, number_column, text_column
from mixedmodels.errors import DataError
from mixedmodels.model.record import Fit

# combinations of levels up to which a condition for each is written
MOST_CONDITIONS = 200


@dataclass(frozen=True, slots=True)
class _Block:
    """The columns that one term makes: a number times codes of categories.

    Attributes
    ----------
    part : Part
        Empty where there is no number.
    names : tuple of str
        The categories.
    levels : tuple of tuple
        Combinations of their levels.
    coding : ndarray of shape (len(levels), columns)
    """

    part: Part
    names: tuple[str, ...]
    levels: tuple[tuple[Any, ...], ...]
    coding: Array


def predict_table(fit: Fit, data: Any, groups: Sequence[int], *, strict: bool) -> Any:
    """The table with a column ``prediction``; see `FittedModel.predict`.

    Parameters
    ----------
    fit : Fit
    data : lazy table or path
    groups : sequence of int
        Grouping factors whose effects are counted.
    strict : bool
        Refuse levels that the fit has not seen; one query looks for them.

    Returns
    -------
    lazy table
        Of the engine of `data`. Rows with a missing value have no prediction.

    Raises
    ------
    DataError
        Missing columns, levels that the fit has not seen, what the engine says.
    """
    table, asked = asked_as(open_table(data))
    names = [*(name for name in asked if name != "prediction"), "prediction"]
    with asking(engine_of(table)):
        made, unseen = _predicted(fit, table, asked, groups)
        if strict:
            _refuse_unseen(made, unseen)
        return named(made.drop(*(flag for flag, _ in unseen)), names).to_native()


def _refuse_unseen(table: nw.LazyFrame[Any], unseen: Sequence[tuple[str, str]]) -> None:
    if not unseen:
        return
    found = answered(table.select(*(nw.col(name).sum() for name, _ in unseen)))
    for name, what in unseen:
        count = int(found[name].to_list()[0] or 0)
        if count:
            raise DataError(
                f"{count} row{'s have' if count > 1 else ' has'} a level of {what} that the fit "
                "has not seen; new_levels='zero' predicts for an average group"
            )


def _predicted(
    fit: Fit, table: nw.LazyFrame[Any], asked: Mapping[str, str], groups: Sequence[int]
) -> tuple[nw.LazyFrame[Any], list[tuple[str, str]]]:
    """The table with its prediction, and columns that flag unseen levels, with what they are of."""
    given = table.collect_schema()
    schema = {name: given[own] for name, own in asked.items()}
    reader = _Reader(fit, schema, asked)
    offset = fit.source.arrays.get("offset")
    wanted = [*reader.needed(groups), *([offset] if isinstance(offset, str) else [])]
    check_names(wanted, list(schema), "the table")
    if offset is not None and not isinstance(offset, str):
        raise DataError(
            "the model was fitted with an offset given as values: fit it with a column's name"
        )
    total = reader.linear(fit.design.formula.fixed, fit.beta, fit.working.fixed.kept.tolist())
    for expression in fit.design.formula.offsets:
        total = total + translate(tree(expression.code), reader.columns, {})
    if isinstance(offset, str):
        total = total + number_column(asked[offset], schema[offset])
    # comparisons with null are not null in every engine
    complete = reduce(
        lambda a, b: a & b, (~reader.absent(name) for name in wanted), nw.lit(value=True)
    )
    flags: list[tuple[str, str]] = []
    for name in reader.categories(fit.design.formula.fixed):
        known = reader.known(name)
        flags.append((f"__unseen_{len(flags)}", f"'{name}'"))
        seen = reduce(lambda a, b: a | b, (reader.equals(name, level) for level in known))
        flag = nw.when(seen).then(0).otherwise(1)
        table = table.with_columns(nw.when(complete).then(flag).otherwise(0).alias(flags[-1][0]))
    for k in groups:
        table, part, flag = _with_effects(reader, table, k)
        flags.append((f"__unseen_{len(flags)}", f"grouping factor '{fit.design.groups[k].name}'"))
        table = table.with_columns(nw.when(complete).then(flag).otherwise(0).alias(flags[-1][0]))
        total = total + part
    table = table.with_columns(nw.when(complete).then(total).alias("prediction"))
    kept = [own for name, own in asked.items() if name != "prediction"]
    return table.select(*kept, "prediction", *(name for name, _ in flags)), flags


def _with_effects(
    reader: _Reader, table: nw.LazyFrame[Any], k: int
) -> tuple[nw.LazyFrame[Any], nw.Expr, nw.Expr]:
    """The effects of each row's level joined to it, ``z b``, and where the level is new."""
    fit, group = reader.fit, reader.fit.design.groups[k]
    key, own = reader.group_key(group.variables, group.levels)
    names = [f"__b{k}_{j}" for j in range(len(fit.effects[k]))]
    small: dict[str, Any] = {f"__level{k}": own, f"__seen{k}": np.ones(len(own))}
    small |= dict(zip(names, fit.effects[k], strict=True))
    joined = table.with_columns(key.alias(f"__key{k}")).join(
        beside(table, small), left_on=f"__key{k}", right_on=f"__level{k}", how="left"
    )
    new = nw.col(f"__seen{k}").is_null() & ~nw.col(f"__key{k}").is_null()
    total: Any = nw.lit(0.0)
    at = 0
    for term, mapping in zip(group.terms, fit.working.terms[k], strict=True):
        columns = reader.columns_of(term.source)
        for j in mapping.kept:
            effect = nw.when(new).then(nw.lit(0.0)).otherwise(nw.col(names[at]))
            total = total + columns[j] * effect
            at += 1
    return joined, total, nw.when(new).then(1).otherwise(0)


class _Reader:
    """How a fit's columns come from those of a table."""

    def __init__(self, fit: Fit, schema: Mapping[str, Any], asked: Mapping[str, str]) -> None:
        self.fit, self.schema, self.asked = fit, schema, asked
        self.plan: Plan = make_plan(fit.design.formula, lambda name: name not in fit.design.factors)
        self.columns: Mapping[str, Column] = {
            name: as_read(name, asked[name], kind) for name, kind in schema.items()
        }
        self.scalings: dict[str, Scaling] = {
            text: Scaling(_float(state["center"]), _float(state["scale"]))
            for spec in fit.design.specs.values()
            for text, state in spec.transform_state.items()
            if "center" in state
        }
        self.blocks = {source: list(self._blocks(source)) for source in self.plan.sources}

    def needed(self, groups: Sequence[int]) -> list[str]:
        """Columns that a prediction reads."""
        fit = self.fit
        sources = [fit.design.formula.fixed]
        sources += [t.source for k in groups for t in fit.design.groups[k].terms]
        names = [v for k in groups for v in fit.design.groups[k].variables]
        for source in sources:
            for block in self.blocks[source]:
                names += [*block.names, *(v for code in block.part for v in variables(code))]
        names += [v for e in fit.design.formula.offsets for v in e.variables]
        return list(dict.fromkeys(names))

    def known(self, name: str) -> tuple[Any, ...]:
        """Levels of a category in the fit."""
        factors = self.fit.design.factors
        return (factors[name] if name in factors else factors[f"factor({name})"])[0]

    def categories(self, source: str) -> list[str]:
        """Categories that a source reads."""
        return list(dict.fromkeys(n for block in self.blocks[source] for n in block.names))

    def _blocks(self, source: str) -> Iterator[_Block]:
        start = 0
        structure = self.fit.design.specs[source].structure
        for term, columns in zip(self.plan.terms[source], structure, strict=True):
            levels = tuple(product(*(self.known(name) for name in term.categories)))
            if len(levels) > MOST_CONDITIONS:
                raise DataError(
                    f"{' x '.join(term.categories)} has {len(levels)} combinations of levels, too "
                    "many for a prediction by the engine: predict a data frame"
                )
            stop = start + len(columns.columns)
            coding = self._coding(source, term.categories, levels)[:, start:stop]
            part = () if term.part is None else self.plan.parts[term.part]
            yield _Block(part, term.categories, levels, coding)
            start = stop

    def _coding(
        self, source: str, names: Sequence[str], levels: Sequence[tuple[Any, ...]]
    ) -> Array:
        """All columns of a source at some combinations of levels, its numbers being one."""
        size = len(levels)
        table: dict[str, Any] = {f"{PREFIX}{i}": np.ones(size) for i in range(len(self.plan.parts))}
        for name in self.plan.categorical:
            known = self.known(name)
            values = [known[i % len(known)] for i in range(size)]
            if name in names:
                values = [combination[names.index(name)] for combination in levels]
            if name in self.fit.design.factors:
                table[name] = pd.Categorical(values, categories=pd.Index(list(known)))
            else:
                table[name] = np.array(values, np.float64)
        return self._with_all_levels(source, table, size)

    def _with_all_levels(self, source: str, table: dict[str, Any], size: int) -> Array:
        """The matrix of a source, worked out beside rows that have every level of its numbers."""
        numeric = [n for n in self.plan.categorical if n not in self.fit.design.factors]
        more = max([0, *(len(self.known(name)) for name in numeric)])
        if not more:
            return source_matrix(self.plan.sources[source], pd.DataFrame(table))
        place = np.arange(size + more)
        full: dict[str, Any] = {
            name: np.resize(np.asarray(values), size + more) for name, values in table.items()
        }
        for name in self.plan.categorical:
            if name in numeric:
                known = np.array(self.known(name), np.float64)
                full[name][size:] = known[place[size:] % len(known)]
            else:
                levels = pd.Index(list(self.known(name)))
                full[name] = pd.Categorical(full[name], categories=levels)
        return source_matrix(self.plan.sources[source], pd.DataFrame(full))[:size]

    def part(self, part: Part) -> Any:
        """A product of numbers; 1 if there are none."""
        factors = [translate(tree(code), self.columns, self.scalings) for code in part]
        return reduce(lambda a, b: a * b, factors) if factors else None

    def weighted(self, block: _Block, weights: Array) -> Any:
        """The part times a value for each combination of levels."""
        values = block.coding @ weights
        number = self.part(block.part)
        if not block.names:
            only: Any = nw.lit(float(values[0]))
            return only if number is None else only * number
        chosen: Any = None
        for combination, value in zip(block.levels, values.tolist(), strict=True):
            same = reduce(
                lambda a, b: a & b,
                (self.equals(n, level) for n, level in zip(block.names, combination, strict=True)),
            )
            case = nw.when(same).then(nw.lit(value))
            chosen = case if chosen is None else case.otherwise(chosen)
        return chosen if number is None else chosen * number

    def linear(self, source: str, beta: Array, kept: Sequence[int]) -> Any:
        """A source's columns times coefficients, those that are not kept being zero."""
        total: Any = nw.lit(0.0)
        full = np.zeros(sum(block.coding.shape[1] for block in self.blocks[source]))
        full[list(kept)] = beta
        start = 0
        for block in self.blocks[source]:
            width = block.coding.shape[1]
            total = total + self.weighted(block, full[start : start + width])
            start += width
        return total

    def columns_of(self, source: str) -> list[nw.Expr]:
        """Each column of a source."""
        return [
            self.weighted(block, np.eye(block.coding.shape[1])[j])
            for block in self.blocks[source]
            for j in range(block.coding.shape[1])
        ]

    def equals(self, name: str, level: Any) -> nw.Expr:
        """Whether a category has a level, matched by value for numbers, by text else."""
        if self.schema[name] == nw.Boolean:
            return nw.col(self.asked[name]) == (str(level) == "True")
        if is_numeric(self.schema[name]):
            return number_column(self.asked[name], self.schema[name]) == float(level)
        return nw.col(self.asked[name]).cast(nw.String) == str(level)

    def absent(self, name: str) -> nw.Expr:
        """Whether a column has no value."""
        if is_numeric(self.schema[name]):
            return number_column(self.asked[name], self.schema[name]).is_null()
        return nw.col(self.asked[name]).is_null()

    def group_key(self, names: Sequence[str], levels: Sequence[str]) -> tuple[nw.Expr, Any]:
        """What to join a grouping factor's levels by, and the levels in that form."""
        kinds = [self.schema[name] for name in names]
        if any(kind.is_temporal() for kind in kinds):
            raise DataError(
                f"the grouping column '{names[0]}' holds times: write them as text in the table"
            )
        if len(names) == 1 and kinds[0] != nw.Boolean and is_numeric(kinds[0]):
            return number_column(self.asked[names[0]], kinds[0]), np.array(
                [float(v) for v in levels]
            )
        if len(names) == 1:
            return text_column(self.asked[names[0]], kinds[0]), list(levels)
        texts = []
        for name, kind in zip(names, kinds, strict=True):
            text = text_column(self.asked[name], kind)
            quoted = nw.concat_str(nw.lit("'"), text, nw.lit("'"))
            texts.append(nw.when(text.str.contains(":", literal=True)).then(quoted).otherwise(text))
        return nw.concat_str(*texts, separator=":"), list(levels)


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
