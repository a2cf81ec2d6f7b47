"""Augmentation: what each change may do, and that all depend on the generator alone."""

from __future__ import annotations

import hashlib

import pytest
import torch

from coc_cli.data.augmentation import augmented, cropped, cut_out, jittered, mixed
from coc_cli.data.randaugment import OPERATIONS, randaugmented
from coc_cli.data.settings import Augment, RandAugment
from coc_cli.learning.tasks import Classification, Regression
from coc_cli.nets.spec import Scale


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(n: int, channels: int = 3, side: int = 8) -> torch.Tensor:
    """Return images whose pixels say where they are: 10 a column, and 1 a row."""
    row = torch.arange(side) * 10
    image = (row[None, :] + torch.arange(side)[:, None]).to(torch.uint8)
    return image.expand(n, channels, side, side).contiguous()


def test_changes_of_the_first_version_have_the_bits_of_the_first_version() -> None:
    images = (torch.arange(32 * 3 * 64) % 251).to(torch.uint8).view(32, 3, 8, 8)
    source, sums = generator(4), []
    for settings in (Augment(shift=2, flip=True), Augment(shift=2, flip=True, rotate=20)):
        made = augmented(images, settings, source)
        sums.append(hashlib.sha256(made.numpy().tobytes()).hexdigest()[:16])
    assert sums == ["59b35de3390eafa0", "938816fe58530a75"]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "settings",
    [
        {"crop": 0.6},
        {"cutout": 3},
        {"colour": 0.4},
        {"randaugment": RandAugment()},
        {"crop": 0.5, "cutout": 2, "colour": 0.2, "randaugment": RandAugment(number=1), "flip": True},
    ],
)
def test_each_depends_on_the_generator_alone(settings: dict[str, object], channels: int) -> None:
    augment, images = Augment(**settings), ramp(64, channels)  # type: ignore[arg-type]
    before, state = images.clone(), torch.get_rng_state()
    one, same, other = (augmented(images, augment, generator(seed)) for seed in (1, 1, 2))
    assert (one.dtype, one.shape) == (torch.uint8, images.shape)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(images, before), "the input stays as it was"
    assert torch.equal(state, torch.get_rng_state()), "torch's global generator stays as it was"


def test_a_crop_shows_a_part_of_at_least_that_area() -> None:
    images = ramp(400, 1, 16)
    made = cropped(images, 0.25, generator())
    width = (made[:, 0, 0, -1].int() - made[:, 0, 0, 0].int()) / 10  # columns that are seen, but for half of one each
    assert float(width.min()) >= 16 * 0.5 - 1.01
    assert float(width.max()) <= 15
    assert float(width.max() - width.min()) > 4
    assert int(made.min()) == 0, "some are at the left edge"
    assert torch.equal(cropped(images, 1.0, generator()), images)


def test_a_cutout_is_one_black_square_that_may_reach_over_the_edge() -> None:
    images = torch.full((500, 2, 8, 8), 9, dtype=torch.uint8)
    made = cut_out(images, 3, generator())
    black = (made == 0).all(1)
    assert torch.equal((made == 0).any(1), black), "of all channels"
    sizes = black.flatten(1).sum(1)
    assert sizes.max() == 9
    assert sizes.min() == 4, "its middle is in the image"
    rows, columns = black.any(2).sum(1), black.any(1).sum(1)
    assert torch.equal(rows * columns, sizes)


def test_colours_change_within_their_strength() -> None:
    grey = torch.full((300, 1, 8, 8), 100, dtype=torch.uint8)
    made = jittered(grey, 0.4, generator()).float()
    assert made.std((1, 2, 3)).max() == 0, "one colour stays one"
    assert made.min() >= 59
    assert made.max() <= 141
    assert float(made.max() - made.min()) > 70
    red = torch.zeros(300, 3, 4, 4, dtype=torch.uint8)
    red[:, 0] = 150
    turned = jittered(red, 0.4, generator())
    assert (turned[:, 0] >= turned[:, 1]).all(), "a tenth of a turn leaves red the largest"
    assert len(turned[:, :, 0, 0].unique(dim=0)) > 250
    assert torch.equal(jittered(red, 0.0, generator()), red)


