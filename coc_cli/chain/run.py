"""Running a plan: the run directory, resuming from the stage cache, the report and the limits."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from coc_cli.chain.arithmetics import choose
from coc_cli.chain.baseline import BASELINE, earlier_lineage, load_or_build, task_loss
from coc_cli.chain.cache import data_key, lineages, stored_result
from coc_cli.chain.latency import latencies
from coc_cli.chain.logging import RunLogging
from coc_cli.chain.plan import Plan, Step, make_plan
from coc_cli.chain.progress import Reporter
from coc_cli.chain.result import entries, environment, factors, judged, measured, packed, useless, useless_stages
from coc_cli.chain.speeds import Machine, note_speed
from coc_cli.chain.stage_log import StageLog
from coc_cli.data.images import Data
from coc_cli.data.reading import most_bytes
from coc_cli.errors import RunError, StageError, user_error
from coc_cli.files.atomic import locked, write_atomically
from coc_cli.files.checksum import sha256_of
from coc_cli.files.run_directory import (
    ABILITIES,
    ANSWERS,
    CACHE,
    LOCK,
    LOG,
    PAGE,
    RECIPE,
    REPORT,
    RESULT,
    RUNS,
    SPEEDS,
    STAGE_RESULT,
    check_places,
    strange_names,
    sweep,
    sweep_beside,
)
from coc_cli.learning.answers import Answers
from coc_cli.learning.breakdown import breakdown
from coc_cli.learning.evaluation import evaluate
from coc_cli.learning.own_functions import own_functions
from coc_cli.learning.tasks import task_of
from coc_cli.learning.training import Epoch, derived_seed
from coc_cli.learning.uselessness import triviality
from coc_cli.nets.architectures import users_files
from coc_cli.nets.arithmetic import Arithmetic
from coc_cli.nets.checkpoint import load, save
from coc_cli.nets.checkpoint_header import Ancestor, read_header
from coc_cli.nets.network import Network
from coc_cli.recipe.device import torch_device
from coc_cli.recipe.model import Recipe, resolved
from coc_cli.recipe.reading import RecipeFile
from coc_cli.report.delivery import write_page_for
from coc_cli.report.schema import run as schema
from coc_cli.report.schema.answers import AnswersEntry
from coc_cli.report.schema.part import as_data, as_file
from coc_cli.stages import STAGES
from coc_cli.stages.stage import Lab
from coc_cli.units import named

STAGE_FOLDER = re.compile(rf"^\d\d-({'|'.join((BASELINE, *STAGES))})$")
NAME_LINE = re.compile(r"name: (.{1,200})")  # a resolved recipe begins so


@dataclass(frozen=True)
class Result:
    """A finished run."""

    directory: Path
    report: dict[str, Any]
    recipe: Recipe

    @property
    def ok(self) -> bool:
        """Whether every limit of the recipe is met."""
        return bool(self.report["ok"])

    @property
    def is_undecided(self) -> bool:
        """Whether no limit is missed, but other work on the machine let a time not be judged."""
        return not self.ok and all(limit["ok"] or not limit["decided"] for limit in self.report["limits"])


def run_chain(
    file: RecipeFile,
    *,
    out: Path | None = None,
    fresh: bool = False,
    device: str | None = None,
    quiet: bool = False,
    verbose: bool = False,
) -> Result:
    """Apply the chain of a recipe that has been read; see `chain.compress`."""
    plan = make_plan(file)
    chosen = torch_device(file, device)
    directory = out or RUNS / file.recipe.name
    _check_files(directory, [step.folder for step in plan.steps])
    others = strange_names(directory)
    reporter = Reporter(directory / LOG, len(plan.steps) - 1, quiet=quiet, verbose=verbose)
    with _locked(directory), reporter:
        reporter.event("start", command=_command(), environment=as_data(environment(chosen)))
        if others:
            what = f"{directory} holds other things ({named(others, 3)}), among which the run is written"
            reporter.say(f"warning: {what}; --out names another folder", event="warning", what=what)
        reporter.at_work("images are read")
        data = file.images(reporter.decoding).to(chosen)
        say = partial(reporter.say, event="warning")
        choices = choose(directory, file, plan, len(data.train), chosen, say, fresh=fresh)
        since = time.time() if fresh else 0.0
        with RunLogging(file.recipe, directory, say) as logging:
            return _Run(file, plan, chosen, directory, reporter, data, logging, choices, since).finish(fresh=fresh)


def _check_files(directory: Path, folders: list[str]) -> None:
    """Raise `UserError` if a folder stands where the run is to write a file, or the other way round."""
    for path in (directory / name for name in ("stages", *folders)):
        if path.exists() and not path.is_dir():
            raise user_error(path, "is a file; move it away, or choose another run directory with --out")
    names = [LOCK, LOG, RECIPE, ABILITIES, RESULT, REPORT, PAGE]
    names += [f"{folder}/{name}" for folder in folders for name in (RESULT, STAGE_RESULT)]
    for path in (directory / name for name in names):
        if path.is_dir():
            raise user_error(path, "is a folder; move it away, or choose another run directory with --out")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise user_error(CACHE, f"cannot be the stage cache: {error.strerror}; run coc in another directory") from error
    with ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            check_places(directory)
            stack.enter_context(locked(directory / LOCK, wait=False))
            sweep(directory)
            sweep_beside(CACHE / SPEEDS)
        except BlockingIOError as error:
            raise user_error(directory, "another coc is at work in it; wait, or choose another with --out") from error
        except OSError as error:
            what = f"cannot be the run directory: {error.strerror}; choose another with --out"
            raise user_error(directory, what) from error
        yield


@dataclass(frozen=True)
class _Run:
    """One pass over the chain."""

    file: RecipeFile
    plan: Plan
    device: str
    directory: Path
    reporter: Reporter
    data: Data  # on the device
    logging: RunLogging
    arithmetics: tuple[Arithmetic, ...]  # of each step
    answers_since: float  # of teachers, in seconds since 1970

    def finish(self, *, fresh: bool) -> Result:
        """Run every stage, or take it from the cache unless `fresh`, and write the report."""
        self._forget_other_recipe()
        self._warn_of_seen_images()
        for text in own_functions().warnings():
            self.reporter.say(f"warning: {text}", event="warning", what=text)
        for note in dict.fromkeys((*self.plan.steps[0].notes, *self.file.stage_notes.values())):
            self.reporter.say(f"note: {note}", event="note", what=note)
        steps = zip(self.plan.steps, self._lineages(), strict=True)
        results = [self._stage(step, lineage, fresh=fresh) for step, lineage in steps]
        self._clear_old_stages()
        report = self._report(results)
        write_atomically(self.directory / RESULT, self._checkpoint(self.plan.steps[-1]).read_bytes())
        write_atomically(self.directory / REPORT, as_file(report, indent=2))
        write_page_for(self.directory, lambda text: self.reporter.say(text, event="warning"))
        names = [step.name_in_files for step in self.plan.steps]
        self.logging.end(
            dict(zip(names, report.stages, strict=True)), [self.directory / name for name in (RESULT, REPORT, PAGE)]
        )
        self.reporter.event("end", ok=report.ok)
        return Result(self.directory, as_data(report), self.file.recipe)

    def _lineages(self) -> Iterator[tuple[Ancestor, ...]]:
        return lineages(self.file, self.plan, self.data, self.device, self.arithmetics)

    def _forget_other_recipe(self) -> None:
        """Remove the result of an earlier, different recipe, so that the directory never mixes two."""
        text, path = resolved(self.file.recipe, self.directory).encode(), self.directory / RECIPE
        before = path.read_bytes() if path.is_file() else b""
        if before != text:
            self._warn_of_replaced(before, text)
            for name in (REPORT, PAGE, RESULT):
                (self.directory / name).unlink(missing_ok=True)
        write_atomically(path, text)
        for name, content in users_files({step.spec.arch for step in self.plan.steps}):
            write_atomically(self.directory / name, content)

    def _warn_of_replaced(self, before: bytes, text: bytes) -> None:
        """Warn if the directory holds a run of a recipe of another name."""
        name, other = (NAME_LINE.match(each.decode(errors="replace")) for each in (text, before))
        if name and other and name[1] != other[1]:
            what = f"{self.directory} held a run of recipe {other[1]}, which this one of {name[1]} replaces"
            self.reporter.say(f"warning: {what}", event="warning", what=what)

    def _warn_of_seen_images(self) -> None:
        """Warn if the baseline was trained on another split, so that it may know this one's test images."""
        key = data_key(self.data)
        if any(ancestor.settings.get("data", key) != key for ancestor in earlier_lineage(self.file)):
            text = "warning: the checkpoint was made on other data or another split; it may know these test images"
            self.reporter.say(text, event="warning")

    def _stage(self, step: Step, lineage: tuple[Ancestor, ...], *, fresh: bool) -> schema.StageResult:
        """Return a stage's result, from the cache, this run or computed, and copy it to where it is not yet."""
        key, own = lineage[-1].key, self.directory / step.folder
        self.reporter.begin(step.index, step.name, key)
        folder = CACHE / key
        known = step.spec.arch, len(self.data.test), key
        with self._held(folder.with_suffix(".lock")):
            if fresh:
                shutil.rmtree(folder, ignore_errors=True)
            check_places(folder, is_entry=True)
            sweep(folder, is_entry=True)
            result, source = stored_result(folder, *known), "from the cache"
            if result is None:
                _clear_folders(folder)
            if result is None and not fresh and (result := stored_result(own, *known)):
                source = "from this run"
                _copy(own, folder)
            if result is None:
                result = self._make(step, lineage, folder)
                source = f"trained in {result.seconds:.0f} s"
            for state in folder.glob("*.pt"):  # also of a run that was killed just when it had the result
                state.unlink()
            _copy(folder, own)
            with suppress(PermissionError):
                os.utime(folder)  # when it was used last
        if not source.startswith("trained"):
            for epoch in result.epochs:
                self.logging.epoch(step.name_in_files, Epoch(**vars(epoch)), restored=True)
        text = f"test {result.metric_value:.4f}  {source}"
        self.reporter.say(text, event="done", metric=result.metric_value, key=key, source=source)
        for what in useless(task_of(step.spec), result, result.details):
            self.reporter.say(f"warning: {what}", event="warning", what=what)
        return result

    @contextmanager
    def _held(self, lock: Path) -> Iterator[None]:
        """Hold the lock of a stage's entry in the cache; waits for another run that is making the same stage."""
        with ExitStack() as stack:
            try:
                lock.parent.mkdir(parents=True, exist_ok=True)
                if lock.is_dir() and not lock.is_symlink():
                    shutil.rmtree(lock)
                stack.enter_context(locked(lock, wait=False))
            except BlockingIOError:
                self.reporter.say("another run is making this stage; waits for it", event="waiting")
                stack.enter_context(locked(lock, wait=True))
            except OSError as error:
                what = f"cannot be locked: {error.strerror}; make it a file that coc may write to"
                raise user_error(lock, what) from error
            yield

    def _make(self, step: Step, lineage: tuple[Ancestor, ...], folder: Path) -> schema.StageResult:
        folder.mkdir(parents=True, exist_ok=True)
        own = self.file.recipe.chain[step.index - 1].stage.seed if step.index else None
        root = self.file.recipe.seed if own is None else own
        seed = derived_seed(root, step.name, self.plan.occurrence(step.index))
        data, arithmetic = data_key(self.data), self.arithmetics[step.index]
        log, began = StageLog(self.reporter, step.name_in_files, self.logging), time.monotonic()

        def lab(baseline: Network) -> Lab:
            augment, memory = self.file.recipe.data.augment, most_bytes(self.file.recipe.data)
            kept = Answers(CACHE / ANSWERS, self.file.recipe.seed, data, memory, self.answers_since)
            return Lab(
                self.data, augment, self.device, seed, baseline, folder, log, warn, arithmetic=arithmetic, answers=kept
            )

        def warn(text: str) -> None:
            self.reporter.say(f"warning: {text}", event="warning", what=text)

        with _faults_of(step):
            network = self._apply(step, lab) if step.index else self._baseline(step, seed, lab)
            save(network, lineage, folder / RESULT)
        self.reporter.at_work(f"measured on {len(self.data.test):,} test images")
        result = self._measure(folder, log.history, arithmetic)
        write_atomically(folder / STAGE_RESULT, as_file(result))
        seconds = time.monotonic() - began
        note_speed(Machine.of(self.device), self.file, step, len(self.data.train), log.trained, seconds)
        return result

    def _apply(self, step: Step, lab: Callable[[Network], Lab]) -> Network:
        before, link = self.plan.steps[step.index - 1], self.file.recipe.chain[step.index - 1]
        return link.stage.apply(self._load(before), lab(self._load(self.plan.steps[0])))

    def _baseline(self, step: Step, seed: int, lab: Callable[[Network], Lab]) -> Network:
        network = load_or_build(self.file, step.spec, self.data, seed).to(self.device)
        train = self.file.recipe.model.train
        if train is not None:
            lab(network).train(network, train, task_loss)
        return network

    def _load(self, step: Step) -> Network:
        return load(self._checkpoint(step), trust_code=True).to(self.device)

    def _checkpoint(self, step: Step) -> Path:
        return self.directory / step.folder / RESULT

    def _measure(self, folder: Path, history: list[Epoch], arithmetic: Arithmetic) -> schema.StageResult:
        network = load(folder / RESULT, trust_code=True).to(self.device)
        task, test = task_of(network.spec), evaluate(network, self.data.test)
        trivial, spread = triviality(test.answers, task, self.data.test, self.data.train)
        validation = evaluate(network, self.data.validation)
        return schema.StageResult(
            metric_value=test.value,
            metric_ci95=(test.low, test.high),
            n_test=test.n,
            validation_value=validation.value,
            answers=AnswersEntry(**asdict(breakdown(test.answers, self.data.test.targets, network.spec.labels))),
            scores=packed(task, test.scores),
            exits=[schema.ExitEntry(**asdict(exit_)) for exit_ in test.exits],
            details=schema.Details(trivial_value=trivial, answer_spread=spread, **test.details),
            seconds=sum(epoch.seconds for epoch in history),
            epochs=[schema.EpochEntry(**asdict(epoch)) for epoch in history],
            sha256=sha256_of(folder / RESULT),
            environment=environment(self.device),
            arithmetic=str(arithmetic),
        )

    def _clear_old_stages(self) -> None:
        """Remove stage folders that an earlier, different recipe left; their contents are still in the cache."""
        present = {Path(step.folder).name for step in self.plan.steps}
        for folder in (self.directory / "stages").iterdir():
            if STAGE_FOLDER.match(folder.name) and folder.name not in present and (folder / STAGE_RESULT).is_file():
                shutil.rmtree(folder)

    def _say_latency(self, text: str) -> None:
        self.reporter.stage = "latency"
        self.reporter.at_work("at work")
        self.reporter.say(text, event="warning" if text.startswith("warning") else "latency", what=text)

    def _report(self, results: list[schema.StageResult]) -> schema.Report:
        task = task_of(self.plan.steps[0].spec)
        paths = [self._checkpoint(step) for step in self.plan.steps]
        stages = entries(
            [
                measured(step, result, read_header(path, trust_code=True).spec, path.stat().st_size)
                for step, result, path in zip(self.plan.steps, results, paths, strict=True)
            ],
            latencies(self.file.recipe, paths[0], paths[-1], self.data, self._say_latency),
        )
        limits = judged(self.file.recipe.limits, stages, task.sign)
        return schema.Report(
            schema=1,
            name=self.file.recipe.name,
            task=self.plan.steps[0].spec.task,
            metric=task.metric,
            ok=all(limit.ok for limit in limits),
            stages=stages,
            factors=factors(stages),
            limits=limits,
            warnings=useless_stages(task, stages),
            environment=environment(self.device),
            command=_command(),
            seed=self.file.recipe.seed,
        )


def _clear_folders(entry: Path) -> None:
    """Remove from an entry of the cache every folder that stands in a file's place, and a file in the entry's own."""
    if entry.is_file() and not entry.is_symlink():
        entry.unlink()
    for path in entry.iterdir() if entry.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)


def _copy(source: Path, target: Path) -> None:
    """Copy a stage's checkpoint and result."""
    for name in (RESULT, STAGE_RESULT):
        write_atomically(target / name, (source / name).read_bytes())


@contextmanager
def _faults_of(step: Step) -> Iterator[None]:
    """Say of what goes wrong in a stage which stage it was; of too little memory also what to lower."""
    place = f"stage {step.index} {step.name}"
    try:
        yield
    except StageError as error:
        raise RunError(f"{place}: {error.what}") from error
    except RunError as error:
        raise RunError(f"{place}: {error}") from error
    except (MemoryError, RuntimeError) as error:
        is_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
        if not is_memory:
            raise
        raise RunError(f"{place}: out of memory; lower its 'batch', or data.size") from error


def _command() -> str:
    return shlex.join(["coc", *sys.argv[1:]])
