"""Fitted models in one file: a zip of JSON and ``.npy`` arrays; loading it runs no code.

The file holds what the fit is a function of: the formula's text, levels and remembered transform
state, the moments, and theta. Loading parses the formula again, rebuilds the design and evaluates
the criterion once at theta, with the same numbers in the same order, so results agree to the bit.
Arrays are stored uncompressed: none can be larger than the file, whatever its header claims.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec
from formulaic.parser.types import Factor as FormulaicFactor  # type: ignore[import-untyped]
from numpy.typing import NDArray

from mixedmodels.design.build import Design, GroupDesign, Rows, TermDesign, column_names
from mixedmodels.design.contrasts import with_contrasts
from mixedmodels.design.frame import column_names as frame_columns
from mixedmodels.design.grouping import Structure
from mixedmodels.design.levels import Numeric
from mixedmodels.design.storage import read_column
from mixedmodels.errors import DataError, DataWarning, ModelError
from mixedmodels.formula.functions import CONTEXT
from mixedmodels.formula.parse import parse
from mixedmodels.formula.terms import ParsedFormula
from mixedmodels.likelihood.nested import NestedBlocks
from mixedmodels.likelihood.objective import Objective
from mixedmodels.likelihood.working import Working, make_working, respond
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.record import Fit, Source
from mixedmodels.moments.cross_products import Cells, Moments
from mixedmodels.optimize import Optimum

FORMAT = "mixedmodels"
VERSION = 1
MANIFEST = "model.json"
VERDICTS = ("optimum", "boundary optimum", "not identified", "not converged")
FRAME_KINDS = ("pandas", "polars", "pyarrow")

Parts = dict[str, NDArray[Any]]
T = TypeVar("T")


class RowsNotKept(Rows):
    """Stands where the rows were: a model loaded without them answers what needs none.

    Parameters
    ----------
    weight_scale : float
        Mean prior weight of the fit.
    with_offset : bool
        Whether the fit had an offset.
    """

    __slots__ = ()

    def __init__(self, weight_scale: float, *, with_offset: bool) -> None:
        object.__setattr__(self, "weight_scale", weight_scale)
        object.__setattr__(self, "offset", np.empty(0) if with_offset else None)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rows_not_kept, (self.weight_scale, self.offset is not None)

    def __repr__(self) -> str:
        return "RowsNotKept()"

    def _absent(self) -> NoReturn:
        raise ModelError(
            "this model was loaded from a file without its rows: predict(newdata), ranef(), "
            "tidy() and update(data=...) work, but fitted values, residuals and refits of its own "
            "rows do not; write the file with mm.save(model, path, data=True) for these"
        )

    base = property(_absent)  # type: ignore[assignment]
    y = property(_absent)  # type: ignore[assignment]
    codes = property(_absent)  # type: ignore[assignment]
    weights = property(_absent)  # type: ignore[assignment]


def _rows_not_kept(weight_scale: float, with_offset: bool) -> RowsNotKept:  # noqa: FBT001
    return RowsNotKept(weight_scale, with_offset=with_offset)


def save(model: FittedModel, path: str | os.PathLike[str], *, data: bool = False) -> None:
    """Write a fitted model to one file that `load` reads back.

    Parameters
    ----------
    model : FittedModel
    path : str or path-like
        Replaced when it exists, and only once the new file is complete.
    data : bool, default False
        Keep the rows too. Without them the file holds no row of the data (sums, levels and
        estimates only), and the loaded model predicts for new data but has no fitted values,
        residuals or refits. With them it also holds the frame's columns of numbers, text,
        categories and times (times as text); a pandas index is replaced by row numbers.

    Raises
    ------
    ModelError
        `model` is not a fitted model, or ``data=True`` for one that holds no rows itself.

    Notes
    -----
    The file is a zip archive of ``model.json`` and ``.npy`` arrays. Its size is that of the sums
    over levels, whatever the number of rows.

    Examples
    --------
    >>> import mixedmodels as mm, pathlib, tempfile
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "piglets.mm"
    >>> mm.save(m, path)
    >>> bool((mm.load(path).beta == m.beta).all())
    True
    """
    if not isinstance(model, Fit):
        raise ModelError(f"save() takes a fitted model, not {type(model).__name__}")
    if data and isinstance(model.rows, RowsNotKept):
        raise ModelError("data=True: this model was loaded from a file without its rows")
    arrays: Parts = {}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": _package_version(),
        **_write_design(model, arrays),
        **_write_estimates(model, arrays),
        "source": _write_source(model, arrays, data=data),
    }
    path = Path(path)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        _write_file(part, json.dumps(manifest, allow_nan=False), arrays)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> FittedModel:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    FittedModel
        Gives the same numbers as the saved one. Frames come out as pandas when the library of
        the saved model's frames is not installed here.

    Raises
    ------
    FileNotFoundError
        No such file.
    ModelError
        Not a model file, damaged, or written in a newer format.

    Notes
    -----
    Nothing in the file is executed: the formula is parsed anew, and only what the package's own
    writer makes of it is evaluated, on an empty frame. A file from a stranger can lie about
    numbers, not run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            stored = _open(archive, Path(path).stat().st_size)
            return _restore(stored)
    except _Version as error:
        raise ModelError(f"{os.fspath(path)}: {error}") from None
    except (zipfile.BadZipFile, EOFError) as error:
        raise ModelError(
            f"{os.fspath(path)} is not a model file, or not all of it is here: {error}"
        ) from None
    except (
        *(ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError),
        *(ValueError, zipfile.LargeZipFile),
    ) as error:
        raise ModelError(
            f"{os.fspath(path)} does not hold a model as mm.save() writes it, or is damaged: "
            f"{str(error) or type(error).__name__}"
        ) from error


class _Version(Exception):
    """The file is of another format version."""


def _package_version() -> str:
    import mixedmodels

    return str(mixedmodels.__version__)


# --- the file -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Stored:
    """What a file says, not yet trusted: `manifest` is JSON, arrays are read on demand."""

    manifest: dict[str, Any]
    archive: zipfile.ZipFile

    def array(self, name: str, *shape: int | None, kind: str = "f") -> NDArray[Any]:
        """An array of the expected kind and shape (None: any length); floats must be finite."""
        buffer = io.BytesIO(self.archive.read(f"{name}.npy"))
        major, _ = np.lib.format.read_magic(buffer)
        read = (
            np.lib.format.read_array_header_1_0
            if major == 1
            else np.lib.format.read_array_header_2_0
        )
        found, _, dtype = read(buffer)
        if dtype.hasobject or dtype.kind not in kind or dtype.itemsize > 8:
            raise ValueError(f"array '{name}' has type {dtype}")
        if len(found) != len(shape) or any(
            want is not None and got != want for got, want in zip(found, shape, strict=True)
        ):
            raise ValueError(f"array '{name}' has shape {found}, expected {shape}")
        left = len(buffer.getbuffer()) - buffer.tell()
        if min(found, default=0) < 0 or left != dtype.itemsize * _product(found):
            raise ValueError(f"array '{name}' is not as long as its header says")
        buffer.seek(0)
        array: NDArray[Any] = np.lib.format.read_array(buffer, allow_pickle=False)
        return array

    def finite(self, name: str, *shape: int | None) -> NDArray[np.float64]:
        """An array of finite float64."""
        array = self.array(name, *shape)
        if array.dtype != np.float64 or not np.isfinite(array).all():
            raise ValueError(f"array '{name}' is not all finite float64")
        return array

    def codes(self, name: str, size: int, below: int) -> NDArray[Any]:
        """An array of `size` ints in ``range(below)``."""
        array = self.array(name, size, kind="i")
        if size and not (0 <= int(array.min()) and int(array.max()) < below):
            raise ValueError(f"array '{name}' has positions outside 0..{below - 1}")
        return array

    def get(self, key: str, kind: type[T]) -> T:
        return _typed(self.manifest, key, kind)


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length  # Python's ints do not overflow
    return size


def _typed(mapping: Mapping[str, Any], key: str, kind: type[T]) -> T:
    value = mapping[key]
    if type(value) is not kind:
        raise ValueError(f"'{key}' must be {kind.__name__}, not {type(value).__name__}")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("expected a list of texts")
    return tuple(values)


def _number(mapping: Mapping[str, Any], key: str) -> float:
    value = _typed(mapping, key, float)
    if not np.isfinite(value):
        raise ValueError(f"'{key}' is {value}")
    return value


def _write_file(path: Path, manifest: str, arrays: Parts) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        # ZipInfo's default date makes equal models equal files
        archive.writestr(zipfile.ZipInfo(MANIFEST), manifest)
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as out:
                np.lib.format.write_array(out, np.asarray(array), allow_pickle=False)


def _open(archive: zipfile.ZipFile, size: int) -> _Stored:
    """Check sizes, format and version, before anything large is read."""
    members = archive.infolist()
    if any(m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1 for m in members) or (
        sum(m.file_size for m in members) > size
    ):
        raise ValueError("its members are compressed, encrypted or larger than the file")
    manifest = json.loads(archive.read(MANIFEST), parse_constant=_no_constant)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError("model.json does not say that it is a model")
    version, writer = _typed(manifest, "version", int), _typed(manifest, "written_by", str)
    if version != VERSION:
        verb = "update mixedmodels to read it" if version > VERSION else "fit the model again"
        raise _Version(
            f"written in format version {version} by mixedmodels {writer[:40]!r}; mixedmodels "
            f"{_package_version()} reads format version {VERSION}: {verb}"
        )
    return _Stored(manifest, archive)


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"model.json holds {text}")


# --- the design ---------------------------------------------------------------------------------


def _write_design(model: Fit, arrays: Parts) -> dict[str, Any]:
    design = model.design
    arrays["x_recipe"] = design.x_recipe
    groups = []
    for k, group in enumerate(design.groups):
        terms = []
        for t, term in enumerate(group.terms):
            arrays[f"recipe_{k}_{t}"] = term.recipe
            terms.append({"random": _place(design.formula, term, group), "picks": [*term.picks]})
        groups.append({"levels": [*group.levels], "terms": terms})
    for k, parent in enumerate(design.structure.parents):
        arrays[f"parents_{k}"] = parent
    return {
        "formula": design.formula.text,
        "columns": _dot_columns(model),
        "contrasts": dict(model.options["contrasts"]),
        "x_names": [*design.x_names],
        "y_centre": float(design.y_centre),
        "y_scale": float(design.y_scale),
        "groups": groups,
        "term_order": [[*pair] for pair in design.term_order],
        "nested": design.structure.nested,
        "factors": {
            name: {"levels": [*levels], "ordered": bool(ordered)}
            for name, (levels, ordered) in design.factors.items()
        },
        "specs": {source: _write_spec(spec) for source, spec in design.specs.items()},
    }


def _place(formula: ParsedFormula, term: TermDesign, group: GroupDesign) -> int:
    """Which random term of the formula a term of the design comes from."""
    return next(
        i
        for i, random in enumerate(formula.random)
        if (random.text, random.columns) == (term.text, term.source)
        and set(random.group.variables) == set(group.variables)
    )


def _dot_columns(model: Fit) -> list[str] | None:
    """The columns that a ``.`` in the formula was read with."""
    if "." not in model.formula:
        return None
    if model.source.data is not None:
        return [*frame_columns(model.source.data)]
    return [*model.options.get("columns", model.design.formula.variables)]


def _read_design(stored: _Stored) -> tuple[Design, int]:
    """The design, and the number of base columns."""
    formula = _read_formula(stored)
    factors = {
        name: (_levels(_typed(entry, "levels", list)), _typed(entry, "ordered", bool))
        for name, entry in stored.get("factors", dict).items()
    }
    entries = stored.get("specs", dict)
    if set(entries) != {formula.fixed, *(term.columns for term in formula.random)}:
        raise ValueError("the remembered state is not that of the formula")
    specs = {
        source: _read_spec(source, entry, formula, factors) for source, entry in entries.items()
    }
    x_names = column_names(specs[formula.fixed], formula.labels)
    if x_names != _texts(stored.manifest["x_names"]):
        raise ValueError("the formula does not give the fixed-effect columns that were saved")
    x_recipe = stored.finite("x_recipe", None, len(x_names))
    groups = tuple(
        _read_group(stored, k, entry, formula, specs, len(x_recipe))
        for k, entry in enumerate(stored.get("groups", list))
    )
    order = tuple((int(g), int(t)) for g, t in stored.get("term_order", list))
    if sorted(order) != [(k, t) for k, group in enumerate(groups) for t in range(len(group.terms))]:
        raise ValueError("the order of the random terms does not fit them")
    nested = stored.get("nested", bool)
    sizes = [len(group.levels) for group in groups]
    parents = tuple(
        stored.codes(f"parents_{k}", sizes[k], sizes[k + 1])
        for k in range(len(groups) - 1 if nested else 0)
    )
    y_scale = _number(stored.manifest, "y_scale")
    if y_scale <= 0.0:
        raise ValueError(f"'y_scale' is {y_scale}")
    return Design(
        formula, x_names, x_recipe, _number(stored.manifest, "y_centre"), y_scale, groups,
        Structure(nested, parents), specs, factors, order,
    ), len(x_recipe)


def _read_formula(stored: _Stored) -> ParsedFormula:
    columns = stored.manifest["columns"]
    parsed = parse(stored.get("formula", str), None if columns is None else _texts(columns))
    return with_contrasts(parsed, stored.get("contrasts", dict))


def _levels(values: list[Any]) -> tuple[Any, ...]:
    if any(type(value) not in (str, int, float, bool) for value in values):
        raise ValueError("a level is neither text nor a number")
    return tuple(values)


def _read_group(
    stored: _Stored,
    k: int,
    entry: dict[str, Any],
    formula: ParsedFormula,
    specs: Mapping[str, ModelSpec],
    size: int,
) -> GroupDesign:
    terms: list[TermDesign] = []
    variables: set[tuple[str, ...]] = set()
    for t, described in enumerate(_typed(entry, "terms", list)):
        random = formula.random[_typed(described, "random", int)]
        names = column_names(specs[random.columns], formula.labels)
        picks = tuple(int(i) for i in _typed(described, "picks", list))
        if not picks or not all(0 <= i < len(names) for i in picks):
            raise ValueError(f"random term {t + 1} of group {k + 1} picks columns it has not")
        recipe = stored.finite(f"recipe_{k}_{t}", size, len(picks))
        chosen = tuple(names[i] for i in picks)
        terms.append(TermDesign(random.text, chosen, recipe, random.columns, picks))
        variables.add(random.group.variables)
    if len({frozenset(names) for names in variables}) != 1:
        raise ValueError(f"the terms of group {k + 1} have different groupings")
    # the first term of the formula on these columns names the group
    named = next(r.group.variables for r in formula.random if r.group.variables in variables)
    return GroupDesign(":".join(named), named, _texts(entry["levels"]), tuple(terms))


# --- the state of formulaic's transforms --------------------------------------------------------


def _write_spec(spec: ModelSpec) -> dict[str, Any]:
    return {
        "transforms": {key: _plain(state) for key, state in spec.transform_state.items()},
        "encoders": {
            # what formulaic adds for introspection only is made again
            key: [kind.value, _plain({k: v for k, v in state.items() if k != "contrasts"})]
            for key, (kind, state) in spec.encoder_state.items()
        },
    }


def _plain(value: Any) -> Any:
    """State as JSON: arrays and mappings are marked, keys keep their type."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {"map": [[_plain(key), _plain(item)] for key, item in value.items()]}
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {"array": value.tolist(), "type": value.dtype.str, "shape": [*value.shape]}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise ModelError(f"a transform remembers a {type(value).__name__}, which cannot be saved")


