"""Names of weights from elsewhere: prefixes that are taken off, and the line of `keys` that a message suggests."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from coc_cli.errors import Fault, UserError
from coc_cli.nets.foreign_names import suggestion, unwrapped, without_counters
from coc_cli.nets.foreign_weights import check_foreign, load_foreign
from coc_cli.nets.network import Network, build
from coc_cli.nets.spec import Spec
from coc_cli.recipe.model import Checkpoint

State = dict[str, torch.Tensor]


def at(loc: tuple[str | int, ...], what: str) -> Fault:
    return Fault(".".join(("model", *map(str, loc))), what)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def loaded(spec: Spec, checkpoint: Checkpoint) -> Network:
    inputs = (Path(checkpoint.path), checkpoint.passes, spec, at)
    check_foreign(*inputs, entry=checkpoint.entry)
    return load_foreign(*inputs, entry=checkpoint.entry)


def said(spec: Spec, checkpoint: Checkpoint) -> str:
    with pytest.raises(UserError) as caught:
        loaded(spec, checkpoint)
    return str(caught.value)


def is_same(one: Network, other: Network) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def state_of(network: Network, change: Callable[[str], str]) -> State:
    return {change(name): value.contiguous() for name, value in network.backbone.state_dict().items()}


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "model.",
        "net.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.net.module._orig_mod.",
    ],
)
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_prefixes_of_wrappers_are_taken_off(network: Network, spec: Spec, prefix: str, suffix: str) -> None:
    state = state_of(network, lambda name: prefix + name)
    torch.save(state, "w.pt") if suffix == "pt" else save_file(state, "w.safetensors")
    assert is_same(loaded(spec, Checkpoint(path=f"w.{suffix}")), network)


def test_a_part_that_was_compiled_is_found(network: Network, spec: Spec) -> None:
    torch.save(state_of(network, lambda name: name.replace("stages.", "stages._orig_mod.")), "w.pt")
    assert is_same(loaded(spec, Checkpoint(path="w.pt")), network)


def test_counters_of_averages_and_profilers_are_dropped(network: Network, spec: Spec) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(network.backbone)
    assert "n_averaged" in averaged.state_dict()
    state = {**averaged.state_dict(), "module.total_ops": torch.zeros(1), "module.conv1.total_params": torch.zeros(1)}
    torch.save({"ema": state, "optimizer": {"lr": 0.1}}, "w.pt")
    assert is_same(loaded(spec, Checkpoint(path="w.pt")), network)
    norms_elsewhere = {**network.backbone.state_dict(), "conv1.num_batches_tracked": torch.tensor(3)}
    torch.save(norms_elsewhere, "w.pt")
    assert is_same(loaded(spec, Checkpoint(path="w.pt")), network)


@pytest.mark.parametrize(
    ("names", "own", "expected"),
    [
        ("model.a model.b", "model.a model.b", "model.a model.b"),  # an architecture whose own names begin so
        ("model.model.a model.model.b", "model.a model.b", "model.a model.b"),
        ("module.model.a module.head", "model.a head", "model.a head"),
        ("module.a module.b", "x y", "module.a module.b"),  # nothing fits, nothing is taken off
        ("model.a loss", "a", "model.a loss"),  # not common to all
        ("n_averaged module.a", "a", "n_averaged a"),
        ("a._orig_mod.b _orig_mod.c", "a.b c", "a.b c"),
        ("", "a", ""),
    ],
)
def test_a_prefix_goes_only_where_names_fit_better_then(names: str, own: str, expected: str) -> None:
    assert list(unwrapped(names.split(), own.split()).values()) == expected.split()


def test_counters_of_the_architectures_own_stay() -> None:
    assert without_counters(["a.n_averaged", "b.total_ops", "c"], ["a.n_averaged"]) == ["a.n_averaged", "c"]


def test_keys_see_names_as_they_always_did(network: Network, spec: Spec) -> None:
    """Without `module.`, with all else; what wrappers the renamed names still have is taken off."""
    torch.save(state_of(network, lambda name: f"module.net.{name}"), "w.pt")
    assert is_same(loaded(spec, Checkpoint(path="w.pt", keys={r"net\.(.*)": r"\1"})), network)
    assert is_same(loaded(spec, Checkpoint(path="w.pt", keys={r"net\.(.*)": r"model.\1"})), network)
    with pytest.raises(UserError, match=r"matches no name that .*; the first is 'net.conv1"):
        loaded(spec, Checkpoint(path="w.pt", keys={r"module\.(.*)": r"\1"}))


def prefixed(name: str) -> str:
    return f"encoder.{name}".replace("encoder.linear", "fc")


# What other people's names are, and what the message suggests
RENAMED: dict[str, tuple[Callable[[str], str], str]] = {
    "a prefix": (lambda name: f"encoder.{name}", r"{'encoder\.(.*)': '\1'}"),
    "a long prefix": (lambda name: f"learner.encoder.q.{name}", r"{'learner\.encoder\.q\.(.*)': '\1'}"),
    "a prefix behind those of wrappers": (lambda name: f"module.encoder.{name}", r"{'encoder\.(.*)': '\1'}"),
    "a prefix of most": (prefixed, r"{'encoder\.(.*)': '\1', 'fc\.(.*)': 'linear.\1'}"),
    "a component at the top": (lambda name: name.replace("linear", "fc"), r"{'fc\.(.*)': 'linear.\1'}"),
    "a component inside": (
        lambda name: name.replace(".conv2.", ".second."),
        r"{'(.*)\.second\.(.*)': '\1.conv2.\2'}",
    ),
    "a component anywhere": (lambda name: name.replace("conv1", "it"), r"{'(|.*\.)it\.(.*)': '\g<1>conv1.\2'}"),
    "a component at the end": (
        lambda name: name.replace("running_mean", "mean"),
        r"{'(.*)\.mean': '\1.running_mean'}",
    ),
    "a number": (lambda name: name.replace("stages.0.", "stages.a."), r"{'(.*)\.a\.(.*)': '\1.0.\2'}"),
    "a quote": (lambda name: name.replace("linear", "it's"), r"{'it''s\.(.*)': 'linear.\1'}"),
    "two components": (
        lambda name: name.replace("linear", "fc").replace("stages", "layers"),
        r"{'layers\.(.*)': 'stages.\1', 'fc\.(.*)': 'linear.\1'}",
    ),
    "a component and a prefix of all": (
        lambda name: f"encoder.{name.replace('conv2', 'second')}",
        r"[{'encoder\.(.*)': '\1'}, {'(.*)\.second\.(.*)': '\1.conv2.\2'}]",
    ),
}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("case", RENAMED)
def test_the_suggested_keys_work(case: str, suffix: str, network: Network, spec: Spec) -> None:
    change, expected = RENAMED[case]
    state = state_of(network, change)
    torch.save(state, "w.pt") if suffix == "pt" else save_file(state, "w.safetensors")
    message = said(spec, Checkpoint(path=f"w.{suffix}"))
    assert message.startswith(f"model.checkpoint: w.{suffix} does not fit cifar:resnet20: ")
    assert "\n" not in message
    line = message[message.index("keys: ") :]
    if suffix == "pt" or "two" not in case:  # a safetensors file has an order of its own
        assert line == f"keys: {expected}"
    assert is_same(loaded(spec, pasted(f"w.{suffix}", line)), network)


def pasted(path: str, line: str) -> Checkpoint:
    keys: Any = yaml.safe_load(line)["keys"]
    return Checkpoint(path=path, keys=tuple(keys) if isinstance(keys, list) else keys)


def test_names_that_lack_a_prefix_get_it() -> None:
    own = {f"backbone.{name}": (2,) for name in ("a.weight", "b.weight")}
    assert suggestion({"a.weight": (2,), "b.weight": (2,)}, own) == r"{'(.*)': 'backbone.\1'}"


def test_modules_are_matched_by_their_order() -> None:
    stored = {"0.weight": (4, 1, 3, 3), "0.bias": (4,), "3.weight": (3, 4), "3.bias": (3,)}
    own = {"conv.weight": (4, 1, 3, 3), "conv.bias": (4,), "head.fc.weight": (3, 4), "head.fc.bias": (3,)}
    assert suggestion(stored, own) == r"{'0\.(.*)': 'conv.\1', '3\.(.*)': 'head.fc.\1'}"
    assert suggestion(dict(reversed(stored.items())), own) is None


def test_what_stands_beside_the_network_is_dropped(network: Network, spec: Spec) -> None:
    state = state_of(network, lambda name: f"encoder.{name}") | {"loss.weight": torch.zeros(3), "t": torch.zeros(1)}
    torch.save(state, "w.pt")
    message = said(spec, Checkpoint(path="w.pt"))
    line = r"keys: {'loss(\..*)?': null, 't(\..*)?': null, 'encoder\.(.*)': '\1'}"
    assert message.endswith(f"; write {line}")
    assert is_same(loaded(spec, pasted("w.pt", line)), network)


def test_a_renaming_and_what_stands_beside_the_network_go_together(network: Network, spec: Spec) -> None:
    state = state_of(network, lambda name: name.replace("conv2", "second")) | {"loss.weight": torch.zeros(3)}
    torch.save(state, "w.pt")
    message = said(spec, Checkpoint(path="w.pt"))
    line = r"keys: {'loss(\..*)?': null, '(.*)\.second\.(.*)': '\1.conv2.\2'}"
    assert message.endswith(f"; write {line}")
    assert is_same(loaded(spec, pasted("w.pt", line)), network)


def test_keys_that_are_there_get_one_pass_more(network: Network, spec: Spec) -> None:
    torch.save(state_of(network, lambda name: f"a.b.{name}"), "w.pt")
    message = said(spec, Checkpoint(path="w.pt", keys={r"a\.(.*)": r"\1"}))
    assert message.endswith(r"; add the pass {'b\.(.*)': '\1'} to keys")
    assert is_same(loaded(spec, Checkpoint(path="w.pt", keys=({r"a\.(.*)": r"\1"}, {r"b\.(.*)": r"\1"}))), network)


@pytest.mark.parametrize(
    ("stored", "own"),
    [
        ({"x.weight": (3,)}, {"a.weight": (2,)}),  # another shape
        ({"a.weight": (2,), "a.b.weight": (2,)}, {"a.weight": (2,)}),  # a larger network of the same names
        ({"a.bias": (2,), "a.weight": (2,)}, {"b.weight": (2,), "b.bias": (2,), "c.weight": (2,)}),
        ({"a.bias": (2,), "b.weight": (2,)}, {"a.weight": (2,), "b.bias": (2,)}),  # a weight does not become a bias
        ({f"x{i}.w": (2,) for i in range(9)}, {f"y{i}.w": (3,) for i in range(9)}),
        ({}, {"a": (1,)}),
    ],
)
def test_nothing_is_suggested_that_does_not_explain_all(stored: dict, own: dict) -> None:
    assert suggestion(stored, own) is None


def test_many_names_in_any_order_take_no_time() -> None:
    own = {f"stages.{i}.conv{j}.{leaf}": (i, j) for i in range(60) for j in range(8) for leaf in ("weight", "bias")}
    names = [f"encoder.{name.replace('conv7', 'last')}" for name in own]
    stored = dict(zip(names, own.values(), strict=True))
    random.Random(0).shuffle(names)
    assert suggestion({name: stored[name] for name in names}, own) == (
        r"[{'encoder\.(.*)': '\1'}, {'(.*)\.last\.(.*)': '\1.conv7.\2'}]"
    )


def test_a_whole_other_network_of_that_library_is_said_without_a_suggestion(spec: Spec) -> None:
    deeper = build(spec.with_changes(args={"depth": 14, "width": 4})).backbone.state_dict()
    torch.save(deeper, "w.pt")
    assert "write keys" not in said(spec, Checkpoint(path="w.pt"))
