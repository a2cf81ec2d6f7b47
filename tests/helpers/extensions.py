"""One toy of each kind that grows: the file that it is, and the one line that registers it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

STAGE = '''
"""Wobble: train as it is."""

from typing import ClassVar

from coc_cli.nets.spec import Spec
from coc_cli.stages.stage import Lab
from coc_cli.stages.taught_stage import TaughtStage


class Wobble(TaughtStage):
    """Train the network a little more."""

    name: ClassVar[str] = "wobble"

    def expect(self, spec: Spec) -> Spec:
        return spec

    def change(self, network, lab: Lab):
        from coc_cli.nets.network import clone

        rested = clone(network)
        lab.train(rested, self, self.loss(self.teacher_network(network, lab)))
        return rested
'''

POLICY = '''
"""Everything leaves at the first exit."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from coc_cli.exits.policies.policy import Decision, Family, Policy


@dataclass(frozen=True)
class Hasty(Policy):
    """Leave at the first exit, whatever it says."""

    name: ClassVar[str] = "hasty"
    family: ClassVar[Family] = "passive"

    @classmethod
    def shapes(cls, context):
        yield cls()

    def first(self, trace):
        return np.zeros(len(trace), dtype=int)

    def decide(self, trace, at, inputs):
        return Decision(np.ones(len(inputs.rows), dtype=bool), np.full(len(inputs.rows), at + 1))

    def may_visit(self, exits):
        return (0, exits)
'''

GOVERNOR = '''
"""The highest level, under another name."""

from functools import partial
from typing import ClassVar

from coc_cli.dvfs.governors.governor import Governor, hold_level


class Summit(Governor):
    """The highest level throughout."""

    name: ClassVar[str] = "summit"

    def rule(self, model, statistics, deadline_ms):
        return partial(hold_level, level=model.fastest)
'''

SOURCE = '''
"""Stripes: where the bright ones are tells the class."""

from coc_cli.data.info import DataInfo
from coc_cli.data.sources.source import Source

INFO = DataInfo((1, 8, 8), ("left", "middle", "right"), "classification", (0.3,), (0.3,), 60)


class Stripes(Source):
    """Bright stripes, made up."""

    name = "stripes"
    summary = "images with a bright stripe, which is its class"

    def describe(self, settings):
        return INFO

    def read(self, settings, seed, cache, progress):
        import torch

        from coc_cli.data.images import Data, Split

        def split(n: int, seed: int) -> Split:
            generator = torch.Generator().manual_seed(seed)
            images = torch.randint(0, 120, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
            targets = torch.arange(n) % 3
            for index, target in enumerate(targets.tolist()):
                images[index, :, :, 3 * target : 3 * target + 2] += 130
            return Split(images, targets)

        return Data(split(120, 1), split(60, 2), split(60, 3), info=INFO)
'''

LIMIT = '''
"""How many parameters the result may have."""

from typing import Annotated, Any, ClassVar

from pydantic import Field

from coc_cli.recipe.limits.limit import Limit


class MaxParams(Limit):
    """The number of parameters."""

    name: ClassVar[str] = "max_params"
    annotation: ClassVar[Any] = Annotated[int | None, Field(gt=0, description="parameters of the result")]

    def value(self, baseline, result, sign):
        return result.params

    def is_met(self, limit, value):
        return value <= limit
'''


LOGGER = '''
"""A file with the names of stages."""

from typing import ClassVar

from coc_cli.loggers.logger import NoLogger


class Diary(NoLogger):
    """RUN/diary: a line for each stage, no more."""

    name: ClassVar[str] = "diary"

    def begin(self, about):
        self.path = about.directory / "diary"

    def stage(self, row):
        with self.path.open("a") as file:
            file.write(f"{row.stage}\\n")
'''


@dataclass(frozen=True)
class Extension:
    """A toy of one kind."""

    folder: str  # below the package
    file: str
    text: str
    line: str

    @property
    def module(self) -> str:
        return f"coc_cli.{self.folder.replace('/', '.')}.{self.file}"


EXTENSIONS = (
    Extension("stages", "wobble", STAGE, "from coc_cli.stages.wobble import Wobble"),
    Extension("exits/policies", "hasty", POLICY, "from coc_cli.exits.policies.hasty import Hasty"),
    Extension("dvfs/governors", "summit", GOVERNOR, "from coc_cli.dvfs.governors.summit import Summit"),
    Extension("data/sources", "stripes", SOURCE, "from coc_cli.data.sources.stripes import Stripes"),
    Extension("recipe/limits", "max_params", LIMIT, "from coc_cli.recipe.limits.max_params import MaxParams"),
    Extension("loggers", "diary", LOGGER, "from coc_cli.loggers.diary import Diary"),
)


def extended_copy(root: Path, target: Path) -> None:
    """Copy the project's package and docs, with one file and one line more for each toy."""
    for name in ("coc_cli", "docs", "benchmarks"):
        shutil.copytree(root / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
    for one in EXTENSIONS:
        folder = target / "coc_cli" / one.folder
        (folder / f"{one.file}.py").write_text(one.text.lstrip())
        registry = (folder / "__init__.py").read_text().splitlines(keepends=True)
        last = max(
            i for i, line in enumerate(registry) if line.startswith(f"from coc_cli.{one.folder.replace('/', '.')}.")
        )
        (folder / "__init__.py").write_text("".join([*registry[: last + 1], f"{one.line}\n", *registry[last + 1 :]]))
