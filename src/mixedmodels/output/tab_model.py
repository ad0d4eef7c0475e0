"""Models side by side as a table for a paper: text, HTML, LaTeX, Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mixedmodels.arguments import check_choice, checked
from mixedmodels.design.frame import to_native
from mixedmodels.errors import ModelError, clean, require
from mixedmodels.inference.compare import Models, named_models
from mixedmodels.inference.variance_explained import icc, r2
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.frames import DDF, standard_errors
from mixedmodels.model.predict import check_level
from mixedmodels.model.record import Fit
from mixedmodels.output.layout import Block, Prose, Table, shorten
from mixedmodels.output.printed import Printed
from mixedmodels.quantiles import t_probability, t_two_sided, two_sided

FIXED, RANDOM, MODEL = "Fixed effects", "Random effects", "Model"
# models whose cells fit beside each other in a terminal
ABREAST = 2
# longest head of a model there
HEAD = 16
# rows in the order of the literature, whatever models have them
ORDER = ("σ²", "τ₀₀", "τ₁₁", "ρ₀₁", "ICC", "N ", "Obs", "Marg", "Cond", "R²", "Adj")
# a file of its own; Word too needs to be told the encoding
PAGE = (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{}</title>\n'
    "</head>\n<body>\n{}\n</body>\n</html>\n"
)
STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
LATEX = {
    "σ²": r"$\sigma^2$",
    "τ₀₀": r"$\tau_{00}$",
    "τ₁₁": r"$\tau_{11}$",
    "ρ₀₁": r"$\rho_{01}$",
    "R²": r"$R^2$",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    section : str
    label : str
    cells : tuple of (str, str, str)
        Estimate, interval and p-value of every model; empty where it has none.
    """

    section: str
    label: str
    cells: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, eq=False, repr=False)
