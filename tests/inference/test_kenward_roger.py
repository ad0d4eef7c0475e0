"""Kenward and Roger's method: pbkrtest's values, the formulas on V, and invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.testing import assert_allclose
from scipy import stats

import mixedmodels as mm
from mixedmodels.inference.kenward_roger import coefficient_tests, f_test
from tests import naive
from tests.inference.test_satterthwaite import balanced
from tests.properties.designs import Case, cases
from tests.reference import data, fits

VALUES = data.figures("kenward_roger")
# the R fit of this singular model stops short of the boundary
CLOSE = dict.fromkeys(VALUES, 1e-6) | {"cake_sing_reml": 1e-4}


@pytest.mark.parametrize("name", VALUES)
def test_pbkrtest_values(name: str) -> None:
    model = fits.reference_fit(name).model
    theirs = VALUES[name]
    terms = fits.our_terms(data.figures("models")[name], list(theirs))
    se, df, t, p = (np.array(column) for column in zip(*theirs.values(), strict=True))
    table = model.tidy(ddf="kenward-roger")
    ours = {term: i for i, term in enumerate(table["term"])}
    order = [ours[term] for term in terms]
    assert_allclose(table["std_error"].to_numpy()[order], se, rtol=CLOSE[name])
    assert_allclose(table["df"].to_numpy()[order], df, rtol=CLOSE[name])
    assert_allclose(table["statistic"].to_numpy()[order], t, rtol=1e-4)
    assert_allclose(table["p_value"].to_numpy()[order], p, rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("case", data.figures("krsat"), ids=lambda case: case["id"])
def test_tests_between_models(case: dict) -> None:
    frame = data.load(case["dataset"])
    large, small = (mm.lmer(case[size], frame) for size in ("large", "small"))
    ours = mm.krmodcomp(large, small)
    for i, theirs in enumerate(case["KR"]):
        assert ours["test"][i] == theirs["test"]
        assert_allclose(ours["statistic"][i], theirs["stat"], rtol=1e-4)
        assert ours["num_df"][i] == theirs["ndf"]
        assert_allclose(ours["den_df"][i], theirs["ddf"], rtol=1e-4)
        assert_allclose(ours["f_scaling"][i], theirs["F.scaling"] or 1.0, rtol=1e-6)
        assert_allclose(ours["p_value"][i], theirs["p.value"], rtol=1e-3)
    ours, theirs = mm.satmodcomp(large, small), case["SAT"]
    found = [ours[name][0] for name in ("statistic", "num_df", "den_df", "p_value")]
    assert_allclose(found, list(theirs.values()), rtol=1e-3)


def textbook(case: Case, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Adjusted covariance and degrees of freedom of the coefficients, every matrix n x n."""
    at = naive.Solution(case.problem, theta, reml=True)
    X, V = case.problem.X, at.sigma**2 * at.V
    w, n = case.problem.weights, len(case.problem.y)
    G = []
    for term in case.problem.terms:
        for j in range(term.q):
            for i in range(j, term.q):
                basis = np.zeros((term.q, term.q))
                basis[i, j] = basis[j, i] = 1.0
                Z = term.matrix()
                G.append(Z @ np.kron(np.eye(term.n_levels), basis) @ Z.T)
    G.append(np.eye(n) if w is None else np.diag(1.0 / w))
    Vi = np.linalg.inv(V)
    phi = np.linalg.inv(X.T @ Vi @ X)
    half = [Vi @ g for g in G]
    P = [-X.T @ h @ Vi @ X for h in half]
    Q = [[X.T @ a @ b @ Vi @ X for b in half] for a in half]
    m = len(G)
    info = np.array(
        [
            [
                np.sum(half[r] * half[s].T)
                - 2 * np.sum(phi * Q[r][s].T)
                + np.trace(phi @ P[r] @ phi @ P[s])
                for s in range(m)
            ]
            for r in range(m)
        ]
    )
    W = 2.0 * np.linalg.inv(info)
    U = sum(W[r, s] * (Q[r][s] - P[r] @ phi @ P[s]) for r in range(m) for s in range(m))
    adjusted = phi + phi @ (U + U.T) @ phi
    df = []
    for row in np.eye(X.shape[1]):
        v = row @ phi @ row
        moved = np.array([row @ phi @ p @ phi @ row for p in P]) / v
        a = moved @ W @ moved
        df.append(2.0 / a)
    return adjusted, np.array(df)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(cases())
