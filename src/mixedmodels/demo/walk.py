"""The walk itself: the stages in order, the folder, the times."""

from __future__ import annotations

import time
from pathlib import Path

from mixedmodels.demo import best, data, growth
from mixedmodels.demo.book import Book
from mixedmodels.demo.study import Study
from mixedmodels.errors import require

STAGES = (
    *(data.rows, data.description, data.correlation, data.pictures, data.clusters, data.linear),
    *(growth.null_model, growth.linear_growth, growth.quadratic_growth, growth.three_models),
    *(growth.per_animal, growth.random_slopes, growth.seven_models),
    *(best.effects, best.prediction, best.matrices, best.treatment, best.slopes, best.implied),
    *(best.assumptions, best.final_table, best.contradictions),
)


def run(out: Path, *, plots: bool = True) -> str:
    """Walk through the article on the piglets.

    Parameters
    ----------
    out : pathlib.Path
        Folder for the figures and the report; made where there is none.
    plots : bool, default True
        Draw the figures.

    Returns
    -------
    str
        What was written, and the time it took.

    Raises
    ------
    MissingDependencyError
        plotnine is not installed and figures are wanted.
    """
    if plots:
        require("plotnine", "demo")
    start = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    book = Book(out, plots)
    study = Study.fitted()
    for stage in STAGES:
        stage(book, study)
    report = book.save()
    seconds = time.perf_counter() - start
    return (
        f"Report: {report}, with {book.n_figures} figures (also as PNG files beside it).\n"
        f"Computations {seconds - book.drawing_seconds:.1f} s, figures "
        f"{book.drawing_seconds:.1f} s."
    )
