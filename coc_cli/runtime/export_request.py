"""What `coc export` is asked for, checked before any work. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from coc_cli.errors import did_you_mean, user_error
from coc_cli.files.run_directory import RECIPE, check_places
from coc_cli.nets.checkpoint_header import Header, checkpoint_at, read_header
from coc_cli.recipe.reading import RecipeFile, read
from coc_cli.runtime.writers import WRITERS
from coc_cli.runtime.writers.onnx import LIMITS
from coc_cli.runtime.writers.writer import ExportOptions, Writer

EXPORT = "export"  # the folder in a run directory
_OWN = re.compile(r"(model[\w.-]*|manifest\.json|README\.md|coc_runtime\.py)")


@dataclass(frozen=True)
class ExportRequest:
    """What is to be done, checked."""

    run: Path | None
    checkpoint: Path
    header: Header
    recipe: RecipeFile | None  # whose validation images the export is compared on
    writer: Writer
    options: ExportOptions
    directory: Path


def prepare(
    target: Path,
    *,
    to: str = "onnx",
    out: Path | None = None,
    weights: str = "int8",
    portable: bool = False,
    data: Path | None = None,
    unchecked: bool = False,
    trust_code: bool = False,
) -> ExportRequest:
    """Check a request; raises `UserError` before any work."""
    if to not in WRITERS:
        raise user_error("--to", f"no such form '{to}'; {did_you_mean(to, tuple(WRITERS))}")
    if weights not in LIMITS:
        raise user_error("--weights", f"no such form '{weights}'; use {', '.join(LIMITS)}")
    if (weights != "int8" or portable) and to != "onnx":
        raise user_error("--weights" if weights != "int8" else "--portable", f"is for --to onnx only, not for {to}")
    checkpoint = checkpoint_at(target)
    header = read_header(checkpoint, trust_code=trust_code)
    run = target if target.is_dir() else None
    directory = out or (target / EXPORT if run else target.with_name(f"{target.stem}-{to}"))
    if directory.exists() and not directory.is_dir():
        raise user_error(directory, "is a file; name a folder with --out")
    _check_folder(directory)
    recipe_path = data or (run / RECIPE if run else None)
    recipe = None if unchecked or recipe_path is None else read(recipe_path)
    if recipe is not None:
        recipe.check_fits(header.spec)
    options = ExportOptions(weights=weights, portable=portable)
    return ExportRequest(run, checkpoint, header, recipe, WRITERS[to], options, directory)


def _check_folder(directory: Path) -> None:
    """Refuse a folder with files of somebody else's, so that nothing of theirs is overwritten."""
    if not directory.is_dir():
        return
    check_places(directory)
    for path in sorted(directory.iterdir()):
        if path.is_symlink():
            raise user_error(path, "is a link, which coc does not follow inside an export; remove it")
        if not _OWN.fullmatch(path.name) and not path.name.startswith("."):
            raise user_error(path, "is not of an export; choose an empty folder with --out")
