"""Every storage of crossed factors gives what the textbook gives: dense, sparse, any split."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import mixedmodels as mm
from mixedmodels.likelihood import assembly, complement, crossed, elimination, links
from mixedmodels.model.predict import leverage
from tests import naive
from tests.properties.designs import Case, at_theta, cases, random_theta
from tests.properties.test_against_naive import assert_same

CROSSED = ("crossed", "three crossed", "mixed")
quick = settings(deadline=None, derandomize=True, max_examples=40)


@contextmanager
def storage(share: float) -> Iterator[None]:
    """Links by their entries, and a share of the complement's levels kept sparse."""

    def split(counts: np.ndarray, widths: np.ndarray, limit: int) -> int:
        assert limit == len(counts)
        ends = np.concatenate([[0], np.cumsum(widths)])
        return int(ends[round(share * len(widths))])

    with (
        mock.patch.object(assembly, "SMALL_LINKS", 0),
        mock.patch.object(assembly, "FULL_LINKS", 2.0),
        mock.patch.object(elimination, "SMALL", 0),
        mock.patch.object(elimination, "FULL", 2.0),
        mock.patch.object(elimination, "HALF", 2.0),
        mock.patch.object(elimination, "CROWDED", 1e6),
        mock.patch.object(elimination, "_cheapest_split", split),
    ):
        yield


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@quick
@given(
    case=cases(shapes=CROSSED), seed=st.integers(0, 10**6), zero=st.sampled_from([0.0, 0.5, 1.0])
)
def test_at_any_theta(share: float, case: Case, seed: int, zero: float) -> None:
    theta = random_theta(case.problem, np.random.default_rng(seed), zero)
    with storage(share):
        model = case.prepare()
    blocks = model.working.blocks
    assert isinstance(blocks.links, links.SparseLinks)
    assert (blocks.complement.head > 0) == (share > 0)
    assert_same(case, at_theta(model, theta), theta)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@quick
@given(
    case=cases(shapes=CROSSED), seed=st.integers(0, 10**6), zero=st.sampled_from([0.0, 0.5, 1.0])
)
def test_storages_agree_on_every_derivative(
    share: float, case: Case, seed: int, zero: float
) -> None:
    theta = random_theta(case.problem, np.random.default_rng(seed), zero)
    dense = at_theta(case.prepare(), theta)
    with storage(share):
        sparse = at_theta(case.prepare(), theta)
    one, other = dense.optimum.at, sparse.optimum.at
    assert isinstance(dense.working.blocks.links, links.DenseLinks)
    scale = 1.0 + np.abs(one.gradient).max()
    assert_allclose(other.gradient, one.gradient, atol=1e-9 * scale)
    for a, b in zip(one.by_covariance, other.by_covariance, strict=True):
        assert_allclose(b, a, atol=1e-8 * (1.0 + np.abs(a).max()))
    hessian = dense.objective.hessian(one)
    assert_allclose(
        sparse.objective.hessian(other), hessian, atol=1e-8 * (1.0 + np.abs(hessian).max())
    )


@quick
@given(case=cases(shapes=CROSSED), seed=st.integers(0, 10**6), zero=st.sampled_from([0.5, 1.0]))
def test_the_limit_at_a_boundary_is_the_derivative_there(
    case: Case, seed: int, zero: float
) -> None:
    theta = random_theta(case.problem, np.random.default_rng(seed), zero)
    truth = at_theta(case.prepare(), theta).optimum.at
    with mock.patch.object(crossed, "EXPLICIT", 0):
        limit = at_theta(case.prepare(), theta).optimum.at
    for a, b in zip(truth.by_covariance, limit.by_covariance, strict=True):
        assert_allclose(b, a, atol=1e-7 * (1.0 + np.abs(a).max()))


