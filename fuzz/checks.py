"""What every fuzzed call must keep: a documented error, or a fit that the dense oracle confirms."""

from __future__ import annotations

import math
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from scipy import optimize

import mixedmodels as mm
from fuzz.cases import Bar, FuzzCase, make_case
from fuzz.reference import Dense, DenseFit, Named, UnknownNameError, dense, rank
from mixedmodels.errors import MixedModelsError, MixedModelsWarning, ScaleWarning

# processor seconds after which a call counts as a hang
LONGEST = 5.0


@dataclass
class Outcome:
    """How one case ended.

    Attributes
    ----------
    kind : str
        The class of the error, or the verdict of the fit.
    message : str
        Of the error.
    violations : list of str
        Broken promises.
    notes : list of str
        What the oracle could not decide, and lower optima elsewhere.
    """

    seed: int
    kind: str
    message: str = ""
    formula: str = ""
    hostile: str = ""
    compared: bool = False
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def run(seed: int, *, thorough: bool = False) -> Outcome:
    """Make the case of a seed, fit it, check all promises."""
    case = make_case(seed)
    before = _fingerprint(case.data)
    started = time.process_time()
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = mm.lmer(case.formula, case.data, **case.options)
    except MixedModelsError as error:
        outcome = Outcome(seed, type(error).__name__, str(error), case.formula, case.hostile)
        if not outcome.message.strip():
            outcome.violations.append("an error without words")
    except Exception as error:  # noqa: BLE001  any other error is what is looked for
        outcome = Outcome(seed, "crash", repr(error), case.formula, case.hostile)
        outcome.violations.append("".join(traceback.format_exception(error)[-3:]))
    else:
        exact = any("reproduce the response exactly" in str(w.message) for w in caught)
        kind = "exact" if exact else model.convergence.verdict
        outcome = Outcome(seed, kind, "", case.formula, case.hostile)
        _check_fit(case, model, outcome, caught, thorough=thorough)
    for warning in caught:
        if not issubclass(warning.category, MixedModelsWarning):
            outcome.violations.append(f"{warning.category.__name__}: {warning.message}")
    if time.process_time() - started > LONGEST * (4 if thorough else 2):
        outcome.violations.append(f"took {time.process_time() - started:.1f} s")
    if not _same(before, _fingerprint(case.data)):
        outcome.violations.append("the data were changed")
    return outcome


def _fingerprint(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: np.array(values, copy=True) for name, values in data.items()}
    if isinstance(data, pd.DataFrame):
        return data.copy(deep=True)
    return data.clone() if isinstance(data, pl.DataFrame) else data


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, dict):
        return list(before) == list(after) and all(
            before[k].dtype == after[k].dtype and pd.Series(before[k]).equals(pd.Series(after[k]))
            for k in before
        )
    if isinstance(before, pa.Table):
        return True  # immutable
    if isinstance(before, pd.DataFrame):
        return bool((before.dtypes == after.dtypes).all()) and before.equals(after)
    return bool(before.equals(after))


# --- a fit ----------------------------------------------------------------------------------------


def _check_fit(
    case: FuzzCase,
    model: Any,
    outcome: Outcome,
    caught: Sequence[warnings.WarningMessage],
    *,
    thorough: bool,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixedModelsWarning)
        try:
            outcome.violations += _answers(case, model, thorough=thorough)
        except Exception as error:  # noqa: BLE001
            outcome.violations.append("".join(traceback.format_exception(error)[-4:]))
            return
        if case.hostile:
            return
        try:
            reference = problem_of(case, model)
        except UnknownNameError as unknown:
            outcome.notes.append(f"no oracle for {unknown}")
            return
        except AssertionError as error:
            outcome.violations.append(f"design: {error}")
            return
        if outcome.kind == "exact":
            return
        _compare(model, reference, outcome, caught, thorough=thorough)
        if thorough and outcome.kind == "optimum" and not outcome.violations:
            outcome.violations += invariant(case, model)


