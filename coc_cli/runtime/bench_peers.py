"""Other tools' static quantisation of a float model to 8 bits, to be timed beside coc's. No torch here."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coc_cli.errors import first_line

INPUT = "image"
QUANTISED = ["Conv", "Gemm", "MatMul", "Add", "Concat", "Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool"]


@dataclass(frozen=True)
class Peer:
    """A tool, the packages that it needs, and the runtimes that it writes for (none named: all)."""

    name: str
    packages: tuple[str, ...]
    runtimes: tuple[str, ...]
    quantise: Callable[[Path, NDArray[np.float32], Path], None]  # a float model, images [N, C, H, W]; writes the file

    def written(self, model: Path, images: NDArray[np.float32]) -> Path | str:
        """Return the 8-bit form of a float model, or why there is none."""
        absent = [name for name in self.packages if not find_spec(name)]
        if absent:
            return f"{self.name} is not timed: pip install {' '.join(absent)}"
        path = model.with_name(f"{self.packages[0]}.onnx")
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # bars of progress
                self.quantise(model, images, path)
        except Exception as error:  # noqa: BLE001  (somebody else's tool may refuse a network in any way)
            return f"{self.name} is not timed: {self.packages[0]} refuses the network: {first_line(error)}"
        return path


def _by_onnxruntime(model: Path, images: NDArray[np.float32], path: Path) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        left = iter(images)

        def get_next(self) -> dict[str, Any] | None:
            image = next(self.left, None)
            return None if image is None else {INPUT: image[None]}

    prepared = path.with_name("prepared.onnx")
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


def _by_nncf(model: Path, images: NDArray[np.float32], path: Path) -> None:
    import nncf
    import onnx

    calibration = nncf.Dataset([{INPUT: image[None]} for image in images])
    onnx.save(nncf.quantize(onnx.load(str(model)), calibration), str(path))


PEERS = (
    Peer("ORT int8", ("onnxruntime",), (), _by_onnxruntime),
    Peer("NNCF int8", ("nncf", "openvino"), ("openvino",), _by_nncf),
)
