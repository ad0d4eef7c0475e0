"""From runs to figures: one line for each package of a case, for the tables and the plots."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.peers import IMPORTS, MIXEDMODELS, MIXEDMODELS_ML, PEERS

Runs = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """What one package did in one case; None where it was not measured.

    Attributes
    ----------
    name, label : str
        For lookups and for readers.
    seconds, fastest, slowest, cpu_seconds : float or None
        Median, extremes and processor time of a call.
    added_mb, peak_mb : float or None
        Memory at its highest during the calls: above what was used before them, and in all.
    criterion, gap : float or None
        Criterion reached, and that less the lowest of its kind that any package reached.
    likelihood : str
        The kind of criterion.
    evaluations : float or None
        Evaluations of the criterion in the last fit.
    warm_up_seconds : float or None
        The first fit of the first process, of a small frame: lazy imports, compilation.
    n_calls : int
        How many calls were timed.
    stopped_after : float or None
        Seconds after which its process was stopped without a result.
    stored : str
        Date and machine of a figure that is not from this run.
    """

    name: str
    label: str
    seconds: float | None
    fastest: float | None
    slowest: float | None
    cpu_seconds: float | None
    added_mb: float | None
    peak_mb: float | None
    criterion: float | None
    gap: float | None
    likelihood: str
    evaluations: float | None
    warm_up_seconds: float | None
    n_calls: int
    stopped_after: float | None
    stored: str


def lines(result: dict[str, Any]) -> list[Line]:
    """The packages of a case that have figures or were stopped, in the order of the table."""
    measured = {name: peer.get("stored", peer) for name, peer in result["peers"].items()}
    best: dict[str, float] = {}
    for peer in measured.values():
        for run in with_criterion(peer["runs"]):
            kind = run.get("likelihood", "REML")
            best[kind] = min(best.get(kind, run["criterion"]), run["criterion"])
    return [
        line(name, peer, best)
        for name, peer in measured.items()
        if peer["runs"] or "stopped_after" in peer
    ]


def line(name: str, peer: dict[str, Any], best: dict[str, float]) -> Line:
    """The figures of one package."""
    runs = peer["runs"]
    seconds, cpu = every(runs, "seconds"), every(runs, "cpu_seconds")
    gaps = [r["criterion"] - best[r.get("likelihood", "REML")] for r in with_criterion(runs)]
    known = [run for run in runs if run.get("before_mb") and run.get("peak_mb")]
    stored = f"{peer['date']}, {peer['machine']}, {peer['version']}" if "date" in peer else ""
    return Line(
        name=name,
        label=label(name),
        seconds=median(seconds) if seconds else None,
        fastest=min(seconds, default=None),
        slowest=max(seconds, default=None),
        cpu_seconds=median(cpu) if cpu else None,
        added_mb=median(run["peak_mb"] - run["before_mb"] for run in known) if known else None,
        peak_mb=median(run["peak_mb"] for run in known) if known else None,
        criterion=max((run["criterion"] for run in with_criterion(runs)), default=None),
        gap=max(gaps, default=None),
        likelihood=likelihood(name),
        evaluations=next((run["evaluations"] for run in runs if run.get("evaluations")), None),
        warm_up_seconds=next((run.get("warm_up_seconds") for run in runs), None),
        n_calls=len(seconds),
        stopped_after=None if runs else peer.get("stopped_after"),
        stored=stored,
    )


def left_out(result: dict[str, Any]) -> dict[str, str]:
    """Why packages have no figures, or fewer than others: label, reason."""
    peers = result["peers"].items()
    return {label(name): peer["skipped"] for name, peer in peers if peer["skipped"]}


def ours(found: list[Line]) -> Line | None:
    """The line that the others are compared with."""
    return next((line for line in found if line.name == MIXEDMODELS.name), None)


def with_criterion(runs: Runs) -> Runs:
    """The runs that report a criterion."""
    return [run for run in runs if math.isfinite(run.get("criterion") or math.nan)]


def every(runs: Runs, key: str) -> list[float]:
    """The figures of all runs in one list."""
    return [value for run in runs for value in run.get(key, [])]


def likelihood(name: str) -> str:
    """What a package maximises."""
    return PEERS[name].likelihood if name in PEERS else "REML"


def label(name: str) -> str:
    """A package's name for readers."""
    if name == IMPORTS.name:
        return "numpy + scipy + pandas, import only"
    if name == MIXEDMODELS_ML.name:
        return "mixedmodels, by ML"
    return f"{name} (ML)" if likelihood(name) == "ML" else name


def duration(seconds: float | None) -> str:
    """Seconds in three digits with a readable unit."""
    if seconds is None:
        return ""
    value, unit = (seconds * 1e3, "ms") if seconds < 1 else (seconds, "s")
    return f"{rounded(value)} {unit}"


def rounded(value: float) -> str:
    """A positive number in three digits, never in powers of ten."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
