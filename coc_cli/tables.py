"""The tables that verbs print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from coc_cli.checkpoint import Header
from coc_cli.measure import cost
from coc_cli.plan import Plan
from coc_cli.recipe import Recipe


def count(value: float) -> str:
    """Give a number with three significant digits and a unit of a thousand: 2.61M."""
    for unit in ("", "k", "M", "G", "T"):
        if abs(value) < 999.5:  # noqa: PLR2004
            return f"{value:.3g}{unit}"
        value /= 1000
    return f"{value:.3g}P"


def shown(metric: str, value: float) -> str:
    """Give a metric's value as a reader wants it: accuracy in percent, an error in its own unit."""
    return f"{value:.2%}" if metric == "accuracy" else f"{value:.4g}"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _range(low: float, high: float) -> str:
    return f"{low:.1f}x" if low == high else f"{low:.1f}x..{high:.1f}x"


def _print(table: Table) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)


def print_plan(plan: Plan, recipe: Recipe) -> None:
    """Print what each stage will leave, and what it carries over."""
    table = _table(f"plan of {recipe.name}", "stage", "MACs", "BitOps", "ratio (strict)", "nominal", "params", "bytes")
    baseline = plan.steps[0].cost
    for step in plan.steps:
        table.add_row(
            f"{step.index} {step.name}",
            count(step.cost.macs),
            count(step.cost.bitops),
            ("" if plan.is_exact(step) else "~") + _range(*plan.bitops_ratio(step)),
            _range(step.cost.nominal_ratio(baseline), step.cost.cheapest().nominal_ratio(baseline)),
            count(step.cost.params),
            count(step.checkpoint_bytes),
        )
    _print(table)
    if not all(plan.is_exact(step) for step in plan.steps):
        print("~ the widths that pruning leaves depend on the weights; MACs are promised, BitOps and bytes estimated")
    for step in plan.steps:
        for note in step.notes:
            print(f"{step.index} {step.name}: {note}")
    for warning in plan.warnings:
        print(f"warning: {warning}")


def print_result(report: dict[str, Any], directory: Path) -> None:
    """Print the stages of a finished run, the limits, and where everything lies."""
    metric = report["metric"]
    title = f"{report['name']}: {metric} on {report['stages'][0]['n_test']} test images, 95 % interval"
    table = _table(title, "stage", metric, "95 %", "MACs", "BitOps", "ratio (strict)", "nominal", "bytes", "time")
    for stage in report["stages"]:
        low, high = stage["metric_ci95"]
        table.add_row(
            f"{stage['index']} {stage['name']}",
            shown(metric, stage["metric_value"]),
            f"{shown(metric, low)}..{shown(metric, high)}",
            count(stage["macs"]),
            count(stage["bitops"]),
            f"{stage['bitops_ratio']:.1f}x",
            f"{stage['bitops_ratio_nominal']:.1f}x",
            f"{count(stage['checkpoint_bytes'])} (1/{stage['bytes_ratio']:.1f})",
            f"{stage['seconds']:.0f} s",
        )
    _print(table)
    for exit_ in report["stages"][-1]["exits"]:
        here = "" if exit_["metric_value"] is None else f", {metric} there {shown(metric, exit_['metric_value'])}"
        print(f"exit {exit_['index']}: {exit_['share']:.1%} of the images leave{here}")
    for limit in report["limits"]:
        verdict = "met" if limit["ok"] else "MISSED"
        print(f"limit {limit['name']} {limit['limit']:g}: {limit['value']:.6g}, {verdict}")
    print(f"result: {directory / 'model.safetensors'}   report: {directory / 'report.json'}")


def print_header(header: Header, path: Path) -> None:
    """Print a checkpoint's spec and lineage, layer by layer."""
    spec, found = header.spec, cost(header.spec)
    arguments = ", ".join(f"{key} {value}" for key, value in spec.args.items())
    chain = " -> ".join(ancestor.stage for ancestor in header.lineage)
    print(f"{path}: {spec.arch} ({arguments}), input {'x'.join(map(str, spec.input_shape))}, {len(spec.labels)} labels")
    print(f"lineage: {chain}")
    size = path.stat().st_size
    print(f"{count(found.macs)} MACs, {count(found.bitops)} BitOps, {found.params} parameters, {size} bytes")
    for index, place in enumerate(spec.exits):
        print(f"exit {index}: {place.head} head behind {place.source}")
    if spec.rule is not None:
        print(
            f"leaves where {spec.rule.measure} passes {spec.rule.threshold:.4f}; the counts are those of the full path"
        )
    table = _table("layers", "layer", "weights", "MACs", "params", "weight bits", "activation bits", "BitOps")
    for layer in found.layers:
        bits = (str(layer.weight_bits), str(layer.activation_bits))
        shape = "x".join(map(str, layer.shape))
        table.add_row(layer.name, shape, count(layer.macs), str(layer.params), *bits, count(layer.bitops))
    _print(table)
