"""Answers of an exported network, from numpy and ONNX Runtime alone (and Pillow, for image files).

session = Session("export")
answer = session.predict("digit.png")
print(session.labels[answer.value[0]], answer.confidence[0], answer.exit[0])
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coc_cli.pixels.preparation import InputError, Preparation, content_of

MANIFEST, MODEL = "manifest.json", "model.onnx"
LARGEST_MANIFEST = 16_000_000  # bytes
KNOWN_FORMATS = (1,)


@dataclass(frozen=True)
class Answer:
    """What a network says of N images."""

    value: NDArray[Any]  # classes int64 [N], or numbers float32 [N, T] in the targets' units
    exit: NDArray[np.int64]  # [N], at which exit each left; 0 is the first
    confidence: NDArray[np.float32]  # [N], the greatest probability there; NaN for numbers
    probabilities: NDArray[np.float32] | None  # [N, classes]; None for numbers
    seconds: NDArray[np.float64]  # [N], the network alone


class Session:
    """An exported network, ready to answer.

    Args:
        directory: What `coc export` wrote: manifest.json and model.onnx.
        threads: How many threads compute an answer.

    Raises:
        InputError: If a file is missing, damaged, or needs a newer runtime.
    """

    def __init__(self, directory: str | Path, *, threads: int = 1) -> None:
        self.directory = Path(directory)
        self.manifest = read_manifest(self.directory)
        about = self.manifest["input"]
        self.labels: tuple[str, ...] = tuple(self.manifest["labels"])
        self.shape: tuple[int, int, int] = tuple(about["shape"])
        self._preparation = Preparation(self.shape, tuple(about["mean"]), tuple(about["std"]))
        self._session = _opened(self.directory / MODEL, self.manifest, threads)
        self._outputs = [output.name for output in self._session.get_outputs()]

    def prepare(self, images: Any) -> NDArray[np.float32]:
        """Return normalised images [N, C, H, W], prepared as in training; what it takes, `Preparation.prepare` says."""
        return self._preparation.prepare(images)

    def predict(self, images: Any, *, threshold: float | None = None) -> Answer:
        """Answer for images as `prepare` takes them; each leaves at the first exit that is sure enough.

        Args:
            images: See `prepare`.
            threshold: Of the exit rule at all exits, in place of the manifest's.
        """
        batch, extra = self.prepare(images), {}
        if threshold is not None:
            if self.manifest["rule"] is None:
                raise InputError("has no exits, so it takes no threshold")
            own = np.atleast_1d(self.manifest["rule"]["threshold"])
            extra["threshold"] = np.full(len(own), threshold, np.float32)
        found: list[list[Any]] = []
        seconds = []
        for image in batch:
            begin = time.perf_counter()
            found.append(self._session.run(self._outputs, {"image": image[None], **extra}))
            seconds.append(time.perf_counter() - begin)
        columns: dict[str, Any] = {
            name: np.concatenate([row[place] for row in found]) if found else np.empty(0)
            for place, name in enumerate(self._outputs)
        }
        probabilities = columns.get("probabilities")
        return Answer(columns["value"], columns["exit"], columns["confidence"], probabilities, np.array(seconds))


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return an export's manifest, its checksum compared; raises `InputError`."""
    path = directory / MANIFEST
    text = content_of(path, LARGEST_MANIFEST, "there is none; name the folder that coc export wrote")
    try:
        content = json.loads(text)
        rest = {key: value for key, value in content.items() if key != "checksum"}
        canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
        is_whole = content["checksum"] == hashlib.sha256(canonical.encode()).hexdigest()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: damaged; export again") from error
    if not is_whole:
        raise InputError(f"{path}: damaged: does not match its checksum; export again")
    if content.get("schema") not in KNOWN_FORMATS:
        raise InputError(f"{path}: is of format {content.get('schema')}, which this runtime does not know; update it")
    return content  # type: ignore[no-any-return]


def _opened(path: Path, manifest: dict[str, Any], threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("needs onnxruntime; pip install onnxruntime") from error
    about = manifest["files"].get(MODEL)
    if about is None:
        raise InputError(f"{path.parent}: is an export to {manifest['format']}, which ONNX Runtime does not run")
    check_file(path, about)
    least = manifest["runtime"]["least"]
    if _version(onnxruntime.__version__) < _version(least):
        raise InputError(f"{path}: needs onnxruntime {least} or newer, this is {onnxruntime.__version__}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise InputError(f"{path}: onnxruntime {onnxruntime.__version__} does not take it: {first}") from error


def check_file(path: Path, about: dict[str, Any]) -> None:
    """Raise `InputError` unless a file has the size and the checksum that the manifest says."""
    try:
        if not path.is_file() or path.stat().st_size != about["bytes"]:
            raise InputError(f"{path}: missing, cut or of another export; export again")
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if digest.hexdigest() != about["sha256"]:
        raise InputError(f"{path}: damaged: does not match its checksum; export again")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def main(arguments: Sequence[str]) -> int:
    """Answer for image files, a line of JSON each: python coc_runtime.py IMAGE... (in the export's folder)."""
    try:
        session = Session(Path(__file__).parent)
        for path in arguments:
            answer = session.predict(path)
            print(json.dumps({"image": path, **said(answer, 0, session.labels)}))
    except InputError as error:
        print(error)
        return 2
    return 0


def said(answer: Answer, place: int, labels: Sequence[str]) -> dict[str, Any]:
    """Return one image's answer as JSON holds it."""
    about = {"exit": int(answer.exit[place]), "seconds": float(answer.seconds[place])}
    if answer.probabilities is None:
        return {"values": dict(zip(labels, map(float, answer.value[place]), strict=True)), **about}
    shares = dict(zip(labels, map(float, answer.probabilities[place]), strict=True))
    value = int(answer.value[place])
    return {
        "value": value,
        "label": labels[value],
        "confidence": float(answer.confidence[place]),
        **about,
        "probabilities": shares,
    }
