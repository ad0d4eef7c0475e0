"""The report in a nutshell: a few numbers, a few sentences."""

from __future__ import annotations

from collections.abc import Iterator

from mixedmodels.inference.variance_explained import r2
from mixedmodels.model.frames import standard_errors
from mixedmodels.output.layout import p_value
from mixedmodels.output.tab_model import figure
from mixedmodels.quantiles import t_probability, t_two_sided
from mixedmodels.reporting.html import facts, items, name, paragraph, text
from mixedmodels.reporting.study import Study, attempt

# coefficients that are put into words
MOST_TERMS = 12


def overview_section(s: Study) -> str:
    """Numbers and sentences that a reader wants first."""
    numbers = attempt("Overview", lambda: facts(_numbers(s)) + "".join(_sentences(s)))
    return numbers + attempt("Verdicts on the assumptions", lambda: _verdicts(s))


def _numbers(s: Study) -> Iterator[tuple[str, str]]:
    m = s.m
    yield "Observations", f"{m.n_obs:,}"
    for group, count in m.n_groups.items():
        yield f"Levels of {s.title(group)}", f"{count:,}"
    yield "Models compared" if len(s.models) > 1 else "Models", str(len(s.models))
    explained = r2(m)
    if m.has_random:
        yield "Marginal R²", f"{float(explained['r2_marginal']):.3f}"
        yield "Conditional R²", f"{float(explained['r2_conditional']):.3f}"
    else:
        yield "R²", f"{float(explained['r2']):.3f}"
    yield "Residual std. dev.", figure(m.sigma, 4)
    yield "Optimum", text(m.convergence.verdict)


def _sentences(s: Study) -> Iterator[str]:
    m = s.m
    if len(s.models) > 1:
        yield paragraph(
            f"Of {len(s.models)} models, {name(s.chosen)} is shown in full: "
            f"<code>{text(m.formula)}</code>.",
            "lead",
        )
    else:
        yield paragraph(f"One model: <code>{text(m.formula)}</code>.", "lead")
    if m.is_singular:
        yield paragraph(f"Mind: {text(m.convergence.message)}.", "warning")
    lines = list(_coefficients(s))
    if lines:
        yield paragraph("Its fixed effects, as a paper would put them:")
        yield items(lines)


def _verdicts(s: Study) -> str:
    """Whether the assumptions hold: who reads no further must know."""
    failed = [check.assumption for check in s.check.value.complaints]
    where = '<a href="#checks">Diagnostics</a>'
    if not failed:
        return paragraph(f"No check of its assumptions complains ({where}).", "ok")
    return paragraph(f"Checks that complain: {text(', '.join(failed))}. See {where}.", "warning")


def _coefficients(s: Study) -> Iterator[str]:
    m = s.m
    errors, df = standard_errors(m, "satterthwaite")
    margin = t_two_sided(s.level, df) * errors
    probability = t_probability(m.beta / errors, df)
    terms = [t for t in m.term_names if t != "Intercept"]
    limits = zip(
        m.beta.tolist(), (m.beta - margin).tolist(), (m.beta + margin).tolist(), strict=True
    )
    for term, p, numbers in zip(m.term_names, probability.tolist(), limits, strict=True):
        if term == "Intercept" or terms.index(term) >= MOST_TERMS:
            continue
        estimate, low, high = (figure(value, 3) for value in numbers)
        tail = p_value(p).replace("<", "< ") if p < 1e-4 else f"= {p_value(p)}"
        yield (f"{name(term)}: {estimate} ({100 * s.level:g} % CI {low} to {high}, p {text(tail)})")
    if len(terms) > MOST_TERMS:
        yield f"and {len(terms) - MOST_TERMS} more, in the table below"
