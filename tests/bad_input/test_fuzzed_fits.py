"""Random frames and formulas: a documented error, or a fit that the dense oracle confirms.

`fuzz/` makes a case of each seed and holds the promises; ``python -m fuzz.fuzz_fits`` runs more.
"""

from __future__ import annotations

import pytest

from fuzz.checks import Outcome, run
from fuzz.fuzz_fits import FITS

# calls of lmer in a part, and parts: two parts keep two workers busy
CALLS, PARTS = 1670, 2
# cases that once gave numbers without enough digits, or dropped columns that the data determine:
# groups far apart in several terms and factors; columns dependent to the ninth digit and beyond
KEPT = (
    *(20911, 20925, 20948, 21341, 22395, 22708, 22769, 26821, 28668, 29276, 30366, 30835, 31611),
    *(32808, 36581, 37595, 39257, 200365, 202291, 203176, 203399, 208980, 209199, 210979, 211202),
    *(211528, 214647, 1000412, 1001175, 1002899, 1004350, 2000416, 2001069, 2001124, 2001507),
    *(2001683, 2005459, 25470, 26765, 34654, 40214, 201625, 203282, 212308, 1016530, 5000980),
    6000323,
)
# another optimum may be lower where a criterion has several: docs/limitations.md
SEVERAL = 0.02


@pytest.mark.parametrize("part", range(PARTS))
def test_a_documented_error_or_the_right_fit(part: int) -> None:
    outcomes = [
        run(seed, thorough=seed % 40 == 0) for seed in range(part * CALLS, (part + 1) * CALLS)
    ]
    broken = [f"seed {o.seed}: {o.formula}: {o.violations[0]}" for o in outcomes if o.violations]
    assert not broken, "\n".join(broken)
    fits = [o for o in outcomes if o.kind in FITS]
    # the two parts are 2,000 fits and more
    assert len(fits) >= 1000
    assert sum(o.compared for o in fits) >= 750
    assert {"optimum", "boundary optimum"} <= {o.kind for o in fits}
    assert _lower_elsewhere(fits) <= SEVERAL * len(fits)


@pytest.mark.parametrize("seed", KEPT)
def test_kept_cases(seed: int) -> None:
    assert run(seed).violations == []


def _lower_elsewhere(fits: list[Outcome]) -> int:
    return sum(any("another optimum" in note for note in o.notes) for o in fits)
