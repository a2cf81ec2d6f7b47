"""Architectures from libraries and from the user's files, and who is trusted to run them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from formats import save_format_1
from torch import nn

import coc_cli
from coc_cli.chain.compress import compress
from coc_cli.chain.plan import make_plan
from coc_cli.errors import StageError, UserError
from coc_cli.nets import architectures, entry
from coc_cli.nets.architectures import create, fingerprint, resolve, without_tag
from coc_cli.nets.checkpoint import load, save
from coc_cli.nets.checkpoint_header import read_header
from coc_cli.nets.network import Network, build, fresh
from coc_cli.nets.shapes import check_runs
from coc_cli.nets.spec import Exit, ExitRule, Spec
from coc_cli.recipe.reading import read

NETS = """\
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Size:
    width: int


class Small(nn.Module):
    def __init__(self, outputs: int, channels: int, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x):
        y = torch.relu(self.inner(torch.relu(self.conv(x)))).mean((2, 3))
        return self.linear(nn.functional.dropout(y, 0.5, self.training))


def small(outputs: int, channels: int, width: int = 4) -> nn.Module:
    return Small(outputs, channels, Size(width).width)


def library_style(num_classes, in_channels=3):
    return Small(num_classes, in_channels, 4)


def failing(outputs):
    return nn.Linear(3, "many")


def word():
    return "net"


class Branching(Small):
    def forward(self, x):
        if x.sum() > 0:
            x = x + 1
        return super().forward(x)


def branching(outputs, channels):
    return Branching(outputs, channels, 4)


class Map(Small):
    def forward(self, x):
        return self.conv(x)


def map_of(outputs, channels):
    return Map(outputs, channels, 4)


class Wide(Small):
    def forward(self, x):
        return self.linear(torch.relu(self.conv(x)).flatten(1))


def wide(outputs, channels):
    return Wide(outputs, channels, 4)


class Dict(Small):
    def forward(self, x):
        return {"out": super().forward(x)}


def dict_of(outputs, channels):
    return Dict(outputs, channels, 4)


class Pair(Small):
    def forward(self, x):
        return super().forward(x), x


def pair_of(outputs, channels):
    return Pair(outputs, channels, 4)
