"""Sources of single image files: they are listed by name, and then all are described and read alike. No torch here."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.source import Source
from coc_cli.errors import at_key, raise_if_any
from coc_cli.units import named

if TYPE_CHECKING:
    from coc_cli.data.decode import Progress
    from coc_cli.data.images import Data
    from coc_cli.data.listing import Listing


class ListedSource(Source):
    """A source that only has to list its image files."""

    is_decoded: ClassVar[bool] = True

    def is_absent(self, place: str) -> bool:
        """Return whether there is no such file or folder."""
        return bool(place) and not Path(place).exists()

    @abstractmethod
    def listing(self, settings: DataSettings) -> Listing:
        """Return the images by name, with split and target; raises `StageError`."""

    def describe(self, settings: DataSettings) -> DataInfo:
        """Describe the listed images as the seed 0 splits them; see `describe_split`."""
        return self.describe_split(settings, 0)

    def describe_split(self, settings: DataSettings, seed: int) -> DataInfo:
        """Describe the listed images; one is opened for its size. Raises `StageError`."""
        from coc_cli.data.listing import describe_listing

        listing = self.listing(settings)
        raise_if_any(at_key("classes", _other_classes(listing, settings)))
        return describe_listing(listing, settings, seed, validation=self.validation_fraction(settings))

    def read(self, settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:
        """Decode the images, or load them from the cache; raises `StageError` with every image that is unusable."""
        from coc_cli.data.listing import cut_listing, describe_listing
        from coc_cli.data.reading import read_listing

        listing, validation = self.listing(settings), self.validation_fraction(settings)
        info = describe_listing(listing, settings, seed, validation=validation)
        parts = cut_listing(listing, settings, seed, validation=validation)
        return read_listing(listing, info, parts, settings, cache, progress)


def _other_classes(listing: Listing, settings: DataSettings) -> list[str]:
    """Return a problem if the classes are not those that are declared."""
    declared, found = settings.declared_labels, listing.labels
    if not declared or declared == found or (isinstance(settings.classes, int) and len(declared) == len(found)):
        return []
    if len(declared) != len(found):
        return [f"declares {len(declared)}, but '{listing.container}' has {len(found)}: {named(found)}"]
    other = next(pair for pair in zip(found, declared, strict=True) if pair[0] != pair[1])
    return [f"'{listing.container}' has '{other[0]}' where '{other[1]}' is declared; its order is {named(found)}"]
