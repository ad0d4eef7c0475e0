"""The piglets from start to finish: seven models, their summaries, their comparison.

Run it with ``python -m mixedmodels.demo``. It follows an article on mixed models in R and puts its
printed figures beside ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import mixedmodels as mm

WIDTH = 88

# name -> formula, in the article's order
FORMULAS: Mapping[str, str] = {
    "I": "BW ~ 1 + (1 | animal)",
    "L": "BW ~ time + (1 | animal)",
    "Q": "BW ~ time + I(time^2) + (1 | animal)",
    "LT": "BW ~ time + treatm + (time | animal)",
    "LxT": "BW ~ time * treatm + (time | animal)",
    "QT": "BW ~ time + I(time^2) + treatm + (time | animal)",
    "QxT": "BW ~ (time + I(time^2)) * treatm + (time | animal)",
}
WITHOUT_TREATMENT = "BW ~ time + I(time^2) + (time | animal)"

# what the article printed: AICc, weight, evidence ratio
PRINTED_TABLE: Mapping[str, tuple[float, float, float]] = {
    "QT": (845.2731, 0.9815, 1.0),
    "QxT": (853.2190, 0.0185, 5.314210e01),
    "LT": (904.5280, 0.0, 7.362806e12),
    "LxT": (905.3122, 0.0, 1.089747e13),
    "Q": (932.5382, 0.0, 8.900052e18),
    "L": (960.9260, 0.0, 1.299341e25),
    "I": (1445.8183, 0.0, 2.551215e130),
}
PRINTED_FIXED: Mapping[str, float] = {
    "Intercept": 7.644750106,
    "time": 0.160296158,
    "I(time^2)": 0.005642406,
    "treatm[T.2]": -0.027922237,
    "treatm[T.3]": -0.079978283,
    "treatm[T.4]": 0.081867461,
}
PRINTED_MODES: Mapping[str, tuple[float, float]] = {
    "58833": (-0.84215052, 0.020826408),
    "58838": (0.14472475, 0.116202118),
    "58842": (0.72890016, -0.032279547),
    "58844": (-0.27168740, -0.040408184),
    "58855": (1.99977032, 0.042297651),
    "58857": (0.36337948, -0.030983612),
}
PRINTED_ICC = 0.064
PRINTED_TEST = {"statistic": 0.1414, "df": 4, "p_value": 0.9976}


def main() -> None:
    """Print the walk-through."""
    piglets = mm.datasets.load("piglets")
    _show_data(piglets)
    models, times = _fit_all(piglets)
    for name, formula in FORMULAS.items():
        _heading(f"Model {name}: {formula}")
        print(models[name].summary())
        if name == "I":
            _show_icc(models[name])
    _show_comparison(models)
    _show_best(models["QT"])
    _show_test(models["QT"], models["QR"])
    first, *others = times
    print(
        f"\n{len(models)} models fitted in {sum(times):.0f} ms: {first:.0f} ms for the first, "
        f"which loads the libraries,\nand {sum(others) / len(others):.0f} ms for each other one."
    )


def _fit_all(piglets: Any) -> tuple[dict[str, Any], list[float]]:
    """All models by maximum likelihood, and the milliseconds that each took."""
    models, times = {}, []
    for name, formula in {**FORMULAS, "QR": WITHOUT_TREATMENT}.items():
        start = time.perf_counter()
        models[name] = mm.lmer(formula, piglets, reml=False)
        times.append(1000.0 * (time.perf_counter() - start))
    return models, times


def _show_data(piglets: Any) -> None:
    _heading("The data: 75 piglets, weighed on days 0, 7, 14 and 21")
    print(
        "A reconstruction from the figures that an article printed (Jacobs 2021, Introduction to\n"
        "Mixed Models in R), not the original measurements: good for learning the models, not for\n"
        "learning about piglets. Body weight BW in kg, five treatments, three weights missing.\n"
    )
    print(piglets.head(8).to_string(index=False))
    print(f"... {len(piglets)} rows\n")
    means = piglets.pivot_table("BW", "treatm", "time", aggfunc="mean", observed=True)
    _table(
        ["mean BW by treatment", *(f"day {day}" for day in means.columns)],
        [[label, *(f"{value:.2f}" for value in row)] for label, row in _rows(means)],
    )


def _rows(frame: Any) -> Iterable[tuple[str, list[float]]]:
    return ((str(label), frame.loc[label].tolist()) for label in frame.index)


def _show_icc(model: Any) -> None:
    variance = model.varcorr()["variance"].tolist()
    print(
        f"\nIntraclass correlation: {variance[0]:.4f} / ({variance[0]:.4f} + {variance[1]:.4f}) = "
        f"{variance[0] / sum(variance):.3f} (article: {PRINTED_ICC})"
    )


def _show_comparison(models: Mapping[str, Any]) -> None:
    _heading("Which model? AICc beside the article's")
    table = mm.aictab({name: models[name] for name in FORMULAS})
    rows = []
    for row in table.itertuples(index=False):
        aicc, weight, ratio = PRINTED_TABLE[row.model]
        rows.append(
            [
                row.model,
                str(row.k),
                f"{row.aicc:.4f}",
                f"{aicc:.4f}",
                f"{row.delta_aicc:.4f}",
                f"{row.aicc_weight:.4f}",
                f"{weight:.4f}",
                _ratio(row.evidence_ratio),
                _ratio(ratio),
            ]
        )
    _table(
        ["model", "k", "AICc", "article", "delta", "weight", "article", "evidence", "article"], rows
    )


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 1e4 else f"{value:.3e}"


def _show_best(model: Any) -> None:
    _heading("The best model, QT: fixed effects and the first piglets")
    _table(
        ["term", "estimate", "article"],
        [
            [row.term, f"{row.estimate:.6f}", _printed(PRINTED_FIXED.get(row.term))]
            for row in model.fixef().itertuples(index=False)
        ],
    )
    print()
    modes = model.ranef().pivot_table("estimate", "level", "term")
    rows = []
    for animal, (intercept, slope) in PRINTED_MODES.items():
        own = modes.loc[animal]
        ours = (f"{own['Intercept']:.5f}", f"{own['time']:.6f}")
        rows.append([animal, ours[0], f"{intercept:.5f}", ours[1], f"{slope:.6f}"])
    _table(["animal", "Intercept", "article", "time", "article"], rows)


def _printed(value: float | None) -> str:
    return "not shown" if value is None else f"{value:.6f}"


def _show_test(large: Any, small: Any) -> None:
    _heading("Does the treatment matter? Likelihood-ratio test of QT against QR")
    print(f"QR: {WITHOUT_TREATMENT}\nQT: {FORMULAS['QT']}\n")
    table = mm.anova({"QR": small, "QT": large})
    rows = []
    for i, row in enumerate(table.itertuples(index=False)):
        test = [f"{row.statistic:.4f}", str(row.df), f"{row.p_value:.4f}"] if i else ["", "", ""]
        figures = [f"{value:.2f}" for value in (row.aic, row.bic, row.loglik, row.deviance)]
        rows.append([row.model, str(row.n_params), *figures, *test])
    printed = [str(PRINTED_TEST[key]) for key in ("statistic", "df", "p_value")]
    rows.append(["article", "", "", "", "", "", *printed])
    _table(["model", "k", "AIC", "BIC", "logLik", "deviance", "chi2", "df", "p"], rows)


def _heading(text: str) -> None:
    print(f"\n{'=' * WIDTH}\n{text}\n{'=' * WIDTH}\n")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, the first column flush left, the others flush right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join([line[0].ljust(len(first)), *others]).rstrip())


if __name__ == "__main__":
    main()
