"""Checks across keys: each is valid by itself, but they do not go together. None needs a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.dvfs.profile import read_profile
from coc_cli.errors import Fault, StageError, UserError, pattern_fault
from coc_cli.files.run_directory import RESULT
from coc_cli.files.yaml_source import Loc, YamlSource
from coc_cli.frozen import Frozen
from coc_cli.learning.own_functions import own_functions
from coc_cli.learning.training import Training
from coc_cli.nets.spec import Scalar
from coc_cli.recipe.model import ChainItem, Checkpoint, Link, Model, PredictExit
from coc_cli.stages.stage import ChainPosition

Section = TypeVar("Section", bound=Frozen)


def parse_section(kind: type[Section], content: Any) -> Section | None:
    """Return a section if it is valid by itself, so that it can be checked even if others are not; else None."""
    try:
        return kind.model_validate_json(json.dumps(content), strict=True)
    except ValidationError:
        return None


def cross_key_faults(source: YamlSource, info: DataInfo | None) -> Iterator[Fault]:
    """Yield the faults of a recipe's sections; `info` is what is known of its data, if anything is."""
    model = parse_section(Model, source.content.get("model"))
    if model is not None:
        yield from (source.fault(("model", *loc), what) for loc, what in _model_faults(model))
    data = parse_section(DataSettings, source.content.get("data"))
    side = min(info.shape[1:]) if info else 0
    if data is not None and info is not None and data.augment.cutout >= side:
        what = f"{data.augment.cutout} would black out images of {info.shape[1]}x{info.shape[2]}; give less than {side}"
        yield source.fault(("data", "augment", "cutout"), what)
    if model is not None and model.train is not None:
        faults = _training_faults(model.train, info)
        yield from (source.fault(("model", "train", *loc), what) for loc, what in faults)
    predict_exit = parse_section(PredictExit, source.content.get("predict_exit"))
    if predict_exit is not None:
        yield from _predict_exit_faults(predict_exit, source)
    arch = model.arch if model else None
    arguments = _arguments(model) if model else {}
    chain = source.content.get("chain")
    for index, content in enumerate(chain if isinstance(chain, list) else []):
        item = parse_section(Link, content)
        if item is not None and data is not None and data.augment.mixup:
            for name, stage in item.written.items():
                if getattr(stage, "teacher_views", 0):
                    what = "needs images that are not mixed with others; leave data.augment.mixup out"
                    yield source.fault(("chain", index, name, "teacher_views"), what)
        if item is not None:
            faults = _item_faults(item, ChainPosition(index, arch, arguments, info))
            yield from (source.fault(("chain", index, *loc), what) for loc, what in faults)


def _training_faults(training: Training, info: DataInfo | None) -> Iterator[tuple[Loc, str]]:
    """Yield what of a training's keys would do nothing."""
    if training.label_smoothing and own_functions().loss:
        yield ("label_smoothing",), "is of coc's own loss, and there is one of your own; leave it out"
    elif training.label_smoothing and info is not None and info.task == "regression":
        yield ("label_smoothing",), "is for classes, and these are numbers; leave it out"
    if getattr(training, "teacher_views", 0) and getattr(training, "teacher", "") == "none":
        yield ("teacher_views",), "there is no teacher to ask; leave it out, or name one"


def _predict_exit_faults(predict_exit: PredictExit, source: YamlSource) -> Iterator[Fault]:
    if float(predict_exit.deadline.rstrip("xms")) == 0:
        yield source.fault(("predict_exit", "deadline"), f"needs a time above 0, got '{predict_exit.deadline}'")
    try:
        read_profile(predict_exit.profile)
    except UserError as error:
        for fault in error.faults:
            where = "" if fault.where == "--profile" else f"{fault.where}: "
            yield source.fault(("predict_exit", "profile"), f"{where}{fault.what}")


def _model_faults(model: Model) -> Iterator[tuple[Loc, str]]:
    weights = model.weights
    if weights is not None:
        yield from _weights_faults(weights, () if isinstance(model.checkpoint, str) else ("path",))
    if weights is not None and model.train is not None:
        yield ("train",), "there is a checkpoint as well; give one of them"
    if weights is None and model.train is None:
        yield (), "needs a 'checkpoint' with weights, or 'train' to make them"
    if model.arch is None and (weights is None or not weights.path.endswith(".safetensors")):
        yield (), "needs 'arch', the architecture of the weights"
    if (model.mean is None) != (model.std is None):
        yield ("mean" if model.std is None else "std",), "needs the other of 'mean' and 'std' beside it"
    if model.arch is not None:
        yield from model.faults(model.arch, {})


def _weights_faults(weights: Checkpoint, here: Loc) -> Iterator[tuple[Loc, str]]:
    if what := _no_file(Path(weights.path)):
        yield ("checkpoint", *here), what
    for place, renaming in weights.passes.items():
        for pattern in renaming:
            if what := pattern_fault(pattern):
                yield ("checkpoint", "keys", *place, pattern), what


def _no_file(path: Path) -> str | None:
    if path.is_dir():
        inner = path / RESULT
        return f"'{path}' is a folder; name the file in it{f', {inner}' if inner.is_file() else ''}"
    return None if path.is_file() else f"no such file '{path}'"


def _arguments(model: Model) -> dict[str, Scalar]:
    """Return the arguments of the model's architecture; none if they are invalid."""
    try:
        return model.arguments(model.arch, {}) if model.arch else {}
    except StageError:
        return {}


def _item_faults(item: ChainItem, position: ChainPosition) -> Iterator[tuple[Loc, str]]:
    written = item.written
    if len(written) != 1:
        yield (), "needs exactly one stage; begin each with its own '-'"
    for name, stage in written.items():
        if stage is not None:
            faults = (*stage.faults(position), *_training_faults(stage, position.info))
            yield from (((name, *loc), what) for loc, what in faults)
        elif len(written) == 1:
            yield (name,), "needs its keys, or {} for all defaults"
