"""`coc order`: the jobs of all chains, and what they say of the order of stages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from coc_cli.chain.baseline import checked_spec
from coc_cli.chain.cache import data_key
from coc_cli.chain.result import environment
from coc_cli.chain.speeds import data_hash
from coc_cli.errors import RunError, user_error
from coc_cli.executors import EXECUTORS
from coc_cli.files.atomic import locked, write_atomically
from coc_cli.files.run_directory import LOCK, ORDER
from coc_cli.files.yaml_source import written
from coc_cli.order.analysis import Curves, curve_entries, insertion_entries, pair_entries, ranking, smallest
from coc_cli.order.experiment import JOURNAL, WORK, Journal, run_jobs
from coc_cli.order.outlook import plans, points_scale
from coc_cli.order.request import OrderRequest, content, differing
from coc_cli.order.sorting import sort
from coc_cli.order.work import Outcome
from coc_cli.recipe.device import torch_device
from coc_cli.recipe.reading import read
from coc_cli.report.order_texts import html, markdown
from coc_cli.report.schema import order as schema
from coc_cli.report.schema.part import as_file
from coc_cli.stages.distill import Distill

PAGE, MARKDOWN, RECOMMENDED = "order.html", "order.md", "recommended.yaml"
Say = Callable[[str], None]


def run_order(request: OrderRequest, say: Say) -> schema.OrderReport:
    """Run every chain that has not run, and return what they say; files lie in the request's directory."""
    plans(request, say)
    executor_class = EXECUTORS[request.executor]
    request.directory.mkdir(parents=True, exist_ok=True)
    try:
        with locked(request.directory / LOCK, wait=False):
            journal = Journal(request.directory / JOURNAL)
            _check_data(request, journal, say)
            executor = executor_class(
                request.jobs, request.threads, on_gpus=torch_device(request.file, None).startswith("cuda")
            )
            try:
                outcomes = run_jobs(request.design.jobs, executor, journal, request.directory, say)
            finally:
                executor.close()
    except BlockingIOError as error:
        raise user_error(request.directory, "another coc is at work in it; wait, or name another with --out") from error
    shutil.rmtree(request.directory / WORK, ignore_errors=True)
    report = report_of(request, outcomes)
    write_atomically(request.directory / ORDER, as_file(report, indent=1))
    write_atomically(request.directory / PAGE, html(report).encode())
    write_atomically(request.directory / MARKDOWN, markdown(report).encode())
    if report.order:
        write_atomically(request.directory / RECOMMENDED, _recommended(request, report.order).encode())
    return report


def _recommended(request: OrderRequest, order: list[str]) -> str:
    """Return the recipe with the stages that were compared in their best order, at the places that they have."""
    text = content(request.file.recipe, request.directory)
    places = [index for index, link in enumerate(text["chain"]) if next(iter(link)) in order]
    links = {next(iter(link)): link for link in text["chain"]}
    for place, name in zip(places, order, strict=True):
        text["chain"][place] = links[name]
    return written(text)


def _check_data(request: OrderRequest, journal: Journal, say: Say) -> None:
    """Begin anew if the data are others than those of the journal."""
    baseline = request.design.baselines[request.seeds[0]]
    known = journal.outcomes.get(baseline)
    if known is None:
        return

    file = read(request.design.jobs[baseline].content)
    if data_key(file.images()) != known.data:
        say(f"warning: the data have changed since {request.directory / JOURNAL} was begun; all is run anew")
        journal.forget()


def report_of(request: OrderRequest, outcomes: dict[str, Outcome]) -> schema.OrderReport:
    """Return what an experiment says whose jobs are finished."""
    task = request.file.info.task
    curves = Curves.of(request.design, outcomes, points_scale(request))
    pairs, found = pair_entries(curves, request.stages)
    if not found:
        raise RunError("no pair can be compared: their ratios of BitOps do not overlap; give strengths by hand")
    in_order = sort(request.stages, found)
    return schema.OrderReport(
        schema=1,
        name=request.file.recipe.name,
        arch=checked_spec(request.file).arch,
        data=data_hash(request.file),
        metric="accuracy" if task == "classification" else "mae",
        unit="points" if task == "classification" else "the targets' unit",
        seeds=list(request.seeds),
        strengths=[
            schema.StrengthEntry(stage=name, **_meaning(request, name), settings=differing(request.found[name]))
            for name in request.stages
        ],
        teachers=request.teachers,
        pairs=pairs,
        insertions=insertion_entries(curves, request.stages, found) if request.inserted else [],
        order=list(in_order.order) if in_order.order else None,
        ties=list(in_order.ties),
        cycle=list(in_order.cycle),
        weakest=(in_order.weakest.first, in_order.weakest.second) if in_order.weakest else None,
        ranking=ranking(curves, request.stages) if request.every else [],
        curves=curve_entries(curves),
        smallest_effect=smallest(found, len(request.seeds)),
        jobs=len(request.design.jobs),
        environment=environment("cpu"),
        seconds=sum(one.seconds for one in outcomes.values()),
    )


def _meaning(request: OrderRequest, name: str) -> dict[str, str]:
    """Return what a stage is called, and what it is; "D" means two things."""
    stage: Any = request.found[name][0]
    if not isinstance(stage, Distill):
        return {"label": name, "means": stage.works_on}
    if stage.student == "same":
        return {"label": f"{name} (recovery)", "means": "recovery of the same network with a teacher"}
    return {"label": f"{name} (student)", "means": "a smaller student"}
