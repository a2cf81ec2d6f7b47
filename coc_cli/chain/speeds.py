"""How fast stages ran on this machine, kept in the cache, and how long a plan may take by that. No torch here.

The file is a convenience: no result, cache key or checkpoint depends on it, and one that cannot be read means that
nothing is known yet.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from pydantic import Field, ValidationError

from coc_cli.chain.plan import Plan, Step
from coc_cli.data.sources import UNKNOWN_COUNT
from coc_cli.errors import UserError
from coc_cli.files import budget
from coc_cli.files.atomic import locked, write_atomically
from coc_cli.files.opening import parse_json, read_text
from coc_cli.files.run_directory import CACHE, SPEEDS
from coc_cli.learning.training import Epoch
from coc_cli.profiling.machine import processor_name
from coc_cli.recipe.reading import RecipeFile
from coc_cli.report.schema.part import JsonPart, as_json

MOST = 400  # speeds that are kept, the latest
FARTHEST = 64.0  # times the MACs, or as little of them, up to which a speed says something of another network
TRAIN_FRACTION = 0.75  # of all images, where the same data were not trained on here


class Speed(JsonPart):
    """How fast a stage ran."""

    processor: str
    device: str  # cpu, or the name of the GPU
    threads: int
    stage: str
    macs: float = Field(gt=0)  # of the network that was trained, on its full path
    batch: int
    seconds_per_image: float = Field(gt=0)  # of training, with validation and all else that the stage did
    data: str  # a hash of the recipe's data section
    images: int = Field(gt=0)  # in an epoch


class Speeds(JsonPart):
    """The file."""

    speeds: list[Speed]


@dataclass(frozen=True)
class Machine:
    """What trains."""

    processor: str
    device: str
    threads: int

    @classmethod
    def of(cls, device: str) -> Machine:
        """Return this machine, with one of its devices as torch names it."""
        import torch

        name = torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu"
        return cls(processor_name(), name, torch.get_num_threads())


def data_hash(file: RecipeFile) -> str:
    """Return a hash of the recipe's data section, by which the number of training images is known again."""
    return sha256(file.recipe.data.model_dump_json().encode()).hexdigest()[:16]


def note_speed(
    machine: Machine, file: RecipeFile, step: Step, images: int, done: Sequence[Epoch], seconds: float
) -> None:
    """Keep how fast a stage ran; what cannot be written costs the note only.

    Args:
        machine: What trained.
        file: The recipe.
        step: The stage.
        images: In an epoch.
        done: The epochs that were trained now.
        seconds: What that took, with all else that the stage did.
    """
    train = file.recipe.trainings[step.index]
    if train is None or not done or not images:
        return
    speed = Speed(
        **vars(machine),
        stage=step.name,
        macs=step.cost.macs,
        batch=train.batch,
        seconds_per_image=seconds / (len(done) * images),
        data=data_hash(file),
        images=images,
    )
    path = CACHE / SPEEDS
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path.with_suffix(".lock"), wait=True):
            kept = [*_read(), speed][-MOST:]
            write_atomically(path, as_json(Speeds(speeds=kept)).encode())


def _read() -> list[Speed]:
    try:
        content = parse_json(read_text(CACHE / SPEEDS, budget.RECIPE_BYTES))
        return Speeds.model_validate_json(json.dumps(content)).speeds
    except (OSError, ValueError, ValidationError, RecursionError):
        return []


def estimated_seconds(file: RecipeFile, plan: Plan, machine: Machine | None = None) -> float | None:
    """Return how long a run may take here, all stages made; None if one of its stages has not run here yet."""
    speeds = _read()
    if not speeds:
        return None
    if machine is None:
        from coc_cli.recipe.device import torch_device

        try:
            machine = Machine.of(torch_device(file, None))
        except UserError:  # the recipe is for another machine
            return None
    own = tuple(vars(machine).values())
    here = [speed for speed in speeds if (speed.processor, speed.device, speed.threads) == own]
    images = _train_images(file, here)
    total = 0.0
    for step, one in zip(plan.steps, file.recipe.trainings, strict=True):
        if one is None or one.epochs == 0:
            continue
        speed = _nearest(here, step.name, step.cost.macs, one.batch)
        if speed is None or images is None:
            return None
        total += one.epochs * images * speed.seconds_per_image * step.cost.macs / speed.macs
    return total


def _nearest(speeds: Sequence[Speed], stage: str, macs: float, batch: int) -> Speed | None:
    """Return the speed of the same kind of stage on the network of the nearest size, of equal ones the latest."""

    def distance(speed: Speed) -> float:
        return abs(math.log(speed.macs / macs)) + 0.5 * abs(math.log(speed.batch / batch))

    same = [speed for speed in reversed(speeds) if speed.stage == stage and _is_near(speed.macs, macs)]
    return min(same, key=distance, default=None)


def _is_near(one: float, other: float) -> bool:
    return 1 / FARTHEST <= one / other <= FARTHEST


def _train_images(file: RecipeFile, speeds: Sequence[Speed]) -> int | None:
    """Return how many images an epoch has: known if the same data were trained on here, else about."""
    key = data_hash(file)
    known = next((speed.images for speed in reversed(speeds) if speed.data == key), None)
    total, most = file.info.images, file.recipe.data.limits[0]
    about = round(TRAIN_FRACTION * total) if 0 < total < UNKNOWN_COUNT else None
    return known or (about and min(about, most or about))
