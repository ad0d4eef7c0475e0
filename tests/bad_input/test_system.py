"""Copies, threads, processes, output, warnings and comparisons (sections H and I)."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import mixedmodels as mm
from tests.bad_input.common import LOGLIK, SIMPLE, base, changed, silence, watched


def flat() -> pd.DataFrame:
    """No variance between groups."""
    frame = base()
    return frame.assign(y=frame.y - frame.groupby("g").y.transform("mean") + 1)


def loglik(data: pd.DataFrame) -> float:
    return mm.lmer(SIMPLE, data).loglik


# --- H: comparisons -------------------------------------------------------------------------------


def test_h01_reml_is_refitted_and_said() -> None:
    small, large = mm.lmer("y ~ 1 + (1|g)", base()), mm.lmer(SIMPLE, base())
    with silence():
        table = mm.anova(small, large)
    assert table["criterion"].tolist() == ["ML (refitted)"] * 2
    ml = [m.update(reml=False).loglik for m in (small, large)]
    assert_allclose(table["statistic"].iloc[-1], 2 * (ml[1] - ml[0]), rtol=1e-8)


@pytest.mark.parametrize("other", ["y ~ z + f + (1|g)", "y ~ z + (1|g)"])
def test_h02_not_nested(other: str) -> None:
    a, b = mm.lmer(SIMPLE, base(), reml=False), mm.lmer(other, base(), reml=False)
    with silence(), pytest.warns(mm.DataWarning, match=r"not nested .* mm\.aictab") as caught:
        table = mm.anova(a, b)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not (table["statistic"] < 0).any()


def test_h04_aictab_refuses_mixtures() -> None:
    reml, ml = mm.lmer(SIMPLE, base()), mm.lmer(SIMPLE, base(), reml=False)
    fewer = mm.lmer(SIMPLE, base().iloc[:80], reml=False)
    fixed = mm.lmer("y ~ x + z + (1|g)", base())
    for models in ([reml, ml], [ml, fewer], [reml, ml, fewer]):
        with silence(), pytest.raises(mm.ModelError):
            mm.aictab(models)
    # REML criteria of other fixed parts are never ranked: ML refits are, and the table says so
    with silence():
        table = mm.aictab({"x": reml, "xz": fixed}).set_index("model")
        by_ml = fixed.update(reml=False).aicc
    assert table["criterion"].tolist() == ["ML (refitted)"] * 2
    assert_allclose([table.loc["x", "aicc"], table.loc["xz", "aicc"]], [ml.aicc, by_ml], rtol=1e-9)


def test_h09_zero_is_printed_as_zero() -> None:
    model, seen = watched(SIMPLE, flat())
    assert seen == [mm.SingularFitWarning]
    text = str(model.summary())
    assert "boundary" in text
    assert "(1 | g)" in text


# --- I: system ------------------------------------------------------------------------------------


def test_i01_copies(tmp_path: Path) -> None:
    model, _ = watched("y ~ x + f + (x|g)", base())
    new = base().iloc[::5]
    path = tmp_path / "model.mm"
    mm.save(model, path)
    stored = pickle.dumps(model)
    assert len(stored) < 200_000
    for other in (pickle.loads(stored), copy.deepcopy(model), copy.copy(model), mm.load(path)):
        assert_array_equal(other.predict(new), model.predict(new))
        assert (other.loglik, other.sigma) == (model.loglik, model.sigma)


def test_i02_threads() -> None:
    data = [base(seed=seed) for seed in range(12)]
    serial = [loglik(frame) for frame in data]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(loglik, data)) == serial


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_i03_fork_after_a_fit() -> None:
    loglik(base())
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(loglik, [base()] * 4).get(timeout=20)
    assert_allclose(found, LOGLIK, atol=5e-6)


def test_i04_frame_untouched() -> None:
    data = base().rename_axis("label")
    data.attrs["source"] = "here"
    data.flags.allows_duplicate_labels = False
    model, _ = watched("y ~ x + f + (x|g)", data)  # compares before and after
    before = data.copy(deep=True)
    model.predict(data, interval="prediction")
    model.augment()
    model.ranef()
    pd.testing.assert_frame_equal(data, before)
    assert data.attrs == {"source": "here"}
    data["y"] = 0.0  # the user goes on; the model does not notice
    assert_allclose(model.augment()["y"], before["y"])


INTERRUPT = """
import numpy as np, pandas as pd, signal, sys, time
import mixedmodels as mm
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run unwatched
rng = np.random.default_rng(0)
n = 60_000
data = pd.DataFrame({"x": rng.normal(size=n), "y": rng.normal(size=n),
                     "a": rng.integers(0, 3000, n), "b": rng.integers(0, 1500, n)})
before = data.copy(deep=True)
# the first fit loads compiled loops, and callbacks of old compilers swallow an interrupt
mm.lmer("y ~ x + (x|a) + (1|b)", data)
print("ready", flush=True)
end = time.monotonic() + 60
try:
    while time.monotonic() < end:
        mm.lmer("y ~ x + (x|a) + (1|b)", data)
except KeyboardInterrupt:
    assert data.equals(before)
    print("sane", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent otherwise there")
def test_i06_keyboard_interrupt() -> None:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", INTERRUPT], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.7)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "sane\n"
        # 1 s is the promise; a busy machine gets more
        assert time.monotonic() - start < 5
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch MARK",)


def test_i07_load_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trap = tmp_path / "trap.mm"
    trap.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(mm.MixedModelsError):
        mm.load(trap)
    assert not (tmp_path / "MARK").exists()


def test_i10_long_names_are_shortened_in_print_only() -> None:
    model, _ = watched(
        "y ~ x + f + (1|g)", changed(g=lambda d: d.g * 33_334, f=lambda d: d.f * 99_999)
    )
    for text in (repr(model), str(model), str(model.summary())):
        assert len(text) < 10_000
    assert max(len(level) for level in model.ranef()["level"]) == 100_002


def test_i12_one_warning_at_this_line() -> None:
    data = flat()
    with silence(), pytest.warns(mm.SingularFitWarning) as caught:
        mm.lmer(SIMPLE, data)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_i12_categories_can_be_silenced_one_by_one() -> None:
    data = flat().assign(x2=lambda d: 2 * d.x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", mm.SingularFitWarning)
        with pytest.raises(mm.RankDeficiencyWarning):
            mm.lmer("y ~ x + x2 + (1|g)", data)
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        mm.lmer("y ~ x + x2 + (1|g)", data)


def test_global_random_state_untouched() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - it is the point
    model, _ = watched(SIMPLE, base())
    assert_array_equal(model.simulate(3, seed=7), model.simulate(3, seed=7))
    assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_big_endian_segments() -> None:
    data = base().assign(k=np.repeat(list("abcd"), 24), w=np.arange(1.0, 97.0))
    data.loc[0, "w"] = 0.0  # a segment that is tried alone
    swapped = data.assign(**{name: data[name].to_numpy().astype(">f8") for name in "yxzw"})
    with pytest.warns(mm.ConvergenceWarning, match="1 of 4 models could not be fitted"):
        found, same = (
            mm.fit_many(SIMPLE, table, by="k", weights="w").tidy() for table in (swapped, data)
        )
    pd.testing.assert_frame_equal(found, same)
    with pytest.warns(mm.SingularFitWarning, match="1 of 2 models are singular"):
        found, same = (
            mm.fit_many("~ x + (1|g)", table, responses=["y", "z"]).tidy()
            for table in (swapped, data)
        )
    pd.testing.assert_frame_equal(found, same)
