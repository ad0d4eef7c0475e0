"""Fits in many threads, memory over many fits, odd arrays, numbers of threads."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import psutil
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from tests.surroundings import changed, settings

FORMULAS = ["y ~ x + (1 | g)", "y ~ x + (x | g)", "y ~ x + (1 | g) + (1 | h)", "y ~ x + (1 | h/g)"]


def problem(seed: int, n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 20, n), rng.integers(0, 7, n)
    x = rng.normal(size=n)
    y = 1 + x + rng.normal(size=20)[g] * (1 + 0.5 * x) + rng.normal(size=7)[h]
    return pd.DataFrame({"y": y + rng.normal(size=n), "x": x, "g": g, "h": h})


def figures(number: int) -> list[float]:
    model = mm.lmer(FORMULAS[number % 4], problem(number))
    return [model.criterion, model.sigma, *model.beta, *model.theta, *model.fitted[:3]]


@pytest.mark.filterwarnings("ignore::mixedmodels.SingularFitWarning")
def test_32_fits_in_threads_are_the_serial_ones() -> None:
    serial = [figures(i) for i in range(32)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(figures, range(32))) == serial


def test_one_model_used_by_many_threads() -> None:
    """What a model computes when first asked is the same, whoever asks first."""
    expected = str(mm.lmer(FORMULAS[1], problem(1)).summary())
    model = mm.lmer(FORMULAS[1], problem(1))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: str(model.summary()), range(16))) == {expected}


@pytest.mark.parametrize("n", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_refits_do_not_leak(n: int) -> None:
    model, process = mm.lmer("y ~ x + (1 | g)", problem(0)), psutil.Process()
    y = model.response

    def resident(times: int) -> int:
        for _ in range(times):
            model.refit(y)
        gc.collect()
        return process.memory_info().rss

    start = resident(200)
    # a kept refit is above 5,000 bytes; the rest is what an allocator may take
    assert resident(n) - start < 1_000_000 + 100 * n


def test_a_fit_goes_when_its_last_name_goes() -> None:
    """A cycle would keep the rows until some later collection."""
    gc.collect()
    gc.disable()
    try:
        model = mm.lmer(FORMULAS[0], problem(0))
        model.summary()
        watch = weakref.ref(model.fitted)
        del model
        assert watch() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("order", ["read-only", "strided", "reversed", "big-endian", "mapped"])
def test_arrays_in_any_layout(order: str) -> None:
    data = problem(3)
    plain = mm.lmer(FORMULAS[1], data, weights=np.linspace(1, 2, len(data)))
    values = {name: data[name].to_numpy() for name in data}
    weights = np.linspace(1, 2, len(data))
    odd = {name: layout(column, order) for name, column in values.items()}
    model = mm.lmer(FORMULAS[1], pd.DataFrame(odd, copy=False), weights=layout(weights, order))
    # sums over another layout may round otherwise
    assert_allclose(model.beta, plain.beta, rtol=1e-13)
    assert_allclose(model.theta, plain.theta, rtol=1e-10)
    again = model.refit(layout(values["y"], order))
    assert_allclose(again.beta, plain.refit(values["y"]).beta, rtol=1e-13)


def layout(values: np.ndarray, order: str) -> np.ndarray:
    """The same numbers, stored otherwise."""
    if order == "strided":
        return np.repeat(values, 3)[::3]
    if order == "reversed":
        return values[::-1].copy()[::-1]
    if order == "big-endian":
        return values.astype(values.dtype.newbyteorder(">"))
    if order == "mapped":
        with tempfile.TemporaryFile() as file:
            np.save(file, values)
            start = file.tell() - values.nbytes
            return np.memmap(file, values.dtype, "r", start, values.shape)
    out = values.copy()
    out.flags.writeable = False
    return out


# --- memory over many calls of other kinds ------------------------------------------------------


def used_again_and_again(name: str) -> Callable[[], object]:
    """One use of a fitted model, of which nothing is kept."""
    crossed = mm.lmer("y ~ x + (1 | g) + (1 | h)", problem(0))
    nested = mm.lmer("y ~ x + (1 | h/g)", problem(0))
    one, data = mm.lmer("y ~ x + (x | g)", problem(0)), problem(0)
    return {
        "crossed": lambda: crossed.refit(crossed.response),
        "nested": lambda: nested.refit(nested.response),
        "fits": lambda: mm.lmer("y ~ x + (1 | g)", data),
        "bootstrap": lambda: one.bootstrap(5, seed=1),
        "predict": lambda: one.predict(data, interval="confidence"),
        "summary": lambda: (str(one.refit(one.response).summary()), one.tidy("kenward-roger")),
        "plot": lambda: mm.plot.qq(one),
    }[name]


@pytest.mark.filterwarnings("ignore::mixedmodels.SingularFitWarning")
@pytest.mark.parametrize(
    ("name", "times"),
    [("crossed", 150), ("nested", 150), ("fits", 150), ("bootstrap", 60), ("predict", 200),
     ("summary", 60), ("plot", 60)],
)  # fmt: skip
def test_nothing_stays_in_memory(name: str, times: int) -> None:
    """Blocks that Python holds after twice as many calls; a kept result is dozens of them."""
    use = used_again_and_again(name)

    def blocks(calls: int) -> int:
        for _ in range(calls):
            use()
        gc.collect()
        return sys.getallocatedblocks()

    blocks(10)
    first = blocks(times)
    assert blocks(times) - first < 8 * times


# --- what belongs to the user --------------------------------------------------------------------


def test_an_interrupted_fit_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of linear algebra, warnings and the next fit are what they were."""
    from mixedmodels import optimize

    expected, before = figures(2), settings()
    whole, calls = optimize.descend, 0

    def interrupted(*given: object, **more: object) -> object:
        nonlocal calls
        calls += 1
        raise KeyboardInterrupt

    monkeypatch.setattr("mixedmodels.model.search.minimise", interrupted, raising=False)
    with pytest.raises(KeyboardInterrupt):
        figures(2)
    monkeypatch.undo()
    assert whole is optimize.descend
    assert calls == 1
    assert changed(before, settings()) == []
    assert figures(2) == expected


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::mixedmodels.SingularFitWarning")
def test_fits_in_other_processes_are_the_same(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    with multiprocessing.get_context(method).Pool(1) as pool:
        for number, formula in enumerate(FORMULAS):  # crossed and nested ones among them
            found = pool.apply_async(mm.lmer, (formula, problem(number))).get(timeout=120)
            own = mm.lmer(formula, problem(number))
            assert_allclose(found.theta, own.theta, rtol=1e-10)
            assert_allclose(found.beta, own.beta, rtol=1e-12)


SCRIPT = """
import numpy as np, pandas as pd, mixedmodels as mm
rng = np.random.default_rng(1)
n = 20_000
g, h, x = rng.integers(0, 300, n), rng.integers(0, 40, n), rng.normal(size=n)
y = x + rng.normal(size=300)[g] + rng.normal(size=40)[h] + rng.normal(size=n)
m = mm.lmer("y ~ x + (x | g) + (1 | h)", pd.DataFrame(dict(y=y, x=x, g=g, h=h)))
boot = m.refit(y * 2).bootstrap(3, seed=5).replicates
print([float(v).hex() for v in (m.criterion, m.sigma, *m.beta, *m.theta, *boot.ravel())])
"""


def output(threads: int) -> list[float]:
    names = ("OPENBLAS", "OMP", "MKL", "NUMBA", "POLARS_MAX")
    env = {
        f"{name}_{'THREADS' if 'MAX' in name else 'NUM_THREADS'}": str(threads) for name in names
    }
    path = os.pathsep.join(filter(None, sys.path))
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env={**os.environ, **env, "PYTHONPATH": path},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    return [float.fromhex(v) for v in found.stdout.replace("'", "").strip(" []\n").split(", ")]


def test_same_numbers_in_every_run_and_for_any_number_of_threads() -> None:
    one, again, two = output(1), output(1), output(2)
    assert one == again
    # a product by two BLAS threads may round otherwise
    assert_allclose(two, one, rtol=1e-9)
