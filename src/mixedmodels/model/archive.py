"""A zip of one JSON text and ``.npy`` arrays, written whole and read with distrust.

Arrays are stored uncompressed: none can be larger than the file, whatever its header claims.
Objects are never unpickled, nothing is unpacked to disk, and every value is asked for with the type
and shape that it must have.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import secrets
import struct
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from formulaic.errors import FormulaicError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mixedmodels.errors import ModelError

MANIFEST = "model.json"
_HEADERS = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}
# whatever wrong numbers, texts and shapes can lead to
_CONSEQUENCES = (
    *(ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError),
    *(SyntaxError, TypeError, ValueError, struct.error, tokenize.TokenError, FormulaicError),
)

Parts = dict[str, NDArray[Any]]
T = TypeVar("T")


class OtherVersionError(ModelError):
    """The file is sound, but of a format version that this package does not read."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file says; arrays are read when asked for.

    Attributes
    ----------
    manifest : dict
        The JSON text.
    archive : zipfile.ZipFile
    prefix : str
        What the names of the arrays begin with.
    """

    manifest: dict[str, Any]
    archive: zipfile.ZipFile
    prefix: str = ""

    def inside(self, key: str) -> Stored:
        """What was stored under a key, whose arrays begin with its name."""
        return Stored(self.get(key, dict), self.archive, f"{self.prefix}{key}_")

    def get(self, key: str, kind: type[T]) -> T:
        """A value of the manifest that must be of exactly this type."""
        return typed(self.manifest, key, kind)

    def array(self, name: str, *shape: int | None, kind: str = "f") -> NDArray[Any]:
        """An array that must be of these kinds and this shape (None: any length)."""
        buffer = io.BytesIO(self.archive.read(f"{self.prefix}{name}.npy"))
        version = np.lib.format.read_magic(buffer)
        found, _, dtype = _HEADERS[version[0]](buffer)
        if dtype.hasobject or dtype.kind not in kind or dtype.itemsize > 8:
            raise ValueError(f"array '{name}' has type {dtype}")
        if len(found) != len(shape) or any(
            want is not None and got != want for got, want in zip(found, shape, strict=True)
        ):
            raise ValueError(f"array '{name}' has shape {found}, expected {shape}")
        left = len(buffer.getbuffer()) - buffer.tell()
        if min(found, default=0) < 0 or left != dtype.itemsize * math.prod(found):
            raise ValueError(f"array '{name}' is not as long as its header says")
        buffer.seek(0)
        return np.asarray(np.lib.format.read_array(buffer, allow_pickle=False))

    def finite(self, name: str, *shape: int | None) -> NDArray[np.float64]:
        """An array that must be finite float64."""
        array = self.array(name, *shape)
        if array.dtype != np.float64 or not np.isfinite(array).all():
            raise ValueError(f"array '{name}' is not all finite float64")
        return array

    def positions(self, name: str, size: int, below: int, lowest: int = 0) -> NDArray[Any]:
        """An array of `size` ints that must lie in ``range(lowest, below)``."""
        array = self.array(name, size, kind="i")
        if size and not (lowest <= int(array.min()) and int(array.max()) < below):
            raise ValueError(f"array '{name}' has positions outside {lowest}..{below - 1}")
        return array


def typed(mapping: Mapping[str, Any], key: str, kind: type[T]) -> T:
    """A value that must be of exactly this type; bool is not int."""
    value = mapping[key]
    if type(value) is not kind:
        raise ValueError(f"'{key}' must be {kind.__name__}, not {type(value).__name__}")
    return value


def texts(values: Any) -> tuple[str, ...]:
    """A list that must hold texts only."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("expected a list of texts")
    return tuple(values)


def number(mapping: Mapping[str, Any], key: str) -> float:
    """A float that must be finite."""
    value = typed(mapping, key, float)
    if not math.isfinite(value):
        raise ValueError(f"'{key}' is {value}")
    return value


def write(path: Path, manifest: Mapping[str, Any], arrays: Parts) -> None:
    """Write a file; an existing one is replaced once the new one is complete."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    text = json.dumps(manifest, allow_nan=False)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            # ZipInfo's default date makes equal models equal files
            archive.writestr(zipfile.ZipInfo(MANIFEST), text)
            for name, array in arrays.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as out:
                    np.lib.format.write_array(out, np.asarray(array), allow_pickle=False)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def opened(path: Path) -> Iterator[Stored]:
    """Read a file; what goes wrong inside the block is the file's fault.

    Raises
    ------
    ModelError
        Not such a file, truncated, or its contents do not fit each other.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield _open(archive, path.stat().st_size)
    except OtherVersionError as error:
        raise ModelError(f"'{path}' was {error}") from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise ModelError(
            f"'{path}' is not a model file, or a part of it is lost: {error}"
        ) from None
    except _CONSEQUENCES as error:
        raise ModelError(
            f"'{path}' does not hold a model as mm.save() writes it, or is damaged: "
            f"{str(error) or type(error).__name__}"
        ) from error


def _open(archive: zipfile.ZipFile, size: int) -> Stored:
    """Check sizes before anything large is read."""
    members = archive.infolist()
    if any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members) or (
        sum(m.file_size for m in members) > size
    ):
        raise ValueError("its parts are compressed, encrypted or larger than the file")
    manifest = json.loads(archive.read(MANIFEST), parse_constant=_refuse)
    if not isinstance(manifest, dict):
        raise TypeError(f"{MANIFEST} is not an object")
    return Stored(manifest, archive)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{MANIFEST} holds {constant}")
