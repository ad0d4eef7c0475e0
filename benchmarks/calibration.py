"""Simulation study of the level of tests and the coverage of intervals in small samples.

Responses are simulated, with NumPy alone, from known parameters on a few small designs, and every
method is asked for its p-value or its interval. A test that holds its level rejects a true null
hypothesis at that rate; an interval that covers holds the true value at its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mixedmodels as mm
from benchmarks import machine
from benchmarks.run import RESULTS, SCRATCH

LEVELS = (0.01, 0.05, 0.10)
COVERAGE = 0.95
SEED = 20_250_101
CHUNK = 20
"""Data sets that one task of a parallel run takes."""

WALD, LRT, SAT, KR = "Wald z", "LRT, chi-squared", "Satterthwaite", "Kenward-Roger"
PB, BARTLETT, MIXTURE = "bootstrap", "bootstrap, Bartlett", "LRT, mixture"
LOG_WALD, PROFILE = "Wald, log scale", "profile"
BOOT = {"percentile": "bootstrap percentile", "basic": "bootstrap basic", "bca": "bootstrap BCa"}

TESTS = {"fixed": (WALD, LRT, SAT, KR, PB, BARTLETT), "variance": (LRT, MIXTURE, PB)}
INTERVALS = {
    "effect": (WALD, SAT, KR, PROFILE, *BOOT.values()),
    "sd": (LOG_WALD, PROFILE, *BOOT.values()),
}
DDF = {WALD: "none", SAT: "satterthwaite", KR: "kenward-roger"}


@dataclass(frozen=True, slots=True)
class Design:
    """What is simulated, and which hypothesis is tested.

    Attributes
    ----------
    name, title : str
    kind : {"fixed", "variance"}
        What the null hypothesis, which is true, sets to zero.
    frame : callable
        Returns the rows, without the response.
    large, small : str
        Formulas of the model and of the null hypothesis.
    sds : tuple of float
        Standard deviations of the random intercepts, and of the slopes of ``time``. That of the
        residuals is one; all fixed effects are zero, since no method depends on them.
    effect, sd : str
        The parameters whose intervals are looked at.
    """

    name: str
    title: str
    kind: str
    frame: Callable[[], pd.DataFrame]
    large: str
    small: str
    sds: tuple[float, ...]
    effect: str = ""
    sd: str = ""

    @property
    def truth(self) -> dict[str, float]:
        """True values of `effect` and `sd`."""
        return {"effect": 0.0, "sd": self.sds[-1]}


def grouped(sizes: Sequence[int], treatments: str) -> pd.DataFrame:
    """Groups of these sizes, a treatment each; ``time`` counts rows of a group about its middle."""
    return pd.DataFrame(
        {
            "group": [f"g{i:02d}" for i, size in enumerate(sizes) for _ in range(size)],
            "treatment": [
                t for t, size in zip(treatments, sizes, strict=True) for _ in range(size)
            ],
            "time": [j - 0.5 * (size - 1) for size in sizes for j in range(size)],
        }
    )


_INTERCEPT = "y ~ treatment + (1 | group)", "y ~ 1 + (1 | group)"

DESIGNS = (
    Design(
        "6 groups", "6 groups of 4, two treatments of groups", "fixed",
        lambda: grouped([4] * 6, "ab" * 3), *_INTERCEPT, (1.0,),
        "treatment[T.b]", "sd_Intercept|group",
    ),
    Design(
        "12 groups", "12 groups of 4, two treatments of groups", "fixed",
        lambda: grouped([4] * 12, "ab" * 6), *_INTERCEPT, (1.0,),
        "treatment[T.b]", "sd_Intercept|group",
    ),
    Design(
        "unbalanced", "12 groups of 2 to 7, three treatments of 3, 4 and 5 groups", "fixed",
        lambda: grouped([2, 5, 7, 2, 3, 4, 7, 2, 3, 3, 5, 6], "aaabbbbccccc"), *_INTERCEPT, (0.7,),
        "treatment[T.c]", "sd_Intercept|group",
    ),
    Design(
        "slopes", "10 animals at 4 times, random slopes, treatment by time", "fixed",
        lambda: grouped([4] * 10, "ab" * 5), "y ~ treatment * time + (time | group)",
        "y ~ treatment + time + (time | group)", (1.0, 0.5),
        "treatment[T.b]:time", "sd_time|group",
    ),
    Design(
        "no intercepts", "12 groups of 4, variance of intercepts zero", "variance",
        lambda: grouped([4] * 12, "ab" * 6), "y ~ 1 + (1 | group)", "y ~ 1", (0.0,),
    ),
    Design(
        "no slopes", "15 groups of 5, variance of slopes zero", "variance",
        lambda: grouped([5] * 15, "abc" * 5), "y ~ time + (time | group)",
        "y ~ time + (1 | group)", (1.0,),
    ),
)  # fmt: skip
BY_NAME = {design.name: design for design in DESIGNS}


@dataclass(frozen=True, slots=True)
class Size:
    """How much is simulated.

    Attributes
    ----------
    n_tests, n_intervals : int
        Data sets of a design that are tested; the first of them that get intervals too.
    n_sim : int
        Replicates of a bootstrap test; every level times n_sim + 1 is a whole number.
    n_boot : int
        Replicates of a bootstrap interval.
    """

    n_tests: int
    n_intervals: int
    n_sim: int
    n_boot: int


FULL, QUICK = Size(2000, 1000, 199, 399), Size(40, 20, 99, 99)


# --- one data set ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Models:
    """The fitted models that take one simulated response after another."""

    frame: pd.DataFrame
    large: Any
    large_ml: Any
    small_ml: Any


@cache
def models(name: str) -> Models:
    """The models of a design, fitted to some response."""
    design = BY_NAME[name]
    frame = design.frame()
    frame["y"] = respond(design, frame, np.random.default_rng(SEED))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        large, small = mm.lmer(design.large, frame), design.small
        null = mm.lmer(small, frame, reml=False) if "|" in small else mm.lm(small, frame)
        return Models(frame, large, large.update(reml=False), null)


def respond(design: Design, frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """A response simulated from the true parameters."""
    codes, levels = pd.factorize(frame["group"])
    y = rng.standard_normal(len(frame))
    for sd, column in zip(design.sds, (1.0, frame["time"].to_numpy()), strict=False):
        y += sd * rng.standard_normal(len(levels))[codes] * column
    return y


def p_values(design: Design, y: np.ndarray, seed: int, n_sim: int) -> dict[str, float]:
    """The p-value of every test of the null hypothesis."""
    known = models(design.name)
    boot = mm.pbmodcomp(known.large_ml.refit(y), known.small_ml.refit(y), n_sim, seed)
    found = dict(zip(boot["test"], boot["p_value"], strict=True))
    large = known.large.refit(y)
    if design.kind == "variance":
        row = mm.ranova(large).iloc[-1]
        return {LRT: row["p_value"], MIXTURE: row["p_boundary"], PB: found["PBtest"]}
    sat, kr = (mm.drop1(large, ddf=DDF[name]) for name in (SAT, KR))
    return {
        WALD: wald(large, set(large.term_names) - set(known.small_ml.term_names)),
        LRT: found["LRT"],
        SAT: sat["p_value"].iloc[0],
        KR: kr["p_value"].iloc[0],
        PB: found["PBtest"],
        BARTLETT: found["Bartlett"],
    }


def wald(fit: Any, tested: set[str]) -> float:
    """p-value of the coefficients by the normal distribution, known variances assumed."""
    from scipy.stats import chi2

    at = [i for i, name in enumerate(fit.term_names) if name in tested]
    beta = fit.beta[at]
    return float(chi2.sf(beta @ np.linalg.solve(fit.vcov[np.ix_(at, at)], beta), len(at)))


def limits(design: Design, y: np.ndarray, seed: int, n_boot: int) -> dict[tuple[str, str], Any]:
    """Lower and upper limit of every interval: parameter and method."""
    fit = models(design.name).large.refit(y)
    parm = [design.effect, design.sd]
    tables = {name: mm.confint(fit, "wald", parm=parm, ddf=ddf) for name, ddf in DDF.items()}
    tables[PROFILE] = mm.confint(fit, "profile", parm=parm)
    boot = fit.bootstrap(n_boot, seed=seed)
    tables |= {name: boot.confint(kind) for kind, name in BOOT.items()}
    # the same table has Wald limits of both parameters
    tables[LOG_WALD] = tables[WALD]
    terms = {"effect": design.effect, "sd": design.sd}
    found = {}
    for parameter, name in interval_keys(design):
        table = tables[name].set_index("term")
        found[parameter, name] = table.loc[terms[parameter], ["conf_low", "conf_high"]].to_numpy()
    return found


# --- all data sets --------------------------------------------------------------------------------


def run_chunk(name: str, first: int, seeds: Sequence[Any], size: Size) -> tuple[Any, Any]:
    """p-values and limits of some data sets of a design; nan where a method gave up."""
    design = BY_NAME[name]
    tests = np.full((len(seeds), len(TESTS[design.kind])), np.nan)
    keys = interval_keys(design)
    intervals = np.full((len(seeds), len(keys), 2), np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, seed in enumerate(seeds):
            rng = np.random.default_rng(seed)
            y = respond(design, models(name).frame, rng)
            draws = [int(draw) for draw in rng.integers(2**31, size=2)]
            try:
                found = p_values(design, y, draws[0], size.n_sim)
                tests[i] = [found[method] for method in TESTS[design.kind]]
                if keys and first + i < size.n_intervals:
                    ends = limits(design, y, draws[1], size.n_boot)
                    intervals[i] = [ends[key] for key in keys]
            except (mm.MixedModelsError, np.linalg.LinAlgError):
                continue
    return tests, intervals


def interval_keys(design: Design) -> list[tuple[str, str]]:
    """Parameters and methods of the intervals of a design."""
    if design.kind == "variance":
        return []
    return [(parameter, method) for parameter, names in INTERVALS.items() for method in names]


def run_design(design: Design, size: Size, jobs: int) -> dict[str, Any]:
    """Simulate one design; rows of its tests and of its intervals."""
    from joblib import Parallel, delayed, parallel_config

    place = [known.name for known in DESIGNS].index(design.name)
    seeds = np.random.SeedSequence([SEED, place]).spawn(size.n_tests)
    tasks = [(first, seeds[first : first + CHUNK]) for first in range(0, len(seeds), CHUNK)]
    started = time.perf_counter()
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parts = Parallel(n_jobs=jobs)(
            delayed(run_chunk)(design.name, first, part, size) for first, part in tasks
        )
    tests, intervals = (np.concatenate(column) for column in zip(*parts, strict=True))
    return {
        "design": design.name, "title": design.title, "large": design.large,
        "small": design.small, "n_rows": len(models(design.name).frame), "sds": design.sds,
        "seconds": time.perf_counter() - started,
        "tests": test_rows(design, tests),
        "intervals": interval_rows(design, intervals[: size.n_intervals]),
    }  # fmt: skip


def test_rows(design: Design, p: np.ndarray) -> list[dict[str, Any]]:
    """Size of each test at each level, with its Monte Carlo standard error."""
    rows = []
    for method, values in zip(TESTS[design.kind], p.T, strict=True):
        known = values[~np.isnan(values)]
        for level in LEVELS:
            # p-values of bootstraps are fractions: 10 / 200 is at the level of 0.05
            rate = float((known <= level + 1e-12).mean()) if len(known) else np.nan
            rows.append(
                {
                    "design": design.name, "method": method, "level": level, "size": rate,
                    "std_error": binomial_error(level, len(known)), "n": len(known),
                    "n_missing": len(values) - len(known),
                }
            )  # fmt: skip
    return rows


def interval_rows(design: Design, ends: np.ndarray) -> list[dict[str, Any]]:
    """Coverage of each interval; one that does not exist covers nothing."""
    rows = []
    for at, (parameter, method) in enumerate(interval_keys(design)):
        low, high = ends[:, at].T
        truth, n = design.truth[parameter], len(low)
        missing = np.isnan(low) | np.isnan(high)
        width = (high - low)[~missing]
        rows.append(
            {
                "design": design.name, "parameter": parameter, "method": method,
                "coverage": float(((low <= truth) & (truth <= high)).mean()),
                "std_error": binomial_error(COVERAGE, n),
                "too_low": float((high < truth).mean()), "too_high": float((low > truth).mean()),
                "none": float(missing.mean()),
                "width": float(np.median(width)) if len(width) else np.nan, "n": n,
            }
        )  # fmt: skip
    return rows


def binomial_error(share: float, n: int) -> float:
    """Standard error of a share of n data sets, if the true one is `share`."""
    return float(np.sqrt(share * (1.0 - share) / n)) if n else np.nan


def frames(record: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tests and intervals of all designs, a row each."""
    return tuple(
        pd.DataFrame([row for item in record["designs"] for row in item[key]])
        for key in ("tests", "intervals")
    )


