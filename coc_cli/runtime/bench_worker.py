"""A process that does nothing but run one file of a network, and says what each answer took.

It reads a line of JSON for each request and answers with one. The first is an `Order`; each other asks for so many runs
over so many batches, or for what the process needed. Only numpy and the runtime are imported.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"
Work: TypeAlias = Callable[[Array], "Array | None"]  # a batch in; the exits at which its images left out, if it says so
WARM_UP_S, LEAST_CALLS = 0.15, 3
OUTPUTS = ("value", "exit", "confidence", "probabilities")
CHANNELS_LAST = (0, 2, 3, 1)
LONGEST_REASON = 200


@dataclass(frozen=True)
class Order:
    """What to run."""

    runtime: str
    model: str  # a path
    inputs: str  # an .npy of float32 [N, C, H, W]
    batch: int
    threads: int


def onnxruntime_work(order: Order) -> Work:
    """Return a run of ONNX Runtime, as `session.Session` sets it up."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = order.threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(order.model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.name in OUTPUTS] or None
    place = names.index("exit") if names and "exit" in names else None

    def work(batch: Array) -> Array | None:
        found = session.run(names, {"image": batch})
        return None if place is None else np.asarray(found[place])

    return work


def openvino_work(order: Order) -> Work:
    """Return a run of OpenVINO on the CPU; it would take bfloat16 for the floats of the file where there is such."""
    import openvino

    settings = {"INFERENCE_NUM_THREADS": order.threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(order.model, "CPU", settings)
    request = compiled.create_infer_request()
    exits = [output for output in compiled.outputs if "exit" in output.get_names()]

    def work(batch: Array) -> Array | None:
        found = request.infer({"image": batch})
        return np.array(found[exits[0]]) if exits else None

    return work


def litert_work(order: Order) -> Work:
    """Return a run of LiteRT; the file computes all exits, so none is reported. Rounding the image counts."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=order.model, num_threads=order.threads)
    about = interpreter.get_input_details()[0]
    interpreter.allocate_tensors()
    ends = [output["index"] for output in interpreter.get_output_details()]
    scale, zero = about["quantization"]
    kind = about["dtype"]

    def work(batch: Array) -> Array | None:
        images = batch.transpose(CHANNELS_LAST)
        if kind != np.float32:
            codes = np.rint(images / np.float32(scale)) + zero
            images = codes.clip(np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
        interpreter.set_tensor(about["index"], images)
        interpreter.invoke()
        for end in ends:
            interpreter.get_tensor(end)
        return None

    return work


RUNTIMES = {"onnxruntime": onnxruntime_work, "openvino": openvino_work, "litert": litert_work}


def batches_of(inputs: Array, size: int) -> list[Array]:
    """Return whole batches [size, C, H, W] of the inputs, at least one: fewer images are repeated."""
    if len(inputs) < size:
        inputs = inputs[np.arange(size) % len(inputs)]
    return [np.ascontiguousarray(inputs[start : start + size]) for start in range(0, len(inputs) - size + 1, size)]


class Bench:
    """A network that is loaded and warm."""

    def __init__(self, order: Order) -> None:
        self.work = RUNTIMES[order.runtime](order)
        self.batches = batches_of(np.load(order.inputs), order.batch)
        self.next = 0
        began, cpu = time.monotonic(), time.process_time_ns()
        calls = 0
        while calls < LEAST_CALLS or time.monotonic() - began < WARM_UP_S:
            if calls == 1:  # the first is no measure of the others
                cpu = time.process_time_ns()
            self.work(self.batches[calls % len(self.batches)])
            calls += 1
        self.cpu_ns = (time.process_time_ns() - cpu) // (calls - 1)

    def run(self, calls: int, batches: int) -> dict[str, Any]:
        """Run so many calls over the first batches, going on where the last request ended."""
        wall_ns = []
        cpu = time.process_time_ns()
        for _ in range(calls):
            batch = self.batches[self.next % batches]
            began = time.perf_counter_ns()
            self.work(batch)
            wall_ns.append(time.perf_counter_ns() - began)
            self.next += 1
        return {"cpu_ns": time.process_time_ns() - cpu, "wall_ns": wall_ns}

    def exits(self, batches: int) -> dict[str, Any]:
        """Return how many images leave at each exit, and the most memory that this process has had."""
        found = [exits for batch in self.batches[:batches] if (exits := self.work(batch)) is not None]
        counts = np.bincount(np.concatenate([np.ravel(one) for one in found]).astype(int)).tolist() if found else []
        return {"exits": counts, "peak_bytes": peak_bytes()}


def peak_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Return the most memory that this process has had at once; not its parent's, as getrusage may say on Linux."""
    if status.exists():
        lines = [line.split() for line in status.read_text().splitlines()]
        found = [int(words[1]) * 1024 for words in lines if words and words[0] == "VmHWM:"]
        if found:
            return found[0]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until there are no more."""

    def answer(content: dict[str, Any]) -> None:
        answers.write(json.dumps(content) + "\n")
        answers.flush()

    try:
        bench = Bench(Order(**json.loads(requests.readline())))
        answer({"cpu_ns": bench.cpu_ns, "batches": len(bench.batches)})
        for line in requests:
            request = json.loads(line)
            answer(bench.run(**request) if "calls" in request else bench.exits(**request))
    except Exception as error:  # noqa: BLE001  (whatever it is, it is the answer)
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        answer({"error": lines[0][:LONGEST_REASON]})


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    serve(sys.stdin, channel)
