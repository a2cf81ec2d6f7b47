"""Other tools' static quantisation of a float model to 8 bits, to be timed beside coc's. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

INPUT = "image"
QUANTISED = ["Conv", "Gemm", "MatMul", "Add", "Concat", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"]


def peers(model: Path, images: NDArray[np.float32]) -> Iterator[tuple[str, Path]]:
    """Write the 8-bit forms of a float model, each calibrated on the images [N, C, H, W]; yield name and file."""
    yield "ORT int8", _by_onnxruntime(model, images)
    if find_spec("nncf"):
        yield "NNCF int8", _by_nncf(model, images)


def notes() -> list[str]:
    """Return what could be installed for more."""
    return [] if find_spec("nncf") else ["NNCF is not installed, so not timed: pip install nncf"]


def _by_onnxruntime(model: Path, images: NDArray[np.float32]) -> Path:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.left, None)
            return None if image is None else {INPUT: image[None]}

    prepared, path = model.with_name("prepared.onnx"), model.with_name("peer-onnxruntime.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=QUANTISED,
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
    )
    return path


def _by_nncf(model: Path, images: NDArray[np.float32]) -> Path:
    import nncf
    import onnx

    path = model.with_name("peer-nncf.onnx")
    quantised = nncf.quantize(onnx.load(str(model)), nncf.Dataset([{INPUT: image[None]} for image in images]))
    onnx.save(quantised, str(path))
    return path
