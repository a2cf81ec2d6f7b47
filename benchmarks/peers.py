"""Other tools beside coc: the same network, images and budget, each at its best documented setting, in one run.

    OMP_NUM_THREADS=1 python benchmarks/peers.py ptq         # minutes; NNCF where it is installed
    OMP_NUM_THREADS=1 python benchmarks/peers.py training    # an hour or two; each row is kept when it is done

`cifar10.zip` and `resnet20-12fca82f.th` lie where this is run. The network is somebody else's ResNet-20, which has seen
the images that are validation here: so they choose only settings of peers that take no training, which flatters those,
and trainings have epochs that are fixed beforehand. Test images are used once a row. Writes docs/benchmarks/peers.json.
"""

from __future__ import annotations

import argparse
import json
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coc_cli.chain.result import environment
from coc_cli.data import sources
from coc_cli.data.augmentation import augmented
from coc_cli.data.images import Data, Split
from coc_cli.data.settings import Augment, DataSettings
from coc_cli.intervals import wilson
from coc_cli.report.schema.part import as_data

ROOT = Path(__file__).resolve().parents[1]
JSON, RUNS = ROOT / "docs/benchmarks/peers.json", Path("runs/peers")
RECIPE = ROOT / "recipes/cifar10-lowbit.yaml"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CALIBRATION, EPOCHS, BATCH, RATE = 512, 4, 128, 0.01
MACS, FIRST, LAST = 40_551_040, 442_368, 640  # of ResNet-20, of its first and last layer
Model = Callable[[Tensor], Tensor]
FILES: dict[str, bytes] = {}  # what is timed in the end, by setting


def images() -> Data:
    """Return the data as the recipe cuts it."""
    settings = DataSettings(source="folder:cifar10.zip", size=32, channels=3, classes=10, validation=0.02)
    return sources.read(settings, 0, cache=Path("runs/.cache/data"))


def normalised(pixels: Tensor) -> Tensor:
    """Return float32 images [N, 3, 32, 32] of uint8 ones."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (pixels.float() / 255).sub_(mean).div_(std)


def network() -> nn.Module:
    """Return somebody else's ResNet-20."""
    made: nn.Module = runpy.run_path(str(ROOT / "recipes/foreign_resnet.py"))["resnet20"](10)
    state = torch.load("resnet20-12fca82f.th", map_location="cpu", weights_only=True)["state_dict"]
    made.load_state_dict({name.removeprefix("module."): value for name, value in state.items()})
    return made.eval()


def accuracy(model: Model, split: Split) -> tuple[float, int]:
    """Return the fraction of images that are answered right, and how many there are."""
    with torch.no_grad():
        right = sum(int((model(normalised(x)).argmax(1) == y).sum()) for x, y in split.batches(500))
    return right / len(split), len(split)


def row(
    tool: str, setting: str, model: Model, data: Data, bitops: float, size: int | None, **more: Any
) -> dict[str, Any]:
    """Return a row of the table; the test images are used here, once."""
    value, n = accuracy(model, data.test)
    return {
        "tool": tool, "setting": setting, "accuracy": value, "ci95": wilson(round(value * n), n), "n": n,
        "bitops_ratio": MACS * 32 * 32 / bitops, "bytes": size, **more,
    }  # fmt: skip


def bits(inner: int, ends: int = 8, macs: float = MACS) -> float:
    """Return strict BitOps with bits of weights and activations of inner layers and of the first and last."""
    return (macs - FIRST - LAST) * inner * inner + (FIRST + LAST) * ends * ends


