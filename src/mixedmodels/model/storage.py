"""Fitted models in one file: what a fit is a function of, written and read; loading runs no code.

The file holds the formula's text, levels and remembered transform state, the moments, and theta.
Loading parses the formula again, rebuilds the design and evaluates the criterion once at theta,
with the same numbers in the same order, so results agree to the bit.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from mixedmodels.arguments import checked
from mixedmodels.design.build import Design
from mixedmodels.errors import ModelError, quiet
from mixedmodels.likelihood.nested import NestedBlocks
from mixedmodels.likelihood.objective import Objective
from mixedmodels.likelihood.working import make_working, respond
from mixedmodels.model import archive
from mixedmodels.model.archive import OtherVersionError, Parts, Stored, number, texts
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.record import Fit
from mixedmodels.model.rows import RowsNotKept
from mixedmodels.model.search import evaluate_known, is_exact
from mixedmodels.model.storage_design import read_design, write_design
from mixedmodels.model.storage_rows import read_source, read_sums, write_source, write_sums
from mixedmodels.moments.cross_products import Cells, Moments, Within
from mixedmodels.optimize import Optimum

FORMAT = "mixedmodels"
VERSION = 1
VERDICTS = ("optimum", "boundary optimum", "not identified", "not converged")


@checked
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
    over levels, whatever the number of rows. A model that was fitted to sums keeps them, so that
    updates and comparisons work on what is loaded.

    Examples
    --------
    >>> import mixedmodels as mm, pathlib, tempfile
    >>> m = mm.lmer("BW ~ time + (time | animal)", mm.datasets.load("piglets"))
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "piglets.mm"
    >>> mm.save(m, path)
    >>> bool((mm.load(path).beta == m.beta).all())
    True
    """
    if data and isinstance(model.rows, RowsNotKept):
        raise ModelError(f"data=True: {model.rows.reason}")
    arrays: Parts = {}
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "written_by": _package_version(),
        **write_design(model, arrays),
        **_write_estimates(model, arrays),
        "residual_quantiles": _residual_quantiles(model),
        "source": write_source(model, arrays, data=data),
        "sums": write_sums(model, arrays),
    }
    archive.write(Path(path), manifest, arrays)


