"""A paragraph on methods that a paper can quote, with its references and versions."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata

from mixedmodels.model.record import Fit
from mixedmodels.output.layout import listing
from mixedmodels.reporting.html import heading, items, name, paragraph, table, text
from mixedmodels.reporting.study import Study

REFERENCES = {
    "burnham": (
        "Burnham KP, Anderson DR (2002). Model Selection and Multimodel Inference: A Practical "
        "Information-Theoretic Approach. 2nd ed. New York: Springer."
    ),
    "fai": (
        "Fai AHT, Cornelius PL (1996). Approximate F-tests of multiple degree of freedom "
        "hypotheses in generalized least squares analyses of unbalanced split-plot experiments. "
        "Journal of Statistical Computation and Simulation 54: 363-378."
    ),
    "johnson": (
        "Johnson PCD (2014). Extension of Nakagawa & Schielzeth's R²GLMM to random slopes models. "
        "Methods in Ecology and Evolution 5: 944-946."
    ),
    "laird": (
        "Laird NM, Ware JH (1982). Random-effects models for longitudinal data. "
        "Biometrics 38: 963-974."
    ),
    "nakagawa": (
        "Nakagawa S, Schielzeth H (2013). A general and simple method for obtaining R² from "
        "generalized linear mixed-effects models. Methods in Ecology and Evolution 4: 133-142."
    ),
    "patterson": (
        "Patterson HD, Thompson R (1971). Recovery of inter-block information when block sizes "
        "are unequal. Biometrika 58: 545-554."
    ),
    "searle": (
        "Searle SR, Speed FM, Milliken GA (1980). Population marginal means in the linear model: "
        "an alternative to least squares means. The American Statistician 34: 216-221."
    ),
}
SATTERTHWAITE = (
    "Degrees of freedom of tests and confidence intervals were approximated by Satterthwaite's "
    "method (Fai and Cornelius 1996)."
)
EXPLAINED = (
    "The variance explained by the fixed effects (marginal R²) and by the whole model (conditional "
    "R²) was computed after Nakagawa and Schielzeth (2013) and Johnson (2014)."
)
PAIRS = "(Searle, Speed and Milliken 1980) were compared in pairs with Tukey's adjustment."
LIBRARIES = ("numpy", "scipy", "formulaic", "pandas", "plotnine", "matplotlib")


def methods_section(s: Study) -> str:
    """The paragraph, what it cites, and what was installed."""
    sentences = list(_sentences(s))
    cited = sorted({key for _, keys in sentences for key in keys})
    quoted = paragraph(" ".join(sentence for sentence, _ in sentences))
    return "".join(
        [
            paragraph("Ready to be quoted, and to be shortened:"),
            f'<blockquote class="quote">{quoted}</blockquote>',
            heading("References"),
            items(text(REFERENCES[key]) for key in cited),
            heading("Software"),
            table("Versions", ("library", "version"), versions(), (False, False)),
        ]
    )


def _sentences(s: Study) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Sentences, each with the keys of what it cites."""
    m = s.m
    yield _what(s), ("laird",) if m.has_random else ()
    if len(s.models) > 1:
        yield _selection(s), ("burnham",)
    yield _estimation(m)
    if m.has_random:
        yield SATTERTHWAITE, ("fai",)
        yield EXPLAINED, ("nakagawa", "johnson")
    else:
        yield "Coefficients were tested by t tests, terms by F tests.", ()
    if s.by in m.design.factors and s.by in m.design.formula.fixed_variables:
        by = name(s.title(str(s.by)))
        yield f"Marginal means of {by} {PAIRS}", ("searle",)
    if m.n_obs < m.source.n_rows:
        lost = m.source.n_rows - m.n_obs
        yield f"{lost} of {m.source.n_rows} rows with missing values were left out.", ()
    yield _software(), ()


def _selection(s: Study) -> str:
    return (
        f"{len(s.models)} models were compared by Akaike's information criterion with its "
        "correction for small samples (AICc; Burnham and Anderson 2002)"
        f"{_refitted(s)}; the results are those of model {name(s.chosen)}."
    )


def _software() -> str:
    return (
        f"The analysis was done in Python {platform.python_version()} with mixedmodels "
        f"{_version('mixedmodels')}, NumPy {_version('numpy')} and SciPy {_version('scipy')}."
    )


def _what(s: Study) -> str:
    m = s.m
    response = m.design.formula.response
    y = name(s.title(response.text)) if response is not None else "The response"
    fixed = listing([name(s.title(v)) for v in m.design.formula.fixed_variables], 12)
    effects = f"with fixed effects of {fixed}" if fixed else "with a mean as its only fixed effect"
    if not m.has_random:
        return f"{y} ({m.n_obs} observations) was analysed by a linear model {effects}."
    groups = ", ".join(f"{count} levels of {name(s.title(g))}" for g, count in m.n_groups.items())
    random = "; ".join(f"{_columns(g.terms)} for {name(s.title(g.name))}" for g in m.design.groups)
    return (
        f"{y} ({m.n_obs} observations of {groups}) was analysed by a linear mixed model (Laird and "
        f"Ware 1982) {effects}, and {random}."
    )


def _columns(terms: object) -> str:
    """Random effects of one factor in words."""
    names = [column for term in terms for column in term.names]  # type: ignore[attr-defined]
    slopes = [name(column) for column in names if column != "Intercept"]
    words = ["random intercepts"] if "Intercept" in names else []
    if slopes:
        words.append(f"random slopes of {listing(slopes, 8)}")
    return " and ".join(words)


def _refitted(s: Study) -> str:
    if any(m.reml for m in s.models.values()):
        return ", where fixed parts differ from fits by maximum likelihood"
    return ""


def _estimation(m: Fit) -> tuple[str, tuple[str, ...]]:
    if not m.has_random:
        return "It was fitted by least squares.", ()
    if m.reml:
        return (
            "It was fitted by restricted maximum likelihood (REML; Patterson and Thompson 1971).",
            ("patterson",),
        )
    return "It was fitted by maximum likelihood.", ()


def versions() -> list[tuple[str, str]]:
    """Libraries that took part, and their versions."""
    rows = [("Python", platform.python_version()), ("mixedmodels", _version("mixedmodels"))]
    return [*rows, *((library, _version(library)) for library in LIBRARIES)]


def _version(library: str) -> str:
    if library == "mixedmodels":
        import mixedmodels

        return str(mixedmodels.__version__)
    return metadata.version(library)
