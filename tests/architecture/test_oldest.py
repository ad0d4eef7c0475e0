"""`make oldest` tests what pyproject.toml promises: each library at its lower bound."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def bounds(requirements: list[str]) -> dict[str, str]:
    """Lower bound of each library, those of extras included."""
    found: dict[str, str] = {}
    for requirement in requirements:
        own = re.fullmatch(r"mixedmodels\[(.*)\]", requirement)
        if own:
            for extra in own[1].split(","):
                found |= bounds(PROJECT["optional-dependencies"][extra])
        else:
            name, _, bound = requirement.partition(">=")
            assert found.get(name, bound) == bound, f"two lower bounds of {name}"
            found[name] = bound
    return found


def test_constraints_are_the_lower_bounds() -> None:
    extra = PROJECT["optional-dependencies"]["test-oldest"]
    expected = bounds([*PROJECT["dependencies"], *extra])
    text = (ROOT / "tests" / "oldest-constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert lines == [f"{name}=={bound}" for name, bound in sorted(expected.items())]


def test_every_extra_agrees_on_a_bound() -> None:
    bounds([one for extra in PROJECT["optional-dependencies"].values() for one in extra])
