"""Where it was measured: date, machine and versions."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from benchmarks.peers import IMPORTS, MIXEDMODELS_ML, PEERS, version


def environment() -> dict[str, str]:
    """Date, machine and versions."""
    measured = [peer for peer in PEERS.values() if peer is not MIXEDMODELS_ML]
    versions = [f"{p.name} {version(p) or 'not installed'}" for p in measured]
    names, numbers = ("numpy", "scipy", "pandas"), (version(IMPORTS) or "").split(", ")
    return {
        "date": today(),
        "machine": machine(),
        "Python": platform.python_version(),
        "versions": "; ".join(versions),
        "libraries": "; ".join(" ".join(pair) for pair in zip(names, numbers, strict=True)),
    }


def today() -> str:
    """Date and time, to the minute."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def machine() -> str:
    """Processor, cores and system."""
    return f"{processor()}, {os.cpu_count()} cores, {platform.system()}"


def processor() -> str:
    """The processor's name, as well as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