@checked
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

    Examples
    --------
    >>> import mixedmodels as mm, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "piglets.mm"
    >>> mm.save(mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets")), path)
    >>> mm.load(path).n_groups
    {'animal': 75}
    """
    with archive.opened(Path(path)) as stored:
        _check_version(stored)
        return _restore(stored)


def _check_version(stored: Stored) -> None:
    if stored.manifest.get("format") != FORMAT:
        raise ValueError("it does not say that it is a model")
    version, writer = stored.get("version", int), stored.get("written_by", str)
    if version != VERSION:
        mend = "update mixedmodels to read it" if version > VERSION else "fit the model again"
        raise OtherVersionError(
            f"written in format version {version} by mixedmodels {writer[:40]}; mixedmodels "
            f"{_package_version()} reads format version {VERSION}: {mend}"
        )


def _package_version() -> str:
    import mixedmodels

    return str(mixedmodels.__version__)


def _residual_quantiles(model: Fit) -> list[float] | None:
    """Quantiles of the scaled residuals, which a summary shows; None where they are not known."""
    if model.sigma == 0.0:
        return None
    try:
        return [float(q) for q in model.residual_quantiles]
    except ModelError:
        return None


# --- moments and the optimum --------------------------------------------------------------------


def _write_estimates(model: Fit, arrays: Parts) -> dict[str, Any]:
    moments, optimum = model.moments, model.optimum
    arrays |= {"cross": moments.cross, "theta": optimum.at.theta, "hessian": optimum.hessian}
    arrays["progress"] = np.array([optimum.gradient_norm, optimum.predicted_decrease])
    for k, sums in enumerate(moments.levels):
        arrays[f"levels_{k}"] = sums
    for i, cell in enumerate(moments.cells):
        arrays |= {f"cells_{i}_{part}": getattr(cell, part) for part in ("rows", "cols", "sums")}
    if moments.within is not None:
        within = moments.within
        arrays |= {f"within_{part}": getattr(within, part) for part in ("parts", "root")}
        arrays |= {f"within_levels_{k}": sums for k, sums in enumerate(within.levels)}
    if moments.root is not None:
        arrays["root"] = moments.root
    return {
        "within": moments.within is not None,
        "root": moments.root is not None,
        "reml": bool(model.reml),
        "n": moments.n,
        "log_weights": float(moments.log_weights),
        "cells": [[cell.first, cell.second] for cell in moments.cells],
        "refitted": _is_refitted(model),
        "verdict": optimum.verdict,
        "evaluations": optimum.evaluations,
    }


def _is_refitted(model: Fit) -> bool:
    """Whether the blocks are those of `respond`, whose sums round differently."""
    blocks = model.working.blocks
    if not isinstance(blocks, NestedBlocks):
        return False
    with quiet():  # the fit has said it
        fresh = make_working(model.design, model.moments).blocks
    return not np.array_equal(fresh.cross, blocks.cross) or any(
        not np.array_equal(new.g, old.g)
        for new, old in zip(fresh.stages, blocks.stages, strict=True)
    )


def _read_moments(stored: Stored, design: Design, size: int) -> Moments:
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
        rows = stored.positions(f"cells_{at}_rows", count, sizes[i])
        cells.append(Cells(i, j, rows, stored.positions(f"cells_{at}_cols", count, sizes[j]), sums))
    levels = tuple(
        stored.finite(f"levels_{k}", z, size + 1, count)
        for k, (z, count) in enumerate(zip(used, sizes, strict=True))
    )
    if n < 1:
        raise ValueError(f"'n' is {n}")
    cross = stored.finite("cross", size + 1, size + 1)
    within = None
    if stored.get("within", bool):
        if not design.structure.nested or not sizes:
            raise ValueError("products within groups need nested factors")
        within = Within(
            stored.finite("within_parts", used[0], size + 1, sizes[0]),
            stored.finite("within_root", None, size + 1),
            tuple(
                stored.finite(f"within_levels_{k}", z, size + 1, count)
                for k, (z, count) in enumerate(zip(used[1:], sizes[1:], strict=True))
            ),
        )
    root = None
    if stored.get("root", bool):
        wide = sum(z * count for z, count in zip(used, sizes, strict=True))
        root = stored.finite("root", None, wide + size + 1)
    log_weights = number(stored.manifest, "log_weights")
    return Moments(n, log_weights, cross, levels, tuple(cells), within, root)


def _restore(stored: Stored) -> FittedModel:
    design, size = read_design(stored)
    moments = _read_moments(stored, design, size)
    with quiet():
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
        at=evaluate_known(objective, stored.finite("theta", n_theta), exact=is_exact(objective)),
        hessian=stored.finite("hessian", n_theta, n_theta),
        evaluations=stored.get("evaluations", int),
        gradient_norm=gradient_norm,
        predicted_decrease=decrease,
        verdict=verdict,
    )
    sums = read_sums(stored, moments.n)
    source, rows = read_source(stored, design, moments.n, size, sums)
    options: dict[str, Any] = {"contrasts": stored.get("contrasts", dict)}
    if stored.manifest["columns"] is not None:
        options["columns"] = texts(stored.manifest["columns"])
    model = FittedModel(
        design=design,
        rows=rows,
        moments=moments,
        working=working,
        objective=objective,
        optimum=optimum,
        source=source,
        reml=reml,
        options=options,
    )
    quantiles = stored.manifest["residual_quantiles"]
    if quantiles is not None and isinstance(rows, RowsNotKept):
        # a cached property of the rows: the cache is all that is left of them
        vars(model)["residual_quantiles"] = np.array(quantiles, np.float64).reshape(5)
    return model