def _state(value: Any) -> Any:
    """Inverse of `_plain`."""
    if isinstance(value, list):
        return [_state(item) for item in value]
    if isinstance(value, dict) and "map" in value:
        return {_state(key): _state(item) for key, item in value["map"]}
    if isinstance(value, dict):
        dtype = np.dtype(_typed(value, "type", str))
        if dtype.kind not in "biuf":
            raise ValueError(f"a transform remembers an array of type {dtype}")
        return np.array(value["array"], dtype).reshape(value["shape"])
    return value


def _read_spec(
    source: str,
    entry: dict[str, Any],
    formula: ParsedFormula,
    factors: Mapping[str, tuple[tuple[Any, ...], bool]],
) -> ModelSpec:
    """Apply our own rendering of the formula, with the saved state, to a frame without rows."""
    transforms = {key: _state(item) for key, item in _typed(entry, "transforms", dict).items()}
    encoders = {
        key: (FormulaicFactor.Kind(kind), _state(item))
        for key, (kind, item) in _typed(entry, "encoders", dict).items()
    }
    known = set(transforms), set(encoders)
    empty: dict[str, Any] = {name: np.empty(0) for name in formula.covariates}
    for name, (levels, _) in factors.items():
        empty[name] = pd.Categorical([], categories=pd.Index([*levels]))
    fresh = ModelSpec(
        Formula(source), na_action="ignore", output="numpy", transform_state=transforms,
        encoder_state=encoders,
    )
    spec = fresh.get_model_matrix(pd.DataFrame(empty), context=CONTEXT).model_spec
    # a transform without its state would have learnt from the empty frame instead
    if (set(spec.transform_state), set(spec.encoder_state)) != known:
        raise ValueError("the state of a transform is missing")
    return spec


