"""In which arithmetic each stage of a run trains: chosen when a run begins, and kept to when it goes on."""

from __future__ import annotations

from collections.abc import Callable
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


class Noted(Abilities):
    """What a run notes when it begins."""

    device: str  # its kind


def choose(
    directory: Path, file: RecipeFile, plan: Plan, images: int, device: str, say: Callable[[str], None], *, fresh: bool
) -> tuple[Arithmetic, ...]:
    """Return how each step of a plan trains: by what the machine can do, or could where the same run began.

    Args:
        directory: Of the run, where it is noted.
        file: The recipe; with another one it is another run.
        plan: Its steps.
        images: That are trained on.
        device: By torch's name.
        say: Told in one line if a run cannot keep to what it began with, or a compiler fails.
        fresh: Whether nothing is kept.
    """
    here, path = Abilities.of(device), directory / ABILITIES
    before = None if fresh else _noted(path, directory, file.recipe, device)
    if before is not None and _all(file, plan, images, before) != _all(file, plan, images, before.limited_to(here)):
        lacking = before.missing(here)
        say(f"warning: this run began with {lacking}, which this machine lacks; its stages are made anew without")
        before = None
    able = before or here
    chosen = _all(file, plan, images, able)
    if before is None and any(one.compiled for one in chosen) and (what := _compiler_fault(device)):
        say(f"warning: quantisers are not compiled, and training takes longer: {what}")
        able = Abilities(bfloat16=able.bfloat16, compiler=False)
        chosen = _all(file, plan, images, able)
    noted = Noted(device=device.partition(":")[0], bfloat16=able.bfloat16, compiler=able.compiler)
    write_atomically(path, noted.model_dump_json().encode())
    return chosen


def _compiler_fault(device: str) -> str:
    """Return why quantisers cannot be compiled here; empty if they can."""
    from coc_cli.nets.lsq import check_compiler

    return check_compiler(device)


def expected_arithmetics(file: RecipeFile, plan: Plan, images: int, device: str) -> tuple[Arithmetic, ...]:
    """Return how each step of a plan would train in a new run where compilers do not fail."""
    return _all(file, plan, images, Abilities.of(device))


def _all(file: RecipeFile, plan: Plan, images: int, able: Abilities) -> tuple[Arithmetic, ...]:
    """Return how each step of the plan trains, on so many images."""
    macs = [
        step.cost.macs * images * (training.epochs if training else 0)
        for step, training in zip(plan.steps, file.recipe.trainings, strict=True)
    ]
    return tuple(
        able.arithmetic(file.recipe.precision, work, quantised=bool(step.spec.edges))
        for step, work in zip(plan.steps, macs, strict=True)
    )


def _noted(path: Path, directory: Path, recipe: Recipe, device: str) -> Abilities | None:
    """Return what was noted when the same run began on a device of that kind; None if it did not."""
    try:
        if read_text(directory / RECIPE, budget.RECIPE_BYTES) != resolved(recipe, directory):
            return None
        noted = Noted.model_validate_json(read_text(path, budget.RECIPE_BYTES))
    except (OSError, ValueError, ValidationError):
        return None
    is_same = noted.device == device.partition(":")[0]
    return Abilities(bfloat16=noted.bfloat16, compiler=noted.compiler) if is_same else None
