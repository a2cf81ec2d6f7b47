"""`coc init`: a recipe for a network and data, which is planned before it is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coc_cli.chain.plan import Plan, make_plan
from coc_cli.errors import Fault, UserError, user_error
from coc_cli.files.atomic import write_atomically
from coc_cli.files.yaml_source import YamlSource
from coc_cli.nets.architectures import ARCHITECTURES, known_forms
from coc_cli.nets.checkpoint_header import is_checkpoint, read_header
from coc_cli.nets.spec import Spec
from coc_cli.recipe.device import device_named
from coc_cli.recipe.draft import STAGES, Draft, name_for
from coc_cli.recipe.found_data import find_data
from coc_cli.recipe.places import relocate
from coc_cli.recipe.reading import read

OPTIONS = {"model.arch": "--arch", "model.checkpoint": "--checkpoint", "model": "--arch", "data": "--data"}


@dataclass(frozen=True)
class Written:
    """A recipe that was written, and its plan."""

    path: Path
    draft: Draft
    plan: Plan


def write_draft(data: str, *, arch: str | None, checkpoint: Path | None, out: Path | None) -> Written:
    """Write a recipe that plans; raises `UserError` before that, each fault at the option that it is about."""
    path = out or Path(f"{name_for(data)}.yaml")
    if path.exists():
        raise user_error(path, "is there already; name another with --out")
    spec = _own_spec(checkpoint)
    if arch is None and spec is None:
        known = ", ".join(sorted([*ARCHITECTURES, *known_forms()]))
        raise user_error("--arch", f"is needed, unless coc wrote the checkpoint; known: {known}")
    args = {"arch": spec.arch, **spec.args} if spec else {}
    named = str(checkpoint) if checkpoint else None
    draft = Draft(find_data(data), None if spec else arch, named, device_named("auto", ""), name_for(data), args)
    draft, plan = _planned(_without_second_exits(draft, has_exits=bool(spec and spec.exits)))
    write_atomically(path, _seen_from(path.parent, draft).text.encode())
    return Written(path, draft, plan)


def _seen_from(folder: Path, draft: Draft) -> Draft:
    """Return a draft whose relative paths, which count from where coc runs, count from a folder."""
    model = {"arch": draft.arch, "checkpoint": draft.checkpoint}
    content = {"data": dict(draft.data.section), "model": {key: value for key, value in model.items() if value}}
    relocate(content, folder)
    moved: Any = content["model"]
    data = replace(draft.data, section=content["data"])
    return replace(draft, data=data, arch=moved.get("arch"), checkpoint=moved.get("checkpoint"))


def _own_spec(checkpoint: Path | None) -> Spec | None:
    """Return the spec of a checkpoint that coc wrote, None for others; raises `UserError`."""
    if checkpoint is None:
        return None
    if not checkpoint.is_file():
        raise user_error("--checkpoint", f"no such file '{checkpoint}'")
    is_own = checkpoint.suffix == ".safetensors" and is_checkpoint(checkpoint)
    return read_header(checkpoint).spec if is_own else None


def _without_second_exits(draft: Draft, *, has_exits: bool) -> Draft:
    return draft.without("early_exit", "the checkpoint has exits already") if has_exits else draft


def _planned(draft: Draft) -> tuple[Draft, Plan]:
    """Return a draft whose stages can all be applied, and its plan; raises `UserError` if the baseline cannot be."""
    try:
        plan = _plan(draft)
    except UserError as error:
        failed = _failed_stage(error, draft)
        if failed is None:
            raise UserError(dict.fromkeys(map(_at_option, error.faults))) from error
        return _planned(draft.without(*failed))
    return replace(draft, bitops_ratio=plan.bitops_ratio(plan.steps[-1])[0]), plan


def _plan(draft: Draft) -> Plan:
    """Plan a draft as if it were a file here."""
    return make_plan(read(YamlSource("recipe", draft.text).content))


def _failed_stage(error: UserError, draft: Draft) -> tuple[str, str] | None:
    """Return the stage that cannot be applied and why, if all faults are about stages."""
    if not all(fault.what.startswith("chain[") for fault in error.faults):
        return None
    place, _, what = error.faults[0].what.partition(": ")
    name = next((name for name in STAGES if f"].{name}" in place), None)
    return (name, what) if name in draft.stages else None


def _at_option(fault: Fault) -> Fault:
    """Return a fault of the recipe at the option that it comes from."""
    key, _, what = fault.what.partition(": ")
    nearest = next((option for place, option in OPTIONS.items() if key == place or key.startswith(f"{place}.")), None)
    return Fault(nearest, what) if nearest else Fault("coc init", fault.what)