class ModelTable(Printed):
    """Models side by side.

    Attributes
    ----------
    names : tuple of str
        Of the models.
    rows : tuple of Row
    level : float
        Of the intervals.
    note : str
    kind : object
        Kind of frame that came in.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    level: float
    note: str
    kind: Any

    def title(self) -> str:
        """Number of models."""
        return f"{len(self.names)} model{'s' if len(self.names) > 1 else ''} side by side"

    def blocks(self) -> Sequence[Block]:
        """One table per section, two models abreast."""
        out: list[Block] = []
        for first in range(0, len(self.names), ABREAST):
            part = range(first, min(first + ABREAST, len(self.names)))
            for section in (FIXED, RANDOM, MODEL):
                own = [row for row in self.rows if row.section == section]
                if own:
                    out.append(self._text_table(section, own, part))
        return [*out, Prose("Notes", (self.note,))] if self.note else out

    def _text_table(self, section: str, rows: Sequence[Row], part: range) -> Table:
        header = [""]
        for i in part:
            header += [shorten(self.names[i], HEAD), f"{100 * self.level:g} % CI", "p"]
        wide = section == FIXED
        body = []
        for row in rows:
            cells = [row.label]
            for i in part:
                cells += row.cells[i] if wide else row.cells[i][:1]
            body.append(tuple(cells))
        if not wide:
            header = ["", *(shorten(self.names[i], HEAD) for i in part)]
        return Table(section, tuple(header), tuple(body), 1)

    @checked
    def frame(self) -> Any:
        """The table as a frame of text: section, term, then three columns per model."""
        columns: dict[str, list[str]] = {
            "section": [row.section for row in self.rows],
            "term": [row.label for row in self.rows],
        }
        for i, name in enumerate(self.names):
            for j, what in enumerate(("estimate", "ci", "p")):
                columns[f"{name}: {what}"] = [row.cells[i][j] for row in self.rows]
        return to_native(columns, self.kind)

    @checked
    def gt(self, title: str | None = None) -> Any:
        """The table as a ``great_tables.GT``, to be styled further.

        Raises
        ------
        MissingDependencyError
            great_tables is not installed.
        """
        gt = require("great_tables", "tables")
        import pandas as pd

        columns: dict[str, list[str]] = {
            "section": [row.section for row in self.rows],
            "term": [clean(row.label) for row in self.rows],
        }
        labels: dict[str, Any] = {"term": ""}
        for i in range(len(self.names)):
            for j, what in enumerate(("estimate", f"{100 * self.level:g} % CI", "p")):
                columns[f"{i}-{j}"] = [row.cells[i][j] for row in self.rows]
                labels[f"{i}-{j}"] = what
        table = gt.GT(pd.DataFrame(columns), groupname_col="section", rowname_col="term")
        table = table.cols_label(**labels).cols_align(
            "right", [name for name in columns if name not in ("section", "term")]
        )
        for i, name in enumerate(self.names):
            table = table.tab_spanner(clean(name), [f"{i}-{j}" for j in range(3)], id=f"model-{i}")
        if title:
            table = table.tab_header(clean(title))
        return table.tab_source_note(self.note) if self.note else table

    @checked
    def to_html(self, title: str | None = None) -> str:
        """The table as an element, its styles in place: browsers, Word and mail show it alike."""
        return str(self.gt(title).as_raw_html(inline_css=True))

    @checked
    def to_latex(self, title: str | None = None) -> str:
        """The table as LaTeX (packages booktabs, caption, longtable)."""
        text = str(self.gt(title).as_latex())
        for symbol, command in LATEX.items():
            text = text.replace(symbol, command)
        return text

    @checked
    def to_markdown(self) -> str:
        """The table as a Markdown pipe table."""
        header = [""]
        for name in self.names:
            header += [name, f"{100 * self.level:g} % CI", "p"]
        lines = [[_escaped(cell) for cell in header], ["---"] + ["--:"] * (len(header) - 1)]
        for section in (FIXED, RANDOM, MODEL):
            own = [row for row in self.rows if row.section == section]
            if own:
                lines.append([f"**{section}**"] + [""] * (len(header) - 1))
                lines += [
                    [_escaped(r.label), *(c for cells in r.cells for c in cells)] for r in own
                ]
        text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"{text}\n\n{self.note}\n" if self.note else text + "\n"

    @checked
    def save(self, path: str | Path, title: str | None = None) -> None:
        """Write the table; the ending chooses the form: .html (a whole page), .tex, .md or .txt.

        Raises
        ------
        ModelError
            Another ending.
        """
        path = Path(path)
        if path.suffix == ".html":
            text = PAGE.format(escape(clean(title or self.title())), self.to_html(title))
        elif path.suffix == ".tex":
            text = self.to_latex(title)
        elif path.suffix == ".md":
            text = self.to_markdown()
        elif path.suffix == ".txt":
            text = str(self) + "\n"
        else:
            raise ModelError(f"{path.name}: a table is written as .html, .tex, .md or .txt")
        path.write_text(text, encoding="utf-8")


def _escaped(cell: str) -> str:
    """A cell that cannot break out of its column."""
    text = re.sub(r"[\\`*|$]|\](?=\()", r"\\\g<0>", clean(cell))
    return text.replace("&", "&amp;").replace("<", "&lt;")


@checked
def tab_model(
    *models: FittedModel | Models,
    names: Sequence[str] | None = None,
    labels: Mapping[str, str] | None = None,
    level: float = 0.95,
    ddf: str = "satterthwaite",
    digits: int = 3,
    stars: bool = False,
) -> ModelTable:
    """Fitted models side by side, as a paper shows them.

    Parameters
    ----------
    *models : FittedModel
        Or one mapping of names to models, or one sequence.
    names : sequence of str, optional
        Heads of the columns; by default numbers, and a note with the formulas.
    labels : mapping of str to str, optional
        Other names for terms and grouping factors.
    level : float
        Of the intervals.
    ddf : {"satterthwaite", "kenward-roger", "none"}
        Degrees of freedom of tests and intervals; with "none" they rest on the normal distribution
        and there are no p-values.
    digits : int
        Significant digits of estimates.
    stars : bool, default False
        Mark p-values below 0.05, 0.01 and 0.001 with stars instead of printing them.

    Returns
    -------
    ModelTable
        Prints as text; `to_html`, `to_latex`, `to_markdown`, `save` and `gt` (great_tables) write
        it; `frame` has its cells.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    ModelError
        No model; names or labels that do not fit; an unknown `ddf`.

    Notes
    -----
    Random part: residual variance σ², variance of the intercept τ₀₀ and of slopes τ₁₁, their
    correlation ρ₀₁, adjusted ICC, number of levels N. R² after Nakagawa and Schielzeth (2013) and
    Johnson (2014).

    Examples
    --------
    >>> import mixedmodels as mm
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> print(mm.tab_model({"growth": m}).to_markdown().splitlines()[4])
    | time | 0.278 | 0.260 to 0.296 | <0.001 |
    """
    given: Any = models[0] if len(models) == 1 and not isinstance(models[0], Fit) else models
    fits = list(named_models(given, "tab_model").items())
    if names is not None:
        heads = [str(name) for name in names]
    elif isinstance(given, Mapping):
        heads = [name for name, _ in fits]
    else:
        heads = [f"({i})" for i in range(1, len(fits) + 1)]
    if len(heads) != len(fits):
        raise ModelError(f"tab_model got {len(heads)} names for {len(fits)} models")
    check_level(level)
    ddf = check_choice("ddf", ddf, DDF)
    if isinstance(digits, bool) or not isinstance(digits, int) or digits < 1:
        raise ModelError(f"digits must be a whole number of at least 1, not {digits!r}")
    renamed = dict(labels or {})
    columns = [_column(fit, level, ddf, digits, renamed, stars=stars) for _, fit in fits]
    _check_labels(renamed, [fit for _, fit in fits])
    rows = []
    for section in (FIXED, RANDOM, MODEL):
        every = list(dict.fromkeys(key for column in columns for key in column[section]))
        if section != FIXED:
            every.sort(key=_rank)
        rows += [
            Row(section, key, tuple(column[section].get(key, ("", "", "")) for column in columns))
            for key in every
        ]
    notes = ["* p < 0.05, ** p < 0.01, *** p < 0.001"] if stars else []
    if names is None and not isinstance(given, Mapping):
        notes += [
            f"{head} {clean(fit.formula)}" for head, (_, fit) in zip(heads, fits, strict=True)
        ]
    note = "; ".join(notes)
    return ModelTable(tuple(heads), tuple(rows), level, note, fits[0][1].source.kind)


def _rank(label: str) -> int:
    return next((i for i, start in enumerate(ORDER) if label.startswith(start)), len(ORDER))


Column = dict[str, dict[str, tuple[str, str, str]]]


def _column(
    fit: Fit, level: float, ddf: str, digits: int, labels: Mapping[str, str], *, stars: bool
) -> Column:
    """Cells of one model."""
    return {
        FIXED: _fixed_cells(fit, level, ddf, digits, labels, stars=stars),
        RANDOM: _random_cells(fit, digits, labels) if fit.has_random else {},
        MODEL: _model_cells(fit, digits),
    }


def _fixed_cells(
    fit: Fit, level: float, ddf: str, digits: int, labels: Mapping[str, str], *, stars: bool
) -> dict[str, tuple[str, str, str]]:
    errors, df = standard_errors(fit, ddf)
    tested = ddf != "none" or not fit.has_random
    width: Any = t_two_sided(level, df) if tested else two_sided(level)
    low, high = fit.beta - width * errors, fit.beta + width * errors
    with np.errstate(divide="ignore", invalid="ignore"):
        p = t_probability(fit.beta / errors, df) if tested else np.full(len(df), math.nan)
    out = {}
    for j, term in enumerate(fit.term_names):
        estimate = figure(float(fit.beta[j]), digits)
        interval = f"{figure(float(low[j]), digits)} to {figure(float(high[j]), digits)}"
        mark = next((s for bound, s in STARS if p[j] < bound), "") if stars else _p(float(p[j]))
        out[labels.get(term, term)] = (estimate, interval, mark)
    return out


def _random_cells(
    fit: Fit, digits: int, labels: Mapping[str, str]
) -> dict[str, tuple[str, str, str]]:
    out = {"σ²": figure(fit.sigma**2, digits)}
    correlations: dict[str, str] = {}
    for group, term in fit.design.theta_order:
        name = labels.get(fit.design.groups[group].name, fit.design.groups[group].name)
        columns = fit.design.groups[group].terms[term].names
        factor = fit.term_factor(group, term) * fit.sigma
        covariance = factor @ factor.T
        sd = np.sqrt(np.diag(covariance))
        for i, column in enumerate(columns):
            label = labels.get(column, column)
            key = f"τ₀₀ {name}" if column == "Intercept" else f"τ₁₁ {name}.{label}"
            out[key] = figure(float(covariance[i, i]), digits)
            for j in range(i):
                pair = "" if columns[j] == "Intercept" else f"{labels.get(columns[j], columns[j])}."
                product = float(sd[i] * sd[j])
                value = covariance[i, j] / product if product > 0.0 else math.nan
                correlations[f"ρ₀₁ {name}.{pair}{label}"] = figure(float(value), digits)
    out |= correlations
    out["ICC"] = figure(float(icc(fit).icc_adjusted), digits)
    for name, count in fit.n_groups.items():
        out[f"N {labels.get(name, name)}"] = f"{count:,}"
    return {key: (value, "", "") for key, value in out.items()}


def _model_cells(fit: Fit, digits: int) -> dict[str, tuple[str, str, str]]:
    shares = r2(fit)
    out = {"Observations": f"{fit.n_obs:,}"}
    if fit.has_random:
        out["Marginal R²"] = figure(float(shares["r2_marginal"]), digits)
        out["Conditional R²"] = figure(float(shares["r2_conditional"]), digits)
    else:
        out["R²"] = figure(float(shares["r2"]), digits)
        out["Adjusted R²"] = figure(float(shares["r2_adjusted"]), digits)
    out["REML criterion" if fit.reml else "Deviance"] = f"{fit.criterion:.2f}"
    out["AIC"], out["AICc"] = f"{fit.aic:.2f}", f"{fit.aicc:.2f}"
    return {key: (value, "", "") for key, value in out.items()}


def _check_labels(labels: Mapping[str, str], fits: Sequence[Fit]) -> None:
    known = {name for fit in fits for name in [*fit.term_names, *fit.n_groups]}
    known |= {n for fit in fits for g in fit.design.groups for t in g.terms for n in t.names}
    unknown = [name for name in labels if name not in known]
    if unknown:
        raise ModelError(
            f"labels names {', '.join(map(repr, unknown))}, which no model has; there are "
            f"{', '.join(sorted(known))}"
        )


def figure(value: float, digits: int) -> str:
    """A number with so many significant digits, without trailing exponents where it is readable."""
    if not math.isfinite(value):
        return "" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == 0.0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if -5 < size < 7:
        return f"{value:.{max(digits - 1 - size, 0)}f}"
    return f"{value:.{digits - 1}e}"


def _p(value: float) -> str:
    if math.isnan(value):
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"
