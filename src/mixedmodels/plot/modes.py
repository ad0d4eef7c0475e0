"""Random effects as plots need them: terms that vary, standardised modes, own regressions."""

from __future__ import annotations

import numpy as np

from mixedmodels.arrays import Array
from mixedmodels.errors import ModelError
from mixedmodels.inference.compare import quoted
from mixedmodels.likelihood.working import effects_from_working, group_recipe
from mixedmodels.model.frames import kept_names
from mixedmodels.model.record import Fit
from mixedmodels.moments.memory import level_sums

# share of the largest variance of a factor (in units of the response) below which there is none
NOTHING = 1e-10
# least over largest eigenvalue of a group's own cross-products below which it has no regression
SINGULAR = 1e-9


def factor_of(m: Fit, group: str | None) -> int:
    """Position of a grouping factor; the one with the most levels by default.

    Raises
    ------
    ModelError
    """
    names = [g.name for g in m.design.groups]
    if not names:
        raise ModelError(f"{quoted(m.formula)} has no random effects")
    if group is None:
        return 0
    if group not in names:
        raise ModelError(
            f"{quoted(m.formula)} has no grouping factor {group!r}; it has {', '.join(names)}"
        )
    return names.index(group)


def covariance(m: Fit, k: int) -> Array:
    """Estimated covariance of one factor's random effects, shape (q, q), the user's units."""
    factor = m.factors[k] * m.sigma
    return np.asarray(factor @ factor.T)


def alive_terms(m: Fit, group: str | None) -> list[tuple[int, int, str]]:
    """Factor, position and name of every random column whose variance is not zero.

    Raises
    ------
    ModelError
        Unknown factor; no column with variance.
    """
    factors = range(len(m.design.groups)) if group is None else [factor_of(m, group)]
    if not m.design.groups:
        factor_of(m, group)  # says that there are no random effects
    found = []
    for k in factors:
        working = m.optimum.at.factors[k]
        user = np.diag(covariance(m, k))
        largest = float(np.square(working).sum(axis=1).max())
        names = kept_names(m, k)
        found += [
            (k, j, name) for j, name in enumerate(names) if user[j] > 0.0 and largest > NOTHING
        ]
    if not found:
        raise ModelError(
            f"all random effects of {quoted(m.formula)} have variance zero: there is nothing to "
            "draw"
        )
    return found


def standardised(m: Fit, k: int, j: int) -> Array:
    """Modes of one column over the standard deviation they have over data, shape (n_levels,)."""
    variance = covariance(m, k)[j, j]
    left = variance - m.effect_covariances[k][j, j]
    sd = np.sqrt(np.maximum(left, NOTHING * variance))
    return np.asarray(m.effects[k][j] / sd)


def own_effects(m: Fit, k: int) -> Array:
    """Each level's deviation from the fixed effects by its own least squares, shape (q, n_levels).

    Nan where a level's rows do not determine it. The modes of other factors are taken out first.
    """
    others = tuple(i for i in range(len(m.design.groups)) if i != k)
    left = m.response - m.fixed_part - m.random_part(others)
    terms = m.working.terms[k]
    z = group_recipe(terms).T @ m.rows.base
    q, n_levels = len(z), len(m.design.groups[k].levels)
    sums = level_sums(
        [*z, left], m.rows.weights, m.rows.codes[k], n_levels, np.arange(q), counted=False
    )
    products = np.moveaxis(sums[:, :q], 2, 0)
    values = np.linalg.eigvalsh(products)
    solvable = values[:, 0] > SINGULAR * values[:, -1]
    out = np.full((n_levels, q), np.nan)
    right = np.moveaxis(sums[:, q:], 2, 0)
    out[solvable] = np.linalg.solve(products[solvable], right[solvable])[..., 0]
    return effects_from_working(terms, out.T)


def fixed_values(m: Fit, names: list[str]) -> Array:
    """Fixed effects of the same names, zero where a random column has none."""
    known = dict(zip(m.term_names, m.beta.tolist(), strict=True))
    return np.array([known.get(name, 0.0) for name in names])
