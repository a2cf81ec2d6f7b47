"""How far exports agree with their networks, on all test images of runs: python benchmarks/parity.py OUT RUN...

Each run is exported to ONNX (int8). ONNX Runtime's answers are compared, image by image, with those of the network as
exported (biases rounded to the steps of the sums), of the checkpoint, and of the integer interpreter.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from coc_cli.files.run_directory import RECIPE, RESULT
from coc_cli.learning.evaluation import exit_of, outputs
from coc_cli.learning.tasks import task_of
from coc_cli.nets.checkpoint import load
from coc_cli.profiling.machine import processor_name
from coc_cli.recipe.reading import read
from coc_cli.runtime import interpreter
from coc_cli.runtime.lowering import lower
from coc_cli.runtime.writers.onnx import Onnx
from coc_cli.runtime.writers.writer import ExportOptions, Job

INTERPRETED, AT_ONCE = 1000, 50


def compared(run: Path) -> dict[str, Any]:
    network = load(run / RESULT, trust_code=True)
    graph, exported = lower(network)
    test = read(run / RECIPE).images().test
    images = network.normalise(test.take(torch.arange(len(test)))).contiguous().numpy()
    writer = Onnx()
    written = writer.write(Job(graph, exported, ExportOptions(), images[:0]))
    found = writer.answers(written, images)
    assert found is not None
    given = [torch.from_numpy(part) for part in found]
    count = min(INTERPRETED, len(images))
    parts = [interpreter.run(graph, images[i : i + AT_ONCE]) for i in range(0, count, AT_ONCE)]
    interpreted = [np.concatenate(part) for part in zip(*parts, strict=True)]
    equal = np.all([(a == b[:count]).all(1) for a, b in zip(interpreted, found, strict=True)], axis=0)
    near = max(float(np.abs(a - b[:count]).max() / np.ptp(a)) for a, b in zip(interpreted, found, strict=True))
    rule, task, rows = network.spec.rule, task_of(network.spec), torch.arange(len(test))

    def answer(parts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        exits = exit_of(parts, rule)
        return exits, torch.stack([part[:, : graph.classes] for part in parts])[exits.long(), rows]

    exits, numbers = answer(given)
    row: dict[str, Any] = {
        "run": run.name,
        "images": len(test),
        "integer": f"{len(graph.integer_layers)} of {len(graph.layers)}",
        "interpreter_equal": float(equal.mean()),
        "interpreted": count,
        "largest_difference_of_range": near,
        "metric_export": float(task.scores(numbers, test.targets).mean()),
    }
    others = {"as_exported": outputs(exported, test), "checkpoint": outputs(network, test)}
    for name, other in others.items():
        other_exits, other_numbers = answer(other)
        if graph.scale is None:
            same = numbers.argmax(1) == other_numbers.argmax(1)
        else:
            same = ((numbers - other_numbers).abs() <= 0.05).all(1)  # deviations of the targets
        scores = [task.scores(part, test.targets) for part in (numbers, other_numbers)]
        paired = scores[0] - scores[1]
        row[name] = {
            "same_answer": float(same.float().mean()),
            "same_exit": float((exits == other_exits).float().mean()),
            "metric": float(scores[1].mean()),
            "metric_difference": float(paired.mean()),
            "half_interval_95": float(1.96 * paired.std() / len(paired) ** 0.5),
        }
    return row


def main() -> None:
    out, *runs = sys.argv[1:]
    rows = [compared(Path(run)) for run in runs]
    about = {"command": " ".join(["benchmarks/parity.py", *sys.argv[1:]]), "machine": processor_name()}
    about |= {"onnxruntime": onnxruntime.__version__, "torch": torch.__version__}
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    about["vnni"] = "yes" if "vnni" in flags else "no"
    Path(out).write_text(json.dumps({**about, "rows": rows}, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
