"""What `coc inspect` prints, and its figures as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from coc_cli.nets.checkpoint_header import Header
from coc_cli.nets.cost import cost
from coc_cli.nets.spec import Spec
from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.report.schema.inspect import AncestorEntry, CheckpointReport, PlaceEntry
from coc_cli.report.schema.run import LayerEntry
from coc_cli.units import count


def print_header(header: Header, path: Path) -> None:
    """Print a checkpoint's spec and lineage, layer by layer."""
    spec, total = header.spec, cost(header.spec)
    arguments = f" ({', '.join(f'{key} {value}' for key, value in spec.args.items())})" if spec.args else ""
    chain = " -> ".join(ancestor.stage for ancestor in header.lineage)
    shape = "x".join(map(str, spec.input_shape))
    print_line(f"{path}: {spec.arch}{arguments}, input {shape}, {len(spec.labels)} labels")
    print_line(f"lineage: {chain}")
    kept = f"checksum {header.sha256[:16]}" if header.sha256 else "no checksum"
    print_line(f"format {header.format}, {kept}")
    size = path.stat().st_size
    print_line(f"{count(total.macs)} MACs, {count(total.bitops)} BitOps, {total.params} parameters, {size} bytes")
    for index, place in enumerate(spec.exits):
        print_line(f"exit {index}: {place.head} head behind {place.source}")
    if spec.rule is not None:
        passed = ", ".join(f"{one:.4f}" for one in np.atleast_1d(spec.rule.threshold))
        print_line(f"leaves where {spec.rule.measure} passes {passed}; the counts are those of the full path")
    table = table_of("layers", "layer", "weights", "MACs", "params", "weight bits", "activation bits", "BitOps")
    for layer in total.layers:
        bits = (str(layer.weight_bits), str(layer.activation_bits))
        shape = "x".join(map(str, layer.shape))
        table.add_row(layer.name, shape, count(layer.macs), str(layer.params), *bits, count(layer.bitops))
    print_table(table)


def checkpoint_report(header: Header, path: Path) -> CheckpointReport:
    """Return what a checkpoint holds for a file."""
    spec, total = header.spec, cost(header.spec)
    return CheckpointReport(
        schema=1,
        path=str(path),
        format=header.format,
        sha256=header.sha256 or None,
        arch=spec.arch,
        args=spec.args,
        task=spec.task,
        input_shape=spec.input_shape,
        mean=list(spec.mean),
        std=list(spec.std),
        labels=list(spec.labels),
        lineage=[AncestorEntry(**ancestor.model_dump(mode="json")) for ancestor in header.lineage],
        macs=total.macs,
        bitops=total.bitops,
        params=total.params,
        checkpoint_bytes=path.stat().st_size,
        exits=[PlaceEntry(source=place.source, head=place.head) for place in spec.exits],
        measure=spec.rule.measure if spec.rule else None,
        threshold=_threshold(spec),
        layers=[LayerEntry(**asdict(layer), bitops=layer.bitops) for layer in total.layers],
    )


def _threshold(spec: Spec) -> float | list[float] | None:
    """Return the threshold of all exits, or that of each."""
    if spec.rule is None:
        return None
    return list(spec.rule.threshold) if isinstance(spec.rule.threshold, tuple) else spec.rule.threshold
