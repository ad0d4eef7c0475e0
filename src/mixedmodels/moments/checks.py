"""What the moments reveal about a design before it is fitted."""

from __future__ import annotations

import numpy as np

from mixedmodels.design.build import Design
from mixedmodels.errors import DataWarning, warn
from mixedmodels.moments.cross_products import Moments

# share of a column's sum of squares within groups below which it is constant there
WITHIN = 1e-12


def warn_constant_slopes(design: Design, moments: Moments) -> None:
    """Warn of slopes on covariates that do not vary within any level of their group.

    Such a slope can be told from the intercept only by how the spread of the groups changes with
    the covariate.
    """
    for group, sums in zip(design.groups, moments.levels, strict=True):
        uses = group.uses
        if uses[0] != 0:
            continue
        constant = {0}
        for i, a in enumerate(uses[1:], start=1):
            total = float(sums[i, a].sum())
            within = total - float((np.square(sums[i, 0]) / sums[0, 0]).sum())
            if within <= WITHIN * total:
                constant.add(int(a))
        names = [
            name
            for term in group.terms
            if "Intercept" in term.names
            for name, recipe in zip(term.names, term.recipe.T, strict=True)
            if name != "Intercept"
            and constant.issuperset(used := np.flatnonzero(recipe).tolist())
            # what is constant over all rows is the intercept again: another warning says so
            and not {0}.issuperset(used)
        ]
        if names:
            warn(
                f"{', '.join(repr(n) for n in names)} does not vary within any level of "
                f"'{group.name}': a random slope on it is hardly told from the random intercept. "
                f"Consider (1 | {group.name})",
                DataWarning,
            )
