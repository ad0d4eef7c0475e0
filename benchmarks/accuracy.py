"""Digits kept: slope and standard error of each package against the optimum in 120 digits.

``python -m benchmarks accuracy`` writes ``results/accuracy.json`` and ``accuracy.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mpmath import mp, mpf

from benchmarks import machine
from benchmarks.peers import PEERS, version
from benchmarks.precise import DIGITS, ExactFit, ExactModel, ExactTerm

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("mixedmodels", "lme4", "lme-python", "mixedlm", "mixedlm-rs", "statsmodels")
# seconds for all cases of one package
PATIENCE = 600

Frame = pd.DataFrame


@dataclass(frozen=True)
class DesignOf:
    """A formula and what it means: the columns and the groups of each random term."""

    random: str
    terms: tuple[tuple[bool, tuple[str, ...]], ...]
    """Per term: whether it has a slope on x, and the columns that form its groups."""

    @property
    def formula(self) -> str:
        """As lme4 writes it."""
        return f"y ~ x + {self.random}"


DESIGNS: Mapping[str, DesignOf] = {
    "intercept": DesignOf("(1 | g)", ((False, ("g",)),)),
    "slope": DesignOf("(x | g)", ((True, ("g",)),)),
    "nested": DesignOf("(1 | a/b)", ((False, ("a", "b")), (False, ("a",)))),
    "crossed": DesignOf("(1 | g) + (1 | h)", ((False, ("g",)), (False, ("h",)))),
}


def plain(ratio: float = 1.0) -> Frame:
    """72 rows; x is a multiple of 2**-20, so that shifts by up to 2**32 are exact."""
    rng = np.random.default_rng(9)
    g = np.repeat(np.arange(12), 6)
    h = np.tile(np.arange(6), 12)
    x = np.round(rng.normal(size=72) * 2**20) / 2**20
    own, other, slope = rng.normal(size=12), rng.normal(size=6), rng.normal(size=12)
    outer = rng.normal(size=4)
    size = math.sqrt(ratio)
    y = 2 + 0.7 * x + rng.normal(size=72)
    data = pd.DataFrame({"x": x, "g": g, "h": h, "a": g // 3, "b": g % 3, "w": 1.0})
    data["y intercept"] = y + size * own[g]
    data["y slope"] = y + size * (own[g] + 0.7 * slope[g] * x)
    data["y nested"] = y + size * (own[g] + outer[g // 3])
    data["y crossed"] = y + size * (own[g] + other[h])
    return data


def few_rows() -> Frame:
    """Groups of one to four rows."""
    data = plain()
    place = np.tile(np.arange(6), 12)
    return data[(place + data["g"]) % 6 <= data["g"] % 4].reset_index(drop=True)


def weighted(decades: float) -> Frame:
    weights = 10.0 ** np.random.default_rng(12).uniform(-decades, decades, 72)
    return plain().assign(w=weights)


def with_x(change: Callable[[Any], Any]) -> Callable[[], Frame]:
    return lambda: plain().assign(x=lambda d: change(d["x"]))


def with_y(change: Callable[[Any], Any]) -> Callable[[], Frame]:
    def made() -> Frame:
        data = plain()
        for name in DESIGNS:
            data[f"y {name}"] = change(data[f"y {name}"])
        return data

    return made


CASES: Mapping[str, Callable[[], Frame]] = {
    "plain": plain,
    "x + 1e4": with_x(lambda x: x + 1e4),
    "x + 1e6": with_x(lambda x: x + 1e6),
    "x + 1e8": with_x(lambda x: x + 1e8),
    "x * 1e-9": with_x(lambda x: x * 1e-9),
    "x * 1e9": with_x(lambda x: x * 1e9),
    "x = 1 + 1e-6 x": with_x(lambda x: 1 + 1e-6 * x),
    "y + 1e8": with_y(lambda y: y + 1e8),
    "y + 1e12": with_y(lambda y: y + 1e12),
    "y * 1e-9": with_y(lambda y: y * 1e-9),
    "ratio 1e4": lambda: plain(1e4),
    "ratio 1e6": lambda: plain(1e6),
    "ratio 1e8": lambda: plain(1e8),
    "ratio 1e10": lambda: plain(1e10),
    "groups of 1 to 4": few_rows,
    "weights 1e-4 to 1e4": lambda: weighted(4),
    "weights 1e-12 to 1e12": lambda: weighted(12),
}


def frame_of(case: str, design: str) -> Frame:
    """The data of one row of the table, the response as y."""
    data = CASES[case]()
    return data.assign(y=data[f"y {design}"])[["y", "x", "g", "h", "a", "b", "w"]]


def exact_model(data: Frame, design: str) -> ExactModel:
    """The same model for the oracle, terms in lme4's order of theta."""
    x = data["x"].to_numpy(float)
    ones = np.ones(len(data))
    terms = []
    for slope, names in DESIGNS[design].terms:
        codes = data.groupby(list(names), sort=True).ngroup().to_numpy(np.int64)
        terms.append(ExactTerm(codes, np.column_stack([ones, x] if slope else [ones])))
    X = np.column_stack([ones, x])
    return ExactModel(X, data["y"].to_numpy(float), terms, data["w"].to_numpy(float))


