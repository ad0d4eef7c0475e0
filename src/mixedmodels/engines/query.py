"""The queries: what is missing, where the parts lie, sums per cell. Only cells are collected."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import narwhals.stable.v2 as nw
import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.design.frame import read
from mixedmodels.design.levels import Factor
from mixedmodels.engines.door import (
    answered,
    asked_as,
    asking,
    check_files,
    engine_of,
    open_table,
    own_connection,
    without_accidental_order,
)
from mixedmodels.engines.expressions import (
    Column,
    Scaling,
    scaling_of,
    stateful_calls,
    translate,
    tree,
)
from mixedmodels.engines.plan import Part, Plan
from mixedmodels.engines.sums import Sums, declared
from mixedmodels.errors import DataError
from mixedmodels.progress import query_line

# share of a column's spread that lies within cells below which it is summed about the cells' means
WITHIN = 1e-7
# the same, below which the column is constant within cells
CONSTANT = 1e-13
# share of a sum of squares that is its rounding
LOST = 4e-15
# smallest weight beside the largest
SMALLEST = 1e-150
FLOATS = (nw.Float32, nw.Float64)
YES, NO = nw.lit(value=True), nw.lit(value=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine found.

    Attributes
    ----------
    n_rows : int
    missing : dict of str to int
    scalings : dict of str to Scaling
    log_weights : float
        Sum of the logarithms of the weights as given.
    keys : dict of str to Factor
        Levels of each cell.
    sums : Sums
        Of the parts and, last, the response.
    ranges : ndarray of shape (k, 2)
        Least and greatest value of each of these.
    """

    n_rows: int
    missing: dict[str, int]
    scalings: dict[str, Scaling]
    log_weights: float
    keys: dict[str, Factor]
    sums: Sums
    ranges: Array


def ask(
    data: Any,
    plan: Plan,
    response: str,
    numeric: Sequence[str],
    weights: str | None,
    *,
    progress: bool | None = None,
) -> Answer:
    """Sums per cell of a table.

    Parameters
    ----------
    data : lazy table or path
    plan : Plan
    response : str
        Code of the response less its offsets.
    numeric : sequence of str
        Columns that parts and response read.
    weights : str, optional
        Column of the prior weights.
    progress : bool, optional
        Show a line; by default where somebody watches and it takes long.

    Raises
    ------
    DataError
        No complete rows, infinite values, parts without a finite value, unusable weights, or what
        the engine says.
    """
    connection = own_connection(data)
    table = open_table(without_accidental_order(data), connection)
    check_files(data, [*plan.keys, *numeric, *([weights] if weights else [])])
    engine = engine_of(table)
    share = getattr(connection, "query_progress", None)  # which old versions have not
    with query_line(engine, share, progress=progress) as say, asking(engine):
        say("missing values")
        source = _Source.of(table, plan, numeric, weights)
        n_rows, n_complete, missing = source.overview()
        say("means and ranges")
        scalings = source.scalings([*(c for part in plan.parts for c in part), response])
        labels = [plan.labels[part] for part in plan.parts]
        assert plan.formula.response is not None
        labels.append(plan.formula.response.text)
        parts = source.parts(plan.parts, response, scalings)
        centres, ranges, log_weights = source.centres(parts, labels)
        say("sums")
        native, sums = source.cells(parts, centres)
        _check_same_rows(n_complete, int(sums.n.sum()))
    keys = _keys(native, plan, len(sums.n))
    return Answer(n_rows, missing, scalings, log_weights, keys, sums, ranges)


def _check_same_rows(before: int, after: int) -> None:
    if before != after:
        raise DataError(
            f"the table changes while it is read: {before} complete rows at first, then {after}; "
            "nothing was fitted. Fit a copy, or a query that gives the same rows each time"
        )


def _keys(native: Any, plan: Plan, n_cells: int) -> dict[str, Factor]:
    """Levels of the cells, through the door that reads frames in memory."""
    if not plan.keys:
        return {}
    columns = read(
        native,
        list(plan.categorical),
        categorical=[name for name in plan.categorical if name in plan.forced],
        grouping=list(plan.keys),
    )
    assert columns.n == n_cells
    return {name: declared(f, native[name], name) for name, f in columns.groups.items()}


