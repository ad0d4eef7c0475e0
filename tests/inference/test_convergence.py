"""Fits from dispersed starts: agreement, several optima as R finds them, what is refused."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.inference import convergence
from mixedmodels.inference.joint import join
from mixedmodels.model.fitted import FittedModel
from mixedmodels.optimize import minimise
from tests.reference import data, fits

COLUMNS = ["start", "criterion", "delta", "verdict", "gradient_norm", "evaluations"]


@cache
def sleep() -> FittedModel:
    return mm.lmer("Reaction ~ Days + (Days | Subject)", data.load("sleepstudy"))


def test_all_starts_agree() -> None:
    check = sleep().check_convergence()
    table = check.frame()
    names = ["Subject.Intercept", "Subject.Days.Intercept", "Subject.Days"]
    assert list(table.columns) == [*COLUMNS, *names]
    four = ["fit", "moments", "identity", "near zero"]
    assert table["start"].tolist() == four + [f"random {k}" for k in range(1, 9)]
    assert check.agree
    assert check.message == "all 12 starts reach the criterion 1743.6283"
    assert table["delta"].abs().max() < 1e-9
    assert set(table["verdict"]) == {"optimum"}
    assert table["gradient_norm"].max() < 1e-4
    # lme4's theta, polished by a Newton step
    expected = data.figures("models")["sleep_rs_reml"]["theta"]
    np.testing.assert_allclose(table[names], np.tile(expected, (12, 1)), atol=1e-6)
    assert table["evaluations"].min() >= 1
    assert check.best.start == "fit"


MODELS = ["sleep_dbar_reml", "penicillin_ml", "pastes_nested_reml", "cake_sing_reml",
          "oats_sing_ml", "dyestuff2_reml", "machines_vec_ml"]  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models_of_the_references_have_one_optimum(name: str) -> None:
    check = mm.check_convergence(fits.reference_fit(name).model, 3)
    assert check.agree, check.message


def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "mixedmodels.inference.convergence.descents", lambda fit, starts: [None] * len(starts)
    )


@pytest.mark.parametrize("name", MODELS)
def test_side_by_side_is_one_at_a_time(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fits.reference_fit(name).model
    ends = convergence.descents(model, [model.optimum.at.theta])
    # batches take them all
    assert ends[0] is not None
    together = mm.check_convergence(model, 4).restarts
    one_at_a_time(monkeypatch)
    alone = mm.check_convergence(model, 4).restarts
    for ours, theirs in zip(together, alone, strict=True):
        assert (ours.start, ours.verdict) == (theirs.start, theirs.verdict)
        assert ours.criterion == pytest.approx(theirs.criterion, abs=1e-7)
        np.testing.assert_allclose(ours.theta, theirs.theta, rtol=1e-3, atol=1e-4)


def test_its_own_response_is_that_of_the_batch() -> None:
    for name in MODELS:
        fit = fits.reference_fit(name).model
        joint = join([fit])
        theta = fit.optimum.at.theta + 0.1
        batch = joint.design(fit).evaluate(theta[None], joint.response(fit))
        one = fit.objective.evaluate(theta)
        assert batch.value[0] == pytest.approx(one.value, abs=1e-8)
        np.testing.assert_allclose(batch.gradient[0], one.gradient, rtol=1e-6, atol=1e-7)


def test_the_seed_decides() -> None:
    thetas = [
        [r.evaluations for r in sleep().check_convergence(4, seed=seed).restarts]
        for seed in (1, 1, 2)
    ]
    assert thetas[0] == thetas[1] != thetas[2]
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is not to change
    sleep().check_convergence(1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


# --- several optima -------------------------------------------------------------------------------

# lme4 1.1-31 ends at 44.39974 from theta = 1 and at 48.63159 from other starts
TWO_OPTIMA = pd.DataFrame(
    {
        "y": [-1.8708840607341408, -1.859578095702685, 0.7080343911962601, -1.4915741110368674,
              -0.9215857397769258, 1.0761418786393124, -0.2731225918442667, -0.8733572707113888,
              0.12093343449753713, -1.6366087698016667, 1.774771198842905, -1.8271757282542118,
              0.7633414286792958, 1.6522747627876375, 0.32690812476149134],
        "x": [0.5470962389119823, -0.19681896112356057, 2.355236244710327, -0.5703594825605054,
              0.4098735762112268, 0.17648560694333473, -0.7478468667567405, -1.9190790426526498,
              -1.9119131982389115, -0.8054375519462881, 0.6725727237316561, -0.44281245917867923,
              0.4311101052880874, -0.12537928633789877, -0.3211290990238673],
        "a": list("000141040320340"),
        "b": list("423553325052403"),
    }
)  # fmt: skip
LOW, HIGH = 44.39974, 48.63159


@cache
def two_optima() -> tuple[FittedModel, FittedModel]:
    """Fits at the higher and at the lower optimum."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.SingularFitWarning)
        model = mm.lmer("y ~ x + (x | a) + (1 | b)", TWO_OPTIMA, start=[0.26, 0.4, 0, 0])
        return model, model.update(start=[0.74, 5.7, 0, 3.8])


