"""coc: compress convolutional networks by a chain of techniques, and plan the energy of running them.

>>> import coc_cli
>>> network = coc_cli.load("runs/quickstart")
>>> prediction = network.predict("digit.png")
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coc_cli.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from coc_cli.chain.run import Result
    from coc_cli.learning.own_functions import OwnAugmentation, OwnLoss, OwnMetric
    from coc_cli.nets.network import Network

__all__ = ["__version__", "compress", "load"]


def load(path: str | Path, *, trust_code: bool = False) -> Network:
    """Rebuild the network of a checkpoint, in eval mode on the CPU.

    Args:
        path: A run directory, or a checkpoint that coc wrote, such as a run's model.safetensors.
        trust_code: Whether to run the Python file that the checkpoint may name for its architecture (`file:`).

    Returns:
        The network; see `Network.prepare` and `Network.predict`.

    Raises:
        UserError: If the file is not a checkpoint, is damaged, or names code that is not trusted.
    """
    from coc_cli.nets.checkpoint_header import checkpoint_at, read_header

    checkpoint = checkpoint_at(Path(path))
    header = read_header(checkpoint, trust_code=trust_code)  # what is wrong is said before torch is imported
    from coc_cli.nets.checkpoint import load_with

    return load_with(header, checkpoint)


def compress(
    recipe: str | Path | Mapping[str, Any],
    *,
    model: nn.Module | None = None,
    data: Any = None,
    loss: OwnLoss | None = None,
    metric: OwnMetric | None = None,
    augment: OwnAugmentation | None = None,
    out: str | Path | None = None,
    overrides: tuple[str, ...] = (),
    fresh: bool = False,
    device: str | None = None,
    trust_code: bool = False,
) -> Result:
    """Run a recipe as `coc compress` does, also of a live network and arrays.

    Args:
        recipe: The recipe's path, or its content.
        model: The baseline, a live torch module, in place of the recipe's; it is not changed. Its outputs are logits
            [B, C], or numbers [B, T] in the targets' own units.
        data: Images uint8 [N, C, H, W] and targets (classes int [N], or numbers float [N, T]), arrays or tensors, in
            place of `data.source`: a pair of both, or a mapping of train, validation and test to such pairs, which may
            have `labels`, the names of classes or targets.
        loss: `loss(output, targets)` in place of the task's; see `coc_cli.learning.own_functions` for all three.
        metric: `metric(answers, targets)`, a score an image, more is better, in place of accuracy or error.
        augment: `augment(images, generator)`, after the recipe's own augmentation.
        out: The run directory; by default runs/NAME.
        overrides: Texts of `--set`, such as "seed=3" or "chain.0.distill.epochs=5".
        fresh: Whether to recompute stages that are in the cache.
        device: "auto", "cpu", "cuda" or "cuda:N"; by default the recipe's.
        trust_code: Whether to run a Python file that a checkpoint names for its architecture.

    Returns:
        The run directory, the content of report.json and the resolved recipe.

    Raises:
        UserError: If the recipe, or what is handed over, is wrong; no stage has been made then.
        RunError: If the run fails on the way.
    """
    from coc_cli.chain.compress import compress as run_compress
    from coc_cli.learning.own_functions import OwnFunctions

    own, place = OwnFunctions(loss=loss, metric=metric, augment=augment), Path(out) if out else None
    options = {"overrides": overrides, "fresh": fresh, "device": device, "trust_code": trust_code}
    return run_compress(recipe, model=model, data=data, own=own, out=place, **options)  # type: ignore[arg-type]
