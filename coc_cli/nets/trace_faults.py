"""What is wrong with a network that cannot be traced: the module, what it does, and the file and line."""

from __future__ import annotations

import inspect
import sys
import traceback
from pathlib import Path

import torch
from torch import nn

from coc_cli.errors import StageError, first_line
from coc_cli.nets.trace_comparison import Line, Traced, TraceError


def check_inside(path: str, kind: str) -> None:
    """Raise `StageError` if a network is a layer itself."""
    if not path:
        raise StageError(f"the network is a {kind} itself; put it into another module, as in nn.Sequential", "arch")


def check_read_once(traced: Traced) -> None:
    """Raise `StageError` if a network reads a layer's weights beside running the layer."""
    made = {old: new.rpartition(".")[0] for new, old in traced.sources.items()}
    for node in traced.graph.nodes:
        name = str(node.target).removeprefix(traced.prefix)
        owner = name.rpartition(".")[0]
        layer = owner if owner in traced.modules else made.get(name)
        if node.op == "get_attr" and layer:
            what = f"reads the weights of layer '{layer}' beside running it; give it weights of its own"
            raise TraceError(f"cannot be traced: {what}", node.meta.get("line"))


def head_of(root: nn.Module) -> Line | None:
    """Return where a network's forward begins."""
    code = getattr(type(root).forward, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else None


def check_takes_images(root: nn.Module) -> None:
    """Raise `StageError` if a network's forward needs more than images."""
    try:
        parameters = inspect.signature(root.forward).parameters.values()
    except (TypeError, ValueError):
        return
    words = [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if more := ", ".join(words[1:]):
        what = f"its forward needs {more} beside the images; give these a default, or make them in forward"
        raise TraceError(f"cannot be traced: {what}", head_of(root))


def line_now() -> Line | None:
    """Return the line that runs now, of code that is neither torch's nor coc's."""
    frame = sys._getframe(1)  # noqa: SLF001
    while frame is not None and frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back  # type: ignore[assignment]
    return (frame.f_code.co_filename, frame.f_lineno) if frame else None


_OURS = (f"{Path(torch.__file__).parent}/", f"{Path(__file__).parents[1]}/")


def fault_of(error: Exception, scope: str, shape: tuple[int, ...]) -> StageError:
    """Return what is wrong in one line: the module, what it does, and where that stands."""
    inside = scope.removeprefix("backbone").lstrip(".") or "the network's forward"
    where = _line_of(error)
    if isinstance(error, StageError):
        return StageError(f"cannot be traced: in {inside}: {error.what}{where}", "arch")
    first = first_line(error)
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
