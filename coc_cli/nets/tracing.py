"""Tracing: running a network once on tensors without values, and noting what it calls.

Every call of a torch function and of a torch.nn module is noted as a node over the lists in `operations.py` and
`module_kinds.py`; what is not listed is refused where it is called. Shapes are known, so comparisons of shapes, asserts
and loops run as they stand; sizes stay expressions of the tensors that they come from, so that pruned widths fit.
"""

from __future__ import annotations

import copy
import inspect
import random
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.overrides import TorchFunctionMode

from coc_cli.errors import StageError
from coc_cli.nets.functional_layers import CONVERSIONS, Conversion
from coc_cli.nets.graph import WEIGHTED
from coc_cli.nets.meanings import CASTS, meaning
from coc_cli.nets.module_kinds import arguments_of, kind_of
from coc_cli.nets.names import plain_path
from coc_cli.nets.operations import ENUMS, OPERATIONS
from coc_cli.nets.running import function_of
from coc_cli.nets.sizes import Shape, Size, plain
from coc_cli.nets.spellings import INSTEAD, REFUSED, in_place, node_name, spelling
from coc_cli.nets.trace_comparison import Line, Traced, TraceError, erase_unused, merged, same_for_all_batches

INPUT = "x"
BATCHES = (2, 1)  # numbers of images with which a network is traced; what differs depends on their number
CONSTANT = "_constant_"
ONE_TENSOR = "return the logits alone, as in a module around it with: return self.net(x)['out'], or [0] of a tuple"


