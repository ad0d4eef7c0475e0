"""Write the example of a report: examples/chickweight.html."""

from __future__ import annotations

from pathlib import Path

import mixedmodels as mm

FORMULAS = {
    "linear": "weight ~ Time + Diet + (Time | Chick)",
    "linear by diet": "weight ~ Time * Diet + (Time | Chick)",
    "curved by diet": "weight ~ (Time + I(Time^2)) * Diet + (Time | Chick)",
    "curved by chick": "weight ~ (Time + I(Time^2)) * Diet + (Time + I(Time^2) | Chick)",
}


def main() -> None:
    """Fit four models of the growth of chicks and report them."""
    data = mm.datasets.load("ChickWeight")
    models = {name: mm.lmer(formula, data, reml=False) for name, formula in FORMULAS.items()}
    mm.report(
        models,
        id="Chick",
        time="Time",
        by="Diet",
        labels={"weight": "Weight (g)", "Time": "Age (days)"},
        title="Growth of chicks on four diets",
        path=Path(__file__).parent / "examples" / "chickweight.html",
    )


if __name__ == "__main__":
    main()
