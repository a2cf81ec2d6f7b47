"""The base of every stage: a frozen model whose fields are the recipe's keys, with a dry and a wet verb."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from coc_cli.data.info import DataInfo
from coc_cli.learning.training import EpochLog, Training, derived_seed
from coc_cli.nets.arithmetic import FLOAT32, Arithmetic
from coc_cli.nets.spec import Scalar, Spec

if TYPE_CHECKING:
    from coc_cli.data.images import Data
    from coc_cli.data.settings import Augment
    from coc_cli.learning.answers import Answers
    from coc_cli.learning.kept_features import FrozenBackbone
    from coc_cli.learning.training import Loss
    from coc_cli.nets.network import Network


@dataclass(frozen=True)
class Lab:
    """Everything a stage may use beside the network: passed in, never global."""

    data: Data  # on the device
    augment: Augment
    device: str
    seed: int  # the stage's own
    baseline: Network  # on the device; not to be changed
    state: Path  # a folder for the state that a resumed stage goes on from
    log: EpochLog
    warn: Callable[[str], None] = lambda _: None  # told what a user should know but no stage stops for
    arithmetic: Arithmetic = FLOAT32  # of the steps of its training
    answers: Answers | None = None  # of teachers that are asked once; None: they are asked at every step

    def train(
        self,
        network: Network,
        settings: Training,
        loss: Loss,
        *,
        phase: str = "training",
        teacher: Network | None = None,
        views: int = 0,
        frozen: FrozenBackbone | None = None,
    ) -> None:
        """Train in place; see `loop.fit`. Random numbers drawn afterwards are the same if it was resumed.

        Args:
            network: Left with the weights of its best epoch.
            settings: Epochs, optimizer and learning rate.
            loss: Called with the network and each batch.
            phase: Tells apart the trainings of one stage; part of their seeds and the names of their state files.
            teacher: Whom the loss listens to.
            views: Of each image, which the teacher is asked for once; 0: images are changed anew in every epoch.
            frozen: The network, if its heads alone are trained: with views their inputs are computed once.

        Raises:
            RunError: If the loss is no longer finite.
        """
        import torch

        from coc_cli.learning.loop import fit

        seed, feed = derived_seed(self.seed, phase), None
        if teacher is not None and views and self.answers is not None:
            feed = self.answers.feed(teacher, views, self, seed, frozen)
        fit(
            network,
            self.data,
            settings,
            loss,
            augment=self.augment,
            seed=seed,
            state=self.state / f"{phase}.pt",
            log=self.log,
            warn=self.warn,
            arithmetic=self.arithmetic,
            feed=feed,
        )
        torch.manual_seed(derived_seed(self.seed, phase, "after"))


@dataclass(frozen=True)
class ChainPosition:
    """The position of a stage in a recipe, and those other sections that are valid by themselves."""

    index: int  # in the chain
    arch: str | None  # of the baseline
    arguments: Mapping[str, Scalar]  # of the baseline's architecture
    info: DataInfo | None


class Stage(Training, ABC):
    """One link of the chain; the class says what it works on and its place in the papers' order.

    `expect` is dry: it predicts the spec that `apply` will produce. `apply` is wet: it returns a new network and leaves
    its input as it was; what differs between stages is `change`.
    """

    name: ClassVar[str]
    works_on: ClassVar[str] = "the network"
    advised_place: ClassVar[int | None] = None  # in the order of Shen et al. 2024; None: the paper does not have it
    depends_on_input: ClassVar[bool] = False  # its result runs differently for each input

    seed: Annotated[
        int | None,
        Field(
            ge=0,
            le=2**32 - 1,
            exclude_if=lambda seed: seed is None,
            description="of this stage alone, on the split and behind the stages that the recipe's seed makes",
        ),
    ] = None

    def faults(self, position: ChainPosition) -> Iterator[tuple[tuple[str | int, ...], str]]:  # noqa: ARG002
        """Yield which keys do not go together, or with the recipe, each with its place below the stage."""
        yield from ()

    def settled(self, info: DataInfo) -> tuple[Stage, str | None]:  # noqa: ARG002
        """Return the stage with those defaults filled in that depend on the data, and a note if there are any."""
        return self, None

    def at_strength(self, step: int, position: ChainPosition) -> Stage | None:  # noqa: ARG002
        """Return the stage so many steps stronger, or weaker below 0: itself if it has no strength.

        None where there is no such step.
        """
        return self

    @property
    def remakes_incoming(self) -> bool:
        """Whether the stage makes the architecture of its input anew, so that its source is needed."""
        return False

    @abstractmethod
    def expect(self, spec: Spec) -> Spec:
        """Predict the result without weights or data.

        Args:
            spec: Of the incoming network.

        Returns:
            The spec of the network that `apply` will return; pruned widths and signs of edges may differ.

        Raises:
            StageError: If the stage cannot be applied to such a network.
        """

    def apply(self, network: Network, lab: Lab) -> Network:
        """Apply the stage; if the result has exits, their threshold is calibrated again on validation.

        Args:
            network: Stays as it is.
            lab: Data, seed and all else that is needed. Torch's global generator is restored afterwards.

        Returns:
            A new network in eval mode on the lab's device.

        Raises:
            StageError: If the weights turn out not to allow what `expect` predicted.
            RunError: If training diverges.
        """
        import torch

        from coc_cli.learning.exit_thresholds import calibrated

        with torch.random.fork_rng():
            torch.manual_seed(lab.seed)
            return calibrated(self.change(network, lab), lab.data.validation).eval()

    @abstractmethod
    def change(self, network: Network, lab: Lab) -> Network:
        """Return the changed and trained network; called by `apply`, which seeds and calibrates.

        Args:
            network: Stays as it is.
            lab: Data, seed and all else that is needed.

        Returns:
            A new network on the lab's device, its exit threshold not yet calibrated.

        Raises:
            StageError: If the stage cannot be applied to the network.
            RunError: If training diverges.
        """

    def notes(self, spec: Spec) -> list[str]:  # noqa: ARG002
        """Return what a user should know about this stage on that incoming network; printed by the plan."""
        return []
