"""What `coc plan` prints."""

from __future__ import annotations

from coc_cli.chain.plan import Plan
from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.recipe.model import Recipe
from coc_cli.units import count


def print_plan(plan: Plan, recipe: Recipe) -> None:
    """Print what each stage will leave, and what it carries over."""
    table = table_of(
        f"plan of {recipe.name}", "stage", "MACs", "BitOps", "ratio (strict)", "nominal", "params", "bytes"
    )
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
    print_table(table)
    if not all(plan.is_exact(step) for step in plan.steps):
        print_line(
            "~ the widths that pruning leaves depend on the weights; MACs are promised, BitOps and bytes estimated"
        )
    for step in plan.steps:
        for note in step.notes:
            print_line(f"{step.index} {step.name}: {note}")
    for warning in plan.warnings:
        print_line(f"warning: {warning}")


def _range(low: float, high: float) -> str:
    return f"{low:.1f}x" if low == high else f"{low:.1f}x..{high:.1f}x"
