"""scikit-learn's handwritten digits: 1,797 real 8x8 images, on disk with the package (Alpaydin and Kaynak 1998)."""

from __future__ import annotations

import numpy as np
import torch

from coc_cli.data.images import Data, Split

GREY_STEP = 255 / 16  # the files hold 17 levels, 0..16


def read_digits(seed: int) -> Data:
    """Read the digits and split them 60/20/20 by class; the same seed gives the same split."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, targets = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 1, 8, 8) * GREY_STEP).astype(np.uint8)
    rest, test = train_test_split(np.arange(len(targets)), test_size=0.2, random_state=seed, stratify=targets)
    train, validation = train_test_split(rest, test_size=0.25, random_state=seed, stratify=targets[rest])
    return Data(*[Split(torch.from_numpy(images[i]), torch.from_numpy(targets[i])) for i in (train, validation, test)])
