"""Variance inflation: how much the terms of the fixed part stand in each other's way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from mixedmodels.arrays import Array
from mixedmodels.inference.deletion import terms_of
from mixedmodels.model.record import Fit


@dataclass(frozen=True, slots=True)
class Inflation:
    """Variance inflation of one term.

    Attributes
    ----------
    term : str
    df : int
        Its columns.
    vif : float
        Generalised variance inflation ``GVIF**(1/df)``, the usual one where a term has one column.
    foreign : float
        The same without the terms that share a variable with it: `x` and `x:z` or ``I(x^2)``
        inflate each other whatever the data, and no wrong comes of it.
    """

    term: str
    df: int
    vif: float
    foreign: float


def inflations(fit: Fit) -> list[Inflation]:
    """Variance inflation of every term but the intercept; none where there is one term or none.

    References
    ----------
    Fox, J. and Monette, G. (1992), J. Am. Stat. Assoc. 87, 178-183.
    """
    kept = fit.working.fixed.kept
    names, columns, reads = [], [], []
    for term in terms_of(fit.design, fit.design.formula.fixed):
        own = np.flatnonzero((kept >= term.columns.start) & (kept < term.columns.stop))
        if term.factors and len(own):
            names.append(term.name)
            columns.append(own)
            reads.append(variables_of(term.factors, fit.design.formula.fixed_variables))
    if len(names) < 2:
        return []
    information = np.asarray(np.linalg.inv(fit.vcov), dtype=np.float64)
    constant = [j for j, name in enumerate(fit.term_names) if name == "Intercept"]
    found = []
    for i, (name, own) in enumerate(zip(names, columns, strict=True)):
        others = [j for j in range(len(names)) if j != i]
        foreign = [j for j in others if not reads[i] & reads[j]]
        found.append(
            Inflation(
                name,
                len(own),
                _inflation(information, own, [columns[j] for j in others], constant),
                _inflation(information, own, [columns[j] for j in foreign], constant),
            )
        )
    return found


def variables_of(factors: frozenset[str], known: Sequence[str]) -> set[str]:
    """Variables that the factors of a term read; odd names stand quoted in its code."""
    codes = [unquote(code) for code in factors]
    return {
        name
        for name in known
        if any(re.search(rf"(?<![\w.]){re.escape(name)}(?![\w.])", code) for code in codes)
    }


def _inflation(
    information: Array,
    own: NDArray[np.intp],
    others: Sequence[NDArray[np.intp]],
    constant: list[int],
) -> float:
    """``GVIF**(1/df)`` of columns in the model of these and of others.

    Parameters
    ----------
    information : ndarray of shape (p, p)
        Inverse of the covariance matrix of all coefficients.
    own : ndarray of int
    others : sequence of ndarray of int
    constant : list of int
        The intercept, if there is one.
    """
    if not others:
        return 1.0
    both = np.concatenate([own, *others])
    every = np.concatenate([both, constant]).astype(np.intp)
    covariance = np.linalg.inv(information[np.ix_(every, every)])[: len(both), : len(both)]
    sd = np.sqrt(np.diag(covariance))
    correlation, q = covariance / np.outer(sd, sd), len(own)
    parts = [correlation[:q, :q], correlation[q:, q:], correlation]
    first, second, whole = (float(np.linalg.slogdet(part)[1]) for part in parts)
    return float(np.exp((first + second - whole) / q))
