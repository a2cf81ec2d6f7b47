"""Does an export give the same bits on an x86 processor without VNNI? Emulated by qemu-user, as a Haswell.

python benchmarks/emulated.py docs/benchmarks/emulated.json RUN EXPORT [RUN EXPORT ...]  the run, and its export
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
IMAGES = 300
EMULATOR = ["qemu-x86_64", "-cpu", "Haswell"]


def answers(folder: Path, images: Path, out: Path) -> None:
    """Write what ONNX Runtime gives for each image, all outputs in one row; this runs natively and emulated."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    rows = [[part.ravel() for part in session.run(None, {name: image[None]})] for image in np.load(images)]
    np.save(out, np.array([np.concatenate(row) for row in rows]))


def measured(run: Path, folder: Path) -> dict[str, Any]:
    """Run an export natively and emulated on the first test images; return how many rows and answers are equal."""
    from coc_cli.nets.checkpoint import load
    from coc_cli.recipe.reading import read

    network = load(run / "model.safetensors", trust_code=True)
    with tempfile.TemporaryDirectory() as place:
        images, native, emulated = (Path(place) / name for name in ("images.npy", "native.npy", "emulated.npy"))
        first, _ = next(iter(read(run / "recipe.yaml").images().test.batches(IMAGES)))
        np.save(images, network.normalise(first).numpy())
        found = []
        for emulator, out in (([], native), (EMULATOR, emulated)):
            command = [*emulator, os.path.realpath(sys.executable), __file__, "--answers", folder, images, out]
            subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
            found.append(np.load(out))
    ours, theirs = found
    about = json.loads((folder / "manifest.json").read_text())
    return {
        "portable": about["portable"],
        "images": len(ours),
        "equal_bits": float((ours == theirs).all(1).mean()),
        "same_value": float((ours[:, 0] == theirs[:, 0]).mean()),
    }


def main() -> None:
    """Measure each pair and write the record."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]
    from record import provenance

    head = {**provenance(), "emulator": " ".join(EMULATOR)}
    file, *pairs = map(Path, sys.argv[1:])
    by_pair = zip(pairs[::2], pairs[1::2], strict=True)
    found = {folder.name: measured(run.absolute(), folder.absolute()) for run, folder in by_pair}
    file.write_text(json.dumps({**head, "exports": found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    if sys.argv[1] == "--answers":
        answers(*map(Path, sys.argv[2:]))
    else:
        main()
