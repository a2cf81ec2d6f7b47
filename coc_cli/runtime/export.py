"""`coc export`: from a checkpoint to the files of a runtime, compared with the network before they are believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from coc_cli.data.images import Split
from coc_cli.errors import RunError, StageError, user_error
from coc_cli.files.atomic import write_atomically
from coc_cli.files.checksum import sealed, sha256_of
from coc_cli.learning.evaluation import exit_of, outputs
from coc_cli.nets.checkpoint import load
from coc_cli.nets.cost import cost
from coc_cli.nets.network import Network
from coc_cli.runtime import interpreter, standalone
from coc_cli.runtime.export_request import ExportRequest
from coc_cli.runtime.graph import IntegerGraph
from coc_cli.runtime.lowering import lower
from coc_cli.runtime.model_card import model_card
from coc_cli.runtime.session import MANIFEST
from coc_cli.runtime.writers.writer import Job, Written

MOST_COMPARED, LEAST_COMPARED, MACS_COMPARED = 2_000, 64, 4e11
MOST_INTERPRETED, AT_ONCE = 128, 32
LEAST_AGREEMENT = 0.99
NEAR = 0.05  # of numbers: so many standard deviations of the training targets apart count as the same
CALIBRATION = 256


@dataclass(frozen=True)
class Exported:
    """What was written, where, and what the manifest says."""

    directory: Path
    manifest: dict[str, Any]
    notes: tuple[str, ...]


def export(request: ExportRequest, *, say: Callable[[str], None] = print) -> Exported:
    """Write an export and compare it with the network.

    Raises:
        UserError: If the form cannot hold the network.
        RunError: If fewer than 99 % of the validation images get the network's answer; nothing is written then.
    """
    network = load(request.checkpoint, trust_code=True)
    graph, exported = lower(network, largest_code=request.writer.code_limit(request.options))
    splits = request.recipe.images() if request.recipe else None
    most = min(MOST_COMPARED, max(LEAST_COMPARED, int(MACS_COMPARED / max(1, cost(network.spec).macs))))
    images = splits.validation.first(most) if splits else None
    calibration = _normalised(network, splits.train.first(CALIBRATION)) if splits else np.empty((0,), np.float32)
    try:
        written = request.writer.write(Job(graph, exported, request.options, calibration))
        agreement = _agreement(request, written, graph, exported, images) if images is not None else None
    except StageError as error:
        raise user_error(request.checkpoint, error.what) from error
    if agreement and agreement["top1"] < LEAST_AGREEMENT:
        share = f"{agreement['top1']:.2%} of {agreement['images']} validation images get the network's answer"
        raise RunError(f"{request.directory}: not written, as only {share} from {request.writer.name}")
    manifest = _manifest(request, network, graph, written, agreement)
    _write(request, written, manifest)
    say(f"compared on {agreement['images']} validation images" if agreement else "not compared: no images were named")
    return Exported(request.directory, manifest, written.notes)


def _normalised(network: Network, split: Split) -> Any:
    return network.normalise(split.take(torch.arange(len(split)))).contiguous().numpy()


def _agreement(
    request: ExportRequest, written: Written, graph: IntegerGraph, network: Network, split: Split
) -> dict[str, Any] | None:
    """Return how far the files, the interpreter and the network as exported agree; None where nothing runs them."""
    images = _normalised(network, split)
    found = request.writer.answers(written, images)
    if found is None:
        return None
    given = [torch.from_numpy(np.ascontiguousarray(part)) for part in found]
    expected = outputs(network, split)
    exits, wanted = exit_of(given, network.spec.rule), exit_of(expected, network.spec.rule)
    rows = torch.arange(len(split))
    final, final_wanted = (
        torch.stack([g[:, : graph.classes] for g in given]),
        torch.stack([e[:, : graph.classes] for e in expected]),
    )
    answers, answers_wanted = final[exits.long(), rows], final_wanted[wanted.long(), rows]
    if graph.scale is None:
        same = answers.argmax(1) == answers_wanted.argmax(1)
    else:
        same = ((answers - answers_wanted).abs() <= NEAR).all(1)
    agreement = {
        "images": len(split),
        "top1": float(same.float().mean()),
        "exits": float((exits == wanted).float().mean()),
    }
    if not request.writer.is_exact:
        return agreement
    count = min(len(split), MOST_INTERPRETED)
    batches = [
        interpreter.run(graph, images[start : min(start + AT_ONCE, count)]) for start in range(0, count, AT_ONCE)
    ]
    interpreted = [np.concatenate(part) for part in zip(*batches, strict=True)]
    equal = np.all([(one == other[:count]).all(1) for one, other in zip(interpreted, found, strict=True)], axis=0)
    return {**agreement, "interpreted": count, "interpreter_equal": float(equal.mean())}


def _manifest(
    request: ExportRequest, network: Network, graph: IntegerGraph, written: Written, agreement: dict[str, Any] | None
) -> dict[str, Any]:
    spec = network.spec
    integer = {"layers": len(graph.integer_layers), "of": len(graph.layers), "not": dict(graph.kept_float)}
    if not request.writer.is_integer:
        integer |= {"layers": 0, "not": dict.fromkeys(graph.layers, f"{request.writer.name} computes in float32")}
    return {
        "schema": 1,
        "format": request.writer.name,
        "task": spec.task,
        "labels": list(spec.labels),
        "input": {"name": "image", "shape": list(spec.input_shape), "mean": list(spec.mean), "std": list(spec.std)},
        "scale": spec.scale.model_dump(mode="json") if spec.scale else None,
        "exits": len(graph.outputs),
        "rule": spec.rule.model_dump(mode="json") if spec.rule else None,
        "bits": {"weights": dict(spec.bits), "activations": network.input_bits()},
        "integer": integer,
        "runtime": dict(written.runtime),
        **written.about,
        "agreement": agreement,
        "files": {
            name: {"bytes": len(content), "sha256": sha256(content).hexdigest()}
            for name, content in written.files.items()
        },
        "checkpoint": {"sha256": sha256_of(request.checkpoint), "bytes": request.checkpoint.stat().st_size},
    }


def _write(request: ExportRequest, written: Written, manifest: dict[str, Any]) -> None:
    """Write all files, the manifest last, so that what it names is there."""
    folder = request.directory
    for name, content in written.files.items():
        write_atomically(folder / name, content)
    if request.writer.name == "onnx":
        write_atomically(folder / standalone.NAME, standalone.text().encode())
    write_atomically(folder / "README.md", model_card(request, manifest).encode())
    write_atomically(folder / MANIFEST, (json.dumps(sealed(manifest), indent=1) + "\n").encode())
