"""The laws every stage keeps, in every order of the four and the repeats, on nets of width 4 and 8x8 images."""

from __future__ import annotations

import subprocess
import sys
from itertools import permutations
from pathlib import Path

import pytest
import torch
from formats import through_file
from sampling import tiered

from coc_cli.data.images import Data
from coc_cli.data.settings import Augment
from coc_cli.errors import StageError
from coc_cli.learning.evaluation import evaluate, outputs
from coc_cli.nets.checkpoint import encode, load, save
from coc_cli.nets.cost import cost
from coc_cli.nets.names import is_head
from coc_cli.nets.network import Network, clone
from coc_cli.nets.spec import Spec
from coc_cli.recipe.model import Link
from coc_cli.stages.pruning_widths import TOLERANCE
from coc_cli.stages.stage import Lab, Stage
from coc_cli.units import count


def stage(name: str, **keys: object) -> Stage:
    return Link.model_validate({name: {"epochs": 1, "batch": 32, **keys}}).stage


STAGES = {
    "D": stage("distill", student={"width": 6}),
    "S": stage("distill", student="same"),
    "P": stage("prune", ratio=0.3),
    "Q": stage("quantize", weights=4, activations=4),
    "E": stage("early_exit", exits=2, max_drop=0.03),
    "T": stage("early_exit", exits=("stages.0.0.relu1", "stages.1"), head="bof", backbone="trained", max_drop=0.03),
    "8": stage("quantize", weights=8, activations=8),
    "1": stage("quantize", weights=1, activations=2),
}
REGRESSION = {
    "E": stage("early_exit", exits=2, max_drop=5.0),
    "A": stage("early_exit", every="block", rule="agreement", max_drop=5.0, backbone="trained"),
}
ORDERS = ["".join(order) for order in permutations("DPQE")]
REPEATS = ["PP", "8Q", "QP", "ED", "EP", "QS", "DQS", "Q1", "DD", "TQPD", "QTP", "ES", "PQTS"]


def tensors(network: Network) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def lab_of(data: Data, baseline: Network, folder: Path) -> Lab:
    return Lab(data, Augment(shift=1), "cpu", 11, baseline, folder, lambda _: None)


def without_what_data_decides(spec: Spec) -> Spec:
    """Forget signs and the threshold, which only data tell, and widths, which weights do."""
    edges = {name: edge.model_copy(update={"signed": False}) for name, edge in spec.edges.items()}
    rule = spec.rule and spec.rule.model_copy(update={"threshold": 0.0})
    return spec.with_changes(edges=edges, rule=rule, modules={})


def within(made: Spec, expected: Spec, before: Spec) -> bool:
    """Tell whether a result is inside what was expected: equal but for widths, and those with the MACs expected."""
    if without_what_data_decides(made) != without_what_data_decides(expected):
        return False
    if made.modules == expected.modules:
        return True
    whole = cost(made.with_changes(modules={})).macs
    return abs(cost(made).macs - cost(expected).macs) <= 2 * TOLERANCE * max(whole, cost(before).macs)


def properties(spec: Spec) -> set[str]:
    """Name what a network has that no later stage may lose unannounced."""
    has = {"bits"} if spec.bits else set()
    has |= {"exits", "rule"} if spec.exits else set()
    has |= {"rounded heads"} if any(is_head(name) for name in spec.bits) else set()
    return has | ({"pruned"} if spec.modules else set())


@pytest.mark.parametrize("chain", tiered([*ORDERS, *REPEATS], quick=("DPQE", "QTP", "ES", "Q1"), full=12))
def test_every_stage_of_every_order_keeps_the_laws(
    chain: str, network: Network, data: Data, images: torch.Tensor, tmp_path: Path
) -> None:
    _keeps_the_laws([STAGES[letter] for letter in chain], network, data, images, tmp_path)


@pytest.mark.parametrize("chain", tiered(["DPQE", "EQPD", "QAPS", "ADPQ"], quick=("DPQE",), full=3))
def test_regression_keeps_the_laws(
    chain: str, regressor: Network, numbers: Data, images: torch.Tensor, tmp_path: Path
) -> None:
    steps = [{**STAGES, **REGRESSION}[letter] for letter in chain]
    _keeps_the_laws(steps, regressor, numbers, images, tmp_path)


