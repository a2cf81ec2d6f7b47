"""Which chains an experiment on order needs, and which stages they share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations, permutations
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from coc_cli.errors import Fault, UserError, did_you_mean, user_error
from coc_cli.recipe.reading import RecipeFile
from coc_cli.stages.stage import ChainPosition, Stage
from coc_cli.version import __version__

Order = tuple[str, ...]  # names of stages, the first one first
Variants = Mapping[str, Sequence[Stage]]  # of each stage, from weak to strong
LEFT_OUT = ("limits", "measure", "predict_exit", "logger", "order")  # of the recipe: an experiment has no use for them
PAIR = 2


@dataclass(frozen=True)
class Job:
    """A stage behind others: a chain, whose last stage is new; the first job of a seed is the baseline."""

    id: str
    parent: str | None  # the chain without its last stage
    name: str  # of the stage
    seed: int
    content: dict[str, Any]  # the recipe of the chain


@dataclass(frozen=True)
class Cell:
    """A chain of which a figure is needed."""

    order: Order
    strength: int
    seed: int


@dataclass(frozen=True)
class Design:
    """All chains of an experiment, and the jobs that make them, each behind its parent."""

    cells: dict[Cell, str]  # the id of a chain's last job
    jobs: dict[str, Job]
    baselines: dict[int, str]  # the job of each seed


def variants(
    file: RecipeFile, names: Sequence[str], count: int, given: Mapping[str, Sequence[Mapping[str, Any]]]
) -> Variants:
    """Return each stage in so many strengths, from weak to strong, around the recipe's own.

    Args:
        file: The recipe; its chain has each of the stages once.
        names: Of the stages.
        count: Of strengths.
        given: Keys that are changed of a stage, one mapping for each strength, in place of what it does by itself.

    Raises:
        UserError: For a stage that is not there once, or has no such strength.
    """
    by_name: dict[str, list[Stage]] = {}
    for link in file.recipe.chain:
        by_name.setdefault(link.stage.name, []).append(link.stage)
    found = {}
    for name in names:
        own = by_name.get(name, [])
        if len(own) != 1:
            there = f"has {len(own)} of it" if own else f"has {', '.join(by_name) or 'none'}"
            raise user_error("--stages", f"needs each stage once; the chain {there}, asked for is {name}")
        strengths = _spread(own[0], file, count, given.get(name))
        # Seeds are the units: none stays the same in all of them.
        found[name] = tuple(one.model_copy(update={"seed": None}) for one in strengths)
    return found


def _spread(stage: Stage, file: RecipeFile, count: int, given: Sequence[Mapping[str, Any]] | None) -> Iterator[Stage]:
    where = f"order.strengths.{stage.name}"
    if given is not None and len(given) != count:
        raise user_error(where, f"has {len(given)} items for {count} strengths")
    model = file.recipe.model
    position = ChainPosition(1, model.arch, {"width": model.width} if model.width else {}, file.info)
    for index in range(count):
        if given is not None:
            yield _changed(stage, given[index], f"{where}[{index}]")
            continue
        step = index - (count - 1) // 2
        stronger = stage.at_strength(step, position)
        if stronger is None:
            what = f"there is no strength {step:+d} of it here; name its {count} strengths, weak to strong"
            raise user_error(where, what)
        yield stronger


def _changed(stage: Stage, keys: Mapping[str, Any], where: str) -> Stage:
    """Return a stage with other keys; raises `UserError` for those that it has not, or that cannot be."""
    text = json.dumps({**stage.model_dump(mode="json"), **keys})
    try:
        return type(stage).model_validate_json(text, strict=True)
    except ValidationError as error:
        raise UserError([_fault(type(stage), details, where) for details in error.errors()]) from error


def _fault(kind: type[Stage], details: ErrorDetails, where: str) -> Fault:
    key = ".".join(map(str, details["loc"]))
    if details["type"] == "extra_forbidden":
        return Fault(where, f"no such key '{key}'; {did_you_mean(key, kind.model_fields)}")
    return Fault(f"{where}.{key}", details["msg"].lower())


def without_teachers(found: Variants, teaching: str = "distill") -> Variants:
    """Return stages that learn from targets alone, but for those whose purpose is a teacher."""
    silent = {"teacher": "none", "teacher_views": 0}
    return {
        name: [
            one if name == teaching or not hasattr(one, "teacher") else one.model_copy(update=silent) for one in those
        ]
        for name, those in found.items()
    }


def orders(names: Sequence[str], *, inserted: bool, every: bool) -> list[Order]:
    """Return the orders that are needed: of all pairs, with each third stage at each place, and of all stages."""
    needed = [order for pair in combinations(names, PAIR) for order in (pair, pair[::-1])]
    if inserted:
        needed += list(permutations(names, PAIR + 1))
    if every:
        needed += list(permutations(names))
    return list(dict.fromkeys(needed))


def design(content: Mapping[str, Any], found: Variants, needed: Sequence[Order], seeds: Sequence[int]) -> Design:
    """Return the chains of all orders, strengths and seeds.

    Args:
        content: Of the recipe, resolved.
        found: Stages in their strengths.
        needed: Orders.
        seeds: Of split, baseline and stages.
    """
    base = {key: value for key, value in content.items() if key not in LEFT_OUT}
    jobs: dict[str, Job] = {}
    cells, baselines = {}, {}
    strengths = range(max(map(len, found.values()), default=0))
    for seed in seeds:
        baselines[seed] = _job(base, (), seed, None, jobs)
        for order in needed:
            for strength in strengths:
                links: list[tuple[str, Any]] = []
                last = baselines[seed]
                for name in order:
                    links.append((name, found[name][strength].model_dump(mode="json", exclude_none=True)))
                    last = _job(base, tuple(links), seed, last, jobs)
                cells[Cell(order, strength, seed)] = last
    return Design(cells, jobs, baselines)


def _job(
    base: Mapping[str, Any], links: Sequence[tuple[str, Any]], seed: int, parent: str | None, jobs: dict[str, Job]
) -> str:
    """Return the id of a chain's last job, which is made if it is not there."""
    content = {**base, "seed": seed, "chain": [{name: settings} for name, settings in links]}
    text = json.dumps([__version__, {**content, "name": ""}], sort_keys=True)
    own = sha256(text.encode()).hexdigest()[:16]
    jobs.setdefault(own, Job(own, parent, links[-1][0] if links else "baseline", seed, content))
    return own
