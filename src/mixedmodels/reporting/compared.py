"""The models side by side: formulas, information criteria, tests, estimates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mixedmodels.inference.compare import aictab, anova
from mixedmodels.model.fitted import FittedModel
from mixedmodels.output.tab_model import ModelTable, tab_model
from mixedmodels.plot import coefficients, model_weights
from mixedmodels.reporting.html import (
    code,
    figure,
    frame_table,
    heading,
    name,
    paragraph,
    table,
    text,
)
from mixedmodels.reporting.study import Study, attempt, written
from mixedmodels.reporting.svg import picture

# from so many weights on a picture is worth its room
FEW = 3


def models_section(s: Study) -> str:
    """Formulas always; comparisons where there is more than one model."""
    return "".join(_parts(s))


def _parts(s: Study) -> Iterator[str]:
    rows = [(label, m.formula, how(m), str(m.n_params)) for label, m in s.models.items()]
    numeric = (False, False, False, True)
    header = ("model", "formula", "fitted by", "parameters")
    yield table("Formulas", header, rows, numeric, fits(s))
    if len(s.models) > 1:
        yield heading("Comparison")
        yield attempt("Information criteria", lambda: _criteria(s))
        yield attempt("Likelihood-ratio tests", lambda: _tests(s))
    yield heading("Estimates side by side" if len(s.models) > 1 else "Table of the model")
    yield attempt("Table of models", lambda: _side_by_side(s))
    if len(s.models) > 1:
        yield attempt("Coefficients", lambda: _coefficients(s))


def how(m: FittedModel) -> str:
    """The method of a fit."""
    if not m.has_random:
        return "least squares"
    return "REML" if m.reml else "maximum likelihood"


def fits(s: Study) -> str:
    """Code that fits the models."""
    lines = ["import mixedmodels as mm", "", "data = ...  # the table of this report", "models = {"]
    for label, m in s.models.items():
        options = {} if m.reml or not m.has_random else {"reml": False}
        extra = {k: v for k, v in m.options.items() if k == "contrasts" and v}
        given = {k: v for k, v in m.source.arrays.items() if isinstance(v, str)}
        call = written(
            f"mm.{'lmer' if m.has_random else 'lm'}",
            [repr(m.formula), "data"],
            {**options, **extra, **given},
        )
        lines.append(f"    {label!r}: " + call.replace("\n", "\n    ") + ",")
        lines += [f"    # and {k}= as given" for k in m.source.arrays if k not in given]
    return "\n".join([*lines, "}", f"m = models[{s.chosen!r}]"])


def _criteria(s: Study) -> str:
    step = s.call(aictab, "models")
    said = paragraph(
        "A weight is the share of the evidence among these models; the evidence ratio says how "
        "many times less likely a model is than the best one (Burnham and Anderson 2002)."
    )
    shown = frame_table("Models by AICc, the best first", step.value, step.code)
    if len(s.models) < FEW:
        return said + shown
    drawn = s.plot(model_weights, "models")
    alt = "Bar chart of the AICc weight of each model."
    return (
        said
        + shown
        + figure(
            picture(drawn.value, "fig-weights", alt), "AICc weights of the models.", drawn.code
        )
    )


def _tests(s: Study) -> str:
    step = s.call(anova, "models")
    said = paragraph(
        "Each model is tested against the one above it; that means something where one is a "
        "special case of the other."
    )
    return said + _notes_below("Likelihood-ratio tests", step.value, step.code)


def _notes_below(caption: str, frame: Any, source: str) -> str:
    """A table whose sentences stand under it: beside many numbers they have no room."""
    import narwhals.stable.v2 as nw

    table_ = nw.from_native(frame, eager_only=True)
    if "note" not in table_.columns:
        return frame_table(caption, frame, source)
    pairs = zip(table_["model"].to_list(), table_["note"].to_list(), strict=True)
    notes = "".join(
        paragraph(f"{name(model)}: {text(note)}", "note") for model, note in pairs if note
    )
    return frame_table(caption, table_.drop("note").to_native(), source) + notes


def _side_by_side(s: Study) -> str:
    step = s.call(tab_model, "models", level=s.level)
    return _model_table(step.value, s.level) + code(step.code)


def _model_table(found: ModelTable, level: float) -> str:
    """The table with a head over the three columns of each model."""
    spans = "".join(
        f'<th scope="colgroup" colspan="3" class="n">{name(head)}</th>' for head in found.names
    )
    heads = f'<th scope="col" class="n">estimate</th><th scope="col" class="n">{100 * level:g} % CI'
    heads += '</th><th scope="col" class="n">p</th>'
    body, section = [], ""
    for row in found.rows:
        if row.section != section:
            section = row.section
            width = 1 + 3 * len(found.names)
            body.append(
                f'<tr class="section"><th scope="rowgroup" colspan="{width}">{text(section)}</th>'
                "</tr>"
            )
        cells = [cell for part in row.cells for cell in part]
        body.append(
            f'<tr><th scope="row">{name(row.label)}</th>'
            + "".join(f'<td class="n">{text(cell)}</td>' for cell in cells)
            + "</tr>"
        )
    note = paragraph(text(found.note), "note") if found.note else ""
    return (
        '<div class="scroll" role="region" tabindex="0" aria-label="Models side by side">'
        '<table class="wide"><caption>Models side by side</caption><thead>'
        f"<tr><td></td>{spans}</tr><tr><td></td>{heads * len(found.names)}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>{note}"
    )


def _coefficients(s: Study) -> str:
    step = s.plot(coefficients, "models", level=s.level)
    alt = f"Fixed effects of the models with {100 * s.level:g} % confidence intervals."
    return figure(picture(step.value, "fig-coefficients", alt), text(alt), step.code)
