"""Principal components of the random effects: which directions the data support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ModelError
from mixedmodels.model.frames import kept_names
from mixedmodels.model.record import Fit
from mixedmodels.output.layout import Block, Prose, Table, number
from mixedmodels.output.printed import Printed

# standard deviation, over the residual's and in columns of unit mean square, that counts as zero
ZERO = 1e-5


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Principal components of the random effects of one grouping factor.

    Attributes
    ----------
    group : str
    terms : tuple of str
        Its columns, all terms in turn.
    sd : ndarray of shape (q,)
        Standard deviations along the components, over the residual's; descending.
    loadings : ndarray of shape (q, q)
        A component per column, of length one; the entry that is largest in size is positive.
    rank : int
        Components with a variance that is not zero.
    """

    group: str
    terms: tuple[str, ...]
    sd: Array
    loadings: Array
    rank: int

    @property
    def proportion(self) -> Array:
        """Share of the variance along each component; nan where there is none at all."""
        variance = np.square(self.sd)
        with np.errstate(invalid="ignore"):
            return np.asarray(variance / variance.sum())


@dataclass(frozen=True, eq=False, repr=False)
class RandomEffectsPCA(Printed):
    """Principal components of the random effects of every grouping factor.

    Attributes
    ----------
    groups : tuple of Components
        In the order of `FittedModel.varcorr`.
    message : str
        How many directions the data support, in a sentence per grouping factor.
    kind : object
        Kind of frame that came in.
    """

    groups: tuple[Components, ...]
    message: str
    kind: Any

    def frame(self) -> Any:
        """One row per component: group, component, sd, proportion, cumulative.

        `sd` is in units of the residual standard deviation, per unit of the columns.
        """
        return to_native(
            {
                "group": [g.group for g in self.groups for _ in g.terms],
                "component": np.concatenate([np.arange(1, len(g.sd) + 1) for g in self.groups]),
                "sd": np.concatenate([g.sd for g in self.groups]),
                "proportion": np.concatenate([g.proportion for g in self.groups]),
                "cumulative": np.concatenate([np.cumsum(g.proportion) for g in self.groups]),
            },
            self.kind,
        )

    def loadings(self) -> Any:
        """One row per component and column: group, component, term, loading."""
        sizes = [(g, len(g.terms)) for g in self.groups]
        return to_native(
            {
                "group": [g.group for g, q in sizes for _ in range(q * q)],
                "component": np.concatenate([np.repeat(np.arange(1, q + 1), q) for _, q in sizes]),
                "term": [term for g, q in sizes for term in g.terms * q],
                "loading": np.concatenate([g.loadings.T.ravel() for g in self.groups]),
            },
            self.kind,
        )

    def title(self) -> str:
        """What is shown."""
        return "Principal components of the random effects"

    def blocks(self) -> Sequence[Block]:
        """A table per grouping factor with loadings, and the sentences."""
        return [*map(_table, self.groups), Prose("Directions", (self.message,))]


def _table(group: Components) -> Table:
    q = len(group.terms)
    rows = [
        ("standard deviation", *map(number, group.sd)),
        ("proportion of variance", *(f"{share:.4f}" for share in group.proportion)),
        ("cumulative", *(f"{share:.4f}" for share in np.cumsum(group.proportion))),
        *(
            (f"loading of {term}", *(f"{value:.4f}" for value in row))
            for term, row in zip(group.terms, group.loadings, strict=True)
        ),
    ]
    header = ("", *(f"PC{k + 1}" for k in range(q)))
    return Table(f"{group.group}", header, tuple(rows), 1)


def pca(fit: Fit) -> RandomEffectsPCA:
    """Principal components of the random effects; see `FittedModel.pca`."""
    if not fit.has_random:
        raise ModelError(f"'{fit.formula}' has no random terms, so no components of them")
    order = list(dict.fromkeys(group for group, _ in fit.design.theta_order))
    groups = tuple(_components(fit, k) for k in order)
    sentences = [_sentence(fit, k, g) for k, g in zip(order, groups, strict=True)]
    return RandomEffectsPCA(groups, ". ".join(sentences), fit.source.kind)


def _components(fit: Fit, k: int) -> Components:
    loadings, sd, _ = np.linalg.svd(fit.factors[k])
    largest = np.abs(loadings).argmax(axis=0)
    loadings = loadings * np.sign(loadings[largest, np.arange(len(sd))])
    rank = int((_working_sd(fit, k) > ZERO).sum())
    # directions without variance, whatever the units of the columns
    sd = np.where(np.arange(len(sd)) < rank, sd, 0.0)
    return Components(fit.design.groups[k].name, tuple(kept_names(fit, k)), sd, loadings, rank)


def _working_sd(fit: Fit, k: int) -> Array:
    """Standard deviations along the components in columns that are orthogonal over the rows."""
    return np.asarray(np.linalg.svd(fit.optimum.at.factors[k], compute_uv=False))


def _sentence(fit: Fit, k: int, group: Components) -> str:
    """How many directions have variance, and why not all or how much the least has."""
    q, rank = len(group.terms), group.rank
    if rank < q:
        dead = [text for text in fit.dead_directions if f"| {group.group})" in text]
        why = f": {'; '.join(dead)}" if dead else ""
        verb = "has" if rank == 1 else "have"
        return f"{group.group}: {rank} of {q} direction{'s' * (q > 1)} {verb} variance{why}"
    if q == 1:
        return f"{group.group}: its one direction has variance"
    variance = np.square(_working_sd(fit, k))
    share = float(variance[-1] / variance.sum())
    which = (
        "both directions have variance, the weaker"
        if q == 2
        else (f"all {q} directions have variance, the weakest")
    )
    return f"{group.group}: {which} with {share:.2%} of what they add to the response"
