"""Teachers that are asked once: where their answers are kept, and what feeds a training with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from coc_cli.data.images import Data, Split
from coc_cli.data.settings import Augment
from coc_cli.learning.evaluation import outputs
from coc_cli.learning.feeds import Views
from coc_cli.learning.kept_answers import SUFFIX, KeptAnswers, answers_key, digest_of
from coc_cli.learning.kept_features import FrozenBackbone, KeptFeatures
from coc_cli.learning.own_functions import own_functions
from coc_cli.nets.arithmetic import Arithmetic
from coc_cli.nets.network import Network
from coc_cli.version import __version__


class Surroundings(Protocol):
    """What of a stage's lab is needed here."""

    @property
    def data(self) -> Data:
        """On the device."""

    @property
    def augment(self) -> Augment:
        """Of the training images."""

    @property
    def arithmetic(self) -> Arithmetic:
        """Of the steps."""

    def warn(self, text: str, /) -> None:
        """Tell the user."""


@dataclass(frozen=True)
class Answers:
    """Where the answers of teachers are kept, and of what views of the images."""

    folder: Path
    seed: int  # of the views; one for all stages of a chain
    data: str  # the data's key
    memory: int = 0  # bytes that kept features may take
    since: float = 0.0  # answers that were kept earlier do not count

    def feed(
        self, teacher: Network, views: int, lab: Surroundings, seed: int, frozen: FrozenBackbone | None = None
    ) -> Views | None:
        """Return what feeds a training with so many views of each image and the teacher's answers to them.

        None, with a warning, where images stay on disk: a view of all is in memory.
        """
        if lab.data.train.mapped:
            lab.warn("teacher_views is left out, as it needs the images in memory; a larger data.memory may take them")
            return None
        about = [self.seed, self.data, lab.augment.settings(), own_functions().fingerprint(), lab.arithmetic.precision]
        key = answers_key(__version__, torch.__version__, teacher.device.type, digest_of(teacher), *about)
        self._forget_earlier(self.folder / key)

        def ask(split: Split) -> Tensor:
            with teacher.computing(lab.arithmetic):
                return outputs(teacher, split)[-1]

        kept = KeptAnswers(views, len(teacher.spec.labels), self.folder / key, ask)
        features = KeptFeatures(frozen, lab.arithmetic) if frozen else None
        if features and not features.fit(lab.data.train, views, min(self.memory, _free(teacher.device))):
            features = None
        return Views(lab.data.train, lab.augment, seed, self.seed, kept, features)

    def _forget_earlier(self, folder: Path) -> None:
        """Remove what was kept before a fresh run began, so that it does not count where that run goes on either."""
        for path in folder.glob(f"*{SUFFIX}") if self.since else ():
            if path.stat().st_mtime < self.since:
                path.unlink(missing_ok=True)


def _free(device: torch.device) -> float:
    """Return how many bytes features may take of a device's own memory."""
    return torch.cuda.mem_get_info(device)[0] / 2 if device.type == "cuda" else float("inf")
