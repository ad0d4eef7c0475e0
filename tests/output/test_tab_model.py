"""mm.tab_model: cells against the models, every form of the table."""

from __future__ import annotations

import re

import polars as pl
import pytest

import mixedmodels as mm
from mixedmodels.output.tab_model import LATEX, figure


@pytest.fixture(scope="module")
def models():
    data = mm.datasets.load("piglets")
    return {
        "growth": mm.lmer("BW ~ time + (1 | animal)", data, reml=False),
        "slopes": mm.lmer("BW ~ time + I(time^2) + treatm + (time | animal)", data, reml=False),
        "linear": mm.lm("BW ~ time", data),
    }


def cells(table, label):
    return next(row.cells for row in table.rows if row.label == label)


def test_cells_are_the_models_figures(models):
    table = mm.tab_model(models)
    tidy = models["growth"].tidy().set_index("term").loc["time"]
    limits = f"{tidy['conf_low']:.3f} to {tidy['conf_high']:.3f}"
    assert cells(table, "time")[0] == (f"{tidy['estimate']:.3f}", limits, "<0.001")
    assert cells(table, "I(time^2)")[0] == ("", "", "")
    # the article's models: AICc 960.9260 and 845.2731
    assert [cell[0] for cell in cells(table, "AICc")][:2] == ["960.93", "845.27"]
    assert [cell[0] for cell in cells(table, "N animal")] == ["75", "75", ""]
    variances = models["slopes"].varcorr()["variance"]
    assert cells(table, "τ₀₀ animal")[1][0] == figure(variances[0], 3)
    assert cells(table, "τ₁₁ animal.time")[1][0] == figure(variances[1], 3)
    assert cells(table, "σ²")[1][0] == figure(variances[2], 3)
    assert cells(table, "ICC")[0][0] == figure(mm.icc(models["growth"]).icc_adjusted, 3)
    assert cells(table, "Marginal R²")[1][0] == figure(mm.r2(models["slopes"]).r2_marginal, 3)
    assert cells(table, "R²")[2][0] == figure(mm.r2(models["linear"]).r2, 3)


def test_rows_stand_in_the_order_of_the_literature(models):
    table = mm.tab_model(models)
    labels = [row.label for row in table.rows if row.section == "Random effects"]
    assert labels == ["σ²", "τ₀₀ animal", "τ₁₁ animal.time", "ρ₀₁ animal.time", "ICC", "N animal"]


def test_text_fits_a_terminal(models):
    text = str(mm.tab_model(models))
    assert max(map(len, text.splitlines())) <= 80
    assert "treatm[T.2]" in text
    assert "3 models side by side" in text


def test_models_without_names_are_numbered(models):
    table = mm.tab_model(*models.values())
    assert table.names == ("(1)", "(2)", "(3)")
    assert "(1) BW ~ time + (1 | animal); (2) BW ~ time" in table.note
    assert max(map(len, str(table).splitlines())) <= 80
    assert mm.tab_model(models["growth"]).names == ("(1)",)


def test_labels_names_stars_and_digits(models):
    table = mm.tab_model(
        models["growth"],
        models["linear"],
        names=["A", "B"],
        labels={"time": "Day", "animal": "Piglet"},
        stars=True,
        digits=2,
    )
    assert table.names == ("A", "B")
    assert cells(table, "Day")[0][2] == "***"
    assert cells(table, "N Piglet")[0][0] == "75"
    assert cells(table, "Day")[0][0] == "0.28"
    assert "*** p < 0.001" in str(table)


def test_forms(models, tmp_path):
    table = mm.tab_model(models)
    html = table.to_html("Growth")
    assert "<table" in html
    assert "style=" in html
    assert "http" not in html.replace("http-equiv", "")
    latex = table.to_latex()
    assert r"\tau_{00}" in latex
    assert "₀" not in latex
    markdown = table.to_markdown()
    assert len({line.count("|") for line in markdown.splitlines() if line}) == 1
    for ending in ("html", "tex", "md", "txt"):
        table.save(tmp_path / f"table.{ending}")
        assert (tmp_path / f"table.{ending}").stat().st_size > 500
    with pytest.raises(mm.ModelError, match="a table is written as"):
        table.save(tmp_path / "table.doc")
    assert "<table" in table._repr_html_()


def test_hostile_names_are_text():
    data = mm.datasets.load("piglets").rename(columns={"time": "<b>|x"})
    table = mm.tab_model({"<script>": mm.lmer("BW ~ `<b>|x` + (1 | animal)", data)})
    assert "<script>" not in table.to_html()
    assert "<script>" not in table._repr_html_()
    line = next(line for line in table.to_markdown().splitlines() if "b>" in line)
    assert "<b>" not in line
    assert line.replace("\\|", "").count("|") == 5


def test_special_characters_of_each_form_are_text():
    name, group = "a_b^c%$#&{}~\\d*[x](y) &amp; a\u202eb", "p_q $x"
    data = mm.datasets.load("piglets").rename(columns={"time": name, "animal": group})
    table = mm.tab_model({"50% $m$": mm.lmer(f"BW ~ `{name}` + (1 | `{group}`)", data)})
    latex = table.to_latex("T_1 & 5%")
    assert "\u202e" not in latex
    for symbol in LATEX.values():  # our own mathematics
        latex = latex.replace(symbol, "")
    bare = re.sub(r"\\[%$#&_{}]|\\text\w+", "", latex)
    assert not re.search(r"[%$#_~^]", bare)
    rows = [line for line in bare.splitlines() if line.endswith("\\\\") and "{4}{l}" not in line]
    assert {line.count("&") for line in rows} <= {1, 3}
    line = next(line for line in table.to_markdown().splitlines() if line.startswith("| a_b"))
    assert line.startswith(r"| a_b^c%\$#&amp;{}~\\d\*[x\](y) &amp;amp; a\\u202eb |")
    assert "\u202e" not in table.to_html()


def test_a_saved_page_says_its_language_and_encoding(models, tmp_path):
    path = tmp_path / "table.html"
    mm.tab_model(models).save(path, "Growth <1>")
    text = path.read_text("utf-8")
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert '<meta charset="utf-8">' in text
    assert "<title>Growth &lt;1&gt;</title>" in text


def test_frame_is_the_users():
    data = pl.from_pandas(mm.datasets.load("piglets"))
    frame = mm.tab_model(mm.lmer("BW ~ time + (1 | animal)", data)).frame()
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns[:2] == ["section", "term"]


def test_mistakes(models):
    with pytest.raises(mm.ModelError, match="got 1 names for 3 models"):
        mm.tab_model(models, names=["a"])
    with pytest.raises(mm.ModelError, match="labels names 'tine', which no model has"):
        mm.tab_model(models, labels={"tine": "Day"})
    with pytest.raises(mm.ModelError, match=r"ddf must be .* not 'exact'"):
        mm.tab_model(models, ddf="exact")
    with pytest.raises(mm.ModelError, match="digits"):
        mm.tab_model(models, digits=0)
    with pytest.raises(TypeError):
        mm.tab_model("model")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0056418, 3, "0.00564"),
        (7.6, 3, "7.60"),
        (-1234.5, 3, "-1234"),
        (1.5e-9, 2, "1.5e-09"),
        (2e8, 3, "2.00e+08"),
        (0.0, 3, "0"),
        (float("nan"), 3, ""),
        (float("inf"), 3, "inf"),
    ],
)
def test_figures(value, digits, text):
    assert figure(value, digits) == text
