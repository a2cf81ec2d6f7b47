"""Knowledge distillation: a student learns to give the teacher's answers (Hinton, Vinyals and Dean 2015).

- distill: {student: {depth: 8, width: 8}, epochs: 60, temperature: 4}
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Tag

from coc_cli.errors import StageError
from coc_cli.frozen import MAPPING, TEXT, by_kind
from coc_cli.nets.sources import ArchitectureSettings
from coc_cli.nets.spec import Exit, Spec
from coc_cli.stages.stage import ChainPosition, Lab, TaughtStage

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.nets.network import Network
    from coc_cli.nets.precision import Precision
    from coc_cli.training import Batch, Loss


class Student(ArchitectureSettings):
    """The architecture that takes the backbone's place; what is not given is the incoming network's."""


@dataclass(frozen=True)
class Carried:
    """What a student takes over: exits at equal shares of MACs, the share of MACs that pruning left, bits by role."""

    student: Spec
    kept: float
    precision: Precision | None

    def pruned(self, student: Network) -> Network:
        """Give the student with the same share of its MACs left."""
        from coc_cli.stages.prune import Prune, choose, sliced

        if self.kept == 1.0:
            return student
        return sliced(student, choose(student, Prune(ratio=1 - self.kept), self.kept))

    def pruned_spec(self, student: Spec) -> Spec:
        """Give what that will be, without weights."""
        from coc_cli.stages.prune import Prune

        return student if self.kept == 1.0 else Prune(ratio=1 - self.kept).expect(student)


class Distill(TaughtStage):
    """Train a student, or the network itself, with a teacher."""

    name: ClassVar[str] = "distill"
    works_on: ClassVar[str] = "architecture"
    advised_place: ClassVar[int | None] = 1

    student: Annotated[
        Annotated[
            Annotated[Literal["same"], Tag(TEXT)] | Annotated[Student, Tag(MAPPING)],
            by_kind("'same' or a mapping of keys", words=("same",)),
        ],
        Field(description="'same' keeps the network and trains it; a student replaces its backbone"),
    ] = "same"
    teacher: Literal["baseline", "incoming"] = "baseline"
    feature_weight: Annotated[
        float, Field(ge=0, description="weight of the attention-transfer loss on features of equal resolution; 0: none")
    ] = 0.0

    def faults(self, position: ChainPosition) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if self.student == "same":
            if position.index == 0 and "student" not in self.model_fields_set:
                what = (
                    "needs a 'student' when it comes first: {arch, depth, width}, or 'same' to train the same network"
                )
                yield (), what
            return
        arch = self.student.arch or position.arch
        if arch is not None and (self.student.arch or position.index == 0):
            for loc, what in self.student.faults(arch, position.arguments if arch == position.arch else {}):
                if self.student.arch or loc != ("arch",):  # else the model's own fault, said there
                    yield ("student", *loc), what

    def expect(self, spec: Spec) -> Spec:
        from coc_cli.nets.precision import with_precision

        if self.student == "same":
            return spec
        carried = self._carried(spec)
        try:
            student = carried.pruned_spec(carried.student)
        except StageError as error:
            raise StageError(
                f"the student cannot be pruned like the incoming network: {error.what}", "student"
            ) from error
        return with_precision(student, carried.precision) if carried.precision else student

    def _carried(self, spec: Spec) -> Carried:
        """Give the student before anything is done to it, and what it takes over from the incoming network."""
        from coc_cli.nets.places import Places, spread
        from coc_cli.nets.precision import precision_of
        from coc_cli.nets.shapes import check_runs
        from coc_cli.stages.prune import backbone_macs

        student = self._backbone(spec)
        try:
            check_runs(student)
        except StageError as error:
            raise StageError(error.what, "student") from error
        exits: tuple[Exit, ...] = ()
        if spec.exits:
            before, after = Places(spec), Places(student)
            shares = [place.share for at in spec.exits if (place := before.named(at.source))]
            places = after.every_block() if len(after.every_block()) >= len(shares) else after.every_conv()
            exits = tuple(
                Exit(source=place.source, head=at.head, channels=place.channels)
                for place, at in zip(spread(places, shares), spec.exits, strict=False)
            )
        kept = backbone_macs(spec) / backbone_macs(spec.but(modules={}, parameters={})) if spec.modules else 1.0
        rule = spec.rule if exits else None
        return Carried(student.but(exits=exits, rule=rule), kept, precision_of(spec))

    def _backbone(self, spec: Spec) -> Spec:
        """Give the student's spec before anything is carried over; raises `StageError`."""
        assert isinstance(self.student, Student)
        arch = self.student.arch or spec.arch
        try:
            args = self.student.arguments(arch, spec.args if arch == spec.arch else {})
        except StageError as error:
            raise StageError(error.what, "student") from error
        return spec.but(arch=arch, args=args, modules={}, parameters={}, bits={}, edges={}, exits=(), rule=None)

    def notes(self, spec: Spec) -> list[str]:
        if self.student == "same":
            return []
        from coc_cli.nets.precision import set_apart

        carried, notes = self._carried(spec), []
        if carried.kept < 1:
            notes.append(f"the student is pruned like the incoming network, to {carried.kept:.0%} of its MACs")
        if carried.precision is not None:
            notes.append(f"the student takes over the bits by role: {carried.precision}")
            apart = set_apart(spec)
            if apart:
                notes.append(f"the bits of layers set apart are gone, they get those of their role: {', '.join(apart)}")
        if spec.exits:
            places = ", ".join(place.source.removeprefix("backbone_") for place in carried.student.exits)
            gone = len(spec.exits) - len(carried.student.exits)
            lost = f"; it has too few places, {gone} exits are gone" if gone else ""
            notes.append(f"the student has exits at the same shares of its MACs: {places}{lost}")
        return notes

    def change(self, network: Network, lab: Lab) -> Network:

        from coc_cli.nets.network import build, clone
        from coc_cli.nets.precision import with_precision
        from coc_cli.stages.quantize import start

        teacher = self.teaching(network, lab)
        assert teacher is not None
        if self.student == "same":
            student = clone(network)
            lab.train(student, self, self._loss(teacher, student))
            return student
        carried = self._carried(network.spec)
        student = build(carried.student).to(lab.device)
        if carried.kept == 1.0 and carried.precision is None:
            lab.train(student, self, self._loss(teacher, student))
            return student
        # A student that is born narrow and rounded learns badly: for half of the time it is neither.
        first = self.model_copy(update={"epochs": self.epochs - self.epochs // 2})
        lab.train(student, first, self._loss(teacher, student), phase="whole")
        student = carried.pruned(student).to(lab.device)
        if carried.precision is not None:
            student = start(student, with_precision(student.spec, carried.precision), lab)
        second = self.model_copy(update={"epochs": self.epochs // 2})
        lab.train(student, second, self._loss(teacher, student), phase="reduced")
        return student

    def _loss(self, teacher: Network, student: Network) -> Loss:
        if not self.feature_weight:
            return self.loss(teacher)
        import torch

        from coc_cli.losses import attention_transfer
        from coc_cli.nets.features import common_features
        from coc_cli.tasks import task_of

        task = task_of(student.spec)
        mine, theirs = common_features(student, teacher)

        def value(network: Network, batch: Batch) -> Tensor:
            with torch.no_grad():
                answers, shown = teacher.run(batch.inputs, theirs)
            outputs, features = network.run(batch.inputs, mine)
            plain = self.loss_of(task, outputs, batch, answers[-1])
            return plain + self.feature_weight * attention_transfer(features, shown)

        return value
