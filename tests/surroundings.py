"""Everything global that a library could change: it belongs to the user."""

from __future__ import annotations

import decimal
import gc
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import threadpoolctl


def settings() -> dict[str, object]:
    """What is set now, by name."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import polars as pl

    context = decimal.getcontext()
    return {
        "NumPy's random state": repr(np.random.get_state()),  # noqa: NPY002 - it is the point
        "Python's random state": random.getstate(),
        "floating point": (np.geterr(), np.geterrcall()),
        "print options": np.get_printoptions(),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "locale": locale.setlocale(locale.LC_ALL),
        "pandas": {key: repr(pd.get_option(key)) for key in pandas_options()},
        "polars": pl.Config.state(if_set=True),
        "matplotlib": dict(mpl.rcParams),
        "backend": mpl.get_backend(),
        "figures": plt.get_fignums(),
        "directory": Path.cwd(),
        "environment": dict(os.environ),
        "path": (list(sys.path), list(sys.meta_path)),
        "BLAS threads": [pool["num_threads"] for pool in threadpoolctl.threadpool_info()],
        "our threads": sorted(t.name for t in threading.enumerate() if not t.daemon),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "recursion": sys.getrecursionlimit(),
        "hooks": (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook),
        "tracing": (sys.gettrace(), sys.getprofile()),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "decimal": (context.prec, context.rounding, dict(context.traps)),
        "garbage": (gc.isenabled(), gc.get_threshold()),
    }


@cache
def pandas_options() -> list[str]:
    """Names of all options that are not deprecated: reading those warns."""
    described = pd.describe_option("", _print_desc=False)
    names = [line.partition(" ")[0] for line in described.splitlines() if line[:1].isalpha()]
    words = {name: pd.describe_option(f"^{name}$", _print_desc=False) for name in names}
    return [name for name in names if "." in name and "deprecated" not in words[name].casefold()]


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """Names of what is not what it was."""
    return [name for name, value in before.items() if after[name] != value]
