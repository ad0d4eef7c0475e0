"""Who is measured: for each package, how to fit, refit and read the criterion.

Every import of a peer stays inside the functions that run in the worker, so that no peer is ever
loaded beside another.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.data import Case

Fit = Callable[[Case, pd.DataFrame], Any]


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
        A whole fit by REML from a data frame; the REML criterion of its result.
    prepare_refit : callable or None
        Returns a function of a new response; None when the package has no such thing.
    first_fit : str
        A program that reads the CSV file ``{csv}``, fits and prints.
    max_rows : int
        Beyond this the package is too slow and is left out.
    crossed : bool
        Whether it can fit crossed factors of this size.
    """

    name: str
    module: str
    fit: Fit | None = None
    criterion: Callable[[Any], float] | None = None
    prepare_refit: Callable[[Case, pd.DataFrame], Callable[[np.ndarray], Any]] | None = None
    first_fit: str = ""
    max_rows: int = 10**9
    crossed: bool = True

    def refuses(self, case: Case, n_rows: int) -> str | None:
        """Why this peer does not take part in a case, or None."""
        if not version(self):
            return "not installed"
        if case.kind == "startup":
            return None
        if case.kind == "refit" and self.prepare_refit is None:
            return "has no refit"
        if len(case.random) > 1 and not self.crossed:
            return "cannot fit crossed factors of this size"
        if n_rows > self.max_rows:
            return f"left out above {self.max_rows:,} rows (too slow)"
        return None


def version(peer: Peer) -> str | None:
    """Version of an installed peer, None when it is not installed."""
    if peer is LME4:
        return _r_version()
    if peer is IMPORTS:
        return ", ".join(importlib.metadata.version(name) for name in ("numpy", "scipy", "pandas"))
    if importlib.util.find_spec(peer.module) is None:
        return None
    try:
        return importlib.metadata.version(peer.name)
    except importlib.metadata.PackageNotFoundError:
        return "source tree"


def _r_version() -> str | None:
    rscript = shutil.which("Rscript")
    if rscript is None:
        return None
    code = 'cat(as.character(packageVersion("lme4")), "on R", as.character(getRversion()))'
    answer = subprocess.run([rscript, "-e", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def _fit_mixedmodels(case: Case, frame: pd.DataFrame) -> Any:
    import mixedmodels as mm

    return mm.lmer(case.formula, frame)


def _refit_mixedmodels(case: Case, frame: pd.DataFrame) -> Callable[[np.ndarray], Any]:
    return _fit_mixedmodels(case, frame).refit


def _fit_lme_python(case: Case, frame: pd.DataFrame) -> Any:
    import lme_python

    return lme_python.lmer(case.formula, frame, reml=True)


def _refit_lme_python(case: Case, frame: pd.DataFrame) -> Callable[[np.ndarray], Any]:
    import lme_python

    prepared = lme_python.prepare_lmer(case.formula, frame)
    return lambda y: prepared.fit(y=y.tolist(), reml=True)


def _fit_mixedlm(case: Case, frame: pd.DataFrame) -> Any:
    import mixedlm

    return mixedlm.lmer(case.formula, frame)


def _refit_mixedlm(case: Case, frame: pd.DataFrame) -> Callable[[np.ndarray], Any]:
    return _fit_mixedlm(case, frame).refit


def _fit_mixedlm_rs(case: Case, frame: pd.DataFrame) -> Any:
    import mixedlm_rs

    ((left, group),) = case.random
    model = mixedlm_rs.mixedlm(case.fixed, frame, groups=group, re_formula=f"~{left}")
    return model.fit(reml=True)


def _fit_statsmodels(case: Case, frame: pd.DataFrame) -> Any:
    import statsmodels.formula.api as smf

    ((left, group),) = case.random
    return smf.mixedlm(case.fixed, frame, groups=group, re_formula=f"~{left}").fit(reml=True)


def _refit_in_r(_case: Case, _frame: pd.DataFrame) -> Callable[[np.ndarray], Any]:
    raise NotImplementedError("lme4 is fitted and refitted in worker.R")


def _program(imports: str, fit: str) -> str:
    return f"import pandas as pd\n{imports}\ndata = pd.read_csv({{csv!r}})\nprint({fit}.summary())"


_LMER = '.lmer("Reaction ~ Days + (Days | Subject)", data)'
_GROUPS = '("Reaction ~ Days", data, groups="Subject", re_formula="~Days").fit()'

MIXEDMODELS = Peer(
    "mixedmodels",
    "mixedmodels",
    _fit_mixedmodels,
    lambda model: model.reml_criterion,
    _refit_mixedmodels,
    _program("import mixedmodels as mm", "mm" + _LMER),
)
LME4 = Peer(
    "lme4",
    "",
    prepare_refit=_refit_in_r,
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
        LME4,
        Peer(
            "lme-python",
            "lme_python",
            _fit_lme_python,
            lambda model: model.reml_criterion,
            _refit_lme_python,
            _program("import lme_python", "lme_python" + _LMER),
        ),
        Peer(
            "mixedlm",
            "mixedlm",
            _fit_mixedlm,
            lambda model: model.deviance,
            _refit_mixedlm,
            _program("import mixedlm", "mixedlm" + _LMER),
        ),
        Peer(
            "mixedlm-rs",
            "mixedlm_rs",
            _fit_mixedlm_rs,
            lambda model: -2 * model.llf,
            first_fit=_program("import mixedlm_rs", "mixedlm_rs.mixedlm" + _GROUPS),
            crossed=False,
        ),
        Peer(
            "statsmodels",
            "statsmodels",
            _fit_statsmodels,
            lambda model: -2 * model.llf,
            first_fit=_program("import statsmodels.formula.api as smf", "smf.mixedlm" + _GROUPS),
            max_rows=100_000,
            crossed=False,
        ),
    )
}
