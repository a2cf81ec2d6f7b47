"""Files of networks, each timed in a process of its own, in rounds; a row for each. No torch here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from coc_cli.errors import RunError
from coc_cli.runtime import bench_worker
from coc_cli.runtime.bench_request import BenchRequest
from coc_cli.runtime.bench_rounds import BUSY, Times, Turn, batches_for, busy_by, rounds, times
from coc_cli.runtime.bench_worker import Order

PACKAGES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "ai-edge-litert"}
FORMS = {"onnxruntime": "onnx", "openvino": "onnx", "litert": "tflite"}  # what each runtime reads
INTEGER = frozenset(
    ("QLinearConv", "QGemm", "ConvInteger", "MatMulInteger", "QLinearMatMul", "MatMulIntegerToFloat")
    + ("DynamicQuantizeMatMul",)
)
FLOAT = frozenset(("Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"))


@dataclass(frozen=True)
class Subject:
    """A network as files, with the images that go in."""

    name: str
    files: dict[str, Path]  # by form: onnx, tflite
    inputs: Path
    has_exits: bool
    runtimes: tuple[str, ...] = ()  # in which alone it is timed; empty: in all that read a file of it

    def runs_in(self, runtime: str) -> bool:
        """Return whether it is to be timed in a runtime."""
        return FORMS[runtime] in self.files and (not self.runtimes or runtime in self.runtimes)


@dataclass(frozen=True)
class Row:
    """A network in a runtime: what it took and what it is."""

    name: str
    runtime: str
    version: str
    bytes: int
    peak_bytes: int
    exits: tuple[int, ...]  # images that leave at each; empty where the file does not stop by itself
    integer: tuple[int, int] | None  # convolutions and products of matrices that run on integers, and all; if known
    times: Times


@dataclass(frozen=True)
class Bench:
    """All rows of one bench; the first is what the others are set against."""

    rows: tuple[Row, ...]
    stretch: float  # wall by CPU time of the slowest
    rounds: int
    images: int
    notes: tuple[str, ...]

    @property
    def is_busy(self) -> bool:
        """Whether the machine had so much other work that wall times say little."""
        return self.stretch > BUSY


class Process:
    """A worker process; a `Runner` once it is ready."""

    def __init__(self, subject: Subject, runtime: str, request: BenchRequest) -> None:
        self.subject, self.runtime, self.has_exits = subject, runtime, subject.has_exits
        self.file = subject.files[FORMS[runtime]]
        folders = [str(Path(bench_worker.__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        path = os.pathsep.join(str(Path(folder).absolute()) for folder in folders if folder)
        self._process = subprocess.Popen(  # noqa: S603  (this Python, and a module of coc's)
            [sys.executable, "-m", bench_worker.__name__],
            cwd=subject.inputs.parent,  # where nothing of a user's stands in for a library
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        order = Order(runtime, str(self.file.absolute()), str(subject.inputs), request.batch, request.threads)
        self._send(asdict(order))

    def wait(self) -> None:
        """Wait until it is warm; raises `RunError` with the reason if it cannot run the file."""
        ready = self._answer()
        self.cpu_ns, self.batches = ready["cpu_ns"], ready["batches"]

    def turn(self, calls: int, batches: int) -> Turn:
        """Run the network so many times over its first batches."""
        self._send({"calls": calls, "batches": batches})
        found = self._answer()
        return Turn(found["cpu_ns"], tuple(found["wall_ns"]))

    def about(self, batches: int) -> tuple[tuple[int, ...], int]:
        """Return how many images leave at each exit, and the most memory the process has had."""
        self._send({"batches": batches if self.has_exits else 0})
        found = self._answer()
        return tuple(found["exits"]), found["peak_bytes"]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # the answer says why
            return

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {"error": "its process has ended; is memory short?"}
        if "error" in found:
            raise RunError(f"{self.subject.name}: {self.runtime} cannot run it: {found['error']}")
        return found


def measured(subjects: Sequence[Subject], request: BenchRequest, images: int) -> Bench:
    """Time all subjects in all runtimes that are here.

    Raises:
        RunError: If ONNX Runtime cannot run one of them. Another runtime then lacks its row, and a note says why.
    """
    chosen, notes = runtimes(subjects, request)
    with ExitStack() as stack:
        started = []
        for subject in subjects:
            for runtime in chosen:
                if subject.runs_in(runtime):
                    started.append(Process(subject, runtime, request))
                    stack.callback(started[-1].close)
        processes = list(_ready(started, notes))
        batches = batches_for(processes)
        turns = rounds(processes, batches, request.seconds)
        found = [times(one, turns[0]) for one in turns]
        rows = tuple(_row(process, one, batches) for process, one in zip(processes, found, strict=True))
    shown = min(images, batches * request.batch)
    return Bench(rows, busy_by(found), len(turns[0]), shown, tuple(notes))


def runtimes(subjects: Sequence[Subject], request: BenchRequest) -> tuple[list[str], list[str]]:
    """Return the runtimes to time in, and a note on those that could be installed; raises `RunError` if none is."""
    wanted = ["onnxruntime", *(("openvino", "litert") if request.others else ())]
    wanted = [one for one in wanted if any(subject.runs_in(one) for subject in subjects)]
    here = [one for one in wanted if find_spec(PACKAGES[one].replace("-", "_"))]
    absent = [PACKAGES[one] for one in wanted if one not in here]
    needed = [subject for subject in subjects if not any(subject.runs_in(one) for one in here)]
    if needed:
        raise RunError(f"{needed[0].name}: no runtime for it is installed: pip install {' '.join(absent)}")
    return here, [f"not installed, so not timed: pip install {' '.join(absent)}"] if absent else []


def _ready(processes: Sequence[Process], notes: list[str]) -> Iterator[Process]:
    for process in processes:
        try:
            process.wait()
        except RunError as error:
            if process.runtime == "onnxruntime" or process is processes[0]:
                raise
            notes.append(str(error))
            continue
        yield process


def _row(process: Process, found: Times, batches: int) -> Row:
    exits, peak_bytes = process.about(batches)
    return Row(
        name=process.subject.name,
        runtime=process.runtime,
        version=version(PACKAGES[process.runtime]),
        bytes=process.file.stat().st_size,
        peak_bytes=peak_bytes,
        exits=exits if process.has_exits else (),
        integer=integer_layers(process.file, process.subject.inputs.parent)
        if process.runtime == "onnxruntime"
        else None,
        times=found,
    )


def integer_layers(model: Path, folder: Path) -> tuple[int, int]:
    """Return how many convolutions and products of matrices ONNX Runtime computes on integers, and how many in all.

    Counted in the graph that it makes of the file, in every branch; it is written to the folder for that.
    """
    import onnx

    from coc_cli.runtime.writers.onnx import opened

    optimised = folder / "optimised.onnx"
    opened(model.read_bytes(), optimised=str(optimised))
    kinds = list(_kinds(onnx.load(str(optimised)).graph))
    optimised.unlink()
    integer = sum(kind in INTEGER for kind in kinds)
    return integer, integer + sum(kind in FLOAT for kind in kinds)


def _kinds(graph: Any) -> Iterator[str]:
    for node in graph.node:
        yield node.op_type
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _kinds(attribute.g)
