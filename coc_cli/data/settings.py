"""The keys of a recipe's `data` section; what they mean for a kind of source is in `data/sources/`. No torch here."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, Tag

from coc_cli.frozen import FLAG, INTEGER, LIST, MAPPING, TEXT, Frozen, by_kind

Pixels: TypeAlias = Annotated[int, Field(ge=1, le=4096)]
Images: TypeAlias = Annotated[int, Field(ge=2, le=1_000_000_000)]
MOST_MAGNITUDE = 30  # of RandAugment
Fraction: TypeAlias = Annotated[float, Field(gt=0, le=0.5)]


class RandAugment(Frozen):
    """Random operations of one strength (Cubuk et al. 2020): shears, shifts, turns, colours and contrasts."""

    magnitude: Annotated[int, Field(ge=0, le=MOST_MAGNITUDE, description="strength of each")] = 9
    number: Annotated[int, Field(ge=1, le=10, description="how many, one after another")] = 2


class Augment(Frozen):
    """Random changes to training images, drawn anew for every image in every epoch."""

    shift: Annotated[int, Field(ge=0, le=64, description="pixels, at most, in each direction")] = 0
    rotate: Annotated[float, Field(ge=0, le=180, description="degrees, at most, to either side")] = 0.0
    flip: Annotated[
        Annotated[bool, Tag(FLAG)] | Annotated[Literal["alternating"], Tag(TEXT)],
        by_kind("true, false or 'alternating'", words=("alternating",)),
        Field(
            description="mirror half of the images left to right; alternating: each in every second epoch (Jordan 2024)"
        ),
    ] = False
    padding: Annotated[
        Literal["zeros", "reflect"], Field(description="what a shift brings in from beyond the edge")
    ] = "zeros"
    crop: Annotated[
        float, Field(gt=0, le=1, description="least part of the area that a random crop keeps, before it is enlarged")
    ] = 1.0
    cutout: Annotated[int, Field(ge=0, le=4096, description="side of a black square at a random place, in pixels")] = 0
    colour: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="changes of brightness, contrast and saturation, 0.4: 0.6 to 1.4 times; the hue turns by up to"
            " a quarter of it, of a turn",
        ),
    ] = 0.0
    randaugment: Annotated[RandAugment | None, Field(description="random operations of one strength")] = None
    mixup: Annotated[
        float,
        Field(ge=0, le=10, description="alpha of the weights by which pairs of images and targets are mixed"),
    ] = 0.0

    @property
    def moving(self) -> list[str]:
        """What is done that moves what is in an image, as words for messages."""
        words = {"flip": "flipped", "rotate": "turned", "crop": "cropped", "randaugment": "moved by randaugment"}
        changed = self.model_dump(exclude_defaults=True)
        return [word for name, word in words.items() if name in changed]

    def settings(self) -> dict[str, Any]:
        """Return the settings as cache keys have them: those of the first version, and what is not its default."""
        first = {name: getattr(self, name) for name in ("shift", "rotate", "flip")}
        return {**first, **self.model_dump(mode="json", exclude_defaults=True)}


class SplitLimits(Frozen):
    """Images of single splits, at most."""

    train: Annotated[Images | None, Field(description="images that are trained on")] = None
    validation: Annotated[Images | None, Field(description="images that decide")] = None
    test: Annotated[Images | None, Field(description="images that are reported")] = None


class DataSettings(Frozen):
    """The `data` section of a recipe."""

    # The schema of recipes lists the registered sources here, as `data.sources.described` has them.
    source: Annotated[str, Field(description="where the images come from: a kind of source, and its path or name")]
    size: Annotated[
        Annotated[
            Annotated[Pixels, Tag(INTEGER)]
            | Annotated[tuple[Pixels, ...], Field(min_length=2, max_length=2), Tag(LIST)],
            by_kind("a whole number or [height, width]", length=2),
        ]
        | None,
        Field(description="H=W or [H, W] to which images are resized; by default that of the first image"),
    ] = None
    channels: Annotated[Literal[1, 3] | None, Field(description="grey or colour; by default as the first image")] = None
    validation: Annotated[
        Fraction | None,
        Field(description="share of the images that are not test; by default 0.1, for digits 0.25"),
    ] = None
    test: Annotated[
        Fraction | None, Field(description="share of all images, by default 0.2, if none are set apart")
    ] = None
    holdout: Annotated[
        Fraction | None, Field(description="share of the training images that nothing but predict-exit learns from")
    ] = None
    limit: Annotated[
        Annotated[
            Annotated[Images, Tag(INTEGER)] | Annotated[SplitLimits, Tag(MAPPING)],
            by_kind("a whole number or a mapping of splits to them"),
        ]
        | None,
        Field(description="images of each split, at most, or of those named; for quick tries"),
    ] = None
    image: Annotated[str | None, Field(description="csv column: path from the csv's folder; default image")] = None
    label: Annotated[str | None, Field(description="csv column with the class, any text")] = None
    targets: Annotated[
        Annotated[
            Annotated[str, Field(min_length=1), Tag(TEXT)] | Annotated[tuple[str, ...], Field(min_length=1), Tag(LIST)],
            by_kind("the name of a column or a list of them"),
        ]
        | None,
        Field(description="csv column or columns with the numbers to predict"),
    ] = None
    classes: Annotated[
        Annotated[
            Annotated[int, Field(ge=2, le=100_000), Tag(INTEGER)]
            | Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=2), Tag(LIST)],
            by_kind("a number of classes or a list of their names"),
        ]
        | None,
        Field(
            description="how many classes there are, or their names in order: checked, and enough to plan without data"
        ),
    ] = None
    split: Annotated[str | None, Field(description="csv column: train, validation (or val) or test")] = None
    group: Annotated[
        str | None,
        Field(
            min_length=1,
            description="what keeps related images in one split: a csv column; of folders a regular expression for"
            " paths below the source, whose first group, or all that it matches, is the image's group",
        ),
    ] = None
    root: Annotated[str | None, Field(description="torchvision's folder of files; default data")] = None
    memory: Annotated[
        float, Field(ge=0, le=1, description="share of RAM that images may take; more are read from disk as needed")
    ] = 0.25
    balance: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="how evenly an epoch draws the training images of classes, or of tenths of the first target's"
            " range: 0 as they are, 1 equally often, between by that power of their numbers",
        ),
    ] = 0.0
    augment: Augment = Augment()

    @property
    def kind(self) -> str:
        """What stands before the colon of `source`: the name of a kind of source."""
        return self.source.partition(":")[0]

    @property
    def place(self) -> str:
        """What stands behind it: a path or a name."""
        return self.source.partition(":")[2]

    @property
    def height_width(self) -> tuple[int, int] | None:
        """The requested size [H, W], if any."""
        if self.size is None:
            return None
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return height, width

    @property
    def limits(self) -> tuple[int | None, int | None, int | None]:
        """How many images train, validation and test may keep, at most."""
        if isinstance(self.limit, SplitLimits):
            return self.limit.train, self.limit.validation, self.limit.test
        return (self.limit,) * 3

    @property
    def declared_labels(self) -> tuple[str, ...]:
        """The classes that are declared, by number if not by name."""
        return tuple(map(str, range(self.classes))) if isinstance(self.classes, int) else self.classes or ()

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The columns with numbers to predict, however they were written."""
        return (self.targets,) if isinstance(self.targets, str) else self.targets or ()
