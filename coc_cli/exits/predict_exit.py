"""`coc predict-exit`: traces, predictor, policies under governors, schedule and figures, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any, TypeAlias

import numpy as np
import torch

from coc_cli.data.images import Data
from coc_cli.dvfs.energy import EnergyModel, Workload
from coc_cli.dvfs.schedule import Answer, as_csv, schedule
from coc_cli.errors import user_error
from coc_cli.exits.answer import answer
from coc_cli.exits.apply import apply
from coc_cli.exits.benefit import DEADLINES, at_deadline, sensitivity
from coc_cli.exits.collect_traces import collect_traces, workload
from coc_cli.exits.curves import curve
from coc_cli.exits.equal_score import at_equal_score
from coc_cli.exits.examples import examples
from coc_cli.exits.operating_points import applicable, operating_points
from coc_cli.exits.policies import POLICIES
from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.context import PolicyContext
from coc_cli.exits.policies.policy import LearnedPolicy
from coc_cli.exits.policies.subset import Subset
from coc_cli.exits.policy_governor_grid import (
    EvaluatedPolicy,
    GridRow,
    best,
    evaluate_policy,
    grid_rows,
    notes,
    scheduled,
)
from coc_cli.exits.predictor_fitting import fitted
from coc_cli.exits.promise import check_promise, promise_notes, promised
from coc_cli.exits.report_rows import calibration, curve_row, drops_of, equal_rows, policy_row, savings_rows
from coc_cli.exits.request import PredictExitRequest
from coc_cli.exits.subsets import with_subsets
from coc_cli.exits.traces import Measure, Shifted, Trace
from coc_cli.files.atomic import write_atomically
from coc_cli.files.checksum import sha256_of
from coc_cli.files.run_directory import PREDICTION, REPORT
from coc_cli.learning.certificate import halves
from coc_cli.learning.tasks import task_of
from coc_cli.learning.uselessness import triviality, uselessness
from coc_cli.nets.checkpoint import load
from coc_cli.nets.network import Network
from coc_cli.nets.spec import Spec
from coc_cli.report.delivery import write_page_for
from coc_cli.report.read.files import read_json
from coc_cli.report.read.lenient import MissingNotes
from coc_cli.report.schema import predict_exit as schema
from coc_cli.report.schema.part import as_data, as_file, as_json
from coc_cli.report.schema.run import Report
from coc_cli.stages.early_exit import MEASURES

Say: TypeAlias = Callable[[str], None]


@dataclass(frozen=True)
class PredictExitResult:
    """What predict-exit.json says, and where it lies."""

    directory: Path
    report: dict[str, Any]


def predict_exit(request: PredictExitRequest, *, say: Say = print) -> PredictExitResult:
    """Run the network once, compare all policies and write every file.

    Raises `UserError` for images or a deadline that cannot be.
    """
    network = load(request.checkpoint, trust_code=True).to(request.device)
    work = workload(request.header.spec)
    _check_deadline(request, work)
    data = request.recipe.images().to(request.device)
    confidence, images = request.confidence, len(data.validation) + len(data.holdout or ())
    if confidence is not None:
        check_promise(images, request.max_drop, confidence, classes=request.header.spec.task == "classification")
    validation, test = make_traces(request, network, data, say)
    useless = [f"warning: {what}" for what in _useless(network, test, data)]
    begun = perf_counter()
    tested = None
    if confidence is not None:
        validation, tested = (validation.rows(half) for half in halves(len(validation)))
    grid = make_grid(request, validation, test, work, say)
    deadline = request.deadline_ms(grid.context.model().plain_ms)
    rows = grid.rows_at(deadline)
    row = scheduled(rows)
    if confidence is not None and tested is not None and row.policy != Classic.name:
        say("testing what it promises")
        promise = request.max_drop, confidence
        made = promised(row, grid.context, tested, test, promise, deadline)
        rows = rows if made is None else [made if one is row else one for one in rows]
        row = made or scheduled([one for one in rows if one.policy == Classic.name])
    lines = _lines(row, test, request.header.spec.labels, deadline)
    say(f"schedule of {len(test)} inputs made {perf_counter() - begun:.1f} s after the traces; curves and deadlines")
    report = _report(request, grid, (rows, row), test, data, deadline)
    applied = apply(request, network, rows, row, data) if request.applies else None
    report = report.model_copy(update={"notes": [*useless, *report.notes], "applied": applied})
    _write(request, grid.context, row, lines, report)
    write_page_for(request.directory, say)
    return PredictExitResult(request.directory, as_data(report))


def _check_deadline(request: PredictExitRequest, work: Workload) -> None:
    """Raise `UserError` for a deadline that no path keeps."""
    model = EnergyModel(request.profile, work)
    shortest = min(float(model.path_ms((exit_,))[-1]) for exit_ in range(work.exits + 1))
    if (value := request.deadline_ms(model.plain_ms)) < shortest:
        needs = f"the shortest path takes {shortest:.4g} ms at the highest frequency, no exits {model.plain_ms:.4g} ms"
        raise user_error("--deadline", f"{request.deadline} is {value:.4g} ms, but {needs}")


def make_traces(request: PredictExitRequest, network: Network, data: Data, say: Say) -> tuple[Trace, Trace]:
    """Return traces of the network over what it never trained on: validation with what is held out, and test."""
    held = f", {len(data.holdout)} held out" if data.holdout else ""
    exits = len(request.header.spec.exits)
    say(f"traces of {len(data.validation)} validation{held} and {len(data.test)} test images, {exits} exits")
    validation, test = collect_traces(network, data.validation), collect_traces(network, data.test)
    return validation.joined(collect_traces(network, data.holdout)) if data.holdout else validation, test


def _useless(network: Network, test: Trace, data: Data) -> Iterator[str]:
    """Yield why the network is of no use, so that its exits are not worth predicting."""
    task, scores = task_of(network.spec), torch.from_numpy(test.score[-1])
    answers = torch.from_numpy(test.answer[-1]).to(data.test.targets.device)
    trivial, spread = triviality(answers, task, data.test, data.train)
    figures = task.value(scores), task.interval(scores), len(test)
    yield from uselessness(task, *figures, trivial_value=trivial, answer_spread=spread)


@dataclass(frozen=True)
class Grid:
    """Every policy at its points, evaluated on a device, under every governor at whatever deadline."""

    context: PolicyContext
    evaluated: dict[str, list[EvaluatedPolicy]]
    _rows: dict[float, list[GridRow]] = field(default_factory=dict)

    def rows_at(self, deadline_ms: float) -> list[GridRow]:
        """Return the rows at a deadline, worked out once; classic under race is the first."""
        if deadline_ms not in self._rows:
            self._rows[deadline_ms] = list(grid_rows(self.evaluated, deadline_ms))
        return self._rows[deadline_ms]


def make_grid(request: PredictExitRequest, validation: Trace, test: Trace, work: Workload, say: Say) -> Grid:
    """Return every policy on a device: as sure as it has to be on validation, and what it does on test."""
    spec, seed = request.header.spec, request.recipe.recipe.seed
    context = PolicyContext(validation, work, request.profile, _measures(spec), seed)
    plain_ms, full = context.model().plain_ms, float(validation.score[-1].mean())
    deadline, least_score = request.deadline_ms(plain_ms), full - request.max_drop
    say("searching the exits that are worth their heads")
    drops = [full - drop for drop in drops_of(validation)]
    deadlines = [deadline, *(factor * plain_ms for factor in DEADLINES)]
    context = with_subsets(context, [least_score, *drops], deadlines, least_score)
    say("fitting the predictors")
    known = {Subset.name: evaluate_policy(Subset.name, least_score, context, test)}
    context = _with_predictors(context, best(list(grid_rows(known, deadline)), [Subset.name]))
    say("policies under governors")
    evaluated = {
        name: known.get(name) or evaluate_policy(name, least_score, context, test) for name in applicable(context)
    }
    return Grid(context, evaluated)


def _with_predictors(context: PolicyContext, row: GridRow | None) -> PolicyContext:
    """Fit predictors for a row's subset, if there is one, and for one with more exits; else for the rule itself."""
    subset = getattr(row.evaluated.policy, "measure", None) if row else None
    kept = [one for one in (subset, context.many_exits) if isinstance(one, Shifted) and one.kept]
    measures: list[Measure] = list(dict.fromkeys(kept)) or [context.measure]
    return replace(context, fitted=fitted(context, measures))