# --- moments and the optimum --------------------------------------------------------------------


def _write_estimates(model: Fit, arrays: Parts) -> dict[str, Any]:
    moments, optimum = model.moments, model.optimum
    arrays |= {"cross": moments.cross, "theta": optimum.at.theta, "hessian": optimum.hessian}
    arrays["progress"] = np.array([optimum.gradient_norm, optimum.predicted_decrease])
    for k, sums in enumerate(moments.levels):
        arrays[f"levels_{k}"] = sums
    for i, cell in enumerate(moments.cells):
        arrays |= {f"cells_{i}_{part}": getattr(cell, part) for part in ("rows", "cols", "sums")}
    return {
        "reml": model.reml,
        "n": moments.n,
        "log_weights": float(moments.log_weights),
        "cells": [[cell.first, cell.second] for cell in moments.cells],
        "refitted": _is_refitted(model),
        "unidentified": _has_unidentified(model.working),
        "verdict": optimum.verdict,
        "evaluations": optimum.evaluations,
    }


def _has_unidentified(working: Working) -> bool:
    return any(len(t.kept) < t.recipe.shape[1] for group in working.terms for t in group) or any(
        len(t.kept) < t.root.shape[1] for group in working.terms for t in group
    )


def _is_refitted(model: Fit) -> bool:
    """Whether the blocks are those of `respond`, whose sums round differently."""
    blocks = model.working.blocks
    if not isinstance(blocks, NestedBlocks):
        return False
    with _quiet(_has_unidentified(model.working)):
        fresh = make_working(model.design, model.moments).blocks
    return not np.array_equal(fresh.cross, blocks.cross) or any(
        not np.array_equal(new.g, old.g)
        for new, old in zip(fresh.stages, blocks.stages, strict=True)
    )


