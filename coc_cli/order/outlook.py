"""What an experiment on order will take, and which effects it can find: said beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from json import dumps as as_text
from typing import TYPE_CHECKING

from coc_cli.chain.arithmetics import expected_arithmetics
from coc_cli.chain.cache import lineages
from coc_cli.chain.plan import Plan, make_plan
from coc_cli.chain.speeds import estimated_seconds
from coc_cli.errors import UserError, user_error
from coc_cli.files.run_directory import CACHE, STAGE_RESULT
from coc_cli.order.analysis import Curves, pair_entries
from coc_cli.order.design import Cell, Job
from coc_cli.order.experiment import JOURNAL, Journal
from coc_cli.order.request import OrderRequest
from coc_cli.order.verdicts import smallest_effect
from coc_cli.recipe.device import torch_device
from coc_cli.recipe.reading import RecipeFile, read

if TYPE_CHECKING:
    from coc_cli.data.images import Data

ASSUMED_SPREAD = 1.5  # points, of a pair's differences between seeds, as on digits
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outlook:
    """What an experiment will take, said beforehand."""

    chains: int
    jobs: int
    done: int  # by the journal
    cached: int  # of the others: stages that another run has left in the cache
    seconds: float | None  # None if not all stages have run here
    smallest_effect: float | None
    spread: float  # of a pair's differences between seeds
    is_assumed: bool  # the spread


def outlook(request: OrderRequest, say: Say) -> Outlook:
    """Return what the experiment will take; raises `UserError` if one of its chains cannot be."""
    planned = plans(request, say)
    journal = Journal(request.directory / JOURNAL)
    done = sum(name in journal.outcomes for name in request.design.jobs)
    cached = len(_cached(request, journal))
    seconds = _seconds(request, planned, journal, len(request.design.jobs) - done - cached)
    spread = _spread(request, journal)
    pairs = len(request.stages) * (len(request.stages) - 1) // 2
    assumed = ASSUMED_SPREAD if spread is None else spread
    least = smallest_effect(len(request.seeds), assumed, pairs)
    return Outlook(
        chains=len(request.design.cells),
        jobs=len(request.design.jobs),
        done=done,
        cached=cached,
        seconds=seconds,
        smallest_effect=least,
        spread=assumed,
        is_assumed=spread is None,
    )


def _cached(request: OrderRequest, journal: Journal) -> set[str]:
    """Return the jobs that the journal has not, and whose stage is in the cache: they take no time.

    A chain is planned once for all seeds.
    """
    if not CACHE.is_dir():
        return set()
    jobs, device, found = request.design.jobs, torch_device(request.file, None), set()
    parents = {job.parent for job in jobs.values()}
    planned: dict[str, tuple[RecipeFile, Plan]] = {}
    images: dict[int, Data] = {}
    for last in (job for job in jobs.values() if job.id not in parents):
        begun = _with_parents(last, jobs)
        if all(job.id in journal.outcomes for job in begun):
            continue
        chain = as_text(last.content["chain"])
        if chain not in planned:
            planned[chain] = (file := read(last.content)), make_plan(file)
        file, plan = planned[chain]
        file = replace(file, recipe=file.recipe.model_copy(update={"seed": last.seed}))
        if last.seed not in images:
            images = {last.seed: file.images()}  # those of one seed at a time
        arithmetics = expected_arithmetics(file, plan, len(images[last.seed].train), device)
        known = lineages(file, plan, images[last.seed], device, arithmetics)
        found |= {
            job.id
            for job, lineage in zip(begun, known, strict=True)
            if job.id not in journal.outcomes and (CACHE / lineage[-1].key / STAGE_RESULT).is_file()
        }
    return found


def _with_parents(job: Job, jobs: Mapping[str, Job]) -> list[Job]:
    """Return the jobs of a chain, the baseline first."""
    return [*(_with_parents(jobs[job.parent], jobs) if job.parent else []), job]


def plans(request: OrderRequest, say: Say) -> dict[tuple[str, ...], tuple[RecipeFile, Plan]]:
    """Return the plan of each order that begins no other, at its last strength.

    Raises `UserError` if that or the first strength cannot be.
    """
    first, found = request.seeds[0], {}
    ends = {0, max(cell.strength for cell in request.design.cells)}
    begun = {cell.order[:end] for cell in request.design.cells for end in range(len(cell.order))}
    cells = [one for one in request.design.cells if one.seed == first and one.strength in ends]
    cells = [one for one in cells if one.order not in begun]
    say(f"{len(cells)} chains are planned")
    for cell in cells:
        job = request.design.jobs[request.design.cells[cell]]
        try:
            file = read(job.content)
            found[cell.order] = file, make_plan(file)
        except UserError as error:
            faults = "; ".join(fault.what for fault in error.faults)
            raise user_error(_named(cell), f"cannot be: {faults}") from error
    return found


def _named(cell: Cell) -> str:
    return f"{', '.join(cell.order)} at strength {cell.strength + 1}"


def _seconds(
    request: OrderRequest, planned: dict[tuple[str, ...], tuple[RecipeFile, Plan]], journal: Journal, left: int
) -> float | None:
    """Return what the jobs that are left may take, beside each other: as those that ran, or by the whole chains."""
    done = [journal.outcomes[name].seconds for name in request.design.jobs if name in journal.outcomes]
    each = [estimated_seconds(*both) for both in planned.values()]
    if not done and (not each or None in each):
        return None
    stages = len(done) or sum(len(order) + 1 for order in planned)
    return sum(done or [one or 0.0 for one in each]) / stages * left / request.jobs


def _spread(request: OrderRequest, journal: Journal) -> float | None:
    """Return the median deviation of the pairs over seeds, as far as they are finished; None if they are not."""
    if not request.design.jobs.keys() <= journal.outcomes.keys():
        return None
    curves = Curves.of(request.design, journal.outcomes, points_scale(request))
    _, found = pair_entries(curves, request.stages)
    deviations = sorted(one.effect.deviation for one in found)
    return deviations[len(deviations) // 2] if deviations and len(request.seeds) > 1 else None


def points_scale(request: OrderRequest) -> float:
    """Return by what scores are multiplied: accuracies are reported in points."""
    return 100.0 if request.file.info.task == "classification" else 1.0
