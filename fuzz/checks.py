"""What every fuzzed call must keep: a documented error, or a fit that the dense oracle confirms."""

from __future__ import annotations

import math
import re
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
from fuzz.exact import BITS, Exact, ExactFit, ExactTerm, fixed, orthogonal
from fuzz.reference import Dense, DenseFit, Named, UnknownNameError, dense, rank, split
from fuzz.reference import orthogonal as orthogonal_long
from mixedmodels.design.basis import DEPENDENT, EPSILON
from mixedmodels.errors import MixedModelsError, MixedModelsWarning
from mixedmodels.model.search import rounding_of

# processor seconds after which a call counts as a hang
LONGEST = 5.0
# a criterion that is said to be off by more decides nothing
NO_DIGITS = 0.1
# entries of theta and conditions of columns from which the oracle works in exact numbers, and rows
# up to which it can
LARGEST_FACTOR, LARGEST_CONDITION, LARGEST_EXACT = 30.0, 1e4, 100


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
        _compare(case, model, reference, outcome, thorough=thorough)
        if thorough and outcome.kind == "optimum" and not outcome.violations:
            outcome.violations += invariant(case, model)


def _compare(
    case: FuzzCase,
    model: Any,
    reference: Dense,
    outcome: Outcome,
    *,
    thorough: bool,
) -> None:
    """The fit beside the oracle. Where it says that digits are lost it has told how many."""
    if outcome.kind == "not converged" and model.optimum.at.profile.rounding > NO_DIGITS:
        outcome.notes.append("no certificate and no digits, and the fit says both")
        return
    factors = reference.factors(model.theta)
    outcome.compared = True
    if is_hard(reference, factors) and model.n_obs <= LARGEST_EXACT:
        outcome.violations += compare_exactly(case, model, reference, outcome.kind)
        return
    try:
        truth = reference.solve(factors)
    except np.linalg.LinAlgError:
        outcome.compared = False
        outcome.notes.append("V is beyond long doubles")
        return
    outcome.violations += compare(model, reference, truth)
    if outcome.kind in ("optimum", "boundary optimum"):
        outcome.violations += stationary(model, reference, truth)
        if thorough and not outcome.violations:
            outcome.notes += better(model, reference, truth, outcome.seed)


def is_hard(reference: Dense, factors: Sequence[Any]) -> bool:
    """Whether doubles are not enough for the oracle."""
    largest = max((float(np.abs(f).max(initial=0.0)) for f in factors), default=0.0)
    return largest > LARGEST_FACTOR or _worst(reference) > LARGEST_CONDITION


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
    if sure and surely and also and not (ours < both and _within_rounding(model, named, X)):
        assert ours == X.shape[1], f"{X.shape[1]} coefficients of rank {ours}"
        assert ours == full == both, f"rank {ours}, meant {full}, together {both}"


def _within_rounding(model: Any, named: Named, X: Any) -> bool:
    """Whether what dropped columns have of their own is the rounding of stored columns."""
    lengths = np.sqrt(np.square(X).sum(axis=0))
    Q, R = orthogonal_long(X)
    dropped = [model.design.x_names[j] for j, _ in model.working.fixed.relations]
    for name in dropped:
        left = np.asarray(named.column(name), np.longdouble)
        along = np.zeros(Q.shape[1], np.longdouble)
        for _ in range(2):
            share = Q.T @ left / len(left)
            left, along = left - Q @ share, along + share
        parts = np.linalg.lstsq(np.asarray(R, float), np.asarray(along, float), rcond=None)[0]
        size = float(np.abs(parts) @ lengths) + float(np.sqrt(np.square(named.column(name)).sum()))
        if float(np.sqrt(left @ left)) > max(20.0 * EPSILON, DEPENDENT / 10.0) * size:
            return False
    return bool(dropped)


