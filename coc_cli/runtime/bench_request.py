"""What `coc bench` is asked for, checked before any work. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coc_cli.errors import UserError, user_error
from coc_cli.files.run_directory import RECIPE, RESULT, STAGES, check_places
from coc_cli.nets.checkpoint_header import checkpoint_at, read_header
from coc_cli.pixels.preparation import InputError
from coc_cli.recipe.reading import RecipeFile, read
from coc_cli.runtime.session import MANIFEST, check_file, read_manifest

BASELINE = Path(STAGES) / "00-baseline" / RESULT
MOST_THREADS, MOST_IMAGES, LONGEST_S = 256, 1024, 3600.0
MOST_VALUES = 1 << 24  # of all images of a bench
FILES, BATCH_FILE = {"onnx": "model.onnx", "tflite": "model.tflite"}, "model-batch.onnx"


@dataclass(frozen=True)
class Candidate:
    """A network that is to be timed: a checkpoint, which is exported for that, or the folder of an export."""

    name: str
    path: Path
    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    has_exits: bool
    form: str | None = None  # of an export: onnx or tflite
    is_baseline: bool = False


@dataclass(frozen=True)
class BenchRequest:
    """What is to be timed and how, checked."""

    candidates: tuple[Candidate, ...]  # the first is what others are set against
    recipe: RecipeFile | None  # whose test images go in; None: random ones
    threads: int = 1
    batch: int = 1
    seconds: float = 10.0
    peers: bool = False
    others: bool = True  # runtimes beside ONNX Runtime, where they are installed
    attempts: int = 1  # at a time when the machine has no other work


def file_name(form: str, batch: int) -> str:
    """Return which file of an export is timed."""
    return BATCH_FILE if form == "onnx" and batch > 1 else FILES[form]


def prepare(
    targets: Sequence[Path],
    *,
    threads: int = 1,
    batch: int = 1,
    seconds: float = 10.0,
    data: Path | None = None,
    peers: bool = False,
    trust_code: bool = False,
) -> BenchRequest:
    """Check a request; raises `UserError` before any work."""
    for option, value, most in (("--threads", threads, MOST_THREADS), ("--batch", batch, MOST_IMAGES)):
        if not 1 <= value <= most:
            raise user_error(option, f"needs 1 to {most}, got {value}")
    if not 0 < seconds <= LONGEST_S:
        raise user_error("--seconds", f"needs a time above 0, at most {LONGEST_S:g}, got {seconds:g}")
    found = [
        one for target in targets for one in _candidates(target, batch, several=len(targets) > 1, trust_code=trust_code)
    ]
    candidates = _distinct(found)
    _check_alike(candidates)
    if peers and not any(one.is_baseline for one in candidates):
        raise user_error("--peers", "quantises the baseline of a run directory, and none is named")
    if batch > 1 and (other := next((one for one in candidates if one.form == "tflite"), None)):
        raise user_error("--batch", f"{other.path} is an export to tflite, for one image at a time")
    recipe = _recipe(targets, data, candidates[0])
    if recipe is None and (stops := next((one for one in candidates if one.has_exits), None)):
        what = "has exits, and where images leave depends on them; name the recipe of its images with --data"
        raise user_error(stops.path, what)
    return BenchRequest(candidates, recipe, threads, batch, seconds, peers)


def of_checkpoints(baseline: Path, result: Path, *, seconds: float, attempts: int) -> BenchRequest:
    """Return the request for checkpoints that this process has made: both in ONNX Runtime, images not yet read."""
    both = tuple(_of_checkpoints(baseline, result, "", trust_code=True))
    return BenchRequest(both, None, seconds=seconds, others=False, attempts=attempts)


def _candidates(target: Path, batch: int, *, several: bool, trust_code: bool) -> Iterator[Candidate]:
    if target.is_dir() and (target / MANIFEST).exists():
        yield _of_export(target, batch)
        return
    if target.is_file():
        raise user_error(target, "is a file; name a run directory, or a folder that coc export wrote")
    if not target.is_dir():
        raise user_error(target, "no such run directory, nor a folder that coc export wrote")
    checkpoint_at(target)
    if not (target / BASELINE).is_file():
        raise user_error(target, f"has no {BASELINE}; run coc compress again, or name exports")
    prefix = f"{target} " if several else ""
    yield from _of_checkpoints(target / BASELINE, target / RESULT, prefix, trust_code=trust_code)


def _of_checkpoints(baseline: Path, result: Path, prefix: str, *, trust_code: bool) -> Iterator[Candidate]:
    for path, name in ((baseline, "baseline"), (result, "result")):
        spec = read_header(path, trust_code=trust_code).spec
        is_baseline = path is baseline
        has_exits = spec.rule is not None
        yield Candidate(
            f"{prefix}{name}", path, spec.input_shape, spec.mean, spec.std, has_exits, is_baseline=is_baseline
        )


def _of_export(target: Path, batch: int) -> Candidate:
    check_places(target)
    try:
        manifest = read_manifest(target)
        form = manifest["format"]
        if form not in FILES:
            raise user_error(target, f"is an export to {form}, which is not timed; use onnx or tflite")
        name = file_name(form, batch)
        check_file(target / name, manifest["files"][name])
        shape, *norm = (tuple(manifest["input"][key]) for key in ("shape", "mean", "std"))
        _check_numbers(shape, norm)
        stops = form == "onnx" and manifest["rule"] is not None
        return Candidate(str(target), target, shape, norm[0], norm[1], stops, form)  # type: ignore[arg-type]
    except InputError as error:
        raise user_error(target, str(error).removeprefix(f"{target}/")) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise user_error(target / MANIFEST, "damaged; export again") from error


def _check_numbers(shape: tuple[Any, ...], norm: list[tuple[Any, ...]]) -> None:
    """Raise ValueError unless these are a shape of images, and a mean and a deviation for each channel."""
    channels, height, width = shape
    sizes = all(isinstance(size, int) and 0 < size <= MOST_VALUES for size in shape)
    if not sizes or channels * height * width > MOST_VALUES:
        raise ValueError
    if any(len(numbers) != channels or not all(isinstance(one, int | float) for one in numbers) for numbers in norm):
        raise ValueError


def _distinct(candidates: list[Candidate]) -> tuple[Candidate, ...]:
    """Return each network once: runs often share their baseline."""
    seen: dict[Any, Candidate] = {}
    for one in candidates:
        key = (one.is_baseline, one.path.read_bytes() if one.is_baseline else str(one.path))
        if not one.is_baseline and key in seen:
            raise user_error(one.path.parent if one.path.is_file() else one.path, "is given twice; name each once")
        seen.setdefault(key, one)
    return tuple(seen.values())


def _check_alike(candidates: Sequence[Candidate]) -> None:
    first = candidates[0]
    for one in candidates[1:]:
        if one.shape != first.shape:
            sizes = ("x".join(map(str, each.shape)) for each in (one, first))
            raise user_error(one.path, "takes images of {}, the first of {}; name networks alike".format(*sizes))


def _recipe(targets: Sequence[Path], data: Path | None, first: Candidate) -> RecipeFile | None:
    """Return the recipe whose images go in: the option's, or the first run's that is named or holds an export."""
    folders = [folder for target in targets for folder in (target, target.absolute().parent)]
    known = next((folder / RECIPE for folder in folders if _is_run(folder)), None)
    if data is None and known is None:
        return None
    recipe = read(data or known)  # type: ignore[arg-type]
    if recipe.info.shape != first.shape:
        sizes = ("x".join(map(str, shape)) for shape in (recipe.info.shape, first.shape))
        raise UserError([recipe.fault(("data",), "has images of {}; the network takes {}".format(*sizes))])
    return recipe


def _is_run(folder: Path) -> bool:
    return (folder / RECIPE).is_file() and (folder / RESULT).is_file()
