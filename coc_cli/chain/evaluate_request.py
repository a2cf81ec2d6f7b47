"""What `coc evaluate` is asked for, checked before any work. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coc_cli.errors import UserError, user_error
from coc_cli.files.run_directory import RECIPE
from coc_cli.nets.checkpoint_header import checkpoint_at, read_header
from coc_cli.recipe.device import torch_device
from coc_cli.recipe.reading import RecipeFile, read

RECIPES = (".yaml", ".yml")


@dataclass(frozen=True)
class EvaluateRequest:
    """What is to be done, checked."""

    name: str
    checkpoint: Path | None  # None: the network that the recipe starts from
    recipe: RecipeFile  # whose images it is evaluated on
    device: str


def prepare(
    target: Path,
    *,
    data: Path | None = None,
    overrides: tuple[str, ...] = (),
    device: str | None = None,
    trust_code: bool = False,
) -> EvaluateRequest:
    """Check a request; raises `UserError` before any work.

    Args:
        target: A recipe with a checkpoint, a run directory, or a checkpoint that coc wrote.
        data: The recipe whose images are used, if the target is none; by default the run's own.
        overrides: Texts of `--set` for the recipe.
        device: auto, cpu, cuda or cuda:N; by default the recipe's.
        trust_code: Whether code that a checkpoint names may run.
    """
    is_recipe = target.suffix in RECIPES and not target.is_dir()
    if is_recipe and data is not None:
        raise user_error("--data", f"{target} is a recipe and names its images itself; leave --data out")
    if is_recipe:
        recipe = read(target, overrides, trust_code=trust_code)
        if recipe.recipe.model.weights is None:
            what = "needs 'checkpoint', the weights to evaluate; coc compress trains a baseline that has none"
            raise UserError([recipe.fault(("model",), what)])
        return EvaluateRequest(str(target), None, recipe, torch_device(recipe, device))
    checkpoint = checkpoint_at(target)
    header = read_header(checkpoint, trust_code=trust_code)
    recipe_path = data or (target / RECIPE if target.is_dir() else None)
    if recipe_path is None:
        raise user_error(target, "is a checkpoint by itself; name a recipe with its images: --data RECIPE")
    recipe = read(recipe_path, overrides)
    recipe.check_fits(header.spec)
    return EvaluateRequest(str(target), checkpoint, recipe, torch_device(recipe, device))
