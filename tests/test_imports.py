"""Imports go one way: a module may only import from layers below its own, and --help pulls in no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Sequence
from graphlib import TopologicalSorter
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

DATA = sorted((PACKAGE / "data").rglob("*.py"))
WITH_TORCH = ("images", "reading")  # of data


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


class AtRuntime(ast.NodeTransformer):
    """Leave out `if TYPE_CHECKING:`."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)


def data_imports(path: Path) -> set[str]:
    """Return the modules of data that a module imports at run time, at its top or inside functions."""
    found = set()
    for node in ast.walk(AtRuntime().visit(ast.parse(path.read_text()))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("coc_cli.data"):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_module_of_data_imports_itself_by_way_of_others() -> None:
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): data_imports(path)
        for path in DATA
    }
    graph = {name: names & modules.keys() for name, names in modules.items()}
    assert sum(map(len, graph.values())) > 25
    TopologicalSorter(graph).prepare()  # raises CycleError that names the circle
    kinds = {name for name in graph if name.startswith("coc_cli.data.sources")}
    inner = {name: graph[name] & kinds for name in graph.keys() - kinds}
    assert not any(inner.values()), "the rest of data knows no kind of source"


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
        *[f"data/{path.relative_to(PACKAGE / 'data').with_suffix('')}" for path in DATA if path.stem not in WITH_TORCH],
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
        "import sys; from coc_cli.data import sources; from coc_cli.data.settings import DataSettings\n"
        f"info = sources.describe(DataSettings(source='folder:{tmp_path}'))\n"
        "print(info.shape, info.validation_images, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 3, 4) 3 False\n"


def test_a_recipe_is_checked_without_numpy() -> None:
    code = "import sys, coc_cli.recipe; print([name for name in ('numpy', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
