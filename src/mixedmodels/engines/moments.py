"""`Moments`: what a formula asks of some rows; they add, subtract, save and are fitted."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array
from mixedmodels.design.contrasts import forced_factors
from mixedmodels.design.frame import (
    Columns,
    column_names,
    column_values,
    frame_kind,
    read,
    snapshot,
)
from mixedmodels.design.levels import Factor, Numeric
from mixedmodels.design.storage import read_column
from mixedmodels.engines.door import engine_of, frame_kind_of, is_table, open_table
from mixedmodels.engines.expressions import (
    Scaling,
    column_of,
    scaling_of,
    stateful_calls,
    tree,
)
from mixedmodels.engines.plan import Part, Plan, make_plan, numeric_variables, response_code
from mixedmodels.engines.query import ask, is_numeric
from mixedmodels.engines.sums import Sums, cell_codes, declared, kept, match, row_sums, union
from mixedmodels.errors import DataError, FormulaError
from mixedmodels.formula.functions import evaluate
from mixedmodels.formula.parse import parse
from mixedmodels.formula.terms import Expression, ParsedFormula


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Moments:
    """Sums per cell of some rows: all that a formula, and every smaller one, asks of them.

    Made by `from_frame`; ``+`` adds rows and ``-`` takes them away; `mixedmodels.lmer` and
    `mixedmodels.lm` fit them as they fit a data frame.

    Attributes
    ----------
    formula : str
        What they were summed for.
    n_rows : int
        Rows given, incomplete ones included.
    missing : dict of str to int
        Missing values by column.
    keys : dict of str to Factor
        The grouping factors and categorical covariates; their levels in each cell.
    parts : tuple of tuple of str
        Code of the numeric products that were summed.
    sums : Sums
        Per cell, of the parts and, last, the response less its offset.
    ranges : ndarray of shape (k, 2)
        Least and greatest value of each.

    Notes
    -----
    A **cell** is a combination of levels of the grouping factors and categorical covariates that
    occurs. It holds the number of its rows, the sum of their weights, the means of the parts and of
    the response, and the products of their deviations from these means. The size is that of the
    cells, whatever the number of rows. Merging is that of Chan, Golub and LeVeque (1983), The
    American Statistician 37, 242-247.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> formula = "BW ~ time + I(time^2) + treatm + (time | animal)"
    >>> monday, tuesday = piglets[:150], piglets[150:]
    >>> both = mm.Moments.from_frame(formula, monday) + mm.Moments.from_frame(formula, tuesday)
    >>> both
    <Moments of BW ~ time + I(time^2) + treatm + (time | animal): 297 rows in 75 cells>
    >>> m = mm.lmer("BW ~ time + (1 | animal)", both)
    >>> round(m.sigma, 4) == round(mm.lmer("BW ~ time + (1 | animal)", piglets).sigma, 4)
    True
    """

    formula: str
    names: tuple[str, ...]
    numbers: frozenset[str]
    weights: str | None
    offset: str | None
    response: str
    parts: tuple[Part, ...]
    labels: dict[Part, str]
    scalings: dict[str, Scaling]
    keys: dict[str, Factor]
    sums: Sums
    ranges: Array
    log_weights: float
    n_rows: int
    missing: dict[str, int]
    kind: Any
    origin: str

    @classmethod
    @checked
    def from_frame(
        cls,
        formula: str,
        data: Any,
        *,
        weights: str | None = None,
        offset: str | None = None,
        progress: bool | None = None,
    ) -> Moments:
        """Sum the rows of a data frame or of a table outside memory.

        Parameters
        ----------
        formula : str
            As in `mixedmodels.lmer`; random terms may be missing.
        data : data frame, lazy table or path to Parquet files
            Whatever `mixedmodels.lmer` takes.
        weights, offset : str, optional
            Columns of prior weights and of a known part of the mean.
        progress : bool, optional
            Show a line while an engine is asked; by default where somebody watches and it takes
            long.

        Returns
        -------
        Moments

        Raises
        ------
        FormulaError
            A malformed formula, or ``poly()`` and splines, which need all rows at once.
        DataError
            Data that cannot be used; errors of an engine in its own words.
        """
        if is_table(data):
            return _from_table(cls, formula, data, weights, offset, progress=progress)
        return _from_memory(cls, formula, data, weights, offset)

    @property
    def n(self) -> int:
        """Number of complete rows."""
        return int(self.sums.n.sum())

    @property
    def n_cells(self) -> int:
        """Number of combinations of levels that occur."""
        return len(self.sums.n)

    def __repr__(self) -> str:
        return f"<Moments of {self.formula}: {self.n} rows in {self.n_cells} cells>"

    def __add__(self, other: Moments) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        _check_alike(self, other)
        joined = {name: union(name, key, other.keys[name]) for name, key in self.keys.items()}
        n = self.n_cells + other.n_cells
        cell, first = cell_codes(list(joined.values()), n)
        return replace(
            self,
            keys={name: kept(key, first) for name, key in joined.items()},
            sums=self.sums.joined(other.sums).merged(cell, len(first)),
            ranges=np.column_stack(
                [
                    np.minimum(self.ranges[:, 0], other.ranges[:, 0]),
                    np.maximum(self.ranges[:, 1], other.ranges[:, 1]),
                ]
            ),
            log_weights=self.log_weights + other.log_weights,
            n_rows=self.n_rows + other.n_rows,
            missing=_added(self.missing, other.missing, 1),
        )

    def __sub__(self, other: Moments) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        _check_alike(self, other)
        place = match(self.keys, other.keys)
        counts = np.zeros(self.n_cells, np.int64)
        if (place >= 0).all():
            counts[place] = other.sums.n
        if (place < 0).any() or (counts > self.sums.n).any():
            raise DataError(
                "the rows to take away are not all among these: some cells would have fewer than "
                "zero rows"
            )
        changed = self.sums.take(place).less(other.sums)
        sums = Sums(*(np.array(getattr(self.sums, name)) for name in Sums.__slots__))
        for name in Sums.__slots__:
            getattr(sums, name)[..., place] = getattr(changed, name)
        left = sums.n > 0
        if not left.any():
            raise DataError("no rows are left")
        return replace(
            self,
            keys={name: kept(key, left) for name, key in self.keys.items()},
            sums=sums.take(left),
            log_weights=self.log_weights - other.log_weights,
            n_rows=self.n_rows - other.n_rows,
            missing=_added(self.missing, other.missing, -1),
        )

    @checked
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the sums to one file that `load` reads back.

        Parameters
        ----------
        path : str or path-like
            Replaced when it exists, once the new file is complete.

        Notes
        -----
        A zip archive of ``model.json`` (format, formula, levels, codes of the parts) and ``.npy``
        arrays ``n``, ``weight``, ``means``, ``products`` and ``codes_0``, ... No row is in it.
        """
        from mixedmodels.engines.storage import save

        save(self, Path(path))

    @staticmethod
    @checked
    def load(path: str | os.PathLike[str]) -> Moments:
        """Read sums that `save` wrote. Nothing in the file is executed.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        Moments

        Raises
        ------
        FileNotFoundError
            No such file.
        ModelError
            Not such a file, or damaged.
        """
        from mixedmodels.engines.storage import load

        return load(Path(path))

    def spread(self, name: str) -> tuple[float, float, float, bool] | None:
        """Mean, least and greatest value of a column, and whether it has no others.

        None where the column is no part of its own, or the sums are weighted.
        """
        if self.weights is not None or name not in self.bare:
            return None
        at = self.bare[name]
        n, means = self.sums.n, self.sums.means[at]
        low, high = self.ranges[at].tolist()
        mean = float(n @ (means - low) / n.sum()) + low
        variance = float(self.sums.products[at, at].sum() + n @ np.square(means - mean)) / self.n
        # (x - low) (high - x) is zero at the ends only, and its mean is this difference
        inside = (mean - low) * (high - mean) - variance
        return mean, low, high, inside <= 1e-12 * (high - low) ** 2

    @property
    def bare(self) -> dict[str, int]:
        """Columns that are parts as they stand, and their places."""
        found = {}
        for i, part in enumerate(self.parts):
            name = column_of(tree(part[0])) if len(part) == 1 else None
            if name is not None:
                found[name] = i
        return found

    @checked
    def plan(self, formula: ParsedFormula) -> Plan:
        """Keys and parts of a formula, all of which must be among those summed.

        Raises
        ------
        FormulaError
            What the sums lack.
        """
        plan = make_plan(formula, self.numbers.__contains__)
        lacks = [f"'{plan.labels[part]}'" for part in plan.parts if part not in self.parts]
        lacks += [f"the categories of '{name}'" for name in plan.keys if name not in self.keys]
        if response_code(formula, self.offset) != self.response:
            lacks.insert(0, "this response (or its offset)")
        if lacks:
            raise FormulaError(
                f"the sums were taken for '{self.formula}' and lack {', '.join(lacks)}: sum the "
                "rows again with a formula that has all terms"
            )
        return plan