def test_randaugment_draws_every_operation_for_some_image() -> None:
    images = torch.randint(0, 256, (600, 3, 16, 16), generator=generator(), dtype=torch.uint8)
    made = randaugmented(images, RandAugment(magnitude=15, number=1), generator())
    same = (made == images).flatten(1).all(1).float().mean()
    assert 0.03 < float(same) < 0.16, "identity is one of 14"
    for name, operation in OPERATIONS.items():
        for sign in (-0.5, 0.5):
            alone = operation(images, sign)
            assert any(torch.equal(one, drawn) for one, drawn in zip(alone, made, strict=True)), name
    flat = [name for name in OPERATIONS if name not in ("autocontrast", "equalize", "solarize")]
    assert all(torch.equal(OPERATIONS[name](images[:3], 0.0), images[:3]) for name in flat)


def test_operations_are_those_of_torchvision() -> None:
    """Its own RandAugment at the same strength, one operation at a time."""
    from torchvision.transforms import InterpolationMode, v2

    twin, image = v2.RandAugment(num_ops=1, magnitude=15), ramp(1)
    names = {"shear_x": "ShearX", "shift_y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness"}
    names |= {"saturation": "Color", "contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize"}
    names |= {"solarize": "Solarize", "autocontrast": "AutoContrast", "equalize": "Equalize"}
    for ours, theirs in names.items():
        magnitudes = twin._AUGMENTATION_SPACE[theirs][0](31, 8, 8)
        magnitude = 0.0 if magnitudes is None else float(magnitudes[15])
        expected = twin._apply_image_or_video_transform(
            image, theirs, magnitude, interpolation=InterpolationMode.NEAREST, fill={}
        )
        assert torch.equal(OPERATIONS[ours](image, 0.5), expected), ours


def test_mixup_mixes_images_and_targets_by_the_same_weight() -> None:
    images = torch.tensor([0, 100, 200]).to(torch.uint8)[:, None, None, None].expand(3, 1, 2, 2)
    targets = torch.tensor([0, 1, 2])
    made, probabilities = mixed(images, targets, 1.0, classes=3, generator=generator(3))
    assert torch.allclose(probabilities.sum(1), torch.ones(3))
    expected = probabilities @ torch.tensor([0.0, 100.0, 200.0])
    assert torch.allclose(made[:, 0, 0, 0].float(), expected, atol=0.51)
    numbers = torch.tensor([[0.0], [100.0], [200.0]])
    again, mixed_numbers = mixed(images, numbers, 1.0, classes=1, generator=generator(3))
    assert torch.equal(again, made)
    assert torch.allclose(mixed_numbers[:, 0], expected)


def test_the_loss_of_mixed_targets_is_the_mean_of_both_losses() -> None:
    logits, weight = torch.randn(4, 3), 0.3
    one, two = torch.tensor([0, 1, 2, 0]), torch.tensor([2, 2, 1, 0])
    hot = [torch.nn.functional.one_hot(targets, 3).float() for targets in (one, two)]
    task = Classification()
    expected = weight * task.loss(logits, one) + (1 - weight) * task.loss(logits, two)
    assert task.loss(logits, torch.lerp(hot[1], hot[0], weight)) == pytest.approx(float(expected), rel=1e-5)
    numbers = Regression(("n",), Scale(mean=(5.0,), std=(2.0,)))
    assert numbers.loss(torch.tensor([[1.0]]), torch.tensor([[7.0]])) == 0


def test_the_cache_key_of_the_first_settings_stays() -> None:
    assert Augment(shift=2).settings() == {"shift": 2, "rotate": 0.0, "flip": False}
    assert Augment(randaugment=RandAugment(), mixup=0.2).settings() == {
        **Augment().settings(),
        "mixup": 0.2,
        "randaugment": {},
    }
    assert Augment(crop=0.5, flip=True).moving == ["flipped", "cropped"]