@contextmanager
def _ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        yield


def _quiet(active: bool) -> Any:  # noqa: FBT001
    """Keep back a warning that the fit gave already; filters are global, so only when needed."""
    return _ignored() if active else nullcontext()


def _read_moments(stored: _Stored, design: Design, size: int) -> Moments:
    n = stored.get("n", int)
    sizes = [len(group.levels) for group in design.groups]
    used = [len(group.uses) for group in design.groups]
    pairs = [(int(i), int(j)) for i, j in stored.get("cells", list)]
    several = range(0 if design.structure.nested else len(sizes))
    if pairs != [(i, j) for i in several for j in several if i < j]:
        raise ValueError("the cells do not fit the grouping factors")
    cells = []
    for at, (i, j) in enumerate(pairs):
        sums = stored.finite(f"cells_{at}_sums", used[i], used[j], None)
        count = sums.shape[2]
        rows = stored.codes(f"cells_{at}_rows", count, sizes[i])
        cells.append(Cells(i, j, rows, stored.codes(f"cells_{at}_cols", count, sizes[j]), sums))
    levels = tuple(
        stored.finite(f"levels_{k}", z, size + 1, count)
        for k, (z, count) in enumerate(zip(used, sizes, strict=True))
    )
    if n < 1:
        raise ValueError(f"'n' is {n}")
    cross = stored.finite("cross", size + 1, size + 1)
    return Moments(n, _number(stored.manifest, "log_weights"), cross, levels, tuple(cells))