def _added(first: Mapping[str, int], second: Mapping[str, int], sign: int) -> dict[str, int]:
    total = {name: first.get(name, 0) + sign * second.get(name, 0) for name in {**first, **second}}
    return {name: count for name, count in total.items() if count}


def _check_alike(first: Moments, second: Moments) -> None:
    for what, a, b in (
        ("response", first.response, second.response),
        ("weights", first.weights, second.weights),
        ("numeric terms", set(first.parts), set(second.parts)),
        ("categories", set(first.keys), set(second.keys)),
    ):
        if a != b:
            raise DataError(
                f"sums of '{first.formula}' and '{second.formula}' differ in their {what}: only "
                "sums for one formula add"
            )
    if first.scalings != second.scalings:
        raise DataError(
            "center() and scale() took other means in the two batches: leave them out of the "
            "formula (the fit does not depend on the position or unit of a covariate)"
        )
    if first.parts != second.parts:
        raise DataError("the formulas list their terms in different orders: use one formula")


# --- rows in memory -------------------------------------------------------------------------------


def _from_memory(
    cls: type[Moments], formula: str, data: Any, weights: str | None, offset: str | None
) -> Moments:
    data = snapshot(data)
    names = column_names(data)
    parsed = parse(formula, names)
    numbers = frozenset(
        name
        for name in parsed.variables
        if name in names and isinstance(read_column(data[name], name), Numeric)
    )
    plan = make_plan(parsed, numbers.__contains__)
    arrays = {
        role: column_values(data, name, role)
        for role, name in (("weights", weights), ("offset", offset))
        if name is not None
    }
    forced = forced_factors(parsed)
    columns = read(
        data, parsed.covariates, categorical=forced, grouping=list(plan.keys), arrays=arrays
    )
    response = response_code(parsed, offset)
    scalings = _scalings(plan, response, columns)
    values = _values(plan, columns)
    prior = columns.arrays.get("weights")
    if prior is not None and not (prior > 0).all():
        raise DataError("weights must be positive; drop the rows of weight zero instead")
    cell, first = cell_codes(list(columns.groups.values()), columns.n)
    return cls(
        formula=formula,
        names=names,
        numbers=numbers,
        weights=weights,
        offset=offset,
        response=response,
        parts=plan.parts,
        labels=plan.labels,
        scalings=scalings,
        keys={
            name: kept(declared(key, data[name], name), first)
            for name, key in columns.groups.items()
        },
        sums=row_sums(cell, len(first), values, prior),
        ranges=np.column_stack([values.min(axis=1), values.max(axis=1)]),
        log_weights=0.0 if prior is None else float(np.log(prior).sum()),
        n_rows=columns.n_rows,
        missing=columns.missing,
        kind=frame_kind(data),
        origin="memory",
    )


