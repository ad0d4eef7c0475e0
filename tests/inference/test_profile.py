"""Profile likelihood: root-found and lme4's limits, a dense deviance, invariances, boundaries."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from scipy import optimize

import mixedmodels as mm
from mixedmodels.errors import (
    ConvergenceWarning,
    MixedModelsWarning,
    ModelError,
    ScaleWarning,
    SingularFitWarning,
)
from mixedmodels.inference.conditional import Held
from mixedmodels.inference.profile import profiled
from tests import naive
from tests.bad_input.common import base
from tests.properties.designs import at_theta
from tests.reference import data, fits, names

VALUES = data.figures("profile")
Z = 1.959963984540054


def profile_of(model: Any, *args: Any, **options: Any) -> Any:
    """A profile whose ML refit may be singular."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        return mm.profile(model, *args, **options)


def limits(model: Any, **options: Any) -> dict[str, tuple[float, float]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        table = mm.confint(model, "profile", **options)
    return {
        term: (low, high)
        for term, low, high in zip(
            table["term"], table["conf_low"], table["conf_high"], strict=True
        )
    }


def our_name(name: str, model_id: str) -> str:
    """R's name of a parameter in our words."""
    spec = data.figures("models")[model_id]
    if name == "sigma":
        return name
    if found := re.fullmatch(r"(sd|cor)_(.+)\|(.+)", name):
        kind, columns, group = found.groups()
        label = names.group(group, spec["formula"])
        return f"{kind}_{columns.replace('(Intercept)', 'Intercept')}|{label}"
    return str(fits.our_terms(spec, [name])[0])


# --- other programs -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VALUES)
def test_root_found_values(name: str) -> None:
    """R's deviance function with every other parameter optimised; good to 1e-9 of the width."""
    model = fits.reference_fit(name).model
    ours = limits(model)
    for parameter, theirs in VALUES[name]["exact"].items():
        width = theirs[1] - theirs[0]
        assert_allclose(ours[our_name(parameter, name)], theirs, rtol=0, atol=1e-8 * width)


@pytest.mark.parametrize("name", VALUES)
def test_lme4_values(name: str) -> None:
    """lme4 reads its limits off a spline."""
    ours = limits(fits.reference_fit(name).model)
    for parameter, theirs in VALUES[name]["lme4"].items():
        width = theirs[1] - theirs[0]
        assert_allclose(ours[our_name(parameter, name)], theirs, rtol=0, atol=1e-3 * width)


def test_weights_count_by_their_ratios() -> None:
    """lme4 1.1-31 has the variance parameters right and the fixed effects wrong by far.

    ``confint(lmer(Reaction ~ Days + (Days | Subject), sleepstudy, weights = seq(.5, 2, len = 180),
    REML = FALSE), oldNames = FALSE, delta.cutoff = 1/16)``: (251.381, 251.828) for the intercept,
    and (251.393, 251.569) with all weights times four.
    """
    frame = data.load("sleepstudy")
    weights = np.linspace(0.5, 2.0, len(frame))
    formula = "Reaction ~ Days + (Days | Subject)"
    ours = limits(mm.lmer(formula, frame, weights=weights))
    theirs = {
        "sd_Intercept|Subject": (13.9456822, 37.5163162),
        "cor_Days.Intercept|Subject": (-0.4903219, 0.6580706),
        "sd_Days|Subject": (3.7559658, 8.7697915),
        "sigma": (23.9950556, 30.2423941),
    }
    for parameter, (low, high) in theirs.items():
        assert_allclose(ours[parameter], (low, high), rtol=0, atol=1e-5 * (high - low))
    scaled = limits(mm.lmer(formula, frame, weights=4.0 * weights))
    for parameter, both in ours.items():
        factor = 2.0 if parameter == "sigma" else 1.0
        assert_allclose(scaled[parameter], np.multiply(both, factor), rtol=1e-8)


# --- the deviance itself --------------------------------------------------------------------------


@dataclass(frozen=True)
class Dense:
    """A model and its deviance by the textbook, as a function of the parameters that we name."""

    model: Any
    problem: naive.Problem
    columns: tuple[tuple[str, ...], ...]
    groups: tuple[str, ...]

    def deviance(self, values: dict[str, float]) -> float:
        problem = self.problem
        w = np.ones(len(problem.y)) if problem.weights is None else problem.weights
        V = np.diag(values["sigma"] ** 2 / w)
        for term, columns, group in zip(problem.terms, self.columns, self.groups, strict=True):
            sd = [values[f"sd_{c}|{group}"] for c in columns]
            covariance = np.diag(np.square(sd))
            if len(sd) == 2:
                cor = values[f"cor_{columns[1]}.{columns[0]}|{group}"]
                covariance[0, 1] = covariance[1, 0] = cor * sd[0] * sd[1]
            V += (term.z @ covariance @ term.z.T) * (term.codes[:, None] == term.codes)
        beta = [values[name] for name in self.model.term_names]
        residual = problem.y - problem.X @ beta
        if problem.offset is not None:
            residual = residual - problem.offset
        solved = np.linalg.solve(V, residual)
        n = len(residual)
        return float(np.linalg.slogdet(V)[1] + residual @ solved + n * np.log(2.0 * np.pi))


@cache
def designs() -> list[Dense]:
    return list(_designs())


def _designs() -> Iterator[Dense]:
    rng = np.random.default_rng(3)
    n = 60
    a, b = np.repeat(np.arange(10), 6), np.tile(np.arange(6), 10)
    inner = np.repeat(np.arange(20), 3)
    x = rng.normal(size=n)
    weights, offset = rng.uniform(0.5, 2.0, n), rng.normal(size=n)
    y = 3.0 + x + rng.normal(size=10)[a] + 0.7 * rng.normal(size=10)[a] * x
    y = y + rng.normal(size=6)[b] + rng.normal(size=20)[inner] + rng.normal(size=n)
    text = [codes.astype(str) for codes in (a, b, inner)]
    frame = pd.DataFrame(dict(zip("abc", text, strict=True)) | {"x": x, "y": y})
    one, both = np.ones((n, 1)), np.column_stack([np.ones(n), x])
    slope = naive.Term(a, 10, both)
    for formula, terms, columns, groups, options in (
        ("y ~ x + (x | a)", (slope,), (("Intercept", "x"),), ("a",), {}),
        (
            "y ~ x + (x | a) + (1 | b)",
            (slope, naive.Term(b, 6, one)),
            (("Intercept", "x"), ("Intercept",)),
            ("a", "b"),
            {"weights": weights, "offset": offset},
        ),
        (
            "y ~ x + (1 | a) + (1 | c)",
            (naive.Term(a, 10, one), naive.Term(inner, 20, one)),
            (("Intercept",), ("Intercept",)),
            ("a", "c"),
            {"weights": weights},
        ),
        (
            "y ~ x + (1 | a) + (0 + x | a)",
            (naive.Term(a, 10, one), naive.Term(a, 10, x[:, None])),
            (("Intercept",), ("x",)),
            ("a", "a"),
            {"offset": offset},
        ),
    ):
        model = mm.lmer(formula, frame, reml=False, **options)
        yield Dense(model, naive.Problem(both, y, terms, **options), columns, groups)


@pytest.mark.parametrize("which", range(4), ids=["one", "crossed", "nested", "two terms"])
def test_every_point_is_a_conditional_optimum_of_the_dense_deviance(which: int) -> None:
    dense = designs()[which]
    table = mm.profile(dense.model, zeta_max=2.5, points=3).frame()
    least = dense.model.deviance
    parameters = [c for c in table.columns if c not in ("parameter", "value", "zeta", "density")]
    for row in table.to_dict("records"):
        values = {name: row[name] for name in parameters}
        assert values[row["parameter"]] == pytest.approx(row["value"], rel=1e-9, abs=1e-12)
        assert dense.deviance(values) == pytest.approx(least + row["zeta"] ** 2, abs=1e-7)
        for name in parameters:
            step = 1e-4 * max(abs(values[name]), 0.1)
            inside = not name.startswith("cor_") or abs(values[name]) < 0.999
            if name == row["parameter"] or values[name] < 1e-3 or not inside:
                continue
            up, down = (
                dense.deviance(values | {name: values[name] + side * step}) for side in (1, -1)
            )
            # slope per relative change: the search ends where a step would gain 1e-11
            assert abs(up - down) / 2e-4 < 2e-4


@pytest.mark.parametrize("which", range(4), ids=["one", "crossed", "nested", "two terms"])
def test_fixed_effect_limits_are_those_of_fits_with_an_offset(which: int) -> None:
    dense = designs()[which]
    low, high = limits(dense.model)["x"]
    formula = dense.model.formula.replace("~ x +", "~ 1 +")
    x, base = dense.problem.X[:, 1], dense.problem.offset
    frame = dense.model.source.data
    for c in (low, high):
        offset = c * x + (0.0 if base is None else base)
        other = mm.lmer(formula, frame, reml=False, offset=offset, weights=dense.problem.weights)
        assert other.deviance == pytest.approx(dense.model.deviance + Z**2, abs=1e-6)


def test_a_variance_that_is_zero_at_the_optimum_may_not_stay_there() -> None:
    """Dyestuff2: away from the mean, the best variance between batches is not zero.

    A search that keeps it there puts the limits of the mean at 4.31535 and 7.01585.
    """
    frame = data.load("Dyestuff2")
    y = frame["Yield"].to_numpy()
    batch = frame["Batch"].cat.codes.to_numpy()
    term = naive.Term(batch, 6, np.ones((30, 1)))

    def best(mean: float) -> float:
        problem = naive.Problem(np.empty((30, 0)), y - mean, (term,))
        found = optimize.minimize_scalar(
            lambda theta: naive.criterion(problem, [theta], reml=False),
            bounds=(0.0, 1.0),
            method="bounded",
            options={"xatol": 1e-9},
        )
        return float(found.fun)

    model = fits.reference_fit("dyestuff2_ml").model
    for limit in limits(model)["Intercept"]:
        assert best(limit) == pytest.approx(model.deviance + Z**2, abs=1e-7)


# --- invariance -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "scale"), [(2000.0, 1.0), (0.0, 1000.0), (-3.0, 1e-3)])
def test_position_and_unit_of_a_covariate_do_not_matter(shift: float, scale: float) -> None:
    frame = data.load("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    moved = frame.assign(Days=shift + scale * frame["Days"])
    ours, theirs = limits(mm.lmer(formula, frame)), limits(mm.lmer(formula, moved))
    for name, factor in (("sd_Days|Subject", scale), ("Days", scale), ("sigma", 1.0)):
        assert_allclose(np.multiply(theirs[name], factor), ours[name], rtol=1e-8)
    if shift == 0.0:
        for name in ("sd_Intercept|Subject", "cor_Days.Intercept|Subject", "Intercept"):
            assert_allclose(theirs[name], ours[name], rtol=1e-8)


def test_the_intercept_is_that_of_the_shifted_covariate() -> None:
    """sd and limits of the intercept at Days = 4.5 by two routes."""
    frame = data.load("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    centred = limits(mm.lmer(formula, frame.assign(Days=frame["Days"] - 4.5)))
    # the same model by the values at Days = 0 and Days = 4.5
    middle = frame["Days"] / 4.5
    other = frame.assign(start=1.0 - middle, middle=middle)
    split = limits(mm.lmer("Reaction ~ 0 + middle + start + (0 + middle + start | Subject)", other))
    assert_allclose(split["middle"], centred["Intercept"], rtol=1e-8)
    assert_allclose(split["sd_middle|Subject"], centred["sd_Intercept|Subject"], rtol=1e-8)


def test_a_correlation_that_rounding_hides_has_no_limits() -> None:
    frame = data.load("sleepstudy")
    frame["Days"] += 1e8
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ScaleWarning)
        ours = limits(mm.lmer("Reaction ~ Days + (Days | Subject)", frame))
    assert np.isnan(ours["cor_Days.Intercept|Subject"]).all()
    assert ours["sd_Days|Subject"] == pytest.approx((3.801177284, 8.753391989), rel=1e-7)


# --- boundaries -----------------------------------------------------------------------------------


def test_boundaries() -> None:
    nothing = limits(fits.reference_fit("dyestuff2_ml").model)
    assert nothing["sd_Intercept|Batch"][0] == 0.0
    # without variance of the slope, any correlation fits about as well
    assert limits(fits.reference_fit("orthodont_reml").model)["cor_age.Intercept|Subject"] == (
        -1.0,
        1.0,
    )
    perfect = limits(fits.reference_fit("cake_sing_reml").model)
    assert perfect["cor_temp.Intercept|replicate"][1] == 1.0
    assert all(low < high for low, high in perfect.values())


def test_no_variance_between_groups_at_all() -> None:
    """Groups with one mean: lme4's spline ends at 0.2217, the dense deviance at 0.22115."""
    frame = base()
    frame["y"] += 1.0 - frame.groupby("g")["y"].transform("mean")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SingularFitWarning)
        model = mm.lmer("y ~ x + (1 | g)", frame, reml=False)
    low, high = limits(model)["sd_Intercept|g"]
    assert low == 0.0
    X = np.column_stack([np.ones(96), frame["x"]])
    term = naive.Term(frame["g"].astype("category").cat.codes.to_numpy(), 12, np.ones((96, 1)))

    def deviance(sigma: float) -> float:
        problem = naive.Problem(X, frame["y"].to_numpy(), (term,))
        at = naive.Solution(problem, np.array([high / sigma]), reml=False)
        n = len(X)
        value = np.linalg.slogdet(at.V)[1] + n * np.log(2.0 * np.pi * sigma**2)
        return float(value + at.r2 / sigma**2)

    found = optimize.minimize_scalar(deviance, bounds=(0.5, 1.5), method="bounded")
    assert found.fun == pytest.approx(model.deviance + Z**2, abs=1e-7)


def test_undefined_correlation() -> None:
    rng = np.random.default_rng(8)
    group = np.repeat(np.arange(20), 6)
    x = np.tile(np.arange(6.0), 20)
    y = x + rng.normal(size=20)[group] + rng.normal(size=120)
    y -= np.concatenate([_slopes(x[group == k], y[group == k]) for k in range(20)])
    frame = pd.DataFrame({"y": y, "x": x, "g": group.astype(str)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        model = mm.lmer("y ~ x + (x | g)", frame, reml=False)
    profile = profile_of(model, points=3)
    ours = profile.confint()
    row = ours.set_index("term").loc["cor_x.Intercept|g"]
    assert (row["conf_low"], row["conf_high"]) == (-1.0, 1.0)
    assert not ours[["conf_low", "conf_high"]].isna().any().any()


def _slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What a line through one group's points rises by, about the common slope one."""
    centred = x - x.mean()
    return (centred @ y / (centred @ centred) - 1.0) * centred


def test_plateau_of_a_correlation_shows_in_the_frame() -> None:
    model = fits.reference_fit("orthodont_reml").model
    profile = profile_of(model, "cor_age.Intercept|Subject")
    table = profile.frame()
    assert table["value"].iloc[[0, -1]].tolist() == pytest.approx([-1.0, 1.0])
    assert (np.abs(table["zeta"]) < Z).all()
    assert (np.diff(table["zeta"]) >= -1e-9).all()


# --- the result -----------------------------------------------------------------------------------


def test_frame() -> None:
    frame = pl.from_pandas(data.load("sleepstudy"))
    model = mm.lmer("Reaction ~ Days + (Days | Subject)", frame, reml=False)
    profile = mm.profile(model)
    table = profile.frame()
    assert isinstance(table, pl.DataFrame)
    assert isinstance(profile.confint(), pl.DataFrame)
    assert table.columns == ["parameter", "value", "zeta", "density", *profile.names]
    for name in profile.names:
        own = table.filter(pl.col("parameter") == name)
        value, zeta, density = (own[c].to_numpy() for c in ("value", "zeta", "density"))
        assert len(own) == 21
        assert (np.diff(value) > 0).all()
        assert (np.diff(zeta) > 0).all()
        assert zeta[10] == 0.0
        assert abs(zeta[[0, -1]]).min() > 2.8
        assert_allclose(own[name].to_numpy(), value, rtol=1e-9)
        # slope of zeta by Simpson's rule over three points, one of them the estimate
        slope = density * np.sqrt(2.0 * np.pi) * np.exp(0.5 * zeta**2)
        rise = np.diff(zeta) / np.diff(value)
        assert_allclose(rise, 0.5 * (slope[1:] + slope[:-1]), rtol=5e-3)
    assert repr(profile).count(" 21\n") + repr(profile).endswith(" 21") == 6


def test_levels_and_choice_of_parameters() -> None:
    model = fits.reference_fit("sleep_rs_reml").model
    profile = mm.profile(model, ["Days", "sigma"], points=2)
    assert profile.names == ["sigma", "Days"]
    narrow, wide = profile.confint(0.5), profile.confint(0.99)
    assert (wide["conf_low"] < narrow["conf_low"]).all()
    assert (narrow["conf_high"] < wide["conf_high"]).all()
    again = mm.confint(model, "profile", parm=["Days", "sigma"], level=0.99)
    pd.testing.assert_frame_equal(wide, again, rtol=1e-8)
    assert mm.profile(model, "beta_", points=1).names == ["Intercept", "Days"]
    assert mm.profile(model, "theta_", points=1).names[-1] == "sigma"


def test_linear_model_has_its_closed_form() -> None:
    frame = mm.datasets.load("piglets")
    model = mm.lm("BW ~ time", frame)
    table = mm.confint(model, "profile").set_index("term")
    n, rss = model.n_obs, model.sigma**2 * model.df_resid
    reach = np.sqrt(np.diag(model.vcov) / model.sigma**2 * rss * np.expm1(Z**2 / n))
    assert_allclose(table["conf_low"][1:], model.beta - reach, rtol=1e-9)
    assert_allclose(table["conf_high"][1:], model.beta + reach, rtol=1e-9)
    best = np.sqrt(rss / n)
    assert table.loc["sigma", "estimate"] == pytest.approx(best)
    for side in ("conf_low", "conf_high"):
        sigma = table.loc["sigma", side]
        rise = 2.0 * n * np.log(sigma / best) + rss / sigma**2 - n
        assert rise == pytest.approx(Z**2, abs=1e-7)


def test_columns_called_like_ours_keep_their_place() -> None:
    frame = data.load("sleepstudy").rename(columns={"Days": "value"})
    frame["sigma"] = np.random.default_rng(0).normal(size=len(frame))
    model = mm.lmer("Reaction ~ value + sigma + (1 | Subject)", frame, reml=False)
    table = mm.profile(model, points=1).frame()
    assert table.columns[-4:].tolist() == ["sigma", "Intercept", "value_", "sigma_"]
    both = mm.confint(model, "profile", parm="sigma")
    assert both["term"].tolist() == ["sigma", "sigma"]


def test_six_intervals_take_few_evaluations() -> None:
    count = 0
    evaluate = Held.evaluate

    def counted(self: Held, theta: np.ndarray) -> Any:
        nonlocal count
        count += 1
        return evaluate(self, theta)

    with mock.patch.object(Held, "evaluate", counted):
        mm.confint(fits.reference_fit("sleep_rs_ml").model, "profile")
    assert count < 180


def test_derivatives_are_those_by_differences() -> None:
    model = fits.reference_fit("machines_vec_ml").model
    profiler, wanted = profiled(model, None)
    rng = np.random.default_rng(1)
    for i in wanted:
        path = profiler.path(i)
        held = replace(path.held, c=path.held.c + 0.05)
        x = path.start + 0.1 * rng.normal(size=len(path.start))
        at, h = held.evaluate(x), 1e-5
        steps = h * np.eye(len(x))
        ups, downs = [held.evaluate(x + s) for s in steps], [held.evaluate(x - s) for s in steps]
        gradient = np.array([u.value - d.value for u, d in zip(ups, downs, strict=True)]) / (2 * h)
        hessian = np.array([u.gradient - d.gradient for u, d in zip(ups, downs, strict=True)])
        assert_allclose(at.gradient, gradient, atol=1e-6 * np.abs(gradient).max())
        ours = held.hessian(at)
        assert_allclose(ours, hessian / (2 * h), atol=1e-6 * np.abs(ours).max())


def test_another_optimum_is_reported() -> None:
    model = fits.reference_fit("sleep_rs_ml").model
    worse = at_theta(model, model.theta * 1.5)
    with pytest.warns(ConvergenceWarning, match="there is another, better optimum"):
        mm.profile(worse, "Days", zeta_max=0.1, points=1)


def test_without_a_maximum_the_limit_is_missing() -> None:
    """Two rows more than levels, and columns that fit both: sigma may go to zero."""
    rng = np.random.default_rng(2)
    group = np.concatenate([np.arange(20), np.arange(2)])
    data = {"g": group.astype(str)} | {name: rng.normal(size=22) for name in "abcd"}
    data["y"] = rng.normal(size=20)[group] + rng.normal(size=22)
    model = mm.lmer("y ~ a + b + c + d + (1 | g)", data, reml=False)
    with (
        pytest.warns(ConvergenceWarning, match="there is another, better optimum"),
        pytest.warns(ConvergenceWarning, match="likelihood grows without bound as sigma goes"),
    ):
        limits = mm.confint(model, "profile", parm="sigma")
    assert np.isnan(limits["conf_low"][0])
    assert limits["conf_high"][0] > model.sigma


def test_errors() -> None:
    model = fits.reference_fit("sleep_rs_ml").model
    with pytest.raises(
        ModelError, match=r"parm=\['days'\] names no parameter of the model; it has"
    ):
        mm.profile(model, "days")
    with pytest.raises(TypeError, match="must be a fitted model"):
        mm.profile("model")  # type: ignore[arg-type]
    for options in ({"zeta_max": 0.0}, {"zeta_max": np.nan}, {"points": 0}):
        with pytest.raises(ModelError, match="zeta_max and points must be positive"):
            mm.profile(model, **options)  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="level must lie between 0 and 1"):
        mm.profile(model, "Days", points=1).confint(95)
