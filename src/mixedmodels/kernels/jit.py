"""How kernels are compiled: once, kept on disk, and said so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

import numba

# sums may be reordered, but NaN and infinity keep their meaning
FAST = {"reassoc", "contract", "nsz"}
_LOG = logging.getLogger("mixedmodels")


def kernel(signature: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for one signature, or take it from the cache on disk.

    The first compilation of a process is announced in one line.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        options: dict[str, Any] = {"nogil": True, "fastmath": FAST, "error_model": "numpy"}
        try:
            compiled = numba.njit(signature, cache=True, **options)(function)
        except RuntimeError:  # no folder to keep the code in: compile in every process
            compiled = numba.njit(signature, **options)(function)
        _announce(missed=bool(compiled.stats.cache_misses) or not compiled.stats.cache_path)
        return cast("Callable[..., Any]", compiled)

    return decorate


def _announce(*, missed: bool) -> None:
    if missed and not _announce.__dict__.get("done"):
        _announce.__dict__["done"] = True
        _LOG.warning("compiling kernels for crossed random effects, once (a few seconds)")
