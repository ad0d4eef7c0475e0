"""One line of progress for fits that take more than a few seconds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

# seconds that a fit must promise to take before it speaks
LONG = 3.0
# evaluations of a typical fit
TYPICAL = 5

# seconds between two looks at an engine
PAUSE = 0.3

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
    # somebody may have imported the kernel without running in one
    kernel = sys.modules.get("ipykernel.kernelapp")
    in_notebook = kernel is not None and kernel.IPKernelApp.initialized()
    return in_notebook or (sys.stderr is not None and sys.stderr.isatty())


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


@contextmanager
def query_line(
    engine: str, share: Callable[[], float] | None, *, progress: bool | None
) -> Iterator[Callable[[str], None]]:
    """Yield a function that names what an engine is asked for; a line appears when it takes long.

    Parameters
    ----------
    engine : str
    share : callable, optional
        Per cent of the present query that are done, negative where the engine does not know.
    progress : bool or None
        What the user asked for; None shows it in a terminal or a notebook after some seconds.
    """
    shown = interactive() if progress is None else progress
    if not shown:
        yield lambda _: None
        return
    asked, ended = [""], Event()
    delay = 0.0 if progress else LONG
    watcher = Thread(target=_watch, args=(engine, share, asked, ended, delay), daemon=True)
    watcher.start()
    try:
        yield lambda what: asked.__setitem__(0, what)
    finally:
        ended.set()
        watcher.join()


def _watch(
    engine: str,
    share: Callable[[], float] | None,
    asked: list[str],
    ended: Event,
    delay: float,
) -> None:
    """Show the line from a thread of its own, since the fit's waits for the engine."""
    if ended.wait(delay):
        return
    from tqdm import tqdm

    form = "{desc}, {elapsed}{postfix}"
    with tqdm(bar_format=form, desc=engine, leave=False, mininterval=0.0, file=sys.stderr) as line:
        line.start_t -= delay
        while not ended.wait(PAUSE):
            done = -1.0 if share is None else share()
            line.set_description_str(f"{engine}: {asked[0]}", refresh=False)
            line.set_postfix_str(f"{done:.0f} % of the rows" if done >= 0.0 else "", refresh=False)
            line.refresh()
