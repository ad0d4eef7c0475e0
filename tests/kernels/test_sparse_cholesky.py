"""Order, pattern, factor and inverse entries of sparse matrices against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from mixedmodels.kernels import ordering
from mixedmodels.likelihood import elimination
from mixedmodels.likelihood.complement import SparseComplement

quick = settings(deadline=None, derandomize=True, max_examples=60)


def random_graph(k: int, density: float, seed: int) -> sparse.csr_array:
    rng = np.random.default_rng(seed)
    half = sparse.csr_array(np.triu(rng.random((k, k)) < density).astype(float))
    return sparse.csr_array((half + half.T + sparse.eye_array(k)) != 0).astype(np.float32)


@quick
@given(k=st.integers(1, 60), density=st.floats(0, 0.5), seed=st.integers(0, 10**6))
def test_an_order_holds_every_level_once(k: int, density: float, seed: int) -> None:
    order, done = elimination._minimum_degree(random_graph(k, density, seed), 1e9)
    assert_array_equal(np.sort(order), np.arange(k))
    assert 0 <= done <= k


@quick
@given(
    k=st.integers(1, 30),
    density=st.floats(0, 0.3),
    seed=st.integers(0, 10**6),
    share=st.floats(0, 1),
)
def test_factor_inverse_and_solutions(k: int, density: float, seed: int, share: float) -> None:
    graph = random_graph(k, density, seed)
    widths = np.random.default_rng(seed).integers(1, 4, k)
    order, _ = elimination._minimum_degree(graph, 1e9)
    pointers, columns = elimination._lower_pattern(graph, order, widths)
    size = int(widths.sum())
    n_head = int(np.concatenate([[0], np.cumsum(widths[order])])[round(share * k)])
    if n_head == 0:
        return
    parent, counts = elimination._counts(pointers, columns, size)
    head = elimination._head_pattern(n_head, parent, counts, pointers, columns)

    rng = np.random.default_rng(seed)
    lower = sparse.csr_array((rng.normal(size=len(columns)), columns, pointers), shape=(size, size))
    matrix = (lower + lower.T).toarray()
    matrix += np.diag(np.abs(matrix).sum(1) + rng.uniform(0.5, 2.0, size))
    complement = SparseComplement(size, head)
    complement.fill(sparse.csr_array(sparse.triu(sparse.csr_array(matrix), format="csr")))
    assert_allclose(complement.factor(), np.linalg.slogdet(matrix)[1], rtol=1e-10)
    right = rng.normal(size=(size, 3))
    truth = np.linalg.solve(matrix, right)
    assert_allclose(complement.solve_factored(right), truth, rtol=1e-9, atol=1e-12)
    complement.invert()
    assert_allclose(complement.solve(right), truth, rtol=1e-9, atol=1e-12)
    inverse = np.linalg.inv(matrix)
    first, second = (index.ravel() for index in np.indices((size, size)))
    assert_allclose(complement.entries(first, second), inverse.ravel(), rtol=1e-8, atol=1e-12)


def test_minimum_degree_finds_little_fill() -> None:
    """A tree, an arrow and a band need no fill at all."""
    rng = np.random.default_rng(1)
    k = 200
    above = np.array([rng.integers(0, i) for i in range(1, k)])
    shuffled = rng.permutation(k)
    tree = sparse.csr_array(
        (np.ones(k - 1), (shuffled[np.arange(1, k)], shuffled[above])), shape=(k, k)
    )
    graph = sparse.csr_array(tree + tree.T + sparse.eye_array(k))
    order, done = elimination._minimum_degree(graph, 1e9)
    pointers, columns = elimination._lower_pattern(graph, order, np.ones(k, np.intp))
    _, counts = elimination._counts(pointers, columns, k)
    assert counts.sum() == 2 * k - 1
    assert done >= k - 3


@pytest.mark.parametrize("n_crowded", [1, 5])
def test_levels_that_meet_all_others_come_last(n_crowded: int) -> None:
    k = 400
    graph = sparse.eye_array(k, format="lil")
    graph[:n_crowded, :] = 1.0
    graph[:, :n_crowded] = 1.0
    order, done = elimination._minimum_degree(sparse.csr_array(graph), 1e9)
    assert done == k - n_crowded
    assert set(order[done:].tolist()) == set(range(n_crowded))


def test_a_graph_without_structure_is_given_up() -> None:
    graph = random_graph(3000, 0.01, 3)
    _, done = elimination._minimum_degree(graph, 1e6)
    assert done < 3000
    kinds = {ordering.VARIABLE, ordering.ELEMENT, ordering.GONE}
    assert len(kinds) == 3
