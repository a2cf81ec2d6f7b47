"""In which arithmetic each stage of a run trains: chosen when a run begins, and kept to when it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import ValidationError

from coc_cli.chain.plan import Plan
from coc_cli.files import budget
from coc_cli.files.atomic import write_atomically
from coc_cli.files.opening import read_text
from coc_cli.files.run_directory import ABILITIES, RECIPE
from coc_cli.nets.arithmetic import Abilities, Arithmetic
from coc_cli.recipe.model import Recipe, resolved
from coc_cli.recipe.reading import RecipeFile


def abilities(directory: Path, recipe: Recipe, device: str, say: Callable[[str], None], *, fresh: bool) -> Abilities:
    """Return by what a run chooses: what the machine can do on a device, or could where the same run began.

    Args:
        directory: Of the run, where it is noted.
        recipe: With another one it is another run.
        device: By torch's name.
        say: Told in one line if a run cannot keep to what it began with.
        fresh: Whether nothing is kept.
    """
    here, path = Abilities.of(device), directory / ABILITIES
    before = None if fresh else _noted(path, directory, recipe)
    if before is not None and (lacking := before.missing(here)):
        say(f"warning: this run began with {lacking}, which this machine lacks; its stages are made anew without")
        before = None
    chosen = before or here
    write_atomically(path, chosen.model_dump_json().encode())
    return chosen


def _noted(path: Path, directory: Path, recipe: Recipe) -> Abilities | None:
    try:
        if read_text(directory / RECIPE, budget.RECIPE_BYTES) != resolved(recipe, directory):
            return None
        return Abilities.model_validate_json(read_text(path, budget.RECIPE_BYTES))
    except (OSError, ValueError, ValidationError):
        return None


def arithmetics(file: RecipeFile, plan: Plan, images: int, able: Abilities) -> Iterator[Arithmetic]:
    """Yield how each step of the plan trains, on so many images."""
    trainings = [file.recipe.model.train, *(link.stage for link in file.recipe.chain)]
    for step, training in zip(plan.steps, trainings, strict=True):
        macs = step.cost.macs * images * (training.epochs if training else 0)
        yield able.arithmetic(file.recipe.precision, macs, quantised=bool(step.spec.edges))
