"""The laws every stage keeps, in every order that is built so far, on nets of width 4 and 8x8 images."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from coc_cli.checkpoint import encode, load, save, through_file
from coc_cli.data.images import Data
from coc_cli.errors import StageError
from coc_cli.nets.network import Network, clone
from coc_cli.nets.spec import Spec
from coc_cli.recipe import Link
from coc_cli.stages.stage import Lab, Stage

TRAINING = {"epochs": 2, "batch": 32}
STAGES = {
    "D": Link.model_validate({"distill": {"student": {"width": 2}, **TRAINING}}).stage,
    "S": Link.model_validate({"distill": {"student": "same", **TRAINING}}).stage,
    "Q": Link.model_validate({"quantize": {"weights": 4, "activations": 4, **TRAINING}}).stage,
    "8": Link.model_validate({"quantize": {"weights": 8, "activations": 8, **TRAINING}}).stage,
    "1": Link.model_validate({"quantize": {"weights": 1, "activations": 2, **TRAINING}}).stage,
}
CHAINS = ["DQ", "QD", "8Q", "QS", "DQS", "Q1", "DD", "SQ", "QD1"]


def unsigned(spec: Spec) -> Spec:
    """Forget signs: they depend on data, and cost nothing."""
    return spec.but(edges={name: edge.model_copy(update={"signed": False}) for name, edge in spec.edges.items()})


def tensors(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def lab_of(data: Data, baseline: Network, folder: Path) -> Lab:
    from coc_cli.data.source import Augment

    return Lab(data, Augment(shift=1), "cpu", 11, baseline, folder, lambda _: None)


@pytest.mark.parametrize("chain", CHAINS)
def test_every_stage_of_a_chain_keeps_the_laws(
    chain: str, network: Network, data: Data, images: torch.Tensor, tmp_path: Path
) -> None:
    now = through_file(network)
    for index, letter in enumerate(chain):
        stage = STAGES[letter]
        expected, before, had = stage.expect(now.spec), tensors(now), now.spec
        results = []
        for attempt in range(2):
            baseline = clone(network)
            held = tensors(baseline)
            results.append(stage.apply(now, lab_of(data, baseline, tmp_path / f"{index}-{attempt}")))
            assert same(tensors(baseline), held), "the baseline is not changed"
        made = results[0]
        assert unsigned(made.spec) == unsigned(expected), "the result is what the plan said"
        assert same(before, tensors(now)) and now.spec == had, "the incoming network is as it was"
        assert same(tensors(made), tensors(results[1])), "same seed, same bits"
        assert len(made(images)) == len(made.spec.exits) + 1, "one output per exit"
        assert all(p.requires_grad for p in made.parameters())
        handed_on = through_file(made)
        assert same(encode(handed_on), encode(made)), "saving twice is saving once"
        torch.testing.assert_close(handed_on(images)[-1], made.eval()(images)[-1], rtol=0, atol=0)
        assert set(had.bits) <= set(made.spec.bits), "no layer's bits vanish"
        now = handed_on


def test_a_fresh_process_gives_the_same_outputs(
    network: Network, data: Data, images: torch.Tensor, tmp_path: Path
) -> None:
    made = STAGES["Q"].apply(network, lab_of(data, network, tmp_path / "state")).eval()
    save(made, (), tmp_path / "model.safetensors")
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import coc_cli, torch, sys; n = coc_cli.load(sys.argv[1] + '/model.safetensors');"
        "torch.save(n(torch.load(sys.argv[1] + '/images.pt')), sys.argv[1] + '/outputs.pt')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    (there,) = torch.load(tmp_path / "outputs.pt")
    assert torch.equal(there, made(images)[-1])


def test_a_quantised_channel_holds_at_most_2_to_the_bits_values(network: Network, data: Data, tmp_path: Path) -> None:
    for letter in "Q1":
        made = STAGES[letter].apply(network, lab_of(data, network, tmp_path / letter))
        for name, bits in made.spec.bits.items():
            weight = through_file(made).get_parameter(f"backbone.{name}.weight")
            assert all(len(channel.unique()) <= 2**bits for channel in weight.flatten(1))


def test_wider_weights_cannot_follow_narrower_ones(spec: Spec) -> None:
    narrow = STAGES["Q"].expect(spec)
    with pytest.raises(StageError, match=r"layer 'stages.0.0.conv1' already has 4-bit weights, 8 bits cannot"):
        STAGES["8"].expect(narrow)


def test_a_new_student_takes_over_bits_by_role_and_says_so(spec: Spec) -> None:
    rounded = Link.model_validate(
        {"quantize": {"weights": 3, "activations": 4, "first": 6, "last": 7, "residual": 5}}
    ).stage.expect(spec)
    deeper = Link.model_validate({"distill": {"student": {"depth": 14, "width": 2}}}).stage
    made = deeper.expect(rounded)
    assert made.args == {"depth": 14, "width": 2}
    assert (
        made.bits == {name: {"conv1": 6, "linear": 7}.get(name, 3) for name in made.bits} and len(made.bits) == 14 + 2
    )
    assert deeper.notes(rounded) == [
        "the student takes over the bits by role: first w6a6, inner w3a4, last w7a7, sums 5"
    ]


def test_students_of_another_family_and_equal_features(network: Network, data: Data, tmp_path: Path) -> None:
    stage: Stage = Link.model_validate(
        {"distill": {"student": {"arch": "cifar:resnet18", "depth": 10, "width": 2}, "feature_weight": 1.0, **TRAINING}}
    ).stage
    made = stage.apply(network, lab_of(data, network, tmp_path / "state"))
    assert made.spec.arch == "cifar:resnet18"
    assert made.spec == stage.expect(network.spec)


def test_a_stage_learns(network: Network, data: Data, tmp_path: Path) -> None:
    from coc_cli.measure import evaluate

    before = evaluate(network, data.test).value
    stage = Link.model_validate(
        {"quantize": {"weights": 2, "activations": 3, "epochs": 12, "batch": 16, "teacher": "none"}}
    ).stage
    after = evaluate(stage.apply(network, lab_of(data, network, tmp_path / "state")), data.test).value
    assert after > max(0.8, before)


def test_loading_leaves_the_file_alone(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(network, (), path)
    content = path.read_bytes()
    save(load(path), (), path)
    assert path.read_bytes() == content
