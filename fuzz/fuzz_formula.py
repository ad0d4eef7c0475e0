"""Coverage-guided fuzzing of the formula parser: no crash, no hang, no evaluation of code.

    pip install atheris
    python fuzz/fuzz_formula.py -max_total_time=300 fuzz/corpus

A formula is either parsed or refused by `FormulaError`; what is parsed is fitted to a small frame,
and ends in a fit or in one of our errors. Any other exception is a finding.
"""

from __future__ import annotations

import sys
import time
import warnings

import atheris

with atheris.instrument_imports(include=["mixedmodels"]):
    import mixedmodels as mm
    from mixedmodels.formula.parse import parse

import contextlib

import numpy as np
import pandas as pd

warnings.simplefilter("ignore")
RNG = np.random.default_rng(1)
FRAME = pd.DataFrame(
    {
        "y": RNG.standard_normal(40),
        "x": RNG.standard_normal(40),
        "z": RNG.uniform(1.0, 2.0, 40),
        "f": RNG.choice(["a", "b", "c"], 40),
        "g": np.repeat(np.arange(8), 5).astype(str),
        "h": np.tile(np.arange(5), 8).astype(str),
    }
)
TOKENS = [
    "y", "x", "z", "f", "g", "h", "~", "+", "-", "*", ":", "/", "|", "||", "(", ")", "^", "1", "0",
    "2", " ", ".", "I(", "log(", "poly(", "scale(", "factor(", "offset(", "%in%", "`x`", "==", "C(",
    "bs(", ",", "3", "exp(", "sqrt(", "1e9", "True", "__", "'a'", "lambda", "import",
]  # fmt: skip
LONGEST_SECONDS = 10.0
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")


def one_input(data: bytes) -> None:
    """Parse and fit one text: of characters, of tokens, or of tokens within a whole formula."""
    provider = atheris.FuzzedDataProvider(data)
    mode = provider.ConsumeIntInRange(0, 2)
    if mode == 0:
        text = provider.ConsumeUnicodeNoSurrogates(200)
    else:
        count = provider.ConsumeIntInRange(1, 30 if mode == 1 else 8)
        text = "".join(TOKENS[provider.ConsumeIntInRange(0, len(TOKENS) - 1)] for _ in range(count))
        text = text if mode == 1 else f"y ~ {text} + (1 | g)"
    started = time.perf_counter()
    try:
        parse(text, list(FRAME.columns))
    except mm.FormulaError:
        return
    with contextlib.suppress(mm.MixedModelsError, MemoryError):
        mm.lmer(text, FRAME)
    if time.perf_counter() - started > LONGEST_SECONDS:
        raise TimeoutError(f"{text!r} took too long")


def watch(event: str, _arguments: tuple[object, ...]) -> None:
    """Audit hook: what a formula must never reach."""
    if event in FORBIDDEN:
        raise SystemError(f"a formula reached {event}")


def main() -> None:
    """Fuzz with the arguments of libFuzzer."""
    mm.lmer("y ~ x + (1 | g)", FRAME)
    atheris.Setup(sys.argv, one_input)
    sys.addaudithook(watch)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
