"""Arrows go one way: each module imports only from floors below it; heavy libraries load late."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mixedmodels

ROOT = Path(mixedmodels.__file__).parent

# from the ground up; a name stands for a module or for all modules of a folder
FLOORS = [
    ["errors"],
    ["arguments"],
    ["arrays"],
    ["quantiles"],
    ["memory", "threads", "progress"],
    ["kernels"],
    ["formula"],
    ["design"],
    ["model.archive"],
    ["engines"],
    ["model.rows"],
    ["moments"],
    ["likelihood"],
    ["optimize"],
    ["optimize_batch"],
    ["model.record"],
    ["inference.parameters", "model.estimable"],
    ["model.predict", "model.predict_table", "inference.satterthwaite"],
    ["inference.kenward_roger"],
    ["model.frames"],
    ["model.search"],
    ["model.fit"],
    ["output"],
    ["inference.joint", "inference.points"],
    ["inference.replicates"],
    ["inference.bootstrap", "inference.convergence", "inference.pca"],
    ["model.fitted"],
    ["model.storage_design"],
    ["model.storage_rows"],
    ["model.storage"],
    ["inference"],
    ["output.tab_model"],
    ["explore"],
    ["plot"],
    ["reporting"],
    ["datasets"],
    ["demo"],
    ["cli"],
    ["__main__"],
]
FLOOR = {name: i for i, floor in enumerate(FLOORS) for name in floor}
MODULES = sorted(p for p in ROOT.rglob("*.py") if p.name != "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def floor_of(module: str) -> int:
    for name in (module, module.split(".")[0]):
        if name in FLOOR:
            return FLOOR[name]
    raise AssertionError(f"{module} has no floor: add it to FLOORS")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mixedmodels."):
            module = node.module.removeprefix("mixedmodels.")
            if (ROOT / module).is_dir():
                found |= {f"{module}.{alias.name}" for alias in node.names}
            else:
                found.add(module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path: Path) -> None:
    own = name_of(path)
    for other in imports(path):
        same_folder = own.split(".")[0] == other.split(".")[0]
        assert floor_of(other) < floor_of(own) or (
            same_folder and floor_of(other) == floor_of(own)
        ), f"{own} imports {other}"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=name_of)
def test_every_file_states_its_charter(path: Path) -> None:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert doc
    assert len(doc.splitlines()[0]) <= 100


def test_a_first_fit_loads_nothing_heavy() -> None:
    code = (
        "import sys, mixedmodels as mm\n"
        "m = mm.lmer('BW ~ time + (time | animal)', mm.datasets.load('piglets'))\n"
        "str(m.summary())\n"
        "heavy = {'matplotlib', 'plotnine', 'sklearn', 'numba', 'polars', 'duckdb', 'scipy.stats',"
        " 'scipy.special',"
        " 'scipy.optimize', 'scipy.interpolate', 'great_tables'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