def compare_exactly(case: FuzzCase, model: Any, reference: Dense, kind: str) -> list[str]:
    """The same in integers of hundreds of bits, at the working theta."""
    exact, factors = _exact_problem(case, model)
    try:
        truth = exact.solve(factors)
    except np.linalg.LinAlgError:
        return ["V is not positive definite, and the fit has not told"]
    n, p, scale = model.n_obs, len(model.beta), model.rows.weight_scale
    unit = _units(exact_columns(case, model))
    # the oracle has weights of mean one
    value = truth.criterion - (n - reference.df - (p if model.reml else 0)) * math.log(scale)
    offset = reference.offset
    if model.reml:
        value += 2.0 * float(np.log(unit).sum())
    truth = replace(
        truth,
        criterion=value,
        beta=truth.beta / unit,
        vcov=truth.vcov / np.multiply.outer(unit, unit),
        sigma=truth.sigma * math.sqrt(scale),
        fitted=truth.fitted + offset,
    )
    said = rounding_of(model.objective, model.optimum.at)
    own = _own_rounding(case, model, reference)
    allowed = 1e-8 * max(1.0, 1e-2 * abs(value)) + 10.0 * said + own
    out = _beside(model, truth, allowed, 1e-7 + 10.0 * allowed)
    if kind not in ("optimum", "boundary optimum"):
        return out
    promised = _promised(model, [g[np.tril_indices(len(g))] for g in _in_order(model, truth)])
    if promised > 1e-6 * max(1.0, 1e-5 * abs(value)) + 10.0 * said + own:
        out.append(f"one more step would lower the criterion by {promised:.1e}")
    for i, (slope, factor) in enumerate(zip(truth.slopes, factors, strict=True)):
        left, values, _ = np.linalg.svd(factor)
        unused = left[:, values < 1e-9 * max(1.0, float(values.max(initial=0.0)))]
        if unused.shape[1]:
            lowest = float(np.linalg.eigvalsh(unused.T @ slope @ unused)[0])
            if lowest < -1e-3 * max(1.0, 1e-3 * abs(value)):
                out.append(f"term {i} could grow: slope {lowest:.1e}")
    return out


def exact_columns(case: FuzzCase, model: Any) -> Any:
    """Columns of X, (n, p)."""
    named = Named(case.columns, _rows(case))
    return np.column_stack([np.empty((model.n_obs, 0)), *map(named.column, model.term_names)])


def _units(columns: Any) -> Any:
    """Powers of two near the largest of each column."""
    return 2.0 ** np.frexp(np.abs(columns).max(axis=0, initial=0.0))[1]


