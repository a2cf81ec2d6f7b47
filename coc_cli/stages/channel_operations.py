"""What each node of a graph does to channels, by the name of its operation; see `nets/graph.py`. No torch here.

Of functions `nets/operations.py` says it; here stand the modules, and what some operations need besides. An operation
that is in no set is unknown: it keeps all channels of what it reads.
"""

from __future__ import annotations

from coc_cli.nets.operations import OPERATIONS


def _of(kind: str) -> frozenset[str]:
    return frozenset(name for name, operation in OPERATIONS.items() if operation.kind == kind)


# Value by value, of one tensor or of several that broadcast against each other
ELEMENTWISE = (_of("pointwise") - {"filled", "prelu"}) | frozenset(
    ("relu", "relu6", "silu", "gelu", "hardswish", "hardsigmoid", "hardtanh", "sigmoid", "tanh", "leakyrelu", "elu")
    + ("selu", "celu", "mish", "softplus", "logsigmoid", "softsign", "tanhshrink", "hardshrink", "softshrink")
    + ("threshold", "identity", "dropout", "dropout1d", "dropout2d", "dropout3d", "alphadropout")
    + ("featurealphadropout", "activationquantizer")
)
# Elements are moved, repeated or dropped, as numbers or sizes say
MOVING = (_of("move") - {"unfold"}) | {"pixelshuffle", "pixelunshuffle", "channelshuffle", "flatten", "unflatten"}
# Of those, the ones that join tensors, and those whose result hangs on numbers that may be literal
JOINING = frozenset(("cat", "stack"))
SHUFFLING = frozenset(("pixel_shuffle", "pixelshuffle", "channel_shuffle", "channelshuffle", "roll"))
RESHAPING = frozenset(("reshape", "unflatten"))
NUMBERED = SHUFFLING | RESHAPING | {"chunk", "split", "unbind", "getitem", "select", "narrow", "expand"}
# Each channel's map is worked on by itself: the last dimensions are the map's
SPATIAL = (_of("pool") - {"pad", "instance_norm"}) | frozenset(
    tuple(f"{kind}pool{n}d" for kind in ("max", "avg", "adaptiveavg", "adaptivemax", "lp") for n in (1, 2, 3))
    + tuple(f"{kind}pad{n}d" for kind in ("zero", "constant", "reflection", "replication", "circular") for n in (1, 2))
    + ("upsample", "upsamplingnearest2d", "upsamplingbilinear2d")
)
# A dimension is reduced to one number
REDUCING = _of("reduce")
# The shape stays, but values along a dimension depend on each other
MIXING = _of("mix") | {"softmax", "softmin", "logsoftmax", "softmax2d", "localresponsenorm", "prelu"}
# Sums of products of several tensors
CONTRACTING = _of("product")
# Tensors of given or computed shapes, with values that belong to no channel
CREATING = frozenset(("filled",))
PADDING = frozenset(("pad",))
GATED = frozenset(("glu",))
BATCH_NORMS = frozenset(("batchnorm1d", "batchnorm2d"))
INSTANCE_NORMS = frozenset(("instancenorm1d", "instancenorm2d"))
GROUP_NORMS = frozenset(("groupnorm",))
LAYER_NORMS = frozenset(("layernorm", "rmsnorm"))  # of the last dimension
