"""What `coc plan` prints."""

from __future__ import annotations

from math import prod

from coc_cli.chain.measured_orders import departures
from coc_cli.chain.plan import Plan
from coc_cli.data.reading import most_bytes
from coc_cli.data.sources import source_of
from coc_cli.files.run_directory import CACHE, DATA
from coc_cli.printing.table import print_line, print_table, table_of
from coc_cli.recipe.device import absent_device
from coc_cli.recipe.reading import RecipeFile
from coc_cli.units import count, counted, duration


def print_plan(plan: Plan, file: RecipeFile, seconds: float | None) -> None:
    """Print what each stage will leave and carry over, what the images will take, and the seconds that it may take."""
    table = table_of(
        f"plan of {file.recipe.name}", "stage", "MACs", "BitOps", "ratio (strict)", "nominal", "params", "bytes"
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
    if file.info.images:
        print_line(_of_images(file))
    known = "not known yet" if seconds is None else f"about {duration(seconds)} here, from what ran on this machine"
    print_line(f"time: {known}")
    for step in plan.steps:
        for note in step.notes:
            print_line(f"{step.index} {step.name}: {note}")
    for warning in (*absent_device(file), *plan.warnings, *departures(plan, file)):
        print_line(f"warning: {warning}")


def _of_images(file: RecipeFile) -> str:
    """Return how much memory and disk the images will take, decoded to the shape that the plan has."""
    info, settings = file.info, file.recipe.data
    size = info.images * prod(info.shape)
    where = f"{count(size)}B in memory"
    if source_of(settings).is_decoded:
        is_mapped = size > most_bytes(settings)
        where = f"{where if not is_mapped else 'too large for memory'}, {count(size)}B in {CACHE / DATA}"
    return f"data: {counted(info.images, 'image')} of {'x'.join(map(str, info.shape))}, {where}"


def _range(low: float, high: float) -> str:
    return f"{low:.1f}x" if low == high else f"{low:.1f}x..{high:.1f}x"
