"""A large fit cut to a sample of its levels, for checks that simulate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.design.build import Rows
from mixedmodels.design.grouping import find_structure, observed
from mixedmodels.errors import MixedModelsError
from mixedmodels.model.fit import fit_submodel
from mixedmodels.model.record import Fit
from mixedmodels.moments.memory import collect_moments

# rows that are checked; levels that a sample must keep of the factor that is sampled
MOST, LEVELS = 20_000, 50


def sampled(fit: Fit, rng: np.random.Generator) -> tuple[Fit, NDArray[np.intp], str]:
    """The model fitted to about `MOST` rows, in whole levels of a grouping factor.

    Returns
    -------
    fit : Fit
    rows : ndarray of int
        Positions of its rows among those of the fit.
    note : str
        What was sampled; empty if nothing.
    """
    every = np.arange(fit.n_obs)
    if fit.n_obs <= MOST:
        return fit, every, ""
    rows, what = _chosen(fit, rng)
    try:
        found = _fit_to(fit, rows)
    except (MixedModelsError, np.linalg.LinAlgError):
        # a column that only rows left out determine
        return fit, every, ""
    note = f"a random sample of {len(rows):,} of {fit.n_obs:,} rows ({what}) was checked"
    return found, rows, note


def _chosen(fit: Fit, rng: np.random.Generator) -> tuple[NDArray[np.intp], str]:
    """Rows of whole levels of the coarsest factor of which enough levels would be left."""
    share = MOST / fit.n_obs
    for codes, group in zip(reversed(fit.rows.codes), reversed(fit.design.groups), strict=True):
        n_levels = len(group.levels)
        if n_levels * share < LEVELS:
            continue
        order = rng.permutation(n_levels)
        sizes = np.cumsum(np.bincount(codes, minlength=n_levels)[order])
        count = max(int(np.searchsorted(sizes, MOST, side="right")), 2)
        chosen = np.zeros(n_levels, bool)
        chosen[order[:count]] = True
        return np.flatnonzero(chosen[codes]), f"{count:,} levels of {group.name}"
    rows = np.sort(rng.choice(fit.n_obs, MOST, replace=False))
    return rows, "single rows"


def _fit_to(fit: Fit, which: NDArray[np.intp]) -> Fit:
    """The same model fitted to some of the rows."""
    levels, codes = [], []
    for own, group in zip(fit.rows.codes, fit.design.groups, strict=True):
        present, ranks = observed(own[which], len(group.levels))
        levels.append(tuple(group.levels[i] for i in present.tolist()))
        codes.append(ranks)
    structure = find_structure(codes, [len(names) for names in levels])
    groups = tuple(
        replace(group, levels=names) for group, names in zip(fit.design.groups, levels, strict=True)
    )
    design = replace(fit.design, groups=groups, structure=structure)
    rows = Rows(
        np.ascontiguousarray(fit.rows.base[:, which]),
        fit.rows.y[which],
        tuple(codes),
        _some(fit.rows.weights, which),
        fit.rows.weight_scale,
        _some(fit.rows.offset, which),
    )
    return fit_submodel(fit, design, rows, collect_moments(design, rows), reml=fit.reml)


def _some(values: Array | None, which: NDArray[np.intp]) -> Array | None:
    return None if values is None else values[which]