def partly_crossed(n_pupils: int, moving: float, seed: int) -> pd.DataFrame:
    """Pupils with four teachers of their own school each; a few change school."""
    rng = np.random.default_rng(seed)
    pupil = np.repeat(np.arange(n_pupils), 4)
    school = rng.integers(0, 12, n_pupils)[pupil]
    moved = rng.random(len(pupil)) < moving
    school[moved] = rng.integers(0, 12, moved.sum())
    teacher = school * 15 + rng.integers(0, 15, len(pupil))
    x = rng.normal(size=len(pupil))
    y = (
        x
        + rng.normal(size=12)[school]
        + rng.normal(size=n_pupils)[pupil]
        + rng.normal(0, 0.6, 180)[teacher]
        + rng.normal(0, 0.4, 180)[teacher] * x
        + rng.normal(size=len(pupil))
    )
    data = {"y": y, "x": x, "pupil": pupil, "teacher": teacher, "school": school}
    frame = pd.DataFrame(data)
    return frame.astype({"pupil": str, "teacher": str, "school": str})


@pytest.mark.parametrize("moving", [0.0, 0.02])
@pytest.mark.parametrize(
    "random", ["(1 | pupil) + (x | teacher)", "(1 | pupil) + (1 | teacher) + (1 | school)"]
)
def test_a_sparse_head_is_found(random: str, moving: float) -> None:
    data = partly_crossed(400, moving, 5)
    formula = f"y ~ x + {random}"
    dense = mm.lmer(formula, data)
    with (
        mock.patch.object(elimination, "SMALL", 10),
        mock.patch.object(assembly, "SMALL_LINKS", 0),
    ):
        sparse = mm.lmer(formula, data)
    if moving == 0.0 and "school" in random:
        # pupils do not lie in teachers, yet everything lies in schools
        assert sparse.working.blocks.complement.head > 0
    assert isinstance(sparse.working.blocks.complement, complement.SparseComplement)
    assert_allclose(sparse.reml_criterion, dense.reml_criterion, rtol=0, atol=1e-8)
    assert_allclose(sparse.theta, dense.theta, atol=1e-5)
    assert_allclose(leverage(sparse), leverage(dense), atol=1e-6)
    new = {"x": [0.0, 1.0], "pupil": ["1", "2"], "teacher": ["3", "150"], "school": ["5", "7"]}
    for kind in ("confidence", "prediction"):
        ours = sparse.predict(new, interval=kind)
        assert_allclose(
            ours["std_error"], dense.predict(new, interval=kind)["std_error"], rtol=1e-5
        )


def test_an_older_evaluation_is_computed_again() -> None:
    data = partly_crossed(150, 0.1, 6)
    model = mm.lmer("y ~ x + (1 | pupil) + (x | teacher)", data)
    before = leverage(model).copy()
    sds = model.ranef()["std_error"].to_numpy()
    model.objective.evaluate(0.5 * model.optimum.at.theta)
    fresh = mm.lmer("y ~ x + (1 | pupil) + (x | teacher)", data)
    fresh.objective.evaluate(0.5 * fresh.optimum.at.theta)
    assert_allclose(leverage(fresh), before, rtol=1e-12)
    assert_allclose(fresh.ranef()["std_error"], sds, rtol=1e-12)


def test_the_factor_with_most_columns_comes_first() -> None:
    data = partly_crossed(230, 0.1, 7)
    model = mm.lmer("y ~ x + (1 | pupil) + (x | teacher)", data)
    # 230 levels of one column, at most 180 of two
    assert model.design.groups[0].name == "pupil"
    assert model.working.blocks.first == 1
    assert list(model.n_groups) == ["pupil", "teacher"]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_refit_shares_the_structure_and_not_the_numbers(share: float) -> None:
    data = partly_crossed(150, 0.1, 8)
    with storage(share):
        model = mm.lmer("y ~ x + (1 | pupil) + (x | teacher)", data)
        other = data.assign(y=data["y"] ** 2)
        truth = mm.lmer("y ~ x + (1 | pupil) + (x | teacher)", other)
        sds = model.ranef()["std_error"].to_numpy()
        again = model.refit(other["y"].to_numpy())
    assert_allclose(again.reml_criterion, truth.reml_criterion, atol=1e-8)
    assert_allclose(again.theta, truth.theta, atol=1e-5)
    assert_allclose(model.ranef()["std_error"], sds)
    assert again.working.blocks.links is model.working.blocks.links


