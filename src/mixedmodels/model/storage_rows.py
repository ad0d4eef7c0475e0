"""The rows of a fit and the user's frame as arrays, and back; or what stands where they were."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixedmodels.design.build import Design, Rows
from mixedmodels.design.frame import column_names
from mixedmodels.design.levels import Numeric
from mixedmodels.design.storage import read_column
from mixedmodels.engines.moments import Moments as CellMoments
from mixedmodels.engines.storage import described, restored
from mixedmodels.errors import DataError
from mixedmodels.model.archive import Parts, Stored, number, texts, typed
from mixedmodels.model.record import Fit, Source
from mixedmodels.model.rows import LOADED, SUMMED, RowsNotKept
from mixedmodels.model.storage_design import levels_of

FRAME_KINDS = ("pandas", "polars", "pyarrow")


def write_source(model: Fit, arrays: Parts, *, data: bool) -> dict[str, Any]:
    """What is kept of the rows, with `data` the rows too; arrays are added to `arrays`."""
    source, rows = model.source, model.rows
    given = {name: v if isinstance(v, str) else None for name, v in source.arrays.items()}
    described = {
        "kind": source.kind,
        "n_rows": source.n_rows,
        "missing": {name: int(count) for name, count in source.missing.items()},
        "given": given,
        "weight_scale": float(rows.weight_scale),
        "weighted": rows.weights is not None,
        "with_offset": rows.offset is not None,
        "data": data,
    }
    if not data:
        return described
    arrays |= {"base": rows.base, "y": rows.y}
    arrays |= {f"codes_{k}": codes for k, codes in enumerate(rows.codes)}
    optional = {"weights": rows.weights, "offset": rows.offset, "complete": source.complete}
    optional |= {f"given_{n}": source.arrays[n] for n, text in given.items() if text is None}
    present = {name: np.asarray(v) for name, v in optional.items() if v is not None}
    for name in given:
        if f"given_{name}" in present:
            present[f"given_{name}"] = present[f"given_{name}"].astype(np.float64)
    arrays |= present
    return described | {"arrays": [*present], "frame": _write_frame(source.data, arrays)}


def write_sums(model: Fit, arrays: Parts) -> dict[str, Any] | None:
    """The sums that a model was fitted to; arrays are added to `arrays`."""
    if model.source.sums is None:
        return None
    manifest, own = described(model.source.sums)
    arrays |= {f"sums_{name}": array for name, array in own.items()}
    return manifest


def read_sums(stored: Stored, n: int) -> CellMoments | None:
    """The sums that a saved fit of `n` rows was fitted to; None where it had its rows."""
    if stored.manifest.get("sums") is None:
        return None
    sums = restored(stored.inside("sums"))
    if sums.n != n:
        raise ValueError(f"sums of {sums.n} rows, and a model of {n}")
    return sums


def read_source(
    stored: Stored, design: Design, n: int, size: int, sums: CellMoments | None
) -> tuple[Source, Rows]:
    """Source and rows of a saved fit of `n` rows in `size` base columns."""
    entry = stored.get("source", dict)
    kind = typed(entry, "kind", str)
    if kind not in FRAME_KINDS:
        raise ValueError(f"unknown kind of frame {kind[:40]!r}")
    kind = kind if find_spec(kind) else "pandas"
    n_rows, scale = typed(entry, "n_rows", int), number(entry, "weight_scale")
    if n_rows < n or scale <= 0.0:
        raise ValueError(f"{n_rows} rows, of which {n} were used, of mean weight {scale}")
    missing = {name: int(count) for name, count in typed(entry, "missing", dict).items()}
    given: dict[str, Any] = {}
    for name, text in typed(entry, "given", dict).items():
        given[name] = np.empty(0) if text is None else typed({name: text}, name, str)
    if not typed(entry, "data", bool):
        rows = RowsNotKept(
            scale,
            weighted=typed(entry, "weighted", bool),
            with_offset=typed(entry, "with_offset", bool),
            reason=LOADED if sums is None else SUMMED,
        )
        return Source(None, kind, n_rows, None, missing, given, sums), rows

    present = set(texts(entry["arrays"]))
    complete = stored.array("complete", n_rows, kind="b") if "complete" in present else None
    if (n_rows if complete is None else int(complete.sum())) != n:
        raise ValueError("the rows used do not fit the rows given")
    for name in given:
        if f"given_{name}" in present:
            given[name] = stored.array(f"given_{name}", n_rows)
    codes = tuple(
        stored.positions(f"codes_{k}", n, len(group.levels))
        for k, group in enumerate(design.groups)
    )
    weights, offset = (
        stored.finite(name, n) if name in present else None for name in ("weights", "offset")
    )
    kept = Rows(
        stored.finite("base", size, n), stored.finite("y", n), codes, weights, scale, offset
    )
    frame = None if entry["frame"] is None else _read_frame(stored, entry["frame"], n_rows, kind)
    return Source(frame, kind, n_rows, complete, missing, given), kept


def _write_frame(frame: Any, arrays: Parts) -> list[dict[str, Any]] | None:
    """Columns of the user's frame, in the form in which every library's columns are read."""
    if frame is None:
        return None
    described: list[dict[str, Any]] = []
    names = column_names(frame)
    for name in names:
        if names.count(name) > 1:
            continue
        try:
            column = read_column(frame[name], name)
        except DataError:
            continue  # cells that no model can use
        at = f"column_{len(described)}"
        entry: dict[str, Any] = {"name": name}
        if isinstance(column, Numeric):
            arrays[at] = column.values
            if column.missing is not None:
                arrays[f"{at}_missing"] = column.missing
            entry["gaps"] = column.missing is not None
        else:
            arrays[at] = column.codes.astype(np.int64)
            entry |= {"levels": [*column.levels], "ordered": column.ordered}
            entry["category"] = column.nature == "category"
        described.append(entry)
    return described


def _read_frame(stored: Stored, entries: list[Any], n_rows: int, kind: str) -> Any:
    columns: dict[str, Any] = {}
    for i, entry in enumerate(entries):
        name, at = typed(entry, "name", str), f"column_{i}"
        if "levels" not in entry:
            values = stored.array(at, n_rows, kind="biuf")
            gaps = stored.array(f"{at}_missing", n_rows, kind="b") if entry["gaps"] else None
            columns[name] = _numbers(values, gaps, kind)
        else:
            levels = [*levels_of(typed(entry, "levels", list))]
            codes = stored.positions(at, n_rows, len(levels), -1)
            ordered = typed(entry, "ordered", bool)
            columns[name] = _labels(
                codes, levels, kind, ordered=ordered, category=entry["category"]
            )
    if kind == "polars":
        import polars as pl

        return pl.DataFrame(columns)
    if kind == "pyarrow":
        import pyarrow as pa

        return pa.table(columns)
    return pd.DataFrame(columns)


def _numbers(values: NDArray[Any], gaps: NDArray[Any] | None, kind: str) -> Any:
    if gaps is None or (kind == "pandas" and values.dtype.kind == "f"):
        return values
    holes = [None if gap else v for gap, v in zip(gaps.tolist(), values.tolist(), strict=True)]
    return pd.array(holes) if kind == "pandas" else holes


def _labels(
    codes: NDArray[Any],
    levels: list[Any],
    kind: str,
    *,
    ordered: bool,
    category: bool,
) -> Any:
    if category and kind == "pandas":
        return pd.Categorical.from_codes(codes, categories=pd.Index(levels), ordered=ordered)
    if category and kind == "pyarrow":
        import pyarrow as pa

        return pa.DictionaryArray.from_arrays(
            pa.array(codes, mask=codes < 0), pa.array(levels), ordered=ordered
        )
    each = [levels[code] if code >= 0 else None for code in codes.tolist()]
    if category and kind == "polars" and all(isinstance(level, str) for level in levels):
        import polars as pl

        return pl.Series(each, dtype=pl.Enum(levels))
    return each
