"""Approximate minimum degree ordering that stops where the rest is full, or too much work.

Eliminated variables become elements of a quotient graph, so that the fill is never stored
(Amestoy, Davis and Duff 1996, SIAM J. Matrix Anal. Appl. 17, 886-905; without supervariables).
Libraries order a whole matrix, however long that takes; here most of the gain lies in the first
columns, and a graph without structure must be recognised soon.

Storage    ``columns[starts[i]:starts[i] + lengths[i]]``: the elements of variable i (``n_elements``
           of them), then the variables it still meets directly; it only shrinks. The variables of
           an element stand in a pool, packed when it is full.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixedmodels.kernels.jit import kernel

# what a node is
VARIABLE, ELEMENT, GONE = 0, 1, 2


@kernel("void(i4[::1], i4[::1], i4[::1], i4, i4)")
def _insert(head: Any, following: Any, previous: Any, node: int, degree: int) -> None:
    """Put a variable into the list of its degree."""
    first = head[degree]
    following[node], previous[node] = first, -1
    if first != -1:
        previous[first] = node
    head[degree] = node


@kernel("void(i4[::1], i4[::1], i4[::1], i4, i4)")
def _remove(head: Any, following: Any, previous: Any, node: int, degree: int) -> None:
    """Take a variable out of the list of its degree."""
    if previous[node] != -1:
        following[previous[node]] = following[node]
    else:
        head[degree] = following[node]
    if following[node] != -1:
        previous[following[node]] = previous[node]


@kernel("i8(i4[::1], i4[::1], i8[::1], i4[::1], i1[::1], f8, f8)")
def minimum_degree_into(  # noqa: C901 - one algorithm, its steps in order
    order: Any, columns: Any, starts: Any, lengths: Any, kind: Any, full: float, budget: float
) -> int:
    """Order of elimination; the number of variables ordered before it stopped.

    `columns` is the graph without its diagonal, and is used up. Variables that are `GONE` from the
    beginning are left out. It stops where the least degree is the share `full` of what remains, or
    after `budget` operations.
    """
    n = lengths.shape[0]
    n_elements = np.zeros(n, np.int32)
    pool = np.empty(2 * columns.shape[0] + 2 * n + 1, np.int32)
    pool_end = 0
    begins, sizes = np.zeros(n, np.int64), np.zeros(n, np.int32)
    degree = np.zeros(n, np.int32)
    head = np.full(n + 1, -1, np.int32)
    following, previous = np.full(n, -1, np.int32), np.full(n, -1, np.int32)
    mark, seen = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    outside = np.zeros(n, np.int32)
    scratch = np.empty(n, np.int32)
    remaining = 0
    for i in range(n):
        if kind[i] == VARIABLE:
            kept = 0
            for at in range(starts[i], starts[i] + lengths[i]):
                if kind[columns[at]] == VARIABLE:
                    columns[starts[i] + kept] = columns[at]
                    kept += 1
            lengths[i] = degree[i] = kept
            _insert(head, following, previous, i, kept)
            remaining += 1
    done = 0
    least = 0
    work = 0.0
    while remaining > 0:
        while head[least] == -1:
            least += 1
        if (least > 1 and least >= full * remaining) or work > budget:
            break
        pivot = head[least]
        _remove(head, following, previous, pivot, least)
        mark[pivot] = done
        if pool_end + n > pool.shape[0]:
            pool_end = 0
            for k in range(done):
                e = order[k]
                if kind[e] == ELEMENT:
                    for at in range(sizes[e]):
                        pool[pool_end + at] = pool[begins[e] + at]
                    begins[e] = pool_end
                    pool_end += sizes[e]
        # the variables that the pivot's elimination joins
        begin = pool_end
        for at in range(starts[pivot], starts[pivot] + lengths[pivot]):
            other = columns[at]
            if at < starts[pivot] + n_elements[pivot]:
                if kind[other] == ELEMENT:
                    for k in range(begins[other], begins[other] + sizes[other]):
                        v = pool[k]
                        if mark[v] != done:
                            mark[v] = done
                            pool[pool_end] = v
                            pool_end += 1
                    work += sizes[other]
                    kind[other] = GONE
            elif kind[other] == VARIABLE and mark[other] != done:
                mark[other] = done
                pool[pool_end] = other
                pool_end += 1
        size = pool_end - begin
        begins[pivot], sizes[pivot] = begin, size
        kind[pivot] = ELEMENT if size else GONE
        # how many variables of each neighbouring element lie outside
        for k in range(begin, pool_end):
            i = pool[k]
            for at in range(starts[i], starts[i] + n_elements[i]):
                e = columns[at]
                if kind[e] == ELEMENT:
                    if seen[e] != done:
                        seen[e] = done
                        outside[e] = sizes[e]
                    outside[e] -= 1
            work += n_elements[i]
        for k in range(begin, pool_end):
            i = pool[k]
            length, elements = lengths[i], n_elements[i]
            for at in range(length):
                scratch[at] = columns[starts[i] + at]
            columns[starts[i]] = pivot
            kept = 1
            total = size - 1
            for at in range(elements):
                e = scratch[at]
                if kind[e] == ELEMENT:
                    if outside[e] == 0:
                        kind[e] = GONE
                    else:
                        columns[starts[i] + kept] = e
                        kept += 1
                        total += outside[e]
            n_elements[i] = kept
            for at in range(elements, length):
                v = scratch[at]
                if kind[v] == VARIABLE and mark[v] != done:
                    columns[starts[i] + kept] = v
                    kept += 1
                    total += 1
            lengths[i] = kept
            work += length
            _remove(head, following, previous, i, degree[i])
            degree[i] = max(0, min(total, degree[i] + size - 1, remaining - 2))
            _insert(head, following, previous, i, degree[i])
            least = min(least, degree[i])
        work += size
        order[done] = pivot
        done += 1
        remaining -= 1
    return done
