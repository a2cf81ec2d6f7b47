"""`coc predict-exit`: traces, policies and governors compared; the predictor and a schedule for each test image."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coc_cli.checkpoint import Header, checkpoint_at, read_header, write_atomically
from coc_cli.dvfs.energy import EnergyModel
from coc_cli.dvfs.profile import Profile, read_profile
from coc_cli.dvfs.schedule import Answer, schedule
from coc_cli.errors import StageError, UserError, refuse
from coc_cli.recipe import PredictExit, RecipeFile, read, torch_device

if TYPE_CHECKING:
    from coc_cli.data.images import Data
    from coc_cli.exits.crossing import Row
    from coc_cli.exits.evaluation import Curve
    from coc_cli.exits.points import Kit
    from coc_cli.exits.predictor import Predictor
    from coc_cli.exits.traces import Trace

CACHE = Path("runs/.cache")
DROPS = {True: (0.0, 0.0025, 0.005, 0.01, 0.02), False: (0.0, 0.01, 0.02, 0.05)}  # accuracy; share of the final's error
SCHEDULED = "predictive"
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
        raise refuse("--deadline", f"{what}; 1.0x is {longest_ms:.4g} ms")
    return value


def predict_exit(asked: Asked, *, say: Callable[[str], None] = print) -> Outcome:
    """Do what was asked and write it all; raises `UserError` for images or a deadline that cannot be."""
    from coc_cli.checkpoint import load
    from coc_cli.exits.crossing import (
        DEADLINES,
        across,
        attempts,
        crossed,
        described,
        longest_ms,
        notes,
        scheduled,
        sensitivity,
    )
    from coc_cli.exits.evaluation import curve
    from coc_cli.exits.examples import examples
    from coc_cli.exits.gather import gather, workload
    from coc_cli.exits.points import CANDIDATES, NEEDS_CLASSES, operating_points, prepared
    from coc_cli.report.delivery import write_page_for
    from coc_cli.stages.early_exit import MEASURES

    spec, settings = asked.header.spec, asked.recipe.recipe
    assert spec.rule is not None
    work = workload(spec)
    plain = EnergyModel(asked.profile, work)
    every = tuple(range(work.exits + 1))
    shortest = min(float(plain.path_ms((index,))[-1]) for index in every)
    if not asked.deadline.endswith("x"):
        deadline_ms(asked.deadline, 0.0, shortest)  # one that no path keeps is said before any work
    data = _read(asked).to(asked.device)
    network = load(asked.checkpoint, trust_code=True).to(asked.device)
    held = f", {len(data.holdout)} held out" if data.holdout else ""
    say(f"traces of {len(data.validation)} validation{held} and {len(data.test)} test images, {work.exits} exits")
    validation, test = gather(network, data.validation), gather(network, data.test)
    if data.holdout:
        validation = validation.joined(gather(network, data.holdout))
    others = [measure for measure in MEASURES[spec.task] if measure not in (spec.rule.measure, "agreement")]
    say("fitting the predictor")
    kit = prepared(validation, work, (spec.rule.measure, *others), settings.seed)
    able = [name for name in CANDIDATES if validation.is_classes or name not in NEEDS_CLASSES]
    say("operating points of all policies on validation")
    points = {name: found for name in able if (found := operating_points(name, kit))}
    curves = {name: curve(found, test, work) for name, found in points.items()}
    least = float(validation.score[-1].mean()) - spec.rule.max_drop
    say("levels of all governors on test")
    tried = {name: attempts(found, least, kit, test, asked.profile) for name, found in points.items()}
    longest = longest_ms(tried)
    deadline = deadline_ms(asked.deadline, longest, shortest)
    rows = list(crossed(tried, deadline))
    report = {
        "schema": 1,
        "profile": asked.profile.name,
        "deadline": asked.deadline,
        "deadline_ms": deadline,
        "energy": "model",
        "latency": "model",
        "metric": "accuracy" if test.is_classes else "mae",
        "n_test": len(test),
        "policies": [described(row, rows[0], test) for row in rows],
        "notes": notes(rows),
        "not_applicable": [name for name in CANDIDATES if name not in points],
        "deadlines": [across(tried, asked_for, longest) for asked_for in DEADLINES],
        "sensitivity": sensitivity(tried, deadline, asked.profile),
        "savings": _savings(curves, test),
        "curves": [_curve_report(name, found) for name, found in curves.items()],
        "calibration_error": _calibration(kit),
        "predictor_macs": kit.predictor.macs if kit.predictor else None,
        "full_macs": work.full_macs,
        "checkpoint_sha256": hashlib.sha256(asked.checkpoint.read_bytes()).hexdigest(),
    }
    row = scheduled(rows)
    report["examples"] = examples(row.tried.paths, data.test)
    _write(asked, report, row, test, spec.labels, deadline, kit.predictor)
    write_page_for(asked.directory, say)
    return Outcome(asked.directory, report)


def _read(asked: Asked) -> Data:
    settings = asked.recipe.recipe
    try:
        return settings.data.read(settings.seed, cache=CACHE)
    except StageError as error:
        faults = [asked.recipe.fault(("data", key) if key else ("data",), what) for key, what in error.parts]
        raise UserError(faults) from error


def _savings(curves: dict[str, Curve], test: Trace) -> list[dict[str, Any]]:
    """Give what each policy saves at scores that are so much below the final output's, with 95 % intervals."""
    from coc_cli.exits.evaluation import savings

    full = test.score[-1]
    unit = 1.0 if test.is_classes else abs(float(full.mean()))
    found = []
    for drop in DROPS[test.is_classes]:
        for name, against in savings(curves, -drop * unit, full).items():
            entry: dict[str, Any] = {"policy": name, "drop": drop * unit}
            for other, saving in against.items():
                entry["macs"] = _number(saving.macs)
                entry[f"saved_{other}"] = _number(saving.share)
                entry[f"saved_{other}_ci95"] = [_number(saving.low), _number(saving.high)]
            found.append(entry)
    return found


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _curve_report(name: str, found: Curve) -> dict[str, Any]:
    from coc_cli.exits.points import parameters

    return {
        "policy": name,
        "points": [
            {
                "parameters": parameters(point.policy),
                "validation_score": point.score,
                "validation_macs": point.macs,
                "score": float(score.mean()),
                "macs": float(macs.mean()),
            }
            for point, score, macs in zip(found.points, found.score, found.macs, strict=True)
        ],
    }