def _measures(spec: Spec) -> tuple[str, ...]:
    """Return the measures of confidence that policies are tried with, the exit rule's own first."""
    assert spec.rule is not None
    others = (measure for measure in MEASURES[spec.task] if measure not in (spec.rule.measure, "agreement"))
    return (spec.rule.measure, *others)


def _lines(row: GridRow, test: Trace, labels: tuple[str, ...], deadline: float) -> list[dict[str, Any]]:
    """Return the schedule of the test images."""
    paths = row.evaluated.paths
    true, predicted = test.targets.tolist(), test.answer[paths.exit, np.arange(len(test))].tolist()
    if test.is_classes:
        true, predicted = ([labels[index] for index in indices] for indices in (true, predicted))
    answers = [Answer(*pair) for pair in zip(true, predicted, strict=True)]
    return list(schedule(row.evaluated.model, paths.visited, paths.predicted, row.levels, answers, deadline))


def _baseline_value(directory: Path) -> float | None:
    """Return the metric on test of the network that a run began with; None where nothing says it."""
    if not (directory / REPORT).is_file():
        return None
    report = read_json(directory / REPORT, Report, REPORT, MissingNotes())
    first = next(iter(report.parts("stages")), None) if report else None
    return first.get("metric_value") if first else None


def _report(
    request: PredictExitRequest,
    grid: Grid,
    chosen: tuple[list[GridRow], GridRow],
    test: Trace,
    data: Data,
    deadline: float,
) -> schema.PredictExitReport:
    (rows, row), context = chosen, grid.context
    points = {name: operating_points(name, context) for name in grid.evaluated}
    curves = {name: curve(one, test, context.workload) for name, one in points.items()}
    equal = at_equal_score(grid.rows_at(deadline), context, test, deadline, request.max_drop)
    metric = "accuracy" if test.is_classes else "mae"
    plain_ms, baseline = context.model().plain_ms, _baseline_value(request.checkpoint.parent)
    return schema.PredictExitReport(
        schema=1,
        profile=request.profile.name,
        deadline=request.deadline,
        deadline_ms=deadline,
        energy="model",
        latency="model",
        metric=metric,
        n_test=len(test),
        policies=[policy_row(one, rows[0], test, equal, baseline) for one in rows],
        answer=answer(rows, row, equal, f"{request.deadline} = {deadline:.4g} ms", metric, baseline),
        notes=[*promise_notes(request.max_drop, request.confidence, row), *notes(row)],
        not_applicable=[name for name in POLICIES if name not in grid.evaluated],
        deadlines=[at_deadline(grid.rows_at(factor * plain_ms), factor, factor * plain_ms) for factor in DEADLINES],
        sensitivity=sensitivity(rows, deadline, request.profile),
        savings=savings_rows(curves, test),
        equal_score=equal_rows(equal),
        curves=[curve_row(name, one) for name, one in curves.items()],
        calibration_error=calibration(context),
        predictor_macs=max(one.predictor.macs for one in context.fitted.values()),
        full_macs=context.workload.full_macs,
        checkpoint_sha256=sha256_of(request.checkpoint),
        examples=[schema.ExampleEntry(**example) for example in examples(row.evaluated.paths, data.test)],
        schedule=schema.Scheduled(policy=row.policy, governor=row.governor.name),
    )


def _write(
    request: PredictExitRequest,
    context: PolicyContext,
    row: GridRow,
    lines: list[dict[str, Any]],
    report: schema.PredictExitReport,
) -> None:
    policy = row.evaluated.policy
    predictor = policy.predictor if isinstance(policy, LearnedPolicy) else next(iter(context.fitted.values())).predictor
    files = {"predictor.safetensors": predictor.encoded()}
    files["schedule.jsonl"] = "".join(as_json(schema.ScheduleLine(**line)) + "\n" for line in lines).encode()
    files["schedule.csv"] = as_csv(lines).encode()
    for name, content in files.items():
        write_atomically(request.directory / name, content)
    checksums = {name: sha256(content).hexdigest() for name, content in files.items()}
    report = report.model_copy(update={"files": checksums})
    write_atomically(request.directory / PREDICTION, as_file(report, indent=2))
