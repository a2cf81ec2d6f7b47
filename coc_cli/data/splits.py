"""The splits of a data set, by number and by the words that sources have for them."""

from __future__ import annotations

TRAIN, VALIDATION, TEST, HOLDOUT = range(4)
SPLIT_NAMES = ("train", "validation", "test")
SPLITS = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("validation", "valid", "val"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
