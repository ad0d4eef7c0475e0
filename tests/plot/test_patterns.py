"""Patterns of missing values, correlations over time, scatter matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mixedmodels as mm
from tests.plot.common import HOSTILE, PIGS, draw, hostile, intercepts, layer, piglets, titles


def test_patterns_count_every_row_once() -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame(rng.normal(size=(300, 5)), columns=list("abcde"))
    data[rng.uniform(size=data.shape) < 0.3] = np.nan
    p = mm.plot.missingness(data)
    per_pattern = p.data.drop_duplicates("pattern")
    counts = data.isna().value_counts()
    assert per_pattern["n"].tolist() == counts.tolist()[:20]
    state = p.data.groupby("pattern", observed=True)["state"].apply(lambda s: tuple(s == "missing"))
    for pattern, n in zip(
        state, per_pattern.set_index("pattern")["n"].loc[state.index], strict=True
    ):
        assert counts[pattern] == n
    rest = counts.sum() - per_pattern["n"].sum()
    assert f"of {rest} rows not drawn" in titles(p)["caption"]
    draw(p)


def test_missing_values_of_every_library() -> None:
    columns = {"x": [1.0, None, 3.0], "s": ["a", "b", None], "b": [True, None, None]}
    for data in (columns, pd.DataFrame(columns), pl.DataFrame(columns)):
        p = mm.plot.missingness(data)
        lost = p.data[p.data["state"] == "missing"].groupby("column", observed=True)["n"].sum()
        assert lost.to_dict() == {"x": 1, "s": 1, "b": 2}
    with pytest.raises(mm.DataError, match="did you mean"):
        mm.plot.missingness(pd.DataFrame(columns), ["xx"])


def test_dropout_counts_subjects() -> None:
    p = mm.plot.dropout(piglets(), **PIGS)
    assert p.data.drop_duplicates("pattern")["n"].tolist() == [72, 3]
    data = piglets().copy()
    data.loc[data["animal"] == "58833", "BW"] = np.nan
    p = mm.plot.dropout(data, **PIGS)
    assert sorted(p.data.drop_duplicates("pattern")["n"]) == [1, 3, 71]
    draw(mm.plot.dropout(hostile(), **HOSTILE))


def test_scatter_matrix_correlates_pairs_of_times() -> None:
    p = mm.plot.scatter_matrix(piglets(), **PIGS)
    wide = piglets().pivot(index="animal", columns="time", values="BW")
    expected = wide.corr()
    texts = layer(p, "text")
    for row in texts.itertuples():
        assert row.text == f"{expected.loc[int(row.row), int(row.column)]:.2f}"
    pair = p.data[(p.data["row"] == "21") & (p.data["column"] == "7")]
    both = wide[[7, 21]].dropna()
    np.testing.assert_allclose(sorted(pair["x"]), sorted(both[7]))
    draw(p)
    with pytest.raises(mm.DataError, match="one time only"):
        mm.plot.scatter_matrix(piglets()[piglets()["time"] == 0], **PIGS)


def test_heatmaps_show_the_matrices() -> None:
    found = mm.time_correlations(piglets(), **PIGS)
    p = mm.plot.correlations(found)
    np.testing.assert_array_equal(p.data["correlation"], found.correlation.ravel())
    assert list(p.data["time_2"].cat.categories) == ["21", "14", "7", "0"]
    draw(p)
    implied = mm.implied_correlations(intercepts())
    p = mm.plot.correlations(implied)
    assert list(p.data["panel"].cat.categories) == ["observed", "implied by the model"]
    np.testing.assert_array_equal(p.data["correlation"][16:], implied.correlation.ravel())
    draw(p)
    with pytest.raises(TypeError, match="time_correlations"):
        mm.plot.correlations(found.correlation)
