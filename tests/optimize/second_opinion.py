"""Another search of the criterion: many starts, values of the dense formula only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from mixedmodels.model.fitted import FittedModel
from mixedmodels.optimize import SMALL_FACTOR
from tests import naive
from tests.properties.designs import Case, make_case, random_theta

Array = NDArray[np.float64]
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("one", ("1",)),
    ("one", ("x",)),
    ("one", ("x ||",)),
    ("one", ("x + z",)),
    ("one", ("x + z ||",)),
    ("one", ("0 + f",)),
    ("one", ("x, 0 + z",)),
    ("nested", ("1", "1")),
    ("nested", ("1", "x")),
    ("crossed", ("1", "1")),
    ("crossed", ("x ||", "1")),
    ("crossed", ("1", "x")),
)


def problem(number: int) -> Case:
    """Random problem, its true covariance often singular."""
    shape, lefts = KINDS[number % len(KINDS)]
    rng = np.random.default_rng(7000 + number)
    fixed = str(rng.choice(["0", "1", "x", "x + f"]))
    return make_case(
        shape,
        lefts,
        fixed,
        number,
        n=int(rng.integers(30, 61)),
        reml=bool(rng.integers(2)),
        weighted=rng.random() < 0.3,
        zero_share=float(rng.choice([0.0, 0.6, 1.0])),
    )


def best_found(case: Case, near: Array, n_starts: int = 4) -> float:
    """Lowest criterion that L-BFGS-B and Nelder-Mead reach without derivatives."""

    def value(theta: Array) -> float:
        return naive.criterion(case.problem, theta, reml=case.reml)

    rng = np.random.default_rng(len(near))
    starts = [near + 0.05, np.full(len(near), 1.0)]
    starts += [random_theta(case.problem, rng) for _ in range(n_starts - len(starts))]
    ends = [optimize.minimize(value, s, method="L-BFGS-B", options={"maxiter": 60}) for s in starts]
    best = min(ends, key=lambda e: e.fun)
    polish = optimize.minimize(
        value,
        best.x,
        method="Nelder-Mead",
        options={"xatol": 1e-7, "fatol": 1e-10, "maxfev": 60 * len(near)},
    )
    return float(min(best.fun, polish.fun))


@dataclass(frozen=True)
class Boundary:
    """Where Lambda is singular, and what leaving costs.

    Attributes
    ----------
    smallest : float
        Least singular value of any term's Lambda, working units.
    slope : float
        Least one-sided derivative in a direction without variance (inf if there is none).
    """

    smallest: float
    slope: float


def boundary(model: FittedModel) -> Boundary:
    at = model.optimum.at
    smallest, slope = np.inf, np.inf
    for template, factor, by_covariance in zip(
        model.objective.templates, at.factors, at.by_covariance, strict=True
    ):
        for part in template.parts:
            left, values, _ = np.linalg.svd(factor[part, part])
            smallest = min(smallest, float(values.min()))
            unused = left[:, values < SMALL_FACTOR * 1e-2]
            if unused.shape[1]:
                inside = unused.T @ by_covariance[part, part] @ unused
                slope = min(slope, float(np.linalg.eigvalsh(inside)[0]))
    return Boundary(smallest, slope)
