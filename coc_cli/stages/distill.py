"""Knowledge distillation: a student learns to reproduce the teacher's outputs (Hinton, Vinyals and Dean 2015).

- distill: {student: {depth: 8, width: 8}, epochs: 60, temperature: 4}
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Tag

from coc_cli.errors import StageError
from coc_cli.frozen import MAPPING, TEXT, by_kind
from coc_cli.nets.architectures import ArchitectureSettings
from coc_cli.nets.spec import Spec
from coc_cli.stages.stage import ChainPosition, Lab
from coc_cli.stages.taught_stage import TaughtStage

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.learning.training import Batch, Loss
    from coc_cli.nets.network import Network
    from coc_cli.stages.student import StudentPlan


class Student(ArchitectureSettings):
    """The architecture that takes the backbone's place; what is not given is the incoming network's."""


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
        float,
        Field(
            ge=0, le=1e6, description="weight of the attention-transfer loss on features of equal resolution; 0: none"
        ),
    ] = 0.0

    def faults(self, position: ChainPosition) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if self.feature_weight and self.teacher_views:
            yield ("teacher_views",), "keeps no features, which feature_weight needs; leave one of them out"
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

    def at_strength(self, step: int, position: ChainPosition) -> Distill | None:
        """Return it with a student of 0.84 times the width for each step."""
        if self.student == "same" or not step:
            return self
        width = self.student.width or (None if self.student.arch else position.arguments.get("width"))
        if not isinstance(width, int):
            return None
        narrower = max(1, round(width * 2 ** (-step / 4)))
        return self.model_copy(update={"student": self.student.model_copy(update={"width": narrower})})

    @property
    def remakes_incoming(self) -> bool:
        return self.student != "same" and self.student.arch is None

    def expect(self, spec: Spec) -> Spec:
        return spec if self.student == "same" else self._plan(spec).expected()

    def _plan(self, spec: Spec) -> StudentPlan:
        """Return the student before it is reduced, and what it takes over from the incoming network."""
        from coc_cli.stages.student import plan_student

        return plan_student(spec, self._backbone(spec))

    def _backbone(self, spec: Spec) -> Spec:
        """Return the student's spec before anything is carried over; raises `StageError`."""
        assert isinstance(self.student, Student)
        arch = self.student.arch or spec.arch
        try:
            args = self.student.arguments(arch, spec.args if arch == spec.arch else {})
        except StageError as error:
            raise StageError(error.what, "student") from error
        from coc_cli.nets.entry import with_graph

        student = spec.with_changes(
            arch=arch,
            args=args,
            graph=None,
            modules={},
            parameters={},
            bits={},
            edges={},
            exits=(),
            rule=None,
            scales="learned",
        )
        try:
            return with_graph(student)
        except StageError as error:
            raise StageError(error.what, "student") from error

    def notes(self, spec: Spec) -> list[str]:
        return [] if self.student == "same" else self._plan(spec).notes(spec)

    def change(self, network: Network, lab: Lab) -> Network:
        from coc_cli.nets.network import clone, fresh
        from coc_cli.nets.precision import with_precision
        from coc_cli.nets.quantizer_initialization import initialize_quantizers

        teacher = self.teacher_network(network, lab)
        plan = None if self.student == "same" else self._plan(network.spec)
        student = fresh(plan.spec).to(lab.device) if plan else clone(network)
        if plan is None or not plan.is_reduced:
            self._train(student, self.epochs, lab, teacher)
            return student
        # A student that starts narrow and rounded learns badly: for half of the epochs it is neither.
        self._train(student, self.epochs - self.epochs // 2, lab, teacher, "whole")
        student = plan.pruned(student).to(lab.device)
        if plan.precision is not None:
            spec = with_precision(student.spec, plan.precision)
            student = initialize_quantizers(student, spec, lab.data.train, lab.device)
        self._train(student, self.epochs // 2, lab, teacher, "reduced")
        return student

    def _train(self, student: Network, epochs: int, lab: Lab, teacher: Network | None, phase: str = "training") -> None:
        settings, loss = self.model_copy(update={"epochs": epochs}), self._loss(teacher, student)
        lab.train(student, settings, loss, phase=phase, teacher=teacher, views=self.teacher_views)

    @property
    def asks_teacher(self) -> bool:
        return super().asks_teacher or self.feature_weight > 0

    def _loss(self, teacher: Network | None, student: Network) -> Loss:
        if teacher is None or not self.feature_weight:
            return self.loss(teacher)
        import torch

        from coc_cli.learning.losses import attention_transfer
        from coc_cli.learning.tasks import task_of
        from coc_cli.nets.features import common_features

        task = task_of(student.spec)
        mine, theirs = common_features(student, teacher)

        def value(network: Network, batch: Batch) -> Tensor:
            with torch.no_grad(), teacher.computing(network.arithmetic):
                teacher_outputs, teacher_features = teacher.run(batch.inputs, theirs)
            outputs, features = network.run(batch.inputs, mine)
            distilled = self.loss_of(task, outputs, batch, teacher_outputs[-1])
            return distilled + self.feature_weight * attention_transfer(features, teacher_features)

        return value
