"""ONNX: model.onnx, which stops by itself at the exit where it is sure enough, and model-batch.onnx with all exits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from coc_cli.errors import StageError
from coc_cli.runtime.graph import Layer
from coc_cli.runtime.writers.writer import ExportOptions, Job, Writer, Written

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL, BATCH = "model.onnx", "model-batch.onnx"
LIMITS = {"int8": 127, "int4": 7, "int2": 1}  # the largest code of a weight
IMAGES_AT_ONCE = 64


class Onnx(Writer):
    """For ONNX Runtime, and what reads QDQ: OpenVINO, TensorRT, converters of NPUs."""

    name = "onnx"
    is_exact = True
    summary = "one file that stops by itself in ONNX Runtime, and one for batches"

    def code_limit(self, options: ExportOptions) -> int:
        return LIMITS[options.weights]

    def write(self, job: Job) -> Written:
        from coc_cli.runtime.padding import padded
        from coc_cli.runtime.writers.onnx_model import WEIGHTS, OnnxForm, batched, saturating, unsigned_layers, whole

        graph = padded(job.graph) if job.options.padded else job.graph
        unsigned = unsigned_layers(graph, portable=job.options.portable)
        form = OnnxForm(job.options.weights, unsigned)
        models = {MODEL: whole(graph, form), BATCH: batched(graph, form)}
        opset = max((one.version for one in models[MODEL].opset_import), default=0)
        files = {name: model.SerializeToString(deterministic=True) for name, model in models.items()}
        unsafe = sorted(saturating(graph) - unsigned)
        return Written(
            files=files,
            runtime={"name": "onnxruntime", "least": WEIGHTS[job.options.weights].runtime, "opset": opset},
            about={"weights": job.options.weights, "portable": not unsafe, "unsigned": sorted(unsigned)},
            notes=(*_notes(len(unsafe), len(graph.integer_layers)), *_size_notes(job, unsigned)),
        )

    def answers(self, written: Written, images: NDArray[np.float32]) -> list[NDArray[np.float32]] | None:
        import numpy as np

        session = opened(written.files[BATCH])
        names = [output.name for output in session.get_outputs() if output.name.startswith("exit_")]
        parts = [
            session.run(names, {"image": images[start : start + IMAGES_AT_ONCE]})
            for start in range(0, len(images), IMAGES_AT_ONCE)
        ]
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _notes(unsafe: int, layers: int) -> tuple[str, ...]:
    if not unsafe:
        return ()
    what = f"{unsafe} of {layers} integer layers may give other answers on x86 processors without VNNI"
    return (f"{what}, which add products in 16 bits; --portable is equal everywhere, and slower",)


def _size_notes(job: Job, unsigned: frozenset[str]) -> Iterator[str]:
    """Yield how many layers are no smaller though fewer bits were asked for."""
    layers = [node for node in job.graph.nodes if isinstance(node, Layer)]
    small = [one for one in layers if one.layer not in unsigned and abs(one.codes.astype(int)).max() <= LIMITS["int4"]]
    if job.options.weights == "int8" or len(small) == len(layers):
        return
    which = f"the weights of {len(layers) - len(small)} of {len(layers)} integer layers" if small else "all weights"
    yield f"{which} take 8 bits each in the file, as --weights {job.options.weights} packs only what has fewer"


def opened(model: bytes, *, threads: int = 1, optimised: str | None = None) -> Any:
    """Return a session of ONNX Runtime; raises `StageError` if it does not take the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    if optimised:
        options.optimized_model_filepath = optimised
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        first = (str(error).splitlines() or [""])[0][:200]
        raise StageError(f"ONNX Runtime {onnxruntime.__version__} does not take the file: {first}", "to") from error
