"""The plan of a run: the chain walked dry, with the cost of the network after each stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from coc_cli.chain.baseline import (
    BASELINE,
    NO_KEY,
    baseline_faults,
    baseline_notes,
    baseline_settings,
    checked_spec,
    earlier_lineage,
    tag_notes,
)
from coc_cli.errors import Fault, StageError, UserError
from coc_cli.loggers import LOGGERS
from coc_cli.nets.checkpoint import size_bytes
from coc_cli.nets.checkpoint_header import Ancestor
from coc_cli.nets.cost import Cost, cost
from coc_cli.nets.spec import Spec
from coc_cli.recipe.limits import LIMITS
from coc_cli.recipe.limits.limit import Outlook
from coc_cli.recipe.reading import RecipeFile
from coc_cli.stages import STAGES
from coc_cli.stages.stage import Stage

SLACK = 1.5  # how far, at most, widths that depend on weights may bring BitOps and bytes below the plan's


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
        return f"stages/{self.name_in_files}"

    @property
    def name_in_files(self) -> str:
        """Its name with its place in front, which sorts."""
        return f"{self.index:02d}-{self.name}"


@dataclass(frozen=True)
class Plan:
    """All steps, in order."""

    steps: tuple[Step, ...]

    def is_exact(self, step: Step) -> bool:
        """Return whether the run will have just these numbers: not where pruning chooses widths."""
        return all(before.spec.modules in ({}, self.steps[0].spec.modules) for before in self.steps[: step.index + 1])

    def bitops_ratio(self, step: Step) -> tuple[float, float]:
        """Return the strict ratio with every image on the full path, and with every image leaving at the first exit."""
        baseline = self.steps[0].cost.bitops
        return baseline / step.cost.bitops, baseline / step.cost.cheapest().bitops

    def occurrence(self, index: int) -> int:
        """Return how many earlier steps have the same name."""
        name = self.steps[index].name
        return sum(step.name == name for step in self.steps[:index])

    @property
    def warnings(self) -> list[str]:
        """A warning for each pair of stages in another order than the one that the papers found best."""
        stages = [STAGES[step.name] for step in self.steps[1:]]
        pairs = dict.fromkeys(pair for pair in combinations(stages, 2) if _is_against_advice(*pair))
        departs = "departs from the order that Order of Compression found best"
        return [f"{early.name} before {late.name} {departs}: {_why(early, late)}" for early, late in pairs]


def _is_against_advice(early: type[Stage], late: type[Stage]) -> bool:
    """Return whether Shen et al. 2024, "Order of Compression", have the two stages in the reverse order."""
    places = early.advised_place, late.advised_place
    return None not in places and places[0] > places[1]  # type: ignore[operator]


def _why(early: type[Stage], late: type[Stage]) -> str:
    if early.depends_on_input:
        return "what is the same for every input comes before what depends on the input"
    return f"the coarse ({late.works_on}) comes before the fine ({early.works_on})"


def make_plan(file: RecipeFile) -> Plan:
    """Walk the chain dry; raises `UserError` if a stage cannot be applied or a limit cannot be met."""
    with baseline_faults(file):
        spec = checked_spec(file)
        lineage = (*earlier_lineage(file), Ancestor(stage=BASELINE, settings=baseline_settings(file, spec), key=NO_KEY))
        steps = [_step(0, BASELINE, spec, tuple(baseline_notes(file)), lineage)]
    faults = []
    for index, link in enumerate(file.recipe.chain):
        stage = link.stage
        lineage = (*lineage, Ancestor(stage=stage.name, settings=stage.recorded(), key=NO_KEY))
        try:
            settled = file.stage_notes.get(index)
            notes, before = ((settled,) if settled else ()) + tuple(stage.notes(spec)), spec
            spec = stage.expect(spec)
            notes += tuple(tag_notes(spec.arch, "the student begins at random")) if spec.arch != before.arch else ()
            steps.append(_step(index + 1, stage.name, spec, notes, lineage))
        except StageError as error:
            key = (error.key,) if error.key else ()
            faults.append(file.fault(("chain", index, stage.name, *key), error.what))
    if file.recipe.predict_exit is not None and not faults and not spec.exits:
        faults.append(file.fault(("predict_exit",), "the chain leaves no exits; add '- early_exit: {every: block}'"))
    if file.recipe.logger and (what := LOGGERS[file.recipe.logger].missing()):
        faults.append(file.fault(("logger",), what))
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
    for name, limit in file.recipe.limits.active.items():
        if what := LIMITS[name].plan_fault(limit, outlook):
            yield file.fault(("limits", name), what)
