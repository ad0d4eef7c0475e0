"""Short labels counted as numbers: the same levels and codes as by hashing."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mixedmodels.design import storage

LABELS = st.lists(st.text(max_size=6), min_size=1, max_size=60)


def both(column: pa.ChunkedArray) -> tuple[storage.Coded | None, storage.Coded]:
    with mock.patch.object(storage, "MANY_LABELS", 1):
        short = storage._short_labels(column)
    with mock.patch.object(storage, "MANY_LABELS", 10**9):
        return short, storage._arrow_labels(column, "text")


@settings(deadline=None, derandomize=True, max_examples=200)
@given(LABELS, st.integers(0, 5), st.booleans())
def test_any_labels(labels: list[str], cut: int, large: bool) -> None:
    kind = pa.large_string() if large else pa.string()
    whole = pa.array(["before", *labels], kind)[1:]
    column = pa.chunked_array([whole[:cut], whole[cut:]])
    short, hashed = both(column)
    assert [hashed.levels[c] for c in hashed.codes] == labels
    if short is not None:
        assert short.levels == hashed.levels
        assert_array_equal(short.codes, hashed.codes)


@pytest.mark.parametrize("width", ["{}", "{:05d}"])
def test_numbered_labels_are_taken(width: str) -> None:
    rng = np.random.default_rng(1)
    labels = [f"u{width.format(i)}" for i in rng.integers(0, 3000, 20_000)]
    short, hashed = both(pa.chunked_array([labels]))
    assert short is not None
    assert short.levels == hashed.levels
    assert_array_equal(short.codes, hashed.codes)


@pytest.mark.parametrize(
    "labels",
    [
        ["a label that is far too long", "b"],
        ["", ""],
        ["a\0", "a"],
        [f"{i:012x}" for i in np.random.default_rng(2).integers(0, 2**40, 500)],
    ],
)
def test_others_are_left_to_hashing(labels: list[str]) -> None:
    short, hashed = both(pa.chunked_array([labels]))
    assert short is None
    assert [hashed.levels[c] for c in hashed.codes] == labels


def test_missing_labels_are_left_to_hashing() -> None:
    column = pa.chunked_array([["a", None, "b"]])
    with mock.patch.object(storage, "MANY_LABELS", 1):
        coded = storage._arrow_labels(column, "text")
    assert_array_equal(coded.codes, [0, -1, 1])
