"""Moments to likelihood: covariance templates, block structures, the profiled criterion."""
