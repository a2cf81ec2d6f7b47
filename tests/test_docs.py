"""Documents: generated parts are fresh, links lead somewhere, commands exist, and every block runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from coc_cli.chain.plan import make_plan
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources import SOURCES
from coc_cli.data.sources.digits import Digits
from coc_cli.dvfs.governors import GOVERNORS
from coc_cli.errors import ExitCode
from coc_cli.exits.policies import POLICIES
from coc_cli.loggers import LOGGERS
from coc_cli.recipe.limits import LIMITS
from coc_cli.recipe.model import Recipe
from coc_cli.recipe.reading import read
from coc_cli.stages import STAGES

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"^```(python|yaml|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")


def blocks(name: str) -> list[tuple[str, str]]:
    """The blocks of a document that can be run, each with its language."""
    return BLOCK.findall((ROOT / name).read_text())


def kinds(name: str) -> list[str]:
    return [kind for kind, _ in blocks(name)]


def load_module(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate() -> types.ModuleType:
    return load_module(ROOT / "docs/generate.py")


def test_generated_parts_are_fresh(generate: types.ModuleType) -> None:
    assert not generate.stale(), "run python docs/generate.py"


def test_every_part_stands_in_a_document_and_is_closed(generate: types.ModuleType) -> None:
    texts = [path.read_text() for path in DOCUMENTS]
    named = [name for text in texts for _, name, _ in generate.PART.findall(text)]
    assert sorted(set(named)) == sorted(generate.PARTS)
    opened = sum(len(re.findall("^<!-- generated: ", text, re.MULTILINE)) for text in texts)
    assert opened == sum(len(re.findall("^<!-- end -->$", text, re.MULTILINE)) for text in texts) == len(named)


def test_all_that_is_registered_is_documented() -> None:
    recipes, data, exits = ((ROOT / f"docs/{name}.md").read_text() for name in ("recipes", "data", "predictive-exit"))
    for name, stage in STAGES.items():
        assert f"### `{name}`" in recipes
        assert all(f"| `{key}` |" in recipes for key in stage.model_fields)
    assert all(
        f"| `{key}` |" in recipes for key in (*Recipe.model_fields, *DataSettings.model_fields, *LIMITS, *LOGGERS)
    )
    assert all(f"| `{name}" in data for name in SOURCES)
    assert all(f"| `{name}` |" in exits for name in (*POLICIES, *(governor.name for governor in GOVERNORS)))


def test_what_is_registered_anew_appears_by_itself(generate: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    class Puzzle(Digits):
        summary = "digits in pieces"
        takes = ("size", "root")

    class Shrink(STAGES["prune"]):
        """Make everything smaller."""

        pieces: int = 3

    monkeypatch.setitem(SOURCES, "puzzle", Puzzle())
    monkeypatch.setitem(STAGES, "shrink", Shrink)
    monkeypatch.setitem(LIMITS, "max_pieces", LIMITS["max_bytes"])
    monkeypatch.setitem(POLICIES, "guess", POLICIES["patience"])
    assert "| `puzzle` | digits in pieces | `root` |" in generate.PARTS["sources"]()
    assert "(`torchvision`, `puzzle` only) |" in generate.PARTS["data"]()
    shown = generate.PARTS["stages"]()
    assert "### `shrink`" in shown
    assert "Make everything smaller." in shown
    assert "| `pieces` | whole number | `3` |  |" in shown
    assert "`max_pieces` | whole number (more than 0, at most 1e+15) |" in generate.PARTS["limits"]()
    assert "| `guess` | passive |" in generate.PARTS["policies"]()


@pytest.mark.full
def test_the_generator_works_in_a_copy_and_names_what_is_stale(tmp_path: Path) -> None:
    for name in ("docs", "coc_cli", "benchmarks"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
    recipes = tmp_path / "docs/recipes.md"
    fresh = recipes.read_text()
    recipes.write_text(fresh.replace("| `ratio` |", "| `quota` |"))
    command = [sys.executable, str(tmp_path / "docs/generate.py")]
    checked = subprocess.run([*command, "--check"], cwd="/", capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (1, "docs/recipes.md: stale; run python docs/generate.py\n")
    written = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert written.stdout == "docs/recipes.md: written\n"
    assert recipes.read_text() == fresh


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere() -> None:
    seen = 0
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            assert "://" not in target, f"{path.name}: {target} needs a network"
            name, _, anchor = target.partition("#")
            other = path.parent / name if name else path
            assert other.exists(), f"{path.name}: {target}"
            assert not anchor or anchor in anchors(other.read_text()), f"{path.name}: {target}"
            seen += 1
    assert seen > 40


def test_commands_and_options_exist(generate: types.ModuleType) -> None:
    known = {
        name: {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for name, command in generate.named_commands()
    }
    names = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    command = re.compile(rf"(?:^|[`\s(/])({names})(?![\w-])((?:[^`\n\\]|\\\n)*)")
    options = 0
    for path in DOCUMENTS:
        text = generate.PART.sub("", path.read_text())
        for name, rest in command.findall(text):
            given = re.findall(r"(?<![\w-])--[a-z][a-z-]*", re.split(r"[;#|)]| \d*>", rest.replace("[--", "--"))[0])
            assert set(given) <= known[name], f"{path.name}: {name} {rest}"
            options += len(given)
    assert options > 30


def test_every_exit_code_is_named() -> None:
    table = (ROOT / "docs/cli.md").read_text().split("## Exit codes")[1].split("<!--")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == [int(code) for code in ExitCode]


# Which documents have blocks that can be run, and where they are: README's sh blocks by .ci/run, its recipe by
# tests/recipe, those of docs/deploy.md by tests/runtime/test_export.py, the others here.
RUN = {
    "README.md": ["sh", "sh", "yaml"],
    "docs/ci.md": ["yaml", "sh", "sh", "sh", "yaml"],
    "docs/data.md": ["yaml"] * 7,
    "docs/deploy.md": ["sh", "python"],
    "docs/python.md": ["yaml", *["python"] * 7],
    "docs/recipes.md": ["yaml"],
    "docs/your-model.md": ["python", "python", "python", "yaml", "sh", "sh", "python", "sh"],
}


def test_every_block_is_run_somewhere() -> None:
    names = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
    assert {name: kinds(name) for name in names if kinds(name)} == RUN


def test_readmes_commands_come_first() -> None:
    (_, install), (_, tests), _ = blocks("README.md")
    assert install.startswith("python3 -m venv .venv && ")
    assert tests == ".venv/bin/python -m pytest\n"


def test_the_sections_of_data_are_right() -> None:
    for _, text in blocks("docs/data.md"):
        DataSettings.model_validate_json(json.dumps(yaml.safe_load(text)["data"]))


def test_the_recipe_of_recipes_can_be_planned(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(blocks("docs/recipes.md")[0][1])
    assert len(make_plan(read(path)).steps) == 4


@pytest.mark.full
def test_python_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, text in blocks("docs/python.md"):
        if kind == "yaml":
            (tmp_path / FILE.match(text)[1]).write_text(text)
        else:
            exec(compile(text, "docs/python.md", "exec"), names)
    assert names["result"].ok
    assert [stage["name"] for stage in names["result"].report["stages"]] == ["baseline", "quantize", "early_exit"]
    assert len(names["labels"]) == 16


def run_blocks(name: str, folder: Path) -> list[str]:
    """Write the files of a document's blocks into a folder and run the others there; what each printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    printed = []
    for kind, text in blocks(name):
        file = FILE.match(text)
        if file:
            (folder / file[1]).write_text(text)
            continue
        command = [sys.executable, "-c", text] if kind == "python" else ["bash", "-euc", text]
        done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        printed.append(done.stdout)
    return printed


