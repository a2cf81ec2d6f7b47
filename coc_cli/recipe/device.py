"""The device that a recipe or an option requests."""

from __future__ import annotations

from coc_cli.errors import UserError, user_error
from coc_cli.recipe.reading import RecipeFile


def torch_device(file: RecipeFile, requested: str | None) -> str:
    """Return the requested device, or else the recipe's; raises `UserError` if it is not available."""
    where = "--device" if requested else file.fault(("device",), "").where
    return device_named(requested or file.recipe.device, where)


def absent_device(file: RecipeFile) -> list[str]:
    """Return a note if the recipe's device is not on this machine, which a plan does not need."""
    try:
        device_named(file.recipe.device, "device")
    except UserError:
        return [f"there is no {file.recipe.device} here, where coc compress would need --device cpu or auto"]
    return []


def device_named(name: str, where: str) -> str:
    """Return torch's name of a device; raises `UserError`, at `where`, if it is not available."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(name)
    except RuntimeError as error:
        raise user_error(where, f"no such device '{name}'; use auto, cpu, cuda or cuda:N") from error
    if kind.type not in ("cpu", "cuda"):
        raise user_error(where, f"device '{name}' is not supported; use auto, cpu, cuda or cuda:N")
    if kind.type == "cuda" and (kind.index or 0) >= torch.cuda.device_count():
        raise user_error(where, f"there is no {name} here; use cpu, or auto")
    return name
