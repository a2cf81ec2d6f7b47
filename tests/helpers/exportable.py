"""Small networks as `coc export` takes them: quantised, calibrated on noise, with exits and their rules."""

from __future__ import annotations

import numpy as np
import onnx
import torch

from coc_cli.data.images import Split
from coc_cli.nets.architectures import resolve
from coc_cli.nets.exit_rules import exit_scores
from coc_cli.nets.network import Network, build, fresh, with_spec
from coc_cli.nets.precision import LayerBits, Precision, unsupported, with_precision
from coc_cli.nets.quantizer_initialization import initialize_quantizers
from coc_cli.nets.spec import ExitRule, Scale, Spec
from coc_cli.runtime.graph import Array, IntegerGraph
from coc_cli.runtime.writers.onnx import opened
from coc_cli.stages.early_exit import EarlyExit

INTEGER = frozenset(("QLinearConv", "QGemm", "QLinearMatMul", "ConvInteger", "MatMulInteger"))
FLOAT = frozenset(("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "ConvTranspose"))


def images_of(spec: Spec, count: int = 64, seed: int = 0) -> Split:
    """Return noise, uint8 [N, C, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, *spec.input_shape), generator=generator, dtype=torch.uint8)
    return Split(images, torch.arange(count) % len(spec.labels))


def float_network(
    arch: str,
    args: dict[str, int] | None = None,
    *,
    size: int = 16,
    measure: str = "",
    exits: int = 2,
    head: str = "pool",
) -> Network:
    """Return a network whose norms have seen something, with exits where there is a rule."""
    torch.manual_seed(0)
    numbers = measure in ("variance", "agreement")
    spec = Spec(
        arch=arch,
        args=resolve(arch, dict(args or {})),
        input_shape=(3, size, size),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        labels=tuple("abcd"),
        task="regression" if numbers else "classification",
        scale=Scale(mean=(1.0, 2.0, 3.0, 4.0), std=(2.0, 1.0, 0.5, 1.0)) if numbers else None,
    )
    network = fresh(spec)
    if measure:
        stage = EarlyExit(exits=exits, head=head, **({"max_drop": 0.1} if numbers else {}))  # type: ignore[arg-type]
        rule = ExitRule(measure=measure, threshold=0.0, max_drop=0.1)  # type: ignore[arg-type]
        network = build(stage.expect(network.spec).with_changes(rule=rule))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.weight, 1, 0.3)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    network(network.normalise(images_of(spec).images))
    return network.eval()


def with_threshold(network: Network) -> Network:
    """Return the network with a threshold at which about half of the images leave at an inner exit."""
    rule = network.spec.rule
    assert rule is not None
    with torch.no_grad():
        outputs = network(network.normalise(images_of(network.spec).images))
    scores = exit_scores(outputs, rule.measure)
    threshold = float(scores[1 if rule.measure == "agreement" else 0].median())
    changed = rule.model_copy(update={"threshold": threshold})
    return with_spec(network, network.spec.with_changes(rule=changed)).eval()


def quantised(network: Network, weights: int, activations: int) -> Network:
    """Return the network with calibrated quantisers; layers that cannot be quantised stay as they are."""
    kept = {name: LayerBits(32, 32) for name in unsupported(network)}
    bits = Precision(LayerBits(8, 8), LayerBits(weights, activations), LayerBits(8, 8), 8, kept)
    spec = with_precision(network.spec, bits)
    made = initialize_quantizers(network, spec, images_of(spec, seed=1), "cpu").eval()
    return with_threshold(made) if made.spec.rule else made


def inputs_of(network: Network, count: int = 64, seed: int = 0) -> Array:
    """Return normalised noise, float32 [N, C, H, W]."""
    return network.normalise(images_of(network.spec, count, seed).images).contiguous().numpy()


def answers(model: onnx.ModelProto, images: Array, *, one_by_one: bool = False) -> dict[str, Array]:
    """Return all outputs of a file for images, by name."""
    onnx.checker.check_model(model)
    session = opened(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    batches = [images[i : i + 1] for i in range(len(images))] if one_by_one else [images]
    runs = [session.run(names, {"image": batch}) for batch in batches]
    return {name: np.concatenate(parts) for name, parts in zip(names, zip(*runs, strict=True), strict=True)}


def layer_kinds(model: onnx.ModelProto, folder: str) -> list[str]:
    """Return what the layers of a file have become in ONNX Runtime's optimised graph, in every branch."""
    opened(model.SerializeToString(), optimised=f"{folder}/optimised.onnx")
    found: list[str] = []

    def walk(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            if node.op_type in INTEGER | FLOAT:
                found.append(node.op_type)
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    walk(attribute.g)

    walk(onnx.load(f"{folder}/optimised.onnx").graph)
    return found


def equal_rows(one: list[Array], other: list[Array]) -> float:
    """Return the share of images for which all exits give the same bits."""
    return float(np.all([(a == b).all(1) for a, b in zip(one, other, strict=True)], axis=0).mean())


def exits_of(found: dict[str, Array], graph: IntegerGraph) -> list[Array]:
    return [found[f"exit_{index}"] for index in range(len(graph.outputs))]


def rounded_net(
    arch: str, size: int, bits: tuple[int, int], *, measure: str = "", exits: int = 1, head: str = "pool", **args: int
) -> tuple[Network, torch.Tensor]:
    """Return a network of so many bits of weights and activations, and normalised noise [64, 3, size, size]."""
    network = quantised(float_network(arch, args, size=size, measure=measure, exits=exits, head=head), *bits)
    return network, torch.from_numpy(inputs_of(network))
