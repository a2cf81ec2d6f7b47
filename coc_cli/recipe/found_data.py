"""What a path or a name is as data, and the `data` section of a recipe for it. No torch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coc_cli.data import sources
from coc_cli.data.info import DataInfo
from coc_cli.data.settings import DataSettings
from coc_cli.data.sources.folder import ENDINGS
from coc_cli.data.sources.listed import ListedSource
from coc_cli.data.splits import SPLITS
from coc_cli.errors import Fault, StageError, UserError, did_you_mean, user_error
from coc_cli.units import named

OPTION = "--data"
IMAGE_NAMES = ("image", "path", "file", "filename", "file_name", "filepath", "image_path", "img")
LABEL_NAMES = ("label", "class", "category", "classname", "class_name", "species", "y")
SPLIT_NAMES = ("split", "set", "subset", "partition")
FEW_CLASSES = 20  # more whole numbers than that in a column of no telling name are numbers
LOOKED_AT = 25  # images, evenly over all of them, for size and channels
LARGE, WANTED = 256, 224  # images with longer sides are resized

Rows = Sequence[dict[str, str]]


@dataclass(frozen=True)
class FoundData:
    """A `data` section, what was guessed for it, and what is known of the images by it."""

    section: dict[str, Any]
    guesses: dict[str, str]  # by key of the section: why
    info: DataInfo
    spread: float | None  # mean standard deviation of the targets; None for classes, and where it is not known


@dataclass
class _Guess:
    section: dict[str, Any]
    guesses: dict[str, str] = field(default_factory=dict)

    def note(self, key: str, value: Any, why: str) -> None:
        self.section[key], self.guesses[key] = value, why


def find_data(text: str) -> FoundData:
    """Return the section for a folder, .zip, .csv, .npz, data set's name or `data.source`; raises `UserError`."""
    guess = _Guess({"source": _source(text)})
    kind, _, place = guess.section["source"].partition(":")
    if kind == "csv":
        _guess_columns(guess, Path(place))
    settings = _settings(guess)
    if faults := list(sources.faults(settings)):
        raise UserError([Fault(OPTION, what) for _, what in faults])
    try:
        spread = _look_at_images(guess, settings)
        info = sources.describe(_settings(guess))
    except StageError as error:
        raise UserError([Fault(OPTION, what) for _, what in error.parts]) from error
    return FoundData(guess.section, guess.guesses, info, spread)


def _settings(guess: _Guess) -> DataSettings:
    return DataSettings.model_validate(
        {key: tuple(v) if isinstance(v, list) else v for key, v in guess.section.items()}
    )


def _source(text: str) -> str:
    """Return `data.source` for what the user named; raises `UserError`."""
    path, kind = Path(text), text.partition(":")[0]
    if kind in sources.SOURCES:
        return text
    if path.suffix.lower() == ".csv" and path.is_file():
        return f"csv:{text}"
    if path.suffix.lower() == ".npz" and path.is_file():
        return f"arrays:{text}"
    if path.is_dir() or (path.suffix.lower() == ".zip" and path.is_file()):
        return f"folder:{text}"
    if sources.SOURCES["torchvision"].place_fault(text) is None:
        return f"torchvision:{text}"
    if path.exists():
        raise user_error(OPTION, f"'{text}' is no folder, .zip, .csv or .npz; see docs/data.md")
    near = sorted(str(path.parent / one.name) for one in path.parent.iterdir()) if path.parent.is_dir() else []
    hint = did_you_mean(text, [*near, *sources.SOURCES], otherwise="give", most=3)
    raise user_error(OPTION, f"no such folder, .zip, .csv, .npz or data set '{text}'; {hint}")


