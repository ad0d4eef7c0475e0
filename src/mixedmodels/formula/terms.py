"""What a formula says, as values: expressions, random terms, the whole formula; no data.

`code` and `columns` are source text for formulaic, written by `render` from the checked syntax
tree and never taken from the user. The function names in it start with ``fn_`` and are found in
`functions.CONTEXT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Expression:
    """One value per row, computed from columns.

    Attributes
    ----------
    text : str
        As the user wrote it, spaced as R prints it: ``'I(y + 1)/2'``.
    code : str
        Source for `functions.evaluate`.
    variables : tuple of str
        Columns read, in order of appearance.
    """

    text: str
    code: str
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grouping:
    """Columns whose observed combinations form the groups of a random term.

    Attributes
    ----------
    variables : tuple of str
        In the order of the formula.
    """

    variables: tuple[str, ...]

    @property
    def name(self) -> str:
        """The columns joined by a colon: ``'a:b'``."""
        return ":".join(self.variables)


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """Columns that vary between the groups of one grouping.

    Attributes
    ----------
    text : str
        ``'(time | animal)'``.
    columns : str
        The left side for formulaic; the intercept is always explicit: ``'1 + `time`'``.
    correlated : bool
        False for a part of a double bar, which stands uncorrelated with the other parts.
    group : Grouping
    variables : tuple of str
        Columns read by the left side.
    """

    text: str
    columns: str
    correlated: bool
    group: Grouping
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ParsedFormula:
    """A whole formula.

    Attributes
    ----------
    text : str
        The formula as given.
    response : Expression
    fixed : str
        The fixed part for formulaic; the intercept is always explicit: ``'1 + `time`'``.
    fixed_text : str
        The fixed part as the user wrote it.
    random : tuple of RandomTerm
    offsets : tuple of Expression
        Added to the linear predictor with coefficient one.
    variables : tuple of str
        All columns needed, each once, the response first.
    labels : mapping of str to str
        From a formulaic factor, as ``str(factor)``, to the user's text, where the two differ.
    categorical : tuple of str
        Columns wrapped directly in ``factor()``, ``C()`` and the like.
    covariates : tuple of str
        Columns read other than as groups, the response first.
    fixed_variables : tuple of str
        Columns read by the fixed part.
    """

    text: str
    response: Expression | None
    fixed: str
    fixed_text: str
    random: tuple[RandomTerm, ...] = ()
    offsets: tuple[Expression, ...] = ()
    variables: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    categorical: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    fixed_variables: tuple[str, ...] = ()
