"""What the chosen model predicts: means over the data, each group's own curve, marginal means."""

from __future__ import annotations

from collections.abc import Iterator

from mixedmodels.inference.emmeans import emmeans
from mixedmodels.plot import conditional, marginal
from mixedmodels.plot import emmeans as plot_emmeans
from mixedmodels.reporting.html import figure, frame_table, heading, paragraph, text
from mixedmodels.reporting.study import Study, attempt
from mixedmodels.reporting.svg import picture


def predictions_section(s: Study) -> str:
    """Curves along time, or along the first column of the fixed part."""
    return "".join(_parts(s)) or paragraph("The model has no column to predict along.")


def _parts(s: Study) -> Iterator[str]:
    fixed = s.m.design.formula.fixed_variables
    x = s.time if s.time in fixed else next((v for v in fixed if v != s.by), s.by)
    if x is not None and x in fixed:
        by = s.by if s.by in fixed and s.by != x else None
        yield attempt("Marginal predictions", lambda: _marginal(s, x, by))
        if s.m.has_random:
            yield attempt("Predictions of each group", lambda: _conditional(s, x, by))
    if s.by in fixed and s.by in s.m.design.factors:
        yield heading("Marginal means")
        yield attempt("Marginal means", lambda: _means(s, str(s.by)))


def _marginal(s: Study, x: str, by: str | None) -> str:
    step = s.plot(marginal, "m", x, by=by, level=s.level)
    alt = (
        f"Predicted mean along {s.title(x)} with a {100 * s.level:g} % confidence band "
        f"over the data{f', a curve for each {s.title(by)}' if by else ''}."
    )
    return figure(picture(step.value, "fig-marginal", alt), text(alt), step.code)


def _conditional(s: Study, x: str, by: str | None) -> str:
    step = s.plot(conditional, "m", x, by=by)
    alt = f"Predictions for each level of the largest grouping factor along {s.title(x)}."
    return figure(picture(step.value, "fig-conditional", alt), text(alt), step.code)


def _means(s: Study, by: str) -> str:
    step = s.call(emmeans, "m", by, level=s.level)
    grid = step.value
    out = frame_table(f"Estimated marginal means of {s.title(by)}", grid.frame(), step.code)
    out += frame_table(
        "Differences between them, p-values and intervals after Tukey",
        grid.contrasts(),
        f"{step.code}.contrasts()",
    )
    drawn = plot_emmeans(grid)
    alt = (
        f"Marginal means of {s.title(by)} with intervals, and arrows that overlap where two means "
        "do not differ."
    )
    return out + figure(
        picture(drawn, "fig-emmeans", alt), text(alt), f"mm.plot.emmeans({step.code})"
    )
