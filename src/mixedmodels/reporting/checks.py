"""Is the model believable: pictures of residuals, random effects, influence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import isnan
from typing import Any

from mixedmodels.plot import (
    autocorrelation,
    calibration,
    influence,
    qq,
    qq_random,
    residuals,
    scale_location,
)
from mixedmodels.reporting.html import figure, heading, paragraph, table, text
from mixedmodels.reporting.study import Study, attempt
from mixedmodels.reporting.svg import picture


def checks_section(s: Study) -> str:
    """A picture for each assumption, with what to look for."""
    return "".join(_parts(s))


def _parts(s: Study) -> Iterator[str]:
    yield attempt("Verdicts", lambda: _verdicts(s))
    yield paragraph("Under each picture stands what it looks like where the model is right.")
    yield heading("Residuals")
    yield '<div class="pair">'
    yield _drawn(
        s, residuals, "residuals",
        "Residuals against fitted values, with a smooth curve.",
        "the curve stays near zero, the spread is the same everywhere.",
        labelled=True,
    )  # fmt: skip
    yield _drawn(
        s, scale_location, "scale",
        "Size of the residuals against fitted values, with a smooth curve.",
        "the curve is level: the variance is the same everywhere.",
        labelled=True,
    )  # fmt: skip
    yield _drawn(
        s, qq, "qq",
        "Ordered residuals against quantiles of the normal distribution, with an envelope.",
        "the points stay in the band.",
    )  # fmt: skip
    yield _drawn(
        s, calibration, "calibration",
        "Observed against fitted values, without and with the random effects.",
        "the points lie about the dashed line.",
        labelled=True,
    )  # fmt: skip
    if s.m.has_random and s.time:
        yield _drawn(
            s, autocorrelation, "autocorrelation",
            f"Correlation of residuals within groups by their distance in {s.title(s.time)}.",
            "they stay in the bands: the random effects explain what repeated values share.",
            time=s.time,
        )  # fmt: skip
    yield _drawn(
        s, influence, "influence",
        "Cook's distance of every row, the largest by name.",
        "no row stands far out.",
    )  # fmt: skip
    yield "</div>"
    if s.m.has_random:
        yield heading("Random effects")
        for k, group in enumerate(s.m.design.groups):
            yield _drawn(
                s, qq_random, f"qq-random-{k}",
                f"Ordered random effects of {s.title(group.name)} against normal quantiles.",
                "the points stay in the band.",
                labelled=True, group=group.name,
            )  # fmt: skip


def _verdicts(s: Study) -> str:
    """A line for each assumption; what to do where one fails."""
    found = s.check.value
    header = ("assumption", "verdict", "p", "what was found", "what to do")
    rows = [(c.assumption, c.verdict, _share(c.p_value), c.message, c.advice) for c in found.checks]
    numeric = (False, False, True, False, False)
    said = paragraph(
        f"p is the share of {found.n_sim} responses simulated from the model that speak as much "
        "against the assumption: of models that are right, one in twenty gets “look” in each "
        "simulated check, and one in a hundred “problem”."
    )
    note = found.note[:1].upper() + found.note[1:]
    return said + table(
        "Verdicts on the assumptions", header, rows, numeric, s.check.code, note=note
    )


def _share(p: float) -> str:
    return "" if isnan(p) else f"{p:.3f}"


def _drawn(
    s: Study,
    function: Callable[..., Any],
    anchor: str,
    alt: str,
    expected: str,
    *,
    labelled: bool = False,
    **options: Any,
) -> str:
    def make() -> str:
        step = (s.plot if labelled else s.call)(function, "m", **options)
        shown = picture(step.value, f"fig-{anchor}", alt)
        return figure(shown, f"{text(alt)} Where the model is right, {text(expected)}", step.code)

    return attempt(alt.rstrip("."), make)
