"""Reading a run directory, whole, damaged or still at work, into the model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coc_cli.errors import Fault, UserError
from coc_cli.report.fields import Fields, Missing, read_json, read_lines, read_text
from coc_cli.report.forecasts import read_forecasts
from coc_cli.report.model import Change, Epoch, Exit, Latency, Layer, Limit, Run, Stage
from coc_cli.report.paired import difference

FOLDER = re.compile(r"^(\d\d)-(.+)$")
SCHEMA = 1


def read_runs(directories: Iterable[Path]) -> tuple[Run, ...]:
    """Read run directories; raises `UserError` for all that are none."""
    faults, runs = [], []
    for directory in directories:
        if (fault := _fault(directory)) is not None:
            faults.append(fault)
        else:
            runs.append(_read(directory))
    if faults:
        raise UserError(faults)
    names = [run.name for run in runs]
    return tuple(run if names.count(run.name) == 1 else replace(run, label=run.directory) for run in runs)


def holds_run(directory: Path) -> bool:
    """Tell whether a directory has anything of a run in it."""
    return any((directory / name).exists() for name in ("report.json", "stages", "log.jsonl", "recipe.yaml"))


def _fault(directory: Path) -> Fault | None:
    if not directory.exists():
        return Fault(str(directory), "no such run directory")
    if not directory.is_dir():
        return Fault(str(directory), "is a file; give the run directory that holds it")
    if not holds_run(directory) and not list(read_forecasts(directory, None, Missing())):
        return Fault(str(directory), "is no run directory; it has no report.json, stages or predict-exit.json")
    return None


@dataclass(frozen=True)
class _Kept:
    """What a stage folder holds."""

    name: str
    result: Fields | None
    bytes: int | None

    def get(self, key: str) -> Any:
        return self.result.content.get(key) if self.result else None


def _read(directory: Path) -> Run:
    missing = Missing()
    is_run = holds_run(directory)
    report = read_json(directory / "report.json", "report.json", missing) if is_run else None
    kept = {index: stage for index, stage in _folders(directory, missing) if index is not None}
    recipe = read_text(directory / "recipe.yaml", "recipe.yaml", missing) if is_run else None
    settings = _settings(recipe, missing)
    if report and report.content.get("schema") != SCHEMA:
        missing.say(f"report.json has schema {report.content.get('schema')!r}; this coc knows {SCHEMA}")
    metric = str(report.content.get("metric") or "") if report else ""
    stages = _stages(report, kept, missing)
    if is_run:
        stages = _with_epochs(stages, kept, directory, missing)
        _say_unfinished(stages, settings, missing)
    network = kept[max(kept)].get("sha256") if kept else None
    forecasts = tuple(read_forecasts(directory, network, missing))
    name = (report.content.get("name") if report else None) or settings.get("name") or directory.resolve().name
    return Run(
        label=str(name),
        name=str(name),
        directory=str(directory),
        task=report.text("task") if report else None,
        metric=metric or _guessed(kept) or (forecasts[0].metric if forecasts else "accuracy"),
        ok=report.flag("ok") if report else None,
        stages=stages,
        limits=tuple(_limits(report)) if report else (),
        environment=_environment(report, stages, kept),
        command=report.text("command") if report else _last_command(directory),
        seed=_whole(report.content.get("seed") if report else settings.get("seed")),
        recipe=recipe,
        settings=settings,
        forecasts=forecasts,
        missing=missing.sentences,
    )


def _folders(directory: Path, missing: Missing) -> Iterator[tuple[int | None, _Kept]]:
    folder = directory / "stages"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if found := FOLDER.match(path.name):
            result = read_json(path / "result.json", f"stages/{path.name}/result.json", missing)
            model = path / "model.safetensors"
            yield int(found[1]), _Kept(found[2], result, model.stat().st_size if model.is_file() else None)


def _settings(recipe: str | None, missing: Missing) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.load(recipe or "{}", Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError:
        content = None
    if not isinstance(content, dict):
        missing.say("recipe.yaml is damaged")
        return {}
    return content


def _stages(report: Fields | None, kept: dict[int, _Kept], missing: Missing) -> tuple[Stage, ...]:
    if report and isinstance(report.content.get("stages"), list):
        factors = {one.number("index"): one.number("ratio") for one in report.each("factors", "factor")}
        found = [
            _stage(fields, index, factors.get(index)) for index, fields in enumerate(report.each("stages", "stage"))
        ]
    else:
        if kept:
            missing.say("MACs, BitOps and ratios are in report.json alone; figures are from stages/*/result.json")
        found = [_unreported(index, one) for index, one in sorted(kept.items()) if one.result]
    return tuple(_changed(stage, found[0], kept) for stage in found)


def _stage(fields: Fields, place: int, factor: float | None) -> Stage:
    index = _whole(fields.content.get("index"))
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


def _unreported(index: int, kept: _Kept) -> Stage:
    """Give what a stage folder says by itself."""
    assert kept.result
    quiet = Fields(kept.result.content, kept.result.where, Missing())
    for key in ("metric_value", "n_test", "seconds"):
        kept.result.number(key)
    stage = _stage(quiet, index, None)
    return replace(stage, name=kept.name, checkpoint_bytes=kept.bytes)


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


def _changed(stage: Stage, first: Stage, kept: dict[int, _Kept]) -> Stage:
    """Add the difference from the baseline, paired where both stage folders hold the scores of the same images."""
    if stage.index == first.index or stage.metric_value is None or first.metric_value is None:
        return stage
    before, after = kept.get(first.index), kept.get(stage.index)
    interval = None
    if before and after and stage.n_test and stage.n_test == first.n_test and _is_of(stage, after, first, before):
        interval = difference(before.get("scores"), after.get("scores"), int(stage.n_test))
    return replace(stage, change=Change(stage.metric_value - first.metric_value, interval))


def _is_of(stage: Stage, after: _Kept, first: Stage, before: _Kept) -> bool:
    """Tell whether the stage folders hold the results of which the report speaks."""
    return (after.get("metric_value"), before.get("metric_value")) == (stage.metric_value, first.metric_value)


def _with_epochs(
    stages: tuple[Stage, ...], kept: dict[int, _Kept], directory: Path, missing: Missing
) -> tuple[Stage, ...]:
    """Add the training curves: of the stage's own result, or of the log where the stage has not ended."""
    curves = {index: list(one.result.each("epochs", "epoch")) for index, one in kept.items() if one.result}
    absent = [stage.index for stage in stages if not curves.get(stage.index) and not _is_untrained(kept, stage)]
    if absent or not (directory / "report.json").is_file():
        logged = _logged(directory, missing)
        _say_running(logged.get(len(stages), []), missing)
        curves |= {index: logged.get(index, []) for index in absent}
    return tuple(replace(stage, epochs=tuple(_epochs(curves.get(stage.index, [])))) for stage in stages)


