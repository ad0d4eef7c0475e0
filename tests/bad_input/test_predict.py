"""Hostile new data (section E): the right values, or an error that names the place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from mixedmodels.errors import DataError, ModelError
from tests.bad_input.common import SIMPLE, base, silence, unchanged, watched

# lme4 for rows 0 to 2 of base()
RIGHT = [3.194993, 3.183762, 2.671922]
POPULATION = [2.328770, 2.317540, 1.805700]


@pytest.fixture(scope="module")
def model() -> mm.FittedModel:
    return watched("y ~ x + f + (1|g)", base())[0]


def rows(**columns: Any) -> pd.DataFrame:
    return base().iloc[:3].assign(**columns)


def predicted(model: mm.FittedModel, data: Any, **kw: Any) -> Any:
    with unchanged(data), silence():
        return model.predict(data, **kw)


def test_plain(model: mm.FittedModel) -> None:
    assert_allclose(predicted(model, rows()), RIGHT, atol=1e-6)
    assert_allclose(predicted(model, rows(), random=False), POPULATION, atol=1e-5)


def test_e01_new_level(model: mm.FittedModel) -> None:
    new = rows(g=["NEW", "g00", "g00"])
    with pytest.raises(DataError, match=r"'NEW' of grouping factor 'g'; new_levels='zero'"):
        predicted(model, new)
    assert_allclose(
        predicted(model, new, new_levels="zero"), [POPULATION[0], *RIGHT[1:]], atol=1e-5
    )
    out = predicted(model, new, new_levels="zero", interval="confidence")
    assert out.std_error[0] > 1.4 > 0.5 > out.std_error[1]


def test_e02_new_level_of_a_factor(model: mm.FittedModel) -> None:
    with pytest.raises(DataError, match=r"'zzz' of 'f' was not .* 'a', 'b', 'c'"):
        predicted(model, rows(f=["zzz", "a", "b"]))


def test_e03_column_missing(model: mm.FittedModel) -> None:
    x = np.ones(3)  # noqa: F841 - must not be found
    with pytest.raises(DataError, match="newdata has no column 'x'"):
        predicted(model, rows().drop(columns="x"))


def test_e04_group_missing(model: mm.FittedModel) -> None:
    new = rows().drop(columns="g")
    with pytest.raises(DataError, match=r"'g'.*random=False"):
        predicted(model, new)
    assert_allclose(predicted(model, new, random=False), POPULATION, atol=1e-5)


@pytest.mark.parametrize("column", ["x", "f", "g"])
def test_e05_e06_missing_values(model: mm.FittedModel, column: str) -> None:
    new = rows()
    new.loc[1, column] = None if column != "x" else np.nan
    out = predicted(model, new)
    assert out.index.equals(new.index)
    assert_allclose(out, [RIGHT[0], np.nan, RIGHT[2]], atol=1e-6)
    frame = predicted(model, new, interval="prediction")
    assert frame.isna().all(axis=1).tolist() == [False, True, False]
    everything = rows(**{column: [None] * 3})
    assert np.isnan(predicted(model, everything)).all()


def test_e08_categories_by_value() -> None:
    data = base()
    data["f"] = pd.Categorical(data.f, categories=list("abc"))
    model, _ = watched("y ~ x + f + (1|g)", data)
    new = base().iloc[4:6]
    expected = predicted(model, new)
    turned = new.assign(
        f=pd.Categorical(new.f, categories=["zzz", "c", "b", "a"]),
        g=pd.Categorical(new.g, categories=["none", "g01", "g00"]),
    )
    assert_allclose(predicted(model, turned), expected, rtol=1e-14)


@pytest.mark.parametrize(
    ("fitted", "given"), [(int, str), (int, float), (str, int), (float, str), (float, int)]
)
def test_e10_type_of_groups(fitted: type, given: type) -> None:
    data = base()
    numbers = data.g.str[1:].astype(int)
    model, _ = watched(SIMPLE, data.assign(g=numbers.astype(fitted)))
    new = data.iloc[::8].assign(g=numbers.iloc[::8].astype(given))
    assert_allclose(predicted(model, new), model.fitted[::8], rtol=1e-12)


def test_e11_no_rows(model: mm.FittedModel) -> None:
    assert len(predicted(model, rows().iloc[:0])) == 0
    out = predicted(model, rows().iloc[:0], interval="confidence")
    assert list(out.columns) == ["prediction", "std_error", "conf_low", "conf_high"]
    assert len(out) == 0


def test_e12_without_response(model: mm.FittedModel) -> None:
    assert_allclose(predicted(model, rows().drop(columns="y")), RIGHT, atol=1e-6)
    logs, _ = watched("log(y) ~ x + (1|g)", base().assign(y=lambda d: np.exp(d.y)))
    assert_allclose(predicted(logs, rows().drop(columns="y")), logs.fitted[:3])


def test_e13_index(model: mm.FittedModel) -> None:
    new = base().iloc[[7, 3, 7]].set_axis([9, 9, 0])
    out = predicted(model, new)
    assert out.index.tolist() == [9, 9, 0]
    assert_allclose(out, model.fitted[[7, 3, 7]])


def test_e15_other_libraries(model: mm.FittedModel) -> None:
    as_polars = predicted(model, pl.from_pandas(rows()))
    assert isinstance(as_polars, pl.Series)
    as_arrow = predicted(model, pa.Table.from_pandas(rows()))
    assert isinstance(as_arrow, pa.ChunkedArray)
    for out in (as_polars, as_arrow, predicted(model, rows().to_dict("list"))):
        assert_allclose(np.asarray(out), RIGHT, atol=1e-6)
    fitted_in_polars, _ = watched("y ~ x + f + (1|g)", pl.from_pandas(base()))
    out = predicted(fitted_in_polars, rows())
    assert isinstance(out, pd.Series)
    assert_allclose(out, RIGHT, atol=1e-6)


# --- our own --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (rows(x=[1.0, np.inf, 2.0]), "'x' has 1 infinite value"),
        (rows(x=["a", "b", "c"]), "'x' of newdata is text; in the fit it was numeric"),
        (rows(x=["1", "2", "3"]), "'x' of newdata is text"),
        (rows(f=[1, 2, 3]), "'1', '2', '3' of 'f'"),
        (pd.concat([rows(), rows()[["x"]]], axis=1), "'x' occurs 2 times"),
        ({"x": 1.0, "f": "a", "g": "g00"}, "single value"),
    ],
)
def test_values_of_another_kind(model: mm.FittedModel, new: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        predicted(model, new)


@pytest.mark.parametrize("new", [rows().iloc[0], [1, 2]])
def test_not_a_frame(model: mm.FittedModel, new: Any) -> None:
    with pytest.raises(TypeError, match="must be a pandas or Polars DataFrame"):
        predicted(model, new)


@pytest.mark.parametrize(
    ("kw", "words"),
    [
        ({"random": ["zz"]}, "names no grouping factor"),
        ({"random": None}, "random must be"),
        ({"random": 3}, "random must be"),
        ({"level": 95, "interval": "confidence"}, "level"),
        ({"level": "0.9", "interval": "confidence"}, "level"),
        ({"interval": "both"}, "interval must be"),
        ({"new_levels": "yes"}, "new_levels must be"),
    ],
)
def test_options(model: mm.FittedModel, kw: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        predicted(model, rows(), **kw)


def test_extra_columns_do_no_harm(model: mm.FittedModel) -> None:
    new = rows(extra=[[1], [2], [3]], y=[None, None, None])
    assert_allclose(predicted(model, new), RIGHT, atol=1e-6)


def test_booleans_for_numbers(model: mm.FittedModel) -> None:
    assert_allclose(
        predicted(model, rows(x=[True, False, True])), predicted(model, rows(x=[1.0, 0.0, 1.0]))
    )


def test_offset_column() -> None:
    model, _ = watched(SIMPLE, base(), offset="z")
    assert_allclose(predicted(model, rows()), model.fitted[:3])
    for new in (rows().drop(columns="z"), {"x": [1.0], "g": ["g00"]}):
        with pytest.raises(DataError, match=r"newdata \(for offset=\) has no column 'z'"):
            predicted(model, new)
    missing = rows(z=[0.0, np.nan, 0.0])
    assert np.isnan(predicted(model, missing)).tolist() == [False, True, False]


def test_offset_values() -> None:
    model, _ = watched(SIMPLE, base(), offset=base().z.to_numpy())
    with pytest.raises(DataError, match="give offset="):
        predicted(model, rows())
    with pytest.raises(DataError, match="offset has 5 values, newdata 3 rows"):
        predicted(model, rows(), offset=np.ones(5))
    assert_allclose(predicted(model, rows(), offset=base().z[:3]), model.fitted[:3])


def test_offset_twice_counts_twice() -> None:
    model, _ = watched("y ~ x + offset(z) + (1|g)", base(), offset="x")
    assert_allclose(predicted(model, rows()), model.fitted[:3])
    values, _ = watched("y ~ x + offset(z) + (1|g)", base(), offset=base().x)
    with pytest.raises(DataError, match="give offset="):
        predicted(values, rows())


def test_values_without_a_result() -> None:
    model, _ = watched("y ~ log(x + 10) + (1|g)", base())
    with pytest.raises(DataError, match=r"log\(x \+ 10\) is nan in 1 row .*x = -20"):
        predicted(model, rows(x=[-20.0, 1.0, 2.0]))


def test_inconsistent_parents_against_dense_algebra() -> None:
    rng = np.random.default_rng(0)
    data = pd.DataFrame(
        {
            "x": rng.normal(size=240),
            "s": np.repeat([f"s{i}" for i in range(6)], 40),
            "c": np.repeat([f"c{i:02d}" for i in range(24)], 10),
        }
    )
    data["y"] = (
        data.x + np.repeat(rng.normal(size=6), 40) + np.repeat(rng.normal(size=24), 10)
        + rng.normal(size=240)
    )  # fmt: skip
    model, _ = watched("y ~ x + (1|s) + (1|c)", data)
    new = pd.DataFrame(
        {
            "x": [0.0, 1.0, 0.5, -1.0],
            "s": ["s0", "s5", "new", "s3"],  # the class c00 belongs to s0
            "c": ["c00", "c00", "c01", "new"],
        }
    )
    for chosen in (["s", "c"], ["s"], ["c"]):
        out = model.predict(new, random=chosen, new_levels="zero", interval="confidence")
        assert_allclose(out.std_error, henderson(model, data, new, chosen), rtol=1e-8)


def henderson(
    model: mm.FittedModel, data: pd.DataFrame, new: pd.DataFrame, chosen: list[str]
) -> np.ndarray:
    """Standard errors from the inverse of the whole mixed-model matrix."""
    sd = dict(zip(model.varcorr()["group"], model.varcorr()["sd"], strict=True))
    columns, now, prior = [np.ones(len(data)), data.x], [np.ones(len(new)), new.x], 0.0
    penalty = [0.0, 0.0]
    for name in ("s", "c"):
        levels = sorted(data[name].unique())
        columns += [data[name] == level for level in levels]
        now += [(new[name] == level) & (name in chosen) for level in levels]
        penalty += [1 / sd[name] ** 2] * len(levels)
        prior = prior + (~new[name].isin(levels) & (name in chosen)) * sd[name] ** 2
    W, A = np.column_stack(columns).astype(float), np.column_stack(now).astype(float)
    inverse = np.linalg.inv(W.T @ W / model.sigma**2 + np.diag(penalty))
    return np.sqrt(np.einsum("ij,jk,ik->i", A, inverse, A) + prior)


# --- more of the same kinds -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (rows(x=pd.Timestamp("2020-01-01")), "'x' is datetime64"),
        (rows(f=[True, False, True]), "levels 'False', 'True' of 'f' were not"),
        (rows(f=["a ", "a", "b"]), "level 'a ' of 'f' was not"),
        (rows(g=["G00", "g00", "g01"]), "new level 'G00'"),
        (rows(x=[1j, 0, 0]), "'x' holds complex numbers"),
        (rows(g=[f"n{i}" for i in range(3)]), "new levels 'n0', 'n1', 'n2'"),
        (rows().set_index(["f", "g"]), "lacks the grouping column 'g'"),
    ],
)
def test_more_values_of_another_kind(model: mm.FittedModel, new: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        predicted(model, new)


def test_values_that_mean_the_same(model: mm.FittedModel) -> None:
    new = rows()
    for other in (
        rows(x=new.x.astype(object)),
        rows(x=pd.array(new.x, dtype="Float64")),
        rows(f=pd.Categorical(new.f, categories=["zzz", "c", "b", "a"])),
        new.set_index(["f", "g"], drop=False),
        new.iloc[:, ::-1],
        new.to_dict("list"),
    ):
        assert_allclose(np.asarray(predicted(model, other)), RIGHT, atol=1e-6)


def test_transforms_remember_the_data() -> None:
    formula = "y ~ scale(x) + poly(z, 2) + bs(x, df = 5) + (1|g)"
    with pytest.warns(mm.RankDeficiencyWarning):
        model = mm.lmer(formula, base())
    for some in (base().iloc[[5]], base().iloc[::-7], base().iloc[[9, 9, 3]]):
        assert_allclose(predicted(model, some), model.fitted[some.index], rtol=1e-10)


def test_groups_of_whole_numbers() -> None:
    data = base().assign(g=lambda d: d.g.str[1:].astype(int))
    model, _ = watched(SIMPLE, data)
    found = predicted(model, data.iloc[:3].assign(g=[0.0, np.nan, 1.0]))
    assert np.isnan(found).tolist() == [False, True, False]
    for odd, words in ((["00", "01", "02"], "'00'"), ([0.5, 1, 2], "'0.5'"), ([2**70, 1, 2], "64")):
        with pytest.raises(DataError, match=words):
            predicted(model, data.iloc[:3].assign(g=odd))


def test_a_new_combination_of_known_levels() -> None:
    data = base().assign(k=np.repeat(list("abcd"), 24), y=lambda d: d.y + 3 * (d.index // 24))
    model, _ = watched("y ~ x + (1|k/g)", data)
    new = data.iloc[:1].assign(k="b")
    with pytest.raises(DataError, match="new level 'b:g00' of grouping factor 'k:g'"):
        predicted(model, new)
    outer = predicted(model, new, new_levels="zero", random=["k"])
    assert_allclose(predicted(model, new, new_levels="zero"), outer)


def test_rows_that_break_a_relation_of_the_data() -> None:
    data = base().assign(x2=lambda d: 2 * d.x)
    with pytest.warns(mm.RankDeficiencyWarning):
        model = mm.lmer("y ~ x + x2 + (1|g)", data)
    assert_allclose(predicted(model, data), model.fitted)
    with pytest.warns(mm.RankDeficiencyWarning, match="3 of 3 rows"):
        predicted(model, rows(x2=5.0))


@pytest.mark.parametrize("kind", ["hours", "days", "stamps"])
def test_labels_of_times_are_those_of_every_library(kind: str) -> None:
    numbers = base().g.str[1:].astype(int)
    spans = pd.to_timedelta(numbers, unit="h" if kind == "hours" else "D")
    data = base().assign(g=pd.Timestamp("2020-02-28") + spans if kind == "stamps" else spans)
    libraries = [data, pl.from_pandas(data), pa.Table.from_pandas(data)]
    for fitted in libraries:
        model, _ = watched(SIMPLE, fitted)
        for new in libraries:
            assert_allclose(np.asarray(predicted(model, new)), model.fitted, rtol=1e-12)
