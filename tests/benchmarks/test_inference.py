"""The benchmark of tests and intervals: one task, ours alone."""

from __future__ import annotations

import argparse
from dataclasses import replace

import pytest

import mixedmodels as mm
from benchmarks import generators, inference


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


def test_many_models_are_one_call_or_a_loop(tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "installed", lambda peer: peer == "mixedmodels")
    task = replace(inference.TASKS["many-10k"], data=lambda: generators.segments(10_000)(100))
    options = argparse.Namespace(quick=True, repeats=1, timeout=60)
    found = inference.run_task(task, options, tmp_path)["peers"]["mixedmodels"]
    frame = generators.segments(10_000)(100)
    first = mm.lmer(task.large, frame[frame["segment"] == 0])
    assert found["answer"] == pytest.approx(first.loglik, abs=1e-8)
    looped = inference.looped(lambda part: len(part), frame)
    assert looped(7) == 180
