"""Write pictures and a table to learn numbers from: real handwritten digits, turned and resized by known amounts.

python recipes/turned_digits.py   leaves turned-digits/table.csv with the columns image, split, angle and size
"""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

FOLDER = Path("turned-digits")
CANVAS = 12  # pixels
COPIES = {"train": 8, "validation": 1, "test": 1}

random = np.random.default_rng(0)
digits = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
splits = random.permutation(np.repeat(["train", "validation", "test"], [1077, 360, 360]))
(FOLDER / "images").mkdir(parents=True, exist_ok=True)
with (FOLDER / "table.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(["image", "split", "angle", "size"])
    for index, (digit, split) in enumerate(zip(digits, splits, strict=True)):
        for copy in range(COPIES[split]):
            angle = random.uniform(-45, 45)  # degrees
            side = int(random.integers(6, CANVAS + 1))  # pixels
            grown = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
            canvas = Image.new("L", (CANVAS, CANVAS))
            canvas.paste(grown, ((CANVAS - side) // 2, (CANVAS - side) // 2))
            name = f"images/{index:04d}-{copy}.png"
            canvas.rotate(angle, Image.Resampling.BILINEAR).save(FOLDER / name)
            table.writerow([name, split, f"{angle:.3f}", side])
