"""Clusters that the tests of engines have started end with the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines.tables import STARTED, quiet


@pytest.fixture(scope="session", autouse=True)
def clusters() -> Iterator[None]:
    yield
    with quiet():
        while STARTED:
            STARTED.pop(0)()
