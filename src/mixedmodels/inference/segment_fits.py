"""Segments of a table, or columns of outcomes on one design, as batches of models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.segments import Sizes, Table, measure, standardise_segments, varies
from mixedmodels.inference import parameters
from mixedmodels.inference.batch_fits import Batch, OneModel, fit_batch
from mixedmodels.inference.joint import join
from mixedmodels.inference.replicates import CHUNK, MOST_IN_CHUNK
from mixedmodels.likelihood.batch import OneFactor, Responses
from mixedmodels.likelihood.segments import make_segments
from mixedmodels.model.record import Fit
from mixedmodels.moments.segments import sum_segments
from mixedmodels.threads import each_in_a_thread

Codes = NDArray[np.int64]
Part = tuple[NDArray[np.intp], list[OneModel | None]]

# rows of a chunk of segments
MOST_ROWS = 250_000


def fit_segments(
    table: Table,
    rows: NDArray[np.intp],
    ends: NDArray[np.intp],
    response: Array,
    ddf: str,
    *,
    reml: bool,
) -> Iterator[Part]:
    """Fit a model to each of many segments, batch by batch.

    Parameters
    ----------
    table : Table
    rows : ndarray of int, shape (n_rows,)
        Rows of the table, segment after segment.
    ends : ndarray of int, shape (n_segments + 1,)
        Where each segment begins in `rows`, and the end.
    response : ndarray of shape (n_rows,)
    ddf : {"satterthwaite", "none"}
    reml : bool

    Yields
    ------
    which : ndarray of int
        Segments.
    models : list of OneModel or None
        None for a segment that should be fitted alone. Segments that are not regular do not come.
    """
    count = len(ends) - 1
    segment = np.repeat(np.arange(count), np.diff(ends))
    sizes = measure(table, rows, segment, count)

    def run(which: NDArray[np.intp]) -> Part:
        return _fit_chunk(table, rows, ends, response, sizes, which, ddf, reml=reml)

    return each_in_a_thread(run, _chunks(table, sizes))


def _chunks(table: Table, sizes: Sizes) -> list[NDArray[np.intp]]:
    """Segments that are fitted together: of like numbers of levels, so that few zeros are added."""
    regular = np.flatnonzero(sizes.regular)
    order = regular[np.argsort(sizes.levels[regular], kind="stable")]
    q, p = sum(len(term.names) for term in table.terms), table.x.shape[1]
    chunks, first = [], 0
    total = np.concatenate([[0], np.cumsum(sizes.n[order])])
    while first < len(order):
        # the last of a chunk has most levels
        ahead = order[first : first + MOST_IN_CHUNK]
        numbers = np.arange(1, len(ahead) + 1) * sizes.levels[ahead] * max(q, 1) * (q + p + 1)
        n_rows = total[first + 1 : first + 1 + len(ahead)] - total[first]
        fitting = int(np.count_nonzero((numbers <= CHUNK) & (n_rows <= MOST_ROWS)))
        chunks.append(ahead[: max(fitting, 1)])
        first += len(chunks[-1])
    return chunks


def _fit_chunk(
    table: Table,
    rows: NDArray[np.intp],
    ends: NDArray[np.intp],
    response: Array,
    sizes: Sizes,
    which: NDArray[np.intp],
    ddf: str,
    *,
    reml: bool,
) -> Part:
    n = sizes.n[which]
    segment = np.repeat(np.arange(len(which)), n)
    at = np.arange(len(segment)) + np.repeat(ends[which] - np.cumsum(n) + n, n)
    standard = standardise_segments(table, response[at], rows[at], segment, sizes.place[at], n)
    terms = [term.recipe for term in table.terms]
    # the centre of a column brings the constant in
    used = {0}.union(*(np.flatnonzero(term.any(axis=1)).tolist() for term in terms))
    uses = np.array(sorted(used), np.intp)
    sums = sum_segments(standard, uses)
    kept, made = make_segments(standard, sums, table.x, terms, reml=reml)
    starts = np.cumsum([0, *(term.shape[1] for term in terms)]).tolist()
    every = parameters.of_terms(
        [
            (table.group, term.names, 0, start)
            for term, start in zip(table.terms, starts, strict=False)
        ]
    )
    batch = Batch(
        made.design,
        made.responses,
        n[kept],
        table.x_names,
        every,
        (slice(0, starts[-1]),),
        made.x_root,
        made.constant,
        made.z_roots,
        standard.y_centre[kept],
        standard.y_scale[kept],
        standard.weight_scale[kept],
        sums.log_weights[kept],
    )
    return which[kept], fit_batch(batch, None, ddf, reml=reml)


# --- outcomes of one design -----------------------------------------------------------------------


def fit_outcomes(lead: Fit, responses: Sequence[Array], ddf: str) -> Iterator[Part] | None:
    """Fit the model of a fit to many other responses, batch by batch.

    Parameters
    ----------
    lead : Fit
        With its rows.
    responses : sequence of ndarray of shape (n,)
        On the rows of the fit; offsets are taken off here.
    ddf : {"satterthwaite", "none"}

    Returns
    -------
    iterator of (ndarray of int, list of OneModel or None), or None
        As `fit_segments`; None where the structure asks for one fit at a time.
    """
    joint = join([lead])
    if joint is None:
        return None
    design = joint.design(lead)
    if not isinstance(design, OneFactor):
        return None
    q, p, n_levels = joint.zx.shape
    size = max(1, min(MOST_IN_CHUNK, CHUNK // max(n_levels * q * (q + p + 1), lead.n_obs // 2, 1)))
    sums = _LevelSums(lead)

    def run(which: NDArray[np.intp]) -> Part:
        values = np.stack([responses[i] for i in which.tolist()], axis=1)
        kept, batch = _outcome_batch(lead, design, sums, values)
        return which[kept], fit_batch(batch, None, ddf, reml=lead.reml)

    every = np.arange(len(responses))
    return each_in_a_thread(run, [every[i : i + size] for i in range(0, len(every), size)])


class _LevelSums:
    """Sums of many columns over the levels of a factor, the rows sorted once."""

    def __init__(self, lead: Fit) -> None:
        self.order: NDArray[np.intp] | None = None
        if lead.has_random:
            codes = lead.rows.codes[0]
            self.order = np.argsort(codes, kind="stable")
            counts = np.bincount(codes, minlength=len(lead.design.groups[0].levels))
            self.starts = np.cumsum(counts) - counts

    def of(self, columns: Array, values: Array) -> Array:
        """``Z'y`` of every level: (q, n), (n, k) -> (k, q, n_levels)."""
        if self.order is None:
            return np.zeros((values.shape[1], 0, 1))
        ordered = values[self.order]
        sums = [
            np.add.reduceat(ordered * column[self.order, None], self.starts, axis=0).T
            for column in columns
        ]
        return np.ascontiguousarray(np.stack(sums, axis=1))


