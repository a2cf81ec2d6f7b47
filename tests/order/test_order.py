"""coc order from recipe to order.json: with made-up outcomes, with real chains, killed and resumed, and on Ray."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from coc_cli.chain.measured_orders import departures
from coc_cli.chain.plan import make_plan
from coc_cli.errors import RunError, UserError
from coc_cli.executors.executor import Executor
from coc_cli.files.run_directory import ORDER
from coc_cli.order import experiment, outlook, run_order
from coc_cli.order.experiment import JOURNAL
from coc_cli.order.request import OrderRequest, differing, prepare
from coc_cli.order.work import Outcome
from coc_cli.recipe.reading import read
from coc_cli.report.order_texts import headline
from coc_cli.report.schema.order import OrderReport

RECIPE = """\
name: tiny
seed: 0
precision: float32
data: {source: digits, limit: 120}
model: {arch: cifar:resnet20, width: 4, train: {epochs: 1, batch: 64, lr: 3e-3}}
chain:
  - prune: {ratio: 0.3, epochs: 1}
  - quantize: {weights: 4, activations: 4, epochs: 1}
  - early_exit: {exits: 1, epochs: 1, max_drop: 0.02}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


class Here(Executor):
    """Runs a function when it is submitted; some submissions lose their worker."""

    name = "here"
    shares_files = True
    lost: frozenset[int] = frozenset()
    submitted = 0

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        type(self).submitted += 1
        if type(self).submitted in self.lost:
            future.set_exception(BrokenProcessPool())
            return future
        try:
            future.set_result(function(*arguments))
        except Exception as error:  # noqa: BLE001  (as a worker hands it over)
            future.set_exception(error)
        return future

    def is_lost(self, error: BaseException) -> bool:
        return isinstance(error, BrokenProcessPool)

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run_order.EXECUTORS, "here", Here)
    monkeypatch.setattr(Here, "submitted", 0)
    monkeypatch.setattr(Here, "lost", frozenset())


