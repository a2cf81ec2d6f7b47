"""Reading what `coc predict-exit` left: figures, curves, and the schedules of the example images."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coc_cli.report.fields import Fields, Missing, printable, read_json, read_lines
from coc_cli.report.model import Best, Curve, Example, Forecast, Point, Policy, Predictor, Saving, Stretch, Worth, sign

FILE = "predict-exit.json"
SCHEMA = 1


def read_forecasts(directory: Path, network: str | None, missing: Missing) -> Iterator[Forecast]:
    """Give what stands below a run directory, a device each, or in a folder of its own.

    What was found for another network than that of the checksum `network` is left out, and said; an empty checksum is
    one that should be there, and None is of no run at all.
    """
    below = directory / "predict-exit"
    folders = sorted(path for path in below.iterdir() if path.is_dir()) if below.is_dir() else []
    for folder in [*folders, *([directory] if (directory / FILE).is_file() else [])]:
        name = str((folder / FILE).relative_to(directory))
        fields = read_json(folder / FILE, name, missing)
        if fields is None:
            continue
        if fields.content.get("schema") != SCHEMA:
            missing.say(f"{name} has schema {fields.content.get('schema')!r}; this coc knows {SCHEMA}")
        of = fields.content.get("checkpoint_sha256")
        if of and network == "":
            missing.say(f"whether {name} is of this run's network cannot be told without its last stage")
        elif of and network is not None and of != network:
            missing.say(f"{name} is of another network than this run's result; run coc predict-exit again")
            continue
        yield _forecast(fields, folder, missing)


def _forecast(fields: Fields, folder: Path, missing: Missing) -> Forecast:
    metric = fields.text("metric") or "accuracy"
    deadline_ms = fields.number("deadline_ms")
    known = _intervals(fields, deadline_ms)
    rows = tuple(_policy(each, known) for each in fields.each("policies", "policy"))
    chosen = fields.part("schedule")
    name = (chosen.content.get("policy"), chosen.content.get("governor"))
    return Forecast(
        profile=fields.text("profile") or folder.name,
        deadline=fields.text("deadline"),
        deadline_ms=deadline_ms,
        metric=metric,
        n_test=fields.number("n_test"),
        full_macs=fields.number("full_macs"),
        final_exit=_final_exit(fields),
        policies=rows,
        not_applicable=fields.texts("not_applicable"),
        curves=tuple(_curves(fields, sign(metric))),
        savings=tuple(_savings(fields)),
        deadlines=tuple(_deadlines(fields)),
        sensitivity=tuple(_changes(fields)),
        scheduled=next((row for row in rows if (row.policy, row.governor) == name), None),
        notes=fields.texts("notes"),
        examples=_examples(fields, folder, missing),
    )


def _final_exit(fields: Fields) -> int | None:
    shares = [each.content.get("exit_shares") for each in _quiet(fields).each("policies", "policy")]
    return next((len(share) - 1 for share in shares if isinstance(share, list) and share), None)


Intervals = dict[tuple[str | None, str | None], Fields]  # rows of a deadline by policy and governor


def _intervals(fields: Fields, deadline_ms: float | None) -> Intervals:
    """Give the rows, with intervals, of the deadline that was asked for; nothing if it is none of those tried."""
    for each in _quiet(fields).each("deadlines", "deadline"):
        found = each.maybe("deadline_ms")
        if None not in (found, deadline_ms) and math.isclose(found or 0.0, deadline_ms or 0.0, rel_tol=1e-9):
            return _rows(each)
    return {}


def _rows(deadline: Fields) -> Intervals:
    quiet = _quiet(deadline).each("rows", "row")
    return {(each.text("policy"), each.text("governor")): each for each in quiet}


def _quiet(fields: Fields) -> Fields:
    """Give the same fields, of which nothing is said."""
    return Fields(fields.content, fields.where, Missing())


def _policy(each: Fields, known: Intervals) -> Policy:
    name = (each.text("policy") or "?", each.text("governor") or "?")
    return Policy(
        *name,
        metric_value=each.number("metric_value"),
        macs_mean=each.number("macs_mean"),
        latency_ms_mean=each.number("latency_ms_mean"),
        energy_mj_mean=each.number("energy_mj_mean"),
        energy_mj_ci95=known[name].maybe_pair("energy_mj_ci95") if name in known else None,
        energy_saving=each.number("energy_saving"),
        deadline_miss_rate=each.number("deadline_miss_rate"),
        one_level=each.maybe_flag("one_level"),
        predictor=_predictor(each.part("predictor")) if "predictor" in each else None,
    )


def _predictor(part: Fields) -> Predictor:
    return Predictor(part.number("hit_rate"), part.number("mean_abs_error"))


def _curves(fields: Fields, direction: int) -> Iterator[Curve]:
    for each in fields.each("curves", "curve"):
        found = [(point.number("score"), point.number("macs")) for point in each.each("points", "point")]
        points = [Point(direction * score, macs) for score, macs in found if score is not None and macs is not None]
        yield Curve(each.text("policy") or "?", tuple(sorted(points, key=lambda point: point.macs)))


def _savings(fields: Fields) -> Iterator[Saving]:
    for each in fields.each("savings", "saving") if "savings" in fields else ():
        yield Saving(
            policy=each.text("policy") or "?",
            drop=each.number("drop") or 0.0,
            macs=each.maybe("macs"),
            saved_classic=each.maybe("saved_classic"),
            saved_classic_ci95=each.maybe_pair("saved_classic_ci95"),
            saved_passive=each.maybe("saved_passive"),
            saved_passive_ci95=each.maybe_pair("saved_passive_ci95"),
        )


def _deadlines(fields: Fields) -> Iterator[Worth]:
    for each in fields.each("deadlines", "deadline"):
        yield _worth(each.part("worth"), each.text("deadline") or "?", _rows(each))


def _changes(fields: Fields) -> Iterator[Worth]:
    for each in fields.each("sensitivity", "change"):
        yield _worth(each, each.text("change") or "?", {})


def _worth(each: Fields, name: str, known: Intervals) -> Worth:
    return Worth(
        name,
        passive=_best(each, "passive", known),
        ours=_best(each, "ours", known),
        oracle=_best(each, "oracle", known),
        saved_passive=each.maybe("saved_passive"),
        saved_passive_ci95=each.maybe_pair("saved_passive_ci95"),
        score_difference=each.maybe("score_difference"),
        score_difference_ci95=each.maybe_pair("score_difference_ci95"),
        gap_closed=each.maybe("gap_closed"),
        gap_closed_ci95=each.maybe_pair("gap_closed_ci95"),
    )


def _best(each: Fields, kind: str, known: Intervals) -> Best | None:
    if kind not in each:
        return None
    part = each.part(kind)
    name = (part.text("policy") or "?", part.text("governor") or "?")
    row = known.get(name)
    interval, one_level = (row.maybe_pair("energy_mj_ci95"), row.maybe_flag("one_level")) if row else (None, None)
    return Best(*name, part.number("energy_mj_mean"), interval, one_level)


def _examples(fields: Fields, folder: Path, missing: Missing) -> tuple[Example, ...]:
    if "examples" not in fields:
        missing.say(f"{fields.where} has no example images; run coc predict-exit again for timelines")
        return ()
    chosen = {
        int(number): each for each in fields.each("examples", "example") if (number := each.number("input")) is not None
    }
    where = fields.where.replace(FILE, "schedule.jsonl")
    lines = read_lines(folder / "schedule.jsonl", where, missing, only=set(chosen))
    found = {line.number("input"): line for line in lines}
    return tuple(_example(each, found[number]) for number, each in chosen.items() if number in found)


def _example(each: Fields, line: Fields) -> Example:
    return Example(
        input=int(line.content["input"]),
        kind=each.text("kind") or "?",
        png=each.text("png") or "",
        label=_shown(line.content.get("label")),
        prediction=_shown(line.content.get("prediction")),
        exit=int(line.number("exit") or 0),
        latency_ms=line.number("latency_ms"),
        energy_mj=line.number("energy_mj"),
        deadline_ms=line.number("deadline_ms"),
        segments=tuple(_stretch(segment) for segment in line.each("segments", "segment")),
    )


def _stretch(segment: Fields) -> Stretch:
    return Stretch(
        frequency_mhz=segment.number("frequency_mhz") or 0.0,
        latency_ms=segment.number("latency_ms") or 0.0,
        energy_mj=segment.number("energy_mj") or 0.0,
        reason=segment.text("reason") or "?",
    )


def _shown(value: Any) -> str:
    """Give a class, or numbers to four digits."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else printable(value)
