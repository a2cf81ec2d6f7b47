"""Architectures from everywhere: what the table in docs/models.md says of each is tried here."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from formats import through_file
from models_table import CHECKS, TABLE, Row, document
from sampling import tiered
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from coc_cli.data.images import Data, Split
from coc_cli.data.info import DataInfo
from coc_cli.data.settings import Augment
from coc_cli.errors import StageError
from coc_cli.nets.checkpoint import save
from coc_cli.nets.cost import cost
from coc_cli.nets.entry import raw
from coc_cli.nets.names import plain_path
from coc_cli.nets.network import Network, build, fresh
from coc_cli.nets.spec import Spec
from coc_cli.recipe.model import Link
from coc_cli.stages.channel_selection import backbone_macs
from coc_cli.stages.pruning_widths import TOLERANCE
from coc_cli.stages.stage import Lab, Stage


def stage(name: str, **keys: object) -> Stage:
    return Link.model_validate({name: {"epochs": 0, "batch": 4, "lr": 2e-4, **keys}}).stage


PRUNE = stage("prune", ratio=0.2)
QUANTIZE = stage("quantize", weights=4, activations=4)
EARLY_EXIT = stage("early_exit", exits=1, max_drop=0.25)


def images_of(spec: Spec) -> Data:
    def split(n: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (n, *spec.input_shape), generator=generator, dtype=torch.uint8)
        return Split(images, torch.arange(n) % len(spec.labels))

    info = DataInfo(spec.input_shape, spec.labels, "classification", spec.mean, spec.std, 4)
    return Data(split(6, 1), split(4, 2), split(4, 3), info=info)


def applied(spec: Spec, chain: list[Stage], folder: Path) -> Network:
    """Apply stages to a fresh network; after each, what was saved and loaded gives the same outputs."""
    data, network = images_of(spec), build(spec)
    network(network.normalise(data.train.images))  # norms have seen something
    images = network.normalise(data.test.images)
    baseline = network.eval()
    for index, step in enumerate(chain):
        lab = Lab(data, Augment(), "cpu", 7, baseline, folder / str(index), lambda _: None)
        made = step.apply(network, lab)
        network = through_file(made)
        for there, here in zip(network(images), made(images), strict=True):
            assert torch.equal(there, here), step.name
    return network


def check_traces(row: Row, _: Path) -> None:
    original = raw(row.spec)
    network = fresh(row.spec, copy.deepcopy(original)).double()
    original.double()
    images = torch.randn(4, *row.spec.input_shape, dtype=torch.float64)
    for mode in (True, False):
        original.train(mode)
        network.train(mode)
        torch.manual_seed(1)
        expected = original(images)
        torch.manual_seed(1)
        torch.testing.assert_close(network(images)[-1], expected, rtol=1e-6, atol=1e-9)
    start, theirs, ours = (_statistics(module) for module in (raw(row.spec), original, network.backbone))
    for name, value in ours.items():
        name = name if name in theirs else name.replace(".norm.running", ".running")  # noqa: PLW2901
        assert not torch.equal(start[name], value.float()), name
        torch.testing.assert_close(value, theirs[name])
    whole = network(images)[-1]
    assert torch.equal(network(images)[-1], whole)
    alone = torch.cat([network(image[None])[-1] for image in images])
    torch.testing.assert_close(alone, whole, rtol=1e-6, atol=1e-9)


def check_macs(row: Row, _: Path) -> None:
    with torch.device("meta"):
        original = raw(row.spec).eval()
    torch.backends.mha.set_fastpath_enabled(False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        original(torch.empty(1, *row.spec.input_shape, device="meta"))
    assert cost(row.spec).macs == pytest.approx(counter.get_total_flops() / 2, rel=1e-3)


def _statistics(module: nn.Module) -> dict[str, torch.Tensor]:
    """Give what norms have seen, by name; a norm with an activation inside is NAME.norm and NAME.act in a graph."""
    return {plain_path(name): value for name, value in module.named_buffers() if ".running_" in f".{name}"}


def check_prune(row: Row, folder: Path) -> None:
    made = applied(row.spec, [PRUNE], folder)
    assert backbone_macs(made.spec) / backbone_macs(row.spec) == pytest.approx(0.8, abs=TOLERANCE)


def check_quantize(row: Row, folder: Path) -> None:
    made = applied(row.spec, [QUANTIZE], folder)
    assert set(made.spec.bits) == set(made.layers)
    assert max(made.input_bits().values()) <= 8


def check_early_exit(row: Row, folder: Path) -> None:
    made = applied(row.spec, [EARLY_EXIT], folder)
    assert len(made.spec.exits) == 1
    images = torch.randn(4, *row.spec.input_shape)
    assert torch.equal(
        torch.stack(made(images))[made.predict(images).exit, range(4)].argmax(1), made.predict(images).value
    )


def check_chain(row: Row, folder: Path) -> None:
    """The network itself is distilled, pruned, rounded and gets an exit, each stage trained a little."""
    chain = [stage("distill", student="same"), PRUNE, QUANTIZE, EARLY_EXIT]
    made = applied(row.spec, [step.model_copy(update={"epochs": 1}) for step in chain], folder)
    assert made.spec.arch == row.arch
    assert (len(made.spec.exits), bool(made.spec.modules), set(made.spec.bits.values())) == (1, True, {4, 8})
    _loads_without_its_library(made, folder)


def _loads_without_its_library(made: Network, folder: Path) -> None:
    """Load a result in a process that has neither torchvision nor timm; it gives the same outputs, bit for bit."""
    save(made, (), folder / "model.safetensors")
    images = torch.randn(4, *made.spec.input_shape)
    torch.save([images, made(images)], folder / "outputs.pt")
    code = (
        "import sys; sys.modules.update(torchvision=None, timm=None)\n"
        "import coc_cli, torch; torch.set_num_threads(1)\n"
        "images, outputs = torch.load(sys.argv[1] + '/outputs.pt')\n"
        "found = coc_cli.load(sys.argv[1] + '/model.safetensors')(images)\n"
        "assert all(torch.equal(a, b) for a, b in zip(found, outputs, strict=True))"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=Path(__file__).parents[2])


QUICK = ("torchvision:shufflenet_v2_x0_5", "torchvision:squeezenet1_1", "timm:mobilenetv3_small_050")
TRIES = dict(
    zip(CHECKS, (check_traces, check_macs, check_prune, check_quantize, check_early_exit, check_chain), strict=True)
)


CELLS = [(row, check) for row in TABLE for check in CHECKS]
QUICK_CELLS = [(row, check) for row, check in CELLS if row.arch in QUICK]
LONG_CELLS = [(row, check) for row, check in QUICK_CELLS if check == CHECKS[-1]][1:]  # 10 seconds each


@pytest.mark.parametrize(
    "cell",
    tiered(CELLS, quick=[cell for cell in QUICK_CELLS if cell not in LONG_CELLS], full=12, kept=LONG_CELLS),
    ids=lambda cell: f"{cell[0].arch}-{cell[1]}",
)
def test_every_cell_is_as_the_table_says(cell: tuple[Row, str], tmp_path: Path) -> None:
    row, check = cell
    if row.arch.startswith("timm:"):
        pytest.importorskip("timm", reason="timm is not installed: pip install 'coc-cli[timm]'")
    reason = row.fails.get(check)
    if reason is None:
        TRIES[check](row, tmp_path)
        return
    with pytest.raises(StageError) as caught:
        TRIES[check](row, tmp_path)
    assert caught.value.what.startswith(reason)
    assert "\n" not in caught.value.what


def test_the_table_is_as_wide_as_it_claims() -> None:
    assert len(TABLE) >= 45
    assert sum(not row.fails for row in TABLE) >= 40
    assert {row.arch.partition(":")[0] for row in TABLE} == {"cifar", "torchvision", "timm"}
    assert all(check in CHECKS for row in TABLE for check in row.fails)


@pytest.mark.full
def test_the_document_shows_the_table() -> None:
    pytest.importorskip("timm", reason="timm is not installed: pip install 'coc-cli[timm]'")
    assert (Path(__file__).parents[2] / "docs/models.md").read_text() == document()
