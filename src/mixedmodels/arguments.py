"""Arguments of public functions: checked against their annotations, near misses suggested."""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, wraps
from numbers import Integral, Real
from typing import (
    Any,
    Literal,
    NamedTuple,
    ParamSpec,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from mixedmodels.errors import ArgumentError, ModelError

# what a class is called in a message, and where one comes from
SOURCES = {
    "Fit": "a fitted model (of mm.lmer or mm.lm)",
    "FittedModel": "a fitted model (of mm.lmer or mm.lm)",
    "Bootstrap": "a bootstrap (of m.bootstrap)",
    "EmmGrid": "marginal means (of mm.emmeans or mm.emtrends)",
    "ImpliedCorrelations": "correlations (of mm.implied_correlations)",
    "LikelihoodProfile": "a profile (of mm.profile)",
    "LmList": "a list of regressions (of mm.lm_list)",
    "ModelCheck": "a check (of mm.check_model)",
    "TimeCorrelations": "correlations (of mm.time_correlations)",
    "TrajectoryClusters": "clusters (of mm.cluster_trajectories)",
}
# what lmerTest, emmeans and lme4 call a choice of ours
IN_R = {
    "lme4": "none",
    "asymptotic": "none",
    "bonf": "bonferroni",
    "trt.vs.ctrl1": "trt.vs.ctrl",
    "deviance": "pearson",  # of a normal response these are the same
    "working": "response",
    "lrt": "chisq",
}


class Kind(NamedTuple):
    """What an annotation allows: a test and its words; `choices` where these can be listed."""

    allows: Callable[[Any], bool]
    words: str
    choices: tuple[str, ...] = ()
    item: Callable[[Any], bool] | None = None  # of a list or a dict, what each must be


P = ParamSpec("P")
R = TypeVar("R")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A public function that refuses what its annotations do not allow, in the user's words.

    A choice is handed on in our spelling (see `spelled`). The function raises

    * ArgumentError: a value of a kind that it cannot use, an argument that it does not have (a near
      miss is suggested), one too many or too few,
    * ModelError: a text that is not among the choices; a near miss is suggested.

    Parameters
    ----------
    function : callable
        Its annotations are the rule.

    Returns
    -------
    callable
        Of the same name, signature and types.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = _bound(function, args, kwargs)
        given = bound.arguments
        for name, (kind, many) in _kinds(function).items():
            if name not in given:
                continue
            if kind.choices:
                given[name] = spelled(given[name], kind.choices)
            for value in given[name] if many else (given[name],):
                if not kind.allows(value):
                    raise _refusal(f"{function.__name__}(): {name}", kind, value)
        return function(*bound.args, **bound.kwargs)

    return call


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return the choice that a text names (see `spelled`); refuse what is not among them.

    Raises
    ------
    ArgumentError
        Not a string at all.
    ModelError
        A text that is not among the choices; a near miss is suggested.
    """
    kind, found = _one_of(tuple(choices)), spelled(value, choices)
    if not kind.allows(found):
        raise _refusal(name, kind, value)
    return str(found)


def spelled(value: Any, choices: Sequence[str]) -> Any:
    """A choice in our spelling: whatever its case, and by the name that R has for it.

    Examples
    --------
    >>> spelled("Kenward-Roger", ("satterthwaite", "kenward-roger"))
    'kenward-roger'
    """
    if not isinstance(value, str) or value in choices:
        return value
    name = value.casefold().replace("_", "-")
    name = IN_R.get(name, name)
    return next((c for c in choices if c.casefold().replace("_", "-") == name), value)


def check_whole(name: str, value: Any, least: int) -> None:
    """Refuse what is not a whole number of at least `least`.

    Raises
    ------
    ModelError
    """
    if not (_is_whole(value) and value >= least):
        words = f"a whole number of at least {least}"
        raise _refusal(name, Kind(_is_whole, words), value)


def suggestion(name: Any, known: Iterable[Any]) -> str:
    """The hint at a near miss, with a space before it, or nothing."""
    texts = [str(one) for one in known]
    same = [text for text in texts if text.casefold() == str(name).casefold()]
    near = same or get_close_matches(str(name), texts, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def described(value: Any) -> str:
    """A value in a message: small ones as they are, others by their kind."""
    if value is None or isinstance(value, str | bytes | Real | complex):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:36]}...{text[-1]}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _refusal(subject: str, kind: Kind, value: Any) -> ModelError:
    known = isinstance(value, str) and kind.choices
    hint = suggestion(value, kind.choices) if known else ""
    make = ModelError if known or (kind.allows is _is_whole and _is_whole(value)) else ArgumentError
    return make(f"{subject} must be {kind.words}, not {described(value)}{_odd(kind, value)}{hint}")


def _odd(kind: Kind, value: Any) -> str:
    """Which of several values cannot be used."""
    if kind.item is None or not isinstance(value, list | tuple | dict):
        return ""
    named = value.items() if isinstance(value, dict) else enumerate(value)
    odd = ((name, one) for name, one in named if not kind.item(one))
    return next((f" in which {name!r} is {described(one)}" for name, one in odd), "")


def _bound(function: Callable[..., Any], args: Any, kwargs: Any) -> inspect.BoundArguments:
    signature = _signature(function)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        names = [name for name in signature.parameters if name != "self"]
        unknown = next((name for name in kwargs if name not in names), None)
        what = str(error)
        if unknown is not None:
            what = f"there is no argument {unknown!r}{suggestion(unknown, names)}"
        listed = ", ".join(names) or "none"
        raise ArgumentError(f"{function.__name__}(): {what}; its arguments are: {listed}") from None


_signature = cache(inspect.signature)


@cache
def _kinds(function: Callable[..., Any]) -> dict[str, tuple[Kind, bool]]:
    """What each annotated parameter allows, and whether it stands for many (``*models``)."""
    annotations = {
        name: hint for name, hint in function.__annotations__.items() if name != "return"
    }
    holder = types.SimpleNamespace(__annotations__=annotations)
    hints = get_type_hints(holder, function.__globals__)
    parameters = _signature(function).parameters
    return {
        name: (_kind(hint), parameters[name].kind is inspect.Parameter.VAR_POSITIONAL)
        for name, hint in hints.items()
    }


def _kind(hint: Any) -> Kind:
    """What a type allows; what is not known here is allowed."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _any_of([_kind(part) for part in inner])
    if origin is Literal:
        return _one_of(inner)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(*map(_kind, inner))
    if origin in (Sequence, Iterable, tuple):
        return _items(_kind(inner[0]))
    if isinstance(origin, type) and issubclass(origin, Callable):  # type: ignore[arg-type]
        return Kind(callable, "a function")
    return _SIMPLE.get(origin or hint) or _class(hint)


def _class(hint: Any) -> Kind:
    name = getattr(hint, "__name__", "")
    if name in SOURCES:
        return Kind(lambda value: isinstance(value, hint), SOURCES[name])
    if isinstance(hint, type) and hint.__module__.startswith("numpy.random"):
        return Kind(lambda value: isinstance(value, hint), f"a {name}")
    return _ANYTHING


def _any_of(kinds: list[Kind]) -> Kind:
    parts = [map(repr, kind.choices) if kind.choices else [kind.words] for kind in kinds]
    words = sorted({word: None for part in parts for word in part if word}, key="None".__eq__)
    listed = " or ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""
    choices = tuple(choice for kind in kinds for choice in kind.choices)
    item = next((kind.item for kind in kinds if kind.item), None)
    return Kind(lambda value: any(kind.allows(value) for kind in kinds), listed, choices, item)


def _one_of(choices: tuple[str, ...]) -> Kind:
    quoted = [repr(choice) for choice in choices]
    words = " or ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
    return Kind(lambda value: isinstance(value, str) and value in choices, words, choices)


def _mapping(key: Kind, value: Kind) -> Kind:
    def allows(given: Any) -> bool:
        return isinstance(given, Mapping) and all(
            key.allows(k) and value.allows(v) for k, v in given.items()
        )

    words = f"a dict of names to {_PLURALS.get(value.words) or 'values'}"
    return Kind(allows, words, item=value.allows)


def _items(item: Kind) -> Kind:
    def allows(given: Any) -> bool:
        if isinstance(given, str | bytes | Mapping | set | frozenset) or _is_table(given):
            return False
        if not isinstance(given, Iterable):
            return False
        return not hasattr(given, "__len__") or all(map(item.allows, given))

    words = f"a list of {_PLURALS.get(item.words) or 'values'}"
    return Kind(allows, words, item=item.allows)


def _is_table(value: Any) -> bool:
    return hasattr(type(value), "columns") or hasattr(type(value), "column_names")


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")


_ANYTHING = Kind(lambda value: True, "")  # noqa: ARG005
_SIMPLE: dict[Any, Kind] = {
    type(None): Kind(lambda value: value is None, "None"),
    bool: Kind(_is_flag, "True or False"),
    int: Kind(_is_whole, "a whole number"),
    float: Kind(_is_number, "a number"),
    str: Kind(lambda value: isinstance(value, str), "a string"),
    os.PathLike: Kind(lambda value: isinstance(value, os.PathLike), "a path"),
}
_PLURALS = {
    "a string": "strings",
    "a number": "numbers",
    "a whole number": "whole numbers",
    SOURCES["Fit"]: "fitted models",
}
