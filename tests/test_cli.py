"""The command line: what it reads, prints and answers to the shell."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

import mixedmodels as mm
from mixedmodels import errors
from mixedmodels.cli import files, main

FORMULA = "y ~ x + f + (x | g)"


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    n = 160
    table = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "f": rng.choice(["a", "b"], n),
            "n": rng.integers(1, 4, n),
            "g": rng.integers(1, 17, n),
            "w": rng.gamma(3.0, size=n),
        }
    )
    effects = rng.normal(size=(2, 17))
    table["y"] = effects[0][table["g"]] + (1 + effects[1][table["g"]]) * table["x"]
    table["y"] += rng.normal(size=n)
    return table


@pytest.fixture
def csv(tmp_path: Path) -> str:
    path = tmp_path / "data.csv"
    frame().to_csv(path, index=False)
    return str(path)


def fit_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["fit", *arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(captured.out, parse_constant=refuse)


def test_it_prints_the_summary(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", csv, FORMULA]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{mm.lmer(FORMULA, frame()).summary()}\n"
    assert captured.err == ""


def test_json_has_all_numbers(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    model = mm.lmer(FORMULA, frame())
    result = fit_json(capsys, csv, FORMULA)
    assert result["formula"] == FORMULA
    assert result["criterion"] == "REML"
    assert result["n_groups"] == {"g": 16}
    assert result["glance"]["sigma"] == model.sigma
    assert result["glance"]["deviance"] is None
    assert result["glance"]["n_obs"] == 160
    assert [row["term"] for row in result["tidy"]] == ["Intercept", "x", "f[T.b]"]
    assert [row["estimate"] for row in result["tidy"]] == model.beta.tolist()
    assert [row["sd"] for row in result["varcorr"]] == model.varcorr()["sd"].tolist()
    assert result["varcorr"][0]["corr_Intercept"] is None
    assert result["convergence"]["converged"] is True
    assert result["convergence"]["verdict"] == "optimum"


def test_options_reach_the_fit(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    formula = "y ~ x + f + n + (1 | g)"
    result = fit_json(
        capsys, csv, formula, "--ml", "--weights", "w", "--offset", "x",
        "--group-as-factor", "n", "g", "--contrasts", "f=sum", "n=helmert",
    )  # fmt: skip
    data = frame().astype({"n": "category", "g": "category"})
    contrasts = {"f": "sum", "n": "helmert"}
    model = mm.lmer(formula, data, reml=False, weights="w", offset="x", contrasts=contrasts)
    assert result["criterion"] == "ML"
    assert result["glance"]["deviance"] == model.deviance
    assert [row["term"] for row in result["tidy"]] == model.term_names
    assert [row["estimate"] for row in result["tidy"]] == model.beta.tolist()


def test_without_random_terms_it_is_least_squares(
    csv: str, capsys: pytest.CaptureFixture[str]
) -> None:
    result = fit_json(capsys, csv, "y ~ x")
    assert result["criterion"] == "least squares"
    assert result["tidy"][1]["p_value"] == mm.lm("y ~ x", frame()).tidy()["p_value"][1]


def test_output_goes_to_a_file(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = Path(csv).with_name("out.txt")
    assert main(["fit", csv, FORMULA, "--output", str(target)]) == 0
    assert capsys.readouterr().out == ""
    assert target.read_text("utf-8") == f"{mm.lmer(FORMULA, frame()).summary()}\n"
    assert main(["fit", csv, FORMULA, "--output", str(target.parent / "no" / "x")]) == 1
    assert "No such file or directory: " in capsys.readouterr().err


# --- files --------------------------------------------------------------------------------------


def write_stream(table: pd.DataFrame, path: Path) -> None:
    arrow = pa.Table.from_pandas(table)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, arrow.schema) as writer:
        writer.write_table(arrow)


WRITERS = {
    "a.CSV": lambda table, path: table.to_csv(path, index=False),
    "a.b.csv.gz": lambda table, path: path.write_bytes(
        gzip.compress(table.to_csv(index=False).encode())
    ),
    "bom.csv": lambda table, path: table[["y", *table.columns[:-1]]].to_csv(
        path, index=False, encoding="utf-8-sig"
    ),
    "a.tsv": lambda table, path: table.to_csv(path, index=False, sep="\t"),
    "a.parquet": lambda table, path: parquet.write_table(pa.Table.from_pandas(table), path),
    "a.feather": lambda table, path: feather.write_feather(table, path),
    "a.arrow": lambda table, path: feather.write_feather(table, path, compression="uncompressed"),
    "a.arrows": write_stream,
    "a.xlsx": lambda table, path: table.to_excel(path, index=False),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    WRITERS[name](frame(), tmp_path / name)
    formula = "y ~ x + n + (x | g)"
    result = fit_json(capsys, str(tmp_path / name), formula, "--group-as-factor", "n")
    model = mm.lmer(formula, frame().astype({"n": "category"}))
    assert [row["term"] for row in result["tidy"]] == ["Intercept", "x", "n[T.2]", "n[T.3]"]
    np.testing.assert_allclose(
        [row["estimate"] for row in result["tidy"]], model.beta, rtol=1e-9, atol=1e-12
    )


def test_na_and_empty_cells_are_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = frame().astype({"x": str, "f": str})
    table.loc[3, "x"] = "NA"
    table.loc[7, "x"] = ""
    table.loc[9, "f"] = "NA"
    table.to_csv(tmp_path / "a.csv", index=False)
    result = fit_json(capsys, str(tmp_path / "a.csv"), FORMULA)
    assert result["glance"]["n_obs"] == 157
    assert result["glance"]["n_dropped"] == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "cannot be read as CSV"),
        ("a.csv", b"x,y\n1,2\n1,2,3,4\n", "cannot be read as CSV"),
        ("a.csv", b"x,y\n\xff\xfe,2\n", "is not UTF-8 text"),
        ("a.csv.gz", b"x,y\n1,2\n", "cannot be read as CSV"),
        ("a.parquet", b"x,y\n1,2\n", "cannot be read as Parquet"),
        ("a.arrow", b"x,y\n1,2\n", "cannot be read as Arrow"),
        ("a.feather", b"", "cannot be read as Arrow"),
        ("a.xlsx", b"x,y\n1,2\n", "cannot be read as Excel"),
        ("a.sav", b"x", "the name's ending does not say"),
        ("data", b"x", "the name's ending does not say"),
        ("a.csv", b"x,y\n1,2\n", "has no column 'g'"),
    ],
)
def test_bad_files_are_named_without_a_traceback(
    name: str, content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["fit", str(tmp_path / name), "y ~ x + (1 | g)"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("mixedmodels: error: ")
    assert message in captured.err
    assert "has no column" in message or name in captured.err
    assert "Traceback" not in captured.err


def test_no_such_file_and_a_directory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", str(tmp_path / "none.csv"), FORMULA]) == 1
    assert capsys.readouterr().err == (
        f"mixedmodels: error: no such file: '{tmp_path / 'none.csv'}'\n"
    )
    assert main(["fit", str(tmp_path), FORMULA]) == 1
    assert "is a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [("a.xlsx", "openpyxl", "excel"), ("a.parquet", "pyarrow", "arrow")],
)
def test_a_library_that_is_not_installed_is_named(
    name: str,
    library: str,
    extra: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def absent(wanted: str, group: str) -> None:
        raise errors.MissingDependencyError(f"{wanted}: pip install 'mixedmodels[{group}]'")

    monkeypatch.setattr(files, "require", absent)
    WRITERS[name](frame(), tmp_path / name)
    assert main(["fit", str(tmp_path / name), FORMULA]) == 1
    assert f"{library}: pip install 'mixedmodels[{extra}]'" in capsys.readouterr().err


# --- words and exit codes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["y ~ x + (1 | "], "^"),
        (["y ~ system('ls') + (1 | g)"], "unknown function system()"),
        (["y ~ xx + (1 | g)"], "did you mean 'x'?"),
        (["y ~ x + (1 | f)", "--weights", "ww"], "has no column 'ww'"),
        (["y ~ x + (1 | g)", "--group-as-factor", "gg"], "has no column 'gg'"),
        (["y ~ f + (1 | g)", "--contrasts", "f=odd"], "'odd' is not known"),
    ],
)
def test_errors_of_data_and_formula(
    arguments: list[str], message: str, csv: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", csv, *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fot"],
        ["fit"],
        ["fit", "a.csv"],
        ["fit", "a.csv", "y ~ x", "--reml"],
        ["fit", "a.csv", "y ~ x", "--contrasts", "sum"],
        ["fit", "a.csv", "y ~ x", "--weights"],
    ],
)
def test_misuse_answers_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "usage: mixedmodels" in capsys.readouterr().err


def test_help_shows_an_example_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert 'mixedmodels fit piglets.csv "BW ~' in capsys.readouterr().out
    assert main(["fit", "--help"]) == 0
    assert "--group-as-factor COL [COL ...]" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mixedmodels {mm.__version__}\n"


def test_a_warning_is_one_line(csv: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", csv, "y ~ x + (1 + x + I(2 * x) | g)", "--json"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("warning: ") for line in lines)
    assert not any("cli.py" in line for line in lines)


def environment() -> dict[str, str]:
    source = str(Path(mm.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": source, "PYTHONIOENCODING": "ascii"}


def test_as_a_process_of_its_own(csv: str) -> None:
    command = [sys.executable, "-m", "mixedmodels", "fit", csv]
    done = subprocess.run(
        [*command, FORMULA], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "REML" in done.stdout
    failed = subprocess.run(
        [*command, "y ~ q + (1 | g)"], capture_output=True, text=True, env=environment(),
        check=False,
    )  # fmt: skip
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="pipes of another kind")
def test_a_reader_that_leaves_early_is_no_error(csv: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "mixedmodels", "fit", csv, FORMULA],
            stdout=writing, stderr=subprocess.PIPE, text=True, env=environment(), check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_help_loads_no_numerical_library() -> None:
    code = (
        "import sys; from mixedmodels.cli import main; main(['fit', '--help']); "
        "main(['--version']); "
        "sys.exit(any(name in sys.modules for name in ('numpy', 'pandas', 'scipy', 'narwhals')))"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True, capture_output=True)
