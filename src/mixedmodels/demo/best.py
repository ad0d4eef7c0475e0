"""Stages on the best model: effects, a prediction, tests, what it implies, assumptions, table."""

from __future__ import annotations

import numpy as np

import mixedmodels as mm
from mixedmodels.demo import article
from mixedmodels.demo.book import Book, beside, text
from mixedmodels.demo.study import LABELS, WHO, Study

ANIMAL, DAY, SAID, TRUE = "58833", 21, "2", "5"
REPLICATES = 500


def effects(book: Book, study: Study) -> None:
    """Fixed and random effects of QT."""
    book.stage(
        "Fixed and random effects of QT",
        "The article's fit stopped 1.4e-5 short of the optimum: its random effects agree with the "
        "exact ones to four digits.",
    )
    model = study.models["QT"]
    fixed = [
        [row.term, printed, beside(row.estimate, printed or "0.000000000")]
        for row in model.fixef().itertuples(index=False)
        for printed in [article.FIXED.get(row.term, "")]
    ]
    book.table("Fixed effects", ["term", "article", "here"], fixed)
    modes = model.ranef().pivot(index="level", columns="term", values="estimate")
    rows = []
    for animal, (intercept, slope) in article.RANDOM.items():
        ours = modes.loc[animal, ["Intercept", "time"]]
        pairs = zip((intercept, slope), ours, strict=True)
        rows.append([animal, *(c for printed, x in pairs for c in (printed, beside(x, printed)))])
    header = ["animal", "Intercept: article", "here", "time: article", "here"]
    book.table("Random effects", header, rows)
    book.figures(
        {
            "random-effects": (
                "Random effects with 95 % intervals",
                lambda: mm.plot.caterpillar(model),
            ),
            "shrinkage": (
                "Shrinkage: each animal's own regression, and what the model makes of it",
                lambda: mm.plot.shrinkage(study.models["LT"]),
            ),
            "random-pairs": (
                "Random intercepts and slopes together",
                lambda: mm.plot.random_pairs(model),
            ),
        }
    )


def prediction(book: Book, study: Study) -> None:
    """The worked prediction of one animal."""
    book.stage(
        f"A prediction by hand: animal {ANIMAL} on day {DAY}",
        f"The sum of its parts. The article takes the animal for one of treatment {SAID}; by its "
        f"own printed random effects it belongs to treatment {TRUE}.",
    )
    model = study.models["QT"]
    beta = dict(zip(model.term_names, model.beta.tolist(), strict=True))
    own = model.ranef().query("level == @ANIMAL").set_index("term")["estimate"]
    steps = {
        "Intercept": beta["Intercept"] + own["Intercept"],
        "+ time * 21": (beta["time"] + own["time"]) * DAY,
        "+ time^2 * 441": beta["I(time^2)"] * DAY**2,
    }
    treatments = {level: beta[f"treatm[T.{level}]"] for level in (SAID, TRUE)}
    sums = np.cumsum([*steps.values()])
    rows = [
        [name, f"{part:.4f}", f"{total:.4f}", printed]
        for (name, part), total, printed in zip(
            steps.items(), sums, article.PREDICTION[:3], strict=True
        )
    ]
    for level, part in treatments.items():
        printed = article.PREDICTION[3] if level == SAID else ""
        rows.append([f"+ treatment {level}", f"{part:.4f}", f"{sums[-1] + part:.4f}", printed])
    book.table("Prediction in kg", ["part", "value", "sum", "article's sum"], rows)
    new = {"animal": [ANIMAL], "time": [DAY], "treatm": [TRUE]}
    told = float(model.predict(new)[0])
    seen = float(study.data.query("animal == @ANIMAL and time == @DAY")["BW"].iloc[0])
    book.say(f"model.predict gives {told:.4f} (treatment {TRUE}); the animal weighed {seen:.1f}.")


def matrices(book: Book, study: Study) -> None:
    """Variances of random and fixed effects."""
    book.stage(
        "Variance-covariance matrices",
        "Of the random effects, and of the estimates of the fixed effects.",
    )
    model = study.models["QT"]
    columns = {"group": "", "term": "", "variance": ".6f", "sd": ".5f", "corr_Intercept": ".3f"}
    book.frame("Random effects and residual", model.varcorr(), columns, n_text=2)
    rows = [
        [name, *(text(v, ".3e") for v in row)]
        for name, row in zip(model.term_names, model.vcov, strict=True)
    ]
    book.table("Covariance of the fixed effects", ["", *model.term_names], rows)


