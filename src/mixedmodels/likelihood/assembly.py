"""Moments and working columns to blocks, in the storage type that the structure asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array, times
from mixedmodels.design.build import Design
from mixedmodels.likelihood.centred import CentredBlocks
from mixedmodels.likelihood.nested import NestedBlocks, Stage
from mixedmodels.likelihood.rooted import RootedBlocks
from mixedmodels.memory import check_memory
from mixedmodels.moments.cross_products import Cells, Moments

if TYPE_CHECKING:
    from scipy import sparse

    from mixedmodels.likelihood.complement import DenseComplement
    from mixedmodels.likelihood.crossed import CrossedBlocks
    from mixedmodels.likelihood.links import Layout, Links

# numbers up to which links are held dense, and the share of filled ones from which they always are
SMALL_LINKS = 1_000_000
FULL_LINKS = 0.15

Codes = NDArray[np.intp]


def make_blocks(
    design: Design, moments: Moments, lefts: Sequence[Array], right: Array
) -> tuple[Any, tuple[Codes, ...]]:
    """Cross-products of the working columns.

    Parameters
    ----------
    design : Design
    moments : Moments
    lefts : sequence of ndarray of shape (c, q)
        Working columns of each grouping factor over the base columns.
    right : ndarray of shape (c + 1, w)
        Working ``[X y]`` over the base columns and the response.

    Returns
    -------
    blocks : NestedBlocks, CrossedBlocks or RootedBlocks
    orders : tuple of ndarray of int
        For each factor, the position of each level inside the blocks.

    Raises
    ------
    MemoryLimitError
        The random effects of crossed factors need more memory than there is.
    """
    used = [group.uses for group in design.groups]
    cross = right.T @ moments.cross @ right
    if moments.root is not None:
        rooted = _rooted(design, moments.root, lefts, right, cross)
        return rooted, tuple(np.arange(len(group.levels)) for group in design.groups)
    if design.structure.nested:
        return _nested(design, moments, used, lefts, right, cross)
    own = _own_products(design, moments, lefts, right)
    blocks = _crossed(design, moments, lefts, own, cross)
    return blocks, tuple(np.arange(len(group.levels)) for group in design.groups)


def renew_crossed(
    blocks: CrossedBlocks,
    design: Design,
    moments: Moments,
    lefts: Sequence[Array],
    right: Array,
) -> CrossedBlocks:
    """The same crossed structure with the products of another response."""
    own = _own_products(design, moments, lefts, right)
    first = own.pop(blocks.first)
    return blocks.with_response(first, own, right.T @ moments.cross @ right)


def _nested(
    design: Design,
    moments: Moments,
    used: Sequence[NDArray[np.intp]],
    lefts: Sequence[Array],
    right: Array,
    cross: Array,
) -> tuple[NestedBlocks, tuple[NDArray[np.intp], ...]]:
    orders, parents = _consecutive(design)
    inverses = [np.argsort(order) for order in orders]
    stages = []
    size = right.shape[0]
    padded = [_left_padded(left, size) for left in lefts]
    stage_columns = [np.concatenate([*padded[k:], right], axis=1) for k in range(len(lefts))]
    for k, (sums, z, left) in enumerate(zip(moments.levels, used, lefts, strict=True)):
        g = _sandwich(left[z], sums, stage_columns[k])
        if len(orders) > 1:
            g = np.ascontiguousarray(g[:, :, inverses[k]])
        parent = parents[k] if k < len(parents) else np.empty(0, np.intp)
        starts, above = [], np.arange(g.shape[-1])
        for j in range(k, len(parents)):
            above = parents[j][above]
            starts.append(np.flatnonzero(np.diff(above, prepend=-1)))
        stages.append(Stage(g, parent, tuple(starts)))
    if moments.within is None:
        return NestedBlocks(stages, cross), orders
    within = [
        _sandwich(left[z], sums, columns)[:, :, inverse]
        for left, z, sums, columns, inverse in zip(
            lefts[1:],
            used[1:],
            moments.within.levels,
            stage_columns[1:],
            inverses[1:],
            strict=True,
        )
    ]
    centred = CentredBlocks(
        stages,
        cross,
        np.ascontiguousarray(times(stage_columns[0].T, moments.within.parts)[:, :, inverses[0]]),
        within,
        moments.within.root @ right,
    )
    return centred, orders


def _rooted(
    design: Design, root: Array, lefts: Sequence[Array], right: Array, cross: Array
) -> RootedBlocks:
    """A root over base columns to one over working columns."""
    parts, at, sizes = [], 0, []
    for group, left in zip(design.groups, lefts, strict=True):
        z, n, q = len(group.uses), len(group.levels), left.shape[1]
        own = root[:, at : at + z * n].reshape(-1, z) @ left[group.uses]
        parts.append(own.reshape(len(root), n * q))
        sizes.append((q, n))
        at += z * n
    rest = root[:, at:] @ right
    joint = np.concatenate(parts, axis=1)
    return RootedBlocks(sizes, joint[:at], rest[:at], rest[at:], cross)


def _left_padded(left: Array, size: int) -> Array:
    """A recipe over the base columns, with a zero for the response."""
    return np.pad(left, ((0, size - len(left)), (0, 0)))


def _sandwich(left: Array, sums: Array, right: Array) -> Array:
    """``left' sums right`` for every level: (z, q), (z, c, L), (c, d) -> (q, d, L)."""
    z, c, n_levels = sums.shape
    half = times(left.T, sums.reshape(z, -1)).reshape(-1, c, n_levels)
    return np.ascontiguousarray(times(right.T, half))


