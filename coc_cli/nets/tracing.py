"""Tracing: running a network once on tensors without values, and noting what it calls.

Every call of a torch function and of a torch.nn module is noted as a node over the lists in `operations.py` and
`module_kinds.py`; what is not listed is refused where it is called. Shapes are known, so comparisons of shapes, asserts
and loops run as they stand; sizes stay expressions of the tensors that they come from, so that pruned widths fit.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coc_cli.nets.recorder import Recorder
from coc_cli.nets.spellings import INSTEAD
from coc_cli.nets.trace_comparison import Traced, TraceError, erase_unused, merged, same_for_all_batches
from coc_cli.nets.trace_faults import check_read_once, check_takes_images, fault_of, head_of

BATCHES = (2, 1)  # numbers of images with which a network is traced; what differs depends on their number
ONE_TENSOR = "return the logits alone, as in a module around it with: return self.net(x)['out'], or [0] of a tuple"


def _unscripted(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return what runs a scripted function by the Python that it was made of, where that is known."""

    def call(function: Any, *args: Any, **kwargs: Any) -> Any:
        written = getattr(function, "_torchdynamo_inline", None)
        return run(function, *args, **kwargs) if written is None else written(*args, **kwargs)

    return call


@contextmanager
def _calls_go_to(recorder: Recorder) -> Iterator[Callable[..., Any]]:
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
    recorder = Recorder(copied, prefix, squeezed, training=training)
    recorder.scopes = [prefix.rstrip(".")]
    x, before = recorder.start(shape, batch), drawn()
    try:
        with _calls_go_to(recorder) as run:
            result = run(copied, x)
    except Exception as error:
        raise fault_of(error, recorder.scopes[-1].removeprefix(prefix), shape) from error
    if drawn() != before:
        raise TraceError(
            f"cannot be traced: draws random numbers of Python or numpy in forward; {INSTEAD}", head_of(root)
        )
    if not isinstance(result, Tensor):
        when = " in training" if training else ""  # for evaluation comes first
        raise TraceError(f"gives a {type(result).__name__}{when}, not one tensor; {ONE_TENSOR}", head_of(root))
    recorder.graph.output(recorder.tensor_node(result))
    erase_unused(recorder.graph)
    return recorder.traced, recorder.squeezed


def drawn() -> object:
    """Return what changes when random numbers of Python's or numpy's are drawn, or torch's on a CPU."""
    _, keys, place, *_ = np.random.get_state(legacy=True)  # noqa: NPY002  (that is what networks draw from)
    with torch._C.DisableTorchFunction():  # noqa: SLF001
        return random.getstate(), np.asarray(keys).tobytes(), place, torch.get_rng_state().numpy().tobytes()


def trace(root: nn.Module, shape: tuple[int, ...], prefix: str = "") -> Traced:
    """Return what a network does to images of a shape [C, H, W], in training and in evaluation.

    Names of modules and tensors in the graph begin with `prefix`. Raises `StageError` naming module, file and line of
    what cannot be traced, runs otherwise in training than in evaluation, or depends on the number of images.
    """
    check_takes_images(root)
    evaluation, squeezed = _run(root, shape, prefix, BATCHES[0], training=False)
    training, _ = _run(root, shape, prefix, BATCHES[0], training=True)
    other, _ = _run(root, shape, prefix, BATCHES[1], training=False, squeezed=squeezed)
    check_read_once(evaluation)
    return merged(training, evaluation, same_for_all_batches(evaluation, other, BATCHES))
