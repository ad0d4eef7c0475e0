"""Entry point of ``python -m benchmarks``: the cases, or one of the commands."""

import sys

from benchmarks import accuracy, calibration, engines, growth, inference, report, run

COMMANDS = {
    "accuracy": accuracy.main,
    "calibration": calibration.main,
    "engines": engines.main,
    "growth": growth.main,
    "inference": inference.main,
    "report": report.main,
}

if __name__ == "__main__":
    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    sys.exit(command(sys.argv[2:]) if command else run.main(sys.argv[1:]))
