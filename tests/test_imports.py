"""Imports go one way: a module may only import from layers below its own, and --help pulls in no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

PACKAGE = Path(__file__).parent.parent / "coc_cli"
LAYERS = [
    {"__main__"},
    {"cli"},
    {"tables"},
    {"run"},
    {"predict_exit", "measure_profile"},
    {"report"},
    {"result"},
    {"plan"},
    {"recipe"},
    {"stages"},
    {"progress"},
    {"thresholds", "exits"},
    {"measure", "training", "timing"},
    {"tasks"},
    {"foreign"},
    {"dvfs"},
    {"checkpoint", "losses", "yaml_source"},
    {"nets", "data"},
    {"errors", "units", "report.schema"},
]
# `coc_cli` itself holds the version and two functions that import when they are called.
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def layer(parts: Sequence[str]) -> str:
    """Return the layer of a module: files that writers and readers share lie below both."""
    return "report.schema" if tuple(parts[:2]) == ("report", "schema") else parts[0]


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("coc_cli."):
            found.add(layer(str(node.module).split(".")[1:]))
        elif isinstance(node, ast.Import):
            found |= {layer(name.name.split(".")[1:]) for name in node.names if name.name.startswith("coc_cli.")}
    return found


def test_no_module_imports_upward() -> None:
    seen = 0
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "__init__.py":
            continue
        mine = layer(path.relative_to(PACKAGE).with_suffix("").parts)
        upward = {name for name in imports(path) if RANK[name] < RANK[mine]}
        beside = {name for name in imports(path) if RANK[name] == RANK[mine] and name != mine}
        assert not upward, f"{path.name} imports upward: {upward}"
        assert beside <= {"checkpoint", "measure", "data", "nets"}, f"{path.name}: {beside}"
        seen += 1
    assert seen > 25


def test_torch_is_imported_late_where_the_user_waits() -> None:
    for name in (
        "cli",
        "recipe",
        "plan",
        "run",
        "tables",
        "progress",
        "training",
        "measure",
        "measure_profile",
        "timing",
        "checkpoint",
        "units",
        *[path.relative_to(PACKAGE).with_suffix("").as_posix() for path in (PACKAGE / "report").rglob("*.py")],
        "foreign",
        "errors",
    ):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text())
        top = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = [a.name for n in top if isinstance(n, ast.Import) for a in n.names]
        names += [n.module or "" for n in top if isinstance(n, ast.ImportFrom)]
        assert not any(n.split(".")[0] in ("torch", "torchvision", "sklearn") for n in names), name


def test_a_folder_is_described_without_torch(tmp_path: Path) -> None:
    for index in range(40):
        path = tmp_path / f"{index % 2}" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("L", (4, 3)).save(path)
    code = (
        "import sys; from coc_cli.data.source import DataSettings\n"
        f"info = DataSettings(source='folder:{tmp_path}').describe()\n"
        "print(info.shape, info.validation_images, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 3, 4) 3 False\n"