def made_up(content: Mapping[str, Any], *_: Any, **__: Any) -> tuple[Outcome, None]:
    """Score a chain as if pruning harmed what is quantised, and exits had no place of their own."""
    names = [next(iter(link)) for link in content["chain"]]
    noise = random.Random(json.dumps([content["seed"], content["chain"]]))
    harm = 0.05 if names[:1] == ["prune"] and "quantize" in names else 0.0
    bits = 1.0
    for link in content["chain"]:
        settings = next(iter(link.values()))
        bits *= 1 - settings.get("ratio", 0.0)
        bits *= settings.get("weights", 32) * settings.get("activations", 32) / 1024
        bits *= 1 - 20 * (settings.get("max_drop") or 0.0)
    return Outcome("key", "data", 0.9 - harm + 0.002 * noise.random(), 1e6 * bits, 1.0), None


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make outcomes up, and plan nothing."""
    monkeypatch.setattr(experiment, "run_job", made_up)
    for module in (run_order, outlook):
        monkeypatch.setattr(module, "plans", lambda *_: {})


def test_what_is_left_takes_as_long_as_what_ran(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    run(prepare(recipe, seeds=2, executor="here", jobs=1, out=Path("runs/o")))
    more = prepare(recipe, seeds=4, executor="here", jobs=2, out=Path("runs/o"))
    found = outlook.outlook(more, lambda _: None)
    assert (found.jobs, found.done) == (2 * found.done, found.done)
    assert found.seconds == pytest.approx(found.done / 2), "a second each, made up; two beside each other"


def test_no_stage_keeps_a_seed_of_its_own(recipe: Path) -> None:
    recipe.write_text(
        RECIPE + "order: {strength_count: 2, strengths: {prune: [{ratio: 0.3, seed: 1}, {ratio: 0.5}]}}\n"
    )
    found = prepare(recipe, stages="prune,quantize", executor="here").found["prune"]
    assert [(one.seed, one.ratio) for one in found] == [(None, 0.3), (None, 0.5)]
    assert differing(found) == [{"ratio": 0.3}, {"ratio": 0.5}]


def run(request: OrderRequest) -> dict[str, Any]:
    run_order.run_order(request, lambda _: None)
    content: dict[str, Any] = json.loads((request.directory / ORDER).read_text())
    return content


def asked(recipe: Path, **more: Any) -> OrderRequest:
    return prepare(recipe, executor="here", **{"seeds": 6, **more})


def test_a_stage_that_harms_when_it_is_first_is_found(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    found = run(asked(recipe, inserted=True, every=True))
    decisions = {(one["first"], one["second"]): one["decision"] for one in found["pairs"]}
    assert decisions[("prune", "quantize")] == "after"
    assert decisions[("prune", "early_exit")] == decisions[("quantize", "early_exit")] == "undecided"
    assert found["order"] == ["quantize", "prune", "early_exit"]
    assert ["prune", "early_exit"] in found["ties"]
    (pair,) = (one for one in found["pairs"] if one["decision"] == "after")
    assert pair["mean"] == pytest.approx(-5, abs=0.3)
    assert len(found["insertions"]) == 3 * 3
    assert found["ranking"][0]["behind_best"] is None
    as_good = [one["order"] for one in found["ranking"] if one["is_as_good"]]
    assert ["quantize", "prune", "early_exit"] in as_good
    assert not any(order[0] == "prune" for order in as_good)


def test_a_headline_says_which_pairs_only_follow_from_others(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    report = OrderReport.model_validate(run(asked(recipe)))
    assert headline(report) == "quantize, prune, early_exit. Some pairs are not decided."
    followed = report.model_copy(update={"ties": []})
    assert "put prune and early_exit, quantize and early_exit in order, which alone" in headline(followed)
    decided = [pair.model_copy(update={"decision": "before"}) for pair in report.pairs]
    assert headline(followed.model_copy(update={"pairs": decided})).endswith(". All pairs are decided.")


def test_a_plan_cites_what_was_measured_here(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    run(asked(recipe))
    file = read(recipe)
    assert list(departures(make_plan(file), file)) == [
        "prune before quantize, where quantize first scored 5 points more here (runs/tiny-order/order.json)"
    ]
    other = read(recipe, ("data.limit=100",))
    assert list(departures(make_plan(other), other)) == []
    damaged = Path("runs/tiny-order/order.json")
    damaged.write_text(damaged.read_text().replace("accuracy", "mae"))
    assert list(departures(make_plan(file), file)) == []


def test_what_is_done_is_not_run_again(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(run_order, "_check_data", lambda *_: None)
    first = run(asked(recipe))
    jobs, Here.submitted = Here.submitted, 0
    assert jobs == first["jobs"] == 6 * (1 + 3 * 3 + 6 * 3)
    assert same(run(asked(recipe)), first)
    assert Here.submitted == 0
    journal = Path("runs/tiny-order") / JOURNAL
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join(lines[:-3]) + "\n" + lines[-3][:40])  # cut off within a line
    monkeypatch.setattr(experiment, "_is_needed", lambda *_: False)
    assert same(run(asked(recipe)), first)
    assert Here.submitted == 3


def test_a_lost_worker_s_job_runs_again_and_a_failed_one_does_not(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    monkeypatch.setattr(Here, "lost", frozenset({2, 3, 9}))
    assert run(asked(recipe))["jobs"] == Here.submitted - 3

    def fails(*_: Any, **__: Any) -> None:
        raise RunError("diverged")

    monkeypatch.setattr(experiment, "run_job", fails)
    with pytest.raises(RunError, match=r"seed \d, baseline: diverged"):
        run(asked(recipe, out=Path("other")))


def test_a_chain_that_cannot_be_is_said_before_any_work(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("exits: 1,", "exits: 300,"))
    with pytest.raises(UserError, match=r"prune, early_exit at strength 1: cannot be: "):
        run(asked(recipe, stages="prune,early_exit", seeds=1, strengths=2))
    assert Here.submitted == 0


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"stages": "prune"}, "needs two stages or more"),
        ({"stages": "prune,prune"}, "needs two stages or more, each once"),
        ({"stages": "prune,distill"}, "needs each stage once; the chain has prune, quantize, early_exit"),
        ({"executor": "slurm"}, "is one of local, ray"),
        ({"strengths": 12}, "there is no strength "),
        (
            {"overrides": ("order.strengths.prune=[{ratio: 2}]", "order.strength_count=2")},
            "has 1 items for 2 strengths",
        ),
        (
            {"overrides": ("order.strengths.prune=[{ration: 0.2}, {ratio: 0.4}]", "order.strength_count=2")},
            "did you mean 'ratio'",
        ),
        ({"overrides": ("order.strengths.prune=[{ratio: 0.2}, {ratio: 2}]", "order.strength_count=2")}, "less than 1"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(recipe: Path, options: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        prepare(recipe, **{"executor": "local", **options})


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two reports are equal but for times and where they were made."""
    apart = ("environment", "seconds", "checksum")
    return {k: v for k, v in one.items() if k not in apart} == {k: v for k, v in other.items() if k not in apart}


