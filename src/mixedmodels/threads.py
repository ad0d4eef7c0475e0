"""Threads: how many, how loops share them, and when linear algebra keeps to one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import cache
from threading import Event, Lock
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

# whether this thread is one of several that share the cores
_ALONE: ContextVar[bool] = ContextVar("alone", default=False)
# set when the caller of this thread was interrupted
_STOP: ContextVar[Event | None] = ContextVar("stop", default=None)
# operations below which a second thread costs more than it saves
LITTLE_WORK = 1e6


def n_threads() -> int:
    """Threads that a loop may use: the cores of this process, or ``OMP_NUM_THREADS`` if fewer."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores or 1, int(asked)) if asked.isdigit() and int(asked) else cores or 1


def in_threads(run: Callable[[int, int], Any], work: float) -> list[Any]:
    """Call ``run(first, step)`` in each thread; together they cover every index once.

    Parameters
    ----------
    run : callable
        Releases the GIL; takes the first index and the distance to the next.
    work : float
        Operations in all; a little work stays in this thread.

    Returns
    -------
    list
        What each call returned.
    """
    threads = n_threads() if work > LITTLE_WORK and not _ALONE.get() else 1
    if threads == 1:
        return [run(0, 1)]
    with _pool(threads) as each:
        return list(each(lambda first: run(first, threads), range(threads)))


def each_in_a_thread(
    run: Callable[[Task], Result], tasks: Sequence[Task], *, most: int | None = None
) -> Iterator[Result]:
    """Results of tasks in order, some at a time; loops inside a task keep to its thread.

    Parameters
    ----------
    run : callable
        Releases the GIL for most of its time.
    tasks : sequence
    most : int, optional
        Tasks that may run at a time, where memory is short.
    """
    if not tasks:
        return

    def alone(task: Task) -> Result:
        _ALONE.set(True)
        return run(task)

    threads = min(n_threads(), len(tasks), most or len(tasks))
    with one_blas_thread(active=True), _pool(threads) as each:
        yield from each(alone, tasks)


@contextmanager
def _pool(threads: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a ``map`` over threads; where it is left early, they end at their next look."""
    stop, context = Event(), copy_context()  # warnings kept back here are kept back there

    def inside(run: Callable[[Any], Any], task: Any) -> Any:
        _STOP.set(stop)
        return run(task)

    def each(run: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        return pool.map(lambda task: context.copy().run(inside, run, task), tasks)

    with ThreadPoolExecutor(threads) as pool:
        try:
            yield each
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def stop_if_asked() -> None:
    """End a task whose caller was interrupted; long tasks ask now and then."""
    stop = _STOP.get()
    if stop is not None and stop.is_set():
        raise CancelledError


@contextmanager
def one_blas_thread(*, active: bool) -> Iterator[None]:
    """Keep linear algebra to one thread.

    A BLAS thread that has nothing to do spins for 30 ms, on a core that the loops between two calls
    want; two BLAS libraries (NumPy's and SciPy's) do so in turn. Only large factorisations gain.
    """
    if not active:
        yield
        return
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()


class _Limit:
    """One BLAS thread while any of our threads asks for it: the number belongs to all of them.

    So the first one in sets it and the last one out restores what was there. An interrupt between
    two libraries leaves neither changed.
    """

    def __init__(self) -> None:
        self.lock, self.inside = Lock(), 0
        self.before: list[int] = []

    def enter(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.before = [library.get_num_threads() for library in _libraries()]
                try:
                    _set([1] * len(self.before))
                except BaseException:
                    _set(self.before)
                    raise
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                try:
                    _set(self.before)
                except BaseException:
                    _set(self.before)
                    raise

    def unlock(self) -> None:
        """In a forked child the thread that held the lock is gone."""
        self.lock = Lock()


_LIMIT = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LIMIT.unlock)


def _set(numbers: Sequence[int]) -> None:
    """Give each BLAS library its number of threads."""
    for library, number in zip(_libraries(), numbers, strict=True):
        library.set_num_threads(number)
        # newer threadpoolctl obeys only the thread that came first: let another one restore
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread()


@cache
def _libraries() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    return list(ThreadpoolController().select(user_api="blas").lib_controllers)
