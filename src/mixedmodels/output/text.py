"""Summaries of one model as text and HTML: `one_line` and `Summary`."""

from __future__ import annotations

from dataclasses import dataclass

from mixedmodels.model.record import Fit
from mixedmodels.output import html
from mixedmodels.output.content import blocks, groups, title
from mixedmodels.output.layout import block_text, fixed, shorten, shorten_words


def one_line(fit: Fit) -> str:
    """The model in less than 200 characters.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    str

    Examples
    --------
    >>> import mixedmodels as mm
    >>> one_line(mm.lmer("BW ~ time + (1 | animal)", mm.datasets.load("piglets")))
    '<FittedModel BW ~ time + (1 | animal): REML criterion 962.65, 297 rows, animal 75>'
    """
    parts = [f"{fit.n_obs} rows"]
    if fit.has_random:
        name = "REML criterion" if fit.reml else "deviance"
        parts = [f"{name} {fixed(fit.criterion, 2)}", *parts, groups(fit, most=1, name=24)]
        if fit.optimum.verdict != "optimum":
            parts.append(fit.optimum.verdict)
    else:
        parts = ["least squares", *parts]
    formula = shorten(shorten_words(fit.formula, word=24), 72)
    return f"<FittedModel {formula}: {', '.join(parts)}>"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Summary:
    """Summary of a model: prints as text, shows as HTML in a notebook.

    Parameters
    ----------
    fit : Fit

    Notes
    -----
    Names longer than a table bears are shortened in the middle, so that no line is longer than
    80 characters. Frames with everything in full: `FittedModel.tidy`, `FittedModel.varcorr`.
    """

    fit: Fit

    def __str__(self) -> str:
        return "\n\n".join([title(self.fit), *map(block_text, blocks(self.fit))])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html.page(title(self.fit), list(blocks(self.fit)))
