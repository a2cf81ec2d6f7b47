"""A file that imports what is not installed."""

import torch.nn as nn
import some_library_of_mine


def net(outputs, channels):
    return some_library_of_mine.make(nn, outputs, channels)
