"""`report`: a whole analysis in one file of HTML."""

from __future__ import annotations

import datetime
import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from mixedmodels.arguments import checked
from mixedmodels.errors import ModelError
from mixedmodels.inference.compare import Models
from mixedmodels.model.fitted import FittedModel
from mixedmodels.model.predict import check_level
from mixedmodels.plot.theme import drawing
from mixedmodels.reporting.checks import checks_section
from mixedmodels.reporting.chosen import model_section
from mixedmodels.reporting.compared import models_section
from mixedmodels.reporting.data import data_section
from mixedmodels.reporting.html import page, paragraph, text
from mixedmodels.reporting.methods import methods_section
from mixedmodels.reporting.overview import overview_section
from mixedmodels.reporting.predictions import predictions_section
from mixedmodels.reporting.study import study_of

SECTIONS = (
    ("overview", "Overview", overview_section),
    ("data", "Data", data_section),
    ("models", "Models", models_section),
    ("model", "The chosen model", model_section),
    ("checks", "Diagnostics", checks_section),
    ("predictions", "Predictions", predictions_section),
    ("methods", "Methods", methods_section),
)


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """A page of HTML that needs nothing else.

    Attributes
    ----------
    title : str
    html : str
        The whole file.
    """

    title: str
    html: str

    @checked
    def save(self, path: str | Path) -> None:
        """Write the file.

        Parameters
        ----------
        path : str or path
            Ends in ``.html`` or ``.htm``.

        Raises
        ------
        ModelError
            Another ending.
        OSError
            The file cannot be written.
        """
        check_path(path)
        Path(path).write_text(self.html, encoding="utf-8")

    def __repr__(self) -> str:
        return f"<Report {self.title!r}, {len(self.html.encode()) / 1000:.0f} kB: .save(path)>"

    def _repr_html_(self) -> str:
        return (
            f'<iframe title="{text(self.title)}" srcdoc="{escape(self.html)}" '
            'sandbox="allow-scripts" '
            'style="width:100%;height:36rem;border:1px solid #8888"></iframe>'
        )


@checked
def report(
    models: FittedModel | Models,
    *,
    data: Any = None,
    id: str | None = None,  # noqa: A002 - the word of the field
    time: str | None = None,
    response: str | None = None,
    by: str | None = None,
    title: str | None = None,
    path: str | Path | None = None,
    choose: str | None = None,
    labels: Mapping[str, str] | None = None,
    level: float = 0.95,
) -> Report:
    """A whole analysis as one file of HTML, to be read, printed and sent.

    Parameters
    ----------
    models : FittedModel, mapping of str to FittedModel, or sequence of FittedModel
        Of the same response on the same rows. Models of a sequence are called M1, M2, ...
    data : data frame, optional
        What is described; by default the data of the models.
    id, time, response, by : str, optional
        Columns of subjects, times, measurements and groups. By default the grouping factor with the
        most levels, the one random slope, the response, and the first factor of the fixed part.
    title : str, optional
    path : str or path, optional
        Where to write the file (``.html``).
    choose : str, optional
        Name of the model that is shown in full; by default the one with the lowest AICc.
    labels : mapping of str to str, optional
        What plots and captions call the columns.
    level : float, default 0.95
        Of confidence intervals.

    Returns
    -------
    Report
        Its `html` is the file, `save(path)` writes it.

    Raises
    ------
    TypeError
        Something that is not a fitted model.
    DataError
        An unknown column.
    ModelError
        No model; models of different data; an unknown `choose`; another ending than ``.html``.
    MissingDependencyError
        plotnine is not installed.

    Notes
    -----
    The page has the data (summaries, design, trajectories, correlations over time), the models side
    by side, the chosen one in full with its equation, diagnostics, predictions, and a paragraph on
    methods with references and versions. The code of each step is folded under it. Pictures are SVG
    with words for those who do not see them; the page follows the reader's light or dark setting,
    prints, and loads nothing from elsewhere. Texts from the data never become markup. A part that
    cannot be worked out says why in its place; warnings stand where they arose.

    Examples
    --------
    >>> import mixedmodels as mm
    >>> piglets = mm.datasets.load("piglets")
    >>> m = mm.lmer("BW ~ time + treatm + (time | animal)", piglets)
    >>> mm.report(m, title="Growth of piglets", path="piglets.html")  # doctest: +SKIP
    <Report 'Growth of piglets', ... kB: .save(path)>
    """
    drawing()
    check_level(level)
    if path is not None:
        check_path(path)
    roles = {"id": id, "time": time, "response": response, "by": by}
    s = study_of(models, data, roles, choose, labels, level)
    head = title or f"Analysis of {s.title(s.response or 'the response')}"
    made = Report(head, page(head, [(a, t, make(s)) for a, t, make in SECTIONS], _foot()))
    if path is not None:
        made.save(path)
    return made


def check_path(path: str | Path) -> None:
    """Refuse a path that cannot be, before anything is worked out.

    Raises
    ------
    ModelError
    FileNotFoundError
        No such folder.
    """
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise ModelError(f"a report is a page of HTML: end its name in .html, not {str(path)!r}")
    folder = Path(path).parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))


def _foot() -> str:
    import mixedmodels

    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return paragraph(f"Written on {today} by mixedmodels {mixedmodels.__version__}.")