def _values(plan: Plan, columns: Columns) -> Array:
    """Parts and response of rows in memory."""
    every = []
    texts = {name: np.array(f.levels, object)[f.codes] for name, f in columns.factors.items()}
    known = {**texts, **columns.numbers}
    formula = plan.formula
    assert formula.response is not None
    response = evaluate(formula.response, known)
    for expression in formula.offsets:
        response = response - evaluate(expression, known)
    if "offset" in columns.arrays:
        response = response - columns.arrays["offset"]
    for part in plan.parts:
        product: Array = np.ones(columns.n)
        for code in part:
            product = product * evaluate(Expression(code, code, ()), known)
        every.append(product)
    labels = [*plan.labels.values(), formula.response.text]
    values = np.stack([np.broadcast_to(v, (columns.n,)) for v in [*every, response]])
    for label, row in zip(labels, values, strict=True):
        bad = np.flatnonzero(~np.isfinite(row))
        if len(bad):
            raise DataError(
                f"{label} has no finite value in {len(bad)} row{'s' if len(bad) > 1 else ''} "
                f"(first at row {columns.row_labels(bad[:1])[0]}): drop or mend these rows"
            )
    return values


def _scalings(plan: Plan, response: str, columns: Columns) -> dict[str, Scaling]:
    """What ``center()`` and ``scale()`` learn from rows in memory."""
    found: dict[str, Scaling] = {}
    for code in [*(c for part in plan.parts for c in part), response]:
        for text, node in stateful_calls(code).items():
            inside = ast.unparse(node.args[0])
            values = evaluate(Expression(inside, inside, ()), columns.numbers)
            variance = float(values.var(ddof=1)) if columns.n > 1 else 0.0
            found[text] = scaling_of(node, float(values.mean()), variance, columns.n)
    return found


