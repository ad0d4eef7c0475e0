"""What comes out: tables as Markdown for people, every run as JSON for machines, plots."""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Line, duration, left_out, lines, ours, rounded

HEADER = (
    "| package | median | x ours | fastest - slowest | CPU | memory (MB) "
    "| criterion - best | evaluations | first fit | calls |\n|---" + "|--:" * 9 + "|"
)
NOTES = """\
Every run is a process of its own; the packages take turns. The data frame is read, and a small one
fitted, before the clock starts (except where a whole process is timed).

- *x ours*: the median divided by that of mixedmodels.
- *CPU*: processor seconds of a call, all threads.
- *memory*: what the calls added at their highest to the use before them, and the highest use of
  the process itself (Linux only). What a package takes again from memory it had freed, as R does,
  is not seen in the former.
- *criterion - best*: the criterion reached, less the lowest that any package reached. All fit by
  REML but GPBoost, which knows maximum likelihood only: it is compared with *mixedmodels, by ML*.
  Its criterion is evaluated at its estimates from a Cholesky factor, since what it reports for
  several factors is a stochastic approximation.
- *evaluations*: of criterion and gradient, in the last fit.
- *first fit*: of a small frame in the first process, lazy imports and any compilation included.

A package whose process takes longer than 30 s runs once; one that exceeds the case's limit
(two minutes; five for a million ratings, ten for the maximal structure) is stopped. Figures that
are marked as stored were measured on request (`--slow`), on the day and machine given."""

PLOTS = {
    "time.png": "Time of a fit, as a multiple of ours",
    "memory.png": "Memory that a fit adds, as a multiple of ours",
    "criterion.png": "Criterion above the best that any package reached",
}
QUICK = "**Quick mode: small data, a check of the harness and no benchmark.**"


def write(record: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``latest.md``, ``latest.json`` and, with matplotlib, the plots; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    text, data = folder / "latest.md", folder / "latest.json"
    data.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    plots = draw(record, folder)
    text.write_text(markdown(record, [plot.name for plot in plots]), encoding="utf-8")
    return [text, data, *plots]


def draw(record: dict[str, Any], folder: Path) -> list[Path]:
    """Draw the plots, or say why there are none."""
    if importlib.util.find_spec("matplotlib") is None:
        print("no plots: matplotlib is not installed")
        return []
    from benchmarks import plots

    return plots.draw(record["cases"], folder)


def markdown(record: dict[str, Any], plots: Sequence[str] = ()) -> str:
    """The whole report."""
    facts = "\n".join(f"- {key}: {value}" for key, value in record["environment"].items())
    images = [f"![{PLOTS[name]}]({name})" for name in plots]
    sections = [case_section(result) for result in record["cases"]]
    quick = [QUICK] if record["quick"] else []
    return "\n\n".join(["# Benchmarks", facts, *quick, *images, NOTES, *sections]) + "\n"


def case_section(result: dict[str, Any]) -> str:
    """One case: title, table, and who is not in it."""
    found = lines(result)
    base = ours(found)
    title = f"## {result['title']}\n\n`{result['formula']}` ({result['n_rows']:,} rows)"
    rows = [row(line, base) for line in found]
    parts = [title, "\n".join([HEADER, *rows])]
    stored = [f"{line.label}: {line.stored}" for line in found if line.stored]
    if stored:
        parts.append("Stored figures: " + "; ".join(stored) + ".")
    reasons = {
        name: why
        for name, why in left_out(result).items()
        if not any(line.label == name and (line.stored or line.stopped_after) for line in found)
    }
    if reasons:
        parts.append("Not here: " + "; ".join(f"{k} ({v})" for k, v in reasons.items()) + ".")
    return "\n\n".join(parts)


def row(line: Line, base: Line | None) -> str:
    """One package's line of a table."""
    name = line.label + (" (stored)" if line.stored else "")
    if line.seconds is None:
        return f"| {name} | > {line.stopped_after:,.0f} s |" + " |" * 8
    cells = [
        name,
        duration(line.seconds),
        rounded(line.seconds / base.seconds) if base and base.seconds else "",
        f"{duration(line.fastest)} - {duration(line.slowest)}",
        duration(line.cpu_seconds),
        "" if line.added_mb is None else f"+{line.added_mb:.1f} = {line.peak_mb:.0f}",
        "" if line.gap is None else f"{line.gap:.1e}",
        "" if line.evaluations is None else f"{line.evaluations:.0f}",
        duration(line.warm_up_seconds),
        str(line.n_calls),
    ]
    return "| " + " | ".join(cells) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """Write tables and plots again from the stored figures of a folder."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks report", description=main.__doc__)
    default = Path(__file__).parent / "results"
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    folder = parser.parse_args(argv).folder
    record = json.loads((folder / "latest.json").read_text(encoding="utf-8"))
    for file in write(record, folder):
        print(file)
    return 0
