"""Wrong recipes: every message, its line and its exit code; and what YAML's traps are told."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import torch
import yaml
from command_line import coc
from pictures import encoded, pixels, unpack
from PIL import Image
from tiny import TINIEST_RECIPE

from coc_cli.chain.compress import compress
from coc_cli.chain.plan import make_plan
from coc_cli.errors import UserError, did_you_mean
from coc_cli.files.yaml_source import YamlSource
from coc_cli.recipe.model import Recipe, resolved, schema
from coc_cli.recipe.reading import read

GOOD = """\
name: good
data: {source: digits}
model:
  arch: cifar:resnet20
  width: 4
  train: {epochs: 1}
chain:
  - distill: {student: {width: 2}, epochs: 1}
  - quantize:
      weights: 4
      activations: 4
      layers: {"stages.*": {bits: 2}}
limits: {max_drop: 0.5}
"""

MODEL = GOOD[GOOD.index("  arch:") : GOOD.index("  - quantize")]


def model(arch: str, *, args: str = "{}") -> str:
    """The model and a first stage that keeps it."""
    given = f"  arch: {arch}\n  args: {args}\n  train: {{epochs: 1}}\nchain:\n"
    return f"{given}  - distill: {{student: same, epochs: 1}}\n"


# (what is replaced, by what, the message)
WRONG: dict[str, tuple[str, str, str]] = {
    "unknown key": (
        "epochs: 1}\n  - quant",
        "epoch: 1}\n  - quant",
        "r.yaml:8: chain[0].distill: no such key 'epoch'; did you mean 'epochs'?",
    ),
    "unknown key at the top": (
        "name: good",
        "name: good\nseeed: 1",
        "r.yaml:2: no such key 'seeed'; did you mean 'seed'?",
    ),
    "unknown key far from all": (
        "limits: {max_drop: 0.5}",
        "limits: {colour: 1}",
        "r.yaml:13: limits: no such key 'colour'; known: max_bytes, max_drop, max_latency_ms, min_bitops_ratio,"
        " min_integer, min_metric, min_speedup",
    ),
    "unknown key in a pattern": (
        "{bits: 2}",
        "{bit: 2}",
        "r.yaml:12: chain[1].quantize.layers.stages.*: no such key 'bit'; did you mean 'bits'?",
    ),
    "unknown key of a student": (
        "{width: 2}",
        "{widht: 2}",
        "r.yaml:8: chain[0].distill.student: no such key 'widht'; did you mean 'width'?",
    ),
    "unknown stage": ("- distill", "- destill", "r.yaml:8: chain[0]: no such stage 'destill'; did you mean 'distill'?"),
    "key twice": ("name: good", "name: good\nname: bad", "r.yaml:2: key 'name' is given twice, first in line 1"),
    "key twice inside": (
        "weights: 4",
        "weights: 4\n      weights: 2",
        "r.yaml:11: chain[1].quantize: key 'weights' is given twice, first in line 10",
    ),
    "text for a number": (
        "weights: 4",
        "weights: four",
        "r.yaml:10: chain[1].quantize.weights: needs a whole number, got 'four'",
    ),
    "quoted number": (
        "weights: 4",
        "weights: '4'",
        "r.yaml:10: chain[1].quantize.weights: needs a whole number, got '4'",
    ),
    "fraction": ("weights: 4", "weights: 4.5", "r.yaml:10: chain[1].quantize.weights: needs a whole number, got 4.5"),
    "true for a number": (
        "weights: 4",
        "weights: true",
        "r.yaml:10: chain[1].quantize.weights: needs a whole number, got True",
    ),
    "too large": ("weights: 4", "weights: 9", "r.yaml:10: chain[1].quantize.weights: needs at most 8, got 9"),
    "too small": (
        "activations: 4",
        "activations: 1",
        "r.yaml:11: chain[1].quantize.activations: needs at least 2, got 1",
    ),
    "on is text": (
        "{source: digits}",
        "{source: digits, augment: {flip: on}}",
        "r.yaml:2: data.augment.flip: needs true, false or 'alternating', got 'on'",
    ),
    "not in the list": (
        "{source: digits}",
        "{source: digit}",
        "r.yaml:2: data.source: no such source 'digit'; did you mean 'digits'?",
    ),
    "far from every source": (
        "{source: digits}",
        "{source: web}",
        "r.yaml:2: data.source: no such source 'web'; known: arrays:PATH, csv:PATH, digits, digits-rotation, folder:PATH,"
        " torchvision:NAME",
    ),
    "a folder that is not there": (
        "{source: digits}",
        "{source: 'folder:nowhere'}",
        "r.yaml:2: data.source: no such folder or .zip file 'nowhere'",
    ),
    "a file that is no folder": (
        "{source: digits}",
        "{source: 'folder:r.yaml'}",
        "r.yaml:2: data.source: 'r.yaml' is neither a folder nor a .zip file",
    ),
    "a folder without images": (
        "{source: digits}",
        "{source: 'folder:.'}",
        "r.yaml:2: data.source: '.' holds no images (.jpg, .jpeg, .png, .bmp, .webp, .ppm, .tif, .tiff)",
    ),
    "a table that is not there": (
        "{source: digits}",
        "{source: 'csv:no.csv', label: kind}",
        "r.yaml:2: data.source: no such file 'no.csv'",
    ),
    "classes of a source that knows its own": (
        "{source: digits}",
        "{source: digits, classes: 10}",
        "r.yaml:2: data.classes: only folder: or csv: has it; leave it out",
    ),
    "one class": (
        "{source: digits}",
        "{source: 'folder:.', classes: 1}",
        "r.yaml:2: data.classes: needs at least 2, got 1",
    ),
    "a class twice": (
        "{source: digits}",
        "{source: 'folder:.', classes: [cat, dog, cat]}",
        "r.yaml:2: data.classes: 'cat' is named twice",
    ),
    "classes in words": (
        "{source: digits}",
        "{source: 'folder:.', classes: ten}",
        "r.yaml:2: data.classes: needs a number of classes or a list of their names, got 'ten'",
    ),
    "classes of numbers": (
        "{source: digits}",
        "{source: 'csv:r.yaml', targets: x, classes: 10}",
        "r.yaml:2: data.classes: is of a 'label'; leave it out, the targets are numbers",
    ),
    "neither label nor targets": (
        "{source: digits}",
        "{source: 'csv:r.yaml'}",
        "r.yaml:2: data: needs exactly one of 'label' (classification) and 'targets' (regression)",
    ),
    "both label and targets": (
        "{source: digits}",
        "{source: 'csv:r.yaml', label: kind, targets: x}",
        "r.yaml:2: data: needs exactly one of 'label' (classification) and 'targets' (regression)",
    ),
    "a column that is not there": (
        "{source: digits}",
        "{source: 'csv:r.yaml', label: kind}",
        "r.yaml:2: data.image: 'r.yaml' has no column 'image'; known: name: good\n"
        "r.yaml:2: data.label: 'r.yaml' has no column 'kind'; known: name: good",
    ),
    "a target twice": (
        "{source: digits}",
        "{source: 'csv:r.yaml', targets: [a, b, a]}",
        "r.yaml:2: data.targets: 'a' is named twice",
    ),
    "a column without a table": (
        "{source: digits}",
        "{source: digits, label: kind}",
        "r.yaml:2: data.label: only csv: has it; leave it out",
    ),
    "a root without torchvision": (
        "{source: digits}",
        "{source: digits, root: here}",
        "r.yaml:2: data.root: only torchvision: has it; leave it out",
    ),
    "a test share of digits": (
        "{source: digits}",
        "{source: digits, test: 0.1}",
        "r.yaml:2: data.test: the source brings its own test split; leave it out",
    ),
    "an unknown set of torchvision": (
        "{source: digits}",
        "{source: 'torchvision:CIFAR11'}",
        "r.yaml:2: data.source: no such data set 'CIFAR11'; did you mean 'CIFAR10'?",
    ),
    "a folder without a path": (
        "{source: digits}",
        "{source: folder}",
        "r.yaml:2: data.source: 'folder' needs more: folder:PATH",
    ),
    "digits of something": (
        "{source: digits}",
        "{source: 'digits:mine'}",
        "r.yaml:2: data.source: 'digits' takes nothing behind it, got 'digits:mine'",
    ),
    "turning what is turned": (
        "{source: digits}",
        "{source: digits-rotation, augment: {rotate: 10}}",
        "r.yaml:2: data.augment.rotate: would change the target, the angle; leave it out",
    ),
    "a device by another name": (
        "name: good",
        "name: good\ndevice: gpu",
        "r.yaml:2: device: needs auto, cpu, cuda or cuda:N, got 'gpu'",
    ),
    "a name with a space": (
        "name: good",
        "name: my net",
        "r.yaml:1: name: needs letters, digits, '.', '_' and '-', a letter or a digit first, got 'my net'",
    ),
    "a mean of pixels up to 255": (
        "  train: {epochs: 1}",
        "  mean: [123.7]\n  train: {epochs: 1}",
        "r.yaml:6: model.mean[0]: needs at most 1, got 123.7; it is of pixels scaled to 0..1, so divide that of 0..255"
        " by 255",
    ),
    "a file of code without file:": (
        "arch: cifar:resnet20",
        "arch: my/nets.py:resnet20",
        "r.yaml:4: model.arch: no such architecture 'my/nets.py:resnet20'; did you mean 'file:my/nets.py:resnet20'?",
    ),
    "two channels": (
        "{source: digits}",
        "{source: digits, channels: 2}",
        "r.yaml:2: data.channels: needs 1 or 3, got 2",
    ),
    "a size of three": (
        "{source: digits}",
        "{source: digits, size: [8, 8, 3]}",
        "r.yaml:2: data.size: needs a whole number or [height, width], got a list",
    ),
    "a size in words": (
        "{source: digits}",
        "{source: digits, size: large}",
        "r.yaml:2: data.size: needs a whole number or [height, width], got 'large'",
    ),
    "half a size": (
        "{source: digits}",
        "{source: digits, size: [8]}",
        "r.yaml:2: data.size: needs a whole number or [height, width], got a list",
    ),
    "half of nothing": (
        "{source: digits}",
        "{source: digits, size: [8, 0]}",
        "r.yaml:2: data.size[1]: needs at least 1, got 0",
    ),
    "no size": ("{source: digits}", "{source: digits, size: 0}", "r.yaml:2: data.size: needs at least 1, got 0"),
    "a number for a column": (
        "{source: digits}",
        "{source: 'csv:r.yaml', targets: 3}",
        "r.yaml:2: data.targets: needs the name of a column or a list of them, got 3",
    ),
    "numbers for columns": (
        "{source: digits}",
        "{source: 'csv:r.yaml', targets: [a, 3]}",
        "r.yaml:2: data.targets[1]: needs text, got 3",
    ),
    "too much validation": (
        "{source: digits}",
        "{source: digits, validation: 0.7}",
        "r.yaml:2: data.validation: needs at most 0.5, got 0.7",
    ),
    "no validation": (
        "{source: digits}",
        "{source: digits, validation: 0}",
        "r.yaml:2: data.validation: needs more than 0, got 0",
    ),
    "a list for a mapping": (
        "{width: 2}",
        "[2]",
        "r.yaml:8: chain[0].distill.student: needs 'same' or a mapping of keys, got a list",
    ),
    "another word for same": (
        "{width: 2}",
        "equal",
        "r.yaml:8: chain[0].distill.student: needs 'same' or a mapping of keys, got 'equal'",
    ),
    "missing key": ("      weights: 4\n", "", "r.yaml:9: chain[1].quantize: key 'weights' is missing"),
    "missing section": ("data: {source: digits}\n", "", "r.yaml:1: key 'data' is missing"),
    "nothing under a stage": (
        "- distill: {student: {width: 2}, epochs: 1}",
        "- distill:",
        "r.yaml:8: chain[0].distill: needs its keys, or {} for all defaults",
    ),
    "a stage as a word": (
        "- distill: {student: {width: 2}, epochs: 1}",
        "- distill",
        "r.yaml:8: chain[0]: needs a mapping of keys, got 'distill'",
    ),
    "two stages in one item": (
        "  - quantize:",
        "    quantize:",
        "r.yaml:8: chain[0]: needs exactly one stage; begin each with its own '-'",
    ),
    "missing file": (
        "train: {epochs: 1}",
        "checkpoint: nowhere.pt",
        "r.yaml:6: model.checkpoint: no such file 'nowhere.pt'",
    ),
    "no weights": (
        "  train: {epochs: 1}\n",
        "",
        "r.yaml:3: model: needs a 'checkpoint' with weights, or 'train' to make them",
    ),
    "unknown architecture": (
        "cifar:resnet20",
        "cifar:resnet200",
        "r.yaml:4: model.arch: no such architecture 'cifar:resnet200'; did you mean 'cifar:resnet20'?",
    ),
    "an unknown source": (
        "cifar:resnet20",
        "torchvison:resnet18",
        "r.yaml:4: model.arch: no such architecture 'torchvison:resnet18'; did you mean 'torchvision:NAME'?",
    ),
    "a name with a path in it": (
        "cifar:resnet20",
        "timm:hf-hub:some/one",
        "r.yaml:4: model.arch: 'timm:hf-hub:some/one' is a name on a hub, not known to coc; write timm:NAME, and give weights as"
        " model.checkpoint",
    ),
    "a name with two tags in it": (
        "cifar:resnet20",
        "timm:resnet18.a1.b2",
        "r.yaml:4: model.arch: 'timm:resnet18.a1.b2' does not fit; it needs the form timm:NAME",
    ),
    "a file without a function": (
        "cifar:resnet20",
        "file:nets.py",
        "r.yaml:4: model.arch: 'file:nets.py' does not fit; it needs the form file:PATH.py:FUNCTION",
    ),
    "a width where there is none": (
        MODEL,
        model("torchvision:mnasnet0_5").replace("args: {}", "width: 4"),
        "r.yaml:5: model.width: torchvision:mnasnet0_5 takes no 'width'; give it under 'args', by the name its maker has for"
        " it, as in args: {width_mult: 0.5}",
    ),
    "an argument that reads a pickle": (
        MODEL,
        model("timm:resnet18", args="{checkpoint_path: x.pt}"),
        "r.yaml:5: model.args.checkpoint_path: 'checkpoint_path' is not yours to give: classes and channels come from the"
        " data, weights from model.checkpoint",
    ),
    "an argument that is no scalar": (
        "width: 4\n  train",
        "args: {stem: [1, 2]}\n  train",
        "r.yaml:5: model.args.stem: needs a number, a text, true or false, got a list",
    ),
    "an argument twice": (
        "width: 4\n  train",
        "width: 4\n  args: {width: 8}\n  train",
        "r.yaml:6: model.args.width: 'width' stands under 'args' too; give it once",
    ),
    "a checkpoint of another kind": (
        "train: {epochs: 1}",
        "checkpoint: [a.pt]",
        "r.yaml:6: model.checkpoint: needs a path or a mapping of 'path' and 'keys', got a list",
    ),
    "a checkpoint without a name": (
        "train: {epochs: 1}",
        'checkpoint: ""',
        "r.yaml:6: model.checkpoint: needs text that is not empty, got ''",
    ),
    "a checkpoint that is a folder": (
        "train: {epochs: 1}",
        "checkpoint: .",
        "r.yaml:6: model.checkpoint: '.' is a folder; name the file in it",
    ),
    "an entry without a name": (
        "train: {epochs: 1}",
        "checkpoint: {path: r.yaml, entry: ''}",
        "r.yaml:6: model.checkpoint.entry: needs text that is not empty, got ''",
    ),
    "a checkpoint without its path": (
        "train: {epochs: 1}",
        "checkpoint: {keys: {a: b}}",
        "r.yaml:6: model.checkpoint: key 'path' is missing",
    ),
    "an unknown key of a checkpoint": (
        "train: {epochs: 1}",
        "checkpoint: {path: r.yaml, key: {a: b}}",
        "r.yaml:6: model.checkpoint: no such key 'key'; did you mean 'keys'?",
    ),
    "keys of another kind": (
        "train: {epochs: 1}",
        "checkpoint: {path: r.yaml, keys: all}",
        "r.yaml:6: model.checkpoint.keys: needs a mapping of patterns to names, or a list of them, got 'all'",
    ),
    "a pattern that is none": (
        "train: {epochs: 1}",
        "checkpoint:\n      path: r.yaml\n      keys:\n        '(a': b",
        "r.yaml:9: model.checkpoint.keys.(a: is not a regular expression: missing ), unterminated subpattern at position 0",
    ),
    "a pattern that is none in the second pass": (
        "train: {epochs: 1}",
        "checkpoint:\n      path: r.yaml\n      keys:\n        - {a: b}\n        - {'[': b}",
        "r.yaml:10: model.checkpoint.keys[1].[: is not a regular expression: unterminated character set at position 0",
    ),
    "a mean alone": (
        "  train: {epochs: 1}",
        "  mean: [0.5]\n  train: {epochs: 1}",
        "r.yaml:6: model.mean: needs the other of 'mean' and 'std' beside it",
    ),
    "a spread of nothing": (
        "  train: {epochs: 1}",
        "  mean: [0.5]\n  std: [0]\n  train: {epochs: 1}",
        "r.yaml:7: model.std[0]: needs more than 0, got 0",
    ),
    "impossible student": (
        "{width: 2}",
        "{depth: 9}",
        "r.yaml:8: chain[0].distill.student.depth: cifar:resnet20 has no depth 9; it has 8, 14, 20, 26, 32, 38, 44, 50, 56,"
        " 62, 68, 74, 80, 86, 92, 98, 104, 110",
    ),
    "no student": (
        "student: {width: 2}, ",
        "",
        "r.yaml:8: chain[0].distill: needs a 'student' when it comes first: {arch, depth, width}, or 'same' to train the"
        " same network",
    ),
    "a share of more than all": (
        "limits:",
        "  - prune: {ratio: 1.5}\nlimits:",
        "r.yaml:13: chain[2].prune.ratio: needs less than 1, got 1.5",
    ),
    "ration": (
        "limits:",
        "  - prune: {ratio: 0.5, ration: 0.3}\nlimits:",
        "r.yaml:13: chain[2].prune: no such key 'ration'; did you mean 'ratio'?",
    ),
    "exits nowhere": (
        "limits:",
        "  - early_exit: {head: pool}\nlimits:",
        "r.yaml:13: chain[2].early_exit: needs exactly one of 'exits' and 'every'",
    ),
    "exits in two ways": (
        "limits:",
        "  - early_exit: {exits: 2, every: conv}\nlimits:",
        "r.yaml:13: chain[2].early_exit: needs exactly one of 'exits' and 'every'",
    ),
    "a cutout of all": (
        "data: {source: digits}",
        "data: {source: digits, augment: {cutout: 8}}",
        "r.yaml:2: data.augment.cutout: 8 would black out images of 8x8; give less than 8",
    ),
    "a crop of nothing": (
        "data: {source: digits}",
        "data: {source: digits, augment: {crop: 0}}",
        "r.yaml:2: data.augment.crop: needs more than 0, got 0",
    ),
    "a strength of randaugment": (
        "data: {source: digits}",
        "data: {source: digits, augment: {randaugment: {magnitude: 31}}}",
        "r.yaml:2: data.augment.randaugment.magnitude: needs at most 30, got 31",
    ),
    "more than balanced": (
        "data: {source: digits}",
        "data: {source: digits, balance: 2}",
        "r.yaml:2: data.balance: needs at most 1, got 2",
    ),
    "a group of digits": (
        "data: {source: digits}",
        "data: {source: digits, group: '(.*)'}",
        "r.yaml:2: data.group: only folder: or csv: has it; leave it out",
    ),
    "less than one validation image": (
        "limits:",
        "  - early_exit: {exits: 2, max_drop: 0.001}\nlimits:",
        "r.yaml:13: chain[2].early_exit.max_drop: 0.001 is less than one of the 360 validation images; the smallest usable"
        " is 0.00278",
    ),
    "exits of another kind": (
        "limits:",
        "  - early_exit: {exits: all}\nlimits:",
        "r.yaml:13: chain[2].early_exit.exits: needs a whole number or a list of names, got 'all'",
    ),
    "no exit at all": (
        "limits:",
        "  - early_exit: {exits: 0}\nlimits:",
        "r.yaml:13: chain[2].early_exit.exits: needs at least 1, got 0",
    ),
    "a number among names": (
        "limits:",
        "  - early_exit: {exits: [stages.0, 3]}\nlimits:",
        "r.yaml:13: chain[2].early_exit.exits[1]: needs text, got 3",
    ),
    "weights as a word": (
        "limits:",
        "  - early_exit: {exits: 1, loss_weights: even}\nlimits:",
        "r.yaml:13: chain[2].early_exit.loss_weights: needs 'equal', 'depth' or a list of numbers, got 'even'",
    ),
    "bits between 8 and 32": (
        "{bits: 2}",
        "{bits: 16}",
        "r.yaml:12: chain[1].quantize.layers.stages.*.bits: needs at most 8, got 16",
    ),
    "infinite": ("max_drop: 0.5", "max_drop: .inf", "r.yaml:13: limits.max_drop: needs a finite number, got .inf"),
    "not YAML": ("{source: digits}", "{source: digits", "r.yaml:3: not YAML: expected ',' or '}', but got ':'"),
}

# These need the network, so torch, but no data and no training.
CANNOT: dict[str, tuple[str, str, str]] = {
    "a mean for each of three channels": (
        "  train: {epochs: 1}",
        "  mean: [0.5, 0.5, 0.5]\n  std: [0.5, 0.5, 0.5]\n  train: {epochs: 1}",
        "r.yaml:6: model.mean: has 3 numbers for images of 1 channel; give one for each\nr.yaml:7: model.std: has 3 ",
    ),
    "a model for another task": (
        MODEL,
        model("torchvision:raft_large"),
        "r.yaml:4: model.arch: coc takes classifiers and regressors of images; 'raft_large' is for optical flow; write one",
    ),
    "a checkpoint that is a text": (
        "train: {epochs: 1}",
        "checkpoint: r.yaml",
        "r.yaml:6: model.checkpoint: r.yaml is not a plain state dict, but a text file; save model.state_dict() with torch.save",
    ),
    "a model that torchvision does not have": (
        MODEL,
        model("torchvision:resnet17"),
        "r.yaml:4: model.arch: torchvision has no model 'resnet17'; did you mean 'resnet18'?",
    ),
    "an argument that the maker does not take": (
        MODEL,
        model("torchvision:mnasnet0_5", args="{depth_mult: 2}"),
        "r.yaml:5: model.args: torchvision:mnasnet0_5 cannot be made: MNASNet.__init__() got an unexpected keyword argument"
        " 'depth_mult'",
    ),
    "images that are too small": (
        MODEL,
        model("torchvision:alexnet"),
        "r.yaml:4: model.arch: cannot run on images of 1x8x8: ",
    ),
    "a student that is not there": (
        "{width: 2}",
        "{arch: 'torchvision:resnet17'}",
        "r.yaml:8: chain[0].distill.student: torchvision has no model 'resnet17'; did you mean 'resnet18'?",
    ),
    "a pattern without a layer": (
        "stages.*",
        "stages.9.conv1",
        "r.yaml:12: chain[1].quantize.layers: pattern 'stages.9.conv1' matches no layer; did you mean 'stages.2.2.conv1'?",
    ),
    "a stage that cannot follow": (
        "limits:",
        "  - quantize: {weights: 8, activations: 8}\nlimits:",
        "r.yaml:13: chain[2].quantize.weights: layer 'stages.0.0.conv1' already has 2-bit weights, 8 bits cannot bring back"
        " what was rounded away; ask for 2 bits or fewer",
    ),
    "an exit at no place": (
        "limits:",
        "  - early_exit: {exits: [stages.7]}\nlimits:",
        "r.yaml:13: chain[2].early_exit.exits: no exit can be behind 'stages.7'; did you mean 'stages.2'?",
    ),
    "too many exits": (
        "limits:",
        "  - early_exit: {exits: 99}\nlimits:",
        "r.yaml:13: chain[2].early_exit.exits: asks for 99, but there are 9 places between blocks",
    ),
    "exits twice": (
        "limits:",
        "  - early_exit: {exits: 1}\n  - early_exit: {exits: 2}\nlimits:",
        "r.yaml:14: chain[3].early_exit: the network already has exits; leave one of the early_exit stages out",
    ),
    "weights that do not match the exits": (
        "limits:",
        "  - early_exit: {exits: 2, loss_weights: [1, 1]}\nlimits:",
        "r.yaml:13: chain[2].early_exit.loss_weights: has 2 numbers for 2 exits and the final output",
    ),
    "a ratio out of reach": (
        "limits:",
        "  - prune: {ratio: 0.9, layers: {'*': {prune: false}, linear: {prune: true}, stages.0.0.conv1: {prune: true}}}\nlimits:",
        "r.yaml:13: chain[2].prune.ratio: cannot leave 10.0% of the MACs, the nearest is",
    ),
    "only the classifier": (
        "limits:",
        "  - prune: {ratio: 0.1, layers: {'*': {prune: false}, linear: {prune: true}}}\nlimits:",
        "r.yaml:13: chain[2].prune: no layer of this network can be pruned: each is held by a pattern or tied to the output",
    ),
    "a limit out of reach": (
        "max_drop: 0.5",
        "min_bitops_ratio: 1e6",
        "r.yaml:13: limits.min_bitops_ratio: asks for 1e+06, but this chain gives",
    ),
    "a file too small": (
        "max_drop: 0.5",
        "max_bytes: 100",
        "r.yaml:13: limits.max_bytes: asks for 100, but this chain gives",
    ),
}


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        Path("r.yaml").write_text(text)
        return Path("r.yaml")

    return written


@pytest.mark.parametrize("case", WRONG)
def test_one_fault_one_line(case: str, write: Callable[[str], Path]) -> None:
    old, new, message = WRONG[case]
    assert GOOD.count(old) == 1
    with pytest.raises(UserError) as caught:
        read(write(GOOD.replace(old, new)))
    assert str(caught.value) == message


def test_of_many_names_the_nearest_are_listed() -> None:
    names = [f"layer{block}.{number}.conv{conv}" for block in (1, 2, 3) for number in range(9) for conv in (1, 2)]
    near = did_you_mean("layr1.*", names).removeprefix("the nearest of 54 are ").split(", ")
    assert (len(near), {name[:7] for name in near}) == (10, {"layer1."})
    assert did_you_mean("layer1.0.conv3", names) == "did you mean 'layer1.0.conv2'?"
    assert did_you_mean("x", names[:2], otherwise="layers") == "layers: layer1.0.conv1, layer1.0.conv2"


@pytest.mark.parametrize("case", CANNOT)
def test_what_the_plan_refuses(case: str, write: Callable[[str], Path]) -> None:
    old, new, message = CANNOT[case]
    assert GOOD.count(old) == 1
    file = read(write(GOOD.replace(old, new)))
    with pytest.raises(UserError) as caught:
        make_plan(file)
    assert str(caught.value).startswith(message)


def test_every_fault_at_once_in_the_order_of_the_file(write: Callable[[str], Path]) -> None:
    text = GOOD.replace("name: good", "name: good\nseed: -1").replace("weights: 4", "weights: 0")
    text = text.replace("train: {epochs: 1}", "checkpoint: nowhere.pt").replace("max_drop: 0.5", "max_dorp: 0.5")
    with pytest.raises(UserError) as caught:
        read(write(text))
    assert str(caught.value).splitlines() == [
        "r.yaml:2: seed: needs at least 0, got -1",
        "r.yaml:7: model.checkpoint: no such file 'nowhere.pt'",
        "r.yaml:11: chain[1].quantize.weights: needs at least 1, got 0",
        "r.yaml:14: limits: no such key 'max_dorp'; did you mean 'max_drop'?",
    ]


def test_faults_of_the_data_stand_among_the_others(write: Callable[[str], Path]) -> None:
    data = "data:\n  source: folder:nowhere\n  root: here\n  test: 0.9"
    text = GOOD.replace("data: {source: digits}", data).replace("weights: 4", "weights: 0")
    with pytest.raises(UserError) as caught:
        read(write(text))
    assert str(caught.value).splitlines() == [
        "r.yaml:5: data.test: needs at most 0.5, got 0.9",
        "r.yaml:13: chain[1].quantize.weights: needs at least 1, got 0",
    ]
    with pytest.raises(UserError) as caught:
        read(write(text.replace("0.9", "0.1")), ("data.label=x",))
    assert str(caught.value).splitlines() == [
        "r.yaml:3: data.source: no such folder or .zip file 'nowhere'",
        "r.yaml:4: data.root: only torchvision: has it; leave it out",
        "r.yaml:13: chain[1].quantize.weights: needs at least 1, got 0",
        "--set data.label=x: data.label: only csv: has it; leave it out",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("chain: &c [*c]", "r.yaml: is nested too deeply, or an alias holds itself"),
        ("[" * 5000, "r.yaml: is nested too deeply, or an alias holds itself"),
        (f"seed: {'9' * 5000}", "r.yaml: holds a value that cannot be read: "),
        ("seed: !!int two", "r.yaml: holds a value that cannot be read: "),
        ('name: "\\ud800"', "r.yaml:1: name: holds characters that are no text"),
        ("a: &a {b: 1}\n<<: *a", "r.yaml:1: merge keys are not supported; write the keys out"),
        ("? [a]\n: 1", "r.yaml:1: a key must be plain text"),
    ],
)
def test_traps_of_yaml(text: str, message: str, write: Callable[[str], Path]) -> None:
    with pytest.raises(UserError) as caught:
        read(write(text))
    assert str(caught.value).startswith(message)


def test_a_name_that_looks_like_a_number_survives(write: Callable[[str], Path]) -> None:
    recipe = read(write(GOOD.replace("name: good", 'name: "1e5"'))).recipe
    assert read(write(resolved(recipe))).recipe.name == "1e5"


@pytest.mark.parametrize("content", ["", "# nothing", "just text", "- a\n- b"])
def test_what_is_no_recipe_at_all(content: str, write: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match=r"^r.yaml:1: is not a recipe: it needs the keys name, data, model and chain$"):
        read(write(content))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.yaml: cannot be read: No such file or directory"):
        read(tmp_path / "nowhere.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match=r"picture.yaml: is not a text file"):
        read(tmp_path / "picture.yaml")


def test_a_scientific_number_is_a_number_and_yes_is_text(write: Callable[[str], Path]) -> None:
    file = read(
        write(GOOD.replace("train: {epochs: 1}", "train: {epochs: 1, lr: 1e-3}").replace("name: good", "name: yes"))
    )
    assert file.recipe.model.train is not None
    assert (file.recipe.model.train.lr, file.recipe.name) == (0.001, "yes")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=x", "--set seed=x: seed: needs a whole number, got 'x'"),
        (
            "chain.1.quantize.weights=77",
            "--set chain.1.quantize.weights=77: chain[1].quantize.weights: needs at most 8, got 77",
        ),
        (
            "chain[5].distill.epochs=1",
            "--set chain[5].distill.epochs=1: chain has 2 items, counted from 0; none is '5'",
        ),
        ("name.first=1", "--set name.first=1: name has no place 'first'"),
        ("limits.max_drop=.inf", "--set limits.max_drop=.inf: needs a finite number, got .inf"),
        ("chain.²=3", "--set chain.²=3: chain has 2 items, counted from 0; none is '²'"),
        ("seed=4294967296", "--set seed=4294967296: seed: needs at most 4294967295, got 4294967296"),
        ("seed", "--set seed: needs the form key.key=value, as in --set seed=3 or --set chain.0.distill.epochs=5"),
        ("limits.maxdrop=1", "--set limits.maxdrop=1: limits: no such key 'maxdrop'; did you mean 'max_drop'?"),
    ],
)
def test_wrong_overrides(override: str, message: str, write: Callable[[str], Path]) -> None:
    with pytest.raises(UserError) as caught:
        read(write(GOOD), (override,))
    assert str(caught.value) == message


def test_overrides_change_and_add_keys(write: Callable[[str], Path]) -> None:
    overrides = ("seed=9", "chain.0.distill.lr=1e-2", "chain[1].quantize.weights=2", "data.augment.shift=1")
    recipe = read(write(GOOD), overrides).recipe
    assert recipe.seed == 9
    assert recipe.data.augment.shift == 1
    assert (recipe.chain[0].distill.lr, recipe.chain[1].quantize.weights) == (0.01, 2)  # type: ignore[union-attr]


def test_the_resolved_recipe_is_the_same_recipe(write: Callable[[str], Path]) -> None:
    recipe = read(write(GOOD)).recipe
    assert read(write(resolved(recipe))).recipe == recipe


@pytest.mark.parametrize("keys", ["{'a\\.(.*)': '\\1', b: null}", "[{a: b}, {b: ''}]"])
def test_the_resolved_recipe_keeps_the_keys_of_weights(keys: str, write: Callable[[str], Path]) -> None:
    Path("w.pt").touch()
    text = GOOD.replace("train: {epochs: 1}", f"checkpoint: {{path: w.pt, keys: {keys}}}\n  mean: [0.5]\n  std: [0.5]")
    recipe = read(write(text)).recipe
    assert recipe.model.weights is not None
    assert sum(len(renaming) for renaming in recipe.model.weights.passes.values()) == 2
    assert read(write(resolved(recipe))).recipe == recipe


def test_a_wrong_recipe_ends_with_2_in_a_second_without_torch(write: Callable[[str], Path]) -> None:
    write(GOOD.replace("weights: 4", "weights: 9"))
    code = (
        "import sys, time; t = time.monotonic(); sys.argv = ['coc', 'compress', 'r.yaml']\n"
        "from coc_cli.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, 'torch' in sys.modules, time.monotonic() - t)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, has_torch, seconds = done.stdout.split()
    assert (status, has_torch) == ("2", "False")
    assert float(seconds) < 1
    assert done.stderr == "r.yaml:10: chain[1].quantize.weights: needs at most 8, got 9\n"
    assert not Path("runs").exists()


def test_the_schema_knows_every_key() -> None:
    made = json.dumps(schema())
    assert set(schema()["properties"]) == set(Recipe.model_fields)
    assert all(f'"{key}"' in made for key in ("distill", "quantize", "kd_weight", "min_bitops_ratio", "augment"))


RECIPES = Path(__file__).parents[2] / "recipes"
EVERY = sorted(RECIPES.rglob("*.yaml"))
FOREIGN = [path for path in EVERY if "foreign_resnet.py" in path.read_text()]  # which need somebody else's weights
SHIPPED = [path for path in EVERY if "folder:imagenet" not in path.read_text() and path not in FOREIGN]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .zip of CIFAR-10's form: 500 pictures of each of ten classes to train on, all of one class alike."""
    path = tmp_path_factory.mktemp("archive") / "cifar10.zip"
    with zipfile.ZipFile(path, "w") as file:
        for label in range(10):
            buffer = BytesIO()
            Image.new("RGB", (32, 32), (25 * label, 128, 255 - 25 * label)).save(buffer, "jpeg")
            for split, count in (("train", 500), ("test", 10)):
                for index in range(count):
                    file.writestr(f"{split}/class{label}/{index:04d}.jpg", buffer.getvalue())
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures and the table that recipes/turned_digits.py makes."""
    folder = tmp_path_factory.mktemp("table")
    subprocess.run([sys.executable, str(RECIPES / "turned_digits.py")], cwd=folder, check=True)
    return folder / "turned-digits"


@pytest.fixture
def beside_images(archive: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for made in (archive, table):
        Path(made.name).symlink_to(made)


def test_every_shipped_recipe_is_found() -> None:
    # the last has its own test, test_efficientnet_lite.py
    assert (len(EVERY), len(SHIPPED), len(FOREIGN)) == (21, 15, 5)


def test_others_on_cifar10_take_their_student_from_the_cache() -> None:
    paths = [RECIPES / f"cifar10-{name}.yaml" for name in ("resnet56", "chain", "unpruned")]
    contents = [YamlSource(path.name, path.read_text()).content for path in paths]
    student, *others = (Recipe.model_validate_json(json.dumps(content)) for content in contents)
    same = student.data, student.model, student.seed, student.chain[0]
    assert all((one.data, one.model, one.seed, one.chain[0]) == same for one in others)


@pytest.mark.full
@pytest.mark.usefixtures("beside_images")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_runs(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    stages = [next(iter(link)) for link in content["chain"]]
    short = ["model.train.epochs=1", "limits.max_drop=100"]
    short += [f"chain.{index}.{stage}.epochs=1" for index, stage in enumerate(stages)]
    if "cifar10" in path.stem:
        short += ["data.limit=40", "limits.min_bitops_ratio=1"]
        short += [f"chain.{len(stages) - 1}.early_exit.max_drop=0.5"]
    if content["model"]["arch"] != "cifar:resnet20":
        short += ["model.width=8", "chain.0.distill.student.width=8"]
    if path.stem in ("regression", "table"):
        short += ["data.limit=200"]
    result = compress(path, overrides=tuple(short))
    assert [stage["name"] for stage in result.report["stages"][1:]] == stages


@pytest.mark.full
@pytest.mark.usefixtures("beside_images")
@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.stem)
def test_recipes_for_somebody_else_s_weights_run(path: Path) -> None:
    """On untrained weights under the published names; those of the checkpoint are module.NAME below state_dict."""
    content = yaml.safe_load(path.read_text())
    kind = content["model"]["arch"].rpartition(":")[2]
    module = runpy.run_path(str(RECIPES / "foreign_resnet.py"))[kind](10)
    state = {f"module.{name}": value for name, value in module.state_dict().items()}
    torch.save({"state_dict": state}, content["model"]["checkpoint"])
    short = runpy.run_path(str(RECIPES.parent / "benchmarks/figures.py"))["shortened"](path)
    result = compress(path, overrides=tuple(short))
    names = [name for link in content["chain"] for name in link]
    assert [stage["name"] for stage in result.report["stages"]] == ["baseline", *names]
    assert result.report["stages"][0]["macs"] == {"resnet20": 40551040, "resnet56": 125485696}[kind]


SMALL = GOOD.replace("{source: digits}", "{source: digits, limit: 36}").replace(
    "limits:", "  - early_exit: {exits: 1, epochs: 1}\nlimits:"
)


def test_a_small_validation_set_raises_the_default_of_max_drop(write: Callable[[str], Path]) -> None:
    file = read(write(SMALL))
    note = "max_drop is 0.0278: one of the 36 validation images; 0.005 cannot be measured"
    last = make_plan(file).steps[-1]
    assert last.notes == (note,)
    assert last.spec.rule is not None
    assert last.spec.rule.max_drop == 0.02778
    again = read(write(resolved(file.recipe)))
    assert again.recipe == file.recipe
    assert make_plan(again).steps[-1].notes == ()
    asked = read(write(SMALL), ("chain.2.early_exit.max_drop=0.1",))
    assert (asked.recipe.chain[2].stage.model_dump()["max_drop"], asked.stage_notes) == (0.1, {})
    with pytest.raises(UserError) as caught:
        read(write(SMALL), ("chain.2.early_exit.max_drop=0.005",))
    assert str(caught.value).endswith("of the 36 validation images; the smallest usable is 0.02778")
    enough = read(write(SMALL), ("data.limit=200",))
    assert enough.stage_notes == {}
    assert enough.recipe.chain[2].stage.model_dump()["max_drop"] is None


def test_notes_stand_in_the_plan_and_in_a_run(
    write: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = TINIEST_RECIPE.replace("limit: 64", "limit: 36").replace("epochs: 1", "epochs: 0")
    path = write(text[: text.index("  - quantize")] + "  - early_exit: {exits: 1, epochs: 0}\n")
    note = "max_drop is 0.0278: one of the 36 validation images; 0.005 cannot be measured"
    assert note in " ".join(coc("plan", path).stdout.split())
    ran = coc("compress", path)
    assert f"note: {note}" in ran.stderr
    assert f'"what": "{note}"' in Path("runs/tiny/log.jsonl").read_text()
    before = Path("runs/tiny/model.safetensors").read_bytes()
    resumed = coc("compress", "runs/tiny/recipe.yaml")
    assert resumed.stderr.count("from the cache") == 2
    assert note not in resumed.stderr, "the kept recipe says it"
    assert Path("runs/tiny/model.safetensors").read_bytes() == before


def test_images_that_are_moved_keep_their_numbers_and_the_plan_says_so(tmp_path: Path) -> None:
    unpack({f"images/{i}.png": encoded(pixels(i)) for i in range(30)}, tmp_path)
    rows = "\n".join(["image,angle", *(f"images/{i}.png,{i}" for i in range(30))])
    (tmp_path / "all.csv").write_text(rows)
    text = GOOD.replace("{source: digits}", "{source: 'csv:all.csv', targets: angle, augment: {flip: true, crop: 0.7}}")
    (tmp_path / "r.yaml").write_text(text)
    notes = make_plan(read(tmp_path / "r.yaml")).steps[0].notes
    assert "images are flipped and cropped, but their targets stay as they are" in notes


def test_the_readmes_recipe_can_be_planned(write: Callable[[str], Path]) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    assert len(make_plan(read(write(text))).steps) == 5


@pytest.mark.full
def test_the_plan_warns_of_another_order_and_says_why() -> None:
    folder = RECIPES
    assert make_plan(read(folder / "quickstart.yaml")).warnings == []
    warnings = make_plan(read(folder / "orders/pqde.yaml")).warnings
    assert warnings == [
        "prune before distill departs from the order that Order of Compression found best: the coarse (architecture) comes"
        " before the fine (neurons)",
        "quantize before distill departs from the order that Order of Compression found best: the coarse (architecture)"
        " comes before the fine (bits below the neuron)",
    ]
    warnings = make_plan(read(folder / "orders/edpq.yaml")).warnings
    assert len(warnings) == 3
    assert warnings[0].endswith(": what is the same for every input comes before what depends on the input")


@pytest.mark.parametrize("name", ["cifar10-resnet20", pytest.param("cifar10-resnet34", marks=pytest.mark.full)])
def test_the_recipes_of_cifar_can_be_planned_without_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = RECIPES / f"{name}.yaml"
    spec = make_plan(read(path, data_may_be_absent=True)).steps[0].spec
    assert (spec.input_shape, len(spec.labels)) == ((3, 32, 32), 10)
    with pytest.raises(UserError, match=r"data.source: no such folder or .zip file 'cifar10.zip' \(looked"):
        read(path)


@pytest.mark.parametrize("path", [path for path in SHIPPED if "cifar10" in path.stem], ids=lambda path: path.stem)
def test_the_recipes_of_cifar_declare_it(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = read(path, data_may_be_absent=True)
    assert (file.is_data_absent, file.info.shape, len(file.info.labels)) == (True, (3, 32, 32), 10)


@pytest.mark.full
@pytest.mark.usefixtures("beside_images")
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_recipe_can_be_planned(path: Path) -> None:
    chain = [next(iter(link)) for link in yaml.safe_load(path.read_text())["chain"]]
    # the made archive has a tenth of CIFAR-10's validation images, too few for the drop that the recipes allow
    few = [f"chain.{index}.early_exit.max_drop=0.5" for index, name in enumerate(chain) if name == "early_exit"]
    plan = make_plan(read(path, tuple(few) if "cifar10" in path.stem else ()))
    assert len(plan.steps) == len(chain) + 1
    if path.stem == "cifar10-resnet34":  # the papers' network is promised the papers' thousandfold, on the full path
        assert plan.bitops_ratio(plan.steps[-1])[0] >= 1000
