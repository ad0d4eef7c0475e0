"""All errors and warnings of the package, and `require` for optional libraries.

Errors derive from both `MixedModelsError` and the built-in that a caller would expect, so that
``except ValueError`` keeps working. Each warning has a class of its own, so that one cause can be
silenced without losing the others.
"""

from __future__ import annotations

import importlib
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

_PACKAGE = str(Path(__file__).parent)


LONG = 2000  # characters of a message that are told in full
JOINERS = "\u200c\u200d"  # part of Persian, Hindi and emoji spelling, harmless in a line


def clean(text: str) -> str:
    """The text with everything that would disturb a line written as an escape.

    Control characters, line breaks, bidirectional overrides and lone surrogates are among them.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def _line(text: str) -> str:
    """A line of a message: clean, and of a length that can be read whatever is in it."""
    text = clean(text)
    if len(text) <= LONG:
        return text
    text = re.sub(r"\S{81,}", lambda word: f"{word[0][:40]}…{word[0][-40:]}", text)
    return text if len(text) <= LONG else f"{text[: LONG - 400]} … {text[-400:]}"


class MixedModelsError(Exception):
    """Base of all errors raised by mixedmodels.

    A name or a level in the message may hold anything: what a terminal would obey, line breaks
    too, is written as an escape. Where a message has several lines, each is an argument.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*map(_line, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


class DataError(MixedModelsError, ValueError):
    """The data cannot be used as asked; the message names the column, level or row."""


class FormulaError(MixedModelsError, ValueError):
    """The formula cannot be understood; the message points at the place."""


class ModelError(MixedModelsError, ValueError):
    """The request does not fit the fitted model, such as comparing models of different data."""


class ArgumentError(ModelError, TypeError):
    """An argument is not of a kind that the function can use; the message says of which."""


class MemoryLimitError(MixedModelsError, MemoryError):
    """The fit would need more memory than there is; the message names the factor responsible."""


class MissingDependencyError(MixedModelsError, ImportError):
    """An optional library is not installed; the message gives the install command."""


class MixedModelsWarning(UserWarning):
    """Base of all warnings issued by mixedmodels."""


class SingularFitWarning(MixedModelsWarning):
    """A variance is zero or a correlation is one at the optimum."""


class ConvergenceWarning(MixedModelsWarning):
    """The optimiser stopped before it could certify an optimum."""


class RankDeficiencyWarning(MixedModelsWarning):
    """Fixed-effect columns were dropped because others determine them."""


class DataWarning(MixedModelsWarning):
    """The data were used, but something in them is worth knowing."""


class ScaleWarning(MixedModelsWarning):
    """Columns differ in scale or position so much that digits are lost."""


def require(library: str, extra: str) -> ModuleType:
    """Import an optional library or say how to install it.

    Parameters
    ----------
    library : str
        Module name to import.
    extra : str
        Name of the optional-dependency group that brings it.

    Returns
    -------
    module

    Raises
    ------
    MissingDependencyError
        When the library is not installed.
    """
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise MissingDependencyError(
            f"{library} is needed for this and is not installed; "
            f"run: pip install 'mixedmodels[{extra}]'"
        ) from error


_KEPT_BACK: ContextVar[tuple[type[MixedModelsWarning], ...]] = ContextVar("kept_back", default=())


@contextmanager
def quiet(category: type[MixedModelsWarning] = MixedModelsWarning) -> Iterator[None]:
    """Keep back our own warnings of a class, in this thread.

    The filters of ``warnings`` belong to all threads: where two change and restore them at the
    same time, one of the changes stays.
    """
    token = _KEPT_BACK.set((*_KEPT_BACK.get(), category))
    try:
        yield
    finally:
        _KEPT_BACK.reset(token)


def warn(message: str, category: type[MixedModelsWarning]) -> None:
    """Warn at the line of the user's code that called the package, unless it is kept back."""
    if issubclass(category, _KEPT_BACK.get()):
        return
    depth, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        depth += 1
    warnings.warn(_line(message), category, stacklevel=depth)
