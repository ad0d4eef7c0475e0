"""How it is measured: every run in a process of its own, the peers taking turns."""

from __future__ import annotations

import argparse
import compileall
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

import mixedmodels
from benchmarks import machine, report, slow
from benchmarks.data import CASES, QUICK_SHRINK, Case
from benchmarks.peers import IMPORTS, LME4, MIXEDMODELS, MIXEDMODELS_ML, PEERS, Peer

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = ROOT / "build" / "benchmarks"
"""Where results of quick and partial runs go: they never replace the full ones."""

SLOW_SECONDS = 30
"""A peer whose process took longer than this is run once only."""

SLOW_TIMEOUT = 1800
"""Seconds for one process of a peer that runs on request only."""

LARGE_ROWS = 2_000_000
"""From here on Python reads a Feather file, where pyarrow is installed: CSV takes too long."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen cases; write ``latest.md``, ``latest.json`` and the plots."""
    options = parse(argv)
    # as pip leaves an installed package: the peers' byte code is there too
    compileall.compile_dir(Path(mixedmodels.__file__).parent, quiet=1)
    about, results = machine.environment(), []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.cases:
            results.append(run_case(CASES[name], options, Path(scratch)))
            print(report.case_section(results[-1]), end="\n\n", flush=True)
    if options.slow and not options.quick:
        slow.store(results, {name: CASES[name].on_request for name in options.cases}, RESULTS)
    if not options.quick:
        slow.quote(results, RESULTS)
    record = {"environment": about, "quick": options.quick, "cases": results}
    folder = options.output or (RESULTS if is_full(options) else SCRATCH)
    for file in report.write(record, folder):
        print(file)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog="python -m benchmarks growth: time against rows, levels and columns.  "
        "python -m benchmarks report: write tables and plots again from the stored figures.",
    )
    parser.add_argument("--quick", action="store_true", help="small data, two rounds")
    parser.add_argument("--slow", action="store_true", help="also what takes many minutes")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    parser.add_argument("--repeats", type=int, help="rounds of each case (default: its own)")
    parser.add_argument(
        "--timeout", type=float, help="seconds for one process (default: the case's)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for the results (default: benchmarks/results; build/benchmarks for a quick "
        "run and for a part of the cases or packages)",
    )
    return parser.parse_args(argv)


def is_full(options: argparse.Namespace) -> bool:
    """Whether a run may replace the published results."""
    everything = set(options.cases) == set(CASES) and set(options.peers) == set(PEERS)
    return everything and not options.quick


@dataclass(frozen=True, slots=True)
class Files:
    """The data of a case as its processes read them."""

    python: Path
    r: Path
    warm_up: Path


def run_case(case: Case, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one case: round after round, each peer once a round."""
    frame = case.build(QUICK_SHRINK if options.quick else 1)
    n_rows, peers = len(frame), asked(case, options)
    entries = {peer.name: entry(case, peer, n_rows, options) for peer in peers}
    r = case.whole_process or any(p is LME4 and not entries[p.name]["skipped"] for p in peers)
    files = write_data(case, frame, folder, r=r)
    del frame  # the measured processes need the memory
    for _ in range(options.repeats or (2 if options.quick else case.rounds)):
        for peer in peers:
            found = entries[peer.name]
            if not found["skipped"] and not too_slow(found["runs"]):
                add_run(found, run_process(case, peer, files, options))
    for file in folder.iterdir():
        file.unlink()
    return {
        "case": case.name,
        "title": case.title,
        "formula": case.formula,
        "kind": case.kind,
        "n_rows": n_rows,
        "peers": entries,
    }


def asked(case: Case, options: argparse.Namespace) -> list[Peer]:
    """Return the packages that a case is for, whether they can fit it or not."""
    peers = [PEERS[name] for name in options.peers]
    if case.kind == "first-use":
        return [peer for peer in peers if peer is MIXEDMODELS]
    beside = [p for p in peers if p is not MIXEDMODELS_ML or not p.refuses(case, 0)]
    return [*beside, IMPORTS] if case.kind == "startup" else beside


def entry(case: Case, peer: Peer, n_rows: int, options: argparse.Namespace) -> dict[str, Any]:
    """A peer's place in the results of a case, before it runs."""
    reason = peer.refuses(case, n_rows)
    if not reason and peer.name in case.on_request and not (options.slow or options.quick):
        reason = slow.ON_REQUEST
    return {"skipped": reason, "runs": []}


def add_run(found: dict[str, Any], figures: dict[str, Any]) -> None:
    """Keep the figures of a run, or why there are none."""
    if "failed" in figures:
        found["skipped"] = figures.pop("failed")
        found.update(figures)
    else:
        found["runs"].append(figures)


def write_data(case: Case, frame: pd.DataFrame, folder: Path, *, r: bool) -> Files:
    """Write what the processes read: CSV, and Feather where CSV would take too long."""
    csv, feather = folder / f"{case.name}.csv", folder / f"{case.name}.feather"
    large = len(frame) >= LARGE_ROWS and importlib.util.find_spec("pyarrow") is not None
    if large:
        frame.to_feather(feather)
    if r or not large:
        frame.to_csv(csv, index=False)
    warm_up = folder / f"{case.name}-small.csv"
    case.build(QUICK_SHRINK).to_csv(warm_up, index=False)
    return Files(feather if large else csv, csv, warm_up)


def too_slow(runs: list[dict[str, Any]]) -> bool:
    return bool(runs) and runs[-1]["process_seconds"] > SLOW_SECONDS


def run_process(
    case: Case, peer: Peer, files: Files, options: argparse.Namespace
) -> dict[str, Any]:
    """Run one process and return its figures, or why there are none."""
    print(f"{case.name}: {peer.name}", file=sys.stderr, flush=True)
    command = process_command(case, peer, files, min(case.calls, 3 if options.quick else 99))
    limit = options.timeout or (SLOW_TIMEOUT if peer.name in case.on_request else case.timeout)
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False,
                env=empty_caches(cache) if case.kind == "first-use" else None,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"failed": f"stopped after {limit:.0f} s", "stopped_after": limit}
        elapsed = time.perf_counter() - started
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"failed": "failed: " + lines[-1][:150]}
    if case.whole_process:
        return {"seconds": [elapsed], "process_seconds": elapsed}
    return {**json.loads(done.stdout.splitlines()[-1]), "process_seconds": elapsed}


def empty_caches(folder: str) -> dict[str, str]:
    """Return an environment in which nothing compiled on first use is found again."""
    return {**os.environ, "NUMBA_CACHE_DIR": folder, "XDG_CACHE_HOME": folder}


def process_command(case: Case, peer: Peer, files: Files, calls: int) -> list[str]:
    """Return the command line of one measured process."""
    rscript = shutil.which("Rscript") or "Rscript"
    if case.whole_process:
        start = [rscript, "-e"] if peer is LME4 else [sys.executable, "-c"]
        return [*start, peer.first_fit.format(csv=str(files.r))]
    if peer is LME4:
        script = str(ROOT / "benchmarks" / "worker.R")
        formulas = [case.kind, case.formula, case.to_warm_up().formula]
        return [rscript, script, *formulas, str(files.r), str(files.warm_up), str(calls)]
    worker = [sys.executable, "-m", "benchmarks.worker"]
    return [*worker, case.name, peer.name, str(files.python), str(files.warm_up), str(calls)]
