"""What every kind of data source answers, so that a new one is one class and one line. No torch here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.units import repeated

if TYPE_CHECKING:
    from coc_cli.data.decode import Progress
    from coc_cli.data.images import Data

KeyFault: TypeAlias = tuple[tuple[str, ...], str]  # a key below the recipe's `data`, and what is wrong with it
COMMON_KEYS = ("size", "channels", "validation", "holdout", "limit", "memory", "balance", "augment")
SPLIT_KEYS = ("validation", "test")  # fractions to cut off: a source that does not take one brings that split itself


class Source(ABC):
    """One kind of data source; its name stands before the colon of `data.source`."""

    name: ClassVar[str]
    summary: ClassVar[str]  # what it is, in one line, for the docs
    hint: ClassVar[str] = ""  # what the recipe's schema says in brackets behind its name, if that does not say it all
    place: ClassVar[str] = ""  # what stands behind the colon: PATH, NAME, or nothing, and then there is no colon
    takes: ClassVar[tuple[str, ...]] = COMMON_KEYS  # keys of `data` that it knows, beside `source`
    default_validation: ClassVar[float] = 0.1  # fraction of the images that are not test
    labels_known_early: ClassVar[bool] = True  # `describe` has the names of classes, not only how many
    is_decoded: ClassVar[bool] = False  # its images are kept on disk, once they are decoded
    augment_safe: ClassVar[bool] = False  # flips and rotations that it lets pass leave regression targets right

    def validation_fraction(self, settings: DataSettings) -> float:
        """Return the fraction of the images that are not test which is cut off for validation."""
        return settings.validation or self.default_validation

    def place_fault(self, place: str) -> str | None:  # noqa: ARG002
        """Return what is wrong with a path or name behind the colon, if anything is; no file is opened."""
        return None

    def is_absent(self, place: str) -> bool:  # noqa: ARG002
        """Return whether what a path behind the colon names is not there, so that only the recipe can describe it."""
        return False

    def faults(self, settings: DataSettings) -> Iterator[KeyFault]:
        """Yield what does not go together among the keys that the source takes; nothing is opened."""
        yield from repeats(settings)

    @abstractmethod
    def describe(self, settings: DataSettings) -> DataInfo:
        """Return what is known without decoding images; raises `StageError` with all that is wrong with a listing."""

    def describe_split(self, settings: DataSettings, seed: int) -> DataInfo:  # noqa: ARG002
        """Return the same for a seed, on which the sizes of splits depend where they are cut by groups."""
        return self.describe(settings)

    @abstractmethod
    def read(self, settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:
        """Read the images and split them, by the seed alone; raises `StageError` with every image that is unusable.

        The result's `info` is that of `describe`, with mean, deviation and labels filled in. What takes long to decode
        is stored below `cache`. The holdout is no business of the source: it is split off afterwards.
        """


def repeats(settings: DataSettings) -> Iterator[KeyFault]:
    """Yield every target column and every class that is named twice."""
    for key, names in (("targets", settings.target_columns), ("classes", settings.declared_labels)):
        for name in repeated(names):
            yield (key,), f"'{name}' is named twice"
