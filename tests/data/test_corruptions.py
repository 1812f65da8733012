"""Corrupted pictures: every one is there once for every kind and severity, and the same whenever it is read."""

import sys
import types

import numpy as np
import pytest
import torch

from landscape.data import Data, examples_of, load_data
from landscape.data.examples import InMemory
from landscape.errors import InputError, UsageError

KINDS = ["fog", "glass_blur", "jpeg_compression"]


@pytest.fixture
def library(monkeypatch):
    """A library with three kinds, of which two are common: adds the severity and what is drawn to a picture."""

    def corrupt(image, severity, corruption_name, **options):
        assert image.shape == (32, 32, 3)
        assert image.dtype == np.uint8
        drawn = 10 * np.random.randint(0, 5)
        return image + np.uint8(severity + drawn + 60 * KINDS.index(corruption_name))

    module = types.ModuleType("imagecorruptions")
    module.corrupt = corrupt
    module.get_corruption_names = lambda subset: KINDS[:2] if subset == "common" else KINDS
    monkeypatch.setitem(sys.modules, "imagecorruptions", module)


def pictures(count=3, shape=(3, 32, 32), dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 40, (count, *shape), generator=generator).to(dtype)
    test = InMemory(images, torch.arange(count), mean=(0.5,), std=(0.25,))
    return Data("own", None, test, count, shape), images


def restored(examples, rows):
    return examples.pixels.restored(examples.inputs_at(torch.tensor(rows)))


def test_every_picture_is_there_once_for_every_kind_and_severity(library):
    data, images = pictures()
    examples = examples_of(data, "corrupted")
    assert len(examples) == 3 * 2 * 5
    assert torch.equal(examples.targets, torch.arange(30) % 3)
    seen = set()
    for row, (inputs, target) in enumerate(examples):
        change = examples.pixels.restored(inputs[None])[0].int() - images[target].int()
        (added,) = change.unique().tolist()
        seen.add((int(target), added // 60, added % 10))
        assert torch.equal(restored(examples, [row])[0], images[target] + added)
    assert seen == {
        (target, kind, severity) for target in range(3) for kind in (0, 1) for severity in range(1, 6)
    }


@pytest.mark.parametrize(
    ("split", "count", "first"),
    [("corrupted-4", 6, 4), ("corrupted-jpeg-compression-2", 3, 122), ("corrupted-fog", 15, 1)],
)
def test_a_kind_or_a_severity_alone(library, split, count, first):
    data, images = pictures()
    examples = examples_of(data, split)
    assert len(examples) == count
    change = restored(examples, [0])[0].int() - images[0].int()
    assert (change - first).unique().item() % 10 == 0


def test_what_is_drawn_depends_on_the_example_alone_and_changes_no_generator(library):
    examples = examples_of(pictures()[0], "corrupted")
    np.random.seed(7)
    state, of_torch = np.random.get_state()[1].copy(), torch.get_rng_state()
    together = restored(examples, list(range(30)))
    assert torch.equal(together[[20, 3]], restored(examples, [20, 3]))
    assert (state == np.random.get_state()[1]).all()
    assert torch.equal(of_torch, torch.get_rng_state())
    drawn = {
        int(each) // 10 % 6 for each in (together.int() - restored(examples, [0] * 30).int())[:, 0, 0, 0]
    }
    assert len(drawn) > 1


def test_a_severity_alone_has_the_pictures_of_all(library):
    data, _ = pictures()
    every, third, fog = (
        examples_of(data, split) for split in ("corrupted", "corrupted-3", "corrupted-fog-3")
    )
    assert torch.equal(restored(every, [6, 7, 8]), restored(third, [0, 1, 2]))  # after severities 1 and 2
    assert torch.equal(restored(third, [0, 1, 2]), restored(fog, [0, 1, 2]))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("corrupted-6", "the severity 6 is not from 1 to 5"),
        ("corrupted-fug-3", "no corruption 'fug' .did you mean 'fog'"),
        ("corrupted-", "no corruption ''"),
        ("corrupted-Fog", "no corruption 'Fog'"),
        ("tset", "not one of train, test"),
    ],
)
def test_a_split_that_does_not_exist_is_a_usage_error(library, split, message):
    with pytest.raises(UsageError, match=message):
        examples_of(pictures()[0], split)


def test_what_is_no_colour_picture_is_an_input_error(library):
    for data in (pictures(shape=(1, 32, 32))[0], pictures(shape=(3, 31, 32))[0], load_data("digits")):
        with pytest.raises(InputError, match=r"corruptions need colour pictures of 8 bits and of 32×32"):
            examples_of(data, "corrupted")
    floats, _ = pictures(dtype=torch.float32)
    with pytest.raises(InputError, match="is not made of pixels"):
        examples_of(floats, "corrupted")


def test_without_the_library_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with pytest.raises(UsageError, match=r"corrupted pictures need imagecorruptions-imaug: pip install"):
        examples_of(pictures()[0], "corrupted")


def test_of_the_library_itself_pictures_are_those_that_it_makes_and_stay_the_same():
    library = pytest.importorskip("imagecorruptions")
    data, images = pictures(2)
    for kind in ("brightness", "contrast", "gaussian_noise", "impulse_noise", "frost"):
        examples = examples_of(data, f"corrupted-{kind.replace('_', '-')}-3")
        first, again = (restored(examples, [0, 1]) for _ in range(2))
        assert torch.equal(first, again)
        assert not torch.equal(first, images)
        if kind in ("brightness", "contrast"):  # nothing is drawn
            expected = library.corrupt(images[1].permute(1, 2, 0).numpy().copy(), 3, kind)
            assert torch.equal(first[1].permute(1, 2, 0), torch.from_numpy(expected))
    assert len(examples_of(data, "corrupted")) == 2 * 15 * 5


@pytest.mark.thorough
def test_every_kind_of_the_library_at_every_severity():
    library = pytest.importorskip("imagecorruptions")
    data, _ = pictures(1)
    for kind in library.get_corruption_names("all"):
        examples = examples_of(data, f"corrupted-{kind.replace('_', '-')}")
        assert torch.equal(restored(examples, range(5)), restored(examples, range(5)))
