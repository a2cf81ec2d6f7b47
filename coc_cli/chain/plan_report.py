"""A plan as `coc plan --json` prints it."""

from __future__ import annotations

from coc_cli.chain.measured_orders import departures
from coc_cli.chain.plan import Plan, Step
from coc_cli.data.sources import UNKNOWN_COUNT
from coc_cli.recipe.device import absent_device
from coc_cli.recipe.reading import RecipeFile
from coc_cli.report.schema.plan import PlannedData, PlannedStage, PlanReport


def plan_report(plan: Plan, file: RecipeFile, seconds: float | None) -> PlanReport:
    """Return a plan for a file; `seconds` is what the run may take here, None if that is not known yet."""
    info = file.info
    images = info.images or None
    return PlanReport(
        schema=1,
        name=file.recipe.name,
        task=info.task,
        data=PlannedData(
            shape=info.shape,
            labels=len(info.labels),
            images=None if images == UNKNOWN_COUNT else images,
            is_absent=file.is_data_absent,
        ),
        stages=[_stage(plan, step) for step in plan.steps],
        warnings=[*absent_device(file), *plan.warnings, *departures(plan, file)],
        code_files=file.code_files,
        seconds=seconds,
    )


def _stage(plan: Plan, step: Step) -> PlannedStage:
    baseline = plan.steps[0].cost
    return PlannedStage(
        index=step.index,
        name=step.name,
        macs=step.cost.macs,
        bitops=step.cost.bitops,
        bitops_ratio=plan.bitops_ratio(step),
        bitops_ratio_nominal=(step.cost.nominal_ratio(baseline), step.cost.cheapest().nominal_ratio(baseline)),
        params=step.cost.params,
        checkpoint_bytes=step.checkpoint_bytes,
        exact=plan.is_exact(step),
        notes=list(step.notes),
    )
