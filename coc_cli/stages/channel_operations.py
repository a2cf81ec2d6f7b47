"""What each operation of a graph does to channels, by its name; see `nets/graph.py`. No torch here.

An operation that is in no set is unknown: it keeps all channels of what it reads.
"""

from __future__ import annotations

# Value by value, of one tensor or of several that broadcast against each other
ELEMENTWISE = frozenset(
    ("relu", "relu6", "silu", "swish", "gelu", "hardswish", "hardsigmoid", "hardtanh", "sigmoid", "tanh", "leakyrelu")
    + ("leaky_relu", "elu", "selu", "celu", "mish", "rrelu", "clamp", "clamp_min", "clamp_max", "clip", "softplus")
    + ("logsigmoid", "softsign", "tanhshrink", "hardshrink", "softshrink", "threshold", "hard_swish", "hard_sigmoid")
    + ("hardswishme", "swishme", "mishjit", "add", "sub", "rsub", "mul", "truediv", "div", "floordiv", "pow", "neg")
    + ("abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "square", "reciprocal", "sign", "sin", "cos", "erf")
    + ("atan", "round", "floor", "ceil", "positive", "maximum", "minimum", "where", "addcmul", "addcdiv", "lerp", "mod")
    + (
        "eq",
        "ne",
        "gt",
        "ge",
        "lt",
        "le",
        "logical_and",
        "logical_or",
        "logical_not",
        "invert",
        "and",
        "or",
        "masked_fill",
        "nan_to_num",
    )
    + ("identity", "contiguous", "float", "double", "half", "bfloat16", "to", "type", "clone", "detach", "zeros_like")
    + ("ones_like", "rand_like", "randn_like", "full_like", "dropout", "dropout1d", "dropout2d", "dropout3d")
    + ("alphadropout", "alpha_dropout", "featurealphadropout", "feature_dropout", "droppath", "drop_path")
    + ("stochasticdepth", "stochastic_depth", "dropblock2d", "activationquantizer", "iadd", "isub", "imul", "itruediv")
)
# Elements are moved, repeated or dropped, as numbers or sizes say
MOVING = frozenset(
    ("reshape", "view", "flatten", "unflatten", "permute", "transpose", "t", "movedim", "moveaxis", "swapaxes")
    + ("swapdims", "chunk", "split", "tensor_split", "unbind", "cat", "concat", "concatenate", "stack", "getitem")
    + ("select", "narrow", "pixel_shuffle", "pixelshuffle", "pixel_unshuffle", "pixelunshuffle", "channel_shuffle")
    + (
        "channelshuffle",
        "native_channel_shuffle",
        "expand",
        "expand_as",
        "view_as",
        "reshape_as",
        "type_as",
        "repeat",
        "tile",
    )
    + ("repeat_interleave", "broadcast_to", "roll", "flip", "squeeze", "unsqueeze", "adjoint", "swapdims", "rot90")
)
# Of those, the ones that join tensors, and those whose result hangs on numbers that may be literal
JOINING = frozenset(("cat", "concat", "concatenate", "stack"))
NUMBERED = frozenset(
    ("reshape", "view", "unflatten", "chunk", "split", "tensor_split", "unbind", "getitem", "select", "narrow", "roll")
    + ("pixel_shuffle", "pixelshuffle", "channel_shuffle", "channelshuffle", "native_channel_shuffle", "expand")
    + ("broadcast_to", "rot90")
)
RESHAPING = frozenset(("reshape", "view", "unflatten"))
SHUFFLING = frozenset(
    ("pixel_shuffle", "pixelshuffle", "channel_shuffle", "channelshuffle", "native_channel_shuffle", "roll", "rot90")
)
# Each channel's map is worked on by itself: the last dimensions are the map's
SPATIAL = frozenset(
    tuple(f"{kind}pool{n}d" for kind in ("max", "avg", "adaptiveavg", "adaptivemax", "lp") for n in (1, 2, 3))
    + tuple(f"{kind}_pool{n}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max", "lp") for n in (1, 2, 3))
    + tuple(
        f"{kind}pad{n}d" for kind in ("zero", "constant", "reflection", "replication", "circular") for n in (1, 2, 3)
    )
    + ("interpolate", "upsample", "upsamplingnearest2d", "upsamplingbilinear2d", "boolean_dispatch", "maxpool2dsame")
    + ("avgpool2dsame", "fastadaptiveavgpool", "selectadaptivepool2d")
)
# A dimension is reduced to one number
REDUCING = frozenset(("mean", "sum", "amax", "amin", "std", "var", "prod", "logsumexp", "norm"))
# The shape stays, but values along a dimension depend on each other
MIXING = frozenset(
    ("softmax", "log_softmax", "softmin", "logsoftmax", "softmax2d", "normalize", "cumsum", "layer_norm", "group_norm")
    + ("local_response_norm", "localresponsenorm", "sort", "prelu")
)
# Sums of products of several tensors
CONTRACTING = frozenset(
    ("matmul", "mm", "bmm", "addmm", "baddbmm", "einsum", "scaled_dot_product_attention", "bilinear", "tensordot")
    + ("outer", "cdist", "cosine_similarity", "dot")
)
# Tensors of given or computed shapes, with values that belong to no channel
CREATING = frozenset(
    ("zeros", "ones", "full", "empty", "arange", "linspace", "eye", "rand", "randn", "tensor", "as_tensor")
    + ("scalar_tensor", "new_zeros", "new_ones", "new_full", "new_empty", "new_tensor")
)
PADDING = frozenset(("pad",))
GATED = frozenset(("glu",))
BATCH_NORMS = frozenset(("batchnorm1d", "batchnorm2d"))
INSTANCE_NORMS = frozenset(("instancenorm1d", "instancenorm2d"))
GROUP_NORMS = frozenset(("groupnorm", "groupnorm1"))
LAYER_NORMS = frozenset(("layernorm", "layernorm2d"))  # of one dimension: the last, or dimension 1 of images
