"""What stages share whose training also listens to a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from coc_cli.stages.stage import Lab, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.learning.tasks import Task
    from coc_cli.learning.training import Batch, Loss
    from coc_cli.nets.arithmetic import Arithmetic
    from coc_cli.nets.network import Network


class TaughtStage(Stage):
    """A stage whose training may distil a teacher."""

    later: ClassVar[frozenset[str]] = Stage.later | {"teacher_views"}

    teacher: Annotated[
        Literal["baseline", "incoming", "none"],
        Field(description="whom to imitate: the baseline, the network as it came into this stage, or nobody"),
    ] = "baseline"
    kd_weight: Annotated[float, Field(ge=0, le=1, description="share of the teacher in the loss")] = 0.7
    temperature: Annotated[
        float, Field(ge=0.01, le=1000, description="softens the classes of both before they are compared")
    ] = 4.0

    teacher_views: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="views of each training image, changed once, to which the teacher's answers are kept on disk;"
            " 0: images are changed anew in every epoch, and the teacher is asked at every step",
        ),
    ] = 0

    @property
    def asks_teacher(self) -> bool:
        """Whether a teacher's answers count in the loss."""
        return self.teacher != "none" and self.kd_weight > 0

    def teacher_network(self, incoming: Network, lab: Lab) -> Network | None:
        """Return the teacher, in eval mode on the lab's device; None without one that counts."""
        if not self.asks_teacher:
            return None
        return (lab.baseline if self.teacher == "baseline" else incoming).to(lab.device).eval()

    def loss(self, teacher: Network | None) -> Loss:
        """Return the task's loss mixed, with a teacher, with the distillation loss; the mean over all exits."""
        from coc_cli.learning.tasks import task_of

        def value(network: Network, batch: Batch) -> Tensor:
            teacher_output = answers(teacher, batch, network.arithmetic) if teacher else None
            return self.loss_of(task_of(network.spec), network(batch.inputs), batch, teacher_output)

        return value

    def loss_of(
        self,
        task: Task,
        outputs: list[Tensor],
        batch: Batch,
        teacher_output: Tensor | None,
        weights: list[float] | None = None,
    ) -> Tensor:
        """Return the loss of the outputs of all exits, each [B, K], against targets and the teacher's final output.

        It is the mean over exits, weighted by `weights` if there are any.
        """
        import torch

        exit_weights = weights or [1.0] * len(outputs)
        fractions = torch.tensor([weight / sum(exit_weights) for weight in exit_weights], device=outputs[0].device)
        hard = torch.stack([task.loss(output, batch.targets) for output in outputs]) @ fractions
        if teacher_output is None:
            return hard
        soft = (
            torch.stack([task.distillation_loss(output, teacher_output, self.temperature) for output in outputs])
            @ fractions
        )
        return (1 - self.kd_weight) * hard + self.kd_weight * soft


def answers(teacher: Network, batch: Batch, arithmetic: Arithmetic) -> Tensor:
    """Return a teacher's final output [B, K], without gradients: what it said before, if it was asked."""
    import torch

    if batch.teacher_output is not None:
        return batch.teacher_output
    with torch.no_grad(), teacher.computing(arithmetic):
        final: Tensor = teacher(batch.inputs)[-1]
        return final
