"""Sums over pairs of entries of the same level, column by column, of a sparse matrix.

Storage    Entries are ordered by level, then column; ``values[i, e]`` are the q values of entry e,
           whose level ends before entry ``ends[e]``. ``entries[starts[j]:starts[j + 1]]`` are the
           entries of column j. Column j meets only columns k >= j of its levels: the row of the
           target that it writes or reads stays in the processor's first cache, and no two threads
           write to the same place.
Cost       Sum over levels of (entries)**2 / 2, times q or q**2.

Columns below ``head`` belong to a sparse target (column pointers, rows, values), those from
``head`` on to a dense one, of which the triangle k >= j is used.
"""

from __future__ import annotations

from typing import Any

from mixedmodels.kernels.jit import kernel

_ENTRIES = "i8[::1], i4[::1], i4[::1], i4[::1], f8[:,::1]"


@kernel(f"void(f8[:,::1], i8, {_ENTRIES}, i8, i8)")
def subtract_into(
    dense: Any,
    head: int,
    starts: Any,
    entries: Any,
    ends: Any,
    columns: Any,
    values: Any,
    first: int,
    step: int,
) -> None:
    """Take ``C' C`` out of the dense target, columns first, first + step, ..."""
    q = values.shape[0]
    for j in range(first, dense.shape[0], step):
        row = dense[j]
        for at in range(starts[head + j], starts[head + j + 1]):
            e = entries[at]
            for i in range(q):
                v = values[i, e]
                for r in range(e, ends[e]):
                    row[columns[r] - head] -= v * values[i, r]


@kernel(f"void(f8[::1], i8[::1], i4[::1], f8[::1], {_ENTRIES}, i8, i8)")
def subtract_sparse_into(
    sparse: Any,
    pointers: Any,
    rows: Any,
    work: Any,
    starts: Any,
    entries: Any,
    ends: Any,
    columns: Any,
    values: Any,
    first: int,
    step: int,
) -> None:
    """Take ``C' C`` out of the sparse target; `work` holds one column and is left zero."""
    q = values.shape[0]
    for j in range(first, pointers.shape[0] - 1, step):
        for at in range(starts[j], starts[j + 1]):
            e = entries[at]
            for i in range(q):
                v = values[i, e]
                for r in range(e, ends[e]):
                    work[columns[r]] += v * values[i, r]
        for at in range(pointers[j], pointers[j + 1]):
            sparse[at] -= work[rows[at]]
            work[rows[at]] = 0.0


@kernel(f"void(f8[:,:,::1], f8[:,::1], i8, {_ENTRIES}, i4[::1], i8, i8)")
def quadratic_into(
    out: Any,
    dense: Any,
    head: int,
    starts: Any,
    entries: Any,
    ends: Any,
    columns: Any,
    values: Any,
    levels: Any,
    first: int,
    step: int,
) -> None:
    """Add half of ``C_l S C_l'`` of every level to out[l]; the other half is its transpose."""
    q = values.shape[0]
    for j in range(first, dense.shape[0], step):
        row = dense[j]
        for at in range(starts[head + j], starts[head + j + 1]):
            e = entries[at]
            for i in range(q):
                total = 0.5 * row[j] * values[i, e]
                for r in range(e + 1, ends[e]):
                    total += row[columns[r] - head] * values[i, r]
                for k in range(q):
                    out[levels[e], k, i] += values[k, e] * total


@kernel(f"void(f8[:,:,::1], f8[::1], i8[::1], i4[::1], f8[::1], {_ENTRIES}, i4[::1], i8, i8)")
def quadratic_sparse_into(
    out: Any,
    sparse: Any,
    pointers: Any,
    rows: Any,
    work: Any,
    starts: Any,
    entries: Any,
    ends: Any,
    columns: Any,
    values: Any,
    levels: Any,
    first: int,
    step: int,
) -> None:
    """The same for the sparse part of S; `work` holds one column and is left zero."""
    q = values.shape[0]
    for j in range(first, pointers.shape[0] - 1, step):
        for at in range(pointers[j], pointers[j + 1]):
            work[rows[at]] = sparse[at]
        for at in range(starts[j], starts[j + 1]):
            e = entries[at]
            for i in range(q):
                total = 0.5 * work[j] * values[i, e]
                for r in range(e + 1, ends[e]):
                    total += work[columns[r]] * values[i, r]
                for k in range(q):
                    out[levels[e], k, i] += values[k, e] * total
        for at in range(pointers[j], pointers[j + 1]):
            work[rows[at]] = 0.0
