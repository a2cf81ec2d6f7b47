"""The forms of export by name. A new one is a class in a file of its own and a line of import below."""

from __future__ import annotations

from coc_cli.registry import registered
from coc_cli.runtime.writers.writer import Writer

from coc_cli.runtime.writers.onnx import Onnx
from coc_cli.runtime.writers.tflite import TFLite
from coc_cli.runtime.writers.torch import TorchProgram

WRITERS = {name: writer() for name, writer in registered(vars(), Writer).items()}
