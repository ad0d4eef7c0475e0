"""Plots of data and models: each function gives a plotnine plot that can be extended with `+`."""

from mixedmodels.plot.data import boxes as boxes
from mixedmodels.plot.data import distribution as distribution
from mixedmodels.plot.data import means as means
from mixedmodels.plot.data import trajectories as trajectories
from mixedmodels.plot.data import violins as violins
from mixedmodels.plot.theme import theme_mixedmodels as theme_mixedmodels
