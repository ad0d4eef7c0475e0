"""The examples of the page that need an engine of their own: each `pycon` block, run by it."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixedmodels as mm
from tests.engines.tables import SOMETIMES, dask_client, marked, quiet, spark_session

PAGE = Path(__file__).parents[2] / "docs" / "data-that-do-not-fit.md"
BLOCKS = re.findall(r"^```pycon\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.M)
IMPORTS = {"dask": "import dask", "ibis": "import ibis", "spark": "from pyspark"}


def test_every_block_has_its_engine() -> None:
    assert len(BLOCKS) == len(IMPORTS)


@pytest.mark.parametrize("engine", [marked(e) for e in SOMETIMES])
def test_examples(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with quiet():
        {"dask": dask_client, "spark": spark_session}.get(engine, dict)()
    piglets = mm.datasets.load("piglets")
    pl.from_pandas(piglets[:150]).write_parquet("week-1.parquet")
    pl.from_pandas(piglets[150:]).write_parquet("week-2.parquet")
    formula = "BW ~ time + I(time^2) + treatm + (time | animal)"
    names: dict[str, Any] = {"mm": mm, "np": np, "formula": formula}
    names["in_memory"] = mm.lmer(formula, piglets)
    (block,) = (one for one in BLOCKS if IMPORTS[engine] in one)
    # the processes of an engine have folders of their own
    block = block.replace('"week-', f'"{tmp_path.as_posix()}/week-')
    test = doctest.DocTestParser().get_doctest(block, names, engine, PAGE.name, 0)
    said: list[str] = []
    with quiet():
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    assert not said, "".join(said)