def _compare(
    model: Any,
    reference: Dense,
    outcome: Outcome,
    caught: Sequence[warnings.WarningMessage],
    *,
    thorough: bool,
) -> None:
    """The fit beside the oracle, where the fit itself claims its figures."""
    if any(issubclass(w.category, ScaleWarning) for w in caught):
        outcome.notes.append("digits are lost, and the fit says so")
        return
    if outcome.kind == "not converged":
        outcome.notes.append("no certificate, and the fit says so")
        return
    try:
        truth = reference.solve(reference.factors(model.theta))
    except np.linalg.LinAlgError:
        outcome.notes.append("V is beyond long doubles")
        return
    outcome.compared = True
    outcome.violations += compare(model, reference, truth)
    if outcome.kind in ("optimum", "boundary optimum"):
        outcome.violations += stationary(model, reference, truth)
        if thorough and not outcome.violations:
            outcome.notes += better(model, reference, truth, outcome.seed)


def _rows(case: FuzzCase) -> NDArray[np.bool_]:
    missing = np.zeros(len(case.plain), bool)
    for name in case.used:
        missing |= case.columns[name].missing
    return ~missing


def _codes(named: Named, bar: Bar) -> NDArray[np.int64]:
    keys = [named.labels(name) for name in bar.groups]
    _, codes = np.unique(["/".join(row) for row in zip(*keys, strict=True)], return_inverse=True)
    return np.asarray(codes, np.int64)


def problem_of(case: FuzzCase, model: Any) -> Dense:
    """The case as the oracle sees it; the model tells only how it calls its columns."""
    rows = _rows(case)
    assert model.n_obs == rows.sum(), f"{model.n_obs} rows used, {rows.sum()} complete"
    named = Named(case.columns, rows)
    _check_span(case, model, named)
    names = list(model.term_names)
    X = np.column_stack([np.empty((int(rows.sum()), 0)), *map(named.column, names)])
    terms = []
    for group, term in model.design.term_order:
        design = model.design.groups[group]
        columns = np.column_stack([named.column(name) for name in design.terms[term].names])
        terms.append((len(terms), design, columns))
    bars = case.bars
    assert len(bars) == len(terms), f"{len(terms)} random terms, {len(bars)} written"
    made = []
    for bar, (_, design, columns) in zip(bars, terms, strict=True):
        codes = _codes(named, bar)
        assert len(design.levels) == codes.max() + 1, f"levels of {design.name}"
        made.append((codes, columns))
    order = sorted(range(len(made)), key=lambda i: -int(made[i][0].max() + 1))
    weights = named.numbers("w") if "weights" in case.options else None
    offset = np.zeros(int(rows.sum()))
    for said in (case.options.get("offset"), "o" if "offset(o)" in case.formula else None):
        if said is not None:
            offset = offset + named.numbers(said)
    return dense(X, named.numbers("y"), [made[i] for i in order], weights, offset, reml=model.reml)


def _check_span(case: FuzzCase, model: Any, named: Named) -> None:
    """The model's columns span what the formula says, no more and no less."""
    if case.fixed == ("dot",):
        return
    X = np.column_stack(
        [np.empty((int(named.rows.sum()), 0)), *map(named.column, model.term_names)]
    )
    meant = named.span(case.fixed)
    (ours, sure), (full, surely), (both, also) = rank(X), rank(meant), rank(np.hstack([X, meant]))
    if sure and surely and also:
        assert ours == X.shape[1], f"{X.shape[1]} coefficients of rank {ours}"
        assert ours == full == both, f"rank {ours}, meant {full}, together {both}"