def _consecutive(
    design: Design,
) -> tuple[tuple[NDArray[np.intp], ...], list[NDArray[np.intp]]]:
    """Order levels so that the children of a level are consecutive, from the coarsest down."""
    sizes = [len(g.levels) for g in design.groups]
    if not sizes:
        return (), []
    orders = [np.arange(sizes[-1])]
    parents: list[NDArray[np.intp]] = []
    for parent in reversed(design.structure.parents):
        above = orders[0][parent]
        sequence = np.argsort(above, kind="stable")
        order = np.empty_like(sequence)
        order[sequence] = np.arange(len(sequence))
        orders.insert(0, order)
        parents.insert(0, above[sequence])
    return tuple(orders), parents


def _own_products(
    design: Design, moments: Moments, lefts: Sequence[Array], right: Array
) -> list[Array]:
    """``Z' W [Z | X y]`` of each factor alone, shape (q, q + w, n_levels)."""
    size = right.shape[0]
    return [
        _sandwich(left[group.uses], sums, np.concatenate([_left_padded(left, size), right], axis=1))
        for group, sums, left in zip(design.groups, moments.levels, lefts, strict=True)
    ]


def _crossed(
    design: Design,
    moments: Moments,
    lefts: Sequence[Array],
    own: list[Array],
    cross: Array,
) -> CrossedBlocks:
    # SciPy's sparse matrices load only for crossed designs
    from mixedmodels.likelihood.complement import DenseComplement, SparseComplement
    from mixedmodels.likelihood.crossed import CrossedBlocks
    from mixedmodels.likelihood.elimination import plan_elimination

    sizes = [(left.shape[1], len(g.levels)) for left, g in zip(lefts, design.groups, strict=True)]
    columns = [q * n for q, n in sizes]
    first = columns.index(max(columns))
    others = [k for k in range(len(sizes)) if k != first]
    linked = {k: _oriented(moments.cells, first, k) for k in others}
    n1, q1 = sizes[first][1], sizes[first][0]
    rest_size = sum(columns) - columns[first]
    dense_size = float(columns[first]) * rest_size
    filled = sum(len(linked[k].rows) * q1 * sizes[k][0] for k in others)
    is_small = dense_size <= SMALL_LINKS or filled >= FULL_LINKS * dense_size

    widths = np.concatenate([np.full(sizes[k][1], sizes[k][0]) for k in others])
    offsets = dict(zip(others, _starts([sizes[k][1] for k in others]), strict=False))
    order, head = np.arange(len(widths)), None
    if not is_small:
        order, head = plan_elimination(
            _level_links(linked, offsets, n1, len(widths)),
            _level_rest(moments.cells, first, offsets, len(widths)),
            widths,
        )
    place = np.empty(len(widths), np.intp)
    place[order] = _starts(widths[order])[:-1]
    at = tuple(place[offsets[k] : offsets[k] + sizes[k][1]] for k in others)
    layout = _layout(tuple(sizes[k] for k in others), at)
    tail = rest_size - (len(head.pointers) - 1 if head is not None else 0)
    sparse_size = 0 if head is None else 32 * len(head.rows)
    link_size = 32.0 * dense_size if is_small else filled * 32.0 + filled / q1 * 16.0
    check_memory(
        8.0 * tail * tail + sparse_size + link_size,
        _blame(design, sizes, first, tail),
    )
    values = {
        k: np.einsum(
            "ai,abl,bj->ijl",
            lefts[first][design.groups[first].uses],
            linked[k].sums,
            lefts[k][design.groups[k].uses],
            optimize=True,
        )
        for k in others
    }
    make_links = _dense_links if is_small else _sparse_links
    links = make_links(layout, [linked[k] for k in others], list(values.values()), n1)
    complement: DenseComplement = (
        DenseComplement(rest_size) if head is None else SparseComplement(rest_size, head)
    )
    rest = _rest(design, moments.cells, layout, others, lefts, own)
    g = own.pop(first)
    return CrossedBlocks(first, g, links, layout, rest, own, cross, complement)


