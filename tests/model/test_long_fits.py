"""Long fits: memory told before it is taken, progress shown where it is wanted, a clean stop."""

from __future__ import annotations

import subprocess
import sys
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import mixedmodels as mm
from mixedmodels import memory, progress, threads
from mixedmodels.likelihood import assembly
from mixedmodels.likelihood.objective import Objective

FORMULA = "y ~ x + (1 | user) + (1 | film)"


def ratings(n: int = 600, n_users: int = 60, n_films: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(12)
    user, film = rng.integers(0, n_users, n), rng.integers(0, n_films, n)
    x = rng.normal(size=n)
    y = x + rng.normal(size=n_users)[user] + rng.normal(size=n_films)[film] + rng.normal(size=n)
    data = {"y": y, "x": x, "user": user, "film": film}
    return pd.DataFrame(data).astype({"user": str, "film": str})


def test_memory_is_refused_before_it_is_taken() -> None:
    data = ratings()
    with (
        mock.patch.object(memory, "NEGLIGIBLE", 0.0),
        mock.patch.object(memory, "available_memory", return_value=30_000.0),
        mock.patch.object(assembly, "_dense_links", side_effect=AssertionError("allocated")),
        pytest.raises(mm.errors.MemoryLimitError) as caught,
    ):
        mm.lmer(FORMULA, data)
    message = str(caught.value)
    assert "'film' (40 levels) is crossed with 'user' (60 levels)" in message
    assert "40 x 40" in message
    assert "random sample" in message
    assert isinstance(caught.value, MemoryError)


def test_the_columns_of_a_term_count() -> None:
    data = ratings()
    with (
        mock.patch("mixedmodels.moments.memory._check_size"),
        mock.patch.object(memory, "NEGLIGIBLE", 0.0),
        mock.patch.object(memory, "available_memory", return_value=30_000.0),
        pytest.raises(mm.errors.MemoryLimitError, match=r"60 levels x 2 columns.*\(1 \| user\)"),
    ):
        mm.lmer("y ~ x + (x | user) + (x + I(x^2) + I(x^3) | film)", data)


def test_single_factors_are_checked_too() -> None:
    with (
        mock.patch.object(memory, "NEGLIGIBLE", 0.0),
        mock.patch.object(memory, "available_memory", return_value=3_000.0),
        pytest.raises(mm.errors.MemoryLimitError, match=r"'user' has 60 levels.*of 2 random"),
    ):
        mm.lmer("y ~ x + (x | user)", ratings())


def test_what_is_free_is_known_and_limits_of_a_container_count(tmp_path) -> None:
    assert memory.available_memory() > 1e6
    limit, used = tmp_path / "max", tmp_path / "current"
    limit.write_text("5000000\n")
    used.write_text("1000000\n")
    with mock.patch.object(memory, "_LIMIT", limit), mock.patch.object(memory, "_IN_USE", used):
        assert memory.available_memory() == 4_000_000.0
        limit.write_text("max\n")
        assert memory.available_memory() > 4_000_000.0
    with pytest.raises(mm.errors.MemoryLimitError, match=r"needs about 1048576\.0 TiB"):
        memory.check_memory(2.0**60, "reason")


def test_progress_is_a_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    model = mm.lmer(FORMULA, ratings(), progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert f"evaluation {model.convergence.evaluations}" in err
    # the criterion in the user's units
    assert f"criterion {model.reml_criterion:.4f}" in err


@pytest.mark.parametrize("asked", [None, False])
def test_progress_is_silent_otherwise(
    asked: bool | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with mock.patch.object(progress, "LONG", 0.0):
        mm.lmer(FORMULA, ratings(), progress=asked)
    assert capsys.readouterr() == ("", "")


def test_progress_is_for_long_fits_in_a_terminal() -> None:
    terminal = mock.Mock(isatty=lambda: True)
    with mock.patch.object(sys, "stderr", terminal):
        assert progress.wants_line(10.0, progress=None)
        assert not progress.wants_line(0.01, progress=None)
        assert not progress.wants_line(10.0, progress=False)
    assert not progress.wants_line(10.0, progress=None)
    assert progress.wants_line(0.0, progress=True)


def test_an_interrupt_leaves_the_old_model_as_it_was() -> None:
    data = ratings()
    model = mm.lmer(FORMULA, data)
    before = model.ranef()
    evaluate = Objective.evaluate
    calls = []

    def interrupted(self: Objective, theta: np.ndarray):
        calls.append(theta)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(self, theta)

    with (
        mock.patch.object(Objective, "evaluate", interrupted),
        pytest.raises(KeyboardInterrupt),
    ):
        model.update(reml=False)
    assert_array_equal(model.ranef()["std_error"], before["std_error"])
    again = mm.lmer(FORMULA, data)
    assert again.reml_criterion == model.reml_criterion


def test_small_crossed_fits_load_no_compiler() -> None:
    code = (
        "import sys, warnings, numpy as np, mixedmodels as mm\n"
        "i = np.arange(240)\n"
        "y = np.sin(i) + np.cos(3 * (i % 12)) + np.sin(5 * (i % 10))\n"
        "data = {'y': y, 'a': (i % 12).astype(str), 'b': (i % 10).astype(str)}\n"
        "m = mm.lmer('y ~ 1 + (1 | a) + (1 | b)', data)\n"
        "m.ranef(), m.augment()\n"
        "print(sorted({'numba', 'tqdm', 'psutil', 'matplotlib'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_compiling_is_said_once_in_one_line(tmp_path) -> None:
    code = (
        "import mixedmodels.kernels.cross_products\n"
        "import mixedmodels.kernels.cholesky, mixedmodels.kernels.ordering\n"
    )

    def run() -> str:
        command = [sys.executable, "-c", code]
        environment = {"NUMBA_CACHE_DIR": str(tmp_path), "PATH": "", "HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return done.stderr

    first, second = run(), run()
    assert first.count("\n") == 1
    assert "compiling" in first
    assert second == ""


def test_threads_cover_every_index_once() -> None:
    for work in (0.0, 1e9):
        with mock.patch.object(threads, "n_threads", return_value=3):
            parts = threads.in_threads(lambda first, step: list(range(first, 20, step)), work)
        assert sorted(i for part in parts for i in part) == list(range(20))


def test_threads_respect_what_the_user_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads.n_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert threads.n_threads() >= 1


def test_one_blas_thread_is_undone() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def used() -> list[int]:
        return [lib["num_threads"] for lib in threadpoolctl.threadpool_info()]

    before = used()
    with threads.one_blas_thread(active=True):
        blas = [x for x in threadpoolctl.threadpool_info() if x["user_api"] == "blas"]
        assert all(lib["num_threads"] == 1 for lib in blas)
    assert used() == before
