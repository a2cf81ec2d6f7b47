"""What a recipe says about its data, and what is known of a source before it is read. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field, Tag

from coc_cli.errors import DataError, did_you_mean
from coc_cli.frozen import INTEGER, LIST, TEXT, Frozen, by_kind

if TYPE_CHECKING:
    from coc_cli.data.images import Data
    from coc_cli.data.listing import Listing

SOURCES = ("digits", "digits-rotation", "folder:PATH", "csv:PATH", "torchvision:NAME")
DIGITS_REST = 1437  # of scikit-learn's 1,797 digits: what is not test
ONLY_FOR = {"csv": ("image", "label", "targets", "split"), "torchvision": ("root",), "folder or csv": ("test",)}

Pixels: TypeAlias = Annotated[int, Field(ge=1, le=4096)]
Share: TypeAlias = Annotated[float, Field(gt=0, le=0.5)]
Progress: TypeAlias = Callable[[int, int], None]  # images that are decoded, of how many


class Augment(Frozen):
    """Random changes to training images, drawn anew for every image in every epoch."""

    shift: Annotated[int, Field(ge=0, le=64, description="pixels, at most, in each direction")] = 0
    rotate: Annotated[float, Field(ge=0, le=180, description="degrees, at most, to either side")] = 0.0
    flip: Annotated[bool, Field(description="mirror half of the images left to right")] = False


@dataclass(frozen=True)
class DataInfo:
    """What is known of the images; mean and std are None where only the images tell."""

    shape: tuple[int, int, int]  # C, H, W
    labels: tuple[str, ...]  # class names, or names of the regression targets
    task: Literal["classification", "regression"]
    mean: tuple[float, ...] | None  # per channel, of images scaled to 0..1
    std: tuple[float, ...] | None
    validation_images: int


class DataSettings(Frozen):
    """The `data` section of a recipe."""

    source: Annotated[
        str,
        Field(
            description="digits (scikit-learn's 1,797 handwritten 8x8 digits), digits-rotation (by which angle each is"
            " turned), folder:PATH (class folders, or a .zip of them), csv:PATH or torchvision:NAME"
        ),
    ]
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
        Share | None,
        Field(description="share of the images that are not test; by default 0.1, for digits 0.25"),
    ] = None
    test: Annotated[Share | None, Field(description="share of all images, by default 0.2, if none are set apart")] = (
        None
    )
    holdout: Annotated[
        Share | None, Field(description="share of the training images that nothing but predict-exit learns from")
    ] = None
    limit: Annotated[int | None, Field(ge=2, description="images of each split, at most; for quick tries")] = None
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
    split: Annotated[str | None, Field(description="csv column: train, validation (or val) or test")] = None
    root: Annotated[str | None, Field(description="torchvision's folder of files; default data")] = None
    memory: Annotated[
        float, Field(ge=0, le=1, description="share of RAM that images may take; more are read from disk as needed")
    ] = 0.25
    augment: Augment = Augment()

    @property
    def kind(self) -> str:
        """What stands before the colon of `source`."""
        return self.source.partition(":")[0]

    @property
    def place(self) -> str:
        """What stands behind it: a path or a name."""
        return self.source.partition(":")[2]

    @property
    def height_width(self) -> tuple[int, int] | None:
        """The size [H, W] that is asked for, if one is."""
        if self.size is None:
            return None
        height, width = (self.size, self.size) if isinstance(self.size, int) else self.size
        return height, width

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The columns with numbers to predict, however they were written."""
        return (self.targets,) if isinstance(self.targets, str) else self.targets or ()

    @property
    def validation_share(self) -> float:
        """The share of what is not test that is cut off for validation."""
        return self.validation or (0.25 if self.kind.startswith("digits") else 0.1)

    def faults(self) -> Iterator[tuple[tuple[str, ...], str]]:
        """Give what does not go together, each with its key; nothing is opened."""
        yield from self._source_faults()
        kinds = [kind.partition(":")[0] for kind in SOURCES]
        for only, keys in ONLY_FOR.items():
            if self.kind in kinds and self.kind not in only.split(" or "):
                why = "the source brings its own test split" if keys == ("test",) else f"only {only}: has it"
                yield from (((key,), f"{why}; leave it out") for key in keys if getattr(self, key) is not None)
        if self.kind == "csv" and (self.label is None) == (self.targets is None):
            yield (), "needs exactly one of 'label' (classification) and 'targets' (regression)"
        if isinstance(self.targets, tuple):
            twice = sorted({name for name in self.targets if self.targets.count(name) > 1})
            yield from ((("targets",), f"'{name}' is named twice") for name in twice)
        if self.kind == "digits-rotation":
            turning = [key for key in ("rotate", "flip") if getattr(self.augment, key)]
            yield from ((("augment", key), "would change the target, the angle; leave it out") for key in turning)

    def _source_faults(self) -> Iterator[tuple[tuple[str, ...], str]]:
        from coc_cli.data.vision import TABLE

        where, path = ("source",), Path(self.place)
        if self.kind in ("digits", "digits-rotation"):
            if ":" in self.source:
                yield where, f"'{self.kind}' takes nothing behind it, got '{self.source}'"
        elif self.kind not in ("folder", "csv", "torchvision"):
            yield where, f"no such source '{self.source}'; {did_you_mean(self.source, SOURCES)}"
        elif not self.place:
            form = next(form for form in SOURCES if form.startswith(self.kind))
            yield where, f"'{self.kind}' needs more: {form}"
        elif self.kind == "torchvision" and self.place not in TABLE:
            yield where, f"no such data set '{self.place}'; {did_you_mean(self.place, TABLE)}"
        elif self.kind == "folder" and not (path.is_dir() or path.is_file()):
            yield where, f"no such folder or .zip file '{path}'"
        elif self.kind == "folder" and path.is_file() and path.suffix.lower() != ".zip":
            yield where, f"'{path}' is neither a folder nor a .zip file"
        elif self.kind == "csv" and not path.is_file():
            yield where, f"no such file '{path}'"

    def describe(self) -> DataInfo:
        """Give what is known without decoding images; raises `StageError` with all that is wrong with a listing."""
        if self.kind.startswith("digits"):
            return self._describe_digits()
        if self.kind == "torchvision":
            from coc_cli.data.vision import describe

            return describe(self)
        from coc_cli.data.listing import describe as describe_listing

        return describe_listing(self, self.listing())

    def listing(self) -> Listing:
        """Give the images of a folder or csv source by name; raises `StageError`."""
        from coc_cli.data.listing import list_csv, list_folder

        return list_folder(self) if self.kind == "folder" else list_csv(self)

    def _describe_digits(self) -> DataInfo:
        count = -int(-self.validation_share * DIGITS_REST // 1)  # rounded up, as the split does
        count = min(count, self.limit or count)
        shape = (self.channels or 1, *(self.height_width or (8, 8)))
        if self.kind == "digits-rotation":
            return DataInfo(shape, ("angle",), "regression", None, None, count)
        plain = shape == (1, 8, 8)
        mean, std = ((0.3054,), (0.3760,)) if plain else (None, None)
        return DataInfo(shape, tuple("0123456789"), "classification", mean, std, count)

    def read(self, seed: int, *, cache: Path, progress: Progress | None = None) -> Data:
        """Read and split the images; the split depends on the seed alone.

        Decoded images are kept in `cache`/data, so that they are decoded once. Raises `StageError` with every image
        that cannot be used.
        """
        from coc_cli.data.reading import read

        return read(self, seed, cache, progress)


def counted(n: int, noun: str) -> str:
    """Give a number with its noun: '1 image', '2,000 images', '2 classes'."""
    many = noun + ("es" if noun.endswith("s") else "s")
    return f"{n:,} {noun if n == 1 else many}"


def named(names: list[str], shown: int = 5) -> str:
    """Give the first few names and how many more there are."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def refuse_all(problems: Sequence[tuple[str, str]]) -> None:
    """Raise one `DataError` that tells every problem, each with its key, if there is one."""
    if problems:
        raise DataError(problems)


def at(key: str, problems: Iterable[str]) -> list[tuple[str, str]]:
    """Give problems with the key of the settings that they belong to."""
    return [(key, problem) for problem in problems]
