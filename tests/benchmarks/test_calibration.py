"""The simulation study: a tiny one runs and is reported; its p-values against t tests of means."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import chi2, ttest_ind

from benchmarks import calibration as study
from benchmarks.calibration import KR, LRT, MIXTURE, PB, SAT, WALD, Size

TINY = Size(n_tests=4, n_intervals=2, n_sim=19, n_boot=19)


@pytest.fixture(scope="module")
def record():
    designs = [study.BY_NAME[name] for name in ("6 groups", "slopes", "no slopes")]
    return study.study(designs, TINY, jobs=1)


def test_every_method_has_a_row_for_each_design(record):
    tests, intervals = study.frames(record)
    assert len(tests) == (6 + 6 + 3) * len(study.LEVELS)
    assert len(intervals) == 2 * (7 + 5)
    assert tests["size"].between(0, 1).all()
    assert (tests["n"] == 4).all()
    assert (tests["n_missing"] == 0).all()
    assert intervals["coverage"].between(0, 1).all()
    misses = intervals[["too_low", "too_high", "none"]].sum(axis=1)
    np.testing.assert_allclose(intervals["coverage"] + misses, 1.0)


def test_tables_and_picture_are_written(record, tmp_path):
    data, text, image = study.write(record, tmp_path)
    assert json.loads(data.read_text())["n_sim"] == 19
    page = text.read_text()
    assert "## Size of tests of a variance at the 5% level" in page
    assert f"| {KR} |" in page
    assert f"]({image.name})" in page
    assert image.stat().st_size > 10_000


def test_a_data_set_does_not_depend_on_the_others():
    seeds = np.random.SeedSequence(1).spawn(3)
    together, _ = study.run_chunk("no slopes", 0, seeds, TINY)
    alone, _ = study.run_chunk("no slopes", 2, seeds[2:], TINY)
    np.testing.assert_array_equal(together[2], alone[0])


def test_p_values_of_a_balanced_design_are_those_of_a_t_test_of_means():
    design = study.BY_NAME["12 groups"]
    frame = study.models(design.name).frame
    y = study.respond(design, frame, np.random.default_rng(5))
    means = frame.assign(y=y).groupby(["treatment", "group"])["y"].mean()
    t, exact = ttest_ind(means["a"], means["b"])
    found = study.p_values(design, y, 1, 19)
    assert found[KR] == pytest.approx(exact, rel=1e-6)
    assert found[SAT] == pytest.approx(exact, rel=1e-6)
    assert found[WALD] == pytest.approx(chi2.sf(t**2, 1), rel=1e-6)
    # the likelihood ratio in closed form: 12 groups, 10 degrees of freedom
    assert found[LRT] == pytest.approx(chi2.sf(12 * np.log1p(t**2 / 10), 1), rel=1e-6)
    assert set(found) == set(study.TESTS["fixed"])


def test_the_mixture_halves_where_the_variance_is_positive():
    design = study.BY_NAME["no intercepts"]
    frame = study.models(design.name).frame
    y = study.respond(design, frame, np.random.default_rng(8))
    y += 0.5 * (frame["group"].str[1:].astype(int).to_numpy() % 3)
    found = study.p_values(design, y, 1, 19)
    assert found[MIXTURE] == pytest.approx(found[LRT] / 2)
    assert 0 < found[PB] <= 1


def test_responses_have_the_variances_that_are_stated():
    design = study.BY_NAME["slopes"]
    frame, rng = design.frame(), np.random.default_rng(2)
    drawn = np.stack([study.respond(design, frame, rng) for _ in range(2000)])
    expected = 1.0 + 1.0 + 0.25 * frame["time"].to_numpy() ** 2
    # the standard error of a variance of 2000 draws is 3.2 % of it; 40 rows
    np.testing.assert_allclose(drawn.var(axis=0), expected, rtol=0.13)
    same = np.cov(drawn[:, 0], drawn[:, 3])[0, 1]
    assert same == pytest.approx(1.0 - 0.25 * 1.5**2, abs=0.2)


def test_shares_are_counted():
    design = study.BY_NAME["no slopes"]
    p = np.array([[0.01, 0.04, np.nan], [0.05, 0.05, 0.2], [0.2, 0.5, np.nan], [1.0, 1.0, 0.02]])
    rows = {(row["method"], row["level"]): row for row in study.test_rows(design, p)}
    assert rows[LRT, 0.05]["size"] == 0.5
    assert rows[MIXTURE, 0.01]["size"] == 0.0
    assert rows[PB, 0.05] == {
        "design": "no slopes", "method": PB, "level": 0.05, "size": 0.5,
        "std_error": pytest.approx(np.sqrt(0.05 * 0.95 / 2)), "n": 2, "n_missing": 2,
    }  # fmt: skip


def test_an_interval_that_does_not_exist_covers_nothing():
    design = study.BY_NAME["6 groups"]
    ends = np.zeros((4, len(study.interval_keys(design)), 2))
    ends[:, 0] = [[-1, 1], [0.5, 1], [-2, -1], [np.nan, np.nan]]
    row = study.interval_rows(design, ends)[0]
    assert (row["coverage"], row["too_high"], row["too_low"], row["none"]) == (0.25,) * 4
    assert row["width"] == 1.0
