"""Compiled loops over sparse patterns: arrays in, arrays out; the only place that loads Numba."""
