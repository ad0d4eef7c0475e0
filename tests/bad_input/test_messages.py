"""Names and levels of any content in errors and warnings: one line each, harmless, short."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import mixedmodels as mm
from tests.bad_input.common import base

ODD = "a\n\x1b[31mred\x1b[0m\u202eright to left\x00\x07\x85\u2028"
LONG = "n" * 100_000


def said(call: Callable[[], Any]) -> list[str]:
    """The message of the error, and those of the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call()
            messages = []
        except mm.MixedModelsError as error:
            messages = [str(error), repr(error)]
    return messages + [str(warning.message) for warning in caught]


@cache
def calls(odd: str) -> dict[str, Callable[[], Any]]:
    """Errors and warnings that name a column or a level called `odd`."""
    column = base().rename(columns={"x": odd}).assign(x2=lambda d: 2 * d[odd])
    group = base().rename(columns={"g": odd})
    levels = base().assign(f=lambda d: d.f + odd, g=lambda d: d.g + odd, f2=lambda d: d.f + odd)
    model = mm.lmer("y ~ x + f + (1|g)", levels)
    formula = f"y ~ `{odd}` + (1|g)"
    models = {odd: model, "b": model.update(reml=False)}
    noise = np.random.default_rng(3).normal(size=96)
    return {
        "dropped column": lambda: mm.lmer(f"y ~ `{odd}` + x2 + (1|g)", column),
        "dropped levels": lambda: mm.lmer("y ~ f + f2 + (1|g)", levels),
        "new group": lambda: model.predict(levels.assign(g="new" + odd)),
        "new level": lambda: model.predict(levels.assign(f="new" + odd)),
        "singular": lambda: mm.lmer(f"y ~ x + (x|`{odd}`)", group.assign(y=noise)),
        "own groups": lambda: mm.lmer(f"y ~ x + (1|`{odd}`)", group.assign(**{odd: range(96)})),
        "no column": lambda: mm.lmer(f"y ~ `{odd}` + (1|g)", base()),
        "columns": lambda: mm.lmer("y ~ nobody + (1|g)", column),
        "constant": lambda: mm.lmer(f"`{odd}` ~ x2 + (1|g)", column.assign(**{odd: 1.0})),
        "values": lambda: mm.lmer(f"y ~ log(`{odd}`) + (1|g)", column),
        "row": lambda: mm.lmer(formula, column.set_axis([odd] * 96).assign(**{odd: np.inf})),
        "formula": lambda: mm.lmer(f"y ~ `{odd}` + (1|g) + (1|g)", column),
        "weights": lambda: mm.lmer(formula, column, weights="w" + odd),
        "contrasts": lambda: mm.lmer(formula, column, contrasts={"w" + odd: "sum"}),
        "specs": lambda: mm.emmeans(model, odd),
        "at": lambda: mm.emmeans(model, "f", at={"f": ["w" + odd]}),
        "names of models": lambda: mm.aictab(models),
        "not nested": lambda: mm.anova(
            mm.lmer(formula, column, reml=False), mm.lmer("y ~ z + (1|g)", column, reml=False)
        ),
        "argument": lambda: mm.lmer(formula, column, **{odd: 1}),
    }


@pytest.mark.parametrize("name", calls("x"))
def test_nothing_steers_a_terminal(name: str) -> None:
    messages = said(calls(ODD)[name])
    assert messages
    for message in messages:
        # an error of a formula shows it below, on a line of its own, with a caret
        assert message.count("\n") == (2 if name == "formula" and message == messages[0] else 0)
        for line in message.split("\n"):
            assert line.isprintable(), name


@pytest.mark.parametrize("name", calls("x"))
def test_long_names_are_shortened(name: str) -> None:
    messages = said(calls(LONG)[name])
    assert messages
    assert max(map(len, messages)) < 2500


def test_ordinary_names_stay_as_they_are() -> None:
    for text in ("Gruppe ä", "名前", "👩\u200d🔬", "a\\nb", "µ²"):
        assert str(mm.DataError(text)) == text
    assert str(mm.DataError("\ud800")) == "\\ud800"


def test_errors_travel() -> None:
    """Pickled, as workers send them, and copied."""
    with pytest.raises(mm.FormulaError) as caught:
        mm.lmer("y ~ x + (1|g", base())
    errors = [caught.value, mm.MissingDependencyError("a\nb"), mm.ArgumentError("c")]
    for error in errors:
        for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
            assert (type(other), str(other)) == (type(error), str(error))
    assert str(caught.value).count("\n") == 2