def session(content: bytes) -> Any:
    """Return an ONNX file opened by ONNX Runtime, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def model_of(content: bytes) -> Model:
    """Return an ONNX file as a model."""
    opened = session(content)
    name = opened.get_inputs()[0].name
    return lambda x: torch.from_numpy(opened.run(None, {name: x.numpy()})[0])


def timed(files: dict[str, bytes], rounds: int = 7, runs: int = 100) -> dict[str, dict[str, float]]:
    """Return CPU times in ms for one image, in turn: medians over rounds of means, and how often as fast as float."""
    opened, one = {name: session(content) for name, content in files.items()}, np.zeros((1, 3, 32, 32), np.float32)
    times: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(rounds + 1):
        for name, each in opened.items():
            feed, began = {each.get_inputs()[0].name: one}, time.process_time()
            for _ in range(runs):
                each.run(None, feed)
            times[name].append(1e3 * (time.process_time() - began) / runs)
    plain = np.array(times["float32 in ONNX Runtime"][1:])
    return {
        name: {"cpu_ms": float(np.median(each[1:])), "speedup": float(np.median(plain / np.array(each[1:])))}
        for name, each in times.items()
    }


def to_onnx(module: nn.Module, path: Path) -> None:
    """Write a module as a float ONNX file for any number of images."""
    torch.onnx.export(
        module, (torch.zeros(2, 3, 32, 32),), path, dynamo=False, opset_version=17,
        input_names=["image"], dynamic_axes={"image": {0: "n"}},
    )  # fmt: skip


def onnx_runtime(data: Data) -> Iterator[dict[str, Any]]:
    """Yield ONNX Runtime's static quantisation, at the calibration that is best on validation; and the float file."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            calibration = normalised(data.train.take(torch.arange(CALIBRATION)))
            self.batches = iter([{"image": part.numpy()} for part in calibration.split(64)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    with tempfile.TemporaryDirectory() as folder:
        plain, ready, made = (Path(folder) / name for name in ("plain.onnx", "ready.onnx", "made.onnx"))
        to_onnx(network(), plain)
        FILES["float32 in ONNX Runtime"] = content = plain.read_bytes()
        yield row("none", "float32 in ONNX Runtime", model_of(content), data, MACS * 1024, len(content))
        quant_pre_process(plain, ready)
        best: tuple[float, str, bytes] = (-1.0, "", b"")
        for method in (CalibrationMethod.MinMax, CalibrationMethod.Entropy, CalibrationMethod.Percentile):
            quantize_static(
                ready, made, Reader(), quant_format=QuantFormat.QDQ, per_channel=True, calibrate_method=method,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
            content = made.read_bytes()
            best = max(best, (accuracy(model_of(content), data.validation)[0], str(method), content))
        setting = f"static int8, QDQ, per channel, {best[1]}"
        FILES[setting] = best[2]
        yield row("ONNX Runtime", setting, model_of(best[2]), data, MACS * 64, len(best[2]))


def nncf(data: Data) -> Iterator[dict[str, Any]]:
    """Yield NNCF's post-training quantisation, where it is installed."""
    try:
        import nncf as library
    except ImportError:
        yield {"tool": "NNCF", "setting": "int8", "not_measured": "not installed"}
        return
    import onnx

    parts = [{"image": part.numpy()} for part in normalised(data.train.take(torch.arange(CALIBRATION))).split(1)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.onnx"
        to_onnx(network(), path)
        made = library.quantize(
            onnx.load(path),
            library.Dataset(parts),
            preset=library.QuantizationPreset.MIXED,
            subset_size=CALIBRATION,
            fast_bias_correction=False,
        )
    content = made.SerializeToString()
    setting = f"{library.__version__}, int8 of the ONNX file, mixed preset, full bias correction"
    FILES[setting] = content
    yield row("NNCF", setting, model_of(content), data, MACS * 64, len(content))


def coc(data: Data, name: str, stage: str, **settings: Any) -> dict[str, Any]:
    """Return a row of coc's own, from a run of the recipe with one stage in its chain."""
    out = RUNS / name
    keys = ", ".join(f"{key}: {value}" for key, value in settings.items())
    command = [sys.executable, "-m", "coc_cli", "compress", str(RECIPE), "--out", str(out), "--set"]
    subprocess.run([*command, f"chain=[{{{stage}: {{{keys}}}}}]"], check=True, stdout=subprocess.DEVNULL)
    stage_entry = json.loads((out / "report.json").read_text())["stages"][-1]
    setting, more = f"{stage} {{{keys}}}", {}
    if stage == "quantize":
        subprocess.run([sys.executable, "-m", "coc_cli", "export", str(out), "--to", "onnx"], check=True)
        FILES[setting] = (out / "export/model.onnx").read_bytes()
        more = {"file_bytes": len(FILES[setting])}
    n = stage_entry["n_test"]
    assert n == len(data.test)
    return {
        "tool": "coc", "setting": setting, "accuracy": stage_entry["metric_value"],
        "ci95": stage_entry["metric_ci95"], "n": n, "bitops_ratio": stage_entry["bitops_ratio"],
        "bytes": stage_entry["checkpoint_bytes"], "seconds": stage_entry["seconds"], **more,
    }  # fmt: skip


def trained(module: nn.Module, data: Data) -> float:
    """Train a module as any tutorial would, in bfloat16, with the budget of all; return the CPU time in s."""
    optimizer = torch.optim.SGD(module.parameters(), lr=RATE, momentum=0.9, weight_decay=1e-4, nesterov=True)
    steps = EPOCHS * -(-len(data.train) // BATCH)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator, began = torch.Generator().manual_seed(0), time.process_time()
    module.train()
    for _ in range(EPOCHS):
        for index in data.train.shuffled(BATCH, generator):
            pixels = augmented(data.train.take(index), Augment(shift=4, flip=True), generator)
            with torch.autocast("cpu", torch.bfloat16):
                output = module(normalised(pixels).contiguous(memory_format=torch.channels_last))
            optimizer.zero_grad()
            F.cross_entropy(output.float(), data.train.targets[index]).backward()
            optimizer.step()
            schedule.step()
    module.eval()
    return time.process_time() - began


def torch_pruning(data: Data) -> Iterator[dict[str, Any]]:
    """Yield Torch-Pruning's group norm pruner at half of the MACs, trained for the budget."""
    import torch_pruning as library

    module, example = network(), torch.zeros(1, 3, 32, 32)
    pruner = library.pruner.GroupNormPruner(
        module, example, importance=library.importance.GroupMagnitudeImportance(p=2), pruning_ratio=0.9,
        global_pruning=True, iterative_steps=200, ignored_layers=[module.linear],
    )  # fmt: skip
    macs = float(MACS)
    while macs > MACS / 2:
        pruner.step()
        macs, _ = library.utils.count_ops_and_params(module, example)
    seconds = trained(module, data)
    setting = f"{library.__version__}, GroupNormPruner, global, {macs / MACS:.0%} of the MACs, {EPOCHS} epochs"
    yield row("Torch-Pruning", setting, module, data, macs * 1024, None, seconds=seconds)


def brevitas(data: Data) -> Iterator[dict[str, Any]]:
    """Yield Brevitas at W4A4, first and last layer at 8 bits, from the same weights, trained for the budget."""
    import brevitas as library
    import brevitas.nn as qnn
    from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat

    module = network()

    def rounded(name: str, layer: nn.Module) -> nn.Module:
        width = 8 if name in ("conv1", "linear") else 4
        if isinstance(layer, nn.Conv2d):
            new: nn.Module = qnn.QuantConv2d(
                layer.in_channels, layer.out_channels, 3, layer.stride, layer.padding, bias=False,
                weight_quant=Int8WeightPerChannelFloat, weight_bit_width=width,
            )  # fmt: skip
        else:
            new = qnn.QuantLinear(64, 10, bias=True, weight_quant=Int8WeightPerTensorFloat, weight_bit_width=8)
        new.load_state_dict(layer.state_dict(), strict=False)
        return new

    for name, layer in list(module.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, rounded(name, layer))
    relus = {block: nn.ModuleList(qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=4) for _ in range(2))
             for block in module.modules() if type(block).__name__ == "Block"}  # fmt: skip
    first = qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=4)
    module.rounding = nn.ModuleList([first, *relus.values()])
    _run_with(module, relus, first)
    seconds = trained(module, data)
    setting = f"{library.__version__}, W4A4 per channel, ends at 8 bits, {EPOCHS} epochs"
    yield row("Brevitas", setting, module, data, bits(4), None, seconds=seconds)


def _run_with(module: nn.Module, relus: dict[nn.Module, nn.ModuleList], first: nn.Module) -> None:
    """Let blocks and the stem run with quantised activations in place of F.relu."""

    def block_forward(block: Any, x: Tensor) -> Tensor:
        inner, last = relus[block]
        y = block.bn2(block.conv2(inner(block.bn1(block.conv1(x)))))
        if block.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, block.more, block.more))
        return last(y + x)  # type: ignore[no-any-return]

    def forward(x: Tensor) -> Tensor:
        x = module.layer3(module.layer2(module.layer1(first(module.bn1(module.conv1(x))))))
        return module.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))

    for block in relus:
        block.forward = block_forward.__get__(block)  # type: ignore[method-assign]
    module.forward = forward


