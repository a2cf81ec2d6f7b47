"""The schedule: for every input, which stretch runs at which frequency and voltage; and adding it up again."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from coc_cli.dvfs.energy import Array, EnergyModel, Levels, run_stretch
from coc_cli.dvfs.governors.governor import LevelChoice
from coc_cli.units import spreadsheet_cell


@dataclass(frozen=True)
class Answer:
    """What is known of one input beside its path."""

    label: Any
    prediction: Any


def schedule(
    model: EnergyModel,
    visited: Array,
    predicted: Array,
    chosen: LevelChoice,
    answers: Iterable[Answer],
    deadline_ms: float,
) -> Iterator[dict[str, Any]]:
    """Return a line for each input; its segments, waiting included, sum to its energy.

    `from` and `to` count the network's segments: a stretch runs those from `from` up to, not including, `to`, and the
    head of the exit there.
    """
    known: dict[bytes, dict[str, Any]] = {}  # by path and levels, which many inputs share
    for index, (path, predicted_exit, level, answer) in enumerate(
        zip(visited, predicted, chosen.level, answers, strict=True)
    ):
        key = b"".join(row.tobytes() for row in (path, np.where(path, predicted_exit, -1), np.where(path, level, -1)))
        if key not in known:
            known[key] = _run(model, path, predicted_exit, level, chosen.rest, deadline_ms)
        yield {"input": index, "label": answer.label, "prediction": answer.prediction, **known[key]}


def _run(
    model: EnergyModel, path: Array, predicted_exit: Array, level: Array, rest: int, deadline_ms: float
) -> dict[str, Any]:
    """Return what one path takes; [E + 1] each."""
    segments = list(_segments(model, path, predicted_exit, level, rest))
    latency = sum(segment["latency_ms"] for segment in segments)
    exit_ = int(path.nonzero()[0][-1])
    back = _back(model, segments, int(level[exit_]), rest)
    waits = max(0.0, deadline_ms - latency - sum(segment["latency_ms"] for segment in back))
    segments += back
    if waits > 0:
        at = segments[-1]["to"]
        segments.append(_segment(model, at, at, rest, waits, waits * model.idle_mw / 1e3, "idle"))
    return {
        "exit": exit_,
        "segments": segments,
        "latency_ms": latency,
        "energy_mj": sum(segment["energy_mj"] for segment in segments),
        "deadline_ms": deadline_ms,
        "deadline_met": bool(latency <= deadline_ms + 1e-9),
    }


def _segment(
    model: EnergyModel, start: int, end: int, level: int, latency_ms: float, energy_mj: float, reason: str
) -> dict[str, Any]:
    return {
        "from": start,
        "to": end,
        "frequency_mhz": model.profile.frequency_mhz.values[level],
        "voltage_mv": model.profile.voltage_mv.values[level],
        "latency_ms": float(latency_ms),
        "energy_mj": float(energy_mj),
        "reason": reason,
    }


def _segments(
    model: EnergyModel, path: Array, predicted_exit: Array, level: Array, rest: int
) -> Iterator[dict[str, Any]]:
    start, levels, reason = 0, Levels.at(np.array(rest)), "start"
    for exit_ in path.nonzero()[0].tolist():
        chosen = int(level[exit_])
        if chosen != levels.asked:
            yield _segment(model, start, start, chosen, model.transition_ms, model.transition_mj, "transition")
        levels = levels.asking(np.array(chosen), model.settle_ms)
        ran, now = run_stretch(model, start, exit_, levels), int(levels.now)
        settles_here = ran.behind_ms > 0 or ran.before_ms == 0
        if ran.before_ms > 0:
            end = start if settles_here else exit_ + 1
            yield _segment(model, start, end, now, float(ran.before_ms), float(ran.before_mj), "settling")
        if settles_here:
            yield _segment(model, start, exit_ + 1, chosen, float(ran.behind_ms), float(ran.behind_mj), reason)
        reason = f"predicted exit {predicted_exit[exit_]}" if predicted_exit[exit_] >= 0 else "not sure enough"
        start, levels = exit_ + 1, ran.after


def _back(model: EnergyModel, segments: list[dict[str, Any]], asked: int, rest: int) -> list[dict[str, Any]]:
    last = segments[-1]
    if asked == rest:
        return []
    return [_segment(model, last["to"], last["to"], rest, model.transition_ms, model.transition_mj, "transition")]


def as_csv(lines: Iterable[dict[str, Any]]) -> str:
    """Return a schedule as a table, a row a segment."""
    text = io.StringIO()
    writer = csv.writer(text)
    for number, line in enumerate(lines):
        if number == 0:
            writer.writerow(["input", *line["segments"][0]])
        writer.writerows(map(spreadsheet_cell, (line["input"], *one.values())) for one in line["segments"])
    return text.getvalue()


def replayed(lines: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Add a schedule up again from its segments: the figures of predict-exit.json that can be."""
    n, latency, energy, missed = 0, 0.0, 0.0, 0
    for line in lines:
        n += 1
        latency += line["latency_ms"]
        energy += sum(segment["energy_mj"] for segment in line["segments"])
        missed += line["latency_ms"] > line["deadline_ms"] + 1e-9
    return {"latency_ms_mean": latency / n, "energy_mj_mean": energy / n, "deadline_miss_rate": missed / n}
