"""What `coc predict-exit` is asked for, checked before any work; predict_exit.py does it. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from coc_cli.dvfs.profile import Profile, read_profile
from coc_cli.errors import user_error
from coc_cli.files.run_directory import RECIPE, RESULT
from coc_cli.nets.checkpoint_header import Header, checkpoint_at, read_header
from coc_cli.recipe.device import torch_device
from coc_cli.recipe.model import DEADLINE_FORM, PredictExit
from coc_cli.recipe.reading import RecipeFile, read

DEADLINE = re.compile(DEADLINE_FORM)
STAGE = "predict_exit"  # in the lineage of what --apply writes


@dataclass(frozen=True)
class PredictExitRequest:
    """What is to be done, checked; nothing has been run."""

    checkpoint: Path
    header: Header
    recipe: RecipeFile
    profile: Profile
    deadline: str
    max_drop: float
    confidence: float | None  # of a promise
    directory: Path
    device: str
    applies: bool = False  # whether a checkpoint with the exits of the best policy is written

    def deadline_ms(self, plain_ms: float) -> float:
        """Return the deadline in ms, where the network without exits takes `plain_ms` at the highest frequency."""
        match = DEADLINE.match(self.deadline)
        assert match
        return float(match[1]) * (plain_ms if match[2] == "x" else 1.0)


def prepare(
    target: Path,
    *,
    data: Path | None = None,
    profile: str | None = None,
    deadline: str | None = None,
    confidence: float | None = None,
    out: Path | None = None,
    device: str = "auto",
    applies: bool = False,
    trust_code: bool = False,
) -> PredictExitRequest:
    """Check a request; what is not given is the recipe's `predict_exit`. Raises `UserError` before any work.

    Only a recipe that the user names may choose where to write, not one that lies in a run directory.
    """
    checkpoint, recipe_path = checkpoint_at(target), data
    if target.is_dir():
        recipe_path = data or target / RECIPE
    if recipe_path is None:
        raise user_error(target, "is a checkpoint by itself; name a recipe with its images: --data RECIPE")
    header = read_header(checkpoint, trust_code=trust_code)
    if not header.spec.exits:
        raise user_error(checkpoint, "has no exits to predict; add '- early_exit: {every: block}' to its chain")
    recipe = read(recipe_path)
    settings = recipe.recipe.predict_exit or PredictExit()
    device_profile = read_profile(profile or settings.profile)
    text = deadline or settings.deadline
    if not (match := DEADLINE.match(text)) or float(match[1]) <= 0:
        raise user_error("--deadline", f"'{text}' is none; it needs a form like 1.25x or 12ms")
    recipe.check_fits(header.spec)
    base = target if target.is_dir() else target.parent
    directory = out or (Path(settings.out) if settings.out and data else base / "predict-exit" / device_profile.name)
    if applies:
        _check_free(directory / RESULT)
    chosen = torch_device(recipe, device)
    rule = header.spec.rule
    assert rule is not None
    sure = confidence or settings.confidence or rule.confidence
    drop = rule.max_drop
    return PredictExitRequest(checkpoint, header, recipe, device_profile, text, drop, sure, directory, chosen, applies)


def _check_free(path: Path) -> None:
    """Raise `UserError` where --apply would write over a checkpoint that it has not written itself."""
    if path.exists() and [one.stage for one in read_header(path, trust_code=True).lineage[-1:]] != [STAGE]:
        raise user_error(
            "--out", f"'{path}' is a checkpoint of its own, which --apply would write over; name another folder"
        )
