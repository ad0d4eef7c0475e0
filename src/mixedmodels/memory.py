"""Memory that a fit will need against memory that there is, before anything is allocated."""

from __future__ import annotations

from pathlib import Path

from mixedmodels.errors import MemoryLimitError

# bytes below which nobody asks
NEGLIGIBLE = 256e6
_LIMIT, _IN_USE = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")


def available_memory() -> float:
    """Bytes that this process may still use, of the machine and of its container."""
    import psutil

    free = float(psutil.virtual_memory().available)
    try:
        limit, in_use = _LIMIT.read_text().strip(), _IN_USE.read_text().strip()
    except OSError:
        return free
    return min(free, float(limit) - float(in_use)) if limit.isdigit() else free


def check_memory(needed: float, reason: str) -> None:
    """Refuse what cannot fit.

    Parameters
    ----------
    needed : float
        Bytes.
    reason : str
        What needs them and what to do.

    Raises
    ------
    MemoryLimitError
    """
    if needed <= NEGLIGIBLE:
        return
    free = available_memory()
    if needed > free:
        raise MemoryLimitError(
            f"the fit needs about {_size(needed)} of memory, {_size(free)} are free: {reason}"
        )


def _size(n_bytes: float) -> str:
    for unit, size in (("TiB", 2**40), ("GiB", 2**30)):
        if n_bytes >= size:
            return f"{n_bytes / size:.1f} {unit}"
    return f"{n_bytes / 2**20:.0f} MiB"
