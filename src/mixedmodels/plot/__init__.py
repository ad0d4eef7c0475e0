"""Plots of data and models: each function gives a plotnine plot that can be extended with `+`."""

from mixedmodels.plot.compare import coefficients as coefficients
from mixedmodels.plot.compare import model_weights as model_weights
from mixedmodels.plot.compare import variance_partition as variance_partition
from mixedmodels.plot.data import means as means
from mixedmodels.plot.data import trajectories as trajectories
from mixedmodels.plot.lists import compare_lists as compare_lists
from mixedmodels.plot.lists import group_intervals as group_intervals
from mixedmodels.plot.lists import shrinkage as shrinkage
from mixedmodels.plot.model import calibration as calibration
from mixedmodels.plot.model import conditional as conditional
from mixedmodels.plot.normality import qq as qq
from mixedmodels.plot.normality import qq_random as qq_random
from mixedmodels.plot.normality import residual_distribution as residual_distribution
from mixedmodels.plot.patterns import dropout as dropout
from mixedmodels.plot.patterns import missingness as missingness
from mixedmodels.plot.patterns import scatter_matrix as scatter_matrix
from mixedmodels.plot.random import caterpillar as caterpillar
from mixedmodels.plot.random import random_pairs as random_pairs
from mixedmodels.plot.residuals import autocorrelation as autocorrelation
from mixedmodels.plot.residuals import residuals as residuals
from mixedmodels.plot.residuals import scale_location as scale_location
from mixedmodels.plot.shapes import boxes as boxes
from mixedmodels.plot.shapes import distribution as distribution
from mixedmodels.plot.shapes import violins as violins
from mixedmodels.plot.theme import theme_mixedmodels as theme_mixedmodels