def test_criterion_of_the_oracle_at_a_large_partly_crossed_optimum() -> None:
    data = partly_crossed(150, 0.05, 9)
    with storage(0.7):
        model = mm.lmer("y ~ x + (1 | pupil) + (x | teacher)", data)

    def term(name: str, columns: list[np.ndarray]) -> naive.Term:
        levels, codes = np.unique(data[name], return_inverse=True)
        return naive.Term(codes, len(levels), np.stack(columns, axis=1))

    one, x = np.ones(len(data)), data["x"].to_numpy()
    problem = naive.Problem(
        np.stack([one, x], axis=1),
        data["y"].to_numpy(),
        (term("teacher", [one, x]), term("pupil", [one])),
    )
    assert [group.name for group in model.design.groups] == ["teacher", "pupil"]
    assert_allclose(
        model.reml_criterion, naive.criterion(problem, model.theta, reml=True), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_rows_labels_and_the_order_of_terms_change_nothing(share: float) -> None:
    data = partly_crossed(150, 0.1, 10)
    rng = np.random.default_rng(11)
    labels = {
        name: dict(zip(data[name].unique(), rng.permutation(data[name].nunique()), strict=True))
        for name in ("pupil", "teacher")
    }
    other = data.sample(frac=1.0, random_state=1).assign(
        **{name: data[name].map(codes).map("L{:04d}".format) for name, codes in labels.items()}
    )
    with storage(share):
        one = mm.lmer("y ~ x + (1 | pupil) + (x | teacher)", data)
        two = mm.lmer("y ~ x + (x | teacher) + (1 | pupil)", other)
    assert_allclose(two.reml_criterion, one.reml_criterion, rtol=0, atol=1e-8)
    assert_allclose(two.beta, one.beta, rtol=1e-6)
    for name, codes in labels.items():
        frames = [m.ranef().loc[lambda f, name=name: f["group"] == name] for m in (one, two)]
        renamed = frames[0].assign(level=frames[0]["level"].map(codes).map("L{:04d}".format))
        keys = ["level", "term"]
        first, second = (f.sort_values(keys).reset_index(drop=True) for f in (renamed, frames[1]))
        assert_allclose(first["estimate"], second["estimate"], atol=1e-5)
        assert_allclose(first["std_error"], second["std_error"], atol=1e-5)


def test_an_interaction_that_coincides_with_a_factor_is_recognised() -> None:
    """Labels of b are unique, so that a:b puts the rows into the groups of b."""
    rng = np.random.default_rng(4)
    b = np.repeat(np.arange(30), 6)
    a = b // 6
    y = rng.normal(size=5)[a] + rng.normal(size=30)[b] + rng.normal(size=len(b))
    data = pd.DataFrame({"y": y, "a": a, "b": b}).astype({"a": str, "b": str})
    formulas = ("(1 | a/b)", "(1 | a) + (1 | b)", "(1 | b) + (1 | a)", "(1 | a:b) + (1 | a)")
    fits = [mm.lmer(f"y ~ 1 + {random}", data) for random in formulas]
    assert all(m.design.structure.nested for m in fits)
    assert_allclose([m.reml_criterion for m in fits], fits[0].reml_criterion, atol=1e-9)
    with pytest.warns(mm.DataWarning, match="same groups"):
        both = mm.lmer("y ~ 1 + (1 | a:b) + (1 | b)", data)
    assert both.design.structure.nested


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_saved_and_pickled_fits_answer_as_before(share: float, tmp_path: Path) -> None:
    data = partly_crossed(150, 0.1, 13)
    with storage(share):
        model = mm.lmer("y ~ x + (1 | pupil) + (x | teacher)", data)
        mm.save(model, tmp_path / "fit.mm", data=True)
        copies = [pickle.loads(pickle.dumps(model)), mm.load(tmp_path / "fit.mm")]
        copies.append(copy.deepcopy(model))
    for again in copies:
        assert_allclose(again.ranef()["std_error"], model.ranef()["std_error"], rtol=1e-9)
        assert_allclose(leverage(again), leverage(model), rtol=1e-8)
