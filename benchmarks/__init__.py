"""Speed, memory and accuracy of mixedmodels and its peers on the same seeded data.

Run ``python -m benchmarks`` from the root of the repository (or ``make bench``).
"""