def test_the_formulas_on_v(case: Case) -> None:
    """For one contrast the degrees of freedom are 2 / A with A1 = A2 = A."""
    model = case.fit(reml=True)
    if len(model.beta) == 0 or model.is_singular or model.convergence.smallest_eigenvalue < 1.0:
        return
    adjusted, df = textbook(case, model.theta)
    ours, ours_df = coefficient_tests(model)
    assert_allclose(ours, np.sqrt(np.diag(adjusted)), rtol=1e-4)
    assert_allclose(ours_df, df, rtol=1e-3)


def test_scaling_all_weights_changes_nothing() -> None:
    """pbkrtest 0.5.2 ignores weights: there the degrees of freedom move from 22 to 72."""
    frame = data.load("sleepstudy_ext")
    one = mm.lmer("Reaction ~ Days + (1 | Subject)", frame, weights="wt")
    four = mm.lmer(
        "Reaction ~ Days + (1 | Subject)", frame.assign(wt=4 * frame["wt"]), weights="wt"
    )
    a, b = one.tidy(ddf="kenward-roger"), four.tidy(ddf="kenward-roger")
    for column in ("std_error", "df", "p_value"):
        assert_allclose(a[column], b[column], rtol=1e-6)


def test_balanced_split_plots_need_no_adjustment() -> None:
    model = mm.lmer("y ~ treatment + time + (1 | plot)", balanced())
    names = model.term_names
    L = np.eye(4)[[names.index("treatment[T.b]"), names.index("treatment[T.c]")]]
    statistic, scale, num_df, den_df = f_test(model, L)
    assert (num_df, den_df, scale) == (2, pytest.approx(9.0, rel=1e-6), pytest.approx(1.0))
    means = balanced().groupby(["plot", "treatment"])["y"].mean().reset_index()
    classical = stats.f_oneway(*(g["y"] for _, g in means.groupby("treatment")))
    assert statistic == pytest.approx(classical.statistic, rel=1e-6)
    assert_allclose(model.tidy(ddf="kenward-roger")["std_error"], model.tidy()["std_error"])


def test_what_is_refused() -> None:
    frame = balanced()
    large = mm.lmer("y ~ treatment + time + (1 | plot)", frame)
    small = mm.lmer("y ~ time + (1 | plot)", frame)
    with pytest.raises(mm.ModelError, match=r"REML.*update\(reml=True\)"):
        large.update(reml=False).tidy(ddf="kenward-roger")
    with pytest.raises(mm.ModelError, match="not among those"):
        mm.krmodcomp(small, large)
    with pytest.raises(mm.ModelError, match="same fixed effects"):
        mm.satmodcomp(large, mm.lmer("y ~ time + treatment + (1 | plot)", frame))
    with pytest.raises(mm.ModelError, match="random terms"):
        mm.krmodcomp(large, mm.lm("y ~ time", frame))
    with pytest.raises(mm.ModelError, match=r"\(1 \| treatment\)"):
        mm.krmodcomp(large, mm.lmer("y ~ time + (1 | plot) + (1 | treatment)", frame))
    with pytest.raises(mm.ModelError, match="rows"):
        mm.krmodcomp(large, mm.lmer("y ~ time + (1 | plot)", frame.iloc[:40]))
    with pytest.raises(TypeError):
        mm.krmodcomp(large, "small")
