"""What every stage is: a frozen model whose fields are the recipe's keys, with a dry and a wet verb."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from coc_cli.data.info import DataInfo
from coc_cli.learning.training import EpochLog, Training
from coc_cli.nets.spec import Scalar, Spec

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.data.images import Data
    from coc_cli.data.settings import Augment
    from coc_cli.learning.tasks import Task
    from coc_cli.learning.training import Batch, Loss
    from coc_cli.nets.network import Network


@dataclass(frozen=True)
class Lab:
    """What a stage may use, passed in, never global."""

    data: Data  # on the device
    augment: Augment
    device: str
    seed: int  # the stage's own
    baseline: Network  # on the device; not to be changed
    state: Path  # a folder for what a resumed stage needs
    log: EpochLog

    def train(self, network: Network, settings: Training, loss: Loss, *, phase: str = "training") -> None:
        """Train in place; see `training.fit`. Random numbers drawn after it are the same when it was resumed."""
        import torch

        from coc_cli.learning.loop import fit
        from coc_cli.learning.training import derived_seed

        fit(
            network,
            self.data,
            settings,
            loss,
            augment=self.augment,
            seed=derived_seed(self.seed, phase),
            state=self.state / f"{phase}.pt",
            log=self.log,
        )
        torch.manual_seed(derived_seed(self.seed, phase, "after"))


@dataclass(frozen=True)
class ChainPosition:
    """Where in a recipe a stage stands, and what the recipe says beside it, as far as that is right by itself."""

    index: int  # in the chain
    arch: str | None  # of the baseline
    arguments: Mapping[str, Scalar]  # of the baseline's architecture
    info: DataInfo | None


class Stage(Training, ABC):
    """One link of the chain; the class says what it works on and where the papers' order has it.

    `expect` is dry: it returns the spec that `apply` will give, or raises `StageError` saying why it cannot. `apply` is
    wet: it returns a new network and leaves the one it was given as it was; what differs between stages is `change`.
    """

    name: ClassVar[str]
    works_on: ClassVar[str] = "the network"
    advised_place: ClassVar[int | None] = None  # in the order of Shen et al. 2024; None: the paper does not have it
    depends_on_input: ClassVar[bool] = False  # what it leaves runs differently for each input

    def faults(self, position: ChainPosition) -> Iterator[tuple[tuple[str | int, ...], str]]:  # noqa: ARG002
        """Yield what in the stage's keys does not go together, or with the recipe, each with its place below them."""
        yield from ()

    @abstractmethod
    def expect(self, spec: Spec) -> Spec: ...

    def apply(self, network: Network, lab: Lab) -> Network:
        """Change the network; if the result has exits, their threshold is found anew on validation.

        The result is in eval mode. All random numbers come from the lab's seed; torch's global generator is put back.
        """
        import torch

        from coc_cli.learning.exit_thresholds import calibrated

        with torch.random.fork_rng():
            torch.manual_seed(lab.seed)
            return calibrated(self.change(network, lab), lab.data.validation).eval()

    @abstractmethod
    def change(self, network: Network, lab: Lab) -> Network: ...

    def notes(self, spec: Spec) -> list[str]:  # noqa: ARG002
        """Say what a user should know about this stage on that incoming network; printed by the plan."""
        return []


class TaughtStage(Stage):
    """A stage whose training also listens to a teacher."""

    teacher: Annotated[
        Literal["baseline", "incoming", "none"],
        Field(description="whom to imitate: the baseline, the network as it came into this stage, or nobody"),
    ] = "baseline"
    kd_weight: Annotated[float, Field(ge=0, le=1, description="share of the teacher in the loss")] = 0.7
    temperature: Annotated[float, Field(gt=0, description="softens the classes of both before they are compared")] = 4.0

    def teaching(self, incoming: Network, lab: Lab) -> Network | None:
        """Return the teacher, in eval mode on the lab's device."""
        if self.teacher == "none":
            return None
        return (lab.baseline if self.teacher == "baseline" else incoming).to(lab.device).eval()

    def loss(self, teacher: Network | None) -> Loss:
        """Return the task's loss plus, with a teacher, the term of imitation, averaged over all exits."""
        from coc_cli.learning.tasks import task_of

        def value(network: Network, batch: Batch) -> Tensor:
            taught = answers(teacher, batch) if teacher else None
            return self.loss_of(task_of(network.spec), network(batch.inputs), batch, taught)

        return value

    def loss_of(
        self,
        task: Task,
        outputs: list[Tensor],
        batch: Batch,
        taught: Tensor | None,
        weights: list[float] | None = None,
    ) -> Tensor:
        """Return the loss of the outputs of all exits, each [B, K], with the teacher's final output if there is one.

        It is the mean over exits, weighted if there are `weights`.
        """
        import torch

        given = weights or [1.0] * len(outputs)
        share = torch.tensor([weight / sum(given) for weight in given], device=outputs[0].device)
        hard = torch.stack([task.loss(output, batch.targets) for output in outputs]) @ share
        if taught is None:
            return hard
        soft = torch.stack([task.distillation_loss(output, taught, self.temperature) for output in outputs]) @ share
        return (1 - self.kd_weight) * hard + self.kd_weight * soft


def answers(teacher: Network, batch: Batch) -> Tensor:
    """Return a teacher's final output, without gradients."""
    import torch

    with torch.no_grad():
        final: Tensor = teacher(batch.inputs)[-1]
        return final
