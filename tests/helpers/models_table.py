"""Which architectures can be compressed, and how far: the table that tests check and docs/models.md shows.

python tests/helpers/models_table.py > docs/models.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from coc_cli.nets.architectures import resolve
from coc_cli.nets.cost import cost
from coc_cli.nets.module_kinds import MODULES
from coc_cli.nets.operations import KINDS, OPERATIONS
from coc_cli.nets.spec import Scalar, Spec
from coc_cli.units import count

CHECKS = ("traces", "MACs", "prune", "quantize", "early exit", "D-P-Q-E")


@dataclass(frozen=True)
class Row:
    """An architecture on square images of `size`; `fails` gives, by check, how the reason begins."""

    arch: str
    size: int = 32
    args: dict[str, Scalar] = field(default_factory=dict)
    fails: dict[str, str] = field(default_factory=dict)

    @property
    def spec(self) -> Spec:
        """The network for ten classes."""
        return Spec(
            arch=self.arch,
            args=resolve(self.arch, self.args),
            input_shape=(3, self.size, self.size),
            mean=(0.5,) * 3,
            std=(0.25,) * 3,
            labels=tuple("0123456789"),
        )


_VIT = {"img_size": 32, "patch_size": 8}
_NO_PLACE = "asks for 1, but there are 0 places between blocks; leave early_exit out, or name places by exits: [NAME]"
_NO_EXIT = {"early exit": _NO_PLACE, "D-P-Q-E": _NO_PLACE}


def _refused(reason: str) -> dict[str, str]:
    return dict.fromkeys(CHECKS, f"cannot be traced: in {reason}")


TABLE = (
    Row("cifar:resnet34"),
    Row("cifar:vgg19"),
    Row("cifar:mobilenet_v2"),
    Row("torchvision:resnet18"),
    Row("torchvision:resnet50"),
    Row("torchvision:resnext50_32x4d"),
    Row("torchvision:mobilenet_v2"),
    Row("torchvision:mobilenet_v3_small"),
    Row("torchvision:efficientnet_b0"),
    Row("torchvision:efficientnet_v2_s"),
    Row("torchvision:mnasnet0_5"),
    Row("torchvision:squeezenet1_1"),
    Row("torchvision:densenet121"),
    Row("torchvision:regnet_x_400mf"),
    Row("torchvision:regnet_y_400mf"),
    Row("torchvision:shufflenet_v2_x0_5"),
    Row("torchvision:googlenet"),
    Row("torchvision:inception_v3", 96),
    Row("torchvision:convnext_tiny"),
    Row("torchvision:vit_b_16", args={"image_size": 32}, fails=_NO_EXIT),
    Row(
        "torchvision:swin_t",
        64,
        fails=_refused(
            "features.1.1.attn: setitem writes into a part of a tensor; build it with torch.cat, torch.where"
        ),
    ),
    Row(
        "torchvision:maxvit_t",
        224,
        fails=_refused(
            "blocks.0.layers.0.layers.window_attention.attn_layer.1: einsum is a sum over named indices; write it with"
            " torch.matmul and permute"
        ),
    ),
    Row("timm:tf_efficientnet_lite0"),
    Row("timm:efficientnet_lite0"),
    Row("timm:tf_mobilenetv3_small_minimal_100"),
    Row("timm:mobilenetv3_small_050"),
    Row("timm:mobilenetv4_conv_small_050"),
    Row("timm:regnetx_002"),
    Row("timm:regnety_002"),
    Row("timm:repvgg_a0"),
    Row("timm:mobileone_s0"),
    Row("timm:convnext_atto"),
    Row("timm:ghostnet_050"),
    Row("timm:repghostnet_050"),
    Row("timm:fbnetc_100"),
    Row("timm:dla46_c"),
    Row("timm:ese_vovnet19b_dw"),
    Row("timm:densenet121"),
    Row("timm:mixnet_s"),
    Row("timm:skresnet18"),
    Row("timm:hardcorenas_a"),
    Row("timm:res2net50_14w_8s"),
    Row("timm:lcnet_035"),
    Row("timm:tinynet_e"),
    Row("timm:resnet10t"),
    Row("timm:mobilevit_xxs", 64),
    Row("timm:poolformer_s12"),
    Row("timm:cspresnet50"),
    Row("timm:resnest14d"),
    Row("timm:rexnet_100", 64),
    Row("timm:fasternet_t0"),
    Row("timm:seresnext26d_32x4d"),
    Row("timm:dpn48b"),
    Row("timm:hrnet_w18_small"),
    Row("timm:starnet_s1"),
    Row("timm:gernet_s"),
    Row("timm:vit_tiny_patch16_224", args=_VIT, fails=_NO_EXIT),
    Row(
        "timm:edgenext_xx_small",
        fails=_refused(
            "stages.1.blocks.1.pos_embd: turns numbers into bool; leave them float32 (timm/models/edgenext.py"
        ),
    ),
    Row(
        "timm:nf_resnet50",
        fails=_refused("stem.conv: calls batch_norm, which is not among the operations that coc knows; write it with"),
    ),
)

# Of how many layers how many are one integer operation in an export of the network at 8 bits, and what follows the others
INTEGER = {
    "cifar:resnet34": (37, 37, ""),
    "cifar:vgg19": (17, 17, ""),
    "cifar:mobilenet_v2": (53, 53, ""),
    "torchvision:resnet18": (21, 21, ""),
    "torchvision:resnet50": (54, 54, ""),
    "torchvision:resnext50_32x4d": (54, 54, ""),
    "torchvision:mobilenet_v2": (53, 53, ""),
    "torchvision:mobilenet_v3_small": (27, 54, "hardswish, hardsigmoid"),
    "torchvision:efficientnet_b0": (17, 82, "silu, sigmoid"),
    "torchvision:efficientnet_v2_s": (39, 171, "silu, sigmoid"),
    "torchvision:mnasnet0_5": (53, 53, ""),
    "torchvision:squeezenet1_1": (26, 26, ""),
    "torchvision:densenet121": (121, 121, ""),
    "torchvision:regnet_x_400mf": (72, 72, ""),
    "torchvision:regnet_y_400mf": (70, 86, "sigmoid"),
    "torchvision:shufflenet_v2_x0_5": (57, 57, ""),
    "torchvision:googlenet": (58, 58, ""),
    "torchvision:inception_v3": (95, 95, ""),
    "torchvision:convnext_tiny": (59, 59, ""),
    "torchvision:vit_b_16": (74, 74, ""),
    "timm:tf_efficientnet_lite0": (50, 50, ""),
    "timm:efficientnet_lite0": (50, 50, ""),
    "timm:tf_mobilenetv3_small_minimal_100": (36, 36, ""),
    "timm:mobilenetv3_small_050": (27, 54, "hardswish, hardsigmoid"),
    "timm:mobilenetv4_conv_small_050": (47, 47, ""),
    "timm:regnetx_002": (45, 45, ""),
    "timm:regnety_002": (58, 71, "sigmoid"),
    "timm:repvgg_a0": (45, 45, ""),
    "timm:mobileone_s0": (192, 192, ""),
    "timm:convnext_atto": (29, 41, "gelu"),
    "timm:ghostnet_050": (89, 96, "hardsigmoid"),
    "timm:repghostnet_050": (89, 96, "hardsigmoid"),
    "timm:fbnetc_100": (66, 66, ""),
    "timm:dla46_c": (48, 49, "a last layer that is a convolution"),
    "timm:ese_vovnet19b_dw": (38, 42, "hardsigmoid"),
    "timm:densenet121": (121, 121, ""),
    "timm:mixnet_s": (91, 124, "silu, sigmoid"),
    "timm:skresnet18": (45, 45, ""),
    "timm:hardcorenas_a": (30, 52, "hardswish, hardsigmoid"),
    "timm:res2net50_14w_8s": (150, 150, ""),
    "timm:lcnet_035": (4, 33, "hardswish, hardsigmoid"),
    "timm:tinynet_e": (11, 52, "silu, sigmoid"),
    "timm:resnet10t": (15, 15, ""),
    "timm:mobilevit_xxs": (47, 72, "silu"),
    "timm:poolformer_s12": (17, 29, "gelu"),
    "timm:cspresnet50": (18, 56, "leakyrelu"),
    "timm:resnest14d": (28, 28, ""),
    "timm:rexnet_100": (46, 76, "silu, sigmoid"),
    "timm:fasternet_t0": (31, 45, "gelu"),
    "timm:seresnext26d_32x4d": (40, 48, "sigmoid"),
    "timm:dpn48b": (68, 70, "silu, a last layer that is a convolution"),
    "timm:hrnet_w18_small": (92, 92, ""),
    "timm:starnet_s1": (81, 81, ""),
    "timm:gernet_s": (46, 46, ""),
    "timm:vit_tiny_patch16_224": (50, 50, ""),
}

INTRODUCTION = """\
# Models