def test_a_lower_optimum_is_found_and_reached() -> None:
    higher, lower = two_optima()
    assert higher.criterion == pytest.approx(HIGH, abs=1e-5)
    check = higher.check_convergence()
    assert not check.agree
    assert "the fit is not at the lowest optimum: from '" in check.message
    assert (
        "lower by 4.2319. Fit again from there: m.update(start=check.best.theta)" in check.message
    )
    assert check.best.criterion == pytest.approx(LOW, abs=1e-5)
    with pytest.warns(mm.SingularFitWarning):
        again = higher.update(start=check.best.theta)
    assert again.criterion == pytest.approx(lower.criterion, abs=1e-8)
    table = check.frame()
    assert table["delta"].min() == 0.0
    assert table["delta"].iloc[0] == pytest.approx(HIGH - LOW, abs=2e-5)


def test_higher_optima_are_counted() -> None:
    check = two_optima()[1].check_convergence()
    higher = sum(r.criterion > LOW + 1 for r in check.restarts)
    assert 0 < higher < 12
    assert not check.agree
    assert check.best.start == "fit"
    assert check.message == (
        "the fit is at the lowest criterion found, 44.3997, but of 12 starts "
        f"{higher} ended at another boundary optimum, higher by 4.2319"
    )


def test_searches_that_break_down_or_stop_are_named(monkeypatch) -> None:
    def hopeless(objective, start):
        if start[0] == 0.01:
            raise np.linalg.LinAlgError
        found = minimise(objective, start)
        at = objective.evaluate(start) if start[1] == 0 and start[0] == 1 else found.at
        return replace(found, at=at, verdict=found.verdict if at is found.at else "not converged")

    monkeypatch.setattr("mixedmodels.inference.convergence.minimise", hopeless)
    one_at_a_time(monkeypatch)
    check = sleep().check_convergence(0)
    assert [r.verdict for r in check.restarts] == ["optimum", "optimum", "not converged", "failed"]
    assert not check.agree
    assert check.message.endswith("but of 4 starts 1 did not converge, 1 broke down")
    assert np.isnan(check.frame()["criterion"].iloc[3])
    assert "nan" in str(check)


def test_theta_that_the_data_do_not_identify() -> None:
    with pytest.warns(mm.MixedModelsWarning):
        model = mm.lmer("score ~ Machine + (1 | Worker) + (0 + Machine | Worker)",
                        data.load("Machines"))  # fmt: skip
    check = model.check_convergence(2)
    assert check.agree
    assert "do not identify" in check.message


# --- shown and refused ----------------------------------------------------------------------------


def test_it_prints_criterion_theta_and_verdict() -> None:
    check = sleep().check_convergence(2)
    text = str(check)
    assert text.startswith("Fits from 6 starts")
    for part in ("near zero  optimum", "Subject.Days.Intercept  0.0152", check.message):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80
    assert "<table" in check._repr_html_()


def test_names_of_repeated_columns_are_numbered() -> None:
    with pytest.warns(mm.MixedModelsWarning):
        model = mm.lmer("score ~ 1 + (1 | Worker) + (Machine | Worker)", data.load("Machines"))
    names = model.check_convergence(0).names
    assert len(set(names)) == len(names) == 7
    assert names[:2] == ("Worker.Intercept", "Worker.Intercept.1")


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match=r"m must be a fitted model .*, not 3"):
        mm.check_convergence(3)
    with pytest.raises(mm.ModelError, match="no random terms: least squares has one solution"):
        mm.lm("Reaction ~ Days", data.load("sleepstudy")).check_convergence()
    for wrong in (-1, 2.5, True):
        with pytest.raises(mm.ModelError, match="n_starts must be a whole number"):
            sleep().check_convergence(wrong)
    with pytest.raises(mm.ModelError, match="seed"):
        sleep().check_convergence(1, seed="x")


def test_without_rows_and_in_polars(tmp_path) -> None:
    pl = pytest.importorskip("polars")
    model = mm.lmer("Reaction ~ Days + (1 | Subject)", pl.from_pandas(data.load("sleepstudy")))
    mm.save(model, tmp_path / "m")
    table = mm.load(tmp_path / "m").check_convergence(1).frame()
    assert isinstance(table, pl.DataFrame)
    assert table["delta"].abs().max() < 1e-9
