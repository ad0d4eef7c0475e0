"""Inference at a boundary, failing replicates, seeds, and tables for spreadsheets (H and I09)."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq, minimize_scalar

import mixedmodels as mm
from tests.bad_input.common import SIMPLE, base, silence, watched


def flat_data() -> pd.DataFrame:
    """No variance between groups."""
    frame = base()
    return frame.assign(y=frame.y - frame.groupby("g").y.transform("mean") + 1)


@cache
def flat() -> mm.FittedModel:
    return watched(SIMPLE, flat_data())[0]


def test_h05_a_seed_of_any_kind() -> None:
    # the same for any n_jobs: tests/inference/test_bootstrap.py
    model, _ = watched(SIMPLE, base())
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - it is the point
    with silence():
        first = model.bootstrap(20, seed=7).replicates
        again = model.bootstrap(20, seed=7).replicates
        sequence = model.bootstrap(20, seed=np.random.SeedSequence(7)).replicates
        other = model.bootstrap(20, seed=8).replicates
        drawn = [model.bootstrap(20, seed=np.random.default_rng(7)).replicates for _ in range(2)]
    assert_array_equal(first, again)
    assert_array_equal(first, sequence)
    assert_array_equal(*drawn)
    assert (first != other).all(axis=1).any()
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_h06_too_few_rows_are_refused() -> None:
    """13 rows cannot tell 14 random effects from residuals: no bootstrap of such a fit exists."""
    with pytest.raises(mm.DataError, match="13 observations <= 14 random effects"):
        mm.lmer("y ~ x + (1 + x|g)", base(G=7, m=2).iloc[:13])


def test_h06_every_replicate_is_kept() -> None:
    data = pd.concat([base(m=2), base(seed=2, m=2).iloc[:3]], ignore_index=True)
    model, _ = watched("y ~ x + (1 + x|g)", data)
    with silence(), warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        found = model.bootstrap(50, seed=1)
    assert len(found) == 50
    values = found.tidy()["n"]
    assert (values <= 50 - found.n_failed).all()
    # a replicate on the boundary is a fit as any other: its zeros are among the values
    assert found.n_failed <= 2


def test_h06_a_statistic_that_fails_in_some_draws() -> None:
    model, calls = watched(SIMPLE, base())[0], iter(range(100))

    def statistic(m: mm.FittedModel) -> float:
        if next(calls) % 3 == 2:
            raise mm.ModelError("no value for this draw")
        return m.sigma

    with pytest.warns(mm.ConvergenceWarning, match="of 30 bootstrap replicates failed") as caught:
        found = model.bootstrap(30, statistic, seed=1)
    assert len(caught) == 1
    assert (len(found), found.n_failed) == (30, 10)
    assert found.tidy()["n"].tolist() == [20]
    assert np.isfinite(found.confint()[["conf_low", "conf_high"]].to_numpy()).all()


def test_h07_degrees_of_freedom_at_a_singular_fit() -> None:
    # lmerTest: coef(summary(lmer(y ~ x + (1 | g))), ddf = "Satterthwaite", then "Kenward-Roger")
    assert_allclose(flat().tidy()["df"], [94, 94], rtol=1e-6)
    assert_allclose(flat().tidy(ddf="kenward-roger")["df"], [10.99, 91.7], rtol=1e-3)


def test_h08_profile_at_the_boundary() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.SingularFitWarning)
        model = flat().update(reml=False)
    with silence():  # warnings are errors
        table = mm.confint(model, "profile").set_index("term")
    low, high = table.loc["sd_Intercept|g", ["conf_low", "conf_high"]]
    assert low == 0.0
    assert high == pytest.approx(profile_limit(flat_data()), rel=1e-6)


def profile_limit(data: pd.DataFrame) -> float:
    """Where -2 log-likelihood with the sd of groups held is 1.96**2 above its minimum (dense)."""
    X, y = np.column_stack([np.ones(len(data)), data.x]), data.y.to_numpy()
    same = (data.g.to_numpy()[:, None] == data.g.to_numpy()).astype(float)

    def deviance(sd: float) -> float:
        def of(sigma: float) -> float:
            V = sigma**2 * np.eye(len(y)) + sd**2 * same
            solved = np.linalg.solve(V, np.column_stack([X, y]))
            beta = np.linalg.solve(X.T @ solved[:, :2], X.T @ solved[:, 2])
            r2 = (y - X @ beta) @ (solved[:, 2] - solved[:, :2] @ beta)
            return float(np.linalg.slogdet(V)[1] + r2)

        found = minimize_scalar(of, bounds=(0.5, 2.0), method="bounded", options={"xatol": 1e-9})
        return float(found.fun)

    least = deviance(0.0)
    return float(brentq(lambda sd: deviance(sd) - least - 1.959963984540054**2, 0.05, 1.0))


FORMULAS = ['=HYPERLINK("http://a.b")', "+1+1", "-1+1", "@SUM(A1)", "\t=1", "x'; DROP TABLE y; --"]


@cache
def spreadsheet() -> mm.FittedModel:
    return watched("y ~ x + f + (1|g)", base().assign(f=np.resize(FORMULAS, 96)))[0]


@pytest.mark.parametrize("ending", ["csv", "tsv", "xlsx"])
def test_i09_no_export_that_a_spreadsheet_evaluates(ending: str, tmp_path: Path) -> None:
    """Frames are the user's to write; the package itself writes pages and text only."""
    with pytest.raises(mm.ModelError, match="a table is written as"):
        mm.tab_model(spreadsheet()).save(tmp_path / f"table.{ending}")
    assert not list(tmp_path.iterdir())