# --- what comes out -------------------------------------------------------------------------------

NOTES = """\
Shares of simulated data sets in per cent. **Bold**: further from what it should be than {limit}
Monte Carlo standard errors. All models are fitted by REML, those of likelihood-ratio tests and
profiles by ML. Bootstraps draw {n_sim} responses for a test and {n_boot} for an interval.

- *Satterthwaite*, *Kenward-Roger*: F tests of `mm.drop1`; t intervals of `mm.confint`.
- *bootstrap*: the `PBtest` row of `mm.pbmodcomp`; *Bartlett*: its row of that name.
- *mixture*: `p_boundary` of `mm.ranova`; *LRT* of a variance: its `p_value`.
- An interval that does not exist (the Wald interval of a standard deviation estimated as zero)
  counts as one that misses."""
OFF = 3.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the study; write ``calibration.json``, ``calibration.md`` and ``calibration.png``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks calibration", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few data sets")
    parser.add_argument("--designs", nargs="+", choices=BY_NAME, metavar="DESIGN")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(argv)
    size = QUICK if options.quick else FULL
    chosen = [BY_NAME[name] for name in options.designs or BY_NAME]
    record = study(chosen, size, options.jobs)
    full = len(chosen) == len(DESIGNS) and not options.quick
    for file in write(record, RESULTS if full else SCRATCH):
        print(file)
    return 0


