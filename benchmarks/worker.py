"""One measured process of a Python peer; prints its figures as one line of JSON."""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.data import CASES, Case
from benchmarks.generators import N_RESPONSES
from benchmarks.peers import PEERS, Peer


def main(case_name: str, peer_name: str, file: str, warm_up_file: str, calls: int) -> None:
    """Fit a small frame first, so that lazy imports are not timed, then measure."""
    warnings.simplefilter("ignore")
    case, peer = CASES[case_name], PEERS[peer_name]
    started = time.perf_counter()
    if peer.load is not None:
        peer.load()
    peer.fit(case.to_warm_up(), read(warm_up_file))
    warm_up = time.perf_counter() - started
    frame = read(file)
    figures = measure(case, peer, frame, calls)
    print(json.dumps({"warm_up_seconds": warm_up, **figures}))


def read(file: str) -> pd.DataFrame:
    """Read a CSV or Feather file; text columns are of the same type from both."""
    return pd.read_feather(file) if file.endswith(".feather") else pd.read_csv(file)


def measure(case: Case, peer: Peer, frame: pd.DataFrame, calls: int) -> dict[str, Any]:
    """Time the calls; memory is the highest use during them less the use before."""
    run = timed_call(case, peer, frame)
    gc.collect()
    before = reset_peak_memory()
    seconds, cpu_seconds = [], []
    for i in range(calls):
        model = None  # one model at a time, or the peak would count two
        cpu, wall = time.process_time(), time.perf_counter()
        model = run(i)
        seconds.append(time.perf_counter() - wall)
        cpu_seconds.append(time.process_time() - cpu)
    peak = memory_status().get("VmHWM")
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "before_mb": before and before / 1024,
        "peak_mb": peak and peak / 1024,
        "criterion": float(peer.criterion(model)),
        "likelihood": peer.likelihood,
        "evaluations": peer.evaluations and peer.evaluations(model),
    }


def timed_call(case: Case, peer: Peer, frame: pd.DataFrame) -> Callable[[int], Any]:
    """Return what is timed: a whole fit, or a refit of the i-th new response."""
    if case.kind == "fit":
        return lambda _: peer.fit(case, frame)
    refit = peer.prepare_refit(case, frame)
    responses = [frame[f"new_{i}"].to_numpy() for i in range(N_RESPONSES)]
    return lambda i: refit(responses[i % N_RESPONSES])


def reset_peak_memory() -> int | None:
    """Set the kernel's high-water mark to the present use and return it (kB); Linux only."""
    try:
        # what reading the file left behind would hide a peak
        if "pyarrow" in sys.modules:
            sys.modules["pyarrow"].default_memory_pool().release_unused()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    except (OSError, AttributeError, TypeError):
        return None
    return memory_status().get("VmRSS")


def memory_status() -> dict[str, int]:
    """Present and highest memory use of this process in kB, as Linux counts them."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


if __name__ == "__main__":
    main(*sys.argv[1:5], calls=int(sys.argv[5]))
