"""A program of torch.export: for users of PyTorch; neither small nor fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coc_cli.runtime.writers.writer import Job, Writer, Written

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL = "model.pt2"
IMAGES_AT_ONCE = 64


class TorchProgram(Writer):
    """What torch.export.load opens without coc."""

    name = "torch"
    is_integer = False
    summary = "for PyTorch without coc, neither small nor fast"

    def write(self, job: Job) -> Written:
        import torch

        from coc_cli.runtime.writers.torch_program import write

        least = torch.__version__.split("+")[0]
        note = "rounded values lie in it as float32: neither small nor fast; it is for users of PyTorch"
        runtime = {"name": "torch", "least": least, "opset": "pt2"}
        return Written({MODEL: write(job.network)}, runtime, notes=(note,))

    def answers(self, written: Written, images: NDArray[np.float32]) -> list[NDArray[np.float32]] | None:
        import io

        import numpy as np
        import torch

        module = torch.export.load(io.BytesIO(written.files[MODEL])).module()
        starts = range(0, len(images), IMAGES_AT_ONCE)
        with torch.no_grad():
            parts = [module(torch.from_numpy(images[start : start + IMAGES_AT_ONCE])) for start in starts]
        return [np.concatenate([one.numpy() for one in part]) for part in zip(*parts, strict=True)]
