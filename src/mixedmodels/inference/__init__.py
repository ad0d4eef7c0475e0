"""Decisions from fitted models: tests, intervals, comparisons."""
