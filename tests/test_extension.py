"""The extension law: a new stage, policy, governor, source or limit is one file and one line, and then everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from extensions import EXTENSIONS, extended_copy

ROOT = Path(__file__).parents[1]
RECIPE = """\
name: extended
device: cpu
data: {source: stripes}
model: {arch: cifar:resnet20, depth: 8, width: 4, train: {epochs: 3, batch: 32, lr: 1e-2}}
chain:
  - wobble: {epochs: 1, batch: 32}
  - early_exit: {every: block, epochs: 2, batch: 32, lr: 1e-2, max_drop: 0.1}
limits: {max_params: 10}
logger: diary
"""
TOYS = ("wobble", "hasty", "summit", "stripes", "max_params", "diary")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with one file and one line more for each toy."""
    folder = tmp_path_factory.mktemp("extended")
    extended_copy(ROOT, folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(arguments if arguments[0].endswith(".py") else ("-m", "coc_cli", *arguments))]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_each_toy_is_one_file_and_one_line(project: Path) -> None:
    changed = subprocess.run(
        ["diff", "-rq", str(ROOT / "coc_cli"), str(project / "coc_cli"), "-x", "__pycache__"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.splitlines()
    assert len([line for line in changed if line.startswith("Only in")]) == len(EXTENSIONS)
    differ = [line.split()[1] for line in changed if line.startswith("Files")]
    assert len(differ) == len(EXTENSIONS)
    for path in differ:
        before = Path(path).read_text().splitlines()
        after = (project / Path(path).relative_to(ROOT)).read_text().splitlines()
        assert len(after) == len(before) + 1


@pytest.mark.full
def test_the_schema_and_the_docs_know_it(project: Path) -> None:
    schema = json.loads(run(project, "schema").stdout)
    assert "wobble" in schema["$defs"]["Link"]["properties"]
    assert schema["$defs"]["Limits"]["properties"]["max_params"]["description"] == "parameters of the result"
    assert "stripes" in schema["$defs"]["DataSettings"]["properties"]["source"]["description"]
    assert run(project, "docs/generate.py").returncode == 0
    written = "".join(path.read_text() for path in (project / "docs").glob("*.md"))
    assert all(toy in written for toy in TOYS)
    assert "images with a bright stripe" in written


@pytest.mark.full
def test_a_run_predict_exit_and_the_report_know_it(project: Path) -> None:
    planned = run(project, "plan", "recipe.yaml")
    assert "1 wobble" in planned.stdout, planned.stderr
    finished = run(project, "compress", "recipe.yaml")
    assert finished.returncode == 3, finished.stderr
    assert "limit max_params 10: " in finished.stdout
    report = json.loads((project / "runs/extended/report.json").read_text())
    assert [stage["name"] for stage in report["stages"]] == ["baseline", "wobble", "early_exit"]
    assert (project / "runs/extended/diary").read_text() == "00-baseline\n01-wobble\n02-early_exit\n"
    assert report["limits"][0]["name"] == "max_params"
    predicted = run(project, "predict-exit", "runs/extended", "--profile", "cortex-m7")
    assert predicted.returncode == 0, predicted.stderr
    rows = json.loads((project / "runs/extended/predict-exit/cortex-m7/predict-exit.json").read_text())["policies"]
    assert {row["family"] for row in rows if row["policy"] == "hasty"} == {"passive"}
    assert {row["policy"] for row in rows if row["governor"] == "summit"} == {row["policy"] for row in rows}
    page = (project / "runs/extended/report.html").read_text()
    assert all(toy in page for toy in TOYS)
    assert "hasty" in predicted.stdout
    for shown in ("terminal", "md"):
        assert "wobble" in run(project, "report", "runs/extended", "--format", shown).stdout