def compare(model: Any, reference: Dense, truth: DenseFit) -> list[str]:
    """Criterion, estimates and fitted values against the oracle at the reported theta."""
    out = []
    n = model.n_obs
    largest = max(
        (float(np.abs(f).max(initial=0.0)) for f in reference.factors(model.theta)), default=0.0
    )
    said = model.optimum.at.profile.rounding
    allowed = 1e-7 * max(1.0, 1e-2 * abs(truth.criterion)) + 1e-14 * n * (1.0 + largest)
    simple = len(model.n_groups) == 1 and sum(t.q for t in reference.terms) == 1
    if not simple:  # crossed factors have totals only; effects that cancel lose digits too
        allowed += 1e-15 * n * largest**2
    spread = max(
        (_condition(columns) for columns in (reference.root, *(t.root for t in reference.terms))),
        default=1.0,
    )
    allowed += 1e-14 * spread + 10.0 * said
    if not abs(model.criterion - truth.criterion) <= allowed:
        out.append(
            f"criterion {model.criterion!r}, dense {truth.criterion!r}, allowed {allowed:.1e}"
        )
    loose = 1e-6 + 1e-14 * spread + 10.0 * math.sqrt(allowed) * 1e-3
    error = np.sqrt(np.diag(truth.vcov))
    scale = error + 1e-12 * np.abs(truth.beta)
    if (np.abs(model.beta - truth.beta) > loose * 10.0 * scale).any():
        out.append(f"beta {model.beta}, dense {truth.beta}, se {error}")
    if (np.abs(model.vcov - truth.vcov) > 10.0 * loose * np.multiply.outer(error, error)).any():
        out.append(f"se {np.sqrt(np.diag(model.vcov))}, dense {error}")
    if not math.isclose(model.sigma, truth.sigma, rel_tol=10.0 * loose):
        out.append(f"sigma {model.sigma}, dense {truth.sigma}")
    unit = truth.sigma * (1.0 + largest) + 1e-12 * float(np.abs(truth.fitted).max(initial=0.0))
    if np.abs(model.fitted - truth.fitted).max(initial=0.0) > 100.0 * loose * unit:
        out.append(f"fitted off by {np.abs(model.fitted - truth.fitted).max() / unit:.1e}")
    return out


def _condition(root: Any) -> float:
    diagonal = np.abs(np.diag(root)).astype(np.float64)
    lengths = np.sqrt(np.square(np.asarray(root, np.float64)).sum(axis=0))
    good = diagonal > 0
    return float((lengths[good] / diagonal[good]).max(initial=1.0))


def stationary(model: Any, reference: Dense, truth: DenseFit) -> list[str]:
    """No slope along what is there, none downhill along what is not."""
    out = []
    said = model.optimum.at.profile.rounding
    for i, (slope, factor) in enumerate(
        zip(truth.slopes, reference.factors(model.theta), strict=True)
    ):
        levels = int(reference.terms[i].codes.max()) + 1
        relative = factor.T @ slope @ factor
        largest = float(np.abs(factor).max(initial=0.0))
        allowed = 3e-4 * math.sqrt(levels) + 30.0 * math.sqrt(said) + 1e-9 * largest**2
        if np.abs(relative).max() > allowed:
            out.append(f"gradient of term {i}: {np.abs(relative).max():.1e}, {factor.tolist()}")
        left, values, _ = np.linalg.svd(factor)
        unused = left[:, values < 1e-6 * max(1.0, float(values.max(initial=0.0)))]
        if unused.shape[1] and not _column_left_out(model):
            lowest = float(np.linalg.eigvalsh(unused.T @ slope @ unused)[0])
            # the decrease that such a slope promises is a millionth of it
            if lowest < -1e-3 * max(1.0, 1e-3 * abs(truth.criterion)):
                out.append(f"term {i} could grow: slope {lowest:.1e}")
    return out


def _column_left_out(model: Any) -> bool:
    """Whether a term's column was dropped as a combination of others, as a warning has said."""
    pairs = [
        (model.working.terms[g][t], model.design.groups[g].terms[t])
        for g, t in model.design.term_order
    ]
    return any(len(used.kept) < len(term.names) for used, term in pairs)


def better(model: Any, reference: Dense, truth: DenseFit, seed: int) -> list[str]:
    """Lower criteria that another optimiser finds from random starts."""
    rng = np.random.default_rng(seed)
    best = math.inf
    for _ in range(3):
        start = rng.normal(size=reference.n_theta()) * float(rng.choice([0.1, 1.0, 3.0]))
        try:
            found = optimize.minimize(
                reference.value_and_gradient,
                start,
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": 60},
            )
        except (np.linalg.LinAlgError, ValueError):
            continue
        if math.isfinite(found.fun):
            best = min(best, float(found.fun))
    gap = truth.criterion - best
    if gap > 1e-5 + 1e-8 * abs(best) + 100.0 * model.optimum.at.profile.rounding:
        return [f"another optimum is lower by {gap:.3g}"]
    return []


