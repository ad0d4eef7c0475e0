"""A long run by hand: ``python -m fuzz.fuzz_fits --fits 100000 --log fuzz.jsonl``."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from fuzz.checks import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--fits", type=int, default=2000, help="stop after so many fits")
    parser.add_argument("--thorough", type=int, default=8, help="every how manieth case")
    parser.add_argument("--log", type=Path, default=Path("build/fuzz.jsonl"))
    asked = parser.parse_args()
    asked.log.parent.mkdir(parents=True, exist_ok=True)
    kinds: Counter[str] = Counter()
    fits = compared = broken = 0
    seed = asked.first
    with asked.log.open("w") as log:
        while fits < asked.fits:
            outcome = run(seed, thorough=seed % asked.thorough == 0)
            kinds[outcome.kind] += 1
            fits += outcome.kind in FITS
            compared += outcome.compared
            broken += bool(outcome.violations)
            log.write(json.dumps(asdict(outcome)) + "\n")
            if outcome.violations:
                print(seed, outcome.formula, outcome.kind, outcome.violations[0], flush=True)
            seed += 1
            if seed % 1000 == 0:
                print(seed, fits, compared, broken, dict(kinds), flush=True)
    print(
        f"{seed - asked.first} calls, {fits} fits, {compared} against the oracle, {broken} broken"
    )
    print(dict(kinds))


FITS = ("optimum", "boundary optimum", "not identified", "not converged", "exact")

if __name__ == "__main__":
    main()
