"""TFLite: bytes all through, for LiteRT on phones and TensorFlow Lite Micro on microcontrollers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coc_cli.errors import StageError
from coc_cli.runtime.writers.writer import Job, Writer, Written

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "model.tflite"


class TFLite(Writer):
    """Full-integer TFLite: all exits are outputs."""

    name = "tflite"
    summary = "bytes all through, for phones and microcontrollers"

    def write(self, job: Job) -> Written:
        from coc_cli.runtime.writers.tflite_file import sizes
        from coc_cli.runtime.writers.tflite_model import calibrated, write

        if not len(job.calibration):
            raise StageError("needs images to find the steps of outputs; name a recipe with --data", "to")
        content = write(job.graph, calibrated(job.graph, job.calibration))
        needs = sizes(content)
        how = "measured" if needs.is_measured else "an estimate; TensorFlow Lite Micro, where installed, measures it"
        memory = {"flash_bytes": needs.flash_bytes, "arena_bytes": needs.arena_bytes, "measured": needs.is_measured}
        runtime = {"name": "LiteRT", "least": "2.17", "opset": "schema 3"}
        bytes_ = f"{len(content):,} bytes of flash and {needs.arena_bytes:,} of arena"
        return Written({MODEL: content}, runtime, {"memory": memory}, (f"a microcontroller needs {bytes_} ({how})",))

    def answers(self, written: Written, images: NDArray[np.float32]) -> list[NDArray[np.float32]] | None:
        from coc_cli.runtime.writers.tflite_answers import answers

        return answers(written.files[MODEL], images)