def rows(kind: str, data: Data) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Yield what makes each row, or two, of a kind."""
    if kind == "ptq":
        yield lambda: list(onnx_runtime(data))
        yield lambda: list(nncf(data))
        yield lambda: [coc(data, "w8a8-0", "quantize", weights=8, activations=8, epochs=0)]
        yield lambda: [coc(data, "w4a4-0", "quantize", weights=4, activations=4, epochs=0)]
        return
    budget = {"epochs": EPOCHS, "batch": BATCH, "optimizer": "sgd", "lr": RATE, "keep": "last"}
    yield lambda: list(torch_pruning(data))
    yield lambda: [coc(data, "prune", "prune", ratio=0.5, **budget)]
    yield lambda: list(brevitas(data))
    yield lambda: [coc(data, "w4a4", "quantize", weights=4, activations=4, **budget)]


def main() -> None:
    """Make the rows of a kind, and write each when it is made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["ptq", "training"])
    kind = parser.parse_args().kind
    data = images()
    found: dict[str, Any] = json.loads(JSON.read_text()) if JSON.is_file() else {"kinds": {}}
    made: list[dict[str, Any]] = []
    for make in rows(kind, data):
        for one in make():
            print(one, flush=True)
            made.append(one)
        times = timed(FILES) if "float32 in ONNX Runtime" in FILES else {}
        found["kinds"][kind] = {
            "command": f"OMP_NUM_THREADS={torch.get_num_threads()} python benchmarks/peers.py {kind}",
            "environment": {**as_data(environment("cpu")), "threads": torch.get_num_threads()},
            "rows": [{**one, **times.get(one["setting"], {})} for one in made],
        }
        JSON.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
