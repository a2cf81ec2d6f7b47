"""Structured pruning: whole channels are removed, with everything that depends on them.

- prune: {ratio: 0.5, steps: 2, epochs: 20}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from coc_cli.frozen import Frozen
from coc_cli.nets.spec import Spec
from coc_cli.stages.pruning_widths import TOLERANCE
from coc_cli.stages.stage import ChainPosition, Lab
from coc_cli.stages.taught_stage import TaughtStage

if TYPE_CHECKING:
    from coc_cli.nets.network import Network
    from coc_cli.stages.channel_selection import SelectionSettings

Importance = Literal["group_norm", "magnitude", "bn_scale", "lamp", "random"]


class PruneRule(Frozen):
    """What sets some layers apart."""

    prune: Annotated[bool, Field(description="false keeps all output channels of the layer")] = True
    round_to: Annotated[int | None, Field(ge=1, le=4096, description="as the stage's, for the layer")] = None


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
    steps: Annotated[int, Field(ge=1, le=1000, description="prunings, each followed by its part of the epochs")] = 1
    round_to: Annotated[
        int | None,
        Field(
            ge=1,
            le=4096,
            description="widths are multiples of it, and MACs come as near as these allow; without it they are of 8, in"
            " groups of 64 channels or more",
        ),
    ] = None
    layers: Annotated[
        dict[str, PruneRule], Field(description="by pattern of layer names; the last pattern that matches decides")
    ] = {}

    def at_strength(self, step: int, position: ChainPosition) -> Prune:  # noqa: ARG002
        """Return it with 0.71 times the MACs left for each step."""
        left = min((1 - self.ratio) * 2 ** (-step / 2), (1 + 1 - self.ratio) / 2)
        return self.model_copy(update={"ratio": round(1 - left, 4)}) if step else self

    @property
    def selection(self) -> SelectionSettings:
        """How channels are compared, and which layers may lose some."""
        from coc_cli.stages.channel_selection import LayerRule, SelectionSettings

        rules = {pattern: LayerRule(rule.prune, rule.round_to) for pattern, rule in self.layers.items()}
        return SelectionSettings(self.importance, self.scope, rules, self.round_to)

    @property
    def is_rounded(self) -> bool:
        """Whether the recipe says what widths are multiples of."""
        return bool(self.round_to or any(rule.round_to for rule in self.layers.values()))

    def expect(self, spec: Spec) -> Spec:
        from coc_cli.stages.channel_selection import sliced_dry

        return sliced_dry(spec, self.selection, 1 - self.ratio)

    def notes(self, spec: Spec) -> list[str]:
        from coc_cli.stages.channel_selection import pruning_notes

        near = "as near as widths allow" if self.is_rounded else f"within {TOLERANCE:.0%}"
        promise = f"widths depend on the weights; the MACs left will be {1 - self.ratio:.0%} {near}"
        return [promise, *pruning_notes(spec, self.selection, 1 - self.ratio)]

    def change(self, network: Network, lab: Lab) -> Network:
        from coc_cli.nets.slicing import sliced
        from coc_cli.stages.channel_selection import backbone_macs, can_reach, choose_channels

        teacher = self.teacher_network(network, lab)
        total = backbone_macs(network.spec)
        for step in range(1, self.steps + 1):
            # equal factors: a ratio of 0.75 in two steps leaves a half, then a quarter
            target = total * (1 - self.ratio) ** (step / self.steps)
            fraction = target / backbone_macs(network.spec)
            indices = choose_channels(network, self.selection, fraction, exactly=step == self.steps)
            smaller = sliced(network, indices).to(lab.device)
            rest = total * (1 - self.ratio) / backbone_macs(smaller.spec)
            # a step that would bar the way to the end is left to those after it
            if step == self.steps or can_reach(smaller, self.selection, rest):
                network = smaller
            part = self.model_copy(update={"epochs": self.epochs_of(step - 1, self.steps)})
            loss, phase = self.loss(teacher), f"step-{step}"
            lab.train(network, part, loss, phase=phase, teacher=teacher, views=self.teacher_views)
        return network
