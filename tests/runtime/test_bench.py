"""Timing: rotation and ratios on made-up workers, a busy machine, limits on time, requests refused, one real bench."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Run, coc

from coc_cli.errors import RunError
from coc_cli.files.checksum import sealed
from coc_cli.printing.bench import print_bench
from coc_cli.runtime import bench_rows, bench_worker
from coc_cli.runtime.bench_request import BenchRequest
from coc_cli.runtime.bench_rounds import Turn, batches_for, busy_by, calls_for, rounds, times
from coc_cli.runtime.bench_rows import Bench, Row, Subject, runtimes
from coc_cli.runtime.bench_worker import batches_of, peak_bytes, serve

MS = 1_000_000


class Made:
    """A worker whose runs take what is written, on a clock that all share."""

    def __init__(self, name: str, ms: float, log: list[str], *, has_exits: bool = False, stretch: float = 1.0) -> None:
        self.name, self.cpu_ns, self.batches, self.has_exits = name, int(ms * MS), 256, has_exits
        self.log, self.stretch, self.now = log, stretch, 0.0

    def turn(self, calls: int, batches: int) -> Turn:
        assert batches <= self.batches
        self.log.append(self.name)
        self.now += calls * self.cpu_ns * self.stretch / 1e9
        return Turn(calls * self.cpu_ns, (int(self.cpu_ns * self.stretch),) * calls)


def test_each_round_begins_with_the_next_and_has_all() -> None:
    log: list[str] = []
    workers = [Made(name, 1.0, log) for name in "abc"]
    turns = rounds(workers, 256, 1.0, clock=lambda: sum(worker.now for worker in workers))
    assert log[:12] == list("abcbcacababc")
    assert [len(each) for each in turns] == [7, 7, 7]  # the least, though a second is over after five
    turns = rounds(workers, 256, 3.0, clock=lambda: sum(worker.now for worker in workers))
    assert [len(each) for each in turns] == [14, 14, 14]  # 0.225 s each


def test_a_turn_takes_75_ms_and_is_of_whole_passes_where_there_are_exits() -> None:
    assert [calls_for(Made("a", ms, []), 256) for ms in (0.5, 25, 500)] == [150, 3, 1]
    assert [calls_for(Made("a", ms, [], has_exits=True), 64) for ms in (0.5, 5)] == [192, 64]


def test_a_slow_network_with_exits_runs_on_fewer_images() -> None:
    def images(ms: float, *, has_exits: bool) -> int:
        return batches_for([Made("base", 30, []), Made("result", ms, [], has_exits=has_exits)])

    assert [images(ms, has_exits=True) for ms in (1, 2, 5, 100)] == [256, 128, 64, 32]
    assert images(100, has_exits=False) == 256


def test_ratios_are_of_medians_of_cpu_time() -> None:
    base = [Turn(cpu * MS, (8 * MS, 12 * MS)) for cpu in (20, 20, 24, 20, 100)]  # 10, 10, 12, 10, 50 ms a call
    result = [Turn(cpu * MS, (1 * MS, 1 * MS, 1 * MS, 5 * MS)) for cpu in (8, 8, 8, 4, 10)]  # 2, 2, 2, 1, 2.5
    found = times(result, base)
    assert (found.cpu_median, found.speedup) == (2.0, 5.0)
    assert (found.median, found.p95) == (1.0, 5.0)
    assert found.stretch == 1.0  # a turn's mean is 2 ms of wall, as of CPU
    low, high = found.speedup_ci95
    assert 4.0 <= low <= 5.0 <= high <= 25.0
    assert high > low
    itself = times(base, base)
    assert (itself.speedup, itself.speedup_ci95, itself.median) == (1.0, (1.0, 1.0), 10.0)


def test_equal_rounds_have_no_interval_and_a_drift_of_all_leaves_the_ratio() -> None:
    drift = [10, 12, 14, 16, 18, 20, 22]
    base, result = ([Turn(each * MS // part, (MS,)) for each in drift] for part in (1, 4))
    assert times(result, base).speedup_ci95 == pytest.approx((4, 4))


def test_wall_times_flatter_and_cpu_times_do_not() -> None:
    """A network that loses slices, one that fits between them: wall says 72x, the truth is 24x."""
    slow = [Turn(24 * MS, (72 * MS,))] * 9
    fast = [Turn(1 * MS, (1 * MS,))] * 9
    found = [times(slow, slow), times(fast, slow)]
    assert found[0].median / found[1].median == 72
    assert found[1].speedup == 24
    assert busy_by(found) == 3.0


def made_row(name: str, cpu_ms: float, base_ms: float, *, exits: tuple[int, ...] = ()) -> Row:
    base, turns = ([Turn(int(ms * MS), (int(ms * MS),))] * 7 for ms in (base_ms, cpu_ms))
    return Row(name, "onnxruntime", "1.32.0", 2_000, 60_000_000, exits, (20, 22), times(turns, base))


def made_bench(stretch: float = 1.0) -> Bench:
    rows = (made_row("baseline", 8, 8), made_row("result", 2, 8, exits=(3, 0, 1)))
    return Bench(rows, stretch, 7, 256, ("note of a test",))


def test_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    print_bench(made_bench(1.34), BenchRequest((), None, threads=2))
    shown = capsys.readouterr().out
    assert "milliseconds a batch, medians: 2 threads, batch 1, 7 rounds over 256 images" in shown
    row = next(line for line in shown.splitlines() if "result" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "result",
        "onnxruntime",
        "2",
        "4x",
        "4..4",
        "2",
        "2",
        "20 of 22",
        "2kB",
        "60MB",
    ]
    assert "result (onnxruntime): images leave at exit 0 (75.0%), 2 (25.0%)" in shown
    assert "busy machine: wall time is 34.0% above CPU time; compare CPU times only\n" in shown
    assert shown.endswith("note: note of a test\n")
    print_bench(made_bench(1.1), BenchRequest((), None))
    assert "busy" not in capsys.readouterr().out


# The worker


def test_a_batch_is_whole_and_few_images_are_repeated() -> None:
    images = np.arange(5, dtype=np.float32).reshape(5, 1, 1, 1)
    assert [batch.ravel().tolist() for batch in batches_of(images, 2)] == [[0, 1], [2, 3]]
    assert [batch.ravel().tolist() for batch in batches_of(images, 7)] == [[0, 1, 2, 3, 4, 0, 1]]


def test_a_worker_answers_line_by_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def work(batch: Any) -> Any:
        seen.extend(batch.ravel().tolist())
        return np.array([int(batch.ravel()[0]) % 3])

    monkeypatch.setitem(bench_worker.RUNTIMES, "made", lambda _: work)
    monkeypatch.setattr(bench_worker, "WARM_UP_S", 0.0)
    np.save(tmp_path / "x.npy", np.arange(4, dtype=np.float32).reshape(4, 1, 1, 1))
    order = {"runtime": "made", "model": "", "inputs": str(tmp_path / "x.npy"), "batch": 1, "threads": 1}
    requests = [order, {"calls": 3, "batches": 2}, {"calls": 2, "batches": 2}, {"batches": 4}, {"calls": 1}]
    answers = io.StringIO()
    serve(io.StringIO("".join(json.dumps(one) + "\n" for one in requests)), answers)
    ready, first, second, about, wrong = map(json.loads, answers.getvalue().splitlines())
    assert (ready["batches"], len(first["wall_ns"]), len(second["wall_ns"])) == (4, 3, 2)
    assert about["exits"] == [2, 1, 1]
    assert about["peak_bytes"] > 1_000_000
    assert list(wrong) == ["error"]
    assert seen == [0, 1, 2, *(0, 1, 0), *(1, 0), *(0, 1, 2, 3)]  # warm-up, two turns that go on, exits


def test_the_peak_is_the_process_own(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name: x\nVmHWM:\t   12 kB\nVmRSS: 3 kB\n")
    assert peak_bytes(tmp_path / "status") == 12 * 1024
    assert peak_bytes(tmp_path / "absent") > 1_000_000


def test_runtimes_that_are_not_here_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = ["onnxruntime"]
    monkeypatch.setattr(bench_rows, "find_spec", lambda name: name if name in here else None)
    onnx = Subject("a", {"onnx": tmp_path}, tmp_path, has_exits=False)
    phone = Subject("b", {"tflite": tmp_path}, tmp_path, has_exits=False)
    request = BenchRequest((), None)
    note = "not installed, so not timed: pip install openvino"
    assert runtimes([onnx], request) == (["onnxruntime"], [note])
    assert runtimes([onnx], BenchRequest((), None, others=False)) == (["onnxruntime"], [])
    with pytest.raises(RunError, match=r"^b: no runtime for it is installed: pip install openvino ai-edge-litert$"):
        runtimes([onnx, phone], request)
    here += ["openvino", "ai_edge_litert"]
    assert runtimes([onnx, phone], request) == (["onnxruntime", "openvino", "litert"], [])


# Requests


WRONG = {
    "no thread": (["run", "--threads", "0"], "--threads: needs 1 to 256, got 0"),
    "too many images": (["run", "--batch", "1025"], "--batch: needs 1 to 1024, got 1025"),
    "no time": (["run", "--seconds", "0"], "--seconds: needs a time above 0, at most 3600, got 0"),
    "time that is no number": (["run", "--seconds", "nan"], "--seconds: needs a time above 0, at most 3600, got nan"),
    "nothing there": (["nowhere"], "nowhere: no such run directory, nor a folder that coc export wrote"),
    "a file": (["text"], "text: is a file; name a run directory, or a folder that coc export wrote"),
    "no run": (["empty"], "empty: is no run directory; name one that coc compress has finished"),
    "no baseline": (
        ["result"],
        "result: has no stages/00-baseline/model.safetensors; run coc compress again, or name exports",
    ),
    "twice": (["run", "run"], "run: is given twice; name each once"),
    "a damaged export": (["cut"], "cut: manifest.json: damaged; export again"),
    "an export to torch": (["torch"], "torch: is an export to torch, which is not timed; use onnx or tflite"),
    "another file": (
        ["changed"],
        "changed: model.onnx: damaged: does not match its checksum; export again",
    ),
    "a file that no manifest names": (["without"], "without/manifest.json: damaged; export again"),
    "numbers without sense": (["huge"], "huge/manifest.json: damaged; export again"),
    "peers of nothing": (["plain", "--peers"], "--peers: quantises the baseline of a run directory, and none is named"),
    "exits and no images": (
        ["stops"],
        "stops: has exits, and where images leave depends on them; name the recipe of its images with --data",
    ),
    "other images": (["run", "plain"], "plain: takes images of 3x4x4, the first of 1x8x8; name networks alike"),
}


def write_manifest(folder: Path, **changes: Any) -> None:
    folder.mkdir()
    about = {"shape": [3, 4, 4], "mean": [0.5] * 3, "std": [0.25] * 3}
    files = {"model.onnx": {"bytes": 1, "sha256": sha256(b"x").hexdigest()}}
    (folder / "model.onnx").write_bytes(b"x")
    manifest = {"schema": 1, "format": "onnx", "input": about, "rule": None, "files": files, **changes}
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))


@pytest.fixture(scope="module")
def places(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    shutil.copytree(finished.directory, folder / "run")
    (folder / "text").write_text("x")
    for name in ("empty", "result", "cut"):
        (folder / name).mkdir()
    (folder / "cut/manifest.json").write_text("{")
    shutil.copy(finished.directory / "model.safetensors", folder / "result")
    write_manifest(folder / "plain")
    write_manifest(folder / "changed")
    (folder / "changed/model.onnx").write_bytes(b"y")
    write_manifest(folder / "without", files={})
    write_manifest(folder / "torch", format="torch")
    write_manifest(folder / "stops", rule={"measure": "max_softmax", "threshold": 0.5})
    write_manifest(folder / "huge", input={"shape": [3, 10**9, 10**9], "mean": [0.5] * 3, "std": [0.25] * 3})
    return folder


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused(case: str, places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(places)
    arguments, message = WRONG[case]
    assert coc("bench", *arguments, code=2).stderr == f"{message}\n"


# At the end of a run


@pytest.fixture
def stretches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """How far wall and CPU time part in each measurement to come; what is left was not measured."""
    left: list[float] = []
    monkeypatch.setattr("coc_cli.runtime.bench.measured", lambda *_: made_bench(left.pop(0)))
    monkeypatch.setattr("coc_cli.runtime.bench._subjects", lambda *_: ())
    return left  # type: ignore[return-value]


def compress(*limits: str, code: int) -> tuple[Any, dict[str, Any]]:
    done = coc("compress", "recipe.yaml", *(word for limit in limits for word in ("--set", limit)), code=code)
    return done, json.loads(Path("runs/tiny/report.json").read_text())


@pytest.mark.usefixtures("workspace")
def test_limits_are_judged_on_cpu_time_and_integer_layers(stretches: list[float]) -> None:
    stretches += [1.05]
    limits = ("limits.min_speedup=4", "limits.max_latency_ms=1.9", "limits.min_integer=0.9")
    done, report = compress(*limits, code=3)
    found = {limit["name"]: (limit["value"], limit["ok"], limit["decided"]) for limit in report["limits"]}
    assert found == {
        "max_latency_ms": (2.0, False, True),
        "min_speedup": (4.0, True, True),
        "min_integer": (pytest.approx(20 / 22), True, True),
    }
    assert [stage["latency_ms"] is not None for stage in report["stages"]] == [True, False, True]
    assert report["stages"][-1]["latency_ms"] == {
        "median": 2.0,
        "p95": 2.0,
        "cpu_median": 2.0,
        "speedup": 4.0,
        "speedup_ci95": [4.0, 4.0],
        "busy": False,
        "threads": 1,
        "batch": 1,
        "runtime": "onnxruntime 1.32.0",
        "integer_convs": 20,
        "convs": 22,
    }
    assert "latency: 2 ms CPU time, speed-up 4.00x (4.00x..4.00x); wall 2 ms median" in done.stdout
    assert coc("compress", "recipe.yaml").stderr.count("from the cache") == 3  # measuring is in no key
    assert "Latency (measured)" not in Path("runs/tiny/report.html").read_text()


@pytest.mark.usefixtures("workspace")
def test_a_busy_machine_is_measured_three_times_and_then_not_decided(stretches: list[float]) -> None:
    before = Path("runs/tiny/model.safetensors").read_bytes()
    stretches += [1.5, 1.5, 1.2, 1.0]
    done, report = compress("limits.min_speedup=2", "limits.min_integer=0.5", code=1)
    assert stretches == [1.0]
    assert done.stderr.endswith("not decided: busy machine; run the same command again when it has less to do\n")
    assert [(one["name"], one["ok"], one["decided"]) for one in report["limits"]] == [
        ("min_speedup", False, False),
        ("min_integer", True, True),
    ]
    assert "limit min_speedup 2: 4, not decided: busy machine" in done.stdout
    assert not report["ok"]
    assert Path("runs/tiny/model.safetensors").read_bytes() == before
    assert "not decided: busy machine" in coc("report", "runs/tiny").stdout
    stretches[:] = [1.5, 1.0]
    compress("limits.min_speedup=2", "limits.min_integer=0.5", code=0)
    assert stretches == []
    stretches[:] = [1.5, 1.5, 1.5]
    compress("limits.min_speedup=2", "limits.max_drop=-0.5", code=3)  # what is missed is missed


@pytest.mark.usefixtures("workspace")
def test_what_cannot_be_measured_is_a_warning_unless_a_limit_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> Bench:
        raise RunError("result: onnxruntime cannot run it: too new")

    monkeypatch.setattr("coc_cli.runtime.bench._subjects", refuses)
    done, report = compress("measure.latency=true", code=0)
    why = "result: onnxruntime cannot run it: too new\n"
    assert f"latency: warning: latency is not measured: {why}" in done.stderr
    assert report["stages"][-1]["latency_ms"] is None
    done = coc("compress", "recipe.yaml", "--set", "limits.min_speedup=1", code=1)
    assert done.stderr.endswith(f"limits.min_speedup cannot be judged: {why}")


@pytest.mark.full
@pytest.mark.usefixtures("workspace")
def test_a_real_bench_of_a_run_and_its_export() -> None:
    coc("export", "runs/tiny")
    done = coc("bench", "runs/tiny", "runs/tiny/export", "--seconds", "0.3", "--peers")
    rows = {
        cells[0].strip(): [cell.strip() for cell in cells]
        for line in done.stdout.splitlines()
        if line.startswith("│") and (cells := line.strip("│").split("│"))[1].strip() == "onnxruntime"
    }
    assert list(rows) == [
        "runs/tiny baseline",
        "runs/tiny baseline, ORT int8",
        "runs/tiny result",
        "runs/tiny/export",
    ]
    assert [row[7] for row in rows.values()] == ["0 of 10", "10 of 10", "10 of 10", "10 of 10"]
    assert all(float(row[2]) > 0 and float(row[5]) > 0 for row in rows.values())
    done, report = compress("measure.latency=true", code=0)
    before, after = (report["stages"][place]["latency_ms"] for place in (0, -1))
    assert (before["integer_convs"], after["integer_convs"], after["convs"]) == (0, 10, 10)
    assert after["speedup"] == pytest.approx(before["cpu_median"] / after["cpu_median"])
    assert after["speedup_ci95"][0] <= after["speedup"] <= after["speedup_ci95"][1]
    assert "Latency (measured)" in Path("runs/tiny/report.html").read_text()
    assert done.stderr.count("from the cache") == 3
