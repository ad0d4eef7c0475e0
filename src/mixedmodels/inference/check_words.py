"""What checks of a model say: verdicts in plain words, and what to do when one fails."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences of one assumption.

    Attributes
    ----------
    good : str
    bad : str
        With ``{about}`` for what it is about.
    advice : str
        With ``{against}``, the arguments of a plot.
    """

    good: str
    bad: str
    advice: str


ADVICE_CONVERGENCE = (
    "do not use these estimates: see mm.check_convergence(m), take columns out of the random "
    "part, or bring columns of very different size to one scale"
)
ADVICE_SINGULAR = (
    "the random part asks more than the data tell: m.pca() shows which directions have no "
    "variance; take them out, write || for no correlations, and compare with mm.ranova(m)"
)
ADVICE_COLLINEAR = (
    "these coefficients cannot be told apart well: leave one of the terms out, combine them, or "
    "interpret them together; predictions are not harmed"
)
UNCHECKED_MEMORY = "give time=, the column that orders the rows of a group, to check it"
UNCHECKED_EFFECTS = "no random effect has variance and six levels or more"

WORDS = {
    "linearity": Words(
        "the mean follows the fixed part",
        "the data bend where the fixed part does not: along {about}",
        "look at mm.plot.residuals({against}); add the bend to the fixed part, as I(x^2), "
        "poly(x, 2) or ns(x, 3), or an interaction that is missing; or transform the predictor",
    ),
    "equal variance": Words(
        "residuals spread alike everywhere",
        "the size of residuals changes with {about}",
        "look at mm.plot.scale_location(m); transform the response (log, sqrt), or give weights=; "
        "coefficients stay unbiased, but their standard errors may not be right",
    ),
    "normal residuals": Words(
        "residuals are distributed as in a normal model",
        "residuals are not normal: skewness {skewness:.2f}, excess kurtosis {kurtosis:.2f}",
        "look at mm.plot.qq(m); a few far points: see what they are; skewness: transform the "
        "response. In large samples tests of fixed effects hardly suffer, prediction intervals do",
    ),
    "normal effects": Words(
        "random effects are distributed as in a normal model",
        "random effects are not normal: {about}",
        "look at mm.plot.qq_random(m) and mm.plot.caterpillar(m); levels far out or in clusters "
        "hint at a predictor of levels that is missing. Fixed effects hardly suffer",
    ),
    "influence": Words(
        "no row or level moves the fixed effects more than the largest usually does",
        "{about} moves the fixed effects more than the largest usually does: Cook's distance "
        "{value:.2g}",
        "see whether its data are right; fit without it too and report both. mm.influence(m, "
        "group) lists which coefficients it moves",
    ),
    "autocorrelation": Words(
        "neighbours in time are as correlated as the model leads to",
        "residuals of one group have a {about} of {value:.2f}, where the model leads to "
        "{low:.2f} to {high:.2f}",
        "look at mm.plot.autocorrelation(m, time); let the random part change with time, as "
        "(time | group), or add the trend that is missing to the fixed part",
    ),
    "simulated residuals": Words(
        "the data look like responses simulated from the model",
        "the data do not look like responses simulated from the model: {statistic}",
        "where another check fails, mend that first; else look at mm.plot.qq(m) and "
        "mm.plot.calibration(m): the random part or the distribution may be wrong",
    ),
}
