"""The network that a chain starts from: loaded from a checkpoint, or built from the recipe and trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from coc_cli.data.sources import source_of
from coc_cli.errors import Fault, StageError, UserError
from coc_cli.learning.tasks import scale_of, task_of
from coc_cli.learning.training import derived_seed
from coc_cli.nets.architectures import is_code, without_tag
from coc_cli.nets.checkpoint import checked_header, load
from coc_cli.nets.checkpoint_header import Ancestor, Header, is_checkpoint
from coc_cli.nets.entry import with_graph
from coc_cli.nets.foreign_files import kind_fault
from coc_cli.nets.foreign_weights import check_foreign, load_foreign
from coc_cli.nets.network import Network, fresh
from coc_cli.nets.shapes import check_runs
from coc_cli.nets.spec import Spec
from coc_cli.recipe.model import Checkpoint
from coc_cli.recipe.reading import RecipeFile
from coc_cli.units import counted

if TYPE_CHECKING:
    from coc_cli.data.images import Data

BASELINE = "baseline"
NO_KEY = "0" * 32
UNKNOWN_MEAN, UNKNOWN_STD = 0.5, 0.25  # until the images are read
GIVE_WEIGHTS = "give them as model.checkpoint"
NOT_WITH_OWN_CHECKPOINT = {
    **dict.fromkeys(("depth", "width", "args"), "the checkpoint says it; leave it out, or give 'arch' too"),
    **dict.fromkeys(("mean", "std"), "coc made the checkpoint, which brings its own; leave it out"),
}


def own_checkpoint(file: RecipeFile) -> Path | None:
    """Return the baseline's checkpoint if coc wrote it, so that it has its own spec."""
    weights = file.recipe.model.weights
    if weights is not None and (what := kind_fault(Path(weights.path))):
        raise UserError([file.fault(("model", "checkpoint"), what)])
    if weights is None or not weights.path.endswith(".safetensors") or not is_checkpoint(Path(weights.path)):
        return None
    return Path(weights.path)


def own_header(file: RecipeFile) -> Header | None:
    """Return the header of a baseline that coc wrote; a recipe that names the user's code trusts that code."""
    own = own_checkpoint(file)
    if own is None:
        return None
    return checked_header(own, trust_code=_trusts(file))  # `baseline_spec` refuses it if the recipe names other code


def baseline_spec(file: RecipeFile) -> Spec:
    """Return the spec of the network that the chain starts from; raises `UserError`."""
    own = own_header(file)
    faults = list(_new_faults(file) if own is None else _own_faults(file, own.spec))
    if faults:
        raise UserError(faults)
    if own is not None:
        return with_graph(own.spec)
    return with_graph(_untraced(file))


def checked_spec(file: RecipeFile) -> Spec:
    """Return the spec that the chain starts from, once it runs and its weights fit; raises `UserError`."""
    with baseline_faults(file):
        spec = baseline_spec(file)
        check_runs(spec)
        check_weights(file, spec)
        return spec


@contextmanager
def baseline_faults(file: RecipeFile) -> Iterator[None]:
    """Make what is wrong with a baseline a fault of the recipe's."""
    try:
        yield
    except StageError as error:
        raise UserError([file.fault(("model", error.key or "arch"), error.what)]) from error


def _untraced(file: RecipeFile) -> Spec:
    model, info = file.recipe.model, file.info
    assert model.arch is not None
    return Spec(
        arch=without_tag(model.arch)[0],
        args=model.arguments(model.arch, {}),
        input_shape=info.shape,
        mean=model.mean or info.mean or (UNKNOWN_MEAN,) * info.shape[0],
        std=model.std or info.std or (UNKNOWN_STD,) * info.shape[0],
        task=info.task,
        labels=info.labels,
    )


def _new_faults(file: RecipeFile) -> Iterator[Fault]:
    """Yield what is wrong with a baseline that is trained here, or has weights from elsewhere."""
    model, channels = file.recipe.model, file.info.shape[0]
    if model.arch is None:
        yield file.fault(("model",), "needs 'arch', the architecture of the weights")
    for key, values in (("mean", model.mean), ("std", model.std)):
        if values is not None and len(values) != channels:
            yield file.fault(("model", key), other_number(values, channels))


def other_number(values: Sequence[float], channels: int) -> str:
    """Return what is wrong with a mean or a deviation of more or fewer numbers than images have channels."""
    return f"has {counted(len(values), 'number')} for images of {counted(channels, 'channel')}; give one for each"


def _own_faults(file: RecipeFile, spec: Spec) -> Iterator[Fault]:
    """Yield what does not fit between the recipe and a baseline that coc wrote."""
    model, info = file.recipe.model, file.info
    noun = "classes" if info.task == "classification" else "targets"
    keys = ("depth", "width", "args", "mean", "std") if model.arch is None else ("mean", "std")
    yield from (file.fault(("model", key), NOT_WITH_OWN_CHECKPOINT[key]) for key in keys if getattr(model, key))
    if isinstance(model.checkpoint, Checkpoint) and model.checkpoint.keys:
        yield file.fault(("model", "checkpoint", "keys"), "coc made the checkpoint; leave them out")
    if isinstance(model.checkpoint, Checkpoint) and model.checkpoint.entry:
        yield file.fault(("model", "checkpoint", "entry"), "coc made the checkpoint; leave it out")
    arch = without_tag(model.arch or "")[0]
    if arch and (arch, model.arguments(arch, {})) != (spec.arch, spec.args):
        yield file.fault(("model", "arch"), f"the checkpoint is a {spec.arch} with {spec.args}; leave 'arch' out")
    if spec.input_shape != info.shape:
        yield file.fault(("data",), f"images are {info.shape}, the checkpoint takes {spec.input_shape}")
    if spec.task != info.task:
        yield file.fault(("data",), f"is for {info.task}, the checkpoint for {spec.task}")
    elif len(spec.labels) != len(info.labels):
        yield file.fault(("data",), f"there are {len(info.labels)} {noun}, the checkpoint has {len(spec.labels)}")
    elif source_of(file.recipe.data).labels_known_early and not file.is_data_absent:
        yield from other_labels(file, spec.labels, info.labels)
    if is_code(spec.arch) and not _trusts(file):
        yield from _untrusted_students(file, spec)


