"""Reading a run directory, complete, damaged or still at work, into the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from coc_cli.errors import Fault, UserError, did_you_mean
from coc_cli.files import budget
from coc_cli.files.run_directory import RUNS, check_places
from coc_cli.files.yaml_source import YamlSource
from coc_cli.report import schema
from coc_cli.report.answers import AnswersView, answers_view
from coc_cli.report.model import LimitView, Run, StageView
from coc_cli.report.read.files import read_json, read_lines, read_text
from coc_cli.report.read.lenient import MissingNotes, integer
from coc_cli.report.read.predictions import read_predictions
from coc_cli.report.read.stages import StageFolders, read_folders, read_stages, say_differing, with_epochs
from coc_cli.report.wording import fitted
from coc_cli.units import printable

SCHEMA = 1
LONGEST_LABEL = 64  # characters of a run's name
MOST_NAMED = 8  # run directories, in a message


def read_runs(directories: Iterable[Path]) -> tuple[Run, ...]:
    """Read run directories; raises `UserError` for all that are none or given twice."""
    directories = list(directories)
    faults = [fault for place, one in enumerate(directories) if (fault := _fault(one, directories[:place]))]
    if faults:
        raise UserError(faults)
    runs = [_read(directory) for directory in directories]
    labels = [run.label for run in runs]
    return tuple(run if labels.count(run.label) == 1 else replace(run, label=run.directory) for run in runs)


def holds_run(directory: Path) -> bool:
    """Return whether a directory has anything of a run in it."""
    return any((directory / name).exists() for name in ("report.json", "stages", "log.jsonl", "recipe.yaml"))


def _fault(directory: Path, before: list[Path]) -> Fault | None:
    """Return why a directory cannot be shown, if it cannot; `before` are those that stand before it."""
    place = str(directory)
    if not directory.exists():
        near = _runs_in(directory.parent) or _runs_in(RUNS)
        return Fault(
            place, "no such run directory" + (f"; {did_you_mean(place, near, otherwise='there are')}" if near else "")
        )
    if not directory.is_dir():
        return Fault(place, "is a file; give the run directory that holds it")
    try:
        check_places(directory)
    except UserError as error:
        return error.faults[0]
    if not holds_run(directory) and not list(read_predictions(directory, None, MissingNotes())):
        within = _runs_in(directory)
        instead = (
            f"the runs in it: {', '.join(within)}" if within else "no report.json, stages or predict-exit.json in it"
        )
        return Fault(place, f"is no run directory; {instead}")
    if any(directory.samefile(one) for one in before if one.exists()):
        return Fault(place, "is given twice; name each run once")
    return None


def _runs_in(directory: Path) -> list[str]:
    """Return the run directories in a folder, a few of them."""
    try:
        return [str(path) for path in sorted(directory.iterdir()) if (path / "log.jsonl").is_file()][:MOST_NAMED]
    except OSError:
        return []


def _read(directory: Path) -> Run:
    missing = MissingNotes()
    is_run = holds_run(directory)
    report = read_json(directory / "report.json", schema.Report, "report.json", missing) if is_run else None
    if report:
        _shorten(report.content, missing)
    folders = read_folders(directory, missing)
    recipe = read_text(directory / "recipe.yaml", "recipe.yaml", missing) if is_run else None
    settings = _settings(recipe, missing)
    content = report.content if report else {}
    if report and content.get("schema") != SCHEMA:
        missing.say(f"report.json has schema {content.get('schema')!r}; this coc knows {SCHEMA}")
    stages = read_stages(report, folders, missing)
    say_differing(report, folders, missing)
    if is_run:
        stages = with_epochs(stages, folders, directory, missing)
        _say_unfinished(stages, settings, missing)
    predictions = tuple(read_predictions(directory, _network(folders, is_run=is_run), missing))
    name = printable(content.get("name") or settings.get("name") or directory.resolve().name)
    return Run(
        label=fitted(name, LONGEST_LABEL),
        name=name,
        directory=printable(directory),
        task=report.get("task") if report else None,
        metric=_metric(content, folders) or (predictions[0].metric if predictions else "accuracy"),
        ok=report.get("ok") if report else None,
        stages=stages,
        limits=tuple(each.view(LimitView) for each in report.parts("limits")) if report else (),
        environment=_environment(content, stages, folders),
        command=report.get("command") if report else _last_command(directory),
        seed=integer((content if report else settings).get("seed")),
        recipe=recipe,
        settings=settings,
        predictions=predictions,
        missing=missing.sentences,
        answers=_answers(stages, folders),
        warnings=report.get("warnings") or () if report else (),
        damaged=tuple(missing.damaged),
    )


def _answers(stages: tuple[StageView, ...], folders: StageFolders) -> AnswersView | None:
    """Return the last stage's answers, where its folder holds them."""
    folder = folders.get(stages[-1].index) if stages else None
    return answers_view(stages[-1].title, folder.get("answers")) if folder else None


