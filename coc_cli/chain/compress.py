"""`coc compress`: from a recipe to a finished run. The recipe is read, and refused, before torch is imported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coc_cli.recipe.reading import read

if TYPE_CHECKING:
    from coc_cli.chain.run import Result


def compress(
    path: Path | str,
    *,
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
    file = read(Path(path), overrides, trust_code=trust_code)
    from coc_cli.chain.run import run_chain

    return run_chain(file, out=out, fresh=fresh, device=device, quiet=quiet, verbose=verbose)
