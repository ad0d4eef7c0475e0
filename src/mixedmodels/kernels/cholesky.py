"""Sparse Cholesky factor of the first columns of a symmetric matrix, and entries of its inverse.

The factor L is kept by columns: ``rows[pointers[j]:pointers[j + 1]]`` in ascending order, the
diagonal first; rows from ``n_head`` on belong to the dense tail, which LAPACK factors. Methods:
elimination tree and row structures (Liu 1990, SIAM J. Matrix Anal. Appl. 11, 134-172), left-looking
numeric factor (George and Liu 1981, Computer Solution of Large Sparse Positive Definite Systems,
ch. 5), inverse on the pattern of L (Takahashi, Fagan and Chin 1973; Erisman and Tinney 1975, Comm.
ACM 18, 177-179).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixedmodels.kernels.jit import kernel

_L = "f8[::1], i8[::1], i4[::1]"


@kernel("void(i4[::1], i4[::1], i8[::1], i4[::1])")
def elimination_tree_into(parent: Any, ancestor: Any, pointers: Any, columns: Any) -> None:
    """Parent of each column, -1 for roots; the pattern is that of the rows left of the diagonal."""
    for i in range(parent.shape[0]):
        parent[i] = -1
        ancestor[i] = -1
        for at in range(pointers[i], pointers[i + 1]):
            k = columns[at]
            while k != -1 and k < i:
                above = ancestor[k]
                ancestor[k] = i
                if above == -1:
                    parent[k] = i
                k = above


@kernel("void(i8[::1], i8, i4[::1], i4[::1], i8[::1], i4[::1])")
def column_counts_into(
    counts: Any, n_head: int, mark: Any, parent: Any, pointers: Any, columns: Any
) -> None:
    """Number of entries of each of the head's columns of L, the diagonal counted."""
    for i in range(parent.shape[0]):
        mark[i] = i
        if i < n_head:
            counts[i] += 1
        for at in range(pointers[i], pointers[i + 1]):
            k = columns[at]
            while k < n_head and mark[k] != i:
                mark[k] = i
                counts[k] += 1
                k = parent[k]


@kernel("void(i4[::1], i8[::1], i8, i4[::1], i4[::1], i8[::1], i4[::1])")
def pattern_into(
    rows: Any, place: Any, n_head: int, mark: Any, parent: Any, pointers: Any, columns: Any
) -> None:
    """Row numbers of the head's columns of L; `place` is where each column goes on."""
    for i in range(parent.shape[0]):
        mark[i] = i
        if i < n_head:
            rows[place[i]] = i
            place[i] += 1
        for at in range(pointers[i], pointers[i + 1]):
            k = columns[at]
            while k < n_head and mark[k] != i:
                mark[k] = i
                rows[place[k]] = i
                place[k] += 1
                k = parent[k]


@kernel(f"i8({_L}, f8[::1], i4[::1], i4[::1], i8[::1])")
def factor_into(
    values: Any, pointers: Any, rows: Any, work: Any, link: Any, following: Any, place: Any
) -> int:
    """Matrix to factor, in place; -1, or the first column that is not positive."""
    n_head = pointers.shape[0] - 1
    for j in range(n_head):
        link[j] = -1
    for j in range(n_head):
        for at in range(pointers[j], pointers[j + 1]):
            work[rows[at]] = values[at]
        k = link[j]
        while k != -1:
            after = following[k]
            here, stop = place[k], pointers[k + 1]
            share = values[here]
            for at in range(here, stop):
                work[rows[at]] -= share * values[at]
            place[k] = here + 1
            if here + 1 < stop and rows[here + 1] < n_head:
                row = rows[here + 1]
                following[k] = link[row]
                link[row] = k
            k = after
        pivot = work[j]
        if not pivot > 0.0:
            return j
        root = np.sqrt(pivot)
        for at in range(pointers[j], pointers[j + 1]):
            values[at] = work[rows[at]] / root
            work[rows[at]] = 0.0
        values[pointers[j]] = root
        place[j] = pointers[j] + 1
        if place[j] < pointers[j + 1] and rows[place[j]] < n_head:
            row = rows[place[j]]
            following[j] = link[row]
            link[row] = j
    return -1


@kernel(f"void(f8[::1], {_L}, f8[:,::1], f8[::1], f8[::1])")
def invert_into(
    inverse: Any, values: Any, pointers: Any, rows: Any, tail: Any, share: Any, total: Any
) -> None:
    """Inverse of the whole matrix on the pattern of L, given that of the tail (upper triangle)."""
    n_head = pointers.shape[0] - 1
    for j in range(n_head - 1, -1, -1):
        start, stop = pointers[j], pointers[j + 1]
        pivot = values[start]
        for at in range(start + 1, stop):
            share[rows[at]] = values[at] / pivot
            total[rows[at]] = 0.0
        for at in range(start + 1, stop):
            i = rows[at]
            mine = share[i]
            if i < n_head:
                total[i] += inverse[pointers[i]] * mine
                own = 0.0
                for e in range(pointers[i] + 1, pointers[i + 1]):
                    r = rows[e]
                    own += inverse[e] * share[r]
                    total[r] += inverse[e] * mine
                total[i] += own
            else:
                own = tail[i - n_head, i - n_head] * mine
                for e in range(at + 1, stop):
                    r = rows[e]
                    z = tail[i - n_head, r - n_head]
                    own += z * share[r]
                    total[r] += z * mine
                total[i] += own
        diagonal = 1.0 / (pivot * pivot)
        for at in range(start + 1, stop):
            r = rows[at]
            inverse[at] = -total[r]
            diagonal += total[r] * share[r]
        inverse[start] = diagonal
        for at in range(start + 1, stop):
            share[rows[at]] = 0.0


@kernel(f"void(f8[:,::1], {_L})")
def forward_into(right: Any, values: Any, pointers: Any, rows: Any) -> None:
    """Right sides to ``L^-1`` of them: the head solved, the tail reduced."""
    for j in range(pointers.shape[0] - 1):
        start = pointers[j]
        for s in range(right.shape[1]):
            right[j, s] /= values[start]
        for at in range(start + 1, pointers[j + 1]):
            for s in range(right.shape[1]):
                right[rows[at], s] -= values[at] * right[j, s]


@kernel(f"void(f8[:,::1], {_L})")
def backward_into(right: Any, values: Any, pointers: Any, rows: Any) -> None:
    """``L'^-1`` of right sides whose tail is solved already."""
    for j in range(pointers.shape[0] - 2, -1, -1):
        start = pointers[j]
        for at in range(start + 1, pointers[j + 1]):
            for s in range(right.shape[1]):
                right[j, s] -= values[at] * right[rows[at], s]
        for s in range(right.shape[1]):
            right[j, s] /= values[start]


@kernel("void(f8[::1], i8[::1], i8[::1], f8[::1], i8[::1], i4[::1])")
def look_up_into(out: Any, first: Any, second: Any, values: Any, pointers: Any, rows: Any) -> None:
    """Entries (second, first) of a matrix kept by columns, first <= second; NaN off the pattern."""
    for i in range(out.shape[0]):
        low, high = pointers[first[i]], pointers[first[i] + 1]
        while low < high:
            middle = (low + high) // 2
            if rows[middle] < second[i]:
                low = middle + 1
            else:
                high = middle
        found = low < pointers[first[i] + 1] and rows[low] == second[i]
        out[i] = values[low] if found else np.nan
