"""How each package is asked for the same fit: by REML, where it can, from a case and a data frame.

Every import of a peer stays inside the functions that run in the worker, so that no peer is ever
loaded beside another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.data import Case

Refit = Callable[[np.ndarray], Any]


def fit_mixedmodels(case: Case, frame: pd.DataFrame) -> Any:
    import mixedmodels as mm

    return mm.lmer(case.formula, frame)


def load_kernels() -> None:
    """What a large crossed fit loads and a small one does not; its time counts as *first fit*."""
    import mixedmodels.kernels.cholesky
    import mixedmodels.kernels.cross_products
    import mixedmodels.kernels.ordering  # noqa: F401


def fit_mixedmodels_ml(case: Case, frame: pd.DataFrame) -> Any:
    import mixedmodels as mm

    return mm.lmer(case.formula, frame, reml=False)


def refit_mixedmodels(case: Case, frame: pd.DataFrame) -> Refit:
    return fit_mixedmodels(case, frame).refit


def fit_lme_python(case: Case, frame: pd.DataFrame) -> Any:
    import lme_python

    return lme_python.lmer(case.plain_formula, frame, reml=True)


def refit_lme_python(case: Case, frame: pd.DataFrame) -> Refit:
    import lme_python

    prepared = lme_python.prepare_lmer(case.plain_formula, frame)
    return lambda y: prepared.fit(y=y.tolist(), reml=True)


def fit_mixedlm(case: Case, frame: pd.DataFrame) -> Any:
    import mixedlm

    return mixedlm.lmer(case.formula, frame)


def refit_mixedlm(case: Case, frame: pd.DataFrame) -> Refit:
    return fit_mixedlm(case, frame).refit


def fit_mixedlm_rs(case: Case, frame: pd.DataFrame) -> Any:
    import mixedlm_rs

    ((left, group),) = case.random
    model = mixedlm_rs.mixedlm(case.fixed, frame, groups=group, re_formula=f"~{left}")
    return model.fit(reml=True)


def fit_statsmodels(case: Case, frame: pd.DataFrame) -> Any:
    """A factor within another is a variance component of the outer one's groups."""
    import statsmodels.formula.api as smf

    ((left, group),) = case.random
    outer, _, inner = group.partition("/")
    components = {inner: f"0 + C({inner})"} if inner else None
    model = smf.mixedlm(
        case.fixed, frame, groups=outer, re_formula=f"~{left}", vc_formula=components
    )
    return model.fit(reml=True)


def fit_interlace(case: Case, frame: pd.DataFrame) -> Any:
    """Write the intercept of a random term, which this package does not add."""
    import interlace

    terms = [(left if left == "1" else f"1 + {left}", group) for left, group in case.plain_random]
    random = [f"({left} | {group})" for left, group in terms]
    return interlace.fit(case.plain_fixed, frame, random=random)


class GPBoostFit(NamedTuple):
    """A fit by GPBoost, with what its likelihood is evaluated on."""

    model: Any
    y: np.ndarray
    X: np.ndarray
    groups: pd.DataFrame


def fit_gpboost(case: Case, frame: pd.DataFrame) -> GPBoostFit:
    """Fit by maximum likelihood: this package has no REML."""
    import gpboost

    response, _, right = case.fixed.partition(" ~ ")
    columns = [name for name in right.split(" + ") if name != "1"]
    X = np.column_stack([np.ones(len(frame)), frame[columns].to_numpy(dtype=float)])
    y, groups = frame[response].to_numpy(dtype=float), frame[case.groups()]
    model = gpboost.GPModel(group_data=groups, likelihood="gaussian")
    model.fit(y=y, X=X)
    return GPBoostFit(model, y, X, groups)


def criterion_gpboost(fit: GPBoostFit) -> float:
    """Return -2 log likelihood at its estimates, from a Cholesky factor.

    What the fit itself reports for several factors is a stochastic approximation (Lanczos
    quadrature with random vectors), off by some tenths.
    """
    import gpboost

    exact = gpboost.GPModel(
        group_data=fit.groups, likelihood="gaussian", matrix_inversion_method="cholesky"
    )
    variances = np.asarray(fit.model.get_cov_pars(format_pandas=False)).ravel()
    coefficients = np.asarray(fit.model.get_coef(format_pandas=False)).ravel()
    mean = fit.X @ coefficients[: fit.X.shape[1]]
    n_variances = 1 + fit.groups.shape[1]
    return 2 * exact.neg_log_likelihood(variances[:n_variances], fit.y, fixed_effects=mean)


def refit_in_r(_case: Case, _frame: pd.DataFrame) -> Refit:
    raise NotImplementedError("lme4 is fitted and refitted in worker.R")