def _blame(design: Design, sizes: Sequence[tuple[int, int]], first: int, tail: int) -> str:
    """Which factor makes a fit large, and what can be done."""
    others = [k for k in range(len(sizes)) if k != first]
    worst = max(others, key=lambda k: sizes[k][0] * sizes[k][1])
    q, n = sizes[worst]
    name, partner = design.groups[worst].name, design.groups[first].name
    size = f"{n:,} levels" + (f" x {q} columns" if q > 1 else "")
    return (
        f"'{name}' ({size}) is crossed with '{partner}' ({sizes[first][1]:,} levels) in so many "
        f"combinations that a dense matrix of {tail:,} x {tail:,} must be factored. Use fewer "
        f"levels of '{name}' (combine rare ones, or fit a random sample of them)"
        + (f", fewer columns in its term (such as (1 | {name}))" if q > 1 else "")
        + ", or a machine with more memory"
    )


def _starts(counts: Sequence[int] | Codes) -> Codes:
    """Where each of consecutive parts begins, and the end."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)


def _oriented(cells: Sequence[Cells], first: int, second: int) -> Cells:
    """The cells of two factors, in either order."""
    for cell in cells:
        if (cell.first, cell.second) == (first, second):
            return cell
        if (cell.first, cell.second) == (second, first):
            return Cells(first, second, cell.cols, cell.rows, cell.sums.transpose(1, 0, 2))
    raise AssertionError("every pair of crossed factors has cells")


def _layout(sizes: tuple[tuple[int, int], ...], at: tuple[Codes, ...]) -> Layout:
    from mixedmodels.likelihood.links import Layout

    return Layout(sizes, at)


def _level_links(
    linked: dict[int, Cells], offsets: dict[int, int], n1: int, n_rest: int
) -> sparse.csr_array:
    """Which levels of the first factor meet which levels of the others."""
    rows = np.concatenate([cell.rows for cell in linked.values()])
    cols = np.concatenate([cell.cols + offsets[k] for k, cell in linked.items()])
    return _pattern(rows, cols, (n1, n_rest))


def _level_rest(
    cells: Sequence[Cells], first: int, offsets: dict[int, int], size: int
) -> sparse.csr_array:
    """Which levels of the other factors meet, the diagonal included."""
    diagonal = np.arange(size)
    rows, cols = [diagonal], [diagonal]
    for cell in cells:
        if first not in (cell.first, cell.second):
            above, left = cell.rows + offsets[cell.first], cell.cols + offsets[cell.second]
            rows += [above, left]
            cols += [left, above]
    return _pattern(np.concatenate(rows), np.concatenate(cols), (size, size))


def _pattern(rows: Codes, cols: Codes, shape: tuple[int, int]) -> sparse.csr_array:
    from scipy import sparse

    return sparse.csr_array((np.ones(len(rows), np.float32), (rows, cols)), shape=shape)


def _dense_links(
    layout: Layout, cells: Sequence[Cells], values: Sequence[Array], n_levels: int
) -> Links:
    from mixedmodels.likelihood.links import DenseLinks

    out = np.zeros((n_levels, len(values[0]), layout.size))
    for cell, value, at in zip(cells, values, layout.at, strict=True):
        for j in range(value.shape[1]):
            out[cell.rows, :, at[cell.cols] + j] = value[:, j].T
    return DenseLinks(out)


def _sparse_links(
    layout: Layout, cells: Sequence[Cells], values: Sequence[Array], n_levels: int
) -> Links:
    from scipy import sparse

    from mixedmodels.likelihood.links import Pattern, SparseLinks

    rows = [np.repeat(c.rows, q) for c, (q, _) in zip(cells, layout.sizes, strict=True)]
    columns = [
        (at[c.cols][:, None] + np.arange(q)).ravel()
        for c, (q, _), at in zip(cells, layout.sizes, layout.at, strict=True)
    ]
    stacked = np.concatenate([v.transpose(0, 2, 1).reshape(len(v), -1) for v in values], axis=1)
    # one sort for all: the positions travel as the values of a sparse matrix
    n_entries = stacked.shape[1]
    shape = (n_levels, layout.size)
    position = sparse.csr_array(
        (np.arange(n_entries), (np.concatenate(rows), np.concatenate(columns))), shape=shape
    )
    position.sort_indices()
    where = np.empty(n_entries, np.intp)
    where[position.data] = np.arange(n_entries)
    firsts = _starts([len(r) for r in rows])
    by_column = sparse.csr_array(
        (np.arange(n_entries, dtype=np.int32), position.indices, position.indptr), shape=shape
    ).tocsc()
    counts = np.diff(position.indptr)
    pattern = Pattern(
        pointers=position.indptr.astype(np.int64),
        columns=position.indices.astype(np.int32),
        levels=np.repeat(np.arange(n_levels, dtype=np.int32), counts),
        ends=np.repeat(position.indptr[1:].astype(np.int32), counts),
        starts=by_column.indptr.astype(np.int64),
        entries=by_column.data,
        blocks=tuple(
            where[begin : begin + len(r) : q]
            for begin, r, (q, _) in zip(firsts, rows, layout.sizes, strict=False)
        ),
    )
    return SparseLinks(pattern, np.ascontiguousarray(stacked[:, position.data]))


def _rest(
    design: Design,
    cells: Sequence[Cells],
    layout: Layout,
    others: Sequence[int],
    lefts: Sequence[Array],
    own: Sequence[Array],
) -> sparse.csr_array:
    """``Z2' W Z2`` of all factors but the first."""
    from scipy import sparse

    values, rows, columns = [], [], []

    def put(block: Array, above: Codes, left: Codes) -> None:
        for i in range(len(block)):
            for j in range(block.shape[1]):
                values.append(block[i, j])
                rows.append(above + i)
                columns.append(left + j)

    at = dict(zip(others, layout.at, strict=True))
    for k in others:
        put(own[k][:, : lefts[k].shape[1]], at[k], at[k])
    for cell in cells:
        if cell.first in at and cell.second in at:
            block = np.einsum(
                "ai,abl,bj->ijl",
                lefts[cell.first][design.groups[cell.first].uses],
                cell.sums,
                lefts[cell.second][design.groups[cell.second].uses],
                optimize=True,
            )
            above, left = at[cell.first][cell.rows], at[cell.second][cell.cols]
            put(block, above, left)
            put(block.transpose(1, 0, 2), left, above)
    parts = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array((np.concatenate(values), parts), shape=(layout.size,) * 2)
