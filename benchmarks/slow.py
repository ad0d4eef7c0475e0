"""Figures of packages too slow for every run: measured on request, stored, and quoted with date."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.peers import PEERS, version

FILE = "slow.json"
ON_REQUEST = "measured on request only (--slow)"

Results = list[dict[str, Any]]


def load(folder: Path) -> dict[str, dict[str, Any]]:
    """Stored figures: case, then peer; empty where nothing was measured yet."""
    file = folder / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def store(results: Results, on_request: dict[str, tuple[str, ...]], folder: Path) -> None:
    """Put the slow packages' new figures in the place of the older ones.

    Parameters
    ----------
    results : list of dict
        Of this run.
    on_request : dict
        The slow packages of each case.
    folder : Path
        Where the stored figures are.
    """
    stored = load(folder)
    for result in results:
        for name in on_request[result["case"]]:
            peer = result["peers"].get(name)
            if peer and (peer["runs"] or "stopped_after" in peer):
                stored.setdefault(result["case"], {})[name] = {**peer, **provenance(name)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def provenance(name: str) -> dict[str, str]:
    """When, on what and with which version a figure was measured."""
    return {
        "date": machine.today(),
        "machine": machine.machine(),
        "version": version(PEERS[name]) or "",
    }


def quote(results: Results, folder: Path) -> None:
    """Give the packages that were left out as slow their stored figures."""
    stored = load(folder)
    for result in results:
        for name, peer in result["peers"].items():
            if peer["skipped"] == ON_REQUEST and name in stored.get(result["case"], {}):
                peer["stored"] = stored[result["case"]][name]
