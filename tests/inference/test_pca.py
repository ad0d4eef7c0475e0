"""Principal components of random effects: rePCA of lme4, singular fits, units, refusals."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from mixedmodels.model.fitted import FittedModel
from tests.reference import data, fits

VALUES = data.figures("pca")


def factors(name: str) -> frozenset[str]:
    """The columns of a grouping factor, which R writes the other way around."""
    return frozenset(name.split(":"))


@pytest.mark.parametrize("name", VALUES)
def test_components_of_lme4(name: str) -> None:
    pca = fits.reference_fit(name).model.pca()
    table, loadings = pca.frame(), pca.loadings()
    expected = {factors(group): values for group, values in VALUES[name].items()}
    assert {factors(group) for group in table["group"]} == set(expected)
    for group, part in table.groupby("group"):
        sd = np.array(expected[factors(group)]["sd"])
        # R's optimisers leave 1e-6 in theta, and 3e-7 where a variance is zero
        assert_allclose(part["sd"], sd, rtol=5e-5, atol=1e-6)
        assert_allclose(part["proportion"], sd**2 / (sd**2).sum(), rtol=5e-4, atol=1e-9)
        assert_allclose(part["cumulative"], np.cumsum(part["proportion"]), rtol=1e-12)
        assert part["component"].tolist() == list(range(1, len(sd) + 1))
        rotation = np.array(expected[factors(group)]["rotation"])  # a component per row
        ours = loadings[loadings["group"] == group]["loading"].to_numpy().reshape(rotation.shape)
        signs = np.sign((ours * rotation).sum(axis=1, keepdims=True))
        assert_allclose(ours * signs, rotation, atol=5e-4)


@cache
def sleep() -> FittedModel:
    return mm.lmer("Reaction ~ Days + (Days | Subject)", data.load("sleepstudy"))


def test_components_make_the_relative_covariance() -> None:
    pca = sleep().pca()
    (group,) = pca.groups
    covariance = group.loadings * group.sd**2 @ group.loadings.T * sleep().sigma ** 2
    frame = sleep().varcorr()
    assert_allclose(np.diag(covariance), frame["variance"][:2], rtol=1e-10)
    correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert correlation == pytest.approx(frame["corr_Intercept"][1], rel=1e-8)
    assert (np.abs(group.loadings).max(axis=0) == group.loadings.max(axis=0)).all()


def test_long_loadings() -> None:
    table = sleep().pca().loadings()
    assert list(table.columns) == ["group", "component", "term", "loading"]
    assert table["component"].tolist() == [1, 1, 2, 2]
    assert table["term"].tolist() == ["Intercept", "Days"] * 2
    # lme4: 0.99986, 0.01664
    assert table["loading"].tolist()[:2] == pytest.approx([0.9998615812, 0.0166378616], abs=1e-6)


def test_directions_that_the_data_support() -> None:
    assert sleep().pca().message.startswith("Subject: both directions have variance, the weaker")
    message = fits.reference_fit("cake_sing_reml").model.pca().message
    assert "recipe:replicate: its one direction has variance" in message
    assert "replicate: 1 of 2 directions has variance: the correlation of Intercept and temp" in (
        message
    )
    dyestuff = fits.reference_fit("dyestuff2_reml").model.pca()
    assert (
        dyestuff.message
        == "Batch: 0 of 1 direction have variance: the variance is zero in (1 | Batch)"
    )
    assert dyestuff.frame()["sd"].tolist() == [0.0]
    assert np.isnan(dyestuff.frame()["proportion"]).all()


def test_the_number_of_directions_does_not_depend_on_units() -> None:
    """The share of the weakest direction neither; standard deviations do."""
    frame = data.load("sleepstudy")
    messages = {sleep().pca().message}
    for scaled in (frame["Days"] * 1e6, frame["Days"] / 1e6 + 2000):
        model = mm.lmer("Reaction ~ Days + (Days | Subject)", frame.assign(Days=scaled))
        messages.add(model.pca().message)
        assert model.pca().groups[0].rank == 2
    assert len(messages) == 1


def test_uncorrelated_terms_stand_together() -> None:
    model = fits.reference_fit("sleep_dbar_reml").model
    (group,) = model.pca().groups
    assert_allclose(group.loadings, np.eye(2), atol=1e-12)
    assert_allclose(group.sd, np.abs(model.theta), rtol=1e-10)


def test_it_prints_a_table_for_every_factor() -> None:
    pca = fits.reference_fit("psyling_vec2_reml").model.pca()
    text = str(pca)
    for part in ("subj", "item", "loading of cond[T.b]", "PC2", "cumulative", "both directions"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80
    assert pca._repr_html_().count("<table") == 2


def test_refusal_and_frames() -> None:
    with pytest.raises(mm.ModelError, match="no random terms"):
        mm.lm("Reaction ~ Days", data.load("sleepstudy")).pca()
    pl = pytest.importorskip("polars")
    model = mm.lmer("Reaction ~ Days + (1 | Subject)", pl.from_pandas(data.load("sleepstudy")))
    assert isinstance(model.pca().frame(), pl.DataFrame)
    assert isinstance(model.pca().loadings(), pl.DataFrame)
    assert isinstance(sleep().pca().frame(), pd.DataFrame)
