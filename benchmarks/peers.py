"""Who is measured: the packages, and the cases each can take part in."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from benchmarks import adapters
from benchmarks.data import Case

Refit = Callable[[np.ndarray], Any]


@dataclass(frozen=True, slots=True)
class Peer:
    """One package.

    Attributes
    ----------
    name : str
        Distribution name, or ``lme4``.
    module : str
        What Python imports; empty for a package of R and for the baseline.
    fit, criterion : callable
        A whole fit from a data frame; the criterion at what its result reached.
    prepare_refit : callable or None
        Returns a function of a new response; None when the package has no such thing.
    cannot : callable
        Why the package cannot fit a case, or None.
    first_fit : str
        A program that reads the CSV file ``{csv}``, fits and prints.
    max_rows : int
        Beyond this the package is too slow and is left out.
    likelihood : {"REML", "ML"}
        What it maximises. Criteria of one kind are compared with each other only.
    evaluations : callable or None
        Evaluations of the criterion that a result took.
    load : callable or None
        Loads what only large fits need, before the clock starts (counted as *first fit*).
    distribution : str
        Where the name is not that of the distribution.
    """

    name: str
    module: str
    fit: Callable[[Case, pd.DataFrame], Any] | None = None
    criterion: Callable[[Any], float] | None = None
    prepare_refit: Callable[[Case, pd.DataFrame], Refit] | None = None
    cannot: Callable[[Case], str | None] = lambda _case: None
    first_fit: str = ""
    max_rows: int = 10**9
    likelihood: Literal["REML", "ML"] = "REML"
    evaluations: Callable[[Any], int] | None = None
    load: Callable[[], None] | None = None
    distribution: str = ""

    def refuses(self, case: Case, n_rows: int) -> str | None:
        """Why this peer does not take part in a case, or None."""
        if not version(self):
            return "not installed"
        if case.whole_process:
            return None if self.first_fit else "cannot fit this model"
        if case.kind == "refit" and self.prepare_refit is None:
            return "has no refit"
        if n_rows > self.max_rows:
            return f"left out above {self.max_rows:,} rows (too slow)"
        return self.cannot(case)


def version(peer: Peer) -> str | None:
    """Version of an installed peer, None when it is not installed."""
    if peer is LME4:
        return _r_version()
    if peer is IMPORTS:
        return ", ".join(importlib.metadata.version(name) for name in ("numpy", "scipy", "pandas"))
    if importlib.util.find_spec(peer.module) is None:
        return None
    try:
        return importlib.metadata.version(peer.distribution or peer.name)
    except importlib.metadata.PackageNotFoundError:
        return "source tree"


@functools.cache
def _r_version() -> str | None:
    rscript = shutil.which("Rscript")
    if rscript is None:
        return None
    code = 'cat(as.character(packageVersion("lme4")), "on R", as.character(getRversion()))'
    answer = subprocess.run([rscript, "-e", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def _one_factor(case: Case) -> str | None:
    return None if len(case.groups()) == 1 else "cannot fit several factors"


def _not_crossed(case: Case) -> str | None:
    return None if len(case.random) == 1 else "cannot fit crossed factors of this size"


def _intercepts_only(case: Case) -> str | None:
    return None if case.intercepts_only else "cannot fit correlated slopes"


def _beside_ml(case: Case) -> str | None:
    """Our fit by ML is there to be compared with that of a package which knows ML only."""
    rivals = [p for p in PEERS.values() if p.likelihood == "ML" and p is not MIXEDMODELS_ML]
    compared = any(version(peer) and peer.cannot(case) is None for peer in rivals)
    return None if compared else "no peer fits this case by ML"


def _program(imports: str, fit: str) -> str:
    return f"import pandas as pd\n{imports}\ndata = pd.read_csv({{csv!r}})\nprint({fit}.summary())"


_LMER = '.lmer("Reaction ~ Days + (Days | Subject)", data)'
_GROUPS = '("Reaction ~ Days", data, groups="Subject", re_formula="~Days").fit()'
_RANDOM = '.fit("Reaction ~ Days", data, random=["(1 + Days | Subject)"])'

MIXEDMODELS = Peer(
    "mixedmodels",
    "mixedmodels",
    adapters.fit_mixedmodels,
    lambda model: model.criterion,
    adapters.refit_mixedmodels,
    first_fit=_program("import mixedmodels as mm", "mm" + _LMER),
    evaluations=lambda model: model.convergence.evaluations,
    load=adapters.load_kernels,
)
MIXEDMODELS_ML = Peer(
    "mixedmodels-ml",
    "mixedmodels",
    adapters.fit_mixedmodels_ml,
    lambda model: model.criterion,
    cannot=_beside_ml,
    likelihood="ML",
    evaluations=lambda model: model.convergence.evaluations,
    load=adapters.load_kernels,
    distribution="mixedmodels",
)
LME4 = Peer(
    "lme4",
    "",
    prepare_refit=adapters.refit_in_r,
    first_fit=(
        "suppressMessages(library(lme4)); data <- read.csv({csv!r}); "
        "print(summary(lmer(Reaction ~ Days + (Days | Subject), data)))"
    ),
)
IMPORTS = Peer("imports", "", first_fit="import numpy, scipy, pandas")

PEERS = {
    peer.name: peer
    for peer in (
        MIXEDMODELS,
        MIXEDMODELS_ML,
        LME4,
        Peer(
            "lme-python",
            "lme_python",
            adapters.fit_lme_python,
            lambda model: model.reml_criterion,
            adapters.refit_lme_python,
            first_fit=_program("import lme_python", "lme_python" + _LMER),
        ),
        Peer(
            "mixedlm",
            "mixedlm",
            adapters.fit_mixedlm,
            lambda model: model.deviance,
            adapters.refit_mixedlm,
            first_fit=_program("import mixedlm", "mixedlm" + _LMER),
        ),
        Peer(
            "mixedlm-rs",
            "mixedlm_rs",
            adapters.fit_mixedlm_rs,
            lambda model: -2 * model.llf,
            cannot=_one_factor,
            first_fit=_program("import mixedlm_rs", "mixedlm_rs.mixedlm" + _GROUPS),
        ),
        Peer(
            "statsmodels",
            "statsmodels",
            adapters.fit_statsmodels,
            lambda model: -2 * model.llf,
            cannot=_not_crossed,
            first_fit=_program("import statsmodels.formula.api as smf", "smf.mixedlm" + _GROUPS),
            max_rows=200_000,
        ),
        Peer(
            "interlace-lme",
            "interlace",
            adapters.fit_interlace,
            lambda model: -2 * model.llf,
            first_fit=_program("import interlace", "interlace" + _RANDOM),
        ),
        Peer(
            "gpboost",
            "gpboost",
            adapters.fit_gpboost,
            adapters.criterion_gpboost,
            cannot=_intercepts_only,
            likelihood="ML",
        ),
    )
}
