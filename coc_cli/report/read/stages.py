"""Reading the stages of a run: from report.json, or from the stage folders where there is none yet."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coc_cli.files import budget
from coc_cli.files.checksum import sha256_of
from coc_cli.report import schema
from coc_cli.report.model import DifferenceView, EpochView, StageView
from coc_cli.report.read.files import read_json, read_lines
from coc_cli.report.read.lenient import Lenient, MissingNotes, integer
from coc_cli.report.read.paired import difference

FOLDER = re.compile(r"^(\d\d)-(.+)$")


@dataclass(frozen=True)
class StageFolder:
    """What a stage folder holds."""

    name: str
    result: Lenient | None
    bytes: int | None

    def get(self, key: str) -> Any:
        """Return a value of result.json, whatever it is."""
        return self.result.content.get(key) if self.result else None


StageFolders = dict[int, StageFolder]  # by the index of the stage


def read_folders(directory: Path, missing: MissingNotes) -> StageFolders:
    """Return what the stage folders of a run hold."""
    folder = directory / "stages"
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [(path, match) for path in paths if (match := FOLDER.match(path.name))]
    return {int(match[1]): _folder(path, match[2], missing) for path, match in named[: budget.STAGES_SHOWN]}


def _folder(path: Path, name: str, missing: MissingNotes) -> StageFolder:
    result = read_json(path / "result.json", schema.StageResult, f"stages/{path.name}/result.json", missing)
    model = path / "model.safetensors"
    if not model.is_file():
        return StageFolder(name, result, None)
    if result and sha256_if_readable(model) != result.content.get("sha256"):
        missing.damage(f"stages/{path.name}/model.safetensors")
    return StageFolder(name, result, model.stat().st_size)


def sha256_if_readable(path: Path) -> str | None:
    """Return a file's checksum; None where it cannot be read, or is too large."""
    try:
        return sha256_of(path)
    except OSError:
        return None


def say_differing(report: Lenient | None, folders: StageFolders, missing: MissingNotes) -> None:
    """Note stages whose figures in report.json are not those that were measured."""
    for index, stage in enumerate(report.quiet.parts("stages") if report else ()):
        measured = folders.get(index)
        for key in ("metric_value", "n_test"):
            one, other = stage.content.get(key), measured.get(key) if measured and measured.result else None
            if None not in (one, other) and one != other:
                missing.damaged.append(f"damaged: report.json has another {key} of stage {index} than its result.json")


def read_stages(report: Lenient | None, folders: StageFolders, missing: MissingNotes) -> tuple[StageView, ...]:
    """Return the stages that report.json has; without one, those whose folders hold a result."""
    if report and isinstance(report.content.get("stages"), list):
        factors = {each.get("index"): each.get("ratio") for each in report.parts("factors")}
        stages = [_stage(each, factors.get(each.place)) for each in report.parts("stages")]
    else:
        if folders:
            missing.say(
                "MACs, BitOps and ratios are in report.json alone, which the same coc compress writes again;"
                " figures are from stages/*/result.json"
            )
        stages = [_unreported(index, one) for index, one in sorted(folders.items()) if one.result]
        stages = [replace(stage, bytes_ratio=_ratio(stages[0], stage)) for stage in stages]
    return tuple(_changed(stage, stages[0], folders) for stage in stages)


def _stage(part: Lenient, factor: float | None) -> StageView:
    stage = part.view(StageView, factor=factor, change=None, epochs=())
    return stage if len(stage.exits) > 1 else replace(stage, exits=())


def _unreported(index: int, folder: StageFolder) -> StageView:
    """Return what a stage folder says by itself."""
    assert folder.result
    for key in ("metric_value", "n_test", "seconds"):
        folder.result.get(key)  # noted where it is not there
    stage = _stage(Lenient(schema.StageEntry, folder.result.content, folder.result.where, MissingNotes()), None)
    return replace(stage, index=index, name=folder.name, checkpoint_bytes=folder.bytes)


def _ratio(first: StageView, stage: StageView) -> float | None:
    before, after = first.checkpoint_bytes, stage.checkpoint_bytes
    return before / after if before and after else None


def _changed(stage: StageView, first: StageView, folders: StageFolders) -> StageView:
    """Add the difference from the baseline, paired where both stage folders hold the scores of the same images."""
    if stage.index == first.index or stage.metric_value is None or first.metric_value is None:
        return stage
    before, after = folders.get(first.index), folders.get(stage.index)
    interval = None
    if before and after and stage.n_test and stage.n_test == first.n_test and _is_of(stage, after, first, before):
        interval = difference(before.get("scores"), after.get("scores"), int(stage.n_test))
    return replace(stage, change=DifferenceView(stage.metric_value - first.metric_value, interval))


def _is_of(stage: StageView, after: StageFolder, first: StageView, before: StageFolder) -> bool:
    """Return whether the stage folders hold the results of which the report speaks."""
    return (after.get("metric_value"), before.get("metric_value")) == (stage.metric_value, first.metric_value)


def with_epochs(
    stages: tuple[StageView, ...], folders: StageFolders, directory: Path, missing: MissingNotes
) -> tuple[StageView, ...]:
    """Add the training curves: of the stage's own result, or of the log where the stage has not ended."""
    curves = {index: list(one.result.parts("epochs")) for index, one in folders.items() if one.result}
    absent = [stage.index for stage in stages if not curves.get(stage.index) and not _is_untrained(folders, stage)]
    if absent or not (directory / "report.json").is_file():
        logged = _logged(directory, missing)
        _say_running(logged.get(stages[-1].index + 1 if stages else 0, []), missing)
        curves |= {index: logged.get(index, []) for index in absent}
    return tuple(replace(stage, epochs=_epochs(curves.get(stage.index, []))) for stage in stages)


def _is_untrained(folders: StageFolders, stage: StageView) -> bool:
    """Return whether a stage folder says that it had no epoch."""
    return stage.index in folders and folders[stage.index].get("epochs") == []


def _say_running(epochs: list[Lenient], missing: MissingNotes) -> None:
    if epochs:
        last = epochs[-1].content
        missing.say(f"stage {last['index']} is in epoch {last['epoch']} of {last.get('epochs')}, or stopped there")


def _epochs(entries: list[Lenient]) -> tuple[EpochView, ...]:
    return tuple(each.view(EpochView) for each in entries if integer(each.content.get("epoch")) is not None)


def _logged(directory: Path, missing: MissingNotes) -> dict[int, list[Lenient]]:
    """Return the epochs of each stage that stand last in the log: a resumed training goes on from where it was."""
    epochs: dict[int, list[Lenient]] = {}
    for line in read_lines(directory / "log.jsonl", schema.EpochEntry, "log.jsonl", missing):
        index, number = integer(line.content.get("index")), integer(line.content.get("epoch"))
        if line.content.get("event") == "epoch" and index is not None and number is not None:
            before = [each for each in epochs.get(index, []) if each.content["epoch"] < number]
            epochs[index] = [*before, line]
    return epochs
