"""m.bootstrap and mm.pbmodcomp: against theory, R's figures, and themselves."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

import mixedmodels as mm
from mixedmodels.inference import replicates
from mixedmodels.quantiles import chi2_probability
from tests.reference.data import load


@pytest.fixture(scope="module")
def piglets():
    return mm.datasets.load("piglets")


@pytest.fixture(scope="module")
def model(piglets):
    return mm.lmer("BW ~ time + I(time^2) + (time | animal)", piglets)


# --- bootstrap ------------------------------------------------------------------------------------


def test_standard_errors_agree_with_theory(model):
    found = model.bootstrap(2000, seed=1)
    assert found.n_failed == 0
    p = len(model.beta)
    sd = found.replicates[:, :p].std(axis=0, ddof=1)
    # 2000 replicates tell a standard deviation to 1.6 percent
    np.testing.assert_allclose(sd, np.sqrt(np.diag(model.vcov)), rtol=0.06)
    np.testing.assert_allclose(found.replicates[:, :p].mean(0), model.beta, atol=4 * sd.max() / 44)


def test_residual_variance_of_a_linear_model_is_chi_squared(piglets):
    m = mm.lm("BW ~ time", piglets)
    found = m.bootstrap(4000, seed=2)
    ratio = (found.replicates[:, -1] / m.sigma) ** 2 * m.df_resid
    assert stats.kstest(ratio, stats.chi2(m.df_resid).cdf).pvalue > 1e-3


def test_bca_of_a_residual_deviation_is_the_exact_interval(piglets):
    """With few degrees of freedom percentile limits are too low; BCa mends it to second order."""
    m = mm.lm("BW ~ time", piglets.iloc[:14])
    found = m.bootstrap(20_000, seed=3)
    exact = m.sigma * np.sqrt(m.df_resid / stats.chi2(m.df_resid).ppf([0.975, 0.025]))
    error = {}
    for kind in ("percentile", "basic", "bca"):
        last = found.confint(kind).iloc[-1]
        error[kind] = np.abs([last["conf_low"], last["conf_high"]] - exact).max() / m.sigma
    assert error["bca"] < 0.04 < error["percentile"]
    assert error["bca"] < error["basic"]


def test_intervals_are_quantiles_their_reflection_and_reproducible(model):
    found = model.bootstrap(999, seed=4)
    # with 999 replicates the limits are the 25th and the 975th
    ordered = np.sort(found.replicates, axis=0)
    percentile, basic = found.confint(), found.confint("basic")
    np.testing.assert_allclose(percentile["conf_low"], ordered[24])
    np.testing.assert_allclose(percentile["conf_high"], ordered[974])
    np.testing.assert_allclose(basic["conf_low"], 2 * found.estimate - ordered[974])
    again = model.bootstrap(999, seed=4)
    np.testing.assert_array_equal(np.asarray(found), np.asarray(again))
    wider = found.confint(level=0.99)
    assert (wider["conf_high"] >= percentile["conf_high"]).all()


def test_a_statistic_of_the_model(model):
    def share(m):
        variances = m.varcorr()["variance"]
        return {"share": variances[0] / variances.sum(), "sigma": m.sigma}

    found = model.bootstrap(60, share, seed=5)
    assert found.names == ("share", "sigma")
    assert found.replicates.shape == (60, 2)
    assert found.n_failed == 0
    assert found.confint("bca")["conf_low"].notna().all()
    # the statistic sees the same responses, row by row, as the default one does
    assert found.replicates[:, 1].mean() == pytest.approx(model.sigma, rel=0.05)
    alone = model.bootstrap(60, share, seed=5, n_jobs=2)
    np.testing.assert_array_equal(found.replicates, alone.replicates)


@pytest.mark.parametrize(
    ("statistic", "names"),
    [
        (lambda m: m.sigma, ("statistic",)),
        (lambda m: m.beta, ("1", "2", "3")),
        (lambda m: pd.Series([1.0, 2.0], ["a", "b"]), ("a", "b")),
    ],
)
def test_what_a_statistic_may_return(model, statistic, names):
    assert model.bootstrap(3, statistic, seed=1).names == names


def test_failures_are_counted_and_said(model, monkeypatch):
    real = replicates.refit_quietly
    calls = []

    def sometimes(fit, y):
        calls.append(1)
        return None if len(calls) % 4 == 0 else real(fit, y)

    monkeypatch.setattr("mixedmodels.inference.bootstrap.refit_quietly", sometimes)
    with pytest.warns(mm.ConvergenceWarning, match="5 of 20 bootstrap replicates failed"):
        found = model.bootstrap(20, lambda m: m.sigma, seed=1)
    assert found.n_failed == 5
    assert np.isnan(found.replicates).sum() == 5
    assert "5 of them failed" in str(found)
    assert found.confint("bca")["conf_low"].notna().all()


def test_failures_in_a_batch_are_settled_alone(model, monkeypatch):
    """Responses that the batch leaves open are fitted by the general minimiser."""
    expected = model.bootstrap(100, seed=6)
    from mixedmodels import optimize_batch

    real = optimize_batch._certified
    monkeypatch.setattr(optimize_batch, "_certified", lambda search: real(search) & False)
    found = model.bootstrap(100, seed=6)
    assert found.n_failed == 0
    np.testing.assert_allclose(found.replicates, expected.replicates, rtol=1e-5, atol=1e-7)


def test_a_singular_model(piglets):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        m = mm.lmer("BW ~ time + I(time^2) + (time + I(time^2) | animal)", piglets)
    found = m.bootstrap(200, seed=1)
    assert found.n_failed == 0


def test_singular_replicates_are_counted():
    """Balanced groups: the variance is zero where F <= 1, so their share is known."""
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(8), 5)
    m = mm.lmer("y ~ 1 + (1 | g)", {"y": rng.normal(size=8)[g] + 2.0 * rng.normal(size=40), "g": g})
    share = stats.f.cdf(1.0 / (1.0 + 5.0 * m.theta[0] ** 2), 7, 32)
    assert 0.02 < share < 0.4
    found = m.bootstrap(4000, seed=1)
    # four standard errors
    assert found.n_singular / 4000 == pytest.approx(share, abs=4 * np.sqrt(share / 4000))
    np.testing.assert_array_equal(found.singular, found.replicates[:, 1] == 0.0)
    assert f"4000 replicates, {found.n_singular} of them singular" in str(found)
    alone = m.bootstrap(150, lambda fit: fit.theta[0], seed=1)
    np.testing.assert_array_equal(alone.singular, alone.replicates[:, 0] == 0.0)
    assert 0 < alone.n_singular < 75
    crossed = mm.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", load("Penicillin"))
    assert crossed.bootstrap(20, seed=1).title() == "Parametric bootstrap, 20 replicates"


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_frames_are_the_users(piglets, kind):
    data = piglets if kind is pd.DataFrame else pl.from_pandas(piglets)
    found = mm.lmer("BW ~ time + (1 | animal)", data).bootstrap(20, seed=1)
    assert isinstance(found.frame(), kind)
    assert list(found.frame().columns) == [
        "replicate",
        "Intercept",
        "time",
        "sd_Intercept|animal",
        "sigma",
    ]
    assert list(found.tidy().columns) == ["term", "estimate", "bias", "std_error", "n"]
    assert isinstance(found.confint(), kind)
    assert "<table" in found._repr_html_()
    assert "Parametric bootstrap, 20 replicates" in repr(found)


def test_crossed_and_nested_designs_are_fitted_in_turn():
    m = mm.lmer("diameter ~ 1 + (1 | plate) + (1 | sample)", load("Penicillin"))
    found = m.bootstrap(60, seed=1)
    assert found.n_failed == 0
    assert found.names == ("Intercept", "sd_Intercept|plate", "sd_Intercept|sample", "sigma")
    assert found.replicates[:, 3].mean() == pytest.approx(m.sigma, rel=0.05)


@pytest.mark.parametrize("n_sim", [0, -1, 2.5, "many", True])
def test_counts_that_are_none(model, n_sim):
    with pytest.raises(mm.ModelError, match="n_sim must be a whole number"):
        model.bootstrap(n_sim)


def test_other_bad_requests(model):
    with pytest.raises(mm.ModelError, match="seed must be a whole number, a Generator"):
        model.bootstrap(5, seed="x")
    with pytest.raises(mm.ModelError, match="statistic must return a number"):
        model.bootstrap(5, lambda m: "nothing")
    with pytest.raises(mm.ModelError, match="kind must be 'percentile', 'basic' or 'bca'"):
        model.bootstrap(5, seed=1).confint("student")


def test_a_bug_in_a_statistic_is_the_users_to_see(model):
    with pytest.raises(ZeroDivisionError):
        model.bootstrap(5, lambda m: 1 / 0)


def test_no_global_state_is_touched(model):
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    model.bootstrap(10, seed=1)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


# --- likelihood-ratio tests -----------------------------------------------------------------------

# pbkrtest 0.5.2, PBmodcomp(nsim = 2000): LRT, p of the chi-squared, p of the bootstrap, mean of
# the reference distribution (lme4 1.1-31, R 4.2.2)
PBKRTEST = {
    "sleepstudy": (
        "Reaction ~ Days + I(Days^2) + (1 | Subject)",
        "Reaction ~ Days + (1 | Subject)",
        1.1348945725053454,
        1,
        0.2867337206272831,
        0.2908545727136432,
        1.002964531119114,
    ),
    "Oats": (
        "yield ~ nitro * Variety + (1 | Block/Variety)",
        "yield ~ nitro + Variety + (1 | Block/Variety)",
        1.0461150417168028,
        2,
        0.5927055650167906,
        0.6061969015492253,
        2.152668329787245,
    ),
}


@pytest.mark.parametrize("name", PBKRTEST)
def test_pbkrtest(name):
    large, small, statistic, df, p_chi, p_boot, mean = PBKRTEST[name]
    data = load(name)
    fits = [mm.lmer(f, data, reml=False) for f in (large, small)]
    n_sim = 2000 if name == "sleepstudy" else 400
    table = mm.pbmodcomp(*fits, n_sim=n_sim, seed=1).set_index("test")
    assert table.loc["LRT", "statistic"] == pytest.approx(statistic, abs=1e-6)
    assert table.loc["LRT", "df"] == df
    assert table.loc["LRT", "p_value"] == pytest.approx(p_chi, abs=1e-6)
    # Monte Carlo errors of both programs, three standard errors
    error = 3 * np.sqrt(p_boot * (1 - p_boot) * (1 / n_sim + 1 / 2000))
    assert table.loc["PBtest", "p_value"] == pytest.approx(p_boot, abs=error)
    ref = mm.pb_refdist(*fits, n_sim, seed=1)
    assert ref.mean() == pytest.approx(mean, abs=4 * ref.std() * np.sqrt(1 / n_sim + 1 / 2000))
    # the corrected versions from their definitions
    count, observed = len(ref), table.loc["LRT", "statistic"]
    assert table.loc["PBtest", "p_value"] == (1 + (ref >= observed).sum()) / (1 + count)
    bartlett = chi2_probability(observed * df / ref.mean(), df)
    assert table.loc["Bartlett", "p_value"] == pytest.approx(float(bartlett))
    gamma = stats.gamma(ref.mean() ** 2 / ref.var(ddof=1), scale=ref.var(ddof=1) / ref.mean())
    assert table.loc["Gamma", "p_value"] == pytest.approx(gamma.sf(observed))
    assert mm.pbmodcomp(*fits, ref=ref).equals(table.reset_index())


def test_the_article_s_test(piglets):
    """Printed there, from 500 replicates on a cluster: LRT 0.1345, df 4, p 0.9977."""
    large = mm.lmer("BW ~ time + I(time^2) + treatm + (time | animal)", piglets)
    small = mm.lmer("BW ~ time + I(time^2) + (time | animal)", piglets)
    table = mm.pbmodcomp(large, small, n_sim=500, seed=1)
    assert 0.97 < table["p_value"][1] <= 1.0


def test_p_values_are_uniform_under_the_null():
    """A small unbalanced design, where the chi-squared p-value rejects too often."""
    rng = np.random.default_rng(8)
    group = np.repeat(np.arange(7), [3, 4, 5, 3, 4, 5, 4])
    x = np.repeat([0, 0, 0, 0, 1, 1, 1], [3, 4, 5, 3, 4, 5, 4])
    data = pd.DataFrame({"g": group.astype(str), "x": x, "y": rng.standard_normal(len(x))})
    large = mm.lmer("y ~ x + (1 | g)", data, reml=False)
    small = mm.lmer("y ~ 1 + (1 | g)", data, reml=False)
    truth = mm.lmer("y ~ 1 + (1 | g)", data.assign(y=data["y"] + group % 3), reml=False)
    p_boot, p_chi = [], []
    for i, y in enumerate(truth.simulate(200, seed=9)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pair = large.refit(y), small.refit(y)
        table = mm.pbmodcomp(*pair, n_sim=99, seed=i)
        p_chi.append(table["p_value"][0])
        p_boot.append(table["p_value"][1])
    assert stats.kstest(p_boot, "uniform").pvalue > 1e-3
    rejected = np.mean(np.array(p_boot) <= 0.05)
    # three standard errors of a share of 0.05 of 200
    assert rejected < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert np.mean(np.array(p_chi) <= 0.05) > rejected


def test_a_variance_on_the_boundary(piglets):
    """Half of the simulated statistics are nearly zero; chi-squared p-values are too large."""
    data = piglets.sample(frac=1.0, random_state=1).assign(animal=piglets["animal"].to_numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        large = mm.lmer("BW ~ 1 + (1 | animal)", data, reml=False)
    small = mm.lm("BW ~ 1", data)
    ref = mm.pb_refdist(large, small, 2000, seed=1)
    # Crainiceanu and Ruppert (2004): somewhat more than half
    assert 0.5 < (ref < 1e-8).mean() < 0.68
    # the rest is close to a chi-squared of one degree of freedom
    assert np.quantile(ref, 0.95) == pytest.approx(stats.chi2(1).ppf(0.9), abs=0.5)


def test_models_that_cannot_be_compared(piglets, model):
    other = model.update(". ~ . - I(time^2)")
    with pytest.raises(mm.ModelError, match="the larger model comes first"):
        mm.pbmodcomp(other, model, 10)
    with pytest.raises(mm.ModelError, match="not nested"):
        mm.pbmodcomp(model, mm.lmer("BW ~ log(time + 1) + (1 | animal)", piglets), 10)
    with pytest.raises(mm.ModelError, match="different rows"):
        mm.pbmodcomp(model, mm.lmer("BW ~ time + (1 | animal)", piglets.iloc[:200]), 10)
    with pytest.raises(TypeError):
        mm.pbmodcomp(model, "small", 10)


def test_an_unreliable_larger_fit_is_counted(model, monkeypatch):
    other = model.update(". ~ . - I(time^2)")

    def worse(source, targets, n_sim, seed, progress=None):
        made = replicates.replicate(source, targets, n_sim, seed)
        made[0].criterion[:3] += 1e3
        return made

    monkeypatch.setattr("mixedmodels.inference.pbmodcomp.replicate", worse)
    with pytest.warns(mm.ConvergenceWarning, match="3 of 50 bootstrap replicates failed"):
        table = mm.pbmodcomp(model, other, 50, seed=1)
    assert table["n_sim"].tolist() == [47] * 5
    assert table["n_failed"].tolist() == [3] * 5
