"""Shares of variance: intraclass correlation and R2, from the sums of products alone.

The fixed part counts by the sample variance of X beta, a random term by the mean over the rows of
the variance that it gives them, z' Sigma z: random slopes then count as they should.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.arrays import Array, cross_products
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ModelError
from mixedmodels.likelihood.working import group_recipe
from mixedmodels.model.fit import fit_submodel
from mixedmodels.model.record import Fit, has_rows
from mixedmodels.output.layout import Block, Facts, Table, fixed, number
from mixedmodels.output.printed import Printed


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the variance of the response comes from, in squared units of the response.

    Attributes
    ----------
    fixed : float
        Sample variance of ``X beta``, offset left out.
    groups : dict of str to float
        Mean over the rows of ``z' Sigma z``, all terms of a grouping factor together.
    residual : float
        Of an observation with the prior weight asked for.
    """

    fixed: float
    groups: dict[str, float]
    residual: float

    @property
    def random(self) -> float:
        """All grouping factors together."""
        return math.fsum(self.groups.values())

    @property
    def total(self) -> float:
        """Everything."""
        return math.fsum((self.fixed, *self.groups.values(), self.residual))


class Figures(Printed, Mapping[str, float]):
    """A few named numbers: attributes, items, a frame of one row, a printed table."""

    heading: ClassVar[str]
    names: ClassVar[tuple[str, ...]]
    kind: Any

    def __getitem__(self, name: str) -> float:
        if name not in self.names:
            raise KeyError(f"{name!r}; there are {', '.join(self.names)}")
        return float(getattr(self, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def frame(self) -> Any:
        """The numbers as a frame of one row, in the kind of the user's data."""
        return to_native({name: np.array([self[name]]) for name in self.names}, self.kind)

    def title(self) -> str:
        """What the numbers are."""
        return self.heading

    def blocks(self) -> Sequence[Block]:
        """What is printed under the title."""
        return [Facts(tuple((name, fixed(self[name], 4)) for name in self.names))]


class _Shares(Figures):
    """Figures that rest on the parts of the variance."""

    parts: Parts

    def parts_frame(self) -> Any:
        """Every part of the variance.

        Returns
        -------
        frame
            source (the fixed part, each grouping factor, the residual), variance (squared units of
            the response), share (of the total).
        """
        sources, variances = self._rows()
        return to_native(
            {
                "source": sources,
                "variance": np.array(variances),
                "share": np.array(variances) / self.parts.total,
            },
            self.kind,
        )

    def _rows(self) -> tuple[list[str], list[float]]:
        parts = self.parts
        sources = ["Fixed part", *parts.groups, "Residual"]
        return sources, [parts.fixed, *parts.groups.values(), parts.residual]

    def blocks(self) -> Sequence[Block]:
        """The figures, and the table of parts."""
        rows = tuple(
            (source, number(variance), fixed(variance / self.parts.total, 4))
            for source, variance in zip(*self._rows(), strict=True)
        )
        table = Table("Parts of the variance", ("source", "variance", "share"), rows, 1)
        return [*super().blocks(), table]


@dataclass(frozen=True, repr=False, eq=False)
class ICC(_Shares):
    """Intraclass correlation of a mixed model; see `icc`.

    Attributes
    ----------
    icc_adjusted : float
        Random over random plus residual variance.
    icc_unadjusted : float
        Random over total variance, the fixed part included (also called conditional).
    by_group : dict of str to float
        Share of each grouping factor in `icc_adjusted`.
    parts : Parts
    """

    heading: ClassVar[str] = "Intraclass correlation"
    names: ClassVar[tuple[str, ...]] = ("icc_adjusted", "icc_unadjusted")

    icc_adjusted: float
    icc_unadjusted: float
    by_group: dict[str, float]
    parts: Parts
    kind: Any


@dataclass(frozen=True, repr=False, eq=False)
class R2(_Shares):
    """R2 of a mixed model; see `r2`.

    Attributes
    ----------
    r2_marginal : float
        Share of the fixed part in the total variance.
    r2_conditional : float
        Share of the fixed and the random part.
    parts : Parts
    """

    heading: ClassVar[str] = "R2 of a mixed model (Nakagawa and Schielzeth; Johnson)"
    names: ClassVar[tuple[str, ...]] = ("r2_marginal", "r2_conditional")

    r2_marginal: float
    r2_conditional: float
    parts: Parts
    kind: Any


@dataclass(frozen=True, repr=False, eq=False)
class LinearR2(Figures):
    """R2 of a model without random terms; see `r2`.

    Attributes
    ----------
    r2 : float
    r2_adjusted : float
    """

    heading: ClassVar[str] = "R2 of a linear model"
    names: ClassVar[tuple[str, ...]] = ("r2", "r2_adjusted")

    r2: float
    r2_adjusted: float
    kind: Any


@checked
def icc(m: Fit, *, by_group: bool = False, weight: float = 1.0) -> Any:
    """Intraclass correlation: how much of the variance lies between groups.

    Parameters
    ----------
    m : FittedModel
        With random terms.
    by_group : bool, default False
        Return the share of each grouping factor instead.
    weight : float, default 1.0
        Prior weight of the observation that the residual variance ``sigma**2 / weight`` is that of.
        It matters only for models fitted with weights: their harmonic mean gives the average of
        the rows.

    Returns
    -------
    ICC or frame
        `icc_adjusted` (random over random plus residual variance) and `icc_unadjusted` (over total
        variance, fixed part included; also called conditional) as attributes and as items,
        `frame()` with one row, `by_group`, `parts` and `parts_frame()`. With ``by_group=True`` a
        frame: group, icc; these sum to `icc_adjusted`.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        A model without random terms; a weight that is not positive; a model with prior weights
        that was loaded from a file without its rows.

    Notes
    -----
    The variance of a random term is the mean of ``z' Sigma z`` over the rows, so that random slopes
    count and nothing depends on the position or unit of a covariate. At a singular fit the zero
    variances count as zero.

    References
    ----------
    Nakagawa, S., Johnson, P. C. D. and Schielzeth, H. (2017), J. R. Soc. Interface 14, 20170213.
    Johnson, P. C. D. (2014), Methods Ecol. Evol. 5, 944-946.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> r = mm.icc(m)
    >>> round(r.icc_adjusted, 4), round(r["icc_unadjusted"], 4)
    (0.8457, 0.3219)
    """
    parts = variance_parts(m, weight)
    if not m.has_random:
        raise ModelError(f"'{m.formula}' has no random terms, so there is no correlation in groups")
    shares = {name: v / (parts.random + parts.residual) for name, v in parts.groups.items()}
    if by_group:
        return to_native({"group": list(shares), "icc": list(shares.values())}, m.source.kind)
    return ICC(
        icc_adjusted=math.fsum(shares.values()),
        icc_unadjusted=parts.random / parts.total,
        by_group=shares,
        parts=parts,
        kind=m.source.kind,
    )


@checked
def r2(m: Fit, *, by_group: bool = False, weight: float = 1.0) -> Any:
    """Share of the variance that the model explains.

    Parameters
    ----------
    m : FittedModel
    by_group : bool, default False
        Return what the fixed part explains at each level instead: within groups and between them.
    weight : float, default 1.0
        As in `icc`; of no effect on models without random terms.

    Returns
    -------
    R2, LinearR2 or frame
        For a mixed model `r2_marginal` (fixed part over total variance) and `r2_conditional` (fixed
        and random part); for `mm.lm` `r2` and `r2_adjusted`. Attributes and items, `frame()` with
        one row; for mixed models also `parts` and `parts_frame()`. With ``by_group=True`` a frame
        of the grouping factors and the residual: source, variance_null (of the model without fixed
        effects), variance (squared units of the response), r2.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        A weight that is not positive; a model with prior weights that was loaded from a file
        without its rows; `by_group` of a model without random terms.

    Notes
    -----
    The fixed part counts by the sample variance (divisor n - 1) of ``X beta``. An offset is known
    and explains nothing: it is left out, of `mm.lm` too (R's ``summary(lm)`` counts it as
    explained). Random slopes as in `icc`.

    By group, a share is one less the variance of the model over that of the same model with an
    intercept only (Raudenbush and Bryk), fitted by the same method. It is negative where fixed
    effects leave a variance larger: a predictor that varies within groups can make the groups
    differ more.

    For `mm.lm`, squares are about the mean whenever the columns can make a constant, so that
    ``0 + f`` has the R2 of ``f`` (R takes them about zero); about zero otherwise.

    References
    ----------
    Nakagawa, S. and Schielzeth, H. (2013), Methods Ecol. Evol. 4, 133-142. Johnson, P. C. D.
    (2014), Methods Ecol. Evol. 5, 944-946. Raudenbush, S. W. and Bryk, A. S. (2002), Hierarchical
    Linear Models, 2nd ed., Sage, chapter 4.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> mm.r2(m)
    R2 of a mixed model (Nakagawa and Schielzeth; Johnson)
    <BLANKLINE>
    r2_marginal:    0.6194
    r2_conditional: 0.9413
    <BLANKLINE>
    Parts of the variance
    source      variance   share
    Fixed part   4.7006   0.6194
    animal       2.4428   0.3219
    Residual     0.44566  0.0587
    """
    parts = variance_parts(m, weight)
    if by_group:
        return _by_group(m, parts, weight)
    if not m.has_random:
        return _linear(m)
    return R2(
        r2_marginal=parts.fixed / parts.total,
        r2_conditional=(parts.fixed + parts.random) / parts.total,
        parts=parts,
        kind=m.source.kind,
    )


def _by_group(m: Fit, parts: Parts, weight: float) -> Any:
    """What the fixed part takes off the variance of each grouping factor and of the residual."""
    if not m.has_random:
        raise ModelError(f"'{m.formula}' has no random terms, so there are no groups to explain")
    constant = np.eye(len(m.design.x_recipe), 1)  # the first base column
    design = replace(m.design, x_names=("Intercept",), x_recipe=constant)
    null = variance_parts(fit_submodel(m, design, m.rows, m.moments, reml=m.reml), weight)
    before = np.array([*null.groups.values(), null.residual])
    after = np.array([*parts.groups.values(), parts.residual])
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(before > 0.0, 1.0 - after / before, np.nan)
    return to_native(
        {
            "source": [*parts.groups, "Residual"],
            "variance_null": before,
            "variance": after,
            "r2": share,
        },
        m.source.kind,
    )


def variance_parts(m: Fit, weight: float) -> Parts:
    """Parts of the variance of the response."""
    if not 0.0 < weight < math.inf:
        raise ModelError(f"weight must be a positive number, not {weight!r}")
    products = mean_products(m)
    unit = m.residual_scale * m.design.y_scale
    groups = {}
    for group, terms, factor in zip(
        m.design.groups, m.working.terms, m.optimum.at.factors, strict=True
    ):
        # working random effects are factor @ N(0, 1) times the residual scale
        spread = group_recipe(terms) @ (factor * unit)
        groups[group.name] = float(np.einsum("aq,ab,bq->", spread, products, spread))
    return Parts(_fixed_variance(m, products), groups, m.sigma**2 / float(weight))


def mean_products(m: Fit) -> Array:
    """Means over the rows, each counted once, of products of base columns; shape (c, c).

    Raises
    ------
    ModelError
        Prior weights, and no rows: the sums that were kept are weighted.
    """
    if m.rows.weights is None:
        return np.asarray(m.moments.cross[:-1, :-1] / m.n_obs)
    if not has_rows(m):
        raise ModelError(
            f"'{m.formula}' has prior weights and was loaded from a file without its rows, which "
            "shares of variance need: write it with mm.save(model, path, data=True), or fit it "
            "again"
        )
    return cross_products(m.rows.base) / m.n_obs


def _fixed_variance(m: Fit, products: Array) -> float:
    """Sample variance of ``X beta``, from the base columns about their means."""
    coefs = m.working.fixed.recipe @ -m.optimum.at.profile.coefs[:-1]
    coefs = coefs[1:] * m.design.y_scale  # the first base column is the constant
    means = products[0, 1:]
    about_means = products[1:, 1:] - np.outer(means, means)
    return float(coefs @ about_means @ coefs) * m.n_obs / (m.n_obs - 1)


def _linear(m: Fit) -> LinearR2:
    """R2 of least squares; the working response is centred where the columns make a constant."""
    cross, recipe = m.moments.cross, m.working.y_recipe
    products = cross @ recipe
    total = float(recipe @ products)
    constant = m.working.fixed.constant is not None
    if constant:
        total -= float(products[0]) ** 2 / float(cross[0, 0])
    unexplained = m.optimum.at.profile.r2 / total
    return LinearR2(
        r2=1.0 - unexplained,
        r2_adjusted=1.0 - unexplained * (m.n_obs - constant) / m.df_resid,
        kind=m.source.kind,
    )
