"""The classes of torch.nn that a network may consist of, each with the arguments of its constructor. No torch here."""

from __future__ import annotations

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
