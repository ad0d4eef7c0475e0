"""Tails of the largest of several t statistics: SciPy's, closed forms, and each other."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import ndtr
from scipy.stats import chi, multivariate_t, studentized_range
from scipy.stats import t as student

from mixedmodels.inference.adjust import ADJUSTMENTS, Family, critical_values, p_values
from mixedmodels.inference.simultaneous import (
    Tail,
    largest_tail,
    quantiles,
    range_tail,
    rank_of,
)


def all_pairs(k: int) -> np.ndarray:
    rows = np.zeros((k * (k - 1) // 2, k))
    for row, (i, j) in zip(rows, combinations(range(k), 2), strict=True):
        row[i], row[j] = 1.0, -1.0
    return rows


def against_first(k: int) -> np.ndarray:
    return np.hstack([-np.ones((k, 1)), np.eye(k)])


@cache
def largest(kind: str, k: int) -> Tail:
    return largest_tail(all_pairs(k) if kind == "pairs" else against_first(k))


def control_tail(t: float, k: int, df: float) -> float:
    """Dunnett's distribution by its own double integral: k differences from one control."""
    z = np.linspace(-9.0, 9.0, 400)
    s = np.linspace(*chi.ppf([1e-16, 1.0 - 1e-16], df) / np.sqrt(df), 400)
    u, root = t * s[:, None], np.sqrt(0.5)
    inside = ndtr((u + root * z) / root) - ndtr((-u + root * z) / root)
    beyond = 1.0 - (inside**k * np.exp(-0.5 * z * z)).sum(axis=1) * (z[1] - z[0]) / np.sqrt(
        2.0 * np.pi
    )
    density = chi.pdf(s * np.sqrt(df), df) * np.sqrt(df)
    return float((density * beyond).sum() * (s[1] - s[0]))


@pytest.mark.parametrize("k", [2, 3, 8])
@pytest.mark.parametrize("df", [1.0, 2.5, 9.0, 45.7, 800.0])
@pytest.mark.parametrize("t", [0.5, 2.0, 4.5])
def test_studentised_range_of_scipy(k: int, df: float, t: float) -> None:
    # SciPy's own integration is good to about 1e-7 of small tails
    wanted = studentized_range.sf(np.sqrt(2.0) * t, k, df)
    assert_allclose(range_tail(k)(t, df), wanted, rtol=1e-8 if wanted > 1e-4 else 1e-6)


def test_studentised_range_with_known_variance() -> None:
    wanted = studentized_range.sf(np.sqrt(2.0) * 2.8, 4, np.inf)
    assert_allclose(range_tail(4)(2.8, np.inf), wanted, rtol=1e-9)


def test_the_range_of_two_means_is_student_s_t() -> None:
    for t, df in ((1.0, 3.0), (9.0, 20.0), (15.0, 60.0)):
        assert_allclose(range_tail(2)(t, df), 2.0 * student.sf(t, df), rtol=1e-6)


@pytest.mark.parametrize(("k", "rtol"), [(2, 2e-6), (3, 1e-4), (5, 2e-4), (9, 1e-3)])
@pytest.mark.parametrize(("t", "df"), [(2.0, 8.0), (2.5, 30.0), (4.5, 48.0)])
def test_multivariate_t_of_differences_from_a_control(
    k: int, rtol: float, t: float, df: float
) -> None:
    assert_allclose(largest("control", k)(t, df), control_tail(t, k, df), rtol=rtol)


@pytest.mark.parametrize(("k", "rtol"), [(3, 2e-6), (5, 2e-4), (8, 1e-3), (12, 1e-3)])
@pytest.mark.parametrize(("t", "df"), [(2.0, 8.0), (3.0, 30.0), (6.0, 48.0), (2.5, np.inf)])
def test_multivariate_t_of_all_pairs_is_the_range(k: int, rtol: float, t: float, df: float) -> None:
    assert_allclose(largest("pairs", k)(t, df), range_tail(k)(t, df), rtol=rtol)


def test_multivariate_t_with_any_correlations() -> None:
    rows = np.random.default_rng(4).normal(size=(4, 6))
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    law = multivariate_t(np.zeros(4), unit @ unit.T, df=11.3, seed=1)
    inside = law.cdf(np.full(4, 2.4), lower_limit=np.full(4, -2.4), maxpts=200_000)
    # SciPy's lattice rule, to about 1e-5
    assert_allclose(largest_tail(rows)(2.4, 11.3), 1.0 - inside, rtol=5e-4)


