"""Networks as people write them: what becomes of each file of tests/nets/idioms, and the golden file of that.

python tests/helpers/idioms.py [NAME ...] > tests/nets/idioms/golden.json
"""

from __future__ import annotations

import copy
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import torch
import yaml
from formats import through_file
from torch import nn

from coc_cli.data.images import Data, Split
from coc_cli.data.info import DataInfo
from coc_cli.data.settings import Augment
from coc_cli.errors import StageError
from coc_cli.nets.entry import raw, with_graph
from coc_cli.nets.network import Network, fresh
from coc_cli.nets.shapes import check_runs
from coc_cli.nets.spec import Spec
from coc_cli.recipe.model import Link
from coc_cli.stages.stage import Lab, Stage

FOLDER = Path(__file__).parents[1] / "nets/idioms"
GOLDEN = FOLDER / "golden.json"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.py")))
STAGES: dict[str, tuple[dict[str, object], ...]] = {  # settings to try until some run; widths are few here
    "prune": ({"ratio": 0.25}, {"ratio": 0.22}, {"ratio": 0.19}),
    "quantize": ({"weights": 8, "activations": 8},),
    "early_exit": ({"exits": 1, "max_drop": 0.25},),
}
DONE = "yes"
OTHER_DRAWS = "random numbers are drawn in another order"
DIFFERS_IN_TRAINING = {  # from the user's own module, and why
    "spectral_norm_hook": "each run is one more step of the power iteration",
    "spectral_norm_parametrized": "each run is one more step of the power iteration",
    "drop_path": OTHER_DRAWS,
    "multihead_attention_sequence_first": OTHER_DRAWS,
    "scaled_dot_product": OTHER_DRAWS,
}
IN_FLOAT = frozenset(("autocast",))  # what computes in float32 whatever it is given

NEEDS_CUDA = frozenset(("cuda_always",))  # so there is nothing to compare with
NEEDS_TWO_IMAGES = frozenset(("squeeze_pooled",))  # the user's own module loses the batch of one

Outcome = dict[str, str]  # by "trace" or a stage: "yes", or the one line that refuses it


def golden() -> dict[str, Outcome]:
    """Return what becomes of each idiom, as it was recorded."""
    return json.loads(GOLDEN.read_text())  # type: ignore[no-any-return]


def arch_of(name: str) -> str:
    """Return the architecture of an idiom, for the folder of idioms."""
    function = "net" if "\ndef net(" in (FOLDER / f"{name}.py").read_text() else "Net"
    return f"file:{name}.py:{function}"


def spec_of(name: str) -> Spec:
    """Return an idiom's network for images of 3x16x16 and four classes, or as many as it has."""
    labels = ("a",) if name == "one_logit" else tuple("abcd")
    return Spec(arch=arch_of(name), input_shape=(3, 16, 16), mean=(0.5,) * 3, std=(0.25,) * 3, labels=labels)


def outcome(name: str) -> Outcome:
    """Take a network in, compare it with the user's own, and let it go through a chain in a scratch folder."""
    with inside(FOLDER), redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as scratch:
        try:
            spec = with_graph(spec_of(name))
            check_runs(spec)
            network = _compared(name, spec)
        except StageError as error:
            return {"trace": error.what}
        data = _images_of(spec)
        network(network.normalise(data.train.images))  # norms have seen something
        network.eval()
        found = {"trace": DONE}
        for stage, settings in STAGES.items():
            lab = Lab(data, Augment(), "cpu", 7, network, Path(scratch) / stage, lambda _: None)
            for keys in settings:
                made, said = _applied(stage, keys, network, lab)
                found[stage] = DONE if said == DONE else found.get(stage, said)  # of several refusals, the first
                if made is not network:
                    network = made
                    break
        return found


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Make a folder the current one for a while."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _compared(name: str, spec: Spec) -> Network:
    """Return the network after comparing it with the module that the user's file makes."""
    torch.manual_seed(3)
    original = raw(spec)
    torch.manual_seed(3)
    network = fresh(spec)
    dtype = torch.float32 if name in IN_FLOAT else torch.float64
    theirs = getattr(original, "_orig_mod", original).to(dtype)  # of what torch.compile wraps
    ours = copy.deepcopy(network).to(dtype).to(memory_format=torch.contiguous_format)  # masks of dropout follow it
    if name in NEEDS_CUDA:
        return network
    for mode in (False,) if name in DIFFERS_IN_TRAINING else (True, False):
        for count in (5,) if mode or name in NEEDS_TWO_IMAGES else (5, 1):
            images = torch.randn(count, *spec.input_shape, dtype=dtype)
            expected, actual = (_seeded(net.train(mode), images) for net in (theirs, ours))
            torch.testing.assert_close(actual[-1], expected, rtol=1e-5, atol=1e-5)
    return network


def _seeded(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    result: torch.Tensor = network(images)
    return result


def _applied(name: str, keys: dict[str, object], network: Network, lab: Lab) -> tuple[Network, str]:
    """Apply a stage; where it asks for `layers`, with those. Return what comes out, and "yes" or what it said first."""
    try:
        return _saved(_stage(name, keys), network, lab), DONE
    except StageError as error:
        said = error.what
    _, asks, text = said.partition("layers: ")
    if not asks:
        return network, said
    layers = yaml.safe_load(text)
    try:
        return _saved(_stage(name, {**keys, "layers": layers}), network, lab), said
    except StageError as error:
        return network, f"{said} | {error.what}"


def _stage(name: str, keys: dict[str, object]) -> Stage:
    return Link.model_validate({name: {"epochs": 0, "batch": 4, **keys}}).stage


def _saved(stage: Stage, network: Network, lab: Lab) -> Network:
    """Return what a stage makes, saved and loaded, which gives the same outputs to the bit."""
    stage.expect(network.spec)
    made = stage.apply(network, lab)
    loaded = through_file(made)
    images = network.normalise(lab.data.test.images)
    for there, here in zip(loaded(images), made(images), strict=True):
        assert torch.equal(there, here), stage.name
    return loaded


def _images_of(spec: Spec) -> Data:
    def split(n: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(0, 256, (n, *spec.input_shape), generator=generator, dtype=torch.uint8)
        return Split(images, torch.arange(n) % len(spec.labels))

    info = DataInfo(spec.input_shape, spec.labels, "classification", spec.mean, spec.std, 4)
    return Data(split(6, 1), split(4, 2), split(4, 3), info=info)


if __name__ == "__main__":
    names = sys.argv[1:] or NAMES
    print(json.dumps({name: outcome(name) for name in names}, indent=1))  # noqa: T201
