"""Images, archives of them, and tables: in folders, in a .zip, named by a csv, as torchvision's packed files."""

from __future__ import annotations

import csv
import gzip
import io
import random
import struct
import zipfile
from functools import cache
from typing import Any

from hypothesis import strategies as st
from pictures import below, pixels, saved, tree
from PIL import Image

from hostile_cases.case import FOLDER, PIPE, Case, Entry, Link, Stock, dice_of, draw
from hostile_cases.damage import damaged, texts

ENDINGS = ("png", "jpg", "bmp", "tif", "webp", "ppm", "gif")
RECIPE = """\
name: images
device: cpu
data: {DATA}
model: {arch: cifar:resnet20, depth: 8, width: 2, train: {epochs: 1}}
chain: [{quantize: {weights: 8, activations: 8, epochs: 1}}]
"""
NAMES = (
    *("../canary/secret.txt", "/etc/passwd", "a/../../x.png", "a\\b.png", "a/\x1b[31m.png", "a/" + "n" * 200 + ".png"),
    *(
        "a/ü\u202e.png",
        "a/.hidden.png",
        "__MACOSX/a.png",
        "a//x.png",
        "./a/y.png",
        "C:/a.png",
        "a/\n.png",
        "train/a/x.png",
    ),
)
rows = st.lists(st.lists(texts, max_size=5), max_size=8)


def case(number: int, by: int, _: Stock) -> Case:
    """Return a case of the group."""
    dice = dice_of("images", number, by)
    makers = (_folder, _folder, _folder, _zip, _zip, _table, _table, _table, _packed)
    files, data = dice.choice(makers)(dice, number, by)
    files["recipe.yaml"] = RECIPE.replace("DATA", data).encode()
    kind = dice.random()
    if kind < 0.75:
        return Case(files, ("recipe.yaml",), "images")
    return Case(files, ("plan" if kind < 0.98 else "compress", "recipe.yaml"))


def _options(dice: random.Random, rate: float = 0.4) -> str:
    every = (
        "size: 8",
        "size: [8, 4]",
        "channels: 1",
        "channels: 3",
        "limit: 4",
        "memory: 0",
        "classes: 2",
        "test: 0.3",
    )
    return "".join(f", {one}" for one in dice.sample(every, 2)) if dice.random() < rate else ""


@cache
def _plain(ending: str) -> dict[str, bytes]:
    return tree({"a": 6, "b": 6}, ending=ending)


@cache
def _odd_modes() -> list[tuple[str, bytes]]:
    """Return pictures in other forms: palettes, sixteen bits, transparency, animation, EXIF, compression."""
    grey, colour = Image.fromarray(pixels(1, channels=1)), Image.fromarray(pixels(2))
    turned = Image.Exif()
    turned[0x0112] = 6
    many = {"save_all": True, "append_images": [colour, colour]}
    found = [("png", saved(colour.convert(mode), "png")) for mode in ("P", "1", "LA", "RGBA", "I;16")[:4]]
    found += [
        ("png", saved(Image.fromarray(pixels(1).astype("uint16")[..., 0] * 256), "png")),
        ("png", saved(colour, "png", **many)),
    ]
    found += [
        ("jpg", saved(colour, "jpg", exif=turned)),
        ("jpg", saved(colour.convert("CMYK"), "jpg", progressive=True)),
    ]
    found += [
        ("tif", saved(colour, "tif", compression=kind)) for kind in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")
    ]
    found += [("tif", saved(grey.convert("F"), "tif")), ("tif", saved(colour, "tif", **many))]
    found += [("webp", saved(colour, "webp", lossless=True)), ("webp", saved(colour, "webp", **many))]
    return [*found, ("gif", saved(colour, "gif", **many)), ("bmp", saved(grey.convert("1"), "bmp"))]


def _picture(dice: random.Random) -> tuple[str, bytes]:
    """Return an ending and the bytes of a picture that is odd or damaged."""
    if dice.random() < 0.5:
        ending, content = dice.choice(_odd_modes())
    else:
        ending = dice.choice(ENDINGS)
        content = saved(Image.fromarray(pixels(dice.randrange(9), (8, 8))), ending)
    if dice.random() < 0.25:
        content = _of_a_lied_size(content, dice)
    content = damaged(content, dice) if dice.random() < 0.8 else content
    return dice.choice((ending, ending, dice.choice(ENDINGS))), content


def _of_a_lied_size(content: bytes, dice: random.Random) -> bytes:
    """Overwrite the size where a format has it: PNG, BMP, GIF; else anywhere early."""
    size = dice.choice((0, 1, 7, 9, 8192, 8193, 65535, 1 << 20, (1 << 31) - 1, (1 << 32) - 1))
    for start, place, form in ((b"\x89PNG", 16, ">I"), (b"BM", 18, "<I"), (b"GIF", 6, "<H")):
        if content.startswith(start):
            packed = struct.pack(form, size & (0xFFFF if form == "<H" else 0xFFFFFFFF))
            at = place + len(packed) * dice.choice((0, 1))
            return content[:at] + packed + content[at + len(packed) :]
    place = dice.randrange(min(64, len(content)))
    return content[:place] + struct.pack("<I", size) + content[place + 4 :]


def _files(dice: random.Random) -> dict[str, bytes]:
    files = dict(_plain(dice.choice(("png", "jpg", "tif"))))
    for _ in range(dice.choice((1, 2, 5))):
        ending, content = _picture(dice)
        # the first is opened by the plan
        name = dice.choice(
            (f"a/{dice.randrange(9):03d}.{ending}", f"b/z{dice.randrange(99)}.{ending}", f"a/!.{ending}")
        )
        files[name] = content
    return files


