"""Augmentation is a function of its seed, leaves the generators alone, and does what its name says."""

import pytest
import torch

from landscape.data import load_data
from landscape.data.pixels import Pixels
from landscape.errors import UsageError
from landscape.training.augmentation import augmented, require_pictures

PIXELS = Pixels((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
ROWS = torch.arange(100, 116)
IMAGES = torch.randint(0, 256, (16, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)


def test_pixels_come_back_exactly():
    assert torch.equal(PIXELS.restored(PIXELS.normalised(IMAGES)), IMAGES)
    everything = torch.arange(256).repeat(3, 1).reshape(3, 16, 16).to(torch.uint8)
    assert torch.equal(PIXELS.restored(PIXELS.normalised(everything)), everything)


@pytest.mark.parametrize("pixels", [PIXELS, None])
@pytest.mark.parametrize("kind", ["basic", "cutout", "autoaugment"])
def test_it_is_a_function_of_its_seed_and_leaves_the_generator_alone(kind, pixels):
    if kind == "autoaugment" and pixels is None:
        return
    inputs = PIXELS.normalised(IMAGES)
    kept, state = inputs.clone(), torch.get_rng_state()
    first, again, other = (augmented(inputs, ROWS, kind=kind, pixels=pixels, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == inputs.shape
    assert first.dtype == inputs.dtype
    assert not torch.equal(first, augmented(inputs, ROWS + 1, kind=kind, pixels=pixels, seed=1))
    assert torch.equal(inputs, kept)
    assert torch.equal(torch.get_rng_state(), state)


def test_none_is_nothing():
    inputs = PIXELS.normalised(IMAGES)
    assert augmented(inputs, ROWS, kind="none", pixels=PIXELS, seed=0) is inputs


def test_each_picture_is_a_crop_of_itself_padded_with_black_or_of_its_mirror():
    changed = PIXELS.restored(augmented(PIXELS.normalised(IMAGES), ROWS, kind="basic", pixels=PIXELS, seed=3))
    places = set()
    for before, after in zip(IMAGES, changed, strict=True):
        padded = torch.nn.functional.pad(before, (4, 4, 4, 4))
        crops = {(t, left): padded[:, t : t + 32, left : left + 32] for t in range(9) for left in range(9)}
        found = [(*at, False) for at, crop in crops.items() if torch.equal(crop, after)]
        found += [(*at, True) for at, crop in crops.items() if torch.equal(crop.flip(-1), after)]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 10
    assert {mirrored for _, _, mirrored in places} == {False, True}


def test_cutout_leaves_a_hole_of_at_most_half_the_side_squared():
    ones = torch.ones(200, 1, 16, 16)
    changed = augmented(ones, torch.arange(200), kind="cutout", pixels=None, seed=0)
    basic = augmented(ones, torch.arange(200), kind="basic", pixels=None, seed=0)
    holes = ((basic == 1) & (changed == 0)).sum((1, 2, 3))
    assert int(holes.max()) <= 64
    assert int(((changed == 0).sum((1, 2, 3)) > 0).sum()) == 200


@pytest.mark.parametrize("pixels", [PIXELS, None])
@pytest.mark.parametrize("kind", ["basic", "cutout"])
def test_an_example_is_changed_alike_in_any_batch_and_on_any_device(kind, pixels, device):
    inputs = PIXELS.normalised(IMAGES)
    expected = augmented(inputs, ROWS, kind=kind, pixels=pixels, seed=7)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    for rows in (order[:5], order[5:6], order[6:]):
        changed = augmented(inputs[rows].to(device), ROWS[rows], kind=kind, pixels=pixels, seed=7)
        assert changed.device.type == device.type
        assert torch.equal(changed.cpu(), expected[rows])


def test_places_mirrors_and_holes_are_uniform_and_independent():
    """A picture of its own coordinates says where it went: 5 × 5 places, two mirrors, 16 × 16 centres of the hole."""
    count, side = 8000, 16
    at = torch.arange(1.0, side + 1)
    pictures = torch.stack([at[:, None].expand(side, side), at.expand(side, side)]).expand(
        count, 2, side, side
    )
    basic = augmented(pictures, torch.arange(count), kind="basic", pixels=None, seed=5)
    middle = basic[:, :, side // 2, side // 2 - 1 : side // 2 + 1]
    mirrored = middle[:, 1, 0] > middle[:, 1, 1]
    down = middle[:, 0, 0] - (side // 2 + 1)
    across = torch.where(mirrored, middle[:, 1, 1], middle[:, 1, 0]) - side // 2
    kinds = (down + 2) * 10 + (across + 2) * 2 + mirrored
    seen = torch.bincount(kinds.long(), minlength=50)
    assert len(seen) == 50
    assert float((seen - 160).square().sum() / 160) < 100  # chi-squared with 49 degrees of freedom: p = 2e-5
    ones, rows = torch.ones(count, 1, side, side), torch.arange(count)
    cut, basic = (augmented(ones, rows, kind=kind, pixels=None, seed=5) for kind in ("cutout", "basic"))
    places = range(side)
    kept = [sum(0 <= i + shift < side for shift in range(-2, 3)) / 5 for i in places]
    covered = [sum(c - 4 <= i < c + 4 for c in places) / side for i in places]
    expected = (sum(k * c for k, c in zip(kept, covered, strict=True)) / side) ** 2
    assert float(((cut == 0) & (basic == 1)).double().mean()) == pytest.approx(expected, abs=0.003)


def test_only_autoaugment_needs_8_bit_pixels():
    digits = load_data("digits")
    for kind in ("none", "basic", "cutout"):
        require_pictures(kind, digits)
    with pytest.raises(UsageError, match="needs 8-bit pixels, which digits does not have"):
        require_pictures("autoaugment", digits)