def _calibration(kit: Kit) -> float:
    """Give the calibration error at the first exit, each fold of validation foretold by who has not seen it."""
    from coc_cli.exits.fitting import calibration_error
    from coc_cli.exits.policies import first_sure

    least = kit.thresholds(3, kit.measure)[1:2] or kit.thresholds(3, kit.measure)
    chances, leaves = [], []
    for predictor, fold in kit.folds:
        trace = kit.trace.rows(fold)
        rows = np.flatnonzero(trace.sureness(kit.measure)[0] < least[0])
        chances.append(predictor.chances(trace, 0, rows, np.full(len(rows), -1), least[0]))
        leaves.append(first_sure(trace, kit.measure, least[0], after=0)[rows])
    return calibration_error(np.concatenate(chances), np.concatenate(leaves))


def _write(
    asked: Asked,
    report: dict[str, Any],
    row: Row,
    test: Trace,
    labels: tuple[str, ...],
    deadline: float,
    predictor: Predictor | None,
) -> None:
    paths, index = row.tried.paths, np.arange(len(test))
    if test.is_classes:
        answers = [
            Answer(labels[true], labels[given])
            for true, given in zip(test.targets.tolist(), test.answer[paths.exit, index].tolist(), strict=True)
        ]
    else:
        given = test.answer[paths.exit, index]
        answers = [Answer(true, value) for true, value in zip(test.targets.tolist(), given.tolist(), strict=True)]
    lines = list(schedule(row.tried.model, paths.visited, paths.predicted, row.levels, answers, deadline))
    report["schedule"] = {"policy": row.policy, "governor": row.governor.name}
    folder = asked.directory
    if predictor is not None:
        write_atomically(folder / "predictor.safetensors", predictor.encoded())
    write_atomically(folder / "schedule.jsonl", "".join(json.dumps(line) + "\n" for line in lines).encode())
    write_atomically(folder / "schedule.csv", _csv(lines).encode())
    write_atomically(folder / "predict-exit.json", json.dumps(report, indent=2).encode())


def _csv(lines: list[dict[str, Any]]) -> str:
    """Give the schedule as a table, a row a segment."""
    text = io.StringIO()
    writer = csv.writer(text)
    keys = list(lines[0]["segments"][0])
    writer.writerow(["input", *keys])
    for line in lines:
        writer.writerows([line["input"], *[segment[key] for key in keys]] for segment in line["segments"])
    return text.getvalue()