def _keeps_the_laws(steps: list[Stage], network: Network, data: Data, images: torch.Tensor, tmp_path: Path) -> None:
    now = through_file(network)
    for index, step in enumerate(steps):
        expected, before, had = step.expect(now.spec), tensors(now), now.spec
        results = []
        for attempt in range(2):
            baseline = clone(network)
            held = tensors(baseline)
            results.append(step.apply(now, lab_of(data, baseline, tmp_path / f"{index}-{attempt}")))
            assert same(tensors(baseline), held), "the baseline is not changed"
        made = results[0]
        assert within(made.spec, expected, had), "the result is what the plan said"
        assert same(before, tensors(now)), "the incoming network is as it was"
        assert now.spec == had
        assert same(tensors(made), tensors(results[1])), "same seed, same bits"
        assert made.spec == results[1].spec
        assert len(made(images)) == len(made.spec.exits) + 1, "one output per exit"
        assert all(p.requires_grad for p in made.parameters())
        handed_on = through_file(made)
        assert same(encode(handed_on), encode(made)), "saving twice is saving once"
        for there, here in zip(handed_on(images), made.eval()(images), strict=True):
            torch.testing.assert_close(there, here, rtol=0, atol=0)
        assert properties(had) <= properties(made.spec), "no property vanishes unannounced"
        if made.spec.rule:
            _check_threshold(made, data)
        now = handed_on


def _check_threshold(made: Network, data: Data) -> None:
    found = evaluate(made, data.validation)
    lost = found.exits[-1].metric_all - found.value
    lost = -lost if made.spec.task == "regression" else lost
    assert lost <= made.spec.rule.max_drop + 1e-9, "the threshold holds on validation"


@pytest.mark.full
@pytest.mark.parametrize("chain", ["DPQE", "QTP"])
def test_a_fresh_process_gives_the_same_outputs(
    chain: str, network: Network, data: Data, images: torch.Tensor, tmp_path: Path
) -> None:
    for index, letter in enumerate(chain):
        network = through_file(STAGES[letter].apply(network, lab_of(data, network, tmp_path / str(index))))
    save(network, (), tmp_path / "model.safetensors")
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import sys, coc_cli, torch; n = coc_cli.load(sys.argv[1] + '/model.safetensors')\n"
        "x = torch.load(sys.argv[1] + '/images.pt'); p = n.predict(x)\n"
        "torch.save([n(x), p.value, p.exit], sys.argv[1] + '/outputs.pt')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    there, value, exits = torch.load(tmp_path / "outputs.pt")
    assert all(torch.equal(a, b) for a, b in zip(there, network(images), strict=True))
    here = network.predict(images)
    assert torch.equal(value, here.value)
    assert torch.equal(exits, here.exit)


def test_exits_on_a_frozen_backbone_leave_the_final_output_as_it_was(
    network: Network, data: Data, images: torch.Tensor, tmp_path: Path
) -> None:
    for letters in ("E", "QE"):
        before = clone(network).eval()
        for index, letter in enumerate(letters):
            made = STAGES[letter].apply(before, lab_of(data, network, tmp_path / f"{letters}{index}")).eval()
            if letter == "E":
                assert torch.equal(made(images)[-1], before(images)[-1])
            before = through_file(made)


@pytest.mark.full
def test_a_quantised_channel_holds_at_most_2_to_the_bits_values(network: Network, data: Data, tmp_path: Path) -> None:
    for letters in ("Q", "1", "EQ", "QP"):
        made = network
        for index, letter in enumerate(letters):
            made = through_file(STAGES[letter].apply(made, lab_of(data, network, tmp_path / f"{letters}{index}")))
        assert made.spec.bits
        for name, bits in made.spec.bits.items():
            assert all(len(channel.unique()) <= 2**bits for channel in made.layer(name).weight.flatten(1))


def test_wider_weights_cannot_follow_narrower_ones(spec: Spec) -> None:
    narrow = STAGES["Q"].expect(spec)
    with pytest.raises(StageError, match=r"layer 'stages.0.0.conv1' already has 4-bit weights, 8 bits cannot"):
        STAGES["8"].expect(narrow)


def test_exits_cannot_be_added_twice(spec: Spec) -> None:
    with pytest.raises(StageError, match="already has exits"):
        STAGES["T"].expect(STAGES["E"].expect(spec))


def test_a_new_student_takes_over_what_came_before_and_says_so(spec: Spec) -> None:
    had = STAGES["P"].expect(spec)
    had = stage("quantize", weights=3, activations=4, first=6, last=7, residual=5).expect(had)
    had = stage("early_exit", exits=("stages.0",), head="bof").expect(had)
    deeper = stage("distill", student={"depth": 14, "width": 8})
    made = deeper.expect(had)
    assert made.args == {"depth": 14, "width": 8}
    backbone = {name: bits for name, bits in made.bits.items() if not is_head(name)}
    assert backbone == {name: {"conv1": 6, "linear": 7}.get(name, 3) for name in backbone}
    assert len(backbone) == 14 + 2
    assert [place.head for place in made.exits] == ["bof"]
    assert made.rule == had.rule
    whole = cost(made.with_changes(modules={})).macs
    assert cost(made).macs / whole == pytest.approx(0.7, abs=2 * TOLERANCE)
    notes = deeper.notes(had)
    assert len(notes) == 4
    assert (
        notes[0]
        == f"the student costs more than what it replaces: {count(cost(made).macs)} MACs, not {count(cost(had).macs)}"
    )
    assert notes[1].startswith("the student is pruned like the incoming network, to 7")
    assert notes[2] == "the student takes over the bits by role: first w6a6, inner w3a4, last w7a7, sums 5"
    assert notes[3].startswith("the student has exits at the same shares of its MACs: stages_")


