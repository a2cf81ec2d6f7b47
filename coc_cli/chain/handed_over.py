"""What Python hands to `compress` beside a recipe: arrays or tensors, and a live torch module, made files of a run."""

from __future__ import annotations

import copy
import hashlib
import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coc_cli.chain.baseline import other_number
from coc_cli.errors import Fault, StageError, first_line, user_error
from coc_cli.files.atomic import write_atomically
from coc_cli.files.checksum import sha256_of
from coc_cli.files.run_directory import GIVEN
from coc_cli.learning.tasks import scale_of
from coc_cli.nets.checkpoint import save
from coc_cli.nets.foreign_weights import in_deviations
from coc_cli.nets.network import fresh
from coc_cli.nets.spec import Spec
from coc_cli.recipe.reading import IN_PYTHON, RecipeFile, read

SPLITS = ("train", "validation", "test")
UNUSED = {"epochs": 1}  # a recipe must say where its baseline comes from; this one is never trained
KEPT = ("mean", "std")  # keys of `model` that are of a module's images


def with_data(content: Mapping[str, Any], data: Any, directory: Path) -> dict[str, Any]:
    """Return a recipe whose images are arrays or tensors, which are written to the run directory.

    Args:
        content: The recipe.
        data: (images, targets), or a mapping of train, validation and test to such pairs; and `labels`, texts.
        directory: The run's.

    Raises:
        UserError: If they are no such pairs.
    """
    text = io.BytesIO()
    np.savez(text, **_arrays(data))
    path = _content_named(directory / GIVEN, "data", ".npz", text.getvalue())
    return {**content, "data": {**_mapping(content, "data"), "source": f"arrays:{path}"}}


def _mapping(content: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = content.get(key) or {}
    if not isinstance(value, Mapping):
        raise user_error(IN_PYTHON, f"{key}: needs a mapping of keys")
    return dict(value)


def _arrays(data: Any) -> dict[str, Any]:
    """Return the arrays of a .npz, by name; what is in them is checked where it is read."""
    if not isinstance(data, Mapping):
        return dict(zip(("images", "targets"), _pair(data, "data"), strict=True))
    arrays: dict[str, Any] = {}
    if data.get("labels") is not None:
        arrays["labels"] = np.array([str(label) for label in data["labels"]])
    for split in data:
        if split in SPLITS:
            images, targets = _pair(data[split], f"data['{split}']")
            arrays |= {f"{split}_images": images, f"{split}_targets": targets}
        elif split != "labels":
            raise user_error("data", f"has no split '{split}'; it may have {', '.join(SPLITS)} and labels")
    return arrays


def _pair(pair: Any, where: str) -> tuple[Any, Any]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:  # noqa: PLR2004
        raise user_error(where, "needs a pair: images uint8 [N, C, H, W] and targets [N] or [N, T]")
    try:
        images, targets = map(_array, pair)
    except ValueError as error:
        raise user_error(where, f"needs arrays or tensors: {first_line(error)}") from error
    if "O" in (images.dtype.kind, targets.dtype.kind):
        kind = type(pair[0]).__name__
        raise user_error(where, f"needs images uint8 [N, C, H, W] and targets as arrays or tensors, got {kind}")
    return images, targets.astype(np.int64) if targets.dtype == bool else targets


def _array(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def with_module(
    content: Mapping[str, Any], module: nn.Module, overrides: tuple[str, ...], directory: Path
) -> dict[str, Any]:
    """Return a recipe whose baseline is a live module, traced and written to the run directory as a checkpoint.

    The module stays as it is. Its images are normalised by the recipe's `model.mean` and `model.std`, else by those of
    the training images; its outputs are logits, or numbers in the targets' own units.

    Raises:
        UserError: If it cannot be traced, does not fit the data, or the recipe has more to say of the model.
    """
    if not isinstance(module, nn.Module):
        raise user_error(
            "model", f"needs a live torch module, got {getattr(module, '__name__', type(module).__name__)}"
        )
    if any(tensor.is_meta for tensor in module.state_dict().values()):
        raise user_error("model", "is on the device 'meta', so it has no weights; load them first")
    model = _mapping(content, "model")
    if wrong := sorted(set(model) - set(KEPT)):
        raise user_error(IN_PYTHON, f"model.{wrong[0]}: the module says it; leave it out")
    plain = {**content, "model": {**model, "arch": f"module:{type(module).__name__}", "train": UNUSED}}
    file = read(plain, overrides)
    network = _traced(file, module)
    with tempfile.TemporaryDirectory() as folder:
        save(network, (), Path(folder) / "model.safetensors")
        text = (Path(folder) / "model.safetensors").read_bytes()
    path = _content_named(directory / GIVEN, "model", ".safetensors", text)
    return {**content, "model": {"checkpoint": str(path)}}


def _traced(file: RecipeFile, module: nn.Module) -> Any:
    data = file.images()
    info, model = data.info, file.recipe.model
    assert model.arch is not None
    assert info.mean is not None
    assert info.std is not None
    for key, numbers in (("mean", model.mean), ("std", model.std)):
        if numbers is not None and len(numbers) != info.shape[0]:
            raise user_error(IN_PYTHON, f"model.{key}: {other_number(numbers, info.shape[0])}")
    spec = Spec(
        arch=model.arch,
        args={},
        input_shape=info.shape,
        mean=model.mean or info.mean,
        std=model.std or info.std,
        task=info.task,
        labels=info.labels,
        scale=scale_of(data.train.targets) if info.task == "regression" else None,
    )
    try:
        network = fresh(spec, copy.deepcopy(module).cpu().train())
        outputs = network.eval()(torch.zeros(2, *info.shape))[-1].shape
    except StageError as error:
        raise user_error("model", error.what) from error
    if outputs != (2, len(info.labels)):
        raise user_error("model", f"gives outputs {list(outputs[1:])} for {len(info.labels)} classes or targets")
    return network if spec.scale is None else in_deviations(network, lambda _, what: Fault("model", what))


def _content_named(folder: Path, name: str, suffix: str, content: bytes) -> Path:
    """Write a file whose name has its checksum, unless it is there."""
    path = folder / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}{suffix}"
    if not path.is_file() or sha256_of(path) != hashlib.sha256(content).hexdigest():
        write_atomically(path, content)
    return path