def study(designs: Sequence[Design], size: Size, jobs: int) -> dict[str, Any]:
    """Simulate all designs."""
    about, found = machine.environment(), []
    for design in designs:
        found.append(run_design(design, size, jobs))
        print(f"{design.name}: {found[-1]['seconds']:.0f} s", flush=True)
    sizes = {name: getattr(size, name) for name in Size.__slots__}
    return {"environment": about, "seed": SEED, **sizes, "designs": found}


def write(record: dict[str, Any], folder: Path) -> list[Path]:
    """Write tables and, with matplotlib, the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    data, text, image = (folder / f"calibration.{end}" for end in ("json", "md", "png"))
    data.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    drawn = importlib.util.find_spec("matplotlib") is not None
    if drawn:
        from benchmarks.calibration_plot import draw

        draw(*frames(record), image)
    text.write_text(page(record, image.name if drawn else ""), encoding="utf-8")
    return [data, text, *([image] if drawn else [])]


def page(record: dict[str, Any], image: str = "") -> str:
    """The tables as Markdown."""
    about = record["environment"]
    seconds = sum(item["seconds"] for item in record["designs"])
    where = "; ".join(about[key] for key in ("date", "machine", "libraries"))
    notes = NOTES.format(limit=f"{OFF:g}", n_sim=record["n_sim"], n_boot=record["n_boot"])
    parts = ["# Tests and intervals in small samples", notes]
    parts += [f"{where}; {seconds:.0f} s, seed {record['seed']}."]
    parts += [f"![Size of tests and coverage of intervals]({image})"] if image else []
    return "\n\n".join([*parts, design_table(record), *tables(*frames(record))]) + "\n"


def design_table(record: dict[str, Any]) -> str:
    """What was simulated."""
    lines = [
        "| design | | model | null hypothesis | SD of random effects |",
        "|---|---|---|---|--:|",
    ]
    for item in record["designs"]:
        formulas = (f"`{item[key]}`".replace("|", "\\|") for key in ("large", "small"))
        sds = ", ".join(f"{sd:g}" for sd in item["sds"])
        lines.append(f"| {item['design']} | {item['title']} | {' | '.join(formulas)} | {sds} |")
    return "\n".join([*lines, "", "The residual standard deviation is 1."])


def tables(tests: pd.DataFrame, intervals: pd.DataFrame) -> list[str]:
    """One table per question."""
    parts = []
    for kind, title in (("fixed", "a fixed effect"), ("variance", "a variance")):
        names = [design.name for design in DESIGNS if design.kind == kind]
        own = tests[tests["design"].isin(names)]
        for level in LEVELS if len(own) else ():
            rows = own[own["level"] == level]
            parts += [f"## Size of tests of {title} at the {level:.0%} level"]
            parts += [table(rows, "size", level)]
    titles = {"effect": "the fixed effect", "sd": "the standard deviation"}
    for parameter, title in titles.items() if len(intervals) else ():
        rows = intervals[intervals["parameter"] == parameter]
        parts += [f"## Coverage of {COVERAGE:.0%} intervals of {title}"]
        parts += [table(rows, "coverage", COVERAGE), "Median width:"]
        parts += [table(rows, "width", None)]
    return parts


def table(rows: pd.DataFrame, value: str, target: float | None) -> str:
    """Methods by designs; shares in per cent where there is a target."""
    designs = list(dict.fromkeys(rows["design"]))
    lines = ["| method | " + " | ".join(designs) + " |", "|---" + "|--:" * len(designs) + "|"]
    for method in dict.fromkeys(rows["method"]):
        own = rows[rows["method"] == method].set_index("design").loc[designs]
        cells = [cell(row[value], target, row["std_error"]) for _, row in own.iterrows()]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    if target is not None:
        errors = (
            f"{100 * error:.1f}"
            for error in rows.groupby("design", sort=False)["std_error"].first()
        )
        lines.append("| *Monte Carlo standard error* | " + " | ".join(errors) + " |")
    return "\n".join(lines)


def cell(value: float, target: float | None, error: float) -> str:
    """A figure, bold if it is off."""
    if target is None:
        return f"{value:.2f}"
    text = f"{100 * value:.1f}"
    return f"**{text}**" if abs(value - target) > OFF * error else text
