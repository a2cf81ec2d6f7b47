"""Groups: no cut parts one, splits come near to what is asked, and names as of frames are noticed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import tree, unpack

from coc_cli.data import sources
from coc_cli.data.grouping import frames_note, group_problems, numbered
from coc_cli.data.settings import DataSettings
from coc_cli.data.splits import TEST
from coc_cli.data.splitting import cut_all, draw_groups
from coc_cli.errors import StageError

ALL = np.arange(3000)


def cut(groups: np.ndarray, classes: np.ndarray | None, seed: int = 0) -> tuple[np.ndarray, ...]:
    splits = np.zeros(len(groups), dtype=np.int8)
    return cut_all(splits, classes, validation=0.1, test=0.2, seed=seed, groups=groups)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=30, max_size=120), st.integers(1, 4), st.integers(0, 9))
def test_no_group_is_parted_and_splits_come_near(sizes: list[int], classes: int, seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = groups % classes
    parts = cut(groups, labels if classes > 1 else None, seed)
    assert sorted(np.concatenate(parts)) == list(range(len(groups)))
    held = [set(groups[part]) for part in parts]
    assert not held[0] & held[1]
    assert not held[0] & held[2]
    assert not held[1] & held[2]
    for label in range(classes):
        assert all((labels[part] == label).any() for part in parts)
    # As near as the groups allow: of each class the drawn are off by less than its largest group.
    wanted = 0.2 * len(groups)
    assert abs(len(parts[TEST]) - wanted) <= classes * (max(sizes) + 1)


def test_groups_of_one_image_are_cut_as_images_are() -> None:
    labels = ALL % 3
    parts = cut(ALL, labels)
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[720] * 3, [80] * 3, [200] * 3]


def test_the_seed_alone_decides() -> None:
    groups = ALL // 10
    one, same, other = (cut(groups, ALL // 1000, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert set(one[TEST]) != set(other[TEST])


def test_a_draw_by_hand() -> None:
    """Of 100 images in two groups of 50, 20 are wanted: one group is drawn; with `leave` of two none can be."""
    groups = np.arange(100) // 50
    rest, drawn = draw_groups(np.arange(100), None, 20, [0], groups=groups)
    assert (len(rest), len(drawn), len(set(groups[drawn]))) == (50, 50, 1)
    assert len(draw_groups(np.arange(100), None, 20, [0], groups=groups, leave=2)[1]) == 0


def test_without_groups_cuts_are_those_of_earlier_versions() -> None:
    """Their rows had these checksums before there were groups."""

    def rows(parts: tuple[np.ndarray, ...]) -> str:
        return hashlib.sha256(b"".join(part.astype("<i8").tobytes() for part in parts)).hexdigest()[:16]

    splits, labels = np.zeros(500, dtype=np.int8), np.arange(500) ** 2 % 7
    parts = cut_all(splits, labels, validation=0.1, test=0.2, seed=5)
    assert rows(parts) == "f94eba7ec5940a8a"
    data = sources.read(DataSettings(source="digits", holdout=0.2, limit=300), 5, cache=Path("unused"))
    assert data.fingerprint()[:16] == "2dafa5dbb55096ff"


def test_what_is_wrong_with_groups() -> None:
    splits = np.array([0, 0, 0, 1, 2], dtype=np.int8)
    classes = np.array([0, 1, 0, 1, 0])
    across = group_problems(splits, classes, ["a", "b", "c", "b", "c"], ("x", "y"))
    assert across == ["2 groups in more than one split of the source: 'b' (train, validation), 'c' (train, test)"]
    assert group_problems(splits, classes, list("abcde"), ("x", "y")) == []
    splits[:] = 0
    few = "too few groups to train on and to cut splits from, each needs 3: 'y' (1)"
    assert group_problems(splits, classes, list("abcbe"), ("x", "y")) == [f"1 class with {few}"]
    assert group_problems(splits, None, list("aabbb"), ("n",)) == [
        "2 groups to train on and to cut splits from; needs 3"
    ]
    assert numbered(["b", "a", "b"]).tolist() == [0, 1, 0]


FRAMES = [f"day/{video}_{i:02d}.png" for video in ("one", "two", "three") for i in range(10)]
PARTS = (np.arange(0, 18), np.arange(18, 24), np.arange(24, 30))


def test_names_as_of_frames_are_noticed() -> None:
    note = frames_note(FRAMES, PARTS, ("day",))
    assert note == [
        "20 images of different splits have names that differ in their last number alone, as 'day/two_00.png' (train)"
        " and 'day/two_08.png' (validation); if these are frames of one video, results flatter: give data.group"
    ]


@pytest.mark.parametrize(
    "name", ["{}.png", "cat/{}.png", "cat/cat_{}.png", "cat/2026-11-{}.png", "a{}b.png", "{}/frame_1.png"]
)
def test_other_names_are_not(name: str) -> None:
    assert frames_note([name.format(i) for i in range(30)], PARTS, ("cat",)) == []


def test_sparse_numbers_are_no_frames() -> None:
    """As CIFAR-10's: 'mule_deer_s_000581', numbers of a search for pictures; every thirtieth frame is one."""
    numbers = np.sort(np.random.default_rng(0).choice(2000, 30, replace=False))
    assert frames_note([f"deer/mule_deer_s_{number:06d}.webp" for number in numbers], PARTS, ("deer",)) == []
    assert frames_note([f"deer/mule_deer_s_{30 * number:06d}.webp" for number in range(30)], PARTS, ("deer",))


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Folders of two classes, each of six videos of five frames."""
    monkeypatch.chdir(tmp_path)
    pictures = tree({"cat": 30, "dog": 30})
    renamed = {
        f"{name.split('/')[0]}/v{index // 5:02d}-{index % 5}.png": content
        for index, (name, content) in enumerate(pictures.items())
    }
    unpack(renamed, Path("set"))
    return renamed


def asked(**keys: object) -> DataSettings:
    return DataSettings(source="folder:set", **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("pattern", [r"/(v\d+)-", r"v\d+", r"(cat|dog)/v\d\d(?=-)"])
def test_groups_of_folders_stay_in_one_split_and_so_does_the_holdout(videos: dict[str, bytes], pattern: str) -> None:
    del videos
    wanted = asked(group=pattern, holdout=0.3, limit=30, memory=0)
    if pattern.startswith("(cat"):
        with pytest.raises(StageError) as caught:
            sources.describe(wanted)
        assert caught.value.what == (
            "2 classes with too few groups to train on and to cut splits from, each needs 3: 'cat' (1), 'dog' (1)"
        )
        return
    data = sources.read(wanted, 3, cache=Path("cache"))
    held = [*data.splits, data.holdout]
    groups = [set(split.groups.tolist()) for split in held if split is not None and split.groups is not None]
    assert len(groups) == 4
    assert sum(map(len, groups)) == len(set().union(*groups)) == 12
    assert all(len(split.targets.unique()) == 2 for split in held if split is not None)
    info = sources.describe(wanted, 3)
    assert info.validation_images == len(data.validation)
    assert info.notes == ()


def test_frames_without_a_group_are_noted_and_one_seed_has_one_fingerprint(videos: dict[str, bytes]) -> None:
    del videos
    assert "have names that differ in their last number alone" in sources.describe(asked()).notes[0]
    prints = [
        sources.read(asked(group=r"v\d+", memory=memory), seed, cache=Path("cache")).fingerprint()
        for memory, seed in ((0.25, 1), (0, 1), (0.25, 2))
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"group": r"w\d"}, r"'w\d' matches no part of 60 paths: cat/v00-0.png, cat/v00-1.png, cat/v00-2.png,"),
        ({"group": r"v0[0678]", "test": 0.1}, r"'v0[0678]' matches no part of 40 paths: cat/v01-0.png,"),
    ],
)
def test_patterns_that_do_not_fit(videos: dict[str, bytes], keys: dict[str, object], message: str) -> None:
    del videos
    with pytest.raises(StageError) as caught:
        sources.describe(asked(**keys))
    assert caught.value.parts[0][0] == "group"
    assert caught.value.what.startswith(message)


def test_faults_of_settings() -> None:
    assert list(sources.faults(DataSettings(source="folder:.", group="("))) == [
        (("group",), "is not a regular expression: missing ), unterminated subpattern at position 0")
    ]
    assert list(sources.faults(DataSettings(source="digits", group="x"))) == [
        (("group",), "only folder: or csv: has it; leave it out")
    ]


def test_too_few_groups_to_hold_some_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = tree({"train/a": 4, "train/b": 4, "val/a": 1, "val/b": 1, "test/a": 1, "test/b": 1})
    unpack(pictures, Path("set"))
    wanted = asked(group="[a-z]+/[ab]", holdout=0.5)
    with pytest.raises(StageError) as caught:
        sources.describe(wanted)
    assert caught.value.parts == (
        ("group", "too few groups to train on and to hold some out; leave 'holdout' out, or give smaller groups"),
    )


def test_classes_tied_by_their_groups_that_no_cut_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups 1, 2, 3 hold a, and 1, 2, 4 hold b: so 3 and 4 are in one split, and of 3, 4, 5 two are for three splits."""
    monkeypatch.chdir(tmp_path)
    pictures = tree({"images": 9})
    unpack(pictures, Path("set"))
    held = zip(pictures, ["a1", "a2", "a3", "b1", "b2", "b4", "c3", "c4", "c5"], strict=True)
    lines = ["image,kind,who", *(f"{name},{letter},{who}" for name, (letter, who) in held)]
    Path("set/all.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(StageError) as caught:
        sources.describe(DataSettings(source="csv:set/all.csv", label="kind", group="who"))
    assert re.fullmatch(
        r"[12] class(es)? absent in a split: '[abc]' \(\w+\).*; its groups hold other classes too, and this seed finds no"
        r" cut; give another seed, or smaller groups",
        caught.value.what,
    )