def treatment(book: Book, study: Study) -> None:
    """Tests of the treatment."""
    book.stage(
        "Does the treatment matter?",
        "Likelihood-ratio test of QT against QR, the same without treatment, and the test by "
        f"parametric bootstrap with {REPLICATES} replicates. It does not.",
    )
    large, small = study.models["QT"], study.models["QR"]
    rows = []
    for row in mm.anova({"QR": small, "QT": large}).itertuples(index=False):
        ours = (row.n_params, row.aic, row.bic, row.loglik, row.deviance)
        test = (row.statistic, row.df, row.p_value) if row.model == "QT" else ()
        printed = article.LRT[row.model] + (article.TEST if test else ())
        rows += [
            [f"{row.model}, article", *printed],
            [
                f"{row.model}, here",
                *(beside(x, p) for x, p in zip((*ours, *test), printed, strict=True)),
            ],
        ]
    header = ["model", "k", "AIC", "BIC", "logLik", "deviance", "chi2", "df", "p"]
    book.table("Likelihood-ratio test", header, rows)
    simulated = mm.pbmodcomp(large, small, n_sim=REPLICATES, seed=2021)
    columns = {"test": "", "statistic": ".4f", "df": ".0f", "p_value": ".4f"}
    book.frame(f"Parametric bootstrap, {REPLICATES} replicates", simulated, columns)
    book.say(
        f"The article's bootstrap gave p = {article.BOOTSTRAP_P}. It depends on the random "
        "numbers: about one replicate in 400 is below the observed statistic."
    )


def slopes(book: Book, study: Study) -> None:
    """A test of the random slopes."""
    book.stage(
        "Do the random slopes matter?",
        "The article ends by saying that they do not. The test says that they do: Q has random "
        "intercepts only, QR random slopes as well.",
    )
    table = mm.anova({name: study.models[name] for name in ("Q", "QR")})
    columns = {"model": "", "n_params": "", "aic": ".2f", "deviance": ".2f"}
    columns |= {"statistic": ".2f", "df": ".0f", "p_value": ".1e", "p_boundary": ".1e"}
    book.frame("Likelihood-ratio test of the random slopes", table, columns)
    book.say("p_boundary counts that a variance cannot be negative.")


def implied(book: Book, study: Study) -> None:
    """Correlations over time, of the model and of the data."""
    book.stage(
        "Implied and observed correlations",
        "What QT says of correlations between days, beside those of the data less the fixed "
        "effects. Random slopes let correlations fall with distance in time and the spread grow.",
    )
    found = mm.implied_correlations(study.models["QT"])
    book.show(found)
    book.figures(
        {
            "implied-correlations": (
                "Implied and observed correlations",
                lambda: mm.plot.correlations(found, labels=LABELS),
            )
        }
    )


def assumptions(book: Book, study: Study) -> None:
    """Residuals and random effects of QT."""
    book.stage(
        "Assumptions",
        "Residuals around zero with one spread, normal residuals, normal random effects, no animal "
        "that alone decides.",
    )
    model = study.models["QT"]
    book.show(model.check_convergence())
    found = mm.check_model(model, time=WHO["time"], n_sim=100)
    book.show(found)
    book.figures(
        {
            "check": ("Each assumption with its verdict", lambda: mm.plot.check(found)),
            "residuals": ("Residuals against fitted", lambda: mm.plot.residuals(model)),
            "scale-location": ("Spread of the residuals", lambda: mm.plot.scale_location(model)),
            "qq": ("Quantiles of the residuals", lambda: mm.plot.qq(model)),
            "distribution": (
                "Distribution of the residuals",
                lambda: mm.plot.residual_distribution(model),
            ),
            "qq-random": ("Quantiles of the random effects", lambda: mm.plot.qq_random(model)),
            "autocorrelation": (
                "Autocorrelation within animals",
                lambda: mm.plot.autocorrelation(model, WHO["time"]),
            ),
            "influence": ("Influence of each row", lambda: mm.plot.influence(model)),
        }
    )


def final_table(book: Book, study: Study) -> None:
    """Models side by side."""
    book.stage("The final table", "Four models side by side, as a paper shows them.")
    chosen = {name: study.models[name] for name in ("I", "L", "Q", "QT")}
    book.show(mm.tab_model(chosen))
    book.figures(
        {
            "coefficients": (
                "Fixed effects of LT and QT",
                lambda: mm.plot.coefficients({k: study.models[k] for k in ("LT", "QT")}),
            )
        }
    )


def contradictions(book: Book, study: Study) -> None:  # noqa: ARG001 - the shape of a stage
    """Where the article contradicts itself."""
    book.stage("Where the article contradicts itself")
    for heading, words in article.CONTRADICTIONS.items():
        book.say(f"{heading}. {words}")
