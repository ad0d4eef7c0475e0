"""Names and labels that are SQL, quotes or dots: the right result from every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from tests.engines.tables import ALWAYS, as_table, collected, every_engine, held, marked, quiet

# an empty text and "null" are levels here on purpose
pytestmark = pytest.mark.filterwarnings("ignore:.*which counts as any other")

NAMES = {
    "y": "select",
    "x": 'a"b',
    "z": "x;drop table t",
    "f": "group",
    "g": "order by",
    "w": "weight %s {0}",
    "o": "off\\set",
    "b": "a.b",
    "u": "größe µ",
}
LEVELS = [
    *("o'brien", 'say "hi"', "line\nbreak", "back\\slash", "\N{GRINNING FACE}"),
    *("--; drop", "", "null", "%s{}", "`t`"),
]
FORMULA = (
    'select ~ scale(`a"b`) + center(`x;drop table t`):group + a.b + `größe µ` '
    '+ I(group == "a\'") + (`a"b` | `order by`)'
)


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 300
    d = pd.DataFrame({name: rng.normal(size=n) for name in "yxzboug"})
    d["f"] = rng.choice(["a'", 'b"', "c\n;"], n)
    place = rng.integers(0, len(LEVELS), n)
    d["g"] = np.array(LEVELS, object)[place]
    d["w"] = rng.uniform(1.0, 2.0, n)
    d["y"] += rng.normal(size=len(LEVELS))[place] + d["x"] * rng.normal(size=len(LEVELS))[place]
    d["row"] = np.arange(n)
    return d.rename(columns=NAMES)


@every_engine
def test_names_and_labels(engine: str) -> None:
    # with all that a table is asked for: scale() and center(), weights, offset, predictions, bins
    table, frame = as_table(rows(), engine), held(rows(), engine)
    options: dict[str, Any] = {"weights": NAMES["w"], "offset": NAMES["o"]}
    reference = mm.lmer(FORMULA, frame, **options)
    with quiet():
        m = mm.lmer(FORMULA, table, **options)
        predicted = m.predict(table)
        bins = mm.binned_residuals(m, table, bins=4)
    assert m.term_names == reference.term_names
    assert m.design.groups[0].levels == reference.design.groups[0].levels
    assert m.design.groups[0].levels == tuple(sorted(LEVELS))
    np.testing.assert_allclose(m.criterion, reference.criterion, rtol=1e-8)
    np.testing.assert_allclose(m.beta, reference.beta, rtol=1e-8)
    np.testing.assert_allclose(m.vcov, reference.vcov, rtol=1e-8, atol=1e-14)
    out = collected(predicted).sort_values("row")
    assert list(out.columns) == [*rows().columns, "prediction"]
    expected = reference.predict(frame).to_numpy()
    np.testing.assert_allclose(out["prediction"].to_numpy(float), expected, atol=1e-10)
    residual = rows()["select"].to_numpy() - expected
    ends = np.linspace(expected.min(), expected.max(), 5)
    place = np.clip(np.searchsorted(ends, expected, side="right"), 1, 4)
    mean = [residual[place == k].mean() for k in range(1, 5)]
    np.testing.assert_allclose(np.asarray(bins["residual"]), mean, atol=1e-10)


@pytest.mark.parametrize("engine", [*ALWAYS, marked("spark")])
def test_columns_that_are_not_asked_for(engine: str) -> None:
    # Spark knows no capitals and would take `a.b` for a part of a
    others = {"select * from t": 1.0, "tick`": 2.0, "a": 3.0}
    if engine != "duckdb":  # which holds no two columns that differ in capitals
        others |= {"A.B": 4.0, "SELECT": 5.0}
    frame = rows().assign(**others)
    table = as_table(frame, engine)
    with quiet():
        m = mm.lmer("select ~ a.b + (1 | `order by`)", table)
        out = collected(m.predict(table, random=False))
    reference = mm.lmer("select ~ a.b + (1 | `order by`)", rows())
    np.testing.assert_allclose(m.beta, reference.beta, rtol=1e-8)
    assert list(out.columns) == [*frame.columns, "prediction"]


def test_tables_of_the_user_are_not_read() -> None:
    import duckdb

    connection = duckdb.connect()
    frame = rows()  # noqa: F841 - DuckDB sees it
    for name in ("arrow", "other", "small", "levels"):
        connection.execute(f"create table {name} as select 1 as a")
    table = connection.sql("select * from frame")
    m = mm.lmer("select ~ a.b + (1 | `order by`)", table)
    found = m.predict(table).order("row").df()["prediction"]
    np.testing.assert_allclose(found, m.predict(rows()), atol=1e-10)
    assert len(connection.sql("show tables").fetchall()) == 4
