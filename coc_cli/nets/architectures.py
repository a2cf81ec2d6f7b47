"""Where architectures come from: coc's own table, torchvision, timm, and the user's files. No torch until `create`."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from coc_cli.errors import StageError, did_you_mean, first_line
from coc_cli.files.checksum import sha256_of
from coc_cli.frozen import Frozen
from coc_cli.nets.spec import Scalar

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Architecture:
    """One architecture of coc's own: the function that makes it and the arguments that a recipe may set."""

    function: str  # "module:function", called as function(outputs=, channels=, **args)
    defaults: Mapping[str, int]
    allowed_depths: tuple[int, ...]

    def arguments(self, arch: str, requested: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return all arguments, defaults filled in; raises `StageError` for one that it does not take."""
        for key, value in requested.items():
            if key not in self.defaults:
                raise StageError(
                    f"{arch} takes no '{key}'; {did_you_mean(key, self.defaults, otherwise='it takes')}", key
                )
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= LARGEST_ARGUMENT:
                raise StageError(f"needs a whole number from 1 to {LARGEST_ARGUMENT}, got {value!r}", key)
        depth = requested.get("depth", self.defaults.get("depth"))
        if depth is not None and depth not in self.allowed_depths:
            depths = ", ".join(map(str, self.allowed_depths))
            raise StageError(f"{arch} has no depth {depth}; it has {depths}", "depth")
        return {**self.defaults, **requested}

    def make(self, args: Mapping[str, Scalar], outputs: int, channels: int) -> nn.Module:
        """Return the module, with fresh random weights."""
        module, function = self.function.split(":")
        network: nn.Module = getattr(importlib.import_module(module), function)(
            outputs=outputs, channels=channels, **args
        )
        return network


LARGEST_ARGUMENT = 4096
HANDED_OVER = "module"  # a live torch module, in Python
_THIN_DEPTHS = tuple(range(8, 111, 6))
_WIDE_DEPTHS = (10, 18, 34)

ARCHITECTURES: dict[str, Architecture] = {
    **{
        f"cifar:resnet{depth}": Architecture(
            "coc_cli.nets.cifar:resnet_thin", {"depth": depth, "width": 16}, _THIN_DEPTHS
        )
        for depth in (20, 32, 44, 56)
    },
    **{
        f"cifar:resnet{depth}": Architecture(
            "coc_cli.nets.cifar:resnet_wide", {"depth": depth, "width": 64}, _WIDE_DEPTHS
        )
        for depth in (18, 34)
    },
    "cifar:vgg19": Architecture("coc_cli.nets.cifar:vgg", {"depth": 19, "width": 64}, (11, 13, 16, 19)),
    "cifar:mobilenet_v2": Architecture("coc_cli.nets.cifar:mobilenet_v2", {"width": 32}, ()),
}


@dataclass(frozen=True)
class Family:
    """A source of architectures whose arguments are those of their constructors."""

    form: str  # what its names look like
    pattern: str  # the same for `re.fullmatch`
    reserved: tuple[str, ...]  # arguments that are not the recipe's to give
    make: Callable[[str, Mapping[str, Scalar], int, int], nn.Module]  # (name, args, outputs, channels)
    fingerprint: Callable[[str], str]  # of a name: what the module depends on besides coc


class ArchitectureSettings(Frozen):
    """An architecture and its arguments as a recipe writes them."""

    arch: Annotated[
        str | None,
        Field(
            description="cifar:NAME, torchvision:NAME, timm:NAME or file:PATH.py:FUNCTION; module:CLASS, as coc inspect"
            " calls a network that Python handed over, cannot be made here"
        ),
    ] = None
    depth: Annotated[int | None, Field(ge=1, le=2000, description="of a cifar: architecture")] = None
    width: Annotated[int | None, Field(ge=1, le=4096, description="of a cifar: architecture")] = None
    args: Annotated[dict[str, Scalar], Field(description="what else the architecture's maker takes")] = {}

    @property
    def is_plain(self) -> bool:
        """Whether no argument was set."""
        return not (self.depth or self.width or self.args)

    def arguments(self, arch: str, incoming: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Return every argument of `arch`: those set here over the incoming ones; raises `StageError`."""
        resolve(arch, {})  # a fault in its name comes first
        sizes = {key: value for key in ("depth", "width") if (value := getattr(self, key)) is not None}
        for key in sizes:
            if key in self.args:
                raise StageError(f"'{key}' stands under 'args' too; give it once", key)
            if arch not in ARCHITECTURES:
                what = "by the name its maker has for it, as in args: {width_mult: 0.5}"
                raise StageError(f"{arch} takes no '{key}'; give it under 'args', {what}", key)
        return resolve(arch, {**incoming, **self.args, **sizes})

    def faults(self, arch: str, incoming: Mapping[str, Scalar]) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield what is wrong with the arguments of `arch`, each with its key."""
        try:
            self.arguments(arch, incoming)
        except StageError as error:
            key = error.key or "arch"
            yield ("args", key) if key in self.args else (key,), error.what


def resolve(arch: str, args: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Return every argument of an architecture, defaults filled in; raises `StageError` for unknown ones.

    Of the families with free arguments only the form of the name is checked; `create` checks the rest.
    """
    if arch in ARCHITECTURES:
        return ARCHITECTURES[arch].arguments(arch, args)
    prefix, _, name = arch.partition(":")
    family = FAMILIES.get(prefix)
    if family is None and re.fullmatch(FAMILIES["file"].pattern, arch):
        raise StageError(f"no such architecture '{arch}'; did you mean 'file:{arch}'?", "arch")
    if family is None:
        near = did_you_mean(arch, [*ARCHITECTURES, *known_forms()], most=len(ARCHITECTURES) + len(FAMILIES))
        raise StageError(f"no such architecture '{arch}'; {near}", "arch")
    if not re.fullmatch(family.pattern, name):
        what = f"does not fit; it needs the form {prefix}:{family.form}"
        if "/" in name and prefix != "file":
            what = f"is a name on a hub, not known to coc; write {prefix}:NAME, and give weights as model.checkpoint"
        raise StageError(f"'{arch}' {what}", "arch")
    for key in args:
        if key in family.reserved:
            what = "classes and channels come from the data, weights from model.checkpoint"
            raise StageError(f"'{key}' is not yours to give: {what}", key)
    return dict(args)


def known_forms() -> list[str]:
    """Return what the names of the families' architectures look like, but for those that only Python hands over."""
    return [f"{prefix}:{family.form}" for prefix, family in FAMILIES.items() if prefix != HANDED_OVER]


def create(arch: str, args: Mapping[str, Scalar], *, outputs: int, channels: int) -> nn.Module:
    """Return the module of an architecture with fresh random weights from torch's global generator.

    `outputs` is the number of classes or of regression targets, `channels` that of the input images. Raises
    `StageError` where a library does not have it, does not take an argument, or the user's code fails.
    """
    if arch in ARCHITECTURES:
        return ARCHITECTURES[arch].make(args, outputs, channels)
    import torch

    prefix, _, name = arch.partition(":")
    make = FAMILIES[prefix].make
    try:
        return make(name, args, outputs, channels)
    except StageError:
        if torch.get_default_device().type != "meta":
            raise
    with torch.device("cpu"):  # it computes with tensors while it is made
        return make(name, args, outputs, channels).to("meta")


def fingerprint(arch: str) -> str:
    """Return what an architecture depends on besides coc: the library's version, or the checksum of the user's file."""
    prefix, _, name = arch.partition(":")
    return "" if arch in ARCHITECTURES else FAMILIES[prefix].fingerprint(name)


def without_tag(arch: str) -> tuple[str, str]:
    """Return an architecture's name, and the tag behind it that names weights of timm: 'a1_in1k', or nothing."""
    name, _, tag = arch.partition(".") if arch.startswith("timm:") else (arch, "", "")
    return name, tag


def is_code(arch: str) -> bool:
    """Return whether making the architecture runs code from a file of the user's."""
    return arch.startswith("file:")


def users_files(archs: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each of the user's files that architectures come from; a run keeps them as a record."""
    for path in sorted({arch.split(":")[1] for arch in archs if is_code(arch)}):
        if (file := Path(path)).is_file():  # a checkpoint's own file may be gone
            yield file.name, file.read_bytes()


@contextmanager
def user_code_errors(arch: str, *, is_about_all: bool = False) -> Iterator[None]:
    """Turn what goes wrong in the user's code into a `StageError` that names its file and line.

    What goes wrong elsewhere stays as it is, or, if that is about all that the code made, names where it made it.
    """
    path = arch.split(":")[1] if is_code(arch) else None
    try:
        yield
    except (Exception, SystemExit) as error:
        cause = (error.__cause__ or error) if isinstance(error, StageError) else error
        line = _line_in(path, cause) if path else None
        if line is None and is_about_all and isinstance(error, StageError):
            line = _definition(*arch.split(":")[1:]) if path else None
        if line is None:
            raise
        what = error.what if isinstance(error, StageError) else f"{type(error).__name__}: {first_line(error)}"
        raise StageError(f"{path}:{line}: {what}", "arch") from error


def _line_in(path: str, error: BaseException) -> int | None:
    """Return the last line of the file at `path` on an error's traceback, or None if it is not on it."""
    here = Path(path).resolve()
    file, number = getattr(error, "line", None) or ("", None)
    if file and Path(file).resolve() == here:
        return number  # type: ignore[no-any-return]
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve() == here:
        return error.lineno
    lines = [at.lineno for at in traceback.extract_tb(error.__traceback__) if Path(at.filename).resolve() == here]
    return lines[-1] if lines else None


def _definition(path: str, name: str) -> int | None:
    """Return the line of the file at `path` where a function or a class, its forward if it has one, begins."""
    try:
        body = ast.parse(Path(path).read_text()).body
    except (OSError, ValueError, SyntaxError):
        return None
    found = [part for part in body if isinstance(part, ast.FunctionDef | ast.ClassDef) and part.name == name]
    if found and isinstance(found[-1], ast.ClassDef):
        found += [part for part in found[-1].body if isinstance(part, ast.FunctionDef) and part.name == "forward"]
    return found[-1].lineno if found else None


def _torchvision(name: str, args: Mapping[str, Scalar], outputs: int, channels: int) -> nn.Module:
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    if name in torchvision.models.list_models() and name not in names:
        raise StageError(_other_task(name, torchvision.models.get_model_builder(name).__module__), "arch")
    if name not in names:
        raise StageError(f"torchvision has no model '{name}'; {did_you_mean(name, names)}", "arch")
    # These two have a second classifier, for training only, unless set otherwise.
    single = {"aux_logits": False, "init_weights": True} if name in ("googlenet", "inception_v3") else {}
    with _refused(f"torchvision:{name}"):
        network = torchvision.models.get_model(name, weights=None, num_classes=outputs, **{**single, **args})
    return network if channels == RGB else _with_channels(network, channels, f"torchvision:{name}")


RGB = 3


def _other_task(name: str, module: str) -> str:
    """Return what to say of a network of torchvision's that is no classifier in floating point, by its module."""
    if ".quantization." in module:
        return f"'{name}' is rounded already; write torchvision:{name.removeprefix('quantized_')} and a quantize stage"
    task = module.removeprefix("torchvision.models.").partition(".")[0].replace("_", " ")
    return (
        f"coc takes classifiers and regressors of images; '{name}' is for {task}; write one like torchvision:resnet50"
    )


def _with_channels(network: nn.Module, channels: int, arch: str) -> nn.Module:
    """Replace the first convolution of a network for RGB images, in place, by one for other input channels."""
    from torch import nn

    from coc_cli.nets.layers import numbers_of, resized

    path, first = next((item for item in network.named_modules() if isinstance(item[1], nn.Conv2d)), ("", None))
    numbers = numbers_of(first) if first else None
    if first is None or numbers is None or (numbers["in"], numbers["groups"]) != (RGB, 1):
        raise StageError(f"{arch} takes images of {RGB} channels, not {channels}", "arch")
    parent, _, last = path.rpartition(".")
    replacement = resized(first, {**numbers, "in": channels})
    replacement.reset_parameters()  # type: ignore[operator]
    setattr(network.get_submodule(parent), last, replacement)
    return network


def _timm(name: str, args: Mapping[str, Scalar], outputs: int, channels: int) -> nn.Module:
    try:
        import timm
    except ImportError as error:
        raise StageError(f"timm:{name} needs timm; install it with: pip install 'coc-cli[timm]'", "arch") from error
    names, name = timm.list_models(), name.partition(".")[0]
    if name not in names:
        raise StageError(f"timm has no model '{name}'; {did_you_mean(name, names)}", "arch")
    with _refused(f"timm:{name}"):
        arguments: dict[str, Any] = dict(args)
        network: nn.Module = timm.create_model(
            name, pretrained=False, num_classes=outputs, in_chans=channels, **arguments
        )
    return network


@contextmanager
def _refused(arch: str) -> Iterator[None]:
    """Turn a maker's error, mostly about its arguments, into a `StageError` of one line."""
    try:
        yield
    except Exception as error:
        raise StageError(f"{arch} cannot be made: {first_line(error)}", "args") from error


def _handed_over(name: str, *_: object) -> nn.Module:
    what = f"is a torch module '{name}' that was handed over in Python, of which only what was traced is left"
    raise StageError(f"{what}; give an 'arch' that can be made, or 'same'", "arch")


def _from_file(name: str, args: Mapping[str, Scalar], outputs: int, channels: int) -> nn.Module:
    from torch import nn

    path, _, function = name.rpartition(":")
    with user_code_errors(f"file:{name}"):
        module = _executed(path)
        make = getattr(module, function, None)
        if not callable(make):
            functions = [word for word, value in vars(module).items() if callable(value) and not word.startswith("_")]
            raise StageError(f"'{path}' has no function '{function}'; {did_you_mean(function, functions)}", "arch")
        parameters = inspect.signature(make).parameters
        numbers = {"outputs": outputs, "num_classes": outputs, "channels": channels, "in_channels": channels}
        arguments = {**{key: value for key, value in numbers.items() if key in parameters}, **args}
        try:
            inspect.signature(make).bind(**arguments)
        except TypeError as error:
            raise StageError(f"{function} in '{path}': {error}", "args") from error
        network = make(**arguments)
    if not isinstance(network, nn.Module):
        raise StageError(f"{function} in '{path}' gives a {type(network).__name__}, not a torch.nn.Module", "arch")
    return network


def _executed(path: str) -> Any:
    """Run the user's file as a module of its own; it finds its neighbours as a script would."""
    file = _existing(path)
    name = f"coc_file_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(file.parent))
    before = set(sys.modules)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(file.parent))
        for other in set(sys.modules) - before:  # another file's neighbour may have the same name
            if Path(getattr(sys.modules[other], "__file__", None) or "-").parent == file.parent:
                del sys.modules[other]
    return module


def _existing(path: str) -> Path:
    file = Path(path).resolve()
    if not file.is_file():
        beside = [other.name for other in file.parent.glob("*.py")]
        near = f"; {did_you_mean(file.name, beside, otherwise='there are')}" if beside else ""
        raise StageError(f"no such file '{path}'{near}", "arch")
    return file


def _checksum(path: str) -> str:
    try:
        return sha256_of(_existing(path))
    except OSError as error:
        raise StageError(f"'{path}' cannot be read: {error.strerror}", "arch") from error


FAMILIES: dict[str, Family] = {
    "torchvision": Family(
        "NAME", r"\w+", ("name", "weights", "num_classes"), _torchvision, lambda _: metadata.version("torchvision")
    ),
    "timm": Family(
        "NAME",
        r"\w+(\.\w+)?",  # with the tag of weights or without
        ("model_name", "num_classes", "in_chans", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay")
        + ("checkpoint_path", "cache_dir"),  # it would read a pickle with code in it
        _timm,
        lambda _: metadata.version("timm"),
    ),
    "module": Family("CLASS", r"[\w.<>]+", (), _handed_over, lambda _: ""),
    "file": Family(
        "PATH.py:FUNCTION",
        r"[^:]+\.py:[A-Za-z_]\w*",
        ("outputs", "num_classes", "channels", "in_channels"),
        _from_file,
        lambda name: _checksum(name.rpartition(":")[0]),
    ),
}