def _is_untrained(kept: dict[int, _Kept], stage: Stage) -> bool:
    """Tell whether a stage folder says that it had no epoch."""
    return stage.index in kept and kept[stage.index].get("epochs") == []


def _say_running(epochs: list[Fields], missing: Missing) -> None:
    if epochs:
        last = epochs[-1].content
        missing.say(f"stage {last['index']} is in epoch {last['epoch']} of {last.get('epochs')}, or stopped there")


def _epochs(entries: Iterable[Fields]) -> Iterator[Epoch]:
    for each in entries:
        number = _whole(each.content.get("epoch"))
        if number is not None:
            yield Epoch(number, each.number("loss"), each.number("metric"))


def _logged(directory: Path, missing: Missing) -> dict[int, list[Fields]]:
    """Give the epochs of each stage that stand last in the log: a resumed training goes on from where it was."""
    found: dict[int, list[Fields]] = {}
    for line in read_lines(directory / "log.jsonl", "log.jsonl", missing):
        index, number = _whole(line.content.get("index")), _whole(line.content.get("epoch"))
        if line.content.get("event") == "epoch" and index is not None and number is not None:
            before = [each for each in found.get(index, []) if each.content["epoch"] < number]
            found[index] = [*before, line]
    return found


def _say_unfinished(stages: tuple[Stage, ...], settings: dict[str, Any], missing: Missing) -> None:
    chain = settings.get("chain")
    names = [next(iter(link), "?") for link in chain if isinstance(link, dict)] if isinstance(chain, list) else []
    wanted = ["baseline", *map(str, names)]
    absent = [f"{index} {name}" for index, name in enumerate(wanted) if index >= len(stages)]
    if settings and absent:
        missing.say(f"no result of stage{'s' * (len(absent) > 1)} {', '.join(absent)}")


def _limits(report: Fields) -> Iterator[Limit]:
    for each in report.each("limits", "limit"):
        yield Limit(each.text("name") or "?", each.number("limit"), each.number("value"), each.flag("ok"))


def _environment(report: Fields | None, stages: tuple[Stage, ...], kept: dict[int, _Kept]) -> dict[str, str]:
    content = report.content.get("environment") if report else None
    if not isinstance(content, dict) and stages and stages[-1].index in kept:
        content = kept[stages[-1].index].get("environment")
    return {str(key): str(value) for key, value in content.items()} if isinstance(content, dict) else {}


def _last_command(directory: Path) -> str | None:
    if not (directory / "log.jsonl").is_file():
        return None
    commands = [line.content.get("command") for line in read_lines(directory / "log.jsonl", "log.jsonl", Missing())]
    return next((command for command in reversed(commands) if isinstance(command, str)), None)


def _guessed(kept: dict[int, _Kept]) -> str | None:
    """Give the metric of scores: bits are right or wrong, numbers are errors."""
    scores = [one.get("scores") for one in kept.values() if one.result]
    return None if not scores else "accuracy" if isinstance(scores[0], str) else "mae"


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
