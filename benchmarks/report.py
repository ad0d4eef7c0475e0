"""What comes out: medians and ratios as Markdown for people, every run as JSON for machines."""

from __future__ import annotations

import datetime
import json
import os
import platform
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.peers import IMPORTS, MIXEDMODELS, PEERS, version

HEADER = (
    "| package | median | x ours | fastest - slowest | CPU | memory (MB) "
    "| criterion - best | runs |\n|---|--:|--:|--:|--:|--:|--:|--:|"
)
NOTES = """\
Every run is a process of its own; the packages take turns. The data frame is read, and a small one
fitted, before the clock starts (except in `startup`, which times the whole process). *x ours*: the
median divided by that of mixedmodels. *CPU*: processor seconds of a call, all threads. *Memory*:
what the calls added at their highest to the use before them, and the highest use of the process
itself (Linux only). *Criterion - best*: the REML criterion
reached, less the lowest that any package reached. A package whose process takes longer than 30 s
runs once; one that takes longer than 120 s is stopped."""


def write(results: list[dict[str, Any]], folder: Path, *, quick: bool) -> None:
    """Write ``latest.md`` and ``latest.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    about = environment()
    facts = "\n".join(f"- {key}: {value}" for key, value in about.items())
    size = (
        "\n\n**Quick mode: small data, a check of the harness and no benchmark.**" if quick else ""
    )
    tables = "\n\n".join(case_table(result) for result in results)
    text = f"# Benchmarks\n\n{facts}{size}\n\n{NOTES}\n\n{tables}\n"
    (folder / "latest.md").write_text(text, encoding="utf-8")
    record = {"environment": about, "quick": quick, "cases": results}
    (folder / "latest.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def environment() -> dict[str, str]:
    """Date, machine and versions."""
    versions = [f"{p.name} {version(p) or 'not installed'}" for p in PEERS.values()]
    names, numbers = ("numpy", "scipy", "pandas"), (version(IMPORTS) or "").split(", ")
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "Python": platform.python_version(),
        "versions": "; ".join(versions),
        "libraries": "; ".join(" ".join(pair) for pair in zip(names, numbers, strict=True)),
    }


def processor() -> str:
    """The processor's name, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def case_table(result: dict[str, Any]) -> str:
    """One case as a Markdown table."""
    peers = result["peers"]
    medians = {name: median(every(peer["runs"], "seconds")) for name, peer in ran(peers).items()}
    criteria = [
        run["criterion"] for peer in peers.values() for run in peer["runs"] if "criterion" in run
    ]
    ours, best = medians.get(MIXEDMODELS.name), min(criteria, default=None)
    rows = [
        row(name, peer["runs"], medians[name], ours, best)
        if peer["runs"]
        else f"| {label(name)} | {peer['skipped']} | | | | | | |"
        for name, peer in peers.items()
    ]
    title = f"## {result['title']}\n\n`{result['formula']}` ({result['n_rows']:,} rows)"
    return "\n".join([title, "", HEADER, *rows])


def row(
    name: str, runs: list[dict[str, Any]], middle: float, ours: float | None, best: float | None
) -> str:
    """One package's line of a table."""
    seconds, cpu = every(runs, "seconds"), every(runs, "cpu_seconds")
    gaps = [run["criterion"] - best for run in runs if best is not None and "criterion" in run]
    cells = [
        label(name),
        duration(middle),
        f"{middle / ours:.2f}" if ours else "",
        f"{duration(min(seconds))} - {duration(max(seconds))}",
        duration(median(cpu)) if cpu else "",
        memory(runs),
        f"{max(gaps):.1e}" if gaps else "",
        str(len(seconds)),
    ]
    return "| " + " | ".join(cells) + " |"


def memory(runs: list[dict[str, Any]]) -> str:
    """Memory added by the calls and the total of the process, both at their highest."""
    known = [run for run in runs if run.get("before_mb") and run.get("peak_mb")]
    if not known:
        return ""
    added = median(run["peak_mb"] - run["before_mb"] for run in known)
    return f"+{added:.1f} = {median(run['peak_mb'] for run in known):.0f}"


def ran(peers: dict[str, Any]) -> dict[str, Any]:
    """The peers that have figures."""
    return {name: peer for name, peer in peers.items() if peer["runs"]}


def every(runs: list[dict[str, Any]], key: str) -> list[float]:
    """The figures of all runs in one list."""
    return [value for run in runs for value in run.get(key, [])]


def label(name: str) -> str:
    """A package's name in the tables."""
    return "numpy + scipy + pandas, import only" if name == IMPORTS.name else name


def duration(seconds: float) -> str:
    """Seconds with a readable unit."""
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
