"""Calls pasted from R: other cases and R's own names for what we call otherwise."""

from __future__ import annotations

from functools import cache

import pytest
from pandas.testing import assert_frame_equal

import mixedmodels as mm


@cache
def fitted() -> mm.FittedModel:
    return mm.lmer("BW ~ time * treatm + (1 | animal)", mm.datasets.load("piglets"))


# ours, and as R writes it
SAME = {
    "coef(summary(m, ddf =))": (
        lambda m: m.tidy("kenward-roger"),
        lambda m: m.tidy(ddf="Kenward-Roger"),
    ),
    "summary(m, ddf = 'lme4')": (lambda m: m.tidy("none"), lambda m: m.tidy("lme4")),
    "anova(m, type = 3)": (
        lambda m: mm.anova(m, type="III"),
        lambda m: mm.anova(m, type=3, ddf="Satterthwaite"),
    ),
    "drop1(m, test = 'Chisq')": (
        lambda m: mm.drop1(m, test="Chisq"),
        lambda m: mm.drop1(m, test="LRT"),
    ),
    "drop1(m, ddf =)": (
        lambda m: mm.drop1(m, ddf="kenward-roger"),
        lambda m: mm.drop1(m, ddf="Kenward-Roger"),
    ),
    "confint(m, method = 'Wald')": (
        lambda m: mm.confint(m, ddf="satterthwaite"),
        lambda m: mm.confint(m, "Wald", ddf="Satterthwaite"),
    ),
    "emmeans(m, lmer.df =)": (
        lambda m: mm.emmeans(m, "treatm", ddf="none").frame(),
        lambda m: mm.emmeans(m, "treatm", ddf="asymptotic", weights="Equal").frame(),
    ),
    "contrast(e, 'tukey')": (
        lambda m: mm.emmeans(m, "treatm").contrasts("pairwise"),
        lambda m: mm.emmeans(m, "treatm").contrasts("tukey"),
    ),
    "contrast(e, 'trt.vs.ctrl1')": (
        lambda m: mm.emmeans(m, "treatm").contrasts("trt.vs.ctrl", adjust="bonferroni"),
        lambda m: mm.emmeans(m, "treatm").contrasts("trt.vs.ctrl1", adjust="Bonferroni"),
    ),
    "aictab": (lambda m: mm.aictab([m], ic="aicc"), lambda m: mm.aictab([m], ic="AICc")),
}


@pytest.mark.parametrize("call", SAME)
def test_what_r_writes_is_understood(call: str) -> None:
    ours, theirs = SAME[call]
    assert_frame_equal(ours(fitted()), theirs(fitted()))


def test_kinds_of_residuals() -> None:
    m = fitted()
    assert (m.residuals("deviance") == m.residuals("pearson")).all()
    assert (m.residuals("working") == m.residuals()).all()


def test_what_has_no_meaning_here_is_refused_as_it_was_written() -> None:
    with pytest.raises(mm.ModelError, match=r"ddf must be .* not 'lme4'"):
        mm.anova(fitted(), ddf="lme4")
    with pytest.raises(mm.ModelError, match=r"not 'dunnett' \(did you mean 'dunnettx'\?\)"):
        mm.emmeans(fitted(), "treatm").contrasts(adjust="dunnett")