def test_i09_frames_keep_the_levels_as_they_are() -> None:
    terms: Any = "\n".join(spreadsheet().tidy()["term"])
    for level in sorted(FORMULAS)[1:]:  # the first one is the reference
        assert level in terms


def test_names_that_are_code_elsewhere(tmp_path: Path) -> None:
    """Markup, LaTeX, SQL and formats in names, levels, titles and labels come out as text."""
    bad = "<img src=x onerror=alert(1)>"
    data = base().rename(columns={"x": bad, "z": "a; DROP TABLE t; --", "g": "{0!r} %s"})
    data["f"] = np.resize(["</td><script>1</script>", "\\input{/etc/passwd}", "a|b\n# head"], 96)
    model, _ = watched(f"y ~ `{bad}` + `a; DROP TABLE t; --` + f + (1|`{{0!r}} %s`)", data)
    table = mm.tab_model({bad: model}, labels={bad: "<b>label</b>"})
    pages = (table.to_html(title=bad), table._repr_html_(), model.summary()._repr_html_())
    for page in pages:
        for tag in ("<img", "<script>", "<b>label"):
            assert tag not in page, tag
    assert "\\input{" not in table.to_latex(title="\\input{x}")
    assert "{0!r} %s" in str(model.summary())
    plot = mm.plot.caterpillar(model, labels={bad: bad})
    plot.save(tmp_path / "plot.svg", verbose=False)
    assert "<img" not in (tmp_path / "plot.svg").read_text()


def empty_cell() -> pd.DataFrame:
    """No rows with f = a and h = v."""
    frame = base()
    h = np.where((frame.f == "a") | (frame.z > 0), "u", "v")
    return frame.assign(h=h, q=np.where(frame.index % 2 == 0, "p", "r"))


# emmeans 1.8.4 of m = lmer(y ~ f + h + q + (1 | g)): emmeans(m, ~ f * h, weights = ), pairs()
WEIGHTED = {
    "cells": (
        [2.1266471, 2.1435933, 1.8952258, np.nan, 1.5398749, 1.3008636],
        [0.4864437, 0.5097952, 0.5257444, np.nan, 0.5097082, 0.4972715],
    ),
    "flat": (
        [2.1266471, 2.1485732, 1.9079019, np.nan, 1.5348950, 1.2942237],
        [0.4864437, 0.5117793, 0.5296089, np.nan, 0.5116874, 0.4983624],
    ),
}
PAIRS = [
    -0.0169462, 0.2314213, np.nan, 0.5867721, 0.8257834, 0.2483675, np.nan, 0.6037183, 0.8427296,
    np.nan, 0.3553508, 0.5943621, np.nan, np.nan, 0.2390113,
]  # fmt: skip


@pytest.mark.parametrize("weights", WEIGHTED)
def test_means_of_cells_without_rows(weights: str) -> None:
    """Weighted by its rows, a combination that has none has no mean; the others have theirs."""
    model, _ = watched("y ~ f + h + q + (1|g)", empty_cell())
    with pytest.warns(mm.RankDeficiencyWarning, match=r"\(f = a, h = v\).*weights='equal'") as w:
        means = mm.emmeans(model, ["f", "h"], weights=weights, ddf="none")
    assert len(w) == 1
    table = means.to_pandas()
    assert_allclose(table[["emmean", "std_error"]].T, WEIGHTED[weights], rtol=2e-6)
    if weights == "cells":
        assert_allclose(means.contrasts(adjust="none")["estimate"], PAIRS, atol=2e-6)
        assert means.joint_tests()["num_df"].tolist() == [1, 0, 1]
    assert len(means.contrasts("trt.vs.ctrl", adjust="mvt").dropna()) == 4
    mm.plot.emmeans(means).draw()  # without a warning of the library
