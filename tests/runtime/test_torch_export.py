"""Programs of torch.export answer as the network does, without coc, for any number of images."""

from __future__ import annotations

import io
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exportable import rounded_net
from torch import nn

from coc_cli.errors import RunError
from coc_cli.nets.layers import ActivationQuantizer, QuantizedWeight
from coc_cli.runtime import interpreter
from coc_cli.runtime.lowering import lower
from coc_cli.runtime.writers import torch_program

ALONE = """
import sys, numpy, torch
sys.modules["coc_cli"] = None
program = torch.export.load(sys.argv[1]).module()
images = torch.from_numpy(numpy.load(sys.argv[2]))
numpy.savez(sys.argv[3], *[numpy.concatenate([one.numpy() for one in each]) for each in zip(program(images[:5]), program(images[5:6]))])
"""


def agree(found: Any, expected: Any) -> Any:
    """Return which rows are the same but for how float32 rounds sums: a code may fall to the other side of a half."""
    return np.abs(found - expected).max(1) <= 1e-4 * np.ptp(expected)


@pytest.mark.parametrize(
    ("arch", "options"),
    [("cifar:resnet20", {"depth": 8}), pytest.param("cifar:mobilenet_v2", {}, marks=pytest.mark.full)],
)
def test_a_plain_copy_has_rounded_weights_folded_norms_and_the_same_answers(arch: str, options: dict[str, Any]) -> None:
    network, x = rounded_net(arch, 8, (4, 4), width=4, measure="entropy", **options)
    graph, exported = lower(network)
    before = {name: tensor.clone() for name, tensor in exported.state_dict().items()}
    plain = torch_program.plain(exported)
    kinds = {type(module) for module in plain.modules()}
    assert not any(issubclass(kind, (QuantizedWeight, ActivationQuantizer, nn.BatchNorm2d)) for kind in kinds)
    with torch.no_grad():
        found = plain(x)
    for one, other in zip(found, interpreter.run(graph, x.numpy()), strict=True):
        assert agree(one.numpy(), other).mean() > 0.95
    assert all(torch.equal(tensor, before[name]) for name, tensor in exported.state_dict().items())


def test_a_norm_that_another_layer_uses_too_is_not_folded() -> None:
    network, _ = rounded_net("cifar:resnet20", 8, (8, 8), depth=8, width=4)
    node = network.layer_nodes[0]
    (norm,) = node.users
    calls = Counter({node.target: 1, norm.target: 1})
    assert torch_program._norm_behind(network, node, calls) == norm.target
    assert torch_program._norm_behind(network, node, calls + Counter({norm.target: 1})) is None
    assert torch_program._norm_behind(network, network.layer_nodes[-1], calls) is None


@pytest.mark.full
def test_a_program_answers_as_the_network_in_a_process_without_coc(tmp_path: Path) -> None:
    network, x = rounded_net("cifar:resnet20", 8, (4, 4), depth=8, width=4, measure="variance", head="bof")
    graph, exported = lower(network)
    content = torch_program.write(exported)
    assert str(Path(torch_program.__file__).parents[3]).encode() not in content
    names = [str(tmp_path / name) for name in ("model.pt2", "x.npy", "found.npz")]
    Path(names[0]).write_bytes(content)
    np.save(names[1], x[:6].numpy())
    subprocess.run([sys.executable, "-c", ALONE, *names], check=True, cwd=tmp_path)
    found = np.load(names[2])
    with torch.no_grad():
        same = [numbers.numpy() for numbers in torch_program.plain(exported)(x[:6])]
    expected = interpreter.run(graph, x[:6].numpy())
    assert len(found.files) == len(same) == len(expected) == 2
    for place, (one, other) in enumerate(zip(same, expected, strict=True)):
        assert agree(found[f"arr_{place}"], one).all()
        assert agree(found[f"arr_{place}"], other).mean() > 0.8


@pytest.mark.full
def test_a_program_of_a_network_without_exits_gives_one_output() -> None:
    network, x = rounded_net("cifar:vgg19", 32, (8, 8), width=4)
    _, exported = lower(network)
    program = torch.export.load(io.BytesIO(torch_program.write(exported))).module()
    with torch.no_grad():
        (found,), (expected,) = program(x[:3]), torch_program.plain(exported)(x[:3])
    assert agree(found.numpy(), expected.numpy()).all()


def test_a_program_that_answers_otherwise_is_not_written() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).requires_grad_(requires_grad=False)
    images, file = torch.rand(2, 4), io.BytesIO()
    torch.export.save(torch.export.export(torch_program.Outputs(module), (images,)), file)  # type: ignore[arg-type]
    torch_program._check(file.getvalue(), torch_program.Outputs(module), images)  # type: ignore[arg-type]
    module[1].bias += 1
    with pytest.raises(RunError) as error:
        torch_program._check(file.getvalue(), torch_program.Outputs(module), images)  # type: ignore[arg-type]
    assert str(error.value) == "the file of torch.export answers otherwise than the network; write `--to onnx` instead"
