"""The file: its bytes, what a damaged one says, other people's weights."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import coc_cli
from coc_cli.chain.compress import compress
from coc_cli.chain.plan import make_plan
from coc_cli.errors import Fault, UserError
from coc_cli.files.atomic import write_atomically
from coc_cli.nets.checkpoint import load, save, size_bytes
from coc_cli.nets.checkpoint_header import Ancestor, checkpoint_at, is_checkpoint, read_header
from coc_cli.nets.foreign_files import WRAPPERS
from coc_cli.nets.foreign_weights import check_foreign, load_foreign
from coc_cli.nets.network import Network, build
from coc_cli.nets.spec import Spec
from coc_cli.recipe.reading import read
from coc_cli.stages.quantize import Quantize

LINEAGE = (
    Ancestor(stage="baseline", settings={"epochs": 3}, key="k1"),
    Ancestor(stage="quantize", settings={"weights": 4}, key="k2"),
)


@pytest.fixture
def path(network: Network, tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save(network, LINEAGE, path)
    return path


@pytest.mark.parametrize("bits", [None, 1, 2, 3, 5, 8])
@pytest.mark.parametrize("width", [4, 16])
def test_the_bytes_are_what_the_plan_says(spec: Spec, tmp_path: Path, bits: int | None, width: int) -> None:
    spec = spec.with_changes(args={"depth": 8, "width": width})
    if bits:
        spec = Quantize(weights=bits, activations=4).expect(spec)
    save(build(spec), LINEAGE, tmp_path / "m.safetensors")
    assert (tmp_path / "m.safetensors").stat().st_size == size_bytes(spec, LINEAGE)


def test_codes_make_the_file_small(spec: Spec, tmp_path: Path) -> None:
    spec = spec.with_changes(args={"depth": 8, "width": 32})
    sizes = {}
    for bits in (None, 8, 1):
        made = Quantize(weights=bits, activations=4, first=8, last=8).expect(spec) if bits else spec
        save(build(made), (), tmp_path / "m.safetensors")
        sizes[bits] = (tmp_path / "m.safetensors").stat().st_size
    weights = sum(p.numel() for name, p in build(spec).named_parameters() if "conv" in name)
    assert sizes[None] - sizes[8] > 2.9 * weights
    assert sizes[8] - sizes[1] > 0.8 * weights


def test_header_needs_no_tensors(path: Path, spec: Spec) -> None:
    assert is_checkpoint(path)
    header = read_header(path)
    assert header.spec == spec
    assert header.lineage == LINEAGE


def test_equal_runs_write_equal_files_and_nothing_of_the_machine(network: Network, path: Path, tmp_path: Path) -> None:
    save(network, LINEAGE, tmp_path / "elsewhere" / "again.safetensors")
    content = path.read_bytes()
    assert (tmp_path / "elsewhere" / "again.safetensors").read_bytes() == content
    assert str(tmp_path).encode() not in content
    assert os.uname().nodename.encode() not in content


def test_load_is_public(path: Path, network: Network, images: torch.Tensor) -> None:
    made = coc_cli.load(path)
    assert not made.training
    assert torch.equal(made(images)[-1], network(images)[-1])
    prediction = made.predict(images)
    assert torch.equal(prediction.value, network(images)[-1].argmax(1))
    assert prediction.exit.tolist() == [0] * 48
    assert ((prediction.confidence > 1 / 3) & (prediction.confidence <= 1)).all()


def _damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    meta = json.loads(header["__metadata__"]["coc"])
    if kind == "cut":
        path.write_bytes(content[: len(content) // 2])
        return
    if kind == "empty":
        path.write_bytes(b"")
        return
    if kind == "noise":
        path.write_bytes(b"x" * 1000)
        return
    if kind == "no spec":
        del header["__metadata__"]
    elif kind == "format":
        meta["format"] = 99
    elif kind == "spec":
        meta["spec"]["input_shape"] = "wide"
    elif kind == "tensors":
        meta["spec"]["args"]["width"] = 8
    if kind != "no spec":
        header["__metadata__"]["coc"] = json.dumps(meta)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "damaged: its size is not what its header says; copy or make it again"),
        ("empty", "not a safetensors file, or cut short"),
        ("noise", "not a safetensors file, or cut short"),
        ("no spec", "holds weights of PyTorch, but is no checkpoint of coc; name it as model.checkpoint in a recipe"),
        ("format", "has format 99, this coc reads 1 to 2; use the coc that wrote it"),
        ("spec", "damaged header: spec.input_shape: "),
        ("tensors", "damaged: does not match its checksum; copy or make it again"),
    ],
)
def test_damaged_files_say_what_is_wrong(path: Path, kind: str, message: str) -> None:
    _damage(path, kind)
    with pytest.raises(UserError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_folder_without_a_result_is_an_unfinished_run_or_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no run directory; name one that coc compress has finished"):
        checkpoint_at(tmp_path)
    (tmp_path / "recipe.yaml").touch()
    with pytest.raises(UserError, match=r"has no model.safetensors; run coc compress to its end first"):
        checkpoint_at(tmp_path)


def test_a_missing_file_and_a_pickle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file or directory"):
        load(tmp_path / "none.safetensors")
    for name in ("model.pt", "model.th", "model.pth.tar"):
        torch.save({}, tmp_path / name)
        with pytest.raises(
            UserError, match=f"{name}: holds weights of PyTorch, but is no checkpoint of coc; name it as"
        ):
            load(tmp_path / name)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch owned",)


def at(loc: tuple[str | int, ...], what: str) -> Fault:
    return Fault(".".join(("model", *map(str, loc))), what)


def said(call: Callable[..., object], *inputs: object) -> str:
    try:
        call(*inputs)
    except UserError as error:
        return str(error)
    return ""


def foreign(path: Path, spec: Spec, keys: dict[str, str | None] | None = None) -> Network:
    """Load weights from elsewhere; what is said from names and shapes alone must be the same."""
    inputs = (path, {(): keys or {}}, spec, at)
    assert said(check_foreign, *inputs) == said(load_foreign, *inputs)
    return load_foreign(*inputs)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(
    network: Network, spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.pt").write_bytes(pickle.dumps({"conv1.weight": Evil()}))
    torch.save(network.backbone, "whole.pt")
    for name in ("evil.pt", "whole.pt"):
        with pytest.raises(
            UserError, match=f"^model.checkpoint: {name} is not a plain state dict; save model.state_dict"
        ):
            foreign(Path(name), spec)
    assert not Path("owned").exists()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_plain_state_dicts_are_read(network: Network, spec: Spec, tmp_path: Path, suffix: str) -> None:
    state = network.backbone.state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
        assert not is_checkpoint(path)
    else:
        torch.save(state, path)
    assert same_state(foreign(path, spec), network)


def same_state(one: Network, other: Network) -> bool:
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_under_the_usual_names_are_found(
    network: Network, spec: Spec, tmp_path: Path, wrapper: str, prefix: str
) -> None:
    state = {f"{prefix}{name}": value for name, value in network.backbone.state_dict().items()}
    torch.save({wrapper: state, "epoch": 90, "optimizer": {"lr": 0.1}}, tmp_path / "weights.pt")
    assert same_state(foreign(tmp_path / "weights.pt", spec), network)


def test_what_is_no_tensor_is_named(network: Network, spec: Spec, tmp_path: Path) -> None:
    torch.save({**network.backbone.state_dict(), "epoch": 90}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"is not a plain state dict, its 'epoch' is no tensor; save model.state_dict"):
        foreign(tmp_path / "weights.pt", spec)


def test_misfits_are_listed(network: Network, spec: Spec, tmp_path: Path) -> None:
    state = dict(network.backbone.state_dict())
    state["linear.weight"] = torch.zeros(7, 16)
    for name in ("bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var"):
        del state[name]
    state["extra"] = state.pop("conv1.weight")
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(UserError) as caught:
        foreign(tmp_path / "weights.pt", spec)
    assert str(caught.value).endswith(
        "weights.pt does not fit cifar:resnet20: 5 missing: 'conv1.weight', 'bn1.weight', 'bn1.bias', ...; 1 unexpected:"
        " 'extra'; 1 of another shape: 'linear.weight' is 7x16, not 3x16"
    )


def test_another_number_of_classes_is_said_so(network: Network, spec: Spec, tmp_path: Path) -> None:
    state = {**network.backbone.state_dict(), "linear.weight": torch.zeros(1000, 16), "linear.bias": torch.zeros(1000)}
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(UserError, match=r"does not fit cifar:resnet20: the checkpoint has 1000 classes, the data 3$"):
        foreign(tmp_path / "weights.pt", spec)


def test_names_are_mapped_by_the_first_pattern_that_matches(network: Network, spec: Spec, tmp_path: Path) -> None:
    state = {f"net.{name}".replace("linear", "head"): value for name, value in network.backbone.state_dict().items()}
    state |= {"net.aux.weight": torch.zeros(3), "net.ema": torch.zeros(3)}
    torch.save(state, tmp_path / "weights.pt")
    keys = {r"net\.aux\..*": None, r"net\.ema": "", r"net\.head\.(.*)": r"linear.\1", r"net\.(.*)": r"\1"}
    assert same_state(foreign(tmp_path / "weights.pt", spec, keys), network)


def test_wrong_patterns_are_all_told(network: Network, spec: Spec, tmp_path: Path) -> None:
    torch.save(network.backbone.state_dict(), tmp_path / "weights.pt")
    keys = {"(.*)": r"\1", "net.*": "", "linear.weight": "linear.weight"}
    with pytest.raises(UserError) as caught:
        foreign(tmp_path / "weights.pt", spec, keys)
    left = "matches no name that the patterns before it leave; the first is 'conv1.weight'"
    assert str(caught.value).splitlines() == [
        f"model.checkpoint.keys.net.*: {left}",
        f"model.checkpoint.keys.linear.weight: {left}",
    ]
    with pytest.raises(UserError) as caught:
        foreign(tmp_path / "weights.pt", spec, {"conv1.weight": r"\2"})
    assert str(caught.value).startswith(
        "model.checkpoint.keys.conv1.weight: '\\2' does not fit: invalid group reference 2"
    )
    with pytest.raises(UserError) as caught:
        foreign(tmp_path / "weights.pt", spec, {r"bn1\.(weight|bias)": "bn1.weight"})
    assert str(caught.value) == "model.checkpoint.keys: 'bn1.weight' and 'bn1.bias' both become 'bn1.weight'"


def test_writing_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"


FOREIGN = """\
name: foreign
device: cpu
data: {source: digits}
model:
  arch: cifar:resnet20
  depth: 8
  width: 4
  mean: [0.25]
  std: [0.5]
  checkpoint: {path: weights.pt, keys: {'net\\.(.*)': '\\1'}}
