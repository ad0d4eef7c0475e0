"""One line of progress for fits that take more than a few seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# seconds that a fit must promise to take before it speaks
LONG = 3.0
# evaluations of a typical fit
TYPICAL = 5

Report = Callable[[float, float], None]


def wants_line(seconds: float, *, progress: bool | None) -> bool:
    """Whether to show the line.

    Parameters
    ----------
    seconds : float
        What one evaluation of the criterion is expected to take.
    progress : bool or None
        What the user asked for; None shows it in a terminal or a notebook when the fit is long.
    """
    if progress is not None:
        return progress
    return TYPICAL * seconds > LONG and interactive()


def interactive() -> bool:
    """Whether somebody watches: a terminal or a notebook."""
    return (sys.stderr is not None and sys.stderr.isatty()) or "ipykernel" in sys.modules


@contextmanager
def progress_line() -> Iterator[Report]:
    """Yield a function of criterion and gradient norm, to be called after each evaluation."""
    from tqdm import tqdm

    with tqdm(
        bar_format="{desc}: evaluation {n}, {elapsed}{postfix}",
        desc="lmer",
        leave=False,
        mininterval=0.0,
        file=sys.stderr,
    ) as line:

        def report(criterion: float, gradient_norm: float) -> None:
            line.set_postfix_str(
                f"criterion {criterion:.4f}, gradient {gradient_norm:.1e}", refresh=False
            )
            line.update()

        yield report


@contextmanager
def replicate_bar(
    total: int, *, progress: bool | None, what: str = "replicates"
) -> Iterator[Callable[[int], None]]:
    """Yield a function that counts replicates (or `what`) done; a bar appears when they take long.

    Parameters
    ----------
    total : int
    progress : bool or None
        What the user asked for; None shows it in a terminal or a notebook after some seconds.
    what : str
    """
    shown = interactive() if progress is None else progress
    if not shown:
        yield lambda _: None
        return
    from tqdm import tqdm

    delay = 0.0 if progress else LONG
    with tqdm(total=total, desc=what, delay=delay, leave=False, file=sys.stderr) as bar:

        def advance(count: int) -> None:
            bar.update(count)

        yield advance