def _guess_columns(guess: _Guess, path: Path) -> None:
    """Name the columns of a table: the images, the split, and the classes or numbers; raises `UserError`."""
    from coc_cli.data.table import read_table

    try:
        columns, numbered = read_table(path)
    except StageError as error:
        raise user_error(OPTION, error.what) from error
    rows = [row for _, row, _ in numbered]
    image = _named(columns, IMAGE_NAMES) or next((one for one in columns if _all(rows, one, _is_image)), None)
    if not rows or image is None:
        what = "it has no rows" if not rows else f"none of its columns ({named(columns)}) names image files"
        raise user_error(OPTION, f"'{path}' cannot be used: {what}")
    if image != "image":
        guess.note("image", image, "the column with the images' paths")
    split = _named(columns, SPLIT_NAMES)
    if split and _all(rows, split, lambda word: word.strip().lower() in SPLITS):
        guess.note("split", split, "a column of train, validation or test")
    rest = [one for one in columns if one not in (image, guess.section.get("split"), "")]
    _guess_targets(guess, path, rest, rows)


def _guess_targets(guess: _Guess, path: Path, rest: Sequence[str], rows: Rows) -> None:
    label = _named(rest, LABEL_NAMES)
    numbers = [one for one in rest if _all(rows, one, _is_number) and len({row[one] for row in rows}) > 1]
    whole = [one for one in numbers if _all(rows, one, lambda word: word.strip().isdigit())]
    few = [one for one in whole if len({row[one] for row in rows}) <= FEW_CLASSES]
    texts = [
        one for one in rest if one not in numbers and 1 < len({row[one] for row in rows}) <= max(2, len(rows) // 2)
    ]
    if label is not None:
        guess.note("label", label, "the column with the class, by its name")
    elif len(texts) == 1 and not numbers:
        guess.note("label", texts[0], "the only column of words that come again")
    elif len(numbers) == 1 and few and not texts:
        guess.note("label", few[0], f"a column of at most {FEW_CLASSES} different whole numbers; or is it targets?")
    elif numbers and not texts:
        guess.note("targets", numbers, "the columns of numbers; drop those that are not to be predicted")
    else:
        what = f"which of its columns is the class, or the numbers, cannot be told: {named(rest) or 'there is none'}"
        raise user_error(OPTION, f"'{path}': {what}; call the class 'label', or keep only the numbers")


def _named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    by_name = {column.lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def _all(rows: Rows, column: str, is_so: Any) -> bool:
    return bool(rows) and all(is_so(row[column]) for row in rows)


def _is_image(word: str) -> bool:
    return word.strip().lower().endswith(ENDINGS)


def _is_number(word: str) -> bool:
    try:
        return float(word) == float(word)
    except ValueError:
        return False


def _look_at_images(guess: _Guess, settings: DataSettings) -> float | None:
    """Write size and channels where the images need them; return the spread of numbers to predict."""
    source = sources.source_of(settings)
    if not isinstance(source, ListedSource):
        return None
    listing = source.listing(settings)
    shapes = Counter(_shapes(listing))
    sizes = {shape[1:] for shape in shapes}
    if len(sizes) > 1:
        shorter = sorted(min(shape[1:]) for shape in shapes.elements())[shapes.total() // 2]
        size = min(WANTED, max(32, 32 * round(shorter / 32)))
        guess.note(
            "size", size, f"the first images have several sizes, {named([f'{h}x{w}' for h, w in sorted(sizes)], 3)}"
        )
    elif sizes and max(next(iter(sizes))) > LARGE:
        guess.note("size", WANTED, "the images are {}x{}".format(*next(iter(sizes))))
    channels = {shape[0] for shape in shapes}
    if len(channels) > 1:
        guess.note("channels", max(channels), "some of the first images are in colour, some grey")
    return float(listing.targets.std(0).mean()) if listing.classes is None else None


def _shapes(listing: Any) -> Iterator[tuple[int, int, int]]:
    """Yield the shapes [C, H, W] of some images; those that cannot be opened are left out."""
    from coc_cli.data.listing import opener
    from coc_cli.pixels.decoding import shape_of

    fetch, names = opener(listing.container), listing.names
    for name in names[:: max(1, len(names) // LOOKED_AT)]:
        try:
            yield shape_of(fetch(name))
        except Exception:  # noqa: BLE001, S112, PERF203  (whatever a decoder raises; reading names every broken image)
            continue
