"""Running a command: what it prints, warnings as lines, errors as exit codes.

Exit codes: 0 done, 1 the data, formula or model cannot be used, 2 the command cannot be understood.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from mixedmodels.cli import compare, demo, explore, fit, report
from mixedmodels.errors import MixedModelsError, MixedModelsWarning, clean

DONE, UNUSABLE, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        The exit code.
    """
    _be_lenient(sys.stdout)
    _be_lenient(sys.stderr)
    with _interrupts() as interrupts:
        return _run(argv, interrupts)


def _run(argv: Sequence[str] | None, interrupts: list[int]) -> int:
    try:
        arguments = _parser().parse_args(argv)
        with _plain_warnings():
            text = arguments.run(arguments)
        _deliver(text, arguments.output)
    except SystemExit as stop:  # argparse: --help, --version, misuse
        return stop.code if isinstance(stop.code, int) else USAGE
    except MixedModelsError as error:
        # a library that reads files may have made an error of its own out of an interrupt
        return INTERRUPTED if interrupts else _fail(str(error))
    except BrokenPipeError:  # the reader has seen enough, as in `| head`
        _discard_output()
    except OSError as error:
        return _fail(f"{error.strerror or error}: '{error.filename}'")
    except MemoryError:
        return _fail("there is not enough memory for this")
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yield a list that holds the interrupts that came, each of which raises as before."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        signal.default_int_handler(number, frame)

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield seen
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mixedmodels",
        description="Linear mixed models from the command line.",
        epilog=f"example:\n  mixedmodels {fit.EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (fit, compare, report, explore, demo):
        module.add(commands)
    return parser


class _Version(argparse.Action):
    """Print the version, looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        import mixedmodels

        print(f"mixedmodels {mixedmodels.__version__}")
        parser.exit()


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Each warning as one line on the error stream."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        print(f"warning: {_harmless(' '.join(str(message).split()))}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", MixedModelsWarning)
        warnings.showwarning = show
        yield


def _fail(message: str) -> int:
    print(f"mixedmodels: error: {_harmless(message)}", file=sys.stderr)
    return UNUSABLE


def _harmless(message: str) -> str:
    """Lines whose labels from data or files cannot steer the terminal."""
    return "\n".join(clean(line) for line in message.split("\n"))


def _deliver(text: str, path: Path | None) -> None:
    if path is None:
        print(text, flush=True)
    else:
        path.write_text(text + "\n", encoding="utf-8")


def _be_lenient(stream: Any) -> None:
    """A terminal without some character shows another instead of failing."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="replace")


def _discard_output() -> None:
    """Let the interpreter's own flush at exit have somewhere to go."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
