"""What will happen: the chain walked dry, with what each stage will cost, before any work."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coc_cli.checkpoint import Ancestor, Header, is_checkpoint, read_header, size_bytes
from coc_cli.data.sources import source_of
from coc_cli.errors import Fault, StageError, UserError
from coc_cli.foreign import check_foreign
from coc_cli.nets.cost import Cost, cost
from coc_cli.nets.sources import is_code
from coc_cli.nets.spec import Spec
from coc_cli.recipe.limits import LIMITS
from coc_cli.recipe.limits.limit import Outlook
from coc_cli.recipe.model import Checkpoint
from coc_cli.recipe.reading import RecipeFile
from coc_cli.stages import STAGES
from coc_cli.stages.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

BASELINE = "baseline"
SLACK = 1.5  # how far, at most, widths that depend on weights may bring BitOps and bytes below the plan's
NO_KEY = "0" * 32
UNKNOWN_MEAN, UNKNOWN_STD = 0.5, 0.25  # until the images are read


@dataclass(frozen=True)
class Step:
    """The network as it will be after one stage; the first is the baseline."""

    index: int
    name: str
    spec: Spec
    cost: Cost
    checkpoint_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Its folder in the run directory."""
        return f"stages/{self.index:02d}-{self.name}"


@dataclass(frozen=True)
class Plan:
    """All steps, in order."""

    steps: tuple[Step, ...]

    def is_exact(self, step: Step) -> bool:
        """Tell whether the run will have just these numbers: not where a pruning decides on widths."""
        return all(before.spec.modules in ({}, self.steps[0].spec.modules) for before in self.steps[: step.index + 1])

    def bitops_ratio(self, step: Step) -> tuple[float, float]:
        """Give the strict ratio with every image on the full path, and with every image leaving at the first exit."""
        baseline = self.steps[0].cost.bitops
        return baseline / step.cost.bitops, baseline / step.cost.cheapest().bitops

    @property
    def warnings(self) -> list[str]:
        """Say where the order departs from the one that the papers found best, and why that is."""
        stages = [STAGES[step.name] for step in self.steps[1:]]
        pairs = dict.fromkeys(pair for pair in combinations(stages, 2) if _is_against_advice(*pair))
        departs = "departs from the order that Order of Compression found best"
        return [f"{early.name} before {late.name} {departs}: {_why(early, late)}" for early, late in pairs]


def _is_against_advice(early: type[Stage], late: type[Stage]) -> bool:
    """Return whether the order of Shen et al. 2024, "Order of Compression", has both stages the other way round."""
    places = early.advised_place, late.advised_place
    return None not in places and places[0] > places[1]  # type: ignore[operator]


def _why(early: type[Stage], late: type[Stage]) -> str:
    if early.depends_on_input:
        return "what is the same for every input comes before what depends on the input"
    return f"the coarse ({late.works_on}) comes before the fine ({early.works_on})"


def own_checkpoint(file: RecipeFile) -> Path | None:
    """Give the baseline's file if coc wrote it, so that it brings its own spec."""
    weights = file.recipe.model.weights
    if weights is None or not weights.path.endswith(".safetensors") or not is_checkpoint(Path(weights.path)):
        return None
    return Path(weights.path)


def own_header(file: RecipeFile) -> Header | None:
    """Give what a baseline that coc made says of itself; a recipe that names the user's code trusts that code."""
    own = own_checkpoint(file)
    if own is None:
        return None
    named = file.recipe.model.arch or ""  # `baseline_spec` refuses the checkpoint if it names another
    return read_header(own, trust_code=file.trust_code or is_code(named))


def baseline_spec(file: RecipeFile) -> Spec:
    """Give the spec of the network that the chain starts from; raises `UserError`."""
    own = own_header(file)
    faults = list(_new_faults(file) if own is None else _own_faults(file, own.spec))
    if faults:
        raise UserError(faults)
    if own is not None:
        return own.spec
    model, info = file.recipe.model, file.info
    assert model.arch is not None
    return Spec(
        arch=model.arch,
        args=model.arguments(model.arch, {}),
        input_shape=info.shape,
        mean=model.mean or info.mean or (UNKNOWN_MEAN,) * info.shape[0],
        std=model.std or info.std or (UNKNOWN_STD,) * info.shape[0],
        task=info.task,
        labels=info.labels,
    )


def _new_faults(file: RecipeFile) -> Iterator[Fault]:
    """Give what is wrong with a baseline that is trained here, or has weights from elsewhere."""
    model, channels = file.recipe.model, file.info.shape[0]
    if model.arch is None:
        yield file.fault(("model",), "needs 'arch', the architecture of the weights")
    for key, given in (("mean", model.mean), ("std", model.std)):
        if given is not None and len(given) != channels:
            yield file.fault(("model", key), f"has {len(given)} numbers for images of {channels} channels")