def command(*words: str) -> Sequence[str]:
    return [
        sys.executable,
        "-m",
        "coc_cli",
        "order",
        "tiny.yaml",
        "--stages",
        "prune,quantize",
        "--strengths",
        "2",
        *words,
    ]


ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}


def coc_order(folder: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(command(*words), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads((folder / "runs/tiny-order/order.json").read_text())
    return content


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(RECIPE)
    return coc_order(folder, "--seeds", "1")


@pytest.mark.full
def test_killed_five_times_it_repeats_nothing_finished(recipe: Path, undisturbed: dict[str, Any]) -> None:
    journal, pause = recipe.parent / "runs/tiny-order" / JOURNAL, random.Random(0)
    for kill in range(5):
        child = subprocess.Popen(command("--seeds", "1"), cwd=recipe.parent, env=ENVIRONMENT, start_new_session=True)
        while child.poll() is None and (not journal.is_file() or len(journal.read_text().splitlines()) <= kill):
            time.sleep(0.05)
        time.sleep(pause.random())
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert same(coc_order(recipe.parent, "--seeds", "1"), undisturbed)
    ids = [json.loads(line)["id"] for line in journal.read_text().splitlines() if line.endswith("}")]
    assert len(ids) == len(set(ids)) == undisturbed["jobs"]
    elsewhere = prepare(recipe, stages="prune,quantize", strengths=2, seeds=2, out=Path("runs/elsewhere"))
    found = outlook.outlook(elsewhere, lambda _: None)
    assert (found.jobs, found.done, found.cached) == (2 * len(ids), 0, len(ids)), "one of two seeds is in the cache"


@pytest.fixture
def ray_begins() -> None:
    """Skip where Ray is there, but cannot begin: in some containers it has no shared memory."""
    code = "import ray; ray.init(num_cpus=1, include_dashboard=False, logging_level='ERROR'); ray.shutdown()"
    try:
        subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"Ray cannot begin here: {error}")


@pytest.mark.full
@pytest.mark.usefixtures("ray_begins")
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'coc-cli[cluster]'")
def test_two_workers_of_ray_say_the_same_also_where_one_is_killed(recipe: Path, undisturbed: dict[str, Any]) -> None:
    words = ("--seeds", "1", "--executor", "ray", "--jobs", "2")
    journal = recipe.parent / "runs/tiny-order" / JOURNAL
    child = subprocess.Popen(command(*words), cwd=recipe.parent, env=ENVIRONMENT)
    while child.poll() is None and not journal.is_file():
        time.sleep(0.05)
    workers = subprocess.run(["pgrep", "-f", "^ray::_run"], capture_output=True, text=True, check=False).stdout.split()
    for worker in workers[:1]:
        os.kill(int(worker), signal.SIGKILL)
    assert child.wait() == 0
    assert same(json.loads((journal.parent / "order.json").read_text()), undisturbed)
