"""`coc evaluate`: a network by itself on validation and test images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

from coc_cli.chain.baseline import checked_spec, load_or_build, other_labels
from coc_cli.chain.class_order import renamed
from coc_cli.chain.evaluate_request import EvaluateRequest
from coc_cli.chain.progress import QUIET_SECONDS
from coc_cli.chain.result import environment
from coc_cli.data.images import Data, Split
from coc_cli.data.info import DataInfo
from coc_cli.data.sources import source_of
from coc_cli.errors import UserError
from coc_cli.learning.breakdown import breakdown
from coc_cli.learning.evaluation import evaluate as evaluate_split
from coc_cli.learning.tasks import Task, task_of
from coc_cli.learning.uselessness import triviality, uselessness
from coc_cli.nets.checkpoint import load
from coc_cli.nets.cost import cost
from coc_cli.nets.network import Network
from coc_cli.recipe.reading import RecipeFile
from coc_cli.report.schema.answers import AnswersEntry
from coc_cli.report.schema.evaluate import EvaluationReport, SplitEntry
from coc_cli.report.schema.run import Details, ExitEntry
from coc_cli.units import metric_text, named

ORDER = "If not, name its classes (or their folders) so that they sort in that order, as 0-truck, 1-cat"


def evaluate(request: EvaluateRequest, say: Callable[[str], None]) -> EvaluationReport:
    """Measure a network on every image of validation and test, each answered by the exit at which it leaves.

    Raises `UserError` for images or weights that cannot be used.
    """
    recipe, network = request.recipe, _loaded(request)
    planned = checked_spec(recipe) if request.checkpoint is None else None
    if network and source_of(recipe.recipe.data).labels_known_early:
        _check_labels(recipe, network, recipe.info)
    say("images are read")
    data = recipe.images(_sparingly(say)).to(request.device)
    if planned is not None:
        network = load_or_build(recipe, planned, data, recipe.recipe.seed)
    assert network
    _check_labels(recipe, network, data.info)
    network = network.to(request.device)
    splits = [_measured(network, data, name, say) for name in ("validation", "test")]
    spec, task = network.spec, task_of(network.spec)
    cost_ = cost(spec).leaving([exit_.share for exit_ in splits[-1].exits] or [1.0])
    return EvaluationReport(
        schema=1,
        network=request.name,
        arch=spec.arch,
        task=spec.task,
        metric=task.metric,
        splits=splits,
        macs=cost_.macs,
        bitops=cost_.bitops,
        params=cost_.params,
        warnings=[*_warnings(splits, task)],
        environment=environment(request.device),
    )


def _sparingly(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Return what says how many images are decoded, every few seconds."""
    said_at = time.monotonic()

    def decoding(done: int, total: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > QUIET_SECONDS:
            say(f"data: {done} of {total} images decoded")
            said_at = time.monotonic()

    return decoding


def _loaded(request: EvaluateRequest) -> Network | None:
    """Return the network of a checkpoint of coc, whose header the request has read, and refused where it must."""
    return load(request.checkpoint, trust_code=True) if request.checkpoint else None


def _check_labels(recipe: RecipeFile, network: Network, info: DataInfo) -> None:
    if faults := other_labels(recipe, network.spec.labels, info.labels):
        raise UserError(faults)


def _warnings(splits: list[SplitEntry], task: Task) -> Iterator[str]:
    """Yield why the network may be of no use, or read wrongly."""
    for one in splits:
        known = {"trivial_value": one.details.trivial_value, "answer_spread": one.details.answer_spread}
        for what in uselessness(task, one.metric_value, one.metric_ci95, one.n, **known):
            yield f"{one.name}: {what}"
    validation, test = splits
    worst, best = (0, 1) if task.sign > 0 else (1, 0)
    if task.sign * (validation.metric_ci95[worst] - test.metric_ci95[best]) > 0:
        values = (metric_text(task.metric, one.metric_value) for one in splits)
        what = "{} on validation is better than {} on test by more than their intervals".format(*values)
        yield f"{what}: was it trained on these validation images? Thresholds and choices made on them would flatter"
    if other := renamed(test.answers):
        pairs = named([f"'{label}' is answered '{answer}'" for label, answer in other.renamed], 3)
        would = f"in another order of its classes it would have {metric_text(task.metric, other.accuracy)} on test"
        yield f"{would} ({pairs}); is the order of the classes that of its training? {ORDER}"


def _measured(network: Network, data: Data, name: str, say: Callable[[str], None]) -> SplitEntry:
    split: Split = getattr(data, name)
    say(f"measured on {len(split):,} {name} images")
    found, task = evaluate_split(network, split), task_of(network.spec)
    trivial, spread = triviality(found.answers, task, split, data.train)
    details = Details(trivial_value=trivial, answer_spread=spread, **found.details)
    return SplitEntry(
        name=name,
        n=found.n,
        metric_value=found.value,
        metric_ci95=(found.low, found.high),
        details=details,
        exits=[ExitEntry(**asdict(exit_)) for exit_ in found.exits] if len(found.exits) > 1 else [],
        answers=AnswersEntry(**asdict(breakdown(found.answers, split.targets, network.spec.labels))),
    )
