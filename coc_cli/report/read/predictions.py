"""Reading what `coc predict-exit` left: figures, curves, and the schedules of the example images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coc_cli.files.run_directory import PREDICTION
from coc_cli.report import schema
from coc_cli.report.model import (
    BenefitView,
    BestView,
    CurveView,
    ExampleView,
    PointView,
    PolicyView,
    PredictionView,
    sign,
)
from coc_cli.report.read.files import read_json, read_lines
from coc_cli.report.read.lenient import Lenient, MissingNotes
from coc_cli.report.read.stages import sha256_if_readable
from coc_cli.units import printable

FILE = PREDICTION
SCHEMA = 1
WHO = ("passive", "ours", "oracle")  # whose energies a worth compares

Name = tuple[str | None, str | None]  # policy and governor
Rows = dict[Name, Lenient]  # of a deadline


def read_predictions(directory: Path, network: str | None, missing: MissingNotes) -> Iterator[PredictionView]:
    """Return what stands below a run directory, a device each, or in a folder of its own.

    What was found for another network than that of the checksum `network` is left out, and said; an empty checksum is
    one that should be there, and None is of no run at all.
    """
    below = directory / "predict-exit"
    folders = sorted(path for path in below.iterdir() if path.is_dir()) if below.is_dir() else []
    for folder in [*folders, *([directory] if (directory / FILE).is_file() else [])]:
        name = str((folder / FILE).relative_to(directory))
        report = read_json(folder / FILE, schema.PredictExitReport, name, missing)
        if report is None:
            continue
        if report.content.get("schema") != SCHEMA:
            missing.say(f"{name} has schema {report.content.get('schema')!r}; this coc knows {SCHEMA}")
        of = report.content.get("checkpoint_sha256")
        if of and network == "":
            missing.say(f"whether {name} is of this run's network cannot be told without its last stage")
        elif of and network is not None and of != network:
            missing.say(f"{name} is of another network than this run's result; run coc predict-exit again")
            continue
        for beside, checksum in (report.get("files") or {}).items():
            is_there = Path(beside).name == beside and (folder / beside).is_file()
            if is_there and sha256_if_readable(folder / beside) != checksum:
                missing.damage(str((folder / beside).relative_to(directory)))
        yield _prediction(report, folder)


def _prediction(report: Lenient, folder: Path) -> PredictionView:
    metric = report.get("metric") or "accuracy"
    intervals = _rows_at(report, report.get("deadline_ms"))
    policies = tuple(_policy(each, intervals) for each in report.parts("policies"))
    chosen = report.part("schedule").content
    name = (chosen.get("policy"), chosen.get("governor"))
    return report.view(
        PredictionView,
        profile=report.get("profile") or folder.name,
        metric=metric,
        final_exit=_final_exit(report),
        policies=policies,
        curves=tuple(_curve(each, sign(metric)) for each in report.parts("curves")),
        deadlines=tuple(
            _benefit(each.part("worth"), each.get("deadline"), _rows(each)) for each in report.parts("deadlines")
        ),
        sensitivity=tuple(_benefit(each, each.get("change"), {}) for each in report.parts("sensitivity")),
        scheduled=next((row for row in policies if (row.policy, row.governor) == name), None),
        examples=_examples(report, folder),
    )


def _final_exit(report: Lenient) -> int | None:
    exit_rates = [each.get("exit_shares") for each in report.quiet.parts("policies")]
    return next((len(rates) - 1 for rates in exit_rates if rates), None)


def _rows_at(report: Lenient, deadline_ms: float | None) -> Rows:
    """Return the rows, with intervals, of the deadline that was asked for; nothing if it is none of those tried."""
    for each in report.quiet.parts("deadlines"):
        other_ms = each.get("deadline_ms")
        if None not in (other_ms, deadline_ms) and math.isclose(other_ms or 0.0, deadline_ms or 0.0, rel_tol=1e-9):
            return _rows(each)
    return {}


def _rows(deadline: Lenient) -> Rows:
    return {_named(each): each for each in deadline.quiet.parts("rows")}


def _named(part: Lenient) -> Name:
    return part.get("policy"), part.get("governor")


def _interval(rows: Rows, name: Name) -> tuple[float, float] | None:
    interval: tuple[float, float] | None = rows[name].get("energy_mj_ci95") if name in rows else None
    return interval


def _policy(part: Lenient, rows: Rows) -> PolicyView:
    return part.view(PolicyView, energy_mj_ci95=_interval(rows, _named(part)))


def _curve(part: Lenient, direction: int) -> CurveView:
    pairs = [(point.get("score"), point.get("macs")) for point in part.parts("points")]
    points = [PointView(direction * score, macs) for score, macs in pairs if score is not None and macs is not None]
    return part.view(CurveView, points=tuple(sorted(points, key=lambda point: point.macs)))


def _benefit(part: Lenient, name: str | None, rows: Rows) -> BenefitView:
    compared = {who: _best(part.part(who), rows) if part.get(who) else None for who in WHO}
    return part.view(BenefitView, name=name or "?", **compared)


def _best(part: Lenient, rows: Rows) -> BestView:
    name = _named(part)
    one_level = rows[name].get("one_level") if name in rows else None
    return part.view(BestView, energy_mj_ci95=_interval(rows, name), one_level=one_level)


def _examples(report: Lenient, folder: Path) -> tuple[ExampleView, ...]:
    if report.get("examples") is None:
        report.missing.say(f"{report.where} has no example images; run coc predict-exit again for timelines")
        return ()
    chosen = {int(number): each for each in report.parts("examples") if (number := each.get("input")) is not None}
    where = report.where.replace(FILE, "schedule.jsonl")
    lines = read_lines(folder / "schedule.jsonl", schema.ScheduleLine, where, report.missing, only=set(chosen))
    by_input = {line.get("input"): line for line in lines}
    return tuple(_example(each, by_input[number]) for number, each in chosen.items() if number in by_input)


def _example(part: Lenient, line: Lenient) -> ExampleView:
    answers = {key: _shown(line.content.get(key)) for key in ("label", "prediction")}
    return line.view(ExampleView, kind=part.get("kind") or "?", png=part.get("png") or "", **answers)


def _shown(value: Any) -> str:
    """Return a class, or numbers to four digits."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else printable(value)
