"""The chosen model: equation, estimates, tests, variances, random effects."""

from __future__ import annotations

from collections.abc import Iterator

from mixedmodels.inference.compare import anova
from mixedmodels.inference.variance_explained import icc, r2
from mixedmodels.plot import caterpillar, coefficients, random_pairs, variance_partition
from mixedmodels.plot.random import MOST_LEVELS
from mixedmodels.reporting.equation import equation
from mixedmodels.reporting.html import (
    code,
    facts,
    figure,
    frame_table,
    heading,
    name,
    paragraph,
    text,
)
from mixedmodels.reporting.live import intervals_data
from mixedmodels.reporting.study import Study, attempt
from mixedmodels.reporting.svg import picture


def model_section(s: Study) -> str:
    """Everything about one model."""
    return "".join(_parts(s))


def _parts(s: Study) -> Iterator[str]:
    m = s.m
    yield paragraph(f"Model {name(s.chosen)}: <code>{text(m.formula)}</code>", "lead")
    yield attempt("Equation", lambda: equation(m))
    yield paragraph(f"Verdict of the optimiser: {text(m.convergence.message)}.")
    yield heading("Fixed effects")
    yield attempt("Estimates", lambda: _estimates(s))
    if m.term_names != ["Intercept"] and m.term_names:
        yield attempt("Tests of terms", lambda: _tests(s))
        if len(s.models) == 1:
            yield attempt("Coefficients", lambda: _coefficients(s))
    if m.has_random:
        yield heading("Random effects")
        yield attempt("Variances", lambda: _variances(s))
        for k, group in enumerate(m.design.groups):
            yield attempt(f"Random effects of {group.name}", lambda k=k: _levels(s, k))  # type: ignore[misc]
    yield _summary(s)


def _estimates(s: Study) -> str:
    caption = f"Fixed effects of model {s.chosen}, {100 * s.level:g} % confidence intervals"
    return frame_table(caption, s.m.tidy(level=s.level), f"m.tidy(level={s.level!r})")


def _tests(s: Study) -> str:
    step = s.call(anova, "m")
    kind = "F tests of the terms"
    if s.m.has_random:
        kind += ", with Satterthwaite's degrees of freedom"
    return frame_table(kind, step.value, step.code)


def _coefficients(s: Study) -> str:
    step = s.plot(coefficients, "m", level=s.level)
    alt = f"Fixed effects with {100 * s.level:g} % confidence intervals."
    return figure(picture(step.value, "fig-coefficients", alt), text(alt), step.code)


def _variances(s: Study) -> str:
    m = s.m
    shown = frame_table("Variances and correlations", m.varcorr(), "m.varcorr()")
    shares, explained = icc(m), r2(m)
    tiles = facts(
        [
            ("ICC, adjusted", f"{float(shares['icc_adjusted']):.3f}"),
            ("ICC, unadjusted", f"{float(shares['icc_unadjusted']):.3f}"),
            ("R², fixed effects (marginal)", f"{float(explained['r2_marginal']):.3f}"),
            ("R², with random effects (conditional)", f"{float(explained['r2_conditional']):.3f}"),
        ]
    )
    step = s.plot(variance_partition, "m")
    alt = "Bar of the shares of the variance: fixed effects, each grouping factor, residual."
    drawn = figure(picture(step.value, "fig-variance", alt), text(alt), step.code)
    return shown + tiles + code("mm.icc(m), mm.r2(m)") + drawn


def _levels(s: Study, k: int) -> str:
    group = s.m.design.groups[k]
    title = name(s.title(group.name))
    step = s.plot(caterpillar, "m", group=group.name, level=s.level)
    alt = (
        f"Conditional modes of the random effects of each {s.title(group.name)}, in order, with "
        f"{100 * s.level:g} % intervals."
    )
    caption = f"Random effects of each {title} with {100 * s.level:g} % intervals."
    if len(group.levels) > MOST_LEVELS:
        caption += f" {MOST_LEVELS} of {len(group.levels):,} are drawn; <code>m.ranef()</code> "
        caption += "lists them all."
    live = intervals_data(step.value, s.title(group.name))
    out = figure(picture(step.value, f"fig-caterpillar-{k}", alt), caption, step.code, live)
    if 1 < sum(len(term.names) for term in group.terms) <= 3 and not s.m.is_singular:
        out += _pairs(s, k)
    return out


def _pairs(s: Study, k: int) -> str:
    group = s.m.design.groups[k]
    step = s.plot(random_pairs, "m", group=group.name)
    alt = f"Scatter plot of the random effects of {s.title(group.name)} against each other."
    return figure(picture(step.value, f"fig-pairs-{k}", alt), text(alt), step.code)


def _summary(s: Study) -> str:
    return (
        "<details><summary>Summary as printed in a terminal</summary>"
        f'<pre tabindex="0"><samp>{text_lines(str(s.m.summary()))}</samp></pre></details>'
        + code("print(m.summary())")
    )


def text_lines(printed: str) -> str:
    """Printed lines, each safe in a page."""
    return "\n".join(text(line) for line in printed.split("\n"))
