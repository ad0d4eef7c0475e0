"""In which order the columns of crossed factors are eliminated, and which of them stay sparse.

Measured, not assumed: the pattern of the complement is formed (or, where a sample shows that it is
full, not), ordered by minimum degree, and the fill of its Cholesky factor counted. Then the split
into a sparse head and a dense tail is the cheapest one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mixedmodels.likelihood.complement import DENSE_COST, SPARSE_COST, Head

# columns up to which a dense complement is not worth a second thought
SMALL = 1500
# share of filled entries from which ordering cannot help
FULL = 0.25
# columns looked at to tell
SAMPLE = 24

# share of the remaining levels that a level meets where all of them are taken for full
HALF = 0.5
# levels that meet more than this times the root of their number come last
CROWDED = 10.0
# operations after which the search for an order is given up
MOST_WORK = 1e9

Codes = NDArray[np.intp]


def plan_elimination(
    links: sparse.csr_array, rest: sparse.csr_array, widths: Codes
) -> tuple[Codes, Head | None]:
    """Order of elimination, and the pattern of the sparse columns if there are any.

    Parameters
    ----------
    links : sparse of shape (n_levels, k)
        Which levels of the first factor meet which levels of the others.
    rest : sparse of shape (k, k)
        Which levels of the others meet.
    widths : ndarray of int, shape (k,)
        Columns of each level of the others.

    Returns
    -------
    order : ndarray of int, shape (k,)
        The others' levels, first to last.
    head : Head or None
        None where all columns are dense.
    """
    by_column = links.tocsc()
    # rare levels first: a column meets few later ones, and these lie close together
    rare_first = np.argsort(np.diff(by_column.indptr), kind="stable")
    if widths.sum() <= SMALL or sampled_fill(links, by_column) >= FULL:
        return rare_first, None
    size = int(widths.sum())
    graph = _graph(links, rest)
    budget = min(MOST_WORK, 1e8 + 2e9 * DENSE_COST * size**3)
    order, n_ordered = _minimum_degree(graph, budget)
    pointers, columns = _lower_pattern(graph, order, widths)
    limit = int(widths[order[:n_ordered]].sum())
    parent, counts = _counts(pointers, columns, limit)
    n_head = _cheapest_split(counts, widths[order], limit)
    if n_head == 0:
        return rare_first, None
    return order, _head_pattern(n_head, parent, counts, pointers, columns)


def sampled_fill(links: sparse.csr_array, by_column: sparse.csc_array) -> float:
    """Share of the complement's entries that are not zero, from some of its columns."""
    k = by_column.shape[1]
    sample = np.unique(np.linspace(0, k - 1, SAMPLE).astype(np.intp))
    filled = 0
    for j in sample.tolist():
        levels = by_column.indices[by_column.indptr[j] : by_column.indptr[j + 1]]
        filled += int(np.count_nonzero(np.bincount(links[levels].indices, minlength=k)))
    return filled / (len(sample) * k)


def _graph(links: sparse.csr_array, rest: sparse.csr_array) -> sparse.csr_array:
    """Pattern of the complement over the others' levels."""
    ones = sparse.csr_array(
        (np.ones(links.nnz, np.float32), links.indices, links.indptr), shape=links.shape
    )
    other = sparse.csr_array(
        (np.ones(rest.nnz, np.float32), rest.indices, rest.indptr), shape=rest.shape
    )
    return sparse.csr_array(ones.T @ ones + other)


