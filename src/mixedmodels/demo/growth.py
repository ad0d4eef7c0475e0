"""Stages on the models of growth: null, linear, quadratic, per animal, random slopes."""

from __future__ import annotations

from collections.abc import Mapping

import mixedmodels as mm
from mixedmodels.demo import article
from mixedmodels.demo.book import Book, beside
from mixedmodels.demo.study import LABELS, Study
from mixedmodels.errors import DataWarning, quiet
from mixedmodels.explore.lm_result import LmList


def null_model(book: Book, study: Study) -> None:
    """One mean, one random intercept."""
    model = study.models["I"]
    book.stage(
        "The null model and its ICC",
        "Only a mean and a random intercept. The intraclass correlation is the share of the "
        "variance that lies between animals. It is small here because growth over time counts as "
        "variance within animals: without time in the model it says little.",
    )
    book.show(model.summary())
    icc = mm.icc(model)
    book.show(icc)
    given = mm.icc(study.models["L"])["icc_adjusted"]
    ours = beside(icc["icc_adjusted"], article.ICC)
    book.table("Intraclass correlation", ["", "article", "here"], [["ICC", article.ICC, ours]])
    book.say(f"Once time is in the model, the ICC is {given:.2f}.")
    book.figures(
        {
            "null-calibration": (
                "Calibration of the null model",
                lambda: mm.plot.calibration(model, labels=LABELS),
            )
        }
    )


def linear_growth(book: Book, study: Study) -> None:
    """A line for all, an intercept for each."""
    book.stage(
        "Growth: a line",
        "A fixed effect of time and a random intercept: parallel lines. The residual variance "
        "falls from 7.0 to 0.8.",
    )
    _growth_model(book, study, "L", "line")


def quadratic_growth(book: Book, study: Study) -> None:
    """A parabola for all, an intercept for each."""
    book.stage("Growth: a parabola", "The same with the square of time: growth speeds up.")
    _growth_model(book, study, "Q", "parabola")


def _growth_model(book: Book, study: Study, name: str, shape: str) -> None:
    model = study.models[name]
    book.show(model.summary())
    book.figures(
        {
            f"{shape}-marginal": (
                "Marginal: the mean over all animals",
                lambda: mm.plot.marginal(model, "time", labels=LABELS),
            ),
            f"{shape}-conditional": (
                "Conditional: each animal",
                lambda: mm.plot.conditional(model, "time", labels=LABELS),
            ),
            f"{shape}-calibration": (
                "Calibration",
                lambda: mm.plot.calibration(model, labels=LABELS),
            ),
        }
    )


def three_models(book: Book, study: Study) -> None:
    """The AICc table of three models."""
    book.stage(
        "Intercept, line or parabola?",
        "The parabola, by far: the evidence for it is 1.46 million times that for the line.",
    )
    _criteria(book, study, article.THREE)


def _criteria(book: Book, study: Study, printed: Mapping[str, tuple[str, str, str, str]]) -> None:
    table = mm.aictab({name: study.models[name] for name in printed})
    criteria, weights = [], []
    for row in table.itertuples(index=False):
        aicc, delta, weight, ratio = printed[row.model]
        ours = (beside(row.aicc, aicc), beside(row.delta_aicc, delta))
        criteria.append([row.model, str(row.k), aicc, ours[0], delta, ours[1]])
        ours = (beside(row.aicc_weight, weight), beside(row.evidence_ratio, ratio))
        weights.append([row.model, weight, ours[0], ratio, ours[1]])
    header = ["model", "k", "AICc: article", "here", "difference: article", "here"]
    book.table("AICc", header, criteria)
    header = ["model", "weight: article", "here", "evidence ratio: article", "here"]
    book.table("Weights", header, weights)


def per_animal(book: Book, study: Study) -> None:
    """A regression for each animal."""
    book.stage(
        "Each animal on its own: line or parabola?",
        "R squared never falls when a term is added, so the parabola must win. Adjusted R squared "
        "pays for the term. Three animals have three weights only: a parabola goes through them, "
        "and they have no adjusted R squared.",
    )
    with quiet(DataWarning):  # the three animals, which the text names
        lines = mm.lm_list("BW ~ time | animal", study.data)
        curves = mm.lm_list("BW ~ time + I(time^2) | animal", study.data)
        _compare_lists(book, lines, curves)


def _compare_lists(book: Book, lines: LmList, curves: LmList) -> None:
    table = lines.compare(curves, "r2", names=("lin", "quad"))
    rows = []
    for row in table.head(len(article.R_SQUARED)).itertuples(index=False):
        line, curve = article.R_SQUARED[row.level]
        ours = (beside(row.r2_lin, line), beside(row.r2_quad, curve))
        rows.append([row.level, line, ours[0], curve, ours[1], f"{row.diff:.6f}", row.best])
    header = ["animal", "line: article", "here", "parabola: article", "here", "diff", "best"]
    book.table("R squared", header, rows)
    adjusted = lines.compare(curves, "adj_r2", names=("lin", "quad"))
    counts = [
        [name, *(str(sum(t["best"] == f"{c}_{k}")) for k in ("lin", "quad"))]
        for name, c, t in (("R squared", "r2", table), ("adjusted", "adj_r2", adjusted))
    ]
    book.table("Animals preferring", ["criterion", "line", "parabola"], counts)
    names = ("line", "parabola")
    book.figures(
        {
            "line-or-parabola": (
                "Adjusted R squared of line and parabola",
                lambda: mm.plot.compare_lists(lines, curves, "adj_r2", names=names),
            )
        }
    )


def random_slopes(book: Book, study: Study) -> None:
    """An intercept and a slope for each."""
    book.stage(
        "Random intercepts and random slopes",
        "(time | animal) gives each animal its own intercept and its own slope; treatment enters. "
        "LxT lets the slopes differ by treatment, QT bends the lines of LT.",
    )
    for name in ("LT", "LxT", "QT"):
        book.show(study.models[name].summary())
    model = study.models["LT"]
    book.figures(
        {
            "slopes-conditional": (
                "LT: a line for each animal",
                lambda: mm.plot.conditional(model, "time", labels=LABELS),
            ),
            "slopes-calibration": (
                "LT: calibration",
                lambda: mm.plot.calibration(model, labels=LABELS),
            ),
        }
    )


def seven_models(book: Book, study: Study) -> None:
    """The AICc table of seven models."""
    book.stage(
        "Seven models",
        "QT is the best of the seven. Its second, QxT, differs by 7.94597 at the optimum; one of "
        "the article's two fits stopped 3e-5 short, and so it printed 7.9459.",
    )
    _criteria(book, study, article.SEVEN)
    seven = {name: study.models[name] for name in article.SEVEN}
    without = study.models["QR"]
    book.say(
        f"The table lacks the model without treatment, {without.formula}, which the article fits "
        f"later. Its AICc is {without.aicc:.2f}, lower by "
        f"{seven['QT'].aicc - without.aicc:.2f} than that of QT."
    )
    book.figures({"weights": ("Weights by AICc", lambda: mm.plot.model_weights(seven))})
