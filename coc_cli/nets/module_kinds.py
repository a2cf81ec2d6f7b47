"""The classes of torch.nn that a network may consist of, each with the arguments of its constructor. No torch here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

_CONVOLUTION = "in_channels out_channels kernel_size stride padding dilation groups bias padding_mode"
_TRANSPOSED = "in_channels out_channels kernel_size stride padding output_padding groups bias dilation padding_mode"
_BATCH_NORM = "num_features eps momentum affine track_running_stats"
_MAX_POOL = "kernel_size stride padding dilation ceil_mode"

MODULES: dict[str, tuple[str, ...]] = {
    kind: tuple(arguments.split())
    for kinds, arguments in {
        "Conv1d Conv2d Conv3d": _CONVOLUTION,
        "ConvTranspose1d ConvTranspose2d": _TRANSPOSED,
        "Linear": "in_features out_features bias",
        "BatchNorm1d BatchNorm2d InstanceNorm1d InstanceNorm2d": _BATCH_NORM,
        "GroupNorm": "num_groups num_channels eps affine",
        "LayerNorm": "normalized_shape eps elementwise_affine bias",
        "RMSNorm": "normalized_shape eps elementwise_affine",
        "LocalResponseNorm": "size alpha beta k",
        "ReLU ReLU6 SiLU Mish Hardswish Hardsigmoid Sigmoid LogSigmoid Tanh SELU Softsign Tanhshrink Softmax2d": "",
        "Hardtanh": "min_val max_val",
        "LeakyReLU": "negative_slope",
        "ELU CELU": "alpha",
        "GELU": "approximate",
        "PReLU": "num_parameters",
        "Softplus": "beta threshold",
        "Threshold": "threshold value",
        "Hardshrink Softshrink": "lambd",
        "GLU Softmax LogSoftmax Softmin": "dim",
        "MaxPool1d MaxPool2d": _MAX_POOL,
        "AvgPool1d": "kernel_size stride padding ceil_mode count_include_pad",
        "AvgPool2d": "kernel_size stride padding ceil_mode count_include_pad divisor_override",
        "LPPool2d": "norm_type kernel_size stride ceil_mode",
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d": "output_size",
        "Dropout Dropout1d Dropout2d Dropout3d AlphaDropout FeatureAlphaDropout": "p",
        "Flatten": "start_dim end_dim",
        "Unflatten": "dim unflattened_size",
        "Identity": "",
        "ZeroPad1d ZeroPad2d ReflectionPad1d ReflectionPad2d ReplicationPad2d CircularPad2d": "padding",
        "ConstantPad2d": "padding value",
        "PixelShuffle": "upscale_factor",
        "PixelUnshuffle": "downscale_factor",
        "ChannelShuffle": "groups",
        "Upsample": "size scale_factor mode align_corners recompute_scale_factor",
        "UpsamplingNearest2d UpsamplingBilinear2d": "size scale_factor",
        "Unfold": "kernel_size dilation padding stride",
    }.items()
    for kind in kinds.split()
}


def kind_of(module: nn.Module) -> str | None:
    """Return the kind that a module is: of that class, or of one below it that computes just the same."""
    from torch import nn

    for base in type(module).__mro__:
        if base.__name__ in MODULES and base is getattr(nn, base.__name__):
            own = type(module)
            inner = getattr(base, "_conv_forward", None)
            is_plain = own.forward is base.forward and getattr(own, "_conv_forward", None) is inner
            return base.__name__ if is_plain else None
    return None


def arguments_of(module: nn.Module, kind: str) -> dict[str, Any]:
    """Return the arguments with which a module's constructor makes another like it, without defaults."""
    import inspect

    from torch import nn

    defaults = inspect.signature(getattr(nn, kind).__init__).parameters
    found: dict[str, Any] = {}
    for name in MODULES[kind]:
        value = getattr(module, name)
        if name == "bias":
            value = value is not None
        elif isinstance(value, list | tuple):
            value = tuple(value)
        value = _short(value) if kind.startswith("Conv") else value
        if value != defaults[name].default or type(value) is not type(defaults[name].default):
            found[name] = value
    return found


def _short(value: Any) -> Any:
    """Return one number for a kernel, a stride or a padding that is the same in all directions."""
    is_even = isinstance(value, tuple) and len(set(value)) == 1
    return value[0] if is_even else value


def made(kind: str, arguments: dict[str, Any]) -> nn.Module:
    """Return a fresh module; raises whatever torch does for arguments that cannot be."""
    from torch import nn

    unknown = arguments.keys() - set(MODULES[kind])
    if unknown:
        raise ValueError(f"{kind} takes no {min(unknown)}")
    module: nn.Module = getattr(nn, kind)(**arguments)
    return module
