"""The walk through an article on mixed models, from the data to the last table."""

from mixedmodels.demo.walk import run as run