def _outcome_batch(
    lead: Fit, design: OneFactor, sums: _LevelSums, values: Array
) -> tuple[NDArray[np.intp], Batch]:
    """Responses (n, k) in working units; those that do not vary are left out."""
    rows, working = lead.rows, lead.working
    if rows.offset is not None:
        values = values - rows.offset[:, None]
    n = len(values)
    weights = np.ones(n) if rows.weights is None else rows.weights
    with np.errstate(all="ignore"):
        centre = weights @ values / n
        values = values - centre
        scale = np.sqrt(weights @ np.square(values) / n)
        good = varies(centre, scale)
    kept = np.flatnonzero(good)
    centre, scale = centre[kept], scale[kept]
    values = values[:, kept] / scale
    fixed = working.fixed
    if fixed.constant is None:
        values = values + centre / scale
    weighted = values * weights[:, None]
    columns = np.concatenate(
        [np.empty((0, n)), *(term.recipe.T @ rows.base for g in working.terms for term in g)]
    )
    responses = Responses(
        sums.of(columns, weighted),
        (fixed.recipe.T @ rows.base @ weighted).T,
        np.einsum("nk,nk->k", values, weighted),
    )
    p = len(fixed.kept)
    constant = np.zeros(p) if fixed.constant is None else fixed.constant
    q = sum(template.q for template in working.templates)
    return kept, Batch(
        design,
        responses,
        np.array([n]),
        lead.term_names,
        parameters.parameters(lead),
        (slice(0, q),),
        fixed.root[None],
        constant[None],
        tuple(term.root[None] for group in working.terms for term in group),
        centre,
        scale,
        np.array([rows.weight_scale]),
        np.array([lead.moments.log_weights]),
    )
