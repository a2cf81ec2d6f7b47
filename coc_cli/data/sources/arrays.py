"""Arrays in a .npz file: images as numbers, with classes or numbers to predict; see `array_file.py`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.source import COMMON_KEYS, Source
from coc_cli.errors import StageError
from coc_cli.files import budget

if TYPE_CHECKING:
    from coc_cli.data.array_file import ArrayFile
    from coc_cli.data.decode import Progress
    from coc_cli.data.images import Data
    from coc_cli.data.splitting import Rows


class Arrays(Source):
    """Images uint8 [N, C, H, W] and targets: `images` and `targets`, or both by split (`train_images`, ...).

    Targets are classes, integers [N] from 0, or numbers to predict, floats [N] or [N, T]. `labels`, texts, names the
    classes or the targets; without them they are numbered.
    """

    name = "arrays"
    summary = "a .npz of arrays: images uint8 [N, C, H, W] and targets, together or by split"
    place = "PATH"
    takes = (*COMMON_KEYS, "test")

    def place_fault(self, place: str) -> str | None:
        """Return a fault unless there is a file."""
        if Path(place).is_file():
            return None
        return f"there is no '{place}'" if not Path(place).exists() else f"'{place}' is not a file"

    def describe(self, settings: DataSettings) -> DataInfo:
        """Describe the arrays, which are read for that."""
        return self._described(_read(settings), settings)

    def read(self, settings: DataSettings, seed: int, cache: Path, progress: Progress | None) -> Data:  # noqa: ARG002
        """Read the arrays and cut off the splits that the file does not have."""
        import torch

        from coc_cli.data.images import Data, Split
        from coc_cli.data.reading import read_arrays

        content = _read(settings)
        info = self._described(content, settings)
        images, targets = torch.from_numpy(content.images), torch.from_numpy(content.targets)
        parts = map(torch.from_numpy, self._cut(content, settings, seed))
        splits = [Split(images, targets[rows], rows) for rows in parts]
        return read_arrays(Data(*splits, info=info), info, settings, seed)

    def _described(self, content: ArrayFile, settings: DataSettings) -> DataInfo:
        from coc_cli.data.listing import check_enough
        from coc_cli.data.splitting import scarce

        _, *size = content.images.shape
        if problems := scarce(content.splits, content.classes, content.labels):
            raise StageError("; ".join(problems), "source")
        if content.classes is not None and len(content.labels) < 2:  # noqa: PLR2004
            raise StageError(f"needs at least two classes, has {content.labels[0]}", "source")
        _, validation, _ = check_enough(len(content.images), self._cut(content, settings, 0))
        shape = (settings.channels or size[0], *(settings.height_width or size[1:]))
        images = len(content.images)
        return DataInfo(shape, content.labels, content.task, None, None, validation, images)  # type: ignore[arg-type]

    def _cut(self, content: ArrayFile, settings: DataSettings, seed: int) -> tuple[Rows, Rows, Rows]:
        from coc_cli.data.listing import TEST_FRACTION
        from coc_cli.data.splits import TEST, VALIDATION
        from coc_cli.data.splitting import cut_all

        for key, split in (("test", TEST), ("validation", VALIDATION)):
            if getattr(settings, key) and (content.splits == split).any():
                raise StageError(f"the source brings its own {key} split; leave it out", key)
        return cut_all(
            content.splits,
            content.classes,
            validation=self.validation_fraction(settings),
            test=settings.test or TEST_FRACTION,
            seed=seed,
            limits=settings.limits,
        )


def _read(settings: DataSettings) -> ArrayFile:
    from coc_cli.data.array_file import read_array_file

    content = read_array_file(Path(settings.place))
    if content.images[0].size > budget.PIXEL_BYTES:
        raise StageError(f"images of {content.images.shape[1:]} are too large", "source")
    return content
