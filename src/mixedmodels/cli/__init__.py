"""The command line: words and exit codes, no statistics."""

from mixedmodels.cli.run import main as main