def _answers(case: FuzzCase, model: Any, *, thorough: bool) -> list[str]:
    """All that a fit can be asked answers."""
    out = []
    text = str(model.summary())
    if not text.strip() or case.formula[0] not in text:
        out.append("an empty summary")
    fitted = model.fitted
    if fitted.shape != (model.n_obs,) or not np.isfinite(fitted).all():
        out.append("fitted values are not finite")
    model.tidy(ddf="none")
    for frame in (model.ranef(), model.varcorr(), model.glance()):
        if not frame.shape[0]:
            out.append("an empty table")
    effects = np.asarray(model.ranef()["estimate"], float)
    if not np.isfinite(effects).all():
        out.append("effects are not finite")
    if not case.hostile and not _level_without_rows(case):
        # a row without response has a prediction, and perhaps a level that no used row has
        again = np.asarray(model.predict(case.data, new_levels="zero"), float)
        again = again[model.source.complete] if model.source.complete is not None else again
        gap = float(np.abs(again - fitted).max(initial=0.0))
        unit = float(np.abs(fitted).max(initial=0.0)) + 1e-300
        # products in the user's units may be large and cancel
        lost = 1e-14 * (float(np.abs(effects).max(initial=0.0)) + _largest_product(case, model))
        if again.shape != fitted.shape or not gap <= 1e-7 * unit + lost:
            out.append(f"predict differs from fitted by {gap / unit:.1e}")
    return out + (_stored(model) if thorough else [])


def _stored(model: Any) -> list[str]:
    """What tables and files tell."""
    for table in (model.augment, model.coef, model.fixef, model.tidy):
        table()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.mm"
        mm.save(model, path)
        loaded = mm.load(path)
    return [
        f"a stored model has another {name}"
        for name in ("beta", "theta", "vcov")
        if not np.array_equal(getattr(loaded, name), getattr(model, name))
    ]


def _largest_product(case: FuzzCase, model: Any) -> float:
    """Sum of the largest sizes that coefficients times their columns reach."""
    named, total = Named(case.columns, _rows(case)), 0.0
    for name, beta in zip(model.term_names, model.beta.tolist(), strict=True):
        try:
            column = named.column(name)
        except UnknownNameError:  # splines and codes of factors
            column = np.ones(1)
        total += abs(beta) * float(np.abs(column).max(initial=1.0))
    return total


def _level_without_rows(case: FuzzCase) -> bool:
    """Whether a factor has levels in incomplete rows only, for which nothing can be predicted."""
    rows = _rows(case)
    fixed = ("f", "k2", "k", "g", "h") if case.fixed == ("dot",) else ("f", "k2", "k")
    for name in fixed:
        labels = case.columns[name].labels if name in case.columns else None
        if labels is None:
            return True
        if {labels[i] for i in np.flatnonzero(rows)} != set(labels) - {None}:
            return True
    return False


def invariant(case: FuzzCase, model: Any) -> list[str]:
    """Rows in another order and levels of other names change nothing."""
    rng = np.random.default_rng(len(case.plain))
    order = rng.permutation(len(case.plain))
    moved = case.plain.iloc[order].reset_index(drop=True)
    for name in ("g", "h", "k"):
        names = {label: f"n{i}" for i, label in enumerate(rng.permutation(500))}
        labels = case.columns[name].labels
        assert labels is not None
        moved[name] = [
            None if labels[i] is None else names[int(labels[i][1:]) % 500] for i in order
        ]
    if any(name in ("g", "h", "k") for name in (a for atom in case.fixed for a in atom.split(":"))):
        return []
    other = mm.lmer(case.formula, moved, **case.options)
    said = 100.0 * (model.optimum.at.profile.rounding + other.optimum.at.profile.rounding)
    gap = abs(other.criterion - model.criterion)
    if gap > 1e-6 + 1e-8 * abs(model.criterion) + said:
        return [f"another order of rows changes the criterion by {gap:.2e}"]
    return []
