"""Random input: coverage-guided for the formula parser, seeded for whole fits."""