def _shorten(report: dict[str, Any], missing: MissingNotes) -> None:
    """Leave the first stages of a report that has more than are shown."""
    stages = report.get("stages")
    if isinstance(stages, list) and len(stages) > budget.STAGES_SHOWN:
        missing.say(f"report.json has {len(stages):,} stages; the first {budget.STAGES_SHOWN} are shown")
        report["stages"] = stages[: budget.STAGES_SHOWN]


def _network(folders: StageFolders, *, is_run: bool) -> str | None:
    """Return the checksum of a run's result; empty where it should be there, None where there is no run."""
    return (folders[max(folders)].get("sha256") if folders else None) or ("" if is_run else None)


def _settings(recipe: str | None, missing: MissingNotes) -> dict[str, Any]:
    try:
        content = YamlSource("recipe.yaml", recipe or "{}").content
    except UserError:
        content = None
    if not isinstance(content, dict):
        missing.say("recipe.yaml is damaged")
        return {}
    return content


def _say_unfinished(stages: tuple[StageView, ...], settings: dict[str, Any], missing: MissingNotes) -> None:
    chain = settings.get("chain")
    names = [next(iter(link), "?") for link in chain if isinstance(link, dict)] if isinstance(chain, list) else []
    expected = ["baseline", *map(str, names)]
    there = {stage.index for stage in stages}
    absent = [f"{index} {name}" for index, name in enumerate(expected) if index not in there]
    if settings and absent:
        missing.say(f"no result of stage{'s' * (len(absent) > 1)} {', '.join(absent)}")


def _environment(content: dict[str, Any], stages: tuple[StageView, ...], folders: StageFolders) -> dict[str, str]:
    """Return on what a report was made; where there is none, on what its last stage was."""
    environment = content.get("environment")
    if not isinstance(environment, dict) and stages and stages[-1].index in folders:
        environment = folders[stages[-1].index].get("environment")
    found = environment if isinstance(environment, dict) else {}
    return {printable(key): printable(value) for key, value in {**found, **_arithmetic(content)}.items()}


def _arithmetic(content: dict[str, Any]) -> dict[str, str]:
    """Return in which arithmetic stages trained, where one did not in float32 alone."""
    stages = content.get("stages")
    found = [stage.get("arithmetic") for stage in stages if isinstance(stage, dict)] if isinstance(stages, list) else []
    kinds = dict.fromkeys(kind for kind in found if isinstance(kind, str))
    return {"trained in": "; ".join(kinds)} if set(kinds) - {"float32"} else {}


def _last_command(directory: Path) -> str | None:
    path = directory / "log.jsonl"
    if not path.is_file():
        return None
    commands = [
        line.content.get("command") for line in read_lines(path, schema.EpochEntry, "log.jsonl", MissingNotes())
    ]
    return next((command for command in reversed(commands) if isinstance(command, str)), None)


def _metric(content: dict[str, Any], folders: StageFolders) -> str | None:
    """Return the metric that a report names, or that of the scores: bits are right or wrong, numbers are errors."""
    scores = [one.get("scores") for one in folders.values() if one.result]
    guessed = None if not scores else "accuracy" if isinstance(scores[0], str) else "mae"
    return printable(content.get("metric") or "") or guessed
