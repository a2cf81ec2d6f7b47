"""Early exit: heads on the way, and a rule by which an input leaves at the first that is confident enough.

Teerapittayanon et al. 2016, "BranchyNet"; heads as in Predictive Exit (Li et al. 2023), or a plain pool.

    - early_exit: {exits: 2, head: pool, backbone: frozen, max_drop: 0.005, epochs: 20}
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, Tag

from coc_cli.errors import StageError, did_you_mean
from coc_cli.frozen import INTEGER, LIST, TEXT, by_kind
from coc_cli.learning.own_functions import own_functions
from coc_cli.nets.spec import CODEWORDS, MOST_CODEWORDS, MOST_EXITS, Exit, ExitRule, Measure, Spec
from coc_cli.stages.stage import ChainPosition, Lab, Stage
from coc_cli.stages.taught_stage import TaughtStage, answers

if TYPE_CHECKING:
    from torch import Tensor

    from coc_cli.data.info import DataInfo
    from coc_cli.learning.tasks import Task
    from coc_cli.learning.training import Batch
    from coc_cli.nets.exit_places import Place, Places
    from coc_cli.nets.network import Network

MEASURES: dict[str, tuple[Measure, ...]] = {  # by task, the default first
    "classification": ("max_softmax", "entropy"),
    "regression": ("variance", "agreement"),
}
DEFAULT_DROP = {"classification": 0.005}
Name = Annotated[str, Field(min_length=1)]


class EarlyExit(TaughtStage):
    """Add exits; exactly one of `exits` and `every` says where."""

    name: ClassVar[str] = "early_exit"
    later: ClassVar[frozenset[str]] = TaughtStage.later | {
        "confidence",
        "codewords",
        "self_distillation",
        "balanced_gradients",
    }
    works_on: ClassVar[str] = "the path of each input"
    advised_place: ClassVar[int | None] = 4
    depends_on_input: ClassVar[bool] = True

    exits: Annotated[
        Annotated[
            Annotated[int, Field(ge=1, le=MOST_EXITS), Tag(INTEGER)] | Annotated[tuple[Name, ...], Tag(LIST)],
            by_kind("a whole number or a list of names"),
        ]
        | None,
        Field(description="how many, spread by MACs over the ends of blocks; or the modules behind which they are"),
    ] = None
    every: Annotated[
        Literal["block", "conv"] | None, Field(description="an exit behind every block, or behind every convolution")
    ] = None
    head: Annotated[
        Literal["pool", "bof"], Field(description="pool: average pool and linear; bof: the papers' bag of features")
    ] = "pool"
    codewords: Annotated[
        int, Field(ge=1, le=MOST_CODEWORDS, description="of a bof head; fewer cost less where maps are large")
    ] = CODEWORDS
    backbone: Annotated[
        Literal["frozen", "trained"], Field(description="train the heads alone, or everything together")
    ] = "frozen"
    loss_weights: Annotated[
        Annotated[
            Annotated[Literal["equal", "depth"], Tag(TEXT)]
            | Annotated[tuple[Annotated[float, Field(ge=0, le=1e6)], ...], Tag(LIST)],
            by_kind("'equal', 'depth' or a list of numbers", words=("equal", "depth")),
        ],
        Field(description="of the exits and the final output: equal, by the share of MACs done, or a list"),
    ] = "equal"
    self_distillation: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="share of the network's own final output in what inner exits learn, as of a teacher; the final"
            " output does not learn from them by it",
        ),
    ] = 0.0
    balanced_gradients: Annotated[
        bool,
        Field(
            description="let each part of a trained backbone learn from the mean of the exits behind it, where early"
            " parts otherwise learn from more of them (gradient equilibrium, Li et al. 2019); of sgd"
        ),
    ] = False
    rule: Annotated[
        Measure | None,
        Field(
            description="what tells how sure an exit is: max_softmax (default) or entropy of classes; of numbers,"
            " variance (default), which heads learn to give beside the mean, or agreement with the exit before"
        ),
    ] = None
    max_drop: Annotated[
        float | None,
        Field(
            ge=0,
            le=1e12,
            description="what leaving early may cost on validation, in the metric's unit: accuracy (default 0.005, or"
            " one validation image if that is more), or mean absolute error",
        ),
    ] = None

    confidence: Annotated[
        float | None,
        Field(
            ge=0.5,
            lt=1,
            description="with which probability leaving early costs at most max_drop on other images too, as 0.95: the"
            " threshold is chosen on half of validation and tested on the other; of classes only",
        ),
    ] = None

    def faults(self, position: ChainPosition) -> Iterator[tuple[tuple[str | int, ...], str]]:
        if (self.exits is None) == (self.every is None):
            yield (), "needs exactly one of 'exits' and 'every'"
        if self.exits == ():
            yield ("exits",), "needs at least one item"
        if self.balanced_gradients and (self.backbone == "frozen" or self.optimizer == "adamw"):
            why = "adamw scales each gradient itself" if self.optimizer == "adamw" else "the backbone is frozen"
            yield ("balanced_gradients",), f"changes nothing, since {why}; leave it out"
        if position.info is None:
            return
        try:
            _, max_drop = self.rule_for(position.info.task)
        except StageError as error:
            yield (error.key,) if error.key else (), error.what
            return
        images = position.info.validation_images
        if self.confidence is not None and (what := _not_promised(self.confidence, max_drop, position.info)):
            yield ("confidence",), what
        if own_functions().metric:
            return
        if position.info.task == "classification" and max_drop > 1:
            yield ("max_drop",), f"{max_drop:g} is more than all of the accuracy, which is 0 to 1"
        elif position.info.task == "classification" and self.max_drop is not None and max_drop < 1 / images:
            what = f"{max_drop:g} is less than one of the {images} validation images"
            yield ("max_drop",), f"{what}; the smallest usable is {_of_one_image(images):g}"

    def at_strength(self, step: int, position: ChainPosition) -> EarlyExit:
        """Return it with twice the drop for each step, of classes one validation image at least."""
        if not step:
            return self
        drop = (self.max_drop or DEFAULT_DROP["classification"]) * 2**step  # of numbers a drop is always given
        if position.info and position.info.task == "classification":
            drop = max(drop, _of_one_image(position.info.validation_images))
        return self.model_copy(update={"max_drop": drop})

    def settled(self, info: DataInfo) -> tuple[Stage, str | None]:
        default, images = DEFAULT_DROP.get(info.task), info.validation_images
        if self.max_drop is not None or default is None or default >= 1 / images:
            return self, None
        max_drop = _of_one_image(images)
        what = f"one of the {images} validation images; {default:g} cannot be measured"
        return self.model_copy(update={"max_drop": max_drop}), f"max_drop is {max_drop:.3g}: {what}"

    def expect(self, spec: Spec) -> Spec:
        from coc_cli.nets.exit_places import Places
        from coc_cli.nets.exit_rules import NEVER
        from coc_cli.nets.heads import reads
        from coc_cli.nets.precision import precision_of, with_rounded_heads

        if spec.exits:
            raise StageError("the network already has exits; leave one of the early_exit stages out")
        places, unpruned = self.places(spec), Places(spec.with_changes(modules={}, parameters={}))
        exits = tuple(
            Exit(source=p.source, head=self.head, channels=unpruned.named(p.source).channels, codewords=self.codewords)  # type: ignore[union-attr]
            for p in places
        )
        measure, max_drop = self.rule_for(spec.task)
        rule = ExitRule(measure=measure, threshold=NEVER[measure], max_drop=max_drop, confidence=self.confidence)
        expected = spec.with_changes(exits=exits, rule=rule)
        modules = dict(spec.modules)
        for index, (place, pruned_place) in enumerate(zip(exits, places, strict=True)):
            if pruned_place.channels != place.channels:
                modules.update(reads(index, place, pruned_place.channels, expected.head_outputs))
        expected = expected.with_changes(modules=modules)
        if not isinstance(self.loss_weights, str) and len(self.loss_weights) != len(exits) + 1:
            raise StageError(
                f"has {len(self.loss_weights)} numbers for {len(exits)} exits and the final output", "loss_weights"
            )
        if sum(self._weights(spec, len(exits))[: None if self.backbone == "trained" else -1]) == 0:
            raise StageError("needs a weight above 0 for something that is trained", "loss_weights")
        precision = precision_of(spec)
        return with_rounded_heads(expected, precision) if precision else expected

    def rule_for(self, task: str) -> tuple[Measure, float]:
        """Return measure and max_drop, defaults filled in; raises `StageError` for what the task does not have."""
        first, *others = MEASURES[task]
        measure = self.rule or first
        if measure not in (first, *others):
            raise StageError(f"'{measure}' is no rule for {task}; it has {', '.join(MEASURES[task])}", "rule")
        if measure == "agreement" and (self.exits == 1 or (isinstance(self.exits, tuple) and len(self.exits) == 1)):
            raise StageError("agreement is between two exits; there is only one", "rule")
        max_drop = DEFAULT_DROP.get(task) if self.max_drop is None else self.max_drop
        if max_drop is None:
            raise StageError("needs 'max_drop', the mean absolute error that leaving early may add on validation")
        return measure, max_drop

    def places(self, spec: Spec) -> list[Place]:
        """Return where the exits will be, in order; raises `StageError`."""
        from coc_cli.nets.exit_places import Places, spread

        if (self.exits is None) == (self.every is None):
            raise StageError("needs exactly one of 'exits' and 'every'")
        places = Places(spec)
        if self.every is not None:
            return places.every_conv() if self.every == "conv" else places.every_block()
        if isinstance(self.exits, tuple):
            return _named(places, self.exits)
        assert self.exits is not None
        free = places.every_block()
        if self.exits > len(free):
            instead = (
                f"ask for {len(free)} at most" if free else "leave early_exit out, or name places by exits: [NAME]"
            )
            raise StageError(
                f"asks for {self.exits}, but there are {len(free)} places between blocks; {instead}", "exits"
            )
        return spread(free, [(index + 1) / (self.exits + 1) for index in range(self.exits)])

    def change(self, network: Network, lab: Lab) -> Network:
        from coc_cli.learning.gradient_balance import balance
        from coc_cli.learning.kept_features import FrozenBackbone
        from coc_cli.learning.tasks import task_of
        from coc_cli.nets.quantizer_initialization import initialize_quantizers

        teacher, task = self.teacher_network(network, lab), task_of(network.spec)
        with_exits = initialize_quantizers(network, self.expect(network.spec), lab.data.train, lab.device)
        weights = self._weights(network.spec, len(with_exits.exits))
        inherited = set(network.state_dict())
        if self.backbone == "frozen":
            weights[-1] = 0.0
            with_exits.backbone_frozen = True
            for name, parameter in with_exits.named_parameters():
                parameter.requires_grad_(name not in inherited)

        hooks = balance(with_exits, weights) if self.balanced_gradients else []
        learned = [*((1 - self.self_distillation) * weight for weight in weights[:-1]), weights[-1]]
        frozen = FrozenBackbone(with_exits) if self.backbone == "frozen" else None

        def loss(net: Network, batch: Batch) -> Tensor:
            teacher_output = answers(teacher, batch, net.arithmetic) if teacher else None
            outputs = frozen.outputs(batch.features) if frozen and batch.features else net(batch.inputs)
            return self.with_own(task, outputs, weights, self.loss_of(task, outputs, batch, teacher_output, learned))

        lab.train(with_exits, self, loss, teacher=teacher, views=self.teacher_views, frozen=frozen)
        for hook in hooks:
            hook.remove()
        with_exits.backbone_frozen = False
        return with_exits.requires_grad_()

    def with_own(self, task: Task, outputs: list[Tensor], weights: list[float], others: Tensor) -> Tensor:
        """Return the mean loss over exits, by `weights`, in which inner ones also learn from the network's own answer.

        `others` is the mean of what else they learn, in which inner exits count `self_distillation` less. Phuong and
        Lampert 2019, "Distillation-Based Training for Multi-Exit Architectures", section 3.
        """
        share, total, inner = self.self_distillation, sum(weights), sum(weights[:-1])
        if not share or not inner:
            return others
        final = outputs[-1].detach()
        own = [task.distillation_loss(output, final, self.temperature) for output in outputs[:-1]]
        learned = sum(weight * loss for weight, loss in zip(weights, own, strict=False))
        return ((total - share * inner) * others + share * learned) / total

    def _weights(self, spec: Spec, exits: int) -> list[float]:
        if self.loss_weights == "equal":
            return [1.0] * (exits + 1)
        if self.loss_weights == "depth":
            return [*[place.macs_fraction for place in self.places(spec)], 1.0]
        return [float(weight) for weight in self.loss_weights]


def _of_one_image(images: int) -> float:
    """Return what one of so many images is of the accuracy, to five digits, rounded up."""
    return math.ceil(1e5 / images) / 1e5


def _named(places: Places, names: tuple[str, ...]) -> list[Place]:
    chosen = []
    for name in names:
        place = places.named(name)
        if place is None:
            raise StageError(f"no exit can be behind '{name}'; {did_you_mean(name, places.names())}", "exits")
        chosen.append(place)
    order = {node.name: index for index, node in enumerate(places.body)}
    if len({place.source for place in chosen}) < len(chosen):
        raise StageError("two of the exits are at the same place", "exits")
    return sorted(chosen, key=lambda place: order[place.source])


def _not_promised(confidence: float, max_drop: float, info: DataInfo) -> str | None:
    """Return why max_drop cannot be promised with so many images; None where it can."""
    from coc_cli.learning.certificate import shortfall

    if info.task != "classification" or own_functions().metric:
        return "a promise needs classes and their accuracy, of which no image can lose more than all"
    return shortfall(info.validation_images, max_drop, confidence, "validation images")
