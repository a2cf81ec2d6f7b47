"""What a TFLite file answers, in LiteRT."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np

from coc_cli.runtime.graph import Array
from coc_cli.runtime.writers.tflite_scope import BOTTOM, TOP


def answers(file: bytes, images: Array) -> list[Array] | None:
    """Return the numbers [N, K] of all exits for normalised images [N, C, H, W]; None where LiteRT is not installed."""
    if importlib.util.find_spec("ai_edge_litert") is None:
        return None
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file, num_threads=1)
    interpreter.allocate_tensors()
    (source,), outputs = interpreter.get_input_details(), interpreter.get_output_details()
    found: list[list[Array]] = [[] for _ in outputs]
    for codes in input_codes(images, source["quantization"]):
        interpreter.set_tensor(source["index"], codes)
        interpreter.invoke()
        for numbers, output in zip(found, outputs, strict=True):
            numbers.append(values(interpreter.get_tensor(output["index"])[0], output["quantization"]))
    return [np.stack(numbers) for numbers in found]


def input_codes(images: Array, quantization: tuple[float, int]) -> Array:
    """Return bytes [N, 1, H, W, C] of normalised images [N, C, H, W], by the step and the zero point of the input."""
    scale, zero = quantization
    codes = np.rint(np.ascontiguousarray(images, np.float32) / np.float32(scale)) + zero
    channels_last: Array = np.moveaxis(np.clip(codes, BOTTOM, TOP).astype(np.int8), 1, -1)
    return channels_last[:, None]


def values(codes: Any, quantization: tuple[float, int]) -> Array:
    """Return the numbers that an output's bytes mean."""
    scale, zero = quantization
    numbers: Array = (codes.astype(np.float32) - zero) * np.float32(scale)
    return numbers
