"""Summaries: what they say, how they look, and that no name can break them."""

import re
import warnings
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

import mixedmodels as mm
from mixedmodels.errors import clean
from mixedmodels.output.layout import (
    LINE,
    Table,
    align,
    block_text,
    fixed,
    number,
    p_value,
    shorten,
    shorten_words,
    width,
)
from mixedmodels.output.text import Summary, one_line

SLOPES = """\
Linear mixed model fit by REML

Formula:        BW ~ time + (time | animal)
Observations:   297
Groups:         animal 75
REML criterion: 893.55

Scaled residuals
   min      1Q  median     3Q    max
-2.393  -0.560   0.002  0.552  2.397

Random effects
group     term        variance  std. dev.  corr.
animal    Intercept  1.1831      1.0877
          time       0.0043074   0.065631  0.359
Residual             0.44566     0.66758

Fixed effects (Satterthwaite's degrees of freedom)
term       estimate  std. error  t value    df  p value
Intercept   7.3602    0.14127     52.102  73.9  <0.0001
time        0.27771   0.0090921   30.544  72.8  <0.0001

Correlation of fixed effects
     Intercept
time     0.064

Convergence
optimum: zero gradient, positive curvature in every direction"""


@pytest.fixture(scope="module")
def piglets():
    return mm.datasets.load("piglets")


@pytest.fixture(scope="module")
def slopes(piglets):
    return mm.lmer("BW ~ time + (time | animal)", piglets)


@pytest.fixture(scope="module")
def rows():
    """96 rows in 12 groups of 8 whose means of y are all zero: the group variance is zero."""
    rng = np.random.default_rng(1)
    n = 96
    data = pd.DataFrame(
        {
            "g": [f"g{i // 8:02}" for i in range(n)],
            "x": rng.normal(size=n),
            "z": rng.normal(size=n),
            "w": rng.uniform(1, 9, n),
        }
    )
    data["y"] = 0.7 * data.x + rng.normal(size=n)
    data["flat"] = data.y - data.groupby("g").y.transform("mean")
    return data


def quiet(fit, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mm.MixedModelsWarning)
        return fit(*args, **kwargs)


def section(model, title):
    """Lines of one part of the text."""
    for part in str(model.summary()).split("\n\n"):
        if part.startswith(title):
            return part.splitlines()[1:]
    return None


def check_bounds(model):
    text, line = str(model.summary()), repr(model)
    assert len(text) < 10_000
    assert max(map(width, text.splitlines())) <= 100
    assert all(c.isprintable() or c == "\n" for c in text)
    assert len(line) < 200
    assert line.isprintable()
    assert len(model._repr_html_()) < 30_000


# ---------------------------------------------------------------- whole texts


def test_text_of_the_slopes_model(slopes):
    text = str(slopes.summary())
    assert text.startswith(SLOPES)
    assert text.endswith(slopes.convergence.message)
    assert repr(slopes.summary()) == text
    check_bounds(slopes)


def test_one_line(slopes):
    formula, rest = "BW ~ time + (time | animal)", "REML criterion 893.55, 297 rows, animal 75"
    assert repr(slopes) == one_line(slopes) == f"<FittedModel {formula}: {rest}>"


def test_ml(slopes):
    model = slopes.update(reml=False)
    assert str(model.summary()).startswith("Linear mixed model fit by maximum likelihood\n")
    header, values = section(model, "Information criteria")
    assert header.split() == ["AIC", "AICc", "BIC", "logLik", "deviance", "df", "resid"]
    numbers = [model.aic, model.aicc, model.bic, model.loglik, model.deviance, model.df_resid]
    assert [float(v) for v in values.split()] == pytest.approx(numbers, abs=0.006)
    assert "REML criterion" not in str(model.summary())
    assert "deviance 883.89" in repr(model)


def test_uncorrelated_terms_show_their_group_each(piglets):
    model = mm.lmer("BW ~ time + (time || animal)", piglets)
    lines = section(model, "Random effects")
    assert [line.split()[0] for line in lines] == ["group", "animal", "animal", "Residual"]
    assert "corr." not in lines[0]


# ---------------------------------------------------------------- linear models


def test_linear_model(piglets):
    model = mm.lm("BW ~ time", piglets)
    text = str(model.summary())
    assert text.startswith("Linear model fit by least squares\n")
    assert section(model, "Random effects") is None
    assert section(model, "Convergence") is None
    assert section(model, "Fixed effects")[0].split()[-3:] == ["df", "p", "value"]
    assert "295  <0.0001" in section(model, "Fixed effects")[2]
    x, y = piglets.time.to_numpy(), piglets.BW.to_numpy()
    fitted = np.polyval(np.polyfit(x, y, 1), x)
    rss, total = np.sum((y - fitted) ** 2), np.sum((y - y.mean()) ** 2)
    r2, f = 1 - rss / total, (total - rss) / (rss / 295)
    assert f"R squared:               {r2:.4f}, adjusted {1 - (1 - r2) * 296 / 295:.4f}\n" in text
    assert f"F statistic:             {f:.5g} on 1 and 295 degrees of freedom, p <0.0001" in text
    assert f"Residual standard error: {np.sqrt(rss / 295):.5g} on 295 degrees of freedom" in text
    assert repr(model) == "<FittedModel BW ~ time: least squares, 297 rows>"


