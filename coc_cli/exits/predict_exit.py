"""`coc predict-exit`: traces, policies and governors compared; the predictor and a schedule for each test image."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from coc_cli.dvfs.energy import EnergyModel, Workload
from coc_cli.dvfs.profile import Profile, read_profile
from coc_cli.dvfs.schedule import Answer, as_csv, schedule
from coc_cli.errors import UserError, refuse
from coc_cli.files.atomic import write_atomically
from coc_cli.files.checksum import sha256_of
from coc_cli.nets.checkpoint import Header, checkpoint_at, read_header
from coc_cli.recipe.device import torch_device
from coc_cli.recipe.model import PredictExit
from coc_cli.recipe.reading import RecipeFile, read
from coc_cli.report.schema import predict_exit as schema
from coc_cli.report.schema.part import as_data, as_json

if TYPE_CHECKING:
    from coc_cli.data.images import Data
    from coc_cli.exits.policy_governor_grid import GridRow
    from coc_cli.exits.traces import Trace

DEADLINE = re.compile(r"^([0-9]*\.?[0-9]+)(x|ms)$")


@dataclass(frozen=True)
class Asked:
    """What is to be done, checked; nothing has been run."""

    checkpoint: Path
    header: Header
    recipe: RecipeFile
    profile: Profile
    deadline: str
    directory: Path
    device: str


@dataclass(frozen=True)
class Outcome:
    """What was found, and where it lies."""

    directory: Path
    report: dict[str, Any]


def ask(
    target: Path,
    *,
    data: Path | None = None,
    profile: str | None = None,
    deadline: str | None = None,
    out: Path | None = None,
    device: str = "auto",
    trust_code: bool = False,
) -> Asked:
    """Check what was asked; what is not given is the recipe's `predict_exit`. Raises `UserError` before any work."""
    checkpoint, recipe_path = checkpoint_at(target), data
    if target.is_dir():
        recipe_path = data or target / "recipe.yaml"
    if recipe_path is None:
        raise refuse(target, "is a checkpoint by itself; name a recipe with its images: --data RECIPE")
    header = read_header(checkpoint, trust_code=trust_code)
    if not header.spec.exits:
        raise refuse(checkpoint, "has no exits to predict; add '- early_exit: {every: block}' to its chain")
    recipe = read(recipe_path)
    settings = recipe.recipe.predict_exit or PredictExit()
    found = read_profile(profile or settings.profile)
    text = deadline or settings.deadline
    if not (match := DEADLINE.match(text)) or float(match[1]) <= 0:
        raise refuse("--deadline", f"'{text}' is none; it needs a form like 1.25x or 12ms")
    info, spec = recipe.info, header.spec
    if (info.task, info.shape, len(info.labels)) != (spec.task, spec.input_shape, len(spec.labels)):
        what = f"{info.task} of {info.shape} images with {len(info.labels)} labels"
        needs = f"{spec.task} of {spec.input_shape} with {len(spec.labels)}"
        raise UserError([recipe.fault(("data",), f"is {what}; the checkpoint is for {needs}")])
    base = target if target.is_dir() else target.parent
    directory = out or (Path(settings.out) if settings.out else base / "predict-exit" / found.name)
    return Asked(checkpoint, header, recipe, found, text, directory, torch_device(recipe, device))


def deadline_ms(text: str, longest_ms: float, shortest_ms: float) -> float:
    """Give a deadline in ms; raises `UserError` for one that no path keeps."""
    found = DEADLINE.match(text)
    assert found
    value = float(found[1]) * (longest_ms if found[2] == "x" else 1.0)
    if value < shortest_ms:
        what = f"{text} is {value:.4g} ms, but the shortest path takes {shortest_ms:.4g} ms at the highest frequency"
        raise refuse("--deadline", what + (f"; 1.0x is {longest_ms:.4g} ms" if longest_ms else ""))
    return value