def _own_faults(file: RecipeFile, spec: Spec) -> Iterator[Fault]:
    """Give what is wrong with a baseline that coc made, for this recipe."""
    model, info = file.recipe.model, file.info
    noun = "classes" if info.task == "classification" else "targets"
    given = ("depth", "width", "args", "mean", "std") if model.arch is None else ("mean", "std")
    yield from (file.fault(("model", key), _SAID[key]) for key in given if getattr(model, key))
    if isinstance(model.checkpoint, Checkpoint) and model.checkpoint.keys:
        yield file.fault(("model", "checkpoint", "keys"), "coc made the checkpoint; leave them out")
    if model.arch is not None and (model.arch, model.arguments(model.arch, {})) != (spec.arch, spec.args):
        yield file.fault(("model", "arch"), f"the checkpoint is a {spec.arch} with {spec.args}; leave 'arch' out")
    if spec.input_shape != info.shape:
        yield file.fault(("data",), f"images are {info.shape}, the checkpoint takes {spec.input_shape}")
    if spec.task != info.task:
        yield file.fault(("data",), f"is for {info.task}, the checkpoint for {spec.task}")
    elif len(spec.labels) != len(info.labels):
        yield file.fault(("data",), f"there are {len(info.labels)} {noun}, the checkpoint has {len(spec.labels)}")
    elif source_of(file.recipe.data).labels_known_early:
        yield from other_labels(file, spec.labels, info.labels)


def baseline_notes(file: RecipeFile) -> Iterator[str]:
    """Say what a user should know of the baseline before anything runs."""
    model, data = file.recipe.model, file.recipe.data
    if model.weights is not None and own_checkpoint(file) is None:
        if model.mean is None:
            yield (
                "images are normalised by the mean and deviation of the training images; give model.mean and model.std"
                " if the weights were trained with others"
            )
        yield (
            "the weights come from elsewhere; if they were trained on images that are validation or test images here,"
            " thresholds and accuracies flatter"
        )
    is_turned = data.augment.flip or data.augment.rotate
    if file.info.task == "regression" and is_turned and not source_of(data).augment_safe:
        yield "images are flipped or turned, but their targets stay as they are"


def other_labels(file: RecipeFile, made: tuple[str, ...], given: tuple[str, ...]) -> list[Fault]:
    """Say if a checkpoint of coc was made for other classes or targets, or in another order."""
    if made == given:
        return []
    at = next(index for index, pair in enumerate(zip(made, given, strict=True)) if pair[0] != pair[1])
    what = f"number {at} of its classes or targets is '{given[at]}', of the checkpoint's '{made[at]}'"
    return [file.fault(("data",), f"{what}; they must be the same, in the same order")]


_SAID = {
    **dict.fromkeys(("depth", "width", "args"), "the checkpoint says it; leave it out, or give 'arch' too"),
    **dict.fromkeys(("mean", "std"), "coc made the checkpoint, which brings its own; leave it out"),
}


def baseline_settings(file: RecipeFile, spec: Spec) -> dict[str, Any]:
    """Give what the lineage says of the baseline; the run adds what only the data tells."""
    train = file.recipe.model.train
    return {
        "arch": spec.arch,
        "args": dict(spec.args),
        "train": train.model_dump(mode="json") if train else None,
        "seed": file.recipe.seed,
        "data": NO_KEY,
    }


def earlier_lineage(file: RecipeFile) -> tuple[Ancestor, ...]:
    """Give the lineage of a baseline that coc made before."""
    own = own_header(file)
    return own.lineage if own else ()


def _check_weights(file: RecipeFile, spec: Spec) -> None:
    """Make sure that weights from elsewhere fit the architecture; raises `UserError`."""
    weights = file.recipe.model.weights
    if weights is not None and own_checkpoint(file) is None:
        check_foreign(Path(weights.path), weights.passes, spec, lambda loc, what: file.fault(("model", *loc), what))


def make_plan(file: RecipeFile) -> Plan:
    """Walk the chain dry; raises `UserError` where a stage cannot follow or a limit cannot be met."""
    from coc_cli.nets.shapes import check_runs

    try:
        spec = baseline_spec(file)
        check_runs(spec)
        _check_weights(file, spec)
        lineage = (*earlier_lineage(file), Ancestor(stage=BASELINE, settings=baseline_settings(file, spec), key=NO_KEY))
        steps = [_step(0, BASELINE, spec, tuple(baseline_notes(file)), lineage)]
    except StageError as error:
        raise UserError([file.fault(("model", error.key or "arch"), error.what)]) from error
    faults = []
    for index, link in enumerate(file.recipe.chain):
        stage = link.stage
        lineage = (*lineage, Ancestor(stage=stage.name, settings=stage.model_dump(mode="json"), key=NO_KEY))
        try:
            notes = tuple(stage.notes(spec))
            spec = stage.expect(spec)
            steps.append(_step(index + 1, stage.name, spec, notes, lineage))
        except StageError as error:
            key = (error.key,) if error.key else ()
            faults.append(file.fault(("chain", index, stage.name, *key), error.what))
    if file.recipe.predict_exit is not None and not faults and not spec.exits:
        faults.append(file.fault(("predict_exit",), "the chain leaves no exits; add '- early_exit: {every: block}'"))
    plan = Plan(tuple(steps))
    faults = faults or list(_limit_faults(file, plan))
    if faults:
        raise UserError(faults)
    return plan


def _step(index: int, name: str, spec: Spec, notes: tuple[str, ...], lineage: tuple[Ancestor, ...]) -> Step:
    return Step(index, name, spec, cost(spec), size_bytes(spec, lineage), notes)


def _limit_faults(file: RecipeFile, plan: Plan) -> Iterator[Fault]:
    last = plan.steps[-1]
    slack = 1.0 if plan.is_exact(last) else SLACK
    outlook = Outlook(plan.bitops_ratio(last)[1], last.checkpoint_bytes, slack)
    for name, limit in file.recipe.limits.given.items():
        if what := LIMITS[name].plan_fault(limit, outlook):
            yield file.fault(("limits", name), what)