def test_linear_model_without_intercept_says_about_zero(rows):
    text = str(mm.lm("y ~ 0 + x", rows, weights="w").summary())
    y, x, w = rows.y, rows.x, rows.w
    slope = np.sum(w * x * y) / np.sum(w * x * x)
    r2 = 1 - np.sum(w * (y - slope * x) ** 2) / np.sum(w * y * y)
    assert f"R squared:               {r2:.4f}, adjusted" in text
    assert "about zero: the model has no intercept" in " ".join(text.split())
    assert "Weights:      column w" in text


def test_linear_model_full_set_of_dummies_counts_as_intercept(rows):
    one, other = section(mm.lm("y ~ g", rows), "Resid"), section(mm.lm("y ~ 0 + g", rows), "Resid")
    assert one == other
    assert len(one) == 2


def test_intercept_only(rows):
    text = str(mm.lm("y ~ 1", rows).summary())
    assert "R squared" not in text
    assert "F statistic" not in text
    assert "Correlation" not in text


# ---------------------------------------------------------------- special fits


def test_zero_variance(rows):
    model = quiet(mm.lmer, "flat ~ x + (1 | g)", rows)
    lines = section(model, "Random effects")
    assert lines[1].split() == ["g", "Intercept", "0", "(boundary)", "0"]
    assert section(model, "Convergence") == [model.convergence.message]
    assert repr(model).endswith("boundary optimum>")


def test_one_zero_variance_leaves_its_correlations_open(rows):
    model = quiet(mm.lmer, "flat ~ x + (1 + x + z | g)", rows)
    lines = section(model, "Random effects")
    table = model.varcorr()
    for line, variance in zip(lines[1:4], table.variance, strict=False):
        assert ("(boundary)" in line) == (variance < 1e-10 * table.variance.iloc[-1])


def test_redundant_random_column(rows):
    data = rows.assign(twice=2 * rows.x + 1)
    model = quiet(mm.lmer, "y ~ x + (x + twice | g)", data)
    assert "0 (redundant)" in "\n".join(section(model, "Random effects"))


def test_dropped_columns(rows):
    data = rows.assign(twice=2 * rows.x, sum=rows.x + rows.z)
    model = quiet(mm.lmer, "y ~ x + z + twice + sum + (1 | g)", data)
    assert section(model, "Dropped columns") == ["twice = 2*x", "sum = x + z"]
    assert "twice" not in "\n".join(section(model, "Fixed effects"))


def test_no_fixed_effects(piglets):
    assert section(mm.lmer("BW ~ 0 + (1 | animal)", piglets), "Fixed effects") == ["none"]


def test_missing_rows_weights_and_offset(rows):
    data = rows.copy()
    data.loc[[1, 3, 4], "y"] = np.nan
    data.loc[[7], "x"] = np.nan
    model = quiet(mm.lmer, "y ~ x + offset(z) + (1 | g)", data, weights="w")
    text = str(model.summary())
    assert "Observations:   92\nLeft out:       4 of 96 rows dropped: missing y 3, x 1\n" in text
    assert "Weights:        column w\nOffset:         z\n" in text
    again = quiet(mm.lmer, "y ~ x + (1 | g)", rows, weights=rows.w.to_numpy())
    assert "Weights:        given as values" in str(again.summary())


def test_scaled_residuals_count_weights(rows):
    model = quiet(mm.lmer, "y ~ x + (1 | g)", rows, weights="w")
    expected = np.quantile(model.residuals("scaled"), (0, 0.25, 0.5, 0.75, 1))
    values = section(model, "Scaled residuals")[1].split()
    assert [float(v) for v in values] == pytest.approx(expected, abs=6e-4)


def test_exact_fit(rows):
    model = quiet(mm.lm, "y ~ x", rows.assign(y=1 + 2 * rows.x))
    assert str(model.summary())
    mixed = quiet(mm.lmer, "y ~ x + (1 | g)", rows.assign(y=1 + 2 * rows.x))
    assert "0 (boundary)" in str(mixed.summary())


@pytest.mark.parametrize("unit", [1e12, 1e-9])
def test_units(slopes, piglets, unit):
    model = mm.lmer("BW ~ time + (time | animal)", piglets.assign(BW=piglets.BW * unit))
    check_bounds(model)
    one, other = section(slopes, "Fixed effects"), section(model, "Fixed effects")
    assert [line.split()[-1] for line in one] == [line.split()[-1] for line in other]
    assert f"{7.3602 * unit:.4e}" in other[1]


def test_many_coefficients(rows):
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"y": rng.normal(size=300), "g": np.arange(300) % 10})
    data["f"] = [f"level {i % 75}" for i in range(300)]
    model = quiet(mm.lmer, "y ~ f + (1 | g)", data)
    lines = section(model, "Fixed effects")
    assert len(lines) == 52
    assert lines[-1] == "25 more coefficients: m.tidy()"
    assert section(model, "Correlation") is None
    check_bounds(model)


