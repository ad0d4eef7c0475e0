"""What a summary says: from the record of a fit to blocks of names and numbers; no layout."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
from mixedmodels.inference.satterthwaite import degrees_of_freedom
from mixedmodels.model.record import Fit
from mixedmodels.output.layout import (
    Block,
    Facts,
    Prose,
    Table,
    fixed,
    listing,
    number,
    p_value,
    shorten,
    shorten_words,
    width,
)
from mixedmodels.quantiles import f_probability, t_probability, t_tails

# relative standard deviation that the optimiser's verdict counts as zero
ZERO = 1e-5
# rows and columns shown; the frames have the rest
MOST_COEFFICIENTS = 60
MOST_VARIANCES = 25
MOST_CORRELATIONS = 5
MOST_CORRELATED = 12
# seconds that degrees of freedom may take in a summary
PATIENCE = 20.0


def title(fit: Fit) -> str:
    """What kind of fit it is."""
    if not fit.has_random:
        return "Linear model fit by least squares"
    return f"Linear mixed model fit by {'REML' if fit.reml else 'maximum likelihood'}"


def blocks(fit: Fit) -> Iterator[Block]:
    """All parts of the summary under its title, in reading order."""
    yield facts(fit)
    if fit.has_random and not fit.reml:
        yield criteria(fit)
    yield scaled_residuals(fit)
    if fit.has_random:
        yield random_effects(fit)
    if fit.term_names:
        yield fixed_effects(fit)
    else:
        yield Prose("Fixed effects", ("none",))
    if fit.working.fixed.relations:
        yield dropped_columns(fit)
    if not fit.has_random:
        yield Facts(tuple(least_squares(fit)))
    if 2 <= len(fit.beta) <= MOST_CORRELATED:
        yield correlations(fit)
    if fit.has_random:
        yield Prose("Convergence", (shorten_words(fit.convergence.message),))


def facts(fit: Fit) -> Facts:
    """Formula, rows, groups, weights, offset, REML criterion."""
    pairs = [("Formula", shorten_words(fit.formula)), ("Observations", f"{fit.n_obs}")]
    if fit.n_obs < fit.source.n_rows:
        pairs.append(("Left out", _left_out(fit)))
    if fit.has_random:
        pairs.append(("Groups", groups(fit)))
    if fit.rows.weights is not None:
        pairs.append(("Weights", _given(fit, "weights")))
    if fit.rows.offset is not None:
        parts = [shorten_words(e.text) for e in fit.design.formula.offsets]
        if "offset" in fit.source.arrays:
            parts.append(_given(fit, "offset"))
        pairs.append(("Offset", listing(parts, 4)))
    if fit.reml_criterion is not None:
        pairs.append(("REML criterion", fixed(fit.reml_criterion, 2)))
    return Facts(tuple(pairs))


def groups(fit: Fit, most: int = 8, name: int = 36) -> str:
    """Grouping factors and their numbers of levels."""
    return listing([f"{shorten(g, name)} {n}" for g, n in fit.n_groups.items()], most)


def _left_out(fit: Fit) -> str:
    counts = [f"{shorten(name, 36)} {count}" for name, count in fit.source.missing.items() if count]
    dropped = f"{fit.source.n_rows - fit.n_obs} of {fit.source.n_rows} rows dropped"
    return f"{dropped}: missing {listing(counts, 6)}" if counts else dropped


def _given(fit: Fit, name: str) -> str:
    value = fit.source.arrays.get(name)
    return f"column {shorten(value, 36)}" if isinstance(value, str) else "given as values"


def criteria(fit: Fit) -> Table:
    """Information criteria of an ML fit."""
    values = {
        "AIC": fit.aic,
        "AICc": fit.aicc,
        "BIC": fit.bic,
        "logLik": fit.loglik,
        "deviance": fit.criterion,
    }
    row = (*(fixed(value, 2) for value in values.values()), f"{fit.df_resid}")
    return Table("Information criteria", (*values, "df resid"), (row,), 0)


def scaled_residuals(fit: Fit) -> Block:
    """Quantiles of the residuals over sigma, prior weights counted."""
    heading = "Scaled residuals"
    if fit.sigma == 0.0:
        return Prose(heading, ("undefined: the residual variance is 0",))
    try:
        quantiles = fit.residual_quantiles
    except ModelError:
        return Prose(heading, ("not known: the model does not hold its rows",))
    row = tuple(fixed(float(q), 3) for q in quantiles)
    return Table(heading, ("min", "1Q", "median", "3Q", "max"), (row,), 0)


def random_effects(fit: Fit) -> Table:
    """Variances, standard deviations, correlations with the earlier columns of the term."""
    rows = [row for group, term in fit.design.theta_order for row in _term_rows(fit, group, term)]
    hidden = len(rows) - MOST_VARIANCES
    notes = []
    if hidden > 0:
        rows = rows[:MOST_VARIANCES]
        notes.append(f"{hidden} more rows")
    n_correlations = max(map(len, rows)) - 4
    if n_correlations > MOST_CORRELATIONS:
        rows = [row[: 4 + MOST_CORRELATIONS] for row in rows]
        n_correlations = MOST_CORRELATIONS
        notes.append("further correlations")
    rows.append(("Residual", "", number(fit.sigma**2), number(fit.sigma)))
    heads = ("corr.", *[""] * (n_correlations - 1)) if n_correlations else ()
    return Table(
        "Random effects",
        ("group", "term", "variance", "std. dev.", *heads),
        tuple(rows),
        2,
        f"{' and '.join(notes)}: m.varcorr()" if notes else "",
    )


def _term_rows(fit: Fit, group: int, term: int) -> Iterator[tuple[str, ...]]:
    names = fit.design.groups[group].terms[term].names
    kept = fit.working.terms[group][term].kept.tolist()
    root = fit.working.terms[group][term].root
    factor = fit.term_factor(group, term)
    length = np.sqrt(np.square(factor).sum(axis=1))
    # times the column's root mean square: per unit of sigma, whatever the column's unit
    size = np.zeros(len(names))
    size[kept] = length[kept] * np.sqrt(np.square(root).sum(axis=0) * fit.rows.weight_scale)
    zero = size <= ZERO
    sd = length * fit.sigma
    for i, name in enumerate(names):
        label = fit.design.groups[group].name if i == 0 else ""
        if zero[i]:
            cell = "0 (boundary)" if i in kept else "0 (redundant)"
            yield (label, name, cell, "0", *["n/a"] * i)
            continue
        r = ["n/a" if zero[j] else fixed(_cosine(factor[i], factor[j]), 3) for j in range(i)]
        yield (label, name, number(float(sd[i] ** 2)), number(float(sd[i])), *r)


def _cosine(a: Array, b: Array) -> float:
    return float(np.clip(a @ b / (math.hypot(*a) * math.hypot(*b)), -1.0, 1.0))


def fixed_effects(fit: Fit) -> Table:
    """Estimates, standard errors, t tests."""
    error = np.sqrt(np.diag(fit.vcov))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = fit.beta / error
    p = len(t)
    shown = range(p if p <= MOST_COEFFICIENTS else MOST_COEFFICIENTS - 10)
    header: tuple[str, ...] = ("term", "estimate", "std. error", "t value")
    rows: list[tuple[str, ...]] = [
        (fit.term_names[j], number(float(fit.beta[j])), number(float(error[j])), _t(float(t[j])))
        for j in shown
    ]
    heading = "Fixed effects"
    note = f"{p - len(shown)} more coefficients: m.tidy()" if len(shown) < p else ""
    if not fit.has_random:
        header = (*header, "df", "p value")
        p_values = t_probability(t, fit.df_resid)
        rows = [(*rows[j], f"{fit.df_resid}", p_value(float(p_values[j]))) for j in shown]
    elif 2 * len(fit.optimum.at.theta) * fit.objective.blocks.seconds > PATIENCE:
        note = note or "p-values take minutes: m.tidy()"
    else:
        header = (*header, "df", "p value")
        df = degrees_of_freedom(fit, np.eye(p))
        tails = [t_tails(float(t[j]), float(df[j])) for j in shown]
        rows = [
            (*row, fixed(float(df[j]), 1), p_value(tail))
            for row, j, tail in zip(rows, shown, tails, strict=True)
        ]
        heading += " (Satterthwaite's degrees of freedom)"
    return Table(heading, header, tuple(rows), 1, note)


def _t(value: float) -> str:
    return fixed(value, 3) if abs(value) < 1e5 else number(value)


def dropped_columns(fit: Fit, most: int = 6) -> Prose:
    """Columns of the fixed part that the others determine."""
    relations = fit.working.fixed.relations
    lines = [
        f"{shorten(fit.design.x_names[j], 60)} = {shorten_words(relation, 40, 150)}"
        for j, relation in relations[:most]
    ]
    if len(relations) > most:
        lines.append(f"and {len(relations) - most} more")
    return Prose("Dropped columns (the others determine them)", tuple(lines))


def least_squares(fit: Fit) -> Iterator[tuple[str, str]]:
    """Residual standard error, R squared and the F test of all terms against the mean."""
    df = fit.df_resid
    yield "Residual standard error", f"{number(fit.sigma)} on {df} degrees of freedom"
    p = len(fit.beta)
    constant = fit.working.fixed.constant is not None
    if p == constant:
        return
    # working columns are orthogonal with squared length n; y is centred where X holds a constant
    along = fit.objective.blocks.cross[:-1, -1] * fit.design.y_scale
    explained = float(along @ along) / fit.n_obs * fit.rows.weight_scale
    residual = fit.sigma**2 * df
    r2 = explained / (explained + residual)
    adjusted = 1.0 - (1.0 - r2) * (fit.n_obs - constant) / df
    about = "" if constant else " (about zero: the model has no intercept)"
    yield "R squared", f"{fixed(r2, 4)}, adjusted {fixed(adjusted, 4)}{about}"
    df_model = p - constant
    f = explained / df_model / fit.sigma**2 if fit.sigma > 0.0 else math.inf
    tail = p_value(float(f_probability(f, df_model, df)))
    tail = tail if tail.startswith("<") else f"= {tail}"
    yield "F statistic", f"{number(f)} on {df_model} and {df} degrees of freedom, p {tail}"


def correlations(fit: Fit) -> Table:
    """Correlations of the estimates, lower triangle; numbered where names would be too wide."""
    sd = np.sqrt(np.diag(fit.vcov))
    names = fit.term_names
    header, labels = tuple(names[:-1]), names
    if sum(max(6, width(name)) + 1 for name in names) > 80 or max(map(len, names)) > 20:
        header = tuple(f"({j + 1})" for j in range(len(names) - 1))
        labels = [f"({j + 1}) {name}" for j, name in enumerate(names)]
    with np.errstate(divide="ignore", invalid="ignore"):
        matrix = fit.vcov / np.outer(sd, sd)
    rows = tuple(
        (labels[i], *(fixed(float(matrix[i, j]), 3) for j in range(i)))
        for i in range(0 if labels is not names else 1, len(names))
    )
    return Table("Correlation of fixed effects", ("", *header), rows, 1, gap=1)
