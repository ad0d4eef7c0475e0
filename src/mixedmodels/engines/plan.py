"""What sums a formula needs: cells by its categories, and numeric parts to be multiplied.

Each column of X and Z is a product of codes of categories, constant within a cell, and of numbers.
The product of a term's numbers is a **part**: ``x``, ``I(x^2)``, ``x:z``. Sums of products of parts
and the response per cell are all that the formula asks of the rows.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from formulaic import Formula  # type: ignore[import-untyped]

from mixedmodels.design.contrasts import forced_factors
from mixedmodels.engines.expressions import (
    CATEGORY,
    WHOLE_TABLE,
    column_of,
    tree,
    variables,
)
from mixedmodels.errors import FormulaError
from mixedmodels.formula.render import column_source
from mixedmodels.formula.terms import ParsedFormula

# codes of the factors that are multiplied, in one order
Part: TypeAlias = tuple[str, ...]
PREFIX = "__part_"


@dataclass(frozen=True, slots=True)
class SplitTerm:
    """One term of a source.

    Attributes
    ----------
    part : int or None
        Its number, as a place among the parts; None where it has none.
    categories : tuple of str
        Columns of its categories.
    """

    part: int | None
    categories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Keys and parts of a formula.

    Attributes
    ----------
    formula : ParsedFormula
    grouping, categorical : tuple of str
        Columns of the grouping factors, and covariates that are categories.
    parts : tuple of Part
        Numeric products of the terms, each once; the response less its offsets is not among them.
    labels : dict of Part to str
        As the user wrote them.
    sources : dict of str to str
        For each source of the formula the same with its parts as columns ``__part_0``, ...
    terms : dict of str to tuple of SplitTerm
        Terms of each source, the constant first, in the order of their columns.
    forced : frozenset of str
        Numeric columns that are categories throughout.
    """

    formula: ParsedFormula
    grouping: tuple[str, ...]
    categorical: tuple[str, ...]
    parts: tuple[Part, ...]
    labels: dict[Part, str]
    sources: dict[str, str]
    terms: dict[str, tuple[SplitTerm, ...]]
    forced: frozenset[str]

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns whose observed combinations are the cells."""
        return tuple(dict.fromkeys([*self.grouping, *self.categorical]))


def make_plan(formula: ParsedFormula, is_number: Callable[[str], bool]) -> Plan:
    """Split the terms of a formula into categories and numbers.

    Parameters
    ----------
    formula : ParsedFormula
    is_number : callable
        Whether a column of the table holds numbers.

    Raises
    ------
    FormulaError
        A transform that needs all rows at once, or a category that is no column.
    """
    forced = frozenset(forced_factors(formula))
    splitter = _Splitter(formula, lambda name: is_number(name) and name not in forced)
    sources = {
        source: splitter.rewritten(source)
        for source in dict.fromkeys([formula.fixed, *(t.columns for t in formula.random)])
    }
    grouping = dict.fromkeys(v for term in formula.random for v in term.group.variables)
    return Plan(
        formula,
        tuple(grouping),
        tuple(splitter.categorical),
        tuple(splitter.parts),
        {part: splitter.label(part) for part in splitter.parts},
        sources,
        splitter.terms,
        forced,
    )


class _Splitter:
    """Goes through the terms and numbers the parts as they come."""

    def __init__(self, formula: ParsedFormula, is_number: Callable[[str], bool]) -> None:
        self.formula, self.is_number = formula, is_number
        self.parts: dict[Part, int] = {}
        self.categorical: dict[str, None] = {}
        self.terms: dict[str, tuple[SplitTerm, ...]] = {}

    def rewritten(self, source: str) -> str:
        terms, split = [], [SplitTerm(None, ())] if source[0] == "1" else []
        for factors in terms_of(source):
            codes = [code for code, quoted in factors if quoted is None]
            if codes == ["1"]:
                continue
            numbers, kept = [], []
            categories: list[str] = []
            for code, quoted in factors:
                category = self.category(code, quoted)
                if category is not None:
                    categories.append(category)
                    kept.append(code if quoted is None else quoted)
                else:
                    numbers.append(code if quoted is None else column_source(code))
            at = None
            if numbers:
                at = self.parts.setdefault(tuple(sorted(numbers)), len(self.parts))
                kept.insert(0, f"{PREFIX}{at}")
            terms.append(":".join(kept))
            split.append(SplitTerm(at, tuple(categories)))
        self.terms[source] = tuple(split)
        return " + ".join([source[0], *terms])

    def category(self, code: str, quoted: str | None) -> str | None:
        """The column of which one factor is a category; None if it is a number."""
        node = tree(column_source(code) if quoted is not None else code)
        name = column_of(node)
        if name is None:
            assert isinstance(node, ast.Call)
            assert isinstance(node.func, ast.Name)
            function = node.func.id
            self.refuse(node, code)
            if function not in CATEGORY:
                return None
            name = column_of(node.args[0])
            if name is None:
                raise FormulaError(
                    f"{self.text(code)}: for tables outside memory a category must be a column: "
                    "add the values to the table"
                )
        elif self.is_number(name):
            return None
        self.categorical[name] = None
        return name

    def refuse(self, node: ast.AST, code: str) -> None:
        for inner in ast.walk(node):
            if (
                isinstance(inner, ast.Call)
                and isinstance(inner.func, ast.Name)
                and inner.func.id in WHOLE_TABLE
            ):
                raise FormulaError(
                    f"{self.text(code)} needs all rows at once and is not available for tables "
                    "outside memory: write powers such as x + I(x^2) (shift and unit of x cost no "
                    "digits), or add the columns to the table"
                )

    def text(self, code: str) -> str:
        return self.formula.labels.get(code) or column_of(tree(code)) or code

    def label(self, part: Part) -> str:
        return ":".join(map(self.text, part))


@lru_cache(maxsize=256)
def terms_of(source: str) -> tuple[tuple[tuple[str, str | None], ...], ...]:
    """Factors of each term of a source: their code and, of a bare column, how it is quoted."""
    return tuple(tuple(_factors(term)) for term in Formula(source))


def _factors(term: Any) -> Iterator[tuple[str, str | None]]:
    for factor in term.factors:
        lookup = factor.eval_method.value == "lookup"
        yield factor.expr, f"`{factor.expr}`" if lookup else None


def response_code(formula: ParsedFormula, offset: str | None) -> str:
    """Code of the response less the formula's offsets and the column of an offset."""
    assert formula.response is not None
    code = formula.response.code
    for expression in formula.offsets:
        code = f"({code}) - ({expression.code})"
    return code if offset is None else f"({code}) - {column_source(offset)}"


def numeric_variables(plan: Plan, response: str) -> tuple[str, ...]:
    """Columns that the parts and the response read."""
    codes = [response, *(code for part in plan.parts for code in part)]
    return tuple(dict.fromkeys(name for code in codes for name in variables(code)))