def _trusts(file: RecipeFile) -> bool:
    """Return whether code that a checkpoint names may run: the user says so, or the recipe names code itself."""
    return file.trust_code or is_code(file.recipe.model.arch or "")


def _untrusted_students(file: RecipeFile, spec: Spec) -> Iterator[Fault]:
    """Yield a fault for each stage that would run code which only the checkpoint names."""
    path = spec.arch.split(":")[1]
    for index, link in enumerate(file.recipe.chain):
        if link.stage.remakes_incoming:
            what = (
                f"it would run the code in '{path}', which the checkpoint names; give its 'arch', or pass --trust-code"
            )
            yield file.fault(("chain", index, link.stage.name, "student"), f"{what} (trust_code=True) if you trust it")


def baseline_notes(file: RecipeFile) -> Iterator[str]:
    """Yield what a user should know of the baseline before anything runs."""
    model, data = file.recipe.model, file.recipe.data
    if file.is_data_absent:
        grey = "" if data.channels else "; they are taken to be in colour, as data.channels does not say"
        yield f"{data.place} is not there, so images, labels, split and numbers of images are not checked{grey}"
    yield from tag_notes(model.arch or "", "those of model.checkpoint are" if model.weights else GIVE_WEIGHTS)
    if model.weights is not None and own_checkpoint(file) is None:
        if model.mean is None:
            yield (
                "images are normalised by the mean and deviation of the training images; give model.mean and model.std"
                " if the weights were trained with others"
            )
        yield (
            "the weights come from elsewhere; if they were trained on images that are validation or test images here,"
            " thresholds and accuracies flatter"
        )
    yield from file.info.notes
    moving = data.augment.moving
    if file.info.task == "regression" and moving and not source_of(data).augment_safe:
        yield f"images are {' and '.join(moving)}, but their targets stay as they are"


def tag_notes(arch: str, instead: str) -> Iterator[str]:
    """Yield what to know of an architecture's name that ends with the tag of weights."""
    if tag := without_tag(arch)[1]:
        yield f"'{tag}' is the tag of weights, which are not loaded, as coc downloads none; {instead}"


def other_labels(file: RecipeFile, checkpoint_labels: tuple[str, ...], data_labels: tuple[str, ...]) -> list[Fault]:
    """Return a fault if a checkpoint of coc has other classes or targets, or another order of them."""
    if checkpoint_labels == data_labels:
        return []
    at = next(
        index for index, pair in enumerate(zip(checkpoint_labels, data_labels, strict=True)) if pair[0] != pair[1]
    )
    what = (
        f"number {at} of its classes or targets is '{data_labels[at]}', of the checkpoint's '{checkpoint_labels[at]}'"
    )
    return [file.fault(("data",), f"{what}; they must be the same, in the same order")]


def baseline_settings(file: RecipeFile, spec: Spec) -> dict[str, Any]:
    """Return the baseline's settings in the lineage; the run adds those that depend on the data."""
    train = file.recipe.model.train
    return {
        "arch": spec.arch,
        "args": dict(spec.args),
        "train": train.recorded() if train else None,
        "seed": file.recipe.seed,
        "data": NO_KEY,
    }


def earlier_lineage(file: RecipeFile) -> tuple[Ancestor, ...]:
    """Return the lineage of a baseline that coc wrote; empty for others."""
    own = own_header(file)
    return own.lineage if own else ()


def check_weights(file: RecipeFile, spec: Spec) -> None:
    """Raise `UserError` unless weights from elsewhere fit the architecture."""
    weights = file.recipe.model.weights
    if weights is not None and own_checkpoint(file) is None:
        path, passes, entry = Path(weights.path), weights.passes, weights.entry
        check_foreign(path, passes, spec, lambda loc, what: file.fault(("model", *loc), what), entry=entry)


def load_or_build(file: RecipeFile, spec: Spec, data: Data, seed: int) -> Network:
    """Return the baseline's network on the CPU: loaded, filled with weights from elsewhere, or fresh and untrained.

    `spec` is the plan's; what depends on the images (mean, deviation, labels, scale) is filled in. Raises `UserError`.
    """
    own, info = own_checkpoint(file), data.info
    if own is not None:
        if faults := other_labels(file, spec.labels, info.labels):
            raise UserError(faults)
        return load(own, trust_code=True)  # the plan has read its header
    model = file.recipe.model
    torch.manual_seed(derived_seed(seed, "init"))
    scale = scale_of(data.train.targets) if info.task == "regression" else None
    mean, std = model.mean or info.mean, model.std or info.std
    spec = spec.with_changes(mean=mean, std=std, labels=info.labels, scale=scale)
    if model.weights is None:
        return fresh(spec)
    path, passes, entry = Path(model.weights.path), model.weights.passes, model.weights.entry
    return load_foreign(path, passes, spec, lambda loc, what: file.fault(("model", *loc), what), entry=entry)


def task_loss(network: Network, batch: Any) -> Any:
    """Return the task's loss of a baseline's final output, a scalar."""
    return task_of(network.spec).loss(network(batch.inputs)[-1], batch.targets)
