"""Intraclass correlation and R2: figures of R, row-level computation, what must not matter."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from tests.reference import data, names
from tests.reference.fits import reference_fit

FIGURES = data.figures("variance_explained")
NAMES = {
    "R2_marginal": ("r2", "r2_marginal"),
    "R2_conditional": ("r2", "r2_conditional"),
    "ICC_adjusted": ("icc", "icc_adjusted"),
    "ICC_unadjusted": ("icc", "icc_unadjusted"),
}
TWO_SLOPES = "y ~ x + z + (x | g) + (0 + z | g) + (z | h)"


# --- figures of R ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model_id",
    [pytest.param(i, marks=pytest.mark.slow if "insteval" in i else ()) for i in FIGURES["models"]],
)
def test_all_reference_models(model_id):
    """Johnson's formula by hand in R, singular fits and prior weights among them.

    The largest gap is 1e-7, at a singular fit: there the criterion is flat and R's variances hold
    six digits or so.
    """
    m = reference_fit(model_id).model
    found = {"icc": mm.icc(m), "r2": mm.r2(m)}
    expected = FIGURES["models"][model_id]
    for theirs, (function, ours) in NAMES.items():
        assert found[function][ours] == pytest.approx(expected[theirs], rel=0, abs=5e-7), theirs
    parts = found["r2"].parts
    assert parts.fixed == pytest.approx(expected["var_fixed"], rel=2e-5, abs=1e-12)
    assert parts.random == pytest.approx(expected["var_random"], rel=2e-5, abs=1e-9)
    assert parts.residual == pytest.approx(expected["var_residual"], rel=2e-5)


@pytest.mark.parametrize("model_id", list(FIGURES["by_group"]))
def test_shares_of_grouping_factors(model_id):
    """performance::icc(m, by_group = TRUE)."""
    fit = reference_fit(model_id).model
    table = mm.icc(fit, by_group=True)
    ours = dict(zip(table["group"], table["icc"], strict=True))
    expected = FIGURES["by_group"][model_id]
    theirs = {names.group(name, fit.formula): value for name, value in expected.items()}
    assert ours == pytest.approx(theirs, abs=1e-6)
    assert mm.icc(fit).by_group == ours


@pytest.mark.parametrize("case", FIGURES["lm"], ids=lambda case: case["formula"])
def test_linear_models(case):
    """summary(lm(...)), without a constant and with weights among them."""
    m = mm.lm(case["formula"], data.load(case["dataset"]), weights=case.get("weights"))
    assert dict(mm.r2(m)) == pytest.approx(case["values"], rel=1e-12)


# --- by the definition, row by row ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("reml", "expected"),
    [
        (True, (-0.0781020171204, 0.5096872465662)),
        (False, (-0.0839440585244, 0.5127138714869)),
    ],
)
def test_what_is_explained_at_each_level(reml, expected):
    """By VarCorr of lme4 1.1-31: 1 - m / null, as performance::r2(m, by_group = TRUE)."""
    sleep = mm.datasets.load("sleepstudy")
    table = mm.r2(mm.lmer("Reaction ~ Days + (1 | Subject)", sleep, reml=reml), by_group=True)
    assert table["source"].tolist() == ["Subject", "Residual"]
    # the digits that lme4's optimum has
    np.testing.assert_allclose(table["r2"], expected, rtol=1e-6, atol=2e-7)


@cache
def frame():
    rng = np.random.default_rng(5)
    n = 240
    g, h = rng.integers(0, 20, n), rng.integers(0, 8, n)
    x, z = rng.normal(2.0, 1.0, n), rng.uniform(-1, 1, n)
    b = rng.normal(size=(20, 3)) * [1.0, 0.6, 0.5]
    c = rng.normal(size=(8, 2)) * [0.7, 0.4]
    y = 1 + 0.5 * x - z + b[g, 0] + b[g, 1] * x + b[g, 2] * z + c[h, 0] + c[h, 1] * z
    return pd.DataFrame(
        {
            "y": y + rng.normal(size=n),
            "x": x,
            "z": z,
            "w": rng.uniform(0.3, 3.0, n),
            "g": [f"g{i:02d}" for i in g],
            "h": [f"h{i}" for i in h],
        }
    )


def fitted(formula=TWO_SLOPES, rows=None, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        return mm.lmer(formula, frame() if rows is None else rows, **options)


def shares(m, **options):
    return {**mm.icc(m, **options), **mm.r2(m, **options)}


def test_parts_are_those_of_the_rows():
    """mean(diag(Z Sigma Z')) and var(X beta) as the definitions say, every row counted once."""
    for weights in (None, "w"):
        m, rows = fitted(weights=weights), frame()
        columns = {"Intercept": np.ones(len(rows)), "x": rows["x"], "z": rows["z"]}
        expected: dict[str, float] = {"g": 0.0, "h": 0.0}
        for group, term in m.design.theta_order:
            design = m.design.groups[group]
            Z = np.stack([columns[name] for name in design.terms[term].names], axis=1)
            root = Z @ m.term_factor(group, term) * m.sigma
            expected[design.name] += np.square(root).sum(axis=1).mean()
        X = np.stack([columns[name] for name in m.term_names], axis=1)
        parts = mm.r2(m).parts
        assert parts.groups == pytest.approx(expected, rel=1e-10)
        assert parts.fixed == pytest.approx(np.var(X @ m.beta, ddof=1), rel=1e-10)
        assert parts.residual == m.sigma**2
        assert parts.total == pytest.approx(parts.fixed + parts.random + parts.residual, rel=1e-14)


def test_r2_and_icc_agree_with_each_other():
    m = fitted()
    found = shares(m)
    rest = 1.0 - found["r2_marginal"]
    assert found["icc_unadjusted"] == pytest.approx(found["icc_adjusted"] * rest, rel=1e-12)
    assert found["r2_conditional"] - found["r2_marginal"] == pytest.approx(
        found["icc_unadjusted"], rel=1e-12
    )
    assert sum(mm.icc(m).by_group.values()) == pytest.approx(found["icc_adjusted"], rel=1e-14)


@pytest.mark.parametrize("weights", [None, "w"])
@pytest.mark.parametrize("formula", [TWO_SLOPES, "y ~ 0 + x + z:x + (x | g) + (z | h)"])
def test_levels_are_held_against_the_model_without_fixed_effects(formula, weights):
    m = fitted(formula, weights=weights)
    null = fitted(f"y ~ 1 + ({formula.partition('+ (')[2]}", weights=weights)
    table = mm.r2(m, by_group=True, weight=2.0).set_index("source")
    for source in ("g", "h"):
        before, after = (mm.r2(fit).parts.groups[source] for fit in (null, m))
        assert table["variance_null"][source] == pytest.approx(before, rel=1e-5)
        assert table["variance"][source] == after
        assert table["r2"][source] == pytest.approx(1 - after / before, abs=1e-5)
    residual = table.loc["Residual"]
    assert residual["variance_null"] == pytest.approx(null.sigma**2 / 2.0, rel=1e-6)
    assert residual["r2"] == pytest.approx(1 - (m.sigma / null.sigma) ** 2, abs=1e-6)


def test_position_and_unit_of_columns_do_not_matter():
    """insight's intercept-only variances move; z' Sigma z does not."""
    moved = frame().assign(x=frame()["x"] * 365.25 + 2e6, z=-frame()["z"], y=7.0 * frame()["y"] - 3)
    assert shares(fitted(rows=moved)) == pytest.approx(shares(fitted()), abs=1e-7)


def test_a_unit_of_weights_is_a_unit_of_observations():
    """Four times the weights: an observation of weight four is the old one of weight one."""
    four = frame().assign(w=4.0 * frame()["w"])
    m, scaled = fitted(weights="w"), fitted(rows=four, weights="w")
    assert shares(scaled, weight=4.0) == pytest.approx(shares(m), abs=1e-8)
    assert mm.icc(scaled).icc_adjusted < mm.icc(m).icc_adjusted
    # the harmonic mean of the weights: residual variance averaged over the rows
    harmonic = 1.0 / np.mean(1.0 / frame()["w"])
    rows = m.sigma**2 * np.mean(1.0 / frame()["w"])
    assert mm.icc(m, weight=harmonic).parts.residual == pytest.approx(rows, rel=1e-12)


def test_copies_of_a_data_set_with_new_levels_change_nothing_at_the_same_parameters():
    """Twice the groups, the same rows: maximum likelihood has the same optimum."""
    copy = frame().assign(g="new " + frame()["g"], h="new " + frame()["h"])
    twice = pd.concat([frame(), copy], ignore_index=True)
    m, doubled = fitted(reml=False), fitted(rows=twice, reml=False)
    assert mm.icc(doubled).icc_adjusted == pytest.approx(mm.icc(m).icc_adjusted, abs=1e-7)
    n = len(frame())
    ratio = mm.r2(doubled).parts.fixed / mm.r2(m).parts.fixed
    assert ratio == pytest.approx(2 * (n - 1) / (2 * n - 1), abs=1e-7)


def test_no_fixed_effects_and_no_variance():
    nothing = mm.r2(fitted("y ~ 0 + (1 | g)"))
    assert nothing.r2_marginal == 0.0
    assert nothing.r2_conditional == mm.icc(fitted("y ~ 0 + (1 | g)")).icc_adjusted
    rng = np.random.default_rng(0)
    noise = frame().assign(y=rng.permuted(np.linspace(-1, 1, len(frame()))))
    flat = fitted("y ~ 1 + (1 | g)", noise)
    assert flat.is_singular
    assert shares(flat) == dict.fromkeys(shares(flat), 0.0)


def test_an_offset_explains_nothing():
    """As if it had been taken from the response."""
    offset = np.sin(np.arange(len(frame())))
    m = mm.lm("y ~ x", frame(), offset=offset)
    plain = mm.lm("y ~ x", frame().assign(y=frame()["y"] - offset))
    assert dict(mm.r2(m)) == pytest.approx(dict(mm.r2(plain)), rel=1e-12)
    mixed, plain = fitted(offset=offset), fitted(rows=frame().assign(y=frame()["y"] - offset))
    assert shares(mixed) == pytest.approx(shares(plain), rel=1e-10)


def test_linear_model_without_a_constant_by_name():
    """The cells of a factor make a constant: R2 is about the mean, in either coding."""
    cells, coded = mm.lm("y ~ 0 + g", frame()), mm.lm("y ~ g", frame())
    assert dict(mm.r2(cells)) == pytest.approx(dict(mm.r2(coded)), rel=1e-10)
    residual = coded.response - coded.fitted
    total = frame()["y"] - frame()["y"].mean()
    expected = 1 - np.square(residual).sum() / np.square(total).sum()
    assert mm.r2(coded).r2 == pytest.approx(expected, rel=1e-12)
    far = frame().assign(y=frame()["y"] + 1e6)
    assert dict(mm.r2(mm.lm("y ~ x", far))) == pytest.approx(dict(mm.r2(mm.lm("y ~ x", frame()))))


# --- what comes out -------------------------------------------------------------------------------


def test_attributes_items_frames_and_tables():
    m = fitted()
    r = mm.icc(m)
    assert float(r.icc_adjusted) == float(r["icc_adjusted"]) == r.frame()["icc_adjusted"].iloc[0]
    assert list(r) == ["icc_adjusted", "icc_unadjusted"]
    assert len(r) == 2
    with pytest.raises(KeyError, match="icc_adjusted, icc_unadjusted"):
        r["icc"]
    table = r.parts_frame()
    assert table["source"].tolist() == ["Fixed part", "g", "h", "Residual"]
    assert table["share"].sum() == pytest.approx(1.0, rel=1e-14)
    lines = repr(r).splitlines()
    assert lines[:3] == ["Intraclass correlation", "", f"icc_adjusted:   {r.icc_adjusted:.4f}"]
    assert len(lines) == 11
    html = mm.r2(m)._repr_html_()
    assert "r2_conditional" in html
    assert "<td" in html
    assert repr(mm.r2(mm.lm("y ~ x", frame()))).startswith("R2 of a linear model\n\nr2:")
    assert "r2_adjusted" in mm.r2(mm.lm("y ~ x", frame()))._repr_html_()


def test_kinds_of_frames():
    pl, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    for kind, backend in ((pl.DataFrame, "polars"), (pa.Table, "pyarrow")):
        m = mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets", backend=backend))
        frames = (mm.icc(m).frame(), mm.r2(m).parts_frame(), mm.icc(m, by_group=True))
        assert all(isinstance(f, kind) for f in frames)


def test_messages(tmp_path):
    m = fitted(weights="w")
    for bad in (0, -1, np.inf, np.nan, "w", None):
        with pytest.raises(mm.ModelError, match=r"weight must be a (positive )?number"):
            mm.icc(m, weight=bad)
    with pytest.raises(TypeError, match=r"m must be a fitted model .*, not a list"):
        mm.r2([m])
    with pytest.raises(mm.ModelError, match="'y ~ x' has no random terms"):
        mm.icc(mm.lm("y ~ x", frame()))
    with pytest.raises(mm.ModelError, match="'y ~ x' has no random terms, so there are no groups"):
        mm.r2(mm.lm("y ~ x", frame()), by_group=True)
    mm.save(m, tmp_path / "m")
    with pytest.raises(mm.ModelError, match=r"'y ~ .*has prior weights and was loaded .*data=True"):
        mm.r2(mm.load(tmp_path / "m"))
    mm.save(fitted(), tmp_path / "m")
    assert shares(mm.load(tmp_path / "m")) == pytest.approx(shares(fitted()), rel=1e-12)
