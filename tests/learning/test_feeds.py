"""What a training is fed with: fixed views and what a teacher said to them, alternating flips, smoothed targets."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from coc_cli.data.images import Data, Split
from coc_cli.data.settings import Augment
from coc_cli.learning.answers import Answers
from coc_cli.learning.evaluation import outputs
from coc_cli.learning.feeds import Fed, Live, Views, smoothed
from coc_cli.learning.kept_answers import SUFFIX, KeptAnswers
from coc_cli.learning.kept_features import FrozenBackbone, KeptFeatures
from coc_cli.nets.arithmetic import Arithmetic
from coc_cli.nets.network import Network
from coc_cli.stages.distill import Distill
from coc_cli.stages.early_exit import EarlyExit
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Lab

MUCH = Augment(shift=1, rotate=5, flip="alternating")


def epoch_of(feed: Live | Views, epoch: int, size: int = 7) -> list[Fed]:
    return list(feed.batches(epoch, size, torch.Generator().manual_seed(epoch))[1])


def rows(fed: list[Fed]) -> list[bytes]:
    return sorted(image.numpy().tobytes() for batch in fed for image in batch.images)


@pytest.fixture
def views(network: Network, data: Data, tmp_path: Path) -> Views:
    kept = KeptAnswers(3, len(network.spec.labels), tmp_path / "key", lambda split: outputs(network, split)[-1])
    return Views(data.train, MUCH, 1, 2, kept)


def test_answers_kept_are_the_live_ones(network: Network, data: Data, views: Views, tmp_path: Path) -> None:
    for epoch in range(4):
        for fed in epoch_of(views, epoch):
            assert fed.teacher_output is not None
            with torch.no_grad():
                live = network.eval()(network.normalise(fed.images))[-1]
            torch.testing.assert_close(fed.teacher_output, live, atol=2e-3, rtol=2e-3)
    assert sorted(path.name for path in (tmp_path / "key").iterdir()) == [f"{view}{SUFFIX}" for view in range(3)]
    assert len(data.train) == sum(len(fed.targets) for fed in epoch_of(views, 0))


def test_views_are_few_fixed_and_all_have_their_turn(views: Views) -> None:
    turns = [views.turn(epoch) for epoch in range(9)]
    assert [sorted(turns[start : start + 3]) for start in (0, 3, 6)] == [[0, 1, 2]] * 3
    assert len({tuple(turns[start : start + 3]) for start in (0, 3, 6)}) > 1
    seen = {views.turn(epoch): rows(epoch_of(views, epoch)) for epoch in range(3)}
    assert len({tuple(each) for each in seen.values()}) == 3
    assert rows(epoch_of(views, 3)) == seen[views.turn(3)]
    other = replace(views, seed=9, _kept={})  # another stage of the chain
    assert rows(epoch_of(other, 0)) == seen[other.turn(0)]


def test_a_damaged_file_of_answers_is_asked_for_again(views: Views, tmp_path: Path) -> None:
    before = epoch_of(views, 0)
    path = tmp_path / "key" / f"{views.turn(0)}{SUFFIX}"
    whole = path.read_bytes()
    left = path.with_name(f".{path.name}.999999999")  # by a writer that was killed
    wrong = [np.full((len(whole) - 32) // 2, np.nan, np.float16).tobytes(), whole[32:-8]]  # under a right checksum
    contents = [whole[:-1], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:], b""]
    for content in (*contents, *(hashlib.sha256(body).digest() + body for body in wrong)):
        path.write_bytes(content)
        left.touch()
        after = epoch_of(replace(views, _kept={}), 0)
        for one, other in zip(before, after, strict=True):
            assert torch.equal(one.teacher_output, other.teacher_output)  # type: ignore[arg-type]
        assert path.read_bytes() == whole
        assert not left.exists()


def test_stages_with_views_ask_once_and_go_on_to_the_same_bits(network: Network, lab: Lab, tmp_path: Path) -> None:
    lab = replace(lab, answers=Answers(tmp_path / "answers", 5, "data"), augment=MUCH)
    asked = []
    hook = network.register_forward_hook(lambda *_: asked.append(1))
    lab = replace(lab, baseline=network)
    settings = {"epochs": 3, "batch": 32, "teacher_views": 2}
    first = Distill(student="same", **settings).apply(network, replace(lab, state=tmp_path / "a"))  # type: ignore[arg-type]
    count = len(asked)
    assert count > 0
    made = [
        Quantize(weights=4, activations=4, **settings).apply(first, replace(lab, state=tmp_path / name))  # type: ignore[arg-type]
        for name in "bc"
    ]
    hook.remove()
    assert len(asked) == count, "the second stage asks nothing"
    for (name, one), (_, other) in zip(*(net.state_dict().items() for net in made), strict=True):
        assert torch.equal(one, other), name


def test_flips_alternate_by_image(data: Data) -> None:
    feed = Live(data.train, Augment(flip="alternating"), 3, 4)
    plain, seen = rows(epoch_of(Live(data.train, Augment(), 3, 4), 0)), [rows(epoch_of(feed, e)) for e in range(3)]
    mirrored = sorted(image.flip(2).numpy().tobytes() for image in data.train.images)
    assert seen[0] == seen[2] != seen[1]
    assert sorted([*seen[0], *seen[1]]) == sorted([*plain, *mirrored])
    share = sum(row not in set(plain) for row in seen[0]) / len(plain)
    assert 0.3 < share < 0.7


def test_smoothing_by_hand() -> None:
    assert smoothed(torch.tensor([2]), 0.2, 4).tolist() == [pytest.approx([0.05, 0.05, 0.85, 0.05])]
    mixed = smoothed(torch.tensor([[0.5, 0.5, 0.0, 0.0]]), 0.2, 4)
    assert mixed.tolist() == [pytest.approx([0.45, 0.45, 0.05, 0.05])]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_heads_see_the_same_of_a_frozen_backbone_kept_or_live(network: Network, lab: Lab, precision: str) -> None:
    made = EarlyExit(exits=2, head="bof", epochs=0).apply(
        Quantize(weights=4, activations=4, epochs=0).apply(network, lab), lab
    )
    frozen, arithmetic = FrozenBackbone(made), Arithmetic(precision)  # type: ignore[arg-type]
    features = KeptFeatures(frozen, arithmetic).of(lab.data.train)
    images = made.normalise(lab.data.train.images)
    with torch.no_grad(), made.computing(arithmetic):
        live, kept = made(images), frozen.outputs(features)
    assert len(kept) == len(live) == 3
    for one, other in zip(live, kept, strict=True):
        assert (one.dtype, other.dtype) == (torch.float32, torch.float32)
        torch.testing.assert_close(one, other, rtol=1e-2 if precision == "bfloat16" else 1e-4, atol=1e-3)


def test_heads_train_alike_on_kept_features(
    network: Network, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the same start, over the same views, with and without memory for them; the backbone runs once a view."""
    stage = EarlyExit(exits=2, backbone="frozen", head="pool", epochs=4, batch=32, teacher_views=2)  # type: ignore[call-arg]
    made, counts, computed, of = [], [], [0], KeptFeatures.of

    def counted(kept: KeptFeatures, images: Split) -> tuple[torch.Tensor, ...]:
        computed[0] += len(images)
        return of(kept, images)

    monkeypatch.setattr(KeptFeatures, "of", counted)
    for memory in (0, 1 << 30):
        computed[0] = 0
        answers = Answers(tmp_path / "answers", 5, "data", memory)
        mine = replace(lab, answers=answers, augment=MUCH, baseline=network, state=tmp_path / str(memory))
        made.append(stage.apply(network, mine))
        counts.append(computed[0])
    assert counts == [1, 1 + 2 * len(lab.data.train)], "one image tells the size; then each view once in four epochs"
    for (name, one), (_, other) in zip(*(net.state_dict().items() for net in made), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4, msg=name)
        if not name.startswith("exits"):
            assert torch.equal(other, network.state_dict()[name])


def test_answers_kept_before_a_fresh_run_do_not_count(network: Network, lab: Lab, tmp_path: Path) -> None:
    """Nor do they where the fresh run was cut, and goes on without being called fresh."""
    asked = []
    hook = network.register_forward_hook(lambda *_: asked.append(1))
    counts = []
    for since in (0.0, 0.0, time.time() + 60, 0.0):
        feed = Answers(tmp_path, 5, "data", since=since).feed(network, 1, lab, 0)
        assert feed is not None
        epoch_of(feed, 0)
        counts.append(len(asked))
    hook.remove()
    assert counts == [counts[0], counts[0], 2 * counts[0], 2 * counts[0]]