def _restore(stored: _Stored) -> FittedModel:
    design, size = _read_design(stored)
    moments = _read_moments(stored, design, size)
    with _quiet(stored.get("unidentified", bool)):
        working = make_working(design, moments)
    if stored.get("refitted", bool):
        working = respond(working, design, moments)
    reml = stored.get("reml", bool)
    objective = Objective(
        working.blocks, working.templates, moments.n, len(working.fixed.kept), reml
    )
    n_theta = sum(template.n_theta for template in working.templates)
    verdict = stored.get("verdict", str)
    if verdict not in VERDICTS:
        raise ValueError(f"unknown verdict {verdict[:40]!r}")
    gradient_norm, decrease = stored.array("progress", 2).tolist()
    optimum = Optimum(
        objective.evaluate(stored.finite("theta", n_theta)),
        stored.finite("hessian", n_theta, n_theta),
        stored.get("evaluations", int), gradient_norm, decrease, verdict,
    )
    source, rows = _read_source(stored, design, moments.n, size)
    options: dict[str, Any] = {"contrasts": stored.get("contrasts", dict)}
    if stored.manifest["columns"] is not None:
        options["columns"] = _texts(stored.manifest["columns"])
    return FittedModel(
        design, rows, moments, working, objective, optimum, source, reml, options
    )


