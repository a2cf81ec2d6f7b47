"""`coc compress`: from a recipe to a finished run. The recipe is read, and refused, before torch is imported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coc_cli.errors import user_error
from coc_cli.files.run_directory import RUNS
from coc_cli.recipe.model import NAME_FORM
from coc_cli.recipe.reading import IN_PYTHON, read, recipe_content

if TYPE_CHECKING:
    from torch import nn

    from coc_cli.chain.run import Result
    from coc_cli.learning.own_functions import OwnFunctions


NAME = re.compile(NAME_FORM)


def compress(
    recipe: Path | str | Mapping[str, Any],
    *,
    model: nn.Module | None = None,
    data: Any = None,
    own: OwnFunctions | None = None,
    out: Path | None = None,
    overrides: tuple[str, ...] = (),
    fresh: bool = False,
    device: str | None = None,
    trust_code: bool = False,
    quiet: bool = False,
    verbose: bool = False,
) -> Result:
    """Apply a recipe's chain; stages that are done, in this run or another, come from the cache.

    `quiet` leaves the progress out but for warnings, `verbose` says more.

    Raises `UserError` before any work, `RunError` on the way.
    """
    for name, function in own.given.items() if own else ():
        if not callable(function):
            raise user_error(name, f"needs a function, got {type(function).__name__}")
    if not isinstance(recipe, str | Path | Mapping):
        raise user_error(IN_PYTHON, f"needs a path or a mapping, got {type(recipe).__name__}")
    if model is not None or data is not None:
        recipe, out = _complete(recipe, model, data, overrides, out)
    from coc_cli.learning.own_functions import NONE, active

    with active(own or NONE):
        file = read(Path(recipe) if isinstance(recipe, str) else recipe, overrides, trust_code=trust_code)
        from coc_cli.chain.run import run_chain

        return run_chain(file, out=out, fresh=fresh, device=device, quiet=quiet, verbose=verbose)


def _complete(
    recipe: Path | str | Mapping[str, Any],
    model: nn.Module | None,
    data: Any,
    overrides: tuple[str, ...],
    out: Path | None,
) -> tuple[Mapping[str, Any], Path]:
    """Return a recipe with what Python handed over, which the run directory then holds, and that directory."""
    content = recipe if isinstance(recipe, Mapping) else recipe_content(Path(recipe))
    name = content.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        read(content, overrides)  # says what is wrong with it
        raise user_error(IN_PYTHON, "name: needs a text")
    for key, given in (("data.source", data), ("model", model)):
        if given is not None and (wrong := [one for one in overrides if one.startswith(key)]):
            raise user_error(
                f"--set {wrong[0]}", f"is what Python hands over as '{key.partition('.')[0]}'; leave one out"
            )
    directory = out or RUNS / name
    if directory.exists() and not directory.is_dir():
        raise user_error(directory, "is a file; choose another run directory")
    from coc_cli.chain.handed_over import with_data, with_module

    if data is not None:
        content = with_data(content, data, directory)
    if model is not None:
        content = with_module(content, model, overrides, directory)
    return content, directory
