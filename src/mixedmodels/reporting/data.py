"""What the report says of the data, before any model."""

from __future__ import annotations

from collections.abc import Iterator

from mixedmodels.explore.columns import labels
from mixedmodels.explore.correlations import time_correlations
from mixedmodels.explore.describe import describe
from mixedmodels.explore.design import check_design
from mixedmodels.plot import correlations, distribution, means, missingness, trajectories
from mixedmodels.reporting.html import (
    code,
    figure,
    frame_table,
    heading,
    items,
    name,
    paragraph,
    text,
    text_table,
)
from mixedmodels.reporting.live import lines_data
from mixedmodels.reporting.study import MOST_TIMES, Study, attempt
from mixedmodels.reporting.svg import picture


def data_section(s: Study) -> str:
    """All parts that the known columns allow."""
    if s.data is None or s.response is None:
        return paragraph(
            "The models do not hold their data, or the response is made of several columns: "
            "nothing to describe."
        )
    return "".join(_parts(s))


def _parts(s: Study) -> Iterator[str]:
    yield attempt("Description", lambda: _description(s))
    if s.id and s.time:
        yield heading("Design")
        yield attempt("Design", lambda: _design(s))
        yield heading("Trajectories")
        yield attempt("Trajectories", lambda: _trajectories(s))
        yield attempt("Means", lambda: _means(s))
        yield attempt("Correlations over time", lambda: _correlations(s))
    else:
        yield attempt("Distribution", lambda: _distribution(s))
    yield attempt("Missing values", lambda: _missing(s))


def _description(s: Study) -> str:
    assert s.response is not None
    time = s.time if s.time and s.distinct(s.time) <= MOST_TIMES else None
    step = s.call(describe, "data", response=s.response, by=s.by, time=time, id=s.id)
    return frame_table(f"Summary of {s.title(s.response)}", step.value, step.code)


def _design(s: Study) -> str:
    step = s.call(check_design, "data", id=s.id, time=s.time, by=s.by, response=s.response)
    found = step.value
    said = paragraph(
        f"{found.n_rows} rows of {found.n_subjects} subjects ({name(s.title(str(s.id)))}) at "
        f"{found.n_times} times ({name(s.title(str(s.time)))}); the design is "
        f"{'balanced' if found.is_balanced else 'not balanced'}."
    )
    if found.problems:
        said += items(text(problem) for problem in found.problems)
    else:
        said += paragraph("No duplicates, no subject in two groups, no other problems.", "ok")
    tables = [text_table(t) for t in found.tables if 1 < len(t.rows) <= MOST_TIMES]
    return f'{said}<div class="pair"><div>{"</div><div>".join(tables)}</div></div>{code(step.code)}'


def _trajectories(s: Study) -> str:
    step = s.plot(trajectories, "data", id=s.id, time=s.time, response=s.response, by=s.by)
    panels = f", in panels by {s.title(s.by)}" if s.by else ""
    alt = (
        f"Line chart of {s.title(str(s.response))} over {s.title(str(s.time))}: one thin line for "
        f"each {s.title(str(s.id))} and a thick line for the mean{panels}."
    )
    caption = f"{name(s.title(str(s.response)))} of each {name(s.title(str(s.id)))}, and the mean."
    names, by = labels(s.data, str(s.id), "id").levels, s.title(s.by) if s.by else ""
    live = lines_data(step.value, names, s.title(str(s.id)), by)
    return figure(picture(step.value, "fig-trajectories", alt), caption, step.code, live)


def _means(s: Study) -> str:
    step = s.plot(means, "data", time=s.time, response=s.response, by=s.by, level=s.level)
    colours = f", a line for each {s.title(s.by)}" if s.by else ""
    alt = (
        f"Means of {s.title(str(s.response))} over {s.title(str(s.time))} with "
        f"{100 * s.level:g} % confidence intervals{colours}."
    )
    caption = f"Means with {100 * s.level:g} % confidence intervals."
    return figure(picture(step.value, "fig-means", alt), caption, step.code)


def _correlations(s: Study) -> str:
    if s.distinct(str(s.time)) > MOST_TIMES:
        return ""
    step = s.call(time_correlations, "data", id=s.id, time=s.time, response=s.response)
    drawn = correlations(step.value, labels=s.labels or None)
    title = s.title(str(s.response))
    alt = (
        f"Heat map of the correlations of {title} between values of {s.title(str(s.time))}; the "
        "numbers are written in the cells."
    )
    caption = f"Correlations of {name(title)} between times, over all subjects seen at both."
    return figure(
        picture(drawn, "fig-correlations", alt, fixed=True),
        caption,
        f"mm.plot.correlations({step.code})",
    )


def _distribution(s: Study) -> str:
    step = s.plot(distribution, "data", response=s.response, by=s.by)
    alt = f"Distribution of {s.title(str(s.response))}{f' by {s.title(s.by)}' if s.by else ''}."
    caption = f"Distribution of {name(s.title(str(s.response)))}."
    return figure(picture(step.value, "fig-distribution", alt), caption, step.code)


def _missing(s: Study) -> str:
    lost = {column: count for column, count in s.m.source.missing.items() if count}
    if not lost:
        return heading("Missing values") + paragraph("No value of the model's columns is missing.")
    said = paragraph(
        f"{s.m.source.n_rows - s.m.n_obs} of {s.m.source.n_rows} rows lack a value of a column "
        "that the model needs, and are left out: "
        + ", ".join(f"{name(s.title(column))} {count}" for column, count in lost.items())
        + "."
    )
    step = s.plot(missingness, "data", list(s.m.source.missing))
    alt = "Which columns lack values together, and in how many rows."
    drawn = figure(picture(step.value, "fig-missing", alt, fixed=True), text(alt), step.code)
    return heading("Missing values") + said + drawn
