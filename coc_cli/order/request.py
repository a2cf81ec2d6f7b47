"""What `coc order` is asked for, checked before any work. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from coc_cli.errors import user_error
from coc_cli.executors import EXECUTORS
from coc_cli.executors.executor import processors
from coc_cli.files.run_directory import RUNS
from coc_cli.order.design import PAIR, Design, Variants, design, orders, variants, without_teachers
from coc_cli.recipe.model import OrderSettings, Recipe, resolved
from coc_cli.recipe.reading import RecipeFile, read


@dataclass(frozen=True)
class OrderRequest:
    """What is to be done, checked but for the plans of all chains."""

    file: RecipeFile
    directory: Path
    stages: tuple[str, ...]
    found: Variants
    design: Design
    seeds: tuple[int, ...]
    inserted: bool
    every: bool
    teachers: bool
    executor: str
    jobs: int

    @property
    def threads(self) -> int:
        """Of each job."""
        return max(1, processors() // self.jobs)


def prepare(
    recipe: Path,
    overrides: tuple[str, ...] = (),
    *,
    stages: str | None = None,
    strengths: int | None = None,
    seeds: int | None = None,
    inserted: bool = False,
    every: bool = False,
    teachers: bool | None = None,
    executor: str = "local",
    jobs: int | None = None,
    out: Path | None = None,
    trust_code: bool = False,
) -> OrderRequest:
    """Check a request; what is not given is the recipe's `order`. Raises `UserError` before any work."""
    file = read(recipe, overrides, trust_code=trust_code)
    own = file.recipe.order or OrderSettings()
    names = tuple(stages.split(",")) if stages else own.stages or tuple(link.stage.name for link in file.recipe.chain)
    if len(set(names)) != len(names) or len(names) < PAIR:
        raise user_error("--stages", f"needs two stages or more, each once; got {', '.join(names) or 'none'}")
    in_chain = [link.stage.name for link in file.recipe.chain]
    names = tuple(sorted(names, key=lambda name: in_chain.index(name) if name in in_chain else len(in_chain)))
    found = variants(file, names, strengths or own.strength_count, own.strengths)
    if not (own.teachers if teachers is None else teachers):
        found = without_teachers(found)
    missing = EXECUTORS[executor].missing() if executor in EXECUTORS else f"is one of {', '.join(EXECUTORS)}"
    if missing:
        raise user_error("--executor", missing)
    numbers = tuple(range(file.recipe.seed, file.recipe.seed + (seeds or own.seeds)))
    needed = orders(names, inserted=inserted, every=every)
    directory = out or RUNS / f"{file.recipe.name}-order"
    if directory.exists() and not directory.is_dir():
        raise user_error(directory, "is a file; name another folder with --out")
    made = design(content(file.recipe), found, needed, numbers)
    flags = {"inserted": inserted, "every": every, "teachers": own.teachers if teachers is None else teachers}
    return OrderRequest(
        file, directory, names, found, made, numbers, **flags, executor=executor, jobs=jobs or processors()
    )


def content(recipe: Recipe, folder: Path | None = None) -> dict[str, Any]:
    """Return a recipe as plain data, its paths as they are from a folder, the current one if none is given."""
    found: dict[str, Any] = yaml.safe_load(resolved(recipe, folder or Path.cwd()))
    return found


def differing(stages: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the keys in which the strengths of a stage differ, for each of them."""
    settings = [one.model_dump(mode="json") for one in stages]
    keys = [key for key in settings[0] if any(one[key] != settings[0][key] for one in settings)]
    return [{key: one[key] for key in keys} for one in settings]
