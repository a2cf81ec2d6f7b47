"""Imports go one way, folder by folder, without a circle between files; torch waits until it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from import_graph import circles, graph, reaches, top_graph
from PIL import Image

from coc_cli.stages import STAGES

PACKAGE = Path(__file__).parents[1] / "coc_cli"
LAYERS = (  # highest first; a folder may import from those below its own, and from itself
    ("", "__main__"),  # the package itself: two functions that import when they are called
    ("cli",),
    ("verbs",),
    ("printing",),
    ("order",),
    ("executors",),
    ("chain",),
    ("profiling",),
    ("runtime",),
    ("exits",),
    ("report",),
    ("recipe",),
    ("stages",),
    ("learning",),
    ("nets", "data"),
    ("pixels",),
    ("dvfs",),
    ("loggers",),
    ("files",),
    ("errors", "units", "frozen", "intervals", "registry", "version"),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
EDGES, AT_THE_TOP = graph(PACKAGE), top_graph(PACKAGE)


def folder(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def test_no_file_imports_itself_by_way_of_others() -> None:
    assert len(EDGES) > 150
    assert circles(EDGES) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_file_imports_from_a_folder_above_or_beside_its_own() -> None:
    seen = [(module, other) for module, others in EDGES.items() for other in others if folder(module) != folder(other)]
    assert len(seen) > 250
    upward = [f"{module} -> {other}" for module, other in seen if RANK[folder(other)] <= RANK[folder(module)]]
    beside = {f"{a} -> {b}" for a in LAYERS[-1] for b in LAYERS[-1]}  # the ground holds no folders
    assert set(upward) <= beside, upward


def test_no_stage_imports_another() -> None:
    for stage in STAGES:
        assert not EDGES[f"stages.{stage}"] & {f"stages.{other}" for other in STAGES}


def test_the_rest_of_data_knows_no_kind_of_source() -> None:
    kinds = {module for module in EDGES if module.startswith("data.sources")}
    assert len(kinds) > 5
    inner = {module: EDGES[module] & kinds for module in EDGES if folder(module) == "data" and module not in kinds}
    assert not any(inner.values())


WITH_TORCH = (
    "nets",
    "learning",
    "stages",
    "data",
    "chain",
    "exits.collect_traces",
    "exits.predict_exit",
    "exits.predictor_fitting",
    "exits.examples",
    "exits.apply",
    "profiling",
    "printing",
    "order",
    "runtime.export",
    "runtime.interpreter",
    "runtime.writers.tflite_model",
    "runtime.lowering",
    "runtime.folding",
    "runtime.patterns",
    "runtime.bench",
    "runtime.writers.torch_program",
)
WITHOUT_TORCH = (
    "cli",
    "recipe.reading",
    "chain.compress",
    "chain.cache_entries",
    "nets.checkpoint_header",
    "data.sources",
    "stages",
    "learning.training",
    "printing.profiles",
    "printing.cache",
    "printing.export",
    "printing.bench",
    "runtime.bench_peers",
    "runtime.bench_request",
    "runtime.bench_rounds",
    "runtime.bench_rows",
    "runtime.bench_worker",
    "exits.request",
    "order.request",
    "order.design",
    "order.verdicts",
    "profiling.measure_profile",
)


def test_torch_waits_where_the_user_does() -> None:
    """No module but a few imports torch at its top, nor any that they do not import."""
    heavy = ("torch", "torchvision", "sklearn")
    seen = 0
    for module in AT_THE_TOP:
        may = module.startswith(WITH_TORCH) and module not in WITHOUT_TORCH
        loaded = sorted(name for name in reaches(AT_THE_TOP, module) if name.split(".")[0] in heavy)
        assert may or not loaded, f"{module} loads {loaded}"
        seen += not may
    assert seen > 80


@pytest.mark.parametrize("module", ["recipe.reading", "cli"])
def test_a_recipe_is_checked_without_numpy(module: str) -> None:
    code = f"import sys, coc_cli.{module}; print([name for name in ('numpy', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


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
