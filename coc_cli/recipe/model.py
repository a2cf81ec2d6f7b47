"""The models of a recipe, whose fields are its keys. No torch here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, Tag, create_model, field_validator
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from coc_cli.data import sources
from coc_cli.data.settings import DataSettings
from coc_cli.files.yaml_source import Loc, written
from coc_cli.frozen import LIST, MAPPING, TEXT, Frozen, by_kind
from coc_cli.learning.training import Training
from coc_cli.loggers import LOGGERS
from coc_cli.nets.architectures import ArchitectureSettings
from coc_cli.nets.arithmetic import Precision
from coc_cli.recipe.limits import LIMITS
from coc_cli.recipe.places import relocate
from coc_cli.stages import STAGES
from coc_cli.stages.stage import Stage

Renaming = dict[str, str | None]
Renamings = Annotated[
    Annotated[Renaming, Tag(MAPPING)] | Annotated[tuple[Renaming, ...], Tag(LIST)],
    by_kind("a mapping of patterns to names, or a list of them"),
]


class Checkpoint(Frozen):
    """Weights from elsewhere whose names differ from the architecture's, or which are one of several in a file."""

    path: Annotated[
        str,
        Field(
            min_length=1,
            description=".safetensors, .pt or .pth; a path from the recipe's folder, or from where coc runs",
        ),
    ]
    keys: Annotated[
        Renamings,
        Field(
            description="regular expressions for whole names, each with the name that its tensors get (\\1 is the first"
            " group), or nothing to drop them; the first that matches decides. A list: passes, one after another"
        ),
    ] = ()
    entry: Annotated[
        str | None,
        Field(min_length=1, description="of a file with several weights, such as ema or checkpoint.model"),
    ] = None

    @field_validator("keys")
    @classmethod
    def _dropped(cls, keys: Renaming | tuple[Renaming, ...]) -> Renaming | tuple[Renaming, ...]:
        """Return the keys with null replaced by an empty text, which a resolved recipe keeps."""
        passes: list[Renaming] = [{pattern: new or "" for pattern, new in each.items()} for each in _listed(keys)]
        return passes[0] if isinstance(keys, dict) else tuple(passes)

    @property
    def passes(self) -> dict[Loc, Renaming]:
        """The passes over the names in order, each by its place below `keys`."""
        places: list[Loc] = [()] if isinstance(self.keys, dict) else [(index,) for index in range(len(self.keys))]
        return dict(zip(places, _listed(self.keys), strict=True))


def _listed(keys: Renaming | tuple[Renaming, ...]) -> tuple[Renaming, ...]:
    return (keys,) if isinstance(keys, dict) else keys


class Model(ArchitectureSettings):
    """The baseline: an architecture with weights from a file, or trained here."""

    checkpoint: Annotated[
        Annotated[
            Annotated[str, Field(min_length=1), Tag(TEXT)] | Annotated[Checkpoint, Tag(MAPPING)],
            by_kind("a path or a mapping of 'path' and 'keys'"),
        ]
        | None,
        Field(
            description=".safetensors, .pt or .pth with the baseline's weights; a path from the recipe's folder, or"
            " from where coc runs"
        ),
    ] = None
    mean: Annotated[
        tuple[Annotated[float, Field(ge=-1, le=1)], ...] | None,
        Field(description="with weights from elsewhere: what was subtracted from images scaled to 0..1, per channel"),
    ] = None
    std: Annotated[
        tuple[Annotated[float, Field(gt=0, le=2)], ...] | None, Field(description="and what they were divided by then")
    ] = None
    train: Annotated[Training | None, Field(description="how to train the baseline, if there is no checkpoint")] = None

    @property
    def weights(self) -> Checkpoint | None:
        """The checkpoint, however it was written."""
        return Checkpoint(path=self.checkpoint) if isinstance(self.checkpoint, str) else self.checkpoint


class ChainItem(Frozen):
    """One item of the chain: exactly one of the stages."""

    @property
    def written(self) -> dict[str, Stage | None]:
        """The stages that were written, by name; None where nothing stands under one."""
        return {name: getattr(self, name) for name in sorted(self.model_fields_set)}

    @property
    def stage(self) -> Stage:
        """The one that was written."""
        return next(stage for stage in self.written.values() if stage is not None)


class LimitSettings(Frozen):
    """What the result must keep; a run that misses one ends with exit code 3."""

    @property
    def active(self) -> dict[str, Any]:
        """The limits that are set, by name."""
        return {name: limit for name in LIMITS if (limit := getattr(self, name)) is not None}

    @property
    def needing_latency(self) -> list[str]:
        """The names of those for which the latency must be measured."""
        return [name for name in self.active if LIMITS[name].needs_latency]

    @property
    def timed(self) -> bool:
        """Whether one of them is judged by a time."""
        return any(LIMITS[name].is_timed for name in self.active)


if TYPE_CHECKING:

    class Link(ChainItem): ...

    class Limits(LimitSettings): ...

    LoggerName = str
    StageName = str

