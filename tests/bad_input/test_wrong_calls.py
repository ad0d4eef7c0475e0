"""Calls with arguments that a function does not have, one too many or one too few."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest

import mixedmodels as mm
from tests.bad_input.common import SIMPLE, base

PRINTS = {"title", "blocks"}  # parts of a printed result, not for users


def of_results() -> Iterator[Callable[..., Any]]:
    """Methods of every public class that `mixedmodels` names or whose objects it returns."""
    modules = [
        importlib.import_module(found.name)
        for found in pkgutil.walk_packages(mm.__path__, "mixedmodels.")
        if not found.name.endswith("__main__")
    ]
    known = {"FittedModel", "Bootstrap", "EmmGrid", "LikelihoodProfile", "LmList", "ManyFits"}
    known |= {"ModelCheck", "Moments", "TimeCorrelations", "TrajectoryClusters", "Report"}
    known |= {"ImpliedCorrelations", "ModelTable", "ConvergenceCheck"}
    for module in modules:
        for name, found in vars(module).items():
            if name in known and inspect.isclass(found) and found.__module__ == module.__name__:
                known.discard(name)
                yield from (
                    f for method, f in vars(found).items() if method[0] != "_" and is_open(f)
                )
    assert not known


def is_open(method: Any) -> bool:
    plain = getattr(method, "__func__", method)
    return inspect.isfunction(plain) and plain.__name__ not in {*PRINTS, "of", "limits", "spread"}


@cache
def public() -> dict[str, Callable[..., Any]]:
    homes = (mm, mm.plot)
    found = [getattr(home, name) for home in homes for name in dir(home) if name[0] != "_"]
    functions = [f for f in found if inspect.isfunction(f)]
    return {
        f"{f.__module__}.{f.__qualname__}": f
        for f in (*functions, *(getattr(m, "__func__", m) for m in of_results()))
    }


def test_every_public_function_names_a_wrong_argument() -> None:
    assert len(public()) > 120
    for where, function in public().items():
        with pytest.raises(mm.ArgumentError, match=r"there is no argument 'zzz'") as caught:
            function(zzz=1)
        assert isinstance(caught.value, TypeError), where
        assert str(caught.value).startswith(f"{function.__name__}(): ")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m, d: mm.lmer(SIMPLE, d, REML=False), "'REML' (did you mean 'reml'?)"),
        (lambda m, d: mm.emmeans(m, spec="x"), "'spec' (did you mean 'specs'?)"),
        (lambda m, d: m.predict(newData=d), "'newData' (did you mean 'newdata'?)"),
        (lambda m, d: m.bootstrap(nsim=5), "'nsim' (did you mean 'n_sim'?)"),
        (lambda m, d: mm.lmer(SIMPLE), "missing a required argument: 'data'"),
        (lambda m, d: mm.lmer(SIMPLE, d, True), "too many positional arguments"),
        (lambda m, d: mm.lmer(SIMPLE, d, formula=SIMPLE), "multiple values for argument 'formula'"),
        (lambda m, d: m.ranef(condVar=True), "its arguments are: none"),
    ],
)
def test_the_mend_is_in_the_message(call: Callable[..., Any], words: str) -> None:
    data = base()
    with pytest.raises(mm.ArgumentError) as caught:
        call(mm.lmer(SIMPLE, data), data)
    assert words in str(caught.value)


def test_signatures_stay_as_written() -> None:
    for where, function in public().items():
        inner = inspect.unwrap(function)
        assert inspect.signature(function) == inspect.signature(inner), where
        assert function.__doc__ == inner.__doc__
        assert (function.__module__, function.__name__) == (inner.__module__, inner.__name__)
