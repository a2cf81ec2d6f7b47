"""Recipes and profiles: odd values in every key, YAML that is odd itself, bytes that are wrong, odd `--set`."""

from __future__ import annotations

import random
from importlib.resources import files
from typing import Any

import yaml
from mutations import at, places

from coc_cli.dvfs.profile import shipped
from coc_cli.files.yaml_source import dotted
from hostile_cases.case import Case, Stock, dice_of, draw
from hostile_cases.checkpoints import NET
from hostile_cases.damage import as_json, changed_json, damaged, texts, values

CHAIN = """\
name: all
seed: 3
device: cpu
data: {source: digits, size: 8, channels: 1, validation: 0.2, holdout: 0.1, limit: 64, augment: {shift: 1, rotate: 5}}
model: {arch: cifar:resnet20, depth: 8, width: 2, train: {epochs: 1, batch: 32, lr: 3e-3}}
chain:
  - distill: {student: {width: 2}, epochs: 1, batch: 32, temperature: 4, kd_weight: 0.5}
  - prune: {ratio: 0.3, epochs: 1, batch: 32, layers: {"stages.2.*": {prune: false}}}
  - quantize: {weights: 4, activations: 4, epochs: 1, layers: {"stages.*": {weights: 2}, "stages.2.*": {bits: 8}}}
  - early_exit: {every: block, head: pool, epochs: 1, batch: 32, max_drop: 0.02}
limits: {max_drop: 0.5, min_bitops_ratio: 2}
predict_exit: {profile: cortex-m7, deadline: 1.25x}
"""
TABLE = """\
name: table
data: {source: "csv:it.csv", label: label, image: image, split: split, size: [8, 8], channels: 3, classes: [a, b]}
model: {arch: "cifar:resnet20", depth: 8, width: 2, train: {epochs: 1}}
chain: [{quantize: {weights: 8, activations: 8, epochs: 1}}]
"""
NUMBERS = """\
name: numbers
data: {source: digits-rotation, limit: 64, memory: 0.1}
model: {arch: cifar:resnet20, depth: 8, width: 2, train: {epochs: 1}}
chain: [{early_exit: {exits: 1, epochs: 1, max_drop: 2.0}}]
"""
FOLDER = """\
name: folder
data: {source: "folder:pets", size: 8, channels: 1, test: 0.2, classes: 10}
model: {arch: "file:net.py:net", train: {epochs: 1}}
chain: [{prune: {ratio: 0.3, epochs: 1}}]
"""
RECIPES = (CHAIN, CHAIN, TABLE, NUMBERS, FOLDER)
SNIPPETS = (
    *("&a ", "*a", "!!python/object/apply:os.system [touch canary]", "!!binary ", "!x ", "<<: *a\n", "? [1, 2]\n: 3\n"),
    *(
        "---\n",
        "...\n",
        "%YAML 9.9\n---\n",
        "%TAG ! tag:x,2000:\n",
        "\t",
        "\ufeff",
        "\u2028",
        "\x85",
        "\x00",
        "\x1b[2J",
    ),
    *("'", '"', '"\\ud800"', '"\\x00"', "|", ">", "|9\n", "{", "[", "}", "]", ": ", "- ", "# ", ", ", "\n", "\r", " "),
    *(
        "1" * 5000,
        "0x" + "f" * 3000,
        "1e999999",
        "-.inf",
        ".nan",
        "~",
        "[" * 3000,
        "{a: " * 1200,
        "- " * 2000,
        "k: " * 90,
    ),
    *(
        "&a [*a]",
        "a: &a [x, x]\nb: &b [*a, *a]\n",
        "\u202e",
        "\U0001f600",
        "é" * 3000,
        "name: x\n",
        "data: {}\n",
        "chain: ",
    ),
    *(
        "seed: 1_000\n",
        "seed: 0o17\n",
        "on: yes\n",
        "2001-01-01",
        "=",
        "null: 1\n",
        "1: 2\n",
        "[1]: 2\n",
        "{a: 1}: 2\n",
    ),
)
PLAUSIBLE: dict[type, tuple[Any, ...]] = {
    int: (0, 1, 2, 3, 5, 8, 9, 16, 31, 32, 100, 1000, 4096, 1 << 20, (1 << 31) - 1, (1 << 32) - 1),
    float: (0.0, 1e-300, 1e-9, 0.01, 0.3, 0.5, 0.999999, 1.0, 1.5, 30, 180.0, 1e9, 1e300),
    bool: (True, False),
}
WORDS = (
    *(
        "auto",
        "cpu",
        "cuda:9",
        "digits",
        "digits-rotation",
        "csv:recipe.yaml",
        "folder:.",
        "folder:/",
        "torchvision:CIFAR10",
    ),
    *("cifar:resnet20", "cifar:resnet21", "cifar:vgg19", "torchvision:alexnet", "timm:test_resnet", "timm:x"),
    *(
        "timm:test_vit",
        "torchvision:squeezenet1_1",
        "file:recipe.yaml:x",
        "block",
        "conv",
        "pool",
        "same",
        "1x",
    ),
    *("0.0001x", "1e9ms", "nan", "x" * 300, "recipe.yaml", ".", "*", "[", "stages.*", "cortex-m7", "i7-10700", "../x"),
)


