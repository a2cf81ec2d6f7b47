"""Sources of single image files: they are listed by name, and then all are described and read alike. No torch here."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.source import Source

if TYPE_CHECKING:
    from coc_cli.data.decode import Progress
    from coc_cli.data.images import Data
    from coc_cli.data.listing import Listing


class ListedSource(Source):
    """A source that only has to list its image files."""

    @abstractmethod
    def listing(self, settings: DataSettings) -> Listing:
        """Return the images by name, with split and target; raises `StageError`."""

    def describe(self, settings: DataSettings) -> DataInfo:
        """Describe the listed images; one is opened for its size. Raises `StageError`."""
        from coc_cli.data.listing import describe_listing

        return describe_listing(self.listing(settings), settings, validation=self.validation_fraction(settings))

    def read(self, settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:
        """Decode the images, or load them from the cache; raises `StageError` with every image that is unusable."""
        from coc_cli.data.listing import cut_listing, describe_listing
        from coc_cli.data.reading import read_listing

        listing, validation = self.listing(settings), self.validation_fraction(settings)
        info = describe_listing(listing, settings, validation=validation)
        parts = cut_listing(listing, settings, seed, validation=validation)
        return read_listing(listing, info, parts, settings, cache, progress)
