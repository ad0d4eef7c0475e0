"""Linear mixed models: exact, fast, from a formula and a data frame.

    import mixedmodels as mm
    m = mm.lmer("weight ~ time + (time | animal)", data)

Names load on first use, so that the import stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixedmodels import datasets as datasets
    from mixedmodels import plot as plot
    from mixedmodels.engines.moments import Moments as Moments
    from mixedmodels.errors import ArgumentError as ArgumentError
    from mixedmodels.errors import ConvergenceWarning as ConvergenceWarning
    from mixedmodels.errors import DataError as DataError
    from mixedmodels.errors import DataWarning as DataWarning
    from mixedmodels.errors import FormulaError as FormulaError
    from mixedmodels.errors import MemoryLimitError as MemoryLimitError
    from mixedmodels.errors import MissingDependencyError as MissingDependencyError
    from mixedmodels.errors import MixedModelsError as MixedModelsError
    from mixedmodels.errors import MixedModelsWarning as MixedModelsWarning
    from mixedmodels.errors import ModelError as ModelError
    from mixedmodels.errors import RankDeficiencyWarning as RankDeficiencyWarning
    from mixedmodels.errors import ScaleWarning as ScaleWarning
    from mixedmodels.errors import SingularFitWarning as SingularFitWarning
    from mixedmodels.explore.correlations import time_correlations as time_correlations
    from mixedmodels.explore.describe import describe as describe
    from mixedmodels.explore.design import check_design as check_design
    from mixedmodels.explore.implied import implied_correlations as implied_correlations
    from mixedmodels.explore.lm_list import lm_list as lm_list
    from mixedmodels.explore.reshape import to_long as to_long
    from mixedmodels.explore.reshape import to_wide as to_wide
    from mixedmodels.explore.trajectories import cluster_trajectories as cluster_trajectories
    from mixedmodels.inference.averaging import model_avg as model_avg
    from mixedmodels.inference.averaging import model_avg_predict as model_avg_predict
    from mixedmodels.inference.binned_residuals import binned_residuals as binned_residuals
    from mixedmodels.inference.bootstrap import Bootstrap as Bootstrap
    from mixedmodels.inference.check_model import check_model as check_model
    from mixedmodels.inference.compare import aictab as aictab
    from mixedmodels.inference.compare import anova as anova
    from mixedmodels.inference.convergence import check_convergence as check_convergence
    from mixedmodels.inference.drop1 import drop1 as drop1
    from mixedmodels.inference.emm_grid import EmmGrid as EmmGrid
    from mixedmodels.inference.emmeans import emmeans as emmeans
    from mixedmodels.inference.emmeans import emtrends as emtrends
    from mixedmodels.inference.fit_many import ManyFits as ManyFits
    from mixedmodels.inference.fit_many import fit_many as fit_many
    from mixedmodels.inference.influence import influence as influence
    from mixedmodels.inference.intervals import confint as confint
    from mixedmodels.inference.modcomp import krmodcomp as krmodcomp
    from mixedmodels.inference.modcomp import satmodcomp as satmodcomp
    from mixedmodels.inference.pbmodcomp import pb_refdist as pb_refdist
    from mixedmodels.inference.pbmodcomp import pbmodcomp as pbmodcomp
    from mixedmodels.inference.profile import profile as profile
    from mixedmodels.inference.ranova import ranova as ranova
    from mixedmodels.inference.repeatability import repeatability as repeatability
    from mixedmodels.inference.variance_explained import icc as icc
    from mixedmodels.inference.variance_explained import r2 as r2
    from mixedmodels.model.fitted import FittedModel as FittedModel
    from mixedmodels.model.fitted import lm as lm
    from mixedmodels.model.fitted import lmer as lmer
    from mixedmodels.model.storage import load as load
    from mixedmodels.model.storage import save as save
    from mixedmodels.output.tab_model import tab_model as tab_model
    from mixedmodels.reporting.report import report as report

_FOLDERS = ("datasets", "plot")
_HOMES = {
    "lmer": "model.fitted",
    "lm": "model.fitted",
    "FittedModel": "model.fitted",
    "Moments": "engines.moments",
    "aictab": "inference.compare",
    "anova": "inference.compare",
    "check_convergence": "inference.convergence",
    "check_model": "inference.check_model",
    "drop1": "inference.drop1",
    "EmmGrid": "inference.emm_grid",
    "emmeans": "inference.emmeans",
    "emtrends": "inference.emmeans",
    "ranova": "inference.ranova",
    "confint": "inference.intervals",
    "influence": "inference.influence",
    "krmodcomp": "inference.modcomp",
    "profile": "inference.profile",
    "satmodcomp": "inference.modcomp",
    "pbmodcomp": "inference.pbmodcomp",
    "pb_refdist": "inference.pbmodcomp",
    "Bootstrap": "inference.bootstrap",
    "binned_residuals": "inference.binned_residuals",
    "fit_many": "inference.fit_many",
    "ManyFits": "inference.fit_many",
    "cluster_trajectories": "explore.trajectories",
    "time_correlations": "explore.correlations",
    "describe": "explore.describe",
    "check_design": "explore.design",
    "implied_correlations": "explore.implied",
    "lm_list": "explore.lm_list",
    "to_long": "explore.reshape",
    "to_wide": "explore.reshape",
    "model_avg": "inference.averaging",
    "model_avg_predict": "inference.averaging",
    "repeatability": "inference.repeatability",
    "icc": "inference.variance_explained",
    "r2": "inference.variance_explained",
    "save": "model.storage",
    "tab_model": "output.tab_model",
    "report": "reporting.report",
    "load": "model.storage",
    **dict.fromkeys(
        (
            "MixedModelsError",
            "DataError",
            "FormulaError",
            "ModelError",
            "ArgumentError",
            "MemoryLimitError",
            "MissingDependencyError",
            "MixedModelsWarning",
            "SingularFitWarning",
            "ConvergenceWarning",
            "RankDeficiencyWarning",
            "DataWarning",
            "ScaleWarning",
        ),
        "errors",
    ),
}

__all__ = ["__version__", *_FOLDERS, *_HOMES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("mixedmodels")
        except metadata.PackageNotFoundError:  # run from a source tree
            return "0.1.0"
    if name in _FOLDERS:
        return importlib.import_module(f"mixedmodels.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"mixedmodels.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'mixedmodels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