@pytest.mark.full
def test_the_job_keeps_its_report_and_fails_at_a_missed_limit(tmp_path: Path) -> None:
    met, missed = run_blocks("docs/ci.md", tmp_path)
    assert "limit max_drop 0.5: " in met
    assert "limit max_drop -1: " in missed
    kept = {path.name for path in (tmp_path / "artefacts").iterdir()}
    assert kept == {"report.html", "report.json", "model.safetensors", "comment.md", "junit.xml"}
    assert not json.loads((tmp_path / "artefacts/report.json").read_text())["ok"]


def workflow_steps(folder: Path) -> list[tuple[str, str]]:
    """Write docs/ci.md's recipe into a folder; the workflow's steps that a shell runs, but for the install."""
    recipe, *_, workflow = [text for kind, text in blocks("docs/ci.md") if kind == "yaml"]
    (folder / "mine.yaml").write_text(recipe)
    steps = yaml.safe_load(workflow)["jobs"]["compress"]["steps"]
    assert [step["name"] for step in steps if step.get("if", "").startswith(("always()", "${{ always()"))] == [
        "Report",
        "Keep the stages",
        "Keep the result",
    ]
    runs = [(step["name"], step["run"]) for step in steps if "run" in step]
    assert [name for name, _ in runs] == ["Install", "Plan", "Compress", "Report"]
    return runs[1:]


@pytest.mark.full
def test_the_workflow_runs_step_by_step(tmp_path: Path) -> None:
    steps = workflow_steps(tmp_path)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    summary = tmp_path / "summary.md"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(summary)}
    recipe = (tmp_path / "mine.yaml").read_text()
    for max_drop, codes in (("0.5", [0, 0, 0]), ("-1", [0, 3, 0])):
        (tmp_path / "mine.yaml").write_text(recipe.replace("max_drop: 0.5", f"max_drop: {max_drop}"))
        ended = [
            subprocess.run(
                ["bash", "-eo", "pipefail", "-c", text], cwd=tmp_path, env=environment, check=False
            ).returncode
            for _, text in steps
        ]
        assert ended == codes
        assert json.loads((tmp_path / "result.json").read_text())["ok"] is (max_drop == "0.5")
        suite = ET.parse(tmp_path / "junit.xml").getroot()[0]
        assert suite.get("failures") == ("0" if max_drop == "0.5" else "1")
        [case] = suite.findall("testcase[@name='max_drop']")
        assert [one.get("message").startswith("max_drop -1: ") for one in case] == ([] if max_drop == "0.5" else [True])
    assert summary.read_text().count("### coc report: mine: ") == 2
    assert "LIMIT MISSED" in summary.read_text()


@pytest.mark.full
def test_the_walk_from_a_checkpoint_and_a_folder_runs(tmp_path: Path) -> None:
    assert kinds("docs/your-model.md") == ["python", "python", "python", "yaml", "sh", "sh", "python", "sh"]
    printed = run_blocks("docs/your-model.md", tmp_path)
    assert len(printed) == 6, "the network and the recipe are written to files"
    assert "test images by class (row) and answer (column)" in printed[2]
    assert "class 7 at exit" in printed[4]
    assert "early_exit" in printed[5]
    report = json.loads((tmp_path / "runs/mine/report.json").read_text())
    assert report["ok"]
    assert [stage["name"] for stage in report["stages"]] == ["baseline", "distill", "prune", "quantize", "early_exit"]
    assert report["stages"][0]["metric_value"] > 0.95, "the weights are those that were trained, prepared alike"
