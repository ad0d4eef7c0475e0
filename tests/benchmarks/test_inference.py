"""The benchmark of tests and intervals: one task, ours alone."""

from __future__ import annotations

import argparse

from benchmarks import inference


def test_a_task_runs_and_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "installed", lambda peer: peer == "mixedmodels")
    options = argparse.Namespace(quick=True, repeats=1, timeout=60)
    found = inference.run_task(inference.TASKS["boot-article"], options, tmp_path)
    assert list(found["peers"]) == ["mixedmodels"]
    ours = found["peers"]["mixedmodels"]
    assert len(ours["seconds"]) == 1
    assert 0 < ours["answer"] <= 1
    about = dict.fromkeys(("date", "machine", "versions", "pbkrtest", "Python"), "x")
    text = inference.page({"environment": about, "tasks": [found]})
    assert found["title"] in text


def test_every_kind_of_cell():
    assert inference.shown(None) == ""
    assert inference.shown({"seconds": [], "stopped": 120.0}) == "> 120 s"
    assert inference.shown({"seconds": [], "stopped": "failed: x"}) == "failed: x"
    assert inference.shown({"seconds": [0.5, 0.25, 1.0]}) == "500 ms"