@dataclass(frozen=True, slots=True)
class _Source:
    """Columns under our names: keys ``k0``, numbers ``v0``, texts ``t0``, weights ``w``."""

    frame: nw.LazyFrame[Any]
    names: dict[str, str]
    columns: Mapping[str, Column]
    weighted: bool
    keys: tuple[str, ...]

    @classmethod
    def of(
        cls, table: nw.LazyFrame[Any], plan: Plan, numeric: Sequence[str], weights: str | None
    ) -> _Source:
        table, asked = asked_as(table)
        given = table.collect_schema()
        schema = {name: given[own] for name, own in asked.items()}
        selected: list[nw.Expr] = []
        names: dict[str, str] = {}
        columns: dict[str, Column] = {}
        for i, name in enumerate(plan.keys):
            selected.append(nw.col(asked[name]).alias(f"k{i}"))
            names[f"k{i}"] = name
        for i, name in enumerate(numeric):
            if is_numeric(schema[name]):
                selected.append(nw.col(asked[name]).cast(nw.Float64).alias(f"v{i}"))
                names[f"v{i}"] = name
                columns[name] = Column(name, nw.col(f"v{i}"), nw.col(f"v{i}"))
            else:
                selected.append(nw.col(asked[name]).cast(nw.String).alias(f"t{i}"))
                names[f"t{i}"] = name
                columns[name] = Column(name, None, nw.col(f"t{i}"))
        if weights is not None:
            selected.append(nw.col(asked[weights]).cast(nw.Float64).alias("w"))
            names["w"] = weights
        floats = {own for own, name in names.items() if own[0] in "vw" or schema[name] in FLOATS}
        frame = table.select(*selected)
        frame = frame.with_columns(*(_absent(own, is_float=own in floats) for own in names))
        keys = tuple(own for own in names if own[0] == "k")
        return cls(frame, names, columns, weights is not None, keys)

    def overview(self) -> tuple[int, int, dict[str, int]]:
        """Number of rows, of complete ones, and of missing values per column.

        Raises
        ------
        DataError
            No complete rows, or infinities: these are never dropped in silence.
        """
        infinite = [own for own in self.names if own[0] in "vw"]
        flags = self.frame.with_columns(
            *(nw.col(f"m_{own}").cast(nw.Int64).alias(f"m_{own}") for own in self.names),
            *(
                nw.when(nw.col(own).abs() == math.inf).then(1).otherwise(0).alias(f"i_{own}")
                for own in infinite
            ),
            nw.when(~self._incomplete()).then(1).otherwise(0).alias("complete"),
        )
        found = _row(
            flags.select(
                nw.len().alias("n_rows"),
                nw.col("complete").sum(),
                *(nw.col(f"m_{own}").sum() for own in self.names),
                *(nw.col(f"i_{own}").sum() for own in infinite),
            )
        )
        n_rows = int(found["n_rows"])
        if n_rows == 0:
            raise DataError("the table has 0 rows")
        for own in infinite:
            count = int(found[f"i_{own}"])
            if count:
                raise DataError(
                    f"column '{self.names[own]}' has {count} infinite value"
                    f"{'s' if count > 1 else ''}; drop these rows or mend the values"
                )
        missing: dict[str, int] = {}
        for own, name in self.names.items():
            count = int(found[f"m_{own}"])
            if count:
                missing[name] = count
        n_complete = int(found["complete"])
        if not n_complete:
            counts = ", ".join(f"{name}: {count}" for name, count in missing.items())
            raise DataError(
                f"no complete rows: each of the {n_rows} rows of the table misses a value "
                f"(missing values by column: {counts})"
            )
        return n_rows, n_complete, missing

    def _incomplete(self) -> nw.Expr:
        return reduce(lambda a, b: a | b, (nw.col(f"m_{own}") for own in self.names))

    def complete(self) -> nw.LazyFrame[Any]:
        """The rows that have a value in every column."""
        return self.frame.filter(~self._incomplete())

    def scalings(self, codes: Sequence[str]) -> dict[str, Scaling]:
        """What ``center()`` and ``scale()`` need to know, one query for each depth of nesting."""
        pending: dict[str, ast.Call] = {}
        for code in codes:
            pending |= stateful_calls(code)
        done: dict[str, Scaling] = {}
        while pending:
            ready = {
                text: node
                for text, node in pending.items()
                if all(inner in done for inner in stateful_calls(text) if inner != text)
            }
            frame = self.complete().with_columns(
                *(
                    translate(node.args[0], self.columns, done).alias(f"s{i}")
                    for i, node in enumerate(ready.values())
                )
            )
            found = _row(
                frame.select(
                    nw.len().alias("n"),
                    *(nw.col(f"s{i}").mean().alias(f"mean{i}") for i in range(len(ready))),
                    *(nw.col(f"s{i}").var(ddof=1).alias(f"var{i}") for i in range(len(ready))),
                )
            )
            for i, (text, node) in enumerate(ready.items()):
                mean, variance = float(found[f"mean{i}"]), float(found[f"var{i}"] or 0.0)
                done[text] = scaling_of(node, mean, variance, int(found["n"]))
                del pending[text]
        return done

    def parts(
        self, parts: Sequence[Part], response: str, scalings: Mapping[str, Scaling]
    ) -> nw.LazyFrame[Any]:
        """Complete rows: keys, parts ``p0``, ... (the response last) and weights."""
        every = [*parts, (response,)]
        made = []
        for i, part in enumerate(every):
            factors = [translate(tree(code), self.columns, scalings) for code in part]
            product = reduce(lambda a, b: a * b, factors)
            # an integer must not overflow, nor a constant lose its column
            made.append((product + nw.lit(0.0)).cast(nw.Float64).alias(f"p{i}"))
        kept = [nw.col(own) for own in self.keys] + [nw.col("w")] * self.weighted
        return self.complete().select(*kept, *made)

    def centres(
        self, parts: nw.LazyFrame[Any], labels: Sequence[str]
    ) -> tuple[list[float], Array, float]:
        """Means and ranges of the parts and the response; sum of the logarithms of the weights.

        Raises
        ------
        DataError
            Parts without a finite value in some rows; weights that are not positive.
        """
        names = [f"p{i}" for i in range(len(labels))]
        flags = [_bad(name).alias(f"b_{name}") for name in names]
        select = [nw.col(name).mean() for name in names]
        select += [nw.col(name).min().alias(f"low_{name}") for name in names]
        select += [nw.col(name).max().alias(f"high_{name}") for name in names]
        select += [nw.col(f"b_{name}").sum() for name in names]
        if self.weighted:
            positive = nw.col("w") > 0.0
            safe = nw.when(positive).then(nw.col("w")).otherwise(nw.lit(1.0))
            flags += [
                nw.when(positive).then(0).otherwise(1).alias("b_w"),
                safe.log().alias("log_w"),
            ]
            select += [nw.col("b_w").sum(), nw.col("log_w").sum()]
            select += [nw.col("w").min().alias("least"), nw.col("w").max().alias("most")]
        found = _row(parts.with_columns(*flags).select(*select))
        for name, label in zip(names, labels, strict=True):
            count = int(found[f"b_{name}"])
            if count:
                raise DataError(
                    f"{label} has no finite value in {count} row{'s' if count > 1 else ''}: drop "
                    "or mend these rows" + (", or use log1p()" if label.startswith("log(") else "")
                )
        ranges = np.array([[found[f"low_{name}"], found[f"high_{name}"]] for name in names])
        means = [float(found[name]) for name in names]
        if not self.weighted:
            return means, ranges, 0.0
        self._check_weights(found)
        return means, ranges, float(found["log_w"])

    def _check_weights(self, found: Mapping[str, Any]) -> None:
        count, least, most = int(found["b_w"]), float(found["least"]), float(found["most"])
        if count:
            kind = "negative" if least < 0 else "zero"
            raise DataError(
                f"weights must be positive: {count} of them {'are' if count > 1 else 'is'} not "
                f"('{self.names['w']}' has {kind} ones); drop these rows instead"
            )
        if least < SMALLEST * most:
            raise DataError(
                f"weights reach from {least:g} to {most:g}: the smallest rows cannot be "
                "represented beside the largest; drop them, or mend the weights"
            )

    def cells(self, parts: nw.LazyFrame[Any], centres: Sequence[float]) -> tuple[Any, Sums]:
        """Keys of the cells as a native frame under the table's own names, and their sums."""
        size = len(centres)
        centred = parts.with_columns(
            *((nw.col(f"p{i}") - c).alias(f"p{i}") for i, c in enumerate(centres))
        )
        frame = self._grouped(centred, size)
        sums = _sums(frame, size, np.array(centres), weighted=self.weighted)
        if _lacks_digits(sums):
            sums = self._about_means(centred, frame, sums, np.array(centres))
        native = frame.select(*(nw.col(own).alias(self.names[own]) for own in self.keys))
        return native.to_native(), sums

    def _grouped(self, centred: nw.LazyFrame[Any], size: int) -> nw.DataFrame[Any]:
        weight = [nw.col("w")] * self.weighted
        pairs = [(i, j) for i in range(size) for j in range(i + 1)]
        products = [
            reduce(lambda a, b: a * b, [nw.col(f"p{i}"), nw.col(f"p{j}"), *weight]).alias(
                f"q{i}_{j}"
            )
            for i, j in pairs
        ]
        firsts = [
            reduce(lambda a, b: a * b, [nw.col(f"p{i}"), *weight]).alias(f"s{i}")
            for i in range(size)
        ]
        aggregates = [nw.len().alias("n")]
        aggregates += [nw.col("w").sum()] if self.weighted else []
        aggregates += [nw.col(f"s{i}").sum() for i in range(size)]
        aggregates += [nw.col(f"q{i}_{j}").sum() for i, j in pairs]
        summed = centred.with_columns(*firsts, *products)
        if not self.keys:
            return answered(summed.select(*aggregates))
        return answered(summed.group_by(*self.keys).agg(*aggregates))

    def _about_means(
        self, centred: nw.LazyFrame[Any], frame: nw.DataFrame[Any], sums: Sums, centres: Array
    ) -> Sums:
        """The same sums about the means of the cells, which the engine joins to the rows."""
        size = len(centres)
        weight = nw.col("w") if self.weighted else nw.lit(1.0)
        total = nw.col("w").sum().alias("w_mean") if self.weighted else nw.len().alias("w_mean")
        means = (
            centred.with_columns(*((nw.col(f"p{i}") * weight).alias(f"s{i}") for i in range(size)))
            .group_by(*self.keys)
            .agg(total, *(nw.col(f"s{i}").sum().alias(f"mean{i}") for i in range(size)))
            .with_columns(
                *((nw.col(f"mean{i}") / nw.col("w_mean")).alias(f"mean{i}") for i in range(size))
            )
        )
        joined = centred.join(means, on=list(self.keys), how="inner").with_columns(
            *((nw.col(f"p{i}") - nw.col(f"mean{i}")).alias(f"p{i}") for i in range(size))
        )
        again = self._grouped(joined, size)
        place = _order(again, frame, self.keys)
        fine = _sums(again, size, np.zeros(size), weighted=self.weighted).take(place)
        # what is left of the means is their rounding
        return Sums(sums.n, sums.weight, sums.means + fine.means, fine.products)


