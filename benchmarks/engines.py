"""Fits of tables that need not fit in memory: time and peak memory against rows, by engine.

Each fit runs in a process of its own, whose memory is limited by the operating system: a fit that
needed more would fail, not swap.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import machine
from benchmarks.figures import duration
from benchmarks.growth import exponent
from benchmarks.run import RESULTS, ROOT, SCRATCH
from benchmarks.worker import memory_status

FORMULA = "y ~ x + f + (x | g)"
GROUPS = 200_000
GB = 2**30
QUICK, FULL, SLOW = (500_000, 1_000_000), (1_000_000, 5_000_000, 20_000_000), 100_000_000
# bytes of data that the process of an engine may hold; Polars reserves more than it uses
LIMITS = {"duckdb": 3 * GB}
ENGINES = ("duckdb", "polars", "memory")
NOTES = f"""\
`{FORMULA}` with {GROUPS:,} groups, from one Parquet file of four columns (y, x: 64-bit floats,
f: text of four levels, g: 64-bit integers). Each fit in a process of its own; Python and its
imports count in memory, not in time. The system lets the process of DuckDB hold
{LIMITS["duckdb"] // GB} GB of data (`RLIMIT_DATA`), and what asked for more would fail; DuckDB
itself is told to keep to 1 GB. *In memory* is `polars.read_parquet` and a fit of the frame.
*Processors*: seconds of all cores together, which a busy machine changes less. *Of it the fit*: the
same fit from sums at hand. *Exponent*: slope of log processor seconds on log rows over the upper
half of the range. What a run did not measure stands with its own date."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure fits of Parquet files by DuckDB and Polars, beside a frame in memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks engines", description=main.__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument("--slow", action="store_true", help=f"{SLOW:,} rows too, by DuckDB")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rows", nargs="+", type=int, help="these sizes instead")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    parser.add_argument("--output", type=Path, help="folder for the results")
    options = parser.parse_args(argv)
    sizes = options.rows or (QUICK if options.quick else FULL)
    points: list[dict[str, Any] | None] = []
    full = not options.rows and not options.quick and options.engines == list(ENGINES)
    results = options.output or (RESULTS if full else SCRATCH)
    with TemporaryDirectory(prefix="mixedmodels-") as folder:
        for n in (*sizes, *([SLOW] if options.slow else [])):
            file = Path(folder) / f"{n}.parquet"
            run("write", file, n)
            for engine in options.engines if n < SLOW else ["duckdb"]:
                repeats = options.repeats if n < SLOW else 1
                points.append(fastest([run(engine, file, n) for _ in range(repeats)]))
            file.unlink()
            # after each size, so that a long run leaves what it has
            record = {"environment": machine.environment(), "points": [p for p in points if p]}
            written = write(record, results)
    print(*written, sep="\n")
    return 0


def fastest(points: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """The fastest of some runs, with the highest memory of all."""
    done = [point for point in points if point]
    if not done:
        return None
    best = min(done, key=lambda point: point["seconds"])
    return best | {"peak_mb": max(point["peak_mb"] for point in done)}


def run(task: str, file: Path, n: int) -> dict[str, Any] | None:
    """One task in a process of its own; None, with a message, when it fails."""
    print(f"engines: {task} {n:,}", file=sys.stderr, flush=True)
    code = f"from benchmarks.engines import work; work({task!r}, {str(file)!r}, {n})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print((done.stderr.strip() or "ended by the system").splitlines()[-1], file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


def work(task: str, file: str, n: int) -> None:
    """What happens in a process: write the file, or fit it and print the figures."""
    warnings.simplefilter("ignore")
    if task == "write":
        write_file(file, n)
        print("{}")
        return
    import mixedmodels as mm

    warm_up()
    limit = LIMITS.get(task)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    table = TABLES[task](file)
    started, cpu = time.perf_counter(), time.process_time()
    frame = table()
    model = mm.lmer(FORMULA, frame)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    figures = {
        "engine": task,
        "rows": n,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "fit_seconds": refit_seconds(model),
        "peak_mb": memory_status().get("VmHWM", 0) / 1024,
        "limit": "none" if limit is None else f"{limit // GB} GB",
        "date": machine.today(),
        "file_mb": Path(file).stat().st_size / 2**20,
        "criterion": model.criterion,
    }
    print(json.dumps(figures))


def refit_seconds(model: Any) -> float:
    """Seconds of the same fit from its sums: what does not depend on the rows."""
    if model.source.sums is None:
        return 0.0
    started = time.perf_counter()
    model.update(". ~ .")
    return time.perf_counter() - started


def warm_up() -> None:
    """Imports that a first fit brings."""
    import polars as pl

    import mixedmodels as mm

    frame = mm.datasets.load("piglets")
    mm.lmer("BW ~ time + treatm + (time | animal)", frame)
    mm.lmer("BW ~ time + treatm + (time | animal)", pl.from_pandas(frame).lazy())


def _duckdb(file: str) -> Callable[[], Any]:
    import duckdb

    settings = {"memory_limit": "1GB", "threads": "2", "preserve_insertion_order": "false"}
    connection = duckdb.connect(config=settings)
    return lambda: connection.read_parquet(file)


def _polars(file: str) -> Callable[[], Any]:
    import polars as pl

    return lambda: pl.scan_parquet(file)


def _memory(file: str) -> Callable[[], Any]:
    import polars as pl

    return lambda: pl.read_parquet(file)


TABLES: dict[str, Callable[[str], Callable[[], Any]]] = {
    "duckdb": _duckdb,
    "polars": _polars,
    "memory": _memory,
}


def write_file(file: str, n: int) -> None:
    """Write seeded data: DuckDB's hash stands for random numbers, the same on every machine.

    A sum of four uniforms is near enough to a normal deviate.
    """
    import duckdb

    def uniform(k: int, of: str = "i") -> str:
        return f"((hash({of} * 31 + {k}) % 1000003) / 1000003.0 - 0.5)"

    def normal(k: int, of: str = "i") -> str:
        return f"sqrt(3.0) * ({' + '.join(uniform(10 * k + j, of) for j in range(4))})"

    connection = duckdb.connect(config={"memory_limit": "2GB", "preserve_insertion_order": "false"})
    connection.execute(
        f"""
        copy (
            select 1.0 + 0.5 * x + 0.8 * {normal(1, "g")} + 0.4 * x * {normal(2, "g")}
                + (f = 'b')::int * 0.3 + {normal(3)} as y, x, f, g
            from (
                select i, {normal(4)} as x, ['a', 'b', 'c', 'd'][1 + (hash(i + 5) % 4)::int] as f,
                    (hash(i * 7 + 3) % {GROUPS})::bigint as g
                from range({n}) t(i)
            )
        ) to '{file}' (format parquet)
        """
    )


# --- report ---------------------------------------------------------------------------------------


def write(record: dict[str, Any], folder: Path) -> list[Path]:
    """Write ``engines.md`` and ``engines.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    text, data = folder / "engines.md", folder / "engines.json"
    if data.exists():
        known = json.loads(data.read_text(encoding="utf-8"))["points"]
        points = {(p["engine"], p["rows"]): p for p in [*known, *record["points"]]}
        record = record | {"points": list(points.values())}
    data.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    text.write_text(markdown(record), encoding="utf-8")
    return [text, data]


def markdown(record: dict[str, Any]) -> str:
    """The table of all fits."""
    environment = dict(record["environment"]) | {"engines": versions()}
    facts = "\n".join(f"- {key}: {value}" for key, value in environment.items())
    names = {"duckdb": "DuckDB", "polars": "Polars, lazy", "memory": "in memory"}
    heads = ("rows", "file", "time", "processors", "of it the fit", "peak memory", "limit", "date")
    head = f"| engine | {' | '.join(heads)} |"
    rows = [
        f"| {names[p['engine']]} | {p['rows']:,} | {p['file_mb'] / 1024:.2f} GB "
        f"| {duration(p['seconds'])} | {duration(p['cpu_seconds'])} "
        f"| {duration(p['fit_seconds']) if p['fit_seconds'] else ''} "
        f"| {p['peak_mb'] / 1024:.2f} GB | {p['limit']} | {p['date'][:10]} |"
        for p in sorted(record["points"], key=lambda p: (ENGINES.index(p["engine"]), p["rows"]))
    ]
    slopes = []
    for engine in ENGINES:
        own = sorted(
            (p for p in record["points"] if p["engine"] == engine), key=lambda p: p["rows"]
        )
        if len(own) > 1:
            slope = exponent([p["rows"] for p in own], [p["cpu_seconds"] for p in own])
            slopes.append(f"| {names[engine]} | {slope:.2f} |")
    table = "\n".join([head, "|---|--:|--:|--:|--:|--:|--:|--:|--:|", *rows])
    growth = "\n".join(["| engine | exponent |", "|---|--:|", *slopes])
    return "\n\n".join(["# Engines", facts, NOTES, table, growth]) + "\n"


def versions() -> str:
    """Versions of the engines."""
    from importlib import metadata

    known = [n for n in ("duckdb", "polars", "narwhals") if importlib.util.find_spec(n)]
    return ", ".join(f"{name} {metadata.version(name)}" for name in known)
