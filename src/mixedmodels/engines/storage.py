"""Sums in a file: JSON and arrays, read with distrust; the formula is parsed anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mixedmodels.design.levels import Factor
from mixedmodels.engines.expressions import Scaling
from mixedmodels.engines.moments import Moments
from mixedmodels.engines.plan import make_plan, response_code
from mixedmodels.engines.sums import Sums
from mixedmodels.formula.parse import parse
from mixedmodels.model import archive
from mixedmodels.model.archive import OtherVersionError, Parts, Stored, number, texts, typed

FORMAT, VERSION = "mixedmodels moments", 1
KINDS = ("pandas", "polars", "pyarrow")


def save(moments: Moments, path: Path) -> None:
    """Write sums to a file; an existing one is replaced once the new one is complete."""
    manifest, arrays = described(moments)
    archive.write(path, {"format": FORMAT, "version": VERSION, **manifest}, arrays)


def described(moments: Moments) -> tuple[dict[str, Any], Parts]:
    """Sums as JSON and arrays."""
    sums = moments.sums
    arrays: Parts = {name: getattr(sums, name) for name in Sums.__slots__}
    arrays["ranges"] = moments.ranges
    keys = []
    for i, (name, key) in enumerate(moments.keys.items()):
        arrays[f"codes_{i}"] = key.codes
        entry = {"name": name, "levels": [*key.levels]}
        keys.append(entry | {"ordered": key.ordered, "order_given": key.order_given})
    manifest = {
        "formula": moments.formula,
        "names": [*moments.names],
        "numbers": sorted(moments.numbers),
        "weights": moments.weights,
        "offset": moments.offset,
        "scalings": {
            text: [scaling.centre, scaling.scale] for text, scaling in moments.scalings.items()
        },
        "keys": keys,
        "log_weights": moments.log_weights,
        "n_rows": moments.n_rows,
        "missing": moments.missing,
        "kind": moments.kind,
    }
    return manifest, arrays


def load(path: Path) -> Moments:
    """Read sums from a file."""
    with archive.opened(path) as stored:
        if stored.manifest.get("format") != FORMAT:
            raise ValueError("it does not say that it holds moments")
        version = stored.get("version", int)
        if version != VERSION:
            raise OtherVersionError(
                f"written in format version {version}; this package reads version {VERSION}"
            )
        return restored(stored)


def restored(stored: Stored) -> Moments:
    """The sums that `described` gave."""
    names, numbers = texts(stored.manifest["names"]), frozenset(texts(stored.manifest["numbers"]))
    weights, offset = (_optional(stored.manifest[role]) for role in ("weights", "offset"))
    formula = stored.get("formula", str)
    parsed = parse(formula, names)
    plan = make_plan(parsed, numbers.__contains__)
    size = len(plan.parts) + 1
    n = stored.array("n", None, kind="i").astype(np.int64)
    cells = len(n)
    sums = Sums(
        n,
        stored.finite("weight", cells),
        stored.finite("means", size, cells),
        stored.finite("products", size, size, cells),
    )
    if not cells or n.min() < 1 or sums.weight.min() <= 0:
        raise ValueError("cells without rows")
    keys = {
        typed(entry, "name", str): _key(stored, i, entry, cells)
        for i, entry in enumerate(stored.get("keys", list))
    }
    if set(keys) != set(plan.keys):
        raise ValueError("the categories are not those of the formula")
    kind = stored.get("kind", str)
    if kind not in KINDS:
        raise ValueError(f"unknown kind of frame {kind[:40]!r}")
    return Moments(
        formula=formula,
        names=names,
        numbers=numbers,
        weights=weights,
        offset=offset,
        response=response_code(parsed, offset),
        parts=plan.parts,
        labels=plan.labels,
        scalings={
            text: Scaling(*(None if v is None else float(v) for v in pair))
            for text, pair in stored.get("scalings", dict).items()
        },
        keys=keys,
        sums=sums,
        ranges=stored.finite("ranges", size, 2),
        log_weights=number(stored.manifest, "log_weights"),
        n_rows=stored.get("n_rows", int),
        missing={name: int(count) for name, count in stored.get("missing", dict).items()},
        kind=kind,
        origin="a file",
    )


def _optional(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("a column's name must be text")
    return value


def _key(stored: Stored, i: int, entry: dict[str, Any], cells: int) -> Factor:
    levels = tuple(typed(entry, "levels", list))
    if any(type(level) not in (str, int, float, bool) for level in levels):
        raise ValueError("a level is neither text nor a number")
    codes = stored.positions(f"codes_{i}", cells, len(levels))
    return Factor(
        codes.astype(np.int64),
        levels,
        ordered=typed(entry, "ordered", bool),
        order_given=typed(entry, "order_given", bool),
    )
