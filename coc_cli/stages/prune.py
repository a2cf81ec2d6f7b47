"""Structured pruning: whole channels are removed, with everything that depends on them (Fang et al. 2023, DepGraph).

- prune: {ratio: 0.5, steps: 2, epochs: 20}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from coc_cli.frozen import Frozen
from coc_cli.nets.spec import Spec
from coc_cli.stages.pruning_widths import TOLERANCE
from coc_cli.stages.stage import Lab
from coc_cli.stages.taught_stage import TaughtStage

if TYPE_CHECKING:
    from coc_cli.nets.network import Network
    from coc_cli.stages.channel_selection import SelectionSettings

Importance = Literal["group_norm", "magnitude", "bn_scale", "lamp", "random"]


class PruneRule(Frozen):
    """What sets some layers apart."""

    prune: Annotated[bool, Field(description="false keeps all output channels of the layer")]


class Prune(TaughtStage):
    """Remove channels until the network does less work, then train what is left."""

    name: ClassVar[str] = "prune"
    works_on: ClassVar[str] = "neurons"
    advised_place: ClassVar[int | None] = 2

    ratio: Annotated[float, Field(gt=0, lt=1, description="share of the backbone's MACs to remove")]
    importance: Annotated[Importance, Field(description="what tells how much a channel matters")] = "group_norm"
    scope: Annotated[
        Literal["global", "layer"],
        Field(description="compare channels of all layers, or take the same share of each"),
    ] = "global"
    steps: Annotated[int, Field(ge=1, description="prunings, each followed by its part of the epochs")] = 1
    layers: Annotated[
        dict[str, PruneRule], Field(description="by pattern of layer names; the last pattern that matches decides")
    ] = {}

    @property
    def selection(self) -> SelectionSettings:
        """How channels are compared, and which layers may lose some."""
        from coc_cli.stages.channel_selection import SelectionSettings

        return SelectionSettings(self.importance, self.scope, {name: rule.prune for name, rule in self.layers.items()})

    def expect(self, spec: Spec) -> Spec:
        from coc_cli.stages.channel_selection import sliced_dry

        return sliced_dry(spec, self.selection, 1 - self.ratio)

    def notes(self, spec: Spec) -> list[str]:  # noqa: ARG002
        return [f"widths depend on the weights; the MACs left will be {1 - self.ratio:.0%} within {TOLERANCE:.0%}"]

    def change(self, network: Network, lab: Lab) -> Network:
        from coc_cli.nets.slicing import sliced
        from coc_cli.stages.channel_selection import backbone_macs, choose_channels

        teacher = self.teacher_network(network, lab)
        total = backbone_macs(network.spec)
        for step in range(1, self.steps + 1):
            # equal factors: a ratio of 0.75 in two steps leaves a half, then a quarter
            target = total * (1 - self.ratio) ** (step / self.steps)
            fraction = target / backbone_macs(network.spec)
            indices = choose_channels(network, self.selection, fraction, exactly=step == self.steps)
            network = sliced(network, indices).to(lab.device)
            epochs = self.epochs * step // self.steps - self.epochs * (step - 1) // self.steps
            part = self.model_copy(update={"epochs": epochs})
            lab.train(network, part, self.loss(teacher), phase=f"step-{step}")
        return network
