"""`coc run`: what an export, or a checkpoint, says of image files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from coc_cli.errors import Fault, UserError, user_error
from coc_cli.pixels.preparation import InputError, image_pixels
from coc_cli.runtime.session import MANIFEST, Answer, Session, said


def answers(target: Path, images: list[Path], *, trust_code: bool = False) -> tuple[list[dict[str, Any]], bool]:
    """Return what is said of each image, as `said` gives it, and whether the network has exits.

    Args:
        target: A folder that `coc export` wrote, a run directory, or a checkpoint.
        images: Image files.
        trust_code: See `load`.

    Raises:
        UserError: With every image that cannot be used.
    """
    is_export = target.is_dir() and (target / MANIFEST).exists()
    try:
        if is_export:
            session = Session(target)
            predict, labels, shape = session.predict, session.labels, session.shape
            has_exits = session.manifest["rule"] is not None
        else:
            predict, labels, shape, has_exits = _of_checkpoint(target, trust_code=trust_code)
    except InputError as error:
        raise user_error(target, str(error).removeprefix(f"{target}: ")) from error
    pixels, faults = [], []
    for path in images:
        try:
            pixels.append(image_pixels(path, shape))
        except InputError as error:  # noqa: PERF203  (all are to be named)
            faults.append(Fault(str(path), str(error).removeprefix(f"{path}: ")))
    if faults:
        raise UserError(faults)
    found = [{"image": str(path), **said(predict(one), 0, labels)} for path, one in zip(images, pixels, strict=True)]
    return found, has_exits


def _of_checkpoint(target: Path, *, trust_code: bool) -> tuple[Any, tuple[str, ...], tuple[int, int, int], bool]:
    from coc_cli.nets.checkpoint_header import checkpoint_at

    checkpoint = checkpoint_at(target)
    import torch

    from coc_cli.nets.checkpoint import load

    network = load(checkpoint, trust_code=trust_code)

    def predict(pixels: Any) -> Answer:
        x = network.normalise(torch.from_numpy(np.array(pixels))[None])
        begin = time.perf_counter()
        made = network.predict(x)
        seconds = np.array([time.perf_counter() - begin])
        shares = None if made.probabilities is None else made.probabilities.numpy()
        return Answer(made.value.numpy(), made.exit.numpy(), made.confidence.numpy(), shares, seconds)

    spec = network.spec
    return predict, spec.labels, spec.input_shape, spec.rule is not None