# --- tables outside memory ------------------------------------------------------------------------


def _from_table(
    cls: type[Moments],
    formula: str,
    data: Any,
    weights: str | None,
    offset: str | None,
    *,
    progress: bool | None,
) -> Moments:
    from mixedmodels.engines.door import asking

    table = open_table(data)
    with asking(engine_of(table)):
        schema = table.collect_schema()
    names = tuple(schema)
    parsed = parse(formula, names)
    _check_columns(parsed, names, weights, offset)
    numbers = frozenset(name for name in names if is_numeric(schema[name]))
    plan = make_plan(parsed, numbers.__contains__)
    for name in plan.categorical:
        kind = schema[name]
        if kind.is_temporal() and name not in plan.forced:
            raise DataError(
                f"column '{name}' is {kind}; a covariate must be a number: convert it in the "
                f"table, or write factor({name}) if its values are labels"
            )
    response = response_code(parsed, offset)
    answer = ask(
        data, plan, response, numeric_variables(plan, response), weights, progress=progress
    )
    return cls(
        formula=formula,
        names=names,
        numbers=numbers,
        weights=weights,
        offset=offset,
        response=response,
        parts=plan.parts,
        labels=plan.labels,
        scalings=answer.scalings,
        keys=answer.keys,
        sums=answer.sums,
        ranges=answer.ranges,
        log_weights=answer.log_weights,
        n_rows=answer.n_rows,
        missing=answer.missing,
        kind=frame_kind_of(data),
        origin=engine_of(table),
    )


def _check_columns(
    parsed: ParsedFormula, names: tuple[str, ...], weights: str | None, offset: str | None
) -> None:
    wanted = [*parsed.variables, *(name for name in (weights, offset) if name is not None)]
    unknown = [name for name in dict.fromkeys(wanted) if name not in names]
    if unknown:
        from mixedmodels.design.frame import check_names

        check_names(unknown, list(names), "the table")