class _Recorder(TorchFunctionMode):
    """Notes the calls that a network makes while it runs on tensors without values."""

    def __init__(
        self, root: nn.Module, prefix: str, squeezed: list[tuple[int, ...]] | None = None, *, training: bool = False
    ) -> None:
        super().__init__()
        self.training = training
        self.is_first, self.squeezed = squeezed is None, list(squeezed or [])  # the dimensions of each plain squeeze
        self.traced = Traced(prefix=prefix)
        self.graph = self.traced.graph
        self.prefix = prefix
        self.nodes: dict[int, Node] = {}
        self.held: list[Tensor] = []  # so that no two tensors have the same id
        self.stale: dict[int, str] = {}  # tensors whose values changed through another view of the same memory
        self.owners = {plain_path(path): module for path, module in root.named_modules()}
        self.paths = {id(module): path for path, module in self.owners.items()}
        self.names = {id(value): name for name, value in held_tensors(root).items()}
        self.users: dict[int, str] = {}  # of weights: the module that runs on them
        self.scopes = [""]
        self.quiet = False  # calls are run and not noted
        self.called: set[str] = set()
        self.constants: dict[int, str] = {}
        self._small = [""]  # of the module that is running: its name, if it holds no layer

    def start(self, shape: tuple[int, ...], batch: int) -> Tensor:
        """Return the input."""
        x = torch.empty(batch, *shape, device="meta")
        self.input = self.graph.placeholder(INPUT)
        return self._held(x, self.input)

    def _held(self, tensor: Tensor, node: Node) -> Tensor:
        self.nodes[id(tensor)] = node
        self.held.append(tensor)
        return tensor

    # Nodes

    def node(self, kind: str, target: Any, args: tuple[Any, ...], name: str) -> Node:
        made = self.graph.create_node(kind, target, args, name=name)
        made.meta["scope"], made.meta["line"] = self.scopes[-1], _line_now()
        return made

    def name_of(self, candidate: str) -> str:
        """Return a node's name: inside a module without layers it begins with that module's."""
        return f"{self._small[-1]}_{candidate}" if self._small[-1] else candidate

    def _operand(self, value: Any) -> Any:
        """Return what stands for a value in a node's arguments."""
        if isinstance(value, Tensor):
            return self._tensor_node(value)
        if isinstance(value, Size):
            return self._size_node(value)
        if isinstance(value, (tuple, list)):
            return tuple(self._operand(item) for item in value)
        if isinstance(value, slice):
            return slice(*(self._operand(part) for part in (value.start, value.stop, value.step)))
        if value is None or value is ... or isinstance(value, (bool, int, float)):
            return value
        if isinstance(value, str) and value in ENUMS:
            return value
        raise StageError(f"an argument is {value!r:.40}, which no checkpoint can hold", "arch")

    def _size_node(self, size: Size) -> Any:
        if size.operation is None:
            return plain(size)
        args = tuple(self._operand(part) for part in size.parts)
        function = function_of(size.operation)
        return self.node("call_function", function, args, OPERATIONS[size.operation].name)

    def _tensor_node(self, tensor: Tensor) -> Node:
        if id(tensor) in self.stale:
            raise StageError(
                f"{self.stale[id(tensor)]} changes a tensor in place that is read through another view; use the plain"
                " operation, which makes a new tensor",
                "arch",
            )
        if id(tensor) in self.nodes:
            return self.nodes[id(tensor)]
        name = self.names.get(id(tensor)) or self.constants.get(id(tensor))
        if name is None:
            if tensor.is_meta:
                raise StageError(
                    "a tensor was computed by what coc cannot follow (a custom autograd function, a scripted function,"
                    " numpy); write it with plain torch functions",
                    "arch",
                )
            name = self.constants[id(tensor)] = f"{CONSTANT}{len(self.constants)}"
        self.traced.tensors[name] = tensor
        path = f"{self.prefix}{name}"
        node = self.node("get_attr", path, (), path.replace(".", "_"))
        self._held(tensor, node)
        return node

    # Calls of functions

    def __torch_function__(  # noqa: PLR0911  (one way out for each kind of call)
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        word = spelling(func)
        if self.quiet:
            return func(*args, **kwargs)
        if word == "device":
            return torch.device("cpu")  # where constants are made
        if word in ("shape", "size", "numel", "nelement"):
            return self._size(word, *args, **kwargs)
        tensors = list(_tensors_in((args, kwargs)))
        if word in REFUSED and (tensors or not REFUSED[word][1]):
            raise StageError(f"{_shown(word)} {REFUSED[word][0]}", "arch")
        if word == "__iter__":
            return iter(self.__torch_function__(torch.Tensor.unbind, types, args, kwargs))
        if self._is_constant(tensors, (args, kwargs)):
            return self._constant(func, word, args, kwargs)
        if word == "linear" and id(_linear_operands(*args, **kwargs)[1]) not in self.names:
            return self._product(*_linear_operands(*args, **kwargs))
        if word in CONVERSIONS and (made := CONVERSIONS[word](*args, **kwargs)) is not None:
            return self._converted(made, word)
        return self._noted(func, word, args, kwargs)

    def _product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Note a linear function whose weights are computed: no layer, a product of two tensors."""
        turned = self.__torch_function__(Tensor.transpose, (), (weight, -2, -1))
        product: Tensor = self.__torch_function__(torch.matmul, (), (x, turned))
        return product if bias is None else self.__torch_function__(Tensor.add, (), (product, bias))

    def _is_constant(self, tensors: list[Tensor], inputs: Any) -> bool:
        """Return whether a call depends neither on the input nor on a parameter."""
        known = (id(tensor) in self.nodes or id(tensor) in self.names or tensor.is_meta for tensor in tensors)
        return not any(known) and not (tensors and any(_sizes_in(inputs)))

    def _constant(self, func: Any, word: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        is_real = kwargs.get("dtype") in (None, torch.float32)
        if word in ("zeros", "ones", "full") and is_real and any(_sizes_in((args, kwargs))):
            fill = {"zeros": 0.0, "ones": 1.0}.get(word)
            size = kwargs.get("size", args[0] if args and isinstance(args[0], (tuple, list)) else None)
            shape = size or tuple(args if fill is not None else args[:1])
            value = fill if fill is not None else kwargs.get("fill_value", args[-1])
            return self._filled(self.input, shape, value)
        with torch.device("cpu"):  # its values are needed
            return func(*_plain(args), **_plain(kwargs))

    def _filled(self, like: Node, shape: Any, value: float) -> Tensor:
        function = function_of("filled")
        operands = (like, self._operand(tuple(shape)), value)
        node = self.node("call_function", function, operands, self.name_of("filled"))
        return self._held(torch.empty(_plain(tuple(shape)), device="meta"), node)

    def _size(self, word: str, tensor: Tensor, dim: int | None = None) -> Any:
        counted = torch.Size(_shape(tensor))
        if id(tensor) not in self.nodes and id(tensor) not in self.names:
            return counted.numel() if word in ("numel", "nelement") else counted if dim is None else counted[dim]
        if word in ("numel", "nelement"):
            return Size(counted.numel(), "numel", (tensor,), self._reserve)
        self._reserve("size" if word == "size" else "getattr_1")
        sizes = [Size(n, "size", (tensor, at), self._reserve) for at, n in enumerate(counted)]
        return Shape(sizes, self._reserve) if dim is None else sizes[dim]

    def _reserve(self, name: str) -> None:
        """Pass over the name that format 1 gave to a node for a size, so that the tensors behind are named as then."""
        self.graph._graph_namespace.create_name(name, None)  # noqa: SLF001

    def _noted(self, func: Any, word: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        is_bare_squeeze = word in ("squeeze", "squeeze_") and len(args) + len(kwargs) == 1
        inputs = (*args, self._dimensions_of_one(args[0])) if is_bare_squeeze else args
        operation, meant, named = meaning(word, inputs, kwargs, lambda tensor: self._size("shape", tensor))
        if operation is None:
            return self._result(func, word, args, kwargs)
        try:
            bound = operation.bound(meant, {key: value for key, value in named.items() if key not in _IGNORED})
        except TypeError as error:
            raise StageError(
                f"{_shown(word)} is called with arguments that coc does not know: {error}", "arch"
            ) from error
        changes = in_place(word) or kwargs.get("inplace") is True
        metas = _plain(self._meta(bound))
        self.quiet = True
        try:
            result = function_of(operation.name)(*metas)
            is_own = changes or word in CASTS or is_bare_squeeze  # not what torch's function would give here
            shown = result if is_own else func(*self._meta(_plain(args)), **self._meta(_plain(kwargs)))
            if changes and _shape(args[0]) != _shape(result):
                getattr(args[0], word)(*metas[1:])
        finally:
            self.quiet = False
        operands = self._operand(bound)
        node = self.node("call_function", function_of(operation.name), operands, self.name_of(node_name(word)))
        if changes:
            self._changed(args[0], word)
            return self._held(args[0], node)
        return self._outputs(shown, node, args)

    def _outputs(self, result: Any, node: Node, args: Any) -> Any:
        if isinstance(result, Tensor):
            is_input = any(result is tensor for tensor in _tensors_in(args))
            return self._held(result.detach() if is_input else result, node)
        for index, part in enumerate(result):
            element = self.node("call_function", function_of("getitem"), (node, index), self.name_of("getitem"))
            self._held(part, element)
        return result

    def _result(self, func: Any, word: str, args: Any, kwargs: Any) -> Any:
        """Return what a function that is not listed gives, if it is no tensor."""
        self.quiet = True
        try:
            result = func(*self._meta(_plain(args)), **self._meta(_plain(kwargs)))
        finally:
            self.quiet = False
        if any(True for _ in _tensors_in(result)):
            raise StageError(
                f"calls {_shown(word)}, which is not among the operations that coc knows; write it with those of"
                " docs/models.md",
                "arch",
            )
        return result

    def _dimensions_of_one(self, tensor: Tensor) -> tuple[int, ...]:
        """Return the dimensions that a plain squeeze takes away; a batch of one image keeps its own."""
        if self.is_first:
            self.squeezed.append(tuple(at for at, size in enumerate(_shape(tensor)) if size == 1))
            return self.squeezed[-1]
        return self.squeezed.pop(0) if self.squeezed else ()

    def _changed(self, tensor: Tensor, word: str) -> None:
        """Note that a tensor was changed in place: what shares its memory must not be read any more."""
        memory = _memory(tensor)
        for other in self.held:
            if other is not tensor and _memory(other) == memory:
                self.stale[id(other)] = _shown(word)
        self.stale.pop(id(tensor), None)

    def _meta(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value if value.is_meta else value.to("meta")
        if isinstance(value, (tuple, list)):
            return tuple(self._meta(item) for item in value)
        if isinstance(value, dict):
            return {key: self._meta(item) for key, item in value.items()}
        return value

    # Calls of modules

    def call(self, module: nn.Module, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note the call of a module, or run it and note what it calls."""
        path = self.paths.get(id(module))
        if self.quiet:
            return run(module, *args, **kwargs)
        if path is None:
            own = module._parameters.values()  # noqa: SLF001
            if any(weight is not None and id(weight) not in self.names for weight in own):
                raise StageError(
                    f"runs a {type(module).__name__} that is no module of the network; make it in __init__, and keep"
                    " it as an attribute or in an nn.ModuleList, not in a plain list",
                    "arch",
                )
            return run(module, *args, **kwargs)
        kind = kind_of(module)
        if kind is not None:
            return self._hooked(module, kind, path, run)(*args, **kwargs)
        if (depth := _STOCHASTIC_DEPTH.get(type(module).__name__)) is not None:
            return self._skipping(module, depth(module), path, args)
        is_small = not isinstance(module, nn.Sequential) and not any(isinstance(m, WEIGHTED) for m in module.modules())
        full = f"{self.prefix}{path}".rstrip(".")
        self.scopes.append(full)
        outer = self._small[-1]
        self._small.append(outer or (full.replace(".", "_") if is_small else ""))
        begun = len(self.graph.nodes)
        result = run(module, *args, **kwargs)
        self.scopes.pop()  # left where it is by an error, which is said to be there
        self._small.pop()
        node = self.nodes.get(id(result)) if is_small and not outer else None
        if node is not None and node in list(self.graph.nodes)[begun:]:
            node._rename(full.replace(".", "_"))  # noqa: SLF001  (as when such modules were nodes of their own)
        return result

    def _hooked(self, module: nn.Module, kind: str, path: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return what notes a call: with the module's hooks around it, if it has some."""

        def noted(*args: Any, **kwargs: Any) -> Tensor:
            return self._called(module, kind, path, args, kwargs)

        if not module._forward_hooks and not module._forward_pre_hooks:  # noqa: SLF001
            return noted

        def inside(*args: Any, **kwargs: Any) -> Any:
            module.forward = noted  # type: ignore[method-assign]
            try:
                return run(module, *args, **kwargs)
            finally:
                del module.forward

        return inside

    def _called(self, module: nn.Module, kind: str, path: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        inputs = (*args, *kwargs.values())
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            raise StageError(f"calls {kind} '{path}' with more than one tensor; call it with its input alone", "arch")
        if isinstance(module, WEIGHTED):
            if path in self.called:
                raise StageError(f"layer '{path}' runs twice in one pass; give each run a layer of its own", "arch")
            self.called.add(path)
        self._check_own(path, kind, module)
        operand = self._operand(inputs[0])
        self.quiet = True
        averages = getattr(module, "momentum", 0) is None  # a norm that counts its batches, which have no values here
        try:
            result = type(module).forward(module.train(module.training and not averages), self._meta(inputs[0]))
        finally:
            self.quiet = False
        if not isinstance(result, Tensor):
            raise StageError(f"{kind} '{path}' gives more than one tensor; leave its indices out", "arch")
        target = f"{self.prefix}{path}"
        node = self.node("call_module", target, (operand,), target.replace(".", "_"))
        self.traced.modules[path] = (kind, arguments_of(module, kind))
        if getattr(module, "inplace", False):
            self._changed(inputs[0], kind)
            return self._held(inputs[0], node)
        return self._outputs(result, node, inputs)  # type: ignore[no-any-return]

    def _check_own(self, path: str, kind: str, module: nn.Module) -> None:
        """Raise `StageError` if a module's weights are another's too, or if it does not follow the network's mode."""
        _check_inside(path, kind)
        for weight in module._parameters.values():  # noqa: SLF001
            other = path if weight is None else self.users.setdefault(id(weight), path)
            if other != path:
                raise StageError(
                    f"layer '{path}' shares its weights with '{other}'; give it weights of its own", "arch"
                )
        if kind.startswith("BatchNorm") and module.training != self.training:
            raise StageError(
                f"{kind} '{path}' keeps to evaluation while the network trains, which coc does not; let train() set the"
                " mode of all modules, or put a fixed scale and shift in its place",
                "arch",
            )

    def _skipping(self, module: nn.Module, settings: tuple[float, str], path: str, args: tuple[Any, ...]) -> Tensor:
        name = f"{self.prefix}{path}".replace(".", "_")
        operands = (self._operand(args[0]), *settings, module.training)
        node = self.node("call_function", function_of("stochastic_depth"), operands, name)
        return self._held(args[0].detach(), node)

    def _converted(self, made: Conversion, word: str) -> Tensor:
        """Note a function that is called with a layer's own weights as that layer."""
        names = {key: self.names.get(id(tensor)) for key, tensor in made.tensors.items()}
        if None in names.values():
            raise StageError(
                f"calls {_shown(word)} with weights that it computes; make it a layer, a torch.nn module with plain"
                " weights or with a parametrization (torch.nn.utils.parametrize)",
                "arch",
            )
        owner, _, attribute = str(names["weight"]).rpartition(".")
        is_layer = attribute == "weight" and self._is_owned(made, owner)
        _check_inside(owner if is_layer else attribute, made.kind)
        path = owner if is_layer else ".".join(filter(None, (owner, f"{attribute}_{made.kind.lower()}")))
        if path in self.called:
            raise StageError(f"layer '{path}' runs twice in one pass; give each run a layer of its own", "arch")
        self.called.add(path)
        self.quiet = True
        try:
            result = made.run(self._meta(made.x))
        finally:
            self.quiet = False
        self.traced.modules[path] = (made.kind, _plain(made.arguments))
        self.traced.sources.update({f"{path}.{key}": str(name) for key, name in names.items()})
        target = f"{self.prefix}{path}"
        node = self.node("call_module", target, (self._operand(made.x),), self.name_of(target.replace(".", "_")))
        return self._outputs(result, node, (made.x,))  # type: ignore[no-any-return]

    def _is_owned(self, made: Conversion, owner: str) -> bool:
        """Return whether the module at that path is of the layer's own class, so that the layer may stand there."""
        return isinstance(self.owners.get(owner), getattr(nn, made.kind))


_IGNORED = frozenset(
    (
        "inplace",
        "dtype",
        "device",
        "memory_format",
        "requires_grad",
        "_stacklevel",
        "return_indices",
        "non_blocking",
        "out",
    )
)
_STOCHASTIC_DEPTH: dict[str, Callable[[Any], tuple[float, str]]] = {
    "StochasticDepth": lambda module: (float(module.p), str(module.mode)),  # torchvision's
    "DropPath": lambda module: (float(module.drop_prob or 0.0), "row"),  # timm's, and many by hand
}


def _linear_operands(
    input: Tensor,  # noqa: A002  (torch's name)
    weight: Tensor,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    return input, weight, bias


def _shown(word: str) -> str:
    return word.strip("_")


def _shape(tensor: Tensor) -> tuple[int, ...]:
    with torch._C.DisableTorchFunction():  # noqa: SLF001
        return tuple(tensor.shape)


def _memory(tensor: Tensor) -> int:
    with torch._C.DisableTorchFunction():  # noqa: SLF001
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def held_tensors(root: nn.Module) -> dict[str, Tensor]:
    """Return every parameter, buffer and plain tensor that a module holds, by path."""
    found: dict[str, Tensor] = {}
    for path, module in root.named_modules():
        held = {**module._parameters, **module._buffers, **vars(module)}  # noqa: SLF001
        tensors = {name: value for name, value in held.items() if isinstance(value, Tensor)}
        found.update({plain_path(f"{path}.{name}".lstrip(".")): value for name, value in tensors.items()})
    return found


def _tensors_in(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors_in(item)
    elif isinstance(value, dict):
        yield from _tensors_in(tuple(value.values()))


def _sizes_in(value: Any) -> Iterator[Size]:
    if isinstance(value, Size):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _sizes_in(item)
    elif isinstance(value, dict):
        yield from _sizes_in(tuple(value.values()))


def _plain(value: Any) -> Any:
    """Return a value with plain numbers in place of sizes."""
    if isinstance(value, Size):
        return plain(value)
    if isinstance(value, (tuple, list)):
        return tuple(_plain(item) for item in value)
    if isinstance(value, slice):
        return slice(*(_plain(part) for part in (value.start, value.stop, value.step)))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _unscripted(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs a scripted function by the Python that it was made of, where that is known."""

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        written = getattr(function, "_torchdynamo_inline", None)
        return run(function, *args, **kwargs) if written is None else written(*args, **kwargs)

    return call


@contextmanager
def _calls_go_to(recorder: _Recorder) -> Iterator[Callable[..., Any]]:
    """Let calls of modules go to a recorder; give what runs a module as torch does."""
    run = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return recorder.call(module, run, args, kwargs)

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    scripted = torch.jit.ScriptFunction.__call__
    nn.Module.__call__ = call  # type: ignore[method-assign]
    torch.jit.ScriptFunction.__call__ = _unscripted(scripted)  # type: ignore[method-assign]
    try:
        with torch.no_grad(), recorder:
            yield run
    finally:
        nn.Module.__call__ = run  # type: ignore[method-assign]
        torch.jit.ScriptFunction.__call__ = scripted  # type: ignore[method-assign]
        torch.backends.mha.set_fastpath_enabled(fast)


def _without_values(root: nn.Module) -> nn.Module:
    """Return a copy whose parameters and buffers lie on the meta device; other tensors keep their values."""
    memo: dict[int, Any] = {}
    for module in root.modules():
        for value in module._parameters.values():  # noqa: SLF001
            if value is not None:
                memo[id(value)] = nn.Parameter(value.detach().to("meta"), requires_grad=value.requires_grad)
        for buffer in module._buffers.values():  # noqa: SLF001
            if buffer is not None:
                memo[id(buffer)] = buffer.detach().to("meta")
    return copy.deepcopy(root, memo)


def _run(
    root: nn.Module,
    shape: tuple[int, ...],
    prefix: str,
    batch: int,
    *,
    training: bool,
    squeezed: list[tuple[int, ...]] | None = None,
) -> tuple[Traced, list[tuple[int, ...]]]:
    """Return a trace, and the dimensions of each plain squeeze in it; those of another trace are used if given."""
    copied = _without_values(root).train(training)
    recorder = _Recorder(copied, prefix, squeezed, training=training)
    recorder.scopes = [prefix.rstrip(".")]
    x, before = recorder.start(shape, batch), drawn()
    try:
        with _calls_go_to(recorder) as run:
            result = run(copied, x)
    except Exception as error:
        raise _fault(error, recorder.scopes[-1].removeprefix(prefix), shape) from error
    if drawn() != before:
        raise TraceError(
            f"cannot be traced: draws random numbers of Python or numpy in forward; {INSTEAD}", _head(root)
        )
    if not isinstance(result, Tensor):
        when = " in training" if training else ""  # for evaluation comes first
        raise TraceError(f"gives a {type(result).__name__}{when}, not one tensor; {ONE_TENSOR}", _head(root))
    recorder.graph.output(recorder._tensor_node(result))  # noqa: SLF001
    recorder.traced.shape = tuple(result.shape)
    erase_unused(recorder.graph)
    return recorder.traced, recorder.squeezed


def _check_inside(path: str, kind: str) -> None:
    """Raise `StageError` if a network is a layer itself."""
    if not path:
        raise StageError(f"the network is a {kind} itself; put it into another module, as in nn.Sequential", "arch")


def _check_read_once(traced: Traced) -> None:
    """Raise `StageError` if a network reads a layer's weights beside running the layer."""
    made = {old: new.rpartition(".")[0] for new, old in traced.sources.items()}
    for node in traced.graph.nodes:
        name = str(node.target).removeprefix(traced.prefix)
        owner = name.rpartition(".")[0]
        layer = owner if owner in traced.modules else made.get(name)
        if node.op == "get_attr" and layer:
            what = f"reads the weights of layer '{layer}' beside running it; give it weights of its own"
            raise TraceError(f"cannot be traced: {what}", node.meta.get("line"))


def drawn() -> object:
    """Return what changes when random numbers of Python's or numpy's are drawn, or torch's on a CPU."""
    _, keys, place, *_ = np.random.get_state(legacy=True)  # noqa: NPY002  (that is what networks draw from)
    with torch._C.DisableTorchFunction():  # noqa: SLF001
        return random.getstate(), np.asarray(keys).tobytes(), place, torch.get_rng_state().numpy().tobytes()


def _head(root: nn.Module) -> Line | None:
    """Return where a network's forward begins."""
    code = getattr(type(root).forward, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else None


def _check_takes_images(root: nn.Module) -> None:
    """Raise `StageError` if a network's forward needs more than images."""
    try:
        parameters = inspect.signature(root.forward).parameters.values()
    except (TypeError, ValueError):
        return
    words = [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if more := ", ".join(words[1:]):
        what = f"its forward needs {more} beside the images; give these a default, or make them in forward"
        raise TraceError(f"cannot be traced: {what}", _head(root))


def _line_now() -> Line | None:
    """Return the line that runs now, of code that is neither torch's nor coc's."""
    frame = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back  # type: ignore[assignment]
    return (frame.f_code.co_filename, frame.f_lineno) if frame else None


_OURS = (f"{Path(torch.__file__).parent}/", f"{Path(__file__).parents[1]}/")


def _fault(error: Exception, scope: str, shape: tuple[int, ...]) -> StageError:
    """Return what is wrong in one line: the module, what it does, and where that stands."""
    inside = scope.removeprefix("backbone").lstrip(".") or "the network's forward"
    where = _line_of(error)
    if isinstance(error, StageError):
        return StageError(f"cannot be traced: in {inside}: {error.what}{where}", "arch")
    first = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, (RuntimeError, ValueError, AssertionError)):
        size = "x".join(map(str, shape))
        return StageError(
            f"cannot run on images of {size}: in {inside}: {first or 'an assertion fails'}{where}", "arch"
        )
    return StageError(f"cannot be traced: in {inside}: {type(error).__name__}: {first}{where}", "arch")


def _line_of(error: BaseException) -> str:
    """Return, in brackets, the last line of code on an error's traceback that is neither torch's nor coc's."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_OURS)]
    library = [frame for frame in frames if "/site-packages/" in frame.filename]
    if not library or library[-1] is not frames[-1]:
        return ""  # the user's own file, which is named in front
    return f" ({library[-1].filename.partition('/site-packages/')[2]}:{library[-1].lineno})"


def trace(root: nn.Module, shape: tuple[int, ...], prefix: str = "") -> Traced:
    """Return what a network does to images of a shape [C, H, W], in training and in evaluation.

    Names of modules and tensors in the graph begin with `prefix`. Raises `StageError` naming module, file and line of
    what cannot be traced, runs otherwise in training than in evaluation, or depends on the number of images.
    """
    _check_takes_images(root)
    evaluation, squeezed = _run(root, shape, prefix, BATCHES[0], training=False)
    training, _ = _run(root, shape, prefix, BATCHES[0], training=True)
    other, _ = _run(root, shape, prefix, BATCHES[1], training=False, squeezed=squeezed)
    _check_read_once(evaluation)
    return merged(training, evaluation, same_for_all_batches(evaluation, other, BATCHES))