Generated by `python tests/helpers/models_table.py`; `tests/nets/test_models.py` tries every cell. Small random images of the given
size, three channels, ten classes; parameters and MACs are those of the whole network for them.

- **traces**: what coc runs equals the library's own module, in training and in evaluation, with all its statistics.
- **MACs**: as torch's own counter says of the library's module, within 0.1 %, attention included.
- **prune** (a fifth of the MACs), **quantize** (4 bits), **early exit** (one exit): the stage alone, saved and loaded.
- **D-P-Q-E**: the network itself through all four, each trained a little; the result loads in a process that has neither
  torchvision nor timm and gives the same outputs, bit for bit.
- **integer**: how many of the layers `coc export` writes as one integer operation each, quantised to 8 bits; behind them
  what follows the others, which run in floating point between rounded tensors.
"""


def _counted(row: Row) -> tuple[str, str]:
    """Give parameters and MACs; dashes of a network that does not come in."""
    if "traces" in row.fails:
        return "-", "-"
    found = cost(row.spec)
    return count(found.params), count(found.macs)


def _integer(row: Row) -> str:
    if row.arch not in INTEGER:
        return "-"
    layers, of, why = INTEGER[row.arch]
    return f"{layers} of {of}" + (f": {why}" if why else "")


def document() -> str:
    """Give docs/models.md."""
    head = ("architecture", "input", "parameters", "MACs", *CHECKS, "integer")
    lines = [INTRODUCTION, f"| {' | '.join(head)} |", "|---|---|---|---|" + "---|" * (len(CHECKS) + 1)]
    reasons: list[str] = []
    for row in TABLE:
        cells = []
        for check in CHECKS:
            if check in row.fails:
                reasons.append(f"`{row.arch}`, {check}: {row.fails[check]}.")
            cells.append(f"no [{len(reasons)}]" if check in row.fails else "yes")
        size = f"{row.size}x{row.size}"
        cells.append(_integer(row))
        lines.append(f"| `{row.arch}` | {size} | {' | '.join(_counted(row))} | {' | '.join(cells)} |")
    lines += ["", *[f"{index}. {reason}" for index, reason in enumerate(reasons, start=1)]]
    return "\n".join([*lines, "", *_operations()]) + "\n"


def _operations() -> Iterator[str]:
    """Give the lists that tracing knows."""
    yield "## What a network may consist of"
    yield ""
    yield "A network is traced to these; a layer's class may be a subclass that computes the same. Functions are meant with all"
    yield "their spellings: `torch.relu`, `F.relu`, `x.relu()`, operators and in-place forms. What is not here is refused with the"
    yield "module, the file and the line."
    yield ""
    yield f"- **Modules of torch.nn**: {', '.join(f'`{name}`' for name in sorted(MODULES))}."
    for kind, meaning in KINDS.items():
        names = ", ".join(f"`{name}`" for name, one in OPERATIONS.items() if one.kind == kind)
        yield f"- **{kind}** ({meaning}): {names}."


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201
