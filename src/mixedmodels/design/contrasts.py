"""Coding of factors: the `contrasts` argument, and which columns are factors throughout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from mixedmodels.errors import FormulaError
from mixedmodels.formula.render import column_factor, column_source
from mixedmodels.formula.terms import ParsedFormula, RandomTerm

CODINGS = ("treatment", "sum", "helmert", "poly")


def with_contrasts(formula: ParsedFormula, contrasts: Mapping[str, Any]) -> ParsedFormula:
    """The formula with each named factor coded as asked.

    Raises
    ------
    FormulaError
        An unknown coding, or a variable that the formula does not use.
    """
    if not isinstance(contrasts, Mapping):
        raise FormulaError(f"contrasts must be a dict such as {{'f': 'sum'}}, not {contrasts!r}")
    chosen = {name: _plain(coding) for name, coding in contrasts.items()}
    for name, coding in chosen.items():
        if coding not in CODINGS:
            raise FormulaError(
                f"contrasts for '{name}': {coding!r} is not known; use one of {', '.join(CODINGS)}"
            )
        if name not in formula.covariates:
            raise FormulaError(
                f"contrasts for '{name}': the formula does not use it; its variables are "
                f"{', '.join(formula.covariates)}"
            )
    return _recode(formula, tuple(sorted(chosen.items()))) if chosen else formula


def _plain(coding: Any) -> Any:
    """R's ``contr.sum`` is ``sum`` here."""
    return coding.removeprefix("contr.") if isinstance(coding, str) else coding


def _recode(formula: ParsedFormula, contrasts: tuple[tuple[str, str], ...]) -> ParsedFormula:
    labels = dict(formula.labels)
    fixed = _replace(formula.fixed, contrasts, labels)
    random: list[RandomTerm] = [
        replace(term, columns=_replace(term.columns, contrasts, labels)) for term in formula.random
    ]
    return replace(formula, fixed=fixed, random=tuple(random), labels=labels)


def _replace(source: str, contrasts: tuple[tuple[str, str], ...], labels: dict[str, str]) -> str:
    """Rewrite our own rendering, in which a bare factor is a term of its own."""
    for name, coding in contrasts:
        code = f"fn_C({column_source(name)}, contrasts='{coding}')"
        for old in (column_factor(name).source, f"fn_factor({column_source(name)})"):
            if old in source:
                labels[code] = labels.get(old, name)
                source = source.replace(old, code)
    return source


@lru_cache(maxsize=256)
def _used_as_number(source: str, name: str) -> bool:
    column = re.escape(column_source(name))
    wrapped = re.compile(r"fn_(?:factor|C|ordered|relevel)\(" + column + r"\b")
    rest = wrapped.sub("", source)
    bare = re.compile(r"(?<![\w.])" + column + r"(?![\w.])")
    return f"`{name}`" in rest or bare.search(rest) is not None


def forced_factors(formula: ParsedFormula) -> tuple[str, ...]:
    """Columns wrapped in ``factor()`` wherever they appear: read as factors from the start."""
    sources = [formula.fixed, *(term.columns for term in formula.random)]
    assert formula.response is not None
    elsewhere = {v for e in (formula.response, *formula.offsets) for v in e.variables}
    return tuple(
        name
        for name in formula.categorical
        if name not in elsewhere and not any(_used_as_number(s, name) for s in sources)
    )