def _folder(dice: random.Random, _: int, __: int) -> tuple[dict[str, Entry], str]:
    files: dict[str, Entry] = dict(below("pets", _files(dice)))
    if dice.random() < 0.25:
        odd = dice.choice(
            (Link("../canary"), Link("../../canary/secret.txt"), Link("."), Link("/dev/zero"), PIPE, FOLDER)
        )
        files[dice.choice(("pets/a/odd.png", "pets/c", "pets/odd.png", "pets/a/odd"))] = odd
    if dice.random() < 0.15:
        name = dice.choice([one for one in NAMES if ".." not in one and not one.startswith("/") and "\\" not in one])
        files[f"pets/{name}"] = _picture(dice)[1]
    return files, f"source: 'folder:pets'{_options(dice)}"


def _zip(dice: random.Random, number: int, by: int) -> tuple[dict[str, Entry], str]:
    files = _files(dice)
    for _ in range(dice.choice((0, 0, 1, 2))):
        name = dice.choice(NAMES) if dice.random() < 0.7 else f"a/{draw(texts, 'zips', number, by)}.png"
        files[name.encode("utf-8", "replace").decode()] = _picture(dice)[1]
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", dice.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    ) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    content = buffer.getvalue()
    kind = dice.random()
    if kind < 0.4:
        content = _lied_directory(content, dice)
    elif kind < 0.6:
        content = damaged(content, dice)
    return {"pets.zip": content}, f"source: 'folder:pets.zip'{_options(dice)}"


def _lied_directory(content: bytes, dice: random.Random) -> bytes:
    """Overwrite a field of an entry of the directory, of a local header, or of the record at the end."""
    mark, size = dice.choice(((b"PK\1\2", 46), (b"PK\1\2", 46), (b"PK\3\4", 30), (b"PK\5\6", 22)))
    found = [at for at in range(len(content)) if content.startswith(mark, at)]
    place = dice.choice(found) + dice.randrange(4, size)
    value = dice.choice((0, 1, 8, 99, 0xFF, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, 300_000_000))
    width = dice.choice((1, 2, 4))
    packed = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
    return content[:place] + packed + content[place + width :]


def _table(dice: random.Random, number: int, by: int) -> tuple[dict[str, Entry], str]:
    lines: list[list[Any]] = [["image", "label", "split", "x"]]
    lines += [[f"pets/{name}", name[0], "train" if at % 3 else "test", at] for at, name in enumerate(_plain("png"))]
    for row in draw(rows, "tables", number, by)[: dice.choice((0, 1, 8))]:
        lines.insert(dice.randrange(len(lines) + 1) if dice.random() < 0.3 else len(lines), row)
    for _ in range(dice.choice((0, 1, 2))):
        line = dice.choice(lines)
        odd = (
            *NAMES,
            "",
            "nan",
            "inf",
            "1e400",
            "-",
            "=1+1",
            "\u0661",
            "1,5",
            "x" * 140_000,
            "9" * 5000,
            '"',
            "\0",
            "pets",
            "pets/a/000.png",
        )
        if line:
            line[dice.randrange(len(line))] = dice.choice(odd)
    content = _as_csv(lines, dice)
    files: dict[str, Entry] = dict(below("pets", _plain("png")))
    if dice.random() < 0.2:
        files["pets/a/000.png"] = dice.choice((PIPE, FOLDER, Link("../../../canary/secret.txt"), Link("/dev/zero")))
    columns = dice.choice(
        ("label: label", "label: label, split: split", "targets: x", "targets: [x, label]", "label: x")
    )
    files["it.csv"] = content
    return files, f"source: 'csv:it.csv', {columns}{_options(dice, 0.2)}"


def _as_csv(lines: list[list[Any]], dice: random.Random) -> bytes:
    text = io.StringIO()
    quoting = dice.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    writer = csv.writer(
        text, quoting=quoting, delimiter=dice.choice(",,,,,;"), lineterminator=dice.choice(("\n", "\r\n", "\r"))
    )
    writer.writerows(lines)
    kind = dice.random()
    if kind < 0.15:
        return damaged(text.getvalue().encode("utf-8", "surrogatepass"), dice)
    encoding = dice.choice(("utf-8",) * 7 + ("utf-8-sig", "utf-16"))
    return text.getvalue().encode(encoding, "surrogatepass")


def _idx(count: int, *shape: int, values: int = 256) -> bytes:
    sizes = (count, *shape)
    body = bytes(random.Random(count).randrange(values) for _ in range(count * (shape[0] * shape[1] if shape else 1)))
    return struct.pack(f">HBB{len(sizes)}I", 0, 8, len(sizes), *sizes) + body


@cache
def _mnist() -> dict[str, bytes]:
    """Return MNIST's four files, with a few images of zeros and ones."""
    sizes = {"train": 40, "t10k": 20}
    images = {f"{name}-images-idx3-ubyte": _idx(count, 28, 28) for name, count in sizes.items()}
    return images | {f"{name}-labels-idx1-ubyte": _idx(count, values=10) for name, count in sizes.items()}


def _packed(dice: random.Random, _: int, __: int) -> tuple[dict[str, Entry], str]:
    """Torchvision's MNIST as a user may have placed it: bytes wrong, or packed with other bytes behind."""
    files = dict(_mnist())
    for name in dice.sample(sorted(files), dice.choice((1, 1, 4))):
        files[name] = damaged(files[name], dice)
    if dice.random() < 0.4:
        packed = {f"{name}.gz": gzip.compress(content) for name, content in files.items()}
        chosen = dice.choice(sorted(packed))
        packed[chosen] = damaged(packed[chosen], dice)
        files = packed | (files if dice.random() < 0.5 else {})
    return dict(below("data/MNIST/raw", files)), f"source: 'torchvision:MNIST'{_options(dice, 0.2)}"
