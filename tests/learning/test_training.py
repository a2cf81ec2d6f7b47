"""The loop: schedule by hand, resuming bit for bit, the best epoch kept."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from coc_cli.data.images import Data
from coc_cli.data.reading import balanced
from coc_cli.data.settings import Augment, RandAugment
from coc_cli.errors import RunError
from coc_cli.learning import loop
from coc_cli.learning.loop import fit, learning_rate
from coc_cli.learning.training import Epoch, Training
from coc_cli.nets.arithmetic import Arithmetic
from coc_cli.nets.network import Network, clone
from coc_cli.nets.operation_functions import lerp
from coc_cli.stages.early_exit import EarlyExit
from coc_cli.stages.quantize import Quantize
from coc_cli.stages.stage import Lab

LOSS = Quantize(weights=8, activations=8).loss(None)


PLAIN = Augment(shift=1, rotate=5, flip=True)
KINDS = {"classes": ("network", "data"), "numbers": ("regressor", "numbers")}
MUCH = Augment(crop=0.6, cutout=2, colour=0.3, randaugment=RandAugment(), mixup=0.4)


def train(
    network: Network,
    data: Data,
    state: Path,
    epochs: int = 4,
    stop_after: int | None = None,
    augment: Augment = PLAIN,
) -> list[Epoch]:
    seen: list[Epoch] = []

    def log(epoch: Epoch) -> None:
        seen.append(epoch)
        if epoch.epoch == stop_after:
            raise KeyboardInterrupt

    settings = Training(epochs=epochs, batch=32)
    fit(network, data, settings, LOSS, augment=augment, seed=3, state=state, log=log)
    return seen


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_a_resumed_training_ends_in_the_same_bits(
    network: Network, data: Data, tmp_path: Path, stop_after: int
) -> None:
    whole, broken, resumed = clone(network), clone(network), clone(network)
    train(whole, data, tmp_path / "whole.pt")
    with pytest.raises(KeyboardInterrupt):
        train(broken, data, tmp_path / "broken.pt", stop_after=stop_after)
    seen = train(resumed, data, tmp_path / "broken.pt")
    assert [epoch.epoch for epoch in seen] == [1, 2, 3, 4]
    assert [epoch.restored for epoch in seen] == [True] * stop_after + [False] * (4 - stop_after)
    for (name, one), (_, other) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_a_resumed_training_with_every_change_and_balance_ends_in_the_same_bits(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    network, data = (request.getfixturevalue(name) for name in KINDS[kind])
    data = balanced(data, 0.7)
    whole, resumed, plain = clone(network), clone(network), clone(network)
    train(whole, data, tmp_path / "whole.pt", augment=MUCH)
    with pytest.raises(KeyboardInterrupt):
        train(clone(network), data, tmp_path / "broken.pt", stop_after=2, augment=MUCH)
    torch.manual_seed(99)
    train(resumed, data, tmp_path / "broken.pt", augment=MUCH)
    train(plain, data, tmp_path / "plain.pt")
    states = [made.state_dict() for made in (whole, resumed, plain)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_mapped_images_are_drawn_and_changed_as_loaded_ones(network: Network, data: Data, tmp_path: Path) -> None:
    loaded, mapped = clone(network), clone(network)
    even = balanced(data, 1.0)
    train(loaded, even, tmp_path / "loaded.pt", epochs=2, augment=MUCH)
    train(mapped, replace(even, train=replace(even.train, mapped=True)), tmp_path / "mapped.pt", epochs=2, augment=MUCH)
    for (name, one), (_, other) in zip(loaded.state_dict().items(), mapped.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("kind", ["classes", "numbers"])
def test_teachers_answer_for_the_mixed_images(kind: str, request: pytest.FixtureRequest, lab: Lab) -> None:
    network, data = (request.getfixturevalue(name) for name in KINDS[kind])
    teacher, seen = clone(network).eval(), []
    teacher.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    stage = EarlyExit(exits=1, max_drop=1.0, epochs=1, batch=32, kd_weight=1.0)
    mixing = replace(lab, data=data, augment=Augment(mixup=1.0), baseline=teacher)
    assert len(stage.apply(network, mixing).exits) == 1
    inputs, plain = torch.cat(seen).flatten(1), network.normalise(data.train.images).flatten(1)
    assert len(inputs) == len(plain) == 96
    assert torch.cdist(inputs, plain).min(1).values.median() > 1, "few are images as they were"
    assert inputs.mean() == pytest.approx(float(plain.mean()), abs=0.05)


def test_the_best_epoch_on_validation_is_kept(network: Network, data: Data, tmp_path: Path) -> None:
    from coc_cli.learning.evaluation import evaluate

    seen = train(network, data, tmp_path / "state.pt", epochs=8)
    assert evaluate(network, data.validation).value == max(epoch.metric for epoch in seen)


@pytest.mark.full
def test_the_last_epoch_is_kept_where_validation_is_not_to_choose(network: Network, data: Data, tmp_path: Path) -> None:
    """With a rate this large the last epoch is not the best by chance."""
    from coc_cli.learning.evaluation import learning

    for keep in ("last", "best"):
        made, seen = clone(network), []
        settings = Training(epochs=6, batch=32, lr=0.3, final_lr=1.0, keep=keep)  # type: ignore[arg-type]
        arguments = {"augment": PLAIN, "seed": 3, "state": tmp_path / keep, "log": seen.append}
        fit(made, data, settings, LOSS, **arguments)  # type: ignore[arg-type]
        metrics = [epoch.metric for epoch in seen]
        assert max(metrics) > metrics[-1]
        assert learning(made, data.validation).value == (metrics[-1] if keep == "last" else max(metrics))


def test_the_learning_rate_rises_then_falls() -> None:
    settings = Training(lr=1.0, warmup=0.1)
    rates = [learning_rate(settings, step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[9] == pytest.approx(10 / 11)
    assert rates[10] == max(rates) == 1.0
    assert rates[55] == pytest.approx(0.01 + 0.99 / 2)  # half of the way down
    assert rates[99] == pytest.approx(0.01, abs=1e-3)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_training_in_bfloat16_keeps_weights_and_gradients_in_float32(network: Network, lab: Lab) -> None:
    """What a CUDA device does, on the CPU: through quantisers of 1 to 4 bits, exits and a teacher."""
    stages = [
        Quantize(weights=1, activations=4, epochs=2, batch=32),
        EarlyExit(exits=2, head="bof", epochs=2, batch=32),
    ]

    def made(precision: str) -> list[Network]:
        mine = replace(lab, arithmetic=Arithmetic(precision), state=lab.state / precision)  # type: ignore[arg-type]
        return [stage.apply(network, replace(mine, state=mine.state / stage.name)) for stage in stages]

    full, half = made("float32"), made("bfloat16")
    for one, other in zip(full, half, strict=True):
        kept = {tensor.dtype for tensor in other.state_dict().values() if tensor.is_floating_point()}
        assert kept == {torch.float32}
        weights = [torch.cat([p.detach().flatten() for p in net.parameters()]) for net in (one, other)]
        assert not torch.equal(*weights)
        assert torch.nn.functional.cosine_similarity(*weights, dim=0) > 0.98
        images = torch.randn(2, *other.spec.input_shape)
        for arithmetic in (Arithmetic(), Arithmetic("bfloat16")):
            with other.computing(arithmetic):
                found = other(images)
                assert {output.dtype for output in found} == {torch.float32}
                is_coarse = torch.equal(found[-1], found[-1].bfloat16().float())
                assert is_coarse == (arithmetic.precision == "bfloat16")


def test_a_diverging_training_says_so(network: Network, data: Data, tmp_path: Path) -> None:
    def broken(net: Network, batch: object) -> torch.Tensor:
        return LOSS(net, batch) * float("nan")  # type: ignore[arg-type]

    with pytest.raises(
        RunError,
        match=r"training diverged in epoch 1 of 1 at a peak rate of 0.002: the loss is nan; a lower lr may help",
    ):
        fit(network, data, Training(epochs=1), broken, augment=Augment(), seed=0, state=tmp_path / "s", log=print)


def test_a_damaged_state_costs_an_epoch_and_changes_nothing(network: Network, data: Data, tmp_path: Path) -> None:
    whole = clone(network)
    train(whole, data, tmp_path / "whole.pt")
    for count, damage in enumerate((b"", b"x" * 100, None, "cut", "flip", "both")):
        state = tmp_path / f"{count}.pt"
        with pytest.raises(KeyboardInterrupt):
            train(clone(network), data, state, stop_after=3)
        later, earlier = state.with_name(f"{count}.1.pt"), state.with_name(f"{count}.0.pt")
        content = later.read_bytes()
        if damage is None:
            later.unlink()
        else:
            flipped = content[:5000] + bytes([content[5000] ^ 4]) + content[5001:]
            later.write_bytes({"cut": content[:-1], "flip": flipped, "both": b"no"}.get(damage, damage))
        if damage == "both":
            earlier.write_bytes(b"")
        resumed, warnings = clone(network), []
        fit(
            resumed,
            data,
            Training(epochs=4, batch=32),
            LOSS,
            augment=Augment(shift=1, rotate=5, flip=True),
            seed=3,
            state=state,
            log=lambda _: None,
            warn=warnings.append,
        )
        assert len(warnings) == {None: 0, "both": 2}.get(damage, 1)
        assert all(text.endswith("from the one before, or from the stage's start") for text in warnings)
        for (name, one), (_, other) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
            assert torch.equal(one, other), (damage, name)


def test_a_state_of_another_training_is_left_out(network: Network, data: Data, tmp_path: Path) -> None:
    train(clone(network), data, tmp_path / "s.pt", epochs=3)
    seen = train(clone(network), data, tmp_path / "s.pt", epochs=2)
    assert [epoch.restored for epoch in seen] == [False, False]


@pytest.mark.parametrize(
    ("value", "what"), [(float("inf"), "'backbone.linear.bias' is not finite"), (3e38, "the validation loss is ")]
)
def test_what_is_not_finite_after_an_epoch_stops_the_stage(
    network: Network, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, what: str
) -> None:
    one_pass = loop._one_pass

    def spoiling(net: Network, *inputs: object, **named: object) -> float:
        mean = one_pass(net, *inputs, **named)  # type: ignore[arg-type]
        if inputs[-1] == 1:
            net.layer("linear").bias.data[0] = value
        return mean

    monkeypatch.setattr(loop, "_one_pass", spoiling)
    with pytest.raises(RunError) as caught:
        train(network, data, tmp_path / "s.pt")
    assert str(caught.value).startswith(f"training diverged in epoch 2 of 4 at a peak rate of 0.002: {what}")
    monkeypatch.setattr(loop, "_one_pass", one_pass)
    assert [epoch.restored for epoch in train(clone(network), data, tmp_path / "s.pt")] == [True, False, False, False]


def test_a_training_that_may_begins_again_once_more_slowly(network: Network, data: Data, tmp_path: Path) -> None:
    rates: list[float] = []

    def fragile(net: Network, batch: object) -> torch.Tensor:
        value = LOSS(net, batch)  # type: ignore[arg-type]
        return value * float("nan") if settings.lr == 1e-2 and not slow else value

    settings, slow, warnings = Training(epochs=2, batch=32, lr=1e-2, on_divergence="retry"), [], []

    def warn(text: str) -> None:
        warnings.append(text)
        slow.append(True)

    fit(network, data, settings, fragile, augment=Augment(), seed=0, state=tmp_path / "s", log=rates.append, warn=warn)
    assert warnings == [
        "training diverged in epoch 1 of 2 at a peak rate of 0.01: the loss is nan; it begins again at 0.0025"
    ]
    assert len(rates) == 2


def test_a_lineage_holds_later_keys_only_where_they_are_not_the_default() -> None:
    """They would lengthen every checkpoint, and small ones are a few kilobytes."""
    plain = Quantize(weights=2, activations=3, epochs=5).recorded()
    assert plain["weight_decay"] == 1e-4
    assert not set(plain) & Quantize.later
    changed = Quantize(weights=2, activations=3, average=0.9, through=((4, 4),), teacher_views=3).recorded()
    assert set(changed) - set(plain) == {"average", "through", "teacher_views"}


def test_tensors_of_mixed_types_are_interpolated() -> None:
    """As where a convolution in bfloat16 meets the image."""
    x, y = torch.randn(2, 3, 4, dtype=torch.bfloat16)[0], torch.randn(3, 4)
    for weight in (0.25, torch.tensor(0.25), torch.full((3, 4), 0.25)):
        torch.testing.assert_close(lerp(x, y, weight), torch.lerp(x.float(), y, 0.25))
    assert lerp(x, x, 0.5).dtype == torch.bfloat16
