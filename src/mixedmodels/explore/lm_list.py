"""One regression per group: `lm_list`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import ArrayLike

from mixedmodels.arguments import checked
from mixedmodels.design.build import build_design
from mixedmodels.design.contrasts import forced_factors, with_contrasts
from mixedmodels.design.frame import Columns, column_names, column_values, read
from mixedmodels.design.grouping import group_levels
from mixedmodels.errors import ArgumentError, DataWarning, FormulaError, warn
from mixedmodels.explore.columns import counted, labels, listed, open_frame
from mixedmodels.explore.lm_result import LmList
from mixedmodels.explore.per_group import fit_groups
from mixedmodels.formula.parse import parse
from mixedmodels.formula.terms import ParsedFormula
from mixedmodels.likelihood.working import make_working
from mixedmodels.model.search import warn_rank
from mixedmodels.moments.memory import collect_moments


@checked
def lm_list(
    formula: str,
    data: Any,
    group: str | Sequence[str] | None = None,
    *,
    weights: str | ArrayLike | None = None,
    contrasts: Mapping[str, Any] | None = None,
) -> LmList:
    """Fit one linear regression to each group, all in one vectorised solve.

    Parameters
    ----------
    formula : str
        ``"weight ~ time"`` with `group`, or nlme's ``"weight ~ time | animal"``.
    data : pandas.DataFrame, polars.DataFrame, pyarrow.Table or dict of columns
        Never changed. Rows with a missing value in a variable of the formula are left out.
    group : str or sequence of str, optional
        Column (or columns, whose combinations count) of the groups.
    weights : str or array-like of shape (n_rows,), optional
        Precision weights, as in `lm`.
    contrasts : mapping of str to str, optional
        Coding per factor, as in `lmer`. Levels are those of the whole data set.

    Returns
    -------
    LmList
        With ``coef()``, ``glance()``, ``compare(other)``, ``augment()`` and ``pooled_sd``. It
        prints.

    Raises
    ------
    FormulaError
        A malformed formula, random terms, or no group.
    DataError
        As in `lm`.

    Warns
    -----
    DataWarning
        Groups with too few rows for the formula (their column ``enough`` is False) or without any
        complete row.
    RankDeficiencyWarning
        Columns that others determine in all rows.

    Notes
    -----
    Transforms and codings (``poly``, ``scale``, factor levels) are those of the whole data set, so
    that coefficients mean the same in every group. A coefficient that the rows of a group do not
    determine is missing; R's ``lm`` would fit a smaller formula there.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> growth = mm.lm_list("BW ~ time", piglets, group="animal")
    >>> growth.coef()[["level", "term", "estimate", "conf_low", "conf_high"]].head(2).round(3)
       level       term  estimate  conf_low  conf_high
    0  58833  Intercept     6.230     3.027      9.433
    1  58833       time     0.319     0.074      0.563
    >>> round(growth.pooled_sd, 3), growth.df_resid
    (0.666, 147)
    """
    frame, kind = open_frame(data)
    text, group_text = _groups(formula, group)
    parsed = _parse(text, group_text, column_names(frame), contrasts or {})
    names = parsed.random[0].group.variables
    given: dict[str, ArrayLike] = {}
    if weights is not None:
        is_name = isinstance(weights, str)
        given["weights"] = column_values(frame, str(weights), "weights") if is_name else weights
    columns = read(
        frame,
        parsed.covariates,
        categorical=forced_factors(parsed),
        grouping=list(names),
        arrays=given,
    )
    codes, levels = group_levels(names, columns.groups)
    design, rows = build_design(replace(parsed, random=()), columns)
    working = make_working(design, collect_moments(design, rows))
    warn_rank(design.x_names, working)
    result = LmList(
        formula=text,
        group=parsed.random[0].group.name,
        levels=tuple(levels),
        term_names=[design.x_names[j] for j in working.fixed.kept],
        fits=fit_groups(design, rows, working.fixed, codes, len(levels)),
        data=frame,
        complete=columns.complete,
        kind=kind,
    )
    _warn_few(result)
    _warn_lost(frame, names, columns)
    return result


def _groups(formula: str, group: str | Sequence[str] | None) -> tuple[str, str]:
    """The formula without its groups, and the groups in the language of formulas."""
    if not isinstance(formula, str):
        raise ArgumentError(f"formula must be a string, not {type(formula).__name__}")
    bar = _top_level_bar(formula)
    if group is not None:
        if bar >= 0:
            raise FormulaError(
                f"the groups are given twice: by group= and behind the bar of '{formula}'"
            )
        names = [group] if isinstance(group, str) else list(group)
        if not names:
            raise FormulaError("group= names no column")
        return formula, ":".join(f"`{name}`" for name in names)
    if bar < 0:
        raise FormulaError(
            f"'{formula}' does not say what the groups are: write 'y ~ x | g', or give group='g'"
        )
    return formula[:bar].rstrip(), formula[bar + 1 :].strip()


def _top_level_bar(text: str) -> int:
    """Position of a bar outside parentheses and backquotes; -1 if there is none."""
    depth, quoted = 0, False
    for i, char in enumerate(text):
        if char == "`":
            quoted = not quoted
        elif not quoted:
            depth += (char == "(") - (char == ")")
            if char == "|" and depth == 0:
                return i
    return -1


def _parse(
    text: str, group: str, columns: Sequence[str], contrasts: Mapping[str, Any]
) -> ParsedFormula:
    """The formula with its groups as the one random intercept."""
    plain = parse(text, columns)
    if plain.random:
        raise FormulaError(
            f"mm.lm_list() takes no random terms, found {plain.random[0].text}; write the groups "
            "as 'y ~ x | g', or use mm.lmer()"
        )
    parsed = with_contrasts(parse(f"{text} + (1 | {group})", columns), contrasts)
    if len(parsed.random) != 1:
        raise FormulaError(
            f"'{group}' names {len(parsed.random)} groupings; give one, such as a:b for the "
            "combinations of two columns"
        )
    return parsed


def _warn_few(result: LmList) -> None:
    few = ~result.enough
    if few.any():
        p = len(result.term_names)
        warn(
            f"{counted(int(few.sum()), 'group')} of {len(few)} have too few or too similar rows "
            f"for {counted(p, 'coefficient')} and a residual variance: "
            f"{listed(result.levels_where(few))}; see the column 'enough' of glance()",
            DataWarning,
        )


def _warn_lost(frame: Any, names: Sequence[str], columns: Columns) -> None:
    """Warn of levels without rows, or all of whose rows miss a value."""
    for name in names:
        if columns.complete is None and not columns.groups[name].order_given:
            continue  # only declared levels can be without rows
        found, known = labels(frame, name, "group"), set(columns.groups[name].levels)
        lost = [level for level in (*found.levels, *found.unused) if level not in known]
        if lost:
            warn(
                f"{counted(len(lost), 'level')} of '{name}' without a complete row left out: "
                f"{listed(lost)}",
                DataWarning,
            )
