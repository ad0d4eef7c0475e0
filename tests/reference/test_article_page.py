"""docs/article.md: what the article printed, and what a fit gives here, are what stands there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import mixedmodels as mm
from mixedmodels.demo import article

PAGE = Path(__file__).parents[2] / "docs" / "article.md"
PIGLETS = mm.datasets.load("piglets")
Rows = Mapping[str, Sequence[str]]


@cache
def _fit(name: str) -> Any:
    return mm.lmer(article.FORMULAS[name], PIGLETS, reml=False)


@cache
def _tables() -> dict[str, list[dict[str, list[str]]]]:
    """Heading -> its tables, each row's name -> its cells."""
    found: dict[str, list[dict[str, list[str]]]] = {}
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        heading, _, body = part.partition("\n")
        blocks = [b.splitlines()[2:] for b in body.strip().split("\n\n") if b.startswith("|")]
        cells = [[[c.strip() for c in r.strip("|").split("|")] for r in block] for block in blocks]
        found[heading] = [{row[0]: row[1:] for row in block} for block in cells]
    return found


def _of(table: Any, names: Rows, columns: list[str]) -> dict[str, list[float]]:
    by_model = table.set_index("model")
    return {name: [float(by_model.loc[name, c]) for c in columns] for name in names}


def _icc() -> list[tuple[Rows, dict[str, list[float]]]]:
    return [({"I": [article.ICC]}, {"I": [mm.icc(_fit("I"))["icc_adjusted"]]})]


def _aictab(printed: Rows) -> list[tuple[Rows, dict[str, list[float]]]]:
    table = mm.aictab({name: _fit(name) for name in printed})
    columns = ["aicc", "delta_aicc", "aicc_weight", "evidence_ratio"]
    return [(printed, _of(table, printed, columns))]


def _curves() -> list[tuple[Rows, dict[str, list[float]]]]:
    some = PIGLETS.astype({"animal": str})
    some = some[some["animal"].isin(article.R_SQUARED.keys())]
    found: dict[str, list[float]] = {name: [] for name in article.R_SQUARED}
    for part in ("time", "time + I(time^2)"):
        r2 = mm.lm_list(f"BW ~ {part} | animal", some).glance().set_index("level")["r2"]
        for name, values in found.items():
            values.append(r2[name])
    return [(article.R_SQUARED, found)]


def _fixed() -> list[tuple[Rows, dict[str, list[float]]]]:
    ours = _fit("QT").fixef().set_index("term")["estimate"]
    printed = {name: [text] for name, text in article.FIXED.items()}
    return [(printed, {name: [ours[name]] for name in printed})]


def _random() -> list[tuple[Rows, dict[str, list[float]]]]:
    ours = _fit("QT").ranef().pivot(index="level", columns="term", values="estimate")
    return [(article.RANDOM, {name: list(ours.loc[name]) for name in article.RANDOM})]


def _prediction() -> list[tuple[Rows, dict[str, list[float]]]]:
    fixed = _fit("QT").fixef().set_index("term")["estimate"]
    own = _fit("QT").ranef().query("level == '58833'").set_index("term")["estimate"]
    steps = [
        fixed["Intercept"] + own["Intercept"],
        21 * (fixed["time"] + own["time"]),
        21**2 * fixed["I(time^2)"],
        fixed["treatm[T.2]"],
    ]
    names = ["intercept", "time", "time squared", "treatment 2"]
    printed = {name: [text] for name, text in zip(names, article.PREDICTION, strict=True)}
    return [(printed, {name: [sum(steps[: i + 1])] for i, name in enumerate(names)})]


def _test() -> list[tuple[Rows, dict[str, list[float]]]]:
    table = mm.anova({name: _fit(name) for name in article.LRT})
    criteria = _of(table, article.LRT, ["n_params", "aic", "bic", "loglik", "deviance"])
    last = _of(table, {"QT": ()}, ["statistic", "df", "p_value"])["QT"]
    bootstrap = mm.pbmodcomp(_fit("QT"), _fit("QR"), n_sim=500, seed=2021).set_index("test")
    return [
        (article.LRT, criteria),
        ({"QR, QT": article.TEST}, {"QR, QT": last}),
        (
            {"bootstrap, 500 replicates": [article.BOOTSTRAP_P]},
            {"bootstrap, 500 replicates": [bootstrap.loc["PBtest", "p_value"]]},
        ),
    ]


SECTIONS = {
    "ICC of the null model": _icc,
    "Three models, by AICc": lambda: _aictab(article.THREE),
    "Seven models, by AICc": lambda: _aictab(article.SEVEN),
    "R squared of each animal's own regression": _curves,
    "Fixed effects of QT": _fixed,
    "Random effects of QT": _random,
    "A prediction by hand": _prediction,
    "Likelihood-ratio test of the treatment": _test,
}


@pytest.mark.parametrize("heading", SECTIONS)
def test_section(heading: str) -> None:
    shown = _tables()[heading]
    for table, (printed, ours) in zip(shown, SECTIONS[heading](), strict=True):
        assert {name: cells[::2] for name, cells in table.items()} == {
            name: list(texts) for name, texts in printed.items()
        }
        for name, cells in table.items():
            for text, value in zip(cells[1::2], ours[name], strict=True):
                mantissa, _, power = text.partition("e")
                unit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
                # two units in the last digit: machines differ in how they sum
                assert float(text) == pytest.approx(value, rel=0, abs=2 * unit), (name, text)


def test_the_page_has_no_other_tables() -> None:
    assert {heading for heading, tables in _tables().items() if tables} == set(SECTIONS)
