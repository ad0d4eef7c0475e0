"""`EmmGrid`: marginal means or slopes as a table that gives contrasts and joint tests."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mixedmodels.arguments import checked, suggestion
from mixedmodels.arrays import Array
from mixedmodels.design.frame import to_native
from mixedmodels.errors import DataWarning, ModelError, warn
from mixedmodels.inference.adjust import Family, check_adjustment, critical_values, p_values
from mixedmodels.inference.contrasts import (
    ALL_PAIRS,
    default_adjustment,
    family_name,
    make_contrasts,
)
from mixedmodels.inference.emm_report import html_page, text_page
from mixedmodels.inference.estimates import (
    Estimates,
    combinations_without,
    combined,
    estimates,
    joint_test,
)
from mixedmodels.inference.grid_variables import Variable, nesting
from mixedmodels.inference.reference_grid import Averages
from mixedmodels.inference.response_scale import Scale
from mixedmodels.model.predict import check_level
from mixedmodels.model.record import Fit
from mixedmodels.quantiles import t_probability, t_two_sided

# columns of results; a variable of such a name gets an underscore there
RESERVED = frozenset(
    (
        *("contrast", "term", "emmean", "response", "estimate", "ratio", "std_error", "df"),
        *("num_df", "den_df", "conf_low", "conf_high", "statistic", "p_value"),
    )
)


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Means that are compared with each other.

    Attributes
    ----------
    rows : ndarray of int
    names, levels : tuple of str
        Of each mean, and the same without the names of numeric variables.
    """

    rows: NDArray[np.intp]
    names: tuple[str, ...]
    levels: tuple[str, ...]