"""


ONE_TENSOR = "return the logits alone, as in a module around it with: return self.net(x)['out'], or [0] of a tuple"


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, in the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    return Path("nets.py")


def spec_of(arch: str, channels: int = 1, size: int = 8, **args: float) -> Spec:
    return Spec(
        arch=arch,
        args=resolve(arch, args),
        input_shape=(channels, size, size),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        labels=("a", "b", "c"),
    )


@pytest.mark.parametrize("function", ["small", "library_style"])
def test_a_users_function_gets_what_its_signature_takes(nets: Path, function: str) -> None:
    made = build(spec_of(f"file:{nets}:{function}")).eval()
    assert made(torch.zeros(2, 1, 8, 8))[-1].shape == (2, 3)


def test_a_functional_dropout_looks_at_the_training_flag(nets: Path) -> None:
    made, x = build(spec_of(f"file:{nets}:small", width=64)), torch.rand(4, 1, 8, 8)
    assert not torch.equal(made(x)[-1], made(x)[-1])
    assert torch.equal(made.eval()(x)[-1], made(x)[-1])
    made.backbone_frozen = True
    made.train()
    assert torch.equal(made(x)[-1], made(x)[-1])


@pytest.mark.parametrize(
    ("arch", "args", "message"),
    [
        ("file:nest.py:small", {}, "no such file 'nest.py'; did you mean 'nets.py'?"),
        ("file:nets.py:smal", {}, "'nets.py' has no function 'smal'; did you mean 'small'?"),
        ("file:nets.py:small", {"depth": 3}, "small in 'nets.py': got an unexpected keyword argument 'depth'"),
        ("file:nets.py:word", {}, "word in 'nets.py' gives a str, not a torch.nn.Module"),
        ("file:nets.py:failing", {}, "nets.py:35: TypeError: "),
        (
            "file:nets.py:branching",
            {},
            "nets.py:44: cannot be traced: in the network's forward: bool decides by the values of a tensor; let it depend"
            " on shapes or settings alone, or use torch.where",
        ),
        ("file:nets.py:map_of", {}, "nets.py:58: gives 4x8x8 for an image, not one number for each of 3 classes"),
        ("file:nets.py:wide", {}, "nets.py:64: cannot run on images of 1x8x8: in the network's forward: "),
        ("file:nets.py:dict_of", {}, f"nets.py:72: gives a dict, not one tensor; {ONE_TENSOR}"),
        ("file:nets.py:pair_of", {}, f"nets.py:81: gives a tuple, not one tensor; {ONE_TENSOR}"),
        ("timm:resnet17", {}, "timm has no model 'resnet17'; did you mean '"),
        ("timm:resnet17.a1_in1k", {}, "timm has no model 'resnet17'; did you mean '"),
        ("timm:resnet18", {"width": 3}, "timm:resnet18 cannot be made: "),
    ],
)
@pytest.mark.usefixtures("nets")
def test_what_cannot_be_made_says_why(arch: str, args: dict[str, int], message: str) -> None:
    if arch.startswith("timm:"):
        pytest.importorskip("timm", reason="timm is not installed")
    with pytest.raises(StageError) as caught:
        check_runs(spec_of(arch, **args))
    assert caught.value.what.startswith(message)
    assert "\n" not in caught.value.what


@pytest.mark.parametrize("first", [nn.Linear(3, 4), nn.Conv2d(1, 4, 1), nn.Conv2d(3, 3, 1, groups=3)])
def test_a_first_layer_that_cannot_take_other_channels_says_so(first: nn.Module) -> None:
    with pytest.raises(StageError, match=r"^torchvision:x takes images of 3 channels, not 1$"):
        architectures._with_channels(nn.Sequential(first), 1, "torchvision:x")


def test_a_file_that_is_no_python_names_the_line(nets: Path) -> None:
    nets.write_text(NETS + "\ndef broken(:\n")
    with pytest.raises(StageError, match=r"^nets.py:88: SyntaxError: "):
        check_runs(spec_of(f"file:{nets}:small"))


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("fasterrcnn_resnet50_fpn", "detection"),
        ("deeplabv3_resnet50", "segmentation"),
        ("raft_large", "optical flow"),
        ("r3d_18", "video"),
    ],
)
def test_networks_for_other_tasks_are_said_to_be(name: str, task: str) -> None:
    with pytest.raises(StageError) as caught:
        create(f"torchvision:{name}", {}, outputs=3, channels=3)
    assert caught.value.what == (
        f"coc takes classifiers and regressors of images; '{name}' is for {task}; write one like torchvision:resnet50"
    )


def test_a_network_that_is_rounded_already_says_what_to_write() -> None:
    message = "'quantized_resnet18' is rounded already; write torchvision:resnet18 and a quantize stage"
    with pytest.raises(StageError, match=f"^{message}$"):
        create("torchvision:quantized_resnet18", {}, outputs=3, channels=3)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_an_unknown_name_shows_ten_of_the_library(library: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    with pytest.raises(StageError) as caught:
        create(f"{library}:zzzqqq", {}, outputs=3, channels=3)
    start, _, names = caught.value.what.partition(" are ")
    assert start.startswith(f"{library} has no model 'zzzqqq'; the nearest of ")
    assert len(names.split(", ")) == 10


def test_the_tag_of_weights_is_no_part_of_an_architecture() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    tagged, plain = (
        create(arch, {}, outputs=3, channels=3).state_dict() for arch in ("timm:resnet18.a1_in1k", "timm:resnet18")
    )
    assert list(tagged) == list(plain)
    assert without_tag("timm:resnet18.a1_in1k") == ("timm:resnet18", "a1_in1k")
    assert without_tag("file:nets.v2.py:net") == ("file:nets.v2.py:net", "")


def test_a_library_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(StageError, match=r"^timm:resnet18 needs timm; install it with: pip install 'coc-cli\[timm\]'$"):
        create("timm:resnet18", {}, outputs=3, channels=1)


@pytest.mark.parametrize(
    "arch",
    [
        "torchvision:squeezenet1_1",
        "torchvision:googlenet",
        pytest.param("torchvision:densenet121", marks=pytest.mark.full),
    ],
)
def test_torchvision_takes_other_channels_and_has_one_output(arch: str) -> None:
    network = build(spec_of(arch, channels=1, size=32), device="meta")
    assert len(network(torch.empty(2, 1, 32, 32, device="meta"))) == 1


def test_arguments_reach_the_maker() -> None:
    args = {"width_mult": 0.25}
    made = create("torchvision:mobilenet_v2", args, outputs=3, channels=3)
    whole = create("torchvision:mobilenet_v2", {}, outputs=3, channels=3)
    assert sum(p.numel() for p in made.parameters()) < sum(p.numel() for p in whole.parameters()) / 2


def test_the_fingerprint_is_of_the_file(nets: Path) -> None:
    before = fingerprint("file:nets.py:small")
    assert fingerprint("file:nets.py:small") == before
    nets.write_text(NETS + "# changed\n")
    assert fingerprint("file:nets.py:small") != before
    assert fingerprint("cifar:resnet20") == ""


# Trust


@pytest.fixture
def checkpoint(nets: Path) -> Path:
    """A checkpoint of format 1 whose file of code leaves a trace when it runs."""
    nets.write_text(NETS + "open('ran', 'w').close()\n")
    save_format_1(fresh(spec_of(f"file:{nets}:small")), Path("model.safetensors"))
    entry._traced.clear()
    Path("ran").unlink()
    return Path("model.safetensors")


REFUSED = (
    "model.safetensors: its architecture is code in 'nets.py'; pass --trust-code (trust_code=True) if you trust it"
)


@pytest.mark.parametrize("reader", [read_header, load, coc_cli.load])
def test_code_runs_only_where_it_is_trusted(checkpoint: Path, reader: Callable[..., object]) -> None:
    with pytest.raises(UserError) as caught:
        reader(checkpoint)
    assert str(caught.value) == REFUSED
    assert not Path("ran").exists()
    assert reader(checkpoint, trust_code=True)
    assert Path("ran").exists() == (reader is not read_header)


@pytest.mark.parametrize("reader", [read_header, load])
def test_a_checkpoint_whose_code_has_changed_says_so(checkpoint: Path, reader: Callable[..., object]) -> None:
    Path("nets.py").write_text(NETS.replace("torch.relu(self.inner(", "torch.tanh(self.inner("))
    with pytest.raises(
        UserError, match=r"^model.safetensors: 'nets.py' is not the file that this network was made with"
    ):
        reader(checkpoint, trust_code=True)


def test_neighbours_of_the_same_name_are_not_mixed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, width in (("a", 4), ("b", 6)):
        Path(folder).mkdir()
        Path(folder, "common.py").write_text(f"WIDTH = {width}\n")
        text = "from common import WIDTH\nfrom torch import nn\n\ndef net(outputs, channels):\n"
        text += "    flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, outputs))\n"
        Path(folder, "net.py").write_text(text + "    return nn.Sequential(nn.Conv2d(channels, WIDTH, 3), flat)\n")
    widths = [build(spec_of(f"file:{folder}/net.py:net")).layer("0").weight.shape[0] for folder in "aba"]
    assert widths == [4, 6, 4]


def test_a_file_that_ends_the_program_is_named(nets: Path) -> None:
    nets.write_text(NETS + "raise SystemExit(0)\n")
    with pytest.raises(StageError, match=r"^nets.py:\d+: SystemExit: 0$"):
        check_runs(spec_of(f"file:{nets}:small"))


def test_a_network_without_layers_is_refused(nets: Path) -> None:
    nets.write_text(
        "from torch import nn\n\ndef net(outputs):\n    return nn.Sequential(nn.Flatten(), nn.Identity())\n"
    )
    spec = spec_of(f"file:{nets}:net", size=1).with_changes(labels=("a",))
    with pytest.raises(StageError, match="has no convolution or linear layer"):
        check_runs(spec)


def test_inner_exits_may_give_log_variances(regressor: Network) -> None:
    rule = ExitRule(measure="variance", threshold=0.1, max_drop=1.0)
    exits = (Exit(source="backbone_stages_1_0_relu2", head="pool", channels=8),)
    check_runs(regressor.spec.with_changes(exits=exits, rule=rule))


def test_a_checkpoint_whose_file_is_gone_says_so(checkpoint: Path) -> None:
    Path("nets.py").unlink()
    with pytest.raises(UserError, match=r"^model.safetensors: no such file 'nets.py'$"):
        load(checkpoint, trust_code=True)


def recipe(model: str) -> Path:
    Path("r.yaml").write_text(
        f"name: mine\ndevice: cpu\ndata: {{source: digits}}\nmodel: {model}\n"
        "chain:\n  - quantize: {weights: 8, activations: 8, epochs: 0}\n"
    )
    return Path("r.yaml")


def digits(nets: Path) -> Network:
    return fresh(spec_of(f"file:{nets}:small").with_changes(labels=tuple("0123456789")))


def test_a_file_of_format_2_needs_no_code_at_all(nets: Path) -> None:
    nets.write_text(NETS + "open('ran', 'w').close()\n")
    made, x = fresh(spec_of(f"file:{nets}:small")).eval(), torch.rand(4, 1, 8, 8)
    save(made, (), Path("model.safetensors"))
    entry._traced.clear()
    nets.unlink()
    Path("ran").unlink()
    assert torch.equal(coc_cli.load("model.safetensors")(x)[-1], made(x)[-1])
    assert not Path("ran").exists()


def test_a_student_of_the_same_code_is_made_only_where_that_is_trusted(nets: Path) -> None:
    save(digits(nets), (), Path("model.safetensors"))
    path = recipe("{checkpoint: model.safetensors}")
    student = "  - distill: {student: {args: {width: 3}}, epochs: 0}\n"
    path.write_text(path.read_text() + student)
    with pytest.raises(UserError) as caught:
        make_plan(read(path))
    assert str(caught.value) == (
        "r.yaml:7: chain[1].distill.student: it would run the code in 'nets.py', which the checkpoint names; give its"
        " 'arch', or pass --trust-code (trust_code=True) if you trust it"
    )
    assert make_plan(read(path, trust_code=True)).steps[-1].spec.args == {"width": 3}
    path.write_text(path.read_text().replace("args:", "arch: 'file:nets.py:small', args:"))
    assert make_plan(read(path)).steps


def test_a_recipe_trusts_what_it_names_and_nothing_else(nets: Path) -> None:
    save_format_1(digits(nets), Path("model.safetensors"))
    with pytest.raises(UserError) as caught:
        make_plan(read(recipe("{checkpoint: model.safetensors}")))
    assert str(caught.value) == REFUSED
    assert make_plan(read(recipe("{checkpoint: model.safetensors}"), trust_code=True)).steps
    assert make_plan(read(recipe("{checkpoint: model.safetensors, arch: 'file:nets.py:small'}"))).steps
    Path("other.py").write_text(NETS)
    with pytest.raises(UserError, match=r"model.arch: the checkpoint is a file:nets.py:small with"):
        make_plan(read(recipe("{checkpoint: model.safetensors, arch: 'file:other.py:small'}")))


@pytest.mark.full
def test_a_run_with_the_users_code_loads_its_own_results_and_sees_an_edit(nets: Path) -> None:
    path = recipe("{arch: 'file:nets.py:small', args: {width: 6}, train: {epochs: 1}}")
    first = compress(path)
    assert [stage["name"] for stage in first.report["stages"]] == ["baseline", "quantize"]
    baseline = Path("runs/mine/stages/00-baseline/model.safetensors")
    assert read_header(baseline).spec.args == {"width": 6}
    assert Path("runs/mine/nets.py").read_text() == NETS, "the code is kept beside the recipe, as a record"
    before = {path.parent.name for path in Path("runs/.cache").glob("*/result.json")}
    compress(path)
    assert {path.parent.name for path in Path("runs/.cache").glob("*/result.json")} == before
    nets.write_text(NETS.replace("torch.relu(self.inner(", "torch.tanh(self.inner("))
    compress(path)
    assert len(list(Path("runs/.cache").glob("*/result.json"))) == 2 * len(before)


@pytest.mark.full
def test_a_cached_result_that_names_other_code_is_made_again(nets: Path) -> None:
    path = recipe("{arch: cifar:resnet20, width: 2, depth: 8, train: {epochs: 1}}")
    compress(path)
    for result in Path("runs/.cache").glob("*/result.json"):
        stored = result.with_name("model.safetensors")
        save(digits(nets), (), stored)
        changed = {**json.loads(result.read_text()), "sha256": hashlib.sha256(stored.read_bytes()).hexdigest()}
        result.write_text(json.dumps(changed))
    nets.write_text(NETS + "open('ran', 'w').close()\n")
    compress(path)
    assert not Path("ran").exists()


@pytest.mark.full
def test_the_plan_says_that_tagged_weights_are_not_loaded(nets: Path) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    nets.unlink()
    path = recipe("{arch: timm:resnet18.a1_in1k, train: {epochs: 1}}")
    first = make_plan(read(path, ("data.size=32",))).steps[0]
    assert first.spec.arch == "timm:resnet18"
    what = "'a1_in1k' is the tag of weights, which are not loaded, as coc downloads none"
    assert first.notes == (f"{what}; give them as model.checkpoint",)
    torch.save(create("timm:resnet18", {}, outputs=10, channels=1).state_dict(), "w.pt")
    path = recipe("{arch: timm:resnet18.a1_in1k, checkpoint: w.pt}")
    assert make_plan(read(path, ("data.size=32",))).steps[0].notes[0] == f"{what}; those of model.checkpoint are"
    path = recipe("{arch: cifar:resnet20, width: 4, train: {epochs: 1}}")
    path.write_text(path.read_text().replace("chain:", "chain:\n  - distill: {student: {arch: timm:resnet18.a1_in1k}}"))
    steps = make_plan(read(path, ("data.size=32",))).steps
    costly = "the student costs more than what it replaces: 35.4M MACs, not 2.56M"
    assert [step.notes for step in steps] == [(), (costly, f"{what}; the student begins at random"), ()]
