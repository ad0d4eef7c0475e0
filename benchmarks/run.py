"""How it is measured: every run in a process of its own, the peers taking turns."""

from __future__ import annotations

import argparse
import compileall
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mixedmodels
from benchmarks import report
from benchmarks.data import CASES, QUICK_SHRINK, Case
from benchmarks.peers import IMPORTS, LME4, PEERS, Peer

ROOT = Path(__file__).resolve().parent.parent
SLOW_SECONDS = 30
"""A peer whose process took longer than this is run once only."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the chosen cases and write ``results/latest.md`` and ``results/latest.json``."""
    options = parse(argv)
    # as pip leaves an installed package: the peers' byte code is there too
    compileall.compile_dir(Path(mixedmodels.__file__).parent, quiet=1)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases:
            results.append(run_case(CASES[name], options, Path(folder)))
            print(report.case_table(results[-1]), end="\n\n", flush=True)
    report.write(results, options.output, quick=options.quick)
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small data, two rounds")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    parser.add_argument("--repeats", type=int, help="rounds of each case (default: its own)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one process")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args(argv)


def run_case(case: Case, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one case: round after round, each peer once a round."""
    frame = case.build(QUICK_SHRINK if options.quick else 1)
    csv, warm_up = folder / f"{case.name}.csv", folder / f"{case.name}-small.csv"
    frame.to_csv(csv, index=False)
    case.build(QUICK_SHRINK).to_csv(warm_up, index=False)
    peers = [PEERS[name] for name in options.peers]
    if case.kind == "startup":
        peers.append(IMPORTS)
    skipped = {peer.name: peer.refuses(case, len(frame)) for peer in peers}
    runs: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
    for _ in range(options.repeats or (2 if options.quick else case.rounds)):
        for peer in peers:
            if skipped[peer.name] or too_slow(runs[peer.name]):
                continue
            figures = run_process(case, peer, csv, warm_up, options)
            skipped[peer.name] = figures.pop("failed", None)
            if not skipped[peer.name]:
                runs[peer.name].append(figures)
    return {
        "case": case.name,
        "title": case.title,
        "formula": case.formula,
        "kind": case.kind,
        "n_rows": len(frame),
        "peers": {p.name: {"skipped": skipped[p.name], "runs": runs[p.name]} for p in peers},
    }


def too_slow(runs: list[dict[str, Any]]) -> bool:
    return bool(runs) and runs[-1]["process_seconds"] > SLOW_SECONDS


def run_process(
    case: Case, peer: Peer, csv: Path, warm_up: Path, options: argparse.Namespace
) -> dict[str, Any]:
    """Run one process and return its figures, or why there are none."""
    print(f"{case.name}: {peer.name}", file=sys.stderr, flush=True)
    command = process_command(case, peer, csv, warm_up, min(case.calls, 3 if options.quick else 99))
    started = time.perf_counter()
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=options.timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"stopped after {options.timeout:.0f} s"}
    elapsed = time.perf_counter() - started
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"failed": "failed: " + lines[-1][:150]}
    if case.kind == "startup":
        return {"seconds": [elapsed], "process_seconds": elapsed}
    return {**json.loads(done.stdout.splitlines()[-1]), "process_seconds": elapsed}


def process_command(case: Case, peer: Peer, csv: Path, warm_up: Path, calls: int) -> list[str]:
    """Return the command line of one measured process."""
    rscript = shutil.which("Rscript") or "Rscript"
    if case.kind == "startup":
        start = [rscript, "-e"] if peer is LME4 else [sys.executable, "-c"]
        return [*start, peer.first_fit.format(csv=str(csv))]
    if peer is LME4:
        worker = str(ROOT / "benchmarks" / "worker.R")
        return [rscript, worker, case.kind, case.formula, str(csv), str(warm_up), str(calls)]
    worker = [sys.executable, "-m", "benchmarks.worker"]
    return [*worker, case.name, peer.name, str(csv), str(warm_up), str(calls)]
