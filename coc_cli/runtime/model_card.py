"""The model card of an export: README.md with front matter. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from coc_cli.report.read.run import read_runs
from coc_cli.runtime.export_request import ExportRequest
from coc_cli.units import metric_text, printable
from coc_cli.version import __version__


def model_card(request: ExportRequest, manifest: dict[str, Any]) -> str:
    """Return the card: what the network is, how well it does, and how it is used. The licence is left to the user."""
    front = {
        "license": "unknown",
        "pipeline_tag": "image-classification" if manifest["task"] == "classification" else "other",
        "library_name": manifest["runtime"]["name"],
        "tags": ["coc", manifest["format"], *(["early-exit"] if manifest["exits"] > 1 else [])],
    }
    lines = [*_network(request, manifest), *_measured(request), *_use(manifest)]
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n" + "\n".join(lines) + "\n"


def _network(request: ExportRequest, manifest: dict[str, Any]) -> Iterator[str]:
    integer, shape = manifest["integer"], "x".join(map(str, manifest["input"]["shape"]))
    name = request.recipe.recipe.name if request.recipe else request.checkpoint.stem
    yield from (f"# {printable(name)}", "")
    chain = [printable(ancestor.stage) for ancestor in request.header.lineage]
    steps = " -> ".join(chain) or "as trained"
    yield f"- network: {printable(request.header.spec.arch)}, {steps}; by coc {__version__}"
    yield f"- task: {manifest['task']}, {len(manifest['labels'])} labels, images {shape}"
    yield f"- {integer['layers']} of {integer['of']} layers run on integers"
    if manifest["exits"] > 1:
        yield f"- {manifest['exits']} exits; an image leaves at the first that is sure enough"
    sizes = (f"{file} {about['bytes']:,} bytes" for file, about in manifest["files"].items())
    yield f"- {', '.join(sizes)}"
    if (agreement := manifest["agreement"]) is not None:
        share = f"{agreement['top1']:.2%} of {agreement['images']}"
        yield f"- {share} validation images get the answer of the network that was exported"
    yield "- licence: fill in above; it follows from the data and the first network"
    yield ""


def _measured(request: ExportRequest) -> Iterator[str]:
    """Yield what the run measured, where it is known."""
    if request.run is None:
        return
    (run,) = read_runs([request.run])
    stages = [stage for stage in run.stages if stage.metric_value is not None]
    if not stages:
        return
    last = stages[-1]
    assert last.metric_value is not None
    interval = ""
    if last.metric_ci95:
        low, high = (metric_text(run.metric or "", bound) for bound in last.metric_ci95)
        interval = f" (95 % interval {low} to {high}, {last.n_test} test images)"
    source = request.recipe.recipe.data.source if request.recipe else "the run's data"
    yield from ("## Measured", "")
    yield f"- data: {printable(source)}"
    yield f"- {run.metric}: {metric_text(run.metric or '', last.metric_value)}{interval}"
    yield ""


def _use(manifest: dict[str, Any]) -> Iterator[str]:
    yield from ("## Use", "")
    if manifest["format"] == "onnx":
        yield from ("    pip install numpy onnxruntime pillow", "    python coc_runtime.py IMAGE...", "")
        yield "In Python: `from coc_runtime import Session; Session('.').predict('IMAGE')`."
    about = manifest["input"]
    yield f"Without it: scale pixels to 0..1, subtract {about['mean']}, divide by {about['std']}, channels first."
