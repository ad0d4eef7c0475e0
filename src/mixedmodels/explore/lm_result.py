"""`LmList`: what separate regressions of groups have to say, as frames and in print."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arguments import check_choice, checked
from mixedmodels.arrays import Array
from mixedmodels.design.frame import FrameKind, attach, to_native
from mixedmodels.errors import DataWarning, ModelError, warn
from mixedmodels.explore.columns import counted, listed
from mixedmodels.explore.per_group import GroupFits
from mixedmodels.model.predict import check_level
from mixedmodels.output.layout import Block, Facts, Table, fixed, number, shorten_words
from mixedmodels.output.printed import Printed
from mixedmodels.quantiles import t_probability, t_two_sided

Criterion: TypeAlias = Literal["r2", "adj_r2", "aicc", "aic", "bic", "sigma"]

# criteria of which the larger is the better
LARGER = ("r2", "adj_r2")
SMALLER = ("aicc", "aic", "bic", "sigma")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LmList(Printed):
    """Separate regressions of the groups of a data set.

    Attributes
    ----------
    formula : str
        Without the groups.
    group : str
        Name of the grouping factor.
    levels : tuple of str
        Its levels.
    term_names : list of str
    fits : GroupFits
        Arrays of all groups, in the order of `levels`.
    data : object
        The data, for `augment`.
    complete : ndarray of bool, optional
        Rows used; None when all were.
    kind : str
        Kind of the frames.
    """

    formula: str
    group: str
    levels: tuple[str, ...]
    term_names: list[str]
    fits: GroupFits
    data: Any
    complete: NDArray[np.bool_] | None
    kind: FrameKind

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return len(self.levels)

    @property
    def df(self) -> NDArray[np.int64]:
        """Residual degrees of freedom of each group, shape (n_groups,)."""
        return self.fits.n - self.fits.rank

    @property
    def df_resid(self) -> int:
        """Residual degrees of freedom of all groups together."""
        return int(self.df.sum())

    @property
    def pooled_sd(self) -> float:
        """Residual standard deviation of all groups together, in units of the response.

        The square root of the sum of all squared residuals over `df_resid`; NaN if that is zero.
        """
        return math.sqrt(float(self.fits.rss.sum()) / self.df_resid) if self.df_resid else math.nan

    @property
    def enough(self) -> NDArray[np.bool_]:
        """Groups whose rows determine every coefficient and leave residual degrees of freedom."""
        return np.asarray((self.df > 0) & (self.fits.rank == len(self.term_names)))

    @checked
    def levels_where(self, chosen: NDArray[np.bool_]) -> list[str]:
        """The levels of some groups."""
        return [self.levels[i] for i in np.flatnonzero(chosen)]

    @property
    def sigma(self) -> Array:
        """Residual standard deviation of each group; NaN without degrees of freedom."""
        return _ratio(np.sqrt(self.fits.rss), np.sqrt(self.df))

    @checked
    def coef(self, level: float = 0.95, *, sd: Literal["own", "pooled"] = "own") -> Any:
        """Coefficients of every group with confidence intervals.

        Parameters
        ----------
        level : float, default 0.95
        sd : {"own", "pooled"}
            Which residual standard deviation the errors rest on: the group's, with its degrees of
            freedom, or `pooled_sd` with those of all groups (as nlme's ``intervals``).

        Returns
        -------
        frame
            group, level, term, estimate, std_error, statistic, df, p_value, conf_low, conf_high.
            What a group's rows do not determine is missing.

        Raises
        ------
        ModelError
            A level outside (0, 1), or an unknown `sd`.
        """
        check_level(level)
        check_choice("sd", sd, ("own", "pooled"))
        p = len(self.term_names)
        df = np.full(self.n_groups, self.df_resid) if sd == "pooled" else self.df
        sigma = np.full(self.n_groups, self.pooled_sd) if sd == "pooled" else self.sigma
        df = np.repeat(df, p).astype(np.float64)
        estimate = self.fits.estimates.ravel()
        error = (self.fits.unit_errors * sigma[:, None]).ravel()
        df[np.isnan(error)] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = estimate / error
            half = t_two_sided(level, df) * error
        return to_native(
            {
                "group": [self.group] * (self.n_groups * p),
                "level": np.repeat(np.array(self.levels, object), p),
                "term": self.term_names * self.n_groups,
                "estimate": estimate,
                "std_error": error,
                "statistic": statistic,
                "df": df,
                "p_value": t_probability(statistic, df),
                "conf_low": estimate - half,
                "conf_high": estimate + half,
            },
            self.kind,
        )

    @checked
    def glance(self) -> Any:
        """How well each group's regression fits.

        Returns
        -------
        frame
            group, level, n, n_params (coefficients and sigma), df, r2, adj_r2, sigma, loglik, aic,
            aicc, bic, enough (rows to determine all coefficients and sigma). R squared is about the
            group's mean (about zero in a model without intercept).
        """
        values = self.criteria()
        return to_native(
            {
                "group": [self.group] * self.n_groups,
                "level": list(self.levels),
                "n": self.fits.n,
                "n_params": self.fits.rank + 1,
                "df": self.df,
                **{name: values[name] for name in ("r2", "adj_r2", "sigma", "loglik")},
                **{name: values[name] for name in ("aic", "aicc", "bic")},
                "enough": self.enough,
            },
            self.kind,
        )

    @checked
    def criteria(self) -> dict[str, Array]:
        """r2, adj_r2, sigma, loglik, aic, aicc and bic of each group, shape (n_groups,)."""
        fits, k = self.fits, self.fits.rank + 1.0
        n = fits.n.astype(np.float64)
        r2 = 1.0 - _ratio(fits.rss, fits.tss)
        with np.errstate(divide="ignore", invalid="ignore"):
            loglik = -0.5 * (n * (np.log(2.0 * math.pi * fits.rss / n) + 1.0) - fits.log_weights)
            small = np.where(n > k + 1.0, 2.0 * k * (k + 1.0) / (n - k - 1.0), np.inf)
        loglik = np.where(self.df > 0, loglik, np.nan)
        aic = 2.0 * k - 2.0 * loglik
        return {
            "r2": r2,
            "adj_r2": 1.0 - (1.0 - r2) * _ratio(n - fits.has_constant, self.df),
            "sigma": self.sigma,
            "loglik": loglik,
            "aic": aic,
            "aicc": aic + small,
            "bic": np.log(n) * k - 2.0 * loglik,
        }

    @checked
    def compare(
        self,
        other: LmList,
        criterion: Criterion = "r2",
        names: tuple[str, str] = ("1", "2"),
    ) -> Any:
        """Which of two regressions describes each group better.

        Parameters
        ----------
        other : LmList
            Another formula on the same groups and rows.
        criterion : {"r2", "adj_r2", "aicc", "aic", "bic", "sigma"}
            R squared never falls when terms are added: use another to weigh fit against terms.
        names : tuple of str
            What the two are called in the column names, such as ``("lin", "quad")``.

        Returns
        -------
        frame
            group, level, the criterion of both (``r2_1`` and ``r2_2``), diff (first less second)
            and best, the name of the better column (the first where they are equal, empty where one
            is missing).

        Raises
        ------
        TypeError, ModelError
            Not an `LmList`; other groups or other rows; an unknown criterion; equal names.

        Warns
        -----
        DataWarning
            Groups without a comparison.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> piglets = mm.datasets.load("piglets").astype({"animal": str})
        >>> weighed_4_times = piglets.groupby("animal")["BW"].transform("size") == 4
        >>> linear = mm.lm_list("BW ~ time | animal", piglets[weighed_4_times])
        >>> quadratic = mm.lm_list("BW ~ time + I(time^2) | animal", piglets[weighed_4_times])
        >>> linear.compare(quadratic, names=("lin", "quad")).head(2).round(4)
            group  level  r2_lin  r2_quad    diff     best
        0  animal  58833  0.9401   0.9818 -0.0417  r2_quad
        1  animal  58838  0.9934   0.9989 -0.0055  r2_quad
        """
        _check_comparable(self, other)
        if criterion not in (*LARGER, *SMALLER):
            known = ", ".join(map(repr, (*LARGER, *SMALLER)))
            raise ModelError(f"criterion must be one of {known}, not {criterion!r}")
        first, second = (f"{criterion}_{name}" for name in names)
        if first == second:
            raise ModelError(f"the two lists need two names, not {names!r}")
        a, b = self.criteria()[criterion], other.criteria()[criterion]
        with np.errstate(invalid="ignore"):
            diff = a - b
        lost = np.isnan(a) | np.isnan(b) | (np.isinf(a) & np.isinf(b))
        better = b > a if criterion in LARGER else b < a
        if lost.any():
            warn(
                f"{counted(int(lost.sum()), 'group')} of {len(lost)} have too few rows for "
                f"{criterion} of both regressions: {listed(self.levels_where(lost))}",
                DataWarning,
            )
        return to_native(
            {
                "group": [self.group] * self.n_groups,
                "level": list(self.levels),
                first: a,
                second: b,
                "diff": np.where(lost, np.nan, diff),
                "best": np.where(lost, "", np.where(better, second, first)).tolist(),
            },
            self.kind,
        )

    @checked
    def augment(self) -> Any:
        """The data with the fitted values and residuals of each group's own regression.

        Returns
        -------
        frame
            The user's columns and fitted, residual; rows left out hold no value.
        """
        new = {"fitted": self.fits.fitted, "residual": self.fits.residuals}
        return attach(self.data, self.complete, new)

    def title(self) -> str:
        """How many regressions of what."""
        return f"{counted(self.n_groups, 'separate regression')}, one per {self.group}"

    def blocks(self) -> Sequence[Block]:
        """Facts, and how the coefficients vary between groups."""
        few = int(np.count_nonzero(~self.enough))
        facts = [
            ("Formula", shorten_words(self.formula)),
            ("Rows", f"{int(self.fits.n.sum())}"),
            ("Pooled residual sd", f"{number(self.pooled_sd)} on {self.df_resid} df"),
        ]
        if few:
            facts.append(("Too few rows", f"{counted(few, 'group')} (see glance())"))
        rows = []
        for name, values in zip(self.term_names, self.fits.estimates.T, strict=True):
            known = values[~np.isnan(values)]
            if len(known):
                shown = [known.mean(), np.nan, *np.quantile(known, (0.0, 0.25, 0.5, 0.75, 1.0))]
                shown[1] = known.std(ddof=1) if len(known) > 1 else np.nan
                rows.append((name, *(_text(float(x)) for x in shown), f"{len(known)}"))
        header = ("term", "mean", "sd", "min", "1Q", "median", "3Q", "max", "n")
        r2 = self.criteria()["r2"]
        table = Table("Coefficients over groups", header, tuple(rows), 1)
        if not np.isnan(r2).all():
            facts.append(("Median R squared", fixed(float(np.nanmedian(r2)), 4)))
        return [Facts(tuple(facts)), table]


def _check_comparable(ours: LmList, other: Any) -> None:
    if ours.group != other.group or ours.levels != other.levels:
        raise ModelError(
            f"the two lists have different groups: {len(ours.levels)} of '{ours.group}' and "
            f"{len(other.levels)} of '{other.group}'"
        )
    differ = ours.fits.n != other.fits.n
    if differ.any():
        raise ModelError(
            f"the two lists use different rows in {counted(int(differ.sum()), 'group')} "
            f"({listed(ours.levels_where(differ))}): drop rows with missing values first"
        )


def _ratio(top: Any, bottom: Any) -> Array:
    """A quotient, NaN where the divisor is not positive."""
    bottom = np.asarray(bottom, dtype=np.float64)
    quotient = np.full(bottom.shape, np.nan)
    np.divide(top, bottom, out=quotient, where=bottom > 0.0)
    return quotient


def _text(value: float) -> str:
    return "n/a" if math.isnan(value) else number(value)