def number_column(name: str, kind: Any) -> nw.Expr:
    """A column of a table as a 64-bit float, NaN as null."""
    value = nw.col(name).cast(nw.Float64)
    return nw.when(~value.is_nan()).then(value) if kind in FLOATS else value


def text_column(name: str, kind: Any) -> nw.Expr:
    """A column of a table as text, as levels are written: 1 for 1.0, True for true."""
    value = nw.col(name)
    if kind == nw.Boolean:
        text = nw.when(value).then(nw.lit("True")).otherwise(nw.lit("False"))
        return nw.when(~value.is_null()).then(text)
    if kind in FLOATS:
        value = number_column(name, kind)
        absent = value.is_null()
        # a cast of what is missing is an error in some engines
        safe = nw.when(absent).then(nw.lit(0.0)).otherwise(value)
        whole = safe.cast(nw.Int64).cast(nw.String)
        text = nw.when(safe == safe.floor()).then(whole).otherwise(safe.cast(nw.String))
        return nw.when(~absent).then(text)
    return value.cast(nw.String)


def as_read(name: str, asked: str, kind: Any) -> Column:
    """A column of a table, asked for by another name, as the parts of a formula read it."""
    number = number_column(asked, kind) if is_numeric(kind) else None
    return Column(name, number, text_column(asked, kind))