def _minimum_degree(graph: sparse.csr_array, budget: float) -> tuple[Codes, int]:
    """Order of elimination, and how many levels stood in it before the rest was full."""
    from mixedmodels.kernels import ordering

    k = graph.shape[0]
    off_diagonal = graph.copy()
    off_diagonal.setdiag(0.0)
    off_diagonal.eliminate_zeros()
    degrees = np.diff(off_diagonal.indptr)
    # levels that meet very many others come last, whatever happens before
    kind = np.where(degrees > max(16.0, CROWDED * np.sqrt(k)), ordering.GONE, ordering.VARIABLE)
    order = np.empty(k, np.int32)
    done = ordering.minimum_degree_into(
        order,
        off_diagonal.indices.astype(np.int32),
        off_diagonal.indptr[:-1].astype(np.int64),
        degrees.astype(np.int32),
        kind.astype(np.int8),
        HALF,
        budget,
    )
    left = np.ones(k, bool)
    left[order[:done]] = False
    rest = np.flatnonzero(left)
    rest = rest[np.argsort(degrees[rest], kind="stable")]
    return np.concatenate([order[:done], rest]).astype(np.intp), done


def _lower_pattern(
    graph: sparse.csr_array, order: Codes, widths: Codes
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Pattern left of the diagonal, by rows, of single columns in their order of elimination."""
    pattern = graph[order][:, order]
    if (widths > 1).any():
        wide = widths[order]
        level = np.repeat(np.arange(len(order)), wide)
        spread = sparse.csr_array(
            (np.ones(len(level), np.float32), level, np.arange(len(level) + 1)),
            shape=(len(level), len(order)),
        )
        pattern = spread @ pattern @ spread.T
    lower = sparse.csr_array(sparse.tril(pattern, -1, format="csr"))
    lower.sort_indices()
    return lower.indptr.astype(np.int64), lower.indices.astype(np.int32)


def _counts(
    pointers: NDArray[np.int64], columns: NDArray[np.int32], limit: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Elimination tree, and entries of each column of the Cholesky factor, full from `limit` on."""
    from mixedmodels.kernels import cholesky

    size = len(pointers) - 1
    parent, scratch = np.empty(size, np.int32), np.empty(size, np.int32)
    cholesky.elimination_tree_into(parent, scratch, pointers, columns)
    counts = np.zeros(size, np.int64)
    mark = np.full(size, -1, np.int32)
    cholesky.column_counts_into(counts, limit, mark, parent, pointers, columns)
    counts[limit:] = np.arange(size - limit, 0, -1)
    return parent, counts


def _cheapest_split(counts: NDArray[np.int64], widths: Codes, limit: int) -> int:
    """Columns to keep sparse; whole levels only, and only if that saves a fifth of the time."""
    size = len(counts)
    head = np.concatenate([[0.0], np.cumsum(np.square(counts, dtype=np.float64))])
    cost = SPARSE_COST * head + DENSE_COST * np.arange(size, -1, -1.0) ** 3
    ends = np.concatenate([[0], np.cumsum(widths)])
    ends = ends[ends <= limit]
    best = int(ends[np.argmin(cost[ends])])
    return best if cost[best] < 0.8 * cost[0] else 0


def _head_pattern(
    n_head: int,
    parent: NDArray[np.int32],
    counts: NDArray[np.int64],
    pointers: NDArray[np.int64],
    columns: NDArray[np.int32],
) -> Head:
    from mixedmodels.kernels import cholesky

    size = len(parent)
    starts = np.concatenate([[0], np.cumsum(counts[:n_head])])
    rows = np.empty(int(starts[-1]), np.int32)
    mark = np.full(size, -1, np.int32)
    place = starts[:-1].copy() if n_head == size else starts.copy()
    cholesky.pattern_into(rows, place, n_head, mark, parent, pointers, columns)
    ends = np.repeat(starts[1:], counts[:n_head]).astype(np.int32)
    tail = np.flatnonzero(rows >= n_head)
    by_row = np.argsort(rows[tail], kind="stable")
    tail_counts = np.bincount(rows[tail], minlength=size)
    return Head(
        pointers=starts,
        rows=rows,
        tail_starts=np.concatenate([[0], np.cumsum(tail_counts)]),
        tail_entries=tail[by_row].astype(np.int32),
        ends=ends,
    )
