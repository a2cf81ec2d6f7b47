"""What `coc order` measured here on the same architecture and data, which plans cite. No torch here."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from coc_cli.chain.plan import Plan
from coc_cli.chain.speeds import data_hash
from coc_cli.files import budget
from coc_cli.files.checksum import is_whole
from coc_cli.files.opening import parse_json, read_text
from coc_cli.files.run_directory import ORDER, RUNS
from coc_cli.recipe.reading import RecipeFile
from coc_cli.report.schema.order import OrderReport


def departures(plan: Plan, file: RecipeFile) -> Iterator[str]:
    """Yield where a chain departs from a decided pair, with the file that says so."""
    names = [step.name for step in plan.steps[1:]]
    for path in sorted(RUNS.glob(f"*/{ORDER}")):
        try:
            content = parse_json(read_text(path, budget.JSON_BYTES))
            report = OrderReport.model_validate(content)
            is_right = is_whole(content)
        except (OSError, ValueError, ValidationError, RecursionError):
            continue
        if not is_right or (report.arch, report.data) != (plan.steps[0].spec.arch, data_hash(file)):
            continue
        for pair in report.pairs:
            if pair.edge is None or not set(pair.edge) <= set(names):
                continue
            early, late = pair.edge
            if names.index(late) < names.index(early):
                gain = f"{abs(pair.mean):.2g} {report.unit}"
                yield f"{late} before {early}, where {early} first scored {gain} more here ({path})"
