"""Reading the stages of a run: from report.json, or from the stage folders where there is none yet."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coc_cli.report.fields import Fields, Missing, read_json, read_lines, whole
from coc_cli.report.model import Change, Epoch, Exit, Latency, Layer, Stage
from coc_cli.report.paired import difference

FOLDER = re.compile(r"^(\d\d)-(.+)$")


@dataclass(frozen=True)
class Kept:
    """What a stage folder holds."""

    name: str
    result: Fields | None
    bytes: int | None

    def get(self, key: str) -> Any:
        """Give a value of result.json, whatever it is."""
        return self.result.content.get(key) if self.result else None


def read_folders(directory: Path, missing: Missing) -> Iterator[tuple[int, Kept]]:
    """Give what the stage folders of a run hold, by the index of the stage."""
    folder = directory / "stages"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if found := FOLDER.match(path.name):
            result = read_json(path / "result.json", f"stages/{path.name}/result.json", missing)
            model = path / "model.safetensors"
            yield int(found[1]), Kept(found[2], result, model.stat().st_size if model.is_file() else None)


def read_stages(report: Fields | None, kept: dict[int, Kept], missing: Missing) -> tuple[Stage, ...]:
    """Give the stages that report.json has; without one, those whose folders hold a result."""
    if report and isinstance(report.content.get("stages"), list):
        factors = {one.number("index"): one.number("ratio") for one in report.each("factors", "factor")}
        found = [
            _stage(fields, index, factors.get(index)) for index, fields in enumerate(report.each("stages", "stage"))
        ]
    else:
        if kept:
            missing.say(
                "MACs, BitOps and ratios are in report.json alone, which the same coc compress writes again;"
                " figures are from stages/*/result.json"
            )
        found = [_unreported(index, one) for index, one in sorted(kept.items()) if one.result]
        found = [replace(stage, bytes_ratio=_ratio(found[0], stage)) for stage in found]
    return tuple(_changed(stage, found[0], kept) for stage in found)


def _stage(fields: Fields, place: int, factor: float | None) -> Stage:
    index = whole(fields.content.get("index"))
    return Stage(
        index=place if index is None else index,
        name=fields.text("name") or "?",
        metric_value=fields.number("metric_value"),
        metric_ci95=fields.pair("metric_ci95"),
        n_test=fields.number("n_test"),
        macs=fields.number("macs"),
        bitops=fields.number("bitops"),
        bitops_ratio=fields.number("bitops_ratio"),
        bitops_ratio_nominal=fields.number("bitops_ratio_nominal"),
        factor=factor,
        params=fields.number("params"),
        checkpoint_bytes=fields.number("checkpoint_bytes"),
        bytes_ratio=fields.number("bytes_ratio"),
        latency_ms=_latency(fields),
        change=None,
        seconds=fields.number("seconds"),
        exits=_exits(fields),
        layers=tuple(_layers(fields)) if "layers" in fields else (),
        epochs=(),
    )


def _unreported(index: int, kept: Kept) -> Stage:
    """Give what a stage folder says by itself."""
    assert kept.result
    quiet = Fields(kept.result.content, kept.result.where, Missing())
    for key in ("metric_value", "n_test", "seconds"):
        kept.result.number(key)
    stage = _stage(quiet, index, None)
    return replace(stage, name=kept.name, checkpoint_bytes=kept.bytes)


def _ratio(first: Stage, stage: Stage) -> float | None:
    before, after = first.checkpoint_bytes, stage.checkpoint_bytes
    return before / after if before and after else None


def _latency(fields: Fields) -> Latency | None:
    if "latency_ms" not in fields:
        return None
    part = fields.part("latency_ms")
    return Latency(
        part.number("median"), part.number("p95"), part.maybe("threads"), part.maybe("batch"), part.text("runtime")
    )


def _exits(fields: Fields) -> tuple[Exit, ...]:
    found = [
        Exit(place, each.number("share"), each.maybe("metric_value"), each.maybe("metric_all"))
        for place, each in enumerate(fields.each("exits", "exit"))
    ]
    return tuple(found) if len(found) > 1 else ()


def _layers(fields: Fields) -> Iterator[Layer]:
    for each in fields.each("layers", "layer"):
        counts = [each.number(key) for key in ("macs", "bitops", "params", "weight_bits", "activation_bits")]
        yield Layer(each.text("name") or "?", *counts)


def _changed(stage: Stage, first: Stage, kept: dict[int, Kept]) -> Stage:
    """Add the difference from the baseline, paired where both stage folders hold the scores of the same images."""
    if stage.index == first.index or stage.metric_value is None or first.metric_value is None:
        return stage
    before, after = kept.get(first.index), kept.get(stage.index)
    interval = None
    if before and after and stage.n_test and stage.n_test == first.n_test and _is_of(stage, after, first, before):
        interval = difference(before.get("scores"), after.get("scores"), int(stage.n_test))
    return replace(stage, change=Change(stage.metric_value - first.metric_value, interval))


def _is_of(stage: Stage, after: Kept, first: Stage, before: Kept) -> bool:
    """Tell whether the stage folders hold the results of which the report speaks."""
    return (after.get("metric_value"), before.get("metric_value")) == (stage.metric_value, first.metric_value)


def with_epochs(
    stages: tuple[Stage, ...], kept: dict[int, Kept], directory: Path, missing: Missing
) -> tuple[Stage, ...]:
    """Add the training curves: of the stage's own result, or of the log where the stage has not ended."""
    curves = {index: list(one.result.each("epochs", "epoch")) for index, one in kept.items() if one.result}
    absent = [stage.index for stage in stages if not curves.get(stage.index) and not _is_untrained(kept, stage)]
    if absent or not (directory / "report.json").is_file():
        logged = _logged(directory, missing)
        _say_running(logged.get(stages[-1].index + 1 if stages else 0, []), missing)
        curves |= {index: logged.get(index, []) for index in absent}
    return tuple(replace(stage, epochs=tuple(_epochs(curves.get(stage.index, [])))) for stage in stages)


def _is_untrained(kept: dict[int, Kept], stage: Stage) -> bool:
    """Tell whether a stage folder says that it had no epoch."""
    return stage.index in kept and kept[stage.index].get("epochs") == []


def _say_running(epochs: list[Fields], missing: Missing) -> None:
    if epochs:
        last = epochs[-1].content
        missing.say(f"stage {last['index']} is in epoch {last['epoch']} of {last.get('epochs')}, or stopped there")


def _epochs(entries: Iterable[Fields]) -> Iterator[Epoch]:
    for each in entries:
        number = whole(each.content.get("epoch"))
        if number is not None:
            yield Epoch(number, each.number("loss"), each.number("metric"))


def _logged(directory: Path, missing: Missing) -> dict[int, list[Fields]]:
    """Give the epochs of each stage that stand last in the log: a resumed training goes on from where it was."""
    found: dict[int, list[Fields]] = {}
    for line in read_lines(directory / "log.jsonl", "log.jsonl", missing):
        index, number = whole(line.content.get("index")), whole(line.content.get("epoch"))
        if line.content.get("event") == "epoch" and index is not None and number is not None:
            before = [each for each in found.get(index, []) if each.content["epoch"] < number]
            found[index] = [*before, line]
    return found