def is_numeric(dtype: Any) -> bool:
    """Whether a column of this type holds numbers."""
    return bool(dtype.is_numeric()) or dtype == nw.Boolean


def _absent(own: str, *, is_float: bool) -> nw.Expr:
    absent = nw.col(own).is_null()
    if is_float:
        # a comparison with null is null, which is no truth
        absent = absent | nw.when(~absent).then(nw.col(own).is_nan()).otherwise(YES)
    return absent.alias(f"m_{own}")


def _bad(name: str) -> nw.Expr:
    """1 where a part is not a finite number."""
    value = nw.col(name)
    fine = nw.when(~value.is_null()).then(value.is_finite()).otherwise(NO)
    return nw.when(fine).then(0).otherwise(1)


def _row(frame: nw.LazyFrame[Any]) -> dict[str, Any]:
    collected = answered(frame)
    return {name: collected[name].to_list()[0] for name in collected.columns}


def _numbers(frame: nw.DataFrame[Any], name: str) -> Array:
    return np.asarray(frame[name].to_numpy(), dtype=np.float64)


def _sums(frame: nw.DataFrame[Any], size: int, centres: Array, *, weighted: bool) -> Sums:
    n = _numbers(frame, "n").astype(np.int64)
    weight = _numbers(frame, "w") if weighted else n.astype(np.float64)
    about = np.stack([_numbers(frame, f"s{i}") / weight for i in range(size)])
    products = np.empty((size, size, len(n)))
    varies = np.empty((size, len(n)), np.bool_)
    for i in range(size):
        for j in range(i, -1, -1):
            squares = _numbers(frame, f"q{i}_{j}")
            value = squares - weight * about[i] * about[j]
            if i == j:  # a difference within the rounding of what it is of is none
                varies[i] = (n > 1) & (value > LOST * squares)
            products[i, j] = products[j, i] = np.where(varies[i] & varies[j], value, 0.0)
    return Sums(n, weight, about + centres[:, None], products)


def _lacks_digits(sums: Sums) -> bool:
    """Whether a column varies so little within cells that sums about common means are rounding."""
    total = sums.weight.sum()
    grand = sums.means @ sums.weight / total
    between = np.square(sums.means - grand[:, None]) @ sums.weight
    within = np.einsum("iic->i", sums.products)
    share = within / np.where(between + within > 0, between + within, 1.0)
    doubtful = share > CONSTANT
    # a response that is constant within all cells is worth a second look
    doubtful[-1] = between[-1] > 0
    return bool((sums.n > 1).any() and (doubtful & (share < WITHIN)).any())


def _order(frame: nw.DataFrame[Any], like: nw.DataFrame[Any], keys: Sequence[str]) -> Any:
    """Places of the cells of `frame` in the order of `like`; engines promise none."""
    place = {key: i for i, key in enumerate(zip(*(frame[k].to_list() for k in keys), strict=True))}
    return np.array(
        [place[key] for key in zip(*(like[k].to_list() for k in keys), strict=True)], np.intp
    )
