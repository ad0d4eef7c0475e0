"""The data sets that come with the package."""

import pandas as pd
import pytest

from mixedmodels import datasets
from mixedmodels.errors import DataError

TREATMENTS = ["1", "2", "3", "4", "5"]


def test_names_lists_what_load_reads():
    assert datasets.names() == ["piglets"]
    for name in datasets.names():
        assert len(datasets.load(name)) > 0


def test_piglets_has_the_columns_and_totals_of_the_article():
    piglets = datasets.load("piglets")
    assert list(piglets.columns) == ["animal", "treatm", "time", "BW"]
    assert len(piglets) == 297
    assert piglets["animal"].nunique() == 75
    assert piglets["BW"].dtype == "float64"
    assert sorted(piglets["time"].unique()) == [0, 7, 14, 21]
    assert not piglets.isna().any(axis=None)
    assert not piglets.duplicated(["animal", "time"]).any()
    assert (piglets.groupby("animal", observed=True)["treatm"].nunique() == 1).all()
    first = piglets[piglets["animal"] == "58833"]
    assert first["BW"].tolist() == [6.6, 8.4, 9.7, 13.6]


def test_piglets_misses_three_weights_of_day_21():
    counts = datasets.load("piglets").groupby(["treatm", "time"], observed=True).size()
    short = counts[counts != 15]
    assert short.to_dict() == {("1", 21): 14, ("5", 21): 13}


def test_pandas_factors_are_unordered_text_levels_in_numeric_order():
    piglets = datasets.load("piglets", backend="pandas")
    for column in ("animal", "treatm"):
        dtype = piglets[column].dtype
        assert isinstance(dtype, pd.CategoricalDtype)
        assert not dtype.ordered
        levels = list(dtype.categories)
        assert levels == sorted(levels, key=int)
        assert all(isinstance(level, str) for level in levels)
    assert list(piglets["treatm"].cat.categories) == TREATMENTS


def test_polars_frame_has_the_same_values_and_level_order():
    pl = pytest.importorskip("polars")
    piglets = datasets.load("piglets", backend="polars")
    assert isinstance(piglets, pl.DataFrame)
    assert piglets["treatm"].dtype == pl.Enum(TREATMENTS)
    assert_same_rows(piglets.to_dict(as_series=False))


def test_arrow_table_has_the_same_values_and_level_order():
    pa = pytest.importorskip("pyarrow")
    piglets = datasets.load("piglets", backend="pyarrow")
    assert isinstance(piglets, pa.Table)
    assert piglets["treatm"].chunk(0).dictionary.to_pylist() == TREATMENTS
    assert_same_rows(piglets.to_pydict())


def assert_same_rows(columns):
    expected = datasets.load("piglets")
    assert list(columns) == list(expected.columns)
    for name, values in columns.items():
        assert values == expected[name].tolist()


def test_each_load_is_a_frame_of_its_own():
    first = datasets.load("piglets")
    first["BW"] = 0.0
    assert datasets.load("piglets")["BW"].min() > 0


def test_unknown_name_lists_the_data_sets():
    with pytest.raises(DataError, match=r"no data set 'piglet'.*did you mean 'piglets'.*Available"):
        datasets.load("piglet")
    with pytest.raises(DataError, match=r"no data set 'iris'.*Available: piglets"):
        datasets.load("iris")


def test_unknown_backend_lists_the_backends():
    with pytest.raises(DataError, match=r"'spark'.*pandas, polars, pyarrow"):
        datasets.load("piglets", backend="spark")
