"""Several runs: how each differs from the first, what their recipes differ in, and the Pareto front of all stages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from coc_cli.report.model import Run, StageView

OTHER_SEED = "another seed than the first run's, so other test images if the split is drawn"


@dataclass(frozen=True)
class Difference:
    """A run's result against that of the first; `..._ratio` is how many times less this one needs."""

    run: str
    reference: str
    metric_difference: float | None
    intervals_overlap: bool | None
    bitops_ratio: float | None
    bytes_ratio: float | None
    energy_ratio: float | None
    notes: tuple[str, ...]  # why something is not compared, or with what reserve


@dataclass(frozen=True)
class Setting:
    """A key of the recipes that is not the same in all runs; None where a run has none."""

    key: str
    values: tuple[str | None, ...]


def differences(runs: tuple[Run, ...]) -> tuple[Difference, ...]:
    """Set every further run against the first."""
    return tuple(_difference(run, runs[0]) for run in runs[1:])


def remarks(items: Iterable[Difference]) -> tuple[str, ...]:
    """Return the notes of all differences, each once with the runs that it is about."""
    runs: dict[str, list[str]] = {}
    for each in items:
        for note in each.notes:
            runs.setdefault(note, []).append(each.run)
    return tuple(f"{', '.join(names)}: {note}" for note, names in runs.items())


def _difference(run: Run, first: Run) -> Difference:
    mine, theirs = run.last, first.last
    if mine is None or theirs is None:
        nothing = (None, None, None, None, None)
        return Difference(run.label, first.label, *nothing, ("one of the two has no stage",))
    reason = unlike(run, first)
    is_known = not reason and mine.metric_value is not None and theirs.metric_value is not None
    ours, other = _same_plan(run, first)
    return Difference(
        run=run.label,
        reference=first.label,
        metric_difference=(mine.metric_value or 0.0) - (theirs.metric_value or 0.0) if is_known else None,
        intervals_overlap=None if reason else overlap(mine, theirs),
        bitops_ratio=_ratio(theirs.bitops, mine.bitops),
        bytes_ratio=_ratio(theirs.checkpoint_bytes, mine.checkpoint_bytes),
        energy_ratio=_ratio(other, ours),
        notes=tuple(_notes(run, first, reason)),
    )


def unlike(run: Run, first: Run) -> str | None:
    """Return why the metrics of two runs cannot be compared; None if they can."""
    if (run.task, run.metric) != (first.task, first.metric) and None not in (run.task, first.task):
        return f"not compared: {run.metric} of {run.task} against {first.metric} of {first.task}"
    if run.metric != first.metric:
        return f"not compared: {run.metric} against {first.metric}"
    sources = [_source(one) for one in (run, first)]
    if sources[0] != sources[1] and None not in sources:
        return f"not compared: images of {sources[0]} against {sources[1]}"
    sizes = [one.last.n_test if one.last else None for one in (run, first)]
    if sizes[0] != sizes[1] and None not in sizes:
        return f"not compared: {sizes[0]:.0f} test images against {sizes[1]:.0f}"
    return None


def overlap(one: StageView, other: StageView) -> bool | None:
    """Return whether two 95 % intervals have a value in common."""
    if one.metric_ci95 is None or other.metric_ci95 is None:
        return None
    return one.metric_ci95[0] <= other.metric_ci95[1] and other.metric_ci95[0] <= one.metric_ci95[1]


def _source(run: Run) -> Any:
    data = run.settings.get("data")
    return data.get("source") if isinstance(data, dict) else None


def _notes(run: Run, first: Run, reason: str | None) -> Iterator[str]:
    if reason:
        yield reason
    elif run.seed != first.seed and None not in (run.seed, first.seed):
        yield OTHER_SEED
    for one in (run, first):
        if one.ok is None:
            who = "" if one is run else f"{one.label} is "
            yield f"{who}not finished; the last stage is {one.last.name if one.last else 'none'}"


def _ratio(theirs: float | None, mine: float | None) -> float | None:
    return theirs / mine if theirs is not None and mine else None


def _same_plan(run: Run, first: Run) -> tuple[float | None, float | None]:
    """Return the energies of the first device and deadline in ms that both have planned for."""
    for mine in run.predictions:
        for theirs in first.predictions:
            same = mine.profile == theirs.profile and mine.deadline_ms == theirs.deadline_ms
            if same and mine.scheduled and theirs.scheduled:
                return mine.scheduled.energy_mj_mean, theirs.scheduled.energy_mj_mean
    return None, None


def settings(runs: Iterable[Run]) -> tuple[Setting, ...]:
    """Return what the runs' recipes differ in, but for their names."""
    flat = [dict(_flat(run.settings)) for run in runs]
    keys = list(dict.fromkeys(key for one in flat for key in one if key != "name"))
    items = (Setting(key, tuple(one.get(key) for one in flat)) for key in keys)
    return tuple(setting for setting in items if len(set(setting.values)) > 1)


def _flat(content: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list) and any(isinstance(item, dict) for item in content):
        items = enumerate(content)
    elif prefix:
        yield prefix, content if isinstance(content, str) else json.dumps(content, default=str)
    for key, value in items:
        yield from _flat(value, f"{prefix}.{key}" if prefix else str(key))


def front(runs: Iterable[Run]) -> tuple[tuple[Run, StageView], ...]:
    """Return the stages to which none is better in both BitOps and metric, fewest BitOps first.

    Runs whose metric cannot be compared with the first one's are left out.
    """
    runs = tuple(runs)
    items = [
        (run, stage)
        for run in runs
        if not unlike(run, runs[0])
        for stage in run.stages
        if stage.bitops is not None and stage.metric_value is not None
    ]
    items.sort(key=lambda pair: (pair[1].bitops, -pair[0].sign * (pair[1].metric_value or 0.0)))
    best: list[tuple[Run, StageView]] = []
    for run, stage in items:
        if not best or run.sign * (stage.metric_value or 0.0) > run.sign * (best[-1][1].metric_value or 0.0):
            best.append((run, stage))
    return tuple(best)