def exact_optimum(case: str, design: str) -> ExactFit:
    """The optimum in 120 digits, from where our fit ends."""
    data = frame_of(case, design)
    model = exact_model(data, design)
    theta, _ = theta_of_ours(data, design)
    held = [i for i, value in enumerate(theta) if value == 0.0]
    found = model.optimum(theta, held=held)
    with mp.workdps(DIGITS):
        if any(abs(value) < mpf(10) ** -12 for i, value in enumerate(found.theta) if i not in held):
            raise ArithmeticError(f"{case}, {design}: not an interior optimum")
    return found


def theta_of_ours(data: Frame, design: str) -> tuple[list[float], Any]:
    import mixedmodels as mm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        fit = mm.lmer(DESIGNS[design].formula, data, weights="w")
    return fit.theta.tolist(), fit


# --- packages -------------------------------------------------------------------------------------


def _ours(data: Frame, design: str) -> tuple[float, float]:
    _, fit = theta_of_ours(data, design)
    return float(fit.beta[1]), float(np.sqrt(fit.vcov[1, 1]))


def _lme_python(data: Frame, design: str) -> tuple[float, float]:
    import lme_python

    _no_weights(data)
    fit = lme_python.lmer(DESIGNS[design].formula, data, reml=True)
    at = list(fit.fixed_names).index("x")
    return float(fit.coefficients[at]), float(fit.beta_se[at])


def _mixedlm(data: Frame, design: str) -> tuple[float, float]:
    import mixedlm

    fit = mixedlm.lmer(DESIGNS[design].formula, data, weights=data["w"].to_numpy(float))
    return float(fit.fixef()["x"]), float(np.sqrt(np.asarray(fit.vcov())[1, 1]))


def _mixedlm_rs(data: Frame, design: str) -> tuple[float, float]:
    import mixedlm_rs

    return _statsmodels_like(mixedlm_rs.mixedlm, data, design)


def _statsmodels(data: Frame, design: str) -> tuple[float, float]:
    import statsmodels.formula.api as smf

    if design == "nested":
        _no_weights(data)
        components = {"b": "0 + C(b)"}
        fit = smf.mixedlm("y ~ x", data, groups="a", vc_formula=components, re_formula="1")
        fit = fit.fit(reml=True)
        return float(np.asarray(fit.fe_params)[1]), float(np.asarray(fit.bse_fe)[1])
    return _statsmodels_like(smf.mixedlm, data, design)


def _statsmodels_like(make: Any, data: Frame, design: str) -> tuple[float, float]:
    _no_weights(data)
    if design not in ("intercept", "slope"):
        raise NotImplementedError
    right = "~x" if design == "slope" else "~1"
    fit = make("y ~ x", data, groups="g", re_formula=right).fit(reml=True)
    return float(np.asarray(fit.fe_params)[1]), float(np.asarray(fit.bse_fe)[1])


def _no_weights(data: Frame) -> None:
    if (data["w"] != 1.0).any():
        raise NotImplementedError


ADAPTERS: Mapping[str, Callable[[Frame, str], tuple[float, float]]] = {
    "mixedmodels": _ours,
    "lme-python": _lme_python,
    "mixedlm": _mixedlm,
    "mixedlm-rs": _mixedlm_rs,
    "statsmodels": _statsmodels,
}


def measure_here(package: str) -> dict[str, Any]:
    """Slope and standard error of every case; a word where there are none."""
    out: dict[str, Any] = {}
    for case in CASES:
        for design in DESIGNS:
            data = frame_of(case, design)
            for name in "ghab":
                data[name] = [f"{name}{value:02d}" for value in data[name]]
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    out[f"{case}|{design}"] = list(ADAPTERS[package](data, design))
            except NotImplementedError:
                out[f"{case}|{design}"] = "cannot"
            except BaseException as error:  # Rust packages panic
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    raise
                out[f"{case}|{design}"] = "fails"
    return out


