"""A design as JSON and arrays, and back: the formula is parsed anew, state is put back as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from formulaic import Formula, ModelSpec  # type: ignore[import-untyped]
from formulaic.parser.types import Factor as Term  # type: ignore[import-untyped]

from mixedmodels.design.build import Design, GroupDesign, TermDesign, column_names
from mixedmodels.design.contrasts import with_contrasts
from mixedmodels.design.frame import column_names as frame_columns
from mixedmodels.design.grouping import Structure
from mixedmodels.errors import FormulaError, ModelError
from mixedmodels.formula.functions import CONTEXT
from mixedmodels.formula.parse import parse
from mixedmodels.formula.terms import ParsedFormula
from mixedmodels.model.archive import Parts, Stored, number, texts, typed
from mixedmodels.model.record import Fit


def write_design(model: Fit, arrays: Parts) -> dict[str, Any]:
    """The design's part of the manifest; its arrays are added to `arrays`."""
    design = model.design
    arrays["x_recipe"] = design.x_recipe
    if design.low:
        arrays["low"] = np.stack([*design.low.values()])
    groups = []
    for k, group in enumerate(design.groups):
        terms = []
        for t, term in enumerate(group.terms):
            arrays[f"recipe_{k}_{t}"] = term.recipe
            terms.append({"random": _place(design.formula, term, group)})
        groups.append({"levels": [*group.levels], "terms": terms})
    for k, parent in enumerate(design.structure.parents):
        arrays[f"parents_{k}"] = parent
    return {
        "formula": design.formula.text,
        "columns": _dot_columns(model),
        "contrasts": dict(model.options["contrasts"]),
        "x_names": [*design.x_names],
        "low": [*design.low],
        "y_centre": float(design.y_centre),
        "y_scale": float(design.y_scale),
        "groups": groups,
        "term_order": [[*pair] for pair in design.term_order],
        "nested": bool(design.structure.nested),
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
    """The columns that a ``.`` in the formula was read with; None without a ``.``."""
    try:
        parse(model.formula)
    except FormulaError:
        known = model.options.get("columns")
        return [*(frame_columns(model.source.data) if known is None else known)]
    return None


def read_design(stored: Stored) -> tuple[Design, int]:
    """The design, and the number of base columns."""
    formula = _read_formula(stored)
    factors = {
        name: (levels_of(typed(entry, "levels", list)), typed(entry, "ordered", bool))
        for name, entry in stored.get("factors", dict).items()
    }
    entries = stored.get("specs", dict)
    if set(entries) != {formula.fixed, *(term.columns for term in formula.random)}:
        raise ValueError("the remembered state is not that of the formula")
    specs = {
        source: _read_spec(source, entry, formula, factors) for source, entry in entries.items()
    }
    x_names = column_names(specs[formula.fixed], formula.labels)
    if x_names != texts(stored.manifest["x_names"]):
        raise ValueError("the formula does not give the fixed-effect columns that were saved")
    x_recipe = stored.finite("x_recipe", None, len(x_names))
    named = texts(stored.manifest["low"])
    low = stored.finite("low", len(named), len(x_recipe)) if named else ()
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
        stored.positions(f"parents_{k}", sizes[k], sizes[k + 1])
        for k in range(len(groups) - 1 if nested else 0)
    )
    y_scale = number(stored.manifest, "y_scale")
    if y_scale <= 0.0:
        raise ValueError(f"'y_scale' is {y_scale}")
    design = Design(
        formula=formula,
        x_names=x_names,
        x_recipe=x_recipe,
        y_centre=number(stored.manifest, "y_centre"),
        y_scale=y_scale,
        groups=groups,
        structure=Structure(nested, parents),
        specs=specs,
        factors=factors,
        term_order=order,
        low=dict(zip(named, low, strict=True)),
    )
    return design, len(x_recipe)


def _read_formula(stored: Stored) -> ParsedFormula:
    columns = stored.manifest["columns"]
    parsed = parse(stored.get("formula", str), None if columns is None else texts(columns))
    return with_contrasts(parsed, stored.get("contrasts", dict))


def levels_of(values: list[Any]) -> tuple[Any, ...]:
    """Levels of a factor, which must be text or numbers."""
    if any(type(value) not in (str, int, float, bool) for value in values):
        raise ValueError("a level is neither text nor a number")
    return tuple(values)


def _read_group(
    stored: Stored,
    k: int,
    entry: dict[str, Any],
    formula: ParsedFormula,
    specs: Mapping[str, ModelSpec],
    size: int,
) -> GroupDesign:
    terms: list[TermDesign] = []
    variables: set[tuple[str, ...]] = set()
    for t, described in enumerate(typed(entry, "terms", list)):
        random = formula.random[typed(described, "random", int)]
        names = column_names(specs[random.columns], formula.labels)
        recipe = stored.finite(f"recipe_{k}_{t}", size, len(names))
        terms.append(TermDesign(random.text, names, recipe, random.columns))
        variables.add(random.group.variables)
    if len({frozenset(names) for names in variables}) != 1:
        raise ValueError(f"the terms of group {k + 1} have different groupings")
    # the first term of the formula on these columns names the group
    named = next(r.group.variables for r in formula.random if r.group.variables in variables)
    return GroupDesign(":".join(named), named, texts(entry["levels"]), tuple(terms))


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
        dtype = np.dtype(typed(value, "type", str))
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
    transforms = {key: _state(item) for key, item in typed(entry, "transforms", dict).items()}
    encoders = {
        key: (Term.Kind(kind), _state(item))
        for key, (kind, item) in typed(entry, "encoders", dict).items()
    }
    known = set(transforms), set(encoders)
    empty: dict[str, Any] = {name: np.empty(0) for name in formula.covariates}
    for name, (levels, _) in factors.items():
        empty[name] = pd.Categorical([], categories=pd.Index([*levels]))
    fresh = ModelSpec(
        Formula(source),
        na_action="ignore",
        output="numpy",
        transform_state=transforms,
        encoder_state=encoders,
    )
    spec = fresh.get_model_matrix(pd.DataFrame(empty), context=CONTEXT).model_spec
    # a transform without its state would have learnt from the empty frame instead
    if (set(spec.transform_state), set(spec.encoder_state)) != known:
        raise ValueError("the state of a transform is missing")
    return spec
