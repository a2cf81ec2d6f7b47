"""The text of a recipe that `coc init` writes: what was found, with comments. No torch here."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from coc_cli.nets.architectures import ARCHITECTURES
from coc_cli.recipe.found_data import FoundData

PASSES = 400_000  # images that a training is to see, of which follow its epochs
MOST_EPOCHS, LEAST_EPOCHS = 60, 3
NARROWEST = 4  # channels of a student
LARGE_SET = 20_000  # images from which batches are larger
VALIDATION_LEAST = 1e5  # what early exit may cost is rounded up to five digits, at least one validation image
IMAGENET = {3: ("[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.225]"), 1: ("[0.5]", "[0.5]")}
STAGES = ("distill", "prune", "quantize", "early_exit")


@dataclass(frozen=True)
class Draft:
    """All that a recipe is written from."""

    data: FoundData
    arch: str | None  # None: the checkpoint is coc's own
    checkpoint: str | None
    device: str  # what `auto` is on this machine
    name: str
    args: dict[str, Any] = field(default_factory=dict)  # of the architecture in a checkpoint of coc's
    left_out: dict[str, str] = field(default_factory=dict)  # stages that cannot be applied, and why
    bitops_ratio: float | None = None  # that the plan has; None until there is one

    def without(self, stage: str, why: str) -> Draft:
        """Return the draft with a stage as a comment only."""
        return replace(self, left_out={**self.left_out, stage: why})

    @property
    def stages(self) -> list[str]:
        """The stages of the chain, in order."""
        return [name for name in STAGES if self._keys(name) is not None and name not in self.left_out]

    @property
    def text(self) -> str:
        """The recipe."""
        lines = [
            "# By coc init. coc plan says what it would do and cost; every key is in docs/recipes.md.",
            f"name: {self.name}",
        ]
        lines += [
            "seed: 0",
            f"device: auto  # {self.device} here",
            *self._data(),
            *self._model(),
            "chain:" if self.stages else "chain: []",
        ]
        for name in STAGES:
            if (keys := self._keys(name)) is not None:
                why = self.left_out.get(name)
                lines.append(f"  - {name}: {keys}" if why is None else f"  # {name} is left out: {why}")
        return "\n".join([*lines, *self._limits()]) + "\n"

    def _data(self) -> list[str]:
        info, guesses = self.data.info, self.data.guesses
        noun = "classes" if info.task == "classification" else "targets"
        shape = "x".join(map(str, info.shape))
        lines = [f"data:  # {info.images:,} images of {shape}, {len(info.labels)} {noun}"]
        for key, value in self.data.section.items():
            why = f"  # {guesses[key]}" if key in guesses else ""
            lines.append(f"  {key}: {_written(value)}{why}")
        is_picture = info.task == "classification" and info.shape[1] > 16 and info.shape[0] == 3  # noqa: PLR2004
        flip = "flip: true" if is_picture else "shift: 1"
        return [*lines, f"  # augment: {{{flip}}}  # random changes to training images; flips must not change a class"]

    def _model(self) -> list[str]:
        lines = ["model:"]
        if self.arch:
            lines.append(f"  arch: {_written(self.arch)}")
        if self.checkpoint is None:
            return [*lines, f"  train: {{epochs: {self._epochs}, batch: {self._batch}, lr: 2e-3}}"]
        lines.append(f"  checkpoint: {_written(self.checkpoint)}")
        if self.arch is None:
            return [*lines, "  # coc wrote the checkpoint, which brings its architecture, mean and std"]
        mean, std = IMAGENET[self.data.info.shape[0]]
        why = "as images were normalised when the weights were trained; without: by the training images here"
        return [*lines, f"  # mean: {mean}  # {why}", f"  # std: {std}"]

    @property
    def _epochs(self) -> int:
        """Return how many epochs of a training see enough images."""
        return max(LEAST_EPOCHS, min(MOST_EPOCHS, math.ceil(PASSES / max(1, self.data.info.images))))

    @property
    def _batch(self) -> int:
        return 128 if self.data.info.images > LARGE_SET else 64

    def _keys(self, stage: str) -> str | None:
        """Return a stage's keys as text; None where it cannot be."""
        usual = f"epochs: {self._epochs}, batch: {self._batch}"
        if stage == "distill":
            student = self._student()
            return None if student is None else f"{{student: {student}, {usual}}}"
        if stage == "prune":
            return f"{{ratio: 0.3, {usual}}}  # of the MACs"
        if stage == "quantize":
            return f"{{weights: 4, activations: 4, {usual}}}  # bits"
        cost = self._exit_cost()
        return None if cost is None else f"{{exits: 2, {usual}, max_drop: {cost:g}}}  # of the metric, on validation"

    def _student(self) -> str | None:
        """Return a smaller network of the same kind, if coc knows how to make one."""
        known = ARCHITECTURES.get(self.arch or str(self.args.get("arch")))
        if known is None:
            return None
        given = {**known.defaults, **{key: value for key, value in self.args.items() if key in known.defaults}}
        smaller = [depth for depth in known.allowed_depths if depth < given.get("depth", 0)]
        if smaller:
            wanted = 0.6 * given["depth"]
            return f"{{depth: {min(smaller, key=lambda depth: abs(depth - wanted))}}}"
        width = 3 * given.get("width", 0) // 4
        return f"{{width: {width}}}" if width >= NARROWEST else None

    def _exit_cost(self) -> float | None:
        info = self.data.info
        if info.task == "classification":
            return max(0.005, math.ceil(VALIDATION_LEAST / info.validation_images) / VALIDATION_LEAST)
        return None if not self.data.spread else float(f"{0.05 * self.data.spread:.2g}")

    def _limits(self) -> list[str]:
        drop = (
            0.02
            if self.data.info.task == "classification"
            else self.data.spread and float(f"{0.1 * self.data.spread:.2g}")
        )
        unit = "of the accuracy" if self.data.info.task == "classification" else "in the targets' unit"
        lines = ["limits:  # a run that misses one ends with exit code 3"]
        lines += [f"  max_drop: {drop:g}  # {unit}, on test, against the baseline"] if drop else []
        ratio = math.floor(0.8 * self.bitops_ratio) if self.bitops_ratio else 1
        return [*lines, f"  min_bitops_ratio: {max(1, ratio)}  # the plan has more, with every image on the full path"]


def name_for(data: str) -> str:
    """Return a recipe's name for what its data are called."""
    stem = Path(data.rpartition(":")[2] or data).stem
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:60] or "mine"


def _written(value: Any) -> str:
    """Return a value as YAML in one line; JSON is YAML."""
    return json.dumps(value, ensure_ascii=False)