def test_bits_of_layers_set_apart_do_not_vanish_unannounced(spec: Spec) -> None:
    had = stage("quantize", weights=2, activations=3, layers={"stages.0.*": {"bits": 8}}).expect(spec)
    notes = stage("distill", student={"depth": 14}).notes(had)
    assert notes[-1] == (
        "the bits of layers set apart are gone, they get those of their role: stages.0.0.conv1, stages.0.0.conv2"
    )
    floating = stage("quantize", weights=8, activations=4, layers={"*": {"weights": 32}}).expect(spec)
    assert stage("distill", student={"depth": 14}).expect(floating).edges


def test_a_student_with_too_few_places_says_which_exits_are_gone(spec: Spec) -> None:
    had = stage("early_exit", every="conv").expect(spec.with_changes(args={"depth": 20, "width": 4}))
    assert len(had.exits) == 18
    notes = stage("distill", student={"depth": 8}).notes(had)
    assert notes[-1].endswith("; it has too few places, 12 exits are gone")


def test_students_of_another_family_and_equal_features(network: Network, data: Data, tmp_path: Path) -> None:
    student = {"arch": "cifar:resnet18", "depth": 10, "width": 2}
    other = stage("distill", student=student, feature_weight=1.0)
    made = other.apply(network, lab_of(data, network, tmp_path / "state"))
    assert made.spec.arch == "cifar:resnet18"
    assert made.spec == other.expect(network.spec)


@pytest.mark.parametrize("feature_weight", [0.0, 1.0])
def test_a_teacher_counts_where_the_loss_listens_to_it(
    network: Network, data: Data, tmp_path: Path, feature_weight: float
) -> None:
    other = clone(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(0.5)
    learner = stage("distill", student="same", kd_weight=0.0, feature_weight=feature_weight)
    made = [
        learner.apply(network, lab_of(data, teacher, tmp_path / str(index))).state_dict()
        for index, teacher in enumerate((network, other))
    ]
    assert all(made[0][key].equal(made[1][key]) for key in made[0]) == (feature_weight == 0)


def test_a_stage_learns(network: Network, data: Data, tmp_path: Path) -> None:
    before = evaluate(network, data.test).value
    learner = stage("quantize", weights=2, activations=3, epochs=12, batch=16, teacher="none")
    after = evaluate(learner.apply(network, lab_of(data, network, tmp_path / "state")), data.test).value
    assert after > max(0.8, before)


@pytest.mark.full
def test_heads_learn(network: Network, data: Data, tmp_path: Path) -> None:
    network.load_state_dict(
        stage("distill", student="same", epochs=8, batch=16)
        .apply(network, lab_of(data, network, tmp_path / "a"))
        .state_dict()
    )
    for name in ("pool", "bof"):
        learner = stage("early_exit", exits=("stages.1",), head=name, epochs=30, batch=16, lr=2e-2, teacher="none")
        made = learner.apply(network, lab_of(data, network, tmp_path / name))
        first = outputs(made, data.test)[0].argmax(1)
        assert float((first == data.test.targets).double().mean()) > 0.7, name


@pytest.mark.full
def test_every_stage_learns_numbers(regressor: Network, numbers: Data, tmp_path: Path) -> None:
    before = evaluate(regressor, numbers.test)
    taught = stage("distill", student="same", kd_weight=0.0, epochs=12, batch=16).apply(
        regressor, lab_of(numbers, regressor, tmp_path / "a")
    )
    after = evaluate(taught, numbers.test)
    assert after.value < before.value / 4
    assert after.low <= after.value <= after.high
    assert after.details["r2"] > 0.8 > before.details["r2"]
    learner = stage("early_exit", exits=("stages.1",), epochs=30, batch=16, lr=2e-2, teacher="none", max_drop=20.0)
    made = learner.apply(taught, lab_of(numbers, regressor, tmp_path / "b"))
    assert outputs(made, numbers.test)[0].shape == (48, 4)
    found = evaluate(made, numbers.test)
    assert found.exits[0].share > 0.1
    assert found.exits[0].metric_all < before.value / 2


def test_loading_leaves_the_file_alone(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(network, (), path)
    content = path.read_bytes()
    save(load(path), (), path)
    assert path.read_bytes() == content


def test_stages_are_values() -> None:
    for one in STAGES.values():
        with pytest.raises(ValueError, match="frozen"):
            one.epochs = 3  # type: ignore[misc]
