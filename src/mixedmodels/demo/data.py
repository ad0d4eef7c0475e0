"""Stages on the data: rows, summaries, correlations, pictures, clusters, a linear model."""

from __future__ import annotations

from typing import Any

import mixedmodels as mm
from mixedmodels.demo.book import Book
from mixedmodels.demo.study import LABELS, WHO, Study

CELLS = {"time": ".0f", "n": "", "mean": ".3f", "sd": ".3f", "cv": ".3f", "min": ".1f"}
CELLS |= {"median": ".1f", "max": ".1f", "skewness": ".2f"}
CRITERIA = ("calinski_harabasz", "davies_bouldin", "silhouette", "bic")


def rows(book: Book, study: Study) -> None:
    """What was measured, and when."""
    book.stage(
        "The data",
        "75 piglets on five treatments, weighed (BW, in kg) on days 0, 7, 14 and 21. The article's "
        "data were never published. These are a reconstruction from the figures that it printed: "
        "the models give its numbers, but most animals are invented. Learn the models from them, "
        "nothing about piglets.",
    )
    columns = {"animal": "", "treatm": "", "time": "", "BW": ".1f"}
    book.frame("The first two animals", study.data.head(8), columns, n_text=2)
    book.show(mm.check_design(study.data, **WHO, by="treatm"))


def description(book: Book, study: Study) -> None:
    """Summaries by day, and by treatment and day."""
    book.stage("Description", "Means and spread grow with time; treatments hardly differ.")
    by_time = mm.describe(study.data, "BW", by=["time"], totals="none")
    book.frame("Body weight by day", by_time, CELLS)
    both = mm.describe(study.data, "BW", by=["treatm", "time"], totals="none")
    book.frame("Body weight by treatment and day", both, {"treatm": "", **CELLS}, n_text=2)


def correlation(book: Book, study: Study) -> None:
    """How days go together."""
    book.stage(
        "Correlation and covariance over time",
        "Weights of one animal go together, and less so the further apart the days are.",
    )
    found = mm.time_correlations(study.data, **WHO)
    book.show(found)
    book.figures(
        {
            "correlations": (
                "Correlations between days",
                lambda: mm.plot.correlations(found, labels=LABELS),
            ),
            "scatter-matrix": (
                "Each day against each other",
                lambda: mm.plot.scatter_matrix(study.data, **WHO, labels=LABELS),
            ),
        }
    )


def pictures(book: Book, study: Study) -> None:
    """The data over time."""
    book.stage(
        "Pictures over time",
        "A line per animal; means with their 95 % intervals; boxes. The lines fan out a little.",
    )
    if not book.plots:
        book.say("Without figures nothing is shown here.")
    data = study.data
    cells: dict[str, Any] = {"time": "time", "response": "BW", "by": "treatm", "labels": LABELS}
    book.figures(
        {
            "trajectories": (
                "A line per animal",
                lambda: mm.plot.trajectories(data, **WHO, labels=LABELS),
            ),
            "trajectories-by-treatment": (
                "A line per animal, by treatment",
                lambda: mm.plot.trajectories(data, **WHO, by="treatm", labels=LABELS),
            ),
            "means": ("Means by treatment", lambda: mm.plot.means(data, **cells)),
            "boxes": ("Boxes by treatment", lambda: mm.plot.boxes(data, **cells)),
        }
    )


def clusters(book: Book, study: Study) -> None:
    """Kinds of animals, before any model."""
    book.stage(
        "Longitudinal k-means",
        "Are there kinds of piglets? k-means on whole trajectories, for two to five clusters. The "
        "clusters differ in level from the first day on, and hardly in slope: a hint at a random "
        "intercept. Criteria that compare distances favour two clusters, those built on a "
        "likelihood four or five. The clusters do not go with the treatments.",
    )
    found = mm.cluster_trajectories(study.data, **WHO, k=range(2, 6), n_starts=100, seed=1)
    book.show(found)
    book.show(found.cross_table("treatm"))
    book.figures(
        {
            f"clusters-{k}": (
                f"{k} clusters",
                lambda k=k: mm.plot.clusters(found, k, labels=LABELS),  # type: ignore[misc]
            )
            for k in found.ks
        }
    )
    book.figures(
        {"criteria": ("Criteria by number of clusters", lambda: mm.plot.criteria(found, CRITERIA))}
    )


def linear(book: Book, study: Study) -> None:
    """Least squares, as if all weights were of different animals."""
    book.stage(
        "A linear model",
        "Time, treatment and their interaction, as if the 297 weights were of 297 animals. Time "
        "matters, the interaction does not. The tests of treatment are not to be trusted: they "
        "take four weights of an animal for four animals.",
    )
    model = mm.lm("BW ~ time * treatm", study.data)
    columns = {"term": "", "num_df": ".0f", "den_df": ".0f", "sum_sq": ".3f", "mean_sq": ".3f"}
    columns |= {"statistic": ".3f", "p_value": ".4f"}
    book.frame("F tests of BW ~ time * treatm, in order", mm.anova(model), columns)
    book.figures(
        {
            "lm-residuals": ("Residuals against fitted", lambda: mm.plot.residuals(model)),
            "lm-qq": ("Quantiles of the residuals", lambda: mm.plot.qq(model)),
        }
    )