def predict_exit(asked: Asked, *, say: Callable[[str], None] = print) -> Outcome:
    """Do what was asked and write it all; raises `UserError` for images or a deadline that cannot be."""
    from coc_cli.exits.benefit import DEADLINES, at_deadline, sensitivity
    from coc_cli.exits.collect_traces import workload
    from coc_cli.exits.curves import curve
    from coc_cli.exits.examples import examples
    from coc_cli.exits.operating_points import applicable, operating_points
    from coc_cli.exits.policies import POLICIES
    from coc_cli.exits.policy_governor_grid import evaluate_policy, grid_rows, longest_path_ms, notes, scheduled
    from coc_cli.exits.predictor_fitting import fitted_context
    from coc_cli.exits.report_rows import calibration, curve_row, policy_row, savings_rows
    from coc_cli.report.delivery import write_page_for
    from coc_cli.stages.early_exit import MEASURES

    spec, settings = asked.header.spec, asked.recipe.recipe
    assert spec.rule is not None
    work = workload(spec)
    shortest = _shortest_ms(asked, work)
    if not asked.deadline.endswith("x"):
        deadline_ms(asked.deadline, 0.0, shortest)  # one that no path keeps is said before any work
    data = asked.recipe.images().to(asked.device)
    validation, test = _traces(asked, data, say)
    begun = perf_counter()
    others = [measure for measure in MEASURES[spec.task] if measure not in (spec.rule.measure, "agreement")]
    say("fitting the predictor")
    context = fitted_context(validation, work, (spec.rule.measure, *others), settings.seed)
    say("operating points of all policies on validation")
    points = {
        name: found for name in applicable(classes=validation.is_classes) if (found := operating_points(name, context))
    }
    least = float(validation.score[-1].mean()) - spec.rule.max_drop
    say("levels of all governors on test")
    evaluated = {name: evaluate_policy(found, least, context, test, asked.profile) for name, found in points.items()}
    longest = longest_path_ms(evaluated)
    deadline = deadline_ms(asked.deadline, longest, shortest)

    @cache
    def rows_at(ms: float) -> list[GridRow]:
        return list(grid_rows(evaluated, ms))

    rows = rows_at(deadline)
    row = scheduled(rows)
    lines = _lines(row, test, spec.labels, deadline)
    say(f"schedule of {len(test)} inputs made {perf_counter() - begun:.1f} s after the traces; curves and deadlines")
    curves = {name: curve(found, test, work) for name, found in points.items()}
    report = schema.PredictExitReport(
        schema=1,
        profile=asked.profile.name,
        deadline=asked.deadline,
        deadline_ms=deadline,
        energy="model",
        latency="model",
        metric="accuracy" if test.is_classes else "mae",
        n_test=len(test),
        policies=[policy_row(row, rows[0], test) for row in rows],
        notes=notes(rows),
        not_applicable=[name for name in POLICIES if name not in points],
        deadlines=[at_deadline(rows_at(factor * longest), factor, factor * longest) for factor in DEADLINES],
        sensitivity=sensitivity(evaluated, deadline, asked.profile),
        savings=savings_rows(curves, test),
        curves=[curve_row(name, found) for name, found in curves.items()],
        calibration_error=calibration(context),
        predictor_macs=context.predictor.macs if context.predictor else None,
        full_macs=work.full_macs,
        checkpoint_sha256=sha256_of(asked.checkpoint),
        examples=[schema.Example(**example) for example in examples(row.evaluated.paths, data.test)],
        schedule=schema.Scheduled(policy=row.policy, governor=row.governor.name),
    )
    if context.predictor is not None:
        write_atomically(asked.directory / "predictor.safetensors", context.predictor.encoded())
    write_atomically(
        asked.directory / "schedule.jsonl",
        "".join(as_json(schema.ScheduleLine(**line)) + "\n" for line in lines).encode(),
    )
    write_atomically(asked.directory / "schedule.csv", as_csv(lines).encode())
    write_atomically(asked.directory / "predict-exit.json", as_json(report, indent=2).encode())
    write_page_for(asked.directory, say)
    return Outcome(asked.directory, as_data(report))


def _shortest_ms(asked: Asked, work: Workload) -> float:
    """Give the time of the shortest path at the highest frequency."""
    model = EnergyModel(asked.profile, work)
    return min(float(model.path_ms((exit_,))[-1]) for exit_ in range(work.exits + 1))


def _traces(asked: Asked, data: Data, say: Callable[[str], None]) -> tuple[Trace, Trace]:
    """Run the network over what it never trained on: validation with what is held out, and test."""
    from coc_cli.exits.collect_traces import collect_traces
    from coc_cli.nets.checkpoint import load

    network = load(asked.checkpoint, trust_code=True).to(asked.device)
    held = f", {len(data.holdout)} held out" if data.holdout else ""
    exits = len(asked.header.spec.exits)
    say(f"traces of {len(data.validation)} validation{held} and {len(data.test)} test images, {exits} exits")
    validation, test = collect_traces(network, data.validation), collect_traces(network, data.test)
    return validation.joined(collect_traces(network, data.holdout)) if data.holdout else validation, test


def _lines(row: GridRow, test: Trace, labels: tuple[str, ...], deadline: float) -> list[dict[str, Any]]:
    """Give the schedule of the test images."""
    paths = row.evaluated.paths
    true, given = test.targets.tolist(), test.answer[paths.exit, np.arange(len(test))].tolist()
    if test.is_classes:
        true, given = ([labels[index] for index in indices] for indices in (true, given))
    answers = [Answer(*pair) for pair in zip(true, given, strict=True)]
    return list(schedule(row.evaluated.model, paths.visited, paths.predicted, row.levels, answers, deadline))