def _exact_problem(case: FuzzCase, model: Any) -> tuple[Exact, list[Any]]:
    """Stored columns as exact numbers; each term's columns orthogonal, as theta is searched."""
    named = Named(case.columns, _rows(case))
    n = model.n_obs
    X = exact_columns(case, model)
    X = X / _units(X)
    y = fixed(named.numbers("y"))
    for said in (case.options.get("offset"), "o" if "offset(o)" in case.formula else None):
        if said is not None:
            y = y - fixed(named.numbers("o"))
    given = named.numbers("w") if "weights" in case.options else np.ones(n)
    scale = int(fixed(np.array([model.rows.weight_scale]))[0])
    weights = np.array([(int(w) << BITS) // scale for w in fixed(given)], object)
    terms, factors = [], []
    for (g, t), bar in zip(model.design.term_order, case.bars, strict=True):
        used, part = model.working.terms[g][t], model.working.templates[g].parts[t]
        names = [model.design.groups[g].terms[t].names[j] for j in used.kept]
        z = np.column_stack([np.empty((n, 0)), *map(named.column, names)])
        terms.append(ExactTerm(_codes(named, bar), orthogonal(fixed(z), weights)))
        signs = np.sign(np.diag(used.root))
        factors.append(model.optimum.at.factors[g][part, part] * signs[:, None])
    return Exact(fixed(X), y, tuple(terms), weights, model.reml), factors


def _in_order(model: Any, truth: ExactFit) -> list[Any]:
    """Gradients in the Lambdas, in the order and with the signs of the working theta."""
    by_place = dict(zip(model.design.term_order, truth.gradients, strict=True))
    out = []
    for place in sorted(by_place):
        signs = np.sign(np.diag(model.working.terms[place[0]][place[1]].root))
        out.append(by_place[place] * signs[:, None])
    return out


def _promised(model: Any, gradients: Sequence[Any]) -> float:
    """Decrease of the criterion that a step of Newton's would bring, Hessian of the fit."""
    lengths, flat = [], []
    for template, factor in zip(model.working.templates, model.optimum.at.factors, strict=True):
        lengths.append(np.sqrt(np.square(factor).sum(axis=1))[template.rows])
    # rows of a lower triangle, column by column
    for gradient, size in zip(gradients, _sizes(model), strict=True):
        lower = np.zeros((size, size))
        lower[np.tril_indices(size)] = gradient
        flat += [lower[r, c] for c in range(size) for r in range(c, size)]
    unit = np.maximum(1.0, np.concatenate([np.empty(0), *lengths]))
    if not len(unit):
        return 0.0
    values, vectors = np.linalg.eigh(model.optimum.hessian * np.multiply.outer(unit, unit))
    values = np.maximum(np.abs(values), 1e-10 * max(float(np.abs(values).max()), 1e-10))
    along = vectors.T @ (np.array(flat) * unit)
    return 0.5 * float((along * along / values).sum())


def _sizes(model: Any) -> list[int]:
    return [size for template in model.working.templates for size in template.sizes]


def _own_rounding(case: FuzzCase, model: Any, reference: Dense) -> float:
    """What a last digit of columns that are functions of the data does to the criterion."""
    names = [*model.term_names, *(n for g in model.design.groups for t in g.terms for n in t.names)]
    if not any(re.search(r"\(|I\(", part) for name in names for part in split(name)):
        return 0.0
    return 1e-15 * model.n_obs * _worst(reference)


def _worst(reference: Dense) -> float:
    """Largest condition of X and of the terms, columns of one length."""
    worst = 1.0
    for root in (reference.root, *(term.root for term in reference.terms)):
        lengths = np.sqrt(np.square(root).sum(axis=0))
        if len(root):
            unit = np.asarray(root / np.where(lengths > 0, lengths, 1.0), float)
            worst = max(worst, float(np.linalg.cond(unit)))
    return worst


def _beside(model: Any, truth: DenseFit | ExactFit, allowed: float, loose: float) -> list[str]:
    """Criterion, estimates and fitted values."""
    out = []
    if not abs(model.criterion - truth.criterion) <= allowed:
        out.append(
            f"criterion {model.criterion!r}, dense {truth.criterion!r}, allowed {allowed:.1e}"
        )
    error = np.sqrt(np.diag(truth.vcov))
    scale = error + 1e-12 * np.abs(truth.beta)
    if (np.abs(model.beta - truth.beta) > loose * 10.0 * scale).any():
        out.append(f"beta {model.beta}, dense {truth.beta}, se {error}")
    if (np.abs(model.vcov - truth.vcov) > 10.0 * loose * np.multiply.outer(error, error)).any():
        out.append(f"se {np.sqrt(np.diag(model.vcov))}, dense {error}")
    if not math.isclose(model.sigma, truth.sigma, rel_tol=10.0 * loose):
        out.append(f"sigma {model.sigma}, dense {truth.sigma}")
    largest = max(
        (float(np.abs(f).max(initial=0.0)) for f in model.optimum.at.factors), default=0.0
    )
    unit = truth.sigma * (1.0 + largest) + 1e-12 * float(np.abs(truth.fitted).max(initial=0.0))
    if np.abs(model.fitted - truth.fitted).max(initial=0.0) > 100.0 * loose * unit:
        out.append(f"fitted off by {np.abs(model.fitted - truth.fitted).max() / unit:.1e}")
    return out


def compare(model: Any, reference: Dense, truth: DenseFit) -> list[str]:
    """Criterion, estimates and fitted values against the oracle at the reported theta."""
    factors = reference.factors(model.theta)
    allowed = 1e-7 * max(1.0, 1e-2 * abs(truth.criterion))
    allowed += 10.0 * rounding_of(model.objective, model.optimum.at)
    if is_hard(reference, factors):  # too large for exact numbers: long doubles
        largest = max((float(np.abs(f).max(initial=0.0)) for f in factors), default=0.0)
        allowed += 1e-15 * model.n_obs * largest**2
        allowed += 1e-14 * max(
            map(_condition, (reference.root, *(t.root for t in reference.terms)))
        )
    return _beside(model, truth, allowed, 1e-6 + 1e-2 * math.sqrt(allowed))


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
        lost = 1e-14 * (_largest_effect(case, model) + _largest_product(case, model))
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


def _largest_effect(case: FuzzCase, model: Any) -> float:
    """Sum of the largest sizes that random effects times their columns reach."""
    named, total = Named(case.columns, _rows(case)), 0.0
    table = model.ranef()
    terms, estimates = (np.asarray(table[name]) for name in ("term", "estimate"))
    for name in dict.fromkeys(terms.tolist()):
        largest = float(np.abs(np.asarray(estimates[terms == name], float)).max(initial=0.0))
        total += largest * float(np.abs(named.column(name)).max(initial=1.0))
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