@dataclass(frozen=True, repr=False, eq=False)
class EmmGrid:
    """Marginal means or slopes: prints as a table, reads as a frame, gives contrasts.

    What it does not know itself (``loc``, ``round``, ``filter``, ...) it asks of its frame.

    Attributes
    ----------
    fit : Fit
    variables : tuple of Variable
        Those of `specs`, then those of `by`.
    by : tuple of str
    averages : Averages
        The linear functions of the fixed effects; the first variable varies fastest.
    estimates : Estimates
        Of these, on the scale of the model.
    column : str
        Name of the column of estimates.
    title : str
    notes : tuple of str
        What was averaged over, held, and how it was worked out.
    ddf : str
    level : float
    scale : Scale, optional
        The response's transformation, when results are on the response's own scale.
    """

    fit: Fit
    variables: tuple[Variable, ...]
    by: tuple[str, ...]
    averages: Averages
    estimates: Estimates
    column: str
    title: str
    notes: tuple[str, ...]
    ddf: str
    level: float
    scale: Scale | None

    # --- as a frame -------------------------------------------------------------------------------

    @checked
    def frame(self) -> Any:
        """The table as a frame of the user's kind.

        Returns
        -------
        frame
            The variables, then emmean (``<var>_trend`` of slopes, response on the response's
            scale), std_error, df, conf_low, conf_high, and statistic and p_value of the hypothesis
            that the mean or slope is zero on the scale of the model.
        """
        return to_native(self._columns(), self.fit.source.kind)

    @checked
    def to_pandas(self) -> Any:
        """The table as a pandas frame."""
        return to_native(self._columns(), "pandas")

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the frame."""
        return list(self._columns())

    def __len__(self) -> int:
        return len(self.averages.cells)

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str) and key in ("emmean", "estimate"):
            key = self.column
        return self.frame()[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.frame(), name)

    def __repr__(self) -> str:
        return text_page(self.title, self._columns(), _safe(self.by), self.notes)

    def _repr_html_(self) -> str:
        return html_page(self.title, self._columns(), _safe(self.by), self.notes)

    def _columns(self) -> dict[str, Any]:
        found = self.estimates
        statistic = _ratio(found)
        return {
            **self._values(np.arange(len(self)), [v.name for v in self.variables]),
            self.column: _back(self.scale, found.estimate),
            "std_error": _error(self.scale, found),
            "df": found.df,
            **_limits(self.scale, found, t_two_sided(self.level, found.df)),
            "statistic": statistic,
            "p_value": t_probability(statistic, found.df),
        }

    def _values(self, rows: NDArray[np.intp], names: Sequence[str]) -> dict[str, list[Any]]:
        """Values of some variables in some rows."""
        out = {}
        for variable, places in zip(self.variables, self.averages.cells[rows].T, strict=True):
            if variable.name in names:
                values: Sequence[Any] = variable.values
                if len({isinstance(v, str) for v in values}) > 1:
                    values = [str(v) for v in values]
                out[_safe([variable.name])[0]] = [values[i] for i in places]
        return out

    # --- comparisons ------------------------------------------------------------------------------

    @checked
    def contrasts(
        self,
        method: str | Mapping[str, ArrayLike] | ArrayLike = "pairwise",
        *,
        by: str | Sequence[str] | None = None,
        adjust: str | None = None,
        level: float | None = None,
        ref: int | str = 0,
    ) -> Any:
        """Contrasts among the means of each group.

        Parameters
        ----------
        method : str, mapping of str to coefficients, or array of shape (m, k)
            ``"pairwise"``, ``"revpairwise"``; ``"trt.vs.ctrl"`` (also called ``"dunnett"``),
            ``"trt.vs.ctrlk"`` (the last is the control); ``"consec"`` and ``"mean_chg"`` for
            ordered levels; ``"helmert"`` (each less the mean of those before it); ``"poly"``
            (orthogonal polynomials in whole numbers, levels taken as equally spaced); ``"eff"`` and
            ``"del.eff"`` (differences from the mean of all, and of all others). Or coefficients of
            the k means of a group, in the order of the table.
        by : str or sequence of str, optional
            Variables within whose levels to compare; those of the grid by default, ``[]`` for none.
        adjust : str, optional
            For the number of contrasts in each group: ``"tukey"``, ``"dunnettx"``, ``"mvt"``,
            ``"sidak"``, ``"bonferroni"``, ``"scheffe"``, ``"holm"``, ``"hochberg"``,
            ``"hommel"``, ``"fdr"`` (or ``"BH"``), ``"BY"``, ``"none"``. By default tukey for all
            pairs, dunnettx against a control, mvt for consec and mean_chg, fdr for eff and del.eff,
            else none.
        level : float, optional
            Simultaneous coverage of the limits in each group; that of the grid by default.
        ref : int or str, default 0
            The control, by position or by level.

        Returns
        -------
        frame
            contrast, the variables of `by`, estimate, std_error, df, statistic, p_value, conf_low,
            conf_high. On the response's scale after a logarithm, ratio stands for estimate.

        Raises
        ------
        ModelError
            Unknown method, adjustment, variable or control; coefficients of a wrong length.

        Warns
        -----
        DataWarning
            ``"tukey"`` for other contrasts than all pairs: Sidak's adjustment takes its place.

        Notes
        -----
        Tukey's is exact for independent means of equal variance, and used for others too, as in
        emmeans. mvt is the multivariate t with the contrasts' own correlations, to a part in a
        thousand of the p-value. dunnettx is emmeans's quick approximation to it. Holm, Hochberg and
        the false discovery rates have no intervals of their own: theirs are Bonferroni's.

        References
        ----------
        Hsu, J. C. (1996), Multiple Comparisons: Theory and Methods. Lenth, R. V., R package
        emmeans, for the names of methods and adjustments.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time + treatm + (time | animal)", mm.datasets.load("piglets"))
        >>> table = mm.emmeans(m, "treatm").contrasts("trt.vs.ctrl")
        >>> table[["contrast", "estimate", "std_error", "df", "p_value"]].round(3)
                    contrast  estimate  std_error      df  p_value
        0  treatm2 - treatm1    -0.043      0.458  69.865    0.999
        1  treatm3 - treatm1    -0.094      0.458  69.865    0.992
        2  treatm4 - treatm1     0.065      0.458  69.865    0.997
        3  treatm5 - treatm1    -0.039      0.459  70.224    0.999
        """
        level = self.level if level is None else level
        check_level(level)
        method = family_name(method)
        adjust = _adjustment(method, adjust)
        groups, inner = self._groups(by)
        # only differences of logarithms have a meaning on the response's scale: they are ratios
        scale = self.scale if self.scale is not None and self.scale.is_log else None
        sign = "-" if scale is None else "/"
        made = [make_contrasts(method, g.names, sign, _control(g, ref)) for g in groups]
        found = self._combined(groups, [c.coefficients for c in made])

        statistic = _ratio(found)
        p_value, width = np.empty(len(statistic)), np.empty(len(statistic))
        first: list[int] = []
        for group, contrasts in zip(groups, made, strict=True):
            part = slice(len(first), len(first) + len(contrasts.names))
            first += [int(group.rows[0])] * len(contrasts.names)
            family = Family(statistic[part], found.df[part], found.rows[part], len(group.rows))
            p_value[part] = p_values(family, adjust)
            width[part] = critical_values(family, adjust, level)
        outer = [v.name for v in self.variables if v.name not in inner]
        return to_native(
            {
                "contrast": [name for c in made for name in c.names],
                **self._values(np.array(first, np.intp), outer),
                "estimate" if scale is None else "ratio": _back(scale, found.estimate),
                "std_error": _error(scale, found),
                "df": found.df,
                "statistic": statistic,
                "p_value": p_value,
                **_limits(scale, found, width),
            },
            self.fit.source.kind,
        )

    @checked
    def joint_tests(self, *, by: str | Sequence[str] | None = None) -> Any:
        """F tests that the means do not depend on a factor, and of its interactions.

        Parameters
        ----------
        by : str or sequence of str, optional
            Variables within whose levels to test; those of the grid by default, ``[]`` for none.

        Returns
        -------
        frame
            term, the variables of `by`, num_df, den_df, statistic, p_value. What combinations of
            levels without data leave unknown is not tested: num_df is smaller then.

        Raises
        ------
        ModelError
            An unknown variable; no variable with two levels; a nested factor in the grid.

        Examples
        --------
        >>> import mixedmodels as mm
        >>> m = mm.lmer("BW ~ time * treatm + (time | animal)", mm.datasets.load("piglets"))
        >>> mm.emmeans(m, "~ treatm | time", at={"time": [0, 21]}).joint_tests().round(3)
             term  time  num_df  den_df  statistic  p_value
        0  treatm   0.0       4  69.928      0.015    1.000
        1  treatm  21.0       4  69.635      1.101    0.363
        """
        groups, inner = self._groups(by)
        factors = [v for v in self.variables if v.name in inner and len(v.values) > 1]
        size = int(np.prod([len(v.values) for v in self.variables if v.name in inner], initial=1))
        if not factors or any(len(g.rows) != size for g in groups):
            raise ModelError(
                "joint tests need a factor with two levels or more in each group, and every "
                "combination of the levels (no nested factor); use contrasts()"
            )
        within = nesting(self.fit, {v.name: v for v in factors})
        terms = [
            s
            for n in range(1, len(factors) + 1)
            for s in combinations(factors, n)
            if {o for v in s for o in within.get(v.name, ())} <= {v.name for v in s}
        ]
        matrices = [
            _interaction(factors, term, {o for v in term for o in within.get(v.name, ())})
            for term in terms
        ]
        outer = [v.name for v in self.variables if v.name not in inner]
        linear = self.averages.linear
        missing = np.asarray(np.isnan(linear).any(axis=1))
        tests = [
            joint_test(
                self.fit,
                combined(combinations_without(matrix, missing[group.rows]), linear[group.rows]),
                self.ddf,
            )
            for group in groups
            for matrix in matrices
        ]
        first = np.repeat([g.rows[0] for g in groups], len(terms))
        return to_native(
            {
                "term": [":".join(v.name for v in term) for term in terms] * len(groups),
                **self._values(first, outer),
                "num_df": np.array([t[1] for t in tests], np.int64),
                "den_df": np.array([t[2] for t in tests]),
                "statistic": np.array([t[0] for t in tests]),
                "p_value": np.array([t[3] for t in tests]),
            },
            self.fit.source.kind,
        )

    def _groups(self, by: str | Sequence[str] | None) -> tuple[list[_Group], list[str]]:
        """Groups of means to compare, the first variable of `by` varying fastest; inner names."""
        outer = list(self.by) if by is None else [by] if isinstance(by, str) else list(by)
        names = [v.name for v in self.variables]
        for name in outer:
            if name not in names:
                raise ModelError(
                    f"by: {name!r} is no variable of this table{suggestion(name, names)}; they are "
                    f"{', '.join(names)}"
                )
        inner = [name for name in names if name not in outer]
        cells = self.averages.cells
        own = cells[:, [names.index(name) for name in outer]]
        keys: dict[tuple[int, ...], list[int]] = {}
        for row, key in enumerate(own.tolist()):
            keys.setdefault(tuple(reversed(key)), []).append(row)
        groups = [self._group(np.array(keys[key], np.intp), inner) for key in sorted(keys)]
        # a level that stands alone within its own has nothing to be compared with
        return [g for g in groups if len(g.rows) > 1] or groups, inner

    def _group(self, rows: NDArray[np.intp], inner: Sequence[str]) -> _Group:
        names, levels = [[""] * len(rows) for _ in range(2)]
        for variable, places in zip(self.variables, self.averages.cells[rows].T, strict=True):
            if variable.name in inner:
                labels = variable.labels()
                names = [f"{old} {labels[i]}" for old, i in zip(names, places, strict=True)]
                levels = [
                    f"{old} {variable.texts()[i]}" for old, i in zip(levels, places, strict=True)
                ]
        return _Group(rows, tuple(n[1:] for n in names), tuple(n[1:] for n in levels))

    def _combined(self, groups: Sequence[_Group], coefficients: Sequence[Array]) -> Estimates:
        """Estimates of the contrasts of all groups."""
        at = self.averages
        pairs = list(zip(groups, coefficients, strict=True))
        linear = np.concatenate([combined(c, at.linear[g.rows]) for g, c in pairs])
        offset = np.concatenate([combined(c, at.offset[g.rows]) for g, c in pairs])
        return estimates(self.fit, linear, offset, self.ddf)


def _safe(names: Sequence[str]) -> list[str]:
    return [f"{name}_" if name in RESERVED else name for name in names]


def _interaction(
    factors: Sequence[Variable], term: Sequence[Variable], outer: Collection[str]
) -> Array:
    """Differences from the first level of the term's factors, averaged over the others.

    A factor of the term in which another one lies is not compared: each of its levels stands for
    itself.
    """
    out: Array = np.ones((1, 1))
    for factor in factors:
        k = len(factor.values)
        if factor not in term:
            own = np.full((1, k), 1.0 / k)
        else:
            own = np.eye(k) if factor.name in outer else np.eye(k)[1:] - np.eye(k)[0]
        out = np.kron(own, out)
    return out


def _control(group: _Group, ref: int | str) -> int | str:
    """The control as a position, where it is named by its level alone."""
    return group.levels.index(ref) if isinstance(ref, str) and ref in group.levels else ref


def _adjustment(method: Any, adjust: str | None) -> str:
    """The adjustment to use."""
    if adjust is None:
        return default_adjustment(method)
    adjust = check_adjustment(adjust)
    if adjust == "tukey" and not (isinstance(method, str) and method in ALL_PAIRS):
        warn(
            "adjust='tukey' is for all pairs of means; 'sidak' was used for these contrasts",
            DataWarning,
        )
        return "sidak"
    return adjust


def _ratio(found: Estimates) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(found.estimate / found.std_error)


# --- the response's scale -------------------------------------------------------------------------


def _back(scale: Scale | None, values: Array) -> Array:
    return values if scale is None else scale.back(values)


def _error(scale: Scale | None, found: Estimates) -> Array:
    """Standard errors, by the delta method on the response's scale."""
    return found.std_error if scale is None else found.std_error * scale.slope(found.estimate)


def _limits(scale: Scale | None, found: Estimates, quantile: Array) -> dict[str, Array]:
    # what is known exactly, such as a difference of equal slopes, has no width at any df
    width = np.where(found.std_error == 0.0, 0.0, quantile * found.std_error)
    return {
        "conf_low": _back(scale, found.estimate - width),
        "conf_high": _back(scale, found.estimate + width),
    }