R_PROGRAM = """
suppressMessages(library(lme4)); options(warn = -1)
folder <- commandArgs(TRUE)[1]
for (line in readLines(file.path(folder, "cases.txt"))) {
  part <- strsplit(line, "\\t")[[1]]
  d <- read.csv(file.path(folder, part[1]), colClasses = c(g = "character", h = "character",
                a = "character", b = "character"))
  out <- tryCatch({
    m <- lmer(as.formula(part[2]), d, weights = w)
    b <- fixef(m)
    if (!("x" %in% names(b))) "fails" else
      sprintf("%.17g %.17g", b[["x"]], sqrt(as.matrix(vcov(m))["x", "x"]))
  }, error = function(e) "fails")
  cat(part[1], out, "\\n", sep = "\\t")
}
"""


def measure_lme4() -> dict[str, Any]:
    """The same by R."""
    out: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder, lines, keys = Path(name), [], {}
        for i, (case, design) in enumerate((c, d) for c in CASES for d in DESIGNS):
            frame_of(case, design).to_csv(folder / f"{i}.csv", index=False, float_format="%.17g")
            lines.append(f"{i}.csv\t{DESIGNS[design].formula}")
            keys[f"{i}.csv"] = f"{case}|{design}"
        (folder / "cases.txt").write_text("\n".join(lines) + "\n")
        (folder / "run.R").write_text(R_PROGRAM)
        done = subprocess.run(
            ["Rscript", str(folder / "run.R"), str(folder)],
            capture_output=True, text=True, check=True, timeout=PATIENCE,
        )  # fmt: skip
        for line in done.stdout.splitlines():
            file, answer = line.split("\t")[:2]
            words = answer.split()
            out[keys[file]] = [float(v) for v in words] if len(words) == 2 else answer.strip()
    return out


def measure(package: str) -> dict[str, Any]:
    """One package in a process of its own."""
    if package == "lme4":
        return measure_lme4()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "accuracy", "--worker", package],
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


# --- table ----------------------------------------------------------------------------------------


def digits(value: float, true: str) -> int:
    """Right digits of a value, 16 at most."""
    with mp.workdps(DIGITS):
        exact = mpf(true)
        if not math.isfinite(value):
            return 0
        error = abs(mpf(value) - exact) / abs(exact)
        return 16 if error == 0 else max(0, min(16, int(-mp.log10(error))))


def cell(answer: Any, exact: Mapping[str, str]) -> str:
    """``slope / standard error`` in right digits."""
    if isinstance(answer, str):
        return answer
    kept = [digits(answer[0], exact["slope"]), digits(answer[1], exact["std_error"])]
    return f"{kept[0]} / {kept[1]}"


def table(result: Mapping[str, Any], packages: Sequence[str]) -> str:
    """Markdown, a table for each design."""
    lines = []
    for design, made in DESIGNS.items():
        lines += [f"## `{made.formula}`", "", "| data | " + " | ".join(packages) + " |"]
        lines.append("|---" * (len(packages) + 1) + "|")
        for case in CASES:
            key = f"{case}|{design}"
            exact = result["exact"][key]
            cells = [cell(result["packages"][name][key], exact) for name in packages]
            lines.append(f"| `{case}` | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


INTRODUCTION = """# Digits kept

Right digits of the slope of x / of its standard error, by REML, against the optimum that Newton
steps in 120-digit arithmetic reach on the same doubles. 72 rows: 12 groups g of 6, crossed with 6
levels of h; 4 levels of a with 3 of b in each. *cannot*: the package has no such model, or no
weights. *fails*: an error, or the column is dropped. `ratio` is the variance between groups over
the residual one. Packages run with their defaults.

Made by `python -m benchmarks accuracy`.

"""


def main(arguments: Sequence[str]) -> int:
    """Measure, or one package's part of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks accuracy", description=__doc__)
    parser.add_argument("--worker", choices=list(ADAPTERS))
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args(list(arguments))
    if asked.worker:
        print(json.dumps(measure_here(asked.worker)))
        return 0
    result: dict[str, Any] = {"environment": machine.environment(), "exact": {}, "packages": {}}
    for case in CASES:
        for design in DESIGNS:
            found = exact_optimum(case, design)
            with mp.workdps(DIGITS):
                result["exact"][f"{case}|{design}"] = {
                    "theta": [mp.nstr(v, 20) for v in found.theta],
                    "criterion": mp.nstr(found.criterion, 20),
                    "slope": mp.nstr(found.beta[1], 20),
                    "std_error": mp.nstr(found.std_error[1], 20),
                }
    packages = [name for name in PACKAGES if version(PEERS[name])]
    for name in packages:
        result["packages"][name] = measure(name)
    asked.output.mkdir(parents=True, exist_ok=True)
    (asked.output / "accuracy.json").write_text(json.dumps(result, indent=1) + "\n")
    made = ", ".join(f"{name} {version(PEERS[name])}" for name in packages)
    text = f"{INTRODUCTION}{machine.today()}; {made}.\n\n{table(result, packages)}"
    (asked.output / "accuracy.md").write_text(text)
    print(text)
    return 0
