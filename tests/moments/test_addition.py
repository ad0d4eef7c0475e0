"""Moments of parts of the rows add up to the moments of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from mixedmodels.design.build import Rows
from mixedmodels.moments.cross_products import Moments
from mixedmodels.moments.memory import collect_moments, with_response
from tests.properties.designs import Case, cases, make_case

few = settings(deadline=None, derandomize=True, max_examples=40)


def subset(rows: Rows, at: NDArray[np.intp]) -> Rows:
    return Rows(
        rows.base[:, at],
        rows.y[at],
        tuple(codes[at] for codes in rows.codes),
        None if rows.weights is None else rows.weights[at],
        rows.weight_scale,
        None if rows.offset is None else rows.offset[at],
    )


def assert_equal_moments(a: Moments, b: Moments) -> None:
    assert a.n == b.n
    assert_allclose(a.log_weights, b.log_weights, rtol=1e-12, atol=1e-12)
    assert_allclose(a.cross, b.cross, rtol=1e-12, atol=1e-11)
    for x, y in zip(a.levels, b.levels, strict=True):
        assert_allclose(x, y, rtol=1e-12, atol=1e-11)
    assert len(a.cells) == len(b.cells)
    for c, d in zip(a.cells, b.cells, strict=True):
        assert (c.first, c.second) == (d.first, d.second)
        assert_array_equal(c.rows, d.rows)
        assert_array_equal(c.cols, d.cols)
        assert_allclose(c.sums, d.sums, rtol=1e-12, atol=1e-11)


@few
@given(cases(), st.integers(1, 6), st.integers(0, 10**6))
def test_any_split_adds_up(case: Case, n_parts: int, seed: int) -> None:
    model = case.prepare()
    owner = np.random.default_rng(seed).integers(0, n_parts, model.n_obs)
    parts = [
        collect_moments(model.design, subset(model.rows, np.flatnonzero(owner == i)))
        for i in range(n_parts)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert_equal_moments(total, model.moments)


@few
@given(cases(), st.integers(0, 10**6))
def test_order_and_brackets_do_not_matter(case: Case, seed: int) -> None:
    model = case.prepare()
    owner = np.random.default_rng(seed).integers(0, 3, model.n_obs)
    a, b, c = (
        collect_moments(model.design, subset(model.rows, np.flatnonzero(owner == i)))
        for i in range(3)
    )
    assert_equal_moments((a + b) + c, a + (b + c))
    assert_equal_moments(a + b, b + a)


@few
@given(cases(), st.integers(0, 10**6))
def test_levels_are_sums_over_rows(case: Case, seed: int) -> None:
    """Each entry, by a loop over rows."""
    model = case.prepare()
    rows, design = model.rows, model.design
    every = np.vstack([rows.base, rows.y])
    w = np.ones(model.n_obs) if rows.weights is None else rows.weights
    assert_allclose(model.moments.cross, (every * w) @ every.T, rtol=1e-12, atol=1e-11)
    level = np.random.default_rng(seed)
    for group, codes, sums in zip(design.groups, rows.codes, model.moments.levels, strict=True):
        one = int(level.integers(len(group.levels)))
        inside = codes == one
        wanted = (every[group.uses][:, inside] * w[inside]) @ every[:, inside].T
        assert_allclose(sums[:, :, one], wanted, rtol=1e-12, atol=1e-11)


@few
@given(cases(), st.integers(0, 10**6))
def test_new_response(case: Case, seed: int) -> None:
    model = case.prepare()
    new = Rows(
        model.rows.base,
        np.random.default_rng(seed).normal(size=model.n_obs),
        model.rows.codes,
        model.rows.weights,
        model.rows.weight_scale,
        model.rows.offset,
    )
    assert_equal_moments(
        with_response(model.design, new, model.moments), collect_moments(model.design, new)
    )


def test_cells_of_other_factors_do_not_add() -> None:
    cells = make_case("three crossed", ("1",), "1", 0).prepare().moments.cells
    with pytest.raises(ValueError, match="different factors"):
        cells[0] + cells[1]
