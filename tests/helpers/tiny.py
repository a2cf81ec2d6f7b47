"""Whole recipes that run in seconds."""

TINY_RECIPE = """\
name: tiny
seed: 3
device: cpu
data: {source: digits}
model:
  arch: cifar:resnet20
  depth: 8
  width: 4
  train: {epochs: 2, batch: 128}
chain:
  - distill: {student: {width: 2}, epochs: 2, batch: 128}
  - quantize: {weights: 4, activations: 4, epochs: 2, batch: 128}
"""
TINY_EXITS = """\
name: tiny
device: cpu
data: {source: digits}
model: {arch: cifar:resnet20, depth: 14, width: 4, train: {epochs: 3, batch: 128}}
chain:
  - early_exit: {every: block, epochs: 2, batch: 128, max_drop: 0.02}
"""
