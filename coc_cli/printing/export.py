"""What `coc export` and `coc run` print."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from coc_cli.printing.table import print_line
from coc_cli.units import count, counted

if TYPE_CHECKING:
    from coc_cli.runtime.export import Exported

SHOWN = 3  # reasons, or probabilities


def print_export(exported: Exported) -> None:
    """Print what an export holds, how far it agrees with the network, and what a user should know."""
    manifest = exported.manifest
    integer, runtime, agreement = manifest["integer"], manifest["runtime"], manifest["agreement"]
    files = ", ".join(f"{name} {count(about['bytes'])}B" for name, about in manifest["files"].items())
    print_line(f"exported to {exported.directory}: {files}; for {runtime['name']} {runtime['least']} or newer")
    print_line(f"{integer['layers']} of {integer['of']} layers run on integers")
    for reason, times in Counter(integer["not"].values()).most_common(SHOWN):
        print_line(f"  {counted(times, 'layer')} in floating point: {reason}")
    if agreement:
        exits = f", the same exit for {agreement['exits']:.2%}" if manifest["exits"] > 1 else ""
        print_line(
            f"the network's answer for {agreement['top1']:.2%} of {agreement['images']} validation images{exits}"
        )
    if agreement and "interpreted" in agreement:
        bits = f"{agreement['interpreter_equal']:.2%} of {agreement['interpreted']}"
        print_line(f"equal to the integer reference, bit for bit, for {bits}")
    for note in exported.notes:
        print_line(f"note: {note}")


def print_answers(answers: list[dict[str, Any]], *, as_json: bool, has_exits: bool) -> None:
    """Print what is said of each image: a line each, or JSON."""
    if as_json:
        print(json.dumps(answers, indent=1))
        return
    for answer in answers:
        if "values" in answer:
            what = ", ".join(f"{name} {value:.6g}" for name, value in answer["values"].items())
        else:
            what = f"{answer['label']}, probability {answer['confidence']:.1%}"
        what += f", exit {answer['exit']}" if has_exits else ""
        print_line(f"{answer['image']}: {what}, {1e3 * answer['seconds']:.3g} ms")