else:  # one field for each registered stage and limit
    _stages = {name: (stage | None, None) for name, stage in STAGES.items()}
    _limits = {name: (limit.annotation, None) for name, limit in LIMITS.items()}
    Link = create_model("Link", __base__=ChainItem, __doc__=ChainItem.__doc__, **_stages)
    LoggerName = Literal[tuple(LOGGERS)]
    StageName = Literal[tuple(STAGES)]
    Limits = create_model("Limits", __base__=LimitSettings, __doc__=LimitSettings.__doc__, **_limits)


DEADLINE_FORM = r"^([0-9]{1,9}\.?[0-9]{0,9}|\.[0-9]{1,9})(x|ms)$"


class PredictExit(Frozen):
    """How the finished run is looked at by `coc predict-exit`; the same keys as its options."""

    profile: Annotated[str, Field(description="a device by name (see coc profiles), or the path of a profile")] = (
        "jetson-tx2-gpu"
    )
    deadline: Annotated[
        str,
        Field(
            pattern=DEADLINE_FORM,
            description="12ms, or 1.25x: times what the network without exits takes at the highest frequency",
        ),
    ] = "1.25x"
    confidence: Annotated[
        float | None,
        Field(
            ge=0.5,
            lt=1,
            description="with which probability the schedule loses at most max_drop on other images too, as 0.95; by"
            " default that of early_exit",
        ),
    ] = None
    out: Annotated[str | None, Field(description="folder; by default predict-exit/PROFILE below the run's")] = None


class Measure(Frozen):
    """What is measured on this machine when the chain is done."""

    latency: Annotated[
        bool, Field(description="time baseline and result in ONNX Runtime, as coc bench does; some seconds")
    ] = False


DEVICE_FORM = r"^(auto|cpu|cuda(:\d+)?)$"
NAME_FORM = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class OrderSettings(Frozen):
    """What `coc order` measures with this recipe."""

    stages: Annotated[tuple[StageName, ...], Field(description="of the chain, to be compared; all if empty")] = ()
    strength_count: Annotated[
        int, Field(ge=2, le=20, description="strengths of each stage, by which an order has a curve")
    ] = 3
    strengths: Annotated[
        dict[StageName, tuple[dict[str, Any], ...]],
        Field(
            description="by stage: keys that are others, one mapping for each strength, weak to strong; a stage that is"
            " not named is spread around its own settings"
        ),
    ] = {}
    seeds: Annotated[int, Field(ge=1, le=1000, description="from the recipe's own on; 5 at least for a verdict")] = 10
    teachers: Annotated[bool, Field(description="whether stages other than distill listen to their teachers, too")] = (
        False
    )


class Recipe(Frozen):
    """A whole recipe."""

    name: Annotated[str, Field(pattern=NAME_FORM, max_length=100, description="names the run directory")]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, description="of the split, the baseline and every stage")] = 0
    device: Annotated[str, Field(pattern=DEVICE_FORM, description="auto, cpu, cuda or cuda:N")] = "auto"
    data: DataSettings
    model: Model
    chain: Annotated[
        tuple[Link, ...], Field(description="the stages, in the order in which they run; may be empty: []")
    ]
    limits: Limits = Limits()
    measure: Annotated[Measure, Field(description="what is timed on this machine in the end")] = Measure()
    predict_exit: Annotated[
        PredictExit | None, Field(description="predict exits and plan frequencies when the chain is done")
    ] = None
    logger: Annotated[
        LoggerName | None,
        Field(description="where the figures of every epoch and stage go besides the run's own files"),
    ] = None
    order: Annotated[OrderSettings | None, Field(description="what coc order measures")] = None
    precision: Annotated[
        Precision,
        Field(
            description="of the steps of trainings: bfloat16 where it is fast, with compiled quantisers where that"
            " pays, or float32 alone, which depends least on the processor; all is measured in float32"
        ),
    ] = "auto"

    @property
    def trainings(self) -> list[Training | None]:
        """How each step of the plan trains; None for a baseline that does not."""
        return [self.model.train, *(link.stage for link in self.chain)]

    @property
    def needs_latency(self) -> bool:
        """Whether baseline and result are to be timed: asked for, or needed by a limit."""
        return self.measure.latency or bool(self.limits.needing_latency)


def resolved(recipe: Recipe, folder: Path | None = None) -> str:
    """Return the recipe as YAML with every default written out, its relative paths as they are from a folder."""
    content = recipe.model_dump(mode="json", exclude_none=True)
    if folder is not None:
        relocate(content, folder)
    return written(content)


class _EditorSchema(GenerateJsonSchema):
    """Members of a union need not exclude each other: 3 is an integer and a number."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        return self.get_flattened_anyof([self.generate_inner(choice) for choice in schema["choices"].values()])


def schema() -> dict[str, Any]:
    """Return the JSON Schema of recipes, for editors; `data.source` names every source that is registered."""
    content = Recipe.model_json_schema(schema_generator=_EditorSchema)
    content["$defs"][DataSettings.__name__]["properties"]["source"]["description"] = sources.described()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **content}
