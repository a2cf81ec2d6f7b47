"""What a teacher says to fixed views of the training images: asked once, kept on disk for all stages and runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from coc_cli.data.images import Split
from coc_cli.files import budget
from coc_cli.files.atomic import write_atomically
from coc_cli.files.opening import read_bytes
from coc_cli.files.run_directory import sweep_beside
from coc_cli.nets.network import Network

SUFFIX = ".answers"
_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True)
class KeptAnswers:
    """The answers of one teacher to `views` views of the same images, a file a view."""

    views: int
    width: int  # numbers in an answer
    folder: Path  # named by all on which the answers depend
    ask: Callable[[Split], Tensor]  # float [N, K] on any device

    def of(self, view: int, images: Split) -> Tensor:
        """Return the answers to a view, float16 [N, K] on the CPU; asks for them where they are not on disk yet."""
        path = self.folder / f"{view}{SUFFIX}"
        kept = _read(path, len(images), self.width)
        if kept is not None:
            with suppress(OSError):
                os.utime(self.folder)  # when they were used last
            return kept
        sweep_beside(path)
        most = torch.finfo(torch.float16).max
        said = self.ask(images).clamp(-most, most).to("cpu", torch.float16)
        body = np.ascontiguousarray(said.numpy()).tobytes()
        write_atomically(path, hashlib.sha256(body).digest() + body)
        return said


def _read(path: Path, count: int, width: int) -> Tensor | None:
    """Return the answers in a file, float16 [N, K]; None if it is not there, not whole, or no answers to these."""
    try:
        content = memoryview(read_bytes(path, budget.STATE_BYTES))
    except OSError:
        return None
    body = content[_DIGEST:]
    if len(body) != 2 * count * width or hashlib.sha256(body).digest() != content[:_DIGEST]:
        return None
    kept = torch.from_numpy(np.frombuffer(bytearray(body), np.float16).reshape(count, width))
    return kept if bool(kept.isfinite().all()) else None


def digest_of(network: Network) -> str:
    """Return a checksum of a network: its spec and every tensor."""
    digest = hashlib.sha256(network.spec.model_dump_json().encode())
    for name, tensor in network.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def answers_key(*parts: object) -> str:
    """Return a hash of all on which answers depend."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:32]
