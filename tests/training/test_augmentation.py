"""Augmentation is a function of its seed, leaves the generators alone, and does what its name says."""

import pytest
import torch

from landscape.data.pixels import Pixels
from landscape.training.augmentation import augmented

PIXELS = Pixels((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
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
    first, again, other = (augmented(inputs, kind=kind, pixels=pixels, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == inputs.shape
    assert first.dtype == inputs.dtype
    assert torch.equal(inputs, kept)
    assert torch.equal(torch.get_rng_state(), state)


def test_none_is_nothing():
    inputs = PIXELS.normalised(IMAGES)
    assert augmented(inputs, kind="none", pixels=PIXELS, seed=0) is inputs


def test_each_picture_is_a_crop_of_itself_padded_with_black_or_of_its_mirror():
    changed = PIXELS.restored(augmented(PIXELS.normalised(IMAGES), kind="basic", pixels=PIXELS, seed=3))
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
    changed = augmented(ones, kind="cutout", pixels=None, seed=0)
    basic = augmented(ones, kind="basic", pixels=None, seed=0)
    holes = ((basic == 1) & (changed == 0)).sum((1, 2, 3))
    assert int(holes.max()) <= 64
    assert int(((changed == 0).sum((1, 2, 3)) > 0).sum()) == 200