def test_many_random_columns():
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"y": rng.normal(size=900), "g": np.arange(900) % 30})
    data["f"] = [f"f{i}" for i in rng.integers(0, 9, 900)]
    model = quiet(mm.lmer, "y ~ 1 + (f | g)", data)
    lines = section(model, "Random effects")
    assert lines[-2].startswith("Residual")
    assert lines[-1] == "further correlations: m.varcorr()"
    check_bounds(model)


# ---------------------------------------------------------------- hostile names

LEVELS = [
    "<script>alert('x')</script>",
    "new\nline\tand\x1b[31m colour",
    "\u202eright to left",
    "日本語" * 30_000,
    "\u0301" * 100_000,
    "q" * 100_000,
    "lone \ud800 surrogate",
]


@pytest.fixture(scope="module")
def hostile(rows):
    data = {name: rows[name].to_numpy() for name in ("x", "y")}
    data["a" * 100_000] = rows.z.to_numpy()
    data["k" * 100_000] = rows.g.to_numpy()
    data["f"] = np.array([LEVELS[i % 6] for i in range(96)], dtype=object)
    formula = f"y ~ {'a' * 100_000} + f + (1 | {'k' * 100_000})"
    return quiet(mm.lmer, formula, data)


def test_hostile_names(hostile):
    check_bounds(hostile)
    text = str(hostile.summary())
    assert "aaa…aaa" in text
    assert re.search("[日本語]…[日本語]", text)
    assert r"\u202e" in text
    header, *body = section(hostile, "Fixed effects")
    end = width(header)
    assert all(width(line) == end for line in body), "numbers do not line up"


@pytest.mark.parametrize("level", LEVELS)
def test_clean_leaves_one_printable_line(level):
    assert clean(level).replace("\u200c", "").isprintable()
    assert width(shorten(level, 20)) <= 20
    assert len(shorten(level, 20)) <= 20


class Tags(HTMLParser):
    """Collects tags, checks that they nest, and collects the text outside <style>."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def parsed(page):
    parser = Tags()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_html(slopes):
    page = slopes._repr_html_()
    assert page == slopes.summary()._repr_html_()
    found = parsed(page)
    assert {"table", "caption", "thead", "tbody", "th", "td"} <= found.seen
    text = "".join(found.text)
    for part in ("Linear mixed model fit by REML", "0.27771", "0.0090921", "893.55", "Residual"):
        assert part in text
    assert slopes.convergence.message in text


def test_html_is_escaped(rows):
    data = rows.assign(f=["<img src=x onerror=alert(1)>", "\"&'", "$a$"] * 32)
    data = data.rename(columns={"x": "<b>x"})
    page = quiet(mm.lmer, "y ~ `<b>x` + f + (1 | g)", data)._repr_html_()
    found = parsed(page)
    assert not found.seen & {"img", "script", "b"}
    assert "f[T.<img src=x onerror=alert(1)>]" in "".join(found.text)
    assert "<b>x" in "".join(found.text)
    assert "mathjax_ignore" in page


def test_html_of_hostile_levels(hostile):
    found = parsed(hostile._repr_html_())
    assert not found.seen & {"script"}


def test_summary_is_fixed(slopes):
    with pytest.raises((AttributeError, TypeError)):
        Summary(slopes).fit = None


# ---------------------------------------------------------------- layout


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1.0000"),
        (9999.94, "9999.9"),
        (9999.96, "10000"),
        (12345.678, "12346"),
        (9_999_999.0, "9999999"),
        (1e7, "1.0000e+07"),
        (1e12, "1.0000e+12"),
        (-1.5e-9, "-1.5000e-09"),
        (1.2345e-4, "0.00012345"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_fixed_and_p():
    assert fixed(-0.0001, 3) == "0.000"
    assert fixed(-12.3456, 2) == "-12.35"
    assert fixed(1.5e12, 2) == "1.5000e+12"
    assert fixed(float("nan"), 2) == "nan"
    assert p_value(0.00009) == "<0.0001"
    assert p_value(0.0421) == "0.0421"


def test_align():
    cells = ["1.25", "-10.5", "0 (boundary)", "", "nan", "1.0000e+12", "<0.0001"]
    aligned = align(cells)
    assert len(set(map(len, aligned))) == 1
    assert [a.strip() for a in aligned] == cells
    assert len({a.index(".") for a, c in zip(aligned, cells, strict=True) if "." in c}) == 1


def test_shorten():
    assert shorten("short", 5) == "short"
    assert shorten("longer", 5) == "lo…er"
    assert shorten_words(f"y ~ {'x' * 100}", 11) == "y ~ xxxxx…xxxxx"
    assert len(shorten_words("word " * 1000)) == 600


def test_a_wide_table_shrinks_its_names():
    table = Table("T", ("a", "b", *"123456"), (("n" * 90, "m" * 90, *["0.123456"] * 6),), 2)
    lines = block_text(table).splitlines()
    assert max(map(width, lines)) <= LINE