# --- rows and the user's frame ------------------------------------------------------------------


def _write_source(model: Fit, arrays: Parts, *, data: bool) -> dict[str, Any]:
    source, rows = model.source, model.rows
    given = {name: v if isinstance(v, str) else None for name, v in source.arrays.items()}
    described = {
        "kind": source.kind,
        "n_rows": source.n_rows,
        "missing": {name: int(count) for name, count in source.missing.items()},
        "given": given,
        "weight_scale": float(rows.weight_scale),
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


def _read_source(stored: _Stored, design: Design, n: int, size: int) -> tuple[Source, Rows]:
    entry = stored.get("source", dict)
    kind = _typed(entry, "kind", str)
    if kind not in FRAME_KINDS:
        raise ValueError(f"unknown kind of frame {kind[:40]!r}")
    kind = kind if find_spec(kind) else "pandas"
    n_rows, scale = _typed(entry, "n_rows", int), _number(entry, "weight_scale")
    if n_rows < n or scale <= 0.0:
        raise ValueError(f"{n_rows} rows, of which {n} were used, of mean weight {scale}")
    missing = {name: int(count) for name, count in _typed(entry, "missing", dict).items()}
    given: dict[str, Any] = {}
    for name, text in _typed(entry, "given", dict).items():
        given[name] = np.empty(0) if text is None else _typed({name: text}, name, str)
    if not _typed(entry, "data", bool):
        rows = RowsNotKept(scale, with_offset=_typed(entry, "with_offset", bool))
        return Source(None, kind, n_rows, None, missing, given), rows

    present = set(_texts(entry["arrays"]))
    complete = stored.array("complete", n_rows, kind="b") if "complete" in present else None
    if (n_rows if complete is None else int(complete.sum())) != n:
        raise ValueError("the rows used do not fit the rows given")
    for name in given:
        if f"given_{name}" in present:
            given[name] = stored.array(f"given_{name}", n_rows)
    codes = tuple(
        stored.codes(f"codes_{k}", n, len(group.levels)) for k, group in enumerate(design.groups)
    )
    weights, offset = (
        stored.finite(name, n) if name in present else None for name in ("weights", "offset")
    )
    kept = Rows(stored.finite("base", size, n), stored.finite("y", n), codes, weights, scale, offset)
    frame = None if entry["frame"] is None else _read_frame(stored, entry["frame"], n_rows, kind)
    return Source(frame, kind, n_rows, complete, missing, given), kept


def _write_frame(frame: Any, arrays: Parts) -> list[dict[str, Any]] | None:
    """Columns of the user's frame, in the form in which every library's columns are read."""
    if frame is None:
        return None
    described: list[dict[str, Any]] = []
    names = frame_columns(frame)
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


def _read_frame(stored: _Stored, entries: list[Any], n_rows: int, kind: str) -> Any:
    columns: dict[str, Any] = {}
    build = _COLUMNS[kind]
    for i, entry in enumerate(entries):
        name, at = _typed(entry, "name", str), f"column_{i}"
        if "levels" not in entry:
            values = stored.array(at, n_rows, kind="biuf")
            gaps = stored.array(f"{at}_missing", n_rows, kind="b") if entry["gaps"] else None
            if gaps is not None and values.dtype.kind != "f":
                columns[name] = build([None if g else v.item() for v, g in zip(values, gaps)])
            else:
                columns[name] = build(values)
            continue
        levels = [*_levels(_typed(entry, "levels", list))]
        codes = stored.codes(at, n_rows, len(levels)) if n_rows and levels else np.full(n_rows, -1)
        columns[name] = build((codes, levels, entry["ordered"], entry["category"]))
    return columns
