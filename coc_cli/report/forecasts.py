"""Reading what `coc predict-exit` left: figures, curves, and the schedules of the example images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coc_cli.report.fields import Fields, Missing, read_json, read_lines
from coc_cli.report.model import Curve, Example, Forecast, Point, Policy, Stretch, Worth, sign

FILE = "predict-exit.json"


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
        of = fields.content.get("checkpoint_sha256")
        if of and network == "":
            missing.say(f"whether {name} is of this run's network cannot be told without its last stage")
        elif of and network is not None and of != network:
            missing.say(f"{name} is of another network than this run's result; run coc predict-exit again")
            continue
        yield _forecast(fields, folder, missing)


def _forecast(fields: Fields, folder: Path, missing: Missing) -> Forecast:
    metric = fields.text("metric") or "accuracy"
    rows = tuple(_policy(each) for each in fields.each("policies", "policy"))
    chosen = fields.part("schedule")
    name = (chosen.content.get("policy"), chosen.content.get("governor"))
    absent = fields.content.get("not_applicable")
    return Forecast(
        profile=fields.text("profile") or folder.name,
        deadline=fields.text("deadline"),
        deadline_ms=fields.number("deadline_ms"),
        metric=metric,
        n_test=fields.number("n_test"),
        full_macs=fields.number("full_macs"),
        policies=rows,
        not_applicable=tuple(map(str, absent)) if isinstance(absent, list) else (),
        curves=tuple(_curves(fields, sign(metric))),
        worth=tuple(_worth(fields)),
        scheduled=next((row for row in rows if (row.policy, row.governor) == name), None),
        examples=_examples(fields, folder, missing),
    )


def _policy(each: Fields) -> Policy:
    keys = (
        "metric_value",
        "macs_mean",
        "latency_ms_mean",
        "energy_mj_mean",
        "energy_saving",
        "deadline_miss_rate",
    )
    return Policy(each.text("policy") or "?", each.text("governor") or "?", *[each.number(key) for key in keys])


def _curves(fields: Fields, direction: int) -> Iterator[Curve]:
    for each in fields.each("curves", "curve"):
        found = [(point.number("score"), point.number("macs")) for point in each.each("points", "point")]
        points = [Point(direction * score, macs) for score, macs in found if score is not None and macs is not None]
        yield Curve(each.text("policy") or "?", tuple(sorted(points, key=lambda point: point.macs)))


def _worth(fields: Fields) -> Iterator[Worth]:
    for each in fields.each("deadlines", "deadline"):
        yield _one_worth(f"deadline {each.text('deadline')}", each.part("worth"))
    for each in list(fields.each("sensitivity", "change"))[1:]:
        yield _one_worth(each.text("change") or "?", each)


def _one_worth(name: str, each: Fields) -> Worth:
    def energy(key: str) -> float | None:
        return each.part(key).number("energy_mj_mean") if key in each else None

    saved, closed = each.maybe("saved_passive"), each.maybe("gap_closed")
    return Worth(name, energy("passive"), energy("ours"), energy("oracle"), saved, closed)


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
    return f"{value:.4g}" if isinstance(value, float) else str(value)