def case(number: int, by: int, _: Stock) -> Case:
    """Return a case of the group."""
    dice = dice_of("recipes", number, by)
    kind = dice.random()
    if kind < 0.2:
        named = dice.choice(shipped())
        text = (files("coc_cli.dvfs") / "profiles" / f"{named}.yaml").read_text("utf-8")
        return Case({"it.yaml": _odd(text, dice, number, by)}, ("profiles", "it.yaml"))
    text = dice.choice(RECIPES)
    if kind < 0.3:
        changes = [_override(text, dice, number, by) for _ in range(dice.choice((1, 1, 3)))]
        return Case({"recipe.yaml": text.encode()}, ("plan", "recipe.yaml", *changes))
    if kind > 0.97:  # nothing that may train for long
        return Case({"recipe.yaml": damaged(text.encode(), dice)}, ("compress", "recipe.yaml"))
    return Case({"net.py": NET.encode(), "recipe.yaml": _odd(text, dice, number, by)}, ("plan", "recipe.yaml"))


def _odd(text: str, dice: random.Random, number: int, by: int) -> bytes:
    """Return a document with something odd in it."""
    kind = dice.random()
    if kind < 0.2:
        return as_json(_plausible(yaml.safe_load(text), dice))
    if kind < 0.6:
        content = changed_json(yaml.safe_load(text), dice, draw(values, "recipes", number, by))
        return as_json(content) if kind < 0.45 else _as_yaml(content)
    if kind < 0.85:
        for _ in range(dice.choice((1, 1, 2, 4))):
            place = dice.randrange(len(text) + 1)
            snippet = dice.choice(SNIPPETS) if dice.random() < 0.8 else draw(texts, "recipes-texts", number, by)
            text = text[:place] + snippet + text[place + dice.choice((0, 0, 1, 10)) :]
        encoding = dice.choice(("utf-8",) * 8 + ("utf-16", "utf-32", "latin-1"))
        return text.encode(encoding, "surrogatepass" if encoding != "latin-1" else "replace")
    return damaged(text.encode(), dice)


def _plausible(content: Any, dice: random.Random) -> Any:
    """Change some values to others of their kind, which a reader lets pass and a stage may not."""
    everywhere = [place for place in places(content) if not isinstance(at(content, place), dict | list)]
    for place in dice.sample(everywhere, min(len(everywhere), dice.choice((1, 1, 2, 3)))):
        kind = type(at(content, place))
        at(content, place[:-1])[place[-1]] = dice.choice(PLAUSIBLE.get(kind, WORDS))
    chain = content.get("chain")
    if dice.random() < 0.3 and chain:
        dice.shuffle(chain)
        chain.extend(dice.sample(chain, 1) * dice.choice((0, 1, 8)))
    return content


def _as_yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def _override(text: str, dice: random.Random, number: int, by: int) -> str:
    content = yaml.safe_load(text)
    place = dice.choice(places(content))
    key = dotted(place) if dice.random() < 0.7 else ".".join(map(str, place))
    if dice.random() < 0.2:
        key += dice.choice((".", "[0]", ".x", "..", "[", "]", "[99999999999]", ".-1", ".0", " "))
    odd = draw(values, "recipes-set", number, by)
    value = as_json(odd).decode() if dice.random() < 0.6 else dice.choice(SNIPPETS)
    if dice.random() < 0.2:
        value = as_json(at(content, dice.choice(places(content)))).decode()
    return "--set=" + f"{key}={value}".replace("\0", "?")
