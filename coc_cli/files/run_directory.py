"""Where runs lie, what their files are called, and what may not lie there: links, and what an interrupted run left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from coc_cli.errors import user_error
from coc_cli.files.atomic import is_abandoned

RUNS = Path("runs")  # below the current directory
CACHE = RUNS / ".cache"  # of stages, a folder a key
DATA = "data"  # its folder of decoded images
SPEEDS = "speeds.json"  # its note of how fast stages ran here
RESULT = "model.safetensors"  # a run's checkpoint, and that of each stage in its folder
STAGE_RESULT = "result.json"  # what a stage measured
ANSWERS = "answers"  # its folder of what teachers said
ABILITIES = "precision.json"  # what the machine could do when a run began
REPORT, PAGE, RECIPE, LOG = "report.json", "report.html", "recipe.yaml", "log.jsonl"
PREDICTION = "predict-exit.json"  # in a folder below `PREDICTIONS`, or wherever coc predict-exit was to write
ORDER = "order.json"  # in the folder of an experiment on order
LOCK = ".lock"
STAGES, PREDICTIONS, GIVEN = "stages", "predict-exit", "given"  # folders; the last of what Python handed over
LOGS = ("metrics.csv", "tensorboard", "mlruns", "wandb")  # of the recipe's logger
_OWN = re.compile(
    rf"\.?({'|'.join(map(re.escape, (LOCK, REPORT, PAGE, RECIPE, LOG, RESULT, ABILITIES, *LOGS)))})(\.[0-9]+)?"
)


def check_places(folder: Path, *, is_entry: bool = False) -> None:
    """Raise `UserError` if what coc reads and writes in a run directory, or a cache entry, is a link, pipe or device.

    The folder itself and those above it may be links, for they lie where the user put them; a cache entry may not.
    """
    for path in _own(folder, is_entry=is_entry):
        if path.is_symlink():
            raise user_error(path, "is a link, which coc does not follow inside a run; remove it or put a copy there")
        if not (path.is_file() or path.is_dir()):
            raise user_error(path, "is a pipe or a device, no file; remove it")


def strange_names(folder: Path) -> list[str]:
    """Return what a folder holds that is no run, but for hidden files: nothing of a run, or of no folder."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    own = {RECIPE, LOG, LOCK, STAGES, PREDICTIONS, GIVEN}
    return [] if own & set(names) else [name for name in names if not name.startswith(".")]


def sweep(folder: Path, *, is_entry: bool = False) -> None:
    """Remove what interrupted writes left in a run directory, or a cache entry, whose lock is held."""
    for path in list(_own(folder, is_entry=is_entry)):
        if is_abandoned(path):
            path.unlink(missing_ok=True)


def sweep_beside(path: Path) -> None:
    """Remove what interrupted writes of one file left beside it."""
    for other in list(path.parent.glob(f".{path.name}.*")):
        if is_abandoned(other):
            other.unlink(missing_ok=True)


def _own(folder: Path, *, is_entry: bool) -> Iterator[Path]:
    """Yield what is coc's: all of a cache entry; in a run directory files of its names, and two folders with all."""
    if is_entry:
        yield from [folder] if folder.is_symlink() else folder.rglob("*")
        return
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.name in (STAGES, PREDICTIONS, GIVEN):
            yield path
            yield from () if path.is_symlink() else path.rglob("*")
        elif _OWN.fullmatch(path.name):
            yield path