chain:
  - quantize: {weights: 8, activations: 8, epochs: 0}
"""


def test_a_recipe_starts_from_weights_from_elsewhere(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(FOREIGN)
    source = build(spec.with_changes(labels=tuple("0123456789"))).backbone.state_dict()
    torch.save({f"net.{name}": value for name, value in source.items()}, "weights.pt")
    compress(Path("r.yaml"))
    baseline = load(Path("runs/foreign/stages/00-baseline/model.safetensors"))
    assert (baseline.spec.mean, baseline.spec.std) == ((0.25,), (0.5,))
    assert torch.equal(baseline.backbone.conv1.weight, source["conv1.weight"])
    compress(Path("r.yaml"), overrides=("model.mean=[0.5]",), out=Path("again"))  # another network: not from the cache
    assert load(Path("again/model.safetensors")).spec.mean == (0.5,)


def test_weights_that_do_not_fit_are_refused_before_any_work(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(FOREIGN)
    state = build(spec).backbone.state_dict()
    torch.save({f"net.{name}": value for name, value in state.items()}, "weights.pt")
    with pytest.raises(UserError) as caught:
        compress(Path("r.yaml"))
    assert str(caught.value) == (
        "r.yaml:10: model.checkpoint: weights.pt does not fit cifar:resnet20: the checkpoint has 3 classes, the data 10"
    )
    assert not Path("runs").exists()


def test_a_checkpoint_of_cocs_own_brings_its_own_normalisation(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(build(spec.with_changes(labels=tuple("0123456789"))), (), Path("own.safetensors"))
    Path("r.yaml").write_text(FOREIGN.replace("weights.pt", "own.safetensors"))
    with pytest.raises(UserError) as caught:
        make_plan(read(Path("r.yaml")))
    assert str(caught.value).splitlines() == [
        "r.yaml:8: model.mean: coc made the checkpoint, which brings its own; leave it out",
        "r.yaml:9: model.std: coc made the checkpoint, which brings its own; leave it out",
        "r.yaml:10: model.checkpoint.keys: coc made the checkpoint; leave them out",
    ]
