"""`coc bench`: networks written for runtimes, and timed on the same test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from coc_cli.data.images import Split
from coc_cli.errors import RunError, StageError
from coc_cli.nets.checkpoint import load
from coc_cli.runtime.bench_peers import PEERS
from coc_cli.runtime.bench_request import MOST_VALUES, BenchRequest, Candidate, file_name
from coc_cli.runtime.bench_rows import Bench, Subject, measured
from coc_cli.runtime.lowering import lower
from coc_cli.runtime.writers import WRITERS
from coc_cli.runtime.writers.writer import ExportOptions, Job

IMAGES, CALIBRATION = 256, 128
Pixels = NDArray[np.uint8]  # [N, C, H, W]


def bench(
    request: BenchRequest, *, test: Split | None = None, train: Split | None = None, say: Callable[[str], None] = print
) -> Bench:
    """Time all candidates of a request.

    Args:
        request: What to time.
        test: The images to run on; None: those of the request's recipe, or random ones.
        train: Images to calibrate peers on; None: those of the request's recipe.
        say: Told what goes on.

    Raises:
        RunError: If a network cannot be written or run.
    """
    if test is None and request.recipe is not None:
        splits = request.recipe.images()
        test, train = splits.test, splits.train
    first = request.candidates[0]
    count = max(1, min(IMAGES, MOST_VALUES // int(np.prod(first.shape))))
    images = random_images(first, count) if test is None else sample(test, count)
    calibration = images if train is None else sample(train, min(count, CALIBRATION))
    subjects: list[Subject] = []
    notes: list[str] = []
    with TemporaryDirectory(prefix="coc-bench-") as name:
        folder = Path(name)
        for place, candidate in enumerate(request.candidates):
            found = _subjects(request, candidate, folder / str(place), images, calibration)
            subjects.extend(one for one in found if isinstance(one, Subject))
            notes.extend(one for one in found if isinstance(one, str))
        for _ in range(request.attempts):
            say(f"times {len(subjects)} networks for about {request.seconds:g} s")
            result = measured(subjects, request, len(images))
            if not result.is_busy:
                break
    if test is None:
        notes.append("random images, as no recipe with images is known (--data)")
    return replace(result, notes=(*result.notes, *notes))


def sample(split: Split, count: int) -> Pixels:
    """Return some of a split's images, in random order, so that the first of them stand for all; the same each time."""
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:count]
    return split.take(order.to(split.images.device)).cpu().contiguous().numpy()


def random_images(candidate: Candidate, count: int) -> Pixels:
    """Return images of noise."""
    return np.random.default_rng(0).integers(0, 256, (count, *candidate.shape), dtype=np.uint8)


def _subjects(
    request: BenchRequest, candidate: Candidate, folder: Path, images: Pixels, calibration: Pixels
) -> list[Subject | str]:
    """Return a candidate as files, and behind it its peers, or a note why one is not there."""
    folder.mkdir()
    inputs = folder / "inputs.npy"
    np.save(inputs, _normalised(candidate, images))
    files = {candidate.form: candidate.path / file_name(candidate.form, request.batch)} if candidate.form else {}
    files = files or _written(request, candidate, folder, _normalised(candidate, calibration))
    subject = Subject(candidate.name, files, inputs, candidate.has_exits)
    if not (request.peers and candidate.is_baseline):
        return [subject]
    found: list[Subject | str] = [subject]
    for peer in PEERS:
        path = peer.written(files["onnx"], _normalised(candidate, calibration))
        name = f"{candidate.name}, {peer.name}"
        found.append(
            path if isinstance(path, str) else replace(subject, name=name, files={"onnx": path}, runtimes=peer.runtimes)
        )
    return found


def _normalised(candidate: Candidate, images: Pixels) -> NDArray[np.float32]:
    mean, std = (np.array(part, np.float32).reshape(-1, 1, 1) for part in (candidate.mean, candidate.std))
    return ((images.astype(np.float32) / np.float32(255) - mean) / std).astype(np.float32)


def _written(
    request: BenchRequest, candidate: Candidate, folder: Path, calibration: NDArray[np.float32]
) -> dict[str, Path]:
    """Write a checkpoint for the runtimes that are here, as `coc export` does; return the files by their forms."""
    wanted = ["onnx"]
    if request.others and request.batch == 1 and "tflite" in WRITERS and find_spec("ai_edge_litert"):
        wanted.append("tflite")
    network, files = load(candidate.path, trust_code=True), {}
    for form in wanted:
        writer = WRITERS[form]
        try:
            graph, exported = lower(network, largest_code=writer.code_limit(ExportOptions()))
            options = ExportOptions(padded=bool(graph.integer_layers))
            content = writer.write(Job(graph, exported, options, calibration)).files
        except StageError as error:
            if form == "onnx":
                raise RunError(f"{candidate.name}: cannot be written as ONNX: {error.what}") from error
            continue
        name = file_name(form, request.batch)
        files[form] = folder / name
        files[form].write_bytes(content[name])
    return files