def test_one_direction_is_student_s_t() -> None:
    rows = np.array([[1.0, 2.0], [-2.0, -4.0]])
    assert rank_of(rows) == 1
    assert_allclose(largest_tail(rows)(2.0, 5.0), 2.0 * student.sf(2.0, 5.0), rtol=1e-12)


def test_tails_beyond_double_precision_are_zero() -> None:
    assert largest_tail(against_first(3))(400.0, 1e6) == 0.0
    assert range_tail(3)(400.0, 1e6) == 0.0


def test_quantiles_of_many_degrees_of_freedom_are_interpolated_closely() -> None:
    tail, df = range_tail(5), np.linspace(5.0, 400.0, 30)
    single = student.ppf(0.975, df)
    together = quantiles(tail, 0.05, df, single)
    apart = [quantiles(tail, 0.05, df[i : i + 1], single[i : i + 1])[0] for i in range(30)]
    assert_allclose(together, apart, rtol=1e-8)
    assert_allclose(together[0] * np.sqrt(2.0), studentized_range.ppf(0.95, 5, 5.0), rtol=1e-8)


def family(k: int = 4, df: float = 17.5) -> Family:
    rows = all_pairs(k)
    statistic = np.random.default_rng(2).normal(size=len(rows)) * 2.0
    return Family(statistic, np.full(len(rows), df), rows, k)


@pytest.mark.parametrize("adjust", [a for a in ADJUSTMENTS if a not in ("fdr", "BH", "BY")])
def test_adjusted_tests_and_intervals_agree(adjust: str) -> None:
    tests = family()
    half = critical_values(tests, adjust, 0.95)
    p = p_values(tests, adjust)
    assert (p >= p_values(tests, "none")).all()
    if adjust not in ("holm", "hochberg", "hommel"):  # their intervals are Bonferroni's
        assert ((np.abs(tests.statistic) > half) == (p < 0.05)).all()
        at_limit = Family(half, tests.df, tests.rows, tests.n_means)
        assert_allclose(p_values(at_limit, adjust), 0.05, rtol=1e-7)


def test_hommel_is_between_hochberg_and_no_adjustment() -> None:
    """R: p.adjust(c(0.001, 0.011, 0.012, 0.02, 0.04, 0.35, 0.6), "hommel")."""
    raw = np.array([0.6, 0.001, 0.011, 0.012, 0.02, 0.04, 0.35])
    tests = Family(student.isf(raw / 2.0, 9.0), np.full(7, 9.0), np.eye(7), 7)
    found = p_values(tests, "hommel")
    assert_allclose(found, [0.6, 0.007, 0.05, 0.05, 0.08, 0.12, 0.6], rtol=1e-10)
    assert (found <= p_values(tests, "hochberg") * (1.0 + 1e-12)).all()


def test_stepwise_adjustments_of_a_worked_example() -> None:
    """R: p.adjust(c(0.01, 0.04, 0.03, 0.005), method)."""
    raw = np.array([0.01, 0.04, 0.03, 0.005])
    tests = Family(student.isf(raw / 2.0, 9.0), np.full(4, 9.0), np.eye(4), 4)
    assert_allclose(p_values(tests, "holm"), [0.03, 0.06, 0.06, 0.02], rtol=1e-12)
    assert_allclose(p_values(tests, "hochberg"), [0.03, 0.04, 0.04, 0.02], rtol=1e-12)
    assert_allclose(p_values(tests, "BH"), [0.02, 0.04, 0.04, 0.02], rtol=1e-12)
    assert_allclose(p_values(tests, "fdr"), p_values(tests, "BH"), rtol=0)
    by = np.array([0.02, 0.04, 0.04, 0.02]) * 25.0 / 12.0
    assert_allclose(p_values(tests, "BY"), by, rtol=1e-12)


@pytest.mark.parametrize("adjust", ADJUSTMENTS)
def test_what_cannot_be_estimated_stays_unknown(adjust: str) -> None:
    tests = family()
    statistic = tests.statistic.copy()
    statistic[2] = np.nan
    df = np.where(np.isnan(statistic), np.nan, tests.df)
    some = Family(statistic, df, tests.rows, 4)
    p, half = p_values(some, adjust), critical_values(some, adjust, 0.9)
    assert np.isnan(p[2])
    assert np.isnan(half[2])
    assert np.isfinite(np.delete(p, 2)).all()
    none = Family(np.full(6, np.nan), np.full(6, np.nan), tests.rows, 4)
    assert np.isnan(p_values(none, adjust)).all()
    assert np.isnan(critical_values(none, adjust, 0.9)).all()
