"""Noting what a network calls while it runs on tensors without values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.overrides import TorchFunctionMode

from coc_cli.errors import StageError
from coc_cli.nets.functional_layers import CONVERSIONS, Conversion
from coc_cli.nets.graph import WEIGHTED
from coc_cli.nets.meanings import CASTS, meaning
from coc_cli.nets.names import plain_path
from coc_cli.nets.operations import ENUMS, OPERATIONS
from coc_cli.nets.plain_modules import arguments_of, kind_of
from coc_cli.nets.running import function_of
from coc_cli.nets.sizes import Shape, Size, plain
from coc_cli.nets.spellings import REFUSED, in_place, node_name, spelling
from coc_cli.nets.trace_comparison import Traced
from coc_cli.nets.trace_faults import check_inside, line_now
from coc_cli.nets.traced_graph import INPUT
from coc_cli.nets.traced_values import held_tensors, memory_of, on_meta, shape_of, sizes_in, tensors_in, without_sizes

CONSTANT = "_constant_"


class Recorder(TorchFunctionMode):
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

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        """Let calls run without being noted."""
        self.quiet = True
        try:
            yield
        finally:
            self.quiet = False

    # Nodes

    def node(self, kind: str, target: Any, args: tuple[Any, ...], name: str) -> Node:
        made = self.graph.create_node(kind, target, args, name=name)
        made.meta["scope"], made.meta["line"] = self.scopes[-1], line_now()
        return made

    def name_of(self, candidate: str) -> str:
        """Return a node's name: inside a module without layers it begins with that module's."""
        return f"{self._small[-1]}_{candidate}" if self._small[-1] else candidate

    def _operand(self, value: Any) -> Any:
        """Return what stands for a value in a node's arguments."""
        if isinstance(value, Tensor):
            return self.tensor_node(value)
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

    def tensor_node(self, tensor: Tensor) -> Node:
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
        tensors = list(tensors_in((args, kwargs)))
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
        return not any(known) and not (tensors and any(sizes_in(inputs)))

    def _constant(self, func: Any, word: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        is_real = kwargs.get("dtype") in (None, torch.float32)
        if word in ("zeros", "ones", "full") and is_real and any(sizes_in((args, kwargs))):
            fill = {"zeros": 0.0, "ones": 1.0}.get(word)
            size = kwargs.get("size", args[0] if args and isinstance(args[0], (tuple, list)) else None)
            shape = size or tuple(args if fill is not None else args[:1])
            value = fill if fill is not None else kwargs.get("fill_value", args[-1])
            return self._filled(self.input, shape, value)
        with torch.device("cpu"):  # its values are needed
            return func(*without_sizes(args), **without_sizes(kwargs))

    def _filled(self, like: Node, shape: Any, value: float) -> Tensor:
        function = function_of("filled")
        operands = (like, self._operand(tuple(shape)), value)
        node = self.node("call_function", function, operands, self.name_of("filled"))
        return self._held(torch.empty(without_sizes(tuple(shape)), device="meta"), node)

    def _size(self, word: str, tensor: Tensor, dim: int | None = None) -> Any:
        counted = torch.Size(shape_of(tensor))
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
        metas = without_sizes(on_meta(bound))
        with self._quietly():
            result = function_of(operation.name)(*metas)
            is_own = changes or word in CASTS or is_bare_squeeze  # not what torch's function would give here
            shown = result if is_own else func(*on_meta(without_sizes(args)), **on_meta(without_sizes(kwargs)))
            if changes and shape_of(args[0]) != shape_of(result):
                getattr(args[0], word)(*metas[1:])
        operands = self._operand(bound)
        node = self.node("call_function", function_of(operation.name), operands, self.name_of(node_name(word)))
        if changes:
            self._changed(args[0], word)
            return self._held(args[0], node)
        return self._outputs(shown, node, args)

    def _outputs(self, result: Any, node: Node, args: Any) -> Any:
        if isinstance(result, Tensor):
            is_input = any(result is tensor for tensor in tensors_in(args))
            return self._held(result.detach() if is_input else result, node)
        for index, part in enumerate(result):
            element = self.node("call_function", function_of("getitem"), (node, index), self.name_of("getitem"))
            self._held(part, element)
        return result

    def _result(self, func: Any, word: str, args: Any, kwargs: Any) -> Any:
        """Return what a function that is not listed gives, if it is no tensor."""
        with self._quietly():
            result = func(*on_meta(without_sizes(args)), **on_meta(without_sizes(kwargs)))
        if any(True for _ in tensors_in(result)):
            raise StageError(
                f"calls {_shown(word)}, which is not among the operations that coc knows; write it with those of"
                " docs/models.md",
                "arch",
            )
        return result

    def _dimensions_of_one(self, tensor: Tensor) -> tuple[int, ...]:
        """Return the dimensions that a plain squeeze takes away; a batch of one image keeps its own."""
        if self.is_first:
            self.squeezed.append(tuple(at for at, size in enumerate(shape_of(tensor)) if size == 1))
            return self.squeezed[-1]
        return self.squeezed.pop(0) if self.squeezed else ()

    def _changed(self, tensor: Tensor, word: str) -> None:
        """Note that a tensor was changed in place: what shares its memory must not be read any more."""
        memory = memory_of(tensor)
        for other in self.held:
            if other is not tensor and memory_of(other) == memory:
                self.stale[id(other)] = _shown(word)
        self.stale.pop(id(tensor), None)

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
            self._claim(path)
        self._check_own(path, kind, module)
        operand = self._operand(inputs[0])
        averages = getattr(module, "momentum", 0) is None  # a norm that counts its batches, which have no values here
        with self._quietly():
            result = type(module).forward(module.train(module.training and not averages), on_meta(inputs[0]))
        if not isinstance(result, Tensor):
            raise StageError(f"{kind} '{path}' gives more than one tensor; leave its indices out", "arch")
        target = f"{self.prefix}{path}"
        node = self.node("call_module", target, (operand,), target.replace(".", "_"))
        self.traced.modules[path] = (kind, arguments_of(module, kind))
        if getattr(module, "inplace", False):
            self._changed(inputs[0], kind)
            return self._held(inputs[0], node)
        return self._outputs(result, node, inputs)  # type: ignore[no-any-return]

    def _claim(self, path: str) -> None:
        """Note that a layer runs; raises `StageError` if it has run before."""
        if path in self.called:
            raise StageError(f"layer '{path}' runs twice in one pass; give each run a layer of its own", "arch")
        self.called.add(path)

    def _check_own(self, path: str, kind: str, module: nn.Module) -> None:
        """Raise `StageError` if a module's weights are another's too, or if it does not follow the network's mode."""
        check_inside(path, kind)
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
        check_inside(owner if is_layer else attribute, made.kind)
        path = owner if is_layer else ".".join(filter(None, (owner, f"{attribute}_{made.kind.lower()}")))
        self._claim(path)
        with self._quietly():
            result = made.run(on_meta(made.x))
        self.traced.modules[path] = (made.kind, without_sizes(made.arguments))
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
