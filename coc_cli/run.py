"""Making it happen: the run directory, the shared stage cache, resuming, the report and the limits."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import coc_cli
from coc_cli.checkpoint import Ancestor, load, read_header, save
from coc_cli.errors import RunError, StageError, UserError, refuse
from coc_cli.files.atomic import locked, write_atomically
from coc_cli.files.checksum import sha256_of
from coc_cli.files.run_directory import CACHE, RESULT, RUNS
from coc_cli.foreign import load_foreign
from coc_cli.learning.evaluation import evaluate
from coc_cli.nets.sources import fingerprint
from coc_cli.plan import (
    BASELINE,
    Plan,
    Step,
    baseline_settings,
    earlier_lineage,
    make_plan,
    other_labels,
    own_checkpoint,
)
from coc_cli.progress import Reporter
from coc_cli.recipe.device import torch_device
from coc_cli.recipe.model import Recipe, resolved
from coc_cli.recipe.reading import RecipeFile
from coc_cli.report.delivery import write_page_for
from coc_cli.report.schema import run as schema
from coc_cli.report.schema.part import as_data, as_json
from coc_cli.result import entries, environment, factors, judged, measured, packed
from coc_cli.stages import STAGES
from coc_cli.stages.stage import Lab
from coc_cli.training import Epoch, derived_seed

if TYPE_CHECKING:
    from coc_cli.data.images import Data
    from coc_cli.nets.network import Network

STAGE_FOLDER = re.compile(rf"^\d\d-({'|'.join((BASELINE, *STAGES))})$")


@dataclass(frozen=True)
class Result:
    """What a finished run left."""

    directory: Path
    report: dict[str, Any]
    recipe: Recipe

    @property
    def ok(self) -> bool:
        """Tell whether every limit of the recipe is met."""
        return bool(self.report["ok"])


def run_chain(file: RecipeFile, *, out: Path | None = None, fresh: bool = False, device: str | None = None) -> Result:
    """Apply the chain of a recipe that was read; see `chain.compress`."""
    plan = make_plan(file)
    chosen = torch_device(file, device)
    directory = out or RUNS / file.recipe.name
    with _locked(directory):
        return _Run(file, plan, chosen, directory, fresh=fresh).go()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refuse(CACHE, f"cannot be the stage cache: {error.strerror}; run coc in another directory") from error
    with ExitStack() as stack:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(directory / ".lock", wait=False))
        except BlockingIOError as error:
            raise refuse(directory, "another coc is at work in it; wait, or choose another with --out") from error
        except OSError as error:
            what = f"cannot be the run directory: {error.strerror}; choose another with --out"
            raise refuse(directory, what) from error
        yield


class _Run:
    """One pass over the chain."""

    def __init__(self, file: RecipeFile, plan: Plan, device: str, directory: Path, *, fresh: bool) -> None:
        self.file, self.plan, self.device, self.directory, self.fresh = file, plan, device, directory, fresh
        self.recipe = file.recipe

    def go(self) -> Result:
        with Reporter(self.directory / "log.jsonl", len(self.plan.steps) - 1) as self.reporter:
            self.reporter.event("start", command=_command(), environment=as_data(environment(self.device)))
            self.data: Data = self.file.images(self.reporter.decoding).to(self.device)
            self._forget_other_recipe()
            self.fingerprint = self.data.fingerprint()[:32]
            self._warn_of_seen_images()
            results = [
                self._stage(step, ancestry) for step, ancestry in zip(self.plan.steps, self._lineages(), strict=True)
            ]
            self._clear_old_stages()
            report = self._report(results)
            last = self.directory / self.plan.steps[-1].folder / RESULT
            write_atomically(self.directory / RESULT, last.read_bytes())
            write_atomically(self.directory / "report.json", as_json(report, indent=2).encode())
            write_page_for(self.directory, lambda text: self.reporter.say(text, event="warning"))
            self.reporter.event("end", ok=report.ok)
        return Result(self.directory, as_data(report), self.recipe)

    def _lineages(self) -> Iterator[tuple[Ancestor, ...]]:
        """Give, for each step, what led to it; the last key names the step's result by all that went into it."""
        import torch

        weights = self.recipe.model.weights
        given = [sha256_of(Path(weights.path)), weights.keys] if weights else []
        code = [fingerprint(step.spec.arch) for step in self.plan.steps]
        spec = self.plan.steps[0].spec
        settings = {**baseline_settings(self.file, spec), "data": self.fingerprint}
        root: list[Any] = [coc_cli.__version__, torch.__version__, given, self.device.partition(":")[0]]
        root += [self.recipe.data.augment.model_dump(mode="json"), asdict(self.data.info), code[0], spec.mean, spec.std]
        lineage = (*earlier_lineage(self.file), Ancestor(stage=BASELINE, settings=settings, key=_key(root, settings)))
        yield lineage
        for index, link in enumerate(self.recipe.chain):
            stage = link.stage
            settings = stage.model_dump(mode="json")
            key = _key([lineage[-1].key, self._occurrence(index + 1), code[index + 1]], {stage.name: settings})
            lineage = (*lineage, Ancestor(stage=stage.name, settings=settings, key=key))
            yield lineage

    def _occurrence(self, index: int) -> int:
        """Give how often a step's name stands before it in this chain."""
        name = self.plan.steps[index].name
        return sum(step.name == name for step in self.plan.steps[:index])

    def _warn_of_seen_images(self) -> None:
        """Say if the baseline learnt on another split, so that it may know this one's test images."""
        for ancestor in earlier_lineage(self.file):
            if ancestor.settings.get("data", self.fingerprint) != self.fingerprint:
                text = "warning: the checkpoint was made on other data or another split; it may know these test images"
                self.reporter.say(text, event="warning")
                return

    def _stage(self, step: Step, lineage: tuple[Ancestor, ...]) -> schema.StageResult:
        """Make a stage's result, or take it from the cache, and put it into the run directory."""
        self.reporter.begin(step.index, step.name)
        folder = CACHE / lineage[-1].key
        if self.fresh:
            shutil.rmtree(folder, ignore_errors=True)
        result = _cached(folder, step.spec.arch)
        source = "from the cache"
        if result is None:
            result = self._make(step, lineage, folder)
            source = f"trained in {result.seconds:.0f} s"
        target = self.directory / step.folder
        write_atomically(target / RESULT, (folder / RESULT).read_bytes())
        write_atomically(target / "result.json", (folder / "result.json").read_bytes())
        text = f"test {result.metric_value:.4f}  {source}"
        self.reporter.say(text, event="done", metric=result.metric_value, key=lineage[-1].key, source=source)
        return result

    def _make(self, step: Step, lineage: tuple[Ancestor, ...], folder: Path) -> schema.StageResult:
        folder.mkdir(parents=True, exist_ok=True)
        seed = derived_seed(self.recipe.seed, step.name, self._occurrence(step.index))
        history: list[Epoch] = []

        def log(epoch: Epoch) -> None:
            history.append(epoch)
            if not epoch.restored:
                self.reporter.epoch(epoch)

        baseline = self._load(0) if step.index else None
        if baseline is None:
            network = self._baseline(step, seed, folder, log)
        else:
            lab = Lab(self.data, self.recipe.data.augment, self.device, seed, baseline, folder, log)
            try:
                network = self.recipe.chain[step.index - 1].stage.apply(self._load(step.index - 1), lab)
            except StageError as error:
                raise RunError(f"stage {step.index} {step.name}: {error.what}") from error
        save(network, lineage, folder / RESULT)
        result = self._measure(folder, history)
        write_atomically(folder / "result.json", as_json(result).encode())
        for state in folder.glob("*.pt"):
            state.unlink()
        return result

    def _load(self, index: int) -> Network:
        return load(self.directory / self.plan.steps[index].folder / RESULT, trust_code=True).to(self.device)

    def _baseline(self, step: Step, seed: int, folder: Path, log: Any) -> Network:
        import torch

        from coc_cli.nets.network import build
        from coc_cli.tasks import scale_of

        own = own_checkpoint(self.file)
        if own is not None and (faults := other_labels(self.file, step.spec.labels, self.data.info.labels)):
            raise UserError(faults)
        if own is not None:
            return load(own, trust_code=True).to(self.device)  # the plan has read its header
        torch.manual_seed(derived_seed(seed, "init"))
        info, model = self.data.info, self.recipe.model
        scale = scale_of(self.data.train.targets) if info.task == "regression" else None
        mean, std = model.mean or info.mean, model.std or info.std
        spec = step.spec.but(mean=mean, std=std, labels=info.labels, scale=scale)
        if model.weights is not None:
            weights, fault = model.weights, self.file.fault
            return load_foreign(
                Path(weights.path), weights.passes, spec, lambda loc, what: fault(("model", *loc), what)
            ).to(self.device)
        network = build(spec).to(self.device)
        assert model.train is not None
        lab = Lab(self.data, self.recipe.data.augment, self.device, seed, network, folder, log)
        lab.train(network, model.train, plain_loss)
        return network

    def _measure(self, folder: Path, history: list[Epoch]) -> schema.StageResult:
        from coc_cli.tasks import task_of

        network = load(folder / RESULT, trust_code=True).to(self.device)
        test = evaluate(network, self.data.test)
        validation = evaluate(network, self.data.validation)
        return schema.StageResult(
            metric_value=test.value,
            metric_ci95=(test.low, test.high),
            n_test=test.n,
            validation_value=validation.value,
            scores=packed(task_of(network.spec), test.scores),
            exits=[schema.Exit(**asdict(share)) for share in test.exits],
            details=schema.Details(**test.details),
            seconds=sum(epoch.seconds for epoch in history),
            epochs=[schema.Epoch(**asdict(epoch)) for epoch in history],
            sha256=sha256_of(folder / RESULT),
            environment=environment(self.device),
        )

    def _clear_old_stages(self) -> None:
        """Remove stage folders that an earlier, different recipe left; their contents are still in the cache."""
        wanted = {Path(step.folder).name for step in self.plan.steps}
        for folder in (self.directory / "stages").iterdir():
            if STAGE_FOLDER.match(folder.name) and folder.name not in wanted and (folder / "result.json").is_file():
                shutil.rmtree(folder)

    def _forget_other_recipe(self) -> None:
        """Remove the result of an earlier, different recipe, so that the directory never mixes two."""
        text, path = resolved(self.recipe).encode(), self.directory / "recipe.yaml"
        if not path.is_file() or path.read_bytes() != text:
            for name in ("report.json", "report.html", RESULT):
                (self.directory / name).unlink(missing_ok=True)
        write_atomically(path, text)

    def _report(self, results: list[schema.StageResult]) -> schema.Report:
        from coc_cli.tasks import task_of

        task = task_of(self.plan.steps[0].spec)
        paths = [self.directory / step.folder / RESULT for step in self.plan.steps]
        stages = entries(
            [
                measured(step, result, read_header(path, trust_code=True).spec, path.stat().st_size)
                for step, result, path in zip(self.plan.steps, results, paths, strict=True)
            ]
        )
        limits = judged(self.recipe.limits, stages, task.sign)
        return schema.Report(
            schema=1,
            name=self.recipe.name,
            task=self.plan.steps[0].spec.task,
            metric=task.metric,
            ok=all(limit.ok for limit in limits),
            stages=stages,
            factors=factors(stages),
            limits=limits,
            environment=environment(self.device),
            command=_command(),
            seed=self.recipe.seed,
        )


def plain_loss(network: Network, batch: Any) -> Any:
    """Give the loss of a baseline: the task's own, of the final output."""
    from coc_cli.tasks import task_of

    return task_of(network.spec).loss(network(batch.inputs)[-1], batch.targets)


def _cached(folder: Path, arch: str) -> schema.StageResult | None:
    """Return a finished stage's result; None where there is none, it is damaged, or of another architecture.

    So the code that loading it runs is code that the recipe names.
    """
    try:
        result = schema.StageResult.model_validate(json.loads((folder / "result.json").read_text()))
        is_right = sha256_of(folder / RESULT) == result.sha256
        return result if is_right and read_header(folder / RESULT, trust_code=True).spec.arch == arch else None
    except (OSError, ValueError, UserError):
        return None


def _key(inputs: list[Any], settings: dict[str, Any]) -> str:
    text = json.dumps([inputs, settings], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _command() -> str:
    return shlex.join(["coc", *sys.argv[1:]])
