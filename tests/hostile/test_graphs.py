"""Checkpoints whose graph somebody changed: refused as the user's error, and nothing of them ever runs."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mutations import CANARY, HOSTILE, at, content_of, mutated, places, write
from sampling import counts, seed

from coc_cli.errors import UserError
from coc_cli.nets.checkpoint import load, save
from coc_cli.nets.network import Network, build, fresh
from coc_cli.nets.spec import Spec
from coc_cli.recipe.model import Link

LARGEST_GROWTH = 200 << 20  # bytes that reading a file may take above what the process has
NET = """\
import torch, torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self, outputs, channels):
        super().__init__()
        self.a, self.b = nn.Conv2d(channels, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.gain, self.last = nn.Parameter(torch.rand(8, 1, 1)), nn.Linear(16, outputs)
        self.act, self.down = nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        y = self.act(self.a(x)) * self.gain
        n, c, h, w = y.shape
        z = self.b(y).view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        z = F.interpolate(F.avg_pool2d(z, 2), scale_factor=2.0, mode="bilinear", align_corners=False)
        u, v = torch.cat([z + y, self.down(y)], 1).chunk(2, 1)
        z = F.dropout(torch.cat([u[:, ::2], v[:, :4], u[:, 1::2], v[..., 4:, :, :]], 1), 0.1, self.training)
        return self.last(z.mean((2, 3)).clamp(-5, 5))
"""


def many_operations(folder: Path) -> Network:
    (folder / "net.py").write_text(NET)
    spec = Spec(
        arch=f"file:{folder}/net.py:Net",
        input_shape=(1, 8, 8),
        mean=(0.5,),
        std=(0.25,),
        labels=("a", "b", "c"),
    )
    return fresh(spec)


def compressed(network: Network) -> Network:
    """Return a network with exits and quantisers, none of them trained."""
    spec = network.spec
    for link in ({"early_exit": {"exits": 1, "max_drop": 0.1}}, {"quantize": {"weights": 4, "activations": 4}}):
        spec = Link.model_validate(link).stage.expect(spec)
    return build(spec)


@pytest.fixture(params=["residual", "operations"])
def checkpoint(request: pytest.FixtureRequest, network: Network, tmp_path: Path) -> Path:
    made = compressed(network) if request.param == "residual" else many_operations(tmp_path)
    save(made.eval(), (), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def run(path: Path, images: torch.Tensor) -> list[torch.Tensor] | None:
    """Return the outputs of a file's network; None if it is refused."""
    network = refusal = None
    try:
        network = load(path)
    except UserError as error:
        refusal = str(error)
    if network is None:
        assert "\n" not in refusal
        assert len(refusal) < 1000
        return None
    with torch.no_grad():
        return network(images)


def test_the_file_as_it_is_loads_and_so_does_what_is_written_anew(checkpoint: Path, images: torch.Tensor) -> None:
    expected = run(checkpoint, images)
    write(checkpoint.with_name("again.safetensors"), content_of(checkpoint), checkpoint)
    again = run(checkpoint.with_name("again.safetensors"), images)
    assert expected is not None
    assert all(torch.equal(a, b) for a, b in zip(expected, again, strict=True))


@pytest.mark.parametrize("count", counts(quick=40, full=500, exhaustive=5000))
def test_changed_graphs_are_refused_or_give_equal_outputs(
    checkpoint: Path, images: torch.Tensor, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the checksum of before, as damage or a careless editor leaves it."""
    monkeypatch.chdir(checkpoint.parent)
    content, expected, dice = content_of(checkpoint), run(checkpoint, images), random.Random(seed())
    checksum = json.loads(_metadata(checkpoint))["sha256"]
    path, before = checkpoint.with_name("changed.safetensors"), _peak()
    for _ in range(count):
        write(path, mutated(content, dice), checkpoint, checksum=checksum)
        outputs = run(path, images)
        assert outputs is None or all(torch.equal(a, b) for a, b in zip(expected, outputs, strict=True))
    assert not Path(CANARY).exists()
    assert _peak() - before < LARGEST_GROWTH


@pytest.mark.parametrize("count", counts(quick=40, full=500, exhaustive=5000))
def test_changed_graphs_with_a_right_checksum_are_refused_or_run(
    checkpoint: Path, images: torch.Tensor, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As somebody leaves them who knows the format: what is accepted is a network, gives numbers and runs no code."""
    monkeypatch.chdir(checkpoint.parent)
    content, expected, dice = content_of(checkpoint), run(checkpoint, images), random.Random(seed())
    path, before = checkpoint.with_name("changed.safetensors"), _peak()
    refused = 0
    for _ in range(count):
        write(path, mutated(content, dice), checkpoint)
        outputs = run(path, images)
        refused += outputs is None
        assert outputs is None or [o.shape[0] for o in outputs] == [len(images)] * len(outputs)
        assert outputs is None or outputs[-1].shape == expected[-1].shape
    assert refused > count / 2
    assert not Path(CANARY).exists()
    assert _peak() - before < LARGEST_GROWTH


def _metadata(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return str(file.metadata()["coc"])


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.full
def test_a_hostile_text_in_any_field_is_refused_or_stays_a_text(
    checkpoint: Path, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    content = content_of(checkpoint)
    path = checkpoint.with_name("changed.safetensors")
    texts = [place for place in places(content) if isinstance(at(content, place), str)]
    for place in texts[:: max(1, len(texts) // 60)]:
        for text in (one for one in HOSTILE if isinstance(one, str)):
            changed = json.loads(json.dumps(content))
            at(changed, place[:-1])[place[-1]] = text
            write(path, changed, checkpoint)
            run(path, images)
    assert not Path(CANARY).exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": [["y", "os.system", ["x"], ""]]}, "node 'y' is no known operation"),
        ({"nodes": [["y\n", "relu", ["x"], ""]]}, "'y\\n' is no name"),
        ({"nodes": [["y", "relu", ["z"], ""]]}, "'z' is no earlier node"),
        ({"nodes": [["y", "relu", ["y"], ""]]}, "'y' is no earlier node"),
        ({"nodes": [["x", "relu", ["x"], ""]]}, "two nodes have the name 'x'"),
        ({"nodes": [["y", "relu", ["x", 1, 2], ""]]}, "node 'y' has too many arguments"),
        (
            {"nodes": [["y", "module", ["x"], "nowhere"]]},
            "node 'y' is no known operation, or its 'module' is not there",
        ),
        ({"nodes": [["y", "softmax", ["x", 1e300], ""]]}, "a number of 1e+300 is too large"),
        ({"nodes": [["y", "interpolate", ["x", 8, None, {"text": "evil"}], ""]]}, "{'text': 'evil'} is no argument"),
        ({"nodes": [["y", "relu", ["x"], ""]] * 30_000}, "Tuple should have at most 20000 items"),
        ({"modules": {"a": {"kind": "Module"}}}, "there is no module 'Module'"),
        ({"modules": {"a": {"kind": "Conv2d", "arguments": {"device": 1}}}}, "Conv2d takes no 'device'"),
        ({"modules": {"a.b": {"kind": "ReLU"}, "a": {"kind": "ReLU"}}}, "'a.b' lies within another"),
        ({"output": "nowhere"}, "its output is no node"),
    ],
)
def test_what_is_wrong_is_said(network: Network, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    save(network, (), tmp_path / "m.safetensors")
    content = content_of(tmp_path / "m.safetensors")
    graph = content["spec"]["graph"]
    graph |= {**change, "modules": {**graph["modules"], **change.get("modules", {})}}
    write(tmp_path / "c.safetensors", content, tmp_path / "m.safetensors")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "c.safetensors")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/c.safetensors: damaged header: spec.graph")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [["big", "repeat", ["x", [1, 1 << 12, 1 << 12, 1]], ""], ["y", "mean", ["big", [2, 3]], ""]],
            "node 'big' makes",
        ),
        ([["big", "pad", ["x", [1 << 13] * 4], ""], ["y", "mean", ["big", [2, 3]], ""]], "node 'big' makes"),
        ([["n", "size", ["x", 1 << 20], ""], ["y", "mean", ["x", [2, 3]], ""]], "it does not fit its graph"),
        ([["y", "reshape", ["x", [1, 64]], ""]], "it does not fit its graph"),
        ([["y", "mean", ["x", [0, 2, 3], True], ""]], "gives"),
    ],
)
def test_what_a_graph_would_take_is_known_before_it_runs(
    network: Network, tmp_path: Path, nodes: list[object], message: str
) -> None:
    save(network, (), tmp_path / "m.safetensors")
    content = content_of(tmp_path / "m.safetensors")
    graph = content["spec"]["graph"]
    old = graph["nodes"]
    graph["nodes"] = [*nodes, *[[*n[:2], ["y" if arg == "x" else arg for arg in n[2]], *n[3:]] for n in old]]
    if message != "it does not fit its graph":
        graph["nodes"] = [*nodes, *old]
        graph["output"] = "y"
    write(tmp_path / "c.safetensors", content, tmp_path / "m.safetensors")
    with pytest.raises(UserError, match=message):
        load(tmp_path / "c.safetensors")


@pytest.mark.full
def test_a_doubling_chain_of_sizes_ends_at_once(network: Network, tmp_path: Path) -> None:
    save(network, (), tmp_path / "m.safetensors")
    content = content_of(tmp_path / "m.safetensors")
    chain = [["n0", "size", ["x", 2], ""], *[[f"n{i}", "mul", [f"n{i - 1}"] * 2, ""] for i in range(1, 200)]]
    content["spec"]["graph"]["nodes"][:0] = chain
    write(tmp_path / "c.safetensors", content, tmp_path / "m.safetensors")
    code = "import sys, coc_cli\ntry: coc_cli.load(sys.argv[1])\nexcept Exception as error: print(type(error).__name__, error)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c.safetensors")],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith("UserError ")
    assert "beyond all bounds" in done.stdout
