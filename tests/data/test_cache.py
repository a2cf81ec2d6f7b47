"""The decoded images on disk: decoded once, checked when loaded, mapped when large, and the same bits either way."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from pictures import below, encoded, pack, pixels, tree, unpack

from coc_cli.data import decode, sources
from coc_cli.data.images import Data
from coc_cli.data.read_ahead import ahead
from coc_cli.data.settings import Augment, DataSettings
from coc_cli.errors import StageError
from coc_cli.files import atomic
from coc_cli.learning.loop import fit
from coc_cli.learning.training import Training
from coc_cli.nets.network import Network, clone
from coc_cli.nets.spec import Spec
from coc_cli.stages.quantize import Quantize


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    unpack(
        {**below("train", tree({"a": 40, "b": 40, "c": 40})), **below("test", tree({"a": 4, "b": 4, "c": 4}))},
        Path("set"),
    )


def read(**keys: object) -> tuple[Data, int]:
    """Give the data and how many images were decoded for it."""
    seen = [0]
    settings = DataSettings(source="folder:set", **keys)  # type: ignore[arg-type]
    data = sources.read(settings, 0, cache=Path("cache"), progress=lambda done, _: seen.append(done))
    return data, seen[-1]


def test_images_are_decoded_once() -> None:
    first, decoded = read()
    assert decoded == 132
    again, decoded = read()
    assert decoded == 0
    assert first.fingerprint() == again.fingerprint()
    assert torch.equal(first.train.images, again.train.images)
    assert read(size=4)[1] == 132
    assert read(channels=1)[1] == 132
    assert sorted(path.suffix for path in Path("cache/data").iterdir()) == ["", "", "", ".lock", ".lock", ".lock"]


def test_a_changed_image_is_decoded_again() -> None:
    first, _ = read()
    path = Path("set/train/a/003.png")
    path.write_bytes(encoded(pixels(999)))
    os.utime(path, ns=(1, 1))
    changed, decoded = read()
    assert decoded == 132
    assert changed.fingerprint() != first.fingerprint()


def test_a_changed_archive_is_decoded_again() -> None:
    settings, files = DataSettings(source="folder:set.zip"), tree({"a": 9, "b": 9})
    pack(files, Path("set.zip"))
    first = sources.read(settings, 0, cache=Path("cache"))
    pack({**files, "a/003.png": encoded(pixels(999))}, Path("set.zip"))
    assert sources.read(settings, 0, cache=Path("cache")).fingerprint() != first.fingerprint()


@pytest.mark.parametrize("memory", [0.25, 0.0])
@pytest.mark.parametrize("name", ["images.npy", "sums.npy", "about.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "other"])
def test_a_damaged_cache_is_made_again(memory: float, name: str, damage: str) -> None:
    whole, _ = read(memory=memory)
    expected = whole.train.take(torch.arange(5)).clone()
    (path,) = Path("cache/data").glob(f"*/{name}")
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(1, 1)) if path.exists() else None  # as a clock of any coarseness would show it
    data, decoded = read(memory=memory)
    assert decoded == 132
    assert torch.equal(data.train.take(torch.arange(5)), expected)


def test_a_mapped_cache_that_was_only_copied_is_used() -> None:
    read(memory=0.0)
    (path,) = Path("cache/data").glob("*/images.npy")
    os.utime(path, ns=(1, 1))
    assert read(memory=0.0)[1] == 0


@pytest.mark.parametrize("memory", [0.25, 0.0])
@pytest.mark.parametrize("name", ["images.npy", "sums.npy"])
def test_a_cache_that_looks_like_an_archive_is_made_again(memory: float, name: str) -> None:
    read(memory=memory)
    (path,) = Path("cache/data").glob(f"*/{name}")
    path.write_bytes(b"PK\x03\x04" + path.read_bytes()[4:])
    assert read(memory=memory)[1] == 132
    pack({"a.npy": b""}, path)
    assert read(memory=memory)[1] == 132


@pytest.mark.parametrize("place", ["cache", "cache/data"])
def test_a_file_where_the_cache_should_be_is_told(place: str) -> None:
    Path(place).parent.mkdir(exist_ok=True)
    Path(place).write_text("no folder")
    with pytest.raises(StageError, match=r"decoded images cannot be kept in 'cache/data': .*; make that a folder that"):
        read()


@pytest.mark.parametrize("where", [(Path, "mkdir"), (atomic.fcntl, "flock"), (decode.os, "fsync")])
def test_a_cache_that_cannot_be_written_is_told(where: tuple[object, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(*where, refuse)
    with pytest.raises(StageError, match="decoded images cannot be kept in 'cache/data': Permission denied"):
        read()


def test_a_killed_decoder_leaves_nothing_that_is_taken_for_whole() -> None:
    class Killed(BaseException):
        pass

    def die(*_: int) -> None:
        raise Killed

    with pytest.raises(Killed):
        sources.read(DataSettings(source="folder:set"), 0, cache=Path("cache"), progress=die)
    (lock,) = Path("cache/data").iterdir()
    part = lock.with_suffix(".part")  # as a process leaves it that could not clean up
    part.mkdir()
    (part / "images.npy").write_bytes(b"half")
    assert read()[1] == 132
    assert not part.exists()


def test_a_full_disk_is_said_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode.shutil, "disk_usage", lambda _: decode.shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(StageError, match=r"decoded images take 0.0 GB in 'cache/data', where 0.0 GB are free; give a"):
        read()


def _read_in_a_process(_: int) -> tuple[str, int]:
    data, decoded = read()
    return data.fingerprint(), decoded


def test_of_two_runs_one_decodes_and_the_other_waits() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        (one, first), (other, second) = pool.map(_read_in_a_process, range(2), chunksize=1)
    assert one == other
    assert sorted((first, second)) == [0, 132]


def test_images_on_disk_train_to_the_same_bits_as_images_in_memory(spec: Spec, tmp_path: Path) -> None:
    from coc_cli.nets.network import build

    loss = Quantize(weights=8, activations=8).loss(None)
    start = build(spec.with_changes(input_shape=(3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3))
    trained: list[Network] = []
    (memory, _), (disk, decoded) = read(), read(memory=0.0)
    assert (memory.train.mapped, disk.train.mapped, decoded) == (False, True, 0)
    assert memory.fingerprint() == disk.fingerprint()
    assert memory.info == disk.info
    for name, data in (("memory", memory), ("disk", disk)):
        network = clone(start)
        augment = Augment(shift=1, flip=True)
        settings = Training(epochs=2, batch=16)
        fit(network, data, settings, loss, augment=augment, seed=1, state=tmp_path / name, log=lambda _: None)
        trained.append(network)
    one, other = (network.state_dict() for network in trained)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_moving_keeps_shared_images_shared_and_mapped_ones_where_they_are() -> None:
    memory, disk = read()[0].to("cpu"), read(memory=0.0)[0].to("meta")
    assert memory.train.images is memory.validation.images is memory.test.images
    assert (disk.train.images.device.type, disk.train.targets.device.type) == ("cpu", "meta")
    assert disk.train.take(torch.arange(3)).device.type == "meta"


def test_work_is_done_ahead_in_order_and_not_too_far() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    results = ahead(work, range(100), workers=2)
    assert next(results) == 0
    assert len(begun) <= 5
    assert list(results) == [item * item for item in range(1, 100)]


def read_some(limit: int | None, seed: int = 0, memory: float = 0.25) -> tuple[Data, int]:
    """Give the data, with at most so many images a split, and how many were decoded for it."""
    seen = [0]
    settings = DataSettings(source="folder:set", limit=limit, memory=memory)
    data = sources.read(settings, seed, cache=Path("cache"), progress=lambda done, _: seen.append(done))
    return data, seen[-1]


def folders() -> list[int]:
    """Return how long the names of the entries are: of all images, and of some of them."""
    return sorted(len(path.name) for path in Path("cache/data").iterdir() if path.is_dir())


def test_some_images_are_decoded_into_one_place_and_all_serve_for_some() -> None:
    alone = {}
    for limit, seed in ((6, 0), (6, 1), (9, 1)):
        alone[limit, seed], decoded = read_some(limit, seed)
        assert decoded == 3 * limit
        assert read_some(limit, seed)[1] == 0
        assert folders() == [37]
    assert len({data.fingerprint() for data in alone.values()}) == 3
    assert (read_some(None)[1], folders()) == (132, [32, 37])
    for (limit, seed), before in alone.items():
        data, decoded = read_some(limit, seed)
        assert decoded == 0
        assert (data.fingerprint(), data.info) == (before.fingerprint(), before.info)
        for split, other in zip(data.splits, before.splits, strict=True):
            every = torch.arange(len(split))
            assert torch.equal(split.take(every), other.take(every))
    assert folders() == [32, 37]


def test_some_of_damaged_images_are_decoded_anew() -> None:
    read_some(None)
    (path,) = Path("cache/data").glob("*/images.npy")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(1, 1))
    assert read_some(6)[1] == 18
    assert read_some(6, memory=0.0)[1] == 0
    assert read_some(7, memory=0.0)[1] == 21


def test_an_entry_from_before_keys_were_written_serves() -> None:
    read_some(None)
    (path,) = Path("cache/data").glob("*/about.json")
    about = json.loads(path.read_text())
    del about["key"]
    path.write_text(json.dumps(about))
    assert (read_some(None)[1], read_some(6)[1]) == (0, 0)
