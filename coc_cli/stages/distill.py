"""Knowledge distillation: a student learns to give the teacher's answers (Hinton, Vinyals and Dean 2015).

- distill: {student: {depth: 8, width: 8}, epochs: 60, temperature: 4}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from coc_cli.nets.sources import resolve
from coc_cli.nets.spec import Frozen, Spec
from coc_cli.stages.stage import Lab, TaughtStage

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.nets.network import Network
    from coc_cli.training import Batch, Loss


class Student(Frozen):
    """The architecture that takes the backbone's place; what is not given is the incoming network's."""

    arch: Annotated[str | None, Field(description="architecture; the incoming one if not given")] = None
    depth: Annotated[int | None, Field(ge=1)] = None
    width: Annotated[int | None, Field(ge=1)] = None

    def arguments(self) -> dict[str, int]:
        """Give the arguments that were set."""
        return {key: value for key, value in (("depth", self.depth), ("width", self.width)) if value is not None}


class Distill(TaughtStage):
    """Train a student, or the network itself, with a teacher."""

    name: ClassVar[str] = "distill"

    student: Annotated[
        Literal["same"] | Student,
        Field(description="'same' keeps the network and trains it; a student replaces its backbone"),
    ] = "same"
    teacher: Literal["baseline", "incoming"] = "baseline"
    feature_weight: Annotated[
        float, Field(ge=0, description="weight of the attention-transfer loss on features of equal resolution; 0: none")
    ] = 0.0

    def expect(self, spec: Spec) -> Spec:
        from coc_cli.nets.precision import precision_of, with_precision

        if self.student == "same":
            return spec
        precision = precision_of(spec)
        student = self._backbone(spec)
        return with_precision(student, precision) if precision else student

    def _backbone(self, spec: Spec) -> Spec:
        """Give the student's spec before anything is carried over; raises `StageError` with a key below `student`."""
        assert isinstance(self.student, Student)
        arch = self.student.arch or spec.arch
        incoming = spec.args if arch == spec.arch else {}
        args = resolve(arch, {**incoming, **self.student.arguments()})
        return spec.but(arch=arch, args=args, modules={}, parameters={}, bits={}, edges={}, exits=(), rule=None)

    def notes(self, spec: Spec) -> list[str]:
        from coc_cli.nets.precision import precision_of

        precision = precision_of(spec) if self.student != "same" else None
        if precision is None:
            return []
        bits = ", ".join(
            f"{role} w{b.weights}a{b.activations}"
            for role, b in (("first", precision.first), ("inner", precision.inner), ("last", precision.last))
        )
        return [f"the student takes over the bits by role: {bits}, sums {precision.residual}"]

    def apply(self, network: Network, lab: Lab) -> Network:
        import torch

        from coc_cli.nets.network import build, clone
        from coc_cli.stages.quantize import start
        from coc_cli.training import derived_seed

        teacher = self.teaching(network, lab)
        assert teacher is not None
        if self.student == "same":
            student = clone(network)
            lab.train(student, self, self._loss(teacher, student))
            return student
        torch.manual_seed(derived_seed(lab.seed, "student"))
        student = build(self._backbone(network.spec)).to(lab.device)
        expected = self.expect(network.spec)
        if not expected.bits:
            lab.train(student, self, self._loss(teacher, student))
            return student
        # A student that is born rounded learns badly: it learns in floating point for half of the time.
        first = self.model_copy(update={"epochs": self.epochs - self.epochs // 2})
        lab.train(student, first, self._loss(teacher, student), phase="float")
        student = start(student, expected, lab)
        second = self.model_copy(update={"epochs": self.epochs // 2})
        lab.train(student, second, self._loss(teacher, student), phase="rounded")
        return student

    def _loss(self, teacher: Network, student: Network) -> Loss:
        if not self.feature_weight:
            return self.loss(teacher)
        import torch

        from coc_cli.losses import attention_transfer
        from coc_cli.nets.features import common_features

        mine, theirs = common_features(student, teacher)

        def value(network: Network, batch: Batch) -> Tensor:
            with torch.no_grad():
                answers, shown = teacher.run(batch.inputs, theirs)
            outputs, features = network.run(batch.inputs, mine)
            plain = self.loss_of(outputs, batch, answers[-1])
            return plain + self.feature_weight * attention_transfer(features, shown)

        return value
